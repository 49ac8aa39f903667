"""Standing between a caller and every operation, as debugging and profiling do.

While something observes, `Primitive.__call__` and the step of a backward sweep on raw arrays are replaced by ones that pass through it;
otherwise there is nothing left of it, so it costs nothing.
"""

import threading
from collections.abc import Callable
from typing import Any

from hyperion.autograd import sweeps
from hyperion.autograd.graph import Node, changes
from hyperion.autograd.table import Primitive, as_tensors
from hyperion.autograd.tensor import Tensor

__all__ = ["Observer", "start", "stop"]


class Observer:
    """What is asked in place of every operation. Abstract.

    shortcuts: whether sweeps may work on raw arrays (`pulled` then sees each step); otherwise every operation of a sweep is called.
    """

    shortcuts = True

    def called(self, call: Callable[..., Any], op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Return call(op, *inputs, **params); inputs are Tensors."""
        raise NotImplementedError

    def pulled(self, pull: Callable[..., Any], op: Primitive, node: Node, g: Any) -> Any:
        """Return pull(op, node, g): the cotangents of a node's inputs, raw arrays."""
        return pull(op, node, g)


_lock = threading.Lock()
_observers: list[Observer] = []
_call = Primitive.__call__
_pull = sweeps.pulled


def start(observer: Observer) -> None:
    """Let an observer see the operations of all threads, as the outermost of those that do."""
    with _lock:
        _observers.append(observer)
        _replace()


def stop(observer: Observer) -> None:
    """Let an observer go that was started; those started in the meantime stay."""
    with _lock:
        last = len(_observers) - 1 - _observers[::-1].index(observer)
        del _observers[last]
        _replace()


def _replace() -> None:
    call, pull = _call, _pull
    for observer in _observers:
        call, pull = _around_call(observer, call), _around_pull(observer, pull)
    Primitive.__call__ = call
    sweeps.pulled = pull
    changes.debugging = any(not observer.shortcuts for observer in _observers)


def _around_call(observer: Observer, call: Callable[..., Any]) -> Callable[..., Any]:
    def around(op: Primitive, *inputs: Any, **params: Any) -> Any:
        if any(type(x) is not Tensor for x in inputs):
            inputs = tuple(as_tensors(op, inputs))
            if any(type(x) is not Tensor for x in inputs):
                return call(op, *inputs, **params)      # batches: called again inside with plain Tensors, and observed there
        return observer.called(call, op, inputs, params)

    return around


def _around_pull(observer: Observer, pull: Callable[..., Any]) -> Callable[..., Any]:
    def around(op: Primitive, node: Node, g: Any) -> Any:
        return observer.pulled(pull, op, node, g)

    return around
