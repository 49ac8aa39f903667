"""Pseudo-acoustic anisotropic media: the isotropic limit, tilted axes, wavefronts against group velocities, stability."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hyperion import pde
from hyperion.errors import BoundaryError, InputError
from tests.pde import oracles

SHALE = {"speed": 2500.0, "epsilon": 0.24, "delta": 0.1}


def gathers(equation, shape, source, receivers, spacing=10.0, frequency=12.0, duration=0.5, step=1e-3, boundary=None, order=8, **medium):
    """Return gathers (receivers, steps) of one shot."""
    boundary = boundary or pde.CPML(10)
    wave = pde.Solver(equation, pde.Grid(shape, spacing), order=order, boundary=boundary, stepping=pde.Leapfrog(max_speed=3500.0))
    wavelet = pde.Wavelet(pde.ricker(frequency, duration, step).samples.astype(np.float64), step)
    survey = pde.Survey([[source]], [receivers], wavelet)
    return wave.solve(survey, **{k: np.broadcast_to(np.float64(v), shape) for k, v in medium.items()}).numpy()[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_anisotropy_it_is_acoustic(ndim):
    shape = {2: (40, 44), 3: (24, 22, 26)}[ndim]
    speed, boundary = 2000.0 + 300.0 * np.random.default_rng(1).random(shape), pde.Periodic() if ndim == 3 else pde.CPML(10)
    source, receivers = (150.0, 160.0, 120.0)[:ndim], [(180.0, 60.0, 200.0)[:ndim]]
    none = {"duration": 0.3, "boundary": boundary, "speed": speed, "epsilon": 0.0, "delta": 0.0}
    acoustic = gathers(pde.Acoustic(), shape, source, receivers, **{k: v for k, v in none.items() if k not in ("epsilon", "delta")})
    vti = gathers(pde.AcousticVTI(), shape, source, receivers, **none)
    assert oracles.relative_l2(vti, acoustic) < 1e-12
    axis = {"tilt": 0.4, "azimuth": 0.3} if ndim == 3 else {"tilt": 0.4}
    tti = gathers(pde.AcousticTTI(ndim), shape, source, receivers, **none, **axis)
    assert oracles.relative_l2(tti, acoustic) < 1e-6 if ndim == 3 else 1e-3  # in the layers p and q are damped by different stencils


def p_phase_speed(angle, speed, epsilon, delta):
    """Return the phase speed at an angle from the axis: Alkhalifah 2000, eq. 5, with no S speed."""
    s, c = np.sin(angle) ** 2, np.cos(angle) ** 2
    across = 1.0 + 2.0 * epsilon
    return speed * np.sqrt(0.5 * (across * s + c + np.sqrt((across * s + c) ** 2 - 8.0 * (epsilon - delta) * s * c)))


def group_speed(direction, **medium):
    """Return the group speed in directions [rad from the axis]: the wavefront is the envelope of plane waves."""
    phase = np.linspace(0.0, np.pi / 2.0, 20001)
    # Where a plane wave that left at time 0 has come after a second: v = direction . normal * group speed, least over normals.
    return np.array([np.min((p_phase_speed(phase, **medium) / np.cos(phase - d))[np.abs(phase - d) < 1.4]) for d in direction])


def elliptical_at(centre, shape, spacing=10.0):
    """Return the medium with epsilon = delta around a source, which then sends no slow shear waves."""
    z, x = np.meshgrid(*(np.arange(n) * spacing for n in shape), indexing="ij")
    outside = 1.0 - np.exp(-((z - centre[0]) ** 2 + (x - centre[1]) ** 2) / 40.0**2)
    return SHALE | {"delta": SHALE["epsilon"] + (SHALE["delta"] - SHALE["epsilon"]) * outside}


@pytest.mark.parametrize("tilt", [None, 0.5])
def test_wavefronts_have_the_group_speeds(tilt):
    shape, spacing, radius, step = (121, 121), 10.0, 480.0, 1e-3
    angles = np.radians([0.0, 20.0, 40.0, 60.0, 90.0])               # from the axis
    along = angles + (tilt or 0.0)
    centre = np.array([600.0, 600.0])
    receivers = centre + radius * np.stack([np.cos(along), np.sin(along)], axis=1)
    medium = elliptical_at(centre, shape) | ({} if tilt is None else {"tilt": tilt})
    equation = pde.AcousticVTI() if tilt is None else pde.AcousticTTI()
    heard = gathers(equation, shape, centre, receivers, spacing, frequency=15.0, duration=0.42, step=step, **medium)
    # Pulses have the same shape in every direction; delays against the first are read off cross-correlations.
    expected = radius / group_speed(angles, **SHALE)
    fine = 20
    for trace, time in zip(heard[1:], expected[1:], strict=True):
        product = np.fft.rfft(trace, 2 * trace.size) * np.conj(np.fft.rfft(heard[0], 2 * trace.size))
        correlation = np.fft.irfft(product, 2 * trace.size * fine)
        delay = int(np.argmax(correlation))
        delay = (delay - 2 * trace.size * fine if delay > trace.size * fine else delay) * step / fine
        assert abs(delay - (time - expected[0])) < 0.004 * time      # 0.0026 measured, of differences of up to 0.22


def test_a_tilt_of_nothing_and_of_a_right_angle():
    shape, source, receivers = (50, 60), (240.0, 300.0), [(80.0, 150.0), (420.0, 480.0), (60.0, 300.0)]
    medium = elliptical_at(source, shape)
    # With epsilon = delta there are no slow shear waves, whose wavelengths no grid resolves.
    vti, flat = (
        gathers(equation, shape, source, receivers, frequency=10.0, duration=0.4, **(medium | {"delta": SHALE["epsilon"]} | axis))
        for equation, axis in ((pde.AcousticVTI(), {}), (pde.AcousticTTI(), {"tilt": 0.0}))
    )
    # One equation takes derivatives twice where the other has the stencil of the second.
    assert oracles.relative_l2(flat, vti) < 2e-4  # 4e-5 measured
    upright = medium | {"delta": medium["delta"].T, "tilt": 0.5 * np.pi}
    turned = gathers(pde.AcousticTTI(), shape[::-1], source[::-1], [r[::-1] for r in receivers], frequency=10.0, duration=0.4,
                     boundary=pde.Periodic(), **upright)
    flat = gathers(pde.AcousticTTI(), shape, source, receivers, frequency=10.0, duration=0.4, boundary=pde.Periodic(), **medium, tilt=0.0)
    assert oracles.relative_l2(turned, flat) < 1e-10


@pytest.mark.parametrize("equation", [pde.AcousticVTI(), pde.AcousticTTI()], ids=lambda e: type(e).__name__)
def test_media_that_turn_within_a_wavelength_stay_stable(equation):
    # Axes anywhere up to 86 degrees. Where the axis is tilted inside the layer, waves grow by 1e16 in this time.
    shape, random = (40, 44), np.random.default_rng(4)

    def smooth(low, high):
        x = gaussian_filter(random.random(shape), 3, mode="wrap")
        return low + (high - low) * (x - x.min()) / (x.max() - x.min())

    ranges = {"speed": (1500.0, 2800.0), "epsilon": (0.0, 0.3), "tilt": (-1.5, 1.5)}
    medium = {k: smooth(*v) for k, v in ranges.items() if k in equation.parameters}
    medium["delta"] = medium["epsilon"] - smooth(0.0, 0.3)
    wave = pde.Solver(equation, pde.Grid(shape, 10.0), order=8, boundary=pde.CPML(10))
    survey = pde.Survey([[(200.0, 200.0)]], [[(300.0, 100.0)]], pde.ricker(10.0, 6.0, 2e-3))
    heard = wave.solve(survey, **{k: v.astype(np.float32) for k, v in medium.items()}).numpy()[0, 0]
    assert np.abs(heard[-500:]).max() < 0.1 * np.abs(heard).max()      # 0.03: slow shear waves leave slowly


def test_what_is_refused():
    survey = pde.Survey([[(100.0, 100.0)]], [[(200.0, 200.0)]], pde.ricker(10.0, 0.1, 1e-3))
    wave, shape = pde.Solver(pde.AcousticVTI(), pde.Grid((40, 40), 10.0)), (40, 40)
    with pytest.raises(InputError, match=r"0.1 and 0.2 at node \(0, 0\); .* epsilon >= delta"):
        wave.plan(survey, speed=np.full(shape, 2e3), epsilon=np.full(shape, 0.1), delta=np.full(shape, 0.2))
    with pytest.raises(InputError, match=r"delta > -0\.5"):
        wave.plan(survey, speed=np.full(shape, 2e3), epsilon=np.full(shape, 0.1), delta=np.full(shape, -0.6))
    with pytest.raises(BoundaryError, match="not odd or even"):
        pde.Solver(pde.AcousticTTI(), pde.Grid((40, 40), 10.0), boundary=pde.Sides(pde.CPML(5), top=pde.FreeSurface()))
