"""Low-pass filters: their response, their phase, and that filtered data belong to the filtered wavelet."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from hyperion.inversion import Butterworth, Gaussian

FILTERS = [Gaussian(6.0), Butterworth(6.0), Butterworth(6.0, order=2)]
STEP = 2e-3


@pytest.mark.parametrize("lowpass", FILTERS, ids=repr)
@pytest.mark.parametrize("frequency", [1.0, 3.0, 6.0, 9.0])
def test_a_sine_comes_out_with_the_stated_amplitude(lowpass, frequency):
    time = np.arange(6000) * STEP
    out = lowpass(np.sin(2 * np.pi * frequency * time), STEP)
    steady = slice(2500, 3500)  # a whole number of periods, far from the ends
    amplitude = np.sqrt(2.0 * np.mean(out[steady] ** 2))
    # The discrete Butterworth is the bilinear transform: its frequency axis is warped by (pi f step)^2 / 3 = 0.001 at 9 Hz.
    np.testing.assert_allclose(amplitude, lowpass.response(frequency), rtol=1e-2 if frequency > 6.0 else 3e-3)


def test_gaussian_has_zero_phase():
    time = (np.arange(2001) - 1000) * STEP
    pulse = np.exp(-((time / 0.05) ** 2))
    out = Gaussian(6.0)(pulse, STEP)
    np.testing.assert_allclose(out, out[::-1], atol=1e-12)
    assert out.argmax() == 1000


def test_gaussian_keeps_a_ricker_a_ricker():
    """The spectrum f^2 exp(-f^2/p^2) times 2^-(f/c)^2 is a Ricker of 1/p'^2 = 1/p^2 + ln 2 / c^2."""
    peak, cut, delay = 8.0, 5.0, 1.0
    lower = (peak**-2 + np.log(2.0) / cut**2) ** -0.5
    out = Gaussian(cut)(pde.ricker(peak, 2.0, STEP, delay=delay).samples.astype(float), STEP)
    expected = pde.ricker(lower, 2.0, STEP, delay=delay).samples
    np.testing.assert_allclose(out / out.max(), expected, atol=2e-6)  # the samples are float32


@pytest.mark.parametrize("lowpass", FILTERS, ids=repr)
def test_filters_the_chosen_axis_and_keeps_dtype(lowpass):
    samples = np.random.default_rng(0).normal(size=(3, 400, 2)).astype(np.float32)
    out = lowpass(samples, STEP, axis=1)
    assert out.dtype == np.float32 and out.shape == samples.shape
    np.testing.assert_array_equal(out[1, :, 1], lowpass(samples[1, :, 1], STEP))


def test_butterworth_is_causal():
    samples = np.zeros(500)
    samples[200] = 1.0
    out = Butterworth(6.0)(samples, STEP)
    assert np.all(out[:200] == 0.0) and out[200:].any()
    assert Butterworth(6.0).precursor == 0.0


def test_gaussian_precursor_is_quiet():
    samples = np.zeros(2000)
    samples[1000] = 1.0
    lowpass = Gaussian(4.0)
    out = lowpass(samples, STEP)
    before = 1000 - round(lowpass.precursor / STEP)
    assert np.abs(out[:before]).max() < 4e-4 * out.max()  # four standard deviations: exp(-8)


@pytest.mark.parametrize("lowpass", [Gaussian(5.0), Butterworth(5.0)], ids=repr)
def test_filtered_data_are_the_data_of_the_filtered_wavelet(lowpass):
    grid = pde.Grid((40, 60), 20.0)
    wave = pde.Solver(pde.Acoustic(), grid, boundary=pde.CPML(width=10), stepping=pde.Leapfrog(max_speed=3000.0), threads=1)
    speed = np.where(np.arange(40)[:, None] < 20, 2000.0, 2600.0) * np.ones((1, 60))
    wavelet = pde.ricker(8.0, 1.2, STEP, delay=0.45)  # starts late enough for the Gaussian
    survey = pde.Survey([[[200.0, 300.0]]], [[[100.0, 200.0], [100.0, 800.0]]], wavelet)
    data = wave.solve(survey, speed=speed).numpy()
    filtered = pde.Wavelet(lowpass(wavelet.samples.astype(float), STEP), STEP)
    expected = wave.solve(survey.with_wavelet(filtered), speed=speed).numpy()
    known = data.shape[-1] - round(lowpass.precursor / STEP)  # after that, the filter asks for data beyond the record
    out, expected = lowpass(data, STEP)[..., :known], expected[..., :known]
    assert np.linalg.norm(out - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("frequency=0", lambda: Gaussian(0.0)),
        ("frequency=-2", lambda: Butterworth(-2.0)),
        ("frequency=nan", lambda: Gaussian(float("nan"))),
        ("Nyquist", lambda: Gaussian(300.0)(np.zeros(10), STEP)),
        ("order=0", lambda: Butterworth(3.0, order=0)),
    ],
)
def test_wrong_input_is_refused(match, call):
    with pytest.raises(InputError, match=match):
        call()


def test_a_frequency_as_text_is_refused():
    with pytest.raises(InputError, match="frequency='5' Hz"):
        Gaussian("5")
    with pytest.raises(InputError, match=r"order=2\.5"):
        Butterworth(5.0, order=2.5)
