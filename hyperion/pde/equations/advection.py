"""Transport by a flow, with diffusion."""
from typing import ClassVar

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative, laplace


class AdvectionDiffusion(Equation):
    """u_t + velocity . grad(u) = diffusivity laplace(u): concentration u, velocity of either sign.

    In one dimension the parameter is `velocity`, in two there are `velocity_y` and `velocity_x`, for axes (y, x). Where the flow does not
    diverge and the diffusivity is constant, what u sums up to is conserved. For Solver: stepped by pde.SSPRK3() or RungeKutta4().
    Raises: InputError for other dimensions.
    Source: LeVeque, Finite Volume Methods for Hyperbolic Problems (2002), eq. 2.22.

    >>> AdvectionDiffusion().positive, list(AdvectionDiffusion(ndim=2).parameters)
    (('diffusivity',), ['velocity_y', 'velocity_x', 'diffusivity'])
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("1")}
    parameters: dict[str, str]
    dimensions: tuple[int, ...]

    def __init__(self, ndim: int = 1):
        if isinstance(ndim, bool) or ndim not in (1, 2):
            raise InputError(f"AdvectionDiffusion(ndim={ndim!r}): give 1 or 2, the number of space dimensions")
        self.dimensions, self.flow = (ndim,), {"velocity": -1} if ndim == 1 else {"velocity_y": -2, "velocity_x": -1}
        self.parameters = dict.fromkeys(self.flow, "m/s") | {"diffusivity": "m^2/s"}

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive."""
        return ("diffusivity",)

    def rate(self, u: Expression, diffusivity: Expression, **flow: Expression) -> Expression:
        """Return u_t."""
        return sum((-(v * derivative(u, self.flow[name])) for name, v in flow.items()), start=diffusivity * laplace(u))
