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

    def resampled(self, values: Any, shape: Sequence[int] | int) -> np.ndarray:
        """Return fields on another number of points: the modes that both grids hold, without those at half the points of the smaller.

        values: array (..., *self.shape). shape: points per axis, or one number for all.
        Returns: (..., *shape), in the precision of the values.

        >>> torus = Torus(8, 2 * np.pi)
        >>> bool(np.allclose(torus.resampled(np.sin(torus.axis(0)), 12), np.sin(2 * np.pi / 12 * np.arange(12))))
        True
        """
        values = self._checked(values)
        points = tuple(shape) if np.iterable(shape) else (shape,) * self.ndim
        if len(points) != self.ndim:
            raise ShapeError(f"resampled(shape={shape!r}): {self!r} has {self.ndim} axes; give as many numbers of points, or one")
        other = Torus(points, self.lengths)
        spectrum = np.fft.rfftn(values, axes=self.axes, norm="forward")
        here, there = [], []
        for k, (n, m) in enumerate(zip(self.shape, other.shape, strict=True)):
            half = min(n, m) // 2
            modes = np.arange(half) if k == self.ndim - 1 else np.r_[0:half, 1 - half:0]
            here.append(modes % n)
            there.append(modes % m)
        out = np.zeros((*values.shape[:values.ndim - self.ndim], *other.shape[:-1], other.shape[-1] // 2 + 1), spectrum.dtype)
        out[(..., *np.ix_(*there))] = spectrum[(..., *np.ix_(*here))]
        return np.fft.irfftn(out, other.shape, axes=other.axes, norm="forward").astype(values.dtype)

    def spectrum(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return wavenumbers and the mean square of fields at each: sums over shells of the lowest wavenumber's width.

        values: array (..., *self.shape); the mean over all leading axes is taken.
        Returns: wavenumbers [radians per length] and as many mean squares; these add up to the mean square of the values.

        >>> torus = Torus((16, 16), 2 * np.pi)
        >>> k, power = torus.spectrum(np.sin(3 * torus.axis(0))[:, None] * np.ones(16))
        >>> int(k[power.argmax()]), round(float(power.sum()), 6)
        (3, 0.5)
        """
        values = self._checked(values)
        spectrum = np.fft.rfftn(values, axes=self.axes, norm="forward")
        power = (np.abs(spectrum) ** 2).mean(axis=tuple(range(values.ndim - self.ndim)))
        last = self.modes(self.ndim - 1)
        power = power * np.where((last > 0) & (last < self.shape[-1] // 2), 2.0, 1.0)        # those with a conjugate that is not kept
        lowest = 2.0 * np.pi / max(self.lengths)
        shell = np.round(np.sqrt(self.squared()) / lowest).astype(int)
        sums = np.bincount(shell.ravel(), power.ravel())
        return lowest * np.arange(len(sums)), sums

    def _checked(self, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.shape[-self.ndim:] != self.shape or array.dtype.kind != "f":
            raise ShapeError(f"values have shape {array.shape}, {array.dtype}; they must be real and end in {self.shape}, as {self!r} has")
        return array
