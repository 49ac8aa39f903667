"""A physics-informed network solves the Allen-Cahn equation: sharp fronts that grow from a smooth start, hard for plain networks.

u_t = 1e-4 u_xx + 5 (u - u^3) on a circle of length 2, from x^2 cos(pi x): the benchmark of Raissi et al. 2019, J. Comput. Phys. 378, 686,
section 3.2.1, who report 7.0e-3 (with steps in time); Wang et al. 2023, arXiv:2308.08468 (JAX-PI), report 5.4e-5 with Adam, causal and
balanced weights, Fourier features and factorised weights. Here the start holds exactly, and the whole inverse Hessian does the rest.
JAX-PI's way on a GPU: `--config scenarios/pinn_allen_cahn_paper.toml`. The reference is a spectral solution made here.
"""

from typing import Any

import numpy as np

import hyperion as hp
from hyperion import fft, io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

PUBLISHED = {"Raissi et al. 2019, section 3.2.1": 7.0e-3, "JAX-PI, Wang et al. 2023": 5.4e-5}
DIFFUSIVITY, REACTION = 1e-4, 5.0


def start(x):
    """Return the initial condition; where the circle closes it has a kink."""
    return x**2 * hp.cos(np.pi * x)


def reference(n, step):
    """Return x, t and u (x, t) by Fourier modes and exponential Runge-Kutta steps of order 4."""
    x, t = -1.0 + 2.0 * np.arange(n) / n, np.linspace(0.0, 1.0, 201)

    def reaction(modes):
        return fft.rfft(-REACTION * fft.irfft(modes, n=n) ** 3)

    linear = hp.asarray(REACTION - DIFFUSIVITY * (np.pi * np.arange(n // 2 + 1)) ** 2)
    advance = pde.ETDRK4(step=step).advance(linear, reaction, step, np.dtype("float64"))
    modes = fft.rfft(start(x))
    found = [modes]
    for _ in t[1:]:
        for _ in range(round(t[1] / step)):
            modes = advance(modes)
        found.append(modes)
    return x[::n // 256], t, np.stack([fft.irfft(m, n=n).numpy()[::n // 256] for m in found], axis=1)


def network(config):
    """Return the PINN: an exact start and a period in the loss, or a period by embedding and the start in the loss."""
    nn.seed(config.seed)
    inputs = 2 if config.exact else 1 + 2 * config.harmonics
    layers: list[Any] = [] if config.exact else [nn.Periodic(2, {0: 2.0}, config.harmonics)]
    if config.features:
        layers.append(nn.FourierFeatures(inputs, config.features, config.scale, dtype=config.dtype))
        inputs = config.features
    sizes = [inputs, *[config.width] * config.layers, 1]
    layers.append(nn.ModifiedMLP(sizes, dtype=config.dtype) if config.features else nn.MLP(sizes, hp.tanh, dtype=config.dtype))
    conditions = [operators.Initial(u=start, hard=config.exact), *([operators.Periodic("x")] if config.exact else [])]
    return operators.PINN(pde.AllenCahn(), operators.Box(x=(-1, 1), t=(0, 1)), nn.Sequential(*layers), conditions, scaled=config.exact,
                          weights={} if config.exact else {"initial": config.weight}, diffusivity=DIFFUSIVITY, reaction=REACTION)


def stages(pinn, config):
    """Yield the trainings, one after the other, each with its number of steps: Adam, then the whole inverse Hessian."""
    counts: Any = {"periodic_x" if config.exact else "initial": config.data}
    if config.adam_steps:
        causal = operators.CausalWeights(0.0, 1.0, slices=32, tolerances=(config.tolerance,))
        rate = optim.Sequential([optim.Linear(0.0, config.rate, 1000), optim.Exponential(config.rate, 0.9 ** 1e-3)])
        points = operators.Points(pinn, operators.Random(), every=1, seed=config.seed, equation=config.points, **counts)
        balance = operators.GradientNorm(every=1000)
        yield operators.PINNTrainer(pinn, optim.Adam(pinn.parameters(), lr=rate), points, balance, causal), config.adam_steps
    if config.steps:
        follow = operators.ResidualDensity(pool=4 * config.points) if config.redraw else None
        points = operators.Points(pinn, every=config.redraw, adaptive=follow, seed=config.seed, equation=config.points, **counts)
        yield operators.PINNTrainer(pinn, optim.SelfScaledBroyden(pinn), points), config.steps


def main(run, config):
    """Train, compare with the reference, show."""
    if min(config.width, config.layers, config.points, config.data, config.harmonics, config.steps + config.adam_steps) < 1:
        raise InputError("--width, --layers, --points, --data, --harmonics and the steps must be at least 1")
    x, t, truth = reference(config.modes, config.time_step)
    pinn = network(config).to(run.device)
    mesh = pinn.domain.mesh(x=x, t=t)

    def solution():
        with hp.no_grad():
            return np.concatenate([pinn(part).to("cpu").numpy() for part in np.array_split(mesh, 8)]).reshape(truth.shape)

    def error():
        return float(np.linalg.norm(solution() - truth) / np.linalg.norm(truth))

    state = run.restore() or {"stage": 0, "trainer": None, "history": np.zeros((0, 4))}
    history, trainer = state["history"].tolist(), None
    for stage, (trainer, steps) in enumerate(stages(pinn, config)):
        if stage < state["stage"]:
            continue
        if stage == state["stage"] and state["trainer"] is not None:
            trainer.load_state_dict(state["trainer"])
        name = type(trainer.optimizer).__name__
        run.log(f"{pinn!r}, {name}, {trainer.points!r}")
        with run.progress(steps, name, trainer.steps) as progress:
            for row in trainer.run(steps):
                last = row["step"] % config.every == 0 or row["step"] == steps
                history.append([len(history) + 1, row["loss"], error() if last else np.nan, row["seconds"]])
                progress.step(loss=row["loss"], **({"error": history[-1][2]} if last else {}))
                run.checkpoint(lambda i=stage, own=trainer: {"stage": i, "trainer": own.state_dict(), "history": np.array(history)})
        run.checkpoint({"stage": stage, "trainer": trainer.state_dict(), "history": np.array(history)}, every=0.0)

    found, history = solution(), np.array(history)
    run.facts["relative L2 error"] = error()
    for source, value in PUBLISHED.items():
        run.facts[f"relative L2 error, published ({source})"] = value
    run.facts["compared with"] = f"a spectral solution, {config.modes} points"
    run.facts["parameters"] = sum(p.size for p in pinn.parameters())
    run.facts["seconds of training"] = float(history[:, 3].sum())
    axes = (io.Axis("x", "", x[1] - x[0], x[0]), io.Axis("t", "", t[1] - t[0], t[0]))
    run.results.write("solution/network", found, "", axes)
    run.results.write("solution/reference", truth, "", axes)
    run.results.write("training/history", history, "", (io.Axis("step"), io.Axis("step, loss, error, seconds")))
    places = [trainer.points.batch["equation"]["points"].to("cpu").numpy()] if trainer else []
    run.figure(plot.solution(x, t, found, truth, (0.1, 0.5, 0.9), places=places, limits=(-1.15, 1.15),
                             title="u(x, t) of the network, and points where the equation is to hold"), "solution")
    run.figure(plot.solution_errors(x, t, found, truth, history, {source.split(",")[0]: value for source, value in PUBLISHED.items()}),
               "errors")
