"""Where arrays live: NumPy arrays on the CPU, CuPy arrays on a GPU. The type of the array decides; nothing reads a global.

CuPy is looked up only when a GPU is asked for or one of its arrays comes in: importing Hyperion never imports it.
"""

import contextlib
import functools
import importlib
import sys
import types
import warnings
from typing import Any

import numpy as np

from hyperion.errors import DeviceError, InputError

__all__ = [
    "Standin", "beside", "check", "device_of", "free_memory", "is_array", "namespace", "namespace_of", "on", "scipy_module", "to_device",
    "to_numpy",
]

_AS_IT_IS = contextlib.nullcontext()
LEAST_CAPABILITY = 70                                  # ten times the compute capability that the kernels are written for


class Standin:
    """Base of what stands for an array while a function is recorded (see autograd/jit): its kind is known, its values are not used.

    place: the device of the array.
    """

    __slots__ = ()
    place = "cpu"


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
    if isinstance(array, np.ndarray | np.generic):
        return np
    if isinstance(array, Standin):
        return np if array.place == "cpu" else sys.modules["cupy"]
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
    if device == "cpu":
        return np
    cupy = importlib.import_module("cupy")
    number = int(device.partition(":")[2])
    return cupy if _alone(cupy) or cupy.cuda.runtime.getDevice() == number else _Elsewhere(cupy, number)


class _Elsewhere:
    """CuPy for a GPU that is not the current one: what its functions make lies there."""

    def __init__(self, module: Any, number: int):
        self._module, self._number = module, number

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, types.ModuleType):
            return _Elsewhere(value, self._number)
        if isinstance(value, type) or not callable(value):
            return value

        @functools.wraps(value)
        def called(*arguments: Any, **options: Any) -> Any:
            with importlib.import_module("cupy").cuda.Device(self._number):
                return value(*arguments, **options)
        return called


@functools.cache
def _alone(cupy: Any) -> bool:
    """Tell whether there is one GPU at most: then it is the current one."""
    return int(cupy.cuda.runtime.getDeviceCount()) < 2


def beside(array: Any) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the GPU of an array is the current one, as CuPy asks of whoever works on it.

    >>> with beside(np.zeros(3)):
    ...     pass
    """
    if not is_cupy(type(array)) or _alone(sys.modules["cupy"]):
        return _AS_IT_IS
    return _AS_IT_IS if sys.modules["cupy"].cuda.runtime.getDevice() == array.device.id else array.device


def on(device: str) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a device is the current one. Raises: DeviceError as `check`.

    >>> with on("cpu"):
    ...     pass
    """
    check(device)
    return _AS_IT_IS if device == "cpu" else importlib.import_module("cupy").cuda.Device(int(device.partition(":")[2]))


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
    if isinstance(array, Standin):
        return array.place
    return "cpu" if namespace(array) is np else f"cuda:{array.device.id}"


def check(device: str) -> None:
    """Refuse a device that is not there.

    device: "cpu" or "cuda:N".
    Raises: DeviceError if the name is unknown, CuPy is not installed or made for another CUDA, or there is no driver or no such GPU, or
    the GPU is older than the kernels (compute capability below 7.0).

    >>> check("cpu")
    """
    if device == "cpu":
        return
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or not number.isdigit():
        raise DeviceError(f'device={device!r} is unknown; it must be "cpu" or "cuda:N" with N the number of the GPU, for example "cuda:0"')
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if (error.name or "cupy").partition(".")[0] != "cupy":
            raise _unloadable(device, error) from error
        raise DeviceError(
            f'device={device!r} needs CuPy, which is not installed ({error}); install the extra gpu12 or gpu13, or use device="cpu"'
        ) from error
    except ImportError as error:
        raise _unloadable(device, error) from error
    _check_number(device, cupy, int(number))


def _unloadable(device: str, error: ImportError) -> DeviceError:
    return DeviceError(f"device={device!r}: CuPy is installed but does not load ({error}), as where it is made for another version of "
                       'CUDA; install the extra that goes with the driver (gpu12 or gpu13) and no CuPy beside it, or use device="cpu"')


@functools.cache
def _check_number(device: str, cupy: Any, number: int) -> None:
    """Refuse a GPU that cannot be used; asked once for each."""
    runtime = cupy.cuda.runtime
    try:
        count = int(runtime.getDeviceCount())
    except Exception as error:     # CuPy raises several classes of its own here: no driver, no device, driver too old
        raise DeviceError(f'device={device!r}: no GPU can be used on this machine: {_why(runtime, error)}, or use device="cpu"') from error
    if number >= count:
        raise DeviceError(f'device={device!r}: this machine has {count} GPU(s), numbered from 0; use device="cpu" or a smaller number')
    capability = str(cupy.cuda.Device(number).compute_capability)
    if int(capability) < LEAST_CAPABILITY:
        major, minor = divmod(LEAST_CAPABILITY, 10)
        raise DeviceError(f"device={device!r} has compute capability {capability[:-1]}.{capability[-1]}; the kernels need {major}.{minor} "
                          'or later (Volta, 2017): use another GPU or device="cpu"')


def _why(runtime: Any, error: Exception) -> str:
    """Return why there is no GPU, and what to do: by the versions of CUDA that the driver and CuPy have."""
    try:
        driver, own = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except Exception:              # where not even these can be asked, CuPy's words are all there is
        return f"{error}; look with nvidia-smi"
    if driver == 0:
        return f"no NVIDIA driver is installed ({error}); install it"
    if driver < own:
        names = [f"{n // 1000}.{n % 1000 // 10}" for n in (driver, own)]
        return (f"the NVIDIA driver knows CUDA {names[0]} and CuPy is made for CUDA {names[1]} ({error}); install a newer driver, or the "
                "extra gpu12 for an older CUDA")
    return f"{error}; look with nvidia-smi"


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
