"""Maxwell's equations on Yee's staggered grid, in conductors and in media with memory."""
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative

VACUUM_PERMITTIVITY, VACUUM_PERMEABILITY = 8.8541878128e-12, 1.25663706212e-6      # [F/m], [H/m], CODATA 2018
AXES = {"x": -1, "y": -2, "z": -3}


class Medium(ABC):
    """What a material answers to the electric field e beside permittivity and conductivity: one more field p, a vector like it.

    letter, unit: of that field. parameters, coefficients: {name: unit}, as of an equation; positive: those of them that are.
    """

    letter: ClassVar[str]
    unit: ClassVar[str]
    parameters: ClassVar[dict[str, str]]
    coefficients: ClassVar[dict[str, str]]
    positive: ClassVar[tuple[str, ...]]

    @abstractmethod
    def derive(self, **parameters: Any) -> dict[str, Any]:
        """Return the coefficients at the nodes from the parameters there."""

    @abstractmethod
    def current(self, e: Expression, p: Expression, **coefficients: Expression) -> Expression:
        """Return the current density that the field makes [A/m^2]."""

    @abstractmethod
    def rate(self, e: Expression, p: Expression, **coefficients: Expression) -> Expression:
        """Return p_t."""


class Maxwell(Equation):
    """permittivity e_t = curl h - conductivity e - j, permeability h_t = -curl e - m: electric field e [V/m], magnetic field h [A/m].

    Components: `electric` and `magnetic`, as letters. Component i of e sits half a cell beyond the nodes along axis i, of h along the two
    other axes, as far as the grid has them. Permittivity and permeability are relative to vacuum. Where a field sits between nodes its
    material is their mean: of permittivities in series along e, of permeabilities side by side across h, and of conductivities.
    A source of e is an electric current density j [A/m^2; summed over the grid's cells], of h a magnetic one m [V/m^2].
    Sides: pde.PerfectConductor(), and pde.Rigid() for a magnetic wall, the plane of symmetry of a plane wave.
    medium: None, Debye() or Drude().
    Source: Yee 1966, IEEE Trans. Antennas Propag. 14, 302, eq. 1-3; Taflove and Hagness, Computational Electrodynamics (2005), section 3.2.
    """

    electric: ClassVar[str]
    magnetic: ClassVar[str]
    harmonic: ClassVar[tuple[str, ...]] = ("impermeability",)
    conducting: ClassVar[bool] = True

    def __init__(self, medium: Medium | None = None):
        if not (medium is None or isinstance(medium, Medium)):
            raise InputError(f"{type(self).__name__}(medium={medium!r}): give pde.Debye(), pde.Drude(), or None for neither")
        self.medium, (ndim,) = medium, self.dimensions
        has = {i: axis for i, axis in AXES.items() if axis >= -ndim}
        self.fields = {f"e{i}": Field("V/m", at=(has[i],) if i in has else ()) for i in self.electric}
        self.fields |= {f"h{i}": Field("A/m", at=tuple(sorted(axis for j, axis in has.items() if j != i))) for i in self.magnetic}
        self.parameters = {"permittivity": "1", "permeability": "1", "conductivity": "S/m"}
        self.coefficients = {"impermittivity": "m/F", "impermeability": "m/H", "conductivity": "S/m"}
        if medium:                                     # after h: so p is half a step off e, and both are stepped to second order
            self.fields |= {medium.letter + i: Field(medium.unit, at=self.fields["e" + i].at) for i in self.electric}
            self.parameters |= medium.parameters
            self.coefficients |= medium.coefficients

    @property
    def positive(self) -> tuple[str, ...]:
        """All but the conductivity, which is zero in insulators."""
        return "permittivity", "permeability", "impermittivity", "impermeability", *(self.medium.positive if self.medium else ())

    def derive(self, permittivity: Any, permeability: Any, conductivity: Any, **others: Any) -> dict[str, Any]:
        """Return the reciprocals of absolute permittivity and permeability, and what the medium makes of its parameters."""
        out = {"impermittivity": 1.0 / (VACUUM_PERMITTIVITY * permittivity), "impermeability": 1.0 / (VACUUM_PERMEABILITY * permeability),
               "conductivity": conductivity}
        return out | (self.medium.derive(**others) if self.medium else {})

    def rate(self, impermittivity: Expression, impermeability: Expression, conductivity: Expression,
             **symbols: Expression) -> dict[str, Expression]:
        """Return the rates of the electric field, the magnetic field and the medium's."""
        medium, rates = self.medium, dict[str, Expression]()
        e = {i: symbols["e" + i] for i in self.electric}
        coefficients = {k: symbols[k] for k in medium.coefficients} if medium else {}
        for i in self.magnetic:
            rates["h" + i] = -(impermeability * self._curl("e", i, symbols))
        for i in self.electric:
            current = conductivity * e[i]
            if medium:
                p = symbols[medium.letter + i]
                current = current + medium.current(e[i], p, **coefficients)
                rates[medium.letter + i] = medium.rate(e[i], p, **coefficients)
            rates["e" + i] = impermittivity * (self._curl("h", i, symbols) - current)
        return rates

    def _curl(self, letter: str, i: str, symbols: dict[str, Expression]) -> Expression:
        """Return component i of a curl: along axes that the grid has not, nothing changes."""
        j, k = {"x": "yz", "y": "zx", "z": "xy"}[i]
        (ndim,) = self.dimensions
        total = Expression({}, ndim)
        for axis, component, sign in ((AXES[j], letter + k, 1.0), (AXES[k], letter + j, -1.0)):
            if axis >= -ndim and component in symbols:
                total = total + sign * derivative(symbols[component], axis)
        return total

    def sources(self, impermittivity: Expression, impermeability: Expression,
                **others: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return what currents are multiplied by: they drive the field against their own direction."""
        driven = [("e" + i, impermittivity) for i in self.electric] + [("h" + i, impermeability) for i in self.magnetic]
        return {f: {f: -coefficient} for f, coefficient in driven}

    def fastest(self, permittivity: Any, permeability: Any, conductivity: Any, **others: Any) -> Any:
        """Return the speed of light. Raises: InputError where the conductivity, or what the medium may have of zero, is negative."""
        for name, x in {"conductivity": conductivity, **others}.items():
            if np.any(x < 0.0):
                at = tuple(int(i) for i in np.argwhere(x < 0.0)[0])
                raise InputError(f"solve({name}): {x[at]:g} {self.parameters[name]} at node {at}; it must be at least 0, or fields grow")
        return 1.0 / np.sqrt(VACUUM_PERMITTIVITY * VACUUM_PERMEABILITY * permittivity * permeability)


class MaxwellTM(Maxwell):
    """Maxwell's equations for axes (y, x), nothing changing along z: the electric field ez, and hx and hy across it.

    >>> MaxwellTM().fields["hx"].at
    (-2,)
    """

    electric, magnetic = "z", "xy"
    dimensions: ClassVar[tuple[int, ...]] = (2,)


class MaxwellTE(Maxwell):
    """Maxwell's equations for axes (y, x), nothing changing along z: the magnetic field hz, and ex and ey across it.

    >>> sorted(MaxwellTE().rates(2)), MaxwellTE().fields["hz"].at
    (['ex', 'ey', 'hz'], (-2, -1))
    """

    electric, magnetic = "xy", "z"
    dimensions: ClassVar[tuple[int, ...]] = (2,)


class Maxwell3D(Maxwell):
    """Maxwell's equations for axes (z, y, x), all six components.

    >>> Maxwell3D().fields["ez"].at, Maxwell3D().fields["hz"].at
    ((-3,), (-2, -1))
    """

    electric, magnetic = "xyz", "xyz"
    dimensions: ClassVar[tuple[int, ...]] = (3,)
