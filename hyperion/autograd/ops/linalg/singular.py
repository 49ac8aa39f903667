"""Singular values and vectors.

Phases. Singular vectors are unique up to a factor of modulus one. Here the first component within 0.1 % of the largest of each left one is
real and positive, and the right ones follow, which makes them functions of the matrix, equal on every device.

Equal values. Where singular values agree to rounding, their vectors are not unique and have no derivative. A derivative that needs none of
them (of the other vectors, or of the values alone) is right; one that does raises SingularError.
"""

from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import conj, real
from hyperion.autograd.ops.linalg.factorisations import completed
from hyperion.autograd.ops.linalg.rules import (
    adjoint,
    as_matrix,
    constant,
    lapack,
    on_diagonal,
    over_gaps,
    phase_change,
    phases,
    refuse_uneven,
    transposed,
)
from hyperion.autograd.ops.products import diagonal
from hyperion.autograd.ops.shaping import expand_dims
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor

__all__ = ["SVD", "svd", "svdvals"]


class SVD(NamedTuple):
    """What `svd` returns: x = U diag(S) Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor


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


_svd = general("svd", _svd_forward, _svd_vjp, _svd_jvp, outputs=3, batch=over_leading(2))
_svdvals = general(
    "svdvals", lambda xp, x: lapack(xp, f"svdvals(x): x, shape {x.shape}, must be finite", xp.linalg.svd, x, compute_uv=False),
    _svdvals_vjp, _svdvals_jvp, batch=over_leading(2),
)


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
    return SVD(completed(u), s, adjoint(completed(adjoint(vh)))) if full_matrices else SVD(u, s, vh)


def svdvals(x: Any) -> Tensor:
    """Return the singular values of matrices, descending, shape (..., min(n, m)).

    The first derivative at a zero singular value is that of one of the choices of its vectors, as for abs; otherwise as `eigvalsh`.
    Raises: as `svd`.

    >>> svdvals([[3.0, 0.0], [0.0, -4.0]])
    Tensor (2,) float32, cpu: [4. 3.]
    """
    return _svdvals(as_matrix(x, "svdvals(x)"))
