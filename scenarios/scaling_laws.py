"""How the loss of a language model falls with its size and its data: a small family, and the laws of Kaplan and Chinchilla fitted to it.

The tokens come from a source whose entropy is known: after each token some others may follow, frequent ones more often. No model can come
below it, so the constant E of the fit can be held against the truth. Prints what the published constants say of large models:
they are rounded, and so ask for more data than the paper's own table 3 (Besiroglu et al. 2024, arXiv:2404.10102).
Sources: Kaplan et al. 2020, arXiv:2001.08361, equation 1.5; Hoffmann et al. 2022 ("Chinchilla"), arXiv:2203.15556, equations 2 to 4 and 10.
"""

import itertools

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError

PUBLISHED = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}              # Hoffmann et al., equation 10
SIZES = (4e8, 1e9, 1e10, 6.7e10, 1.75e11, 2.8e11, 5.2e11, 1e12, 1e13)                     # those of their table 3


class Source:
    """Tokens after tokens: table (vocabulary, successors), with probability of rank k proportional to 1 / k."""

    def __init__(self, vocabulary, successors, generator):
        frequent = (1.0 / np.arange(1, vocabulary + 1)) / np.sum(1.0 / np.arange(1, vocabulary + 1))
        self.table = generator.choice(vocabulary, (vocabulary, successors), p=frequent)
        self.weights = (1.0 / np.arange(1, successors + 1)) / np.sum(1.0 / np.arange(1, successors + 1))

    def tokens(self, count, generator):
        """Return a row of tokens, and the mean entropy of a token given the one before: what no model can beat."""
        ranks = generator.choice(len(self.weights), count, p=self.weights)
        tokens, token, size = np.empty(count, np.int64), 0, len(self.table)
        for i, rank in enumerate(ranks.tolist()):
            tokens[i] = token = self.table[token, rank]
        probability = np.zeros((size, size))
        np.add.at(probability, (np.arange(size)[:, None], self.table), self.weights)
        entropy = -np.sum(probability * np.log(np.maximum(probability, 1e-300)), axis=1)
        return tokens, float(entropy[tokens[:-1]].mean())


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets)


def chinchilla(p, n, d):
    """Return log(A / N^alpha + B / D^beta + E) for p = (log A, log B, log E, alpha, beta), and log N, log D."""
    return hp.logsumexp(hp.stack([p[0] - p[3] * n, p[1] - p[4] * d, p[2] + 0.0 * n]), axis=0)


def kaplan(p, n, d):
    """Return log(((Nc / N)^(a / b) + Dc / D)^b) for p = (log Nc, log Dc, a, b)."""
    return p[3] * hp.logsumexp(hp.stack([p[2] / p[3] * (p[0] - n), p[1] - d]), axis=0)


def fit(law, starts, points):
    """Return the parameters with the least Huber loss of the logarithm (delta 1e-3), from the best of several starts, and the rms error."""
    n, d, loss = (hp.asarray(np.log(column)) for column in points.T)

    def value(p):
        return nn.functional.huber_loss(law(p, n, d), loss, delta=1e-3) * 1e6

    found = [optim.minimize(hp.value_and_grad(value), np.array(start), iterations=500, gradient_tolerance=1e-6) for start in starts]
    best = min((result for result in found if np.isfinite(result.value)), key=lambda result: result.value).parameters
    return best, float(np.sqrt(np.mean((law(hp.asarray(best), n, d) - loss).numpy() ** 2)))


def optimal(size, A, B, E, alpha, beta):
    """Return the tokens, the operations and the loss where `size` is the best number of parameters (equation 4)."""
    ratio = (alpha * A / (beta * B)) ** (1.0 / (alpha + beta))
    operations = 6.0 * (size / ratio) ** ((alpha + beta) / beta)
    tokens = operations / (6.0 * size)
    return tokens, operations, E + A / size**alpha + B / tokens**beta


def main(run, config):
    """Train the family, look at each model on the way, fit, draw, print the table."""
    marks = np.unique(np.geomspace(max(config.first, 1), config.steps, max(config.looks, 1)).round().astype(int)).tolist()
    if len(config.widths) < 2 or len(marks) < 3 or config.first >= config.steps or config.vocabulary < 2 or config.successors < 2:
        raise InputError(f"--widths {config.widths}: two or more; --looks {config.looks}: three or more, --first {config.first} below "
                         f"--steps {config.steps}; --vocabulary and --successors at least 2")
    generator = np.random.default_rng(config.seed)
    source = Source(config.vocabulary, config.successors, generator)
    tokens, _ = source.tokens(config.steps * config.batch * config.context + config.context + 1, generator)
    held, entropy = source.tokens(config.tested, generator)
    test = nn.Batches(nn.Windows(held, config.context, stride=config.context), 16, device=run.device)
    run.log(f"the source has an entropy of {entropy:.4f} nats; up to {len(tokens):,} tokens, each seen once")
    state = run.restore() or {"points": [], "done": 0, "trainer": None}
    points = state["points"]
    for number, width in enumerate(config.widths[state["done"]:], state["done"]):
        nn.seed(config.seed)
        model = nn.GPT(config.vocabulary, config.context, layers=config.layers, heads=config.heads, width=width).to(run.device)
        size = sum(p.size for p in model.parameters())
        rate = optim.Sequential([optim.Linear(config.rate / 20, config.rate, 20), optim.Constant(config.rate)])
        batches = nn.Batches(nn.Windows(tokens, config.context, stride=config.context), config.batch, seed=config.seed, device=run.device)
        trainer = nn.Trainer(model, optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95)), loss_of, batches, clip=1.0,
                             folder=run.directory / f"width-{width}", checkpoint_every=None)
        if state["trainer"] is not None:
            trainer.load_state_dict(state["trainer"])
            state["trainer"] = None
        with run.progress(config.steps, f"{size:,} parameters", trainer.steps) as progress:
            for row in trainer.run(config.steps):
                progress.step(loss=row["loss"])
                if row["step"] in marks:
                    points.append([size, row["step"] * config.batch * config.context, nn.mean_loss(model, loss_of, test.once())])
                run.checkpoint({"points": points, "done": number, "trainer": trainer.state_dict()})
        run.log(f"{size:,} parameters: {points[-1][2]:.4f} after {points[-1][1]:,} tokens")
    run.checkpoint({"points": points, "done": len(config.widths), "trainer": None}, every=0.0)

    points = np.array(points, float)
    starts = itertools.product((2.0, 6.0), (2.0, 6.0), (np.log(entropy), np.log(0.7 * entropy)), (0.3, 0.7), (0.3, 0.7))
    ours, error = fit(chinchilla, starts, points)
    theirs, worse = fit(kaplan, itertools.product((5.0, 15.0), (5.0, 15.0), (0.05, 0.3), (0.05, 0.3)), points)
    A, B, E = np.exp(ours[:3])
    run.facts["Chinchilla"] = f"L = {E:.4f} + {A:.4g} / N^{ours[3]:.3f} + {B:.4g} / D^{ours[4]:.3f}; rms error {100 * error:.2f} %"
    run.facts["Kaplan"] = f"L = ((Nc / N)^(a / b) + Dc / D)^b, a {theirs[2]:.3f}, b {theirs[3]:.3f}; rms error {100 * worse:.2f} %"
    run.facts["entropy of the source, and E of the fit"] = f"{entropy:.4f}, {E:.4f}"
    for name in ("Chinchilla", "Kaplan", "entropy of the source, and E of the fit"):
        run.log(f"{name}: {run.facts[name]}")
    table = np.array([(size, *optimal(size, **PUBLISHED)) for size in SIZES])
    run.log("published constants (Hoffmann et al., equation 10): the data for which a size is best\n"
            "  parameters      tokens  per parameter  operations    loss")
    for size, data, operations, loss in table:
        run.log(f"  {size:10.3g}  {data:10.3g}  {data / size:13.1f}  {operations:10.3g}  {loss:6.3f}")
    run.results.write("points", points, "", (io.Axis("point"), io.Axis("column")), columns=["parameters", "tokens", "loss"])
    run.results.write("chinchilla/table", table, "", (io.Axis("size"), io.Axis("column")), columns=["parameters", "tokens", "FLOP", "loss"])
    run.figure(draw(points, ours, theirs, entropy), "laws")


def draw(points, ours, theirs, entropy):
    """Return a figure of loss over tokens, a colour for each size: measured, and by both laws."""
    figure = Figure(figsize=(10.0, 3.8), layout="constrained")
    laws = ((chinchilla, ours, "Chinchilla"), (kaplan, theirs, "Kaplan"))
    for panel, (law, p, title) in zip(figure.subplots(1, 2, sharey=True), laws, strict=True):
        sizes = np.unique(points[:, 0])
        for i, size in enumerate(sizes):
            colour = (0.1, 0.25 + 0.6 * i / len(sizes), 0.55)
            mine = points[points[:, 0] == size]
            data = np.geomspace(mine[0, 1], mine[-1, 1], 60)
            panel.loglog(mine[:, 1], mine[:, 2], "o", color=colour, markersize=4, label=f"{size:,.0f} parameters")
            foretold = law(hp.asarray(p), hp.asarray(np.full(60, np.log(size))), hp.asarray(np.log(data)))
            panel.loglog(data, np.exp(foretold.numpy()), color=colour)
        panel.axhline(entropy, color="#d1495b", linestyle="--", label="entropy of the source")
        panel.set(xlabel="tokens", title=title)
    figure.axes[0].set_ylabel("cross-entropy on unseen tokens")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure
