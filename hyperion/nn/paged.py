"""A cache of keys and values in pages: texts of different lengths without padding, and copies that share what they have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.masks import Causal, Mask, SlidingWindow
from hyperion.errors import GraphError, IndexingError, InputError, ShapeError
from hyperion.gpu import attention_paged
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count
from hyperion.nn.rotary import RoPE

__all__ = ["FixedPages", "PagedKVCache", "Pages", "window_of"]

FIRST = 16              # pages of a pool to begin with; then it doubles


class _Pool:
    """The pages of one layer: arrays (pages, heads of keys, tokens of a page, size), and which are free."""

    def __init__(self, keys: Any, values: Any, page: int) -> None:
        xp = devices.namespace(keys)
        self.arrays = [xp.zeros((FIRST, x.shape[1], page, x.shape[3]), dtype=x.dtype) for x in (keys, values)]
        self.free = list(range(FIRST))[::-1]

    def taken(self) -> "_Page":
        """Return a page that nobody has."""
        if not self.free:
            count = len(self.arrays[0])
            xp = devices.namespace(self.arrays[0])
            self.arrays = [xp.concatenate([x, xp.zeros_like(x)]) for x in self.arrays]
            self.free = list(range(count, 2 * count))[::-1]
        return _Page(self, self.free.pop())


class _Page:
    """A page that some texts have; its number is free again when none has it. used: tokens that are written."""

    __slots__ = ("number", "pool", "used")

    def __init__(self, pool: _Pool, number: int) -> None:
        self.pool, self.number, self.used = pool, number, 0

    def __del__(self) -> None:
        self.pool.free.append(self.number)


class Pages(ABC):
    """Base of caches of one layer that lie in pages: what `MultiHeadAttention` asks of them."""

    __slots__ = ()

    @property
    @abstractmethod
    def length(self) -> int:
        """The tokens of the longest text."""

    @abstractmethod
    def extended(self, keys: Any, values: Any) -> "Pages":
        """Return the cache with more tokens, (batch, heads of keys, tokens, head size), at the end of each text."""

    @abstractmethod
    def places(self, batch: int, tokens: int) -> Any:
        """Return where the next tokens stand: (batch, tokens) integers, an array or a Tensor on the device."""

    @abstractmethod
    def attend(self, q: Any, mask: Mask | None = None, scale: float | None = None) -> Tensor:
        """Return what the last tokens of the texts gather: (batch, heads, queries, size of values)."""


def window_of(mask: Mask | None, queries: int) -> int | None:
    """Return how many keys before its own a query sees by a mask, None: all.

    Raises: InputError for a mask that pages do not serve.

    >>> window_of(SlidingWindow(5, 0), 3), window_of(Causal(), 3)
    (5, None)
    """
    if isinstance(mask, SlidingWindow) and mask.right == 0 and mask.offset is None:
        return mask.left
    if not (mask is None and queries == 1) and mask != Causal():
        raise InputError(f"PagedKVCache.attend(mask): mask={mask!r}; pages serve nn.Causal(), nn.SlidingWindow(left): use nn.KVCache")
    return None


class PagedKVCache(Pages):
    """Keys and values of the tokens so far, of one layer, in pages. A value: `extended` gives another one, and this one stays as it is.

    Texts may have different lengths. Those that go on from a common beginning share its pages (`rows`); a page is copied when two of them
    write into it. For `MultiHeadAttention` and models, instead of `KVCache`; without gradients.

    page: tokens of a page; on a CPU a multiple of 64 is read where it lies.
    Source: Kwon et al. 2023, arXiv:2309.06180.

    >>> cache = PagedKVCache().extended(hp.ones((2, 1, 3, 4)), hp.ones((2, 1, 3, 4)), counts=[3, 2])
    >>> cache.rows([1, 1, 0]).lengths.tolist()
    [2, 2, 3]
    """

    __slots__ = ("_counts", "_pages", "_pool", "_table", "lengths", "page")

    def __init__(self, page: int = 64) -> None:
        self.page = as_count(page, "PagedKVCache(page): page")
        self.lengths = np.zeros(0, np.int64)            # tokens of each text
        self._pool: _Pool | None = None
        self._pages: list[list[_Page]] = []
        self._table: Any = None                         # of the numbers of the pages, on the device; None: to be made
        self._counts: Any = None                        # of the next tokens; see `taking`

    @property
    def length(self) -> int:
        """The tokens of the longest text."""
        return int(self.lengths.max(initial=0))

    @property
    def pages(self) -> int:
        """How many pages the texts have; one that is shared counts once."""
        return len({id(page) for row in self._pages for page in row})

    def taking(self, counts: Any) -> "PagedKVCache":
        """Return the same cache, which takes only the last `counts` of the next tokens of each text: the others, before them, are padding.

        >>> cache = PagedKVCache().taking([1, 2]).extended(hp.ones((2, 1, 2, 4)), hp.ones((2, 1, 2, 4)))
        >>> cache.lengths.tolist()
        [1, 2]
        """
        made = PagedKVCache(self.page)
        made._pool, made._pages, made._table, made.lengths, made._counts = self._pool, self._pages, self._table, self.lengths, counts
        return made

    def extended(self, keys: Any, values: Any, counts: Any = None) -> "PagedKVCache":
        """Return a cache with more tokens at the end of each text.

        keys, values: (batch, heads of keys, tokens, head size).  counts: how many of the tokens, the last ones, belong to each text;
            None: all do, or what `taking` has said.
        Raises: ShapeError for another batch, heads or sizes than before; InputError for bad counts; GraphError for tracked Tensors.
        """
        new = as_tensor(keys), as_tensor(values)
        if any(x.tracked for x in new):
            raise GraphError("PagedKVCache.extended(keys, values): they are tracked, and pages keep no graph; use KVCache or hp.no_grad()")
        if any(x.ndim != 4 for x in new) or new[0].shape[:3] != new[1].shape[:3]:
            raise ShapeError(f"PagedKVCache.extended(keys, values): shapes {new[0].shape} and {new[1].shape}; they must be (batch, heads "
                             "of keys, tokens, head size)")
        batch, _, tokens, _ = new[0].shape
        counts = self._counts if counts is None else counts
        if self._pool is not None and (len(self.lengths) != batch or any(
                (x.shape[1], x.shape[3]) != (pool.shape[1], pool.shape[3]) for x, pool in zip(new, self._pool.arrays, strict=True))):
            raise ShapeError(f"PagedKVCache.extended(keys, values): shapes {new[0].shape} and {new[1].shape} after {self!r}")
        added = np.full(batch, tokens) if counts is None else np.asarray(counts)
        if added.shape != (batch,) or added.dtype.kind not in "iu" or (added < 0).any() or (added > tokens).any():
            raise InputError(f"PagedKVCache.extended(counts): counts={counts!r}; give {batch} whole numbers from 0 to {tokens}")
        made = PagedKVCache(self.page)
        made._pool = _Pool(new[0].data, new[1].data, self.page) if self._pool is None else self._pool
        made._pages = [list(row) for row in self._pages] or [[] for _ in range(batch)]
        before = self.lengths if self._pool is not None else np.zeros(batch, np.int64)
        made.lengths = before + added
        changed = [made._make_room(row, int(n), int(m)) for row, n, m in zip(made._pages, before, added, strict=True)]
        made._table = None if any(changed) else self._table
        made._write([x.data for x in new], before, added)
        return made

    def _make_room(self, row: list[_Page], length: int, added: int) -> bool:
        """Give a text pages for more tokens; return whether its pages have changed."""
        assert self._pool is not None
        changed = False
        if added and length % self.page and row[-1].used != length % self.page:         # another text has written behind ours
            page = self._pool.taken()
            for array in self._pool.arrays:
                array[page.number, :, :length % self.page] = array[row[-1].number, :, :length % self.page]
            row[-1], changed = page, True
        while len(row) * self.page < length + added:
            row.append(self._pool.taken())
            changed = True
        for i in range(length // self.page, len(row) if added else 0):
            row[i].used = min(self.page, length + added - i * self.page)
        return changed

    def _write(self, new: list[Any], before: Any, added: Any) -> None:
        """Write tokens (batch, heads, tokens, size) into the pages."""
        assert self._pool is not None
        xp = devices.namespace(new[0])
        texts = np.repeat(np.arange(len(added)), added)
        tokens = np.concatenate([np.arange(n) for n in added]) if len(added) else np.zeros(0, np.int64)
        places = before[texts] + tokens
        tokens += new[0].shape[2] - added[texts]
        numbers = np.array([self._pages[text][place // self.page].number for text, place in zip(texts, places, strict=True)], np.int64)
        at = [xp.asarray(x) for x in (texts, tokens, numbers, places % self.page)]
        for array, x in zip(self._pool.arrays, new, strict=True):
            array[at[2], :, at[3]] = x[at[0], :, at[1]]

    def places(self, batch: int, tokens: int) -> Any:
        """Return where the next tokens of each text stand in it, (batch, tokens) integers; 0 for padding (see `taking`)."""
        before = self.lengths if self._pool is not None else np.zeros(batch, np.int64)
        counts = np.full(batch, tokens) if self._counts is None else np.asarray(self._counts)
        return np.maximum(before[:, None] + np.arange(tokens) - (tokens - counts)[:, None], 0)

    def rows(self, indices: Sequence[int] | Any) -> "PagedKVCache":
        """Return the cache of some of the texts; one that comes twice goes on in two ways, and shares its pages until then.

        Raises: IndexingError for a text that there is not.
        """
        chosen = [int(i) for i in np.asarray(indices).reshape(-1)]
        if any(not 0 <= i < len(self.lengths) for i in chosen):
            raise IndexingError(f"PagedKVCache.rows({indices!r}): there are texts 0 to {len(self.lengths) - 1}")
        made = PagedKVCache(self.page)
        made._pool, made._pages = self._pool, [list(self._pages[i]) for i in chosen]
        made.lengths = self.lengths[chosen]
        return made

    def attend(self, q: Any, mask: Mask | None = None, scale: float | None = None) -> Tensor:
        """Return what the last tokens of the texts gather: (batch, heads, queries, size of values).

        q: (batch, heads, queries, head size).  mask: nn.Causal(), nn.SlidingWindow(left), or None for one query, which sees all.
        Raises: InputError for another mask, or an empty cache.
        """
        if self._pool is None:
            raise InputError("PagedKVCache.attend(q): it is empty; extended(keys, values) gives one that is not")
        queries = as_tensor(q)
        window = window_of(mask, queries.shape[2])
        if self._table is None:
            most = max(max(map(len, self._pages), default=0), 1)
            table = np.zeros((len(self._pages), most), np.int32)
            for row, pages in zip(table, self._pages, strict=True):
                row[:len(pages)] = [page.number for page in pages]
            self._table = Tensor(table).to(queries.device)
        lengths = Tensor(self.lengths.astype(np.int64)).to(queries.device)
        keys, values = (Tensor(x) for x in self._pool.arrays)
        return hp.paged_attention(queries, keys, values, self._table, lengths, scale, window)

    def __repr__(self) -> str:
        return f"PagedKVCache of {len(self.lengths)} texts, {int(self.lengths.sum())} tokens in {self.pages} pages of {self.page}"


class FixedPages(Pages):
    """Keys and values of one layer on a GPU, in pages that stay where they are and are written in place: for steps noted as a CUDA graph.

    keys, values: (pages, heads of keys, tokens of a page, size) CuPy arrays.  table: int32 (batch, pages of a text).
    lengths: int32 (batch,): tokens of each text with those that `extended` is given next; all on the GPU.
    Prompts (`begun` False) see only themselves, and go through `hp.attention` where none is padded.
    """

    __slots__ = ("_arrays", "_new", "_turns", "begun", "lengths", "padded")

    def __init__(self, keys: Any, values: Any, table: Any, lengths: Any) -> None:
        self._arrays = tuple(Tensor(x) for x in (keys, values, table, lengths))
        self.lengths = lengths
        self.begun = self.padded = False
        self._new: tuple[Any, Any] | None = None
        self._turns: Tensor | None = None

    @property
    def length(self) -> int:
        """The tokens of the longest text, read back from the GPU."""
        return int(self.lengths.max())

    def turns(self, rope: RoPE, like: Tensor) -> Tensor:
        """Return the cosines and sines of the last tokens' places, (batch, 1, tokens, size), for queries (batch, heads, tokens, size)."""
        if self._turns is None:
            reach = self._arrays[0].shape[2] * self._arrays[2].shape[1]
            self._turns = rope.turns(np.arange(reach), like.dtype, None, like.device)
        return hp.expand_dims(hp.embedding(self.places(like.shape[0], like.shape[2]), self._turns), 1)

    def extended(self, keys: Any, values: Any) -> "FixedPages":
        """Return this cache after it has taken the tokens."""
        new = self._new = as_tensor(keys), as_tensor(values)
        pool, others, table, lengths = (x.data for x in self._arrays)
        attention_paged.append(pool, others, new[0].data, new[1].data, table, lengths)
        return self

    def places(self, batch: int, tokens: int) -> Any:
        """Return where the tokens stand, on the GPU: the last of each text."""
        xp = devices.namespace(self.lengths)
        return Tensor(self.lengths[:, None] - tokens + xp.arange(tokens, dtype=np.int32))

    def attend(self, q: Any, mask: Mask | None = None, scale: float | None = None) -> Tensor:
        """Return what the last tokens gather; as `PagedKVCache.attend`."""
        queries = as_tensor(q)
        window = window_of(mask, queries.shape[2])
        if not self.begun and not self.padded and self._new is not None:
            return hp.attention(queries, self._new[0], self._new[1], mask=mask, scale=scale)
        keys, values, table, lengths = self._arrays
        return hp.paged_attention(queries, keys, values, table, lengths, scale, window)
