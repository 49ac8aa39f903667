"""The passes: each takes a program and returns a better one that computes the same. PASSES is the list, in order.

A pass that replaces values hands out a dict {old: new}; steps are copied, so the program before stays as it was.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.jit.expand import expand
from hyperion.autograd.jit.ir import Code, Opaque, Step, Value, verify
from hyperion.autograd.table import Primitive

__all__ = ["PASSES", "SIMPLER", "dead_code", "fold", "optimised", "same_steps", "simplify"]

Pass = Callable[[Code], Code]


def _number(value: Value) -> float | None:
    """Return the number a value stands for, if it is one."""
    c = value.constant
    return None if c is None or c.dtype.kind not in "biuf" else c.flat[0].item()


def _second_is(number: float) -> Callable[[Step], Value | None]:
    """Return a rule: the first input, where the second is this number and changes neither shape nor dtype."""

    def rule(step: Step) -> Value | None:
        x, y = step.inputs
        return x if _number(y) == number and _alike(x, step.outputs[0]) else None

    return rule


def _first_is(number: float) -> Callable[[Step], Value | None]:
    def rule(step: Step) -> Value | None:
        x, y = step.inputs
        return y if _number(x) == number and _alike(y, step.outputs[0]) else None

    return rule


def _unchanged(step: Step) -> Value | None:
    """Return the input, where the output has its shape and dtype."""
    return step.inputs[0] if _alike(step.inputs[0], step.outputs[0]) else None


def _undone(step: Step) -> Value | None:
    """Return what the step before was given, where this one undoes it."""
    before = step.inputs[0].step
    return before.inputs[0] if before is not None and before.name == step.name else None


def _permuted_back(step: Step) -> Value | None:
    axes = step.params["axes"]
    if axes == tuple(range(len(axes))):
        return step.inputs[0]
    before = step.inputs[0].step
    if before is None or before.name != "permute_dims" or tuple(before.params["axes"][i] for i in axes) != tuple(range(len(axes))):
        return None
    return before.inputs[0]


def _alike(x: Value, y: Value) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype


# Rows: name of an operation, what it means, and the rule (step) -> the value that may stand for its output, or None.
# x + 0 is not among them: it makes 0 of -0.
SIMPLER: tuple[tuple[str, str, Callable[[Step], Value | None]], ...] = (
    ("multiply", "x * 1 = x", _second_is(1.0)),
    ("multiply", "1 * x = x", _first_is(1.0)),
    ("divide", "x / 1 = x", _second_is(1.0)),
    ("negative", "-(-x) = x", _undone),
    ("conj", "conj(conj(x)) = x", _undone),
    ("positive", "+x = x", _unchanged),
    ("identity", "identity(x) = x", _unchanged),
    ("constant_of", "constant_of(x) = x", _unchanged),
    ("astype", "in its own dtype", _unchanged),
    ("reshape", "to its own shape", _unchanged),
    ("broadcast_to", "to its own shape", _unchanged),
    ("sum_to", "to its own shape", _unchanged),
    ("permute_dims", "and back", _permuted_back),
)


def simplify(code: Code) -> Code:
    """Apply the rows of SIMPLER."""
    new: dict[Value, Value] = {}
    steps: list[Step] = []
    for step in code.steps:
        step = _with(step, new)
        if isinstance(step.op, Primitive) and len(step.outputs) == 1:
            found = next((y for name, _, rule in SIMPLER if name == step.name and (y := rule(step)) is not None), None)
            if found is not None:
                new[step.outputs[0]] = found
                continue
        steps.append(step)
    return _finished(code, steps, new)


def fold(code: Code) -> Code:
    """Compute steps whose inputs are numbers now."""
    new: dict[Value, Value] = {}
    steps: list[Step] = []
    for step in code.steps:
        step = _with(step, new)
        plain = isinstance(step.op, Primitive) and len(step.outputs) == 1 and step.outputs[0].shape == ()
        if plain and step.inputs and all(x.constant is not None for x in step.inputs):
            (array,) = step.compute([x.constant for x in step.inputs])
            old = step.outputs[0]
            new[old] = Value(old.number, old.shape, old.dtype, np.asarray(array))
            continue
        steps.append(step)
    return _finished(code, steps, new)


def same_steps(code: Code) -> Code:
    """Compute once what is computed twice from the same values with the same parameters."""
    new: dict[Value, Value] = {}
    known: dict[Any, Step] = {}
    steps: list[Step] = []
    for step in code.steps:
        step = _with(step, new)
        key = _key(step)
        if key is not None and key in known:
            new.update(zip(step.outputs, known[key].outputs, strict=True))
            continue
        if key is not None:
            known[key] = step
        steps.append(step)
    return _finished(code, steps, new)


def _key(step: Step) -> Any:
    """Return what a step is known by; None if that cannot be told."""
    if isinstance(step.op, Opaque):
        return None
    inputs = tuple([(x.dtype, x.shape, x.constant.flat[0].tobytes()) if x.constant is not None else x for x in step.inputs])
    key = (step.op.name, id(step.op), inputs, tuple(sorted(step.params.items())))
    try:
        hash(key)
    except TypeError:
        return None
    # 1.0, 1 and True are equal keys of a dict, but not equal parameters.
    return key, tuple([value.__class__.__name__ for value in step.params.values()])


def dead_code(code: Code) -> Code:
    """Leave out what no result depends on. Steps with an effect stay."""
    needed = set(code.results)
    steps: list[Step] = []
    for step in reversed(code.steps):
        if step.effect or any(value in needed for value in step.outputs):
            needed.update(step.inputs)
            steps.append(step)
    return Code(code.inputs, steps[::-1], code.results, code.captured)


PASSES: tuple[tuple[str, Pass], ...] = (
    ("expand", expand), ("simplify", simplify), ("fold", fold), ("same_steps", same_steps), ("simplify again", simplify),
    ("dead_code", dead_code),
)


def optimised(code: Code, note: Callable[[str, Code], None] = lambda name, code: None) -> Code:
    """Return a program after all passes, checked after each. note: called with the name and the program after each."""
    for name, change in PASSES:
        code = change(code)
        verify(code, name)
        note(name, code)
    return code


def _with(step: Step, new: dict[Value, Value]) -> Step:
    """Return a copy of a step that uses the new values. Its outputs are copied too, since a value knows one step."""
    outputs = [Value(x.number, x.shape, x.dtype) for x in step.outputs]
    made = Step(step.op, [_last(x, new) for x in step.inputs], step.params, outputs, step.place)
    new.update(zip(step.outputs, outputs, strict=True))
    return made


def _finished(code: Code, steps: list[Step], new: dict[Value, Value]) -> Code:
    return Code(code.inputs, steps, [_last(x, new) for x in code.results], code.captured)


def _last(value: Value, new: dict[Value, Value]) -> Value:
    while value in new:
        value = new[value]
    return value
