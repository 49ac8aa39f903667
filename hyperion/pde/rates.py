"""The rates of an equation in stencil form: sums of kernel parameters times stencils of arrays, or products of them. Steppings arrange
them in time."""
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperion.codegen import Assign, Program, Term, here
from hyperion.errors import BoundaryError, InputError

from .boundary import Boundary, Read, Request
from .closures import Rows, Symmetry, corrections
from .equation import Derivative, Equation, Expression
from .relief import Ghosts, Ground, Mass, Part, Stiffness
from .stencils import LeastSquares, Taylor

Sides = tuple[tuple[int, int], ...]                    # (axis, counted from the first; 0 low, 1 high)
Polynomial = tuple[tuple[tuple[str, ...], float], ...]  # ((parameters, weight), ...): sum of weight * product of parameters


@dataclass(frozen=True)
class KernelParameter:
    """What a kernel reads as one array: a polynomial of the equation's coefficients, times step^time / cell^space.

    place: the axes along which it is wanted half a cell beyond the nodes. own: what multiplies a field itself in its first-order rate;
    the parameter is divided by 1 - step / 2 * own then. held: sides on whose outermost cells it is zero. surfaces: sides on whose outermost
    nodes the coefficients are those of `Equation.on_free_surface`. part: what a surface that follows topography makes of it.

    Crank-Nicolson for f_t = own f + rest: (f' - f) / step = own (f' + f) / 2 + rest, so f' = f + step (own f + rest) / (1 - step own / 2).
    Damping (own < 0) is stable then at any step. Source: Crank and Nicolson, Math. Proc. Cambridge Phil. Soc. 43 (1947), 50.
    """

    polynomial: Polynomial
    time: int
    space: int
    place: tuple[int, ...]
    own: Polynomial = ()
    held: Sides = ()
    surfaces: Sides = ()
    part: Part | None = None


@dataclass(frozen=True)
class Memory:
    """What is to be assigned before a rate is read: a memory variable of the boundary, or an array that `fields` give at every instant."""

    fields: frozenset[str]
    update: Assign


class Rates:
    """The rates of an equation on a grid, for any arrays that stand for its fields.

    ratios: reference cell over the cell of each axis. The step and the cell stand in the kernel parameters alone, so one text serves every
    grid of the same shape of cell. What is asked for is noted: `program` knows its parameters, memory variables and profiles.
    stepped: the fields that have a rate in time; others are given by these at every instant, as are the first derivatives that mixed ones
    are made of. places: {field, or array of such a first derivative: axes, counted from the first, along which it sits half a cell beyond
    the nodes}. continuous: whether updates of the boundary's memory variables are wanted as step times their rates.
    Raises: InputError for rates that have no stencil.
    """

    def __init__(self, equation: Equation, ndim: int, order: int, ratios: tuple[float, ...], boundary: Boundary,
                 design: Taylor | LeastSquares, continuous: bool = False):
        self.equation, self.ndim, self.order, self.ratios, self.boundary = equation, ndim, order, ratios, boundary
        self.design, self.point, self.name, self.continuous = design, here(ndim), type(equation).__name__, continuous
        self.products = {f: self._products(f, rate) for f, rate in equation.rates(ndim).items()}
        self.injections = equation.injections(ndim)
        self.stepped = {f: field for f, field in equation.fields.items() if field.time_order}
        self.places = {f: tuple(sorted(axis + ndim for axis in field.at)) for f, field in equation.fields.items()}
        self.given = self._given()                     # {field: fields that give it at every instant}
        self.parameters: dict[KernelParameter, str] = {}
        self.memory: dict[str, int] = {}
        self.profiles: dict[str, int] = {}
        self.rows: dict[str, Rows] = {}                # the profiles that belong to sides that reflect
        self.mirrors = boundary.mirrors(ndim)
        self.relief = boundary.relief(ndim) is not None
        if self.relief:
            self._check_relief()

    def terms(self, f: str, arrays: Mapping[str, str], own: Polynomial = ()) -> tuple[list[Term], list[Memory]]:
        """Return step^time_order times the rate of a field, read from `arrays` {field: array}: its terms, and the memory they read.

        own: divides the kernel parameters (see KernelParameter).
        """
        time = self.equation.fields[f].time_order
        terms: list[Term] = []
        memory: list[Memory] = []
        ghosts: dict[tuple[str, float, Polynomial], list[int]] = {}
        for ds, polynomial in self.products[f].items():
            for d in ds:
                if d.field in self.given:
                    given, before = self.terms(d.field, arrays)
                    memory += [*before, Memory(frozenset(self.given[d.field]), Assign.of(arrays[d.field], given))]
            order = sum(d.order for d in ds)
            if time == order == 0 and not any(parameters for parameters, _ in polynomial):
                weight, k = sum(w for _, w in polynomial), ()
            else:
                held = tuple(side for d in ds for side in self._eliminated(f, d))
                weight, shared = scaled(polynomial)
                k = self._parameter(self._wanted(f, shared, time, order, own, held, self._part(f, ds)))
                if self.relief and not self.equation.tractions and order:
                    ghosts.setdefault((arrays[ds[0].field], weight, shared), []).append(int(ds[0].axis or 0))
            for reads in itertools.product(*(self._derivative(f, d, arrays[d.field], memory) for d in ds)):
                coefficients = tuple(c for cs, _, _ in reads for c in cs)
                terms.append(Term.of(weight, k + coefficients, [(array, stencil) for _, array, stencil in reads]))
        for (array, weight, shared), along in ghosts.items():
            k = self._parameter(self._wanted(f, shared, time, 2, own, (), Ghosts(tuple(sorted(along)))))
            terms.append(Term(weight, k, array, self.point))
        return terms, memory

    def _check_relief(self) -> None:
        """Raise BoundaryError for rates that a surface which follows topography does not fit."""
        equation, what = self.equation, f"{self.name}: a FreeSurface(depth) that follows topography"
        if equation.tractions and self.order != 2:
            raise BoundaryError(f"{what} is of order 2 where stresses vanish: use Solver(order=2)")
        if not equation.tractions:
            reads = [ds for f in self.products for ds in self.products[f]]
            second = all(d.order == 0 or (d.order == 2 and d.axis is not None) for ds in reads for d in ds)
            single = all(len(ds) == 1 or not any(d.order for d in ds) for ds in reads)
            if not (second and single and equation.odd_at_free_surfaces and not any(self.places.values())):
                raise BoundaryError(f"{what} takes equations of pure second derivatives of fields on nodes, such as pde.Acoustic, and "
                                    "elastic ones; use FreeSurface(), or pde.Elastic with s_speed=0 for fluids of variable density")

    def _part(self, f: str, ds: tuple[Derivative, ...] = ()) -> Part | None:
        """Return what a surface that follows topography makes of what multiplies derivatives in the rate of f, or of its sources."""
        if not self.relief:
            return None
        if not self.equation.tractions:
            return Ground()
        if f not in self.equation.tractions:
            return Mass()
        axes = [d.axis for d in ds if d.axis is not None]
        if not axes:
            return None
        strains = sorted({d.axis for others in self.products[f] for d in others if d.axis is not None})
        (normal,) = [a + self.ndim for a in self.equation.tractions[f]] if not self.places[f] and len(strains) > 1 else (None,)
        return Stiffness(tuple(strains), axes[0], normal)

    def sources(self, f: str, own: Polynomial = (), sampling: str = "") -> list[Term]:
        """Return step^time_order times what the equation's sources add to the rate of a field, their samples taken as `sampling` says."""
        time = self.equation.fields[f].time_order
        return [self._injection(f, f"source.{name}{sampling}", fields[f], time, own)
                for name, fields in self.injections.items() if f in fields]

    def own(self, f: str) -> Polynomial:
        """Return what multiplies a field itself, undifferentiated, in its first-order rate: damping, if it is negative."""
        itself = (Derivative(f, (0,) * self.ndim),)
        return tuple(sorted(self.products[f].get(itself, ()))) if self.equation.fields[f].time_order == 1 else ()

    def reads(self, f: str) -> set[str]:
        """Return the fields whose derivatives stand in the rate of a field, there or in what gives a field that it reads."""
        direct = {d.field for ds in self.products[f] for d in ds if d.order or d.field in self.given}
        return direct.union(*(self.given[g] for g in direct if g in self.given))

    def symmetries(self, name: str, axis: int) -> tuple[Symmetry | None, Symmetry | None]:
        """Return what a field, or an array in `places`, is about the low and the high side of an axis."""
        field, at = self.equation.fields.get(name), axis - self.ndim
        turns = (axis in self.places[name]) != (field is not None and at in field.mirrored)
        vanishes = at in self.equation.tractions.get(name, ())

        def about(parity: int) -> Symmetry | None:
            if parity < 0 and self.equation.tractions:
                return Symmetry.ZERO if vanishes else Symmetry.OPEN
            return (Symmetry.ODD if (parity < 0) != turns else Symmetry.EVEN) if parity else None
        low, high = self.mirrors[axis]
        return about(low), about(high)

    def held(self, f: str) -> Sides:
        """Return the (axis, side) on whose outermost cells a field is zero: it vanishes there, or sits half a cell beyond the last node."""
        return tuple((axis, side) for axis in range(self.ndim) for side, symmetry in enumerate(self.symmetries(f, axis))
                     if symmetry and (side == 1 if axis in self.places[f] else symmetry in (Symmetry.ODD, Symmetry.ZERO)))

    def surfaces(self, f: str) -> Sides:
        """Return the (axis, side) of the free surfaces of solids that a field lies on without vanishing there."""
        return tuple((axis, side) for axis in range(self.ndim) for side, symmetry in enumerate(self.symmetries(f, axis))
                     if symmetry is Symmetry.OPEN and axis not in self.places[f])

    def program(self, assigns: list[Assign], rotate: dict[str, str], samplings: tuple[str, ...] = ("",)) -> Program:
        """Return one step made of what has been asked for."""
        names = {v: key for key, v in self.parameters.items()}
        sources = tuple(f"source.{name}{sampling}" for name in self.injections for sampling in samplings)
        zeros = frozenset(name for name, k in names.items() if self.relief or not self._is_positive(k.polynomial))
        return Program(self.ndim, tuple(assigns), tuple(names), self.profiles, self.memory, rotate, sources, zeros=zeros)

    def _products(self, f: str, rate: Expression) -> dict[tuple[Derivative, ...], list[tuple[tuple[str, ...], float]]]:
        """Return {product of derivatives: polynomial of parameters} of a rate. Raises: InputError for terms that have no stencil."""
        by: dict[tuple[Derivative, ...], list[tuple[tuple[str, ...], float]]] = {}
        for (parameters, ds), w in rate.terms.items():
            if not ds:
                raise InputError(f"{self.name}.rate: the rate of {f} has a term without a field; use sources for that")
            for d in ds:
                if d.order > 2:
                    raise InputError(f"{self.name}.rate: the derivative of {d.field} of orders {d.orders} along the axes; Solver has "
                                     "stencils for first and second derivatives")
            by.setdefault(ds, []).append((parameters, w))
        return by

    def _given(self) -> dict[str, set[str]]:
        """Return {field that others give at every instant: fields it is given by}, and take it out of its own rate: 0 = rest - field."""
        given: dict[str, set[str]] = {}
        if not self.stepped:
            raise InputError(f"{self.name}.fields: no field has a rate in time (their time order is 0); there is nothing to step")
        for f in self.equation.fields.keys() - self.stepped.keys():
            if self.products[f].pop((Derivative(f, (0,) * self.ndim),), None) != [((), -1.0)] or not self.products[f]:
                raise InputError(f"{self.name}.rate: {f} has time order 0, so others give it at every instant; a solver in time needs its "
                                 f"rate as 0 = (what gives it) - {f}")
            given[f] = {d.field for ds in self.products[f] for d in ds}
            if f in given[f]:
                raise InputError(f"{self.name}.rate: {f} has time order 0 and is given by its own derivatives; no system is solved for it")
            if any(f in fields for fields in self.injections.values()):
                raise InputError(f"{self.name}.sources: {f} is given by other fields; let sources enter those")
        for _ in list(given):                          # given fields may be given by each other
            given = {f: by.union(*(given[g] for g in by if g in given)) for f, by in given.items()}
        if any(f in by for f, by in given.items()):
            raise InputError(f"{self.name}.rate: fields of time order 0 are given by each other in a circle")
        return given

    def _derivative(self, f: str, d: Derivative, array: str, memory: list[Memory]) -> tuple[Read, ...]:
        """Return the reads of a derivative of `array`, which stands for the field of d, or of that itself, in the rate of f."""
        if d.order == 0:
            return (((), array, self.point),)
        if d.axis is None:
            return self._mixed(f, d, array, memory)
        return self._along(d.field, array, d.axis, d.order, d.axis in self.places[f], memory)

    def _mixed(self, f: str, d: Derivative, array: str, memory: list[Memory]) -> tuple[Read, ...]:
        """Return the reads of a mixed second derivative: along the first axis of an array that holds the derivative along the last."""
        first, last = (k for k, n in enumerate(d.orders) if n)
        half = last in self.places[f]
        if (half == (last in self.places[d.field]) or self.equation.tractions) and any(map(any, self.mirrors)):
            raise BoundaryError(f"{self.name}.rate: mixed derivatives of {d.field} have no images about sides that reflect, as in "
                                f"{self.boundary!r}; use pde.CPML or pde.Periodic")
        slope = f"/{last}{'half' if half else 'node'}"
        self.places[d.field + slope] = tuple(sorted({*self.places[d.field]} - {last} | ({last} if half else set())))
        self.given[d.field + slope] = {d.field} | self.given.get(d.field, set())
        reads = self._along(d.field, array, last, 1, half, memory, bare=True)
        made = Assign.of(array + slope, [Term(1.0, c, read, stencil) for c, read, stencil in reads])
        memory.append(Memory(frozenset(self.given[d.field + slope]), made))
        return self._along(d.field + slope, array + slope, first, 1, first in self.places[f], memory)

    def _along(self, name: str, array: str, axis: int, order: int, half: bool, memory: list[Memory],
               bare: bool = False) -> tuple[Read, ...]:
        """Return the reads of a derivative of `array`, which stands for `name`, along one axis; half: wanted beyond the nodes there."""
        kind = int(half) - int(axis in self.places[name])
        request = Request(self.ndim, array, axis, order, kind, half, self.order, self.design, self.ratios[axis], self.continuous)
        rewritten = self.boundary.rewrite(request)
        for update in rewritten.memory:
            memory.append(Memory(frozenset({name} | self.given.get(name, set())), update))
            self.memory[update.target] = axis
            self.profiles |= dict.fromkeys((c for t in update.terms for c in t.coefficients), axis)
        return (*rewritten.reads, *self._corrections(name, request, bare))

    def _corrections(self, name: str, r: Request, bare: bool) -> list[Read]:
        """Return what a derivative of what `name` stands for reads more near sides that reflect. bare: see `corrections`."""
        found = corrections(r, self.symmetries(name, r.axis), bare)
        self.rows |= {c: rows for c, rows, _ in found}
        self.profiles |= {c: r.axis for c, _, _ in found}
        return [((c,), r.array, read) for c, _, read in found]

    def _injection(self, f: str, source: str, injection: Expression, time: int, own: Polynomial) -> Term:
        """Return the source's term; it shares the kernel parameter of the rate where the two are equal but for a constant."""
        polynomial = [(parameters, w) for (parameters, _), w in injection.terms.items()]
        if not own and not any(parameters for parameters, _ in polynomial):
            return Term(sum(w for _, w in polynomial), (), source, self.point)
        weight, shared = scaled(polynomial)
        wanted = [self._wanted(f, shared, time, space, own, (), self._part(f)) for space in (2, 1, 0)]
        return Term(weight, self._parameter(next((k for k in wanted if k in self.parameters), wanted[-1])), source, self.point)

    def _eliminated(self, f: str, d: Derivative) -> Sides:
        """Return the free surfaces on which f lies and a derivative across them is not known: `on_free_surface` does without it."""
        return tuple((axis, side) for axis, side in self.surfaces(f)
                     if d.axis == axis and self.symmetries(d.field, axis)[side] is Symmetry.OPEN)

    def _wanted(self, f: str, polynomial: Polynomial, time: int, space: int, own: Polynomial, held: Sides = (),
                part: Part | None = None) -> KernelParameter:
        """Return the kernel parameter of a term in the rate of f, where f sits; zero on `held` too."""
        held = tuple(sorted({*self.held(f), *held}))
        surfaces = tuple(s for s in self.surfaces(f) if s not in held)
        return KernelParameter(polynomial, time, space, self.places[f], own, held, surfaces, part)

    def _parameter(self, wanted: KernelParameter) -> tuple[str, ...]:
        """Return the name of a kernel parameter, a new one if it has none."""
        return (self.parameters.setdefault(wanted, f"k{len(self.parameters)}"),)

    def _is_positive(self, polynomial: Polynomial) -> bool:
        """Tell whether a polynomial is a product of what is positive everywhere, up to its sign."""
        (names, _), *others = polynomial
        return not others and set(names) <= set(self.equation.positive)


def scaled(polynomial: Sequence[tuple[tuple[str, ...], float]]) -> tuple[float, Polynomial]:
    """Return a constant and the polynomial it multiplies, whose first weight is one: terms that differ by a constant read one array."""
    (names, first), *others = sorted(polynomial)
    return first, ((names, 1.0), *((names, w / first) for names, w in others))
