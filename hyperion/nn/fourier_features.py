"""Embeddings of coordinates: random Fourier features, and exact periodicity. They stand before the first layer of a network."""

import math
from collections.abc import Mapping
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module

__all__ = ["FourierFeatures", "Periodic"]


class FourierFeatures(Module):
    """Return cosines and sines of random combinations of the coordinates: [cos(2 pi B x), sin(2 pi B x)].

    inputs: coordinates, the last axis of x.  outputs: an even number; half of them are cosines, half sines.
    scale: standard deviation of the entries of B, drawn once from a normal distribution [cycles per unit of x]; a number, or one for each
        coordinate. Papers that leave out 2 pi have a scale 2 pi times as large.
    B, (outputs / 2, inputs), is a buffer `frequencies`: part of the state, never trained.
    A tanh network learns low frequencies first; from features of a scale near the solution's it learns that scale as fast.
    Raises: InputError for odd outputs or a scale that is not positive; ShapeError if x does not end in `inputs` numbers.
    Source: Tancik et al. 2020, "Fourier features let networks learn high frequency functions", arXiv:2006.10739, section 6 (Gaussian).

    >>> FourierFeatures(2, 16, scale=(1.0, 5.0))(hp.ones((7, 2))).shape
    (7, 16)
    """

    def __init__(
        self, inputs: int, outputs: int, scale: float | tuple[float, ...] = 1.0, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.inputs, self.outputs = as_count(inputs, "FourierFeatures(inputs)"), as_count(outputs, "FourierFeatures(outputs)", 2)
        if outputs % 2:
            raise InputError(f"FourierFeatures(outputs)={outputs} must be even: as many cosines as sines")
        scales = tuple(scale) if isinstance(scale, tuple | list) else (scale,) * inputs
        if len(scales) != inputs or not all(isinstance(s, int | float) and 0.0 < s < math.inf for s in scales):
            raise InputError(f"FourierFeatures(scale)={scale!r} must be a number above 0, or one for each of the {inputs} coordinates")
        drawn = initializers.normal((outputs // 2, inputs), generator, dtype=dtype)
        self.frequencies = drawn * hp.asarray(scales, dtype=drawn.dtype)

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), as (..., outputs)."""
        x = _of_width(x, self.inputs, "FourierFeatures")
        phase = hp.affine(2.0 * math.pi * x, self.frequencies)
        return hp.concat([hp.cos(phase), hp.sin(phase)], axis=-1)


class Periodic(Module):
    """Return the coordinates with some of them on circles: x becomes cos(2 pi k x / period), sin(2 pi k x / period), k = 1 to harmonics.

    inputs: coordinates, the last axis of x.  periods: {column: its period, in units of x}; -1 is the last column.
    Columns without a period pass as they are and come first; `outputs` is how many numbers there are then.
    A smooth network of these is exactly periodic with all its derivatives, so the loss needs no term for it.
    Raises: InputError for a column that is not there or a period that is not positive; ShapeError if x does not end in `inputs` numbers.
    Source: Dong and Ni 2021, J. Comput. Phys. 435, 110242, section 2.2 (C-infinity periodic conditions).

    >>> layer = Periodic(2, {0: 2.0})
    >>> layer.outputs, bool(hp.allclose(layer(hp.asarray([0.25, 3.0])), layer(hp.asarray([2.25, 3.0])), atol=1e-6))
    (3, True)
    """

    def __init__(self, inputs: int, periods: Mapping[int, float], harmonics: int = 1) -> None:
        self.inputs, self.harmonics = as_count(inputs, "Periodic(inputs)"), as_count(harmonics, "Periodic(harmonics)")
        if not isinstance(periods, Mapping) or not periods:
            raise InputError(f"Periodic(periods)={periods!r} must be a dict, {{column: period}}, with one entry or more")
        found: dict[int, float] = {}
        for column, period in periods.items():
            if isinstance(column, bool) or not isinstance(column, int) or not -inputs <= column < inputs or column % inputs in found:
                raise InputError(f"Periodic(periods)={dict(periods)!r}: {column!r} must be a column from 0 to {inputs - 1}, given once")
            if isinstance(period, bool) or not isinstance(period, int | float) or not 0.0 < period < math.inf:
                raise InputError(f"Periodic(periods)={dict(periods)!r}: the period of column {column} must be a number above 0")
            found[column % inputs] = float(period)
        self.periods = found
        self.outputs = inputs + (2 * harmonics - 1) * len(found)

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), as (..., outputs)."""
        x = _of_width(x, self.inputs, "Periodic")
        parts = [x[..., i:i + 1] for i in range(self.inputs) if i not in self.periods]
        for column, period in self.periods.items():
            for k in range(1, self.harmonics + 1):
                phase = (2.0 * math.pi * k / period) * x[..., column:column + 1]
                parts += [hp.cos(phase), hp.sin(phase)]
        return hp.concat(parts, axis=-1)


def _of_width(x: Any, inputs: int, name: str) -> Tensor:
    x = as_tensor(x)
    if not x.ndim or x.shape[-1] != inputs:
        raise ShapeError(f"{name}({inputs}): x has shape {x.shape}; its last axis must have length {inputs}")
    return x
