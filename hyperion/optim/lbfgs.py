"""L-BFGS with bounds: quasi-Newton steps on the variables that are free, projected onto the bounds."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hyperion.autograd import trees
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.optim.linesearch import Point, Wolfe, strong_wolfe
from hyperion.optim.optimizer import finite_or_refuse, number, raw
from hyperion.optim.vector import VectorOptimizer

__all__ = ["LBFGS"]

Evaluate: TypeAlias = Callable[[Any], tuple[float, Any]]    # a vector -> (value, gradient vector)


class LBFGS(VectorOptimizer):
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

    def __init__(
        self,
        parameters: Any,
        bounds: tuple[Any, Any] | None = None,
        memory: int = 10,
        first_step: float | None = None,
        preconditioner: Callable[[Any], Any] | None = None,
        wolfe: Wolfe | None = None,
    ):
        super().__init__(parameters, bounds)
        if memory < 1:
            raise InputError(f"memory={memory!r}: L-BFGS keeps at least 1 pair")
        if first_step is not None and not first_step > 0.0:
            raise InputError(f"first_step={first_step!r}: must be above 0, or None")
        wolfe = wolfe or Wolfe()
        if not 0.0 < wolfe.decrease < wolfe.curvature < 1.0 or wolfe.trials < 1:
            raise InputError(f"wolfe={wolfe}: needs 0 < decrease < curvature < 1 and at least 1 trial")
        self.memory, self.first_step, self.wolfe = memory, first_step, wolfe
        self._preconditioner = preconditioner
        self._pairs: list[tuple[Any, Any]] = []  # (step, change of the gradient), oldest first
        self._gradient: Any = None  # at the current parameters, None: not evaluated yet
        self.value, self.stalled, self.evaluations, self.iterations = math.nan, False, 0, 0

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        """Make one iteration on tracked Tensors (PyTorch's habit) and return the loss.

        closure: () -> loss; it clears the gradients, computes the loss and calls `.backward()`. It is called at several points.
        """
        self._refuse_unless_assignable()
        if closure is None:
            raise InputError("step(): LBFGS evaluates the loss at several points; pass a closure that calls backward()")
        self._take_assigned()

        def evaluate(vector: Any) -> tuple[float, Any]:
            self._write(vector)
            value = number(closure())
            return value, self._gradient_of_leaves()

        value = self._iterate(evaluate)
        self._write(self._vector)
        return value

    def advance(self, value_and_grad: Callable[[Any], tuple[Any, Any]]) -> float:
        """Make one iteration with a function of the tree of parameters that returns (value, tree of gradients); return the value.

        `hp.value_and_grad(f)` is such a function. The value is that at the new parameters.
        """

        def evaluate(vector: Any) -> tuple[float, Any]:
            value, gradients = value_and_grad(self._tree(vector))
            leaves = trees.flatten_like(self._structure, gradients, "value_and_grad(): the tree of gradients")
            return number(value), self._join([raw(leaf) for leaf in leaves], "value_and_grad(): gradient")

        value = self._iterate(evaluate)
        if self._assignable():
            self._write(self._vector)
        return value

    def restart(self, forget: bool = False) -> None:
        self._gradient = None
        self.stalled = False
        if forget:
            self._pairs = []

    def gradient_norm(self) -> float:
        """Return the largest component of x - clip(x - g), zero at a minimum inside the bounds; NaN before the first iteration."""
        if self._gradient is None:
            return math.nan
        return float(abs(self._vector - self._clip(self._vector - self._gradient)).max())

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

    def _iterate(self, evaluate: Evaluate) -> float:
        if self._gradient is None:
            self.value, self._gradient = evaluate(self._vector)
            self.evaluations += 1
            finite_or_refuse(self.value, "L-BFGS")
        reached = self._search(evaluate)
        if reached is None and self._pairs:  # the quadratic model misleads: once more, from the gradient alone
            self._pairs = []
            reached = self._search(evaluate)
        self.iterations += 1
        self.stalled = reached is None
        if reached is not None:
            vector, gradient = reached.payload
            self._remember(vector - self._vector, gradient - self._gradient)
            self.value, self._vector, self._gradient = reached.value, vector, gradient
        return self.value

    def _search(self, evaluate: Evaluate) -> Point | None:
        """Search along the projected quasi-Newton direction. The payload of the point is (vector, gradient)."""
        origin, gradient = self._vector, self._gradient
        free = self._free()
        direction = self._clip(origin - self._inverse_hessian(gradient, free)) - origin
        slope = self._dot(gradient, direction)
        if not slope < 0.0:
            self._pairs = []
            direction = self._clip(origin - self._inverse_hessian(gradient, free)) - origin
            slope = self._dot(gradient, direction)
        if not slope < 0.0:
            return None

        def along(step: float) -> Point:
            vector = self._clip(origin + self.dtype.type(step) * direction)
            value, new = evaluate(vector)
            self.evaluations += 1
            if not math.isfinite(value):
                return Point(step, math.inf, math.inf)
            return Point(step, value, self._dot(new, direction), (vector, new))

        start = Point(0.0, self.value, slope)
        found = strong_wolfe(along, start, 1.0, self._room(direction), self.wolfe)
        return found if found is not None and found.value < self.value else None

    def _free(self) -> Any:
        """Return where a variable may move: not at a bound that the gradient's descent points out of."""
        free = self._xp.ones(self._vector.shape, bool)
        if self._lower is not None:
            free &= (self._vector > self._lower) | (self._gradient < 0)
        if self._upper is not None:
            free &= (self._vector < self._upper) | (self._gradient > 0)
        return free

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

    def _first_scale(self, direction: Any) -> float:
        largest = float(abs(direction).max())
        if largest == 0.0:
            return 1.0
        if self.first_step is not None:
            return self.first_step / largest
        return min(1.0, 1.0 / math.sqrt(self._dot(direction, direction)))

    def _precondition(self, vector: Any, free: Any) -> Any:
        if self._preconditioner is None:
            return vector
        leaves, _ = trees.flatten(self._preconditioner(trees.unflatten(self._structure, self._split(vector))))
        return self._join(leaves, "preconditioner(): result") * free

    def _room(self, direction: Any) -> float:
        """Return the largest step along the direction that stays inside the bounds; at least 1, as its end was projected."""
        room = math.inf
        for bound in (self._lower, self._upper):
            if bound is None:
                continue
            towards = (direction < 0) if bound is self._lower else (direction > 0)
            if bool(towards.any()):
                room = min(room, float(((bound[towards] - self._vector[towards]) / direction[towards]).min()))
        return max(room, 1.0)

    def _remember(self, step: Any, change: Any) -> None:
        """Keep a pair if its curvature is clearly positive, so that the approximate Hessian stays positive definite."""
        curvature = self._dot(step, change)
        if curvature > np.finfo(self.dtype).eps * math.sqrt(self._dot(step, step) * self._dot(change, change)):
            self._pairs = [*self._pairs, (step, change)][-self.memory :]
