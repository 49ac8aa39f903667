"""neuraloperator's small Darcy example, 15 epochs on 1000 examples of 16 x 16 points: error and time, both systems epoch by epoch in turns.

    hyperion bench darcy_small --train darcy_train_16.npz --test darcy_test_16.npz      (or: python benchmarks/darcy_small.py ...)

The files hold "x" and "y" of neuraloperator's darcy_train_16.pt and darcy_test_16.pt (hyperion.io.read_dataset says how to convert them).
Both systems have the same FNO (8 x 8 modes, 24 channels, 4 layers), see the same batches and begin with their own random weights; each seed
is a training of its own. Printed: relative L2 error of the test examples and seconds of training, for each seed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import darcy_small_cases as cases
import runner

SYSTEMS = ("hyperion", "neuraloperator")


def compare(case: cases.Case, index: int, which: str, options: argparse.Namespace, seeds: int) -> list[dict[str, Any]]:
    """Train all seeds with all systems, one epoch each in turn; return a record for each system."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cases.ERRORS] = folder
        workers: dict[str, runner.Worker] = {}
        modules = runner.peers(SYSTEMS, "darcy")
        for system in options.systems:
            try:
                workers[system] = runner.Worker(
                    system, modules[system], f"darcy_small_cases:{which}", index, options.threads, Path(folder) / f"{system}.npy")
            except runner.Unavailable as reason:
                print(f"  {case.name}: {system} left out: {reason}")
        times = {system: [[0.0] * case.epochs for _ in range(seeds)] for system in workers}
        peaks = dict.fromkeys(workers, 0.0)
        try:
            for seed in range(seeds):
                for epoch in range(case.epochs):
                    for system, worker in workers.items():
                        times[system][seed][epoch], peaks[system] = worker.run()
        finally:
            for worker in workers.values():
                worker.stop()
        records = []
        for system, worker in workers.items():
            errors = [json.loads((Path(folder) / f"{system}-{seed}.json").read_text(encoding="utf-8")) for seed in range(seeds)]
            seconds = [sum(each) for each in times[system]]
            records.append({
                "case": case.name, "system": system, "version": worker.start["version"], "device": "cpu",
                "seconds": statistics.median(seconds), "throughput": case.epochs * case.examples / statistics.median(seconds),
                "unit": "samples/s", "peak_mb": round(peaks[system], 1), "ratio_to_hyperion": None, "note": worker.start["note"],
                "errors": errors, "error": statistics.mean(errors), "times": seconds, "epochs": times[system]})
    own = next((r["seconds"] for r in records if r["system"] == "hyperion"), None)
    for record in records:
        record["ratio_to_hyperion"] = record["seconds"] / own if own else None
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Return the records as text."""
    lines = [f"{'system':<24}{'relative L2':>12}  {'of each seed':<28}{'seconds':>9}{'/Hyperion':>11}{'peak MB':>9}  what"]
    for r in records:
        ratio = f"{r['ratio_to_hyperion']:.2f}" if r["ratio_to_hyperion"] else "-"
        each = " ".join(f"{error:.4f}" for error in r["errors"])
        lines.append(f"{r['system'] + ' ' + r['version']:<24}{r['error']:>12.4f}  {each:<28}{r['seconds']:>9.2f}{ratio:>11}"
                     f"{r['peak_mb']:>9.0f}  {r['note']}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--train", type=Path, metavar="FILE", help="darcy_train_16 as .npz")
    parser.add_argument("--test", type=Path, metavar="FILE", help="darcy_test_16 as .npz")
    files, rest = parser.parse_known_args()
    words, sys.argv[1:] = sys.argv[1:], rest
    options = runner.arguments("darcy_small", __doc__, ["darcy_16"], list(SYSTEMS), 3, "seeds")
    sys.argv[1:] = words
    for name, path in (("--train", files.train), ("--test", files.test)):
        if path is None or not path.is_file():
            sys.exit(f"{name} {path or ''}: give the file darcy_{name[2:]}_16.npz, with arrays x and y")
    os.environ[cases.TRAIN], os.environ[cases.TEST] = str(files.train.resolve()), str(files.test.resolve())
    setting = runner.announce(options, "ratios are to be trusted only roughly, and with --threads 1")
    which = "SMOKE" if options.smoke else "FULL"
    found = compare(getattr(cases, which)[0], 0, which, options, 1 if options.smoke else options.repeats)
    print(table(found))
    runner.write(options, setting, found)
    return 0 if {"hyperion"} & {r["system"] for r in found} or "hyperion" not in options.systems else 1


if __name__ == "__main__":
    sys.exit(main())
