"""Which GPUs are refused, and what is said, through modules that fail as CuPy does; and what runs on the second of two."""

import importlib
import sys
import types

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim, pde
from hyperion.autograd import vjp
from hyperion.errors import DeviceError
from hyperion.gpu import device
from hyperion.pde import device_run
from tests.gpu import emulator, standin
from tests.pde.cases import Case, difference

EPS = float(np.finfo(np.float32).eps)


class _Failed(RuntimeError):
    """As CuPy's own errors of CUDA."""


def _fails(error):
    def called(*_):
        raise error

    return called


def _cupy(monkeypatch, capability="90", count=2, **runtime):
    """Put a module in CuPy's place that knows so many GPUs of a compute capability."""
    calls = {"getDeviceCount": lambda: count, "driverGetVersion": lambda: 13000, "runtimeGetVersion": lambda: 12090} | runtime
    cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(**calls),
                                 Device=lambda number: types.SimpleNamespace(compute_capability=capability, id=number))
    cupy = types.ModuleType("cupy")
    vars(cupy).update(cuda=cuda)
    monkeypatch.setitem(sys.modules, "cupy", cupy)


TOO_OLD = _Failed("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")


@pytest.mark.parametrize(("given", "words"), [
    ({"capability": "61"}, r"cuda:1' has compute capability 6.1; the kernels need 7.0 or later .*use another GPU or device=\"cpu\""),
    ({"capability": "52"}, "compute capability 5.2"),
    ({"count": 1}, r"cuda:1': this machine has 1 GPU\(s\), numbered from 0; .*a smaller number"),
    ({"getDeviceCount": _fails(TOO_OLD), "driverGetVersion": lambda: 0},
     r"no NVIDIA driver is installed \(cudaError.*; install it, or use"),
    ({"getDeviceCount": _fails(TOO_OLD), "driverGetVersion": lambda: 11040},
     r"the NVIDIA driver knows CUDA 11\.4 and CuPy is made for CUDA 12\.9 .*install a newer driver, or .*gpu12.*use device=\"cpu\""),
    ({"getDeviceCount": _fails(_Failed("cudaErrorNoDevice: no CUDA-capable device is detected"))},
     "no GPU can be used on this machine: cudaErrorNoDevice.*; look with nvidia-smi, or use"),
    ({"getDeviceCount": _fails(TOO_OLD), "driverGetVersion": _fails(_Failed("gone"))}, "CUDA runtime version; look with nvidia-smi"),
])
def test_gpus_that_cannot_be_used_are_refused_with_the_way_out(monkeypatch, given, words):
    _cupy(monkeypatch, **given)
    for refused in (lambda: device.check("cuda:1"), lambda: pde.Grid((20, 20), 10.0, device="cuda:1")):
        with pytest.raises(DeviceError, match=words):
            refused()


@pytest.mark.parametrize("capability", ["70", "80", "90", "100", "120"])
def test_gpus_from_volta_on_pass(monkeypatch, capability):
    _cupy(monkeypatch, capability=capability)
    device.check("cuda:0")
    device.check("cuda:1")


@pytest.mark.parametrize(("error", "words"), [
    (ModuleNotFoundError("No module named 'cupy'", name="cupy"), "needs CuPy, which is not installed .*gpu12 or gpu13"),
    (ModuleNotFoundError("No module named 'cupy_backends'", name="cupy_backends"), "CuPy is installed but does not load"),
    (ImportError("libnvrtc.so.13: cannot open shared object file"),
     r"CuPy is installed but does not load \(libnvrtc.so.13: .*another version of CUDA; install the extra that goes with the driver"),
])
def test_a_cupy_that_does_not_load_is_told_from_none(monkeypatch, error, words):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    load = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, *more: _fails(error)() if name == "cupy" else load(name, *more))
    with pytest.raises(DeviceError, match=words):
        device.check("cuda:0")


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def two(request, monkeypatch):
    """CuPy with two GPUs, the first of which is the current one."""
    if request.param == "gpu":
        cupy = importlib.import_module("cupy")
        if cupy.cuda.runtime.getDeviceCount() < 2:
            pytest.skip("one GPU only")
        return cupy
    if emulator.COMPILER is None:
        pytest.skip("no C++ compiler on PATH: the emulator needs one")
    return standin.put_in_place(monkeypatch, 2)


def _on_each(made):
    """Return what a function makes on the CPU and on two GPUs, in turns, as NumPy arrays; all of it lies where it was asked for."""
    out = {}
    for place in ("cpu", "cuda:1", "cuda:0"):
        found = made(place)
        assert {x.device for x in found} == {place}
        out[place] = [x.detach().numpy() for x in found]
    for place in ("cuda:0", "cuda:1"):
        for got, want in zip(out[place], out["cpu"], strict=True):
            assert difference(got, want) < 1e3 * EPS if want.any() else not got.any()            # bounds rounding


def test_two_gpus_compute_in_one_process(two):
    data = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)

    def made(place):
        x = hp.asarray(data, device=place, requires_grad=True)
        y = hp.exp(x) * hp.sin(x) + hp.sum(x * hp.linspace(0.0, 1.0, 7, device=place), axis=0)
        loss = hp.sum(y * hp.softmax(hp.matmul(x, hp.ones((7, 7), device=place)), axis=-1)) + hp.sum(x[1:3, ::2])
        loss.backward()
        parameter = hp.asarray(data, device=place, requires_grad=True)
        parameter.grad = x.grad
        with device.on(place):                         # an optimiser works where the current GPU is
            optim.Adam([parameter], 0.1).step()
        return loss, y, x.grad, parameter, hp.zeros((3,), device=place), hp.arange(4.0, device=place)

    _on_each(made)
    with pytest.raises(DeviceError, match=r"inputs are on cuda:0, cuda:1; all must be on one device: use x.to\('cuda:0'\)"):
        hp.ones(3, device="cuda:0") + hp.ones(3, device="cuda:1")
    moved = hp.asarray(data, device="cuda:1").to("cuda:0")
    assert moved.device == "cuda:0" and np.array_equal(moved.numpy(), data)


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
def test_simulations_run_on_the_second_gpu(two, monkeypatch):
    monkeypatch.setattr(device_run, "GRAPH", 6)

    def made(place):
        case = Case((21, 33), 2, pde.CPML(width=4), dtype=np.float32, steps=16)
        case.solver.grid.device = place
        args = tuple(hp.asarray(x, device=place) for x in case.args)
        gathers, pull = vjp(case.gathers, *args)
        return gathers, *pull(gathers)

    _on_each(made)
