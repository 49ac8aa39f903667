"""Masks as values: which keys a query of an attention may see. They combine with & (both allow it) and | (either does).

A query i stands at place i + offset among the keys; offset None: at the end, so that the last query stands at the last key, as it does when
a cache holds the keys before. A mask knows the keys that a range of queries can see at most, so that what is beyond is never computed, and
makes its values tile by tile: none is stored as a whole. Arrays of a mask are inputs of the operation; what remains is a plain value.
"""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_integer
from hyperion.autograd.ops.shaping import reshape
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu.device import to_numpy

__all__ = ["ALiBi", "BlockSparse", "Causal", "Document", "Mask", "PrefixLM", "SlidingWindow", "Tile", "as_mask"]

Arrays = Iterator[Any]
FAR = 1 << 29           # further than any key is from any query: a side of a band without a limit


class Tile:
    """A part of the table of scores (batch, heads, queries, keys): a range along each axis, and the lengths of the whole table.

    >>> Tile((0, 1), (0, 2), (4, 8), (0, 8), 8, 8).shape
    (1, 2, 4, 8)
    """

    __slots__ = ("batch", "heads", "keys", "rows", "whole_keys", "whole_rows")

    def __init__(
        self, batch: tuple[int, int], heads: tuple[int, int], rows: tuple[int, int], keys: tuple[int, int], whole_rows: int,
        whole_keys: int,
    ) -> None:
        self.batch = batch
        self.heads = heads
        self.rows = rows
        self.keys = keys
        self.whole_rows = whole_rows
        self.whole_keys = whole_keys

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the ranges."""
        return tuple([high - low for low, high in (self.batch, self.heads, self.rows, self.keys)])

    def of(self, array: Any) -> Any:
        """Return the part of an array that broadcasts to the table; its axes have their full length or 1."""
        ranges = (self.batch, self.heads, self.rows, self.keys)
        return array[tuple([slice(None) if n == 1 else slice(*part) for n, part in zip(array.shape, ranges, strict=True)])]

    def places(self, xp: Any, offset: int | None) -> tuple[Any, Any]:
        """Return where queries stand among the keys, (rows, 1), and the keys, (keys,)."""
        shift = self.whole_keys - self.whole_rows if offset is None else offset
        return xp.arange(*self.rows)[:, None] + shift, xp.arange(*self.keys)


class Mask:
    """Base of masks. A mask is a value: two with the same settings are equal; arrays (ids, tables) are carried beside.

    >>> Causal() == Causal(), Causal() & SlidingWindow(2, 2)
    (True, Causal() & SlidingWindow(left=2, right=2))
    """

    __array_ufunc__ = None      # numpy_array & mask calls Mask.__rand__
    arrays: tuple[Tensor, ...] = ()

    def settings(self) -> tuple[Any, ...]:
        """Return what it is set to, without arrays."""
        return ()

    def bare(self) -> "Mask":
        """Return it without its arrays: a hashable parameter."""
        return self

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        """Return the range of keys outside of which the queries of a range see nothing."""
        return 0, whole_keys

    def band(self, queries: int, keys: int) -> tuple[int, int] | None:
        """Return (low, high) if query i sees the keys i + low <= j < i + high, of those there are; None if it is not so."""
        return None

    def intervals(self, xp: Any, arrays: Arrays, queries: int, keys: int) -> tuple[Any, Any] | None:
        """Return where the keys begin and end that each query sees, integers that broadcast to (batch, heads, queries); None if they are
        not side by side, or that is not known.

        arrays: an iterator of the raw arrays, of which it takes its own.
        """
        band = self.band(queries, keys)
        if band is None:
            return None
        places = xp.arange(queries)[None, None]
        return places + band[0], places + band[1]

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return which scores of a tile count: bools that broadcast to (batch, heads, rows, keys); None if all do.

        arrays: an iterator of the raw arrays, of which it takes its own.
        """
        raise NotImplementedError(f"{type(self).__name__} must say which keys are visible")

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        """Raise ShapeError if it does not fit a table of scores."""

    def __and__(self, other: Any) -> "Mask":
        return _Both(self, as_mask(other))

    def __or__(self, other: Any) -> "Mask":
        return _Either(self, as_mask(other))

    def __rand__(self, other: Any) -> "Mask":
        return _Both(as_mask(other), self)

    def __ror__(self, other: Any) -> "Mask":
        return _Either(as_mask(other), self)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(self) is type(other) and isinstance(other, Mask) and self.settings() == other.settings()
            and not self.arrays and not other.arrays
        )

    def __hash__(self) -> int:
        return hash((type(self), self.settings()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Pair(Mask):
    """Two masks together."""

    def __init__(self, left: Mask, right: Mask) -> None:
        self.left = left
        self.right = right
        self.arrays = (*left.arrays, *right.arrays)

    def settings(self) -> tuple[Any, ...]:
        return self.left, self.right

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        self.left.check(batch, heads, queries, keys)
        self.right.check(batch, heads, queries, keys)


class _Both(_Pair):
    def bare(self) -> Mask:
        return _Both(self.left.bare(), self.right.bare())

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        (a, b), (c, d) = (part.bounds(rows, whole_rows, whole_keys) for part in (self.left, self.right))
        low = max(a, c)
        return low, max(low, min(b, d))

    def band(self, queries: int, keys: int) -> tuple[int, int] | None:
        first, second = self.left.band(queries, keys), self.right.band(queries, keys)
        return None if first is None or second is None else (max(first[0], second[0]), min(first[1], second[1]))

    def intervals(self, xp: Any, arrays: Arrays, queries: int, keys: int) -> tuple[Any, Any] | None:
        first = self.left.intervals(xp, arrays, queries, keys)
        second = None if first is None else self.right.intervals(xp, arrays, queries, keys)
        if first is None or second is None:
            return None
        return xp.maximum(first[0], second[0]), xp.minimum(first[1], second[1])

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        first, second = self.left.visible(xp, arrays, tile), self.right.visible(xp, arrays, tile)
        return second if first is None else first if second is None else first & second

    def __repr__(self) -> str:
        return f"{self.left!r} & {self.right!r}"


class _Either(_Pair):
    def bare(self) -> Mask:
        return _Either(self.left.bare(), self.right.bare())

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        (a, b), (c, d) = (part.bounds(rows, whole_rows, whole_keys) for part in (self.left, self.right))
        return (c, d) if a == b else (a, b) if c == d else (min(a, c), max(b, d))

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        first, second = self.left.visible(xp, arrays, tile), self.right.visible(xp, arrays, tile)
        return None if first is None or second is None else first | second

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


def _whole(value: Any, what: str, least: int | None = 0) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{what}={value!r} must be a whole number") from error
    if least is not None and number < least:
        raise InputError(f"{what}={number} must be {least} or more")
    return number


class Causal(Mask):
    """A query sees the keys up to its own place.

    offset: the place of the first query; None: the last query stands at the last key. 0 counts from the first key whatever the lengths.

    >>> from hyperion.autograd.ops.attending import table_of
    >>> table_of(Causal(), 2, 3).astype(int)
    array([[1, 1, 0],
           [1, 1, 1]])
    """

    def __init__(self, offset: int | None = None) -> None:
        self.offset = None if offset is None else _whole(offset, "Causal(offset): offset", None)

    def settings(self) -> tuple[Any, ...]:
        """Return the offset."""
        return (self.offset,)

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        """Return keys 0 to that of the last query."""
        shift = whole_keys - whole_rows if self.offset is None else self.offset
        return 0, min(max(rows[1] + shift, 0), whole_keys)

    def band(self, queries: int, keys: int) -> tuple[int, int] | None:
        """Return no limit before, and the own place."""
        return -FAR, (keys - queries if self.offset is None else self.offset) + 1

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return keys <= places."""
        shift = tile.whole_keys - tile.whole_rows if self.offset is None else self.offset
        if tile.keys[1] - 1 <= tile.rows[0] + shift:
            return None
        rows, keys = tile.places(xp, self.offset)
        return (keys <= rows)[None, None]


class SlidingWindow(Mask):
    """A query sees `left` keys before its own place, that place, and `right` keys after it.

    left, right: None: no limit on that side. right=0 is causal.  offset: as in `Causal`.
    Source: Child et al. 2019, arXiv:1904.10509 (local attention); Beltagy et al. 2020, arXiv:2004.05150.

    >>> from hyperion.autograd.ops.attending import table_of
    >>> table_of(SlidingWindow(1, 0), 3, 3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """

    def __init__(self, left: int | None, right: int | None = 0, offset: int | None = None) -> None:
        self.left = None if left is None else _whole(left, "SlidingWindow(left, right): left")
        self.right = None if right is None else _whole(right, "SlidingWindow(left, right): right")
        self.offset = None if offset is None else _whole(offset, "SlidingWindow(offset): offset", None)

    def settings(self) -> tuple[Any, ...]:
        """Return left, right and the offset."""
        return self.left, self.right, self.offset

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        """Return the keys from `left` before the first query to `right` after the last."""
        shift = whole_keys - whole_rows if self.offset is None else self.offset
        low = 0 if self.left is None else min(max(rows[0] + shift - self.left, 0), whole_keys)
        high = whole_keys if self.right is None else min(max(rows[1] + shift + self.right, 0), whole_keys)
        return low, max(low, high)

    def band(self, queries: int, keys: int) -> tuple[int, int] | None:
        """Return the limits on both sides."""
        shift = keys - queries if self.offset is None else self.offset
        return -FAR if self.left is None else shift - self.left, FAR if self.right is None else shift + self.right + 1

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return places - left <= keys <= places + right."""
        rows, keys = tile.places(xp, self.offset)
        parts = [
            *([keys >= rows - self.left] if self.left is not None else []),
            *([keys <= rows + self.right] if self.right is not None else []),
        ]
        if not parts:
            return None
        return (parts[0] & parts[1] if len(parts) == 2 else parts[0])[None, None]

    def __repr__(self) -> str:
        return f"SlidingWindow(left={self.left}, right={self.right})"


def _integers(values: Any, what: str) -> Tensor:
    found = as_tensor(values)
    if not is_integer(found.dtype):
        raise DtypeError(f"{what} is {found.dtype}; it must be integer: use .astype('int64')")
    return found


class Document(Mask):
    """A query sees the keys of its own document: several texts packed into one row do not see each other.

    ids: integers (keys,) or (batch, keys), the document of each token; below 0 is padding, which sees nothing and is not seen.
    queries: those of the queries, if they are other tokens; None: the queries are the last ones of the keys.

    >>> from hyperion.autograd.ops.attending import table_of
    >>> table_of(Document([0, 0, 1]), 3, 3).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 1]])
    """

    def __init__(self, ids: Any, queries: Any = None) -> None:
        given = [_integers(ids, "Document(ids): ids"), *([] if queries is None else [_integers(queries, "Document(queries): queries")])]
        for x in given:
            if x.ndim not in (1, 2):
                raise ShapeError(f"Document(ids): ids of shape {x.shape}; they must be (tokens,) or (batch, tokens)")
        self.own = queries is not None
        self.arrays = tuple([x if x.ndim == 2 else reshape(x, (1, *x.shape)) for x in given])
        self.runs = not self.own and type(self.arrays[0]) is Tensor and _in_runs(to_numpy(self.arrays[0].data))

    @staticmethod
    def packed(bounds: Any, queries: Any = None) -> "Document":
        """Return the mask of texts that lie one after the other in one row.

        bounds: whole numbers (texts + 1,), where each text begins, and where the last one ends: the number of keys (often named
            cu_seqlens).  queries: likewise of the queries, as many texts, if they are other tokens.
        Raises: InputError if they do not begin with 0 and rise; ShapeError if the numbers of texts differ.

        >>> from hyperion.autograd.ops.attending import table_of
        >>> table_of(Document.packed([0, 2, 3]), 3, 3).astype(int)
        array([[1, 1, 0],
               [1, 1, 0],
               [0, 0, 1]])
        """
        own = None if queries is None else _numbered(queries, "Document.packed(queries): queries")
        ids = _numbered(bounds, "Document.packed(bounds): bounds")
        if queries is not None and len(queries) != len(bounds):
            raise ShapeError(f"Document.packed(bounds, queries): {len(bounds)} and {len(queries)} numbers; they must have as many texts")
        return Document(ids, own)

    def settings(self) -> tuple[Any, ...]:
        """Return whether queries have ids of their own, and whether the tokens of each document lie side by side."""
        return self.own, self.runs

    def bare(self) -> Mask:
        """Return it without ids."""
        return _stripped(self)

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        """Raise ShapeError if there are not as many ids as tokens."""
        for x, count, name in zip(self.arrays, (keys, queries), ("keys", "queries"), strict=False):
            if x.shape[1] != count or x.shape[0] not in (1, batch):
                raise ShapeError(f"Document(ids): ids of shape {x.shape} for {batch} rows of {count} {name}; give one for each")

    def intervals(self, xp: Any, arrays: Arrays, queries: int, keys: int) -> tuple[Any, Any] | None:
        """Return the beginning and end of each query's document, if its tokens lie side by side."""
        if not self.runs or not keys or queries > keys:
            return None
        ids = next(arrays)
        begins = xp.ones(ids.shape, dtype=np.int64)
        begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
        number = xp.cumsum(begins.reshape(-1))                      # of the run, rising over all rows: so they can be looked up
        rows = keys * xp.arange(len(ids))[:, None]
        first, last = (xp.searchsorted(number, number, side=side).reshape(ids.shape) - rows for side in ("left", "right"))
        last = xp.where(ids < 0, 0, last)
        return first[:, None, keys - queries:], last[:, None, keys - queries:]

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return where ids are equal."""
        ids = next(arrays)
        ids = ids if len(ids) == 1 else ids[slice(*tile.batch)]
        own = next(arrays) if self.own else None
        if own is None:
            own, first = ids, tile.whole_keys - tile.whole_rows
        else:
            own, first = own if len(own) == 1 else own[slice(*tile.batch)], 0
        rows = own[:, None, tile.rows[0] + first:tile.rows[1] + first, None]
        keys = ids[:, None, None, slice(*tile.keys)]
        return (rows == keys) & (keys >= 0)


def _numbered(bounds: Any, what: str) -> Any:
    """Return the number of the text of each token."""
    places = to_numpy(_integers(bounds, what).data)
    if places.ndim != 1 or not len(places) or places[0] != 0 or (np.diff(places) < 0).any():
        raise InputError(f"{what}={places.tolist()} must be (texts + 1,) numbers that begin with 0 and do not fall")
    return np.repeat(np.arange(len(places) - 1), np.diff(places))


def _in_runs(ids: Any) -> bool:
    """Tell whether equal ids that are not padding lie side by side in each row."""
    for row in ids:
        begins = row[np.flatnonzero(np.diff(row, prepend=row[:1] - 1))] if len(row) else row
        begins = begins[begins >= 0]
        if len(np.unique(begins)) < len(begins):
            return False
    return True


class PrefixLM(Mask):
    """Every query sees the first `length` keys; beyond them it sees the keys up to its own place.

    length: a number, or integers (batch,).  offset: as in `Causal`.
    Source: Raffel et al. 2020, arXiv:1910.10683, section 3.2.1.

    >>> from hyperion.autograd.ops.attending import table_of
    >>> table_of(PrefixLM(2), 3, 3).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """

    def __init__(self, length: Any, offset: int | None = None) -> None:
        self.offset = None if offset is None else _whole(offset, "PrefixLM(offset): offset", None)
        self.length: int | None = None
        if is_operand(length) and not isinstance(length, int):
            lengths = _integers(length, "PrefixLM(length): length")
            if lengths.ndim != 1:
                raise ShapeError(f"PrefixLM(length): length has shape {lengths.shape}; it must be a number or (batch,)")
            self.arrays = (reshape(lengths, (lengths.shape[0], 1, 1, 1)),)
        else:
            self.length = _whole(length, "PrefixLM(length): length")

    def settings(self) -> tuple[Any, ...]:
        """Return the length, if it is one, and the offset."""
        return self.length, self.offset

    def bare(self) -> Mask:
        """Return it without lengths."""
        return _stripped(self)

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        """Raise ShapeError if there are not as many lengths as rows."""
        if self.arrays and self.arrays[0].shape[0] not in (1, batch):
            raise ShapeError(f"PrefixLM(length): {self.arrays[0].shape[0]} lengths for {batch} rows; give one for each")

    def bounds(self, rows: tuple[int, int], whole_rows: int, whole_keys: int) -> tuple[int, int]:
        """Return keys 0 to that of the last query, or the end of the prefix."""
        if self.length is None:
            return 0, whole_keys
        shift = whole_keys - whole_rows if self.offset is None else self.offset
        return 0, min(max(rows[1] + shift, self.length), whole_keys)

    def intervals(self, xp: Any, arrays: Arrays, queries: int, keys: int) -> tuple[Any, Any] | None:
        """Return 0 and the own place, or the end of the prefix."""
        length = self.length if self.length is not None else next(arrays)[:, :, 0]
        shift = keys - queries if self.offset is None else self.offset
        last = xp.maximum(xp.arange(queries)[None, None] + (shift + 1), length)
        return xp.zeros_like(last), last

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return keys < length, or keys <= places."""
        rows, keys = tile.places(xp, self.offset)
        length = tile.of(next(arrays)) if self.length is None else self.length
        return (keys <= rows)[None, None] | (keys < length)


class BlockSparse(Mask):
    """A query sees the blocks of keys that a table allows.

    layout: bool (blocks, blocks) or (heads, blocks, blocks): whether the queries of a block see the keys of a block.
    block: tokens of a block. Queries are counted as in `Causal`. Combine it with Causal() to hide what is later inside a block.

    >>> from hyperion.autograd.ops.attending import table_of
    >>> table_of(BlockSparse([[True, False], [True, True]], 2), 4, 4).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [1, 1, 1, 1],
           [1, 1, 1, 1]])
    """

    def __init__(self, layout: Any, block: int) -> None:
        table = as_tensor(layout)
        if table.dtype.kind != "b":
            raise DtypeError(f"BlockSparse(layout): layout is {table.dtype}; it must be bool")
        if table.ndim not in (2, 3) or table.shape[-1] != table.shape[-2]:
            raise ShapeError(f"BlockSparse(layout): layout has shape {table.shape}; it must be (blocks, blocks) or (heads, blocks, blocks)")
        self.block = _whole(block, "BlockSparse(layout, block): block", 1)
        self.arrays = (reshape(table, (1, 1, *table.shape) if table.ndim == 2 else (1, *table.shape)),)

    @staticmethod
    def strided(blocks: int, stride: int, block: int) -> "BlockSparse":
        """Return Child's strided pattern: the last `stride` blocks, and every stride-th block before. Source: arXiv:1904.10509, eq. in 4.3.

        >>> BlockSparse.strided(4, 2, 1).arrays[0].shape
        (1, 1, 4, 4)
        """
        stride = _whole(stride, "BlockSparse.strided(stride): stride", 1)
        behind = np.arange(blocks)[:, None] - np.arange(blocks)
        return BlockSparse((behind >= 0) & ((behind < stride) | (behind % stride == 0)), block)

    @staticmethod
    def fixed(blocks: int, stride: int, summary: int, block: int) -> "BlockSparse":
        """Return Child's fixed pattern: the own stretch of `stride` blocks, and the last `summary` blocks of every stretch before.

        Source: arXiv:1904.10509, section 4.3.

        >>> BlockSparse.fixed(4, 2, 1, 1).arrays[0].shape
        (1, 1, 4, 4)
        """
        stride = _whole(stride, "BlockSparse.fixed(stride): stride", 1)
        rows, keys = np.arange(blocks)[:, None], np.arange(blocks)
        return BlockSparse((keys <= rows) & ((rows // stride == keys // stride) | (keys % stride >= stride - summary)), block)

    @staticmethod
    def bigbird(blocks: int, window: int, first: int, drawn: int, block: int, seed: int = 0) -> "BlockSparse":
        """Return BigBird's pattern: `window` blocks on both sides, `first` blocks that see all and are seen by all, and others by chance.

        drawn: random blocks that each block of queries sees besides (fewer if fewer are left).  seed: of the draw.
        Source: Zaheer et al. 2020, arXiv:2007.14062, section 2.

        >>> BlockSparse.bigbird(4, 0, 1, 1, 1).arrays[0].data[0, 0].sum(axis=1).tolist()
        [4, 3, 3, 3]
        """
        rows, keys = np.arange(blocks)[:, None], np.arange(blocks)
        table = (abs(rows - keys) <= _whole(window, "BlockSparse.bigbird(window): window")) | (rows < first) | (keys < first)
        chance = np.where(table, 2.0, np.random.default_rng(seed).random((blocks, blocks)))
        order = chance.argsort(axis=1).argsort(axis=1)
        return BlockSparse(table | (order < _whole(drawn, "BlockSparse.bigbird(drawn): drawn")), block)

    def settings(self) -> tuple[Any, ...]:
        """Return the block size."""
        return (self.block,)

    def bare(self) -> Mask:
        """Return it without the table."""
        return _stripped(self)

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        """Raise ShapeError if the table does not cover the keys, or has other heads."""
        _, own, blocks, _ = self.arrays[0].shape
        if own not in (1, heads) or blocks * self.block < keys or queries > keys:
            raise ShapeError(
                f"BlockSparse(layout, block={self.block}): a table of {own} heads and {blocks} blocks for {heads} heads, {queries} queries "
                f"and {keys} keys; it needs {heads} heads or 1, at least {-(-keys // self.block)} blocks, and no more queries than keys"
            )

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        """Return the table's values at the blocks."""
        table = next(arrays)
        rows, keys = tile.places(xp, None)
        table = table if table.shape[1] == 1 else table[:, slice(*tile.heads)]
        return table[:, :, rows // self.block, keys // self.block]

    def __repr__(self) -> str:
        return f"BlockSparse(block={self.block})"


class _Table(Mask):
    """Any bools that broadcast to (batch, heads, queries, keys)."""

    def __init__(self, values: Tensor) -> None:
        if values.dtype.kind != "b":
            raise DtypeError(f"attention(mask): mask is {values.dtype}; it must be bool (True: visible): numbers to add go to bias=")
        if values.ndim > 4:
            raise ShapeError(f"attention(mask): mask has shape {values.shape}; it must broadcast to (batch, heads, queries, keys)")
        self.arrays = (reshape(values, (*(1,) * (4 - values.ndim), *values.shape)),)

    def bare(self) -> Mask:
        return _stripped(self)

    def check(self, batch: int, heads: int, queries: int, keys: int) -> None:
        if any(n not in (1, m) for n, m in zip(self.arrays[0].shape, (batch, heads, queries, keys), strict=True)):
            raise ShapeError(
                f"attention(mask): mask has shape {self.arrays[0].shape}; it must broadcast to {(batch, heads, queries, keys)}: "
                "(batch, heads, queries, keys)"
            )

    def visible(self, xp: Any, arrays: Arrays, tile: Tile) -> Any:
        return tile.of(next(arrays))


def _stripped(mask: Mask) -> Mask:
    bare = object.__new__(type(mask))
    bare.__dict__.update(mask.__dict__)
    bare.arrays = ()
    return bare


def as_mask(mask: Any) -> Mask:
    """Return a mask: itself, or one of bools (True: visible).

    Raises: InputError for anything else; DtypeError if it is an array of numbers.

    >>> as_mask(np.ones((3, 3), bool)).arrays[0].shape
    (1, 1, 3, 3)
    """
    if isinstance(mask, Mask):
        return mask
    if is_operand(mask) or isinstance(mask, list):
        return _Table(as_tensor(mask))
    raise InputError(f"mask={mask!r} is no mask; use Causal(), SlidingWindow(left, right), ... or an array of bools")


class ALiBi:
    """A bias that falls with distance: score(i, j) gets -slope |i - j|, with a slope of its own for each head.

    heads: their number.  offset: as in `Causal`.
    Source: Press, Smith and Lewis 2022, arXiv:2108.12409: slopes 2^(-8 n / heads); for other numbers than powers of two, those of the power
    below and every second one of the power above.

    >>> ALiBi(4).slopes
    (0.25, 0.0625, 0.015625, 0.00390625)
    """

    def __init__(self, heads: int, offset: int | None = None) -> None:
        count = _whole(heads, "ALiBi(heads): heads", 1)
        self.offset = None if offset is None else _whole(offset, "ALiBi(offset): offset", None)
        below = 1 << (count.bit_length() - 1)
        slopes = [2.0 ** (-8.0 * n / below) for n in range(1, below + 1)]
        slopes += [2.0 ** (-4.0 * n / below) for n in range(1, 2 * (count - below), 2)]
        self.slopes = tuple(slopes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ALiBi) and (self.slopes, self.offset) == (other.slopes, other.offset)

    def __hash__(self) -> int:
        return hash((self.slopes, self.offset))

    def __repr__(self) -> str:
        return f"ALiBi(heads={len(self.slopes)})"

    def values(self, xp: Any, tile: Tile, dtype: Any) -> Any:
        """Return what is added to the scores of a tile: (1, heads, rows, keys)."""
        rows, keys = tile.places(xp, self.offset)
        slopes = xp.asarray(self.slopes[slice(*tile.heads)], dtype=dtype)
        return -slopes[None, :, None, None] * xp.abs(rows - keys).astype(dtype)
