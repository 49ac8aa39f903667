"""Simulations on a GPU against the C kernels on the CPU: gathers and gradients of the registry's equations, storages and boundaries.

Without a GPU the same kernels run in the emulator, for a few of them.
"""

import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import jvp, vjp
from hyperion.codegen import CudaKernel, sweeps
from hyperion.errors import InputError, NonFiniteError, OutOfMemoryError
from hyperion.gpu import device
from hyperion.pde import device_run, device_tiles, storage
from hyperion.pde.simulation import Call
from tests.gpu import emulator, standin
from tests.pde.cases import Case, difference
from tests.pde.registry import ENTRIES, Combination, _pairs, sampled

pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
EPS = {np.float64: np.finfo(np.float64).eps, np.float32: float(np.finfo(np.float32).eps)}
PLACES = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture
def cupy(request, monkeypatch, quick_to_compile):
    """CuPy, or what passes for it in the emulator."""
    monkeypatch.setattr(device_run, "GRAPH", 6)            # of fewer steps than these experiments have
    return standin.at(request.param, monkeypatch)


on_both = pytest.mark.parametrize("cupy", PLACES, indirect=True)
on_gpu = pytest.mark.parametrize("cupy", PLACES[1:], indirect=True)


def there(case: Case) -> Case:
    """Return an experiment with its grid and its arrays on the GPU."""
    case.solver.grid.device = "cuda:0"
    case.args = tuple(hp.asarray(x, device="cuda:0") for x in case.args)
    return case


def with_gradients(case: Case, weights: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return gathers and the cotangents of `args` of an experiment on the GPU."""
    out, pull = vjp(case.gathers, *case.args)
    assert out.device == "cuda:0"
    return device.to_numpy(out.data), [device.to_numpy(g.data) for g in pull(hp.asarray(weights, device="cuda:0"))]


def agree(combination: Combination, dtype: Any) -> None:
    """Gathers and gradients equal those of the CPU: 1e3 eps bounds rounding, as between kernels and interpreter."""
    expected, expected_gradients, weights = combination.case(dtype).with_gradients()
    out, gradients = with_gradients(there(combination.case(dtype)), weights)
    if not expected.any():
        assert not out.any()
        return
    assert difference(out, expected) < 1e3 * EPS[dtype]
    for got, want in zip(gradients, expected_gradients, strict=True):
        assert difference(got, want) < 1e3 * EPS[dtype] if want.any() else not got.any()


def named(name: str, boundary: str, order: int, storage: str) -> Combination:
    entry = next(e for e in ENTRIES if e.name == name)
    return Combination(entry, boundary, order, storage, 1, *_pairs(entry)[0])


FEW = [("acoustic", "layer", 8, "every"), ("pair", "strip", 4, "thinned"), ("acoustic-3d", "free", 2, "checkpoints"),
       ("burgers", "periodic", 2, "every")]


@on_both
@pytest.mark.parametrize("which", FEW, ids=lambda which: "-".join(map(str, which)))
def test_a_few_experiments_give_what_the_cpu_gives(cupy, which):
    agree(named(*which), np.float64)


@on_gpu
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("combination", sampled(), ids=str)
def test_every_equation_gives_what_the_cpu_gives(cupy, combination, dtype):
    agree(combination, dtype)


@on_gpu
@pytest.mark.parametrize("combination", sampled(1, seed=7), ids=str)
def test_the_adjoint_is_exact_and_tangents_are_slopes(cupy, combination):
    case = combination.case()
    directions = case.directions()
    weights = case.random.standard_normal(case.gathers(*case.args).shape)
    case = there(case)
    _, gradients = with_gradients(case, weights)
    moved = tuple(hp.asarray(d, device="cuda:0") for d in directions)
    born = device.to_numpy(jvp(case.gathers, case.args, moved)[1].data)
    forward, reverse = np.vdot(born, weights), sum(np.vdot(g, u) for g, u in zip(gradients, directions, strict=True))
    assert abs(forward - reverse) <= 1e-12 * np.linalg.norm(born) * np.linalg.norm(weights)


@on_both
@pytest.mark.parametrize("bits", [16, 8])
def test_packed_histories_are_those_of_the_cpu(cupy, bits, monkeypatch):
    monkeypatch.setattr(storage, "TAIL", 0)            # on a GPU histories do not go over to every step at the end
    def case() -> Case:
        return Case((31, 45), 2, pde.CPML(width=5), dtype=np.float32, steps=20, storage=pde.Thinned(every=3, bits=bits))

    expected, expected_gradients, weights = case().with_gradients()
    out, gradients = with_gradients(there(case()), weights)
    assert difference(out, expected) < 1e3 * EPS[np.float32]
    # The same rounding but for numbers that lie between two whole ones, where the last bit of a field decides.
    assert difference(gradients[1], expected_gradients[1]) < 0.02 / 2 ** (bits - 8)


@on_both
def test_thinning_knows_that_histories_on_a_gpu_end_in_full_swing(cupy):
    def case(keep: pde.Storage) -> Case:
        out = Case((25, 27), 2, pde.CPML(width=0), steps=150, storage=keep)
        step = out.survey.wavelet.step
        samples = pde.ricker(10.0, 150 * step, step, delay=130 * step).samples     # cut off soon after its peak
        out.args = (np.broadcast_to(samples, (2, 3, 150)).astype(np.float64), *out.args[1:])
        out.survey = out.survey.with_wavelet(pde.Wavelet(out.args[0], step))
        return out

    exact, thinned = case(pde.EverySteps()), case(pde.Thinned(bits=32))
    weights = exact.gathers(*exact.args).numpy()
    expected, found = (with_gradients(there(one), weights)[1][1] for one in (exact, thinned))
    assert difference(found, expected) < 1e-3          # what Thinned promises where gathers are cut off


@on_both
def test_histories_go_to_a_file_a_few_slots_at_a_time(cupy, monkeypatch):
    monkeypatch.setattr(device_run, "HELD_BYTES", 1e5)
    moved = []
    monkeypatch.setattr(device_run.DeviceHistory, "move", lambda self, *steps, out, move=device_run.DeviceHistory.move: (
        moved.append((*steps, out)), move(self, *steps, out=out)))
    agree(named("acoustic", "none", 2, "disk"), np.float64)
    assert sum(out for *_, out in moved) == sum(not out for *_, out in moved) > 1


@on_both
def test_what_becomes_infinite_is_said_and_rings_are_refused(cupy):
    case = there(named("cubic", "none", 2, "every").case())
    case.args = (case.args[0] * 1e4, *case.args[1:])
    with pytest.raises(NonFiniteError, match="forward wavefield of shot 0"):
        case.gathers(*case.args)
    ring = there(Case((31, 37), 2, pde.CPML(width=0), steps=20, storage=pde.BoundaryRing()))
    with pytest.raises(InputError, match="it runs on a GPU, where rings are not kept"):
        vjp(ring.gathers, *ring.args)


FULL = "Out of memory allocating 4,294,967,296 bytes (allocated so far: 1,073,741,824 bytes)."        # CuPy's words


@on_both
@pytest.mark.parametrize("when", ["arrays of the way back", "histories", "a graph"])
def test_running_out_of_memory_midway_leaves_all_usable(cupy, monkeypatch, when):
    """The error says what is full; nothing holds on to what the run had taken, or goes on recording; the same call then gives the same."""
    case = there(Case((21, 33), 2, pde.CPML(width=4), dtype=np.float32, steps=16))
    weights = np.ones((2, 4, 16), np.float32)
    before = with_gradients(case, weights)
    taken: list[Any] = []

    def full(*arguments: Any, **options: Any) -> Any:
        raise MemoryError(FULL)

    def second(self: Any, *arguments: Any, made: Any = device_run.DeviceArena.__init__) -> None:
        kinds.append(arguments)
        if len(kinds) > 2:                             # after those of parameters and of the forward run
            full()
        made(self, *arguments)
        taken.append(weakref.ref(self))

    kinds: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(device_run.DeviceArena, "__init__", second)
        if when == "histories":
            patched.setattr(device_run.DeviceRun, "new_histories", full)
        elif when == "a graph":
            patched.setattr(device_run.DeviceRun, "_record", full)
        with pytest.raises(OutOfMemoryError, match=r"cuda:0 has no memory for 4.0 GiB more") as caught:
            with_gradients(case, weights)
        assert "storage=Checkpoints" in str(caught.value)
    del caught
    gc.collect()
    assert taken and all(arena() is None for arena in taken)
    after = with_gradients(case, weights)
    np.testing.assert_array_equal(after[0], before[0])
    for one, other in zip(after[1], before[1], strict=True):
        np.testing.assert_array_equal(one, other)


RESTING = {
    "packed": lambda: Case((70, 190), 4, pde.CPML(width=6), dtype=np.float32, steps=14, storage=pde.Thinned(every=2, bits=16)),
    "states and sweeps": lambda: Case((70, 190), 2, pde.CPML(width=6), equation=pde.Elastic(), speed=4000.0, steps=16,
                                      storage=pde.Checkpoints(bytes=6_000_000)),
    "a file": lambda: Case((70, 190), 2, pde.Sides(pde.CPML(width=5), top=pde.FreeSurface()), steps=15, storage=pde.OnDisk()),
    "planes": lambda: Case((20, 26, 110), 2, pde.CPML(width=3), steps=10),
}


@pytest.mark.parametrize("made", [pytest.param(made, id=name, marks=pytest.mark.full if name in ("planes", "states and sweeps") else ())
                                  for name, made in RESTING.items()])
@on_both
def test_leaving_out_what_is_at_rest_changes_nothing(cupy, made, monkeypatch):
    def case() -> Case:
        out = made()
        where = out.solver.grid.extent * np.array([0.3, 0.4, 0.8][-len(out.solver.grid.shape):])
        old = out.survey
        out.survey = pde.Survey(old.sources * 0.05 + where, old.receivers, old.wavelet)               # sources together, far from the rest
        return out

    monkeypatch.setattr(device_run, "HELD_BYTES", 1e6)
    monkeypatch.setattr(device_tiles, "PLANES", {2: (1, 1), 3: (4, 4)})           # small tiles, so that there are many
    moved = []
    monkeypatch.setattr(device_run.DeviceRun, "advance", lambda self, *steps, advance=device_run.DeviceRun.advance: (
        advance(self, *steps), moved.append(float((device.to_numpy(self._moving.boxes) != 0).mean()))))
    weights, found = case().with_gradients()[2], []
    for boxes in ((3, 3, 5), (20, 20, 20)):            # the whole grid is one box: all of it moves
        monkeypatch.setattr(device_tiles, "BOXES", {2: (0, *boxes[1:]), 3: boxes})
        found.append(with_gradients(there(case()), weights))
    some, every = moved[:len(moved) // 2], moved[len(moved) // 2:]
    assert 0.0 < min(some) and sum(part < 1.0 for part in some) > 1 and set(every) == {1.0}
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cupy", PLACES[:1], indirect=True)
@pytest.mark.parametrize("which", FEW, ids=lambda which: "-".join(map(str, which)))
def test_blocks_may_run_in_any_order(cupy, which, monkeypatch):
    combination, found = named(*which), []
    weights = np.random.default_rng(0).standard_normal(combination.case().gathers(*combination.case().args).shape)
    monkeypatch.setattr(device_tiles, "PLANES", {2: (1, 1), 3: (4, 4)})           # small tiles, so that there are many
    for backwards in (False, True):
        monkeypatch.setattr(emulator, "BACKWARDS", backwards)
        found.append(with_gradients(there(combination.case()), weights))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_no_tile_reads_what_others_write_in_the_same_sweep(entry):
    """Tiles of a launch run in any order and at once. Of what a sweep writes, a tile reads around its cells only memory variables, along
    their axis: it has made them itself in an earlier phase, as it has the whole depth of their slab."""
    sent, heard = _pairs(entry)[0]
    for boundary, level in itertools.product(entry.boundaries, (0, 1)):
        engine = Combination(entry, boundary, 2, "every", 1, sent, heard).case().solver.engine(level, np.dtype(np.float64), sent)
        for program, histories in ((engine.program, engine.histories), (engine.transposed.program, [])):
            for s, (before, main) in enumerate(sweeps(program)):
                phases = [[a.terms for a in phase] for phase in (*before, main)]
                phases[-1] += [terms for stage, _, terms in histories if stage == s]
                made = {a.target: i for i, phase in enumerate((*before, main)) for a in phase}
                for i, read in ((i, read) for i, phase in enumerate(phases) for terms in phase for t in terms for read in t.reads):
                    array, along = read[0], {axis for shift, _ in read[1].taps for axis, n in enumerate(shift) if n}
                    if along and array in made:
                        assert made[array] < i and along == {program.memory[array]}, (boundary, level, s, array)


def test_tiles_hold_every_cell_of_every_box_once():
    case = Case((150, 170), 4, pde.CPML(width=9), dtype=np.float32)
    call = Call(case.solver, case.survey, {"speed": hp.asarray(case.args[1])}, case.solver.plan(case.survey, speed=case.args[1]), None)
    masks = [frozenset(m) for m in ((), (0,), (1,), (0, 1))]
    count = np.zeros(call.layout.cells, int)
    for chosen in (masks[:1], masks[1:]):
        for tile in device_run.tiles(call.layout, CudaKernel("", (), tuple(chosen))):
            count[tuple(slice(b, e) for b, e in zip(tile["begin"][:2], tile["end"][:2], strict=True))] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("whole", [frozenset(), frozenset((0,)), frozenset((0, 1))], ids=str)
def test_a_cell_is_found_in_its_tile(whole):
    case = Case((150, 170), 4, pde.CPML(width=9), dtype=np.float32)
    call = Call(case.solver, case.survey, {"speed": hp.asarray(case.args[1])}, case.solver.plan(case.survey, speed=case.args[1]), None)
    lay = call.layout
    kernel = CudaKernel("", (), (frozenset((0,)), frozenset((1,)), frozenset((0, 1))), whole)
    cells = np.stack(np.meshgrid(*map(np.arange, lay.cells), indexing="ij"), axis=-1).reshape(-1, 2)
    number, table = device_tiles.tile_of(lay, kernel, cells), device_tiles.tiles(lay, kernel)
    slab = ((cells < lay.low) | (cells >= lay.high)).any(axis=1)
    np.testing.assert_array_equal(number >= 0, slab)
    tile = table[number[slab]]
    assert ((cells[slab] >= tile["begin"][:, :2]) & (cells[slab] < tile["end"][:, :2])).all()
    for axis in whole:
        deep = tile["mask"] >> axis & 1 == 1
        assert (tile["end"][deep, axis] - tile["begin"][deep, axis] >= min(lay.low[axis], lay.cells[axis] - lay.high[axis])).all()
