"""One direction of a group of shots: arenas, tables of points, and the calls into the time loop."""
import ctypes
import math
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from hyperion.codegen import sweeps
from hyperion.codegen.render import array_names
from hyperion.cpu.pool import POOL, Buffer
from hyperion.cpu.timeloop import ARRAY, Context, Image, Points
from hyperion.errors import NonFiniteError

from .experiment import Experiment, stages
from .history import History
from .layout import Arena, Layout, Taps
from .ring import RingHistory
from .storage import Keeping

LONGEST = 65535                                        # cells of an axis, where some are left alone: spans are 16-bit numbers, on the stack
CHUNK_CELLS = 2.5e8                                    # cell updates per thread in one native call: a tenth to a quarter of a second


class Run:
    """One direction of a group of shots: arenas, tables and contexts."""

    def __init__(self, e: Experiment, kind: str, shots: list[int], threads: int, parameters: Arena):
        self.e, self.kind, self.shots = e, kind, shots
        self.program = e.engine.of(kind)
        self.loop, self.names = e.engine.loop(kind), array_names(self.program)
        self.index = {n: i for i, n in enumerate(self.names)}
        self.stage = stages(self.program)
        self.watched = next(a.target for a in reversed(self.program.assigns) if a.target not in self.program.memory)
        self.hold: list[object] = []
        self.whole = (ctypes.c_long * 6)(0, 0, 0, *e.layout.cells, *(1,) * (3 - e.layout.ndim))
        profiles = [self._pointer(e.profiles[p]) for p in self.program.profiles]
        self.profile = self._pointer(np.array(profiles or [0], np.uintp))
        whole = e.engine.program if kind == "undone" else self.program   # what is taken back lies where the forward run left it
        self.arenas = [Arena(e.layout, whole.arrays(), whole.memory) for _ in shots]
        self.contexts = [self._context(arena, parameters, threads) for arena in self.arenas]
        self.threads = threads
        self.histories: list[History] = []
        self.rings: list[RingHistory] = []
        if kind == "forward":
            for arena in self.arenas:
                for name, values in e.starts.items():
                    arena.full[name][...] = values

    def _pointer(self, array: np.ndarray) -> int:
        self.hold.append(array)
        return array.ctypes.data

    def _context(self, arena: Arena, parameters: Arena, threads: int) -> Context:
        arena.clear()
        e, lay, c = self.e, self.e.layout, Context()
        table = np.zeros((2, 2 * len(self.names)), ARRAY)
        for name, i in self.index.items():
            for side in (0, 1):
                source = arena if name in self.stage or (name, 0) in arena.entry else parameters
                table[:, 2 * i + side] = source.entry.get((name, side), source.entry[name, 0])
        for now, then in self.program.rotate.items():
            for side in (0, 1):
                a, b = 2 * self.index[now] + side, 2 * self.index[then] + side
                table[1, a], table[1, b] = table[0, b], table[0, a]
        if self.kind == "undone" and e.steps % 2 == 0:   # the first step taken back is the last one: the same names on the same arrays
            table = table[::-1].copy()
        for name, values in (("cells", lay.cells), ("size", lay.size), ("low", lay.low), ("high", lay.high)):
            setattr(c, name, (ctypes.c_long * 3)(*values))
        c.steps, c.threads, c.direction = e.steps, threads, 1 if self.kind == "forward" else -1
        c.periodic = sum(1 << axis for axis, wraps in enumerate(e.wraps) if wraps)
        c.tile, c.block, c.rows = _tiling(lay, threads, len(sweeps(self.program)))
        c.histories, c.history_size = len(e.engine.histories), math.prod(lay.history_shape)
        c.history_stride = (ctypes.c_long * 2)(math.prod(lay.history_shape[1:]), lay.history_shape[-1])
        c.table = (ctypes.c_void_p * 2)(self._pointer(table[0]), self._pointer(table[1]))
        c.profile = self.profile
        c.resting = not any(e.wraps) and not e.engine.recorded and max(lay.cells) <= LONGEST
        c.follows = self.kind == "undone"
        given = self.e.starts if self.kind == "forward" else self.e.ends
        c.moving = self.whole if given else (ctypes.c_long * 6)()
        c.moves, c.limit = (self._pointer(np.zeros((2, math.prod(lay.cells[:-1])), np.uint16)) for _ in range(2))
        c.cut, c.passed = (self._pointer(np.zeros(threads + 1, np.int64)) for _ in range(2))
        c.work = self._pointer(np.zeros(lay.cells[0] + 1))
        return c

    def points(self, taps: Taps, weights: np.ndarray, array: str, offset: int, data: np.ndarray, first_row: int = 0, history: int = -1,
               history_weights: np.ndarray | None = None) -> Points:
        """Return the native table of weighted cells of an array. data: (steps..., points); `first_row` is what step 0 meets."""
        lay, cells = self.e.layout, taps.cells
        stride = [math.prod(lay.extent(None, 0)[0][k + 1:]) for k in range(lay.ndim)]
        compact = [math.prod(lay.history_shape[k + 1:]) for k in range(lay.ndim)]
        row = np.searchsorted(cells[:, 0], np.arange(lay.size[0] + 1)).astype(np.int32)
        as_real = lambda w: np.ascontiguousarray(w, lay.dtype)  # noqa: E731
        line = np.ascontiguousarray(cells[:, 1], np.int32)
        arrays = (row, line, cells @ np.array(stride), cells @ np.array(compact), as_real(weights),
                  as_real(taps.weights if history_weights is None else history_weights), taps.owner)
        base = self._pointer(data) + first_row * taps.points * lay.dtype.itemsize
        numbers = (len(cells), taps.points, self.index[array], self.stage[array], offset, history)
        return Points(*numbers, *(self._pointer(a) for a in arrays), base)

    def image(self, array: str, offset: int, history: int, sums: np.ndarray) -> Image:
        """Return the native form of a sum over kept steps: sums += cotangent in `array` * history."""
        return Image(self.index[array], self.stage[array], offset, history, self._pointer(sums))

    def new_histories(self, keeping: Keeping, steps: int, rings: Sequence[RingHistory] = ()) -> list[History]:
        """Return room for the histories of so many steps of each shot, where runs are taken back with the boxes of their rings."""
        needs = self.e.needs(0.0, 0)
        return [History(keeping, needs, steps, ring.boxes if ring else None) for ring in rings or [None] * len(self.shots)]

    def state(self) -> list[Buffer]:
        """Return a copy of all arrays of all shots."""
        kept = [POOL.take(arena.bytes.size) for arena in self.arenas]
        for buffer, arena in zip(kept, self.arenas, strict=True):
            buffer.bytes[:] = arena.bytes
        return kept

    def restore(self, state: Sequence[Buffer]) -> None:
        """Set all arrays to what `state` returned."""
        for buffer, arena in zip(state, self.arenas, strict=True):
            arena.bytes[:] = buffer.bytes
        for c in self.contexts:
            c.moving = self.whole

    def array(self, i: int, name: str, loop: int) -> np.ndarray:
        """Return an array of the i-th shot, (size), by the name it has in a loop count."""
        return self.arenas[i].full[self.program.swapped(name) if loop % 2 else name]

    def use(self, histories: Sequence[History], storing: int, first: int = 0) -> None:
        """Let the shots write (storing 1) or read (2) their histories, the first slot being that of a step."""
        self.histories = list(histories)
        for c, h in zip(self.contexts, histories, strict=True):
            c.storing, c.history, c.base = storing, h.address, h.before[first]
            c.slot, c.counts = h.slot.ctypes.data, h.counts.ctypes.data
            c.place = h.place.ctypes.data if c.resting and h.place is not None else None
            c.format, c.kept_bytes = h.bits, h.kept_bytes
            c.boxes = h.boxes.ctypes.data if c.resting else None
            c.swept = h.swept.ctypes.data if c.resting and h.swept is not None else None
            if storing == 1 and h.bits:
                c.scratch_size = c.histories * c.history_size
                scratch = POOL.take(self.threads * c.scratch_size * self.e.layout.dtype.itemsize)
                self.hold.append(scratch)
                c.scratch = scratch.bytes.ctypes.data

    def stay_within(self) -> None:
        """Let the adjoint run stay where the forward run was in motion."""
        for c in self.contexts:
            c.within = c.resting

    def use_nothing(self) -> None:
        """Let the shots keep nothing."""
        for c in self.contexts:
            c.storing = 0

    def use_ring(self, kept: Sequence[RingHistory]) -> None:
        """Let the shots keep the frames and rings of their steps (forward), or go back by them."""
        numbers = np.array([self.index[x] for x in self.e.engine.ringed], np.int64)
        for c, h in zip(self.contexts, kept, strict=True):
            ring = h.table(numbers)
            self.hold += [ring, numbers, h]
            c.ring = ctypes.addressof(ring)
            c.boxes = h.boxes.ctypes.data if c.resting else None
            if self.kind == "forward":
                c.scratch_size = c.histories * c.history_size
                scratch = POOL.take(self.threads * c.scratch_size * self.e.layout.dtype.itemsize)
                self.hold.append(scratch)
                c.scratch = scratch.bytes.ctypes.data

    def use_beside(self, back: "Run", ahead: int) -> None:
        """Let the adjoint run take `back` along, so many loop counts ahead: histories stay in the cache then."""
        size = math.prod(self.e.layout.history_shape) * len(self.e.engine.histories)
        for c, other in zip(self.contexts, back.contexts, strict=True):
            scratch = POOL.take(self.threads * size * self.e.layout.dtype.itemsize)
            self.hold += [other, scratch]
            c.beside, c.undo, c.ahead = ctypes.addressof(other), back.loop.undo, ahead
            c.scratch_size, c.scratch = size, scratch.bytes.ctypes.data

    def attach(self, c: Context, name: str, items: list[Points] | list[Image]) -> None:
        """Hand a context its injections, receivers or images."""
        kind = Image if name == "image" else Points
        array = (kind * max(1, len(items)))(*items)
        self.hold.append(array)
        setattr(c, name, ctypes.addressof(array))
        setattr(c, name + "s", len(items))

    def advance(self, first: int, last: int, report: Callable[[int], None] | None = None) -> None:
        """Run loop counts [first, last) in chunks; NaN and Ctrl-C are noticed between them."""
        c0, chunk = self.contexts[0], self.chunk()
        for start in range(first, last, chunk):
            stop = min(start + chunk, last)
            self.expect(start, stop)
            self.loop.run(self.contexts)
            for history in self.histories:
                history.passed(c0.from_, c0.to, chunk, c0.direction)
            self.check(start, stop)
            if report:
                report((stop - start) * len(self.shots))

    def chunk(self) -> int:
        """Return how many steps to run in one native call."""
        c = self.contexts[0]
        chunk = max(c.tile, int(CHUNK_CELLS * c.threads / self.e.layout.cells_count) // c.tile * c.tile)
        return min(chunk, max(c.tile, self.histories[0].chunk() // c.tile * c.tile)) if self.histories else chunk

    def expect(self, start: int, stop: int) -> None:
        """Say which loop counts the next native call runs, and whose data it may touch."""
        for c in self.contexts:
            c.first, c.last = start, stop
            c.from_, c.to = (start, stop) if self.kind == "forward" else (self.e.steps - stop, self.e.steps - start)

    def check(self, start: int, stop: int) -> None:
        """Raise NonFiniteError if these loop counts have left numbers that are not finite."""
        for shot, arena in zip(self.shots, self.arenas, strict=True):
            if not self.loop.finite(arena.whole[self.watched]):
                exploded(self.e, self.kind, shot, start, stop)


def exploded(e: Experiment, kind: str, shot: int, start: int, stop: int) -> NoReturn:
    """Raise NonFiniteError: the wavefield of a shot is not finite after loop counts [start, stop)."""
    start, stop = (start, stop) if kind == "forward" else (e.steps - stop, e.steps - start)
    raise NonFiniteError(f"the {kind} wavefield of shot {shot} became NaN or infinite between steps {start} and {stop} "
                         f"({start * e.step:.4g} to {stop * e.step:.4g} s); check the model and the wavelet for NaN, "
                         "and the step for stability")


def _tiling(lay: Layout, threads: int, count: int) -> tuple[int, int, int]:
    """Return (steps per tile, planes and rows per block): blocks that stay in a cache for a few steps, where the grid is tall enough."""
    # Measured on two cores of a Zen 5 and of a Xeon, flat around there: in two dimensions 16 sweeps of 32 rows; in three 4 steps of 16
    # planes by 16 rows for acoustics of order 8, 6 of 24 by 8 for Maxwell's, whose stencils reach one cell and whose steps are two sweeps.
    # Fewer planes read more of the main memory again: the next block of planes needs once more what a tile is skewed by.
    if lay.ndim == 2:
        tile, block, rows = max(1, 16 // count), 32, 0
    else:
        tile, block, rows = min(6, max(1, 16 // (lay.reach * count))), *((24, 8) if lay.reach == 1 else (16, 16))
    while tile > 1 and lay.size[0] // threads < lay.rim + 2 * lay.reach * (tile * count + 1) + block:
        tile //= 2
    return tile, block, rows


def working_bytes(e: Experiment, both: bool) -> int:
    """Return the main memory a gradient works on beside what it keeps; both: whether forward and adjoint states stand side by side.

    States of a group of shots, kernel parameters and images, gathers, and the arrays of the chain from parameters to kernels and back.
    """
    lay, item = e.layout, e.layout.dtype.itemsize
    engine, together = e.engine, max(len(shots) for shots, _ in e.groups())
    ahead, back = (together * Arena.size(lay, p.arrays(), p.memory) for p in (engine.program, engine.transposed.program))
    state = max(ahead, back) if back <= ahead <= 2 * back and not both else ahead + back     # the pool gives the same buffer again
    parameters = Arena.size(lay, engine.program.parameters, {})
    images = together * len(engine.images) * math.prod(lay.history_shape) * item
    chain = 6 * len(engine.program.parameters) * lay.cells_count * item
    gathers = 4 * e.shots * e.points("receivers") * e.steps * item
    return state + parameters + images + chain + gathers


def seconds_per_step(e: Experiment) -> float:
    """Return the time of a step of one group of shots, from a run of a few steps of silence."""
    shots, threads = e.groups()[0]
    parameters = Arena(e.layout, list(e.parameters), {})
    parameters.clear()
    run = Run(e, "forward", shots, threads, parameters)
    for c in run.contexts:
        c.resting = False                              # what is timed is a grid in motion: the longest that it takes
    count = min(e.steps // 2, max(1, int(2e8 / (len(shots) * e.layout.cells_count))), 4 * run.contexts[0].tile) or 1
    run.advance(0, count)                              # touches every page
    start = time.perf_counter()
    run.advance(count, 2 * count)
    return (time.perf_counter() - start) / count


def parameter_arena(e: Experiment) -> Arena:
    """Return the kernel parameters in the layout of the arrays, zeros around them."""
    arena = Arena(e.layout, list(e.parameters), {})
    arena.clear()
    for name, values in e.parameters.items():
        arena.full[name][...] = values
    return arena
