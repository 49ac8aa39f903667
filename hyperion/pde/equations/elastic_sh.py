"""Elastic waves polarised across the plane they travel in."""
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.equation import Equation, Expression, Field, derivative


class ElasticSH(Equation):
    """density v_t = s_zy,z + s_yx,x + force, s_zy,t = shear v_z, s_yx,t = shear v_x: SH waves, velocity vy, in two dimensions.

    The velocity sits at the nodes, stresses half a cell beyond them, where the shear modulus is the harmonic mean of two nodes.
    A source of vy is a force density [N/m^2], of a stress its rate.
    Source: Virieux 1984, Geophysics 49, 1933, eq. 2.

    >>> ElasticSH().derive(s_speed=2.0, density=3.0)
    {'shear': 12.0, 'buoyancy': 0.3333333333333333}
    """

    fields: ClassVar[dict[str, Field]] = {"vy": Field("m/s"), "szy": Field("Pa", at=(-2,)), "syx": Field("Pa", at=(-1,))}
    parameters: ClassVar[dict[str, str]] = {"s_speed": "m/s", "density": "kg/m^3"}
    coefficients: ClassVar[dict[str, str]] = {"shear": "Pa", "buoyancy": "m^3/kg"}
    harmonic: ClassVar[tuple[str, ...]] = ("shear",)
    dimensions: ClassVar[tuple[int, ...]] = (2,)
    odd_at_free_surfaces: ClassVar[bool] = False       # the velocity, on nodes, is even
    tractions: ClassVar[dict[str, tuple[int, ...]]] = {"szy": (-2,), "syx": (-1,)}

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters and coefficients."""
        return "s_speed", "density", "shear", "buoyancy"

    def derive(self, s_speed: Any, density: Any) -> dict[str, Any]:
        """Return shear modulus and buoyancy."""
        return {"shear": density * s_speed ** 2, "buoyancy": 1.0 / density}

    def rate(self, vy: Expression, szy: Expression, syx: Expression, shear: Expression, buoyancy: Expression) -> dict[str, Expression]:
        """Return the rates of the velocity and of both stresses."""
        return {
            "vy": buoyancy * (derivative(szy, -2) + derivative(syx, -1)),
            "szy": shear * derivative(vy, -2),
            "syx": shear * derivative(vy, -1),
        }

    def sources(self, shear: Expression, buoyancy: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return the buoyancy for a force, 1 for stresses."""
        return {"vy": {"vy": buoyancy}, "szy": {"szy": 1.0}, "syx": {"syx": 1.0}}

    def fastest(self, s_speed: Any, density: Any) -> Any:
        """Return the S speed."""
        return np.broadcast_to(s_speed, density.shape)
