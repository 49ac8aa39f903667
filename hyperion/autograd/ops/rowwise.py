"""Which native kernels of rows serve an array."""

from collections.abc import Sequence
from typing import Any

from hyperion.cpu import rows as cpu_rows
from hyperion.gpu import rows as gpu_rows
from hyperion.gpu.launching import on_gpu

__all__ = ["rows_of", "whole_rows"]


def rows_of(x: Any) -> Any:
    """Return the module whose functions of rows take an array: softmax, cross_entropy, norm and so on; None from one: it does not serve.

    >>> rows_of(cpu_rows) is cpu_rows
    True
    """
    return gpu_rows if on_gpu(x) else cpu_rows


def whole_rows(x: Any, scale: Sequence[Any], axis: tuple[int, ...]) -> bool:
    """Tell whether axes are the last ones of x, and weight and bias are of their shape and of the dtype of x: so that x is plain rows.

    >>> import numpy as np
    >>> whole_rows(np.zeros((2, 3)), [np.zeros(3)], (1,)), whole_rows(np.zeros((2, 3)), [], (0,))
    (True, False)
    """
    first = x.ndim - len(axis)
    return bool(axis) and axis == tuple(range(first, x.ndim)) and all(s.shape == x.shape[first:] and s.dtype == x.dtype for s in scale)
