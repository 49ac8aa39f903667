"""A learned sub-grid closure: what a coarse grid does not see of Burgers turbulence, as a flux that a network gives and the solver trains.

Random states steepen into shocks of u_t + (u^2 / 2)_x = viscosity u_xx that the coarse grid cannot hold. A coarse solver of finite volumes
(ordinary code, below) gets a further flux through the face between two cells, so the mean of u stays whatever that flux is:
  - none: the solver conserves energy where the shocks should take it, and oscillates;
  - limited dissipation, as shock-capturing schemes have it: nothing to train;
  - Smagorinsky's eddy viscosity, constant * |difference| * difference; the constant is found by gradient through the time loop;
  - a network of the differences around the face, divided by their size: size * (u a + size b), with a and b from the network. It knows
    nothing of units, so one network serves every amplitude and every grid; and quadratic in u, as the flux is.
Both are trained through the loop on one grid, then asked on unseen states, longer than trained, and on a grid they never saw.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim, pde
from hyperion.errors import InputError
from hyperion.operators import hybrid

SIDE = 2 * np.pi
COLOURS = {"reference": "#1b1b1b", "no closure": "#9a9a9a", "shock capturing": "#edae49", "Smagorinsky": "#00798c",
           "learned flux": "#d1495b"}


def reference(config, count, seed):
    """Return solutions (count, 1 + steps, fine) of the pseudo-spectral solver, of speed 1 (root mean square) at time 0."""
    torus = pde.Torus(config.reference, SIDE)
    field = pde.GaussianField(torus.shape, SIDE, tau=3.0, alpha=3.0, modes=64)
    u = field.sample(hp.random.Generator(seed), count).numpy()
    u = u / np.sqrt((u**2).mean(-1, keepdims=True))
    solver = pde.BurgersSolver(torus, pde.ETDRK4(step=config.time_step))
    later = solver.solve(u, config.steps * config.interval, viscosity=config.viscosity, saves=config.steps).numpy()
    return np.concatenate([u[:, None], later], axis=1)


def cells(u, count):
    """Return the means of u (..., fine) over cells, as states (..., 1, cells)."""
    return u.reshape(*u.shape[:-1], 1, count, -1).mean(-1)


class FiniteVolumes(nn.Module):
    """One step of Burgers' equation for means over cells (batch, 1, cells): fluxes through faces, Runge-Kutta 3.

    The flux between u and its right neighbour r, (u^2 + u r + r^2) / 6, conserves energy (Tadmor 1987, Math. Comput. 49, 91).
    closure: a function of the difference r - u and the mean (u + r) / 2 at each face that returns a further flux; or None.
    """

    def __init__(self, config, count, closure=None):
        self.width, self.step, self.viscosity, self.closure = SIDE / count, config.interval, config.viscosity, closure

    def rate(self, u):
        right = hp.roll(u, -1, -1)
        difference = right - u
        flux = (u * u + u * right + right * right) / 6.0 - (self.viscosity / self.width) * difference
        if self.closure is not None:
            flux = flux + self.closure(difference, 0.5 * (u + right))
        return (hp.roll(flux, 1, -1) - flux) / self.width               # what leaves one cell enters the next

    def forward(self, u):
        a = u + self.step * self.rate(u)
        b = 0.75 * u + 0.25 * (a + self.step * self.rate(a))
        return u / 3.0 + (b + self.step * self.rate(b)) * (2.0 / 3.0)


def shock_capturing(difference, mean):
    """Return upwind dissipation where neighbouring differences disagree. Source: Yee 1987, J. Comput. Phys. 68, 151: symmetric TVD."""
    before, after = hp.roll(difference, 1, -1), hp.roll(difference, -1, -1)
    agree = (before * difference > 0.0) & (after * difference > 0.0)
    least = hp.minimum(hp.abs(difference), hp.minimum(hp.abs(before), hp.abs(after)))
    return -0.5 * hp.abs(mean) * (difference - hp.where(agree, hp.sign(difference) * least, 0.0))


class Smagorinsky(nn.Module):
    """The flux of an eddy viscosity constant * width^2 |u_x|. Source: Smagorinsky 1963, Mon. Weather Rev. 91, 99, eq. 4.6."""

    def __init__(self, constant):
        self.logarithm = nn.parameter(np.float32(np.log(constant)))     # the constant stays positive

    def forward(self, difference, mean):
        return -hp.exp(self.logarithm) * hp.abs(difference) * difference


class LearnedFlux(nn.Module):
    """size * (mean * a + size * b): a and b from the differences at 2 reach + 1 faces, divided by their root mean square, the size."""

    def __init__(self, reach, width):
        self.reach = reach
        layers = [nn.Conv1d(2 * reach + 1, width, 1), nn.Conv1d(width, width, 1), nn.Conv1d(width, 2, 1)]
        self.network = nn.Sequential(layers[0], nn.Activation(hp.gelu), layers[1], nn.Activation(hp.gelu), layers[2])

    def forward(self, difference, mean):
        around = hp.concat([hp.roll(difference, shift, -1) for shift in range(-self.reach, self.reach + 1)], axis=1)
        size = hp.sqrt(hp.mean(around * around, axis=1, keepdims=True) + 1e-8)
        out = 0.3 * self.network(around / size)
        return size * (mean * out[:, :1] + size * out[:, 1:])


def train(run, name, model, seed, data, batches, rate, config):
    """Train a closure through 1, 2, 4, ... steps of the loop."""
    pieces = hybrid.Unrolls(data, config.batch, hybrid.doubling(config.unroll, every=-(-batches // config.unroll.bit_length())), seed=seed)
    optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(rate, 0.02 * rate, batches))
    trainer = nn.Trainer(model, optimiser, hybrid.TrajectoryLoss(nn.relative_l2, stretch=None), pieces, clip=1.0)
    with run.progress(batches, name) as progress:
        for row in trainer.run(batches):
            progress.step(loss=row["loss"])


def main(run, config):
    """Make data, find the constant and the networks through the solver, compare on two grids."""
    if min(config.examples, config.tested, config.seeds, config.unroll, config.reach) < 1 or config.unroll > config.steps:
        raise InputError(f"--examples {config.examples}, --tested {config.tested}, --seeds {config.seeds}, --unroll {config.unroll} and "
                         f"--reach {config.reach} must be at least 1; --unroll at most --steps {config.steps}")
    if config.reference % (2 * config.cells):
        raise InputError(f"--reference {config.reference} points must be a multiple of twice --cells {config.cells}")
    truth = reference(config, config.examples + config.tested, config.seed)
    seen, unseen = np.split(truth, [config.examples])
    smagorinsky = Smagorinsky(0.05)
    closures = {"no closure": None, "shock capturing": shock_capturing, "Smagorinsky": smagorinsky}
    models = {name: [FiniteVolumes(config, config.cells, closure)] for name, closure in closures.items()}
    for seed in range(config.seeds):
        nn.seed(seed)
        models.setdefault("learned flux", []).append(FiniteVolumes(config, config.cells, LearnedFlux(config.reach, config.width)))
    data = cells(seen, config.cells)
    train(run, "Smagorinsky's constant", models["Smagorinsky"][0], 0, data, config.constant_batches, config.constant_rate, config)
    for seed, model in enumerate(models["learned flux"]):
        train(run, f"learned flux, seed {seed}", model, seed, data, config.batches, config.rate, config)
    constant = float(hp.exp(smagorinsky.logarithm))
    run.facts["Smagorinsky's constant, found through the solver"] = constant
    run.facts["parameters of the learned flux"] = sum(p.size for p in models["learned flux"][0].parameters())

    grids = {}
    for count in (config.cells, 2 * config.cells):
        true = cells(unseen, count)
        shown, errors = {"reference": true[:, 1:, 0]}, {}
        for name, each in models.items():
            for model in reversed(each):                                # the first seed's is shown
                with hp.no_grad():
                    states = hybrid.rollout(FiniteVolumes(config, count, model.closure), true[:, 0], config.steps).numpy()[:, :, 0]
                shown[name] = states
                apart = np.linalg.norm(states - true[:, 1:, 0], axis=2) / np.linalg.norm(true[:, 1:, 0], axis=2)
                errors.setdefault(name, []).append(apart.mean(0))
            values = [one.mean() for one in errors[name]]
            by_seed = f" (by seed {', '.join(f'{value:.4f}' for value in values)})" if len(values) > 1 else ""
            grid = f"{count} cells" + ("" if count == config.cells else ", never seen")
            run.facts[f"{name}, {grid}: relative L2 error, mean over {config.steps} steps"] = f"{np.mean(values):.4f}{by_seed}"
            run.log(f"{name}, {grid}: relative L2 error {np.mean(values):.4f}{by_seed}")
            drift = np.abs(shown[name].mean(-1) - true[:, :1, 0].mean(-1)).max()
            run.facts[f"{name}, {grid}: largest change of the mean of u"] = float(drift)
        grids[count] = shown, errors
    scan = {value: error_with(value, cells(unseen, config.cells), config) for value in constant * np.array([0.25, 0.5, 1.0, 2.0, 4.0])}
    axes = io.Axis("example"), io.Axis("time", "", config.interval, config.interval), io.Axis("x", "", SIDE / config.cells)
    for name, each in grids[config.cells][0].items():
        run.results.write(f"states/{name}", each, "", axes)
    run.figure(states_of(grids[config.cells][0], config), "states")
    run.figure(courses(grids, scan, config), "errors")


def error_with(constant, true, config):
    """Return the mean relative L2 error of Smagorinsky's closure with a constant."""
    with hp.no_grad():
        states = hybrid.rollout(FiniteVolumes(config, config.cells, Smagorinsky(constant)), true[:, 0], config.steps).numpy()
    return float(np.mean(np.linalg.norm(states - true[:, 1:], axis=-1) / np.linalg.norm(true[:, 1:], axis=-1)))


def states_of(shown, config):
    """Return a figure of the first unseen state at three times, and a closer look at its largest jump."""
    times = [max(1, config.steps // 8), max(1, config.steps // 2), config.steps]
    x = (np.arange(config.cells) + 0.5) * SIDE / config.cells
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    panels = figure.subplots(2, 3, height_ratios=[1.5, 1])
    for (upper, lower), time in zip(panels.T, times, strict=True):
        true = shown["reference"][0, time - 1]
        middle = x[np.argmax(np.abs(np.roll(true, -1) - true))]
        for name, colour in COLOURS.items():
            marks = {"linewidth": 2.6, "alpha": 0.8} if name == "reference" else {"linewidth": 1.1, "marker": ".", "markersize": 3}
            for panel in (upper, lower):
                panel.plot(x, shown[name][0, time - 1], color=colour, label=name, **marks)
        upper.set_title(f"time {time * config.interval:g}", fontsize=10)
        near = np.abs(x - middle) < 0.6
        values = np.concatenate([shown[name][0, time - 1][near] for name in COLOURS])
        lower.set(xlabel="x", xlim=(middle - 0.6, middle + 0.6), ylim=(values.min() - 0.05, values.max() + 0.05))
    panels[0, 0].set_ylabel("u, means over cells")
    panels[1, 0].set_ylabel("at the largest jump")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(COLOURS), frameon=False, fontsize=9)
    return figure


def courses(grids, scan, config):
    """Return a figure of errors over time on both grids, of the energy, of its spectrum, and of the choice of Smagorinsky's constant."""
    figure = Figure(figsize=(10.0, 6.4), layout="constrained")
    panels = figure.subplots(2, 2)
    time = config.interval * (1 + np.arange(config.steps))
    for (count, (_, errors)), style in zip(grids.items(), ("-", ":"), strict=True):
        for name, each in errors.items():
            for i, one in enumerate(each):
                label = None if i else f"{name}, {count} cells"
                panels[0, 0].semilogy(time, one, style, color=COLOURS[name], linewidth=1.4, label=label)
    panels[0, 0].axvspan(0.0, config.unroll * config.interval, color="#eeeeee", zorder=0)
    panels[0, 0].set(xlabel="time (grey: as long as trained)", ylabel="relative L2 error, unseen states")
    panels[0, 0].legend(frameon=False, fontsize=7, ncols=2)
    shown = grids[config.cells][0]
    for name, colour in COLOURS.items():
        width = 2.6 if name == "reference" else 1.3
        panels[0, 1].plot(time, 0.5 * (shown[name] ** 2).mean((0, 2)), color=colour, linewidth=width, label=name)
        wavenumbers, squares = pde.Torus(config.cells, SIDE).spectrum(shown[name][:, config.steps // 2:])
        panels[1, 0].loglog(wavenumbers[1:], 0.5 * squares[1:], color=colour, linewidth=width)
    panels[0, 1].set(xlabel="time", ylabel="energy, mean of unseen states")
    panels[0, 1].legend(frameon=False, fontsize=8)
    panels[1, 0].set(xlabel="wavenumber", ylabel="energy, second half of the time")
    constants = list(scan)
    panels[1, 1].semilogx(constants, list(scan.values()), "o-", color=COLOURS["Smagorinsky"], label="scanned")
    panels[1, 1].semilogx(constants[2:3], [scan[constants[2]]], "D", color=COLOURS["learned flux"], label="found through the loop")
    panels[1, 1].set(xlabel="Smagorinsky's constant", ylabel="relative L2 error", ylim=(0.0, None))
    panels[1, 1].set_xticks(constants, [f"{constant:.3f}" for constant in constants])
    panels[1, 1].minorticks_off()
    panels[1, 1].legend(frameon=False, fontsize=8)
    return figure
