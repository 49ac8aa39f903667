"""Linear systems of square matrices: solve, inverses, triangular systems."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.ops.linalg.rules import adjoint, as_inexact, as_matrix, each, lapack, refuse_unless_broadcast, triangle
from hyperion.autograd.ops.products import matrix_transpose
from hyperion.autograd.ops.shaping import expand_dims, normalize_axes, permute_dims, reshape, squeeze, sum_to
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device

__all__ = [
    "cholesky_inverse", "cholesky_solve", "inv", "lu_solve", "solve", "solve_triangular", "tensorinv", "tensorsolve",
]

SINGULAR = "is singular: use pinv or lstsq, or add a small multiple of the identity"


def _inv_vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    turned = matrix_transpose(out)
    return (-(turned @ g @ turned),)


def _solve_forward(xp: Any, a: Any, b: Any) -> Any:
    if xp is not np:            # CuPy's solve takes stacks of one shape only
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = xp.broadcast_to(a, (*leading, *a.shape[-2:])), xp.broadcast_to(b, (*leading, *b.shape[-2:]))
    return lapack(xp, f"solve(a, b): a, shape {a.shape}, {SINGULAR}", xp.linalg.solve, a, b)


def _solve_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
    back = _solve(matrix_transpose(a), g)
    return (
        sum_to(-(back @ matrix_transpose(out)), a.shape) if a.tracked else None,
        sum_to(back, b.shape) if b.tracked else None,
    )


def _solve_jvp(tangents: list[Tensor | None], out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    left, right = tangents
    if left is None:
        return _solve(a, right)
    return _solve(a, -(left @ out) if right is None else right - left @ out)


def _triangular(xp: Any, a: Any, b: Any, lower: bool, unit: bool) -> Any:
    if not b.size or not a.size:
        return xp.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), dtype=b.dtype)
    routine = functools.partial(
        device.scipy_module(xp, "linalg").solve_triangular, lower=lower, unit_diagonal=unit, check_finite=False
    )
    return lapack(xp, f"solve_triangular(a, b): a, shape {a.shape}, has a zero on its diagonal: it is singular", each, routine, xp, a, b)


def _triangular_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor, lower: bool, unit: bool) -> tuple[Tensor | None, Tensor | None]:
    back = _solve_triangular(matrix_transpose(a), g, lower=not lower, unit=unit)
    return (
        sum_to(-triangle(back @ matrix_transpose(out), lower, unit), a.shape) if a.tracked else None,
        sum_to(back, b.shape) if b.tracked else None,
    )


def _triangular_jvp(tangents: list[Tensor | None], out: Tensor, a: Tensor, b: Tensor, lower: bool, unit: bool) -> Tensor:
    left, right = tangents
    if left is None:
        return _solve_triangular(a, right, lower=lower, unit=unit)
    moved = triangle(left, lower, unit) @ out
    return _solve_triangular(a, -moved if right is None else right - moved, lower=lower, unit=unit)


_inv = general(
    "inv", lambda xp, x: lapack(xp, f"inv(x): x, shape {x.shape}, {SINGULAR}", xp.linalg.inv, x), _inv_vjp,
    lambda tangents, out, x: -(out @ tangents[0] @ out), batch=over_leading(2),
)
_solve = general("solve", _solve_forward, _solve_vjp, _solve_jvp, promotes=True, batch=over_leading(2, 2))
_solve_triangular = general(
    "solve_triangular", _triangular, _triangular_vjp, _triangular_jvp, promotes=True, batch=over_leading(2, 2)
)


def divided(x: Tensor, y: Tensor, lower: bool, unit: bool = False) -> Tensor:
    """Return x y^-1 for triangular y."""
    return matrix_transpose(_solve_triangular(matrix_transpose(y), matrix_transpose(x), lower=not lower, unit=unit))


def triangular(a: Tensor, b: Tensor, lower: bool, unit: bool = False) -> Tensor:
    """Return a^-1 b for triangular a and matrices b, without checks."""
    return _solve_triangular(a, b, lower=lower, unit=unit)


def inv(x: Any) -> Tensor:
    """Return the inverse of square matrices, shape (..., n, n).

    Raises: SingularError if one is singular; ShapeError or DtypeError if x is no stack of square floating or complex matrices.

    >>> inv([[2.0, 0.0], [0.0, 4.0]])[1]
    Tensor (2,) float32, cpu: [0.   0.25]
    """
    return _inv(as_matrix(x, "inv(x)", square=True))


def right_hand_side(name: str, a: Tensor, b: Any) -> tuple[Tensor, bool]:
    """Return b as a stack of matrices, and whether it was a vector, or refuse it."""
    b = as_inexact(b, name, "b")
    vector = b.ndim == 1
    if not b.ndim or b.shape[0 if vector else -2] != a.shape[-2]:
        raise ShapeError(f"{name}: a has shape {a.shape}, b has {b.shape}; b must be (n,) or (..., n, k) with n = {a.shape[-2]}")
    b = expand_dims(b, 1) if vector else b
    refuse_unless_broadcast(name, a, b)
    return b, vector


def solve(a: Any, b: Any) -> Tensor:
    """Return the solution x of a x = b.

    a: shape (..., n, n).  b: shape (n,), or (..., n, k); leading axes broadcast.  Returns: as b.
    Raises: SingularError if a is singular; ShapeError or DtypeError if shapes or dtypes do not fit.

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0])
    Tensor (2,) float32, cpu: [1.  0.5]
    """
    a = as_matrix(a, "solve(a, b)", "a", square=True)
    b, vector = right_hand_side("solve(a, b)", a, b)
    out = _solve(a, b)
    return squeeze(out, -1) if vector else out


def solve_triangular(a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False, left: bool = True) -> Tensor:
    """Return the solution x of a x = b, or with left=False of x a = b, for triangular a; the other triangle is not read.

    a: shape (..., n, n).  b: shape (n,) or (..., n, k); with left=False (n,) or (..., k, n). Leading axes broadcast.
    upper: which triangle holds a.  unit_diagonal: take the diagonal as ones.
    Raises: SingularError for a zero on the diagonal; ShapeError or DtypeError if shapes or dtypes do not fit.

    >>> solve_triangular([[2.0, 0.0], [1.0, 1.0]], [2.0, 3.0])
    Tensor (2,) float32, cpu: [1. 2.]
    """
    name = "solve_triangular(a, b)"
    a = as_matrix(a, name, "a", square=True)
    if not left:
        b = as_inexact(b, name, "b")
        turned = solve_triangular(matrix_transpose(a), matrix_transpose(b) if b.ndim > 1 else b, not upper, unit_diagonal)
        return matrix_transpose(turned) if b.ndim > 1 else turned
    b, vector = right_hand_side(name, a, b)
    out = _solve_triangular(a, b, lower=not upper, unit=bool(unit_diagonal))
    return squeeze(out, -1) if vector else out


def cholesky_solve(b: Any, factor: Any, upper: bool = False) -> Tensor:
    """Return the solution x of a x = b from the Cholesky factor of a: L L^H = a, or R^H R = a with `upper`.

    b: shape (n,) or (..., n, k).  factor: shape (..., n, n), triangular.
    Raises: as `solve_triangular`.

    >>> cholesky_solve([4.0, 8.0], [[2.0, 0.0], [0.0, 2.0]])
    Tensor (2,) float32, cpu: [1. 2.]
    """
    name = "cholesky_solve(b, factor)"
    factor = as_matrix(factor, name, "factor", square=True)
    b, vector = right_hand_side(name, factor, b)
    lower = adjoint(factor) if upper else factor
    out = triangular(adjoint(lower), triangular(lower, b, True), False)
    return squeeze(out, -1) if vector else out


def cholesky_inverse(factor: Any, upper: bool = False) -> Tensor:
    """Return the inverse of a matrix from its Cholesky factor: L L^H, or R^H R with `upper`.

    factor: shape (..., n, n), triangular.
    Raises: as `solve_triangular`.

    >>> cholesky_inverse([[2.0, 0.0], [0.0, 1.0]])[0]
    Tensor (2,) float32, cpu: [0.25 0.  ]
    """
    factor = as_matrix(factor, "cholesky_inverse(factor)", "factor", square=True)
    identity = Tensor(device.namespace_of(factor.device).eye(factor.shape[-1], dtype=factor.dtype))
    return cholesky_solve(identity, factor, upper)


def lu_solve(factors: Any, b: Any) -> Tensor:
    """Return the solution x of a x = b from what `lu_factor` gave for a.

    factors: pair (lu, permutation).  b: shape (n,) or (..., n, k).
    Raises: SingularError if a is singular; ShapeError or DtypeError if shapes or dtypes do not fit.

    >>> from hyperion.autograd.ops.linalg import lu_factor
    >>> lu_solve(lu_factor([[0.0, 2.0], [1.0, 0.0]]), [4.0, 3.0])
    Tensor (2,) float32, cpu: [3. 2.]
    """
    name = "lu_solve(factors, b)"
    packed = as_matrix(factors[0], name, "factors[0]", square=True)
    b, vector = right_hand_side(name, packed, b)
    order = permutation_matrix(as_tensor(factors[1]), b)
    out = triangular(packed, triangular(packed, order @ b, True, True), False)
    return squeeze(out, -1) if vector else out


def permutation_matrix(rows: Tensor, like: Tensor) -> Tensor:
    """Return the matrices that put row rows[i] of another matrix in place i, in the dtype of a Tensor."""
    count = Tensor(device.namespace_of(rows.device).arange(rows.shape[-1]))
    return (expand_dims(rows, -1) == count).astype(like.dtype)


def tensorinv(x: Any, ind: int = 2) -> Tensor:
    """Return the inverse of x as a linear map from arrays of its last axes to arrays of its first `ind` ones.

    x: shape (*rows, *columns) with as many elements in rows, the first `ind` axes, as in columns.  Returns: shape (*columns, *rows).
    Raises: SingularError, ShapeError, DtypeError as `inv`; InputError if ind is not positive.

    >>> tensorinv([[[2.0, 1.0]], [[0.0, 4.0]]], ind=1).shape
    (1, 2, 2)
    """
    x = as_inexact(x, "tensorinv(x)")
    if ind < 1:
        raise InputError(f"tensorinv(x, ind={ind}): ind must be 1 or more")
    rows, columns = x.shape[:ind], x.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise ShapeError(f"tensorinv(x, ind={ind}): x has shape {x.shape}; its first {ind} axes and the others must hold as many elements")
    return reshape(inv(reshape(x, (math.prod(rows), math.prod(columns)))), (*columns, *rows))


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Return the solution x of tensordot(a, x, x.ndim) = b.

    a: shape (*b.shape, *x.shape) with as many elements in b as in x.  axes: axes of a to move to its end first.
    Raises: SingularError, ShapeError, DtypeError as `solve`.

    >>> tensorsolve([[[2.0, 0.0]], [[0.0, 4.0]]], [2.0, 2.0])[0]
    Tensor (2,) float32, cpu: [1.  0.5]
    """
    a, b = as_inexact(a, "tensorsolve(a, b)", "a"), as_inexact(b, "tensorsolve(a, b)", "b")
    if axes is not None:
        last = normalize_axes(tuple(axes), a.ndim, "tensorsolve")
        a = permute_dims(a, (*(i for i in range(a.ndim) if i not in last), *last))
    if a.shape[:b.ndim] != b.shape or math.prod(a.shape[b.ndim:]) != b.size:
        raise ShapeError(
            f"tensorsolve(a, b): a has shape {a.shape}, b has {b.shape}; a must begin with the axes of b, its others hold as many elements"
        )
    return reshape(solve(reshape(a, (b.size, b.size)), reshape(b, (b.size,))), a.shape[b.ndim:])
