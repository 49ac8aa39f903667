"""Eigenvalues and eigenvectors, of Hermitian matrices and of any square ones.

Phases. Eigenvectors are unique up to a factor of modulus one. Here the first component within 0.1 % of the largest is real and positive,
which makes them functions of the matrix, equal on every device.

Equal values. Where eigenvalues agree to rounding, their vectors are not unique and have no derivative. A derivative that needs none of
them (of the other vectors, or of the values alone) is right; one that does raises SingularError.
"""

from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import complex_dtype, is_complex
from hyperion.autograd.ops.complexes import conj, real
from hyperion.autograd.ops.linalg.rules import (
    adjoint,
    as_matrix,
    hermitian,
    hermitian_part,
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
from hyperion.autograd.ops.linalg.singular import svdvals
from hyperion.autograd.ops.linalg.solving import solve
from hyperion.autograd.ops.products import diag_embed, diagonal, matrix_transpose
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import expand_dims
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor
from hyperion.errors import InputError
from hyperion.gpu import device

__all__ = ["Eigen", "eig", "eigh", "eigvals", "eigvalsh"]


class Eigen(NamedTuple):
    """What `eigh` and `eig` return: eigenvalues (..., n), and eigenvectors in the columns of (..., n, n)."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _eigh_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    values, vectors = lapack(xp, f"eigh(x): x, shape {x.shape}, must be finite", xp.linalg.eigh, hermitian_part(x))
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
    sizes = svdvals(vectors.detach())
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


_eigh = general("eigh", _eigh_forward, _eigh_vjp, _eigh_jvp, outputs=2, batch=over_leading(2))
_eigvalsh = general(
    "eigvalsh", lambda xp, x: lapack(xp, f"eigvalsh(x): x, shape {x.shape}, must be finite", xp.linalg.eigvalsh, hermitian_part(x)),
    _eigvalsh_vjp, _eigvalsh_jvp, batch=over_leading(2),
)
_eig = general("eig", _eig_forward, _eig_vjp, _eig_jvp, outputs=2, batch=over_leading(2))
_eigvals = general(
    "eigvals", lambda xp, x: _on_host(xp, x, _only_values)[0], _eigvals_vjp, _eigvals_jvp, batch=over_leading(2)
)


def _argument(x: Any, UPLO: str | None, name: str) -> Tensor:
    """Return matrices whose Hermitian part is the one that is meant: x, or one triangle of it and the mirror image."""
    x = as_matrix(x, f"{name}(x)", square=True)
    if UPLO is None:
        return x
    if UPLO not in ("L", "U"):
        raise InputError(f'{name}(x, UPLO={UPLO!r}): UPLO must be "L" or "U", the triangle that is read, or None for both')
    return triangle(x, UPLO == "L") + adjoint(triangle(x, UPLO == "L", strict=True))


def eigh(x: Any, UPLO: str | None = None) -> Eigen:
    """Return eigenvalues, ascending and real, and orthonormal eigenvectors of Hermitian (or real symmetric) matrices.

    x: shape (..., n, n); its Hermitian part is taken.
    UPLO: "L" or "U" to read the lower or upper triangle only; the derivative by the other one is then zero.
    Of each eigenvector the first component within 0.1 % of the largest is real and positive.
    The derivative of eigenvectors is not defined where eigenvalues agree to rounding: it is right if it needs none of their vectors, and
    raises SingularError if it does. For eigenvalues alone use `eigvalsh`.
    Raises: ShapeError or DtypeError if x is no stack of square matrices; SingularError if LAPACK finds none (NaN); InputError for another
        UPLO.
    Source: derivative by Giles, Oxford report NA-08/01, section 3.1.

    >>> eigh([[0.0, 1.0], [1.0, 0.0]]).eigenvalues
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    return Eigen(*_eigh(_argument(x, UPLO, "eigh")))


def eigvalsh(x: Any, UPLO: str | None = None) -> Tensor:
    """Return the eigenvalues of Hermitian (or real symmetric) matrices, ascending and real, shape (..., n).

    x: shape (..., n, n); its Hermitian part is taken.  UPLO: as `eigh`.
    The first derivative is defined everywhere for functions that treat equal eigenvalues alike (a trace, a determinant); higher ones raise
    SingularError where eigenvalues are equal.
    Raises: as `eigh`.

    >>> eigvalsh([[0.0, 1.0], [1.0, 0.0]])
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    return _eigvalsh(_argument(x, UPLO, "eigvalsh"))


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
