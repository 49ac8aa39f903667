"""Multi-head attention, and the cache of keys and values that generation keeps."""

import math
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.masks import ALiBi, Mask, as_mask
from hyperion.autograd.modifiers import ScoreModifier
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count, as_fraction
from hyperion.nn.initializers import default_generator
from hyperion.nn.linear import Linear
from hyperion.nn.module import Module
from hyperion.nn.paged import FixedPages, Pages
from hyperion.nn.rotary import RoPE

__all__ = ["KVCache", "MultiHeadAttention"]

FIRST = 64          # tokens for which a cache makes room to begin with; then it doubles


class _Store:
    """Room for keys and values, and how much of it is written: shared by the caches that follow on each other."""

    __slots__ = ("arrays", "used")

    def __init__(self, arrays: tuple[Any, ...], used: int) -> None:
        self.arrays = arrays
        self.used = used


class KVCache:
    """Keys and values of the tokens so far, of one layer. A value: `extended` gives another one, and this one stays as it is.

    Caches that follow on each other share memory, so a step costs only its own tokens; a second continuation of one cache copies it.

    >>> cache = KVCache().extended(hp.ones((1, 2, 3, 4)), hp.ones((1, 2, 3, 4)))
    >>> cache.length, cache.extended(hp.ones((1, 2, 1, 4)), hp.ones((1, 2, 1, 4))).keys.shape
    (3, (1, 2, 4, 4))
    """

    __slots__ = ("_store", "_tensors", "length", "places")

    def __init__(self) -> None:
        self.length = 0
        self.places: Any = None         # of the keys, where they are not turned yet (see RoPE.dynamic)
        self._store: _Store | None = None
        self._tensors: tuple[Tensor, ...] = ()

    @property
    def keys(self) -> Tensor:
        """The keys: (batch, heads of keys, length, head size)."""
        return self._part(0)

    @property
    def values(self) -> Tensor:
        """The values: (batch, heads of keys, length, head size)."""
        return self._part(1)

    def _part(self, i: int) -> Tensor:
        if self._store is not None:
            return Tensor(self._store.arrays[i][:, :, :self.length])
        if self._tensors:
            return self._tensors[i]
        raise InputError("KVCache: it is empty; extended(keys, values) gives one that is not")

    def extended(self, keys: Any, values: Any, places: Any = None) -> "KVCache":
        """Return a cache with more tokens at its end.

        keys, values: (batch, heads of keys, tokens, head size).
        Raises: ShapeError if the other axes differ from those so far.
        """
        new = as_tensor(keys), as_tensor(values)
        made = KVCache()
        made.length = self.length + new[0].shape[2]
        made.places = places if self.places is None else _followed(self.places, places)
        if self.length:
            for old, x, name in zip((self.keys, self.values), new, ("keys", "values"), strict=True):
                if (*old.shape[:2], old.shape[3]) != (*x.shape[:2], x.shape[3]):
                    raise ShapeError(f"KVCache: {name} of shape {x.shape} after {old.shape}; only the third axis, the tokens, may differ")
        before = (self.keys, self.values) if self.length else ()
        if any(x.tracked for x in (*new, *before)):
            made._tensors = tuple(hp.concat(pair, axis=2) for pair in zip(before, new, strict=True)) if before else new
        else:
            made._store = self._written([x.data for x in new], made.length)
        return made

    def _written(self, new: list[Any], length: int) -> _Store:
        """Return a store that holds what this cache has, and new arrays after it."""
        store = self._store
        if store is None or store.used != self.length or store.arrays[0].shape[2] < length:
            room = max(FIRST, 2 * length)
            arrays = tuple(devices.namespace(x).zeros((*x.shape[:2], room, x.shape[3]), dtype=x.dtype) for x in new)
            if self.length:
                for array, old in zip(arrays, (self.keys, self.values), strict=True):
                    array[:, :, :self.length] = old.data
            store = _Store(arrays, self.length)
        for array, x in zip(store.arrays, new, strict=True):
            array[:, :, self.length:length] = x
        store.used = length
        return store

    def __repr__(self) -> str:
        return f"KVCache of {self.length} tokens" + (f", {self.keys.shape} {self.keys.dtype}" if self.length else "")


def _followed(before: Any, places: Any) -> Any:
    """Return places after others: (tokens,), or (batch, tokens) if one of them is."""
    lead = np.broadcast_shapes(before.shape[:-1], places.shape[:-1])
    return np.concatenate([np.broadcast_to(part, (*lead, part.shape[-1])) for part in (before, places)], axis=-1)


class MultiHeadAttention(Module):
    """Attention of several heads, with the linear maps before and after it: of tokens to each other, or to a memory.

    width: of the tokens.  heads: of queries.  kv_heads: of keys and values, which divide those of queries; None: as many.
    head_size: None: width / heads, which must be whole.  memory: width of the tokens of a memory (cross attention); None: none.
    mask: which keys a token sees: nn.Causal(), nn.SlidingWindow(left, right), ...; they combine with & and |; None: all.
    rope: nn.RoPE(head size, ...), rotary positions.  bias: nn.ALiBi(heads).  scale: of the scores; None: 1 / sqrt(head size).
    dropout: of the probabilities, while training.  linear_bias: whether the linear maps have biases.
    modifier: what becomes of scores: nn.SoftCap(limit), or a nn.ScoreModifier of your own; None: they stay.
    qkv: maps to queries, keys and values together (with a memory: query, and kv); output: maps the heads back.
    `nn.capture(model, "....attention.weights")` gives the probabilities, (batch, heads, queries, keys).
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; Ainslie et al. 2023, arXiv:2305.13245.

    >>> from hyperion import nn
    >>> MultiHeadAttention(8, 2, mask=nn.Causal())(hp.ones((1, 5, 8))).shape
    (1, 5, 8)
    """

    def __init__(
        self, width: int, heads: int, kv_heads: int | None = None, head_size: int | None = None, memory: int | None = None,
        mask: Any = None, rope: RoPE | None = None, bias: ALiBi | None = None, scale: float | None = None, dropout: float = 0.0,
        linear_bias: bool = True, dtype: Any = None, generator: Generator | None = None, modifier: ScoreModifier | None = None,
    ) -> None:
        name = "MultiHeadAttention"
        self.width, self.heads = as_count(width, f"{name}(width)"), as_count(heads, f"{name}(heads)")
        self.kv_heads = self.heads if kv_heads is None else as_count(kv_heads, f"{name}(kv_heads)")
        if head_size is None and width % heads:
            raise ShapeError(f"{name}: heads={heads} must divide width={width}; or give head_size")
        if self.heads % self.kv_heads:
            raise ShapeError(f"{name}: kv_heads={kv_heads} must divide heads={heads}")
        self.size = size = width // heads if head_size is None else as_count(head_size, f"{name}(head_size)")
        if rope is not None and (not isinstance(rope, RoPE) or rope.size != size):
            raise ShapeError(f"{name}(rope): rope={rope!r}; it must be nn.RoPE({size}), of the size of a head")
        if bias is not None and (not isinstance(bias, ALiBi) or len(bias.slopes) != heads):
            raise ShapeError(f"{name}(bias): bias={bias!r}; it must be nn.ALiBi({heads})")
        if modifier is not None and not isinstance(modifier, ScoreModifier):        # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{name}(modifier): modifier={modifier!r}; it must be a nn.ScoreModifier, such as nn.SoftCap(50.0)")
        self.modifier = modifier
        self.mask: Mask | None = None if mask is None else as_mask(mask)
        self.rope, self.bias, self.scale = rope, bias, scale
        self.dropout = as_fraction(dropout, f"{name}(dropout)")
        self.generator = generator
        options = (linear_bias, dtype, generator)
        if memory is None:
            self.qkv = Linear(width, (self.heads + 2 * self.kv_heads) * size, *options)
        else:
            self.query = Linear(width, self.heads * size, *options)
            self.kv = Linear(as_count(memory, f"{name}(memory)"), 2 * self.kv_heads * size, *options)
        self.crosses = memory is not None
        self.output = Linear(self.heads * size, width, *options)

    def forward(
        self, x: Any, memory: Any = None, mask: Any = None, positions: Any = None, cache: KVCache | Pages | None = None,
    ) -> Any:
        """Return what tokens gather: (batch, tokens, width); with a cache, a pair of it and the cache after these tokens.

        x: (batch, tokens, width).  memory: (batch, tokens of the memory, its width), if the layer has one.
        mask: hides more than the layer's own: a mask, or bools that broadcast to (batch, heads, queries, keys).
        positions: integers (tokens,) or (batch, tokens), for rotary positions; None: they follow those in the cache.
        cache: of the tokens before; KVCache() or PagedKVCache() to begin with.
        """
        x = as_tensor(x)
        if x.ndim != 3:
            raise ShapeError(f"MultiHeadAttention: x has shape {x.shape}; it must be (batch, tokens, {self.width})")
        if self.crosses != (memory is not None):
            raise InputError(
                "MultiHeadAttention: it was made with memory=, so forward(x, memory) needs one" if self.crosses
                else "MultiHeadAttention: it was made without memory=, so forward takes none"
            )
        if self.crosses and cache is not None:
            raise InputError("MultiHeadAttention: a cache is of the tokens before, and memory is given whole every time; leave cache= out")
        q, k, v = self._heads(x, memory)
        if isinstance(cache, Pages):
            return self._paged(q, k, v, mask, positions, cache)
        if self.rope is not None:
            q, k, cache = self._turned(q, k, v, positions, cache)
            v = v if cache is None else cache.values
        elif cache is not None:
            cache = cache.extended(k, v)
            k, v = cache.keys, cache.values
        seen = self.mask if mask is None else as_mask(mask) if self.mask is None else self.mask & mask
        if self.__dict__.get("_captures"):
            self.note("weights", self._weights(q, k, seen))
        dropout = (self.dropout, default_generator(self.generator)) if self.training and self.dropout else None
        out = hp.attention(q, k, v, mask=seen, scale=self.scale, dropout=dropout, bias=self.bias, modifier=self.modifier)
        out = self.output(hp.join_heads(out))                       # (batch, tokens, width)
        return out if cache is None else (out, cache)

    def _paged(self, q: Tensor, k: Tensor, v: Tensor, mask: Any, positions: Any, cache: Pages) -> tuple[Tensor, Pages]:
        """Return what tokens gather from pages, and the cache after them."""
        if mask is not None or self.bias is not None or self.modifier is not None or (self.rope is not None and self.rope.dynamic):
            raise InputError("MultiHeadAttention: pages take no mask beside the layer's, no ALiBi, no modifier, and no scaling that "
                             "changes with the length; use KVCache()")
        if self.rope is not None:
            if isinstance(cache, FixedPages) and positions is None:
                turns = cache.turns(self.rope, q)
                q, k = hp.rotate_pairs(q, turns), hp.rotate_pairs(k, turns)
            else:
                places = cache.places(len(q), q.shape[2]) if positions is None else devices.to_numpy(as_tensor(positions).data)
                q, k = self._placed(q, places, None), self._placed(k, places, None)
        cache = cache.extended(k, v)
        return self.output(hp.join_heads(cache.attend(q, self.mask, self.scale))), cache

    def _heads(self, x: Tensor, memory: Any) -> tuple[Tensor, ...]:
        """Return queries, keys and values: (batch, heads, tokens, head size)."""
        if memory is None:
            return hp.split_heads(self.qkv(x), (self.heads, self.kv_heads, self.kv_heads), self.size)
        (q,) = hp.split_heads(self.query(x), (self.heads,), self.size)
        return (q, *hp.split_heads(self.kv(memory), (self.kv_heads, self.kv_heads), self.size))

    def _turned(self, q: Tensor, k: Tensor, v: Tensor, positions: Any, cache: KVCache | None) -> tuple[Tensor, Tensor, KVCache | None]:
        """Return turned queries, all turned keys, and the cache after them.

        Where angles depend on the length of the text the cache keeps keys as they are, and all are turned anew.
        """
        assert self.rope is not None
        before = 0 if cache is None else cache.length
        places = np.arange(before, before + q.shape[2]) if positions is None else devices.to_numpy(as_tensor(positions).data)
        if self.rope.dynamic and cache is not None:
            cache = cache.extended(k, v, places)
            length = int(cache.places.max(initial=0)) + 1
            return self._placed(q, places, length), self._placed(cache.keys, cache.places, length), cache
        q, k = self._placed(q, places, None), self._placed(k, places, None)
        if cache is None:
            return q, k, None
        cache = cache.extended(k, v)
        return q, cache.keys, cache

    def _placed(self, x: Tensor, places: Any, length: int | None) -> Tensor:
        assert self.rope is not None
        turns = self.rope.turns(places, x.dtype, length, x.device)
        return hp.rotate_pairs(x, turns if turns.ndim == 2 else turns.reshape((turns.shape[0], 1, *turns.shape[1:])))

    def _weights(self, q: Tensor, k: Tensor, mask: Mask | None) -> Tensor:
        """Return the probabilities: what attention makes of values that are 1 at one key each."""
        count = k.shape[2]
        each = hp.broadcast_to(hp.eye(count, dtype=q.dtype).to(q.device), (*k.shape[:2], count, count))
        scale = 1.0 / math.sqrt(self.size) if self.scale is None else self.scale
        return hp.attention(q, k, each, mask=mask, scale=scale, bias=self.bias, modifier=self.modifier)
