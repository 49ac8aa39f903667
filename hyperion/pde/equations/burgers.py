"""Burgers' equation: the simplest nonlinear wave with friction."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, derivative


class Burgers(Equation):
    """u_t + u u_x = viscosity u_xx in one dimension: velocity u [m/s].

    Source: Burgers 1948, Advances in Applied Mechanics 1, 171; its closed solution: Cole 1951, Quart. Appl. Math. 9, 225.

    >>> sorted(Burgers().rates(1)["u"].derivatives())[-1]
    Derivative(field='u', orders=(2,))
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("m/s")}
    parameters: ClassVar[dict[str, str]] = {"viscosity": "m^2/s"}
    dimensions: ClassVar[tuple[int, ...]] = (1,)

    def rate(self, u: Expression, viscosity: Expression) -> Expression:
        """Return u_t."""
        return viscosity * derivative(u, -1, 2) - u * derivative(u, -1)
