"""Fields at one instant, and the arrays a step starts from: both ways, in Tensor operations.

A step of a field of second order in time reads it now and one step before. With q what the step makes of the state where "before" is zero,
and o what it multiplies "before" by (-1), it gives p(1) = q + o p(-1); the time derivative r at time zero is taken as the central
difference (p(1) - p(-1)) / (2 step), so p(-1) = (q - 2 step r) / (1 - o). The same equation gives r after the last step: what ends there
starts again as if it had not ended. Runge-Kutta methods step the pair of p and the step times r.
"""
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hyperion.autograd import Tensor, as_tensor, pad, reshape
from hyperion.gpu import device as devices

from . import interpreter

if TYPE_CHECKING:
    from .simulation import Call


def names(call: "Call") -> dict[str, str]:
    """Return {name of what a user gives: array of the program} of the fields that are stepped."""
    rotate = call.solver.discrete.program.rotate
    orders = {f: field.time_order for f, field in call.solver.equation.fields.items() if field.time_order}
    return {f: f for f in orders} | {f"{f}.rate": rotate.get(f, f"rate.{f}") for f, order in orders.items() if order == 2}


def started(call: "Call", parameters: Sequence[Tensor], initial: dict[str, Tensor]) -> list[Tensor]:
    """Return the arrays that the first step starts from, zero where nothing is given and where a side holds a field at zero.

    The absorbing layer is at rest.
    """
    held = call.solver.discrete.held
    padded = {x: call.held(pad(value, call.solver.pads), held[x.partition(".")[0]]) for x, value in initial.items()}
    if call.solver.relief is not None:
        for x, value in padded.items():
            there = call.solver.relief.present(call.solver.equation, call.solver.half(x.partition(".")[0]))
            padded[x] = value * as_tensor(there.astype(call.dtype)).to(value.device)
    zero = as_tensor(np.zeros(call.size, call.dtype)).to(call.solver.grid.device)
    values = {array: reshape(padded[name], call.size) if name in padded else zero for name, array in names(call).items()}
    values |= {x: v * call.plan.step for x, v in values.items() if x.startswith("rate.")}
    rotate = call.solver.discrete.program.rotate
    if any(x in initial for f in rotate for x in (f, f"{f}.rate")):
        step, own = _step(call, parameters, {x: v for x, v in values.items() if x not in rotate.values()})
        for before in rotate.values():
            values[before] = (step[before] - values[before] * (2.0 * call.plan.step)) / (1.0 - own[before])
    return [values.get(x, zero) for x in call.starts]


def ended(call: "Call", parameters: Sequence[Tensor], arrays: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the fields, and the time derivatives of those of second order in time, from the arrays after the last step."""
    values = dict(zip(call.ends, arrays, strict=True))
    values |= {x: v / call.plan.step for x, v in values.items() if x.startswith("rate.")}
    rotate = call.solver.discrete.program.rotate
    if rotate:
        step, own = _step(call, parameters, {x: v for x, v in values.items() if x not in rotate.values()})
        for before in rotate.values():
            values[before] = (step[before] - values[before] * (1.0 - own[before])) / (2.0 * call.plan.step)
    inside = tuple(slice(low, low + n) for n, (low, _) in zip(call.solver.grid.shape, call.solver.pads, strict=True))
    return {name: reshape(values[array], call.solver.size)[inside] for name, array in names(call).items()}


def _step(call: "Call", parameters: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return what a step without sources makes of a state, and {array one step before: what it is multiplied by}."""
    quiet = call.quiet()
    inputs = list(parameters[:len(quiet.program.parameters)])
    e = quiet.experiment(0, [devices.to_numpy(x.data) for x in inputs])
    own: dict[str, float] = {}
    for a in e.engine.program.assigns:
        if a.target in e.engine.program.rotate.values():
            own[a.target] = sum(t.weight for t in a.terms if t.array == a.target and not t.coefficients)
    return interpreter.advanced(inputs, e, state), own
