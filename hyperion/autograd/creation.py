"""Making Tensors. Python numbers and lists of floats become float32, of integers int64; arrays keep their dtype."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import COMPLEX, FLOAT, INTEGER, SCALARS, as_dtype, default_dtype
from hyperion.autograd.ops.shaping import as_shape, astype, to_device
from hyperion.autograd.tensor import Tensor, as_tensor, make_leaf
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices

__all__ = [
    "arange", "asarray", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "ones", "ones_like", "zeros",
    "zeros_like",
]


def asarray(
    value: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False, copy: bool | None = None
) -> Tensor:
    """Return a value as a Tensor. An array of the dtype and device asked for is shared, not copied, unless `copy` says otherwise.

    value: Tensor, NumPy or CuPy array, Python number, or nested lists of numbers.
    dtype, device: None keeps those of an array; "cpu" or "cuda:N".
    requires_grad: make a new place where derivatives end; `backward` adds to its `.grad`. It holds a copy: writing to the array later
        changes nothing.
    copy: True: always; False: never; None: where needed.
    Raises: DtypeError for a dtype that is not supported, or has no derivative with requires_grad; DeviceError if the device is absent;
        InputError if copy=False and the value is no array of that dtype and device.

    >>> asarray([1.0, 2.0], dtype="float64")
    Tensor (2,) float64, cpu: [1. 2.]
    """
    made = not isinstance(value, Tensor) and not devices.is_array(value)
    if dtype is not None and made:
        value = np.asarray(value, as_dtype(dtype))
    given = x = as_tensor(value)
    if dtype is not None:
        x = astype(x, dtype)
    if device is not None:
        x = to_device(x, device)
    if copy is False and (made or x is not given):
        raise InputError("asarray(value, copy=False): value is no array of this dtype and device, so it has to be copied; use copy=None")
    if requires_grad:
        return make_leaf(x, "asarray(x, requires_grad=True): x", own=True)
    return own_copy(x) if copy and x is given and not made else x


def own_copy(x: Tensor) -> Tensor:
    """Return x in memory of its own, recorded if x is tracked."""
    return x * True if x.tracked else Tensor(x.data.copy())


def _size(shape: Any, name: str) -> tuple[int, ...]:
    """Return a shape, or refuse one with negative lengths."""
    lengths = as_shape(shape, name)
    if min(lengths, default=0) < 0:
        raise ShapeError(f"{name}: shape={shape} has a negative length; lengths are 0 or more")
    return lengths


def full(shape: Any, fill_value: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor of a shape with one value everywhere.

    fill_value: a Python number; it gives the dtype unless `dtype` does.  device: None: "cpu".
    Raises: InputError if fill_value is no Python number.

    >>> full((2,), 3.0)
    Tensor (2,) float32, cpu: [3. 3.]
    """
    if type(fill_value) not in SCALARS:
        raise InputError(f"full(shape, fill_value): fill_value={fill_value!r} must be a Python number; for a Tensor use broadcast_to")
    kind = default_dtype(fill_value) if dtype is None else as_dtype(dtype)
    return Tensor(devices.namespace_of(device or "cpu").full(_size(shape, "full"), fill_value, dtype=kind))


def zeros(shape: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor of zeros, float32 by default.

    >>> zeros((2,))
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return full(shape, 0, FLOAT if dtype is None else dtype, device)


def ones(shape: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor of ones, float32 by default.

    >>> ones((2,))
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return full(shape, 1, FLOAT if dtype is None else dtype, device)


def empty(shape: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor of zeros, float32 by default: Tensors do not change, so there is nothing to fill an empty one with.

    >>> empty((2,))
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return zeros(shape, dtype, device)


def full_like(x: Any, fill_value: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return one value everywhere in the shape, dtype and device of x, where these are not given.

    >>> full_like([1.0, 2.0], 3)
    Tensor (2,) float32, cpu: [3. 3.]
    """
    x = as_tensor(x)
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype, x.device if device is None else device)


def zeros_like(x: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return zeros of the shape, dtype and device of x, where these are not given.

    >>> zeros_like([1.0, 2.0])
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return full_like(x, 0, dtype, device)


def ones_like(x: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return ones of the shape, dtype and device of x, where these are not given.

    >>> ones_like([3.0, 2.0])
    Tensor (2,) float32, cpu: [1. 1.]
    """
    return full_like(x, 1, dtype, device)


def empty_like(x: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return zeros of the shape, dtype and device of x, where these are not given; see `empty`.

    >>> empty_like([3.0, 2.0])
    Tensor (2,) float32, cpu: [0. 0.]
    """
    return full_like(x, 0, dtype, device)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return evenly spaced values from start (default 0) up to, without, stop: int64 for integers, else float32.

    Raises: InputError if step is 0.

    >>> arange(3)
    Tensor (3,) int64, cpu: [0 1 2]
    """
    first, last = (0, start) if stop is None else (start, stop)
    numbers = (first, last, step)
    if not all(isinstance(n, int | float | np.integer | np.floating) for n in numbers):
        raise InputError(f"arange(start, stop, step): got {first!r}, {last!r}, {step!r}; they must be real numbers")
    if step == 0:
        raise InputError("arange(start, stop, step): step is 0; it must be another number")
    whole = all(isinstance(n, int | np.integer) for n in numbers)
    kind = (INTEGER if whole else FLOAT) if dtype is None else as_dtype(dtype)
    count = max(0, -((first - last) // step) if whole else math.ceil((last - first) / step))
    xp = devices.namespace_of(device or "cpu")
    # In float64 and converted once, so that float32 values carry no accumulated rounding.
    steps = xp.arange(count, dtype=np.int64 if whole else np.float64)
    with devices.beside(steps):
        return Tensor((first + steps * step).astype(kind))


def linspace(
    start: Any, stop: Any, num: int, dtype: Any = None, device: str | None = None, endpoint: bool = True
) -> Tensor:
    """Return `num` evenly spaced values from start to stop, float32 (complex64) by default; without stop itself if endpoint is False.

    Raises: InputError if num is negative.

    >>> linspace(0.0, 1.0, 3)
    Tensor (3,) float32, cpu: [0.  0.5 1. ]
    """
    if num < 0:
        raise InputError(f"linspace(start, stop, num): num={num} must be 0 or more")
    kind = (COMPLEX if complex in (type(start), type(stop)) else FLOAT) if dtype is None else as_dtype(dtype)
    return Tensor(devices.namespace_of(device or "cpu").linspace(start, stop, num, endpoint=endpoint, dtype=kind))


def logspace(start: float, stop: float, num: int, base: float = 10.0, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return `num` values from base ** start to base ** stop, each the same factor above the last; float32 by default.

    >>> logspace(0.0, 2.0, 3)
    Tensor (3,) float32, cpu: [  1.  10. 100.]
    """
    exponents = linspace(start, stop, num, "float64", device)
    return astype(Tensor(base ** exponents.data), FLOAT if dtype is None else dtype)


def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a matrix of zeros with ones on a diagonal, float32 by default.

    n_cols: None: as many as rows.  k: diagonal: 0 the main one, above it if positive, below it if negative.

    >>> eye(2).data
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    rows, columns = _size((n_rows, n_rows if n_cols is None else n_cols), "eye")
    return Tensor(devices.namespace_of(device or "cpu").eye(rows, columns, k, dtype=FLOAT if dtype is None else as_dtype(dtype)))
