"""Matrix products by cuBLASLt through ctypes, with everything decided once for each kind of product.

cuBLAS chooses a kernel anew at each call, which takes the host several times as long as the launch; here the choice is kept. It also adds
to what an array holds, and runs in CUDA graphs, where CuPy refuses its own wrapper of cuBLAS.
"""

import ctypes
import functools
import importlib
from typing import Any

from .launching import cupy

__all__ = ["Product", "available"]

WORKSPACE = 32 << 20            # bytes, for each device and stream
# How to compute, the type of the factors alpha and beta, and the data's; "e" and "E" are float16 and bfloat16, whose sums are float32's.
TYPES = {"f": (68, 0, 0), "d": (70, 1, 1), "F": (68, 4, 4), "D": (70, 5, 5), "e": (68, 0, 2), "E": (68, 0, 14)}
SIZES = {"f": 4, "d": 8, "F": 8, "D": 16, "e": 2, "E": 2}               # [bytes]: no less may be told of where arrays begin
BIASED = "feE"                                                          # types whose products can add a bias on their way out
TURN_A, TURN_B, EPILOGUE, BIAS_POINTER, BATCH, STEP, MOST_WORKSPACE = 3, 4, 7, 8, 5, 6, 1       # attributes of cublasLt.h
ADD_BIAS = 4                                                            # an epilogue
ALIGNED = (5, 6, 7, 8)
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Choice(ctypes.Structure):
    _fields_ = (("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int), ("waves", ctypes.c_float),
                ("reserved", ctypes.c_int * 4))


@functools.cache
def _library() -> Any:
    """Return cuBLASLt, the one that CuPy uses; None if it is not found."""
    paths = ["libcublasLt.so.13", "libcublasLt.so.12"]
    try:
        paths.insert(0, importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt").abs_path)
    except Exception:       # of several classes: not installed, not found
        pass
    for path in paths:
        try:
            library = ctypes.CDLL(path)
        except (OSError, TypeError):
            continue
        library.cublasLtMatmul.argtypes = (*(_POINTER,) * 14, ctypes.c_size_t, _POINTER)
        return library
    return None


@functools.cache
def available() -> bool:
    """Tell whether the library is there."""
    return _library() is not None


@functools.cache
def _handle(device: int) -> Any:
    handle = _POINTER()
    _check(_library().cublasLtCreate(ctypes.byref(handle)))
    return handle.value


@functools.cache
def _workspace(device: int, stream: int) -> Any:
    return cupy().empty(WORKSPACE, "uint8").data


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLASLt returned status {status}")


def _layout(kind: int, rows: int, columns: int, leading: int, count: int, step: int) -> Any:
    library, layout = _library(), _POINTER()
    _check(library.cublasLtMatrixLayoutCreate(ctypes.byref(layout), kind, ctypes.c_uint64(rows), ctypes.c_uint64(columns), _LONG(leading)))
    if count > 1:
        for attribute, value in ((BATCH, ctypes.c_int32(count)), (STEP, _LONG(step))):
            _check(library.cublasLtMatrixLayoutSetAttribute(layout, attribute, ctypes.byref(value), ctypes.sizeof(value)))
    return layout


class Product:
    """C = op(A) op(B), or that added to C, of matrices that lie by columns: (m, k) times (k, n), `count` of them.

    char: of TYPES, the type.  first, second: of A and B: (turned, leading dimension, step between matrices).  aligned: whether all arrays
    begin at multiples of 16 bytes.  biased: whether m numbers are added to each of the n columns; of a type in BIASED.
    Raises: RuntimeError if cuBLASLt has no kernel for it.
    """

    def __init__(
        self, char: str, m: int, n: int, k: int, count: int, first: tuple[int, int, int], second: tuple[int, int, int], adds: bool,
        aligned: bool, device: int, biased: bool = False,
    ) -> None:
        library, (compute, scale, kind) = _library(), TYPES[char]
        self.device, description, preference = device, _POINTER(), _POINTER()
        _check(library.cublasLtMatmulDescCreate(ctypes.byref(description), compute, scale))
        for attribute, told in ((TURN_A, first[0]), (TURN_B, second[0]), *(((EPILOGUE, ADD_BIAS),) if biased else ())):
            value = ctypes.c_int32(told)
            _check(library.cublasLtMatmulDescSetAttribute(description, attribute, ctypes.byref(value), 4))
        a = _layout(kind, *((k, m) if first[0] else (m, k)), first[1], count, first[2])
        b = _layout(kind, *((n, k) if second[0] else (k, n)), second[1], count, second[2])
        c = _layout(kind, m, n, m, count, m * n)
        _check(library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)))
        limits = [(MOST_WORKSPACE, ctypes.c_uint64(WORKSPACE))]
        limits += [(attribute, ctypes.c_uint32(16 if aligned else SIZES[char])) for attribute in ALIGNED]
        for attribute, value in limits:
            _check(library.cublasLtMatmulPreferenceSetAttribute(preference, attribute, ctypes.byref(value), ctypes.sizeof(value)))
        self._choice, found = _Choice(), ctypes.c_int()
        _check(library.cublasLtMatmulAlgoGetHeuristic(
            _POINTER(_handle(device)), description, a, b, c, c, preference, 1, ctypes.byref(self._choice), ctypes.byref(found)))
        library.cublasLtMatmulPreferenceDestroy(preference)
        if not found.value:
            raise RuntimeError("cuBLASLt has no kernel for this product")
        real = ctypes.c_double if char in "dD" else ctypes.c_float
        self._one = (real * 2)(1.0, 0.0)
        self._other = (real * 2)(1.0 if adds else 0.0, 0.0)
        self._before = (_handle(device), description.value, ctypes.addressof(self._one))
        self._layouts = (a.value, b.value, c.value)
        self._numbers = (ctypes.addressof(self._other), ctypes.addressof(self._choice.algorithm))
        self._run, self._tell = library.cublasLtMatmul, library.cublasLtMatmulDescSetAttribute
        self._bias = ctypes.c_uint64()

    def __call__(self, a: int, b: int, c: int, stream: int, bias: int = 0) -> None:
        """Run it on arrays at addresses; bias: that of m numbers, if it adds them."""
        if bias:
            self._bias.value = bias
            _check(self._tell(_POINTER(self._before[1]), BIAS_POINTER, ctypes.byref(self._bias), 8))
        la, lb, lc = self._layouts
        other, algorithm = self._numbers
        status = self._run(*self._before, a, la, b, lb, other, c, lc, c, lc, algorithm, _workspace(self.device, stream).ptr, WORKSPACE,
                           stream)
        if status:
            _check(status)
