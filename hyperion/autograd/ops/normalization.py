"""Normalisation: numbers brought to mean 0 and variance 1, or to length 1, along some axes; and distances made of such lengths."""

import math
import operator
from typing import Any

from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.arithmetic import abs, add, divide, maximum, multiply, power, sqrt, square
from hyperion.autograd.ops.comparison import equal, where
from hyperion.autograd.ops.elementary import rsqrt
from hyperion.autograd.ops.pooling import PLAIN
from hyperion.autograd.ops.reductions import as_floating, max, mean, sum, var
from hyperion.autograd.ops.shaping import broadcast_to, normalize_axes, reshape
from hyperion.autograd.ops.stencils import resample
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = [
    "batch_norm", "cosine_similarity", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "pairwise_distance",
    "rms_norm",
]


def _real(x: Any, name: str) -> Tensor:
    x = as_floating(x)
    if is_complex(x.dtype):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be real: normalise its absolute value")
    return x


def _small(eps: Any, name: str) -> float:
    if type(eps) not in (int, float) or not 0.0 <= eps < math.inf:
        raise InputError(f"{name}: eps={eps!r} must be a number, 0 or more")
    return float(eps)


def _scale(x: Tensor, weight: Any, bias: Any, shape: tuple[int, ...], place: tuple[int, ...], name: str) -> Tensor:
    """Return x * weight + bias; both have `shape`, and are seen as `place` beside x."""
    for what, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            value = as_tensor(value)
            if value.shape != shape:
                raise ShapeError(f"{name}: {what} has shape {value.shape}; it must be {shape}")
            x = (multiply if what == "weight" else add)(x, reshape(value, place))
    return x


def _standard(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    return multiply(x - mean(x, axes, keepdims=True), rsqrt(var(x, axes, keepdims=True) + eps))


def layer_norm(x: Any, weight: Any = None, bias: Any = None, axis: Any = -1, eps: float = 1e-5) -> Tensor:
    """Return x with mean 0 and variance 1 along axes, times weight, plus bias.

    x: real.  axis: a number or several.  eps: added to the variance.
    weight, bias: of the shape of x along `axis`.
    Raises: ShapeError for an axis outside x, or another shape of weight or bias; InputError for a negative eps; DtypeError for complex x.
    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.

    >>> layer_norm([1.0, 3.0], eps=0.0)
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    x = _real(x, "layer_norm")
    axes = normalize_axes(axis, x.ndim, "layer_norm")
    place = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    return _scale(_standard(x, axes, _small(eps, "layer_norm")), weight, bias, tuple(x.shape[i] for i in axes), place, "layer_norm")


def rms_norm(x: Any, weight: Any = None, axis: Any = -1, eps: float = 1e-6) -> Tensor:
    """Return x divided by the root of its mean square along axes, times weight.  Arguments as in `layer_norm`.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> rms_norm([3.0, 3.0], eps=0.0)
    Tensor (2,) float32, cpu: [1. 1.]
    """
    x = _real(x, "rms_norm")
    axes = normalize_axes(axis, x.ndim, "rms_norm")
    place = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    out = multiply(x, rsqrt(mean(square(x), axes, keepdims=True) + _small(eps, "rms_norm")))
    return _scale(out, weight, None, tuple(x.shape[i] for i in axes), place, "rms_norm")


def _channels(x: Any, name: str) -> Tensor:
    x = _real(x, name)
    if x.ndim < 2:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (batch, channels, *space)")
    return x


def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Return x with mean 0 and variance 1 over each group of channels of each example, times weight, plus bias.

    x: real, (batch, channels, *space).  groups: must divide the channels.  weight, bias: (channels,).  eps: added to the variance.
    Raises: ShapeError if groups does not divide the channels, or weight or bias have another shape; InputError for eps or groups.
    Source: Wu and He 2018, arXiv:1803.08494.

    >>> group_norm([[1.0, 3.0, 5.0, 9.0]], 2, eps=0.0).shape
    (1, 4)
    """
    x, name = _channels(x, "group_norm"), "group_norm"
    try:
        count = operator.index(groups)
    except TypeError as error:
        raise InputError(f"{name}: groups={groups!r} must be an integer") from error
    if count < 1 or x.shape[1] % count:
        raise ShapeError(f"{name}: groups={count} must divide the channels of x, shape {x.shape}")
    each = math.prod(x.shape[1:]) // count
    out = reshape(_standard(reshape(x, (x.shape[0], count, each)), (2,), _small(eps, name)), x.shape)
    return _scale(out, weight, bias, x.shape[1:2], (x.shape[1], *(1,) * (x.ndim - 2)), name)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Return x with mean 0 and variance 1 over the space of each channel of each example; arguments as in `group_norm`.

    >>> instance_norm([[[1.0, 3.0]]], eps=0.0)[0, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    x, name = _channels(x, "instance_norm"), "instance_norm"
    if x.ndim < 3:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (batch, channels, *space) with one axis of space or more")
    out = _standard(x, tuple(range(2, x.ndim)), _small(eps, name))
    return _scale(out, weight, bias, x.shape[1:2], (x.shape[1], *(1,) * (x.ndim - 2)), name)


def batch_norm(
    x: Any, average: Any = None, variance: Any = None, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Return x with mean 0 and variance 1 for each channel, times weight, plus bias.

    x: real, (batch, channels, *space).  average, variance: (channels,), those to use; None: those of x itself over batch and space.
    weight, bias: (channels,).  eps: added to the variance.
    Raises: ShapeError if one of them has another shape; InputError if only one of average and variance is given, or for eps.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> batch_norm([[1.0], [3.0]], eps=0.0)[:, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    x, name = _channels(x, "batch_norm"), "batch_norm"
    place = (x.shape[1], *(1,) * (x.ndim - 2))
    if (average is None) != (variance is None):
        raise InputError(f"{name}: give both average and variance, or neither: then those of x are used")
    if average is None:
        out = _standard(x, (0, *range(2, x.ndim)), _small(eps, name))
    else:
        centre, spread = as_tensor(average), as_tensor(variance)
        for what, value in (("average", centre), ("variance", spread)):
            if value.shape != x.shape[1:2]:
                raise ShapeError(f"{name}: {what} has shape {value.shape}; it must be {x.shape[1:2]}")
        out = multiply(x - reshape(centre, place), rsqrt(reshape(spread, place) + _small(eps, name)))
    return _scale(out, weight, bias, x.shape[1:2], place, name)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Return x divided by (k + alpha * the mean square of `size` channels around each) to the power beta; beyond the ends are zeros.

    x: real, (batch, channels, *space).
    Raises: InputError for a size below 1; ShapeError for another number of axes.
    Source: Krizhevsky, Sutskever and Hinton 2012, NIPS 25, section 3.3.

    >>> local_response_norm([[[2.0]]], 1, alpha=1.0, beta=1.0, k=0.0)[0, 0]
    Tensor (1,) float32, cpu: [0.5]
    """
    x, name = _channels(x, "local_response_norm"), "local_response_norm"
    if type(size) is not int or size < 1:
        raise InputError(f"{name}: size={size!r} must be an integer, 1 or more")
    total = resample(square(x), 1, ("window", size, 1, size // 2, 1, x.shape[1], PLAIN))
    return divide(x, power(k + (alpha / size) * total, beta))


def _length(x: Tensor, p: float, axis: tuple[int, ...], keepdims: bool, name: str) -> Tensor:
    """Return the p-norm along axes; where it is zero, so is its derivative."""
    if type(p) not in (int, float) or not p > 0.0:
        raise InputError(f"{name}: p={p!r} must be a number above 0, or infinity")
    if p == math.inf:
        return max(abs(x), axis, keepdims)
    total = sum(power(x if p % 2 == 0 and not is_complex(x.dtype) else abs(x), p), axis, keepdims)
    empty = equal(total, 0.0)
    inside = where(empty, 1.0, total)
    return where(empty, 0.0, sqrt(inside) if p == 2 else power(inside, 1.0 / p))


def normalize(x: Any, p: float = 2.0, axis: Any = -1, eps: float = 1e-12) -> Tensor:
    """Return x divided by its p-norm along axes, or by eps if that is larger.

    Raises: InputError for p <= 0 or a negative eps; ShapeError for an axis outside x.

    >>> normalize([3.0, 4.0])
    Tensor (2,) float32, cpu: [0.6 0.8]
    """
    x = as_floating(x)
    size = _length(x, p, normalize_axes(axis, x.ndim, "normalize"), True, "normalize")
    return divide(x, maximum(size, _small(eps, "normalize")))


def cosine_similarity(x: Any, y: Any, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """Return the cosine of the angle between x and y along an axis: their product divided by both lengths, each eps at least.

    x, y: broadcast with each other.
    Raises: ShapeError if they do not; InputError for a negative eps.

    >>> cosine_similarity([1.0, 0.0], [3.0, 4.0])
    Tensor () float32, cpu: 0.6
    """
    name = "cosine_similarity"
    x, y, small = _real(x, name), _real(y, name), _small(eps, name)
    product = multiply(x, y)
    axes = normalize_axes(axis, product.ndim, name)
    x, y = broadcast_to(x, product.shape), broadcast_to(y, product.shape)
    return divide(sum(product, axes), maximum(_length(x, 2, axes, False, name), small) * maximum(_length(y, 2, axes, False, name), small))


def pairwise_distance(x: Any, y: Any, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Tensor:
    """Return the p-norm of x - y + eps along the last axis.

    x, y: broadcast with each other.
    Raises: ShapeError if they do not; InputError for p <= 0 or a negative eps.

    >>> pairwise_distance([3.0, 4.0], [0.0, 0.0], eps=0.0)
    Tensor () float32, cpu: 5.
    """
    x, y, name = as_floating(x), as_floating(y), "pairwise_distance"
    away = x - y
    return _length(away + _small(eps, name), p, normalize_axes(-1, away.ndim, name), keepdims, name)
