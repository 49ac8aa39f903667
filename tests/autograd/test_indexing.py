"""Gathering, segments, scattering and x.at[index]: NumPy and PyTorch as oracles, laws, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.at import At
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from hyperion.testing import dot_test
from tests.autograd.oracle import against_torch

rng = np.random.default_rng(9)
A = rng.standard_normal((4, 5, 3))
V = rng.standard_normal(6)
ROWS = np.array([2, 0, 2, 3, 2, 0])
ALONG = rng.integers(0, 5, (4, 7, 3))
SHORT = rng.integers(0, 5, (2, 6, 2))
SOURCE = rng.standard_normal((3, 6, 3))
TORCH = {"max": "amax", "min": "amin"}


def same(result: Any, expected: Any, tolerance: float = 1e-14) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("indices", [ROWS, np.array([[1, -1], [0, 0]]), np.array(2), np.zeros((0,), int), np.uint8([1, 2])],
                         ids=["repeated", "matrix", "scalar", "none", "uint8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_with_gradient(indices: Any, axis: int) -> None:
    indices = indices % 3 if axis == -1 else indices
    same(hp.take(A, indices, axis=axis), np.take(A, indices, axis=axis))
    dot_test(lambda x: hp.take(x, indices, axis=axis), (A,), tolerance=1e-12)
    dot_test(lambda x: hp.take(x, indices, axis=axis), (A + 1j * A[::-1],), tolerance=1e-12)


@pytest.mark.parametrize(("ours", "theirs", "arrays"), [
    (lambda x, i: hp.gather(x, i, 1), lambda t, x, i: t.gather(x, 1, i), (A, ALONG)),
    (lambda x, i: hp.gather(x, i, 1), lambda t, x, i: t.gather(x, 1, i), (A, SHORT)),
    (lambda x, i: hp.take_along_axis(x, i[:, :, :1], 1), lambda t, x, i: t.take_along_dim(x, i[:, :, :1], 1), (A, ALONG)),
    (lambda x, i: hp.take_along_axis(x[:1], i, 1), lambda t, x, i: t.take_along_dim(x[:1], i, 1), (A, ALONG)),
    (lambda x, i, v: hp.scatter_add(x, i, v, axis=1), lambda t, x, i, v: t.scatter_add(x, 1, i, v[:2, :, :2]), (A, SHORT, SOURCE)),
    *[(lambda x, i, v, h=h, s=s: hp.scatter_reduce(x, i, v, h, axis=1, include_self=s),
       lambda t, x, i, v, h=h, s=s: t.scatter_reduce(x, 1, i, v[:2, :, :2], TORCH.get(h, h), include_self=s), (A, SHORT, SOURCE))
      for h in ("sum", "prod", "mean", "max", "min") for s in (True, False)],
    (lambda x, i, v: hp.index_add(x, i, v, axis=0), lambda t, x, i, v: x.index_add(0, i, v), (A, ROWS, rng.standard_normal((6, 5, 3)))),
    (lambda x, i, v: hp.index_copy(x, i, v, axis=1), lambda t, x, i, v: x.index_copy(1, i, v), (A, np.array([3, 0]), A[:, :2])),
    (lambda x, i: hp.index_fill(x, i, 0.3, axis=1), lambda t, x, i: x.index_fill(1, i, 0.3), (A, np.array([3, 0]))),
    *[(lambda x, i, v, h=h: hp.index_reduce(x, i, v, h, axis=0),
       lambda t, x, i, v, h=h: x.index_reduce(0, i, v, TORCH.get(h, h)), (A, ROWS, rng.standard_normal((6, 5, 3))))
      for h in ("prod", "mean", "max", "min")],
    (lambda x, m: hp.masked_select(x, m), lambda t, x, m: x.masked_select(m), (A, A[0] > 0)),
    (lambda x, m: hp.masked_fill(x, m, 0.1), lambda t, x, m: x.masked_fill(m, 0.1), (A, A[0] > 0)),
    (lambda x, m, v: hp.masked_scatter(x, m, v), lambda t, x, m, v: x.masked_scatter(m, v), (A, A > 0, rng.standard_normal((4, 5, 3)))),
    (lambda x, v: hp.select_scatter(x, v, 1, -2), lambda t, x, v: t.select_scatter(x, v, 1, -2), (A, A[:, 0])),
    (lambda x, v: hp.slice_scatter(x, v, 1, 1, None, 2), lambda t, x, v: t.slice_scatter(x, v, 1, 1, None, 2), (A, A[:, :2])),
    (lambda x, v: hp.diagonal_scatter(x, v, 1, 1, 0), lambda t, x, v: t.diagonal_scatter(x, v, 1, 1, 0), (A, rng.standard_normal((3, 3)))),
    (lambda x: hp.narrow(x, 1, 1, 3), lambda t, x: t.narrow(x, 1, 1, 3), (A,)),
    (lambda i, w: hp.embedding(i, w), lambda t, i, w: t.nn.functional.embedding(i, w), (ROWS.reshape(2, 3), A[:, 0])),
    (lambda i: hp.one_hot(i, 5), lambda t, i: t.nn.functional.one_hot(i, 5), (ROWS,)),
    (lambda x, v: hp.index_put(x, (ROWS,), v, True), lambda t, x, v: x.index_put((t.tensor(ROWS),), v, True), (A, A[0])),
])
@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")        # PyTorch calls it beta
def test_values_and_gradients_equal_pytorch(ours: Any, theirs: Any, arrays: Any) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    against_torch(ours, lambda *xs: theirs(torch, *xs), arrays)


@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 2, 3)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "int64", "float16"])
def test_segments_equal_loops(shape: Any, dtype: str) -> None:
    integers = {-np.inf: np.iinfo(np.int64).min, np.inf: np.iinfo(np.int64).max}
    values = (10 * rng.standard_normal(shape)).astype(dtype)
    for name, function, empty in (("sum", np.sum, 0), ("prod", np.prod, 1), ("max", np.max, -np.inf), ("min", np.min, np.inf)):
        if dtype == "complex128" and name in ("max", "min"):
            continue
        found = getattr(hp, f"segment_{name}")(values, ROWS, 5)
        assert found.dtype == dtype
        bound = integers.get(empty, empty) if dtype == "int64" else empty
        expected = np.stack([function(values[i == ROWS], axis=0) if (i == ROWS).any() else np.full(shape[1:], bound) for i in range(5)])
        same(found, expected, 2e-3 if dtype == "float16" else 1e-5 if dtype == "float32" else 1e-13)
    turned = np.moveaxis(values, 0, -1)
    same(hp.segment_sum(turned, ROWS, 5, axis=-1), np.moveaxis(hp.segment_sum(values, ROWS, 5).numpy(), 0, -1))
    assert hp.segment_sum(values, ROWS).shape[0] == 4
    mean = hp.segment_mean(values, ROWS, 5).numpy()
    np.testing.assert_allclose(mean[2], values[ROWS == 2].mean(0), rtol=1e-2 if dtype == "float16" else 1e-5)
    assert (mean[4] == 0).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "bool"])
def test_segments_of_integers(dtype: str) -> None:
    values = np.array([[3, 1], [0, 1], [1, 0]]).astype(dtype)
    if dtype.startswith("int"):
        values[0, 0] = -3
    pair = values[:2].astype(np.int64)
    assert hp.segment_sum(values, [0, 0, 2], 3)[0].numpy().tolist() == pair.sum(0).tolist()
    assert hp.segment_prod(values, [0, 0, 2], 3)[0].numpy().tolist() == pair.prod(0).tolist()
    assert hp.segment_max(values, [0, 0, 2], 3)[0].numpy().tolist() == pair.max(0).tolist()
    assert hp.segment_min(values, [0, 0, 2], 3)[0].numpy().tolist() == pair.min(0).tolist()
    assert hp.segment_sum(np.full(300, 1, dtype), np.zeros(300, int), 1).item() == 300
    assert hp.segment_max(values, [0, 0, 2], 3).dtype == dtype


def test_products_by_segment_with_zeros_to_third_order() -> None:
    x = np.array([2.0, 0.0, 3.0, 5.0, 0.0, 7.0])
    third = hp.grad(lambda x: hp.grad(lambda x: hp.grad(lambda x: hp.segment_prod(x, [0, 0, 0, 0, 1, 1], 3)[0])(x)[0])(x)[1])(x)
    same(third, np.array([0.0, 0.0, 5.0, 3.0, 0.0, 0.0]))
    same(hp.grad(lambda x: hp.sum(hp.segment_prod(x, [0, 0, 0, 0, 1, 1], 3)))(x), np.array([0.0, 30.0, 0.0, 0.0, 7.0, 0.0]))


def test_ties_in_segments_share_the_derivative() -> None:
    x = np.array([1.0, 3.0, 3.0, 2.0])
    same(hp.grad(lambda x: hp.segment_max(x, [0, 0, 0, 1], 3)[0])(x), np.array([0.0, 0.5, 0.5, 0.0]))
    same(hp.grad(lambda x: hp.segment_min(x, [0, 0, 0, 1], 2)[1])(x), np.array([0.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_extremes_of_segments_order_all_floats(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-np.inf, -1.5, -1.0, -tiny, 0.0, tiny, 1.0, 1.5, np.inf]).astype(dtype)
    for i in range(len(x) - 1):
        pair = x[[i + 1, i]]
        assert hp.segment_max(pair, [0, 0], 1).item() == pair[0] and hp.segment_min(pair, [0, 0], 1).item() == pair[1]
    for nan in (np.nan, -np.nan):
        for other in (-np.inf, 2.0, np.inf):
            pair = np.array([other, nan]).astype(dtype)
            assert np.isnan(hp.segment_max(pair, [0, 0], 1).item()) and np.isnan(hp.segment_min(pair, [0, 0], 1).item())


INDICES: list[Any] = [
    1, -1, slice(None, None, -2), (slice(1, 3), 2), (Ellipsis, 0), (None, 1), [0, 2, 0], (ROWS[:2], slice(None), np.array([1, 1])),
    (slice(None), np.array([[0, 4], [0, 0]])), A[:, :, 0] > 0, (1, A[0, :, 0] > 0), np.array(2), slice(0, 0), (), (hp.asarray(ROWS[:3]),),
]


@pytest.mark.parametrize("index", INDICES, ids=lambda index: str(index)[:30])
def test_at_equals_numpy_assignment(index: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    plain = tuple(np.asarray(part) if isinstance(part, hp.Tensor | list) else part for part in parts)
    selected = A[plain]
    values = rng.standard_normal(selected.shape)
    place = At(hp.asarray(A))[index]
    same(place.get(), selected)
    for method, function in (("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("divide", np.divide),
                             ("max", np.maximum), ("min", np.minimum)):
        expected = A.copy()
        function.at(expected, plain, values)
        same(getattr(place, method)(values), expected)
        if method not in ("max", "min"):
            dot_test(lambda x, v, m=method: getattr(At(x)[index], m)(v), (A, values), tolerance=1e-10)
    expected = A.copy()
    expected[plain] = values
    same(place.set(values), expected)
    dot_test(lambda x, v: At(x)[index].set(v), (A, values), tolerance=1e-12)
    expected[plain] = 0.1
    same(place.set(0.1), expected)


def test_the_last_of_equal_indices_is_set_and_alone_has_a_derivative() -> None:
    same(At(hp.asarray(V))[[1, 1, 0]].set(np.array([5.0, 6.0, 7.0])), np.array([7.0, 6.0, *V[2:]]))
    same(hp.grad(lambda v: hp.sum(At(hp.asarray(V))[[1, 1, 0]].set(v)))(np.ones(3)), np.array([0.0, 1.0, 1.0]))
    same(hp.grad(lambda x: hp.sum(At(x)[[1, 1, 0]].set(np.ones(3))))(V), np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    same(hp.put_along_axis(A, ALONG[:, :2], 0.25, axis=1), _put_along(A, ALONG[:, :2], 0.25))
    same(hp.scatter_along_axis(V, [1, 1], np.array([5.0, 6.0])), np.array([V[0], 6.0, *V[2:]]))


def _put_along(x: Any, indices: Any, value: float) -> Any:
    out = x.copy()
    np.put_along_axis(out, indices, value, 1)
    return out


def test_x_keeps_its_dtype() -> None:
    for dtype in ("float32", "int8", "complex64", "float16"):
        x = hp.asarray(np.ones(3, dtype))
        assert At(x)[0].set(2).dtype == At(x)[[0]].add(2).dtype == At(x)[0].multiply(2).dtype == dtype
    assert At(hp.asarray(np.ones(3, np.float32)))[0].set(np.ones((), np.float64)).dtype == np.float32
    assert At(hp.asarray(np.ones(3)))[0].set(0.1)[0].item() == 0.1                    # the number is not rounded to float32
    assert hp.index_fill(np.ones(3), [0], 0.1)[0].item() == 0.1


def test_batches_equal_loops() -> None:
    """Indices, values, or both may differ from example to example."""
    tables = rng.standard_normal((3, 5, 2))
    rows = rng.integers(-5, 5, (3, 4))
    segments = rows % 5
    sources = rng.standard_normal((3, 4, 2))
    cases: list[tuple[Any, tuple[Any, ...]]] = [
        (lambda x, i: hp.take(x, i, axis=0), (tables, rows)),
        (lambda x, i: hp.take(x, i % 2, axis=1), (tables, rows)),
        (lambda v, i: hp.segment_sum(v, i, 5), (sources, segments)),
        (lambda v, i: hp.segment_max(v, i, 5), (sources, segments)),
        (lambda v, i: hp.segment_mean(v, i, 5), (sources, segments)),
        (lambda x, i: hp.take_along_axis(x, hp.reshape(i, (4, 1)) % 5, axis=0), (tables, rows)),
        (lambda x, i: hp.one_hot(i % 5, 5) @ x, (tables, rows)),
        (lambda x, i: hp.index_add(x, i, np.ones((4, 2))), (tables, rows)),
        (lambda x, i: At(x)[i].set(hp.sum(x)), (tables, rows)),
        (lambda x, i: At(x)[i].add(1.0), (tables, rows)),
        (lambda x, i: At(x)[i].max(0.0), (tables, rows)),
    ]
    for function, arrays in cases:
        for axes in ((0, 0), (0, None), (None, 0)):
            picked = [x if axis == 0 else x[0] for x, axis in zip(arrays, axes, strict=True)]
            expected = np.stack([function(*(
                hp.asarray(x[j] if axis == 0 else x) for x, axis in zip(picked, axes, strict=True))).numpy() for j in range(3)])
            same(hp.vmap(function, in_axes=axes)(*picked), expected)
    both = hp.vmap(hp.vmap(lambda x, i: hp.take(x, i, axis=0), in_axes=(None, 0)), in_axes=(0, None))(tables, rows)
    same(both, np.stack([[x[i] for i in rows] for x in tables]))
    same(hp.grad(lambda x: hp.sum(hp.vmap(lambda x, i: hp.take(x, i, axis=0))(x, rows) ** 2))(tables),
         np.stack([2.0 * x * np.bincount(i % 5, minlength=5)[:, None] for x, i in zip(tables, rows, strict=True)]))


def test_embedding_gradient_of_many_rows_is_exact() -> None:
    index = rng.integers(0, 50, 3000)
    weights = rng.standard_normal((3000, 16))
    expected = np.zeros((50, 16))
    np.add.at(expected, index, weights)
    same(hp.vjp(lambda w: hp.embedding(index, w), np.zeros((50, 16)))[1](weights)[0], expected, 1e-12)      # 60 terms each


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.take(A, [4], axis=0), IndexingError, "indices reach from 4 to 4, outside an axis of length 4; use -4 to 3"),
    (lambda: hp.take(A, [-5], axis=0), IndexError, "indices reach from -5 to -5"),
    (lambda: hp.take(np.zeros((0,)), [0]), IndexingError, "it has no elements"),
    (lambda: hp.take(A, [0]), InputError, "choose one with axis="),
    (lambda: hp.take(A, [0.5], axis=0), DtypeError, "they must be integers"),
    (lambda: hp.take(A, [True, False], axis=0), DtypeError, "they must be integers"),
    (lambda: hp.take(A, [0], axis=3), IndexingError, "axis=3 is outside"),
    (lambda: hp.take_along_axis(A, [0], axis=0), ShapeError, "they need as many axes"),
    (lambda: hp.take_along_axis(A, np.zeros((3, 2, 3), int), axis=1), ShapeError, "must broadcast along the other axes"),
    (lambda: hp.take_along_axis(A, np.full((4, 1, 3), 5), axis=1), IndexingError, "outside an axis of length 5"),
    (lambda: hp.gather(A, np.zeros((5, 1, 1), int), axis=1), ShapeError, "must fit into x"),
    (lambda: hp.gather(A, np.full((1, 1, 1), -1), axis=1), IndexingError, "use 0 to 4"),
    (lambda: hp.scatter_add(V, [0, 6], V), IndexingError, "outside an axis of length 6"),
    (lambda: hp.scatter_add(V, ROWS, V[:3]), ShapeError, "must fit into the values"),
    (lambda: hp.scatter_reduce(V, ROWS, V, "maximum"), InputError, "reduce='maximum' is not known; did you mean"),
    (lambda: hp.index_add(A, [0], A), ShapeError, r"the index selects \(1, 5, 3\); they must broadcast"),
    (lambda: hp.index_copy(A, [[0]], A), ShapeError, "must be one axis"),
    (lambda: hp.index_fill(np.ones(3, int), [0], 0.5), DtypeError, "values are float32, x is int64"),
    (lambda: hp.masked_fill(np.ones(3), [True, False, True], 1j), DtypeError, "values are complex128, x is float64"),
    (lambda: hp.masked_fill(V, V, 0.0), DtypeError, "must be bool"),
    (lambda: hp.masked_select(V, ROWS), DtypeError, "must be bool"),
    (lambda: hp.masked_scatter(V, V == V, V[:2]), ShapeError, "selects 6 elements, but values hold 2"),
    (lambda: hp.one_hot([3], 3), IndexingError, "outside an axis of length 3"),
    (lambda: hp.one_hot([-1], 3), IndexingError, "use 0 to 2"),
    (lambda: hp.narrow(V, 0, 4, 3), ShapeError, "axis 0 of x has length 6"),
    (lambda: hp.segment_sum(A, ROWS, 4), ShapeError, "one of 4 elements of axis 0 each"),
    (lambda: hp.segment_sum(V, ROWS, 3), IndexingError, r"segment_sum\(values, segments, count=3\): indices reach from 0 to 3"),
    (lambda: hp.segment_max(V + 0j, ROWS, 4), DtypeError, "complex numbers have no order"),
    (lambda: hp.vmap(lambda i: hp.segment_prod(V, i, 4))(np.stack([ROWS, ROWS])), InputError, "loop over the examples"),
    (lambda: hp.select_scatter(A, A[0], 0, 4), ShapeError, "the index does not fit"),
    (lambda: hp.slice_scatter(A, A[:3], 0, 1, 2), ShapeError, "they must broadcast"),
    (lambda: hp.diagonal_scatter(A, 0.0, 0, 1, 1), ShapeError, "they must differ"),
    (lambda: At(hp.asarray(V))[[0, 1]].set(V), ShapeError, "they must broadcast"),
    (lambda: At(hp.asarray(V))[7].set(1.0), IndexError, "does not fit|out of bounds"),
    (lambda: At(hp.asarray(V))[[7]].set(1.0), IndexError, "out of bounds|outside"),
    (lambda: At(hp.asarray(ROWS))[0].set(0.5), DtypeError, "values are float32, x is int64"),
    (lambda: At(hp.asarray(ROWS))[0].divide(2), DtypeError, "holds no quotients"),
    (lambda: At(hp.asarray(V + 0j))[0].max(2.0), DtypeError, "complex numbers have no order"),
    (lambda: At(hp.asarray(V))["a"].set(1.0), InputError, "is no index"),
])
def test_wrong_input_is_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
