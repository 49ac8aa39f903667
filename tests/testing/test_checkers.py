"""The public checkers find right rules right and wrong rules wrong."""

import math
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, elementwise, general, linear
from hyperion.errors import InputError, TreeError
from hyperion.testing import check_rules, dot_test, taylor_test

X = np.linspace(0.2, 1.4, 7)
rng = np.random.default_rng(0)


def test_dot_test_of_a_matrix_and_its_transpose() -> None:
    matrix = rng.standard_normal((5, 7))
    assert dot_test(lambda x: matrix @ x, (X,), transpose=lambda y: matrix.T @ y) < 1e-12
    with pytest.raises(AssertionError, match="dot test: <J u, w> ="):
        dot_test(lambda x: matrix @ x, (X,), transpose=lambda y: 1.001 * matrix.T @ y)
    assert dot_test(lambda x: matrix @ x, (X,), transpose=lambda y: 1.001 * matrix.T @ y, tolerance=1e-2) > 1e-4


def test_dot_test_of_several_arguments_and_trees() -> None:
    def f(p: Any, x: Any) -> Any:
        return {"a": hp.tanh(p["w"] @ x), "b": [hp.sum(p["w"])]}

    assert dot_test(f, ({"w": rng.standard_normal((3, 7))}, X)) < 1e-12
    two = dot_test(lambda a, b: a + 2.0 * b, (X, X), transpose=lambda g: (g, 2.0 * g))
    assert two < 1e-12
    with pytest.raises(TreeError, match="leaves"):
        dot_test(lambda a, b: a + b, (X, X), transpose=lambda g: g)
    with pytest.raises(InputError, match="must be a tuple"):
        dot_test(hp.sin, X)
    with pytest.raises(InputError, match="leaves have shapes"):
        dot_test(lambda x: x[:3], (X,), transpose=lambda y: y)


def test_dot_test_of_float32_and_of_nan() -> None:
    assert dot_test(hp.sin, (X.astype(np.float32),), tolerance=1e-5) < 1e-5
    with pytest.raises(AssertionError, match="nan"):
        dot_test(lambda x: x * np.nan, (X,), transpose=lambda y: y)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylor_orders(order: int) -> None:
    orders = taylor_test(lambda x: hp.exp(hp.sin(x)), X, np.cos(X), order=order, step=0.1)
    assert len(orders) == 3
    assert all(abs(found - (order + 1)) < 0.15 for found in orders)


def test_taylor_test_of_trees_and_by_reverse() -> None:
    def loss(p: Any) -> Any:
        return hp.sum(hp.exp(p["x"]) * p["y"][0])

    tree, direction = {"x": X, "y": [np.array(2.0)]}, {"x": np.sin(X), "y": [np.array(-1.0)]}
    for reverse in (False, True):
        assert all(abs(found - 2.0) < 0.1 for found in taylor_test(loss, tree, direction, reverse=reverse))


def test_taylor_test_finds_a_wrong_derivative() -> None:
    wrong = elementwise("test_wrong_sin", lambda xp, x: xp.sin(x), lambda out, x: 1.01 * hp.cos(x))
    try:
        assert all(abs(found - 1.0) < 0.2 for found in taylor_test(wrong, X, np.ones(7), step=1e-3))
    finally:
        del PRIMITIVES["test_wrong_sin"]


def test_taylor_test_of_a_polynomial_and_of_wrong_arguments() -> None:
    assert taylor_test(lambda x: 3.0 * x, X, X) == (math.inf,) * 3
    for bad in ({"order": 0}, {"order": 2, "reverse": True}, {"halvings": 0}):
        with pytest.raises(InputError, match="taylor_test: order="):
            taylor_test(hp.sin, X, X, **bad)


def check(primitive: Any, *inputs: Any, **params: Any) -> None:
    try:
        check_rules(primitive, [(inputs, params)])
    finally:
        del PRIMITIVES[primitive.name]


def test_check_rules_accepts_right_rules() -> None:
    check(elementwise("test_cube", lambda xp, x: x * x * x, lambda out, x: 3.0 * x * x), X)
    check(linear("test_twice", lambda xp, x: 2.0 * x, lambda g, x: 2.0 * g), X)
    check(elementwise("test_step", lambda xp, x: xp.floor(x), None), X)


def test_check_rules_finds_a_wrong_transpose() -> None:
    with pytest.raises(AssertionError, match="test_cut, sample 1: vjp and jvp disagree"):
        check(linear("test_cut", lambda xp, x: x[1:], lambda g, x: hp.pad(g, ((0, 1),))), X)


def test_check_rules_finds_a_rule_that_is_right_only_to_first_order() -> None:
    raw = general("test_raw", lambda xp, x: xp.sin(x), lambda g, out, x: (g * np.cos(x.data),), lambda t, out, x: t[0] * np.cos(x.data))
    with pytest.raises(AssertionError, match=r"test_raw, sample 1 > vjp: the jvp and central differences disagree"):
        check(raw, X)


def test_check_rules_finds_a_rule_that_forgets_absent_tangents() -> None:
    forgetful = general("test_forgets", lambda xp, x, y: x * y, lambda g, out, x, y: (g * y, g * x),
                        lambda t, out, x, y: None if t[0] is None or t[1] is None else t[0] * y + x * t[1])
    with pytest.raises(AssertionError, match="input 0 alone: the jvp and central differences disagree"):
        check(forgetful, X, X)


def test_check_rules_refuses_nothing_to_check() -> None:
    with pytest.raises(InputError, match=r"check_rules\(sin\): samples is empty"):
        check_rules(PRIMITIVES["sin"], [])
    with pytest.raises(InputError, match="use float64"):
        check_rules(PRIMITIVES["sin"], [((X.astype(np.float32),), {})])
