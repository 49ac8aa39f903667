"""The checks of a primitive under vmap and jet: against a loop over the examples, and against nested jvp."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Primitive, Tensor, as_tensor, jet, jvp, stack, vjp, vmap
from hyperion.autograd.dtypes import is_inexact
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.testing.adjoint import random_like
from hyperion.testing.rules import Restricted

__all__ = ["check_batching", "check_taylor"]

# The examples of a batch: a sample's inputs, a little larger and smaller, so that what is positive stays so.
FACTORS = (1.0, 1.07, 0.94)


def check_batching(primitive: Primitive, samples: Iterable[tuple[Sequence[Any], dict[str, Any]]], tolerance: float = 1e-12) -> None:
    """Check that a primitive under vmap gives what a loop over the examples gives: its value, and its vjp inside and outside vmap.

    Every subset of one and all floating inputs is batched; then integer inputs too, in turn. A refusal by InputError is taken where integer
    or bool inputs differ between examples, since shapes may depend on them.
    samples: as for `check_rules`.  tolerance: relative to the largest element.
    Raises: AssertionError that names the primitive, the sample and what differs.

    >>> from hyperion.autograd import PRIMITIVES
    >>> check_batching(PRIMITIVES["matmul"], [((np.ones((2, 3)), np.ones((3, 2))), {})])
    """
    for number, (inputs, params) in enumerate(samples, start=1):
        given = [as_tensor(x) for x in inputs]
        floating = [i for i, x in enumerate(given) if is_inexact(x.dtype)]
        others = [i for i in range(len(given)) if i not in floating]
        for batched in {(i,) for i in range(len(given))} | {tuple(floating), tuple(range(len(given)))} - {()}:
            name = f"{primitive.name}, sample {number}, inputs {batched} batched"
            stacks = [stack([_example(x, k) for k in range(len(FACTORS))]) if i in batched else x for i, x in enumerate(given)]
            axes = tuple(0 if i in batched else None for i in range(len(given)))
            try:
                _check_batch(primitive, params, stacks, axes, floating, tolerance, name)
            except InputError as error:
                if not str(error).startswith("vmap:") or not set(batched) & set(others):
                    raise


def _example(x: Tensor, k: int) -> Tensor:
    """Return input x of example k."""
    if is_inexact(x.dtype):
        return x * FACTORS[k]
    xp = device.namespace(x.data)
    return Tensor(xp.roll(x.data, k)) if x.dtype.kind in "biu" else x


def _check_batch(
    primitive: Primitive, params: dict[str, Any], stacks: list[Tensor], axes: tuple[int | None, ...], floating: list[int],
    tolerance: float, name: str,
) -> None:
    def single(*xs: Any) -> Any:
        return primitive(*xs, **params)

    examples = [[x if axis is None else x[k] for x, axis in zip(stacks, axes, strict=True)] for k in range(len(FACTORS))]
    looped = [_tuple(single(*xs)) for xs in examples]
    out = _tuple(vmap(single, axes)(*stacks))
    _compare(out, [stack(parts) for parts in zip(*looped, strict=True)], tolerance, name)
    active = [i for i in floating]
    if not active or not primitive.differentiable or primitive.vjp is None or not any(is_inexact(x.dtype) for x in looped[0]):
        return
    seeds = random_like([x for x in out if is_inexact(x.dtype)], np.random.default_rng(0))

    def pulled(seed: Any, *xs: Any) -> Any:
        function = Restricted(primitive, list(xs), params, active)
        return vjp(function, *(xs[i] for i in active))[1](tuple(seed))

    inside = vmap(pulled, (0, *axes))(seeds, *stacks)
    singles = [pulled([seed[k] for seed in seeds], *xs) for k, xs in enumerate(examples)]
    _compare(inside, [stack(parts) for parts in zip(*singles, strict=True)], tolerance, f"{name}, vmap of vjp")

    def outer(*xs: Any) -> Any:
        full = list(stacks)
        for i, x in zip(active, xs, strict=True):
            full[i] = x
        return [x for x in _tuple(vmap(single, axes)(*full)) if is_inexact(x.dtype)]

    outside = vjp(outer, *(stacks[i] for i in active))[1](list(seeds))
    expected: list[Any] = [
        stack([row[j] for row in singles]) if axes[i] == 0 else sum((row[j] for row in singles[1:]), singles[0][j])
        for j, i in enumerate(active)
    ]
    _compare(outside, expected, tolerance, f"{name}, vjp of vmap")


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _compare(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float, name: str) -> None:
    for x, y in zip(found, expected, strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise AssertionError(f"{name}: got {x.dtype} {x.shape}, expected {y.dtype} {y.shape}")
        a, b = device.to_numpy(x.data), device.to_numpy(y.data)
        if not is_inexact(x.dtype):
            worst, size = float((a != b).sum()), 0.0
        else:
            worst, size = float(np.abs(a - b).max(initial=0.0)), 1.0 + float(np.abs(b).max(initial=0.0))
        if not worst <= tolerance * size:
            raise AssertionError(f"{name}: differs by {worst:.3g} where values reach {size:.3g}")


def check_taylor(
    primitive: Primitive, samples: Iterable[tuple[Sequence[Any], dict[str, Any]]], order: int = 4, tolerance: float = 1e-10, seed: int = 0,
) -> None:
    """Check that the Taylor mode of a primitive agrees with nested jvp, along a random direction of all floating inputs.

    samples: as for `check_rules`.  tolerance: relative to the largest element of each derivative.
    Raises: AssertionError that names the primitive, the sample and the order.

    >>> from hyperion.autograd import PRIMITIVES
    >>> check_taylor(PRIMITIVES["sin"], [((np.array([0.3, -1.2]),), {})])
    """
    for number, (inputs, params) in enumerate(samples, start=1):
        given = [as_tensor(x) for x in inputs]
        active = [i for i, x in enumerate(given) if is_inexact(x.dtype)]
        if not active or not primitive.differentiable:
            continue
        function = Restricted(primitive, given, params, active)
        xs = tuple(given[i] for i in active)
        directions = random_like(xs, np.random.default_rng(seed))
        terms = jet(function, xs, directions, order)
        nested: Callable[..., Any] = function
        for k in range(order + 1):
            _compare(terms[k], nested(*xs), tolerance, f"{primitive.name}, sample {number}, Taylor order {k}")
            nested = _along(nested, directions)


def _along(function: Callable[..., Any], directions: Any) -> Callable[..., Any]:
    return lambda *xs: jvp(function, xs, directions)[1]
