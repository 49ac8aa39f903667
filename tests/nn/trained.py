"""A small training with everything that has state, as a process of its own that tests can kill: python trained.py FOLDER STEPS."""

import sys

import numpy as np

import hyperion as hp
from hyperion import nn, optim


def make(folder=None, **changed):
    """Return a Trainer of a network with dropout and running statistics, fed by shuffled batches, under a schedule, with an average."""
    nn.seed(3)
    generator = hp.random.Generator(11)
    model = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm(16), nn.Activation(hp.tanh), nn.Dropout(0.2), nn.Dropout(0.1, generator), nn.Linear(16, 1),
    )
    x = np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
    y = np.sin(x.sum(axis=1, keepdims=True))
    options = {"lr": optim.Cosine(1e-2, 1e-3, 60), "size": 8, "seed": 2, "clip": 1.0, "accumulate": 2} | changed
    batches = nn.Batches(nn.Arrays(x, y), options.pop("size"), seed=options.pop("seed"))
    optimizer = optim.AdamW(model.parameters(), lr=options.pop("lr"), weight_decay=0.1)
    return nn.Trainer(
        model, optimizer, squared_error, batches, folder=folder, evaluate=lambda m: {"validation loss": float(squared_error(m, x, y))},
        evaluate_every=10, average=optim.EMA(model.parameters(), 0.9), **{"checkpoint_every": 0.0} | options,
    )


def squared_error(model, x, y):
    return hp.mean((model(x) - y) ** 2)


if __name__ == "__main__":
    trainer = make(sys.argv[1])
    trainer.resume()
    for metrics in trainer.run(int(sys.argv[2])):
        print(metrics["step"], flush=True)
