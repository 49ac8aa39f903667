"""Periodic boxes and their wavenumbers."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.errors import InputError, ShapeError

from ..checks import is_positive, is_whole


class Torus:
    """A periodic box with an even number of equally spaced points along each of its 1 to 3 axes; point 0 is at 0.

    shape: points per axis, or one number for one axis. lengths: of the box along each axis, or one for all [the unit of your coordinates].
    Products of degree d are free of aliasing for modes |m| < n / (d + 1) (for d = 2 the two-thirds rule).
    Raises: ShapeError for odd or too few points, InputError for lengths that cannot be.
    Source: Orszag, J. Atmos. Sci. 28 (1971), 1074.

    >>> Torus((64, 64), lengths=1.0)
    Torus 64x64, 1 x 1
    """

    def __init__(self, shape: Sequence[int] | int, lengths: Sequence[float] | float = 1.0):
        points = tuple(shape) if np.iterable(shape) else (shape,)
        if not 1 <= len(points) <= 3 or not all(is_whole(n, 4) and n % 2 == 0 for n in points):
            raise ShapeError(f"Torus(shape={shape!r}): give 1 to 3 axes of an even number of points, at least 4; powers of two are fastest")
        sides = tuple(lengths) if np.iterable(lengths) else (lengths,) * len(points)
        if len(sides) != len(points) or not all(is_positive(side) for side in sides):
            raise InputError(f"Torus(shape={shape!r}, lengths={lengths!r}): give one positive length per axis, or one for all")
        self.shape: tuple[int, ...] = tuple(int(n) for n in points)
        self.lengths: tuple[float, ...] = tuple(float(side) for side in sides)

    def __repr__(self) -> str:
        return f"Torus {'x'.join(map(str, self.shape))}, {' x '.join(f'{side:g}' for side in self.lengths)}"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of points per axis."""
        return tuple(side / n for n, side in zip(self.shape, self.lengths, strict=True))

    @property
    def axes(self) -> tuple[int, ...]:
        """The box's axes in an array, counted from the last."""
        return tuple(range(-self.ndim, 0))

    def axis(self, k: int) -> np.ndarray:
        """Return the positions of the points along axis k, shape (shape[k],)."""
        return np.arange(self.shape[k]) * self.spacing[k]

    def modes(self, k: int) -> np.ndarray:
        """Return the whole numbers of periods along axis k in the layout of `rfftn`, in a shape that broadcasts."""
        n = self.shape[k]
        counts = np.arange(n // 2 + 1) if k == self.ndim - 1 else np.round(np.fft.fftfreq(n) * n)
        return counts.reshape([-1 if i == k else 1 for i in range(self.ndim)]).astype(np.float64)

    def wavenumber(self, k: int) -> np.ndarray:
        """Return the angular wavenumbers along axis k in the layout of `rfftn` [radians per length]."""
        return 2.0 * np.pi / self.lengths[k] * self.modes(k)

    def squared(self) -> np.ndarray:
        """Return |k|^2 in the layout of `rfftn`: minus the Laplacian."""
        total: Any = 0.0
        for k in range(self.ndim):
            total = total + self.wavenumber(k) ** 2
        return np.asarray(total)

    def kept(self, degree: int = 2) -> np.ndarray:
        """Return 1 where products of a degree are free of aliasing, 0 elsewhere, in the layout of `rfftn`."""
        mask: Any = 1.0
        for k, n in enumerate(self.shape):
            mask = mask * ((degree + 1) * np.abs(self.modes(k)) < n)
        return np.asarray(mask)
