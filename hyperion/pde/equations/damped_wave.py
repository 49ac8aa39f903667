"""Waves in a medium that absorbs them."""
from typing import Any, ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class DampedWave(Equation):
    """p_tt + absorption p_t = c^2 (laplace(p) + s): pressure p [Pa] and its rate q, speed c, source density s (per m^ndim).

    The telegraph equation: a wave of wavenumber k decays as exp(-absorption t / 2) and turns at sqrt(c^2 k^2 - absorption^2 / 4); where
    the absorption is zero it is `pde.Acoustic`, stepped in the same way by leapfrog.
    Source: Morse and Feshbach, Methods of Theoretical Physics (1953), section 7.4, eq. 7.4.1.

    >>> DampedWave().parameters
    {'speed': 'm/s', 'absorption': '1/s'}
    """

    fields: ClassVar[dict[str, Field]] = {"q": Field("Pa/s"), "p": Field("Pa")}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "absorption": "1/s"}

    @property
    def positive(self) -> tuple[str, ...]:
        """The speed; the absorption may be of either sign, below zero for a medium that amplifies."""
        return ("speed",)

    def rate(self, p: Expression, q: Expression, speed: Expression, absorption: Expression) -> dict[str, Expression]:
        """Return p_t and p_tt."""
        return {"q": speed ** 2 * laplace(p) - absorption * q, "p": 1.0 * q}

    def sources(self, speed: Expression, absorption: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 into p_tt for the source density, which is named after p."""
        return {"p": {"q": speed ** 2}}

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return the pressure, and its rate."""
        return {"p": {"p": 1.0}, "q": {"q": 1.0}}

    def fastest(self, speed: Any, absorption: Any) -> Any:
        """Return the speed itself: absorption slows waves down."""
        return speed
