"""Levenberg-Marquardt with the whole Gauss-Newton matrix, for least squares over many points with a few thousand parameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor, trees
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.optim.optimizer import finite_or_refuse, raw
from hyperion.optim.vector import VectorOptimizer

__all__ = ["LevenbergMarquardt", "Pointwise"]

_symv, _syrk = get_blas_funcs(("symv", "syrk"), dtype=np.float64)
_potrf, _potrs = get_lapack_funcs(("potrf", "potrs"), dtype=np.float64)


@dataclass(frozen=True)
class Pointwise:
    """A part of a least-squares problem: a residual at many points, each of which depends on its own point only.

    function: (tree of parameters, points) -> Tensor (n, ...), for any number n of points: row i depends on row i of the points only.
    points: tree of Tensors or arrays that begin with one axis of n points; data belong there too.
    weight: the part is weight / 2 * the sum of squares; for a mean of squares give 2 / n or 1 / n.
    Raises: ShapeError if the arrays differ in their number of points; InputError for a weight that is not positive.

    >>> Pointwise(lambda p, rows: p["slope"] * rows["x"] - rows["y"], {"x": np.arange(4.0), "y": np.ones(4)}).count
    4
    """

    function: Callable[[Any, Any], Any]
    points: Any
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"Pointwise(function): got {self.function!r}; give a function (parameters, points) -> residual")
        shapes = [raw(leaf).shape for leaf in trees.flatten(self.points)[0]]
        if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes) or not shapes[0][0]:
            raise ShapeError(f"Pointwise(points): the arrays have shapes {shapes}; they must begin with one axis of as many points")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0.0 < self.weight < math.inf:
            raise InputError(f"Pointwise(weight={self.weight!r}): must be a number above 0")

    @property
    def count(self) -> int:
        """The number of points."""
        return raw(trees.flatten(self.points)[0][0]).shape[0]

    def residual(self, parameters: Any) -> Any:
        """Return the residual at all points. Raises: ShapeError unless it has a row for each of them."""
        found = as_tensor(self.function(parameters, self.points))
        if found.shape[:1] != (self.count,):
            raise ShapeError(f"Pointwise(function): returned shape {found.shape} for {self.count} points; it must be ({self.count}, ...): "
                             "a row for each point, from that point alone")
        return found


class LevenbergMarquardt(VectorOptimizer):
    """Minimise half a weighted sum of squares by damped Gauss-Newton steps whose linear systems are solved exactly, inside bounds.

    parameters: tree of Tensors or arrays, up to a few thousand numbers, best float64.  bounds: see VectorOptimizer.
    damping: first Levenberg-Marquardt damping, as a fraction of the largest diagonal element of J^T J.
    trials: steps tried, with more damping each time, before the iteration counts as stalled.
    block: points whose gradients are made at once; None: as many as hold about a million numbers.
    acceleration: whether steps bend with the residual: to the Gauss-Newton step v is added half of a, which solves the same system for
        J^T times the residual's second derivative along v (by differences: two evaluations, one gradient). A step with |a| above 3/8 |v|
        lies beyond where the expansion holds and is tried again with more damping. False: v alone.

    One iteration forms A = J^T J and solves (A + damping) s = -J^T r by Cholesky's factorisation: 8 size^2 bytes twice, size^3 / 3 flops a
    trial. Rows of J come point by point from one batched backward sweep, so they cost about as much as ten gradients, whatever the
    number of parameters; A is summed over blocks of points, J is never held as a whole. The step is taken if the value falls; the damping
    then follows the ratio of the true fall to the predicted. Each `advance` may have other points.
    On the losses of small PINNs this is the energy natural gradient of their residuals, and needs tens of iterations where first-order
    optimisers need 10^5. A loss this well minimised at few points says little about the places between them: give a few times more points
    than there are parameters, or draw them anew. For more parameters use `GaussNewton`, which needs no matrix, or `SelfScaledBroyden`.
    Attributes: value (at the current parameters), stalled, evaluations (of the residual), iterations, damping.
    Raises: InputError for options outside their ranges, NonFiniteError if the value at the start is not finite.
    Source: Nocedal and Wright, Numerical Optimization (2nd edition, 2006), chapter 10.3; damping: Nielsen, Damping parameter in Marquardt's
    method (1999), equation 2.4; acceleration: Transtrum and Sethna 2012, arXiv:1201.5885, section III; for PINNs: Mueller and Zeinhofer
    2023, arXiv:2302.13163.

    >>> x = np.linspace(0.0, 1.0, 50)
    >>> part = Pointwise(lambda p, rows: hp.exp(-p["rate"] * rows[0]) * p["a"] - rows[1], (x, 2.0 * np.exp(-0.5 * x)))
    >>> optimizer = LevenbergMarquardt({"a": np.array(1.0), "rate": np.array(1.0)})
    >>> for _ in range(20):
    ...     _ = optimizer.advance(part)
    >>> round(float(optimizer.parameters["a"]), 6), round(float(optimizer.parameters["rate"]), 6)
    (2.0, 0.5)
    """

    def __init__(
        self,
        parameters: Any,
        bounds: tuple[Any, Any] | None = None,
        damping: float = 1e-3,
        trials: int = 20,
        block: int | None = None,
        acceleration: bool = True,
    ):
        super().__init__(parameters, bounds)
        if isinstance(damping, bool) or not isinstance(damping, int | float) or not 0.0 < damping < math.inf:
            raise InputError(f"damping={damping!r}: must be a finite number above 0")
        for name, value in (("trials", trials), ("block", 1 if block is None else block)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}: must be a whole number of at least 1")
        self.trials, self.acceleration = trials, bool(acceleration)
        self.block = block or max(32, 2**20 // self._vector.size)
        self._fraction = float(damping)
        self.damping, self._growth = math.nan, 2.0      # NaN: not known before the first matrix
        self._gradient_norm = math.nan
        self.value, self.stalled, self.evaluations, self.iterations = math.nan, False, 0, 0

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        raise InputError("step(): Levenberg-Marquardt needs residuals as functions, not a gradient; use advance(parts)")

    def advance(self, value_and_grad: Any) -> float:
        """Make one iteration and return half the weighted sum of squares at the new parameters.

        value_and_grad: here a `Pointwise`, or a list or dict of them; or a function from the tree of parameters to a tree of real
        Tensors, whose Jacobian is then formed as a whole.
        Raises: DtypeError for a complex residual: give its real and imaginary parts; ShapeError or InputError for an empty one.
        """
        self._take_assigned()
        parts = _listed(value_and_grad)
        matrix, slope, value = self._normal_equations(parts)
        self.evaluations += 1
        self.value = finite_or_refuse(value, "Levenberg-Marquardt")
        self._gradient_norm = float(abs(self._vector - self._clip(self._vector - slope.astype(self.dtype))).max())
        if math.isnan(self.damping):
            self.damping = self._fraction * (float(matrix.diagonal().max()) or 1.0)
        self.iterations += 1
        self.stalled = not self._try(parts, matrix, slope)
        if self._assignable():
            self._write(self._vector)
        return self.value

    def restart(self, forget: bool = False) -> None:
        self.stalled = False
        if forget:
            self.damping, self._growth = math.nan, 2.0

    def gradient_norm(self) -> float:
        """Return the largest component of x - clip(x - g) where the last iteration began; NaN before the first."""
        return self._gradient_norm

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE} | {"growth": self._growth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        missing = [name for name in (*_STATE, "growth") if name not in state]
        if missing:
            raise InputError(f"state: {', '.join(missing)} missing; load the state of a LevenbergMarquardt")
        for name, kind in _STATE.items():
            setattr(self, name, kind(state[name]))
        self._growth = float(state["growth"])

    def _try(self, parts: "list[Pointwise | _Whole]", matrix: Any, slope: Any) -> bool:
        """Try steps with more and more damping; take the first that lowers the value."""
        free = self._free(slope)
        where = None if bool(free.all()) else self._xp.flatnonzero(free)
        inner, right = (matrix, slope) if where is None else (matrix[where][:, where], slope[where])
        if not bool(right.any()):
            return False
        for _ in range(self.trials):
            solve = _solver(self._xp, inner, self.damping)
            if solve is not None and self._taken(parts, matrix, slope, where, solve):
                return True
            self.damping *= self._growth
            self._growth *= 2.0
        return False

    def _taken(self, parts: "list[Pointwise | _Whole]", matrix: Any, slope: Any, where: Any, solve: Callable[[Any], Any]) -> bool:
        """Try the step of one damping; take it if the value falls."""

        def whole(right: Any) -> Any:
            if where is None:
                return solve(right)
            out = self._xp.zeros_like(right)
            out[where] = solve(right[where])
            return out

        step = whole(-slope)
        straight = self._vector + step.astype(self.dtype)
        end = self._clip(straight)
        if not bool((end == straight).all()):
            step = (end - self._vector).astype(np.float64)      # a bound has bent it
        elif self.acceleration:
            bend = whole(-self._curvature(parts, step))
            if not self._dot(bend, bend) <= (0.375**2) * self._dot(step, step):
                return False
            end = self._clip(self._vector + (step + 0.5 * bend).astype(self.dtype))
        predicted = -self._dot(slope, step) - 0.5 * self._dot(step, _product(self._xp, matrix, step))
        reached = self._value(parts, end)
        self.evaluations += 1
        if not (math.isfinite(reached) and reached < self.value and predicted > 0.0):
            return False
        gain = (self.value - reached) / predicted
        self.damping *= max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
        self._growth = 2.0
        self._vector, self.value = end, reached
        return True

    def _curvature(self, parts: "list[Pointwise | _Whole]", step: Any) -> Any:
        """Return J^T times the second derivative of the residual along a step, in float64."""
        far = 0.1           # the difference's own error is of its square; a direction that good is enough
        ends = [_as_tensors(self._tree(self._vector + (sign * far * step).astype(self.dtype))) for sign in (-1.0, 1.0)]
        tree = _as_tensors(self._tree(self._vector))
        self.evaluations += 2
        total = self._xp.zeros(step.shape)
        for part in parts:
            value, pull = hp.vjp(part.residual, tree)
            leaves, structure = trees.flatten(value)
            with np.errstate(all="ignore"), hp.no_grad():
                before, after = ([raw(x) for x in trees.flatten(part.residual(end))[0]] for end in ends)
            second = [Tensor((a - 2.0 * raw(x) + b) / (far * far)) for a, x, b in zip(before, leaves, after, strict=True)]
            gradient, = pull(trees.unflatten(structure, second))
            total += part.weight * self._join([raw(x) for x in trees.flatten(gradient)[0]]).astype(np.float64)
        return total

    def _free(self, slope: Any) -> Any:
        """Return where a variable may move: not at a bound that descent points out of."""
        free = self._xp.ones(self._vector.shape, bool)
        if self._lower is not None:
            free &= (self._vector > self._lower) | (slope < 0)
        if self._upper is not None:
            free &= (self._vector < self._upper) | (slope > 0)
        return free

    def _normal_equations(self, parts: "list[Pointwise | _Whole]") -> tuple[Any, Any, float]:
        """Return J^T J (its lower triangle counts), J^T r and the value, in float64."""
        size = self._vector.size
        tree = _as_tensors(self._tree(self._vector))
        matrix = self._xp.zeros((size, size), order="F")
        slope, value = self._xp.zeros(size), 0.0
        for part in parts:
            for residual, rows in part.linearised(tree, self) if isinstance(part, _Whole) else _rows(part, tree, self):
                matrix = _add_product(self._xp, matrix, rows, part.weight)
                slope += part.weight * (rows.T @ residual)
                value += 0.5 * part.weight * float(residual @ residual)
        return matrix, slope, value

    def _value(self, parts: "list[Pointwise | _Whole]", vector: Any) -> float:
        tree = _as_tensors(self._tree(vector))
        total = 0.0
        with np.errstate(all="ignore"), hp.no_grad():     # a trial may lie where the residual is not defined
            for part in parts:
                leaves = trees.flatten(part.residual(tree))[0]
                total += 0.5 * part.weight * sum(float((raw(x).astype(np.float64) ** 2).sum()) for x in leaves)
        return total


_STATE: dict[str, Callable[[Any], Any]] = {"damping": float, "value": float, "stalled": bool, "evaluations": int, "iterations": int}


def _listed(given: Any) -> "list[Pointwise | _Whole]":
    if isinstance(given, Pointwise):
        return [given]
    found = list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, list | tuple) else []
    if found and all(isinstance(part, Pointwise) for part in found):
        return found
    if callable(given):
        return [_Whole(given)]
    raise InputError(f"advance(parts): got a {type(given).__name__}; give a Pointwise, a list or dict of them, or a function that returns "
                     "the residual")


@dataclass(frozen=True)
class _Whole:
    """A residual without points: its Jacobian is formed as a whole."""

    residual: Callable[[Any], Any]
    weight: float = 1.0

    def linearised(self, tree: Any, optimizer: LevenbergMarquardt) -> Any:
        """Yield (residual, rows of the Jacobian), as vector and matrix."""
        def flat(leaves: Any) -> list[Tensor]:
            return [_usable(as_tensor(leaf)).reshape(-1) for leaf in trees.flatten(self.residual(leaves))[0]]

        residuals = flat(tree)
        if not residuals:
            raise InputError("advance(parts): the function returns no residual; return at least one Tensor")
        jacobians = hp.jacobian(flat)(tree)
        for residual, jacobian in zip(residuals, jacobians, strict=True):
            leaves = [raw(leaf).reshape(residual.size, -1) for leaf in trees.flatten(jacobian)[0]]
            yield raw(residual).astype(np.float64), optimizer._xp.concatenate(leaves, axis=1).astype(np.float64, copy=False)


def _rows(part: Pointwise, tree: Any, optimizer: LevenbergMarquardt) -> Any:
    """Yield (residual, rows of the Jacobian) of blocks of points, as vector and matrix."""

    def at_one(parameters: Any, row: Any) -> tuple[Tensor, list[Any]]:
        alone = trees.tree_map(lambda x: hp.expand_dims(x, 0), row)
        value, pull = hp.vjp(lambda p: _usable(as_tensor(part.function(p, alone))).reshape(-1), parameters)
        units = np.eye(value.size, dtype=value.dtype)
        return value, [pull(as_tensor(optimizer._xp.asarray(unit)))[0] for unit in units]

    many = hp.vmap(at_one, in_axes=(None, 0))
    for start in range(0, part.count, optimizer.block):
        rows = trees.tree_map(lambda x, start=start: x[start:start + optimizer.block], part.points)
        values, gradients = many(tree, rows)
        for k, gradient in enumerate(gradients):
            leaves = [raw(leaf).reshape(values.shape[0], -1) for leaf in trees.flatten(gradient)[0]]
            joined = optimizer._xp.concatenate(leaves, axis=1).astype(np.float64, copy=False)
            yield raw(values)[:, k].astype(np.float64), joined


def _usable(x: Tensor) -> Tensor:
    if x.dtype.kind == "c":
        raise DtypeError("advance(parts): the residual is complex; return its real and its imaginary part")
    if not x.size:
        raise ShapeError(f"advance(parts): the residual has shape {x.shape}, so there is nothing to fit; return at least one number")
    return x


def _add_product(xp: Any, matrix: Any, rows: Any, weight: float) -> Any:
    """Return matrix + weight * rows^T rows; on the CPU only the lower triangle is kept."""
    if xp is np:
        return _syrk(weight, rows.T, beta=1.0, c=matrix, lower=1, overwrite_c=1)
    matrix += weight * (rows.T @ rows)
    return matrix


def _product(xp: Any, matrix: Any, vector: Any) -> Any:
    if xp is not np:
        return matrix @ vector
    return _symv(1.0, matrix, vector, lower=1)


def _solver(xp: Any, matrix: Any, damping: float) -> Callable[[Any], Any] | None:
    """Return what solves (matrix + damping) x = right, or None if that is not positive definite in float64."""
    damped = matrix.copy(order="F")
    places = xp.arange(len(matrix))
    damped[places, places] += damping
    if xp is np:
        factor, failed = _potrf(damped, lower=1, overwrite_a=1, clean=0)
        return None if failed else lambda right: _potrs(factor, right, lower=1)[0]
    factor = xp.linalg.cholesky(damped)
    if not bool(xp.isfinite(factor).all()):
        return None
    solve = device.scipy_module(xp, "linalg").solve_triangular
    return lambda right: solve(factor, solve(factor, right, lower=True), trans="T", lower=True)


def _as_tensors(tree: Any) -> Any:
    return trees.tree_map(lambda leaf: leaf if isinstance(leaf, Tensor) else Tensor(leaf), tree)
