"""The slow way to run a program: every step by NumPy, in order. What compiled programs are tested against."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.ir import Code, Value
from hyperion.errors import ShapeError

__all__ = ["run"]


def run(code: Code, arrays: Sequence[Any]) -> list[Any]:
    """Return the results of a program, as arrays that share memory with nothing.

    arrays: of the inputs that are not captured, in order.
    """
    given = iter(arrays)
    known: dict[Value, Any] = {x: code.captured[x] if x in code.captured else next(given) for x in code.inputs}
    for step in code.steps:
        made = step.compute([x.constant if x.constant is not None else known[x] for x in step.inputs])
        for value, array in zip(step.outputs, made, strict=True):
            check_shape(value, array, step)
            known[value] = np.asarray(array)
    return [np.array(x.constant if x.constant is not None else known[x], order="C") for x in code.results]


def check_shape(value: Value, array: Any, step: Any) -> None:
    """Refuse an array of another shape than the recording met there.

    Raises: ShapeError that names the operation: its shape depends on values.
    """
    if array.shape != value.shape or array.dtype != value.dtype:
        raise ShapeError(
            f"jit: {step.name} ({step.place}) gave {array.shape} {array.dtype}, and {value.shape} {value.dtype} when the function was "
            "recorded: its shape depends on values; use operations of fixed shape (where instead of a mask), or do it outside"
        )
