"""Full-waveform inversion of Marmousi-II on the CPU: one gradient of all 16 shots, and the model error over time, beside deepwave.

    hyperion bench fwi_marmousi --true TRUE.f32 --start SMOOTH.f32          (or: python benchmarks/fwi_marmousi.py ...)
    hyperion bench fwi_marmousi --true TRUE.f32 --start SMOOTH.f32 --seconds 180 --peer-seconds 600 --json figures.jsonl

The files: float32, 500 x 174 nodes at 20 m, depth fastest. The clock of an inversion runs while models are updated, static corrections and
preconditioners included; the modelling of the observed data is not. Both use data made on their own fine grid.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import fwi_cases
import runner

GRADIENT = {"hyperion": "peers.hyperion_fwi", "deepwave": "peers.deepwave_fwi"}
MARKS = (0.0786, 0.0712, 0.0697, 0.0677, 0.0671, 0.0660)  # relative model errors whose first time is told


def inversion(system: str, seconds: float, threads: int) -> list[dict[str, float]]:
    """Run one system's whole inversion and return its {"seconds", "error"} after each evaluation or iteration."""
    python = os.environ.get(f"HYPERION_BENCH_{system.upper()}_PYTHON", sys.executable)
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), HYPERION_THREADS=str(threads))
    if system == "hyperion":
        environment["PYTHONPATH"] = os.pathsep.join([str(runner.FOLDER.parent), *filter(None, [environment.get("PYTHONPATH")])])
    words = [python, str(runner.FOLDER / "peers" / f"{system}_fwi.py"), str(seconds), *([str(threads)] if system != "hyperion" else [])]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"  {system} left out: its inversion ended with exit code {done.returncode}")
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def course(points: list[dict[str, float]]) -> str:
    """Return when each mark was first passed, and the best error."""
    best, first = 1.0, {}
    for point in points:
        best = min(best, point["error"])
        first |= {mark: point["seconds"] for mark in MARKS if best <= mark and mark not in first}
    passed = "".join(f"{first[mark]:>10.1f}" if mark in first else f"{'-':>10}" for mark in MARKS)
    return f"{passed}{best:>10.4f}{points[-1]['seconds']:>10.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.prog = "hyperion bench fwi_marmousi"
    parser.add_argument("--true", type=Path, required=True, metavar="FILE", help="true model")
    parser.add_argument("--start", type=Path, required=True, metavar="FILE", help="first model")
    parser.add_argument("--seconds", type=float, default=180.0, help="of updates for Hyperion; 0: gradients only (default 180)")
    parser.add_argument("--peer-seconds", type=float, default=600.0, help="of updates for deepwave; 0: no inversion by it (default 600)")
    parser.add_argument("--repeats", type=int, default=3, help="gradients of each system, after one that is not counted (default 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--smoke", action="store_true", help="a tiny gradient only, to see that everything runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line: " + ", ".join(runner.KEYS))
    options = parser.parse_args()
    for name, path in (("--true", options.true), ("--start", options.start)):
        if not path.is_file():
            parser.error(f"{name} {path}: no such file")
    if options.json is not None and options.json.exists():
        parser.error(f"--json {options.json}: it exists; remove it or name another file")
    if options.repeats < 1 or options.threads < 1 or options.seconds < 0 or options.peer_seconds < 0:
        parser.error("--repeats and --threads must be at least 1, --seconds and --peer-seconds at least 0")
    os.environ["MARMOUSI_TRUE"], os.environ["MARMOUSI_START"] = str(options.true.resolve()), str(options.start.resolve())

    setting = runner.environment(options.threads)
    print(f"{setting['processor']}, {options.threads} threads, commit {setting['commit']}, load {setting['load']:.2f}")
    cases = "SMOKE" if options.smoke else "FULL"
    case = getattr(fwi_cases, cases)[0]
    records = runner.compare(
        case, list(GRADIENT), GRADIENT, f"fwi_cases:{cases}", 0, options.threads, options.repeats, **runner.of_waves(case))
    print(runner.table(records, "s"), flush=True)
    if options.json:
        lines = [json.dumps({key: record[key] for key in runner.KEYS}) + "\n" for record in records]
        options.json.write_text("".join(lines), encoding="utf-8")
    if not options.smoke:
        print("\nmarmousi_inversion: seconds of updates until the relative model error is at most")
        print(f"{'':<12}" + "".join(f"{mark:>10.4f}" for mark in MARKS) + f"{'best':>10}{'after s':>10}", flush=True)
        for system, seconds in (("hyperion", options.seconds), ("deepwave", options.peer_seconds)):
            points = inversion(system, seconds, options.threads) if seconds else []
            if points:
                print(f"{system:<12}{course(points)}", flush=True)
    return 0 if any(record["system"] == "hyperion" for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
