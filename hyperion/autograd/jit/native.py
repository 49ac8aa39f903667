"""Running a plan: lists of native calls over one table of addresses, and calls of NumPy between them."""

import array as arrays_of
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.plan import Plan, chunk
from hyperion.autograd.jit.products import Product
from hyperion.autograd.jit.reference import check_shape
from hyperion.autograd.jit.views import View
from hyperion.autograd.tensor import Tensor
from hyperion.cpu import program
from hyperion.cpu.pool import ARRAYS
from hyperion.errors import GraphError

__all__ = ["Runner"]

POOLED = 1 << 18        # [bytes] of a result from which its memory comes from the pool


class Runner:
    """A plan made ready: kernels compiled, arrays of the arena in place.

    Raises: CompilerError if the compiler refuses a text.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        code = plan.code
        self._slots = {x: i for i, x in enumerate(plan.roots)}
        self._arena_slot = len(self._slots)
        self._table = arrays_of.array("Q", bytes(8 * (self._arena_slot + 1)))
        self._at = self._table.buffer_info()[0]
        self._arena, start = ARRAYS.empty((max(plan.arena, 1),), np.dtype(np.uint8))
        self._table[self._arena_slot] = start
        self._fixed: dict[Value, Any] = {}                  # arrays of the arena
        for x, offset in plan.offsets.items():
            self._fixed[x] = np.ndarray(x.shape, x.dtype, self._arena, offset)
            self._table[self._slots[x]] = start + offset
        self._inputs = [(x, self._slots[x], code.captured.get(x)) for x in code.inputs]
        made = [x for x in dict.fromkeys(code.results) if plan.roots.get(x) == "result"]
        self._results = [(x, self._slots[x], x.size * x.dtype.itemsize >= POOLED) for x in made]
        self._stages: list[program.Calls | tuple[Step, list[Value]]] = self._made()

    def _made(self) -> list[Any]:
        """Return the stages: `Calls`, or a Step with the roots to forget after it."""
        items = self.plan.items
        loops = [(item.loop.text("NAME"), item.dtype) for item in items if isinstance(item, Reading)]
        kernels = iter(program.compiled(loops) if loops else [])
        stages: list[Any] = []
        rows: list[Any] = []
        for i, item in enumerate(items):
            if not isinstance(item, Step):
                rows.append(self._loop(i, item, *next(kernels)) if isinstance(item, Reading) else self._product(item))
                continue
            if rows:
                stages.append(program.Calls(rows))
                rows = []
            results = self.plan.code.results
            if item.effect:     # an optimiser writes over parameters, if nobody else holds them
                gone = [x for x, by in self.plan.roots.items() if by == "input" and self.plan.last.get(x, -1) <= i and x not in results]
            else:
                gone = [x for x in dict.fromkeys(self.plan.reads(item)) if self.plan.last[x] == i and x not in results]
            stages.append((item, gone))
        if rows:
            stages.append(program.Calls(rows))
        return stages

    def _place(self, view: View) -> list[int]:
        return [self._slots[view.root], view.offset * view.root.dtype.itemsize]

    def _loop(self, i: int, item: Reading, kernel: int, end: int) -> Any:
        places = [n for view in item.inputs for n in self._place(view)]
        places += [n for x in item.outputs for n in (self._slots[x], 0)]
        numbers = [*places, *item.lengths, *(s for strides in item.strides for s in strides), *item.divisors]
        if end:
            # Partial sums lie in the arena: its start is a place of its own.
            numbers.append(self._partial(i))
        return kernel, end, numbers, item.units, chunk(item)[0]

    def _partial(self, i: int) -> int:
        self._table.append(self._table[self._arena_slot] + self.plan.partial[i])
        self._at = self._table.buffer_info()[0]
        return len(self._table) - 1

    def _product(self, item: Product) -> Any:
        places = [n for view in item.inputs for n in self._place(view)]
        return program.product(item.dtype), 0, [*places, self._slots[item.outputs[0]], 0, *item.numbers], item.batch, item.batch

    def run(self, given: Sequence[Tensor]) -> list[Any]:
        """Return the arrays of the results. given: the inputs that are not captured, in order."""
        with self.lock:
            return self._run(iter(given))

    def _run(self, given: Any) -> list[Any]:
        table = self._table
        known: dict[Value, Any] = {}
        for x, slot, captured in self._inputs:
            array = captured if captured is not None else next(given).data
            if array.shape != x.shape or array.dtype != x.dtype:
                raise GraphError(f"jit: an array {array.shape} {array.dtype} came in where the program was made for {x.kind}: the shape of "
                                 "a Tensor or array was changed in place")
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            known[x] = array
            table[slot] = array.__array_interface__["data"][0]
        for x, slot, pooled in self._results:
            if pooled:
                known[x], table[slot] = ARRAYS.empty(x.shape, x.dtype)
            else:
                known[x] = array = np.empty(x.shape, x.dtype)
                table[slot] = array.__array_interface__["data"][0]
        for stage in self._stages:
            if isinstance(stage, program.Calls):
                stage(self._at)
            else:
                self._call(*stage, known)
        return [x.constant.copy() if x.constant is not None else known[x] for x in self.plan.code.results]

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
            self._table[self._slots[value]] = array.__array_interface__["data"][0]
        del given
        for x in gone:
            known.pop(x, None)
