"""The inversion driver on a model small enough for seconds: it must find the anomaly, resume bit by bit, and refuse what cannot be."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import BoundaryError, InputError, NonFiniteError, OutOfMemoryError, ShapeError
from hyperion.inversion import FWI, Butterworth, Gaussian, Stage, TotalVariation, by_adam, by_lbfgs, surface_survey
from hyperion.inversion.level import Level
from hyperion.io import load_tree, save_tree
from hyperion.pde import native

GRID = pde.Grid((45, 61), 20.0)
BOUNDS = (1500.0, 3000.0)
WATER = np.zeros(GRID.shape, bool)
WATER[:5] = True
STAGES = [
    Stage(Gaussian(4.0), coarsen=2, iterations=3, receivers=2),
    Stage(coarsen=2, iterations=3, batch=2, repeats=2),
    Stage(iterations=2, smoothing=20.0),
]


def solver(grid):
    order, layer = (8 if grid.spacing == GRID.spacing else 12), pde.CPML(width=10)  # a coarser grid needs the higher order
    return pde.Solver(pde.Acoustic(), grid, order=order, boundary=layer, stepping=pde.Leapfrog(max_speed=BOUNDS[1]), threads=1)


def true_and_start():
    z, x = np.meshgrid(GRID.axis(0), GRID.axis(1), indexing="ij")
    start = np.where(WATER, 1500.0, 1800.0 + 0.5 * z)
    lens = np.exp(-(((z - 450.0) / 90.0) ** 2) - ((x - 600.0) / 160.0) ** 2)
    return np.where(WATER, 1500.0, start + 250.0 * lens).astype(np.float32), start.astype(np.float32)


@pytest.fixture(scope="module")
def problem():
    """(survey, observed, true, start) of four shots over a fast lens."""
    true, start = true_and_start()
    survey = surface_survey(GRID, pde.ricker(5.0, 1.0, 4e-3), 4, 61, 40.0, 40.0)
    return survey, solver(GRID).solve(survey, speed=true).numpy(), true, start


def make(problem, **options):
    survey, observed, _, start = problem
    return FWI(solver, GRID, survey, observed, start, BOUNDS, WATER, **options)


def error(model, true):
    return np.linalg.norm(model - true) / np.linalg.norm(true)


def test_inversion_finds_the_lens(problem):
    *_, true, start = problem
    fwi = make(problem)
    list(fwi.run([*STAGES, Stage(iterations=10)]))
    assert error(fwi.model, true) < 0.6 * error(start, true)
    assert fwi.model.dtype == np.float32 and fwi.model.shape == GRID.shape
    assert fwi.model.min() >= BOUNDS[0] and fwi.model.max() <= BOUNDS[1]
    np.testing.assert_array_equal(fwi.model[WATER], start[WATER])
    first, last = ([p.misfit for p in fwi.log if p.stage == n] for n in (1, 4))
    assert first[-1] < 0.5 * first[0] and last[-1] < last[0]
    assert [(p.stage, p.iteration) for p in fwi.log[:8]] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)]
    assert len(fwi.models) == 4 and all(b.seconds > a.seconds for a, b in zip(fwi.log, fwi.log[1:], strict=False))


@pytest.mark.parametrize("method", [by_lbfgs(memory=3, first_step=20.0), by_adam(20.0)], ids=["lbfgs", "adam"])
def test_each_method_lowers_misfit_and_error(problem, method):
    *_, true, start = problem
    fwi = make(problem)
    misfits = [p.misfit for p in fwi.run([Stage(Butterworth(6.0), coarsen=2, iterations=12, method=method)])]
    assert misfits[-1] < 0.5 * misfits[0]
    assert error(fwi.model, true) < 0.9 * error(start, true)


@pytest.mark.parametrize("stop", range(9))
def test_resumed_equals_undisturbed(problem, stop, tmp_path):
    """Stopped after any iteration, written to a file, read and continued: the same model, bit by bit."""
    whole = make(problem, seed=3)
    list(whole.run(STAGES))
    part = make(problem, seed=3)
    for _, _ in zip(range(stop), part.run(STAGES), strict=False):
        pass
    save_tree(tmp_path / "state.h5", part.state_dict())
    resumed = make(problem, seed=3)
    resumed.load_state_dict(load_tree(tmp_path / "state.h5"))
    np.testing.assert_array_equal(resumed.model, part.model)
    list(resumed.run(STAGES))
    np.testing.assert_array_equal(resumed.model, whole.model)
    assert [(p.misfit, p.evaluations) for p in resumed.log] == [(p.misfit, p.evaluations) for p in whole.log]


def test_out_of_memory_midway_leaves_the_last_checkpoint_and_the_process_usable(problem, tmp_path, monkeypatch):
    backward, calls, full = native.backward, [], [False]

    def counted(*arguments):
        calls.append(full)
        if full[0] and len(calls) == whole_calls // 2:
            raise MemoryError("Unable to allocate 4.00 GiB")
        return backward(*arguments)

    monkeypatch.setattr(native, "backward", counted)
    whole, part, done = make(problem, seed=3), make(problem, seed=3), 0
    list(whole.run(STAGES))
    whole_calls, full[0] = len(calls), True
    calls.clear()
    with pytest.raises(OutOfMemoryError, match="has no memory for"):
        for _ in part.run(STAGES):
            save_tree(tmp_path / "state.h5", part.state_dict())
            done += 1
    assert 0 < done < len(whole.log)
    resumed = make(problem, seed=3)
    resumed.load_state_dict(load_tree(tmp_path / "state.h5"))
    list(resumed.run(STAGES))
    np.testing.assert_array_equal(resumed.model, whole.model)


def test_groups_of_shots_change_memory_only(problem):
    one, all_at_once = make(problem, group=1), make(problem, group=4)
    stage = Stage(coarsen=2)
    (value, gradient), (same_value, same_gradient) = (
        Level(fwi.problem, stage, problem[3]).value_and_grad(Level(fwi.problem, stage, problem[3]).start, np.arange(4))
        for fwi in (one, all_at_once)
    )
    assert np.isclose(value, same_value, rtol=1e-5)
    # float32 sums in another order
    np.testing.assert_allclose(gradient, same_gradient, atol=1e-5 * np.abs(gradient).max())


def test_gradient_is_the_derivative_of_the_misfit(problem):
    survey, observed, _, start = problem
    fwi = FWI(solver, GRID, survey, observed.astype(np.float64), start.astype(np.float64), BOUNDS, WATER)
    level = Level(fwi.problem, Stage(Gaussian(5.0), coarsen=2), start.astype(np.float64))
    change = 20.0 * np.random.default_rng(0).normal(size=level.start.shape)
    change[level.bounds[0] == level.bounds[1]] = 0.0  # the water
    shots = np.array([1, 3])
    _, gradient = level.value_and_grad(level.start, shots)
    ahead, behind = (level.value_and_grad(level.start + sign * 1e-3 * change, shots)[0] for sign in (1.0, -1.0))
    # The gradient's wavefield is thinned in time: 1e-4 is that storage's stated error.
    assert np.isclose((ahead - behind) / 2e-3, (gradient * change).sum(), rtol=3e-4)


def test_a_penalty_is_part_of_value_and_gradient(problem):
    survey, observed, _, start = problem
    start, weight = start.astype(np.float64), 1e-2
    fwi = FWI(solver, GRID, survey, observed.astype(np.float64), start, BOUNDS, WATER)
    change = 20.0 * np.random.default_rng(0).normal(size=start.shape) * ~WATER
    variation = TotalVariation(weight, GRID.spacing)
    plain, held = (Level(fwi.problem, Stage(penalty=penalty), start) for penalty in (None, variation))
    shots = np.arange(2)
    (value, gradient), (more, steeper) = plain.value_and_grad(start + change, shots), held.value_and_grad(start + change, shots)
    assert plain.penalty(value, start + change) == 0.0
    assert np.isclose(more - value, held.penalty(more, start), rtol=1e-12)                  # that of the value, whatever the model is now
    assert np.isclose(held.penalty(more, start), float(variation(start + change)), rtol=1e-12)
    assert np.isclose(held.penalty(-1.0, start), float(variation(start)), rtol=1e-12)       # of an optimiser's own value
    ahead, behind = (float(variation(start + (1.0 + sign * 1e-5) * change)) for sign in (1.0, -1.0))
    assert np.isclose((ahead - behind) / 2e-5, ((steeper - gradient) * change).sum(), rtol=1e-6)
    assert not steeper[WATER].any()


def test_total_variation_leaves_less_of_it(problem):
    *_, start = problem
    rough = []
    for weight in (0.0, 1e-2):
        fwi = make(problem)
        log = list(fwi.run([Stage(coarsen=2, iterations=6, penalty=TotalVariation(weight, (40.0, 40.0)))]))
        rough.append(float(TotalVariation(1.0, GRID.spacing, reference=start)(fwi.model)))
        assert all(0.0 <= p.penalty < p.misfit for p in log) and (weight > 0.0) == any(p.penalty for p in log)
    assert rough[1] < 0.9 * rough[0]
    state = fwi.state_dict()
    again = make(problem)
    again.load_state_dict(state)
    assert again.log == fwi.log


@pytest.mark.parametrize("method", [by_adam(rate=30.0), by_lbfgs()], ids=["Adam", "L-BFGS"])
def test_the_penalty_is_a_part_of_the_misfit_by_every_method(problem, method):
    """What the penalty leaves of the misfit is the misfit of the data of one model: the one before Adam's step, the one after L-BFGS's."""
    fwi = make(problem)
    stage = Stage(coarsen=2, iterations=3, method=method, penalty=TotalVariation(1e-2, (40.0, 40.0)))
    level = Level(fwi.problem, stage, fwi.model)
    plain = Level(fwi.problem, Stage(coarsen=2), fwi.model)
    log, models = [], [level.start]
    for step in fwi.run([stage]):
        log.append(step)
        models.append(fwi.state_dict()["current"] if fwi.state_dict()["current"] is not None else models[-1])
    of_step = models[:-1] if method.__qualname__.startswith("by_adam") else models[1:]
    for step, model in zip(log, of_step, strict=True):
        data = plain.value_and_grad(model, np.arange(4))[0]
        assert np.isclose(step.misfit - step.penalty, data, rtol=1e-5)
        assert np.isclose(step.penalty, level.penalty(-1.0, model), rtol=1e-5)


def test_a_log_from_before_there_were_penalties_is_read(problem):
    fwi = make(problem)
    next(fwi.run(STAGES))
    state = fwi.state_dict()
    state["log"] = [row[:5] for row in state["log"]]
    again = make(problem)
    again.load_state_dict(state)
    assert again.log == fwi.log and len(list(again.run(STAGES))) == 7


@pytest.mark.parametrize("error, match, call", [
    (InputError, "give a function of the model", lambda: Stage(penalty=0.1)),
    (InputError, r"Stage\(penalty=TotalVariation\): that makes one", lambda: Stage(penalty=TotalVariation)),
    (InputError, r"Stage\(method=by_lbfgs\): that makes one", lambda: Stage(method=by_lbfgs)),
    (InputError, "weight=-1", lambda: TotalVariation(-1.0, (1.0, 1.0))),
    (InputError, "floor=0", lambda: TotalVariation(1.0, (1.0, 1.0), floor=0.0)),
    (InputError, "distance of the nodes", lambda: TotalVariation(1.0, 10.0)),
    (ShapeError, "2 axes of 2 nodes", lambda: TotalVariation(1.0, (1.0, 1.0))(np.ones(4))),
    (ShapeError, "the reference has shape", lambda: TotalVariation(1.0, (1.0, 1.0), reference=np.ones((3, 3)))(np.ones((4, 4)))),
])
def test_penalties_that_cannot_be(error, match, call):
    with pytest.raises(error, match=match):
        call()


def test_a_penalty_must_return_one_number(problem):
    with pytest.raises(ShapeError, match="must return one number"):
        list(make(problem).run([Stage(coarsen=2, iterations=1, penalty=lambda model: model)]))


def test_data_of_the_first_model_on_a_coarse_grid_fit_exactly(problem):
    """The static correction: with the data of the first model itself, the coarse stage starts at zero misfit."""
    survey, _, _, start = problem
    fwi = FWI(solver, GRID, survey, solver(GRID).solve(survey, speed=start).numpy(), start, BOUNDS, WATER)
    level = Level(fwi.problem, Stage(coarsen=2), start)
    value, _ = level.value_and_grad(level.start, np.arange(4))
    assert value < 1e-10  # squared float32 rounding


def test_seconds_end_a_stage(problem):
    fwi = make(problem)
    list(fwi.run([Stage(coarsen=2, iterations=500, seconds=0.05), Stage(coarsen=2, iterations=1)]))
    assert fwi.log[-1].stage == 2 and len(fwi.log) < 100


def test_nothing_left_to_fit_ends_a_stage(problem):
    survey, _, _, start = problem
    fwi = FWI(solver, GRID, survey, solver(GRID).solve(survey, speed=start).numpy(), start, BOUNDS, WATER)
    list(fwi.run([Stage(iterations=50)]))
    assert len(fwi.log) < 10
    assert error(fwi.model, start) < 1e-4


def test_two_sources_in_a_shot_and_own_wavelets(problem):
    true, start = problem[2:]
    base = pde.ricker(5.0, 1.0, 4e-3).samples
    sources = np.array([[[40.0, 200.0], [40.0, 900.0]], [[40.0, 400.0], [40.0, 1100.0]]])
    receivers = np.broadcast_to(np.stack([np.full(31, 40.0), 40.0 * np.arange(31)], axis=1), (2, 31, 2))
    wavelets = np.stack([[base, -base], [base, 0.5 * base]])  # (shots, sources, steps)
    survey = pde.Survey(sources, receivers, pde.Wavelet(wavelets, 4e-3))
    fwi = FWI(solver, GRID, survey, solver(GRID).solve(survey, speed=true).numpy(), start, BOUNDS, WATER)
    misfits = [p.misfit for p in fwi.run([Stage(Gaussian(4.0), coarsen=2, iterations=3)])]
    assert misfits[-1] < misfits[0]


def spoiled(array, value):
    out = array.copy()
    out[(1,) * array.ndim] = value
    return out


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (ShapeError, "observed has shape", lambda a: {"observed": a["observed"][:, :-1]}),
        (InputError, "NaN", lambda a: {"observed": spoiled(a["observed"], np.nan)}),
        (InputError, "zero everywhere", lambda a: {"observed": 0.0 * a["observed"]}),
        (ShapeError, "start has shape", lambda a: {"start": a["start"][:-1]}),
        (InputError, "positive everywhere", lambda a: {"start": spoiled(a["start"], np.nan)}),
        (InputError, "positive everywhere", lambda a: {"start": spoiled(a["start"], 0.0)}),
        (InputError, "positive everywhere", lambda a: {"start": spoiled(a["start"], -1500.0)}),
        (InputError, "leave bounds", lambda a: {"bounds": (1500.0, 2000.0)}),
        (InputError, "lower < upper", lambda a: {"bounds": (3000.0, 1500.0)}),
        (ShapeError, "fixed has shape", lambda a: {"fixed": WATER[:-1]}),
        (ShapeError, "boolean", lambda a: {"fixed": WATER.astype(int)}),
        (InputError, "True everywhere", lambda a: {"fixed": np.ones(GRID.shape, bool)}),
        (InputError, "group=0", lambda a: {"group": 0}),
        (InputError, "bounds=1500", lambda a: {"bounds": 1500}),
        (InputError, "wavelet: is zero", lambda a: {"survey": a["survey"].with_wavelet(pde.Wavelet(np.zeros(250), 4e-3))}),
        (BoundaryError, "outside the grid", lambda a: {"grid": pde.Grid(GRID.shape, 10.0)}),
    ],
)
def test_wrong_input_is_refused(problem, error, match, change):
    survey, observed, _, start = problem
    arguments = {"solver": solver, "grid": GRID, "survey": survey, "observed": observed, "start": start, "bounds": BOUNDS, "fixed": WATER}
    with pytest.raises(error, match=match):
        FWI(**(arguments | change(arguments)))


@pytest.mark.parametrize(
    ("match", "stage"),
    [
        ("coarsen=0", lambda: Stage(coarsen=0)),
        ("iterations=0", lambda: Stage(iterations=0)),
        ("iterations=2.5", lambda: Stage(iterations=2.5)),
        ("repeats=0", lambda: Stage(repeats=0)),
        ("receivers=0", lambda: Stage(receivers=0)),
        ("seconds=-1", lambda: Stage(seconds=-1)),
        ("seconds='1'", lambda: Stage(seconds="1")),
        ("smoothing=-1", lambda: Stage(smoothing=-1)),
        ("smoothing='5'", lambda: Stage(smoothing="5")),
        ("batch=0", lambda: Stage(batch=0)),
        ("batch=2.5", lambda: Stage(batch=2.5)),
        ("method='adam'", lambda: Stage(method="adam")),
        ("lowpass=5.0", lambda: Stage(lowpass=5.0)),
        (r"by_lbfgs\(memory=0", lambda: by_lbfgs(memory=0)),
        (r"by_lbfgs\(first_step=-1", lambda: by_lbfgs(first_step=-1)),
        (r"by_adam\(rate=0", lambda: by_adam(0)),
    ],
)
def test_wrong_stage_is_refused(match, stage):
    with pytest.raises(InputError, match=match):
        stage()


def test_too_large_a_batch_is_refused_before_anything_runs(problem):
    fwi = make(problem)
    with pytest.raises(InputError, match="batch=5"):
        fwi.run([Stage(), Stage(batch=5)])
    assert fwi.seconds == 0.0


@pytest.mark.parametrize(
    ("error", "match", "stage"),
    [
        (InputError, "stage 2 of 2.*longer records", lambda: Stage(Gaussian(1.0))),
        (InputError, "Nyquist", lambda: Stage(Gaussian(200.0))),
        (InputError, "smoothing", lambda: Stage(smoothing=(1.0, 2.0, 3.0))),
        (BoundaryError, "coarsen less", lambda: Stage(coarsen=40)),
        (InputError, "is a str", lambda: "all"),
        (ShapeError, "stage 2 of 2.*the reference has shape", lambda: Stage(
            coarsen=2, penalty=TotalVariation(1.0, (40.0, 40.0), reference=np.ones(GRID.shape)))),
        (InputError, "returned a float", lambda: Stage(penalty=lambda model: 0.5)),
        (NonFiniteError, "not finite for the first model", lambda: Stage(penalty=lambda model: np.nan * hp.sum(model))),
    ],
)
def test_wrong_stages_are_refused_before_the_first_one_runs(problem, error, match, stage):
    fwi = make(problem)
    with pytest.raises(error, match=match):
        fwi.run([Stage(), stage()])
    assert not fwi.log


def test_no_stages_are_refused(problem):
    with pytest.raises(InputError, match="at least one Stage"):
        make(problem).check([])


def test_a_state_of_another_grid_is_refused(problem):
    state = make(problem).state_dict()
    state["base"] = state["base"][:-1]
    with pytest.raises(ShapeError, match="same inversion"):
        make(problem).load_state_dict(state)
