"""Which native kernels of rows serve an array."""

from typing import Any

from hyperion.cpu import rows as cpu_rows
from hyperion.gpu import rows as gpu_rows
from hyperion.gpu.launching import on_gpu

__all__ = ["rows_of"]


def rows_of(x: Any) -> Any:
    """Return the module whose functions of rows take an array: softmax, cross_entropy, norm and so on; None from one: it does not serve.

    >>> rows_of(cpu_rows) is cpu_rows
    True
    """
    return gpu_rows if on_gpu(x) else cpu_rows
