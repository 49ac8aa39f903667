"""Finite-difference stencils of any even order, on nodes and between nodes and half nodes, in units of cells."""
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hyperion.codegen import Stencil
from hyperion.errors import InputError

from .checks import is_positive


def weights(offsets: Sequence[Fraction | int], order: int) -> list[float]:
    """Return the weights at `offsets` [cells] of the order-th derivative at 0, exact for polynomials up to the number of points.

    The derivative of the interpolating polynomial, in exact fractions: weight j is order! times the coefficient of x^order in Lagrange's
    basis polynomial j. Source: Fornberg, Mathematics of Computation 51 (1988), 699.

    >>> weights([-1, 0, 1], 2)
    [1.0, -2.0, 1.0]
    """
    out: list[float] = []
    for j, at in enumerate(offsets):
        basis, scale = [Fraction(1)], Fraction(math.factorial(order))
        for m, other in enumerate(offsets):
            if m != j:
                basis = [a - other * b for a, b in zip([Fraction(0), *basis], [*basis, Fraction(0)], strict=True)]
                scale /= Fraction(at) - other
        out.append(float(basis[order] * scale))
    return out


def first(ndim: int, axis: int, order: int, kind: int) -> Stencil:
    """Return the first derivative along an axis, accurate to an even order.

    kind: 0 at the field's own points; +1 at half points from nodes (i + 1/2 from i); -1 at nodes from half points.
    """
    h = order // 2
    shifts = {0: range(-h, h + 1), 1: range(-h + 1, h + 1), -1: range(-h, h)}[kind]
    return _along(ndim, axis, shifts, weights([s - Fraction(kind, 2) for s in shifts], 1))


def first_below(ndim: int, axis: int, order: int, kind: int, design: "Taylor | LeastSquares") -> Stencil:
    """Return a staggered first derivative whose square is nowhere larger than the second derivative of `design`.

    kind: +1 at half points from nodes, -1 at nodes from half points. An absorbing layer damps the square of this pair, D- D+, out of the
    second derivative D2; where |D- D+| > |D2| the rest has the wrong sign, and what is damped grows. The pair of the same order is larger
    at short wavelengths (6.62 against 6.50 at order 8), that of the order below is smaller: their blend is equal at two points per
    wavelength.
    """
    h = order // 2
    shifts = range(-h + 1, h + 1) if kind > 0 else range(-h, h)
    places = [s - Fraction(kind, 2) for s in shifts]
    w = np.array(weights(places, 1))
    if h > 1:
        lower = np.array([0.0, *weights(places[1:-1], 1), 0.0])
        second_largest = math.sqrt(sum(abs(v) for v in design.second(order)))
        blend = (np.abs(w).sum() - second_largest) / (np.abs(w).sum() - np.abs(lower).sum())
        w += max(blend, 0.0) * (lower - w)
    return _along(ndim, axis, shifts, [float(v) for v in w])


@dataclass(frozen=True)
class Taylor:
    """Weights of the highest formal order: the error falls with that power of the spacing.

    >>> Taylor().second(2)
    [1.0, -2.0, 1.0]
    """

    def second(self, order: int) -> list[float]:
        """Return the order + 1 weights of the second derivative."""
        return weights(range(-(order // 2), order // 2 + 1), 2)


@dataclass(frozen=True)
class LeastSquares:
    """Weights of least dispersion error over all wavelengths down to `points` grid points; formally of second order.

    They have the width of the order asked for. Finer grids than `points` need gain nothing from a higher formal order.
    Raises: InputError for fewer than two points per wavelength.
    Source: Liu, Geophysics 78 (2013), T113, eq. 7 to 10 (here with the second-order condition kept exactly).

    >>> sum(LeastSquares(points=4.0).second(8)) < 1e-12
    True
    """

    points: float = 4.0

    def __post_init__(self) -> None:
        if not (is_positive(self.points) and self.points > 2):
            raise InputError(f"LeastSquares(points={self.points!r}): give more than two grid points per shortest wavelength")

    def second(self, order: int) -> list[float]:
        """Return the order + 1 weights of the second derivative."""
        half = order // 2
        k = np.linspace(1e-3, 2 * np.pi / self.points, 400)[:, None]
        s = np.arange(1, half + 1)
        # Relative error of sum_s 2 w_s (1 - cos(s k)) against k^2; w_1 follows from sum_s w_s s^2 = 1.
        columns = 2 * (1 - np.cos(s * k)) / k ** 2
        rest = columns[:, 1:] - columns[:, :1] * s[1:] ** 2
        tail = np.linalg.lstsq(rest, 1.0 - columns[:, 0], rcond=None)[0] if half > 1 else np.zeros(0)
        one_side = [float(1.0 - tail @ s[1:] ** 2), *(float(w) for w in tail)]
        return [*one_side[::-1], -2.0 * sum(one_side), *one_side]


@functools.cache
def second(ndim: int, axis: int, order: int, design: Taylor | LeastSquares) -> Stencil:
    """Return the second derivative along an axis at the field's own points, of the width of an even order."""
    return _along(ndim, axis, range(-(order // 2), order // 2 + 1), design.second(order))


def scaled(stencil: Stencil, factor: float) -> Stencil:
    """Return the stencil times a factor."""
    return stencil if factor == 1.0 else Stencil(tuple((s, w * factor) for s, w in stencil.taps))


def _along(ndim: int, axis: int, shifts: range, w: list[float]) -> Stencil:
    return Stencil.of((tuple(s if k == axis else 0 for k in range(ndim)), c) for s, c in zip(shifts, w, strict=True) if c)
