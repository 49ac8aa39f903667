"""Promotion: as the array API says for arrays, weak for Python numbers, and never from float32 to float64 by accident."""

import warnings
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.dtypes import NAMES, as_dtype, result_dtype
from hyperion.errors import DtypeError

FLOATS = ["float16", "float32", "float64", "complex64", "complex128"]
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("a", FLOATS)
@pytest.mark.parametrize("b", FLOATS)
def test_floats_promote_as_numpy(a: str, b: str) -> None:
    x, y = hp.ones((2,), dtype=a), hp.ones((2,), dtype=b)
    for operation in (hp.add, hp.multiply, hp.divide, hp.maximum if "complex" not in a + b else hp.add):
        assert operation(x, y).dtype == np.result_type(a, b)
    assert hp.concat([x, y]).dtype == hp.matmul(x, y).dtype == hp.where([True, False], x, y).dtype == np.result_type(a, b)


@pytest.mark.parametrize("a", INTS)
@pytest.mark.parametrize("b", INTS)
def test_integers_promote_as_numpy_or_not_at_all(a: str, b: str) -> None:
    x, y = hp.ones((2,), dtype=a), hp.ones((2,), dtype=b)
    if np.result_type(a, b).kind == "f":
        with pytest.raises(DtypeError, match="do not combine: no integer dtype holds both"):
            x + y
    else:
        assert (x + y).dtype == np.result_type(a, b)


@pytest.mark.parametrize("a", ["float16", "float32", "float64"])
@pytest.mark.parametrize("b", [*INTS, "bool"])
def test_integers_and_bools_never_widen_a_float(a: str, b: str) -> None:
    x, y = hp.ones((2,), dtype=a), hp.ones((2,), dtype=b)
    assert (x + y).dtype == (y * x).dtype == (x / y).dtype == a


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("number", [2, 2.0, True])
def test_python_numbers_are_weak(dtype: str, number: Any) -> None:
    x = hp.ones((2,), dtype=dtype)
    for value in (x + number, number * x, x / number, x - number, hp.where([True, False], x, number), x ** number):
        assert value.dtype == dtype


def test_python_numbers_beside_integers_and_bools() -> None:
    i, b = hp.asarray(np.array([1, 2], np.int32)), hp.asarray([True, False])
    assert ((i + 1).dtype, (i * 2.0).dtype, (b + 1).dtype, (b * 2.0).dtype, (b & True).dtype) == (
        np.int32, np.float32, np.int64, np.float32, np.bool_)
    assert ((i / 2).dtype, hp.sin(i).dtype, hp.mean(i).dtype, (i ** 0.5).dtype, (i ** 2).dtype, hp.exp(b).dtype) == (
        np.float32, np.float32, np.float32, np.float32, np.int32, np.float32)
    assert (hp.asarray(np.ones(2)) * 1j).dtype == np.complex128 and (hp.ones(2) * 1j).dtype == np.complex64
    assert (hp.where(b, 1.0, 0.0).dtype, hp.where(b, 1, 0).dtype, hp.add(1.0, 2).dtype) == (np.float32, np.int64, np.float32)


def test_arrays_of_shape_none_are_not_weak() -> None:
    assert (hp.ones(2) * np.float64(2.0)).dtype == np.float64
    assert (hp.ones(2) * np.array(2.0)).dtype == np.float64


def test_derivatives_come_back_in_the_dtype_of_each_argument() -> None:
    x, y = np.ones(3, np.float32), np.full(3, 2.0)
    gx, gy = hp.grad(lambda x, y: hp.sum(x * y + hp.where(x > 0.0, x, y)), argnums=(0, 1))(x, y)
    assert (gx.dtype, gy.dtype) == (np.float32, np.float64)
    out, tangent = hp.jvp(lambda x: x * y, (x,), (np.ones(3),))
    assert out.dtype == tangent.dtype == np.float64
    out, pullback = hp.vjp(lambda x: x * 2.0, x)
    assert pullback(np.ones(3))[0].dtype == out.dtype == np.float32
    leaf = hp.asarray(x, requires_grad=True)
    (leaf * y).sum().backward()
    assert leaf.grad is not None and leaf.grad.dtype == np.float32


def test_a_float32_training_step_stays_float32() -> None:
    w, b, x = (np.ones(shape, np.float32) for shape in ((3, 4), (4,), (5, 3)))

    def loss(p: Any) -> Any:
        h = hp.tanh(x @ p["w"] + p["b"])
        return hp.mean((h - 0.5) ** 2) + 1e-3 * hp.sum(hp.abs(p["w"])) + hp.mean(hp.maximum(h, 0.1) / 3)

    value, gradient = hp.value_and_grad(loss)({"w": w, "b": b})
    second = hp.grad(lambda p: hp.sum(hp.grad(loss)(p)["w"] ** 2))({"w": w, "b": b})
    assert {value.dtype, gradient["w"].dtype, gradient["b"].dtype, second["w"].dtype, second["b"].dtype} == {np.dtype(np.float32)}


def test_astype() -> None:
    x = hp.asarray(np.ones(2), requires_grad=True)
    assert x.astype("float64") is x
    assert x.astype("int32").dtype == np.int32 and not x.astype("int32").tracked
    x.astype(np.float32).sum().backward()
    assert x.grad is not None and x.grad.dtype == np.float64
    with pytest.raises(DtypeError, match="drops the imaginary part"):
        hp.asarray(1j).astype("float32")
    for bad in ("text", "U3", object, "datetime64[s]", "float99"):
        with pytest.raises(DtypeError):
            x.astype(bad)


def test_operations_refuse_dtypes_they_cannot_take() -> None:
    for call in (lambda: -hp.asarray([True]), lambda: hp.subtract([True], [False])):
        with pytest.raises(DtypeError, match="does not take dtype bool"):
            call()


def test_names() -> None:
    for name in NAMES:
        assert as_dtype(name).name == name
    assert result_dtype([np.dtype("bool"), np.dtype("bool")]) == np.bool_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (hp.asarray(np.array([2], np.uint8)) + 1).dtype == np.uint8


@pytest.mark.parametrize("combine", [lambda a, b: a * b, lambda a, b: a + b, hp.maximum, lambda a, b: hp.concat([a, b]),
                                     lambda a, b: hp.where(np.array([True]), a, b), lambda a, b: a @ b])
@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_bfloat16_beside_a_longer_float_gives_the_longer_one_in_either_order(combine, wide):
    a, b = hp.asarray(np.array([1.2345678]), dtype=wide), hp.asarray([1.0], dtype="bfloat16")
    assert combine(a, b).dtype == combine(b, a).dtype == wide
    assert combine(b, b).dtype == "bfloat16"
    assert hp.grad(lambda x: hp.sum(combine(x, b)).astype("float32"))(a).dtype == wide
