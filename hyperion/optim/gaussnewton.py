"""Gauss-Newton by conjugate gradients: least squares without matrices, damped as Levenberg and Marquardt do."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.autograd.transforms import Recorded
from hyperion.errors import DtypeError, InputError
from hyperion.optim.optimizer import finite_or_refuse, raw
from hyperion.optim.vector import VectorOptimizer

__all__ = ["GaussNewton"]


class GaussNewton(VectorOptimizer):
    """Minimise half the sum of squares of a residual, inside bounds.

    parameters: tree of Tensors or arrays. bounds: see VectorOptimizer.
    damping: first Levenberg-Marquardt damping, as a fraction of the curvature along the gradient; 0: none, ever.
    iterations, tolerance: of the conjugate gradients in one step: at most so many, until their residual has fallen to this fraction.
    trials: steps tried, with more damping each time, before the iteration counts as stalled.

    One iteration solves (J^T J + damping) s = -J^T r for the step s, where r is the residual and J its Jacobian: never formed, only
    multiplied, J v by a forward and J^T u by a backward sweep over one recorded graph. Variables at a bound that the descent would leave
    are held; the step is projected. It is taken if the value falls; the damping then follows the ratio of the true fall to the predicted.
    Attributes: value (at the current parameters), stalled, evaluations (of the residual), products (with J or its transpose), damping.
    Raises: InputError for options outside their ranges, NonFiniteError if the value at the start is not finite.
    Source: Nocedal and Wright, Numerical Optimization (2nd edition, 2006), chapters 5.1 and 10.3; damping: Nielsen, Damping parameter in
    Marquardt's method (1999), equation 2.4.

    >>> import hyperion as hp
    >>> optimizer = GaussNewton(hp.asarray([-1.2, 1.0], dtype="float64"))
    >>> residual = lambda x: [10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]                  # Rosenbrock's function
    >>> for _ in range(20):
    ...     _ = optimizer.advance(residual)
    >>> [round(float(v), 8) for v in optimizer.parameters.numpy()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        parameters: Any,
        bounds: tuple[Any, Any] | None = None,
        damping: float = 1e-3,
        iterations: int = 100,
        tolerance: float = 1e-3,
        trials: int = 20,
    ):
        super().__init__(parameters, bounds)
        if not (isinstance(damping, int | float) and 0.0 <= damping < math.inf):
            raise InputError(f"damping={damping!r}: must be a finite number of at least 0")
        if not 0.0 < tolerance < 1.0:
            raise InputError(f"tolerance={tolerance!r}: must be in (0, 1)")
        for name, value in (("iterations", iterations), ("trials", trials)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}: must be a whole number of at least 1")
        self.cg_iterations, self.tolerance, self.trials = iterations, tolerance, trials
        self._fraction = float(damping)
        self.damping = math.nan if damping else 0.0     # NaN: not known before the first gradient
        self._growth = 2.0
        self._gradient_norm = math.nan
        self.value, self.stalled, self.evaluations, self.products, self.iterations = math.nan, False, 0, 0, 0

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        raise InputError("step(): Gauss-Newton needs the residual as a function, not a gradient; use advance(residual)")

    def advance(self, value_and_grad: Callable[[Any], Any]) -> float:
        """Make one iteration on a residual and return half its sum of squares at the new parameters.

        value_and_grad: here the residual itself, a function from the tree of parameters to a tree of real Tensors.
        Raises: DtypeError for a complex residual: give its real and imaginary parts.
        """
        self._take_assigned()
        problem = _Linearised(self, value_and_grad)
        self.evaluations += 1
        self.value = finite_or_refuse(problem.value, "Gauss-Newton")
        slope = problem.pull(problem.residual)
        self._gradient_norm = float(abs(self._vector - self._clip(self._vector - slope)).max())
        free = self._free(slope)
        slope = slope * free
        if math.isnan(self.damping):
            along = problem.push(slope)
            self.damping = self._fraction * _ratio(_sum_of_squares(along), self._dot(slope, slope))
        self.iterations += 1
        self.stalled = not self._try(problem, value_and_grad, slope, free)
        self.products += problem.products
        if self._assignable():
            self._write(self._vector)
        return self.value

    def restart(self, forget: bool = False) -> None:
        self.stalled = False
        if forget:
            self.damping, self._growth = math.nan if self._fraction else 0.0, 2.0

    def gradient_norm(self) -> float:
        """Return the largest component of x - clip(x - g) where the last iteration began; NaN before the first."""
        return self._gradient_norm

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE} | {"growth": self._growth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        missing = [name for name in (*_STATE, "growth") if name not in state]
        if missing:
            raise InputError(f"state: {', '.join(missing)} missing; load the state of a GaussNewton")
        for name, kind in _STATE.items():
            setattr(self, name, kind(state[name]))
        self._growth = float(state["growth"])

    def _try(self, problem: "_Linearised", residual: Callable[[Any], Any], slope: Any, free: Any) -> bool:
        """Try steps with more and more damping; take the first that lowers the value."""
        origin = self._vector
        for _ in range(self.trials):
            if not bool(slope.any()):
                return False
            end = self._clip(origin + self._solve(problem, slope, free))
            predicted = problem.value - problem.value_after(end - origin)
            reached = _half_square(self._residual(residual, end))
            self.evaluations += 1
            if math.isfinite(reached) and reached < self.value and predicted > 0.0:
                gain = (self.value - reached) / predicted
                self.damping *= max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
                self._growth = 2.0
                self._vector, self.value = end, reached
                return True
            if self.damping == 0.0:
                return False
            self.damping *= self._growth
            self._growth *= 2.0
        return False

    def _solve(self, problem: "_Linearised", slope: Any, free: Any) -> Any:
        """Return the step: (J^T J + damping) s = -slope on the free variables, by conjugate gradients from zero (algorithm 5.2)."""
        step = self._xp.zeros_like(slope)
        left = -slope
        direction = left
        square = self._dot(left, left)
        enough = self.tolerance**2 * square
        for _ in range(self.cg_iterations):
            along = problem.push(direction)
            curvature = _sum_of_squares(along) + self.damping * self._dot(direction, direction)
            if not curvature > 0.0:
                break
            length = self.dtype.type(square / curvature)
            step = step + length * direction
            left = left - length * (problem.pull(along) * free + self.dtype.type(self.damping) * direction)
            new = self._dot(left, left)
            if new <= enough:
                break
            direction, square = left + self.dtype.type(new / square) * direction, new
        return step

    def _free(self, slope: Any) -> Any:
        """Return where a variable may move: not at a bound that descent points out of."""
        free = self._xp.ones(self._vector.shape, bool)
        if self._lower is not None:
            free &= (self._vector > self._lower) | (slope < 0)
        if self._upper is not None:
            free &= (self._vector < self._upper) | (slope > 0)
        return free

    def _residual(self, residual: Callable[[Any], Any], vector: Any) -> list[Any]:
        with np.errstate(all="ignore"):     # a trial may lie where the residual is not defined
            return [raw(leaf) for leaf in trees.flatten(residual(_as_tensors(self._tree(vector))))[0]]


_STATE: dict[str, Callable[[Any], Any]] = {
    "damping": float, "value": float, "stalled": bool, "evaluations": int, "products": int, "iterations": int,
}


class _Linearised:
    """A residual recorded once at the optimiser's parameters: its value, and products of vectors with its Jacobian.

    What lives in the residual's space is a list of arrays, what lives in the parameters' a vector.
    """

    def __init__(self, optimizer: GaussNewton, residual: Callable[[Any], Any]):
        self._optimizer = optimizer
        self._recorded = Recorded("GaussNewton", residual, (_as_tensors(optimizer._tree(optimizer._vector)),))
        leaves, self._structure = trees.flatten(self._recorded.value)
        self.residual = [raw(leaf) for leaf in leaves]
        if any(array.dtype.kind == "c" for array in self.residual):
            raise DtypeError("advance(residual): the residual is complex; return a list of its real and its imaginary part")
        self.value = _half_square(self.residual)
        self.products = 0

    def push(self, vector: Any) -> list[Any]:
        """Return J v."""
        self.products += 1
        tree = self._recorded.push(_as_tensors(self._optimizer._tree(vector)))
        return [raw(leaf) for leaf in trees.flatten(tree)[0]]

    def pull(self, arrays: list[Any]) -> Any:
        """Return J^T u."""
        self.products += 1
        tree, = self._recorded.pull(trees.unflatten(self._structure, [Tensor(array) for array in arrays]))
        return self._optimizer._join([raw(leaf) for leaf in trees.flatten_like(self._optimizer._structure, tree)])

    def value_after(self, step: Any) -> float:
        """Return the value that the linearised residual has after a step."""
        return _half_square([array + change for array, change in zip(self.residual, self.push(step), strict=True)])


def _as_tensors(tree: Any) -> Any:
    return trees.tree_map(lambda leaf: leaf if isinstance(leaf, Tensor) else Tensor(leaf), tree)


def _sum_of_squares(arrays: list[Any]) -> float:
    return math.fsum(float((array.astype(np.float64) ** 2).sum()) for array in arrays)


def _half_square(arrays: list[Any]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        total = [float((array.astype(np.float64) ** 2).sum()) for array in arrays]
    return 0.5 * sum(total)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0.0 else 1.0
