"""Matrix products of a program as calls of BLAS."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.views import View, merged

__all__ = ["Product", "product_of"]

REALS = (np.dtype(np.float32), np.dtype(np.float64))
LARGEST = 1 << 31       # BLAS counts in 32 bits


class Product:
    """C = A B, or many of them. inputs: where A and B lie.  outputs: C.  numbers: as kernels/program.c has them, behind the places."""

    def __init__(self, inputs: Sequence[View], output: Value, numbers: Sequence[int], batch: int) -> None:
        self.inputs = list(inputs)
        self.outputs = [output]
        self.numbers = list(numbers)
        self.batch = batch
        self.dtype = output.dtype.name

    def __repr__(self) -> str:
        rows, columns, inner, *_ = self.numbers
        left, right = (view.root for view in self.inputs)
        many = f"{self.batch} times " if self.batch > 1 else ""
        return f"{self.outputs[0]!r} = product({left!r}, {right!r}), {many}{rows} x {inner} x {columns}, by BLAS"


def product_of(step: Step, views: Sequence[View | None]) -> Product | None:
    """Return the product of a step matmul; None if BLAS does not take arrays that lie so."""
    out = step.outputs[0]
    x, y = views
    if x is None or y is None or out.dtype not in REALS or any(one.dtype != out.dtype for one in step.inputs) or not out.size:
        return None
    rows, columns, inner = out.shape[-2], out.shape[-1], x.shape[-1]
    lead = out.shape[:-2]
    if not inner or max(rows, columns, inner) >= LARGEST:
        return None
    placed: list[Any] = []
    steps: list[int] = []
    for view in (x, y):
        matrix = _stored(view.shape[-2:], view.strides[-2:])
        spread = view.spread((*lead, *view.shape[-2:]))[:len(lead)]
        batch = merged(lead, spread, (out.size // (rows * columns),)) if lead else (0,)
        if matrix is None or batch is None or max(matrix[1], 1) >= LARGEST:
            return None
        placed.append(matrix)
        steps.append(batch[0])
    (turn_x, of_x), (turn_y, of_y) = placed
    numbers = [rows, columns, inner, turn_x, turn_y, of_x, of_y, columns, *steps, rows * columns]
    return Product((x, y), out, numbers, out.size // (rows * columns))


def _stored(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """Return whether a matrix is stored by columns, and the elements from one row (column) to the next; None if neither."""
    (rows, columns), (down, along) = shape, strides
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, max(down if rows > 1 else columns, columns, 1)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return 1, max(along if columns > 1 else rows, rows, 1)
    return None


