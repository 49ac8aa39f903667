"""A training step of Fourier neural operators: Hyperion beside PyTorch (the same formula) and neuraloperator, interleaved, same weights.

    hyperion bench fno                                (or: python benchmarks/fno.py)
    hyperion bench fno --cases fno2d_64 --systems hyperion torch --repeats 15 --json figures.jsonl

fno1d_1024   1024 points, width 64, frequencies 0 to 16 (modes 32), 4 layers, batch 20
fno2d_64     64 x 64 points, width 32, frequencies to 12 (modes 24 x 24), 4 layers, batch 20; fno2d_85: 85 x 85
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import fno_cases
import numpy as np
import runner

SYSTEMS = ("hyperion", "torch", "neuraloperator")


def compare(case: fno_cases.Case, systems: list[str], cases: str, index: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time systems on one case in turn; return a record for each: `runner.KEYS`, every time, and the difference.

    The first turn of each is not counted. The difference is that of the first forward pass from the first system's, relative, in L2.
    """
    workers: dict[str, runner.Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                try:
                    workers[system] = runner.Worker(system, f"peers.{system}_fno", cases, index, threads, Path(folder) / f"{system}.npy")
                except runner.Unavailable as reason:
                    print(f"  {case.name}: {system} left out: {reason}")
            times: dict[str, list[float]] = {system: [] for system in workers}
            peaks: dict[str, float] = {}
            for turn in range(repeats + 1):
                for system in list(workers):
                    try:
                        seconds, peaks[system] = workers[system].run()
                    except runner.Unavailable as reason:
                        print(f"  {case.name}: {system} left out: {reason}")
                        workers.pop(system).stop()
                        continue
                    if turn:
                        times[system].append(seconds)
            return records(case, workers, times, peaks)
        finally:
            for worker in workers.values():
                worker.stop()


def records(
    case: fno_cases.Case, workers: dict[str, runner.Worker], times: dict[str, list[float]], peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """Return the records of one case."""
    own = statistics.median(times["hyperion"]) if "hyperion" in workers else None
    reference, found = None, []
    for system, worker in workers.items():
        result = np.load(worker.result).astype(float)
        reference = result if reference is None else reference
        median = statistics.median(times[system])
        found.append({
            "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu", "seconds": median,
            "throughput": case.batch / median, "unit": "samples/s", "peak_mb": round(peaks[system], 1),
            "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"],
            "best": min(times[system]), "times": times[system], "first_call": worker.start["first"],
            "base_mb": round(worker.start["base_mb"], 1),
            "difference": float(np.linalg.norm(result - reference) / np.linalg.norm(reference)),
        })
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return the records of one case as text."""
    columns = (("median ms", 11), ("best ms", 9), ("/Hyperion", 11), ("peak MB", 9), ("differs by", 12))
    lines = ["", found[0]["case"], f"{'system':<24}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"]
    for r in found:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        times = f"{1e3 * r['seconds']:>11.1f}{1e3 * r['best']:>9.1f}"
        lines.append(f"{r['system'] + ' ' + r['version']:<24}{times}{ratio:>11}{r['peak_mb']:>9.0f}{r['difference']:>12.1e}  {r['note']}")
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench fno", description=__doc__, formatter_class=form)
    names = [case.name for case in fno_cases.FULL]
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
    cases = "SMOKE" if options.smoke else "FULL"
    setting = runner.environment(options.threads)
    print(f"{setting['processor']}, {options.threads} threads, commit {setting['commit']}, load {setting['load']:.2f}")
    if setting["load"] > 0.25:
        print("  the machine is busy: ratios are to be trusted only roughly, and with --threads 1")
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(fno_cases, cases)):
        if case.name in options.cases:
            new = compare(case, options.systems, f"fno_cases:{cases}", index, options.threads, 2 if options.smoke else options.repeats)
            if new:
                print(table(new), flush=True)
            found += new
    if options.json:
        options.json.write_text("".join(json.dumps({key: r[key] for key in runner.KEYS}) + "\n" for r in found), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": found}, indent=1) + "\n", encoding="utf-8")
    ran = {(r["case"], r["system"]) for r in found}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
