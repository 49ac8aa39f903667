"""A training step of a GPT on the CPU, eager: Hyperion beside PyTorch, interleaved; the same weights, tokens and AdamW.

    hyperion bench gpt                                     (or: python benchmarks/gpt.py)
    hyperion bench gpt --threads 1 --repeats 21 --json figures.jsonl

gpt_4l_4h_128d_t64_b12   nanoGPT's character model for a CPU: 4 layers, 4 heads, width 128, 64 tokens, batch 12
gpt_6l_6h_384d_t256_b8   its model for a GPU, with batch 8
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import gpt_cases
import numpy as np
import runner

SYSTEMS = ("hyperion", "torch", "torch-fused")
GOALS = {"gpt_4l_4h_128d_t64_b12": 1.3, "gpt_6l_6h_384d_t256_b8": 1.2}       # Hyperion's time over torch's, at most
WARM = 2                                                                     # turns that are not counted


def compare(case: gpt_cases.Case, systems: list[str], cases: str, index: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time systems on one case in turn; return a record for each: `runner.KEYS`, every time, and the difference of the losses.

    The loss compared is that of a step after a few updates, so that it says something of gradients and optimiser too.
    """
    workers: dict[str, runner.Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for system in systems:
                module = f"peers.{system.replace('-', '_')}_gpt"
                try:
                    workers[system] = runner.Worker(system, module, cases, index, threads, Path(folder) / f"{system}.npy")
                except runner.Unavailable as reason:
                    print(f"  {case.name}: {system} left out: {reason}")
            times: dict[str, list[float]] = {system: [] for system in workers}
            peaks: dict[str, float] = {}
            for turn in range(repeats + WARM):
                for system, worker in workers.items():
                    seconds, peaks[system] = worker.run()
                    if turn >= WARM:
                        times[system].append(seconds)
            return [record(case, system, worker, times, peaks[system], workers) for system, worker in workers.items()]
        finally:
            for worker in workers.values():
                worker.stop()


def record(
    case: gpt_cases.Case, system: str, worker: runner.Worker, times: dict[str, list[float]], peak: float, workers: dict[str, runner.Worker]
) -> dict[str, Any]:
    """Return the record of one system."""
    median, own = statistics.median(times[system]), statistics.median(times["hyperion"]) if "hyperion" in times else None
    reference, loss = (float(np.load(one.result)[0]) for one in (next(iter(workers.values())), worker))
    return {
        "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu", "seconds": median,
        "throughput": case.batch * case.context / median, "unit": "token/s", "peak_mb": round(peak, 1),
        "ratio_to_hyperion": median / own if own else None, "note": worker.start["note"],
        "best": min(times[system]), "times": times[system], "base_mb": round(worker.start["base_mb"], 1), "loss": loss,
        "difference": abs(loss - reference) / abs(reference),
    }


def table(found: list[dict[str, Any]]) -> str:
    """Return the records of one case as text."""
    columns = (("median ms", 11), ("best ms", 10), ("/Hyperion", 11), ("token/s", 10), ("peak MB", 9), ("loss differs", 14))
    lines = ["", found[0]["case"], f"{'system':<24}" + "".join(f"{name:>{width}}" for name, width in columns) + "  what differs"]
    for r in found:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        lines.append(f"{r['system'] + ' ' + r['version']:<24}{1e3 * r['seconds']:>11.2f}{1e3 * r['best']:>10.2f}{ratio:>11}"
                     f"{r['throughput']:>10.0f}{r['peak_mb']:>9.0f}{r['difference']:>14.1e}  {r['note']}")
    by_system = {r["system"]: r for r in found}
    if "hyperion" in by_system and "torch" in by_system and found[0]["case"] in GOALS:
        ratio, goal = 1.0 / by_system["torch"]["ratio_to_hyperion"], GOALS[found[0]["case"]]
        verdict = "reached" if ratio <= goal else "not reached"
        lines.append(f"Hyperion takes {ratio:.2f} times torch's time; goal: at most {goal}, {verdict}")
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench gpt", description=__doc__, formatter_class=form)
    names = [case.name for case in gpt_cases.FULL]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--repeats", type=int, default=15, help=f"steps of each system, after {WARM} that are not counted (default 15)")
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
    print(f"{setting['processor']}, commit {setting['commit']}, load {setting['load']:.2f}, {options.threads} threads")
    if setting["load"] > 0.25:
        print("  the machine is busy: take only ratios, and these roughly")
    kind = "SMOKE" if options.smoke else "FULL"
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(gpt_cases, kind)):
        if options.smoke or case.name in options.cases:
            new = compare(case, options.systems, f"gpt_cases:{kind}", index, options.threads, 2 if options.smoke else options.repeats)
            if new:
                print(table(new), flush=True)
            found += new
    if options.json:
        options.json.write_text("".join(json.dumps({key: r[key] for key in runner.KEYS}) + "\n" for r in found), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": found}, indent=1) + "\n", encoding="utf-8")
    worst = max((r["difference"] for r in found), default=0.0)
    if worst > 1e-4:                # float32: the updates divide by roots of small squares
        print(f"the losses differ by {worst:.1e}: the systems did not take the same steps", file=sys.stderr)
    return 1 if worst > 1e-4 or ("hyperion" in options.systems and not any(r["system"] == "hyperion" for r in found)) else 0


if __name__ == "__main__":
    sys.exit(main())
