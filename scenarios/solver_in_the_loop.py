"""Solver in the loop: a coarse Navier-Stokes solver and a network, trained together through many steps of their common time loop.

Kolmogorov's flow: vorticity on a doubly periodic square, driven by a steady shear, chaotic. The coarse solver, second-order finite
differences on 32 x 32 points, is ordinary code in Tensor operations (below); the reference is Hyperion's pseudo-spectral solver on a finer
grid, restricted to the modes that the coarse grid holds. After each stretch of the coarse solver a small convolutional network adds a
correction. Compared from unseen initial states, over rollouts four times as long as any in training: the coarse solver, and the same on
finer grids; the hybrid trained through 32 steps, and through 1 step for as much computing; a network without the solver, wider, so that it
costs as much as the hybrid; and coarse pseudo-spectral solvers, which on a smooth periodic flow are the method to beat.
After Um et al. 2020, arXiv:2007.00016, and Kochkov et al. 2021, arXiv:2102.01010.
"""

import itertools

import numpy as np

import hyperion as hp
from hyperion import fft, io, nn, optim, pde, plot
from hyperion.errors import InputError
from hyperion.operators import hybrid

SIDE, WAVES = 2 * np.pi, 4                       # of the square; periods of the driving shear across it
SOLVER, PURE, ONE, HYBRID = "coarse solver", "network alone", "hybrid, trained through 1 step", "hybrid"
COLOURS = {"reference": "#1b1b1b", SOLVER: "#9a9a9a", PURE: "#edae49", ONE: "#00798c", HYBRID: "#d1495b"}


def driving(points):
    """Return the curl of the driving force, sin(4 y) along x."""
    return np.broadcast_to(-WAVES * np.cos(WAVES * SIDE / points * np.arange(points))[:, None], (points, points)).astype(np.float32)


def resampled(w, points):
    """Return fields (..., m, m) on points x points: the modes that both grids hold."""
    return pde.Torus(w.shape[-2:], SIDE).resampled(w, points)


def reference(config, count, device):
    """Return vorticities (count, 1 + steps, 1, n, n) at the times of the loop, from chaotic states that forgot how they were drawn."""

    def march(w, duration, saves):
        n = w.shape[-1]
        solver = pde.VorticitySolver(pde.Torus((n, n), SIDE), pde.ETDRK4(step=0.64 / n))
        w = hp.asarray(w, device=device)
        return solver.solve(w, duration, viscosity=config.viscosity, forcing=driving(n), saves=saves).to("cpu").numpy()

    field = pde.GaussianField(2 * (max(48, config.points),), SIDE, tau=4.0, alpha=4.0, scale=120.0)
    settled = march(field.sample(hp.random.Generator(config.seed), count).numpy(), config.spin_up, 1)[:, 0]
    start = march(resampled(settled, config.reference), 1.0, 1)
    return np.concatenate([start, march(start[:, 0], config.steps * config.interval, config.steps)], 1)[:, :, None]


def substeps(config, wavenumber):
    """Return how many steps of Runge-Kutta 4 an interval takes, the fewest that are stable. wavenumber: of the fastest mode that moves."""
    return int(np.ceil(config.interval * config.fastest * wavenumber / 2.8))


class FiniteDifferences:
    """w_t + div(u w) = viscosity Laplace w + force, by centred differences of order 2 in flux form. `step`: that of the loop."""

    def __init__(self, points, config, device):
        self.h, self.viscosity = SIDE / points, config.viscosity
        self.step = hybrid.runge_kutta4(self.rate, config.interval, substeps(config, 2.0 / self.h))             # along both axes
        torus = pde.Torus((points, points), SIDE)
        along, across = (2.0 * np.cos(torus.wavenumber(axis) * self.h) - 2.0 for axis in (0, 1))
        laplacian = (along + across) / self.h**2
        laplacian[0, 0] = -np.inf                                               # the stream function has no mean
        self.inverse = hp.asarray((-1.0 / laplacian).astype(np.float32), device=device)
        self.force = hp.asarray(driving(points), device=device)

    def slope(self, f, axis):
        return (hp.roll(f, -1, axis) - hp.roll(f, 1, axis)) * (0.5 / self.h)

    def velocity(self, w):
        stream = fft.irfft2(fft.rfft2(w) * self.inverse, s=w.shape[-2:])
        return self.slope(stream, -2), -self.slope(stream, -1)

    def rate(self, w):
        u, v = self.velocity(w)
        around = hp.roll(w, 1, -1) + hp.roll(w, -1, -1) + hp.roll(w, 1, -2) + hp.roll(w, -1, -2)
        return self.force + (around - 4.0 * w) * (self.viscosity / self.h**2) - self.slope(u * w, -1) - self.slope(v * w, -2)


class Correction(nn.Module):
    """A convolutional network of vorticity and velocity; what it adds has mean zero, since the circulation of the torus stays."""

    def __init__(self, velocity, width, layers):
        parts = [part for a, b in itertools.pairwise([3, *[width] * (layers - 1), 1])
                 for part in (nn.Conv2d(a, b, 3, padding=1, padding_mode="circular"), nn.Activation(hp.gelu))]
        self.velocity, self.network = velocity, nn.Sequential(*parts[:-1])

    def forward(self, w):
        out = self.network(hp.concat([0.3 * w, *(0.5 * part for part in self.velocity(w))], axis=1))
        return out - hp.mean(out, axis=(2, 3), keepdims=True)


def spectral(points, config, device):
    """Return the loop's step by the pseudo-spectral solver."""
    count = substeps(config, 2.0 / 3.0 * points)                                # two thirds of the modes move, along both axes
    solver = pde.VorticitySolver(pde.Torus((points, points), SIDE), pde.ETDRK4(step=1.0))
    step = solver.stepper(config.interval / count, viscosity=config.viscosity, forcing=driving(points), device=device)
    return lambda w: hybrid.rollout(step, w, count, every=count)[:, 0]


def trained(run, config, data, solver):
    """Return the networks and hybrids of every seed by name, trained; a resumed run goes on where it was."""
    first = np.cumsum([0, *config.batches]).tolist()                            # batch with which each length begins
    curriculum = dict(zip(first, config.lengths, strict=False))
    work = int(np.dot(config.lengths, config.batches))                          # steps that the curriculum computes for each piece
    models = {}
    for seed in range(config.seeds):
        nn.seed(seed)
        for name, width, lengths, batches in (
            (HYBRID, config.width, curriculum, first[-1]), (ONE, config.width, 1, work), (PURE, config.wider, curriculum, first[-1]),
        ):
            network = Correction(solver.velocity, width, config.layers)
            model = hybrid.Corrected(lambda w: w, network) if name == PURE else hybrid.Corrected(solver.step, network, scale=0.1)
            models.setdefault(name, []).append(model.to(run.device))
            pieces = hybrid.Unrolls(data, config.batch, lengths, seed=seed, device=run.device)
            optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(config.rate, 0.05 * config.rate, batches))
            trainer = nn.Trainer(model, optimiser, hybrid.TrajectoryLoss(nn.relative_l2), pieces, clip=1.0)
            run.train(trainer, batches, f"{name}, seed {seed}")
    return models


def main(run, config):
    """Make data, train, roll out from unseen states, compare errors and costs."""
    if not config.lengths or len(config.lengths) != len(config.batches) or min(*config.lengths, *config.batches) < 1:
        raise InputError(f"--lengths {config.lengths} and --batches {config.batches} must be equally many numbers from 1")
    config.at_least(1, "examples", "tested", "seeds", "width", "wider", "batch", "steps")
    config.at_least(2, "layers")
    config.at_least(4, "points", "reference", "finer", "spectral")
    config.multiples(2, "points", "reference", "finer", "spectral")
    config.at_least(0, "noise")
    config.above(0, "rate", "interval", "fastest", "viscosity", "spin_up")
    truth = reference(config, config.examples + config.tested, run.device)
    seen, unseen = np.split(resampled(truth, config.points), [config.examples])
    seen += config.noise * seen.std() * np.random.default_rng(config.seed).standard_normal(seen.shape, np.float32)
    run.log(f"{config.examples} + {config.tested} reference flows of {config.steps} steps, {truth.shape[-1]} x {truth.shape[-1]} points")

    points = {SOLVER: config.points} | {f"{n} x {n}": n for n in config.finer}
    steps = {name: FiniteDifferences(n, config, run.device).step for name, n in points.items()}
    points |= {f"spectral, {n} x {n}": n for n in config.spectral}
    spectra = {f"spectral, {n} x {n}": spectral(n, config, run.device) for n in config.spectral}
    steps |= trained(run, config, seen, FiniteDifferences(config.points, config, run.device)) | spectra
    start = {name: hp.asarray(resampled(truth[config.examples:, 0], points.get(name, config.points)), device=run.device) for name in steps}
    found = hybrid.compare(steps, start, unseen[:, 1:], project=lambda w: resampled(w, config.points), turns=9)

    last = max(config.lengths)
    run.table(f"Relative L2 errors of unseen states; cost of a step over that of the {SOLVER}", {
        name: {"cost": outcome.seconds / found[SOLVER].seconds} | outcome.figures(last) for name, outcome in found.items()})
    shown = {"reference": unseen[:, 1:, 0]} | {name: found[name].states[:, :, 0] for name in (SOLVER, PURE, ONE, HYBRID)}
    nodes = [io.Axis(name, "m", SIDE / config.points) for name in "yx"]
    for name, states in shown.items():
        run.results.write(f"rollout/{name}", states[0], "1/s", (io.Axis("time", "s", config.interval, config.interval), *nodes))
    run.figure(snapshots(shown, last, config), "vorticity")
    run.figure(errors_and_costs(found, shown, last, config), "errors")


def snapshots(shown, last, config):
    """Return a figure of vorticities from the first unseen state: models in columns, times in rows."""
    rows, notes = {}, {}
    for step in sorted({max(1, last // 2), last, min(2 * last, config.steps), config.steps}):
        title = f"step {step}" + (", as trained" if step == last else "")
        rows[title] = [states[0, step - 1] for states in shown.values()]
        notes[title] = ["", *plot.error_notes(rows[title][1:], [rows[title][0]] * (len(shown) - 1))]
    return plot.fields(rows, [name.replace(", ", ",\n") for name in shown], limits=0.9 * float(np.abs(shown["reference"][0]).max()),
                       notes=notes, spacing=2 * (SIDE / config.points,), axes=("y (m)", "x (m)"), upwards=True, label="vorticity (1/s)")


def errors_and_costs(found, shown, last, config):
    """Return a figure of the errors over the rollout, of the energy spectra in its last quarter, and of the mean error over the cost."""
    torus, late = pde.Torus((config.points, config.points), SIDE), max(1, config.steps // 4)
    spectra = {name: [part[1:config.points // 2] for part in torus.spectrum(states[:, -late:])] for name, states in shown.items()}
    cost = {name: ([1e3 * outcome.seconds] * len(outcome.errors), outcome.errors.mean(axis=1)) for name, outcome in found.items()}
    return plot.curves(
        plot.Panel({name: outcome.errors for name, outcome in found.items() if "spectral" not in name},
                   ("step", "relative L2 error, unseen states"), log_y=True, limits=(None, 2.0), marks={"trained up to here": last}),
        plot.Panel({name: (k, 0.5 * squares / k**2) for name, (k, squares) in spectra.items()},        # of velocities, from their curl
                   ("wavenumber (1/m)", "kinetic energy (m²/s²), last quarter"), log_x=True, log_y=True),
        plot.Panel(cost, ("time of a step, all unseen states (ms)", "mean error of the rollout"), log_x=True, log_y=True, points=cost),
        colours=COLOURS, widths=(1.3, 1.0, 1.3))
