"""Python side of `kernels/program.c`: fused loops compiled on first use, and lists of calls of them that run without Python between."""

import ctypes
import functools
import hashlib
import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import config

from .compiler import find_compiler, load

__all__ = ["Calls", "available", "compiled", "finite", "product"]

_FOLDER = Path(__file__).parent / "kernels"
_CALL = np.dtype([("kernel", np.uintp), ("end", np.uintp), ("a", np.uintp), ("units", np.int64), ("step", np.int64), ("stop", np.int64)])
FLAGS = {"float32": ("-DREAL=float",), "float64": ("-DREAL=double", "-DWIDE=1")}
UNIT = 24               # loops of one library: the compiler takes ever longer for each beyond
_known: dict[tuple[str, str], tuple[int, int]] = {}     # (text of a loop, type of its numbers): addresses of the kernel and of its end


def _text(*names: str) -> str:
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@functools.cache
def _runner() -> Any:
    """Return the library that runs calls, with the BLAS that SciPy carries."""
    library = load(_text("workers.h", "program.c"), ("-fopenmp-simd",))
    library.run_calls.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
    library.run_calls.restype = ctypes.c_long
    pointer, number = ctypes.c_void_p, ctypes.c_long
    library.repeat_calls.argtypes = (pointer, number, pointer, number, pointer, number)
    library.repeat_calls.restype = None
    library.repeat_while.argtypes = (pointer, number, pointer, number, pointer, number, pointer, number, pointer)
    library.repeat_while.restype = number
    blas: Any = importlib.import_module("scipy.linalg.cython_blas")
    library.use_blas.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.use_blas(*(_capsule(blas.__pyx_capi__[name]) for name in ("sgemm", "dgemm")))
    # Names are looked up in what this library is linked to: OpenBLAS, under the name of SciPy's wheels or its own.
    linked = ctypes.CDLL(blas.__file__)
    for prefix in ("scipy_openblas", "openblas"):
        if hasattr(linked, f"{prefix}_set_num_threads"):
            library.use_threads.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
            library.use_threads(*(_address(getattr(linked, f"{prefix}_{verb}_num_threads")) for verb in ("set", "get")))
            break
    return library


def _capsule(capsule: Any) -> int:
    """Return the pointer in a capsule of Python's."""
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return int(pointer_of(capsule, name_of(capsule)))


def available() -> bool:
    """Tell whether there is a C compiler."""
    return find_compiler() is not None


def product(dtype: str) -> int:
    """Return the address of the kernel of matrix products, for float32 or float64."""
    return _address(getattr(_runner(), f"product_{dtype}"))


def finite(dtype: str) -> int:
    """Return the address of the kernel that sets a flag if arrays of float32 or float64 are not finite."""
    return _address(getattr(_runner(), f"finite_{dtype}"))


def compiled(loops: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Return the addresses of kernels and of their ends (0: none), compiling in one go those that this process has not seen.

    loops: (C text of a function called NAME, dtype of its numbers).
    Raises: CompilerError with the compiler's message.
    """
    units: list[tuple[str, list[str]]] = []
    for dtype in FLAGS:
        new = sorted({text for text, of in loops if of == dtype and (text, of) not in _known})
        units += [(dtype, new[i:i + UNIT]) for i in range(0, len(new), UNIT)]
    if len(units) > 1:
        with ThreadPoolExecutor(config.threads()) as workers:
            list(workers.map(_compile, units))
    for unit in units if len(units) == 1 else ():
        _compile(unit)
    return [_known[loop] for loop in loops]


def _compile(unit: tuple[str, list[str]]) -> None:
    """Compile and load loops of one dtype as one library."""
    dtype, texts = unit
    names = [f"loop_{hashlib.sha256(text.encode()).hexdigest()[:16]}" for text in texts]
    bodies = [text.replace("NAME", name) for text, name in zip(texts, names, strict=True)]
    library = load(_text("maths.h", "waves.h", "loops.h") + "\n".join(bodies), ("-fopenmp-simd", *FLAGS[dtype]))
    for text, name in zip(texts, names, strict=True):
        end = getattr(library, f"{name}_end") if "NAME_end" in text else None
        _known[text, dtype] = (_address(getattr(library, name)), 0 if end is None else _address(end))


class Onward:
    """What goes on from round to round of a loop.

    moves: (place, bytes that its address moves).  copies: (from place, to place, bytes); copies come before moves.
    """

    def __init__(self, moves: Sequence[tuple[int, int]], copies: Sequence[tuple[int, int, int]]) -> None:
        self._moves = np.array(moves or [(0, 0)], np.int64)
        self._copies = np.array(copies or [(0, 0, 0)], np.int64)
        self._numbers = np.array([self._moves.ctypes.data, len(moves), self._copies.ctypes.data, len(copies)], np.int64)
        self.address = self._numbers.ctypes.data


class Calls:
    """Calls of kernels in order, run by one native call.

    rows: for each (kernel, end, numbers, units, units of a chunk, stop); the numbers are those the kernel's text asks for; 0 units of a
    chunk: as many chunks as threads; stop: place of a flag that ends the run where it is set, or -1.
    """

    def __init__(self, rows: Sequence[tuple[int, int, Sequence[int], int, int, int]]) -> None:
        numbers = [number for row in rows for number in row[2]]
        self._numbers = np.array(numbers, np.int64)
        start = self._numbers.ctypes.data
        table, at = np.zeros(len(rows), _CALL), 0
        for i, (kernel, end, own, units, step, stop) in enumerate(rows):
            table[i] = (kernel, end, start + 8 * at, units, step, stop)
            at += len(own)
        self._table = table
        self._place, self._count = table.ctypes.data, len(rows)
        self._run = _runner().run_calls
        self._shared = any(units > step for _, _, _, units, step, _ in rows)       # whether threads have anything to share

    def __len__(self) -> int:
        return self._count

    def __call__(self, addresses: int) -> int:
        """Run all, over the table of addresses at an address; return their number, or that of the call that set its flag."""
        return self._run(self._place, self._count, addresses, config.threads() if self._shared else 1)

    def repeat(self, addresses: int, onward: Onward, rounds: int) -> None:
        """Run all so many times."""
        _runner().repeat_calls(self._place, self._count, addresses, config.threads() if self._shared else 1, onward.address, rounds)

    def repeat_while(self, addresses: int, onward: Onward, test: "Calls", test_addresses: int, place: int) -> int:
        """Run all as long as a test leaves something else than 0 at a place of its table; return how often."""
        asked = (test._place, test._count, test_addresses, place)
        threads = config.threads() if self._shared else 1
        return _runner().repeat_while(*asked, self._place, self._count, addresses, threads, onward.address)

