"""Random weight factorisation: the same function as a Linear layer, statistics at the start, Taylor mode, state, refusals."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, ShapeError
from tests.nn.physics_informed import F64, POINTS, check_gradient, check_jets, check_state


def network(seed: int) -> Any:
    generator = hp.random.Generator(seed)
    return nn.Sequential(nn.FactorisedLinear(2, 6, generator=generator, **F64), hp.tanh,
                         nn.FactorisedLinear(6, 1, generator=generator, **F64))


def test_it_is_a_linear_layer_with_the_product_as_weight() -> None:
    layer, plain = nn.FactorisedLinear(2, 5, generator=hp.random.Generator(0), **F64), nn.Linear(2, 5, **F64)
    weight = np.exp(layer.s.data)[:, None] * layer.v.data
    plain.load_state_dict({"weight": weight, "bias": layer.bias.data})
    np.testing.assert_allclose(layer(POINTS).data, plain(POINTS).data, atol=1e-14)
    a, b = (hp.grad(lambda m: hp.sum(hp.sin(m(POINTS))))(m) for m in (layer, plain))
    np.testing.assert_allclose(a.v.data, np.exp(layer.s.data)[:, None] * b.weight.data, rtol=1e-10)     # the chain rule
    np.testing.assert_allclose(a.s.data, (weight * b.weight.data).sum(1), rtol=1e-10)


def test_scales_and_weights_begin_as_the_paper_says() -> None:
    layer = nn.FactorisedLinear(300, 400, mean=0.5, deviation=0.2, generator=hp.random.Generator(2), **F64)
    # Means and deviations of 400 numbers, and of 120,000: tolerances are four standard errors.
    assert abs(layer.s.data.mean() - 0.5) < 0.04 and abs(layer.s.data.std() - 0.2) < 0.03
    weight = np.exp(layer.s.data)[:, None] * layer.v.data
    assert abs(weight.std() / np.sqrt(2.0 / 700) - 1.0) < 0.01 and not layer.bias.data.any()
    plain = nn.FactorisedLinear(3, 4, bias=False, deviation=0.0, **F64)
    assert plain.bias is None and np.ptp(plain.s.data) == 0.0


def test_jets_gradients_and_state() -> None:
    check_jets(network(0))
    check_gradient(network(0))
    check_state(network)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.FactorisedLinear(0, 2), InputError, r"FactorisedLinear\(inputs\)=0"),
    (lambda: nn.FactorisedLinear(2, 2, deviation=-0.1), InputError, "the deviation 0 or more"),
    (lambda: nn.FactorisedLinear(2, 2, mean=float("nan")), InputError, "the mean must be finite"),
    (lambda: nn.FactorisedLinear(2, 2)(np.ones(3)), ShapeError, r"x has shape \(3,\); its last axis must have length 2"),
])
def test_what_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
