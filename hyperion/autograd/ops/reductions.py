"""Reductions: one number from many, along axes. Those of float16 and bfloat16 accumulate in float32."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import (
    FLOAT,
    SCALARS,
    highest,
    is_complex,
    is_half,
    is_inexact,
    lowest,
    real_dtype,
    weak_dtype,
)
from hyperion.autograd.ops.arithmetic import divide, exp, reciprocal, sqrt, square
from hyperion.autograd.ops.comparison import equal, logical_and, logical_or, not_equal
from hyperion.autograd.ops.comparison import where as choose
from hyperion.autograd.ops.complexes import imag, real
from hyperion.autograd.ops.rowwise import rows_of
from hyperion.autograd.ops.shaping import (
    astype,
    broadcast_to,
    concat,
    normalize_axes,
    normalize_axis,
    permute_dims,
    reshape,
    stack,
)
from hyperion.autograd.table import PRIMITIVES, general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, ShapeError
from hyperion.gpu import device, reductions

__all__ = [
    "Extremes", "MeanAndSpread", "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "log_softmax", "logsumexp",
    "max", "mean", "min", "nanmean", "nansum", "prod", "softmax", "std", "std_mean", "sum", "var", "var_mean",
]

Axes = tuple[int, ...]


class Extremes(NamedTuple):
    """What `aminmax` returns."""

    min: Tensor
    max: Tensor


class MeanAndSpread(NamedTuple):
    """What `var_mean` and `std_mean` return: the variance or standard deviation, and the mean."""

    spread: Tensor
    mean: Tensor


# Forwards

def _reduced(name: str) -> Any:
    """Return the forward of a reduction that accumulates."""

    def forward(xp: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
        if is_half(x.dtype):
            return getattr(x, name)(axis=axis, dtype=np.float32, keepdims=keepdims).astype(x.dtype)
        return getattr(x, name)(axis=axis, dtype=x.dtype, keepdims=keepdims)

    return forward


def _sum_forward(xp: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    found = None if xp is np else reductions.total(x, axis)
    if found is None:
        return _reduced("sum")(xp, x, axis, keepdims)
    return found.reshape(_kept(x.shape, axis)) if keepdims else found


def _variance_forward(xp: Any, x: Any, axis: Axes, keepdims: bool, correction: float) -> Any:
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    return (xp.var(wide, axis=axis, keepdims=keepdims) * _rescale(x.shape, axis, correction)).astype(x.dtype)


def _deviation_forward(xp: Any, x: Any, axis: Axes, keepdims: bool, correction: float) -> Any:
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    return (xp.std(wide, axis=axis, keepdims=keepdims) * math.sqrt(_rescale(x.shape, axis, correction))).astype(x.dtype)


def _exponentials(xp: Any, x: Any, axis: Axes) -> tuple[Any, Any, Any]:
    """Return exp(x - top), its sum, and top: the largest real part, 0 where that is infinite. Without it exp overflows float32 above 88."""
    x = x.astype(np.float32) if is_half(x.dtype) else x
    top = x.real.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    powers = xp.exp(x - top)
    return powers, powers.sum(axis=axis, keepdims=True), top


def _logsumexp_forward(xp: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    _, total, top = _exponentials(xp, x, axis)
    out = xp.where(total == 0, xp.asarray(-xp.inf, dtype=total.dtype), xp.log(xp.where(total == 0, xp.ones_like(total), total)) + top)
    return (out if keepdims else xp.squeeze(out, axis)).astype(x.dtype)


def _is_last(x: Any, axis: Axes) -> bool:
    """Tell whether axes are the last one alone: the rows of the native kernels."""
    return len(axis) == 1 and axis[0] == x.ndim - 1


def _softmax_forward(xp: Any, x: Any, axis: Axes) -> Any:
    if _is_last(x, axis) and (found := rows_of(x).softmax(x)) is not None:
        return found
    powers, total, _ = _exponentials(xp, x, axis)
    return (powers / xp.where(total == 0, xp.asarray(xp.nan, dtype=total.dtype), total)).astype(x.dtype)


def _log_softmax_forward(xp: Any, x: Any, axis: Axes) -> Any:
    if _is_last(x, axis) and (found := rows_of(x).log_softmax(x)) is not None:
        return found
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    return (wide - _logsumexp_forward(xp, wide, axis, True)).astype(x.dtype)


# Rules

def _kept(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """Return a shape with length 1 along axes."""
    return tuple([1 if i in axis else n for i, n in enumerate(shape)])


def _spread(g: Tensor, x: Tensor, axis: Axes) -> Tensor:
    """Return a cotangent of a reduction of x repeated along the axes that were reduced."""
    shape = x.shape
    if g.ndim and g.ndim != len(shape):
        g = reshape(g, _kept(shape, axis))
    return g if g.shape == shape else PRIMITIVES["broadcast_to"](g, shape=shape)


def _along(shape: tuple[int, ...], axis: Axes) -> int:
    """Return how many elements a reduction combines."""
    return math.prod(shape[i] for i in axis)


def _rescale(shape: tuple[int, ...], axis: Axes, correction: float) -> float:
    """Return n / (n - correction), by which a mean of n squares becomes a variance; NaN if nothing is left."""
    count = _along(shape, axis)
    return count / (count - correction) if count > correction else math.nan


def _mean_back(g: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return _spread(g * (1.0 / _along(x.shape, axis)), x, axis)


def _others(x: Tensor, axis: Axes) -> Tensor:
    """Return for each element the product of the others along axes: no division, so zeros are no exception, and neither are they in
    derivatives of it.

    Products of pairs, of pairs of pairs and so on, then back: what lies outside a pair times its other half lies outside one half.
    """
    order = (*(i for i in range(x.ndim) if i not in axis), *axis)
    moved = permute_dims(x, order)
    lead = moved.shape[:x.ndim - len(axis)]
    halves: list[Tensor] = []
    part = reshape(moved, (*lead, _along(x.shape, axis)))
    while part.shape[-1] > 1:
        if part.shape[-1] % 2:
            part = concat([part, _ones(part, (*lead, 1))], axis=-1)
        pairs = reshape(part, (*lead, part.shape[-1] // 2, 2))
        halves.append(pairs)
        part = pairs[..., 0] * pairs[..., 1]
    outside = _ones(x, part.shape)
    for pairs in reversed(halves):
        outside = outside[..., :pairs.shape[-2]]
        left, right = outside * pairs[..., 1], outside * pairs[..., 0]
        outside = reshape(stack([left, right], axis=-1), (*lead, 2 * pairs.shape[-2]))
    outside = outside[..., :_along(x.shape, axis)]
    return permute_dims(reshape(outside, moved.shape), tuple(sorted(range(x.ndim), key=order.__getitem__)))


def _ones(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return broadcast_to(constant(1, like), shape)


def _prod_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor]:
    return (_spread(g, x, axis) * _others(x, axis),)


def _prod_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return _sum(tangents[0] * _others(x, axis), axis=axis, keepdims=keepdims)


def _shares(x: Tensor, out: Tensor, axis: Axes) -> Tensor:
    """Return the weights by which elements make their maximum or minimum: those that tie have equal shares, NaN is equal to NaN."""
    best = reshape(out, _kept(x.shape, axis))
    chosen = astype(logical_or(equal(x, best), logical_and(not_equal(x, x), not_equal(best, best))), x.dtype)
    return divide(chosen, _sum(chosen, axis=axis, keepdims=True))


def _extreme_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor]:
    return (_spread(g, x, axis) * _shares(x, out, axis),)


def _extreme_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return _sum(tangents[0] * _shares(x, out, axis), axis=axis, keepdims=keepdims)


def _centred(x: Tensor, axis: Axes, correction: float) -> Tensor:
    """Return the deviations from the mean over n - correction."""
    count = _along(x.shape, axis)
    return (x - _mean(x, axis=axis, keepdims=True)) * (1.0 / (count - correction) if count > correction else math.nan)


def _variance_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool, correction: float) -> tuple[Tensor]:
    return (_spread(g * 2.0, x, axis) * _centred(x, axis, correction),)


def _variance_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes, keepdims: bool, correction: float) -> Tensor:
    return 2.0 * _sum(tangents[0] * _centred(x, axis, correction), axis=axis, keepdims=keepdims)


def _nonzero(out: Tensor) -> Tensor:
    """Return a standard deviation with 1 in place of 0: there all deviations are 0, and so is the derivative."""
    return choose(equal(out, 0.0), 1.0, out)


def _deviation_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool, correction: float) -> tuple[Tensor]:
    return (_spread(g * reciprocal(_nonzero(out)), x, axis) * _centred(x, axis, correction),)


def _deviation_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes, keepdims: bool, correction: float) -> Tensor:
    return _sum(tangents[0] * _centred(x, axis, correction), axis=axis, keepdims=keepdims) * reciprocal(_nonzero(out))


def _weights(x: Tensor, out: Tensor, axis: Axes) -> Tensor:
    """Return exp(x - logsumexp(x)); 0 where everything is minus infinity."""
    total = reshape(out, _kept(x.shape, axis))
    return exp(x - choose(equal(total, -math.inf), 0.0, total))


def _logsumexp_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor]:
    return (_spread(g, x, axis) * _weights(x, out, axis),)


def _logsumexp_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return _sum(tangents[0] * _weights(x, out, axis), axis=axis, keepdims=keepdims)


def _softmax_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes) -> tuple[Tensor]:
    return (out * (g - _sum(g * out, axis=axis, keepdims=True)),)


def _softmax_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes) -> Tensor:
    return _softmax_vjp(tangents[0], out, x, axis)[0]       # the Jacobian is symmetric


def _log_softmax_vjp(g: Tensor, out: Tensor, x: Tensor, axis: Axes) -> tuple[Tensor]:
    return (g - exp(out) * _sum(g, axis=axis, keepdims=True),)


def _log_softmax_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: Axes) -> Tensor:
    return tangents[0] - _sum(tangents[0] * exp(out), axis=axis, keepdims=True)


def _pulled_rows(kernel: str) -> Callable[..., Any]:
    """Return the vjp of a softmax on arrays, by a native kernel of (g, out)."""

    def pull(g: Any, out: Any, inputs: tuple[Tensor], params: dict[str, Any]) -> list[Any] | None:
        found = getattr(rows_of(out), kernel)(g, out) if _is_last(out, params["axis"]) else None
        return None if found is None else [found]

    return pull


_sum = linear("sum", _sum_forward, lambda g, x, axis, keepdims: _spread(g, x, axis), batch=by_axes("axis"))
_mean = linear("mean", _reduced("mean"), _mean_back, batch=by_axes("axis"))
_prod = general("prod", _reduced("prod"), _prod_vjp, _prod_jvp, batch=by_axes("axis"))
_max = general(
    "max", lambda xp, x, axis, keepdims: xp.max(x, axis=axis, keepdims=keepdims), _extreme_vjp, _extreme_jvp, batch=by_axes("axis")
)
_min = general(
    "min", lambda xp, x, axis, keepdims: xp.min(x, axis=axis, keepdims=keepdims), _extreme_vjp, _extreme_jvp, batch=by_axes("axis")
)
_variance = general("variance", _variance_forward, _variance_vjp, _variance_jvp, batch=by_axes("axis"))
_deviation = general("deviation", _deviation_forward, _deviation_vjp, _deviation_jvp, batch=by_axes("axis"))
_logsumexp = general("logsumexp", _logsumexp_forward, _logsumexp_vjp, _logsumexp_jvp, floating=True, batch=by_axes("axis"))
_softmax = general(
    "softmax", _softmax_forward, _softmax_vjp, _softmax_jvp, floating=True, batch=by_axes("axis"), pull=_pulled_rows("softmax_back")
)
_log_softmax = general(
    "log_softmax", _log_softmax_forward, _log_softmax_vjp, _log_softmax_jvp, floating=True, batch=by_axes("axis"),
    pull=_pulled_rows("log_softmax_back"),
)
_softmax.everywhere = _log_softmax.everywhere = True
_any = general(
    "any", lambda xp, x, axis, keepdims: xp.any(x, axis=axis, keepdims=keepdims), differentiable=False, batch=by_axes("axis")
)
_all = general(
    "all", lambda xp, x, axis, keepdims: xp.all(x, axis=axis, keepdims=keepdims), differentiable=False, batch=by_axes("axis")
)
_argmax = general(
    "argmax", lambda xp, x, axis, keepdims: xp.argmax(x, axis=axis, keepdims=keepdims), differentiable=False, batch=by_axes("axis")
)
_argmin = general(
    "argmin", lambda xp, x, axis, keepdims: xp.argmin(x, axis=axis, keepdims=keepdims), differentiable=False, batch=by_axes("axis")
)


# Arguments

def accumulator(x: Tensor, dtype: Any) -> Tensor:
    """Return x in the dtype in which sums and products are formed: the one asked for; int64 or uint64 for shorter integers and bool.

    >>> str(accumulator(as_tensor(np.zeros(2, np.int8)), None).dtype), str(accumulator(as_tensor(1.0), "float64").dtype)
    ('int64', 'float64')
    """
    if dtype is not None:
        return astype(x, dtype)
    if is_inexact(x.dtype):
        return x
    return astype(x, np.uint64 if x.dtype.kind == "u" else np.int64)


def as_floating(x: Any) -> Tensor:
    """Return a value as a Tensor of a floating or complex dtype: float32 for integers and bool.

    >>> as_floating([1, 2])
    Tensor (2,) float32, cpu: [1. 2.]
    """
    x = as_tensor(x)
    return x if is_inexact(x.dtype) else astype(x, FLOAT)


def ordered(x: Any, name: str) -> Tensor:
    """Return a value as a Tensor whose elements can be compared, or refuse it: complex numbers have no order."""
    x = as_tensor(x)
    if is_complex(x.dtype):
        raise DtypeError(f"{name}(x): x is {x.dtype}; complex numbers have no order: compare abs(x) or real(x)")
    return x


def constant(value: Any, like: Tensor) -> Tensor:
    """Return a value beside a Tensor: a Python number in its dtype (if that can hold it) without passing through float32.

    >>> constant(0.1, as_tensor(np.zeros(2)))
    Tensor () float64, cpu: 0.1
    """
    if type(value) not in SCALARS:
        return as_tensor(value)
    return Tensor(device.namespace_of(like.device).asarray(value, dtype=weak_dtype(value, like.dtype)))


def filled(x: Tensor, where: Any, value: float) -> Tensor:
    """Return x with a number where a mask is False; x itself without a mask."""
    if where is None:
        return x
    mask = as_mask(where)
    return choose(mask, x, constant(value, x))


def as_mask(where: Any) -> Tensor:
    """Return a mask as a Tensor, or refuse one that is not bool."""
    mask = as_tensor(where)
    if mask.dtype.kind != "b":
        raise DtypeError(f"where= is {mask.dtype}; it must be bool, True for the elements that count: compare it, for example where != 0")
    return mask


def refuse_empty(x: Tensor, axis: Axes, name: str) -> None:
    """Refuse a reduction that has no value for no elements."""
    if not _along(x.shape, axis) and math.prod(_kept(x.shape, axis)):
        raise ShapeError(f"{name}(x, axis): x has shape {x.shape}, no elements along axis {axis}; {name} needs at least one")


# Sums, products, means

def sum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, where: Any = None) -> Tensor:
    """Return the sum of elements over axes.

    axis: None (all), a number or several.  keepdims: keep them with length 1.
    dtype: in which to sum; by default that of x, int64 or uint64 for shorter integers and bool.
    where: bool mask that broadcasts with x; elements where it is False do not count.
    Raises: ShapeError if an axis is outside x.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor (2,) float32, cpu: [4. 6.]
    """
    x = filled(accumulator(as_tensor(x), dtype), where, 0)
    return _sum(x, axis=normalize_axes(axis, x.ndim, "sum"), keepdims=bool(keepdims))


def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, where: Any = None) -> Tensor:
    """Return the product of elements over axes; arguments as of `sum`. Derivatives are right where elements are zero, too.

    >>> from hyperion.autograd import asarray, grad
    >>> grad(prod)(asarray([2.0, 0.0, 3.0]))
    Tensor (3,) float32, cpu: [0. 6. 0.]
    """
    x = filled(accumulator(as_tensor(x), dtype), where, 1)
    return _prod(x, axis=normalize_axes(axis, x.ndim, "prod"), keepdims=bool(keepdims))


def mean(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the mean of elements over axes; arguments as of `sum`. Integers give float32; the mean of nothing is NaN.

    >>> mean([1.0, 2.0, 6.0])
    Tensor () float32, cpu: 3.
    """
    x = as_floating(x)
    if where is not None:
        x, mask = _masked(x, where)
        return _ratio(sum(x, axis, keepdims, where=mask), _counted(mask, x, axis, keepdims))
    axes = normalize_axes(axis, x.ndim, "mean")
    return _mean(x, axis=axes, keepdims=bool(keepdims)) if _along(x.shape, axes) else _undefined(x, axes, keepdims)


def _masked(x: Tensor, where: Any) -> tuple[Tensor, Tensor]:
    """Return x and its mask, in one shape."""
    mask = as_mask(where)
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return broadcast_to(x, shape), broadcast_to(mask, shape)


def _counted(mask: Tensor, like: Tensor, axis: Any, keepdims: bool) -> Tensor:
    return astype(sum(mask, axis, keepdims), real_dtype(like.dtype))


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """Return total / count, NaN where nothing was counted."""
    return divide(total, choose(count > 0, count, math.nan))


def _undefined(x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """Return NaN in the shape of a reduction over no elements; connected to x, so that its derivative is zero and not an error."""
    return _sum(x, axis=axes, keepdims=bool(keepdims)) + math.nan


def nansum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """Return the sum of elements that are not NaN; arguments as of `sum`.

    >>> nansum([1.0, float("nan"), 2.0])
    Tensor () float32, cpu: 3.
    """
    x = as_tensor(x)
    return sum(x, axis, keepdims, dtype, equal(x, x))


def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean of elements that are not NaN; NaN where all are.

    >>> nanmean([1.0, float("nan"), 2.0])
    Tensor () float32, cpu: 1.5
    """
    x = as_tensor(x)
    return mean(x, axis, keepdims, equal(x, x))


def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return how many elements are not zero over axes, int64.

    >>> count_nonzero([[1.0, 0.0], [2.0, 3.0]], axis=0)
    Tensor (2,) int64, cpu: [2 1]
    """
    return sum(not_equal(as_tensor(x), 0), axis, keepdims)


# Spread

def var(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the variance of elements over axes: the mean square of the deviations from their mean, in two passes.

    correction: c in sum / (n - c): 0 for a whole population, 1 for an unbiased estimate from a sample. NaN unless n > c.
    Complex elements give the real mean of squared absolute deviations. Other arguments as of `sum`; integers give float32.

    >>> var([1.0, 2.0, 3.0, 4.0]), var([1.0, 2.0, 3.0], correction=1)
    (Tensor () float32, cpu: 1.25, Tensor () float32, cpu: 1.)
    """
    x = as_floating(x)
    axes = normalize_axes(axis, x.ndim, "var")
    if is_complex(x.dtype):
        return var(real(x), axes, correction, keepdims, where) + var(imag(x), axes, correction, keepdims, where)
    if where is not None:
        x, mask = _masked(x, where)
        axes = normalize_axes(axis, x.ndim, "var")
        squares = square(x - mean(x, axes, True, mask))
        return _ratio(sum(squares, axes, keepdims, where=mask), _counted(mask, x, axes, keepdims) - correction)
    if not _along(x.shape, axes):
        return _undefined(x, axes, keepdims)
    return _variance(x, axis=axes, keepdims=bool(keepdims), correction=correction)


def std(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the standard deviation of elements over axes: the root of `var`, with its arguments. Where it is 0 its derivative is 0.

    >>> std([1.0, 3.0])
    Tensor () float32, cpu: 1.
    """
    x = as_floating(x)
    axes = normalize_axes(axis, x.ndim, "std")
    if where is not None or is_complex(x.dtype):
        return sqrt(var(x, axis, correction, keepdims, where))
    if not _along(x.shape, axes):
        return _undefined(x, axes, keepdims)
    return _deviation(x, axis=axes, keepdims=bool(keepdims), correction=correction)


def var_mean(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> MeanAndSpread:
    """Return variance and mean; arguments as of `var`.

    >>> var_mean([1.0, 3.0])
    MeanAndSpread(spread=Tensor () float32, cpu: 1., mean=Tensor () float32, cpu: 2.)
    """
    return MeanAndSpread(var(x, axis, correction, keepdims), mean(x, axis, keepdims))


def std_mean(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> MeanAndSpread:
    """Return standard deviation and mean; arguments as of `var`.

    >>> std_mean([1.0, 5.0])
    MeanAndSpread(spread=Tensor () float32, cpu: 2., mean=Tensor () float32, cpu: 3.)
    """
    return MeanAndSpread(std(x, axis, correction, keepdims), mean(x, axis, keepdims))


# Extremes and logic

def max(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the largest element over axes; NaN if one is NaN. Elements that tie share the derivative equally.

    where: bool mask; elements where it is False do not count, and with none left the result is minus infinity (the smallest integer).
    Raises: ShapeError if there are no elements along the axes; DtypeError for complex x.

    >>> max([[1.0, 5.0], [3.0, 4.0]], axis=0)
    Tensor (2,) float32, cpu: [3. 5.]
    """
    x = ordered(x, "max")
    x = filled(x, where, lowest(x.dtype))
    axes = normalize_axes(axis, x.ndim, "max")
    refuse_empty(x, axes, "max")
    return _max(x, axis=axes, keepdims=bool(keepdims))


def min(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the smallest element over axes; as `max`.

    >>> min([[1.0, 5.0], [3.0, 4.0]], axis=0)
    Tensor (2,) float32, cpu: [1. 4.]
    """
    x = ordered(x, "min")
    x = filled(x, where, highest(x.dtype))
    axes = normalize_axes(axis, x.ndim, "min")
    refuse_empty(x, axes, "min")
    return _min(x, axis=axes, keepdims=bool(keepdims))


amax, amin = max, min


def aminmax(x: Any, axis: Any = None, keepdims: bool = False) -> Extremes:
    """Return the smallest and the largest element over axes.

    >>> aminmax([3.0, 1.0, 2.0])
    Extremes(min=Tensor () float32, cpu: 1., max=Tensor () float32, cpu: 3.)
    """
    return Extremes(min(x, axis, keepdims), max(x, axis, keepdims))


def _place_of(op: Any, x: Any, axis: Any, keepdims: bool, name: str) -> Tensor:
    x = ordered(x, name)
    if axis is not None:
        place = normalize_axis(axis, x.ndim, name)
        refuse_empty(x, (place,), name)
        return op(x, axis=place, keepdims=bool(keepdims))
    refuse_empty(x, tuple(range(x.ndim)), name)
    found = op(reshape(x, (x.size,)), axis=0, keepdims=False)
    return reshape(found, (1,) * x.ndim) if keepdims else found


def argmax(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the index of the largest element along an axis (None: in the flattened x), int64; of several, the first. NaN is the largest.

    Raises: ShapeError if there are no elements along the axis; DtypeError for complex x.

    >>> argmax([[1.0, 5.0], [3.0, 4.0]], axis=1)
    Tensor (2,) int64, cpu: [1 1]
    """
    x = ordered(x, "argmax")
    return _place_of(_argmax, filled(x, where, lowest(x.dtype)), axis, keepdims, "argmax")


def argmin(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the index of the smallest element along an axis; as `argmax`.

    >>> argmin([[1.0, 5.0], [3.0, 4.0]])
    Tensor () int64, cpu: 0
    """
    x = ordered(x, "argmin")
    return _place_of(_argmin, filled(x, where, highest(x.dtype)), axis, keepdims, "argmin")


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return whether any element over axes is not zero (False of none).

    >>> any([[True, False], [False, False]], axis=1)
    Tensor (2,) bool, cpu: [ True False]
    """
    x = as_tensor(x)
    return _any(x, axis=normalize_axes(axis, x.ndim, "any"), keepdims=bool(keepdims))


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return whether all elements over axes are not zero (True of none).

    >>> all([[True, False], [True, True]], axis=1)
    Tensor (2,) bool, cpu: [False  True]
    """
    x = as_tensor(x)
    return _all(x, axis=normalize_axes(axis, x.ndim, "all"), keepdims=bool(keepdims))


# Exponentials

def logsumexp(x: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Tensor:
    """Return the logarithm of the sum of exponentials over axes, without overflow; arguments as of `sum`.

    Raises: ShapeError if there are no elements along the axes.

    >>> logsumexp([1000.0, 1000.0])
    Tensor () float32, cpu: 1000.6932
    """
    x = filled(as_floating(x), where, -math.inf)
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    refuse_empty(x, axes, "logsumexp")
    return _logsumexp(x, axis=axes, keepdims=bool(keepdims)) if x.size else _sum(x, axis=axes, keepdims=bool(keepdims))


def softmax(x: Any, axis: Any = -1, where: Any = None) -> Tensor:
    """Return exp(x) / sum(exp(x)) along an axis or several, without overflow. NaN where everything is minus infinity.

    where: bool mask; elements where it is False do not count and give 0.

    >>> softmax([0.0, 0.0, -float("inf")])
    Tensor (3,) float32, cpu: [0.5 0.5 0. ]
    """
    x = filled(ordered(as_floating(x), "softmax"), where, -math.inf)
    axes = normalize_axes(axis, x.ndim, "softmax")
    return _softmax(x, axis=axes) if x.size else x


def log_softmax(x: Any, axis: Any = -1, where: Any = None) -> Tensor:
    """Return x - logsumexp(x) along an axis or several: the logarithm of `softmax`, exact where that rounds to 0.

    >>> log_softmax([0.0, 1000.0])
    Tensor (2,) float32, cpu: [-1000.     0.]
    """
    x = filled(ordered(as_floating(x), "log_softmax"), where, -math.inf)
    axes = normalize_axes(axis, x.ndim, "log_softmax")
    return _log_softmax(x, axis=axes) if x.size else x
