"""The strong Wolfe conditions hold at what the line search accepts."""

import math

import numpy as np
import pytest

from hyperion.optim.linesearch import Point, Wolfe, strong_wolfe

# (value, slope) of one-dimensional functions that fall at 0: a parabola, More and Thuente's functions 1 and 2 (beta 0.1;
# ACM TOMS 20, 1994), a wavy valley.
LINES = {
    "parabola": (lambda t: (t - 2.0) ** 2, lambda t: 2.0 * (t - 2.0)),
    "more-thuente 1": (lambda t: -t / (t * t + 2.0), lambda t: (t * t - 2.0) / (t * t + 2.0) ** 2),
    "more-thuente 2": (lambda t: (t + 0.1) ** 5 - 2.0 * (t + 0.1) ** 4, lambda t: 5.0 * (t + 0.1) ** 4 - 8.0 * (t + 0.1) ** 3),
    "waves": (lambda t: 0.1 * (t - 4.0) ** 2 + math.sin(3.0 * t + 3.0), lambda t: 0.2 * (t - 4.0) + 3.0 * math.cos(3.0 * t + 3.0)),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("curvature", [0.1, 0.9])
def test_conditions_hold_from_any_first_step(name, first, curvature):
    value, slope = LINES[name]
    rule = Wolfe(decrease=1e-4, curvature=curvature, trials=60)
    start = Point(0.0, value(0.0), slope(0.0))
    assert start.slope < 0.0
    found = strong_wolfe(lambda t: Point(t, value(t), slope(t)), start, first, math.inf, rule)
    assert found is not None and found.step > 0.0
    assert found.value <= start.value + rule.decrease * found.step * start.slope
    assert abs(found.slope) <= curvature * abs(start.slope)


def test_stops_at_the_largest_step():
    found = strong_wolfe(lambda t: Point(t, -t, -1.0), Point(0.0, 0.0, -1.0), 1.0, 7.0, Wolfe())
    assert found is not None and found.step == 7.0


def test_infinite_values_are_stepped_back_from():
    def line(t):
        return Point(t, math.inf, math.inf) if t > 0.5 else Point(t, (t - 0.3) ** 2, 2.0 * (t - 0.3))

    found = strong_wolfe(line, line(0.0), 1.0, math.inf, Wolfe())
    assert found is not None and 0.0 < found.step <= 0.5


def test_returns_none_when_nothing_is_better():
    assert strong_wolfe(lambda t: Point(t, t, 1.0), Point(0.0, 0.0, -1.0), 1.0, math.inf, Wolfe(trials=8)) is None


def test_no_more_trials_than_allowed():
    calls = []

    def line(t):
        calls.append(t)
        return Point(t, np.exp(-1e-9 * t), -1e-9)

    strong_wolfe(line, Point(0.0, 1.0, -1e-9), 1.0, math.inf, Wolfe(decrease=0.1, curvature=0.2, trials=5))
    assert len(calls) == 5
