"""Elastic waves in media that absorb."""
from typing import Any, ClassVar

import numpy as np

from hyperion.autograd import where
from hyperion.pde.attenuation import Attenuation, names, rates
from hyperion.pde.equation import Equation, Expression, Field, axes

from . import velocity_stress
from .elastic import checked


class Viscoelastic(Equation):
    """density v_t = div(stress) + force, stress = sum of stress_l: those of a spring (l = 0) and of Maxwell bodies.

    stress_l,t = lame_l div(v) 1 + shear_l (grad v + grad v^T) - stress_l / t_l. attenuation: relaxation times t_l, and how P and S moduli
    lame_l + 2 shear_l and shear_l follow from the quality factors of P and S waves. Parameters: speeds at the attenuation's reference
    frequency, density, p_quality, s_quality. Places, means, fluids and forces are those of `Elastic`; sources of stresses, pressure and
    moments enter the spring and last.
    Source: Emmerich and Korn 1987, Geophysics 52, 1252; Robertsson, Blanch and Symes 1994, Geophysics 59, 1444, eq. 6 to 9.

    >>> list(Viscoelastic(Attenuation.fitted(2.0, 50.0, mechanisms=1)).fields)
    ['vz', 'vx', 'szz', 'sxx', 'szx', 'a0zz', 'a0xx', 'a0zx', 'a1zz', 'a1xx', 'a1zx']
    """

    fields: dict[str, Field]
    tractions: dict[str, tuple[int, ...]]
    particle_velocity: dict[int, str]
    parameters: ClassVar[dict[str, str]] = {
        "p_speed": "m/s", "s_speed": "m/s", "density": "kg/m^3", "p_quality": "1", "s_quality": "1",
    }
    coefficients: dict[str, str]
    harmonic: tuple[str, ...]
    dimensions: tuple[int, ...]
    odd_at_free_surfaces: ClassVar[bool] = False       # stresses along the surface and velocities are neither

    def __init__(self, attenuation: Attenuation, ndim: int = 2):
        self.attenuation, self.axes, self.dimensions = attenuation, axes(self, ndim), (ndim,)
        self.particle_velocity = velocity_stress.velocities(self.axes)
        self.bodies = range(len(attenuation.times) + 1)
        whole = {f: Field(x.unit, 0 if f.startswith("s") else 1, x.at) for f, x in velocity_stress.fields(self.axes).items()}
        self.fields = whole | {f: x for n in self.bodies for f, x in velocity_stress.stresses(self.axes, f"a{n}").items()}
        vanish = velocity_stress.tractions(self.axes)
        self.tractions = vanish | {f"a{n}{s[1:]}": across for n in self.bodies for s, across in vanish.items()}
        self.coefficients = {"buoyancy": "m^3/kg", **{f"{m}{n}": "Pa" for n in self.bodies for m in ("lame", "shear")},
                             **{f"relaxation{n}": "1/s" for n in self.bodies[1:]}}
        self.harmonic = ("buoyancy", *(f"shear{n}" for n in self.bodies))

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters but the S speed, which is zero in fluids."""
        return "p_speed", "density", "p_quality", "s_quality", "buoyancy"

    def derive(self, p_speed: Any, s_speed: Any, density: Any, p_quality: Any, s_quality: Any) -> dict[str, Any]:
        """Return the buoyancy, the moduli of spring and bodies, and relaxation rates."""
        stiff = self.attenuation.moduli(density * p_speed ** 2, p_quality)
        shear = self.attenuation.moduli(density * s_speed ** 2, s_quality)
        lame = [m - 2.0 * g for m, g in zip(stiff, shear, strict=True)]
        return {"buoyancy": 1.0 / density, **names(lame, "lame"), **names(shear, "shear"), **rates(self.attenuation, density)}

    def on_free_surface(self, axis: int, **coefficients: Any) -> dict[str, Any]:
        """Return lame of spring and bodies without the strain across the surface: minus r times the sum of those along it.

        r = lame / (lame + 2 shear) of the unrelaxed medium makes the traction vanish at high frequencies; of a body's modulus
        lame (1 - r)^2 + 2 shear r^2 is left, which is the viscoelastic one to second order in 1 / Q, as r is where energy is least.
        """
        lame, shear = (sum((coefficients[f"{name}{n}"] for n in self.bodies[1:]), start=coefficients[f"{name}0"])
                       for name in ("lame", "shear"))
        stiff = lame + 2.0 * shear
        r = lame / where(stiff == 0.0, 1.0, stiff)     # a fluid at two surfaces: 0 / 0
        return {f"lame{n}": coefficients[f"lame{n}"] * (1.0 - r) ** 2 + 2.0 * coefficients[f"shear{n}"] * r ** 2 for n in self.bodies}

    def rate(self, buoyancy: Expression, **symbols: Expression) -> dict[str, Expression]:
        """Return the rates of velocities and of all stresses, and 0 = sum of stress_l - stress."""
        out = velocity_stress.accelerations(self.axes, symbols, buoyancy)
        components = [f[1:] for f in velocity_stress.stresses(self.axes)]
        out |= {f"s{ij}": sum((symbols[f"a{n}{ij}"] for n in self.bodies), start=-symbols[f"s{ij}"]) for ij in components}
        for n in self.bodies:
            lame, shear = symbols[f"lame{n}"], symbols[f"shear{n}"]
            stiffness = {(i, j): lame + 2.0 * shear if i == j else lame for i in self.axes for j in self.axes}
            made = velocity_stress.stress_rates(self.axes, symbols, stiffness, dict.fromkeys(velocity_stress.pairs(self.axes), shear))
            for ij in components:
                stress = symbols[f"a{n}{ij}"]
                out[f"a{n}{ij}"] = made[f"s{ij}"] - (symbols[f"relaxation{n}"] * stress if n else 0.0 * stress)
        return out

    def sources(self, buoyancy: Expression, **symbols: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return forces, stresses, pressure and moments."""
        return velocity_stress.sources(self.axes, buoyancy, "a0")

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return velocities, stresses, and pressure: minus the mean of the normal stresses."""
        return velocity_stress.receivers(self.axes, tuple(f"a{n}" for n in self.bodies))

    def fastest(self, p_speed: Any, s_speed: Any, density: Any, p_quality: Any, s_quality: Any) -> Any:
        """Return the P speed at infinite frequency. Raises: InputError for media that do not resist compression, relaxed or not."""
        for moduli in (lambda *args: self.attenuation.moduli(*args)[0], lambda *args: sum(self.attenuation.moduli(*args))):
            fast, slow = np.sqrt(moduli(p_speed ** 2, p_quality)), np.sqrt(moduli(s_speed ** 2, s_quality)) * np.sign(s_speed)
            checked(fast, slow, density, len(self.axes))
        return fast
