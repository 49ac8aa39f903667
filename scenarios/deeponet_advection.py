"""A DeepONet learns to carry a wave along: from 40 samples of a square wave to its value at any place and time.

u_t + u_x = 0 on a circle of length 1, from square waves of random height, width and centre: the advection problem with a square wave of Lu
et al. 2022, CMAME 393, 114778. The branch network sees the wave at time 0 at 40 places, the trunk network a place and a time; errors are
those of unseen waves on a grid of 40 x 40, as in the authors' code. Answers u(x - t) on this grid are samples that the branch has seen: the
network learns which. With `--frequencies 8` the trunk sees cosine and sine of 2 pi k x and 2 pi k t, k = 1 to 8, beside x and t: what
repeats itself is given, not learned. The authors' sizes, for a GPU: `--config scenarios/deeponet_advection_paper.toml`.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, operators, optim, plot
from hyperion.errors import InputError


def make(count, points, seed):
    """Return square waves at `points` times, from 0 to 1, and as many places, both ends included: (count, times, places) float32."""
    draw = hp.random.Generator(seed).uniform((count, 3), dtype="float64").numpy()
    height, width, centre = 1.0 + draw[:, :1], 0.3 + 0.3 * draw[:, 1:2], 0.3 + 0.4 * draw[:, 2:]
    grid = np.linspace(0.0, 1.0, points)
    from_centre = (grid[None, :] - grid[:, None]).reshape(1, -1) - centre
    distance = np.abs((from_centre + 0.5) % 1.0 - 0.5)
    return np.where(distance <= 0.5 * width, height, 0.0).reshape(count, points, points).astype(np.float32)


class Transport(nn.Module):
    """A DeepONet asked at one grid of times and places: from the wave at time 0, (batch, places), to (batch, times, places)."""

    def __init__(self, config):
        n = config.points
        time, place = np.meshgrid(np.linspace(0.0, 1.0, n), np.linspace(0.0, 1.0, n), indexing="ij")
        features = [place, time]
        for k in range(1, config.frequencies + 1):
            features += [wave(2.0 * np.pi * k * coordinate) for coordinate in (place, time) for wave in (np.cos, np.sin)]
        self.where = hp.asarray(np.stack(features, axis=-1).reshape(n * n, -1).astype(np.float32))
        inner = [config.width] * config.layers
        self.network = operators.DeepONet([n, *inner], [self.where.shape[1], *inner, config.width], activation=hp.relu)

    def forward(self, wave):
        return self.network(wave, self.where).reshape((wave.shape[0], wave.shape[1], wave.shape[1]))


def loss_of(model, wave, answer):
    return nn.relative_l2(model(wave), answer)


def main(run, config):
    """Make data, train, evaluate on unseen waves, show them."""
    if config.examples < config.batch or min(config.tested, config.batch, config.width, config.layers) < 1:
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch}; --tested {config.tested}, --batch, "
                         f"--width {config.width} and --layers {config.layers} at least 1")
    if config.points < 2 or config.steps < 4:
        raise InputError(f"--points {config.points} must be at least 2, --steps {config.steps} at least 4")
    truth = make(config.examples + config.tested, config.points, config.seed)
    seen, unseen = truth[:config.examples], truth[config.examples:]
    nn.seed(config.seed)
    model = Transport(config).to(run.device)
    # Muon: with Adam the same steps leave ten times the error.
    optimiser = optim.Muon(model.parameters(), lr=optim.OneCycle(config.rate, config.steps))
    test = nn.Batches(nn.Arrays(unseen[:, 0], unseen), min(config.batch, config.tested), device=run.device)
    trainer = nn.Trainer(
        model, optimiser, loss_of, nn.Batches(nn.Arrays(seen[:, 0], seen), config.batch, seed=config.seed, device=run.device),
        evaluate=lambda model: {"test error": nn.mean_loss(model, loss_of, test.once())}, evaluate_every=max(1, config.steps // 20),
        folder=run.path("training"), checkpoint_every=None)
    run.log(f"{model!r}, {config.steps} steps")
    run.train(trainer, config.steps)

    answers = operators.predict(model, unseen[:, 0], config.batch)
    errors = nn.relative_l2(answers, unseen, reduction="none").numpy()
    run.log(f"relative L2 error of unseen waves {errors.mean():.5f}, worst {errors.max():.5f}")
    run.facts["relative L2 error of unseen waves"] = float(errors.mean())
    rows = run.trained(trainer)
    step = 1.0 / (config.points - 1)
    for name, values in (("truth", unseen), ("prediction", answers)):
        run.results.write(f"test/{name}", values[:50], "", (io.Axis("example"), io.Axis("time", "", step), io.Axis("x", "", step)))
    run.results.write("test/error", errors, "", (io.Axis("example"),))
    run.figure(show(unseen, answers, errors), "waves")
    panel = plot.training(rows, {"batch": "loss", "unseen waves": "test error"}, "relative L2 error")
    run.figure(plot.curves(panel, colours={"batch": "#b8b8b8", "unseen waves": "#d1495b"}), "training")


def show(truth, answers, errors):
    """Return a figure of the median and the worst wave: truth, answer, their difference over place and time, and cuts at three times."""
    order = np.argsort(errors)
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    panels = figure.subplots(2, 4, width_ratios=[1, 1, 1, 1.3])
    for row, (name, i) in enumerate((("median", order[len(order) // 2]), ("worst", order[-1]))):
        away = answers[i] - truth[i]
        size = max(float(np.abs(away).max()), 1e-6)
        fields = ((truth[i], "viridis", 0.0, 2.0, "exact"), (answers[i], "viridis", 0.0, 2.0, "network"),
                  (away, "RdBu_r", -size, size, f"network - exact, error {errors[i]:.4f}"))
        for panel, (values, colours, low, high, title) in zip(panels[row], fields, strict=False):
            image = panel.imshow(values, origin="lower", cmap=colours, vmin=low, vmax=high, extent=(0, 1, 0, 1))
            panel.set_title(title, fontsize=9)
            panel.set(xlabel="x", xticks=[0, 1], yticks=[0, 1])
            if title != "exact":
                figure.colorbar(image, ax=panel, shrink=0.8)
        panels[row, 0].set_ylabel(f"{name}\ntime")
        grid = np.linspace(0.0, 1.0, truth.shape[2])
        for k, colour in zip((0, truth.shape[1] // 3, 2 * truth.shape[1] // 3), ("#30638e", "#d1495b", "#3d7c47"), strict=True):
            panels[row, 3].plot(grid, truth[i, k], color=colour, linewidth=2.5, alpha=0.35)
            panels[row, 3].plot(grid, answers[i, k], color=colour, linewidth=1.0, label=f"time {grid[k]:.2f}")
        panels[row, 3].set(xlabel="x", ylabel="u (broad and pale: exact)")
    panels[0, 3].legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.0)
    return figure
