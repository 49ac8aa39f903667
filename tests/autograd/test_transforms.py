"""Transforms: nesting in any mix, no confusion between levels, both habits, and long chains."""

import functools
import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hyperion.autograd import (
    asarray,
    cos,
    exp,
    general,
    grad,
    hvp,
    jvp,
    multiply,
    no_grad,
    sin,
    stop_gradient,
    sum,
    table,
    value_and_grad,
    vjp,
    where,
)
from hyperion.errors import InputError

X = np.array(0.3)


def reverse(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return grad(f)


def forward(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: jvp(f, (x,), (1.0,))[1]


def pulled(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: vjp(f, x)[1](1.0)[0]


@pytest.mark.parametrize("mix", [*itertools.product((reverse, forward), repeat=4), (pulled,) * 3])
def test_derivatives_of_sin_in_every_mix(mix: tuple[Callable[..., Any], ...]) -> None:
    derivative = functools.reduce(lambda f, d: d(f), mix, sin)
    expected = [math.sin, math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x)][len(mix) % 4](0.3)
    result = derivative(X)
    assert abs(float(result) - expected) < 1e-14
    assert not result.tracked


def test_sixth_derivative_of_sin() -> None:
    f: Any = sin
    for _ in range(6):
        f = grad(f)
    assert abs(float(f(X)) + math.sin(0.3)) < 1e-14


def test_sixth_derivative_of_a_composite() -> None:
    f: Any = lambda x: exp(x * x)      # noqa: E731
    for n in range(6):
        f = (grad, forward)[n % 2](f)
    # d^6/dx^6 exp(x^2) = exp(x^2) (64 x^6 + 480 x^4 + 720 x^2 + 120)
    x = 0.3
    assert math.isclose(float(f(X)), math.exp(x * x) * (64 * x**6 + 480 * x**4 + 720 * x**2 + 120), rel_tol=1e-13)


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product((reverse, forward), repeat=2)))
def test_levels_are_not_confused(outer: Callable[..., Any], inner: Callable[..., Any]) -> None:
    # d/dx [x * d/dy (x + y)] = 1, and d/dx [x * d/dy (x * y)] = 2 x: a confused system gives 2 and 3 x.
    assert float(outer(lambda x: x * inner(lambda y: x + y)(np.array(1.0)))(X)) == 1.0
    assert math.isclose(float(outer(lambda x: x * inner(lambda y: x * y)(np.array(2.0)))(X)), 0.6)
    assert math.isclose(float(outer(lambda x: inner(lambda y: x * x * y)(x))(X)), 0.6)


def test_an_inner_gradient_at_an_outer_variable_sees_both_paths() -> None:
    # d/dx [ (d/dy sin(x y))|y=x ] = d/dx [x cos(x^2)]
    g = grad(lambda x: grad(lambda y: sin(x * y))(x))
    assert math.isclose(float(g(X)), math.cos(0.09) - 2 * 0.09 * math.sin(0.09), rel_tol=1e-14)


def test_the_pullback_can_be_differentiated_in_its_cotangent() -> None:
    # The derivative of w -> w f'(x) is f'(x): forward mode from reverse mode twice.
    _, pullback = vjp(sin, X)
    assert math.isclose(float(grad(lambda w: pullback(w)[0])(np.array(5.0))), math.cos(0.3), rel_tol=1e-15)
    assert float(pullback(2.0)[0]) == float(pullback(2.0)[0]) == 2.0 * math.cos(0.3)


def test_hessian_vector_product() -> None:
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    x, v = np.array([0.5, -1.0]), np.array([1.0, 2.0])

    def f(x: Any, scale: Any) -> Any:
        return scale * (x @ (matrix @ x)) * 0.5 + sum(cos(x))

    along_x, along_scale = hvp(f, (x, np.array(2.0)), (v, np.array(0.0)))
    np.testing.assert_allclose(along_x, 2.0 * matrix @ v - np.cos(x) * v, rtol=1e-14)
    np.testing.assert_allclose(float(along_scale), v @ matrix @ x, rtol=1e-14)


def test_what_does_not_depend_on_an_argument_has_zero_derivative() -> None:
    value, gradient = value_and_grad(lambda x, y: sum(y * y), argnums=(0, 1))(np.ones((2, 2)), np.ones(3))
    assert float(value) == 3.0
    np.testing.assert_array_equal(gradient[0], np.zeros((2, 2)))
    _, tangent = jvp(lambda x: asarray([1.0, 2.0]), (X,), (1.0,))
    np.testing.assert_array_equal(tangent, [0.0, 0.0])
    assert float(grad(lambda x: x)(2.0)) == 1.0


def test_no_grad_and_stop_gradient_cut_the_derivative() -> None:
    def cut(x: Any) -> Any:
        with no_grad():
            y = x * x
        return x * y

    assert float(grad(cut)(3.0)) == 9.0
    assert float(grad(lambda x: x * stop_gradient({"y": x * x})["y"])(3.0)) == 9.0
    assert float(grad(no_grad()(lambda x: x * x))(3.0)) == 0.0


def test_no_grad_is_of_one_thread_also_as_a_decorator() -> None:
    x = asarray(2.0, requires_grad=True)
    inside, done = threading.Barrier(2, timeout=10.0), threading.Event()

    @no_grad()
    def wait() -> bool:
        inside.wait()
        done.wait(timeout=10.0)
        return (x * x).tracked

    def other() -> bool:
        inside.wait()              # the other thread is within no_grad now
        try:
            return (x * x).tracked and not no_grad()(lambda: (x * x).tracked)()
        finally:
            done.set()

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(wait), pool.submit(other)]
        assert [result.result(timeout=10.0) for result in results] == [False, True]
    assert (x * x).tracked


def test_transforms_inside_no_grad_work_and_stay_untracked() -> None:
    x = asarray(3.0, requires_grad=True)
    w = asarray(2.0, requires_grad=True)
    with no_grad():
        g = grad(lambda x: x * x * w)(x)
        value, _ = vjp(lambda x: x * w, x)
        _, tangent = jvp(lambda x: x * w, (x,), (1.0,))
        (passed,) = vjp(lambda y: y + 1.0, x)[1](w)        # the rule hands on its cotangent, w itself
        _, moved = jvp(lambda y: y, (x,), (w,))
    assert not passed.tracked and not moved.tracked
    assert (float(g), float(value), float(tangent)) == (12.0, 6.0, 2.0)
    assert not (g.tracked or value.tracked or tangent.tracked)


def test_gradients_record_only_when_something_outside_can_see_it() -> None:
    w = asarray(2.0, dtype="float64", requires_grad=True)
    alone = grad(lambda x: sin(x) * 3.0)(X)
    with_w = grad(lambda x: sin(x) * w)(X)
    assert not alone.tracked
    assert with_w.tracked
    with_w.backward()
    assert math.isclose(float(w.grad), math.cos(0.3), rel_tol=1e-15)


def test_a_gradient_at_a_leaf_continues_to_it() -> None:
    x = asarray(X, requires_grad=True)
    grad(sin)(x).backward()
    assert math.isclose(float(x.grad), -math.sin(0.3), rel_tol=1e-15)


def test_backward_accumulates_and_can_be_cleared() -> None:
    x = asarray([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])
    assert not x.grad.tracked
    x.grad = None
    (x * x).backward(gradient=[1.0, 10.0])
    np.testing.assert_array_equal(x.grad, [2.0, 40.0])


def test_backward_twice_with_retain_graph() -> None:
    x = asarray(3.0, requires_grad=True)
    y = x * x * x
    y.backward(retain_graph=True)
    y.backward()
    assert float(x.grad) == 54.0


def test_backward_with_create_graph_gives_second_derivatives() -> None:
    x = asarray(X, requires_grad=True)
    sin(x).backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.backward()
    assert math.isclose(float(x.grad), -math.sin(0.3), rel_tol=1e-15)


def none_as_zero(x: Any) -> Any:
    return 0.0 if x is None else x


def test_several_outputs() -> None:
    split = general(
        "test_split", lambda xp, x, y: (x * y, x + y, xp.asarray(7.0)),
        lambda g, out, x, y: (none_as_zero(g[0]) * y + none_as_zero(g[1]), none_as_zero(g[0]) * x + none_as_zero(g[1])),
        lambda t, out, x, y: (none_as_zero(t[0]) * y + x * none_as_zero(t[1]), none_as_zero(t[0]) + none_as_zero(t[1]), None), outputs=None,
    )
    try:
        product, total, constant = split(np.array(3.0), np.array(4.0))
        assert (float(product), float(total), float(constant)) == (12.0, 7.0, 7.0)

        def f(x: Any, y: Any) -> Any:
            a, b, c = split(x, y)
            return a * a + b * c

        gx, gy = grad(f, argnums=(0, 1))(np.array(3.0), np.array(4.0))
        assert (float(gx), float(gy)) == (2 * 12.0 * 4.0 + 7.0, 2 * 12.0 * 3.0 + 7.0)
        _, tangent = jvp(f, (np.array(3.0), np.array(4.0)), (1.0, 2.0))
        assert float(tangent) == 103.0 + 2.0 * 79.0
        assert float(grad(lambda x: split(x, np.array(4.0))[0])(np.array(3.0))) == 4.0
        assert float(grad(grad(lambda x: f(x, x)))(np.array(1.0))) == 12.0
    finally:
        del table.PRIMITIVES["test_split"]


def test_a_used_twice_value_adds_up_and_selection_cuts_infinite_cotangents() -> None:
    # 1 / y is infinite where y = 0 was selected; the branch not taken must get 0, not 0 * inf = NaN.
    mask = np.array([True, False])

    def f(x: Any) -> Any:
        y = where(mask, x, 0.0)
        return sum(where(mask, y, (y * y + 0.0) ** 0.5))

    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal(grad(f)(np.array([4.0, 9.0])), [1.0, 0.0])


def chain(n: int) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        for _ in range(n):
            x = multiply(x, 1.00001)
        return x
    return f


def test_a_chain_of_100_000_operations_in_both_directions() -> None:
    n = 100_000
    expected = 1.00001 ** n
    value, gradient = value_and_grad(chain(n))(np.array(1.0))
    _, tangent = jvp(chain(n), (np.array(1.0),), (1.0,))
    for result in (value, gradient, tangent):
        assert math.isclose(float(result), expected, rel_tol=1e-10)      # 1e5 roundings of 1e-16


def test_time_is_linear_in_the_length_of_a_chain() -> None:
    def seconds(n: int) -> float:
        start = time.process_time()
        grad(chain(n))(np.array(1.0))
        return time.process_time() - start

    # 16 times the work in at most 48 times the time: quadratic work would take 256 times.
    assert min(seconds(32_000) for _ in range(2)) < 48.0 * max(min(seconds(2_000) for _ in range(5)), 1e-3)


def test_an_inner_gradient_does_not_walk_the_outer_graph() -> None:
    # The inner walk stops at nodes older than its leaves: inner gradients on top of a chain cost the same, however long it is.
    def f(n: int) -> Any:
        def nested(x: Any) -> Any:
            y = chain(n)(x)
            total = y
            for _ in range(300):
                total = total + grad(lambda z: z * z * y)(1.0)
            return total

        return nested

    def seconds(function: Any) -> tuple[float, float]:
        start = time.process_time()
        value = float(grad(function)(np.array(1.0)))
        return value, time.process_time() - start

    functions = (f(6_000), f(3), chain(6_000))
    (value, long), (_, short), (_, alone) = (min((seconds(g) for _ in range(3)), key=lambda pair: pair[1]) for g in functions)
    assert math.isclose(value, float(grad(lambda x: chain(6_000)(x) * 601.0)(np.array(1.0))), rel_tol=1e-12)
    # Walking the chain 300 times would take about 300 times `alone`.
    assert long < 2.0 * (short + alone) + 0.05


@pytest.mark.parametrize("inner", [
    lambda v: jvp(sin, (0.3,), (v,))[1], lambda v: vjp(sin, 0.3)[1](v)[0], lambda v: hvp(sin, (0.3,), (v,))[0],
])
def test_an_argument_that_enters_only_as_a_tangent_gives_an_untracked_gradient(inner: Any) -> None:
    found = grad(inner)(2.0)
    assert not found.tracked
    assert np.isfinite(np.asarray(found))


def test_what_is_no_function_is_refused() -> None:
    for transform in (grad, value_and_grad):
        with pytest.raises(InputError, match="must be callable"):
            transform(3)
    with pytest.raises(InputError, match="must be callable"):
        jvp(3, (1.0,), (1.0,))


def test_a_transformed_function_keeps_its_name() -> None:
    def loss(x: Any) -> Any:
        """Say what it is."""
        return x * x

    assert grad(loss).__name__ == "loss" and grad(loss).__doc__ == "Say what it is."
