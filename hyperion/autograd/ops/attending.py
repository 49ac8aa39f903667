"""Attention: softmax(q k^T * scale + bias) v, as one operation that keeps only its output and the log-sum-exp of each row of scores.

    scores = modifier(scale * q k^T) + bias,  -inf where the mask hides     (batch, heads, queries, keys)
    lse    = log(sum(exp(scores)))                                      (batch, heads, queries)
    p      = exp(scores - lse)
    out    = (p * kept) v

`kept` is the dropout: 0, or 1 / (1 - rate). The table of scores is never stored: forward and backward go over it in tiles, and backward
forms p again from the log-sum-exp, so that memory grows with the number of tokens, not with its square. Derivatives of derivatives use the
formula written out in operations of the table. Rows in which nothing is visible give zeros and zero gradients. Half precision is computed
in float32. Keys and values with fewer heads than queries serve several of them in one product; they are not copied.

Source: Vaswani et al. 2017, arXiv:1706.03762; Dao et al. 2022, arXiv:2205.14135; Ainslie et al. 2023, arXiv:2305.13245 (fewer heads).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex, is_half, result_dtype
from hyperion.autograd.graph import state
from hyperion.autograd.masks import ALiBi, Mask, Tile, as_mask
from hyperion.autograd.modifiers import TENSORS, ScoreModifier, check, text_of
from hyperion.autograd.ops.arithmetic import exp
from hyperion.autograd.ops.comparison import equal, where
from hyperion.autograd.ops.products import matmul, matrix_transpose
from hyperion.autograd.ops.reductions import as_floating, sum
from hyperion.autograd.ops.shaping import astype, broadcast_to, reshape, sum_to
from hyperion.autograd.random import Generator
from hyperion.autograd.random.bits import words, words_at
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.visibility import Bits, Intervals, Visibility, visibility
from hyperion.cpu import attention as native
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import attention as flash
from hyperion.gpu import device

__all__ = ["attention"]

# Scores of one tile. On a CPU they are gone over several times, so they should stay in the cache of a core (float32: 1 MB); on a GPU each
# pass is a launch, so there should be few, of 256 MB.
TILE = 1 << 18
GPU_TILE = 1 << 26
ROWS = 128          # queries of a tile at most, eight times that on a GPU: with a causal mask, what lies beyond its last query is left out

# What is drawn for dropout: (rate, key, rows of the batch). Half n % 2 (0: the low 32 bits) of word n // 2 of draw 0 of the key belongs to
# score (b, h, i, j), where n = ((b * heads + h) * queries + i) * wide + j and wide are the keys, rounded up to a multiple of 8: a block of
# the cipher has 8 scores of one row. Under vmap the batch is larger than it was when the key was drawn, and the numbers begin again.
Dropout = tuple[float, tuple[int, int], int]
Parts = tuple["Tensor | None", ...]


class _Plan:
    """How one call goes over its table of scores.

    params: mask (without arrays), scale, biased (whether the first array after v is a bias), slopes (ALiBi), dropout, modifier.
    """

    def __init__(
        self, xp: Any, q: Any, k: Any, v: Any, rest: Sequence[Any], mask: Mask | None, scale: float, biased: bool, slopes: ALiBi | None,
        dropout: Dropout | None, modifier: ScoreModifier | None,
    ) -> None:
        self.xp = xp
        self.batch, self.heads, self.queries, self.width = q.shape
        self.kept_heads, self.keys, self.depth = k.shape[1], k.shape[2], v.shape[-1]
        self.group = self.heads // self.kept_heads
        self.dtype: Any = np.dtype(np.float32) if is_half(q.dtype) else q.dtype
        self.q, self.k, self.v = (x.astype(self.dtype, copy=False) for x in (q, k, v))
        self.bias = rest[0] if biased else None
        self.arrays = rest[biased:]
        self.mask, self.scale, self.slopes, self.dropout, self.modifier = mask, scale, slopes, dropout, modifier

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles: queries of some heads of one row of the batch, or of all heads of some rows."""
        group = self.group
        scores, most = (TILE, ROWS) if self.xp is np else (GPU_TILE, 8 * ROWS)
        rows = min(self.queries, most)
        room = max(1, scores // max(1, group * rows * self.keys))           # heads of keys that a tile holds
        rows = rows if room > 1 else min(rows, max(16, scores // max(1, group * self.keys)))
        batches = max(1, room // self.kept_heads)
        heads = min(room, self.kept_heads) * group
        for low in range(0, self.batch, batches):
            for head in range(0, self.heads, heads):
                for row in range(0, self.queries, rows):
                    part = row, min(row + rows, self.queries)
                    keys = (0, self.keys) if self.mask is None else self.mask.bounds(part, self.queries, self.keys)
                    yield Tile(
                        (low, min(low + batches, self.batch)), (head, min(head + heads, self.heads)), part, keys, self.queries, self.keys
                    )

    def rows_of(self, x: Any, tile: Tile) -> Any:
        """Return the part of an array (batch, heads, queries, n), with the heads that share keys as one run of rows."""
        part = x[slice(*tile.batch), slice(*tile.heads), slice(*tile.rows)]
        return part.reshape(part.shape[0], part.shape[1] // self.group, -1, x.shape[-1])

    def keys_of(self, x: Any, tile: Tile) -> Any:
        """Return the part of keys or values (batch, heads of keys, keys, n)."""
        heads = tile.heads[0] // self.group, tile.heads[1] // self.group
        return x[slice(*tile.batch), slice(*heads), slice(*tile.keys)]

    def scores(self, tile: Tile, rows: Any, bends: bool = False) -> tuple[Any, Any]:
        """Return the scores of a tile, of scaled queries, -inf where hidden; and (bends) the slopes of the modifier, if there is one."""
        xp, bend = self.xp, None
        table = xp.matmul(rows, self.keys_of(self.k, tile).swapaxes(-1, -2)).reshape(tile.shape)
        if self.modifier is not None:
            places = _places(xp, tile, self.dtype)
            if bends:
                bend = xp.empty_like(table)
                bend[...] = self.modifier.slope(xp, table, *places)
            table[...] = self.modifier.value(xp, table, *places)
        if self.bias is not None:
            table += tile.of(self.bias)
        if self.slopes is not None:
            table += self.slopes.values(xp, tile, self.dtype)
        if self.mask is not None:
            seen = self.mask.visible(xp, iter(self.arrays), tile)
            if seen is not None:
                xp.copyto(table, -xp.inf, where=~seen)
                if bend is not None:
                    xp.copyto(bend, 0.0, where=~seen)
        return table, bend

    def kept(self, tile: Tile) -> Any:
        """Return the factors of dropout of a tile."""
        assert self.dropout is not None
        return _kept(self.xp, self.dropout, self.heads, tile, self.dtype)


def _places(xp: Any, tile: Tile, dtype: Any) -> tuple[Any, Any, Any]:
    """Return the numbers of heads, queries (by the keys at whose place they stand) and keys of a tile, as modifiers take them."""
    rows, keys = tile.places(xp, None)
    return xp.arange(*tile.heads).astype(dtype)[:, None, None], rows.astype(dtype), keys.astype(dtype)


def _kept(xp: Any, dropout: Dropout, heads: int, tile: Tile, dtype: Any) -> Any:
    """Return 0 or 1 / (1 - rate) for each score of a tile."""
    rate, key, rows = dropout
    limit = xp.uint32(min(int(rate * 2.0**32), 2**32 - 1))
    each = -(-tile.whole_keys // 8) * 4          # words of a row
    if xp is not np:        # one launch for the tile: the words are those below
        b, h = xp.arange(*tile.batch, dtype=xp.uint64) % xp.uint64(rows), xp.arange(*tile.heads, dtype=xp.uint64)
        low = tile.keys[0] // 2
        i, j = xp.arange(*tile.rows, dtype=xp.uint64), xp.arange(low, (tile.keys[1] + 1) // 2, dtype=xp.uint64)
        row = (b[:, None, None] * xp.uint64(heads) + h[:, None]) * xp.uint64(tile.whole_rows) + i
        halves = words_at(xp, key, 0, 0, row[..., None] * xp.uint64(each) + j).view(np.uint32)
        kept = (halves[..., tile.keys[0] - 2 * low:tile.keys[1] - 2 * low] >= limit).astype(dtype)
        kept *= 1.0 / (1.0 - rate)
        return kept
    out = xp.empty(tile.shape, dtype=dtype)
    count = (tile.rows[1] - tile.rows[0]) * each
    for b in range(*tile.batch):
        for h in range(*tile.heads):
            start = ((b % rows * heads + h) * tile.whole_rows + tile.rows[0]) * each
            halves = words(xp, key, 0, 0, start, count).astype("<u8", copy=False).view("<u4").reshape(-1, 2 * each)
            out[b - tile.batch[0], h - tile.heads[0]] = halves[:, slice(*tile.keys)] >= limit
    out *= 1.0 / (1.0 - rate)
    return out


def _fused(xp: Any, q: Any, k: Any, v: Any, modifier: ScoreModifier | None) -> bool:
    """Tell whether the kernels of the GPU take a call."""
    return xp is not np and (modifier is None or text_of(modifier) is not None) and flash.serves(q, k, v)


def _extras(
    q: Any, k: Any, rest: Sequence[Any], biased: bool, slopes: ALiBi | None, dropout: Dropout | None, modifier: ScoreModifier | None,
    **_: Any,
) -> flash.Extras:
    """Return what the kernels of the GPU need to know of a call beside its mask."""
    offset = None if slopes is None else slopes.offset
    return flash.Extras(
        None if modifier is None else text_of(modifier), rest[0] if biased else None, None if slopes is None else slopes.slopes,
        k.shape[2] - q.shape[2] if offset is None else offset, dropout)


def _seen(xp: Any, mask: Mask | None, arrays: Sequence[Any], q: Any, k: Any) -> Visibility:
    batch, heads, queries, _ = q.shape
    return visibility(xp, mask, arrays, batch, heads, queries, k.shape[2])


def _native(plan: _Plan) -> bool:
    """Tell whether the kernels of the CPU take a call."""
    text = None if plan.modifier is None else text_of(plan.modifier)
    return (plan.modifier is None or text is not None) and native.serves(plan.q, plan.k, plan.v, text)


def _terms(plan: _Plan) -> native.Terms:
    """Return what the kernels of the CPU need to know of a call."""
    slopes, offset, intervals, bits = None, 0, None, None
    if plan.slopes is not None:
        slopes, offset = np.asarray(plan.slopes.slopes, plan.dtype), plan.slopes.offset
    if plan.mask is not None:
        seen = _seen(np, plan.mask, plan.arrays, plan.q, plan.k)
        if isinstance(seen, Intervals):
            intervals = seen.first, seen.last
        elif isinstance(seen, Bits):
            bits = seen.words
    shift = plan.keys - plan.queries if offset is None else offset
    modifier = None if plan.modifier is None else text_of(plan.modifier)
    return native.Terms(plan.scale, plan.bias, slopes, shift, intervals, bits, plan.dropout, modifier)


def _forward(xp: Any, q: Any, k: Any, v: Any, *rest: Any, **params: Any) -> tuple[Any, Any]:
    """Return the output, in the dtype of q, and the log-sum-exp, in float32 or float64."""
    if _fused(xp, q, k, v, params["modifier"]):
        seen = _seen(xp, params["mask"], rest[params["biased"]:], q, k)
        return flash.forward(q, k, v, seen, params["scale"], _extras(q, k, rest, **params))
    plan = _Plan(xp, q, k, v, rest, **params)
    if _native(plan):
        made, lse = native.forward(plan.q, plan.k, plan.v, _terms(plan))
        return made.astype(q.dtype, copy=False), lse
    out = xp.zeros((*q.shape[:-1], plan.depth), dtype=q.dtype)
    lse = xp.full(q.shape[:-1], -xp.inf, dtype=plan.dtype)
    for tile in plan.tiles():
        if tile.keys[0] == tile.keys[1]:
            continue
        table, _ = plan.scores(tile, plan.rows_of(plan.q, tile) * plan.scale)
        top = table.max(axis=-1, keepdims=True)
        top[top == -xp.inf] = 0.0       # nothing visible: exp(-inf - 0) = 0, where exp(-inf + inf) is NaN
        table -= top
        xp.exp(table, out=table)
        total = table.sum(axis=-1, keepdims=True)
        if plan.dropout is not None:
            table *= plan.kept(tile)
        part = xp.matmul(table.reshape(*plan.rows_of(plan.q, tile).shape[:3], -1), plan.keys_of(plan.v, tile))
        part = part.reshape(*tile.shape[:3], plan.depth)
        empty = total == 0.0
        part /= total + empty
        place = slice(*tile.batch), slice(*tile.heads), slice(*tile.rows)
        out[place] = part
        lse[place] = xp.where(empty, -xp.inf, top + xp.log(total + empty))[..., 0]
    return out, lse


def _backward_forward(
    xp: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, g: Any, of_lse: Any, *rest: Any, pull_bias: bool, **params: Any,
) -> tuple[Any, ...]:
    """Return the cotangents of q, k and v, and that of the bias if it is wanted, given those of the output and the log-sum-exp."""
    if _fused(xp, q, k, v, params["modifier"]):
        seen = _seen(xp, params["mask"], rest[params["biased"]:], q, k)
        *found, to_bias = flash.backward(
            q, k, v, out, lse, g, of_lse, seen, params["scale"], _extras(q, k, rest, **params), not state.deterministic, pull_bias)
        return tuple(found) if to_bias is None else (*found, to_bias)
    plan = _Plan(xp, q, k, v, rest, **params)
    g = g.astype(plan.dtype, copy=False)
    if not (pull_bias and plan.bias is not None) and _native(plan):
        found = native.backward(plan.q, plan.k, plan.v, out.astype(plan.dtype, copy=False), lse, g, of_lse, _terms(plan))
        return tuple([x.astype(like.dtype, copy=False) for x, like in zip(found, (q, k, v), strict=True)])
    shift = (g * out.astype(plan.dtype, copy=False)).sum(axis=-1) - of_lse
    base = xp.where(lse == -xp.inf, 0.0, lse).astype(plan.dtype, copy=False)
    to_q = xp.zeros(q.shape, dtype=plan.dtype)
    to_k, to_v = (xp.zeros(x.shape, dtype=plan.dtype) for x in (k, v))
    to_bias = xp.zeros(plan.bias.shape, dtype=plan.dtype) if pull_bias and plan.bias is not None else None
    for tile in plan.tiles():
        if tile.keys[0] == tile.keys[1]:
            continue
        place = slice(*tile.batch), slice(*tile.heads), slice(*tile.rows)
        rows, seeds = plan.rows_of(plan.q, tile) * plan.scale, plan.rows_of(g, tile)
        p, bend = plan.scores(tile, rows, bends=True)
        p -= base[place][..., None]
        xp.exp(p, out=p)
        flat = (*rows.shape[:3], -1)
        slope = xp.matmul(seeds, plan.keys_of(plan.v, tile).swapaxes(-1, -2)).reshape(tile.shape)
        weights = p
        if plan.dropout is not None:
            kept = plan.kept(tile)
            weights = p * kept
            slope *= kept
        plan.keys_of(to_v, tile)[...] += xp.matmul(weights.reshape(flat).swapaxes(-1, -2), seeds)
        slope -= shift[place][..., None]
        slope *= p
        if to_bias is not None:
            part = tile.of(to_bias)
            part += _summed(slope, part.shape)
        if bend is not None:
            slope *= bend
        slope = slope.reshape(flat)
        plan.keys_of(to_k, tile)[...] += xp.matmul(slope.swapaxes(-1, -2), rows)
        pulled = xp.matmul(slope, plan.keys_of(plan.k, tile))
        pulled *= plan.scale
        to_q[place] = pulled.reshape(*tile.shape[:3], plan.width)
    found = [to_q.astype(q.dtype, copy=False), to_k.astype(k.dtype, copy=False), to_v.astype(v.dtype, copy=False)]
    return tuple(found) if to_bias is None else (*found, to_bias.astype(rest[0].dtype, copy=False))


def _summed(x: Any, shape: tuple[int, ...]) -> Any:
    axes = tuple([i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1])
    return x.sum(axis=axes, keepdims=True) if axes else x


# The formula written out in operations of the table: what derivatives of derivatives are made of.

def _groups(x: Tensor, k: Tensor) -> Tensor:
    """Return (batch, heads, queries, n) as (batch, heads of keys, queries of the heads that share them, n)."""
    return reshape(x, (x.shape[0], k.shape[1], x.shape[1] // k.shape[1] * x.shape[2], x.shape[3]))


def _times_keys(x: Tensor, k: Tensor) -> Tensor:
    """Return x k^T: (batch, heads, queries, keys)."""
    return reshape(matmul(_groups(x, k), matrix_transpose(k)), (*x.shape[:3], k.shape[2]))


def _times_values(table: Tensor, v: Tensor) -> Tensor:
    """Return table v: (batch, heads, queries, n)."""
    return reshape(matmul(_groups(table, v), v), (*table.shape[:3], v.shape[3]))


def _onto_keys(table: Tensor, x: Tensor, k: Tensor) -> Tensor:
    """Return table^T x, summed over the heads that share keys: (batch, heads of keys, keys, n)."""
    return matmul(matrix_transpose(_groups(table, k)), _groups(x, k))


def _constants(
    q: Tensor, k: Tensor, rest: Sequence[Tensor], mask: Mask | None, biased: bool, slopes: ALiBi | None, dropout: Dropout | None,
    dtype: Any,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return what does not depend on floating inputs, for the whole table: bools of what is visible, ALiBi's bias, factors of dropout."""
    xp = device.namespace(q.data)
    tile = Tile((0, q.shape[0]), (0, q.shape[1]), (0, q.shape[2]), (0, k.shape[2]), q.shape[2], k.shape[2])
    masks = rest[biased:]
    if mask is not None and any(isinstance(x.data, device.Standin) for x in masks):
        def visible(arrays: Sequence[Any]) -> Any:      # of a function that is being compiled: looked at in every run
            found = mask.visible(np, iter(arrays), tile)
            return np.ones(tile.shape, bool) if found is None else np.broadcast_to(found, tile.shape).copy()

        shown: Tensor | None = state.recorder.host("visible", masks, visible)
    else:
        seen = None if mask is None else mask.visible(xp, iter([x.data for x in masks]), tile)
        shown = None if seen is None else Tensor(seen)
    return (
        shown, None if slopes is None else Tensor(slopes.values(xp, tile, dtype)),
        None if dropout is None else Tensor(_kept(xp, dropout, q.shape[1], tile, dtype)),
    )


class _Written:
    """The formula, at the log-sum-exp that the operation kept.

    p: the probabilities.  kept: factors of dropout, or None.  bend: slopes of the modifier, or None.
    q, k, v: in the dtype of the computation.
    """

    def __init__(
        self, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, rest: Sequence[Tensor], mask: Mask | None, scale: float, biased: bool,
        slopes: ALiBi | None, dropout: Dropout | None, modifier: ScoreModifier | None,
    ) -> None:
        self.dtype = lse.dtype
        self.scale = scale
        self.q, self.k, self.v = (astype(x, self.dtype) for x in (q, k, v))
        self.seen, fall, self.kept = _constants(q, k, rest, mask, biased, slopes, dropout, self.dtype)
        scores = _times_keys(self.q, self.k) * scale
        self.bend: Any = None
        if modifier is not None:
            xp, whole = device.namespace(q.data), Tile((0, 1), (0, q.shape[1]), (0, q.shape[2]), (0, k.shape[2]), q.shape[2], k.shape[2])
            places = [Tensor(x) for x in _places(xp, whole, self.dtype)]
            self.bend = modifier.slope(TENSORS, scores, *places)
            scores = broadcast_to(as_tensor(modifier.value(TENSORS, scores, *places)), scores.shape)
        if biased:
            scores = scores + astype(rest[0], self.dtype)
        if fall is not None:
            scores = scores + fall
        base = where(equal(lse, -math.inf), 0.0, lse)
        p = exp(self.hidden(scores - reshape(base, (*base.shape, 1))))
        self.p = self.hidden(p)

    def hidden(self, table: Tensor) -> Tensor:
        """Return a table with zeros where nothing is visible."""
        return table if self.seen is None else where(self.seen, table, 0.0)

    def bent(self, table: Tensor) -> Tensor:
        """Return a table times the slopes of the modifier, with zeros where nothing is visible."""
        return table if self.bend is None else self.hidden(table * self.bend)

    def dropped(self, table: Tensor) -> Tensor:
        """Return a table times the factors of dropout."""
        return table if self.kept is None else table * self.kept


def _vjp(g: Parts, out: Sequence[Tensor], q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, **params: Any) -> Parts:
    """Pull back: by the kernel, or where the pull itself is recorded by the formula."""
    of_out, of_lse = g
    biased: bool = params["biased"]
    pull_bias = biased and rest[0].tracked
    none = (None,) * (len(rest) - biased)
    given = (q, k, v, *rest[:biased], *(x for x in g if x is not None))
    if not (state.recording and any([x.tracked for x in given])):
        xp = device.namespace(q.data)
        seed = Tensor(xp.zeros(out[0].shape, dtype=out[0].dtype)) if of_out is None else of_out
        shift = Tensor(xp.zeros(out[1].shape, dtype=out[1].dtype)) if of_lse is None else of_lse
        found: Any = _backward(q, k, v, out[0], out[1], seed, shift, *rest, pull_bias=pull_bias, **params)
        return (*found[:3], *((found[3] if pull_bias else None,) if biased else ()), *none)
    formula = _Written(out[1], q, k, v, rest, **params)
    slope: Tensor | None = None
    to_v = None
    if of_out is not None:
        seed = astype(of_out, formula.dtype)
        to_v = astype(_onto_keys(formula.dropped(formula.p), seed, v), v.dtype)
        spread = sum(seed * astype(out[0], formula.dtype), -1, keepdims=True)
        slope = formula.p * (formula.dropped(_times_keys(seed, formula.v)) - spread)
    if of_lse is not None:
        more = formula.p * reshape(of_lse, (*of_lse.shape, 1))
        slope = more if slope is None else slope + more
    assert slope is not None
    bent = formula.bent(slope)
    to_q = astype(_times_values(bent, formula.k) * formula.scale, q.dtype)
    to_k = astype(_onto_keys(bent, formula.q, k) * formula.scale, k.dtype)
    to_bias = (astype(sum_to(slope, rest[0].shape), rest[0].dtype) if pull_bias else None,) if biased else ()
    return (to_q, to_k, to_v, *to_bias, *none)


def _jvp(tangents: list[Tensor | None], out: Sequence[Tensor], q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, **params: Any) -> Parts:
    formula = _Written(out[1], q, k, v, rest, **params)
    of_q, of_k, of_v = (None if t is None else astype(t, formula.dtype) for t in tangents[:3])
    terms: list[Tensor] = []
    if of_q is not None:
        terms.append(formula.bent(_times_keys(of_q, formula.k) * formula.scale))
    if of_k is not None:
        terms.append(formula.bent(_times_keys(formula.q, of_k) * formula.scale))
    if params["biased"] and (of_bias := tangents[3]) is not None:
        terms.append(broadcast_to(astype(of_bias, formula.dtype), formula.p.shape))
    of_out = None if of_v is None else _times_values(formula.dropped(formula.p), of_v)
    of_lse = None
    if terms:
        of_scores = terms[0]
        for term in terms[1:]:
            of_scores = of_scores + term
        moved = formula.p * of_scores
        of_lse = sum(moved, -1)
        along = _times_values(formula.dropped(moved), formula.v) - astype(out[0], formula.dtype) * reshape(of_lse, (*of_lse.shape, 1))
        of_out = along if of_out is None else of_out + along
    return (None if of_out is None else astype(of_out, out[0].dtype), of_lse)


# Batches: the examples join the batch axis. Arrays that are the same for all, and have length 1 there, stay as they are.

def _merged(inputs: Sequence[Tensor], batched: Sequence[bool], batch: int, share: Sequence[bool]) -> tuple[int, list[Tensor]]:
    size = next(x.shape[0] for x, has in zip(inputs, batched, strict=True) if has)
    merged: list[Tensor] = []
    for x, has, shared in zip(inputs, batched, share, strict=True):
        if not has and shared and x.shape[0] == 1:
            merged.append(x)
            continue
        inner = x.shape[has + 1:]
        whole = broadcast_to(x if has else reshape(x, (1, *x.shape)), (size, batch, *inner))
        merged.append(reshape(whole, (size * batch, *inner)))
    return size, merged


def _parted(x: Tensor, size: int) -> Tensor:
    return reshape(x, (size, x.shape[0] // size, *x.shape[1:]))


def _batched_attention(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> tuple[Tensor, ...]:
    size, merged = _merged(inputs, batched, inputs[0].shape[batched[0]], [i > 2 for i in range(len(inputs))])
    return tuple([_parted(x, size) for x in op(*merged, **params)])


def _batched_backward(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> tuple[Tensor, ...]:
    last = 7 + params["biased"]
    size, merged = _merged(inputs, batched, inputs[0].shape[batched[0]], [i >= last for i in range(len(inputs))])
    found = [_parted(x, size) for x in op(*merged, **params)]
    if params["pull_bias"] and inputs[7].shape[batched[7]] == 1:
        found[3] = sum(found[3], 1, keepdims=True)
    return tuple(found)


_attention = general(
    "attention", _forward, _vjp, _jvp, outputs=2, batch=_batched_attention,
    doc="Return softmax(scale q k^T + bias) v and the log-sum-exp of each row of scores; see `hyperion.attention`.",
)
# Only called where nothing is recorded; where something is, the formula takes its place.
_backward = general(
    "attention_backward", _backward_forward, outputs=None, differentiable=False, batch=_batched_backward,
    doc="Return the cotangents of q, k, v, and of the bias, from those of the output and of the log-sum-exp.",
)


def table_of(mask: Any, queries: int, keys: int, batch: int = 1, heads: int = 1) -> Any:
    """Return what a mask lets be seen, as bools (queries, keys), or (batch, heads, queries, keys) if one of these is above 1.

    >>> from hyperion.autograd.masks import Causal
    >>> int(table_of(Causal(), 3, 3).sum())
    6
    """
    mask = as_mask(mask)
    mask.check(batch, heads, queries, keys)
    tile = Tile((0, batch), (0, heads), (0, queries), (0, keys), queries, keys)
    seen = mask.visible(np, iter([device.to_numpy(x.data) for x in mask.arrays]), tile)
    whole = np.broadcast_to(np.True_ if seen is None else seen, (batch, heads, queries, keys))
    return whole[0, 0] if batch == heads == 1 else whole


def _four_axes(x: Tensor, name: str) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"attention({name}): {name} has shape {x.shape}; it must be (batch, heads, tokens, head size)")
    if x.ndim == 4:
        return x
    heads = x.shape[-3] if x.ndim > 2 else 1
    return reshape(x, (math.prod(x.shape[:-3]), heads, *x.shape[-2:]))


def _refuse_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"attention(q, k): q has head size {q.shape[-1]}, k has {k.shape[-1]}; they must agree")
    if k.shape[:3] != v.shape[:3]:
        raise ShapeError(f"attention(k, v): k has shape {k.shape}, v has {v.shape}; all but the last axis must agree")
    if q.shape[0] != k.shape[0]:
        raise ShapeError(f"attention(q, k): q has shape {q.shape}, k has {k.shape}; the first axis, the batch, must agree")
    if not k.shape[1] or q.shape[1] % k.shape[1]:
        raise ShapeError(f"attention(q, k): q has {q.shape[1]} heads, k has {k.shape[1]}; the heads of k must divide those of q")


def _dropout(dropout: Any, batch: int) -> Dropout | None:
    if dropout is None:
        return None
    if not (isinstance(dropout, tuple | list) and len(dropout) == 2 and isinstance(dropout[1], Generator)):     # pyright: ignore[reportUnknownArgumentType]
        raise InputError(f"attention(dropout): dropout={dropout!r}; give (rate, generator), for example (0.1, hp.random.Generator(0))")
    rate: Any = dropout[0]          # pyright: ignore[reportUnknownVariableType]
    generator: Generator = dropout[1]
    if not isinstance(rate, int | float) or not 0.0 <= rate < 1.0:
        raise InputError(f"attention(dropout): rate={rate!r} must be at least 0 and below 1")
    if rate == 0.0:
        return None
    return float(rate), _key(generator) if state.recorder is None else state.recorder.key(generator, _key), batch


def _key(generator: Generator) -> tuple[int, int]:
    """Return the key of a generator that is split off."""
    key: str = generator.split(1)[0].state()["key"]
    return int(key[:16], 16), int(key[16:], 16)


def attention(
    q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None, dropout: Any = None, bias: Any = None, return_lse: bool = False,
    modifier: ScoreModifier | None = None,
) -> Any:
    """Return softmax(scale q k^T + bias) v over the keys that a mask lets be seen.

    q: (batch, heads, queries, head size).  k: (batch, heads of keys, keys, head size).  v: (batch, heads of keys, keys, any size).
        The heads of keys divide those of q: each serves that many of them. Axes before the last two may be left out, or be more than two.
    mask: a mask (nn.Causal(), nn.SlidingWindow(...), ...; they combine with & and |), or bools that broadcast to (batch, heads, queries,
        keys), True: visible; None: all are. A row in which nothing is visible gives zeros.
    scale: of the scores; None: 1 / sqrt(head size).  dropout: (rate, generator), of the probabilities.
    bias: added to the scores: numbers that broadcast to (batch, heads, queries, keys), or nn.ALiBi(heads).
    return_lse: return the logarithm of the sum of the exponentials of each row of scores too, (batch, heads, queries), -inf where nothing
        is visible; float32 for half precision.
    modifier: what becomes of scores before the bias is added: nn.SoftCap(limit), or a nn.ScoreModifier of your own; None: they stay.
    Returns: (batch, heads, queries, size of v), in the dtype of the inputs together. Memory grows with the tokens, not with their square.
    Raises: ShapeError if shapes do not fit; DtypeError for complex inputs or a mask of numbers; InputError for a bad scale, dropout or
        modifier.
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; Dao et al. 2022, arXiv:2205.14135.

    >>> q, k = np.ones((1, 1, 2, 4)), np.ones((1, 1, 2, 4))
    >>> attention(q, k, np.array([1.0, 3.0]).reshape(1, 1, 2, 1))[0, 0, :, 0]
    Tensor (2,) float64, cpu: [2. 2.]
    """
    given = [as_floating(x) for x in (q, k, v)]
    lead = given[0].shape[:-2]
    queries, keys, values = (_four_axes(x, name) for x, name in zip(given, "qkv", strict=True))
    if any(is_complex(x.dtype) for x in given):
        raise DtypeError(f"attention(q, k, v): dtypes {', '.join(str(x.dtype) for x in given)}; all must be real")
    _refuse_shapes(queries, keys, values)
    dtype = result_dtype(x.dtype for x in given)
    queries, keys, values = (x if x.dtype == dtype else astype(x, dtype) for x in (queries, keys, values))
    table = queries.shape[0], queries.shape[1], queries.shape[2], keys.shape[2]
    rest: list[Tensor] = []
    slopes = bias if isinstance(bias, ALiBi) else None
    if slopes is not None and len(slopes.slopes) != table[1]:
        raise ShapeError(f"attention(bias): {slopes!r} for q of {table[1]} heads; they must agree")
    biased = bias is not None and slopes is None
    if biased:
        rest.append(_fitted_bias(bias, table))
    seen = None if mask is None else as_mask(mask)
    if seen is not None:
        seen.check(*table)
        rest += [x if x.device == queries.device else x.to(queries.device) for x in seen.arrays]
    factor = 1.0 / math.sqrt(queries.shape[3] or 1) if scale is None else scale
    if not isinstance(factor, int | float | np.floating) or not math.isfinite(factor):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"attention(scale): scale={scale!r} must be a finite number")
    if modifier is not None and not isinstance(modifier, ScoreModifier):        # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"attention(modifier): modifier={modifier!r} must be a nn.ScoreModifier, such as nn.SoftCap(50.0), or None")
    if modifier is not None:
        check(modifier)
    out, lse = _attention(
        queries, keys, values, *rest, mask=None if seen is None else seen.bare(), scale=float(factor), biased=biased, slopes=slopes,
        dropout=_dropout(dropout, table[0]), modifier=modifier,
    )
    if len(lead) != 2:
        out, lse = reshape(out, (*lead, *out.shape[2:])), reshape(lse, (*lead, lse.shape[2]))
    return (out, lse) if return_lse else out


def _fitted_bias(bias: Any, table: tuple[int, ...]) -> Tensor:
    found = as_tensor(bias)
    if found.dtype.kind == "b":
        raise DtypeError("attention(bias): bias is bool; bools go to mask=, a bias is added to the scores")
    found = as_floating(found)
    shape = (*(1,) * (4 - found.ndim), *found.shape)
    if is_complex(found.dtype):
        raise DtypeError(f"attention(bias): bias is {found.dtype}; it must be real")
    if len(shape) != 4 or any(n not in (1, m) for n, m in zip(shape, table, strict=True)):
        raise ShapeError(f"attention(bias): bias has shape {found.shape}; it must broadcast to {table}: (batch, heads, queries, keys)")
    return found if found.shape == shape else reshape(found, shape)
