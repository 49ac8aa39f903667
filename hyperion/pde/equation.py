"""What an equation declares: fields, parameters and rates, continuous in space and time.

A rate is a sum of weight * parameters * (one derivative of a field, or the field itself). `Expression` is that sum; fields and parameters
are handed to `rate` as expressions, so that it reads like the formula.
"""
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperion.errors import InputError


@dataclass(frozen=True)
class Field:
    """A field of an equation.

    unit: its unit, as text. time_order: order of the time derivative that `rate` gives (1 or 2).
    at: axes, counted from the last (-1 is x), along which the field sits half a cell beyond the node (staggered grids).
    """

    unit: str
    time_order: int = 1
    at: tuple[int, ...] = ()


@dataclass(frozen=True)
class Derivative:
    """The order-th derivative of a field along an axis (order 0: the field itself)."""

    field: str
    axis: int
    order: int


Key = tuple[tuple[str, ...], Derivative | None]


class Expression:
    """A sum of weight * product of parameters * (derivative of a field, or nothing)."""

    def __init__(self, terms: Mapping[Key, float], ndim: int):
        self.terms: dict[Key, float] = {k: w for k, w in terms.items() if w != 0.0}
        self.ndim = ndim

    def _of(self, other: "Expression | float") -> "Expression":
        return other if isinstance(other, Expression) else Expression({((), None): float(other)}, self.ndim)

    def __add__(self, other: "Expression | float") -> "Expression":
        total = dict(self.terms)
        for key, w in self._of(other).terms.items():
            total[key] = total.get(key, 0.0) + w
        return Expression(total, self.ndim)

    def __mul__(self, other: "Expression | float") -> "Expression":
        total: dict[Key, float] = {}
        for (p, d), w in self.terms.items():
            for (q, e), v in self._of(other).terms.items():
                if d is not None and e is not None:
                    raise InputError(f"rate: {d.field} times {e.field} is nonlinear in the fields; a rate must be linear in them")
                key = (tuple(sorted(p + q)), d or e)
                total[key] = total.get(key, 0.0) + w * v
        return Expression(total, self.ndim)

    def __pow__(self, n: int) -> "Expression":
        if int(n) != n or n < 1:
            raise InputError(f"rate: power {n}; parameters may be raised to whole powers of at least 1")
        return self if n == 1 else self * self ** (n - 1)

    def __neg__(self) -> "Expression":
        return self * -1.0

    def __sub__(self, other: "Expression | float") -> "Expression":
        return self + self._of(other) * -1.0

    def __rsub__(self, other: "Expression | float") -> "Expression":
        return self._of(other) - self

    __radd__, __rmul__ = __add__, __mul__


def derivative(f: Expression, axis: int, order: int = 1) -> Expression:
    """Return the first or second derivative of a field along an axis (counted from the last: -1 is x).

    f: a field as `rate` receives it. order: 1 or 2. Units of the field per m^order.
    Raises: InputError if f is not a plain field.

    >>> p = Expression({((), Derivative("p", 0, 0)): 1.0}, ndim=2)
    >>> derivative(p, -1, order=2).terms
    {((), Derivative(field='p', axis=1, order=2)): 1.0}
    """
    keys = list(f.terms.items())
    ((parameters, d), weight) = keys[0] if len(keys) == 1 else (((), None), 0.0)
    if d is None or d.order or parameters or weight != 1.0:
        raise InputError("derivative(f, ...): f must be a field of the equation itself, not a product or a sum")
    if order not in (1, 2):
        raise InputError(f"derivative(order={order}): first and second derivatives are available")
    if not -f.ndim <= axis < 0:
        raise InputError(f"derivative(axis={axis}): axes are counted from the last, -1 to {-f.ndim}")
    return Expression({((), Derivative(d.field, axis + f.ndim, order)): 1.0}, f.ndim)


def laplace(f: Expression) -> Expression:
    """Return the Laplacian of a field: the sum of its second derivatives along all axes, units of the field per m^2.

    f: a field as `rate` receives it.

    >>> p = Expression({((), Derivative("p", 0, 0)): 1.0}, ndim=3)
    >>> [d.axis for _, d in laplace(p).terms]
    [2, 0, 1]
    """
    return sum((derivative(f, axis, 2) for axis in range(-f.ndim, -1)), start=derivative(f, -1, 2))


class Equation(ABC):
    """A partial differential equation, declared once.

    fields: {name: Field}. parameters: {name: unit}.
    """

    fields: ClassVar[dict[str, Field]]
    parameters: ClassVar[dict[str, str]]

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive; all, unless an equation says otherwise."""
        return tuple(self.parameters)

    @abstractmethod
    def rate(self, **symbols: Any) -> Expression | dict[str, Expression]:
        """Return the time derivative of each field, as {field: expression} or the one expression of a single field."""

    def injection(self, **parameters: Any) -> dict[str, Expression | float]:
        """Return what a unit source density is multiplied by in each field's rate; by default 1."""
        return dict.fromkeys(self.fields, 1.0)

    @abstractmethod
    def fastest(self, **parameters: Any) -> Any:
        """Return the local speed of the fastest wave [m/s] from parameter arrays, for the stability limit."""

    def rates(self, ndim: int) -> dict[str, Expression]:
        """Return {field: expression} in `ndim` dimensions, checked."""
        result = self.rate(**{f: Expression({((), Derivative(f, 0, 0)): 1.0}, ndim) for f in self.fields}, **self._symbols(ndim))
        rates = result if isinstance(result, dict) else dict(zip(self.fields, (result,), strict=True))
        if set(rates) != set(self.fields):
            raise InputError(f"{type(self).__name__}.rate: gives rates of {sorted(rates)}, the declared fields are {sorted(self.fields)}")
        return rates

    def injections(self, ndim: int) -> dict[str, Expression]:
        """Return {field: what multiplies its source} in `ndim` dimensions."""
        one = Expression({((), None): 1.0}, ndim)
        return {f: one * e for f, e in self.injection(**self._symbols(ndim)).items()}

    def _symbols(self, ndim: int) -> dict[str, Expression]:
        return {p: Expression({((p,), None): 1.0}, ndim) for p in self.parameters}
