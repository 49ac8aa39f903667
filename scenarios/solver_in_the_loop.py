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
import time

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

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
        parts = np.array_split(w, -(-count // 16))
        states = [solver.solve(hp.asarray(part, device=device), duration, viscosity=config.viscosity, forcing=driving(n), saves=saves)
                  for part in parts]
        return np.concatenate([each.to("cpu").numpy() for each in states])

    field = pde.GaussianField(2 * (max(48, config.points),), SIDE, tau=4.0, alpha=4.0, scale=120.0)
    settled = march(field.sample(hp.random.Generator(config.seed), count).numpy(), config.spin_up, 1)[:, 0]
    start = march(resampled(settled, config.reference), 1.0, 1)
    return np.concatenate([start, march(start[:, 0], config.steps * config.interval, config.steps)], 1)[:, :, None]


def substeps(config, wavenumber):
    """Return how many steps of Runge-Kutta 4 an interval takes, the fewest that are stable. wavenumber: of the fastest mode that moves."""
    return int(np.ceil(config.interval * config.fastest * wavenumber / 2.8))


class FiniteDifferences:
    """w_t + div(u w) = viscosity Laplace w + force: centred differences of order 2 in flux form, Runge-Kutta 4. Called: `count` steps."""

    def __init__(self, points, config, device):
        self.h, self.viscosity = SIDE / points, config.viscosity
        self.count = substeps(config, 2.0 / self.h)                             # along both axes
        self.step = config.interval / self.count
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

    def __call__(self, w):
        for _ in range(self.count):
            a = self.rate(w)
            b = self.rate(w + (0.5 * self.step) * a)
            c = self.rate(w + (0.5 * self.step) * b)
            d = self.rate(w + self.step * c)
            w = w + (self.step / 6.0) * (a + 2.0 * (b + c) + d)
        return w


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


def train(run, config, jobs, data):
    """Train models one after the other; a resumed run goes on where it was."""
    state = run.restore() or {"trained": {}, "trainer": None}
    total = sum(steps for _, _, steps, _ in jobs.values())
    done = sum(jobs[name][2] for name in state["trained"]) + (state["trainer"]["steps"] if state["trainer"] else 0)
    with run.progress(total, "training", done) as progress:
        for name, (model, curriculum, steps, seed) in jobs.items():
            if name in state["trained"]:
                model.load_state_dict(state["trained"][name])
                continue
            pieces = hybrid.Unrolls(data, config.batch, curriculum, seed=seed, device=run.device)
            optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(config.rate, 0.05 * config.rate, steps))
            trainer = nn.Trainer(model, optimiser, hybrid.TrajectoryLoss(nn.relative_l2), pieces, clip=1.0)
            if state["trainer"]:
                trainer.load_state_dict(state["trainer"])
            began, state = time.monotonic(), {**state, "trainer": None}
            for row in trainer.run(steps):
                progress.step(loss=row["loss"])
                run.checkpoint(lambda trainer=trainer, state=state: {**state, "trainer": trainer.state_dict()})
            state = {"trained": {**state["trained"], name: trainer.state_dict()["model"]}, "trainer": None}
            run.checkpoint(state, every=0.0)
            run.log(f"{name}: {model!r}, {steps} batches in {time.monotonic() - began:.0f} s, last loss {row['loss']:.4f}")


def cost_of(steps, starts, turns=9):
    """Return the seconds each of several steps takes: the best of turns that they take one after the other."""
    best = dict.fromkeys(steps, np.inf)
    with hp.no_grad():
        for _ in range(turns):
            for name, step in steps.items():
                began = time.perf_counter()
                step(starts[name]).to("cpu").numpy()
                best[name] = min(best[name], time.perf_counter() - began)
    return best


def contenders_of(run, config):
    """Return, by name, grids and steps of the loop to compare (one for each seed), and what of them is to be trained, how long."""
    grids = {SOLVER: config.points} | {f"solver, {n} x {n}": n for n in config.finer}
    steps: dict[str, list] = {name: [FiniteDifferences(n, config, run.device)] for name, n in grids.items()}
    first = np.cumsum([0, *config.batches]).tolist()                            # batch with which each length begins
    curriculum = dict(zip(first, config.lengths, strict=False))
    work = int(np.dot(config.lengths, config.batches))                          # steps that the curriculum computes for each piece
    coarse, jobs = steps[SOLVER][0], {}
    for seed in range(config.seeds):
        nn.seed(seed)
        for name, width, lengths, batches in (
            (HYBRID, config.width, curriculum, first[-1]), (ONE, config.width, 1, work), (PURE, config.wider, curriculum, first[-1]),
        ):
            network = Correction(coarse.velocity, width, config.layers)
            model = hybrid.Corrected(lambda w: w, network) if name == PURE else hybrid.Corrected(coarse, network, scale=0.1)
            steps.setdefault(name, []).append(model.to(run.device))
            jobs[f"{name}, seed {seed}"] = model, lengths, batches, seed
    for n in config.spectral:
        grids[f"spectral solver, {n} x {n}"] = n
        steps[f"spectral solver, {n} x {n}"] = [spectral(n, config, run.device)]
    return grids, steps, jobs


def main(run, config):
    """Make data, train, roll out from unseen states, compare errors and costs."""
    counts = [*config.lengths, *config.batches, config.seeds, config.tested, config.layers - 1]
    if len(config.lengths) != len(config.batches) or min(counts) < 1:
        raise InputError(f"--lengths {config.lengths} and --batches {config.batches} must be equally many numbers from 1; --seeds "
                         f"{config.seeds} and --tested {config.tested} from 1, --layers {config.layers} from 2")
    grids, steps, jobs = contenders_of(run, config)
    truth = reference(config, config.examples + config.tested, run.device)
    seen, unseen = np.split(resampled(truth, config.points), [config.examples])
    seen += config.noise * seen.std() * np.random.default_rng(config.seed).standard_normal(seen.shape, np.float32)
    run.log(f"{config.examples} + {config.tested} reference flows of {config.steps} steps, {truth.shape[-1]} x {truth.shape[-1]} points")
    train(run, config, jobs, seen)

    truth = truth[config.examples:, 0]
    start = {name: hp.asarray(resampled(truth, grids.get(name, config.points)), device=run.device) for name in steps}
    seconds = cost_of({name: models[0] for name, models in steps.items()}, start)
    shown, errors = {"reference": unseen[:, 1:, 0]}, {}
    for name, models in steps.items():
        for model in reversed(models):                                          # the first seed's is shown
            with hp.no_grad():
                states = hybrid.rollout(model, start[name], config.steps).to("cpu").numpy()[:, :, 0]
            shown[name] = resampled(states, config.points)
            each = np.linalg.norm(shown[name] - unseen[:, 1:, 0], axis=(2, 3)) / np.linalg.norm(unseen[:, 1:, 0], axis=(2, 3))
            errors.setdefault(name, []).insert(0, np.nan_to_num(each, nan=np.inf).mean(0))
    errors = {name: np.array(each) for name, each in errors.items()}            # (seeds, steps)
    table(run, config, errors, seconds, grids)
    axes = io.Axis("time", "s", config.interval, config.interval), io.Axis("y"), io.Axis("x")
    for name in COLOURS:
        run.results.write(f"rollout/{name}", shown[name][0], "1/s", axes)
    run.figure(snapshots(shown, config), "vorticity")
    run.figure(courses(shown, errors, config), "errors")
    run.figure(trade(errors, seconds, grids), "cost")


def average(errors):
    """Return the mean over the rollout of errors (seeds, steps), the geometric mean over the seeds."""
    return float(np.exp(np.log(errors.mean(1)).mean()))


def families(grids):
    """Return the names of the solvers of each kind, coarse to fine."""
    return {"finite differences": [name for name in grids if "spectral" not in name],
            "spectral solver": [name for name in grids if "spectral" in name]}


def table(run, config, errors, seconds, grids):
    """Note errors and costs as facts, and which grid each kind of solver needs for the hybrid's error."""
    trained = max(config.lengths)
    for name, each in errors.items():
        by_seed = f" (by seed {', '.join(f'{value:.3f}' for value in each.mean(1))})" if len(each) > 1 else ""
        text = f"{each[:, trained - 1].mean():.4f}; {average(each):.4f}{by_seed}; {seconds[name] / seconds[SOLVER]:.2f}"
        run.facts[f"{name}: relative L2 error after {trained} steps; mean over {config.steps}; cost of a step / {SOLVER}"] = text
        run.log(f"{name}: {text}")
    wanted = average(errors[HYBRID])
    for kind, names in families(grids).items():
        levels = -np.log([average(errors[name]) for name in names])
        points = np.exp(np.interp(-np.log(wanted), levels, np.log([grids[name] for name in names])))
        cost = np.exp(np.interp(-np.log(wanted), levels, np.log([seconds[name] for name in names])))
        inside = "" if levels[0] <= -np.log(wanted) <= levels[-1] else " (the nearest tried)"
        run.facts[f"{kind}: points an axis for the hybrid's mean error; cost / hybrid"] = (
            f"{points:.0f}{inside}; {cost / seconds[HYBRID]:.2f}")


def snapshots(shown, config):
    """Return a figure of vorticities from the first unseen state: models in columns, times in rows."""
    trained, true = max(config.lengths), shown["reference"][0]
    rows, notes = {}, {}
    for step in sorted({max(1, trained // 2), trained, min(2 * trained, config.steps), config.steps}):
        title = f"step {step}" + (", as trained" if step == trained else "")
        rows[title] = [shown[name][0, step - 1] for name in COLOURS]
        away = [np.linalg.norm(w - true[step - 1]) / np.linalg.norm(true[step - 1]) for w in rows[title]]
        notes[title] = ["" if name == "reference" else f"error {error:.3f}" for name, error in zip(COLOURS, away, strict=True)]
    columns = [name.replace(", ", ",\n") for name in COLOURS]
    return plot.fields(rows, columns, limits=0.9 * np.abs(true).max(), notes=notes, upwards=True, label="vorticity (1/s)")


def courses(shown, errors, config):
    """Return a figure of the errors over the steps of the rollout, and of the energy spectra in its last quarter."""
    trained = max(config.lengths)
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    steps = 1 + np.arange(config.steps)
    for name, each in errors.items():
        for i, one in enumerate(np.minimum(each, 3.0)):
            style = {"color": COLOURS[name], "linewidth": 1.6} if name in COLOURS else {"color": "#c9c9c9", "linewidth": 0.8}
            if "spectral" not in name:
                left.semilogy(steps, one, label=name if i == 0 and name in COLOURS else None, **style)
        if name not in COLOURS and "spectral" not in name:
            left.annotate(" " + name.removeprefix("solver, "), (steps[-1], each[0, -1]), fontsize=7, color="#8a8a8a", va="center")
    left.axvline(trained, color="#1b1b1b", linewidth=0.7, linestyle=(0, (4, 3)))
    left.annotate(" trained up to here", (trained, 0.01), xycoords=("data", "axes fraction"), fontsize=8)
    left.set(xlabel="step", ylabel="relative L2 error, unseen states", ylim=(None, 2.0), xlim=(0, 1.12 * steps[-1]))
    left.legend(frameon=False, fontsize=8)
    torus = pde.Torus((config.points, config.points), SIDE)
    for name, colour in COLOURS.items():
        late = np.nan_to_num(shown[name][:, -max(1, config.steps // 4):], posinf=0.0, neginf=0.0)
        wavenumbers, squares = (part[1:config.points // 2] for part in torus.spectrum(late))
        energy = 0.5 * squares / wavenumbers**2                                 # of the velocity, from that of its curl
        right.loglog(wavenumbers, energy, color=colour, linewidth=2.4 if name == "reference" else 1.3)
    right.set(xlabel="wavenumber", ylabel="energy, last quarter of the rollout")
    return figure


def trade(errors, seconds, grids):
    """Return a figure of error against cost."""
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    panel = figure.subplots()
    for (kind, names), colour in zip(families(grids).items(), ("#9a9a9a", "#5d4e8c"), strict=True):
        panel.loglog([1e3 * seconds[name] for name in names], [average(errors[name]) for name in names], "o-", color=colour, label=kind)
        for name in names:
            panel.annotate(f" {grids[name]}²", (1e3 * seconds[name], average(errors[name])), fontsize=8, color=colour, va="bottom")
    for name in (PURE, ONE, HYBRID):
        panel.loglog([1e3 * seconds[name]] * len(errors[name]), np.minimum(errors[name].mean(1), 3.0), "D", color=COLOURS[name], label=name)
    panel.set(xlabel="time of a step of the loop for all unseen states [ms]", ylabel="relative L2 error, mean over the rollout")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_formatter(ticker.NullFormatter())
    panel.legend(frameon=False, fontsize=8)
    return figure
