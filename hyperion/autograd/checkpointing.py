"""Checkpointing: a part of a computation that keeps no intermediate values, and is run again when a derivative needs them."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from hyperion.autograd import random
from hyperion.autograd.closures import Closure
from hyperion.autograd.graph import Node, state
from hyperion.autograd.sweeps import zeros_like
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor

__all__ = ["checkpoint"]


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the same results and derivatives, but keeps only its inputs for them: memory for time.

    function: of trees; Tensors it uses from outside are differentiated too. It is run once forward and once for every sweep over the graph,
        and must do the same each time; random numbers are drawn again as they were.
    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost (2016).

    >>> from hyperion.autograd import asarray, grad, sin
    >>> layer = checkpoint(lambda x: sin(sin(x)))
    >>> grad(lambda x: layer(layer(x)))(asarray(0.5))
    Tensor () float32, cpu: 0.629335
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not state.recording:
            return function(*args, **kwargs)
        mark = random.mark()
        body = Closure("checkpoint", lambda *given: function(*given, **kwargs), args)
        inputs = (*body.inputs, *body.outside)
        if not any(x.tracked for x in inputs):
            return body.release(body.outputs)
        values = tuple([x.data for x in body.outputs])
        node = Node(_CHECKPOINT, inputs, {"body": body, "mark": mark}, values)
        return body.release([Tensor(value, node, i) for i, value in enumerate(values)])

    return wrapped


def _vjp(g: Sequence[Tensor | None], out: Any, *inputs: Tensor, body: Closure, mark: Any) -> list[Tensor | None]:
    with random.replay(mark):
        own, outside = body.pull(inputs[:len(body.places)], g)
    return [*own, *outside]


def _jvp(tangents: list[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, body: Closure, mark: Any) -> tuple[Tensor, ...]:
    count = len(body.places)
    with random.replay(mark):
        moved = body.push(inputs[:count], tangents[:count], tangents[count:])
    return tuple([zeros_like(x) if t is None else t for t, x in zip(moved, out, strict=True)])


def _forward(xp: Any, *arrays: Any, body: Closure, mark: Any) -> tuple[Any, ...]:
    with random.replay(mark):
        return tuple([x.data for x in body.run([Tensor(array) for array in arrays[:len(body.places)]])])


_CHECKPOINT = Primitive("checkpoint", "general", _forward, _vjp, _jvp, outputs=None, register=False)
