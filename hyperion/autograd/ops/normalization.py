"""Normalisation: numbers brought to mean 0 and variance 1, or to length 1, along some axes; and distances made of such lengths."""

import math
import operator
from typing import Any

import numpy as np

from hyperion.autograd.batching import expand
from hyperion.autograd.dtypes import is_complex, is_half
from hyperion.autograd.ops.arithmetic import abs, add, divide, maximum, multiply, power, sqrt, square
from hyperion.autograd.ops.comparison import equal, where
from hyperion.autograd.ops.elementary import rsqrt
from hyperion.autograd.ops.pooling import PLAIN
from hyperion.autograd.ops.reductions import as_floating, max, mean, refuse_empty, sum
from hyperion.autograd.ops.rowwise import rows_of, whole_rows
from hyperion.autograd.ops.shaping import astype, broadcast_to, normalize_axes, reshape, sum_to
from hyperion.autograd.ops.stencils import resample
from hyperion.autograd.table import Primitive, general
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


def _placed(value: Any, what: str, shape: tuple[int, ...], place: tuple[int, ...], name: str) -> Tensor:
    """Return a weight or bias, which must have a shape, as it is seen beside x."""
    value = as_tensor(value)
    if value.shape != shape:
        raise ShapeError(f"{name}: {what} has shape {value.shape}; it must be {shape}")
    return value if shape == place else reshape(value, place)


def _scale(x: Tensor, weight: Any, bias: Any, shape: tuple[int, ...], place: tuple[int, ...], name: str) -> Tensor:
    """Return x * weight + bias; both have `shape`, and are seen as `place` beside x."""
    x = x if weight is None else multiply(x, _placed(weight, "weight", shape, place, name))
    return x if bias is None else add(x, _placed(bias, "bias", shape, place, name))


# Both normalisations are one operation each, with the numbers that their rules need as further outputs: (x - mean) * rstd is formed again
# where it is needed, not kept. Weight and bias broadcast to x. Half precision is computed in float32, in which mean and rstd stay.

Axes = tuple[int, ...]
Parts = tuple["Tensor | None", ...]


def _scaled(out: Any, x: Any, scale: tuple[Any, ...]) -> Any:
    """Return out * weight + bias in the dtype of x; out may be written to."""
    if scale:
        out *= scale[0]
    if len(scale) > 1:
        out += scale[1]
    return out.astype(x.dtype, copy=False)


def _native_norm(x: Any, scale: tuple[Any, ...], axis: Axes, eps: float, centred: bool) -> Any:
    """Return what the native kernel of rows makes of x, or None; it has no weight and bias that broadcast: those are applied here."""
    if not whole_rows(x, (), axis):
        return None
    if whole_rows(x, scale, axis):
        return rows_of(x).norm(x, scale, axis, eps, centred)
    found = rows_of(x).norm(x, (), axis, eps, centred)
    return None if found is None else (_scaled(found[0], x, scale), *found[1:])


def _layer_forward(xp: Any, x: Any, *scale: Any, axis: Axes, eps: float) -> Any:
    if (found := _native_norm(x, scale, axis, eps, True)) is not None:
        return found
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    middle = wide.mean(axis=axis, keepdims=True)
    out = wide - middle
    rstd = 1.0 / xp.sqrt((out * out).mean(axis=axis, keepdims=True) + eps)
    out *= rstd
    return _scaled(out, x, scale), middle, rstd


def _rms_forward(xp: Any, x: Any, *scale: Any, axis: Axes, eps: float) -> Any:
    if (found := _native_norm(x, scale, axis, eps, False)) is not None:
        return found[0], found[2]
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    rstd = 1.0 / xp.sqrt((wide * wide).mean(axis=axis, keepdims=True) + eps)
    return _scaled(wide * rstd, x, scale), rstd


def _added(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term


def _norm_vjp(g: Parts, out: tuple[Tensor, ...], x: Tensor, *scale: Tensor, axis: Axes, eps: float) -> Parts:
    """Pull back through normalisation: x is moved along what keeps mean and size (without a mean: the size)."""
    centred, rstd = len(out) == 3, out[-1]
    standard = (x - out[1] if centred else x) * rstd
    of_out, of_rstd = g[0], g[-1]
    to_x: Tensor | None = None
    to_scale: list[Tensor | None] = [None] * len(scale)
    if of_out is not None:
        h = of_out * scale[0] if scale else of_out
        along = standard * mean(h * standard, axis, keepdims=True)
        to_x = (h - mean(h, axis, keepdims=True) - along if centred else h - along) * rstd
        weighed = (of_out * standard, of_out)
        to_scale = [astype(sum_to(c, s.shape), s.dtype) if s.tracked else None for c, s in zip(weighed, scale, strict=False)]
    count = math.prod([x.shape[i] for i in axis])
    if centred and g[1] is not None:
        to_x = _added(to_x, broadcast_to(g[1] * (1.0 / count), x.shape))
    if of_rstd is not None:
        to_x = _added(to_x, of_rstd * rstd * rstd * standard * (-1.0 / count))
    return (None if to_x is None else astype(to_x, x.dtype), *to_scale)


def _norm_pull(g: list[Any], out: tuple[Any, ...], inputs: tuple[Tensor, ...], params: dict[str, Any]) -> tuple[Any, ...] | None:
    if g[0] is None or any([part is not None for part in g[1:]]):
        return None
    x, *scale = [t.data for t in inputs]
    if not whole_rows(x, scale, params["axis"]):
        return None
    of_scale = any([t.node is not None for t in inputs[1:]])
    return rows_of(x).norm_back(g[0], x, scale, out[1] if len(out) == 3 else None, out[-1], params["axis"], of_scale)


def _norm_jvp(tangents: list[Tensor | None], out: tuple[Tensor, ...], x: Tensor, *scale: Tensor, axis: Axes, eps: float) -> Parts:
    centred, rstd = len(out) == 3, out[-1]
    standard = (x - out[1] if centred else x) * rstd
    of_x, of_scale = tangents[0], tangents[1:]
    of_out = of_mean = of_rstd = None
    if of_x is not None:
        if centred:
            of_mean = mean(of_x, axis, keepdims=True)
        along = mean(standard * of_x, axis, keepdims=True)
        of_rstd = -(rstd * rstd * along)
        of_out = (of_x - of_mean if of_mean is not None else of_x) * rstd - standard * (rstd * along)
        of_out = of_out * scale[0] if scale else of_out
    for i, tangent in enumerate(of_scale):
        if tangent is not None:
            of_out = _added(of_out, broadcast_to(tangent, x.shape) if i else standard * tangent)
    of_out = None if of_out is None else astype(of_out, out[0].dtype)
    return (of_out, of_mean, of_rstd) if centred else (of_out, of_rstd)


def _batched_norm(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Any:
    """The batch is one more axis before; weight and bias that have it are aligned with x."""
    has, rank = batched[0], inputs[0].ndim - batched[0]
    first = inputs[0] if has else expand(batched, inputs)[0]
    scale = [
        reshape(s, (s.shape[0], *(1,) * (rank - s.ndim + 1), *s.shape[1:])) if own else s
        for s, own in zip(inputs[1:], batched[1:], strict=True)
    ]
    return op(first, *scale, axis=tuple([i + 1 for i in params["axis"]]), eps=params["eps"])


_layer = general(
    "layer_norm", _layer_forward, _norm_vjp, _norm_jvp, outputs=3, promotes=True, floating=True, batch=_batched_norm, pull=_norm_pull,
    doc="Return (x - mean) * rstd * weight + bias, mean and rstd = 1 / sqrt(variance + eps), the last two with axes of length 1.",
)
_rms = general(
    "rms_norm", _rms_forward, _norm_vjp, _norm_jvp, outputs=2, promotes=True, floating=True, batch=_batched_norm, pull=_norm_pull,
    doc="Return x * rstd * weight and rstd = 1 / sqrt(mean square + eps), the latter with axes of length 1.",
)


def standardize(
    x: Tensor, axis: Axes, eps: float, weight: Any, bias: Any, shape: Axes, place: Axes, name: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x with mean 0 and variance 1 along axes, times weight, plus bias; and the mean and 1 / sqrt(variance + eps).

    weight, bias: None, or of a shape, which is seen as `place` beside x.

    >>> standardize(as_tensor([1.0, 3.0]), (0,), 0.0, None, None, (), (), "norm")[1]
    Tensor (1,) float32, cpu: [2.]
    """
    refuse_empty(x, axis, name)
    scale = [_placed(value, what, shape, place, name) for what, value in (("weight", weight), ("bias", bias)) if value is not None]
    if weight is None and scale:
        out, middle, rstd = _layer(x, axis=axis, eps=eps)
        return add(out, scale[0]), middle, rstd
    return _layer(x, *scale, axis=axis, eps=eps)


def _beside(x: Tensor, axes: Axes) -> tuple[Axes, Axes]:
    """Return the shape of a weight along axes, and how it is seen beside x: as it is, if they are the last ones."""
    shape = tuple([x.shape[i] for i in axes])
    if axes == tuple(range(x.ndim - len(axes), x.ndim)):
        return shape, shape
    return shape, tuple([n if i in axes else 1 for i, n in enumerate(x.shape)])


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
    shape, place = _beside(x, axes)
    return standardize(x, axes, _small(eps, "layer_norm"), weight, bias, shape, place, "layer_norm")[0]


def rms_norm(x: Any, weight: Any = None, axis: Any = -1, eps: float = 1e-6) -> Tensor:
    """Return x divided by the root of its mean square along axes, times weight.  Arguments as in `layer_norm`.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> rms_norm([3.0, 3.0], eps=0.0)
    Tensor (2,) float32, cpu: [1. 1.]
    """
    x = _real(x, "rms_norm")
    axes = normalize_axes(axis, x.ndim, "rms_norm")
    shape, place = _beside(x, axes)
    refuse_empty(x, axes, "rms_norm")
    scale = () if weight is None else (_placed(weight, "weight", shape, place, "rms_norm"),)
    return _rms(x, *scale, axis=axes, eps=_small(eps, "rms_norm"))[0]


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
    parted = reshape(x, (x.shape[0], count, x.shape[1] // count, *x.shape[2:]))
    place = (count, x.shape[1] // count, *(1,) * (x.ndim - 2))
    out = standardize(parted, tuple(range(2, parted.ndim)), _small(eps, name), weight, bias, x.shape[1:2], place, name)[0]
    return reshape(out, x.shape)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Return x with mean 0 and variance 1 over the space of each channel of each example; arguments as in `group_norm`.

    >>> instance_norm([[[1.0, 3.0]]], eps=0.0)[0, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    x, name = _channels(x, "instance_norm"), "instance_norm"
    if x.ndim < 3:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (batch, channels, *space) with one axis of space or more")
    place = (x.shape[1], *(1,) * (x.ndim - 2))
    return standardize(x, tuple(range(2, x.ndim)), _small(eps, name), weight, bias, x.shape[1:2], place, name)[0]


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
        return standardize(x, (0, *range(2, x.ndim)), _small(eps, name), weight, bias, x.shape[1:2], place, name)[0]
    centre, spread = (_placed(value, what, x.shape[1:2], place, name) for what, value in (("average", average), ("variance", variance)))
    return _scale(multiply(x - centre, rsqrt(spread + _small(eps, name))), weight, bias, x.shape[1:2], place, name)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Return x divided by (k + alpha * the mean square of `size` channels around each) to the power beta; beyond the ends are zeros.

    x: real, (batch, channels, *space).
    Raises: InputError for a size below 1, or an alpha, beta or k that is no number; ShapeError for another number of axes.
    Source: Krizhevsky, Sutskever and Hinton 2012, NIPS 25, section 3.3.

    >>> local_response_norm([[[2.0]]], 1, alpha=1.0, beta=1.0, k=0.0)[0, 0]
    Tensor (1,) float32, cpu: [0.5]
    """
    x, name = _channels(x, "local_response_norm"), "local_response_norm"
    if type(size) is not int or size < 1:
        raise InputError(f"{name}: size={size!r} must be an integer, 1 or more")
    for what, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        if type(value) not in (int, float):
            raise InputError(f"{name}: {what}={value!r} must be a number")
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
