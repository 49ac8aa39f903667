"""A run: its directory, its log, its checkpoints, its results, its figures, and how it stops."""

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import os
import platform
import re
import signal
import statistics
import sys
import time
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperion.cli.progress import Progress, duration
from hyperion.cli.report import report_html
from hyperion.cli.scenarios import Config
from hyperion.errors import FileError, InputError
from hyperion.io.checkpoint import load_tree, save_tree
from hyperion.io.files import split_dataset, write_bytes
from hyperion.io.results import Axis, Results
from hyperion.io.toml import flatten_table, read_toml, toml_text

__all__ = ["Run", "versions"]

OWN_FILES = ("config.toml", "versions.toml", "log.txt", "result.h5", "report.html", "checkpoint.h5", "checkpoint-previous.h5")
OWN_PATTERNS = ("figures/*.png", "*.part", "figures/*.part")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, of what is installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("hyperion", "numpy", "scipy", "h5py", "matplotlib", "ziglang", "cupy-cuda12x", "cupy-cuda13x"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


class Run:
    """What a scenario's `main(run, config)` is given besides its options.

    A scenario reads from top to bottom; this is all it needs to know:

        def main(run, config):
            model = io.read_model(config.model)                     # refuse wrong input first: nothing is written before the first output
            state = run.restore()                                   # what the last checkpoint of this run held, or None
            start = state["iteration"] if state else 0
            x = state["x"] if state else first_guess(model)
            with run.progress(config.iterations, "inversion", start) as progress:
                for iteration in range(start, config.iterations):
                    x, misfit = update(x)
                    progress.step(misfit=misfit)                    # misfit, rate and remaining time; each step is a line of the log
                    run.checkpoint({"iteration": iteration + 1, "x": x})    # written when due; Ctrl-C stops here, after writing it
            run.results.write("models/inverted", x, "m/s", axes)    # result.h5; saved with every checkpoint and at the end
            run.facts["model error"] = error                        # shown in the report, kept as an attribute of result.h5
            run.figure(plot.models({"inverted": x}, spacing), "models")     # figures/models.png and in report.html

    A scenario that trains networks calls `run.train(trainer, steps)`; one of several parts keeps what they found in the dict `run.kept`.

    directory  Path of the run; `run.path("fields")` names a further file in it
    device     "cpu" or "cuda:0"
    resuming   True if --resume found an earlier state
    smoke      True in a smoke run
    log(text)  a line on the console and in log.txt

    Rules: state is dicts, lists and tuples of arrays, numbers, text and None; keep random state in it (`rng.bit_generator.state`), so that
    a resumed run ends with the same result. A result written before a checkpoint is on disk when the checkpoint is. Names of results may be
    written again: the last one stays.

    Files: config.toml (as run), versions.toml, log.txt, result.h5, report.html, checkpoint.h5 and checkpoint-previous.h5, figures/*.png.
    versions.toml also holds the SHA-256 of every file that an option names: a run is not resumed with other input than it began with.
    While a run is active, log.txt is locked: another process cannot use the directory.
    Raises: FileError if the directory exists and neither resume nor overwrite is set, if it is no run directory, or cannot be written;
        InputError if a resumed run is of another scenario, was given another configuration, or one of its input files has changed.
    """

    def __init__(
        self,
        directory: str | Path,
        config: Config,
        scenario: str = "script",
        description: str = "",
        device: str = "cpu",
        resume: bool = False,
        overwrite: bool = False,
        smoke: bool = False,
    ):
        self.directory = Path(directory)
        self.config = config
        self.scenario = scenario
        self.description = description
        self.device = device
        self.smoke = smoke
        self.facts: dict[str, Any] = {}
        self.results = Results(self.directory / "result.h5")
        self.results.facts = self.facts
        self._resume = resume
        self._overwrite = overwrite
        self._claimed = False
        self._waiting: list[str] = []                              # log lines from before the directory is touched
        self._figures: list[str] = []
        self._tables: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._warned: set[tuple[type[Warning], str]] = set()
        self._began = time.monotonic()
        self._checkpointed = time.monotonic()
        self._stops_at_checkpoint = False
        self._stop_asked = False
        self._bar: Any = None
        self._active = False
        self._lock: Any = None                                     # log.txt, locked while the run is active
        refuse_directory(self.directory, resume, overwrite)
        self.resuming = resume and is_run(self.directory)
        self._inputs = input_files(config)
        if self.resuming:
            self._refuse_other_run()
            self._figures = [path.stem for path in sorted(self.directory.glob("figures/*.png"), key=lambda path: path.stat().st_mtime_ns)]
            if self.results.path.exists():
                self.facts.update(self.results.attributes())
        elif resume:
            self.log(f"nothing to resume in {self.directory}: the run starts from the beginning")

    def __repr__(self) -> str:
        return f"Run {self.scenario} in {self.directory}, {self.device}"

    def path(self, name: str) -> Path:
        """Return the path of a further output in the run directory."""
        self._claim()
        return self.directory / name

    def log(self, text: str) -> None:
        """Write a line to the console and, with the time, to log.txt."""
        self._to_console(text)
        self._to_file(text)

    def progress(self, total: int, label: str, start: int = 0) -> "Progress":
        """Return a context whose `step(**values)` counts, shows values, rate and remaining time, and logs.

        start: steps done before a resume.
        """
        self._claim()
        return Progress(self, total, label, start)

    @functools.cached_property
    def kept(self) -> dict[str, Any]:
        """What this run keeps by name, empty at first; `checkpoint()` without a state writes it, a resumed run finds it as it was then."""
        return self.restore() or {}

    def train(self, trainer: Any, steps: int, label: str = "training") -> None:
        """Train with an nn.Trainer until it has made `steps` steps, with progress and checkpoints.

        A resumed run goes on with the training it stopped in, and makes those that were finished no second time: their trainers are as
        they were at the end. label: of the progress, and the training's name in `kept`; trainings of one run have different ones.
        """
        if label in self.kept:
            trainer.load_state_dict(self.kept[label])
        if trainer.steps >= steps:
            return
        plain = {"step", "loss", "lr", "gradient_norm", "seconds", "loss_scale", "skipped"}
        with self.progress(steps, label, trainer.steps) as progress:
            for row in trainer.run(steps):
                progress.step(loss=row["loss"], **{name: value for name, value in row.items() if name not in plain})
                self.checkpoint(lambda: self.kept | {label: trainer.state_dict()})
        self.kept[label] = trainer.state_dict()
        self.checkpoint(every=0.0)

    def trained(self, trainer: Any) -> list[dict[str, Any]]:
        """Say how a training with an nn.Trainer(folder=...) went, as facts and as results `training/loss`; return its history."""
        rows = trainer.history()
        self.facts["parameters"] = sum(p.size for p in trainer.model.parameters())
        self.facts["seconds a step"] = float(statistics.median(row["seconds"] for row in rows))
        self.results.write("training/loss", [row["loss"] for row in rows], "", (Axis("step"),))
        return rows

    def table(self, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Show values as a table in the report, one a cell; each is a fact called "row: column", each row a line of the log.

        rows: {row: {column: value}}.
        """
        for name, cells in rows.items():
            self.facts.update({f"{name}: {column}": value for column, value in cells.items()})
            self.log(f"{name}: " + ", ".join(f"{column} {value:.4g}" if isinstance(value, float) else f"{column} {value}"
                                             for column, value in cells.items()))
        self._tables[title] = rows

    def checkpoint(self, state: Any = None, every: float | None = None) -> None:
        """Keep the state if `every` seconds have passed since the last time, or if Ctrl-C asked to stop: then the run ends here, with exit
        code 130.

        state: a tree, or a function that returns one, called only when it is written; None: what is `kept`.
        every: [s]; default 30, in a smoke run 0; 0 always writes. The results staged so far are saved first; the checkpoint before stays
        as checkpoint-previous.h5.
        Raises: FileError if the disk is full (the earlier checkpoint stays valid); KeyboardInterrupt after Ctrl-C.
        """
        self._stops_at_checkpoint = True
        seconds = (0.0 if self.smoke else 30.0) if every is None else every
        if not self._stop_asked and time.monotonic() - self._checkpointed < seconds:
            return
        self._claim()
        self.results.save()
        state = self.kept if state is None else state() if callable(state) else state
        save_tree(self.directory / "checkpoint.h5", state, self.directory / "checkpoint-previous.h5")
        self._checkpointed = time.monotonic()
        self._to_file("checkpoint written")
        if self._stop_asked:
            raise KeyboardInterrupt

    def restore(self) -> Any:
        """Return the state of the newest whole checkpoint when resuming, else None. From here on, Ctrl-C waits for `checkpoint`.

        Raises: FileError if checkpoints exist and none is whole.
        """
        self._stops_at_checkpoint = True
        if not self.resuming:
            return None
        files = [file for name in ("checkpoint.h5", "checkpoint-previous.h5") if (file := self.directory / name).exists()]
        for position, file in enumerate(files):
            try:
                state = load_tree(file)
            except FileError as error:
                if position + 1 == len(files):
                    raise
                self.log(f"warning: {error}; the one before is used")
            else:
                self.log(f"resumes from {file.name}")
                return state
        self.log("no checkpoint was written before the run stopped: it starts from the beginning")
        return None

    def figure(self, figure: Any, name: str) -> Path:
        """Save a matplotlib figure as figures/<name>.png; the report shows the figures in this order."""
        import io

        self._claim()
        path = self.directory / "figures" / f"{name}.png"
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        write_bytes(path, buffer.getbuffer())
        if name not in self._figures:
            self._figures.append(name)
        return path

    @contextlib.contextmanager
    def active(self) -> Iterator["Run"]:
        """Run a scenario inside: warnings go to the log, Ctrl-C stops after a checkpoint, and the results are saved however it ends."""
        previous = {}

        def stop(number: int, frame: types.FrameType | None) -> None:
            if self._stop_asked or not self._stops_at_checkpoint:
                raise KeyboardInterrupt
            self._stop_asked = True
            self._to_console("stopping after the current step and a checkpoint; Ctrl-C again stops at once")

        with contextlib.suppress(ValueError):                     # not in the main thread: signals stay with whoever runs us
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, stop)
        self._active = True
        try:
            if (self._resume or self._overwrite) and (self.directory / "log.txt").is_file():
                self._take_lock()
            with warnings.catch_warnings():
                warnings.showwarning = self._warn
                yield self
            self._finish("finished")
        except BaseException as error:
            if self._claimed:
                with contextlib.suppress(FileError):              # the first error is the one to report
                    self._finish("interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped by an error: {error}")
            if isinstance(error, KeyboardInterrupt) and (self.directory / "checkpoint.h5").exists():
                instead = " in place of --overwrite" if self._overwrite else ""
                self._to_console(f"the same command with --resume{instead} goes on with {self.directory} from its last checkpoint")
            raise
        finally:
            self._active = False
            if self._lock is not None:
                self._lock.close()
                self._lock = None
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _warn(self, message: Any, category: type[Warning], *rest: Any) -> None:
        """Log a warning; of those of one kind that differ in numbers only, as when many models are simulated, the first one."""
        kind = category, re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "0", str(message))
        if kind not in self._warned:
            self._warned.add(kind)
            self.log(f"warning: {message}")

    def _finish(self, how: str) -> None:
        self._claim()
        self._to_file(f"{how} after {duration(time.monotonic() - self._began)}")
        self.results.save()
        seconds = time.monotonic() - self._began
        report = report_html(
            self.scenario, self.description, how, seconds, self.facts, self._tables, self._figures, self.config, versions())
        write_bytes(self.directory / "report.html", report.encode())

    def _claim(self) -> None:
        """Touch the directory for the first time: make it, drop what --overwrite replaces, write the configuration and the log so far."""
        if self._claimed:
            return
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        if self._active and self._lock is None:
            refuse_directory(self.directory, self._resume, self._overwrite)      # it may have been used since this run began
            self._take_lock()
        self._claimed = True
        with writing(self.directory):
            if self._overwrite:
                for pattern in (*OWN_FILES, *OWN_PATTERNS):
                    for path in self.directory.glob(pattern):
                        if self._lock is not None and path.name == "log.txt":
                            os.truncate(path, 0)                   # the lock is on this file
                        else:
                            path.unlink()
        if not self.resuming:
            described = {"scenario": self.scenario, "device": self.device, "versions": versions(), "files": self._inputs}
            write_bytes(self.directory / "versions.toml", toml_text(described).encode())
            write_bytes(self.directory / "config.toml", toml_text(self.config).encode())
        for line in self._waiting:
            self._append(line)

    def _refuse_other_run(self) -> None:
        described = read_toml(self.directory / "versions.toml", "resume")
        if described.get("scenario") != self.scenario:
            raise InputError(f"--resume: {self.directory} holds a run of {described.get('scenario')!r}, not of {self.scenario!r}; give "
                             "its --out")
        for name, digest in (files.items() if isinstance(files := described.get("files"), dict) else ()):
            if self._inputs.get(name) != digest:
                what = "has changed" if name in self._inputs else "is gone"
                raise InputError(f"--resume: the file of --{name} {flatten_table(self.config).get(name)!r} {what} since the run in "
                                 f"{self.directory} began; put it back as it was, or start a new run with another --out")
        before, now = flatten_table(read_toml(self.directory / "config.toml", "resume")), flatten_table(self.config)
        differ = [f"{key} was {before[key]!r}, now {value!r}" for key, value in now.items() if key in before and before[key] != value]
        if differ:
            raise InputError(f"--resume with another configuration than {self.directory / 'config.toml'}: {'; '.join(differ)}; "
                             "leave those options out, or start a new run with another --out")
        if described.get("device") != self.device:
            self.log(f"warning: the run was on {described.get('device')} and goes on on {self.device}: the last digits may differ")

    def _take_lock(self) -> None:
        """Lock log.txt for this process; the kernel lets go of it when the process ends, however it ends."""
        path = self.directory / "log.txt"
        with writing(path):
            file = open(path, "ab")                                # it stays open as long as the run is active
        try:
            with contextlib.suppress(ImportError):                # a system without flock: two runs are the user's to avoid
                fcntl = importlib.import_module("fcntl")
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InputError(f"--out {self.directory}: another process is running in it; wait for it to end, or give another --out"
                             ) from None
        except OSError as error:                                  # a file system without locks
            self._to_console(f"warning: {path} cannot be locked ({error.strerror}); do not start a second run in this directory")
        self._lock = file

    def _to_console(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _to_file(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n"
        if self._claimed:
            self._append(line)
        else:
            self._waiting.append(line)

    def _append(self, line: str) -> None:
        with writing(self.directory / "log.txt"), open(self.directory / "log.txt", "a", encoding="utf-8") as file:
            file.write(line)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into a FileError that names the path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); give another --out, or free some space") from error


def input_files(config: Config) -> dict[str, str]:
    """Return the SHA-256 of every file that an option names, by the name of the option."""
    digests: dict[str, str] = {}
    for name, value in flatten_table(config).items():
        path = split_dataset(value)[0] if isinstance(value, str) and value and "\0" not in value else None
        with contextlib.suppress(OSError):                        # what cannot be read is the scenario's to refuse
            if path is not None and path.is_file():
                with open(path, "rb") as file:
                    digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def is_run(directory: Path) -> bool:
    return (directory / "config.toml").is_file() and (directory / "versions.toml").is_file()


def refuse_directory(directory: Path, resume: bool, overwrite: bool) -> None:
    """Raise FileError or InputError unless a run may use the directory."""
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: one goes on with the run, the other replaces it; give one")
    if directory.exists() and not directory.is_dir():
        raise FileError(f"--out {directory}: is a file; give a folder")
    leftovers = {"versions.toml", "config.toml.part", "versions.toml.part", "log.txt"}        # of a run killed while it made its directory
    content = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if content and not (resume or overwrite):
        raise FileError(f"--out {directory}: exists; add --resume to go on with the run, --overwrite to replace it, or give another --out")
    if content - leftovers and not is_run(directory):
        raise FileError(f"--out {directory}: holds other files than a run's (no config.toml); give another --out")
    existing = directory
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise FileError(f"--out {directory}: {existing} cannot be written; give another --out or change its permissions")
