"""Linear algebra on Tensors: the array API's extension and more. Matrices are the last two axes; axes before are batches."""

from hyperion.autograd.ops import linalg as family
from hyperion.autograd.ops.linalg import *

__all__: list[str] = []
__all__ += family.__all__
