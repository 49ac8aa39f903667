"""Isotropic elastic waves: velocity and stress on a staggered grid."""
from typing import Any, ClassVar

import numpy as np

from hyperion.autograd import where
from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, axes

from . import velocity_stress

PARAMETERS = {"p_speed": "m/s", "s_speed": "m/s", "density": "kg/m^3"}
COEFFICIENTS = {"lame": "Pa", "shear": "Pa", "buoyancy": "m^3/kg"}


def moduli(p_speed: Any, s_speed: Any, density: Any) -> dict[str, Any]:
    """Return Lame's first parameter, shear modulus and buoyancy.

    >>> moduli(3.0, 1.0, 2.0)
    {'lame': 14.0, 'shear': 2.0, 'buoyancy': 0.5}
    """
    shear = density * s_speed ** 2
    return {"lame": density * p_speed ** 2 - 2.0 * shear, "shear": shear, "buoyancy": 1.0 / density}


def checked(p_speed: Any, s_speed: Any, density: Any, ndim: int) -> Any:
    """Return the P speed. Raises: InputError where S waves are too fast for a medium that resists compression, or negative."""
    bad = (s_speed < 0.0) | (p_speed ** 2 <= 2.0 * (ndim - 1) / ndim * s_speed ** 2)
    if np.any(bad):
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        most = np.sqrt(ndim / (2.0 * (ndim - 1))) if ndim > 1 else np.inf
        below = f" and below {most:.4g} p_speed, or the medium does not resist compression" if ndim > 1 else ""
        raise InputError(f"solve(p_speed, s_speed): {p_speed[at]:g} and {s_speed[at]:g} m/s at node {at}; s_speed must be at least "
                         f"0{below}")
    return np.broadcast_to(p_speed, density.shape)


class Elastic(Equation):
    """density v_t = div(stress) + force, stress_t = lame div(v) 1 + shear (grad v + grad v^T): P and S waves in one to three dimensions.

    One dimension: P waves, whose velocity is vz. Two: P and SV waves, velocities vz, vx. Normal stresses sit at the nodes, velocities
    half a cell beyond them along their own axis, shear stresses along both. The shear modulus there is the harmonic mean of four nodes:
    zero where one of them is fluid, which keeps contacts of fluids and solids stable.
    Sources: "vz": a force density [N/m^ndim]; "szz": a rate of stress; "pressure": minus that of all normal stresses; "mzz", "mzx": the
    rate of a component of the moment tensor [N m/s / m^ndim]. Receivers hear a field, or "pressure".
    Source: Virieux 1986, Geophysics 51, 889, eq. 1; Levander 1988, Geophysics 53, 1425; Graves 1996, BSSA 86, 1091; means: Moczo et al.
    2002, BSSA 92, 3042.

    >>> sorted(Elastic().rates(2))
    ['sxx', 'szx', 'szz', 'vx', 'vz']
    >>> list(Elastic(ndim=3).fields)
    ['vz', 'vy', 'vx', 'szz', 'syy', 'sxx', 'szy', 'szx', 'syx']
    """

    fields: dict[str, Field]
    particle_velocity: dict[int, str]
    tractions: dict[str, tuple[int, ...]]
    parameters: ClassVar[dict[str, str]] = PARAMETERS
    coefficients: ClassVar[dict[str, str]] = COEFFICIENTS
    harmonic: ClassVar[tuple[str, ...]] = ("shear", "buoyancy")
    dimensions: tuple[int, ...]
    odd_at_free_surfaces: ClassVar[bool] = False       # stresses along the surface and velocities are neither

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim, (1, 2, 3)), (ndim,)
        self.particle_velocity = velocity_stress.velocities(self.axes)
        self.fields, self.tractions = velocity_stress.fields(self.axes), velocity_stress.tractions(self.axes)

    @property
    def positive(self) -> tuple[str, ...]:
        """All but the S speed, which is zero in fluids."""
        return "p_speed", "density", "buoyancy"

    def derive(self, p_speed: Any, s_speed: Any, density: Any) -> dict[str, Any]:
        """Return the moduli and the buoyancy."""
        return moduli(p_speed, s_speed, density)

    def on_free_surface(self, axis: int, **coefficients: Any) -> dict[str, Any]:
        """Return lame without the strain across the surface: zero traction gives that strain from those along it."""
        lame, shear = coefficients["lame"], coefficients["shear"]
        return {"lame": 2.0 * lame * shear / where(shear == 0.0, 1.0, lame + 2.0 * shear)}           # a fluid at two surfaces: 0 / 0

    def rate(self, lame: Expression, shear: Expression, buoyancy: Expression, **fields: Expression) -> dict[str, Expression]:
        """Return the rates of velocities and stresses."""
        stiffness = {(i, j): lame + 2.0 * shear if i == j else lame for i in self.axes for j in self.axes}
        moduli = dict.fromkeys(velocity_stress.pairs(self.axes), shear)
        return (velocity_stress.accelerations(self.axes, fields, buoyancy)
                | velocity_stress.stress_rates(self.axes, fields, stiffness, moduli))

    def sources(self, lame: Expression, shear: Expression, buoyancy: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return forces, stresses, pressure and moments."""
        return velocity_stress.sources(self.axes, buoyancy)

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return the fields, and pressure: minus the mean of the normal stresses."""
        return velocity_stress.receivers(self.axes)

    def fastest(self, p_speed: Any, s_speed: Any, density: Any) -> Any:
        """Return the P speed."""
        return checked(p_speed, s_speed, density, len(self.axes))
