"""What an equation declares: fields, parameters and rates, continuous in space and time.

A rate is a sum of weight * parameters * derivatives of fields. `Expression` is that sum; fields and parameters are handed to `rate` as
expressions, so that it reads like the formula. Solvers and networks read the terms; neither is known here.
"""
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar

from hyperion.errors import InputError

from . import declaration, units
from .declaration import Field


@dataclass(frozen=True, order=True)
class Derivative:
    """A derivative of a field in space: its order along each axis; all zeros: the field itself.

    >>> Derivative("p", (0, 2)).order, Derivative("p", (0, 2)).axis, Derivative("p", (1, 1)).axis
    (2, 1, None)
    >>> print(Derivative("p", (0, 2)))
    derivative(p, -1, 2)
    """

    field: str
    orders: tuple[int, ...]

    @property
    def order(self) -> int:
        """Order in all."""
        return sum(self.orders)

    @property
    def axis(self) -> int | None:
        """The one axis it is taken along; None for mixed derivatives and the field itself."""
        taken = [k for k, n in enumerate(self.orders) if n]
        return taken[0] if len(taken) == 1 else None

    def __str__(self) -> str:
        text = self.field
        for k, n in enumerate(self.orders):
            if n:
                text = f"derivative({text}, {k - len(self.orders)}{f', {n}' * (n > 1)})"
        return text

    def raised(self, axis: int, order: int) -> "Derivative":
        """Return its derivative along an axis, counted from the first."""
        return Derivative(self.field, tuple(n + order * (k == axis) for k, n in enumerate(self.orders)))


Key = tuple[tuple[str, ...], tuple[Derivative, ...]]


class Expression:
    """A sum of weight * product of parameters * product of derivatives of fields.

    terms: {(parameters, derivatives): weight}; both sorted.
    """

    def __init__(self, terms: Mapping[Key, float], ndim: int):
        self.terms: dict[Key, float] = {k: w for k, w in terms.items() if w != 0.0}
        self.ndim = ndim

    @classmethod
    def field(cls, name: str, ndim: int) -> "Expression":
        """Return a field as an expression."""
        return cls({((), (Derivative(name, (0,) * ndim),)): 1.0}, ndim)

    @classmethod
    def parameter(cls, name: str, ndim: int) -> "Expression":
        """Return a parameter as an expression."""
        return cls({((name,), ()): 1.0}, ndim)

    def _of(self, other: "Expression | float") -> "Expression":
        if isinstance(other, Expression):
            return other
        if isinstance(other, bool) or not isinstance(other, Real) or not math.isfinite(other):
            raise InputError(f"rate: {other!r} stands beside fields and coefficients; use finite numbers, and parameters for what varies")
        return Expression({((), ()): float(other)}, self.ndim)

    def __add__(self, other: "Expression | float") -> "Expression":
        total = dict(self.terms)
        for key, w in self._of(other).terms.items():
            total[key] = total.get(key, 0.0) + w
        return Expression(total, self.ndim)

    def __mul__(self, other: "Expression | float") -> "Expression":
        total: dict[Key, float] = {}
        for (p, d), w in self.terms.items():
            for (q, e), v in self._of(other).terms.items():
                key = (tuple(sorted(p + q)), tuple(sorted(d + e)))
                total[key] = total.get(key, 0.0) + w * v
        return Expression(total, self.ndim)

    def __pow__(self, n: int) -> "Expression":
        if int(n) != n or n < 1:
            raise InputError(f"rate: power {n}; fields and parameters may be raised to whole powers of at least 1")
        return self if n == 1 else self * self ** (n - 1)

    def __neg__(self) -> "Expression":
        return self * -1.0

    def __sub__(self, other: "Expression | float") -> "Expression":
        return self + self._of(other) * -1.0

    def __truediv__(self, other: float) -> "Expression":
        if isinstance(other, Expression):
            raise InputError("rate: divides by a field or coefficient; declare the reciprocal as a coefficient, and make it in `derive`")
        return self * (1.0 / other)

    def __rsub__(self, other: "Expression | float") -> "Expression":
        return self._of(other) - self

    __radd__, __rmul__ = __add__, __mul__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "Expression":
        """Numbers of NumPy are numbers; its functions are refused."""
        simple = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv}
        if ufunc.__name__ not in simple or method != "__call__":
            raise InputError(f"rate: numpy.{ufunc.__name__} of a field or coefficient; a rate is a sum of products of coefficients, fields "
                             "and derivatives: declare what else it needs as a coefficient, and make it in `derive`")
        return simple[ufunc.__name__](*(x if isinstance(x, Expression) else float(x) for x in inputs))

    def derivatives(self) -> set[Derivative]:
        """Return the derivatives of fields that occur, the fields themselves too."""
        return {d for _, ds in self.terms for d in ds}


def derivative(f: Expression, axis: int, order: int = 1) -> Expression:
    """Return a derivative of a field, or of a derivative of one, along an axis (counted from the last: -1 is x).

    f: a field as `rate` receives it. order: 1 or more. Units of the field per m^order.
    Raises: InputError if f is a product or a sum.

    >>> p = Expression.field("p", ndim=2)
    >>> derivative(p, -1, order=2).terms
    {((), (Derivative(field='p', orders=(0, 2)),)): 1.0}
    """
    keys = list(f.terms.items())
    ((parameters, ds), weight) = keys[0] if len(keys) == 1 else (((), ()), 0.0)
    if len(ds) != 1 or parameters or weight != 1.0:
        raise InputError("derivative(f, ...): f must be a field of the equation itself or a derivative of it, not a product or a sum; "
                         "write out the product rule")
    if not isinstance(order, int) or order < 1:
        raise InputError(f"derivative(order={order!r}): give a whole number of at least 1")
    if operator.index(axis) not in range(-f.ndim, 0):
        raise InputError(f"derivative(axis={axis}): axes are counted from the last, -1 to {-f.ndim}")
    return Expression({((), (ds[0].raised(axis + f.ndim, order),)): 1.0}, f.ndim)


def laplace(f: Expression) -> Expression:
    """Return the Laplacian of a field: the sum of its second derivatives along all axes, units of the field per m^2.

    f: a field as `rate` receives it.

    >>> p = Expression.field("p", ndim=3)
    >>> [d.axis for _, (d,) in laplace(p).terms]
    [2, 0, 1]
    """
    return sum((derivative(f, axis, 2) for axis in range(-f.ndim, -1)), start=derivative(f, -1, 2))


def axes(equation: "Equation | type[Equation]", ndim: int, allowed: tuple[int, ...] = (2, 3)) -> dict[str, int]:
    """Return {letter of a coordinate: its axis, counted from the last}, for an equation whose fields depend on the dimensions.

    Raises: InputError for a number of dimensions that is not allowed.

    >>> axes(Equation, 2), axes(Equation, 3)
    ({'z': -2, 'x': -1}, {'z': -3, 'y': -2, 'x': -1})
    """
    if isinstance(ndim, bool) or ndim not in allowed:
        name = equation.__name__ if isinstance(equation, type) else type(equation).__name__
        raise InputError(f"{name}(ndim={ndim!r}): give {' or '.join(map(str, allowed))}, the number of space dimensions")
    return {letter: axis for axis, letter in enumerate({1: "z", 2: "zx", 3: "zyx"}[ndim], -ndim)}


class Equation(ABC):
    """A partial differential equation, declared once; the units of its terms must fit (all "1": an equation in dimensionless numbers).

    fields: {name: Field}; where they depend on the number of dimensions, `__init__(ndim)` makes them. parameters: {name: unit}, what
    users give. dimensions: the numbers of space dimensions in which `rate` has a meaning. coefficients: {name: unit} of what `rate`
    receives beside the fields and `derive` makes of the parameters; by default the parameters themselves. harmonic: the coefficients
    whose mean between nodes is harmonic (at fields that sit there); of others it is arithmetic. odd_at_free_surfaces: whether fields that
    are even about a rigid side are odd about a free surface, and odd ones even. conducting: whether they are electric and magnetic, so that
    there may be pde.PerfectConductor() sides. tractions: {field: axes (-1 is x) across whose free surfaces it
    vanishes}, where the others are neither odd nor even. particle_velocity: {axis (-1 is x): the field that is the velocity of the medium
    along it}, for receivers of strain. faded: parameters that fall to zero inside absorbing layers, where waves would
    grow otherwise.
    """

    fields: dict[str, Field]
    parameters: dict[str, str]
    coefficients: dict[str, str] = {}                  # noqa: RUF012  (an instance may have its own)
    harmonic: ClassVar[tuple[str, ...]] = ()
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    odd_at_free_surfaces: ClassVar[bool] = True
    conducting: ClassVar[bool] = False
    tractions: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    particle_velocity: Mapping[int, str] = MappingProxyType({})
    faded: ClassVar[tuple[str, ...]] = ()

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive, and of coefficients that then are; by default all parameters."""
        return tuple(self.parameters)

    def derive(self, **parameters: Any) -> dict[str, Any]:
        """Return the coefficients at the nodes from the parameters there, in Tensor operations."""
        return parameters

    def on_free_surface(self, axis: int, **coefficients: Any) -> dict[str, Any]:
        """Return the coefficients that differ at nodes on a free surface across an axis, in Tensor operations; by default none.

        There the tractions vanish; with their help rates do without derivatives across the surface of what is unknown beyond it.
        """
        return {}

    @abstractmethod
    def rate(self, **symbols: Any) -> Expression | dict[str, Expression]:
        """Return the time derivative of each field, as {field: expression} or the one expression of a single field."""

    def sources(self, **symbols: Any) -> dict[str, dict[str, Expression | float]]:
        """Return {name: {field: what a unit source density is multiplied by in its rate}}; by default each field by itself, times 1."""
        return {f: {f: 1.0} for f, field in self.fields.items() if field.time_order}

    def receivers(self) -> dict[str, dict[str, float]]:
        """Return {name: {field: weight}} of what can be recorded; by default each field. The fields of one name sit at one place."""
        return {f: {f: 1.0} for f, field in self.fields.items() if field.time_order}

    def fastest(self, **parameters: Any) -> Any:
        """Return the local speed of the fastest wave [m/s] from parameter arrays, for the strength of absorbing layers.

        Without it other boundaries, and stable steps, are available all the same.
        Raises: InputError if values, each of which is allowed, do not fit together.
        """
        raise InputError(f"{type(self).__name__} knows no fastest wave, so the strength of its absorbing layers is not known: give the "
                         "speed that they are to absorb in the time stepping, as stepping=pde.SSPRK3(max_speed=...) [m/s], or pde.CPML(0) "
                         "or pde.Periodic() in their place; an equation of your own may declare fastest(...)")

    def derived(self, **parameters: Any) -> dict[str, Any]:
        """Return what `derive` makes, all coefficients that are declared. Raises: InputError if one is not there."""
        made = self.derive(**parameters)
        for name in self.coefficients or self.parameters:
            if name not in made:
                raise InputError(f"{type(self).__name__}.derive: gives {sorted(made)}, but {name!r} is declared and read by the rate; "
                                 "return all coefficients by name")
        return made

    @property
    def knows_speed(self) -> bool:
        """Whether it declares `fastest`."""
        return type(self).fastest is not Equation.fastest

    def rates(self, ndim: int) -> dict[str, Expression]:
        """Return {field: expression} in `ndim` dimensions, checked."""
        if ndim not in self.dimensions:
            raise InputError(f"{type(self).__name__} in {ndim} dimensions: its rate has a meaning in {self.dimensions} only")
        declaration.check(self, ndim)
        result = self.rate(**{f: Expression.field(f, ndim) for f in self.fields}, **self._symbols(ndim))
        rates = result if isinstance(result, dict) else {next(iter(self.fields)): result}
        if set(rates) != set(self.fields):
            raise InputError(f"{type(self).__name__}.rate: gives rates of {sorted(rates)}, the declared fields are {sorted(self.fields)}")
        for f, rate in rates.items():
            if not isinstance(rate, Expression):
                raise InputError(f"{type(self).__name__}.rate: the rate of {f} is {rate!r}; make it of the fields it is given")
            self._check_units(f, rate)
            self._check_places(f, rate)
        return rates

    def _check_units(self, f: str, rate: Expression) -> None:
        """Raise InputError if a term of the rate of a field has not its unit per s^time_order; for steady fields, that of other terms.

        Where all units are "1" the equation is in dimensionless numbers, space and time too, and there is nothing to check.
        """
        field, known, wanted = self.fields[f], self.coefficients or self.parameters, None
        if {*known.values(), *(g.unit for g in self.fields.values())} == {"1"}:
            return
        if field.time_order:
            wanted = units.times((units.parse(field.unit), 1), (units.parse("s"), -field.time_order))
        for coefficients, derivatives in rate.terms:
            parts = [units.parse(known[c]) for c in coefficients] + [units.parse(self.fields[d.field].unit) for d in derivatives]
            unit = units.times(*((u, 1) for u in parts), (units.parse("m"), -sum(d.order for d in derivatives)))
            wanted = wanted or unit
            if unit != wanted:
                per = f" [{field.unit}] per s{f'^{field.time_order}' * (field.time_order > 1)}" if field.time_order else "'s other terms"
                term = " ".join([*coefficients, *map(str, derivatives)])
                raise InputError(f"{type(self).__name__}.rate: the term {term} in the rate of {f} has the unit {units.text(unit)}, not "
                                 f"{units.text(wanted)}, that of {f}{per}; mend the term, or the units declared")

    def _check_places(self, f: str, rate: Expression) -> None:
        """Raise InputError if a term of the rate of a field sits elsewhere: first derivatives move by half a cell along their axis only."""
        for d in sorted(rate.derivatives()):
            for k, order in enumerate(d.orders):
                axis = k - len(d.orders)
                if order != 1 and (axis in self.fields[f].at) != (axis in self.fields[d.field].at):
                    raise InputError(f"{type(self).__name__}.rate: {d} does not sit where {f} does, but half a cell beside it along axis "
                                     f"{axis}; declare at= of {d.field} or {f} otherwise (only a first derivative moves by half a cell, "
                                     "along its own axis)")

    def injections(self, ndim: int) -> dict[str, dict[str, Expression]]:
        """Return {name of a source: {field: what multiplies it there}} in `ndim` dimensions."""
        one, sources = Expression({((), ()): 1.0}, ndim), self.sources(**self._symbols(ndim))
        for name, fields in sources.items():
            declaration.known(self, f"sources: {name!r} drives", fields)
        return {name: {f: one * e for f, e in fields.items()} for name, fields in sources.items()}

    def _symbols(self, ndim: int) -> dict[str, Expression]:
        return {p: Expression.parameter(p, ndim) for p in self.coefficients or self.parameters}
