"""Physics-informed networks: the residual of an Equation, as solvers have it, at points where a network stands for the solution."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError, nearest
from hyperion.nn.module import Module
from hyperion.operators.pinn.conditions import Condition, axis_order
from hyperion.operators.pinn.contradictions import refuse_contradictions, refuse_unperiodic, refuse_unreachable
from hyperion.operators.pinn.domains import Domain
from hyperion.operators.pinn.drawing import numbers
from hyperion.operators.pinn.hard import Exact
from hyperion.operators.pinn.samplers import Sampler
from hyperion.operators.pinn.values import NUMBER, Unknown, called_on_tensors, named_arguments, traced_values, values_at
from hyperion.optim.levenberg import Pointwise
from hyperion.pde.equation import Derivative, Equation

__all__ = ["PINN"]

EQUATION = "equation"

Batch = Mapping[str, Mapping[str, Tensor]]


class PINN(Module):
    """A network that is trained until it satisfies an equation and its conditions; called on points, it gives the fields.

    equation: an Equation, the same declaration that solvers step.  domain: Box(x=(-1, 1), t=(0, 1)), ...; steady equations have no t.
    network: a Module (n, variables) -> (n, fields), fields in the order in which the equation declares them.
    conditions: Initial, Dirichlet, Neumann, Robin, Periodic, Observed.
    parameters: those of the equation, by name: a number; a function of variables (`speed=lambda x, y: ...`); a Tensor that requires a
        gradient, `Positive(start)` or `Coefficient(network, variables)`, which are found with the network.
    ansatz: None, or a function of fields and variables by name, such as lambda u, x: (1 - x ** 2) * u; returns the field, or a dict of
        fields: conditions of your own that hold exactly.
    weights: {term: number} of the loss; 1 where not given.
    scaled: the network sees every variable from -1 to 1; False: as it is (for embeddings with a period, or networks trained before).

    The residual of a field is its time derivative, of the order declared, minus its rate; of a steady field the rate alone. Derivatives
    are taken in Taylor mode, along the axes that occur only.
    Raises: InputError for missing, unknown or impossible parameters, conditions on fields or sides that are not there, conditions that
    contradict, a network with another number of outputs, a domain that does not fit the equation.
    Source: Raissi, Perdikaris and Karniadakis 2019, J. Comput. Phys. 378, 686, section 3.1.

    >>> from hyperion import nn, pde
    >>> from hyperion.operators import Box, Dirichlet, Initial
    >>> conditions = [Initial(u=lambda x: -hp.sin(np.pi * x)), Dirichlet(u=0.0)]
    >>> pinn = PINN(pde.Burgers(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 20, 20, 1]), conditions, viscosity=0.01 / np.pi)
    >>> batch = pinn.batch(equation=500, initial=50, dirichlet=50)
    >>> sorted(pinn.terms(batch)), pinn.loss(batch).shape, pinn([[0.0, 0.5]]).shape
    (['dirichlet', 'equation', 'initial'], (), (1, 1))
    """

    def __init__(
        self, equation: Equation, domain: Domain, network: Module, conditions: Iterable[Condition] = (), *,
        ansatz: Callable[..., Any] | None = None, weights: Mapping[str, float] | None = None, scaled: bool = True, **parameters: Any,
    ):
        if not isinstance(equation, Equation):
            raise InputError(f"PINN(equation): got a {type(equation).__name__}; give an Equation, such as pde.Burgers()")
        if not isinstance(domain, Domain):
            raise InputError(f"PINN(domain): got a {type(domain).__name__}; give a domain, such as operators.Box(x=(-1, 1), t=(0, 1))")
        if not isinstance(network, Module) or not network.parameters():
            raise InputError(f"PINN(network): got a {type(network).__name__}; give a Module with parameters, such as nn.MLP([2, 20, 1])")
        self.equation, self.domain, self.network, self.ansatz, self.scaled = equation, domain, network, ansatz, bool(scaled)
        self.names = tuple(equation.fields)
        self._scale: dict[Any, tuple[Tensor, Tensor]] = {}
        self._check_time()
        self._rates = equation.rates(len(domain.space))
        self.coefficients = _checked_parameters(equation, domain, parameters)
        self.conditions = _bound(conditions, domain, equation)
        self.exact = self._exact()
        self.soft = {c.name: c for c in self.conditions if not c.hard}
        refuse_contradictions(domain, self.conditions)
        if ansatz is not None:
            named_arguments(ansatz, [*self.names, *domain.names], "PINN(ansatz)")
        self._check_network()
        refuse_unreachable(self)
        refuse_unperiodic(self)
        self.weights = dict.fromkeys((EQUATION, *self.soft), 1.0)
        for name, weight in (weights or {}).items():
            if name not in self.weights:
                raise InputError(f"PINN(weights): no term {name!r}; {nearest(name, self.weights)}")
            if not (isinstance(weight, NUMBER) and 0.0 <= weight < np.inf):
                raise InputError(f"PINN(weights): {name!r} has {weight!r}; a weight must be a finite number, 0 or more")
            self.weights[name] = float(weight)
        self._wanted = self._derivatives()

    def _check_time(self) -> None:
        orders = {name: field.time_order for name, field in self.equation.fields.items()}
        kind = type(self.equation).__name__
        if max(orders.values()) and "t" not in self.domain.names:
            raise InputError(f"PINN: {kind} changes in time, but {self.domain!r} has no t; multiply it by Interval(t=(0, 1))")
        if not max(orders.values()) and "t" in self.domain.names:
            raise InputError(f"PINN: {kind} is steady, but {self.domain!r} has t; leave t out")
        if not self.domain.space:
            raise InputError(f"PINN: {self.domain!r} has no variable in space")

    def _exact(self) -> dict[str, Exact]:
        hard: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            if condition.hard:
                for field in getattr(condition, "fields", {}):
                    name = field if field in self.names else field.removesuffix("_t")
                    hard.setdefault(name, []).append(condition)
        return {name: Exact(self.domain, name, list(dict.fromkeys(found))) for name, found in hard.items()}

    def _check_network(self) -> None:
        """Look at what the network gives at two points."""
        middle = np.stack([0.5 * (self.domain.lower + self.domain.upper)] * 2)
        kind = type(self.equation).__name__
        with hp.no_grad():
            try:
                out = self.network(self._inputs(self.points(middle)))
            except ShapeError as error:
                raise InputError(f"PINN(network): does not take points of {self.domain.ndim} variables, {', '.join(self.domain.names)}: "
                                 f"{error}") from error
            if not isinstance(out, Tensor) or out.shape != (2, len(self.names)):
                raise InputError(f"PINN(network): gives shape {getattr(out, 'shape', None)} for 2 points; {kind} has {len(self.names)} "
                                 f"field(s), {', '.join(self.names)}: it must give (2, {len(self.names)})")
            if self.ansatz is not None or self.exact:
                shape = self.forward(middle).shape
                if shape != (2, len(self.names)):
                    raise InputError(f"PINN(ansatz): the fields have shape {shape} for 2 points; they must be (2, {len(self.names)})")

    # Fields and their derivatives

    def points(self, points: Any) -> Tensor:
        """Return points as a Tensor (n, variables) in the dtype and on the device of the network."""
        like = _first_parameter(self.network)
        x = as_tensor(points)
        x = x if x.dtype == like.dtype else x.astype(like.dtype)
        x = x if x.device == like.device else x.to(like.device)
        if x.ndim < 1 or x.shape[-1] != self.domain.ndim:
            raise ShapeError(f"PINN: points have shape {x.shape}; they must be (points, {self.domain.ndim}), columns "
                             f"{', '.join(self.domain.names)}")
        return x

    def _inputs(self, x: Tensor) -> Tensor:
        if not self.scaled:
            return x
        key = (x.dtype.name, x.device)
        if key not in self._scale:
            slope = 2.0 / (self.domain.upper - self.domain.lower)
            self._scale[key] = self._constant(slope, x), self._constant(-1.0 - slope * self.domain.lower, x)
        slope, shift = self._scale[key]
        return x * slope + shift

    @staticmethod
    def _constant(values: np.ndarray, like: Tensor) -> Tensor:
        return as_tensor(np.asarray(values, like.dtype)).to(like.device)

    def forward(self, points: Any) -> Tensor:
        """Return the fields at points, (n, variables), in the order of the equation: (n, fields)."""
        x = self.points(points)
        return self.fields(x, self.network(self._inputs(x)))

    def fields(self, x: Tensor, out: Tensor) -> Tensor:
        """Return the fields at points (n, variables), (n, fields), that hard conditions and the ansatz make of a network's outputs."""
        if not self.exact and self.ansatz is None:
            return out
        at = {name: x[..., k:k + 1] for k, name in enumerate(self.domain.names)}
        made = {name: out[..., k:k + 1] for k, name in enumerate(self.names)}
        made |= {name: exact(at, made[name]) for name, exact in self.exact.items()}
        if self.ansatz is not None:
            found = called_on_tensors(self.ansatz, {**made, **at}, "PINN(ansatz)")
            found = found if isinstance(found, Mapping) else {self.names[0]: found}
            if not set(found) <= set(self.names):
                raise InputError(f"PINN(ansatz): returns {', '.join(map(str, found))}; the fields are {', '.join(self.names)}")
            made |= found
        return made[self.names[0]] if len(self.names) == 1 else hp.concat([made[name] for name in self.names], axis=-1)

    def axis_of(self, name: str, order: int = 1) -> tuple[int, ...]:
        """Return the orders of a derivative along one variable.

        >>> from hyperion import nn, pde
        >>> from hyperion.operators import Box
        >>> PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]), diffusivity=1.0).axis_of("t")
        (0, 1)
        """
        return tuple(order * (own == name) for own in self.domain.names)

    def derivatives(self, points: Any, wanted: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        """Return {orders: derivatives of all fields at points, (n, fields)}; orders: along each variable, zeros: the fields."""
        return hp.derivatives(self, self.points(points), list(wanted))

    def _along(self, derivative: Derivative) -> tuple[int, ...]:
        """Return the orders along the variables of a derivative in the equation's axes."""
        orders = dict(zip(axis_order(self.domain), derivative.orders, strict=True))
        return tuple(orders.get(name, 0) for name in self.domain.names)

    def _derivatives(self) -> list[tuple[int, ...]]:
        rates = {self._along(d) for rate in self._rates.values() for d in rate.derivatives()}
        times = {self.axis_of("t", field.time_order) for field in self.equation.fields.values() if field.time_order}
        return sorted(rates | times)

    @property
    def fewest(self) -> int:
        """The fewest points that a grid has on which differences give all derivatives of the residual: one more than the order an axis.

        >>> from hyperion import nn, pde
        >>> from hyperion.operators import Box
        >>> PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]), diffusivity=1.0).fewest
        6
        """
        return int(np.prod(1 + np.max(self._wanted, axis=0)))

    # Residuals and losses

    def residual(self, points: Any) -> Tensor:
        """Return time derivative minus rate of each field at points, (n, fields): zero where the equation holds.

        Parameters that are functions are differentiated too, where derivatives are taken with respect to the points.
        Raises: InputError if such a function is then not written with hyperion's functions.
        """
        x = self.points(points)
        given = {} if x.tracked else self._equation_rows(x.to("cpu").numpy().astype(np.float64))
        return self.equation_residual({**given, "points": x})

    def equation_residual(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the residuals of the equation in rows of a batch: `points`, and the values there of given functions by parameter."""
        x = rows["points"]
        found = self.derivatives(x, self._wanted)
        given = {name: self._coefficient(name, rows) for name in self.coefficients}
        given = self.equation.derive(**given)
        columns = []
        for name, field in self.equation.fields.items():
            rate: Any = 0.0
            for (parameters, derivatives), weight in self._rates[name].terms.items():
                term: Any = weight
                for parameter in parameters:
                    term = given[parameter] * term
                for d in derivatives:
                    k = self.names.index(d.field)
                    term = found[self._along(d)][..., k:k + 1] * term if len(self.names) > 1 else found[self._along(d)] * term
                rate = rate + term
            if field.time_order:
                change, k = found[self.axis_of("t", field.time_order)], self.names.index(name)
                rate = (change if len(self.names) == 1 else change[..., k:k + 1]) - rate
            columns.append(rate)
        out = columns[0] if len(columns) == 1 else hp.concat(columns, axis=-1)
        return out

    def _coefficient(self, name: str, rows: Mapping[str, Tensor]) -> Any:
        value, x = self.coefficients[name], rows["points"]
        if _is_function(value) and x.tracked:           # values in the rows have no derivative with respect to the points
            return traced_values(value, self.domain, x, f"PINN({name})")
        if name in rows:
            return rows[name]
        value = value.at(self.domain, x) if isinstance(value, Unknown) else value
        return value.astype(x.dtype) if isinstance(value, Tensor) and value.dtype != x.dtype else value

    def _equation_rows(self, points: np.ndarray) -> dict[str, Any]:
        """Return the points and the values of the parameters that are functions, (n, 1)."""
        given = {name: values_at(value, self.domain, points, f"PINN({name})")[:, None] for name, value in self.coefficients.items()
                 if _is_function(value)}
        return {"points": points, **{name: self._constant(v, _first_parameter(self.network)) for name, v in given.items()}}

    def batch(
        self, sampler: Sampler | None = None, generator: Generator | None = None, points: Any = None, **counts: int,
    ) -> dict[str, dict[str, Tensor]]:
        """Return rows for each term of the loss: points, drawn by a sampler, and what is known there.

        counts: how many, for `equation` and each condition by its name (a space in it as _); conditions not named have 100.
        points: None, or those of the equation, (n, variables), instead of drawn ones.
        Raises: InputError for counts that are no whole numbers above 0, or of unknown terms, and for points outside the domain.
        """
        generator = generator or Generator(0)
        counts = {name if name in self.soft else name.replace("_", " "): n for name, n in counts.items()}
        for name in counts:
            if name not in (EQUATION, *self.soft):
                raise InputError(f"batch({name}=...): the loss has no such term; {nearest(name, (EQUATION, *self.soft))}")
        if points is None:
            if EQUATION not in counts:
                raise InputError("batch(...): say how many points the equation is looked at, equation=2000")
            points = self.domain.interior(counts[EQUATION], sampler, generator)
        else:
            points = self._inside(points)
        made: dict[str, dict[str, Any]] = {EQUATION: self._equation_rows(points)}
        for name, condition in self.soft.items():
            made[name] = condition.rows(self.domain, counts.get(name, 100), sampler, generator)
        like = _first_parameter(self.network)
        return {name: {key: x if isinstance(x, Tensor) else self._constant(x, like) for key, x in rows.items()}
                for name, rows in made.items()}

    def _inside(self, points: Any) -> np.ndarray:
        """Return points as (n, variables) float64, checked."""
        array = self.domain.checked(points)
        if not len(array):
            raise InputError("batch(points): there are none; give at least one point of the equation")
        # points of an earlier batch may be rounded to float32; NaN is nowhere inside
        outside = np.flatnonzero(~self.domain.inside(array, 1e-6 * (self.domain.upper - self.domain.lower)))
        if outside.size:
            raise InputError(f"batch(points): point {int(outside[0])}, {array[outside[0]].tolist()}, is outside {self.domain!r}")
        return array

    def _term(self, name: str) -> Callable[["PINN", Mapping[str, Tensor]], Tensor]:
        """Return the residual of a term, as a function of a PINN and rows."""
        return (lambda pinn, rows: pinn.equation_residual(rows)) if name == EQUATION else self.soft[name].residual

    def residuals(self, batch: Batch) -> dict[str, Tensor]:
        """Return {term: residual (rows, fields)} of a batch, without weights."""
        return {name: self._term(name)(self, rows) for name, rows in batch.items()}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return {term: mean over the rows of the squares, summed over fields}, without weights."""
        return {name: hp.sum(r * r) * (1.0 / r.shape[0]) for name, r in self.residuals(batch).items()}

    def loss(self, batch: Batch, weights: Mapping[str, float] | None = None) -> Tensor:
        """Return the weighted sum of the terms. weights: instead of the PINN's own, by term."""
        weights = {**self.weights, **(weights or {})}
        total: Any = 0.0
        for name, term in self.terms(batch).items():
            total = total + weights[name] * term
        return total

    def least_squares(self, batch: Batch, weights: Mapping[str, float] | None = None) -> list[Tensor]:
        """Return residuals scaled so that half the sum of their squares is half the loss: for optim.GaussNewton."""
        weights = {**self.weights, **(weights or {})}
        return [r * (weights[name] / r.shape[0]) ** 0.5 for name, r in self.residuals(batch).items()]

    def pointwise(self, batch: Batch, weights: Mapping[str, float] | None = None) -> dict[str, Pointwise]:
        """Return the loss point by point, for optim.LevenbergMarquardt made with this PINN; its value is half the loss."""
        weights = {**self.weights, **(weights or {})}
        return {name: Pointwise(self._term(name), dict(rows), 1.0 * weights[name] / rows["points"].shape[0])
                for name, rows in batch.items() if weights[name] > 0.0}

    def window(self, start: float, end: float, conditions: Iterable[Condition] | None = None) -> "PINN":
        """Return a PINN of the same equation between two times, with a copy of the network; conditions: instead of its own."""
        given = self.conditions if conditions is None else conditions
        made = PINN(self.equation, self.domain.during(start, end), hp.tree_map(_fresh, self.network), given, ansatz=self.ansatz,
                    scaled=self.scaled, **self.coefficients)
        made.weights |= {name: weight for name, weight in self.weights.items() if name in made.weights}
        return made


def _first_parameter(module: Module) -> Tensor:
    """Return a parameter, without a walk through the whole Module."""
    return next(tensor for _, part in module.named_modules() for _, tensor, kind in part._own() if kind != "buffer")


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Module | Tensor)


def _fresh(x: Tensor) -> Tensor:
    return hp.asarray(x.detach().data.copy(), requires_grad=True)


def _bound(conditions: Iterable[Condition], domain: Domain, equation: Equation) -> list[Condition]:
    """Return copies of conditions that know domain and equation, with different names."""
    made: list[Condition] = []
    if not isinstance(conditions, Iterable):
        raise InputError(f"PINN(conditions): got a {type(conditions).__name__}; give a list of them: [Initial(...), Dirichlet(...)]")
    for i, condition in enumerate(conditions):
        if not isinstance(condition, Condition):
            raise InputError(f"PINN(conditions): entry {i} is a {type(condition).__name__}; give Initial, Dirichlet, Periodic, ...")
        own = copy.copy(condition)
        own.check(domain, equation)
        used = {EQUATION, *(c.name for c in made)}
        first, k = own.name, 2
        while own.name in used:
            own.name, k = f"{first} {k}", k + 1
        made.append(own)
    return made


def _checked_parameters(equation: Equation, domain: Domain, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of an equation, checked."""
    kind = type(equation).__name__
    for name in given:
        if name not in equation.parameters:
            raise InputError(f"PINN({name}=...): {kind} has no such parameter; {nearest(name, equation.parameters)}")
    missing = [f"{name} [{unit}]" for name, unit in equation.parameters.items() if name not in given]
    if missing:
        raise InputError(f"PINN: {kind} needs {', '.join(missing)}; give each by name: a number, a function of "
                         f"{', '.join(domain.names)}, or a Tensor that is trained")
    return {name: _checked_parameter(equation, domain, name, value) for name, value in given.items()}


def _checked_parameter(equation: Equation, domain: Domain, name: str, value: Any) -> Any:
    if isinstance(value, Module) and not isinstance(value, Unknown):
        raise InputError(f"PINN({name}): a {type(value).__name__} of which variables? Give Coefficient(network, [\"x\"])")
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Tensor) or not callable(value):
        try:
            tensor = value if isinstance(value, Tensor) else as_tensor(numbers(value, name))
        except InputError:
            raise InputError(f"PINN({name}={value!r}): give a number, or a function of {', '.join(domain.names)}") from None
        if tensor.shape not in ((), (1,)):
            raise ShapeError(f"PINN({name}): has shape {tensor.shape}; give a number, or a function of {', '.join(domain.names)}")
        number = float(tensor.detach().reshape(()))
        if not np.isfinite(number) or (name in equation.positive and not number > 0.0):
            raise InputError(f"PINN({name}={number:g}): must be a finite number{' above 0' if name in equation.positive else ''}")
        return value if isinstance(value, Tensor) and value.requires_grad else number
    named_arguments(value, domain.names, f"PINN({name})")
    found = values_at(value, domain, domain.interior(256), f"PINN({name})")
    if name in equation.positive and not (found > 0.0).all():
        raise InputError(f"PINN({name}): the function is {found.min():g} somewhere; it must be above 0 in the whole domain")
    return value
