"""Gradient processing: masks, smoothing, illumination."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError, ShapeError
from hyperion.inversion import Chain, Illumination, Mask, Smooth, reciprocal, wave_energy


def test_mask_keeps_only_what_is_free():
    free = np.random.default_rng(0).random((5, 7)) < 0.5
    gradient = np.ones((5, 7), np.float32)
    out = Mask(free)(gradient)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, free)


@pytest.mark.parametrize("lengths", [30.0, (60.0, 0.0), [15.0, 45.0]])
def test_smoothing_is_a_symmetric_average(lengths):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 30))
    smooth = Smooth(lengths, (10.0, 15.0))
    assert np.isclose((smooth(a) * b).sum(), (a * smooth(b)).sum(), rtol=1e-12)
    np.testing.assert_allclose(smooth(np.full((40, 30), 3.0)), 3.0, rtol=1e-12)
    assert np.abs(smooth(a)).max() < np.abs(a).max()


def test_smoothing_has_the_stated_length():
    impulse = np.zeros((1, 201))
    impulse[0, 100] = 1.0
    x = 15.0 * (np.arange(201) - 100)
    out = Smooth((0.0, 90.0), (10.0, 15.0))(impulse)[0]
    np.testing.assert_allclose(out, np.exp(-0.5 * (x / 90.0) ** 2) * 15.0 / 90.0 / np.sqrt(2 * np.pi), atol=2e-5)  # cut at 4 sigma


def test_no_length_changes_nothing():
    a = np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_array_equal(Smooth(0.0, (1.0, 1.0))(a), a)


def test_illumination_equalises():
    energy = np.array([4.0, 1.0, 1e-12])
    out = Illumination(energy, floor=1e-3)(energy)
    np.testing.assert_allclose(out[:2], energy.mean(), rtol=2e-3)
    weights = Illumination(energy, floor=1e-3)(np.ones(3))
    assert np.isclose(weights[2], 1e3)  # the floor bounds the amplification


def test_two_roots_are_one_illumination():
    energy = np.random.default_rng(0).random(10)
    root = Illumination(energy, power=0.5)
    gradient = np.arange(10.0)
    np.testing.assert_allclose(Chain(root, root)(gradient), Illumination(energy)(gradient), rtol=1e-13)


def test_wave_energy_falls_as_the_waves_spread():
    """In 2-D, the energy of a point source in a homogeneous medium falls as 1/r."""
    grid = pde.Grid((101, 101), 10.0)
    wave = pde.Solver(pde.Acoustic(), grid, boundary=pde.CPML(width=10), threads=1)
    survey = pde.Survey([[[500.0, 500.0]]], [[[0.0, 0.0]]], pde.ricker(15.0, 0.8, 1.5e-3))
    energy = wave_energy(wave, survey, np.full(grid.shape, 2000.0))
    assert energy.shape == grid.shape and np.isclose(energy.mean(), 1.0)
    near, far = energy[50, 70], energy[50, 90]  # 200 m and 400 m: one and a half wavelengths at least, so the far field holds
    assert np.isclose(near / far, 2.0, rtol=0.03)
    np.testing.assert_allclose(energy, energy[:, ::-1], rtol=1e-6)  # the wavelet is float32


def test_reciprocal_survey_shoots_from_the_receivers():
    receivers = np.broadcast_to(np.stack([np.full(9, 10.0), 10.0 * np.arange(9)], axis=1), (3, 9, 2))
    back = reciprocal(pde.Survey(np.zeros((3, 1, 2)), receivers, pde.ricker(5.0, 1.0, 1e-2)))
    assert back.shots == 3
    np.testing.assert_array_equal(back.sources[:, 0, 1], [0.0, 40.0, 80.0])


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (InputError, "boolean", lambda: Mask(np.ones(3))),
        (InputError, "False everywhere", lambda: Mask(np.zeros(3, bool))),
        (ShapeError, "must agree", lambda: Mask(np.ones(3, bool))(np.ones(4))),
        (InputError, "smoothing", lambda: Smooth(-1.0, (1.0,))),
        (InputError, "smoothing", lambda: Smooth((1.0, 2.0), (1.0,))),
        (InputError, "energy", lambda: Illumination(np.zeros(3))),
        (InputError, "energy", lambda: Illumination(np.array([1.0, -1.0, 3.0]))),
        (InputError, "floor", lambda: Illumination(np.ones(3), floor=0.0)),
        (ShapeError, "must agree", lambda: Illumination(np.ones(3))(np.ones(4))),
    ],
)
def test_wrong_input_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
