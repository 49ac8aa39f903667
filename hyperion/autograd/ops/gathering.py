"""Gathering elements by integer arrays, and combining elements that are sent to one place (segments).

Sums of rows go through a sparse matrix product, ten times faster on the CPU than `add.at`. Indices count from the end where they are
negative, and are checked: one outside raises IndexingError.
"""

import math
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, by_axes, expand
from hyperion.autograd.dtypes import is_floating, is_inexact
from hyperion.autograd.ops import adding
from hyperion.autograd.ops.arithmetic import divide, maximum
from hyperion.autograd.ops.comparison import equal, logical_and, logical_or, not_equal
from hyperion.autograd.ops.comparison import where as choose
from hyperion.autograd.ops.indexing import getitem, scatter
from hyperion.autograd.ops.manipulation import moveaxis
from hyperion.autograd.ops.reductions import accumulator, as_floating, as_mask, constant, ordered, prod
from hyperion.autograd.ops.shaping import astype, broadcast_to, concat, expand_dims, normalize_axis, reshape
from hyperion.autograd.table import Primitive, general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError, nearest
from hyperion.gpu import device

__all__ = [
    "diagonal_scatter", "embedding", "gather", "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "index_select",
    "masked_fill", "masked_scatter", "masked_select", "narrow", "one_hot", "put_along_axis", "scatter_add", "scatter_along_axis",
    "scatter_reduce", "segment_max", "segment_mean", "segment_min", "segment_prod", "segment_sum", "select_scatter", "slice_scatter",
    "take", "take_along_axis",
]


# Rules

def _take_rows_back(g: Tensor, x: Tensor, indices: Tensor) -> tuple[Tensor, None]:
    return _add_rows(g, indices, length=x.shape[0]), None


def _add_rows_back(g: Tensor, values: Tensor, indices: Tensor, length: int) -> tuple[Tensor, None]:
    return _take_rows(g, indices), None


def _take_along_back(g: Tensor, x: Tensor, indices: Tensor, axis: int) -> tuple[Tensor, None]:
    return _add_along(g, indices, axis=axis, length=x.shape[axis]), None


def _add_along_back(g: Tensor, values: Tensor, indices: Tensor, axis: int, length: int) -> tuple[Tensor, None]:
    return _take_along(g, indices, axis=axis), None


def _put_back(g: Tensor, x: Tensor, indices: Tensor, values: Tensor) -> tuple[Tensor, None, Tensor]:
    """x keeps what was not written; of equal indices only the last had an effect."""
    zeros = broadcast_to(constant(0, g), indices.shape)
    own = equal(_winners(indices, length=x.shape[0]), _count_up(indices.shape[0], indices))
    return _put(g, indices, zeros), None, choose(own, _take_rows(g, indices), 0.0)


def _count_up(n: int, like: Tensor) -> Tensor:
    return Tensor(device.namespace_of(like.device).arange(n))


def _shares(out: Tensor, values: Tensor, indices: Tensor, length: int) -> Tensor:
    """Return the weights by which values make the extreme of their segment: those that tie have equal shares."""
    best = _take_rows(out, indices)
    chosen = astype(logical_or(equal(values, best), logical_and(not_equal(values, values), not_equal(best, best))), values.dtype)
    return divide(chosen, _take_rows(_add_rows(chosen, indices, length=length), indices))


def _extreme_vjp(g: Tensor, out: Tensor, values: Tensor, indices: Tensor, length: int, largest: bool) -> tuple[Tensor, None]:
    return _take_rows(g, indices) * _shares(out, values, indices, length), None


def _extreme_jvp(tangents: list[Tensor], out: Tensor, values: Tensor, indices: Tensor, length: int, largest: bool) -> Tensor:
    return _add_rows(tangents[0] * _shares(out, values, indices, length), indices, length=length)


def _batched_take(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    x, indices = inputs
    if not batched[1]:
        return moveaxis(op(moveaxis(x, 0, 1), indices), indices.ndim, 0)
    if not batched[0]:
        return op(x, indices)
    count, length = x.shape[:2]
    return op(reshape(x, (count * length, *x.shape[2:])), _offset(indices, length))


def _offset(indices: Tensor, length: int) -> Tensor:
    """Return indices of a batch, an axis 0 of examples, as indices into the examples one after another."""
    return indices + reshape(_count_up(indices.shape[0], indices) * length, (-1, *(1,) * (indices.ndim - 1)))


def _batched_rows(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Work on a batch, for operations that send rows to segments."""
    values, indices = inputs
    if not batched[1]:
        return moveaxis(op(moveaxis(values, 0, indices.ndim), indices, **params), 1, 0)
    values, indices = expand(batched, inputs)
    count, length, rest = indices.shape[0], params["length"], values.shape[indices.ndim:]
    total = math.prod(indices.shape)
    where = reshape(_offset(indices, length), (total,))
    out = op(reshape(values, (total, *rest)), where, **{**params, "length": count * length})
    return reshape(out, (count, length, *rest))


def _batched_put(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    x, indices, values = expand(batched, inputs)
    where = reshape(_offset(indices, x.shape[1]), (math.prod(indices.shape),))
    return reshape(op(reshape(x, (x.size,)), where, reshape(values, where.shape)), x.shape)


def _batched_winners(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    (indices,), length = inputs, params["length"]
    count, each = indices.shape
    found = op(reshape(_offset(indices, length), (count * each,)), length=count * length)
    return reshape(found, (count, each)) - reshape(_count_up(count, indices) * each, (count, 1))


_checked = general("checked_indices", adding.in_range, differentiable=False, batch=by_axes())
_take_rows = linear("take_rows", lambda xp, x, indices: xp.take(x, indices, axis=0), _take_rows_back, batch=_batched_take)
_add_rows = linear("add_rows", adding.add_rows, _add_rows_back, batch=_batched_rows)
_take_along = linear(
    "take_along_axis", lambda xp, x, indices, axis: xp.take_along_axis(x, indices, axis), _take_along_back, batch=by_axes("axis")
)
_add_along = linear("add_along_axis", adding.add_along, _add_along_back, batch=by_axes("axis"))
_winners = general("last_of_equal_indices", adding.winners, differentiable=False, batch=_batched_winners)
_put = linear("put", adding.put, _put_back, batch=_batched_put)
_extreme = general("segment_extreme", adding.extreme, _extreme_vjp, _extreme_jvp, batch=_batched_rows)


# Arguments

def as_indices(indices: Any, length: int, place: str, name: str, negative: bool = True) -> Tensor:
    """Return integer indices into an axis as an int64 Tensor of numbers from 0 on a device, or refuse them."""
    given = as_tensor(indices)
    if not given.size and is_inexact(given.dtype):
        given = astype(given, np.int64)             # an empty list
    if given.dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices are {given.dtype}; they must be integers: use .astype('int64')")
    return _checked(given.to(place), length=length, negative=negative, name=name)


def _same_dtype(x: Tensor, values: Any, name: str) -> Tensor:
    """Return values in the dtype and on the device of x; refuse those that would lose their fraction or imaginary part."""
    given = constant(values, x)
    if not np.can_cast(given.dtype, x.dtype, "same_kind") and not (is_floating(given.dtype) and is_inexact(x.dtype)):
        raise DtypeError(f"{name}: values are {given.dtype}, x is {x.dtype}; convert one with .astype(...)")
    return astype(given, x.dtype).to(x.device)


def _spread_to(values: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """Return values broadcast to the shape of what an index selects, or refuse them."""
    extra = len(shape) - values.ndim
    if extra < 0 or any(n not in (1, m) for n, m in zip(values.shape, shape[extra:], strict=True)):
        raise ShapeError(f"{name}: values have shape {values.shape}, but the index selects {shape}; they must broadcast to it")
    return broadcast_to(values, shape)


def numbered(shape: tuple[int, ...], place: str) -> Tensor:
    """Return an array of a shape that numbers its elements."""
    return Tensor(device.namespace_of(place).arange(math.prod(shape)).reshape(shape))


# Gathering

def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Return the slices of x at integer indices along an axis; None is allowed for one axis only.

    indices: integers of any shape, which takes the place of the axis in the result.
    Raises: IndexingError if an index lies outside; InputError if the axis is missing; DtypeError if they are no integers.

    >>> take([[1.0, 2.0], [3.0, 4.0]], [1, 1, 0], axis=0).shape
    (3, 2)
    """
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise InputError(f"take(x, indices, axis=None): x has {x.ndim} axes; choose one with axis=")
    place = normalize_axis(0 if axis is None else axis, x.ndim, "take")
    where = as_indices(indices, x.shape[place], x.device, "take(x, indices)")
    out = _take_rows(moveaxis(x, place, 0), where)
    return moveaxis(out, tuple(range(where.ndim)), tuple(range(place, place + where.ndim))) if place else out


index_select = take


def embedding(indices: Any, weight: Any) -> Tensor:
    """Return rows of a table: shape (*indices.shape, *weight.shape[1:]). Its derivative adds up rows by a sparse product.

    weight: shape (rows, ...).
    Raises: IndexingError if an index lies outside; DtypeError if they are no integers.

    >>> embedding([1, 1], [[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    return take(weight, indices, axis=0)


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """Return out[..., i, ...] = x[..., indices[..., i, ...], ...] along an axis; the other axes of x and indices broadcast.

    Raises: IndexingError if an index lies outside; ShapeError if the shapes do not combine.

    >>> take_along_axis([[3.0, 1.0, 2.0]], [[1, 2, 0]])
    Tensor (1, 3) float32, cpu
    >>> take_along_axis([3.0, 1.0, 2.0], [1, 2, 0], axis=0)
    Tensor (3,) float32, cpu: [1. 2. 3.]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "take_along_axis")
    where = as_indices(indices, x.shape[place], x.device, "take_along_axis(x, indices)")
    if where.ndim != x.ndim:
        raise ShapeError(f"take_along_axis(x, indices): x has shape {x.shape}, indices {where.shape}; they need as many axes")
    try:
        joint = np.broadcast_shapes(_without(x.shape, place), _without(where.shape, place))
    except ValueError as error:
        raise ShapeError(
            f"take_along_axis(x, indices, axis={axis}): shapes {x.shape} and {where.shape} must broadcast along the other axes"
        ) from error
    x = broadcast_to(x, (*joint[:place], x.shape[place], *joint[place:]))
    return _take_along(x, broadcast_to(where, (*joint[:place], where.shape[place], *joint[place:])), axis=place)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1:])


def gather(x: Any, indices: Any, axis: int) -> Tensor:
    """Return elements of x along an axis as `take_along_axis`, without broadcasting: along the other axes indices may be shorter than x.

    Raises: IndexingError if an index lies outside; ShapeError if indices are longer than x along another axis.

    >>> gather([[1.0, 2.0], [3.0, 4.0]], [[1]], axis=1)
    Tensor (1, 1) float32, cpu
    """
    x = as_tensor(x)
    if not x.ndim:
        return reshape(gather(reshape(x, (1,)), reshape(indices, (1,)), axis), ())
    place = normalize_axis(axis, x.ndim, "gather")
    where = as_indices(indices, x.shape[place], x.device, "gather(x, indices)", negative=False)
    if where.ndim != x.ndim or any(m > n for i, (m, n) in enumerate(zip(where.shape, x.shape, strict=True)) if i != place):
        raise ShapeError(f"gather(x, indices, axis={axis}): indices {where.shape} must fit into x {x.shape} along all other axes")
    part = tuple([slice(None) if i == place else slice(0, m) for i, m in enumerate(where.shape)])
    return _take_along(x if _without(where.shape, place) == _without(x.shape, place) else getitem(x, part), where, axis=place)


def narrow(x: Any, axis: int, start: int, length: int) -> Tensor:
    """Return `length` elements of x along an axis from `start` (negative: from the end).

    Raises: ShapeError if x has not as many.

    >>> narrow([1.0, 2.0, 3.0], 0, 1, 2)
    Tensor (2,) float32, cpu: [2. 3.]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "narrow")
    first = start + x.shape[place] if start < 0 else start
    if first < 0 or length < 0 or first + length > x.shape[place]:
        raise ShapeError(f"narrow(x, {axis}, start={start}, length={length}): axis {axis} of x has length {x.shape[place]}")
    return getitem(x, (*(slice(None),) * place, slice(first, first + length)))


def masked_select(x: Any, mask: Any) -> Tensor:
    """Return the elements of x where a mask is True, as one axis; x and mask broadcast. The length depends on values, so not under vmap.

    Raises: DtypeError if the mask is not bool.

    >>> masked_select([1.0, 2.0, 3.0], [True, False, True])
    Tensor (2,) float32, cpu: [1. 3.]
    """
    x, where = as_tensor(x), as_mask(mask)
    shape = np.broadcast_shapes(x.shape, where.shape)
    return getitem(broadcast_to(x, shape), broadcast_to(where, shape))


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """Return x with a value where a mask is True.

    Raises: DtypeError if the mask is not bool, or the value does not fit the dtype of x.

    >>> masked_fill([1.0, 2.0], [True, False], 0.0)
    Tensor (2,) float32, cpu: [0. 2.]
    """
    x = as_tensor(x)
    return choose(as_mask(mask), _same_dtype(x, value, "masked_fill(x, mask, value)"), x)


def one_hot(indices: Any, count: int, axis: int = -1, dtype: Any = np.float32) -> Tensor:
    """Return 1 at each index along a new axis of length `count`, and 0 elsewhere.

    Raises: IndexingError if an index lies outside 0 to count - 1.

    >>> one_hot([1, 0], 2).numpy()
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    given = as_tensor(indices)
    where = as_indices(given, count, given.device, "one_hot(indices, count)", negative=False)
    place = normalize_axis(axis, where.ndim + 1, "one_hot")
    classes = reshape(_count_up(count, where), tuple([count if i == place else 1 for i in range(where.ndim + 1)]))
    return astype(equal(expand_dims(where, place), classes), dtype)


# Segments

def _rows(values: Any, segments: Any, count: int | None, axis: int, name: str) -> tuple[Tensor, Tensor, int]:
    """Return values with the segments' axis in front, the segments, and their number."""
    x, given = as_tensor(values), as_tensor(segments)
    place = normalize_axis(axis, x.ndim, name)
    if given.ndim != 1 or given.shape[0] != x.shape[place]:
        raise ShapeError(f"{name}: segments have shape {given.shape}; they must name one of {x.shape[place]} elements of axis {axis} each")
    if count is None:
        count = int(given.data.max()) + 1 if given.size else 0
    return moveaxis(x, place, 0), as_indices(given, count, x.device, f"{name}(values, segments, count={count})", negative=False), count


def segment_sum(values: Any, segments: Any, count: int | None = None, axis: int = 0) -> Tensor:
    """Return the sums of the elements along an axis that belong to one segment; 0 for a segment without elements.

    values: integers shorter than int64 are summed in int64 or uint64.
    segments: integers, one per element of the axis, in any order.  count: number of segments; None: the largest index + 1, which depends
        on values.
    Raises: IndexingError if an index lies outside; ShapeError if there is not one per element.

    >>> segment_sum([1.0, 2.0, 4.0], [0, 2, 0], 3)
    Tensor (3,) float32, cpu: [5. 0. 2.]
    """
    rows, where, count = _rows(accumulator(as_tensor(values), None), segments, count, axis, "segment_sum")
    return moveaxis(_add_rows(rows, where, length=count), 0, axis)


def segment_mean(values: Any, segments: Any, count: int | None = None, axis: int = 0) -> Tensor:
    """Return the means of the elements that belong to one segment; 0 for a segment without elements. Arguments as of `segment_sum`.

    >>> segment_mean([1.0, 2.0, 4.0], [0, 2, 0], 3)
    Tensor (3,) float32, cpu: [2.5 0.  2. ]
    """
    rows, where, count = _rows(as_floating(values), segments, count, axis, "segment_mean")
    sizes = maximum(_add_rows(Tensor(device.namespace_of(where.device).ones(where.shape[0], dtype=np.int64)), where, length=count), 1)
    total = _add_rows(rows, where, length=count)
    return moveaxis(divide(total, reshape(sizes, (count, *(1,) * (rows.ndim - 1)))), 0, axis)


def segment_max(values: Any, segments: Any, count: int | None = None, axis: int = 0) -> Tensor:
    """Return the largest of the elements that belong to one segment; minus infinity (the smallest integer) for one without elements.

    Elements that tie share the derivative equally. Arguments as of `segment_sum`.
    Raises: DtypeError for complex values.

    >>> segment_max([1.0, 2.0, 4.0], [0, 2, 0], 3)
    Tensor (3,) float32, cpu: [  4. -inf   2.]
    """
    rows, where, count = _rows(ordered(values, "segment_max"), segments, count, axis, "segment_max")
    return moveaxis(_extreme(rows, where, length=count, largest=True), 0, axis)


def segment_min(values: Any, segments: Any, count: int | None = None, axis: int = 0) -> Tensor:
    """Return the smallest of the elements that belong to one segment; infinity (the largest integer) for one without; as `segment_max`.

    >>> segment_min([1.0, 2.0, 4.0], [0, 2, 0], 3)
    Tensor (3,) float32, cpu: [ 1. inf  2.]
    """
    rows, where, count = _rows(ordered(values, "segment_min"), segments, count, axis, "segment_min")
    return moveaxis(_extreme(rows, where, length=count, largest=False), 0, axis)


def segment_prod(values: Any, segments: Any, count: int | None = None, axis: int = 0) -> Tensor:
    """Return the products of the elements that belong to one segment; 1 for a segment without elements. Arguments as of `segment_sum`.

    Derivatives are right where elements are zero, too. It works on an array of count times the size of the largest segment; that size
    depends on the values of `segments`, so these cannot differ between the examples of a vmap.

    >>> segment_prod([1.0, 2.0, 4.0], [0, 2, 0], 3)
    Tensor (3,) float32, cpu: [4. 1. 2.]
    """
    rows, where, count = _rows(accumulator(as_tensor(values), None), segments, count, axis, "segment_prod")
    columns = math.prod(rows.shape[1:])
    across = _count_up(columns, where)
    flat = reshape(reshape(where, (-1, 1)) * columns + across, (rows.size,))
    out = _products(reshape(rows, (rows.size,)), flat, count * columns)
    return moveaxis(reshape(out, (count, *rows.shape[1:])), 0, axis)


def _products(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Return products by segment of one axis: each segment fills a row of a table, and ones the rest of it."""
    if isinstance(segments, Batched):
        raise InputError("vmap: a product by segments that differ from example to example has no fixed size; loop over the examples")
    raw = device.to_numpy(segments.data)
    sizes = np.bincount(raw, minlength=count)
    order = np.argsort(raw, kind="stable")
    rank = np.empty_like(raw)
    rank[order] = np.arange(raw.size) - (np.cumsum(sizes) - sizes)[raw[order]]
    width = int(sizes.max(initial=0))
    ones = broadcast_to(constant(1, values), (count * width,))
    where = Tensor(device.to_device(raw * width + rank, values.device))
    return astype(prod(reshape(_put(ones, where, values), (count, width)), axis=1), values.dtype)


REDUCTIONS = ("sum", "prod", "mean", "max", "min")


def _combine(x: Tensor, where: Tensor, values: Tensor, how: str, include_self: bool) -> Tensor:
    """Return x, of one axis, with the values sent to each element combined with it, or put in its place where there are any."""
    if how not in REDUCTIONS:
        raise InputError(f"reduce={how!r} is not known; {nearest(str(how), REDUCTIONS)}")
    n = x.shape[0]
    hits = _add_rows(Tensor(device.namespace_of(where.device).ones(where.shape[0], dtype=np.int64)), where, length=n)
    if include_self and how == "sum":
        return x + _add_rows(values, where, length=n)
    if include_self and how == "prod":
        return x * _products(values, where, n)
    if how in ("max", "min"):
        found = _extreme(concat([x, values]), concat([_count_up(n, where), where]), length=n, largest=how == "max") if include_self \
            else _extreme(values, where, length=n, largest=how == "max")
    elif how == "prod":
        found = _products(values, where, n)
    else:
        found = _add_rows(values, where, length=n)
        if how == "mean":
            found = _mean_of(x + found if include_self else found, hits + 1 if include_self else hits)
    return found if include_self else choose(hits > 0, found, x)


def _mean_of(total: Tensor, sizes: Tensor) -> Tensor:
    sizes = maximum(sizes, 1)
    return divide(total, sizes) if is_inexact(total.dtype) else total // sizes


# Sending to places

def _targets(x: Tensor, indices: Any, values: Any, axis: int, name: str) -> tuple[Tensor, Tensor]:
    """Return where in the flattened x the values go, and the values, for indices along an axis that may be shorter than x and values."""
    shape = x.shape or (1,)
    where = as_tensor(indices)
    where = where if where.ndim else reshape(where, (1,))
    given = _same_dtype(x, values, name)
    given = given if given.ndim else broadcast_to(given, where.shape)
    places = gather(numbered(shape, x.device), where, axis)
    if given.ndim != where.ndim or any(m > n for m, n in zip(where.shape, given.shape, strict=True)):
        raise ShapeError(f"{name}: indices {where.shape} must fit into the values {given.shape}")
    part = given if given.shape == where.shape else getitem(given, tuple([slice(0, m) for m in where.shape]))
    return reshape(places, (places.size,)), reshape(part, (places.size,))


def scatter_add(x: Any, indices: Any, values: Any, axis: int = 0) -> Tensor:
    """Return x with values added to x[..., indices[..., i, ...], ...] along an axis; equal indices add up.

    indices: along the other axes not longer than x.  values: at least as long as indices along every axis, or a number.
    Raises: IndexingError if an index lies outside; ShapeError if the shapes do not fit.

    >>> scatter_add([1.0, 1.0, 1.0], [2, 2], [1.0, 2.0], axis=0)
    Tensor (3,) float32, cpu: [1. 1. 4.]
    """
    return scatter_reduce(x, indices, values, "sum", axis)


def scatter_reduce(x: Any, indices: Any, values: Any, reduce: str, axis: int = 0, include_self: bool = True) -> Tensor:
    """Return x with values combined into x[..., indices[..., i, ...], ...] along an axis.

    reduce: "sum", "prod", "mean", "max" or "min".  include_self: combine with the element of x, too; otherwise only values count there.
    Other arguments and errors as of `scatter_add`.

    >>> scatter_reduce([1.0, 1.0, 9.0], [0, 0, 2], [5.0, 3.0, 2.0], "max")
    Tensor (3,) float32, cpu: [5. 1. 9.]
    """
    x = as_tensor(x)
    where, given = _targets(x, indices, values, axis, "scatter_reduce(x, indices, values)")
    return reshape(_combine(reshape(x, (x.size,)), where, given, reduce, include_self), x.shape)


def scatter_along_axis(x: Any, indices: Any, values: Any, axis: int = 0) -> Tensor:
    """Return x with x[..., indices[..., i, ...], ...] replaced by values along an axis; of equal indices the last counts.

    Arguments and errors as of `scatter_add`.

    >>> scatter_along_axis([1.0, 1.0, 1.0], [2, 0], [5.0, 7.0])
    Tensor (3,) float32, cpu: [7. 1. 5.]
    """
    x = as_tensor(x)
    where, given = _targets(x, indices, values, axis, "scatter_along_axis(x, indices, values)")
    return reshape(_put(reshape(x, (x.size,)), where, given), x.shape)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """Return x with the elements that `take_along_axis` would take replaced by values, which broadcast; of equal indices the last counts.

    Raises: IndexingError if an index lies outside; ShapeError if the shapes do not combine.

    >>> put_along_axis([1.0, 2.0, 3.0], [1], 0.0, axis=0)
    Tensor (3,) float32, cpu: [1. 0. 3.]
    """
    x = as_tensor(x)
    return put(x, take_along_axis(numbered(x.shape, x.device), indices, axis), values, "put_along_axis(x, indices, values)")


def put(x: Tensor, places: Tensor, values: Any, name: str) -> Tensor:
    """Return x with the elements at places, numbers in the flattened x, replaced by values that broadcast to the shape of places."""
    given = _spread_to(_same_dtype(x, values, name), places.shape, name)
    return reshape(_put(reshape(x, (x.size,)), reshape(places, (places.size,)), reshape(given, (places.size,))), x.shape)


def combine(x: Tensor, places: Tensor, values: Any, how: str, name: str) -> Tensor:
    """Return x with values combined into the elements at places, numbers in the flattened x."""
    given = _spread_to(_same_dtype(x, values, name), places.shape, name)
    flat = _combine(reshape(x, (x.size,)), reshape(places, (places.size,)), reshape(given, (places.size,)), how, True)
    return reshape(flat, x.shape)


def _axis_places(x: Tensor, indices: Any, axis: int, name: str) -> Tensor:
    """Return the numbers in the flattened x of the slices at indices along an axis."""
    given = as_tensor(indices)
    place = normalize_axis(axis, x.ndim, name) if x.ndim else 0
    if given.ndim > 1:
        raise ShapeError(f"{name}(x, indices): indices have shape {given.shape}; they must be one axis")
    return take(numbered(x.shape or (1,), x.device), reshape(given, (given.size,)), place)


def index_add(x: Any, indices: Any, values: Any, axis: int = 0) -> Tensor:
    """Return x with slices of values added to the slices of x at indices along an axis; equal indices add up.

    indices: integers, one axis.  values: broadcast to the shape of x with as many slices as indices along the axis.
    Raises: IndexingError if an index lies outside; ShapeError if the shapes do not fit.

    >>> index_add([1.0, 1.0, 1.0], [2, 2], [1.0, 2.0])
    Tensor (3,) float32, cpu: [1. 1. 4.]
    """
    x = as_tensor(x)
    if not x.ndim:
        return reshape(index_add(reshape(x, (1,)), indices, values), ())
    place = normalize_axis(axis, x.ndim, "index_add")
    where = as_indices(indices, x.shape[place], x.device, "index_add(x, indices)")
    where = reshape(where, (where.size,))
    given = _same_dtype(x, values, "index_add(x, indices, values)")
    given = _spread_to(given, (*x.shape[:place], where.size, *x.shape[place + 1:]), "index_add(x, indices, values)")
    return x + moveaxis(_add_rows(moveaxis(given, place, 0), where, length=x.shape[place]), 0, place)


def index_copy(x: Any, indices: Any, values: Any, axis: int = 0) -> Tensor:
    """Return x with the slices at indices along an axis replaced by slices of values; as `index_add`, of equal indices the last counts.

    >>> index_copy([1.0, 1.0, 1.0], [2, 0], [5.0, 7.0])
    Tensor (3,) float32, cpu: [7. 1. 5.]
    """
    x = as_tensor(x)
    return put(x, _axis_places(x, indices, axis, "index_copy"), values, "index_copy(x, indices, values)")


def index_fill(x: Any, indices: Any, value: Any, axis: int = 0) -> Tensor:
    """Return x with the slices at indices along an axis replaced by one value.

    >>> index_fill([1.0, 1.0, 1.0], [2, 0], 0.0)
    Tensor (3,) float32, cpu: [0. 1. 0.]
    """
    x = as_tensor(x)
    return put(x, _axis_places(x, indices, axis, "index_fill"), value, "index_fill(x, indices, value)")


def index_reduce(x: Any, indices: Any, values: Any, reduce: str, axis: int = 0, include_self: bool = True) -> Tensor:
    """Return x with slices of values combined into the slices of x at indices along an axis; `reduce` as in `scatter_reduce`.

    >>> index_reduce([1.0, 1.0, 9.0], [0, 2], [5.0, 2.0], "max")
    Tensor (3,) float32, cpu: [5. 1. 9.]
    """
    x = as_tensor(x)
    places = _axis_places(x, indices, axis, "index_reduce")
    given = _spread_to(_same_dtype(x, values, "index_reduce"), places.shape, "index_reduce(x, indices, values)")
    flat = _combine(reshape(x, (x.size,)), reshape(places, (places.size,)), reshape(given, (places.size,)), reduce, include_self)
    return reshape(flat, x.shape)


def index_put(x: Any, index: Any, values: Any, accumulate: bool = False) -> Tensor:
    """Return x with x[index] replaced by values, or with values added to it.

    index: as in x[index].  values: broadcast to the shape of x[index].  accumulate: add; equal indices add up.
    Raises: IndexError if an index is outside x; ShapeError if the values do not broadcast.

    >>> index_put([1.0, 1.0, 1.0], ([0, 2],), 5.0)
    Tensor (3,) float32, cpu: [5. 1. 5.]
    """
    x = as_tensor(x)
    places = getitem(numbered(x.shape, x.device), index)
    return combine(x, places, values, "sum", "index_put") if accumulate else put(x, places, values, "index_put(x, index, values)")


def masked_scatter(x: Any, mask: Any, values: Any) -> Tensor:
    """Return x with its elements where a mask is True replaced by the first of values, in order. The mask broadcasts to x.

    Raises: DtypeError if the mask is not bool; ShapeError if there are fewer values than True elements.

    >>> masked_scatter([1.0, 2.0, 3.0], [True, False, True], [7.0, 8.0, 9.0])
    Tensor (3,) float32, cpu: [7. 2. 8.]
    """
    x = as_tensor(x)
    given = _same_dtype(x, values, "masked_scatter(x, mask, values)")
    where = as_mask(mask)
    shape = np.broadcast_shapes(x.shape, where.shape)
    x = broadcast_to(x, shape)
    places = getitem(numbered(shape, x.device), broadcast_to(where, shape))
    if given.size < places.size:
        raise ShapeError(f"masked_scatter(x, mask, values): the mask selects {places.size} elements, but values hold {given.size}")
    return put(x, places, reshape(given, (given.size,))[:places.size], "masked_scatter(x, mask, values)")


def _written(xp: Any, x: Any, values: Any, index: tuple[Any, ...]) -> Any:
    out = x.copy()
    out[index] = values
    return out


def _written_back(g: Tensor, x: Tensor, values: Tensor, index: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    zeros = broadcast_to(constant(0, g), values.shape)
    return _write(g, zeros, index=index), getitem(g, index)


def _batched_write(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    return op(*expand(batched, inputs), index=(slice(None), *params["index"]))


_write = linear("write", _written, _written_back, batch=_batched_write)


def write(x: Tensor, index: tuple[Any, ...], values: Any, name: str) -> Tensor:
    """Return x with x[index] replaced by values; the index has integers, slices, None and ... only, and values broadcast."""
    return _write(x, _spread_to(_same_dtype(x, values, name), _selected(x, index, name), name), index=index)


def add_slice(x: Tensor, index: tuple[Any, ...], values: Any, name: str) -> Tensor:
    """Return x with values added to x[index]; as `write`."""
    return x + scatter(_spread_to(_same_dtype(x, values, name), _selected(x, index, name), name), index, x.shape)


def _selected(x: Tensor, index: tuple[Any, ...], name: str) -> tuple[int, ...]:
    try:
        return getitem(x, index).shape
    except IndexError as error:
        raise IndexingError(f"{name}: the index does not fit x of shape {x.shape}: {error}") from error


def select_scatter(x: Any, values: Any, axis: int, index: int) -> Tensor:
    """Return x with the slice at one index along an axis replaced by values.

    Raises: ShapeError if the index lies outside, or the values do not fit.

    >>> select_scatter([[1.0, 2.0], [3.0, 4.0]], [0.0, 0.0], 0, 1).numpy()
    array([[1., 2.],
           [0., 0.]], dtype=float32)
    """
    x = as_tensor(x)
    return write(x, (*(slice(None),) * normalize_axis(axis, x.ndim, "select_scatter"), int(index)), values, "select_scatter(x, values)")


def slice_scatter(x: Any, values: Any, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> Tensor:
    """Return x with x[start:stop:step] along an axis replaced by values.

    Raises: ShapeError if the values do not fit.

    >>> slice_scatter([1.0, 2.0, 3.0], [0.0, 0.0], start=1)
    Tensor (3,) float32, cpu: [1. 0. 0.]
    """
    x = as_tensor(x)
    part = (*(slice(None),) * normalize_axis(axis, x.ndim, "slice_scatter"), slice(start, stop, step))
    return write(x, part, values, "slice_scatter(x, values)")


def diagonal_scatter(x: Any, values: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Return x with a diagonal of two axes replaced by values, whose last axis runs along it.

    offset: 0 for the main diagonal, positive above, negative below.
    Raises: ShapeError if the values do not fit, or x has fewer than two axes.

    >>> diagonal_scatter([[1.0, 2.0], [3.0, 4.0]], [0.0, 0.0]).numpy()
    array([[0., 2.],
           [3., 0.]], dtype=float32)
    """
    x = as_tensor(x)
    first, second = (normalize_axis(axis, x.ndim, "diagonal_scatter") for axis in (axis1, axis2))
    if first == second:
        raise ShapeError(f"diagonal_scatter(x, values): axis1={axis1} and axis2={axis2} name one axis; they must differ")
    places: Any = np.diagonal(device.to_numpy(numbered(x.shape, x.device).data), offset, first, second)
    return put(x, Tensor(device.to_device(places, x.device)), values, "diagonal_scatter(x, values)")
