"""Derivatives of compiled functions: forward and backward recorded together, then parted into two programs.

A function of Tensors that require a gradient becomes one operation of the graph. It is recorded once, with the sweep back from its results;
what the sweep needs of the forward part (and is not worth computing again) are results of the first program and inputs of the second. Both
run natively. Derivatives in forward mode, and of derivatives, run the function as it is, on the graph it makes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.closures import Closure
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import SHARED, Leaf, Node, recording, state, watch
from hyperion.autograd.jit.ir import Code, Step, Value
from hyperion.autograd.jit.native import Runner
from hyperion.autograd.jit.passes import dead_code, optimised
from hyperion.autograd.jit.plan import plan
from hyperion.autograd.jit.recording import Recording, Stage, take_writes
from hyperion.autograd.jit.surroundings import Surroundings
from hyperion.autograd.random.generator import go_to, mark
from hyperion.autograd.sweeps import Trace, accumulate, sweep_backward, zeros_like
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.trees import Structure, flatten, unflatten
from hyperion.cpu import program
from hyperion.errors import CompilerError

__all__ = ["Differentiable", "differentiable", "parted"]

VIEWS = frozenset(("permute_dims", "reshape", "broadcast_to", "getitem", "identity"))      # computed again: they cost nothing


class Differentiable:
    """The two programs of a function for one kind of arguments.

    Raises, when made: CompilerError if the compiler refuses the text.
    """

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, found: Surroundings) -> None:
        self.function = function
        self.leaves: list[Any] = []
        self.structure: Structure = Structure(None)
        self.late: list[Tensor] = []
        self.fits = True            # whether the function changes nothing around it
        whole = self._recorded(args, kwargs, found)
        if not self.fits:
            return
        ahead, self.kept, back = parted(optimised(whole), self.count, self.seeds)
        self._captured = [Tensor(array) for array in whole.captured.values()]
        native = program.available()
        self.ahead, self.back = Runner(plan(ahead, native)), Runner(plan(back, native))
        read = set(back.inputs)
        self._needed = [x in read for x in self.inputs]

    def _recorded(self, args: Any, kwargs: Any, found: Surroundings) -> Code:
        """Record the function and the sweep back from its results; inputs of the program: Tensors found, then cotangents."""
        stage = Stage(found)
        generators, before = mark(), state.recorder
        nodes = [(x, x.node, x.index) for x in found.tensors]
        self.wanted = [x.node is not None for x in found.tensors]
        try:
            for x in found.tensors:
                if x.node is not None:
                    x.node, x.index = Leaf(), 0
            state.recorder = recorder = stage.recorder
            stage.enter()
            with recording(True):
                tree = self.function(*args, **kwargs)
            outputs, self.structure = flatten(tree)
            tensors = [x for x in outputs if isinstance(x, Tensor)]
            self.tracked = [x.node is not None and is_inexact(x.dtype) for x in tensors]
            seeds = [Tensor(recorder.input(zeros_of(x))) for x, there in zip(tensors, self.tracked, strict=True) if there]
            self.seeds = [x.data.value for x in seeds]
            self.late = stage.late
            self.wanted += [True] * len(stage.late)
            leaves = [x for x, want in zip(stage.tensors, self.wanted, strict=True) if want]
            gradients = _swept(tensors, self.tracked, seeds, leaves)
            results = [recorder.of(x) for x in tensors]
            self.count = len(results)
            self.missing = [g is None for g in gradients]
            results += [recorder.of(g) for g in gradients if g is not None]
            noted = Recording()
            take_writes(stage, [], noted)
            # A key that operations split off is that of the last run: the second program might be run after another first one.
            self.fits = not noted.writes and not noted.tracked and not recorder.splits
            state.recorder = None
            self.leaves = [None if isinstance(x, Tensor) else [x] for x in outputs]
            whole = recorder.code(results)
            self.inputs = [x.value for x in stage.traced]
            whole.inputs = [*self.inputs, *self.seeds, *(x for x in whole.inputs if x in whole.captured)]
            return whole
        finally:
            state.recorder = before
            stage.leave()
            for x, node, index in nodes:
                x.node, x.index = node, index
            go_to(generators)

    def run(self, tensors: Sequence[Tensor], args: Any, kwargs: Any) -> Any:
        """Run the first program; what it returns depends on the Tensors that require a gradient. tensors: found, then late."""
        arrays = self.ahead.run(tensors)
        inputs = tuple([x for x, want in zip(tensors, self.wanted, strict=True) if want])
        values = tuple(arrays[:self.count])
        node = Node(_JITTED, inputs, {
            "made": self, "kept": arrays[self.count:], "given": [x.data for x in tensors], "args": args, "kwargs": kwargs,
        }, values)
        if SHARED:          # the second program reads all of them again
            node.inputs = (*tensors, *self._captured)
            watch(node)
            node.inputs = inputs
        found = iter([Tensor(value, node, i) if there else Tensor(value) for i, (value, there) in
                      enumerate(zip(values, self.tracked, strict=True))])
        return unflatten(self.structure, [leaf[0] if leaf is not None else next(found) for leaf in self.leaves])

    def pull(self, g: Sequence[Tensor | None], out: Sequence[Tensor], kept: Sequence[Any], given: Sequence[Any]) -> list[Tensor | None]:
        """Run the second program: the cotangents of the inputs."""
        seeds = [zeros_like(x) if c is None else c for c, x, there in zip(g, out, self.tracked, strict=True) if there]
        read = [Tensor(array) for array, needed in zip(given, self._needed, strict=True) if needed]
        found = iter(self.back.run([*map(Tensor, kept), *read, *seeds]))
        return [None if gone else Tensor(next(found)) for gone in self.missing]


def zeros_of(x: Tensor) -> Tensor:
    """Return zeros of the shape and dtype of a Tensor that is being recorded."""
    return Tensor(np.zeros(x.shape, x.dtype))


def _swept(outputs: Sequence[Tensor], tracked: Sequence[bool], seeds: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor | None]:
    ends = {x.node for x in leaves if x.node is not None}
    sources = [x for x, there in zip(outputs, tracked, strict=True) if there]
    trace = Trace(sources, ends)
    cotangents: dict[Node, Any] = {}
    with recording(False):
        for x, seed in zip(sources, seeds, strict=True):
            accumulate(cotangents, x, seed)
        sweep_backward(trace.nodes, cotangents, trace.leaves)
    return [cotangents.get(x.node) if x.node is not None else None for x in leaves]


def parted(code: Code, count: int, seeds: Sequence[Value]) -> tuple[Code, list[Value], Code]:
    """Return the program of the first results, what it hands on beside them, and the program of the rest, which depends on seeds.

    The inputs of the second: what is handed on, the inputs of the whole it reads, the seeds, and captured arrays.
    """
    later = set(seeds)
    ahead: list[Step] = []
    back: list[Step] = []
    for step in code.steps:
        if any(x in later for x in step.inputs) and not step.effect:
            later.update(step.outputs)
            back.append(step)
        else:
            ahead.append(step)
    makers = {x: step for step in ahead for x in step.outputs}
    again: dict[Step, None] = {}
    kept: dict[Value, None] = {}

    def need(x: Value) -> None:
        step = makers.get(x)
        if step is None:
            return
        if step.name in VIEWS and len(step.inputs) == 1:
            need(step.inputs[0])
            again[step] = None
        else:
            kept[x] = None

    cotangents = code.results[count:]
    for x in (*(x for step in back for x in step.inputs), *cotangents):
        need(x)
    own = [x for x in code.inputs if x not in code.captured and x not in later]
    inputs = [*own, *code.captured]
    first = dead_code(Code(inputs, ahead, [*code.results[:count], *kept], code.captured))
    steps = [*again, *back]
    read = {x for step in steps for x in step.inputs} | set(cotangents)
    captured = {x: array for x, array in code.captured.items() if x in read}
    second = Code([*kept, *(x for x in own if x in read), *seeds, *captured], steps, cotangents, captured)
    return first, list(kept), second


def _closure(made: Differentiable, inputs: Sequence[Tensor], args: Any, kwargs: Any) -> tuple[Closure, list[Tensor], list[int | None]]:
    """Return the function to be run as it is, its inputs, and the place of each of the node's inputs among what it depends on."""
    body = Closure("jit", lambda *given: made.function(*given, **kwargs), args)
    places = {(x.node, x.index): i for i, x in enumerate((*body.inputs, *body.outside)) if x.node is not None}
    order = [None if x.node is None else places.get((x.node, x.index)) for x in inputs]
    return body, list(body.inputs), order


def _vjp(
    g: Sequence[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, made: Differentiable, kept: Any, given: Any, args: Any, kwargs: Any,
) -> list[Tensor | None]:
    if not state.recording and state.recorder is None:
        return made.pull(g, out, kept, given)
    body, own, order = _closure(made, inputs, args, kwargs)
    first, outside = body.pull(own, g)
    found = [*first, *outside]
    return [None if i is None else found[i] for i in order]


def _jvp(
    tangents: list[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, made: Differentiable, kept: Any, given: Any, args: Any,
    kwargs: Any,
) -> tuple[Tensor, ...]:
    body, own, order = _closure(made, inputs, args, kwargs)
    placed: list[Tensor | None] = [None] * (len(own) + len(body.outside))
    for i, t in zip(order, tangents, strict=True):
        if i is not None:
            placed[i] = t
    moved = body.push(own, placed[:len(own)], placed[len(own):])
    return tuple([zeros_like(x) if t is None else t for t, x in zip(moved, out, strict=True)])


def _forward(xp: Any, *arrays: Any, made: Differentiable, kept: Any, given: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
    places = iter(arrays)
    return tuple(made.ahead.run([Tensor(next(places) if want else array) for array, want in zip(given, made.wanted, strict=True)])
                 [:made.count])


_JITTED = Primitive("jit", "general", _forward, _vjp, _jvp, outputs=None, register=False)


def differentiable(function: Callable[..., Any], args: Any, kwargs: Any, found: Surroundings) -> Differentiable | None:
    """Return the programs; None if the function changes something around it, or there is no compiler for them."""
    try:
        made = Differentiable(function, args, kwargs, found)
    except CompilerError:
        return None
    return made if made.fits else None
