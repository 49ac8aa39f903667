"""The exact adjoint of a time step: its assignments transposed one by one, each a gather again."""
from dataclasses import dataclass, replace

from .program import Assign, Program, Read, Stencil, Term, here


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
            for read, others in t.each():
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
