"""Networks whose training steps are compiled train as they do without: the whole state goes on."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, optim
from hyperion.errors import IndexingError


def train(wrap: Any, **options: Any) -> tuple[list[float], nn.GPT]:
    nn.seed(0)
    model = nn.GPT(vocabulary=17, context=8, layers=2, heads=2, width=16, **options)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    def step(tokens: Any, targets: Any) -> Any:
        loss = nn.cross_entropy(model(tokens), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    compiled = wrap(step)
    numbers = np.random.default_rng(0).integers(0, 17, (5, 4, 9))
    return [float(compiled(hp.asarray(rows[:, :-1]), hp.asarray(rows[:, 1:]))) for rows in numbers], model


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_transformer_trains_as_without_jit(dropout: float) -> None:
    (wanted, model), (got, compiled) = (train(wrap, dropout=dropout) for wrap in (lambda f: f, hp.jit))
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    for (name, x), y in zip(model.named_parameters().items(), compiled.parameters(), strict=True):
        np.testing.assert_allclose(y.data, x.data, rtol=1e-3, atol=1e-4, err_msg=name)


def test_tokens_are_checked_in_every_run() -> None:
    nn.seed(0)
    model = nn.GPT(vocabulary=17, context=8, layers=1, heads=2, width=16)
    logits = hp.jit(lambda tokens: model(tokens).detach())
    logits(hp.asarray([[1, 2, 3]]))
    with pytest.raises(IndexingError, match="token 17 is outside the vocabulary; use 0 to 16"):
        logits(hp.asarray([[1, 2, 17]]))


def test_taylor_sweeps_of_a_network_stay_one_pass() -> None:
    nn.seed(0)
    model = nn.MLP([2, 20, 20, 1], activation=hp.tanh)
    points = hp.asarray(np.random.default_rng(0).uniform(-1.0, 1.0, (256, 2)).astype(np.float32))

    def loss(network: Any, points: Any) -> Any:
        d = hp.derivatives(network, points, [(0, 0), (1, 0), (2, 0), (0, 1)])
        return hp.mean((d[0, 1] + d[0, 0] * d[1, 0] - 0.01 * d[2, 0]) ** 2)

    step = hp.value_and_grad(loss)
    compiled = hp.jit(step)
    for _ in range(2):
        with hp.no_grad():          # parameters require gradients: else the result could be differentiated once more
            (wanted, slopes), (value, gradient) = step(model, points), compiled(model, points)
        np.testing.assert_allclose(value.data, wanted.data, rtol=1e-5)
        for x, y in zip(slopes.parameters(), gradient.parameters(), strict=True):
            np.testing.assert_allclose(y.data, x.data, rtol=1e-3, atol=1e-6)
    with hp.no_grad():
        assert "taylor_chain(" in compiled.lower(model, points).plan
