"""The intermediate representation: a straight line of steps over typed values, each written once.

A step is a call of a primitive of the table, or something beside it that works on raw arrays as well: the pull-back of a primitive, a draw
of random numbers, a step of an optimiser. Shapes and dtypes are those met when the function was recorded. Every step can be computed by
NumPy; what the compiler does with it is decided later.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.graph import recording, state
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.errors import GraphError

__all__ = ["Call", "Code", "Opaque", "Step", "Value", "verify"]

SHORT = {"float": "f", "int": "i", "uint": "u", "complex": "c", "bfloat": "bf"}


class Value:
    """One array of a program: its shape and dtype, and the step that makes it (None: it comes from outside).

    number: its name in the text.  constant: the array it stands for, if that is one number, repeated or not, which never changes.
    """

    __slots__ = ("constant", "dtype", "number", "shape", "step")

    def __init__(self, number: int, shape: tuple[int, ...], dtype: np.dtype[Any], constant: Any = None) -> None:
        self.number = number
        self.shape = shape
        self.dtype = dtype
        self.constant = constant
        self.step: Step | None = None

    def __repr__(self) -> str:
        return f"v{self.number}" if self.constant is None else repr(self.constant.flat[0].item())

    @property
    def kind(self) -> str:
        """Its type as text: f32[20,3]."""
        name = self.dtype.name
        letters = name.rstrip("0123456789")
        return f"{SHORT.get(letters, letters)}{name[len(letters):]}[{','.join(map(str, self.shape))}]"

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


class Opaque:
    """What a step does that is no call of a primitive.

    name: in the text.  compute(arrays, params): the arrays it makes, a tuple.  effect: whether it changes something outside (a count of
    draws, parameters): then it stays, and in order.
    """

    __slots__ = ("compute", "effect", "name", "primitive", "recipe", "wanted")

    def __init__(
        self, name: str, compute: Callable[[Sequence[Any], dict[str, Any]], tuple[Any, ...]], effect: bool = False,
        primitive: Primitive | None = None, wanted: tuple[bool, ...] = (), recipe: Any = None,
    ) -> None:
        self.name = name
        self.compute = compute
        self.effect = effect
        self.primitive = primitive      # of a pull-back: whose it is, and which cotangents are wanted
        self.wanted = wanted
        self.recipe = recipe            # of a step of an optimiser: how it is done natively (see updates)


Call = Primitive | Opaque


class Step:
    """One call: what is called, its inputs and parameters, and the values it makes. place: the line of the user's that led to it."""

    __slots__ = ("inputs", "op", "outputs", "params", "place")

    def __init__(
        self, op: Call, inputs: Sequence[Value], params: dict[str, Any], outputs: Sequence[Value], place: str = ""
    ) -> None:
        self.op = op
        self.inputs = list(inputs)
        self.params = params
        self.outputs = list(outputs)
        self.place = place
        for value in outputs:
            value.step = self

    @property
    def name(self) -> str:
        """The name of what is called."""
        return self.op.name

    @property
    def effect(self) -> bool:
        """Whether it changes something outside the program."""
        return isinstance(self.op, Opaque) and self.op.effect

    def __repr__(self) -> str:
        arguments = [*map(repr, self.inputs), *(f"{name}={_short(value)}" for name, value in self.params.items())]
        left = ", ".join(f"{value!r}: {value.kind}" for value in self.outputs)
        return f"{left} = {self.name}({', '.join(arguments)})"

    def compute(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arrays that the step makes of arrays, by NumPy."""
        if isinstance(self.op, Opaque):
            return self.op.compute(arrays, self.params)
        return compute(self.op, arrays, self.params)


class Code:
    """A program: what comes in, the steps in order, and what goes out.

    inputs, results: values; a result may be an input, and may come twice.  captured: the arrays behind the inputs that are the function's
    own constants, by value: looked at anew in every run, since their owner may write into them.
    """

    def __init__(self, inputs: Sequence[Value], steps: Sequence[Step], results: Sequence[Value], captured: dict[Value, Any]) -> None:
        self.inputs = list(inputs)
        self.steps = list(steps)
        self.results = list(results)
        self.captured = captured

    def __str__(self) -> str:
        lines = [f"  {value!r}: {value.kind} = {'captured' if value in self.captured else 'input'}" for value in self.inputs]
        return "\n".join([*lines, *(f"  {step!r}" for step in self.steps), f"  return {', '.join(map(repr, self.results))}"])

    def users(self) -> dict[Value, int]:
        """Return how often each value is used, results among the uses."""
        found: dict[Value, int] = {}
        for value in (*(x for step in self.steps for x in step.inputs), *self.results):
            found[value] = found.get(value, 0) + 1
        return found


def compute(op: Primitive, arrays: Iterable[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a primitive makes of arrays, as eager calls do; a tuple also of one output."""
    before = state.recorder
    state.recorder = None
    try:
        with recording(False):
            out = op(*[Tensor(array) for array in arrays], **params)
    finally:
        state.recorder = before
    return (out.data,) if isinstance(out, Tensor) else tuple([x.data for x in out])


def verify(code: Code, after: str) -> None:
    """Check that every value is written once and before it is used.

    after: the pass that was made last.
    Raises: GraphError that names the pass and the step: a mistake of the compiler's.
    """
    known = set(code.inputs)
    for step in code.steps:
        for value in step.inputs:
            if value not in known and value.constant is None:
                raise GraphError(f"jit: after the pass {after!r} the step {step!r} uses {value!r} before it is made")
        for value in step.outputs:
            if value in known:
                raise GraphError(f"jit: after the pass {after!r} the step {step!r} makes {value!r} a second time")
            known.add(value)
    for value in code.results:
        if value not in known and value.constant is None:
            raise GraphError(f"jit: after the pass {after!r} the result {value!r} is never made")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
