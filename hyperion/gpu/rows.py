"""Python side of `kernels/rows.cu`: softmax, cross-entropy and normalisation over the last axis of CuPy arrays, forward and backward.

The functions are those of the CPU's rows, with the same arguments. Each returns a new array (or several), or None where CuPy should serve:
for another dtype than bfloat16, float32 and float64, and for arrays with gaps.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import maps
from .launching import MOST, THREADS, cupy, launch, on_gpu

__all__ = [
    "best", "cross_entropy", "cross_entropy_back", "log_softmax", "log_softmax_back", "norm", "norm_back", "softmax", "softmax_back",
    "sums", "variants",
]

SHARE = 64              # rows that a block of norm_columns adds up, at least
LINES = (32, 64, 128)   # threads of a row, if it is short: so many that each has up to GROUPS groups of 16 bytes; THREADS for a longer one
GROUPS = 4
KEPT = 32               # numbers of a row that a thread keeps in registers, at most


def _serves(x: Any) -> bool:
    return on_gpu(x) and x.dtype.char in "fdE" and x.size > 0 and x.ndim > 0 and x.flags.c_contiguous


def _beside(x: Any, like: Any) -> Any:
    """Return an array as one without gaps of the dtype of another."""
    return cupy().ascontiguousarray(x, like.dtype)


def _wide(x: Any) -> Any:
    """Return the dtype in which sums are formed."""
    return np.dtype(np.float64 if x.dtype.char == "d" else np.float32)


def _beside_wide(x: Any, like: Any) -> Any:
    return cupy().ascontiguousarray(x, _wide(like))


def _launch(name: str, columns: int, arrays: Sequence[Any], numbers: tuple[Any, ...]) -> None:
    """Launch a kernel over the rows of the first array. arrays: with None for what is not there."""
    like = arrays[0]
    rows = like.size // columns
    lanes = 16 // like.itemsize
    if columns % lanes or any(x is not None and x.data.ptr % 16 for x in arrays):
        lanes = 1
    line = next((n for n in LINES if columns <= n * lanes * GROUPS), THREADS)
    held = 1
    while held * lanes < KEPT and held < 8 and line * lanes * held < columns:
        held *= 2
    places = [0 if x is None else x for x in arrays]
    launch("rows", name, like, (-(-rows * line // THREADS),), (*places, rows, columns, *numbers), LINE=line, LANES=lanes, HELD=held)


def _over_rows(name: str, x: Any) -> Any:
    if not _serves(x):
        return None
    out = cupy().empty(x.shape, x.dtype)
    _launch(name, x.shape[-1], (x, out), ())
    return out


def _back_over_rows(name: str, g: Any, y: Any) -> Any:
    if not _serves(y):
        return None
    out = cupy().empty(y.shape, y.dtype)
    _launch(name, y.shape[-1], (_beside(g, y), y, out), ())
    return out


def sums(x: Any) -> Any:
    """Return the sums over the last axis, or None."""
    if not _serves(x):
        return None
    out = cupy().empty(x.shape[:-1], x.dtype)
    _launch("sums", x.shape[-1], (x, out), ())
    return out


def best(x: Any) -> Any:
    """Return the place of the largest number of each row, the first of equal ones, -1 for rows with an infinity or NaN; or None.

    >>> best(np.zeros(3)) is None
    True
    """
    if not _serves(x) or x.shape[-1] >= 1 << 24:        # places are compared as floats
        return None
    out = cupy().empty(x.shape[:-1], np.int64)
    _launch("best", x.shape[-1], (x, out), ())
    return out


def softmax(x: Any) -> Any:
    """Return exp(x) / sum(exp(x)) along the last axis, or None.

    >>> softmax(np.zeros(3)) is None
    True
    """
    return _over_rows("softmax", x)


def softmax_back(g: Any, y: Any) -> Any:
    """Return the cotangent of x, given that of y = softmax(x); or None."""
    return _back_over_rows("softmax_back", g, y)


def log_softmax(x: Any) -> Any:
    """Return x - log(sum(exp(x))) along the last axis, or None."""
    return _over_rows("log_softmax", x)


def log_softmax_back(g: Any, y: Any) -> Any:
    """Return the cotangent of x, given that of y = log_softmax(x); or None."""
    return _back_over_rows("log_softmax_back", g, y)


def cross_entropy(x: Any, classes: Any, ignore: int) -> tuple[Any, Any] | None:
    """Return total - x[class] and total = log(sum(exp(x))) of each row, the first 0 where the class is `ignore`; or None.

    x: rows along the last axis.  classes: integers that were checked: from 0 to x.shape[-1] - 1, or `ignore`.
    Returns: of float32 where x is bfloat16.
    """
    if not _serves(x):
        return None
    loss, total = (cupy().empty(x.shape[:-1], _wide(x)) for _ in range(2))
    _launch("entropy", x.shape[-1], (x, cupy().ascontiguousarray(classes, np.int64), loss, total), (ignore,))
    return loss, total


def cross_entropy_back(of_loss: Any, of_total: Any, x: Any, total: Any, classes: Any, ignore: int) -> Any:
    """Return the cotangent of x, given those of the outputs of `cross_entropy` (either may be None), total and its arguments; or None."""
    if not _serves(x):
        return None
    out = cupy().empty(x.shape, x.dtype)
    given = [None if g is None else _beside_wide(g, x) for g in (of_loss, of_total)]
    arrays = (x, *given, _beside_wide(total, x), cupy().ascontiguousarray(classes, np.int64), out)
    _launch("entropy_back", x.shape[-1], arrays, (ignore,))
    return out


def norm(x: Any, scale: Sequence[Any], axis: tuple[int, ...], eps: float, centred: bool) -> tuple[Any, Any, Any] | None:
    """Return (x - mean) rstd weight + bias, mean and rstd = 1 / sqrt(mean square + eps), the last two with axes of length 1; or None.

    scale: weight and bias, weight alone, or nothing; of the dtype and the shape of x along `axis`, which must be the last axes.
    centred: False takes 0 for the mean (RMS norm), and None stands in its place.
    """
    if not _serves(x):
        return None
    columns = math.prod(x.shape[x.ndim - len(axis):])
    kept = (*x.shape[:x.ndim - len(axis)], *(1,) * len(axis))
    out, rstd = cupy().empty(x.shape, x.dtype), cupy().empty(kept, _wide(x))
    mean = cupy().empty(kept, _wide(x)) if centred else None
    weight, bias = (*(_beside(s, x) for s in scale), None, None)[:2]
    _launch("normalized", columns, (x, weight, bias, out, mean, rstd), (np.float64(eps),))
    return out, mean, rstd


def norm_back(
    g: Any, x: Any, scale: Sequence[Any], mean: Any, rstd: Any, axis: tuple[int, ...], of_scale: bool
) -> tuple[Any, ...] | None:
    """Return the cotangents of x, weight and bias, given that of the first output of `norm`; or None.

    mean: None for the RMS norm.  of_scale: False leaves out those of weight and bias: they are None.
    """
    if not _serves(x):
        return None
    columns = math.prod(x.shape[x.ndim - len(axis):])
    g, rstd, mean = _beside(g, x), _beside_wide(rstd, x), None if mean is None else _beside_wide(mean, x)
    out = cupy().empty(x.shape, x.dtype)
    _launch("normalized_back", columns, (x, g, _beside(scale[0], x) if scale else None, mean, rstd, out), ())
    if not (scale and of_scale):
        return (out, *(None for _ in scale))
    rows = x.size // columns
    shares = min(-(-rows // SHARE), 1024, MOST)
    sums = cupy().empty((2, shares, columns), _wide(x))
    arrays = [0 if a is None else a for a in (g, x, mean, rstd, sums)]
    launch("rows", "norm_columns", x, (-(-columns // 32), shares), (*arrays, rows, columns), LINE=32, LANES=1, HELD=1)
    return (out, *(maps.column_sums(sums[k]).astype(x.dtype, copy=False).reshape(s.shape) for k, s in enumerate(scale)))


# What is tested against the references of the CPU's rows, on their cases.
variants: dict[str, Callable[..., Any]] = {
    "softmax": softmax, "softmax_back": softmax_back, "log_softmax": log_softmax, "log_softmax_back": log_softmax_back,
    "cross_entropy": cross_entropy, "cross_entropy_back": cross_entropy_back, "norm": norm, "norm_back": norm_back,
}
