"""A module that passes for CuPy on a machine without a GPU, so that what runs on one can be tested: arrays are NumPy's, kernels run in the
emulator, cuBLAS is NumPy. Only what Hyperion asks of CuPy is there; new arrays are full of ones in every bit (NaN), as memory may be.
"""

import contextlib
import ctypes
import importlib
import itertools
import math
import sys
import time
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.fft as scipy_fft
import scipy.linalg as scipy_linalg
import scipy.signal as scipy_signal
import scipy.special as scipy_special

from hyperion.autograd.dtypes import BFLOAT16
from hyperion.autograd.jit import cuda as jit_cuda
from hyperion.autograd.random import bits
from hyperion.gpu import cublaslt, device, launching, philox, products, program
from tests.gpu import emulator


class _Device:
    """A device: one of `count`, of which one is the current one."""

    count, current = 1, 0
    compute_capability = "90"
    mem_info = (1 << 33, 1 << 34)

    def __init__(self, number: int | None = None) -> None:
        self.id = _Device.current if number is None else number
        self.before: list[int] = []

    def __enter__(self) -> "_Device":
        self.before.append(_Device.current)
        _Device.current = self.id
        return self

    def __exit__(self, *error: object) -> None:
        _Device.current = self.before.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Device) and self.id == other.id

    __hash__ = None


def _here(*values: Any) -> None:
    """Refuse arrays of another device than the current one, in CuPy's words."""
    for x in values:
        if isinstance(x, list | tuple):
            _here(*x)
        elif isinstance(x, ndarray) and x.number != _Device.current:
            raise ValueError("Array device must be same as the current device: "
                             f"array device = {x.number} while current = {_Device.current}")


class _Pointer:
    """An address of the GPU's memory."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def __add__(self, offset: int) -> "_Pointer":
        return _Pointer(self.ptr + offset)


class ndarray(np.ndarray):
    """An array "on the GPU": NumPy's arrays cannot be mixed with it, as they cannot with CuPy's."""

    __module__ = "cupy"

    def __array_finalize__(self, of: Any) -> None:
        self.number = of.number if isinstance(of, ndarray) else _Device.current

    @property
    def device(self) -> _Device:
        return _Device(self.number)

    def __new__(cls, shape: Any, dtype: Any, memptr: _Pointer, strides: Any = None) -> "ndarray":
        size = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if strides else math.prod(shape) * np.dtype(dtype).itemsize
        memory = (ctypes.c_byte * (size + np.dtype(dtype).itemsize)).from_address(memptr.ptr)
        return np.ndarray.__new__(cls, shape, dtype, memory, 0, strides)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.__array_interface__

    @property
    def data(self) -> Any:
        return _Pointer(self.__array_interface__["data"][0])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if any(type(x) is np.ndarray and x.ndim for x in inputs):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")         # CuPy's words
        _here(*inputs)
        result = getattr(ufunc, method)(*map(_plain, inputs), **options | ({} if out is None else {"out": tuple(map(_plain, out))}))
        return out[0] if out is not None else tuple(map(asarray, result)) if isinstance(result, tuple) else asarray(result)

    def __array_function__(self, function: Any, kinds: Any, arguments: Any, options: Any) -> Any:
        if function.__name__ in ("any", "argwhere", "broadcast_to", "max", "min"):          # what equations ask of their parameters
            return _wrapped(function.__name__)(*arguments, **options)
        raise TypeError(f"numpy.{function.__name__} got an array on the GPU")

    def __getitem__(self, key: Any) -> Any:
        out = asarray(_plain(self)[key])
        out.number = self.number
        return out

    def get(self) -> np.ndarray:
        return np.array(_plain(self))


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        _here(self)
        return asarray(getattr(_plain(self), name)(*arguments, **options))

    return method


for _name in ("sum", "max", "min", "mean", "all", "any"):      # CuPy's give arrays, never NumPy's numbers
    setattr(ndarray, _name, _method(_name))


def _plain(x: Any) -> Any:
    """Return what NumPy's functions take, in lists too."""
    if isinstance(x, list | tuple):
        return type(x)(map(_plain, x))
    return x.view(np.ndarray) if isinstance(x, ndarray) else x


def asarray(x: Any, dtype: Any = None) -> Any:
    out = np.asarray(_plain(x), dtype).view(ndarray)
    out.number = _Device.current
    return out


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    out = np.empty(shape, dtype)
    out.reshape(-1).view(np.uint8)[...] = 255
    return out.view(ndarray)


class RawModule:
    """A CUDA text whose kernels run in the emulator."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.code, self.options = code, options

    def get_function(self, name: str) -> Callable[..., None]:
        def function(grid: Any, block: Any, arguments: Any, stream: Any = None) -> None:
            _here(*arguments)

            def run() -> None:
                emulator.run(self.code, self.options, name, grid, block[0], tuple(map(_argument, arguments)))
            _do(stream, run)

        return function


def _do(stream: Any, run: Callable[[], None]) -> None:
    """Do something at once, or note it for the graph that is being made."""
    if Stream.noted is None:
        run()
    else:
        Stream.noted.append((stream, run))


class Stream:
    """One of streams that do at once what they are told, or note it for a graph."""

    ptr = 0
    noted: ClassVar[list[tuple["Stream", Any]] | None] = None       # (stream, what it does: a function, or an event it waits for or marks)

    def __init__(self, non_blocking: bool = False) -> None:
        pass

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def record(self) -> "_Event":
        event = _Event()
        if Stream.noted is not None:
            Stream.noted.append((self, ("mark", event)))
        return event

    def wait_event(self, event: "_Event") -> None:
        if Stream.noted is not None:
            Stream.noted.append((self, ("wait", event)))

    def begin_capture(self) -> None:
        Stream.noted = []

    def end_capture(self) -> Any:
        noted, Stream.noted = Stream.noted or [], None
        turns = itertools.count()
        return types.SimpleNamespace(launch=lambda stream: _play(noted, stream, next(turns) % 2 == 0))


def _play(noted: list[tuple[Stream, Any]], main: Stream, eager: bool) -> None:
    """Do what streams have noted, each as far as it can before (eager) or after what the main one does: as far apart as they may be."""
    queues = [[what for stream, what in noted if (stream is main) == mine] for mine in ((True, False) if eager else (False, True))]
    marked: list[Any] = []
    while any(queues):
        queue = next(q for q in queues if q and not (isinstance(q[0], tuple) and q[0][0] == "wait" and q[0][1] not in marked))
        what = queue.pop(0)
        if not isinstance(what, tuple):
            what()
        elif what[0] == "mark":
            marked.append(what[1])


def _argument(x: Any) -> Any:
    """Return what the emulator takes for an argument of a kernel: structures are NumPy's arrays of one element, passed by value."""
    if type(x) is np.ndarray and x.size == 1:
        return x.reshape(())[()]
    if isinstance(x, np.void) or type(x) is np.ndarray:
        raise TypeError(f"Unsupported type {type(x)}")                          # CuPy's words
    return _plain(x)


def _at(address: int, count: int, dtype: Any) -> np.ndarray:
    return np.frombuffer((ctypes.c_byte * (int(count) * np.dtype(dtype).itemsize)).from_address(int(address)), dtype)


def _matrix(address: int, leading: int, rows: int, columns: int, turned: int, dtype: Any) -> np.ndarray:
    """Return op(A), (rows, columns), of a matrix that lies by columns."""
    down, along = (columns, rows) if turned else (rows, columns)
    assert leading >= down, "cuBLAS refuses a leading dimension below the number of rows"
    flat = _at(address, leading * (along - 1) + down, dtype)
    stored = np.lib.stride_tricks.as_strided(flat, (down, along), (flat.itemsize, flat.itemsize * leading))
    return stored.T if turned else stored


class Product:
    """cuBLASLt's part: see hyperion.gpu.cublaslt."""

    def __init__(
        self, char: str, m: int, n: int, k: int, count: int, first: Any, second: Any, adds: bool, aligned: bool, device: int,
        biased: bool = False,
    ) -> None:
        self.given = (char, m, n, k, count, first, second, adds, biased)

    def __call__(self, a: int, b: int, c: int, stream: int, bias: int = 0) -> None:
        _do(stream, lambda: self._multiply(a, b, c, bias))

    def _multiply(self, a: int, b: int, c: int, bias: int) -> None:
        char, m, n, k, count, first, second, adds, biased = self.given
        assert biased == bool(bias)
        dtype = BFLOAT16 if char == "E" else np.dtype(char)
        size = dtype.itemsize
        for i in range(count):
            left = _matrix(a + i * first[2] * size, first[1], m, k, first[0], dtype)
            right = _matrix(b + i * second[2] * size, second[1], k, n, second[0], dtype)
            out = _matrix(c + i * m * n * size, m, m, n, 0, dtype)
            wide = np.float32 if size == 2 else dtype
            added = _at(bias, m, dtype).astype(wide)[:, None] if biased else 0
            out[...] = left.astype(wide) @ right.astype(wide) + (out if adds else 0) + added


def _blas(dtype: Any) -> dict[str, Callable[..., None]]:
    def gemm(handle: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int, lda: int, b: int, ldb: int, beta: int, c: int,
             ldc: int) -> None:
        assert (_at(alpha, 1, dtype)[0], _at(beta, 1, dtype)[0]) == (1, 0)
        _matrix(c, ldc, m, n, 0, dtype)[...] = _matrix(a, lda, m, k, ta, dtype) @ _matrix(b, ldb, k, n, tb, dtype)

    def batched(handle: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int, lda: int, b: int, ldb: int, beta: int, c: int,
                ldc: int, count: int) -> None:
        for one, two, three in zip(*(_at(x, count, np.uint64) for x in (a, b, c)), strict=True):
            gemm(handle, ta, tb, m, n, k, alpha, one, lda, two, ldb, beta, three, ldc)

    return {"gemmBatched": batched}


def _wrapped(name: str, of: Any = np) -> Any:
    value = getattr(of, name)
    if isinstance(value, types.ModuleType):         # numpy.fft, numpy.lib
        inner = types.ModuleType(f"cupy.{name}")
        vars(inner).update(__getattr__=lambda name: _wrapped(name, value))
        return inner
    if isinstance(value, np.ufunc | type) or not callable(value):
        return value

    def function(*arguments: Any, **options: Any) -> Any:
        if any(type(x) is np.ndarray and x.ndim for x in arguments):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")         # CuPy's words
        _here(*arguments)
        if name in ("max", "min", "amax", "amin") and "initial" in options:
            raise TypeError(f"{name}() got an unexpected keyword argument 'initial'")
        result = value(*map(_plain, arguments), **{key: _plain(x) for key, x in options.items()})
        if isinstance(result, tuple):                  # of factors
            return tuple(map(asarray, result))
        return asarray(result) if isinstance(result, np.ndarray | np.generic) else result

    return function


class _Event:
    """A mark in the one stream, which is never behind."""

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


def at(place: str, monkeypatch: Any) -> Any:
    """Return CuPy for the place "gpu", or what passes for it until the test ends for "emulated"; skip without a C++ compiler."""
    if place == "gpu":
        return importlib.import_module("cupy")
    if emulator.COMPILER is None:
        pytest.skip("no C++ compiler on PATH: the emulator needs one")
    return put_in_place(monkeypatch)


def put_in_place(monkeypatch: Any, count: int = 1) -> types.ModuleType:
    """Let the stand-in pass for CuPy with so many GPUs until the test ends; return it."""
    monkeypatch.setattr(_Device, "count", count)
    cupy = types.ModuleType("cupy")
    kinds = {"s": np.float32, "d": np.float64}
    cublas = types.SimpleNamespace(**{letter + name: f for letter, dtype in kinds.items() for name, f in _blas(dtype).items()})
    cuda = types.ModuleType("cupy.cuda")
    handles = types.ModuleType("cupy.cuda.device")
    vars(handles).update(get_cublas_handle=lambda: 0)
    def copy(to: int, source: int, size: int, kind: int, stream: int) -> None:
        _do(stream, lambda: ctypes.memmove(to, source, size) and None)

    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: _Device.count, getDevice=lambda: _Device.current, memcpyAsync=copy, memcpyDeviceToDevice=3)
    stream = Stream()
    ranges: list[str] = []
    nvtx = types.SimpleNamespace(RangePush=ranges.append, RangePop=ranges.pop)
    pool = types.SimpleNamespace(used_bytes=lambda: 3 << 20, free_bytes=lambda: 1 << 20)
    linalg = types.ModuleType("cupy.linalg")
    vars(linalg).update(__getattr__=lambda name: _wrapped(name, np.linalg))
    vars(cuda).update(cublas=cublas, device=handles, Device=_Device, Stream=Stream, runtime=runtime)
    vars(cuda).update(get_current_stream=lambda: stream, Event=_Event, nvtx=nvtx,
                      get_elapsed_time=lambda first, last: 1e3 * (last.time - first.time))
    vars(cupy).update(
        ndarray=ndarray, asarray=asarray, array=lambda x, dtype=None: asarray(np.array(_plain(x), dtype)), empty=empty,
        asnumpy=lambda x: np.array(_plain(x)), RawModule=RawModule, cuda=cuda, linalg=linalg,
        get_default_memory_pool=lambda: pool, __getattr__=_wrapped,
    )
    cupyx = types.ModuleType("cupyx")
    vars(cupyx).update(errstate=lambda **options: contextlib.nullcontext(), __path__=[])
    scipy = types.ModuleType("cupyx.scipy")
    vars(scipy).update(__path__=[])
    parts = [types.ModuleType(f"cupyx.scipy.{name}") for name in ("fft", "linalg", "signal", "special")]
    for part, of in zip(parts, (scipy_fft, scipy_linalg, scipy_signal, scipy_special), strict=True):
        vars(part).update(__getattr__=lambda name, of=of: _wrapped(name, of))
    for module in (cupy, cuda, handles, linalg, cupyx, scipy, *parts):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    kept = ((launching, "_launchers"), (products, "_plans"), (products, "_tables"), (program, "_known"), (jit_cuda, "_products"))
    for owner, name in kept:
        monkeypatch.setattr(owner, name, {})
    monkeypatch.setattr(program, "_streams", program._Streams())
    monkeypatch.setattr(philox, "words_at", lambda index, key, draw, attempt, kind: asarray(
        bits.words_at(np, key, draw, attempt, _plain(index))))
    for name in ("_module", "_kernel"):         # what was kept of CuPy itself would be found there, and the reverse
        monkeypatch.setattr(launching, name, getattr(launching, name).__wrapped__)
    monkeypatch.setattr(cublaslt, "Product", Product)
    monkeypatch.setattr(cublaslt, "available", lambda: True)
    namespace, to_numpy = device.namespace, device.to_numpy
    monkeypatch.setattr(device, "namespace", lambda x: cupy if type(x) is ndarray else namespace(x))
    monkeypatch.setattr(device, "to_numpy", lambda x: x.get() if type(x) is ndarray else to_numpy(x))
    return cupy
