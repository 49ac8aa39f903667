"""Pooling: against PyTorch, as laws, and what is refused."""

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, HyperionError, IndexingError, InputError, ShapeError
from hyperion.testing import dot_test

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(7)
SPACES = {1: (10,), 2: (9, 8), 3: (6, 5, 4)}


def same(result: Any, expected: Any, tolerance: float = 1e-12) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(result.data), expected, rtol=tolerance, atol=tolerance)


def compare_with_torch(ours: Any, theirs: Any, x: Any) -> None:
    import torch

    leaf = torch.tensor(x, requires_grad=True)
    value = theirs(leaf)
    if isinstance(value, tuple):
        value, places = value
        np.testing.assert_array_equal(ours(x)[1].data, places.numpy())
    weights = rng.standard_normal(tuple(value.shape))
    (value * torch.tensor(weights)).sum().backward()

    def out(x: Any) -> Any:
        found = ours(x)
        return found[0] if isinstance(found, tuple) else found

    same(out(x), value.detach().numpy())
    same(hp.grad(lambda x: hp.sum(out(x) * weights))(x), leaf.grad.numpy())


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_sliding_windows_against_torch(rank: int, kernel: int, ceil_mode: bool) -> None:
    import torch

    F: Any = torch.nn.functional
    x = rng.standard_normal((2, 3, *SPACES[rank]))
    for stride, padding in itertools.product((None, 1, 3, 5), range(kernel // 2 + 1)):
        for dilation in (1, 2):
            if dilation * (kernel - 1) + 1 > min(SPACES[rank]) + 2 * padding:
                continue
            compare_with_torch(
                lambda x, a=(kernel, stride, padding, dilation, ceil_mode, True): getattr(hp, f"max_pool{rank}d")(x, *a),
                lambda x, a=(kernel, stride, padding, dilation, ceil_mode, True): getattr(F, f"max_pool{rank}d")(x, *a), x)
        for include in (False, True):
            compare_with_torch(
                lambda x, a=(kernel, stride, padding, ceil_mode, include): getattr(hp, f"avg_pool{rank}d")(x, *a),
                lambda x, a=(kernel, stride, padding, ceil_mode, include): getattr(F, f"avg_pool{rank}d")(x, *a), x)
        if rank > 1:
            compare_with_torch(
                lambda x, a=(kernel, stride, padding, ceil_mode, True, 7): getattr(hp, f"avg_pool{rank}d")(x, *a),
                lambda x, a=(kernel, stride, padding, ceil_mode, True, 7): getattr(F, f"avg_pool{rank}d")(x, *a), x)
        if not ceil_mode and padding == 0:
            for norm in (2, 4.0):
                compare_with_torch(
                    lambda x, a=(norm, kernel, stride): getattr(hp, f"lp_pool{rank}d")(x, *a),
                    lambda x, a=(norm, kernel, stride): getattr(F, f"lp_pool{rank}d")(x, *a), x)


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
def test_adaptive_windows_against_torch(rank: int, size: int) -> None:
    import torch

    x = rng.standard_normal((2, 3, *SPACES[rank]))
    for name, more in (("avg", ()), ("max", (True,))):
        f = f"adaptive_{name}_pool{rank}d"
        compare_with_torch(
            lambda x, f=f, more=more: getattr(hp, f)(x, size, *more),
            lambda x, f=f, more=more: getattr(torch.nn.functional, f)(x, size, *more), x)


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_against_torch(rank: int) -> None:
    import torch

    F: Any = torch.nn.functional
    x = rng.standard_normal((2, 3, *(8, 6, 4)[:rank]))
    for padding, stride in ((0, 2), (1, 2)):
        found, places = getattr(F, f"max_pool{rank}d")(torch.tensor(x), 2, stride, padding, return_indices=True)
        compare_with_torch(
            lambda v, p=places, a=(2, stride, padding): getattr(hp, f"max_unpool{rank}d")(v, p.numpy(), *a),
            lambda v, p=places, a=(2, stride, padding): getattr(F, f"max_unpool{rank}d")(v, p, *a), found.numpy())


# Laws

def test_the_norms_lie_between_the_mean_and_the_maximum() -> None:
    x = np.abs(rng.standard_normal((2, 3, 8, 8)))
    same(hp.lp_pool2d(x, 1, 2), 4.0 * hp.avg_pool2d(x, 2).data)
    same(hp.lp_pool2d(x, 200.0, 2), hp.max_pool2d(x, 2).data, 1e-2)         # 4 ** (1 / 200) = 1.007
    same(hp.lp_pool1d(-x[0], 3, 2), (x[0] ** 3).reshape(3, 8, 4, 2).sum(-1) ** (1 / 3))


def test_the_norm_of_zeros_has_derivative_zero() -> None:
    gradient = hp.grad(lambda x: hp.sum(hp.lp_pool1d(x, 2, 2)))(np.array([[0.0, 0.0, 3.0, 4.0]]))
    same(gradient, np.array([[0.0, 0.0, 0.6, 0.8]]))


def test_the_first_of_equal_values_and_the_first_nan_are_picked() -> None:
    x = np.array([[2.0, 2.0, 1.0, np.nan, 5.0, np.nan]])
    values, places = hp.max_pool1d(x, 3, return_indices=True)
    np.testing.assert_array_equal(values.data, [[2.0, np.nan]])
    np.testing.assert_array_equal(places.data, [[0, 3]])
    low = np.full((1, 4, 4), -np.inf)
    np.testing.assert_array_equal(hp.max_pool2d(low, 3, 2, 1, return_indices=True)[1].data, [[[0, 1], [4, 5]]])


def test_infinite_values_stay_where_they_are() -> None:
    x = np.ones((1, 20))
    x[0, 0] = np.inf
    for out in (hp.avg_pool1d(x, 3, 2, 1), hp.adaptive_avg_pool1d(x, 2)):
        assert np.isinf(out.data[0, 0])
        np.testing.assert_allclose(out.data[0, 1:], 1.0, rtol=1e-14)
    weights = np.ones((1, 2))
    weights[0, 0] = np.inf
    back = hp.vjp(lambda x: hp.adaptive_avg_pool1d(x, 2), np.ones((1, 20)))[1](weights)[0].data
    assert np.isinf(back[0, :10]).all()
    np.testing.assert_allclose(back[0, 10:], 0.1)


def test_layouts_integers_and_narrow_dtypes() -> None:
    x = rng.standard_normal((2, 3, 8, 6))
    turned = np.moveaxis(x, 1, -1)
    for call in (lambda x, **o: hp.max_pool2d(x, 3, 2, 1, **o), lambda x, **o: hp.avg_pool2d(x, 2, **o),
                 lambda x, **o: hp.adaptive_avg_pool2d(x, (3, None), **o), lambda x, **o: hp.lp_pool2d(x, 2, 2, **o)):
        same(call(turned, layout="NHWC"), np.moveaxis(call(x).data, 1, -1))
        same(call(x[0]), call(x).data[0])
        for dtype in ("float16", "float32"):
            assert call(x.astype(dtype)).dtype == dtype
    whole = hp.max_pool2d(np.arange(16).reshape(1, 4, 4), 2)
    assert whole.dtype == np.int64
    same(whole, [[[5, 7], [13, 15]]])


def test_transposes_and_batches() -> None:
    x = rng.standard_normal((2, 3, 8, 6))
    z = x + 1j * rng.standard_normal(x.shape)
    dot_test(lambda x: hp.avg_pool2d(x, 3, 2, 1, True, False), (z,))
    dot_test(lambda x: hp.adaptive_avg_pool2d(x, (3, 4)), (x,))
    dot_test(lambda x: hp.max_pool2d(x, 3, 2, 1), (x,))
    for f in (lambda x: hp.max_pool2d(x, 3, 2, 1), lambda x: hp.avg_pool2d(x, 2), lambda x: hp.adaptive_max_pool2d(x, 2)):
        same(hp.vmap(f)(x), np.stack([f(part).data for part in x]))


X = np.ones((2, 3, 8, 6))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.max_pool2d(X, 2, padding=2), InputError, "padding=2 must be at most half of a window"),
    (lambda: hp.max_pool2d(X, 0), InputError, "kernel=0 must be 1 or more"),
    (lambda: hp.max_pool2d(X, 2, stride=0), InputError, "stride=0 must be 1 or more"),
    (lambda: hp.max_pool2d(X, (1, 2, 3)), InputError, "has 3 numbers"),
    (lambda: hp.max_pool2d(X, 9), ShapeError, "a window reaches over 9, more than 8 samples"),
    (lambda: hp.max_pool1d(np.ones((1, 1)), 2, padding=2, dilation=3), ShapeError, "some windows hold nothing of the 1 samples"),
    (lambda: hp.max_pool2d(X[0, 0], 2), ShapeError, "it must have 4 axes"),
    (lambda: hp.max_pool2d(X > 0, 2), DtypeError, "x is bool; it must be real"),
    (lambda: hp.max_pool2d(X + 1j, 2), DtypeError, "x is complex128; it must be real"),
    (lambda: hp.avg_pool2d(np.ones((2, 3, 4, 4), int), 2), DtypeError, "x is int64; it must be floating or complex"),
    (lambda: hp.avg_pool2d(X, 2, divisor=0), InputError, "divisor=0 must be an integer other than 0"),
    (lambda: hp.lp_pool2d(X, 0, 2), InputError, "norm=0 must be a number above 0"),
    (lambda: hp.adaptive_avg_pool2d(X, 0), InputError, "size=0 must be 1 or more"),
    (lambda: hp.adaptive_avg_pool2d(X, (1, 2, 3)), InputError, "has 3 numbers"),
    (lambda: hp.adaptive_max_pool2d(X[:, :, :0], 2), ShapeError, "must not be empty"),
    (lambda: hp.max_pool2d(X, 2, layout="NWHC"), InputError, "layout='NWHC' is unknown"),
    (lambda: hp.max_unpool2d(X, np.zeros((2, 3, 8, 5), int), 2), ShapeError, "one for each of x"),
    (lambda: hp.max_unpool2d(X, X, 2), ShapeError, "they must be integers"),
    (lambda: hp.max_unpool2d(X, np.full(X.shape, 999), 2), IndexingError, "outside an axis of length 192"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
