"""Python side of `kernels/multitensor.c`: one elementwise formula over many arrays in one native call, and their sums of squares."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import config

from .compiler import load

BLOCK = 4096                   # as in multitensor.c
_BYTE = ctypes.c_char
_GRAIN = 1 << 18               # elements that are worth a thread of their own: some 100 us of work, against 20 us to start it
_TEXT = Path(__file__).parent / "kernels" / "multitensor.c"


class MultiTensor:
    """A compiled formula of a parameter p, a gradient g, state arrays s0, s1.. and numbers n0, n1..

    lines: C made by `codegen.elementwise_lines`, which assigns to out[i], state0[i].. states, numbers: how many there are.
    dtype: float32 or float64, of all arrays.
    Raises: CompilerError if there is no compiler or it refuses the text.
    """

    def __init__(self, lines: str, states: int, numbers: int, dtype: np.dtype[Any]):
        self.states, self.numbers = states, numbers
        head = [
            "real *out = row->out;", "const real *parameter = row->parameter, *gradient = row->gradient;",
            *(f"real *state{k} = row->state[{k}];" for k in range(states)),
            *(f"const real n{k} = (real)row->number[{k}];" for k in range(numbers)),
        ]
        body = ["const real p = parameter[i], g = gradient[i];", *(f"const real s{k} = state{k}[i];" for k in range(states))]
        inner = "\n    ".join([*body, *lines.splitlines()])
        loop = f"static void update(const Row *row, long low, long high) {{\n  {(chr(10) + '  ').join(head)}\n" \
               f"  VECTORISE\n  for (long i = low; i < high; i++) {{\n    {inner}\n  }}\n}}"
        real = {"float32": "float", "float64": "double"}[np.dtype(dtype).name]
        text = _TEXT.read_text(encoding="utf-8").replace("\nLOOP\n", f"\n{loop}\n")
        self._library = load(text, (f"-DREAL={real}", f"-DSTATES={states}", f"-DNUMBERS={numbers}"))
        self._library.run.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p)
        self._library.run.restype = None
        self._row = np.dtype([
            ("size", np.int64), ("out", np.uintp), ("parameter", np.uintp), ("gradient", np.uintp), ("state", np.uintp, max(states, 1)),
            ("number", np.float64, max(numbers, 1)),
        ])

    def __call__(self, outs: Sequence[Any], parameters: Sequence[Any], gradients: Sequence[Any], states: Sequence[Sequence[Any]],
                 numbers: Sequence[Sequence[float]]) -> None:
        """Write the new parameters to `outs`, which may be the old ones, and the new states in place.

        All arrays are C-contiguous and of the kernel's dtype.
        """
        table = np.zeros(len(outs), self._row)
        table["size"] = [out.size for out in outs]
        for name, arrays in (("out", outs), ("parameter", parameters), ("gradient", gradients)):
            table[name] = [_address(array) for array in arrays]
        if self.states:
            table["state"] = [[_address(array) for array in row] for row in states]
        if self.numbers:
            table["number"] = numbers
        self._run(table, None)

    def squares(self, arrays: Sequence[Any]) -> list[float]:
        """Return the sum of squares of each array, in float64; the same for any number of threads."""
        table = np.zeros(len(arrays), self._row)
        table["size"] = [array.size for array in arrays]
        table["gradient"] = [_address(array) for array in arrays]
        blocks = -(-table["size"] // BLOCK)
        sums = np.zeros(int(blocks.sum()))
        self._run(table, sums)
        out = np.zeros(len(arrays))
        filled = np.flatnonzero(blocks)
        out[filled] = np.add.reduceat(sums, (np.cumsum(blocks) - blocks)[filled])
        return out.tolist()

    def _run(self, table: Any, squares: Any) -> None:
        threads = max(1, min(config.threads(), int(table["size"].sum()) // _GRAIN))
        self._library.run(_address(table), len(table), threads, None if squares is None else _address(squares))


@functools.cache
def squares_kernel(dtype: np.dtype[Any]) -> MultiTensor:
    """Return the kernel that only adds up squares."""
    return MultiTensor("out[i] = p;", 0, 0, dtype)


def _address(array: Any) -> int:
    """Return where the values of a contiguous array lie."""
    try:
        return ctypes.addressof(_BYTE.from_buffer(array))       # five times faster than asking the array
    except (TypeError, ValueError, BufferError):                # read-only, or empty
        return array.__array_interface__["data"][0]
