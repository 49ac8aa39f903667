"""Grids of one axis, and closed forms of nonlinear and diffusive equations."""

import numpy as np
import pytest

from hyperion import pde
from tests.pde import oracles

WAVE = 2 * np.pi


def line(n, length=1.0):
    """Return a periodic grid of n nodes and their positions."""
    return pde.Grid((n,), length / n), np.arange(n) * (length / n)


@pytest.mark.parametrize("boundary", [pde.Periodic(), pde.CPML(width=20)], ids=repr)
def test_two_pulses_run_apart(boundary):
    # d'Alembert: p = (f(x - c t) + f(x + c t)) / 2 from p = f at rest.
    n, h, speed = 200, 5.0, 2000.0
    wave = pde.Solver(pde.Acoustic(), pde.Grid((n,), h), order=8, boundary=boundary)
    x = np.arange(n) * h

    def pulse(at):
        return np.exp(-(((at - 500.0) / 40.0) ** 2))

    found = wave.evolve({"p": pulse(x)}, 0.12, step=2e-4, speed=np.full(n, speed))["p"].numpy()
    assert np.abs(found - 0.5 * (pulse(x - 0.12 * speed) + pulse(x + 0.12 * speed))).max() < 6e-5     # 4.9e-5 measured: the time step's
    later = wave.evolve({"p": pulse(x)}, 0.6, step=2e-4, speed=np.full(n, speed))["p"].numpy()
    assert abs(np.abs(later).max() - 0.5) < 1e-3 if isinstance(boundary, pde.Periodic) else np.abs(later).max() < 1e-4


def test_the_field_of_a_source():
    # Green's function of one dimension: half the speed times the running integral of the wavelet, late by the way.
    n, h, speed = 300, 5.0, 2000.0
    wavelet = pde.ricker(15.0, 0.3, 5e-4)
    survey = pde.Survey([[[700.0]]], [[[500.0], [901.3]]], wavelet)
    heard = pde.Solver(pde.Acoustic(), pde.Grid((n,), h)).solve(survey, speed=np.full(n, speed)).numpy()[0]
    t, samples = np.arange(wavelet.steps) * wavelet.step, wavelet.samples.astype(float)
    integral = (np.cumsum(samples) - 0.5 * samples) * wavelet.step
    for trace, way in zip(heard, (200.0, 201.3), strict=True):
        assert oracles.relative_l2(trace, 0.5 * speed * np.interp(t - way / speed, t, integral, left=0.0)) < 5e-3


@pytest.mark.parametrize("n", [64, 128])
def test_burgers_against_cole_and_hopf(n):
    # u = -2 viscosity phi_x / phi with phi = 2 + exp(-viscosity k^2 t) cos(k x), which diffuses. Source: Cole 1951, eq. 5.
    viscosity, time = 0.02, 0.5
    grid, x = line(n)
    flow = pde.Solver(pde.Burgers(), grid, order=8, boundary=pde.Periodic(), stepping=pde.RungeKutta4())

    def exact(t):
        decay = np.exp(-viscosity * WAVE**2 * t)
        return 2.0 * viscosity * WAVE * decay * np.sin(WAVE * x) / (2.0 + decay * np.cos(WAVE * x))

    start = exact(0.0) + 0.0
    found = flow.evolve({"u": start}, time, step=0.5 / 800, viscosity=np.full(n, viscosity))["u"].numpy()
    assert np.abs(found - exact(time)).max() < 2e-5 * np.abs(exact(time)).max() * (64 / n) ** 7       # of order 8 in space
    assert abs(found.sum()) < 1e-13 * np.abs(found).sum()                                             # momentum, to rounding


def test_heat_spreads_as_a_gaussian():
    n, diffusivity, time, width = 128, 0.01, 0.05, 0.05
    grid, x = line(n)
    body = pde.Solver(pde.Heat(), grid, order=8, boundary=pde.Periodic(), stepping=pde.RungeKutta4())
    start = np.exp(-(((x - 0.5) / width) ** 2) / 2.0)
    found = body.evolve({next(iter(body.equation.fields)): start}, time, diffusivity=np.full(n, diffusivity))
    (found,) = (v.numpy() for v in found.values())
    wide = np.sqrt(width**2 + 2.0 * diffusivity * time)
    assert np.abs(found - width / wide * np.exp(-(((x - 0.5) / wide) ** 2) / 2.0)).max() < 1e-6
    assert abs(found.sum() - start.sum()) < 1e-13 * start.sum()                                       # heat, to rounding


@pytest.mark.parametrize("top", [None, pde.FreeSurface(), pde.Rigid()], ids=["layer", "free", "rigid"])
def test_p_waves_along_a_line(top):
    # A force sends v = f(t - distance / c) / (2 density c) to both sides; a free surface reflects it as it is, a wall its opposite.
    spacing, speed, density, step = 5.0, 2000.0, 2000.0, 5e-4
    times = np.arange(900) * step
    wave = pde.Solver(pde.Elastic(ndim=1), pde.Grid((300,), spacing), order=8, boundary=pde.Sides(pde.CPML(20), top=top))
    wavelet = pde.Wavelet(oracles.ricker(times, 15.0, 0.1), step)
    survey = pde.Survey([[[302.5]]], [[[902.5], [152.5]]], wavelet, source_field="vz", receiver_field="vz")
    medium = {"p_speed": speed, "s_speed": 900.0, "density": density}
    out = wave.solve(survey, **{k: np.full(300, v) for k, v in medium.items()}).numpy()[0]
    sign = {None: 0.0, pde.FreeSurface: 1.0, pde.Rigid: -1.0}[type(top) if top else None]
    for trace, z in zip(out, (902.5, 152.5), strict=True):
        near, far = (oracles.ricker(times - 0.5 * step - d / speed, 15.0, 0.1) for d in (abs(z - 302.5), z + 302.5))
        assert oracles.relative_l2(trace, (near + sign * far) / (2.0 * density * speed)) < 0.007  # 0.0058: the time step's error over 600 m
