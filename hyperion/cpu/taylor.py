"""Python side of `kernels/taylor_map.c` and `kernels/taylor_chain.c`: Taylor coefficients of elementwise operations, and of whole chains of
linear layers and activations, forward and backward. The formulas are generated (see autograd/formulas.py); sizes are arguments.
"""

import ctypes
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import config

from .compiler import load
from .pool import ARRAYS

__all__ = ["ChainKernel", "MapKernel", "Text", "chain_kernel", "map_kernel", "mentions"]

PARALLEL = 1 << 16      # numbers from which several threads share a pass: 30 us of work
_FOLDER = Path(__file__).parent / "kernels"
_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p

# An activation's generated lines: forward from z0.. to h0.., and back from z0.., h0 and g0.. to p0..
Text = tuple[str, str]


def _load(name: str, changes: dict[str, str], flags: Sequence[str], dtype: np.dtype[Any]) -> ctypes.CDLL:
    text = "".join((_FOLDER / part).read_text(encoding="utf-8") for part in ("workers.h", "maths.h", "waves.h", name))
    for word, line in changes.items():
        text = text.replace(f"{word}\n", f"{line}\n")
    root = "#define SQRT sqrt\n" if dtype == np.float64 else "#define SQRT sqrtf\n"
    real = ("-DREAL=double", "-DWIDE=1") if dtype == np.float64 else ("-DREAL=float",)
    return load(root + text, ("-fopenmp-simd", *real, *flags))


def _address(x: np.ndarray[Any, Any]) -> int:
    return x.__array_interface__["data"][0]


def _pointers(addresses: Sequence[int]) -> Any:
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)


class MapKernel:
    """A generated formula of many arrays, element by element.

    lines: C that assigns to q0, q1.. from p0, p1..  inputs, outputs: how many there are.  dtype: float32 or float64, of all arrays.
    Raises: CompilerError if there is no compiler or it refuses the text.
    """

    def __init__(self, lines: str, inputs: int, outputs: int, dtype: np.dtype[Any]) -> None:
        used = [k for k in range(inputs) if mentions(lines, f"p{k}")]
        loads = [f"const real *restrict from{k} = job->in[{k}];" for k in used]
        loads += [f"real *restrict to{k} = job->out[{k}];" for k in range(outputs)]
        body = [f"const real p{k} = from{k}[i];" for k in used]
        body += [f"real {', '.join(f'q{k}' for k in range(outputs))};", lines, *(f"to{k}[i] = q{k};" for k in range(outputs))]
        library = _load("taylor_map.c", {"LOADS": "\n".join(loads), "BODY": "\n".join(body)}, (), dtype)
        self._run = library.run
        self._run.argtypes, self._run.restype = (_LONG, _LONG, _POINTER, _POINTER), None

    def __call__(self, size: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Compute `size` elements; arrays by the addresses of their first."""
        threads = config.threads() if size * (len(inputs) + len(outputs)) >= PARALLEL else 1
        self._run(size, threads, _pointers(inputs), _pointers(outputs))


def mentions(lines: str, name: str) -> bool:
    """Tell whether a name stands in C text as a word."""
    return any(not (after[:1].isalnum() or after[:1] == "_") for after in lines.split(name)[1:])


@functools.lru_cache(maxsize=256)
def map_kernel(lines: str, inputs: int, outputs: int, dtype: np.dtype[Any]) -> MapKernel:
    """Return the kernel of some lines; compiled at the first call."""
    return MapKernel(lines, inputs, outputs, dtype)


class ChainKernel:
    """Linear layers, each followed by an activation or none, applied to values and their Taylor coefficients.

    activations: the texts of those in use.  channels: 1 + the number of coefficients.  dtype: float32 or float64, of all arrays.
    Raises: CompilerError if there is no compiler or it refuses the text.
    """

    def __init__(self, activations: Sequence[Text], channels: int, dtype: np.dtype[Any]) -> None:
        functions = [part for k, text in enumerate(activations) for part in _activation(k, text, channels)]
        cases = " ".join(f"case {k}: call##_{k} arguments; break;" for k in range(len(activations)))
        functions.append(f"#define CASES(kind, call, arguments) switch (kind) {{ {cases} }}")
        library = _load("taylor_chain.c", {"\nACTIVATIONS": "\n" + "\n".join(functions)}, (f"-DCHANNELS={channels}",), dtype)
        self.dtype = dtype
        self.channels = channels
        self._forward, self._reverse, self._chunks, self._slot = (
            getattr(library, name) for name in ("forward", "reverse", "chunks_of", "slot_of"))
        shared = (_LONG, _LONG, *(_POINTER,) * 6)
        self._forward.argtypes, self._forward.restype = (*shared, _POINTER, _POINTER, _LONG), None
        self._reverse.argtypes = (*shared, *(_POINTER,) * 4, _LONG, _POINTER, _LONG)
        self._reverse.restype = None
        self._chunks.argtypes, self._chunks.restype = (_LONG,), _LONG
        self._slot.argtypes, self._slot.restype = (_LONG, _POINTER, _LONG), _LONG
        self._vector = library.vector_bytes()

    def forward(self, x: Any, rest: Any, weights: Sequence[Any], biases: Sequence[Any], kinds: Sequence[int]) -> Any:
        """Return values and coefficients behind the last layer, (channels, points, outputs).

        x: (points, inputs).  rest: (channels - 1, points, inputs).  weights: (outputs, inputs) each.  biases: (outputs,) or None.
        kinds: of each layer: the place of its activation among those of the kernel, or -1.  All arrays are contiguous.
        """
        points, widths = self._sizes(x, weights)
        out, at = ARRAYS.empty((self.channels, points, widths[-1]), self.dtype)
        threads = self._threads(points, widths)
        room, scratch = self._room(widths, 0, threads)
        self._forward(*self._shared(points, widths, kinds, weights, biases), _address(x), _address(rest), at, scratch, threads)
        del room
        return out

    def reverse(
        self, g: Any, x: Any, rest: Any, weights: Sequence[Any], biases: Sequence[Any], kinds: Sequence[int], inputs: bool,
    ) -> tuple[Any, Any, list[Any], list[Any]]:
        """Return cotangents of x, rest (None unless `inputs`), weights and biases, given that of `forward`'s result."""
        points, widths = self._sizes(x, weights)
        threads = self._threads(points, widths)
        parameters = sum((a + 1) * b for a, b in itertools.pairwise(widths))
        sums = ARRAYS.empty((max(self._chunks(points), 1), parameters), self.dtype)[0]
        if not points:
            sums[:] = 0
        room, scratch = self._room(widths, parameters, threads)
        to_x, to_rest = (ARRAYS.empty(a.shape, self.dtype)[0] if inputs else None for a in (x, rest))
        self._reverse(
            *self._shared(points, widths, kinds, weights, biases), _address(x), _address(rest), _address(g),
            None if to_x is None else _address(to_x), None if to_rest is None else _address(to_rest), _address(sums), parameters, scratch,
            threads)
        del room
        to_weights, to_biases, start = [], [], 0
        for a, b in itertools.pairwise(widths):
            to_weights.append(sums[0, start:start + a * b].reshape(b, a).copy())
            to_biases.append(sums[0, start + a * b:start + (a + 1) * b].copy())
            start += (a + 1) * b
        return to_x, to_rest, to_weights, to_biases

    def _sizes(self, x: Any, weights: Sequence[Any]) -> tuple[int, list[int]]:
        return x.shape[0], [weights[0].shape[1], *(w.shape[0] for w in weights)]

    def _threads(self, points: int, widths: Sequence[int]) -> int:
        return config.threads() if points * self.channels * sum(widths) >= PARALLEL else 1

    def _room(self, widths: Sequence[int], parameters: int, threads: int) -> tuple[Any, int]:
        """Return scratch for the threads, and where it starts."""
        size = self._slot(len(widths) - 1, _longs(widths), parameters) * self._vector
        return ARRAYS.empty((size * min(threads, 64),), np.dtype(np.uint8))

    def _shared(self, points: int, widths: Sequence[int], kinds: Sequence[int], weights: Sequence[Any], biases: Sequence[Any]) -> Any:
        return (points, len(weights), _longs(widths), _longs(kinds), _pointers([_address(w) for w in weights]),
                _pointers([0 if b is None else _address(b) for b in biases]))


def _longs(numbers: Sequence[int]) -> Any:
    return (ctypes.c_long * len(numbers))(*numbers)


def _activation(number: int, text: Text, channels: int) -> list[str]:
    """Return the C functions of one activation, over the points of a block."""
    zs = " ".join(f"const real z{c} = z[{c} * POINTS + i];" for c in range(channels))
    gs = " ".join(f"const real g{c} = g[{c} * POINTS + i];" for c in range(channels))
    hs, ps = (f"real {', '.join(f'{name}{c}' for c in range(channels))};" for name in "hp")
    stores, moves = (" ".join(f"{to}[{c} * POINTS + i] = {name}{c};" for c in range(channels)) for to, name in (("h", "h"), ("g", "p")))
    loop = "#pragma omp simd\n  for (long i = 0; i < POINTS; i++) {"
    return [
        f"static void activate_{number}(const real *restrict z, real *restrict h) {{\n{loop}\n{zs}\n{hs}\n{text[0]}\n{stores}\n  }}\n}}",
        f"static void retreat_{number}(const real *restrict z, const real *restrict h, real *restrict g) {{\n{loop}\n{zs}\n"
        f"const real h0 = h[i];\n{gs}\n{ps}\n{text[1]}\n{moves}\n  }}\n}}",
    ]


@functools.lru_cache(maxsize=64)
def chain_kernel(activations: tuple[Text, ...], channels: int, dtype: np.dtype[Any]) -> ChainKernel:
    """Return the kernel of some activations; compiled at the first call."""
    return ChainKernel(activations, channels, dtype)
