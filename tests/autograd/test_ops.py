"""Values of the operations against NumPy and SciPy, and what their public functions refuse."""

from typing import Any

import numpy as np
import pytest
import scipy.signal

import hyperion as hp
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test

rng = np.random.default_rng(3)
A, V, W = rng.standard_normal((2, 3, 4)), rng.standard_normal(4), rng.uniform(0.5, 2.0, (3, 4))
MASK = A > 0.0


def same(result: Any, expected: Any) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-14, atol=1e-14)


def test_elementwise_functions() -> None:
    for name in ("negative", "sign", "abs", "square", "exp", "sin", "cos", "tanh", "isfinite"):
        same(getattr(hp, name)(A), getattr(np, name)(A))
    for name in ("sqrt", "log"):
        same(getattr(hp, name)(W), getattr(np, name)(W))
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater",
                 "greater_equal"):
        same(getattr(hp, name)(A, W), getattr(np, name)(A, W))
    for name in ("logical_and", "logical_or"):
        same(getattr(hp, name)(MASK, ~MASK[0]), getattr(np, name)(MASK, ~MASK[0]))
    same(hp.logical_not(MASK), ~MASK)
    same(hp.where(MASK, A, V), np.where(MASK, A, V))
    same(hp.power(W, A), W ** A)


def test_clip_with_numbers_and_arrays() -> None:
    same(hp.clip(A, -0.5, 0.5), np.clip(A, -0.5, 0.5))
    same(hp.clip(A, None, 0.0), np.minimum(A, 0.0))
    same(hp.clip(A, -W, W), np.clip(A, -W, W))
    same(hp.clip(A), A)
    same(hp.clip(np.array([1, 5, 9]), 2, 6), np.array([2, 5, 6]))
    with pytest.raises(InputError, match=r"min=1\.0 exceeds max=0\.0"):
        hp.clip(A, 1.0, 0.0)


def test_derivatives_at_kinks_are_as_documented() -> None:
    x = np.array([-1.0, 0.0, 1.0])
    same(hp.grad(lambda x: hp.sum(hp.abs(x)))(x), np.array([-1.0, 0.0, 1.0]))
    same(hp.grad(lambda x: hp.sum(hp.maximum(x, 0.0)))(x), np.array([0.0, 0.5, 1.0]))
    same(hp.grad(lambda x: hp.sum(hp.minimum(x, 0.0)))(x), np.array([1.0, 0.5, 0.0]))
    same(hp.grad(lambda x: hp.sum(hp.clip(x, -1.0, 0.0)))(x), np.array([1.0, 1.0, 0.0]))
    same(hp.grad(lambda x, y: hp.sum(x ** y), argnums=1)(np.array([0.0, 2.0]), np.array([2.0, 2.0])), np.array([0.0, 4.0 * np.log(2.0)]))
    for n in (1, 2, 3, 4):
        f: Any = lambda x, n=n: x ** n      # noqa: E731
        for _ in range(n):
            f = hp.grad(f)
        assert float(f(np.array(0.0))) == [1.0, 2.0, 6.0, 24.0][n - 1]


def test_reductions() -> None:
    for axis in (None, 0, -1, (0, 2), [1], ()):
        over = tuple(axis) if isinstance(axis, list) else axis
        for keepdims in (False, True):
            same(hp.sum(A, axis=axis, keepdims=keepdims), np.sum(A, axis=over, keepdims=keepdims))
            same(hp.mean(A, axis=axis, keepdims=keepdims), np.mean(A, axis=over, keepdims=keepdims))
    same(hp.cumsum(A, axis=1), np.cumsum(A, axis=1))
    same(hp.asarray(A).mean(1), A.mean(1))
    assert hp.sum(np.array([True, True])).item() == 2
    for bad, error in ((3, ShapeError), ((0, 0), ShapeError), ((0, -3), ShapeError), (0.5, InputError), ("x", InputError)):
        with pytest.raises(error, match="sum"):
            hp.sum(A, axis=bad)


def test_shapes() -> None:
    same(hp.reshape(A, (4, -1)), A.reshape(4, 6))
    same(hp.asarray(A).reshape(-1), A.reshape(-1))
    same(hp.asarray(A).reshape(6, 4), A.reshape(6, 4))
    same(hp.permute_dims(A, (2, 0, -2)), A.transpose(2, 0, 1))
    same(hp.expand_dims(A, -1), A[..., None])
    same(hp.squeeze(A[:, None], 1), A)
    same(hp.squeeze(A[:1, None], (0, 1)), A[0])
    same(hp.broadcast_to(V, (2, 3, 4)), np.broadcast_to(V, (2, 3, 4)))
    same(hp.sum_to(A, (3, 1)), A.sum((0, 2))[:, None])
    same(hp.flip(A), A[::-1, ::-1, ::-1])
    same(hp.flip(A, 1), A[:, ::-1])
    same(hp.concat([A, A[:, :1]], axis=1), np.concatenate([A, A[:, :1]], axis=1))
    same(hp.stack([A, 2.0 * A], axis=-1), np.stack([A, 2.0 * A], axis=-1))


@pytest.mark.parametrize(("call", "text"), [
    (lambda: hp.reshape(A, (5, 5)), r"reshape\(x, shape\): x has shape \(2, 3, 4\), 24 elements"),
    (lambda: hp.reshape(A, (-1, -1)), "does not hold as many"),
    (lambda: hp.reshape(A, (-1, 0)), "does not hold as many"),
    (lambda: hp.reshape(A, (-2, -12)), "does not hold as many"),
    (lambda: hp.permute_dims(A, (0, 1)), "must name each of the 3 axes"),
    (lambda: hp.permute_dims(A, (0, 1, 1)), "must name each of the 3 axes"),
    (lambda: hp.permute_dims(A, (0, 1, 5)), "axis=5 is outside"),
    (lambda: hp.squeeze(A, 0), "must have length 1"),
    (lambda: hp.expand_dims(A, 5), "axis=5 is outside"),
    (lambda: hp.broadcast_to(A, (2, 3, 5)), "must be 1 or equal"),
    (lambda: hp.broadcast_to(A, (4,)), "must be 1 or equal"),
    (lambda: hp.sum_to(A, (5,)), "does not broadcast to"),
    (lambda: hp.concat([]), "the list is empty"),
    (lambda: hp.stack([]), "the list is empty"),
    (lambda: hp.concat([A, V]), "may differ only along that axis"),
    (lambda: hp.concat([A, A[:, :1]], axis=0), "may differ only along that axis"),
    (lambda: hp.stack([A, V]), "must be equal"),
    (lambda: hp.asarray(A).T, r"\.T needs two axes"),
    (lambda: hp.matmul(A, V[:3]), "the last axis of x, 4, and the only axis of y, 3"),
    (lambda: hp.matmul(A, W), "next to last axis of y, 3"),
    (lambda: hp.matmul(A, 2.0), "use . for a number"),
    (lambda: hp.matmul(A, np.ones((5, 4, 2))), "must broadcast"),
    (lambda: hp.asarray(A) + np.ones(3), r"add: shapes \(2, 3, 4\), \(3,\) do not combine"),
    (lambda: hp.where(MASK, A, np.ones(3)), "where: shapes"),
    (lambda: hp.pad_edge(np.zeros((0, 2)), 1), "no edge to repeat"),
    (lambda: hp.shift(A, 1, axis=3), "axis=3 is outside an array of 3 axes; use -3 to 2"),
    (lambda: hp.cumsum(np.array(1.0)), "it has none"),
    (lambda: hp.scatter(V, [0, 1], (4,)), r"x has shape \(4,\), but zeros\(shape\)\[index\] has \(2,\)"),
    (lambda: hp.scatter(V[:2], [0, 9], (4,)), "does not fit"),
])
def test_shapes_that_do_not_fit_are_refused(call: Any, text: str) -> None:
    with pytest.raises((ShapeError, InputError), match=text):
        call()


@pytest.mark.parametrize(("left", "right"), [
    ((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((5, 1, 3, 4), (2, 4, 2)), ((4,), (5, 4, 2)), ((5, 3, 4), (4,)),
])
def test_matmul_of_all_ranks_with_gradient(left: Any, right: Any) -> None:
    x, y = rng.standard_normal(left), rng.standard_normal(right)
    same(hp.matmul(x, y), x @ y)
    dot_test(hp.matmul, (x, y), tolerance=1e-12)


@pytest.mark.parametrize("index", [
    0, -1, slice(None, None, -1), (slice(None), 1), (Ellipsis, 2), (None, 0), ([0, 1, 1], slice(None), [3, 0, 0]), MASK, (0, MASK[0]),
    np.array([[1], [0]]), (), (slice(1, 1),), [], np.int64(1),
])
def test_indexing(index: Any) -> None:
    x = hp.asarray(A)
    as_numpy = tuple(np.asarray(part) if isinstance(part, list) else part for part in index) if isinstance(index, tuple) else index
    as_numpy = np.asarray(index, int) if isinstance(index, list) else as_numpy
    same(x[index], A[as_numpy])
    weights = np.asarray(rng.standard_normal(A[as_numpy].shape))
    expected = np.zeros_like(A)
    np.add.at(expected, as_numpy, weights)
    same(hp.scatter(weights, index, A.shape), expected)
    same(hp.vjp(lambda x: x[index], A)[1](weights)[0], expected)


def test_an_index_may_be_a_tensor() -> None:
    same(hp.asarray(A)[hp.asarray([1, 0])], A[[1, 0]])
    same(hp.asarray(A)[hp.asarray(A) > 0.0], A[MASK])
    for bad in (1.5, "x", hp.asarray([0.5]), (0, 2.0)):
        with pytest.raises(InputError, match=r"x\[index\]"):
            hp.asarray(A)[bad]
    with pytest.raises(IndexError):
        hp.asarray(A)[7]


def test_where_wants_a_condition() -> None:
    with pytest.raises(DtypeError, match="condition is float64; it must be bool"):
        hp.where(A, A, A)


def test_padding() -> None:
    pairs = ((1, 0), (0, 2), (3, 1))
    for widths, full in ((1, 1), ((2, 3), ((2, 3),) * 3), (pairs, pairs), ((1, 2, 3), ((1, 1), (2, 2), (3, 3)))):
        same(hp.pad(A, widths), np.pad(A, full))
        same(hp.pad_edge(A, widths), np.pad(A, full, mode="edge"))
    for bad in (-1, 0.5, (1, 2, 3, 4), ((1, 2),) * 2, "x", ((1, 2, 3),) * 3):
        with pytest.raises(InputError, match="pad: widths="):
            hp.pad(A, bad)


def test_shift() -> None:
    for n in range(-5, 6):
        same(hp.shift(A, n, axis=-1, periodic=True), np.roll(A, n, -1))
        expected = np.zeros_like(A)
        for i in range(4):
            if 0 <= i - n < 4:
                expected[..., i] = A[..., i - n]
        same(hp.shift(A, n, axis=-1), expected)


@pytest.mark.parametrize(("up", "down", "length"), [(1, 1, None), (2, 1, None), (1, 3, None), (3, 2, 17), (2, 5, 6), (4, 3, 40), (7, 7, 3)])
@pytest.mark.parametrize("half", [0, 1, 4, 13])
def test_fir_against_its_formula_and_scipy(half: int, up: int, down: int, length: int | None) -> None:
    x, taps = rng.standard_normal((2, 11)), rng.standard_normal(2 * half + 1)
    y = hp.fir(x, taps, axis=1, up=up, down=down, length=length)
    count = -(-11 * up // down) if length is None else length
    expected = np.zeros((2, count))
    for k in range(count):
        for i in range(11):
            m = half + k * down - i * up
            if 0 <= m <= 2 * half:
                expected[:, k] += taps[m] * x[:, i]
    same(y, expected)
    if up == down == 1 and length is None and half <= 4:
        same(y, scipy.signal.convolve(x, taps[None], mode="same"))
    assert hp.fir(x.astype(np.float32), taps, axis=1, up=up, down=down).dtype == np.float32


@pytest.mark.parametrize("bad", [
    {"taps": np.ones(4)}, {"taps": np.ones((3, 3))}, {"taps": np.ones(3), "up": 0}, {"taps": np.ones(3), "down": -1},
    {"taps": np.ones(3), "length": 0}, {"taps": np.ones(3), "axis": 0.5},
])
def test_fir_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="fir"):
        hp.fir(V, **bad)


def test_every_refusal_is_a_hyperion_error_and_a_built_in_one() -> None:
    with pytest.raises(ValueError) as caught:
        hp.asarray(A) + np.ones(3)
    assert isinstance(caught.value, HyperionError)


def test_operations_describe_themselves() -> None:
    for name in hp.__all__:
        value = getattr(hp, name)
        if callable(value):
            assert len((value.__doc__ or "").strip()) > 20, name
    assert repr(hp.sin) == "Primitive sin, elementwise"
