"""Everything that is refused at the door: each message names the argument, the value, the rule and the way out."""

import warnings

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import (
    BoundaryError,
    CompilerError,
    DeviceError,
    DtypeError,
    HyperionError,
    InputError,
    SamplingWarning,
    ShapeError,
    StabilityError,
)

SHAPE = (30, 36)
GRID = pde.Grid(SHAPE, 10.0)
SPEED = np.full(SHAPE, 2000.0)
WAVELET = pde.ricker(12.0, duration=0.25, step=1e-3)
SURVEY = pde.Survey(np.full((2, 1, 2), 100.0), np.full((2, 3, 2), 200.0), WAVELET)


def solver(**options):
    return pde.Solver(pde.Acoustic(), options.pop("grid", GRID), boundary=options.pop("boundary", pde.CPML(width=5)), **options)


def solve(survey=SURVEY, *, options=None, **parameters):
    return solver(**(options or {})).solve(survey, **(parameters or {"speed": SPEED}))


def with_value(value, at=(7, 9)):
    speed = SPEED.copy()
    speed[at] = value
    return speed


def moved(sources=None, receivers=None):
    return pde.Survey(SURVEY.sources if sources is None else sources, SURVEY.receivers if receivers is None else receivers, WAVELET)


# (what is done, error, parts of its message)
REFUSED = {
    # the model
    "NaN speed": (lambda: solve(speed=with_value(np.nan)), InputError, ["solve(speed)", "nan", "node (7, 9)", "must be finite", "m/s"]),
    "infinite speed": (lambda: solve(speed=with_value(np.inf)), InputError, ["solve(speed)", "inf", "node (7, 9)", "must be finite"]),
    "zero speed": (lambda: solve(speed=with_value(0.0)), InputError, ["solve(speed)", "0 m/s", "node (7, 9)", "must be positive"]),
    "negative speed": (
        lambda: solve(speed=with_value(-1500.0)),
        InputError,
        ["solve(speed)", "-1500 m/s", "node (7, 9)", "must be positive"],
    ),
    "shape of the speed": (lambda: solve(speed=np.ones((30, 35))), ShapeError, ["speed", "(30, 35)", "(30, 36)", "must agree"]),
    "a number as speed": (lambda: solve(speed=2000.0), ShapeError, ["speed", "()", "(30, 36)"]),
    "integer speed": (lambda: solve(speed=SPEED.astype(int)), DtypeError, ["speed", "int64", "float32 or float64", "astype"]),
    "half precision": (lambda: solve(speed=SPEED.astype(np.float16)), DtypeError, ["speed", "float16", "float32 or float64"]),
    "text as speed": (lambda: solve(speed="fast"), DtypeError, ["str", "must be a number, an array"]),
    "unknown parameter": (lambda: solve(speed=SPEED, sped=SPEED), InputError, ["sped", "no such parameter", "did you mean 'speed'"]),
    "missing parameter": (lambda: solver().solve(SURVEY), InputError, ["Acoustic needs speed=", "m/s", "(30, 36)"]),
    "speed in millimetres": (lambda: solve(speed=SPEED * 1e9), StabilityError, ["sub-steps", "2e+12 m/s", "10.0", "model in m/s"]),
    "faster than max_speed": (
        lambda: solve(options={"stepping": pde.Leapfrog(1900.0)}),
        StabilityError,
        ["2000 m/s", "max_speed=1900", "raise max_speed"],
    ),
    # the step
    "unstable step": (
        lambda: solve(options={"stepping": pde.Leapfrog(20000.0, substeps=2)}),
        StabilityError,
        ["step=0.0005 s", "2 a sample", "exceeds the stable", "20000 m/s", "spacing=(10.0, 10.0) m", "use substeps>=4"],
    ),
    # the experiment
    "source outside": (
        lambda: solve(moved(sources=[[[100.0, 100.0]], [[100.0, 351.0]]])),
        BoundaryError,
        ["sources[1, 0]", "(100, 351) m", "outside the grid", "0..290 x 0..350 m", "move it or enlarge"],
    ),
    "receiver outside": (
        lambda: solve(moved(receivers=np.full((2, 3, 2), -1.0))),
        BoundaryError,
        ["receivers[0, 0]", "(-1, -1) m", "outside the grid"],
    ),
    "three coordinates": (
        lambda: solve(moved(np.zeros((2, 1, 3)), np.zeros((2, 1, 3)))),
        ShapeError,
        ["sources have 3 coordinates", "grid has 2 axes"],
    ),
    "shots disagree": (
        lambda: pde.Survey(np.zeros((2, 1, 2)), np.zeros((3, 1, 2)), WAVELET),
        ShapeError,
        ["(2, 1, 2)", "(3, 1, 2)", "must agree", "broadcast_to"],
    ),
    "no shot axis": (
        lambda: pde.Survey(np.zeros((1, 2)), np.zeros((3, 1, 2)), WAVELET),
        ShapeError,
        ["sources of shape (1, 2)", "(shots, points per shot, ndim)"],
    ),
    "no shots": (lambda: pde.Survey(np.zeros((0, 1, 2)), np.zeros((0, 1, 2)), WAVELET), ShapeError, ["(0, 1, 2)", "give (shots"]),
    "ragged positions": (
        lambda: pde.Survey([[[0.0, 0.0]], [[0.0]]], np.zeros((2, 1, 2)), WAVELET),
        ShapeError,
        ["Survey(sources)", "not an array of numbers"],
    ),
    "NaN position": (
        lambda: pde.Survey(np.full((1, 1, 2), np.nan), np.zeros((1, 1, 2)), WAVELET),
        InputError,
        ["Survey(sources)", "finite", "nan"],
    ),
    "an array as wavelet": (
        lambda: pde.Survey(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), np.ones(9)),
        InputError,
        ["wavelet=ndarray", "pde.Wavelet(samples, step)"],
    ),
    "wavelets disagree": (
        lambda: SURVEY.with_wavelet(pde.Wavelet(np.ones((3, 1, 9)), 1e-3)),
        ShapeError,
        ["(3, 1, 9)", "(2, 1, 2)", "one wavelet per shot"],
    ),
    "one sample": (lambda: pde.Wavelet(np.ones(1), 1e-3), ShapeError, ["shape (1,)", "(steps,)", "at least 2"]),
    "two axes": (lambda: pde.Wavelet(np.ones((2, 9)), 1e-3), ShapeError, ["shape (2, 9)", "(shots, sources per shot, steps)"]),
    "complex wavelet": (lambda: pde.Wavelet(np.ones(9, complex), 1e-3), DtypeError, ["complex128", "real numbers"]),
    "no step": (lambda: pde.Wavelet(np.ones(9), 0.0), InputError, ["step=0.0", "positive"]),
    "step as text": (lambda: pde.Wavelet(np.ones(9), "1 ms"), InputError, ["step='1 ms'", "positive"]),
    "undersampled Ricker": (
        lambda: pde.ricker(300.0, 1.0, 2e-3),
        InputError,
        ["peak_frequency=300 Hz", "step=0.002 s", "up to 250 Hz", "at most"],
    ),
    "negative frequency": (lambda: pde.ricker(-5.0, 1.0, 2e-3), InputError, ["peak_frequency=-5.0", "positive"]),
    "short Ricker": (lambda: pde.ricker(5.0, 1e-3, 1e-3), InputError, ["duration=0.001 s", "1 samples", "at least two"]),
    "NaN delay": (lambda: pde.ricker(5.0, 1.0, 1e-3, delay=np.nan), InputError, ["delay=nan", "time of the peak"]),
    "unknown source field": (
        lambda: solve(pde.Survey(SURVEY.sources, SURVEY.receivers, WAVELET, source_field="q")),
        InputError,
        ["source_field", "'q'", "valid: p"],
    ),
    "a shot too many": (lambda: SURVEY.subset([2]), InputError, ["subset(shots=[2])", "below 2"]),
    "shots as fractions": (lambda: SURVEY.subset([0.5]), InputError, ["subset(shots=[0.5])", "whole number"]),
    "too few bools": (lambda: SURVEY.subset(np.array([True])), InputError, ["subset", "one bool each"]),
    "no survey": (lambda: solve(WAVELET), InputError, ["survey=Wavelet", "pde.Survey"]),
    "progress": (lambda: solver().solve(SURVEY, progress=3, speed=SPEED), InputError, ["progress=3", "function"]),
    "snapshots of two shots": (lambda: next(solver().snapshots(SURVEY, 5, speed=SPEED)), InputError, ["2 shots", "subset"]),
    "snapshots never": (lambda: next(solver().snapshots(SURVEY.subset([0]), 0, speed=SPEED)), InputError, ["every=0", "every >= 1"]),
    # the solver
    "odd order": (lambda: solver(order=7), InputError, ["order=7", "even", "2 to 16"]),
    "order as text": (lambda: solver(order="8"), InputError, ["order='8'", "even"]),
    "order too high": (lambda: solver(order=18), InputError, ["order=18", "2 to 16"]),
    "boundary as text": (lambda: solver(boundary="cpml"), InputError, ["boundary='cpml'", "pde.Boundary", "str"]),
    "a class as boundary": (lambda: solver(boundary=pde.CPML), InputError, ["boundary=", "pde.Boundary"]),
    "a class as equation": (lambda: pde.Solver(pde.Acoustic, GRID), InputError, ["equation=", "pde.Equation"]),
    "shape as grid": (lambda: pde.Solver(pde.Acoustic(), SHAPE), InputError, ["grid=(30, 36)", "pde.Grid"]),
    "step as stepping": (lambda: solver(stepping=1e-3), InputError, ["stepping=0.001", "pde.Stepping", "float"]),
    "storage as text": (lambda: solver(storage="disk"), InputError, ["storage='disk'", "pde.Storage"]),
    "stencil as text": (lambda: solver(stencil="taylor"), InputError, ["stencil='taylor'", "Taylor", "LeastSquares"]),
    "no threads": (lambda: solver(threads=0), InputError, ["threads=0", "at least 1"]),
    "threads as text": (lambda: solver(threads="all"), InputError, ["threads='all'", "whole number"]),
    "narrow periodic grid": (
        lambda: solver(grid=pde.Grid((30, 3), 10.0), boundary=pde.Periodic(), order=8),
        BoundaryError,
        ["order=8", "wider than the periodic grid", "lower order"],
    ),
    "narrow grid": (
        lambda: solver(grid=pde.Grid((30, 5), 10.0)).solve(moved(np.zeros((1, 1, 2)), np.zeros((1, 1, 2))), speed=SPEED[:, :5]),
        BoundaryError,
        ["30x5 nodes", "too narrow", "layer of 5 cells", "use at least"],
    ),
    # values
    "four axes": (lambda: pde.Grid((30, 3, 3, 3), 10.0), ShapeError, ["shape=(30, 3, 3, 3)", "1 to 3 axes", "(nz, nx)"]),
    "a number as shape": (lambda: pde.Grid(30, 10.0), ShapeError, ["shape=30", "1 to 3 axes"]),
    "fractions of nodes": (lambda: pde.Grid((30.5, 20), 10.0), ShapeError, ["shape=(30.5, 20)", "at least 2 nodes"]),
    "spacings disagree": (lambda: pde.Grid((30, 20), (10.0, 10.0, 5.0)), ShapeError, ["shape=(30, 20)", "one spacing per axis"]),
    "negative spacing": (lambda: pde.Grid((30, 20), -10.0), InputError, ["spacing=-10.0", "positive"]),
    "spacing as text": (lambda: pde.Grid((30, 20), "10 m"), InputError, ["spacing='10 m'", "positive"]),
    "negative width": (lambda: pde.CPML(-1), InputError, ["width=-1", "0 or more"]),
    "width as text": (lambda: pde.CPML("wide"), InputError, ["width='wide'", "whole number"]),
    "infinite width": (lambda: pde.CPML(float("inf")), InputError, ["width=inf", "whole number"]),
    "reflection above one": (lambda: pde.CPML(10, reflection=2.0), InputError, ["reflection=2.0", "between 0 and 1"]),
    "frequency": (lambda: pde.CPML(10, frequency=0), InputError, ["frequency=0", "positive"]),
    "max_speed": (lambda: pde.Leapfrog(max_speed=-1.0), InputError, ["max_speed=-1.0", "positive"]),
    "substeps": (lambda: pde.Leapfrog(substeps=1.5), InputError, ["substeps=1.5", "whole number"]),
    "every": (lambda: pde.Thinned(every=0), InputError, ["every=0", "at least 1"]),
    "bits": (lambda: pde.Thinned(bits=12), InputError, ["bits=12", "32, 16 and 8"]),
    "bytes": (lambda: pde.Checkpoints(bytes=0), InputError, ["bytes=0", "positive"]),
    "infinite bytes": (lambda: pde.Checkpoints(bytes=float("inf")), InputError, ["bytes=inf", "positive"]),
    "two points": (lambda: pde.LeastSquares(2.0), InputError, ["points=2.0", "more than two"]),
    "unknown device": (lambda: pde.Grid(SHAPE, 10.0, device="tpu"), DeviceError, ["tpu", "cpu"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    act, kind, parts = REFUSED[name]
    with pytest.raises(HyperionError) as caught:
        act()
    assert type(caught.value) is kind
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"device='cuda:0' .*CuPy.* gpu12 or gpu13, or use device=\"cpu\""):
        pde.Grid(SHAPE, 10.0, device="cuda:0")


def test_a_wrong_number_of_threads_in_the_environment(monkeypatch):
    monkeypatch.setenv("HYPERION_THREADS", "many")
    with pytest.raises(InputError, match=r"HYPERION_THREADS='many'.*whole number"):
        solver()


def test_an_unknown_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERION_CC", "no-such-compiler-9 -O1")
    monkeypatch.setenv("HYPERION_CACHE", str(tmp_path))
    with pytest.raises(CompilerError, match="HYPERION_CC or CC='no-such-compiler-9 -O1': no such program; name a C compiler"):
        solve()


# Warnings


def test_coarse_sampling_is_a_warning_with_the_figure():
    survey = SURVEY.with_wavelet(pde.ricker(50.0, duration=0.1, step=1e-3))
    with pytest.warns(
        SamplingWarning,
        match=r"1\.\d points per shortest wavelength \(2000 m/s at 1\d\d Hz, spacing 10 m\); "
        r"order 8 needs 3\.\d.*: expect dispersion; use a finer grid, a higher order",
    ):
        solve(survey)


def test_the_points_needed_fall_with_the_order():
    needed = [pde.stepping.points_needed(order, pde.Taylor()) for order in range(2, 17, 2)]
    assert needed == sorted(needed, reverse=True) and 17 < needed[0] < 19 and 2.2 < needed[-1] < 3.2
    assert pde.stepping.points_needed(8, pde.LeastSquares(3.0)) < pde.stepping.points_needed(8, pde.Taylor())


def test_planning_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver().plan(SURVEY.with_wavelet(pde.ricker(50.0, duration=0.1, step=1e-3)), speed=SPEED)


# What is allowed although it looks odd


@pytest.mark.parametrize(
    "make",
    [
        lambda: solver(order=8.0, threads=2.0),
        lambda: solver(order=np.int64(8)),
        lambda: solver(grid=pde.Grid(np.array(SHAPE), np.float32(10.0))),
        lambda: solver(boundary=pde.CPML(np.int64(5))),
        lambda: solver(stepping=pde.Leapfrog(np.float32(2000.0), substeps=np.int64(1))),
    ],
    ids=str,
)
def test_whole_numbers_of_any_type(make):
    assert np.array_equal(make().solve(SURVEY, speed=SPEED).numpy(), solve().numpy())


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # an impulse
def test_lists_and_integers_as_wavelets():
    samples = np.zeros(100, int)
    samples[3] = 1
    expected = solve(SURVEY.with_wavelet(pde.Wavelet(samples.astype(float), 1e-3))).numpy()
    assert np.array_equal(solve(SURVEY.with_wavelet(pde.Wavelet(samples, 1e-3))).numpy(), expected)
    assert np.array_equal(solve(SURVEY.with_wavelet(pde.Wavelet(samples.tolist(), 1e-3))).numpy(), expected)


def test_positions_on_the_edges():
    corners = np.array([[[0.0, 0.0]], [list(GRID.extent)]])
    assert np.abs(solve(pde.Survey(corners, corners, WAVELET)).numpy()).max() > 0.0
