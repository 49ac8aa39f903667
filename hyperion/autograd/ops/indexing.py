"""Picking elements out and putting them back. Both are linear, and each is the other's transpose.

An index is split into a pattern of plain values, a parameter of the operation, and its integer and bool arrays, which are inputs: the
pattern holds ARRAY where an array goes.
"""

import math
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched
from hyperion.autograd.ops.adding import add_flat, add_rows, in_range, narrow, wide
from hyperion.autograd.ops.shaping import as_shape, broadcast_to, permute_dims, reshape
from hyperion.autograd.table import Primitive, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["getitem", "scatter"]


class _Array:
    """Marks the place of an array in a pattern."""

    def __repr__(self) -> str:
        return "ARRAY"


ARRAY = _Array()
Pattern = tuple[Any, ...]


def _join(pattern: Pattern, arrays: Any) -> tuple[Any, ...]:
    """Return a pattern with its arrays put in: an index as NumPy understands it."""
    if not arrays:
        return pattern
    following = iter(arrays)
    return tuple([next(following) if part is ARRAY else part for part in pattern])


def _scatter(xp: Any, x: Any, *arrays: Any, index: Pattern, shape: tuple[int, ...]) -> Any:
    if index == (ARRAY,) and arrays[0].dtype.kind in "iu":          # rows
        return add_rows(xp, x, in_range(xp, arrays[0], shape[0], True, "scatter(x, index, shape)"), shape[0]).reshape(shape)
    if all(array.dtype.kind == "b" for array in arrays):
        out = xp.zeros(shape, dtype=x.dtype)
        out[_join(index, arrays)] = x
        return out
    # An integer array may name an element several times: each adds.
    places = xp.arange(math.prod(shape)).reshape(shape)[_join(index, arrays)]
    return narrow(add_flat(xp, wide(x), places, math.prod(shape)), x.dtype).reshape(shape)


def _batched_getitem(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Work on a batch: the examples are one more axis to index, in front."""
    x, *arrays = inputs
    index: Pattern = params["index"]
    if any(batched[1:]):
        pattern, places = _examples(index, batched, arrays, inputs)
        return op(x, *places, index=pattern) if batched[0] else op(x, *places[1:], index=pattern[1:])
    out = op(x, *arrays, index=(slice(None), *index))
    return permute_dims(out, _to_front(_shift_of(index, arrays), out.ndim))


def _batched_scatter(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    x, *arrays = inputs
    index: Pattern = params["index"]
    size = next(t.shape[0] for t, has in zip(inputs, batched, strict=True) if has)
    if not batched[0]:
        x = broadcast_to(x, (size, *x.shape))
    shape = (size, *params["shape"])
    if any(batched[1:]):
        pattern, places = _examples(index, batched, arrays, inputs)
        return op(x, *places, index=pattern, shape=shape)
    order = _to_front(_shift_of(index, arrays), x.ndim)
    return op(permute_dims(x, tuple(sorted(range(x.ndim), key=order.__getitem__))), *arrays, index=(slice(None), *index), shape=shape)


def _examples(index: Pattern, batched: tuple[bool, ...], arrays: list[Tensor], inputs: list[Tensor]) -> tuple[Pattern, list[Tensor]]:
    """Return pattern and arrays for a batch in which arrays differ from example to example: the first one numbers the examples."""
    if any(array.dtype.kind == "b" and has for array, has in zip(arrays, batched[1:], strict=True)):
        raise InputError("vmap: x[mask] has a shape that depends on the mask's values; use where(mask, x, 0)")
    count = sum(part is ARRAY for part in index)
    if any(part is not ARRAY for part in index[:count]) or any(array.dtype.kind == "b" for array in arrays):
        raise InputError(f"vmap: an index that differs from example to example needs its integer arrays first; got the pattern {index}")
    size = next(t.shape[0] for t, has in zip(inputs, batched, strict=True) if has)
    ndim = max(array.ndim - has for array, has in zip(arrays, batched[1:], strict=True))
    aligned = [
        reshape(array, (size if has else 1, *(1,) * (ndim + has - array.ndim), *array.shape[has:]))
        for array, has in zip(arrays, batched[1:], strict=True)
    ]
    return (ARRAY, *index), [Tensor(device.namespace_of(inputs[0].device).arange(size).reshape(size, *(1,) * ndim)), *aligned]


def _shift_of(index: Pattern, arrays: list[Tensor]) -> int:
    """Return how many axes come before that of the examples: NumPy puts those of arrays first when other parts stand between them."""
    places = [i for i, part in enumerate(index) if part is ARRAY or hasattr(part, "__index__")]
    if not arrays or places == list(range(places[0], places[-1] + 1)):
        return 0
    return max(1 if array.dtype.kind == "b" else array.ndim for array in arrays)


def _to_front(axis: int, ndim: int) -> tuple[int, ...]:
    return (axis, *(i for i in range(ndim) if i != axis))


def _put_back(g: Tensor, x: Tensor, *arrays: Tensor, index: Pattern) -> tuple[Tensor | None, ...]:
    return _put(g, *arrays, index=index, shape=x.shape), *(None for _ in arrays)


def _pick_back(g: Tensor, x: Tensor, *arrays: Tensor, index: Pattern, shape: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    return _getitem(g, *arrays, index=index), *(None for _ in arrays)


def _pick(xp: Any, x: Any, *arrays: Any, index: Pattern) -> Any:
    return x[_join(index, arrays)]


_getitem = linear("getitem", _pick, _put_back, batch=_batched_getitem)
_put = linear("scatter", _scatter, _pick_back, batch=_batched_scatter)


def _as_tuple(index: Any) -> Any:
    return index if issubclass(type(index), tuple) else (index,)


def _split(index: Any, place: str) -> tuple[Pattern, list[Tensor]]:
    """Return an index as a pattern and its arrays, on the device `place`."""
    parts: list[Any] = []
    arrays: list[Tensor] = []
    for part in _as_tuple(index):
        if isinstance(part, list | Tensor) or device.is_array(part) or isinstance(part, bool):
            array = as_tensor(part)
            if not array.size and array.dtype.kind == "f":
                array = array.astype("int64")             # an empty list
            if array.dtype.kind not in "biu":
                raise InputError(f"x[index]: the index array is {array.dtype}; it must be integer or bool: use .astype('int64')")
            arrays.append(array.to(place))
            part = ARRAY
        elif not (part is None or part is Ellipsis or isinstance(part, slice) or hasattr(part, "__index__")):
            raise InputError(f"x[index]: {part!r} is no index; use integers, slices, None, ..., or integer or bool arrays")
        parts.append(part)
    return tuple(parts), arrays


def getitem(x: Any, index: Any) -> Tensor:
    """Return x[index]: integers, slices, None, ..., bool arrays and integer arrays, as NumPy understands them.

    Raises: IndexError if an index is outside x; InputError if it is no index.

    >>> getitem([1.0, 2.0, 3.0], [2, 2, 0])
    Tensor (3,) float32, cpu: [3. 3. 1.]
    """
    x = as_tensor(x)
    pattern, arrays = _split(index, x.device)
    return _getitem(x, *arrays, index=pattern)


def scatter(x: Any, index: Any, shape: Any) -> Tensor:
    """Return zeros of a shape to which x is added at an index: the transpose of `getitem`. Elements named several times add up.

    x: shape of zeros(shape)[index].
    Raises: ShapeError if x has another shape, or the index lies outside.

    >>> scatter([1.0, 2.0, 3.0], [2, 2, 0], (4,))
    Tensor (4,) float32, cpu: [3. 0. 3. 0.]
    """
    x, whole = as_tensor(x), as_shape(shape, "scatter")
    pattern, arrays = _split(index, x.device)
    selected = _selected_shape(whole, pattern, arrays)
    if selected != x.shape:
        raise ShapeError(f"scatter(x, index, shape): x has shape {x.shape}, but zeros(shape)[index] has {selected}; they must agree")
    return _put(x, *arrays, index=pattern, shape=whole)


def _selected_shape(whole: tuple[int, ...], pattern: Pattern, arrays: list[Tensor]) -> tuple[int, ...]:
    """Return the shape of zeros(whole)[index]; of Batched and recorded arrays only the shapes matter."""
    hidden = [isinstance(array, Batched) or isinstance(array.data, device.Standin) for array in arrays]
    stand_ins = [np.zeros(array.shape, np.int64) if one else device.to_numpy(array.data) for array, one in zip(arrays, hidden, strict=True)]
    try:
        return np.broadcast_to(np.zeros(()), whole)[_join(pattern, stand_ins)].shape
    except IndexError as error:
        raise ShapeError(f"scatter(x, index, shape): the index does not fit shape={whole}: {error}") from error
