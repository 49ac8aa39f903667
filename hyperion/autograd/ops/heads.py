"""What goes with attention: numbers parted into heads and joined again, and rotary positions.

Heads are views of the rows they come from; joining copies where they do not lie so already.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes, over_leading
from hyperion.autograd.ops.shaping import sum_to
from hyperion.autograd.table import bilinear, general, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.cpu.pool import ARRAYS
from hyperion.errors import ShapeError
from hyperion.gpu import device

__all__ = ["join_heads", "rotate_pairs", "split_heads"]

POOLED = 1 << 18        # [bytes] from which fresh memory costs more than copying


def _split_forward(xp: Any, x: Any, counts: tuple[int, ...], size: int) -> tuple[Any, ...]:
    parted = x.reshape(*x.shape[:-1], x.shape[-1] // size, size).swapaxes(-2, -3)          # (..., heads, tokens, size)
    places = [sum(counts[:i]) for i in range(len(counts) + 1)]
    return tuple([parted[..., low:high, :, :] for low, high in itertools.pairwise(places)])


def _join_forward(xp: Any, *parts: Any) -> Any:
    first = parts[0]
    if len(parts) == 1:         # no copy if tokens already lie one after another, as attention leaves them on a GPU
        out = first.swapaxes(-2, -3)
        return out.reshape(*out.shape[:-2], out.shape[-2] * out.shape[-1])
    if xp is not np and (whole := _together(xp, parts)) is not None:
        return whole
    heads = sum([x.shape[-3] for x in parts])
    shape = (*first.shape[:-3], first.shape[-2], heads, first.shape[-1])
    large = xp is np and math.prod(shape) * first.dtype.itemsize >= POOLED
    out = ARRAYS.empty(shape, first.dtype)[0] if large else xp.empty(shape, dtype=first.dtype)
    low = 0
    for x in parts:
        out[..., low:low + x.shape[-3], :] = x.swapaxes(-2, -3)
        low += x.shape[-3]
    return out.reshape(*out.shape[:-2], heads * first.shape[-1])


def _together(xp: Any, parts: Sequence[Any]) -> Any:
    """Return the array of rows of heads of which arrays on a GPU are the parts, all of them and in order; None if there is none."""
    first, roots = parts[0], list(parts)
    for i, x in enumerate(parts):
        while roots[i].base is not None:
            roots[i] = roots[i].base
        if roots[i] is not roots[0] or x.dtype != first.dtype or x.shape[:-3] != first.shape[:-3] or x.shape[-2:] != first.shape[-2:]:
            return None
    width, root = sum([x.shape[-3] for x in parts]) * first.shape[-1], roots[0]
    shape = (*first.shape[:-3], first.shape[-2], width)
    if root.size != math.prod(shape) or root.dtype != first.dtype or not root.flags.c_contiguous:
        return None
    whole, place = root.reshape(shape), first.data.ptr
    for x in parts:         # within the root and as long as it, so they begin where it does
        if x.data.ptr != place or x.swapaxes(-2, -3).strides != (*whole.strides[:-1], first.shape[-1] * first.itemsize, first.itemsize):
            return None
        place += x.shape[-3] * first.shape[-1] * first.itemsize
    return xp.asarray(whole)


def _split_vjp(g: Sequence[Tensor | None], out: Sequence[Tensor], x: Tensor, counts: tuple[int, ...], size: int) -> tuple[Tensor]:
    return (_join(*[_zeros(part) if c is None else c for c, part in zip(g, out, strict=True)]),)


def _zeros(x: Tensor) -> Tensor:
    return Tensor(device.namespace(x.data).zeros(x.shape, dtype=x.dtype))


def _split_jvp(tangents: list[Tensor], out: Sequence[Tensor], x: Tensor, counts: tuple[int, ...], size: int) -> Any:
    return _split(tangents[0], counts=counts, size=size)


def _join_back(g: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    return _split(g, counts=tuple([x.shape[-3] for x in parts]), size=parts[0].shape[-1])


_split = general(
    "split_heads", _split_forward, _split_vjp, _split_jvp, outputs=None, batch=by_axes(),
    doc="Return x, (..., tokens, heads * size), as parts (..., count, tokens, size), one for each of counts.",
)
_join = linear(
    "join_heads", _join_forward, _join_back, promotes=True, batch=by_axes(),
    doc="Return parts (..., count, tokens, size) as (..., tokens, heads * size): the transpose of split_heads.",
)


def _rotate_forward(xp: Any, x: Any, turns: Any, back: bool) -> Any:
    half = x.shape[-1] // 2
    first, second, cos, sin = x[..., :half], x[..., half:], turns[..., :half], turns[..., half:]
    sin = -sin if back else sin
    left = first * cos
    out = xp.empty((*left.shape[:-1], 2 * half), dtype=left.dtype)
    out[..., :half] = left - second * sin
    out[..., half:] = second * cos + first * sin
    return out


def _of_turns(g: Tensor, x: Tensor, turns: Tensor, back: bool) -> Tensor:
    return sum_to(_rotate(x, g, back=True) if back else _rotate(g, x, back=True), turns.shape)


# The pairs (x[i], x[i + half]) as complex numbers times the conjugate or not of those in turns: a product, and its own transpose but for
# the conjugate.
_rotate = bilinear(
    "rotate_pairs", _rotate_forward, lambda g, x, turns, back: sum_to(_rotate(g, turns, back=not back), x.shape), _of_turns,
    batch=over_leading(1, 1), doc="Return the pairs (x[i], x[i + half]) times cos + i sin, which are the two halves of turns.",
)


def split_heads(x: Any, counts: Sequence[int], size: int) -> tuple[Tensor, ...]:
    """Return the heads in the last axis of x as several parts: those of queries, keys and values, for example.

    x: (..., tokens, heads * size).  counts: heads of each part.
    Returns: Tensors (..., count, tokens, size), one for each count.
    Raises: ShapeError unless the counts times the size make the last axis.

    >>> from hyperion.autograd import ones
    >>> [part.shape for part in split_heads(ones((2, 5, 12)), (4, 1, 1), 2)]
    [(2, 4, 5, 2), (2, 1, 5, 2), (2, 1, 5, 2)]
    """
    x = as_tensor(x)
    if x.ndim < 2 or sum(counts) * size != x.shape[-1]:
        raise ShapeError(f"split_heads(x, {tuple(counts)}, {size}): x has shape {x.shape}; its last axis must be {sum(counts)} * {size}")
    return _split(x, counts=tuple(counts), size=size)


def join_heads(*parts: Any) -> Tensor:
    """Return heads (..., count, tokens, size) as one row for each token, (..., tokens, heads * size): the reverse of `split_heads`.

    >>> from hyperion.autograd import ones
    >>> join_heads(ones((2, 4, 5, 2))).shape
    (2, 5, 8)
    """
    given = [as_tensor(x) for x in parts]
    if not given or any(x.ndim < 3 for x in given):
        raise ShapeError(f"join_heads(parts): shapes {', '.join(str(x.shape) for x in given)}; each must be (..., heads, tokens, size)")
    return _join(*given)


def rotate_pairs(x: Any, turns: Any) -> Tensor:
    """Return x with the pairs (x[i], x[i + half]) of its last axis turned by angles.

    turns: cosines, then sines of the angles; broadcasts to x, (..., size).
    Raises: ShapeError if the last axis of x is odd, or that of turns differs.
    Source: Su et al. 2021, arXiv:2104.09864, eq. 34, with the pairs as Llama has them.

    >>> rotate_pairs([1.0, 0.0], [0.0, 1.0])
    Tensor (2,) float32, cpu: [0. 1.]
    """
    x, turns = as_tensor(x), as_tensor(turns)
    if not x.ndim or x.shape[-1] % 2 or turns.shape[-1:] != x.shape[-1:]:
        raise ShapeError(f"rotate_pairs(x, turns): x has shape {x.shape}, turns {turns.shape}; the last axes must be even and agree")
    return _rotate(x, turns, back=False)
