"""Adding and writing at places named by integer arrays, on raw arrays: the forwards of gathering and its kin, fast on both devices."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import highest, is_half, is_inexact, lowest
from hyperion.errors import IndexingError
from hyperion.gpu import device, graphs, maps

__all__ = ["add_along", "add_flat", "add_rows", "extreme", "in_range", "narrow", "put", "rank", "unrank", "wide", "winners"]


def in_range(xp: Any, indices: Any, length: int, negative: bool, name: str) -> Any:
    """Return indices as int64 from 0, or refuse those that lie outside."""
    indices = indices.astype(np.int64, copy=False)
    if not indices.size or graphs.noting():
        return indices
    low, high = int(indices.min()), int(indices.max())
    if low < (-length if negative else 0) or high >= length:
        valid = f"use {-length if negative else 0} to {length - 1}" if length else "it has no elements"
        raise IndexingError(f"{name}: indices reach from {low} to {high}, outside an axis of length {length}; {valid}")
    return xp.where(indices < 0, indices + length, indices) if low < 0 else indices


SIGN, MOST = np.uint64(1 << 63), np.uint64((1 << 64) - 1)


def wide(values: Any) -> Any:
    """Return values in a dtype that can be added in place anywhere: half precision as float32, integers as the bits of uint64."""
    if is_half(values.dtype):
        return values.astype(np.float32)
    if is_inexact(values.dtype):
        return values
    return values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values.astype(np.uint64)


def narrow(wide: Any, dtype: Any) -> Any:
    """Return what `wide` gave in the dtype it had."""
    return (wide.view(np.int64) if dtype.kind == "i" else wide).astype(dtype, copy=False)


def add_flat(xp: Any, values: Any, places: Any, size: int) -> Any:
    """Return zeros to which values are added at places; complex ones as pairs, which is what CuPy can add."""
    if values.dtype.kind != "c":
        out = xp.zeros(size, dtype=values.dtype)
        xp.add.at(out, places.reshape(-1), values.reshape(-1))
        return out
    parts = xp.ascontiguousarray(values.reshape(-1)).view(values.real.dtype)
    return add_flat(xp, parts, 2 * places.reshape(-1, 1) + xp.arange(2), 2 * size).view(values.dtype)


def rank(xp: Any, values: Any, largest: bool) -> Any:
    """Return values as uint64 that compare as they do, NaN beyond all: CuPy's maximum in place rounds float64 to float32.

    The bits of a float count up from 0 on and down below it, as those of an integer without its sign.
    """
    if not is_inexact(values.dtype):
        return wide(values) ^ (SIGN if values.dtype.kind == "i" else np.uint64(0))
    bits = values.astype(np.float64).view(np.uint64)
    turned = xp.where(bits >= SIGN, ~bits, bits ^ SIGN)
    return xp.where(values == values, turned, MOST if largest else np.uint64(0))


def unrank(ranks: Any, dtype: Any, xp: Any) -> Any:
    """Return what `rank` gave in the dtype it had."""
    if not is_inexact(dtype):
        return narrow(ranks ^ (SIGN if dtype.kind == "i" else np.uint64(0)), dtype)
    return xp.where(ranks >= SIGN, ranks ^ SIGN, ~ranks).view(np.float64).astype(dtype)


def add_rows(xp: Any, values: Any, indices: Any, length: int) -> Any:
    rest = values.shape[indices.ndim:]
    where, columns = indices.reshape(-1), math.prod(rest)
    if columns > 1 and (found := maps.add_rows(values.reshape(where.size, columns), where, length)) is not None:
        return found.reshape((length, *rest))
    broad = wide(values)
    if columns == 1 or not is_inexact(values.dtype):
        out = add_flat(xp, broad, where if columns == 1 else where[:, None] * columns + xp.arange(columns), length * columns)
    else:
        rows = xp.ascontiguousarray(broad.reshape(where.size, columns))
        if rows.dtype.kind == "c":
            rows = rows.view(rows.real.dtype)
        ends = xp.cumsum(xp.bincount(where, minlength=length))
        which = (xp.ones(where.size, dtype=rows.dtype), xp.argsort(where, kind="stable"), xp.concatenate((xp.zeros_like(ends[:1]), ends)))
        matrix = device.scipy_module(xp, "sparse").csr_matrix(which, shape=(length, where.size))
        out = xp.ascontiguousarray(matrix @ rows).view(broad.dtype)         # cuSPARSE returns columns one after another
    return narrow(out.reshape((length, *rest)), values.dtype)


def add_along(xp: Any, values: Any, indices: Any, axis: int, length: int) -> Any:
    broad, where = xp.moveaxis(wide(values), axis, -1), xp.moveaxis(indices, axis, -1)
    rows = math.prod(where.shape[:-1])
    flat = where.reshape(rows, where.shape[-1]) + length * xp.arange(rows)[:, None]
    out = add_flat(xp, broad, flat, rows * length)
    return xp.moveaxis(narrow(out.reshape((*where.shape[:-1], length)), values.dtype), -1, axis)


def winners(xp: Any, indices: Any, length: int) -> Any:
    """Return for each index which of the equal ones comes last."""
    last = xp.zeros(length, dtype=np.uint64)
    xp.maximum.at(last, indices, xp.arange(indices.size, dtype=np.uint64))
    return last[indices].astype(np.int64)


def put(xp: Any, x: Any, indices: Any, values: Any) -> Any:
    out = x.copy()
    out[indices] = values[winners(xp, indices, x.size)]       # equal indices write one value: the order does not matter
    return out


def extreme(xp: Any, values: Any, indices: Any, length: int, largest: bool) -> Any:
    rest = values.shape[indices.ndim:]
    columns = math.prod(rest)
    empty = np.full((), lowest(values.dtype) if largest else highest(values.dtype), dtype=values.dtype)
    ranks = rank(xp, values, largest)
    out = xp.full(length * columns, np.uint64(rank(np, empty, largest)), dtype=np.uint64)
    where = indices.reshape(-1, 1) * columns + xp.arange(columns)
    (xp.maximum if largest else xp.minimum).at(out, where.reshape(-1), ranks.reshape(-1))
    return unrank(out, values.dtype, xp).reshape((length, *rest))
