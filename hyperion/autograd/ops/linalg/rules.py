"""What the rules of linear algebra share: checks of arguments, conjugation, triangles, and division by gaps that may vanish."""

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.batching import over_leading
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import state
from hyperion.autograd.ops.arithmetic import abs, reciprocal
from hyperion.autograd.ops.comparison import less_equal, where
from hyperion.autograd.ops.complexes import conj, imag, real
from hyperion.autograd.ops.products import matrix_transpose
from hyperion.autograd.ops.reductions import max, sum
from hyperion.autograd.ops.shaping import expand_dims, sum_to
from hyperion.autograd.table import general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.transforms import vjp
from hyperion.errors import DtypeError, ShapeError, SingularError
from hyperion.gpu import device

__all__: list[str] = []

DTYPES = frozenset(np.dtype(name) for name in ("float32", "float64", "complex64", "complex128"))


# Arguments

def as_matrix(x: Any, name: str, argument: str = "x", square: bool = False) -> Tensor:
    """Return a value as a Tensor of matrices, shape (..., n, m), or refuse it."""
    x = as_inexact(x, name, argument)
    if x.ndim < 2:
        raise ShapeError(f"{name}: {argument} has shape {x.shape}; it must be a matrix or a stack of them, with two axes or more")
    if square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name}: {argument} has shape {x.shape}; its last two axes must be equal")
    return x


def as_inexact(x: Any, name: str, argument: str = "x") -> Tensor:
    """Return a value as a Tensor of a dtype that the matrix routines take, or refuse it."""
    x = as_tensor(x)
    if x.dtype not in DTYPES:
        raise DtypeError(
            f"{name}: {argument} is {x.dtype}; it must be float32, float64, complex64 or complex128: use {argument}.astype('float32')"
        )
    return x


def as_floating(x: Any, name: str) -> Tensor:
    """Return a value as a Tensor of any floating or complex dtype, or refuse it."""
    x = as_tensor(x)
    if not is_inexact(x.dtype):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be floating or complex: use x.astype('float32')")
    return x


def refuse_unless_broadcast(name: str, x: Tensor, y: Tensor) -> None:
    """Refuse two stacks of matrices whose leading axes do not broadcast."""
    if any(n != m and 1 not in (n, m) for n, m in zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)):
        raise ShapeError(f"{name}: shapes {x.shape} and {y.shape}; the axes before the last two must broadcast")


def lapack(xp: Any, problem: str, routine: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a routine of NumPy, SciPy or CuPy; its refusal of a matrix becomes a SingularError that names the problem."""
    strict = contextlib.nullcontext() if xp is np else importlib.import_module("cupyx").errstate(linalg="raise")
    try:
        with strict:
            return routine(*args, **options)
    except np.linalg.LinAlgError as error:
        raise SingularError(f"{problem} ({error})") from error


def each(routine: Callable[..., Any], xp: Any, *stacks: Any) -> Any:
    """Call a routine that takes single matrices on each of broadcast stacks of them; returns one stack, or a list of them."""
    leading = np.broadcast_shapes(*(x.shape[:-2] for x in stacks))
    if not leading:
        return routine(*stacks)
    flat = [xp.broadcast_to(x, (*leading, *x.shape[-2:])).reshape(-1, *x.shape[-2:]) for x in stacks]
    found = [routine(*parts) for parts in zip(*flat, strict=True)]
    if isinstance(found[0], tuple):
        return tuple(xp.stack(parts).reshape(*leading, *parts[0].shape) for parts in zip(*found, strict=True))
    return xp.stack(found).reshape(*leading, *found[0].shape)


# Values

def adjoint(x: Tensor) -> Tensor:
    """Return the conjugate transpose."""
    return conj(matrix_transpose(x))


def hermitian(x: Tensor) -> Tensor:
    """Return the Hermitian part of square matrices."""
    return (x + adjoint(x)) * 0.5


def hermitian_part(x: Any) -> Any:
    """Return the Hermitian part of square matrices, raw arrays."""
    return (x + x.conj().swapaxes(-1, -2)) * x.dtype.type(0.5)


def constant(like: Tensor, array: Any) -> Tensor:
    """Return a NumPy array as a constant on the device of a Tensor."""
    return Tensor(device.to_device(array, like.device))


def on_diagonal(x: Tensor) -> Tensor:
    """Return a bool Tensor, shape (n, m): True on the diagonal of matrices like x."""
    return constant(x, np.eye(x.shape[-2], x.shape[-1], dtype=bool))


def triangle(x: Tensor, lower: bool, strict: bool = False) -> Tensor:
    """Return x with zeros outside its lower or upper triangle; strict: on the diagonal as well."""
    mask = np.tri(x.shape[-2], x.shape[-1], -1 if lower == strict else 0, dtype=bool)
    return where(constant(x, mask if lower else ~mask), x, 0.0)


def transposed(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return the vjp that goes with a jvp, which is linear in its tangents: recorded once on zeros and swept back."""

    def vjp_rule(g: Any, out: Any, *inputs: Tensor, **params: Any) -> list[Tensor | None]:
        places = [i for i, x in enumerate(inputs) if x.tracked]
        several = not isinstance(g, Tensor)
        wanted = [k for k, one in enumerate(g) if one is not None] if several else []
        if not state.recording:
            inputs = tuple([x.detach() for x in inputs])
            out = tuple([x.detach() for x in out]) if several else out.detach()

        def push(*tangents: Tensor) -> Any:
            every: list[Tensor | None] = [None] * len(inputs)
            for i, tangent in zip(places, tangents, strict=True):
                every[i] = tangent
            moved = rule(every, out, *inputs, **params)
            return tuple([moved[k] for k in wanted]) if several else moved

        nowhere = constant(inputs[0], np.zeros((), bool))
        _, pull = vjp(push, *(where(nowhere, inputs[i].detach(), 0.0) for i in places))
        cotangents = pull(tuple([g[k] for k in wanted]) if several else g)
        result: list[Tensor | None] = [None] * len(inputs)
        for i, cotangent in zip(places, cotangents, strict=True):
            result[i] = cotangent
        return result

    return vjp_rule


# Division by gaps

def _determined(xp: Any, x: Any, mask: Any, drop: Any, name: str) -> Any:
    """Return x with zeros where a mask is True. Where it is the first mask, x must be zero to rounding already."""
    if mask.any():
        size = xp.abs(x)
        limit = 1e3 * x.shape[-1] * np.finfo(x.dtype).eps * size.max(axis=(-2, -1), keepdims=True)
        if bool((mask & (size > limit)).any()):
            raise SingularError(
                f"{name}: the derivative asked for does not exist: it depends on vectors that belong to equal (or zero) eigenvalues or "
                "singular values and are not unique, or treats equal values differently. For functions of the matrix use matrix_exp, inv, "
                "pinv, solve, cholesky, slogdet or matrix_norm; for symmetric functions of the values eigvalsh, eigvals or svdvals; or "
                "move the values apart"
            )
    return xp.where(mask | drop, xp.zeros((), x.dtype), x)


determined = linear(
    "determined", _determined, lambda g, x, mask, drop, name: (sum_to(determined(g, mask, drop, name=name), x.shape), None, None),
    batch=over_leading(2, 2, 2),
)


def near_zero(x: Tensor, values: Tensor) -> Tensor:
    """Return where x, computed from eigenvalues or singular values (..., n), is below their rounding error.

    That error was measured as up to sqrt(n) times the rounding error of the largest (n = 10 to 600), of which this takes four times.
    """
    n = values.shape[-1]
    if not n:
        return x.detach() != x.detach()
    largest = max(abs(values.detach()), axis=-1)
    limit = largest.reshape(*largest.shape, *(1,) * (x.ndim - largest.ndim)) * (4.0 * float(np.finfo(values.dtype).eps) * n ** 0.5)
    return less_equal(abs(x.detach()), limit)


def over_gaps(x: Tensor, gaps: Tensor, values: Tensor, name: str, drop: Tensor | None = None) -> Tensor:
    """Return x / gaps; zero where gap and x vanish to rounding, and where `drop` is True.

    values: shape (..., n): what the gaps are differences of; a quotient by a gap below their rounding error has no correct digits.
    Raises: SingularError where only the gap vanishes.
    """
    dropped = constant(x, np.zeros((1, 1), bool)) if drop is None else drop
    mask = near_zero(gaps, values) & ~dropped
    return determined(x, mask, dropped, name=name) * reciprocal(where(mask | dropped, 1.0, gaps))


def refuse_uneven(g: Tensor, values: Tensor, name: str, sums: bool = False, drop: Tensor | None = None) -> None:
    """Refuse derivatives g by eigenvalues or singular values, (..., n), that differ where the values are equal to rounding.

    sums: refuse those that are not zero where the sum of two values is zero, instead.  drop: pairs that may be anything.
    Raises: SingularError.
    """
    g, values = g.detach(), values.detach()
    row, column, g_row, g_column = expand_dims(values, -2), expand_dims(values, -1), expand_dims(g, -2), expand_dims(g, -1)
    pairs = g_row + g_column if sums else where(on_diagonal(row + column), g_row, g_row - g_column)
    free = constant(pairs, np.zeros((1, 1), bool)) if drop is None else drop
    determined(pairs, near_zero(row + column if sums else row - column, values) & ~free, free, name=name)


def refuse_where(mask: Tensor, name: str) -> None:
    """Refuse matrices, (..., n, m), in which the mask is True somewhere: they have no derivative.

    Raises: SingularError.
    """
    determined(mask.astype("float32"), mask, constant(mask, np.zeros((1, 1), bool)), name=name)


# Phase

def _leading(xp: Any, vectors: Any) -> Any:
    """Return, for each column, the place of its first component within 0.1 % of the largest: of equal ones, always the same."""
    sizes = xp.abs(vectors)
    near = sizes >= 0.999 * sizes.max(axis=-2, keepdims=True)
    return xp.argmax(near.astype(np.int8), axis=-2)[..., None, :]


def phases(xp: Any, vectors: Any) -> Any:
    """Return, for each column, the factor that makes its leading component real and positive, shape (..., 1, n)."""
    if not vectors.shape[-2]:
        return xp.ones((*vectors.shape[:-2], 1, vectors.shape[-1]), dtype=vectors.dtype)
    pivot = xp.take_along_axis(vectors, _leading(xp, vectors), axis=-2)
    size = xp.abs(pivot)
    return xp.where(size > 0, pivot.conj(), 1) / xp.where(size > 0, size, 1)


leading_components = general(
    "leading_components", lambda xp, x: xp.arange(x.shape[-2])[:, None] == _leading(xp, x) if x.shape[-2] else xp.zeros(x.shape, bool),
    differentiable=False, batch=over_leading(2),
    doc="Return a bool Tensor: True at the component of each column whose phase is fixed.",
)


def phase_change(moved: Tensor, vectors: Tensor) -> Tensor:
    """Return the change of phase of each column that keeps its leading component real, shape (..., 1, n), imaginary.

    moved: tangent of the columns in any phase.
    """
    mask = leading_components(vectors.detach())
    pivot = sum(where(mask, real(vectors), 0.0), axis=-2, keepdims=True)
    turn = sum(where(mask, imag(moved), 0.0), axis=-2, keepdims=True)
    return (turn * reciprocal(pivot)) * -1j


def phase_change_back(g: Tensor, vectors: Tensor) -> Tensor:
    """Return the cotangent of the columns in any phase from that of the columns with the change of phase: the transpose of that step."""
    mask = leading_components(vectors.detach())
    pivot = sum(where(mask, real(vectors), 0.0), axis=-2, keepdims=True)
    turn = imag(sum(g * vectors, axis=-2, keepdims=True)) * reciprocal(pivot)
    return g + where(mask, turn * -1j, 0.0)
