"""Matrix products on the GPU, one call of the library each, whatever the order of the axes in memory; and sums of many products.

CuPy's own `matmul` spends several times as long on the host, copies matrices it need not, and makes tables of pointers by kernels of their
own where a matrix is used many times. float16, bfloat16 (sums in float32), real and complex numbers of 32 and 64 bits are served; None
says that `xp.matmul` should.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from . import cublaslt, maps
from .launching import cupy, on_gpu

__all__ = ["multiply", "summed"]

Sizes = tuple[int, ...]
NUMBERS = {char: np.array([1, 0], char) for char in "fd"}
ONE, ZERO = ({char: x[i:].ctypes.data for char, x in NUMBERS.items()} for i in (0, 1))   # where cuBLAS reads alpha and beta
PARTS = 512                 # products that a long sum of products is cut into: some for each of the GPU's 132 or fewer multiprocessors
LONGEST = 1 << 31           # lengths and leading dimensions are ints


class _Plan(NamedTuple):
    shape: Sizes
    product: cublaslt.Product


_plans: dict[Any, _Plan | None] = {}
_tables: dict[Any, Any] = {}


def _layout(shape: Sizes, steps: Sizes) -> tuple[int, int] | None:
    """Return whether matrices lie by columns, and the distance of their rows (columns) in elements; None if they have gaps."""
    rows, columns = shape[-2:]
    down, along = steps[-2:]
    if (along == 1 or columns == 1) and (rows == 1 or down >= columns):
        return 0, down if rows > 1 else columns
    if (down == 1 or rows == 1) and (columns == 1 or along >= rows):
        return 1, along if columns > 1 else rows
    return None


def _step(shape: Sizes, steps: Sizes) -> int | None:
    """Return the distance of stacked matrices, 0 for one matrix; None if they are not evenly stacked."""
    lead = [(n, step) for n, step in zip(shape[:-2], steps[:-2], strict=True) if n > 1]
    if any(before[1] != after[0] * after[1] for before, after in itertools.pairwise(lead)):
        return None
    return lead[-1][1] if lead else 0


def _planned(x: Any, y: Any, adds: bool, aligned: bool, biased: bool) -> _Plan | None:
    char = x.dtype.char
    if char not in cublaslt.TYPES or y.dtype != x.dtype or not x.size or not y.size or min(x.ndim, y.ndim) < 2 or not cublaslt.available():
        return None
    lead = x.shape[:-2] if x.ndim > 2 else y.shape[:-2]
    if (x.ndim > 2 and y.ndim > 2 and y.shape[:-2] != lead) or x.shape[-1] != y.shape[-2]:
        return None
    found: list[tuple[int, int, int]] = []
    for one in (y, x):          # the library counts by columns: there the array holds the transpose of the product, y^T x^T
        steps = tuple(step // one.itemsize for step in one.strides)
        layout, step = _layout(one.shape, steps), _step(one.shape, steps)
        if layout is None or step is None or one.size >= LONGEST:
            return None
        found.append((*layout, step))
    rows, inner, columns, count = x.shape[-2], x.shape[-1], y.shape[-1], math.prod(lead)
    try:
        product = cublaslt.Product(char, columns, rows, inner, count, found[0], found[1], adds, aligned, x.device.id, biased)
    except RuntimeError:
        return None
    return _Plan((*lead, rows, columns), product)


def multiply(x: Any, y: Any, out: Any = None, bias: Any = None) -> Any:
    """Return the matrix product x @ y of CuPy arrays over the last two axes; either may be one matrix for all. None if it does not fit.

    out: an array of the result's shape, without gaps, to which the product is added.
    bias: a vector without gaps that is added to every row, in the same pass; of float16, bfloat16 or float32.

    >>> multiply(np.ones((2, 2)), np.ones((2, 2))) is None
    True
    """
    if not (on_gpu(x) and on_gpu(y)) or (bias is not None and (bias.dtype != x.dtype or bias.dtype.char not in cublaslt.BIASED)):
        return None
    left, right = x.data.ptr, y.data.ptr
    aligned = not (left | right | (0 if out is None else out.data.ptr)) & 15
    key = (x.shape, y.shape, x.strides, y.strides, x.dtype.char, y.dtype.char, out is None, bias is None, aligned, x.device.id)
    try:
        plan = _plans[key]
    except KeyError:
        plan = _plans[key] = _planned(x, y, out is not None, aligned, bias is not None)
    if plan is None:
        return None
    if out is None:
        out = cupy().empty(plan.shape, x.dtype)
    plan.product(right, left, out.data.ptr, cupy().cuda.get_current_stream().ptr, 0 if bias is None else bias.data.ptr)
    return out


def _parts(count: int, length: int) -> int:
    """Return into how many equal parts to cut sums of a length, so that there are about PARTS of them.

    >>> _parts(20, 16384), _parts(20, 7225), _parts(1000, 64)
    (32, 25, 1)
    """
    most = min(-(-PARTS // count), max(1, length // 64))
    fitting = [n for n in range(1, 4 * most) if length % n == 0]
    return min(fitting, key=lambda n: abs(math.log(n / most)))


def summed(x: Any, y: Any) -> Any:
    """Return the sum of x[b] @ y[b]^T over b for CuPy arrays (b, n, points) and (b, m, points), without gaps; None if it does not fit.

    A few such sums over many points would keep a few multiprocessors busy: they are cut into parts, which are added up in a second step.
    """
    char = x.dtype.char
    if not on_gpu(x) or char not in "fd" or y.dtype != x.dtype or not x.size or not y.size:
        return None
    if x.ndim != 3 or y.ndim != 3 or not (x.flags.c_contiguous and y.flags.c_contiguous):
        return None
    (batch, rows, points), columns = x.shape, y.shape[1]
    cut = _cut(batch, points)
    count, length = batch * cut, points // cut
    out = cupy().empty((count, rows, columns), x.dtype)
    starts = _table(x, y, out, batch, cut).data.ptr
    cuda = cupy().cuda
    blas = cuda.cublas.sgemmBatched if char == "f" else cuda.cublas.dgemmBatched
    blas(cuda.device.get_cublas_handle(), 1, 0, columns, rows, length, ONE[char], starts + 8 * count, points, starts, points, ZERO[char],
         starts + 16 * count, columns, count)
    return out[0] if count == 1 else maps.column_sums(out)


_cut = functools.lru_cache(maxsize=1024)(_parts)


def _table(x: Any, y: Any, out: Any, batch: int, cut: int) -> Any:
    """Return where the parts begin, (3, parts) addresses. Tables are kept: in the steps of a training the same memory is used again."""
    bases = (x.data.ptr, y.data.ptr, out.data.ptr)
    key = (*bases, x.shape, y.shape, cut, x.itemsize, x.device.id)
    table = _tables.get(key)
    if table is None:
        if len(_tables) > 500:
            _tables.clear()
        (_, rows, points), columns, length = x.shape, y.shape[1], x.shape[2] // cut
        table = _tables[key] = cupy().empty((3, batch * cut), np.uint64)
        maps.pointers(table, bases, (rows * points, columns * points, cut * rows * columns), (length, length, rows * columns), cut, x)
    return table
