"""Row kernels and activations on the CPU, forward and backward: Hyperion beside PyTorch and JAX, interleaved.

    hyperion bench rows                                    (or: python benchmarks/rows.py)
    hyperion bench rows --cases softmax_10M gelu_10M --systems hyperion torch --repeats 15 --json figures.jsonl

NAME_10M            forward of 9766 rows of 1024 float32; the result is a new array each time
NAME_10M_backward   forward, recorded, and the gradients of x (weight and bias of the norms too) for a given cotangent
NAME_98k            768 rows of 128: the activations of a small transformer
"""

import sys
from typing import Any

import rows_cases
import runner

SYSTEMS = ("hyperion", "torch", "jax")


def main() -> int:
    names = [case.name for case in rows_cases.FULL]
    options = runner.arguments("rows", __doc__, names, list(SYSTEMS), 15, "turns of each system, after one that is not counted")
    setting = runner.announce(options, "ratios hold roughly, milliseconds do not")
    cases = "SMOKE" if options.smoke else "FULL"
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(rows_cases, cases)):
        if case.name in options.cases:
            new = runner.compare(
                case, options.systems, runner.peers(SYSTEMS, "rows"), f"rows_cases:{cases}", index, options.threads,
                1 if options.smoke else options.repeats, work=case.shape[0] * case.shape[1] / 1e9, unit="Gelement/s",
                difference=runner.relative_largest, loops=case.loops)
            print(runner.table(new), flush=True)
            found += new
    runner.write(options, setting, found)
    asked = {case.name for case in getattr(rows_cases, cases)} & set(options.cases)
    return 1 if "hyperion" in options.systems and asked - {r["case"] for r in found if r["system"] == "hyperion"} else 0


if __name__ == "__main__":
    sys.exit(main())
