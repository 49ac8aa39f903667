"""Gaussian random fields: their covariance against the formula, their smoothness, the same function on every grid."""
import math

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import InputError, ShapeError
from hyperion.testing import dot_test

SAMPLES = 20000


def covariance_error(field, wanted):
    """Return the largest deviation of the sample covariance from the formula in units of its own standard deviation.

    Of N Gaussian samples the mean of x y has variance (c(x, x) c(y, y) + c(x, y)^2) / N.
    """
    x = field.sample(hp.random.Generator(7), SAMPLES, dtype="float64").numpy().reshape(SAMPLES, -1)
    found = x.T @ x / SAMPLES
    variance = np.diag(wanted)
    return np.abs((found - wanted) / np.sqrt((np.outer(variance, variance) + wanted ** 2) / SAMPLES)).max()


# Of a few hundred correlated normal deviations the largest is above 5 once in some thousand seeds; this seed is fixed.
BOUND = 5.0


@pytest.mark.parametrize("mean_free", [True, False])
def test_covariance_on_the_circle(mean_free):
    n, length, tau, alpha, scale = 16, 2.0, 4.0, 1.5, 3.0
    field = pde.GaussianField(n, length, tau=tau, alpha=alpha, scale=scale, mean_free=mean_free)
    k = 2 * np.pi / length * np.fft.fftfreq(n) * n
    variances = scale ** 2 * (k ** 2 + tau ** 2) ** -alpha
    variances[0] *= not mean_free
    x = np.arange(n) * length / n
    wanted = np.cos(k * (x[:, None, None] - x[None, :, None])) @ variances / length
    assert covariance_error(field, wanted) < BOUND


def test_covariance_on_the_torus():
    n, tau, alpha = 6, 3.0, 2.0
    field = pde.GaussianField((n, n), tau=tau, alpha=alpha)
    k = 2 * np.pi * np.fft.fftfreq(n) * n
    variances = (k[:, None] ** 2 + k[None, :] ** 2 + tau ** 2) ** -alpha
    variances[0, 0] = 0.0
    wave = np.exp(1j * np.outer(np.arange(n) / n, k))
    wanted = np.einsum("ai,bi,cj,dj,ij->acbd", wave, wave.conj(), wave, wave.conj(), variances).real.reshape(n * n, n * n)
    assert covariance_error(field, wanted) < BOUND


@pytest.mark.parametrize("shape, lengths, modes", [((12,), (1.5,), None), ((5, 6), (1.0, 2.0), None), ((9, 9), (1.0, 1.0), 4)])
def test_covariance_between_insulating_walls(shape, lengths, modes):
    tau, alpha = 3.0, 2.0
    field = pde.GaussianField(shape, lengths, tau=tau, alpha=alpha, periodic=False, mean_free=False, modes=modes)
    counts = [np.arange(modes or n) for n in shape]
    waves = []
    for n, k in zip(shape, counts, strict=True):
        w = np.cos(np.pi * np.outer(np.arange(n) / (n - 1), k)) * np.where(k > 0, math.sqrt(2.0), 1.0)
        waves.append(w)
    squares = sum(np.meshgrid(*[(np.pi * k / side) ** 2 for k, side in zip(counts, lengths, strict=True)], indexing="ij"))
    variances = (squares + tau ** 2) ** -alpha / math.prod(lengths)
    full = waves[0] if len(waves) == 1 else np.kron(waves[0], waves[1])
    assert covariance_error(field, (full * variances.ravel()) @ full.T) < BOUND


def test_variance_is_materns_far_from_the_period():
    # In one dimension alpha = 1 is the exponential covariance scale^2 / (2 tau) e^(-tau r) (Whittle 1954); here with 4096 modes and e^-20
    # over half the box. The tail of the spectrum that is cut off: 2 sum over k > K of 1 / (k^2 L) is about 1 / (pi K).
    field = pde.GaussianField(4096, 1.0, tau=40.0, alpha=1.0, scale=2.0, mean_free=False)
    covariance = np.fft.irfft(field.eigenvalues(), n=4096) * 4096
    wanted = 4.0 / 80.0 * np.exp(-40.0 * np.arange(2048) / 4096)
    np.testing.assert_allclose(covariance[:2048], wanted, rtol=0, atol=4.0 / (np.pi * 2 * np.pi * 2048) * 1.1)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("axes", [1, 2])
def test_the_same_function_on_every_grid(axes, periodic):
    coarse, fine = (16, 32) if periodic else (17, 33)
    fields = [pde.GaussianField((n,) * axes, tau=5.0, alpha=3.0, periodic=periodic, modes=8) for n in (coarse, fine)]
    make = [field.sample(hp.random.Generator(4), 2, dtype="float64") for field in fields]
    every = (slice(None), *(slice(None, None, 2),) * axes)
    np.testing.assert_allclose(make[1].numpy()[every], make[0].numpy(), rtol=0, atol=1e-14 * np.abs(make[0].numpy()).max() * 10)


def test_draws_belong_to_their_generator():
    field = pde.GaussianField((8, 8), tau=3.0, alpha=2.0)
    root = hp.random.Generator(3)
    a, b = field.sample(root.at(5)).numpy(), field.sample(root.at(5)).numpy()
    assert a.dtype == np.float32 and np.array_equal(a, b) and not np.array_equal(a, field.sample(root.at(6)).numpy())
    assert abs(field.sample(root, dtype="float64").numpy().mean()) < 1e-15


def test_colouring_is_linear_and_transposes(random):
    for periodic in (True, False):
        field = pde.GaussianField((8, 10), tau=3.0, alpha=2.0, periodic=periodic, modes=6)
        dot_test(field.colour, (random.standard_normal((2, 6, 6)),))


def test_wrong_input():
    with pytest.raises(ShapeError, match=r"shape=33\).*even"):
        pde.GaussianField(33)
    with pytest.raises(ShapeError, match=r"1 or 2 axes"):
        pde.GaussianField((8, 8, 8))
    for options, match in (({"alpha": 1.0}, r"alpha=1.0.*above half"), ({"tau": -1.0}, "tau"),
                           ({"tau": 0.0, "mean_free": False}, "mean_free"), ({"scale": 0.0}, "scale"), ({"modes": 64}, "modes=64"),
                           ({"lengths": (1.0, -1.0)}, "lengths")):
        with pytest.raises(InputError, match=match):
            pde.GaussianField((16, 16), **options)
    field = pde.GaussianField((16, 16))
    with pytest.raises(InputError, match=r"count=2\.5"):
        field.sample(hp.random.Generator(0), 2.5)
    with pytest.raises(ShapeError, match="noise"):
        field.colour(np.zeros((3, 3)))


def test_fields_resampled_keep_the_modes_that_both_grids_hold():
    torus, rng = pde.Torus((12, 16), (2.0, 3.0)), np.random.default_rng(0)
    values = rng.standard_normal((3, 12, 16))
    finer = torus.resampled(values, (20, 18))
    back = pde.Torus((20, 18), torus.lengths).resampled(finer, (12, 16))
    assert finer.shape == (3, 20, 18)
    np.testing.assert_allclose(torus.resampled(back, (20, 18)), finer, atol=1e-13)                   # a projection
    x, y = np.meshgrid(torus.axis(0), torus.axis(1), indexing="ij")
    def wave(x, y):
        return np.cos(2 * np.pi * (2 * x / 2.0 - 3 * y / 3.0) + 0.4)
    fine = pde.Torus(24, 1.0)
    assert fine.resampled(np.ones((2, 24), np.float32), 8).dtype == np.float32
    other = pde.Torus((10, 8), torus.lengths)
    there = np.meshgrid(other.axis(0), other.axis(1), indexing="ij")
    np.testing.assert_allclose(torus.resampled(wave(x, y), (10, 8)), wave(*there), atol=1e-13)
    np.testing.assert_allclose(other.resampled(wave(*there), (12, 16)), wave(x, y), atol=1e-13)


@pytest.mark.parametrize("shape", [16, (12, 16), (8, 6, 10)])
def test_a_spectrum_adds_up_to_the_mean_square(shape):
    torus = pde.Torus(shape, 3.0)
    values = np.random.default_rng(0).standard_normal((2, *torus.shape))
    wavenumbers, power = torus.spectrum(values)
    np.testing.assert_allclose(power.sum(), (values**2).mean(), rtol=1e-12)
    assert np.allclose(np.diff(wavenumbers), 2 * np.pi / 3.0)


def test_fields_of_another_grid_are_refused():
    torus = pde.Torus((8, 8), 1.0)
    for call in (lambda: torus.spectrum(np.ones((8, 6))), lambda: torus.resampled(np.ones((8, 8), complex), 4)):
        with pytest.raises(ShapeError, match="must be real and end in"):
            call()
    with pytest.raises(ShapeError, match="as many numbers of points"):
        torus.resampled(np.ones((8, 8)), (4, 4, 4))
