"""Attention on GPUs from sm_80 on: which kernels do it."""

from typing import Any

import numpy as np

from . import attention_general as general
from . import attention_hopper as tuned
from .attention_arrays import device_traits
from .attention_general import Extras

__all__ = ["Extras", "backward", "forward", "serves"]

LARGEST = 256               # head size


def serves(q: Any, k: Any, v: Any) -> bool:
    """Tell whether the kernels take these CuPy arrays: 16-bit numbers or float32, heads up to 256, something there, a GPU from sm_80 on."""
    number = q.dtype.itemsize == 2 or q.dtype == np.float32
    there = min(*q.shape, *k.shape, *v.shape) > 0
    return number and there and max(q.shape[-1], v.shape[-1]) <= LARGEST and device_traits(q.device.id)[0] >= 80


def forward(q: Any, k: Any, v: Any, seen: Any, scale: float, extras: Extras = general.NOTHING) -> tuple[Any, Any]:
    """Return softmax(scores) v over what is seen, and the log-sum-exp in float32; scores: scale q k^T, and what `extras` do to them.

    q: (batch, heads, queries, size), k, v: (batch, heads of keys, keys, size), CuPy arrays of any strides.  seen: as `visibility` makes it.
    """
    if extras.plain and tuned.serves(q):
        return tuned.forward(q, k, v, seen, scale)
    return general.forward(q, k, v, seen, scale, extras)


def backward(
    q: Any, k: Any, v: Any, out: Any, lse: Any, g: Any, of_lse: Any, seen: Any, scale: float, extras: Extras = general.NOTHING,
    adds: bool = True, pull_bias: bool = False,
) -> tuple[Any, Any, Any, Any]:
    """Return the gradients of q, k, v and the bias (None: not wanted), from those of the output and the log-sum-exp (None: 0).

    adds: the gradient of q may be summed up in any order, where that is faster; False: the same numbers at every run.
    """
    if extras.plain and tuned.serves(q) and tuned.serves_back(q, v):
        return *tuned.backward(q, k, v, out, lse, g, of_lse, seen, scale, adds), None
    return general.backward(q, k, v, out, lse, g, of_lse, seen, scale, extras, pull_bias)
