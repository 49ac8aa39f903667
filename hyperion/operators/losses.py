"""Losses of operators beside those of `hyperion.nn` (relative_l2; relative_h1 by differences): H1 by spectra, and residuals of physics."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion import fft
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import is_complex
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["PhysicsLoss", "relative_h1_spectral"]


def relative_h1_spectral(prediction: Any, target: Any, lengths: Any = 1.0) -> Tensor:
    """Return ||prediction - target|| / ||target|| in H1 of periodic functions, the mean over examples; slopes are exact, by spectra.

    The norm is sqrt(mean of |u|^2 + |grad u|^2), summed over channels.
    prediction, target: (examples, channels, *space), one period of each.
    lengths: of the period along the axes of space [any unit of length], a number or one per axis.
    Norms of targets below 1e-12 count as 1e-12. For functions that are not periodic use `nn.relative_h1`.
    Raises: ShapeError unless both have one shape with an axis of space; InputError for the lengths.
    Source: Czarnecki et al. 2017, "Sobolev training for neural networks", arXiv:1706.04859; Parseval's theorem.

    >>> x = np.arange(16) / 16
    >>> wave = np.sin(2 * np.pi * x)[None, None]
    >>> round(float(relative_h1_spectral(1.5 * wave, wave)), 6)
    0.5
    """
    x, y = as_tensor(prediction), as_tensor(target)
    if x.shape != y.shape or x.ndim < 3 or not x.size:
        raise ShapeError(
            f"relative_h1_spectral: prediction has shape {x.shape}, target {y.shape}; they must have one shape, (examples, channels, "
            "*space)"
        )
    space = x.shape[2:]
    given = tuple(lengths) if isinstance(lengths, tuple | list) else (lengths,) * len(space)
    if len(given) != len(space) or not all(isinstance(n, int | float) and 0.0 < n < math.inf for n in given):
        raise InputError(f"relative_h1_spectral: lengths={lengths!r} must be a number above 0, or one for each of the {len(space)} axes")
    weights = hp.asarray(device.to_device(_sobolev(space, given).astype((x - y).dtype), x.device))
    axes = tuple(range(2, x.ndim))

    def size(u: Tensor) -> Tensor:
        spectrum = fft.rfftn(u, axes=axes, norm="forward")
        squares = hp.square(hp.real(spectrum)) + hp.square(hp.imag(spectrum))
        return hp.sum(squares * weights, axis=tuple(range(1, x.ndim)))

    # The root is taken of a number above 0: the gradient where both agree is 0, not NaN.
    away, norm = size(x - y), hp.sqrt(hp.maximum(size(y), 1e-24))
    return hp.mean(hp.where(away > 0.0, hp.sqrt(hp.where(away > 0.0, away, 1.0)), 0.0) / norm)


def _sobolev(space: tuple[int, ...], lengths: tuple[float, ...]) -> Any:
    """Return 1 + |wavenumber|^2 over a half-spectrum, doubled where a frequency stands for its opposite; slopes at n / 2 count as 0."""
    total: Any = 1.0
    for axis, (n, length) in enumerate(zip(space, lengths, strict=True)):
        last = axis == len(space) - 1
        k = np.arange(n // 2 + 1) if last else np.fft.fftfreq(n, 1.0 / n)
        k = np.where(2 * np.abs(k) == n, 0.0, k)
        total = total + ((2.0 * np.pi / length) * k.reshape((-1, *(1,) * (len(space) - 1 - axis)))) ** 2
    n = space[-1]
    return total * np.array([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(n // 2 + 1)])


class PhysicsLoss:
    """The loss of a physics-informed operator: data(u, target) + weight * mean(|residual(u, x)|^2), with u = model(x).

    residual: a function (u, x) of predictions and inputs that returns what should be zero: an equation's residual at the grid points, by
        differences, by spectra or from a solver; a Tensor, or a tuple of them for several equations.
    data: a function (u, target), for example `nn.relative_l2`.  weight: of the residual, 0 or more.
    Called as loss(model, x, target); target None: only the residual counts, for inputs whose solutions nobody computed.
    Raises: InputError for a negative weight, what is no function, or no target and weight 0.
    Source: Li et al. 2024, "Physics-informed neural operator", ACM/JMS Journal of Data Science 1, 9, eq. 8.

    >>> from hyperion import nn
    >>> loss = PhysicsLoss(lambda u, x: u - 2.0 * x, nn.mse, weight=0.5)
    >>> loss(lambda x: 3.0 * x, hp.ones((4,)), hp.ones((4,)))
    Tensor () float32, cpu: 4.5
    """

    def __init__(self, residual: Callable[..., Any], data: Callable[..., Any], weight: float = 1.0) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < math.inf:
            raise InputError(f"PhysicsLoss(weight): weight={weight!r} must be a number, 0 or more")
        for name, given in (("residual", residual), ("data", data)):
            if not callable(given):
                raise InputError(f"PhysicsLoss({name}): got {given!r}; give a function, such as nn.mse for the data")
        self.residual, self.data, self.weight = residual, data, float(weight)

    def __call__(self, model: Callable[..., Any], x: Any, target: Any = None) -> Tensor:
        if target is None and not self.weight:
            raise InputError("PhysicsLoss: there is no target, and weight=0 leaves the residual out; give one of them")
        u = model(x)
        total = None if target is None else self.data(u, target)
        if self.weight:
            found = self.residual(u, x)
            for part in found if isinstance(found, tuple | list) else (found,):
                part = as_tensor(part)
                term = self.weight * hp.mean(hp.real(part * hp.conj(part)) if is_complex(part.dtype) else hp.square(part))
                total = term if total is None else total + term
        return as_tensor(total)
