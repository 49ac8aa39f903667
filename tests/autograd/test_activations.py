"""Activation functions: values by their definitions, derivatives at the kinks, and extremes without overflow."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import hyperion as hp
from hyperion.errors import DtypeError, InputError, ShapeError

X = np.array([-7.0, -3.5, -2.0, -0.7, -0.2, 0.3, 0.6, 1.5, 2.9, 3.5, 7.0])
SIGMOID, PLUS = 1.0 / (1.0 + np.exp(-X)), np.log(1.0 + np.exp(X))
DEFINITIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "relu": (hp.relu, np.maximum(X, 0.0)),
    "relu6": (hp.relu6, np.clip(X, 0.0, 6.0)),
    "sigmoid": (hp.sigmoid, SIGMOID),
    "logsigmoid": (hp.logsigmoid, np.log(SIGMOID)),
    "silu": (hp.silu, X * SIGMOID),
    "mish": (hp.mish, X * np.tanh(PLUS)),
    "gelu": (hp.gelu, X * 0.5 * scipy.special.erfc(-X / math.sqrt(2.0))),
    "gelu, approximate": (
        lambda x: hp.gelu(x, approximate=True), 0.5 * X * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (X + 0.044715 * X ** 3)))
    ),
    "softplus": (hp.softplus, PLUS),
    "softplus, beta 2": (lambda x: hp.softplus(x, 2.0), np.log(1.0 + np.exp(2.0 * X)) / 2.0),
    "elu": (lambda x: hp.elu(x, 1.5), np.where(X > 0, X, 1.5 * (np.exp(X) - 1.0))),
    "selu": (hp.selu, 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * (np.exp(X) - 1.0))),
    "celu": (lambda x: hp.celu(x, 0.5), np.where(X > 0, X, 0.5 * (np.exp(X / 0.5) - 1.0))),
    "leaky_relu": (lambda x: hp.leaky_relu(x, 0.1), np.where(X > 0, X, 0.1 * X)),
    "prelu": (lambda x: hp.prelu(x, 0.2), np.where(X > 0, X, 0.2 * X)),
    "hardtanh": (lambda x: hp.hardtanh(x, -2.5, 0.5), np.clip(X, -2.5, 0.5)),
    "hardsigmoid": (hp.hardsigmoid, np.clip(X + 3.0, 0.0, 6.0) / 6.0),
    "hardswish": (hp.hardswish, X * np.clip(X + 3.0, 0.0, 6.0) / 6.0),
    "hardshrink": (hp.hardshrink, np.where(np.abs(X) > 0.5, X, 0.0)),
    "softshrink": (hp.softshrink, np.sign(X) * np.maximum(np.abs(X) - 0.5, 0.0)),
    "tanhshrink": (hp.tanhshrink, X - np.tanh(X)),
    "softsign": (hp.softsign, X / (1.0 + np.abs(X))),
    "threshold": (lambda x: hp.threshold(x, 1.0, -0.5), np.where(X > 1.0, X, -0.5)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_values_and_slopes_follow_the_definition(name: str) -> None:
    f, expected = DEFINITIONS[name]
    assert f(X).dtype == np.float64 and f(X.astype(np.float32)).dtype == np.float32
    assert f(hp.asarray([1, 2])).dtype == (np.int64 if name == "relu" else np.float32)
    np.testing.assert_allclose(f(X).data, expected, rtol=1e-13, atol=1e-16)
    h = 1e-6
    difference = (f(X + h).data - f(X - h).data) / (2.0 * h)
    np.testing.assert_allclose(hp.grad(lambda x: hp.sum(f(x)))(X).data, difference, atol=1e-8)         # rounding, 1e-16 * 7 / h


@pytest.mark.parametrize(("f", "x", "slope"), [
    (hp.relu, 0.0, 0.0), (hp.relu6, 0.0, 0.0), (hp.relu6, 6.0, 0.0), (hp.hardtanh, 1.0, 0.0), (hp.hardtanh, -1.0, 0.0),
    (hp.leaky_relu, 0.0, 0.01), (hp.elu, 0.0, 1.0), (hp.hardsigmoid, 3.0, 0.0), (hp.hardsigmoid, -3.0, 0.0), (hp.hardswish, -3.0, -0.5),
    (hp.hardswish, 3.0, 1.5), (hp.hardshrink, 0.5, 0.0), (hp.softshrink, 0.5, 0.0), (hp.softsign, 0.0, 1.0),
    (lambda x: hp.threshold(x, 1.0, 0.0), 1.0, 0.0), (lambda x: hp.prelu(x, 0.25), 0.0, 0.25),
])
def test_slopes_at_kinks_are_pytorchs(f: Any, x: float, slope: float) -> None:
    assert float(hp.grad(f)(np.array(x))) == slope


def test_extremes_neither_overflow_nor_lose_their_digits() -> None:
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    for f, expected in ((hp.sigmoid, [0.0, 0.0, 1.0, 1.0]), (hp.softplus, [0.0, 0.0, 800.0, 1e4]),
                        (hp.logsigmoid, [-1e4, -800.0, 0.0, 0.0]), (hp.silu, [0.0, 0.0, 800.0, 1e4]), (hp.mish, [0.0, 0.0, 800.0, 1e4]),
                        (hp.gelu, [0.0, 0.0, 800.0, 1e4]), (hp.elu, [-1.0, -1.0, 800.0, 1e4])):
        assert f(x).data.tolist() == expected
        assert np.isfinite(hp.grad(lambda x, f=f: hp.sum(f(x)))(x).data).all()
    assert float(hp.relu(math.inf)) == float(hp.softplus(math.inf)) == float(hp.elu(math.inf)) == math.inf
    tail = np.array([-40.0])
    np.testing.assert_allclose(hp.sigmoid(tail).data, np.exp(tail), rtol=1e-15)
    np.testing.assert_allclose(hp.softplus(tail).data, np.exp(tail), rtol=1e-15)
    np.testing.assert_allclose(hp.gelu(np.array([-20.0])).data, -20.0 * scipy.special.ndtr(-20.0), rtol=1e-14)


def test_integers() -> None:
    assert hp.relu(hp.asarray([-2, 3])).data.tolist() == [0, 3] and hp.relu(hp.asarray([-2, 3])).dtype == np.int64
    assert hp.hardtanh(hp.asarray([-2, 3])).data.tolist() == [-1.0, 1.0]


def test_sigmoid_and_silu_of_complex_numbers_are_holomorphic() -> None:
    z = np.array([1.0 + 2.0j, -800.0 + 1.0j, -0.3 - 0.4j, 700.0 - 2.0j])
    exact = np.where(z.real < 0, np.exp(np.where(z.real < 0, z, 0)), 1.0) / (1.0 + np.exp(np.where(z.real < 0, z, -z)))
    np.testing.assert_allclose(hp.sigmoid(z).data, exact, rtol=1e-14)
    np.testing.assert_allclose(hp.silu(z).data, z * exact, rtol=1e-14)
    _, moved = hp.jvp(hp.sigmoid, (z,), (np.full(4, 1j),))
    np.testing.assert_allclose(moved.data, 1j * exact * (1.0 - exact), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("f", [
    hp.relu, hp.softplus, hp.logsigmoid, hp.softsign, hp.mish, hp.elu, hp.leaky_relu, hp.hardtanh, hp.hardswish, hp.hardsigmoid,
    hp.hardshrink, hp.softshrink, lambda z: hp.prelu(z, 0.1), lambda z: hp.threshold(z, 0.0, 0.0), lambda z: hp.gelu(z, approximate=True),
])
def test_functions_of_real_numbers_refuse_complex_ones(f: Any) -> None:
    with pytest.raises(DtypeError, match="does not take dtype complex128"):
        f(np.array([1.0 + 1.0j]))


def test_glu() -> None:
    x = np.arange(12.0).reshape(3, 4) - 5.0
    np.testing.assert_allclose(hp.glu(x).data, x[:, :2] / (1.0 + np.exp(-x[:, 2:])), rtol=1e-15)
    np.testing.assert_allclose(hp.glu(x.T, axis=0).data, hp.glu(x).data.T, rtol=1e-15)
    with pytest.raises(ShapeError, match="must have an even length"):
        hp.glu(x, axis=0)


@pytest.mark.parametrize(("call", "text"), [
    (lambda: hp.softplus(X, 0.0), "beta=0.0 must be positive"), (lambda: hp.celu(X, -1.0), "alpha=-1.0 must be positive"),
    (lambda: hp.elu(X, None), "elu: alpha=None must be a Python number"), (lambda: hp.threshold(X, X, 0.0), "must be a Python number"),
    (lambda: hp.hardtanh(X, 1.0, -1.0), "exceeds upper"), (lambda: hp.softshrink(X, -1.0), "must be 0 or more"),
])
def test_refusals(call: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        call()
