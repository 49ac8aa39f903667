"""Python side of `kernels/rows.c`: softmax, normalisations, cross-entropy and activations over contiguous rows, forward and backward.

Each function takes NumPy arrays and returns new ones, or None where NumPy should serve: for an array of fewer than THRESHOLD elements
(there a call costs as much as the work, and nothing is compiled), of another dtype than float32 and float64, with gaps, or without a
compiler. The kernels are compiled at the first call that is large enough (a second or two, once on a machine) and kept on disk.
"""

import ctypes
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import config
from hyperion.errors import CompilerError, SpeedWarning

from .compiler import load
from .pool import ARRAYS

THRESHOLD = 4096        # elements from which the kernels are used
PARALLEL = 1 << 17      # elements from which several threads share them: 50 us of work; to wake a thread takes 10
_POOLED = 1 << 18       # bytes from which an output's memory is used again: below, the C library's allocator does as well
_FOLDER = Path(__file__).parent / "kernels"
_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p
_MAPS = ("exp", "tanh", "erf", "phi", "sigmoid", "gelu", "gelu_tanh", "silu")
_MAPS_BACK = ("gelu_back", "gelu_tanh_back", "silu_back")
_SIZES = (_LONG, _LONG, _LONG)                          # rows, columns, threads
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_MAPS, (_LONG, _LONG, _POINTER, _POINTER)), **dict.fromkeys(_MAPS_BACK, (_LONG, _LONG, *(_POINTER,) * 3)),
    **dict.fromkeys(("softmax", "log_softmax"), (*_SIZES, *(_POINTER,) * 2)),
    **dict.fromkeys(("softmax_back", "log_softmax_back"), (*_SIZES, *(_POINTER,) * 3)),
    "entropy": (*_SIZES, _POINTER, _POINTER, ctypes.c_int64, _POINTER, _POINTER),
    "entropy_back": (*_SIZES, *(_POINTER,) * 5, ctypes.c_int64, _POINTER),
    "norm": (*_SIZES, *(_POINTER,) * 3, ctypes.c_double, *(_POINTER,) * 3), "norm_back": (*_SIZES, *(_POINTER,) * 7),
}
_loaded: dict[Any, "dict[str, Callable[..., Any]] | None"] = {}


def _load(dtype: np.dtype[Any]) -> "dict[str, Callable[..., Any]] | None":
    """Return the compiled functions for a dtype by name; None, and one warning, if they cannot be had."""
    if dtype not in (np.float32, np.float64):
        _loaded[dtype] = None
        return None
    text = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("workers.h", "maths.h", "rows.c"))
    try:
        library = load(text, ("-fopenmp-simd", *(("-DREAL=double", "-DWIDE=1") if dtype == np.float64 else ("-DREAL=float",))))
    except CompilerError as error:
        _loaded.update(dict.fromkeys((np.dtype(np.float32), np.dtype(np.float64))))
        warnings.warn(f"softmax, normalisations and activations run in NumPy, several times slower: {error}", SpeedWarning, stacklevel=4)
        return None
    found: dict[str, Callable[..., Any]] = {}
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, f"native_{name}")
        function.argtypes, function.restype = arguments, None
        found[name] = function
    library.norm_chunks.argtypes, library.norm_chunks.restype = (_LONG, _LONG), _LONG
    found["norm_chunks"] = library.norm_chunks
    _loaded[dtype] = found
    return found


def _kernels(x: Any) -> "dict[str, Callable[..., Any]] | None":
    """Return the functions that serve an array, or None."""
    if type(x) is not np.ndarray or x.size < THRESHOLD or not x.size or not x.flags.c_contiguous:
        return None
    dtype = x.dtype
    return _loaded[dtype] if dtype in _loaded else _load(dtype)


def _address(x: Any) -> int:
    """Return where the elements of an array lie; by the quicker way if it may be written to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(x)) if x.flags.writeable else x.__array_interface__["data"][0]


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> tuple[Any, int]:
    """Return a new array and where it lies."""
    if size * dtype.itemsize >= _POOLED:
        return ARRAYS.empty(shape, dtype)
    out = np.empty(shape, dtype)
    return out, _address(out)


def _beside(x: Any, like: Any) -> Any:
    """Return an array as a contiguous one of the dtype of another."""
    return x if x.dtype is like.dtype and x.flags.c_contiguous else np.ascontiguousarray(x, like.dtype)


def _threads(size: int) -> int:
    return config.threads() if size >= PARALLEL else 1


# Activations

def apply(name: str, x: Any) -> Any:
    """Return a function of each element: exp, tanh, erf, phi (of the normal distribution), sigmoid, gelu, gelu_tanh or silu; or None.

    Errors: see kernels/maths.h.

    >>> apply("exp", np.zeros(3)) is None
    True
    """
    kernels = _kernels(x)
    if kernels is None:
        return None
    size = x.size
    out, at = _empty(x.shape, x.dtype, size)
    kernels[name](size, _threads(size), _address(x), at)
    return out


def apply_back(name: str, g: Any, x: Any) -> Any:
    """Return g times the derivative of gelu, gelu_tanh or silu at x; or None."""
    kernels = _kernels(x)
    if kernels is None:
        return None
    size, g = x.size, _beside(g, x)
    out, at = _empty(x.shape, x.dtype, size)
    kernels[f"{name}_back"](size, _threads(size), _address(g), _address(x), at)
    return out


# Softmax

def _over_rows(name: str, x: Any) -> Any:
    kernels = _kernels(x)
    if kernels is None:
        return None
    size, columns = x.size, x.shape[-1]
    out, at = _empty(x.shape, x.dtype, size)
    kernels[name](size // columns, columns, _threads(size), _address(x), at)
    return out


def _back_over_rows(name: str, g: Any, y: Any) -> Any:
    kernels = _kernels(y)
    if kernels is None:
        return None
    size, columns, g = y.size, y.shape[-1], _beside(g, y)
    out, at = _empty(y.shape, y.dtype, size)
    kernels[name](size // columns, columns, _threads(size), _address(g), _address(y), at)
    return out


def softmax(x: Any) -> Any:
    """Return exp(x) / sum(exp(x)) along the last axis, or None."""
    return _over_rows("softmax", x)


def softmax_back(g: Any, y: Any) -> Any:
    """Return the cotangent of x, given that of y = softmax(x); or None."""
    return _back_over_rows("softmax_back", g, y)


def log_softmax(x: Any) -> Any:
    """Return x - log(sum(exp(x))) along the last axis, or None."""
    return _over_rows("log_softmax", x)


def log_softmax_back(g: Any, y: Any) -> Any:
    """Return the cotangent of x, given that of y = log_softmax(x); or None."""
    return _back_over_rows("log_softmax_back", g, y)


# Cross-entropy

def cross_entropy(x: Any, classes: Any, ignore: int) -> tuple[Any, Any] | None:
    """Return total - x[class] and total = log(sum(exp(x))) of each row, the first 0 where the class is `ignore`; or None.

    x: rows along the last axis.  classes: integers that were checked: from 0 to x.shape[-1] - 1, or `ignore`.
    """
    kernels = _kernels(x)
    if kernels is None:
        return None
    size, columns, classes = x.size, x.shape[-1], np.ascontiguousarray(classes, np.int64)
    loss, total = np.empty(x.shape[:-1], x.dtype), np.empty(x.shape[:-1], x.dtype)
    kernels["entropy"](size // columns, columns, _threads(size), _address(x), _address(classes), ignore, _address(loss), _address(total))
    return loss, total


def cross_entropy_back(of_loss: Any, of_total: Any, x: Any, total: Any, classes: Any, ignore: int) -> Any:
    """Return the cotangent of x, given those of the outputs of `cross_entropy` (either may be None), total and its arguments; or None."""
    kernels = _kernels(x)
    if kernels is None:
        return None
    size, columns, classes = x.size, x.shape[-1], np.ascontiguousarray(classes, np.int64)
    given = [None if g is None else _beside(g, x) for g in (of_loss, of_total)]
    out, at = _empty(x.shape, x.dtype, size)
    places = [None if g is None else _address(g) for g in given]
    kernels["entropy_back"](
        size // columns, columns, _threads(size), *places, _address(x), _address(_beside(total, x)), _address(classes), ignore, at
    )
    return out


# Normalisation

def norm(x: Any, scale: Sequence[Any], axis: tuple[int, ...], eps: float, centred: bool) -> tuple[Any, Any, Any] | None:
    """Return (x - mean) rstd weight + bias, mean and rstd = 1 / sqrt(mean square + eps), the last two with axes of length 1; or None.

    scale: weight and bias, weight alone, or nothing; of the dtype and the shape of x along `axis`, which must be the last axes.
    centred: False takes 0 for the mean (RMS norm), and None stands in its place.
    """
    kernels = _kernels(x)
    if kernels is None:
        return None
    columns = math.prod(x.shape[x.ndim - len(axis):])
    size, kept = x.size, (*x.shape[:x.ndim - len(axis)], *(1,) * len(axis))
    scale = [_beside(s, x) for s in scale]
    out, at = _empty(x.shape, x.dtype, size)
    mean, rstd = np.empty(kept, x.dtype) if centred else None, np.empty(kept, x.dtype)
    places = [_address(s) for s in scale] + [None] * (2 - len(scale))
    kernels["norm"](
        size // columns, columns, _threads(size), _address(x), *places, eps, at, None if mean is None else _address(mean), _address(rstd)
    )
    return out, mean, rstd


def norm_back(
    g: Any, x: Any, scale: Sequence[Any], mean: Any, rstd: Any, axis: tuple[int, ...], of_scale: bool
) -> tuple[Any, ...] | None:
    """Return the cotangents of x, weight and bias, given that of the first output of `norm`; or None.

    mean: None for the RMS norm.  of_scale: False leaves out those of weight and bias: they are None.
    """
    kernels = _kernels(x)
    if kernels is None:
        return None
    columns = math.prod(x.shape[x.ndim - len(axis):])
    size, g, rstd = x.size, _beside(g, x), _beside(rstd, x)
    mean = None if mean is None else _beside(mean, x)
    weight = _beside(scale[0], x) if scale else None
    sums = np.empty((kernels["norm_chunks"](size // columns, columns), 2, columns), x.dtype) if of_scale and scale else None
    out, at = _empty(x.shape, x.dtype, size)
    places = [None if a is None else _address(a) for a in (weight, mean, rstd)]
    kernels["norm_back"](
        size // columns, columns, _threads(size), _address(g), _address(x), *places, at, None if sums is None else _address(sums)
    )
    cotangents = [None if sums is None else sums[0, k].reshape(s.shape).copy() for k, s in enumerate(scale)]
    return (out, *cotangents)


# What the kernels are tested against: `variants[name](*arguments)` must agree with `reference[name](*arguments)` for all `cases`.

def _reference_norm(x: Any, scale: Sequence[Any], axis: tuple[int, ...], eps: float, centred: bool) -> tuple[Any, Any, Any]:
    mean = x.mean(axis=axis, keepdims=True) if centred else None
    moved = x - mean if centred else x
    rstd = 1 / np.sqrt((moved * moved).mean(axis=axis, keepdims=True) + eps)
    return moved * rstd * (scale[0] if scale else 1) + (scale[1] if len(scale) > 1 else 0), mean, rstd


def _reference_norm_back(
    g: Any, x: Any, scale: Sequence[Any], mean: Any, rstd: Any, axis: tuple[int, ...], of_scale: bool
) -> tuple[Any, ...]:
    standard = (x if mean is None else x - mean) * rstd
    h = g * scale[0] if scale else g
    push = 0 if mean is None else h.mean(axis=axis, keepdims=True)
    lead = tuple(range(x.ndim - len(axis)))
    sums = [(term.sum(axis=lead) if of_scale else None) for term in (g * standard, g)][:len(scale)]
    return (h - push - standard * (h * standard).mean(axis=axis, keepdims=True)) * rstd, *sums


def _reference_softmax(x: Any) -> Any:
    top = x.max(axis=-1, keepdims=True)
    powers = np.exp(x - np.where(np.isfinite(top), top, 0))
    return powers / powers.sum(axis=-1, keepdims=True)


def _reference_total(x: Any) -> Any:
    top = x.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top).sum(axis=-1, keepdims=True)) + top


def _reference_entropy(x: Any, classes: Any, ignore: int) -> tuple[Any, Any]:
    total = _reference_total(x)[..., 0]
    counts = classes != ignore
    picked = np.take_along_axis(x, np.where(counts, classes, 0)[..., None], -1)[..., 0]
    return np.where(counts, total - picked, 0), total


def _reference_entropy_back(of_loss: Any, of_total: Any, x: Any, total: Any, classes: Any, ignore: int) -> Any:
    counts = classes != ignore
    hits = (np.arange(x.shape[-1]) == classes[..., None]) & counts[..., None]
    portions = np.exp(x - total[..., None])
    back = 0 if of_loss is None else np.where(counts, of_loss, 0)[..., None] * (portions - hits)
    return back if of_total is None else back + of_total[..., None] * portions


def _bell(x: Any) -> Any:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _erfc(x: Any) -> Any:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def _phi(x: Any) -> Any:
    return _erfc(-x / math.sqrt(2)) / 2


def _sigmoid(x: Any) -> Any:
    return np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))


def _gelu_argument(x: Any) -> Any:
    return math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)


def _gelu_tanh_slope(x: Any) -> Any:
    s = _sigmoid(_gelu_argument(x))
    return s + x * s * (1 - s) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)


reference: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "tanh": np.tanh, "erf": lambda x: np.vectorize(math.erf, otypes=[np.float64])(x), "phi": _phi, "sigmoid": _sigmoid,
    "gelu": lambda x: x * _phi(x), "gelu_tanh": lambda x: x * _sigmoid(_gelu_argument(x)), "silu": lambda x: x * _sigmoid(x),
    "gelu_back": lambda g, x: g * (_phi(x) + x * _bell(x)), "gelu_tanh_back": lambda g, x: g * _gelu_tanh_slope(x),
    "silu_back": lambda g, x: g * (_sigmoid(x) + x * _sigmoid(x) * (1 - _sigmoid(x))),
    "softmax": _reference_softmax, "softmax_back": lambda g, y: y * (g - (g * y).sum(axis=-1, keepdims=True)),
    "log_softmax": lambda x: x - _reference_total(x),
    "log_softmax_back": lambda g, y: g - np.exp(y) * g.sum(axis=-1, keepdims=True),
    "cross_entropy": _reference_entropy, "cross_entropy_back": _reference_entropy_back,
    "norm": _reference_norm, "norm_back": _reference_norm_back,
}


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    return lambda *arrays: function(name, *arrays)


variants: dict[str, Callable[..., Any]] = {
    **{name: _named(apply, name) for name in _MAPS}, **{name: _named(apply_back, name.removesuffix("_back")) for name in _MAPS_BACK},
    "softmax": softmax, "softmax_back": softmax_back, "log_softmax": log_softmax, "log_softmax_back": log_softmax_back,
    "cross_entropy": cross_entropy, "cross_entropy_back": cross_entropy_back, "norm": norm, "norm_back": norm_back,
}
SHAPES = ((1, 1), (1, 7), (5, 1), (3, 16), (7, 33), (2, 3, 100), (70, 1000), (300, 257), (2, 70001))


def cases(name: str, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a kernel: over odd sizes, one row, one column, rows that threads share, and large logits."""
    random = np.random.default_rng(20260101)
    for shape in SHAPES:
        x, g = random.normal(size=shape).astype(dtype) * 3, random.normal(size=shape).astype(dtype)
        rows, axis = shape[:-1], (len(shape) - 1,)
        if name in _MAPS:
            yield (x,)
            yield (np.clip(x * 10, -80, 80),)
        elif name in _MAPS_BACK:
            yield g, x
        elif name in ("softmax", "log_softmax"):
            yield (x,)
            yield (x * 1e4,)
        elif name in ("softmax_back", "log_softmax_back"):
            yield g, reference[name.removesuffix("_back")](x).astype(dtype)
        elif name.startswith("cross_entropy"):
            classes = random.integers(0, shape[-1], rows)
            classes[..., 0] = -100
            if name == "cross_entropy":
                yield x, classes, -100
                yield x * 1e4, classes, -100
                continue
            total, weight = reference["cross_entropy"](x, classes, -100)[1].astype(dtype), random.normal(size=rows).astype(dtype)
            yield weight, None, x, total, classes, -100
            yield None, weight, x, total, classes, -100
            yield weight, weight[..., ::-1], x, total, classes, -100
        else:
            weights = [random.normal(size=shape[-1:]).astype(dtype) for _ in range(2)]
            for scale, centred in ((weights, True), (weights[:1], True), ([], True), (weights[:1], False), ([], False)):
                moved = x + 5 * centred
                if name == "norm":
                    yield moved, scale, axis, 0.1, centred
                    continue
                _, mean, rstd = _reference_norm(moved, scale, axis, 0.1, centred)
                yield g, moved, scale, mean, rstd, axis, True
                yield g, moved, scale, mean, rstd, axis, False
