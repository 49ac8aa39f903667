"""What a mask lets be seen, as kernels take it: an interval of keys for each query where that can say it, else bits; and block by block.

A kernel goes over blocks of queries and keys: EMPTY ones it never touches, FULL ones need no mask, and in PARTIAL ones it asks the interval
or the bits of each query. Intervals take memory in proportion to the queries; bits take an eighth of a byte for each score.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.masks import FAR, Mask, Tile

__all__ = ["EMPTY", "FULL", "PARTIAL", "Bits", "Intervals", "Visibility", "visibility"]

EMPTY, PARTIAL, FULL = 0, 1, 2
STRIP = 1 << 24         # scores whose bits are made at a time
KEPT = 8                # forms that are remembered: a mask usually serves all layers of a network


class Visibility:
    """Base of the forms. Axes of length 1 at the front: the same for all rows of the batch, or all heads."""

    def __init__(self, xp: Any, queries: int, keys: int) -> None:
        self.xp = xp
        self.queries, self.keys = queries, keys
        self._lists: dict[Any, tuple[Any, Any]] = {}

    def kinds(self, rows: int, columns: int) -> Any:
        """Return EMPTY, PARTIAL or FULL for each block of rows of queries and columns of keys: uint8 (.., .., blocks, blocks).

        A block in which nothing is seen may be called PARTIAL.
        """
        raise NotImplementedError

    def lists(self, rows: int, columns: int, turned: bool = False) -> tuple[Any, Any]:
        """Return the blocks that are not empty, for each block of queries (turned: of keys).

        Returns: their number (.., .., blocks), and 2 * place + (1: PARTIAL), in order, (.., .., blocks, the most there can be); both int32.
        A block that reaches beyond the keys counts as PARTIAL: what a kernel finds there is to be hidden.
        """
        key = rows, columns, turned
        if key not in self._lists:
            xp, kinds = self.xp, self.kinds(rows, columns)
            if self.keys % columns:
                kinds[..., -1] = xp.minimum(kinds[..., -1], PARTIAL)
            kinds = kinds.swapaxes(-1, -2) if turned else kinds
            places = 2 * xp.arange(kinds.shape[-1], dtype=np.int32) + (kinds == PARTIAL)
            found = xp.sort(xp.where(kinds == EMPTY, xp.int32(1 << 30), places.astype(np.int32)), axis=-1)
            counts = (kinds != EMPTY).sum(axis=-1).astype(np.int32)
            self._lists[key] = xp.ascontiguousarray(counts), xp.ascontiguousarray(found)
        return self._lists[key]


class Intervals(Visibility):
    """Query i sees the keys first[i] <= j < last[i]; none where first >= last.

    first, last: int32 (1 | batch, 1 | heads, queries), without gaps, between 0 and the number of keys.
    band: (low, high) where first = i + low and last = i + high, but for the ends of the table; None where it is not so.
    """

    def __init__(self, xp: Any, queries: int, keys: int, ends: tuple[Any, Any] | None, band: tuple[int, int] | None = None) -> None:
        super().__init__(xp, queries, keys)
        self.band = band
        self._ends = ends

    @property
    def first(self) -> Any:
        """Where the keys begin that a query sees."""
        return self._made()[0]

    @property
    def last(self) -> Any:
        """Where they end."""
        return self._made()[1]

    def _made(self) -> tuple[Any, Any]:
        if self._ends is None:
            assert self.band is not None
            places = self.xp.arange(self.queries, dtype=np.int64).reshape(1, 1, -1)
            self._ends = _clean(self.xp, places + self.band[0], places + self.band[1], self.keys)
        return self._ends

    def kinds(self, rows: int, columns: int) -> Any:
        """See `Visibility.kinds`."""
        xp = self.xp
        places = xp.minimum(xp.arange(-(-self.queries // rows) * rows), self.queries - 1)
        nothing = self.first >= self.last
        first, last = xp.where(nothing, xp.int32(self.keys), self.first), xp.where(nothing, xp.int32(0), self.last)
        first, last = (x[..., places].reshape(*x.shape[:2], -1, rows, 1) for x in (first, last))
        begin = xp.arange(0, self.keys, columns)
        end = xp.minimum(begin + columns, self.keys)
        some = (first.min(axis=3) < end) & (last.max(axis=3) > begin)
        whole = (first.max(axis=3) <= begin) & (last.min(axis=3) >= end)
        return some.astype(np.uint8) + whole


class Bits(Visibility):
    """Query i sees key j if bit j % 32 of words[i, j // 32] is set.

    words: uint32 (1 | batch, 1 | heads, queries, words), without gaps; bits beyond the keys are 0.
    """

    def __init__(self, xp: Any, queries: int, keys: int, words: Any) -> None:
        super().__init__(xp, queries, keys)
        self.words = words

    def kinds(self, rows: int, columns: int) -> Any:
        """See `Visibility.kinds`. columns: a multiple of 32."""
        xp = self.xp
        each, lead = columns // 32, self.words.shape[:2]
        blocks, across = -(-self.queries // rows), -(-self.keys // columns)
        left = np.clip(self.keys - 32 * np.arange(self.words.shape[-1], dtype=np.int64), 0, 32)
        full = xp.asarray(((np.uint64(1) << left.astype(np.uint64)) - np.uint64(1)).astype(np.uint32))
        some = xp.zeros((*lead, blocks * rows, across * each), dtype=bool)
        whole = xp.ones((*lead, blocks * rows, across * each), dtype=bool)
        inside = slice(None), slice(None), slice(self.queries), slice(self.words.shape[-1])
        some[inside], whole[inside] = self.words != 0, self.words == full
        shape = (*lead, blocks, rows, across, each)
        some, whole = some.reshape(shape).any(axis=(3, 5)), whole.reshape(shape).all(axis=(3, 5))
        return some.astype(np.uint8) + (some & whole)


def _clean(xp: Any, first: Any, last: Any, keys: int) -> tuple[Any, Any]:
    return tuple([xp.ascontiguousarray(xp.clip(x, 0, keys).astype(np.int32)) for x in xp.broadcast_arrays(first, last)])    # pyright: ignore[reportReturnType]


_kept: OrderedDict[Any, tuple[Sequence[Any], Visibility]] = OrderedDict()


def visibility(xp: Any, mask: Mask | None, arrays: Sequence[Any], batch: int, heads: int, queries: int, keys: int) -> Visibility:
    """Return what a mask lets be seen of a table of scores.

    mask: bare, or None: everything is seen.  arrays: its raw arrays, in order; they must not change afterwards, as those of Tensors do not.

    >>> from hyperion.autograd.masks import Causal
    >>> visibility(np, Causal(), (), 1, 1, 4, 4).kinds(2, 2)[0, 0].tolist()
    [[1, 0], [2, 1]]
    """
    key = xp.__name__, mask, tuple([id(x) for x in arrays]), batch, heads, queries, keys
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key][1]
    form = _form(xp, mask, arrays, batch, heads, queries, keys)
    _kept[key] = tuple(arrays), form            # the arrays too: so no other can take their place in memory
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return form


def _form(xp: Any, mask: Mask | None, arrays: Sequence[Any], batch: int, heads: int, queries: int, keys: int) -> Visibility:
    band = (-FAR, FAR) if mask is None else mask.band(queries, keys)
    if band is not None:
        return Intervals(xp, queries, keys, None, band)
    assert mask is not None
    ends = mask.intervals(xp, iter(arrays), queries, keys)
    if ends is not None:
        return Intervals(xp, queries, keys, _clean(xp, *ends, keys))
    return Bits(xp, queries, keys, _words(xp, mask, arrays, batch, heads, queries, keys))


def _words(xp: Any, mask: Mask, arrays: Sequence[Any], batch: int, heads: int, queries: int, keys: int) -> Any:
    """Return the bits of a mask, made in strips of queries."""
    count = -(-keys // 32)
    lead = mask.visible(xp, iter(arrays), Tile((0, batch), (0, heads), (0, 1), (0, keys), queries, keys))
    lead = (1, 1) if lead is None else lead.shape[:2]
    out = xp.zeros((*lead, queries, count), dtype=np.uint32)
    powers = xp.arange(32, dtype=np.uint32)
    step = max(1, STRIP // max(1, lead[0] * lead[1] * keys))
    for low in range(0, queries, step):
        rows = low, min(low + step, queries)
        seen = mask.visible(xp, iter(arrays), Tile((0, batch), (0, heads), rows, (0, keys), queries, keys))
        table = xp.zeros((*lead, rows[1] - rows[0], count * 32), dtype=bool)
        table[..., :keys] = True if seen is None else seen
        parts = table.reshape(*table.shape[:-1], count, 32).astype(np.uint32) << powers
        out[:, :, low:rows[1]] = parts.sum(axis=-1, dtype=np.uint32)
    return out
