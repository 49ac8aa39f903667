"""Elementwise operations on the GPU in kernels written from their own functions: as on the CPU, for every sample of the table."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES
from hyperion.autograd.mapping import formula_lines, mapped
from hyperion.gpu import elementwise
from hyperion.gpu.elementwise import text
from tests.gpu import standin

SERVED = sorted(
    (op.name, count) for op in PRIMITIVES.values() if op.form == "elementwise" for count in (1, 2, 3)
    if op.forward.__code__.co_argcount == count + 1 and formula_lines(op.forward, count, "f", {}) is not None)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(elementwise, "SMALL", 2)


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request, monkeypatch):
    return standin.at(request.param, monkeypatch)


def test_the_common_operations_are_served():
    assert {("add", 2), ("multiply", 2), ("divide", 2), ("tanh", 1), ("exp", 1), ("sqrt", 1), ("sin", 1), ("negative", 1)} <= set(SERVED)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "count"), SERVED)
def test_they_are_what_they_are_on_the_cpu(cupy, name, count, dtype):
    if cupy.ndarray is standin.ndarray and dtype == "float64" and name not in ("subtract", "clip"):
        pytest.skip("the emulator compiles each text for half a second")
    random, forward = np.random.default_rng(1), PRIMITIVES[name].forward
    for size in (2, 5, 1030):
        values = [(random.uniform(0.1, 0.9, size)).astype(dtype) for _ in range(count)]
        for alone in {None, 0, count - 1} if name in ("subtract", "clip") else {None}:
            given = [x[:1].reshape(()) if i == alone else x for i, x in enumerate(values)]
            found = mapped(forward, [cupy.asarray(x) for x in given], {})
            expected = forward(np, *given)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            # a few roundings, of terms of size 1 that may cancel
            rtol, atol = (2e-6, 2e-7) if dtype == "float32" else (1e-14, 1e-15)
            np.testing.assert_allclose(cupy.asnumpy(found), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["abs", "sign", "maximum", "minimum", "sqrt", "exp", "log", "tanh", "add", "multiply", "divide"])
def test_infinities_nan_and_zeros_are_those_of_numpy(cupy, name):
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e300])
    op = PRIMITIVES[name]
    count = op.forward.__code__.co_argcount - 1
    given = [special] if count == 1 else [x.reshape(-1).copy() for x in np.meshgrid(special, special)]
    found = mapped(op.forward, [cupy.asarray(x) for x in given], {})
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(cupy.asnumpy(found), op.forward(np, *given), rtol=1e-14)


def test_what_they_do_not_serve_is_left_to_cupy(cupy):
    add, x = PRIMITIVES["add"].forward, cupy.asarray(np.ones((4, 6)))
    assert mapped(add, [x, x[:, :1]], {}) is None                                           # broadcasting
    assert mapped(add, [x[:, ::2], x[:, ::2]], {}) is None                                  # gaps
    assert mapped(add, [x, cupy.asarray(np.ones((4, 6), np.float32))], {}) is None
    assert mapped(PRIMITIVES["less"].forward, [x, x], {}) is None                           # the result is bool


def test_numbers_beside_arrays_and_derivatives(cupy):
    values = np.linspace(-1.0, 2.0, 12).reshape(3, 4)
    found: list[Any] = []
    for place in ("cpu", "cuda:0"):
        x = hp.asarray(values, requires_grad=True, device=place)
        loss = hp.sum(hp.tanh(2.0 * x + 1.0) / (3.0 - x) - 0.5)
        loss.backward()
        found.append([hp.asarray(y).to("cpu").numpy() for y in (loss.detach(), x.grad)])
    for there, here in zip(*reversed(found), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-13)


def test_the_text_reads_numbers_once_and_arrays_in_groups():
    written = text("result = a0 * a1;", (True, False))
    assert "const real a0 = wide(x0[0]);" in written and "const Pack p1 = ((const Pack *)x1)[i];" in written
    assert "formula(a0, wide(p1.at[k]))" in written and "formula(a0, wide(x1[i]))" in written


def test_checkpoints_run_again(cupy):
    x = hp.asarray(np.linspace(0.1, 1.0, 6), requires_grad=True, device="cuda:0")
    hp.sum(hp.checkpoint(lambda y: hp.tanh(y) * y)(x)).backward()
    y = np.linspace(0.1, 1.0, 6)
    np.testing.assert_allclose(cupy.asnumpy(x.grad.data), np.tanh(y) + y / np.cosh(y) ** 2, rtol=1e-13)


@pytest.mark.parametrize(("name", "count"), [("gelu_tanh", 1), ("add", 2), ("multiply", 2)])
def test_formulas_of_bfloat16_are_computed_in_float32_and_rounded_once(cupy, name, count):
    random, forward = np.random.default_rng(1), PRIMITIVES[name].forward
    for size in (1, 5, 1030):
        values = [random.standard_normal(size).astype(ml_dtypes.bfloat16) for _ in range(count)]
        found = mapped(forward, [cupy.asarray(x) for x in values], {})
        expected = forward(np, *(x.astype(np.float64) for x in values))
        assert found.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(cupy.asnumpy(found).astype(np.float64), expected, rtol=2.0**-8, atol=1e-6)
