"""Python side of `kernels/maps.cu`: derivatives of activations, sums of terms, lengths of rows, sums over columns, dtypes, of CuPy arrays.

Each function returns a new array, or None where CuPy should serve: for other dtypes than bfloat16, float32 and float64, arrays with gaps.
CuPy's own elementwise kernels move 4 bytes for each thread at a time and reach two fifths of the memory's speed; these move 16.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .launching import MOST, THREADS, cupy, launch, on_gpu, packs

__all__ = ["add_rows", "add_terms", "apply_back", "column_sums", "converted", "middle_sums", "pointers", "row_norms", "scaled_rows"]

NAMES = ("gelu", "gelu_tanh", "silu")
SHARE = 256             # rows that a block of column_sums adds up, if there are more


def _fit(*arrays: Any) -> bool:
    """Tell whether the kernels serve arrays: on a GPU, of one dtype, without gaps and not empty."""
    first = arrays[0]
    return on_gpu(first) and first.dtype.char in "fdE" and first.size > 0 and all(
        type(x) is type(first) and x.dtype == first.dtype and x.flags.c_contiguous for x in arrays
    )


def _empty(shape: tuple[int, ...], like: Any) -> Any:
    return cupy().empty(shape, like.dtype)


def _each(name: str, *arrays: Any) -> Any:
    first = arrays[0]
    out = _empty(first.shape, first)
    size = first.size
    wide = packs(size, *arrays, out)
    blocks = -(-(wide + size - wide * 16 // first.itemsize) // THREADS)
    launch("maps", name, first, (blocks,), (*arrays, out, wide, size))
    return out


def apply_back(name: str, g: Any, x: Any) -> Any:
    """Return g times the derivative of gelu, gelu_tanh or silu at x; or None.

    >>> apply_back("gelu", np.zeros(3), np.zeros(3)) is None
    True
    """
    return _each(f"{name}_back", g, x) if name in NAMES and g.shape == x.shape and _fit(x, g) else None


def add_terms(out: Any, bias: Any, added: Any) -> bool:
    """Add to out, (.., channels, points), a bias, (channels, 1) or None, and an array of its shape or None; tell whether it was done."""
    terms = [x for x in (bias, added) if x is not None]
    if not terms or not _fit(out, *terms) or (added is not None and added.shape != out.shape):
        return False
    channels, columns = out.shape[-2:]
    rows = out.size // columns
    wide = packs(columns, *terms, out) if columns * out.itemsize % 16 == 0 else 0
    blocks = -(-(wide + columns - wide * 16 // out.itemsize) // THREADS)
    pointers = [0 if x is None else x.data.ptr for x in (bias, added)]
    launch("maps", "add_terms", out, (blocks, min(rows, MOST)), (out, *pointers, rows, columns, channels, wide))
    return True


def row_norms(x: Any) -> Any:
    """Return the roots of the sums of squares over the last axis; or None."""
    if not _fit(x):
        return None
    columns = x.shape[-1]
    out = _empty(x.shape[:-1], x)
    wide = packs(columns, x) if columns * x.itemsize % 16 == 0 else 0
    launch("maps", "row_norms", x, (x.size // columns,), (x, out, columns, wide))
    return out


def scaled_rows(x: Any, g: Any, norms: Any) -> Any:
    """Return x, (rows, columns), with each row times g / norm, (rows,), or 0 where the norm is 0; or None."""
    if x.ndim != 2 or not _fit(x, g, norms):
        return None
    (rows, columns), out = x.shape, _empty(x.shape, x)
    wide = packs(columns, x, out) if columns * x.itemsize % 16 == 0 else 0
    blocks = -(-(wide + columns - wide * 16 // x.itemsize) // THREADS)
    launch("maps", "scaled_rows", x, (blocks, min(rows, MOST)), (x, g, norms, out, rows, columns, wide))
    return out


def column_sums(x: Any) -> Any:
    """Return the sums of x over its first axis; or None."""
    found = middle_sums(x.reshape(1, x.shape[0], -1)) if _fit(x) else None
    return None if found is None else found.reshape(x.shape[1:])


def middle_sums(x: Any) -> Any:
    """Return the sums of x, (outer, rows, columns), over its middle axis; or None.

    >>> middle_sums(np.zeros((1, 2, 3))) is None
    True
    """
    if not _fit(x) or x.shape[0] > MOST:
        return None
    (outer, rows, columns), dtype = x.shape, x.dtype
    while True:         # each time SHARE rows become one: twice for up to 65,536
        shares = min(-(-rows // SHARE), MOST)
        out = cupy().empty((outer, shares, columns), np.float32 if x.dtype.char == "E" else x.dtype)
        lanes = packs(columns, x, out) and columns * x.itemsize % 16 == 0 and 16 // x.itemsize
        name, width = ("column_sums_wide", lanes) if lanes else ("column_sums", 1)
        launch("maps", name, x, (-(-columns // (32 * width)), shares, outer), (x, out, rows, columns))
        if shares == 1:
            return out[:, 0].astype(dtype, copy=False)
        x, rows = out, shares


def converted(x: Any, dtype: Any) -> Any:
    """Return x, of bfloat16 or float32, in the other of the two; or None."""
    chars = x.dtype.char, np.dtype(dtype).char
    if chars not in (("f", "E"), ("E", "f")) or not _fit(x):
        return None
    out = cupy().empty(x.shape, dtype)
    count = 0 if x.data.ptr % 32 or out.data.ptr % 32 else x.size // 8
    blocks = -(-(count + x.size - 8 * count) // THREADS)
    launch("maps", "narrowed" if chars[0] == "f" else "widened", x, (blocks,), (x, out, count, x.size))
    return out


def add_rows(values: Any, where: Any, length: int) -> Any:
    """Return `length` rows, each the sum of the rows of values, (count, columns), that `where`, (count,) integers, sends there; or None.

    The order of the sums does not change between runs.
    """
    if values.ndim != 2 or not _fit(values) or values.shape[0] >= 1 << 31 or values.shape[1] > MOST * THREADS:
        return None
    count, columns = values.shape
    where = cupy().ascontiguousarray(where, np.int64)
    order, out = cupy().argsort(where, kind="stable"), cupy().zeros((length, columns), values.dtype)
    launch("maps", "add_rows", values, (count, -(-columns // THREADS)), (values, where, order, out, count, columns))
    return out


def pointers(table: Any, bases: tuple[int, ...], outer: tuple[int, ...], inner: tuple[int, ...], parts: int, like: Any) -> None:
    """Write to a table, (3, count) of uint64, where the parts of three arrays of the dtype of another begin; see kernels/maps.cu."""
    count = table.shape[1]
    launch("maps", "pointers", like, (-(-count // THREADS),), (table, count, parts, *bases, *outer, *inner))


# What the kernels are tested against: `variants[name](*arguments)` must agree with `reference[name](*arguments)` for all `cases`.

def gelu(x: Any) -> Any:
    """Return x times the normal distribution at x, on the CPU: what kernels are tested against."""
    return x * _phi(x)


def silu(x: Any) -> Any:
    """Return x / (1 + exp(-x)), on the CPU: what kernels are tested against."""
    return x * _sigmoid(x)


def _phi(x: Any) -> Any:
    return np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2)) / 2


def _sigmoid(x: Any) -> Any:
    return np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))


def _argument(x: Any) -> Any:
    return math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)


def _tanh_slope(x: Any) -> Any:
    s = _sigmoid(_argument(x))
    return s + x * s * (1 - s) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)


def _scaled_rows(x: Any, g: Any, norms: Any) -> Any:
    return x * np.divide(g, norms, where=norms != 0, out=np.zeros_like(g))[:, None]


def _add_rows(values: Any, where: Any, length: int) -> Any:
    out = np.zeros((length, values.shape[1]), values.dtype)
    np.add.at(out, where.astype(np.int64), values)
    return out


def _with_terms(out: Any, bias: Any, added: Any) -> Any:
    return out + (0 if bias is None else bias) + (0 if added is None else added)


def _added_to_a_copy(out: Any, bias: Any, added: Any) -> Any:
    out = out.copy()
    return out if add_terms(out, bias, added) else None


reference: dict[str, Callable[..., Any]] = {
    "gelu_back": lambda g, x: g * (_phi(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
    "gelu_tanh_back": lambda g, x: g * _tanh_slope(x),
    "silu_back": lambda g, x: g * (_sigmoid(x) + x * _sigmoid(x) * (1 - _sigmoid(x))),
    "add_terms": _with_terms, "row_norms": lambda x: np.sqrt((x * x).sum(axis=-1)), "scaled_rows": _scaled_rows,
    "column_sums": lambda x: x.sum(axis=0), "add_rows": _add_rows,
}
variants: dict[str, Callable[..., Any]] = {
    **{f"{name}_back": functools.partial(apply_back, name) for name in NAMES}, "add_terms": _added_to_a_copy,
    "row_norms": row_norms, "scaled_rows": scaled_rows, "column_sums": column_sums, "add_rows": add_rows,
}


def cases(name: str, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a kernel, NumPy arrays: lengths that groups of 16 bytes divide and others, long rows, many rows, large values."""
    random = np.random.default_rng(20260101)
    for shape in ((1, 1, 1), (1, 1, 7), (2, 3, 4), (3, 5, 33), (2, 3, 1024), (7, 2, 1030), (300, 2, 36), (2, 1, 3001)):
        x, y = (3.0 * random.normal(size=shape).astype(dtype) for _ in range(2))
        if name in ("row_norms", "column_sums"):
            yield (x,)
        elif name == "add_rows":
            rows = x.reshape(-1, shape[2])
            yield rows, random.integers(0, 5, len(rows)), 7
        elif name == "scaled_rows":
            rows = x.reshape(shape[0], -1)
            norms = np.where(np.arange(shape[0]) == 1, 0, np.linalg.norm(rows, axis=1)).astype(dtype)
            yield rows, random.normal(size=shape[0]).astype(dtype), norms
        elif name == "add_terms":
            bias = random.normal(size=(shape[1], 1)).astype(dtype)
            yield from ((x, bias, y), (x, bias, None), (x, None, y))
        else:
            yield x, y
