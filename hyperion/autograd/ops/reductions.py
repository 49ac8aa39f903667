"""Sums along axes. All are linear."""

from typing import Any

from hyperion.autograd.ops.shaping import broadcast_to, flip, normalize_axes, normalize_axis, reshape
from hyperion.autograd.table import linear
from hyperion.autograd.tensor import Tensor, as_tensor

__all__ = ["cumsum", "mean", "sum"]


def _spread(g: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    if g.ndim and g.ndim != x.ndim:
        g = reshape(g, tuple([1 if i in axis else n for i, n in enumerate(x.shape)]))
    return broadcast_to(g, x.shape)


_sum = linear(
    "sum", lambda xp, x, axis, keepdims: xp.sum(x, axis=axis, keepdims=keepdims), lambda g, x, axis, keepdims: _spread(g, x, axis)
)
_cumsum = linear("cumsum", lambda xp, x, axis: xp.cumsum(x, axis=axis), lambda g, x, axis: flip(_cumsum(flip(g, axis), axis=axis), axis))


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the sum of elements over axes.

    axis: None (all), a number or several.  keepdims: keep them with length 1.
    Raises: ShapeError if an axis is outside x.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor (2,) float32, cpu: [4. 6.]
    """
    x = as_tensor(x)
    return _sum(x, axis=normalize_axes(axis, x.ndim, "sum"), keepdims=keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean of elements over axes; as `sum`.

    >>> mean([1.0, 2.0, 6.0])
    Tensor () float32, cpu: 3.
    """
    x = as_tensor(x)
    total = sum(x, axis=axis, keepdims=keepdims)
    return total * (float(total.size) / float(x.size)) if x.size else total / 0.0


def cumsum(x: Any, axis: int = 0) -> Tensor:
    """Return the running sum of elements along an axis.

    >>> cumsum([1.0, 2.0, 3.0])
    Tensor (3,) float32, cpu: [1. 3. 6.]
    """
    x = as_tensor(x)
    return _cumsum(x, axis=normalize_axis(axis, x.ndim, "cumsum"))
