"""Generated kernels against the interpreter: values and gradients, on everything that changes the text or the loops around it."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.codegen import Assign, Program, Stencil, Term, sweeps
from hyperion.pde import run as runs
from tests.pde.cases import Case, Damped, Dose, PressureVelocity, PressureVelocity3D, difference, hold_to_the_interpreter

# The wavelets are white noise, so that nothing is hidden by smoothness.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

PLANE, VOLUME = (31, 37), (21, 18, 23)

# Both compute the same sums in another order. A step adds rounding of some ten operations, 25 steps with sums over stencils of up to
# 3 * 12 taps and over 8^ndim taps of a point: 1e3 eps bounds what was seen (20 eps) with a margin for other compilers.
TOLERANCE = {np.float64: 1e3 * np.finfo(np.float64).eps, np.float32: 1e3 * float(np.finfo(np.float32).eps)}

SAMPLED = [
    # shape, order, boundary, dtype
    *[(PLANE, order, pde.CPML(width=5), np.float64) for order in (2, 4, 6, 8, 10, 12)],
    (PLANE, 8, pde.CPML(width=5), np.float32),
    (PLANE, 14, pde.CPML(width=5), np.float32),
    (PLANE, 16, pde.CPML(width=5), np.float64),
    (PLANE, 2, pde.CPML(width=0), np.float32),
    (PLANE, 4, pde.Periodic(), np.float64),
    (PLANE, 12, pde.Periodic(), np.float32),
    (VOLUME, 2, pde.CPML(width=3), np.float64),
    (VOLUME, 8, pde.CPML(width=3), np.float32),
    (VOLUME, 4, pde.Periodic(), np.float32),
]
EVERY = [
    (shape, order, boundary, dtype)
    for shape in (PLANE, VOLUME)
    for order in (2, 4, 6, 8, 10, 12)
    for boundary in (pde.CPML(width=4), pde.CPML(width=0), pde.Periodic())
    for dtype in (np.float32, np.float64)
]


def name(case):
    shape, order, boundary, dtype = case
    return f"{len(shape)}d-order{order}-{boundary!r}-{dtype.__name__}"


def check(shape, order, boundary, dtype, **options):
    hold_to_the_interpreter(Case(shape, order, boundary, dtype=dtype, **options), TOLERANCE[dtype])


@pytest.mark.parametrize("case", SAMPLED, ids=name)
def test_kernels_equal_the_interpreter(case):
    check(*case)


@pytest.mark.full
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", EVERY, ids=name)
def test_kernels_equal_the_interpreter_everywhere(case, threads):
    shape, order, _, _ = case
    check(tuple(max(n, 2 * order + 10) for n in shape) if order > 8 else shape, *case[1:], threads=threads)


@pytest.mark.parametrize("boundary", [pde.CPML(width=5), pde.Periodic()], ids=repr)
@pytest.mark.parametrize(("sent", "heard"), [("p", "p"), ("p", "vx"), ("vz", "vx")])
def test_a_staggered_system(boundary, sent, heard):
    check(PLANE, 4, boundary, np.float64, equation=PressureVelocity(), fields=(sent, heard))


@pytest.mark.parametrize("boundary", [pde.CPML(width=5), pde.Periodic()], ids=repr)
@pytest.mark.parametrize(("sent", "heard"), [("vz", "vx"), ("szx", "pressure"), ("pressure", "szz")])
def test_elastic_waves_under_water(boundary, sent, heard):
    # Where the shear modulus is zero its cofactors must not be divided by it.
    check(PLANE, 4, boundary, np.float64, equation=pde.Elastic(), fields=(sent, heard))


FREE, RIGID = pde.FreeSurface(), pde.Rigid()
SIDES = [
    ((37, 50), pde.Sides(pde.CPML(5), top=FREE), pde.Acoustic(), ("p", "p")),
    ((37, 50), pde.Sides(pde.CPML(5), top=RIGID, left=FREE), pde.Acoustic(), ("p", "p")),
    ((37, 50), pde.Sides(pde.CPML(5), bottom=FREE, right=RIGID), pde.Acoustic(), ("p", "p")),
    ((37, 50), pde.Sides(pde.CPML(5), top=FREE, bottom=RIGID, left=FREE, right=FREE), pde.Acoustic(), ("p", "p")),
    ((37, 50), pde.Sides(pde.CPML(5), top=FREE, right=FREE), pde.AcousticVariableDensity(), ("p", "vx")),
    ((37, 50), pde.Sides(pde.CPML(5), bottom=RIGID, left=FREE), pde.AcousticVariableDensity(), ("vz", "vz")),
    ((37, 50), pde.Sides(pde.CPML(5), top=RIGID, right=RIGID), pde.Elastic(), ("vz", "pressure")),
    ((20, 22, 40), pde.Sides(pde.CPML(3), top=FREE, front=RIGID, right=FREE), pde.Acoustic(), ("p", "p")),
]


@pytest.mark.parametrize(("shape", "boundary", "equation", "fields"), SIDES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_sides_that_reflect(shape, boundary, equation, fields, threads):
    check(shape, 4, boundary, np.float64, equation=equation, fields=fields, threads=threads)


def test_a_staggered_system_in_three_dimensions():
    check(VOLUME, 4, pde.CPML(width=3), np.float32, equation=PressureVelocity3D(), fields=("p", "vy"))


@pytest.mark.parametrize(("sent", "heard"), [("p", "p"), ("p", "dose"), ("p", "twice"), ("dose", "twice"), ("dose", "dose")])
def test_fields_that_others_only_read_and_that_nothing_reads(sent, heard):
    # A source enters p in the sweep in which its integral is taken at the same point.
    check(PLANE, 4, pde.CPML(width=5), np.float64, equation=Dose(), fields=(sent, heard))


def test_a_parameter_on_a_field_that_is_advanced_in_place():
    # Its cofactor is the field before the step, not after it.
    check(PLANE, 4, pde.CPML(width=5), np.float64, equation=Damped(), fields=("p", "p"))


@pytest.mark.parametrize("shape", [(16, 17), (17, 31), (18, 32), (24, 33), (40, 47), (65, 64), (33, 129)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_remainder_of_vectors_blocks_and_tiles(shape, dtype):
    # 2, 4, 8 or 16 numbers a vector; blocks of planes; tiles of steps: none divides these sizes.
    check(shape, 4, pde.CPML(width=3), dtype, steps=29)


@pytest.mark.parametrize("shape", [(16, 17), (30, 40), (57, 33)])
@pytest.mark.parametrize("boundary", [pde.CPML(width=12), pde.CPML(width=3), pde.CPML(width=0), pde.Periodic()], ids=repr)
@pytest.mark.parametrize("threads", [2, 3, 5, 16])
def test_any_number_of_threads_gives_the_same_field(shape, boundary, threads):
    # One shot, so that all threads share its planes: chunks of them may be thinner than the absorbing layer.
    def run(threads):
        case = Case(shape, 4, boundary, steps=60, threads=threads)
        case.survey = case.survey.subset([0])
        return case.gathers(case.args[0][:1], case.args[1]).numpy()

    assert difference(run(threads), run(1)) < 1e2 * np.finfo(np.float64).eps  # sums over the taps of a receiver alone differ


@pytest.mark.parametrize("storage", [pde.EverySteps(), pde.Thinned(every=3), pde.Checkpoints(bytes=200_000)], ids=repr)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_on_every_run(storage, threads):
    first, second = (
        Case((60, 50), 4, pde.CPML(width=5), dtype=np.float32, storage=storage, threads=threads).with_gradients() for _ in range(2)
    )
    assert np.array_equal(first[0], second[0])
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.parametrize(("equation", "field"), [(pde.Acoustic(), "p"), (PressureVelocity3D(), "vy")], ids=["acoustic", "flow"])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_of_steps_in_blocks_of_planes_and_rows_change_nothing(equation, field, threads, monkeypatch):
    # High enough for tiles of two to four steps, and for three blocks of rows, of which the first and the last hold slabs where they must.
    case = Case((80, 75, 20), 4, pde.CPML(width=3), equation=equation, fields=(field, field), steps=13, threads=threads)
    case.survey = case.survey.subset([0])
    case.args = (case.args[0][:1], *case.args[1:])
    tilings, tiling = [], runs._tiling

    def noted(*args):
        tilings.append(tiling(*args))
        return tilings[-1]

    monkeypatch.setattr(runs, "_tiling", noted)
    out, gradients, weights = case.with_gradients()
    assert tilings[0][0] > 1 and case.solver.size[1] > 2 * tilings[0][2]
    eps = np.finfo(np.float64).eps
    for chosen in ((1, 1000, 1000), (3, 2, 3)):  # whole sweeps; blocks thinner than a slab
        monkeypatch.setattr(runs, "_tiling", lambda *args, chosen=chosen: chosen)
        plain, plain_gradients, _ = case.with_gradients(weights)
        assert difference(out, plain) < 1e2 * eps  # sums over the taps of a receiver alone differ
        assert all(difference(a, b) < 1e3 * eps for a, b in zip(gradients, plain_gradients, strict=True))


def test_a_slab_runs_apart_only_where_nothing_crosses():
    def term(array, axis):
        return Term(1.0, (), array, Stencil.of([(tuple(int(k == axis) for k in range(2)), 1.0)]))

    def count(first, second, target="out"):
        update, use = Assign("memory", (first,), 1), Assign(target, (second,))
        return [len(before) for before, _ in sweeps(Program(2, (update, use), (), memory={"memory": 1}))]

    assert count(term("field", 1), term("memory", 1)) == [1]
    assert count(term("field", 1), term("memory", 0)) == [0, 0]  # across the slab's axis: neighbours must be there first
    assert count(term("field", 1), term("memory", 1), target="field") == [0, 0]  # the sweep writes what memory reads beside it


def test_many_shots_give_what_each_alone_gives():
    case = Case(PLANE, 4, pde.CPML(width=5))
    together = case.gathers(*case.args).numpy()
    for shot in (0, 1):
        alone = case.solver.solve(case.survey.subset([shot]), speed=case.args[1]).numpy()[0]
        # A shot alone has both threads, beside another one each: the order of sums over a receiver's taps differs.
        assert np.abs(alone - together[shot]).max() < 1e2 * np.finfo(np.float64).eps * np.abs(alone).max()


@pytest.mark.parametrize("chunk", [1.0, 1e4])
def test_chunks_of_steps_change_nothing(chunk, monkeypatch):
    case = Case(PLANE, 4, pde.CPML(width=5), steps=50)
    out, gradients, weights = case.with_gradients()
    monkeypatch.setattr("hyperion.pde.run.CHUNK_CELLS", chunk)
    again, again_gradients, _ = case.with_gradients(weights)
    assert np.array_equal(out, again)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, again_gradients, strict=True))


def test_a_grid_too_narrow_for_its_layer_is_refused_with_a_width_that_works():
    from hyperion.errors import BoundaryError

    for order, dtype in ((8, np.float32), (8, np.float64), (12, np.float32)):
        with pytest.raises(BoundaryError, match=r"5x5 nodes: too narrow .* layer of 10 cells .* use at least (\d+) nodes") as caught:
            check((5, 5), order, pde.CPML(width=10), dtype)
        least = int(str(caught.value).split("at least ")[1].split()[0])
        check((least, least), order, pde.CPML(width=10), dtype)
