"""What is derived from a time step: its tangent, the step that takes it back, cofactors of parameters, the step on a further axis."""
from collections.abc import Iterable
from dataclasses import replace

from .program import Assign, Program, Stencil, Term


def linearise(program: Program, prefix: str) -> Program:
    """Return the step beside its tangent: arrays `prefix + x`, driven by perturbed parameters and sources.

    The terms are products, so the tangent of a term is a sum of terms: one per array on its tangent, and one per perturbed coefficient.
    """
    assigns: list[Assign] = []
    for a in program.assigns:
        tangent: list[Term] = []
        for t in a.terms:
            for (x, stencil), others in t.each():
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
