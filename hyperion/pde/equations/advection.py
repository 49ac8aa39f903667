"""Transport by a flow, with diffusion."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, derivative


class AdvectionDiffusion(Equation):
    """u_t + velocity u_x = diffusivity u_xx in one dimension: concentration u, velocity of either sign.

    Source: LeVeque, Finite Volume Methods for Hyperbolic Problems (2002), eq. 2.22.

    >>> AdvectionDiffusion().positive
    ('diffusivity',)
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("1")}
    parameters: ClassVar[dict[str, str]] = {"velocity": "m/s", "diffusivity": "m^2/s"}
    dimensions: ClassVar[tuple[int, ...]] = (1,)

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive."""
        return ("diffusivity",)

    def rate(self, u: Expression, velocity: Expression, diffusivity: Expression) -> Expression:
        """Return u_t."""
        return diffusivity * derivative(u, -1, 2) - velocity * derivative(u, -1)
