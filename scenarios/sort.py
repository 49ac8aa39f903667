"""A transformer learns to sort: the demonstration of minGPT, tested on sequences that training never saw.

A sequence of digits is followed by the same digits in order; the loss counts only the second half. There are digits^length sequences, and
each has a number, so what is held out is known exactly. Source: Karpathy, github.com/karpathy/minGPT, demo.ipynb (model "gpt-nano").
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError

IGNORED = -100             # targets in the first half


class Sequences:
    """Examples (inputs, targets) of sequences given by their numbers, in the number system of `digits`."""

    def __init__(self, numbers, length, digits):
        self.numbers, self.length, self.digits = numbers, length, digits

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, indices):
        given = self.numbers[indices][:, None] // self.digits ** np.arange(self.length) % self.digits
        both = np.concatenate([given, np.sort(given, axis=1)], axis=1)                    # (n, 2 length)
        targets = both[:, 1:].copy()
        targets[:, :self.length - 1] = IGNORED
        return both[:, :-1], targets


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets, ignore_index=IGNORED)


def sorted_by(model, given, batch=500):
    """Return what the model writes after sequences (n, length): the most probable digits, one after the other."""
    parts = [model.generate(given[i:i + batch], given.shape[1], temperature=0.0) for i in range(0, len(given), batch)]
    return np.array([row[given.shape[1]:] for part in parts for row in part])


def main(run, config):
    """Train on three quarters of all sequences, sort others."""
    if config.length < 2 or config.digits < 2 or config.digits**config.length > 10**7:
        raise InputError(f"--length {config.length} --digits {config.digits}: both at least 2, and at most 10^7 sequences in all")
    count = config.digits**config.length
    order = nn.shuffled(count, config.seed, 0, np.arange(count))
    cut = round(config.held_out * count)
    if not 0 < cut <= count - config.batch or config.tested < 1 or config.steps < 1:
        raise InputError(f"--held_out {config.held_out:g} of {count} sequences: must leave some, and at least --batch {config.batch} to "
                         f"train on; --tested {config.tested} and --steps {config.steps} must be at least 1")
    unseen = Sequences(order[:cut], config.length, config.digits)
    drawn = np.random.default_rng(config.seed).integers(0, cut, config.tested)
    nn.seed(config.seed)
    model = nn.GPT(config.digits, 2 * config.length, layers=config.layers, heads=config.heads, width=config.width,
                   dropout=config.dropout).to(run.device)
    trainer = nn.Trainer(
        model, optim.AdamW(model.parameters(), lr=config.rate, betas=(0.9, 0.95), weight_decay=0.1), loss_of,
        nn.Batches(Sequences(order[cut:], config.length, config.digits), config.batch, seed=config.seed, device=run.device), clip=1.0,
        folder=run.directory / "training", checkpoint_every=None)
    run.log(f"{model!r}; {count - cut} sequences to learn from, {cut} held out")
    if state := run.restore():
        trainer.load_state_dict(state)
    with run.progress(config.steps, "training", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            progress.step(loss=row["loss"])
            run.checkpoint(trainer.state_dict())
    run.checkpoint(trainer.state_dict(), every=0.0)

    given = unseen[drawn][0][:, :config.length]
    written = sorted_by(model.eval(), given)
    right = (written == np.sort(given, axis=1)).all(axis=1)
    rows = trainer.history()
    run.facts["sorted right (%)"], run.facts["sequences tested"] = 100.0 * right.mean(), len(right)
    run.facts["different ones among them"] = len(np.unique(drawn))
    run.facts["parameters"], run.facts["loss"] = sum(p.size for p in model.parameters()), rows[-1]["loss"]
    run.log(f"{right.sum()} of {len(right)} unseen sequences sorted right")
    for i in np.argsort(right, kind="stable")[:5]:
        run.log(f"  {given[i]} -> {written[i]} {'right' if right[i] else 'wrong'}")
    run.results.write("training/loss", [row["loss"] for row in rows], "", (io.Axis("step"),))
    run.results.write("test/given", given, "", (io.Axis("sequence"), io.Axis("place")))
    run.results.write("test/written", written, "", (io.Axis("sequence"), io.Axis("place")))
    run.figure(draw(model, given[0], rows), "sort")


def draw(model, given, rows):
    """Return a figure of the loss, and of where the model looks while it sorts one sequence: the mean over layers and heads."""
    with hp.no_grad(), nn.capture(model, "blocks.*.attention.weights") as found:
        sequence = np.concatenate([given, np.sort(given)])[:-1]
        model(hp.asarray(sequence[None], device=model.parameters()[0].device))
    weights = np.mean([values[0].to("cpu").numpy()[0].mean(axis=0) for values in found.values()], axis=0)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy([row["step"] for row in rows], [row["loss"] for row in rows], color="#9a9a9a", linewidth=0.7)
    left.set(xlabel="step", ylabel="cross-entropy")
    right.imshow(weights, cmap="Blues", vmin=0.0)
    right.axhline(len(given) - 1.5, color="#d1495b", linewidth=0.8)                       # below it the sorted digits are written
    right.set(xticks=range(len(sequence)), yticks=range(len(sequence)), xlabel="digit looked at", ylabel="last digit read")
    right.set_xticklabels(sequence)
    right.set_yticklabels(sequence)
    return figure
