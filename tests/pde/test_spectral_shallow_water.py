"""Shallow water: mass, order, Stoker's dam break, still water, and derivatives."""
import numpy as np
import pytest
from scipy.optimize import brentq

import hyperion as hp
from hyperion import pde
from hyperion.errors import InputError, ShapeError, StabilityError
from hyperion.testing import dot_test, taylor_test


def smooth(n, finer):
    """Return cell averages (3, n, n) of a smooth periodic state on the unit square, from `finer` points per cell and axis."""
    at = (np.arange(n * finer) + 0.5) / (n * finer)
    y, x = 2 * np.pi * at[:, None], 2 * np.pi * at[None, :]
    h = 1.0 + 0.1 * np.sin(x) * np.cos(y)
    q = np.stack([h, 0.2 * h * np.cos(y), 0.1 * h * np.sin(x)])
    return q.reshape(3, n, finer, n, finer).mean(axis=(2, 4))


def test_order_two_and_conservation():
    states = {}
    for n in (16, 32, 64, 128):
        start = smooth(n, 256 // n)
        states[n] = pde.ShallowWaterSolver((n, n), 1.0, 0.1 / n, gravity=1.0, periodic=True).solve(start, 0.2).numpy()[0]
        # Mass and momentum: rounding of the sum of n^2 numbers of order one, over some hundred steps.
        np.testing.assert_allclose(states[n].mean(axis=(1, 2)), start.mean(axis=(1, 2)), rtol=0, atol=1e-13)
    errors = [np.abs(states[2 * n].reshape(3, n, 2, n, 2).mean(axis=(2, 4)) - states[n]).mean() for n in (16, 32, 64)]
    found = np.log2(np.array(errors[:-1]) / errors[1:])
    # Minmod is of first order at extrema, on fewer and fewer cells: the order of the mean error rises towards 2.
    assert found[1] > found[0] and found[1] > 1.7, found


def stoker(x, time, left, right, gravity):
    """The depth of a dam break on wet ground (Stoker 1957, Water Waves, section 10.8)."""
    still = np.sqrt(gravity * left)

    def mismatch(h):
        return 2.0 * (still - np.sqrt(gravity * h)) - (h - right) * np.sqrt(gravity * (h + right) / (2.0 * h * right))

    h = brentq(mismatch, right * (1 + 1e-9), left * (1 - 1e-9))
    speed = 2.0 * (still - np.sqrt(gravity * h))
    bore = speed * h / (h - right)
    ray = x / time
    fan = (2.0 * still - ray) ** 2 / (9.0 * gravity)
    return np.where(ray < -still, left, np.where(ray < speed - np.sqrt(gravity * h), fan, np.where(ray < bore, h, right)))


@pytest.mark.parametrize("axis", [1, 2])
def test_a_dam_break_converges_to_stokers_solution(axis):
    errors = []
    for n in (100, 200):
        x = (np.arange(n) + 0.5) * 10.0 / n - 5.0
        start = np.zeros((3, 4, n))
        start[0] = np.where(x < 0.0, 2.0, 1.0)
        if axis == 2:
            start = start.transpose(0, 2, 1)
        lengths = (4.0, 10.0) if axis == 1 else (10.0, 4.0)
        state = pde.ShallowWaterSolver(start.shape[1:], lengths, 2.0 / n, gravity=1.0).solve(start, 2.0).numpy()[0]
        line = state[:, 1] if axis == 1 else state[:, :, 1]
        assert not state[3 - axis].any() and abs(state[0].mean() - start[0].mean()) < 1e-13
        errors.append(np.abs(line[0] - stoker(x, 2.0, 2.0, 1.0, 1.0)).mean())
    assert errors[0] < 0.015 and 1.6 < errors[0] / errors[1] < 2.4, errors       # order 1: there is a bore


def test_walls_reflect_and_keep_mass():
    solver = pde.ShallowWaterSolver((8, 40), (1.0, 5.0), 0.01, gravity=1.0)
    start = np.zeros((3, 8, 40))
    start[0] = 1.0 + 0.1 * np.exp(-10.0 * (solver.spacing[1] * (np.arange(40) + 0.5) - 1.0) ** 2)
    states = solver.solve(start, 12.0, saves=4).numpy()
    np.testing.assert_allclose(states[:, 0].mean(axis=(1, 2)), start[0].mean(), rtol=0, atol=1e-13)
    mirrored = solver.solve(start[:, :, ::-1] * np.array([1.0, -1.0, 1.0])[:, None, None], 12.0, saves=4).numpy()
    np.testing.assert_allclose(mirrored[:, 0, :, ::-1], states[:, 0], rtol=0, atol=1e-13)


def test_derivatives_and_vmap(random):
    solver = pde.ShallowWaterSolver((8, 8), 1.0, 0.01, gravity=1.0)
    # No two slopes are equal or zero here, so that the state is not on a kink of minmod; the step of the test stays away from them.
    q = 0.1 * random.standard_normal((3, 8, 8))
    q[0] += 1.0
    direction = random.standard_normal(q.shape)
    dot_test(lambda q: solver.solve(q, 0.05, saves=2), (q,))
    assert min(taylor_test(lambda q: (solver.solve(q, 0.02) ** 2).sum(), q, direction, step=1e-6, reverse=True, halvings=2)) > 1.9
    both = np.stack([q, 1.1 * q])
    mapped = hp.vmap(lambda q: solver.solve(q, 0.05))(both).numpy()
    np.testing.assert_allclose(mapped, solver.solve(both, 0.05).numpy(), rtol=0, atol=1e-15)


def test_wrong_input():
    with pytest.raises(ShapeError, match="two axes of at least 4 cells"):
        pde.ShallowWaterSolver((3, 8), 1.0, 0.1)
    for options, match in (({"step": 0.0}, "step=0.0"), ({"gravity": -1.0}, "gravity=-1.0"), ({"lengths": (1.0,)}, "lengths")):
        with pytest.raises(InputError, match=match):
            pde.ShallowWaterSolver((8, 8), **({"lengths": 1.0, "step": 0.1} | options))
    solver = pde.ShallowWaterSolver((8, 8), 1.0, 0.1, gravity=10.0)
    start = np.zeros((3, 8, 8))
    with pytest.raises(InputError, match=r"depth 0 m at \(0, 0\).*no dry ground"):
        solver.solve(start, 1.0)
    start[0] = 1.0
    with pytest.raises(StabilityError, match=r"step=0.1 exceeds the stable 0.00988 for the start"):
        solver.solve(start, 1.0)
    with pytest.raises(ShapeError, match=r"start of shape \(2, 8, 8\)"):
        solver.solve(start[:2], 1.0)


def test_a_step_that_becomes_too_long_is_named():
    # A dam breaks: the water behind the bore flows, so its waves outrun the step that was stable for water at rest.
    solver = pde.ShallowWaterSolver((4, 64), (400.0, 64.0), 0.34, gravity=1.0)
    start = np.zeros((3, 4, 64))
    start[0] = np.where(np.arange(64) < 32, 2.0, 1.0)
    with pytest.raises(StabilityError, match=r"step=0.338028 exceeds the stable .* at step \d+ \(time"):
        solver.solve(start, 24.0)
