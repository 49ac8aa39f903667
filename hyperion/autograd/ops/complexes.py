"""Complex numbers: their parts, and making them of parts. All are linear over the real numbers.

Cotangents are paired with tangents by Re(sum(w * z)): hence real(z) sends g back as g, imag(z) as -i g, and conj(z) as conj(g).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import FLOAT, is_complex
from hyperion.autograd.ops.shaping import astype, stack
from hyperion.autograd.table import Rule, elementwise, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, ShapeError
from hyperion.gpu import device

__all__ = ["complex", "conj", "imag", "isreal", "real", "view_as_complex", "view_as_real"]


def join(xp: Any, x: Any, y: Any) -> Any:
    """Return x + i y as a raw array, exact where x or y is infinite, NaN or a signed zero; another namespace gets `xp.complex(x, y)`."""
    if not hasattr(x, "dtype"):
        return xp.complex(x, y)
    out = xp.empty(np.broadcast_shapes(x.shape, y.shape), dtype=np.complex128 if xp.result_type(x, y).itemsize == 8 else np.complex64)
    out.real = x
    out.imag = y
    return out


def real_only(forward: Rule) -> Callable[..., Any]:
    """Return the forward of an operation that refuses complex arrays, where NumPy would order them by their real parts first."""

    operation: Any = forward

    @wraps(operation)
    def checked(xp: Any, *xs: Any, **params: Any) -> Any:
        if any(hasattr(x, "dtype") and is_complex(x.dtype) for x in xs):
            raise TypeError("it is defined for real numbers only")
        return operation(xp, *xs, **params)

    return checked


def _scalar(value: Any, like: Tensor) -> Tensor:
    return Tensor(device.namespace_of(like.device).asarray(value, dtype=like.dtype))


_real = linear("real", lambda xp, x: xp.real(x), lambda g, x: astype(g, x.dtype), batch=by_axes())
_imag = linear("imag", lambda xp, x: xp.imag(x), lambda g, x: astype(g, x.dtype) * -1j, batch=by_axes())
_conj = linear("conj", lambda xp, x: xp.conj(x), lambda g, x: _conj(g), batch=by_axes())
_complex = elementwise("complex", join, lambda out, x, y: _scalar(1.0, out), lambda out, x, y: _scalar(1j, out), floating=True, degree=1)


def real(x: Any) -> Tensor:
    """Return the real part of each element, float32 of complex64; a real x as it is.

    >>> real([1.0 + 2.0j])
    Tensor (1,) float32, cpu: [1.]
    """
    x = as_tensor(x)
    return _real(x) if is_complex(x.dtype) else x


def imag(x: Any) -> Tensor:
    """Return the imaginary part of each element, float32 of complex64; zeros of a real x.

    >>> imag([1.0 + 2.0j])
    Tensor (1,) float32, cpu: [2.]
    """
    x = as_tensor(x)
    return _imag(x) if is_complex(x.dtype) else Tensor(device.namespace_of(x.device).zeros(x.shape, dtype=x.dtype))


def conj(x: Any) -> Tensor:
    """Return the complex conjugate of each element; a real x as it is.

    >>> conj([1.0 + 2.0j])
    Tensor (1,) complex64, cpu: [1.-2.j]
    """
    x = as_tensor(x)
    return _conj(x) if is_complex(x.dtype) else x


def complex(real: Any, imag: Any) -> Tensor:
    """Return real + i imag for each element: complex128 if one of them is float64, else complex64.

    Raises: DtypeError if one of them is complex.

    >>> complex([1.0], 2.0)
    Tensor (1,) complex64, cpu: [1.+2.j]
    """
    parts: list[Any] = []
    for name, part in (("real", real), ("imag", imag)):
        if type(part) not in (bool, int, float):
            part = as_tensor(part)
            if is_complex(part.dtype):
                raise DtypeError(f"complex(real, imag): {name} is complex; both must be real")
            part = astype(part, FLOAT) if part.dtype.itemsize == 2 else part       # there is no complex dtype of two-byte floats
        parts.append(part)
    return _complex(*parts)


def view_as_real(x: Any) -> Tensor:
    """Return the real and the imaginary part of complex elements side by side, on a new last axis of length 2.

    Raises: DtypeError if x is not complex.

    >>> view_as_real([1.0 + 2.0j]).data
    array([[1., 2.]], dtype=float32)
    """
    x = as_tensor(x)
    if not is_complex(x.dtype):
        raise DtypeError(f"view_as_real(x): x is {x.dtype}; it must be complex")
    return stack([_real(x), _imag(x)], x.ndim)


def view_as_complex(x: Any) -> Tensor:
    """Return complex elements of real and imaginary parts that stand side by side on the last axis, of length 2.

    Raises: ShapeError if the last axis has another length; DtypeError if x is complex.

    >>> view_as_complex([[1.0, 2.0]])
    Tensor (1,) complex64, cpu: [1.+2.j]
    """
    x = as_tensor(x)
    if not x.ndim or x.shape[-1] != 2:
        raise ShapeError(f"view_as_complex(x): x has shape {x.shape}; the last axis must have length 2: real and imaginary part")
    return complex(x[..., 0], x[..., 1])


def isreal(x: Any) -> Tensor:
    """Return whether the imaginary part of each element is zero.

    >>> isreal([1.0 + 0.0j, 2.0j])
    Tensor (2,) bool, cpu: [ True False]
    """
    return imag(x) == 0
