"""Acoustics of variable density, first order in time."""
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.equation import Equation, Expression, Field, derivative


class AcousticVariableDensity(Equation):
    """p_t = -K div v, v_t = -grad p / density, K = density speed^2: pressure [Pa] and particle velocity in two dimensions.

    Velocities sit between the nodes of pressure. A source of `p` is a rate of pressure per m^2; one of a velocity an acceleration.
    Source: Virieux 1984, Geophysics 49, 1933 (the scheme); Morse and Ingard, Theoretical Acoustics (1968), eq. 6.2.

    >>> AcousticVariableDensity().derive(speed=2.0, density=3.0)
    {'bulk': 12.0, 'buoyancy': 0.3333333333333333}
    """

    fields: ClassVar[dict[str, Field]] = {"p": Field("Pa"), "vz": Field("m/s", at=(-2,)), "vx": Field("m/s", at=(-1,))}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "density": "kg/m^3"}
    coefficients: ClassVar[dict[str, str]] = {"bulk": "Pa", "buoyancy": "m^3/kg"}
    harmonic: ClassVar[tuple[str, ...]] = ("buoyancy",)
    dimensions: ClassVar[tuple[int, ...]] = (2,)

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters and coefficients."""
        return "speed", "density", "bulk", "buoyancy"

    def derive(self, speed: Any, density: Any) -> dict[str, Any]:
        """Return bulk modulus and buoyancy."""
        return {"bulk": density * speed ** 2, "buoyancy": 1.0 / density}

    def rate(self, p: Expression, vz: Expression, vx: Expression, bulk: Expression, buoyancy: Expression) -> dict[str, Expression]:
        """Return p_t and v_t."""
        return {
            "p": -(bulk * (derivative(vz, -2) + derivative(vx, -1))),
            "vz": -(buoyancy * derivative(p, -2)),
            "vx": -(buoyancy * derivative(p, -1)),
        }

    def fastest(self, speed: Any, density: Any) -> Any:
        """Return the speed itself."""
        return np.broadcast_to(speed, np.shape(density))
