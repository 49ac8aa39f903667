"""Gaussian random fields whose covariance is a power of the Laplacian, on periodic boxes and on boxes with insulated walls."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, astype, concat
from hyperion.autograd.ops.fft import dct, irfftn, rfftn
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices

from ..checks import is_number, is_positive, is_whole


class GaussianField:
    """The Gaussian field with mean zero and covariance operator scale^2 (-Laplace + tau^2)^(-alpha): Whittle's and Matern's.

    shape: points per axis, 1 or 2 axes. lengths: of the box, or one for all. Periodic: point j lies at j L / n; otherwise the normal
    derivative vanishes at the walls and the points, j L / (n - 1), include both.
    tau: inverse correlation length [radians per length]. alpha: smoothness, above half the number of axes; samples have alpha - axes / 2
    derivatives. scale: factor of the field. mean_free: leave the constant mode out, as the operator-learning papers do.
    modes: largest number of modes per axis that is drawn; None: all the points resolve. With it given, the same generator draws the same
    function on every grid that resolves it.
    Raises: ShapeError, InputError for arguments that cannot be.
    Source: Lindgren, Rue and Lindstrom, J. R. Stat. Soc. B 73 (2011), 423; as used by Li et al., arXiv:2010.08895, section 5.

    >>> field = GaussianField(64, tau=5.0, alpha=2.0, scale=25.0)
    >>> field.sample(Generator(0), 3).shape
    (3, 64)
    """

    def __init__(
        self, shape: Sequence[int] | int, lengths: Sequence[float] | float = 1.0, *, tau: float = 3.0, alpha: float = 2.0,
        scale: float = 1.0, periodic: bool = True, mean_free: bool = True, modes: int | None = None,
    ):
        points = tuple(shape) if np.iterable(shape) else (shape,)
        if len(points) not in (1, 2) or not all(is_whole(n, 4) for n in points) or (periodic and any(n % 2 for n in points)):
            rule = "an even number of points" if periodic else "points"
            raise ShapeError(f"GaussianField(shape={shape!r}): give 1 or 2 axes of at least 4, {rule} each")
        sides = tuple(lengths) if np.iterable(lengths) else (lengths,) * len(points)
        if len(sides) != len(points) or not all(is_positive(side) for side in sides):
            raise InputError(f"GaussianField(lengths={lengths!r}): give one positive length per axis, or one for all")
        if not is_number(alpha) or not alpha > len(points) / 2:
            raise InputError(f"GaussianField(alpha={alpha!r}): must be above half the number of axes, {len(points) / 2:g}, or the variance "
                             "is infinite")
        if not is_number(tau) or tau < 0 or (tau == 0 and not mean_free):
            raise InputError(f"GaussianField(tau={tau!r}): give a positive number, or 0 with mean_free=True")
        if not is_positive(scale):
            raise InputError(f"GaussianField(scale={scale!r}): give a positive number")
        if modes is not None and (not is_whole(modes, 4) or modes > min(points) or (periodic and modes % 2)):
            raise InputError(f"GaussianField(modes={modes!r}): give an even number from 4 to {min(points)}, the shortest axis' points")
        self.shape: tuple[int, ...] = tuple(int(n) for n in points)
        self.lengths: tuple[float, ...] = tuple(float(side) for side in sides)
        self.tau, self.alpha, self.scale = float(tau), float(alpha), float(scale)
        self.periodic, self.mean_free = bool(periodic), bool(mean_free)
        self.noise_shape = self.shape if modes is None else (int(modes),) * len(self.shape)

    def __repr__(self) -> str:
        return (f"GaussianField {'x'.join(map(str, self.shape))}, {self.scale:g}^2 (-Laplace + {self.tau:g}^2)^-{self.alpha:g}, "
                f"{'periodic' if self.periodic else 'insulated'}")

    def eigenvalues(self) -> np.ndarray:
        """Return the variances of the modes: in the layout of `rfftn` if periodic, of k = 0, 1, ... half periods if not."""
        total: Any = self.tau ** 2
        last = len(self.shape) - 1
        for axis, (n, side) in enumerate(zip(self.noise_shape, self.lengths, strict=True)):
            if self.periodic:
                counts = np.arange(n // 2 + 1) if axis == last else np.abs(np.fft.fftfreq(n) * n)
            else:
                counts = np.arange(n) * 0.5
            total = total + ((2.0 * np.pi / side) * counts.reshape([-1 if i == axis else 1 for i in range(last + 1)])) ** 2
        origin = (0,) * (last + 1)
        if self.mean_free:
            total[origin] = 1.0
        out = self.scale ** 2 * total ** -self.alpha
        if self.mean_free:
            out[origin] = 0.0
        return out

    def sample(self, generator: Generator, count: int | None = None, dtype: Any = "float32", device: str = "cpu") -> Tensor:
        """Return samples, shape (count, *shape), or (*shape) without a count; computed in float64 and rounded.

        >>> GaussianField((8, 8), tau=3.0, alpha=2.0, periodic=False).sample(Generator(0)).shape
        (8, 8)
        """
        if count is not None and not is_whole(count, 0):
            raise InputError(f"sample(count={count!r}): give a whole number, or None for one sample without an axis of samples")
        lead = () if count is None else (int(count),)
        return astype(self.colour(generator.normal((*lead, *self.noise_shape), dtype="float64", device=device)), dtype)

    def colour(self, noise: Any) -> Tensor:
        """Return the field of white noise (..., *noise_shape) of unit variance: linear, and differentiable in the noise.

        Raises: ShapeError if the noise has other last axes.
        """
        noise = as_tensor(noise)
        if noise.shape[noise.ndim - len(self.shape):] != self.noise_shape:
            raise ShapeError(f"colour(noise of shape {noise.shape}): the last axes must be {self.noise_shape}")
        weights = np.sqrt(self.eigenvalues() / math.prod(self.lengths))
        return self._periodic(noise, weights) if self.periodic else self._insulated(noise, weights)

    def _periodic(self, noise: Tensor, weights: np.ndarray) -> Tensor:
        axes = tuple(range(-len(self.shape), 0))
        weights = weights * (math.prod(self.shape) / math.sqrt(math.prod(self.noise_shape)))
        if self.noise_shape != self.shape:
            weights = weights * _inside(self.noise_shape)
        spectrum = rfftn(noise, axes=axes) * _constant(weights, noise)
        for axis, (m, n) in zip(axes, zip(self.noise_shape, self.shape, strict=True), strict=True):
            spectrum = _spread(spectrum, axis, m, n, half=axis == -1)
        return irfftn(spectrum, s=self.shape, axes=axes)

    def _insulated(self, noise: Tensor, weights: np.ndarray) -> Tensor:
        out = noise * _constant(weights, noise)
        for axis, (m, n) in zip(range(-len(self.shape), 0), zip(self.noise_shape, self.shape, strict=True), strict=True):
            # DCT-I adds the ends once and the rest twice; the eigenfunctions are sqrt(2) cos(pi k x / L), and 1.
            ends = np.full(m, np.sqrt(0.5))
            ends[0] = 1.0
            if m == n:
                ends[-1] = np.sqrt(2.0)
            shape = [m if i == axis else 1 for i in range(-len(self.shape), 0)]
            out = dct(out * _constant(ends.reshape(shape), noise), type=1, n=n, axis=axis)
        return out


def _constant(values: np.ndarray, like: Tensor) -> Tensor:
    return Tensor(devices.to_device(values.astype(like.dtype), like.device))


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Return 0 at the Nyquist modes of each axis, 1 elsewhere: they have no place of their own on a finer grid."""
    mask = np.ones((*shape[:-1], shape[-1] // 2 + 1))
    mask[..., -1] = 0.0
    if len(shape) == 2:
        mask[shape[0] // 2] = 0.0
    return mask


def _spread(spectrum: Tensor, axis: int, m: int, n: int, half: bool) -> Tensor:
    """Return a spectrum of m points as that of n, along an axis: zeros between its positive and negative frequencies."""
    if m == n:
        return spectrum
    lead = spectrum.ndim + axis
    shape = list(spectrum.shape)
    shape[lead] = n // 2 - m // 2 if half else n - m
    xp = devices.namespace_of(spectrum.device)
    zeros = Tensor(xp.zeros(shape, dtype=spectrum.dtype))
    if half:
        return concat([spectrum, zeros], axis=lead)
    before = (slice(None),) * lead
    return concat([spectrum[(*before, slice(0, m // 2))], zeros, spectrum[(*before, slice(m // 2, m))]], axis=lead)
