"""Attention kernels for all GPUs from sm_80 on against the formula: on one, or thread by thread on the CPU (emulator.h, warps.h)."""

import importlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.gpu import attention, attention_general, device, hopper
from tests.gpu import attention_kernels, emulator, standin
from tests.gpu.test_attention import away, there

BRAIN, HALF, SINGLE = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.float32)
LIMITS = {BRAIN: 1e-2, HALF: 2e-3, SINGLE: 5e-6}        # two and a half roundings of the type; float32: sums of 2^-22
PLACES = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")


@pytest.fixture(params=PLACES)
def cupy(request, monkeypatch):
    """CuPy on a GPU from sm_80 on whose own kernels are not asked, or what passes for it."""
    monkeypatch.setattr(attention.tuned, "serves", lambda q: False)
    if request.param == "gpu":
        cupy = importlib.import_module("cupy")
        if int(cupy.cuda.Device(0).compute_capability) < 80:
            pytest.skip("the GPU is older than sm_80")
        return cupy
    cupy = standin.put_in_place(monkeypatch)
    for name in ("Kernel", "compiled"):
        monkeypatch.setattr(hopper, name, getattr(attention_kernels, name))
    for name in ("_kernel", "_on_device"):
        monkeypatch.setattr(attention_general, name, getattr(attention_general, name).__wrapped__)
    for one in (attention, attention_general):
        monkeypatch.setattr(one, "device_traits", lambda number: (80, 108, 166912))
    return cupy


RANDOM = np.random.default_rng(7)
CAUSAL = nn.Causal()


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape)


# (batch, heads, heads of keys, queries, keys, size, that of v), mask, what goes beside
CASES: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    "plain": ((1, 2, 1, 70, 100, 64, 64), None, {}),
    "causal": ((2, 2, 2, 70, 70, 64, 64), CAUSAL, {}),
    "odd sizes": ((1, 2, 1, 10, 70, 20, 36), CAUSAL, {}),
    "documents": ((1, 1, 1, 75, 75, 32, 32), nn.Document(np.repeat([0, 2, -1, 1], [30, 20, 5, 20])), {}),
    "bits": ((1, 2, 1, 40, 75, 32, 32), RANDOM.random((40, 75)) < 0.5, {}),
    "nothing": ((1, 1, 1, 10, 20, 32, 32), np.zeros((10, 20), bool), {}),
    "alibi": ((1, 2, 2, 20, 70, 32, 32), CAUSAL, {"bias": nn.ALiBi(2)}),
    "dropout": ((2, 2, 1, 20, 75, 32, 32), CAUSAL, {"dropout": 0.3}),
    "soft cap": ((1, 2, 2, 20, 70, 32, 32), CAUSAL, {"modifier": nn.SoftCap(2.0)}),
    "bias": ((2, 2, 1, 70, 75, 32, 32), None, {"bias": numbers(1, 2, 70, 75)}),
    "bias of keys": ((2, 2, 2, 20, 75, 32, 32), CAUSAL, {"bias": numbers(2, 1, 1, 75)}),
    "bias of queries": ((2, 2, 2, 70, 20, 32, 32), None, {"bias": numbers(1, 2, 70, 1)}),
    "all": ((2, 2, 1, 20, 75, 32, 32), CAUSAL, {"bias": numbers(1, 1, 20, 75), "dropout": 0.5, "modifier": nn.SoftCap(2.0)}),
    "scale below 0": ((1, 1, 1, 20, 30, 32, 32), None, {"scale": -0.3}),
    "large": ((1, 1, 1, 10, 40, 256, 160), CAUSAL, {}),
}
DAILY = {(BRAIN, "odd sizes"), (HALF, "nothing"), (BRAIN, "bits"), (BRAIN, "all"), (HALF, "scale below 0"), (SINGLE, "all"),
         (SINGLE, "bias of queries")}
KINDS = [pytest.param(dtype, name, id=f"{dtype.name}-{name}", marks=() if (dtype, name) in DAILY else pytest.mark.full)
         for name in CASES for dtype in (BRAIN, HALF, SINGLE)]          # each takes seconds: most of them to compile five kernels


def pulled(arrays: list[Any], mask: Any, bias: Any = None, dropout: float | None = None, **rest: Any) -> list[Any]:
    """Return the output, the log-sum-exp and the gradients of q, k, v and the bias."""
    tensors = [hp.asarray(x, requires_grad=True) for x in arrays[:3]]
    if bias is not None and not isinstance(bias, nn.ALiBi):
        tensors.append(hp.asarray(bias, requires_grad=True))
        bias = tensors[3]
    drawn = None if dropout is None else (dropout, hp.random.Generator(3))
    out, lse = hp.attention(*tensors[:3], mask=mask, bias=bias, dropout=drawn, return_lse=True, **rest)
    seen = hp.where(hp.isfinite(lse), lse, 0.0)
    (hp.sum(hp.astype(out * hp.asarray(arrays[3]), "float64")) + hp.sum(hp.astype(seen * hp.asarray(arrays[4]), "float64"))).backward()
    return [x.data for x in (out, lse, *(x.grad for x in tensors))]


@pytest.mark.parametrize(("dtype", "name"), KINDS)
def test_attention_is_that_of_the_formula(cupy, dtype, name):
    (batch, heads, kept, queries, keys, size, depth), mask, rest = CASES[name]
    rng = np.random.default_rng(0)
    shapes = (batch, heads, queries, size), (batch, kept, keys, size), (batch, kept, keys, depth), (batch, heads, queries, depth)
    arrays: list[Any] = [rng.standard_normal(one).astype(dtype) for one in shapes]
    arrays.append(rng.standard_normal(shapes[0][:3]).astype(np.float32))
    biased = isinstance(rest.get("bias"), np.ndarray)
    bias = rest["bias"].astype(dtype) if biased else None
    expected = pulled([x.astype(np.float64) for x in arrays], mask, **{**rest, "bias": bias.astype(np.float64)} if biased else rest)
    attention_kernels.ran.clear()
    found = pulled([there(cupy, x) for x in arrays], mask, **{**rest, "bias": cupy.asarray(bias)} if biased else rest)
    if isinstance(found[0], standin.ndarray):
        back = ["attention_general_backward"] * (2 if size <= 128 else 3)
        assert attention_kernels.ran == ["attention_general_forward", "attention_general_rows", *back, *["attention_general_bias"] * biased]
    for x, y in zip(found, expected, strict=True):
        assert x.dtype in (dtype, np.float32)
        assert away(device.to_numpy(x), y) < LIMITS[dtype]


SMALL = 101376              # bytes of shared memory that a block may have on GPUs of the kinds sm_86, sm_89 and sm_120


@pytest.mark.parametrize("head", range(32, 257, 32))
@pytest.mark.parametrize("single", [False, True])
def test_small_gpus_have_room_for_a_tiling_of_every_head(head, single):
    for plain in (False, True):
        assert attention_general.tilings(head, single, plain, True)[-1].shared <= SMALL
        for side in (attention_general.QUERIES, attention_general.KEYS, attention_general.TABLE):
            assert min(one.shared for one in attention_general.back_tilings(head, single, plain, side, 1)) <= SMALL


@pytest.mark.full
def test_large_heads_of_float32_on_small_gpus(cupy, monkeypatch):
    monkeypatch.setattr(attention_general, "device_traits", lambda number: (86 if cupy.ndarray is standin.ndarray else 80, 82, SMALL))
    shapes = (1, 1, 10, 256), (1, 1, 40, 256), (1, 1, 40, 256), (1, 1, 10, 256)
    arrays: list[Any] = [RANDOM.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays.append(np.zeros(shapes[0][:3], np.float32))
    expected = pulled([x.astype(np.float64) for x in arrays], CAUSAL)
    for x, y in zip(pulled([there(cupy, x) for x in arrays], CAUSAL), expected, strict=True):
        assert away(device.to_numpy(x), y) < LIMITS[SINGLE]


def test_a_formula_without_text_goes_by_the_sums_in_tiles(cupy):
    class Rounded(nn.ScoreModifier):
        def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
            return xp.square(score)

    q = np.random.default_rng(0).standard_normal((1, 1, 5, 32)).astype(np.float32)
    attention_kernels.ran.clear()
    found = hp.attention(*(cupy.asarray(q) for _ in range(3)), modifier=Rounded())
    assert not attention_kernels.ran
    assert away(device.to_numpy(found.data), hp.attention(*(q.astype(np.float64),) * 3, modifier=Rounded()).data) < 1e-6


def bordered(x: np.ndarray, cupy: Any) -> Any:
    """Return the same array in the midst of NaN: what is read beside it shows."""
    room = np.full((x.shape[0], x.shape[1], x.shape[2] + 9, x.shape[3] + 16), np.nan, x.dtype)
    room[:, :, 1:-8, 8:-8] = x
    return cupy.asarray(room)[:, :, 1:-8, 8:-8]


@pytest.mark.parametrize("dtype", [HALF, pytest.param(SINGLE, marks=pytest.mark.full)], ids=lambda x: x.name)
def test_nothing_is_read_beside_the_arrays(cupy, dtype):
    rng = np.random.default_rng(0)
    shapes = (1, 2, 19, 40), (1, 1, 37, 40), (1, 1, 37, 40), (1, 2, 19, 40)
    arrays: list[Any] = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    arrays.append(rng.standard_normal((1, 2, 19)).astype(np.float32))
    expected = pulled([x.astype(np.float64) for x in arrays], CAUSAL)
    found = pulled([*(bordered(x, cupy) for x in arrays[:4]), cupy.asarray(arrays[4])], CAUSAL)
    for x, y in zip(found, expected, strict=True):
        assert away(device.to_numpy(x), y) < LIMITS[dtype]


@pytest.mark.parametrize(("kernel", "number"), [("forward", 0), ("forward", 1), ("backward", 0)])
def test_the_emulator_sees_warps_that_meet_too_rarely(cupy, monkeypatch, kernel, number):
    """Without one of the barriers of the loops warps use shared memory that others still write or read."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("only the emulator watches the order of accesses")
    whole = attention_general.source

    def without(name: str) -> str:
        parts = whole(name).split("__syncthreads();")
        if name != f"attention_general_{kernel}":
            return whole(name)
        return "__syncthreads();".join([*parts[:number], parts[number] + parts[number + 1], *parts[number + 2:]])

    monkeypatch.setattr(attention_general, "source", without)
    arrays = [cupy.asarray(np.ones((1, 1, 130, 32), BRAIN)) for _ in range(4)] + [cupy.asarray(np.ones((1, 1, 130), np.float32))]
    with pytest.raises(AssertionError, match="meet too rarely"):
        pulled(arrays, None)
