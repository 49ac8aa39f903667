"""Elastic waves in media that are the same all around the vertical (VTI)."""
from typing import Any, ClassVar

import numpy as np

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, axes

from . import velocity_stress

COEFFICIENTS = {"c11": "Pa", "c13": "Pa", "c33": "Pa", "c44": "Pa"}


def stiffness(p_speed: Any, s_speed: Any, density: Any, epsilon: Any, delta: Any, gamma: Any = 0.0) -> dict[str, Any]:
    """Return the stiffnesses of a VTI medium from Thomsen's parameters, those of vertical waves and of anisotropy.

    Source: Thomsen 1986, Geophysics 51, 1954, eq. 8 and 17; the root of c13 with c13 + c44 >= 0.

    >>> stiffness(2.0, 1.0, 1.0, 0.5, 0.0)
    {'c11': 8.0, 'c13': 2.0, 'c33': 4.0, 'c44': 1.0, 'c66': 1.0}
    """
    c33, c44 = density * p_speed ** 2, density * s_speed ** 2
    between = c33 - c44
    c13 = (between * (between + 2.0 * delta * c33)) ** 0.5 - c44
    return {"c11": c33 * (1.0 + 2.0 * epsilon), "c13": c13, "c33": c33, "c44": c44, "c66": c44 * (1.0 + 2.0 * gamma)}


def fastest_p(c11: np.ndarray, c13: np.ndarray, c33: np.ndarray, c44: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Return the largest phase speed of quasi-P waves over all directions, each node for itself, by the Christoffel equation."""
    largest = np.maximum(c11, c33)
    for sine in np.sin(np.linspace(0.0, np.pi / 2.0, 31)[1:-1]) ** 2:
        along, down = c11 * sine + c44 * (1.0 - sine), c44 * sine + c33 * (1.0 - sine)
        root = np.sqrt((along - down) ** 2 + 4.0 * sine * (1.0 - sine) * (c13 + c44) ** 2)
        largest = np.maximum(largest, 0.5 * (along + down + root))
    # Between two of the directions a speed exceeds theirs by less than this: the greatest curvature is a few times the speed.
    return np.sqrt(largest / density) * 1.002


class ElasticVTI(Equation):
    """density v_t = div(stress) + force, stress_t = c : grad v, stiffnesses c of a VTI medium: in two or three dimensions.

    Parameters are Thomsen's: vertical P and S speed, epsilon, delta, in three dimensions also gamma. Places, means of shear moduli, fluids
    (s_speed, epsilon and delta zero), sources and receivers are those of `Elastic`, which is the same where all of epsilon, delta and
    gamma are zero.
    Source: Thomsen 1986, Geophysics 51, 1954, eq. 1, 8 and 17; the scheme: Virieux 1986, Geophysics 51, 889.

    >>> list(ElasticVTI(ndim=3).parameters)
    ['p_speed', 's_speed', 'density', 'epsilon', 'delta', 'gamma']
    """

    fields: dict[str, Field]
    particle_velocity: dict[int, str]
    tractions: dict[str, tuple[int, ...]]
    parameters: dict[str, str]
    coefficients: dict[str, str]
    harmonic: ClassVar[tuple[str, ...]] = ("c44", "c66", "buoyancy")
    dimensions: tuple[int, ...]
    odd_at_free_surfaces: ClassVar[bool] = False       # stresses along the surface and velocities are neither

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim), (ndim,)
        self.particle_velocity = velocity_stress.velocities(self.axes)
        self.fields, self.tractions = velocity_stress.fields(self.axes), velocity_stress.tractions(self.axes)
        self.parameters = {"p_speed": "m/s", "s_speed": "m/s", "density": "kg/m^3", "epsilon": "1", "delta": "1"}
        self.coefficients = {**COEFFICIENTS, "buoyancy": "m^3/kg"}
        if ndim == 3:
            self.parameters["gamma"], self.coefficients["c66"] = "1", "Pa"

    @property
    def positive(self) -> tuple[str, ...]:
        """Vertical P speed and density; the S speed is zero in fluids, and parameters of anisotropy have either sign."""
        return "p_speed", "density", "buoyancy"

    def derive(self, density: Any, **parameters: Any) -> dict[str, Any]:
        """Return the stiffnesses and the buoyancy."""
        made = stiffness(density=density, **parameters) | {"buoyancy": 1.0 / density}
        return {name: made[name] for name in self.coefficients}

    def on_free_surface(self, axis: int, **coefficients: Any) -> dict[str, Any]:
        """Return the stiffnesses without the strain across the surface: zero traction gives that strain from those along it."""
        c11, c13, c33 = (coefficients[name] for name in ("c11", "c13", "c33"))
        if axis == self.axes["z"]:
            return {"c11": c11 - c13 ** 2 / c33}
        if len(self.axes) == 2:
            return {"c33": c33 - c13 ** 2 / c11}
        c12 = c11 - 2.0 * coefficients["c66"]
        return {"c33": c33 - c13 ** 2 / c11, "c13": c13 * (1.0 - c12 / c11), "c11": c11 - c12 ** 2 / c11}

    def rate(self, buoyancy: Expression, c11: Expression, c13: Expression, c33: Expression, c44: Expression,
             c66: Expression | None = None, **fields: Expression) -> dict[str, Expression]:
        """Return the rates of velocities and stresses."""
        normal = {("z", "z"): c33, ("z", "x"): c13, ("x", "x"): c11}
        shear = {("z", "x"): c44}
        if c66 is not None:
            normal |= {("z", "y"): c13, ("y", "y"): c11, ("y", "x"): c11 - 2.0 * c66}
            shear |= {("z", "y"): c44, ("y", "x"): c66}
        return (velocity_stress.accelerations(self.axes, fields, buoyancy)
                | velocity_stress.stress_rates(self.axes, fields, normal, shear))

    def sources(self, buoyancy: Expression, **stiffnesses: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return forces, stresses, pressure and moments."""
        return velocity_stress.sources(self.axes, buoyancy)

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return the fields, and pressure: minus the mean of the normal stresses."""
        return velocity_stress.receivers(self.axes)

    def fastest(self, p_speed: Any, s_speed: Any, density: Any, epsilon: Any, delta: Any, gamma: Any = 0.0) -> Any:
        """Return the largest speed of quasi-P waves.

        Raises: InputError where the stiffnesses are not positive definite (semidefinite, in fluids).
        """
        bad = (s_speed < 0.0) | (s_speed >= p_speed) | (1.0 - (s_speed / p_speed) ** 2 + 2.0 * delta < 0.0)
        if not np.any(bad):
            c = stiffness(p_speed, s_speed, density, epsilon, delta, gamma)
            # All leading minors; a plane of isotropy adds that of the normal strains in it.
            around = c["c11"] - c["c66"] if len(self.axes) == 3 else c["c11"]
            bad = (around <= 0.0) | (c["c66"] < 0.0) | (c["c13"] ** 2 > around * c["c33"] * (1.0 + 1e-6))
        if np.any(bad):
            at = tuple(int(i) for i in np.argwhere(np.broadcast_to(bad, density.shape))[0])
            given = ", ".join(f"{name} {np.broadcast_to(value, density.shape)[at]:g}" for name, value in (
                ("p_speed", p_speed), ("s_speed", s_speed), ("epsilon", epsilon), ("delta", delta), ("gamma", gamma)))
            raise InputError(f"solve({given}) at node {at}: these stiffnesses are not positive definite, so the medium is unstable; use "
                             "0 <= s_speed < p_speed, and smaller epsilon, delta or gamma (in a fluid delta at most epsilon)")
        return fastest_p(c["c11"], c["c13"], c["c33"], c["c44"], density)
