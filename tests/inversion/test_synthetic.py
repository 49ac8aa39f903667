"""The built-in model, the smooth start and the surface survey."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import BoundaryError, InputError
from hyperion.inversion import folded_salt_model, smoothed, surface_survey


def test_the_model_has_water_layers_faults_and_salt():
    grid = pde.Grid((161, 401), 12.5)
    speed = folded_salt_model(grid, water=300.0)
    assert speed.dtype == np.float32
    np.testing.assert_array_equal(speed[grid.axis(0) < 300.0], 1500.0)
    assert 0.05 < np.mean(speed == 4400.0) < 0.25
    sediments = speed[grid.axis(0) >= 300.0]
    assert sediments.min() > 1600.0 and len(np.unique(np.round(np.diff(sediments[:, 20]), 0))) > 5
    # A fault: the same depth, the same layer index, jumps sideways by more than folding makes in one cell.
    assert np.abs(np.diff(speed[90, :100])).max() > 100.0


def test_the_model_is_the_same_on_every_grid():
    coarse, fine = folded_salt_model(pde.Grid((81, 201), 25.0)), folded_salt_model(pde.Grid((161, 401), 12.5))
    np.testing.assert_array_equal(coarse, fine[::2, ::2])


def test_smoothing_keeps_water_and_mean_slowness():
    speed = folded_salt_model(pde.Grid((81, 201), 25.0))
    smooth = smoothed(speed, 150.0, 25.0, keep_above=300.0)
    np.testing.assert_array_equal(smooth[:12], speed[:12])
    assert smooth.dtype == speed.dtype and smooth.shape == speed.shape
    assert np.abs(np.diff(smooth[12:], axis=0)).max() < 0.2 * np.abs(np.diff(speed[12:], axis=0)).max()
    assert np.isclose((1.0 / smooth[12:]).mean(), (1.0 / speed[12:]).mean(), rtol=0.02)


def test_survey_spans_the_grid():
    survey = surface_survey(pde.Grid((30, 41), 10.0), pde.ricker(8.0, 1.0, 2e-3), 3, 5, 20.0, 10.0)
    np.testing.assert_array_equal(survey.sources[:, 0], [[20.0, 0.0], [20.0, 200.0], [20.0, 400.0]])
    np.testing.assert_array_equal(survey.receivers[2, :, 1], [0.0, 100.0, 200.0, 300.0, 400.0])


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (InputError, "500 m deeper", lambda: folded_salt_model(pde.Grid((20, 40), 25.0))),
        (InputError, "2-D", lambda: folded_salt_model(pde.Grid((81, 20, 20), 25.0))),
        (InputError, "smoothing=0", lambda: smoothed(np.ones((5, 5)), 0.0, 10.0)),
        (InputError, "shallower", lambda: smoothed(np.ones((5, 5)), 20.0, 10.0, keep_above=500.0)),
        (InputError, "at least 1", lambda: surface_survey(pde.Grid((9, 9), 1.0), pde.ricker(8.0, 1.0, 2e-3), 0, 3, 1.0, 1.0)),
        (BoundaryError, "outside", lambda: surface_survey(pde.Grid((9, 9), 1.0), pde.ricker(8.0, 1.0, 2e-3), 2, 3, 50.0, 1.0)),
    ],
)
def test_wrong_input_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
