"""L-BFGS with bounds: quasi-Newton steps on the variables that are free, projected onto the bounds."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from hyperion.autograd import trees
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.optim.linesearch import Wolfe
from hyperion.optim.quasinewton import QuasiNewton

__all__ = ["LBFGS"]


class LBFGS(QuasiNewton):
    """Minimise a smooth function by limited-memory BFGS, inside bounds.

    parameters: tree of Tensors or arrays. bounds: see Optimizer. memory: how many pairs of steps and gradient changes are kept.
    first_step: the largest change of any parameter in the first iteration [unit of the parameters]; None: a step of length 1 at most.
    preconditioner: None, or a function from a tree of gradients to a tree: a symmetric positive (semi-)definite guess of the inverse
    Hessian, up to a factor.
    wolfe: constants of the line search.

    One iteration: a variable at a bound whose gradient points outwards is held; the two-loop recursion (algorithm 7.4 of the source) on
    the others gives a direction, which is projected so that its end is inside the bounds (the active sets of Bertsekas 1982); a
    strong-Wolfe line search along it goes no further than the nearest bound. So every evaluated point is inside the bounds, and without
    bounds this is plain L-BFGS.
    Attributes: value (at the current parameters), stalled (True when the last iteration found no better point), evaluations, iterations.
    Raises: InputError for a wrong option, NonFiniteError if the value at the start is not finite.
    Source: Nocedal and Wright, Numerical Optimization (2nd edition, 2006), chapter 7.2; Bertsekas, SIAM J. Control Optim. 20 (1982) 221.

    >>> import hyperion as hp
    >>> optimizer = LBFGS(hp.asarray([-1.2, 0.5], dtype="float64"), bounds=(-2.0, 0.8))
    >>> rosenbrock = hp.value_and_grad(lambda x: 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)
    >>> for _ in range(40):
    ...     _ = optimizer.advance(rosenbrock)
    >>> [round(float(v), 4) for v in optimizer.parameters.numpy()]
    [0.8, 0.64]
    """

    _title: ClassVar[str] = "L-BFGS"

    def __init__(
        self,
        parameters: Any,
        bounds: tuple[Any, Any] | None = None,
        memory: int = 10,
        first_step: float | None = None,
        preconditioner: Callable[[Any], Any] | None = None,
        wolfe: Wolfe | None = None,
    ):
        super().__init__(parameters, bounds, first_step, wolfe)
        if memory < 1:
            raise InputError(f"memory={memory!r}: L-BFGS keeps at least 1 pair")
        self.memory = memory
        self._preconditioner = preconditioner
        self._pairs: list[tuple[Any, Any]] = []  # (step, change of the gradient), oldest first

    def state_dict(self) -> dict[str, Any]:
        empty = np.zeros((0, self._vector.size), self.dtype)
        state: dict[str, Any] = {
            "steps": np.stack([device.to_numpy(s) for s, _ in self._pairs]) if self._pairs else empty,
            "changes": np.stack([device.to_numpy(y) for _, y in self._pairs]) if self._pairs else empty,
            "value": self.value,
            "stalled": self.stalled,
            "evaluations": self.evaluations,
            "iterations": self.iterations,
        }
        if self._gradient is not None:
            state["gradient"] = device.to_numpy(self._gradient)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        arrays = self._checked(state)
        self._pairs = list(zip(arrays["steps"], arrays["changes"], strict=True))
        self._gradient = arrays.get("gradient")
        self.value, self.stalled = float(state["value"]), bool(state["stalled"])
        self.evaluations, self.iterations = int(state["evaluations"]), int(state["iterations"])

    def _checked(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the arrays of a state on the parameters' device, or list all that does not fit."""
        needed = ("steps", "changes", "value", "stalled", "evaluations", "iterations")
        problems = [f"{name} is missing" for name in needed if name not in state]
        arrays = {name: np.asarray(state[name]) for name in ("steps", "changes", "gradient") if name in state}
        for name, array in arrays.items():
            ndim = 1 if name == "gradient" else 2
            if array.ndim != ndim or array.shape[-1:] != self._vector.shape or array.dtype != self.dtype:
                problems.append(f"{name} has shape {array.shape} and dtype {array.dtype}, it must end in {self._vector.shape} and be "
                                f"{self.dtype}")
        if not problems and len(arrays["steps"]) != len(arrays["changes"]):
            problems.append(f"there are {len(arrays['steps'])} steps and {len(arrays['changes'])} changes; they come in pairs")
        if problems:
            raise InputError(f"state: {'; '.join(problems)}. Load the state of an LBFGS of the same parameters")
        return {name: self._xp.asarray(array) for name, array in arrays.items()}

    def _inverse_hessian(self, gradient: Any, free: Any) -> Any:
        """Return the approximate inverse Hessian of the free variables times the gradient: the two-loop recursion."""
        whole = bool(free.all())
        pairs = self._pairs if whole else [(step * free, change * free) for step, change in self._pairs]
        weighted = [(step, change, self._dot(step, change)) for step, change in pairs]
        weighted = [pair for pair in weighted if pair[2] > 0.0]
        out = gradient if whole else gradient * free
        factors = []
        for step, change, product in reversed(weighted):
            factor = self._dot(step, out) / product
            factors.append(factor)
            out = out - self.dtype.type(factor) * change
        out = self._precondition(out, free)
        if weighted:
            step, change, product = weighted[-1]
            scale = product / self._dot(change, self._precondition(change, free))
        else:
            scale = self._first_scale(out)
        out = self.dtype.type(scale) * out
        for (step, change, product), factor in zip(weighted, reversed(factors), strict=True):
            out = out + self.dtype.type(factor - self._dot(change, out) / product) * step
        return out if whole else out * free

    def _precondition(self, vector: Any, free: Any) -> Any:
        if self._preconditioner is None:
            return vector
        leaves, _ = trees.flatten(self._preconditioner(trees.unflatten(self._structure, self._split(vector))))
        return self._join(leaves, "preconditioner(): result") * free

    def _learnt(self) -> bool:
        return bool(self._pairs)

    def _forget(self) -> None:
        self._pairs = []

    def _remember(self, step: Any, change: Any, length: float) -> None:
        """Keep a pair if its curvature is clearly positive, so that the approximate Hessian stays positive definite."""
        curvature = self._dot(step, change)
        if curvature > np.finfo(self.dtype).eps * math.sqrt(self._dot(step, step) * self._dot(change, change)):
            self._pairs = [*self._pairs, (step, change)][-self.memory :]
