"""A run directory: complete, never overwritten unasked, whole after a kill, and a resumed run ends as an undisturbed one."""

import contextlib
import errno
import os
import signal
import subprocess
import time
import tomllib
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from hyperion import nn, optim
from hyperion.cli import Config, Run, main
from hyperion.errors import FileError, HyperionWarning, InputError
from hyperion.io import load_tree, save_tree

WALK = Path(__file__).with_name("walk.py")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_directory_is_complete(here, hyperion):
    code, _, err = hyperion("run", WALK, "--out", "out")
    assert code == 0, err
    assert set(content(here / "out")) == {"config.toml", "versions.toml", "log.txt", "result.h5", "report.html", "checkpoint.h5",
                                          "checkpoint-previous.h5", "figures/misfit.png"}
    assert "walk: 6/6, misfit 2.948" in err and "left" in err                      # progress with misfit, rate and remaining time
    log = (here / "out/log.txt").read_text()
    assert log.count("walk: ") >= 6 and log.count("checkpoint written") == 6 and "finished after" in log
    described = tomllib.loads((here / "out/versions.toml").read_text())
    assert described["scenario"] == "walk" and described["device"] == "cpu" and "numpy" in described["versions"]
    with h5py.File(here / "out/result.h5") as file:
        assert file["place"].attrs["unit"] == "m" and file["misfits"].shape == (6,)
        assert file.attrs["last misfit"] == file["misfits"][-1]
    report = (here / "out/report.html").read_text()
    assert '<img src="figures/misfit.png"' in report and "last misfit" in report and "pause.seconds" in report
    assert (here / "out/figures/misfit.png").read_bytes().startswith(b"\x89PNG")


def test_an_existing_directory_is_not_touched(here, capsys):
    assert main(["run", str(WALK), "--smoke"]) == 0
    before = content(here)
    assert main(["run", str(WALK), "--smoke"]) == 2
    assert "--resume" in capsys.readouterr().err and content(here) == before
    (here / "mine").mkdir()
    (here / "mine/notes.txt").write_text("x")
    for word in ("", "--resume", "--overwrite"):
        assert main(["run", str(WALK), "--out", "mine", *([word] if word else [])]) == 2
    assert content(here / "mine") == {"notes.txt": b"x"}
    assert main(["run", str(WALK), "--out", "mine/notes.txt"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_overwrite_replaces_a_run_but_not_for_refused_input(here, capsys):
    assert main(["run", str(WALK), "--steps", "3"]) == 0
    (here / "runs/walk/notes.txt").write_text("mine")
    before = content(here)
    assert main(["run", str(WALK), "--overwrite", "--steps", "0"]) == 2              # refused by the scenario itself
    assert content(here) == before
    assert main(["run", str(WALK), "--overwrite", "--steps", "4"]) == 0
    after = content(here / "runs/walk")
    assert b"steps = 4" in after["config.toml"] and after["notes.txt"] == b"mine" and after["log.txt"].count(b"finished") == 1


@pytest.mark.parametrize("out", ["locked/out", "/proc/out"])       # the second one refuses root as well
def test_a_directory_that_cannot_be_written_is_refused(here, capsys, out):
    (here / "locked").mkdir(mode=0o555)
    if os.geteuid() == 0 and not out.startswith("/proc"):
        assert main(["run", str(WALK), "--out", out]) == 0          # root may write everywhere
    else:
        assert main(["run", str(WALK), "--out", out]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused(here, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["run", str(WALK), "--out", "out"]) == 2
    assert "--out out: . cannot be written" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(Path, "mkdir", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    assert main(["run", str(WALK), "--out", "out"]) == 2
    assert "Read-only file system" in capsys.readouterr().err


def test_resume_needs_no_options_and_refuses_other_ones(here, capsys):
    assert main(["run", str(WALK), "--steps", "3", "--seed", "5"]) == 0
    before = content(here)
    for words, expected in (
        (["--steps", "4"], "steps was 3, now 4"),
        (["--steps", "3", "--seed", "1"], "seed was 5, now 1"),
        (["--smoke"], "steps was 3, now 2"),
    ):
        assert main(["run", str(WALK), "--resume", *words]) == 2
        assert expected in capsys.readouterr().err and content(here) == before
    (here / "other.py").write_text(WALK.read_text())
    (here / "other.toml").write_text(WALK.with_suffix(".toml").read_text())
    assert main(["run", "other.py", "--resume", "--out", "runs/walk"]) == 2
    assert "holds a run of 'walk', not of 'other'" in capsys.readouterr().err
    assert main(["run", str(WALK), "--resume"]) == 0                                # finished already: ends the same
    assert main(["run", str(WALK), "--resume", "--seed", "5"]) == 0
    with h5py.File("runs/walk/result.h5") as file:
        assert file["misfits"].shape == (3,)


def test_resume_of_nothing_starts(here, capsys):
    assert main(["run", str(WALK), "--resume", "--smoke"]) == 0
    assert "nothing to resume" in capsys.readouterr().err


def result(folder: Path) -> tuple[bytes, bytes]:
    with h5py.File(folder / "result.h5") as file:
        return file["place"][:].tobytes(), file["misfits"][:].tobytes()


def wait_for(path: Path, text: str) -> None:
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not appear in {path}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_with_130_and_resumes_to_the_same_result(here, start_hyperion, hyperion, number):
    options = ["--steps", 12, "--pause.seconds", 0.05]
    assert hyperion("run", WALK, *options, "--out", "whole")[0] == 0
    process = start_hyperion("run", WALK, *options, "--out", "out")
    wait_for(here / "out/log.txt", "walk: 3/12")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "stopping after" in err
    assert "the same command with --resume goes on with out from its last checkpoint" in err
    assert "interrupted after" in (here / "out/log.txt").read_text() and "interrupted" in (here / "out/report.html").read_text()
    state = load_tree(here / "out/checkpoint.h5")
    assert 3 <= len(state["misfits"]) < 12
    with h5py.File(here / "out/result.h5") as file:
        assert len(file["misfits"]) == len(state["misfits"])                         # results up to the checkpoint are on disk
    code, _, err = hyperion("run", WALK, "--resume", "--out", "out")
    assert code == 0 and "resumes from checkpoint.h5" in err
    assert result(here / "out") == result(here / "whole")


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_resumes_to_the_same_result(here, start_hyperion, hyperion, seed):
    options = ["--steps", 30, "--pause.seconds", 0.01]
    assert hyperion("run", WALK, *options, "--out", "whole")[0] == 0
    random = np.random.default_rng(seed)
    for _ in range(3):
        process = start_hyperion("run", WALK, *options, "--out", "out", "--resume")
        time.sleep(0.4 + 1.2 * random.random())                                      # anywhere: while importing, writing, or after the end
        process.kill()
        process.communicate()
    code, _, err = hyperion("run", WALK, *options, "--out", "out", "--resume")
    assert code == 0, err
    assert result(here / "out") == result(here / "whole")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(here, capsys):
    assert main(["run", str(WALK), "--out", "whole"]) == 0
    assert main(["run", str(WALK), "--out", "out"]) == 0
    path = here / "out/checkpoint.h5"
    path.write_bytes(path.read_bytes()[:500])
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 0
    assert "resumes from checkpoint-previous.h5" in capsys.readouterr().err
    assert result(here / "out") == result(here / "whole")
    for name in ("checkpoint.h5", "checkpoint-previous.h5"):
        (here / "out" / name).write_bytes(b"")
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 2
    assert "checkpoint-previous.h5" in capsys.readouterr().err


def test_a_full_disk_stops_with_2_and_keeps_the_checkpoint(here, capsys, monkeypatch):
    run = os.fsync
    count = 0

    def fill(descriptor):
        nonlocal count
        count += 1
        if count > 14:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        run(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    assert main(["run", str(WALK), "--out", "out"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    state = load_tree(here / "out/checkpoint.h5")
    assert 1 <= len(state["misfits"]) < 6 and not list((here / "out").glob("*.part"))
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 0
    assert main(["run", str(WALK), "--out", "whole"]) == 0
    assert result(here / "out") == result(here / "whole")


def test_a_changed_input_file_is_refused(here, capsys):
    (here / "model.npy").write_bytes(b"one")
    words = ["run", str(WALK), "--steps", "3", "--out", "out"]
    assert main([*words, "--label", "model.npy"]) == 0
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 0
    before = content(here / "out")
    (here / "model.npy").write_bytes(b"two")
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 2
    assert "--label 'model.npy' has changed" in capsys.readouterr().err
    (here / "model.npy").unlink()
    assert main(["run", str(WALK), "--out", "out", "--resume"]) == 2
    assert "--label 'model.npy' is gone" in capsys.readouterr().err
    assert content(here / "out") == before


@pytest.mark.parametrize("words", [["--resume"], ["--overwrite", "--steps", 3]])
def test_two_processes_do_not_share_a_directory(here, start_hyperion, hyperion, words):
    pytest.importorskip("fcntl", reason="needs the locks of POSIX")
    process = start_hyperion("run", WALK, "--steps", 400, "--pause.seconds", 0.05, "--out", "out")
    wait_for(here / "out/log.txt", "walk: 2/400")
    try:
        code, _, err = hyperion("run", WALK, "--out", "out", *words)
        assert code == 2 and "another process is running in it" in err and "Traceback" not in err
    finally:
        process.kill()                                                               # SIGKILL: nothing is left that locks
        process.communicate()
    assert tomllib.loads((here / "out/config.toml").read_text())["steps"] == 400
    assert hyperion("run", WALK, "--out", "out", "--overwrite", "--steps", 3)[0] == 0
    assert (here / "out/log.txt").read_text().count("walk: 1/") == 1


def test_a_directory_used_in_the_meantime_is_refused(here):
    waiting = Run("out", Config({"a": 1}))
    Run("out", Config({"a": 2})).checkpoint({"x": 2}, every=0.0)
    before = content(here / "out")
    with pytest.raises(FileError, match="exists"), waiting.active():
        waiting.checkpoint({"x": 1}, every=0.0)
    assert content(here / "out") == before


@pytest.fixture
def run(here):
    return Run("out", Config({"a": 1}))


def test_nothing_is_written_before_the_first_output(here, run):
    run.log("hello")
    assert run.restore() is None and not (here / "out").exists()
    run.checkpoint({"x": 1}, every=0.0)
    assert "hello" in (here / "out/log.txt").read_text() and load_tree("out/checkpoint.h5") == {"x": 1}


def test_checkpoints_are_written_when_due(here, run):
    run.checkpoint({"x": 1}, every=0.0)
    run.checkpoint({"x": 2}, every=1000.0)
    assert load_tree("out/checkpoint.h5") == {"x": 1}
    run.checkpoint({"x": 3}, every=0.0)
    assert load_tree("out/checkpoint.h5") == {"x": 3} and load_tree("out/checkpoint-previous.h5") == {"x": 1}


def test_ctrl_c_after_restore_waits_for_the_first_checkpoint(here, run):
    with pytest.raises(KeyboardInterrupt), run.active():
        assert run.restore() is None
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)                                                             # goes on
        run.checkpoint({"x": 1})
    assert load_tree("out/checkpoint.h5") == {"x": 1}


def test_ctrl_c_before_any_checkpoint_stops_at_once(here, run):
    with pytest.raises(KeyboardInterrupt), run.active():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert not (here / "out").exists()


def test_ctrl_c_twice_stops_at_once(here, run, capsys):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), run.active():
        run.checkpoint({"x": 1}, every=0.0)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)                                                             # goes on
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert "Ctrl-C again" in capsys.readouterr().err and signal.getsignal(signal.SIGINT) is handler


def test_warnings_and_errors_go_to_the_log(here, run, capsys):
    with pytest.raises(InputError), run.active():
        run.path("x")
        warnings.simplefilter("always")
        for spacing in (20.0, 25.0, 2.5e-3):                                            # one kind of warning: the first is enough
            warnings.warn(f"coarse grid of {spacing:g} m", HyperionWarning, stacklevel=1)
        raise InputError("no good")
    log = (here / "out/log.txt").read_text()
    assert "warning: coarse grid of 20 m" in log and "stopped by an error: no good" in log
    assert capsys.readouterr().err.strip() == "warning: coarse grid of 20 m"


class Dice:
    """Batches of random numbers, as nn.Batches: an endless iterator with a position."""

    def __init__(self, seed):
        self.seed, self.position = seed, 0

    def __next__(self):
        self.position += 1
        x = np.random.default_rng((self.seed, self.position)).standard_normal((4, 1)).astype(np.float32)
        return x, 3.0 * x

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = int(state["position"])


def trainer(seed, **options):
    nn.seed(seed)
    model = nn.Linear(1, 1)
    return nn.Trainer(model, optim.Adam(model.parameters(), lr=0.1), lambda m, x, y: nn.mse(m(x), y), Dice(seed),
                      evaluate=lambda model: {"weight": float(model.weight.detach().numpy()[0, 0])}, evaluate_every=2, **options)


def test_trainings_of_a_run_go_on_where_it_stopped_and_are_not_made_twice(here, monkeypatch):
    def train(out, resume=False):
        run = Run(out, Config({"a": 1}), resume=resume)
        with run.active():
            made = [trainer(seed) for seed in (0, 1)]
            for seed, each in enumerate(made):
                run.train(each, 6, f"model {seed}")
            run.kept["further"] = np.arange(3)
            run.checkpoint(every=0.0)
        return made

    whole = train("whole")
    steps = 0

    def stopped(self):
        nonlocal steps
        steps += 1
        if steps == 9:                                                       # in the second training; a kill, not a Ctrl-C
            raise MemoryError
        return step(self)

    step, checkpoint = nn.Trainer.step, Run.checkpoint
    monkeypatch.setattr(nn.Trainer, "step", stopped)
    monkeypatch.setattr(Run, "checkpoint", lambda self, state=None, every=None: checkpoint(self, state, 0.0))
    with pytest.raises(MemoryError):
        train("parts")
    steps = 100
    parts = train("parts", resume=True)
    assert steps == 104                                                      # the four that were left of the second
    for a, b in zip(whole, parts, strict=True):
        assert a.steps == b.steps == 6
        assert np.array_equal(a.model.weight.detach().numpy(), b.model.weight.detach().numpy())
    assert load_tree("parts/checkpoint.h5")["further"].tolist() == [0, 1, 2]
    log = (here / "parts/log.txt").read_text()
    assert "model 1: 4/6, loss" in log and ", weight " in log
    steps = 200
    train("parts", resume=True)
    assert steps == 200                                                      # all were finished


def test_a_resumed_run_on_another_device_is_told(here, run, capsys):
    save_tree("state.h5", 1)
    run.checkpoint({"x": 1}, every=0.0)
    again = Run("out", Config({"a": 1}), device="cuda:0", resume=True)
    assert again.restore() == {"x": 1} and "last digits may differ" in capsys.readouterr().err


def test_runs_print_one_honest_line(here, run):
    assert repr(run) == "Run script in out, cpu"
    with run.progress(3, "work") as progress:
        progress.step(2, misfit=0.5)
        assert repr(progress) == "Progress work: 2 of 3"


def test_a_failed_write_names_the_way_out(here, run):
    run.log("x")
    run.path("x")
    (here / "out/log.txt").unlink()
    (here / "out/log.txt").mkdir()
    with pytest.raises(FileError, match=r"log\.txt: cannot be written"):
        run.log("x")


def test_a_terminal_shows_a_bar(here, start_hyperion):
    pty = pytest.importorskip("pty", reason="needs a POSIX terminal")
    import fcntl
    import struct
    import termios

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = start_hyperion("run", WALK, "--pause.seconds", 0.05, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    shown = b""
    with contextlib.suppress(OSError):                             # Linux reports the end of a terminal as an error
        while part := os.read(reader, 4096):
            shown += part
    os.close(reader)
    assert process.wait(60) == 0
    assert b"walk: 100%" in shown and b"6/6" in shown and b"misfit 2.948" in shown


def test_tables_show_a_value_a_cell_and_are_facts(here):
    run = Run("out", Config({}))
    with run.active():
        run.facts["parameters"] = 7
        run.table("Errors", {"coarse <solver>": {"error": 0.25, "cost": 1.0}, "hybrid": {"error": 0.125, "kind": "network"}})
    report = (here / "out/report.html").read_text()
    assert "<caption>Errors</caption>" in report and "<tr><th></th><th>error</th><th>cost</th><th>kind</th></tr>" in report
    assert "<tr><td>coarse &lt;solver&gt;</td><td>0.25</td><td>1</td><td></td></tr>" in report
    assert "<tr><td>hybrid</td><td>0.125</td><td></td><td>network</td></tr>" in report
    assert "hybrid: error" not in report and "<td>parameters</td><td>7</td>" in report
    with h5py.File(here / "out/result.h5") as file:
        assert file.attrs["hybrid: error"] == 0.125 and file.attrs["hybrid: kind"] == "network"
    assert "hybrid: error 0.125, kind network" in (here / "out/log.txt").read_text()


def test_how_a_training_went_is_facts_and_results(here):
    run = Run("out", Config({}))
    with run.active():
        made = trainer(0, folder=run.path("training"), checkpoint_every=None)
        run.train(made, 6)
        rows = run.trained(made)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    with h5py.File(here / "out/result.h5") as file:
        assert np.array_equal(file["training/loss"], [row["loss"] for row in rows])
        assert file.attrs["parameters"] == sum(p.size for p in made.model.parameters())
        assert file.attrs["seconds a step"] == np.median([row["seconds"] for row in rows])
