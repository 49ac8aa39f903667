"""Wrong input to the transforms: each a clear error that names the argument, the value, the rule and the way out."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, elementwise, general
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError, TreeError

X = np.array([1.0, 2.0])


@pytest.mark.parametrize("transform", [
    lambda f, x: hp.grad(f)(x), lambda f, x: hp.value_and_grad(f)(x), lambda f, x: hp.vjp(f, x), lambda f, x: hp.jvp(f, (x,), (x,)),
    lambda f, x: hp.hvp(f, (x,), (x,)),
])
@pytest.mark.parametrize(("value", "kind"), [(3, "int64"), (np.array([1, 2]), "int64"), (True, "bool"), ({"a": {"b": [1.0, 2]}}, "int64")])
def test_integers_have_no_derivative(transform: Any, value: Any, kind: str) -> None:
    where = r"\[0\]\['a'\]\['b'\]\[1\]" if isinstance(value, dict) else r"\[0\]"
    with pytest.raises(DtypeError, match=rf"argument {where} is {kind}; only floating and complex dtypes have derivatives.*astype"):
        transform(lambda x: hp.sum(x), value)


def test_integer_leaves_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"asarray\(x, requires_grad=True\): x is int64"):
        hp.asarray([1, 2], requires_grad=True)


def test_arguments_that_are_no_arrays_are_refused() -> None:
    with pytest.raises(InputError, match=r"grad: argument \[0\]\['name'\] is a str; it must be a Tensor, an array or a number"):
        hp.grad(lambda p: p["x"])({"x": 1.0, "name": "text"})


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"grad: the function returned a Tensor of shape \(2,\); the loss must be a Tensor of shape \(\)"):
        hp.grad(lambda x: x * x)(X)
    with pytest.raises(ShapeError, match=r"value_and_grad: the function returned a tuple; the loss"):
        hp.value_and_grad(lambda x: (x[0], x[1]))(X)
    with pytest.raises(ShapeError, match=r"the loss has shape \(2,\); it must be a scalar"):
        (hp.asarray(X, requires_grad=True) * 2.0).backward()
    with pytest.raises(InputError, match=r"has_aux=True\): the function returned a Tensor; it must return a pair"):
        hp.value_and_grad(hp.sum, has_aux=True)(X)


@pytest.mark.parametrize("transform", [lambda f: hp.grad(f)(X), lambda f: hp.vjp(f, X), lambda f: hp.jvp(f, (X,), (X,))])
@pytest.mark.parametrize("result", [1.0, np.float64(1.0), np.ones(2)])
def test_a_result_that_lost_its_derivative_is_refused(transform: Any, result: Any) -> None:
    with pytest.raises(GraphError, match="not connected to its arguments; it must return Tensors"):
        transform(lambda x: result)


def test_backward_twice_on_a_freed_graph() -> None:
    x = hp.asarray(X, requires_grad=True)
    shared = hp.sin(x)
    first, second = hp.sum(shared), hp.sum(shared * 2.0)
    first.backward()
    with pytest.raises(GraphError, match=r"the graph was freed by an earlier backward \(at operation 'sum'\).*retain_graph=True"):
        first.backward()
    with pytest.raises(GraphError, match=r"at operation 'sin'"):
        second.backward()


def test_backward_without_anything_tracked() -> None:
    with pytest.raises(GraphError, match="does not depend on a Tensor that requires a gradient"):
        hp.asarray(1.0).backward()
    x = hp.asarray(1.0, requires_grad=True)
    with hp.no_grad():
        y = x * 2.0
    with pytest.raises(GraphError, match=r"outside no_grad\(\)"):
        y.backward()


def test_cotangents_and_tangents_must_fit() -> None:
    _, pullback = hp.vjp(lambda x: {"a": x * 2.0}, X)
    with pytest.raises(ShapeError, match=r"pullback: cotangent\['a'\] has shape \(3,\), but belongs to a Tensor of shape \(2,\)"):
        pullback({"a": np.ones(3)})
    with pytest.raises(ShapeError, match=r"jvp: tangents\[0\] has shape \(\), but belongs to a Tensor of shape \(2,\)"):
        hp.jvp(hp.sum, (X,), (1.0,))
    with pytest.raises(TreeError, match="tangents has the entries"):
        hp.jvp(lambda x, y: x, (X, X), (X,))
    with pytest.raises(InputError, match="jvp: args is a ndarray; it must be a tuple"):
        hp.jvp(hp.sum, X, (X,))
    with pytest.raises(ShapeError, match=r"gradient has shape \(\)"):
        (hp.asarray(X, requires_grad=True) * 2.0).backward(gradient=1.0)


def test_an_operation_without_a_rule_names_itself_and_the_way_out() -> None:
    op = general("test_no_rules", lambda xp, x: x * 2.0)
    try:
        assert float(op(3.0)) == 6.0
        with pytest.raises(GraphError, match=r"'test_no_rules' has no vjp rule.*differentiated backward; give vjp= in its stanza"):
            hp.grad(op)(3.0)
        with pytest.raises(GraphError, match=r"'test_no_rules' has no jvp rule.*differentiated forward; give jvp="):
            hp.jvp(op, (3.0,), (1.0,))
    finally:
        del PRIMITIVES["test_no_rules"]


def test_rules_that_return_nonsense_are_found() -> None:
    short = general("test_short", lambda xp, x, y: x * y, lambda g, out, x, y: (g,), lambda t, out, x, y: hp.sum(t[0]))
    wide = general("test_wide", lambda xp, x, y: x * y, lambda g, out, x, y: (hp.sum(g), g), lambda t, out, x, y: t[0])
    try:
        with pytest.raises(GraphError, match="its vjp returned 1 results for 2 inputs"):
            hp.vjp(short, X, X)[1](X)
        with pytest.raises(GraphError, match=r"its jvp returned shape \(\) for an output of shape \(2,\)"):
            hp.jvp(short, (X, X), (X, X))
        with pytest.raises(GraphError, match=r"its vjp returned shape \(\) for an input of shape \(2,\)"):
            hp.vjp(wide, X, X)[1](X)
    finally:
        del PRIMITIVES["test_short"], PRIMITIVES["test_wide"]


def test_names_in_the_table_are_taken_once() -> None:
    with pytest.raises(InputError, match="name='sin' is already in the table"):
        elementwise("sin", lambda xp, x: xp.sin(x))


def test_an_error_in_a_function_restores_the_recording_state() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("inside")

    with hp.no_grad():
        with pytest.raises(KeyError):
            hp.grad(fails)(1.0)
        assert not (hp.asarray(1.0, requires_grad=True) * 2.0).tracked
    assert (hp.asarray(1.0, requires_grad=True) * 2.0).tracked
