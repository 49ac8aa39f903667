"""Elementwise operations on GPUs: kernels written from the very functions of the table that NumPy runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.codegen import elementwise_lines
from hyperion.gpu.elementwise import Elementwise, kinds

__all__ = ["mapped"]

_kernels: dict[Any, Elementwise | None] = {}


def mapped(forward: Callable[..., Any], arrays: list[Any], params: dict[str, Any]) -> Any:
    """Return forward(xp, *arrays, **params) of CuPy arrays, in one kernel; None where CuPy should serve.

    It serves arrays of bfloat16, float32 or float64 of one shape without gaps, beside single numbers, if the function can be written in
    CUDA. Formulas of bfloat16 are computed in float32, and rounded once.
    """
    kind = kinds(arrays)
    if kind is None:
        return None
    key = (forward, kind, *params.items())
    try:
        found = _kernels[key]
    except KeyError:
        found = _kernels[key] = _compiled(forward, kind, params)
    except TypeError:                                   # a parameter that is no key
        return None
    return None if found is None else found(arrays)


def _compiled(forward: Callable[..., Any], kind: tuple[Any, ...], params: dict[str, Any]) -> Elementwise | None:
    char, device, single = kind
    lines = formula_lines(forward, len(single), "f" if char == "E" else char, params)
    return None if lines is None else Elementwise(lines, char, device, single)


def formula_lines(forward: Callable[..., Any], count: int, char: str, params: dict[str, Any]) -> str | None:
    """Return the C lines of an elementwise forward of so many inputs a0, a1..; None if there is no C text, or its result has another dtype.

    >>> print(formula_lines(lambda xp, x, y: x + y, 2, "f", {}))
    const real t0 = a0 + a1;
    result = t0;
    """
    try:
        with np.errstate(all="ignore"):
            like = np.asarray(forward(np, *(np.ones(1, char) for _ in range(count)), **params))
        if like.dtype.char != char:
            return None
        return elementwise_lines(functools.partial(forward, **params), [f"a{i}" for i in range(count)], ["result"])
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        return None
