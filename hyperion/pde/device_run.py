"""One direction of a group of shots on a GPU: the same calls as `Run`, the work in generated CUDA kernels, all shots in each launch."""
import contextlib
import enum
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hyperion.codegen import CudaKernel, sweeps
from hyperion.cpu.disk import DiskBuffer
from hyperion.gpu.launching import THREADS
from hyperion.gpu.stencils import KEPT, ROWS, SENT, SIZES, WRAP, given, structure

from .device_memory import HELD_BYTES, DeviceArena, DeviceHistory
from .device_points import Image, Points, Shot, hearing, sending
from .device_tiles import Moving, tile_of, tiles
from .experiment import Experiment, stages
from .layout import Layout, Taps
from .run import exploded
from .storage import BLOCK, Keeping, slots

CHUNK_CELLS = 2e10                                     # cell updates between looks for NaN and Ctrl-C: about a tenth of a second
GRAPH = 32                                             # steps, at least, of a graph that is recorded once and replayed


class Lane(enum.Enum):
    """Where a launch stands: after all before it; beside the next one, on a stream of its own; or after its sweep on another, where the
    next sweep need not wait for it."""

    AFTER, BESIDE, TRAILING = range(3)


@dataclass(frozen=True)
class Launch:
    """A launch of a kernel; its last argument, loop counts since the clock was set, comes with the call."""

    kernel: Any                                        # its name, or its function
    grid: tuple[int, int]
    arguments: tuple[Any, ...]
    lane: Lane = Lane.AFTER
    sweeps: bool = False


class DeviceRun:
    """One direction of a group of shots: arenas, tables, and launches."""

    def __init__(self, e: Experiment, kind: str, shots: list[int], threads: int, parameters: DeviceArena):
        self.e, self.kind, self.shots, self.threads, self._parameters = e, kind, shots, threads, parameters
        self.program = e.engine.of(kind)
        self.sweeps, self._stencils = e.engine.stencils(kind, e.device)
        self.stage = stages(self.program)
        self.watched = next(a.target for a in reversed(self.program.assigns) if a.target not in self.program.memory)
        self.contexts = [Shot() for _ in shots]
        self.arena = DeviceArena(e, self.program.arrays(), self.program.memory, len(shots))
        self.histories: list[DeviceHistory] = []
        self.rings: list[Any] = []
        lay = e.layout
        full, _ = lay.extent(None, 0)
        self._stride = [math.prod(full[k + 1:]) for k in range(lay.ndim)]
        self._sizes = self._measured(lay)
        self._moving = Moving(e, len(shots), lay.reach * (1 + max(len(before) for before, _ in sweeps(self.program))))
        self._profiles = {name: e.xp.asarray(e.profiles[name]) for name in self.program.profiles}
        self._tiles: dict[str, tuple[int, Any]] = {}
        self._plans: dict[int, list[Launch]] = {}
        self._graphs: dict[tuple[int, int], Any] = {}
        stream = getattr(e.xp.cuda, "Stream", None)
        self._streams: list[Any] = [contextlib.nullcontext()] if stream is None else [stream(), stream(), stream()]
        self._tables: dict[tuple[Any, ...], Any] = {}
        self._turn = -1 if kind == "forward" else e.steps - 1
        self._clock = e.xp.asarray(np.zeros(6, np.int64))
        self._found = e.xp.zeros(len(shots), np.int32)
        self._storing, self._first, self._slot0 = 0, 0, 0
        self._scratch: Any = None
        if kind == "forward":
            for (name, values), i in itertools.product(e.starts.items(), range(len(shots))):
                self.arena.full(name, i)[...] = values

    def _measured(self, lay: Layout) -> Any:
        slab = np.zeros((3, 2, 2), np.int64)
        for axis, side, k in itertools.product(range(lay.ndim), (0, 1), range(lay.ndim - 1)):
            slab[axis, side, k] = math.prod(lay.extent(axis, side)[0][k + 1:])
        kept = lay.history_shape
        stride = (self._stride[0], self._stride[1] if lay.ndim == 3 else 0)
        history = (math.prod(kept[1:]), kept[-1] if lay.ndim == 3 else 0)
        return structure(SIZES, shots=len(self.shots), shot=self.arena.stride // lay.dtype.itemsize, stride=stride, slab=slab,
                         history_size=math.prod(kept), history_stride=history)

    # What stands for the native tables of `Run`.

    def points(self, taps: Taps, weights: np.ndarray, array: str, offset: int, data: Any, first_row: int = 0, history: int = -1,
               history_weights: np.ndarray | None = None) -> Points:
        """Return weighted cells of an array. data: (steps..., points) on the device; `first_row` is what step 0 meets."""
        first = data.data.ptr + first_row * taps.points * self.e.layout.dtype.itemsize
        return Points(taps, weights, array, offset, data, first, history, taps.weights if history_weights is None else history_weights)

    def image(self, array: str, offset: int, history: int, sums: Any) -> Image:
        """Return a sum over kept steps: sums += cotangent in `array` * history."""
        return Image(array, offset, history, sums)

    def attach(self, c: Shot, name: str, items: Sequence[Any]) -> None:
        """Hand a shot its injections, receivers or images."""
        setattr(c, name, list(items))
        self._tables.clear()
        self._plans.clear()
        self._graphs.clear()

    def array(self, i: int, name: str, loop: int) -> Any:
        """Return an array of the i-th shot, (size), by the name it has in a loop count."""
        return self.arena.full(self.program.swapped(name) if loop % 2 else name, i)

    def state(self) -> Any:
        """Return a copy of all arrays of all shots, and of what moves."""
        return self.arena.memory.copy(), self._moving.boxes.copy()

    def restore(self, state: Any) -> None:
        """Set all arrays to what `state` returned."""
        self.arena.memory[...], self._moving.boxes[...] = state

    # Histories.

    def new_histories(self, keeping: Keeping, steps: int) -> list[DeviceHistory]:
        """Return room for the histories of so many steps of each shot."""
        slot, count = self.e.needs(0.0, 0).slot_bytes(keeping.bits), slots(0, steps, keeping.every)
        file = DiskBuffer(len(self.shots) * count * slot, keeping.folder) if keeping.disk else None
        held = min(count, 1 + max(1, int(HELD_BYTES / (slot * len(self.shots))))) + 1 if keeping.disk else count
        memory = self.e.xp.empty((len(self.shots), held, slot), np.uint8)
        return [DeviceHistory(memory, keeping.every, keeping.bits, file)] * len(self.shots)

    def use_nothing(self) -> None:
        """Let the shots keep nothing."""
        self._storing = 0
        self._plans.clear()
        self._graphs.clear()

    def use(self, histories: Sequence[DeviceHistory], storing: int, first: int = 0) -> None:
        """Let the shots write (storing 1) or read (2) their histories, the first slot being that of a step."""
        self.histories, self._storing, self._slot0 = list(histories), storing, first // histories[0].every
        self._tables.clear()
        self._plans.clear()
        self._graphs.clear()
        if storing == 1:
            histories[0].memory[...] = 0               # where the forward run is still at rest, nothing is written
        if storing == 1 and histories[0].bits:
            count = len(self.e.engine.histories) * math.prod(self.e.layout.history_shape)
            self._scratch = self.e.xp.zeros((len(self.shots), count), self.e.layout.dtype)

    def _kept(self) -> Any:
        """Return where kernels write or read histories as computed."""
        count, item = len(self.e.engine.histories) * math.prod(self.e.layout.history_shape), self.e.layout.dtype.itemsize
        if not self.histories or (self.histories[0].bits and self._scratch is None):
            return structure(KEPT, every=1)
        h = self.histories[0]
        if h.bits:
            return structure(KEPT, base=self._scratch.data.ptr, slot=0, shot=count, every=1)
        return structure(KEPT, base=h.memory.data.ptr, slot=count, shot=math.prod(h.memory.shape[1:]) // item, every=h.every)

    def _rows(self) -> Any:
        """Return how histories lie in their slots."""
        lay, h = self.e.layout, self.histories[0]
        length, needs = lay.history_shape[-1], self.e.needs(0.0, 0)
        return structure(ROWS, rows=math.prod(lay.history_shape[:-1]), length=length, cells=lay.size[-1], bits=h.bits,
                         row_bytes=length * (h.bits // 8 or lay.dtype.itemsize), history_bytes=needs.kept_bytes(h.bits),
                         slot_bytes=needs.slot_bytes(h.bits), shot_bytes=math.prod(h.memory.shape[1:]), every=h.every,
                         base=h.memory.data.ptr)

    def _is_kept(self, n: int) -> bool:
        every = self.histories[0].every
        return n % every == every // 2

    # Launches.

    def _tiles_of(self, kernel: CudaKernel) -> Any:
        """Return the tiles of the boxes that a kernel runs in."""
        if kernel.name not in self._tiles:
            made = tiles(self.e.layout, kernel)
            self._tiles[kernel.name] = (len(made), self.e.xp.asarray(made.view(np.uint8)))
        return self._tiles[kernel.name]

    def _address(self, name: str, side: int, odd: int) -> int:
        """Return the address of cell 0 of an array of the first shot, or of a profile."""
        if name in self._profiles:
            return int(self._profiles[name].data.ptr)
        name = self.program.swapped(name) if odd else name
        arena = self.arena if (name, 0) in self.arena.cell else self._parameters
        return arena.address + arena.cell.get((name, side), arena.cell[name, 0])

    def _planned(self, m: int) -> list[Launch]:
        """Return the launches of a loop count, which repeat after `_period` counts."""
        key = m % self._period
        if key not in self._plans:
            self._plans[key] = [replace(x, kernel=self._stencils.function(x.kernel), arguments=tuple(map(given, x.arguments)))
                                for x in self._step(m) if x.grid[0]]
        return self._plans[key]

    @property
    def _period(self) -> int:
        """After how many loop counts launches repeat: arrays swap, and every so many steps are kept."""
        return math.lcm(2, self.histories[0].every) if self._storing else 2

    def _at(self, m: int) -> int:
        """Return the step of the run that a loop count stands for."""
        return m if self._turn < 0 else self._turn - m

    def _step(self, m: int) -> Iterator[Launch]:
        """Yield the launches of a loop count."""
        keeps = self._storing == 1 and self._is_kept(self._at(m))
        kept = self._kept() if keeps or self.program.recorded else structure(KEPT, every=1)
        for stage, sweep in enumerate(self.sweeps):
            present = [kernel for kernel in (sweep.keeping if keeps else sweep.main) if self._tiles_of(kernel)[0]]
            for i, kernel in enumerate(present):
                addresses = [self._address(x, side, m & 1) for x in kernel.arrays for side in (0, 1)]
                places = structure(np.dtype([("at", np.uint64, len(addresses))]), at=addresses)
                count, table = self._tiles_of(kernel)
                sent = self._sent(stage, m & 1, kernel)
                arguments = (self._sizes, places, table, kept, sent, self._moving.given, self._clock, self._turn)
                lane = Lane.AFTER if i == len(present) - 1 else Lane.BESIDE
                yield Launch(kernel.name, (count * len(self.shots), 1), arguments, lane, True)
            yield from self._after(stage, m, keeps)
            if keeps and self.histories[0].bits:
                yield from self._pack(stage)
            yield from self._wrap(sweep.written, m)

    def _before(self, stage: int, m: int) -> Iterator[Launch]:
        """Yield what injects into arrays where no sweep does it."""
        if (sent := self._sent(stage, m & 1))["count"]:
            yield Launch("inject", (blocks(int(sent["count"])), 1), (sent, structure(KEPT, every=1), self._clock, self._turn))

    def _after(self, stage: int, m: int, keeps: bool) -> Iterator[Launch]:
        """Yield what follows once a sweep's arrays are final: inject sources into histories, sample receivers, add to images."""
        if keeps and (sent := self._sent_to_histories(stage))["count"]:
            yield Launch("inject", (blocks(int(sent["count"])), 1), (sent, self._kept(), self._clock, self._turn))
        heard = {p.array for shot in self.contexts for p in shot.receiver}
        for at, start, weight, data, count, traces, offset in self._heard(stage, m & 1):
            lane = Lane.AFTER if heard & self._written_next(stage) or any(self.e.wraps) else Lane.TRAILING
            yield Launch("receive", (blocks(count), 1), (at, start, weight, data, count, traces, offset, self._clock, self._turn), lane)
        lay = self.e.layout
        for im in self.contexts[0].image if self._storing == 2 else ():
            if self.stage[im.array] == stage and self._is_kept(self._at(m) + im.offset):
                lines = lay.history_shape[1] if lay.ndim == 3 else 1
                yield Launch("image", (blocks(math.prod(lay.history_shape) * lay.dtype.itemsize // 16), 1), (
                    im.sums, np.uint64(self._address(im.array, 0, m & 1)), self._sizes, len(self.shots), lines, im.history, self._rows(),
                    self._moving.given, im.offset, self._clock, self._turn))

    def _written_next(self, stage: int) -> set[str]:
        """Return what the sweep after this one writes, by the names of this step."""
        last = stage + 1 == len(self.sweeps)
        written = self.sweeps[0 if last else stage + 1].written
        return {self.program.swapped(x) for x in written} if last else set(written)

    def _pack(self, stage: int) -> Iterator[Launch]:
        """Yield what rounds the histories that a sweep has made into their slots."""
        rows, size = self._rows(), math.prod(self.e.layout.history_shape)
        lines = self.e.layout.history_shape[1] if self.e.layout.ndim == 3 else 1
        count = -(-int(rows["length"]) // BLOCK) * int(rows["rows"])
        for i, (s, _, _) in enumerate(self.e.engine.histories):
            if s == stage:
                yield Launch("pack", (blocks(count), len(self.shots)), (
                    self._scratch, self._scratch.shape[1], i, size, lines, rows, self._moving.given, self._clock, self._turn))

    def _wrap(self, written: Iterable[str], m: int) -> Iterator[Launch]:
        """Yield what fills the halos of arrays from the other side of every periodic axis."""
        lay, none = self.e.layout, 3 - self.e.layout.ndim
        for axis in (axis for axis, wraps in enumerate(self.e.wraps) if wraps):
            count = [2 * lay.reach if k == axis else n for k, n in enumerate(lay.size)]
            values = structure(WRAP, count=[*(1,) * none, *count], stride=[*(0,) * none, *self._stride], axis=axis + none,
                               along=self._stride[axis], cells=lay.size[axis], reach=lay.reach)
            for x in written:
                yield Launch("wrap", (blocks(math.prod(count)), len(self.shots)), (
                    np.uint64(self._address(x, 0, m & 1)), int(self._sizes["shot"]), values))

    def _heard(self, stage: int, odd: int) -> list[tuple[Any, ...]]:
        """Return the tables of receivers after a sweep, one for each (traces, offset): made once."""
        key = ("receiver", stage, odd)
        if key not in self._tables:
            groups: dict[tuple[int, int], list[tuple[Points, np.ndarray]]] = {}
            for i, shot in enumerate(self.contexts):
                for p in shot.receiver:
                    if self.stage[p.array] == stage:
                        groups.setdefault((p.taps.points, p.offset), []).append((p, self._cells(i, p, odd)))
            self._tables[key] = [(*hearing(self.e.xp, self.e.layout.dtype, items), traces, offset)
                                 for (traces, offset), items in groups.items()]
        return self._tables[key]

    def _cells(self, i: int, p: Points, odd: int) -> np.ndarray:
        """Return the addresses of the i-th shot's cells that points stand for."""
        at = p.taps.cells @ np.array(self._stride) * self.e.layout.dtype.itemsize
        return self._address(p.array, 0, odd) + i * self.arena.stride + at

    def _sent(self, stage: int, odd: int, kernel: CudaKernel | None = None) -> Any:
        """Return the table of what is sent to arrays after a sweep, in the order of a kernel's tiles."""
        key = ("injection", stage, odd, kernel and kernel.whole, kernel and kernel.masks)
        if key not in self._tables:
            lay, shots = self.e.layout, len(self.shots)
            items = [(p, p.weights, self._cells(i, p, odd), tile_of(lay, kernel, p.taps.cells) * shots + i if kernel else 0 * p.taps.owner)
                     for i, shot in enumerate(self.contexts) for p in shot.injection if self.stage[p.array] == stage]
            self._tables[key] = self._held(items, self._tiles_of(kernel)[0] * shots if kernel else 0)
        return self._tables[key][0]

    def _sent_to_histories(self, stage: int) -> Any:
        """Return the table of what is sent to the histories that a sweep has made."""
        key = ("history", stage)
        if key not in self._tables:
            shape, item, kept = self.e.layout.history_shape, self.e.layout.dtype.itemsize, self._kept()
            stride = np.array([math.prod(shape[k + 1:]) for k in range(len(shape))])
            items = [(p, p.history_weights, int(kept["base"]) + item * (
                i * int(kept["shot"]) + p.history * math.prod(shape) + p.taps.cells @ stride), 0 * p.taps.owner)
                for i, shot in enumerate(self.contexts) for p in shot.injection if self.stage[p.array] == stage and p.history >= 0]
            self._tables[key] = self._held(items, 0)
        return self._tables[key][0]

    def _held(self, items: list[tuple[Points, np.ndarray, np.ndarray, np.ndarray]], blocks: int) -> tuple[Any, Any]:
        return sending(self.e.xp, self.e.layout.dtype, items, blocks) if items else (structure(SENT), None)

    def advance(self, first: int, last: int, report: Callable[[int], None] | None = None) -> None:
        """Run loop counts [first, last) in chunks; NaN and Ctrl-C are noticed between them."""
        e = self.e
        chunk = max(1, int(CHUNK_CELLS / (e.layout.cells_count * len(self.shots))))
        held = self.histories[0] if self.histories and self._storing else None
        chunk = min(chunk, held.chunk) if held else chunk
        for start in range(first, last, chunk):
            stop = min(start + chunk, last)
            steps = (start, stop) if self.kind == "forward" else (e.steps - stop, e.steps - start)
            heard = (0, e.steps) if self.kind == "forward" else steps
            with self._streams[0]:
                if start == 0:
                    self._moving.wake([(i, p.taps.cells) for i, shot in enumerate(self.contexts) for p in shot.injection])
                slot = steps[0] // held.every if held and held.file else self._slot0
                self._clock[...] = e.xp.asarray(np.array([start, *steps, *heard, slot], np.int64))
                if held and self._storing == 2:
                    held.move(*steps, out=False)
                if self.kind != "forward" or start == 0:             # what meets the state this call starts from
                    for stage, sweep in enumerate(self.sweeps):
                        at = (stage, start - 1)
                        for x in (*self._before(*at), *self._after(*at, False), *self._wrap(sweep.written, start - 1)):
                            self._stencils.function(x.kernel)(x.grid, (THREADS,), (*map(given, x.arguments), -1))
                self._march(start, stop)
                self._look_for_infinite(start, stop)
                if held and self._storing == 1:
                    held.move(*steps, out=True)
            if report:
                report((stop - start) * len(self.shots))

    def _march(self, start: int, stop: int) -> None:
        """Run loop counts: one by one, or many as a graph once their launches have been seen."""
        count = -(-GRAPH // self._period) * self._period
        m = zero = start                               # what the clock shows
        while m < stop:
            if len(self._plans) < self._period or stop - m < count or len(self._streams) == 1:
                for x in self._planned(m):
                    x.kernel(x.grid, (THREADS,), (*x.arguments, m - zero))
                m += 1
                continue
            if zero < m:
                self._tick(m - zero)
            self._graph(m, count).launch(self._streams[0])
            m = zero = m + count

    def _tick(self, counts: int) -> None:
        self._stencils.function("tick")((1,), (1,), (self._clock, counts), stream=self._streams[0])

    def _graph(self, m: int, count: int) -> Any:
        """Return the graph of `count` loop counts from m on, and of the clock's moving on; recorded once."""
        key = (m % self._period, count)
        if key not in self._graphs:
            main = self._streams[0]
            main.begin_capture()
            try:
                self._record(m, count)
            except BaseException:                      # a stream that goes on recording could not be used again
                with contextlib.suppress(Exception):
                    main.end_capture()
                raise
            self._graphs[key] = main.end_capture()
        return self._graphs[key]

    def _record(self, m: int, count: int) -> None:
        """Launch `count` loop counts from m on, in the lanes of the streams."""
        main, beside, trailing = self._streams
        swept, done, before = False, main.record(), main.record()
        for k in range(count):
            for x in self._planned(m + k):
                if x.sweeps and not swept:             # what the sweep before the last one left to hear may be overwritten now
                    main.wait_event(before)
                    before = done
                stream = {Lane.AFTER: main, Lane.BESIDE: beside, Lane.TRAILING: trailing}[x.lane]
                if stream is not main:
                    stream.wait_event(main.record())
                x.kernel(x.grid, (THREADS,), (*x.arguments, k), stream=stream)
                if x.lane == Lane.TRAILING:
                    done = trailing.record()
                elif swept and x.sweeps:
                    main.wait_event(beside.record())
                swept = x.lane == Lane.BESIDE
        main.wait_event(done)
        self._tick(count)

    def _look_for_infinite(self, start: int, stop: int) -> None:
        count = self.arena.whole(self.watched, 0).size
        self._found[...] = 0
        self._stencils.function("find_infinite")((min(1024, blocks(count)), len(self.shots)), (THREADS,), (
            np.uint64(self.arena.start(self.watched)), count, int(self._sizes["shot"]), self._found))
        found = np.flatnonzero(self._found.get())
        if found.size:
            exploded(self.e, self.kind, self.shots[int(found[0])], start, stop)


def blocks(count: int) -> int:
    """Return how many blocks have a thread for each of `count` things."""
    return -(-count // THREADS)
