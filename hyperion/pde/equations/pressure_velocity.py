"""Acoustics of variable density, first order in time."""
from collections.abc import Mapping
from typing import ClassVar

from hyperion.pde.equation import Expression, Field

from .variable_density import VariableDensity


class AcousticVariableDensity(VariableDensity):
    """p_t = -K div v, v_t = -grad p / density, K = density speed^2: pressure [Pa] and particle velocity in two or three dimensions.

    Velocities (vz, vy in three dimensions, vx) sit between the nodes of pressure. A source of `p` is a rate of pressure per m^ndim; one of
    a velocity an acceleration.
    Source: Virieux 1984, Geophysics 49, 1933 (the scheme); Morse and Ingard, Theoretical Acoustics (1968), eq. 6.2.

    >>> AcousticVariableDensity().derive(speed=2.0, density=3.0)
    {'bulk': 12.0, 'buoyancy': 0.3333333333333333}
    >>> list(AcousticVariableDensity(ndim=3).fields)
    ['p', 'vz', 'vy', 'vx']
    """

    vector: ClassVar[str] = "v"
    particle_velocity: dict[int, str]

    def __init__(self, ndim: int = 2):
        super().__init__(ndim)
        self.particle_velocity = {axis: f"v{i}" for i, axis in self.axes.items()}

    def declared(self, places: Mapping[str, tuple[int, ...]]) -> dict[str, Field]:
        """Return pressure and velocities."""
        return {"p": Field("Pa"), **{f: Field("m/s", at=at) for f, at in places.items()}}

    def rate(self, p: Expression, bulk: Expression, buoyancy: Expression, **velocities: Expression) -> dict[str, Expression]:
        """Return p_t and v_t."""
        return {"p": -(bulk * self.divergence(p, velocities)), **{f: -(buoyancy * slope) for f, slope in self.gradient(p).items()}}
