"""Operations along grid axes: padding, shifts, filters. All are linear."""

from typing import Any

import numpy as np

from hyperion.autograd.ops.shaping import normalize_axis
from hyperion.autograd.table import linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["fir", "pad", "pad_edge", "shift"]

Widths = tuple[tuple[int, int], ...]


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


_zeros_around = linear("pad", _pad, lambda g, x, widths: g[_inside(g.shape, widths)])
_edge_around = linear(
    "pad_edge", lambda xp, x, widths: xp.pad(x, widths, mode="edge"), lambda g, x, widths: _edge_folded(g, widths=widths)
)
_edge_folded = linear("fold_edge", _fold_edge, lambda g, x, widths: _edge_around(g, widths=widths))
_shifted = linear("shift", _shift, lambda g, x, n, axis, periodic: _shifted(g, n=-n, axis=axis, periodic=periodic))
_filter = linear("fir", _fir, _fir_transpose)


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


def pad(x: Any, widths: Any) -> Tensor:
    """Return x with zeros around it.

    widths: cells before and after: a number, a pair for all axes, or a pair for each axis.
    Raises: InputError if they are not.

    >>> pad([1.0, 2.0], (1, 2))
    Tensor (5,) float32, cpu: [0. 1. 2. 0. 0.]
    """
    x = as_tensor(x)
    return _zeros_around(x, widths=_as_widths(widths, x.ndim, "pad"))


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
