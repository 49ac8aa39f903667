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

import hyperion as hp
from hyperion import io, nn, optim, pde, plot
from hyperion.errors import InputError
from hyperion.operators import hybrid

SIDE = 2 * np.pi
COLOURS = {"reference": "#1b1b1b", "no closure": "#9a9a9a", "shock capturing": "#edae49", "Smagorinsky": "#00798c",
           "learned flux": "#d1495b"}


def reference(config, count):
    """Return solutions (count, 1 + steps, fine) of the pseudo-spectral solver, of speed 1 (root mean square) at time 0."""
    torus = pde.Torus(config.reference, SIDE)
    field = pde.GaussianField(torus.shape, SIDE, tau=3.0, alpha=3.0, modes=64)
    u = field.sample(hp.random.Generator(config.seed), count).numpy()
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


def train(run, name, closure, seed, data, batches, rate, config):
    """Train a closure through 1, 2, 4, ... steps of the loop."""
    model, every = FiniteVolumes(config, config.cells, closure), -(-batches // config.unroll.bit_length())
    pieces = hybrid.Unrolls(data, config.batch, hybrid.doubling(config.unroll, every), seed=seed, device=run.device)
    optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(rate, 0.02 * rate, batches))
    run.train(nn.Trainer(model, optimiser, hybrid.TrajectoryLoss(nn.relative_l2, stretch=None), pieces, clip=1.0), batches, name)


def main(run, config):
    """Make data, find the constant and the networks through the solver, compare on two grids."""
    config.at_least(1, "examples", "tested", "seeds", "unroll", "reach", "batches", "constant_batches", "batch", "width", "cells")
    config.above(0, "rate", "constant_rate", "interval", "time_step", "viscosity")
    if config.unroll > config.steps or config.reference % (2 * config.cells):
        raise InputError(f"--unroll {config.unroll} must be at most --steps {config.steps}, --reference {config.reference} a multiple of "
                         f"twice --cells {config.cells}")
    seen, unseen = np.split(reference(config, config.examples + config.tested), [config.examples])
    data, eddies, fluxes = cells(seen, config.cells), Smagorinsky(0.05).to(run.device), []
    for seed in range(config.seeds):
        nn.seed(seed)
        fluxes.append(LearnedFlux(config.reach, config.width).to(run.device))
    train(run, "Smagorinsky's constant", eddies, 0, data, config.constant_batches, config.constant_rate, config)
    for seed, flux in enumerate(fluxes):
        train(run, f"learned flux, seed {seed}", flux, seed, data, config.batches, config.rate, config)
    run.facts["Smagorinsky's constant, found through the solver"] = float(hp.exp(eddies.logarithm))
    run.facts["parameters of the learned flux"] = sum(p.size for p in fluxes[0].parameters())

    closures = {"no closure": [None], "shock capturing": [shock_capturing], "Smagorinsky": [eddies], "learned flux": fluxes}
    found, true = {}, {}
    for count in (config.cells, 2 * config.cells):
        true[count] = cells(unseen, count)
        steps = {name: [FiniteVolumes(config, count, closure) for closure in each] for name, each in closures.items()}
        found[count] = hybrid.compare(steps, hp.asarray(true[count][:, 0], device=run.device), true[count][:, 1:])
        grid = f"{count} cells" + ("" if count == config.cells else ", never seen")
        run.table(f"Relative L2 errors of unseen states, {grid}", {f"{name}, {grid}": {
            "largest change of the mean of u": float(np.abs((outcome.states - true[count][:, :1]).mean(-1)).max())} | outcome.figures()
            for name, outcome in found[count].items()})
    shown = {"reference": true[config.cells][:, 1:, 0]}
    shown |= {name: outcome.states[:, :, 0] for name, outcome in found[config.cells].items()}
    axes = io.Axis("example"), io.Axis("time", "", config.interval, config.interval), io.Axis("x", "", SIDE / config.cells)
    for name, states in shown.items():
        run.results.write(f"states/{name}", states, "", axes)
    run.figure(states_of(shown, config), "states")
    run.figure(courses(found, shown, config), "errors")


def states_of(shown, config):
    """Return a figure of the first unseen state at three times: all of it, and a closer look at its largest jump."""
    x, panels = (np.arange(config.cells) + 0.5) * SIDE / config.cells, []
    for time in (max(1, config.steps // 8), max(1, config.steps // 2)):
        states = {name: each[0, time - 1] for name, each in shown.items()}
        jump = x[np.argmax(np.abs(np.roll(states["reference"], -1) - states["reference"]))]
        near = np.abs(x - jump) < 0.6
        close = {name: (x[near], u[near]) for name, u in states.items()}
        label = f"u at time {time * config.interval:g}, means over cells"
        panels += [plot.Panel(states, ("x", label), x), plot.Panel(close, ("x, at the largest jump", label), dotted=close)]
    return plot.curves(*panels, colours=COLOURS)


def courses(found, shown, config):
    """Return a figure of the errors over time on both grids, of the energy, and of its spectrum."""
    time, torus = config.interval * (1 + np.arange(config.steps)), pde.Torus(config.cells, SIDE)
    spectra = {name: torus.spectrum(states[:, config.steps // 2:]) for name, states in shown.items()}
    (cells, seen), (finer, unseen) = found.items()
    return plot.curves(
        plot.Panel({name: outcome.errors for name, outcome in seen.items()}, ("time", f"relative L2 error, {cells} cells"), time,
                   log_y=True, marks={"trained up to here": config.unroll * config.interval}),
        plot.Panel({name: outcome.errors for name, outcome in unseen.items()},
                   ("time", f"relative L2 error, {finer} cells, never seen"), time, log_y=True),
        plot.Panel({name: 0.5 * (u**2).mean((0, 2)) for name, u in shown.items()}, ("time", "energy, mean of unseen states"), time),
        plot.Panel({name: (k[1:], 0.5 * squares[1:]) for name, (k, squares) in spectra.items()},
                   ("wavenumber", "energy, second half of the time"), log_x=True, log_y=True), colours=COLOURS)
