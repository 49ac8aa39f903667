"""Times systems beside each other: each in a process of its own that is kept alive, told in turn to run once (A, B, C, A, B, C, ...).

What is timed is a user's whole call, parameter preparation included. Memory is the high-water mark of the worker's resident memory.
"""

import argparse
import datetime
import json
import os
import platform
import select
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
PATIENCE = 900.0  # [s] that one call of a worker may take
KEYS = ("case", "system", "version", "device", "seconds", "throughput", "unit", "peak_mb", "ratio_to_hyperion", "note")


class Unavailable(Exception):
    """The system is not installed, or its worker failed; the text says which."""


class Worker:
    """The process that runs one case with one system."""

    def __init__(self, system: str, module: str, cases: str, index: int, threads: int, result: Path):
        self.system, self.result = system, result
        variable = f"HYPERION_BENCH_{system.upper().replace('-', '_')}_PYTHON"
        python = os.environ.get(variable, sys.executable)
        environment = dict(os.environ, PYTHONUNBUFFERED="1", JAX_PLATFORMS="cpu", HYPERION_THREADS=str(threads))
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(threads)
        if system.startswith("hyperion"):  # the checkout this file lies in is what is measured
            environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), *filter(None, [environment.get("PYTHONPATH")])])
        self.errors = tempfile.TemporaryFile("w+")
        words = [python, str(FOLDER / "worker.py"), module, cases, str(index), str(threads), str(result)]
        try:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1, env=environment
            )
        except OSError as error:
            raise Unavailable(f"{variable}={python}: {error}") from error
        self.start = self.answer()
        if "missing" in self.start:
            self.stop()
            missing = self.start["missing"]
            raise Unavailable(f"not installed for {python} ({missing}); install it there or name another interpreter in {variable}")

    def answer(self) -> dict[str, Any]:
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            raise Unavailable(f"no answer within {PATIENCE:g} s")
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"failed": "the worker ended"}
        if "failed" in reply:
            self.stop()
            self.errors.seek(0)
            raise Unavailable(f"{reply['failed']}\n{self.errors.read()[-2000:].rstrip()}")
        return reply

    def run(self) -> tuple[float, float]:
        """Run the call once; return (seconds, peak memory [MB])."""
        self.process.stdin.write("\n")
        reply = self.answer()
        return reply["seconds"], reply["peak_mb"]

    def stop(self) -> None:
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def peers(systems: Sequence[str], kind: str) -> dict[str, str]:
    """Return the worker module of each system for a kind of case."""
    return {system: f"peers.{system.replace('-', '_')}_{kind}" for system in systems}


def relative_l2(result: np.ndarray, reference: np.ndarray) -> float:
    """Return the L2 norm of a difference, relative to that of the reference."""
    return float(np.linalg.norm(result.astype(float) - reference.astype(float)) / np.linalg.norm(reference.astype(float)))


def relative_largest(result: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest element of a difference, relative to the largest of the reference."""
    return float(np.max(np.abs(result - reference)) / np.max(np.abs(reference)))


def compare(
    case: Any, systems: Sequence[str], modules: dict[str, str], cases: str, index: int, threads: int, repeats: int, *,
    work: float, unit: str, difference: Callable[[np.ndarray, np.ndarray], float],
    loops: int = 1, warm: int = 1, pause: float = 0.0, budget: float = float("inf"),
) -> list[dict[str, Any]]:
    """Time systems (names) on one case, interleaved; return a list of records: `KEYS` and more (every time, first call ...).

    modules: {system: worker module}.  work, unit: what a run does, for the throughput.  loops: how often a turn repeats the run.
    difference(result, reference): of a system's result from the first system's.
    warm: turns that are not counted.  pause: [s] after each turn.  budget: [s] after which only three turns more are made.
    The ratio is the system's median over Hyperion's: above 1, Hyperion is faster.
    """
    records: list[dict[str, Any]] = []
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                try:
                    workers[system] = Worker(system, modules[system], cases, index, threads, Path(folder) / f"{system}.npy")
                except Unavailable as reason:
                    print(f"  {case.name}: {system} left out: {reason}")
            times: dict[str, list[float]] = {system: [] for system in workers}
            peaks = dict.fromkeys(workers, 0.0)
            spent = 0.0
            for turn in range(repeats + warm):
                if spent > budget and turn > 3:
                    break
                for system in list(workers):
                    try:
                        seconds, peaks[system] = workers[system].run()
                    except Unavailable as reason:
                        print(f"  {case.name}: {system} left out: {reason}")
                        workers.pop(system).stop()
                        continue
                    spent += seconds
                    if turn >= warm:
                        times[system].append(seconds / loops)
                    time.sleep(pause)
            reference = None
            own = statistics.median(times["hyperion"]) if "hyperion" in workers else None
            for system, worker in workers.items():
                result = np.load(worker.result)
                reference = result if reference is None else reference
                median = statistics.median(times[system])
                records.append({
                    "case": case.name, "system": system, "version": worker.start["version"],
                    "device": getattr(case, "device", "cpu"), "seconds": median,
                    "throughput": work / median, "unit": unit, "peak_mb": round(peaks[system], 1),
                    "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"], "best": min(times[system]),
                    "times": times[system], "first_call": worker.start["first"], "base_mb": round(worker.start["base_mb"], 1),
                    "difference": difference(result, reference),
                })
        finally:
            for worker in workers.values():
                worker.stop()
    return records


def inside(case: Any, result: np.ndarray) -> np.ndarray:
    """Return the part of a gradient that lies 5 cells or more from the boundary; gathers as they are."""
    return result[(slice(5, -5),) * result.ndim] if result.shape == case.shape else result


def of_waves(case: Any) -> dict[str, Any]:
    """Return the options of `compare` for a wave equation; gradients are compared away from the boundary.

    The worker's first call is not among the turns. The pause lets a system's threads go to sleep, and frees its gigabytes.
    """
    return {
        "work": case.cell_steps / 1e6, "unit": "Mcell/s", "warm": 0, "pause": 1.0,
        "difference": lambda result, reference: relative_l2(inside(case, result), inside(case, reference)),
    }


def table(records: Sequence[dict[str, Any]], scale: str = "ms") -> str:
    """Return the records of one case as text, with what differs between the systems beside each figure.

    scale: of times: "s", "ms" or "us".
    """
    if not records:
        return ""
    factor = {"s": 1.0, "ms": 1e3, "us": 1e6}[scale]
    columns = ((f"median {scale}", 12), (f"best {scale}", 12), (records[0]["unit"], 14), ("peak MB", 9), ("/Hyperion", 11), ("first s", 9),
               ("differs by", 12))
    lines = ["", records[0]["case"], f"{'system':<24}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"]
    for r in records:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        lines.append(
            f"{r['system'] + ' ' + r['version']:<24}{factor * r['seconds']:>12.3f}{factor * r['best']:>12.3f}{r['throughput']:>14.4g}"
            f"{r['peak_mb']:>9.0f}{ratio:>11}{r['first_call']:>9.2f}{r['difference']:>12.1e}  {r['note']}"
        )
    return "\n".join(lines)


def arguments(command: str, doc: str | None, cases: Sequence[str], systems: Sequence[str], repeats: int, turns: str,
              device: bool = False) -> argparse.Namespace:
    """Return the options that all timing commands share, checked: cases, systems, repeats, threads, smoke, json, results.

    turns: what a repeat is, for the help.  device: whether there are cases for a GPU, too.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"hyperion bench {command}", description=doc, formatter_class=form)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases), metavar="CASE", help=f"of {', '.join(cases)}")
    parser.add_argument("--systems", nargs="+", choices=systems, default=list(systems), metavar="SYSTEM", help=f"of {', '.join(systems)}")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"{turns} (default {repeats})")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=available, help=f"of each system (default {available})")
    if device:
        parser.add_argument("--device", choices=("cpu", "cuda:0"), default="cpu", help="where; default cpu")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that everything runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line: " + ", ".join(KEYS))
    parser.add_argument("--results", type=Path, metavar="FILE", help="one JSON object: every time, hardware, versions, commit, command")
    options = parser.parse_args()
    for name, value in (("--repeats", options.repeats), ("--threads", options.threads)):
        if value < 1:
            parser.error(f"{name} {value}: it must be at least 1")
    for name, path in (("--json", options.json), ("--results", options.results)):
        if path is not None and path.exists():
            parser.error(f"{name} {path}: it exists; remove it or name another file")
        if path is not None and not path.parent.is_dir():
            parser.error(f"{name} {path}: there is no folder {path.parent}; make it first")
    return options


def announce(options: argparse.Namespace, warning: str, load: float = 0.25) -> dict[str, Any]:
    """Print where the run happens, with a warning above a load, and return it."""
    setting = environment(options.threads)
    print(f"{setting['processor']}, {options.threads} threads, commit {setting['commit']}, load {setting['load']:.2f}")
    if setting["load"] > load:
        print(f"  the machine is busy: {warning}")
    return setting


def write(options: argparse.Namespace, setting: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write the files that the options ask for."""
    if options.json:
        options.json.write_text("".join(json.dumps({key: r[key] for key in KEYS}) + "\n" for r in records), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": records}, indent=1) + "\n", encoding="utf-8")


def environment(threads: int) -> dict[str, Any]:
    """Return what a reader needs to judge the figures: hardware, versions, commit, command, load."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    describe = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    interpreter = [Path(sys.executable).name] if sys.argv[0].endswith(".py") else []
    return {
        "command": shlex.join([*interpreter, Path(sys.argv[0]).name, *sys.argv[1:]]), "commit": commit or None,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "processor": model, "processors": os.cpu_count(),
        "threads": threads, "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(), "numpy": np.__version__, "system": platform.platform(),
    }
