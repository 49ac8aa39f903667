"""Random bits on the GPU: Philox 4x64 with 10 rounds, a word for each index, in one launch. Reference: autograd.random.bits.philox."""

import importlib
from functools import cache
from typing import Any

__all__ = ["words_at"]

# Each thread enciphers the block of its word and keeps one of the four lanes: four times the arithmetic, and still bound by memory.
WORD = """
unsigned long long a = index >> 2, b = attempt, c = draw, d = kind, first = key0, second = key1;
for (int round = 0; round < 10; ++round) {
    unsigned long long upper = __umul64hi(0xD2E7470EE14C6C93ULL, a), lower = 0xD2E7470EE14C6C93ULL * a;
    unsigned long long upper2 = __umul64hi(0xCA5A826395121157ULL, c), lower2 = 0xCA5A826395121157ULL * c;
    a = upper2 ^ b ^ first;
    b = lower2;
    c = upper ^ d ^ second;
    d = lower;
    first += 0x9E3779B97F4A7C15ULL;
    second += 0xBB67AE8584CAA73BULL;
}
int lane = index & 3;
word = lane == 0 ? a : lane == 1 ? b : lane == 2 ? c : d;
"""


@cache
def _kernel() -> Any:
    cupy = importlib.import_module("cupy")
    arguments = "uint64 index, uint64 key0, uint64 key1, uint64 draw, uint64 attempt, uint64 kind"
    return cupy.ElementwiseKernel(arguments, "uint64 word", WORD, "philox_words")


def words_at(index: Any, key: tuple[int, int], draw: int, attempt: int, kind: int) -> Any:
    """Return the words of given numbers of a draw.

    index: CuPy array of uint64, any shape.  key: two numbers below 2^64.  Returns: uint64, same shape.
    Source: Salmon, Moraes, Dror and Shaw (SC 2011), section 3.3.
    """
    cupy = importlib.import_module("cupy")
    numbers = [cupy.uint64(n) for n in (*key, draw, attempt, kind)]
    return _kernel()(index, *numbers)
