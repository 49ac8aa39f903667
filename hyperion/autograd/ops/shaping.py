"""Shape, dtype and device: the same values in another arrangement. All are linear."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import as_dtype, is_inexact
from hyperion.autograd.table import PRIMITIVES, Primitive, general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.gpu import maps

__all__ = [
    "astype", "broadcast_to", "concat", "expand_dims", "flip", "identity", "normalize_axes", "normalize_axis", "permute_dims",
    "reshape", "squeeze", "stack", "sum_to", "to_device",
]


def _repeated(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    if x.ndim == 0 and xp is np:        # the derivative of every sum: a third of the time of broadcast_to
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    return xp.broadcast_to(x, shape)


def _sum_to(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    extra = x.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and x.shape[extra + i] != 1))
    return x.sum(axis=axes).reshape(shape) if axes else x


def _join(xp: Any, *xs: Any, axis: int) -> Any:
    return xp.concatenate(xs, axis)


def _split(g: Tensor, *inputs: Tensor, axis: int) -> tuple[Tensor | None, ...]:
    parts: list[Tensor | None] = []
    start = 0
    for x in inputs:
        stop = start + x.shape[axis]
        parts.append(g[(slice(None),) * axis + (slice(start, stop),)] if x.tracked else None)
        start = stop
    return tuple(parts)


def _astype_forward(xp: Any, x: Any, dtype: Any) -> Any:
    found = None if xp is np else maps.converted(x, dtype)
    return x.astype(dtype) if found is None else found


def _astype_back(g: Tensor, x: Tensor, dtype: Any) -> Tensor:
    """Return a cotangent in the dtype of x: of a real x that became complex, the real part."""
    if g.dtype.kind == "c" and x.dtype.kind != "c":
        g = PRIMITIVES["real"](g)
    return g if g.dtype == x.dtype else _astype(g, dtype=x.dtype)


def _batched_shape(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Work on a batch: the first axis stays, the shape is that of one example."""
    (x,), shape = inputs, params["shape"]
    size = x.shape[0]
    if op is _broadcast_to:
        x = reshape(x, (size, *(1,) * (len(shape) - x.ndim + 1), *x.shape[1:]))
    elif op is _sums:
        kept = op(x, shape=(size, *(1,) * (x.ndim - 1 - len(shape)), *shape))
        return reshape(kept, (size, *shape))
    return op(x, shape=(size, *shape))


def _batched_order(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    return op(*inputs, axes=(0, *(axis + 1 for axis in params["axes"])))


def _pull_reshape(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any]:
    return [g.reshape(inputs[0].data.shape)]


identity = linear(
    "identity", lambda xp, x: x, lambda g, x: g, batch=by_axes(), doc="Return x; the new Tensor is another place in the graph."
)
general("constant_of", lambda xp, x: x, differentiable=False, batch=by_axes(), doc="Return x, through which no derivative flows.")
_astype = linear("astype", _astype_forward, _astype_back, batch=by_axes())
_cast = general("cast", lambda xp, x, dtype: x.astype(dtype), differentiable=False, batch=by_axes())    # to or from integers and bools
_reshape = linear(
    "reshape", lambda xp, x, shape: x.reshape(shape), lambda g, x, shape: _reshape(g, shape=x.shape), batch=_batched_shape
)
_reshape.pull, _reshape.everywhere = _pull_reshape, True
_permute_dims = linear(
    "permute_dims", lambda xp, x, axes: x.transpose(axes),
    lambda g, x, axes: _permute_dims(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__))), batch=_batched_order,
)
_broadcast_to = linear(
    "broadcast_to", _repeated, lambda g, x, shape: _sums(g, shape=x.shape), batch=_batched_shape
)
_sums = linear("sum_to", _sum_to, lambda g, x, shape: _broadcast_to(g, shape=x.shape), batch=_batched_shape)
_flip = linear("flip", lambda xp, x, axis: xp.flip(x, axis), lambda g, x, axis: _flip(g, axis=axis), batch=by_axes("axis"))
_concat = linear("concat", _join, _split, promotes=True, batch=by_axes("axis"))
_to_device = linear(
    "to_device", lambda xp, x, device: devices.to_device(x, device), lambda g, x, device: _to_device(g, device=x.device), batch=by_axes()
)


def normalize_axis(axis: Any, ndim: int, name: str) -> int:
    """Return an axis as a number from 0, or refuse it.

    >>> normalize_axis(-1, 3, "sum")
    2
    """
    try:
        place = operator.index(axis)
    except TypeError as error:
        raise InputError(f"{name}: axis={axis!r} must be an integer") from error
    if not -ndim <= place < ndim:
        valid = f"use {-ndim} to {ndim - 1}" if ndim else "it has none"
        raise IndexingError(f"{name}: axis={axis} is outside an array of {ndim} axes; {valid}")
    return place % ndim


def normalize_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """Return axes (None: all, a number, or several) as sorted numbers from 0, or refuse them.

    >>> normalize_axes(None, 2, "sum"), normalize_axes((-1, 0), 3, "sum")
    ((0, 1), (0, 2))
    """
    if axis is None:
        return tuple(range(ndim))
    axes = [normalize_axis(one, ndim, name) for one in (axis if type(axis) in (tuple, list) else (axis,))]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: axis={axis} names an axis twice; give each once")
    return tuple(sorted(axes))


def as_list(value: Any, name: str) -> list[Any]:
    """Return a sequence as a list, or refuse what is none."""
    try:
        return list(value)
    except TypeError as error:
        raise InputError(f"{name} is a {type(value).__name__}; it must be a sequence: a list or tuple") from error


def as_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Return a shape given as a number or several as a tuple, or refuse it."""
    try:
        return tuple(operator.index(n) for n in (shape if type(shape) in (tuple, list) else (shape,)))
    except TypeError as error:
        raise InputError(f"{name}: shape={shape!r} must be one or several integers") from error


def astype(x: Any, dtype: Any, copy: bool = True, device: str | None = None) -> Tensor:
    """Return x in another dtype; x itself if it has it already. The derivative comes back in the dtype of x.

    copy: accepted for the standard's sake; Tensors do not change, so they may share memory.  device: None keeps that of x.
    Raises: DtypeError if the dtype is unknown, or would drop an imaginary part.

    >>> astype([1.5, 2.5], "float64")
    Tensor (2,) float64, cpu: [1.5 2.5]
    """
    x, dtype = as_tensor(x), as_dtype(dtype)
    if device is not None:
        x = to_device(x, device)
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "c" and dtype.kind != "c":
        raise DtypeError(f"astype(x, dtype): {x.dtype} to {dtype} drops the imaginary part; take the real part first")
    return _astype(x, dtype=dtype) if is_inexact(dtype) and is_inexact(x.dtype) else _cast(x, dtype=dtype)


def to_device(x: Any, device: str) -> Tensor:
    """Return x on a device, "cpu" or "cuda:N"; x itself if it is there already.

    Raises: DeviceError if the device is absent.

    >>> to_device([1.0], "cpu").device
    'cpu'
    """
    x = as_tensor(x)
    return x if x.device == device else _to_device(x, device=device)


def reshape(x: Any, shape: Any, copy: bool | None = None) -> Tensor:
    """Return x in another shape with the elements in the same order; one length may be -1, the rest is computed.

    copy: False refuses where memory would have to be copied; otherwise it is when it must be, since Tensors do not change.
    Raises: ShapeError if the number of elements differs; InputError if a copy is needed and refused.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).shape
    (2, 2)
    """
    x, wanted = as_tensor(x), as_shape(shape, "reshape")
    rest = math.prod(n for n in wanted if n != -1)
    if wanted.count(-1) == 1 and rest:
        wanted = tuple(x.size // rest if n == -1 else n for n in wanted)
    if math.prod(wanted) != x.size or min(wanted, default=0) < 0:
        raise ShapeError(f"reshape(x, shape): x has shape {x.shape}, {x.size} elements, and shape={shape} does not hold as many")
    if wanted == x.shape:
        return x
    out = _reshape(x, shape=wanted)
    if copy is False and x.size and not devices.namespace_of(x.device).shares_memory(x.data, out.data):
        raise InputError(f"reshape(x, shape={wanted}, copy=False): the elements of x do not lie in this order in memory; use copy=None")
    return out


def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """Return x with its axes in another order: axis i of the result is axis axes[i] of x.

    Raises: ShapeError unless axes is a permutation of all axes.

    >>> permute_dims([[1.0, 2.0, 3.0]], (1, 0)).shape
    (3, 1)
    """
    x = as_tensor(x)
    order = tuple(normalize_axis(axis, x.ndim, "permute_dims") for axis in as_list(axes, "permute_dims(x, axes): axes"))
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"permute_dims(x, axes): axes={tuple(axes)} must name each of the {x.ndim} axes of x once")
    return _permute_dims(x, axes=order)


def expand_dims(x: Any, axis: Any = 0) -> Tensor:
    """Return x with an axis of length 1 inserted before `axis`, or several: their places in the result.

    Raises: ShapeError if the axis is outside the result.

    >>> expand_dims([1.0, 2.0], 0).shape
    (1, 2)
    """
    x = as_tensor(x)
    if isinstance(axis, tuple | list):
        places = normalize_axes(axis, x.ndim + len(axis), "expand_dims")      # pyright: ignore[reportUnknownArgumentType]
        lengths = iter(x.shape)
        return reshape(x, tuple([1 if i in places else next(lengths) for i in range(x.ndim + len(places))]))
    place = normalize_axis(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def squeeze(x: Any, axis: Any) -> Tensor:
    """Return x without axes of length 1: a number or several.

    Raises: ShapeError if one of them has another length.

    >>> squeeze([[1.0, 2.0]], 0).shape
    (2,)
    """
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, "squeeze")
    if any(x.shape[i] != 1 for i in axes):
        raise ShapeError(f"squeeze(x, axis): axis={axis} of x, shape {x.shape}, must have length 1")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return x repeated along axes of length 1, and along new first axes, to a shape. No memory is copied.

    Raises: ShapeError if x does not broadcast to it.

    >>> broadcast_to([1.0, 2.0], (3, 2)).shape
    (3, 2)
    """
    x, wanted = as_tensor(x), as_shape(shape, "broadcast_to")
    extra = len(wanted) - x.ndim
    if extra < 0 or any(n not in (1, m) for n, m in zip(x.shape, wanted[extra:], strict=True)):
        raise ShapeError(f"broadcast_to(x, shape): x has shape {x.shape}; its axes, from the last, must be 1 or equal to shape={wanted}")
    return x if wanted == x.shape else _broadcast_to(x, shape=wanted)


def sum_to(x: Any, shape: Any) -> Tensor:
    """Return x summed over the axes along which `shape` would be repeated to give x: the transpose of broadcast_to.

    Raises: ShapeError if `shape` does not broadcast to that of x.

    >>> sum_to([[1.0, 2.0], [3.0, 4.0]], (1, 2))
    Tensor (1, 2) float32, cpu
    """
    x, wanted = as_tensor(x), as_shape(shape, "sum_to")
    extra = x.ndim - len(wanted)
    if extra < 0 or any(n not in (1, m) for n, m in zip(wanted, x.shape[extra:], strict=True)):
        raise ShapeError(f"sum_to(x, shape): shape={wanted} does not broadcast to {x.shape}, the shape of x")
    return x if wanted == x.shape else _sums(x, shape=wanted)


def flip(x: Any, axis: Any = None) -> Tensor:
    """Return x with the order of elements reversed along axes (None: all).

    >>> flip([1.0, 2.0, 3.0])
    Tensor (3,) float32, cpu: [3. 2. 1.]
    """
    x = as_tensor(x)
    return _flip(x, axis=normalize_axes(axis, x.ndim, "flip"))


def concat(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return Tensors joined along an existing axis; None joins them flattened.

    Raises: InputError if there are none; ShapeError if their other axes differ.

    >>> concat([[1.0], [2.0, 3.0]])
    Tensor (3,) float32, cpu: [1. 2. 3.]
    """
    parts = [as_tensor(x) for x in as_list(tensors, "concat(tensors): tensors")]
    if not parts:
        raise InputError("concat(tensors): the list is empty; give at least one Tensor")
    if axis is None:
        parts, axis = [reshape(x, (x.size,)) for x in parts], 0
    place = normalize_axis(axis, parts[0].ndim, "concat")
    rests = {(*x.shape[:place], *x.shape[place + 1:]) for x in parts}
    if len(rests) != 1 or any(x.ndim != parts[0].ndim for x in parts):
        raise ShapeError(f"concat(tensors, axis={axis}): shapes {', '.join(str(x.shape) for x in parts)} may differ only along that axis")
    return _concat(*parts, axis=place)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Return Tensors of one shape joined along a new axis.

    Raises: InputError if there are none; ShapeError if their shapes differ.

    >>> stack([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    parts = [as_tensor(x) for x in as_list(tensors, "stack(tensors): tensors")]
    if not parts:
        raise InputError("stack(tensors): the list is empty; give at least one Tensor")
    if len({x.shape for x in parts}) > 1:
        raise ShapeError(f"stack(tensors): shapes {', '.join(str(x.shape) for x in parts)} must be equal")
    return concat([expand_dims(x, axis) for x in parts], normalize_axis(axis, parts[0].ndim + 1, "stack") if parts else 0)
