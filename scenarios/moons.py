"""A small network learns to tell two moons apart: the example of micrograd, in one gradient call a step.

Two interleaved half circles, a network of 2-16-16-1 neurons with ReLU between (337 parameters), the max-margin loss with a weight penalty,
and gradient descent on all points with a falling rate, as in Andrej Karpathy's micrograd (github.com/karpathy/micrograd, demo.ipynb).
"""

import itertools
import time

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io
from hyperion.errors import InputError


def make_moons(samples, noise, generator):
    """Return points on two interleaved half circles, with Gaussian noise, in random order: (samples, 2), and their class, -1 or 1."""
    outer = np.linspace(0.0, np.pi, samples // 2)
    inner = np.linspace(0.0, np.pi, samples - samples // 2)
    upper = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    lower = np.stack([1.0 - np.cos(inner), 0.5 - np.sin(inner)], axis=1)
    order = generator.permutation(samples)
    points = np.concatenate([upper, lower])[order] + noise * generator.standard_normal((samples, 2))
    return points, np.repeat([-1.0, 1.0], [len(outer), len(inner)])[order]


def initial(sizes, generator):
    """Return the layers of a network: weights uniform in (-1, 1), biases zero."""
    return [{"weight": generator.uniform(-1.0, 1.0, (a, b)), "bias": np.zeros(b)} for a, b in itertools.pairwise(sizes)]


def score(layers, points):
    """Return the network's output for each point, shape (points,): its sign is the class."""
    for layer in layers[:-1]:
        points = hp.relu(points @ layer["weight"] + layer["bias"])
    return (points @ layers[-1]["weight"] + layers[-1]["bias"])[:, 0]


def loss_of(layers, points, classes, penalty):
    """Return the mean margin by which points are on the wrong side of 1, plus the penalty on squared weights; and the scores."""
    scores = score(layers, points)
    squares = sum((p * p).sum() for layer in layers for p in layer.values())
    return hp.relu(1.0 - classes * scores).mean() + penalty * squares, scores


def main(run, config):
    """Train, and draw what was learnt."""
    for name, least in (("samples", 2), ("steps", 1)):
        if config[name] < least:
            raise InputError(f"--{name} {config[name]}: give at least {least}")
    if not config.hidden or min(config.hidden) < 1:
        raise InputError(f"--hidden {config.hidden}: give the neurons of each hidden layer, at least 1: --hidden 16,16")
    generator = np.random.default_rng(config.seed)
    points, classes = make_moons(config.samples, config.noise, generator)
    layers, losses, accuracies, seconds = initial([2, *config.hidden, 1], generator), [], [], 0.0
    if state := run.restore():
        layers, losses, accuracies, seconds = (state[name] for name in ("layers", "losses", "accuracies", "seconds"))

    def there(tree):
        return hp.tree_map(lambda x: hp.asarray(x, device=run.device), tree)

    x, y, layers = there(points), there(classes), there(layers)
    step = hp.value_and_grad(lambda p: loss_of(p, x, y, config.penalty), has_aux=True)
    with run.progress(config.steps, "moons", len(losses)) as progress:
        for k in range(len(losses), config.steps):
            rate = config.rate - (config.rate - config.last_rate) * k / config.steps
            began = time.perf_counter()
            (loss, scores), gradient = step(layers)
            layers = hp.tree_map(lambda p, g, rate=rate: p - rate * g, layers, gradient)
            seconds += time.perf_counter() - began
            losses.append(loss.item())
            accuracies.append(100.0 * hp.mean((scores > 0.0) == (y > 0.0)).item())
            progress.step(loss=losses[-1], accuracy=accuracies[-1])
            run.checkpoint(state_of(layers, losses, accuracies, seconds))
    run.checkpoint(state_of(layers, losses, accuracies, seconds), every=0.0)       # a finished run is not computed again by --resume

    final = 100.0 * np.mean((score(layers, x).to("cpu").numpy() > 0.0) == (classes > 0.0))
    run.facts["parameters"] = sum(p.size for layer in layers for p in layer.values())
    run.facts["accuracy (%)"], run.facts["loss"], run.facts["seconds of steps"] = final, losses[-1], seconds
    run.log(f"accuracy {final:g} % after {config.steps} steps, {1e3 * seconds / config.steps:.2f} ms each")
    run.results.write("points", points, "", (io.Axis("point", "", 1.0), io.Axis("coordinate", "", 1.0)))
    run.results.write("classes", classes)
    run.results.write("iterations/loss", losses)
    run.results.write("iterations/accuracy", accuracies, "%")
    for n, layer in enumerate(hp.tree_map(lambda p: p.to("cpu").numpy(), layers), 1):
        for name, values in layer.items():
            run.results.write(f"layers/{n}/{name}", values)
    run.figure(boundary(layers, points, classes, run.device), "boundary")
    run.figure(course(losses, accuracies), "training")


def state_of(layers, losses, accuracies, seconds):
    arrays = hp.tree_map(lambda p: p.to("cpu").numpy(), layers)
    return {"layers": arrays, "losses": losses, "accuracies": accuracies, "seconds": seconds}


def boundary(layers, points, classes, device):
    """Draw the score over the plane, the line where it is zero, and the points."""
    low, high = points.min(axis=0) - 0.4, points.max(axis=0) + 0.4
    across, up = np.meshgrid(np.linspace(low[0], high[0], 240), np.linspace(low[1], high[1], 200))
    plane = hp.asarray(np.stack([across.ravel(), up.ravel()], axis=1), device=device)
    values = score(layers, plane).to("cpu").numpy().reshape(across.shape)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    limit = np.abs(values).max() or 1.0
    image = axes.contourf(across, up, values, levels=np.linspace(-limit, limit, 21), cmap="RdBu_r", alpha=0.75)
    if values.min() < 0.0 < values.max():
        axes.contour(across, up, values, levels=[0.0], colors="#1b1b1b", linewidths=1.4)
    for kind, colour, marker in ((-1.0, "#08519c", "o"), (1.0, "#a50f15", "s")):
        chosen = points[classes == kind]
        axes.scatter(*chosen.T, s=22, c=colour, marker=marker, edgecolors="white", linewidths=0.6, label=f"class {kind:+g}")
    axes.set(xlabel="x", ylabel="y", title="Score of the network; the line is where it is zero", aspect="equal")
    axes.legend(loc="upper right")
    figure.colorbar(image, label="score", ax=axes, shrink=0.85, format="%.0f")
    return figure


def course(losses, accuracies):
    """Draw loss and accuracy over the steps."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    left = figure.add_subplot()
    left.semilogy(losses, color="#1b1b1b")
    left.set(xlabel="step", ylabel="loss")
    right = left.twinx()
    right.plot(accuracies, color="#d1495b")
    right.set_ylabel("accuracy (%)", color="#d1495b")
    right.set_ylim(None, 101.0)
    return figure
