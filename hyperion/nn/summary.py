"""What a network is made of and what it costs: shapes, parameters, operations and memory of every Module, for one input.

Floating-point operations are counted from the operations that are recorded when the network runs, not by formulas for layers: so attention,
losses and your own code are counted too. A matrix product or convolution counts 2 for each multiplication with addition, a Fourier
transform 5 n log2(n) (half of it for a real one), an elementwise operation 1 for each element of its result, any other operation that
computes 1 for each element it reads; views and copies count nothing.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, flatten
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Leaf, Node, recording, tick
from hyperion.autograd.sweeps import Trace
from hyperion.errors import InputError
from hyperion.nn.module import Module

__all__ = ["Summary", "summary"]

Shapes = list[tuple[int, ...]]


def _contract(shapes: Shapes, out: tuple[int, ...], params: dict[str, Any]) -> int:
    left, right, _ = params["axes"]
    return 2 * math.prod(dict(zip((*left, *right), (*shapes[0], *shapes[1]), strict=True)).values())


def _transform(shapes: Shapes, out: tuple[int, ...], params: dict[str, Any]) -> int:
    size = max(math.prod(shapes[0]), math.prod(out))
    lengths = math.prod(max(shapes[0][axis], out[axis]) for axis in params["axes"])
    return round(5 * size * math.log2(max(lengths, 1)))


# What a product costs, from the shapes of its inputs, that of its result, and its parameters.
PRODUCTS: dict[str, Callable[[Shapes, tuple[int, ...], dict[str, Any]], int]] = {
    "matmul": lambda shapes, out, params: 2 * math.prod(out) * shapes[0][-1],
    "affine": lambda shapes, out, params: math.prod(out) * (2 * shapes[0][-1] + len(shapes) - 2),
    "contract": _contract,
    "conv": lambda shapes, out, params: 2 * math.prod(out) * math.prod(shapes[1][1:]),
    "conv_input": lambda shapes, out, params: 2 * math.prod(shapes[0]) * math.prod(shapes[1][1:]),
    "conv_weight": lambda shapes, out, params: 2 * math.prod(shapes[1]) * math.prod(out[1:]),
    "attention": lambda shapes, out, params: 2 * math.prod(shapes[0][:-1]) * shapes[1][-2] * (shapes[0][-1] + shapes[2][-1]),
    "fft": _transform,
    "rfft": lambda shapes, out, params: _transform(shapes, out, params) // 2,
    "irfft": lambda shapes, out, params: _transform(shapes, out, params) // 2,
}
# Operations that only move numbers, or say where they are.
MOVES = {
    "add_along_axis", "add_rows", "astype", "broadcast_to", "cast", "concat", "diag_embed", "diagonal", "flip", "fold_edge", "getitem",
    "hook_on", "identity", "join_heads", "pad", "pad_edge", "permute_dims", "put", "reshape", "roll", "scatter", "shift",
    "split_heads", "take_along_axis", "take_rows", "to_device", "unfold", "write",
}


def _cost(node: Node) -> int:
    """Return the floating-point operations of a recorded call."""
    op: Any = node.op
    outputs: Any = [node.output] if op.outputs == 1 else list(node.output)      # pyright: ignore[reportArgumentType]
    shapes = [x.shape for x in node.inputs or ()]
    if op.name in PRODUCTS:
        return PRODUCTS[op.name](shapes, outputs[0].shape, node.params)
    if op.name in MOVES:
        return 0
    if op.form == "elementwise":
        return math.prod(outputs[0].shape)
    return sum(math.prod(x.shape) for x in node.inputs or () if is_inexact(x.dtype))


class _Row:
    """What is known of one Module: the calls of it, as stretches of the recording, and what it returned last."""

    def __init__(self, name: str, module: Module) -> None:
        self.name, self.module = name, module
        self.calls: list[tuple[int, int]] = []
        self.output: Any = None
        self.parameters = sum(x.size for x in module.parameters())
        self.frozen = sum(x.size for x in module.named_buffers().values())
        self.flops = self.kept = 0


class Summary:
    """The table that `summary` makes. Print it, or read its numbers.

    parameters, frozen: how many trained numbers there are, and others in the state (buffers and frozen parameters).
    flops: floating-point operations of one forward run.  A backward run takes about twice as many.
    weight_bytes: memory of parameters and the rest of the state.  kept_bytes: memory of results that are kept for the backward run.
    rows: for each Module its path, kind, output shape, parameters, flops and kept bytes; those of its parts are in its numbers.
    """

    def __init__(self, rows: list[_Row], weight_bytes: int) -> None:
        self.rows = [
            (row.name, type(row.module).__name__, _shapes(row.output), row.parameters, row.flops, row.kept) for row in rows
        ]
        self.parameters, self.frozen, self.flops, self.kept_bytes = rows[0].parameters, rows[0].frozen, rows[0].flops, rows[0].kept
        self.weight_bytes = weight_bytes

    def __repr__(self) -> str:
        lines = [("Module", "kind", "output", "parameters", "FLOPs", "kept")]
        for name, kind, shape, parameters, flops, kept in self.rows:
            depth = name.count(".") + 1 if name else 0
            lines.append(("  " * depth + (name or "(all)"), kind, shape, f"{parameters:,}", f"{flops:,}", _bytes(kept)))
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        table = [
            "  ".join(cell.ljust(width) if i < 3 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
            for line in lines
        ]
        ends = f"{self.parameters:,} parameters, {self.frozen:,} other numbers in the state: {_bytes(self.weight_bytes)}; "
        ends += f"forward {self.flops:,} FLOPs, {_bytes(self.kept_bytes)} kept for backward"
        return "\n".join([table[0], "-" * len(table[0]), *table[1:], "-" * len(table[0]), ends])


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _shapes(value: Any) -> str:
    found = [str(x.shape) for x in _tensors(value)]
    return "not called" if value is None else ", ".join(found) or type(value).__name__


def _tensors(value: Any) -> list[Tensor]:
    return [x for x in flatten(value)[0] if isinstance(x, Tensor)]


def _watched(row: _Row) -> Callable[..., Any]:
    inner = row.module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        start = tick()
        row.output = inner(*args, **kwargs)
        row.calls.append((start, tick()))
        return row.output

    return forward


def summary(model: Module, *inputs: Any, **named: Any) -> Summary:
    """Return a table of a network's Modules: output shapes, parameters, floating-point operations, and memory kept for a backward run.

    inputs, named: what the model is called with. It runs once, in evaluation behaviour, and is left as it was.
    Operations are counted from what is recorded (see the top of this file); what does not lead to the output is not counted.
    Raises: InputError if the model is no Module or the output holds no Tensor; otherwise what the model raises.

    >>> import hyperion as hp
    >>> from hyperion import nn
    >>> print(summary(nn.Sequential(nn.Linear(3, 4), nn.Activation(hp.tanh), nn.Linear(4, 1)), hp.ones((5, 3))))
    Module  kind        output  parameters  FLOPs   kept
    ----------------------------------------------------
    (all)   Sequential  (5, 1)          21    205  180 B
      0     Linear      (5, 4)          16    140   80 B
      1     Activation  (5, 4)           0     20   80 B
      2     Linear      (5, 1)           5     45   20 B
    ----------------------------------------------------
    21 parameters, 0 other numbers in the state: 84 B; forward 205 FLOPs, 180 B kept for backward
    """
    if not isinstance(model, Module):
        raise InputError(f"summary(model): model is a {type(model).__name__}; it must be a Module")
    rows = [_Row(name, module) for name, module in model.named_modules()]
    modules = list({id(row.module): row.module for row in rows}.values())
    modes = [(module, module.training) for module in modules]
    constants = [
        (module, name, value) for module in modules for name, value in module.__dict__.items()
        if isinstance(value, Tensor) and not value.tracked and is_inexact(value.dtype)
    ]
    state = {id(x): x for x in (*model.parameters(), *model.named_buffers().values())}.values()
    try:
        model.eval()
        for module, name, value in constants:
            object.__setattr__(module, name, Tensor(value.data, Leaf()))        # tracked, so that every operation is recorded
        first: set[int] = set()
        for row in rows:
            if id(row.module) not in first:
                first.add(id(row.module))
                object.__setattr__(row.module, "forward", _watched(row))
        with recording(True):
            out = model(*(_tracked(x) for x in inputs), **{key: _tracked(x) for key, x in named.items()})
    finally:
        for module, name, value in constants:
            object.__setattr__(module, name, value)
        for module, mode in modes:
            object.__setattr__(module, "training", mode)
            module.__dict__.pop("forward", None)
    found = _tensors(out)
    if not found:
        raise InputError(f"summary(model, inputs): the model returned a {type(out).__name__} without Tensors; there is nothing to count")
    _count(rows, Trace([x for x in found if x.node is not None]).nodes)
    return Summary(rows, sum(x.size * x.dtype.itemsize for x in state))


def _tracked(value: Any) -> Any:
    """Return an input as it is, but tracked if it is floating."""
    if not isinstance(value, Tensor | np.ndarray | float | list):
        return value
    x = as_tensor(value)
    return Tensor(x.data, Leaf()) if is_inexact(x.dtype) else x


def _owner(array: Any) -> Any:
    """Return the array whose memory an array looks at."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array


def _count(rows: list[_Row], nodes: list[Node]) -> None:
    """Add to every row the cost of the recorded calls within it, and the bytes of their results; views of others and inputs take none."""
    owned = {id(_owner(x.data)) for node in nodes for x in node.inputs or () if x.node is None or x.node.op is None}
    for node in nodes:
        cost, kept = _cost(node), 0
        for array in node.output if isinstance(node.output, tuple) else (node.output,):
            owner = _owner(array)
            if id(owner) not in owned:
                owned.add(id(owner))
                kept += owner.nbytes
        for row in rows:
            if any(start < node.order < end for start, end in row.calls):
                row.flops += cost
                row.kept += kept
