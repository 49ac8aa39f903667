"""Python side of `kernels/attention_general_*.cu`: attention on GPUs from sm_80 on, with all that scores can go through."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import hopper
from .attention_arrays import (
    FLOAT,
    INT,
    LOG2E,
    LONG,
    POINTER,
    device_traits,
    empty_beside,
    empty_like,
    filled,
    fit,
    listed,
    mask_struct,
    named_steps,
    ordered,
    span,
    struct,
    unordered,
)
from .launching import cupy, header, source

__all__ = ["NOTHING", "Extras", "backward", "forward"]

# The structs of the kernels, name by name.
FORWARD = struct(
    (POINTER, "q k v out lse"), (LONG, "q_batch q_head q_row k_batch k_head k_row v_batch v_head v_row o_batch o_head o_row"),
    (INT, "batch heads group queries keys bytes bytes_v row_blocks span longest_first"), (FLOAT, "scale scale_log2"))
EXTRAS = struct(
    (POINTER, "bias slopes"), (LONG, "bias_batch bias_head bias_row bias_key"), (np.uint64, "key0 key1"), (np.uint32, "limit"),
    (FLOAT, "kept"), (INT, "rows_of_batch wide offset shift"))
BACKWARD = struct(
    (POINTER, "q k v of_o lse shift to_x to_y to_bias"),
    (LONG, "q_batch q_head q_row k_batch k_head k_row v_batch v_head v_row g_batch g_head g_row x_batch x_head x_row y_batch y_head y_row"),
    (INT, "batch heads group queries keys bytes bytes_v padded blocks span longest_first tiles"),
    (INT, "bias_batch bias_heads bias_rows bias_keys"), (FLOAT, "scale scale_log2"))
ROWS = struct(
    (POINTER, "o of_o lse of_lse lse_log2 shift"), (LONG, "o_batch o_head o_row g_batch g_head g_row"),
    (INT, "batch heads queries padded bytes_v"))
QUERIES, KEYS, TABLE = 0, 1, 2          # what a block of the backward kernel owns


@dataclass(frozen=True)
class Extras:
    """What scores and probabilities go through.

    modifier: C text of the functions `modified` and `modified_slope` of (score, head, query, key): FUNCTION before each, numbers `real`.
    bias: an array (1 | batch, 1 | heads, 1 | queries, 1 | keys).  slopes, offset: of ALiBi, and key - query where it is 0.
    dropout: (rate, key of Philox, rows of the batch after which the numbers begin again).
    """

    modifier: str | None = None
    bias: Any = None
    slopes: tuple[float, ...] | None = None
    offset: int = 0
    dropout: tuple[float, tuple[int, int], int] | None = None

    @property
    def edits(self) -> bool:
        """Whether scores are more than products."""
        return self.modifier is not None or self.bias is not None or self.slopes is not None

    @property
    def plain(self) -> bool:
        """Whether there is nothing that scores or probabilities go through."""
        return not self.edits and self.dropout is None

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        kind = 0 if self.bias is None else 2 if self.bias.dtype == np.float32 else 1
        return {"MODIFIED": int(self.modifier is not None), "BIAS": kind, "ALIBI": int(self.slopes is not None),
                "DROPOUT": int(self.dropout is not None)}


NOTHING = Extras()


@dataclass(frozen=True)
class Tiling:
    """What a forward kernel is compiled for.

    head: head size, a multiple of 32.  warps, tiles: of 16 queries, `tiles` for each warp.  keys: of a tile.  blocks: on a multiprocessor.
    """

    head: int
    single: bool
    warps: int
    tiles: int
    keys: int
    blocks: int

    @property
    def rows(self) -> int:
        """Queries of a block of threads."""
        return 16 * self.warps * self.tiles

    @property
    def shared(self) -> int:
        """Shared memory of a block [bytes]."""
        return (self.rows + 2 * self.keys) * (self.head * (4 if self.single else 2) + 16)

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        return {"HEAD": self.head, "SINGLE": int(self.single), "WARPS": self.warps, "TILES": self.tiles, "KEYS": self.keys,
                "BLOCKS": self.blocks}


def tilings(head: int, single: bool, plain: bool, band: bool) -> list[Tiling]:
    """Return tilings for a head size, the fastest first; later ones take less shared memory.

    plain: nothing is done to scores.  band: the mask is one. They are as large as registers allow.
    """
    head = -(-head // 32) * 32
    if single:
        return [Tiling(head, True, 4, 1, 32, 2 if head <= 128 else 1), Tiling(head, True, 2, 1, 32, 1)]
    if head > 128:
        return [Tiling(head, False, 8, 1, 64 if plain else 32, 1), Tiling(head, False, 4, 1, 32, 1)]
    keys = (96 if band else 64) if head <= 64 else 64 if band else 32
    return [Tiling(head, False, 4, 2, keys, 2) if plain else Tiling(head, False, 4, 1, 64, 2),
            Tiling(head, False, 4, 1, 32, 2)]


@dataclass(frozen=True)
class BackTiling:
    """What a backward kernel is compiled for.

    side: QUERIES, KEYS or TABLE.  gives: 1, 2 or 3: the gradient of what is like q or k, of what is like v, or both.
    warps: of 16 rows of the block's own.  other: rows of a tile that it meets.  stages: tiles on their way.
    """

    head: int
    single: bool
    side: int
    gives: int
    warps: int
    other: int
    stages: int
    blocks: int = 1

    @property
    def own(self) -> int:
        """Rows of a block of threads."""
        return 16 * self.warps

    @property
    def shared(self) -> int:
        """Shared memory of a block [bytes]."""
        pitch = self.head * (4 if self.single else 2) + 16
        return 2 * self.own * pitch + self.stages * (2 * self.other * pitch + 8 * self.other)

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        return {"HEAD": self.head, "SINGLE": int(self.single), "SIDE": self.side, "GIVES": self.gives, "WARPS": self.warps,
                "OTHER": self.other, "STAGES": self.stages, "BLOCKS": self.blocks}


def back_tilings(head: int, single: bool, plain: bool, side: int, gives: int) -> list[BackTiling]:
    """Return tilings of the backward kernels as `tilings` does."""
    head = -(-head // 32) * 32
    large = head <= 128 and not single and plain and not (side == KEYS and head > 64)
    wide = single or head > 128 or not plain        # else two blocks of half the rows are faster than one
    parts = ((4, 1), (2, 1), (1, 1)) if side == TABLE else (*(((8, 2),) if wide else ()), (4, 2), (4, 1), (2, 1), (1, 1))
    return [BackTiling(head, single, side, gives, warps, 64 if large else 32, stages) for warps, stages in parts]


def passes(head: int, single: bool, plain: bool) -> tuple[int, ...]:
    """Return what the kernels that own keys give, one after the other: both gradients at once where registers hold the sums of both."""
    return (3,) if head <= 64 or (head <= 128 and (plain or not single)) else (1, 2)


def text(name: str, modifier: str | None) -> str:
    """Return the CUDA text of a kernel file with what it needs before it."""
    if name.endswith("rows"):
        return header("numbers") + source(name)
    back = [] if name.endswith("forward") else [header("attention_general_back")]
    return "\n".join([header("numbers"), header("warp"), header("attention"), header("mma"), _functions(modifier),
                      header("attention_general"), *back, source(name)])


def _functions(modifier: str | None) -> str:
    """Return the text of a modifier with what it needs before it."""
    if modifier is None:
        return ""
    return "\n".join(["typedef float real;", header("maths"), "#define FUNCTION __device__ __forceinline__", modifier])


def options(tiling: Any, brain: bool, mask: int, extras: Extras) -> tuple[str, ...]:
    """Return what the compiler is told. mask: as in attention.cuh."""
    return tuple([f"-D{key}={value}" for key, value in {"BF16": int(brain), "MASK": mask, **tiling.macros(), **extras.macros()}.items()])


@functools.cache
def _kernel(name: str, modifier: str | None, told: tuple[str, ...], threads: int, shared: int, device: int) -> Any:
    code = hopper.compiled(text(name, modifier), told, f"sm_{device_traits(device)[0]}")
    return hopper.Kernel(code, name, threads, shared)


@functools.cache
def _on_device(numbers: tuple[float, ...], device: int) -> Any:
    return cupy().asarray(numbers, dtype=np.float32)


def _struct_of(extras: Extras, device: int, queries: int, keys: int) -> Any:
    bias = extras.bias
    values: dict[str, Any] = {"offset": extras.offset, "shift": keys - queries}
    if bias is not None:
        apart = [step // bias.dtype.itemsize if n > 1 else 0 for n, step in zip(bias.shape, bias.strides, strict=True)]
        values |= dict(zip(("bias_batch", "bias_head", "bias_row", "bias_key"), apart, strict=True)) | {"bias": bias.data.ptr}
    if extras.slopes is not None:
        values["slopes"] = _on_device(extras.slopes, device).data.ptr
    if extras.dropout is not None:
        rate, (key0, key1), rows = extras.dropout
        values |= {"key0": key0, "key1": key1, "limit": min(int(rate * 2.0**32), 2**32 - 1), "kept": 1 / (1 - rate), "rows_of_batch": rows,
                   "wide": -(-keys // 8) * 8}
    return filled(EXTRAS, **values)


def _fitted(extras: Extras, dtype: Any) -> Extras:
    """Return the same with a bias that the kernels read: in the type of the inputs, or in float32."""
    bias = extras.bias
    if bias is None or bias.dtype in (dtype, np.float32):
        return extras
    return Extras(extras.modifier, bias.astype(np.float32), extras.slopes, extras.offset, extras.dropout)


def _chosen(several: list[Any], device: int) -> Any:
    """Return the first tiling for which there is shared memory."""
    room = device_traits(device)[2]
    return next((one for one in several if one.shared <= room), several[-1])


def forward(q: Any, k: Any, v: Any, seen: Any, scale: float, extras: Extras) -> tuple[Any, Any]:
    """Return softmax(scores) v over what is seen, and the log-sum-exp in float32.

    q: (batch, heads, queries, size), k, v: (batch, heads of keys, keys, size), CuPy arrays of any strides.  seen: as `visibility` makes it.
    """
    extras = _fitted(extras, q.dtype)
    scale, q = (scale, q) if extras.edits else ordered(scale, q)
    (batch, heads, queries, size), (kept, keys, depth) = q.shape, v.shape[1:]
    q, k, v = fit(q), fit(k), fit(v)
    device, single = q.device.id, q.dtype == np.float32
    tiling = _chosen(tilings(max(size, depth), single, extras.plain, not listed(seen)), device)
    kind, mask, _held = mask_struct(seen, tiling.rows, tiling.keys, False)
    out, lse = empty_like(q, (batch, heads, queries, depth)), cupy().empty(q.shape[:3], dtype=np.float32)
    blocks = -(-queries // tiling.rows)
    problem = filled(
        FORWARD, q=q.data.ptr, k=k.data.ptr, v=v.data.ptr, out=out.data.ptr, lse=lse.data.ptr, batch=batch, heads=heads,
        group=heads // kept, queries=queries, keys=keys, bytes=q.shape[-1] * q.dtype.itemsize, bytes_v=v.shape[-1] * v.dtype.itemsize,
        row_blocks=blocks, span=span(k, v, heads // kept, batch * heads), longest_first=1, scale=scale,
        scale_log2=LOG2E if extras.edits else scale * LOG2E, **named_steps(1, q=q, k=k, v=v, o=out))
    told = options(tiling, q.dtype != np.float16, kind, extras)
    run = _kernel("attention_general_forward", extras.modifier, told, 32 * tiling.warps, tiling.shared, device)
    run((blocks * batch * heads,), (problem, mask, _struct_of(extras, device, queries, keys)))
    return out[..., :depth], lse


def backward(
    q: Any, k: Any, v: Any, out: Any, lse: Any, g: Any, of_lse: Any, seen: Any, scale: float, extras: Extras, pull_bias: bool,
) -> tuple[Any, Any, Any, Any]:
    """Return the gradients of q, k, v and the bias (None: not wanted), from those of the output and the log-sum-exp (None: 0)."""
    given, extras = extras, _fitted(extras, q.dtype)
    factor, q = (scale, q) if extras.edits else ordered(scale, q)
    size, depth = q.shape[-1], v.shape[-1]
    call = _Backward(fit(q), fit(k), fit(v), fit(g), seen, factor, extras)
    call.prepare(fit(out), cupy().ascontiguousarray(lse), None if of_lse is None else cupy().ascontiguousarray(of_lse))
    to_q, to_k, to_v = empty_beside(call.q, call.k, call.v)
    call.run(QUERIES, 1, to_q, None)
    for gives in passes(call.head, call.single, extras.plain):
        call.run(KEYS, gives, to_k if gives & 1 else None, to_v if gives & 2 else None)
    to_bias = call.of_bias().astype(given.bias.dtype, copy=False) if pull_bias and given.bias is not None else None
    to_q = to_q[..., :size]
    return to_q if extras.edits else unordered(scale, to_q), to_k[..., :size], to_v[..., :depth], to_bias


class _Backward:
    """One call of the backward kernels. Arrays fit."""

    def __init__(self, q: Any, k: Any, v: Any, g: Any, seen: Any, scale: float, extras: Extras) -> None:
        self.q, self.k, self.v, self.g, self.seen, self.extras = q, k, v, g, seen, extras
        (self.batch, self.heads, self.queries, _), (self.kept, self.keys) = q.shape, k.shape[1:3]
        self.head, self.single, self.device = max(q.shape[-1], v.shape[-1]), q.dtype == np.float32, q.device.id
        self.scale, self.padded = scale, -(-self.queries // 64) * 64
        self.things = _struct_of(extras, self.device, self.queries, self.keys)
        self.log2, self.shift = (cupy().empty((self.batch, self.heads, self.padded), dtype=np.float32) for _ in range(2))

    def kernel(self, name: str, tiling: BackTiling, kind: int, threads: int, shared: int) -> Any:
        """Return a kernel of the file."""
        told = options(tiling, self.q.dtype != np.float16, kind, self.extras)
        return _kernel(name, self.extras.modifier, told, threads, shared, self.device)

    def tiling(self, side: int, gives: int) -> BackTiling:
        """Return the tiling of one kernel."""
        return _chosen(back_tilings(self.head, self.single, self.extras.plain, side, gives), self.device)

    def prepare(self, out: Any, lse: Any, of_lse: Any) -> None:
        """Compute what belongs to the rows."""
        rows = filled(
            ROWS, o=out.data.ptr, of_o=self.g.data.ptr, lse=lse.data.ptr, of_lse=0 if of_lse is None else of_lse.data.ptr,
            lse_log2=self.log2.data.ptr, shift=self.shift.data.ptr, batch=self.batch, heads=self.heads, queries=self.queries,
            padded=self.padded, bytes_v=self.g.shape[-1] * self.g.dtype.itemsize, **named_steps(1, o=out, g=self.g))
        run = self.kernel("attention_general_rows", self.tiling(QUERIES, 1), 0, 256, 0)
        run((-(-self.log2.size // 8),), (rows,))

    def problem(self, **more: Any) -> Any:
        """Return the struct of a kernel."""
        q, k, v, g = self.q, self.k, self.v, self.g
        return filled(
            BACKWARD, q=q.data.ptr, k=k.data.ptr, v=v.data.ptr, of_o=g.data.ptr, lse=self.log2.data.ptr, shift=self.shift.data.ptr,
            batch=self.batch, heads=self.heads, group=self.heads // self.kept, queries=self.queries, keys=self.keys,
            bytes=q.shape[-1] * q.dtype.itemsize, bytes_v=v.shape[-1] * v.dtype.itemsize, padded=self.padded, scale=self.scale,
            scale_log2=LOG2E if self.extras.edits else self.scale * LOG2E, longest_first=1, **named_steps(1, q=q, k=k, v=v, g=g), **more)

    def run(self, side: int, gives: int, to_x: Any, to_y: Any) -> None:
        """Write the gradients that one kernel owns."""
        tiling = self.tiling(side, gives)
        turned, heads, own = side == KEYS, self.kept if side == KEYS else self.heads, self.keys if side == KEYS else self.queries
        sizes = (tiling.other, tiling.own) if turned else (tiling.own, tiling.other)
        kind, mask, _held = mask_struct(self.seen, *sizes, turned)
        blocks, several = -(-own // tiling.own), {"x": to_x, "y": to_y}
        there = {name: x for name, x in several.items() if x is not None}
        met, group = ((self.q, self.g), 1) if turned else ((self.k, self.v), self.heads // self.kept)
        places = {f"to_{name}": x.data.ptr for name, x in there.items()}
        problem = self.problem(blocks=blocks, span=span(*met, group, self.batch * heads), **places, **named_steps(1, **there))
        function = self.kernel("attention_general_backward", tiling, kind, 32 * tiling.warps, tiling.shared)
        function((blocks * self.batch * heads,), (problem, mask, self.things))

    def of_bias(self) -> Any:
        """Return the gradient of the bias."""
        tiling, shape = self.tiling(TABLE, 1), self.extras.bias.shape
        kind, mask, _held = mask_struct(self.seen, tiling.own, tiling.other, False)
        blocks, tiles = -(-self.queries // tiling.own), -(-self.keys // tiling.other)
        made = cupy().empty((*shape[:2], self.queries if shape[2] > 1 or self.queries == 1 else blocks,
                             self.keys if shape[3] > 1 or self.keys == 1 else tiles), dtype=np.float32)
        problem = self.problem(to_bias=made.data.ptr, blocks=blocks, tiles=tiles, bias_batch=shape[0], bias_heads=shape[1],
                               bias_rows=made.shape[2], bias_keys=made.shape[3])
        function = self.kernel("attention_general_bias", tiling, kind, 32 * tiling.warps, tiling.shared)
        function((blocks * tiles * shape[0] * shape[1],), (problem, mask, self.things))
        return made if made.shape == shape else made.sum(axis=tuple(i for i in (2, 3) if shape[i] == 1), keepdims=True)
