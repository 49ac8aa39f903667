"""Rectangular and singular matrices: the pseudo-inverse, least squares, rank, condition."""

from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import is_complex, real_dtype
from hyperion.autograd.ops.arithmetic import abs, maximum
from hyperion.autograd.ops.complexes import conj, real
from hyperion.autograd.ops.linalg.eigen import eigvalsh
from hyperion.autograd.ops.linalg.norms import Order, extreme, matrix_norm
from hyperion.autograd.ops.linalg.rules import adjoint, as_matrix, constant, hermitian, hermitian_part, lapack
from hyperion.autograd.ops.linalg.singular import svdvals
from hyperion.autograd.ops.linalg.solving import inv, right_hand_side
from hyperion.autograd.ops.products import matmul, matrix_transpose
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import expand_dims, squeeze, sum_to
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError

__all__ = ["LeastSquares", "cond", "lstsq", "matrix_rank", "pinv"]


class LeastSquares(NamedTuple):
    """What `lstsq` returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def _pinv_forward(xp: Any, x: Any, rtol: Any, symmetric: bool) -> Any:
    if not x.size:
        return xp.zeros((*np.broadcast_shapes(x.shape[:-2], rtol.shape), x.shape[-1], x.shape[-2]), dtype=x.dtype)
    problem = f"pinv(x): x, shape {x.shape}, must be finite"
    if symmetric:
        values, u = lapack(xp, problem, xp.linalg.eigh, hermitian_part(x))
        s, vh = xp.abs(values), (u * xp.sign(values)[..., None, :]).conj().swapaxes(-1, -2)
    else:
        u, s, vh = lapack(xp, problem, xp.linalg.svd, x, full_matrices=False)
    kept = s > rtol[..., None] * s.max(axis=-1, keepdims=True)
    inverse = xp.where(kept, 1.0 / xp.where(kept, s, 1), 0).astype(s.dtype)
    return xp.matmul(vh.conj().swapaxes(-1, -2) * inverse[..., None, :], u.conj().swapaxes(-1, -2))


def _pinv_vjp(g: Tensor, out: Tensor, x: Tensor, rtol: Tensor, symmetric: bool) -> tuple[Tensor, None]:
    shape, x = x.shape, hermitian(x) if symmetric else x
    turned, weights = matrix_transpose(out), matrix_transpose(g)
    outside = weights - x @ (out @ weights)         # (I - x out) g^T
    above = weights - (weights @ out) @ x           # g^T (I - out x)
    back = sum_to(conj(outside @ out @ adjoint(out) + adjoint(out) @ out @ above) - turned @ g @ turned, shape)
    return hermitian(back) if symmetric else back, None


def _pinv_jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, rtol: Tensor, symmetric: bool) -> Tensor | None:
    moved = tangents[0]
    if moved is None:
        return None
    x, moved = (hermitian(x), hermitian(moved)) if symmetric else (x, moved)
    turned = adjoint(moved)
    beside = turned - (turned @ x) @ out            # dx^H (I - x out)
    above = turned - out @ (x @ turned)             # (I - out x) dx^H
    return out @ adjoint(out) @ beside + above @ adjoint(out) @ out - out @ moved @ out


# Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973) 413, eq. 4.12: where the rank does not change.
_pinv = general("pinv", _pinv_forward, _pinv_vjp, _pinv_jvp, batch=over_leading(2, 0))


def pinv(x: Any, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """Return the Moore-Penrose pseudo-inverse of matrices, shape (..., n, m) to (..., m, n).

    rtol: number, or one per matrix, shape (...): singular values up to rtol times the largest count as zero; by default max(n, m) times
        the rounding error of the dtype. It has no derivative.
    hermitian: x is Hermitian (or real symmetric): its Hermitian part is taken, and eigenvalues do, which is faster.
    The derivative is that among matrices of the same rank: where a rank is about to change, the pseudo-inverse is not continuous.
    Raises: ShapeError or DtypeError if x is no stack of floating or complex matrices; InputError for a negative rtol.
    Source: Golub and Pereyra, SIAM Journal on Numerical Analysis 10 (1973) 413, for the derivative.

    >>> pinv([[2.0, 0.0], [0.0, 0.0]])[0]
    Tensor (2,) float32, cpu: [0.5 0. ]
    """
    x = as_matrix(x, "pinv(x)", square=hermitian)
    return _pinv(x, as_rtol(rtol, x, "pinv"), symmetric=hermitian)


def as_rtol(rtol: Any, x: Tensor, name: str) -> Tensor:
    """Return a relative tolerance, by default that of the dtype, as a constant that goes with matrices, or refuse it."""
    if rtol is None:
        return constant(x, np.asarray(max(x.shape[-2:]) * float(np.finfo(x.dtype).eps), real_dtype(x.dtype)))
    if isinstance(rtol, int | float) and not rtol >= 0:
        raise InputError(f"{name}(x, rtol={rtol}): rtol must be 0 or more")
    tolerance = as_tensor(rtol).detach().astype(real_dtype(x.dtype)).to(x.device)
    if any(n != m and 1 not in (n, m) for n, m in zip(reversed(x.shape[:-2]), reversed(tolerance.shape), strict=False)):
        raise ShapeError(f"{name}(x, rtol): rtol has shape {tolerance.shape}; it must broadcast with {x.shape[:-2]}, the stack of matrices")
    return tolerance


def lstsq(a: Any, b: Any, rtol: Any = None) -> LeastSquares:
    """Return the least-squares solution x of a x = b; of several, the shortest one.

    a: shape (..., m, n).  b: shape (m,) or (..., m, k).  rtol: as `pinv`.
    Returns: solution, as b with n for m; residuals, the sums of |b - a x|^2 over m; rank of a, int64; singular values of a.
    Raises: ShapeError or DtypeError if shapes or dtypes do not fit.

    >>> lstsq([[1.0], [1.0]], [1.0, 3.0]).solution
    Tensor (1,) float32, cpu: [2.]
    """
    name = "lstsq(a, b)"
    a = as_matrix(a, name, "a")
    b, vector = right_hand_side(name, a, b)
    values = svdvals(a)
    solution = matmul(pinv(a, rtol), b)
    missed = b - a @ solution
    residuals = sum(real(missed * conj(missed)) if is_complex(missed.dtype) else missed * missed, axis=-2)
    rank = _rank(values.detach(), as_rtol(rtol, a, "lstsq"))
    return LeastSquares(squeeze(solution, -1) if vector else solution, squeeze(residuals, -1) if vector else residuals, rank, values)


def matrix_rank(x: Any, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """Return the number of singular values above rtol times the largest, int64; it has no derivative.

    x: shape (..., n, m).  rtol, hermitian: as `pinv`.
    Raises: ShapeError or DtypeError if x is no stack of matrices; InputError for a negative rtol.

    >>> matrix_rank([[1.0, 2.0], [2.0, 4.0]])
    Tensor () int64, cpu: 1
    """
    x = as_matrix(x, "matrix_rank(x)", square=hermitian)
    return _rank((eigvalsh if hermitian else svdvals)(x.detach()), as_rtol(rtol, x, "matrix_rank"))


def _rank(values: Tensor, tolerance: Tensor) -> Tensor:
    """Return how many eigenvalues or singular values, in order, are large."""
    sizes = abs(values)
    largest = maximum(sizes[..., :1], sizes[..., -1:])
    return sum((sizes > largest * expand_dims(tolerance, -1)).astype("int64"), axis=-1)


def cond(x: Any, ord: Order = None) -> Tensor:
    """Return the condition number of matrices: the norm of x times that of its inverse.

    x: shape (..., n, m); square unless ord is None, 2 or -2.
    ord: None or 2: largest over smallest singular value; -2: the reverse; others as `matrix_norm`.
    Raises: ShapeError if x is not square where it must be, or empty; SingularError if it is singular, for the other norms.

    >>> cond([[4.0, 0.0], [0.0, 2.0]])
    Tensor () float32, cpu: 2.
    """
    if ord in (None, 2, -2):
        values = svdvals(as_matrix(x, "cond(x)"))
        largest, smallest = extreme(values, True, "cond(x)"), extreme(values, False, "cond(x)")
        return smallest / largest if ord == -2 else largest / smallest
    x = as_matrix(x, "cond(x)", square=True)
    return matrix_norm(x, ord=ord) * matrix_norm(inv(x), ord=ord)
