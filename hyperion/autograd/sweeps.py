"""Sweeps over a recorded graph: backward for vjp, forward for jvp. Both are loops over the nodes in order of creation, never recursion."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from hyperion.autograd.graph import Leaf, Node, changes, fingerprint, recording, state
from hyperion.autograd.mapping import mapped
from hyperion.autograd.memory import out_of_memory
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import GraphError, OutOfMemoryError, ShapeError
from hyperion.gpu import device

__all__ = [
    "Trace", "accumulate", "backward", "match", "ones_like", "outputs_at", "sweep_backward", "sweep_forward", "tangent_of", "through_hooks",
    "zeros_like",
]

ndarray = np.ndarray
PULLED = (ndarray, list)     # cotangents that `pull` takes: of one output, or of several


class Trace:
    """The part of a recorded graph between some leaves and some outputs.

    nodes: those that depend on the leaves, in order of creation.
    leaves: where the walk ended.
    outside: whether the outputs also depend on something tracked that is not among the leaves.
    """

    __slots__ = ("leaves", "nodes", "outside")

    def __init__(self, outputs: Iterable[Tensor], leaves: set[Node] | None = None) -> None:
        """Walk from the outputs back to the leaves. Nodes older than every leaf cannot depend on one, so the walk stops there.

        leaves: None takes every leaf that is met.
        Raises: GraphError if a part of the graph was freed.
        """
        first = -1 if leaves is None else min((leaf.order for leaf in leaves), default=0)
        ends: set[Node] = set() if leaves is None else leaves
        nodes: list[Node] = []
        seen = {x.node for x in outputs if x.node is not None}
        stack = list(seen)
        self.outside = False
        while stack:
            node = stack.pop()
            if node in ends:
                continue
            if node.op is None and leaves is None:
                ends.add(node)
                continue
            if node.op is None or node.order < first:
                self.outside = self.outside or not (isinstance(node, Leaf) and node.done)
                continue
            nodes.append(node)
            for x in node.inputs if node.inputs is not None else _refuse_freed(node):
                source = x.node
                if source is None:
                    continue
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        nodes.sort(key=attrgetter("order"))
        self.nodes = _active(nodes, ends) if self.outside else nodes
        self.leaves = ends


def _active(nodes: list[Node], leaves: set[Node]) -> list[Node]:
    """Return the nodes that depend on leaves."""
    active = set(leaves)
    for node in nodes:
        if any(x.node in active for x in node.inputs or ()):
            active.add(node)
    return [node for node in nodes if node in active]


def _refuse_freed(node: Node) -> NoReturn:
    raise GraphError(
        f"backward: the graph was freed by an earlier backward (at operation {name_of(node)}); call backward(retain_graph=True) the first "
        "time, or compute the loss again"
    )


def _refuse_written(nodes: list[Node]) -> None:
    """Refuse nodes that used a NumPy array which was written to since."""
    for node in nodes:
        for array, before in getattr(node, "prints", ()):
            if fingerprint(array) != before:
                raise GraphError(
                    f"operation {name_of(node)} used a NumPy array of shape {array.shape} that was written to since; the derivative would "
                    "mix both values: give operations a copy (x.copy()), or write after the derivative is taken"
                )


def _refuse_changed(nodes: list[Node]) -> None:
    """Refuse nodes that used a leaf which was assigned a new value since."""
    if not nodes:
        return
    if changes.watching:
        _refuse_written(nodes)
    if changes.last < nodes[0].order:
        return
    for node in nodes:
        for x in node.inputs or ():
            if isinstance(x.node, Leaf) and x.node.changed > node.order:
                raise GraphError(
                    f"operation {name_of(node)} used a Tensor of shape {x.shape} that was assigned a new value since; the derivative would "
                    "mix both: compute the loss again after x.assign(...)"
                )


def name_of(node: Node) -> str:
    """Return the name of a node's operation, for messages."""
    return "leaf" if node.op is None else repr(node.op.name)


def outputs_at(node: Node) -> Any:
    """Return a node's outputs as Tensors, for its rules."""
    op: Any = node.op
    values: Any = node.output
    return Tensor(values, node) if op.outputs == 1 else tuple([Tensor(value, node, i) for i, value in enumerate(values)])


def sweep_backward(nodes: list[Node], cotangents: dict[Node, Any], leaves: set[Node], free: bool = False) -> dict[Node, Any]:
    """Carry cotangents from the last node to the leaves.

    nodes: in order of creation; consumed.
    cotangents: of the nodes where the sweep starts: a Tensor, or a list for a node of several outputs.
    free: drop what each node holds once it is passed.
    Returns: cotangents; what is left in it belongs to leaves.
    Raises: GraphError if an operation has no vjp, its rule returns a wrong number of Tensors or a wrong shape, or a leaf that was used was
        assigned a new value since.
    """
    _refuse_changed(nodes)
    active = {*nodes, *leaves}
    if not (state.recording or changes.debugging or state.recorder is not None) and _are_plain(cotangents.values()):
        return _sweep_arrays(nodes, cotangents, active, free)
    while nodes:
        node = nodes.pop()
        g = cotangents.pop(node, None)
        if g is not None:
            if changes.hooked:
                g = through_hooks(node, g)
            op: Any = node.op
            inputs: Any = node.inputs
            # A recorder notes the `pull` of an operation as a whole, and the rules of elementwise ones, which it can fuse.
            results = None if state.recorder is None or state.recording else state.recorder.pull(op, g, node)
            if results is None:
                rule = op.vjp or op.need("vjp")
                results = checked(op, inputs, rule(g, outputs_at(node), *inputs, **node.params))
            for x, cotangent in zip(inputs, results, strict=True):
                source = x.node
                if cotangent is None or source is None or source not in active:
                    continue
                accumulate(cotangents, x, cotangent)
        if free:
            node.free()
    return cotangents


def _are_plain(cotangents: Iterable[Any]) -> bool:
    """Tell whether all cotangents, or parts of them, are Tensors that hold arrays: not batches."""
    parts = [part for g in cotangents for part in ((g,) if isinstance(g, Tensor) else g)]
    return {type(part) for part in parts if part is not None} == {Tensor}


def _sweep_arrays(nodes: list[Node], cotangents: dict[Node, Any], active: set[Node], free: bool) -> dict[Node, Any]:
    """Do a sweep that nobody records on raw arrays: operations with a `pull` make no Tensors, others are handed Tensors."""
    found: dict[Node, Any] = {node: _raw(g) for node, g in cotangents.items()}
    cotangents.clear()
    while nodes:
        node = nodes.pop()
        g = found.pop(node, None)
        if g is not None and changes.hooked and hasattr(node, "hooks"):
            g = _raw(through_hooks(node, _tensors(g)))
        if g is not None:
            inputs: Any = node.inputs
            results = pulled(node.op, node, g)
            for x, c in zip(inputs, results):       # noqa: B905, as long as each other by now
                source = x.node
                if c is None or source is None or source not in active:
                    continue
                if source.op is None or source.op.outputs == 1:
                    before = found.get(source)
                    found[source] = c if before is None else _sum(before, c)
                else:
                    parts = found.setdefault(source, [None] * len(source.output))
                    before = parts[x.index]
                    parts[x.index] = c if before is None else _sum(before, c)
        if free:
            node.free()
    for node, g in found.items():
        cotangents[node] = _tensors(g)
    return cotangents


def pulled(op: Any, node: Node, g: Any) -> Any:
    """Return the cotangents of a node's inputs, raw arrays, given that of its outputs."""
    inputs: Any = node.inputs
    if op.pull is not None and (type(g) in PULLED or op.everywhere):
        try:
            with device.beside(inputs[0].data):
                results = op.pull(g, node.output, inputs, node.params)
        except OutOfMemoryError:            # of an operation that it called, which has said so
            raise
        except MemoryError as error:
            raise out_of_memory(f"{op.name}, backward", inputs, error) from error
        if results is not None:
            return results
    given = (op.vjp or op.need("vjp"))(_tensors(g), outputs_at(node), *inputs, **node.params)
    return [None if c is None else c.data for c in checked(op, inputs, given)]


def _raw(g: Any) -> Any:
    """Return the arrays of a cotangent: of one Tensor, or of a list for a node of several outputs."""
    return g.data if isinstance(g, Tensor) else [None if part is None else part.data for part in g]


def _tensors(g: Any) -> Any:
    """Return the Tensors of a cotangent; the reverse of `_raw`."""
    return Tensor(g) if type(g) is not list else [None if part is None else Tensor(part) for part in g]      # pyright: ignore


def _plus(xp: Any, x: Any, y: Any) -> Any:
    return x + y


def _sum(x: Any, y: Any) -> Any:
    """Return x + y, arrays; a NumPy scalar as an array of shape ()."""
    if type(x) is not ndarray:
        with device.beside(x):
            found = mapped(_plus, [x, y], {})
            return x + y if found is None else found
    total = x + y
    return np.asarray(total) if issubclass(type(total), np.generic) else total


def checked(op: Any, inputs: Sequence[Tensor], results: Any) -> Any:
    """Return what a vjp rule gave.

    Raises: GraphError unless it is one Tensor or None per input, of its shape.
    """
    if len(results) != len(inputs):
        raise GraphError(f"operation {op.name!r}: its vjp returned {len(results)} results for {len(inputs)} inputs; give one each")
    for x, cotangent in zip(inputs, results):       # noqa: B905, the line above saw to it
        if cotangent is not None and cotangent.data.shape != x.data.shape and x.node is not None:
            raise GraphError(
                f"operation {op.name!r}: its vjp returned shape {cotangent.shape} for an input of shape {x.shape}; they must agree"
            )
    return results


def accumulate(cotangents: dict[Node, Any], x: Tensor, cotangent: Tensor) -> None:
    """Add a cotangent of x to those collected so far."""
    node: Any = x.node
    if node.op is None or node.op.outputs == 1:
        before = cotangents.get(node)
        cotangents[node] = cotangent if before is None else before + cotangent
        return
    parts = cotangents.setdefault(node, [None] * len(node.output))
    before = parts[x.index]
    parts[x.index] = cotangent if before is None else before + cotangent


def sweep_forward(nodes: list[Node], tangents: dict[Node, Any]) -> dict[Node, Any]:
    """Carry tangents from the leaves to every node that depends on them; adds to `tangents` and returns it.

    Raises: GraphError if an operation has no jvp, its rule returns a wrong shape, or a leaf that was used was assigned a new value since.
    """
    _refuse_changed(nodes)
    for node in nodes:
        op: Any = node.op
        inputs: Any = node.inputs
        incoming = [None if x.node is None else tangent_of(x, tangents) for x in inputs]
        if all(tangent is None for tangent in incoming):
            continue
        out = outputs_at(node)
        rule = op.jvp or op.need("jvp")
        tangent = rule(incoming, out, *inputs, **node.params)
        if tangent is None:
            continue
        for value, reference in zip(tangent, out, strict=True) if op.outputs != 1 else ((tangent, out),):
            if value is not None and value.data.shape != reference.data.shape:
                raise GraphError(
                    f"operation {op.name!r}: its jvp returned shape {value.shape} for an output of shape {reference.shape}; they must agree"
                )
        tangents[node] = tangent
    return tangents


def tangent_of(x: Tensor, tangents: dict[Node, Any]) -> Tensor | None:
    """Return the tangent of x, or None."""
    node: Any = x.node
    found: Any = None if node is None else tangents.get(node)
    return found[x.index] if type(found) in (tuple, list) else found


def zeros_like(x: Tensor) -> Tensor:
    """Return a constant of zeros like x."""
    xp = np if type(x.data) is ndarray else device.namespace_of(x.device)
    return Tensor(xp.zeros(x.shape, dtype=x.dtype))


def ones_like(x: Tensor) -> Tensor:
    """Return a constant of ones like x."""
    xp = np if type(x.data) is ndarray else device.namespace_of(x.device)
    return Tensor(xp.ones(x.shape, dtype=x.dtype))


def match(value: Any, like: Tensor, name: str) -> Tensor:
    """Return a tangent or cotangent in the dtype of the Tensor it belongs to.

    Raises: ShapeError unless the shapes agree.
    """
    tensor = as_tensor(value.copy() if isinstance(value, ndarray) else value)      # its buffer may be used again
    if tensor.shape != like.shape:
        raise ShapeError(f"{name} has shape {tensor.shape}, but belongs to a Tensor of shape {like.shape}; they must agree")
    return tensor if tensor.dtype == like.dtype else tensor.astype(like.dtype)


def through_hooks(node: Node, g: Any) -> Any:
    """Return what the hooks of a node make of its cotangent (a list for a node of several outputs).

    Raises: ShapeError if a hook returns another shape.
    """
    for index, hook in getattr(node, "hooks", ()):
        several = isinstance(g, list)
        part: Any = g[index] if several else g
        if part is None:
            continue
        changed = hook(part)
        if changed is not None:
            changed = match(changed, part, "the result of a hook")
            g = [changed if i == index else other for i, other in enumerate(g)] if several else changed
    return g


def backward(loss: Tensor, gradient: Any, retain_graph: bool, create_graph: bool) -> None:
    """Do the work of `Tensor.backward`."""
    if loss.node is None:
        raise GraphError(
            "loss.backward(): the loss does not depend on a Tensor that requires a gradient; make one with "
            "asarray(..., requires_grad=True), and compute the loss from it outside no_grad()"
        )
    if gradient is None:
        if loss.size != 1:
            raise ShapeError(f"loss.backward(): the loss has shape {loss.shape}; it must be a scalar: use .sum(), or give gradient=")
        gradient = ones_like(loss)
    trace = Trace([loss])
    with recording(create_graph and state.recording):
        seed = match(gradient, loss, "loss.backward(gradient): gradient")
        cotangents: dict[Node, Any] = {}
        accumulate(cotangents, loss, seed)
        sweep_backward(trace.nodes, cotangents, trace.leaves, free=not retain_graph)
        for leaf in trace.leaves:
            g = cotangents.get(leaf)
            if g is not None and isinstance(leaf, Leaf):
                g = through_hooks(leaf, g) if changes.hooked else g
                total = g if leaf.grad is None else leaf.grad + g
                leaf.grad = total if create_graph else total.detach()
