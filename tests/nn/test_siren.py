"""Networks of sines and trained slopes: statistics of the start, Taylor mode, state, refusals."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, ShapeError
from tests.nn.physics_informed import F64, POINTS, check_gradient, check_jets, check_state


def siren(seed: int) -> Any:
    return nn.SIREN([2, 7, 7, 1], frequency=2.0, generator=hp.random.Generator(seed), **F64)


def adaptive(seed: int) -> Any:
    return nn.MLP([2, 6, 6, 1], nn.AdaptiveActivation(hp.sin, width=6, dtype="float64"), generator=hp.random.Generator(seed), **F64)


@pytest.mark.parametrize("make", [siren, adaptive])
def test_jets_gradients_and_state(make: Any) -> None:
    check_jets(make(0))
    check_gradient(make(0))
    check_state(make)


@pytest.mark.parametrize("frequency", [10.0, 30.0])
def test_arguments_of_the_sines_keep_their_size_through_the_layers(frequency: float) -> None:
    model = nn.SIREN([1, *[256] * 5, 1], frequency, generator=hp.random.Generator(1), **F64)
    for layer in model.layers:
        layer.bias.assign(np.zeros(layer.outputs))          # the paper's statement is about weights
    h = hp.asarray(np.linspace(-1.0, 1.0, 2000)[:, None])
    for i, layer in enumerate(model.layers[:-1]):
        phase = model.frequency * layer(h)
        if i > 1:       # normal arguments of deviation d give sines, and those arguments of deviation d' with d'^2 = 1 - exp(-2 d^2)
            assert abs(phase.data.std() - 0.893) < 0.15
        h = hp.sin(phase)
    assert abs(model.layers[0].weight.data).max() <= 1.0
    assert abs(model.layers[1].weight.data).max() <= np.sqrt(6.0 / 256) / frequency


def test_an_adaptive_activation_begins_as_its_function_and_trains_its_slope() -> None:
    layer = nn.AdaptiveActivation(hp.tanh, sharpness=5.0, dtype="float64")
    np.testing.assert_allclose(layer(POINTS).data, np.tanh(POINTS), rtol=1e-14)
    gradient = hp.grad(lambda m: hp.sum(m(POINTS)))(layer).slope.item()
    assert np.isclose(gradient, 5.0 * (POINTS / np.cosh(POINTS) ** 2).sum(), rtol=1e-12)
    assert "activation.slope" in nn.MLP([2, 3, 1], nn.AdaptiveActivation()).named_parameters()


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.SIREN([2, 1]), InputError, "three or more numbers"),
    (lambda: nn.SIREN([2, 4, 1], frequency=0.0), InputError, r"SIREN\(frequency\)=0.0"),
    (lambda: nn.AdaptiveActivation("tanh"), InputError, "must be callable"),
    (lambda: nn.AdaptiveActivation(sharpness=0.5), InputError, "must be a number, 1 or more"),
    (lambda: nn.AdaptiveActivation(width=3)(np.ones((2, 4))), ShapeError, "its last axis must have length 3"),
])
def test_what_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
