"""Acoustic waves of variable density in media that absorb."""
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.attenuation import Attenuation, names, rates
from hyperion.pde.equation import Equation, Expression, Field, axes, derivative


class Viscoacoustic(Equation):
    """v_t = -grad(p) / density, p = sum of p_l, p_l,t = -K_l div v - p_l / t_l: pressure is that of a spring (l = 0) and Maxwell bodies.

    attenuation: their relaxation times, and how their moduli follow from the quality factor. Parameters: speed at the attenuation's
    reference frequency, density, quality. Receivers hear "p", or a velocity. A source "p" is a rate of pressure per m^ndim, that lasts;
    "volume" one of injected volume per m^ndim, against which the medium relaxes as against any strain: its pressure is that of `Acoustic`
    with s = density times the rate of that.
    Source: Emmerich and Korn 1987, Geophysics 52, 1252, eq. 5 and 19; Robertsson, Blanch and Symes 1994, Geophysics 59, 1444.

    >>> list(Viscoacoustic(Attenuation.fitted(2.0, 50.0, mechanisms=2)).fields)
    ['p', 'vz', 'vx', 'p0', 'p1', 'p2']
    """

    fields: dict[str, Field]
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "density": "kg/m^3", "quality": "1"}
    coefficients: dict[str, str]
    harmonic: ClassVar[tuple[str, ...]] = ("buoyancy",)
    dimensions: tuple[int, ...]

    def __init__(self, attenuation: Attenuation, ndim: int = 2):
        self.attenuation, self.axes, self.dimensions = attenuation, axes(self, ndim), (ndim,)
        self.bodies = range(len(attenuation.times) + 1)
        self.fields = {"p": Field("Pa", time_order=0), **{f"v{i}": Field("m/s", at=(axis,)) for i, axis in self.axes.items()},
                       **{f"p{n}": Field("Pa") for n in self.bodies}}
        self.coefficients = {"buoyancy": "m^3/kg", **{f"bulk{n}": "Pa" for n in self.bodies},
                             **{f"relaxation{n}": "1/s" for n in self.bodies[1:]}}

    @property
    def positive(self) -> tuple[str, ...]:
        """Parameters and buoyancy; a fitted strength can be negative."""
        return "speed", "density", "quality", "buoyancy"

    def derive(self, speed: Any, density: Any, quality: Any) -> dict[str, Any]:
        """Return buoyancy, bulk moduli and relaxation rates."""
        bulk = self.attenuation.moduli(density * speed ** 2, quality)
        return {"buoyancy": 1.0 / density, **names(bulk, "bulk"), **rates(self.attenuation, density)}

    def rate(self, p: Expression, buoyancy: Expression, **symbols: Expression) -> dict[str, Expression]:
        """Return the rates of velocities and of all pressures, and 0 = sum of p_l - p."""
        divergence = sum((derivative(symbols[f"v{i}"], axis) for i, axis in self.axes.items()), start=0.0 * p)
        out = {"p": sum((symbols[f"p{n}"] for n in self.bodies), start=-p),
               **{f"v{i}": -(buoyancy * derivative(p, axis)) for i, axis in self.axes.items()}}
        for n in self.bodies:
            out[f"p{n}"] = -(symbols[f"bulk{n}"] * divergence) - (symbols[f"relaxation{n}"] * symbols[f"p{n}"] if n else 0.0 * p)
        return out

    def sources(self, **symbols: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return pressure, volume and accelerations."""
        return {"p": {"p0": 1.0}, "volume": {f"p{n}": symbols[f"bulk{n}"] for n in self.bodies},
                **{f"v{i}": {f"v{i}": 1.0} for i in self.axes}}

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return pressure and velocities."""
        return {"p": {f"p{n}": 1.0 for n in self.bodies}, **{f"v{i}": {f"v{i}": 1.0} for i in self.axes}}

    def fastest(self, speed: Any, density: Any, quality: Any) -> Any:
        """Return the speed at infinite frequency, that of all bodies unrelaxed."""
        return np.sqrt(sum(self.attenuation.moduli(speed ** 2, quality)))
