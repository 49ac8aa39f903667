"""Making Tensors. Python numbers and lists of floats become float32, of integers int64; arrays keep their dtype."""

from typing import Any

import numpy as np

from hyperion.autograd.dtypes import FLOAT, as_dtype, default_dtype
from hyperion.autograd.ops.shaping import as_shape, astype, to_device
from hyperion.autograd.tensor import Tensor, as_tensor, make_leaf
from hyperion.errors import InputError
from hyperion.gpu import device as devices

__all__ = ["arange", "asarray", "full", "linspace", "ones", "ones_like", "zeros", "zeros_like"]


def asarray(value: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Return a value as a Tensor. An array of the dtype and device asked for is shared, not copied.

    value: Tensor, NumPy or CuPy array, Python number, or nested lists of numbers.
    dtype, device: None keeps those of an array; "cpu" or "cuda:N".
    requires_grad: make a new place where derivatives end; `backward` adds to its `.grad`. It holds a copy: writing to the array later
        changes nothing.
    Raises: DtypeError for a dtype that is not supported, or has no derivative with requires_grad; DeviceError if the device is absent.

    >>> asarray([1.0, 2.0], dtype="float64")
    Tensor (2,) float64, cpu: [1. 2.]
    """
    if dtype is not None and not isinstance(value, Tensor) and not devices.is_array(value):
        value = np.asarray(value, as_dtype(dtype))
    x = as_tensor(value)
    if dtype is not None:
        x = astype(x, dtype)
    if device is not None:
        x = to_device(x, device)
    return make_leaf(x, "asarray(x, requires_grad=True): x", own=True) if requires_grad else x


def full(shape: Any, value: Any, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a Tensor of a shape with one value everywhere.

    >>> full((2,), 3.0)
    Tensor (2,) float32, cpu: [3. 3.]
    """
    if type(value) not in (bool, int, float, complex):
        raise InputError(f"full(shape, value): value={value!r} must be a Python number; for a Tensor use broadcast_to")
    kind = default_dtype(value) if dtype is None else as_dtype(dtype)
    return Tensor(devices.namespace_of(device).full(as_shape(shape, "full"), value, dtype=kind))


def zeros(shape: Any, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a Tensor of zeros, float32 by default.

    >>> zeros((2,))
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return full(shape, 0.0, FLOAT if dtype is None else dtype, device)


def ones(shape: Any, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a Tensor of ones, float32 by default.

    >>> ones((2,))
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return full(shape, 1.0, FLOAT if dtype is None else dtype, device)


def zeros_like(x: Any) -> Tensor:
    """Return zeros of the shape, dtype and device of x.

    >>> zeros_like([1.0, 2.0])
    Tensor (2,) float32, cpu: [0. 0.]
    """
    data = as_tensor(x).data
    return Tensor(devices.namespace(data).zeros_like(data))


def ones_like(x: Any) -> Tensor:
    """Return ones of the shape, dtype and device of x.

    >>> ones_like([3.0, 2.0])
    Tensor (2,) float32, cpu: [1. 1.]
    """
    data = as_tensor(x).data
    return Tensor(devices.namespace(data).ones_like(data))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return evenly spaced values from start (default 0) up to, without, stop: int64 for integers, else float32.

    >>> arange(3)
    Tensor (3,) int64, cpu: [0 1 2]
    """
    first, last = (0, start) if stop is None else (start, stop)
    numbers = (first, last, step)
    if step == 0:
        raise InputError("arange(start, stop, step): step is 0; it must be another number")
    kind = (np.dtype(np.int64) if all(isinstance(n, int | np.integer) for n in numbers) else FLOAT) if dtype is None else as_dtype(dtype)
    return Tensor(devices.namespace_of(device).arange(first, last, step, dtype=kind))


def linspace(start: float, stop: float, num: int, dtype: Any = None, device: str = "cpu", endpoint: bool = True) -> Tensor:
    """Return `num` evenly spaced values from start to stop, float32 by default; without stop itself if endpoint is False.

    >>> linspace(0.0, 1.0, 3)
    Tensor (3,) float32, cpu: [0.  0.5 1. ]
    """
    kind = FLOAT if dtype is None else as_dtype(dtype)
    return Tensor(devices.namespace_of(device).linspace(start, stop, num, endpoint=endpoint, dtype=kind))
