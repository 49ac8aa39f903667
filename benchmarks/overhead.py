"""What one operation costs beyond its arithmetic: Tensors of 10 elements, chains, and FFTs; Hyperion beside its peers, interleaved.

    hyperion bench overhead                                (or: python benchmarks/overhead.py)
    hyperion bench overhead --cases add chain_100 --systems hyperion torch --repeats 41 --json figures.jsonl

add                    z = x + w, both require gradients: one recorded operation
add_number             z = x + 1.5, x requires gradients
multiply_add_backward  y = x * w + b; y.sum().backward(); x, w and b require gradients
chain_N                N operations, y = y * factor + shift with constants, sum, backward to x; also linear in N?
fft_*                  2048 transforms of 1024 points, 4 of 1024 x 1024, complex64, float32 for rfft, with --threads; one of 64 points
"""

import sys
from typing import Any

import overhead_cases
import runner

SYSTEMS = ("hyperion", "torch", "jax", "jax-jit", "autograd", "numpy", "scipy")
BUDGET = 20.0       # [s] of one case; slow chains get fewer turns than asked for, but at least 3


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
    names = [case.name for case in overhead_cases.FULL]
    options = runner.arguments("overhead", __doc__, names, list(SYSTEMS), 31, "turns of each system, after one that is not counted")
    cases = "SMOKE" if options.smoke else "FULL"
    setting = runner.announce(options, "times of microseconds are not to be trusted, ratios only roughly")
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(overhead_cases, cases)):
        systems = [system for system in options.systems if system in case.systems]
        if case.name in options.cases and systems:
            threads = options.threads if case.threaded else 1
            new = runner.compare(
                case, systems, runner.peers(SYSTEMS, "overhead"), f"overhead_cases:{cases}", index, threads,
                2 if options.smoke else options.repeats, work=case.length or 1, unit="transform/s" if case.shape else "operation/s",
                difference=runner.relative_largest, loops=case.loops, budget=BUDGET)
            print(runner.table(new, "us"), flush=True)
            found += new
    if not options.smoke:
        print(linearity(found))
    runner.write(options, setting, found)
    ran = {(r["case"], r["system"]) for r in found}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
