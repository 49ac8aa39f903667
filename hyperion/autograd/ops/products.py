"""Products of vectors and matrices, and the arrangements that go with them: diagonals, traces, blocks."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes, over_leading
from hyperion.autograd.dtypes import is_complex, is_inexact, real_dtype
from hyperion.autograd.ops.reductions import mean, sum
from hyperion.autograd.ops.shaping import astype, concat, expand_dims, normalize_axis, permute_dims, reshape, stack, sum_to
from hyperion.autograd.ops.stencils import pad, shift
from hyperion.autograd.table import PRIMITIVES, bilinear, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device, products
from hyperion.gpu.launching import on_gpu

__all__ = [
    "block_diag", "corrcoef", "cov", "cross", "diag", "diag_embed", "diagonal", "dot", "inner", "kron", "matmul", "matrix_transpose",
    "multi_dot", "outer", "trace", "vander", "vdot", "vecdot",
]


def _turn(x: Tensor) -> Tensor:
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _multiplied(xp: Any, x: Any, y: Any) -> Any:
    found = None if xp is np else products.multiply(x, y)
    return xp.matmul(x, y) if found is None else found


def _on_diagonal(xp: Any, x: Any, offset: int, axis1: int, axis2: int, rows: int, columns: int) -> Any:
    out = xp.zeros((*x.shape[:-1], rows, columns), dtype=x.dtype)
    place = xp.arange(x.shape[-1])
    out[..., place + (-offset if offset < 0 else 0), place + (offset if offset > 0 else 0)] = x
    return xp.moveaxis(out, (-2, -1), (axis1, axis2))


def _from_diagonal(g: Tensor, x: Tensor, offset: int, axis1: int, axis2: int, rows: int, columns: int) -> Tensor:
    return _diagonal(g, offset=offset, axis1=axis1, axis2=axis2)


_matmul = bilinear(
    "matmul", _multiplied, lambda g, x, y: sum_to(_matmul(g, _turn(y)), x.shape),
    lambda g, x, y: sum_to(_matmul(_turn(x), g), y.shape), batch=over_leading(2, 2),
)
_diagonal = linear(
    "diagonal", lambda xp, x, offset, axis1, axis2: xp.diagonal(x, offset, axis1, axis2),
    lambda g, x, offset, axis1, axis2: _embed(
        g, offset=offset, axis1=axis1, axis2=axis2, rows=x.shape[axis1], columns=x.shape[axis2]
    ),
    batch=by_axes("axis1", "axis2"),
)
_embed = linear(
    "diag_embed", _on_diagonal, _from_diagonal, batch=by_axes("axis1", "axis2"),
)


def _pull_matmul(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any] | None:
    """Pull back on CuPy arrays of one dtype whose leading axes do not broadcast."""
    x, y = inputs[0].data, inputs[1].data
    if not on_gpu(g) or x.shape[:-2] != y.shape[:-2] or not x.dtype == y.dtype == g.dtype:
        return None
    found = [
        products.multiply(g, y.swapaxes(-1, -2)) if inputs[0].node is not None else False,
        products.multiply(x.swapaxes(-1, -2), g) if inputs[1].node is not None else False,
    ]
    return None if any(one is None for one in found) else [None if one is False else one for one in found]


_matmul.pull, _matmul.everywhere = _pull_matmul, True


def _conj(x: Tensor) -> Tensor:
    return PRIMITIVES["conj"](x) if is_complex(x.dtype) else x


def matmul(x: Any, y: Any) -> Tensor:
    """Return the matrix product over the last two axes; other axes broadcast. A vector is a row on the left, a column on the right.

    x: shape (..., n, k) or (k,).  y: shape (..., k, m) or (k,).  Returns: shape (..., n, m), without n or m where a vector was given.
    Raises: ShapeError if k differs, the other axes do not broadcast, or one of them is a number.

    >>> matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    Tensor (2,) float32, cpu: [3. 7.]
    """
    x, y = as_tensor(x), as_tensor(y)
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul(x, y): x has shape {x.shape}, y has {y.shape}; both need at least one axis: use * for a number")
    inside = y.shape[0 if y.ndim == 1 else -2]
    leading = zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)
    if x.shape[-1] != inside or any(n != m and 1 not in (n, m) for n, m in leading):
        raise ShapeError(
            f"matmul(x, y): x has shape {x.shape}, y has {y.shape}; the last axis of x, {x.shape[-1]}, and the "
            f"{'only' if y.ndim == 1 else 'next to last'} axis of y, {inside}, must agree, and the axes before must broadcast"
        )
    left = reshape(x, (1, *x.shape)) if x.ndim == 1 else x
    right = reshape(y, (*y.shape, 1)) if y.ndim == 1 else y
    out = _matmul(left, right)
    if x.ndim > 1 and y.ndim > 1:
        return out
    rows, columns = out.shape[-2:]
    return reshape(out, (*out.shape[:-2], *(() if x.ndim == 1 else (rows,)), *(() if y.ndim == 1 else (columns,))))


def matrix_transpose(x: Any) -> Tensor:
    """Return x with its last two axes exchanged, without conjugation.

    x: shape (..., n, m).  Returns: shape (..., m, n).
    Raises: ShapeError if x has fewer than two axes.

    >>> matrix_transpose([[1.0, 2.0, 3.0]]).shape
    (3, 1)
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose(x): x has shape {x.shape}; it must have two axes or more")
    return _turn(x)


def _vectors(x: Any, y: Any, name: str) -> tuple[Tensor, Tensor]:
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError(f"{name}(x, y): x has shape {x.shape}, y has {y.shape}; both must be vectors: use reshape(x, (-1,))")
    return x, y


def vecdot(x: Any, y: Any, axis: int = -1) -> Tensor:
    """Return the sum of conj(x) * y along an axis; the other axes broadcast.

    axis: from -1 back, counted from the last axis of both; of one length in both.
    Raises: ShapeError if the axis is outside x or y, its lengths differ, or the other axes do not broadcast.

    >>> vecdot([[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
    Tensor (2,) float32, cpu: [21. 43.]
    """
    x, y = as_tensor(x), as_tensor(y)
    left, right = (normalize_axis(axis, one.ndim, "vecdot") for one in (x, y))
    if x.shape[left] != y.shape[right]:
        raise ShapeError(f"vecdot(x, y, axis={axis}): x has shape {x.shape}, y has {y.shape}; the lengths along the axis must agree")
    first = expand_dims(permute_dims(_conj(x), (*(i for i in range(x.ndim) if i != left), left)), -2)       # (..., 1, k)
    second = expand_dims(permute_dims(y, (*(i for i in range(y.ndim) if i != right), right)), -1)           # (..., k, 1)
    out = matmul(first, second)
    return reshape(out, out.shape[:-2])


def dot(x: Any, y: Any) -> Tensor:
    """Return the product of two arrays as NumPy's dot: of the last axis of x and the next to last (or only) of y; no conjugation.

    x: shape (..., k).  y: shape (k,) or (..., k, m); a number multiplies.  Returns: the other axes of x, then those of y.
    Raises: ShapeError if k differs.

    >>> dot([1.0, 2.0], [3.0, 4.0])
    Tensor () float32, cpu: 11.
    """
    x, y = as_tensor(x), as_tensor(y)
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] != y.shape[0 if y.ndim == 1 else -2]:
        raise ShapeError(f"dot(x, y): x has shape {x.shape}, y has {y.shape}; the last axis of x and the last but one of y must agree")
    if y.ndim <= 2:
        return matmul(x, y)
    columns = permute_dims(y, (y.ndim - 2, *range(y.ndim - 2), y.ndim - 1))
    return reshape(matmul(x, reshape(columns, (y.shape[-2], -1))), (*x.shape[:-1], *columns.shape[1:]))


def vdot(x: Any, y: Any) -> Tensor:
    """Return the sum of conj(x) * y over all elements.

    x, y: of as many elements.
    Raises: ShapeError if their numbers of elements differ.

    >>> vdot([1j, 2.0], [1j, 1.0])
    Tensor () complex64, cpu: 3.+0.j
    """
    x, y = as_tensor(x), as_tensor(y)
    if x.size != y.size:
        raise ShapeError(f"vdot(x, y): x has shape {x.shape}, y has {y.shape}; they must have as many elements")
    return matmul(reshape(_conj(x), (-1,)), reshape(y, (-1,)))


def inner(x: Any, y: Any) -> Tensor:
    """Return the sum of products over the last axes of two arrays: the other axes of x, then those of y; no conjugation.

    Raises: ShapeError if the lengths of the last axes differ.

    >>> inner([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    Tensor (2,) float32, cpu: [3. 7.]
    """
    x, y = as_tensor(x), as_tensor(y)
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"inner(x, y): x has shape {x.shape}, y has {y.shape}; their last axes must agree")
    k = x.shape[-1]
    rows, columns = (reshape(one, (math.prod(one.shape[:-1]), k)) for one in (x, y))
    return reshape(matmul(rows, _turn(columns)), (*x.shape[:-1], *y.shape[:-1]))


def outer(x: Any, y: Any) -> Tensor:
    """Return the products of all elements of a vector with all of another, shape (n, m); no conjugation.

    x: shape (n,).  y: shape (m,).
    Raises: ShapeError if one of them is no vector.

    >>> outer([1.0, 2.0], [1.0, 2.0, 3.0]).shape
    (2, 3)
    """
    x, y = _vectors(x, y, "outer")
    return expand_dims(x, 1) * expand_dims(y, 0)


def kron(x: Any, y: Any) -> Tensor:
    """Return the Kronecker product: blocks x[i, j] * y. Of two arrays, the one with fewer axes gets axes of length 1 in front.

    x, y: shapes (n, m) and (k, l), or of any number of axes.  Returns: shape (n k, m l).

    >>> kron([1.0, 10.0], [1.0, 2.0])
    Tensor (4,) float32, cpu: [ 1.  2. 10. 20.]
    """
    x, y = as_tensor(x), as_tensor(y)
    ndim = x.ndim if x.ndim > y.ndim else y.ndim
    left, right = ((1,) * (ndim - one.ndim) + one.shape for one in (x, y))
    first = reshape(x, tuple(length for n in left for length in (n, 1)))
    second = reshape(y, tuple(length for n in right for length in (1, n)))
    return reshape(first * second, tuple(n * m for n, m in zip(left, right, strict=True)))


def cross(x: Any, y: Any, axis: int = -1) -> Tensor:
    """Return the cross product of vectors of three components along an axis; the other axes broadcast.

    axis: from -1 back, counted from the last axis of both.
    Raises: ShapeError if the axis is outside x or y or its length is not 3.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    Tensor (3,) float32, cpu: [0. 0. 1.]
    """
    x, y = as_tensor(x), as_tensor(y)
    left, right = (normalize_axis(axis, one.ndim, "cross") for one in (x, y))
    if x.shape[left] != 3 or y.shape[right] != 3:
        raise ShapeError(f"cross(x, y, axis={axis}): x has shape {x.shape}, y has {y.shape}; both need length 3 along the axis")
    if left - x.ndim != right - y.ndim:
        raise ShapeError(f"cross(x, y, axis={axis}): x has {x.ndim} axes and y {y.ndim}; count the axis from the last, as {left - x.ndim}")
    next_x, next_y = shift(x, -1, left, periodic=True), shift(y, -1, right, periodic=True)
    return next_x * shift(y, -2, right, periodic=True) - shift(x, -2, left, periodic=True) * next_y


def multi_dot(arrays: Sequence[Any]) -> Tensor:
    """Return the matrix product of several arrays, multiplied in the order of least work.

    arrays: two or more matrices; the first may be a row vector and the last a column vector of one axis.
    Raises: InputError for fewer than two; ShapeError if shapes do not follow on each other.
    Source: Cormen, Leiserson, Rivest and Stein, Introduction to Algorithms, section on matrix-chain multiplication.

    >>> multi_dot([[1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], [3.0, 4.0]])
    Tensor () float32, cpu: 11.
    """
    parts = [as_tensor(x) for x in arrays]
    if len(parts) < 2:
        raise InputError(f"multi_dot(arrays): got {len(parts)}; give two or more")
    row, column = parts[0].ndim == 1, parts[-1].ndim == 1
    parts[0] = expand_dims(parts[0], 0) if row else parts[0]
    parts[-1] = expand_dims(parts[-1], 1) if column else parts[-1]
    shapes = ", ".join(str(x.shape) for x in parts)
    if any(x.ndim != 2 for x in parts) or any(x.shape[1] != y.shape[0] for x, y in itertools.pairwise(parts)):
        raise ShapeError(f"multi_dot(arrays): shapes {shapes} must be matrices, each with as many rows as the one before has columns")
    out = _chain(parts)
    return reshape(out, (*(() if row else out.shape[:1]), *(() if column else out.shape[1:])))


def _chain(parts: list[Tensor]) -> Tensor:
    """Multiply matrices by the best order: the cost of each stretch of the chain from those of its shorter stretches."""
    sizes = [parts[0].shape[0], *(x.shape[1] for x in parts)]
    best: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(parts))}
    for length in range(1, len(parts)):
        for i in range(len(parts) - length):
            j = i + length
            best[i, j] = sorted((best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))[0]
    products: dict[tuple[int, int], Tensor] = {(i, i): x for i, x in enumerate(parts)}
    stack = [(0, len(parts) - 1)]
    while stack:
        i, j = stack[-1]
        k = best[i, j][1]
        missing = [stretch for stretch in ((i, k), (k + 1, j)) if stretch not in products]
        if missing:
            stack += missing
        else:
            products[i, j] = matmul(products[i, k], products[k + 1, j])
            stack.pop()
    return products[0, len(parts) - 1]


def diagonal(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Return the elements x[..., i, i + offset] of the last two axes, or of two others, along a new last axis.

    Raises: ShapeError if x has fewer than two axes, or both are the same.

    >>> diagonal([[1.0, 2.0], [3.0, 4.0]])
    Tensor (2,) float32, cpu: [1. 4.]
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal(x): x has shape {x.shape}; it must have two axes or more")
    first, second = normalize_axis(axis1, x.ndim, "diagonal"), normalize_axis(axis2, x.ndim, "diagonal")
    if first == second:
        raise ShapeError(f"diagonal(x, axis1={axis1}, axis2={axis2}): both are axis {first} of x, shape {x.shape}; name two different ones")
    return _diagonal(x, offset=int(offset), axis1=first, axis2=second)


def diag_embed(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Return matrices with the last axis of x on a diagonal and zeros elsewhere: the transpose of `diagonal`.

    axis1, axis2: where the rows and columns come among the axes of the result.  Returns: one axis more, both of n + |offset|.
    Raises: ShapeError if x is a number, or both axes are the same.

    >>> diag_embed([1.0, 2.0], offset=1).shape
    (3, 3)
    """
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError("diag_embed(x): x has shape (); it must have an axis")
    first, second = normalize_axis(axis1, x.ndim + 1, "diag_embed"), normalize_axis(axis2, x.ndim + 1, "diag_embed")
    if first == second:
        raise ShapeError(f"diag_embed(x, axis1={axis1}, axis2={axis2}): both are axis {first} of the result; name two different ones")
    n = x.shape[-1] + (offset if offset > 0 else -offset)
    return _embed(x, offset=int(offset), axis1=first, axis2=second, rows=n, columns=n)


def diag(x: Any, offset: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or a matrix with a vector on its diagonal.

    Raises: ShapeError if x is neither; `diagonal` and `diag_embed` take stacks of them.

    >>> diag(diag([1.0, 2.0]))
    Tensor (2,) float32, cpu: [1. 2.]
    """
    x = as_tensor(x)
    if x.ndim not in (1, 2):
        raise ShapeError(f"diag(x): x has shape {x.shape}; it must be a vector or a matrix: for stacks use diagonal or diag_embed")
    return diag_embed(x, offset) if x.ndim == 1 else diagonal(x, offset)


def trace(x: Any, offset: int = 0, dtype: Any = None) -> Tensor:
    """Return the sum of the diagonal of the last two axes.

    dtype: in which to sum; by default as `sum`.
    Raises: ShapeError if x has fewer than two axes.

    >>> trace([[1.0, 2.0], [3.0, 4.0]])
    Tensor () float32, cpu: 5.
    """
    return sum(diagonal(x, offset), axis=-1, dtype=dtype)


def block_diag(*blocks: Any) -> Tensor:
    """Return a matrix with blocks along its diagonal and zeros elsewhere.

    blocks: matrices; a vector is one row, a number one element.
    Raises: InputError for none; ShapeError if one has more than two axes.

    >>> block_diag([[1.0, 2.0]], [3.0]).shape
    (2, 3)
    """
    parts = [as_tensor(x) for x in blocks]
    if not parts:
        raise InputError("block_diag(*blocks): there are none; give at least one")
    if any(x.ndim > 2 for x in parts):
        raise ShapeError(f"block_diag(*blocks): shapes {', '.join(str(x.shape) for x in parts)}; each may have at most two axes")
    matrices = [reshape(x, (1,) * (2 - x.ndim) + x.shape) for x in parts]
    starts = [0]
    for x in matrices:
        starts.append(starts[-1] + x.shape[1])
    return concat([
        pad(x, ((0, 0), (start, starts[-1] - start - x.shape[1]))) for x, start in zip(matrices, starts, strict=False)
    ], axis=0)


def vander(x: Any, n: int | None = None, increasing: bool = False) -> Tensor:
    """Return powers of the elements of x along a new last axis: n - 1 to 0, or 0 to n - 1 with `increasing`.

    x: shape (..., k).  n: number of powers; by default k.  Returns: shape (..., k, n).
    Raises: ShapeError if x is a number; InputError if n is negative.

    >>> vander([2.0, 3.0], 3)[1]
    Tensor (3,) float32, cpu: [9. 3. 1.]
    """
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError("vander(x): x has shape (); it must have an axis")
    count = x.shape[-1] if n is None else int(n)
    if count < 0:
        raise InputError(f"vander(x, n={n}): n must be 0 or more")
    powers = [Tensor(device.namespace_of(x.device).ones(x.shape, dtype=x.dtype))]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    return stack((powers if increasing else powers[::-1]) if count else powers, axis=-1)[..., :count]


def cov(x: Any, correction: float = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """Return the covariance matrix of variables: sums of products of differences from the mean, the second one conjugated.

    x: shape (variables, observations), or (observations,) of one variable.  correction: subtracted from the number of observations.
    fweights, aweights: shape (observations,): how often each counts, and how important it is.
    Returns: shape (variables, variables), or () for one variable.
    Raises: ShapeError if x has more than two axes or a weight does not fit; DtypeError for integers.

    >>> cov([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])[0]
    Tensor (2,) float32, cpu: [ 1. -1.]
    """
    x = as_tensor(x)
    if x.ndim not in (1, 2):
        raise ShapeError(f"cov(x): x has shape {x.shape}; it must be (variables, observations) or (observations,)")
    if not is_inexact(x.dtype):
        raise DtypeError(f"cov(x): x is {x.dtype}; it must be floating or complex: use .astype('float32')")
    rows = reshape(x, (1, *x.shape)) if x.ndim == 1 else x
    weights = _observation_weights(fweights, aweights, rows)
    if weights is None:
        centred = rows - mean(rows, axis=-1, keepdims=True)
        products, count = matmul(centred, _turn(_conj(centred))), rows.shape[-1] - correction
    else:
        total = sum(weights)
        centred = rows - sum(rows * weights, axis=-1, keepdims=True) / total
        lost = correction if aweights is None else correction * sum(weights * as_tensor(aweights)) / total
        products, count = matmul(centred * weights, _turn(_conj(centred))), total - lost
    return reshape(products / count, () if rows.shape[0] == 1 else products.shape)


def _observation_weights(fweights: Any, aweights: Any, rows: Tensor) -> Tensor | None:
    """Return the product of the weights that are given, in the real dtype that goes with x."""
    product: Tensor | None = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        weights = as_tensor(given)
        if weights.shape != rows.shape[-1:]:
            raise ShapeError(f"cov(x, {name}): {name} has shape {weights.shape}; it must be {rows.shape[-1:]}, one per observation")
        weights = weights if is_inexact(weights.dtype) else astype(weights, real_dtype(rows.dtype))
        product = weights if product is None else product * weights
    return product


def corrcoef(x: Any) -> Tensor:
    """Return the correlation coefficients of variables: their covariances over the square roots of their variances.

    x: shape (variables, observations), or (observations,) of one variable.
    Returns: shape (variables, variables), or () for one variable: 1.
    Raises: as `cov`.

    >>> corrcoef([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])[0]
    Tensor (2,) float32, cpu: [ 1. -1.]
    """
    products = cov(x)
    if not products.ndim:
        return products / products
    variances = diagonal(products)
    deviations = (PRIMITIVES["real"](variances) if is_complex(products.dtype) else variances) ** 0.5
    return products / expand_dims(deviations, 1) / expand_dims(deviations, 0)
