"""Poisson's equation: a steady field of given sources."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class Poisson(Equation):
    """laplace(u) + source = 0: a steady field u [1], of sources [1/m^2] of either sign; without sources, Laplace's equation.

    Source: Evans, Partial Differential Equations (2010), section 2.2.

    >>> Poisson().fields["u"].time_order
    0
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("1", time_order=0)}
    parameters: ClassVar[dict[str, str]] = {"source": "1/m^2"}

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive: none."""
        return ()

    def rate(self, u: Expression, source: Expression) -> Expression:
        """Return what is zero."""
        return laplace(u) + source
