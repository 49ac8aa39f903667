"""Bodies of loops and branches in a recording: programs of their own, which are run natively and differentiated by running their steps.

A body is recorded once, on stand-ins of its own. What it uses of the function around it (parameters, arrays computed before) becomes inputs
of the body, and so of the operation that runs it: derivatives reach them. The derivative of a body is a function of Tensors that runs its
steps and sweeps over the graph they make; recorded in turn, it is the body of the derivative's loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Leaf, Node, recording, state
from hyperion.autograd.jit.ir import Code, Opaque, Value
from hyperion.autograd.jit.native import Runner
from hyperion.autograd.jit.passes import optimised
from hyperion.autograd.jit.plan import plan
from hyperion.autograd.jit.recorder import Elsewhere, Recorder
from hyperion.autograd.jit.standin import user_line
from hyperion.autograd.ops.shaping import identity
from hyperion.autograd.sweeps import Trace, accumulate, sweep_backward, sweep_forward, tangent_of
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.cpu import program
from hyperion.errors import GraphError

__all__ = ["Body", "Function", "body_of", "pulled", "pushed"]

Function = Callable[[Sequence[Tensor]], Sequence[Tensor]]


class Body:
    """A function of a list of Tensors, as a program.

    code: its inputs are those from outside first, then its own.  outside: the Tensors that are the former.
    """

    def __init__(self, code: Code, outside: Sequence[Tensor]) -> None:
        self.code = code
        self.outside = list(outside)
        self._runner: Runner | None = None

    def __repr__(self) -> str:
        return f"body of {len(self.code.steps)} steps"

    @property
    def results(self) -> list[Value]:
        """What goes out."""
        return self.code.results

    def returning(self, results: Sequence[Value]) -> "Body":
        """Return the same body with other results."""
        return Body(Code(self.code.inputs, self.code.steps, results, self.code.captured), self.outside)

    def runner(self, arrays: Sequence[Any]) -> Runner | None:
        """Return the compiled body; None where there is no compiler, or an array is not NumPy's."""
        if self._runner is None and program.available() and all(type(array) is np.ndarray for array in arrays):
            self._runner = Runner(plan(optimised(self.code)))
        return self._runner

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the results as arrays."""
        runner = self.runner(arrays)
        if runner is not None:
            return runner.run([Tensor(array) for array in arrays])
        known = dict(self.code.captured)
        known.update(zip((x for x in self.code.inputs if x not in self.code.captured), arrays, strict=True))
        for step in self.code.steps:
            given = [x.constant if x.constant is not None else known[x] for x in step.inputs]
            known.update(zip(step.outputs, step.compute(given), strict=True))
        return [x.constant if x.constant is not None else known[x] for x in self.code.results]

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run the steps one by one on Tensors, as the function itself would: they are noted and recorded in their turn."""
        known: dict[Value, Tensor] = {x: Tensor(array) for x, array in self.code.captured.items()}
        known.update(zip((x for x in self.code.inputs if x not in self.code.captured), inputs, strict=True))

        def tensor(x: Value) -> Tensor:
            return known[x] if x.constant is None else Tensor(x.constant)

        for step in self.code.steps:
            given = [tensor(x) for x in step.inputs]
            if isinstance(step.op, Primitive):
                made = step.op(*given, **step.params)
                known.update(zip(step.outputs, (made,) if isinstance(made, Tensor) else made, strict=True))
            else:
                known[step.outputs[0]] = _by_numpy(step.op, given)
        return [tensor(x) for x in self.code.results]


def _by_numpy(op: Opaque, given: Sequence[Tensor]) -> Tensor:
    """Note a step that works on raw arrays in the recording that is running."""
    if any(x.node is not None for x in given):
        raise GraphError(f"jit: {op.name} in the body of a scan, cond or while_loop has no derivative; compute it outside")
    recorder: Recorder = state.recorder
    return recorder.host(op.name, given, lambda arrays: op.compute(arrays, {})[0])


def body_of(function: Function, examples: Sequence[Any]) -> Body:
    """Return a function of Tensors as a body; arrays like those it will be given are its examples."""
    around: Any = state.recorder
    if around.place != "cpu":
        raise Elsewhere(f"a loop or branch on values at {user_line()} is on {around.place}")
    recorder = Recorder(around.adopt, around.place, around)
    inputs = [Tensor(array, Leaf() if is_inexact(array.dtype) else None) for array in examples]
    for x in inputs:
        x.data = recorder.input(x)
    state.recorder = recorder
    try:
        with recording(True):
            outputs = function(inputs)
            results = [recorder.of(x) for x in outputs]
    finally:
        state.recorder = around
    own = [x.data.value for x in inputs]
    code = Code([*(value for _, value in recorder.outside), *own, *recorder.captured], recorder.steps, results, recorder.captured)
    return Body(code, [x for x, _ in recorder.outside])


def _leaves(inputs: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    return [identity(x) if want else x for x, want in zip(inputs, wanted, strict=True)]


def pulled(function: Function, wanted: Sequence[bool], seeded: Sequence[bool]) -> Function:
    """Return the function (inputs, cotangents of the outputs that are seeded) -> cotangents of the inputs that are wanted."""

    def pull(given: Sequence[Tensor]) -> list[Tensor]:
        inputs, seeds = given[:len(wanted)], iter(given[len(wanted):])
        leaves = _leaves(inputs, wanted)
        outputs = function(leaves)
        ends = {x.node for x, want in zip(leaves, wanted, strict=True) if want and x.node is not None}
        trace = Trace([x for x, there in zip(outputs, seeded, strict=True) if there], ends)
        cotangents: dict[Node, Any] = {}
        for x, there in zip(outputs, seeded, strict=True):
            seed = next(seeds) if there else None
            if seed is not None and x.node is not None:
                accumulate(cotangents, x, seed)
        sweep_backward(trace.nodes, cotangents, trace.leaves)
        return [_or_zeros(tangent_of(x, cotangents), x) for x, want in zip(leaves, wanted, strict=True) if want]

    return pull


def pushed(function: Function, moved: Sequence[bool], outputs: Sequence[bool]) -> Function:
    """Return the function (inputs, tangents of those that move) -> outputs, then tangents of those outputs that are named."""

    def push(given: Sequence[Tensor]) -> list[Tensor]:
        inputs, tangents = given[:len(moved)], iter(given[len(moved):])
        leaves = _leaves(inputs, moved)
        found = list(function(leaves))
        known: dict[Node, Any] = {x.node: next(tangents) for x, moves in zip(leaves, moved, strict=True) if moves and x.node is not None}
        sweep_forward(Trace(found, {*known}).nodes, known)
        return [*found, *(_or_zeros(tangent_of(x, known), x) for x, there in zip(found, outputs, strict=True) if there)]

    return push


def _or_zeros(t: Tensor | None, x: Tensor) -> Tensor:
    return Tensor(np.broadcast_to(np.zeros((), x.dtype), x.shape)) if t is None else t
