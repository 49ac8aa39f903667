"""Order statistics, and derivatives and integrals of samples along axes."""

from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.ops.arithmetic import abs, maximum, minimum, power
from hyperion.autograd.ops.comparison import equal, not_equal
from hyperion.autograd.ops.comparison import where as choose
from hyperion.autograd.ops.gathering import take_along_axis
from hyperion.autograd.ops.manipulation import moveaxis
from hyperion.autograd.ops.reductions import all, as_floating, constant, max, ordered, refuse_empty, sum
from hyperion.autograd.ops.scans import cumsum, running
from hyperion.autograd.ops.shaping import astype, broadcast_to, concat, normalize_axes, normalize_axis, reshape, squeeze
from hyperion.autograd.ops.sorting import Found, last_axis, sort
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = [
    "cumulative_trapezoid", "diff", "gradient", "median", "mode", "nanmedian", "nanquantile", "quantile", "renorm", "trapezoid",
]

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


# Order statistics

def quantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """Return quantiles of elements over axes: order q in a sorted row of n elements lies at position q (n - 1). NaN if one is NaN.

    q: order between 0 and 1, or several, which become the first axis of the result; a Tensor has a derivative, too.
    axis: None (all), a number or several.
    method: between two elements "linear" interpolates, "midpoint" takes their mean, "lower", "higher" and "nearest" (the even one of
        two) take one of them.
    Raises: InputError if q or the method is wrong; ShapeError if there are no elements along the axes; DtypeError for complex x.

    >>> quantile([1.0, 2.0, 3.0, 4.0], [0.5, 1.0])
    Tensor (2,) float32, cpu: [2.5 4. ]
    """
    return _quantiles(x, q, axis, keepdims, method, "quantile", False)


def nanquantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """Return quantiles of the elements that are not NaN; NaN where all are. Arguments as of `quantile`.

    >>> nanquantile([1.0, float("nan"), 3.0], 0.5)
    Tensor () float32, cpu: 2.
    """
    return _quantiles(x, q, axis, keepdims, method, "nanquantile", True)


def median(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the median of elements over axes, of an even number the mean of the two in the middle. NaN if one is NaN.

    Raises: ShapeError if there are no elements along the axes; DtypeError for complex x.

    >>> median([3.0, 1.0, 2.0, 10.0])
    Tensor () float32, cpu: 2.5
    """
    return _quantiles(x, 0.5, axis, keepdims, "linear", "median", False)


def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the median of the elements that are not NaN; NaN where all are. Arguments as of `median`.

    >>> nanmedian([3.0, 1.0, float("nan")])
    Tensor () float32, cpu: 2.
    """
    return _quantiles(x, 0.5, axis, keepdims, "linear", "nanmedian", True)


def _quantiles(x: Any, q: Any, axis: Any, keepdims: bool, method: str, name: str, skip: bool) -> Tensor:
    """Return quantiles; skip: of the elements that are not NaN, whose number differs from row to row."""
    x = as_floating(ordered(x, name))
    orders = _orders(q, x, name)
    if method not in METHODS:
        raise InputError(f"{name}: method={method!r} must be one of {', '.join(METHODS)}")
    axes = normalize_axes(axis, x.ndim, name)
    refuse_empty(x, axes, name)
    kept = tuple([1 if i in axes else n for i, n in enumerate(x.shape)])
    shape = kept if keepdims else tuple([n for i, n in enumerate(x.shape) if i not in axes])
    row = last_axis(x, axes)
    if row.size:
        row = sort(row, -1)
        count = sum(equal(row, row), axis=-1, keepdims=True) if skip else row.shape[-1]
        out = _at_orders(row, reshape(orders, (orders.size,)), count, method)
        last = row[..., -1:]
        out = out if skip else choose(not_equal(last, last), last, out)     # a NaN is sorted to the end of its row
    else:
        out = broadcast_to(sum(row, axis=-1, keepdims=True), (*row.shape[:-1], orders.size))
    out = moveaxis(out, -1, 0)
    return reshape(out, (*orders.shape, *shape))


def _orders(q: Any, x: Tensor, name: str) -> Tensor:
    """Return the orders of quantiles in float64, as typed: a number does not pass through float32."""
    given = q if isinstance(q, Tensor) else Tensor(np.asarray(q, np.float64))
    orders = astype(given, np.float64).to(x.device)
    known = device.is_array(orders.data)
    if orders.ndim > 1 or (known and not bool(all((orders >= 0) & (orders <= 1)))):
        raise InputError(f"{name}(x, q): q={q!r} must be between 0 and 1, a number or several along one axis")
    return orders


def _at_orders(row: Tensor, orders: Tensor, count: Any, method: str) -> Tensor:
    """Return quantiles of sorted rows of which the first `count` elements are known: shape (..., orders)."""
    span = count - 1 if isinstance(count, int) else maximum(count - 1, 0)
    place = broadcast_to(orders * (span if isinstance(span, int) else astype(span, np.float64)), (*row.shape[:-1], orders.size))
    low = astype(place, np.int64)                   # rounds down: positions are not negative
    rest = place - astype(low, np.float64)
    if method in ("linear", "midpoint"):
        part = astype(rest if method == "linear" else choose(rest > 0, 0.5, 0.0), row.dtype)
        first, second = take_along_axis(row, low, -1), take_along_axis(row, minimum(low + 1, span), -1)
        return choose(part < 0.5, first + (second - first) * part, second + (first - second) * (1.0 - part))
    if method == "higher":
        low = choose(rest > 0, low + 1, low)
    elif method == "nearest":
        low = choose((rest > 0.5) | ((rest == 0.5) & (low % 2 == 1)), low + 1, low)
    return take_along_axis(row, low, -1)


def _mode_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return the index of the last of the most frequent elements, of several such values the smallest."""
    order = xp.argsort(x, axis=axis, kind="stable")
    row = xp.moveaxis(xp.take_along_axis(x, order, axis), axis, 0)
    starts = xp.ones(row.shape, dtype=bool)
    starts[1:] = row[1:] != row[:-1]
    here = xp.arange(row.shape[0]).reshape((-1, *(1,) * (row.ndim - 1)))
    length = here - running(xp, xp.maximum, xp.where(starts, here, 0), 0)
    ends = xp.expand_dims(xp.argmax(length, axis=0), axis)
    return xp.take_along_axis(order, ends, axis).astype(np.int64, copy=False)


_mode = general("mode_index", _mode_forward, differentiable=False, batch=by_axes("axis"))


def mode(x: Any, axis: int = -1, keepdims: bool = False) -> Found:
    """Return the most frequent element along an axis, of several the smallest, and the index of the last one of its kind.

    Raises: ShapeError if there are no elements along the axis; DtypeError for complex x.

    >>> mode([3.0, 1.0, 3.0, 2.0])
    Found(values=Tensor () float32, cpu: 3., indices=Tensor () int64, cpu: 2)
    """
    x = ordered(x, "mode")
    if not x.ndim:
        return Found(x, Tensor(device.namespace_of(x.device).zeros((), dtype=np.int64)))
    place = normalize_axis(axis, x.ndim, "mode")
    refuse_empty(x, (place,), "mode")
    indices = _mode(x, axis=place)
    values = take_along_axis(x, indices, place)
    return Found(values, indices) if keepdims else Found(squeeze(values, place), squeeze(indices, place))


# Differences and integrals

def _slice(x: Tensor, axis: int, first: int | None, last: int | None) -> Tensor:
    return x[(*(slice(None),) * axis, slice(first, last))]


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """Return the n-th differences of neighbours along an axis, which is shorter by n; of bools whether they differ.

    prepend, append: values to join before and after x first: numbers, or arrays like x along the other axes.
    Raises: InputError if n is negative; ShapeError if the axis is outside x, or the values do not fit.

    >>> diff([1.0, 4.0, 9.0]), diff([1.0, 4.0, 9.0], n=2)
    (Tensor (2,) float32, cpu: [3. 5.], Tensor (1,) float32, cpu: [2.])
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "diff")
    if n < 0:
        raise InputError(f"diff(x, n={n}): n must be 0 or more")
    if not n:
        return x
    parts = [_edge(value, x, place) for value in (prepend, x, append) if value is not None]
    x = concat(parts, place) if len(parts) > 1 else x
    for _ in range(n):
        if x.shape[place] < 2:
            return _slice(x, place, 0, 0)
        after, before = _slice(x, place, 1, None), _slice(x, place, None, -1)
        x = not_equal(after, before) if x.dtype.kind == "b" else after - before
    return x


def _edge(value: Any, x: Tensor, axis: int) -> Tensor:
    if value is x:
        return x
    edge = constant(value, x)
    return edge if edge.ndim else broadcast_to(edge, tuple([1 if i == axis else n for i, n in enumerate(x.shape)]))


def gradient(x: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return the derivative of samples along axes by differences of second order; at the ends one-sided, of order `edge_order`.

    spacing: nothing (1), one distance for all axes, or for each axis a distance or the coordinates of its samples, of any spacing.
    axis: None (all), a number or several.
    Returns: a Tensor, or a list of one for each axis unless a single one is named or there is only one.
    Raises: ShapeError if an axis has too few samples, or coordinates do not fit; InputError if the spacings are too many or few, or the
        order is neither 1 nor 2.

    >>> gradient([1.0, 2.0, 4.0, 7.0])
    Tensor (4,) float32, cpu: [1.  1.5 2.5 3. ]
    """
    x = as_floating(x)
    several: Any = range(x.ndim) if axis is None else axis if type(axis) in (tuple, list) else (axis,)
    axes = tuple([normalize_axis(one, x.ndim, "gradient") for one in several])
    if edge_order not in (1, 2):
        raise InputError(f"gradient: edge_order={edge_order} must be 1 or 2")
    given: Any = spacing[0] if len(spacing) == 1 and type(spacing[0]) in (tuple, list) and len(axes) > 1 else spacing
    steps: list[Any] = list(given) or [1.0]
    steps = steps * len(axes) if len(steps) == 1 and not as_tensor(steps[0]).ndim else steps
    if len(steps) != len(axes):
        raise InputError(f"gradient: {len(steps)} spacings for {len(axes)} axes; give one number, or one for each axis")
    found = [_slope(x, step, place, edge_order) for step, place in zip(steps, axes, strict=True)]
    return found[0] if len(found) == 1 and (axis is None or not isinstance(axis, tuple | list)) else found


def _slope(x: Tensor, step: Any, axis: int, edge_order: int) -> Tensor:
    n = x.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(f"gradient(x, edge_order={edge_order}): axis {axis} has {n} samples; it needs at least {edge_order + 1}")
    where = step if isinstance(step, float | int) else as_tensor(step)
    if isinstance(where, float | int) or not where.ndim:
        before = after = first = second = last = previous = where
    else:
        if where.shape != (n,):
            raise ShapeError(f"gradient: coordinates of shape {where.shape} for axis {axis} of length {n}; give one for each sample")
        widths = diff(where if is_inexact(where.dtype) else astype(where, x.dtype))
        lengths = tuple([-1 if i == axis else 1 for i in range(x.ndim)])
        before, after = reshape(widths[:-1], lengths), reshape(widths[1:], lengths)
        first, last = widths[0], widths[n - 2]
        second, previous = (widths[1], widths[n - 3]) if n > 2 else (first, last)
    parts = [_end(x, axis, (0, 1, 2), first, second, edge_order)]
    if n > 2:
        left, here, right = _slice(x, axis, None, -2), _slice(x, axis, 1, -1), _slice(x, axis, 2, None)
        if isinstance(where, float | int) or not where.ndim:
            parts.append((right - left) / (2.0 * where))
        else:
            parts.append((after * ((here - left) / before) + before * ((right - here) / after)) / (before + after))
    parts.append(_end(x, axis, (n - 1, n - 2, n - 3), -last, -previous, edge_order))
    return concat(parts, axis)


def _end(x: Tensor, axis: int, places: tuple[int, int, int], near: Any, far: Any, order: int) -> Tensor:
    """Return the slope at an end, from the first or second difference of the samples at places: `near` and `far` are their distances."""
    zero, one = (_slice(x, axis, i, i + 1) for i in places[:2])
    slope = (one - zero) / near
    if order == 1:
        return slope
    two = _slice(x, axis, places[2], places[2] + 1)
    return slope - near * (((two - one) / far - slope) / (near + far))


def _panels(y: Tensor, x: Any, dx: Any, axis: int, name: str) -> Tensor:
    """Return the areas of the trapezoids between neighbouring samples."""
    heights = _slice(y, axis, 1, None) + _slice(y, axis, None, -1)
    if x is None:
        return heights * (dx * 0.5)
    where = as_tensor(x)
    if where.ndim == 1:
        if where.shape[0] != y.shape[axis]:
            raise ShapeError(f"{name}(y, x): x has length {where.shape[0]}, y {y.shape[axis]} along axis {axis}; they must agree")
        where = reshape(where, tuple([-1 if i == axis else 1 for i in range(y.ndim)]))
    if where.ndim != y.ndim:
        raise ShapeError(f"{name}(y, x): x has shape {where.shape}, y {y.shape}; x must have one axis, or as many as y")
    return heights * diff(as_floating(where), axis=axis) * 0.5


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """Return the integral of samples along an axis by the trapezoidal rule.

    x: coordinates of the samples, one axis, or an array that goes with y; None: they are `dx` apart.
    Raises: ShapeError if the axis is outside y, or x does not fit.

    >>> trapezoid([1.0, 2.0, 3.0]), trapezoid([1.0, 2.0, 3.0], x=[0.0, 1.0, 3.0])
    (Tensor () float32, cpu: 4., Tensor () float32, cpu: 6.5)
    """
    y = as_floating(y)
    place = normalize_axis(axis, y.ndim, "trapezoid")
    return sum(_panels(y, x, dx, place, "trapezoid"), axis=place)


def cumulative_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: float | None = None) -> Tensor:
    """Return the running integral of samples along an axis by the trapezoidal rule, which is shorter by one; as `trapezoid`.

    initial: a value to put in front, so that the length is that of y.

    >>> cumulative_trapezoid([1.0, 2.0, 3.0], initial=0.0)
    Tensor (3,) float32, cpu: [0.  1.5 4. ]
    """
    y = as_floating(y)
    place = normalize_axis(axis, y.ndim, "cumulative_trapezoid")
    out = cumsum(_panels(y, x, dx, place, "cumulative_trapezoid"), place)
    return out if initial is None else concat([_edge(initial, out, place), out], place)


def renorm(x: Any, p: float, axis: int, limit: float) -> Tensor:
    """Return x with each slice along an axis scaled down so that its p-norm does not exceed a limit.

    p: order of the norm, above 0 (infinity: the largest absolute value).
    Raises: InputError if p or the limit is not positive; ShapeError if the axis is outside x.

    >>> renorm([[3.0, 4.0], [0.3, 0.4]], 2, 0, 1.0).numpy().round(6)
    array([[0.6, 0.8],
           [0.3, 0.4]], dtype=float32)
    """
    x = as_floating(x)
    place = normalize_axis(axis, x.ndim, "renorm")
    if p <= 0 or limit < 0:
        raise InputError(f"renorm(x, p={p}, axis, limit={limit}): p must be above 0 and the limit not negative")
    others = tuple([i for i in range(x.ndim) if i != place])
    if p == np.inf:
        size = max(abs(x), others, True)
        over = size > limit
        return x * choose(over, limit / choose(over, size, 1.0), 1.0)
    total = sum(power(abs(x), p), others, True)
    over = total > limit ** p
    return x * choose(over, limit * power(choose(over, total, 1.0), -1.0 / p), 1.0)
