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
    CG,
    GMRES,
    Newton,
    Picard,
    Tensor,
    checkpoint,
    custom,
    derivatives,
    deterministic,
    fixed_point,
    functions,
    grad,
    hessian,
    hvp,
    jacobian,
    jet,
    jets,
    jvp,
    linear_solve,
    linearize,
    no_grad,
    root_solve,
    stop_gradient,
    tree_map,
    value_and_grad,
    vjp,
    vmap,
)
from hyperion.autograd.control import cond, scan, while_loop
from hyperion.autograd.debugging import debug
from hyperion.autograd.drawing import graph
from hyperion.autograd.functions import *
from hyperion.autograd.jit import jit
from hyperion.autograd.memory import device_memory
from hyperion.autograd.profiling import profile

__version__ = "0.1.0"

__all__ = [
    "CG", "GMRES", "Newton", "Picard", "Tensor", "__version__", "checkpoint", "cond", "custom", "debug", "derivatives", "deterministic",
    "device_memory", "fixed_point", "grad", "graph", "hessian", "hvp", "jacobian", "jet", "jets", "jit", "jvp", "linear_solve", "linearize",
    "no_grad", "profile", "root_solve", "scan", "stop_gradient", "tree_map", "value_and_grad", "vjp", "vmap", "while_loop",
]
__all__ += functions.__all__

_SUBMODULES = (
    "fft", "interop", "inversion", "io", "linalg", "nn", "operators", "optim", "pde", "plot", "probability", "random", "testing",
)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES and importlib.util.find_spec(f"hyperion.{name}") is not None:
        return importlib.import_module(f"hyperion.{name}")
    raise AttributeError(f"module 'hyperion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(name for name in _SUBMODULES if importlib.util.find_spec(f"hyperion.{name}") is not None)]
