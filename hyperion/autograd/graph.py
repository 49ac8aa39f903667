"""The recorded graph: nodes, and whether operations are being recorded.

A node holds what its rules need: the operation, the input Tensors, the parameters and the raw output arrays. A Tensor points to the node
that made it; nothing points back, so a graph is freed with its outputs, without the garbage collector. Every node carries a number from one
clock: in the order of creation every node comes after its inputs, and sweeps are loops over it.
"""

import itertools
import threading
import weakref
import zlib
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hyperion.autograd.table import Primitive
    from hyperion.autograd.tensor import Tensor

__all__ = [
    "SHARED", "Anchor", "Hook", "Leaf", "Node", "changes", "deterministic", "fingerprint", "no_grad", "recording", "share", "state", "tick",
    "watch",
]

tick = itertools.count().__next__


class _Changes:
    last = -1           # when any leaf was last assigned a value: graphs recorded later need no check
    watching = False    # whether any node has fingerprints of shared arrays
    hooked = False      # whether any node has hooks
    debugging = False   # whether every operation must be seen (see debugging): sweeps then take no shortcut


changes = _Changes()


Hook = Callable[["Tensor"], "Tensor | None"]

# Arrays of the user's that Tensors share memory with, by id: they may be written to while a graph needs their values.
SHARED: dict[int, Any] = {}


def share(array: np.ndarray[Any, Any]) -> None:
    """Note that a Tensor shares the memory of a user's array: nodes that use it take a fingerprint."""
    owner = array if array.base is None else _owner(array)
    key = id(owner)
    if owner.flags.writeable and key not in SHARED:
        SHARED[key] = weakref.ref(owner, lambda _: SHARED.pop(key, None))


def _owner(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def fingerprint(array: np.ndarray[Any, Any]) -> int:
    """Return a checksum of an array's bytes, at several GB/s."""
    data: Any = np.ascontiguousarray(array)
    try:
        return zlib.crc32(data)
    except (ValueError, BufferError):       # bfloat16 has no buffer format
        return zlib.crc32(data.reshape(-1).view(np.uint8))


def watch(node: "Node") -> None:
    """Take fingerprints of the inputs of a node that share memory with arrays of the user's."""
    prints = [
        (x.data, fingerprint(x.data)) for x in node.inputs or ()
        if type(x.data) is np.ndarray and id(x.data if x.data.base is None else _owner(x.data)) in SHARED
    ]
    if prints:
        node.prints = prints
        changes.watching = True


class Node:
    """One recorded call of a primitive. `inputs` is None once the graph has been freed by a backward sweep."""

    # hooks, prints, site: set by register_hook, watch and debug only.
    __slots__ = ("hooks", "inputs", "op", "order", "output", "params", "prints", "site")

    hooks: "list[tuple[int, Hook]]"
    prints: list[tuple[Any, int]]
    site: Any

    def __init__(self, op: "Primitive | None", inputs: "tuple[Tensor, ...] | None", params: dict[str, Any], output: Any) -> None:
        self.op = op
        self.inputs = inputs
        self.params = params
        self.output = output          # one array, or a tuple of arrays for an operation of several outputs
        self.order = tick()

    def free(self) -> None:
        """Drop what the rules need; sweeping this node again is an error."""
        self.inputs = self.output = None
        self.params = {}


class Leaf(Node):
    """Where derivatives end: a Tensor made by the user or by a transform, not computed."""

    __slots__ = ("changed", "done", "grad")

    def __init__(self) -> None:
        super().__init__(None, (), {}, None)
        self.grad: Tensor | None = None
        self.changed = self.order
        self.done = False       # True once the transform that made it has run its function: to any other sweep it is a constant

    def mark_changed(self) -> None:
        """Note that the value was assigned: nodes recorded before used another one."""
        self.changed = changes.last = tick()


class Anchor(Leaf):
    """Where a rule that is recorded for its structure ends (see jet). To any other sweep it is a constant."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.done = True


class _State(threading.local):
    """Of each thread: whether it records, and what to go back to when the contexts it is in end.

    whole: operations without a derivative (comparisons) are recorded, too: the graph is then the whole formula (see formulas).
    deterministic: operations take the way that gives the same bits at every run, where a faster one does not.
    recorder: what notes every operation while a function is recorded for the compiler (see jit); None: nothing does.
    """

    def __init__(self) -> None:
        self.deterministic = False
        self.recording = True
        self.whole = False
        self.recorder: Any = None
        self.before: list[bool] = []
        self.before_deterministic: list[bool] = []


state = _State()


class recording(ContextDecorator):
    """A context (or decorator) in which operations on tracked Tensors are recorded, or not."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> None:
        state.before.append(state.recording)
        state.recording = self.on

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        state.recording = state.before.pop()


def no_grad() -> recording:
    """Return a context (or decorator) in which nothing is recorded, so no derivative flows through what is computed in it.

    >>> from hyperion.autograd import asarray, no_grad
    >>> x = asarray(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """
    return recording(False)


class deterministic(ContextDecorator):
    """A context (or decorator) in which every operation gives the same bits at every run, where a faster way would not.

    The fast way of the gradient of attention on a GPU adds up floats in the order in which blocks of threads finish.

    >>> from hyperion.autograd import deterministic
    >>> with deterministic():
    ...     pass            # loss.backward()
    """

    def __init__(self, on: bool = True) -> None:
        self.on = on

    def __enter__(self) -> None:
        state.before_deterministic.append(state.deterministic)
        state.deterministic = self.on

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        state.deterministic = state.before_deterministic.pop()
