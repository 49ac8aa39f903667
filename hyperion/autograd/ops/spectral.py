"""Spectra that change with time: the short-time Fourier transform and its inverse."""

from typing import Any

from hyperion.autograd.dtypes import FLOAT, is_complex, is_floating, real_dtype
from hyperion.autograd.ops.arithmetic import divide, multiply, square
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.convolution import as_ints, fold, unfold
from hyperion.autograd.ops.fft import fft, ifft, irfft, rfft
from hyperion.autograd.ops.indexing import getitem
from hyperion.autograd.ops.shaping import astype, broadcast_to, reshape
from hyperion.autograd.ops.stencils import pad
from hyperion.autograd.ops.windows import hann_window
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["istft", "stft"]

UNCOVERED = 1e-11       # sum of squared windows below which a sample counts as seen by none


def _window(window: Any, size: int, like: Tensor, name: str) -> Tensor:
    """Return a window of length `size` in the precision of a signal; a shorter one has zeros on both sides."""
    dtype = real_dtype(like.dtype)
    if window is None:
        return hann_window(size, sym=False, dtype=dtype, device=like.device)
    weights = as_tensor(window)
    if weights.ndim != 1 or not 0 < weights.shape[0] <= size:
        raise ShapeError(f"{name}: window has shape {weights.shape}; it must have one axis of 1 to {size} samples")
    if is_complex(weights.dtype):
        raise DtypeError(f"{name}: window is {weights.dtype}; it must be real")
    missing = size - weights.shape[0]
    return pad(astype(weights, dtype), (missing // 2, missing - missing // 2))


def _hop(hop: Any, size: int, name: str) -> int:
    return max(size // 4, 1) if hop is None else as_ints(hop, 1, name, "hop", 1)[0]


def stft(
    x: Any, size: int, hop: int | None = None, window: Any = None, *, center: bool = True, pad_mode: str = "reflect",
    onesided: bool | None = None, norm: str = "backward",
) -> Tensor:
    """Return the short-time Fourier transform: the spectra of overlapping pieces of a signal, each times a window.

    x: (..., samples), real or complex.  size: samples in a piece.  hop: from piece to piece; None: a quarter of the size.
    window: one axis of at most `size` samples; None: Hann's, periodic.
    center: piece k is centred at sample k * hop; x is padded by half a size on both sides in the `pad_mode` of `pad`.
    onesided: only frequencies from 0 to half the sampling rate, size // 2 + 1 of them; None: for a real x.  norm: as in `fft.fft`.
    Returns: complex, (..., frequencies, pieces).
    Raises: ShapeError for a signal shorter than a piece or a window that does not fit; InputError for a size or hop below 1, or onesided
        with a complex x.

    >>> import numpy as np
    >>> stft(np.sin(np.arange(64.0)), 16).shape
    (9, 17)
    """
    x, name = as_tensor(x), "stft"
    length = as_ints(size, 1, name, "size", 1)[0]
    step = _hop(hop, length, name)
    half = not is_complex(x.dtype) if onesided is None else onesided
    if half and is_complex(x.dtype):
        raise InputError("stft: onesided=True needs a real x, whose other frequencies are conjugates; leave it out for a complex one")
    if not x.ndim:
        raise ShapeError("stft: x has shape (); it must have an axis of samples")
    if not is_complex(x.dtype) and not is_floating(x.dtype):
        x = astype(x, FLOAT)
    *lead, samples = x.shape
    if center:
        around = length // 2
        if str(pad_mode) == "reflect" and around >= samples:
            raise ShapeError(f"stft: x has {samples} samples; to be reflected by size // 2 = {around} it must be longer: use center=False")
        x = pad(x, [(0, 0)] * len(lead) + [(around, around)], mode=pad_mode)
    if x.shape[-1] < length:
        raise ShapeError(f"stft: x, shape {x.shape}, is shorter than a piece of size={length}")
    pieces = unfold(reshape(x, (-1 if x.size else 0, 1, x.shape[-1])), (length,), step)                # (signals, size, pieces)
    pieces = multiply(pieces, reshape(_window(window, length, x, name), (length, 1)))
    spectra = rfft(pieces, axis=1, norm=norm) if half else fft(pieces, axis=1, norm=norm)
    return reshape(spectra, (*lead, *spectra.shape[1:]))


def istft(
    x: Any, size: int, hop: int | None = None, window: Any = None, *, center: bool = True, onesided: bool = True, length: int | None = None,
    norm: str = "backward",
) -> Tensor:
    """Return the signal of which x is the short-time Fourier transform: the inverse of `stft` with the same arguments.

    Pieces are added where they overlap, each times its window, and divided by the sum of the squared windows: of all signals, the one whose
    transform is nearest to x. Samples that no window sees are 0.

    x: complex, (..., frequencies, pieces).  length: samples of the result; None: those that whole pieces give.
    onesided: x has the frequencies from 0 to half the sampling rate, and the result is real; otherwise all, and it is complex.
    Raises: ShapeError unless the frequencies fit size, or for a window that does not; InputError for a size, hop or length below 1.
    Source: Griffin and Lim 1984, IEEE Trans. ASSP 32, 236-243, eq. 6.

    >>> import numpy as np
    >>> istft(stft(np.ones(64), 16), 16).shape
    (64,)
    """
    x, name = as_tensor(x), "istft"
    count = as_ints(size, 1, name, "size", 1)[0]
    step = _hop(hop, count, name)
    if not is_complex(x.dtype):
        raise DtypeError(f"istft: x is {x.dtype}; it must be complex, as stft returns it")
    expected = count // 2 + 1 if onesided else count
    if x.ndim < 2 or x.shape[-2] != expected or not x.shape[-1]:
        raise ShapeError(f"istft: x has shape {x.shape}; for size={count} it must be (..., {expected}, pieces)")
    *lead, _, frames = x.shape
    flat = reshape(x, (-1 if x.size else 0, expected, frames))
    pieces = irfft(flat, n=count, axis=1, norm=norm) if onesided else ifft(flat, axis=1, norm=norm)
    weights = reshape(_window(window, count, pieces, name), (count, 1))
    whole = (frames - 1) * step + count
    signal = fold(multiply(pieces, weights), (whole,), (count,), step)                         # (signals, 1, samples)
    seen = fold(broadcast_to(reshape(square(weights), (1, count, 1)), (1, count, frames)), (whole,), (count,), step)
    covered = seen > UNCOVERED
    signal = where(covered, divide(signal, where(covered, seen, 1.0)), 0.0)
    first = count // 2 if center else 0
    kept = whole - 2 * first if length is None else as_ints(length, 1, name, "length", 1)[0]
    if kept < 1:
        raise ShapeError(f"istft: x, shape {x.shape}, has too few pieces: nothing is left between the halves that center=True cuts off")
    signal = getitem(signal, (slice(None), 0, slice(first, min(first + kept, whole))))
    missing = kept - signal.shape[-1]
    return reshape(pad(signal, ((0, 0), (0, missing))) if missing else signal, (*lead, kept))
