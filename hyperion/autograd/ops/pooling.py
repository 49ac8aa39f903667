"""Pooling: one value for each window of an array, its largest, its mean or a norm.

Means are the same along one axis after the other, so they are weighted sums along axes (`resample` in ops/stencils.py), whose transpose
gathers as well. The largest values are picked by their places, which have no derivative.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import is_complex, is_inexact
from hyperion.autograd.ops.arithmetic import abs, divide, multiply, power
from hyperion.autograd.ops.comparison import equal, where
from hyperion.autograd.ops.convolution import as_ints, channels_last, from_inside, to_inside
from hyperion.autograd.ops.gathering import scatter_along_axis, take_along_axis
from hyperion.autograd.ops.shaping import astype, reshape
from hyperion.autograd.ops.stencils import TABLES, Table, resample
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d",
    "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]

Rule = tuple[Any, ...]
PLAIN, PADDED, INSIDE = 0, 1, 2       # weights of a window: 1; over its length with the padding; over its length without


def _window(n: int, kernel: int, stride: int, padding: int, dilation: int, count: int, weights: int) -> Table:
    start = stride * np.arange(count)[:, None] - padding
    index = start + dilation * np.arange(kernel)
    inside = (index >= 0) & (index < n)
    values = inside.astype(np.float64)
    if weights == PADDED:
        values /= np.minimum(start + kernel, n + padding) - start
    elif weights == INSIDE:
        values /= np.maximum(inside.sum(axis=1, keepdims=True), 1)
    return np.where(inside, index, 0), values


TABLES["window"] = _window


@lru_cache(maxsize=256)
def _candidates(rule: Rule, n: int) -> Any:
    """Return the samples in each window of a rule; short windows are filled up with their first one."""
    index, weights = TABLES[rule[0]](n, *rule[1:])
    first = np.take_along_axis(index, (weights != 0.0).argmax(axis=1)[:, None], axis=1)
    return np.where(weights != 0.0, index, first)


def _largest(xp: Any, x: Any, rules: tuple[Rule, ...]) -> Any:
    """Return where in the flattened last axes the largest value of each window is: the first of equal ones, or a NaN.

    One axis after the other, from the last, keeps the best so far and its place.
    """
    space = x.shape[x.ndim - len(rules):]
    places = xp.broadcast_to(xp.arange(math.prod(space)).reshape(space), x.shape)
    for i, rule in reversed(list(enumerate(rules))):
        axis = x.ndim - len(rules) + i
        candidates = _candidates(rule, space[i])
        best: Any = None
        chosen: Any = None
        for tap in range(candidates.shape[1]):
            at = xp.asarray(candidates[:, tap])
            value, place = xp.take(x, at, axis=axis), xp.take(places, at, axis=axis)
            if best is None:
                best, chosen = value, place
                continue
            better = (value > best) | ((value != value) & (best == best))
            best, chosen = xp.where(better, value, best), xp.where(better, place, chosen)
        x, places = best, chosen
    return places


_places = general("max_pool_places", _largest, differentiable=False, batch=by_axes())


def _windows(
    n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool, name: str, weights: int = PLAIN,
) -> Rule:
    """Return the rule of windows along an axis of n samples, or refuse them."""
    reach = dilation * (kernel - 1) + 1
    if 2 * padding > reach:
        raise InputError(f"{name}: padding={padding} must be at most half of a window, which reaches over {reach}: some would hold nothing")
    room = n + 2 * padding - reach
    count = -(-room // stride) + 1 if ceil_mode else room // stride + 1
    if ceil_mode and (count - 1) * stride >= n + padding:
        count -= 1                              # it would start behind the last sample
    if count < 1 or n < 1:
        raise ShapeError(f"{name}: a window reaches over {reach}, more than {n} samples with padding={padding}; use a smaller kernel")
    rule = ("window", kernel, stride, padding, dilation, count, weights)
    if not (_window(n, *rule[1:])[1] > 0.0).any(axis=1).all():
        raise ShapeError(f"{name}: with dilation={dilation} some windows hold nothing of the {n} samples; use less padding or dilation")
    return rule


def _prepare(x: Any, rank: int, layout: str | None, name: str, floating: bool) -> tuple[Tensor, bool, bool]:
    x = as_tensor(x)
    if x.dtype.kind == "b" or (floating and not is_inexact(x.dtype)) or (not floating and is_complex(x.dtype)):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be {'floating or complex' if floating else 'real'}: use .astype('float32')")
    last = channels_last(layout, rank, name)
    x, single = to_inside(x, rank, last, name)
    return x, last, single


def _sliding(kernel: Any, stride: Any, padding: Any, dilation: Any, rank: int, name: str) -> list[tuple[int, int, int, int]]:
    """Return (kernel, stride, padding, dilation) of each axis."""
    sizes = as_ints(kernel, rank, name, "kernel", 1)
    steps = sizes if stride is None else as_ints(stride, rank, name, "stride", 1)
    around, spread = as_ints(padding, rank, name, "padding", 0), as_ints(dilation, rank, name, "dilation", 1)
    return list(zip(sizes, steps, around, spread, strict=True))


def _pick(x: Tensor, rules: tuple[Rule, ...], last: bool, single: bool, return_indices: bool) -> Any:
    places = _places(x, rules=rules)
    flat = reshape(places, (*places.shape[:2], math.prod(places.shape[2:])))
    values = take_along_axis(reshape(x, (*x.shape[:2], math.prod(x.shape[2:]))), flat, axis=2)
    out = from_inside(reshape(values, places.shape), last, single)
    return (out, from_inside(places, last, single)) if return_indices else out


def _max_pool(
    x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool, layout: str | None, rank: int,
) -> Any:
    name = f"max_pool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=False)
    axes = _sliding(kernel, stride, padding, dilation, rank, name)
    rules = tuple(_windows(n, k, s, p, d, ceil_mode, name) for n, (k, s, p, d) in zip(x.shape[2:], axes, strict=True))
    return _pick(x, rules, last, single, return_indices)


def max_pool1d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
    layout: str | None = None,
) -> Any:
    """Return the largest value of each window along the last axis of x, (batch, channels, length) or without the batch.

    kernel: length of the windows.  stride: steps between them; None: as long as they are.  dilation: steps inside them.
    padding: cells around x that count as minus infinity; at most half of a window.
    ceil_mode: keep a last window that reaches beyond the end.
    return_indices: return also the places of the values, counted in the flattened space of x, as int64.
    layout: None or "NCL"; "NLC" has its channels last.
    The first of equal values gets the derivative.
    Raises: ShapeError if a window is larger than x with its padding; InputError for numbers out of range; DtypeError for bool or complex.

    >>> max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    Tensor (1, 2) float32, cpu
    """
    return _max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, layout, 1)


def max_pool2d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
    layout: str | None = None,
) -> Any:
    """Return the largest value of each window of x, (batch, channels, height, width) or without the batch; see `max_pool1d`.

    kernel, stride, padding, dilation: an integer, or one per axis.  layout: None or "NCHW"; "NHWC" has its channels last.

    >>> import numpy as np
    >>> max_pool2d(np.ones((1, 3, 8, 8)), 3, stride=2, padding=1).shape
    (1, 3, 4, 4)
    """
    return _max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, layout, 2)


def max_pool3d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
    layout: str | None = None,
) -> Any:
    """Return the largest value of each window of x, (batch, channels, depth, height, width) or without the batch; see `max_pool2d`.

    >>> import numpy as np
    >>> max_pool3d(np.ones((1, 3, 4, 4, 4)), 2).shape
    (1, 3, 2, 2, 2)
    """
    return _max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, layout, 3)


def _avg_pool(
    x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool, divisor: int | None, layout: str | None,
    rank: int,
) -> Tensor:
    name = f"avg_pool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=True)
    if divisor is not None and (type(divisor) is not int or divisor == 0):
        raise InputError(f"{name}: divisor={divisor!r} must be an integer other than 0, or None")
    weights = PLAIN if divisor is not None else PADDED if count_include_pad else INSIDE
    for i, (k, s, p, _) in enumerate(_sliding(kernel, stride, padding, 1, rank, name)):
        x = resample(x, 2 + i, _windows(x.shape[2 + i], k, s, p, 1, ceil_mode, name, weights))
    return from_inside(x if divisor is None else divide(x, divisor), last, single)


def avg_pool1d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor: int | None = None, layout: str | None = None,
) -> Tensor:
    """Return the mean of each window along the last axis of x, (batch, channels, length) or without the batch.

    kernel, stride, ceil_mode, layout: as in `max_pool1d`.  padding: zeros around x; at most half of a window.
    count_include_pad: the mean is over the padding as well.  divisor: divide the sum by this number instead.
    Raises: ShapeError if a window is larger than x with its padding; InputError for numbers out of range; DtypeError for integers.

    >>> avg_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    Tensor (1, 2) float32, cpu
    """
    return _avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor, layout, 1)


def avg_pool2d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor: int | None = None, layout: str | None = None,
) -> Tensor:
    """Return the mean of each window of x, (batch, channels, height, width) or without the batch; see `avg_pool1d`.

    >>> import numpy as np
    >>> avg_pool2d(np.ones((1, 3, 8, 8)), 2).shape
    (1, 3, 4, 4)
    """
    return _avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor, layout, 2)


def avg_pool3d(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor: int | None = None, layout: str | None = None,
) -> Tensor:
    """Return the mean of each window of x, (batch, channels, depth, height, width) or without the batch; see `avg_pool1d`.

    >>> import numpy as np
    >>> avg_pool3d(np.ones((1, 3, 4, 4, 4)), 2).shape
    (1, 3, 2, 2, 2)
    """
    return _avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor, layout, 3)


def _lp_pool(x: Any, norm: float, kernel: Any, stride: Any, ceil_mode: bool, layout: str | None, rank: int) -> Tensor:
    name = f"lp_pool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=True)
    if type(norm) not in (int, float) or not 0.0 < norm < math.inf:
        raise InputError(f"{name}: norm={norm!r} must be a number above 0; for the largest value use max_pool{rank}d")
    x = power(x if norm % 2 == 0 and not is_complex(x.dtype) else abs(x), norm)
    for i, (k, s, p, _) in enumerate(_sliding(kernel, stride, 0, 1, rank, name)):
        x = resample(x, 2 + i, _windows(x.shape[2 + i], k, s, p, 1, ceil_mode, name))
    empty = equal(x, 0.0)       # the derivative of the root is infinite there, that of the norm is taken as 0
    return from_inside(multiply(power(where(empty, 1.0, x), 1.0 / norm), astype(~empty, x.dtype)), last, single)


def lp_pool1d(x: Any, norm: float, kernel: Any, stride: Any = None, ceil_mode: bool = False, layout: str | None = None) -> Tensor:
    """Return the p-norm, (sum |x|^p)^(1/p), of each window along the last axis of x, (batch, channels, length).

    norm: p, above 0.  Others as in `max_pool1d`.  Where all of a window is zero the derivative is 0.
    Raises: InputError for p out of range; otherwise as `avg_pool1d`.

    >>> lp_pool1d([[3.0, 4.0]], 2, 2)
    Tensor (1, 1) float32, cpu
    """
    return _lp_pool(x, norm, kernel, stride, ceil_mode, layout, 1)


def lp_pool2d(x: Any, norm: float, kernel: Any, stride: Any = None, ceil_mode: bool = False, layout: str | None = None) -> Tensor:
    """Return the p-norm of each window of x, (batch, channels, height, width); see `lp_pool1d`.

    >>> import numpy as np
    >>> lp_pool2d(np.ones((1, 3, 4, 4)), 2, 2).shape
    (1, 3, 2, 2)
    """
    return _lp_pool(x, norm, kernel, stride, ceil_mode, layout, 2)


def lp_pool3d(x: Any, norm: float, kernel: Any, stride: Any = None, ceil_mode: bool = False, layout: str | None = None) -> Tensor:
    """Return the p-norm of each window of x, (batch, channels, depth, height, width); see `lp_pool1d`.

    >>> import numpy as np
    >>> lp_pool3d(np.ones((1, 3, 4, 4, 4)), 2, 2).shape
    (1, 3, 2, 2, 2)
    """
    return _lp_pool(x, norm, kernel, stride, ceil_mode, layout, 3)


def _sizes(x: Tensor, size: Any, rank: int, name: str) -> tuple[int, ...]:
    """Return the size of a result; None along an axis keeps that of x."""
    given: Any = tuple(size) if type(size) in (list, tuple) else (size,) * rank
    if len(given) != rank:
        raise InputError(f"{name}: size={size!r} has {len(given)} numbers; give one, or one for each of the {rank} axes of space")
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x has shape {x.shape}; its axes of space must not be empty")
    kept = tuple(n if m is None else m for n, m in zip(x.shape[2:], given, strict=True))
    return as_ints(kept if any(m is None for m in given) else size, rank, name, "size", 1)


def _adaptive_avg(x: Any, size: Any, layout: str | None, rank: int) -> Tensor:
    name = f"adaptive_avg_pool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=True)
    for i, count in enumerate(_sizes(x, size, rank, name)):
        x = resample(x, 2 + i, ("adaptive", count))
    return from_inside(x, last, single)


def adaptive_avg_pool1d(x: Any, size: Any, layout: str | None = None) -> Tensor:
    """Return means of windows along the last axis of x, (batch, channels, length), as many as asked for.

    size: length of the result; window i reaches from floor(i n / size) to ceil((i + 1) n / size).
    Raises: InputError for a size below 1; otherwise as `avg_pool1d`.

    >>> adaptive_avg_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    Tensor (1, 2) float32, cpu
    """
    return _adaptive_avg(x, size, layout, 1)


def adaptive_avg_pool2d(x: Any, size: Any, layout: str | None = None) -> Tensor:
    """Return means of windows of x, (batch, channels, height, width), as many as asked for; see `adaptive_avg_pool1d`.

    size: an integer, or one per axis; None keeps the length of an axis.

    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.ones((1, 3, 7, 5)), (2, None)).shape
    (1, 3, 2, 5)
    """
    return _adaptive_avg(x, size, layout, 2)


def adaptive_avg_pool3d(x: Any, size: Any, layout: str | None = None) -> Tensor:
    """Return means of windows of x, (batch, channels, depth, height, width), as many as asked for; see `adaptive_avg_pool2d`.

    >>> import numpy as np
    >>> adaptive_avg_pool3d(np.ones((1, 3, 4, 4, 4)), 2).shape
    (1, 3, 2, 2, 2)
    """
    return _adaptive_avg(x, size, layout, 3)


def _adaptive_max(x: Any, size: Any, return_indices: bool, layout: str | None, rank: int) -> Any:
    name = f"adaptive_max_pool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=False)
    return _pick(x, tuple(("adaptive", count) for count in _sizes(x, size, rank, name)), last, single, return_indices)


def adaptive_max_pool1d(x: Any, size: Any, return_indices: bool = False, layout: str | None = None) -> Any:
    """Return the largest values of windows as in `adaptive_avg_pool1d`; return_indices as in `max_pool1d`.

    >>> adaptive_max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    Tensor (1, 2) float32, cpu
    """
    return _adaptive_max(x, size, return_indices, layout, 1)


def adaptive_max_pool2d(x: Any, size: Any, return_indices: bool = False, layout: str | None = None) -> Any:
    """Return the largest values of windows as in `adaptive_avg_pool2d`; return_indices as in `max_pool1d`.

    >>> import numpy as np
    >>> adaptive_max_pool2d(np.ones((1, 3, 7, 5)), 2).shape
    (1, 3, 2, 2)
    """
    return _adaptive_max(x, size, return_indices, layout, 2)


def adaptive_max_pool3d(x: Any, size: Any, return_indices: bool = False, layout: str | None = None) -> Any:
    """Return the largest values of windows as in `adaptive_avg_pool3d`; return_indices as in `max_pool1d`.

    >>> import numpy as np
    >>> adaptive_max_pool3d(np.ones((1, 3, 4, 4, 4)), 2).shape
    (1, 3, 2, 2, 2)
    """
    return _adaptive_max(x, size, return_indices, layout, 3)


def _max_unpool(x: Any, indices: Any, kernel: Any, stride: Any, padding: Any, size: Any, layout: str | None, rank: int) -> Tensor:
    name = f"max_unpool{rank}d"
    x, last, single = _prepare(x, rank, layout, name, floating=False)
    places, _ = to_inside(as_tensor(indices), rank, last, name)
    if places.dtype.kind not in "iu" or places.shape != x.shape:
        raise ShapeError(f"{name}: indices are {places.dtype} of shape {places.shape}; they must be integers, one for each of x, {x.shape}")
    axes = _sliding(kernel, stride, padding, 1, rank, name)
    usual = tuple((n - 1) * s - 2 * p + k for n, (k, s, p, _) in zip(x.shape[2:], axes, strict=True))
    space = usual if size is None else as_ints(size, rank, name, "size", 1)
    count = math.prod(space)
    empty = Tensor(device.namespace_of(x.device).zeros((*x.shape[:2], count), dtype=x.dtype))
    flat, values = (reshape(part, (*x.shape[:2], math.prod(x.shape[2:]))) for part in (places, x))
    return from_inside(reshape(scatter_along_axis(empty, flat, values, axis=2), (*x.shape[:2], *space)), last, single)


def max_unpool1d(
    x: Any, indices: Any, kernel: Any, stride: Any = None, padding: Any = 0, size: Any = None, layout: str | None = None,
) -> Tensor:
    """Return zeros with the values of x where `max_pool1d` found them.

    indices, kernel, stride, padding: of that pooling.  size: length of the result; None: (n - 1) stride - 2 padding + kernel.
    Raises: ShapeError if there is not one index for each value; IndexingError if one lies outside.

    >>> values, places = max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2, return_indices=True)
    >>> max_unpool1d(values, places, 2)[0]
    Tensor (4,) float32, cpu: [0. 3. 2. 0.]
    """
    return _max_unpool(x, indices, kernel, stride, padding, size, layout, 1)


def max_unpool2d(
    x: Any, indices: Any, kernel: Any, stride: Any = None, padding: Any = 0, size: Any = None, layout: str | None = None,
) -> Tensor:
    """Return zeros with the values of x where `max_pool2d` found them; see `max_unpool1d`.

    >>> import numpy as np
    >>> values, places = max_pool2d(np.ones((1, 3, 4, 4)), 2, return_indices=True)
    >>> max_unpool2d(values, places, 2).shape
    (1, 3, 4, 4)
    """
    return _max_unpool(x, indices, kernel, stride, padding, size, layout, 2)


def max_unpool3d(
    x: Any, indices: Any, kernel: Any, stride: Any = None, padding: Any = 0, size: Any = None, layout: str | None = None,
) -> Tensor:
    """Return zeros with the values of x where `max_pool3d` found them; see `max_unpool1d`.

    >>> import numpy as np
    >>> values, places = max_pool3d(np.ones((1, 3, 4, 4, 4)), 2, return_indices=True)
    >>> max_unpool3d(values, places, 2).shape
    (1, 3, 4, 4, 4)
    """
    return _max_unpool(x, indices, kernel, stride, padding, size, layout, 3)
