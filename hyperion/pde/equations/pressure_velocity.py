"""Acoustics of variable density, first order in time."""
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.equation import Equation, Expression, Field, axes, derivative


class AcousticVariableDensity(Equation):
    """p_t = -K div v, v_t = -grad p / density, K = density speed^2: pressure [Pa] and particle velocity in two or three dimensions.

    Velocities (vz, vy in three dimensions, vx) sit between the nodes of pressure. A source of `p` is a rate of pressure per m^ndim; one of
    a velocity an acceleration.
    Source: Virieux 1984, Geophysics 49, 1933 (the scheme); Morse and Ingard, Theoretical Acoustics (1968), eq. 6.2.

    >>> AcousticVariableDensity().derive(speed=2.0, density=3.0)
    {'bulk': 12.0, 'buoyancy': 0.3333333333333333}
    >>> list(AcousticVariableDensity(ndim=3).fields)
    ['p', 'vz', 'vy', 'vx']
    """

    fields: dict[str, Field]
    particle_velocity: dict[int, str]
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "density": "kg/m^3"}
    coefficients: ClassVar[dict[str, str]] = {"bulk": "Pa", "buoyancy": "m^3/kg"}
    harmonic: ClassVar[tuple[str, ...]] = ("buoyancy",)
    dimensions: tuple[int, ...]

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim), (ndim,)
        self.particle_velocity = {axis: f"v{i}" for i, axis in self.axes.items()}
        self.fields = {"p": Field("Pa"), **{f"v{i}": Field("m/s", at=(axis,)) for i, axis in self.axes.items()}}

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters and coefficients."""
        return "speed", "density", "bulk", "buoyancy"

    def derive(self, speed: Any, density: Any) -> dict[str, Any]:
        """Return bulk modulus and buoyancy."""
        return {"bulk": density * speed ** 2, "buoyancy": 1.0 / density}

    def rate(self, p: Expression, bulk: Expression, buoyancy: Expression, **velocities: Expression) -> dict[str, Expression]:
        """Return p_t and v_t."""
        divergence = sum((derivative(velocities[f"v{i}"], axis) for i, axis in self.axes.items()), start=0.0 * p)
        return {"p": -(bulk * divergence), **{f"v{i}": -(buoyancy * derivative(p, axis)) for i, axis in self.axes.items()}}

    def fastest(self, speed: Any, density: Any) -> Any:
        """Return the speed itself."""
        return np.broadcast_to(speed, density.shape)
