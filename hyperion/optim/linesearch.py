"""A line search for the strong Wolfe conditions.

Source: Nocedal and Wright, Numerical Optimization (2nd edition, 2006), algorithms 3.5 (bracketing) and 3.6 (zoom).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Point", "Wolfe", "strong_wolfe"]


@dataclass(frozen=True)
class Wolfe:
    """What a step must satisfy, and how hard to try.

    decrease, curvature: c1 and c2 of the conditions, 0 < c1 < c2 < 1. trials: the most evaluations in one search.
    """

    decrease: float = 1e-4
    curvature: float = 0.9
    trials: int = 20


@dataclass(frozen=True)
class Point:
    """A point of the line: its step, value and slope there, and what the evaluation returned beside them (the gradient)."""

    step: float
    value: float
    slope: float
    payload: Any = None


def strong_wolfe(evaluate: Callable[[float], Point], start: Point, first: float, largest: float, rule: Wolfe) -> Point | None:
    """Return a point that satisfies the strong Wolfe conditions, or None if none better than the start was found.

    evaluate: step -> Point; start: the point at step 0, with a negative slope; first: the step tried first;
    largest: no step is longer (the distance to the nearest bound; may be infinite).
    At `largest` a sufficient decrease is enough, as the curvature condition may hold only beyond the bound; and when the trials are used
    up, the best point with a sufficient decrease is returned.

    >>> line = lambda t: Point(t, (t - 3.0) ** 2, 2.0 * (t - 3.0))
    >>> strong_wolfe(line, line(0.0), first=1.0, largest=math.inf, rule=Wolfe(curvature=0.1)).step
    3.0
    """

    def enough(point: Point) -> bool:
        return point.value <= start.value + rule.decrease * point.step * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -rule.curvature * start.slope

    low, step = start, min(first, largest)
    for trial in range(1, rule.trials + 1):
        point = evaluate(step)
        if not enough(point) or (trial > 1 and point.value >= low.value):
            return _zoom(evaluate, start, low, point, rule.trials - trial, enough, flat)
        if flat(point) or step >= largest:
            return point
        if point.slope >= 0.0:
            return _zoom(evaluate, start, point, low, rule.trials - trial, enough, flat)
        further = _cubic_minimum(low, point)
        low, step = point, min(max(2.0 * step, min(further, 10.0 * step)), largest)
    return low


def _zoom(
    evaluate: Callable[[float], Point],
    start: Point,
    low: Point,
    high: Point,
    trials: int,
    enough: Callable[[Point], bool],
    flat: Callable[[Point], bool],
) -> Point | None:
    """Shrink the bracket until its inner point satisfies both conditions; `low` is its end of sufficient decrease and lowest value."""
    for _ in range(trials):
        near, far = sorted((low.step, high.step))
        margin = 0.1 * (far - near)
        step = min(max(_cubic_minimum(low, high), near + margin), far - margin)
        if not near < step < far:
            break  # the bracket is one rounding error wide
        point = evaluate(step)
        if not enough(point) or point.value >= low.value:
            high = point
            continue
        if flat(point):
            return point
        if point.slope * (high.step - low.step) >= 0.0:
            high = low
        low = point
    return low if low.step > 0.0 else None


def _cubic_minimum(a: Point, b: Point) -> float:
    """Return the minimiser of the cubic through two points (equation 3.59), or their middle if there is none or a value is infinite."""
    middle = 0.5 * (a.step + b.step)
    if not all(map(math.isfinite, (a.value, b.value, a.slope, b.slope))) or a.step == b.step:
        return middle
    width = b.step - a.step
    first = a.slope + b.slope - 3.0 * (b.value - a.value) / width
    square = first * first - a.slope * b.slope
    if square < 0.0:
        return middle
    second = math.copysign(math.sqrt(square), width)
    bottom = b.slope - a.slope + 2.0 * second
    if bottom == 0.0:
        return middle
    return b.step - width * (b.slope + second - first) / bottom
