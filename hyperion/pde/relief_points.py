"""Points near a free surface that follows topography: what is heard there, and sent, is made of cells in the ground alone."""
import itertools
from collections.abc import Sequence

import numpy as np

from hyperion.errors import BoundaryError

from .equation import Equation
from .layout import Taps
from .relief import Relief


def below(relief: Relief, equation: Equation, taps: Taps, positions: np.ndarray, field: str, half: Sequence[float],
          slope: np.ndarray | None) -> Taps:
    """Return taps without those in the air. positions: (points, ndim) [m]; half: where the field sits; slope: see `Solver.taps`."""
    spacing = np.array(relief.spacing)
    if not equation.tractions:
        depth = relief.depth_below(positions) / spacing[0]
        return taps.reweighted(in_proportion_to_depth(relief, taps.cells, taps.weights, taps.owner, depth))
    place = tuple(axis for axis, h in enumerate(half) if h)
    strains = (place or tuple(range(relief.ndim))) if field in equation.tractions else ()
    whole = relief.whole(place, strains)
    at = positions / spacing - np.array(half) + np.array([low for low, _ in relief.pads])
    for i in np.unique(taps.owner[~whole[tuple(taps.cells.T)]]):
        taps = taps.replaced(int(i), *fitted(at[i], whole, None if slope is None else slope[i]))
    return taps


def in_proportion_to_depth(relief: Relief, cells: np.ndarray, weights: np.ndarray, owner: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the weights of points some of whose cells are air, for a field that vanishes on the surface: exact in proportion to depth.

    cells: (taps, ndim) of the padded grid. depth: of the points, (points,) [cells].
    """
    at = tuple(cells.T)
    air, total = ~relief.ground[at], np.zeros(len(depth))
    np.add.at(total, owner, np.where(air, 0.0, weights * relief.phi[at]))
    near = np.zeros(len(depth), bool)
    near[owner[air]] = True
    factor = np.where(near, depth / np.where(near & (total != 0.0), total, 1.0), 1.0)
    return np.where(air, 0.0, weights * factor[owner])


def fitted(point: np.ndarray, whole: np.ndarray, slope: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (cells (taps, ndim), weights) of the value at a point, or of its slope along a vector, from whole cells around it.

    The parabola fitted to them, nearer ones more. point: (ndim,) in cells of `whole`. Source: Lancaster and Salkauskas, Mathematics of
    Computation 37 (1981), 141.
    Raises: BoundaryError where there are too few.
    """
    ndim, middle = len(point), np.rint(point).astype(int)
    around = np.stack(np.meshgrid(*[np.arange(-4, 5)] * ndim, indexing="ij"), axis=-1).reshape(-1, ndim) + middle
    around = around[((around >= 0) & (around < np.array(whole.shape))).all(axis=1)]
    around = around[whole[tuple(around.T)]]
    away = around - point
    pairs = list(itertools.combinations_with_replacement(range(ndim), 2))
    basis = np.concatenate([np.ones((len(away), 1)), away, np.stack([away[:, i] * away[:, j] for i, j in pairs], axis=1)], axis=1)
    if len(around) < 2 * basis.shape[1]:
        where = ", ".join(f"{x:g}" for x in point)
        raise BoundaryError(f"{len(around)} whole cells of ground around the point ({where}), in cells, do not say what the field is "
                            "there; use a smoother FreeSurface(depth) or a finer grid")
    wanted = np.zeros(basis.shape[1])
    wanted[0] = slope is None
    wanted[1:ndim + 1] = 0.0 if slope is None else slope
    near = np.exp(-0.5 * (away ** 2).sum(axis=1))[:, None]
    return around, (near * basis @ np.linalg.pinv(basis.T @ (near * basis), rcond=1e-10) @ wanted)
