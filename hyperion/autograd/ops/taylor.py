"""Taylor coefficients of elementwise operations, and of chains of linear layers and activations, as operations of their own.

Both take a value and the stack of its coefficients along several directions, and have native kernels for float32 and float64 on the CPU.
Formulas of the kernels are made from the rules of the table: the plain way is run once on numbers, and its graph becomes C (see formulas).
Without a kernel, and for derivatives of their derivatives, the plain way itself serves (see series).

orders: how many coefficients each direction has, without the value; a stack is (sum(orders), *shape), direction after direction.
"""

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, at_levels, levels, lower, wrap
from hyperion.autograd.formulas import recording_whole, text_of
from hyperion.autograd.graph import Anchor, Leaf, Node, recording, state
from hyperion.autograd.ops.layers import affine
from hyperion.autograd.ops.shaping import concat, identity, reshape, stack
from hyperion.autograd.series import Coefficients, Series
from hyperion.autograd.sweeps import Trace, accumulate, sweep_backward, zeros_like
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.transforms import jvp, vjp
from hyperion.cpu import taylor as native
from hyperion.errors import CompilerError, SpeedWarning

__all__ = ["Activation", "has_text", "taylor_chain", "taylor_map"]

# The parameters of an operation as sorted pairs, and with it an elementwise operation of one variable.
Options = tuple[tuple[str, Any], ...]
Activation = tuple[Primitive, Options]
Orders = tuple[int, ...]
REALS = (np.dtype(np.float32), np.dtype(np.float64))


def _plain(op: Primitive, xs: Sequence[Tensor], rests: Sequence[Any], options: dict[str, Any], orders: Orders) -> Any:
    """Return op(*xs) and a list of its coefficients, None where zero; rests: the coefficients of each input, None of a constant."""
    parts = [None if rest is None else [rest[i] for i in range(sum(orders))] for rest in rests]
    running = levels.running
    if not any(isinstance(x, Batched) for x in (*xs, *rests)):
        return _plain_parts(op, xs, parts, options, orders)
    # Inside vmap: on the batches themselves, whose graph can be walked.
    with at_levels(()):
        lowered = [None if part is None else [lower(x, running) for x in part] for part in parts]
        out, found = _plain_parts(op, [lower(x, running) for x in xs], lowered, options, orders)
    return wrap(out, running), [None if x is None else wrap(x, running) for x in found]


def _plain_parts(op: Primitive, xs: Sequence[Tensor], parts: Sequence[Any], options: dict[str, Any], orders: Orders) -> Any:
    places = [identity(x) if x.tracked and state.recording else Tensor(x.data, Anchor()) for x in xs]
    with recording(True):
        out = op(*places, **options)
    found: list[Tensor | None] = []
    for start, order in zip(itertools.accumulate(orders, initial=0), orders, strict=False):
        known: dict[Node, Any] = {
            place.node: _range(part, start, order) for place, part in zip(places, parts, strict=True)
            if part is not None and place.node is not None
        }
        series = Series(known)
        series.visit(out.node, order)
        found += [series.of(out, k) for k in range(1, order + 1)]
        series.close()
    return out, found


def _range(parts: Sequence[Tensor], start: int, order: int) -> Coefficients:
    """Return the coefficients of one direction of a stack."""

    def of(k: int) -> Tensor | None:
        return parts[start + k - 1] if k <= order else None

    return of


def _stacked(out: Tensor, found: Sequence[Tensor | None]) -> Tensor:
    return stack([zeros_like(out) if c is None else c for c in found])


# Formulas


def _numbers(orders: Orders, count: int, letter: str) -> tuple[list[Tensor], dict[Node, str]]:
    """Return `count` stacks of leaves for numbers, and their names: x0_1.. for the coefficients of x0."""
    names: dict[Node, str] = {}
    stacks: list[Any] = []
    for i in range(count):
        leaves = [Tensor(np.array(0.25), Leaf()) for _ in range(sum(orders))]
        names |= {x.node: f"{letter}{i}_{c}" for c, x in enumerate(leaves, start=1) if x.node is not None}
        stacks.append(leaves)
    return stacks, names


class _Formula:
    """An elementwise operation and its coefficients, recorded on numbers.

    names: of the inputs' values (x0, x1..) and coefficients (x0_1, x0_2..).  out: the value.  found: the coefficients.
    """

    def __init__(self, op: Primitive, options: Options, orders: Orders, depends: tuple[bool, ...]) -> None:
        xs = [Tensor(np.array(0.5), Leaf()) for _ in depends]
        rests, self.names = _numbers(orders, len(depends), "x")
        self.names |= {x.node: f"x{i}" for i, x in enumerate(xs) if x.node is not None}
        self.out, self.found = _plain(op, xs, [rest if d else None for rest, d in zip(rests, depends, strict=True)], dict(options), orders)

    def forward(self, targets: Sequence[str | None]) -> str | None:
        """Return text that assigns the value and the coefficients to targets; None: it is not wanted."""
        results = zip(targets, [self.out, *self.found], strict=True)
        return text_of([(target, _number(x)) for target, x in results if target is not None], self.names)

    def backward(self, cotangents: Sequence[str | None], targets: dict[str, str], value: str | None) -> str | None:
        """Return text that assigns cotangents of inputs to targets, {name of the input: target}.

        cotangents: names of those of the value and the coefficients, None where there is none.
        value: the name of the operation's value; None: it is computed.
        """
        results = [self.out, *self.found]
        names = dict(self.names)
        pulled: dict[Node, Any] = {}
        for name, x in zip(cotangents, results, strict=True):
            if name is not None and x is not None and x.node is not None:
                leaf = Tensor(np.array(0.125), Leaf())
                names |= {leaf.node: name} if leaf.node is not None else {}
                accumulate(pulled, x, leaf)
        leaves = set(self.names)
        trace = Trace([x for x in results if x is not None], set(leaves))
        with recording(True):
            sweep_backward([node for node in trace.nodes if node.op is not None and node.op.differentiable], pulled, leaves)
        of_name = {name: pulled.get(node) for node, name in self.names.items()}
        if value is not None and self.out.node is not None:
            names[self.out.node] = value
        return text_of([(target, _number(of_name[name])) for name, target in targets.items()], names)


def _number(x: Tensor | None) -> Tensor:
    return Tensor(np.array(0.0)) if x is None else x


@functools.lru_cache(maxsize=1000)
def _formula(op: Primitive, options: Options, orders: Orders, depends: tuple[bool, ...]) -> _Formula | None:
    """Return the formula of an operation; None if it cannot be run on numbers."""
    try:
        return recording_whole(lambda: _Formula(op, options, orders, depends))
    except (AttributeError, TypeError, ValueError):
        return None


def _names(depends: tuple[bool, ...], orders: Orders) -> list[str]:
    """Return the names of all inputs of the map kernel, in its order: the inputs' values, and the coefficients of those that depend."""
    parts = [f"x{i}_{c}" for i, d in enumerate(depends) if d for c in range(1, sum(orders) + 1)]
    return [*(f"x{i}" for i in range(len(depends))), *parts]


@functools.lru_cache(maxsize=1000)
def _map_text(op: Primitive, options: Options, orders: Orders, depends: tuple[bool, ...], back: bool) -> str | None:
    """Return the lines of a map kernel, forward or back: the cotangents of all inputs."""
    formula = _formula(op, options, orders, depends)
    if formula is None:
        return None
    inputs, count = _names(depends, orders), sum(orders)
    head = [f"const real {x} = p{k};" for k, x in enumerate(inputs)]
    if back:
        gs = [f"g{c}" for c in range(count)]
        head += [f"const real {g} = p{len(inputs) + c};" for c, g in enumerate(gs)]
        body = recording_whole(lambda: formula.backward([None, *gs], {x: f"q{k}" for k, x in enumerate(inputs)}, None))
    else:
        body = recording_whole(lambda: formula.forward([None, *(f"q{c}" for c in range(count))]))
    return None if body is None else "\n".join([*(line for line in head if native.mentions(body, line.split()[2])), body])


@functools.lru_cache(maxsize=1000)
def _activation_text(activation: Activation, orders: Orders) -> native.Text | None:
    """Return the lines of an activation inside a chain, forward and back."""
    formula = _formula(*activation, orders, (True,))
    if formula is None:
        return None
    count = sum(orders)
    names = {"x0": "z0", **{f"x0_{c}": f"z{c}" for c in range(1, count + 1)}}
    head = "\n".join(f"const real {x} = {z};" for x, z in names.items())
    forward = recording_whole(lambda: formula.forward([f"h{c}" for c in range(count + 1)]))
    targets = {x: f"p{c}" for c, x in enumerate(names)}
    back = recording_whole(lambda: formula.backward([f"g{c}" for c in range(count + 1)], targets, "h0"))
    return None if forward is None or back is None else (f"{head}\n{forward}", f"{head}\n{back}")


def has_text(operation: Activation, orders: Orders, depends: tuple[bool, ...] = (True,)) -> bool:
    """Tell whether an elementwise operation can be compiled, with coefficients to some orders, forward and back.

    depends: which of its inputs have coefficients.

    >>> from hyperion.autograd import PRIMITIVES
    >>> has_text((PRIMITIVES["tanh"], ()), (2, 1)), has_text((PRIMITIVES["digamma"], ()), (1,))
    (True, False)
    """
    return all(_map_text(*operation, orders, depends, back) is not None for back in (False, True))


# Kernels

_silent: set[Any] = set()


def _compiled(make: Any, *key: Any) -> Any:
    """Return a kernel; None, and one warning, without a compiler."""
    if "all" in _silent:
        return None
    try:
        return make(*key)
    except CompilerError as error:
        _silent.add("all")
        warnings.warn(f"Taylor mode runs in NumPy, several times slower: {error}", SpeedWarning, stacklevel=6)
        return None


def _ready(arrays: Sequence[Any]) -> list[Any] | None:
    """Return arrays as contiguous ones, if all are NumPy's of one real dtype."""
    dtype = arrays[0].dtype
    if dtype not in REALS or not all(type(a) is np.ndarray and a.dtype == dtype for a in arrays):
        return None
    return [np.ascontiguousarray(a) for a in arrays]


def _at(arrays: Sequence[Any], rows: Sequence[bool]) -> list[int]:
    """Return the addresses of arrays, and of the rows of those that are stacks."""
    found: list[int] = []
    for a, stacked in zip(arrays, rows, strict=True):
        start = a.__array_interface__["data"][0]
        found += [start + k * a.strides[0] for k in range(a.shape[0])] if stacked else [start]
    return found


# Elementwise operations


def _map_inputs(inputs: Sequence[Tensor], depends: tuple[bool, ...]) -> tuple[list[Tensor], list[Tensor | None]]:
    xs = list(inputs[:len(depends)])
    rests = iter(inputs[len(depends):])
    return xs, [next(rests) if d else None for d in depends]


def _map_plain(inputs: Sequence[Tensor], op: Primitive, options: Options, orders: Orders, depends: tuple[bool, ...]) -> Tensor:
    xs, rests = _map_inputs(inputs, depends)
    return _stacked(*_plain(op, xs, rests, dict(options), orders))


def _map_forward(xp: Any, *arrays: Any, op: Primitive, options: Options, orders: Orders, depends: tuple[bool, ...]) -> Any:
    text = _map_text(op, options, orders, depends, False) if xp is np else None
    ready = None if text is None else _ready(arrays)
    kernel = None if ready is None else _compiled(native.map_kernel, text, len(_names(depends, orders)), sum(orders), arrays[0].dtype)
    if kernel is None:
        with recording(False):
            return _map_plain([Tensor(a) for a in arrays], op, options, orders, depends).data
    assert ready is not None
    out = native.ARRAYS.empty((sum(orders), *arrays[0].shape), arrays[0].dtype)[0]
    stacks = [k >= len(depends) for k in range(len(ready))]
    kernel(arrays[0].size, _at(ready, stacks), _at([out], [True]))
    return out


def _map_pull(g: Any, out: Any, inputs: Sequence[Tensor], params: dict[str, Any]) -> list[Any] | None:
    orders, depends = params["orders"], params["depends"]
    text = _map_text(params["op"], params["options"], orders, depends, True)
    ready = None if text is None else _ready([*(x.data for x in inputs), g])
    count = len(_names(depends, orders))
    kernel = None if ready is None else _compiled(native.map_kernel, text, count + sum(orders), count, g.dtype)
    if kernel is None or ready is None:
        return None
    found = [native.ARRAYS.empty(a.shape, a.dtype)[0] for a in ready[:-1]]
    stacks = [k >= len(depends) for k in range(len(ready))]
    kernel(ready[0].size, _at(ready, stacks), _at(found, stacks[:-1]))
    return found


def _by_plain(plain: Any) -> tuple[Any, Any]:
    """Return the rules of an operation that the plain way defines: vjp and jvp."""

    def restricted(inputs: Sequence[Tensor], chosen: Sequence[int], params: dict[str, Any]) -> Any:
        def function(*parts: Tensor) -> Tensor:
            full = list(inputs)
            for i, part in zip(chosen, parts, strict=True):
                full[i] = part
            return plain(full, **params)

        return function

    def pulled(g: Tensor, out: Tensor, *inputs: Tensor, **params: Any) -> list[Tensor | None]:
        chosen = [i for i, x in enumerate(inputs) if x.tracked]
        found = iter(vjp(restricted(inputs, chosen, params), *(inputs[i] for i in chosen))[1](g) if chosen else ())
        return [next(found) if i in chosen else None for i in range(len(inputs))]

    def pushed(tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor, **params: Any) -> Tensor:
        chosen = [i for i, t in enumerate(tangents) if t is not None]
        if not chosen:
            return zeros_like(out)
        return jvp(restricted(inputs, chosen, params), [inputs[i] for i in chosen], [tangents[i] for i in chosen])[1]

    return pulled, pushed


taylor_map = general(
    "taylor_map", _map_forward, *_by_plain(_map_plain), pull=_map_pull,
    doc="""Return the Taylor coefficients of an elementwise operation, (sum(orders), *shape).

    Inputs: those of the operation, of one shape, and the coefficients of each that depends, (sum(orders), *shape).
    op, options: the primitive, and its parameters as pairs.  depends: for each input, whether it has coefficients.
    """,
)


# Chains

Layers = tuple[tuple[bool, Activation | None], ...]


def _chain_inputs(inputs: Sequence[Any], layers: Layers) -> tuple[list[Any], list[Any]]:
    """Return the weights, and the biases or None."""
    parts = iter(inputs[2:])
    pairs = [(next(parts), next(parts) if has_bias else None) for has_bias, _ in layers]
    return [w for w, _ in pairs], [b for _, b in pairs]


def _chain_plain(inputs: Sequence[Tensor], orders: Orders, layers: Layers) -> Tensor:
    x, rest = inputs[:2]
    for weight, bias, (_, activation) in zip(*_chain_inputs(inputs, layers), layers, strict=True):
        x, rest = affine(x, weight, bias), affine(rest, weight)
        if activation is not None:
            op, options = activation
            out, found = _plain(op, [x], [rest], dict(options), orders)
            x, rest = out, _stacked(out, found)
    return concat([reshape(x, (1, *x.shape)), rest])


def _chain_kernel(layers: Layers, orders: Orders, dtype: Any) -> tuple[Any, list[int]]:
    """Return the kernel of a chain, or None, and the places of its layers' activations."""
    activations = tuple(dict.fromkeys(a for _, a in layers if a is not None))
    texts = tuple([_activation_text(a, orders) for a in activations])
    kinds = [-1 if a is None else activations.index(a) for _, a in layers]
    if any(text is None for text in texts):
        return None, kinds
    return _compiled(native.chain_kernel, texts, 1 + sum(orders), dtype), kinds


def _chain_forward(xp: Any, *arrays: Any, orders: Orders, layers: Layers) -> Any:
    ready = _ready(arrays) if xp is np else None
    kernel, kinds = (None, []) if ready is None else _chain_kernel(layers, orders, arrays[0].dtype)
    if kernel is None or ready is None:
        with recording(False):
            return _chain_plain([Tensor(a) for a in arrays], orders, layers).data
    x, rest = ready[0], ready[1]
    points = math.prod(x.shape[:-1])
    weights, biases = _chain_inputs(ready, layers)
    out = kernel.forward(x.reshape(points, x.shape[-1]), rest, weights, biases, kinds)
    return out.reshape(1 + sum(orders), *x.shape[:-1], weights[-1].shape[0])


def _chain_pull(g: Any, out: Any, inputs: Sequence[Tensor], params: dict[str, Any]) -> list[Any] | None:
    layers, orders = params["layers"], params["orders"]
    ready = _ready([*(x.data for x in inputs), g])
    kernel, kinds = (None, []) if ready is None else _chain_kernel(layers, orders, g.dtype)
    if kernel is None or ready is None:
        return None
    x, rest = ready[0], ready[1]
    points = math.prod(x.shape[:-1])
    weights, biases = _chain_inputs(ready[:-1], layers)
    wanted = inputs[0].node is not None or inputs[1].node is not None
    to_x, to_rest, to_weights, to_biases = kernel.reverse(
        ready[-1], x.reshape(points, x.shape[-1]), rest.reshape(sum(orders), points, x.shape[-1]), weights, biases, kinds, wanted)
    found = [to_x.reshape(x.shape), to_rest.reshape(rest.shape)] if wanted else [None, None]
    for w, b, (has_bias, _) in zip(to_weights, to_biases, layers, strict=True):
        found += [w, b] if has_bias else [w]
    return found


taylor_chain = general(
    "taylor_chain", _chain_forward, *_by_plain(_chain_plain), pull=_chain_pull,
    doc="""Return the value and the Taylor coefficients behind a chain of linear layers, (1 + sum(orders), ..., outputs).

    Inputs: x, (..., inputs); its coefficients, (sum(orders), ..., inputs); the weight of each layer, and its bias if it has one.
    layers: for each, whether it has a bias, and the elementwise operation that follows, or None.
    """,
)
