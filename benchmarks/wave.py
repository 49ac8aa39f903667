"""Acoustic wave cases on the CPU: Hyperion beside every peer that is installed, interleaved.

    hyperion bench wave                                    (or: python benchmarks/wave.py)
    hyperion bench wave --cases acoustic_2d acoustic_3d --systems hyperion devito --repeats 7 --json figures.jsonl
    HYPERION_BENCH_DEVITO_PYTHON=/path/to/python hyperion bench wave      (a peer that lives in an environment of its own)
"""

import argparse
import json
import os
import sys
from pathlib import Path

import bandwidth
import runner
import wave_cases

MODULES = {
    "hyperion": "peers.hyperion_wave",
    "deepwave": "peers.deepwave_wave",
    "deepwave-sampled": "peers.deepwave_sampled_wave",  # its option for less memory, gradient only
    "devito": "peers.devito_wave",
    "jax": "peers.jax_wave",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="hyperion bench wave", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in wave_cases.FULL]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=f"of {', '.join(names)}; default all")
    systems = list(MODULES)
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems, metavar="SYSTEM", help=f"of {', '.join(systems)}")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each system, after one that is not counted (default 5)")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=available, help=f"threads of every system (default {available})")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that everything runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line: " + ", ".join(runner.KEYS))
    everything = "every time, hardware, versions, commit, command"
    parser.add_argument("--results", type=Path, metavar="FILE", help=f"write one JSON object with {everything}")
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
    if setting["load"] > 0.25 * options.threads:
        print("  the machine is busy: peers whose threads spin (OpenMP) suffer most, so the ratios are not to be trusted")
    if not options.smoke:
        setting["bandwidth"] = bandwidth.measure(options.threads)
        print("  a = b + c: " + ", ".join(f"{name} {value:.0f} GB/s" for name, value in setting["bandwidth"].items()))
    records = []
    for index, case in enumerate(getattr(wave_cases, cases)):
        if case.name in options.cases:
            systems = [s for s in options.systems if case.gradient or s != "deepwave-sampled"]
            new = runner.compare(case, systems, MODULES, f"wave_cases:{cases}", index, options.threads, options.repeats)
            print(runner.table(new), flush=True)
            records += new
    if options.json:
        lines = [json.dumps({key: r[key] for key in runner.KEYS}) + "\n" for r in records]
        options.json.write_text("".join(lines), encoding="utf-8")
    if options.results:
        options.results.write_text(json.dumps({**setting, "smoke": options.smoke, "records": records}, indent=1) + "\n", encoding="utf-8")
    ran = {(r["case"], r["system"]) for r in records}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
