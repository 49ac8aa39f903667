"""The reference: the same program in Tensor operations on whole arrays. Slow; every generated kernel is tested against it."""
import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyperion.autograd import Tensor, as_tensor, checkpoint, reshape, scatter, shift, stack
from hyperion.codegen import Assign, Stencil, sweeps
from hyperion.errors import NonFiniteError
from hyperion.gpu import device as devices

from .experiment import Experiment, field_of
from .layout import Taps


def simulate(inputs: Sequence[Tensor], e: Experiment) -> Tensor:
    """Return gathers (shots, receivers, steps); inputs: kernel parameters, samples, arrays at time zero, as the native run takes them.

    Works wherever the Tensors are, and is differentiable by the sweeps alone: the derivatives of the native run are tested against it.
    """
    return stack([_shot(e, _named(inputs, e), i) for i in range(e.shots)], axis=0)


def evolve(inputs: Sequence[Tensor], e: Experiment) -> list[Tensor]:
    """Return the arrays `e.ends`, (size), after the last step; inputs as above."""
    *_, (_, state) = enumerate(_steps(e, _named(inputs, e), 0, e.steps))
    return [state[x] for x in e.ends]


def advanced(inputs: Sequence[Tensor], e: Experiment, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what one step without sources makes of a state {array: (size)}, zero where not given; before the swap of time levels."""
    values, size = _named(inputs, e), e.layout.size
    coefficients = _coefficients(e, values)
    out = {x: state[x] if x in state else _like(np.zeros(size), e, values) for x in e.engine.program.arrays()}
    for a in _order(e):
        out[a.target] = _assign(a, out, coefficients, {}, None, size, e)
    return out


def _named(inputs: Sequence[Tensor], e: Experiment) -> dict[str, Tensor]:
    return dict(zip((*e.engine.program.parameters, *e.engine.program.sources, *e.starts), inputs, strict=True))


def states(inputs: Sequence[Tensor], e: Experiment, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, {field: (size)}) of the first shot, from the start and then every `every` steps, as `native.states` does."""
    for n, state in enumerate(_steps(e, _named(inputs, e), 0, e.steps - 1)):
        if n % every == 0:
            yield n, {x: devices.to_numpy(state[x].data) for x in state}


def _shot(e: Experiment, values: dict[str, Tensor], shot: int) -> Tensor:
    """Return the gathers (receivers, steps) of one shot."""
    heard = {x: e.receivers[field_of(e.engine.program, x)][shot] for x in e.observed}
    gather = {x: _like(_matrix(points, e.observed[x] * points.weights), e, values) for x, points in heard.items()}
    samples: list[Tensor] = []
    for n, state in enumerate(_steps(e, values, shot, e.steps - 1)):
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


def _coefficients(e: Experiment, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what terms are multiplied by: kernel parameters and profiles."""
    program, size = e.engine.program, e.layout.size
    coefficients = {k: values[k] for k in program.parameters}
    for name, axis in program.profiles.items():
        line = e.profiles[name][:size[axis]].reshape([-1 if k == axis else 1 for k in range(len(size))])
        coefficients[name] = _like(line, e, values)
    return coefficients


def _order(e: Experiment) -> list[Assign]:
    return [a for before, main in sweeps(e.engine.program) for a in (*(x for group in before for x in group), *main)]


def _steps(e: Experiment, values: dict[str, Tensor], shot: int, count: int) -> Iterator[dict[str, Tensor]]:
    """Yield the state {array: (size)} at the start and after each of `count` steps."""
    program, size, order, coefficients = e.engine.program, e.layout.size, _order(e), _coefficients(e, values)
    state = {x: values[x] if x in e.starts else _like(np.zeros(size), e, values) for x in program.arrays()}
    # A point source stands for its weighted cells; a sample of it is one matrix product away from the cells.
    sent = {f: points[shot] for f, points in e.sources.items()}
    spread = {f: (p, _like(_matrix(p, e.factor[f] * p.weights), e, values)) for f, p in sent.items()}
    yield state
    for n in range(count):
        now_sent = {s: values[s][shot][:, n] for s in program.sources}
        for a in order:
            # Checkpointed: a sum over a stencil has some ten arrays on the way, and a gradient keeps none of them.
            assign = functools.partial(_assign, a, dict(state), coefficients, now_sent, spread.get(field_of(program, a.target)), size, e)
            state[a.target] = x = checkpoint(assign)()
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
            value = shift(value, -s, axis, periodic=e.wraps[axis]) if s else value
        value = value * weight if weight != 1.0 else value
        total = value if total is None else total + value
    assert total is not None
    return total
