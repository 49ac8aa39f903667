"""Optimisers that look at all parameters as one long vector, inside bounds: L-BFGS and Gauss-Newton."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.optim.optimizer import Optimizer, is_finite, number, raw

__all__ = ["VectorOptimizer"]

Evaluate: TypeAlias = Callable[[Any], tuple[float, Any]]    # a vector -> (value, gradient vector)


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
                raise DtypeError(f"parameters: got dtype {array.dtype}; {type(self).__name__} needs float32 or float64, convert with .astype")
            if array.dtype != self.dtype:
                raise DtypeError(f"parameters: got dtypes {self.dtype} and {array.dtype}; they must agree, convert one with .astype")
        self._shapes = [array.shape for array in arrays]
        self._vector = self._join(arrays)
        if not is_finite(self._vector):
            raise InputError("parameters: hold NaN or infinite values; optimisation needs a finite start")
        self._lower, self._upper = self._bound(bounds, 0), self._bound(bounds, 1)
        self._check_bounds()

    @property
    def parameters(self) -> Any:
        """The tree of the current parameters: the Tensors that were passed, or arrays where arrays were passed."""
        if self._assignable():
            return trees.unflatten(self._structure, self._leaves)
        return self._tree(self._vector)

    def _take_assigned(self) -> None:
        """Go on from what someone else has assigned to the Tensors since the last step."""
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

    def _write(self, vector: Any) -> None:
        for leaf, part in zip(self._leaves, self._split(vector), strict=True):
            leaf.assign(part)

    def _gradient_of_leaves(self) -> Any:
        missing = [i for i, leaf in enumerate(self._leaves) if leaf.grad is None]
        if missing:
            raise InputError(f"step(): parameter number {missing[0]} has no gradient; call backward() first, on a loss that depends on it")
        return self._join([raw(leaf.grad) for leaf in self._leaves], "step(): gradient")

    def _load(self, name: str, state: dict[str, Any]) -> Any:
        """Return an array of a state on the parameters' device, checked."""
        array = np.asarray(state[name])
        if array.shape[-1:] != self._vector.shape or array.dtype != self.dtype:
            raise InputError(
                f"state[{name!r}] has shape {array.shape} and dtype {array.dtype}, it must be {self._vector.shape} and {self.dtype}; "
                "load the state of an optimiser of the same parameters"
            )
        return self._xp.asarray(array)

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

    def _bound(self, bounds: tuple[Any, Any] | None, side: int) -> Any:
        """Return one side of the bounds as a vector, or None."""
        if bounds is None:
            return None
        if not isinstance(bounds, tuple) or len(bounds) != 2:
            raise InputError(f"bounds={bounds!r}: must be None or a pair (lower, upper)")
        bound = bounds[side]
        if bound is None:
            return None
        if isinstance(bound, int | float):
            return self._xp.full(self._vector.shape, bound, self.dtype)
        arrays = []
        for leaf, shape in zip(trees.flatten_like(self._structure, bound, f"bounds[{side}]"), self._shapes, strict=True):
            array = self._xp.asarray(raw(leaf), self.dtype)
            try:
                arrays.append(self._xp.broadcast_to(array, shape))
            except ValueError as error:
                raise ShapeError(f"bounds[{side}] has shape {array.shape}, its parameter {shape}; it must broadcast to that") from error
        return self._join(arrays)

    def _check_bounds(self) -> None:
        for side in (self._lower, self._upper):
            if side is not None and bool(self._xp.isnan(side).any()):
                raise InputError("bounds: hold NaN; use None or an infinite value for a side without bound")
        if self._lower is not None and self._upper is not None and bool((self._lower > self._upper).any()):
            raise InputError("bounds: the lower exceeds the upper bound somewhere; the lower must be at most the upper")
        outside = self._clip(self._vector) != self._vector
        if bool(outside.any()):
            worst = float(self._vector[outside][0])
            raise InputError(f"parameters: {int(outside.sum())} values lie outside the bounds, the first is {worst:g}; clip the start")
