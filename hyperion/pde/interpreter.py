"""The reference: the same program in Tensor operations on whole arrays. Slow; every generated kernel is tested against it."""
from collections.abc import Sequence

import numpy as np

from hyperion.autograd import Tensor, as_tensor, reshape, scatter, shift, stack, zeros
from hyperion.codegen import Assign, Stencil, sweeps

from .native import Experiment, Taps


def simulate(inputs: Sequence[Tensor], e: Experiment) -> Tensor:
    """Return gathers (shots, receivers, steps); inputs: kernel parameters, then samples, as the native run takes them.

    Works wherever the Tensors are, and is differentiable by the sweeps alone: the derivatives of the native run are tested against it.
    """
    program = e.engine.program
    values = dict(zip((*program.parameters, *program.sources), inputs, strict=True))
    return stack([_shot(e, values, i) for i in range(e.shots)], axis=0)


def _shot(e: Experiment, values: dict[str, Tensor], shot: int) -> Tensor:
    program, size = e.engine.program, e.layout.size
    some = next(iter(values.values()))
    like = lambda array: as_tensor(np.asarray(array, e.layout.dtype)).to(some.device)  # noqa: E731
    coefficients = {k: values[k] for k in program.parameters}
    for name, axis in program.profiles.items():
        coefficients[name] = like(e.profiles[name][:size[axis]].reshape([-1 if k == axis else 1 for k in range(len(size))]))
    state = {x: zeros(size, dtype=e.layout.dtype, device=some.device) for x in program.arrays()}
    # A point source stands for its weighted cells; a sample of it is one matrix product away from the cells.
    sources, receivers = e.sources[shot], e.receivers[shot]
    spread, gather = like(_matrix(sources, sources.weights)), like(_matrix(receivers, receivers.weights))
    zero = zeros((gather.shape[1],), dtype=e.layout.dtype, device=some.device)
    target, samples = program.partner(e.observed), [zero]
    for n in range(e.steps - 1):
        for before, main in sweeps(program):
            for a in (*(x for group in before for x in group), *main):
                state[a.target] = _assign(a, state, coefficients, {s: (values[s][shot][:, n], e.factor[s]) for s in program.sources}, spread, sources, size, e.periodic)
        cells = tuple(receivers.cells[:, k] for k in range(len(size)))
        samples.append(reshape(state[target][cells], (1, -1)) @ gather)
        for now, then in program.rotate.items():
            state[now], state[then] = state[then], state[now]
    return stack([reshape(s, (-1,)) for s in samples], axis=-1)


def _matrix(points: Taps, weights: np.ndarray) -> np.ndarray:
    """Return (taps, points): the weight of each tap in its point's column."""
    out = np.zeros((len(points.cells), points.points))
    out[np.arange(len(points.cells)), points.owner] = weights
    return out


def _assign(a: Assign, state: dict[str, Tensor], coefficients: dict[str, Tensor], sources: dict[str, tuple[Tensor, float]], spread: Tensor,
            points: Taps, size: tuple[int, ...], periodic: bool) -> Tensor:
    total: Tensor | None = None
    for t in a.terms:
        if t.array in sources:
            sample, factor = sources[t.array]
            at_taps = reshape(spread @ reshape(sample, (-1, 1)), (-1,)) * factor
            value = scatter(at_taps, tuple(points.cells[:, k] for k in range(len(size))), size)
        else:
            value = _read(state[t.array], t.stencil, periodic)
        for c in t.coefficients:
            value = value * coefficients[c]
        value = value * t.weight
        total = value if total is None else total + value
    assert total is not None
    return total


def _read(x: Tensor, stencil: Stencil, periodic: bool) -> Tensor:
    """Return the stencil of an array: zeros come in at the edges, or the other side."""
    total: Tensor | None = None
    for shifts, weight in stencil.taps:
        value = x
        for axis, s in enumerate(shifts):
            value = shift(value, -s, axis, periodic=periodic) if s else value
        value = value * weight if weight != 1.0 else value
        total = value if total is None else total + value
    assert total is not None
    return total
