"""Where the heads of a transformer look: a small model learns to repeat what it has read, and its heads show how.

A random sequence is followed by itself, over and over. From the second time on every token can be foretold: look for where the present
token stood before, and say what came next; the length differs from example to example, so that counting back does not help. One head learns
to look one token back, a head above it to look behind the earlier copy of the present token: an induction head. Each head is scored by how
much of its attention goes there, and all are drawn. A trained GPT-2 can be looked at in the same way.
Source: Olsson et al. 2022, "In-context learning and induction heads", arXiv:2209.11895.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError

IGNORED = -100             # targets in the first reading


class Repeated:
    """Examples (inputs, targets) of `total` tokens: a random sequence of a random length from a quarter to half of that, repeated."""

    def __init__(self, count, total, vocabulary, seed):
        self.count, self.total, self.vocabulary, self.generator = count, total, vocabulary, hp.random.Generator(seed)

    def __len__(self):
        return self.count

    def __getitem__(self, indices):
        read = np.empty((len(indices), self.total + 1), np.int64)
        for row, length, i in zip(read, self.lengths(indices), indices, strict=True):
            once = self.generator.at(2 * int(i)).integers((length,), 0, self.vocabulary).numpy()
            row[:] = np.resize(once, self.total + 1)
        targets = np.where(np.arange(self.total) >= self.lengths(indices)[:, None], read[:, 1:], IGNORED)
        return read[:, :-1], targets

    def lengths(self, indices):
        """Return how long the repeated sequence of each example is."""
        return np.array([self.generator.at(2 * int(i) + 1).integers((), self.total // 4, self.total // 2 + 1).item() for i in indices])


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets, ignore_index=IGNORED)


def look(model, tokens):
    """Return where each head looks: (layers, heads, batch, queries, keys)."""
    with hp.no_grad(), nn.capture(model, "blocks.*.attention.weights") as found:
        model(hp.asarray(tokens, device=model.parameters()[0].device))
    names = sorted(found, key=lambda name: int(name.split(".")[1]))
    return np.stack([found[name][0].to("cpu").numpy() for name in names]).transpose(0, 2, 1, 3, 4)


def scores_of(weights, lengths):
    """Return how much of each head's attention goes to the token before, and behind earlier copies: two arrays (layers, heads)."""
    queries = np.arange(weights.shape[-2])
    before = weights[..., queries[1:], queries[1:] - 1].mean(axis=(2, 3))
    behind = np.zeros((len(lengths), len(queries), len(queries)), bool)
    for i, length in enumerate(lengths):
        for back in range(length, len(queries), length):
            behind[i, queries[back:], queries[back:] - back + 1] = True
    repeated = np.array([queries >= length for length in lengths])                        # (examples, queries)
    return before, (weights * behind).sum(axis=(2, 3, 4)) / repeated.sum()


def main(run, config):
    """Train or load a model, capture the attention, score and draw the heads."""
    if config.tokens < 8 or min(config.vocabulary, config.steps) < 2:
        raise InputError(f"--tokens {config.tokens} must be at least 8, --vocabulary {config.vocabulary} and --steps {config.steps} at "
                         "least 2")
    nn.seed(config.seed)
    if config.model:
        model = nn.GPT.from_pretrained(config.model).to(run.device)
        if model.context < config.tokens:
            raise InputError(f"--tokens {config.tokens}: is more than the context of the model, {model.context}")
    else:
        model = nn.GPT(config.vocabulary, config.tokens, layers=config.layers, heads=config.heads, width=config.width).to(run.device)
        data = Repeated(10**6, config.tokens, config.vocabulary, config.seed)
        batches = nn.Batches(data, config.batch, seed=config.seed, device=run.device)
        trainer = nn.Trainer(model, optim.AdamW(model.parameters(), lr=config.rate, betas=(0.9, 0.98)), loss_of, batches, clip=1.0,
                             folder=run.directory / "training", checkpoint_every=None)
        if state := run.restore():
            trainer.load_state_dict(state)
        with run.progress(config.steps, "training", trainer.steps) as progress:
            for row in trainer.run(config.steps):
                progress.step(loss=row["loss"])
                run.checkpoint(trainer.state_dict())
        run.checkpoint(trainer.state_dict(), every=0.0)
        rows = trainer.history()
        run.facts["loss at the end"], run.facts["loss of a guess"] = rows[-1]["loss"], float(np.log(config.vocabulary))
        run.results.write("training/loss", [row["loss"] for row in rows], "", (io.Axis("step"),))
        run.figure(course(rows, config.vocabulary), "training")

    unseen = Repeated(16, config.tokens, model.vocabulary, config.seed + 1)
    inputs, _ = unseen[np.arange(16)]
    weights = look(model.eval(), inputs)
    before, induction = scores_of(weights, unseen.lengths(np.arange(16)))
    for name, scores in (("previous token", before), ("induction", induction)):
        layer, head = np.unravel_index(scores.argmax(), scores.shape)
        run.facts[f"{name} head"] = f"layer {layer}, head {head}: {100.0 * scores[layer, head]:.1f} % of its attention"
        run.log(f"{name} head: {run.facts[f'{name} head']}")
    axes = (io.Axis("layer"), io.Axis("head"))
    run.results.write("heads/previous token", before, "", axes)
    run.results.write("heads/induction", induction, "", axes)
    run.results.write("attention", weights[:, :, 0], "", (*axes, io.Axis("query"), io.Axis("key")), tokens=inputs[0])
    run.figure(maps(weights[:, :, 0], before, induction), "heads")


def maps(weights, before, induction):
    """Return a figure of all heads' attention in one sequence, with their scores."""
    layers, heads = weights.shape[:2]
    figure = Figure(figsize=(2.2 * min(heads, 12) + 0.6, 2.4 * min(layers, 12)), layout="constrained")
    for i, row in enumerate(figure.subplots(layers, heads, squeeze=False)):
        for j, panel in enumerate(row):
            image = panel.imshow(weights[i, j], cmap="Blues", vmin=0.0, vmax=1.0)
            panel.set_title(f"layer {i}, head {j}\nprevious {before[i, j]:.2f}, induction {induction[i, j]:.2f}", fontsize=8)
            panel.set(xlabel="looks at" if i == layers - 1 else "", ylabel="token" if j == 0 else "")
            panel.locator_params(integer=True)
    figure.colorbar(image, ax=figure.axes, label="attention", shrink=0.7)
    return figure


def course(rows, vocabulary):
    """Return a figure of the loss over the steps."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    panel = figure.subplots()
    panel.plot([row["step"] for row in rows], [row["loss"] for row in rows], color="#1b1b1b", linewidth=0.7)
    panel.axhline(np.log(vocabulary), color="#9a9a9a", linestyle="--", label="a guess")
    panel.set(xlabel="step", ylabel="cross-entropy of what is repeated")
    panel.legend(frameon=False)
    return figure
