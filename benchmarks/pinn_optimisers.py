"""How deep optimisers take one PINN, and how fast: Burgers' equation, error against the exact solution over processor seconds.

    python benchmarks/pinn_optimisers.py                                         (minutes: 60 processor seconds for each optimiser)
    python benchmarks/pinn_optimisers.py --optimisers lm ssbroyden --layers 8 --points 10000 --seconds 300 --json curves.jsonl

u_t + u u_x = 0.01 / pi u_xx on -1 < x < 1, 0 < t < 1, u(x, 0) = -sin(pi x), u(+-1, t) = 0; both conditions hold exactly. A tanh MLP in
float64 from one Glorot start; points follow the residual (RAD) and are drawn anew, at intervals that suit the optimiser. All begin with the
same steps of L-BFGS, whose seconds count: from the Glorot start the strongest (LM, SSBroyden) often run into a wrong solution, whose
jump hides between the points. The error is relative L2 on 256 x 100 points against the Cole-Hopf integral by Gauss-Hermite quadrature.

Seconds are those of the processor (all threads together, so run with OMP_NUM_THREADS=1 HYPERION_THREADS=1), measured without the
evaluations of the error: they hold on a busy machine too.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import runner

import hyperion as hp
from hyperion import nn, operators, optim, pde

VISCOSITY = 0.01 / np.pi
LEVELS = (1e-1, 1e-2, 1e-3, 5e-4, 1e-4, 1e-5)

# name: (what makes the optimiser, steps after which points are drawn anew)
OPTIMISERS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "adam": (lambda pinn: optim.Adam(pinn, lr=optim.Exponential(2e-3, 0.9998)), 100),
    "soap": (lambda pinn: optim.SOAP(pinn, lr=optim.Exponential(3e-3, 0.9998)), 100),
    "lbfgs": (lambda pinn: optim.LBFGS(pinn, memory=50), 100),
    "bfgs": (lambda pinn: optim.SelfScaledBroyden(pinn, family=optim.bfgs), 500),
    "ssbfgs": (lambda pinn: optim.SelfScaledBroyden(pinn, family=optim.ssbfgs), 500),
    "ssbroyden": (lambda pinn: optim.SelfScaledBroyden(pinn), 500),
    "gauss_newton": (lambda pinn: optim.GaussNewton(pinn), 10),
    "lm": (lambda pinn: optim.LevenbergMarquardt(pinn), 10),
}


def exact(x: np.ndarray, t: np.ndarray, nodes: int = 120) -> np.ndarray:
    """Return the solution at points with t > 0: the Cole-Hopf integral (Basdevant et al. 1986, Comput. Fluids 14, 23, eq. 2.4)."""
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    away = x[..., None] - np.sqrt(4.0 * VISCOSITY * t)[..., None] * z
    exponent = -np.cos(np.pi * away) / (2.0 * np.pi * VISCOSITY)
    mass = np.exp(exponent - exponent.max(axis=-1, keepdims=True)) * weights
    return -(np.sin(np.pi * away) * mass).sum(axis=-1) / mass.sum(axis=-1)


def problem(layers: int, width: int, seed: int) -> operators.PINN:
    """Return an untrained PINN."""
    generator = hp.random.Generator(seed)
    network = nn.MLP([2, *[width] * layers, 1], dtype="float64", generator=generator)
    for layer in network.layers:
        layer.weight.assign(nn.initializers.xavier_normal(layer.weight.shape, generator, dtype="float64"))
        layer.bias.assign(np.zeros(layer.outputs))
    conditions = [operators.Initial(u=lambda x: -hp.sin(np.pi * x), hard=True), operators.Dirichlet(u=0.0, hard=True)]
    return operators.PINN(pde.Burgers(), operators.Box(x=(-1, 1), t=(0, 1)), network, conditions, viscosity=VISCOSITY)


def trainer_of(pinn: operators.PINN, optimizer: Any, every: int, options: argparse.Namespace) -> operators.PINNTrainer:
    """Return a trainer whose points follow the residual."""
    adaptive = operators.ResidualDensity(pool=4 * options.points)
    points = operators.Points(pinn, operators.Random(), every, adaptive, seed=options.seed, equation=options.points)
    return operators.PINNTrainer(pinn, optimizer, points)


def curve(name: str, options: argparse.Namespace) -> list[dict[str, float]]:
    """Train with one optimiser for the given seconds; return rows of seconds, steps, loss, error."""
    pinn = problem(options.layers, options.width, options.seed)
    make, every = OPTIMISERS[name]
    warm, (start, often) = options.warmup if name != "lbfgs" else 0, OPTIMISERS["lbfgs"]
    trainer = trainer_of(pinn, (start if warm else make)(pinn), often if warm else every, options)
    x, t = np.meshgrid(np.linspace(-1.0, 1.0, 256), np.linspace(0.01, 1.0, 100))
    places, solution = np.stack([x.ravel(), t.ravel()], axis=1), exact(x, t).ravel()
    rows: list[dict[str, float]] = []
    spent, due = 0.0, 0.0
    while spent < options.seconds and not trainer.stalled:
        if warm and trainer.steps == warm:
            trainer, warm = trainer_of(pinn, make(pinn), every, options), 0
        began = time.process_time()
        row = trainer.step()
        spent += time.process_time() - began
        if spent >= due:
            with hp.no_grad():
                error = np.linalg.norm(pinn(places).numpy()[:, 0] - solution) / np.linalg.norm(solution)
            rows.append({"seconds": spent, "step": row["step"], "loss": row["loss"], "error": float(error)})
            due = spent + options.seconds / 60.0
    return rows


def summary(name: str, rows: list[dict[str, float]]) -> str:
    """Return a line: the seconds to each level of error, and where it ended."""
    reached = [next((f"{row['seconds']:.1f}" for row in rows if row["error"] <= level), "-") for level in LEVELS]
    end = rows[-1]
    best = min(row["error"] for row in rows)
    return (f"{name:<14}" + "".join(f"{text:>9}" for text in reached)
            + f"{best:>11.1e}{end['error']:>11.1e}{end['loss']:>11.1e}{end['step']:>8.0f}{end['seconds']:>9.1f}")


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python benchmarks/pinn_optimisers.py", description=__doc__, formatter_class=form)
    usual = [name for name in OPTIMISERS if name != "gauss_newton"]
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=usual)
    parser.add_argument("--layers", type=int, default=4, help="hidden layers (default 4)")
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--points", type=int, default=4000, help="of the equation (default 4000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor, for each optimiser (default 60)")
    parser.add_argument("--warmup", type=int, default=600, help="steps of L-BFGS at the beginning (default 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two seconds each, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one object a line: optimiser, options, machine, rows of the curve")
    options = parser.parse_args()
    if options.smoke:
        options.layers, options.points, options.seconds, options.warmup = 2, 200, 2.0, 20
    setting = runner.environment(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    count = sum(x.size for x in problem(options.layers, options.width, options.seed).parameters())
    print(f"{setting['processor']}, load {setting['load']:.1f}; {options.layers} x {options.width} tanh, {count} parameters, "
          f"{options.points} points")
    print(f"{'seconds to':<14}" + "".join(f"{level:>9.0e}" for level in LEVELS)
          + f"{'best':>11}{'last':>11}{'loss':>11}{'steps':>8}{'seconds':>9}")
    for name in options.optimisers:
        rows = curve(name, options)
        print(summary(name, rows), flush=True)
        if options.json:
            record = {"optimiser": name, "layers": options.layers, "width": options.width, "points": options.points, "seed": options.seed,
                      "warmup": options.warmup}
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**record, **setting, "rows": rows}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
