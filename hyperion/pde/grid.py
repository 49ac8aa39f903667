"""Regular grids: how many nodes, how far apart, on which device."""
from collections.abc import Sequence

import numpy as np

from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices

from .checks import is_positive, is_whole


class Grid:
    """A regular grid of nodes; positions are in metres in the grid's axis order, from node (0, ..., 0).

    shape: nodes per axis, (nx,), (nz, nx) or (nz, ny, nx). spacing: distance of nodes per axis [m], or one number for all.
    device: "cpu" or "cuda:0".
    Raises: ShapeError, InputError or DeviceError for a shape, spacing or device that cannot be.

    >>> Grid(shape=(174, 500), spacing=(20.0, 20.0))
    Grid 174x500, 20 m, cpu
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float] | float, device: str = "cpu"):
        if not np.iterable(shape) or len(tuple(shape)) not in (1, 2, 3) or not all(is_whole(n, 2) for n in shape):
            raise ShapeError(f"Grid(shape={shape!r}): give 1 to 3 axes of at least 2 nodes each, such as (nz, nx)")
        steps = tuple(spacing) if isinstance(spacing, Sequence | np.ndarray) else (spacing,) * len(shape)
        if not all(is_positive(h) for h in steps):
            raise InputError(f"Grid(spacing={spacing!r}): distances between nodes must be positive and finite [m]")
        if len(steps) != len(shape):
            raise ShapeError(f"Grid(shape={shape}, spacing={spacing}): give one spacing per axis, or one number for all")
        devices.check(device)
        self.shape: tuple[int, ...] = tuple(int(n) for n in shape)
        self.spacing: tuple[float, ...] = tuple(float(h) for h in steps)
        self.device = device

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def extent(self) -> tuple[float, ...]:
        """Position of the last node along each axis [m]."""
        return tuple((n - 1) * h for n, h in zip(self.shape, self.spacing, strict=True))

    def axis(self, k: int) -> np.ndarray:
        """Return the positions of the nodes along axis k [m], shape (shape[k],)."""
        return np.arange(self.shape[k]) * self.spacing[k]

    def __repr__(self) -> str:
        steps = self.spacing[:1] if len(set(self.spacing)) == 1 else self.spacing
        return f"Grid {'x'.join(map(str, self.shape))}, {' x '.join(f'{h:g}' for h in steps)} m, {self.device}"
