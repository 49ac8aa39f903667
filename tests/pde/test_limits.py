"""The largest stable step: with absorbing layers, and of nonlinear equations about the fields they start from. Both ways: waves stay below
it and grow above it."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError, NonFiniteError
from tests.pde.cases import Damped, Mixed

VALUES = {"speed": 2000.0, "absorption": 500.0, "buoyancy": 1e-3, "bulk": 4e9, "decay": 500.0, "mix": 0.3, "epsilon": 0.2, "delta": 0.05}
VALUES |= {"tilt": 0.5, "p_speed": 2000.0, "s_speed": 1100.0, "density": 1e3}
LAYERED = [
    (pde.Acoustic(), pde.Leapfrog()),
    (pde.Acoustic(), pde.LaxWendroff()),
    (pde.AcousticTTI(), pde.LaxWendroff()),
    (Mixed(), pde.Leapfrog()),
    (pde.DampedWave(), pde.RungeKutta4()),
    (pde.DampedWave(), pde.SSPRK3()),
    (Damped(), pde.Leapfrog()),
    (pde.Elastic(), pde.RungeKutta4()),
]


def grown(wave, fields, medium, step, steps):
    """Return by how much the largest value of any field has grown; infinity where nothing is finite any more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave, "_limit", lambda *_: step)
        try:
            last = wave.evolve(fields, steps * step, step=step, **medium)
        except NonFiniteError:
            return np.inf
    return max(np.ptp(last[f].numpy()) / np.ptp(x) for f, x in fields.items())


@pytest.mark.parametrize(("equation", "stepping"), LAYERED, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("width", [6, 20])
def test_waves_leave_through_layers_below_the_limit_and_grow_above_it(equation, stepping, width):
    random, grid = np.random.default_rng(1), pde.Grid((26, 26), 10.0)
    medium = {k: VALUES[k] * (1.0 - 0.1 * random.random(grid.shape)) for k in equation.parameters}
    wave = pde.Solver(equation, grid, order=8, boundary=pde.CPML(width), stepping=stepping)
    name = "p" if "p" in equation.fields else "vx"
    fields, limit = {name: random.standard_normal(grid.shape)}, wave.stable_step(**medium)
    assert grown(wave, fields, medium, 0.9999 * limit, 1500) < 1.0       # what is there leaves
    # A corner that is worst at its outermost cells is small: what grows there has leaks. 1.4 is the largest factor that was seen.
    assert grown(wave, fields, medium, 1.45 * limit, 1500) > 1e3


@pytest.mark.parametrize(("stepping", "ratio"), [(pde.Leapfrog(), 1.0), (pde.LaxWendroff(), 0.708), (pde.RungeKutta4(), 0.978)],
                         ids=lambda x: type(x).__name__)
def test_what_layers_cost_of_the_step(stepping, ratio):
    # Measured on a grid of 26 x 26: 0.729 of the step without layers for LaxWendroff, all of it for the others.
    grid, medium = pde.Grid((26, 26), 10.0), {"speed": np.full((26, 26), 2000.0)}
    with_layers, without = (pde.Solver(pde.Acoustic(), grid, boundary=b, stepping=stepping).stable_step(**medium)
                            for b in (pde.CPML(20), pde.Periodic()))
    assert abs(with_layers / without - ratio) < 2e-3


FLOWS = [
    (pde.Burgers(), pde.SSPRK3(), {"u": 50.0}, {"viscosity": 1.0}),
    (pde.Burgers(ndim=2), pde.RungeKutta4(), {"uy": 30.0, "ux": -50.0}, {"viscosity": 1.0}),
    (pde.ShallowWater(ndim=1), pde.SSPRK3(), {"eta": 3.0, "u": 8.0}, {"depth": 10.0, "viscosity": 0.0}),
    (pde.ShallowWater(), pde.RungeKutta4(), {"eta": 3.0, "uy": 8.0, "ux": -8.0}, {"depth": 10.0, "viscosity": 0.5}),
]


@pytest.mark.parametrize(("equation", "stepping", "state", "values"), FLOWS, ids=lambda x: type(x).__name__)
def test_a_flow_is_stable_below_the_limit_of_its_strength_and_not_above_it(equation, stepping, state, values):
    random, grid = np.random.default_rng(2), pde.Grid((24,) * (len(equation.along)), 10.0)
    medium = {k: np.full(grid.shape, v) for k, v in values.items()}
    fields = {k: v + 1e-3 * random.standard_normal(grid.shape) for k, v in state.items()}
    wave = pde.Solver(equation, grid, order=4, boundary=pde.Periodic(), stepping=stepping)
    limit = wave.stable_step(initial=fields, **medium)
    assert limit < 0.6 * wave.stable_step(**medium)                      # of weak waves
    assert grown(wave, fields, medium, limit, 1500) < 3.0
    assert grown(wave, fields, medium, 1.1 * limit, 1500) > 1e3
    # What starts a call counts: it chooses that step by itself.
    after = wave.evolve(fields, 500 * limit, **medium)
    assert all(np.ptp(after[k].numpy()) < 3.0 * np.ptp(x) for k, x in fields.items())


def test_what_stable_step_starts_from_is_checked():
    wave = pde.Solver(pde.Burgers(), pde.Grid((24,), 10.0), boundary=pde.Periodic(), stepping=pde.SSPRK3())
    with pytest.raises(InputError, match=r"stable_step\(initial=\{'v': \.\.\.\}\)"):
        wave.stable_step(initial={"v": np.zeros(24)}, viscosity=np.ones(24))
