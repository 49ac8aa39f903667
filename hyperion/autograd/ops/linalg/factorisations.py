"""Factorisations by triangles: Cholesky, LU, QR."""

import math
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import conj, imag
from hyperion.autograd.ops.linalg.rules import (
    adjoint,
    as_inexact,
    as_matrix,
    constant,
    each,
    hermitian,
    hermitian_part,
    lapack,
    on_diagonal,
    refuse_unless_broadcast,
    transposed,
    triangle,
)
from hyperion.autograd.ops.linalg.solving import divided, permutation_matrix, triangular
from hyperion.autograd.ops.products import matrix_transpose
from hyperion.autograd.ops.shaping import concat, expand_dims
from hyperion.autograd.ops.stencils import pad
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = ["LU", "QR", "LUFactors", "cholesky", "householder_product", "lu", "lu_factor", "qr"]


class QR(NamedTuple):
    """What `qr` returns: x = Q R."""

    Q: Tensor
    R: Tensor


class LU(NamedTuple):
    """What `lu` returns: x = P L U."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactors(NamedTuple):
    """What `lu_factor` returns: U on and above the diagonal, L without its ones below; row permutation[i] of x is row i of L U."""

    lu: Tensor
    permutation: Tensor


# Cholesky and LU

def _cholesky_forward(xp: Any, x: Any) -> Any:
    return lapack(xp, f"cholesky(x): x, shape {x.shape}, is not positive definite", xp.linalg.cholesky, hermitian_part(x))


def _cholesky_jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    half = triangular(out, hermitian(tangents[0]), True)
    inside = triangular(out, adjoint(half), True)           # L^-1 dx L^-H
    return out @ where(on_diagonal(inside), inside * 0.5, triangle(inside, True))


def _cholesky_vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    inside = adjoint(out) @ conj(g)
    half = triangular(adjoint(out), where(on_diagonal(inside), inside * 0.5, triangle(inside, True)), False)
    return (conj(hermitian(divided(half, out, True))),)     # L^-H tril(L^H conj(g)) L^-1


def _lu_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    if not x.size:
        return x.copy(), xp.broadcast_to(xp.arange(x.shape[-2]), x.shape[:-1]).copy()
    if xp is not np:
        rows, lower, upper = (xp.asarray(part) for part in _lu_of(np, device.to_numpy(x)))
    else:
        rows, lower, upper = _lu_of(xp, x)
    n = x.shape[-2]
    packed = xp.zeros_like(x)
    packed[..., :, :lower.shape[-1]] = lower * xp.asarray(np.tri(n, lower.shape[-1], -1), dtype=x.dtype)
    packed[..., :upper.shape[-2], :] += upper
    return packed, rows


def _lu_of(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """Return the rows of x in pivot order, L and U, of a stack."""
    routine = device.scipy_module(xp, "linalg").lu

    def one(matrix: Any) -> tuple[Any, Any, Any]:
        places, lower, upper = routine(matrix, p_indices=True, check_finite=False)
        return np.argsort(places), lower, upper

    return each(one, xp, x)


def _split(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return L, with ones on the diagonal, and U from a packed pair."""
    k = min(packed.shape[-2:])
    lower = triangle(packed[..., :, :k], True, strict=True)
    identity = constant(packed, np.eye(packed.shape[-2], k, dtype=packed.dtype))
    return lower + identity, triangle(packed[..., :k, :], False)


def _lu_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, None]:
    packed, rows = out
    k = min(x.shape[-2:])
    moved = permutation_matrix(rows, x) @ tangents[0]
    corner = packed[..., :k, :k]
    inside = divided(triangular(corner, moved[..., :k, :k], True, True), corner, False)     # L^-1 dx U^-1
    lower, upper = _split(corner)
    below, above = lower @ triangle(inside, True, strict=True), triangle(inside, False) @ upper
    change = triangle(below, True, strict=True) + triangle(above, False)
    if x.shape[-2] > k:
        rest = divided(moved[..., k:, :] - packed[..., k:, :] @ above, corner, False)
        return concat([change, rest], axis=-2), None
    if x.shape[-1] > k:
        rest = triangular(corner, moved[..., :, k:] - below @ packed[..., :, k:], True, True)
        return concat([change, rest], axis=-1), None
    return change, None


# QR

def _qr_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    q, r = out
    scaled = divided(tangents[0], r, False)                 # dx R^-1
    inside = adjoint(q) @ scaled
    below = triangle(inside, True, strict=True)
    turn = below - adjoint(below)                           # Q^H dQ, skew; R keeps a real diagonal
    if is_complex(x.dtype):
        turn = turn + where(on_diagonal(inside), imag(inside) * 1j, 0.0)
    change = inside - turn                                  # dR R^-1
    return scaled - q @ change, change @ r


def _missing_rows(xp: Any, q: Any) -> Any:
    """Return which coordinate axes best complete orthonormal columns to a basis: by QR with pivoting of what they leave out."""
    n, k = q.shape[-2:]

    def one(matrix: Any) -> Any:
        outside = np.eye(n, dtype=matrix.dtype) - matrix @ matrix.conj().T
        return device.scipy_module(np, "linalg").qr(outside, mode="r", pivoting=True)[1][:n - k]

    matrices = device.to_numpy(q).reshape(math.prod(q.shape[:-2]), n, k)
    return xp.asarray(np.array([one(matrix) for matrix in matrices], np.int64).reshape(*q.shape[:-2], n - k))


_cholesky = general("cholesky", _cholesky_forward, _cholesky_vjp, _cholesky_jvp, batch=over_leading(2))
_lu = general("lu", _lu_forward, transposed(_lu_jvp), _lu_jvp, outputs=2, batch=over_leading(2))
_qr = general(
    "qr", lambda xp, x: tuple(xp.linalg.qr(x, mode="reduced")), transposed(_qr_jvp), _qr_jvp, outputs=2, batch=over_leading(2)
)
_completing = general(
    "completing_rows", _missing_rows, differentiable=False, batch=over_leading(2),
    doc="Return which coordinate axes complete orthonormal columns to a basis.",
)


def completed(q: Tensor) -> Tensor:
    """Return orthonormal columns completed to a unitary matrix; the new columns are a smooth function of the old ones."""
    n, k = q.shape[-2:]
    if n == k:
        return q
    rows = _completing(q.detach())
    count = Tensor(device.namespace_of(q.device).arange(n))
    axes = (expand_dims(count, -1) == expand_dims(rows, -2)).astype(q.dtype)       # (..., n, n - k)
    return concat([q, _qr(concat([q, axes], axis=-1))[0][..., :, k:]], axis=-1)


def cholesky(x: Any, upper: bool = False) -> Tensor:
    """Return the Cholesky factor of positive definite matrices: L with L L^H = x, or R = L^H with `upper`.

    x: shape (..., n, n); its Hermitian part is taken, so the derivative is Hermitian as well.
    Raises: SingularError if x is not positive definite; ShapeError or DtypeError if x is no stack of square matrices.
    Source: derivative by Murray, arXiv:1602.07527, section 3.

    >>> cholesky([[4.0, 2.0], [2.0, 2.0]])[1]
    Tensor (2,) float32, cpu: [1. 1.]
    """
    factor = _cholesky(as_matrix(x, "cholesky(x)", square=True))
    return adjoint(factor) if upper else factor


def lu_factor(x: Any) -> LUFactors:
    """Return the LU factors of matrices with partial pivoting, packed in one, and the order of rows.

    x: shape (..., n, m).  Returns: lu (..., n, m), permutation (..., n), int64: row permutation[i] of x is row i of L U.
    The derivative exists where the leading min(n, m) columns (rows) are independent; on a GPU the factors are computed on the host.
    Raises: ShapeError or DtypeError if x is no stack of matrices; SingularError from the derivative of a singular x.

    >>> lu_factor([[0.0, 2.0], [1.0, 0.0]]).permutation
    Tensor (2,) int64, cpu: [1 0]
    """
    return LUFactors(*_lu(as_matrix(x, "lu_factor(x)")))


def lu(x: Any) -> LU:
    """Return P, L and U with x = P L U: a permutation, a lower triangle with ones on its diagonal, an upper triangle.

    x: shape (..., n, m), k = min(n, m).  Returns: shapes (..., n, n), (..., n, k), (..., k, m).
    Raises: as `lu_factor`.

    >>> lu([[0.0, 2.0], [1.0, 0.0]]).U[1]
    Tensor (2,) float32, cpu: [0. 2.]
    """
    packed, rows = _lu(as_matrix(x, "lu(x)"))
    return LU(matrix_transpose(permutation_matrix(rows, packed)), *_split(packed))


def qr(x: Any, mode: str = "reduced") -> QR:
    """Return Q with orthonormal columns and upper triangular R with x = Q R; the diagonal of R is real.

    x: shape (..., n, m), k = min(n, m).
    mode: "reduced" gives shapes (..., n, k) and (..., k, m), "complete" (..., n, n) and (..., n, m).
    The derivative exists where the first k columns are independent. The columns that "complete" adds are orthonormal, and smooth in x, but
    otherwise any.
    Raises: InputError for another mode; ShapeError or DtypeError if x is no stack of matrices; SingularError from the derivative where the
        first k columns are dependent.
    Source: derivative by Walter and Lehmann, arXiv:1009.6112, section 3.

    >>> qr([[3.0], [4.0]]).Q.shape, qr([[3.0], [4.0]], mode="complete").Q.shape
    ((2, 1), (2, 2))
    """
    if mode not in ("reduced", "complete"):
        raise InputError(f'qr(x, mode={mode!r}): mode must be "reduced" or "complete"')
    x = as_matrix(x, "qr(x)")
    n, m = x.shape[-2:]
    if n < m:
        q, r = _qr(x[..., :, :n])
        return QR(q, concat([r, adjoint(q) @ x[..., :, n:]], axis=-1))
    q, r = _qr(x)
    if mode == "complete":
        return QR(completed(q), pad(r, (*((0, 0),) * (x.ndim - 2), (0, n - m), (0, 0))))
    return QR(q, r)


def householder_product(x: Any, tau: Any) -> Tensor:
    """Return the first m columns of the product of the reflectors H_1 H_2 ... H_k, H_i = I - tau_i v_i v_i^H: Q as LAPACK stores it.

    x: shape (..., n, m), m <= n; v_i is 0 above element i, 1 there, and column i of x below.  tau: shape (..., k), k <= m.
    Returns: shape (..., n, m); what x holds on its diagonal, above it and right of column k has no effect.
    Raises: ShapeError or DtypeError if shapes or dtypes do not fit.
    Source: Schreiber and Van Loan, SIAM J. Sci. Stat. Comput. 10 (1989) 53: I - V T V^H with T = (D^-1 + strict upper V^H V)^-1, D = tau.

    >>> householder_product([[0.0], [1.0]], [1.0])[:, 0]
    Tensor (2,) float32, cpu: [ 0. -1.]
    """
    name = "householder_product(x, tau)"
    x, tau = as_matrix(x, name), as_inexact(tau, name, "tau")
    n, m = x.shape[-2:]
    if n < m or not tau.ndim or tau.shape[-1] > m:
        raise ShapeError(f"{name}: x has shape {x.shape}, tau has {tau.shape}; they must be (..., n, m) and (..., k) with k <= m <= n")
    refuse_unless_broadcast(name, x, expand_dims(tau, -1))
    k = tau.shape[-1]
    v = triangle(x[..., :k], True, strict=True) + constant(x, np.eye(n, k, dtype=x.dtype))
    scale = expand_dims(tau, -1)
    upper = scale * triangle(adjoint(v) @ v, False, strict=True)        # (I + D S)^-1 D is T for tau = 0 as well
    inside = triangular(upper, scale * adjoint(v[..., :m, :]), False, True)
    return constant(x, np.eye(n, m, dtype=x.dtype)) - v @ inside
