"""C text of elementwise formulas: what NumPy computes, the compiled text computes too."""

import numpy as np
import pytest

from hyperion.codegen import elementwise_lines
from hyperion.cpu import MultiTensor, find_compiler


def every_operation(xp, p, g, s, n):
    a = p + g * 2.0 - 1.0 / (s * s + 1.0)
    b = 3.0 - a / xp.sqrt(1.0 + g * g) + (0.5 + p) * n
    return xp.maximum(a, b) - xp.minimum(-a, 0.25), xp.maximum(s, 0.0) - 2.0 * b


def test_the_text():
    lines = elementwise_lines(lambda xp, x, y: (x - 1.0, -xp.maximum(x, y)), ["x", "y"], ["a[i]", "b[i]"])
    assert lines.splitlines() == [
        "const real t0 = x - (real)(1.0);", "const real t1 = (x > y || x != x) ? x : y;", "const real t2 = -t1;",
        "a[i] = t0;", "b[i] = t2;",
    ]


def test_a_formula_that_branches_on_values_is_refused():
    with pytest.raises(TypeError, match="maximum"):
        elementwise_lines(lambda xp, x: x if x else -x, ["x"], ["y"])


def test_as_many_results_as_outputs():
    with pytest.raises(ValueError, match="zip"):
        elementwise_lines(lambda xp, x: (x, x), ["x"], ["y"])


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_and_numpy_agree(dtype, random):
    p, g, s = (random.normal(size=1003).astype(dtype) for _ in range(3))
    p[7], g[9] = np.nan, np.inf
    kernel = MultiTensor(elementwise_lines(every_operation, ["p", "g", "s0", "n0"], ["out[i]", "state0[i]"]), 1, 1, np.dtype(dtype))
    out, state = np.empty_like(p), s.copy()
    kernel([out], [p], [g], [[state]], [[0.75]])
    with np.errstate(invalid="ignore"):
        expected = every_operation(np, p, g, s, np.dtype(dtype).type(0.75))
    # Contracted products round once where NumPy rounds twice: a few units in the last place of terms up to 10.
    tolerance = 50.0 * np.finfo(dtype).eps
    for ours, theirs in zip((out, state), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def choices_and_functions(xp, p, g, s, n):
    chosen = xp.where((p > g) & ~(s <= 0.25), xp.abs(p), xp.sign(g)) + xp.where((p == p) | (g != g), 1.0, 0.0)
    return chosen * n + xp.reciprocal(xp.positive(s) + 2.0), (p ** 3) - (s + 3.0) ** -2 + p ** 0


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_comparisons_choices_and_powers_are_as_in_numpy(dtype, random):
    p, g, s = (random.normal(size=1003).astype(dtype) for _ in range(3))
    p[7], g[9], p[11] = np.nan, np.nan, 0.0
    kernel = MultiTensor(elementwise_lines(choices_and_functions, ["p", "g", "s0", "n0"], ["out[i]", "state0[i]"]), 1, 1, np.dtype(dtype))
    out, state = np.empty_like(p), s.copy()
    kernel([out], [p], [g], [[state]], [[0.75]])
    with np.errstate(invalid="ignore"):
        expected = choices_and_functions(np, p, g, s, np.dtype(dtype).type(0.75))
    tolerance = 50.0 * np.finfo(dtype).eps
    for ours, theirs in zip((out, state), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_what_has_no_text_is_refused_as_by_a_module():
    for formula in (lambda xp, x: xp.arctan(x), lambda xp, x: x ** 0.5, lambda xp, x: x ** x, lambda xp, x: x ** 17):
        with pytest.raises(AttributeError, match="no C text"):
            elementwise_lines(formula, ["x"], ["y"])


def test_numbers_that_are_not_finite_and_repeated_lines():
    lines = elementwise_lines(lambda xp, x: (xp.maximum(x, float("-inf")) * 2.0, xp.sin(x) * xp.sin(x)), ["x"], ["a", "b"]).splitlines()
    assert lines[0] == "const real t0 = (x > -(real)INFINITY || x != x) ? x : -(real)INFINITY;"
    assert sum("sin_of" in line for line in lines) == 1
