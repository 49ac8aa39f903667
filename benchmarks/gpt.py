"""A training step of a GPT on the CPU, eager: Hyperion beside PyTorch, interleaved; the same weights, tokens and AdamW.

    hyperion bench gpt                                     (or: python benchmarks/gpt.py)
    hyperion bench gpt --threads 1 --repeats 21 --json figures.jsonl

gpt_4l_4h_128d_t64_b12   nanoGPT's character model for a CPU: 4 layers, 4 heads, width 128, 64 tokens, batch 12
gpt_6l_6h_384d_t256_b8   its model for a GPU, with batch 8
"""

import sys
from typing import Any

import gpt_cases
import runner

SYSTEMS = ("hyperion", "torch", "torch-fused")
GOALS = {"gpt_4l_4h_128d_t64_b12": 1.3, "gpt_6l_6h_384d_t256_b8": 1.2}       # Hyperion's time over torch's, at most
WARM = 2                                                                     # turns that are not counted


def verdict(found: list[dict[str, Any]]) -> str:
    """Return whether a case has reached its goal."""
    by_system = {r["system"]: r for r in found}
    if "hyperion" in by_system and "torch" in by_system and found[0]["case"] in GOALS:
        ratio, goal = 1.0 / by_system["torch"]["ratio_to_hyperion"], GOALS[found[0]["case"]]
        return f"Hyperion takes {ratio:.2f} times torch's time; goal: at most {goal}, {'reached' if ratio <= goal else 'not reached'}"
    return ""


def main() -> int:
    names = [case.name for case in gpt_cases.FULL]
    options = runner.arguments("gpt", __doc__, names, list(SYSTEMS), 15, f"steps of each system, after {WARM} that are not counted")
    setting = runner.announce(options, "take only ratios, and these roughly")
    kind = "SMOKE" if options.smoke else "FULL"
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(gpt_cases, kind)):
        if options.smoke or case.name in options.cases:
            new = runner.compare(
                case, options.systems, runner.peers(SYSTEMS, "gpt"), f"gpt_cases:{kind}", index, options.threads,
                2 if options.smoke else options.repeats, work=case.batch * case.context, unit="token/s",
                difference=runner.relative_largest, warm=WARM)
            print(runner.table(new), verdict(new), sep="\n", flush=True)
            found += new
    runner.write(options, setting, found)
    worst = max((r["difference"] for r in found), default=0.0)
    if worst > 1e-4:                # float32: the updates divide by roots of small squares
        print(f"the losses differ by {worst:.1e}: the systems did not take the same steps", file=sys.stderr)
    return 1 if worst > 1e-4 or ("hyperion" in options.systems and not any(r["system"] == "hyperion" for r in found)) else 0


if __name__ == "__main__":
    sys.exit(main())
