"""The Allen-Cahn equation: two phases and the front between them."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class AllenCahn(Equation):
    """u_t = diffusivity laplace(u) + reaction (u - u^3): the order parameter u tends to 1 or -1.

    Source: Allen and Cahn 1979, Acta Metall. 27, 1085, eq. 10; the benchmark of Raissi et al. 2019, J. Comput. Phys. 378, 686, section
    3.2.1, has diffusivity 1e-4 and reaction 5.

    >>> AllenCahn().parameters["reaction"]
    '1/s'
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("1")}
    parameters: ClassVar[dict[str, str]] = {"diffusivity": "m^2/s", "reaction": "1/s"}

    def rate(self, u: Expression, diffusivity: Expression, reaction: Expression) -> Expression:
        """Return u_t."""
        return diffusivity * laplace(u) + reaction * (u - u ** 3)
