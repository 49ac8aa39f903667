"""CUDA text to kernels: `kernels/*.cu`, compiled by NVRTC through CuPy at the first call, once for each device and set of macros."""

import functools
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .device import beside, is_cupy

__all__ = ["cupy", "header", "kernel", "launch", "on_gpu", "options", "packs", "source"]

THREADS = 256               # of a block, in every kernel
MOST = 65535                # blocks along the second axis of a grid
_FOLDER = Path(__file__).parent / "kernels"
_REAL = {"f": "float", "d": "double", "E": "bfloat"}        # by the dtype's character; bfloat16 is a struct of the kernels that take it


@functools.cache
def source(name: str) -> str:
    """Return the text of a kernel file, with the headers that it includes.

    >>> "column_sums" in source("maps"), "include" in source("maps")
    (True, False)
    """
    text = (_FOLDER / f"{name}.cu").read_text(encoding="utf-8")
    return re.sub(r'^#include "(\w+)\.cuh"\n', lambda found: header(found[1]), text, flags=re.MULTILINE)


@functools.cache
def header(name: str) -> str:
    """Return the text of a header of kernels.

    >>> "tanh_of" in header("maths")
    True
    """
    return (_FOLDER / f"{name}.cuh").read_text(encoding="utf-8")


@functools.cache
def _module(text: str, told: tuple[str, ...], device: int) -> Any:
    return importlib.import_module("cupy").RawModule(code=text, options=told)


@functools.cache
def _kernel(text: str, name: str, told: tuple[str, ...], device: int) -> Any:
    return _module(text, told, device).get_function(name)


def options(dtype: np.dtype[Any] | str, **macros: int) -> tuple[str, ...]:
    """Return what to tell NVRTC: REAL for a dtype or its character, and other macros.

    >>> options(np.dtype(np.float32), RANK=2)
    ('-std=c++17', '-DREAL=float', '-DRANK=2')
    """
    char = dtype if isinstance(dtype, str) else dtype.char
    return ("-std=c++17", f"-DREAL={_REAL[char]}", *(f"-D{key}={value}" for key, value in macros.items()))


def kernel(text: str, name: str, dtype: np.dtype[Any] | str, device: int, told: tuple[str, ...] = (), /, **macros: int) -> Any:
    """Return a function of a CUDA text, compiled for a device with REAL for the dtype and other macros. told: more options."""
    return _kernel(text, name, (*options(dtype, **macros), *told), device)


_launchers: dict[Any, Any] = {}


def launch(file: str, name: str, like: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], **macros: int) -> None:
    """Launch a kernel of a file on the device and in the dtype of an array, with THREADS threads in each block of the grid.

    arguments: CuPy arrays; integers reach C as `long long`, NumPy's by their dtype.
    """
    key = (file, name, like.dtype.char, like.device.id, *macros.values())
    with beside(like):
        function = _launchers.get(key)
        if function is None:
            made = kernel(source(file), name, like.dtype, like.device.id, **macros)
            function = _launchers[key] = getattr(made, "kernel", made)  # below RawKernel, which looks for the device at each call
        function(grid, (THREADS,), arguments)


def cupy() -> Any:
    """Return CuPy, where one of its arrays is at hand and it has so been imported."""
    return sys.modules["cupy"]


def on_gpu(x: Any) -> bool:
    """Tell whether a value is a CuPy array, in a tenth of a microsecond.

    >>> on_gpu(np.zeros(3))
    False
    """
    return is_cupy(type(x))


def packs(size: int, *arrays: Any) -> int:
    """Return how many groups of 16 bytes the kernels may read at once from the beginning of arrays; see kernels/maps.cu."""
    return 0 if any(x.data.ptr % 16 for x in arrays) else size * arrays[0].itemsize // 16
