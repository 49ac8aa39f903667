"""Python side of `kernels/attention_*.cu`: attention of 16-bit numbers on Hopper GPUs, and its gradients."""

import functools
from typing import Any

import numpy as np

from . import hopper
from .attention_arrays import (
    FLOAT,
    INT,
    LOG2E,
    LONG,
    MASK,
    POINTER,
    device_traits,
    empty_beside,
    empty_like,
    filled,
    fit,
    fitting,
    listed,
    mask_struct,
    named_steps,
    ordered,
    span,
    steps,
    struct,
    unordered,
)
from .launching import cupy

__all__ = ["backward", "forward", "serves", "serves_back"]

LARGEST_BACK = 128          # head size of the backward kernels
FEW_ROWS = 64               # queries, of all heads that share keys, that are few: the keys are then parted among the multiprocessors
LEAST_PART = 512            # keys of a part
# The structs of the kernels, name by name.
FORWARD = struct(
    (POINTER, "out lse counter"), (LONG, "out_batch out_head out_row out_part"),
    (INT, "batch heads group queries keys depth row_blocks span longest_first part"), (FLOAT, "scale"))
BACKWARD = struct(
    (POINTER, "lse shift sums to_k to_v"), (LONG, "k_batch k_head k_row v_batch v_head v_row"),
    (INT, "batch heads group queries keys depth depth_v tiles blocks span longest_first"), (FLOAT, "scale_log2 scale"))
ROWS = struct(
    (POINTER, "o of_o lse of_lse lse_log2 shift sums to_q"), (LONG, "o_batch o_head o_row g_batch g_head g_row q_batch q_head q_row"),
    (INT, "heads queries depth_v depth"), (FLOAT, "scale"))
SLOPES = struct(
    (POINTER, "lse shift to_q"), (LONG, "q_batch q_head q_row"),
    (INT, "batch heads group queries keys depth tiles row_blocks span longest_first"), (FLOAT, "scale_log2 scale"))


class Tiling:
    """What a forward kernel is compiled for: a head size, warpgroups of 64 queries, keys of a tile, and tiles of keys on their way.

    pingpong: two warpgroups take turns.  split: an item is a part of the keys.
    """

    def __init__(self, head: int, consumers: int, keys: int, stages: int, pingpong: bool = False, split: bool = False) -> None:
        self.head, self.consumers, self.keys, self.stages, self.pingpong, self.split = head, consumers, keys, stages, pingpong, split
        self.rows = 64 * consumers
        columns = -(-head // 64)
        self.shared = columns * 128 * ((2 if head <= 128 else 1) * self.rows + 2 * stages * keys) + 16 * (1 + 2 * stages) + 16

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        return {"HEAD": self.head, "CONSUMERS": self.consumers, "KEYS": self.keys, "STAGES": self.stages,
                "PINGPONG": int(self.pingpong), "SPLIT": int(self.split)}


class BackTiling:
    """What a backward kernel is compiled for: a head size, queries of a tile against 128 keys, and whether it adds up the gradient of q."""

    keys = 128

    def __init__(self, head: int, queries: int, adds: bool) -> None:
        self.head, self.queries, self.adds = head, queries, adds
        columns = head // 64
        self.sums = queries if head == 128 else queries // 2
        self.shared = columns * 128 * (256 + 4 * queries) + adds * 2 * queries * 256 + 16 * queries + 64 + 8 + 6 * 16

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        return {"HEAD": self.head, "QUERIES": self.queries, "ADDS": int(self.adds)}


class SlopeTiling:
    """What the kernel of the gradient of q alone is compiled for: a head size, keys of a tile against 128 queries, tiles on their way."""

    rows = 128

    def __init__(self, head: int, keys: int, stages: int) -> None:
        self.head, self.keys, self.stages = head, keys, stages
        columns = head // 64
        self.shared = columns * 128 * (2 * self.rows + 2 * stages * keys) + 8 * (1 + 4 * stages)

    def macros(self) -> dict[str, int]:
        """Return what the compiler is told."""
        return {"HEAD": self.head, "KEYS": self.keys, "STAGES": self.stages}


# Of increasing head size: the first that is large enough serves. They are as large as registers allow, which masks need too.
TILINGS = [Tiling(64, 3, 128, 4), Tiling(96, 2, 128, 2), Tiling(128, 2, 128, 2), Tiling(256, 2, 64, 2)]
SPLIT_TILINGS = [Tiling(64, 2, 128, 4, split=True), Tiling(96, 2, 128, 2, split=True), Tiling(128, 2, 128, 2, split=True),
                 Tiling(256, 2, 64, 2, split=True)]
BACK_TILINGS = {adds: [BackTiling(64, 128, adds), BackTiling(128, 80, adds)] for adds in (True, False)}
BACK_TILINGS_LISTED = {adds: [BackTiling(64, 96, adds), BackTiling(128, 64, adds)] for adds in (True, False)}
SLOPE_TILINGS = [SlopeTiling(64, 128, 2), SlopeTiling(128, 64, 3)]


def text(tiling: Tiling | BackTiling | SlopeTiling) -> str:
    """Return the CUDA text of a kernel file with what it needs before it."""
    sizes = {tiling.head, tiling.queries, tiling.sums} if isinstance(tiling, BackTiling) else {tiling.head, tiling.keys}
    name = {Tiling: "forward", BackTiling: "backward", SlopeTiling: "slopes"}[type(tiling)]
    return hopper.with_header(f"attention_{name}", tuple(sorted(sizes)), "attention", "attention_products")


def options(tiling: Tiling | BackTiling | SlopeTiling, brain: bool, mask: int) -> tuple[str, ...]:
    """Return what the compiler is told. mask: as in attention.cuh."""
    return tuple([f"-D{key}={value}" for key, value in {"BF16": int(brain), "MASK": mask, **tiling.macros()}.items()])


@functools.cache
def _kernel(name: str, tiling: Any, brain: bool, mask: int, threads: int, shared: int, device: int) -> Any:
    return hopper.Kernel(hopper.compiled(text(tiling), options(tiling, brain, mask)), name, threads, shared)


@functools.cache
def _counter(device: int, stream: int) -> Any:
    return cupy().zeros(2, np.int32)


def serves(q: Any) -> bool:
    """Tell whether the forward kernel takes what `attention.serves` has taken: 16-bit numbers on a Hopper GPU."""
    return q.dtype.itemsize == 2 and device_traits(q.device.id)[0] == 90


def serves_back(q: Any, v: Any) -> bool:
    """Tell whether the backward kernels take what `serves` has taken."""
    return max(q.shape[-1], v.shape[-1]) <= LARGEST_BACK


def _brain(x: Any) -> bool:
    return x.dtype != np.float16


def _map(x: Any, rows: int) -> Any:
    """Return the tensor map of an array that fits."""
    batch, heads, tokens, size = x.shape
    # the step of an axis of length 1 counts for nothing, but must be a multiple of 16
    steps = tuple([x.strides[i] if x.shape[i] > 1 else 16 * -(-2 * size // 16) for i in (2, 1, 0)])
    return hopper.encoded(x.data.ptr, _brain(x), (size, tokens, heads, batch), steps, rows)


def forward(q: Any, k: Any, v: Any, seen: Any, scale: float) -> tuple[Any, Any]:
    """Return softmax(scale q k^T) v over what is seen, and the log-sum-exp in float32.

    q: (batch, heads, queries, size), k, v: (batch, heads of keys, keys, size), CuPy arrays of any strides.  seen: as `visibility` makes it.
    """
    scale, q = ordered(scale, q)
    (batch, heads, queries, _), (kept, keys, depth) = q.shape, v.shape[1:]
    if queries * heads // kept <= FEW_ROWS and keys >= 2 * LEAST_PART and _sees_all(seen, queries, keys):
        return _few(q, k, v, scale)
    tiling = fitting(TILINGS, max(q.shape[-1], depth))
    kind, mask, _held = mask_struct(seen, tiling.rows, tiling.keys, False)
    out, lse = empty_like(q, (batch, heads, queries, depth)), cupy().empty(q.shape[:3], dtype=np.float32)
    _launch_forward(tiling, kind, mask, fit(q), fit(k), fit(v), out, lse, scale, -(-queries // tiling.rows), 0)
    return out[..., :depth], lse


def _launch_forward(
    tiling: Tiling, kind: int, mask: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, scale: float, blocks: int, part: int,
) -> None:
    """Launch the forward kernel. out: (batch, heads, queries, size); with parts of keys, (parts, batch, ...).  part: tiles of a part."""
    (batch, heads, queries, _), kept, keys = q.shape, *k.shape[1:3]
    device = q.device.id
    apart = steps(out[0] if part else out, 2)
    counter = _counter(device, cupy().cuda.get_current_stream().ptr)
    problem = filled(
        FORWARD, out=out.data.ptr, lse=lse.data.ptr, counter=counter.data.ptr, out_batch=apart[0], out_head=apart[1], out_row=apart[2],
        out_part=out.strides[0] // 2 if part else 0, batch=batch, heads=heads, group=heads // kept, queries=queries, keys=keys,
        depth=out.shape[-1], row_blocks=blocks, span=span(k, v, heads // kept, batch * heads), longest_first=int(not part),
        scale=scale * LOG2E, part=part)
    function = _kernel("attention_forward", tiling, _brain(q), kind, 128 * (tiling.consumers + 1), tiling.shared, device)
    grid = min(device_traits(device)[1], batch * heads * blocks)
    function((grid,), (_map(q, tiling.rows), _map(k, tiling.keys), _map(v, tiling.keys), problem, mask))


def _sees_all(seen: Any, queries: int, keys: int) -> bool:
    """Tell whether every query sees every key, as that of the next token does."""
    return not listed(seen) and seen.band[0] + queries - 1 <= 0 and seen.band[1] >= keys


def _few(q: Any, k: Any, v: Any, scale: float) -> tuple[Any, Any]:
    """Return the same for few queries that see all keys: those of the heads that share keys as rows of one block, the keys in parts."""
    (batch, heads, queries, size), (kept, keys, depth) = q.shape, v.shape[1:]
    rows = queries * heads // kept
    tiling = fitting(SPLIT_TILINGS, max(size, depth))
    q = fit(cupy().ascontiguousarray(q).reshape(batch, kept, rows, size))
    tiles = -(-keys // tiling.keys)
    parts = max(1, min(2 * device_traits(q.device.id)[1] // (batch * kept), keys // LEAST_PART))
    part = -(-tiles // parts)
    parts = -(-tiles // part)
    empty, room = cupy().empty, -(-depth // 8) * 8
    outs, sums = empty((parts, batch, kept, rows, room), dtype=q.dtype), empty((parts, batch, kept, rows), dtype=np.float32)
    mask = np.zeros((), MASK)
    mask["low"], mask["high"] = -(1 << 29), 1 << 29
    _launch_forward(tiling, 0, mask[()], q, fit(k), fit(v), outs, sums, scale, parts, part)
    out, lse = empty((batch, heads, queries, room), dtype=q.dtype), empty((batch, heads, queries), dtype=np.float32)
    combine = _kernel("attention_combine", tiling, _brain(q), 0, 128, 0, q.device.id)
    combine((lse.size,), (outs, sums, out, lse, np.int32(lse.size), np.int32(parts), np.int32(room)))
    return out[..., :depth], lse


def backward(
    q: Any, k: Any, v: Any, out: Any, lse: Any, g: Any, of_lse: Any, seen: Any, scale: float, adds: bool = True,
) -> tuple[Any, Any, Any]:
    """Return the gradients of q, k and v from those of the output and the log-sum-exp (None: 0).

    adds: sum up the gradient of q by adds in any order, which is faster; False: the same numbers at every run.
    """
    factor, q = ordered(scale, q)
    lse, of_lse = cupy().ascontiguousarray(lse), None if of_lse is None else cupy().ascontiguousarray(of_lse)
    size, depth = q.shape[-1], v.shape[-1]
    q, k, v, out, g = fit(q), fit(k), fit(v), fit(out), fit(g)
    tiling = fitting((BACK_TILINGS_LISTED if listed(seen) else BACK_TILINGS)[adds], max(size, depth))
    (batch, heads, queries, wide), (_, kept, keys, deep) = q.shape, v.shape
    tiles, blocks = -(-queries // tiling.queries), -(-keys // tiling.keys)
    device, brain, empty = q.device.id, _brain(q), cupy().empty
    to_q, to_k, to_v = empty_beside(q, k, v)
    shift, log2 = (empty((batch, heads, tiles * tiling.queries), dtype=np.float32) for _ in range(2))
    sums = empty((batch, heads, tiles, tiling.queries * tiling.head), dtype=np.float32) if adds else None
    rows = filled(
        ROWS, o=out.data.ptr, of_o=g.data.ptr, lse=lse.data.ptr, of_lse=0 if of_lse is None else of_lse.data.ptr, lse_log2=log2.data.ptr,
        shift=shift.data.ptr, sums=0 if sums is None else sums.data.ptr, to_q=to_q.data.ptr, heads=heads, queries=queries, depth_v=deep,
        depth=wide, scale=factor, **named_steps(2, o=out, g=g, q=to_q))
    kind, mask, _held = mask_struct(seen, tiling.queries, tiling.keys, True)
    _kernel("attention_rows", tiling, brain, kind, 256, 0, device)((tiles, batch * heads), (rows,))
    problem = filled(
        BACKWARD, lse=log2.data.ptr, shift=shift.data.ptr, sums=rows["sums"], to_k=to_k.data.ptr, to_v=to_v.data.ptr, batch=batch,
        heads=heads, group=heads // kept, queries=queries, keys=keys, depth=wide, depth_v=deep, tiles=tiles, blocks=blocks,
        span=max(1, span(q, g, 1, batch * kept)), longest_first=1, scale_log2=factor * LOG2E, scale=factor,
        **named_steps(2, k=to_k, v=to_v))
    maps = _map(q, tiling.queries), _map(k, tiling.keys), _map(v, tiling.keys), _map(g, tiling.queries)
    _kernel("attention_backward", tiling, brain, kind, 384, tiling.shared, device)((blocks * batch * kept,), (*maps, problem, mask))
    if adds:
        _kernel("attention_gather", tiling, brain, kind, 256, 0, device)((tiles, batch * heads), (rows,))
    else:
        _slopes(q, k, v, g, log2, shift, to_q, seen, factor)
    to_q = to_q[..., :size]
    return unordered(scale, to_q), to_k[..., :size], to_v[..., :depth]


def _slopes(q: Any, k: Any, v: Any, g: Any, log2: Any, shift: Any, to_q: Any, seen: Any, scale: float) -> None:
    """Write the gradient of q, in a pass of its own."""
    tiling = fitting(SLOPE_TILINGS, max(q.shape[-1], v.shape[-1]))
    (batch, heads, queries, wide), (_, kept, keys, _) = q.shape, v.shape
    kind, mask, _held = mask_struct(seen, tiling.rows, tiling.keys, False)
    blocks = -(-queries // tiling.rows)
    problem = filled(
        SLOPES, lse=log2.data.ptr, shift=shift.data.ptr, to_q=to_q.data.ptr, batch=batch, heads=heads, group=heads // kept, queries=queries,
        keys=keys, depth=wide, tiles=log2.shape[-1], row_blocks=blocks, span=span(k, v, heads // kept, batch * heads), longest_first=1,
        scale_log2=scale * LOG2E, scale=scale, **named_steps(2, q=to_q))
    maps = _map(q, tiling.rows), _map(k, tiling.keys), _map(v, tiling.keys), _map(g, tiling.rows)
    function = _kernel("attention_slopes", tiling, _brain(q), kind, 384, tiling.shared, q.device.id)
    function((blocks * batch * heads,), (*maps, problem, mask))
