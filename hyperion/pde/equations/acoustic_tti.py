"""Pseudo-acoustic waves in media that are the same all around a tilted axis (TTI)."""
from collections.abc import Mapping
from typing import Any, ClassVar

from hyperion.autograd import cos, sin
from hyperion.pde.equation import Equation, Expression, Field, axes, derivative

from .acoustic_vti import COEFFICIENTS, PARAMETERS, AcousticVTI, checked, coefficients, rates


class AcousticTTI(Equation):
    """`AcousticVTI` about an axis n that is tilted by `tilt` [rad] from the vertical to x (to `azimuth` [rad] from x to y).

    p_hh and q_zz become laplace(p) - D p and D q, D f = div(n (n . grad f)). D is self-adjoint and -D at most -laplace, also where the axis
    turns: so the equation is stable for any tilt where epsilon >= delta. n (n . grad f) is given by f at every instant, at the nodes.
    Inside absorbing layers, where waves of a tilted medium would grow, the axis turns upright.
    Source: Zhang, Zhang and Zhang 2011, Geophysics 76, WA3, eq. 10; Duveneck and Bakker 2011, Geophysics 76, S65.

    >>> list(AcousticTTI(ndim=3).parameters)
    ['speed', 'epsilon', 'delta', 'tilt', 'azimuth']
    """

    fields: dict[str, Field]
    parameters: dict[str, str]
    coefficients: dict[str, str]
    dimensions: tuple[int, ...]
    faded: ClassVar[tuple[str, ...]] = ("tilt",)
    odd_at_free_surfaces: ClassVar[bool] = False       # mirrored, an axis is tilted to the other side

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim), (ndim,)
        flux = {f"{f}{i}": Field("Pa/m", time_order=0) for f in "pq" for i in self.axes}
        self.fields = {**AcousticVTI.fields, **flux}
        self.parameters = {**PARAMETERS, "tilt": "rad"} | ({"azimuth": "rad"} if ndim == 3 else {})
        self.coefficients = {**COEFFICIENTS, **{f"n{i}": "1" for i in self.axes}}

    @property
    def positive(self) -> tuple[str, ...]:
        """The speed, and what is made of it."""
        return "speed", "square", "across", "between"

    def derive(self, speed: Any, epsilon: Any, delta: Any, tilt: Any, azimuth: Any = None) -> dict[str, Any]:
        """Return those of `AcousticVTI`, and the axis' components."""
        flat = {"nx": sin(tilt)} if azimuth is None else {"ny": sin(tilt) * sin(azimuth), "nx": sin(tilt) * cos(azimuth)}
        return {**coefficients(speed, epsilon, delta), "nz": cos(tilt), **flat}

    def rate(self, square: Expression, across: Expression, between: Expression, **symbols: Expression) -> dict[str, Expression]:
        """Return p_tt, q_tt, and 0 = n (n . grad f) - flux of f."""
        p, along = symbols["p"], {f: sum((derivative(symbols[f"{f}{i}"], a) for i, a in self.axes.items()), start=0.0 * symbols["p"])
                                  for f in "pq"}
        around = sum((derivative(p, axis, 2) for axis in self.axes.values()), start=-along["p"])
        return rates(across, between, square, around, along["q"]) | self._flux(symbols)

    def _flux(self, symbols: Mapping[str, Expression]) -> dict[str, Expression]:
        slope = {f: sum((symbols[f"n{i}"] * derivative(symbols[f], a) for i, a in self.axes.items()), start=0.0 * symbols[f]) for f in "pq"}
        return {f"{f}{i}": symbols[f"n{i}"] * slope[f] - symbols[f"{f}{i}"] for f in "pq" for i in self.axes}

    def sources(self, square: Expression, **others: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 for p and q alike."""
        return {"p": {"p": square, "q": square}}

    def fastest(self, speed: Any, epsilon: Any, delta: Any, **axis: Any) -> Any:
        """Return the faster of the speeds along and across the axis. Raises: InputError where epsilon < delta."""
        return checked(speed, epsilon, delta)
