"""Python side of `kernels/stencil.h` and `kernels/timeloop.c`: the structures of a native simulation and the calls into it."""
import ctypes
from pathlib import Path

import numpy as np

from hyperion.errors import CompilerError

from .compiler import load

_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p
_FOLDER = Path(__file__).parent / "kernels"
ARRAY = np.dtype([("p", np.uintp), ("stride", np.int64, 2)])          # `Array` of stencil.h


class Points(ctypes.Structure):
    """Injections or receivers: weighted cells sorted by plane of axis 0 (`Points` of stencil.h)."""

    _fields_ = [*((n, _LONG) for n in ("taps", "traces", "array", "stage", "offset", "history")),
                *((n, _POINTER) for n in ("row", "line", "at", "history_at", "weight", "history_weight", "trace", "data"))]


class Image(ctypes.Structure):
    """Sum over kept steps of a cotangent times a history (`Image` of stencil.h)."""

    _fields_ = [*((n, _LONG) for n in ("array", "stage", "offset", "history")), ("image", _POINTER)]


class Ring(ctypes.Structure):
    """What is kept of every step where the interior runs backwards (`Ring` of stencil.h)."""

    _fields_ = [*((n, _POINTER) for n in ("frame", "ring", "array")), *((n, _LONG) for n in ("frame_size", "ring_size", "arrays")),
                ("kept", _POINTER)]


class Context(ctypes.Structure):
    """One simulation: sizes, tables and what to do in a call (`Context` of stencil.h)."""

    _fields_ = [*((n, _LONG * 3) for n in ("cells", "size", "low", "high")),
                *((n, _LONG) for n in ("steps", "first", "last", "from_", "to", "tile", "block", "rows", "threads", "direction",
                                       "base", "storing", "format", "kept_bytes", "scratch_size", "injections", "receivers", "images",
                                       "histories", "periodic", "history_size")),
                ("history_stride", _LONG * 2), ("table", _POINTER * 2),
                *((n, _POINTER) for n in ("profile", "history", "slot", "place", "counts", "scratch", "injection", "receiver", "image",
                                          "ring", "beside", "undo")),
                *((n, _LONG) for n in ("ahead", "resting", "follows", "within", "sharing", "now")),
                *((n, _LONG * 6) for n in ("moving", "sent", "seed", "box")),
                *((n, _POINTER) for n in ("boxes", "cut", "passed", "work", "moves", "limit", "swept")),
                *((n, _LONG) for n in ("arrived", "sense"))]


def _text(name: str) -> str:
    return (_FOLDER / name).read_text()


class TimeLoop:
    """Compiled sweeps and the time loop around them.

    kernels: text made by `codegen.c_text`. ndim: 2 or 3. dtype: float32 or float64.
    Raises: CompilerError if there is no compiler or it refuses the text.
    """

    def __init__(self, kernels: str, ndim: int, dtype: np.dtype):
        real = {"float32": "float", "float64": "double"}[np.dtype(dtype).name]
        text = _text("stencil.h") + kernels + _text("history.h") + _text("motion.h") + _text("timeloop.c")
        self._library = load(text, (f"-DREAL={real}", f"-DAXES={ndim}"))
        self._library.run.argtypes = (_POINTER, _LONG)
        self._library.all_finite.argtypes = (_POINTER, _LONG)

    @property
    def undo(self) -> int:
        """Address of the function that takes a part of a sweep back."""
        return ctypes.cast(self._library.undo, _POINTER).value or 0

    def run(self, contexts: list[Context]) -> None:
        """Advance simulations side by side by their loop counts [first, last). Ctrl-C is seen when the call returns."""
        pointers = (_POINTER * len(contexts))(*(ctypes.addressof(c) for c in contexts))
        if self._library.run(pointers, len(contexts)):
            raise CompilerError("threads could not be started; lower HYPERION_THREADS or the solver's threads=")

    def finite(self, array: np.ndarray) -> bool:
        """Whether every value of a contiguous array is finite."""
        return bool(self._library.all_finite(array.ctypes.data, array.size))
