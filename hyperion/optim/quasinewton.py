"""Quasi-Newton steps with a strong-Wolfe line search inside bounds: what L-BFGS and the self-scaled Broyden family share."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from hyperion.autograd import trees
from hyperion.errors import InputError
from hyperion.optim.linesearch import Point, Wolfe, strong_wolfe
from hyperion.optim.optimizer import finite_or_refuse, number, raw
from hyperion.optim.vector import VectorOptimizer

__all__ = ["QuasiNewton"]

Evaluate: TypeAlias = Callable[[Any], tuple[float, Any]]    # a vector -> (value, gradient vector)


class QuasiNewton(VectorOptimizer):
    """Base of the optimisers that learn the Hessian from changes of the gradient.

    parameters, bounds: see VectorOptimizer.  first_step: the largest change of any parameter in the first iteration; None: a step of
    length 1 at most.  wolfe: constants of the line search.

    One iteration: a variable at a bound whose gradient points outwards is held; the approximate inverse Hessian of the others gives a
    direction, which is projected so that its end is inside the bounds (the active sets of Bertsekas 1982); a strong-Wolfe line search
    along it goes no further than the nearest bound. So every evaluated point is inside the bounds.
    Subclasses say how the inverse Hessian is kept: `_inverse_hessian`, `_remember`, `_learnt`, `_forget`.
    Raises: InputError for a wrong option.
    Source: Nocedal and Wright, Numerical Optimization (2nd edition, 2006), chapters 6 and 7; Bertsekas, SIAM J. Control Optim. 20 (1982)
    221.
    """

    _title: ClassVar[str]       # of the method, in errors

    def __init__(self, parameters: Any, bounds: tuple[Any, Any] | None, first_step: float | None, wolfe: Wolfe | None):
        super().__init__(parameters, bounds)
        is_number = isinstance(first_step, int | float) and not isinstance(first_step, bool)
        if first_step is not None and not (is_number and 0.0 < first_step < math.inf):
            raise InputError(f"first_step={first_step!r}: must be a finite number above 0, or None")
        if not isinstance(wolfe, Wolfe | None):
            raise InputError(f"wolfe={wolfe!r}: give optim.Wolfe(decrease=..., curvature=..., trials=...), or None")
        wolfe = wolfe or Wolfe()
        if not 0.0 < wolfe.decrease < wolfe.curvature < 1.0 or wolfe.trials < 1:
            raise InputError(f"wolfe={wolfe}: needs 0 < decrease < curvature < 1 and at least 1 trial")
        self.first_step, self.wolfe = first_step, wolfe
        self._gradient: Any = None  # at the current parameters, None: not evaluated yet
        self.value, self.stalled, self.evaluations, self.iterations = math.nan, False, 0, 0

    @abstractmethod
    def _inverse_hessian(self, gradient: Any, free: Any) -> Any:
        """Return the approximate inverse Hessian of the free variables times the gradient."""

    @abstractmethod
    def _remember(self, step: Any, change: Any, length: float) -> None:
        """Learn from a step and the change of the gradient along it; `_gradient` is still the one before.

        length: of the step, in units of the direction that `_search` took.
        """

    @abstractmethod
    def _learnt(self) -> bool:
        """Tell whether there is anything to forget."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget all that was learnt of the Hessian."""

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        """Make one iteration on tracked Tensors (PyTorch's habit) and return the loss.

        closure: () -> loss; it clears the gradients, computes the loss and calls `.backward()`. It is called at several points.
        """
        self._refuse_unless_assignable()
        if closure is None:
            raise InputError(f"step(): {type(self).__name__} evaluates the loss at several points; pass a closure that calls backward()")
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

        self._take_assigned()
        value = self._iterate(evaluate)
        if self._assignable():
            self._write(self._vector)
        return value

    def restart(self, forget: bool = False) -> None:
        self._gradient = None
        self.stalled = False
        if forget:
            self._forget()

    def gradient_norm(self) -> float:
        """Return the largest component of x - clip(x - g), zero at a minimum inside the bounds; NaN before the first iteration."""
        if self._gradient is None:
            return math.nan
        return float(abs(self._vector - self._clip(self._vector - self._gradient)).max())

    def _iterate(self, evaluate: Evaluate) -> float:
        if self._gradient is None:
            self.value, self._gradient = evaluate(self._vector)
            self.evaluations += 1
            finite_or_refuse(self.value, self._title)
        reached = self._search(evaluate)
        if reached is None and self._learnt():  # the quadratic model misleads: once more, from the gradient alone
            self._forget()
            reached = self._search(evaluate)
        self.iterations += 1
        self.stalled = reached is None
        if reached is not None:
            vector, gradient = reached.payload
            self._remember(vector - self._vector, gradient - self._gradient, reached.step)
            self.value, self._vector, self._gradient = reached.value, vector, gradient
        return self.value

    def _search(self, evaluate: Evaluate) -> Point | None:
        """Search along the projected quasi-Newton direction. The payload of the point is (vector, gradient)."""
        origin, gradient = self._vector, self._gradient
        free = self._free()
        direction = self._clip(origin - self._inverse_hessian(gradient, free)) - origin
        slope = self._dot(gradient, direction)
        if not slope < 0.0:
            self._forget()
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

    def _first_scale(self, direction: Any) -> float:
        largest = float(abs(direction).max())
        if largest == 0.0:
            return 1.0
        if self.first_step is not None:
            return self.first_step / largest
        return min(1.0, 1.0 / math.sqrt(self._dot(direction, direction)))

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
