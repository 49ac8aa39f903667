"""Attention on the GPU against the formula: the kernels on one; without one the whole way to them, with their rules followed in NumPy."""

import importlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.autograd.ops import heads
from hyperion.gpu import attention, attention_general, device, hopper
from hyperion.gpu import attention_hopper as module
from tests.gpu import attention_kernels, emulator, standin

BRAIN, HALF = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
PLACES = ["followed", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture(params=PLACES)
def cupy(request, monkeypatch):
    """CuPy on a Hopper GPU, or what passes for it."""
    if request.param == "gpu":
        cupy = importlib.import_module("cupy")
        if cupy.cuda.Device(0).compute_capability != "90":
            pytest.skip("the GPU is no Hopper: these kernels are for sm_90a")
        return cupy
    cupy = standin.put_in_place(monkeypatch)
    for name in ("Kernel", "compiled", "encoded"):
        monkeypatch.setattr(hopper, name, getattr(attention_kernels, name))
    for name in ("_kernel", "_counter"):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    monkeypatch.setattr(attention_general, "_kernel", attention_general._kernel.__wrapped__)
    for one in (attention, attention_general, module):
        monkeypatch.setattr(one, "device_traits", lambda number: (90, 132, 232448))
    return cupy


IDS = np.repeat([[0, 1, 3, -1, 2]], [150, 40, 1, 20, 89], axis=1)
RANDOM = np.random.default_rng(3)
MASKS: dict[str, Any] = {
    "none": None, "causal": nn.Causal(), "window": nn.SlidingWindow(70, 3), "prefix": nn.PrefixLM(np.array([30, 200])),
    "documents": nn.Document(IDS) & nn.Causal(), "mixed": nn.Document(RANDOM.permutation(IDS[0])), "nothing": np.zeros((300, 300), bool),
    "table": RANDOM.random((2, 1, 300, 300)) < 0.5, "blocks": nn.BlockSparse(RANDOM.random((4, 5, 5)) < 0.5, 64),
}
# batch, heads, heads of keys, queries, keys, head size, that of v, dtype, scale
SHAPES: dict[str, Any] = {
    "64": (2, 4, 4, 300, 300, 64, 64, BRAIN, None), "128 groups": (2, 4, 2, 300, 300, 128, 128, BRAIN, None),
    "odd sizes": (2, 4, 1, 300, 300, 20, 36, HALF, None), "96": (2, 4, 2, 300, 300, 96, 96, HALF, None),
    "upside down": (2, 4, 4, 300, 300, 32, 64, HALF, -0.2), "flat": (2, 4, 4, 300, 300, 40, 64, BRAIN, 0.0),
    "one": (1, 1, 1, 1, 1, 64, 64, BRAIN, None), "few queries": (1, 2, 1, 5, 333, 64, 64, BRAIN, None),
    "few keys": (1, 2, 1, 333, 5, 128, 128, BRAIN, None), "large": (1, 2, 1, 20, 40, 256, 192, BRAIN, None),
}
CASES = [("64", name) for name in MASKS] + [("128 groups", name) for name in MASKS] + [
    (shape, mask) for shape in list(SHAPES)[2:] for mask in ("none", "causal")]


def inputs(shape: Any, turned: bool) -> list[Any]:
    """Return q, k, v, and the gradients of the output and the log-sum-exp; turned: (batch, tokens, heads, size) in memory."""
    batch, heads, kept, queries, keys, size, depth, dtype, _ = shape
    rng = np.random.default_rng(0)
    shapes = (batch, heads, queries, size), (batch, kept, keys, size), (batch, kept, keys, depth), (batch, heads, queries, depth)
    made = [rng.standard_normal(one).astype(np.float32).astype(dtype) for one in shapes]
    if turned:
        made = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for x in made]
    return [*made, rng.standard_normal(shapes[0][:3]).astype(np.float32)]


def there(cupy: Any, x: Any) -> Any:
    """Return an array on the GPU that lies in memory as it does here."""
    return cupy.asarray(np.ascontiguousarray(x.transpose(0, 2, 1, 3))).transpose(0, 2, 1, 3) if x.ndim == 4 and not x.flags.c_contiguous \
        else cupy.asarray(x)


def pulled(arrays: list[Any], mask: Any, scale: Any) -> list[Any]:
    """Return the output, the log-sum-exp and the gradients of q, k and v."""
    q, k, v = (hp.asarray(x, requires_grad=True) for x in arrays[:3])
    out, lse = hp.attention(q, k, v, mask=mask, scale=scale, return_lse=True)
    seen = hp.where(hp.isfinite(lse), lse, 0.0)
    (hp.sum(hp.astype(out * hp.asarray(arrays[3]), "float64")) + hp.sum(hp.astype(seen * hp.asarray(arrays[4]), "float64"))).backward()
    return [x.data for x in (out, lse, q.grad, k.grad, v.grad)]


def away(x: Any, reference: Any) -> float:
    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    assert (np.isinf(x) == np.isinf(reference)).all() and not np.isnan(x).any()
    x, reference = (np.where(np.isinf(y), 0, y) for y in (x, reference))
    return float(np.linalg.norm(x - reference) / max(np.linalg.norm(reference), 1e-3))


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler: the stand-in needs one")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("shape", "mask"), CASES)
def test_attention_is_that_of_the_formula(cupy, shape, mask, exact):
    arrays = inputs(SHAPES[shape], turned=exact)
    expected = pulled([x.astype(np.float64) for x in arrays], MASKS[mask], SHAPES[shape][-1])
    attention_kernels.ran.clear()
    with hp.deterministic(exact):
        found = pulled([there(cupy, x) for x in arrays], MASKS[mask], SHAPES[shape][-1])
    if isinstance(found[0], standin.ndarray):
        last = ["attention_rows", "attention_backward", "attention_slopes" if exact else "attention_gather"]
        general = ["attention_general_rows", *["attention_general_backward"] * 3]
        assert attention_kernels.ran == ["attention_forward", *(last if max(SHAPES[shape][5:7]) <= 128 else general)]
    limit = 1e-2 if SHAPES[shape][-2] == BRAIN else 2e-3        # two and a half rounding steps of the inputs' type
    for x, y in zip(found, expected, strict=True):
        assert away(device.to_numpy(x), y) < limit


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler: the stand-in needs one")
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(("heads", "kept", "keys", "size"), [(8, 1, 1500, 64), (4, 4, 5000, 128), (6, 2, 1030, 20)])
def test_few_queries_and_many_keys(cupy, heads, kept, keys, size, queries):
    shape = 2, heads, kept, queries, keys, size, size, HALF, None
    arrays = inputs(shape, turned=False)
    expected = pulled([x.astype(np.float64) for x in arrays], nn.Causal() if queries == 1 else None, None)
    attention_kernels.ran.clear()
    found = pulled([there(cupy, x) for x in arrays], nn.Causal() if queries == 1 else None, None)
    if isinstance(found[0], standin.ndarray):
        assert attention_kernels.ran[:2] == ["attention_forward", "attention_combine"]
    for x, y in zip(found, expected, strict=True):
        assert away(device.to_numpy(x), y) < 2e-3


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler: the stand-in needs one")
@pytest.mark.parametrize(("size", "scale", "shared"), [(64, None, True), (20, None, False), (64, -0.2, False)])
def test_gradients_of_rows_of_heads_are_written_where_they_are_joined(cupy, monkeypatch, size, scale, shared):
    copies: list[Any] = []
    whole = heads._together
    monkeypatch.setattr(heads, "_together", lambda xp, parts: copies.append(whole(xp, parts)) or copies[-1])
    x = np.random.default_rng(0).standard_normal((2, 70, 8 * size)).astype(HALF)

    def pulled_rows(x: Any) -> Any:
        rows = hp.asarray(x, requires_grad=True)
        q, k, v = hp.split_heads(rows, (4, 2, 2), size)
        out = hp.join_heads(hp.attention(q, k, v, mask=nn.Causal(), scale=scale))
        hp.sum(hp.astype(out, "float64") ** 2).backward()
        return rows.grad.data

    exact = pulled_rows(x.astype(np.float64))
    assert away(device.to_numpy(pulled_rows(cupy.asarray(x))), exact) < 4e-3         # the output, rounded, is its own gradient's factor
    assert [one is not None for one in copies] == [shared]


def test_parts_are_joined_as_they_lie_only_if_they_are_the_whole(cupy):
    rows = cupy.asarray(np.arange(2.0 * 3 * 6 * 4).reshape(2, 3, 24))
    parts = heads._split.forward(cupy, rows, counts=(3, 2, 1), size=4)
    assert heads._together(cupy, parts) is not None and (device.to_numpy(heads._together(cupy, parts)) == device.to_numpy(rows)).all()
    for wrong in (parts[:2], parts[::-1], (parts[0], parts[2], parts[1]), tuple(x[:, :, 1:] for x in parts), tuple(x[:1] for x in parts)):
        assert heads._together(cupy, wrong) is None
