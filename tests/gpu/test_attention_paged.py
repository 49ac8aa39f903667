"""Attention to keys and values in pages by the kernels for GPUs: on one, or thread by thread on the CPU (emulator.h, warps.h)."""

import importlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion.gpu import attention_arrays, attention_paged, device, hopper
from tests.autograd.test_paging import alone
from tests.gpu import attention_kernels, emulator, standin
from tests.gpu.test_attention import away

BRAIN, HALF, SINGLE = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.float32)
LIMITS = {BRAIN: 1e-2, HALF: 2e-3, SINGLE: 5e-6}        # two and a half roundings of the type; float32: sums of 2^-22

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request, monkeypatch):
    """CuPy on a GPU from sm_80 on, or what passes for it, with three multiprocessors: texts are cut into parts."""
    traits = lambda number: (80, 3, 166912)         # noqa: E731
    if request.param == "gpu":
        cupy = importlib.import_module("cupy")
        if int(cupy.cuda.Device(0).compute_capability) < 80:
            pytest.skip("the GPU is older than sm_80")
        return cupy
    cupy = standin.put_in_place(monkeypatch)
    for name in ("Kernel", "compiled"):
        monkeypatch.setattr(hopper, name, getattr(attention_kernels, name))
    monkeypatch.setattr(attention_paged, "_kernel", attention_paged._kernel.__wrapped__)
    for one in (attention_paged, attention_arrays):
        monkeypatch.setattr(one, "device_traits", traits)
    return cupy


def made(dtype: Any, page: int, lengths: list[int], kept: int, group: int, queries: int, sizes: tuple[int, int]) -> list[Any]:
    """Return q, pools whose unused places are NaN, the table of pages in disorder, and the lengths."""
    random = np.random.default_rng(sum(lengths) + page)
    counts = [-(-length // page) for length in lengths]
    order = random.permutation(sum(counts) + 2)
    table, pools = np.zeros((len(lengths), max(counts) + 1), np.int32), []
    for row, count in enumerate(counts):
        table[row, :count], order = order[:count], order[count:]
    for size in sizes:
        pool = np.full((sum(counts) + 2, kept, page, size), np.nan)
        for row, length in enumerate(lengths):
            for at in range(length):
                pool[table[row, at // page], :, at % page] = random.standard_normal((kept, size))
        pools.append(pool.astype(dtype))
    return [random.standard_normal((len(lengths), kept * group, queries, sizes[0])).astype(dtype), *pools, table, np.array(lengths)]


# dtype, page, lengths, heads of keys, heads of queries for each, queries, sizes, window
CASES: dict[str, tuple[Any, ...]] = {
    "one query": (BRAIN, 64, [130, 1, 64], 2, 1, 1, (64, 64), None),
    "in parts": (HALF, 16, [700], 1, 8, 1, (32, 32), None),
    "a window": (BRAIN, 48, [300, 5], 1, 2, 1, (32, 32), 70),
    "several queries, odd sizes": (HALF, 7, [40, 2], 2, 3, 7, (40, 24), 20),
    "float32": (SINGLE, 32, [150, 0], 1, 4, 2, (32, 64), None),
    "large": (BRAIN, 64, [100], 1, 2, 1, (256, 256), None),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_attention_to_each_text_alone(cupy, name):
    dtype, page, lengths, kept, group, queries, sizes, window = CASES[name]
    given = made(dtype, page, lengths, kept, group, queries, sizes)
    there = [cupy.asarray(x) for x in given]
    attention_kernels.ran.clear()
    found = hp.paged_attention(*there, scale=0.4, window=window).data
    if isinstance(found, standin.ndarray):
        assert attention_kernels.ran == ["attention_paged", *["attention_paged_combine"] * (name == "in parts")]
    assert found.dtype == dtype
    exact = alone(*(x.astype(np.float64) for x in given[:3]), *given[3:], window)
    assert away(device.to_numpy(found), exact) < LIMITS[dtype]


def test_a_scale_below_zero_and_integers_of_64_bits(cupy):
    given = made(SINGLE, 64, [20], 1, 1, 1, (32, 32))
    found = hp.paged_attention(*(cupy.asarray(x.astype(np.int64) if x.dtype.kind == "i" else x) for x in given), scale=-0.4).data
    exact = alone(-given[0].astype(np.float64), *(x.astype(np.float64) for x in given[1:3]), *given[3:], None)
    assert away(device.to_numpy(found), exact) < LIMITS[SINGLE]


@pytest.mark.parametrize(("dtype", "tokens"), [(BRAIN, 1), (SINGLE, 5)])
def test_new_tokens_are_written_where_pages_say(cupy, dtype, tokens):
    _, keys, values, table, lengths = made(dtype, 4, [9, 6], 2, 1, 1, (16, 24))
    random = np.random.default_rng(0)
    new = [random.standard_normal((2, tokens, 2, size)).astype(dtype).swapaxes(1, 2) for size in (16, 24)]
    there = [cupy.asarray(x) for x in (keys, values)]
    attention_paged.append(*there, *(cupy.asarray(x) for x in new), cupy.asarray(table), cupy.asarray(lengths.astype(np.int32)))
    for pool, old, x in zip(there, (keys, values), new, strict=True):
        expected = old.copy()
        for row, length in enumerate(lengths):
            for t in range(tokens):
                at = length - tokens + t
                expected[table[row, at // 4], :, at % 4] = x[row, :, t]
        np.testing.assert_array_equal(device.to_numpy(pool).astype(np.float64), expected.astype(np.float64))


def test_the_emulator_sees_warps_that_meet_too_rarely(cupy, monkeypatch):
    """Without the barrier of the loop a tile is written over while a warp still reads it."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("only the emulator watches the order of accesses")
    whole = attention_paged.source("attention_paged")
    monkeypatch.setattr(attention_paged, "source", lambda name: whole.replace("__syncthreads();", "", 1))
    with pytest.raises(AssertionError, match="meet too rarely"):
        hp.paged_attention(*(cupy.asarray(x) for x in made(BRAIN, 64, [400], 1, 1, 1, (32, 32))))
