"""A Fourier neural operator forecasts a flow: from the vorticity at the first few times to that at all later ones, in one evaluation.

The flow is that of Li et al. 2021, arXiv:2010.08895, section 5.3: incompressible, on a torus, driven by 0.1 (sin + cos)(2 pi (x + y)),
from a Gaussian random vorticity; Hyperion's pseudo-spectral solver makes it, on a grid `refine` times finer than the one trained on, and
the same weights then forecast on that finer grid. Times are channels of a two-dimensional network, or with `--along_time true` a third axis
of its Fourier layers (the paper's FNO-3D). The paper's setting: `--config scenarios/fno_navier_stokes_paper.toml`, for a GPU.
"""

import numpy as np

import hyperion as hp
from hyperion import io, nn, operators, optim, pde, plot
from hyperion.errors import InputError


def make(config, device):
    """Return the vorticity at times 1, 2, ... of all examples on the grid trained on, and of those tested on the solver's, float32."""
    n, count = config.resolution * config.refine, config.examples + config.tested
    torus = pde.Torus((n, n), 1.0)
    field = pde.GaussianField(torus.shape, torus.lengths, tau=7.0, alpha=2.5, scale=7.0**1.5)
    solver, generator = pde.VorticitySolver(torus, pde.ETDRK4(step=config.time_step)), hp.random.Generator(config.seed)
    turn = 2.0 * np.pi * (torus.axis(0)[:, None] + torus.axis(1)[None, :])
    forcing = (0.1 * (np.sin(turn) + np.cos(turn))).astype(np.float32)
    coarse, fine = [], []
    for first in range(0, count, 200):
        start = field.sample(generator, min(200, count - first), "float32")
        flow = solver.solve(start.to(device), float(config.times), viscosity=config.viscosity,
                            forcing=hp.asarray(forcing, device=device), saves=config.times)                    # (examples, times, y, x)
        coarse.append(flow[..., ::config.refine, ::config.refine].to("cpu").numpy())
        fine.append(flow[max(0, config.examples - first):].to("cpu").numpy())
    return np.concatenate(coarse), np.concatenate(fine)


class Forecast(nn.Module):
    """Maps (batch, given times, y, x) to (batch, later times, y, x) by a network of two axes, or of three, the last one time."""

    def __init__(self, config):
        self.later, self.along_time = config.times - config.given, config.along_time
        space = (config.modes, config.modes)
        if config.along_time:       # time does not repeat itself: zeros at both of its ends
            self.network = operators.FNO(
                (*space, config.modes_in_time), config.width, config.layers, config.given, 1, padding=(0.0, 0.0, 0.1))
        else:
            self.network = operators.FNO(space, config.width, config.layers, config.given, self.later)

    def forward(self, states):
        if not self.along_time:
            return self.network(states)
        answers = self.network(hp.broadcast_to(states[..., None], (*states.shape, self.later)))                # (batch, 1, y, x, times)
        return hp.moveaxis(answers[:, 0], -1, 1)


def check(config):
    """Refuse what cannot be."""
    config.at_least(1, "tested", "epochs", "batch", "refine")
    if config.examples < config.batch:
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch}")
    if (steps := config.epochs * (config.examples // config.batch)) < 4:
        raise InputError(f"--epochs {config.epochs}: {steps} steps are too few for a learning rate that rises and falls; give at least 4")
    if not 1 <= config.given < config.times:
        raise InputError(f"--given {config.given} must be at least 1 and below --times {config.times}")
    if config.resolution % 2 or config.resolution < config.modes:
        raise InputError(f"--resolution {config.resolution} must be even and at least --modes {config.modes}")


def loss_of(model, states, answers):
    return nn.relative_l2(model(states), answers)


def main(run, config):
    """Make data, train, forecast on two grids, show the forecasts."""
    check(config)
    flow, fine = make(config, run.device)
    run.log(f"{len(flow)} flows of {config.times} time units on {fine.shape[2]} x {fine.shape[3]} points, viscosity {config.viscosity:g}, "
            f"largest vorticity {np.abs(flow).max():.3g}")
    x, y = np.ascontiguousarray(flow[:, :config.given]), np.ascontiguousarray(flow[:, config.given:])
    seen, unseen = slice(0, config.examples), slice(config.examples, None)

    nn.seed(config.seed)
    model = operators.Normalized(Forecast(config), x[seen], y[seen]).to(run.device)
    steps = config.epochs * (config.examples // config.batch)
    optimiser = optim.AdamW(model.parameters(), lr=optim.OneCycle(config.rate, steps), weight_decay=config.decay)
    test = nn.Batches(nn.Arrays(x[unseen], y[unseen]), min(config.batch, config.tested), device=run.device)
    trainer = nn.Trainer(
        model, optimiser, loss_of, nn.Batches(nn.Arrays(x[seen], y[seen]), config.batch, seed=config.seed, device=run.device),
        evaluate=lambda model: {"test loss": nn.mean_loss(model, loss_of, test.once())}, evaluate_every=max(1, steps // 10),
        folder=run.path("training"), checkpoint_every=None)
    run.log(f"{model!r}, {steps} steps")
    run.train(trainer, steps)

    found = []
    for every in sorted({config.refine, 1}, reverse=True):
        part = np.ascontiguousarray(fine[..., ::every, ::every])
        answers = operators.predict(model, part[:, :config.given], max(1, config.batch * every**2 // config.refine**2))
        errors = nn.relative_l2(answers, part[:, config.given:], reduction="none").numpy()
        points = f"{part.shape[2]} x {part.shape[3]} points"
        run.log(f"{points}: relative L2 error {errors.mean():.5f}, worst {errors.max():.5f}")
        run.facts[f"relative L2 error on {points}"] = float(errors.mean())
        found.append((part, answers, errors))
    run.facts["published: Li et al. 2021, section 5.3, viscosity 1e-3, 64 x 64 points, 1000 examples, FNO-2D"] = 0.0128
    run.facts["published: Li et al. 2021, section 5.3, viscosity 1e-3, 64 x 64 points, 1000 examples, FNO-3D"] = 0.0086
    rows = run.trained(trainer)
    axes = (io.Axis("example"), io.Axis("time", "", 1.0, config.given + 1.0), io.Axis("y", "", 1.0 / config.resolution),
            io.Axis("x", "", 1.0 / config.resolution))
    part, answers, errors = found[0]
    run.results.write("test/prediction", answers[:10], "", axes)
    run.results.write("test/truth", part[:10, config.given:], "", axes)
    run.results.write("test/error", errors, "", (io.Axis("example"),))
    run.figure(show(part, answers, errors, config), "forecasts")
    run.figure(course(rows, answers, part[:, config.given:], config), "training")


def show(flow, answers, errors, config):
    """Return a figure of the median forecast: vorticity by solver and network at five times, and their difference."""
    i = np.argsort(errors)[len(errors) // 2]
    later = np.unique(np.linspace(0, answers.shape[1] - 1, 5).round().astype(int))
    truth, forecast = flow[i, config.given:][later], answers[i][later]
    rows = {"solver": list(truth), "network": list(forecast), "network - solver": list(forecast - truth)}
    largest = float(np.abs(truth).max())
    limits = {"solver": largest, "network": largest, "network - solver": float(np.abs(forecast - truth).max())}
    notes = {"network": plot.error_notes(forecast, truth, 4)}
    return plot.fields(rows, [f"time {config.given + 1 + k}" for k in later], limits=limits, notes=notes,
                       spacing=2 * (1.0 / config.resolution,), axes=("y", "x"), upwards=True, label="vorticity")


def course(rows, answers, truth, config):
    """Return a figure of the errors over the steps, and over time."""
    size = np.sqrt(np.mean(truth**2, axis=(2, 3)))
    over_time = (np.sqrt(np.mean((answers - truth) ** 2, axis=(2, 3))) / size).mean(0)
    return plot.curves(
        plot.training(rows, {"batch": "loss", "unseen flows": "test loss"}, "relative L2 error"),
        plot.Panel({"unseen flows": over_time}, ("time", "relative L2 error"), config.given + 1 + np.arange(len(over_time)),
                   limits=(0.0, 1.2 * float(over_time.max())), dotted=("unseen flows",)),
        colours={"batch": "#b8b8b8", "unseen flows": "#d1495b"})
