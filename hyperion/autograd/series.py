"""Power series of the nodes of a recorded graph: what Taylor mode computes, one coefficient of one operation at a time.

Every value is a power series in t; its coefficients are computed order by order. With x(t) the inputs and y(t) the output of an operation,
- linear:    y[k] is the operation on x[k];
- bilinear:  y[k] is the sum of products x[j] * y[k - j] (Leibniz' rule);
- any other: y' = jvp(x', y, x), so that k y[k] is coefficient k - 1 of the operation's jvp rule. The rule is recorded once as a graph of
  simpler operations, and its coefficients come in the same way, from those of x' and x and from those of y below k.
The cost grows as the square of the order, not as its exponential as with nested jvp.
Source: Griewank and Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 13.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Anchor, Node, recording, state
from hyperion.autograd.ops.shaping import identity
from hyperion.autograd.sweeps import Trace, outputs_at
from hyperion.autograd.tensor import Tensor

__all__ = ["Coefficients", "Series"]

# The coefficients of a node, by their number: None where one is zero by construction; for several outputs a tuple.
Coefficients = Callable[[int], Any]


class Series:
    """The power series of the nodes of a recorded graph.

    known: the coefficients of the graph's leaves.
    outer: the series of the graph that this one was recorded in, where the coefficients of what it uses from there are.
    """

    def __init__(self, known: dict[Node, Coefficients], outer: "Series | None" = None) -> None:
        self.known = known
        self.outer = outer
        self.found: dict[Node, list[Any]] = {}      # order 0 is the recorded value itself: None stands in its place
        self.rules: dict[Node, Rule | None] = {}

    def depends(self, x: Tensor) -> bool:
        """Tell whether x has more than one coefficient."""
        if x.node is None:
            return False
        return x.node in self.known or x.node in self.found or (self.outer is not None and self.outer.depends(x))

    def of(self, x: Tensor, k: int) -> Tensor | None:
        """Return coefficient k of x."""
        if k == 0:
            return x
        node: Any = x.node
        if node in self.known:
            coefficient: Any = self.known[node](k)
        elif node in self.found:
            coefficient = self.found[node][k]
        else:
            return None if self.outer is None else self.outer.of(x, k)
        return coefficient[x.index] if type(coefficient) in (tuple, list) else coefficient

    def close(self) -> None:
        """Let go of the rules, which refer back to this: memory is freed without the garbage collector."""
        for rule in self.rules.values():
            if rule is not None:
                rule.series.close()
        self.rules.clear()
        self.known.clear()

    def visit(self, node: Node, order: int) -> None:
        """Compute the coefficients of a node up to an order; those of its inputs must be known."""
        found: list[Any] = self.found.setdefault(node, [None])
        for k in range(len(found), order + 1):
            found.append(self._coefficient(node, k))

    def _coefficient(self, node: Node, k: int) -> Any:
        op: Any = node.op
        inputs: Any = node.inputs
        if op.degree == 2:
            return self._product(op, inputs, node.params, k)
        if op.degree == 1:
            return self._derivative(node, [self.of(x, k) for x in inputs])
        if k == 1:
            return self._derivative(node, [self.of(x, 1) for x in inputs])
        if node not in self.rules:
            self.rules[node] = Rule.record(self, node)
        rule = self.rules[node]
        return None if rule is None else rule.coefficient(k)

    def _derivative(self, node: Node, tangents: list[Tensor | None]) -> Any:
        op: Any = node.op
        inputs: Any = node.inputs
        if all(t is None for t in tangents):
            return None
        return (op.jvp or op.need("jvp"))(tangents, outputs_at(node), *inputs, **node.params)

    def _product(self, op: Any, inputs: Sequence[Tensor], params: dict[str, Any], k: int) -> Tensor | None:
        total = None
        for j in range(k + 1):
            left, right = self.of(inputs[0], j), self.of(inputs[1], k - j)
            if left is not None and right is not None:
                term = op(left, right, **params)
                total = term if total is None else total + term
        return total


class Rule:
    """The recorded jvp rule of one node, from which its coefficients above the first follow.

    results: of the rule; one per output of the node.  nodes: of its graph.  single: whether the node has one output.
    """

    def __init__(self, results: Sequence[Any], nodes: Sequence[Node], series: Series, single: bool) -> None:
        self.results = results
        self.nodes = nodes
        self.series = series
        self.single = single

    @classmethod
    def record(cls, outer: Series, node: Node) -> "Rule | None":
        """Record a node's rule, with leaves for the tangents; None if its result is zero."""
        op: Any = node.op
        inputs: Any = node.inputs
        known: dict[Node, Coefficients] = {}
        ends = {x.node for x in inputs if outer.depends(x)} | {node}
        tangents: list[Tensor | None] = []
        record = state.recording
        with recording(True):
            for x in inputs:
                first = outer.of(x, 1) if is_inexact(x.dtype) else None
                if first is not None:
                    first = identity(first) if first.tracked and record else Tensor(first.data, Anchor())
                    known[first.node] = lambda k, x=x: _times(k + 1, outer.of(x, k + 1))       # pyright: ignore[reportArgumentType]
                tangents.append(first)
            if all(t is None for t in tangents):
                return None
            result = (op.jvp or op.need("jvp"))(tangents, outputs_at(node), *inputs, **node.params)
        single = op.outputs == 1
        results = (result,) if single else tuple(result)
        if all(r is None for r in results):
            return None
        trace = Trace([r for r in results if r is not None], ends | set(known))
        return cls(results, trace.nodes, Series(known, outer), single)

    def coefficient(self, k: int) -> Any:
        """Return coefficient k of the node, k >= 2; those below must be known."""
        for node in self.nodes:
            self.series.visit(node, k - 1)
        terms = [None if r is None else _times(1.0 / k, self.series.of(r, k - 1)) for r in self.results]
        return terms[0] if self.single else tuple(terms)


def _times(factor: float, x: Tensor | None) -> Tensor | None:
    return None if x is None else x if factor == 1 else x * factor
