"""The algebra of programs: stencils, the transpose and the tangent of a step, and how assignments are fused into sweeps."""

from itertools import pairwise

import numpy as np
import pytest

from hyperion import pde
from hyperion.codegen import Assign, Program, Stencil, Term, adjoint, cofactors, here, linearise, sweeps
from hyperion.pde.discretise import discretise
from tests.codegen import dense
from tests.codegen.dense import D2, DOWN, LOPSIDED, POINT, PROGRAMS, UP
from tests.pde.cases import Damped, Dose, PressureVelocity, PressureVelocity3D

EQUATIONS = {"acoustic": pde.Acoustic(), "pressure-velocity": PressureVelocity(), "doses": Dose(), "damped": Damped()}
BOUNDARIES = {"layer": pde.CPML(width=2), "periodic": pde.Periodic()}
DERIVED: dict[str, Program] = {
    f"{name}, {boundary}, order {order}": discretise(equation, 2, order, (1.0, 0.8), BOUNDARIES[boundary]).program
    for name, equation in EQUATIONS.items()
    for boundary in BOUNDARIES
    for order in (2, 4)
}
DERIVED["acoustic, three dimensions"] = discretise(pde.Acoustic(), 3, 4, (1.0, 1.0, 1.0), pde.CPML(width=2)).program
DERIVED["pressure-velocity, three dimensions"] = discretise(PressureVelocity3D(), 3, 4, (1.0, 1.0, 1.0), pde.CPML(width=2)).program
ALL = PROGRAMS | DERIVED


def coefficients(program, shape, random):
    """Return random coefficients; profiles vary along their axis only and are zero in the middle, as an absorbing layer's are."""
    values = {k: random.uniform(0.1, 0.3, shape) for k in program.parameters}
    for name, axis in program.profiles.items():
        line = random.uniform(-0.4, 0.4, shape[axis])
        line[2:-2] = 0.0
        values[name] = np.broadcast_to(line.reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape)
    return values


# Stencils


def test_equal_shifts_add_up_and_taps_are_sorted():
    assert Stencil.of([((1,), 2.0), ((-1,), 1.0), ((1,), 0.5)]).taps == (((-1,), 1.0), ((1,), 2.5))


def test_reach_and_here():
    assert (LOPSIDED.reach, POINT.reach) == (2, 0)
    assert here(3).is_here and not LOPSIDED.is_here
    assert not Stencil((((0,), 2.0),)).is_here and not Stencil((((1,), 1.0),)).is_here


@pytest.mark.parametrize("stencil", [D2, LOPSIDED, UP, DOWN, POINT, Stencil.of([((1, -2), 0.5), ((0, 1), 2.0), ((-1, 0), -1.0)])], ids=repr)
def test_the_transposed_stencil_is_the_transposed_matrix(stencil):
    shape = (7,) if len(stencil.taps[0][0]) == 1 else (5, 6)
    assert np.array_equal(dense.matrix(stencil.transposed(), shape), dense.matrix(stencil, shape).T)


def test_like_terms_add_up_and_zero_terms_go():
    assign = Assign.of("x", [Term(1.0, ("k",), "y", D2), Term(2.0, ("k",), "y", D2), Term(1.0, (), "z", POINT), Term(-1.0, (), "z", POINT)])
    assert assign == Assign("x", (Term(3.0, ("k",), "y", D2),))


def test_names_of_a_program():
    program = PROGRAMS["memory variable"]
    assert program.arrays() == ["psi", "p", "p.next"]
    assert (program.partner("p"), program.owner("p.next"), program.partner("psi"), program.reach()) == ("p.next", "p", "psi", 1)
    assert [(source, a.target) for source, a, _ in program.injections()] == [("s", "p.next")]


# The transpose


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_adjoint_is_the_transposed_matrix(name, random):
    """From every cell of every source at every step to every cell of every array after every step, by unit vectors."""
    program, shape, steps = PROGRAMS[name], (7,), 5
    values, cells = coefficients(program, shape, random), steps * 7
    transposed = adjoint(program)
    for observed in program.arrays():
        if program.owner(observed) != observed:
            continue  # a time level is observed under its present name
        for source in program.sources:
            still = {s: np.zeros((steps, *shape)) for s in program.sources}
            columns = [
                dense.forward(program, shape, values, still | {source: u}, observed, steps).ravel()
                for u in np.eye(cells).reshape(cells, steps, *shape)
            ]
            rows = [
                dense.backward(program, transposed, shape, values, w, observed)[source].ravel()
                for w in np.eye(cells).reshape(cells, steps, *shape)
            ]
            matrix = np.stack(columns, axis=1)
            assert np.abs(matrix).max() > 0.0
            # Sums of under a hundred products in another order.
            assert np.abs(np.stack(rows) - matrix).max() < 1e-13 * np.abs(matrix).max(), (observed, source)


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in DERIVED for level in (0, 1) if level + DERIVED[name].ndim < 4])
def test_the_adjoint_of_discretised_equations(name, level, random):
    """The dot test, source by source and field by field, of steps with absorbing layers and of their tangents."""
    program, steps = DERIVED[name], 7
    program = linearise(program, "d.") if level else program
    shape = (8, 9, 7)[: program.ndim]
    values, transposed = coefficients(program, shape, random), adjoint(program)
    for observed in (x for x in program.arrays() if program.owner(x) == x and x not in program.memory):
        sent = {s: random.standard_normal((steps, *shape)) for s in program.sources}
        out = dense.forward(program, shape, values, sent, observed, steps)
        weights = random.standard_normal(out.shape)
        back = dense.backward(program, transposed, shape, values, weights, observed)
        left, right = np.vdot(out, weights), sum(np.vdot(back[s], sent[s]) for s in sent)
        assert abs(left - right) < 1e-12 * np.linalg.norm(out) * np.linalg.norm(weights), observed


@pytest.mark.parametrize("name", ALL)
def test_no_coefficient_is_read_shifted(name):
    """Coefficients stand outside stencils, in the adjoint as in the step: kernels read them at the point itself."""
    transposed = adjoint(ALL[name])
    for assign in transposed.program.assigns:
        for t in assign.terms:
            assert t.array not in transposed.program.sources
            assert set(t.coefficients) <= {*ALL[name].parameters, *ALL[name].profiles}


def test_the_adjoint_of_the_acoustic_step_is_the_step_itself():
    program = DERIVED["acoustic, periodic, order 4"]
    transposed = adjoint(program)
    (ahead,), (back,) = program.assigns, transposed.program.assigns
    assert transposed.scale == {"p": ("k0",), "p.next": ("k0",)}
    mirrored = {"p": "p.next", "p.next": "p"}
    assert {(t.weight, t.coefficients, mirrored[t.array], t.stencil) for t in ahead.terms if t.array in mirrored} == {
        (t.weight, t.coefficients, t.array, t.stencil) for t in back.terms
    }


@pytest.mark.parametrize(
    ("name", "count"), [("acoustic, layer, order 4", 1), ("pressure-velocity, layer, order 4", 2), ("doses, layer, order 4", 5)]
)
def test_the_adjoint_needs_no_more_sweeps_than_this(name, count):
    transposed = adjoint(DERIVED[name]).program
    assert len(sweeps(transposed)) <= count
    assert len(transposed.assigns) - len({a.target for a in transposed.assigns}) == (name[:5] == "doses")


# The tangent


@pytest.mark.parametrize("name", [n for n in ALL if ALL[n].ndim < 3])
def test_the_tangent_equals_differences(name, random):
    program, steps = ALL[name], 6
    shape = (8, 9)[: program.ndim]
    values, moves = (coefficients(program, shape, random) for _ in range(2))
    sent, sent_moves = ({s: random.standard_normal((steps, *shape)) for s in program.sources} for _ in range(2))
    tangent = linearise(program, "d.")
    both = values | {f"d.{k}": moves[k] for k in program.parameters}
    sent_both = sent | {f"d.{s}": x for s, x in sent_moves.items()}
    for observed in (x for x in program.arrays() if program.owner(x) == x):
        found = dense.forward(tangent, shape, both, sent_both, f"d.{observed}", steps)
        assert np.array_equal(
            dense.forward(tangent, shape, both, sent_both, observed, steps), dense.forward(program, shape, values, sent, observed, steps)
        )

        def moved(h, observed=observed):
            there = {k: values[k] + (h * moves[k] if k in program.parameters else 0.0) for k in values}
            return dense.forward(program, shape, there, {s: sent[s] + h * sent_moves[s] for s in sent}, observed, steps)

        h = 1e-5  # truncation h^2, rounding eps / h: near 1e-10 both
        assert np.abs(found - (moved(h) - moved(-h)) / (2.0 * h)).max() < 1e-8 * np.abs(found).max(initial=1.0)


def test_cofactors_are_what_multiplies_a_parameter():
    found = cofactors(PROGRAMS["one field reads another with several coefficients"])
    assert {(k, target): terms for k, target, terms in found} == {
        ("d", "q"): (Term(0.9, (), "q", POINT),),
        ("k", "q"): (Term(0.2, (), "p", UP),),
        ("b", "p"): (Term(-0.3, ("k",), "q", DOWN), Term(1.0, (), "s", POINT)),
        ("k", "p"): (Term(-0.3, ("b",), "q", DOWN), Term(0.1, (), "q", POINT)),
    }


def test_a_square_of_a_parameter_is_refused():
    program = Program(1, (Assign("p", (Term(1.0, ("k", "k"), "p", POINT),)),), ("k",))
    with pytest.raises(ValueError, match=r"k appears twice in one term of p; declare its square"):
        cofactors(program)


# Sweeps


def stages_of(program):
    """Return the groups in order of execution: [(assignments, is it a pre-sweep)]."""
    return [part for before, main in sweeps(program) for part in (*((g, True) for g in before), (main, False))]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", ["step", "tangent", "adjoint", "adjoint of the tangent"])
def test_no_sweep_reads_shifted_what_it_writes(name, form):
    program = ALL[name]
    program = linearise(program, "d.") if "tangent" in form else program
    program = adjoint(program).program if "adjoint" in form else program
    groups = stages_of(program)
    assert [a for group, _ in groups for a in group] == list(program.assigns)  # all of them, in order
    for group, early in groups:
        written = {a.target for a in group}
        assert len(written) == len(group)
        assert not any(t.array in written and not t.stencil.is_here for a in group for t in a.terms)
        assert not early or all(a.axis is not None for a in group)  # a pre-sweep runs on slabs alone


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", ["step", "adjoint"])
def test_what_injections_complete_is_read_by_later_sweeps_only(name, form):
    """Sources and data are added after a sweep: what reads the array at the same point must not be in that sweep."""
    program = ALL[name] if form == "step" else adjoint(ALL[name]).program
    fields = (
        {a.target for _, a, _ in ALL[name].injections()} if form == "step" else {x for x in ALL[name].arrays() if x not in program.memory}
    )
    for group, _ in stages_of(program):
        for a, b in ((a, b) for i, a in enumerate(group) for b in group[i + 1 :]):
            assert a.target not in fields or all(t.array != a.target for t in b.terms), (a.target, b.target)


def test_the_acoustic_step_needs_one_sweep():
    for order in (2, 4):
        found = sweeps(DERIVED[f"acoustic, layer, order {order}"])
        assert len(found) == 1 and len(found[0][0]) in (1, 2)  # psi and zeta on slabs, then the field


def test_memory_variables_that_nothing_reads_still_run():
    program = Program(1, (Assign("p", (Term(1.0, (), "p", POINT),)), Assign("m", (Term(1.0, ("A",), "p", UP),), 0)), (), {"A": 0}, {"m": 0})
    assert [a.target for group, _ in stages_of(program) for a in group] == ["p", "m"]


def test_profiles_are_ordered_by_distance():
    """The one fact about layers that kernels rely on: memory variables and coefficients vanish outside the slabs."""
    layer = pde.CPML(width=3)
    for name in ("a0node", "b0node", "a0half", "b0half"):
        line = layer.profile(name, 0, (20,), 10.0, 1e-3, 3000.0)
        assert not line[3:-4].any() and line[0] != 0.0 and line[-1] != 0.0
        if name.startswith("b"):
            assert all(0.0 < a <= b for a, b in pairwise(line[:3])) and (line <= 1.0).all()
