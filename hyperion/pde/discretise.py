"""From rates to one time step: a program of assignments over stencils, and the kernel parameters it reads."""
from dataclasses import dataclass

from hyperion.codegen import Assign, Program, Stencil, Term, here
from hyperion.errors import InputError

from .boundary import Boundary, Request
from .equation import Derivative, Equation, Expression
from .stencils import LeastSquares, Taylor

Polynomial = tuple[tuple[tuple[str, ...], float], ...]  # ((parameters, weight), ...): sum of weight * product of parameters


@dataclass(frozen=True)
class Discretisation:
    """One leapfrog step.

    program: assignments in units of the reference cell and of one step; `source.<name>` stands for each of the equation's sources.
    kernel_parameters: {name: KernelParameter}. places: {field: axes along which it sits half a cell beyond the nodes}.
    """

    program: Program
    kernel_parameters: dict[str, "KernelParameter"]
    places: dict[str, tuple[int, ...]]

    def factor(self, name: str, step: float, cell: float) -> float:
        """Return what the polynomial of a kernel parameter is multiplied by: step [s] and reference cell [m] to its powers."""
        k = self.kernel_parameters[name]
        return step ** k.time / cell ** k.space

    def source_factors(self, equation: Equation, source: str, step: float, cell: float) -> dict[str, float]:
        """Return {field: what the samples of a source are multiplied by there}, beside the coefficients of its term (which carry powers of
        the step and the cell)."""
        out: dict[str, float] = {}
        for name, assign, term in self.program.injections():
            if name == f"source.{source}":
                field = self.program.owner(assign.target)
                k = [self.kernel_parameters[c] for c in term.coefficients]
                out[field] = cell ** k[0].space if k else step ** equation.fields[field].time_order
        return out


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


def discretise(equation: Equation, ndim: int, order: int, ratios: tuple[float, ...], boundary: Boundary,
               design: Taylor | LeastSquares = Taylor()) -> Discretisation:  # noqa: B008  (a value)
    """Return one step of the leapfrog scheme in `ndim` dimensions with stencils of an even order.

    ratios: reference cell over the cell of each axis. The step and the cell stand in the kernel parameters alone (a rate's coefficient
    times step^time_order / cell^derivative_order), so one text serves every grid of the same shape of cell.
    Raises: InputError for a rate that leapfrog cannot step.
    """
    return _Builder(equation, ndim, order, ratios, boundary, design).build()


class _Builder:
    def __init__(self, equation: Equation, ndim: int, order: int, ratios: tuple[float, ...], boundary: Boundary,
                 design: Taylor | LeastSquares):
        self.design = design
        self.equation, self.ndim, self.order, self.ratios, self.boundary = equation, ndim, order, ratios, boundary
        self.rates = {f: self._linear(f, rate) for f, rate in equation.rates(ndim).items()}
        self.injections, self.point = equation.injections(ndim), here(ndim)
        self.parameters: dict[KernelParameter, str] = {}
        self.memory: dict[str, int] = {}
        self.advanced: set[str] = set()                # first-order fields, in place, by the groups so far
        self.seen: dict[str, bool] = {}                # {memory variable: whether its field was advanced when it was updated}
        self.profiles: dict[str, int] = {}

    def build(self) -> Discretisation:
        assigns: list[Assign] = []
        rotate: dict[str, str] = {}
        for group in self._groups():
            before: dict[str, Assign] = {}
            updates: list[Assign] = []
            for f in group:
                target = f
                if self.equation.fields[f].time_order == 2:
                    target = rotate[f] = f + ".next"
                updates.append(self._update(f, target, before))
            reads_memory = {t: any(r.array in before and r.array != t for r in a.terms) for t, a in before.items()}
            assigns += [*sorted(before.values(), key=lambda a: reads_memory[a.target]), *updates]
            self.advanced |= {f for f in group if self.equation.fields[f].time_order == 1}
        names = {v: key for key, v in self.parameters.items()}
        sources = tuple(f"source.{name}" for name in self.injections)
        zeros = frozenset(name for name, k in names.items() if not self._is_positive(k.polynomial))
        program = Program(self.ndim, tuple(assigns), tuple(names), self.profiles, self.memory, rotate, sources, zeros=zeros)
        return Discretisation(program, names, {f: self._place(f) for f in self.equation.fields})

    def _groups(self) -> list[list[str]]:
        """Return the fields in groups that step one after the other: a new one begins where a field reads, or is read by, the group."""
        groups: list[list[str]] = [[]]
        reads = {f: {d.field for d in rate if d.order} for f, rate in self.rates.items()}
        for f, field in self.equation.fields.items():
            if field.time_order not in (1, 2):
                raise InputError(f"{type(self.equation).__name__}.fields[{f!r}]: time order {field.time_order}; "
                                 "leapfrog steps orders 1 and 2")
            if field.time_order == 1 and f in reads[f]:
                raise InputError(f"{type(self.equation).__name__}.rate: {f} is advanced in place but its rate reads it at shifted points; "
                                 "leapfrog needs a second-order field or a pair of fields")
            if any(g in reads[f] or f in reads[g] for g in groups[-1]):
                groups.append([])
            groups[-1].append(f)
        return groups

    def _update(self, f: str, target: str, before: dict[str, Assign]) -> Assign:
        """Return the assignment that advances a field; what updates memory variables goes to `before`."""
        time, own = self.equation.fields[f].time_order, self._own(f)
        keep = Term(1.0, (), target, self.point)
        terms = [keep] if time == 1 else [Term(2.0, (), f, self.point), Term(-1.0, (), target, self.point)]
        for d, polynomial in self.rates[f].items():
            k = self._parameter(f, tuple(sorted(polynomial)), time, d.order, own)
            if d.order == 0:
                if set(self.equation.fields[f].at) != set(self.equation.fields[d.field].at):
                    raise InputError(f"{type(self.equation).__name__}.rate: {d.field} does not sit where {f} does")
                terms.append(Term(1.0, k, d.field, self.point))
                continue
            for coefficients, array, stencil in self._derivative(f, d, before):
                terms.append(Term(1.0, k + coefficients, array, stencil))
        for name, fields in self.injections.items():
            if f in fields:
                terms.append(self._injection(f, f"source.{name}", fields[f], time, own))
        return Assign.of(target, terms)

    def _own(self, f: str) -> Polynomial:
        """Return what multiplies a field itself, undifferentiated, in its first-order rate: damping, if it is negative."""
        itself = Derivative(f, (0,) * self.ndim)
        return tuple(sorted(self.rates[f].get(itself, ()))) if self.equation.fields[f].time_order == 1 else ()

    def _linear(self, f: str, rate: Expression) -> dict[Derivative, list[tuple[tuple[str, ...], float]]]:
        """Return {derivative: polynomial of parameters} of a rate. Raises: InputError for terms that leapfrog on stencils does not step."""
        name = type(self.equation).__name__
        by: dict[Derivative, list[tuple[tuple[str, ...], float]]] = {}
        for (parameters, ds), w in rate.terms.items():
            if not ds:
                raise InputError(f"{name}.rate: the rate of {f} has a term without a field; use sources for that")
            d, *others = ds
            if others:
                raise InputError(f"{name}.rate: {' times '.join(e.field for e in ds)} is nonlinear in the fields; Solver steps linear ones")
            if d.order > 2 or (d.order and d.axis is None):
                raise InputError(f"{name}.rate: the derivative of {d.field} of orders {d.orders} along the axes; Solver has stencils for "
                                 "first and second derivatives along one axis")
            by.setdefault(d, []).append((parameters, w))
        return by

    def _derivative(self, f: str, d: Derivative, before: dict[str, Assign]) -> tuple[tuple[tuple[str, ...], str, Stencil], ...]:
        assert d.axis is not None
        place = [d.axis - self.ndim in self.equation.fields[g].at for g in (f, d.field)]
        if d.order == 2 and place[0] != place[1]:
            raise InputError(f"{type(self.equation).__name__}.rate: the second derivative of {d.field} does not sit where {f} does")
        kind = int(place[0]) - int(place[1])
        request = Request(self.ndim, d.field, d.axis, d.order, kind, place[0], self.order, self.design, self.ratios[d.axis])
        rewritten = self.boundary.rewrite(request)
        for update in rewritten.memory:
            if self.seen.setdefault(update.target, d.field in self.advanced) != (d.field in self.advanced):
                raise InputError(f"{type(self.equation).__name__}.rate: derivatives of {d.field} are read before and after it is advanced, "
                                 f"which the memory of {self.boundary!r} cannot follow; declare the fields in another order")
            if update.target not in self.memory:       # once a step, before whoever reads it first
                before.setdefault(update.target, update)
            self.memory[update.target] = d.axis
            self.profiles |= dict.fromkeys((c for t in update.terms for c in t.coefficients), d.axis)
        return rewritten.reads

    def _injection(self, f: str, source: str, injection: Expression, time: int, own: Polynomial) -> Term:
        """Return the source's term; it shares the kernel parameter of the rate where the two are equal."""
        polynomial = tuple(sorted((parameters, w) for (parameters, _), w in injection.terms.items()))
        if not own and not any(parameters for parameters, _ in polynomial):
            return Term(sum(w for _, w in polynomial), (), source, self.point)
        same = KernelParameter(polynomial, time, 2, self._place(f), own)
        k = (self.parameters[same],) if same in self.parameters else self._parameter(f, polynomial, time, 0, own)
        return Term(1.0, k, source, self.point)

    def _parameter(self, f: str, polynomial: Polynomial, time: int, space: int, own: Polynomial) -> tuple[str, ...]:
        """Return the kernel parameter of a term in the rate of f, where f sits."""
        return (self.parameters.setdefault(KernelParameter(polynomial, time, space, self._place(f), own), f"k{len(self.parameters)}"),)

    def _place(self, f: str) -> tuple[int, ...]:
        return tuple(sorted(axis + self.ndim for axis in self.equation.fields[f].at))

    def _is_positive(self, polynomial: Polynomial) -> bool:
        """Tell whether a polynomial is a product of what is positive everywhere, up to its sign."""
        (names, _), *others = polynomial
        return not others and set(names) <= set(self.equation.positive)
