"""Checks of values, which have to wait where a function is only being recorded."""

from collections.abc import Callable
from typing import Any

from hyperion.autograd.batching import Batched
from hyperion.autograd.graph import state
from hyperion.autograd.tensor import Tensor
from hyperion.gpu.device import Standin
from hyperion.gpu.graphs import noting

__all__ = ["check_values"]


def check_values(x: Tensor, name: str, check: Callable[[Any], None]) -> None:
    """Let a check look at the array of a Tensor: it raises what is to be raised. One example of a vmap has no array; it is not looked at.
    Nor can arrays be looked at while launches are noted for a CUDA graph (see `gpu.graphs`).

    name: of the check, in the text of a program: while a function is recorded (see jit) the check becomes a step that every run makes.

    >>> import numpy as np
    >>> def refuse(array):
    ...     assert array.min() > 0
    >>> check_values(Tensor(np.ones(3)), "positive", refuse)
    """
    if isinstance(x, Batched):
        return
    if isinstance(x.data, Standin):
        state.recorder.check(name, x, check)
    elif not noting():
        check(x.data)
