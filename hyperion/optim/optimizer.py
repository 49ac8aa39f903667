"""What all optimisers share: parameters as a tree, bounds, and both habits of use.

An optimiser looks at its parameters as one long vector. PyTorch's habit keeps tracked Tensors and calls `step(closure)`; the functional
habit calls `advance(value_and_grad)` and reads `optimizer.parameters`. Both end in the same `_iterate`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError
from hyperion.gpu import device

__all__ = ["Optimizer"]

Evaluate: TypeAlias = Callable[[Any], tuple[float, Any]]  # a vector -> (value, gradient vector)


class Optimizer(ABC):
    """Base of the optimisers: holds the parameters and their bounds, and turns trees into vectors.

    parameters: tree (a Tensor, dict, list, ...) of Tensors or arrays of one floating dtype on one device.
    bounds: None, or (lower, upper), each None, a number, or a tree like `parameters` of arrays that broadcast to its leaves.
    Raises: DtypeError, ShapeError, InputError for parameters that are empty, not floating or not finite, and for bounds that cross or
    exclude them.
    """

    stalled = False  # True when the last iteration found no better point

    def __init__(self, parameters: Any, bounds: tuple[Any, Any] | None):
        leaves, self._structure = trees.flatten(parameters)
        if not leaves:
            raise InputError("parameters: the tree is empty; pass at least one Tensor or array")
        self._leaves = list(leaves)
        arrays = [_raw(leaf) for leaf in leaves]
        self._xp = device.namespace(arrays[0])
        self.dtype = arrays[0].dtype
        for array in arrays:
            if array.dtype.kind != "f":
                raise DtypeError(f"parameters: got dtype {array.dtype}; optimisers need floating-point parameters, use .astype('float32')")
            if array.dtype != self.dtype:
                raise DtypeError(f"parameters: got dtypes {self.dtype} and {array.dtype}; they must agree, convert one with .astype")
        self._shapes = [array.shape for array in arrays]
        self._vector = self._join(arrays)
        if not bool(self._xp.isfinite(self._vector).all()):
            raise InputError("parameters: hold NaN or infinite values; optimisation needs a finite start")
        self._lower, self._upper = self._bound(bounds, 0), self._bound(bounds, 1)
        self._check_bounds()

    @property
    def parameters(self) -> Any:
        """The tree of the current parameters: the Tensors that were passed, or arrays where arrays were passed."""
        if self._assignable():
            return trees.unflatten(self._structure, self._leaves)
        return self._tree(self._vector)

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters."""
        for leaf in self._leaves:
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        """Make one iteration on tracked Tensors (PyTorch's habit) and return the loss, or None without a closure.

        closure: () -> loss; it clears the gradients, computes the loss and calls `.backward()`. Adam runs without one on the gradients
        that are there.
        """
        if not self._assignable():
            raise InputError("step(): not all parameters are Tensors with requires_grad=True; make them so, or use advance()")
        present = self._join([leaf.data for leaf in self._leaves])
        if bool((present != self._vector).any()):  # assigned to by someone else since the last step
            self._vector = present
            self.restart()
        if closure is None:
            return self._step_on_present()

        def evaluate(vector: Any) -> tuple[float, Any]:
            self._write(vector)
            value = _number(closure())
            return value, self._gradient_of_leaves()

        value = self._iterate(evaluate)
        self._write(self._vector)
        return value

    def advance(self, value_and_grad: Callable[[Any], tuple[Any, Any]]) -> float:
        """Make one iteration with a function of the tree of parameters that returns (value, tree of gradients); return the value.

        `hp.value_and_grad(f)` is such a function. The value is that of the last point evaluated by L-BFGS, of the point before the update
        by Adam.
        """

        def evaluate(vector: Any) -> tuple[float, Any]:
            value, gradients = value_and_grad(self._tree(vector))
            leaves = trees.flatten_like(self._structure, gradients, "value_and_grad(): the tree of gradients")
            return _number(value), self._join([_raw(leaf) for leaf in leaves], "value_and_grad(): gradient")

        value = self._iterate(evaluate)
        if self._assignable():
            self._write(self._vector)
        return value

    @abstractmethod
    def restart(self, forget: bool = False) -> None:
        """Say that the function changes (another batch): its value is computed anew. forget: drop what was learnt of its shape too."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state as a dict of NumPy arrays and numbers. The parameters are not part of it."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of `state_dict`; with the same parameters, the next step is bit-identical to the one not taken then."""

    @abstractmethod
    def _iterate(self, evaluate: Evaluate) -> float:
        """Move `self._vector` by one iteration and return the value."""

    def _step_on_present(self) -> None:
        raise InputError(f"step(): {type(self).__name__} evaluates the loss at several points; pass a closure that calls backward()")

    def _clip(self, vector: Any) -> Any:
        if self._lower is not None:
            vector = self._xp.maximum(vector, self._lower)
        if self._upper is not None:
            vector = self._xp.minimum(vector, self._upper)
        return vector

    def _assignable(self) -> bool:
        return all(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in self._leaves)

    def _write(self, vector: Any) -> None:
        for leaf, part in zip(self._leaves, self._split(vector), strict=True):
            leaf.assign(part)

    def _gradient_of_leaves(self) -> Any:
        missing = [i for i, leaf in enumerate(self._leaves) if leaf.grad is None]
        if missing:
            raise InputError(f"step(): parameter number {missing[0]} has no gradient; call backward() first, on a loss that depends on it")
        return self._join([_raw(leaf.grad) for leaf in self._leaves], "step(): gradient")

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
            array = self._xp.asarray(_raw(leaf), self.dtype)
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


def _raw(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.data
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _number(value: Any) -> float:
    """Return a loss as a Python float."""
    if isinstance(value, Tensor):
        value = value.item()
    return float(value)


def finite_or_refuse(value: float, what: str) -> float:
    """Return the value; a NaN or infinite one cannot be optimised from."""
    if not math.isfinite(value):
        raise NonFiniteError(f"{what}: the value is {value}; optimisation needs a finite one at its start, check parameters and data")
    return value
