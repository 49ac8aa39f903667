"""Fourier coefficients of a few low frequencies, and functions made of them: what spectral convolutions need of a Fourier transform.

Along each axis of space m frequencies are kept: -(m // 2) to m - m // 2 - 1, and, along the last one, where real functions repeat
themselves, 0 to m // 2. The coefficient of frequency k is the mean of x[j] exp(-2 pi i j k / n): it does not depend on the sampling.

Two ways, chosen by `by_products`. A matrix product with the cosines and sines of one axis after the other, everything real: the products
cos cos, cos sin, sin cos, sin sin serve frequencies of either sign at once, and each axis goes to the front as it is transformed, which
is the order in which channels are mixed. Or a fast transform of which the kept part is copied. With few frequencies the first reads the
function once and runs at the speed of matrix products; a fast transform does fewer operations, at a tenth of that speed. Large NumPy arrays
take native products of their last axis and complex ones of the others: see `waves`.
"""

import functools
import math
import operator
from typing import Any

import numpy as np

from hyperion import config
from hyperion.autograd.dtypes import FLOAT, complex_dtype, is_complex, is_floating, real_dtype
from hyperion.autograd.ops.channels import multiplied
from hyperion.autograd.ops.fft import with_real_ends
from hyperion.autograd.ops.shaping import astype, permute_dims
from hyperion.autograd.ops.waves import from_modes, to_modes
from hyperion.autograd.table import Primitive, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.gpu import modes as kernels

__all__ = ["fourier_modes", "from_fourier_modes"]

Sizes = tuple[int, ...]
FAST = 3.0, 5.0         # of one axis, of several: see by_products


def by_products(kept: Sizes, space: Sizes) -> bool:
    """Tell whether matrix products are faster than a fast transform: by the frequencies of an axis beside the logarithm of its length.

    Measured on one core with AVX-512, 655,360 to 2,621,440 samples in float32. Products win below 24, 30 and 32 frequencies 0, 1, 2...
    along one axis of 256, 1024 and 4096 samples; along each of two axes of 64, 128 and 256 below 25, 45 and 50; of three of 32 always.

    >>> by_products((24, 13), (64, 64)), by_products((513,), (1024,))
    (True, False)
    """
    first = [k // 2 + 1 for k in kept[:-1]]
    limit = FAST[len(space) > 1]
    return all(k <= limit * math.log2(n + 1) for k, n in zip((*first, kept[-1]), space, strict=True))


@functools.lru_cache(maxsize=256)
def _waves(n: int, count: int, inverse: bool, last: bool, dtype: Any, place: str) -> Any:
    """Return cosines and sines of frequencies below `count` at n places, (2 count, n): for exp(-i ...) / n, or, inverse, exp(i ...).

    last: frequencies stand for those of the other sign as well, so that the inverse counts them twice: all but 0 and n / 2.
    """
    angle = (2.0 * np.pi / n) * (np.outer(np.arange(count), np.arange(n)) % n)      # reduced before rounding
    waves = np.stack([np.cos(angle), np.sin(angle) if inverse else -np.sin(angle)])
    waves[np.abs(waves) < 1e-15] = 0.0                                              # quarter turns
    if not inverse:
        waves /= n
    elif last:
        waves[:, [k for k in range(count) if k and 2 * k != n]] *= 2.0
    return device.to_device(waves.reshape(2 * count, n).astype(dtype), place)


def _counts(kept: Sizes) -> Sizes:
    """Return how many frequencies of one sign there are along each axis."""
    return (*(k // 2 + 1 for k in kept[:-1]), kept[-1])


def _modes(xp: Any, x: Any, kept: Sizes, inverse: bool) -> Any:
    if not x.size:
        return xp.zeros((*kept, *x.shape[:x.ndim - len(kept)]), complex_dtype(x.dtype))
    if not by_products(kept, x.shape[x.ndim - len(kept):]):
        return _modes_by_fft(xp, x, kept, inverse)
    found = to_modes(x, kept, inverse) if xp is np else None
    return _modes_by_products(xp, x, kept, inverse) if found is None else found


def _modes_by_products(xp: Any, x: Any, kept: Sizes, inverse: bool) -> Any:
    rank = len(kept)
    lead, space = x.shape[:x.ndim - rank], x.shape[x.ndim - rank:]
    counts, place = _counts(kept), device.device_of(x)
    part = x
    for axis in reversed(range(rank)):
        n = space[axis]
        waves = _waves(n, counts[axis], inverse, axis == rank - 1, x.dtype, place)
        part = multiplied(xp, waves, part.reshape(-1, n).T)         # (2 k, everything before)
    size = math.prod(lead)
    part = part.reshape(*(n for k in counts for n in (2, k)), size)
    combined = kernels.combine(part, kept)
    if combined is not None:
        return combined.reshape(*kept, *lead)
    before = (slice(None),) * (2 * rank - 2)
    re, im = part[(*before, 0)], part[(*before, 1)]
    out = xp.empty((*kept, size), complex_dtype(x.dtype))
    if rank == 1:
        out.real, out.imag = re, im
    for axis in reversed(range(rank - 1)):
        # (cos +- i sin) of this axis times p + i p_im (cos) and q + i q_im (sin) of those after it
        rows, signs = (slice(None),) * (2 * axis), kept[axis]
        half = signs // 2
        (p, p_im), (q, q_im) = ((re[(*rows, i)], im[(*rows, i)]) for i in (0, 1))
        if axis:
            re, im = (xp.empty((*p.shape[:2 * axis], signs, *p.shape[2 * axis + 1:]), x.dtype) for _ in range(2))
        else:
            re, im = out.real, out.imag
        positive, here = (*rows, slice(half, None)), (*rows, slice(0, signs - half))
        negative, there = (*rows, slice(0, half)), (*rows, slice(half, 0, -1))
        xp.subtract(p[here], q_im[here], out=re[positive])
        xp.add(p_im[here], q[here], out=im[positive])
        xp.add(p[there], q_im[there], out=re[negative])
        xp.subtract(p_im[there], q[there], out=im[negative])
    return out.reshape(*kept, *lead)


def _from_modes(xp: Any, y: Any, kept: Sizes, space: Sizes, inverse: bool) -> Any:
    if not y.size:
        return xp.zeros((*y.shape[len(kept):], *space), real_dtype(y.dtype))
    if not by_products(kept, space):
        return _from_modes_by_fft(xp, y, kept, space, inverse)
    found = from_modes(y, kept, space, inverse) if xp is np else None
    return _from_modes_by_products(xp, y, kept, space, inverse) if found is None else found


def _from_modes_by_products(xp: Any, y: Any, kept: Sizes, space: Sizes, inverse: bool) -> Any:
    rank = len(kept)
    lead = y.shape[rank:]
    size, counts, dtype = math.prod(lead), _counts(kept), real_dtype(y.dtype)
    flat = y.reshape(*kept, size)
    whole = kernels.split(flat, kept)
    if whole is not None:
        return _waved(xp, whole, counts, space, size, inverse, lead)
    re, im = flat.real, flat.imag
    whole = xp.empty((*(n for k in counts for n in (2, k)), size), dtype)
    for axis in range(rank - 1):
        # the transpose of what `_modes` does: the sum of both signs, and i times their difference
        rows, signs = (slice(None),) * (2 * axis), kept[axis]
        half = signs // 2
        shape = (*re.shape[:2 * axis], 2, counts[axis], *re.shape[2 * axis + 1:])
        new_re, new_im = xp.zeros(shape, dtype), xp.zeros(shape, dtype)
        positive, here = (*rows, slice(half, None)), slice(0, signs - half)
        negative, there = (*rows, slice(0, half)), slice(half, 0, -1)
        for target, source in ((new_re, re), (new_im, im)):
            target[(*rows, 0, here)] = source[positive]
            target[(*rows, 0, there)] += source[negative]
        for target, source, sign in ((new_re, im, -1.0), (new_im, re, 1.0)):
            xp.multiply(source[positive], sign, out=target[(*rows, 1, here)])
            target[(*rows, 1, there)] -= sign * source[negative]
        re, im = new_re, new_im
    before = (slice(None),) * (2 * rank - 2)
    whole[(*before, 0)] = re
    xp.negative(im, out=whole[(*before, 1)])
    return _waved(xp, whole, counts, space, size, inverse, lead)


def _waved(xp: Any, whole: Any, counts: Sizes, space: Sizes, size: int, inverse: bool, lead: Sizes) -> Any:
    """Return functions, (*lead, *space), made of cosines and sines with amplitudes (2, k, 2, k, .., size)."""
    part, place = whole.reshape(-1, size), device.device_of(whole)
    for axis, (n, count) in enumerate(zip(space, counts, strict=True)):
        waves = _waves(n, count, inverse, axis == len(counts) - 1, whole.dtype, place)
        part = multiplied(xp, part.reshape(2 * count, -1).T, waves)         # (everything after, n)
    return part.reshape(*lead, *space)


def _places(xp: Any, kept: Sizes, space: Sizes) -> tuple[Any, ...]:
    """Return the places of the kept frequencies in a half-spectrum, an open grid of indices."""
    rows = [(np.arange(k) - k // 2) % n for k, n in zip(kept[:-1], space[:-1], strict=True)]
    return tuple(xp.asarray(index) for index in np.ix_(*rows, np.arange(kept[-1])))


def _doubled(xp: Any, kept: Sizes, n: int, dtype: Any) -> Any:
    """Return how often frequencies of the last axis, of n samples, stand for two: 1 for 0 and n / 2, else 2."""
    return xp.asarray([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(kept[-1])], dtype=dtype)


def _modes_by_fft(xp: Any, x: Any, kept: Sizes, inverse: bool) -> Any:
    rank = len(kept)
    axes = tuple(range(x.ndim - rank, x.ndim))
    space = x.shape[x.ndim - rank:]
    options = {"workers": config.threads()} if xp is np else {}
    fast = device.scipy_module(xp, "fft").rfftn(x, axes=axes, norm="backward" if inverse else "forward", **options)
    found = fast[(..., *_places(xp, kept, space))]
    if inverse:
        found = xp.conj(found) * _doubled(xp, kept, space[-1], x.dtype)
    return xp.ascontiguousarray(xp.moveaxis(found, axes, tuple(range(rank))))


def _from_modes_by_fft(xp: Any, y: Any, kept: Sizes, space: Sizes, inverse: bool) -> Any:
    rank = len(kept)
    lead = y.shape[rank:]
    last = xp.moveaxis(y, tuple(range(rank)), tuple(range(-rank, 0)))
    if not inverse:
        last = xp.conj(last) / _doubled(xp, kept, space[-1], real_dtype(y.dtype))
    spectrum = xp.zeros((*lead, *space[:-1], space[-1] // 2 + 1), y.dtype)
    spectrum[(..., *_places(xp, kept, space))] = last
    # One axis after the other on a GPU: cuFFT's inverse over several axes takes the symmetry of the spectrum for granted.
    norm, axes = "forward" if inverse else "backward", tuple(range(-rank, 0))
    fft = device.scipy_module(xp, "fft")
    if xp is np:
        return fft.irfftn(spectrum, s=space, axes=axes, norm=norm, workers=config.threads())
    spectrum = fft.ifftn(spectrum, axes=axes[:-1], norm=norm) if rank > 1 else spectrum
    return fft.irfft(with_real_ends(spectrum, space[-1], -1), n=space[-1], axis=-1, norm=norm)


def _batched_modes(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """The examples are one more axis before those of space; it comes out after the frequencies."""
    out, rank = op(inputs[0], **params), len(params["kept"])
    return permute_dims(out, (rank, *(i for i in range(out.ndim) if i != rank)))


def _batched_from_modes(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    y, rank = inputs[0], len(params["kept"])
    return op(permute_dims(y, (*range(1, rank + 1), 0, *range(rank + 1, y.ndim))), **params)


# Each is the transpose of the other, as the pairing Re(sum(w * z)) has it: the same waves, summed over space or over frequencies.
_to_modes = linear(
    "fourier_modes", _modes, lambda g, x, kept, inverse: _of_modes(g, kept=kept, space=x.shape[x.ndim - len(kept):], inverse=inverse),
    batch=_batched_modes,
)
_of_modes = linear(
    "from_fourier_modes", _from_modes, lambda g, y, kept, space, inverse: _to_modes(g, kept=kept, inverse=inverse),
    batch=_batched_from_modes,
)


def _pull_modes(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any]:
    kept = params["kept"]
    space = inputs[0].data.shape[inputs[0].data.ndim - len(kept):]
    return [_of_modes.forward(device.namespace(g), g, kept=kept, space=space, inverse=params["inverse"])]


def _pull_functions(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any]:
    return [_to_modes.forward(device.namespace(g), g, kept=params["kept"], inverse=params["inverse"])]


# The same on arrays, without Tensors.
_to_modes.pull, _to_modes.everywhere = _pull_modes, True
_of_modes.pull, _of_modes.everywhere = _pull_functions, True


def _as_sizes(value: Any, name: str, what: str) -> Sizes:
    given: Any = value if type(value) in (tuple, list) else (value,)
    try:
        sizes = tuple(operator.index(n) for n in given)
    except TypeError as error:
        raise InputError(f"{name}: {what}={value!r} must be an integer, or one for each axis of space") from error
    if not sizes or min(sizes) < 1:
        raise InputError(f"{name}: {what}={value!r} must be 1 or more, for one axis of space or more")
    return sizes


def _refuse_beyond(modes: Sizes, space: Sizes, name: str) -> None:
    for axis, (m, n) in enumerate(zip(modes, space, strict=True)):
        if m > n:
            raise ShapeError(f"{name}: {m} modes along axis {axis} of space, of {n} samples, shape {space}; at most {n} can be told apart: "
                             "use fewer modes or a finer grid")


def fourier_modes(x: Any, modes: Any) -> Tensor:
    """Return Fourier coefficients of low frequencies of real functions: means of x[j] exp(-2 pi i j k / n) over the last axes.

    x: real, (..., *space).
    modes: how many frequencies m to keep along each axis of space, an integer for one axis: k = -(m // 2), ..., m - m // 2 - 1, and along
        the last one k = 0, ..., m // 2.
    Returns: complex, (*kept, ...): frequencies first, in rising order; kept is m, along the last axis m // 2 + 1.
    Raises: ShapeError for more modes than samples, or than x has axes; DtypeError for a complex x.

    >>> fourier_modes([1.0, 0.0, -1.0, 0.0], 2)
    Tensor (2,) complex64, cpu: [0. +0.j 0.5+0.j]
    """
    x, counts = as_tensor(x), _as_sizes(modes, "fourier_modes(x, modes)", "modes")
    if is_complex(x.dtype):
        raise DtypeError(f"fourier_modes(x): x is {x.dtype}; it must be real: transform its real and imaginary parts apart, or use fft")
    if x.ndim < len(counts):
        raise ShapeError(f"fourier_modes(x, modes={modes}): x has shape {x.shape}; it must have {len(counts)} axes of space or more")
    x = astype(x, FLOAT) if not is_floating(x.dtype) or x.dtype.itemsize == 2 else x
    kept = (*counts[:-1], counts[-1] // 2 + 1)
    _refuse_beyond(counts, x.shape[x.ndim - len(kept):], "fourier_modes(x, modes)")
    return _to_modes(x, kept=kept, inverse=False)


def from_fourier_modes(y: Any, space: Any) -> Tensor:
    """Return the real functions that have given Fourier coefficients and no others, on any grid: the inverse of `fourier_modes`.

    y: complex, (*kept, ...), as `fourier_modes` returns them.  space: samples along each axis of space; an integer for one axis.
    Returns: real, (..., *space): the sum of y[k] exp(2 pi i j k / n) over frequencies k and those left out because they are conjugates.
        As with `irfftn`, where a frequency is its own opposite along the last axis (0 and n / 2) the real part of the sum counts.
    Raises: ShapeError if the grid is too coarse for the frequencies, or y has too few axes; DtypeError for a real y.

    >>> from_fourier_modes(fourier_modes([1.0, 0.0, -1.0, 0.0], 2), 8)[:3]
    Tensor (3,) float32, cpu: [1.       0.707107 0.      ]
    """
    y, sizes = as_tensor(y), _as_sizes(space, "from_fourier_modes(y, space)", "space")
    if not is_complex(y.dtype):
        raise DtypeError(f"from_fourier_modes(y): y is {y.dtype}; it must be complex, as fourier_modes returns it")
    if y.ndim < len(sizes):
        raise ShapeError(f"from_fourier_modes(y, space={space}): y has shape {y.shape}; it must have {len(sizes)} axes of frequency")
    kept = y.shape[:len(sizes)]
    _refuse_beyond((*kept[:-1], 2 * kept[-1] - 2), sizes, "from_fourier_modes(y, space)")
    return _of_modes(y, kept=kept, space=sizes, inverse=True)
