"""Python side of `kernels/attention_*.cu`: attention of 16-bit numbers on Hopper GPUs, and its gradients."""

import functools
import importlib
from typing import Any

import numpy as np

from . import hopper
from .launching import cupy

__all__ = ["backward", "forward", "serves"]

LARGEST = 256               # head size of the forward kernel
LARGEST_BACK = 128          # of the backward kernels
FEW_ROWS = 64               # queries, of all heads that share keys, that are few: the keys are then parted among the multiprocessors
LEAST_PART = 512            # keys of a part
IN_CACHE = 24 << 20         # bytes of keys and values of the heads that are worked on together: less than half of the L2 cache
LOG2E = 1.4426950408889634

_POINTER, _INT, _LONG, _FLOAT = np.uint64, np.int32, np.int64, np.float32


def _struct(*fields: tuple[Any, str]) -> np.dtype[Any]:
    return np.dtype([(name, kind) for kind, names in fields for name in names.split()], align=True)


# The structs of the kernels, name by name.
MASK = _struct((_POINTER, "first last words counts lists"), (_INT, "of_batch of_head row_words blocks list_length low high"))
FORWARD = _struct(
    (_POINTER, "out lse counter"), (_LONG, "out_batch out_head out_row out_part"),
    (_INT, "batch heads group queries keys depth row_blocks span longest_first part"), (_FLOAT, "scale"))
BACKWARD = _struct(
    (_POINTER, "lse shift sums to_k to_v"), (_LONG, "k_batch k_head k_row v_batch v_head v_row"),
    (_INT, "batch heads group queries keys depth depth_v tiles blocks span longest_first"), (_FLOAT, "scale_log2 scale"))
ROWS = _struct(
    (_POINTER, "o of_o lse of_lse lse_log2 shift sums to_q"), (_LONG, "o_batch o_head o_row g_batch g_head g_row q_batch q_head q_row"),
    (_INT, "heads queries depth_v depth"), (_FLOAT, "scale"))
SLOPES = _struct(
    (_POINTER, "lse shift to_q"), (_LONG, "q_batch q_head q_row"),
    (_INT, "batch heads group queries keys depth tiles row_blocks span longest_first"), (_FLOAT, "scale_log2 scale"))


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


def _fitting(tilings: list[Any], head: int) -> Any:
    return next(one for one in tilings if head <= one.head)


def _listed(seen: Any) -> bool:
    """Tell whether a mask is no band, so that the kernels go by lists of blocks."""
    return getattr(seen, "band", None) is None


def text(tiling: Tiling | BackTiling | SlopeTiling) -> str:
    """Return the CUDA text of a kernel file with what it needs before it."""
    if isinstance(tiling, Tiling):
        return hopper.with_header("attention_forward", tuple(sorted({tiling.head, tiling.keys})), "attention")
    if isinstance(tiling, BackTiling):
        return hopper.with_header("attention_backward", tuple(sorted({tiling.head, tiling.queries, tiling.sums})), "attention")
    return hopper.with_header("attention_slopes", tuple(sorted({tiling.head, tiling.keys})), "attention")


def options(tiling: Tiling | BackTiling | SlopeTiling, brain: bool, mask: int) -> tuple[str, ...]:
    """Return what the compiler is told. mask: as in attention.cuh."""
    return tuple([f"-D{key}={value}" for key, value in {"BF16": int(brain), "MASK": mask, **tiling.macros()}.items()])


@functools.cache
def _kernel(name: str, tiling: Any, brain: bool, mask: int, threads: int, shared: int, device: int) -> Any:
    return hopper.Kernel(hopper.compiled(text(tiling), options(tiling, brain, mask)), name, threads, shared)


@functools.cache
def _device(device: int) -> tuple[int, int]:
    """Return the compute capability, times ten, and the number of multiprocessors."""
    there = importlib.import_module("cupy").cuda.Device(device)
    return int(there.compute_capability), int(there.attributes["MultiProcessorCount"])


@functools.cache
def _counter(device: int, stream: int) -> Any:
    return cupy().zeros(2, np.int32)


def serves(q: Any, k: Any, v: Any) -> bool:
    """Tell whether the kernels take these CuPy arrays: 16-bit numbers, heads up to 256, something there, on a Hopper GPU."""
    return (
        q.dtype.itemsize == 2 and max(q.shape[-1], v.shape[-1]) <= LARGEST and min(*q.shape, *k.shape, *v.shape) > 0
        and _device(q.device.id)[0] == 90
    )


def serves_back(q: Any, v: Any) -> bool:
    """Tell whether the backward kernels take what `serves` has taken."""
    return max(q.shape[-1], v.shape[-1]) <= LARGEST_BACK


def _brain(x: Any) -> bool:
    return x.dtype != np.float16


def _fit(x: Any) -> Any:
    """Return an array (batch, heads, tokens, size) as the copy engine takes it: rows without gaps that begin at multiples of 16 bytes."""
    size = x.shape[-1]
    steps = [step for n, step in zip(x.shape[:-1], x.strides[:-1], strict=True) if n > 1]
    if size % 8 == 0 and x.strides[-1] == 2 and x.data.ptr % 16 == 0 and all(step % 16 == 0 and step > 0 for step in steps):
        return x
    out = cupy().zeros((*x.shape[:-1], -(-size // 8) * 8), dtype=x.dtype)
    out[..., :size] = x
    return out


def _empty_like(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an empty array (batch, heads, tokens, size in full eights) whose heads and tokens lie in memory in the order of another's."""
    batch, heads, tokens, size = shape
    room = -(-size // 8) * 8
    if x.strides[1] < x.strides[2] and x.shape[1] > 1:
        return cupy().empty((batch, tokens, heads, room), dtype=x.dtype).transpose(0, 2, 1, 3)
    return cupy().empty((batch, heads, tokens, room), dtype=x.dtype)


def _map(x: Any, rows: int) -> Any:
    """Return the tensor map of an array that fits."""
    batch, heads, tokens, size = x.shape
    # the step of an axis of length 1 counts for nothing, but must be a multiple of 16
    steps = tuple([x.strides[i] if x.shape[i] > 1 else 16 * -(-2 * size // 16) for i in (2, 1, 0)])
    return hopper.encoded(x.data.ptr, _brain(x), (size, tokens, heads, batch), steps, rows)


def _steps(x: Any) -> tuple[int, int, int]:
    """Return the steps of the first three axes, in numbers."""
    return tuple([step // 2 for step in x.strides[:3]])     # pyright: ignore[reportReturnType]


def _mask(seen: Any, rows: int, columns: int, turned: bool) -> tuple[int, Any, tuple[Any, ...]]:
    """Return the kind of a mask for the compiler, its struct, and the arrays that it points to."""
    found = np.zeros((), MASK)
    band = getattr(seen, "band", None)
    if band is not None:
        found["low"], found["high"] = band
        return 0, found[()], ()
    counts, lists = seen.lists(rows, columns, turned)
    kind = 1 if hasattr(seen, "first") else 2
    ends = (seen.first, seen.last) if kind == 1 else (seen.words,)
    for name, array in zip(("first", "last") if kind == 1 else ("words",), ends, strict=True):
        found[name] = array.data.ptr
    found["counts"], found["lists"] = counts.data.ptr, lists.data.ptr
    batch, heads = counts.shape[:2]
    found["of_batch"], found["of_head"] = heads if batch > 1 else 0, 1 if heads > 1 else 0
    found["row_words"] = ends[0].shape[-1] if kind == 2 else 0
    found["blocks"], found["list_length"] = lists.shape[-2:]
    return kind, found[()], (counts, lists, *ends)


def _filled(layout: np.dtype[Any], **values: Any) -> Any:
    found = np.zeros((), layout)
    for name, value in values.items():
        found[name] = value
    return found[()]


def _span(k: Any, v: Any, group: int, heads: int) -> int:
    """Return how many heads of queries are worked on together."""
    kept = max(1, IN_CACHE // (k.shape[2] * (k.shape[3] + v.shape[3]) * 2))
    return min(kept * group, heads)


def _ordered(scale: float, q: Any) -> tuple[float, Any]:
    """Return a scale above 0 and queries that make the same scores: the kernels look for the largest product, not the largest score."""
    return (scale, q) if scale > 0 else (-scale, -q) if scale < 0 else (1.0, cupy().zeros_like(q))


def forward(q: Any, k: Any, v: Any, seen: Any, scale: float) -> tuple[Any, Any]:
    """Return softmax(scale q k^T) v over what is seen, and the log-sum-exp in float32.

    q: (batch, heads, queries, size), k, v: (batch, heads of keys, keys, size), CuPy arrays of any strides.  seen: as `visibility` makes it.
    """
    scale, q = _ordered(scale, q)
    (batch, heads, queries, _), (kept, keys, depth) = q.shape, v.shape[1:]
    if queries * heads // kept <= FEW_ROWS and keys >= 2 * LEAST_PART and _sees_all(seen, queries, keys):
        return _few(q, k, v, scale)
    tiling = _fitting(TILINGS, max(q.shape[-1], depth))
    kind, mask, _held = _mask(seen, tiling.rows, tiling.keys, False)
    out, lse = _empty_like(q, (batch, heads, queries, depth)), cupy().empty(q.shape[:3], dtype=np.float32)
    _launch_forward(tiling, kind, mask, _fit(q), _fit(k), _fit(v), out, lse, scale, -(-queries // tiling.rows), 0)
    return out[..., :depth], lse


def _launch_forward(
    tiling: Tiling, kind: int, mask: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, scale: float, blocks: int, part: int,
) -> None:
    """Launch the forward kernel. out: (batch, heads, queries, size); with parts of keys, (parts, batch, ...).  part: tiles of a part."""
    (batch, heads, queries, _), kept, keys = q.shape, *k.shape[1:3]
    device = q.device.id
    steps = _steps(out[0] if part else out)
    counter = _counter(device, cupy().cuda.get_current_stream().ptr)
    problem = _filled(
        FORWARD, out=out.data.ptr, lse=lse.data.ptr, counter=counter.data.ptr, out_batch=steps[0], out_head=steps[1], out_row=steps[2],
        out_part=out.strides[0] // 2 if part else 0, batch=batch, heads=heads, group=heads // kept, queries=queries, keys=keys,
        depth=out.shape[-1], row_blocks=blocks, span=_span(k, v, heads // kept, batch * heads), longest_first=int(not part),
        scale=scale * LOG2E, part=part)
    function = _kernel("attention_forward", tiling, _brain(q), kind, 128 * (tiling.consumers + 1), tiling.shared, device)
    grid = min(_device(device)[1], batch * heads * blocks)
    function((grid,), (_map(q, tiling.rows), _map(k, tiling.keys), _map(v, tiling.keys), problem, mask))


def _sees_all(seen: Any, queries: int, keys: int) -> bool:
    """Tell whether every query sees every key, as that of the next token does."""
    return not _listed(seen) and seen.band[0] + queries - 1 <= 0 and seen.band[1] >= keys


def _few(q: Any, k: Any, v: Any, scale: float) -> tuple[Any, Any]:
    """Return the same for few queries that see all keys: those of the heads that share keys as rows of one block, the keys in parts."""
    (batch, heads, queries, size), (kept, keys, depth) = q.shape, v.shape[1:]
    rows = queries * heads // kept
    tiling = _fitting(SPLIT_TILINGS, max(size, depth))
    q = _fit(cupy().ascontiguousarray(q).reshape(batch, kept, rows, size))
    tiles = -(-keys // tiling.keys)
    parts = max(1, min(2 * _device(q.device.id)[1] // (batch * kept), keys // LEAST_PART))
    part = -(-tiles // parts)
    parts = -(-tiles // part)
    empty, room = cupy().empty, -(-depth // 8) * 8
    outs, sums = empty((parts, batch, kept, rows, room), dtype=q.dtype), empty((parts, batch, kept, rows), dtype=np.float32)
    mask = np.zeros((), MASK)
    mask["low"], mask["high"] = -(1 << 29), 1 << 29
    _launch_forward(tiling, 0, mask[()], q, _fit(k), _fit(v), outs, sums, scale, parts, part)
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
    factor, q = _ordered(scale, q)
    lse, of_lse = cupy().ascontiguousarray(lse), None if of_lse is None else cupy().ascontiguousarray(of_lse)
    size, depth = q.shape[-1], v.shape[-1]
    q, k, v, out, g = _fit(q), _fit(k), _fit(v), _fit(out), _fit(g)
    tiling = _fitting((BACK_TILINGS_LISTED if _listed(seen) else BACK_TILINGS)[adds], max(size, depth))
    (batch, heads, queries, wide), (_, kept, keys, deep) = q.shape, v.shape
    tiles, blocks = -(-queries // tiling.queries), -(-keys // tiling.keys)
    device, brain, empty = q.device.id, _brain(q), cupy().empty
    to_q, to_k, to_v = (_empty_like(x, x.shape) for x in (q, k, v))
    shift, log2 = (empty((batch, heads, tiles * tiling.queries), dtype=np.float32) for _ in range(2))
    sums = empty((batch, heads, tiles, tiling.queries * tiling.head), dtype=np.float32) if adds else None
    names = ("o", out), ("g", g), ("q", to_q)
    rows = _filled(
        ROWS, o=out.data.ptr, of_o=g.data.ptr, lse=lse.data.ptr, of_lse=0 if of_lse is None else of_lse.data.ptr, lse_log2=log2.data.ptr,
        shift=shift.data.ptr, sums=0 if sums is None else sums.data.ptr, to_q=to_q.data.ptr, heads=heads, queries=queries, depth_v=deep,
        depth=wide, scale=factor, **_named(names))
    kind, mask, _held = _mask(seen, tiling.queries, tiling.keys, True)
    _kernel("attention_rows", tiling, brain, kind, 256, 0, device)((tiles, batch * heads), (rows,))
    problem = _filled(
        BACKWARD, lse=log2.data.ptr, shift=shift.data.ptr, sums=rows["sums"], to_k=to_k.data.ptr, to_v=to_v.data.ptr, batch=batch,
        heads=heads, group=heads // kept, queries=queries, keys=keys, depth=wide, depth_v=deep, tiles=tiles, blocks=blocks,
        span=max(1, _span(q, g, 1, batch * kept)), longest_first=1, scale_log2=factor * LOG2E, scale=factor,
        **_named((("k", to_k), ("v", to_v))))
    maps = _map(q, tiling.queries), _map(k, tiling.keys), _map(v, tiling.keys), _map(g, tiling.queries)
    _kernel("attention_backward", tiling, brain, kind, 384, tiling.shared, device)((blocks * batch * kept,), (*maps, problem, mask))
    if adds:
        _kernel("attention_gather", tiling, brain, kind, 256, 0, device)((tiles, batch * heads), (rows,))
    else:
        _slopes(q, k, v, g, log2, shift, to_q, seen, factor)
    to_q = to_q[..., :size]
    return to_q if scale > 0 else to_q * np.sign(scale), to_k[..., :size], to_v[..., :depth]


def _named(arrays: tuple[tuple[str, Any], ...]) -> dict[str, int]:
    return {f"{name}_{axis}": step for name, x in arrays for axis, step in zip(("batch", "head", "row"), _steps(x), strict=True)}


def _slopes(q: Any, k: Any, v: Any, g: Any, log2: Any, shift: Any, to_q: Any, seen: Any, scale: float) -> None:
    """Write the gradient of q, in a pass of its own."""
    tiling = _fitting(SLOPE_TILINGS, max(q.shape[-1], v.shape[-1]))
    (batch, heads, queries, wide), (_, kept, keys, _) = q.shape, v.shape
    kind, mask, _held = _mask(seen, tiling.rows, tiling.keys, False)
    blocks = -(-queries // tiling.rows)
    problem = _filled(
        SLOPES, lse=log2.data.ptr, shift=shift.data.ptr, to_q=to_q.data.ptr, batch=batch, heads=heads, group=heads // kept, queries=queries,
        keys=keys, depth=wide, tiles=log2.shape[-1], row_blocks=blocks, span=_span(k, v, heads // kept, batch * heads), longest_first=1,
        scale_log2=scale * LOG2E, scale=scale, **_named((("q", to_q),)))
    maps = _map(q, tiling.rows), _map(k, tiling.keys), _map(v, tiling.keys), _map(g, tiling.rows)
    function = _kernel("attention_slopes", tiling, _brain(q), kind, 384, tiling.shared, q.device.id)
    function((blocks * batch * heads,), (*maps, problem, mask))
