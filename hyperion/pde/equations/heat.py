"""Heat conduction, or diffusion of anything."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class Heat(Equation):
    """u_t = diffusivity laplace(u): temperature u [K] in a medium of constant diffusivity.

    Source: Fourier 1822; Carslaw and Jaeger, Conduction of Heat in Solids (1959), eq. 1.6.7.

    >>> len(Heat().rates(3)["u"].terms)
    3
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("K")}
    parameters: ClassVar[dict[str, str]] = {"diffusivity": "m^2/s"}

    def rate(self, u: Expression, diffusivity: Expression) -> Expression:
        """Return u_t."""
        return diffusivity * laplace(u)
