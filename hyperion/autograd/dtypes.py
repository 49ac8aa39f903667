"""Dtypes: which are taken, and how they combine.

Arrays promote as the array API standard and NumPy say (float32 with float64 is float64); Python numbers are weak (they take the dtype of
the array beside them); an integer or bool array never widens a floating one (NumPy would turn int64 with float32 into float64).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from hyperion.errors import DtypeError

__all__ = ["KNOWN", "SCALARS", "as_dtype", "default_dtype", "is_inexact", "result_dtype", "weak_dtype"]

NAMES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)
KNOWN = frozenset(np.dtype(name) for name in NAMES)
SCALARS = frozenset((bool, int, float, complex))
FLOAT, INTEGER, COMPLEX = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.complex64)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a NumPy dtype, or refuse it: only bool, integers, float16 to float64, complex64 and complex128 are taken.

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
    """Tell whether a dtype is floating or complex: only these have derivatives."""
    return dtype.kind in "fc"


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
    if beside.kind == "c" or (beside.kind == "f" and alone.kind != "c") or (beside.kind in "iu" and alone.kind == "i"):
        return beside
    return np.dtype(np.complex128) if alone.kind == "c" and beside == np.float64 else alone


def result_dtype(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the dtype in which arrays combine.

    Raises: DtypeError for uint64 with a signed integer, which no integer dtype holds.

    >>> str(result_dtype([np.dtype("float32"), np.dtype("int64")])), str(result_dtype([np.dtype("float32"), np.dtype("float64")]))
    ('float32', 'float64')
    """
    found = list(dtypes)
    inexact = [dtype for dtype in found if dtype.kind in "fc"]
    result: np.dtype[Any] = np.result_type(*(inexact or found))
    if not inexact and result.kind == "f":
        names = " and ".join(str(dtype) for dtype in found)
        raise DtypeError(f"dtypes {names} do not combine: no integer dtype holds both; convert one with .astype(...)")
    return result
