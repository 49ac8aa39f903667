"""The autograd core: Tensors, the table of primitives, and transforms to any order."""

# isort: off
from hyperion.autograd.tensor import Tensor, as_tensor     # first: the table and its operations are written on Tensors
# isort: on
from hyperion.autograd.creation import arange, asarray, full, linspace, ones, ones_like, zeros, zeros_like
from hyperion.autograd.graph import no_grad
from hyperion.autograd.ops.arithmetic import (
    abs,
    add,
    clip,
    cos,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    tanh,
)
from hyperion.autograd.ops.comparison import (
    equal,
    greater,
    greater_equal,
    isfinite,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
    where,
)
from hyperion.autograd.ops.indexing import getitem, scatter
from hyperion.autograd.ops.products import matmul
from hyperion.autograd.ops.reductions import cumsum, mean, sum
from hyperion.autograd.ops.shaping import (
    astype,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    identity,
    permute_dims,
    reshape,
    squeeze,
    stack,
    sum_to,
    to_device,
)
from hyperion.autograd.ops.stencils import fir, pad, pad_edge, shift
from hyperion.autograd.table import PRIMITIVES, Primitive, elementwise, general, linear
from hyperion.autograd.transforms import grad, hvp, jvp, stop_gradient, value_and_grad, vjp
from hyperion.autograd.trees import flatten, tree_map, unflatten

__all__ = [
    "PRIMITIVES", "Primitive", "Tensor", "abs", "add", "arange", "as_tensor", "asarray", "astype", "broadcast_to", "clip", "concat",
    "cos", "cumsum", "divide", "elementwise", "equal", "exp", "expand_dims", "fir", "flatten", "flip", "full", "general", "getitem",
    "grad", "greater", "greater_equal", "hvp", "identity", "isfinite", "jvp", "less", "less_equal", "linear", "linspace", "log",
    "logical_and", "logical_not", "logical_or", "matmul", "maximum", "mean", "minimum", "multiply", "negative", "no_grad", "not_equal",
    "ones", "ones_like", "pad", "pad_edge", "permute_dims", "power", "reshape", "scatter", "shift", "sign", "sin", "sqrt", "square",
    "squeeze", "stack", "stop_gradient", "subtract", "sum", "sum_to", "tanh", "to_device", "tree_map", "unflatten", "value_and_grad",
    "vjp", "where", "zeros", "zeros_like",
]
