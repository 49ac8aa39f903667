"""A time step as a list of assignments over stencil atoms, and the sweeps over the grid that they fuse into.

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

    def each(self) -> list[tuple[Read, tuple[Read, ...]]]:
        """Return every read beside the others."""
        return [(read, self.reads[:i] + self.reads[i + 1:]) for i, read in enumerate(self.reads)]


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
        for array, stencil in (read for t in a.terms for read in t.reads):
            along = {k for shift, _ in stencil.taps for k, s in enumerate(shift) if s}
            if along and ((array in early and along != {program.memory[array]}) or (a.target in early and array in written)):
                return False
    return True
