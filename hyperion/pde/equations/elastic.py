"""Isotropic elastic waves: velocity and stress on a staggered grid."""
from typing import Any, ClassVar

import numpy as np

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative

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
        most = np.sqrt(ndim / (2.0 * (ndim - 1)))
        raise InputError(f"solve(p_speed, s_speed): {p_speed[at]:g} and {s_speed[at]:g} m/s at node {at}; s_speed must be at least 0 and "
                         f"below {most:.4g} p_speed, or the medium does not resist compression")
    return np.broadcast_to(p_speed, np.shape(density))


class Elastic(Equation):
    """density v_t = div(stress) + force, stress_t = lame div(v) 1 + shear (grad v + grad v^T): P and SV waves in two dimensions.

    Normal stresses sit at the nodes, velocities half a cell beyond them along their own axis, shear stress along both. The shear modulus
    there is the harmonic mean of four nodes: zero where one of them is fluid, which keeps contacts of fluids and solids stable.
    A source of a velocity is a force density [N/m^2 in two dimensions], of a stress or of "pressure" its rate. Receivers hear a field, or
    "pressure".
    Source: Virieux 1986, Geophysics 51, 889, eq. 1; Levander 1988, Geophysics 53, 1425; means: Moczo et al. 2002, BSSA 92, 3042.

    >>> sorted(Elastic().rates(2))
    ['sxx', 'szx', 'szz', 'vx', 'vz']
    """

    fields: ClassVar[dict[str, Field]] = {
        "vz": Field("m/s", at=(-2,)), "vx": Field("m/s", at=(-1,)),
        "szz": Field("Pa"), "sxx": Field("Pa"), "szx": Field("Pa", at=(-2, -1)),
    }
    parameters: ClassVar[dict[str, str]] = PARAMETERS
    coefficients: ClassVar[dict[str, str]] = COEFFICIENTS
    harmonic: ClassVar[tuple[str, ...]] = ("shear", "buoyancy")
    dimensions: ClassVar[tuple[int, ...]] = (2,)
    odd_at_free_surfaces: ClassVar[bool] = False       # stresses along the surface and velocities are neither

    @property
    def positive(self) -> tuple[str, ...]:
        """All but the S speed, which is zero in fluids."""
        return "p_speed", "density", "buoyancy"

    def derive(self, p_speed: Any, s_speed: Any, density: Any) -> dict[str, Any]:
        """Return the moduli and the buoyancy."""
        return moduli(p_speed, s_speed, density)

    def rate(self, vz: Expression, vx: Expression, szz: Expression, sxx: Expression, szx: Expression, lame: Expression, shear: Expression,
             buoyancy: Expression) -> dict[str, Expression]:
        """Return the rates of velocities and stresses."""
        ezz, exx = derivative(vz, -2), derivative(vx, -1)
        stiff = lame + 2.0 * shear
        return {
            "vz": buoyancy * (derivative(szz, -2) + derivative(szx, -1)),
            "vx": buoyancy * (derivative(sxx, -1) + derivative(szx, -2)),
            "szz": stiff * ezz + lame * exx,
            "sxx": stiff * exx + lame * ezz,
            "szx": shear * (derivative(vz, -1) + derivative(vx, -2)),
        }

    def sources(self, lame: Expression, shear: Expression, buoyancy: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return the buoyancy for forces, 1 for stresses, -1 for pressure in both normal stresses."""
        return {
            "vz": {"vz": buoyancy}, "vx": {"vx": buoyancy}, "szz": {"szz": 1.0}, "sxx": {"sxx": 1.0}, "szx": {"szx": 1.0},
            "pressure": {"szz": -1.0, "sxx": -1.0},
        }

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return the fields, and pressure: minus the mean of the normal stresses."""
        return {f: {f: 1.0} for f in self.fields} | {"pressure": {"szz": -0.5, "sxx": -0.5}}

    def fastest(self, p_speed: Any, s_speed: Any, density: Any) -> Any:
        """Return the P speed."""
        return checked(p_speed, s_speed, density, 2)
