"""Batched values: what `vmap` hands to a function in place of one example, and how operations work on them.

A Batched Tensor looks like one example and holds all of them in `base`, with the examples along axis 0. An operation on Batched Tensors is
one operation on their bases: elementwise ones by aligning axes, others by the `batch` rule of their stanza, and without a rule by a loop
over the examples. Bases are ordinary Tensors, so what happens inside vmap is recorded and differentiated as everything else.

Each vmap that is running is a level, numbered from the outside in. In nested Batched Tensors the innermost vmap is the outermost wrapper.
"""

import itertools
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperion.autograd import table  # only looked into when called: the table imports this module
from hyperion.autograd.tensor import Tensor
from hyperion.errors import InputError

if TYPE_CHECKING:
    from hyperion.autograd.table import Primitive

__all__ = ["BatchRule", "Batched", "at_levels", "by_axes", "call_batched", "expand", "extract", "levels", "lower", "over_leading", "wrap"]

# (batched, inputs, params) -> output or outputs with the batch as axis 0; inputs have it as axis 0 where `batched` is True.
BatchRule = Callable[..., Any]


class Hidden:
    """Stands where the values of a Batched Tensor would be: it knows the shape and dtype of one example, and refuses anything else."""

    __slots__ = ("dtype", "ndim", "shape", "size")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = int(np.prod(shape, dtype=np.int64))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise InputError(
            f"vmap: the value of a Tensor of shape {self.shape} is needed here (.{name}), but it differs from example to example: use "
            "where(...) instead of if, and no shapes or Python numbers that depend on values"
        )


class Batched(Tensor):
    """One example's view of a Tensor that holds a batch of them.

    base: Tensor with the examples along axis 0.  level: the number of the vmap it belongs to.
    """

    __slots__ = ("base", "level")

    def __init__(self, base: Tensor, level: int) -> None:
        super().__init__(Hidden(base.shape[1:], base.dtype))
        self.base = base
        self.level = level

    @property
    def device(self) -> str:
        """Where the batch lives."""
        return self.base.device

    @property
    def tracked(self) -> bool:
        """Whether operations on it are recorded."""
        return self.base.tracked

    requires_grad = tracked

    def __repr__(self) -> str:
        return f"Tensor {self.shape} {self.dtype}, {self.device}, in a batch of {self.base.shape[0]}"

    __str__ = __repr__

    def detach(self) -> "Batched":
        """Return the same values as constants."""
        return Batched(self.base.detach(), self.level)

    def register_hook(self, hook: Any) -> Any:
        """Refuse: the gradient of one example passes together with the others."""
        raise InputError("x.register_hook(hook): x is one of many examples inside vmap; register the hook outside")

    def numpy(self) -> Any:
        """Refuse: each example has another value."""
        raise InputError("x.numpy(): x is one of many examples inside vmap; return it from the function, and convert the result")


class _Levels(threading.local):
    """The vmaps that are running in this thread, from the outside in: pairs (level, number of examples)."""

    def __init__(self) -> None:
        self.running: tuple[tuple[int, int], ...] = ()
        self.numbers = itertools.count(1)


levels = _Levels()


@contextmanager
def at_levels(running: tuple[tuple[int, int], ...]) -> Generator[None]:
    """Return a context in which other vmaps count as running."""
    before = levels.running
    levels.running = running
    try:
        yield
    finally:
        levels.running = before


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return table.PRIMITIVES["reshape"](x, shape=shape)


def _front(x: Tensor, axis: int) -> Tensor:
    """Return x with an axis moved to the front."""
    return x if axis == 0 else table.PRIMITIVES["permute_dims"](x, axes=(axis, *(i for i in range(x.ndim) if i != axis)))


def _repeat(x: Tensor, size: int) -> Tensor:
    """Return x repeated along a new axis 0; no memory is copied."""
    return table.PRIMITIVES["broadcast_to"](_reshape(x, (1, *x.shape)), shape=(size, *x.shape))


def extract(x: Tensor, level: int) -> Tensor | None:
    """Return x with the batch of a level as an axis 0 that can be seen; None if x is the same for all its examples."""
    if not isinstance(x, Batched) or x.level < level:
        return None
    if x.level == level:
        return x.base
    inner = extract(x.base, level)
    return None if inner is None else Batched(_front(inner, 1), x.level)


def enter(x: Tensor, level: int) -> Tensor:
    """Return x with its axis 0 hidden as the batch of a level: the reverse of `extract`."""
    if isinstance(x, Batched) and x.level > level:
        return Batched(enter(_front(x.base, 1), level), x.level)
    return Batched(x, level)


def lower(x: Tensor, running: Sequence[tuple[int, int]]) -> Tensor:
    """Return x with the batches of levels as its first axes, repeated where x is the same for all examples."""
    for level, size in reversed(running):
        whole = extract(x, level)
        x = _repeat(x, size) if whole is None else whole
    return x


def wrap(x: Tensor, running: Sequence[tuple[int, int]]) -> Tensor:
    """Return x with its first axes hidden as the batches of levels: the reverse of `lower`."""
    for level, _ in running:
        x = enter(x, level)
    return x


def _align(x: Tensor, front: int, ndim: int) -> Tensor:
    """Return x with axes of length 1 after the first `front` ones, so that it has `ndim` axes."""
    return x if x.ndim == ndim else _reshape(x, (*x.shape[:front], *(1,) * (ndim - x.ndim), *x.shape[front:]))


def expand(batched: Sequence[bool], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return inputs with those that are not batched repeated along a new axis 0."""
    size = next(x.shape[0] for x, has in zip(inputs, batched, strict=True) if has)
    return [x if has else _repeat(x, size) for x, has in zip(inputs, batched, strict=True)]


def call_batched(op: "Primitive", inputs: Sequence[Tensor], params: dict[str, Any]) -> Any:
    """Call an operation on inputs of which some are Batched."""
    level = max(x.level for x in inputs if isinstance(x, Batched))
    if all(level != running for running, _ in levels.running):
        raise InputError(f"{op.name}: a Tensor from inside vmap is used after it has ended; return it from the function instead")
    flags = tuple(isinstance(x, Batched) and x.level == level for x in inputs)
    bases = [x.base if isinstance(x, Batched) and x.level == level else x for x in inputs]
    if op.form == "elementwise":
        ndim = max(x.ndim for x in inputs)
        out = op(*(_align(x, 1, ndim + 1) if has else x for x, has in zip(bases, flags, strict=True)), **params)
    elif op.batch is not None:
        out = op.batch(op, flags, bases, params)
    else:
        out = _loop(op, flags, bases, params)
    return Batched(out, level) if isinstance(out, Tensor) else tuple([Batched(x, level) for x in out])


def _loop(op: "Primitive", flags: tuple[bool, ...], bases: list[Tensor], params: dict[str, Any]) -> Any:
    """Call an operation on one example after another and stack the results."""
    size = next(x.shape[0] for x, has in zip(bases, flags, strict=True) if has)
    if not size:
        raise InputError(f"vmap: operation {op.name!r} works example by example, and there are none; give at least one")
    outs = [op(*(x[i] if has else x for x, has in zip(bases, flags, strict=True)), **params) for i in range(size)]
    if isinstance(outs[0], Tensor):
        return _stack(outs)
    return tuple([_stack(parts) for parts in zip(*outs, strict=True)])


def _stack(parts: Sequence[Tensor]) -> Tensor:
    return table.PRIMITIVES["concat"](*(_reshape(x, (1, *x.shape)) for x in parts), axis=0)


def by_axes(*names: str) -> BatchRule:
    """Return the batch rule of an operation in which named parameters (an axis, or several in a tuple; None stays) count axes from 0.

    They are raised by one. Without names the operation does not look at axes at all.
    """

    def rule(op: "Primitive", batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Any:
        raised = {name: _raised(value) if name in names else value for name, value in params.items()}
        return op(*expand(batched, inputs), **raised)

    return rule


def _raised(axis: Any) -> Any:
    if axis is None:
        return None
    return axis + 1 if isinstance(axis, int) else tuple([i + 1 for i in axis])


def over_leading(*core_axes: int) -> BatchRule:
    """Return the batch rule of an operation on the last axes of its inputs (so many for each) that broadcasts over the axes before."""

    def rule(op: "Primitive", batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Any:
        leading = max(x.ndim - has - k for x, has, k in zip(inputs, batched, core_axes, strict=True))
        aligned = [_align(x, 1, 1 + leading + k) if has else x for x, has, k in zip(inputs, batched, core_axes, strict=True)]
        return op(*aligned, **params)

    return rule
