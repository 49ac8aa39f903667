"""Cells at rest are left alone (`cpu/kernels/motion.h`): results have the same bits, adjoint runs stay where waves were."""

from typing import ClassVar

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.cpu.pool import POOL
from hyperion.pde import native
from hyperion.pde.run import Run
from tests.pde.cases import difference

pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
LAYER = pde.CPML(width=8)


def experiment(shape, equation, boundary, storage, dtype=np.float32, threads=2, steps=60, stepping=None):
    """Return (function of parameters -> gathers, parameters): a source near a corner, and receivers beyond what its waves reach."""
    solver = pde.Solver(equation, pde.Grid(shape, 10.0), order=4, boundary=boundary, storage=storage, threads=threads,
                        stepping=stepping or pde.Leapfrog())
    random = np.random.default_rng(3)
    scale = {"speed": 2000.0, "p_speed": 2000.0, "s_speed": 1100.0, "density": 1500.0}
    parameters = {n: (scale[n] * (1.0 + 0.2 * random.random(shape))).astype(dtype) for n in equation.parameters}
    wavelet = pde.Wavelet(pde.ricker(12.0, steps * 1e-3, 1e-3).samples.astype(dtype), 1e-3)
    ndim = len(shape)
    source = np.array([[[110.0] * ndim]])
    receivers = np.array([[[70.0] * ndim, [150.0] + [10.0 * (n - 9) for n in shape[1:]], [10.0 * (n - 5) for n in shape]]])
    survey = pde.Survey(source, receivers, wavelet)

    def gathers(**given):
        return solver.solve(survey, **given)

    return gathers, parameters


def everything(gathers, parameters):
    """Return gathers and gradients by the parameters."""
    _, gradients = hp.value_and_grad(lambda p: hp.sum(gathers(**p) ** 2))(parameters)
    return [gathers(**parameters).numpy(), *(g.numpy() for g in gradients.values())]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """What is read before it is written is not a number."""
    take = POOL.take

    def poison(size):
        buffer = take(size)
        buffer.bytes[:] = 0xFF
        return buffer

    monkeypatch.setattr(POOL, "take", poison)


@pytest.fixture
def restless(monkeypatch):
    """Return a call after which every cell is swept at every step."""
    def disable():
        made = Run.__init__

        def init(self, *args):
            made(self, *args)
            for c in self.contexts:
                c.resting = False

        monkeypatch.setattr(Run, "__init__", init)

    return disable


class Spreading(pde.Equation):
    """u_t = spread laplace(u), where spread may be zero."""

    fields: ClassVar[dict[str, pde.Field]] = {"u": pde.Field("1")}
    parameters: ClassVar[dict[str, str]] = {"spread": "m^2/s"}
    positive = ()

    def rate(self, u, spread):
        return spread * pde.laplace(u)


PLANE, VOLUME = (150, 130), (60, 56, 70)
SIDES = pde.Sides(LAYER, top=pde.FreeSurface(), left=pde.Rigid())
CASES = {
    "layer": (PLANE, pde.Acoustic(), LAYER, pde.EverySteps(), {}),
    "one thread": (PLANE, pde.Acoustic(), LAYER, pde.Thinned(every=3), {"threads": 1}),
    "sides": (PLANE, pde.Acoustic(), SIDES, pde.Thinned(every=2, bits=8), {}),
    # Two threads add up what a receiver of pressure hears from planes of both, so shares of other sizes round differently.
    "elastic": (PLANE, pde.Elastic(), LAYER, pde.Thinned(every=2, bits=16), {"threads": 1}),
    "checkpoints": (PLANE, pde.Elastic(), SIDES, pde.Checkpoints(bytes=5_000_000), {"threads": 1}),
    "ring": (PLANE, pde.Acoustic(), LAYER, pde.BoundaryRing(), {"dtype": np.float64}),
    "elastic ring": (PLANE, pde.Elastic(), LAYER, pde.BoundaryRing(), {"dtype": np.float64, "threads": 1}),
    "stages": (PLANE, pde.Acoustic(), LAYER, pde.EverySteps(), {"stepping": pde.RungeKutta4(2600.0)}),
    "volume": (VOLUME, pde.Acoustic(), LAYER, pde.Thinned(every=2), {"steps": 30}),
    "volume ring": (VOLUME, pde.Acoustic(), LAYER, pde.BoundaryRing(), {"steps": 30, "dtype": np.float64}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_if_nothing_rested(name, restless):
    shape, equation, boundary, storage, options = CASES[name]
    made = experiment(shape, equation, boundary, storage=storage, **options)
    gathers, *gradients = everything(*made)
    restless()
    expected, *expected_gradients = everything(*made)
    assert np.array_equal(gathers, expected) and gathers.any()
    # An adjoint run that stays where waves were differs only where these are below the smallest number. A ring is taken back with
    # rounding; what is at rest has none.
    bound = 1e-11 if isinstance(storage, pde.BoundaryRing) else 1e-6
    assert all(difference(g, e) < bound for g, e in zip(gradients, expected_gradients, strict=True))


def test_packed_histories_take_no_more_memory_than_moves(monkeypatch):
    tapes, forward = [], native.forward
    monkeypatch.setattr(native, "forward", lambda e, tape=None: (tapes.append(tape), forward(e, tape))[1])
    gathers, parameters = experiment(PLANE, pde.Acoustic(), LAYER, pde.Thinned(every=2))
    hp.grad(lambda c: hp.sum(gathers(speed=c) ** 2))(parameters["speed"])
    (history,) = tapes[0].histories
    volumes = np.prod(history.boxes[:, 3:5] - history.boxes[:, :2], axis=1)
    kept = history.counts > 0.0
    assert np.array_equal(np.diff(history.place) > 0, kept)
    assert 2.0 * volumes[kept].sum() < history.place[-1] < 2.5 * volumes[kept].sum() < 0.6 * kept.sum() * history.slot_bytes


def test_rows_are_swept_where_waves_are(monkeypatch):
    tapes, forward = [], native.forward
    monkeypatch.setattr(native, "forward", lambda e, tape=None: (tapes.append(tape), forward(e, tape))[1])
    gathers, parameters = experiment(VOLUME, pde.Acoustic(), LAYER, pde.EverySteps(), steps=24, threads=1)
    hp.grad(lambda c: hp.sum(gathers(speed=c) ** 2))(parameters["speed"])
    (history,) = tapes[0].histories
    widths = 16.0 * np.maximum(history.swept[:, 0, 1] - (65535.0 - history.swept[:, 0, 0]), 0.0)
    boxes = np.prod(history.boxes[:, 3:] - history.boxes[:, :3], axis=1)
    assert 0 < (widths > 0.0)[0].sum() <= 81               # rows within reach of the source
    assert 0.0 < widths[12:].sum() < 0.8 * boxes[12:].sum()


@pytest.mark.parametrize("shape", [PLANE, VOLUME])
def test_fields_at_the_start_are_looked_through(shape, restless):
    """A field at time zero, of two patches far from each other, moves as if nothing rested; its gradient too."""
    solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, 10.0), order=4, boundary=LAYER, storage=pde.EverySteps(), threads=2)
    start = np.zeros(shape, np.float32)
    start[5:8, 7:9, ...] = start[-6:, -20:-18, ...] = 1.0
    speed = np.full(shape, 2000.0, np.float32)

    def found():
        run = lambda c: solver.evolve({"p": start}, 20e-3, speed=c)["p"]  # noqa: E731
        return run(speed).numpy(), hp.grad(lambda c: hp.sum(run(c) ** 2))(speed).numpy()

    field, gradient = found()
    restless()
    expected, expected_gradient = found()
    assert np.array_equal(field, expected) and field.any()
    assert difference(gradient, expected_gradient) < 1e-6


def test_a_row_of_a_million_cells(restless):
    nodes = 1_100_000
    solver = pde.Solver(pde.Acoustic(), pde.Grid((nodes,), 10.0), order=4, boundary=LAYER, threads=2)
    near = 10.0 * (nodes - 1000)
    survey = pde.Survey([[[near]]], [[[near + 50.0]]], pde.ricker(12.0, 20e-3, 1e-3))
    speed = np.full(nodes, 2000.0, np.float32)
    found = solver.solve(survey, speed=speed).numpy()
    restless()
    assert found.any() and np.array_equal(found, solver.solve(survey, speed=speed).numpy())


def test_an_adjoint_run_that_stays_near_is_exact():
    gathers, parameters = experiment(PLANE, pde.Acoustic(), LAYER, pde.EverySteps(), np.float64)
    near = hp.grad(lambda c: hp.sum(gathers(speed=c) ** 2))(parameters["speed"]).numpy()
    wavelet = pde.ricker(12.0, 0.06, 1e-3)
    survey = lambda w: pde.Survey(np.array([[[110.0, 110.0]]]), np.array([[[70.0, 70.0], [150.0, 1210.0], [1450.0, 1250.0]]]),  # noqa: E731
                                  pde.Wavelet(w, 1e-3))
    solver = pde.Solver(pde.Acoustic(), pde.Grid(PLANE, 10.0), order=4, boundary=LAYER, storage=pde.EverySteps(), threads=2)
    both = hp.grad(lambda x: hp.sum(solver.solve(survey(x["w"]), speed=x["c"]) ** 2))(
        {"c": parameters["speed"], "w": wavelet.samples.astype(np.float64)})
    assert difference(near, both["c"].numpy()) < 1e-13


def test_behind_a_wall_that_lets_nothing_through_the_adjoint_run_goes_everywhere(restless):
    # A row in which nothing spreads: behind it all is at rest, but would not be if something did.
    solver = pde.Solver(Spreading(), pde.Grid(PLANE, 10.0), order=2, boundary=pde.CPML(width=0), storage=pde.EverySteps(), threads=2,
                        stepping=pde.RungeKutta4())
    spread = np.full(PLANE, 1e4)
    spread[70] = 0.0
    survey = pde.Survey(np.array([[[600.0, 650.0]]]), np.array([[[1400.0, 650.0]]]), pde.ricker(12.0, 0.06, 1e-3))
    slope = hp.grad(lambda k: hp.sum(solver.solve(survey, spread=k)))
    near = slope(spread).numpy()
    restless()
    assert np.array_equal(near, slope(spread).numpy())
    assert near[70].any()
