"""The autograd core: Tensors, the table of primitives, and transforms to any order."""

# isort: off
from hyperion.autograd.tensor import Tensor, as_tensor     # first: the table and its operations are written on Tensors
# isort: on
import hyperion.autograd.functions as functions
from hyperion.autograd.checkpointing import checkpoint
from hyperion.autograd.custom import custom
from hyperion.autograd.functions import *
from hyperion.autograd.graph import deterministic, no_grad
from hyperion.autograd.implicit import fixed_point, linear_solve, root_solve
from hyperion.autograd.jet import derivatives, jet, jets
from hyperion.autograd.methods import CG, GMRES, Newton, Picard
from hyperion.autograd.table import PRIMITIVES, Primitive, bilinear, elementwise, general, linear
from hyperion.autograd.transforms import grad, hvp, jvp, linearize, stop_gradient, value_and_grad, vjp
from hyperion.autograd.trees import flatten, tree_map, unflatten
from hyperion.autograd.vectorize import hessian, jacobian, vmap

__all__ = [
    "CG",
    "GMRES",
    "PRIMITIVES",
    "Newton",
    "Picard",
    "Primitive",
    "Tensor",
    "as_tensor",
    "bilinear",
    "checkpoint",
    "custom",
    "derivatives",
    "deterministic",
    "elementwise",
    "fixed_point",
    "flatten",
    "functions",
    "general",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jet",
    "jets",
    "jvp",
    "linear",
    "linear_solve",
    "linearize",
    "no_grad",
    "root_solve",
    "stop_gradient",
    "tree_map",
    "unflatten",
    "value_and_grad",
    "vjp",
    "vmap",
]
__all__ += functions.__all__
