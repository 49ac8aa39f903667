"""A training step of Fourier neural operators: Hyperion beside PyTorch (the same formula) and neuraloperator, interleaved, same weights.

    hyperion bench operators                                (or: python benchmarks/operators.py)
    hyperion bench operators --cases fno2d_64 --systems hyperion torch --repeats 15 --json figures.jsonl

fno1d_1024   1024 points, width 64, frequencies 0 to 16 (modes 32), 4 layers, batch 20
fno2d_64     64 x 64 points, width 32, frequencies to 12 (modes 24 x 24), 4 layers, batch 20; fno2d_85: 85 x 85
"""

import sys
from typing import Any

import operators_cases
import runner

SYSTEMS = ("hyperion", "torch", "neuraloperator")


def main() -> int:
    names = [case.name for case in operators_cases.FULL]
    options = runner.arguments("operators", __doc__, names, list(SYSTEMS), 15, "turns of each system, after one that is not counted")
    cases = "SMOKE" if options.smoke else "FULL"
    setting = runner.announce(options, "ratios are to be trusted only roughly, and with --threads 1")
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(operators_cases, cases)):
        if case.name in options.cases:
            new = runner.compare(
                case, options.systems, runner.peers(SYSTEMS, "operators"), f"operators_cases:{cases}", index, options.threads,
                2 if options.smoke else options.repeats, work=case.batch, unit="samples/s", difference=runner.relative_l2)
            print(runner.table(new), flush=True)
            found += new
    runner.write(options, setting, found)
    ran = {(r["case"], r["system"]) for r in found}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
