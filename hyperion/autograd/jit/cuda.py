"""Running a plan on a GPU: what is between calls of CuPy is a list of launches, replayed as a CUDA graph.

A graph holds addresses. Arrays of the program's own stay where they are; those that come from outside or go there (inputs, results, what
CuPy's calls return) mostly lie where they lay before, since memory that is free is used again. So a stretch of launches is noted for each
set of addresses that it meets; arrays whose addresses never settle are copied to and from memory of the program's own instead.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.plan import Plan
from hyperion.autograd.jit.products import Product
from hyperion.autograd.jit.reference import check_shape
from hyperion.autograd.jit.views import View
from hyperion.autograd.tensor import Tensor
from hyperion.codegen.cuda_loops import MOST_ARGUMENTS, Launch, arguments, cuda_loop, end_arguments, launch_of, packable
from hyperion.errors import CompilerError, GraphError
from hyperion.gpu import cublaslt
from hyperion.gpu.launching import cupy
from hyperion.gpu.program import Kernel, Launching, Sequel, compiled, copying, launching, private_stream

__all__ = ["CudaRunner"]

KEPT = 8                # sets of addresses for which a stretch of launches is kept
LARGEST = 1 << 26       # [bytes] of an array that is copied so that its address stays
FAR = 1 << 31           # elements from which indices take 64 bits


class CudaRunner:
    """A plan made ready for a GPU: the counterpart of native.Runner.

    place: number of the GPU.
    Raises: CompilerError if NVRTC refuses a text, or cuBLASLt a product.
    """

    def __init__(self, plan: Plan, place: int) -> None:
        self.plan = plan
        self.place = place
        self.lock = threading.Lock()
        self._stages: list[_Stretch | tuple[Step, list[Value]]] = _stages(plan, place)
        stretches = [stage for stage in self._stages if isinstance(stage, _Stretch)]
        self._arena: Any = None
        with cupy().cuda.Device(place):
            self._arena = cupy().empty(max(plan.arena, 1), np.uint8)
            self._partial = cupy().empty(max((one.partial for one in stretches), default=0) or 1, np.float64)
        start = self._arena.data.ptr
        self._at = {x: start + offset for x, offset in plan.offsets.items()}
        self._fixed = {x: cupy().ndarray(x.shape, x.dtype, self._arena.data + offset) for x, offset in plan.offsets.items()}
        self._own: dict[Value, Any] = {}            # arrays that stand for those whose addresses do not settle
        self._next: dict[Value, Any] = {}           # those that will from the next run on
        self._constants: dict[Value, Any] = {}
        self._results = [x for x in dict.fromkeys(plan.code.results) if plan.roots.get(x) == "result"]

    def run(self, given: Sequence[Tensor]) -> list[Any]:
        """Return the arrays of the results. given: the inputs that are not captured, in order."""
        with self.lock, cupy().cuda.Device(self.place):
            return self._run(iter(given), private_stream(self.place), cupy().cuda.get_current_stream())

    def _run(self, given: Any, private: Any, stream: Any) -> list[Any]:
        known: dict[Value, Any] = {}
        self._own |= self._next
        captured = self.plan.code.captured
        for x in self.plan.code.inputs:
            array = captured[x] if x in captured else next(given).data
            if array.shape != x.shape or array.dtype != x.dtype:
                raise GraphError(f"jit: an array {array.shape} {array.dtype} came in where the program was made for {x.kind}: the shape of "
                                 "a Tensor or array was changed in place")
            self._enter(x, array if array.flags.c_contiguous else cupy().ascontiguousarray(array), known, stream)
        for x in self._results:
            known[x] = cupy().empty(x.shape, x.dtype)
            self._at[x] = (self._own[x] if x in self._own else known[x]).data.ptr
        for stage in self._stages:
            if isinstance(stage, _Stretch):
                stage(self._at, self._partial, private, self._settle)
            else:
                self._call(*stage, known, stream)
        for x in self._results:
            if x in self._own:
                copying(known[x].data.ptr, self._own[x].data.ptr, known[x].nbytes)(stream)
        return [known[x] if x.constant is None else self._constant(x).copy() for x in self.plan.code.results]

    def _enter(self, x: Value, array: Any, known: dict[Value, Any], stream: Any) -> None:
        """Note where the array of a root lies now."""
        known[x] = array
        own = self._own.get(x)
        if own is not None:
            copying(own.data.ptr, array.data.ptr, array.nbytes)(stream)
        self._at[x] = (array if own is None else own).data.ptr

    def _settle(self, roots: Sequence[Value]) -> bool:
        """Give arrays whose addresses do not settle memory of the program's own, from the next run on; False if they are too large."""
        if sum(x.size * x.dtype.itemsize for x in roots) > LARGEST:
            return False
        for x in roots:
            if x not in self._own:
                self._next[x] = cupy().empty(x.shape, x.dtype)
        return True

    # Calls of CuPy

    def _call(self, step: Step, gone: list[Value], known: dict[Value, Any], stream: Any) -> None:
        """Do a step by CuPy. What it makes shares memory with nothing that others write to."""
        given = [self._constant(x) if x.constant is not None else self._view(self.plan.views[x], known) for x in step.inputs]
        if step.effect:
            for x in gone:
                known.pop(x, None)
        for value, array in zip(step.outputs, step.compute(given), strict=True):
            check_shape(value, array, step)
            if not step.effect and any(array is x or cupy().may_share_memory(array, x) for x in given):
                array = array.copy()
            self._enter(value, array if array.flags.c_contiguous else cupy().ascontiguousarray(array), known, stream)
        for x in gone:
            known.pop(x, None)

    def _view(self, view: View, known: dict[Value, Any]) -> Any:
        root = self._fixed.get(view.root)
        root = known[view.root] if root is None else root
        if view.whole:
            return root
        size = root.dtype.itemsize
        return cupy().ndarray(view.shape, root.dtype, root.data + view.offset * size, strides=tuple([s * size for s in view.strides]))

    def _constant(self, x: Value) -> Any:
        found = self._constants.get(x)
        if found is None:
            number: Any = x.constant
            found = cupy().broadcast_to(cupy().asarray(number.reshape(-1)[:1].reshape(())), x.shape)
            self._constants[x] = found
        return found


class _Stretch:
    """Loops and products between calls of CuPy.

    partial: numbers in the partial sums of its loops, at most.
    """

    def __init__(self, plan: Plan, items: Sequence[Reading | Product], kernels: Sequence[Kernel | None], place: int) -> None:
        self.items = list(zip(items, kernels, strict=True))
        self.partial = max((_partial(item) for item in items if isinstance(item, Reading)), default=0)
        used = dict.fromkeys(x for item in items for x in (*plan.reads(item), *plan.writes(item)))
        self.outside = [x for x in used if plan.roots[x] != "arena"]
        self._place = place
        self._known: dict[tuple[int, ...], Sequel] = {}
        self._misses = 0
        self._settles = True            # whether its addresses may be made to stay
        for item in items:
            if isinstance(item, Product):
                _product_of(item, False, place)

    def __call__(self, at: dict[Value, int], partial: Any, private: Any, settle: Any) -> None:
        """Run. at: where roots lie.  settle: called with roots whose addresses change from run to run."""
        key = tuple([at[x] for x in self.outside])
        found = self._known.get(key)
        if found is None:
            found = self._missed(key, at, partial, settle)
        found(private)

    def _missed(self, key: tuple[int, ...], at: dict[Value, int], partial: Any, settle: Any) -> Sequel:
        """Make the launches for a new set of addresses."""
        self._misses += 1
        if self._misses % KEPT == 0 and self._settles:
            last = next(reversed(self._known))
            self._settles = settle([x for x, now, before in zip(self.outside, key, last, strict=True) if now != before])
        if len(self._known) >= KEPT:
            self._known.pop(next(iter(self._known)))
        launches = [launch for item, kernel in self.items for launch in self._launches(item, kernel, at, partial)]
        found = self._known[key] = Sequel(launches)
        return found

    def _launches(self, item: Reading | Product, kernel: Kernel | None, at: dict[Value, int], partial: Any) -> list[Launching]:
        addresses = [at[view.root] + view.offset * view.root.dtype.itemsize for view in item.inputs] + [at[x] for x in item.outputs]
        if isinstance(item, Product):
            return [_product(item, addresses, self._place)]
        assert kernel is not None
        loop = item.loop
        sizes = [np.dtype(one.dtype).itemsize for one in loop.operands]
        packed = packable(loop, item.lengths, item.strides, addresses[:len(sizes)], sizes, _lanes(item))
        launch = launch_of(loop, item.lengths, _lanes(item), packed)
        sums = partial.data.ptr
        made = [launching(kernel.run, launch.blocks, arguments(addresses, sums, item.lengths, item.strides, item.divisors, launch))]
        if launch.parts > 1:
            made.append(launching(kernel.end, launch.end[0], end_arguments(addresses[len(sizes):], sums, item.divisors, launch)))
        return made


def _lanes(item: Reading) -> int:
    return 16 // np.dtype(item.dtype).itemsize


def _partial(item: Reading) -> int:
    """Return how many numbers the partial sums of a loop take at most."""
    launches: list[Launch] = [launch_of(item.loop, item.lengths, _lanes(item), packed) for packed in (False, True)]
    return max(launch.partial for launch in launches) * len(item.loop.sums)


def _stages(plan: Plan, place: int) -> list[Any]:
    """Return the stages: stretches of launches, and steps by CuPy with the roots to forget after each."""
    loops = [item for item in plan.items if isinstance(item, Reading)]
    if any(len(item.loop.operands) * (1 + item.loop.rank) > MOST_ARGUMENTS - 30 for item in loops):
        raise CompilerError("a fused loop reads and writes more arrays than a kernel takes arguments")
    kernels = iter(compiled([(cuda_loop(item.loop, "NAME"), item.dtype, _is_far(item)) for item in loops], place))
    stages: list[Any] = []
    items: list[Any] = []

    def stretch() -> None:
        if items:
            stages.append(_Stretch(plan, [item for item, _ in items], [kernel for _, kernel in items], place))
            items.clear()

    for i, item in enumerate(plan.items):
        if isinstance(item, Step):
            stretch()
            results = plan.code.results
            if item.effect:     # an optimiser writes over parameters, if nobody else holds them
                gone = [x for x, by in plan.roots.items() if by == "input" and plan.last.get(x, -1) <= i and x not in results]
            else:
                gone = [x for x in dict.fromkeys(plan.reads(item)) if plan.last[x] == i and x not in results]
            stages.append((item, gone))
        else:
            items.append((item, next(kernels) if isinstance(item, Reading) else None))
    stretch()
    return stages


def _is_far(item: Reading) -> bool:
    """Tell whether some index does not fit 32 bits; the grid's last threads count beyond the end of the work."""
    reach = [sum((n - 1) * abs(s) for n, s in zip(item.lengths, strides, strict=True)) for strides in item.strides]
    return max([*reach, int(np.prod(item.lengths, dtype=np.int64))]) >= FAR - (1 << 24)


def _product(item: Product, addresses: Sequence[int], place: int) -> Launching:
    """Return the launch of a matrix product."""
    x, y, out = addresses
    made = _product_of(item, not (x | y | out) & 15, place)
    return lambda stream: made(y, x, out, stream.ptr)


_products: dict[Any, Any] = {}


def _product_of(item: Product, aligned: bool, place: int) -> cublaslt.Product:
    """Return the library's part of a product, which counts by columns: it computes the transpose.

    Raises: CompilerError if it has no kernel.
    """
    rows, columns, inner, turn_x, turn_y, of_x, of_y, _, step_x, step_y, _ = item.numbers
    key = (item.dtype, *item.numbers, item.batch, aligned, place)
    if key not in _products:
        char = np.dtype(item.dtype).char
        x, y = (turn_x, of_x, step_x), (turn_y, of_y, step_y)
        try:
            _products[key] = cublaslt.Product(char, columns, rows, inner, item.batch, y, x, False, aligned, place)
        except RuntimeError as error:
            raise CompilerError(f"{item!r}: {error}") from error
    return _products[key]
