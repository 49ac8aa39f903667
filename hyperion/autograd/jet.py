"""Taylor mode: a function and its derivatives along directions, to any order, in one pass over its recorded graph.

The graph is walked once, node by node, with the coefficients of all directions (see series for the rules). Where an array is large, its
coefficients are kept as one stack, so that
- what is linear is one operation for all of them: one matrix product for a layer;
- an elementwise operation is one native pass (ops/taylor.py);
- a chain of narrow linear layers and elementwise operations, as an MLP is, is one native call that stays in the processor's caches.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.fans import Fan
from hyperion.autograd.graph import recording, state
from hyperion.autograd.ops.shaping import broadcast_to
from hyperion.autograd.runs import Run, outputs_of
from hyperion.autograd.sweeps import zeros_like
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.trees import flatten_like, tree_map, unflatten
from hyperion.errors import InputError, ShapeError

__all__ = ["derivatives", "jet", "jets"]

LIMIT = 170         # 171! exceeds float64


def jet(function: Callable[..., Any], args: Sequence[Any], directions: Sequence[Any], order: int) -> tuple[Any, ...]:
    """Return a function's value and its derivatives along a direction: d^k/dt^k f(x + t d) at t = 0 for k = 0 to order.

    args, directions: tuples of as many trees; each direction has the structure of its argument, and its shapes or ones that broadcast.
    Returns: order + 1 trees like the function's result. They can be differentiated in turn, by any transform.
    Raises: InputError for a negative order; TreeError or ShapeError if directions do not match.

    >>> u, u_x, u_xx, u_xxx = jet(lambda x: x * x * x, (2.0,), (1.0,), order=3)
    >>> [float(term) for term in (u, u_x, u_xx, u_xxx)]
    [8.0, 12.0, 12.0, 6.0]
    """
    _check_tuples("jet", args, directions)
    _check_order("jet: order", order)
    return _jets("jet", function, args, [directions], [order])[0]


def jets(
    function: Callable[..., Any], args: Sequence[Any], directions: Sequence[Sequence[Any]], orders: int | Sequence[int],
) -> tuple[tuple[Any, ...], ...]:
    """Return a function's value and its derivatives along each of several directions, from one run of the function.

    args: tuple of trees.  directions: a sequence of what `jet` takes as one.  orders: of each direction; or one number for all.
    Returns: for each direction what `jet` returns. They can be differentiated in turn, by any transform.
    Raises: as `jet`; InputError if there are no directions, or not as many orders.

    >>> from hyperion.autograd import asarray
    >>> x = asarray([[1.0, 2.0], [3.0, 4.0]])           # points (x, t)
    >>> along_x, along_t = asarray([1.0, 0.0]), asarray([0.0, 1.0])
    >>> (u, u_x, u_xx), (_, u_t) = jets(lambda p: p[:, 0] ** 2 * p[:, 1], (x,), [(along_x,), (along_t,)], orders=(2, 1))
    >>> u_xx, u_t
    (Tensor (2,) float32, cpu: [4. 8.], Tensor (2,) float32, cpu: [1. 9.])
    """
    if not isinstance(directions, tuple | list):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"jets: directions is a {type(directions).__name__}; it must be a tuple with one entry per direction")
    count = len(directions)
    if not count:
        raise InputError("jets: directions is empty; give at least one")
    if not isinstance(orders, int | tuple | list):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"jets: orders={orders!r} must be a whole number, or a tuple with one for each direction")
    several = [orders] * count if isinstance(orders, int) else list(orders)
    if len(several) != count:
        raise InputError(f"jets: orders={orders!r} has {len(several)} numbers for {count} directions; give one for each, or one number")
    for i, (direction, order) in enumerate(zip(directions, several, strict=True)):
        _check_tuples("jets", args, direction, f"[{i}]")
        _check_order("jets: orders" if isinstance(orders, int) else f"jets: orders[{i}]", order)
    return _jets("jets", function, args, directions, several)


def derivatives(function: Callable[[Any], Any], x: Any, wanted: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], Any]:
    """Return partial derivatives of a function of many points at once, each with respect to its coordinates, in Taylor mode.

    function: of x; row i of its results may depend on row i of x only, as with a network applied to points.
    x: (..., coordinates).
    wanted: for each derivative how often each coordinate is differentiated: (0, 0) the value, (2, 0) u_xx, (1, 1) u_xt.
    Returns: {orders: tree like the function's result}. Mixed derivatives are combined from directions between the axes.
    Raises: InputError for orders that do not fit the coordinates.
    Source, of mixed derivatives: Kan 2008, "From moments of sum to moments of product", J. Multivariate Anal. 99, eq. 1.

    >>> from hyperion.autograd import asarray
    >>> found = derivatives(lambda p: p[:, 0] ** 3 * p[:, 1], asarray([[2.0, 5.0]]), [(0, 0), (2, 0), (2, 1)])
    >>> {orders: float(value[0]) for orders, value in found.items()}
    {(0, 0): 40.0, (2, 0): 60.0, (2, 1): 12.0}
    """
    x = as_tensor(x)
    if not x.ndim or not x.shape[-1]:
        raise ShapeError(f"derivatives(function, x): x has shape {x.shape}; its last axis must hold the coordinates of a point")
    if not isinstance(wanted, Iterable):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"derivatives: wanted={wanted!r} must be tuples of whole numbers, one tuple for each derivative")
    asked = [_checked_orders(orders, x.shape[-1]) for orders in wanted]
    if not asked:
        raise InputError("derivatives: wanted is empty; give at least one tuple, (0, ...) for the value")
    plans = {orders: _combination(orders) for orders in asked}
    highest: dict[tuple[float, ...], int] = {}
    for orders, plan in plans.items():
        for direction in plan:
            highest[direction] = max(highest.get(direction, 0), sum(orders))
    along = [(np.array(direction),) for direction in highest]
    terms = dict(zip(highest, jets(function, (x,), along, list(highest.values())), strict=True))
    return {
        orders: _weighted([(terms[direction][sum(orders)], weight) for direction, weight in plan.items()]) for orders, plan in plans.items()
    }


def _checked_orders(orders: Any, coordinates: int) -> tuple[int, ...]:
    given: tuple[Any, ...] = tuple(orders) if isinstance(orders, tuple | list) else ()      # pyright: ignore
    if len(given) != coordinates or not all(type(n) is int and n >= 0 for n in given):
        raise InputError(
            f"derivatives: wanted has {orders!r}; it must be a tuple of {coordinates} whole numbers of 0 or more, one for each coordinate"
        )
    _check_order(f"derivatives: the sum of {given}", sum(given))
    return given


def _combination(orders: tuple[int, ...]) -> dict[tuple[float, ...], float]:
    """Return weights of directions whose derivatives of order sum(orders) add up to a partial derivative."""
    axes = [i for i, n in enumerate(orders) if n]
    if len(axes) < 2:
        axis = axes[0] if axes else 0
        return {tuple([1.0 if i == axis else 0.0 for i in range(len(orders))]): 1.0}
    total = sum(orders)
    found: dict[tuple[float, ...], float] = {}
    for steps in _below(orders):
        direction = tuple([n - 2.0 * v for n, v in zip(orders, steps, strict=True)])
        if not any(direction):
            continue
        weight = (-1) ** sum(steps) * math.prod(math.comb(n, v) for n, v in zip(orders, steps, strict=True)) / math.factorial(total)
        size = math.gcd(*map(int, direction))
        if next(part for part in direction if part) < 0:
            size = -size
        key = tuple([part / size for part in direction])
        found[key] = found.get(key, 0.0) + weight * (size / 2.0) ** total
    return {key: weight for key, weight in found.items() if weight}


def _below(orders: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return all tuples of numbers from 0 to those given."""
    found: list[tuple[int, ...]] = [()]
    for n in orders:
        found = [(*before, v) for before in found for v in range(n + 1)]
    return found


def _weighted(parts: Sequence[tuple[Any, float]]) -> Any:
    def combined(*terms: Tensor) -> Tensor:
        total = terms[0] if parts[0][1] == 1.0 else terms[0] * parts[0][1]
        for x, (_, weight) in zip(terms[1:], parts[1:], strict=True):
            total = total + x * weight
        return total

    return tree_map(combined, *(tree for tree, _ in parts))


def _check_tuples(name: str, args: Any, directions: Any, which: str = "") -> None:
    for what, value in (("args", args), (f"directions{which}", directions)):
        if not isinstance(value, tuple | list):
            raise InputError(f"{name}: {what} is a {type(value).__name__}; it must be a tuple with one entry per argument")


def _check_order(what: str, order: Any) -> None:
    if type(order) is not int or not 0 <= order <= LIMIT:
        raise InputError(f"{what}={order!r} must be an integer from 0 to {LIMIT}")


def _jets(
    name: str, function: Callable[..., Any], args: Sequence[Any], directions: Sequence[Sequence[Any]], orders: Sequence[int],
) -> tuple[tuple[Any, ...], ...]:
    run = Run(name, function, args)
    results, structure = outputs_of(name, run.tree)
    outputs = [run.lower(x) for x in results]
    seeds = [run.seeds(_broadcast(run, tuple(d)), run.structure, run.inputs, f"{name}: directions") for d in directions]
    trace = run.trace(outputs)
    record = state.recording and (trace.outside or any(seed.tracked for several in seeds for seed in several))
    with recording(record):
        fan = Fan(run.inputs, seeds, orders)
        try:
            with run.sweeping():
                values, found = fan.sweep(trace.nodes, outputs)
            shared = unflatten(structure, run.release(values, trace.outside))
            terms: list[tuple[Any, ...]] = []
            for rows in found:
                scaled = [
                    [zeros_like(x) if c is None else c if k < 2 else float(math.factorial(k)) * c for c, x in zip(row, values, strict=True)]
                    for k, row in enumerate(rows, start=1)
                ]
                terms.append((shared, *(unflatten(structure, run.release(row, record)) for row in scaled)))
        finally:
            fan.close()
    return tuple(terms)


def _broadcast(run: Run, direction: Any) -> Any:
    """Return a direction with leaves that broadcast to their argument's shape repeated; others are left for the check to refuse."""
    leaves = flatten_like(run.structure, direction, "directions")
    return unflatten(run.structure, [_like(value, run.wrap(x)) for value, x in zip(leaves, run.inputs, strict=True)])


def _like(value: Any, x: Tensor) -> Any:
    given = as_tensor(value)
    if not isinstance(value, Tensor) and given.device == "cpu" and x.device != "cpu":      # lists and NumPy's arrays go to the argument
        value = given = given.to(x.device)
    if given.shape == x.shape or given.ndim > x.ndim or not given.ndim:
        return value
    if any(n not in (1, m) for n, m in zip(given.shape, x.shape[x.ndim - given.ndim:], strict=True)):
        return value
    return broadcast_to(given, x.shape)
