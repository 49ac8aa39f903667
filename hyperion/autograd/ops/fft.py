"""Fourier, cosine and sine transforms: the namespace `hp.fft`.

On the CPU SciPy's pocketfft computes them, with as many threads as `HYPERION_THREADS` allows; on the GPU cuFFT through CuPy. complex64 and
float32 stay single. With n the length of an axis and w = exp(-2 pi i / n), the forward transform is y[k] = scale * sum_j x[j] w^(j k):

norm="backward"   forward unscaled, inverse divided by n
norm="ortho"      both divided by sqrt(n): the transform is unitary
norm="forward"    forward divided by n, inverse unscaled

Derivatives follow the pairing Re(sum(w * z)), without conjugation: the transform of complex numbers is a symmetric matrix and its own
transpose. That of real numbers, which keeps half of the spectrum, and its inverse are each other's, with weights on that half.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion import config
from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import FLOAT, as_dtype, complex_dtype, is_complex, is_floating, is_inexact
from hyperion.autograd.ops.arithmetic import multiply
from hyperion.autograd.ops.complexes import conj
from hyperion.autograd.ops.indexing import getitem
from hyperion.autograd.ops.shaping import astype, normalize_axes, normalize_axis
from hyperion.autograd.ops.stencils import pad, shift
from hyperion.autograd.table import linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device as devices

__all__ = [
    "dct", "dctn", "dst", "dstn", "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "idct", "idctn", "idst", "idstn",
    "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]

OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
THREADED = 1 << 15      # elements from which several threads pay for being started

Axes = tuple[int, ...]


def _workers(x: Any) -> int:
    return config.threads() if x.size >= THREADED else 1


def _ends(xp: Any, n: int, axis: int, ndim: int, inside: float, dtype: Any) -> Any:
    """Return weights of a half-spectrum of n samples: 1 for frequency 0 and, for even n, for the last; `inside` between."""
    weights = xp.full(n // 2 + 1, inside, dtype=dtype)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights.reshape((-1,) + (1,) * (ndim - 1 - axis))


def _last(x: Any, axes: Axes) -> int:
    return x.shape[axes[len(axes) - 1]]


def _complex_transform(xp: Any, x: Any, axes: Axes, norm: str, inverse: bool) -> Any:
    name = "ifftn" if inverse else "fftn"
    if xp is np:
        return getattr(devices.scipy_module(xp, "fft"), name)(x, axes=axes, norm=norm, workers=_workers(x))
    return getattr(xp.fft, name)(x, axes=axes, norm=norm)


def _half_spectrum(xp: Any, x: Any, axes: Axes, norm: str, transposed: bool) -> Any:
    *others, last = axes
    if xp is np:
        out = devices.scipy_module(xp, "fft").rfftn(x, axes=axes, norm=norm, workers=_workers(x))
    else:
        out = xp.fft.rfft(x, axis=last, norm=norm)
        out = xp.fft.fftn(out, axes=others, norm=norm) if others else out
    if transposed:
        out *= _ends(xp, x.shape[last], last, x.ndim, 2.0, x.dtype)
        xp.conjugate(out, out=out)
    return out


def _from_half_spectrum(xp: Any, x: Any, axes: Axes, norm: str, n: int, transposed: bool) -> Any:
    *others, last = axes
    given = x
    if transposed:
        x = xp.conjugate(x)
        x *= _ends(xp, n, last, x.ndim, 0.5, x.real.dtype)
    if xp is np:
        lengths = [*(x.shape[axis] for axis in others), n]
        return devices.scipy_module(xp, "fft").irfftn(x, s=lengths, axes=axes, norm=norm, workers=_workers(x))
    # One axis after the other: cuFFT's inverse over several axes takes the symmetry of the spectrum for granted.
    x = xp.fft.ifftn(x, axes=others, norm=norm) if others else x
    return xp.fft.irfft(with_real_ends(x.copy() if x is given else x, n, last), n=n, axis=last, norm=norm)


def with_real_ends(x: Any, n: int, axis: int) -> Any:
    """Return a half-spectrum of n samples, a CuPy array that is changed, with frequencies 0 and n / 2 made real.

    cuFFT takes them to be real: whether their imaginary parts show depends on the size (seen at 128 x 128 in float32, through PyTorch).
    """
    ends = x[(*(slice(None),) * (axis % x.ndim), slice(None, None, n // 2 if n % 2 == 0 else n))]
    ends.imag[...] = 0
    return x


def trigonometric_by_fft(xp: Any, x: Any, axis: int, kind: str, variant: int) -> Any:
    """Return the orthogonal cosine ("dct") or sine ("dst") transform of type 1 or 4 by a Fourier transform: CuPy has only types 2 and 3."""
    x = xp.moveaxis(x, axis, -1)
    n = x.shape[-1]
    if variant == 4:
        k = xp.arange(n)
        half = xp.exp(-0.25j * np.pi * (2 * k + 1) / n).astype(complex_dtype(x.dtype))
        full = xp.fft.fft(x * half, n=2 * n)[..., :n] * xp.exp(-0.5j * np.pi * k / n).astype(half.dtype)
        out = np.sqrt(2.0 / n) * (full.real if kind == "dct" else -full.imag)
    elif kind == "dct":
        ends = _ends(xp, 2 * (n - 1), 0, 1, np.sqrt(0.5), x.dtype) * np.sqrt(2.0)
        even = x * ends
        out = xp.fft.rfft(xp.concatenate([even, even[..., -2:0:-1]], -1)).real / ends / np.sqrt(0.5 * (n - 1)) / 2.0
    else:
        zero = xp.zeros_like(x[..., :1])
        out = -xp.fft.rfft(xp.concatenate([zero, x, zero, -x[..., ::-1]], -1)).imag[..., 1:n + 1] / np.sqrt(2.0 * (n + 1))
    return xp.moveaxis(out, -1, axis).astype(x.dtype, copy=False)


def _trigonometric(xp: Any, x: Any, axis: int, kind: str, variant: int, inverse: bool) -> Any:
    if xp is not np and variant in (1, 4):
        return trigonometric_by_fft(xp, x, axis, kind, variant)     # symmetric: its own inverse
    options = {"workers": _workers(x)} if xp is np else {}
    transform = getattr(devices.scipy_module(xp, "fft"), f"i{kind}" if inverse else kind)
    return transform(x, type=variant, axis=axis, norm="ortho", **options)


_fft = linear(
    "fft", _complex_transform, lambda g, x, axes, norm, inverse: _fft(g, axes=axes, norm=norm, inverse=inverse), batch=by_axes("axes"),
)
# `transposed` conjugates and weighs the half-spectrum: the transform of one is then the transpose of the other.
_rfft = linear(
    "rfft", _half_spectrum, lambda g, x, axes, norm, transposed: _irfft(
        g, axes=axes, norm=OPPOSITE[norm], n=_last(x, axes), transposed=not transposed),
    batch=by_axes("axes"),
)
_irfft = linear(
    "irfft", _from_half_spectrum, lambda g, x, axes, norm, n, transposed: _rfft(
        g, axes=axes, norm=OPPOSITE[norm], transposed=not transposed),
    batch=by_axes("axes"),
)
# Scaled to be orthogonal, the inverse is the transpose.
_dct = linear(
    "dct", _trigonometric, lambda g, x, axis, kind, variant, inverse: _dct(g, axis=axis, kind=kind, variant=variant, inverse=not inverse),
    batch=by_axes("axis"),
)


def _as_norm(norm: Any, name: str) -> str:
    if norm is None:
        return "backward"
    if type(norm) is not str or norm not in OPPOSITE:
        raise InputError(f'{name}: norm={norm!r} is unknown; use "backward", "ortho" or "forward"')
    return norm


def _as_length(n: Any, name: str, argument: str = "n") -> int:
    try:
        length = operator.index(n)
    except TypeError as error:
        raise InputError(f"{name}: {argument}={n!r} must be an integer") from error
    if length < 1:
        raise ShapeError(f"{name}: {argument}={length} is the length of the transform; it must be 1 or more")
    return length


def _one(n: Any, name: str) -> tuple[int, ...] | None:
    return None if n is None else (_as_length(n, name),)


def _as_complex(x: Any) -> Tensor:
    x = as_tensor(x)
    return x if is_complex(x.dtype) else astype(x, complex_dtype(x.dtype))


def _as_real(x: Any, name: str) -> Tensor:
    x = as_tensor(x)
    if is_complex(x.dtype):
        raise DtypeError(f"{name}(x): x is {x.dtype}; it must be real: use fft or ifft, or transform its real and imaginary parts apart")
    return astype(x, FLOAT) if not is_floating(x.dtype) or x.dtype.itemsize == 2 else x


def _resize(x: Tensor, axis: int, n: int) -> Tensor:
    """Return x cut, or padded with zeros at its end, to length n along an axis."""
    length = x.shape[axis]
    if n < length:
        return getitem(x, (slice(None),) * axis + (slice(0, n),))
    return x if n == length else pad(x, [(0, n - length if i == axis else 0) for i in range(x.ndim)])


def _lengths(x: Tensor, s: Any, axes: Any, name: str) -> tuple[tuple[int | None, ...], Axes]:
    """Return lengths (None: that of x) and the axes they belong to, in the order given."""
    if not x.ndim:
        raise ShapeError(f"{name}(x): x has shape (); it must have at least one axis")
    wanted: tuple[int | None, ...] | None = None
    if s is not None:
        given: Any = s if type(s) in (list, tuple) else (s,)
        wanted = tuple(_as_length(n, name, "s") for n in given)
    if axes is None:
        # With s alone NumPy takes the last axes, as many as s has.
        order = tuple(range(x.ndim)) if wanted is None else tuple(range(x.ndim - len(wanted), x.ndim))
        if order and order[0] < 0:
            raise ShapeError(f"{name}(x, s): s={s} has more lengths than x, shape {x.shape}, has axes")
    else:
        listed: Any = axes if type(axes) in (list, tuple) else (axes,)
        order = tuple(normalize_axis(axis, x.ndim, name) for axis in listed)
        if not order or len(set(order)) != len(order):
            raise ShapeError(f"{name}(x, axes): axes={axes} must name at least one axis, and each once")
    if not order:
        raise ShapeError(f"{name}(x, s): s={s} is empty; give at least one length")
    if wanted is None:
        wanted = (None,) * len(order)
    if len(wanted) != len(order):
        raise ShapeError(f"{name}(x, s, axes): s={s} has {len(wanted)} lengths for {len(order)} axes; they must agree")
    return wanted, order


def _fit(x: Tensor, wanted: Sequence[int | None], axes: Axes, name: str) -> Tensor:
    for n, axis in zip(wanted, axes, strict=True):
        x = x if n is None else _resize(x, axis, n)
        if not x.shape[axis]:
            raise ShapeError(f"{name}(x): axis {axis} of x, shape {x.shape}, is empty; there must be something to transform")
    return x


def _over(x: Any, s: Any, axes: Any, norm: Any, name: str, inverse: bool) -> Tensor:
    scale = _as_norm(norm, name)
    x = _as_complex(x)
    wanted, order = _lengths(x, s, axes, name)
    return _fft(_fit(x, wanted, order, name), axes=order, norm=scale, inverse=inverse)


def _to_half(x: Any, s: Any, axes: Any, norm: Any, name: str, conjugate: bool = False) -> Tensor:
    scale = _as_norm(norm, name)
    x = _as_real(x, name)
    wanted, order = _lengths(x, s, axes, name)
    x = _fit(x, wanted, order, name)
    if not conjugate:
        return _rfft(x, axes=order, norm=scale, transposed=False)
    return conj(_rfft(x, axes=order, norm=OPPOSITE[scale], transposed=False))


def _from_half(x: Any, s: Any, axes: Any, norm: Any, name: str, conjugate: bool = False) -> Tensor:
    scale = _as_norm(norm, name)
    x = _as_complex(x)
    wanted, order = _lengths(x, s, axes, name)
    last = wanted[-1] if wanted[-1] is not None else 2 * (x.shape[order[-1]] - 1)
    if last < 1:
        raise ShapeError(f"{name}(x): the last axis of the transform, {order[-1]} of shape {x.shape}, gives {last} samples; give n or s")
    x = _fit(x, (*wanted[:-1], last // 2 + 1), order, name)
    if conjugate:
        x, scale = conj(x), OPPOSITE[scale]
    return _irfft(x, axes=order, norm=scale, n=last, transposed=False)


def fft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform along an axis.

    x: complex, or real and made complex.  n: length of the transform, to which x is cut or padded with zeros; None: that of the axis.
    norm: see `hyperion.autograd.ops.fft`: "backward" (unscaled), "ortho" or "forward".
    Raises: ShapeError for an empty axis, an axis outside x, or n < 1; InputError for an unknown norm.

    >>> fft([1.0, 0.0, 0.0])
    Tensor (3,) complex64, cpu: [1.+0.j 1.+0.j 1.+0.j]
    """
    return _over(x, _one(n, "fft"), (axis,), norm, "fft", False)


def ifft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse discrete Fourier transform along an axis; arguments as in `fft`, "backward" divides by n.

    >>> ifft([3.0, 0.0, 0.0])
    Tensor (3,) complex64, cpu: [1.+0.j 1.+0.j 1.+0.j]
    """
    return _over(x, _one(n, "ifft"), (axis,), norm, "ifft", True)


def fftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform over several axes.

    s: length of the transform along each of `axes`; None: those of x.  axes: None takes all, or the last len(s).  norm: as in `fft`.
    Raises: ShapeError for empty or repeated axes, or lengths that do not belong to them; InputError for an unknown norm.

    >>> fftn([[1.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _over(x, s, axes, norm, "fftn", False)


def ifftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse discrete Fourier transform over several axes; arguments as in `fftn`.

    >>> ifftn(fftn([[1.0, 2.0], [3.0, 4.0]])).shape
    (2, 2)
    """
    return _over(x, s, axes, norm, "ifftn", True)


def fft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform over two axes, the last ones by default; arguments as in `fftn`.

    >>> fft2([[1.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _over(x, s, axes, norm, "fft2", False)


def ifft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return the inverse discrete Fourier transform over two axes, the last ones by default; arguments as in `fftn`.

    >>> ifft2([[4.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _over(x, s, axes, norm, "ifft2", True)


def rfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform of real numbers along an axis: its n // 2 + 1 frequencies from 0 on.

    The others are their conjugates.  Arguments as in `fft`.
    Raises: DtypeError for a complex x; otherwise as `fft`.

    >>> rfft([1.0, 0.0, 0.0, 0.0])
    Tensor (3,) complex64, cpu: [1.+0.j 1.+0.j 1.+0.j]
    """
    return _to_half(x, _one(n, "rfft"), (axis,), norm, "rfft")


def irfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the real numbers of which x holds the frequencies from 0 on: the inverse of `rfft`.

    n: samples of the result along the axis; None: 2 (m - 1) for m frequencies. An odd length must be given.
    The imaginary part of frequency 0, and of the last for even n, does not count.
    Raises: as `fft`.

    >>> irfft([4.0, 0.0, 0.0])
    Tensor (4,) float32, cpu: [1. 1. 1. 1.]
    """
    return _from_half(x, _one(n, "irfft"), (axis,), norm, "irfft")


def rfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform of real numbers over several axes; the last of them keeps half of the frequencies.

    Arguments as in `fftn`.  Raises: DtypeError for a complex x; otherwise as `fftn`.

    >>> rfftn([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).shape
    (2, 3)
    """
    return _to_half(x, s, axes, norm, "rfftn")


def irfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `rfftn`: real numbers.

    s: lengths of the result along `axes`; None: those of x, and 2 (m - 1) for the last of them.  Other arguments as in `fftn`.

    >>> irfftn(rfftn([[1.0, 2.0], [3.0, 4.0]])).shape
    (2, 2)
    """
    return _from_half(x, s, axes, norm, "irfftn")


def rfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform of real numbers over two axes, the last ones by default; arguments as in `rfftn`.

    >>> rfft2([[1.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _to_half(x, s, axes, norm, "rfft2")


def irfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return the inverse of `rfft2`; arguments as in `irfftn`.

    >>> irfft2([[4.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _from_half(x, s, axes, norm, "irfft2")


def hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the real spectrum of a signal whose second half is the conjugate of its first, given from sample 0 on.

    n: length of the result; None: 2 (m - 1) for m samples.  Other arguments as in `fft`.

    >>> hfft([1.0, 0.0, 0.0])
    Tensor (4,) float32, cpu: [1. 1. 1. 1.]
    """
    return _from_half(x, _one(n, "hfft"), (axis,), norm, "hfft", conjugate=True)


def ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `hfft`: the first n // 2 + 1 samples of a signal with a real spectrum x.

    Raises: DtypeError for a complex x; otherwise as `fft`.

    >>> ihfft([4.0, 0.0, 0.0, 0.0]).shape
    (3,)
    """
    return _to_half(x, _one(n, "ihfft"), (axis,), norm, "ihfft", conjugate=True)


def hfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the real spectrum over several axes of a signal with conjugate symmetry; the last of them is given by half.

    Arguments as in `irfftn`.

    >>> hfftn([[1.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _from_half(x, s, axes, norm, "hfftn", conjugate=True)


def ihfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `hfftn`; arguments as in `rfftn`.

    >>> ihfftn([[4.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _to_half(x, s, axes, norm, "ihfftn", conjugate=True)


def hfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return `hfftn` over two axes, the last ones by default.

    >>> hfft2([[1.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _from_half(x, s, axes, norm, "hfft2", conjugate=True)


def ihfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str = "backward") -> Tensor:
    """Return `ihfftn` over two axes, the last ones by default.

    >>> ihfft2([[4.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _to_half(x, s, axes, norm, "ihfft2", conjugate=True)


def _grid(n: Any, d: float, dtype: Any, place: Any, name: str, make: Callable[[int, float], Any]) -> Tensor:
    length = _as_length(n, name)
    if not isinstance(d, int | float) or not np.isfinite(d) or d == 0.0:      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{name}: d={d!r} is the spacing of the samples; it must be a finite number other than 0")
    kind = FLOAT if dtype is None else as_dtype(dtype)
    if not is_inexact(kind):
        raise DtypeError(f"{name}: dtype={kind} holds no fractions; it must be floating")
    return Tensor(devices.to_device(make(length, float(d)).astype(kind), "cpu" if place is None else place))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return the frequencies of `fft` in its order, in cycles per unit of d: 0, 1, ..., then the negative ones, over n d.

    n: samples.  d: their spacing, for example [s] for frequencies in [Hz].  dtype: default float32.
    Raises: ShapeError for n < 1; InputError for d = 0; DtypeError for an integer dtype.

    >>> fftfreq(4, d=0.5)
    Tensor (4,) float32, cpu: [ 0.   0.5 -1.  -0.5]
    """
    return _grid(n, d, dtype, device, "fftfreq", np.fft.fftfreq)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return the frequencies of `rfft` in cycles per unit of d: 0, 1, ..., n // 2, over n d; arguments as in `fftfreq`.

    >>> rfftfreq(4, d=0.5)
    Tensor (3,) float32, cpu: [0.  0.5 1. ]
    """
    return _grid(n, d, dtype, device, "rfftfreq", np.fft.rfftfreq)


def fftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """Return a spectrum with frequency 0 moved to the middle of its axes (None: all).

    Raises: ShapeError if an axis is outside x.

    >>> fftshift([0.0, 1.0, -2.0, -1.0])
    Tensor (4,) float32, cpu: [-2. -1.  0.  1.]
    """
    x = as_tensor(x)
    for axis in normalize_axes(axes, x.ndim, "fftshift"):
        x = shift(x, x.shape[axis] // 2, axis, periodic=True)
    return x


def ifftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """Return the inverse of `fftshift`: they differ for an odd length.

    >>> ifftshift([-1.0, 0.0, 1.0])
    Tensor (3,) float32, cpu: [ 0.  1. -1.]
    """
    x = as_tensor(x)
    for axis in normalize_axes(axes, x.ndim, "ifftshift"):
        x = shift(x, -(x.shape[axis] // 2), axis, periodic=True)
    return x


def _weights(x: Tensor, kind: str, variant: int, axis: int) -> tuple[Any, Any]:
    """Return what x is multiplied by before the orthogonal transform, and after it, for the unscaled transform up to a common factor."""
    n = x.shape[axis]
    before, after = np.ones(n), np.ones(n)
    first = 0 if kind == "dct" else n - 1
    if variant == 2:
        after[first] = np.sqrt(2.0)
    elif variant == 3:
        before[first] = np.sqrt(0.5)
    elif variant == 1 and kind == "dct":
        before[[0, -1]], after[[0, -1]] = np.sqrt(0.5), np.sqrt(2.0)
    shape = (-1,) + (1,) * (x.ndim - 1 - axis)
    return before.reshape(shape), after.reshape(shape)


def _cosines(x: Any, kind: str, variant: Any, n: Any, axis: Any, norm: Any, inverse: bool) -> Tensor:
    name = f"i{kind}" if inverse else kind
    scale = _as_norm(norm, name)
    if type(variant) is not int or not 1 <= variant <= 4:
        raise InputError(f"{name}: type={variant!r} is unknown; use 1, 2, 3 or 4")
    x = _as_real(x, name)
    wanted, (place,) = _lengths(x, _one(n, name), (axis,), name)
    x = _fit(x, wanted, (place,), name)
    length = x.shape[place]
    if variant == 1 and kind == "dct" and length < 2:
        raise ShapeError(f"{name}(x, type=1): axis {place} of x, shape {x.shape}, has length {length}; it must be 2 or more")
    if scale == "ortho":
        return _dct(x, axis=place, kind=kind, variant=variant, inverse=inverse)
    period = 2 * (length + (0 if variant > 1 else -1 if kind == "dct" else 1))
    before, after = _weights(x, kind, variant, place)
    factor = np.sqrt(period) if scale == "backward" else 1.0 / np.sqrt(period)
    if inverse:
        before, after, factor = 1.0 / after, 1.0 / before, 1.0 / factor
    inside, outside = (Tensor(devices.to_device(part.astype(x.dtype), x.device)) for part in (before, factor * after))
    x = x if np.all(before == 1.0) else multiply(x, inside)
    return multiply(_dct(x, axis=place, kind=kind, variant=variant, inverse=inverse), outside)


def dct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the discrete cosine transform of real numbers along an axis.

    type: 1 to 4. Type 2, of a signal mirrored at its ends, is y[k] = 2 sum_j x[j] cos(pi k (2 j + 1) / (2 n)); 3 is its inverse, up to 2 n.
    n: length, to which x is cut or padded; None: that of the axis.
    norm: "backward" (as above), "ortho" (orthogonal, with the first coefficient scaled), "forward" (divided by 2 n; 2 (n - 1) for type 1).
    Raises: DtypeError for a complex x; InputError for another type or norm; ShapeError for an axis outside x, or too short.

    >>> dct([1.0, 1.0])
    Tensor (2,) float32, cpu: [4. 0.]
    """
    return _cosines(x, "dct", type, n, axis, norm, False)


def idct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `dct` of the same type and norm.

    >>> idct([4.0, 0.0])
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return _cosines(x, "dct", type, n, axis, norm, True)


def dst(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the discrete sine transform of real numbers along an axis; arguments as in `dct`.

    Type 2, of a signal mirrored with its sign at its ends, is y[k] = 2 sum_j x[j] sin(pi (k + 1) (2 j + 1) / (2 n)).

    >>> dst([1.0, -1.0])
    Tensor (2,) float32, cpu: [0. 4.]
    """
    return _cosines(x, "dst", type, n, axis, norm, False)


def idst(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `dst` of the same type and norm.

    >>> idst([0.0, 4.0])
    Tensor (2,) float32, cpu: [ 1. -1.]
    """
    return _cosines(x, "dst", type, n, axis, norm, True)


def _cosines_over(x: Any, kind: str, variant: Any, s: Any, axes: Any, norm: Any, inverse: bool) -> Tensor:
    x = as_tensor(x)
    wanted, order = _lengths(x, s, axes, f"{'i' if inverse else ''}{kind}n")
    for n, axis in zip(wanted, order, strict=True):
        x = _cosines(x, kind, variant, n, axis, norm, inverse)
    return x


def dctn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the discrete cosine transform over several axes (None: all): `dct` along each.  s: lengths along `axes`.

    >>> dctn([[1.0, 1.0], [1.0, 1.0]]).shape
    (2, 2)
    """
    return _cosines_over(x, "dct", type, s, axes, norm, False)


def idctn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `dctn`.

    >>> idctn([[16.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _cosines_over(x, "dct", type, s, axes, norm, True)


def dstn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the discrete sine transform over several axes (None: all): `dst` along each.  s: lengths along `axes`.

    >>> dstn([[1.0, 1.0], [1.0, 1.0]]).shape
    (2, 2)
    """
    return _cosines_over(x, "dst", type, s, axes, norm, False)


def idstn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `dstn`.

    >>> idstn([[8.0, 0.0], [0.0, 0.0]]).shape
    (2, 2)
    """
    return _cosines_over(x, "dst", type, s, axes, norm, True)
