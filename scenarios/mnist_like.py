"""A convolutional network learns to read digits that are drawn in code: strokes, tilted, stretched, blurred and noisy.

Ten glyphs as strokes of a pen take the place of a downloaded data set: each example is drawn with its own slant, size, place and thickness.
Two convolutions with pooling and one linear layer reach above 99 %, as LeNet does on the real thing (LeCun et al. 1998, figure 2).
"""

import itertools

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError

SIDE = 28                  # pixels
GLYPHS = (                 # the pen's way through (x, y), y downwards, in a box of size 1
    ((.5, 0), (.85, .15), (.9, .5), (.85, .85), (.5, 1), (.15, .85), (.1, .5), (.15, .15), (.5, 0)),
    ((.25, .2), (.55, 0), (.55, 1)),
    ((.12, .22), (.3, .02), (.7, .02), (.88, .25), (.75, .5), (.1, 1), (.9, 1)),
    ((.12, .05), (.85, .05), (.45, .42), (.85, .6), (.8, .9), (.45, 1), (.1, .88)),
    ((.7, 1), (.7, 0), (.08, .68), (.92, .68)),
    ((.85, 0), (.2, 0), (.15, .45), (.6, .4), (.88, .65), (.75, .95), (.4, 1), (.1, .9)),
    ((.75, .02), (.35, .2), (.12, .6), (.2, .92), (.5, 1), (.82, .88), (.85, .62), (.55, .5), (.16, .66)),
    ((.08, 0), (.9, 0), (.4, 1)),
    ((.5, .45), (.18, .28), (.25, .05), (.5, 0), (.75, .05), (.82, .28), (.5, .45), (.12, .7), (.2, .95), (.5, 1), (.8, .95), (.88, .7),
     (.5, .45)),
    ((.84, .34), (.45, .5), (.15, .38), (.18, .12), (.5, 0), (.8, .08), (.88, .4), (.65, .8), (.25, .98)),
)


def draw(count, noise, tilt, generator):
    """Return images of digits, (count, 1, 28, 28) float32, and the digits, (count,)."""
    digits = generator.integers(0, 10, count)
    angle, shear = tilt * generator.standard_normal((2, count))
    size, stretch = generator.uniform(14.0, 19.0, count), generator.uniform(0.55, 0.85, count)
    middle = 13.5 + generator.uniform(-2.5, 2.5, (count, 2))
    width = generator.uniform(0.9, 1.7, count)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([columns, rows], axis=-1).astype(np.float32)                        # (28, 28, 2)
    images = np.empty((count, 1, SIDE, SIDE), np.float32)
    for i, digit in enumerate(digits):
        turn = np.array([[np.cos(angle[i]), -np.sin(angle[i])], [np.sin(angle[i]), np.cos(angle[i])]])
        slant = np.array([[stretch[i], shear[i]], [0.0, 1.0]])
        pen = (np.array(GLYPHS[digit]) - 0.5) @ (size[i] * turn @ slant).T + middle[i]
        pen += 0.4 * generator.standard_normal(pen.shape)
        near = np.full((SIDE, SIDE), np.inf)
        for a, b in itertools.pairwise(pen):
            along = np.clip((pixels - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            near = np.minimum(near, np.linalg.norm(pixels - a - along[..., None] * (b - a), axis=-1))
        images[i, 0] = np.clip(1.5 - near / width[i], 0.0, 1.0)
    return images + np.float32(noise) * generator.standard_normal(images.shape, np.float32), digits


def network(channels):
    """Return convolutions, each with ReLU and a pooling by 2, and a linear layer to the ten digits."""
    layers, before, side = [], 1, SIDE
    for after in channels:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.Activation(hp.relu), nn.MaxPool2d(2)]
        before, side = after, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 10))


def loss_of(model, images, digits):
    return nn.cross_entropy(model(images), digits)


def main(run, config):
    """Draw, train, test, show what was read wrong."""
    if not 1 <= len(config.channels) <= 4 or min(config.channels) < 1:
        raise InputError(f"--channels {config.channels}: give one to four numbers of at least 1: --channels 16,32")
    if config.examples < config.batch or config.tested < 1 or config.steps < 1 or min(config.noise, config.tilt) < 0.0:
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch}, --tested {config.tested} and --steps "
                         f"{config.steps} at least 1, --noise {config.noise:g} and --tilt {config.tilt:g} not negative")
    generator = np.random.default_rng(config.seed)
    images, digits = draw(config.examples, config.noise, config.tilt, generator)
    unseen, answers = draw(config.tested, config.noise, config.tilt, generator)
    nn.seed(config.seed)
    model = network(config.channels).to(run.device)
    test = nn.Batches(nn.Arrays(unseen, answers), min(config.batch, config.tested), device=run.device)
    trainer = nn.Trainer(
        model, optim.AdamW(model.parameters(), lr=optim.Cosine(config.rate, 0.0, config.steps)), loss_of,
        nn.Batches(nn.Arrays(images, digits), config.batch, seed=config.seed, device=run.device), precision=config.precision,
        evaluate=lambda model: {"test loss": nn.mean_loss(model, loss_of, test.once())}, evaluate_every=max(1, config.steps // 8),
        folder=run.directory / "training", checkpoint_every=None)
    run.log(f"{model!r}, {config.examples} images")
    if state := run.restore():
        trainer.load_state_dict(state)
    with run.progress(config.steps, "training", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            progress.step(loss=row["loss"])
            run.checkpoint(trainer.state_dict())
    run.checkpoint(trainer.state_dict(), every=0.0)

    with hp.no_grad():
        read = np.concatenate([hp.argmax(model.eval()(x), axis=-1).to("cpu").numpy() for x, _ in test.once()])
    right = 100.0 * np.mean(read == answers)
    rows = trainer.history()
    run.facts["parameters"], run.facts["accuracy on unseen digits (%)"] = sum(p.size for p in model.parameters()), right
    run.facts["seconds a step"] = float(np.median([row["seconds"] for row in rows]))
    run.log(f"{right:.2f} % of {config.tested} unseen digits read right")
    run.results.write("training/loss", [row["loss"] for row in rows], "", (io.Axis("step"),))
    run.results.write("test/digits", answers, "", (io.Axis("example"),))
    run.results.write("test/read", read, "", (io.Axis("example"),))
    run.figure(show(unseen, answers, read), "digits")
    run.figure(course(rows), "training")


def show(images, answers, read):
    """Return a figure of images with the digit that was read; those read wrong first, in red."""
    order = np.argsort(read == answers, kind="stable")[:40]
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    for panel, i in zip(figure.subplots(4, 10).ravel(), order, strict=False):
        panel.imshow(images[i, 0], cmap="gray_r", vmin=0.0, vmax=1.0)
        panel.set_title(f"{read[i]}", fontsize=9, color="#1b1b1b" if read[i] == answers[i] else "#d1495b")
    for panel in figure.axes:
        panel.set_axis_off()
    return figure


def course(rows):
    """Return a figure of the losses over the steps."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    panel = figure.subplots()
    panel.semilogy([row["step"] for row in rows], [row["loss"] for row in rows], color="#9a9a9a", linewidth=0.7, label="batch")
    tested = [row for row in rows if "test loss" in row]
    panel.semilogy([row["step"] for row in tested], [row["test loss"] for row in tested], "o-", color="#d1495b", label="unseen digits")
    panel.set(xlabel="step", ylabel="cross-entropy")
    panel.legend(frameon=False)
    return figure
