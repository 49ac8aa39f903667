"""Models on coarser grids and back."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from hyperion.inversion import coarse_grid, coarsen, refine
from hyperion.inversion.levels import sample

SHAPES = [(11, 21), (12, 20), (10, 11, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_the_coarse_grid_covers_the_fine_one(shape, factor):
    fine = pde.Grid(shape, 10.0)
    coarse = coarse_grid(fine, factor)
    assert coarse.spacing == tuple(10.0 * factor for _ in shape)
    assert all(0.0 <= c - f < 10.0 * factor for c, f in zip(coarse.extent, fine.extent, strict=True))
    assert coarsen(np.ones(shape), factor).shape == sample(np.ones(shape, bool), factor).shape == coarse.shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_constants_survive(shape, factor):
    np.testing.assert_allclose(coarsen(np.full(shape, 2345.0), factor), 2345.0, rtol=1e-12)
    np.testing.assert_allclose(refine(np.full(coarse_grid(pde.Grid(shape, 1.0), factor).shape, 7.0), factor, shape), 7.0, rtol=1e-12)


def test_a_smooth_change_comes_back():
    z, x = np.meshgrid(np.arange(0.0, 1001.0, 10.0), np.arange(0.0, 1501.0, 10.0), indexing="ij")
    change = np.sin(2 * np.pi * z / 500.0) * np.cos(2 * np.pi * x / 700.0)
    back = refine(sample(change, 2), 2, change.shape)
    inside = (slice(10, -10), slice(10, -10))
    np.testing.assert_allclose(back[inside], change[inside], atol=2e-4)  # cubic: (spacing k)^4 / 400 for 25 nodes per wavelength
    assert np.array_equal(refine(change, 1, change.shape), change)


def test_vertical_travel_time_is_kept():
    speed = np.where(np.arange(101) % 20 < 10, 1500.0, 3000.0)[:, None] * np.ones((1, 30))
    fine, coarse = np.trapezoid(1.0 / speed[:, 0], dx=10.0), np.trapezoid(1.0 / coarsen(speed, 2)[:, 0], dx=20.0)
    assert abs(coarse / fine - 1.0) < 0.01  # averaging speeds gives 0.06


def test_linear_refinement_does_not_overshoot():
    steps = np.where(np.arange(20) < 10, 1500.0, 4500.0)[:, None] * np.ones((1, 5))
    out = refine(steps, 3, (58, 13), order=1)
    assert out.min() >= 1500.0 and out.max() <= 4500.0
    np.testing.assert_allclose(out[::3, ::3], steps, rtol=1e-12)


def test_wrong_factor_is_refused():
    with pytest.raises(InputError, match="coarsen=0"):
        coarse_grid(pde.Grid((10, 10), 1.0), 0)
