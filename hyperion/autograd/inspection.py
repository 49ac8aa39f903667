"""What the array API standard asks of a namespace about itself: constants, dtype objects, limits of dtypes and the rules of promotion."""

import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from hyperion.autograd.dtypes import (
    BFLOAT16,
    COMPLEX,
    FLOAT,
    INTEGER,
    NAMES,
    SCALARS,
    as_dtype,
    is_floating,
    is_integer,
    real_dtype,
    result_dtype,
    weak_dtype,
)
from hyperion.autograd.tensor import Tensor
from hyperion.errors import DeviceError, DtypeError, InputError
from hyperion.gpu import device as devices

__all__ = [
    "__array_api_version__", "__array_namespace_info__", "bfloat16", "bool", "can_cast", "complex64", "complex128", "e", "finfo", "float16",
    "float32", "float64", "iinfo", "inf", "int8", "int16", "int32", "int64", "isdtype", "nan", "newaxis", "pi", "result_type", "uint8",
    "uint16", "uint32", "uint64",
]

__array_api_version__ = "2024.12"

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None

bool = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
bfloat16 = BFLOAT16
complex64, complex128 = (np.dtype(f"complex{n}") for n in (64, 128))

_limits: Callable[[Any], Any] = ml_dtypes.finfo


@dataclass(frozen=True)
class FloatLimits:
    """Limits of a floating dtype; of a complex one, those of its parts. eps: from 1 to the next larger number."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class IntegerLimits:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def _dtype_of(value: Any) -> np.dtype[Any]:
    return value.dtype if isinstance(value, Tensor) or devices.is_array(value) else as_dtype(value)


def finfo(type: Any) -> FloatLimits:
    """Return the limits of a floating or complex dtype, or of that of an array.

    Raises: DtypeError for another dtype.

    >>> finfo("float32").eps, finfo("bfloat16").bits
    (1.1920928955078125e-07, 16)
    """
    dtype = real_dtype(_dtype_of(type))
    if not is_floating(dtype):
        raise DtypeError(f"finfo(type): {dtype} is not floating; use iinfo for integers")
    limits = _limits(dtype)
    eps, largest, least, normal = (float(x) for x in (limits.eps, limits.max, limits.min, limits.smallest_normal))
    return FloatLimits(8 * dtype.itemsize, eps, largest, least, normal, dtype)


def iinfo(type: Any) -> IntegerLimits:
    """Return the limits of an integer dtype, or of that of an array.

    Raises: DtypeError for another dtype.

    >>> iinfo("int8").min, iinfo("int8").max
    (-128, 127)
    """
    dtype = _dtype_of(type)
    if not is_integer(dtype):
        raise DtypeError(f"iinfo(type): {dtype} is not an integer dtype; use finfo for floating ones")
    limits = np.iinfo(dtype)
    return IntegerLimits(8 * dtype.itemsize, int(limits.max), int(limits.min), dtype)


KINDS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "fV", "complex floating": "c",
    "numeric": "iufVc",
}


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Tell whether a dtype is of a kind.

    kind: "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric", a dtype, or a tuple of
        these, of which any will do.
    Raises: InputError for another kind.

    >>> isdtype("float32", "real floating"), isdtype("int8", ("bool", "integral")), isdtype("int8", "int16")
    (True, True, False)
    """
    dtype = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)     # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(kind, str) and kind in KINDS:
        return dtype.kind in KINDS[kind]
    try:
        return dtype == as_dtype(kind)
    except DtypeError as error:
        raise InputError(f"isdtype(dtype, kind): kind={kind!r} is unknown; use one of {', '.join(KINDS)}, a dtype or a tuple") from error


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype in which arrays, dtypes and Python numbers combine; Python numbers take that of what is beside them.

    Raises: InputError without an argument; DtypeError if they do not combine.

    >>> str(result_type("float32", 2.0)), str(result_type("int8", "uint8"))
    ('float32', 'int16')
    """
    if not arrays_and_dtypes:
        raise InputError("result_type(): give at least one array, dtype or number")
    numbers = [x for x in arrays_and_dtypes if type(x) in SCALARS]
    dtypes = [_dtype_of(x) for x in arrays_and_dtypes if type(x) not in SCALARS]
    beside = result_dtype(dtypes) if dtypes else None
    return result_dtype([*([] if beside is None else [beside]), *(weak_dtype(x, beside) for x in numbers)])


def can_cast(from_: Any, to: Any) -> builtins.bool:
    """Tell whether a dtype, or that of an array, becomes another one by promotion: from_ with `to` combines to `to`.

    >>> can_cast("float32", "float64"), can_cast("float64", "float32")
    (True, False)
    """
    wanted = as_dtype(to)
    try:
        return result_dtype([_dtype_of(from_), wanted]) == wanted
    except DtypeError:
        return False


class NamespaceInfo:
    """What the namespace can do: the answer of `__array_namespace_info__`."""

    def __repr__(self) -> str:
        return f"Hyperion, array API {__array_api_version__}, devices {', '.join(self.devices())}"

    def capabilities(self) -> dict[str, Any]:
        """Return which optional things work, and the largest number of axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Return where arrays are made if nothing else is said."""
        return "cpu"

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype[Any]]:
        """Return the dtypes of arrays made of Python numbers, and of indices; they are the same on every device."""
        _check_device(device)
        return {"real floating": FLOAT, "complex floating": COMPLEX, "integral": INTEGER, "indexing": INTEGER}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """Return dtypes of the standard by name; kind as in `isdtype`, None: all. float16 and bfloat16 exist too, beside the standard."""
        _check_device(device)
        standard = {name: np.dtype(name) for name in NAMES if name not in ("float16", "bfloat16")}
        return {name: dtype for name, dtype in standard.items() if kind is None or isdtype(dtype, kind)}

    def devices(self) -> list[str]:
        """Return the devices of this machine: "cpu", and "cuda:0", "cuda:1"... if there are GPUs and CuPy."""
        found = ["cpu"]
        while True:
            try:
                devices.check(f"cuda:{len(found) - 1}")
            except DeviceError:
                return found
            found.append(f"cuda:{len(found) - 1}")


def _check_device(device: Any) -> None:
    if device is not None:
        devices.check(device)


def __array_namespace_info__() -> NamespaceInfo:
    """Return an object that tells about devices, dtypes and capabilities, as the array API standard describes it.

    >>> sorted(__array_namespace_info__().dtypes(kind="real floating"))
    ['float32', 'float64']
    """
    return NamespaceInfo()
