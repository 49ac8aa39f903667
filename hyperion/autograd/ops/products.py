"""Matrix products."""

from typing import Any

from hyperion.autograd.ops.shaping import permute_dims, reshape, sum_to
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import ShapeError

__all__ = ["matmul"]


def _turn(x: Tensor) -> Tensor:
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _matmul_vjp(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
    return (
        sum_to(_matmul(g, _turn(y)), x.shape) if x.tracked else None,
        sum_to(_matmul(_turn(x), g), y.shape) if y.tracked else None,
    )


def _matmul_jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    left, right = tangents
    if left is None:
        return _matmul(x, right)
    return _matmul(left, y) if right is None else _matmul(left, y) + _matmul(x, right)


_matmul = general("matmul", lambda xp, x, y: xp.matmul(x, y), _matmul_vjp, _matmul_jvp, promotes=True)


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
    inner = y.shape[0 if y.ndim == 1 else -2]
    leading = zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)
    if x.shape[-1] != inner or any(n != m and 1 not in (n, m) for n, m in leading):
        raise ShapeError(
            f"matmul(x, y): x has shape {x.shape}, y has {y.shape}; the last axis of x, {x.shape[-1]}, and the "
            f"{'only' if y.ndim == 1 else 'next to last'} axis of y, {inner}, must agree, and the axes before must broadcast"
        )
    left = reshape(x, (1, *x.shape)) if x.ndim == 1 else x
    right = reshape(y, (*y.shape, 1)) if y.ndim == 1 else y
    out = _matmul(left, right)
    if x.ndim > 1 and y.ndim > 1:
        return out
    rows, columns = out.shape[-2:]
    return reshape(out, (*out.shape[:-2], *(() if x.ndim == 1 else (rows,)), *(() if y.ndim == 1 else (columns,))))
