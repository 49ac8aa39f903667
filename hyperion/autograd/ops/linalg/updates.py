"""Sums of an array and a scaled product, as BLAS has them: beta x + alpha (a b)."""

from collections.abc import Callable
from typing import Any

from hyperion.autograd.ops.products import matmul, outer
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import ShapeError

__all__ = ["addbmm", "addmm", "addmv", "addr", "baddbmm"]


def _updated(
    name: str, ranks: tuple[int, int], x: Any, a: Any, b: Any, alpha: float, beta: float, product: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return beta x + alpha product(a, b) for factors of so many axes; x broadcasts to the product, and is not read for beta = 0."""
    x, a, b = as_tensor(x), as_tensor(a), as_tensor(b)
    if (a.ndim, b.ndim) != ranks:
        raise ShapeError(f"{name}(x, a, b): a has shape {a.shape}, b has {b.shape}; give {ranks[0]} and {ranks[1]} axes, or use matmul")
    scaled = product(a, b) * alpha if alpha != 1 else product(a, b)
    lengths = zip(reversed(x.shape), reversed(scaled.shape), strict=False)
    if x.ndim > scaled.ndim or any(n not in (1, m) for n, m in lengths):
        raise ShapeError(f"{name}(x, a, b): x has shape {x.shape}; it must broadcast to that of the product, {scaled.shape}")
    return scaled if beta == 0 else scaled + (x * beta if beta != 1 else x)


def addmm(x: Any, a: Any, b: Any, alpha: float = 1, beta: float = 1) -> Tensor:
    """Return beta x + alpha (a b) for matrices a, shape (n, k), and b, shape (k, m).

    x: broadcasts to shape (n, m); it is not read for beta = 0.
    Raises: ShapeError if the shapes do not fit.

    >>> addmm([1.0, 2.0], [[1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], beta=10.0)[0]
    Tensor (2,) float32, cpu: [11. 21.]
    """
    return _updated("addmm", (2, 2), x, a, b, alpha, beta, matmul)


def addmv(x: Any, a: Any, b: Any, alpha: float = 1, beta: float = 1) -> Tensor:
    """Return beta x + alpha (a b) for a matrix a, shape (n, k), and a vector b, shape (k,); otherwise as `addmm`.

    >>> addmv([1.0, 2.0], [[1.0, 1.0], [0.0, 1.0]], [1.0, 2.0])
    Tensor (2,) float32, cpu: [4. 4.]
    """
    return _updated("addmv", (2, 1), x, a, b, alpha, beta, matmul)


def addr(x: Any, a: Any, b: Any, alpha: float = 1, beta: float = 1) -> Tensor:
    """Return beta x + alpha times the products of all elements of a, shape (n,), with all of b, shape (m,); otherwise as `addmm`.

    >>> addr(0.0, [1.0, 2.0], [1.0, 3.0])[1]
    Tensor (2,) float32, cpu: [2. 6.]
    """
    return _updated("addr", (1, 1), x, a, b, alpha, beta, outer)


def baddbmm(x: Any, a: Any, b: Any, alpha: float = 1, beta: float = 1) -> Tensor:
    """Return beta x + alpha (a b) for stacks of matrices a, shape (s, n, k), and b, shape (s, k, m); otherwise as `addmm`.

    >>> baddbmm(1.0, [[[2.0]], [[3.0]]], [[[1.0]], [[1.0]]]).shape
    (2, 1, 1)
    """
    return _updated("baddbmm", (3, 3), x, a, b, alpha, beta, matmul)


def _summed(a: Tensor, b: Tensor) -> Tensor:
    return sum(matmul(a, b), axis=0)


def addbmm(x: Any, a: Any, b: Any, alpha: float = 1, beta: float = 1) -> Tensor:
    """Return beta x + alpha times the sum of a[i] b[i] for stacks a, shape (s, n, k), and b, shape (s, k, m); otherwise as `addmm`.

    >>> addbmm(1.0, [[[2.0]], [[3.0]]], [[[1.0]], [[1.0]]])
    Tensor (1, 1) float32, cpu
    """
    return _updated("addbmm", (3, 3), x, a, b, alpha, beta, _summed)
