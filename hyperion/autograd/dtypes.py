"""Dtypes: which are taken, and how they combine.

Arrays promote as the array API standard and NumPy say (float32 with float64 is float64; float16 with bfloat16 is float32); Python numbers
are weak (they take the dtype of the array beside them); an integer or bool array never widens a floating one (NumPy would turn int64 with
float32 into float64). bfloat16 comes from ml_dtypes: its `dtype.kind` is "V", so ask the functions here what kind a dtype is.
"""

import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from hyperion.errors import DtypeError

__all__ = [
    "BFLOAT16", "KNOWN", "SCALARS", "as_dtype", "complex_dtype", "default_dtype", "highest", "is_complex", "is_floating", "is_half",
    "is_inexact", "is_integer", "lowest", "real_dtype", "result_dtype", "weak_dtype",
]

NAMES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
)
KNOWN = frozenset(np.dtype(name) for name in NAMES)
SCALARS = frozenset((bool, int, float, complex))
FLOAT, INTEGER, COMPLEX = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.complex64)
DOUBLE, HALF, BFLOAT16 = np.dtype(np.float64), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a NumPy dtype, or refuse it: only bool, integers, float16 to float64, bfloat16, complex64 and complex128 are taken.

    >>> as_dtype("float32")
    dtype('float32')
    """
    try:
        known = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(f"dtype={dtype!r} is not a dtype ({error}); use one of {', '.join(NAMES)}") from error
    native = known if known.isnative else known.newbyteorder("=")
    if native not in KNOWN:
        raise DtypeError(f"dtype {known} is not supported; use one of {', '.join(NAMES)}")
    return native


def is_inexact(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is floating or complex: only these have derivatives.

    >>> is_inexact(np.dtype("float32")), is_inexact(np.dtype("int64")), is_inexact(BFLOAT16)
    (True, False, True)
    """
    return dtype.kind in "fcV"


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is real floating: float16, bfloat16, float32 or float64.

    >>> is_floating(BFLOAT16), is_floating(np.dtype("complex64"))
    (True, False)
    """
    return dtype.kind in "fV"


def is_complex(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is complex64 or complex128."""
    return dtype.kind == "c"


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is an integer, signed or not; bool is none."""
    return dtype.kind in "iu"


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the real part: float32 of complex64, float64 of complex128, any other dtype itself.

    >>> str(real_dtype(np.dtype("complex64"))), str(real_dtype(np.dtype("int8")))
    ('float32', 'int8')
    """
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex dtype that holds a dtype's values: complex128 of float64 and complex128, else complex64.

    >>> str(complex_dtype(np.dtype("float64"))), str(complex_dtype(BFLOAT16))
    ('complex128', 'complex64')
    """
    return np.dtype(np.complex128) if dtype.kind in "fc" and real_dtype(dtype).itemsize == 8 else COMPLEX


def default_dtype(value: Any) -> np.dtype[Any]:
    """Return the dtype that a Python number takes on its own: bool, int64, float32 or complex64."""
    return {bool: np.dtype(np.bool_), int: INTEGER, float: FLOAT, complex: COMPLEX}[type(value)]


def weak_dtype(value: Any, beside: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the dtype that a Python number takes beside arrays of dtype `beside` (None: alone).

    >>> str(weak_dtype(2.0, np.dtype("float16"))), str(weak_dtype(2.0, np.dtype("int64"))), str(weak_dtype(2, np.dtype("float64")))
    ('float16', 'float32', 'float64')
    """
    alone = default_dtype(value)
    if beside is None or alone.kind == "b":
        return alone
    if alone.kind == "c":
        return complex_dtype(beside)
    return beside if is_inexact(beside) or (is_integer(beside) and alone.kind == "i") else alone


def result_dtype(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the dtype in which arrays combine.

    Raises: DtypeError for uint64 with a signed integer, which no integer dtype holds.

    >>> str(result_dtype([np.dtype("float32"), np.dtype("int64")])), str(result_dtype([np.dtype("float32"), np.dtype("float64")]))
    ('float32', 'float64')
    """
    found = set(dtypes)
    inexact = {dtype for dtype in found if is_inexact(dtype)}
    if inexact >= {HALF, BFLOAT16}:
        inexact.add(FLOAT)      # the smallest that holds both, which NumPy does not know
        inexact -= {HALF, BFLOAT16}
    result: np.dtype[Any] = np.result_type(*(inexact or found))
    if not inexact and result.kind == "f":
        names = " and ".join(str(dtype) for dtype in sorted(found, key=str))
        raise DtypeError(f"dtypes {names} do not combine: no integer dtype holds both; convert one with .astype(...)")
    return result


def is_half(dtype: Any) -> bool:
    """Tell whether a dtype is float16 or bfloat16, whose sums need a longer accumulator."""
    return dtype.itemsize == 2 and is_floating(dtype)


def lowest(dtype: Any) -> Any:
    """Return the smallest value of a dtype: minus infinity of a floating one."""
    return -math.inf if is_inexact(dtype) else int(np.iinfo(dtype).min) if is_integer(dtype) else False


def highest(dtype: Any) -> Any:
    """Return the largest value of a dtype: infinity of a floating one."""
    return math.inf if is_inexact(dtype) else int(np.iinfo(dtype).max) if is_integer(dtype) else True
