"""Hyperion's worker for the GPT cases: eager."""

from collections.abc import Callable

import numpy as np
from gpt_cases import BEFORE, BETAS, DECAY, RATE, VOCABULARY, Case

import hyperion as hp
from hyperion import nn, optim


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return "nn.GPT, optim.AdamW, eager"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    model = nn.GPT(VOCABULARY, case.context, layers=case.layers, heads=case.heads, width=case.width)
    model.load_state_dict(case.weights())
    optimizer = optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)
    inputs, targets = map(hp.asarray, case.tokens())

    def step() -> np.ndarray:
        loss = nn.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return np.array([loss.item()])

    for _ in range(BEFORE):
        step()
    return step
