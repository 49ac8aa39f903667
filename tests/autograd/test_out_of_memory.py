"""An array that does not fit is an error that says what was asked, what holds the memory and what to try; everything else stays usable."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, general
from hyperion.errors import DeviceError, OutOfMemoryError
from tests.gpu import emulator, standin

HUGE = 1 << 58          # bytes; no machine has as many


@pytest.fixture
def greedy() -> Iterator[Any]:
    yield general("greedy", lambda xp, x: xp.empty(HUGE, np.uint8), lambda g, out, x: g)
    del PRIMITIVES["greedy"]


@pytest.fixture
def greedy_backward() -> Iterator[Any]:
    yield general("greedy", lambda xp, x: x + 0, lambda g, out, x: g, pull=lambda g, out, inputs, params: [np.empty(HUGE, np.uint8)])
    del PRIMITIVES["greedy"]


def test_the_operation_what_holds_memory_and_the_way_out(greedy: Any) -> None:
    x = hp.asarray(np.ones((300, 100)), requires_grad=True)
    y = hp.tanh(x)
    with pytest.raises(OutOfMemoryError) as caught:
        greedy(y)
    text = str(caught.value)
    assert text.startswith("greedy: cpu has no memory for ")
    assert "inputs are (300, 100) float64" in text
    assert "234.4 KiB in results of tanh (300, 100) float64" in text
    assert "checkpoint(f)" in text
    hp.sum(y).backward()                # the graph recorded so far is whole
    np.testing.assert_array_equal(x.grad, 1 - np.tanh(1.0) ** 2 * np.ones((300, 100)))
    assert isinstance(caught.value, MemoryError)


def test_in_a_backward_sweep(greedy_backward: Any) -> None:
    x = hp.asarray(np.ones(3), requires_grad=True)
    with pytest.raises(OutOfMemoryError, match="greedy, backward: cpu has no memory"):
        hp.sum(greedy_backward(x)).backward()


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")
def test_the_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.put_in_place(monkeypatch)
    found = hp.device_memory("cuda:0")
    assert (found.free, found.total) == (1 << 33, 1 << 34)
    assert str(found) == "cuda:0: 3.0 MiB in arrays, 1.0 MiB kept for later ones, 8.0 GiB free of 16.0 GiB"


@pytest.mark.parametrize("place", ["cpu", "gpu", "cuda:99", "cuda:x"])
def test_no_such_gpu(place: str) -> None:
    with pytest.raises(DeviceError, match=place):
        hp.device_memory(place)


@pytest.mark.gpu
def test_a_gpu_that_ran_out_of_memory_stays_usable() -> None:
    total = hp.device_memory("cuda:0").total
    x = hp.asarray(hp.ones(total // 16, device="cuda:0"), requires_grad=True)       # a quarter of it in float32
    with pytest.raises(OutOfMemoryError, match=r"cuda:0 has no memory for [\d.]+ GiB more") as caught:
        [hp.exp(x) for _ in range(4)]
    assert "in leaves and constants" in str(caught.value)
    assert float(hp.sum(hp.ones(10, device="cuda:0"))) == 10
