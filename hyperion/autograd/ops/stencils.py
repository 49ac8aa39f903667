"""Operations along grid axes: padding, shifts, filters, resampling. All are linear."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import weak_dtype
from hyperion.autograd.ops.arithmetic import add
from hyperion.autograd.ops.shaping import normalize_axis
from hyperion.autograd.table import Primitive, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device

__all__ = ["fir", "pad", "pad_edge", "shift"]

Widths = tuple[tuple[int, int], ...]
# What a rule of `resample` stands for: n samples and the rule's numbers -> (index, weights), each (samples of the result, taps). What has
# weight 0 is not read.
Table = tuple[Any, Any]
TABLES: dict[str, Callable[..., Table]] = {}


def _inside(shape: tuple[int, ...], widths: Widths) -> tuple[slice, ...]:
    return tuple(slice(before, n - after) for n, (before, after) in zip(shape, widths, strict=True))


def _pad(xp: Any, x: Any, widths: Widths) -> Any:
    out = xp.zeros(tuple(n + before + after for n, (before, after) in zip(x.shape, widths, strict=True)), dtype=x.dtype)
    out[_inside(out.shape, widths)] = x
    return out


def _fold_edge(xp: Any, x: Any, widths: Widths) -> Any:
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = xp.moveaxis(x, axis, 0)
            inner = x[before:x.shape[0] - after].copy()
            inner[0] += x[:before].sum(axis=0)
            inner[-1] += x[x.shape[0] - after:].sum(axis=0)
            x = xp.moveaxis(inner, 0, axis)
    return x


def _shift(xp: Any, x: Any, n: int, axis: int, periodic: bool) -> Any:
    if periodic:
        return xp.roll(x, n, axis)
    out = xp.zeros_like(x)
    lead = (slice(None),) * axis
    if 0 <= n < x.shape[axis]:
        out[(*lead, slice(n, None))] = x[(*lead, slice(0, x.shape[axis] - n))]
    elif -x.shape[axis] < n < 0:
        out[(*lead, slice(0, n))] = x[(*lead, slice(-n, None))]
    return out


def _fir(xp: Any, x: Any, taps: Any, axis: int, up: int, down: int, length: int) -> Any:
    """Upsample, filter, downsample: y[k] = sum_i taps[half + k * down - i * up] x[i], with half the middle of the taps."""
    half = len(taps) // 2
    lead = -half % down                  # zeros in front of the taps, so that the first sample kept falls on a multiple of `down`
    weights = xp.zeros(lead + len(taps), dtype=x.dtype)
    weights[lead:] = xp.asarray(taps)
    full = device.scipy_module(xp, "signal").upfirdn(weights, x, up=up, down=down, axis=axis)
    start = (half + lead) // down
    kept = full[(slice(None),) * axis + (slice(start, start + length),)]
    missing = length - kept.shape[axis]
    return _pad(xp, kept, tuple((0, missing if i == axis else 0) for i in range(x.ndim))) if missing else kept


def _fir_transpose(g: Tensor, x: Tensor, taps: Any, axis: int, up: int, down: int, length: int) -> Tensor:
    return _filter(g, taps=taps[::-1], axis=axis, up=down, down=up, length=x.shape[axis])


def _batched_widths(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    return op(*inputs, widths=((0, 0), *params["widths"]))


def _mirror(places: Any, n: int, repeats: int) -> Any:
    """Return places reflected at both ends into 0..n-1; repeats: 1 if the outermost sample comes twice, 0 if it is the mirror."""
    period = 2 * (n - 1 + repeats)
    inside = places % period if period else 0 * places
    return np.minimum(inside, period - repeats - inside)


def _padded(source: Callable[[Any, int], Any]) -> Callable[..., Table]:
    def table(n: int, before: int, after: int) -> Table:
        index = source(np.arange(-before, n + after), n)[:, None]
        return index, np.ones(index.shape)

    return table


def _adaptive(n: int, count: int) -> Table:
    """Windows from floor(i n / count) to ceil((i + 1) n / count): they cover n samples as evenly as whole numbers can."""
    i: Any = np.arange(count)[:, None]
    start, stop = i * n // count, -(-(i + 1) * n // count)
    longest = int((stop - start).max(initial=1))
    index = start + np.arange(longest)
    inside = index < stop
    return np.where(inside, index, 0), inside / (stop - start)


TABLES["adaptive"] = _adaptive
TABLES["reflect"] = _padded(lambda places, n: _mirror(places, n, 0))
TABLES["symmetric"] = _padded(lambda places, n: _mirror(places, n, 1))
TABLES["wrap"] = _padded(lambda places, n: places % n)


def turn(table: Table, n: int) -> Table:
    """Return a table turned around: what each of the n samples is read for, in rows of equal length. So the transpose gathers as well."""
    index, weights = table
    readers, taps = np.nonzero(weights)
    sources, values = index[readers, taps], weights[readers, taps]
    order = np.argsort(sources, kind="stable")
    sources, readers, values = sources[order], readers[order], values[order]
    counts = np.bincount(sources, minlength=n)
    rank = np.arange(len(sources)) - np.repeat(np.cumsum(counts) - counts, counts)
    turned, around = np.zeros((n, counts.max(initial=1)), dtype=index.dtype), np.zeros((n, counts.max(initial=1)))
    turned[sources, rank], around[sources, rank] = readers, values
    return turned, around


def _as_slice(places: Any) -> Any:
    """Return places as a slice if they are evenly spaced and rising, else themselves."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    even = step > 0 and (np.diff(places) == step).all()
    return slice(int(places[0]), int(places[-1]) + 1, step) if even else places


@lru_cache(maxsize=256)
def _reads(rule: tuple[Any, ...], n: int, transposed: bool) -> tuple[int, list[tuple[Any, Any, Any]]]:
    """Return how many samples a rule gives, and tap by tap which of them read which samples with which weights (None: all 1)."""
    index, weights = TABLES[rule[0]](n, *rule[1:])
    if transposed:
        index, weights = turn((index, weights), n)
    reads: list[tuple[Any, Any, Any]] = []
    for places, factors in zip(index.T, weights.T, strict=True):
        rows = np.flatnonzero(factors)
        if len(rows):
            reads.append((_as_slice(rows), _as_slice(places[rows]), None if (factors[rows] == 1.0).all() else factors[rows]))
    return len(index), reads


def _resample(xp: Any, x: Any, axis: int, rule: tuple[Any, ...], n: int, transposed: bool) -> Any:
    count, reads = _reads(rule, n, transposed)
    wide = x.astype(np.float32) if x.dtype.kind in "fV" and x.dtype.itemsize == 2 else x
    lead = (slice(None),) * axis
    out: Any = None
    for rows, places, factors in reads:
        part = wide[(*lead, places)] if isinstance(places, slice) else xp.take(wide, xp.asarray(places), axis=axis)
        if factors is not None:
            part = part * xp.asarray(factors.reshape(-1, *(1,) * (x.ndim - 1 - axis)).astype(wide.real.dtype))
        whole = isinstance(rows, slice) and rows == slice(0, count, 1)
        if out is None and whole:
            out = part.copy() if part.base is not None else part
            continue
        out = xp.zeros((*x.shape[:axis], count, *x.shape[axis + 1:]), dtype=wide.dtype) if out is None else out
        out[(*lead, rows if isinstance(rows, slice) else xp.asarray(rows))] += part      # a tap names each sample once
    if out is None:
        out = xp.zeros((*x.shape[:axis], count, *x.shape[axis + 1:]), dtype=wide.dtype)
    return out.astype(x.dtype, copy=False)


# `n` is the number of samples that the rule reads, whichever way round it is applied.
_resampled = linear(
    "resample", _resample,
    lambda g, x, axis, rule, n, transposed: _resampled(g, axis=axis, rule=rule, n=n, transposed=not transposed), batch=by_axes("axis"),
)
_zeros_around = linear("pad", _pad, lambda g, x, widths: g[_inside(g.shape, widths)], batch=_batched_widths)
_edge_around = linear(
    "pad_edge", lambda xp, x, widths: xp.pad(x, widths, mode="edge"), lambda g, x, widths: _edge_folded(g, widths=widths),
    batch=_batched_widths,
)
_edge_folded = linear("fold_edge", _fold_edge, lambda g, x, widths: _edge_around(g, widths=widths), batch=_batched_widths)
_shifted = linear(
    "shift", _shift, lambda g, x, n, axis, periodic: _shifted(g, n=-n, axis=axis, periodic=periodic), batch=by_axes("axis")
)
_filter = linear("fir", _fir, _fir_transpose, batch=by_axes("axis"))


def _as_widths(widths: Any, ndim: int, name: str) -> Widths:
    """Return widths (one number, one pair, or one number or pair per axis) as a pair per axis, or refuse them."""
    try:
        array = np.asarray(widths)
        one_per_axis = array.ndim == 1 and len(array) == ndim and ndim != 2
        pairs = np.broadcast_to(array[:, None] if one_per_axis else array, (ndim, 2))
    except ValueError as error:
        raise InputError(f"{name}: widths={widths!r} must be a number, a pair (before, after), or one per axis ({ndim})") from error
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise InputError(f"{name}: widths={widths!r} must be integers, 0 or more")
    return tuple((int(before), int(after)) for before, after in pairs)


MODES = {"constant": "constant", "edge": "edge", "replicate": "edge", "wrap": "wrap", "circular": "wrap"} | {
    name: name for name in ("reflect", "symmetric")
}


def pad(x: Any, widths: Any, mode: str = "constant", value: complex = 0) -> Tensor:
    """Return x with cells around it: zeros, another constant, or copies of its own.

    widths: cells before and after: a number, a pair for all axes, or a pair for each axis.
    mode: "constant" (value), "edge" or "replicate" (the outermost value), "reflect" (mirrored at the outermost value), "symmetric"
        (mirrored behind it), "wrap" or "circular" (periodic).
    value: what "constant" puts around x: a Python number that fits its dtype.
    Raises: InputError if widths or mode are something else; ShapeError if an axis has nothing to copy; DtypeError for another value.

    >>> pad([1.0, 2.0], (1, 2))
    Tensor (5,) float32, cpu: [0. 1. 2. 0. 0.]
    >>> pad([1.0, 2.0, 3.0], 2, mode="reflect")
    Tensor (7,) float32, cpu: [3. 2. 1. 2. 3. 2. 1.]
    """
    x = as_tensor(x)
    cells = _as_widths(widths, x.ndim, "pad")
    kind = MODES.get(mode) if type(mode) is str else None
    if kind is None:
        raise InputError(f"pad: mode={mode!r} is unknown; use one of {', '.join(MODES)}")
    if kind == "constant":
        out = _zeros_around(x, widths=cells)
        return out if type(value) in (int, float) and value == 0 else add(out, _frame(x, cells, value))
    if any(n == 0 and max(pair) for n, pair in zip(x.shape, cells, strict=True)):
        raise ShapeError(f"pad(x, widths, mode={mode!r}): x has shape {x.shape}; an axis without elements has nothing to copy")
    if kind == "edge":
        return _edge_around(x, widths=cells)
    for axis, (before, after) in enumerate(cells):
        if before or after:
            x = _resampled(x, axis=axis, rule=(kind, before, after), n=x.shape[axis], transposed=False)
    return x


def _frame(x: Tensor, cells: Widths, value: Any) -> Tensor:
    """Return a constant with a value around zeros of the shape of x."""
    if type(value) not in (bool, int, float, complex) or weak_dtype(value, x.dtype) not in (x.dtype, np.dtype(np.bool_)):
        raise DtypeError(f"pad: value={value!r} does not fit x of dtype {x.dtype}; it must be a Python number of that kind")
    frame = np.full(tuple(n + before + after for n, (before, after) in zip(x.shape, cells, strict=True)), value, dtype=x.dtype)
    frame[_inside(frame.shape, cells)] = 0
    return Tensor(device.to_device(frame, x.device))


def resample(x: Any, axis: int, rule: tuple[Any, ...]) -> Tensor:
    """Return x resampled along an axis by a rule: each sample of the result is a weighted sum of a few samples of x.

    rule: (name in TABLES, *its numbers). The transpose is the same table turned around: a gather too.

    >>> resample([1.0, 2.0, 3.0], 0, ("wrap", 1, 0))
    Tensor (4,) float32, cpu: [3. 1. 2. 3.]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "resample")
    return _resampled(x, axis=place, rule=rule, n=x.shape[place], transposed=False)


def pad_edge(x: Any, widths: Any) -> Tensor:
    """Return x with its outermost values repeated around it; the transpose sums them back. Widths as in `pad`.

    Raises: InputError if the widths are wrong; ShapeError if x is empty.

    >>> pad_edge([1.0, 2.0], (1, 2))
    Tensor (5,) float32, cpu: [1. 1. 2. 2. 2.]
    """
    x = as_tensor(x)
    if not x.size:
        raise ShapeError(f"pad_edge(x, widths): x has shape {x.shape} and no edge to repeat; it must have elements")
    return _edge_around(x, widths=_as_widths(widths, x.ndim, "pad_edge"))


def shift(x: Any, n: int, axis: int, periodic: bool = False) -> Tensor:
    """Return x moved by n cells along an axis: the result at i is x at i - n.

    periodic: cells that leave at one end come in at the other; otherwise zeros come in.
    Raises: ShapeError if the axis is outside x.

    >>> shift([1.0, 2.0, 3.0], 1, axis=0), shift([1.0, 2.0, 3.0], -1, axis=0, periodic=True)
    (Tensor (3,) float32, cpu: [0. 1. 2.], Tensor (3,) float32, cpu: [2. 3. 1.])
    """
    x = as_tensor(x)
    return _shifted(x, n=int(n), axis=normalize_axis(axis, x.ndim, "shift"), periodic=bool(periodic))


def fir(x: Any, taps: Any, axis: int = -1, up: int = 1, down: int = 1, length: int | None = None) -> Tensor:
    """Return x upsampled, filtered by centred taps and downsampled along an axis; outside its ends x counts as zero.

    y[k] = sum_i taps[half + k * down - i * up] x[i], with half = (len(taps) - 1) / 2: sample k of y lies at k * down / up samples of x.
    taps: odd number of weights, a constant array; converted to the dtype of x.  up, down: 1 or more.
    length: samples of the result along the axis; default: as many as fit over x, ceil(n * up / down).
    Raises: InputError if the taps are even in number or not one axis, or up, down or length are not positive.

    >>> fir([1.0, 2.0, 3.0], [0.5, 1.0, 0.5], up=2)
    Tensor (6,) float32, cpu: [1.  1.5 2.  2.5 3.  1.5]
    """
    x = as_tensor(x)
    weights = device.to_numpy(as_tensor(taps).data)
    place = normalize_axis(axis, x.ndim, "fir")
    if weights.ndim != 1 or len(weights) % 2 == 0:
        raise InputError(f"fir(x, taps): taps has shape {weights.shape}; it must be one axis of odd length, so that it has a middle")
    count = -(-x.shape[place] * up // down) if up > 0 and down > 0 and length is None else length
    if count is None or min(up, down, count) < 1:
        raise InputError(f"fir(x, taps): up={up}, down={down}, length={length} must be integers, 1 or more")
    return _filter(x, taps=weights, axis=place, up=int(up), down=int(down), length=int(count))
