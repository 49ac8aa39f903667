"""What the kernels of attention on GPUs share on their Python side: structs, masks, arrays as the kernels take them."""

import functools
import importlib
from typing import Any

import numpy as np

from .launching import cupy

__all__ = [
    "MASK", "device_traits", "empty_beside", "empty_like", "filled", "fit", "fitting", "listed", "mask_struct", "named_steps", "ordered",
    "span", "steps", "struct", "unordered",
]

LOG2E = 1.4426950408889634
IN_CACHE = 24 << 20         # bytes of keys and values of the heads that are worked on together: less than half of the L2 cache

POINTER, INT, LONG, FLOAT = np.uint64, np.int32, np.int64, np.float32


def struct(*fields: tuple[Any, str]) -> np.dtype[Any]:
    """Return the layout of a C struct: (type, names) several times.

    >>> struct((INT, "a b"), (LONG, "c")).itemsize
    16
    """
    return np.dtype([(name, kind) for kind, names in fields for name in names.split()], align=True)


MASK = struct((POINTER, "first last words counts lists"), (INT, "of_batch of_head row_words blocks list_length low high"))


def filled(layout: np.dtype[Any], **values: Any) -> Any:
    """Return a struct with values, 0 where none is given."""
    found = np.zeros((), layout)
    for name, value in values.items():
        found[name] = value
    return found[()]


@functools.cache
def device_traits(device: int) -> tuple[int, int, int]:
    """Return the compute capability, times ten, the number of multiprocessors, and the shared memory that a block may have [bytes]."""
    there = importlib.import_module("cupy").cuda.Device(device)
    traits = there.attributes
    return int(there.compute_capability), int(traits["MultiProcessorCount"]), int(traits["MaxSharedMemoryPerBlockOptin"])


def fitting(tilings: list[Any], head: int) -> Any:
    """Return the first of some tilings that is large enough for a head size."""
    return next(one for one in tilings if head <= one.head)


def listed(seen: Any) -> bool:
    """Tell whether a mask is no band, so that the kernels go by lists of blocks."""
    return getattr(seen, "band", None) is None


def fit(x: Any) -> Any:
    """Return an array (batch, heads, tokens, size) as copies take it: rows without gaps that begin at multiples of 16 bytes."""
    size, each = x.shape[-1], 16 // x.dtype.itemsize
    apart = [step for n, step in zip(x.shape[:-1], x.strides[:-1], strict=True) if n > 1]
    if size % each == 0 and x.strides[-1] == x.dtype.itemsize and x.data.ptr % 16 == 0 and all(n % 16 == 0 and n > 0 for n in apart):
        return x
    out = cupy().zeros((*x.shape[:-1], -(-size // each) * each), dtype=x.dtype)
    out[..., :size] = x
    return out


def empty_like(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an empty array (batch, heads, tokens, size in full 16 bytes) with heads and tokens in memory in the order of another's."""
    batch, heads, tokens, size = shape
    each = 16 // x.dtype.itemsize
    room = -(-size // each) * each
    if x.strides[1] < x.strides[2] and x.shape[1] > 1:
        return cupy().empty((batch, tokens, heads, room), dtype=x.dtype).transpose(0, 2, 1, 3)
    return cupy().empty((batch, heads, tokens, room), dtype=x.dtype)


def empty_beside(q: Any, k: Any, v: Any) -> tuple[Any, Any, Any]:
    """Return empty arrays for gradients: parts of one where q, k and v are those of rows of heads, else each as `empty_like` makes it."""
    (batch, _, tokens, size), heads = q.shape, [x.shape[1] for x in (q, k, v)]
    each, width, place = q.dtype.itemsize * size, sum(heads), q.data.ptr
    together = each % 16 == 0
    for x in (q, k, v):
        together = together and x.shape[2:] == (tokens, size) and x.strides[1:3] == (each, width * each) and x.data.ptr == place
        place += x.shape[1] * each
    if not together:
        return empty_like(q, q.shape), empty_like(k, k.shape), empty_like(v, v.shape)
    whole = cupy().empty((batch, tokens, width, size), dtype=q.dtype).transpose(0, 2, 1, 3)
    return whole[:, :heads[0]], whole[:, heads[0]:heads[0] + heads[1]], whole[:, heads[0] + heads[1]:]


def steps(x: Any, unit: int) -> tuple[int, int, int]:
    """Return the steps of the first three axes, in units of so many bytes."""
    return tuple([step // unit for step in x.strides[:3]])     # pyright: ignore[reportReturnType]


def named_steps(unit: int, **arrays: Any) -> dict[str, int]:
    """Return name_batch, name_head and name_row for arrays by their names: their steps."""
    return {f"{name}_{axis}": n for name, x in arrays.items() for axis, n in zip(("batch", "head", "row"), steps(x, unit), strict=True)}


def mask_struct(seen: Any, rows: int, columns: int, turned: bool) -> tuple[int, Any, tuple[Any, ...]]:
    """Return the kind of a mask for the compiler, its struct, and the arrays that it points to."""
    found = np.zeros((), MASK)
    band = getattr(seen, "band", None)
    if band is not None:
        found["low"], found["high"] = band
        return 0, found[()], ()
    counts, lists = seen.lists(rows, columns, turned)
    kind = 1 if hasattr(seen, "first") else 2
    ends = (seen.first, seen.last) if kind == 1 else (seen.words,)
    for name, array in zip(("first", "last") if kind == 1 else ("words",), ends, strict=True):
        found[name] = array.data.ptr
    found["counts"], found["lists"] = counts.data.ptr, lists.data.ptr
    batch, heads = counts.shape[:2]
    found["of_batch"], found["of_head"] = heads if batch > 1 else 0, 1 if heads > 1 else 0
    found["row_words"] = ends[0].shape[-1] if kind == 2 else 0
    found["blocks"], found["list_length"] = lists.shape[-2:]
    return kind, found[()], (counts, lists, *ends)


def span(k: Any, v: Any, group: int, heads: int) -> int:
    """Return how many heads of queries are worked on together."""
    kept = max(1, IN_CACHE // (k.shape[2] * (k.shape[3] + v.shape[3]) * k.dtype.itemsize))
    return min(kept * group, heads)


def ordered(scale: float, q: Any) -> tuple[float, Any]:
    """Return a scale above 0 and queries that make the same scores: the kernels look for the largest product, not the largest score."""
    return (scale, q) if scale > 0 else (-scale, -q) if scale < 0 else (1.0, cupy().zeros_like(q))


def unordered(scale: float, of_q: Any) -> Any:
    """Return the gradient of q from that of the queries that `ordered` made.

    >>> unordered(-2.0, np.ones(2))
    array([-1., -1.])
    """
    return of_q if scale > 0 else -of_q if scale < 0 else cupy().zeros_like(of_q)
