"""Plane waves from a sheet of sources, and waves that are absorbed, against closed forms."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import BoundaryError, InputError, ShapeError
from tests.pde import oracles
from tests.pde.cases import Case

SPEED, PEAK, STEP, STEPS = 2000.0, 15.0, 1e-3, 500


def integral(times):
    """Return the integral of Ricker's wavelet of PEAK over time, its peak at 0.1 s: t exp(-(pi f t)^2)."""
    return (times - 0.1) * np.exp(-((np.pi * PEAK * (times - 0.1)) ** 2))


@pytest.mark.parametrize("degrees", [0.0, 15.0, -10.0])
def test_an_oblique_plane_wave(degrees):
    grid = pde.Grid((90, 220), 10.0)
    direction = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    wave = pde.Solver(pde.Acoustic(), grid, order=8, boundary=pde.CPML(20))
    receivers = np.array([[300.0, 1000.0], [500.0, 1000.0], [400.0, 1080.0]])
    wavelet = pde.Wavelet(oracles.ricker(np.arange(STEPS) * STEP, PEAK, 0.1), STEP)
    survey = pde.plane_waves(grid, wavelet, receivers, 3.0 * direction[None], position=100.0, speed=SPEED)
    heard = wave.solve(survey, speed=np.full(grid.shape, SPEED)).numpy()[0]
    first = np.array([100.0, 0.0 if degrees >= 0.0 else grid.extent[1]])
    times = np.arange(STEPS) * STEP
    exact = [SPEED / (2.0 * direction[0]) * integral(times - (r - first) @ direction / SPEED) for r in receivers]
    for got, want in zip(heard, exact, strict=True):  # the record ends before the ends of the sheet are heard, 1000 m aside
        assert oracles.relative_l2(got, want) < 0.015 and np.argmax(np.abs(want)) < STEPS - 20


def test_between_walls_a_plane_wave_is_plane_to_rounding():
    grid = pde.Grid((60, 15), 10.0)
    wave = pde.Solver(pde.Acoustic(), grid, order=8, boundary=pde.Sides(pde.CPML(20), left=pde.Rigid(), right=pde.Rigid()))
    receivers = [[300.0, 10.0 * i] for i in range(15)]
    wavelet = pde.Wavelet(oracles.ricker(np.arange(STEPS) * STEP, PEAK, 0.1), STEP)
    survey = pde.plane_waves(grid, wavelet, receivers, [[1.0, 0.0]], position=100.0, speed=SPEED)
    heard = wave.solve(survey, speed=np.full(grid.shape, SPEED)).numpy()[0]
    assert np.ptp(heard, axis=0).max() < 1e-12 * np.abs(heard).max()
    assert oracles.relative_l2(heard[7], SPEED / 2.0 * integral(np.arange(STEPS) * STEP - 0.1)) < 0.01


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"directions": [[0.0, 1.0]]}, InputError, "waves along the sheet"),
        ({"directions": [1.0, 0.0]}, ShapeError, r"directions of shape \(2,\)"),
        ({"position": -1.0}, BoundaryError, r"position=-1.0\): the sheet lies outside"),
        ({"speed": 0.0}, InputError, r"speed=0.0\): give the positive speed"),
        ({"receivers": [1.0, 2.0]}, ShapeError, r"receivers of shape \(2,\)"),
        ({"wavelet": pde.Wavelet(np.zeros((1, 1, 5)), 1e-3)}, ShapeError, r"samples of shape \(1, 1, 5\)"),
    ],
)
def test_plane_waves_that_cannot_be(changed, error, message):
    given = {"wavelet": pde.ricker(15.0, 0.3, 1e-3), "receivers": [[1.0, 2.0]], "directions": [[1.0, 0.0]], "position": 0.0, "speed": 1.0}
    with pytest.raises(error, match=message):
        pde.plane_waves(pde.Grid((20, 20), 10.0), **(given | changed))


def ringing(absorption, step, steps, shape=(24, 24), h=10.0):
    """Return p at the origin after a kick of unit p_tt, over one step, of the mode (1, 2) of a periodic box, and its wavenumber [1/m]."""
    k = 2.0 * np.pi * np.array([1, 2]) / (np.array(shape) * h)
    nodes = np.stack(np.meshgrid(*[np.arange(n) * h for n in shape], indexing="ij"), axis=-1).reshape(1, -1, 2)
    samples = np.zeros((1, nodes.shape[1], steps))
    samples[0, :, 0] = np.cos(nodes[0] @ k) * h**2 / SPEED**2
    wave = pde.Solver(pde.DampedWave(), pde.Grid(shape, h), order=16, boundary=pde.Periodic(), stepping=pde.Leapfrog(substeps=1))
    survey = pde.Survey(nodes, [[(0.0, 0.0)]], pde.Wavelet(samples, step))
    return wave.solve(survey, speed=np.full(shape, SPEED), absorption=np.full(shape, absorption)).numpy()[0, 0], np.linalg.norm(k)


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # a kick of one sample
@pytest.mark.parametrize("absorption", [0.0, 20.0, 300.0])
def test_absorbed_waves_ring_as_the_telegraph_equation_says(absorption):
    # At 300 / s the mode is overdamped: absorption / 2 is above c k = 117 / s.
    errors = []
    for steps in (100, 200):
        heard, k = ringing(absorption, 0.1 / steps, steps + 1)
        t, turn = np.arange(steps + 1) * 0.1 / steps, np.sqrt(complex((SPEED * k) ** 2 - absorption**2 / 4.0))
        exact = (np.exp(-absorption * t / 2.0) * np.sin(turn * t) / turn).real * 0.1 / steps
        errors.append(oracles.relative_l2(heard, exact))
    assert errors[1] < 0.002 and abs(np.log2(errors[0] / errors[1]) - 2.0) < 0.05


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # white noise
def test_without_absorption_it_is_acoustics():
    equations = pde.DampedWave(), pde.Acoustic()
    damped, acoustic = (Case((31, 37), 4, pde.CPML(width=5), equation=e, values=lambda random: []) for e in equations)
    speed = 1500.0 + 500.0 * damped.random.random((31, 37))
    one, other = damped.gathers(damped.args[0], speed, 0.0 * speed).numpy(), acoustic.gathers(damped.args[0], speed).numpy()
    assert oracles.relative_l2(one, other) < 1e-12
