"""Complex numbers: their parts, and making them of parts. All are linear over the real numbers.

Cotangents are paired with tangents by Re(sum(w * z)): hence real(z) sends g back as g, imag(z) as -i g, and conj(z) as conj(g).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.shaping import astype
from hyperion.autograd.table import elementwise, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError
from hyperion.gpu import device

__all__ = ["complex", "conj", "imag", "isreal", "real"]


def join(xp: Any, x: Any, y: Any) -> Any:
    """Return x + i y as a raw array, exact where x or y is infinite, NaN or a signed zero; another namespace gets `xp.complex(x, y)`."""
    if not hasattr(x, "dtype"):
        return xp.complex(x, y)
    out = xp.empty(np.broadcast_shapes(x.shape, y.shape), dtype=np.complex128 if xp.result_type(x, y).itemsize == 8 else np.complex64)
    out.real = x
    out.imag = y
    return out


def real_only(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward of an operation that refuses complex arrays, where NumPy would order them by their real parts first."""

    def checked(xp: Any, *xs: Any, **params: Any) -> Any:
        if any(hasattr(x, "dtype") and is_complex(x.dtype) for x in xs):
            raise TypeError("it is defined for real numbers only")
        return forward(xp, *xs, **params)

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
    for name, part in (("real", real), ("imag", imag)):
        if type(part) not in (bool, int, float) and is_complex(as_tensor(part).dtype):
            raise DtypeError(f"complex(real, imag): {name} is complex; both must be real")
    return _complex(real, imag)


def isreal(x: Any) -> Tensor:
    """Return whether the imaginary part of each element is zero.

    >>> isreal([1.0 + 0.0j, 2.0j])
    Tensor (2,) bool, cpu: [ True False]
    """
    return imag(x) == 0
