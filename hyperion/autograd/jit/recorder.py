"""The recorder: notes every operation on stand-ins as a step of a program, while the function runs on real arrays."""

import random as python_random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import SHARED, Leaf, Node, state, tick
from hyperion.autograd.jit.ir import Code, Opaque, Step, Value, compute
from hyperion.autograd.jit.standin import Traced, user_line
from hyperion.autograd.jit.updates import Recipe
from hyperion.autograd.random import generator as generators
from hyperion.autograd.sweeps import checked
from hyperion.autograd.table import PRIMITIVES, Primitive, explained
from hyperion.autograd.tensor import Tensor
from hyperion.errors import GraphError
from hyperion.gpu.device import device_of, is_array, to_numpy

__all__ = ["Elsewhere", "Recorder"]


class Elsewhere(Exception):
    """A function does something on a GPU that no program does: it has to run as it is. Its text says what, and where.

    moves: whether Tensors go from one device to another.
    """

    def __init__(self, text: str, moves: bool = False) -> None:
        super().__init__(text)
        self.moves = moves


class LiveKey:
    """The key of a generator that every run splits off anew; operations read it as the pair of words it is."""

    def __init__(self, words: tuple[int, int]) -> None:
        self.words = words

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[int]:
        return iter(self.words)

    def __getitem__(self, i: int) -> int:
        return self.words[i]


class Recorder:
    """Notes the steps of one run of a function.

    adopt: called with a Tensor that requires a gradient and was met in a step without having been found before: it makes it an input.
    around: of the body of a loop the recorder of the function that the loop stands in; what the body uses of it is noted in `outside`.
    place: the device of all arrays.
    """

    def __init__(self, adopt: Callable[[Tensor], None], place: str = "cpu", around: "Recorder | None" = None) -> None:
        self.adopt = adopt
        self.place = place
        self.around = around
        self.outside: list[tuple[Tensor, Value]] = []
        self._followed: set[Value] = set()      # values of a body that derivatives may flow through
        self.start = tick()
        self.inputs: list[Value] = []
        self.steps: list[Step] = []
        self.captured: dict[Value, Any] = {}
        self._known: dict[int, Value] = {}      # of captured arrays, by id
        self._kept: list[Any] = []              # keeps these ids from being used again
        self._made: set[Value] = set()
        self._own: dict[int, Value] = {}        # of the Tensors that are inputs, by id
        self._count = 0
        self._alive = {id(one) for one in generators.alive}
        self._draws: dict[Any, Tensor] = {}
        self._keys: dict[Any, LiveKey] = {}
        self.stepped: dict[int, Traced] = {}    # what parameters were given by the last step of an optimiser, by id
        self._steps_of: dict[int, int] = {}
        self._drawn = _numpy_state()

    # Values

    def value(self, shape: tuple[int, ...], dtype: Any, constant: Any = None) -> Value:
        """Return a new value of the program."""
        self._count += 1
        found = Value(self._count - 1, shape, dtype, constant)
        self._made.add(found)
        return found

    def input(self, x: Tensor) -> Traced:
        """Return the stand-in of the array of a Tensor, which comes in with every call."""
        array = x.data
        self._stays(array, "a Tensor of the function's")
        value = self._own[id(x)] = self.value(array.shape, array.dtype)
        self.inputs.append(value)
        if x.node is not None:
            self._followed.add(value)
        return Traced(value, array)

    def of(self, x: Tensor) -> Value:
        """Return the value of a Tensor: a recorded one, or a constant of the function's."""
        if type(x.data) is not Traced and isinstance(x.node, Leaf) and not x.node.done:
            self.adopt(x)
        data = x.data
        if type(data) is Traced:
            if data.value not in self._made and self.around is not None and self.around.knows(data.value):
                return self._from_outside(x, data)
            if data.value not in self._made:
                raise GraphError(
                    f"jit: a Tensor of shape {x.shape} belongs to a recording that has ended: it was kept in a list, a global or an "
                    f"attribute, and used at {user_line()}; return it from the function instead"
                )
            if self.around is not None and x.node is None and data.value in self._followed:
                return self._stopped(data).value
            return data.value
        if x.node is not None and x.node.order > self.start and x.node.op is not None:
            raise GraphError(
                f"jit: a Tensor of shape {x.shape} was computed inside the function from one that requires a gradient and that the "
                f"recording does not see, at {user_line()}; pass that Tensor, or the Module it is part of, as an argument"
            )
        return self.constant(data)

    def knows(self, value: Value) -> bool:
        """Tell whether a value is of this recording, or of one around it."""
        return value in self._made or (self.around is not None and self.around.knows(value))

    def _from_outside(self, x: Tensor, data: Traced) -> Value:
        """Return the input of a body that stands for a value of the function around it."""
        for known, value in self.outside:
            if known.data is data and known.node is x.node and known.index == x.index:
                return value
        value = self.value(data.shape, data.dtype)
        self.outside.append((x, value))
        if x.node is not None:
            self._followed.add(value)
        return value

    def _stopped(self, data: Traced) -> Traced:
        """Note that no derivative flows through a value of a body from here on."""
        return self.note(PRIMITIVES["constant_of"], [data.value], {}, [data.actual])[0]

    def refuse_inside(self, what: str) -> None:
        """Refuse in the body of a loop or branch what changes something outside it.

        Raises: GraphError with the line.
        """
        if self.around is not None:
            raise GraphError(
                f"jit: {what} inside the body of a scan, cond or while_loop, at {user_line()}; a body is recorded once and run often: do "
                "it outside, and pass what it gives (random numbers: as xs of the scan)"
            )

    def constant(self, array: Any) -> Value:
        """Return the value of an array that the function uses and nobody passes: a number for good, or read anew in every run."""
        found = self._known.get(id(array))
        if found is None:
            # One number, repeated or not, and not in an array of the user's.
            self._stays(array, "a constant of the function")
            fixed = array.size > 0 and not any(array.strides) and id(_owner(array)) not in SHARED
            found = self.value(array.shape, array.dtype, _repeated(array) if fixed else None)
            if not fixed:
                self.inputs.append(found)
                self.captured[found] = array
            self._known[id(array)] = found
            self._kept.append(array)
        return found

    # Steps

    def note(self, op: Any, inputs: Sequence[Value], params: dict[str, Any], arrays: Sequence[Any]) -> list[Traced]:
        """Add a step that made these arrays."""
        for array in arrays:
            self._stays(array, op.name)
        outputs = [self.value(array.shape, array.dtype) for array in arrays]
        self.steps.append(Step(op, inputs, params, outputs, user_line()))
        return [Traced(value, array) for value, array in zip(outputs, arrays, strict=True)]

    def call(self, op: Primitive, inputs: Sequence[Tensor], params: dict[str, Any]) -> Any:
        """Do a call of a primitive and note it; the result is one stand-in, or a tuple of them."""
        values = [self.of(x) for x in inputs]
        try:
            arrays = compute(op, [_actual(x) for x in inputs], params)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            raise explained(op, tuple(inputs), error) from error
        made = self.note(op, values, params, [_array(array) for array in arrays])
        if self.around is not None and not self._followed.isdisjoint(values):
            if not state.recording:
                made = [self._stopped(x) if is_inexact(x.dtype) else x for x in made]
            elif op.differentiable:
                self._followed.update(x.value for x in made)
        return made[0] if op.outputs == 1 else tuple(made)

    def pull(self, op: Primitive, g: Any, node: Node) -> list[Tensor | None] | None:
        """Note the pull-back of a node as one step, and return the cotangents; None: the rule of the operation is to be recorded."""
        inputs: Any = node.inputs
        several = isinstance(g, list)
        parts: list[Tensor | None] = list(g) if several else [g]      # pyright: ignore[reportUnknownArgumentType]
        if self.around is not None or op.pull is None or op.form == "elementwise":
            return None
        if self.place != "cpu" and (not op.everywhere or op.name == "matmul"):          # products are the program's own
            return None
        if any(type(x) is not Tensor for x in (*parts, *inputs) if x is not None):
            return None
        outputs: Any = node.output if op.outputs != 1 else (node.output,)
        tensors = [x for x in parts if x is not None]
        values = [self.of(x) for x in (*tensors, *(Tensor(array) for array in outputs), *inputs)]
        arrays = [_actual(x) for x in (*tensors, *(Tensor(array) for array in outputs), *inputs)]
        present = tuple([x is not None for x in parts])
        wanted = tuple([x.node is not None for x in inputs])
        before, state.recorder = state.recorder, None
        try:
            found = pulled(op, present if several else None, wanted, arrays, node.params)
        finally:
            state.recorder = before
        if found is None:
            return None
        given = [place for place, c in enumerate(found) if c is not None]

        def again(arrays: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
            results = pulled(op, present if several else None, wanted, arrays, params)
            if results is None:
                raise GraphError(f"operation {op.name!r}: its pull took these arrays when the function was recorded, and does not now")
            return tuple([results[place] for place in given])

        call = Opaque(f"pull_{op.name}", again, primitive=op, wanted=wanted)
        made = iter(self.note(call, values, node.params, [_array(found[place]) for place in given]))
        results = [None if c is None else Tensor(next(made)) for c in found]
        return checked(op, inputs, results)

    def effect(
        self, name: str, inputs: Sequence[Tensor], run: Callable[[Sequence[Any]], Sequence[Any]], like: Sequence[Any],
    ) -> list[Tensor]:
        """Note a step that changes something outside: it is done in every run, in order, and not now.

        run(arrays): what it does with the inputs; returns arrays like `like`.
        """
        self.refuse_inside(f"{name} is called")
        call = Opaque(name, lambda arrays, params: tuple(run(arrays)), effect=True)
        return [Tensor(x) for x in self.note(call, [self.of(x) for x in inputs], {}, [_actual(Tensor(array)) for array in like])]

    def update(
        self, name: str, leaves: Sequence[Tensor], gradients: Sequence[Any], run: Callable[[Sequence[Any], dict[int, Any]], None],
        recipe: Recipe | None = None,
    ) -> None:
        """Note a step of an optimiser: it gives leaves new values, in every run and not now.

        run(gradients, renewed): does so; renewed: arrays of those leaves, by their place, that the function gave another value before.
        recipe: how native code does it; None: `run` does.
        """
        self.refuse_inside(f"{name} is called")
        values = [self.of(x) for x in leaves]
        renewed = [i for i, (x, value) in enumerate(zip(leaves, values, strict=True)) if self._own.get(id(x)) is not value]
        count = len(leaves)

        def compute(arrays: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
            given = range(count) if recipe is not None else renewed
            run(arrays[:count], {i: array for i, array in zip(given, arrays[count:], strict=True) if i in renewed})
            return tuple([x.data for x in leaves])

        if any(type(_actual(x)) is not np.ndarray for x in leaves):
            recipe = None
        if recipe is not None:
            recipe.own = [i not in renewed for i in range(count)]
        inputs = [*(self.of(Tensor(g)) for g in gradients), *(values if recipe is not None else [values[i] for i in renewed])]
        made = self.note(Opaque(name, compute, effect=True, recipe=recipe), inputs, {}, [_actual(x) for x in leaves])
        for x, new in zip(leaves, made, strict=True):
            x.assign(Tensor(new))
            self.stepped[id(x)] = new

    def steps_of(self, optimizer: Any) -> int:
        """Return how many steps of an optimiser were noted before, and count one more."""
        before = self._steps_of.get(id(optimizer), 0)
        self._steps_of[id(optimizer)] = before + 1
        return before

    def host(self, name: str, inputs: Sequence[Tensor], function: Callable[[Sequence[Any]], Any]) -> Tensor:
        """Note a function of raw arrays as a step, which every run does by NumPy; it returns an array whose shape is always the same."""
        if self.place != "cpu":
            raise Elsewhere(f"{name} at {user_line()} is found by NumPy")
        call = Opaque(name, lambda arrays, params: (function(arrays),))
        found = function([_actual(x) for x in inputs])
        return Tensor(self.note(call, [self.of(x) for x in inputs], {}, [found])[0])

    def check(self, name: str, x: Tensor, check: Callable[[Any], None]) -> None:
        """Note a check of the values of a Tensor, which every run makes; it raises what is to be raised."""

        def look(arrays: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
            check(arrays[0])
            return ()

        if self.around is not None:
            return          # values of a body are looked at by nobody
        look([_actual(x)], {})
        self.note(Opaque(f"check_{name}", look, effect=True), [self.of(x)], {}, ())

    def draw(self, generator: Any, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note a draw of random numbers: every run draws anew. What a generator made inside the function draws is a constant."""
        if any(isinstance(x, Tensor) and type(x.data) is Traced for x in (*args, *kwargs.values())):
            raise GraphError(
                f"jit: {method.__name__} at {user_line()} has a parameter that is computed in the function; draw with fixed parameters "
                "and transform what was drawn, as in mean + scale * generator.normal(shape)"
            )
        count = generator._count
        before, state.recorder = state.recorder, None
        try:
            out = method(generator, *args, **kwargs)
        finally:
            state.recorder = before
        if not self.is_outside(generator):
            return out
        # A checkpoint draws a second time what it drew: the same numbers, not the next ones.
        key = (id(generator), count, method.__name__, repr(args), repr(kwargs))
        if key not in self._draws:

            def run(arrays: Sequence[Any]) -> list[Any]:
                return [method(generator, *args, **kwargs).data]

            self._draws[key] = self.effect(method.__name__, (), run, [out.data])[0]
        return Tensor(self._draws[key].data)

    def key(self, generator: Any, split: Callable[[Any], tuple[int, int]]) -> Any:
        """Return the key of a generator that an operation splits off: every run splits off another one, where the operation reads it."""
        count = generator._count
        before, state.recorder = state.recorder, None
        try:
            first = split(generator)
        finally:
            state.recorder = before
        if not self.is_outside(generator):
            return first
        place = (id(generator), count, "key")
        if place not in self._keys:
            found = self._keys[place] = LiveKey(first)

            def run(arrays: Sequence[Any]) -> list[Any]:
                found.words = split(generator)
                return []

            self.effect("split", (), run, ())
        return self._keys[place]

    @property
    def splits(self) -> bool:
        """Whether an operation splits off keys of a generator."""
        return bool(self._keys)

    def _stays(self, array: Any, name: str) -> None:
        """Refuse to record what is not on the device of the other arrays."""
        if device_of(array) != self.place:
            raise Elsewhere(f"{name} at {user_line()} has an array on {device_of(array)}, others are on {self.place}", True)

    def is_outside(self, generator: Any) -> bool:
        """Tell whether a generator was there before the recording, so that every run goes on with it."""
        return id(generator) in self._alive if self.around is None else self.around.is_outside(generator)

    def code(self, results: Sequence[Value]) -> Code:
        """Return the program.

        Raises: GraphError if the function drew numbers from NumPy's or Python's global generators: they would be the same in every run.
        """
        if not all(map(np.array_equal, self._drawn, _numpy_state())):
            raise GraphError(
                "jit: the function drew numbers from numpy.random or random while it was recorded; every run would use these same numbers: "
                "draw from an hp.random.Generator, or outside and pass them"
            )
        return Code(self.inputs, self.steps, results, self.captured)


def pulled(
    op: Primitive, present: tuple[bool, ...] | None, wanted: Sequence[bool], arrays: Sequence[Any], params: dict[str, Any]
) -> list[Any] | None:
    """Return the cotangents that the pull of a primitive gives, on raw arrays: cotangents, outputs, inputs."""
    count = 1 if present is None else sum(present)
    rest = list(arrays[count:])
    several = op.outputs != 1
    outs = rest[:len(rest) - len(wanted)]
    inputs = [Tensor(array, _TRACKED if want else None) for array, want in zip(rest[len(outs):], wanted, strict=True)]
    found = iter(arrays[:count])
    g = arrays[0] if present is None else [next(found) if there else None for there in present]
    rule: Any = op.pull
    results = rule(g, tuple(outs) if several else outs[0], tuple(inputs), params)
    return None if results is None else list(results)


_TRACKED = Leaf()


def _array(value: Any) -> Any:
    """Return what an operation gave as an array: NumPy's numbers as arrays of shape ()."""
    return value if is_array(value) and not issubclass(type(value), np.generic) else np.asarray(value)


def _owner(array: Any) -> Any:
    base = array.base
    return _owner(base) if isinstance(base, np.ndarray) else array


def _repeated(array: Any) -> Any:
    """Return a copy of an array of one number that is repeated."""
    return np.broadcast_to(to_numpy(array.reshape(-1)[:1]).reshape(()), array.shape)


def _actual(x: Tensor) -> Any:
    return x.data.actual if type(x.data) is Traced else x.data


def _numpy_state() -> tuple[Any, ...]:
    """Return the states of the global generators of NumPy and of Python."""
    _, key, position, has, cached = np.random.get_state()       # noqa: NPY002  others may use it
    return key, position, has, cached, np.asarray(python_random.getstate()[1])
