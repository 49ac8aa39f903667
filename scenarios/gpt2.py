"""Training steps of GPT-2 on a token file: loss, tokens a second and arithmetic, for the model of 124 million parameters or another.

Without a file the tokens come from a Markov chain, so that the loss has something to learn. Saves the model in Hugging Face's layout.
Sources: Radford et al. 2019, "Language models are unsupervised multitask learners"; Brown et al. 2020, arXiv:2005.14165, appendix B.
"""

import numpy as np
from matplotlib.figure import Figure

from hyperion import io, nn, optim
from hyperion.errors import InputError


def markov(count, vocabulary, generator):
    """Return tokens of which each has eight possible successors, the first of them most probable: (count,) integers.

    They are at most 512 different ones, so that a text of a few thousand tokens shows each often enough to be learnt.
    """
    states = min(vocabulary, 512)
    choices = generator.geometric(0.5, count).clip(1, 8)
    tokens = np.empty(count, np.int64)
    token = 0
    for i, choice in enumerate(choices.tolist()):
        token = (token * 31 + choice * choice * 7919 + 17) % states
        tokens[i] = token
    return tokens


def loss_of(model, inputs, targets):
    return nn.cross_entropy(model(inputs), targets)


def main(run, config):
    """Make or load the model, make steps, report their speed."""
    if config.steps < 2 or not 0 < config.warmup <= config.steps:
        raise InputError(f"--steps {config.steps} must be at least 2, --warmup {config.warmup} from 1 to the steps")
    nn.seed(config.seed)
    if config.model:
        model = nn.GPT.from_pretrained(config.model)
    else:
        model = nn.GPT(config.vocabulary, config.context, layers=config.layers, heads=config.heads, width=config.width)
    context = min(config.context, model.context)
    tokens = nn.read_tokens(config.data) if config.data else markov(
        4 * config.batch * config.accumulate * context + context + 1, model.vocabulary, np.random.default_rng(config.seed))
    data = nn.Windows(tokens, context)
    highest = int(max(part.max() for part in np.array_split(tokens, max(1, len(tokens) // 10**7))))
    if highest >= model.vocabulary:
        raise InputError(f"--data {config.data}: holds token {highest}, the model knows {model.vocabulary}; give --vocabulary "
                         f"{highest + 1} or more")
    if len(data) < config.batch:
        raise InputError(f"--data {config.data}: {len(tokens)} tokens make {len(data)} examples of --context {context}, --batch is "
                         f"{config.batch}")
    model.to(run.device)
    rate = optim.Sequential([optim.Linear(config.rate / config.warmup, config.rate, config.warmup), optim.Constant(config.rate)])
    groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    trainer = nn.Trainer(
        model, optim.AdamW(groups, lr=rate, betas=(0.9, 0.95)), loss_of,
        nn.Batches(data, config.batch, seed=config.seed, device=run.device), precision=config.precision, accumulate=config.accumulate,
        clip=1.0, recompute=["blocks.*"] if config.recompute else [], folder=run.directory / "training", checkpoint_every=None)
    in_step = config.batch * config.accumulate * context
    run.log(f"{model!r}; {in_step:,} tokens a step")
    if state := run.restore():
        trainer.load_state_dict(state)
    with run.progress(config.steps, "training", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            progress.step(loss=row["loss"], tokens_per_second=in_step / row["seconds"])
            run.checkpoint(trainer.state_dict())
    run.checkpoint(trainer.state_dict(), every=0.0)

    rows = trainer.history()
    seconds = float(np.median([row["seconds"] for row in rows[1:]]))                     # the first step fills caches
    count = sum(p.size for p in model.parameters())
    layers, width = len(model.blocks), model.embedding.weight.shape[1]
    operations = (6.0 * count + 12.0 * layers * width * context) * in_step               # Chowdhery et al. 2022, arXiv:2204.02311, app. B
    run.facts["parameters"], run.facts["tokens a step"] = count, in_step
    run.facts["seconds a step"], run.facts["tokens a second"] = seconds, in_step / seconds
    run.facts["arithmetic (TFLOP/s)"] = operations / seconds / 1e12
    run.facts["loss, first and last step"] = f"{rows[0]['loss']:.4f}, {rows[-1]['loss']:.4f}"
    run.log(f"{seconds:.3g} s a step, {in_step / seconds:,.0f} tokens/s; loss {rows[0]['loss']:.4f}, at the end {rows[-1]['loss']:.4f}")
    model.save_pretrained(run.path("model"))
    run.results.write("training/loss", [row["loss"] for row in rows], "", (io.Axis("step"),))
    run.results.write("training/seconds", [row["seconds"] for row in rows], "s", (io.Axis("step"),))
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    panel = figure.subplots()
    panel.plot([row["step"] for row in rows], [row["loss"] for row in rows], "o-", color="#1b1b1b", markersize=3)
    panel.axhline(np.log(model.vocabulary), color="#9a9a9a", linestyle="--", label="all tokens equally probable")
    panel.set(xlabel="step", ylabel="cross-entropy of a token")
    panel.legend(frameon=False)
    run.figure(figure, "training")
