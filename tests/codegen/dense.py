"""Programs run in plain NumPy, and as dense matrices: what the transformations of `codegen` are compared with."""

import math
from collections.abc import Iterable

import numpy as np

from hyperion.codegen import Adjoint, Assign, Program, Stencil, Term, here

Values = dict[str, np.ndarray]


def read(x: np.ndarray, stencil: Stencil) -> np.ndarray:
    """Return the stencil of an array, zeros beyond its edges."""
    out = np.zeros_like(x)
    for shift, weight in stencil.taps:
        here_, there = [], []
        for s, n in zip(shift, x.shape, strict=True):
            here_.append(slice(max(0, -s), min(n, n - s)))
            there.append(slice(max(0, s), min(n, n + s)))
        if all(a.start < a.stop for a in here_):
            out[tuple(here_)] += weight * x[tuple(there)]
    return out


def matrix(stencil: Stencil, shape: tuple[int, ...]) -> np.ndarray:
    """Return a stencil as a matrix over the cells, built by unit vectors."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return np.stack([read(u, stencil).ravel() for u in units], axis=1)


def execute(assign: Assign, state: Values, coefficients: Values, sent: Values) -> np.ndarray:
    """Return what an assignment gives its target."""
    total = np.zeros(next(iter(state.values())).shape)
    for t in assign.terms:
        value = sent[t.array] if t.array in sent else read(state[t.array], t.stencil)
        total = total + t.weight * math.prod((coefficients[c] for c in t.coefficients), start=1.0) * value
    return total


def swap(program: Program, state: Values) -> None:
    """Swap time levels at the end of a step."""
    for now, then in program.rotate.items():
        state[now], state[then] = state[then], state[now]


def forward(program: Program, shape: tuple[int, ...], coefficients: Values, sent: Values, observed: str, steps: int) -> np.ndarray:
    """Return the observed array after every step, (steps, *shape); sent: {source: (steps, *shape)}."""
    state = {x: np.zeros(shape) for x in program.arrays()}
    out = []
    for n in range(steps):
        for a in program.assigns:
            state[a.target] = execute(a, state, coefficients, {s: sent[s][n] for s in program.sources})
        out.append(state[program.partner(observed)].copy())
        swap(program, state)
    return np.stack(out)


def backward(
    program: Program, transposed: Adjoint, shape: tuple[int, ...], coefficients: Values, weights: np.ndarray, observed: str
) -> Values:
    """Return {source: (steps, *shape)}: the transpose of `forward` applied to weights (steps, *shape), by the adjoint program alone.

    Data meet the cotangent of the observed array once it is complete: at the step's own turn, or one step later if it is `late`; they are
    multiplied by the array's scale. What a source's cotangent reads is taken in the same way, and divided by the scale.
    """
    adjoint, steps = transposed.program, len(weights)
    state = {x: np.zeros(shape) for x in {*adjoint.arrays(), *program.arrays()}}
    scale = {x: math.prod((coefficients[c] for c in names), start=np.ones(shape)) for x, names in transposed.scale.items()}
    out = {s: np.zeros((steps, *shape)) for s in program.sources}

    def meet(array: str, turn: int) -> None:
        n = turn - 1 if array in transposed.late else turn
        if not 0 <= n < steps:
            return
        if array == observed:
            state[array] = state[array] + scale.get(array, 1.0) * weights[n]
        for source, terms in transposed.sources.items():
            for weight, names, target in terms:
                if program.owner(target) == array:
                    factor = math.prod((coefficients[c] for c in names), start=1.0)
                    out[source][n] += weight * factor / scale.get(array, 1.0) * state[array]

    for x in transposed.late:
        meet(x, steps)
    swap(adjoint, state)
    for n in reversed(range(steps)):
        written: set[str] = set()
        for a in adjoint.assigns:
            state[a.target] = execute(a, state, coefficients, {})
            if a.target in program.arrays() and a.target not in written:
                meet(a.target, n)
            written.add(a.target)
        swap(adjoint, state)
    return out


def along(axis: int, ndim: int, taps: Iterable[tuple[int, float]]) -> Stencil:
    """Return a stencil along one axis."""
    return Stencil.of((tuple(s if k == axis else 0 for k in range(ndim)), w) for s, w in taps)


POINT = here(1)
D2 = along(0, 1, [(-1, 1.0), (0, -2.0), (1, 1.0)])
LOPSIDED = along(0, 1, [(-2, 0.3), (0, -0.5), (1, 0.8)])
UP, DOWN = along(0, 1, [(0, -1.0), (1, 1.0)]), along(0, 1, [(-1, -1.0), (0, 1.0)])

# Hand-written steps, each with something of its own for the transposition.
PROGRAMS: dict[str, Program] = {
    "second order in time": Program(
        1,
        (
            Assign(
                "p.next",
                (
                    Term(2.0, (), "p", POINT),
                    Term(-1.0, (), "p.next", POINT),
                    Term(1.0, ("k",), "p", LOPSIDED),
                    Term(1.0, ("k",), "s", POINT),
                ),
            ),
        ),
        ("k",),
        rotate={"p": "p.next"},
        sources=("s",),
    ),
    "damped, with a parameter on the old level": Program(
        1,
        (
            Assign(
                "p.next",
                (Term(2.0, (), "p", POINT), Term(-1.0, ("d",), "p.next", POINT), Term(1.0, ("k",), "p", D2), Term(0.5, (), "s", POINT)),
            ),
        ),
        ("k", "d"),
        rotate={"p": "p.next"},
        sources=("s",),
    ),
    "staggered pair": Program(
        1,
        (
            Assign("v", (Term(1.0, (), "v", POINT), Term(-1.0, ("b",), "p", UP))),
            Assign("p", (Term(1.0, (), "p", POINT), Term(-1.0, ("k",), "v", DOWN), Term(1.0, ("k",), "s", POINT))),
        ),
        ("b", "k"),
        sources=("s",),
    ),
    "memory variable": Program(
        1,
        (
            Assign("psi", (Term(1.0, ("B",), "psi", POINT), Term(1.0, ("A",), "p", UP)), 0),
            Assign(
                "p.next",
                (
                    Term(2.0, (), "p", POINT),
                    Term(-1.0, (), "p.next", POINT),
                    Term(1.0, ("k",), "p", D2),
                    Term(1.0, ("k",), "psi", DOWN),
                    Term(1.0, ("k",), "s", POINT),
                ),
            ),
        ),
        ("k",),
        {"A": 0, "B": 0},
        {"psi": 0},
        {"p": "p.next"},
        ("s",),
    ),
    "memory variables that read each other": Program(
        1,
        (
            Assign("psi", (Term(1.0, ("B",), "psi", POINT), Term(1.0, ("A",), "p", UP)), 0),
            Assign("zeta", (Term(1.0, ("B",), "zeta", POINT), Term(1.0, ("A",), "p", D2), Term(1.0, ("A",), "psi", DOWN)), 0),
            Assign(
                "p.next",
                (
                    Term(2.0, (), "p", POINT),
                    Term(-1.0, (), "p.next", POINT),
                    Term(1.0, ("k",), "p", D2),
                    Term(1.0, ("k",), "psi", DOWN),
                    Term(1.0, ("k",), "zeta", POINT),
                    Term(1.0, ("k",), "s", POINT),
                ),
            ),
        ),
        ("k",),
        {"A": 0, "B": 0},
        {"psi": 0, "zeta": 0},
        {"p": "p.next"},
        ("s",),
    ),
    "temporary": Program(
        1,
        (
            Assign("t", (Term(1.0, ("b",), "p", UP),)),
            Assign(
                "p.next",
                (Term(2.0, (), "p", POINT), Term(-1.0, (), "p.next", POINT), Term(1.0, ("k",), "t", DOWN), Term(1.0, (), "s", POINT)),
            ),
        ),
        ("b", "k"),
        rotate={"p": "p.next"},
        sources=("s",),
    ),
    "one field reads another with several coefficients": Program(
        1,
        (
            Assign("q", (Term(0.9, ("d",), "q", POINT), Term(0.2, ("k",), "p", UP), Term(1.0, (), "r", POINT))),
            Assign(
                "p",
                (
                    Term(1.0, (), "p", POINT),
                    Term(-0.3, ("b", "k"), "q", DOWN),
                    Term(0.1, ("k",), "q", POINT),
                    Term(1.0, ("b",), "s", POINT),
                ),
            ),
        ),
        ("b", "k", "d"),
        sources=("s", "r"),
    ),
    "a field that nothing reads": Program(
        1,
        (
            Assign(
                "p.next",
                (Term(2.0, (), "p", POINT), Term(-1.0, (), "p.next", POINT), Term(1.0, ("k",), "p", D2), Term(1.0, (), "s", POINT)),
            ),
            Assign("q", (Term(1.0, (), "q", POINT), Term(0.7, ("b",), "p", POINT))),
        ),
        ("k", "b"),
        rotate={"p": "p.next"},
        sources=("s",),
    ),
}
