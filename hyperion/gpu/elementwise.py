"""Python side of `kernels/elementwise.cu`: an elementwise formula of CuPy arrays in one pass at the memory's speed.

CuPy's own elementwise kernels move 4 bytes for each thread at a time and reach two fifths of it.
"""

import functools
from collections.abc import Sequence
from typing import Any

from .launching import THREADS, cupy, header, kernel, on_gpu, packs, source

__all__ = ["Elementwise", "kinds", "text"]

SMALL = 1 << 15         # elements below which a launch takes as long as the work, and CuPy's is as quick; not for bfloat16, many of CuPy's


def kinds(arrays: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the dtype's character, the device and which arrays hold one number for all; None if a kernel does not serve them.

    >>> import numpy as np
    >>> kinds([np.zeros(3)]) is None
    True
    """
    first = max(arrays, key=_size) if len(arrays) > 1 else arrays[0]
    shape, char = first.shape, first.dtype.char
    if char not in "fdE" or (first.size < SMALL and char != "E") or not on_gpu(first):
        return None
    for x in arrays:
        if type(x) is not type(first) or x.dtype.char != char or not x.flags.c_contiguous:
            return None
        if x.shape != shape and (x.size != 1 or x.ndim > len(shape)):
            return None
    return char, first.device.id, tuple(x.shape != shape for x in arrays)


def _size(x: Any) -> int:
    return x.size


class Elementwise:
    """A compiled formula.

    lines: text made by `codegen.elementwise_lines` of inputs a0, a1.., which assigns to `result`.
    char, device, single: what `kinds` returned.
    """

    def __init__(self, lines: str, char: str, device: int, single: tuple[bool, ...]) -> None:
        made = kernel(text(lines, single), "elementwise", char, device)
        self._run = getattr(made, "kernel", made)       # below RawKernel, which looks for the device at each call
        self._single = single

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Return the formula's result on arrays of the kind it was compiled for."""
        wide = [x for x, single in zip(arrays, self._single, strict=True) if not single]
        first = wide[0]
        out, size = cupy().empty(first.shape, first.dtype), first.size
        count = packs(size, *wide, out)
        blocks = -(-(count + size - count * 16 // first.itemsize) // THREADS)
        self._run((blocks,), (THREADS,), (*arrays, out, count, size))
        return out


@functools.lru_cache(maxsize=1024)
def text(lines: str, single: tuple[bool, ...]) -> str:
    """Return the CUDA text of a formula.

    >>> "a0 + x1[0]" in text("result = a0 + a1;", (False, True)).replace("a1;", "x1[0];")
    True
    """
    inner = "\n    ".join(lines.splitlines())
    given = ", ".join(f"real a{i}" for i in range(len(single)))
    parts = {
        "MATHS": header("maths"),
        "FORMULA": f"__device__ real formula({given}) {{\n    real result;\n    {inner}\n    return result;\n}}",
        "ARGUMENTS": ", ".join(f"const stored *__restrict__ x{i}" for i in range(len(single))),
        "NUMBERS": " ".join(f"const real a{i} = wide(x{i}[0]);" for i, one in enumerate(single) if one),
        "GROUPS": " ".join(f"const Pack p{i} = ((const Pack *)x{i})[i];" for i, one in enumerate(single) if not one),
        "EACH": ", ".join(f"a{i}" if one else f"wide(p{i}.at[k])" for i, one in enumerate(single)),
        "ONE": ", ".join(f"a{i}" if one else f"wide(x{i}[i])" for i, one in enumerate(single)),
    }
    head, _, body = source("elementwise").partition("*/")
    for word, meaning in parts.items():
        body = body.replace(f"\n{word}\n", f"\n{meaning}\n").replace(f"    {word}\n", f"    {meaning}\n")
        body = body.replace(f"    {word},", f"    {meaning},").replace(f"({word})", f"({meaning})")
    return head + "*/" + body
