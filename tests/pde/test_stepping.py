"""Time steppings: damping terms by Crank-Nicolson, orders of accuracy in time, step limits."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import StabilityError
from tests.pde.cases import Case, Damped

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
