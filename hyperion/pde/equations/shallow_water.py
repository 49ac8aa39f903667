"""Shallow water over a bottom: nonlinear long waves."""
from typing import Any, ClassVar

import numpy as np

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative, laplace

GRAVITY = 9.80665                                      # standard [m/s^2]


class ShallowWater(Equation):
    """eta_t + div((depth + eta) u) = 0, u_t + (u . grad) u + gravity grad(eta) = viscosity laplace(u): water of a free surface.

    eta: height of the surface above rest [m]; u: velocity [m/s], `u` in one dimension, `uy` and `ux` in two, for axes (y, x); depth: of the
    water at rest, where the bottom lies [m]. The flux (depth + eta) u is a field that the others give at every instant, so volume is
    conserved to rounding, around periods and between walls (`pde.Rigid`). All fields sit at the nodes.
    Stepped by pde.SSPRK3() or RungeKutta4(); max_speed should cover the fastest flow and its waves, |u| + sqrt(gravity (depth + eta)).
    Without a limiter: bores need a few cells of viscosity (`pde.ShallowWaterSolver`, of finite volumes, needs none).
    Raises: InputError for other dimensions.
    Source: Vallis, Atmospheric and Oceanic Fluid Dynamics (2017), eq. 3.1 and 3.8.

    >>> list(ShallowWater(ndim=1).fields)
    ['eta', 'u', 'flux']
    """

    fields: dict[str, Field]
    parameters: ClassVar[dict[str, str]] = {"depth": "m", "viscosity": "m^2/s"}
    coefficients: ClassVar[dict[str, str]] = {"depth": "m", "viscosity": "m^2/s", "gravity": "m/s^2"}
    dimensions: tuple[int, ...]
    odd_at_free_surfaces: ClassVar[bool] = False

    def __init__(self, ndim: int = 2):
        if isinstance(ndim, bool) or ndim not in (1, 2):
            raise InputError(f"ShallowWater(ndim={ndim!r}): give 1 or 2, the number of space dimensions")
        self.dimensions, self.along = (ndim,), {"": -1} if ndim == 1 else {"y": -2, "x": -1}
        self.fields = {"eta": Field("m"), **{"u" + i: Field("m/s", mirrored=(axis,)) for i, axis in self.along.items()}}
        self.fields |= {"flux" + i: Field("m^2/s", time_order=0, mirrored=(axis,)) for i, axis in self.along.items()}

    @property
    def positive(self) -> tuple[str, ...]:
        """The depth; without viscosity nothing is rubbed away."""
        return "depth", "gravity"

    def derive(self, depth: Any, viscosity: Any) -> dict[str, Any]:
        """Return the parameters, and gravity beside them."""
        return {"depth": depth, "viscosity": viscosity, "gravity": 0.0 * depth + GRAVITY}

    def rate(self, eta: Expression, depth: Expression, viscosity: Expression, gravity: Expression,
             **fields: Expression) -> dict[str, Expression]:
        """Return eta_t, u_t, and what the flux differs from (depth + eta) u by."""
        u = {i: fields["u" + i] for i in self.along}
        rates = {"eta": sum((-derivative(fields["flux" + i], axis) for i, axis in self.along.items()), start=0.0 * eta)}
        for i, axis in self.along.items():
            carried = sum((u[j] * derivative(u[i], along) for j, along in self.along.items()), start=0.0 * eta)
            rates["u" + i] = viscosity * laplace(u[i]) - carried - gravity * derivative(eta, axis)
            rates["flux" + i] = depth * u[i] + eta * u[i] - fields["flux" + i]
        return rates

    def sources(self, **coefficients: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return what rain and forces enter: the surface and the velocities."""
        return {f: {f: 1.0} for f, field in self.fields.items() if field.time_order}

    def fastest(self, depth: Any, viscosity: Any) -> Any:
        """Return the speed of long waves of small height. Raises: InputError for negative viscosity."""
        if np.any(viscosity < 0.0):
            at = tuple(int(i) for i in np.argwhere(viscosity < 0.0)[0])
            raise InputError(f"solve(viscosity): {viscosity[at]:g} m^2/s at node {at}; it must be at least 0, or the flow grows")
        return np.sqrt(GRAVITY * depth)
