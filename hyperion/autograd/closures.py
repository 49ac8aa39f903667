"""Functions that use Tensors from outside, as operations of the graph: their derivatives reach those Tensors too.

The function is run once to find which tracked Tensors it uses beside its arguments. The operations built on it (checkpoint, linear_solve,
root_solve) take these as further inputs, and call the function again in their rules: with its variables as they were, and refusing to go
on if it gives other values than before.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, at_levels, levels, lower, wrap
from hyperion.autograd.dtypes import BFLOAT16, is_inexact, real_dtype
from hyperion.autograd.freezing import frozen
from hyperion.autograd.graph import Anchor, Node, recording, state, tick
from hyperion.autograd.ops.shaping import identity
from hyperion.autograd.runs import outputs_of
from hyperion.autograd.sweeps import Trace, accumulate, sweep_backward, sweep_forward, tangent_of
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand
from hyperion.autograd.trees import flatten, unflatten
from hyperion.errors import GraphError
from hyperion.gpu import device

__all__ = ["Closure"]


class Closure:
    """A function of trees as one of a flat list of Tensors, lowered from the vmaps that were running.

    inputs: the Tensors among the leaves of the arguments.  outside: the tracked Tensors it uses beside them.
    outputs, structure: the Tensors of the first result, and its tree.
    """

    def __init__(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self.name = name
        self.function = frozen(function)
        self.levels = levels.running
        self.leaves, self.tree = flatten(tuple(args))
        self.places = [i for i, leaf in enumerate(self.leaves) if is_operand(leaf) and not isinstance(leaf, bool | int)]
        self.inputs = [lower(as_tensor(self.leaves[i]), self.levels) for i in self.places]
        start = tick()
        with recording(True):
            leaves = [Tensor(x.data, Anchor()) if is_inexact(x.dtype) else x for x in self.inputs]
            self.outputs = [x.detach() for x in self._find(leaves, start)]

    def _find(self, leaves: list[Tensor], start: int) -> list[Tensor]:
        """Run the function the first time; note the structure of its result and what it uses from outside."""
        outputs = self.run(leaves)
        own = {x.node for x in leaves}
        found: dict[tuple[Node, int], Tensor] = {}
        stack: list[Tensor] = list(outputs)
        seen: set[Node] = set()
        while stack:
            x = stack.pop()
            node = x.node
            if node is None or node in own:
                continue
            if node.op is None or node.order < start:
                found.setdefault((node, x.index), x)
            elif node not in seen:
                seen.add(node)
                stack.extend(node.inputs or ())
        self.outside = sorted(found.values(), key=lambda x: (x.node.order, x.index))      # pyright: ignore[reportOptionalMemberAccess]
        return outputs

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the lowered outputs for lowered inputs."""
        leaves = list(self.leaves)
        for i, x in zip(self.places, inputs, strict=True):
            leaves[i] = wrap(x, self.levels)
        with at_levels((*self.levels, *(level for level in levels.running if level not in self.levels))):
            outputs, self.structure = outputs_of(self.name, self.function(*unflatten(self.tree, leaves)))
        return [lower(x, self.levels) for x in outputs]

    def lowered(self) -> AbstractContextManager[None]:
        """Return a context in which the vmaps around are axes that can be seen."""
        return at_levels(tuple([level for level in levels.running if level not in self.levels]))

    def release(self, outputs: Sequence[Tensor]) -> Any:
        """Return lowered outputs as the function's result."""
        return unflatten(self.structure, [wrap(x, self.levels) for x in outputs])

    def _again(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Trace]:
        """Run the function again, recorded on leaves of its own: return these, the outputs, and the graph between."""
        record = state.recording
        with recording(True):
            leaves = [
                x if not is_inexact(x.dtype) else identity(x) if x.tracked and record else Tensor(x.data, Anchor()) for x in inputs
            ]
            outputs = self.run(leaves)
        if all(x.data is y.data for x, y in zip(inputs, self.inputs, strict=True)):
            self._compare(outputs)
        ends = {x.node for x in (*leaves, *self.outside) if x.node is not None}
        return leaves, outputs, Trace(outputs, ends)

    def check(self) -> None:
        """Run the function again where it was run first, and compare.

        Raises: GraphError if the results differ: something it uses was changed in place.
        """
        with recording(False):
            self._compare(self.run(self.inputs))

    def _compare(self, outputs: Sequence[Tensor]) -> None:
        for x, first in zip(outputs, self.outputs, strict=True):
            if not is_inexact(first.dtype) or isinstance(x, Batched) or isinstance(first.data, device.Standin):
                continue
            xp = device.namespace(first.data)
            size = float(xp.max(xp.abs(xp.where(xp.isfinite(first.data), first.data, 0)))) if first.size else 0.0
            # Rounding of sums in another order stays far below the square root of eps; what was changed in place seldom does.
            allowed = float(np.finfo(real_dtype(first.dtype)).eps) ** 0.5 * size if first.dtype != BFLOAT16 else 0.1 * size
            if x.shape != first.shape or bool(xp.any(xp.abs(x.data - first.data) > allowed)):
                raise GraphError(
                    f"{self.name}: the function gave other values when it was run again for a derivative; it must do the same each time: "
                    "an array, list or Tensor that it uses was changed in place since"
                )

    def pull(self, inputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return cotangents of the inputs and of what is used from outside, given those of the outputs."""
        leaves, outputs, trace = self._again(inputs)
        cotangents: dict[Node, Any] = {}
        for x, seed in zip(outputs, seeds, strict=True):
            if x.node is not None and seed is not None:
                accumulate(cotangents, x, seed)
        sweep_backward(trace.nodes, cotangents, trace.leaves, free=not state.recording)
        return [tangent_of(x, cotangents) for x in leaves], [tangent_of(x, cotangents) for x in self.outside]

    def push(
        self, inputs: Sequence[Tensor], tangents: Sequence[Tensor | None], outside: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Return tangents of the outputs, given those of the inputs and of what is used from outside."""
        leaves, outputs, trace = self._again(inputs)
        known: dict[Node, Any] = {}
        for x, t in zip((*leaves, *self.outside), (*tangents, *outside), strict=True):
            node: Any = x.node
            if node is None or t is None:
                continue
            if node.op is None or node.op.outputs == 1:
                known[node] = t
            else:
                known.setdefault(node, [None] * len(node.output))[x.index] = t
        sweep_forward(trace.nodes, known)
        return [tangent_of(x, known) for x in outputs]
