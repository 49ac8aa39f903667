"""Hyperion: write the physics or the network once, in Python; get the forward run, the exact gradient and the linearised run.

The names of the core are here; the rest is in submodules, imported on first use: hyperion.pde, optim, inversion, io, plot, testing...

>>> import hyperion as hp
>>> hp.grad(lambda x: hp.sum(x ** 2))(hp.asarray([0.5, 1.0]))
Tensor (2,) float32, cpu: [1. 2.]
"""

import importlib
import importlib.util
from typing import Any

from hyperion.autograd import (
    Tensor,
    abs,
    add,
    arange,
    asarray,
    astype,
    broadcast_to,
    clip,
    concat,
    cos,
    cumsum,
    divide,
    equal,
    exp,
    expand_dims,
    fir,
    flip,
    full,
    grad,
    greater,
    greater_equal,
    hvp,
    identity,
    isfinite,
    jvp,
    less,
    less_equal,
    linspace,
    log,
    logical_and,
    logical_not,
    logical_or,
    matmul,
    maximum,
    mean,
    minimum,
    multiply,
    negative,
    no_grad,
    not_equal,
    ones,
    ones_like,
    pad,
    pad_edge,
    permute_dims,
    power,
    reshape,
    scatter,
    shift,
    sign,
    sin,
    sqrt,
    square,
    squeeze,
    stack,
    stop_gradient,
    subtract,
    sum,
    sum_to,
    tanh,
    to_device,
    tree_map,
    value_and_grad,
    vjp,
    where,
    zeros,
    zeros_like,
)

__version__ = "0.1.0"

__all__ = [
    "Tensor", "__version__", "abs", "add", "arange", "asarray", "astype", "broadcast_to", "clip", "concat", "cos", "cumsum", "divide",
    "equal", "exp", "expand_dims", "fir", "flip", "full", "grad", "greater", "greater_equal", "hvp", "identity", "isfinite", "jvp",
    "less", "less_equal", "linspace", "log", "logical_and", "logical_not", "logical_or", "matmul", "maximum", "mean", "minimum",
    "multiply", "negative", "no_grad", "not_equal", "ones", "ones_like", "pad", "pad_edge", "permute_dims", "power", "reshape",
    "scatter", "shift", "sign", "sin", "sqrt", "square", "squeeze", "stack", "stop_gradient", "subtract", "sum", "sum_to", "tanh",
    "to_device", "tree_map", "value_and_grad", "vjp", "where", "zeros", "zeros_like",
]

_SUBMODULES = ("inversion", "io", "nn", "operators", "optim", "pde", "plot", "testing")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES and importlib.util.find_spec(f"hyperion.{name}") is not None:
        return importlib.import_module(f"hyperion.{name}")
    raise AttributeError(f"module 'hyperion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(name for name in _SUBMODULES if importlib.util.find_spec(f"hyperion.{name}") is not None)]
