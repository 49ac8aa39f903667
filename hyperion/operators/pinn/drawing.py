"""Points on maps from a unit cube: faces of boundaries, how many points each gets, and drawing until enough are where they belong."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.errors import InputError
from hyperion.operators.pinn.samplers import LatinHypercube, Sampler

__all__ = ["Face", "allotted", "as_points", "drawn", "numbers"]

PATIENCE = 64       # rounds of points before a region counts as empty


@dataclass(frozen=True)
class Face:
    """A part of a boundary: a map from the unit cube to points and outward normals.

    measure: its length or area.  sides: what the edges of the cube are stretched to.  place: cube (n, k) -> points (n, d), normals (n, d).
    """

    measure: float
    sides: tuple[float, ...]
    place: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def numbers(values: Any, what: str) -> np.ndarray:
    """Return an array of float64. Raises: InputError for what holds anything but numbers, text of digits included."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        array = np.empty((), object)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: {values!r} is no array of numbers; give numbers, not text or objects")
    return array.astype(np.float64)


def as_points(count: Any, what: str) -> int:
    """Return a number of points. Raises: InputError unless it is whole, and at least 1."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise InputError(f"{what}: {count!r} points; give a whole number of at least 1")
    return int(count)


def allotted(count: int, weights: list[float]) -> list[int]:
    """Return `count` things shared out in proportion to weights, at least one to each.

    >>> allotted(10, [1.0, 3.0, 0.001])
    [3, 6, 1]
    """
    total = sum(weights)
    exact = [1.0 + (count - len(weights)) * w / total for w in weights]
    shares = [math.floor(x) for x in exact]
    for i in sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])[:count - sum(shares)]:
        shares[i] += 1
    return shares


def drawn(
    count: int, sides: tuple[float, ...], place: Callable[[np.ndarray], np.ndarray], keep: Callable[[np.ndarray], np.ndarray] | None,
    accepted: float, sampler: Sampler | None, generator: Generator | None, what: str,
) -> np.ndarray:
    """Return `count` placed points that are kept, from as many rounds of a sampler as that takes."""
    sampler, generator = sampler or LatinHypercube(), generator or Generator(0)
    if not isinstance(sampler, Sampler) or not isinstance(generator, Generator):
        raise InputError(f"{what}: sampler {sampler!r}, generator {generator!r}; give a sampler such as Sobol(), and a hp.random.Generator")
    if keep is None:
        return place(sampler.unit(count, sides, generator))
    found: list[np.ndarray] = []
    missing = count
    for _ in range(PATIENCE):
        points = place(sampler.unit(max(1, math.ceil(missing / max(accepted, 1e-3))), sides, generator))
        found.append(points[keep(points)])
        missing -= len(found[-1])
        if missing <= 0 or not sampler.exact:
            break
    points = np.concatenate(found)[:count]
    if not len(points) or (missing > 0 and sampler.exact):
        raise InputError(f"{what}: found {len(points)} of {count} points; the region is too thin for this sampler, or has no interior")
    return points
