"""New names from a list of names: bigrams counted and learnt, a multilayer perceptron, a transformer, as in makemore.

Each model gives the probabilities of the next letter; a name begins and ends with the same mark, written as a dot. Counting the pairs of
letters is the best that a model of pairs can do, so it must agree with what gradient descent finds; then come models that see more.
Sources: Karpathy, github.com/karpathy/makemore; Bengio et al. 2003, JMLR 3, 1137 (the perceptron); Vaswani et al. 2017 (the transformer).
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError

IGNORED = -100             # targets after a name's end


def syllable_names(count, generator):
    """Return names put together from syllables, some more frequent than others."""
    parts = ("a ka ma le jo ha e da sa bri ro i".split(), "li na ri lo sha mi re ve".split(), "a n ah ne el on lyn s ie".split())
    weights = [1.0 / np.arange(1, len(part) + 1) for part in parts]
    first, middle, last = ([part[i] for i in generator.choice(len(part), 2 * count, p=weight / weight.sum())]
                           for part, weight in zip(parts, weights, strict=True))
    return [first[i] + "".join(middle[2 * i:2 * i + generator.integers(0, 3)]) + last[i] for i in range(count)]


def encode(names, alphabet, length):
    """Return what a model sees and what it is to say, both (names, length): dot and letters, letters and dot, then IGNORED."""
    inputs, targets = np.zeros((len(names), length), np.int64), np.full((len(names), length), IGNORED)
    for row, name in enumerate(names):
        ids = [alphabet.index(letter) for letter in name]
        inputs[row, 1:len(ids) + 1], targets[row, :len(ids) + 1] = ids, [*ids, 0]
    return inputs, targets


def count_pairs(inputs, targets, size, add=0.0):
    """Return the probability of each letter after each letter, from counts to which a number is added."""
    counts = np.full((size, size), add)
    np.add.at(counts, (inputs[targets != IGNORED], targets[targets != IGNORED]), 1.0)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)


def surprise(probabilities, inputs, targets):
    """Return the mean of -log probability over all pairs."""
    seen = targets != IGNORED
    return float(-np.mean(np.log(probabilities[inputs[seen], targets[seen]])))


class Perceptron(nn.Module):
    """The last few letters, embedded side by side, through one hidden layer."""

    def __init__(self, size, letters, width, hidden):
        self.letters = letters
        self.embedding = nn.Embedding(size, width)
        self.layers = nn.MLP([letters * width, hidden, size], activation=hp.tanh)

    def forward(self, tokens):
        tokens = hp.asarray(tokens)
        earlier = [hp.pad(tokens, ((0, 0), (k, 0)))[:, :tokens.shape[1]] for k in range(self.letters)]
        return self.layers(hp.concat([self.embedding(t) for t in earlier], axis=-1))      # (names, length, letters of the alphabet)


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets, ignore_index=IGNORED)


def invent(model, alphabet, length, count, generator):
    """Return names drawn letter by letter."""
    tokens, model = np.zeros((count, 1), np.int64), model.eval()
    device = model.parameters()[0].device
    with hp.no_grad():
        for _ in range(length - 1):
            scores = model(hp.asarray(tokens, device=device))[:, -1]
            tokens = np.concatenate([tokens, generator.categorical(logits=scores).to("cpu").numpy()[:, None]], axis=1)
    return ["".join(alphabet[i] for i in row[1:]).split(".")[0] for row in tokens]


def main(run, config):
    """Read or make names, count, train each model, compare them, let them make up names."""
    known = ("bigram", "mlp", "transformer")
    if not config.models or set(config.models) - set(known):
        raise InputError(f"--models {config.models}: give some of {', '.join(known)}, with commas")
    if not len(config.models) == len(config.steps) == len(config.rates) or min(config.steps) < 1:
        raise InputError(f"--steps {config.steps} and --rates {config.rates}: give one for each of --models "
                         f"{config.models}, at least 1 step")
    generator = np.random.default_rng(config.seed)
    text = nn.read_text(config.data, "--data") if config.data else "\n".join(syllable_names(4000, generator))
    names = [line.strip().lower() for line in text.splitlines() if line.strip()]
    if len(names) < 20 or "." in "".join(names) or not 0.0 < config.held_out < 1.0:
        raise InputError(f"--data {config.data}: has {len(names)} names; give 20 or more, one on each line, without dots; --held_out "
                         f"{config.held_out:g} must be between 0 and 1")
    alphabet, length = [".", *sorted(set("".join(names)))], max(map(len, names)) + 1
    everything = inputs, targets = encode(names, alphabet, length)
    exact = surprise(count_pairs(*everything, len(alphabet)), *everything)
    order = generator.permutation(len(names))
    cut = max(1, round(config.held_out * len(names)))
    test, train = ((inputs[rows], targets[rows]) for rows in (order[:cut], order[cut:]))
    counted = surprise(count_pairs(*train, len(alphabet), add=1.0), *test)
    run.log(f"{len(names)} names of up to {length - 1} letters; pairs counted over all of them: {exact:.5f}; on held-out "
            f"names: {counted:.4f}")
    run.facts["-log probability, pairs counted over all names"] = exact
    run.facts["on held-out names: pairs counted"] = counted

    made = {
        "bigram": lambda: nn.Embedding(len(alphabet), len(alphabet)),                     # row: scores of what follows a letter
        "mlp": lambda: Perceptron(len(alphabet), config.letters, config.width, config.hidden),
        "transformer": lambda: nn.GPT(len(alphabet), length, layers=config.layers, heads=config.heads, width=config.width),
    }
    held = nn.Batches(nn.Arrays(*test), min(256, cut), device=run.device)
    state = run.restore() or {"done": {}, "now": None}
    done, rows = state["done"], {}
    for name, steps, rate in zip(config.models, config.steps, config.rates, strict=True):
        nn.seed(config.seed)
        model = made[name]().to(run.device)
        batches = nn.Batches(nn.Arrays(*train), min(config.batch, len(train[0])), seed=config.seed, device=run.device)
        trainer = nn.Trainer(
            model, optim.AdamW(model.parameters(), lr=optim.Cosine(rate, 0.1 * rate, steps), weight_decay=0.0), loss_of, batches,
            evaluate=lambda model: {"held-out loss": nn.mean_loss(model, loss_of, held.once())}, evaluate_every=max(1, steps // 8),
            folder=run.directory / name, checkpoint_every=None)
        if name in done or state["now"] == name:
            trainer.load_state_dict(done.get(name) or state["trainer"])
        with run.progress(steps, name, trainer.steps) as progress:
            for row in trainer.run(steps):
                progress.step(loss=row["loss"])
                run.checkpoint({"done": done, "now": name, "trainer": trainer.state_dict()})
        done[name] = trainer.state_dict()
        rows[name] = trainer.history()
        reached = [row["held-out loss"] for row in rows[name] if "held-out loss" in row][-1]
        invented = invent(model, alphabet, length, config.samples, hp.random.Generator(config.seed))
        run.facts[f"on held-out names: {name}"] = reached
        run.facts[f"names by {name}"] = ", ".join(invented)
        run.log(f"{name}: {model!r}, {reached:.4f} on held-out names; {', '.join(invented)}")
        if name == "bigram":
            table = hp.softmax(model.weight.detach(), axis=-1).to("cpu").numpy()
            run.facts["all names: pairs learnt by gradient"] = surprise(table, *everything)
            run.results.write("bigram/probabilities", table, "", (io.Axis("letter"), io.Axis("next letter")), letters=alphabet)
            run.figure(pairs(table, alphabet), "pairs")
    run.checkpoint({"done": done, "now": None}, every=0.0)
    run.figure(course(rows, counted), "training")


def pairs(table, alphabet):
    """Return a figure of the probability of each letter after each."""
    figure = Figure(figsize=(6.0, 5.4), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(table, cmap="Blues", vmin=0.0)
    panel.set(xticks=range(len(alphabet)), yticks=range(len(alphabet)), xlabel="next letter", ylabel="letter")
    panel.set_xticklabels(alphabet)
    panel.set_yticklabels(alphabet)
    figure.colorbar(image, label="probability", shrink=0.8)
    return figure


def course(rows, counted):
    """Return a figure of the loss on held-out names over the steps of each model."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    panel = figure.subplots()
    for (name, steps), colour in zip(rows.items(), ("#9a9a9a", "#00798c", "#d1495b"), strict=False):
        seen = [row for row in steps if "held-out loss" in row]
        panel.plot([row["step"] for row in seen], [row["held-out loss"] for row in seen], "o-", color=colour, label=name)
    panel.axhline(counted, color="#1b1b1b", linestyle="--", label="pairs counted")
    panel.set(xlabel="step", ylabel="-log probability on held-out names")
    panel.legend(frameon=False)
    return figure
