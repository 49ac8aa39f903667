"""Fourier coefficients by native products on the CPU: the last axis in one pass over the function, the others by complex products.

Between the two stand waves: for each row, the coefficients along the last axis, (batch, rows, channels, frequencies), which is how
`hyperion.cpu.pointwise` reads and writes them, each complex number as two real ones.
"""

import functools
import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import complex_dtype, real_dtype
from hyperion.cpu import pointwise

__all__ = ["bases", "exponentials", "from_modes", "to_modes"]

Sizes = tuple[int, ...]


@functools.lru_cache(maxsize=256)
def exponentials(n: int, kept: int, inverse: bool, last: bool, dtype: Any) -> Any:
    """Return exp(-2 pi i j k / n) / n of the kept frequencies k at n places j, (kept, n); inverse: exp(2 pi i j k / n).

    last: k = 0, 1, ... stand for their opposites as well, so that the inverse counts them twice, all but 0 and n / 2; else k begins at
    -(kept // 2).  dtype: complex.
    """
    k = np.arange(kept) - (0 if last else kept // 2)
    angle = (2.0 * np.pi / n) * (np.outer(k, np.arange(n)) % n)         # reduced before rounding
    parts = [np.cos(angle), np.sin(angle) if inverse else -np.sin(angle)]
    for part in parts:
        part[np.abs(part) < 1e-15] = 0.0                                # quarter turns
    waves = parts[0] + 1j * parts[1]
    if not inverse:
        waves /= n
    elif last:
        waves[(k != 0) & (2 * k != n)] *= 2.0
    waves = waves.astype(dtype)
    waves.flags.writeable = False
    return waves


@functools.lru_cache(maxsize=64)
def bases(n: int, kept: int, inverse: bool, dtype: Any) -> tuple[Any, Any]:
    """Return what waves are multiplied by for the values at n places, (2 kept, n), and what values are for waves, (n, 2 kept).

    dtype: of the values. The first is the transpose of the second with the pairing Re(w z) of complex numbers.
    """
    waves = exponentials(n, kept, inverse, True, complex_dtype(dtype))
    basis = np.stack([waves.real, -waves.imag], 1).reshape(2 * kept, n)
    turned = np.stack([waves.real, waves.imag], -1).transpose(1, 0, 2).reshape(n, 2 * kept)
    return basis, turned


def to_modes(x: Any, kept: Sizes, inverse: bool) -> Any:
    """Return Fourier coefficients, (*kept, ...), of x, (..., *space), a NumPy array; or None where there is no native kernel for it."""
    if pointwise.available(x) is None:
        return None
    rank = len(kept)
    lead, space = x.shape[:x.ndim - rank], x.shape[x.ndim - rank:]
    kind, batch = complex_dtype(x.dtype), lead[0] if lead else 1
    channels = math.prod(lead[1:])
    n, last = space[-1], kept[-1]
    waves: Any = pointwise.to_waves(x.reshape(batch, channels, -1, n), bases(n, last, inverse, x.dtype)[1])
    part = waves.view(kind).reshape(batch, -1, channels * last)
    done = 1
    for axis in reversed(range(rank - 1)):              # the last axis of space that is left, times what is done
        table = exponentials(space[axis], kept[axis], inverse, False, kind)
        part = np.matmul(table, part.reshape(-1, space[axis], done * channels * last))
        done *= kept[axis]
    part = part.reshape(batch, done, channels, last)
    return np.ascontiguousarray(part.transpose(1, 3, 0, 2)).reshape(*kept, *lead)


def from_modes(y: Any, kept: Sizes, space: Sizes, inverse: bool) -> Any:
    """Return functions, (..., *space), with Fourier coefficients y, (*kept, ...), a NumPy array; or None as `to_modes`."""
    rank = len(kept)
    lead, dtype, last = y.shape[rank:], real_dtype(y.dtype), kept[-1]
    batch, channels = lead[0] if lead else 1, math.prod(lead[1:])
    if math.prod(space) * batch * channels < pointwise.THRESHOLD or pointwise.library(dtype) is None:
        return None
    part = np.ascontiguousarray(y.reshape(-1, last, batch, channels).transpose(2, 0, 3, 1))
    done = 1
    for axis in range(rank - 1):
        table = exponentials(space[axis], kept[axis], inverse, False, y.dtype)
        part = np.matmul(table.T, part.reshape(batch * done, kept[axis], -1))
        done *= space[axis]
    waves = part.reshape(batch, done, channels, last).view(dtype)
    found = pointwise.from_waves(waves, bases(space[-1], last, inverse, dtype)[0])
    return found.reshape(*lead, *space)
