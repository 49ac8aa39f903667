"""Elastic waves against an independent solution in closed form, and at contacts of fluids and solids."""

from pathlib import Path

import numpy as np
import pytest

from hyperion import pde
from hyperion.autograd import Tensor
from hyperion.errors import InputError
from hyperion.pde.placing import Placed
from tests.pde import media, oracles

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "analytic" / "elastic_fullspace_2d.npz"


def velocity(field, shape, spacing, source, receiver, wavelet, source_field="vz", **medium):
    """Return what a receiver hears of a field; medium: arrays of the grid's shape, or numbers."""
    wave = pde.Solver(pde.Elastic(), pde.Grid(shape, spacing), order=8, boundary=pde.CPML(width=20))
    survey = pde.Survey([[source]], [[receiver]], wavelet, source_field=source_field, receiver_field=field)
    return wave.solve(survey, **{k: np.broadcast_to(np.float64(v), shape) for k, v in medium.items()}).numpy()[0, 0]


@pytest.mark.skipif(not REFERENCE.exists(), reason="reference data are not part of the package")
@pytest.mark.parametrize("component", ["z", "x"])
def test_a_force_in_a_full_space(component):
    # Absolute amplitudes of displacements: by the frequency-domain solution (Carcione). Two independent codes agree to 0.94 %.
    step, delay = 4e-4, 0.1
    times = np.arange(1500) * step
    wavelet = pde.Wavelet(oracles.ricker(times, 18.0, delay), step)
    medium = {"p_speed": 3297.849, "s_speed": 2222.536, "density": 2000.0}
    rate = velocity(f"v{component}", (200, 200), 5.0, (250.0, 250.0), (750.0, 750.0), wavelet, **medium)
    data = np.load(REFERENCE)
    kept = (data["t_freq"] > 0.05) & (data["t_freq"] < 0.45)
    exact = data[f"U{component}_elastic_freq"][kept]
    # Velocities are half a step earlier than their sample's time: their running sum is the displacement at its time.
    displacement = np.interp(data["t_freq"][kept], times - delay, np.cumsum(rate) * step)
    assert oracles.relative_l2(displacement, exact) < 0.0055                         # 0.0050 measured; the time step's error is most of it
    assert abs(np.abs(displacement).max() / np.abs(exact).max() - 1.0) < 0.002


def test_fluid_over_solid_stays_stable_in_three_dimensions():
    # A bottom that dips along both axes, so that contacts have steps of every orientation.
    shape = (24, 22, 24)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    solid = z + 0.3 * y + 0.2 * x > 16.0
    solids, fluids = {"p_speed": 3500.0, "s_speed": 2000.0, "density": 2500.0}, {"p_speed": 1500.0, "s_speed": 0.0, "density": 1000.0}
    medium = {k: np.where(solid, solids[k], fluids[k]).astype(np.float32) for k in solids}
    wave = pde.Solver(pde.Elastic(ndim=3), pde.Grid(shape, 10.0), order=4, boundary=pde.CPML(width=5))
    wavelet = pde.ricker(10.0, 4.0, 1.5e-3)
    survey = pde.Survey([[(50.0, 100.0, 120.0)]], [[(150.0, 100.0, 120.0)]], wavelet, source_field="pressure", receiver_field="vz")
    heard = wave.solve(survey, **medium).numpy()[0, 0]
    assert np.abs(heard[-200:]).max() < 1e-4 * np.abs(heard).max()                   # 2667 samples


def test_fluid_over_solid_stays_stable():
    shape = (60, 60)
    depth = np.arange(shape[0])[:, None]
    solid = np.broadcast_to(depth >= 30, shape)
    solids, fluids = {"p_speed": 3500.0, "s_speed": 2000.0, "density": 2500.0}, {"p_speed": 1500.0, "s_speed": 0.0, "density": 1000.0}
    medium = {k: np.where(solid, solids[k], fluids[k]) for k in solids}
    heard = velocity("vz", shape, 10.0, (200.0, 300.0), (350.0, 300.0), pde.ricker(12.0, 8.0, 1e-3), **medium)
    assert np.abs(heard[-500:]).max() < 1e-5 * np.abs(heard).max()                    # 8000 samples: what is trapped leaks into the layer


def test_without_shear_it_is_acoustics():
    shape, wavelet = (50, 50), pde.ricker(15.0, 0.3, 1e-3)
    wavelet = pde.Wavelet(wavelet.samples.astype(np.float64), wavelet.step)
    random = np.random.default_rng(1)
    speed, density = 2000.0 + 200.0 * random.random(shape), 1000.0 + 300.0 * random.random(shape)
    wave = pde.Solver(pde.AcousticVariableDensity(), pde.Grid(shape, 10.0), order=8, boundary=pde.CPML(width=20))
    survey = pde.Survey([[(200.0, 250.0)]], [[(300.0, 330.0)]], wavelet, source_field="p", receiver_field="vx")
    acoustic = wave.solve(survey, speed=speed, density=density).numpy()[0, 0]
    medium = {"p_speed": speed, "s_speed": 0.0, "density": density}
    elastic = velocity("vx", shape, 10.0, (200.0, 250.0), (300.0, 330.0), wavelet, "pressure", **medium)
    # Elastic velocities are stepped before, acoustic ones after what drives them.
    assert oracles.relative_l2(elastic[1:], acoustic[:-1]) < 1e-10
    heard = velocity("pressure", shape, 10.0, (200.0, 250.0), (300.0, 330.0), wavelet, "pressure", **medium)
    survey = pde.Survey([[(200.0, 250.0)]], [[(300.0, 330.0)]], wavelet)
    assert oracles.relative_l2(heard, wave.solve(survey, speed=speed, density=density).numpy()[0, 0]) < 1e-10


def test_means_between_nodes():
    x = Tensor(np.array([[4.0, 0.0, 2.0], [4.0, 4.0, 8.0]]))
    placed = Placed(pde.Elastic(), {"shear": x, "lame": x}, (False, False))
    np.testing.assert_allclose(placed.at("lame", (1,)).numpy(), [[2.0, 1.0, 2.0], [4.0, 6.0, 8.0]])
    np.testing.assert_allclose(placed.at("shear", (1,)).numpy(), [[0.0, 0.0, 2.0], [4.0, 16.0 / 3.0, 8.0]])
    np.testing.assert_allclose(placed.at("shear", (0, 1)).numpy(), [[0.0, 0.0, 3.2], [4.0, 16.0 / 3.0, 8.0]])
    wrapped = Placed(pde.Elastic(), {"lame": x}, (True, True))
    np.testing.assert_allclose(wrapped.at("lame", (1,)).numpy(), [[2.0, 1.0, 3.0], [4.0, 6.0, 6.0]])


@pytest.mark.parametrize("s_speed", [-1.0, 2100.0])
def test_a_medium_that_cannot_be(s_speed):
    medium = {"p_speed": 2000.0, "s_speed": s_speed, "density": 1.0}
    with pytest.raises(InputError, match=r"s_speed must be at least 0 and below 1 p_speed"):
        velocity("vz", (40, 40), 10.0, (100.0, 100.0), (200.0, 200.0), pde.ricker(10.0, 0.1, 1e-3), **medium)


def test_shear_waves_across_the_plane_in_a_full_space():
    # v_tt = c^2 laplace(v) + f_t / density: the Green's function of the wave operator times f_t / (density c^2).
    step, speed, density, delay, frequency, spacing, shape = 5e-4, 1500.0, 2000.0, 0.1, 15.0, 7.0, (90, 90)
    times, a = np.arange(500) * step, np.pi * frequency
    wave = pde.Solver(pde.ElasticSH(), pde.Grid(shape, spacing), order=8, boundary=pde.CPML(10))
    source, receiver = np.array([20, 22]) * spacing, np.array([28, 50]) * spacing
    survey = pde.Survey([[source]], [[receiver]], pde.Wavelet(oracles.ricker(times, frequency, delay), step))
    heard = wave.solve(survey, s_speed=np.full(shape, speed), density=np.full(shape, density)).numpy()[0, 0]

    def force_rate(t):
        x = (a * (t - delay)) ** 2
        return -2.0 * a**2 * (t - delay) * (3.0 - 2.0 * x) * np.exp(-x) / (density * speed**2)

    # Sample n of the source acts between steps n and n + 1: half a step later than its time.
    exact = oracles.acoustic_2d(force_rate, times - 0.5 * step, float(np.linalg.norm(receiver - source)), speed)
    assert oracles.relative_l2(heard, exact) < 0.004  # 0.0033 measured


def stokes(direction, offset, wavelet, times, p_speed, s_speed, density):
    """Return the displacement (3, steps) of a point force along an axis in a full space: Aki and Richards (2002), eq. 4.23."""
    r = float(np.linalg.norm(offset))
    g = offset / r
    along, unit = g * g[direction], np.eye(3)[direction]
    x, w = np.polynomial.legendre.leggauss(400)
    low, high = r / p_speed, r / s_speed
    delays = 0.5 * (high - low) * x + 0.5 * (high + low)
    near = 0.5 * (high - low) * (wavelet(times[:, None] - delays) * delays) @ w
    p, s = wavelet(times - r / p_speed), wavelet(times - r / s_speed)
    far = np.outer(along, p) / (p_speed**2 * r) - np.outer(along - unit, s) / (s_speed**2 * r)
    return (np.outer(3.0 * along - unit, near) / r**3 + far) / (4.0 * np.pi * density)


def test_a_force_in_a_full_space_of_three_dimensions():
    step, delay, frequency, spacing, shape = 1e-3, 0.09, 15.0, 10.0, (44, 40, 42)
    medium = {"p_speed": 3000.0, "s_speed": 1800.0, "density": 2200.0}
    times = np.arange(330) * step
    wave = pde.Solver(pde.Elastic(ndim=3), pde.Grid(shape, spacing), order=8, boundary=pde.CPML(8))
    source, receiver = np.array([12.0, 11.0, 10.0]) * spacing, np.array([30.0, 25.0, 28.0]) * spacing
    wavelet = pde.Wavelet(oracles.ricker(times, frequency, delay), step)
    exact = stokes(0, receiver - source, lambda t: oracles.ricker(t, frequency, delay), times, **medium)
    for component, expected in zip("zx", exact[::2], strict=True):
        survey = pde.Survey([[source]], [[receiver]], wavelet, source_field="vz", receiver_field=f"v{component}")
        rate = wave.solve(survey, **{k: np.full(shape, v) for k, v in medium.items()}).numpy()[0, 0]
        # Velocities are half a step earlier than their sample's time: their running sum is the displacement at its time.
        displacement = np.cumsum(rate) * step
        assert abs(np.abs(displacement).max() / np.abs(expected).max() - 1.0) < 0.005          # 0.0007 and 0.0015 measured
        assert oracles.relative_l2(displacement, expected) < 0.015                             # 0.012


def test_a_moment_is_a_couple_of_forces():
    # -M_zx d(delta)/dx along z, and the same with z and x changed: forces at four neighbours.
    shape, spacing, wavelet, d = (60, 60), 10.0, pde.ricker(10.0, 0.35, 1e-3), 2.0
    samples = wavelet.samples.astype(np.float64)
    wave = pde.Solver(pde.Elastic(), pde.Grid(shape, spacing), order=8, boundary=pde.CPML(10))
    medium = {"p_speed": np.full(shape, 2500.0), "s_speed": np.full(shape, 1400.0), "density": np.full(shape, 2000.0)}
    centre, receivers = np.array([205.0, 205.0]), [[(400.0, 305.0), (380.0, 120.0)]]

    def heard(positions, samples, field):
        survey = pde.Survey([positions], receivers, pde.Wavelet(samples, 1e-3), source_field=field, receiver_field="vz")
        return wave.solve(survey, **medium).numpy()[0]

    couple = np.stack([samples, -samples])[None] / (2.0 * d)
    along, down = np.array([0.0, d]), np.array([d, 0.0])
    forces = heard([centre + along, centre - along], couple, "vz") + heard([centre + down, centre - down], couple, "vx")
    # A stress is fed its rate over the step from one sample to the next, a velocity the force at a sample.
    moment = heard([centre], np.diff(samples, append=0.0)[None, None] / 1e-3, "mzx")
    assert oracles.relative_l2(moment, forces) < 0.01  # 0.0066 measured


@pytest.mark.parametrize("ndim", [2, 3])
def test_reflection_of_a_fluid_from_a_solid(ndim):
    # At normal incidence impedances alone count.
    column = media.Column(ndim)
    water, rock = {"p_speed": 1500.0, "s_speed": 0.0, "density": 1000.0}, {"p_speed": 2500.0, "s_speed": 1300.0, "density": 2000.0}
    wave = pde.Solver(pde.Elastic(ndim=ndim), pde.Grid(column.shape, column.spacing), order=4, boundary=pde.Periodic())
    survey = pde.Survey([column.sources], [[column.above]], pde.ricker(20.0, 0.45, 5e-4), source_field="pressure", receiver_field="szz")
    direct, both = (wave.solve(survey, **column.medium(water, below)).numpy()[0, 0] for below in (water, rock))
    one, two = (m["p_speed"] * m["density"] for m in (water, rock))
    reflected = np.linalg.norm(both - direct) / np.linalg.norm(direct)
    assert abs(reflected / ((two - one) / (two + one)) - 1.0) < 0.01
