"""Inverse real transforms of spectra that no real function has, as networks in Fourier space make them: on every device the same."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.gpu import device

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("place", DEVICES)
@pytest.mark.parametrize("n", [1, 2, 3, 40, 64, 85, 128, 256, 1000, 4096])
def test_imaginary_parts_of_the_ends_do_not_count(place, n, random):
    spectrum = random.standard_normal((3, n // 2 + 1)) + 1j * random.standard_normal((3, n // 2 + 1))
    x = hp.asarray(spectrum, device=place)
    out = hp.fft.irfft(x, n=n)
    np.testing.assert_allclose(device.to_numpy(out.data), np.fft.irfft(spectrum, n=n), atol=1e-13)
    np.testing.assert_array_equal(device.to_numpy(x.data), spectrum)


@pytest.mark.parametrize("place", DEVICES)
@pytest.mark.parametrize("shape", [(4, 128), (128, 128), (64, 64, 40), (5, 7)])
def test_imaginary_parts_do_not_count_over_several_axes(place, shape, random):
    half = (*shape[:-1], shape[-1] // 2 + 1)
    spectrum = random.standard_normal(half) + 1j * random.standard_normal(half)
    out = hp.fft.irfftn(hp.asarray(spectrum, device=place), s=shape)
    lines = np.fft.irfft(np.fft.ifftn(spectrum, axes=tuple(range(len(shape) - 1))), n=shape[-1])
    np.testing.assert_allclose(device.to_numpy(out.data), lines, atol=1e-13)
