"""Unknown coefficients of an equation are found from scattered values of its solution, clean and with noise.

u_t + convection u u_x = viscosity u_xx, declared below as a user would; both coefficients are trained with the network, from values at
random points. The setting of Raissi, Perdikaris and Karniadakis 2019, J. Comput. Phys. 378, 686, appendix B: 2,000 points of the shock
with coefficients 1 and 0.01 / pi; their errors are 0.096 % and 0.469 % (clean), 0.039 % and 0.008 % (1 % noise). Data from `--reference
burgers_shock.mat`, else from Hyperion's solver. Their network: `--config scenarios/pinn_inverse_burgers_paper.toml`.
"""

from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, operators, optim, pde
from hyperion.errors import InputError

PUBLISHED = {0.0: (0.096, 0.469), 0.01: (0.039, 0.008)}     # [%] convection, viscosity: the authors' tables for 2,000 points


class Transport(pde.Equation):
    """u_t = viscosity u_xx - convection u u_x, with two coefficients."""

    fields: ClassVar = {"u": pde.Field("m/s")}
    parameters: ClassVar = {"convection": "1", "viscosity": "m^2/s"}
    dimensions: ClassVar = (1,)

    def rate(self, u, convection, viscosity):
        return viscosity * pde.derivative(u, -1, 2) - convection * u * pde.derivative(u, -1)


def solution(config):
    """Return points (n, 2), values (n,), and x, t, u (x, t), from a file or by the pseudo-spectral solver."""
    if config.reference:
        x, t, u = io.read_matlab(config.reference, "x", "t", "usol")
        x, t, u = x.ravel(), t.ravel(), u.real
    else:
        torus = pde.Torus(1024, 2.0)
        x, t = torus.axis(0) - 1.0, np.linspace(0.0, 0.99, 100)
        start = -np.sin(np.pi * x)
        later = pde.BurgersSolver(torus, pde.ETDRK4(step=5e-4)).solve(start, t[-1], viscosity=config.viscosity, saves=len(t) - 1)
        x, u = x[::4], np.concatenate([start[None], later.numpy()])[:, ::4].T
    return x, t, u


def main(run, config):
    """For each noise: train, report the coefficients."""
    if min(config.width, config.layers, config.points, config.data, config.steps) < 1 or min(config.noise) < 0.0:
        raise InputError("--width, --layers, --points, --data and --steps must be at least 1, --noise at least 0")
    x, t, u = solution(config)
    state = run.restore() or {"done": {}, "trainer": None, "course": np.zeros((0, 4))}
    done, courses = dict(state["done"]), {}
    for level in config.noise:
        name = f"noise {100 * level:g} %"
        if name in done:
            courses[name] = done[name]
            continue
        generator = hp.random.Generator(config.seed)
        chosen = generator.permutation(u.size).numpy()[:config.data]
        places = np.stack(np.meshgrid(x, t, indexing="ij"), axis=-1).reshape(-1, 2)[chosen]
        values = u.reshape(-1)[chosen]
        values = values + level * u.std() * generator.normal(values.shape, dtype="float64").numpy()
        courses[name] = done[name] = learn(run, config, name, places, values, state, done)
        state = {"done": done, "trainer": None, "course": np.zeros((0, 4))}
        run.checkpoint({"done": done, "trainer": None, "course": np.zeros((0, 4))}, every=0.0)

    truth = np.array([1.0, config.viscosity])
    for level, (name, course) in zip(config.noise, courses.items(), strict=True):
        found = course[-1, 2:]
        for k, coefficient in enumerate(("convection", "viscosity")):
            error = 100.0 * abs(found[k] - truth[k]) / truth[k]
            run.facts[f"{name}: {coefficient}"] = float(found[k])
            run.facts[f"{name}: error of {coefficient} [%]"] = float(error)
            if level in PUBLISHED:
                run.facts[f"{name}: error of {coefficient}, published (Raissi et al. 2019) [%]"] = PUBLISHED[level][k]
            run.log(f"{name}: {coefficient} {found[k]:.6g}, true {truth[k]:.6g}, error {error:.3g} %")
        run.results.write(f"course/{name}", course, "", (io.Axis("step"), io.Axis("step, loss, convection, viscosity")))
    run.figure(show(x, t, u, places, values), "data")
    run.figure(progress_of(courses, truth), "coefficients")


def learn(run, config, name, places, values, state, done):
    """Train network and coefficients on one set of values; return rows of step, loss, convection, viscosity."""
    nn.seed(config.seed)
    net = nn.MLP([2, *[config.width] * config.layers, 1], activation=hp.tanh, dtype="float64")
    pinn = operators.PINN(
        Transport(), operators.Box(x=(-1, 1), t=(0, 1)), net, [operators.Observed(places, u=values)],
        convection=nn.parameter(config.first_convection, "float64"), viscosity=operators.Positive(config.first_viscosity),
        weights={"observed": config.weight}).to(run.device)
    follow = operators.ResidualDensity(pool=4 * config.points) if config.redraw else None
    points = operators.Points(pinn, every=config.redraw, adaptive=follow, seed=config.seed, equation=config.points, observed=config.data)
    optimiser = optim.LBFGS(pinn, memory=config.memory) if config.memory else optim.SelfScaledBroyden(pinn)
    trainer = operators.PINNTrainer(pinn, optimiser, points)
    course = []
    if state["trainer"] is not None:
        trainer.load_state_dict(state["trainer"])
        course = state["course"].tolist()
    run.log(f"{name}: {pinn!r}, {points!r}")
    with run.progress(config.steps, name, trainer.steps) as progress:
        for row in trainer.run(config.steps):
            found = [float(pinn.coefficients["convection"]), float(pinn.coefficients["viscosity"].value())]
            course.append([row["step"], row["loss"], *found])
            progress.step(loss=row["loss"], convection=found[0], viscosity=found[1])
            run.checkpoint(lambda: {"done": done, "trainer": trainer.state_dict(), "course": np.array(course)})
    return np.array(course)


def show(x, t, u, places, values):
    """Return a figure of the solution with the points of the data, and of the values near one moment."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    image = left.imshow(u, cmap="RdBu_r", vmin=-1.0, vmax=1.0, extent=(t[0], t[-1], x[0], x[-1]), origin="lower", aspect="auto")
    left.scatter(places[:, 1], places[:, 0], s=2.0, color="#1b1b1b", linewidths=0.0)
    left.set(xlabel="t", ylabel="x", title=f"solution, and {len(places)} points of data")
    figure.colorbar(image, ax=left, label="u")
    i = int(np.abs(t - 0.5).argmin())
    near = np.abs(places[:, 1] - t[i]) < 0.03
    right.plot(x, u[:, i], color="#b8b8b8", linewidth=3.0, label=f"solution at t = {t[i]:.2f}")
    right.plot(places[near, 0], values[near], ".", markersize=3.0, color="#d1495b", label="data within 0.03 of it")
    right.set(xlabel="x", ylabel="u", title="data of the last training", ylim=(-1.15, 1.6))
    right.legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def progress_of(courses, truth):
    """Return a figure of the errors of both coefficients over the steps."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for k, (panel, name) in enumerate(zip(panels, ("convection", "viscosity"), strict=True)):
        for (label, course), colour in zip(courses.items(), ("#1b1b1b", "#d1495b", "#30638e", "#edae49"), strict=False):
            panel.semilogy(course[:, 0], 100.0 * np.abs(course[:, 2 + k] - truth[k]) / truth[k], color=colour, linewidth=1.0, label=label)
        panel.set(xlabel="step", title=name, ylim=(1e-4, 1e3), **({"ylabel": "error of the coefficient (%)"} if k == 0 else {}))
        panel.legend(frameon=False)
    return figure
