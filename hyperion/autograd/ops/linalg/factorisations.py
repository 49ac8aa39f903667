"""Factorisations: Cholesky, LU, QR, eigenvalues, singular values.

Signs and phases. Eigenvectors and singular vectors are unique up to a factor of modulus one. Here the first component within 0.1 % of the
largest is real and positive (in left singular vectors; right ones follow), which makes them functions of the matrix, equal on every device.

Equal values. Where eigenvalues (singular values) agree to rounding, their vectors are not unique and have no derivative. A derivative that
needs none of them (of the other vectors, or of the values alone) is right; one that does raises SingularError.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import complex_dtype, is_complex
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import conj, imag, real
from hyperion.autograd.ops.linalg.rules import (
    adjoint,
    as_matrix,
    constant,
    each,
    hermitian,
    lapack,
    near_zero,
    on_diagonal,
    over_gaps,
    phase_change,
    phase_change_back,
    phases,
    refuse_uneven,
    refuse_where,
    transposed,
    triangle,
)
from hyperion.autograd.ops.linalg.solving import divided, permutation_matrix, solve, triangular
from hyperion.autograd.ops.products import diag_embed, diagonal, matrix_transpose
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import concat, expand_dims
from hyperion.autograd.ops.stencils import pad
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor
from hyperion.errors import InputError
from hyperion.gpu import device

__all__ = [
    "LU", "QR", "SVD", "Eigen", "LUFactors", "cholesky", "eig", "eigh", "eigvals", "eigvalsh", "lu", "lu_factor", "qr", "svd", "svdvals",
]


class Eigen(NamedTuple):
    """What `eigh` and `eig` return: eigenvalues (..., n), and eigenvectors in the columns of (..., n, n)."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QR(NamedTuple):
    """What `qr` returns: x = Q R."""

    Q: Tensor
    R: Tensor


class SVD(NamedTuple):
    """What `svd` returns: x = U diag(S) Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class LU(NamedTuple):
    """What `lu` returns: x = P L U."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactors(NamedTuple):
    """What `lu_factor` returns: U on and above the diagonal, L without its ones below; row permutation[i] of x is row i of L U."""

    lu: Tensor
    permutation: Tensor


def _symmetric(x: Any) -> Any:
    return (x + x.conj().swapaxes(-1, -2)) * x.dtype.type(0.5)


# Cholesky and LU

def _cholesky_forward(xp: Any, x: Any) -> Any:
    return lapack(xp, f"cholesky(x): x, shape {x.shape}, is not positive definite", xp.linalg.cholesky, _symmetric(x))


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


# Eigenvalues

def _eigh_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    values, vectors = lapack(xp, f"eigh(x): x, shape {x.shape}, must be finite", xp.linalg.eigh, _symmetric(x))
    return values, vectors * phases(xp, vectors)


def _eigh_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = out
    inside = adjoint(vectors) @ hermitian(tangents[0]) @ vectors
    moved = vectors @ _mixing(inside, values, "eigh")
    if is_complex(moved.dtype):
        moved = moved + vectors * phase_change(moved, vectors)
    return real(diagonal(inside)), moved


def _mixing(inside: Tensor, values: Tensor, name: str) -> Tensor:
    """Return, off the diagonal, how much of vector i enters vector j: inside[i, j] / (values[j] - values[i])."""
    return over_gaps(inside, expand_dims(values, -2) - expand_dims(values, -1), values, name, drop=on_diagonal(inside))


def _eigh_vjp(g: list[Tensor | None], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor]:
    by_values, by_vectors = g
    values, vectors = out
    if by_values is not None:
        refuse_uneven(by_values, values, "eigh", drop=on_diagonal(x))
    if by_vectors is None:
        return (_from_values(by_values, vectors),)      # pyright: ignore[reportArgumentType]
    if is_complex(x.dtype):
        by_vectors = phase_change_back(by_vectors, vectors)
    inside = _mixing(matrix_transpose(vectors) @ by_vectors, values, "eigh")
    if by_values is not None:
        inside = inside + diag_embed(by_values)
    return (hermitian(conj(vectors) @ inside @ matrix_transpose(vectors)),)


def _from_values(g: Tensor, vectors: Tensor) -> Tensor:
    """Return sum_i g_i conj(v_i) v_i^T: how a function of eigenvalues, of derivatives g, changes with the matrix."""
    return (conj(vectors) * expand_dims(g, -2)) @ matrix_transpose(vectors)


def _eigvalsh_vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    refuse_uneven(g, out, "eigvalsh", drop=on_diagonal(x))
    return (_from_values(g, _eigh(x)[1]),)


def _eigvalsh_jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    vectors = _eigh(x)[1]
    inside = adjoint(vectors) @ hermitian(tangents[0]) @ vectors
    _mixing(inside.detach(), out.detach(), "eigvalsh")
    return real(diagonal(inside))


def _on_host(xp: Any, x: Any, routine: Any) -> Any:
    """Call a routine of NumPy: the general eigenvalue problem has none on every GPU stack, and runs on the host there."""
    dtype = complex_dtype(x.dtype)
    found = lapack(np, f"eig(x): x, shape {x.shape}, must be finite", routine, device.to_numpy(x))
    return tuple([xp.asarray(part.astype(dtype)) for part in found])


def _only_values(x: Any) -> Any:
    return (np.linalg.eigvals(x),)


def _eig_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    values, vectors = _on_host(xp, x, np.linalg.eig)
    return values, vectors * phases(xp, vectors)


def _refuse_dependent(vectors: Tensor, name: str) -> None:
    """Refuse eigenvectors that are no basis to rounding."""
    sizes = _svdvals(vectors.detach())
    refuse_where(near_zero(expand_dims(sizes, -2), sizes), name)


def _eig_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = out
    _refuse_dependent(vectors, "eig")
    inside = solve(vectors, tangents[0] @ vectors)
    moved = vectors @ _mixing(inside, values, "eig")
    moved = moved - vectors * sum(real(conj(vectors) * moved), axis=-2, keepdims=True)      # columns keep length 1
    return diagonal(inside), moved + vectors * phase_change(moved, vectors)


_eig_back = transposed(_eig_jvp)


def _eig_vjp(g: list[Tensor | None], out: tuple[Tensor, Tensor], x: Tensor) -> Any:
    if g[0] is not None:
        refuse_uneven(g[0], out[0], "eig", drop=on_diagonal(x))
    return _eig_back(g, out, x)


def _eigvals_jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    vectors = _eig(x)[1]
    _refuse_dependent(vectors, "eigvals")
    inside = solve(vectors, tangents[0] @ vectors)
    _mixing(inside.detach(), out.detach(), "eigvals")
    return diagonal(inside)


def _eigvals_vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    """With x = V diag(w) V^-1: the transpose of dw = diag(V^-1 dx V)."""
    refuse_uneven(g, out, "eigvals", drop=on_diagonal(x))
    vectors = _eig(x)[1]
    _refuse_dependent(vectors, "eigvals")
    back = solve(matrix_transpose(vectors), expand_dims(g, -1) * matrix_transpose(vectors))
    return (back if is_complex(x.dtype) else real(back),)


# Singular values

def _svd_forward(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    u, s, vh = lapack(xp, f"svd(x): x, shape {x.shape}, must be finite", xp.linalg.svd, x, full_matrices=False)
    turn = phases(xp, u)
    return u * turn, s, vh * turn.conj().swapaxes(-1, -2)


def _svd_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = out
    moved, v = tangents[0], adjoint(vh)
    inside = adjoint(u) @ moved @ v
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    mirrored = adjoint(inside)
    diagonals = on_diagonal(inside)
    even = over_gaps(inside + mirrored, row - column, s, "svd", drop=diagonals)
    if is_complex(x.dtype):
        odd = over_gaps(inside - mirrored, row + column, s, "svd")
    else:       # zero on the diagonal, so a zero singular value needs no quotient there
        odd = over_gaps(where(diagonals, inside, inside - mirrored), row + column, s, "svd", drop=diagonals)
    left, right = u @ ((even + odd) * 0.5), v @ ((even - odd) * 0.5)
    if x.shape[-2] > s.shape[-1]:
        outside = moved @ v
        left = left + over_gaps(outside - u @ (adjoint(u) @ outside), row, s, "svd")
    if x.shape[-1] > s.shape[-1]:
        outside = adjoint(moved) @ u
        right = right + over_gaps(outside - v @ (vh @ outside), row, s, "svd")
    if is_complex(x.dtype):
        turn = phase_change(left, u)
        left, right = left + u * turn, right + v * turn
    return left, real(diagonal(inside)), adjoint(right)


_svd_back = transposed(_svd_jvp)


def _refuse_uneven_singular(g: Tensor, s: Tensor, x: Tensor, name: str) -> None:
    """Refuse derivatives by singular values that do not exist: see `refuse_uneven`.

    A zero singular value has vectors of any phase in a complex matrix, and on one side of any direction in one that is not square: then
    its derivative must not be needed. Alone in a real square matrix it passes through zero smoothly, as x does through the bend of |x|.
    """
    diagonals = constant(x, np.eye(s.shape[-1], dtype=bool))
    refuse_uneven(g, s, name, drop=diagonals)
    smooth = x.shape[-1] == x.shape[-2] and not is_complex(x.dtype)
    refuse_uneven(g, s, name, sums=True, drop=diagonals if smooth else None)


def _svd_vjp(g: list[Tensor | None], out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Any:
    left, values, right = g
    if values is not None:
        _refuse_uneven_singular(values, out[1], x, "svd")
        if left is None and right is None:
            return (_from_singular(values, out[0], out[2]),)
    return _svd_back(g, out, x)


def _from_singular(g: Tensor, u: Tensor, vh: Tensor) -> Tensor:
    return (conj(u) * expand_dims(g, -2)) @ conj(vh)


def _svdvals_vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    _refuse_uneven_singular(g, out, x, "svdvals")
    u, _, vh = _svd(x)
    return (_from_singular(g, u, vh),)


def _svdvals_jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    u, s, vh = _svd(x)
    _svd_jvp([tangents[0].detach()], (u.detach(), s.detach(), vh.detach()), x.detach())      # refuses what has no derivative
    return real(diagonal(adjoint(u) @ tangents[0] @ adjoint(vh)))


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
_eigh = general("eigh", _eigh_forward, _eigh_vjp, _eigh_jvp, outputs=2, batch=over_leading(2))
_eigvalsh = general(
    "eigvalsh", lambda xp, x: lapack(xp, f"eigvalsh(x): x, shape {x.shape}, must be finite", xp.linalg.eigvalsh, _symmetric(x)),
    _eigvalsh_vjp, _eigvalsh_jvp, batch=over_leading(2),
)
_eig = general("eig", _eig_forward, _eig_vjp, _eig_jvp, outputs=2, batch=over_leading(2))
_eigvals = general(
    "eigvals", lambda xp, x: _on_host(xp, x, _only_values)[0], _eigvals_vjp, _eigvals_jvp, batch=over_leading(2)
)
_svd = general("svd", _svd_forward, _svd_vjp, _svd_jvp, outputs=3, batch=over_leading(2))
_svdvals = general(
    "svdvals", lambda xp, x: lapack(xp, f"svdvals(x): x, shape {x.shape}, must be finite", xp.linalg.svd, x, compute_uv=False),
    _svdvals_vjp, _svdvals_jvp, batch=over_leading(2),
)
_completing = general(
    "completing_rows", _missing_rows, differentiable=False, batch=over_leading(2),
    doc="Return which coordinate axes complete orthonormal columns to a basis.",
)


def _completed(q: Tensor) -> Tensor:
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
        return QR(_completed(q), pad(r, (*((0, 0),) * (x.ndim - 2), (0, n - m), (0, 0))))
    return QR(q, r)


def eigh(x: Any) -> Eigen:
    """Return eigenvalues, ascending and real, and orthonormal eigenvectors of Hermitian (or real symmetric) matrices.

    x: shape (..., n, n); its Hermitian part is taken.
    Of each eigenvector the first component within 0.1 % of the largest is real and positive.
    The derivative of eigenvectors is not defined where eigenvalues agree to rounding: it is right if it needs none of their vectors, and
    raises SingularError if it does. For eigenvalues alone use `eigvalsh`.
    Raises: ShapeError or DtypeError if x is no stack of square matrices; SingularError if LAPACK finds none (NaN).
    Source: derivative by Giles, Oxford report NA-08/01, section 3.1.

    >>> eigh([[0.0, 1.0], [1.0, 0.0]]).eigenvalues
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    return Eigen(*_eigh(as_matrix(x, "eigh(x)", square=True)))


def eigvalsh(x: Any) -> Tensor:
    """Return the eigenvalues of Hermitian (or real symmetric) matrices, ascending and real, shape (..., n).

    x: shape (..., n, n); its Hermitian part is taken.
    The first derivative is defined everywhere for functions that treat equal eigenvalues alike (a trace, a determinant); higher ones raise
    SingularError where eigenvalues are equal.
    Raises: as `eigh`.

    >>> eigvalsh([[0.0, 1.0], [1.0, 0.0]])
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    return _eigvalsh(as_matrix(x, "eigvalsh(x)", square=True))


def eig(x: Any) -> Eigen:
    """Return eigenvalues and eigenvectors, of length 1, of any square matrices. Both are complex, in no particular order.

    x: shape (..., n, n).  Phases and equal eigenvalues: as `eigh`. On a GPU they are computed on the host.
    Raises: ShapeError or DtypeError if x is no stack of square matrices; SingularError if LAPACK finds none (NaN), or from the derivative
        of a matrix without a basis of eigenvectors.
    Source: derivative by Boeddeker, Hanebrink, Drude, Heymann and Haeb-Umbach, arXiv:1701.00392, section 4.11.

    >>> eig([[2.0, 0.0], [0.0, 3.0]]).eigenvalues
    Tensor (2,) complex64, cpu: [2.+0.j 3.+0.j]
    """
    return Eigen(*_eig(as_matrix(x, "eig(x)", square=True)))


def eigvals(x: Any) -> Tensor:
    """Return the eigenvalues of any square matrices, complex, in no particular order, shape (..., n).

    Raises: as `eig`.

    >>> eigvals([[0.0, 1.0], [-1.0, 0.0]])
    Tensor (2,) complex64, cpu: [0.+1.j 0.-1.j]
    """
    return _eigvals(as_matrix(x, "eigvals(x)", square=True))


def svd(x: Any, full_matrices: bool = True) -> SVD:
    """Return U, S and Vh with x = U diag(S) Vh: orthonormal columns, descending singular values, orthonormal rows.

    x: shape (..., n, m), k = min(n, m).
    full_matrices: shapes (..., n, n), (..., k), (..., m, m); otherwise (..., n, k), (..., k), (..., k, m). The columns of U and rows of Vh
        that are added are orthonormal, and smooth in x, but otherwise any.
    Of each column of U the first component within 0.1 % of the largest is real and positive.
    The derivative of vectors is not defined where singular values agree to rounding, or are zero in a matrix that is not square (or is
    complex): it is right if it needs none of their vectors, and raises SingularError if it does. For singular values alone use `svdvals`.
    Raises: ShapeError or DtypeError if x is no stack of matrices; SingularError if LAPACK finds none (NaN).
    Source: derivative by Townsend, "Differentiating the singular value decomposition" (2016), eqs. 15-24.

    >>> svd([[3.0, 0.0], [0.0, -4.0]]).S
    Tensor (2,) float32, cpu: [4. 3.]
    """
    u, s, vh = _svd(as_matrix(x, "svd(x)"))
    return SVD(_completed(u), s, adjoint(_completed(adjoint(vh)))) if full_matrices else SVD(u, s, vh)


def svdvals(x: Any) -> Tensor:
    """Return the singular values of matrices, descending, shape (..., min(n, m)).

    The first derivative at a zero singular value is that of one of the choices of its vectors, as for abs; otherwise as `eigvalsh`.
    Raises: as `svd`.

    >>> svdvals([[3.0, 0.0], [0.0, -4.0]])
    Tensor (2,) float32, cpu: [4. 3.]
    """
    return _svdvals(as_matrix(x, "svdvals(x)"))
