"""Row kernels and activations on the CPU, forward and backward: Hyperion beside PyTorch and JAX, interleaved.

    hyperion bench rows                                    (or: python benchmarks/rows.py)
    hyperion bench rows --cases softmax_10M gelu_10M --systems hyperion torch --repeats 15 --json figures.jsonl

NAME_10M            forward of 9766 rows of 1024 float32; the result is a new array each time
NAME_10M_backward   forward, recorded, and the gradients of x (weight and bias of the norms too) for a given cotangent
NAME_98k            768 rows of 128: the activations of a small transformer
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rows_cases
import runner

SYSTEMS = ("hyperion", "torch", "jax")


def compare(case: rows_cases.Case, systems: list[str], cases: str, index: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time systems on one case in turn; return a record for each. The first turn is not counted.

    The difference is the largest from the first system's result, relative to its largest element.
    """
    workers: dict[str, runner.Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                try:
                    workers[system] = runner.Worker(system, f"peers.{system}_rows", cases, index, threads, Path(folder) / f"{system}.npy")
                except runner.Unavailable as reason:
                    print(f"  {case.name}: {system} left out: {reason}")
            times: dict[str, list[float]] = {system: [] for system in workers}
            peaks: dict[str, float] = {}
            for turn in range(repeats + 1):
                for system, worker in workers.items():
                    seconds, peaks[system] = worker.run()
                    if turn:
                        times[system].append(seconds / case.loops)
            own = statistics.median(times["hyperion"]) if "hyperion" in workers else None
            found, reference = [], None
            for system, worker in workers.items():
                result = np.load(worker.result)
                reference = result if reference is None else reference
                median = statistics.median(times[system])
                found.append({
                    "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu", "seconds": median,
                    "throughput": case.shape[0] * case.shape[1] / median / 1e9, "unit": "Gelement/s", "peak_mb": round(peaks[system], 1),
                    "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"], "best": min(times[system]),
                    "times": times[system], "first_call": worker.start["first"], "base_mb": round(worker.start["base_mb"], 1),
                    "difference": float(np.max(np.abs(result - reference)) / np.max(np.abs(reference))),
                })
            return found
        finally:
            for worker in workers.values():
                worker.stop()


def table(found: list[dict[str, Any]]) -> str:
    """Return the records of one case as text."""
    columns = (("median ms", 12), ("best ms", 12), ("/Hyperion", 11), ("peak MB", 9), ("differs by", 12))
    lines = ["", found[0]["case"], f"{'system':<22}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"]
    for r in found:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        times = f"{r['seconds'] * 1e3:>12.3f}{r['best'] * 1e3:>12.3f}"
        lines.append(f"{r['system'] + ' ' + r['version']:<22}{times}{ratio:>11}{r['peak_mb']:>9.0f}{r['difference']:>12.1e}  {r['note']}")
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench rows", description=__doc__, formatter_class=form)
    names = [case.name for case in rows_cases.FULL]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each system, after one that is not counted (default 15)")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=available, help=f"of each system (default {available})")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that everything runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line: " + ", ".join(runner.KEYS))
    parser.add_argument("--results", type=Path, metavar="FILE", help="one JSON object: every time, hardware, versions, command")
    options = parser.parse_args()
    for name, value in (("--repeats", options.repeats), ("--threads", options.threads)):
        if value < 1:
            parser.error(f"{name} {value}: it must be at least 1")
    for name, path in (("--json", options.json), ("--results", options.results)):
        if path is not None and path.exists():
            parser.error(f"{name} {path}: it exists; remove it or name another file")
        if path is not None and not path.parent.is_dir():
            parser.error(f"{name} {path}: there is no folder {path.parent}; make it first")
    setting = runner.environment(options.threads)
    print(f"{setting['processor']}, commit {setting['commit']}, load {setting['load']:.2f}")
    if setting["load"] > 0.25:
        print("  the machine is busy: ratios hold roughly, milliseconds do not")
    cases = "SMOKE" if options.smoke else "FULL"
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(rows_cases, cases)):
        if case.name in options.cases:
            new = compare(case, options.systems, f"rows_cases:{cases}", index, options.threads, 1 if options.smoke else options.repeats)
            if new:
                print(table(new), flush=True)
            found += new
    if options.json:
        options.json.write_text("".join(json.dumps({key: r[key] for key in runner.KEYS}) + "\n" for r in found), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": found}, indent=1) + "\n", encoding="utf-8")
    asked = {case.name for case in getattr(rows_cases, cases)} & set(options.cases)
    return 1 if "hyperion" in options.systems and asked - {r["case"] for r in found if r["system"] == "hyperion"} else 0


if __name__ == "__main__":
    sys.exit(main())
