"""Absorbing acoustic media: the fit of Q, published solutions, and the attenuation of plane waves."""

from pathlib import Path

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from tests.pde import oracles

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "analytic" / "viscoacoustic_2d.npz"


@pytest.mark.parametrize("quality", [10.0, 20.0, 50.0, 200.0, 1000.0])
@pytest.mark.parametrize(("lowest", "highest", "mechanisms", "bound"), [(2.0, 50.0, 3, 0.06), (1.0, 100.0, 5, 0.06), (5.0, 20.0, 2, 0.07)])
def test_the_fit_of_the_quality_factor(quality, lowest, highest, mechanisms, bound):
    solid = pde.Attenuation.fitted(lowest, highest, mechanisms)
    frequencies = np.geomspace(lowest, highest, 200)
    error = np.abs(quality / solid.quality(frequencies, quality) - 1.0).max()
    assert error < bound  # at the ends of the band; what so few mechanisms can do
    # Speeds are those at the reference frequency.
    assert np.real(1.0 / np.sqrt(solid.modulus(np.array([solid.reference]), quality)))[0] == pytest.approx(1.0, rel=1e-12)


@pytest.mark.skipif(not REFERENCE.exists(), reason="reference data are not part of the package")
@pytest.mark.parametrize(("trace", "bound"), [("p_lossless", 0.012), ("p_lossy", 0.01)])
def test_published_traces(trace, bound):
    # Carcione's solution at 800 m, times 4 pi c^2; relaxed by strain and stress at tau_epsilon and tau_sigma, Q about 100.
    stress = np.array([3.1830988618379068e-2, 3.1830988618379068e-3, 3.1830988618379068e-4])
    strain = np.array([3.3490038309560245e-2, 3.3205062588009785e-3, 3.3551297958320871e-4])
    strengths = (strain / stress - 1.0) / 3.0 * (100.0 if trace == "p_lossy" else 0.0)
    solid = pde.Attenuation(tuple(map(float, stress)), tuple(map(float, strengths)), (0.0, 0.0, 0.0))
    data, step, spacing, delay, density = np.load(REFERENCE), 1e-4, 3.2, 0.04, 2000.0
    shape, times = (300, 90), np.arange(5400) * step
    wave = pde.Solver(pde.Viscoacoustic(solid), pde.Grid(shape, spacing), order=12, boundary=pde.CPML(20))
    fine = np.arange(-1, 8 * times.size) * step / 8.0
    # The rate of injected volume is the integral of the source, 4 pi Ricker; sample n acts half a step after n.
    volume = np.cumsum(oracles.ricker(fine, 50.0, delay)) * step / 8.0 * 4.0 * np.pi / density
    samples = np.interp(times + 0.5 * step, fine + step / 16.0, volume)
    source, receiver = [(30 * spacing, 45 * spacing)], [(30 * spacing + 800.0, 45 * spacing)]
    survey = pde.Survey([source], [receiver], pde.Wavelet(samples, step), source_field="volume", receiver_field="p")
    medium = {"speed": 2000.0, "density": density, "quality": 100.0}
    heard = wave.solve(survey, **{k: np.full(shape, v) for k, v in medium.items()}).numpy()[0, 0]
    kept = (data["t"] > 0.3) & (data["t"] < 0.5)
    # 0.0089 and 0.0062 measured; the time step's error is most of it.
    assert oracles.relative_l2(np.interp(data["t"][kept], times - delay, heard), data[trace][kept]) < bound


@pytest.mark.parametrize("ndim", [2, 3])
def test_plane_waves_lose_and_travel_as_the_solid_says(ndim):
    # Between two receivers a plane wave is multiplied by exp(-i w distance sqrt(density / M(w))): both phase speed and Q(f).
    solid, quality, speed, spacing, n, wide, step = pde.Attenuation.fitted(3.0, 60.0, 2), 25.0, 2000.0, 5.0, 600, 4, 5e-4
    shape = (n,) + (wide,) * (ndim - 1)
    plane = np.stack(np.meshgrid(*[np.arange(wide) * spacing] * (ndim - 1), indexing="ij"), axis=-1).reshape(-1, ndim - 1)
    sources = np.concatenate([np.full((len(plane), 1), 200 * spacing), plane], axis=1)
    receivers = [[220 * spacing, *plane[0]], [300 * spacing, *plane[0]]]
    wave = pde.Solver(pde.Viscoacoustic(solid, ndim), pde.Grid(shape, spacing), order=4, boundary=pde.Periodic())
    survey = pde.Survey([sources], [receivers], pde.ricker(20.0, 0.6, step))
    medium = {"speed": speed, "density": 1500.0, "quality": quality}
    near, far = wave.solve(survey, **{k: np.full(shape, v) for k, v in medium.items()}).numpy()[0]
    frequencies = np.fft.rfftfreq(4 * near.size, step)
    kept = (frequencies > 8.0) & (frequencies < 40.0)
    ratio = (np.fft.rfft(far, 4 * near.size) / np.fft.rfft(near, 4 * near.size))[kept]
    slowness = 1.0 / (speed * np.sqrt(solid.modulus(frequencies[kept], quality)))
    exact = np.exp(-2j * np.pi * frequencies[kept] * 80 * spacing * slowness)
    assert np.abs(exact).min() < 0.4
    assert np.abs(np.abs(ratio) / np.abs(exact) - 1.0).max() < 0.01
    assert np.linalg.norm(ratio - exact) < 0.02 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pde.Attenuation.fitted(10.0, 2.0), "the lower first"),
        (lambda: pde.Attenuation.fitted(2.0, 10.0, 0), "mechanisms=0"),
        (lambda: pde.Attenuation((0.1,), (1.0, 2.0), (0.0,)), "two strengths for each mechanism"),
        (lambda: pde.Attenuation((-0.1,), (1.0,), (0.0,)), "positive time"),
        (lambda: pde.Attenuation((0.1,), (1.0,), (0.0,), reference=0.0), "reference=0.0"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
