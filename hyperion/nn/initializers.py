"""First values of weights. Each takes a shape and a generator and returns a Tensor; the same generator gives the same numbers everywhere.

A weight has the shape (outputs, inputs, *kernel). `inputs` times the places of the kernel is how many numbers a sum runs over (fan in),
`outputs` times them in how many sums a number takes part (fan out).

>>> from hyperion import nn
>>> layer = nn.Linear(3, 2)
>>> layer.weight.assign(orthogonal((2, 3), Generator(1)))
"""

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

from hyperion.autograd import Tensor, full
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_count

__all__ = [
    "blank", "constant", "default_generator", "fans", "gpt2_residual", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal",
    "seed", "truncated_normal", "uniform", "xavier_normal", "xavier_uniform", "zeros",
]

_default = Generator(0)


class _State(threading.local):
    blank = False


_state = _State()


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Return a context in which `uniform` and `normal`, and what is made of them, draw nothing and return zeros.

    For models whose weights are set right afterwards: drawing those of GPT-2 takes seconds.

    >>> with blank():
    ...     uniform((2,))
    Tensor (2,) float32, cpu: [0. 0.]
    """
    before, _state.blank = _state.blank, True
    try:
        yield
    finally:
        _state.blank = before


def default_generator(generator: Generator | None = None) -> Generator:
    """Return a generator, or, for None, the one that layers share; it is seeded with 0, and anew by `seed`.

    >>> default_generator() is default_generator(None)
    True
    """
    if generator is not None and not isinstance(generator, Generator):
        raise InputError(f"generator={generator!r} must be a hyperion.random.Generator, or None; use hyperion.random.Generator(seed)")
    return _default if generator is None else generator


def seed(number: int) -> None:
    """Seed the generator of layers that are given none: what is made or dropped afterwards is the same on every run.

    Raises: InputError unless the number is whole, from 0 to 2^128 - 1.

    >>> from hyperion import nn
    >>> nn.seed(7)
    >>> first = nn.Linear(2, 2)
    >>> nn.seed(7)
    >>> bool((nn.Linear(2, 2).weight.data == first.weight.data).all())
    True
    """
    _default.restore(Generator(number).state())


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight of shape (outputs, inputs, *kernel).

    Raises: ShapeError if it has fewer than two axes.

    >>> fans((8, 3, 5, 5))
    (75, 200)
    """
    if len(shape) < 2:
        raise ShapeError(f"fans(shape): shape={shape} must have two axes or more, (outputs, inputs, *kernel); a bias has no fans")
    places = math.prod(shape[2:])
    return shape[1] * places, shape[0] * places


def zeros(shape: Any, generator: Generator | None = None, dtype: Any = None) -> Tensor:
    """Return zeros.

    >>> zeros((2,))
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return constant(shape, generator, 0.0, dtype)


def ones(shape: Any, generator: Generator | None = None, dtype: Any = None) -> Tensor:
    """Return ones.

    >>> ones((2,))
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return constant(shape, generator, 1.0, dtype)


def constant(shape: Any, generator: Generator | None = None, value: float = 0.0, dtype: Any = None) -> Tensor:
    """Return one number everywhere; the generator stays as it is.

    >>> constant((2,), value=0.5)
    Tensor (2,) float32, cpu: [0.5 0.5]
    """
    return full(shape, float(value), dtype=dtype)


def uniform(shape: Any, generator: Generator | None = None, bound: float = 1.0, dtype: Any = None) -> Tensor:
    """Return numbers from -bound to bound, all equally probable.

    >>> bool(uniform((1000,), Generator(0), 0.5).data.max() <= 0.5)
    True
    """
    if _state.blank:
        return constant(shape, dtype=dtype)
    return default_generator(generator).uniform(shape, -float(bound), float(bound), dtype=dtype)


def normal(shape: Any, generator: Generator | None = None, scale: float = 1.0, dtype: Any = None) -> Tensor:
    """Return normally distributed numbers of mean 0 and standard deviation `scale`.

    >>> normal((2, 3), Generator(0), 0.02).shape
    (2, 3)
    """
    if _state.blank:
        return constant(shape, dtype=dtype)
    return default_generator(generator).normal(shape, scale=float(scale), dtype=dtype)


def truncated_normal(
    shape: Any, generator: Generator | None = None, scale: float = 0.02, bound: float = 2.0, dtype: Any = None,
) -> Tensor:
    """Return normally distributed numbers, `scale` times those within `bound` standard deviations of 0.

    >>> float(abs(truncated_normal((1000,), Generator(0), 1.0).data).max()) <= 2.0
    True
    """
    return default_generator(generator).truncated_normal(shape, -float(bound), float(bound), scale=float(scale), dtype=dtype)


def xavier_uniform(shape: Any, generator: Generator | None = None, gain: float = 1.0, dtype: Any = None) -> Tensor:
    """Return numbers equally probable between +- gain sqrt(6 / (fan in + fan out)): values and gradients keep their size.

    Source: Glorot and Bengio 2010, AISTATS, equation 16.

    >>> xavier_uniform((3, 3), Generator(0)).shape
    (3, 3)
    """
    return uniform(shape, generator, gain * math.sqrt(6.0 / max(sum(fans(shape)), 1)), dtype)


def xavier_normal(shape: Any, generator: Generator | None = None, gain: float = 1.0, dtype: Any = None) -> Tensor:
    """Return normally distributed numbers of standard deviation gain sqrt(2 / (fan in + fan out)). Source: as `xavier_uniform`.

    >>> xavier_normal((3, 3), Generator(0)).shape
    (3, 3)
    """
    return normal(shape, generator, gain * math.sqrt(2.0 / max(sum(fans(shape)), 1)), dtype)


def _kaiming(shape: Any, slope: float, backward: bool) -> float:
    return math.sqrt(2.0 / (1.0 + slope * slope) / max(fans(shape)[backward], 1))


def kaiming_uniform(
    shape: Any, generator: Generator | None = None, slope: float = 0.0, backward: bool = False, dtype: Any = None,
) -> Tensor:
    """Return numbers equally probable between +- sqrt(6 / ((1 + slope^2) fan)): values keep their size through (leaky) relu layers.

    slope: of the relu below 0; sqrt(5) gives PyTorch's default, 1 / sqrt(fan in).  backward: keep gradients instead: fan out, not fan in.
    Source: He et al. 2015, arXiv:1502.01852, equations 10 and 14.

    >>> kaiming_uniform((3, 3), Generator(0)).shape
    (3, 3)
    """
    return uniform(shape, generator, math.sqrt(3.0) * _kaiming(shape, slope, backward), dtype)


def kaiming_normal(
    shape: Any, generator: Generator | None = None, slope: float = 0.0, backward: bool = False, dtype: Any = None,
) -> Tensor:
    """Return normally distributed numbers of standard deviation sqrt(2 / ((1 + slope^2) fan)); arguments as in `kaiming_uniform`.

    >>> kaiming_normal((3, 3), Generator(0)).shape
    (3, 3)
    """
    return normal(shape, generator, _kaiming(shape, slope, backward), dtype)


def orthogonal(shape: Any, generator: Generator | None = None, gain: float = 1.0, dtype: Any = None) -> Tensor:
    """Return gain times a matrix with orthonormal rows, or columns if there are more rows; a kernel counts as (outputs, all others).

    Raises: ShapeError if the shape has fewer than two axes.
    Source: Saxe, McClelland and Ganguli 2014, arXiv:1312.6120.

    >>> q = orthogonal((2, 2), Generator(0), dtype="float64").data
    >>> bool(abs(q @ q.T - [[1.0, 0.0], [0.0, 1.0]]).max() < 1e-14)
    True
    """
    fans(shape)
    matrix = default_generator(generator).orthogonal((shape[0], math.prod(shape[1:])), dtype=dtype)
    return (matrix * gain).reshape(shape)


def gpt2_residual(shape: Any, generator: Generator | None = None, layers: int = 1, scale: float = 0.02, dtype: Any = None) -> Tensor:
    """Return normally distributed numbers of standard deviation scale / sqrt(2 layers), for what is added to the residual stream.

    Each of so many layers adds two of these (attention, feed-forward): the variance of the stream does not grow with their number.
    Source: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3.

    >>> gpt2_residual((3, 3), Generator(0), layers=12).shape
    (3, 3)
    """
    return normal(shape, generator, scale / math.sqrt(2.0 * as_count(layers, "gpt2_residual(layers)")), dtype)
