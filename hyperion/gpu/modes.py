"""Python side of `kernels/modes.cu`: Fourier coefficients from products with cosines and sines, and the transpose, of CuPy arrays."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .launching import MOST, THREADS, cupy, launch, on_gpu

__all__ = ["combine", "split"]

Sizes = tuple[int, ...]


def _counts(kept: Sizes) -> Sizes:
    return (*(k // 2 + 1 for k in kept[:-1]), kept[-1])


def _fit(x: Any, kept: Sizes) -> bool:
    return on_gpu(x) and x.dtype.char in "fdFD" and 1 <= len(kept) <= 3 and x.flags.c_contiguous and 0 < x.size < 1 << 31


def _launch(name: str, like: Any, arrays: tuple[Any, Any], kept: Sizes, size: int, blocks: int) -> None:
    sizes = [np.int32(n) for n in (*kept, *(1,) * (3 - len(kept)), size)]
    launch("modes", name, like, (-(-size // THREADS), min(blocks, MOST)), (*arrays, *sizes), RANK=len(kept))


def combine(part: Any, kept: Sizes) -> Any:
    """Return coefficients, complex (*kept, size), of the frequencies of which `part` has the products with cosines and sines; or None.

    part: real, with an axis of 2 (cosine, sine) and one of frequencies from 0 on for each axis of space, and a last one of any size.
    kept: numbers of frequencies; those of the axes before the last begin at -(kept // 2).
    """
    if not _fit(part, kept):
        return None
    size = part.shape[-1]
    out = cupy().empty((*kept, size), np.complex64 if part.dtype.char == "f" else np.complex128)
    _launch("combine", part, (part, out), kept, size, math.prod(kept))
    return out


def split(y: Any, kept: Sizes) -> Any:
    """Return the transpose of `combine` applied to complex coefficients, (*kept, size), in the sense of Re(sum(w z)); or None."""
    if not _fit(y, kept) or y.dtype.char not in "FD":
        return None
    size = y.shape[-1]
    shape = tuple(n for k in _counts(kept) for n in (2, k))
    out = cupy().empty((*shape, size), np.float32 if y.dtype.char == "F" else np.float64)
    _launch("split", out, (y, out), kept, size, math.prod(shape))
    return out


# What the kernels are tested against: `variants[name](*arguments)` must agree with `reference[name](*arguments)` for all `cases`.

def _terms(kept: Sizes) -> Iterator[tuple[Sizes, Sizes, complex]]:
    """Yield (place in out, place in part, factor): out is the sum of factor * part."""
    for f in itertools.product(*(range(k) for k in kept)):
        waves = [j if axis == len(kept) - 1 else j - kept[axis] // 2 for axis, j in enumerate(f)]
        for sines in itertools.product((0, 1), repeat=len(kept)):
            both = list(zip(sines, waves, strict=True))
            yield f, tuple(n for s, k in both for n in (s, abs(k))), math.prod((-1j if k < 0 else 1j) if s else 1 for s, k in both)


def _combine(part: Any, kept: Sizes) -> Any:
    out = np.zeros((*kept, part.shape[-1]), np.result_type(part.dtype, np.complex64))
    for f, place, factor in _terms(kept):
        out[f] += factor * part[place]
    return out


def _split(y: Any, kept: Sizes) -> Any:
    out = np.zeros((*(n for k in _counts(kept) for n in (2, k)), y.shape[-1]), y.real.dtype)
    for f, place, factor in _terms(kept):
        out[place] += (factor * y[f]).real
    return out


reference: dict[str, Callable[..., Any]] = {"combine": _combine, "split": _split}
variants: dict[str, Callable[..., Any]] = {"combine": combine, "split": split}


def cases(name: str, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a kernel, NumPy arrays: even and odd numbers of frequencies along one to three axes."""
    random = np.random.default_rng(20260101)
    for kept in ((1,), (5,), (1, 1), (4, 3), (5, 3), (2, 4, 3), (3, 1, 2)):
        for size in (1, 300):
            shape = (*kept, size) if name == "split" else (*(n for k in _counts(kept) for n in (2, k)), size)
            x, y = random.normal(size=shape), random.normal(size=shape)
            yield (x + 1j * y).astype(np.result_type(dtype, np.complex64)) if name == "split" else x.astype(dtype), kept
