"""Picking elements out and putting them back. Both are linear, and each is the other's transpose."""

from typing import Any

import numpy as np

from hyperion.autograd.ops.shaping import as_shape
from hyperion.autograd.table import linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["getitem", "scatter"]


def _scatter(xp: Any, x: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    out = xp.zeros(shape, dtype=x.dtype)
    if any(device.is_array(part) and part.dtype.kind != "b" for part in index):
        xp.add.at(out, index, x)         # an integer array may name an element several times: each adds
    else:
        out[index] = x
    return out


_getitem = linear("getitem", lambda xp, x, index: x[index], lambda g, x, index: _put(g, index=index, shape=x.shape))
_put = linear("scatter", _scatter, lambda g, x, index, shape: _getitem(g, index=index))


def _as_index(index: Any, place: str) -> tuple[Any, ...]:
    """Return an index as a tuple of integers, slices, None, Ellipsis and raw arrays on the device `place`."""
    parts: list[Any] = []
    given: Any = index
    for item in given if issubclass(type(given), tuple) else (given,):
        part = as_tensor(item).data if issubclass(type(item), list | Tensor) else item
        if device.is_array(part):
            if not part.size and part.dtype.kind == "f":
                part = part.astype("int64")             # an empty list
            if part.dtype.kind not in "biu":
                raise InputError(f"x[index]: the index array is {part.dtype}; it must be integer or bool: use .astype('int64')")
            part = device.to_device(part, place)
        elif not (part is None or part is Ellipsis or issubclass(type(part), slice) or hasattr(part, "__index__")):
            raise InputError(f"x[index]: {part!r} is no index; use integers, slices, None, ..., or integer or bool arrays")
        parts.append(part)
    return tuple(parts)


def getitem(x: Any, index: Any) -> Tensor:
    """Return x[index]: integers, slices, None, ..., bool arrays and integer arrays, as NumPy understands them.

    Raises: IndexError if an index is outside x; InputError if it is no index.

    >>> getitem([1.0, 2.0, 3.0], [2, 2, 0])
    Tensor (3,) float32, cpu: [3. 3. 1.]
    """
    x = as_tensor(x)
    return _getitem(x, index=_as_index(index, x.device))


def scatter(x: Any, index: Any, shape: Any) -> Tensor:
    """Return zeros of a shape to which x is added at an index: the transpose of `getitem`. Elements named several times add up.

    x: shape of zeros(shape)[index].
    Raises: ShapeError if x has another shape, or the index lies outside.

    >>> scatter([1.0, 2.0, 3.0], [2, 2, 0], (4,))
    Tensor (4,) float32, cpu: [3. 0. 3. 0.]
    """
    x, whole = as_tensor(x), as_shape(shape, "scatter")
    place = _as_index(index, x.device)
    on_cpu = tuple(device.to_numpy(part) if device.is_array(part) else part for part in place)
    try:
        selected = np.broadcast_to(np.zeros(()), whole)[on_cpu].shape
    except IndexError as error:
        raise ShapeError(f"scatter(x, index, shape): the index does not fit shape={whole}: {error}") from error
    if selected != x.shape:
        raise ShapeError(f"scatter(x, index, shape): x has shape {x.shape}, but zeros(shape)[index] has {selected}; they must agree")
    return _put(x, index=place, shape=whole)
