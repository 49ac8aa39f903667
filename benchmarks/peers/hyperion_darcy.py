"""Hyperion's worker for the small Darcy example: the loss that is measured, relative L2, and AdamW."""

from collections.abc import Callable

import numpy as np
from darcy_small_cases import Case

import hyperion
from hyperion import nn, operators, optim

BATCH, RATE = 32, 8e-3


def version() -> str:
    return hyperion.__version__


def note(case: Case) -> str:
    return "operators.Normalized(FNO), relative L2, AdamW 8e-3 on neuraloperator's half cosine, batch 32"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    x, y, tested, truth = case.data()
    now: dict[str, object] = {}

    def begin(seed: int) -> None:
        nn.seed(seed)
        model = operators.Normalized(operators.FNO(case.modes, case.width, case.layers), x, y)
        steps = -(-case.examples // BATCH)
        rate = optim.Lambda(lambda step: RATE * 0.5 * (1.0 + np.cos(np.pi * (step // steps) / (2 * case.epochs))))
        now.update(model=model, optimiser=optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4))

    def epoch(seed: int, number: int) -> None:
        model, optimiser = now["model"], now["optimiser"]
        for places in case.order(seed, number, BATCH):
            optimiser.zero_grad()
            nn.relative_l2(model(x[places]), y[places]).backward()
            optimiser.step()

    return case.turns("hyperion", begin, epoch, lambda: operators.predict(now["model"], tested, 50), truth)
