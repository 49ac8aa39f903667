"""Operations of your own, with rules of your own."""

from collections.abc import Callable
from typing import Any

from hyperion.autograd.batching import BatchRule, at_levels
from hyperion.autograd.graph import recording
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor, as_tensor

__all__ = ["custom"]


def custom(
    function: Callable[..., Any], vjp: Callable[..., Any] | None = None, jvp: Callable[..., Any] | None = None, *,
    outputs: int = 1, batch: BatchRule | None = None,
) -> Primitive:
    """Return a function as one operation of the graph, with derivatives that are given instead of those of what it computes.

    function: of Tensors and keyword parameters; returns one Tensor, or a tuple of `outputs`. Nothing in it is recorded.
    vjp(g, out, *inputs, **params) -> one Tensor or None per input; with several outputs, g has None where no cotangent came in.
    jvp(tangents, out, *inputs, **params) -> Tensor or tuple; tangents are None where there is none. Rules are written on Tensors, so that
        they can be differentiated in turn. Without one of them the derivatives that need it raise GraphError.
    batch: how it works on batches inside vmap (see hyperion.autograd.batching); None: example by example.

    >>> from hyperion.autograd import asarray, exp, grad, log
    >>> softplus = custom(lambda x: log(1.0 + exp(x)), vjp=lambda g, out, x: (g * (1.0 - exp(-out)),))
    >>> grad(softplus)(asarray(0.0))
    Tensor () float32, cpu: 0.5
    """
    several = outputs != 1

    def forward(xp: Any, *arrays: Any, **params: Any) -> Any:
        with recording(False), at_levels(()):
            out: Any = function(*(Tensor(array) for array in arrays), **params)
        return tuple([as_tensor(x).data for x in out]) if several else as_tensor(out).data

    name = getattr(function, "__name__", "custom")
    forward.__module__ = getattr(function, "__module__", None) or __name__
    return Primitive(
        name if name.isidentifier() else "custom", "general", forward, vjp, jvp, outputs=outputs, batch=batch, register=False,
        doc=function.__doc__ or "",
    )
