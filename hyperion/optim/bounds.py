"""Bounds of parameters: a lower and an upper value for each element."""

from typing import Any

from hyperion.autograd import trees
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device
from hyperion.optim.optimizer import raw

__all__ = ["Bounds"]


class Bounds:
    """The two sides of bounds, each None or one array per parameter.

    bounds: None, or (lower, upper), each None, a number, or a tree like the parameters of arrays that broadcast to its leaves.
    Raises: InputError for bounds that hold NaN, cross or exclude the parameters, ShapeError if they do not broadcast.
    """

    def __init__(self, structure: trees.Structure, arrays: list[Any], bounds: tuple[Any, Any] | None):
        if bounds is not None and (not isinstance(bounds, tuple) or len(bounds) != 2):
            raise InputError(f"bounds={bounds!r}: must be None or a pair (lower, upper)")
        if bounds is not None and any(array.dtype.kind == "c" for array in arrays):
            raise InputError("bounds: complex parameters have no order; bound their real and imaginary parts as parameters of their own")
        self.lower, self.upper = (_side(structure, arrays, bounds, side) for side in (0, 1))
        for array in (*(self.lower or ()), *(self.upper or ())):
            if bool((array != array).any()):
                raise InputError("bounds: hold NaN; use None or an infinite value for a side without bound")
        if self.lower is not None and self.upper is not None:
            if any(bool((low > high).any()) for low, high in zip(self.lower, self.upper, strict=True)):
                raise InputError("bounds: the lower exceeds the upper bound somewhere; the lower must be at most the upper")
        outside = [array[self.clip(i, array) != array] for i, array in enumerate(arrays)] if self else []
        count = sum(values.size for values in outside)
        if count:
            worst = float(next(values for values in outside if values.size)[0])
            raise InputError(f"parameters: {count} values lie outside the bounds, the first is {worst:g}; clip the start")

    def __bool__(self) -> bool:
        return self.lower is not None or self.upper is not None

    def clip(self, i: int, array: Any) -> Any:
        """Return parameter number i moved inside its bounds."""
        xp = device.namespace(array)
        if self.lower is not None:
            array = xp.maximum(array, self.lower[i])
        if self.upper is not None:
            array = xp.minimum(array, self.upper[i])
        return array


def _side(structure: trees.Structure, arrays: list[Any], bounds: tuple[Any, Any] | None, side: int) -> list[Any] | None:
    bound = None if bounds is None else bounds[side]
    if bound is None:
        return None
    if isinstance(bound, int | float):
        return [device.namespace(array).full(array.shape, bound, array.dtype) for array in arrays]
    out = []
    for leaf, array in zip(trees.flatten_like(structure, bound, f"bounds[{side}]"), arrays, strict=True):
        xp = device.namespace(array)
        values = xp.asarray(raw(leaf), array.dtype)
        try:
            out.append(xp.broadcast_to(values, array.shape))
        except ValueError as error:
            raise ShapeError(f"bounds[{side}] has shape {values.shape}, its parameter {array.shape}; it must broadcast to that") from error
    return out
