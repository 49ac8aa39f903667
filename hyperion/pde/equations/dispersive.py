"""Media whose answer to an electric field takes time: for `pde.MaxwellTM`, `MaxwellTE` and `Maxwell3D`."""
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperion.pde.equation import Expression

from .maxwell import VACUUM_PERMITTIVITY, Medium


@dataclass(frozen=True)
class Debye(Medium):
    """Molecules that turn with the field and fall back: p_t = (vacuum permittivity susceptibility e - p) / relaxation_time.

    The polarisation p [C/m^2] makes the relative permittivity permittivity + susceptibility / (1 + i omega relaxation_time): `permittivity`
    is that at high frequencies, and with the susceptibility that at rest. Stable wherever the medium without it is.
    Source: Debye, Polar Molecules (1929), eq. 62; Taflove and Hagness, Computational Electrodynamics (2005), section 9.4.1.

    >>> Debye().parameters
    {'susceptibility': '1', 'relaxation_time': 's'}
    """

    letter: ClassVar[str] = "p"
    unit: ClassVar[str] = "C/m^2"
    parameters: ClassVar[dict[str, str]] = {"susceptibility": "1", "relaxation_time": "s"}
    coefficients: ClassVar[dict[str, str]] = {"polarising": "S/m", "relaxation": "1/s"}
    positive: ClassVar[tuple[str, ...]] = ("relaxation_time", "relaxation")

    def derive(self, susceptibility: Any, relaxation_time: Any) -> dict[str, Any]:
        """Return what the field drives the polarisation with, and at what rate it relaxes."""
        return {"polarising": VACUUM_PERMITTIVITY * susceptibility / relaxation_time, "relaxation": 1.0 / relaxation_time}

    def current(self, e: Expression, p: Expression, polarising: Expression, relaxation: Expression) -> Expression:
        """Return p_t."""
        return self.rate(e, p, polarising, relaxation)

    def rate(self, e: Expression, p: Expression, polarising: Expression, relaxation: Expression) -> Expression:
        """Return p_t."""
        return polarising * e - relaxation * p


@dataclass(frozen=True)
class Drude(Medium):
    """Free electrons with collisions: j_t = vacuum permittivity plasma_frequency^2 e - collision_rate j.

    The current density j [A/m^2] makes the relative permittivity permittivity - plasma_frequency^2 / (omega^2 - i omega collision_rate);
    the plasma frequency is one of angle, 2 pi times a number of turns per second.
    Source: Drude, Annalen der Physik 306 (1900), 566; Taflove and Hagness, Computational Electrodynamics (2005), section 9.4.3.

    >>> Drude().coefficients
    {'inertia': 'F/m/s^2', 'collision_rate': '1/s'}
    """

    letter: ClassVar[str] = "j"
    unit: ClassVar[str] = "A/m^2"
    parameters: ClassVar[dict[str, str]] = {"plasma_frequency": "1/s", "collision_rate": "1/s"}
    coefficients: ClassVar[dict[str, str]] = {"inertia": "F/m/s^2", "collision_rate": "1/s"}
    positive: ClassVar[tuple[str, ...]] = ()

    def derive(self, plasma_frequency: Any, collision_rate: Any) -> dict[str, Any]:
        """Return what accelerates the current, and the collision rate."""
        return {"inertia": VACUUM_PERMITTIVITY * plasma_frequency ** 2, "collision_rate": collision_rate}

    def current(self, e: Expression, p: Expression, inertia: Expression, collision_rate: Expression) -> Expression:
        """Return j."""
        return p

    def rate(self, e: Expression, p: Expression, inertia: Expression, collision_rate: Expression) -> Expression:
        """Return j_t."""
        return inertia * e - collision_rate * p
