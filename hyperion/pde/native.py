"""Running an experiment natively, forwards and backwards, and what a gradient keeps between the two."""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.codegen import sweeps
from hyperion.cpu.timeloop import Image, Points
from hyperion.gpu import device as devices

from . import device_memory
from . import run as host_run
from .device_run import DeviceRun
from .experiment import Experiment, field_of
from .history import History
from .ring import RingHistory, RingTables
from .run import Run
from .storage import STRETCH, BoundaryRing, Checkpoints, split


class Tape:
    """What a forward run leaves for the adjoint run: the history of each shot."""

    def __init__(self) -> None:
        self.histories: list[History] = []
        self.rings: list[RingHistory] = []


AnyRun = Any                                           # `Run` or `DeviceRun`: they have the same calls


def _run(e: Experiment, kind: str, shots: list[int], threads: int, parameters: Any) -> AnyRun:
    """Return the run of a group of shots where the experiment is."""
    return (Run if e.device == "cpu" else DeviceRun)(e, kind, shots, threads, parameters)


def _parameters(e: Experiment) -> Any:
    return (host_run.parameter_arena if e.device == "cpu" else device_memory.parameter_arena)(e)


def _product(e: Experiment, names: Sequence[str], cells: np.ndarray) -> np.ndarray | float:
    out: np.ndarray | float = 1.0
    for n in names:
        out = out * devices.to_numpy(e.parameters[n][tuple(cells.T)]).astype(np.float64)
    return out


def forward(e: Experiment, tape: Tape | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run all shots; returns gathers (shots, receivers, steps), and the last shot's arrays `e.ends` after the last step.

    With a tape, keeps the history of every shot on it.
    """
    gathers = e.xp.zeros((e.shots, e.points("receivers"), e.steps), e.layout.dtype)
    parameters, done = _parameters(e), 0
    if tape is not None:
        tape.histories, tape.rings = [], []

    def report(n: int) -> None:
        nonlocal done
        done += n
        if e.progress:
            e.progress(done, e.shots * e.steps)
    ends: list[np.ndarray] = []
    for shots, threads in e.groups():
        outs = [e.xp.zeros((threads, e.steps, e.points("receivers")), e.layout.dtype) for _ in shots]
        run = _run_forward(e, shots, threads, parameters, outs, tape is not None, report)
        ends = [run.array(-1, x, e.steps).copy() for x in e.ends]
        if tape is not None:
            tape.histories += run.histories
            tape.rings += run.rings
        for shot, out in zip(shots, outs, strict=True):
            gathers[shot] = (out[0] if threads == 1 else out.sum(axis=0)).T
    return gathers, ends


def _run_forward(e: Experiment, shots: list[int], threads: int, parameters: Any, outs: Sequence[np.ndarray | None], keep: bool,
                 report: Callable[[int], None] | None = None) -> AnyRun:
    """Run a group of shots from start to end, with their histories if they are to be kept."""
    run = _run(e, "forward", shots, threads, parameters)
    for c, shot, out in zip(run.contexts, shots, outs, strict=True):
        _attach_forward(run, c, shot, out)
    if keep:
        assert e.keeping is not None
        if isinstance(e.keeping.storage, BoundaryRing):
            return _run_keeping_rings(e, run, report)
        run.use(run.new_histories(e.keeping, e.steps), 1)
    run.advance(0, e.steps, report)
    return run


def _run_keeping_rings(e: Experiment, run: AnyRun, report: Callable[[int], None] | None) -> AnyRun:
    """Run a group forward; its `rings` then hold what the way back needs."""
    tables, arrays = RingTables(e.layout), len(e.engine.ringed)
    run.rings = [RingHistory(tables, len(e.engine.histories), arrays, e.steps, e.layout.dtype.itemsize) for _ in run.shots]
    run.use_ring(run.rings)
    run.advance(0, e.steps, report)
    for ring, arena in zip(run.rings, run.arenas, strict=True):
        ring.keep_state(arena.bytes)
    return run


def _undo(e: Experiment, adjoint_run: AnyRun, parameters: Any, rings: Sequence[RingHistory]) -> None:
    """Run the adjoint of all steps beside the forward run taken back: in the same tiles where each is one sweep, else in turns."""
    assert e.keeping is not None
    back = _run(e, "undone", adjoint_run.shots, adjoint_run.threads, parameters)
    for c, shot, arena, ring in zip(back.contexts, back.shots, back.arenas, rings, strict=True):
        _attach_forward(back, c, shot, None)
        arena.bytes[:] = ring.last.bytes
    back.use_ring(rings)
    ahead = {int(e.engine.program.owner(target) in e.engine.transposed.late) for _, target, _ in e.engine.images}
    if len(sweeps(back.program)) == len(sweeps(adjoint_run.program)) == len(ahead) == 1 and not any(e.wraps):
        _undo_together(e, adjoint_run, back, rings, ahead.pop())
        return
    stretch = STRETCH
    histories = back.new_histories(e.keeping, stretch, rings)
    for start in range(0, e.steps, stretch):
        stop = min(e.steps, start + stretch)
        back.use(histories, 1, e.steps - stop)
        back.advance(start, stop)
        adjoint_run.use(histories, 2, e.steps - stop)
        adjoint_run.advance(start, stop)


def _undo_together(e: Experiment, adjoint_run: Run, back: Run, rings: Sequence[RingHistory], ahead: int) -> None:
    """Run both in the same tiles, the forward run `ahead` loop counts ahead: cotangents that are late meet an earlier step's history."""
    assert e.keeping is not None
    histories = back.new_histories(e.keeping, 1, rings)
    adjoint_run.use_beside(back, ahead)
    chunk = adjoint_run.chunk()
    for start in range(0, e.steps, chunk):
        stop = min(e.steps, start + chunk)
        if ahead:                                      # what the adjoint run meets before its first sweep
            back.use(histories, 1, e.steps - start - 1)
            back.advance(start, start + 1)
        back.expect(start, stop)
        adjoint_run.use(histories, 2, e.steps - start - 1)
        adjoint_run.advance(start, stop)
        back.check(start, stop)


def states(e: Experiment, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, {field: (size)}) of the first shot, from the start and then every `every` steps. The arrays are views: copy them."""
    with devices.on(e.device):
        run = _run(e, "forward", [0], e.threads, _parameters(e))
        _attach_forward(run, run.contexts[0], 0, None)
    for step in range(0, e.steps, every):
        with devices.on(e.device):
            if step:
                run.advance(step - every, step)
            arrays = {f: devices.to_numpy(run.array(0, f, step)) for f in run.program.arrays() if f not in run.program.memory}
        yield step, arrays


def _attach_forward(run: AnyRun, c: Any, shot: int, out: np.ndarray | None) -> None:
    """Attach sources (and the histories they belong to) and receivers to a forward context, or to one that takes the run back."""
    e, items, seen = run.e, list[Points](), set[tuple[str, int]]()
    for source, assign, term in run.program.injections():
        field = field_of(e.engine.program, assign.target)
        points = e.sources[field][shot]
        data = e.xp.ascontiguousarray(e.samples[source][shot].T, e.layout.dtype)
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


def backward(e: Experiment, gathers: np.ndarray, ends: Sequence[np.ndarray], tape: Tape | None, images: bool,
             others: bool = True) -> Cotangents:
    """Run the exact adjoint of `forward` on cotangents of the gathers, (shots, receivers, steps), and of the arrays `e.ends`.

    tape: what forward left; without it shots run forward again where images, or a nonlinear step, need it. images: whether parameters
    are asked for; others: whether samples and arrays at time zero are.
    """
    lay, engine = e.layout, e.engine
    parameters, replayed = _parameters(e), images or bool(engine.recorded)
    samples = {s: e.xp.zeros((e.shots, e.points("sources"), e.steps), lay.dtype) for s in e.samples}
    starts = {x: e.xp.zeros(lay.size, lay.dtype) for x in e.starts}
    sums: list[dict[tuple[str, str], np.ndarray]] = []   # per place in a group: sums in a fixed order are the same on every run
    for shots, threads in e.groups():
        run = _run(e, "adjoint", shots, threads, parameters)
        results: list[list[tuple[str, np.ndarray]]] = []
        for i, (c, shot) in enumerate(zip(run.contexts, shots, strict=True)):
            results.append(_attach_adjoint(run, c, shot, gathers[shot], threads))
            _start_adjoint(run, i, ends)
            if images:
                if i == len(sums) and (i == 0 or e.device == "cpu"):     # on a GPU a kernel adds up the shots of a group
                    sums.append({(k, target): e.xp.zeros(lay.history_shape, lay.dtype) for k, target, _ in engine.images})
                _attach_images(run, c, sums[i % len(sums)])
        if images and not others and e.device == "cpu" and _spreads(e):
            run.stay_within()
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


def _spreads(e: Experiment) -> bool:
    """Tell whether what moves reaches every cell: no parameter is zero but on the outermost cells, where a side holds a field.

    Behind cells where one is zero all may rest, and yet move once the parameter changes: there the adjoint run must not stay away.
    """
    inner = (slice(1, -1),) * e.layout.ndim if min(e.layout.size) > 2 else ...
    return all(values[inner].all() for values in e.parameters.values())


def _start_adjoint(run: AnyRun, i: int, ends: Sequence[np.ndarray]) -> None:
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


def _start_cotangent(run: AnyRun, i: int, x: str, gathers: np.ndarray) -> np.ndarray:
    """Return the cotangent of an array at time zero, (size): what the i-th shot ends with, and the first sample of its gathers."""
    e, transposed = run.e, run.e.engine.transposed
    weight, coefficients = transposed.pending[e.engine.program.swapped(x)]
    assert not coefficients, f"the cotangent of {x} cannot be read"
    g = weight * run.array(i, x, e.steps - 1)
    for k in transposed.scale.get(x, ()):
        g = _divided(g, e.parameters[k])               # as in `_collect`
    if x in e.observed:
        points = e.receivers[field_of(e.engine.program, x)][run.shots[i]]
        cells, place = np.unique(points.cells, axis=0, return_inverse=True)
        heard = e.observed[x] * points.weights * devices.to_numpy(gathers[points.owner, 0])
        g[tuple(cells.T)] += e.xp.asarray(np.bincount(place.ravel(), heard, len(cells)).astype(g.dtype))
    return g


def _divided(g: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Divide g by k in place and return it; it stays as it is where k is zero: where a side holds the field at zero there is nothing to
    tell."""
    xp = devices.namespace(g)
    if xp is np:
        return np.divide(g, k, out=g, where=k != 0.0)
    return xp.where(k != 0.0, g / xp.where(k != 0.0, k, g.dtype.type(1)), g)


def _attach_adjoint(run: AnyRun, c: Any, shot: int, cotangent: np.ndarray, threads: int) -> list[tuple[str, np.ndarray]]:
    """Attach residuals as injections, and what sources read; returns [(source, (threads, steps, sources))] to be summed up."""
    e, transposed = run.e, run.e.engine.transposed
    # A gather's sample n + 1 is read after step n: the row of step n is the next one, and nothing follows the last step.
    rows = e.xp.zeros((e.steps + 1, e.points("receivers")), e.layout.dtype)
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
            results.append((source, e.xp.zeros((threads, e.steps, points.points), e.layout.dtype)))
            items.append(run.points(points, w, array, -(array in transposed.late), results[-1][1]))
    run.attach(c, "receiver", items)
    return results


def _attach_images(run: AnyRun, c: Any, sums: dict[tuple[str, str], np.ndarray]) -> None:
    engine, items = run.e.engine, list[Image]()
    for parameter, target, history in engine.images:
        array = engine.program.owner(target)
        late = -(array in engine.transposed.late)
        items.append(run.image(array, late, history, sums[parameter, target]))
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
        if e.device != "cpu":                          # there all kept steps count alike
            g *= e.layout.dtype.type(e.keeping.every)
        for k in e.engine.transposed.scale.get(e.engine.program.owner(target), ()):
            g = _divided(g, e.parameters[k])
        out[parameter] = out[parameter] + g if parameter in out else g
    return {k: out[k] if k in out else e.xp.zeros(e.layout.size, e.layout.dtype) for k in e.parameters}


class _Checkpointed:
    """Adjoint of a group of shots with states kept at a few steps: stretches are run forward again with their history, then backwards."""

    def __init__(self, e: Experiment, adjoint_run: AnyRun, shots: list[int], threads: int, parameters: Any, storage: Checkpoints):
        assert e.keeping is not None
        self.e, self.adjoint = e, adjoint_run
        self.forward = _run(e, "forward", shots, threads, parameters)
        for c, shot in zip(self.forward.contexts, shots, strict=True):
            _attach_forward(self.forward, c, shot, None)
        needs = e.needs(0.0, 0)
        self.stretch, self.states = storage.schedule(needs)
        self.histories = self.forward.new_histories(e.keeping, self.stretch)

    def reverse_all(self) -> None:
        """Run the adjoint of all steps."""
        self._reverse(0, -(-self.e.steps // self.stretch), self.states)

    def _reverse(self, first: int, last: int, states: int) -> None:
        """Run the adjoint of stretches [first, last) from the forward state where they begin; `states` more may be kept."""
        state = self.forward.state() if last - first > 1 else []
        while last - first > 1:
            middle = first + split(last - first, states) if states else last - 1
            self.forward.use_nothing()
            self.forward.advance(first * self.stretch, middle * self.stretch)
            self._reverse(middle, last, max(0, states - 1))
            last = middle
            self.forward.restore(state)
        start, stop = first * self.stretch, min(self.e.steps, last * self.stretch)
        self.forward.use(self.histories, 1, start)
        self.adjoint.use(self.histories, 2, start)
        self.forward.advance(start, stop)
        self.adjoint.advance(self.e.steps - stop, self.e.steps - start)
