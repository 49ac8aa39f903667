"""A time step as a list of assignments over stencil atoms, and what can be derived from it: adjoint, tangent, history.

One assignment reads `target = sum of weight * coefficients * stencil(array)`, or a product of several stencil reads where the equation is
nonlinear. Coefficients are read at the target's point: the equation's parameters, and one-dimensional profiles (the absorbing layer).
Stencils stay atoms: nothing is multiplied out to shifted reads, so transposing one is flipping its shifts, and a transposed step is again
a gather (no scatter, no atomics).
"""
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

Shift = tuple[int, ...]


@dataclass(frozen=True)
class Stencil:
    """Sum of weighted reads at constant shifts: `taps` is ((shift per axis, weight), ...), sorted by shift."""

    taps: tuple[tuple[Shift, float], ...]

    @staticmethod
    def of(taps: Iterable[tuple[Shift, float]]) -> "Stencil":
        """Return the stencil of these taps, equal shifts added up."""
        total: dict[Shift, float] = {}
        for shift, weight in taps:
            total[shift] = total.get(shift, 0.0) + weight
        return Stencil(tuple(sorted(total.items())))

    def transposed(self) -> "Stencil":
        """Return the stencil whose matrix is the transpose: every shift flipped."""
        return Stencil.of((tuple(-s for s in shift), weight) for shift, weight in self.taps)

    @property
    def is_here(self) -> bool:
        """Whether this is the read at the point itself, with weight one."""
        return len(self.taps) == 1 and self.taps[0][1] == 1.0 and not any(self.taps[0][0])

    @property
    def reach(self) -> int:
        """The largest shift along any axis [cells]."""
        return max(abs(s) for shift, _ in self.taps for s in shift)


def here(ndim: int) -> Stencil:
    """Return the stencil that reads the point itself."""
    return Stencil((((0,) * ndim, 1.0),))


Read = tuple[str, Stencil]                             # an array through a stencil


@dataclass(frozen=True)
class Term:
    """weight * product of coefficients * stencil(array) * product of `factors`, further reads of a nonlinear equation."""

    weight: float
    coefficients: tuple[str, ...]
    array: str
    stencil: Stencil
    factors: tuple[Read, ...] = ()

    @staticmethod
    def of(weight: float, coefficients: tuple[str, ...], reads: Iterable[Read]) -> "Term":
        """Return the term whose reads are these, one at least."""
        (array, stencil), *factors = sorted(reads, key=lambda r: (r[0], r[1].taps))
        return Term(weight, coefficients, array, stencil, tuple(factors))

    @property
    def reads(self) -> tuple[Read, ...]:
        """All that is read: the own array and the factors."""
        return ((self.array, self.stencil), *self.factors)


@dataclass(frozen=True)
class Assign:
    """target = sum of terms. `axis` is the stretched axis of a memory variable, which lives in that axis' slabs only; else None."""

    target: str
    terms: tuple[Term, ...]
    axis: int | None = None

    @staticmethod
    def of(target: str, terms: Iterable[Term], axis: int | None = None) -> "Assign":
        """Return the assignment with like terms added up and zero terms dropped."""
        total: dict[Term, float] = {}
        for t in terms:
            key = replace(t, weight=1.0)
            total[key] = total.get(key, 0.0) + t.weight
        return Assign(target, tuple(replace(t, weight=w) for t, w in total.items() if w != 0.0), axis)


@dataclass(frozen=True)
class Program:
    """One time step.

    assigns: in order of execution. parameters: names of full coefficient arrays. profiles: {name of a 1-D coefficient: its axis}.
    memory: {array that lives in slabs only: its axis}. rotate: {array now: array that becomes it}: the two swap after every step.
    sources: names that stand for point injections; they appear as arrays in terms but have no storage. temporary: arrays that only carry
    sums from one sweep to the next. zeros: parameters that may be zero somewhere. shifted: {profile of a transposed step: (the
    profile of the step it is, moved by so many cells along its axis)}. recorded: coefficients of a transposed step that the forward run
    leaves anew at every step.
    """

    ndim: int
    assigns: tuple[Assign, ...]
    parameters: tuple[str, ...]
    profiles: dict[str, int] = field(default_factory=lambda: {})
    memory: dict[str, int] = field(default_factory=lambda: {})
    rotate: dict[str, str] = field(default_factory=lambda: {})
    sources: tuple[str, ...] = ()
    temporary: frozenset[str] = frozenset()
    zeros: frozenset[str] = frozenset()
    shifted: dict[str, tuple[str, int]] = field(default_factory=lambda: {})
    recorded: tuple[str, ...] = ()

    def arrays(self) -> list[str]:
        """Names of all arrays with storage, in order of first appearance."""
        seen: dict[str, None] = {}
        for a in self.assigns:
            seen[a.target] = None
            for t in a.terms:
                seen |= {x: None for x, _ in t.reads if x not in self.sources}
        return list(seen)

    def state(self) -> tuple[str, ...]:
        """Names of what a step starts from: arrays that it reads before it writes them; memory variables are left out."""
        written: set[str] = set()
        read: dict[str, None] = {}
        for a in self.assigns:
            read |= {x: None for t in a.terms for x, _ in t.reads if x not in written}
            written.add(a.target)
        return tuple(x for x in read if x not in self.sources and x not in self.memory)

    def swapped(self, array: str) -> str:
        """Return the array's name on the other side of the step's swap."""
        return self.rotate.get(array) or next((now for now, then in self.rotate.items() if then == array), array)

    def partner(self, array: str) -> str:
        """Return the array's name before the step's swap: the array a step writes when it advances `array`."""
        return self.rotate.get(array, array)

    def owner(self, target: str) -> str:
        """Return the array's name after the step's swap: the inverse of `partner`."""
        return next((now for now, then in self.rotate.items() if then == target), target)

    def reach(self) -> int:
        """The largest shift any assignment reads [cells]."""
        return max(stencil.reach for a in self.assigns for t in a.terms for _, stencil in t.reads)

    @property
    def nonlinear(self) -> bool:
        """Whether some term is a product of several reads."""
        return any(t.factors for a in self.assigns for t in a.terms)

    def injections(self) -> list[tuple[str, Assign, Term]]:
        """Every (source, assignment, term) through which a source enters the step."""
        return [(t.array, a, t) for a in self.assigns for t in a.terms if t.array in self.sources]


def sweeps(program: Program) -> list[tuple[list[list[Assign]], list[Assign]]]:
    """Fuse assignments into sweeps over the grid: no sweep reads shifted what it writes, nor a field it writes (points inject into fields
    after their sweep; memory variables and temporaries stay in registers).

    Returns [(pre-sweeps, sweep), ...]: a pre-sweep holds only memory variables and runs just before its sweep, slab by slab.
    """
    groups: list[list[Assign]] = [[]]
    for a in program.assigns:
        written = {b.target for b in groups[-1]}
        read = {x for b in groups[-1] for t in b.terms for x, stencil in t.reads if not stencil.is_here}
        fields = written - program.memory.keys() - program.temporary
        if a.target in read or any(x in (fields if stencil.is_here else written) for t in a.terms for x, stencil in t.reads):
            groups.append([])
        groups[-1].append(a)
    out: list[tuple[list[list[Assign]], list[Assign]]] = []
    before: list[list[Assign]] = []
    for group in groups:
        if all(a.axis is not None for a in group):
            before.append(group)
            continue
        if not _slab_by_slab(program, before, group):
            out += [([], g) for g in before]
            before = []
        out.append((before, group))
        before = []
    if before:                                         # memory variables that nothing reads in this step: their own sweep
        out.append((before[:-1], before[-1]))
    return out


def _slab_by_slab(program: Program, before: list[list[Assign]], group: list[Assign]) -> bool:
    """Whether a slab may run its pre-sweeps and its sweep while others have run neither or both: memory variables are read shifted along
    their own axis only, and nothing that the sweep writes is read shifted before it."""
    early, written = {a.target for g in before for a in g}, {a.target for a in group}
    for a in (a for g in (*before, group) for a in g):
        for t in a.terms:
            along = {k for shift, _ in t.stencil.taps for k, s in enumerate(shift) if s}
            if along and ((t.array in early and along != {program.memory[t.array]}) or (a.target in early and t.array in written)):
                return False
    return True


def linearise(program: Program, prefix: str) -> Program:
    """Return the step beside its tangent: arrays `prefix + x`, driven by perturbed parameters and sources.

    The terms are products, so the tangent of a term is a sum of terms: one per array on its tangent, and one per perturbed coefficient.
    """
    assigns: list[Assign] = []
    for a in program.assigns:
        tangent: list[Term] = []
        for t in a.terms:
            for (x, stencil), others in _each(t.reads):
                tangent.append(Term.of(t.weight, t.coefficients, ((prefix + x, stencil), *others)))
        for t in a.terms:
            for i, c in enumerate(t.coefficients):
                if c in program.parameters:
                    tangent.append(replace(t, coefficients=(*t.coefficients[:i], prefix + c, *t.coefficients[i + 1:])))
        assigns += [Assign.of(prefix + a.target, tangent, a.axis), a]      # first the tangent: it reads what `a` advances in place

    def both(names: tuple[str, ...]) -> tuple[str, ...]:
        return (*names, *(prefix + n for n in names))
    return Program(program.ndim, tuple(assigns), both(program.parameters), program.profiles,
                   program.memory | {prefix + k: v for k, v in program.memory.items()},
                   program.rotate | {prefix + k: prefix + v for k, v in program.rotate.items()}, both(program.sources),
                   zeros=program.zeros | {prefix + k for k in program.parameters})


def lifted(program: Program) -> Program:
    """Return the step with an axis put before the others, along which nothing is read: kernels have two axes at least."""
    def up(stencil: Stencil) -> Stencil:
        return Stencil(tuple(((0, *shift), w) for shift, w in stencil.taps))

    def term(t: Term) -> Term:
        return replace(t, stencil=up(t.stencil), factors=tuple((x, up(stencil)) for x, stencil in t.factors))
    assigns = tuple(Assign(a.target, tuple(term(t) for t in a.terms), None if a.axis is None else a.axis + 1) for a in program.assigns)
    return replace(program, ndim=program.ndim + 1, assigns=assigns, profiles={c: axis + 1 for c, axis in program.profiles.items()},
                   memory={x: axis + 1 for x, axis in program.memory.items()})


def _each(reads: tuple[Read, ...]) -> list[tuple[Read, tuple[Read, ...]]]:
    """Return every read beside the others."""
    return [(read, reads[:i] + reads[i + 1:]) for i, read in enumerate(reads)]


def outside_slabs(program: Program, terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return the terms that are not zero outside the slabs: those without memory variables and profiles."""
    return tuple(t for t in terms if t.array not in program.memory and not program.profiles.keys() & set(t.coefficients))


def undone(program: Program) -> Program:
    """Return the step that takes a step back where no memory variables are read: outside the slabs.

    Each assignment is solved for the value its target had: new = w old + rest, so old = w (new - rest) for w = 1 or -1. In reverse order,
    what an assignment read is there again when it is undone. It runs on the arrays as they are before the swap.
    Raises: ValueError, saying why, for a step that cannot be taken back.
    """
    assigns: list[Assign] = []
    for a in reversed(program.assigns):
        if a.target in program.memory:
            continue
        terms = outside_slabs(program, a.terms)
        own = [t for t in terms if t.array == a.target and t.stencil.is_here]
        if any(t.factors for t in terms):
            raise ValueError(f"the rate of {a.target} is nonlinear")
        if len(own) != 1 or own[0].coefficients or abs(own[0].weight) != 1.0:
            raise ValueError(f"{a.target} is damped, or not advanced in place by one assignment")
        w = own[0].weight
        rest = [Term(-w * t.weight, t.coefficients, t.array, t.stencil) for t in terms if t is not own[0]]
        assigns.append(Assign(a.target, (own[0], *rest)))
    return Program(program.ndim, tuple(assigns), program.parameters, {}, {}, program.rotate, program.sources, zeros=program.zeros)


def cofactors(program: Program) -> list[tuple[str, str, tuple[Term, ...]]]:
    """Return (parameter, target, terms) for every parameter in every assignment: what multiplies it there.

    The gradient with respect to a parameter is the sum over steps of cofactor * cotangent of the target: these are the histories that a
    gradient must keep. Memory variables carry profiles only, never parameters.
    """
    out: list[tuple[str, str, tuple[Term, ...]]] = []
    for a in program.assigns:
        for k in sorted({c for t in a.terms for c in t.coefficients if c in program.parameters}):
            terms: list[Term] = []
            for t in a.terms:
                if k in t.coefficients:
                    rest = list(t.coefficients)
                    rest.remove(k)
                    if k in rest:
                        raise ValueError(f"parameter {k} appears twice in one term of {a.target}; declare its square as a parameter")
                    terms.append(replace(t, coefficients=tuple(rest)))
            out.append((k, a.target, tuple(terms)))
    return out


@dataclass(frozen=True)
class Adjoint:
    """The exact transpose of a step, in gather form.

    program: steps the cotangents backwards in time; arrays have the names of what they are cotangents of.
    scale: {array: coefficients its stored cotangent has been multiplied by} (then no coefficient is read shifted).
    late: arrays whose cotangent is complete only at the end of the reversed step: data meet them one step later.
    sources: {source: [(weight, coefficients, array)]}: its cotangent is the sum of weight * coefficients * cotangent of array.
    recorded: {coefficient of the adjoint program: (target, terms)}: what the forward step keeps as the target's assignment reads it. The
    factor on a read of a product is the product of the others.
    pending: {array: (weight, coefficients)}: what its stored cotangent at the end of a step is still to be multiplied by.
    """

    program: Program
    scale: dict[str, tuple[str, ...]]
    late: frozenset[str]
    sources: dict[str, list[tuple[float, tuple[str, ...], str]]]
    recorded: dict[str, tuple[str, tuple[Term, ...]]]
    pending: dict[str, tuple[float, tuple[str, ...]]]


@dataclass(frozen=True)
class _Read:
    """A transposed read: weight * outer coefficients * stencil(inner coefficients * array)."""

    weight: float
    outer: tuple[str, ...]
    inner: tuple[str, ...]
    array: str
    stencil: Stencil


def adjoint(program: Program) -> Adjoint:
    """Transpose one step exactly.

    The assignments are walked backwards; each term sends `weight * coefficients * stencil^T(cotangent of the target)` to what it read; the
    other factors of a product count as coefficients.
    An array that reads itself in place (old time levels, memory variables) leaves a factor pending on its cotangent, applied when the
    cotangent is next written; the factors are the fixed point of one reversed step.
    """
    shifted: dict[str, tuple[str, int]] = {}
    recorded: _Recorded = {}
    gathers, late, sources, pending = _transposed_assigns(program, shifted, recorded)
    scale = _move_coefficients_out(program, gathers, program.zeros.union(recorded.values()))
    transposed = replace(_as_program(program, gathers, shifted), recorded=tuple(recorded.values()))
    return Adjoint(transposed, scale, late, sources, {name: kept for kept, name in recorded.items()}, pending)


_Recorded = dict[tuple[str, tuple[Term, ...]], str]    # {(target, terms): name}
_Gathers = list[tuple[str, list[_Read]]]
_Factor = tuple[float, tuple[str, ...]]
_Sources = dict[str, list[tuple[float, tuple[str, ...], str]]]


def _products(a: Assign, recorded: _Recorded) -> list[Term]:
    """Return the terms of an assignment with products differentiated: each read times a recorded coefficient made of the others."""
    out = [t for t in a.terms if not t.factors]
    by: dict[Read, list[Term]] = {}
    for t in a.terms:
        if t.factors:
            for read, others in _each(t.reads):
                by.setdefault(read, []).append(Term.of(t.weight, t.coefficients, others))
    for (x, stencil), terms in by.items():
        key = (a.target, Assign.of(a.target, terms).terms)
        out.append(Term(1.0, (recorded.setdefault(key, f"recorded{len(recorded)}"),), x, stencil))
    return out


def _transposed_assigns(program: Program, shifted: dict[str, tuple[str, int]],
                        recorded: _Recorded) -> tuple[_Gathers, frozenset[str], _Sources, dict[str, _Factor]]:
    swap = program.rotate | {v: k for k, v in program.rotate.items()}
    point = here(program.ndim)
    # A field that nothing else reads has a cotangent all the same: data may be injected into it.
    unread = {a.target for a in program.assigns} - program.memory.keys() - swap.keys()
    unread -= {x for a in program.assigns for t in a.terms for x, _ in t.reads if x != a.target}
    pending: dict[str, _Factor] = {x: (1.0, ()) for x in program.arrays()}
    for _ in range(4):
        now, out = dict(pending), _Gathers()
        inbox: dict[str, list[_Read]] = {}
        sources: _Sources = {s: [] for s in program.sources}

        early: set[str] = set()

        def settle(x: str, now: dict[str, _Factor] = now, out: _Gathers = out, inbox: dict[str, list[_Read]] = inbox) -> None:
            weight, c = now[x]
            kept = [_Read(weight, (), c, x, point)] if weight else []
            out.append((x, kept + inbox.pop(x, [])))
            now[x] = (1.0, ())

        for a in reversed(program.assigns):
            if a.target in inbox or a.target in unread:
                settle(a.target)
                early.add(a.target)
            weight, c = now[a.target]
            own: _Factor = (0.0, ())
            fresh = set(recorded.values())
            for t in _products(a, recorded):
                if t.array in sources:
                    sources[t.array].append((t.weight * weight, t.coefficients + c, a.target))
                # Further reads of the target are reads like any other; so are those whose coefficients the next step has anew.
                elif t.array == a.target and t.stencil.is_here and not own[0] and not fresh.intersection(t.coefficients):
                    own = (t.weight * weight, t.coefficients + c)
                else:
                    outer, inner = _moved_profiles(program, t, shifted)
                    read = _Read(t.weight * weight, outer, inner + c, a.target, t.stencil.transposed())
                    inbox.setdefault(t.array, []).append(read)
            now[a.target] = own
        late = frozenset(inbox) - early
        while inbox:                                   # nobody reads a cotangent that has gone on; of two, the later assigned does not read
            settle(next(x for x in inbox if not any(r.array == x for y, reads in inbox.items() if y != x for r in reads)))
        after = {x: now[swap.get(x, x)] for x in now}
        if after == pending:
            return out, late, sources, pending
        pending = after
    raise ValueError("the factors that in-place updates leave on their cotangents do not settle; the step cannot be transposed")


def _moved_profiles(program: Program, t: Term, shifted: dict[str, tuple[str, int]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the coefficients of a transposed read: what stands outside, and what is read with the array. Notes profiles it moves.

    A profile of the axis of a single shift moves out of the read: C(row - shift) is a profile again.
    """
    (shift, _), *others = t.stencil.taps
    axes = {k for k, s in enumerate(shift) if s}
    moved: dict[str, str] = {}
    for c in t.coefficients:
        if not others and axes == {program.profiles.get(c)}:
            moved[c] = f"{c} moved {shift[program.profiles[c]]}"
            shifted[moved[c]] = (c, shift[program.profiles[c]])
    return tuple(moved.values()), tuple(c for c in t.coefficients if c not in moved)


def _move_coefficients_out(program: Program, gathers: _Gathers, fixed: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Store a cotangent multiplied by the coefficients that all its reads share, none of them `fixed`: those may be zero, or change.

    Changes `gathers` in place; returns the factors.

    For the acoustic equation this makes the adjoint's interior the forward kernel: (c dt)^2 stands outside the Laplacian again.
    """
    scale: dict[str, tuple[str, ...]] = {}
    swap = program.rotate | {v: k for k, v in program.rotate.items()}
    for group in [*program.rotate.items(), *((x,) for x in program.arrays() if x not in swap)]:
        def inside(x: str, r: _Read, group: tuple[str, ...] = group) -> bool:
            return x in group and r.array in group and r.stencil.is_here
        shared = {r.inner for x, reads in gathers for r in reads if r.array in group and not inside(x, r)}
        if len(shared) != 1 or shared == {()}:
            continue
        (factor,) = shared
        if fixed.intersection(factor):                 # where it is zero, what it multiplied could not be told any more
            continue
        scale.update(dict.fromkeys(group, factor))
        for x, reads in gathers:
            for i, r in enumerate(reads):
                if not inside(x, r):
                    inner = () if r.array in group else r.inner
                    reads[i] = _Read(r.weight, r.outer + (factor if x in group else ()), inner, r.array, r.stencil)
    return scale


def _as_program(program: Program, gathers: _Gathers, shifted: dict[str, tuple[str, int]]) -> Program:
    """Write sums that would still be read shifted with coefficients to temporaries, one per transposed stencil."""
    point, memory = here(program.ndim), dict(program.memory)
    final: list[Assign] = []
    made: dict[tuple[Term, ...], str] = {}
    for x, reads in gathers:
        keep: list[Term] = []
        sums: dict[tuple[tuple[str, ...], Stencil], list[_Read]] = {}
        for r in reads:
            if r.stencil.is_here:
                keep.append(Term(r.weight, r.outer + r.inner, r.array, r.stencil))
            else:
                sums.setdefault((r.outer, r.stencil), []).append(r)
        for (outer, stencil), parts in sums.items():
            if not any(r.inner for r in parts):
                keep += [Term(r.weight, outer, r.array, stencil) for r in parts]
                continue
            terms = tuple(sorted((Term(r.weight, r.inner, r.array, point) for r in parts), key=lambda t: (t.array, t.coefficients)))
            if terms not in made:                      # as early as its inputs allow, so that sweeps stay few
                made[terms] = name = f"sum{len(made)}"
                read = {t.array for t in terms}
                axes = {memory.get(array) for array in read}
                axis = axes.pop() if len(axes) == 1 else None
                if axis is not None:                   # a sum of memory variables of one axis lives in that axis' slabs too
                    memory[name] = axis
                at = max((i + 1 for i, f in enumerate(final) if f.target in read), default=0)
                final.insert(at, Assign(name, terms, axis))
            keep.append(Term(1.0, outer, made[terms], stencil))
        final.append(Assign.of(x, keep, memory.get(x)))
    profiles = program.profiles | {c: program.profiles[of] for c, (of, _) in shifted.items()}
    return Program(program.ndim, tuple(final), program.parameters, profiles, memory, program.rotate, temporary=frozenset(made.values()),
                   shifted=shifted)
