"""A recorded graph walked once with the Taylor coefficients of several directions together: the work of `jets`."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, at_levels, extract, levels
from hyperion.autograd.graph import Anchor, Node, recording
from hyperion.autograd.ops.shaping import broadcast_to, stack
from hyperion.autograd.ops.taylor import Activation, Options, has_text, taylor_chain, taylor_map
from hyperion.autograd.series import Coefficients, Series
from hyperion.autograd.sweeps import outputs_at, zeros_like
from hyperion.autograd.table import PRIMITIVES, Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.gpu import device

__all__ = ["Fan"]

STACKED = 2048          # numbers from which the coefficients of an array are kept as a stack: below, calls cost more than the work
POINTS = 128            # from which a chain of layers is one native call
WIDEST = 256            # layer up to which a chain is one native call: above, sums for weights leave the caches
REALS = (np.dtype(np.float32), np.dtype(np.float64))


class Fan:
    """Several series over one graph, one for each direction.

    inputs: the graph's leaves.  seeds: for each direction one Tensor per leaf.  orders: of each direction.
    stacks: coefficients as (sum(orders), *shape), of the nodes that have them in this form.
    renewed: Tensors that stand for the outputs of recorded nodes: a chain computes its value anew, so that no derivative goes through the
        recorded one, and what depends on it is computed again.
    """

    def __init__(self, inputs: Sequence[Tensor], seeds: Sequence[Sequence[Tensor]], orders: Sequence[int]) -> None:
        self.orders = tuple(orders)
        self.starts = tuple(itertools.accumulate(orders, initial=0))
        self.series = [
            Series({x.node: _line(seed) for x, seed in zip(inputs, directions, strict=True) if x.node is not None}) for directions in seeds
        ]
        self.stacks: dict[Node, Tensor] = {}
        self.renewed: dict[Node, Any] = {}

    def close(self) -> None:
        """Let go of what refers back to the graph."""
        for series in self.series:
            series.close()

    def sweep(self, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> tuple[list[Tensor], list[list[list[Tensor | None]]]]:
        """Visit all nodes. Returns the outputs, and for each direction and order from 1 on their coefficients."""
        # What follows a chain is computed again, and hooks of what was recorded would not be heard.
        chains = {} if not sum(self.orders) or any(hasattr(node, "hooks") for node in nodes) else self._chains(nodes, outputs)
        inside = {node for chain in chains.values() for node in chain}
        for node in nodes:
            if node in chains:
                self._follow(chains[node])
            elif node not in inside:
                self._visit(self._current(node))
        values = [self._now(x) for x in outputs]
        return values, [
            [[series.of(x, k) for x in values] for k in range(1, order + 1)]
            for series, order in zip(self.series, self.orders, strict=True)
        ]

    def _now(self, x: Tensor) -> Tensor:
        """Return what stands for a recorded Tensor."""
        found: Any = None if x.node is None else self.renewed.get(x.node)
        if found is None:
            return x
        return found if isinstance(found, Tensor) else found[x.index]

    def _current(self, node: Node) -> Any:
        """Return a node, or what stands for it if something that it uses was renewed."""
        inputs: Any = node.inputs
        if not any(x.node in self.renewed for x in inputs):
            return node
        op: Any = node.op
        with recording(True):
            out = op(*(self._now(x) for x in inputs), **node.params)
        self.renewed[node] = out
        return (out if isinstance(out, Tensor) else out[0]).node

    def _visit(self, node: Node) -> None:
        """Compute the coefficients of a node."""
        rest = self._stacked(node) if sum(self.orders) else None
        if rest is None:
            for series, order in zip(self.series, self.orders, strict=True):
                series.visit(node, order)
        else:
            self._keep(node, rest)

    def _keep(self, node: Node, rest: Tensor) -> None:
        """Take a stack as the coefficients of a node."""
        self.stacks[node] = rest
        rows = Rows(rest)
        for series, start, order in zip(self.series, self.starts, self.orders, strict=False):
            series.known[node] = rows.range(start, order)

    def _depends(self, x: Tensor) -> bool:
        return self.series[0].depends(x)

    def _rest(self, x: Tensor) -> Tensor:
        """Return the coefficients of x as a stack."""
        node: Any = x.node
        if node in self.stacks and node.op is not None and node.op.outputs == 1:
            return self.stacks[node]
        rows = [
            series.of(x, k) for series, order in zip(self.series, self.orders, strict=True) for k in range(1, order + 1)
        ]
        found = stack([zeros_like(x) if row is None else row for row in rows])
        if node.op is None or node.op.outputs == 1:
            self.stacks[node] = found
        return found

    # Stacks

    def _stacked(self, node: Node) -> Tensor | None:
        """Return the stack of a node if it is best computed as a whole, else None."""
        op: Any = node.op
        inputs: Any = node.inputs
        whole: Any = node.output
        if op.outputs != 1 or not _is_large(whole):
            return None
        depends = tuple([self._depends(x) for x in inputs])
        if any(d and x.dtype != whole.dtype for x, d in zip(inputs, depends, strict=True)):
            return None
        if op.degree == 1 or (op.degree == 2 and sum(depends) == 1) or (op is AFFINE and depends[0] and sum(depends) == 1):
            return self._linear(node, depends) if op.form == "elementwise" or op.batch is not None else None
        options = _options(op, node.params)
        if options is None or any(x.shape != whole.shape if d else x.dtype != whole.dtype for x, d in zip(inputs, depends, strict=True)):
            return None
        if not has_text((op, options), self.orders, depends):
            return None
        alike = [x if x.shape == whole.shape else broadcast_to(x, whole.shape) for x in inputs]
        rests = [self._rest(x) for x, d in zip(inputs, depends, strict=True) if d]
        return taylor_map(*alike, *rests, op=op, options=options, orders=self.orders, depends=depends)

    def _linear(self, node: Node, depends: tuple[bool, ...]) -> Tensor | None:
        """Apply an operation that is linear in what depends to all coefficients at once: they are a batch to it, as in vmap."""
        op: Any = node.op
        inputs: Any = node.inputs
        level = next(levels.numbers)
        with at_levels((*levels.running, (level, sum(self.orders)))):
            tangents = [Batched(self._rest(x), level) if d else None for x, d in zip(inputs, depends, strict=True)]
            moved = (op.jvp or op.need("jvp"))(tangents, outputs_at(node), *inputs, **node.params)
        return extract(moved, level)

    # Chains of layers

    def _chains(self, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> dict[Node, list[Node]]:
        """Return chains of layers and activations that one call can do, by their last nodes."""
        users: dict[Node, list[Node | None]] = {}
        for node in nodes:
            for x in node.inputs or ():
                if x.node is not None:
                    users.setdefault(x.node, []).append(node)
        for x in outputs:
            if x.node is not None:
                users.setdefault(x.node, []).append(None)
        moving = {*nodes, *self.series[0].known}
        found: dict[Node, list[Node]] = {}
        done: set[Node] = set()
        for node in nodes:
            if node in done or not _is_layer(node, moving):
                continue
            chain = [node]
            while (after := self._next(chain[-1], users, moving)) is not None:
                chain.append(after)
            done.update(chain)
            if sum(link.op is AFFINE for link in chain) > 1:
                found[chain[-1]] = chain
        return found

    def _next(self, node: Node, users: dict[Node, list[Any]], moving: set[Node]) -> Node | None:
        """Return the link that follows another in a chain, or None."""
        after = users.get(node, [])
        if len(after) != 1 or after[0] is None:
            return None
        if _is_layer(after[0], moving):
            return after[0]
        activation = _activation(after[0]) if node.op is AFFINE else None
        return after[0] if activation is not None and has_text(activation, self.orders) else None

    def _follow(self, chain: Sequence[Node]) -> None:
        """Compute a chain: its value, which stands for the recorded one, and its coefficients."""
        first: Any = chain[0].inputs
        layers: list[tuple[bool, Activation | None]] = []
        weights: list[Tensor] = []
        for node in chain:
            if node.op is AFFINE:
                given: Any = node.inputs
                weights += given[1:]
                layers.append((len(given) == 3, None))
            else:
                layers[-1] = (layers[-1][0], _activation(node))
        x = self._now(first[0])
        out = taylor_chain(x, self._rest(x), *weights, orders=self.orders, layers=tuple(layers))
        value = out[0]
        if value.node is None:
            value = Tensor(value.data, Anchor())
        self.renewed[chain[-1]] = value
        place: Any = value.node
        self._keep(place, out[1:])


AFFINE = PRIMITIVES["affine"]


class Rows:
    """The rows of a stack as single coefficients, each taken out when it is first asked for."""

    def __init__(self, rest: Tensor) -> None:
        self.rest = rest
        self.taken: dict[int, Tensor] = {}

    def range(self, start: int, order: int) -> Coefficients:
        """Return the coefficients of one direction."""

        def of(k: int) -> Tensor | None:
            if k > order:
                return None
            place = start + k - 1
            if place not in self.taken:
                self.taken[place] = self.rest[place]
            return self.taken[place]

        return of


def _line(direction: Tensor) -> Coefficients:
    """Return the coefficients of x + t * direction."""

    def of(k: int) -> Tensor | None:
        return direction if k == 1 else None

    return of


def _on_cpu(array: Any) -> bool:
    return type(array) is np.ndarray or device.device_of(array) == "cpu"


def _is_large(array: Any) -> bool:
    return _on_cpu(array) and array.dtype in REALS and array.size >= STACKED


def _options(op: Primitive, params: dict[str, Any]) -> Options | None:
    """Return the parameters of an elementwise operation as pairs; None for a linear or another operation, or if they are no keys."""
    if op.form != "elementwise" or op.degree == 1:
        return None
    pairs = tuple(sorted(params.items()))
    try:
        hash(pairs)
    except TypeError:
        return None
    return pairs


def _activation(node: Node) -> Activation | None:
    op: Any = node.op
    inputs: Any = node.inputs
    output: Any = node.output
    options = _options(op, node.params) if len(inputs) == 1 else None
    return None if options is None or output.dtype != inputs[0].dtype else (op, options)


def _is_layer(node: Node, moving: set[Node]) -> bool:
    """Tell whether a node is a linear layer that a chain can hold: only its input depends, its arrays are of one dtype, and narrow."""
    if node.op is not AFFINE:
        return False
    given: Any = node.inputs
    x, *weights = given
    out: Any = node.output
    return (
        x.node in moving and not any(w.node in moving for w in weights) and _on_cpu(out) and out.dtype in REALS
        and out.size >= POINTS * out.shape[-1] and all(_on_cpu(y.data) and y.dtype == out.dtype for y in given)
        and max(weights[0].shape) <= WIDEST
    )
