"""Random bits: the block cipher Philox 4x64 with 10 rounds, as a function from where a number stands to its 64 bits.

Word i of draw d, attempt t, under a key of 128 bits is lane i % 4 of the block Philox(counter=(i // 4, t, d, kind), key). No number depends
on another one, so any order, thread count or device gives the same bits. On the CPU NumPy's Philox makes them (its stream is part of
NumPy's compatibility promise); `philox` here is the same function on arrays, for scattered numbers and for other array modules.

Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011), section 3.3.
"""

from typing import Any

import numpy as np

from hyperion.gpu import philox as on_gpu

__all__ = ["child_key", "philox", "seed_key", "words", "words_at"]

Key = tuple[int, int]

DRAW, SPLIT, AT, SEED = 0, 1, 2, 3      # kinds of counters: numbers that are drawn and keys that are derived never share a block
LOW = (1 << 32) - 1
FULL = (1 << 64) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)     # what the key grows by in each round


def _product(xp: Any, x: Any, constant: int) -> tuple[Any, Any]:
    """Return the upper and lower 64 bits of x times a constant; x: array of uint64 with at least one axis."""
    low, half = xp.uint64(LOW), xp.uint64(32)
    x0, x1 = x & low, x >> half
    c0, c1 = xp.uint64(constant & LOW), xp.uint64(constant >> 32)
    crossed, other = x0 * c1, x1 * c0
    middle = ((x0 * c0) >> half) + (crossed & low) + (other & low)
    return x1 * c1 + (crossed >> half) + (other >> half) + (middle >> half), x * xp.uint64(constant)


def philox(xp: Any, counter: tuple[Any, Any, Any, Any], key: Key) -> tuple[Any, Any, Any, Any]:
    """Return the four words of blocks.

    counter: four arrays of uint64 of one shape, with at least one axis.  key: two numbers below 2^64.

    >>> zero = np.zeros(1, np.uint64)
    >>> hex(int(philox(np, (zero, zero, zero, zero), (0, 0))[0][0]))
    '0x16554d9eca36314c'
    """
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        (upper, lower), (upper2, lower2) = _product(xp, a, MULTIPLIERS[0]), _product(xp, c, MULTIPLIERS[1])
        a, b, c, d = upper2 ^ b ^ xp.uint64(first), lower2, upper ^ d ^ xp.uint64(second), lower
        first, second = (first + STEPS[0]) & FULL, (second + STEPS[1]) & FULL
    return a, b, c, d


def words(xp: Any, key: Key, draw: int, attempt: int, start: int, count: int) -> Any:
    """Return words number start, start + 1, ... of a draw: array (count,) of uint64. start: a multiple of 4."""
    if xp is np:
        # NumPy counts up before it makes a block.
        before = ((start // 4 | attempt << 64 | draw << 128 | DRAW << 192) - 1) % (1 << 256)
        counter = np.array([before >> shift & FULL for shift in (0, 64, 128, 192)], np.uint64)
        return np.random.Philox(counter=counter, key=np.array(key, np.uint64)).random_raw(count)
    return words_at(xp, key, draw, attempt, xp.arange(start, start + count, dtype=xp.uint64))


def words_at(xp: Any, key: Key, draw: int, attempt: int, index: Any) -> Any:
    """Return the words of given numbers of a draw; index: array of uint64 with at least one axis."""
    if xp.__name__ == "cupy":
        return on_gpu.words_at(index, key, draw, attempt, DRAW)
    block, lane = index >> xp.uint64(2), index & xp.uint64(3)
    zero = xp.zeros_like(block)
    lanes = philox(xp, (block, zero + xp.uint64(attempt), zero + xp.uint64(draw), zero + xp.uint64(DRAW)), key)
    out = lanes[0]
    for i in (1, 2, 3):
        out = xp.where(lane == xp.uint64(i), lanes[i], out)
    return out


def _derived(counter: tuple[int, int, int, int], key: Key) -> Key:
    a, b, *_ = philox(np, tuple(np.array([n], np.uint64) for n in counter), key)      # pyright: ignore[reportArgumentType]
    return int(a[0]), int(b[0])


def seed_key(seed: int) -> Key:
    """Return the key that belongs to a seed below 2^128."""
    return _derived((seed & FULL, seed >> 64, 0, SEED), (0, 0))


def child_key(key: Key, number: int, draw: int | None) -> Key:
    """Return the key of child `number`, below 2^64: of the split that is draw number `draw`, or with None of those that count no draw."""
    return _derived((number, 0, 0, AT) if draw is None else (number, 0, draw, SPLIT), key)
