"""Sorting, searching, sets and histograms: NumPy and PyTorch as oracles, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from tests.autograd.oracle import against_torch

rng = np.random.default_rng(8)
A = rng.standard_normal((3, 7))
TIES = rng.integers(0, 3, (4, 9)).astype(float)


def same(result: Any, expected: Any) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_array_equal(result.detach().numpy(), expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("x", [A, TIES, rng.integers(-5, 5, (3, 4)), rng.random((3, 4)) < 0.5], ids=["floats", "ties", "integers", "bools"])
def test_order_is_stable_both_ways(axis: int, x: Any) -> None:
    same(hp.sort(x, axis=axis), np.sort(x, axis=axis))
    same(hp.argsort(x, axis=axis), np.argsort(x, axis=axis, kind="stable"))
    same(hp.sort(x, axis=axis, descending=True), np.flip(np.sort(x, axis=axis), axis))
    same(hp.argsort(x, axis=axis, descending=True), np.argsort(-x.astype(float), axis=axis, kind="stable"))
    same(hp.msort(x), np.sort(x, axis=0))


@pytest.mark.parametrize(("ours", "theirs"), [
    (lambda x: hp.sort(x, axis=0, descending=True), lambda t, x: t.sort(x, dim=0, descending=True).values),
    (lambda x: hp.sort(x, axis=1), lambda t, x: t.sort(x, dim=1).values),
    (lambda x: hp.topk(x, 1, axis=1), lambda t, x: t.topk(x, 1, 1)),
    (lambda x: hp.topk(x, 5, axis=1, largest=False), lambda t, x: t.topk(x, 5, 1, largest=False)),
    (lambda x: hp.topk(x, 2, axis=0), lambda t, x: t.topk(x, 2, 0)),
    (lambda x: hp.kthvalue(x, 3, axis=1, keepdims=True), lambda t, x: t.kthvalue(x, 3, 1, True)),
    (lambda x: hp.unique_values(hp.reshape(x, (21,))), lambda t, x: t.sort(x.reshape(-1)).values),
])
def test_values_and_gradients_equal_pytorch(ours: Any, theirs: Any) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    against_torch(ours, lambda x: theirs(torch, x), [A])


def test_second_derivative_through_sort() -> None:
    expected = np.zeros((7, 7))
    expected[np.argsort(A[0]), np.argsort(A[0])] = 6.0 * np.arange(7) * np.sort(A[0])
    same(hp.hessian(lambda x: hp.sum(hp.sort(x) ** 3 * np.arange(7.0)))(A[0]), expected)


def test_top_elements_in_long_rows_with_ties_and_nan() -> None:
    x = rng.integers(0, 10, (4, 200)).astype(float)
    for largest in (True, False):
        values, indices = hp.topk(x, 12, largest=largest)
        expected = np.sort(x, axis=1)
        same(values, expected[:, :-13:-1] if largest else expected[:, :12])
        same(values, np.take_along_axis(x, indices.numpy(), 1))
        assert all(len(set(row)) == 12 for row in indices.numpy().tolist())
    x[:, 5] = np.nan
    assert np.isnan(hp.topk(x, 3).values.numpy()[:, 0]).all() and (hp.topk(x, 3).indices.numpy()[:, 0] == 5).all()
    assert np.isfinite(hp.topk(x, 3, largest=False).values.numpy()).all()
    assert hp.topk(x, 0).values.shape == (4, 0)
    assert hp.topk(np.array(3.0), 1).values.shape == hp.kthvalue(np.array(3.0), 1).values.shape == ()


def test_searching() -> None:
    edges, values = np.sort(A[0]), rng.standard_normal((2, 5))
    values[0, 0] = edges[2]
    for side in ("left", "right"):
        same(hp.searchsorted(edges, values, side=side), np.searchsorted(edges, values, side=side))
        same(hp.searchsorted(A[0], values, side=side, sorter=np.argsort(A[0])), np.searchsorted(edges, values, side=side))
        same(hp.vmap(lambda v, s=side: hp.searchsorted(edges, v, side=s))(values), np.searchsorted(edges, values, side=side))
        rows = np.sort(A, axis=1)
        expected = np.stack([np.searchsorted(r, v, side=side) for r, v in zip(rows, A[:, :2], strict=True)])
        same(hp.searchsorted(rows, A[:, :2], side=side), expected)
        same(hp.vmap(lambda r, v, s=side: hp.searchsorted(r, v, side=s))(rows, A), hp.searchsorted(rows, A, side=side).numpy())
    same(hp.bucketize(values, edges), np.searchsorted(edges, values))
    same(hp.bucketize(values, edges, right=True), np.searchsorted(edges, values, side="right"))
    same(hp.digitize(values, edges), np.digitize(values, edges))
    same(hp.digitize(values, edges, right=True), np.digitize(values, edges, right=True))
    assert hp.searchsorted(np.array([0.1, 0.2]), 0.1).item() == 0       # the number is not rounded to float32
    assert hp.searchsorted(np.array([1, 2]), 1.5).item() == 1
    same(hp.isin(TIES, [0.0, 2.0]), np.isin(TIES, [0.0, 2.0]))
    same(hp.isin(np.array([1, 2]), 2, invert=True), [True, False])
    same(hp.isin(np.array([1, 2], np.uint64), 2), [False, True])
    same(hp.isin(2.0, np.array([1, 2])), True)
    same(hp.vmap(lambda x, v: hp.isin(x, v))(TIES, TIES[:, :1]), np.stack([np.isin(x, v) for x, v in zip(TIES, TIES[:, :1], strict=True)]))


def test_places_of_nonzero_elements() -> None:
    for x in (TIES, TIES[0], np.zeros((2, 0)), TIES > 1):
        for found, expected in zip(hp.nonzero(x), np.nonzero(x), strict=True):
            same(found, expected)
        same(hp.argwhere(x), np.argwhere(x))
    assert hp.argwhere(np.array(1.0)).shape == (1, 0) and hp.argwhere(np.array(0.0)).shape == (0, 0)


@pytest.mark.parametrize("x", [TIES, np.array([[np.nan, 1.0], [np.nan, 1.0]]), np.array([2, 1, 2]), np.zeros(0), np.array(3.0)],
                         ids=["ties", "nan", "integers", "empty", "scalar"])
def test_sets(x: Any) -> None:
    found = hp.unique_all(x)
    expected = np.unique(x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False)
    for ours, theirs in zip(found, expected, strict=True):
        same(ours, theirs)
    same(hp.unique_values(x), expected[0])
    same(hp.unique_counts(x).values, expected[0])
    same(hp.unique_counts(x).counts, expected[3])
    same(hp.unique_inverse(x).inverse_indices, expected[2])
    filled = np.where(np.isnan(x), 9.0, x)
    same(hp.unique_values(filled)[hp.unique_inverse(filled).inverse_indices], filled)


def test_runs() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    for x in (TIES, np.array([5.0]), np.zeros(0)):
        for ours, theirs in zip(hp.unique_consecutive(x), torch.unique_consecutive(torch.tensor(x), True, True), strict=True):
            same(ours, theirs.numpy())


def test_counting() -> None:
    x = rng.integers(0, 6, 40)
    weights = rng.standard_normal(40)
    same(hp.bincount(x), np.bincount(x))
    same(hp.bincount(x, minlength=11), np.bincount(x, minlength=11))
    np.testing.assert_allclose(hp.bincount(x, weights).numpy(), np.bincount(x, weights), rtol=1e-14)
    same(hp.grad(lambda w: hp.sum(hp.bincount(x, w) * np.arange(6.0)))(weights), x.astype(float))
    table = x.reshape(4, 10)
    same(hp.vmap(lambda x: hp.bincount(x, length=6))(table), np.stack([np.bincount(row, minlength=6) for row in table]))
    assert hp.bincount(np.zeros(0, int)).shape == (0,)


def test_histograms() -> None:
    values = rng.standard_normal((20, 10))
    weights = rng.random((20, 10))
    for bins, limits in ((10, None), (7, (-1.0, 2.0)), (np.array([-2.0, -0.1, 0.5, 3.0]), None), (1, (0.0, 0.0))):
        expected = np.histogram(values, bins, limits)
        found = hp.histogram(values, bins, limits)
        same(found.counts, expected[0])
        np.testing.assert_allclose(found.edges.numpy(), expected[1], rtol=1e-15, atol=1e-15)
        expected = np.histogram(values, bins, limits, weights=weights)
        np.testing.assert_allclose(hp.histogram(values, bins, limits, weights).counts.numpy(), expected[0])
        if limits != (0.0, 0.0):
            np.testing.assert_allclose(hp.histogram(values, bins, limits, density=True).counts.numpy(),
                                       np.histogram(values, bins, limits, density=True)[0])
    inside = (values >= -1.0) & (values <= 2.0)
    same(hp.grad(lambda w: hp.sum(hp.histogram(values, 7, (-1.0, 2.0), w).counts))(weights), inside.astype(float))
    assert hp.histogram(np.zeros(0), 3).counts.numpy().tolist() == [0, 0, 0]
    assert hp.histogram(np.ones(4), 2).counts.numpy().tolist() == [0, 4]
    assert hp.histogram(np.array([1, 2, 3]), 2).counts.numpy().tolist() == [1, 2]
    assert hp.histc(np.array([0.1, 0.9, 0.9]), 2, 0.0, 1.0).numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.sort(A + 0j), DtypeError, "complex numbers have no order"),
    (lambda: hp.argsort(A, axis=2), IndexingError, "axis=2 is outside an array of 2 axes"),
    (lambda: hp.sort(np.array(1.0)), IndexingError, "it has none"),
    (lambda: hp.topk(A, 8), InputError, "k=8 must be between 0 and 7"),
    (lambda: hp.kthvalue(A, 0), InputError, "k=0 must be between 1 and 7"),
    (lambda: hp.searchsorted(A[0], A, side="middle"), InputError, 'must be "left" or "right"'),
    (lambda: hp.searchsorted(A, A[:2]), ShapeError, "x1 must have one axis"),
    (lambda: hp.searchsorted(np.array(1.0), A), ShapeError, "x1 must have one axis"),
    (lambda: hp.searchsorted(A[0], A, sorter=np.array([0.5])), DtypeError, "must be integers"),
    (lambda: hp.nonzero(np.array(1.0)), ShapeError, "needs at least one axis"),
    (lambda: hp.vmap(hp.unique_values)(A), InputError, r"the shape of unique_all\(x\) depends on the values"),
    (lambda: hp.vmap(hp.argwhere)(A), InputError, r"the shape of nonzero\(x\) depends on the values"),
    (lambda: hp.vmap(hp.bincount)(np.ones((2, 3), int)), InputError, r"the shape of bincount\(x\) depends on the values"),
    (lambda: hp.bincount(A[0]), DtypeError, "must be integers from 0"),
    (lambda: hp.bincount(np.ones((2, 2), int)), ShapeError, "must have one axis"),
    (lambda: hp.bincount(np.array([-1])), IndexingError, "indices reach from -1 to -1"),
    (lambda: hp.bincount(np.array([3]), length=3), IndexingError, "outside an axis of length 3; use 0 to 2"),
    (lambda: hp.bincount(np.array([3]), weights=np.ones(2)), ShapeError, "they must agree"),
    (lambda: hp.histogram(A, 0), InputError, "bins=0 must be 1 or more"),
    (lambda: hp.histogram(A, [1.0]), InputError, "at least two edges"),
    (lambda: hp.histogram(A, [1.0, 0.0]), InputError, "in ascending order"),
    (lambda: hp.histogram(A, 3, (1.0, 0.0)), InputError, r"must be \(lowest, highest\)"),
    (lambda: hp.histogram(np.array([np.nan, 1.0])), InputError, "NaN or infinite; give range="),
])
def test_wrong_input_is_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
