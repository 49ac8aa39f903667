"""The plan of a program: which steps become native loops and products, which stay calls of NumPy, and where every array lies."""

import math
from collections.abc import Sequence
from typing import Any

from hyperion.autograd.jit.groups import BOOL, CASTS, HEAVIEST, REALS, Group, Reading, real_of, summed_axes, weight_of
from hyperion.autograd.jit.ir import Code, Opaque, Step, Value
from hyperion.autograd.jit.products import Product, product_of
from hyperion.autograd.jit.updates import Finish, Finite, updating
from hyperion.autograd.jit.views import View, contiguous, view_of

__all__ = ["Item", "Plan", "chunk", "plan"]

ALIGNMENT = 128         # [bytes] of arrays in the arena
CHUNK, PARALLEL, CHUNKS = 1 << 14, 1 << 16, 128         # elements of a chunk; that are worth several threads; chunks at most

Item = Reading | Product | Step | Finite | Finish


class Plan:
    """Items in the order in which they run.

    views: of every value that lies in memory.  roots: values with memory of their own, by who provides it: "input", "host" (a call of
    NumPy), "arena", "result" (an array of the caller's), or "optimiser" (a state, or a parameter after a step).  offsets: of those in the
    arena [bytes].  partial: of partial sums, by item.
    arena: its size.  last: the number of the item after which a root is not used any more.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self.items: list[Item] = []
        self.views: dict[Value, View] = {}
        self.roots: dict[Value, str] = {}
        self.offsets: dict[Value, int] = {}
        self.partial: dict[int, int] = {}
        self.last: dict[Value, int] = {}
        self.arena = 0

    def __str__(self) -> str:
        return "\n".join(f"  {i}: {'NumPy: ' if isinstance(item, Step) else ''}{item!r}" for i, item in enumerate(self.items))

    def memory(self) -> str:
        """Return where arrays lie, as text."""
        whole = sum(x.size * x.dtype.itemsize for x in self.offsets)
        rows = [f"  {x!r}: {x.kind} at byte {self.offsets[x]}, until item {self.last.get(x)}" for x in self.offsets]
        return "\n".join([f"  arena of {self.arena} bytes for arrays of {whole} bytes", *rows])

    def root(self, x: Value, provider: str) -> None:
        """Give a value memory of its own."""
        self.roots[x] = provider
        self.views[x] = View(x, x.shape, contiguous(x.shape))

    def reads(self, item: Item) -> list[Value]:
        """Return the roots that an item reads."""
        if isinstance(item, Step):
            return [self.views[x].root for x in item.inputs if x.constant is None]
        return [view.root for view in item.inputs]

    def writes(self, item: Item) -> list[Value]:
        """Return the roots that an item makes."""
        return item.outputs if not isinstance(item, Finish) else []


def plan(code: Code, native: bool = True, products: bool = True) -> Plan:
    """Return the plan of a program.

    native: whether there is a compiler; without one every step is a call of NumPy.  products: whether there is a library for products.
    """
    made = _Planner(code, native, products).plan
    _allocate(made)
    return made


class _Planner:
    """Visits the steps in order; groups that are open wait for more steps."""

    def __init__(self, code: Code, native: bool, products: bool) -> None:
        self.plan = Plan(code)
        self.code = code
        self.native = native
        self.products = products
        self.open: list[Group] = []
        self.of: dict[Value, Group] = {}        # the open group that makes a value
        self.users: dict[Value, list[Step | None]] = {}         # None: it is a result
        for step in code.steps:
            for x in step.inputs:
                self.users.setdefault(x, []).append(step)
        for x in code.results:
            self.users.setdefault(x, []).append(None)
        for x in code.inputs:
            self.plan.root(x, "input")
        for step in code.steps:
            self._visit(step)
        results = self._results()
        for group in list(self.open):
            self._close(group)
        self.plan.code = Code(code.inputs, code.steps, results, code.captured)

    def _visit(self, step: Step) -> None:
        if step.effect:                     # it may write over arrays that open groups are still to read
            for group in list(self.open):
                self._close(group)
        plain = self.native and all(x.dtype.kind in "biufc" for x in (*step.inputs, *step.outputs))
        if plain and isinstance(step.op, Opaque) and step.op.recipe is not None:
            self._as_update(step)
            return
        if plain and self._as_view(step):
            return
        if plain and (real := real_of(step)) is not None and weight_of(step):
            self._as_loop(step, real)
        elif plain and (axes := summed_axes(step)) is not None:
            self._as_sum(step, axes)
        elif not (plain and self._as_product(step)):
            self._as_call(step)

    def _as_view(self, step: Step) -> bool:
        if len(step.inputs) != 1 or step.inputs[0].constant is not None or step.effect:
            return False
        x, out = step.inputs[0], step.outputs[0]
        found = view_of(step, self.plan.views.get(x) or View(x, x.shape, contiguous(x.shape)))
        if found is None and (step.name != "reshape" or not out.size):
            return False
        self._settle(x)
        if found is None:
            self._copy(self.plan.views[x], out, "arena")
        else:
            self.plan.views[out] = found
        return True

    def _copy(self, view: View, to: Value, provider: str) -> None:
        """Add an item that copies a view into a root."""
        group = Group(view.shape, REALS[0] if to.dtype == BOOL else to.dtype)
        if self.native and to.size and to.dtype in (*REALS, BOOL):
            found = group.copying(view, to)
            self.plan.items.append(found)
            self.plan.root(to, provider)
            return
        source = Value(-1 - len(self.plan.views), view.shape, to.dtype)
        self.plan.views[source] = view
        self.plan.items.append(Step(COPY, [source], {}, [to]))
        self.plan.root(to, "host")

    def _as_loop(self, step: Step, real: Any) -> None:
        out = step.outputs[0]
        home: Group | None = None
        for x in step.inputs:
            group = self.of.get(x)
            if group is None or group is home or not self._takes(group, step, real):
                continue
            if home is None:
                home = group
            elif home.join(group):
                self.open.remove(group)
                self.of.update(dict.fromkeys((*group.made, *(one.outputs[0] for one in group.sums)), home))
        for x in step.inputs:
            group = self.of.get(x)
            if group is not None and group is not home:
                self._close(group)
        if home is None:
            home = Group(out.shape, REALS[0] if real == BOOL else real)
            self.open.append(home)
        home.add(step)
        self.of[out] = home

    def _takes(self, group: Group, step: Step, real: Any) -> bool:
        """Tell whether a step can become part of the group that makes one of its inputs."""
        if group.shape != step.outputs[0].shape or real not in (group.real, BOOL) or group.weight + weight_of(step) > HEAVIEST:
            return False
        made = all(x in group.made for x in step.inputs if self.of.get(x) is group)         # not one of its sums
        # A cast reads another type from memory.
        return made and (step.name not in CASTS or step.inputs[0].dtype in (group.real, BOOL))

    def _as_sum(self, step: Step, axes: tuple[int, ...]) -> None:
        x = step.inputs[0]
        group = self.of.get(x)
        if group is None or x not in group.made or not group.fits(step, axes):
            self._settle(x)
            group = Group(x.shape, x.dtype)
            self.open.append(group)
        group.add_sum(step, axes)
        self.of[step.outputs[0]] = group

    def _as_product(self, step: Step) -> bool:
        found = product_of(step, [self._settled(x) for x in step.inputs]) if step.name == "matmul" and self.products else None
        if found is None:
            return False
        self.plan.root(step.outputs[0], "arena")
        self.plan.items.append(found)
        return True

    def _as_update(self, step: Step) -> None:
        """Add the loops of an optimiser's step: they may not run before all gradients are known to be finite."""
        op: Any = step.op
        views = [self._in_one_piece(x) for x in step.inputs]
        if op.recipe.checked:
            gradients = views[:len(step.outputs)]
            self.plan.items += [Finite(op.recipe, gradients, dtype) for dtype in dict.fromkeys(view.root.dtype for view in gradients)]
        items, finish = updating(step, op.recipe, views, self._provided)
        for x in step.outputs:
            self.plan.root(x, "optimiser")
        self.plan.items += [*items, finish]

    def _provided(self, shape: tuple[int, ...], dtype: Any) -> Value:
        """Return a new value whose memory an optimiser provides."""
        new = Value(-1 - len(self.plan.views), shape, dtype)
        self.plan.root(new, "optimiser")
        return new

    def _in_one_piece(self, x: Value) -> View:
        """Return where a value lies one element after another; copied there if need be."""
        view = self._settled(x)
        if view is not None and all(n == 1 or s == t for n, s, t in zip(view.shape, view.strides, contiguous(view.shape), strict=True)):
            return view
        new = Value(-1 - len(self.plan.views), x.shape, x.dtype)
        if view is None:
            group = Group(x.shape, x.dtype)
            found = group.filling(float(x.constant.flat[0]), new)
            self.plan.items.append(found)
            self.plan.root(new, "arena")
        else:
            self._copy(view, new, "arena")
        return self.plan.views[new]

    def _as_call(self, step: Step) -> None:
        for x in step.inputs:
            self._settle(x)
        for x in step.outputs:
            self.plan.root(x, "host")
        self.plan.items.append(step)

    # Groups

    def _settle(self, x: Value) -> None:
        """See to it that a value lies in memory: close the group that makes it."""
        if x in self.of:
            self._close(self.of[x])

    def _settled(self, x: Value) -> View | None:
        """Return where a value lies; None for a number."""
        self._settle(x)
        return self.plan.views.get(x)

    def _close(self, group: Group) -> None:
        """Add the loop of a group to the items; its sums apart, if no kernel does both."""
        self.open.remove(group)
        inside = set(map(id, (*group.steps, *group.sums)))
        kept = {x for x in group.made if any(user is None or id(user) not in inside for user in self.users.get(x, ()))}
        for x in (*group.made, *(step.outputs[0] for step in group.sums)):
            del self.of[x]
        found = group.ready(self.plan.views, kept)
        if found is not None:
            self.plan.items.append(found)
            for x in found.outputs:
                self.plan.root(x, "arena")
            return
        sums, axes = group.sums, group.axes or ()
        if not group.steps:
            for step in sums:
                self._as_call(step)
            return
        group.sums, group.axes = [], None
        kept |= {step.inputs[0] for step in sums}
        alone: Any = group.ready(self.plan.views, kept)
        self.plan.items.append(alone)
        for x in kept:
            self.plan.root(x, "arena")
        for step in sums:
            single = Group(group.shape, group.real)
            single.add_sum(step, axes)
            self.open.append(single)
            self.of[step.outputs[0]] = single
            self._close(single)

    # Results

    def _results(self) -> list[Value]:
        """Return the results as arrays of the caller's: copies, where they are views or come from outside."""
        out: list[Value] = []
        done: dict[Value, Value] = {}
        for x in self.code.results:
            if x not in done:
                self._settle(x)
                done[x] = self._result(x)
            out.append(done[x])
        return out

    def _result(self, x: Value) -> Value:
        if x.constant is not None:
            return x
        view = self.plan.views[x]
        if view.root is x and self.plan.roots[x] == "arena":
            self.plan.roots[x] = "result"
            return x
        if view.root is x and self.plan.roots[x] in ("host", "optimiser"):
            return x
        new = Value(-1 - len(self.plan.views), x.shape, x.dtype)
        self._copy(view, new, "result")
        return new


def _copied(arrays: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    return (arrays[0].copy(),)


COPY = Opaque("copy", _copied)


def chunk(item: Reading) -> tuple[int, int]:
    """Return the units of a chunk, and how many chunks there are; both follow from sizes alone."""
    size = math.prod(item.lengths)
    if size < PARALLEL:
        return item.units, 1
    each = max(size // item.units, 1)
    step = max(-(-CHUNK // each), -(-item.units // CHUNKS))
    return step, -(-item.units // step)


def _allocate(made: Plan) -> None:
    """Give each array of the arena its place: the lowest that is free from its first use to its last."""
    for i, item in enumerate(made.items):
        for x in (*made.reads(item), *made.writes(item)):
            made.last[x] = i
    live: list[tuple[int, int, Value | None]] = []

    def place(size: int, x: Value | None) -> int:
        whole = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        at = 0
        for offset, end, _ in sorted(live, key=lambda one: one[0]):
            if offset - at >= whole:
                break
            at = max(at, end)
        live.append((at, at + whole, x))
        made.arena = max(made.arena, at + whole)
        return at

    for i, item in enumerate(made.items):
        for x in made.writes(item):
            if made.roots[x] == "arena":
                made.offsets[x] = place(x.size * x.dtype.itemsize, x)
        if isinstance(item, Reading) and item.loop.kind == "all":
            made.partial[i] = place(8 * chunk(item)[1] * len(item.results), None)
        live = [one for one in live if one[2] is not None and made.last[one[2]] > i]
