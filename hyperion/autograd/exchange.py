"""Arrays of other libraries in and out without copies, by the DLPack protocol: NumPy, CuPy, PyTorch, JAX and whatever else speaks it.

https://dmlc.github.io/dlpack/latest and the array API standard 2024.12. What is shared is memory: a Tensor is an immutable value, so do
not write through the other library into what a Tensor still needs. No library is imported here; each array's own type does the work.
"""

import sys
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import BFLOAT16, KNOWN
from hyperion.autograd.graph import share
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DeviceError, DtypeError, GraphError, InputError
from hyperion.gpu import device as devices

__all__ = ["adopt", "export", "export_device", "from_dlpack"]

CPU, CUDA, CUDA_HOST = 1, 2, 3      # DLDeviceType; memory of kind 3 is the host's, pinned for a GPU


def export(
    x: Tensor, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """Return a DLPack capsule of a Tensor's array; the work behind `Tensor.__dlpack__`, called by `from_dlpack` of another library.

    stream, max_version, dl_device, copy: as in the array API standard. With copy=None memory is shared wherever the consumer can take it:
        a copy is made of negative strides (PyTorch ends the process over them), and of read-only memory for a consumer that was not
        written for DLPack 1.0 (max_version), which would not be told that it must not write.
    Raises: GraphError if the Tensor is tracked; DtypeError for bfloat16 on the CPU; BufferError if copy=False and a copy is needed.
    """
    if x.tracked:
        raise GraphError(
            "x.__dlpack__(): x is tracked and the other library would lose its derivative; use x.detach(), or hyperion.interop to "
            "carry derivatives across"
        )
    data = x.data
    if devices.namespace(data) is not np:
        return data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    if data.dtype == BFLOAT16:
        raise DtypeError(
            "x.__dlpack__(): x is bfloat16, which NumPy cannot export by DLPack; share its bits as int16, x.numpy().view('int16'), and "
            "view them as bfloat16 on the other side, or convert with x.astype('float32')"
        )
    reason = "it has negative strides" if any(n < 0 for n in data.strides) else ""
    if not data.flags.writeable and (max_version is None or max_version[0] < 1):
        reason = "its memory is read-only and the consumer's DLPack (before 1.0) cannot say so"
    if reason and copy is False:
        raise BufferError(f"x.__dlpack__(copy=False): x of shape {x.shape} cannot be shared, since {reason}; use copy=None or True")
    if reason:
        return data.copy().__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)
    return data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def export_device(x: Tensor) -> tuple[int, int]:
    """Return where a Tensor lives, as DLPack numbers devices: (1, 0) the CPU, (2, n) GPU n; the work behind `__dlpack_device__`."""
    kind, number = x.data.__dlpack_device__()
    return int(kind), int(number)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """Return a Tensor that shares the memory of an array of another library: NumPy, CuPy, PyTorch, JAX, or any with `__dlpack__`.

    x: an object with `__dlpack__` and `__dlpack_device__`, on the CPU or a CUDA device. bfloat16 arrays of PyTorch and JAX are taken too.
    device: None keeps that of x; "cpu" or "cuda:N" copies it there if it is elsewhere.
    copy: None copies only if it must; True always, so that later writes to x change nothing; False never.
    Raises: InputError if x does not speak DLPack, its library refuses, or copy=False and a copy is needed; GraphError for a tracked Tensor;
        DtypeError if there is no such dtype here; DeviceError for a device that is absent or neither a CPU nor a CUDA device.

    >>> import numpy as np
    >>> array = np.array([1.0, 2.0])
    >>> x = from_dlpack(array)
    >>> x, np.shares_memory(x.numpy(), array)
    (Tensor (2,) float64, cpu: [1. 2.], True)
    """
    data = adopt(x)
    if device is not None and devices.device_of(data) != device:
        if copy is False:
            raise InputError(
                f"from_dlpack(x, device={device!r}, copy=False): x is on {devices.device_of(data)}, so it must be copied; use copy=None"
            )
        return Tensor(devices.to_device(data, device))
    if copy:
        return Tensor(data.copy())
    if devices.namespace(data) is np:
        share(data)         # writes through the other library, while a gradient needs the values, are then found
    return Tensor(data)


def adopt(x: Any) -> Any:
    """Return a NumPy or CuPy array over the memory of a foreign array, as `from_dlpack`, whose errors it raises."""
    name = f"from_dlpack(x): x is a {type(x).__module__}.{type(x).__name__}"
    if isinstance(x, Tensor):
        if x.tracked:
            raise GraphError("from_dlpack(x): x is a tracked Tensor, whose derivative would be lost; use x.detach(), or x itself")
        return x.data
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise InputError(f"{name}, which has no __dlpack__ and __dlpack_device__; for lists and numbers use asarray")
    if devices.is_array(x):
        return as_tensor(x).data
    kind, number = (int(value) for value in x.__dlpack_device__())
    if kind not in (CPU, CUDA, CUDA_HOST):
        raise DeviceError(f"{name} on DLPack device type {kind}; only the CPU (1, 3) and CUDA (2) are taken: move it to the CPU first")
    if kind == CUDA:
        devices.check(f"cuda:{number}")
    data = _bfloat16(x) if str(getattr(x, "dtype", "")).rpartition(".")[2] == "bfloat16" else None
    if data is not None:
        return data
    try:
        data = (devices.namespace_of(f"cuda:{number}") if kind == CUDA else np).from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name} and cannot be shared: {error}") from error
    if data.dtype not in KNOWN:
        raise DtypeError(f"{name} of dtype {data.dtype}, which is not supported; convert it before")
    return data


def _bfloat16(x: Any) -> Any:
    """Return an array over the memory of one of bfloat16, whose bits travel as int16; None if this library offers no way."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if x.requires_grad:
            raise InputError(
                "from_dlpack(x): x is a torch.Tensor and cannot be shared: it requires a gradient, which would be lost; use x.detach(), or "
                "hyperion.interop to carry derivatives across"
            )
        return adopt(x.view(torch.int16)).view(BFLOAT16)
    if hasattr(x, "__array__") and int(x.__dlpack_device__()[0]) != CUDA:
        data = np.asarray(x)      # JAX: shares memory on the CPU
        return data if data.dtype == BFLOAT16 else None
    return None
