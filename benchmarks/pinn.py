"""Loss and gradient of a physics-informed network: Hyperion beside PyTorch, JAX and DeepXDE, interleaved, with the same weights and points.

    hyperion bench pinn                               (or: python benchmarks/pinn.py)
    hyperion bench pinn --cases burgers_8x20 --systems hyperion torch --repeats 21 --json figures.jsonl

burgers_8x20        10,000 points, 8 layers of 20, tanh: u, u_x, u_xx, u_t, mean squared residual and its gradient, float32
burgers_8x20_adam   the same with a step of Adam
burgers_4x128       4 layers of 128

torch takes nested autograd.grad, torch_taylor the derivatives forward layer by layer as written by hand, jax nested jvp under jit.
"""

import sys
from typing import Any

import pinn_cases
import runner

SYSTEMS = ("hyperion", "torch", "torch_taylor", "jax", "deepxde")


def main() -> int:
    names = [case.name for case in pinn_cases.FULL]
    options = runner.arguments("pinn", __doc__, names, list(SYSTEMS), 21, "turns of each system, after two that are not counted")
    cases = "SMOKE" if options.smoke else "FULL"
    setting = runner.announce(options, "ratios are to be trusted only roughly, and with --threads 1")
    found: list[dict[str, Any]] = []
    for index, case in enumerate(getattr(pinn_cases, cases)):
        if case.name in options.cases:
            new = runner.compare(
                case, options.systems, runner.peers(SYSTEMS, "pinn"), f"pinn_cases:{cases}", index, options.threads,
                2 if options.smoke else options.repeats, work=case.count, unit="points/s", warm=2, difference=runner.relative_l2)
            print(runner.table(new), flush=True)
            found += new
    runner.write(options, setting, found)
    ran = {(r["case"], r["system"]) for r in found}
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in options.cases) else 0


if __name__ == "__main__":
    sys.exit(main())
