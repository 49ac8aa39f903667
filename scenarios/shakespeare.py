"""A GPT learns to write, character by character: nanoGPT's Shakespeare, or any text; it writes some at the end.

The first nine tenths of the text are learnt from, the rest is for validation: every character of it, in blocks as long as the context. The
defaults are nanoGPT's for a CPU; scenarios/shakespeare_gpu.toml holds those for a GPU. Source: Karpathy, github.com/karpathy/nanoGPT.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import InputError


def play(lines, generator):
    """Return a play of so many lines from a small grammar: speakers, and sentences of subject, verb and object."""
    speakers = "KING HENRY,LADY ANNE,FOOL,FIRST LORD,MESSENGER,DUKE".split(",")
    people = "I,thou,the king,my lord,this man,fortune,the night,sweet love,no one".split(",")
    verbs = "shall know,did see,hath lost,will forget,must bear,would have,cannot hold,loves,fears".split(",")
    things = "the crown,thy heart,a sword,our sorrow,the truth,such words,the day,his honour,all the world".split(",")
    ends = [".", "!", "?", ", and so farewell.", ", good sir.", ";"]
    parts = []
    for _ in range(lines):
        if generator.random() < 0.35:
            parts.append(f"\n{generator.choice(speakers)}:")
        line = " ".join(str(generator.choice(words)) for words in (people, verbs, things)) + str(generator.choice(ends))
        parts.append(line[0].upper() + line[1:])
    return "\n".join(parts)


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets)


def optimizer_of(model, config):
    """Return AdamW with nanoGPT's settings: a warmup, half a cosine, and decay of what has two axes or more."""
    rate = optim.Cosine(config.rate, config.last_rate, max(1, config.steps - config.warmup))
    if config.warmup:
        rate = optim.Sequential([optim.Linear(config.rate / config.warmup, config.rate, config.warmup), rate])
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.decay}, {"params": others, "weight_decay": 0.0}]
    return optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


def main(run, config):
    """Read or make the text, train, validate, write."""
    if min(config.steps, config.evaluate_every, config.sample) < 1 or not 0 <= config.warmup < config.steps:
        raise InputError(f"--steps {config.steps}, --evaluate_every {config.evaluate_every} and --sample {config.sample} must be at "
                         f"least 1, --warmup {config.warmup} below the steps")
    text = nn.read_text(config.data, "--data") if config.data else play(4000, np.random.default_rng(config.seed))
    letters = "".join(sorted(set(text)))
    tokens = np.searchsorted(np.array(list(letters)), np.array(list(text)))
    cut = int(0.9 * len(tokens))
    train = nn.Windows(tokens[:cut], config.context)
    validation = nn.Batches(nn.Windows(tokens[cut:], config.context, stride=config.context), 1, device=run.device)
    validation.size = min(64, len(validation.data))
    nn.seed(config.seed)
    model = nn.GPT(len(letters), config.context, layers=config.layers, heads=config.heads, width=config.width, dropout=config.dropout,
                   bias=False).to(run.device)
    trainer = nn.Trainer(
        model, optimizer_of(model, config), loss_of, nn.Batches(train, config.batch, seed=config.seed, device=run.device),
        precision=config.precision, accumulate=config.accumulate, clip=config.clip, recompute=["blocks.*"] if config.recompute else [],
        evaluate=lambda model: {"validation loss": nn.mean_loss(model, loss_of, validation.once())}, evaluate_every=config.evaluate_every,
        folder=run.directory / "training", checkpoint_every=None)
    run.log(f"{model!r}; {len(text):,} characters, {len(letters)} different ones")
    if state := run.restore():
        trainer.load_state_dict(state)
    with run.progress(config.steps, "training", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            progress.step(loss=row["loss"], **({"validation": row["validation loss"]} if "validation loss" in row else {}))
            run.checkpoint(trainer.state_dict())
    run.checkpoint(trainer.state_dict(), every=0.0)

    rows = trainer.history()
    seen = [row for row in rows if "validation loss" in row]
    start = [letters.index("\n") if "\n" in letters else 0]
    written = model.eval().generate(
        [start], config.sample, temperature=config.temperature, slide=True, generator=hp.random.Generator(config.seed))
    sample = "".join(letters[i] for i in written[0][1:])
    run.path("sample.txt").write_text(sample, encoding="utf-8")
    run.log(f"validation loss {seen[-1]['validation loss']:.4f} after {trainer.steps} steps; written to sample.txt:\n{sample}")
    run.facts["validation loss"], run.facts["lowest"] = seen[-1]["validation loss"], min(row["validation loss"] for row in seen)
    run.facts["parameters"] = sum(p.size for p in model.parameters())
    run.facts["seconds a step"] = float(np.median([row["seconds"] for row in rows]))
    run.facts["sample"] = sample
    run.results.write("training/loss", [row["loss"] for row in rows], "", (io.Axis("step"),))
    run.results.write("validation/loss", [row["validation loss"] for row in seen])
    run.results.write("validation/step", [row["step"] for row in seen])
    run.figure(course(rows, seen), "training")


def course(rows, seen):
    """Return a figure of the losses over the steps."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    panel = figure.subplots()
    panel.plot([row["step"] for row in rows], [row["loss"] for row in rows], color="#9a9a9a", linewidth=0.6, label="batch")
    panel.plot([row["step"] for row in seen], [row["validation loss"] for row in seen], "o-", color="#d1495b", label="validation")
    panel.set(xlabel="step", ylabel="cross-entropy of a character")
    panel.legend(frameon=False)
    return figure
