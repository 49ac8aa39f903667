"""Pseudo-acoustic waves in media that are the same all around the vertical (VTI)."""
from typing import Any, ClassVar

import numpy as np

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative

PARAMETERS = {"speed": "m/s", "epsilon": "1", "delta": "1"}
COEFFICIENTS = {"square": "m^2/s^2", "across": "1", "between": "1"}


def coefficients(speed: Any, epsilon: Any, delta: Any) -> dict[str, Any]:
    """Return speed^2, 1 + 2 epsilon and sqrt(1 + 2 delta).

    >>> coefficients(2.0, 0.5, 1.5)
    {'square': 4.0, 'across': 2.0, 'between': 2.0}
    """
    return {"square": speed ** 2, "across": 1.0 + 2.0 * epsilon, "between": (1.0 + 2.0 * delta) ** 0.5}


def checked(speed: Any, epsilon: Any, delta: Any) -> Any:
    """Return the speed of the fastest wave. Raises: InputError where the medium is unstable."""
    bad = (epsilon < delta) | (1.0 + 2.0 * delta <= 0.0)
    if np.any(bad):
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"solve(epsilon, delta): {epsilon[at]:g} and {delta[at]:g} at node {at}; pseudo-acoustic waves are stable only "
                         "where epsilon >= delta > -0.5; use pde.ElasticVTI for others, or bound delta")
    return speed * np.sqrt(np.maximum(1.0, 1.0 + 2.0 * epsilon))


def rates(across: Expression, between: Expression, square: Expression, around: Expression, along: Expression) -> dict[str, Expression]:
    """Return p_tt and q_tt from the second derivatives of p all around the axis and of q along it."""
    return {"p": square * (across * around + between * along), "q": square * (between * around + along)}


class AcousticVTI(Equation):
    """p_tt = c^2 ((1 + 2 epsilon) p_hh + sqrt(1 + 2 delta) q_zz + s), q_tt = c^2 (sqrt(1 + 2 delta) p_hh + q_zz + s).

    P waves of a VTI medium with no S speed along the axis: horizontal stress p and vertical stress q [Pa], vertical speed c, Thomsen's
    epsilon and delta; p_hh sums the horizontal second derivatives. Where both are zero, p = q is the pressure of `Acoustic`. A source "p"
    enters both, as that of `Acoustic`. A slow wave of S polarisation comes with it unless the source lies where epsilon = delta.
    Stable where epsilon >= delta, as the matrix of coefficients is positive semidefinite then.
    Source: Duveneck et al. 2008, SEG Expanded Abstracts 27, 2186, eq. 10; Alkhalifah 2000, Geophysics 65, 1239.

    >>> AcousticVTI().parameters
    {'speed': 'm/s', 'epsilon': '1', 'delta': '1'}
    """

    fields: ClassVar[dict[str, Field]] = {"p": Field("Pa", time_order=2), "q": Field("Pa", time_order=2)}
    parameters: ClassVar[dict[str, str]] = PARAMETERS
    coefficients: ClassVar[dict[str, str]] = COEFFICIENTS
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)

    @property
    def positive(self) -> tuple[str, ...]:
        """The speed, and what is made of it; epsilon and delta have either sign."""
        return "speed", "square", "across", "between"

    def derive(self, speed: Any, epsilon: Any, delta: Any) -> dict[str, Any]:
        """Return speed^2, 1 + 2 epsilon and sqrt(1 + 2 delta)."""
        return coefficients(speed, epsilon, delta)

    def rate(self, p: Expression, q: Expression, **symbols: Expression) -> dict[str, Expression]:
        """Return p_tt and q_tt."""
        around = sum((derivative(p, axis, 2) for axis in range(1 - p.ndim, -1)), start=derivative(p, -1, 2))
        return rates(around=around, along=derivative(q, -p.ndim, 2), **symbols)

    def sources(self, square: Expression, across: Expression, between: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 for p and q alike."""
        return {"p": {"p": square, "q": square}}

    def fastest(self, speed: Any, epsilon: Any, delta: Any) -> Any:
        """Return the faster of the vertical and the horizontal speed. Raises: InputError where epsilon < delta."""
        return checked(speed, epsilon, delta)
