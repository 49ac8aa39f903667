"""Absorbing elastic media: a published solution, the limits of no loss and of no shear, and what cannot be."""

from pathlib import Path

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from tests.pde import half_space, media, oracles

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "analytic" / "elastic_fullspace_2d.npz"

pytestmark = pytest.mark.usefixtures("quick_to_compile")


@pytest.mark.skipif(not REFERENCE.exists(), reason="reference data are not part of the package")
@pytest.mark.parametrize("component", ["z", "x"])
def test_a_force_in_a_full_space(component):
    # Carcione's solution: Q of the bulk modulus lame + shear 22.3, of the shear modulus 20, three mechanisms over a factor of ten on both
    # sides of the source's frequency, speeds those at infinite frequency. Losses take 60 % of the amplitude.
    step, delay, shape = 4e-4, 0.1, (140, 140)
    times = np.arange(1400) * step
    p_speed, s_speed = 3297.849, 2222.536
    solid = pde.Attenuation.fitted(1.8, 180.0, 3)
    solid = pde.Attenuation(solid.times, solid.linear, solid.quadratic, reference=None)
    p_quality = p_speed**2 / ((p_speed**2 - s_speed**2) / 22.3 + s_speed**2 / 20.0)
    medium = {"p_speed": p_speed, "s_speed": s_speed, "density": 2000.0, "p_quality": p_quality, "s_quality": 20.0}
    wave = pde.Solver(pde.Viscoelastic(solid), pde.Grid(shape, 5.0), order=8, boundary=pde.CPML(width=15))
    wavelet = pde.Wavelet(oracles.ricker(times, 18.0, delay), step)
    survey = pde.Survey([[(100.0, 100.0)]], [[(600.0, 600.0)]], wavelet, source_field="vz", receiver_field=f"v{component}")
    rate = wave.solve(survey, **{k: np.full(shape, v) for k, v in medium.items()}).numpy()[0, 0]
    data = np.load(REFERENCE)
    kept = (data["t_freq"] > 0.05) & (data["t_freq"] < 0.45)
    exact = data[f"U{component}_viscoelastic_freq"][kept]
    # Velocities are half a step earlier than their sample's time: their running sum is the displacement at its time.
    displacement = np.interp(data["t_freq"][kept], times - delay, np.cumsum(rate) * step)
    assert oracles.relative_l2(displacement, exact) < 0.01                           # 0.0060 measured for z


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")               # a comparison of two schemes, whatever the sampling
@pytest.mark.parametrize("top", [None, pde.FreeSurface()], ids=["periodic", "free"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_without_loss_it_is_elastic(ndim, top):
    shape = {2: (30, 34), 3: (20, 18, 22)}[ndim]
    medium, survey = media.water_over_solid(shape), media.blast_heard_as_shear(ndim, 8.0)
    boundary = pde.Sides(pde.CPML(0), top=top, left=top) if top else pde.Periodic()
    loss = {"p_quality": np.full(shape, 1e9), "s_quality": np.full(shape, 1e9)}
    lossless, same = (
        pde.Solver(equation, pde.Grid(shape, 10.0), order=2, boundary=boundary, stepping=pde.Leapfrog(max_speed=3100.0)).solve(
            survey, **medium, **more).numpy()
        for equation, more in ((pde.Elastic(ndim), {}), (pde.Viscoelastic(pde.Attenuation.fitted(2.0, 30.0, 1), ndim), loss))
    )
    assert oracles.relative_l2(same, lossless) < 1e-6                                # 1 / Q times some cycles


def test_without_shear_it_is_acoustics_with_losses():
    shape, wavelet = (50, 50), pde.ricker(12.0, 0.3, 1e-3)
    wavelet = pde.Wavelet(wavelet.samples.astype(np.float64), wavelet.step)
    random, solid = np.random.default_rng(1), pde.Attenuation.fitted(3.0, 40.0, 2)
    speed, density = 2000.0 + 200.0 * random.random(shape), 1000.0 + 300.0 * random.random(shape)
    quality = 20.0 + 20.0 * random.random(shape)
    elastic = {"p_speed": speed, "s_speed": 0.0 * speed, "density": density, "p_quality": quality, "s_quality": quality}
    heard = []
    for equation, source, medium in ((pde.Viscoacoustic(solid), "p", {"speed": speed, "density": density, "quality": quality}),
                                     (pde.Viscoelastic(solid), "pressure", elastic)):
        wave = pde.Solver(equation, pde.Grid(shape, 10.0), order=8, boundary=pde.CPML(10), stepping=pde.Leapfrog(max_speed=2500.0))
        survey = pde.Survey([[(200.0, 250.0)]], [[(300.0, 330.0)]], wavelet, source_field=source, receiver_field=source)
        heard.append(wave.solve(survey, **medium).numpy()[0, 0])
    assert oracles.relative_l2(heard[1], heard[0]) < 1e-10


def test_a_medium_that_cannot_be():
    solid, shape = pde.Attenuation.fitted(2.0, 50.0), (40, 40)
    survey = pde.Survey([[(100.0, 100.0)]], [[(200.0, 200.0)]], pde.ricker(10.0, 0.1, 1e-3))
    medium = {"p_speed": 2000.0, "s_speed": 1960.0, "density": 1000.0, "p_quality": 10.0, "s_quality": 100.0}
    wave = pde.Solver(pde.Viscoelastic(solid), pde.Grid(shape, 10.0))
    # The P modulus relaxes far more than the shear modulus.
    with pytest.raises(InputError, match="does not resist compression"):
        wave.plan(survey, **{k: np.full(shape, v) for k, v in medium.items()})
    with pytest.raises(InputError, match="s_speed"):
        wave.plan(survey, **{k: np.full(shape, v) for k, v in (medium | {"s_speed": -1.0}).items()})


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
@pytest.mark.parametrize(("order", "p_quality", "s_quality"), [(2, 40.0, 20.0), (4, 20.0, 40.0), (8, 40.0, 20.0)])
def test_speed_and_decay_of_rayleigh_waves(order, p_quality, s_quality):
    solid, medium = pde.Attenuation.fitted(1.0, 30.0, 3), {"p_speed": 2000.0, "s_speed": 1000.0, "density": 2000.0}
    qualities = {2000.0: p_quality, 1000.0: s_quality}
    moduli = [lambda w, c=c, q=q: c**2 * solid.modulus(np.array(w / (2.0 * np.pi)), q) for c, q in qualities.items()]
    expected = half_space.rayleigh_frequency(*moduli, wavenumber=2.0 * np.pi / 150.0)
    trace = half_space.ring(pde.Viscoelastic(solid), order, 930.0, 7000, **medium, p_quality=p_quality, s_quality=s_quality)
    # Late: at first there are also S waves that leave along the surface, not much faster.
    found = half_space.oscillation(trace[4500:], 1e-3)
    assert abs(found.real / expected.real - 1.0) < 0.005
    assert abs(found.imag / expected.imag - 1.0) < 0.015


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
def test_nothing_grows_between_free_surfaces():
    shape, random = (24, 33), np.random.default_rng(4)
    p_speed = random.uniform(1500.0, 4000.0, shape)
    medium = {"p_speed": p_speed, "s_speed": p_speed / 1.6, "density": random.uniform(1000.0, 2500.0, shape)}
    medium["s_speed"][:8, :10] = medium["s_speed"][-6:, 20:] = 0.0
    medium |= {"p_quality": random.uniform(30.0, 200.0, shape), "s_quality": random.uniform(40.0, 200.0, shape)}
    free = pde.FreeSurface()
    boundary = pde.Sides(pde.CPML(5), top=free, bottom=free, left=free, right=free)
    wave = pde.Solver(pde.Viscoelastic(pde.Attenuation.fitted(3.0, 60.0, 2)), pde.Grid(shape, 10.0), order=4, boundary=boundary)
    wavelet = pde.Wavelet(oracles.ricker(np.arange(4000) * 1e-3, 30.0, 0.05), 1e-3)
    survey = pde.Survey([[[33.0, 152.0]]], [[[0.0, 0.0], [0.0, 200.0], [123.0, 151.0]]], wavelet, source_field="vx", receiver_field="vz")
    out = np.abs(wave.solve(survey, **medium).numpy()[0])
    assert 0.0 < out[:, -1000:].max() < 0.1 * out[:, :1000].max()
