"""Functions of square matrices: determinants, powers, the exponential."""

import operator
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.arithmetic import exp, log
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import imag, real
from hyperion.autograd.ops.linalg.rules import adjoint, as_matrix, constant
from hyperion.autograd.ops.linalg.singular import svd
from hyperion.autograd.ops.linalg.solving import inv, solve
from hyperion.autograd.ops.products import diag_embed, matrix_transpose, trace
from hyperion.autograd.ops.reductions import any, sum
from hyperion.autograd.ops.shaping import concat, expand_dims
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.transforms import jvp, vjp
from hyperion.errors import InputError

__all__ = ["LogDeterminant", "det", "expm", "logdet", "matrix_exp", "matrix_power", "slogdet"]

# Coefficients of the Pade approximant of degree 13 of exp, and the norm up to which it is exact to double rounding.
# Higham, SIAM J. Matrix Anal. Appl. 26 (2005) 1179, table 2.3 and algorithm 2.3.
PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0, 10559470521600.0, 670442572800.0,
    33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)
PADE_LIMIT = 5.371920351148152


class LogDeterminant(NamedTuple):
    """What `slogdet` returns: the determinant is sign * exp(logabsdet)."""

    sign: Tensor
    logabsdet: Tensor


# Determinants

def _small_det(x: Tensor) -> Tensor:
    """Return the determinant of matrices of at most 3 rows, as a polynomial."""
    def at(i: int, j: int) -> Tensor:
        return x[..., i, j]

    if x.shape[-1] == 0:
        return sum(x, axis=(-2, -1)) + 1.0
    if x.shape[-1] == 1:
        return at(0, 0)
    if x.shape[-1] == 2:
        return at(0, 0) * at(1, 1) - at(0, 1) * at(1, 0)
    return (
        at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)) - at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0))
        + at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0))
    )


def _det_near(x: Tensor) -> Tensor:
    """Return the determinant by a formula that can be differentiated at singular matrices.

    In the bases of the singular vectors at x, held fixed, x is diagonal. The block of the three smallest singular values is left to its
    Schur complement, whose determinant is a polynomial: nothing is divided by them. With a fourth singular value of zero all derivatives
    up to the third vanish.
    """
    if x.shape[-1] <= 3:
        return _small_det(x)
    u, s, vh = svd(x.detach(), full_matrices=False)
    turned = adjoint(u) @ x @ adjoint(vh)
    k = x.shape[-1] - 3
    empty = s[..., :k] <= s[..., :1] * (x.shape[-1] * float(np.finfo(s.dtype).eps))
    large = turned[..., :k, :k] + diag_embed(where(empty, 1.0, 0.0 * s[..., :k]))
    schur = turned[..., k:, k:] - turned[..., k:, :k] @ solve(large, turned[..., :k, k:])
    sign, size = slogdet(large)
    phase = _det(u) * _det(vh)
    return phase * (where(any(empty, axis=-1), 0.0, sign * exp(size)) * _small_det(schur))


def _det_vjp(g: Tensor, out: Tensor, x: Tensor) -> Any:
    return vjp(_det_near, x)[1](g)


def _det_jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    return jvp(_det_near, (x,), (tangents[0],))[1]


def _slogdet_vjp(g: list[Tensor | None], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor | None]:
    by_sign, by_size = g
    if not is_complex(x.dtype):
        return (None,) if by_size is None else (expand_dims(by_size, (-2, -1)) * matrix_transpose(inv(x)),)
    weight = None if by_sign is None else imag(by_sign * out[0]) * 1j
    total = by_size if weight is None else weight if by_size is None else weight + by_size
    return (expand_dims(total, (-2, -1)) * matrix_transpose(inv(x)),)


def _slogdet_jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor | None, Tensor]:
    change = trace(solve(x, tangents[0]))
    return (imag(change) * 1j * out[0], real(change)) if is_complex(x.dtype) else (None, change)


# The exponential

def _expm(xp: Any, x: Any) -> Any:
    """Scaling and squaring with the Pade approximant of degree 13; each matrix of a stack has its own scale."""
    if not x.size:
        return x.copy()
    identity = xp.eye(x.shape[-1], dtype=x.dtype)
    norms = xp.abs(x).sum(axis=-2).max(axis=-1)
    finite = xp.isfinite(norms)
    halvings = xp.ceil(xp.log2(xp.maximum(xp.where(finite, norms, 1.0) / PADE_LIMIT, 1.0))).astype(int)
    a = x * (0.5 ** halvings[..., None, None]).astype(norms.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    b = PADE
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * identity)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * identity
    out = xp.linalg.solve(even - odd, even + odd)
    for i in range(int(halvings.max())):
        again = (halvings > i)[..., None, None]
        out = xp.where(again, xp.matmul(out, xp.where(again, out, 0)), out)
    return out


def _moved_exponential(x: Tensor, direction: Tensor) -> Tensor:
    """Return the derivative of exp(x) in a direction: the corner of exp([[x, direction], [0, x]])."""
    n = x.shape[-1]
    nothing = where(constant(x, np.zeros((), bool)), x, 0.0)
    block = concat([concat([x, direction], axis=-1), concat([nothing, x], axis=-1)], axis=-2)
    return _matrix_exp(block)[..., :n, n:]


_det = general("det", lambda xp, x: xp.linalg.det(x), _det_vjp, _det_jvp, batch=over_leading(2))
_slogdet = general("slogdet", lambda xp, x: tuple(xp.linalg.slogdet(x)), _slogdet_vjp, _slogdet_jvp, outputs=2, batch=over_leading(2))
# Najfeld and Havel, Adv. Appl. Math. 16 (1995) 321, theorem 4.1: the derivative as a block; its transpose is the derivative at x^T.
_matrix_exp = general(
    "matrix_exp", _expm, lambda g, out, x: (_moved_exponential(matrix_transpose(x), g),),
    lambda tangents, out, x: _moved_exponential(x, tangents[0]), batch=over_leading(2),
)


def det(x: Any) -> Tensor:
    """Return the determinant of square matrices, shape (..., n, n) to (...).

    Derivatives are right for singular matrices too: to any order up to corank 3, to third order beyond.
    Raises: ShapeError or DtypeError if x is no stack of square matrices.

    >>> det([[1.0, 2.0], [3.0, 4.0]])
    Tensor () float32, cpu: -2.
    """
    x = as_matrix(x, "det(x)", square=True)
    return _small_det(x) if x.shape[-1] <= 3 else _det(x)


def slogdet(x: Any) -> LogDeterminant:
    """Return the sign of the determinant (of complex matrices: a number of modulus 1) and the logarithm of its modulus.

    x: shape (..., n, n).  Returns: sign (...), logabsdet (...), real; of a singular matrix 0 and minus infinity.
    Raises: ShapeError or DtypeError if x is no stack of square matrices; SingularError from the derivative of a singular one.

    >>> slogdet([[1.0, 2.0], [3.0, 4.0]]).sign
    Tensor () float32, cpu: -1.
    """
    return LogDeterminant(*_slogdet(as_matrix(x, "slogdet(x)", square=True)))


def logdet(x: Any) -> Tensor:
    """Return the logarithm of the determinant of square matrices; NaN where a real one is negative.

    Raises: as `slogdet`.

    >>> logdet([[2.0, 0.0], [0.0, 0.5]])
    Tensor () float32, cpu: 0.
    """
    sign, size = slogdet(x)
    return log(sign) + size if is_complex(sign.dtype) else where(sign < 0, float("nan"), size)


def matrix_power(x: Any, n: int) -> Tensor:
    """Return the n-th power of square matrices, by repeated squaring; of the inverse for negative n.

    x: shape (..., n, n).
    Raises: InputError if n is no integer; SingularError for a negative power of a singular matrix; ShapeError or DtypeError as `inv`.

    >>> matrix_power([[1.0, 1.0], [0.0, 1.0]], 5)[0]
    Tensor (2,) float32, cpu: [1. 5.]
    """
    x = as_matrix(x, "matrix_power(x, n)", square=True)
    try:
        rest = operator.index(n)
    except TypeError as error:
        raise InputError(f"matrix_power(x, n={n!r}): n must be an integer") from error
    base, rest = (inv(x), -rest) if rest < 0 else (x, rest)
    out: Tensor | None = None
    while rest:
        if rest % 2:
            out = base if out is None else out @ base
        rest //= 2
        base = base @ base if rest else base
    return where(constant(x, np.zeros((), bool)), x, constant(x, np.eye(x.shape[-1], dtype=x.dtype))) if out is None else out


def matrix_exp(x: Any) -> Tensor:
    """Return the exponential of square matrices: the sum of x^k / k!.

    x: shape (..., n, n).
    Raises: ShapeError or DtypeError if x is no stack of square matrices.
    Source: Higham, SIAM Journal on Matrix Analysis and Applications 26 (2005) 1179.

    >>> matrix_exp([[0.0, 1.0], [0.0, 0.0]])[0]
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return _matrix_exp(as_matrix(x, "matrix_exp(x)", square=True))


expm = matrix_exp
