"""What is done to a gradient before it becomes a step: masks, smoothing, illumination; each a value that maps an array to one of its shape.

    keep_water = Mask(speed > 1500.0)
    precondition = Chain(Illumination(energy, power=0.5), Smooth((40.0, 80.0), grid.spacing), Illumination(energy, power=0.5))
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["Chain", "Illumination", "Mask", "Smooth"]


class Mask:
    """Zero where the model is fixed.

    free: boolean array of the model's shape, True where the model may change.
    Raises: InputError if nothing is free or `free` is not boolean.

    >>> import numpy as np
    >>> Mask(np.array([False, True, True]))(np.array([5.0, 6.0, 7.0]))
    array([0., 6., 7.])
    """

    def __init__(self, free: Any):
        if free.dtype.kind != "b":
            raise InputError(f"free: has dtype {free.dtype}; it must be boolean, True where the model may change")
        if not bool(free.any()):
            raise InputError("free: is False everywhere, so nothing could change; mark the nodes that may change with True")
        self.free = free

    def __call__(self, gradient: Any) -> Any:
        refuse_shape("Mask", self.free.shape, gradient)
        return device.namespace(gradient).where(self.free, gradient, gradient.dtype.type(0))


class Smooth:
    """A Gaussian average.

    lengths: standard deviation along each axis [m], or one number; 0 leaves an axis alone. spacing: distance of the nodes [m].
    It is a symmetric matrix (the model is mirrored at its edges), so it can stand in a preconditioner.
    Raises: InputError for a negative length.

    >>> import numpy as np
    >>> impulse = np.zeros(81); impulse[40] = 1.0
    >>> smoothed = Smooth(40.0, (20.0,))(impulse)
    >>> x = 20.0 * (np.arange(81) - 40)
    >>> bool(abs(smoothed.sum() - 1.0) < 1e-6), round(float((smoothed * x**2).sum()) ** 0.5)
    (True, 40)
    """

    def __init__(self, lengths: float | Sequence[float], spacing: Sequence[float]):
        each = tuple(float(length) for length in lengths) if isinstance(lengths, Sequence) else (float(lengths),) * len(spacing)
        if len(each) != len(spacing) or not all(math.isfinite(length) and length >= 0.0 for length in each):
            raise InputError(f"smoothing={lengths!r} m: must be a number of at least 0, or one for each of the {len(spacing)} axes")
        self.widths = tuple(length / step for length, step in zip(each, spacing, strict=True))

    def __call__(self, gradient: Any) -> Any:
        if not any(self.widths):
            return gradient
        ndimage = device.scipy_module(device.namespace(gradient), "ndimage")
        return ndimage.gaussian_filter(gradient, self.widths, mode="reflect")


class Illumination:
    """Divide by the energy of the waves that passed, so that what they barely reached moves as far as what they flooded.

    energy: array of the model's shape, not negative: the squared wavefield summed over time and shots, see `wave_energy`.
    floor: added to the energy, as a fraction of its mean; it bounds the amplification. power: 1, or 1/2 for a symmetric product around
    other operators. The result is gradient / (energy / mean + floor)^power.
    Raises: InputError for energies or a floor that cannot be.
    Source: Shin, Jang and Min, Geophysical Prospecting 49 (2001) 592: the diagonal of the pseudo-Hessian.

    >>> import numpy as np
    >>> Illumination(np.array([1.0, 3.0]), floor=0.5)(np.array([1.0, 1.0]))
    array([1. , 0.5])
    """

    def __init__(self, energy: Any, floor: float = 0.005, power: float = 1.0):
        mean = float(energy.mean())
        if not (math.isfinite(mean) and mean > 0.0 and bool((energy >= 0).all())):
            raise InputError("energy: must be finite, not negative, and not zero everywhere; check that the wavefield is not zero")
        if not floor > 0.0:
            raise InputError(f"floor={floor!r}: must be above 0; it bounds how much weak illumination is amplified")
        self.weight = ((energy / mean + floor) ** -power).astype(energy.dtype)

    def __call__(self, gradient: Any) -> Any:
        refuse_shape("Illumination", self.weight.shape, gradient)
        return gradient * self.weight


@dataclass(frozen=True, init=False)
class Chain:
    """Apply one after the other, the first argument first.

    >>> import numpy as np
    >>> double, negate = (lambda g: 2.0 * g), (lambda g: -g)
    >>> float(Chain(double, negate)(np.array(3.0)))
    -6.0
    """

    parts: tuple[Any, ...]

    def __init__(self, *parts: Any):
        object.__setattr__(self, "parts", parts)

    def __call__(self, gradient: Any) -> Any:
        for part in self.parts:
            gradient = part(gradient)
        return gradient


def refuse_shape(what: str, shape: tuple[int, ...], gradient: Any) -> None:
    if gradient.shape != shape:
        raise ShapeError(f"{what}: made for shape {shape}, the gradient has {gradient.shape}; they must agree")
