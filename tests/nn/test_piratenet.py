"""Gated networks: what they compute, what they begin as, the fitted last layer, Taylor mode, state, refusals."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, NonFiniteError, ShapeError
from tests.nn.physics_informed import F64, POINTS, check_gradient, check_jets, check_state


def modified(seed: int, linear: Any = nn.Linear) -> Any:
    return nn.ModifiedMLP([2, 5, 5, 1], hp.tanh, linear, generator=hp.random.Generator(seed), **F64)


def pirate(seed: int, alpha: float = 0.3) -> Any:
    generator = hp.random.Generator(seed)
    embedding = nn.FourierFeatures(2, 6, 0.3, generator=generator, **F64)
    model = nn.PirateNet(2, 1, 6, 2, embedding=embedding, generator=generator, **F64)
    for block in model.blocks:
        block.alpha.assign(np.asarray(alpha))
    return model


def periodic_pirate(seed: int) -> Any:
    generator = hp.random.Generator(seed)
    embedding = nn.Sequential(nn.Periodic(2, {0: 2.0}), nn.FourierFeatures(3, 8, 0.5, generator=generator, **F64))
    return nn.PirateNet(2, 2, 8, 1, hp.sin, embedding, nn.Linear, generator=generator, **F64)


@pytest.mark.parametrize("make", [modified, pirate, periodic_pirate])
def test_jets_gradients_and_state(make: Any) -> None:
    check_jets(make(0))
    check_gradient(make(0))
    check_state(make)


def test_a_modified_mlp_is_what_the_paper_says() -> None:
    model = modified(0, nn.FactorisedLinear)
    u, v = np.tanh(model.first(POINTS).data), np.tanh(model.second(POINTS).data)
    h = POINTS
    for layer in model.layers[:-1]:
        z = np.tanh(layer(h).data)
        h = z * u + (1.0 - z) * v
    np.testing.assert_allclose(model(POINTS).data, model.layers[-1](h).data, rtol=1e-12, atol=1e-14)


def test_a_block_is_what_the_paper_says() -> None:
    rng = np.random.default_rng(0)
    block = nn.PirateNetBlock(4, generator=hp.random.Generator(1), **F64)
    block.alpha.assign(np.asarray(0.4))
    x, u, v = (rng.standard_normal((3, 4)) for _ in range(3))
    f = np.tanh(block.layers[0](x).data)
    g = np.tanh(block.layers[1](f * u + (1.0 - f) * v).data)
    h = np.tanh(block.layers[2](g * u + (1.0 - g) * v).data)
    np.testing.assert_allclose(block(x, u, v).data, 0.4 * h + 0.6 * x, rtol=1e-12)


def test_a_pirate_net_begins_linear_in_its_embedding_and_depth_comes_in_by_alpha() -> None:
    model = pirate(0, alpha=0.0)
    np.testing.assert_allclose(model(POINTS).data, model.head(model.embedding(POINTS)).data, rtol=1e-13)
    gradient = hp.grad(lambda m: hp.sum(m(POINTS)))(model)
    assert all(block.alpha.item() != 0.0 for block in gradient.blocks)
    assert not any(layer.v.data.any() for block in gradient.blocks for layer in block.layers)


def test_outputs_begin_neither_tiny_nor_large() -> None:
    for make in (lambda: nn.PirateNet(2, 500, 64, 3, generator=hp.random.Generator(5), **F64),
                 lambda: nn.ModifiedMLP([2, 64, 64, 500], linear=nn.FactorisedLinear, generator=hp.random.Generator(5), **F64)):
        out = make()(np.random.default_rng(2).uniform(-1.0, 1.0, (200, 2))).data
        assert 0.03 < out.std() < 1.0


@pytest.mark.parametrize("ridge", [0.0, 1e-6])
def test_the_last_layer_is_fitted_by_least_squares(ridge: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1.0, 1.0, (80, 2))
    y = np.stack([np.sin(3.0 * x[:, 0]), x[:, 1] ** 2], 1)
    model = nn.PirateNet(2, 2, 64, 2, generator=hp.random.Generator(3), **F64)
    misfit = nn.fit_last_layer(model, x, y, ridge)
    left = y - model(x).data
    assert np.isclose(misfit, np.linalg.norm(left) / np.linalg.norm(y), rtol=1e-6) and misfit < 0.1
    if not ridge:       # the normal equations: what is left is orthogonal to all features
        features = np.concatenate([model.embedding(x).data, np.ones((80, 1))], 1)
        np.testing.assert_allclose(features.T @ left, 0.0, atol=1e-9)


def test_the_last_layer_may_be_factorised_or_stand_in_any_network() -> None:
    x, y = POINTS, POINTS[:, :1] * 2.0
    wide = nn.Sequential(nn.Linear(2, 16, **F64), hp.tanh, nn.FactorisedLinear(16, 1, **F64))
    assert nn.fit_last_layer(wide, x, y) < 1e-10            # 5 points, 17 numbers
    np.testing.assert_allclose(wide(x).data, y, atol=1e-9)
    plain = nn.MLP([2, 16, 1], **F64)
    plain.layers[-1] = nn.Linear(16, 1, bias=False, **F64)
    assert nn.fit_last_layer(plain, x, y) < 1e-10


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.ModifiedMLP([2, 1]), InputError, "one hidden size or more"),
    (lambda: nn.ModifiedMLP([2, 4, 5, 1]), InputError, "all equal"),
    (lambda: nn.PirateNet(2, 1, 7, 1), InputError, "must be even"),
    (lambda: nn.PirateNet(2, 1, 8, 0), InputError, r"PirateNet\(blocks\)=0"),
    (lambda: nn.PirateNet(2, 1, 8, 1, embedding=nn.FourierFeatures(2, 6))(np.ones((3, 2))), ShapeError, "must have length 8"),
    (lambda: nn.fit_last_layer(modified(0), POINTS, np.ones((4, 1))), ShapeError, r"targets have shape \(4, 1\)"),
    (lambda: nn.fit_last_layer(modified(0), POINTS, np.full((5, 1), np.nan)), NonFiniteError, "NaN"),
    (lambda: nn.fit_last_layer(modified(0), POINTS, np.ones((5, 1)), -1.0), InputError, r"ridge\)=-1.0"),
    (lambda: nn.fit_last_layer(nn.Sequential(nn.Linear(2, 1), hp.tanh), POINTS, np.ones((5, 1))), InputError, "is not that of a Linear"),
])
def test_what_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
