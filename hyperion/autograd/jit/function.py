"""`jit`: a function that is recorded once for each kind of arguments, compiled, and replayed."""

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from operator import is_, itemgetter
from typing import Any

import numpy as np

from hyperion import config
from hyperion.autograd.graph import Leaf, changes, recording, state
from hyperion.autograd.jit.cuda import CudaRunner
from hyperion.autograd.jit.derivative import Differentiable, differentiable
from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Code
from hyperion.autograd.jit.native import Runner
from hyperion.autograd.jit.passes import optimised
from hyperion.autograd.jit.plan import Plan, plan
from hyperion.autograd.jit.recorder import Elsewhere
from hyperion.autograd.jit.recording import Recording, record
from hyperion.autograd.jit.surroundings import Surroundings, kind_of
from hyperion.autograd.jit.updates import Outdated
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.trees import unflatten
from hyperion.codegen.cuda_loops import cuda_loop
from hyperion.codegen.loops import Loop
from hyperion.cpu import program
from hyperion.errors import CompilerError, InputError, SpeedWarning
from hyperion.gpu import cublaslt
from hyperion.gpu.device import is_cupy

__all__ = ["Jitted", "Lowered", "jit"]

MOST = 64               # programs of one function that are kept
ONE_DEVICE = "move Tensors to one device outside the function"
MANY = 8                # programs after which a warning says that what is recorded by value changes


def jit(function: Callable[..., Any]) -> "Jitted":
    """Return a function that does the same as a program: recorded at the first call, compiled to C or CUDA, and run without Python between.

    function: of Tensors, arrays, trees, Modules and optimisers; it may hold `loss.backward(); optimizer.step()`. What it finds around it
        (variables of closures and modules, attributes) is looked at before every run: another value there makes another recording.
        Parameters, gradients, buffers, optimiser states and random generators go on from run to run as they do without jit.
    A program serves all calls with arguments of the same structure, shapes and dtypes; Python numbers and text are recorded by value, and
    new sizes are recorded again but compile nothing. Results equal those of the function to a few units in the last place.
    Derivatives may be taken inside, jit(grad(f)), or outside: grad(jit(f)) runs two programs, forward and backward. Derivatives of
    derivatives and forward mode from outside run f as it is; so do calls with
    Tensors on several devices, after one warning.
    HYPERION_DEBUG=ir,passes,code,memory prints the stages of each program; `jit(f).lower(*args)` returns them.
    Raises, when called: GraphError where the function needs a value while it is recorded (`if x > 0`, float(x), x.numpy()), or changes
        something that a program cannot change (a list it appends to, a number it counts up).

    >>> import hyperion as hp
    >>> slope = hp.jit(hp.grad(lambda x: hp.sum(hp.tanh(x) ** 2)))
    >>> slope(hp.asarray([0.0, 1.0]))
    Tensor (2,) float32, cpu: [0.     0.6397]
    """
    return Jitted(function)


class Lowered:
    """The stages of one program as text.

    ir: as recorded.  passes: after each pass, by name.  plan: what runs natively and what by NumPy (CuPy), in order.  code: the C or CUDA
    text of the loops.  memory: where arrays lie.
    """

    def __init__(self, recorded: Code, passes: dict[str, str], made: Plan, place: str) -> None:
        self.ir = str(recorded)
        self.passes = passes
        self.plan = str(made)
        self.memory = made.memory()
        text = Loop.text if place == "cpu" else cuda_loop
        self.code = "\n".join(text(item.loop, f"item_{i}") for i, item in enumerate(made.items) if isinstance(item, Reading))

    def __repr__(self) -> str:
        return f"Lowered program of {len(self.plan.splitlines())} items"

    def __str__(self) -> str:
        return "\n".join(["recorded:", self.ir, "plan:", self.plan, "memory:", self.memory])


class Program:
    """A recording made ready to run: by native code, or where there is no compiler by NumPy."""

    def __init__(self, recorded: Recording) -> None:
        self.recorded = recorded
        asked = config.debug_stages()
        self.passes: dict[str, str] = {}
        structure = recorded.structure
        alone = structure.kind is tuple and all(child.kind is None for child in structure.children)
        self.plain = "leaf" if structure.kind is None else "tuple" if alone else None        # results that are quick to put together
        code = optimised(recorded.code, self._note)
        far = recorded.place != "cpu"
        self.plan = plan(code, True, cublaslt.available()) if far else plan(code, program.available())
        for stage in asked:
            for line in self._stage(stage):
                print(line, file=sys.stderr)
        try:
            self.runner = self._runner()
        except CompilerError as error:
            by = "CuPy" if far else "NumPy"
            warnings.warn(f"jit: the program runs by {by}, several times slower: {error}", SpeedWarning, stacklevel=6)
            self.plan = plan(code, False)
            self.runner = self._runner()

    def _runner(self) -> Runner | CudaRunner:
        place = self.recorded.place
        return Runner(self.plan) if place == "cpu" else CudaRunner(self.plan, int(place.partition(":")[2]))

    def _note(self, name: str, code: Code) -> None:
        self.passes[name] = str(code)

    def lowered(self) -> Lowered:
        return Lowered(self.recorded.code, self.passes, self.plan, self.recorded.place)

    def _stage(self, stage: str) -> list[str]:
        made = self.lowered()
        texts = {"ir": {"ir": made.ir}, "passes": made.passes | {"plan": made.plan}, "code": {"code": made.code},
                 "memory": {"memory": made.memory}}
        return [f"jit, {name}:\n{text}" for name, text in texts[stage].items()]

    def run(self, tensors: Sequence[Tensor], places: list[Any]) -> Any:
        """Run, do what the function did to its surroundings, and return its result. places: of the walk, brought up to date."""
        recorded = self.recorded
        arrays = self.runner.run(tensors)
        made = [Tensor(array) for array in arrays]
        for write in recorded.writes:
            value = None if write.result is None else made[write.result]
            if write.kind == "value" and value is not None:
                x = tensors[write.owner]
                if x.data is not value.data:
                    if isinstance(x.node, Leaf):
                        x.assign(value)
                    else:
                        x.data = value.data
            elif write.kind == "grad":
                tensors[write.owner].node.grad = value          # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
            else:
                container, key, _ = places[write.owner]
                container[key] = value
                places[write.owner] = (container, key, value)
        leaves: list[Any] = []
        for leaf in recorded.leaves:
            leaves.append(made[leaf] if isinstance(leaf, int) else leaf[0] if isinstance(leaf, list) else tensors[leaf[0]])
        if self.plain is not None:
            return leaves[0] if self.plain == "leaf" else tuple(leaves)
        return unflatten(recorded.structure, leaves)


class Binding:
    """A program with the objects it reads and writes: for calls whose arguments look the same and around which nothing changed.

    inputs: for each input of the program the Tensor, or the place of the argument.
    """

    def __init__(self, made: Program, found: Surroundings, flat: Sequence[Any]) -> None:
        self.program = made
        self.found = found                  # keeps alive what is known by its id
        self.places = found.places
        order = {id(x): i for i, x in enumerate(flat)}
        self.inputs: list[Any] = [order.get(id(x), x) for x in (*found.tensors, *made.recorded.late)]
        self.owned = {id(x) for x in self.inputs if isinstance(x, Tensor)}
        self.leaves = [(x.node, x.grad) for x in found.tensors if isinstance(x.node, Leaf)]
        # Tensors that a run puts others in the place of.
        self.gradients = [(i, leaf) for i, leaf in enumerate(found.origins) if isinstance(leaf, Tensor)]
        written = {write.owner for write in made.recorded.writes if write.kind == "entry"}
        self.entries = [(i, place) for i, place in enumerate(found.origins) if type(place) is int and place in written]
        self.moving = sorted(written)
        own: dict[int, tuple[Any, list[Any], list[Any]]] = {}
        for i, (container, key, value) in enumerate(self.places):
            if i not in written:
                _, keys, values = own.setdefault(id(container), (container, [], []))
                keys.append(key)
                values.append(value)
        # (container, what gets its entries, these); of one entry it is got twice, so that there always are several.
        self.fixed = [(container, itemgetter(*keys, keys[0]), [*values, values[0]]) for container, keys, values in own.values()]

    def holds(self, flat: Sequence[Any]) -> bool:
        """Tell whether everything around still is what it was."""
        try:
            for container, entries, values in self.fixed:
                if not all(map(is_, entries(container), values)):
                    return False
            for i in self.moving:
                container, key, value = self.places[i]
                if container[key] is not value:
                    return False
            for cell, content in self.found.cells:
                if cell.cell_contents is not content:
                    return False
        except (KeyError, IndexError, ValueError):
            return False
        for container, length in self.found.sizes:
            if len(container) != length:
                return False
        for node, grad in self.leaves:
            now = node.grad
            if now is not grad and (now is None or grad is None or now.data.shape != grad.data.shape or now.data.dtype != grad.data.dtype):
                return False
        return all(id(x) not in self.owned for x in flat)

    def run(self, flat: Sequence[Any]) -> Any:
        for i, leaf in self.gradients:
            self.inputs[i] = leaf.grad
        for i, place in self.entries:
            self.inputs[i] = self.places[place][2]
        return self.program.run([flat[x] if type(x) is int else x for x in self.inputs], self.places)


class Jitted:
    """A function that `jit` made; see there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise InputError(f"jit(function): got a {type(function).__name__}; it must be callable")
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self._programs: dict[Any, tuple[Program | None, Surroundings]] = {}
        self._bindings: dict[Any, Binding] = {}
        self._derivatives: dict[Any, tuple[Differentiable | None, Surroundings]] = {}
        self._warned = False
        self._said = False

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"jit({name.rpartition('.')[2]}), recorded {len(self._programs)} times"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.recorder is not None or changes.debugging:         # debug looks at every operation
            return self.function(*args, **kwargs)
        parts: list[Any] = [state.recording, state.deterministic]
        flat: list[Any] = []
        plain = not kwargs
        for value in args:
            plain = plain and _quick(value, parts, flat)
        key = tuple(parts) if plain else None
        if key is not None:
            binding = self._bindings.get(key)
            if binding is not None and binding.holds(flat):
                try:
                    return binding.run(flat)
                except Outdated:
                    self._forget(binding.program)
        return self._slow(key, flat, args, kwargs)

    def _slow(self, key: Any, flat: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Walk through the arguments and what is around, record if that is new, and run."""
        found, given, named = self._look(args, kwargs)
        if found.tracked:
            if found.apart:
                self._runs_as_it_is(f"{found.apart}; {ONE_DEVICE}")
            return self.function(*args, **kwargs)
        if found.computed and state.recording:
            return self._derived(found, given, named)
        known = self._programs.get(found.key)
        if known is None:
            known = self._recorded(found, given, named)
        made = known[0]
        if made is None:
            return self.function(*args, **kwargs) if known[1].tracked else self._derived(found, given, named)
        arrays = any(isinstance(x, np.ndarray) for x in flat)
        if key is not None and not arrays and len({id(x) for x in flat}) == len(flat) and not found.repeated & {id(x) for x in flat}:
            if len(self._bindings) >= MOST:
                self._bindings.pop(next(iter(self._bindings)))
            self._bindings[key] = Binding(made, found, flat)
        try:
            return made.run([*found.tensors, *made.recorded.late], found.places)
        except Outdated:
            self._forget(made)
            return self._slow(key, flat, args, kwargs)

    def _derived(self, found: Surroundings, args: Any, kwargs: Any) -> Any:
        """Run as one operation of the graph, whose derivative is a program too; as it is where that cannot be."""
        if found.place != "cpu":
            self._runs_as_it_is(f"its derivative is taken outside, on {found.place}; take it inside, as in hp.jit(hp.grad(f))")
            return self.function(*args, **kwargs)
        key = (found.key, tuple([x.node is not None for x in found.tensors]))
        if key not in self._derivatives:
            if len(self._derivatives) >= MOST:
                self._derivatives.pop(next(iter(self._derivatives)))
            self._derivatives[key] = differentiable(self.function, args, kwargs, found), found
            if self._derivatives[key][0] is None:
                warnings.warn(
                    f"{self!r}: a result still depends on a Tensor that requires a gradient, and the function changes something around it: "
                    "it runs as it is, without being compiled; take the derivative inside (hp.jit(hp.grad(f)), or loss.backward() in the "
                    "function), or call it in no_grad()", SpeedWarning, stacklevel=5,
                )
        made = self._derivatives[key][0]
        return self.function(*args, **kwargs) if made is None else made.run([*found.tensors, *made.late], args, kwargs)

    def _forget(self, made: Program) -> None:
        """Drop a program whose optimiser has another rule by now."""
        self._bindings = {key: one for key, one in self._bindings.items() if one.program is not made}
        self._programs = {key: one for key, one in self._programs.items() if one[0] is not made}

    def _runs_as_it_is(self, cause: str) -> None:
        """Say once that there is no program."""
        if not self._said:
            self._said = True
            warnings.warn(f"{self!r} runs as it is, without being compiled: {cause}", SpeedWarning, stacklevel=5)

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Return the stages of the program for these arguments as text. The function is recorded, not run."""
        found, args, kwargs = self._look(args, kwargs)
        if found.tracked or found.computed:
            why = found.tracked or "an argument was computed from a Tensor that requires a gradient"
            raise InputError(f"jit(f).lower: there is no program, since {why}")
        known = self._programs.get(found.key) or self._recorded(found, args, kwargs)
        if known[0] is None:
            cause = known[1].tracked or "a result depends on a Tensor that requires a gradient; take the derivative inside the function"
            raise InputError(f"jit(f).lower: there is no program, since {cause}")
        return known[0].lowered()

    def _look(self, args: Any, kwargs: Any) -> tuple[Surroundings, Any, Any]:
        found = Surroundings(self.function)
        args = tuple([found.argument(x) for x in args])
        found.parts.append(tuple(kwargs))
        kwargs = {name: found.argument(x) for name, x in kwargs.items()}
        found.parts += [state.recording, state.deterministic]
        return found, args, kwargs

    def _recorded(self, found: Surroundings, args: Any, kwargs: Any) -> tuple[Program | None, Surroundings]:
        try:
            recorded = record(self.function, args, kwargs, found)
        except Elsewhere as error:
            self._runs_as_it_is(f"{error}; {ONE_DEVICE}" if error.moves else str(error))
            found.tracked = str(error)
            self._programs[found.key] = None, found
            return None, found
        if len(self._programs) >= MOST:
            self._programs.pop(next(iter(self._programs)))
        if len(self._programs) == MANY and not self._warned:
            self._warned = True
            warnings.warn(f"{self!r}, and now again: Python numbers among its arguments or around it, which are recorded by value, or "
                          "shapes, differ from call to call; pass numbers as hp.asarray(number)", SpeedWarning, stacklevel=4)
        with recording(False):
            self._programs[found.key] = (None if recorded.tracked else Program(recorded), found)
        return self._programs[found.key]


def _quick(value: Any, parts: list[Any], flat: list[Any]) -> bool:
    """Note what an argument looks like, and its arrays; False if that takes a closer look."""
    kind = kind_of(value)
    if kind is Tensor:
        data = value.data
        if value.node is not None:
            parts.append(id(value))         # a parameter: known as the object it is
            return isinstance(value.node, Leaf) and not value.node.done
        if type(data) is np.ndarray:
            parts.append((data.shape, data.dtype))
        elif is_cupy(data.__class__):
            parts.append((data.shape, data.dtype, data.device.id))
        else:
            return False
        flat.append(value)
        return True
    if kind in (list, tuple):
        parts.append((kind, len(value)))
        return all([_quick(x, parts, flat) for x in value])
    if kind is dict:
        parts.append((dict, tuple(value)))
        return all([_quick(x, parts, flat) for x in value.values()])
    if kind in (int, bool, str, type(None)):
        parts.append((kind, value))
        return True
    if kind is float:
        parts.append((kind, value.hex()))
        return True
    if hasattr(kind, "__dict__") and hasattr(value, "__dict__") and not isinstance(value, np.ndarray | np.generic):
        parts.append(id(value))
        return True
    return False
