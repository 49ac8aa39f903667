"""Which GPUs are refused, and what is said: through modules that fail as CuPy does."""

import importlib
import sys
import types

import pytest

from hyperion import pde
from hyperion.errors import DeviceError
from hyperion.gpu import device


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
