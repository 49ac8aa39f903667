"""Fusion: elementwise steps of one shape, and sums over what they make, become one loop that reads and writes memory once.

A group stays open while nobody outside has used what it makes. So it may be computed where its last step stood: everything it reads was
made before, and everything that reads it comes later.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.views import View, contiguous
from hyperion.autograd.table import Primitive
from hyperion.codegen.elementwise import Symbol, value_text
from hyperion.codegen.loops import TYPES, Loop, LoopWriter, Operand

__all__ = ["HEAVIEST", "Group", "Reading", "real_of", "summed_axes", "weight_of"]

REALS = (np.dtype(np.float32), np.dtype(np.float64))
BOOL = np.dtype(np.bool_)
CASTS = ("astype", "cast")
TRUTHS = frozenset((
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
    "isnan", "isfinite", "isinf", "isposinf", "isneginf", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "where",
))
SUMS = ("sum", "mean", "sum_to")
HEAVIEST = 300          # weight of a loop: beyond it does not stay in registers, and compiles slowly
_weights: dict[Any, int] = {}


def real_of(step: Step) -> Any:
    """Return the floating dtype that a step computes in as part of a loop; None if it cannot be one; bool if any will do."""
    if not isinstance(step.op, Primitive) or len(step.outputs) != 1 or not step.outputs[0].size:
        return None
    out = step.outputs[0].dtype
    inputs = [x.dtype for x in step.inputs if x.constant is None]
    if step.name in CASTS:
        (x,) = step.inputs
        if out in REALS and x.dtype.name in TYPES:
            return out
        return x.dtype if out == BOOL and x.dtype in REALS else None
    if step.op.form != "elementwise":
        return None
    if any(x.constant is not None and x.dtype.kind not in "biuf" for x in step.inputs):
        return None
    reals = {dtype for dtype in (*inputs, out) if dtype != BOOL}
    if len(reals) > 1 or not reals <= set(REALS) or (out == BOOL and step.name not in TRUTHS):
        return None
    return reals.pop() if reals else BOOL


def weight_of(step: Step) -> int:
    """Return what a step adds to a loop: lines of C, a function counting as eight; 0 if its formula has no C text, or too much."""
    if step.name in CASTS:
        return 1
    op: Any = step.op
    try:
        key = (op.name, tuple([x.constant is not None for x in step.inputs]), tuple(sorted(step.params.items())))
        known = _weights.get(key)
    except TypeError:
        return 0
    if known is None:
        writer = LoopWriter()
        symbols = [Symbol(writer, f"p{k}") if x.constant is None else 0.5 for k, x in enumerate(step.inputs)]
        try:
            out = op.forward(writer, *symbols, **step.params)
            known = len(writer.lines) + 7 * sum("_of(" in line for line in writer.lines) + 1
            known = known if isinstance(out, Symbol) and known <= HEAVIEST else 0
        except (AttributeError, TypeError, ValueError):     # no C text for a function of the namespace, or for Python's own
            known = 0
        _weights[key] = known
    return known


def summed_axes(step: Step) -> tuple[int, ...] | None:
    """Return the axes that a step sums over; None if it is no sum that a loop can do."""
    if not isinstance(step.op, Primitive) or step.name not in SUMS or not step.inputs[0].size:
        return None
    x, out = step.inputs[0], step.outputs[0]
    if x.dtype not in REALS or out.dtype != x.dtype or x.constant is not None:
        return None
    if step.name != "sum_to":
        return tuple(step.params["axis"])
    extra = len(x.shape) - len(out.shape)
    return (*range(extra), *(extra + i for i, n in enumerate(out.shape) if n == 1 and x.shape[extra + i] != 1))


class Reading:
    """A loop made ready: its text, its dtype and its numbers.

    inputs: where the arrays lie that it reads.  stored, results: what it stores, and what its sums give; together the outputs.
    lengths: of the axes.  strides: of the arrays read and stored, along them.  divisors: of the sums.  units: of work.
    """

    def __init__(
        self, loop: Loop, dtype: str, inputs: Sequence[View], stored: Sequence[Value], results: Sequence[Value], lengths: Sequence[int],
        strides: Sequence[Sequence[int]], divisors: Sequence[int], names: Sequence[str],
    ) -> None:
        self.loop = loop
        self.dtype = dtype
        self.inputs = list(inputs)
        self.stored = list(stored)
        self.results = list(results)
        self.outputs = [*stored, *results]
        self.lengths = list(lengths)
        self.strides = [list(s) for s in strides]
        self.divisors = list(divisors)
        self.units = loop.units(lengths)
        self.names = list(names)

    def __repr__(self) -> str:
        out, given = (", ".join(map(repr, values)) for values in (self.outputs, [view.root for view in self.inputs]))
        kind = "" if self.loop.kind == "map" else f" with sums ({self.loop.kind})"
        return f"{out} = loop({given}) over {tuple(self.lengths)}{kind}: {', '.join(self.names)}"


class Group:
    """Steps of one shape that become one loop. real: dtype it computes in.  axes: those that sums go over, if there are any."""

    def __init__(self, shape: tuple[int, ...], real: Any) -> None:
        self.shape = shape
        self.real = real
        self.steps: list[Step] = []
        self.sums: list[Step] = []
        self.axes: tuple[int, ...] | None = None
        self.made: set[Value] = set()
        self.weight = 0

    def __repr__(self) -> str:
        return f"loop over {self.shape}: {', '.join(step.name for step in (*self.steps, *self.sums))}"

    def add(self, step: Step) -> None:
        self.steps.append(step)
        self.weight += weight_of(step)
        self.made.update(step.outputs)

    def fits(self, step: Step, axes: tuple[int, ...]) -> bool:
        """Tell whether a sum over axes of a value of this group can join."""
        return self.axes in (None, axes) and step.outputs[0].dtype == self.real

    def add_sum(self, step: Step, axes: tuple[int, ...]) -> None:
        self.sums.append(step)
        self.axes = axes

    def join(self, other: "Group") -> bool:
        """Take in the steps of another open group, if both can be one."""
        if other.shape != self.shape or other.real != self.real or (None not in (self.axes, other.axes) and self.axes != other.axes):
            return False
        if self.weight + other.weight > HEAVIEST:
            return False
        self.steps += other.steps
        self.weight += other.weight
        self.sums += other.sums
        self.made |= other.made
        self.axes = self.axes if other.axes is None else other.axes
        return True

    # From steps to a loop

    def ready(self, views: dict[Value, View], stored: set[Value]) -> "Reading | None":
        """Return the loop; None if no kernel has the order of its axes.

        views: of the values from outside.  stored: values that somebody outside uses.
        """
        writer = LoopWriter()
        inputs: list[Value] = []
        symbols: dict[Value, Any] = {}

        def symbol(x: Value) -> Any:
            if x.constant is not None:
                return float(x.constant.flat[0])
            if x not in symbols:
                symbols[x] = Symbol(writer, f"p{len(inputs)}")
                inputs.append(x)
            return symbols[x]

        for step in self.steps:
            given = [symbol(x) for x in step.inputs]
            op: Any = step.op
            symbols[step.outputs[0]] = _cast(writer, step, given[0]) if step.name in CASTS else op.forward(writer, *given, **step.params)
        sums = [symbol(step.inputs[0]) for step in self.sums]
        kept = [x for step in self.steps for x in step.outputs if x in stored]
        return self._ready(writer, [views[x] for x in inputs], [(x, value_text(symbols[x])) for x in kept], [value_text(x) for x in sums])

    def copying(self, view: View, to: Value) -> "Reading":
        """Return the loop that copies a view of an array of real numbers or bools."""
        found = self._ready(LoopWriter(), [view], [(to, "p0")], [])
        assert found is not None
        return found

    def filling(self, number: float, to: Value) -> "Reading":
        """Return the loop that fills an array with a number."""
        found = self._ready(LoopWriter(), [], [(to, value_text(number))], [])
        assert found is not None
        return found

    def _ready(
        self, writer: LoopWriter, inputs: Sequence[View], kept: Sequence[tuple[Value, str]], sums: Sequence[str]
    ) -> "Reading | None":
        order = self._order([view.spread(self.shape) for view in inputs] + [contiguous(self.shape)] * len(kept))
        if order is None:
            return None
        kind, lengths, lead, strides = order
        inner = [s[-1] if s[-1] in (0, 1) else None for s in strides]
        operands = [Operand(view.root.dtype.name, s) for view, s in zip(inputs, inner, strict=False)]
        operands += [Operand(x.dtype.name, s or None, text) for (x, text), s in zip(kept, inner[len(inputs):], strict=True)]
        loop = Loop(kind, len(lengths), lead, tuple(writer.lines), tuple(operands), tuple(sums))
        divisors = [self._count() if step.name == "mean" else 1 for step in self.sums]
        names = [step.name for step in (*self.steps, *self.sums)] or ["copy"]
        results = [step.outputs[0] for step in self.sums]
        return Reading(loop, self.real.name, inputs, [x for x, _ in kept], results, lengths, strides, divisors, names)

    def _count(self) -> int:
        return math.prod(self.shape[axis] for axis in self.axes or ())

    def _order(self, strides: Sequence[Sequence[int]]) -> tuple[str, list[int], int, list[list[int]]] | None:
        """Return the kind of kernel, the axes' lengths with neighbours merged, the number of leading ones, and strides like them."""
        summed = set(self.axes or ())
        lengths: list[int] = []
        flags: list[bool] = []
        own: list[list[int]] = [[] for _ in strides]
        for i, n in enumerate(self.shape):
            if n == 1:
                continue
            flag = i in summed
            if lengths and flags[-1] == flag and all(s[-1] == one[i] * n for s, one in zip(own, strides, strict=True)):
                lengths[-1] *= n
                for s, one in zip(own, strides, strict=True):
                    s[-1] = one[i]
                continue
            lengths.append(n)
            flags.append(flag)
            for s, one in zip(own, strides, strict=True):
                s.append(one[i])
        if not lengths:
            lengths, flags = [1], [bool(self.sums)]
            for s in own:
                s.append(1)
        rank = len(lengths)
        if not self.sums:
            return "map", lengths, rank, own
        if all(flags):
            return "all", lengths, 0, own
        if not any(flags):          # sums over axes of length 1: each is its one element
            lengths.append(1)
            for s in own:
                s.append(0)
            return "rows", lengths, rank, own
        lead = flags.index(True)
        if all(flags[lead:]):
            return "rows", lengths, lead, own
        return ("columns", lengths, lead, own) if all(flags[lead:-1]) and not flags[-1] else None


def _cast(writer: LoopWriter, step: Step, x: Any) -> Any:
    return writer.test(x, "!=", 0.0) if step.outputs[0].dtype == BOOL and step.inputs[0].dtype != BOOL else x

