"""Optimisers that look at all parameters as one long vector, inside bounds: L-BFGS and Gauss-Newton."""

import math
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.optim.bounds import Bounds
from hyperion.optim.optimizer import Optimizer, is_finite, raw

__all__ = ["VectorOptimizer"]


class VectorOptimizer(Optimizer):
    """Base of the optimisers of one vector: turns trees into vectors and keeps bounds.

    parameters: tree of Tensors or arrays of one dtype, float32 or float64, on one device.
    bounds: None, or (lower, upper), each None, a number, or a tree like `parameters` of arrays that broadcast to its leaves.
    Raises: DtypeError, ShapeError, InputError for parameters that are empty, not floating or not finite, and for bounds that cross or
    exclude them.
    """

    def __init__(self, parameters: Any, bounds: tuple[Any, Any] | None):
        super().__init__(parameters)
        arrays = [raw(leaf) for leaf in self._leaves]
        self._xp = device.namespace(arrays[0])
        self.dtype = arrays[0].dtype
        for array in arrays:
            if array.dtype.name not in ("float32", "float64"):
                raise DtypeError(f"parameters: got dtype {array.dtype}; {type(self).__name__} needs float32 or float64, use .astype")
            if array.dtype != self.dtype:
                raise DtypeError(f"parameters: got dtypes {self.dtype} and {array.dtype}; they must agree, convert one with .astype")
        self._shapes = [array.shape for array in arrays]
        self._vector = self._join(arrays)
        if not self._vector.size:
            raise InputError(f"parameters: all arrays are empty, shapes {self._shapes}; {type(self).__name__} needs a number or more")
        if not is_finite(self._vector):
            raise InputError("parameters: hold NaN or infinite values; optimisation needs a finite start")
        sides = Bounds(self._structure, arrays, bounds)
        self._lower, self._upper = (None if side is None else self._join(side) for side in (sides.lower, sides.upper))

    @property
    def parameters(self) -> Any:
        """The tree of the current parameters: the Tensors that were passed, or arrays where arrays were passed."""
        if self._assignable():
            return trees.unflatten(self._structure, self._leaves)
        return self._tree(self._vector)

    def _take_assigned(self) -> None:
        """Go on from what someone else, such as a checkpoint, has assigned to the Tensors since the last step."""
        if not self._assignable():
            return
        present = self._join([leaf.data for leaf in self._leaves])
        if bool((present != self._vector).any()):
            self._vector = present
            self.restart()

    def _clip(self, vector: Any) -> Any:
        if self._lower is not None:
            vector = self._xp.maximum(vector, self._lower)
        if self._upper is not None:
            vector = self._xp.minimum(vector, self._upper)
        return vector

    def _dot(self, a: Any, b: Any) -> float:
        """Return the inner product, summed in float64."""
        return float((a * b).sum(dtype=np.float64))

    def _write(self, vector: Any) -> None:
        for leaf, part in zip(self._leaves, self._split(vector), strict=True):
            leaf.assign(part)

    def _gradient_of_leaves(self) -> Any:
        missing = [name for name, leaf in zip(self._names, self._leaves, strict=True) if leaf.grad is None]
        if missing:
            raise InputError(f"step(): {', '.join(missing)} got no gradient; the closure must call backward() on a loss of all of them")
        return self._join([raw(leaf.grad) for leaf in self._leaves], "step(): gradient")

    def _split(self, vector: Any) -> list[Any]:
        parts, start = [], 0
        for shape in self._shapes:
            size = math.prod(shape)
            parts.append(vector[start : start + size].reshape(shape).copy())
            start += size
        return parts

    def _tree(self, vector: Any) -> Any:
        parts = self._split(vector)
        kept = [Tensor(part) if isinstance(leaf, Tensor) else part for leaf, part in zip(self._leaves, parts, strict=True)]
        return trees.unflatten(self._structure, kept)

    def _join(self, arrays: list[Any], what: str = "parameters") -> Any:
        for array, shape in zip(arrays, self._shapes, strict=True):
            if array.shape != shape:
                raise ShapeError(f"{what} has shape {array.shape}, its parameter {shape}; they must agree")
        return self._xp.concatenate([array.reshape(-1) for array in arrays]).astype(self.dtype, copy=False)
