"""What a wave solver adds to the loss of its surrogate: the residual of its own time step, and the gradients of its adjoint."""

from collections.abc import Callable
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.pde import Solver

__all__ = ["adjoint_mismatch", "step_residual"]


def step_residual(wave: Solver, states: Any, step: float, **parameters: Any) -> Tensor:
    """Return what is left of a solver's leapfrog step when states are put into it: (p(t+dt) - 2 p(t) + p(t-dt)) - dt^2 rate(p(t)).

    wave: a Solver of an equation with one field, second order in time, such as Acoustic; the rate is its declaration, in its stencils.
    states: (batch, times, *grid), successive states of the field.  step: dt [s], that of `wave.plan`.
    parameters: of the equation, by name: (batch, *grid), Tensors or arrays.
    Returns: (batch, times - 2, *inner grid), in units of the field, without the order / 2 nodes at each edge. For the solver's own
    states it is zero to rounding, except at sources, so it needs no solution: only parameters; its gradient is the adjoint of the step.
    Raises: InputError for an equation of another kind or parameters that are missing; ShapeError for shapes that do not fit.
    Source: Li et al. 2024, "Physics-informed neural operator", ACM/JMS J. Data Sci. 1, 9, eq. 8, with a leapfrog step as the residual.

    >>> from hyperion import pde
    >>> wave = pde.Solver(pde.Acoustic(), pde.Grid((20, 20), 10.0), order=4)
    >>> step_residual(wave, hp.ones((3, 5, 20, 20)), 1e-3, speed=hp.full((3, 20, 20), 2000.0)).shape
    (3, 3, 16, 16)
    """
    fields, declared, grid = wave.equation.fields, wave.equation.parameters, wave.grid
    name, order = next(iter(fields)), wave.order
    p = as_tensor(states)
    if len(fields) != 1 or fields[name].time_order != 2:
        raise InputError(f"step_residual({wave!r}): {type(wave.equation).__name__} must have one field, of second order in time")
    if p.ndim != 2 + grid.ndim or p.shape[2:] != grid.shape or p.shape[1] < 3:
        raise ShapeError(f"step_residual: states have shape {p.shape}; they must be (batch, 3 times or more, *{grid.shape})")
    if set(parameters) != set(declared):
        raise InputError(f"step_residual: got parameters {sorted(parameters)}; {type(wave.equation).__name__} needs {sorted(declared)}")
    half, weights = order // 2, wave.stencil.second(order)
    inner = tuple(slice(half, n - half) for n in grid.shape)
    values = {key: as_tensor(value) for key, value in parameters.items()}
    for key, value in values.items():
        if value.shape != (p.shape[0], *grid.shape):
            raise ShapeError(f"step_residual: {key} has shape {value.shape}; it must be {(p.shape[0], *grid.shape)}, one for each example")
    now, rate = p[:, 1:-1], None
    reads: dict[Any, Tensor] = {}                       # sums of shifted reads, one for each product of parameters
    for (names, derivatives), weight in wave.equation.rates(grid.ndim)[name].terms.items():
        term = _term(now, derivatives, weight, inner, weights, grid.spacing)
        reads[names] = term if names not in reads else reads[names] + term
    for names, term in reads.items():
        for key in names:
            term = values[key][(slice(None), None, *inner)] * term
        rate = term if rate is None else rate + term
    change = (p[:, 2:] - 2.0 * now + p[:, :-2])[(slice(None), slice(None), *inner)]
    return change if rate is None else change - step**2 * rate


def _term(now: Tensor, derivatives: Any, weight: float, inner: Any, weights: list[float], spacing: Any) -> Tensor:
    """Return weight * a derivative of the field inside the grid."""
    taken = derivatives[0] if len(derivatives) == 1 else None
    if taken is None or (taken.order and (taken.order != 2 or taken.axis is None)):
        raise InputError("step_residual: the rate must be a sum of the field and its second derivatives along axes, times parameters")
    if not taken.order:
        return weight * now[(slice(None), slice(None), *inner)]
    axis, total = taken.axis, None
    for shift, w in enumerate(weights):
        if w:
            place = tuple(slice(shift, s.stop - s.start + shift) if k == axis else s for k, s in enumerate(inner))
            read = (weight * w / spacing[axis] ** 2) * now[(slice(None), slice(None), *place)]
            total = read if total is None else total + read
    assert total is not None
    return total


def adjoint_mismatch(model: Callable[[Any], Any], x: Any, cotangents: Any, gradients: Any) -> Tensor:
    """Return how far the gradients of a surrogate are from those of its solver: mean over examples of |J^T r - g|^2 / |g|^2.

    model: a function of x, (batch, ...), each example by itself; J is its Jacobian, taken by one reverse sweep inside the loss.
    x: (batch, ...), the parameters.  cotangents: r, of the shape of model(x).
    gradients: g, of the shape of x: what the solver's adjoint makes of r. For data r = predicted - observed, g is the gradient of the l2
        misfit. Where g is zero in all examples (a fixed part of the model), nothing is compared.
    Raises: ShapeError if the shapes do not fit.
    Source: Czarnecki et al. 2017, "Sobolev training for neural networks", arXiv:1706.04859, eq. 3; with adjoints: O'Leary-Roseberry et al.
    2024, "Derivative-informed neural operator", J. Comput. Phys. 496, 112555.

    >>> x, r = hp.asarray([[1.0, 2.0]]), hp.asarray([[1.0, 1.0]])
    >>> float(adjoint_mismatch(lambda x: x * x, x, r, 2.0 * x)), float(adjoint_mismatch(lambda x: 2.0 * x, x, r, hp.ones((1, 2))))
    (0.0, 1.0)
    """
    x, r, g = as_tensor(x), as_tensor(cotangents), as_tensor(gradients)
    if g.shape != x.shape:
        raise ShapeError(f"adjoint_mismatch: gradients have shape {g.shape}, x has {x.shape}; they must agree")

    def paired(x: Any) -> Tensor:
        out = as_tensor(model(x))
        if out.shape != r.shape:
            raise ShapeError(f"adjoint_mismatch: cotangents have shape {r.shape}, model(x) has {out.shape}; they must agree")
        return hp.sum(out * r)

    found, axes = hp.grad(paired)(x), tuple(range(1, x.ndim))
    away = hp.where(hp.any(g != 0.0, axis=0, keepdims=True), found - g, 0.0)
    return hp.mean(hp.sum(hp.square(away), axis=axes) / hp.maximum(hp.sum(hp.square(g), axis=axes), 1e-30))
