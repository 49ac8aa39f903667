"""Where arrays live: NumPy arrays on the CPU, CuPy arrays on a GPU. The type of the array decides; nothing reads a global.

CuPy is looked up only when a GPU is asked for or one of its arrays comes in: importing Hyperion never imports it.
"""

import functools
import importlib
import sys
import warnings
from typing import Any

import numpy as np

from hyperion.errors import DeviceError, InputError

__all__ = [
    "Standin", "check", "device_of", "free_memory", "is_array", "namespace", "namespace_of", "scipy_module", "to_device", "to_numpy",
]


class Standin:
    """Base of what stands for a NumPy array while a function is recorded (see autograd/jit): its kind is known, its values are not used."""

    __slots__ = ()


@functools.cache
def is_cupy(kind: type[Any]) -> bool:
    """Tell whether a class is CuPy's of arrays; asked once for each class: each operation needs to know.

    >>> is_cupy(np.ndarray)
    False
    """
    return kind.__module__.partition(".")[0] == "cupy" and hasattr(kind, "__cuda_array_interface__")


def is_array(value: Any) -> bool:
    """Tell whether a value is a NumPy array, a NumPy scalar or a CuPy array.

    >>> is_array(np.zeros(3)), is_array([0.0])
    (True, False)
    """
    return isinstance(value, np.ndarray | np.generic | Standin) or is_cupy(type(value))


def namespace(array: Any) -> Any:
    """Return the module whose functions work on an array: numpy or cupy.

    Raises: InputError if it is neither a NumPy nor a CuPy array.

    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    if isinstance(array, np.ndarray | np.generic | Standin):
        return np
    if is_cupy(type(array)):
        return sys.modules["cupy"]
    raise InputError(f"array is a {type(array).__name__}; it must be a NumPy or CuPy array: convert it with numpy.asarray or cupy.asarray")


def namespace_of(device: str) -> Any:
    """Return the module that makes arrays on a device: numpy for "cpu", cupy for "cuda:0".

    Raises: DeviceError as `check`.

    >>> namespace_of("cpu").__name__
    'numpy'
    """
    check(device)
    return np if device == "cpu" else importlib.import_module("cupy")


def gpu_namespace(device: str) -> Any:
    """Return CuPy, for a device that must be a GPU.

    Raises: DeviceError as `check`, and for "cpu".

    >>> gpu_namespace("cpu")
    Traceback (most recent call last):
        ...
    hyperion.errors.DeviceError: device='cpu' is not a GPU; it must be "cuda:N", for example "cuda:0"
    """
    if device == "cpu":
        raise DeviceError('device=\'cpu\' is not a GPU; it must be "cuda:N", for example "cuda:0"')
    return namespace_of(device)


def scipy_module(xp: Any, name: str) -> Any:
    """Return a SciPy module, or its CuPy counterpart, that goes with an array namespace.

    >>> scipy_module(np, "signal").__name__
    'scipy.signal'
    """
    if xp is np:
        return importlib.import_module(f"scipy.{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)      # cupyx.scipy.signal uses a decorator of CuPy's that calls itself experimental
        return importlib.import_module(f"cupyx.scipy.{name}")


def device_of(array: Any) -> str:
    """Return the name of the device an array lives on: "cpu", "cuda:0", "cuda:1"...

    >>> device_of(np.zeros(3))
    'cpu'
    """
    return "cpu" if namespace(array) is np else f"cuda:{array.device.id}"


def check(device: str) -> None:
    """Refuse a device that is not there.

    device: "cpu" or "cuda:N".
    Raises: DeviceError if the name is unknown, CuPy is not installed, or there is no such GPU.

    >>> check("cpu")
    """
    if device == "cpu":
        return
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or not number.isdigit():
        raise DeviceError(f'device={device!r} is unknown; it must be "cpu" or "cuda:N" with N the number of the GPU, for example "cuda:0"')
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(
            f'device={device!r} needs CuPy, which is not installed ({error}); install the extra gpu12 or gpu13, or use device="cpu"'
        ) from error
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:     # CuPy raises several classes of its own here: no driver, no device, driver too old
        raise DeviceError(f'device={device!r}: no GPU can be used on this machine ({error}); use device="cpu"') from error
    if int(number) >= count:
        raise DeviceError(f'device={device!r}: this machine has {count} GPU(s), numbered from 0; use device="cpu" or a smaller number')


def free_memory(device: str) -> int:
    """Return the bytes of a GPU's memory that this process may still take, idle ones of CuPy's pool counted."""
    cupy = namespace_of(device)
    with cupy.cuda.Device(int(device.partition(":")[2])) as there:
        return int(there.mem_info[0]) + int(cupy.get_default_memory_pool().free_bytes())


def to_device(array: Any, device: str) -> Any:
    """Return an array on a device; the same object if it is there already.

    Raises: DeviceError as `check`.

    >>> to_device(np.ones(2), "cpu")
    array([1., 1.])
    """
    if device_of(array) == device:
        return array
    check(device)
    if device == "cpu":
        return to_numpy(array)
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(int(device.partition(":")[2])):
        return cupy.asarray(array)


def to_numpy(array: Any) -> Any:
    """Return an array as a NumPy array on the CPU; the same object if it is one.

    >>> to_numpy(np.ones(2))
    array([1., 1.])
    """
    xp = namespace(array)
    return np.asarray(array) if xp is np else xp.asnumpy(array)
