"""`minimize` and `least_squares`: loops around an optimiser for those who want the answer only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperion.errors import InputError
from hyperion.optim.gaussnewton import GaussNewton
from hyperion.optim.lbfgs import LBFGS
from hyperion.optim.linesearch import Wolfe

__all__ = ["Result", "least_squares", "minimize"]


@dataclass(frozen=True)
class Result:
    """The outcome of `minimize` or `least_squares`.

    `converged` is True if reason is "gradient" or "value", not if "stalled", "callback" or "iterations".
    """

    parameters: Any
    value: float
    gradient_norm: float
    iterations: int
    evaluations: int
    converged: bool
    reason: str

    def __repr__(self) -> str:
        return f"Result value {self.value:g}, gradient {self.gradient_norm:.2g}, {self.iterations} iterations, stopped by {self.reason}"


def minimize(
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    start: Any,
    *,
    bounds: tuple[Any, Any] | None = None,
    iterations: int = 200,
    gradient_tolerance: float = 1e-6,
    value_tolerance: float = 0.0,
    memory: int = 10,
    first_step: float | None = None,
    preconditioner: Callable[[Any], Any] | None = None,
    wolfe: Wolfe | None = None,
    callback: Callable[[LBFGS], Any] | None = None,
) -> Result:
    """Minimise a function of a tree of parameters by L-BFGS.

    value_and_grad: tree -> (value, tree of gradients), for example `hp.value_and_grad(f)`; start: tree of Tensors or arrays.
    bounds, memory, first_step, preconditioner, wolfe: see LBFGS. iterations: the most that are made.
    gradient_tolerance: stop when no component of the projected gradient is larger. value_tolerance: stop when an iteration lowers the
    value by less than this fraction of it. callback: called with the optimiser after each iteration; stop when it returns True.
    Returns: Result; its parameters are the tree of the last point.

    >>> import numpy as np
    >>> result = minimize(lambda x: (float(((x - 3.0) ** 2).sum()), 2.0 * (x - 3.0)), np.zeros(5), bounds=(None, 2.0))
    >>> result.parameters
    array([2., 2., 2., 2., 2.])
    >>> result.reason
    'gradient'
    """
    optimizer = LBFGS(start, bounds, memory, first_step, preconditioner, wolfe)
    return _run(optimizer, value_and_grad, iterations, gradient_tolerance, value_tolerance, callback)


def least_squares(
    residual: Callable[[Any], Any],
    start: Any,
    *,
    bounds: tuple[Any, Any] | None = None,
    iterations: int = 50,
    gradient_tolerance: float = 1e-6,
    value_tolerance: float = 0.0,
    damping: float = 1e-3,
    cg_iterations: int = 100,
    cg_tolerance: float = 1e-3,
    callback: Callable[[GaussNewton], Any] | None = None,
) -> Result:
    """Minimise half the sum of squares of a residual over a tree of parameters by Gauss-Newton.

    residual: tree -> tree of real Tensors; start: tree of Tensors or arrays. iterations: the most that are made.
    bounds, damping: see GaussNewton; cg_iterations, cg_tolerance: of its inner conjugate gradients.
    gradient_tolerance, value_tolerance, callback: as in `minimize`.
    Returns: Result; its parameters are the tree of the last point, its value half the sum of squares.

    >>> import hyperion as hp
    >>> t = hp.asarray([0.0, 1.0, 2.0, 3.0], dtype="float64")
    >>> data = 2.0 * hp.exp(-0.5 * t)
    >>> result = least_squares(lambda p: p["a"] * hp.exp(-p["rate"] * t) - data, {"a": hp.asarray(1.0, dtype="float64"),
    ...                                                                          "rate": hp.asarray(1.0, dtype="float64")})
    >>> round(result.parameters["a"].item(), 6), round(result.parameters["rate"].item(), 6)
    (2.0, 0.5)
    """
    optimizer = GaussNewton(start, bounds, damping, cg_iterations, cg_tolerance)
    return _run(optimizer, residual, iterations, gradient_tolerance, value_tolerance, callback)


def _run(
    optimizer: Any, function: Any, iterations: int, gradient_tolerance: float, value_tolerance: float, callback: Callable[[Any], Any] | None
) -> Result:
    if iterations < 0:
        raise InputError(f"iterations={iterations!r}: must be at least 0")
    reason = "iterations"
    for _ in range(iterations):
        before = optimizer.value
        value = optimizer.advance(function)
        if callback is not None and callback(optimizer):
            reason = "callback"
        elif optimizer.gradient_norm() <= gradient_tolerance:
            reason = "gradient"
        elif optimizer.stalled:
            reason = "stalled"
        elif before - value < value_tolerance * abs(before):
            reason = "value"
        if reason != "iterations":
            break
    return Result(
        parameters=optimizer.parameters,
        value=optimizer.value,
        gradient_norm=optimizer.gradient_norm(),
        iterations=optimizer.iterations,
        evaluations=optimizer.evaluations,
        converged=reason in ("gradient", "value"),
        reason=reason,
    )
