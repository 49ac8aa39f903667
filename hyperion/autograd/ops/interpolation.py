"""Values between samples: resizing grids, sampling at given places, and moving pixels between channels and space.

Resizing is the same along one axis after the other: a weighted sum of a few samples (`resample` in ops/stencils.py), linear, and its
transpose gathers as well.
"""

import itertools
import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex, is_floating, is_inexact
from hyperion.autograd.ops.arithmetic import abs, clip, multiply, subtract
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.convolution import as_ints, channels_last, from_inside, to_inside
from hyperion.autograd.ops.elementary import floor, round
from hyperion.autograd.ops.gathering import take_along_axis
from hyperion.autograd.ops.shaping import astype, expand_dims, permute_dims, reshape
from hyperion.autograd.ops.stencils import TABLES, Table, resample
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError, nearest

__all__ = ["channel_shuffle", "grid_sample", "interpolate", "pixel_shuffle", "pixel_unshuffle"]

CUBIC = -0.75       # slope of the cubic kernel, as PyTorch and OpenCV have it. Source: Keys 1981, eq. 4, who prefers -0.5


def _sources(n: int, count: int, step: float, align_corners: bool) -> Any:
    """Return where the samples of the result lie, in samples of the input."""
    i = np.arange(count)
    if align_corners:
        return i * ((n - 1) / (count - 1) if count > 1 else 0.0)
    return (i + 0.5) * step - 0.5


def _nearest(n: int, count: int, step: float, exact: bool) -> Table:
    at = np.floor((np.arange(count) + (0.5 if exact else 0.0)) * step + 1e-9)       # a whole number is not to fall short of itself
    return np.clip(at, 0, n - 1).astype(np.int64)[:, None], np.ones((count, 1))


def _linear(n: int, count: int, step: float, align_corners: bool) -> Table:
    at = np.clip(_sources(n, count, step, align_corners), 0.0, n - 1.0)
    first = np.minimum(np.floor(at).astype(np.int64), max(n - 2, 0))
    part = at - first
    return np.stack([first, np.minimum(first + 1, n - 1)], axis=1), np.stack([1.0 - part, part], axis=1)


def _cubic_weights(part: Any) -> list[Any]:
    """Return the weights of the four samples around a place, a fraction behind the second of them: arrays or Tensors."""
    near, far = part, 1.0 - part
    outer = [CUBIC * (((t + 1.0) - 5.0) * (t + 1.0) + 8.0) * (t + 1.0) - 4.0 * CUBIC for t in (near, far)]
    inner = [((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0 for t in (near, far)]
    return [outer[0], inner[0], inner[1], outer[1]]


def _cubic(n: int, count: int, step: float, align_corners: bool) -> Table:
    at = _sources(n, count, step, align_corners)
    first = np.floor(at)
    index = np.clip(first[:, None] + np.arange(-1, 3), 0, n - 1).astype(np.int64)
    return index, np.stack(_cubic_weights(at - first), axis=1)


TABLES["nearest"] = _nearest
TABLES["linear"] = _linear
TABLES["cubic"] = _cubic

# Modes by the number of axes they are for (None: any), and the rule along each axis.
MODES = {
    "nearest": (None, "nearest"), "nearest-exact": (None, "nearest"), "area": (None, "adaptive"), "linear": (1, "linear"),
    "bilinear": (2, "linear"), "trilinear": (3, "linear"), "bicubic": (2, "cubic"),
}


def _rule(mode: str, n: int, count: int, scale: float | None, align_corners: bool) -> tuple[Any, ...]:
    kind = MODES[mode][1]
    if kind == "adaptive":
        return (kind, count)
    step = n / count if scale is None else 1.0 / scale
    return (kind, count, step, mode == "nearest-exact" if kind == "nearest" else align_corners)


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False, layout: str | None = None,
) -> Tensor:
    """Return x resized along its axes of space.

    x: floating, (batch, channels, *space), or with a layout such as "NHWC" channels last.
    size: of the result, an integer or one per axis.  scale_factor: instead of it, floor(n * factor) along each axis.
    mode: "nearest" (the sample at floor(i n / m)), "nearest-exact" (at the nearest centre), "linear", "bilinear" or "trilinear" for 1, 2
        or 3 axes of space, "bicubic" (Keys's kernel with a = -0.75), "area" (means, as `adaptive_avg_pool2d`).
    align_corners: the first and last samples stay where they are; otherwise the outer edges of the cells do.
    Raises: InputError for an unknown mode, or unless one of size and scale_factor is given; ShapeError for another number of axes.

    >>> interpolate([[[1.0, 2.0]]], size=4, mode="linear")[0, 0]
    Tensor (4,) float32, cpu: [1.   1.25 1.75 2.  ]
    """
    x = as_tensor(x)
    if not is_inexact(x.dtype):
        raise DtypeError(f"interpolate: x is {x.dtype}; it must be floating or complex: use .astype('float32')")
    rank = x.ndim - 2
    if rank < 1:
        raise ShapeError(f"interpolate: x has shape {x.shape}; it must be (batch, channels, *space), with one axis of space or more")
    if type(mode) is not str or mode not in MODES:
        raise InputError(f"interpolate: mode={mode!r} is unknown; {nearest(str(mode), MODES)}")
    fits = MODES[mode][0]
    if fits not in (None, rank):
        raise ShapeError(f"interpolate: mode={mode!r} is for {fits} axes of space, and x, shape {x.shape}, has {rank}")
    if align_corners and MODES[mode][1] not in ("linear", "cubic"):
        raise InputError(f"interpolate: align_corners has no meaning for mode={mode!r}; leave it out")
    if (size is None) == (scale_factor is None):
        raise InputError(f"interpolate: give either size or scale_factor; got size={size}, scale_factor={scale_factor}")
    last = channels_last(layout, rank, "interpolate")
    x, _ = to_inside(x, rank, last, "interpolate")
    if 0 in x.shape[2:]:
        raise ShapeError(f"interpolate: x has shape {x.shape}; its axes of space must not be empty")
    scales = _as_factors(scale_factor, rank)
    sizes = tuple(math.floor(n * (s or 1.0)) for n, s in zip(x.shape[2:], scales, strict=True))
    counts = as_ints(sizes if size is None else size, rank, "interpolate", "size", 1)
    for i, (count, scale) in enumerate(zip(counts, scales, strict=True)):
        x = resample(x, 2 + i, _rule(mode, x.shape[2 + i], count, scale, align_corners))
    return from_inside(x, last, False)


def _as_factors(scale_factor: Any, rank: int) -> tuple[float | None, ...]:
    if scale_factor is None:
        return (None,) * rank
    given: Any = tuple(scale_factor) if type(scale_factor) in (list, tuple) else (scale_factor,) * rank
    if len(given) != rank or not all(type(s) in (int, float) and 0.0 < s < math.inf for s in given):
        raise InputError(f"interpolate: scale_factor={scale_factor!r} must be a number above 0, or one for each of the {rank} axes")
    return tuple(float(s) for s in given)


# Sampling at given places

def _reflect(at: Tensor, low: float, span: float) -> Tensor:
    """Return places reflected at low and low + span, as often as it takes to come between them."""
    if span == 0.0:
        return multiply(at, 0.0)
    away = abs(subtract(at, low))
    turns = floor(away / span)
    rest = away - span * turns
    return where(turns - 2.0 * floor(turns / 2.0) == 1.0, span - rest, rest) + low


def _bring_inside(at: Tensor, n: int, padding_mode: str, align_corners: bool) -> Tensor:
    if padding_mode == "reflection":
        at = _reflect(at, 0.0 if align_corners else -0.5, n - 1.0 if align_corners else float(n))
    return at if padding_mode == "zeros" else clip(at, 0.0, n - 1.0)


def _taps(at: Tensor, n: int, mode: str, padding_mode: str, align_corners: bool) -> list[tuple[Tensor, Tensor | None]]:
    """Return what is read along one axis: pairs of whole-numbered places, still outside for zeros, and weights (None: 1)."""
    if mode == "bicubic":
        first = floor(at)
        places = [_bring_inside(first + float(k), n, padding_mode, align_corners) for k in (-1, 0, 1, 2)]
        return list(zip(places, _cubic_weights(at - first), strict=True))
    at = _bring_inside(at, n, padding_mode, align_corners)
    if mode == "nearest":
        return [(round(at), None)]
    first = floor(at)
    part = at - first
    return [(first, 1.0 - part), (first + 1.0, part)]


def grid_sample(x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False) -> Tensor:
    """Return the values of x at given places.

    x: floating, (batch, channels, height, width), or (batch, channels, depth, height, width).
    grid: (batch, *space of the result, 2 or 3): places as (x, y) or (x, y, z), the last axis of x first; -1 and 1 are its ends.
    mode: "bilinear" (linear along each axis), "nearest", or "bicubic" (two axes of space only).
    padding_mode: outside x there are "zeros", its "border", or its "reflection".
    align_corners: -1 and 1 are the centres of the outermost cells; otherwise their outer edges.
    Returns: (batch, channels, *space of the result). Differentiable in x, and between the samples in grid.
    Raises: ShapeError if x and grid do not fit; InputError for an unknown mode; DtypeError unless both are floating.

    >>> import numpy as np
    >>> grid_sample(np.arange(4.0).reshape(1, 1, 2, 2), np.zeros((1, 1, 1, 2)))[0, 0, 0]
    Tensor (1,) float64, cpu: [1.5]
    """
    x, grid = as_tensor(x), as_tensor(grid)
    rank = x.ndim - 2
    choices = ("mode", mode, ("bilinear", "nearest", "bicubic")), ("padding_mode", padding_mode, ("zeros", "border", "reflection"))
    for name, value, known in choices:
        if type(value) is not str or value not in known:
            raise InputError(f"grid_sample: {name}={value!r} is unknown; {nearest(str(value), known)}")
    if not is_inexact(x.dtype) or not is_floating(grid.dtype):
        raise DtypeError(f"grid_sample: x is {x.dtype}, grid is {grid.dtype}; they must be floating: use .astype('float32')")
    if rank not in (2, 3) or grid.ndim != x.ndim or grid.shape[-1] != rank or grid.shape[0] != x.shape[0] or 0 in x.shape[2:]:
        raise ShapeError(
            f"grid_sample: x has shape {x.shape}, grid {grid.shape}; they must be (batch, channels, *space), with 2 or 3 axes that are not "
            "empty, and (batch, *space of the result, 2 or 3)"
        )
    if mode == "bicubic" and rank != 2:
        raise ShapeError(f"grid_sample: mode='bicubic' is for 2 axes of space, and x, shape {x.shape}, has {rank}; use 'bilinear'")
    batch, channels, *space = x.shape
    places = reshape(grid, (batch, math.prod(grid.shape[1:-1]), rank))
    taps: list[list[tuple[Tensor, Tensor | None]]] = []
    for axis, n in enumerate(space):
        at = places[:, :, rank - 1 - axis]
        at = (at + 1.0) * ((n - 1) / 2.0) if align_corners else (at + 1.0) * (n / 2.0) - 0.5
        taps.append(_taps(at, n, mode, padding_mode, align_corners))
    flat = reshape(x, (batch, channels, math.prod(space)))
    total: Any = None
    for corner in itertools.product(*taps):
        term = _corner(flat, space, corner)
        total = term if total is None else total + term
    return reshape(total, (batch, channels, *grid.shape[1:-1]))


def _corner(flat: Tensor, space: list[int], corner: tuple[tuple[Tensor, Tensor | None], ...]) -> Tensor:
    """Return the values at one combination of taps, times their weights; zero outside."""
    place: Any = 0
    inside: Any = None
    weight: Any = None
    for n, (at, factor) in zip(space, corner, strict=True):
        within = (at >= 0.0) & (at <= n - 1.0)
        place = place * n + astype(clip(where(within, at, 0.0), 0.0, n - 1.0), np.int64)
        inside = within if inside is None else inside & within
        if factor is not None:
            weight = factor if weight is None else weight * factor
    value = take_along_axis(flat, expand_dims(place, 1), axis=2)                # (batch, channels, places)
    weight = where(inside, 1.0 if weight is None else weight, 0.0)
    return value * astype(expand_dims(weight, 1), flat.dtype if not is_complex(flat.dtype) else weight.dtype)


# Pixels and channels

def _factor(factor: Any, name: str) -> int:
    return as_ints(factor, 1, name, "factor", 1)[0]


def pixel_shuffle(x: Any, factor: int) -> Tensor:
    """Return x with its channels spread over a grid that is `factor` times finer along both axes.

    x: (..., channels * factor^2, height, width).  Returns: (..., channels, height * factor, width * factor).
    Raises: ShapeError if the channels are no multiple of factor^2; InputError for a factor below 1.

    >>> import numpy as np
    >>> pixel_shuffle(np.ones((1, 8, 2, 3)), 2).shape
    (1, 2, 4, 6)
    """
    x, r = as_tensor(x), _factor(factor, "pixel_shuffle")
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle: x has shape {x.shape}; it must be (..., channels * {r * r}, height, width) for factor={r}")
    *lead, channels, height, width = x.shape
    k = len(lead)
    x = reshape(x, (*lead, channels // (r * r), r, r, height, width))
    x = permute_dims(x, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(x, (*lead, channels // (r * r), height * r, width * r))


def pixel_unshuffle(x: Any, factor: int) -> Tensor:
    """Return the inverse of `pixel_shuffle`: each block of factor x factor pixels becomes as many channels.

    Raises: ShapeError if height or width is no multiple of factor; InputError for a factor below 1.

    >>> import numpy as np
    >>> pixel_unshuffle(np.ones((1, 2, 4, 6)), 2).shape
    (1, 8, 2, 3)
    """
    x, r = as_tensor(x), _factor(factor, "pixel_unshuffle")
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ShapeError(f"pixel_unshuffle: x has shape {x.shape}; it must be (..., channels, height, width), both multiples of {r}")
    *lead, channels, height, width = x.shape
    k = len(lead)
    x = reshape(x, (*lead, channels, height // r, r, width // r, r))
    x = permute_dims(x, (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(x, (*lead, channels * r * r, height // r, width // r))


def channel_shuffle(x: Any, groups: int) -> Tensor:
    """Return x with its channels, seen as (groups, channels / groups), in the order of the transpose of that.

    x: (batch, channels, *space).
    Raises: ShapeError if groups does not divide the channels; InputError for groups below 1.

    >>> channel_shuffle([[[0.0], [1.0], [2.0], [3.0]]], 2)[0, :, 0]
    Tensor (4,) float32, cpu: [0. 2. 1. 3.]
    """
    x, count = as_tensor(x), as_ints(groups, 1, "channel_shuffle", "groups", 1)[0]
    if x.ndim < 2 or x.shape[1] % count:
        raise ShapeError(f"channel_shuffle: x has shape {x.shape}; it must be (batch, channels, *space), channels a multiple of {count}")
    batch, channels, *space = x.shape
    parted = permute_dims(reshape(x, (batch, count, channels // count, *space)), (0, 2, 1, *range(3, 3 + len(space))))
    return reshape(parted, x.shape)
