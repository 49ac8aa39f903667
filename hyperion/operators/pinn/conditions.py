"""Conditions as values: what a solution is at the start, on the boundary, across periods, at measured points.

A condition chooses rows: points with what is known there. Its residual is zero where it holds. Each field is given by name, as a number or
a function of the variables: `Dirichlet(Side(x=-1), u=lambda t: hp.sin(t))`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError, nearest
from hyperion.operators.pinn.domains import Domain
from hyperion.operators.pinn.drawing import numbers
from hyperion.operators.pinn.samplers import Sampler
from hyperion.operators.pinn.values import NUMBER, called, named_arguments, traced_values, values_at
from hyperion.pde.equation import Equation

__all__ = ["Condition", "Dirichlet", "Initial", "Neumann", "Observed", "Periodic", "Robin", "Side"]

Rows = dict[str, np.ndarray]


class Side:
    """The part of a boundary where one variable has a value.

    >>> Side(x=-1)
    Side(x=-1)
    """

    def __init__(self, **where: float):
        if len(where) != 1 or not all(isinstance(v, NUMBER) for v in where.values()):
            raise InputError(f"Side({', '.join(where)}): give one variable and its value on that side, such as Side(x=-1)")
        ((self.name, value),) = where.items()
        self.value = float(value)

    def __repr__(self) -> str:
        return f"Side({self.name}={self.value:g})"

    def holds(self, domain: Domain, points: np.ndarray) -> np.ndarray:
        """Return which points, (n, d), are on it."""
        column = domain.column(self.name, f"{self!r}: variable")
        return np.abs(points[:, column] - self.value) <= 1e-9 * max(domain.sides[column], abs(self.value))


class Condition(ABC):
    """Base of the conditions. name: how it is called among the terms of a loss; PINN adds a number where two are alike.

    hard: whether the network is changed so that it holds exactly, instead of by a term of the loss.
    """

    name: str
    hard = False
    fixed: Mapping[str, float] = {}         # variables that have one value where it holds
    measured = False                        # whether its values have noise

    @abstractmethod
    def check(self, domain: Domain, equation: Equation) -> None:
        """Refuse fields, variables and sides that are not there."""

    @abstractmethod
    def rows(self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None) -> Rows:
        """Return `count` rows: points where it holds, and what is known there; arrays with as many rows."""

    @abstractmethod
    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return (rows, fields): zero where the condition holds; row i depends on row i alone."""

    def values(self, domain: Domain, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return what it gives of the fields at points where it holds: Neumann their slopes; nothing if it does not tell."""
        return {}

    def known(self, domain: Domain) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return points where it says what fields are, and that; none if it says something else."""
        return np.empty((0, domain.ndim)), {}

    def covers(self, domain: Domain, points: np.ndarray) -> np.ndarray:
        """Return which points of the boundary it holds at."""
        return np.ones(len(points), bool)


def check_fields(given: Mapping[str, Any], equation: Equation, what: str) -> None:
    """Refuse conditions on no field, or on fields that the equation does not have."""
    if not given:
        raise InputError(f"{what}: gives no field; name at least one, such as {next(iter(equation.fields))}=0.0")
    for name in given:
        if name not in equation.fields:
            raise InputError(f"{what}: {type(equation).__name__} has no field {name!r}; {nearest(name, equation.fields)}")


def few_points(domain: Domain) -> int:
    """Return how many points of a boundary are looked at before training."""
    return max(64, len(domain.faces))


def _columns(given: Mapping[str, Any], fields: Mapping[str, Any]) -> list[int]:
    order = list(fields)
    return [order.index(name) for name in given]


def _chosen(values: Tensor, columns: list[int]) -> Tensor:
    """Return some columns of (n, fields)."""
    if columns == list(range(values.shape[-1])):
        return values
    return hp.stack([values[..., k] for k in columns], axis=-1)


def _known(given: Mapping[str, Any], pinn: Any, rows: Mapping[str, Tensor], what: str) -> Tensor:
    """Return the values in rows; where derivatives are taken with respect to the points, with those of the functions given."""
    if not rows["points"].tracked:
        return rows["values"]
    return hp.concat([traced_values(value, pinn.domain, rows["points"], f"{what}({name})") for name, value in given.items()], axis=-1)


class Initial(Condition):
    """The fields at the first moment of the domain; for equations of second order in time also their rates, as `u_t=`.

    fields: number or function of the space variables; with `points`, arrays of values at those.
    points: None, or (n, space variables): where the values are known.

    >>> Initial(u=lambda x: -hp.sin(np.pi * x), hard=True).name
    'initial'
    """

    def __init__(self, *, points: Any = None, hard: bool = False, name: str = "initial", **fields: Any):
        self.fields, self.hard, self.name = fields, bool(hard), name
        self.points = None if points is None else numbers(points, "Initial(points)")
        self.measured = points is not None
        if hard and points is not None:
            raise InputError("Initial(points=..., hard=True): a hard condition needs functions, values between the points are not known")

    def check(self, domain: Domain, equation: Equation) -> None:
        """Refuse a domain without time, unknown fields, rates of fields of first order in time, and values that are no numbers."""
        if "t" not in domain.names:
            raise InputError(f"Initial(...): {domain!r} has no time; give it a variable t, or leave the condition out")
        self.fixed = {"t": float(domain.lower[domain.names.index("t")])}
        rates = {f"{name}_t" for name, field in equation.fields.items() if field.time_order == 2}
        check_fields({name.removesuffix("_t") if name in rates else name: 0 for name in self.fields}, equation, "Initial")
        self._own = {name: value for name, value in self.fields.items() if name in equation.fields}
        self._rates = {name[:-2]: value for name, value in self.fields.items() if name not in equation.fields}
        self._order = _columns(self._own, equation.fields), _columns(self._rates, equation.fields)
        if self.points is not None:
            if self.points.ndim != 2 or self.points.shape[1] != domain.ndim - 1:
                raise ShapeError(f"Initial(points of shape {self.points.shape}): must be (n, {domain.ndim - 1}), columns "
                                 f"{', '.join(domain.space)}")
        self.rows(domain, few_points(domain), None, None)

    def rows(self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None) -> Rows:
        """Return points at the first moment with values."""
        t = domain.names.index("t")
        if self.points is not None:
            points = np.insert(self.points, t, self.fixed["t"], axis=1)
            if not domain.contains(points).all():
                i = int(np.flatnonzero(~domain.contains(points))[0])
                raise InputError(f"Initial(points): point {i}, {self.points[i].tolist()}, is outside {domain!r}")
        else:
            points, _ = domain.surface(count, sampler, generator, lambda p, n: (n[:, t] < -0.5) & (
                np.abs(p[:, t] - self.fixed["t"]) <= 1e-9 * domain.sides[t]), "Initial")
        given = self._given()
        return {"points": points, "values": np.stack([values_at(v, domain, points, f"Initial({k})") for k, v in given.items()], axis=1)}

    def _given(self) -> dict[str, Any]:
        return {**self._own, **{f"{name}_t": value for name, value in self._rates.items()}}

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the fields, then the rates, minus their values."""
        own, rates = self._order
        known = rows["values"] if self.points is not None else _known(self._given(), pinn, rows, "Initial")
        if not rates:
            return _chosen(pinn(rows["points"]), own) - known
        still, along = (0,) * pinn.domain.ndim, pinn.axis_of("t")
        found = pinn.derivatives(rows["points"], [still, along])
        parts = ([_chosen(found[still], own)] if own else []) + [_chosen(found[along], rates)]
        return (parts[0] if len(parts) == 1 else hp.concat(parts, axis=-1)) - known

    def values(self, domain: Domain, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return the fields at points of the first moment."""
        if self.points is not None:
            return {}
        return {name: values_at(value, domain, points, f"Initial({name})") for name, value in self._own.items()}

    def known(self, domain: Domain) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return points of the first moment, and the fields there."""
        rows = self.rows(domain, few_points(domain), None, None)
        return rows["points"], dict(zip(self._own, rows["values"].T, strict=False))


class _OnBoundary(Condition):
    """A condition on a part of the boundary: a Side, a function of the variables that tells where, or all of it (None)."""

    def __init__(self, where: Any, fields: dict[str, Any], name: str | None, hard: bool = False):
        if where is not None and not isinstance(where, Side) and not callable(where):
            raise InputError(f"{type(self).__name__}(where={where!r}): give a Side, a function of the variables, or None")
        self.where, self.fields, self.hard, self.name = where, fields, bool(hard), name or type(self).__name__.lower()
        self.fixed = {where.name: where.value} if isinstance(where, Side) else {}

    def check(self, domain: Domain, equation: Equation) -> None:
        """Refuse fields, variables and sides that are not there, and values that are no numbers."""
        what = type(self).__name__
        check_fields(self.fields, equation, what)
        self._order = _columns(self.fields, equation.fields)
        if isinstance(self.where, Side):
            domain.column(self.where.name, f"{what}({self.where!r}): variable")
            if self.where.name == "t":
                raise InputError(f"{what}({self.where!r}): the first moment is given by Initial(...); the last one is not")
        elif self.where is not None:
            named_arguments(self.where, domain.names, f"{what}(where)")
        self.rows(domain, few_points(domain), None, None)

    def covers(self, domain: Domain, points: np.ndarray) -> np.ndarray:
        """Return which points of the boundary it is meant for."""
        if self.where is None:
            return np.ones(len(points), bool)
        if isinstance(self.where, Side):
            return self.where.holds(domain, points)
        given = called(self.where, dict(zip(domain.names, points.T, strict=True)), f"{type(self).__name__}(where)")
        return np.broadcast_to(np.asarray(given, dtype=bool), (len(points),))

    def rows(self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None) -> Rows:
        """Return points of the boundary with outward normals and values."""
        def meant(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
            return self.covers(domain, points) & self.faces(domain, normals)

        points, normals = domain.boundary(count, sampler, generator, meant, f"{type(self).__name__}({self.where!r})")
        what = type(self).__name__
        given = [values_at(value, domain, points, f"{what}({name})") for name, value in self.fields.items()]
        return {"points": points, "normals": normals, "values": np.stack(given, axis=1)}

    def faces(self, domain: Domain, normals: np.ndarray) -> np.ndarray:
        """Return which normals are those of the side that is meant."""
        if not isinstance(self.where, Side):
            return np.ones(len(normals), bool)
        return np.abs(normals[:, domain.names.index(self.where.name)]) > 0.5

    def values(self, domain: Domain, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is given at points of the boundary: fields, or slopes, or sums of both."""
        return {name: values_at(value, domain, points, f"{type(self).__name__}({name})") for name, value in self.fields.items()}


class Dirichlet(_OnBoundary):
    """The fields themselves on a part of the boundary.

    where: Side(x=-1), a function of the variables that tells where, or None: the whole boundary in space.

    >>> Dirichlet(Side(x=-1), u=0.0).name, Dirichlet(lambda y: y > 0.5, u=lambda x: x ** 2).fixed
    ('dirichlet', {})
    """

    def __init__(self, where: Any = None, *, hard: bool = False, name: str | None = None, **fields: Any):
        super().__init__(where, fields, name, hard)

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the fields minus their values."""
        return _chosen(pinn(rows["points"]), self._order) - _known(self.fields, pinn, rows, "Dirichlet")

    def known(self, domain: Domain) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return points of the boundary, and the fields there."""
        points = self.rows(domain, few_points(domain), None, None)["points"]
        return points, self.values(domain, points)


class Neumann(_OnBoundary):
    """The derivatives of fields along the outward normal on a part of the boundary; where: as in Dirichlet.

    >>> Neumann(Side(x=1), u=0.0).name
    'neumann'
    """

    weights = 0.0, 1.0              # of field and slope, as in Robin

    def __init__(self, where: Any = None, *, name: str | None = None, **fields: Any):
        super().__init__(where, fields, name)

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the slopes minus their values."""
        _, slope = hp.jet(pinn, (rows["points"],), (rows["normals"],), 1)
        return _chosen(slope, self._order) - _known(self.fields, pinn, rows, "Neumann")


class Robin(_OnBoundary):
    """A weighted sum of fields and their derivatives along the outward normal: value * u + slope * u_n is what is given.

    >>> Robin(2.0, 1.0, Side(x=1), u=0.0).name
    'robin'
    """

    def __init__(self, value: float, slope: float, where: Any = None, *, name: str | None = None, **fields: Any):
        super().__init__(where, fields, name)
        if not all(isinstance(x, NUMBER) and np.isfinite(x) for x in (value, slope)):
            raise InputError(f"Robin(value={value!r}, slope={slope!r}): give two finite numbers")
        self.weights = float(value), float(slope)

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the sums minus their values."""
        value, slope = hp.jet(pinn, (rows["points"],), (rows["normals"],), 1)
        a, b = self.weights
        return _chosen(a * value + b * slope, self._order) - _known(self.fields, pinn, rows, "Robin")


class Periodic(Condition):
    """All fields, and their derivatives below the equation's order, are equal at both ends of a variable.

    For exact periods make `nn.Periodic` the network's first layer and leave this condition out.

    >>> Periodic("x").name
    'periodic x'
    """

    def __init__(self, variable: str, *, name: str | None = None):
        self.variable, self.name = variable, name or f"periodic {variable}"

    def check(self, domain: Domain, equation: Equation) -> None:
        """Refuse a variable that is not there, or is time, and a domain whose ends are not alike."""
        column = domain.column(self.variable, "Periodic(variable): variable")
        if self.variable == "t":
            raise InputError("Periodic('t'): time is not periodic in an equation with a first moment")
        axis = axis_order(domain).index(self.variable)
        orders = [d.orders[axis] for rate in equation.rates(len(domain.space)).values() for d in rate.derivatives()]
        self._column, self.below = column, max([1, *orders])
        for upper in (False, True):
            _, normals, opposite = self.pairs(domain, few_points(domain), None, None, upper)
            alone = np.flatnonzero(~domain.on_boundary(opposite, -normals))
            if alone.size:
                place = ", ".join(f"{name}={v:g}" for name, v in zip(domain.names, opposite[alone[0]], strict=True))
                raise InputError(f"Periodic({self.variable!r}): the ends of {domain!r} are not alike, {place} is not on its boundary; "
                                 "a period needs the same boundary at both ends")

    def rows(self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None) -> Rows:
        """Return points at the lower end, and those opposite."""
        points, _, opposite = self.pairs(domain, count, sampler, generator)
        return {"points": points, "opposite": opposite}

    def pairs(
        self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None, upper: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points and outward normals at one end, and the points opposite."""
        k, sign = self._column, 1.0 if upper else -1.0
        near, far = (domain.upper, domain.lower) if upper else (domain.lower, domain.upper)
        side = Side(**{self.variable: float(near[k])})
        points, normals = domain.boundary(count, sampler, generator, lambda p, n: side.holds(domain, p) & (sign * n[:, k] > 0.5),
                                          f"{self.name} at {side!r}")
        opposite = points.copy()
        opposite[:, k] = far[k]
        return points, normals, opposite

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the differences of fields and derivatives."""
        wanted = [tuple(order * (k == self._column) for k in range(pinn.domain.ndim)) for order in range(self.below)]
        low, high = (pinn.derivatives(rows[name], wanted) for name in ("points", "opposite"))
        parts = [low[orders] - high[orders] for orders in wanted]
        return parts[0] if len(parts) == 1 else hp.concat(parts, axis=-1)


class Observed(Condition):
    """Measured values of fields at points: what an inverse problem is solved from.

    points: (n, d) in the order of the domain's variables.  fields: arrays of n values.
    A batch holds `count` of them, drawn at random, or all of them if there are no more.

    >>> Observed([[0.0, 0.5]], u=[1.0]).name
    'observed'
    """

    measured = True

    def __init__(self, points: Any, *, name: str = "observed", **fields: Any):
        self.points, self.name = numbers(points, "Observed(points)"), name
        self.fields = {key: numbers(value, f"Observed({key})").reshape(-1) for key, value in fields.items()}

    def check(self, domain: Domain, equation: Equation) -> None:
        """Refuse points outside the domain, values that are not finite, and unknown fields."""
        check_fields(self.fields, equation, "Observed")
        points = domain.checked(self.points)
        if not len(points):
            raise InputError("Observed(points): has no points; leave the condition out")
        for name, values in self.fields.items():
            if len(values) != len(points):
                raise ShapeError(f"Observed({name}): {len(values)} values at {len(points)} points; give one for each")
            wrong = np.flatnonzero(~np.isfinite(values))
            if wrong.size:
                raise InputError(f"Observed({name}): value {int(wrong[0])} is {values[wrong[0]]}; leave out what was not measured")
        outside = np.flatnonzero(~domain.contains(points))
        if outside.size:
            raise InputError(f"Observed(points): point {int(outside[0])}, {points[outside[0]].tolist()}, is outside {domain!r}")
        self._order = _columns(self.fields, equation.fields)

    def rows(self, domain: Domain, count: int, sampler: Sampler | None, generator: Generator | None) -> Rows:
        """Return points with measured values."""
        chosen = np.arange(len(self.points))
        if count < len(chosen):
            chosen = (generator or Generator(0)).permutation(len(chosen)).numpy()[:count]
        return {"points": self.points[chosen], "values": np.stack([v[chosen] for v in self.fields.values()], axis=1)}

    def known(self, domain: Domain) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return all points, and what was measured there."""
        return self.points, self.fields

    def residual(self, pinn: Any, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the fields minus what was measured."""
        return _chosen(pinn(rows["points"]), self._order) - rows["values"]


def axis_order(domain: Domain) -> list[str]:
    """Return the space variables in the order of an equation's axes: x is the last one, as on grids, then y and z before it.

    Variables of other names keep their order.
    """
    names = list(domain.space)
    return sorted(names, reverse=True) if set(names) <= {"x", "y", "z"} else names
