"""Compiled programs on the CPU: `hp.jit` beside PyTorch (eager) and JAX (jit), interleaved.

    hyperion bench jit                                    (or: python benchmarks/jit.py)
    hyperion bench jit --cases chain_100 moons --systems hyperion jax --repeats 15 --json figures.jsonl

The first call of each system records and compiles; it stands in the column "first s" and is not among the turns.
"""

import sys
from typing import Any

import jit_cases
import runner

SYSTEMS = ("hyperion", "torch", "jax")


def main() -> int:
    names = [case.name for case in jit_cases.FULL]
    options = runner.arguments("jit", __doc__, names, list(SYSTEMS), 15, "turns of each system, after one that is not counted")
    setting = runner.announce(options, "ratios hold roughly, times do not")
    cases = "SMOKE" if options.smoke else "FULL"
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(jit_cases, cases)):
        if case.name in options.cases:
            new = runner.compare(
                case, [system for system in options.systems if system in case.systems], runner.peers(SYSTEMS, "jit"), f"jit_cases:{cases}",
                index, options.threads, 1 if options.smoke else options.repeats, work=1.0, unit="calls/s",
                difference=runner.relative_largest, loops=case.loops, budget=120.0)
            print(runner.table(new, "us" if case.size < 1000 and case.kind != "gpt" else "ms"), flush=True)
            found += new
    runner.write(options, setting, found)
    asked = {case.name for case in getattr(jit_cases, cases)} & set(options.cases)
    return 1 if "hyperion" in options.systems and asked - {r["case"] for r in found if r["system"] == "hyperion"} else 0


if __name__ == "__main__":
    sys.exit(main())
