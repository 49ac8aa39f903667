"""Recorded graphs of elementwise operations as C text: a formula that is run once on numbers, with all its derivatives, becomes a kernel.

Each operation of the graph writes the lines of its own forward (see codegen.elementwise), so derivatives follow from the rules of the table
and no kernel has formulas of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperion.autograd.graph import Node, recording, state
from hyperion.autograd.sweeps import Trace
from hyperion.autograd.tensor import Tensor
from hyperion.codegen.elementwise import Symbol, Writer
from hyperion.errors import GraphError

__all__ = ["recording_whole", "text_of"]

# Of a single number these change nothing.
SHAPES = ("astype", "broadcast_to", "cast", "identity", "reshape", "sum_to")


def recording_whole(function: Callable[[], Any]) -> Any:
    """Return what a function returns, with every operation in it recorded, comparisons too: else the text would have their results."""
    before = state.whole
    state.whole = True
    try:
        with recording(True):
            return function()
    finally:
        state.whole = before


def text_of(results: Sequence[tuple[str, Tensor]], names: Mapping[Node, str]) -> str | None:
    """Return C lines that compute results from named values; None if an operation in between has no C text.

    results: of shape (), each with the C expression it is assigned to, recorded by `recording_whole`.
    names: the C expressions of the values that are given, where the text starts.
    Raises: GraphError if a result is a number other than 0: it was computed from given values without being recorded.

    >>> from hyperion.autograd import asarray
    >>> x = asarray(0.5, requires_grad=True)
    >>> print(text_of([("y", x * x + 1.0)], {x.node: "x"}))
    const real t0 = x * x;
    const real t1 = t0 + (real)(1.0);
    y = t1;
    """
    writer = Writer()
    symbols: dict[Node, Any] = {node: Symbol(writer, name) for node, name in names.items()}

    def symbol(x: Tensor) -> Any:
        return float(x.data) if x.node is None or x.node not in symbols else symbols[x.node]

    try:
        for node in Trace([x for _, x in results], set(names)).nodes:
            op: Any = node.op
            inputs = [symbol(x) for x in node.inputs or ()]
            if op.form != "elementwise" and op.name not in SHAPES:
                return None
            symbols[node] = inputs[0] if op.name in SHAPES else op.forward(writer, *inputs, **node.params)
    except (AttributeError, TypeError):     # no C text for a function of the namespace, or for Python's own
        return None
    return "\n".join([*writer.lines, *(f"{target} = {_assigned(symbol(x))};" for target, x in results)])


def _assigned(value: Any) -> str:
    if isinstance(value, Symbol):
        return value.text
    if value:
        raise GraphError(f"a formula has the result {value!r}, which depends on nothing that is given: run it inside recording_whole")
    return "0"
