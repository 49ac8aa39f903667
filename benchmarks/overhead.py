"""What one operation costs beyond its arithmetic: Tensors of 10 elements, chains, and FFTs; Hyperion beside its peers, interleaved.

    hyperion bench overhead                                (or: python benchmarks/overhead.py)
    hyperion bench overhead --cases add chain_100 --systems hyperion torch --repeats 41 --json figures.jsonl

add                    z = x + w, both require gradients: one recorded operation
add_number             z = x + 1.5, x requires gradients
multiply_add_backward  y = x * w + b; y.sum().backward(); x, w and b require gradients
chain_N                N operations, y = y * factor + shift with constants, sum, backward to x; also linear in N?
fft_*                  2048 transforms of 1024 points, 4 of 1024 x 1024, complex64, float32 for rfft, with --threads; one of 64 points
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
import overhead_cases
import runner

SYSTEMS = ("hyperion", "torch", "jax", "jax-jit", "autograd", "numpy", "scipy")
BUDGET = 20.0       # [s] of one case; slow chains get fewer turns than asked for, but at least 3


def compare(case: overhead_cases.Case, systems: list[str], cases: str, index: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time systems on one case in turn; return a record for each: `runner.KEYS`, every time, the quartiles and the difference.

    The first turn of each is not counted. The difference is the largest from the first system's result, relative to its largest element.
    """
    workers: dict[str, runner.Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                module = f"peers.{system.replace('-', '_')}_overhead"
                try:
                    workers[system] = runner.Worker(system, module, cases, index, threads, Path(folder) / f"{system}.npy")
                except runner.Unavailable as reason:
                    print(f"  {case.name}: {system} left out: {reason}")
            times: dict[str, list[float]] = {system: [] for system in workers}
            peaks: dict[str, float] = {}
            spent = 0.0
            for turn in range(repeats + 1):
                if spent > BUDGET and turn > 3:
                    break
                for system in list(workers):
                    try:
                        seconds, peaks[system] = workers[system].run()
                    except runner.Unavailable as reason:
                        print(f"  {case.name}: {system} left out: {reason}")
                        workers.pop(system).stop()
                        continue
                    spent += seconds
                    if turn:
                        times[system].append(seconds / case.loops)
            return records(case, workers, times, peaks)
        finally:
            for worker in workers.values():
                worker.stop()


def records(
    case: overhead_cases.Case, workers: dict[str, runner.Worker], times: dict[str, list[float]], peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """Return the records of one case."""
    own = statistics.median(times["hyperion"]) if "hyperion" in workers else None
    reference, found = None, []
    for system, worker in workers.items():
        result = np.load(worker.result)
        reference = result if reference is None else reference
        median = statistics.median(times[system])
        count = case.length or 1
        found.append({
            "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu", "seconds": median,
            "throughput": count / median, "unit": "operation/s" if not case.shape else "transform/s", "peak_mb": round(peaks[system], 1),
            "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"],
            "best": min(times[system]), "times": times[system], "first_call": worker.start["first"],
            "base_mb": round(worker.start["base_mb"], 1),
            "difference": float(np.max(np.abs(result - reference)) / np.max(np.abs(reference))),
        })
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return the records of one case as text."""
    columns = (("median us", 13), ("best us", 13), ("/Hyperion", 11), ("peak MB", 9), ("differs by", 12))
    lines = ["", found[0]["case"], f"{'system':<22}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"]
    for r in found:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        name = f"{r['system']} {r['version']}"
        times = f"{r['seconds'] * 1e6:>13.2f}{r['best'] * 1e6:>13.2f}"
        lines.append(f"{name:<22}{times}{ratio:>11}{r['peak_mb']:>9.0f}{r['difference']:>12.1e}  {r['note']}")
    return "\n".join(lines)


def linearity(found: list[dict[str, Any]]) -> str:
    """Return how the time of a chain grows with its length: 1 for a time linear in it."""
    seconds = {(r["case"], r["system"]): r["seconds"] for r in found}
    lines = []
    for system in dict.fromkeys(r["system"] for r in found):
        long, short = seconds.get(("chain_100000", system)), seconds.get(("chain_10000", system))
        if long and short:
            lines.append(f"{system}: chain_100000 takes {long:.2f} s, {long / short / 10.0:.2f} times ten chain_10000")
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench overhead", description=__doc__, formatter_class=form)
    names = [case.name for case in overhead_cases.FULL]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--repeats", type=int, default=31, help="turns of each system, after one that is not counted (default 31)")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=available, help=f"of the FFT cases (default {available}); others run with one")
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
    print(f"{setting['processor']}, commit {setting['commit']}, load {setting['load']:.2f}")
    if setting["load"] > 0.25:
        print("  the machine is busy: times of microseconds are not to be trusted, ratios only roughly")
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(overhead_cases, cases)):
        systems = [system for system in options.systems if system in case.systems]
        if case.name in options.cases and systems:
            threads = options.threads if case.threaded else 1
            new = compare(case, systems, f"overhead_cases:{cases}", index, threads, 2 if options.smoke else options.repeats)
            if new:
                print(table(new), flush=True)
            found += new
    if not options.smoke:
        print(linearity(found))
    if options.json:
        options.json.write_text("".join(json.dumps({key: r[key] for key in runner.KEYS}) + "\n" for r in found), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": found}, indent=1) + "\n", encoding="utf-8")
    ran = {(r["case"], r["system"]) for r in found}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
