"""Norms of vectors and matrices."""

import math
from typing import Any

from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.arithmetic import abs, power, sqrt, square
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import imag, real
from hyperion.autograd.ops.linalg.rules import as_floating, as_matrix, near_zero
from hyperion.autograd.ops.linalg.singular import svdvals
from hyperion.autograd.ops.reductions import max, min, sum
from hyperion.autograd.ops.shaping import expand_dims, normalize_axes, normalize_axis, permute_dims, reshape
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError

__all__ = ["cdist", "dist", "matrix_norm", "norm", "vector_norm"]

Order = float | str | None


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """Return the norm of vectors: (sum |x|^ord)^(1/ord).

    axis: None (all elements), a number or several, taken together.  keepdims: keep them with length 1.
    ord: any number; infinity: the largest |x|, minus infinity: the smallest, 0: how many are not zero.
    The derivative where the norm, or for ord below 2 an element, is 0 is 0: one of the subgradients.
    Returns: a real Tensor.
    Raises: DtypeError for integers; ShapeError if an axis is outside x, or there is no element for ord = inf or -inf.

    >>> vector_norm([3.0, 4.0]), vector_norm([3.0, -4.0], ord=float("inf"))
    (Tensor () float32, cpu: 5., Tensor () float32, cpu: 4.)
    """
    x = as_floating(x, "vector_norm(x)")
    if isinstance(ord, str) or not isinstance(ord, int | float) or math.isnan(ord):     # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"vector_norm(x, ord={ord!r}): ord must be a number, inf or -inf")
    axes = normalize_axes(axis, x.ndim, "vector_norm")
    if ord == 0:
        return sum((x != 0).astype(real(x).dtype), axis=axes, keepdims=keepdims)
    if ord == 2:
        return _root(sum(square(real(x)) + square(imag(x)) if is_complex(x.dtype) else square(x), axis=axes, keepdims=keepdims), 0.5)
    sizes = abs(x)
    if ord == 1:
        return sum(sizes, axis=axes, keepdims=keepdims)
    if math.isinf(ord):
        return (max if ord > 0 else min)(sizes, axis=axes, keepdims=keepdims)
    zero = sizes == 0
    powers = where(zero, 0.0 if ord > 0 else math.inf, power(where(zero, 1.0, sizes), float(ord)))
    return _root(sum(powers, axis=axes, keepdims=keepdims), 1.0 / ord)


def _root(x: Tensor, exponent: float) -> Tensor:
    """Return x ** exponent for x >= 0; where x is 0 (or infinite, for a negative exponent) it is 0 with derivative 0."""
    zero = x == (0.0 if exponent > 0 else math.inf)
    inside = where(zero, 1.0, x)
    return where(zero, 0.0, sqrt(inside) if exponent == 0.5 else power(inside, exponent))


def matrix_norm(x: Any, keepdims: bool = False, ord: Order = "fro") -> Tensor:
    """Return the norm of matrices, shape (..., n, m) to (...).

    ord: "fro": root of the sum of squares; "nuc": sum of singular values; 2, -2: largest, smallest singular value; 1, -1: largest,
        smallest sum of |x| over a column; inf, -inf: over a row. None is "fro".
    The derivative where norms tie is the mean over those that tie, and where the norm is zero it is 0: subgradients.
    Returns: a real Tensor.
    Raises: InputError for another ord; ShapeError or DtypeError if x is no stack of matrices, or empty where a largest one is asked for.

    >>> matrix_norm([[3.0, 0.0], [0.0, 4.0]]), matrix_norm([[3.0, 0.0], [0.0, 4.0]], ord="nuc")
    (Tensor () float32, cpu: 5., Tensor () float32, cpu: 7.)
    """
    x = as_matrix(as_floating(x, "matrix_norm(x)"), "matrix_norm(x)")
    pick = max if isinstance(ord, str) or ord is None or ord > 0 else min
    if ord == "fro" or ord is None:
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        values = svdvals(x)
        values = where(near_zero(values, values), 0.0, values)          # not smooth there; 0 is a subgradient
        out = sum(values, axis=-1) if ord == "nuc" else extreme(values, pick is max, f"matrix_norm(x, ord={ord})")
        return reshape(out, (*out.shape, 1, 1)) if keepdims else out
    if ord in (1, -1, math.inf, -math.inf):
        along = -2 if ord in (1, -1) else -1
        sums = sum(abs(x), axis=along, keepdims=True)
        return pick(sums, axis=(-2, -1), keepdims=keepdims)
    raise InputError(f'matrix_norm(x, ord={ord!r}): ord must be "fro", "nuc", 1, -1, 2, -2, inf or -inf')


def extreme(values: Tensor, largest: bool, name: str) -> Tensor:
    """Return the first or the last of descending singular values as the mean of those equal to it, which share its derivative."""
    if not values.shape[-1]:
        raise ShapeError(f"{name}: the matrices of x are empty; they must have a row and a column")
    end = values[..., :1] if largest else values[..., -1:]
    share = near_zero(values - end, values).astype(values.dtype)
    return sum(values * (share / sum(share, axis=-1, keepdims=True)), axis=-1)


def norm(x: Any, ord: Order = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return a norm as NumPy's linalg.norm: of all elements, of vectors along an axis, or of matrices over two.

    ord: None: root of the sum of squares of all elements, or along the axes.  axis: None, a number, or a pair (rows, columns).
        With ord given, x must have one axis or two, or axis must say which.
    Raises: ShapeError or InputError if ord and axes do not fit; DtypeError for integers.

    >>> norm([[3.0, 0.0], [0.0, 4.0]], ord=1)
    Tensor () float32, cpu: 4.
    """
    x = as_floating(x, "norm(x)")
    if ord is None:
        return vector_norm(x, axis=axis, keepdims=keepdims)
    given: list[Any] = list(range(x.ndim)) if axis is None else list(axis) if isinstance(axis, tuple | list) else [axis]     # pyright: ignore
    axes = [normalize_axis(one, x.ndim, "norm") for one in given]
    if len(axes) not in (1, 2):
        raise ShapeError(f"norm(x, ord={ord!r}, axis={axis}): x has shape {x.shape}; give one axis for vectors or two for matrices")
    if len(axes) == 1:
        if isinstance(ord, str):
            raise InputError(f"norm(x, ord={ord!r}, axis={axis}): ord of vectors must be a number; name two axes for a matrix norm")
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    rows, columns = axes
    if rows == columns:
        raise ShapeError(f"norm(x, ord={ord!r}, axis={axis}): both are axis {rows}; name two different ones")
    rest = [i for i in range(x.ndim) if i not in (rows, columns)]
    out = matrix_norm(permute_dims(x, (*rest, rows, columns)), ord=ord)
    return reshape(out, tuple(1 if i in (rows, columns) else n for i, n in enumerate(x.shape))) if keepdims else out


def dist(x: Any, y: Any, ord: float = 2) -> Tensor:
    """Return the norm of the difference of two arrays that broadcast, over all elements.

    Raises: ShapeError if they do not broadcast; others as `vector_norm`.

    >>> dist([1.0, 2.0], [4.0, 6.0])
    Tensor () float32, cpu: 5.
    """
    return vector_norm(as_tensor(x) - as_tensor(y), ord=ord)


def cdist(x: Any, y: Any, ord: float = 2) -> Tensor:
    """Return the distances of all points of one set from all of another.

    x: shape (..., n, d).  y: shape (..., m, d).  ord: as `vector_norm`.  Returns: shape (..., n, m).
    Raises: ShapeError if d differs, or one of them has fewer than two axes; others as `vector_norm`.

    >>> cdist([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])[0]
    Tensor (2,) float32, cpu: [5. 1.]
    """
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"cdist(x, y): x has shape {x.shape}, y has {y.shape}; they must be (..., n, d) and (..., m, d)")
    return vector_norm(expand_dims(x, -2) - expand_dims(y, -3), axis=-1, ord=ord)
