"""Rotary positions (RoPE): queries and keys are turned by angles that grow with their place, so that scores depend on distances.

Scalings stretch the angles, so that a model reads longer texts than it was trained on; each is a value.
"""

import math
from typing import Any

import numpy as np

from hyperion.autograd import Tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count

__all__ = ["DynamicScaling", "LinearScaling", "Llama3Scaling", "RoPE", "RoPEScaling", "YaRNScaling"]


def _positive(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise InputError(f"{what}={value!r} must be a number above 0")
    return float(value)


def _plain(size: int, theta: float) -> Any:
    """Return theta^(-2 i / size), (size / 2,)."""
    return theta ** (-np.arange(0, size, 2) / size)


class RoPEScaling:
    """Base of scalings: how the frequencies of RoPE are changed."""

    dynamic = False     # whether they depend on how long the text is

    def frequencies(self, size: int, theta: float, length: int) -> Any:
        """Return angles per place, (size / 2,), for a text of a length."""
        raise NotImplementedError(f"{type(self).__name__} must say what its frequencies are")

    def amplitude(self) -> float:
        """Return what cosines and sines are multiplied by."""
        return 1.0

    def longest(self, context: int) -> int:
        """Return how many tokens a model of a context reads with it."""
        return context

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.__dict__.items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in self.__dict__.items())})"


class LinearScaling(RoPEScaling):
    """All angles divided by a factor: places are interpolated. Source: Chen et al. 2023, arXiv:2306.15595.

    >>> LinearScaling(2.0).frequencies(4, 100.0, 8)
    array([0.5 , 0.05])
    """

    def __init__(self, factor: float) -> None:
        self.factor = _positive(factor, "LinearScaling(factor): factor")

    def frequencies(self, size: int, theta: float, length: int) -> Any:
        """Return the plain frequencies divided by the factor."""
        return _plain(size, theta) / self.factor


class DynamicScaling(RoPEScaling):
    """A larger base theta for texts longer than the model was trained on: near places stay apart, far ones are interpolated.

    factor: how many times longer texts may be.  original: the length it was trained on.
    Source: the dynamic NTK-aware scaling described in Peng et al. 2023, arXiv:2309.00071, section 3.1 and appendix B.

    >>> DynamicScaling(2.0, original=8).longest(8)
    16
    """

    dynamic = True

    def __init__(self, factor: float, original: int) -> None:
        self.factor = _positive(factor, "DynamicScaling(factor): factor")
        self.original = as_count(original, "DynamicScaling(original): original")

    def frequencies(self, size: int, theta: float, length: int) -> Any:
        """Return the plain frequencies of the larger base."""
        stretch = self.factor * max(length, self.original) / self.original - (self.factor - 1.0)
        return _plain(size, theta * stretch ** (size / (size - 2)) if size > 2 else theta)

    def longest(self, context: int) -> int:
        """Return the context times the factor."""
        return max(context, int(self.factor * self.original))


class Llama3Scaling(RoPEScaling):
    """Low frequencies divided by a factor, high ones kept, and a smooth passage between: as Llama 3.1 has it.

    low, high: how many turns within the original length count as low and high.  Source: Dubey et al. 2024, arXiv:2407.21783.

    >>> Llama3Scaling(8.0, 1.0, 4.0, 16).frequencies(4, 1e4, 16)
    array([0.5760564, 0.00125  ])
    """

    def __init__(self, factor: float, low: float = 1.0, high: float = 4.0, original: int = 8192) -> None:
        self.factor = _positive(factor, "Llama3Scaling(factor): factor")
        self.low, self.high = _positive(low, "Llama3Scaling(low): low"), _positive(high, "Llama3Scaling(high): high")
        self.original = as_count(original, "Llama3Scaling(original): original")
        if self.low >= self.high:
            raise InputError(f"Llama3Scaling(low, high): low={low} must be below high={high}")

    def frequencies(self, size: int, theta: float, length: int) -> Any:
        """Return frequencies between the plain ones and those divided by the factor."""
        plain = _plain(size, theta)
        turns = self.original * plain / (2.0 * math.pi)
        kept = np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
        return (1.0 - kept) * plain / self.factor + kept * plain


class YaRNScaling(RoPEScaling):
    """Low frequencies divided by a factor, high ones kept, a ramp over the numbers between; and larger scores.

    original: the length the model was trained on.  fast, slow: turns within it at the ends of the ramp.
    attention: what cosines and sines are multiplied by; None: 0.1 ln(factor) + 1.  truncate: whether the ramp ends at whole numbers.
    Source: Peng et al. 2023, arXiv:2309.00071, section 3.

    >>> round(YaRNScaling(4.0, 16).amplitude(), 6)
    1.138629
    """

    def __init__(
        self, factor: float, original: int, fast: float = 32.0, slow: float = 1.0, attention: float | None = None, truncate: bool = True,
    ) -> None:
        self.factor = _positive(factor, "YaRNScaling(factor): factor")
        self.original = as_count(original, "YaRNScaling(original): original")
        self.fast, self.slow = _positive(fast, "YaRNScaling(fast): fast"), _positive(slow, "YaRNScaling(slow): slow")
        self.attention = None if attention is None else _positive(attention, "YaRNScaling(attention): attention")
        self.truncate = truncate

    def frequencies(self, size: int, theta: float, length: int) -> Any:
        """Return frequencies between the plain ones and those divided by the factor."""
        low, high = (
            size * math.log(self.original / (turns * 2.0 * math.pi)) / (2.0 * math.log(theta)) for turns in (self.fast, self.slow)
        )
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        high = high + 0.001 if low == high else high
        divided = np.clip((np.arange(size // 2) - low) / (high - low), 0.0, 1.0)
        plain = _plain(size, theta)
        return divided * plain / self.factor + (1.0 - divided) * plain

    def amplitude(self) -> float:
        """Return `attention`, or its default."""
        if self.attention is not None:
            return self.attention
        return 1.0 if self.factor <= 1.0 else 0.1 * math.log(self.factor) + 1.0


class RoPE:
    """Rotary positions of heads of a size. A value: layers share one.

    size: of a head, even.  theta: the base; number i of a head turns by theta^(-2 i / size) for each place.
    Angles are computed in float64. Source: Su et al. 2021, arXiv:2104.09864, eq. 15, with the pairs (i, i + size / 2) as Llama has them.

    >>> RoPE(4).turns(np.arange(3), np.dtype("float32")).shape
    (3, 4)
    """

    def __init__(self, size: int, theta: float = 10000.0, scaling: RoPEScaling | None = None) -> None:
        self.size = as_count(size, "RoPE(size): size", 2)
        if self.size % 2:
            raise ShapeError(f"RoPE(size): size={size} must be even: numbers are turned in pairs")
        self.theta = _positive(theta, "RoPE(theta): theta")
        if self.theta <= 1.0:
            raise InputError(f"RoPE(theta): theta={theta} must be above 1")
        if scaling is not None and not isinstance(scaling, RoPEScaling):
            raise InputError(f"RoPE(scaling): scaling={scaling!r} must be a scaling such as nn.LinearScaling(factor), or None")
        self.scaling = scaling
        self._last: tuple[Any, ...] | None = None

    @property
    def dynamic(self) -> bool:
        """Whether angles depend on how long the text is."""
        return self.scaling is not None and self.scaling.dynamic

    def frequencies(self, length: int) -> Any:
        """Return angles per place, (size / 2,), for a text of a length."""
        return _plain(self.size, self.theta) if self.scaling is None else self.scaling.frequencies(self.size, self.theta, length)

    def turns(self, positions: Any, dtype: Any, length: int | None = None, device: str = "cpu") -> Tensor:
        """Return the cosines and sines of places: (*positions.shape, size), for `hyperion.rotate_pairs`.

        positions: array of integers.  length: of the text so far; None: the largest place and one. The last result is kept, since the
        layers of a model all ask for the same.
        """
        places = np.asarray(positions)
        if self._last is not None and self._last[1:4] == (dtype, length, device) and np.array_equal(places, self._last[0]):
            return self._last[4]
        long = length if length is not None else int(places.max(initial=0)) + 1
        angles = places[..., None] * self.frequencies(long)
        amplitude = 1.0 if self.scaling is None else self.scaling.amplitude()
        table = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1) * amplitude
        made = Tensor(devices.to_device(table.astype(dtype), device))
        self._last = (places.copy(), dtype, length, device, made)
        return made

    def __repr__(self) -> str:
        return f"RoPE(size={self.size}, theta={self.theta:g}{'' if self.scaling is None else f', scaling={self.scaling!r}'})"
