"""Hyperion's worker for compiled programs: hp.jit around what a user writes."""

from collections.abc import Callable

import numpy as np
from gpt_cases import BEFORE, BETAS, DECAY, VOCABULARY
from gpt_cases import RATE as GPT_RATE
from jit_cases import FACTOR, RATE, Case
from pinn_cases import VISCOSITY

import hyperion as hp
from hyperion import nn, optim


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return "hp.jit"


def chain(x: hp.Tensor) -> hp.Tensor:
    for _ in range(100):
        x = x * FACTOR
    return hp.sum(x)


def formula(a: hp.Tensor, b: hp.Tensor, c: hp.Tensor) -> hp.Tensor:
    return hp.tanh(a * b + c) * a - b / (1.0 + c * c)


def moons(case: Case) -> Callable[[], hp.Tensor]:
    points, labels, weights = case.moons()
    model = nn.MLP([2, 16, 16, 1], activation=hp.relu)
    model.load_state_dict({f"layers.{i}.{name}": value for i, pair in enumerate(weights)
                           for name, value in zip(("weight", "bias"), pair, strict=True)})
    optimizer = optim.SGD(model.parameters(), lr=RATE)

    @hp.jit
    def step(x: hp.Tensor, y: hp.Tensor) -> hp.Tensor:
        loss = hp.mean(hp.relu(1.0 - y * model(x)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x, y = hp.asarray(points), hp.asarray(labels)
    return lambda: step(x, y)


def pinn(case: Case) -> Callable[[], hp.Tensor]:
    network = nn.MLP([2, *[case.pinn.width] * case.pinn.layers, 1], activation=hp.tanh)
    network.load_state_dict({f"layers.{i}.{name}": value for i, pair in enumerate(case.pinn.weights())
                             for name, value in zip(("weight", "bias"), pair, strict=True)})

    @hp.jit
    def step(points: hp.Tensor) -> hp.Tensor:
        for p in network.parameters():
            p.grad = None
        d = hp.derivatives(network, points, [(0, 0), (1, 0), (2, 0), (0, 1)])
        residual = d[0, 1] + d[0, 0] * d[1, 0] - VISCOSITY * d[2, 0]
        loss = hp.mean(residual * residual)
        loss.backward()
        return loss

    points = hp.asarray(case.pinn.points())
    return lambda: step(points)


def gpt(case: Case) -> Callable[[], hp.Tensor]:
    given = case.gpt
    model = nn.GPT(VOCABULARY, given.context, layers=given.layers, heads=given.heads, width=given.width)
    model.load_state_dict(given.weights())
    optimizer = optim.AdamW(model.parameters(), lr=GPT_RATE, betas=BETAS, weight_decay=DECAY)

    @hp.jit
    def step(tokens: hp.Tensor, targets: hp.Tensor) -> hp.Tensor:
        loss = nn.cross_entropy(model(tokens), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    tokens, targets = map(hp.asarray, given.tokens())
    for _ in range(BEFORE):
        step(tokens, targets)
    return lambda: step(tokens, targets)


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    if case.kind in ("moons", "pinn", "gpt"):
        run = {"moons": moons, "pinn": pinn, "gpt": gpt}[case.kind](case)

        def step() -> np.ndarray:
            for _ in range(case.loops):
                loss = run()
            return np.array([loss.item()])

        return step
    a, b, c = map(hp.asarray, case.arrays())
    function, given = {
        "chain": (hp.value_and_grad(chain), (a,)), "formula": (formula, (a, b, c)),
        "formula_gradient": (hp.grad(lambda a, b, c: hp.sum(formula(a, b, c)), argnums=(0, 1, 2)), (a, b, c)),
        "gelu_gradient": (hp.value_and_grad(lambda x: hp.sum(hp.gelu(x))), (a,)),
    }[case.kind]
    compiled = hp.jit(function)

    def call() -> np.ndarray:
        for _ in range(case.loops):
            out = compiled(*given)
        return (out if isinstance(out, hp.Tensor) else out[0] if case.kind == "formula_gradient" else out[1]).numpy()

    return call
