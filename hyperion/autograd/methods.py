"""Iterative methods for linear systems, roots and fixed points, on raw vectors: values that are passed to `linear_solve` and its kin."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex, real_dtype
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.transforms import linearize
from hyperion.errors import ConvergenceError, InputError
from hyperion.gpu import device

__all__ = ["CG", "GMRES", "Newton", "Picard"]

Multiply = Callable[[Any], Any]         # raw vector -> raw vector


def _norm(x: Any) -> float:
    return math.sqrt(float((abs(x) ** 2).sum()))


def _check(name: str, tolerance: Any, **counts: Any) -> None:
    """Refuse a tolerance that is no positive number, and counts that are no positive integers; None stands for a default."""
    if tolerance is not None and not (isinstance(tolerance, float | int) and 0.0 < tolerance < math.inf):
        raise InputError(f"{name}(tolerance={tolerance!r}): must be a positive number, or None")
    for key, value in counts.items():
        if value is not None and not (isinstance(value, int) and value > 0):
            raise InputError(f"{name}({key}={value!r}): must be a positive integer")


def _goal(tolerance: float | None, dtype: np.dtype[Any]) -> float:
    """Return the relative tolerance: by default near what the dtype can reach."""
    return tolerance if tolerance is not None else 1e-5 if real_dtype(dtype).itemsize < 8 else 1e-12


class CG:
    """Conjugate gradients, for symmetric (Hermitian) positive definite systems.

    tolerance: of |b - A x| / |b|; default 1e-12 in float64, 1e-5 in float32.  iterations: at most so many; default ten per unknown.
    Source: Hestenes and Stiefel (1952).

    >>> CG()
    CG(tolerance=None, iterations=None)
    """

    def __init__(self, tolerance: float | None = None, iterations: int | None = None) -> None:
        _check("CG", tolerance, iterations=iterations)
        self.tolerance = tolerance
        self.iterations = iterations

    def __repr__(self) -> str:
        return f"CG(tolerance={self.tolerance}, iterations={self.iterations})"

    def solve(self, multiply: Multiply, b: Any) -> Any:
        """Return x with A x = b, for raw vectors.

        Raises: ConvergenceError if the tolerance is not reached, or the matrix is seen not to be positive definite.
        """
        xp = device.namespace(b)
        x, r = xp.zeros_like(b), b.copy()
        p = r.copy()
        goal, rho = _goal(self.tolerance, b.dtype) * _norm(b), float(xp.vdot(r, r).real)
        limit = self.iterations or 10 * b.size
        for _ in range(limit):
            if math.sqrt(rho) <= goal:
                return x
            q = multiply(p)
            curvature = float(xp.vdot(p, q).real)
            if not curvature > 0.0:
                raise ConvergenceError(f"CG: p' A p = {curvature:.3g}; the matrix must be symmetric positive definite: use method=GMRES()")
            step = rho / curvature
            x, r = x + step * p, r - step * q
            rho, before = float(xp.vdot(r, r).real), rho
            p = r + (rho / before) * p
        if math.sqrt(rho) <= goal:
            return x
        raise ConvergenceError(
            f"CG: |b - A x| = {math.sqrt(rho):.3g} after {limit} iterations, wanted {goal:.3g}; give more iterations, a larger tolerance, "
            "or method=GMRES() if the matrix is not symmetric positive definite"
        )


class GMRES:
    """Generalised minimal residuals with restarts, for any regular system.

    tolerance: of |b - A x| / |b|; default 1e-12 in float64, 1e-5 in float32.  restart: basis vectors kept.  iterations: at most so many.
    Source: Saad and Schultz (1986); orthogonalised twice by classical Gram-Schmidt.

    >>> GMRES(restart=30)
    GMRES(tolerance=None, restart=30, iterations=None)
    """

    def __init__(self, tolerance: float | None = None, restart: int = 50, iterations: int | None = None) -> None:
        _check("GMRES", tolerance, restart=restart, iterations=iterations)
        self.tolerance = tolerance
        self.restart = restart
        self.iterations = iterations

    def __repr__(self) -> str:
        return f"GMRES(tolerance={self.tolerance}, restart={self.restart}, iterations={self.iterations})"

    def solve(self, multiply: Multiply, b: Any) -> Any:
        """Return x with A x = b, for raw vectors.

        Raises: ConvergenceError if the tolerance is not reached.
        """
        xp = device.namespace(b)
        x, r = xp.zeros_like(b), b
        goal, size = _goal(self.tolerance, b.dtype) * _norm(b), _norm(b)
        limit, done = self.iterations or 10 * b.size + 10, 0
        if not math.isfinite(size):
            raise ConvergenceError("GMRES: the right-hand side holds NaN or Inf")
        while size > goal and done < limit:
            correction, steps = self._cycle(xp, multiply, r, size, goal, min(self.restart, limit - done, b.size))
            x, done = x + correction, done + steps
            r = b - multiply(x)
            size, before = _norm(r), size
            if not size < before:
                break
        if size <= goal:
            return x
        raise ConvergenceError(
            f"GMRES: |b - A x| = {size:.3g} after {done} iterations, wanted {goal:.3g}; the matrix may be singular: check it, or give a "
            "larger tolerance, restart or number of iterations"
        )

    def _cycle(self, xp: Any, multiply: Multiply, r: Any, size: float, goal: float, steps: int) -> tuple[Any, int]:
        """Return the best correction in a Krylov space of at most so many steps, and the steps taken."""
        basis = xp.empty((steps + 1, r.size), dtype=r.dtype)
        basis[0] = r / size
        h = np.zeros((steps + 1, steps), dtype=np.complex128 if is_complex(r.dtype) else np.float64)
        target = np.zeros(steps + 1, dtype=h.dtype)
        target[0] = size
        y = np.zeros(0, dtype=h.dtype)
        for k in range(steps):
            w = multiply(basis[k])
            scale = _norm(w)
            for _ in range(2):
                projection = basis[:k + 1].conj() @ w
                w = w - projection @ basis[:k + 1]
                h[:k + 1, k] += device.to_numpy(projection)
            h[k + 1, k] = _norm(w)
            if not np.isfinite(h[:k + 2, k]).all():
                raise ConvergenceError("GMRES: the product with a finite vector holds NaN or Inf")
            y = np.linalg.lstsq(h[:k + 2, :k + 1], target[:k + 2], rcond=None)[0]
            left = float(np.linalg.norm(target[:k + 2] - h[:k + 2, :k + 1] @ y))
            # Breakdown: the space holds the solution.
            if left <= 0.5 * goal or h[k + 1, k].real <= np.finfo(r.dtype).eps * scale:
                break
            basis[k + 1] = w / h[k + 1, k].real
        return xp.asarray(y, dtype=r.dtype) @ basis[:len(y)], len(y)


class Newton:
    """Newton's method with halved steps, for roots; each step solves a linear system with the Jacobian.

    tolerance: of |f(x)| relative to |f(x0)|, or absolute where that is below 1; default 1e-12 in float64, 1e-5 in float32.
    iterations: at most so many.  linear: the method of the linear systems.

    >>> Newton(iterations=20)
    Newton(tolerance=None, iterations=20, linear=GMRES(tolerance=None, restart=50, iterations=None))
    """

    def __init__(self, tolerance: float | None = None, iterations: int = 50, linear: "CG | GMRES | None" = None) -> None:
        _check("Newton", tolerance, iterations=iterations)
        self.tolerance = tolerance
        self.iterations = iterations
        self.linear = linear or GMRES()

    def __repr__(self) -> str:
        return f"Newton(tolerance={self.tolerance}, iterations={self.iterations}, linear={self.linear!r})"

    def solve(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return the vector where a function of a vector is zero.

        Raises: ConvergenceError if the tolerance is not reached.
        """
        value, push = linearize(function, x)
        size = _norm(value.data)
        goal = _goal(self.tolerance, x.dtype) * max(1.0, size)
        for _ in range(self.iterations):
            if size <= goal:
                return x
            try:
                step = self.linear.solve(lambda v, push=push: push(Tensor(v)).data, -value.data)
            except ConvergenceError as error:
                raise ConvergenceError(
                    f"Newton: the linear system with the Jacobian cannot be solved where |f(x)| = {size:.3g} ({error}); start elsewhere"
                ) from error
            for halving in range(30):
                trial = Tensor(x.data + 0.5 ** halving * step)
                value, push = linearize(function, trial)
                if _norm(value.data) < size:
                    break
            else:
                break
            x, size = trial, _norm(value.data)
        if size <= goal:
            return x
        raise ConvergenceError(
            f"Newton: |f(x)| = {size:.3g} after {self.iterations} iterations, wanted {goal:.3g}; start closer to the root, or give a "
            "larger tolerance or number of iterations"
        )


class Picard:
    """Repeated evaluation x <- g(x), for fixed points of contractions.

    tolerance: of |g(x) - x| relative to |x|, or absolute where that is below 1; default 1e-12 in float64, 1e-5 in float32.

    >>> Picard(iterations=100)
    Picard(tolerance=None, iterations=100)
    """

    def __init__(self, tolerance: float | None = None, iterations: int = 10_000) -> None:
        _check("Picard", tolerance, iterations=iterations)
        self.tolerance = tolerance
        self.iterations = iterations

    def __repr__(self) -> str:
        return f"Picard(tolerance={self.tolerance}, iterations={self.iterations})"

    def solve(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return the vector where function(x) = g(x) - x is zero.

        Raises: ConvergenceError if the tolerance is not reached.
        """
        size = first = math.inf
        for _ in range(self.iterations):
            change = function(x).data
            size = _norm(change)
            first = min(first, size)
            x = Tensor(x.data + change)
            if size <= _goal(self.tolerance, x.dtype) * max(1.0, _norm(x.data)):
                return x
            if not size < 1e12 * (1.0 + first):      # also NaN
                break
        raise ConvergenceError(
            f"Picard: |g(x) - x| = {size:.3g} after {self.iterations} iterations; g may be no contraction: use method=Newton(), start "
            "closer, or give a larger tolerance"
        )
