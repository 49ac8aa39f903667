"""Times systems beside each other: each in a process of its own that is kept alive, told in turn to run once (A, B, C, A, B, C, ...).

What is timed is a user's whole call, parameter preparation included. Memory is the high-water mark of the worker's resident memory.
"""

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
from collections.abc import Callable
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
        if system == "hyperion":  # the checkout this file lies in is what is measured
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


def compare(
    case: Any, systems: list[str], modules: dict[str, str], cases: str, index: int, threads: int, repeats: int,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Time `systems` (names) on one case, interleaved; return a list of records: `KEYS` and more (every time, first call ...).

    modules: {system: worker module}. The ratio is the system's median over Hyperion's: above 1, Hyperion is faster.
    The difference is the relative L2 norm of the system's result against the first system's; gradients are compared away from the boundary.
    """
    records, workers = [], {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                try:
                    workers[system] = Worker(system, modules[system], cases, index, threads, Path(folder) / f"{system}.npy")
                except Unavailable as reason:
                    say(f"  {case.name}: {system} left out: {reason}")
            times = {system: [] for system in workers}
            peaks = dict.fromkeys(workers, 0.0)
            for _ in range(repeats):
                for system in list(workers):
                    try:
                        seconds, peaks[system] = workers[system].run()
                        times[system].append(seconds)
                    except Unavailable as reason:
                        say(f"  {case.name}: {system} left out: {reason}")
                        workers.pop(system).stop()
                    time.sleep(1.0)  # the last system's threads go to sleep, and the gigabytes it still frees are gone
            reference = None
            own = statistics.median(times["hyperion"]) if "hyperion" in workers else None
            for system, worker in workers.items():
                result = inside(case, np.load(worker.result))
                reference = result if reference is None else reference
                median, best = statistics.median(times[system]), min(times[system])
                records.append({
                    "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu", "seconds": median,
                    "throughput": case.cell_steps / median / 1e6, "unit": "Mcell/s", "peak_mb": round(peaks[system], 1),
                    "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"],
                    "best": best, "times": times[system], "first_call": worker.start["first"], "base_mb": round(worker.start["base_mb"], 1),
                    "difference": float(np.linalg.norm(result - reference) / np.linalg.norm(reference)),
                })
        finally:
            for worker in workers.values():
                worker.stop()
    return records


def inside(case: Any, result: np.ndarray) -> np.ndarray:
    """Return the part of a gradient that lies 5 cells or more from the boundary; gathers as they are."""
    return result[(slice(5, -5),) * result.ndim].astype(float) if result.shape == case.shape else result.astype(float)


def table(records: list[dict[str, Any]]) -> str:
    """Return the records of all cases as text, with what differs between the systems beside each figure."""
    columns = (("median s", 10), ("best s", 9), ("Mcell/s", 9), ("peak MB", 9), ("/Hyperion", 11), ("first s", 9), ("differs by", 12))
    head = f"{'system':<24}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"
    lines = []
    for name in dict.fromkeys(r["case"] for r in records):
        lines += ["", name, head]
        for r in (r for r in records if r["case"] == name):
            ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
            lines.append(
                f"{r['system'] + ' ' + r['version']:<24}{r['seconds']:>10.3f}{r['best']:>9.3f}{r['throughput']:>9.0f}{r['peak_mb']:>9.0f}"
                f"{ratio:>11}{r['first_call']:>9.2f}{r['difference']:>12.1e}  {r['note']}"
            )
    return "\n".join(lines)


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
