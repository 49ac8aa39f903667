"""Running a program natively: compiled engines, tables of points, and the calls into the time loop, forwards and backwards."""
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hyperion.codegen import Adjoint, Program, Term, adjoint, c_text, cofactors, outside_slabs, sweeps, undone
from hyperion.codegen.render import array_names
from hyperion.cpu.pool import POOL, Buffer
from hyperion.cpu.timeloop import ARRAY, Context, Image, Points, TimeLoop
from hyperion.errors import NonFiniteError

from .history import History
from .layout import Arena, Layout, Taps
from .ring import RingHistory, RingTables, step_bytes
from .storage import STRETCH, BoundaryRing, Checkpoints, Keeping, Needs, split

CHUNK_CELLS = 2.5e8                                    # cell updates per thread in one native call: a tenth to a quarter of a second


@dataclass(frozen=True)
class Engine:
    """A program and its adjoint, compiled.

    histories: (sweep, target, terms) to keep; images: (parameter, target, history). recorded: {coefficient of the adjoint: history}.
    Compiled on first use.
    """

    program: Program
    dtype: np.dtype
    transposed: Adjoint = field(init=False)
    histories: list = field(init=False)
    images: list[tuple[str, str, int]] = field(init=False)
    recorded: dict[str, int] = field(init=False)
    loops: dict[str, TimeLoop] = field(init=False)

    def __post_init__(self) -> None:
        histories: dict[tuple[int, tuple[Term, ...]], str] = {}          # {what is kept: the first target that needs it}
        images: list[tuple[str, str, int]] = []
        stage = stages(self.program)

        def number(target: str, terms: tuple[Term, ...]) -> int:
            key = (stage[target], tuple(sorted(terms, key=repr)))
            histories.setdefault(key, target)
            return list(histories).index(key)
        for parameter, target, terms in cofactors(self.program):
            images.append((parameter, target, number(target, terms)))
        transposed = adjoint(self.program)
        recorded = {name: number(*kept) for name, kept in transposed.recorded.items()}
        kept = [(s, target, terms) for (s, terms), target in histories.items()]
        for name, value in (("transposed", transposed), ("histories", kept), ("images", images), ("recorded", recorded), ("loops", {})):
            object.__setattr__(self, name, value)

    def loop(self, kind: str) -> TimeLoop:
        """Return the compiled time loop of the "forward", the "adjoint" or the "undone" program."""
        if kind not in self.loops:
            program = self.of(kind)
            if kind == "adjoint":
                text = c_text(program, (), self.recorded)
            else:
                stage = stages(program)
                text = c_text(program, [(stage[target], target, outside_slabs(self.program, terms))
                                        for _, target, terms in self.histories] if kind == "undone" else self.histories)
            self.loops[kind] = TimeLoop(text, program.ndim, self.dtype)
        return self.loops[kind]

    def of(self, kind: str) -> Program:
        """Return the "forward", "adjoint" or "undone" program. Raises: ValueError for a step that cannot be taken back."""
        return {"forward": lambda: self.program, "adjoint": lambda: self.transposed.program, "undone": lambda: undone(self.program)}[kind]()

    def ringed(self) -> list[str]:
        """Return the arrays that a step taken back reads around a point."""
        reads = {t.array for a in self.of("undone").assigns for t in a.terms if not t.stencil.is_here}
        return [a.target for a in self.of("undone").assigns if a.target in reads or self.program.swapped(a.target) in reads]


def stages(program: Program) -> dict[str, int]:
    """Return which sweep writes each array that is not a memory variable updated before it; the first, where several do."""
    return {a.target: s for s, (_, group) in reversed(list(enumerate(sweeps(program)))) for a in group}


def field_of(program: Program, array: str) -> str:
    """Return the equation's field that an array is a time level or a tangent of."""
    return program.owner(array).rpartition(".")[2]


@dataclass
class Experiment:
    """Everything a native run needs, as raw arrays.

    parameters: {kernel parameter: (size)}. samples: {source: (shots, sources, steps)}. factor: {field: factor of samples that enter it}.
    sources, receivers: {field: Taps per shot}. observed: {array: weight} of what receivers hear. profiles: {name: (cells along its axis)}.
    starts: {array: (size)} at time zero, of all shots. ends: arrays wanted after the last step.
    """

    engine: Engine
    layout: Layout
    parameters: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]
    factor: dict[str, float]
    sources: dict[str, list[Taps]]
    receivers: dict[str, list[Taps]]
    observed: dict[str, float]
    profiles: dict[str, np.ndarray]
    steps: int
    step: float
    wraps: tuple[bool, ...]
    threads: int
    starts: dict[str, np.ndarray]
    ends: tuple[str, ...] = ()
    progress: Callable[[int, int], None] | None = None
    keeping: Keeping | None = None                     # what a gradient keeps; None where none is asked for

    @property
    def shots(self) -> int:
        """Number of shots; one where there is no survey."""
        return len(next(iter(self.sources.values()), [0]))

    def points(self, kind: str) -> int:
        """Number of "sources" or "receivers" of a shot."""
        return next((taps[0].points for taps in getattr(self, kind).values()), 0)

    def groups(self) -> list[tuple[list[int], int]]:
        """Return [(shots that run side by side, threads of each)]: small grids a thread each, large ones all threads on one."""
        state = self.layout.cells_count * self.layout.dtype.itemsize * 3
        together = self.threads if state < 12e6 else 1
        # The slabs of axis 0 must lie wholly with the first and the last thread, and the seams between threads must not meet.
        count = max(len(sweeps(p)) for p in (self.engine.program, self.engine.transposed.program))
        most = max(1, self.layout.size[0] // (self.layout.rim + 2 * self.layout.reach * (count + 1)))
        out: list[tuple[list[int], int]] = []
        for start in range(0, self.shots, together):
            chosen = list(range(start, min(start + together, self.shots)))
            out.append((chosen, max(1, min(most, self.threads // len(chosen)))))
        return out

    def needs(self, highest_frequency: float, free: int, ring: bool = False) -> Needs:
        """Return what a gradient asks of its storage: frequency of the fields [Hz], free main memory [bytes].

        ring: whether it is asked how much a ring takes, or why the step cannot be taken back.
        """
        kept, reason = 0, ""
        if ring:
            try:
                kept = step_bytes(self.layout, len(self.engine.histories), len(self.engine.ringed()))
            except ValueError as error:
                reason = str(error)
        program = self.engine.program
        state = Arena.size(self.layout, program.arrays(), program.memory)
        together = max(len(shots) for shots, _ in self.groups())
        return Needs(self.shots, together, self.steps, self.step, highest_frequency, len(self.engine.histories), self.layout.history_shape,
                     state, self.layout.dtype.itemsize, free, bool(self.engine.recorded), kept, reason)


class Tape:
    """What a forward run leaves for the adjoint run: the history of each shot."""

    def __init__(self) -> None:
        self.histories: list[History] = []
        self.rings: list[RingHistory] = []


class _Run:
    """One direction of a group of shots: arenas, tables and contexts."""

    def __init__(self, e: Experiment, kind: str, shots: list[int], threads: int, parameters: Arena):
        self.e, self.kind, self.shots = e, kind, shots
        self.program = e.engine.of(kind)
        self.loop, self.names = e.engine.loop(kind), array_names(self.program)
        self.index = {n: i for i, n in enumerate(self.names)}
        self.stage = stages(self.program)
        self.watched = next(a.target for a in reversed(self.program.assigns) if a.target not in self.program.memory)
        self.hold: list[object] = []
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
        c.steps, c.threads, c.direction, c.every = e.steps, threads, 1 if self.kind == "forward" else -1, 1
        c.periodic = sum(1 << axis for axis, wraps in enumerate(e.wraps) if wraps)
        c.tile, c.block, c.rows = _tiling(lay, threads, len(sweeps(self.program)))
        c.histories, c.history_size = len(e.engine.histories), math.prod(lay.history_shape)
        c.history_stride = (ctypes.c_long * 2)(math.prod(lay.history_shape[1:]), lay.history_shape[-1])
        c.table = (ctypes.c_void_p * 2)(self._pointer(table[0]), self._pointer(table[1]))
        c.profile = self.profile
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

    def array(self, i: int, name: str, loop: int) -> np.ndarray:
        """Return an array of the i-th shot, (size), by the name it has in a loop count."""
        return self.arenas[i].full[self.program.swapped(name) if loop % 2 else name]

    def use(self, histories: Sequence[History], storing: int, first: int = 0) -> None:
        """Let the shots write (storing 1) or read (2) their histories, the first slot being that of a step."""
        self.histories = list(histories)
        for c, h in zip(self.contexts, histories, strict=True):
            c.storing, c.history, c.every, c.base = storing, h.address, h.every, first // h.every
            c.format, c.kept_bytes = h.bits, h.kept_bytes
            if storing == 1 and h.bits:
                c.scratch_size = c.histories * c.history_size
                scratch = POOL.take(self.threads * c.scratch_size * self.e.layout.dtype.itemsize)
                self.hold.append(scratch)
                c.scratch = scratch.bytes.ctypes.data

    def use_ring(self, kept: Sequence[RingHistory]) -> None:
        """Let the shots keep the frames and rings of their steps (forward), or go back by them."""
        numbers = np.array([self.index[x] for x in self.e.engine.ringed()], np.int64)
        for c, h in zip(self.contexts, kept, strict=True):
            ring = h.table(numbers)
            self.hold += [ring, numbers, h]
            c.ring = ctypes.addressof(ring)
            if self.kind == "forward":
                c.scratch_size = c.histories * c.history_size
                scratch = POOL.take(self.threads * c.scratch_size * self.e.layout.dtype.itemsize)
                self.hold.append(scratch)
                c.scratch = scratch.bytes.ctypes.data

    def attach(self, c: Context, name: str, items: list[Points] | list[Image]) -> None:
        """Hand a context its injections, receivers or images."""
        kind = Image if name == "image" else Points
        array = (kind * max(1, len(items)))(*items)
        self.hold.append(array)
        setattr(c, name, ctypes.addressof(array))
        setattr(c, name + "s", len(items))

    def advance(self, first: int, last: int, report: Callable[[int], None] | None = None) -> None:
        """Run loop counts [first, last) in chunks; NaN and Ctrl-C are noticed between them."""
        e, c0 = self.e, self.contexts[0]
        chunk = max(c0.tile, int(CHUNK_CELLS * c0.threads / e.layout.cells_count) // c0.tile * c0.tile)
        if self.histories:
            chunk = min(chunk, max(c0.tile, self.histories[0].chunk() // c0.tile * c0.tile))
        for start in range(first, last, chunk):
            stop = min(start + chunk, last)
            for c in self.contexts:
                c.first, c.last = start, stop
                c.from_, c.to = (start, stop) if self.kind == "forward" else (e.steps - stop, e.steps - start)
            self.loop.run(self.contexts)
            for history in self.histories:
                history.passed(c0.from_, c0.to, chunk, c0.direction)
            for shot, arena in zip(self.shots, self.arenas, strict=True):
                if not self.loop.finite(arena.whole[self.watched]):
                    self._explode(shot, start, stop)
            if report:
                report((stop - start) * len(self.shots))

    def _explode(self, shot: int, start: int, stop: int) -> None:
        e = self.e
        start, stop = (start, stop) if self.kind == "forward" else (e.steps - stop, e.steps - start)
        raise NonFiniteError(f"the {self.kind} wavefield of shot {shot} became NaN or infinite between steps {start} and {stop} "
                             f"({start * e.step:.4g} to {stop * e.step:.4g} s); check the model and the wavelet for NaN, "
                             "and the step for stability")


def _tiling(lay: Layout, threads: int, count: int) -> tuple[int, int, int]:
    """Return (steps per tile, planes and rows per block): blocks that stay in a cache for a few steps, where the grid is tall enough."""
    # Measured on two cores of a Zen 5, flat around there: 16 steps of 32 rows in two dimensions; in three 4 steps of 8 planes by 24 rows
    # for acoustics of order 8, 6 for Maxwell's equations, whose stencils reach one cell and whose steps are two sweeps.
    tile, block, rows = (16, 32, 0) if lay.ndim == 2 else (min(6, max(1, 16 // (lay.reach * count))), 8, 24)
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
    run = _Run(e, "forward", shots, threads, parameters)
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


def _product(e: Experiment, names: Sequence[str], cells: np.ndarray) -> np.ndarray | float:
    out: np.ndarray | float = 1.0
    for n in names:
        out = out * e.parameters[n][tuple(cells.T)].astype(np.float64)
    return out


def forward(e: Experiment, tape: Tape | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run all shots; returns gathers (shots, receivers, steps), and the last shot's arrays `e.ends` after the last step.

    With a tape, keeps the history of every shot on it.
    """
    gathers = np.zeros((e.shots, e.points("receivers"), e.steps), e.layout.dtype)
    parameters, done = parameter_arena(e), 0
    if tape is not None:
        tape.histories, tape.rings = [], []

    def report(n: int) -> None:
        nonlocal done
        done += n
        if e.progress:
            e.progress(done, e.shots * e.steps)
    ends: list[np.ndarray] = []
    for shots, threads in e.groups():
        outs = [np.zeros((threads, e.steps, e.points("receivers")), e.layout.dtype) for _ in shots]
        run = _run_forward(e, shots, threads, parameters, outs, tape is not None, report)
        ends = [run.array(-1, x, e.steps).copy() for x in e.ends]
        if tape is not None:
            tape.histories += run.histories
            tape.rings += run.rings
        for shot, out in zip(shots, outs, strict=True):
            gathers[shot] = (out[0] if threads == 1 else out.sum(axis=0)).T
    return gathers, ends


def _run_forward(e: Experiment, shots: list[int], threads: int, parameters: Arena, outs: Sequence[np.ndarray | None], keep: bool,
                 report: Callable[[int], None] | None = None) -> _Run:
    """Run a group of shots from start to end, with their histories if they are to be kept."""
    run = _Run(e, "forward", shots, threads, parameters)
    for c, shot, out in zip(run.contexts, shots, outs, strict=True):
        _attach_forward(run, c, shot, out)
    if keep:
        assert e.keeping is not None
        if isinstance(e.keeping.storage, BoundaryRing):
            return _run_keeping_rings(e, run, report)
        run.use([History(e.keeping, e.needs(0.0, 0), e.steps) for _ in shots], 1)
    run.advance(0, e.steps, report)
    return run


def _run_keeping_rings(e: Experiment, run: _Run, report: Callable[[int], None] | None) -> _Run:
    """Run a group forward; its `rings` then hold what the way back needs."""
    tables, arrays = RingTables(e.layout), len(e.engine.ringed())
    run.rings = [RingHistory(tables, len(e.engine.histories), arrays, e.steps, e.layout.dtype.itemsize) for _ in run.shots]
    run.use_ring(run.rings)
    run.advance(0, e.steps, report)
    for ring, arena in zip(run.rings, run.arenas, strict=True):
        ring.keep_state(arena.bytes)
    return run


def _undo(e: Experiment, adjoint_run: _Run, parameters: Arena, rings: Sequence[RingHistory]) -> None:
    """Run the adjoint of all steps beside the forward run taken back, a stretch of steps at a time."""
    assert e.keeping is not None
    back = _Run(e, "undone", adjoint_run.shots, adjoint_run.threads, parameters)
    for c, shot, arena, ring in zip(back.contexts, back.shots, back.arenas, rings, strict=True):
        _attach_forward(back, c, shot, None)
        arena.bytes[:] = ring.last.bytes
    stretch = STRETCH
    histories = [History(e.keeping, e.needs(0.0, 0), stretch) for _ in back.shots]
    back.use_ring(rings)
    for start in range(0, e.steps, stretch):
        stop = min(e.steps, start + stretch)
        back.use(histories, 1, e.steps - stop)
        back.advance(start, stop)
        adjoint_run.use(histories, 2, e.steps - stop)
        adjoint_run.advance(start, stop)


def states(e: Experiment, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, {field: (size)}) of the first shot, from the start and then every `every` steps. The arrays are views: copy them."""
    run = _Run(e, "forward", [0], e.threads, parameter_arena(e))
    _attach_forward(run, run.contexts[0], 0, None)
    arena = run.arenas[0]
    for step in range(0, e.steps, every):
        if step:
            run.advance(step - every, step)
        yield step, {f: run.array(0, f, step) for f in arena.full}


def _attach_forward(run: _Run, c: Context, shot: int, out: np.ndarray | None) -> None:
    """Attach sources (and the histories they belong to) and receivers to a forward context, or to one that takes the run back."""
    e, items, seen = run.e, list[Points](), set[tuple[str, int]]()
    for source, assign, term in run.program.injections():
        field = field_of(e.engine.program, assign.target)
        points = e.sources[field][shot]
        data = np.ascontiguousarray(e.samples[source][shot].T, e.layout.dtype)
        scale = points.weights * e.factor[field] * term.weight
        kept = [(k, h) for k, target, h in e.engine.images
                if target == assign.target and k in term.coefficients and (source, h) not in seen]
        # Taken back, a source leaves with the opposite sign, or its own where the field does: the history has what entered.
        entered = scale * (-assign.terms[0].weight if run.kind == "undone" else 1.0)
        histories = [(h, entered * _product(e, [x for x in term.coefficients if x != k], points.cells)) for k, h in kept]
        seen |= {(source, h) for h, _ in histories}
        weights = scale * _product(e, term.coefficients, points.cells)
        for i, (h, w) in enumerate(histories or [(-1, scale)]):
            items.append(run.points(points, weights * (i == 0), assign.target, 0, data, history=h, history_weights=w))
    run.attach(c, "injection", items)
    heard: list[Points] = []
    for array, weight in e.observed.items():
        points = e.receivers[field_of(e.engine.program, array)][shot]
        if out is not None:
            heard.append(run.points(points, points.weights * weight, e.engine.program.partner(array), 1, out))
    run.attach(c, "receiver", heard)


@dataclass
class Cotangents:
    """Result of an adjoint run: {parameter: (size)}, {source: (shots, sources, steps)}, {array at time zero: (size)}."""

    parameters: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]
    starts: dict[str, np.ndarray]


def backward(e: Experiment, gathers: np.ndarray, ends: Sequence[np.ndarray], tape: Tape | None, images: bool) -> Cotangents:
    """Run the exact adjoint of `forward` on cotangents of the gathers, (shots, receivers, steps), and of the arrays `e.ends`.

    tape: what forward left; without it shots run forward again where images, or a nonlinear step, need it. images: whether parameters
    are asked for.
    """
    lay, engine = e.layout, e.engine
    parameters, replayed = parameter_arena(e), images or bool(engine.recorded)
    samples = {s: np.zeros((e.shots, e.points("sources"), e.steps), lay.dtype) for s in e.samples}
    starts = {x: np.zeros(lay.size, lay.dtype) for x in e.starts}
    sums: list[dict[tuple[str, str], np.ndarray]] = []   # per place in a group: sums in a fixed order are the same on every run
    for shots, threads in e.groups():
        run = _Run(e, "adjoint", shots, threads, parameters)
        results: list[list[tuple[str, np.ndarray]]] = []
        for i, (c, shot) in enumerate(zip(run.contexts, shots, strict=True)):
            results.append(_attach_adjoint(run, c, shot, gathers[shot], threads))
            _start_adjoint(run, i, ends)
            if images:
                if i == len(sums):
                    sums.append({(k, target): np.zeros(lay.history_shape, lay.dtype) for k, target, _ in engine.images})
                _attach_images(run, c, sums[i])
        if replayed and e.keeping is not None and isinstance(e.keeping.storage, Checkpoints):
            _Checkpointed(e, run, shots, threads, parameters, e.keeping.storage).reverse_all()
        elif replayed and e.keeping is not None and isinstance(e.keeping.storage, BoundaryRing):
            rings = tape.rings if tape is not None else []
            _undo(e, run, parameters, [rings[shot] for shot in shots] if rings else
                  _run_forward(e, shots, threads, parameters, [None] * len(shots), True).rings)
        else:
            if replayed:
                kept = tape.histories if tape is not None else []
                run.use([kept[shot] for shot in shots] if kept else
                        _run_forward(e, shots, threads, parameters, [None] * len(shots), True).histories, 2)
            run.advance(0, e.steps)
        for shot, outs in zip(shots, results, strict=True):
            for source, out in outs:
                samples[source][shot] += (out.sum(axis=0) if threads > 1 else out[0]).T
        for i, shot in enumerate(shots):
            for x, total in starts.items():
                total += _start_cotangent(run, i, x, gathers[shot])
    return Cotangents(_collect(e, sums) if images else {}, samples, starts)


def _start_adjoint(run: _Run, i: int, ends: Sequence[np.ndarray]) -> None:
    """Let the i-th shot start from the cotangents of what the forward run ends with."""
    transposed = run.e.engine.transposed
    for x, g in zip(run.e.ends, ends, strict=True):
        written = run.e.engine.program.swapped(x)      # the name in the last step, before its swap
        weight, coefficients = transposed.pending[written]
        assert weight and not coefficients, f"the cotangent of {x} cannot be stored"
        stored = g / weight
        for k in transposed.scale.get(x, ()):
            stored = stored * run.e.parameters[k]
        run.array(i, written, 0)[...] = stored


def _start_cotangent(run: _Run, i: int, x: str, gathers: np.ndarray) -> np.ndarray:
    """Return the cotangent of an array at time zero, (size): what the i-th shot ends with, and the first sample of its gathers."""
    e, transposed = run.e, run.e.engine.transposed
    weight, coefficients = transposed.pending[e.engine.program.swapped(x)]
    assert not coefficients, f"the cotangent of {x} cannot be read"
    g = weight * run.array(i, x, e.steps - 1)
    for k in transposed.scale.get(x, ()):
        np.divide(g, e.parameters[k], out=g, where=e.parameters[k] != 0.0)               # as in `_collect`
    if x in e.observed:
        points = e.receivers[field_of(e.engine.program, x)][run.shots[i]]
        np.add.at(g, tuple(points.cells.T), e.observed[x] * points.weights * gathers[points.owner, 0])
    return g


def _attach_adjoint(run: _Run, c: Context, shot: int, cotangent: np.ndarray, threads: int) -> list[tuple[str, np.ndarray]]:
    """Attach residuals as injections, and what sources read; returns [(source, (threads, steps, sources))] to be summed up."""
    e, transposed = run.e, run.e.engine.transposed
    # A gather's sample n + 1 is read after step n: the row of step n is the next one, and nothing follows the last step.
    rows = np.zeros((e.steps + 1, e.points("receivers")), e.layout.dtype)
    rows[:-1] = cotangent.T
    sent: list[Points] = []
    for array, weight in e.observed.items():
        field = field_of(e.engine.program, array)
        points = e.receivers[field][shot]
        weights = weight * points.weights * _product(e, transposed.scale.get(array, ()), points.cells)
        sent.append(run.points(points, weights, array, -(array in transposed.late), rows, first_row=1))
    run.attach(c, "injection", sent)
    results, items = list[tuple[str, np.ndarray]](), list[Points]()
    for source, terms in transposed.sources.items():
        for weight, coefficients, target in terms:
            array = e.engine.program.owner(target)
            field = field_of(e.engine.program, target)
            points = e.sources[field][shot]
            carried = transposed.scale.get(array, ())
            extra, missing = ([x for x in a if x not in b] for a, b in ((coefficients, carried), (carried, coefficients)))
            w = weight * e.factor[field] * points.weights * _product(e, extra, points.cells) / _product(e, missing, points.cells)
            results.append((source, np.zeros((threads, e.steps, points.points), e.layout.dtype)))
            items.append(run.points(points, w, array, -(array in transposed.late), results[-1][1]))
    run.attach(c, "receiver", items)
    return results


def _attach_images(run: _Run, c: Context, sums: dict[tuple[str, str], np.ndarray]) -> None:
    engine, items = run.e.engine, list[Image]()
    for parameter, target, history in engine.images:
        array = engine.program.owner(target)
        late = -(array in engine.transposed.late)
        items.append(Image(run.index[array], run.stage[array], late, history, sums[parameter, target].ctypes.data))
    run.attach(c, "image", items)


def _collect(e: Experiment, sums: list[dict[tuple[str, str], np.ndarray]]) -> dict[str, np.ndarray]:
    """Add up the images of each parameter, undoing the factor that the stored cotangent carries."""
    assert e.keeping is not None
    inner = tuple(slice(0, n) for n in e.layout.size)
    out: dict[str, np.ndarray] = {}
    for parameter, target, _ in e.engine.images:
        g = sums[0][parameter, target][inner].copy()
        for more in sums[1:]:
            g += more[parameter, target][inner]
        g *= e.layout.dtype.type(e.keeping.every)
        for k in e.engine.transposed.scale.get(e.engine.program.owner(target), ()):
            np.divide(g, e.parameters[k], out=g, where=e.parameters[k] != 0.0)           # zero on sides where the field is: nothing to tell
        out[parameter] = out[parameter] + g if parameter in out else g
    return {k: out.get(k, np.zeros(e.layout.size, e.layout.dtype)) for k in e.parameters}


class _Checkpointed:
    """Adjoint of a group of shots with states kept at a few steps: stretches are run forward again with their history, then backwards."""

    def __init__(self, e: Experiment, adjoint_run: _Run, shots: list[int], threads: int, parameters: Arena, storage: Checkpoints):
        assert e.keeping is not None
        self.e, self.adjoint = e, adjoint_run
        self.forward = _Run(e, "forward", shots, threads, parameters)
        for c, shot in zip(self.forward.contexts, shots, strict=True):
            _attach_forward(self.forward, c, shot, None)
        needs = e.needs(0.0, 0)
        self.stretch, self.states = storage.schedule(needs)
        self.histories = [History(e.keeping, needs, self.stretch) for _ in shots]

    def reverse_all(self) -> None:
        """Run the adjoint of all steps."""
        self._reverse(0, -(-self.e.steps // self.stretch), self.states)

    def _keep(self) -> list[Buffer]:
        kept = [POOL.take(arena.bytes.size) for arena in self.forward.arenas]
        for buffer, arena in zip(kept, self.forward.arenas, strict=True):
            buffer.bytes[:] = arena.bytes
        return kept

    def _reverse(self, first: int, last: int, states: int) -> None:
        """Run the adjoint of stretches [first, last) from the forward state where they begin; `states` more may be kept."""
        state = self._keep() if last - first > 1 else []
        while last - first > 1:
            middle = first + split(last - first, states) if states else last - 1
            for c in self.forward.contexts:
                c.storing = 0
            self.forward.advance(first * self.stretch, middle * self.stretch)
            self._reverse(middle, last, max(0, states - 1))
            last = middle
            for buffer, arena in zip(state, self.forward.arenas, strict=True):
                arena.bytes[:] = buffer.bytes
        start, stop = first * self.stretch, min(self.e.steps, last * self.stretch)
        self.forward.use(self.histories, 1, start)
        self.adjoint.use(self.histories, 2, start)
        self.forward.advance(start, stop)
        self.adjoint.advance(self.e.steps - stop, self.e.steps - start)
