"""Functions across libraries with their derivatives: Hyperion's inside a PyTorch graph, PyTorch's inside a Hyperion graph.

Arrays need no function of this package: `hyperion.from_dlpack(x)` takes those of NumPy, CuPy, PyTorch and JAX, and `torch.from_dlpack(t)`
takes a Tensor, without copies. PyTorch is the extra `interop`; it is imported when the first function is wrapped.
"""

from hyperion.interop.inward import from_torch
from hyperion.interop.outward import to_torch

__all__ = ["from_torch", "to_torch"]
