"""Finite-difference stencils of any even order, on nodes and between nodes and half nodes, in units of cells."""
import math
from collections.abc import Sequence
from fractions import Fraction

from hyperion.codegen import Stencil


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


def second(ndim: int, axis: int, order: int) -> Stencil:
    """Return the second derivative along an axis at the field's own points, accurate to an even order."""
    shifts = range(-(order // 2), order // 2 + 1)
    return _along(ndim, axis, shifts, weights(shifts, 2))


def scaled(stencil: Stencil, factor: float) -> Stencil:
    """Return the stencil times a factor."""
    return stencil if factor == 1.0 else Stencil(tuple((s, w * factor) for s, w in stencil.taps))


def _along(ndim: int, axis: int, shifts: range, w: list[float]) -> Stencil:
    return Stencil.of((tuple(s if k == axis else 0 for k in range(ndim)), c) for s, c in zip(shifts, w, strict=True) if c)
