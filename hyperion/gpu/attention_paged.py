"""Python side of `kernels/attention_paged.cu`: attention of a few queries to keys and values in pages, on GPUs from sm_80 on."""

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
    empty_like,
    filled,
    fit,
    named_steps,
    ordered,
    struct,
)
from .launching import cupy, header, source

__all__ = ["append", "forward", "serves"]

MOST_ROWS = 64              # queries of all heads that share a head of keys; for more, keys are put together and read by other kernels
LARGEST = 256               # head size
SHARE = 4                   # tiles of keys that a part of a text has at least
BLOCKS = 2                  # of threads on a multiprocessor

PROBLEM = struct(
    (POINTER, "q k v out sums states pages lengths"),
    (LONG, "q_batch q_head q_row k_batch k_head k_row v_batch v_head v_row o_batch o_head o_row"),
    (INT, "kept group queries row_blocks most page pool bytes bytes_v parts window"), (FLOAT, "scale_log2"))
APPEND = struct(
    (POINTER, "new_k new_v k v pages lengths"),
    (LONG, "x_batch x_head x_row y_batch y_head y_row k_batch k_head k_row v_batch v_head v_row"),
    (INT, "kept tokens most page pool bytes bytes_v"))


@dataclass(frozen=True)
class Tiling:
    """What a kernel is compiled for. head: size, a multiple of 32.  warps: each takes 16 keys of a tile.  stages: tiles on their way."""

    head: int
    single: bool
    warps: int
    stages: int

    @property
    def shared(self) -> int:
        """Shared memory of a block [bytes]: the queries and the tiles; later the sums of each warp."""
        pitch = self.head * (4 if self.single else 2) + 16
        return max((16 + self.stages * 2 * 16 * self.warps) * pitch, self.warps * 16 * (self.head + 10) * 4)

    def options(self, brain: bool) -> tuple[str, ...]:
        """Return what the compiler is told."""
        told = {"BF16": int(brain), "SINGLE": int(self.single), "HEAD": self.head, "WARPS": self.warps, "STAGES": self.stages, "MASK": 0}
        return tuple([f"-D{key}={value}" for key, value in told.items()])


def tilings(head: int, single: bool) -> list[Tiling]:
    """Return tilings for a head size, the fastest first; later ones take less shared memory."""
    head = -(-head // 32) * 32
    return [Tiling(head, single, warps, stages) for warps, stages in ((4, 3), (4, 2), (2, 2))]


def text() -> str:
    """Return the CUDA text with what it needs before it."""
    return "\n".join([*(header(name) for name in ("numbers", "warp", "attention", "mma")), source("attention_paged")])


def _tiling(head: int, single: bool, device: int) -> Tiling | None:
    """Return the first tiling of which BLOCKS fit a multiprocessor, or the smallest if one of it does."""
    several, room = tilings(head, single), device_traits(device)[2]
    found = next((one for one in several if BLOCKS * one.shared <= room), several[-1])
    return found if found.shared <= room else None


@functools.cache
def _kernel(name: str, tiling: Tiling, brain: bool, device: int) -> Any:
    code = hopper.compiled(text(), tiling.options(brain), f"sm_{device_traits(device)[0]}")
    main = name == "attention_paged"
    return hopper.Kernel(code, name, 32 * tiling.warps if main else 128, tiling.shared if main else 0)


def serves(q: Any, keys: Any, values: Any) -> bool:
    """Tell whether the kernels take these CuPy arrays: q (batch, heads, queries, size), keys and values (pages, heads, tokens, size).

    They are of 16-bit numbers or float32, heads up to 256, a few rows of queries, pages whose rows begin at multiples of 16 bytes.
    """
    if (q.dtype.itemsize != 2 and q.dtype != np.float32) or not (q.dtype == keys.dtype == values.dtype):
        return False
    if min(*q.shape, *keys.shape, *values.shape) < 1 or max(q.shape[3], values.shape[3]) > LARGEST:
        return False
    if q.shape[1] // keys.shape[1] * q.shape[2] > MOST_ROWS or fit(keys) is not keys or fit(values) is not values:
        return False
    device = q.device.id
    return device_traits(device)[0] >= 80 and _tiling(max(q.shape[3], values.shape[3]), q.dtype == np.float32, device) is not None


def _whole(x: Any) -> Any:
    return cupy().ascontiguousarray(x, np.int32)


def forward(q: Any, keys: Any, values: Any, pages: Any, lengths: Any, scale: float, window: int | None) -> Any:
    """Return what the last tokens of texts gather: (batch, heads, queries, size of values); arguments as `hyperion.paged_attention`.

    Lengths and pages are read by the kernels, so a launch that a CUDA graph holds goes by what stands there then.
    """
    scale, q = ordered(scale, q)
    (batch, heads, queries, _), (pool, kept, page, _) = q.shape, keys.shape
    q, pages, lengths, device, depth = fit(q), _whole(pages), _whole(lengths), q.device.id, values.shape[3]
    tiling = _tiling(max(q.shape[3], depth), q.dtype == np.float32, device)
    assert tiling is not None, "ask `serves` first"
    group = heads // kept
    row_blocks, most = -(-queries * group // 16), pages.shape[1]
    blocks = batch * kept * row_blocks
    tiles = -(-most * page // (16 * tiling.warps))
    parts = max(1, min(-(-BLOCKS * device_traits(device)[1] // blocks), tiles // SHARE))
    out = empty_like(q, (batch, heads, queries, depth))
    sums = cupy().empty((parts * blocks * 16 * (tiling.head + 2),) if parts > 1 else (1,), dtype=np.float32)
    problem = filled(
        PROBLEM, q=q.data.ptr, k=keys.data.ptr, v=values.data.ptr, out=out.data.ptr, sums=sums.data.ptr,
        states=sums.data.ptr + 4 * parts * blocks * 16 * tiling.head, pages=pages.data.ptr, lengths=lengths.data.ptr, kept=kept,
        group=group, queries=queries, row_blocks=row_blocks, most=most, page=page, pool=pool, bytes=q.shape[3] * q.dtype.itemsize,
        bytes_v=out.shape[3] * q.dtype.itemsize, parts=parts, window=-1 if window is None else window, scale_log2=scale * LOG2E,
        **named_steps(1, q=q, k=keys, v=values, o=out))
    brain = q.dtype != np.float16
    _kernel("attention_paged", tiling, brain, device)((blocks * parts,), (problem,))
    if parts > 1:
        _kernel("attention_paged_combine", tiling, brain, device)((blocks,), (problem,))
    return out[..., :depth]


def append(keys: Any, values: Any, new_keys: Any, new_values: Any, pages: Any, lengths: Any) -> None:
    """Write new tokens (batch, heads, tokens, size) into pages, as the last ones of texts that have `lengths` tokens with them.

    keys, values: as `serves` takes them.  pages, lengths: int32 on the GPU, without gaps.
    """
    new_keys, new_values = fit(new_keys), fit(new_values)
    (pool, kept, page, size), device, each = keys.shape, keys.device.id, keys.dtype.itemsize
    tiling = _tiling(max(size, values.shape[3]), keys.dtype == np.float32, device)
    assert tiling is not None, "ask `serves` first"
    problem = filled(
        APPEND, new_k=new_keys.data.ptr, new_v=new_values.data.ptr, k=keys.data.ptr, v=values.data.ptr, pages=pages.data.ptr,
        lengths=lengths.data.ptr, kept=kept, tokens=new_keys.shape[2], most=pages.shape[1], page=page, pool=pool, bytes=size * each,
        bytes_v=values.shape[3] * each, **named_steps(1, x=new_keys, y=new_values, k=keys, v=values))
    _kernel("attention_paged_append", tiling, keys.dtype != np.float16, device)((len(pages) * kept,), (problem,))
