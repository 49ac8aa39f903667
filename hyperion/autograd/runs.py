"""A run of a function on fresh leaves, which records its graph: what every transform starts from.

A sweep over the graph is itself recorded only when it can depend on something tracked outside: by an enclosing transform, or a Tensor with
requires_grad. Inside vmap the function sees one example, but the graph holds the batch: leaves, seeds and results are lowered to Tensors
with the batches as first axes for the sweep, and wrapped again afterwards.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from hyperion.autograd.batching import at_levels, levels, lower, wrap
from hyperion.autograd.graph import Leaf, Node, recording, state
from hyperion.autograd.ops.shaping import identity
from hyperion.autograd.sweeps import Trace, match
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand, make_leaf
from hyperion.autograd.trees import Structure, flatten, flatten_like, paths, unflatten
from hyperion.errors import GraphError, InputError

__all__ = ["Run", "check_argnums", "named_like", "of_chosen", "outputs_of"]


class Run:
    """A function, run once on fresh leaves.

    name: of the transform, for errors.  levels: the vmaps that were running.
    inputs, structure: leaves of the arguments (lowered), and their tree.  tree: what the function returned.
    recording, tracked: whether recording was on around the transform, and an argument was tracked there.
    """

    def __init__(self, name: str, function: Callable[..., Any], args: Sequence[Any], own: bool = False) -> None:
        """Run the function.

        own: copy arguments that are arrays which can be written to, for a sweep that is made later.
        """
        if not callable(function):
            raise InputError(f"{name}: the function is a {type(function).__name__}; it must be callable")
        self.name = name
        self.levels = levels.running
        self.recording = state.recording
        values, self.structure = flatten(tuple(args))
        self.inputs: list[Tensor] = []
        tracked = False
        with recording(True):
            for value, path in zip(values, paths(self.structure), strict=True):
                x = lower(_argument(value, f"{name}: argument {path}"), self.levels)
                if x.tracked and self.recording:
                    tracked = True
                    self.inputs.append(identity(x))         # inside, another place in the graph; its derivative goes on to x
                else:
                    self.inputs.append(make_leaf(x, f"{name}: argument {path}", own))
            self.tree: Any = function(*unflatten(self.structure, [wrap(x, self.levels) for x in self.inputs]))
        for x in self.inputs:
            if isinstance(x.node, Leaf):
                x.node.done = True
        self.leaves: set[Node] = {x.node for x in self.inputs if x.node is not None}
        self.tracked = tracked

    def lower(self, x: Tensor) -> Tensor:
        """Return a Tensor with the batches of the vmaps around as its first axes."""
        return lower(x, self.levels) if self.levels else x

    def wrap(self, x: Tensor) -> Tensor:
        """Return a Tensor with those axes hidden again."""
        return wrap(x, self.levels) if self.levels else x

    def sweeping(self) -> AbstractContextManager[None]:
        """Return a context for a sweep: the vmaps around the run are axes that its rules see."""
        return at_levels(tuple([level for level in levels.running if level not in self.levels]))

    def trace(self, outputs: Sequence[Tensor]) -> Trace:
        """Return the graph of some outputs (lowered), with `outside` also True if an argument was tracked."""
        trace = Trace(outputs, self.leaves)
        trace.outside = (trace.outside or self.tracked) and self.recording
        return trace

    def release(self, outputs: Sequence[Tensor], outside: bool) -> list[Tensor]:
        """Return lowered Tensors fit to hand out: wrapped, and without their graph unless something outside can depend on it."""
        return [self.wrap(x if outside else x.detach()) for x in outputs]

    def release_any(self, value: Any) -> Any:
        """Return any value fit to hand out: a Tensor as `release`, others as they are."""
        if not isinstance(value, Tensor):
            return value
        x = self.lower(value)
        return self.release([x], self.trace([x]).outside)[0]

    def seeds(self, tree: Any, structure: Structure, like: Sequence[Tensor], name: str) -> list[Tensor]:
        """Return the Tensors of a tree of tangents or cotangents, lowered, each in the dtype of the Tensor it belongs to.

        like: what they belong to, lowered.
        Raises: TreeError or ShapeError if they do not match.
        """
        return [
            self.lower(match(seed, self.wrap(x), f"{name}{path}"))
            for seed, x, path in zip(flatten_like(structure, tree, name.rpartition(" ")[2]), like, paths(structure), strict=True)
        ]


def _argument(value: Any, what: str) -> Tensor:
    if not is_operand(value):
        raise InputError(f"{what} is a {type(value).__name__}; it must be a Tensor, an array or a number: pass others by keyword")
    return as_tensor(value)


def outputs_of(name: str, tree: Any) -> tuple[list[Tensor], Structure]:
    """Return the Tensors of a function's result and its structure.

    Raises: GraphError if it holds something else.
    """
    leaves, structure = flatten(tree)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        if not isinstance(leaf, Tensor):
            raise GraphError(
                f"{name}: the function returned a {type(leaf).__name__}{' at ' + path if path else ''}, which is not connected to its "
                "arguments; it must return Tensors: compute with hyperion's functions, or return asarray(...) if a constant is meant"
            )
    return leaves, structure


def check_argnums(name: str, argnums: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return positions of arguments as numbers from 0.

    Raises: InputError if one is outside.
    """
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    if not chosen or not all(type(i) is int and -count <= i < count for i in chosen):
        raise InputError(f"{name}: argnums={argnums!r} must be an int or a tuple of ints: positions of the {count} argument(s)")
    return tuple(i % count for i in chosen)


def of_chosen(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], chosen: Sequence[int]) -> Callable[..., Any]:
    """Return a function of the chosen arguments only; the others stay."""

    def restricted(*parts: Any) -> Any:
        full = list(args)
        for i, part in zip(chosen, parts, strict=True):
            full[i] = part
        return function(*full, **kwargs)

    return restricted


def named_like(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a transformed function the name and docstring of the function, if that is one.

    Raises: InputError if it cannot be called.
    """
    if not callable(function):
        raise InputError(f"the function is a {type(function).__name__}; it must be callable")
    return functools.wraps(function) if inspect.isfunction(function) else lambda made: made
