"""Running a plan: lists of native calls over one table of addresses, and calls of NumPy between them."""

import array as arrays_of
import ctypes
import math
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.plan import PARALLEL, Plan, chunk
from hyperion.autograd.jit.products import Product
from hyperion.autograd.jit.reference import check_shape
from hyperion.autograd.jit.updates import Finish, Finite
from hyperion.autograd.jit.views import View
from hyperion.autograd.tensor import Tensor
from hyperion.cpu import program
from hyperion.cpu.pool import ARRAYS
from hyperion.errors import GraphError

__all__ = ["Runner"]

SHARED = 1 << 20        # multiplications of a matrix product that are worth several threads
BLOCK = 48              # rows or columns of a product that stay together: kernels of BLAS take so many at a time, or a part of it
POOLED = 1 << 18        # [bytes] of a result from which its memory comes from the pool
BYTE = ctypes.c_char


class Runner:
    """A plan made ready: kernels compiled, arrays of the arena in place.

    Raises: CompilerError if the compiler refuses a text.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        code = plan.code
        self._slots = {x: i for i, x in enumerate(plan.roots)}
        self._table = arrays_of.array("Q", bytes(8 * len(self._slots)))
        self._free: list[int] = []                          # places that loops had, and that they have now
        self._lent: list[int] = []
        self._arena, self._start = ARRAYS.empty((max(plan.arena, 1),), np.dtype(np.uint8))
        self._fixed: dict[Value, Any] = {}                  # arrays of the arena
        for x, offset in plan.offsets.items():
            self._fixed[x] = np.ndarray(x.shape, x.dtype, self._arena, offset)
            self._table[self._slots[x]] = self._start + offset
        seen = self._seen()
        self._inputs = [_Input(x, self._slots[x], x in seen) for x in code.inputs if x not in code.captured]
        self._caches = {one.value: one for one in self._inputs}
        self._captured = [(_Input(x, self._slots[x], x in seen), array) for x, array in code.captured.items()]
        made = [x for x in dict.fromkeys(code.results) if plan.roots.get(x) == "result"]
        self._results = [_Result(x, self._slots[x]) for x in made]
        self._constants = [x.constant for x in code.results]
        self._updates: list[_Update] = []
        self._stages: list[Any] = self._made()
        self._at = self._table.buffer_info()[0]

    @property
    def alone(self) -> "program.Calls | None":
        """The native calls, if the program is nothing else and all its inputs and results are arrays of the caller's."""
        single = len(self._stages) == 1 and type(self._stages[0][0]) is program.Calls and not self._updates
        plain = all(self.plan.roots.get(x) == "result" for x in self.plan.code.results)
        return self._stages[0][0] if single and plain else None

    def place(self, x: Value) -> int:
        """Return the place of an input or result in the table."""
        return self._slots[x]

    def extra(self, address: int) -> int:
        """Return a place of the table, beyond those of values, for an address that a loop moves."""
        if self._free:
            place = self._free.pop()
            self._table[place] = address
        else:
            place = self._point(address)
        self._lent.append(place)
        return place

    def aim(self, x: Value, address: int) -> int:
        """Let an input or result lie at an address during a loop; return its place."""
        if x in self._caches:
            self._caches[x].last = _nothing
        self._table[self._slots[x]] = address
        return self._slots[x]

    def hold(self, x: Value) -> Any:
        """Give a result memory that stays with the runner."""
        if x not in self._fixed:
            self._fixed[x] = np.empty(x.shape, x.dtype)
        self._table[self._slots[x]] = _address(self._fixed[x])
        return self._fixed[x]

    def prepare(self) -> int:
        """Write the addresses of captured arrays into the table, and return the table's own."""
        for one, array in self._captured:
            if one.last() is not array:
                one.take(array, self._table)
        self._free += self._lent
        self._lent = []
        self._at = self._table.buffer_info()[0]
        return self._at

    # Making the stages

    def _seen(self) -> set[Value]:
        """Return the roots that Python looks at, or has to keep alive: a Tensor may let go of its array at a step of an optimiser."""
        items = self.plan.items
        seen = {x for item in items if isinstance(item, Step) for x in self.plan.reads(item)}
        seen.update(view.root for item in items if isinstance(item, Finite) for view in item.gradients)
        changing = (i for i, item in enumerate(items) if isinstance(item, Finish) or (isinstance(item, Step) and item.effect))
        first = next(changing, len(items))
        return seen | {x for x, last in self.plan.last.items() if last > first}

    def _made(self) -> list[Any]:
        """Return the stages: `Calls`, a Step with the roots to forget after it, or the end of a step of an optimiser."""
        items = self.plan.items
        loops = [(item.loop.text("NAME"), item.dtype) for item in items if isinstance(item, Reading)]
        kernels = iter(program.compiled(loops) if loops else [])
        stages: list[Any] = []
        rows: list[Any] = []
        stops: dict[int, Finite] = {}
        for i, item in enumerate(items):
            if isinstance(item, Reading):
                rows.append(self._loop(i, item, *next(kernels)))
            elif isinstance(item, Product):
                rows.append(self._product(item))
            elif isinstance(item, Finite):
                stops[len(rows)] = item
                rows.append(self._finite(item))
            else:
                if rows:
                    stages.append((program.Calls(rows), stops))
                    rows, stops = [], {}
                if isinstance(item, Step):
                    stages.append((item, self._gone(i, item)))
                else:
                    stages.append(self._update(i, item))
        if rows:
            stages.append((program.Calls(rows), stops))
        return stages

    def _gone(self, i: int, item: Step) -> list[Value]:
        """Return the roots that nobody needs after a call of NumPy."""
        results = self.plan.code.results
        if item.effect:     # an optimiser writes over parameters, if nobody else holds them
            return [x for x, by in self.plan.roots.items() if by == "input" and self.plan.last.get(x, -1) <= i and x not in results]
        return [x for x in dict.fromkeys(self.plan.reads(item)) if self.plan.last[x] == i and x not in results]

    def _place(self, view: View) -> list[int]:
        return [self._slots[view.root], view.offset * view.root.dtype.itemsize]

    def _loop(self, i: int, item: Reading, kernel: int, end: int) -> Any:
        places = [n for view in item.inputs for n in self._place(view)]
        places += [n for x in item.outputs for n in (self._slots[x], 0)]
        numbers = [*places, *item.lengths, *(s for strides in item.strides for s in strides), *item.divisors]
        if end:
            # Partial sums lie in the arena: their start is a place of its own.
            numbers.append(self._point(self._start + self.plan.partial[i]))
        return kernel, end, numbers, item.units, chunk(item)[0], -1

    def _point(self, address: int) -> int:
        """Return a new place of the table, for an address that stays."""
        self._table.append(address)
        return len(self._table) - 1

    def _product(self, item: Product) -> Any:
        places = [n for view in item.inputs for n in self._place(view)]
        numbers = [*places, self._slots[item.outputs[0]], 0, *item.numbers]
        rows, columns, inner = item.numbers[:3]
        if item.batch * rows * columns * inner < SHARED:
            return program.product(item.dtype), 0, [*numbers, 0, 0], item.batch, item.batch, -1
        if item.batch > 1:
            return program.product(item.dtype), 0, [*numbers, 0, 0], item.batch, 0, -1
        by_columns = columns > rows
        return program.product(item.dtype), 0, [*numbers, BLOCK, by_columns], -(-max(rows, columns) // BLOCK), 0, -1

    def _finite(self, item: Finite) -> Any:
        place = self._point(item.flag.buffer_info()[0])
        sizes = [math.prod(view.shape) for view in item.inputs]
        numbers = [n for view, size in zip(item.inputs, sizes, strict=True) for n in (*self._place(view), size)]
        step = 1 if sum(sizes) >= PARALLEL else len(sizes)
        return program.finite(item.dtype), 0, [place, *numbers], len(sizes), step, place

    def _update(self, i: int, item: Finish) -> "_Update":
        results = self.plan.code.results
        inputs = [x for x in self.plan.code.inputs if x not in self.plan.code.captured]
        places = {x: (k, self._slots[x]) for k, x in enumerate(inputs)}
        olds = [places[x] if x is not None and self.plan.last.get(x, -1) < i and x not in results else None for x in item.olds]
        self._table[self._slots[item.number]] = item.recipe.numbers.buffer_info()[0]
        steps = [x for one in self.plan.items if isinstance(one, Step) for x in self.plan.reads(one)]
        seen = any(x in results or x in steps for x in item.outputs)
        made = _Update(item, olds, [self._slots[x] for x in item.outputs], [self._slots[x] for x in item.states], seen)
        self._updates.append(made)
        return made

    # Running

    def run(self, given: Sequence[Tensor]) -> list[Any]:
        """Return the arrays of the results. given: the inputs that are not captured, in order.

        Raises: Outdated, with nothing done, if an optimiser has another rule than it had.
        """
        with self.lock:
            return self._run(given)

    def _run(self, given: Sequence[Tensor]) -> list[Any]:
        table = self._table
        known: dict[Value, Any] = {}
        for update in self._updates:
            update.begin(table)
        for one, tensor in zip(self._inputs, given, strict=True):
            array = tensor.data
            if one.last() is not array:
                array = one.take(array, table)
            if one.seen:
                known[one.value] = array
        for one, array in self._captured:
            if one.last() is not array:
                array = one.take(array, table)
            if one.seen:
                known[one.value] = array
        for update in self._updates:
            update.outputs(table, given)
        for result in self._results:
            known[result.value] = result.array(table)
        for stage in self._stages:
            if type(stage) is _Update:
                stage.end(known)
            elif type(stage[0]) is program.Calls:
                calls, stops = stage
                done = calls(self._at)
                if done < len(calls):
                    self._refuse(stops[done], known)
            else:
                self._call(stage[0], stage[1], known)
        constants = self._constants
        return [known[x] if c is None else c.copy() for x, c in zip(self.plan.code.results, constants, strict=True)]

    def _refuse(self, item: Finite, known: dict[Value, Any]) -> None:
        item.flag[0] = 0
        roots = {view.root: self._fixed.get(view.root, known.get(view.root)) for view in item.gradients}
        item.recipe.refuse([view.array(roots[view.root]) for view in item.gradients])

    def _call(self, step: Step, gone: list[Value], known: dict[Value, Any]) -> None:
        """Do a step by NumPy. What it makes shares memory with nothing that others write to."""
        views, fixed = self.plan.views, self._fixed
        given: list[Any] = []
        for x in step.inputs:
            if x.constant is not None:
                given.append(x.constant)
                continue
            view = views[x]
            root = fixed.get(view.root)
            given.append(view.array(known[view.root] if root is None else root))
        if step.effect:
            for x in gone:
                known.pop(x, None)
        for value, array in zip(step.outputs, step.compute(given), strict=True):
            if type(array) is not np.ndarray:
                array = np.asarray(array)
            check_shape(value, array, step)
            if not step.effect and any(array is x or (array.base is not None and np.may_share_memory(array, x)) for x in given):
                array = array.copy()
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            known[value] = array
            self._table[self._slots[value]] = _address(array)
        del given
        for x in gone:
            known.pop(x, None)


class _Input:
    """An array that comes in.

    seen: whether calls of NumPy read it.  last: what gives the array that the table points to, while it lives.
    """

    __slots__ = ("_copy", "dtype", "last", "seen", "shape", "slot", "value")

    def __init__(self, value: Value, slot: int, seen: bool) -> None:
        self.value = value
        self.slot = slot
        self.seen = seen
        self.shape, self.dtype = value.shape, value.dtype
        self.last: Any = _nothing
        self._copy: Any = None

    def take(self, array: Any, table: Any) -> Any:
        """Write the address of an array into the table; return it, or its copy in one piece."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise GraphError(f"jit: an array {array.shape} {array.dtype} came in where the program was made for {self.value.kind}: the "
                             "shape of a Tensor or array was changed in place")
        if array.flags.c_contiguous:
            self.last = weakref.ref(array)
            self._copy = None
        else:
            self.last = _nothing
            self._copy = array = np.ascontiguousarray(array)
        table[self.slot] = _address(array)
        return array


def _nothing() -> None:
    """Stand for a reference to no array."""


class _Result:
    """Memory for a result: the array of the run before, if nobody else holds it any more, else a new one."""

    __slots__ = ("_address", "_array", "_large", "slot", "value")

    def __init__(self, value: Value, slot: int) -> None:
        self.value = value
        self.slot = slot
        self._large = value.size * value.dtype.itemsize >= POOLED
        self._array: Any = None
        self._address = 0

    def array(self, table: Any) -> Any:
        """Return it, and write its address into the table."""
        if self._array is not None and sys.getrefcount(self._array) == _ALONE:
            table[self.slot] = self._address
            return self._array
        x = self.value
        if self._large:         # such an array is not kept: the pool knows when its memory is free
            array, table[self.slot] = ARRAYS.empty(x.shape, x.dtype)
            return array
        array = self._array = np.empty(x.shape, x.dtype)
        table[self.slot] = self._address = _address(array)
        return array


def _references_to_one_held() -> int:
    result = _Result(Value(0, (), np.dtype(float)), 0)
    result._array = np.empty(1)         # pyright: ignore[reportPrivateUsage]
    return sys.getrefcount(result._array)       # pyright: ignore[reportPrivateUsage]


# What is counted when nobody else holds an array. Without the interpreter's lock counts may be behind: never equal.
_ALONE = _references_to_one_held() if getattr(sys, "_is_gil_enabled", lambda: True)() else -1


class _Update:
    """A step of an optimiser in a run: what comes before the loops and after them.

    olds: of each parameter its place among the arrays given, and in the table, if its memory may be written over.
    outputs, states: places in the table.
    """

    def __init__(
        self, item: Finish, olds: Sequence[tuple[int, int] | None], outputs: Sequence[int], states: Sequence[int], seen: bool,
    ) -> None:
        self.recipe = item.recipe
        self._values = item.outputs
        self._places = list(zip(item.outputs, outputs, olds, strict=True))
        self._states = states
        self._seen = seen
        self._known: Any = None
        self._writable: Sequence[bool] = ()
        self._new: list[Any] = []

    def begin(self, table: Any) -> None:
        """Find the states, and which parameters may be written over: before anything else refers to them."""
        arrays = self.recipe.begin()
        if arrays is not self._known:
            self._known = arrays
            for slot, array in zip(self._states, arrays, strict=True):
                table[slot] = _address(array)
        self._writable = self.recipe.writable()

    def outputs(self, table: Any, given: Sequence[Tensor]) -> None:
        """Find memory for the new parameters."""
        new = self._new = []
        for (value, slot, old), writable in zip(self._places, self._writable, strict=True):
            if writable and old is not None:
                table[slot] = table[old[1]]
                new.append(given[old[0]].data)
            elif value.size * value.dtype.itemsize >= POOLED:
                array, table[slot] = ARRAYS.empty(value.shape, value.dtype)
                new.append(array)
            else:
                array = np.empty(value.shape, value.dtype)
                table[slot] = _address(array)
                new.append(array)

    def end(self, known: dict[Value, Any]) -> None:
        """Give the parameters their new arrays."""
        self.recipe.finish(self._new)
        if self._seen:
            known.update(zip(self._values, self._new, strict=True))
        self._new = []


def _address(array: Any) -> int:
    """Return where the values of a contiguous array lie."""
    try:
        return ctypes.addressof(BYTE.from_buffer(array))        # faster than asking the array
    except (TypeError, ValueError, BufferError):                # read-only, or empty
        return array.__array_interface__["data"][0]
