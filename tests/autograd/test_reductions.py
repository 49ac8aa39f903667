"""Reductions, scans and order statistics: laws, NumPy and PyTorch as oracles, edges, and what is refused."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.special

import hyperion as hp
from hyperion.autograd.ops.scans import running
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from tests.autograd.oracle import against_torch

rng = np.random.default_rng(7)
A = rng.standard_normal((3, 4, 5))
HOLED = A.copy()
HOLED[0, :, 0] = 0.0
HOLED[1, 2, 3] = HOLED[1, 0, 3] = 0.0
MASK = rng.random((3, 4, 5)) < 0.6
MASK[:, :2] = True
AXES = [None, 0, -1, (0, 2), (), [1]]


def same(result: Any, expected: Any, tolerance: float = 1e-13) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_equal_numpy(axis: Any, keepdims: bool) -> None:
    over = tuple(axis) if isinstance(axis, list) else axis
    for name in ("sum", "prod", "mean", "max", "min", "any", "all", "var", "std"):
        same(getattr(hp, name)(A, axis=axis, keepdims=keepdims), getattr(np, name)(A, axis=over, keepdims=keepdims))
    same(hp.var(A, axis=axis, correction=0.5, keepdims=keepdims), np.var(A, axis=over, ddof=0.5, keepdims=keepdims))
    same(hp.logsumexp(A, axis=axis, keepdims=keepdims), scipy.special.logsumexp(A, axis=over, keepdims=keepdims))
    same(hp.count_nonzero(HOLED, axis=axis, keepdims=keepdims), np.count_nonzero(HOLED, axis=over, keepdims=keepdims)
         if axis != () else (HOLED != 0).astype(int))
    if axis != ():
        same(hp.median(A, axis=axis, keepdims=keepdims), np.median(A, axis=over, keepdims=keepdims))
        for q in (0.0, 0.3, 1.0, [0.25, 0.9]):
            same(hp.quantile(A, q, axis=axis, keepdims=keepdims), np.quantile(A, q, axis=over, keepdims=keepdims))
    if axis is None or isinstance(axis, int):
        same(hp.argmax(A, axis=axis, keepdims=keepdims), np.argmax(A, axis=axis, keepdims=keepdims))
        same(hp.argmin(A, axis=axis, keepdims=keepdims), np.argmin(A, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize(("ours", "theirs"), [
    (lambda x: hp.prod(x, axis=1), lambda t, x: x.prod(1)),
    (lambda x: hp.amax(x, axis=(0, 2)), lambda t, x: t.amax(x, (0, 2))),
    (lambda x: hp.amin(x, axis=1, keepdims=True), lambda t, x: t.amin(x, 1, True)),
    (lambda x: hp.aminmax(x, axis=0), lambda t, x: t.aminmax(x, dim=0)),
    (lambda x: hp.std(x, axis=(0, 1), correction=1), lambda t, x: x.std((0, 1))),
    (lambda x: hp.var_mean(x, axis=2, correction=1), lambda t, x: t.var_mean(x, 2)),
    (lambda x: hp.std_mean(x, axis=2, correction=1), lambda t, x: t.std_mean(x, 2)),
    (lambda x: hp.softmax(x, axis=1), lambda t, x: t.softmax(x, 1)),
    (lambda x: hp.log_softmax(x, axis=0), lambda t, x: t.log_softmax(x, 0)),
    (lambda x: hp.logsumexp(x, axis=(0, 2)), lambda t, x: t.logsumexp(x, (0, 2))),
    (lambda x: hp.cumsum(x, 1), lambda t, x: x.cumsum(1)),
    (lambda x: hp.cumprod(x, 1), lambda t, x: x.cumprod(1)),
    (lambda x: hp.cumprod(x, 0), lambda t, x: x.cumprod(0)),
    (lambda x: hp.logcumsumexp(x, 2), lambda t, x: x.logcumsumexp(2)),
    (lambda x: hp.cummax(x, 1), lambda t, x: x.cummax(1)),
    (lambda x: hp.cummin(x, 2), lambda t, x: x.cummin(2)),
    (lambda x: hp.quantile(x, 0.37, axis=1), lambda t, x: t.quantile(x, 0.37, 1)),
    (lambda x: hp.quantile(x, [0.1, 0.8], axis=2, keepdims=True), lambda t, x: t.quantile(x, t.tensor([0.1, 0.8], dtype=x.dtype), 2, True)),
    *[(lambda x, m=m: hp.quantile(x, 0.37, axis=2, method=m), lambda t, x, m=m: t.quantile(x, 0.37, 2, interpolation=m))
      for m in ("lower", "higher", "midpoint", "nearest")],
    (lambda x: hp.diff(x, n=2, axis=1), lambda t, x: t.diff(x, 2, 1)),
    (lambda x: hp.gradient(x, 0.5, axis=1), lambda t, x: t.gradient(x, spacing=0.5, dim=1)[0]),
    (lambda x: hp.gradient(x, edge_order=2), lambda t, x: t.gradient(x, edge_order=2)),
    (lambda x: hp.trapezoid(x, dx=0.3, axis=1), lambda t, x: t.trapezoid(x, dx=0.3, dim=1)),
    (lambda x: hp.cumulative_trapezoid(x, axis=2), lambda t, x: t.cumulative_trapezoid(x, dim=2)),
    (lambda x: hp.renorm(x, 3, 1, 1.5), lambda t, x: x * (1.5 / (x.abs() ** 3).sum((0, 2), True) ** (1 / 3)).clamp(max=1.0)),
])
@pytest.mark.parametrize("x", [A, HOLED + np.where(HOLED == 0, 0.0, 1e-3 * np.arange(60.0).reshape(A.shape))], ids=["plain", "zeros"])
def test_values_and_gradients_equal_pytorch(ours: Any, theirs: Any, x: Any) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    against_torch(ours, lambda x: theirs(torch, x), [x])


def test_quantile_differentiates_its_order() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    against_torch(lambda x, q: hp.quantile(x, q, axis=1), lambda x, q: torch.quantile(x, q, 1), [A, np.array([0.3, 0.77])])


def test_products_with_zeros_to_third_order() -> None:
    """The third derivative of x0 x1 x2 x3 in x0, x1 and x2 is x3, whatever is zero."""
    for zeros in ((), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)):
        x = np.array([2.0, 3.0, 5.0, 7.0])
        x[list(zeros)] = 0.0
        for product in (hp.prod, lambda x: hp.cumprod(x)[-1]):
            third = hp.grad(lambda x, p=product: hp.grad(lambda x: hp.grad(p)(x)[0])(x)[1])(x)
            same(third, np.array([0.0, 0.0, x[3], x[2]]))
            same(hp.grad(product)(x), [math.prod(np.delete(x, i)) for i in range(4)])


def test_recurrence_is_the_loop_and_exact_with_zero_decay() -> None:
    decay, x = rng.standard_normal((3, 7)), rng.standard_normal((3, 7))
    decay[:, 3] = 0.0
    expected = np.zeros_like(x)
    for i in range(7):
        expected[:, i] = x[:, i] + (decay[:, i] * expected[:, i - 1] if i else 0.0)
    same(hp.linear_recurrence(decay, x, axis=1), expected)
    same(hp.linear_recurrence(decay[:, ::-1], x[:, ::-1], axis=1, reverse=True), expected[:, ::-1])
    same(hp.linear_recurrence(0.1, np.ones(3)), np.array([1.0, 1.1, 1.11]))     # the number is not rounded to float32
    same(hp.linear_recurrence(decay, x[0]), hp.linear_recurrence(decay, np.broadcast_to(x[0], x.shape)).numpy())


def test_cumulative_functions_of_the_standard() -> None:
    same(hp.cumulative_sum(A, axis=1, include_initial=True), np.cumulative_sum(A, axis=1, include_initial=True))
    same(hp.cumulative_prod(A, axis=2, include_initial=True), np.cumulative_prod(A, axis=2, include_initial=True))
    assert hp.cumulative_sum(np.array([1, 2], np.int8)).dtype == np.int64
    assert hp.cumulative_sum(np.array([200, 200], np.uint8), dtype="uint8").numpy().tolist() == [200, 144]
    with pytest.raises(InputError, match="choose one with axis="):
        hp.cumulative_sum(A)


def test_accumulators() -> None:
    for short, long in ((np.bool_, np.int64), (np.int8, np.int64), (np.uint16, np.uint64), (np.int64, np.int64)):
        ones = np.ones(300, short)
        assert hp.sum(ones).dtype == hp.prod(ones).dtype == long
        assert int(hp.sum(ones)) == 300
    assert hp.sum(np.full(300, 1, np.uint8), dtype=np.uint8).item() == 300 % 256
    assert hp.sum(np.ones(3, np.float32), dtype="float64").dtype == np.float64
    for half in (np.float16, ml_dtypes.bfloat16):
        ones = np.ones((4096, 2), half)
        for function in (hp.sum, hp.mean, lambda x, axis: hp.cumsum(x, axis)[-1]):
            out = function(ones, axis=0)
            assert out.dtype == half
            assert float(out[0]) == (1.0 if function is hp.mean else 4096.0)       # a half precision accumulator stops at 256 or 2048
        assert hp.softmax(ones).dtype == hp.logsumexp(ones).dtype == hp.std(ones).dtype == half
    assert hp.mean(np.array([1, 2])).dtype == np.float32


def test_masks_leave_elements_out() -> None:
    for axis in (None, 1, (0, 2)):
        for name in ("sum", "prod", "mean", "max", "min"):
            extra = {"initial": -np.inf} if name == "max" else {"initial": np.inf} if name == "min" else {}
            same(getattr(hp, name)(A, axis=axis, where=MASK), getattr(np, name)(A, axis=axis, where=MASK, **extra))
        same(hp.var(A, axis=axis, correction=1, where=MASK), np.var(A, axis=axis, ddof=1, where=MASK))
        same(hp.std(A, axis=axis, where=MASK), np.std(A, axis=axis, where=MASK))
        same(hp.logsumexp(A, axis=axis, where=MASK), scipy.special.logsumexp(np.where(MASK, A, -np.inf), axis=axis))
    same(hp.cumsum(A, 1, where=MASK), np.cumsum(np.where(MASK, A, 0.0), 1))
    same(hp.cumprod(A, 1, where=MASK), np.cumprod(np.where(MASK, A, 1.0), 1))
    assert hp.argmax(np.array([1, 9, 3]), where=[True, False, True]).item() == 2
    assert hp.argmin(np.array([0, 9, 3]), where=[False, True, True]).item() == 2
    out = hp.softmax(A, axis=1, where=MASK).numpy()
    assert (out[~MASK] == 0).all()
    np.testing.assert_allclose(out.sum(1)[MASK.any(1)], 1.0)
    gradient = hp.grad(lambda x: hp.sum(hp.log_softmax(x, axis=1, where=MASK)[MASK] ** 2))(A)
    assert np.isfinite(gradient.numpy()).all() and (gradient.numpy()[~MASK] == 0).all()
    assert np.isnan(hp.mean(np.ones(2), where=np.zeros(2, bool)).item())
    assert hp.mean(np.ones(2), where=np.array([[True, False], [True, True]]), axis=1).numpy().tolist() == [1.0, 1.0]
    with pytest.raises(DtypeError, match="it must be bool"):
        hp.sum(A, where=A)


def test_ties_share_the_derivative() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    same(hp.grad(lambda x: hp.sum(hp.max(x, axis=1)))(x), np.array([[0.0, 0.5, 0.5], [1 / 3] * 3]))
    same(hp.grad(lambda x: hp.sum(hp.min(x, axis=1)))(x), np.array([[1.0, 0.0, 0.0], [1 / 3] * 3]))
    same(hp.jvp(lambda x: hp.max(x), (x,), (np.array([[0.0, 1.0, 3.0], [9.0] * 3]),))[1], 2.0)


def test_not_a_number() -> None:
    x = np.array([[1.0, np.nan, 3.0, 4.0], [2.0, 5.0, 1.0, 0.0], [np.nan] * 4])
    for name in ("max", "min", "median"):
        np.testing.assert_array_equal(getattr(hp, name)(x, axis=1).numpy(), [np.nan, getattr(np, name)(x[1]), np.nan])
    assert hp.argmax(x[0]).item() == hp.argmin(x[0]).item() == 1
    same(hp.nansum(x, axis=1), [8.0, 8.0, 0.0])
    for name in ("nanmean", "nanmedian"):
        np.testing.assert_array_equal(getattr(hp, name)(x, axis=1).numpy()[:2], getattr(np, name)(x[:2], axis=1))
        assert np.isnan(getattr(hp, name)(x, axis=1).numpy()[2])
    for method in ("linear", "lower", "higher", "midpoint", "nearest"):
        for q in (0.0, 0.25, 0.5, 0.7, 1.0):
            same(hp.nanquantile(x[:2], q, axis=1, method=method), np.nanquantile(x[:2], q, axis=1, method=method))
    same(hp.grad(lambda x: hp.nanmean(x))(x[0]), np.array([1 / 3, 0.0, 1 / 3, 1 / 3]))
    same(hp.grad(lambda x: hp.nanmedian(x))(x[0]), np.array([0.0, 0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(hp.grad(lambda x: hp.max(x))(x[0]).numpy(), [0.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(hp.cummax(x[0]).values.numpy(), [1.0, np.nan, np.nan, np.nan])


def test_exponentials_at_their_limits() -> None:
    inf = np.inf
    assert hp.logsumexp(np.array([-inf, -inf])).item() == -inf
    assert hp.logsumexp(np.array([1.0, inf])).item() == inf
    assert hp.logsumexp(np.array([1e308, 1e308])).item() == 1e308
    same(hp.softmax(np.array([1000.0, 0.0, -inf])), np.array([1.0, 0.0, 0.0]))
    assert np.isnan(hp.softmax(np.array([-inf, -inf])).numpy()).all()
    same(hp.log_softmax(np.array([0.0, 1000.0])), np.array([-1000.0, 0.0]))
    same(hp.grad(lambda x: hp.logsumexp(x))(np.array([-inf, -inf])), np.zeros(2))
    same(hp.grad(lambda x: hp.logsumexp(x))(np.array([0.0, -inf])), np.array([1.0, 0.0]))
    x = np.array([800.0, -800.0, 900.0, -inf, 5.0])
    same(hp.logcumsumexp(x), np.logaddexp.accumulate(x))
    same(hp.grad(lambda x: hp.logcumsumexp(x)[4])(x), np.array([0.0, 0.0, 1.0, 0.0, 0.0]))
    z = rng.standard_normal(4) + 1j * rng.standard_normal(4)
    same(hp.logsumexp(z), np.log(np.exp(z).sum()))


def test_spread_of_constants_and_complex_numbers() -> None:
    same(hp.grad(lambda x: hp.std(x))(np.full(4, 2.0)), np.zeros(4))
    assert np.isnan(hp.var(np.ones(1), correction=1).item())
    assert np.isnan(hp.std(np.zeros((0,))).item()) and np.isnan(hp.mean(np.zeros((0,))).item())
    z = rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))
    same(hp.var(z, axis=1), np.var(z, axis=1))
    same(hp.std(z), np.std(z))
    big = 1e8 + np.array([1.0, 2.0, 3.0, 4.0])
    same(hp.var(big), 1.25, 1e-14)                       # one pass over squares would lose all digits


def test_mode_and_renorm_and_histories() -> None:
    x = np.array([[3.0, 1.0, 3.0, 1.0, 2.0], [5.0, 5.0, 0.0, 4.0, 4.0]])
    found = hp.mode(x, axis=1)
    assert found.values.numpy().tolist() == [1.0, 4.0] and found.indices.numpy().tolist() == [3, 4]
    assert hp.mode(x, axis=0, keepdims=True).values.shape == (1, 5)
    same(hp.renorm(x, np.inf, 0, 4.0), x * np.array([[1.0], [0.8]]))
    same(hp.gradient(x[0] ** 2, np.array([0.0, 1.0, 2.5, 3.0, 5.0]), edge_order=2),
         np.gradient(x[0] ** 2, np.array([0.0, 1.0, 2.5, 3.0, 5.0]), edge_order=2))
    same(hp.trapezoid(x, np.array([0.0, 1.0, 2.5, 3.0, 5.0])), np.trapezoid(x, np.array([0.0, 1.0, 2.5, 3.0, 5.0])))
    same(hp.diff(x, prepend=0.5, append=x), np.diff(x, prepend=0.5, append=x))
    assert hp.diff(np.array([True, True, False])).numpy().tolist() == [False, True]
    assert hp.diff(x, n=7).shape == (2, 0)


def test_batches_of_compositions_equal_loops() -> None:
    for function in (lambda x: hp.var(x, axis=0), lambda x: hp.median(x, axis=1), lambda x: hp.nanquantile(x, 0.3), hp.prod,
                     lambda x: hp.cummax(x, 0).values, lambda x: hp.mean(x, where=MASK[0]), lambda x: hp.argmax(x),
                     lambda x: hp.gradient(x)[1], lambda x: hp.mode(x).values):
        same(hp.vmap(function)(A), np.stack([function(x).numpy() for x in A]))
        if function(A[0]).dtype.kind == "f":
            mapped = hp.grad(lambda x, f=function: hp.sum(hp.vmap(f)(x) ** 2))(A)
            same(mapped, np.stack([hp.grad(lambda x, f=function: hp.sum(f(x) ** 2))(x).numpy() for x in A]))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.max(np.zeros((0, 3))), ShapeError, r"max\(x, axis\): x has shape \(0, 3\), no elements along axis \(0, 1\)"),
    (lambda: hp.min(np.zeros((0, 3)), axis=0), ShapeError, "min needs at least one"),
    (lambda: hp.argmax(np.zeros((3, 0)), axis=1), ShapeError, "argmax needs at least one"),
    (lambda: hp.argmin(np.zeros(0)), ShapeError, "argmin needs at least one"),
    (lambda: hp.logsumexp(np.zeros(0)), ShapeError, "logsumexp needs at least one"),
    (lambda: hp.median(np.zeros(0)), ShapeError, "median needs at least one"),
    (lambda: hp.mode(np.zeros((2, 0))), ShapeError, "mode needs at least one"),
    (lambda: hp.max(A + 0j), DtypeError, "complex numbers have no order"),
    (lambda: hp.softmax(A + 0j), DtypeError, "complex numbers have no order"),
    (lambda: hp.quantile(A + 0j, 0.5), DtypeError, "complex numbers have no order"),
    (lambda: hp.cummax(A + 0j), DtypeError, "complex numbers have no order"),
    (lambda: hp.max(A, axis=3), IndexingError, "axis=3 is outside an array of 3 axes"),
    (lambda: hp.prod(A, axis=(0, 0)), ShapeError, "names an axis twice"),
    (lambda: hp.argmax(A, axis=(0, 1)), InputError, "must be an integer"),
    (lambda: hp.softmax(A, axis=5), IndexingError, "axis=5 is outside"),
    (lambda: hp.cumprod(A, axis=4), IndexingError, "axis=4 is outside"),
    (lambda: hp.sum(A, dtype="text"), DtypeError, "is not a dtype"),
    (lambda: hp.sum(A + 1j, dtype="float64"), DtypeError, "drops the imaginary part"),
    (lambda: hp.quantile(A, 1.5), InputError, "must be between 0 and 1"),
    (lambda: hp.quantile(A, [[0.5]]), InputError, "must be between 0 and 1"),
    (lambda: hp.quantile(A, math.nan), InputError, "must be between 0 and 1"),
    (lambda: hp.quantile(A, 0.5, method="cubic"), InputError, "method='cubic' must be one of linear"),
    (lambda: hp.diff(A, n=-1), InputError, "n must be 0 or more"),
    (lambda: hp.gradient(A, edge_order=3), InputError, "must be 1 or 2"),
    (lambda: hp.gradient(A, 1.0, 2.0), InputError, "2 spacings for 3 axes"),
    (lambda: hp.gradient(A, np.ones(3), axis=1), ShapeError, "give one for each sample"),
    (lambda: hp.gradient(np.ones(1)), ShapeError, "needs at least 2"),
    (lambda: hp.trapezoid(A, np.ones(3)), ShapeError, "x has length 3, y 5"),
    (lambda: hp.trapezoid(A, np.ones((2, 2))), ShapeError, "or as many as y"),
    (lambda: hp.renorm(A, 0, 1, 1.0), InputError, "p must be above 0"),
    (lambda: hp.linear_recurrence(np.ones(3), A), ShapeError, "do not broadcast"),
    (lambda: hp.logcumsumexp(A + 0j), DtypeError, "complex numbers have no order"),
])
def test_wrong_input_is_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_reductions_over_no_elements_have_values_where_they_exist() -> None:
    empty = np.zeros((0, 3))
    assert hp.sum(empty, axis=0).numpy().tolist() == [0.0] * 3 and hp.prod(empty, axis=0).numpy().tolist() == [1.0] * 3
    assert hp.any(empty).item() is False and hp.all(empty).item() is True
    for function in (hp.max, hp.logsumexp, hp.median):
        assert function(empty, axis=1).shape == (0,)
    assert hp.argmax(empty, axis=1).shape == (0,)
    assert hp.softmax(empty).shape == (0, 3) and hp.cumprod(empty).shape == (0, 3)
    same(hp.grad(lambda x: hp.prod(x) + hp.sum(hp.mean(x, axis=1)))(empty), empty)


def test_running_combination_by_doubling_equals_numpy() -> None:
    """The way CuPy goes, whose functions have no accumulate: any function that is no NumPy ufunc takes it."""
    for n in (1, 2, 5, 8, 13):
        for axis in (0, 1):
            x = rng.standard_normal((n, n))
            for function in (np.maximum, np.minimum, np.logaddexp):
                doubled = running(np, lambda a, b, f=function: f(a, b), x, axis)
                np.testing.assert_allclose(doubled, function.accumulate(x, axis=axis), rtol=1e-14)
