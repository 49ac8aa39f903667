"""Hopper GPUs (sm_90a): the text of their matrix products, kernels compiled by NVRTC to machine code, tensor maps for the copy engine."""

import ctypes
import functools
import hashlib
import importlib
import os
import tempfile
from typing import Any

import numpy as np

from hyperion import config

from .launching import header, source

__all__ = ["Kernel", "compiled", "encoded", "products", "with_header"]



def products(sizes: tuple[int, ...]) -> str:
    """Return C++ functions around wgmma for products of 64 rows and some numbers of columns; the accumulator's length chooses among them.

    product<A, B>(d, a, b, adds): d (+)= a b, both in shared memory; A, B: 1 if the rows of the tile are the inner index.
    product_of_fragment(d, a0, a1, a2, a3, b): d += a b, a in registers, the rows of b the inner index.
    keep(d): the compiler must not move what touches d over this.

    >>> "m64n128k16" in products((128,))
    True
    """
    return "\n".join([_product(n) for n in sizes])


def _product(n: int) -> str:
    count = n // 2
    numbers = ",".join([f"%{i}" for i in range(count)])
    held = ",".join([f'"+f"(d[{i}])' for i in range(count)])
    name, inline = f'wgmma.mma_async.sync.aligned.m64n{n}k16.f32." HALF "." HALF "', "__device__ __forceinline__ void"
    both = (f'asm volatile("{{.reg .pred p; setp.ne.b32 p, %{count + 2}, 0; {name} {{{numbers}}}, %{count}, %{count + 1}, p, 1, 1, '
            f'%{count + 3}, %{count + 4};}}" : {held} : "l"(a), "l"(b), "r"(adds), "n"(A), "n"(B));')
    fragment = ",".join([f"%{count + i}" for i in range(4)])
    one = (f'asm volatile("{name} {{{numbers}}}, {{{fragment}}}, %{count + 4}, 1, 1, 1, 1;" : {held} : "r"(a0), "r"(a1), "r"(a2), "r"(a3), '
           f'"l"(b));')
    return (
        f"template <int A, int B> {inline} product(float (&d)[{count}], u64 a, u64 b, int adds) {{ {both} }}\n"
        f"{inline} product_of_fragment(float (&d)[{count}], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {{ {one} }}\n"
        f'{inline} keep(float (&d)[{count}]) {{ asm volatile("" : {held} :: "memory"); }}\n'
    )


def with_header(name: str, sizes: tuple[int, ...], *headers: str) -> str:
    """Return the whole text of a kernel file for Hopper, with its products and headers before it."""
    return "\n".join([header("numbers"), header("hopper"), products(sizes), *(header(one) for one in headers), source(name)])


def compiled(text: str, options: tuple[str, ...], architecture: str = "sm_90a") -> bytes:
    """Return machine code for a text: from the cache on disk, else by NVRTC.

    Raises: cupy.cuda.nvrtc.NVRTCError with the compiler's messages.
    """
    nvrtc = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
    key = hashlib.sha256(repr((text, options, architecture, nvrtc.getVersion())).encode()).hexdigest()[:32]
    path = config.cache_folder("gpu") / f"{key}.cubin"
    if path.exists():
        return path.read_bytes()
    program = nvrtc.createProgram(text, "kernel.cu", [], [])
    try:
        nvrtc.compileProgram(program, (*options, "-std=c++17", f"--gpu-architecture={architecture}"))
    except nvrtc.NVRTCError as error:
        raise RuntimeError(f"NVRTC refused a kernel: {nvrtc.getProgramLog(program)}") from error
    code = bytes(nvrtc.getCUBIN(program))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(code)
    os.replace(draft, path)
    return code


_MOST_SHARED = 8                    # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class Kernel:
    """A function of machine code, launched with more shared memory than the usual 48 KB.

    Called with a grid and arguments: CuPy arrays and NumPy scalars; structs as `np.void`.
    """

    def __init__(self, code: bytes, name: str, threads: int, shared: int) -> None:
        module = importlib.import_module("cupy.cuda.function").Module()
        module.load(code)
        self._module, self._function = module, module.get_function(name)
        self._threads, self._shared = (threads,), shared
        importlib.import_module("cupy_backends.cuda.api.driver").funcSetAttribute(self._function.ptr, _MOST_SHARED, shared)

    def __call__(self, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        self._function(grid, self._threads, arguments, self._shared)


@functools.cache
def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


_BFLOAT16, _FLOAT16, _SWIZZLE, _PROMOTION = 9, 6, 3, 2        # of cuda.h: types, swizzle of 128 bytes, L2 lines of 128 bytes


@functools.lru_cache(maxsize=4096)
def encoded(address: int, brain: bool, lengths: tuple[int, ...], steps: tuple[int, ...], rows: int) -> Any:
    """Return a tensor map: how the copy engine finds boxes of 64 numbers and some rows in a tensor of four axes.

    address: a multiple of 16.  brain: bfloat16, not float16.  lengths: (head size, tokens, heads, batch).  steps: of all axes but the
    first, whose numbers lie side by side [bytes], multiples of 16.  rows: of a box, at most 256.
    """
    room = (ctypes.c_uint8 * 192)()
    place = (ctypes.addressof(room) + 63) & ~63
    status = _driver().cuTensorMapEncodeTiled(
        ctypes.c_void_p(place), _BFLOAT16 if brain else _FLOAT16, 4, ctypes.c_void_p(address), (ctypes.c_uint64 * 4)(*lengths),
        (ctypes.c_uint64 * 3)(*steps), (ctypes.c_uint32 * 4)(64, rows, 1, 1), (ctypes.c_uint32 * 4)(1, 1, 1, 1), 0, _SWIZZLE, _PROMOTION, 0)
    if status:
        raise RuntimeError(f"cuTensorMapEncodeTiled returned {status} for lengths {lengths} and steps {steps}")
    return np.void(ctypes.string_at(place, 128))
