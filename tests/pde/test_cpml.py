"""The absorbing layers: how much comes back from them, and that nothing ever grows in them."""

from itertools import pairwise

import numpy as np
import pytest

from hyperion import pde
from tests.pde import oracles

# Low orders on grids made small for speed.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

FREQUENCY = 15.0  # [Hz]


def record(shape, spacing, shift, source, receivers, steps, step, width, speed=2000.0):
    """Return gathers (receivers, steps) in float64; positions are in nodes and moved by `shift` nodes along every axis."""
    solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, (spacing,) * len(shape)), order=8, boundary=pde.CPML(width=width))
    wavelet = pde.Wavelet(oracles.ricker(np.arange(steps) * step, FREQUENCY, 1.5 / FREQUENCY), step)
    places = [(np.asarray(p, float).reshape(1, -1, len(shape)) + shift) * spacing for p in (source, receivers)]
    return solver.solve(pde.Survey(*places, wavelet), speed=np.broadcast_to(float(speed), shape).copy()).numpy()[0]


def echo(small, large):
    """Return the largest difference relative to the maximum of its own trace: stricter than relative to the overall maximum."""
    return (np.abs(small - large).max(axis=1) / np.abs(large).max(axis=1)).max()


# A source off the centre; receivers at the middle, the edges and the corners, where a layer absorbs worst.
LINE = (4, 50, 100, 150, 195)
PLANE = dict(spacing=5.0, source=(60, 80), receivers=[(z, x) for z in LINE for x in LINE], steps=1000, step=1e-3)


@pytest.fixture(scope="module")
def plane_without_echo():
    # The nearest way to the outer boundary and back is over 800 nodes, 2 s; the record ends after 1 s.
    return record((1201, 1201), shift=500, width=20, **PLANE)


# The limits are the project's; a profile of target reflection 1e-6 gives 0.00009 and 0.00003, deepwave 0.1.0 0.0018 and 0.0026.
@pytest.mark.parametrize(("width", "limit"), [(10, 2e-4), (20, 5e-5)])
def test_echo_2d(width, limit, plane_without_echo):
    size = echo(record((200, 200), shift=0, width=width, **PLANE), plane_without_echo)
    assert size <= limit


def test_echo_3d():
    # The outer boundary of the large box is 45 nodes further out: its echo needs (45 + 45 + 20) * 10 m at 2000 m/s = 0.55 s.
    volume = dict(spacing=10.0, source=(20, 17, 20), receivers=[(z, 2, x) for z in (3, 36) for x in (3, 20, 36)], steps=350, step=1.5e-3)
    large = record((130, 130, 130), shift=45, width=10, **volume)
    size = echo(record((40, 40, 40), shift=0, width=10, **volume), large)
    assert size <= 2e-4


# A pair of staggered derivatives D-, D+ of the stencil's own order grows here (1e7 after 10,000 steps at order 8): where the layer damps
# D- D+ away, the rest D2 - D- D+ of the second derivative D2 is left, and at short wavelengths it has the wrong sign.
@pytest.mark.parametrize("model", ["one speed", "random"])
@pytest.mark.parametrize("order", [4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_grows_in_25000_steps(model, order, dtype):
    shape, spacing, steps, step = (50, 60), 10.0, 25_000, 1e-3
    # Random speeds put contrasts inside the layers and along their inner edges.
    speed = np.full(shape, 3500.0) if model == "one speed" else np.random.default_rng(1).uniform(1500.0, 3500.0, shape)
    solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, (spacing, spacing)), order=order, boundary=pde.CPML(width=10))
    wavelet = pde.Wavelet(oracles.ricker(np.arange(steps) * step, FREQUENCY, 1.5 / FREQUENCY).astype(dtype), step)
    corners = np.array([[[0.0, 0.0], [250.0, 300.0], [490.0, 590.0], [0.0, 590.0]]])
    survey = pde.Survey(np.array([[[120.0, 170.0]]]), corners, wavelet)
    size = np.abs(solver.solve(survey, speed=speed.astype(dtype)).numpy()[0]).max(axis=0)
    peak = size[:1000].max()
    parts = [float(size[n : n + 5000].max()) for n in range(0, steps, 5000)]
    # What is left is the algebraic tail of two dimensions, then rounding: float32 keeps 6e-8 of the peak and sums it over the steps.
    assert peak > 0.0
    assert parts[-1] < 1e-5 * peak, parts
    assert all(later <= max(earlier, 1e-6 * peak) for earlier, later in pairwise(parts)), parts


THIN = [
    (pde.Acoustic(), {"speed": 2000.0}, "p", "p"),
    (pde.Elastic(), {"p_speed": 3000.0, "s_speed": 1500.0, "density": 2000.0}, "vz", "vx"),
]


@pytest.mark.parametrize("steps", [10_000, pytest.param(100_000, marks=pytest.mark.full)])
@pytest.mark.parametrize(("equation", "medium", "sent", "heard"), THIN, ids=["acoustic", "elastic"])
def test_a_thin_slice_at_grazing_incidence(equation, medium, sent, heard, steps):
    # Eight nodes between two layers: waves run along them, at grazing incidence, fifteen times as far as the slice is thick.
    shape, step = (8, 120), 1e-3
    solver = pde.Solver(equation, pde.Grid(shape, 10.0), order=4, boundary=pde.CPML(width=10))
    wavelet = pde.Wavelet(oracles.ricker(np.arange(steps) * step, FREQUENCY, 0.1).astype(np.float32), step)
    receivers = [[[10.0, 600.0], [30.0, 1100.0], [0.0, 1190.0]]]
    survey = pde.Survey([[[30.0, 50.0]]], receivers, wavelet, source_field=sent, receiver_field=heard)
    size = np.abs(solver.solve(survey, **{k: np.full(shape, v, np.float32) for k, v in medium.items()}).numpy()[0]).max(axis=0)
    parts = [float(size[n : n + steps // 4].max()) for n in range(0, steps, steps // 4)]
    # Float32 rounding lies at 6e-8 of the peak.
    assert parts[0] > 0.0
    assert parts[-1] < 1e-5 * parts[0], parts
    assert all(later <= max(earlier, 1e-6 * parts[0]) for earlier, later in pairwise(parts)), parts
