"""How a solver behaves: plans, sub-steps, progress, interruption, snapshots, NaN, a missing compiler, and what it says about itself."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import NonFiniteError, SpeedWarning, StabilityError
from hyperion.pde import run
from tests.pde.cases import Case, PressureVelocity, counted, difference, interpreter

SHAPE = (40, 46)
SPEED = np.full(SHAPE, 2000.0)
SPEED[20:] = 2400.0


def solver(grid=None, **options):
    return pde.Solver(
        pde.Acoustic(), grid or pde.Grid(SHAPE, 10.0), **({"order": 4, "boundary": pde.CPML(width=5), "threads": 2} | options)
    )


def survey(duration=0.3, step=1e-3, wavelet=None, shots=2):
    sources = np.stack([[[103.0, 107.0 + 120.0 * k]] for k in range(shots)])
    receivers = np.broadcast_to([[51.0, 33.0], [200.0, 300.0], [390.0, 10.0]], (shots, 3, 2))
    return pde.Survey(sources, receivers, wavelet or pde.ricker(14.0, duration=duration, step=step))


# Plans and sub-steps


def test_the_plan_says_what_a_solve_does():
    plan = solver(storage=pde.Thinned(every=10, bits=32)).plan(survey(), speed=SPEED.astype(np.float32))
    assert (plan.substeps, plan.steps, plan.every, plan.max_speed) == (1, 300, 10, 2400.0)
    assert plan.step == 1e-3 <= plan.limit
    assert plan.history_bytes == 2 * (26 + 40) * 50 * 64 * 4  # rows in whole vectors; every step of the last 40
    text = str(plan)
    for part in (
        "300 steps of 1 ms",
        "1 per sample",
        f"stable up to {plan.limit * 1e3:.4g} ms for 2400 m/s",
        "points per shortest wavelength",
        "every 10",
        "MB",
    ):
        assert part in text


@pytest.mark.parametrize("step", [1e-3, 2e-3, 4e-3, 9e-3])
def test_sub_steps_are_the_fewest_that_are_stable(step):
    wavelet = pde.Wavelet(np.zeros(9), step)
    plan = solver().plan(survey(wavelet=wavelet), speed=SPEED)
    assert plan.step == step / plan.substeps <= plan.limit
    assert plan.substeps == 1 or step / (plan.substeps - 1) > plan.limit
    assert plan.steps == 8 * plan.substeps + 1
    # As many, when fixed, are accepted; one less is refused with that number as the way out.
    assert solver(stepping=pde.Leapfrog(substeps=plan.substeps)).plan(survey(wavelet=wavelet), speed=SPEED) == plan
    if plan.substeps > 1:
        with pytest.raises(StabilityError, match=f"use substeps>={plan.substeps}, or None"):
            solver(stepping=pde.Leapfrog(substeps=plan.substeps - 1)).plan(survey(wavelet=wavelet), speed=SPEED)


def test_a_step_of_exactly_the_limit_is_not_divided():
    limit = solver().stable_step(speed=SPEED)
    for count in (1, 2, 3, 7):
        assert solver().plan(survey(wavelet=pde.Wavelet(np.zeros(9), count * limit)), speed=SPEED).substeps == count


def test_small_changes_of_a_model_do_not_change_the_step():
    plans = {solver().plan(survey(wavelet=pde.Wavelet(np.zeros(9), 5e-3)), speed=SPEED + change).step for change in (-20.0, -5.0, 0.0)}
    assert len(plans) == 1
    fixed = solver(stepping=pde.Leapfrog(max_speed=3000.0)).plan(survey(wavelet=pde.Wavelet(np.zeros(9), 5e-3)), speed=SPEED)
    assert fixed.max_speed == 3000.0 and fixed.limit == solver(stepping=pde.Leapfrog(max_speed=3000.0)).stable_step(speed=SPEED)


@pytest.mark.parametrize(("ndim", "order"), [(2, 2), (2, 8), (2, 16), (3, 4)])
@pytest.mark.parametrize("stencil", [pde.Taylor(), pde.LeastSquares(3.0)], ids=repr)
def test_the_stated_limit_is_the_limit(ndim, order, stencil):
    """At the stated limit the fastest mode of a periodic box stays bounded; at 1.03 of it (two per cent are kept) it does not."""
    spacing = (10.0, 12.0, 7.0)[:ndim]
    grid = pde.Grid((20,) * ndim, spacing)
    limit = pde.Solver(pde.Acoustic(), grid, order=order, stencil=stencil).stable_step(speed=np.full(grid.shape, 3000.0))
    largest = sum(sum(abs(w) for w in stencil.second(order)) / h**2 for h in spacing)
    assert (3000.0 * limit) ** 2 * largest < 4.0 < (3000.0 * 1.03 * limit) ** 2 * largest


@pytest.mark.parametrize("equation", [pde.Acoustic(), PressureVelocity()], ids=lambda e: type(e).__name__)
def test_noise_stays_bounded_at_the_limit(equation):
    shape, steps = (24, 28), 1500
    grid = pde.Grid(shape, 10.0)
    wave = pde.Solver(equation, grid, order=4, boundary=pde.Periodic(), stepping=pde.Leapfrog(2000.0, substeps=1))
    samples = np.zeros(steps)
    samples[:2] = 1.0, -1.0  # excites all modes; no mean
    values = {"speed": 2000.0, "buoyancy": 1e-3, "bulk": 4e9}
    model = {k: np.full(shape, values[k]) for k in equation.parameters}
    one = pde.Survey(
        [[[100.0, 100.0]]],
        [[[170.0, 30.0]]],
        pde.Wavelet(samples, wave.stable_step(**model)),
        source_field=list(equation.fields)[-1],
        receiver_field=list(equation.fields)[-1],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = np.abs(wave.solve(one, **model).numpy()[0, 0])
    assert size[1000:].max() < 3.0 * size[:500].max()


# Results


def test_shape_dtype_and_place_of_the_gathers():
    for dtype in (np.float32, np.float64):
        gathers = solver().solve(survey(), speed=SPEED.astype(dtype))
        assert isinstance(gathers, hp.Tensor)
        assert (gathers.shape, gathers.dtype, gathers.device) == ((2, 3, 300), dtype, "cpu")
        assert not gathers.numpy()[..., 0].any()


def test_the_model_and_the_wavelet_are_left_alone():
    speed, one = SPEED.copy(), survey()
    before = one.wavelet.samples.copy()
    solver().solve(one, speed=speed)
    assert np.array_equal(speed, SPEED) and np.array_equal(one.wavelet.samples, before)


def test_threads_default_to_the_environment(monkeypatch):
    monkeypatch.setenv("HYPERION_THREADS", "3")
    assert solver(threads=None).threads == 3


def test_repr():
    assert repr(solver()) == "Solver Acoustic, order 4, CPML(width=5), on Grid 40x46, 10 m, cpu"
    assert repr(pde.Grid((5, 6, 7), (1.0, 2.0, 3.0))) == "Grid 5x6x7, 1 x 2 x 3 m, cpu"
    assert repr(survey()) == "Survey 2 shots, 1 source and 3 receivers each, 300 samples of 0.001 s"


# Progress and interruption


def test_progress_counts_the_steps_of_all_shots(monkeypatch):
    monkeypatch.setattr(run, "CHUNK_CELLS", 3e5)
    progress, calls = counted(lambda done, total: None)
    solver(threads=1).solve(survey(shots=3), speed=SPEED, progress=progress)
    done = [d for d, _ in calls]
    assert len(done) > 6 and done == sorted(set(done)) and done[-1] == 900
    assert {total for _, total in calls} == {900}


def test_an_interruption_leaves_the_solver_usable(monkeypatch):
    monkeypatch.setattr(run, "CHUNK_CELLS", 3e5)
    wave, expected = solver(), solver().solve(survey(), speed=SPEED).numpy()
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wave.solve(survey(), speed=SPEED, progress=interrupt)
    assert calls[-1] < 600  # it stopped in the middle
    assert np.array_equal(wave.solve(survey(), speed=SPEED).numpy(), expected)


# NaN in mid-run


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, about the spectrum of a wavelet with NaN
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_field_that_becomes_infinite_stops_the_run_within_a_chunk(value, dtype, monkeypatch):
    monkeypatch.setattr(run, "CHUNK_CELLS", 3e5)
    samples = np.zeros(2000, dtype)
    samples[1500] = value
    wave, calls = solver(), []
    one = survey(wavelet=pde.Wavelet(samples, 1e-3), shots=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sampling: an impulse has every frequency
        with pytest.raises(NonFiniteError) as caught:
            wave.solve(one, speed=SPEED.astype(dtype) * 1.2, progress=lambda done, total: calls.append(done))
    words = str(caught.value).replace("(", " ").split()
    first, last = int(words[words.index("steps") + 1]), int(words[words.index("steps") + 3])
    assert first <= 1510 and last >= 1500 and last - first == calls[0]  # one chunk, the one with the sample
    assert calls[-1] == first  # nothing ran after it
    assert "forward wavefield of shot 0 became NaN or infinite" in str(caught.value) and "check the model and the wavelet" in str(
        caught.value
    )
    assert np.isfinite(wave.solve(survey(), speed=SPEED).numpy()).all()


def test_nan_cotangents_are_found_too():
    wave = solver(storage=pde.EverySteps())
    _, pull = hp.vjp(lambda c: wave.solve(survey(), speed=c), SPEED)
    weights = np.ones((2, 3, 300))
    weights[1, 0, 200] = np.nan
    with pytest.raises(NonFiniteError, match="adjoint wavefield of shot 1 became NaN or infinite between steps"):
        pull(weights)


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning", "ignore::RuntimeWarning")
def test_the_interpreter_stops_at_nan_as_well():
    samples = np.zeros(60)
    samples[40] = np.nan
    with interpreter(), pytest.raises(NonFiniteError, match="between steps 40 and 41"):
        solver().solve(survey(wavelet=pde.Wavelet(samples, 1e-3)), speed=SPEED)


# Snapshots


@pytest.mark.parametrize("every", [1, 7, 60])
def test_snapshots_are_the_field_that_receivers_hear(every):
    wave, one = solver(), survey(shots=1, duration=0.15)
    nodes = np.stack(np.meshgrid(*(wave.grid.axis(k) for k in range(2)), indexing="ij"), axis=-1).reshape(1, -1, 2)
    heard = wave.solve(pde.Survey(one.sources, nodes, one.wavelet), speed=SPEED).numpy()[0].T.reshape(-1, *SHAPE)
    seen = list(wave.snapshots(one, every, speed=SPEED))
    assert [step for step, _, _ in seen] == list(range(0, 150, every))
    for step, time, fields in seen:
        assert time == pytest.approx(step * 1e-3) and list(fields) == ["p"]
        assert np.array_equal(fields["p"], heard[step])
    with interpreter():
        slow = list(wave.snapshots(one, every, speed=SPEED))
    assert [s[:2] for s in slow] == [s[:2] for s in seen]
    assert difference(slow[-1][2]["p"], seen[-1][2]["p"]) < 1e-12  # 150 steps of rounding


def test_snapshots_with_sub_steps_count_internal_steps():
    wave, wavelet = solver(stepping=pde.Leapfrog(substeps=3)), pde.Wavelet(np.zeros(100), 1e-3)
    seen = list(wave.snapshots(survey(shots=1, wavelet=wavelet), 30, speed=SPEED))
    assert [(s, round(t, 9)) for s, t, _ in seen] == [
        (0, 0.0),
        (30, 0.01),
        (60, 0.02),
        (90, 0.03),
        (120, 0.04),
        (150, 0.05),
        (180, 0.06),
        (210, 0.07),
        (240, 0.08),
        (270, 0.09),
    ]


# No compiler


def hide_compilers(monkeypatch):
    """Make it a machine without gcc, clang, cc and the ziglang wheel."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setenv("PATH", "")
    for variable in ("HYPERION_CC", "CC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ziglang" else found(name, *rest))


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # white noise
def test_without_a_compiler_the_interpreter_runs_and_one_warning_says_how_to_get_speed(monkeypatch):
    case = Case((20, 22), 4, pde.CPML(width=3), steps=15)
    expected = case.gathers(*case.args).numpy()
    hide_compilers(monkeypatch)
    with pytest.warns(SpeedWarning, match=r"no C compiler found .*the interpreter runs.*pip install ziglang, or set HYPERION_CC") as seen:
        slow = case.gathers(*case.args).numpy()
    assert [w.category for w in seen].count(SpeedWarning) == 1
    assert difference(slow, expected) < 1e-13  # 15 steps of rounding
    one = case.survey.subset([0])
    with pytest.warns(SpeedWarning, match="no C compiler"):
        assert len(list(case.solver.snapshots(one, 5, speed=case.args[1]))) == 3


def test_a_second_process_starts_from_the_cache(tmp_path):
    """The first use compiles; a second process loads what it left, in under a tenth of a second for both directions."""
    program = """
import time, numpy as np, hyperion as hp
from hyperion import pde
from hyperion.cpu import compiler, timeloop
spent, load = [], compiler.load
def timed(*arguments):
    start = time.perf_counter(); library = load(*arguments); spent.append(time.perf_counter() - start); return library
timeloop.load = timed
wave = pde.Solver(pde.Acoustic(), pde.Grid((30, 30), 10.0), order=4, boundary=pde.CPML(width=5), storage=pde.EverySteps(), threads=1)
survey = pde.Survey([[[100.0, 100.0]]], [[[200.0, 200.0]]], pde.ricker(12.0, 0.3, 1e-3))
hp.grad(lambda c: hp.sum(wave.solve(survey, speed=c) ** 2))(np.full((30, 30), 2000.0, np.float32))
print(len(spent), sum(spent))
"""
    import os

    environment = {**os.environ, "HYPERION_CACHE": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    spent = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
        count, seconds = done.stdout.split()
        assert count == "2"
        spent.append(float(seconds))
    assert len(list((tmp_path / "cpu").glob("*.so"))) == 2
    assert spent[1] < 0.1 < spent[0], spent
