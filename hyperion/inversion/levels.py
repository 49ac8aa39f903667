"""Models on coarser grids and back: low frequencies need fewer nodes."""

from typing import Any

import numpy as np
from scipy import ndimage

from hyperion.errors import InputError
from hyperion.pde import Grid

__all__ = ["coarse_grid", "coarsen", "refine"]


def coarse_grid(grid: Grid, factor: int) -> Grid:
    """Return the grid of every `factor`-th node; a last node is added where the extent is no multiple, so that the whole model is covered.

    >>> coarse_grid(Grid((174, 500), 20.0), 2)
    Grid 88x251, 40 m, cpu
    """
    if factor < 1 or factor != int(factor):
        raise InputError(f"coarsen={factor!r}: must be a whole number of at least 1")
    shape = tuple(-(-(nodes - 1) // factor) + 1 for nodes in grid.shape)
    return Grid(shape, tuple(factor * step for step in grid.spacing), device=grid.device)


def coarsen(speed: np.ndarray, factor: int) -> np.ndarray:
    """Return a speed on the coarser grid: its slowness is averaged with a Gaussian of half a coarse cell, then sampled.

    Travel times are sums of slowness, so they are kept better than by averaging speeds.
    speed: array of any number of axes, positive. Returns: array of the shape of `coarse_grid`, same dtype.

    >>> coarsen(np.full((5, 6), 2000.0), 2).shape
    (3, 4)
    """
    if factor == 1:
        return speed
    slowness = ndimage.gaussian_filter(1.0 / speed.astype(np.float64), 0.5 * factor, mode="nearest")
    return (1.0 / sample(slowness, factor)).astype(speed.dtype)


def sample(values: np.ndarray, factor: int) -> np.ndarray:
    """Return every `factor`-th value along each axis, the last one repeated where the coarser grid reaches further."""
    for axis, nodes in enumerate(values.shape):
        values = values.take(np.minimum(np.arange(-(-(nodes - 1) // factor) + 1) * factor, nodes - 1), axis=axis)
    return values


def refine(change: np.ndarray, factor: int, shape: tuple[int, ...], order: int = 3) -> np.ndarray:
    """Return an array of the coarser grid on the finer one, interpolated by splines.

    change: a change of the model, or with order=1 (linear: no overshoot) a model. shape: of the finer grid.
    Returns: array of that shape, same dtype.

    >>> refine(np.full((3, 4), 7.0), 2, (5, 6)).shape
    (5, 6)
    """
    if factor == 1:
        return change
    steps: Any = np.full(change.ndim, 1.0 / factor)
    return ndimage.affine_transform(change, steps, output_shape=shape, order=order, mode="nearest").astype(change.dtype)
