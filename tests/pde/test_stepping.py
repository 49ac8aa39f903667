"""Time steppings: damping terms by Crank-Nicolson, orders of accuracy in time, step limits."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError, NonFiniteError, StabilityError
from tests.pde.cases import Case, Damped, Transport

# The wavelets are impulses and noise: what is tested is the time stepping.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")


def decay_of_an_impulse(decay, step, steps, substeps=1):
    """Return the pressure (steps) everywhere in a periodic box after an impulse everywhere: p_t = -decay p, nothing moves."""
    grid = pde.Grid((12, 12), 1.0)
    solver = pde.Solver(Damped(), grid, order=2, boundary=pde.Periodic(), stepping=pde.Leapfrog(max_speed=1e-3, substeps=substeps))
    nodes = np.argwhere(np.ones(grid.shape)).astype(float)[None]
    survey = pde.Survey(nodes, nodes[:, :1], pde.Wavelet(np.eye(steps)[0], step), source_field="p", receiver_field="p")
    tiny, same = np.full(grid.shape, 1e-6), np.full(grid.shape, decay)
    return solver.solve(survey, buoyancy=tiny, bulk=tiny, decay=same).numpy()[0, 0]


def test_damping_is_exact_to_second_order_in_the_step():
    errors = []
    for steps in (20, 40, 80):
        trace = decay_of_an_impulse(30.0, 0.1 / steps, steps + 2)
        errors.append(abs(trace[1 + steps] / trace[1] - np.exp(-30.0 * 0.1)))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(slopes - 2.0).max() < 0.02, errors


@pytest.mark.parametrize("steps_of_decay", [0.1, 2.0, 30.0, 1e6])
def test_damping_is_stable_at_any_step(steps_of_decay):
    # The factor of Crank-Nicolson: (1 - s/2) / (1 + s/2), between -1 and 1 for every s; explicit stepping grows above s = 2.
    trace, s = decay_of_an_impulse(steps_of_decay / 1e-3, 1e-3, 60), steps_of_decay
    exact = 1e-3 / (1 + s / 2) * ((1 - s / 2) / (1 + s / 2)) ** np.arange(59)
    assert np.abs(trace[1:] - exact).max() < 1e-12 * np.abs(exact).max()


def test_a_source_of_a_damped_field_meets_the_same_damping():
    # Steadily driven at a rate of 1, p settles where decay p = 1, at any step.
    grid, steps = pde.Grid((12, 12), 1.0), 400
    solver = pde.Solver(Damped(), grid, order=2, boundary=pde.Periodic(), stepping=pde.Leapfrog(max_speed=1e-3, substeps=1))
    nodes = np.argwhere(np.ones(grid.shape)).astype(float)[None]
    survey = pde.Survey(nodes, nodes[:, :1], pde.Wavelet(np.ones(steps), 1e-2), source_field="p", receiver_field="p")
    tiny = np.full(grid.shape, 1e-6)
    trace = solver.solve(survey, buoyancy=tiny, bulk=tiny, decay=np.full(grid.shape, 20.0)).numpy()[0, 0]
    assert abs(trace[-1] - 1.0 / 20.0) < 1e-12


class OfAnySign(Damped):
    """The same, whose decay may be negative: growth."""

    @property
    def positive(self):
        return "buoyancy", "bulk"


def test_a_field_that_grows_by_itself_gets_a_step_that_follows_it():
    # Crank-Nicolson has a pole where step times rate is 2.
    case = Case((20, 22), 4, pde.CPML(width=3), equation=OfAnySign(), fields=("p", "p"), threads=1)
    model = dict(zip(case.solver.equation.parameters, case.args[1:], strict=True))
    slow, fast = (case.solver.stable_step(**model | {"decay": np.full((20, 22), -rate)}) for rate in (1.0, 1e4))
    assert slow > 5e-4 and 0.1 < 1e4 * fast < 1.0
    solver = pde.Solver(OfAnySign(), case.solver.grid, order=4, stepping=pde.Leapfrog(3000.0, substeps=1), threads=1)
    with pytest.raises(StabilityError, match=r"exceeds the stable .* use substeps>="):
        solver.plan(case.survey, **model | {"decay": np.full((20, 22), -1e4)})


def trace(stepping, equation, steps, sent, heard):
    """Return what is heard at 16 common times of a smooth source in a periodic box, with a step of 0.16 s / steps."""
    grid, step = pde.Grid((12, 14), 10.0), 0.16 / steps
    times = np.arange(steps + 1) * step
    wavelet = pde.Wavelet(np.exp(-(((times - 0.06) / 0.012) ** 2)), step)
    solver = pde.Solver(equation, grid, order=4, boundary=pde.Periodic(), stepping=stepping)
    survey = pde.Survey([[[50.0, 60.0]]], [[[80.0, 90.0]]], wavelet, source_field=sent, receiver_field=heard)
    values = {"speed": 1500.0, "buoyancy": 1e-3, "bulk": 2.25e9, "spread": 500.0, "decay": 5.0}
    model = {name: np.full(grid.shape, values[name]) for name in equation.parameters}
    return solver.solve(survey, **model).numpy()[0, 0, :: steps // 16]


ORDERS = [
    (pde.Leapfrog, pde.Acoustic(), 2, ("p", "p")),
    (pde.LaxWendroff, pde.Acoustic(), 4, ("p", "p")),
    (pde.SSPRK3, pde.Acoustic(), 3, ("p", "p")),
    (pde.RungeKutta4, pde.Acoustic(), 4, ("p", "p")),
    (pde.SSPRK3, Transport(), 3, ("u", "u")),
    (pde.RungeKutta4, Damped(), 4, ("p", "vx")),
]


@pytest.mark.parametrize(("stepping", "equation", "order", "fields"), ORDERS, ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_the_error_falls_with_the_order_in_time(stepping, equation, order, fields):
    # The reference is RungeKutta4 at a step so small that its own error is below 1e-4 of the smallest one here.
    exact = trace(pde.RungeKutta4(substeps=1), equation, 3072, *fields)
    errors = [np.linalg.norm(trace(stepping(substeps=1), equation, n, *fields) - exact) for n in (192, 384)]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.15, errors


LIMITS = [
    (pde.Leapfrog, pde.Acoustic(), 8),
    (pde.Leapfrog, pde.Elastic(), 4),
    (pde.Leapfrog, Damped(), 4),
    (pde.LaxWendroff, pde.Acoustic(), 8),
    (pde.SSPRK3, Transport(), 4),
    (pde.RungeKutta4, pde.Acoustic(), 2),
]


@pytest.mark.parametrize(("stepping", "equation", "order"), LIMITS, ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_waves_are_bounded_below_the_limit_and_grow_above_it(stepping, equation, order, monkeypatch):
    grid, steps = pde.Grid((24, 24), 10.0), 1500
    values = {"speed": 2000.0, "buoyancy": 1e-3, "bulk": 4e9, "spread": 4000.0, "decay": 1.0}
    values |= {"p_speed": 2000.0, "s_speed": 1100.0, "density": 1e3}
    model = {name: np.full(grid.shape, values[name]) for name in equation.parameters}
    solver = pde.Solver(equation, grid, order=order, boundary=pde.Periodic(), stepping=stepping(substeps=1))
    limit = solver.stable_step(**model) / 0.98
    samples = np.zeros(steps)
    samples[8:10] = 1.0, -1.0  # excites all modes; no mean
    sizes = []
    for factor in (0.99, 1.01):
        monkeypatch.setattr(solver, "_limit", lambda *_, step=factor * limit: step)
        survey = pde.Survey([[[100.0, 100.0]]], [[[170.0, 30.0]]], pde.Wavelet(samples, factor * limit))
        try:
            size = np.abs(solver.solve(survey, **model).numpy()[0, 0])
            sizes.append(size[1000:].max() / size[:500].max())
        except NonFiniteError:
            sizes.append(np.inf)
    assert sizes[0] < 3.0 and sizes[1] > 30.0, sizes


@pytest.mark.parametrize("order", [2, 8])
def test_the_limit_is_that_in_closed_form(order):
    # 2 / (c sqrt(sum of norms)) for leapfrog, sqrt(3) times that for Lax-Wendroff, 2^(1/2) and (3/4)^(1/2) for RungeKutta4 and SSPRK3.
    grid, model = pde.Grid((24, 30), (10.0, 12.0)), {"speed": np.full((24, 30), 2000.0)}
    norm = sum(abs(w) for w in pde.Taylor().second(order)) * (1 / 10.0**2 + 1 / 12.0**2)
    leapfrog = 0.98 * 2.0 / (2000.0 * np.sqrt(norm))
    for stepping, factor in ((pde.Leapfrog(), 1.0), (pde.LaxWendroff(), 3**0.5), (pde.RungeKutta4(), 2**0.5), (pde.SSPRK3(), 0.75**0.5)):
        step = pde.Solver(pde.Acoustic(), grid, order=order, boundary=pde.Periodic(), stepping=stepping).stable_step(**model)
        assert abs(step / (factor * leapfrog) - 1.0) < 1e-4


def test_an_equation_that_knows_no_speed_has_a_step_all_the_same():
    grid = pde.Grid((24, 24), 10.0)
    model = {"speed": np.full((24, 24), 1e-9), "spread": np.full((24, 24), 2.0)}
    step = pde.Solver(Transport(), grid, order=2, boundary=pde.Periodic(), stepping=pde.RungeKutta4()).stable_step(**model)
    assert abs(step / (0.98 * 2.785293 / (2.0 * 8 / 10.0**2)) - 1.0) < 1e-4  # the real stability interval over the Laplacian's norm
    survey = pde.Survey([[[100.0, 100.0]]], [[[170.0, 30.0]]], pde.Wavelet(np.ones(9), 1.0))
    with pytest.raises(InputError, match=r"layers is not known: give.*stepping=pde.SSPRK3\(max_speed=.*pde.CPML\(0\)"):
        pde.Solver(Transport(), grid, order=2, stepping=pde.SSPRK3()).plan(survey, **model)


def test_what_a_stepping_cannot_step_is_refused():
    grid = pde.Grid((24, 24), 10.0)
    with pytest.raises(InputError, match="advanced in place but its rate reads it at shifted points"):
        pde.Solver(Transport(), grid, boundary=pde.Periodic())
    with pytest.raises(InputError, match="LaxWendroff steps fields of second order in time, use"):
        pde.Solver(Damped(), grid, stepping=pde.LaxWendroff())
