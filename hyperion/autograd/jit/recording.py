"""One recording: stand-ins are put where the function finds its Tensors, it is run, and what it changed becomes results of the program.

Everything is put back afterwards: a recording changes nothing, and the program does what the function did when it runs.
"""

from collections.abc import Callable
from typing import Any

from hyperion.autograd.graph import Leaf, state
from hyperion.autograd.jit.ir import Code, Value
from hyperion.autograd.jit.recorder import Recorder
from hyperion.autograd.jit.standin import Traced
from hyperion.autograd.jit.surroundings import Surroundings
from hyperion.autograd.random.generator import go_to, mark
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.trees import Structure, flatten, paths
from hyperion.errors import GraphError

__all__ = ["Recording", "Stage", "Write", "record", "take_writes"]


class Write:
    """A change that the function makes: where, and what the program puts there.

    kind: "value" of a Tensor that is assigned, its "grad", or an "entry" of a container. owner: the place of the Tensor among those found,
    or the container's among the places. result: its number among the program's results; None: the place becomes None.
    fixed: what is put there as it is, instead of a result: a constant Tensor.
    """

    __slots__ = ("fixed", "kind", "owner", "result")

    def __init__(self, kind: str, owner: int, result: int | None, fixed: Tensor | None = None) -> None:
        self.kind = kind
        self.owner = owner
        self.result = result
        self.fixed = fixed


class Recording:
    """What a recording found.

    code: the program; its first inputs are the Tensors found, in order.  count: of these.
    leaves: for each leaf of the function's result its number among the program's results; (place,) of a Tensor that was found; [leaf] of
        what is no Tensor.  structure: of the function's result.
    tracked: whether a result still depends on a Tensor that requires a gradient: then the function has to run as it is.
    place: the device of all arrays.
    late: Tensors that require a gradient and were found only when they were used; inputs after the others.
    """

    def __init__(self) -> None:
        self.code: Code = Code((), (), (), {})
        self.count = 0
        self.leaves: list[Any] = []
        self.structure: Structure = Structure(None)
        self.writes: list[Write] = []
        self.tracked = False
        self.late: list[Tensor] = []
        self.place = "cpu"


class Stage:
    """The Tensors that hold stand-ins during a recording, and what they held before."""

    def __init__(self, found: Surroundings) -> None:
        self.found = found
        self.recorder = Recorder(self._adopt, found.place)
        self.tensors: list[Tensor] = []
        self.before: list[tuple[Any, Tensor | None]] = []
        self.traced: list[Traced] = []
        self.late: list[Tensor] = []

    def enter(self) -> None:
        for x in self.found.tensors:
            self._install(x)

    def _install(self, x: Tensor) -> None:
        self.tensors.append(x)
        self.before.append((x.data, x.grad))
        x.data = self.recorder.input(x)
        self.traced.append(x.data)

    def _adopt(self, x: Tensor) -> None:
        """Take in a Tensor that requires a gradient and was hidden from the walk, where it is used first."""
        self.late.append(x)
        self._install(x)

    def leave(self) -> None:
        for x, (data, grad) in zip(self.tensors, self.before, strict=True):
            x.data = data
            if isinstance(x.node, Leaf):
                x.node.grad = grad
        for container, key, value in self.found.places:
            if _entry(container, key) is not value:
                container[key] = value


def _entry(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError):
        return _Missing


class _Missing:
    """Stands for an entry that is gone."""


def record(function: Callable[..., Any], args: Any, kwargs: Any, found: Surroundings) -> Recording:
    """Run a function on stand-ins and return what it does.

    Raises: GraphError if it needs values, or changes something that a program cannot change.
    """
    stage = Stage(found)
    generators = mark()
    before = state.recorder
    out = Recording()
    try:
        state.recorder = stage.recorder
        stage.enter()
        tree = function(*args, **kwargs)
        state.recorder = None
        results: list[Value] = []
        _take_results(tree, stage, results, out)
        take_writes(stage, results, out)
        out.code = stage.recorder.code(results)
        out.late = stage.late
        out.place = found.place
        out.count = len(stage.tensors)
        out.code.inputs = [x.value for x in stage.traced] + [v for v in out.code.inputs if v in out.code.captured]
    except RecursionError as error:
        raise GraphError(
            "jit: the function calls itself without end while it is recorded; a recursion must end by a Python number that is an argument; "
            "where a value ends it, use hp.while_loop"
        ) from error
    finally:
        state.recorder = before
        stage.leave()
        go_to(generators)
    return out


def _take_results(tree: Any, stage: Stage, results: list[Value], out: Recording) -> None:
    leaves, out.structure = flatten(tree)
    for leaf, path in zip(leaves, paths(out.structure), strict=True):
        if not isinstance(leaf, Tensor):
            out.leaves.append([leaf])
            continue
        if type(leaf) is not Tensor:
            raise GraphError(f"jit: the function returned one example of a vmap{' at ' + path if path else ''}; return it from the mapped "
                             "function first")
        place = next((i for i, x in enumerate(stage.tensors) if x is leaf), None)
        if place is not None:
            out.leaves.append((place,))
            continue
        if leaf.node is not None and leaf.node.inputs is not None:      # a loss whose graph backward has freed has no derivative any more
            out.tracked = True
        out.leaves.append(len(results))
        results.append(stage.recorder.of(leaf))


def take_writes(stage: Stage, results: list[Value], out: Recording) -> None:
    """Note what the function changed, and refuse what a program cannot change."""
    found, recorder = stage.found, stage.recorder

    def result(x: Tensor) -> int:
        results.append(recorder.of(x))
        return len(results) - 1

    for place, (x, own, (_, grad)) in enumerate(zip(stage.tensors, stage.traced, stage.before, strict=True)):
        if x.data is not own and recorder.stepped.get(id(x)) is not x.data:        # a step of an optimiser does that itself
            out.writes.append(Write("value", place, result(x)))
        if isinstance(x.node, Leaf) and x.grad is not grad:
            out.writes.append(Write("grad", place, None if x.grad is None else result(x.grad)))
    for cell, content in found.cells:
        if cell.cell_contents is not content:
            raise GraphError(
                f"jit: the function changed a variable of its surroundings from {_text(content)} to {_text(cell.cell_contents)} while it "
                "was recorded; a program would not do so again: return the new value instead"
            )
    for container, length in found.sizes:
        if len(container) != length:
            raise GraphError(
                f"jit: the function changed the length of a {type(container).__name__} from {length} to {len(container)} while it was "
                "recorded (it appended or removed an entry); a program would not do so again: return what it is to keep"
            )
    for place, (container, key, value) in enumerate(found.places):
        now = _entry(container, key)
        if now is value:
            continue
        fits = (now is None or type(now) is Tensor) and (value is None or isinstance(value, Tensor))
        if not fits or not (isinstance(container, dict | list)):
            raise GraphError(
                f"jit: the function changed {key!r} from {_text(value)} to {_text(now)} while it was recorded; a program would not do so "
                "again: keep it as a Tensor (hp.asarray), or change it outside"
            )
        if now is None:
            out.writes.append(Write("entry", place, None))
        elif now.node is not None:
            out.tracked = True
        else:
            out.writes.append(Write("entry", place, result(now)))


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
