"""What the kernels of attention do, in NumPy, for tests without a GPU: it follows their structs, tensor maps and lists of blocks."""

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from hyperion.gpu import launching
from tests.gpu import emulator

ran: list[str] = []         # names of the kernels, in the order in which they were launched


def encoded(address: int, brain: bool, lengths: Any, steps: Any, rows: int) -> Any:
    """Take the place of hopper.encoded: what it refuses, and the tensor itself."""
    import ml_dtypes

    assert address % 16 == 0 and rows <= 256 and all(step % 16 == 0 and 0 < step < 1 << 40 for step in steps)
    kind = np.dtype(ml_dtypes.bfloat16 if brain else np.float16)
    size = 2 * lengths[0] + sum((n - 1) * step for n, step in zip(lengths[1:], steps, strict=True))
    flat = at(address, size // 2, kind)
    return as_strided(flat, lengths[::-1], (*steps[::-1], 2))


def compiled(text: str, options: tuple[str, ...], architecture: str = "sm_90a") -> Any:
    """Take the place of hopper.compiled."""
    return text, options


def followed(text: str) -> str:
    """Return the text of a kernel for all GPUs as the emulator runs it: instructions of a warp are those of warps.h."""
    for name in ("numbers", "warp"):
        text = text.replace(launching.header(name), "")
    room = "extern __shared__ __align__(128) char memory[];"
    return (Path(__file__).parent / "warps.h").read_text() + text.replace(room, "char *memory = shared_room;")


def at(address: int, count: int, dtype: Any) -> np.ndarray:
    """Return the numbers at an address."""
    return np.frombuffer((ctypes.c_byte * (int(count) * np.dtype(dtype).itemsize)).from_address(int(address)), dtype)


def strided(address: int, shape: Any, steps: Any, dtype: Any) -> np.ndarray:
    """Return an array at an address; steps: in numbers, of all axes but the last."""
    count = 1 + sum((n - 1) * int(step) for n, step in zip(shape, (*steps, 1), strict=True))
    return as_strided(at(address, count, dtype), shape, [int(step) * np.dtype(dtype).itemsize for step in (*steps, 1)])


def seen_of(mask: Any, kind: int, batch: int, head: int, blocks: int, size: int, other: int, queries: int, keys: int, turned: bool) -> Any:
    """Return the table of what a kernel's visits let be seen. size, other: of a block, and of the blocks it meets."""
    i, j = np.arange(queries)[:, None], np.arange(keys)
    if kind == 0:
        return (j >= i + mask["low"]) & (j < i + mask["high"])
    number = batch * int(mask["of_batch"]) + head * int(mask["of_head"])
    assert mask["blocks"] == blocks
    counts = at(mask["counts"], (number + 1) * blocks, np.int32)[-blocks:]
    length = int(mask["list_length"])
    lists = at(mask["lists"], (number + 1) * blocks * length, np.int32)[-blocks * length:].reshape(blocks, length)
    if kind == 1:
        first, last = (at(mask[name], (number + 1) * queries, np.int32)[-queries:, None] for name in ("first", "last"))
        rule = (j >= first) & (j < last)
    else:
        width = int(mask["row_words"])
        words = at(mask["words"], (number + 1) * queries * width, np.uint32)[-queries * width:].reshape(queries, width)
        rule = (words[:, j // 32] >> (j % 32).astype(np.uint32) & 1).astype(bool)
    seen = np.zeros((queries, keys), bool)
    for block in range(blocks):
        for entry in lists[block, :counts[block]]:
            mine, theirs = slice(block * size, (block + 1) * size), slice((entry >> 1) * other, ((entry >> 1) + 1) * other)
            rows, columns = (theirs, mine) if turned else (mine, theirs)
            seen[rows, columns] = rule[rows, columns] if entry & 1 else True
            assert entry & 1 or columns.stop <= keys, "what lies beyond the keys is to be hidden"
    return seen


class Kernel:
    """Takes the place of hopper.Kernel."""

    def __init__(self, code: tuple[str, tuple[str, ...]], name: str, threads: int, shared: int) -> None:
        self.name = name
        assert shared <= 232448, "a block of threads has no more shared memory"
        self.text, self.options = code
        self.macros = {key: int(value) for key, value in (re.fullmatch(r"-D(\w+)=(\d+)", one).groups() for one in self.options)}      # type: ignore[union-attr]
        self.run = functools.partial(self.general, threads) if "_general_" in name or "_paged" in name else getattr(self, name)

    def __call__(self, grid: Any, arguments: Any) -> None:
        assert all(0 < n < 1 << 31 for n in grid[:1]) and all(n <= 65535 for n in grid[1:])
        ran.append(self.name)
        self.run(grid, *arguments)

    def general(self, threads: int, grid: Any, *arguments: Any) -> None:
        text = followed(self.text)
        emulator.run(text, self.options, self.name, grid, threads, arguments)
        if "races" in text:
            assert ctypes.c_int.in_dll(emulator.library(text, self.options), "races").value == 0, "warps meet too rarely"

    def attention_forward(self, grid: Any, q: Any, k: Any, v: Any, p: Any, mask: Any) -> None:
        rows, split, blocks = 64 * self.macros["CONSUMERS"], self.macros["SPLIT"], int(p["row_blocks"])
        parts = blocks if split else 1
        shape = parts, p["batch"], p["heads"], p["queries"], p["depth"]
        outs = strided(p["out"], shape, (p["out_part"], p["out_batch"], p["out_head"], p["out_row"]), q.dtype)
        lses = at(p["lse"], np.prod(shape[:4]), np.float32).reshape(shape[:4])
        size = int(p["part"]) * self.macros["KEYS"]
        assert blocks == (-(-p["keys"] // size) if split else -(-p["queries"] // rows))
        assert at(p["counter"], 2, np.int32).tolist() == [0, 0]
        for part, b, h in np.ndindex(*outs.shape[:3]):
            seen = seen_of(mask, self.macros["MASK"], b, h, blocks, rows, self.macros["KEYS"], p["queries"], p["keys"], False)
            if split:
                seen = seen & (np.arange(p["keys"]) // size == part)
            scores = np.where(seen, q[b, h].astype(float) @ k[b, h // p["group"]].astype(float).T * p["scale"], -np.inf)
            top = scores.max(-1)
            weights = np.exp2(scores - np.where(np.isinf(top), 0, top)[:, None])
            total = weights.sum(-1)
            outs[part, b, h] = weights @ v[b, h // p["group"]].astype(float) / np.where(total == 0, 1, total)[:, None]
            with np.errstate(divide="ignore"):
                lses[part, b, h] = (np.where(np.isinf(top), 0, top) + np.log2(total)) * np.log(2)

    def attention_combine(self, grid: Any, outs: Any, sums: Any, out: Any, lse: Any, rows: Any, parts: Any, depth: Any) -> None:
        assert grid == (rows,) and outs.shape[0] == parts and out.shape[-1] == depth
        parted = np.asarray(sums).view(np.ndarray).reshape(parts, rows)
        whole = np.logaddexp.reduce(parted, axis=0)
        weights = np.exp(parted - whole)[..., None]
        found = (weights * np.asarray(outs).view(np.ndarray).reshape(parts, rows, depth).astype(float)).sum(0)
        np.asarray(out).view(np.ndarray).reshape(rows, depth)[...] = found
        np.asarray(lse).view(np.ndarray).reshape(rows)[...] = whole

    def attention_rows(self, grid: Any, p: Any) -> None:
        queries, heads = self.macros["QUERIES"], int(p["heads"])
        batch = grid[1] // heads
        half = np.float16 if not self.macros["BF16"] else __import__("ml_dtypes").bfloat16
        lead = (batch, heads, p["queries"])
        o = strided(p["o"], (*lead, p["depth_v"]), (p["o_batch"], p["o_head"], p["o_row"]), half).astype(float)
        g = strided(p["of_o"], (*lead, p["depth_v"]), (p["g_batch"], p["g_head"], p["g_row"]), half).astype(float)
        lse = at(p["lse"], np.prod(lead), np.float32).reshape(lead)
        more = at(p["of_lse"], np.prod(lead), np.float32).reshape(lead) if p["of_lse"] else 0
        room = (batch, heads, grid[0] * queries)
        shift, log2 = (at(p[name], np.prod(room), np.float32).reshape(room) for name in ("shift", "lse_log2"))
        shift[...], log2[...] = 0, np.inf
        shift[:, :, :p["queries"]] = (o * g).sum(-1) - more
        log2[:, :, :p["queries"]] = np.where(np.isinf(lse), np.inf, lse * np.log2(np.e))
        if p["sums"]:
            at(p["sums"], np.prod(room) * self.macros["HEAD"], np.float32)[...] = 0

    def _slopes(self, p: Any, q: Any, k: Any, v: Any, g: Any, b: int, h: int, seen: Any, padded: int) -> Any:
        kept = h // p["group"]
        room = p["batch"], p["heads"], padded
        lse, shift = (at(p[x], np.prod(room), np.float32).reshape(room)[b, h, :p["queries"], None] for x in ("lse", "shift"))
        weights = np.where(seen, np.exp2(q[b, h].astype(float) @ k[b, kept].astype(float).T * p["scale_log2"] - lse), 0)
        return weights, weights * (g[b, h].astype(float) @ v[b, kept].astype(float).T - shift)

    def attention_backward(self, grid: Any, q: Any, k: Any, v: Any, g: Any, p: Any, mask: Any) -> None:
        queries, head, kept = self.macros["QUERIES"], self.macros["HEAD"], int(p["heads"] // p["group"])
        assert grid[0] == p["blocks"] * p["batch"] * kept and p["blocks"] == -(-p["keys"] // 128)
        to_k = strided(p["to_k"], (p["batch"], kept, p["keys"], p["depth"]), (p["k_batch"], p["k_head"], p["k_row"]), q.dtype)
        to_v = strided(p["to_v"], (p["batch"], kept, p["keys"], p["depth_v"]), (p["v_batch"], p["v_head"], p["v_row"]), q.dtype)
        room = p["batch"], p["heads"], p["tiles"] * queries, head
        sums = at(p["sums"], np.prod(room), np.float32).reshape(room) if self.macros["ADDS"] else None
        found_k, found_v = np.zeros(to_k.shape), np.zeros(to_v.shape)
        for b, h in np.ndindex(p["batch"], p["heads"]):
            seen = seen_of(mask, self.macros["MASK"], b, h, p["blocks"], 128, queries, p["queries"], p["keys"], True)
            weights, slopes = self._slopes(p, q, k, v, g, b, h, seen, p["tiles"] * queries)
            found_v[b, h // p["group"]] += weights.T @ g[b, h].astype(float)
            found_k[b, h // p["group"]] += slopes.T @ q[b, h].astype(float) * p["scale"]
            if sums is not None:
                sums[b, h, :p["queries"], :q.shape[-1]] += slopes @ k[b, h // p["group"]].astype(float)
        to_k[...], to_v[...] = found_k, found_v

    def attention_gather(self, grid: Any, p: Any) -> None:
        heads, queries = int(p["heads"]), int(p["queries"])
        room = grid[1] // heads, heads, grid[0] * self.macros["QUERIES"], self.macros["HEAD"]
        half = np.float16 if not self.macros["BF16"] else __import__("ml_dtypes").bfloat16
        to_q = strided(p["to_q"], (room[0], heads, queries, p["depth"]), (p["q_batch"], p["q_head"], p["q_row"]), half)
        to_q[...] = at(p["sums"], np.prod(room), np.float32).reshape(room)[:, :, :queries, :p["depth"]] * p["scale"]

    def attention_slopes(self, grid: Any, q: Any, k: Any, v: Any, g: Any, p: Any, mask: Any) -> None:
        assert grid[0] == p["batch"] * p["heads"] * p["row_blocks"] and p["row_blocks"] == -(-p["queries"] // 128)
        to_q = strided(p["to_q"], (p["batch"], p["heads"], p["queries"], p["depth"]), (p["q_batch"], p["q_head"], p["q_row"]), q.dtype)
        for b, h in np.ndindex(p["batch"], p["heads"]):
            seen = seen_of(mask, self.macros["MASK"], b, h, p["row_blocks"], 128, self.macros["KEYS"], p["queries"], p["keys"], False)
            to_q[b, h] = self._slopes(p, q, k, v, g, b, h, seen, p["tiles"])[1] @ k[b, h // p["group"]].astype(float) * p["scale"]
