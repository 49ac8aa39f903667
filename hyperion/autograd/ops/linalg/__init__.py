"""Linear algebra: the array API's linalg extension and more. Matrices are the last two axes; axes before are stacks, and broadcast."""

from hyperion.autograd.ops.contraction import tensordot
from hyperion.autograd.ops.linalg import eigen, factorisations, functions, least_squares, norms, singular, solving, updates
from hyperion.autograd.ops.linalg.eigen import *  # noqa: F403
from hyperion.autograd.ops.linalg.factorisations import *  # noqa: F403
from hyperion.autograd.ops.linalg.functions import *  # noqa: F403
from hyperion.autograd.ops.linalg.least_squares import *  # noqa: F403
from hyperion.autograd.ops.linalg.norms import *  # noqa: F403
from hyperion.autograd.ops.linalg.singular import *  # noqa: F403
from hyperion.autograd.ops.linalg.solving import *  # noqa: F403
from hyperion.autograd.ops.linalg.updates import *  # noqa: F403
from hyperion.autograd.ops.products import cross, diagonal, matmul, matrix_transpose, multi_dot, outer, trace, vecdot

__all__ = ["cross", "diagonal", "matmul", "matrix_transpose", "multi_dot", "outer", "tensordot", "trace", "vecdot"]
__all__ += eigen.__all__
__all__ += factorisations.__all__
__all__ += functions.__all__
__all__ += least_squares.__all__
__all__ += norms.__all__
__all__ += singular.__all__
__all__ += solving.__all__
__all__ += updates.__all__
