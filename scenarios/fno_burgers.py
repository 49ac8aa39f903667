"""A Fourier neural operator learns Burgers' equation: from the state at time 0 to the state at time 1, and is asked on finer grids.

The states are Gaussian random fields on a circle, the answers come from Hyperion's own pseudo-spectral solver, on a grid four times finer
than the one trained on; the network sees every fourth point, and is then evaluated on all of them with the same weights. The states are
those of Li et al. 2021, arXiv:2010.08895, section 5.1, with a viscosity ten times smaller, so that fronts are there at time 1. The paper's
own setting: `--config scenarios/fno_burgers_paper.toml`, for a GPU; there the relative L2 error at 1024 points is 0.0160, and 0.0018 to
0.0029 by the code of its authors as it is today.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

FINEST = 4      # times as many points as are trained on


def make(count, points, config, device):
    """Return states at time 0 and at time 1, (count, 1, points) float32, solved on a device."""
    torus = pde.Torus(points, 1.0)
    field = pde.GaussianField(torus.shape, torus.lengths, tau=5.0, alpha=2.0, scale=25.0)
    solver = pde.BurgersSolver(torus, pde.ETDRK4(step=config.time_step))
    generator = hp.random.Generator(config.seed)
    start = field.sample(generator, count, "float64").numpy()
    end = []
    for chunk in np.array_split(start, -(-count // 256)):
        end.append(solver.solve(hp.asarray(chunk, device=device), 1.0, viscosity=config.viscosity).to("cpu").numpy()[:, 0])
    return start[:, None].astype(np.float32), np.concatenate(end)[:, None].astype(np.float32)


def loss_of(model, states, answers):
    return nn.relative_l2(model(states), answers)


def main(run, config):
    """Make data, train, evaluate on three grids, show the answers."""
    if config.resolution % 2 or config.resolution < config.modes:
        raise InputError(f"--resolution {config.resolution} must be even and at least --modes {config.modes}")
    if config.examples < config.batch or min(config.tested, config.epochs, config.batch) < 1:
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch}; --tested {config.tested}, --epochs "
                         f"{config.epochs} and --batch at least 1")
    finest = FINEST * config.resolution
    states, answers = make(config.examples + config.tested, finest, config, run.device)
    run.log(f"{len(states)} solutions of Burgers' equation on {finest} points, viscosity {config.viscosity:g}")
    coarse = (slice(None), slice(None), slice(None, None, FINEST))
    seen, unseen = slice(0, config.examples), slice(config.examples, None)

    nn.seed(config.seed)
    network = operators.FNO(config.modes, config.width, config.layers)
    model = operators.Normalized(network, states[seen][coarse], answers[seen][coarse]).to(run.device)
    steps = config.epochs * (config.examples // config.batch)
    optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(config.rate, 0.0, steps))
    batches = nn.Batches(nn.Arrays(states[seen][coarse], answers[seen][coarse]), config.batch, seed=config.seed, device=run.device)
    test = nn.Batches(nn.Arrays(states[unseen][coarse], answers[unseen][coarse]), min(config.batch, config.tested), device=run.device)
    trainer = nn.Trainer(
        model, optimiser, loss_of, batches, evaluate=lambda model: {"test loss": nn.mean_loss(model, loss_of, test.once())},
        evaluate_every=max(1, steps // 10), folder=run.path("training"), checkpoint_every=None)
    run.log(f"{model!r}, {steps} steps")
    run.train(trainer, steps)

    shown, errors = None, {}
    for times in (1, 2, 4):
        grid = (unseen, slice(None), slice(None, None, FINEST // times))
        x, y = states[grid], answers[grid]
        out = operators.predict(model, x, config.batch)
        each = nn.relative_l2(out, y, reduction="none").numpy()
        errors[x.shape[2]] = each
        run.facts[f"relative L2 error at {x.shape[2]} points"] = float(each.mean())
        run.log(f"{x.shape[2]} points: relative L2 error {each.mean():.5f}, worst {each.max():.5f}")
        shown = x, y, out
    run.facts["published: Li et al. 2021, section 5.1, viscosity 0.1, 1024 points, 1000 examples, 500 epochs"] = 0.0160
    rows = run.trained(trainer)
    run.results.write("test/prediction", shown[2][:, 0], "", (io.Axis("example"), io.Axis("x", "", 1.0 / finest)))
    run.results.write("test/truth", shown[1][:, 0], "", (io.Axis("example"), io.Axis("x", "", 1.0 / finest)))
    run.figure(show(*shown, errors[finest]), "answers")
    run.figure(course(rows, errors), "training")


def show(states, truth, predictions, errors):
    """Return a figure of the best, the median and the worst answer: state at time 0, truth and prediction at time 1, their difference."""
    order = np.argsort(errors)
    places = np.arange(states.shape[2]) / states.shape[2]
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, height_ratios=[2, 1])
    for column, (name, i) in enumerate((("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1]))):
        upper, lower = panels[:, column]
        upper.plot(places, states[i, 0], color="#b8b8b8", linewidth=1.0, label="time 0")
        upper.plot(places, truth[i, 0], color="#1b1b1b", linewidth=1.6, label="time 1, solver")
        upper.plot(places, predictions[i, 0], color="#d1495b", linewidth=1.2, linestyle="--", label="time 1, network")
        upper.set_title(f"{name} answer, error {errors[i]:.4f}", fontsize=10)
        lower.plot(places, predictions[i, 0] - truth[i, 0], color="#d1495b", linewidth=0.9)
        lower.axhline(0.0, color="#b8b8b8", linewidth=0.6)
        lower.set_xlabel("x")
    panels[0, 0].legend(frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("u")
    panels[1, 0].set_ylabel("network - solver")
    return figure


def course(rows, errors):
    """Return a figure of the losses over the steps, and of the errors over the grids."""
    found = [each.mean() for each in errors.values()]
    return plot.curves(
        plot.training(rows, {"batch": "loss", "unseen states": "test loss"}, "relative L2 error"),
        plot.Panel({"unseen states": (list(errors), found)}, ("points (trained on the fewest)", "relative L2 error"),
                   limits=(0.0, 1.3 * max(found)), points=("unseen states",)),
        colours={"batch": "#b8b8b8", "unseen states": "#d1495b"}, widths=(2.0, 1.0))
