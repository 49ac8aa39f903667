"""Splitting, joining, repeating, turning, rolling and windows: NumPy and PyTorch as oracles, laws, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from hyperion.testing import dot_test

rng = np.random.default_rng(10)
A = rng.standard_normal((2, 3, 4))
M = rng.standard_normal((3, 5))
V = rng.standard_normal(6)


def same(result: Any, expected: Any) -> None:
    found = result if isinstance(result, tuple | list) else [result]
    wanted = expected if isinstance(result, tuple | list) else [expected]
    assert len(found) == len(wanted)
    for x, y in zip(found, wanted, strict=True):
        assert x.shape == np.shape(y)
        assert x.dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x.detach().numpy(), y)


@pytest.mark.parametrize(("ours", "theirs", "arrays"), [
    (lambda x: hp.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), (A,)),
    (lambda x: hp.moveaxis(x, (0, 2), (1, 0)), lambda x: np.moveaxis(x, (0, 2), (1, 0)), (A,)),
    (lambda x: hp.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), (A,)),
    (lambda x: hp.roll(x, 2), lambda x: np.roll(x, 2), (A,)),
    (lambda x: hp.roll(x, -5, 1), lambda x: np.roll(x, -5, 1), (A,)),
    (lambda x: hp.roll(x, (1, 2), (0, -1)), lambda x: np.roll(x, (1, 2), (0, -1)), (A,)),
    (lambda x: hp.roll(x, 1, (0, 1)), lambda x: np.roll(x, 1, (0, 1)), (A,)),
    (lambda x: hp.roll(x, (1, 1), 2), lambda x: np.roll(x, (1, 1), 2), (A,)),
    *[(lambda x, k=k: hp.rot90(x, k, (2, 0)), lambda x, k=k: np.rot90(x, k, (2, 0)), (A,)) for k in range(-1, 5)],
    (hp.flipud, np.flipud, (A,)), (hp.fliplr, np.fliplr, (A,)), (hp.ravel, np.ravel, (A,)),
    (lambda x: hp.flatten_axes(x, 1), lambda x: x.reshape(2, 12), (A,)),
    (lambda x: hp.flatten_axes(x, 0, -2), lambda x: x.reshape(6, 4), (A,)),
    (hp.flatten_axes, lambda x: x.reshape(1), (np.array(2.0),)),
    (lambda x: hp.unflatten_axis(x, -1, (2, -1)), lambda x: x.reshape(2, 3, 2, 2), (A,)),
    *[(lambda x, n=n: getattr(hp, n)(x), lambda x, n=n: getattr(np, n)(x), (x,))
      for n in ("atleast_1d", "atleast_2d", "atleast_3d") for x in (np.array(2.0), V, M, A)],
    (lambda *xs: hp.broadcast_arrays(*xs), lambda *xs: np.broadcast_arrays(*xs), (A, A[0, :, :1], np.array(1.0))),
    *[(lambda *xs, i=i, n=n: hp.meshgrid(*xs[:n], indexing=i), lambda *xs, i=i, n=n: np.meshgrid(*xs[:n], indexing=i), (V, V[:2], V[:3]))
      for i in ("xy", "ij") for n in (1, 2, 3)],
    (lambda x: hp.unstack(x, axis=1), lambda x: tuple(np.moveaxis(x, 1, 0)), (A,)),
    (lambda x: hp.split(x, 2, axis=2), lambda x: np.split(x, 2, axis=2), (A,)),
    (lambda x: hp.split(x, (1, 4)), lambda x: np.split(x, (1, 4)), (V,)),
    (lambda x: hp.array_split(x, 4), lambda x: np.array_split(x, 4), (V,)),
    (lambda x: hp.tensor_split(x, [1, 9, 2], axis=1), lambda x: np.array_split(x, [1, 9, 2], axis=1), (M,)),
    (lambda x: hp.hsplit(x, 3), lambda x: np.hsplit(x, 3), (A,)), (lambda x: hp.hsplit(x, 3), lambda x: np.hsplit(x, 3), (V,)),
    (lambda x: hp.vsplit(x, 2), lambda x: np.vsplit(x, 2), (A,)), (lambda x: hp.dsplit(x, [1]), lambda x: np.dsplit(x, [1]), (A,)),
    *[(lambda *xs, n=n: getattr(hp, n)(xs), lambda *xs, n=n: getattr(np, n)(xs), (x, 2 * x))
      for n in ("hstack", "vstack", "dstack", "column_stack") for x in (M, V)],
    (lambda *xs: hp.concat(xs, axis=None), lambda *xs: np.concatenate(xs, axis=None), (A, V)),
    (lambda x: hp.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), (A,)),
    *[(lambda x, c=c: hp.tile(x, c), lambda x, c=c: np.tile(x, c), (M,)) for c in (2, (2, 1), (1, 2, 3), (0, 2), ())],
    *[(lambda x, r=r, a=a: hp.repeat(x, r, axis=a), lambda x, r=r, a=a: np.repeat(x, r, axis=a), (M,))
      for r, a in ((2, None), (3, 1), (0, 0), ([1, 0, 2], 0), ([2], 1))],
    *[(lambda x, k=k: hp.tril(x, k), lambda x, k=k: np.tril(x, k), (A,)) for k in (-2, 0, 1)],
    *[(lambda x, k=k: hp.triu(x, k), lambda x, k=k: np.triu(x, k), (A,)) for k in (-2, 0, 1)],
    (lambda x: hp.sliding_window_view(x, (2, 3)), lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 3)), (M,)),
    (lambda x: hp.sliding_window_view(x, 2, axis=1, step=2),
     lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1)[:, ::2], (A,)),
    (lambda x: hp.chunk(x, 4), lambda x: [x[:2], x[2:4], x[4:]], (V,)),
    (lambda x: hp.combinations(x, 2), lambda x: np.array([[x[i], x[j]] for i in range(6) for j in range(i + 1, 6)]), (V,)),
    (lambda x: hp.combinations(x, 0), lambda x: np.zeros((1, 0)), (V,)),
    (lambda x, y: hp.cartesian_prod(x, y), lambda x, y: np.array([[a, b] for a in x for b in y]), (V, V[:2])),
])
def test_values_equal_numpy_and_the_gradient_is_the_transpose(ours: Any, theirs: Any, arrays: Any) -> None:
    same(ours(*arrays), theirs(*arrays))
    integers = [np.round(10 * x).astype(np.int32) for x in arrays]
    result = ours(*integers)
    assert all(x.dtype == np.int32 for x in (result if isinstance(result, tuple | list) else [result]))
    if sum(np.size(part) for part in theirs(*arrays)):
        dot_test(ours, arrays, tolerance=1e-12)


def test_indices_of_triangles_and_shapes() -> None:
    for arguments in ((3,), (3, -1), (4, 1, 2), (3, 0, 4)):
        same(hp.tril_indices(*arguments), np.tril_indices(*arguments))
        same(hp.triu_indices(*arguments), np.triu_indices(*arguments))
    assert hp.broadcast_shapes((2, 1), 3, (1, 1, 1)) == (1, 2, 3) and hp.broadcast_shapes() == ()


def test_windows_fold_back() -> None:
    """The transpose of windows adds each element as often as windows hold it."""
    counts = hp.grad(lambda x: hp.sum(hp.sliding_window_view(x, 3, step=2)))(np.zeros(8))
    same(counts, np.array([1.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 0.0]))


def test_masks_of_triangles_pass_no_infinity() -> None:
    x = np.array([[1.0, np.inf], [2.0, 3.0]])
    same(hp.tril(x), np.array([[1.0, 0.0], [2.0, 3.0]]))
    same(hp.grad(lambda x: hp.sum(hp.tril(x) ** 2))(x), np.array([[2.0, 0.0], [4.0, 6.0]]))


def test_batches_equal_loops() -> None:
    for function in (lambda x: hp.roll(x, 1), lambda x: hp.tile(x, (2, 1)), lambda x: hp.repeat(x, [1, 0, 2], axis=0), hp.tril, hp.rot90,
                     lambda x: hp.sliding_window_view(x, (2, 2), step=(1, 2)), lambda x: hp.split(x, 3)[1], lambda x: hp.chunk(x, 2, 1)[1],
                     lambda x: hp.meshgrid(x[0], x[1])[0], lambda x: hp.vstack([x, x[0]]), lambda x: hp.moveaxis(x, 0, 1)):
        same(hp.vmap(function)(A), np.stack([function(hp.asarray(x)).numpy() for x in A]))
        mapped = hp.grad(lambda x, f=function: hp.sum(hp.vmap(f)(x) ** 2))(A)
        same(mapped, np.stack([hp.grad(lambda x, f=function: hp.sum(f(x) ** 2))(x).numpy() for x in A]))


def test_reshape_without_a_copy() -> None:
    x = hp.asarray(A)
    assert hp.reshape(x, (6, 4), copy=False).data.base is not None
    assert hp.reshape(x, (6, 4), copy=True).shape == (6, 4)
    with pytest.raises(InputError, match="do not lie in this order in memory"):
        hp.reshape(hp.swapaxes(x, 0, 2), (-1,), copy=False)


def test_astype_of_the_standard() -> None:
    assert hp.astype(A, "float32", copy=False, device="cpu").dtype == np.float32
    with pytest.raises(DtypeError, match="drops the imaginary part"):
        hp.astype(A + 1j, "float64")


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.moveaxis(A, 3, 0), IndexingError, "axis=3 is outside"),
    (lambda: hp.moveaxis(A, (0, 1), 0), InputError, "must name as many axes"),
    (lambda: hp.moveaxis(A, (0, 0), (0, 1)), ShapeError, "names an axis twice"),
    (lambda: hp.moveaxis(A, 0.5, 1), InputError, "must be one or several integers"),
    (lambda: hp.swapaxes(A, 0, 3), IndexingError, "axis=3 is outside"),
    (lambda: hp.roll(A, (1, 2, 3), (0, 1)), InputError, "must be as many"),
    (lambda: hp.roll(A, 0.5), InputError, "must be one or several integers"),
    (lambda: hp.rot90(A, 1, (0,)), InputError, "must be two"),
    (lambda: hp.rot90(A, 1, (0, -3)), ShapeError, "names an axis twice"),
    (lambda: hp.fliplr(V), IndexingError, "axis=1 is outside"),
    (lambda: hp.flatten_axes(A, 2, 1), ShapeError, "stop must not come before start"),
    (lambda: hp.unflatten_axis(A, 2, (3, -1)), ShapeError, "axis 2 has length 4"),
    (lambda: hp.unflatten_axis(A, 2, ()), ShapeError, "does not hold as many"),
    (lambda: hp.broadcast_shapes((2,), (3,)), ShapeError, r"\(2,\), \(3,\) do not combine"),
    (lambda: hp.broadcast_arrays(A, V), ShapeError, "do not combine"),
    (lambda: hp.meshgrid(V, indexing="yx"), InputError, 'must be "xy" or "ij"'),
    (lambda: hp.meshgrid(A), ShapeError, "each must have one axis"),
    (lambda: hp.unstack(np.array(1.0)), IndexingError, "it has none"),
    (lambda: hp.split(V, 4), ShapeError, "has no 4 equal parts; use array_split"),
    (lambda: hp.split(V, 0), InputError, "sections=0 must be 1 or more"),
    (lambda: hp.chunk(V, 0), InputError, "count=0 must be 1 or more"),
    (lambda: hp.vsplit(V, 2), ShapeError, "needs at least 2 axes"),
    (lambda: hp.dsplit(M, 2), ShapeError, "needs at least 3 axes"),
    (lambda: hp.hstack([]), InputError, "the list is empty"),
    (lambda: hp.vstack([M, V]), ShapeError, "may differ only along that axis"),
    (lambda: hp.cartesian_prod(), InputError, "give at least one"),
    (lambda: hp.combinations(M), ShapeError, "must have one axis"),
    (lambda: hp.tile(V, -1), InputError, "must not be negative"),
    (lambda: hp.tile(V, 1.5), InputError, "must be one or several integers"),
    (lambda: hp.repeat(V, [1, 2]), ShapeError, "one for each of 6"),
    (lambda: hp.repeat(V, -1), InputError, "must be integers, 0 or more"),
    (lambda: hp.repeat(V, 0.5), InputError, "must be integers, 0 or more"),
    (lambda: hp.tril(V), ShapeError, "needs at least 2 axes"),
    (lambda: hp.triu(V), ShapeError, "needs at least 2 axes"),
    (lambda: hp.sliding_window_view(V, 7), ShapeError, "size=7 exceeds"),
    (lambda: hp.sliding_window_view(V, 0), InputError, "must be 1 or more"),
    (lambda: hp.sliding_window_view(M, 2), InputError, "one number for each of the axes"),
    (lambda: hp.expand_dims(M, (0, 0)), ShapeError, "names an axis twice"),
])
def test_wrong_input_is_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
