"""The rates of an equation in stencil form: sums of kernel parameters times stencils of arrays. Steppings arrange them in time."""
from collections.abc import Mapping
from dataclasses import dataclass

from hyperion.codegen import Assign, Program, Stencil, Term, here
from hyperion.errors import InputError

from .boundary import Boundary, Request
from .equation import Derivative, Equation, Expression
from .stencils import LeastSquares, Taylor

Polynomial = tuple[tuple[tuple[str, ...], float], ...]  # ((parameters, weight), ...): sum of weight * product of parameters


@dataclass(frozen=True)
class KernelParameter:
    """What a kernel reads as one array: a polynomial of the equation's coefficients, times step^time / cell^space.

    place: the axes along which it is wanted half a cell beyond the nodes. own: what multiplies a field itself in its first-order rate;
    the parameter is divided by 1 - step / 2 * own then.

    Crank-Nicolson for f_t = own f + rest: (f' - f) / step = own (f' + f) / 2 + rest, so f' = f + step (own f + rest) / (1 - step own / 2).
    Damping (own < 0) is stable then at any step. Source: Crank and Nicolson, Math. Proc. Cambridge Phil. Soc. 43 (1947), 50.
    """

    polynomial: Polynomial
    time: int
    space: int
    place: tuple[int, ...]
    own: Polynomial = ()


@dataclass(frozen=True)
class Memory:
    """What updates a memory variable of the boundary: it remembers derivatives of `field`."""

    field: str
    update: Assign


class Rates:
    """The rates of an equation on a grid, for any arrays that stand for its fields.

    ratios: reference cell over the cell of each axis. The step and the cell stand in the kernel parameters alone, so one text serves every
    grid of the same shape of cell. What is asked for is noted: `program` knows its parameters, memory variables and profiles.
    Raises: InputError for rates that have no stencil.
    """

    def __init__(self, equation: Equation, ndim: int, order: int, ratios: tuple[float, ...], boundary: Boundary,
                 design: Taylor | LeastSquares):
        self.equation, self.ndim, self.order, self.ratios, self.boundary = equation, ndim, order, ratios, boundary
        self.design, self.point, self.name = design, here(ndim), type(equation).__name__
        self.linear = {f: self._linear(f, rate) for f, rate in equation.rates(ndim).items()}
        self.injections = equation.injections(ndim)
        self.parameters: dict[KernelParameter, str] = {}
        self.memory: dict[str, int] = {}
        self.profiles: dict[str, int] = {}

    def terms(self, f: str, arrays: Mapping[str, str], own: Polynomial = ()) -> tuple[list[Term], list[Memory]]:
        """Return step^time_order times the rate of a field, read from `arrays` {field: array}: its terms, and the memory they read.

        own: divides the kernel parameters (see KernelParameter).
        """
        time = self.equation.fields[f].time_order
        terms: list[Term] = []
        memory: list[Memory] = []
        for d, polynomial in self.linear[f].items():
            k = self._parameter(f, tuple(sorted(polynomial)), time, d.order, own)
            if d.order == 0:
                if set(self.equation.fields[f].at) != set(self.equation.fields[d.field].at):
                    raise InputError(f"{self.name}.rate: {d.field} does not sit where {f} does")
                terms.append(Term(1.0, k, arrays[d.field], self.point))
                continue
            for coefficients, array, stencil in self._derivative(f, d, arrays[d.field], memory):
                terms.append(Term(1.0, k + coefficients, array, stencil))
        return terms, memory

    def sources(self, f: str, own: Polynomial = (), sampling: str = "") -> list[Term]:
        """Return step^time_order times what the equation's sources add to the rate of a field, their samples taken as `sampling` says."""
        time = self.equation.fields[f].time_order
        return [self._injection(f, f"source.{name}{sampling}", fields[f], time, own)
                for name, fields in self.injections.items() if f in fields]

    def own(self, f: str) -> Polynomial:
        """Return what multiplies a field itself, undifferentiated, in its first-order rate: damping, if it is negative."""
        itself = Derivative(f, (0,) * self.ndim)
        return tuple(sorted(self.linear[f].get(itself, ()))) if self.equation.fields[f].time_order == 1 else ()

    def reads(self, f: str) -> set[str]:
        """Return the fields whose derivatives stand in the rate of a field."""
        return {d.field for d in self.linear[f] if d.order}

    def place(self, f: str) -> tuple[int, ...]:
        """Return the axes, counted from the first, along which a field sits half a cell beyond the nodes."""
        return tuple(sorted(axis + self.ndim for axis in self.equation.fields[f].at))

    def program(self, assigns: list[Assign], rotate: dict[str, str], samplings: tuple[str, ...] = ("",)) -> Program:
        """Return one step made of what has been asked for."""
        names = {v: key for key, v in self.parameters.items()}
        sources = tuple(f"source.{name}{sampling}" for name in self.injections for sampling in samplings)
        zeros = frozenset(name for name, k in names.items() if not self._is_positive(k.polynomial))
        return Program(self.ndim, tuple(assigns), tuple(names), self.profiles, self.memory, rotate, sources, zeros=zeros)

    def _linear(self, f: str, rate: Expression) -> dict[Derivative, list[tuple[tuple[str, ...], float]]]:
        """Return {derivative: polynomial of parameters} of a rate. Raises: InputError for terms that have no stencil."""
        by: dict[Derivative, list[tuple[tuple[str, ...], float]]] = {}
        for (parameters, ds), w in rate.terms.items():
            if not ds:
                raise InputError(f"{self.name}.rate: the rate of {f} has a term without a field; use sources for that")
            d, *others = ds
            if others:
                raise InputError(f"{self.name}.rate: {' times '.join(e.field for e in ds)} is nonlinear in the fields; Solver steps linear "
                                 "ones")
            if d.order > 2 or (d.order and d.axis is None):
                raise InputError(f"{self.name}.rate: the derivative of {d.field} of orders {d.orders} along the axes; Solver has stencils "
                                 "for first and second derivatives along one axis")
            by.setdefault(d, []).append((parameters, w))
        return by

    def _derivative(self, f: str, d: Derivative, array: str, memory: list[Memory]) -> tuple[tuple[tuple[str, ...], str, Stencil], ...]:
        """Return the reads of a derivative of `array`, which stands for the field of d, in the rate of f."""
        assert d.axis is not None
        place = [d.axis - self.ndim in self.equation.fields[g].at for g in (f, d.field)]
        if d.order == 2 and place[0] != place[1]:
            raise InputError(f"{self.name}.rate: the second derivative of {d.field} does not sit where {f} does")
        kind = int(place[0]) - int(place[1])
        request = Request(self.ndim, array, d.axis, d.order, kind, place[0], self.order, self.design, self.ratios[d.axis])
        rewritten = self.boundary.rewrite(request)
        for update in rewritten.memory:
            memory.append(Memory(d.field, update))
            self.memory[update.target] = d.axis
            self.profiles |= dict.fromkeys((c for t in update.terms for c in t.coefficients), d.axis)
        return rewritten.reads

    def _injection(self, f: str, source: str, injection: Expression, time: int, own: Polynomial) -> Term:
        """Return the source's term; it shares the kernel parameter of the rate where the two are equal."""
        polynomial = tuple(sorted((parameters, w) for (parameters, _), w in injection.terms.items()))
        if not own and not any(parameters for parameters, _ in polynomial):
            return Term(sum(w for _, w in polynomial), (), source, self.point)
        same = KernelParameter(polynomial, time, 2, self.place(f), own)
        k = (self.parameters[same],) if same in self.parameters else self._parameter(f, polynomial, time, 0, own)
        return Term(1.0, k, source, self.point)

    def _parameter(self, f: str, polynomial: Polynomial, time: int, space: int, own: Polynomial) -> tuple[str, ...]:
        """Return the kernel parameter of a term in the rate of f, where f sits."""
        return (self.parameters.setdefault(KernelParameter(polynomial, time, space, self.place(f), own), f"k{len(self.parameters)}"),)

    def _is_positive(self, polynomial: Polynomial) -> bool:
        """Tell whether a polynomial is a product of what is positive everywhere, up to its sign."""
        (names, _), *others = polynomial
        return not others and set(names) <= set(self.equation.positive)
