"""Which values share memory: a reshape or a transpose of an array is the same memory, read in another way."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.ops.indexing import ARRAY
from hyperion.autograd.table import Primitive

__all__ = ["View", "contiguous", "merged", "view_of"]

Strides = tuple[int, ...]


class View:
    """A value as part of the memory of another one. offset, strides: in elements."""

    __slots__ = ("offset", "root", "shape", "strides")

    def __init__(self, root: Value, shape: tuple[int, ...], strides: Strides, offset: int = 0) -> None:
        self.root = root
        self.shape = shape
        self.strides = strides
        self.offset = offset

    @property
    def whole(self) -> bool:
        """Whether it is the root as it lies in memory."""
        return not self.offset and self.shape == self.root.shape and self.strides == contiguous(self.shape)

    def spread(self, shape: tuple[int, ...]) -> Strides:
        """Return the strides with which it is read where it is broadcast to a shape."""
        own = tuple([0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)])
        return (0,) * (len(shape) - len(own)) + own

    def array(self, root: Any) -> Any:
        """Return the view of the root's array."""
        if self.whole:
            return root
        size = root.dtype.itemsize
        return np.ndarray(self.shape, root.dtype, root, self.offset * size, tuple([s * size for s in self.strides]))


def contiguous(shape: tuple[int, ...]) -> Strides:
    """Return the strides of an array whose elements lie one after another."""
    return tuple([math.prod(shape[i + 1:]) for i in range(len(shape))])


def view_of(step: Step, source: View) -> View | None:
    """Return the output of a step as a view of what its input is a view of; None if it needs memory of its own."""
    if not isinstance(step.op, Primitive) or len(step.inputs) != 1 or not step.outputs[0].size:
        return None
    shape, root, offset = step.outputs[0].shape, source.root, source.offset
    if step.name in ("identity", "positive"):
        return source
    if step.name == "permute_dims":
        axes: tuple[int, ...] = step.params["axes"]
        return View(root, shape, tuple([source.strides[axis] for axis in axes]), offset)
    if step.name == "broadcast_to":
        return View(root, shape, source.spread(shape), offset)
    if step.name == "reshape":
        strides = merged(source.shape, source.strides, shape)
        return None if strides is None else View(root, shape, strides, offset)
    if step.name == "getitem":
        return _part(step, source)
    return None


def _part(step: Step, source: View) -> View | None:
    """Return a basic index as a view."""
    index = step.params["index"]
    if any(part is ARRAY for part in index):
        return None
    # One byte that stands for the memory: only its strides are looked at.
    start = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), source.shape, source.strides)
    found: Any = start[index if Ellipsis in index else (*index, Ellipsis)]      # with it one element is an array, too
    offset = found.__array_interface__["data"][0] - start.__array_interface__["data"][0]
    return View(source.root, step.outputs[0].shape, tuple(found.strides), source.offset + offset)


def merged(shape: tuple[int, ...], strides: Strides, wanted: tuple[int, ...]) -> Strides | None:
    """Return the strides of an array in another shape; None if its elements would have to move."""
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    out: list[int] = []
    i = 0
    left: tuple[int, int] | None = None         # what is still to be split: length and stride of its last part
    for n in wanted:
        if n == 1:
            out.append(0)
            continue
        while left is None or left[0] < n or left[0] % n:
            if i == len(axes):
                return None
            if left is None:
                left = axes[i]
            elif left[1] == axes[i][0] * axes[i][1]:
                left = (left[0] * axes[i][0], axes[i][1])
            else:
                return None
            i += 1
        rest = left[0] // n
        out.append(left[1] * rest)
        left = (rest, left[1]) if rest > 1 else None
    return tuple(out) if i == len(axes) and left is None else None
