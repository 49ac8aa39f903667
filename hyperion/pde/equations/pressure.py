"""Acoustics of variable density, second order in time."""
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.equation import Equation, Expression, Field, axes, derivative


class AcousticPressure(Equation):
    """p_tt = K div(grad p / density) + c^2 s, K = density c^2: pressure alone [Pa], in two or three dimensions.

    The physics of `AcousticVariableDensity` with one field to step; grad p / density, between the nodes, is given by p at every instant.
    A source s is a density as for `Acoustic`: where the density is constant the two are the same.
    Source: Morse and Ingard, Theoretical Acoustics (1968), eq. 6.2.15.

    >>> AcousticPressure(ndim=2).fields["az"]
    Field(unit='m/s^2', time_order=0, at=(-2,))
    """

    fields: dict[str, Field]
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "density": "kg/m^3"}
    coefficients: ClassVar[dict[str, str]] = {"bulk": "Pa", "buoyancy": "m^3/kg"}
    harmonic: ClassVar[tuple[str, ...]] = ("buoyancy",)
    dimensions: tuple[int, ...]

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim), (ndim,)
        flux = {f"a{i}": Field("m/s^2", time_order=0, at=(axis,)) for i, axis in self.axes.items()}
        self.fields = {"p": Field("Pa", time_order=2), **flux}

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters and coefficients."""
        return "speed", "density", "bulk", "buoyancy"

    def derive(self, speed: Any, density: Any) -> dict[str, Any]:
        """Return bulk modulus and buoyancy."""
        return {"bulk": density * speed ** 2, "buoyancy": 1.0 / density}

    def rate(self, p: Expression, bulk: Expression, buoyancy: Expression, **flux: Expression) -> dict[str, Expression]:
        """Return p_tt, and 0 = grad p / density - a."""
        divergence = sum((derivative(flux[f"a{i}"], axis) for i, axis in self.axes.items()), start=0.0 * p)
        return {"p": bulk * divergence, **{f"a{i}": buoyancy * derivative(p, axis) - flux[f"a{i}"] for i, axis in self.axes.items()}}

    def sources(self, bulk: Expression, buoyancy: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 for p."""
        return {"p": {"p": bulk * buoyancy}}

    def fastest(self, speed: Any, density: Any) -> Any:
        """Return the speed itself."""
        return np.broadcast_to(speed, density.shape)
