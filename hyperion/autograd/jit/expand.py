"""Operations written out as smaller ones of the table, so that products reach BLAS and what is around them fuses: rows of EXPANSIONS."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.jit.ir import Code, Step, Value, compute
from hyperion.autograd.table import PRIMITIVES

__all__ = ["EXPANSIONS", "expand"]

WIDE = 512              # columns from which sums over rows are shared among threads well
REALS = (np.dtype(np.float32), np.dtype(np.float64))


class _Writer:
    """Makes the steps that stand for one step."""

    def __init__(self, numbers: "itertools.count[int]", place: str) -> None:
        self.numbers = numbers
        self.place = place
        self.steps: list[Step] = []

    def __call__(self, name: str, *inputs: Value, **params: Any) -> Value:
        """Add a call of a primitive and return what it makes: shapes as NumPy finds them, from arrays without memory."""
        op = PRIMITIVES[name]
        (like,) = compute(op, [np.broadcast_to(np.zeros((), x.dtype), x.shape) for x in inputs], params) if name != "matmul" else \
            (np.broadcast_to(np.zeros((), inputs[0].dtype), (*inputs[0].shape[:-1], inputs[1].shape[-1])),)
        out = Value(next(self.numbers), like.shape, like.dtype)
        self.steps.append(Step(op, inputs, params, [out], self.place))
        return out

    def turned(self, x: Value) -> Value:
        return self("permute_dims", x, axes=(1, 0))

    def rows(self, x: Value) -> Value:
        shape = (math.prod(x.shape[:-1]), x.shape[-1])
        return x if x.shape == shape else self("reshape", x, shape=shape)

    def shaped(self, x: Value, shape: tuple[int, ...]) -> Value:
        return x if x.shape == shape else self("reshape", x, shape=shape)


def _affine(new: _Writer, step: Step) -> list[Value | None]:
    """x W^T + b: rows of x times the transpose, plus the bias. In the shape of the result, so that the sum fuses with what follows."""
    x, weight, *bias = step.inputs
    out = new.shaped(new("matmul", new.rows(x), new.turned(weight)), step.outputs[0].shape)
    return [new("add", out, bias[0]) if bias else out]


def _affine_back(new: _Writer, step: Step) -> list[Value | None]:
    """g W, g^T x and the sum of g over rows, those that are wanted."""
    g, _, x, weight, *bias = step.inputs
    pull: Any = step.op
    to_x, to_weight = pull.wanted[:2]
    has_bias = bool(bias) and len(step.outputs) > to_x + to_weight      # the pull gives it whether it is wanted or not
    sums = (lambda: new("sum", g, axis=tuple(range(len(g.shape) - 1)), keepdims=False)) if has_bias else lambda: None
    # Before the products need g in memory the sum fuses with what makes g; then threads share columns only, of which there must be enough.
    early = sums() if g.shape[-1] >= WIDE else None
    rows = new.rows(g)
    out: list[Value | None] = []
    if to_x:
        out.append(new.shaped(new("matmul", rows, weight), x.shape))
    if to_weight:
        out.append(new("matmul", new.turned(rows), new.rows(x)))
    if has_bias:
        out.append(early or sums())
    return out


def _reshape_back(new: _Writer, step: Step) -> list[Value | None]:
    return [new("reshape", step.inputs[0], shape=step.outputs[0].shape)]


def _split_heads(new: _Writer, step: Step) -> list[Value | None]:
    """Views of rows of heads: (..., tokens, heads * size) as parts (..., count, tokens, size)."""
    (x,), size = step.inputs, step.params["size"]
    lead = len(x.shape) - 2
    parted = new("reshape", x, shape=(*x.shape[:-1], x.shape[-1] // size, size))
    turned = new("permute_dims", parted, axes=(*range(lead), lead + 1, lead, lead + 2))
    ends = [0, *itertools.accumulate(step.params["counts"])]
    return [new("getitem", turned, index=(Ellipsis, slice(low, high), slice(None), slice(None))) for low, high in itertools.pairwise(ends)]


# Rows: name of a step, and what it is written out as.
EXPANSIONS: dict[str, Callable[[_Writer, Step], list[Value | None]]] = {
    "affine": _affine, "pull_affine": _affine_back, "pull_reshape": _reshape_back, "split_heads": _split_heads,
}


def expand(code: Code) -> Code:
    """Apply the rows of EXPANSIONS, to arrays of float32 and float64."""
    values = (*code.inputs, *(x for step in code.steps for x in (*step.inputs, *step.outputs)))
    numbers = itertools.count(max((x.number for x in values), default=0) + 1)
    new: dict[Value, Value] = {}
    steps: list[Step] = []
    for step in code.steps:
        inputs = [new.get(x, x) for x in step.inputs]
        rule = EXPANSIONS.get(step.name)
        plain = rule is not None and all(x.dtype == step.outputs[0].dtype and x.dtype in REALS and x.size for x in (*inputs, *step.outputs))
        if rule is None or not plain:
            outputs = [Value(x.number, x.shape, x.dtype) for x in step.outputs]
            steps.append(Step(step.op, inputs, step.params, outputs, step.place))
            new.update(zip(step.outputs, outputs, strict=True))
            continue
        writer = _Writer(numbers, step.place)
        outs = rule(writer, Step(step.op, inputs, step.params, [Value(x.number, x.shape, x.dtype) for x in step.outputs], step.place))
        steps += writer.steps
        for old, found in zip(step.outputs, outs, strict=True):
            if found is not None:
                new[old] = found
    return Code(code.inputs, steps, [new.get(x, x) for x in code.results], code.captured)
