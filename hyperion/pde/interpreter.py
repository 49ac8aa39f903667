"""The reference: the same program in Tensor operations on whole arrays. Slow; every generated kernel is tested against it."""
import math
from collections.abc import Iterator, Sequence

import numpy as np

from hyperion.autograd import Tensor, as_tensor, reshape, scatter, shift, stack
from hyperion.codegen import Assign, Stencil, sweeps
from hyperion.errors import NonFiniteError
from hyperion.gpu import device as devices

from .layout import Taps
from .native import Experiment, field_of


def simulate(inputs: Sequence[Tensor], e: Experiment) -> Tensor:
    """Return gathers (shots, receivers, steps); inputs: kernel parameters, then samples, as the native run takes them.

    Works wherever the Tensors are, and is differentiable by the sweeps alone: the derivatives of the native run are tested against it.
    """
    program = e.engine.program
    values = dict(zip((*program.parameters, *program.sources), inputs, strict=True))
    return stack([_shot(e, values, i) for i in range(e.shots)], axis=0)


def states(inputs: Sequence[Tensor], e: Experiment, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, {field: (size)}) of the first shot, from the start and then every `every` steps, as `native.states` does."""
    values = dict(zip((*e.engine.program.parameters, *e.engine.program.sources), inputs, strict=True))
    for n, state in enumerate(_steps(e, values, 0)):
        if n % every == 0:
            yield n, {x: devices.to_numpy(state[x].data) for x in state}


def _shot(e: Experiment, values: dict[str, Tensor], shot: int) -> Tensor:
    """Return the gathers (receivers, steps) of one shot."""
    heard = {x: e.receivers[field_of(e.engine.program, x)][shot] for x in e.observed}
    gather = {x: _like(_matrix(points, e.observed[x] * points.weights), e, values) for x, points in heard.items()}
    samples: list[Tensor] = []
    for n, state in enumerate(_steps(e, values, shot)):
        parts = [reshape(state[x][_cells(points)], (1, -1)) @ gather[x] for x, points in heard.items()]
        samples.append(reshape(sum(parts[1:], start=parts[0]), (-1,)))
        if e.progress:
            e.progress(shot * e.steps + n + 1, e.shots * e.steps)
    return stack(samples, axis=-1)


def _cells(points: Taps) -> tuple[np.ndarray, ...]:
    """Return the cells of taps as an index."""
    return tuple(points.cells.T)


def _like(array: np.ndarray, e: Experiment, values: dict[str, Tensor]) -> Tensor:
    """Return an array as a Tensor in the run's precision, where the others are."""
    return as_tensor(np.asarray(array, e.layout.dtype)).to(next(iter(values.values())).device)


def _steps(e: Experiment, values: dict[str, Tensor], shot: int) -> Iterator[dict[str, Tensor]]:
    """Yield the state {array: (size)} before every step; `e.steps` of them, the first is zero."""
    program, size = e.engine.program, e.layout.size
    coefficients = {k: values[k] for k in program.parameters}
    for name, axis in program.profiles.items():
        line = e.profiles[name][:size[axis]].reshape([-1 if k == axis else 1 for k in range(len(size))])
        coefficients[name] = _like(line, e, values)
    state = {x: _like(np.zeros(size), e, values) for x in program.arrays()}
    # A point source stands for its weighted cells; a sample of it is one matrix product away from the cells.
    sent = {f: points[shot] for f, points in e.sources.items()}
    spread = {f: (p, _like(_matrix(p, e.factor[f] * p.weights), e, values)) for f, p in sent.items()}
    order = [a for before, main in sweeps(program) for a in (*(x for group in before for x in group), *main)]
    yield state
    for n in range(e.steps - 1):
        now_sent = {s: values[s][shot][:, n] for s in program.sources}
        for a in order:
            state[a.target] = x = _assign(a, state, coefficients, now_sent, spread.get(field_of(program, a.target)), size, e)
            if not devices.namespace(x.data).isfinite(x.data).all():
                raise NonFiniteError(f"the forward wavefield of shot {shot} became NaN or infinite between steps {n} and {n + 1} "
                                     f"({n * e.step:.4g} to {(n + 1) * e.step:.4g} s); check the model and the wavelet for NaN, and the "
                                     "step for stability")
        for now, then in program.rotate.items():
            state[now], state[then] = state[then], state[now]
        yield state


def _matrix(points: Taps, weights: np.ndarray) -> np.ndarray:
    """Return (taps, points): the weight of each tap in its point's column."""
    out = np.zeros((len(points.cells), points.points))
    out[np.arange(len(points.cells)), points.owner] = weights
    return out


def _assign(a: Assign, state: dict[str, Tensor], coefficients: dict[str, Tensor], sources: dict[str, Tensor],
            spread: tuple[Taps, Tensor] | None, size: tuple[int, ...], e: Experiment) -> Tensor:
    total: Tensor | None = None
    for t in a.terms:
        if t.array in sources:
            assert spread is not None
            points, matrix = spread
            value = scatter(reshape(matrix @ reshape(sources[t.array], (-1, 1)), (-1,)), _cells(points), size)
        else:
            first, *others = [_read(state[x], stencil, e) for x, stencil in t.reads]
            value = math.prod(others, start=first)
        for c in t.coefficients:
            value = value * coefficients[c]
        value = value * t.weight
        total = value if total is None else total + value
    assert total is not None
    return total


def _read(x: Tensor, stencil: Stencil, e: Experiment) -> Tensor:
    """Return the stencil of an array: at the edges come in zeros, or the other side."""
    total: Tensor | None = None
    for shifts, weight in stencil.taps:
        value = x
        for axis, s in enumerate(shifts):
            value = shift(value, -s, axis, periodic=e.periodic) if s else value
        value = value * weight if weight != 1.0 else value
        total = value if total is None else total + value
    assert total is not None
    return total
