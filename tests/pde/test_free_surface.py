"""Free surfaces of solids: closed derivatives, Lamb's and Garvin's problems, Rayleigh waves, reflection, and that nothing grows."""

from pathlib import Path

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from hyperion.pde.surface import inside, surface
from tests.pde import half_space, oracles
from tests.pde.cases import Case
from tests.pde.test_derivatives import mismatch

pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "analytic" / "lamb_halfspace_2d.npz"
FREE = pde.FreeSurface()
MEDIUM = {"p_speed": 3200.0, "s_speed": 1847.5, "density": 2200.0}
STRIP = {"left": pde.Periodic(), "right": pde.Periodic()}


@pytest.mark.parametrize("order", range(2, 17, 2))
def test_closed_derivatives(order):
    s = surface(order)
    nodes, halves = np.arange(len(s.nodes)) * 1.0, np.arange(len(s.nodes)) + 0.5
    whole = len(nodes) - s.reach  # rows that do not read beyond the matrix
    assert (s.nodes > 0.3).all() and (s.halves > 0.3).all()
    for k in range(3 if order > 2 else 2):  # parabolas; tractions vanish on the surface
        exact = [k * x[:whole] ** max(k - 1, 0) for x in (halves, nodes)]
        np.testing.assert_allclose((s.velocity(1) @ nodes**k)[:whole], exact[0], atol=1e-12)
        np.testing.assert_allclose((s.velocity(-1) @ halves**k)[1:whole], exact[1][1:], atol=1e-12)
        if k:
            np.testing.assert_allclose((s.traction(1) @ nodes**k)[:whole], exact[0], atol=1e-12)
            np.testing.assert_allclose((s.traction(-1) @ halves**k)[:whole], exact[1], atol=1e-12)
    # Summation by parts; and no wave is faster than inside.
    np.testing.assert_allclose(s.nodes[:, None] * s.traction(-1), -(s.halves[:, None] * s.velocity(1)).T, atol=1e-14)
    largest = np.abs(inside(s.reach, 1, 4 * order)[s.reach]).sum()
    n, h = np.sqrt(s.nodes), np.sqrt(s.halves)
    for m in (h[:, None] * s.velocity(1) / n, n[:, None] * s.velocity(-1) / h):
        assert np.linalg.norm(m, 2) < 1.005 * largest


@pytest.mark.parametrize(
    ("order", "boundary", "fields"),
    [
        (8, pde.Sides(pde.CPML(5), bottom=FREE, right=FREE), ("szz", "sxx")),
        (4, pde.Sides(pde.CPML(5), top=FREE, bottom=FREE, left=FREE, right=FREE), ("vx", "pressure")),
    ],
    ids=str,
)
def test_the_adjoint_is_exact(order, boundary, fields):  # other combinations: tests/pde/registry.py
    assert mismatch(Case((31, 40), order, boundary, equation=pde.Elastic(), fields=fields)) < 1e-12


def heard(shape, spacing, boundary, sources, receivers, wavelet, sent, field, order=8, equation=None, **medium):
    """Return gathers (receivers, steps) of one shot and half an internal step, by which velocities are early."""
    wave = pde.Solver(equation or pde.Elastic(), pde.Grid(shape, spacing), order=order, boundary=boundary)
    survey = pde.Survey(np.array(sources)[None], np.array(receivers)[None], wavelet, source_field=sent, receiver_field=field)
    medium = {k: np.broadcast_to(np.float64(v), shape) for k, v in (medium or MEDIUM).items()}
    return wave.solve(survey, **medium).numpy()[0], 0.5 * wave.plan(survey, **medium).step


@pytest.mark.skipif(not REFERENCE.exists(), reason="reference data are not part of the package")
def test_the_closed_form_of_lambs_problem():
    # Another's solution at 990 m; z is up there, and its first sample one later.
    data = np.load(REFERENCE)
    times = data["t"][::20] + data["t"][1] - data["t"][0]
    for expected, v in zip((-data["Vz"][::20], data["Vx"][::20]), half_space.lamb(times, 990.0, 14.5, **MEDIUM), strict=True):
        assert oracles.relative_l2(v, expected) < 0.002


@pytest.mark.parametrize(("field", "order"), [("vz", 8), ("vx", 4)])
def test_lambs_problem(field, order):
    spacing, step, delay = 5.0, 5e-4, 0.1
    times = np.arange(1000) * step
    wavelet = pde.Wavelet(oracles.ricker(times, 14.5, delay), step)
    boundary = pde.Sides(pde.CPML(20), top=FREE)
    out, early = heard((70, 150), spacing, boundary, [[0.0, 100.0]], [[0.0, 600.0]], wavelet, "vz", field, order=order)
    exact = half_space.lamb(times - delay - early, 500.0, 14.5, **MEDIUM)[field == "vx"]
    assert oracles.relative_l2(out[0], exact) < 0.035  # 0.030 and 0.024 measured with 8.7 points per wavelength at 40 Hz


@pytest.mark.parametrize("field", ["vz", "vx"])
def test_garvins_problem(field):
    # An explosion at a depth of 100 m, on a node; receivers on the surface near and far, where the Rayleigh wave has formed.
    spacing, step, delay, frequency = 5.0, 5e-4, 0.1, 15.0
    times = np.arange(1000) * step
    wavelet = pde.Wavelet(oracles.ricker(times, frequency, delay), step)
    receivers = [[0.0, 250.0], [0.0, 600.0]]
    out, early = heard((70, 150), spacing, pde.Sides(pde.CPML(20), top=FREE), [[100.0, 100.0]], receivers, wavelet, "pressure", field)
    for trace, x in zip(out, (150.0, 500.0), strict=True):
        # Sources of stress act half a step later than their samples.
        exact = half_space.garvin(times - delay - 2.0 * early, x, 100.0, frequency, **MEDIUM)[field == "vx"]
        assert oracles.relative_l2(trace, exact) < 0.03


@pytest.mark.parametrize("order", [2, 4, 8])
@pytest.mark.parametrize("ratio", [1.6, 4.0])
def test_the_speed_of_rayleigh_waves(order, ratio):
    medium = {"p_speed": ratio * 1000.0, "s_speed": 1000.0, "density": 2000.0}
    speed = half_space.rayleigh_speed(medium["p_speed"], 1000.0)
    found = half_space.oscillation(half_space.ring(pde.Elastic(), order, speed, 4000, **medium)[2500:], 1e-3).real * 150.0 / (2.0 * np.pi)
    assert abs(found / speed - 1.0) < 0.005


@pytest.mark.parametrize("name", ["top", "bottom"])
def test_a_plane_wave_doubles_at_the_surface(name):
    # Normal incidence: reflection coefficient 1 of the velocity, -1 of the traction.
    n, rows, spacing, step = 8, 60, 10.0, 1e-3
    depths = (0.0, 200.0) if name == "top" else ((rows - 1) * spacing, (rows - 1) * spacing - 200.0)
    sources = [[abs(depths[0] - 400.0), spacing * i] for i in range(n)]
    wavelet = pde.Wavelet(oracles.ricker(np.arange(700) * step, 10.0, 0.15), step)
    for field, factor in (("vz", 1.0), ("szz", -1.0)):
        receivers = [[depth, 0.0] for depth in depths]
        free, _ = heard((rows, n), spacing, pde.Sides(pde.CPML(20), **{name: FREE}, **STRIP), sources, receivers, wavelet, "szz", field)
        none, _ = heard((rows, n), spacing, pde.Sides(pde.CPML(20), **STRIP), sources, receivers, wavelet, "szz", field)
        scale = np.abs(none[0]).max()
        assert np.abs(free[0] - (1.0 + factor) * none[0]).max() < 0.01 * scale
        # 200 m below comes what has travelled 400 m more: the delay of a whole number of samples, at 3200 m/s.
        late = np.roll(none[1], 125)
        late[:125] = 0.0
        assert np.abs(free[1] - none[1] - factor * late).max() < 0.01 * scale


@pytest.mark.parametrize("ratio", [1.5, 10.0])
@pytest.mark.parametrize(("order", "dtype"), [(4, np.float32), (8, np.float64)])
def test_nothing_grows(ratio, order, dtype):
    # All sides free, random speeds, fluid in a corner and beneath a part of the surface: energy neither leaves nor grows.
    grows_not(ratio, order, dtype, 4000)


@pytest.mark.full
@pytest.mark.parametrize("ratio", [1.5, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_nothing_grows_for_long(ratio, order):
    grows_not(ratio, order, np.float32, 100_000)


def grows_not(ratio, order, dtype, steps):
    """Check that what is heard late in a closed box is not larger than what is heard early."""
    shape, random = (24, 33), np.random.default_rng(4)
    p_speed = random.uniform(1500.0, 4000.0, shape)
    s_speed = p_speed / ratio
    s_speed[:8, :10] = s_speed[-6:, 20:] = 0.0
    medium = {"p_speed": p_speed, "s_speed": s_speed, "density": random.uniform(1000.0, 2500.0, shape)}
    boundary = pde.Sides(pde.CPML(5), top=FREE, bottom=FREE, left=FREE, right=FREE)
    wave = pde.Solver(pde.Elastic(), pde.Grid(shape, 10.0), order=order, boundary=boundary)
    wavelet = pde.Wavelet(oracles.ricker(np.arange(steps) * 1e-3, 30.0, 0.05).astype(dtype), 1e-3)
    receivers = 10.0 * np.array([[[0.0, 0.0], [0.0, 20.0], [23.0, 32.0], [12.3, 15.1], [5.0, 0.0]]])
    survey = pde.Survey([[[33.0, 152.0]]], receivers, wavelet, source_field="vx", receiver_field="vz")
    out = np.abs(wave.solve(survey, **{k: v.astype(dtype) for k, v in medium.items()}).numpy()[0])
    assert 0.0 < out[:, -steps // 4 :].max() < 1.5 * out[:, : steps // 2].max()


def test_moving_points_near_the_surface_are_refused():
    import hyperion as hp

    wave = pde.Solver(pde.Elastic(), pde.Grid((30, 40), 10.0), order=4, boundary=pde.Sides(pde.CPML(5), top=FREE))
    sources = hp.asarray(np.array([[[12.0, 200.0]]]), requires_grad=True)
    survey = pde.Survey(sources, [[[100.0, 250.0]]], pde.ricker(10.0, 0.1, 1e-3), source_field="vz")
    with pytest.raises(InputError, match="nearer than four cells to a free surface of Elastic"):
        wave.solve(survey, **{k: np.full((30, 40), v) for k, v in MEDIUM.items()})
