"""Splitting, joining, repeating, turning and rolling: the same values in other places. All are linear."""

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.shaping import (
    as_list,
    as_shape,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    normalize_axis,
    permute_dims,
    reshape,
    stack,
)
from hyperion.autograd.table import Primitive, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = [
    "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_shapes", "cartesian_prod", "chunk",
    "column_stack", "combinations", "dsplit", "dstack", "flatten_axes", "fliplr", "flipud", "hsplit", "hstack", "meshgrid", "moveaxis",
    "movedim", "ravel", "repeat", "roll", "rot90", "sliding_window_view", "split", "swapaxes", "tensor_split", "tile", "tril",
    "tril_indices", "triu", "triu_indices", "unflatten_axis", "unstack", "vsplit", "vstack",
]

Ints = tuple[int, ...]


# Primitives

def _windows_forward(xp: Any, x: Any, axis: Ints, size: Ints, step: Ints) -> Any:
    shape, strides = list(x.shape), list(x.strides)
    for i, n, s in zip(axis, size, step, strict=True):
        shape[i], strides[i] = (x.shape[i] - n) // s + 1, x.strides[i] * s
    return xp.lib.stride_tricks.as_strided(x, (*shape, *size), (*strides, *(x.strides[i] for i in axis)))


def _fold_forward(xp: Any, x: Any, axis: Ints, size: Ints, step: Ints, shape: Ints) -> Any:
    """Add windows back into place: one shifted slice for each element of a window."""
    out = xp.zeros(shape, dtype=x.dtype)
    for place in itertools.product(*map(range, size)):
        part = [slice(None)] * len(shape)
        for i, first, s in zip(axis, place, step, strict=True):
            part[i] = slice(first, first + s * (x.shape[i] - 1) + 1, s) if x.shape[i] else slice(0, 0)
        out[tuple(part)] += x[(Ellipsis, *place)]
    return out


def _batched_fold(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    raised = {"axis": tuple([i + 1 for i in params["axis"]]), "shape": (inputs[0].shape[0], *params["shape"])}
    return op(*inputs, **{**params, **raised})


_roll = linear(
    "roll", lambda xp, x, shift, axis: xp.roll(x, shift, axis),
    lambda g, x, shift, axis: _roll(g, shift=tuple([-n for n in shift]), axis=axis), batch=by_axes("axis"),
)
_windows = linear(
    "sliding_windows", _windows_forward, lambda g, x, axis, size, step: _fold(g, axis=axis, size=size, step=step, shape=x.shape),
    batch=by_axes("axis"),
)
_fold = linear(
    "fold_windows", _fold_forward, lambda g, x, axis, size, step, shape: _windows(g, axis=axis, size=size, step=step), batch=_batched_fold
)


def _as_ints(value: Any, what: str) -> Ints:
    several: Sequence[Any] = value if type(value) in (tuple, list) else (value,)
    try:
        return tuple([operator.index(n) for n in several])
    except TypeError as error:
        raise InputError(f"{what}={value!r} must be one or several integers") from error


def _as_axes(axis: Any, ndim: int, name: str) -> Ints:
    """Return one or several axes as numbers from 0 in the order given, or refuse them."""
    axes = tuple([normalize_axis(one, ndim, name) for one in _as_ints(axis, f"{name}: axis")])
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: axis={axis} names an axis twice; give each once")
    return axes


# Order of axes and elements

def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Return x with axes moved to other places; the others keep their order.

    source, destination: a number each, or as many in both.
    Raises: ShapeError if an axis is outside x or named twice; InputError if the numbers differ.

    >>> moveaxis([[[1.0], [2.0]]], 0, -1).shape
    (2, 1, 1)
    """
    x = as_tensor(x)
    before, after = _as_axes(source, x.ndim, "moveaxis"), _as_axes(destination, x.ndim, "moveaxis")
    if len(before) != len(after):
        raise InputError(f"moveaxis(x, source, destination): source={source} and destination={destination} must name as many axes")
    if before == after:
        return x
    order = [i for i in range(x.ndim) if i not in before]
    for place, axis in sorted(zip(after, before, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


movedim = moveaxis


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Return x with two axes exchanged.

    Raises: ShapeError if an axis is outside x.

    >>> swapaxes([[1.0, 2.0, 3.0]], 0, 1).shape
    (3, 1)
    """
    x = as_tensor(x)
    first, second = normalize_axis(axis1, x.ndim, "swapaxes"), normalize_axis(axis2, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return permute_dims(x, order)


def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """Return x with elements moved by `shift` along an axis; those that leave at one end come in at the other.

    shift, axis: a number each, or several: as many shifts as axes, or one for all. axis None rolls the flattened x.
    Raises: ShapeError if an axis is outside x; InputError if shifts and axes do not match.

    >>> roll([1.0, 2.0, 3.0], 1)
    Tensor (3,) float32, cpu: [3. 1. 2.]
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (x.size,)), shift, 0), x.shape)
    axes = [normalize_axis(one, x.ndim, "roll") for one in _as_ints(axis, "roll: axis")]
    shifts = _as_ints(shift, "roll: shift")
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise InputError(f"roll(x, shift, axis): shift={shift} and axis={axis} must be as many, or one of them a number")
    count = max(len(shifts), len(axes))
    shifts, places = shifts * (count if len(shifts) == 1 else 1), tuple(axes) * (count if len(axes) == 1 else 1)
    return _roll(x, shift=shifts, axis=places)


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """Return x turned by k right angles in the plane of two axes, from the first towards the second.

    Raises: InputError unless two different axes are given.

    >>> rot90([[1.0, 2.0], [3.0, 4.0]]).numpy()
    array([[2., 4.],
           [1., 3.]], dtype=float32)
    """
    x = as_tensor(x)
    if len(axes) != 2:
        raise InputError(f"rot90: axes={tuple(axes)} must be two")
    first, second = _as_axes(tuple(axes), x.ndim, "rot90")
    turns = k % 4
    if turns == 2:
        return flip(x, (first, second))
    if turns == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second) if turns else x


def flipud(x: Any) -> Tensor:
    """Return x with the order along its first axis reversed.

    >>> flipud([1.0, 2.0])
    Tensor (2,) float32, cpu: [2. 1.]
    """
    return flip(x, 0)


def fliplr(x: Any) -> Tensor:
    """Return x with the order along its second axis reversed.

    Raises: ShapeError if it has only one.

    >>> fliplr([[1.0, 2.0]]).numpy()
    array([[2., 1.]], dtype=float32)
    """
    return flip(x, 1)


# Other shapes

def ravel(x: Any) -> Tensor:
    """Return x as one axis, the last axis running fastest.

    >>> ravel([[1.0, 2.0], [3.0, 4.0]])
    Tensor (4,) float32, cpu: [1. 2. 3. 4.]
    """
    x = as_tensor(x)
    return reshape(x, (x.size,))


def flatten_axes(x: Any, start: int = 0, stop: int = -1) -> Tensor:
    """Return x with the axes from `start` to `stop`, both included, joined to one.

    Raises: ShapeError if an axis is outside x, or stop comes before start.

    >>> flatten_axes([[[1.0], [2.0]]], 1).shape
    (1, 2)
    """
    x = as_tensor(x)
    if not x.ndim:
        return reshape(x, (1,))
    first, last = normalize_axis(start, x.ndim, "flatten_axes"), normalize_axis(stop, x.ndim, "flatten_axes")
    if last < first:
        raise ShapeError(f"flatten_axes(x, start={start}, stop={stop}): stop must not come before start")
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


def unflatten_axis(x: Any, axis: int, shape: Any) -> Tensor:
    """Return x with an axis replaced by several; one length may be -1, the rest is computed.

    Raises: ShapeError if the lengths do not multiply to that of the axis.

    >>> unflatten_axis([1.0, 2.0, 3.0, 4.0], 0, (2, -1)).shape
    (2, 2)
    """
    x, lengths = as_tensor(x), as_shape(shape, "unflatten_axis")
    place = normalize_axis(axis, x.ndim, "unflatten_axis")
    rest = math.prod(n for n in lengths if n != -1)
    if lengths.count(-1) == 1 and rest:
        lengths = tuple([x.shape[place] // rest if n == -1 else n for n in lengths])
    if not lengths or min(lengths) < 0 or math.prod(lengths) != x.shape[place]:
        raise ShapeError(f"unflatten_axis(x, axis, shape): axis {axis} has length {x.shape[place]}; shape={shape} does not hold as many")
    return reshape(x, (*x.shape[:place], *lengths, *x.shape[place + 1:]))


def atleast_1d(x: Any) -> Tensor:
    """Return x with one axis, if it has none.

    >>> atleast_1d(3.0)
    Tensor (1,) float32, cpu: [3.]
    """
    x = as_tensor(x)
    return x if x.ndim else reshape(x, (1,))


def atleast_2d(x: Any) -> Tensor:
    """Return x with at least two axes; one axis becomes a row.

    >>> atleast_2d([1.0, 2.0]).shape
    (1, 2)
    """
    x = atleast_1d(x)
    return x if x.ndim > 1 else reshape(x, (1, *x.shape))


def atleast_3d(x: Any) -> Tensor:
    """Return x with at least three axes: n becomes (1, n, 1), and (n, m) becomes (n, m, 1), as in NumPy.

    >>> atleast_3d([1.0, 2.0]).shape
    (1, 2, 1)
    """
    x = atleast_2d(x)
    return x if x.ndim > 2 else reshape(x, (*x.shape, 1))


def broadcast_shapes(*shapes: Any) -> Ints:
    """Return the shape to which shapes broadcast together.

    Raises: ShapeError if they do not.

    >>> broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    given = [as_shape(shape, "broadcast_shapes") for shape in shapes]
    try:
        return np.broadcast_shapes(*given)
    except ValueError as error:
        shown = ", ".join(map(str, given))
        raise ShapeError(f"broadcast_shapes: {shown} do not combine; axes are matched from the last and must be equal, or 1") from error


def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """Return arrays repeated to their joint shape.

    Raises: ShapeError if they do not broadcast together.

    >>> [x.shape for x in broadcast_arrays([1.0, 2.0], [[1.0], [2.0]])]
    [(2, 2), (2, 2)]
    """
    tensors = [as_tensor(x) for x in arrays]
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return [broadcast_to(x, shape) for x in tensors]


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """Return the coordinates of a grid from those along its axes.

    arrays: one axis each.  indexing: "ij": axes of the result in the order of the arrays; "xy": the first two exchanged.
    Raises: InputError for another indexing; ShapeError for an array of several axes.

    >>> [x.shape for x in meshgrid([1.0, 2.0, 3.0], [1.0, 2.0])]
    [(2, 3), (2, 3)]
    """
    if indexing not in ("xy", "ij"):
        raise InputError(f'meshgrid: indexing={indexing!r} must be "xy" or "ij"')
    tensors = [atleast_1d(x) for x in arrays]
    if any(x.ndim != 1 for x in tensors):
        raise ShapeError(f"meshgrid: arrays have shapes {', '.join(str(x.shape) for x in tensors)}; each must have one axis")
    places = [1 - i if indexing == "xy" and len(tensors) > 1 and i < 2 else i for i in range(len(tensors))]
    return broadcast_arrays(*(
        reshape(x, tuple([-1 if axis == place else 1 for axis in range(len(tensors))])) for x, place in zip(tensors, places, strict=True)
    ))


# Splitting

def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the slices of x along an axis, without it.

    Raises: ShapeError if the axis is outside x.

    >>> unstack([[1.0, 2.0], [3.0, 4.0]])
    (Tensor (2,) float32, cpu: [1. 2.], Tensor (2,) float32, cpu: [3. 4.])
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "unstack")
    return tuple([x[(*(slice(None),) * place, i)] for i in range(x.shape[place])])


def _cut(x: Tensor, places: Sequence[int], axis: int) -> tuple[Tensor, ...]:
    """Return the parts of x between places along an axis; places work as in slices."""
    lead = (slice(None),) * axis
    edges = (0, *places, x.shape[axis])
    return tuple([x[(*lead, slice(first, last))] for first, last in itertools.pairwise(edges)])


def array_split(x: Any, sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Return x cut along an axis into a number of parts, or at places; as `split`, but the first parts may be longer by one.

    Raises: InputError if the number is below 1; ShapeError if the axis is outside x.

    >>> [len(part) for part in array_split([1.0, 2.0, 3.0, 4.0, 5.0], 2)]
    [3, 2]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "array_split")
    if isinstance(sections, tuple | list):
        return _cut(x, _as_ints(sections, "array_split: sections"), place)
    count = _as_ints(sections, "array_split: sections")[0]
    if count < 1:
        raise InputError(f"array_split(x, sections): sections={count} must be 1 or more, or a list of places where to cut")
    length, longer = divmod(x.shape[place], count)
    return _cut(x, [i * length + min(i, longer) for i in range(1, count)], place)


tensor_split = array_split


def split(x: Any, sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Return x cut along an axis into a number of equal parts, or at places.

    sections: the number of parts, or a list of the places where to cut (as in NumPy, not the lengths that PyTorch takes).
    Raises: ShapeError if the parts are not equal, or the axis is outside x; InputError if the number is below 1.

    >>> [len(part) for part in split([1.0, 2.0, 3.0], [1])]
    [1, 2]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "split")
    if not isinstance(sections, tuple | list) and _as_ints(sections, "split: sections")[0] > 0 and x.shape[place] % sections:
        raise ShapeError(
            f"split(x, sections={sections}): axis {axis} of length {x.shape[place]} has no {sections} equal parts; use array_split"
        )
    return array_split(x, sections, place)


def chunk(x: Any, count: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Return x cut along an axis into at most `count` parts of one length, the last one perhaps shorter.

    Raises: InputError if count is below 1; ShapeError if the axis is outside x.

    >>> [len(part) for part in chunk([1.0, 2.0, 3.0, 4.0, 5.0], 3)]
    [2, 2, 1]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "chunk")
    if count < 1:
        raise InputError(f"chunk(x, count): count={count} must be 1 or more")
    length = -(-x.shape[place] // count)
    return _cut(x, range(length, x.shape[place], length) if length else [0] * (count - 1), place)


def hsplit(x: Any, sections: Any) -> tuple[Tensor, ...]:
    """Return x split along its second axis, or the only one; as `split`.

    >>> [part.shape for part in hsplit([[1.0, 2.0]], 2)]
    [(1, 1), (1, 1)]
    """
    x = as_tensor(x)
    return split(x, sections, 0 if x.ndim == 1 else 1)


def vsplit(x: Any, sections: Any) -> tuple[Tensor, ...]:
    """Return x, of two axes or more, split along the first; as `split`.

    >>> [part.shape for part in vsplit([[1.0], [2.0]], 2)]
    [(1, 1), (1, 1)]
    """
    return split(_of_rank(x, 2, "vsplit"), sections, 0)


def dsplit(x: Any, sections: Any) -> tuple[Tensor, ...]:
    """Return x, of three axes or more, split along the third; as `split`.

    >>> [part.shape for part in dsplit([[[1.0, 2.0]]], 2)]
    [(1, 1, 1), (1, 1, 1)]
    """
    return split(_of_rank(x, 3, "dsplit"), sections, 2)


def _of_rank(x: Any, least: int, name: str) -> Tensor:
    x = as_tensor(x)
    if x.ndim < least:
        raise ShapeError(f"{name}(x): x has shape {x.shape}; it needs at least {least} axes")
    return x


# Joining

def vstack(tensors: Sequence[Any]) -> Tensor:
    """Return Tensors joined along the first axis; those of one axis are rows.

    >>> vstack([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    return concat([atleast_2d(x) for x in as_list(tensors, "vstack(tensors): tensors")], 0)


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Return Tensors joined along the second axis, those of one axis along it.

    >>> hstack([[1.0, 2.0], [3.0]])
    Tensor (3,) float32, cpu: [1. 2. 3.]
    """
    parts = [atleast_1d(x) for x in as_list(tensors, "hstack(tensors): tensors")]
    return concat(parts, 1 if parts and parts[0].ndim > 1 else 0)


def dstack(tensors: Sequence[Any]) -> Tensor:
    """Return Tensors joined along the third axis, after `atleast_3d`.

    >>> dstack([[1.0, 2.0], [3.0, 4.0]]).shape
    (1, 2, 2)
    """
    return concat([atleast_3d(x) for x in as_list(tensors, "dstack(tensors): tensors")], 2)


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Return Tensors joined along the second axis; those of one axis are columns.

    >>> column_stack([[1.0, 2.0], [3.0, 4.0]]).numpy()
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    return concat([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in map(atleast_1d, tensors)], 1)


def cartesian_prod(*arrays: Any) -> Tensor:
    """Return all combinations of one element from each array, one per row, the last running fastest.

    >>> cartesian_prod([1.0, 2.0], [3.0]).numpy()
    array([[1., 3.],
           [2., 3.]], dtype=float32)
    """
    if not arrays:
        raise InputError("cartesian_prod(): no arrays; give at least one")
    parts = [ravel(x) for x in meshgrid(*arrays, indexing="ij")]
    return parts[0] if len(parts) == 1 else stack(parts, axis=1)


def combinations(x: Any, count: int = 2, with_replacement: bool = False) -> Tensor:
    """Return all choices of `count` elements of x, of one axis, one per row, in the order of itertools.combinations.

    >>> combinations([1.0, 2.0, 3.0], 2).numpy()
    array([[1., 2.],
           [1., 3.],
           [2., 3.]], dtype=float32)
    """
    x = as_tensor(x)
    if x.ndim != 1 or count < 0:
        raise ShapeError(f"combinations(x, count={count}): x has shape {x.shape}; it must have one axis, and count must not be negative")
    chosen = list((itertools.combinations_with_replacement if with_replacement else itertools.combinations)(range(x.shape[0]), count))
    index = np.array(chosen, np.int64).reshape(len(chosen), count)
    return x[Tensor(device.to_device(index, x.device))]


# Repeating

def tile(x: Any, counts: Any) -> Tensor:
    """Return x repeated as a whole along its axes, counted from the last; more counts than axes make new first axes.

    Raises: InputError if a count is negative or no integer.

    >>> tile([1.0, 2.0], 2)
    Tensor (4,) float32, cpu: [1. 2. 1. 2.]
    """
    x, times = as_tensor(x), _as_ints(counts, "tile: counts")
    if min(times, default=0) < 0:
        raise InputError(f"tile(x, counts): counts={counts} must not be negative")
    ndim = max(x.ndim, len(times))
    lengths, times = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(times)) + times
    apart = [n for pair in zip((1,) * ndim, lengths, strict=True) for n in pair]
    wide = [n for pair in zip(times, lengths, strict=True) for n in pair]
    return reshape(broadcast_to(reshape(x, tuple(apart)), tuple(wide)), tuple([n * m for n, m in zip(times, lengths, strict=True)]))


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Return x with each element repeated along an axis (None: of the flattened x).

    repeats: a number, or one for each element of the axis; an array's values decide the shape, so they cannot differ under vmap.
    Raises: InputError if a number is negative or no integer; ShapeError if there is not one per element.

    >>> repeat([1.0, 2.0], 2), repeat([1.0, 2.0], [0, 3])
    (Tensor (4,) float32, cpu: [1. 1. 2. 2.], Tensor (3,) float32, cpu: [2. 2. 2.])
    """
    x = ravel(x) if axis is None else as_tensor(x)
    place = normalize_axis(0 if axis is None else axis, x.ndim, "repeat")
    times: Any = device.to_numpy(as_tensor(repeats).data)
    if times.dtype.kind not in "iu" or times.min(initial=0) < 0:
        raise InputError(f"repeat(x, repeats): repeats={repeats!r} must be integers, 0 or more")
    if times.size == 1:
        n, length = int(times.reshape(-1)[0]), x.shape[place]
        wide = broadcast_to(expand_dims(x, place + 1), (*x.shape[:place + 1], n, *x.shape[place + 1:]))
        return reshape(wide, (*x.shape[:place], length * n, *x.shape[place + 1:]))
    if times.shape != (x.shape[place],):
        raise ShapeError(f"repeat(x, repeats): repeats have shape {times.shape}; give one number, or one for each of {x.shape[place]}")
    index = np.repeat(np.arange(x.shape[place], dtype=np.int64), times)
    index = Tensor(device.to_device(index, x.device))
    return x[(*(slice(None),) * place, index)]


# Triangles and windows

def tril(x: Any, k: int = 0) -> Tensor:
    """Return matrices, the last two axes, with zeros above a diagonal.

    k: 0 for the main diagonal, positive above, negative below.
    Raises: ShapeError if x has fewer than two axes.

    >>> tril([[1.0, 2.0], [3.0, 4.0]]).numpy()
    array([[1., 0.],
           [3., 4.]], dtype=float32)
    """
    x = _of_rank(x, 2, "tril")
    return where(_lower(x, k), x, _zero(x))


def triu(x: Any, k: int = 0) -> Tensor:
    """Return matrices, the last two axes, with zeros below a diagonal; as `tril`.

    >>> triu([[1.0, 2.0], [3.0, 4.0]]).numpy()
    array([[1., 2.],
           [0., 4.]], dtype=float32)
    """
    x = _of_rank(x, 2, "triu")
    return where(_lower(x, k - 1), _zero(x), x)


def _lower(x: Tensor, k: int) -> Tensor:
    return Tensor(device.namespace_of(x.device).tri(*x.shape[-2:], k=k, dtype=bool))


def _zero(x: Tensor) -> Tensor:
    return Tensor(device.namespace_of(x.device).zeros((), dtype=x.dtype))


def tril_indices(rows: int, k: int = 0, columns: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the row and column numbers of the elements of a matrix on and below a diagonal; as many columns as rows by default.

    >>> tril_indices(2)
    (Tensor (3,) int64, cpu: [0 1 1], Tensor (3,) int64, cpu: [0 0 1])
    """
    found = np.nonzero(np.tri(rows, rows if columns is None else columns, k=k, dtype=bool))
    return Tensor(found[0]), Tensor(found[1])


def triu_indices(rows: int, k: int = 0, columns: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the row and column numbers of the elements of a matrix on and above a diagonal; as `tril_indices`.

    >>> triu_indices(2)
    (Tensor (3,) int64, cpu: [0 0 1], Tensor (3,) int64, cpu: [0 1 1])
    """
    found = np.nonzero(~np.tri(rows, rows if columns is None else columns, k=k - 1, dtype=bool))
    return Tensor(found[0]), Tensor(found[1])


def sliding_window_view(x: Any, size: Any, axis: Any = None, step: Any = 1) -> Tensor:
    """Return all windows along axes: the axes then count windows, and new last axes run inside them. No memory is copied.

    size, axis, step: a number each, or as many of each; axis None takes all axes, and one step serves all.
    Raises: InputError if they do not match, or are not positive; ShapeError if a window is longer than its axis.

    >>> sliding_window_view([1.0, 2.0, 3.0], 2).numpy()
    array([[1., 2.],
           [2., 3.]], dtype=float32)
    """
    x = as_tensor(x)
    axes = tuple(range(x.ndim)) if axis is None else _as_axes(axis, x.ndim, "sliding_window_view")
    sizes, steps = _as_ints(size, "sliding_window_view: size"), _as_ints(step, "sliding_window_view: step")
    steps = steps * len(axes) if len(steps) == 1 else steps
    if not len(sizes) == len(axes) == len(steps):
        raise InputError(f"sliding_window_view: size={size}, step={step} must have one number for each of the axes {axes}")
    if min((*sizes, *steps), default=1) < 1:
        raise InputError(f"sliding_window_view: size={size}, step={step} must be 1 or more")
    if any(n > x.shape[i] for n, i in zip(sizes, axes, strict=True)):
        raise ShapeError(f"sliding_window_view: size={size} exceeds the axes {axes} of x, shape {x.shape}")
    return _windows(x, axis=axes, size=sizes, step=steps)
