"""Running sums, products and extremes along one axis, and linear recurrences. Those of float16 and bfloat16 accumulate in float32."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import is_half, result_dtype
from hyperion.autograd.ops.arithmetic import exp
from hyperion.autograd.ops.comparison import equal
from hyperion.autograd.ops.comparison import where as choose
from hyperion.autograd.ops.gathering import take_along_axis
from hyperion.autograd.ops.reductions import accumulator, as_floating, constant, filled, ordered
from hyperion.autograd.ops.shaping import astype, broadcast_to, concat, flip, normalize_axis
from hyperion.autograd.ops.stencils import shift
from hyperion.autograd.table import general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError

__all__ = [
    "Running", "cummax", "cummin", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "linear_recurrence", "logcumsumexp",
]


class Running(NamedTuple):
    """What `cummax` and `cummin` return: the running extreme, and where along the axis it is (of several places the last)."""

    values: Tensor
    indices: Tensor


def running(xp: Any, combine: Callable[[Any, Any], Any], x: Any, axis: int) -> Any:
    """Return the running combination of elements along an axis of a raw array, for an associative function.

    NumPy's functions do that themselves; CuPy's need log2(n) passes.

    >>> running(np, np.maximum, np.array([1, 3, 2, 5]), 0)
    array([1, 3, 3, 5])
    """
    if isinstance(combine, np.ufunc):
        return combine.accumulate(x, axis=axis)
    out = xp.moveaxis(x.copy(), axis, 0)
    reach = 1
    while reach < out.shape[0]:
        out[reach:] = combine(out[:-reach], out[reach:])
        reach *= 2
    return xp.moveaxis(out, 0, axis)


def _accumulated(name: str) -> Any:
    def forward(xp: Any, x: Any, axis: int) -> Any:
        if is_half(x.dtype):
            return getattr(xp, name)(x, axis=axis, dtype=np.float32).astype(x.dtype)
        return getattr(xp, name)(x, axis=axis, dtype=x.dtype)

    return forward


def _logcumsumexp_forward(xp: Any, x: Any, axis: int) -> Any:
    return running(xp, xp.logaddexp, x.astype(np.float32) if is_half(x.dtype) else x, axis).astype(x.dtype)


def _places_forward(xp: Any, x: Any, axis: int, largest: bool) -> Any:
    """Return where the running extreme was met last; a NaN stays the extreme."""
    best = running(xp, xp.maximum if largest else xp.minimum, x, axis)
    here = xp.arange(x.shape[axis]).reshape(tuple([-1 if i == axis else 1 for i in range(x.ndim)]))
    return running(xp, xp.maximum, xp.where((x == best) | (x != x), here, 0), axis)


def _recurrence_forward(xp: Any, decay: Any, x: Any, axis: int, reverse: bool) -> Any:
    """Combine neighbours, then pairs, then fours: y over a stretch is `factor` times y before it plus `out`."""
    turn = slice(None, None, -1 if reverse else 1)
    factor, out = xp.moveaxis(decay, axis, 0)[turn].copy(), xp.moveaxis(x, axis, 0)[turn].copy()
    reach = 1
    while reach < out.shape[0]:
        out[reach:] = out[reach:] + factor[reach:] * out[:-reach]
        factor[reach:] = factor[reach:] * factor[:-reach]
        reach *= 2
    return xp.moveaxis(out[turn], 0, axis)


def _recurrence_vjp(g: Tensor, out: Tensor, decay: Tensor, x: Tensor, axis: int, reverse: bool) -> tuple[Tensor, Tensor]:
    step = -1 if reverse else 1
    back = _recurrence(shift(decay, -step, axis), g, axis=axis, reverse=not reverse)
    return back * shift(out, step, axis), back


def _recurrence_jvp(tangents: list[Tensor | None], out: Tensor, decay: Tensor, x: Tensor, axis: int, reverse: bool) -> Tensor:
    of_decay, of_x = tangents
    if of_decay is None:
        source = of_x
    else:
        source = of_decay * shift(out, -1 if reverse else 1, axis)
        source = source if of_x is None else source + of_x
    return _recurrence(decay, source, axis=axis, reverse=reverse)


def _before(out: Tensor, axis: int) -> Tensor:
    """Return the running product that each element multiplies: 1 for the first."""
    lead = (slice(None),) * axis
    first = broadcast_to(constant(1, out), tuple([1 if i == axis else n for i, n in enumerate(out.shape)]))
    return concat([first, out[(*lead, slice(0, out.shape[axis] - 1))]], axis=axis)


def _cumprod_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int) -> tuple[Tensor]:
    return (_recurrence(shift(x, -1, axis), g, axis=axis, reverse=True) * _before(out, axis),)


def _cumprod_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: int) -> Tensor:
    return _recurrence(x, tangents[0] * _before(out, axis), axis=axis, reverse=False)


def _shrinking(out: Tensor, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return exp(out before - out) and exp(x - out), which are at most 1: the weights of what came before and of what is added."""
    safe = choose(equal(out, -np.inf), 0.0, out)
    lead = (slice(None),) * axis
    earlier = concat([safe[(*lead, slice(0, 1))], out[(*lead, slice(0, out.shape[axis] - 1))]], axis=axis)
    return exp(earlier - safe), exp(x - safe)


def _logcumsumexp_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int) -> tuple[Tensor]:
    before, added = _shrinking(out, x, axis)
    return (_recurrence(shift(before, -1, axis), g, axis=axis, reverse=True) * added,)


def _logcumsumexp_jvp(tangents: list[Tensor], out: Tensor, x: Tensor, axis: int) -> Tensor:
    before, added = _shrinking(out, x, axis)
    return _recurrence(before, tangents[0] * added, axis=axis, reverse=False)


_cumsum = linear(
    "cumsum", _accumulated("cumsum"), lambda g, x, axis: flip(_cumsum(flip(g, axis), axis=axis), axis), batch=by_axes("axis")
)
_cumprod = general("cumprod", _accumulated("cumprod"), _cumprod_vjp, _cumprod_jvp, batch=by_axes("axis"))
_logcumsumexp = general(
    "logcumsumexp", _logcumsumexp_forward, _logcumsumexp_vjp, _logcumsumexp_jvp, floating=True, batch=by_axes("axis")
)
_recurrence = general(
    "linear_recurrence", _recurrence_forward, _recurrence_vjp, _recurrence_jvp, promotes=True, batch=by_axes("axis")
)
_places = general("running_places", _places_forward, differentiable=False, batch=by_axes("axis"))


def cumsum(x: Any, axis: int = 0, dtype: Any = None, where: Any = None) -> Tensor:
    """Return the running sum of elements along an axis.

    dtype: in which to sum; by default that of x, int64 or uint64 for shorter integers and bool.
    where: bool mask that broadcasts with x; elements where it is False do not count.
    Raises: ShapeError if the axis is outside x.

    >>> cumsum([1.0, 2.0, 3.0])
    Tensor (3,) float32, cpu: [1. 3. 6.]
    """
    x = filled(accumulator(as_tensor(x), dtype), where, 0)
    return _cumsum(x, axis=normalize_axis(axis, x.ndim, "cumsum"))


def cumprod(x: Any, axis: int = 0, dtype: Any = None, where: Any = None) -> Tensor:
    """Return the running product of elements along an axis; as `cumsum`. Derivatives are right where elements are zero, too.

    >>> cumprod([1.0, 2.0, 3.0])
    Tensor (3,) float32, cpu: [1. 2. 6.]
    """
    x = filled(accumulator(as_tensor(x), dtype), where, 1)
    return _cumprod(x, axis=normalize_axis(axis, x.ndim, "cumprod"))


def cumulative_sum(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Return the running sum of elements along an axis; None is allowed for one axis only.

    include_initial: start with 0, so that the axis is longer by one.
    Raises: ShapeError if the axis is outside x; InputError if there are several axes and none is chosen.

    >>> cumulative_sum([1.0, 2.0, 3.0], include_initial=True)
    Tensor (4,) float32, cpu: [0. 1. 3. 6.]
    """
    return _cumulative(cumsum, x, axis, dtype, include_initial, 0)


def cumulative_prod(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Return the running product of elements along an axis; as `cumulative_sum`, and include_initial starts with 1.

    >>> cumulative_prod([1.0, 2.0, 3.0], include_initial=True)
    Tensor (4,) float32, cpu: [1. 1. 2. 6.]
    """
    return _cumulative(cumprod, x, axis, dtype, include_initial, 1)


def _cumulative(scan: Callable[..., Tensor], x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: int) -> Tensor:
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise InputError(f"{scan.__name__}(x, axis=None): x has {x.ndim} axes; choose one with axis=")
    place = normalize_axis(0 if axis is None else axis, x.ndim, scan.__name__)
    out = scan(x, place, dtype)
    if not include_initial:
        return out
    first = tuple([1 if i == place else n for i, n in enumerate(x.shape)])
    edge = broadcast_to(constant(initial, out), first)
    return concat([edge, out], axis=place)


def logcumsumexp(x: Any, axis: int = 0) -> Tensor:
    """Return the logarithm of the running sum of exponentials along an axis, without overflow.

    Raises: ShapeError if the axis is outside x; DtypeError for complex x.

    >>> logcumsumexp([1000.0, 1000.0])
    Tensor (2,) float32, cpu: [1000.     1000.6932]
    """
    x = as_floating(ordered(x, "logcumsumexp"))
    return _logcumsumexp(x, axis=normalize_axis(axis, x.ndim, "logcumsumexp"))


def cummax(x: Any, axis: int = 0) -> Running:
    """Return the running maximum along an axis, and its indices (of equal elements the last); a NaN stays.

    Raises: ShapeError if the axis is outside x; DtypeError for complex x.

    >>> cummax([1.0, 3.0, 2.0])
    Running(values=Tensor (3,) float32, cpu: [1. 3. 3.], indices=Tensor (3,) int64, cpu: [0 1 1])
    """
    return _running_extreme(x, axis, True, "cummax")


def cummin(x: Any, axis: int = 0) -> Running:
    """Return the running minimum along an axis, and its indices; as `cummax`.

    >>> cummin([2.0, 3.0, 1.0])
    Running(values=Tensor (3,) float32, cpu: [2. 2. 1.], indices=Tensor (3,) int64, cpu: [0 0 2])
    """
    return _running_extreme(x, axis, False, "cummin")


def _running_extreme(x: Any, axis: int, largest: bool, name: str) -> Running:
    x = ordered(x, name)
    place = normalize_axis(axis, x.ndim, name)
    indices = _places(x, axis=place, largest=largest)
    return Running(take_along_axis(x, indices, place), indices)


def linear_recurrence(decay: Any, x: Any, axis: int = -1, reverse: bool = False) -> Tensor:
    """Return y with y[i] = decay[i] * y[i-1] + x[i] along an axis, y before the first element being 0: log2(n) passes over the arrays.

    decay, x: broadcast with each other.  reverse: run from the last element to the first.
    Raises: ShapeError if they do not broadcast, or the axis is outside them.

    >>> linear_recurrence(0.5, [1.0, 1.0, 1.0])
    Tensor (3,) float32, cpu: [1.   1.5  1.75]
    """
    x = as_floating(x)
    factor = constant(decay, x)
    try:
        shape = np.broadcast_shapes(factor.shape, x.shape)
    except ValueError as error:
        raise ShapeError(f"linear_recurrence(decay, x): shapes {factor.shape} and {x.shape} do not broadcast with each other") from error
    dtype = result_dtype((factor.dtype, x.dtype))
    place = normalize_axis(axis, len(shape), "linear_recurrence")
    return _recurrence(broadcast_to(astype(factor, dtype), shape), broadcast_to(x, shape), axis=place, reverse=bool(reverse))
