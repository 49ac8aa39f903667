"""Constant-density acoustics in two and three dimensions."""
from typing import Any, ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class Acoustic(Equation):
    """p_tt = c^2 (laplace(p) + s): pressure p [Pa], speed c [m/s], source density s (per m^ndim).

    The response to a point source s(t) is s convolved with the Green's function of the wave operator: in two dimensions
    H(t - r/c) / (2 pi sqrt(t^2 - r^2/c^2)), in three delta(t - r/c) / (4 pi r).
    Source: Morse and Feshbach, Methods of Theoretical Physics (1953), eq. 7.3.5.

    >>> Acoustic().parameters
    {'speed': 'm/s'}
    """

    fields: ClassVar[dict[str, Field]] = {"p": Field("Pa", time_order=2)}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s"}

    def rate(self, p: Expression, speed: Expression) -> Expression:
        """Return p_tt."""
        return speed ** 2 * laplace(p)

    def sources(self, speed: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 for p: a source enters as the Laplacian does."""
        return {"p": {"p": speed ** 2}}

    def fastest(self, speed: Any) -> Any:
        """Return the speed itself."""
        return speed
