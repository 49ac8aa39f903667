"""Python side of `kernels/stencils.cu`: what its kernels are given, and generated sweeps compiled with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import launching

__all__ = ["CLOCK", "KEPT", "REST", "ROWS", "SENT", "SIZES", "TILE", "WRAP", "Stencils", "given", "structure"]

_LONG = np.int64
FLUSH = ("-ftz=true",)      # numbers too small to be whole become zero, so that what waves have not reached stays at rest
SIZES = np.dtype([("shots", _LONG), ("shot", _LONG), ("stride", _LONG, 2),
                  ("slab", _LONG, (3, 2, 2)), ("history_size", _LONG), ("history_stride", _LONG, 2)])
TILE = np.dtype([("begin", np.int32, 3), ("end", np.int32, 3),
                 *((name, np.int32) for name in ("mask", "sides", "lanes", "planes")), ("spare", np.int32, 2)])
CLOCK = np.dtype([(name, _LONG) for name in ("first", "from", "to", "heard_from", "heard_to", "slot")])
SENT = np.dtype([*((name, np.uint64) for name in ("tile", "at", "start", "weight", "data", "traces", "offset")), ("count", _LONG)])
REST = np.dtype([("moving", np.uint64), ("shift", np.int32, 3), ("count", np.int32, 3), ("reach", np.int32), ("spare", np.int32)])
KEPT = np.dtype([("base", np.uint64), *((name, _LONG) for name in ("slot", "shot", "every"))])
ROWS = np.dtype([*((name, _LONG) for name in ("rows", "length", "cells", "bits", "row_bytes", "history_bytes", "slot_bytes", "shot_bytes",
                                              "every")), ("base", np.uint64)])
WRAP = np.dtype([("count", _LONG, 3), ("stride", _LONG, 3), *((name, _LONG) for name in ("axis", "along", "cells", "reach"))])


def structure(dtype: np.dtype[Any], **values: Any) -> np.ndarray[Any, Any]:
    """Return a value of a structure as kernels take it, an array of no axes; what is not named is zero.

    >>> int(structure(WRAP, axis=1)["axis"])
    1
    """
    out = np.zeros((), dtype)
    for name, value in values.items():
        out[name] = value
    return out


class Stencils:
    """Generated sweeps, compiled for a device at their first use, and the kernels beside them.

    texts: made by `codegen.cuda_text`, compiled apart. ndim: 2 or 3. dtype: float32 or float64. device: its number.
    """

    def __init__(self, texts: Sequence[str], ndim: int, dtype: np.dtype[Any], device: int):
        self._texts, self._ndim, self._dtype, self._device = texts, ndim, np.dtype(dtype), device
        self._functions: dict[str, Any] = {}

    def function(self, name: str) -> Any:
        """Return a kernel, to be called with a grid, a block and arguments."""
        if name not in self._functions:
            text = next((text for text in self._texts if f" {name}(" in text), "")
            made = launching.kernel(launching.source("stencils") + text, name, self._dtype, self._device, FLUSH, AXES=self._ndim)
            self._functions[name] = getattr(made, "kernel", made)       # below RawKernel, which looks for the device at each call
        return self._functions[name]


def given(value: Any) -> Any:
    """Return an argument as a launch takes it fast: structures as bytes, whose type needs no words."""
    return value.view(f"V{value.itemsize}") if isinstance(value, np.ndarray) and value.dtype.names else value
