"""Sorting, searching and sets. Indices have no derivative; values have that of the elements they were taken from."""

import math
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import by_axes, expand
from hyperion.autograd.dtypes import result_dtype
from hyperion.autograd.ops.arithmetic import maximum, minimum
from hyperion.autograd.ops.comparison import isfinite, logical_not
from hyperion.autograd.ops.comparison import where as choose
from hyperion.autograd.ops.gathering import as_indices, segment_sum, take, take_along_axis
from hyperion.autograd.ops.reductions import any as any_of
from hyperion.autograd.ops.reductions import as_floating, constant, max, min, ordered, sum
from hyperion.autograd.ops.shaping import astype, concat, normalize_axis, permute_dims, reshape, squeeze, stack
from hyperion.autograd.table import PRIMITIVES, Primitive, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device

__all__ = [
    "Consecutive", "Counts", "Found", "Histogram", "Inverse", "Unique", "argsort", "argwhere", "bincount", "bucketize", "digitize",
    "histc", "histogram", "isin", "kthvalue", "msort", "nonzero", "searchsorted", "sort", "topk", "unique_all", "unique_consecutive",
    "unique_counts", "unique_inverse", "unique_values",
]


class Found(NamedTuple):
    """What `topk`, `kthvalue` and `mode` return: elements, and where along the axis they are."""

    values: Tensor
    indices: Tensor


class Unique(NamedTuple):
    """What `unique_all` returns: distinct values, where each is met first, which one each element is (in the shape of x), their counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class Inverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


class Counts(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class Consecutive(NamedTuple):
    """What `unique_consecutive` returns: values of the runs, which run each element belongs to, and the lengths of the runs."""

    values: Tensor
    inverse_indices: Tensor
    counts: Tensor


class Histogram(NamedTuple):
    """What `histogram` returns: counts or densities of the bins, and their edges, one more."""

    counts: Tensor
    edges: Tensor


# Primitives

def _argsort_forward(xp: Any, x: Any, axis: int, descending: bool) -> Any:
    """Sort stably: descending order is that of the reversed array, read backwards, so that equal elements keep their order."""
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable").astype(np.int64, copy=False)
    return x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)


def _sort_forward(xp: Any, x: Any, axis: int, descending: bool) -> Any:
    out = xp.sort(x, axis=axis)
    return xp.flip(out, axis) if descending else out


def _sort_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int, descending: bool) -> tuple[Tensor]:
    return (_add_along(g, _argsort(x, axis=axis, descending=descending), axis=axis, length=x.shape[axis]),)


def _sort_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: int, descending: bool) -> Tensor:
    return _take_along(tangents[0], _argsort(x, axis=axis, descending=descending), axis=axis)


def _top_forward(xp: Any, x: Any, axis: int, k: int, largest: bool) -> Any:
    """Return the indices of the k largest or smallest elements, best first: of equal ones the first. NaN counts as the largest."""
    n = x.shape[axis]
    if not k or 4 * k >= n:
        return _argsort_forward(xp, x, axis, largest).take(xp.arange(k), axis=axis)
    some = xp.argpartition(x, n - k if largest else k - 1, axis=axis).take(xp.arange(n - k, n) if largest else xp.arange(k), axis=axis)
    some = xp.sort(some, axis=axis)
    order = _argsort_forward(xp, xp.take_along_axis(x, some, axis), axis, largest)
    return xp.take_along_axis(some, order, axis).astype(np.int64, copy=False)


def _batched_search(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Search the values of all examples at once where the sorted array is common; otherwise one example after another."""
    edges, values = inputs
    if not batched[0]:
        return op(edges, values, **params)
    edges, values = expand(batched, inputs)
    return stack([op(edges[i], values[i], **params) for i in range(edges.shape[0])])


def _batched_isin(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    if not batched[1]:
        return op(*inputs, **params)
    x, values = expand(batched, inputs)
    return stack([op(x[i], values[i], **params) for i in range(x.shape[0])])


_add_along, _take_along = PRIMITIVES["add_along_axis"], PRIMITIVES["take_along_axis"]
_argsort = general("argsort", _argsort_forward, differentiable=False, batch=by_axes("axis"))
_sort = general("sort", _sort_forward, _sort_vjp, _sort_jvp, batch=by_axes("axis"))
_top = general("top_indices", _top_forward, differentiable=False, batch=by_axes("axis"))
_search = general(
    "searchsorted", lambda xp, edges, values, side: xp.searchsorted(edges, values, side=side).astype(np.int64, copy=False),
    differentiable=False, promotes=True, batch=_batched_search,
)
_isin = general(
    "isin", lambda xp, x, values, invert: xp.isin(x, values, invert=invert), differentiable=False, promotes=True, batch=_batched_isin
)


# Sorting

def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return x with its elements in ascending or descending order along an axis; NaN counts as the largest.

    stable: accepted for the standard's sake; the order of equal elements, and so the derivative, is stable always.
    Raises: ShapeError if the axis is outside x; DtypeError for complex x.

    >>> sort([3.0, 1.0, 2.0])
    Tensor (3,) float32, cpu: [1. 2. 3.]
    """
    x = ordered(x, "sort")
    return _sort(x, axis=normalize_axis(axis, x.ndim, "sort"), descending=bool(descending))


def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the indices that sort x along an axis, int64; equal elements keep their order. Arguments as of `sort`.

    >>> argsort([3.0, 1.0, 2.0])
    Tensor (3,) int64, cpu: [1 2 0]
    """
    x = ordered(x, "argsort")
    return _argsort(x, axis=normalize_axis(axis, x.ndim, "argsort"), descending=bool(descending))


def msort(x: Any) -> Tensor:
    """Return x sorted along its first axis.

    >>> msort([3.0, 1.0, 2.0])
    Tensor (3,) float32, cpu: [1. 2. 3.]
    """
    return sort(x, axis=0)


def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> Found:
    """Return the k largest or smallest elements along an axis, best first, and their indices; NaN counts as the largest.

    Raises: InputError unless k is between 0 and the length of the axis; DtypeError for complex x.

    >>> topk([3.0, 1.0, 2.0], 2)
    Found(values=Tensor (2,) float32, cpu: [3. 2.], indices=Tensor (2,) int64, cpu: [0 2])
    """
    x = ordered(x, "topk")
    if not x.ndim:
        found = topk(reshape(x, (1,)), k, 0, largest)
        return Found(reshape(found.values, ()), reshape(found.indices, ())) if k == 1 else found
    place = normalize_axis(axis, x.ndim, "topk")
    if not 0 <= k <= x.shape[place]:
        raise InputError(f"topk(x, k): k={k} must be between 0 and {x.shape[place]}, the length of axis {axis}")
    indices = _top(x, axis=place, k=int(k), largest=bool(largest))
    return Found(_take_along(x, indices, axis=place), indices)


def kthvalue(x: Any, k: int, axis: int = -1, keepdims: bool = False) -> Found:
    """Return the k-th smallest element along an axis, counted from 1, and its index.

    Raises: InputError unless k is between 1 and the length of the axis; DtypeError for complex x.

    >>> kthvalue([3.0, 1.0, 2.0], 2)
    Found(values=Tensor () float32, cpu: 2., indices=Tensor () int64, cpu: 2)
    """
    x = ordered(x, "kthvalue")
    if not x.ndim:
        found = kthvalue(reshape(x, (1,)), k, 0)
        return Found(reshape(found.values, ()), reshape(found.indices, ()))
    place = normalize_axis(axis, x.ndim, "kthvalue")
    if not 1 <= k <= x.shape[place]:
        raise InputError(f"kthvalue(x, k): k={k} must be between 1 and {x.shape[place]}, the length of axis {axis}")
    indices = _argsort(x, axis=place, descending=False)[(*(slice(None),) * place, slice(k - 1, k))]
    values = _take_along(x, indices, axis=place)
    return Found(values, indices) if keepdims else Found(squeeze(values, place), squeeze(indices, place))


# Searching

def searchsorted(x1: Any, x2: Any, side: str = "left", sorter: Any = None) -> Tensor:
    """Return where values would have to be inserted into a sorted array to keep it sorted, int64.

    x1: one axis, ascending; or in any order with `sorter`, the indices that sort it. Leading axes, if x1 has them, are those of x2 too.
    x2: values.  side: "left": before equal elements; "right": after them.
    Raises: InputError for another side; ShapeError if the axes do not fit; DtypeError for complex arrays.

    >>> searchsorted([1.0, 2.0, 3.0], [2.0, 5.0])
    Tensor (2,) int64, cpu: [1 3]
    """
    edges = ordered(x1, "searchsorted")
    values = ordered(constant(x2, edges), "searchsorted")
    if side not in ("left", "right"):
        raise InputError(f'searchsorted: side={side!r} must be "left" or "right"')
    if not edges.ndim or (edges.ndim > 1 and edges.shape[:-1] != values.shape[:-1]):
        raise ShapeError(
            f"searchsorted(x1, x2): x1 has shape {edges.shape}, x2 {values.shape}; x1 must have one axis, or all axes but the last as x2"
        )
    if sorter is not None:
        edges = take_along_axis(edges, sorter, -1)
    if edges.ndim == 1:
        return _search(edges, values, side=side)
    count = math.prod(edges.shape[:-1])
    if not values.size:
        return astype(values, np.int64)
    edges, rows = reshape(edges, (count, edges.shape[-1])), reshape(values, (count, values.shape[-1]))
    return reshape(stack([_search(edges[i], rows[i], side=side) for i in range(count)]), values.shape)


def bucketize(x: Any, edges: Any, right: bool = False) -> Tensor:
    """Return into which interval between ascending edges each element falls, int64: 0 below the first, len(edges) above the last.

    right: False: an element equal to an edge falls below it; True: above it.

    >>> bucketize([0.5, 1.0, 5.0], [1.0, 2.0])
    Tensor (3,) int64, cpu: [0 0 2]
    """
    return searchsorted(edges, x, "right" if right else "left")


def digitize(x: Any, edges: Any, right: bool = False) -> Tensor:
    """Return into which interval between ascending edges each element falls, as NumPy has it: `right` is the opposite of `bucketize`'s.

    >>> digitize([0.5, 1.0, 5.0], [1.0, 2.0])
    Tensor (3,) int64, cpu: [0 1 2]
    """
    return searchsorted(edges, x, "left" if right else "right")


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """Return the indices of the elements that are not zero, one int64 array per axis. The length depends on values, so not under vmap.

    Raises: ShapeError if x has no axis.

    >>> nonzero([[0.0, 1.0], [2.0, 0.0]])
    (Tensor (2,) int64, cpu: [0 1], Tensor (2,) int64, cpu: [1 0])
    """
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError("nonzero(x): x has shape (); it needs at least one axis: use x != 0")
    xp = device.namespace_of(x.device)
    return tuple([Tensor(part.astype(np.int64, copy=False)) for part in xp.nonzero(_raw(x, "nonzero"))])


def argwhere(x: Any) -> Tensor:
    """Return the indices of the elements that are not zero, one element per row; as `nonzero`.

    >>> argwhere([[0.0, 1.0], [2.0, 0.0]]).numpy()
    array([[0, 1],
           [1, 0]])
    """
    x = as_tensor(x)
    if not x.ndim:
        return Tensor(device.namespace_of(x.device).zeros((int(bool(x)), 0), dtype=np.int64))
    return stack(nonzero(x), axis=1)


def _raw(x: Tensor, name: str) -> Any:
    """Return the array of a Tensor, for an operation whose result's shape depends on values."""
    if not device.is_array(x.data):
        raise InputError(f"vmap: the shape of {name}(x) depends on the values of x, which differ from example to example; use where(...)")
    return x.data


def isin(x1: Any, x2: Any, invert: bool = False) -> Tensor:
    """Return for each element of x1 whether it is one of the elements of x2 (or with `invert` whether it is none).

    >>> isin([1, 2, 3], [3, 1])
    Tensor (3,) bool, cpu: [ True False  True]
    """
    values = constant(x2, as_tensor(x1))
    return _isin(constant(x1, values), values, invert=bool(invert))


# Sets

def unique_all(x: Any) -> Unique:
    """Return the distinct elements of x in ascending order, where each is met first, which one each element is, and how often each occurs.

    Every NaN is distinct from the others. Shapes depend on values, so not under vmap.
    Derivatives of the values are those of the elements at the indices.

    >>> unique_all([3.0, 1.0, 3.0]).counts
    Tensor (2,) int64, cpu: [1 2]
    """
    x = as_tensor(x)
    flat = reshape(x, (x.size,))
    xp = device.namespace_of(x.device)
    raw = _raw(flat, "unique_all")
    order = xp.argsort(raw, kind="stable").astype(np.int64, copy=False)
    in_order = raw[order]
    starts = xp.ones(x.size, dtype=bool)
    starts[1:] = in_order[1:] != in_order[:-1]
    run = xp.cumsum(starts) - 1
    inverse = xp.zeros(x.size, dtype=np.int64)
    inverse[order] = run
    first = order[starts]
    counts = xp.bincount(run, minlength=first.size).astype(np.int64, copy=False)
    return Unique(take(flat, Tensor(first), axis=0), Tensor(first), Tensor(inverse.reshape(x.shape)), Tensor(counts))


def unique_values(x: Any) -> Tensor:
    """Return the distinct elements of x in ascending order; as `unique_all`.

    >>> unique_values([3.0, 1.0, 3.0])
    Tensor (2,) float32, cpu: [1. 3.]
    """
    return unique_all(x).values


def unique_counts(x: Any) -> Counts:
    """Return the distinct elements of x in ascending order, and how often each occurs; as `unique_all`.

    >>> unique_counts([3.0, 1.0, 3.0])
    Counts(values=Tensor (2,) float32, cpu: [1. 3.], counts=Tensor (2,) int64, cpu: [1 2])
    """
    found = unique_all(x)
    return Counts(found.values, found.counts)


def unique_inverse(x: Any) -> Inverse:
    """Return the distinct elements of x in ascending order, and which one each element is; as `unique_all`.

    >>> unique_inverse([3.0, 1.0, 3.0])
    Inverse(values=Tensor (2,) float32, cpu: [1. 3.], inverse_indices=Tensor (3,) int64, cpu: [1 0 1])
    """
    found = unique_all(x)
    return Inverse(found.values, found.inverse_indices)


def unique_consecutive(x: Any) -> Consecutive:
    """Return the values of the runs of equal elements of the flattened x, which run each element belongs to, and their lengths.

    >>> unique_consecutive([1.0, 1.0, 2.0, 1.0]).counts
    Tensor (3,) int64, cpu: [2 1 1]
    """
    x = as_tensor(x)
    flat = reshape(x, (x.size,))
    xp = device.namespace_of(x.device)
    raw = _raw(flat, "unique_consecutive")
    starts = xp.ones(x.size, dtype=bool)
    starts[1:] = raw[1:] != raw[:-1]
    run = xp.cumsum(starts) - 1
    first = xp.nonzero(starts)[0].astype(np.int64, copy=False)
    counts = xp.bincount(run, minlength=first.size).astype(np.int64, copy=False)
    return Consecutive(take(flat, Tensor(first), axis=0), Tensor(run.reshape(x.shape)), Tensor(counts))


# Counting

def bincount(x: Any, weights: Any = None, minlength: int = 0, length: int | None = None) -> Tensor:
    """Return how often each of the numbers 0, 1, ... occurs, or the sum of the weights of its occurrences.

    x: integers from 0, one axis.  weights: one per element.
    minlength: least length of the result, which reaches to the largest of x.  length: its length, whatever the values: needed under vmap.
    Raises: IndexingError for a negative number, or one beyond `length`; DtypeError if x is not integer; ShapeError if weights do not match.

    >>> bincount([0, 2, 2])
    Tensor (3,) int64, cpu: [1 0 2]
    """
    x = as_tensor(x)
    if x.dtype.kind not in "iu" and x.size:
        raise DtypeError(f"bincount(x): x is {x.dtype}; it must be integers from 0")
    if x.ndim != 1:
        raise ShapeError(f"bincount(x): x has shape {x.shape}; it must have one axis")
    if length is None:
        top = int(_raw(x, "bincount").max()) + 1 if x.size else 0
        length = top if top > minlength else minlength
    if weights is not None and as_tensor(weights).shape != x.shape:
        raise ShapeError(f"bincount(x, weights): x has shape {x.shape}, weights {as_tensor(weights).shape}; they must agree")
    ones = Tensor(device.namespace_of(x.device).ones(x.shape, dtype=np.int64))
    return segment_sum(ones if weights is None else weights, as_indices(x, length, x.device, "bincount(x)", negative=False), length)


def histogram(x: Any, bins: Any = 10, range: Any = None, weights: Any = None, density: bool = False) -> Histogram:
    """Return how many elements of x fall into each of several bins, and the edges of the bins.

    bins: the number of bins of equal width, or the ascending edges themselves.  Each bin includes its lower edge, the last one both.
    range: (lowest, highest) edge for a number of bins; default: from the smallest to the largest element.
    weights: of the elements, shape of x: sums of weights instead of counts, differentiable in the weights.
    density: divide by the total and by the widths, so that the integral is 1.
    Raises: InputError if bins or range are wrong; DtypeError for complex x.

    >>> histogram([1.0, 2.0, 2.5, 9.0], bins=2, range=(1, 3))
    Histogram(counts=Tensor (2,) int64, cpu: [1 2], edges=Tensor (3,) float32, cpu: [1. 2. 3.])
    """
    x = ordered(x, "histogram")
    edges = _edges(x, bins, range)
    flat = reshape(x, (x.size,))
    count = edges.shape[0] - 1
    dtype = result_dtype((flat.dtype, edges.dtype))
    flat, edges = astype(flat, dtype), astype(edges, dtype)
    place = _search(edges, flat, side="right") - 1
    place = place - astype(flat == edges[-1], np.int64)              # the last bin includes its upper edge
    inside = (flat >= edges[0]) & (flat <= edges[-1])
    place = choose(inside, maximum(minimum(place, count - 1), 0), count)
    ones = Tensor(device.namespace_of(x.device).ones(x.size, dtype=np.int64))
    values = ones if weights is None else reshape(as_tensor(weights), (x.size,))
    counts = segment_sum(values, place, count + 1)[:count]
    if density:
        counts = counts / (sum(counts) * (edges[1:] - edges[:-1]))
    return Histogram(counts, edges)


def _edges(x: Tensor, bins: Any, limits: Any) -> Tensor:
    """Return the edges of bins, in a floating dtype."""
    if not isinstance(bins, int):
        edges = as_tensor(bins)
        if edges.ndim != 1 or edges.shape[0] < 2 or bool(any_of(edges[1:] < edges[:-1])):
            raise InputError(f"histogram(x, bins): bins of shape {edges.shape} must be at least two edges in ascending order, or a number")
        return edges.to(x.device)
    if bins < 1:
        raise InputError(f"histogram(x, bins): bins={bins} must be 1 or more")
    if limits is None:
        low, high = (as_floating(min(x)), as_floating(max(x))) if x.size else (constant(0.0, x), constant(1.0, x))
        if bool(logical_not(isfinite(high - low))):
            raise InputError("histogram(x): x has elements that are NaN or infinite; give range=(lowest, highest)")
    else:
        low, high = (constant(float(edge), x) for edge in limits)
        if not bool(low <= high) or not bool(isfinite(high - low)):
            raise InputError(f"histogram(x, range={limits}): it must be (lowest, highest), finite")
    low, high = low.detach(), high.detach()
    same = low == high
    low, high = choose(same, low - 0.5, low), choose(same, high + 0.5, high)
    steps = astype(Tensor(device.namespace_of(x.device).arange(bins)), low.dtype)
    return concat([low + (high - low) * (steps / bins), reshape(high, (1,))])


def histc(x: Any, bins: int = 100, min: float = 0.0, max: float = 0.0) -> Tensor:
    """Return how many elements of x fall into bins of equal width between two limits, in the dtype of x; equal limits: those of x.

    >>> histc([1.0, 2.0, 1.0], bins=3, min=0.0, max=3.0)
    Tensor (3,) float32, cpu: [0. 2. 1.]
    """
    x = as_floating(x)
    return astype(histogram(x, bins, range=None if min == max else (min, max)).counts, x.dtype)


def last_axis(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return x with some axes joined to one, the last."""
    rest = tuple([i for i in range(x.ndim) if i not in axes])
    moved = permute_dims(x, (*rest, *axes))
    return reshape(moved, (*moved.shape[:len(rest)], int(np.prod(moved.shape[len(rest):], dtype=int))))


