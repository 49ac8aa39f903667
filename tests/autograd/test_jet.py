"""Taylor mode: against known series and nested jvp, its own derivatives, its cost. Each primitive's rule: test_table.py."""

import gc
import math

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import InputError, ShapeError
from tests.autograd.samples import normal


def values(terms):
    return [float(term.detach()) for term in terms]


@pytest.mark.parametrize(("function", "derivatives"), [
    (hp.exp, lambda x: [math.exp(x)] * 11),
    (hp.sin, lambda x: [math.sin(x + k * math.pi / 2.0) for k in range(11)]),
    (hp.log, lambda x: [math.log(x)] + [(-1) ** (k - 1) * math.factorial(k - 1) / x ** k for k in range(1, 11)]),
    (lambda x: 1.0 / x, lambda x: [(-1) ** k * math.factorial(k) / x ** (k + 1) for k in range(11)]),
    (lambda x: x ** 5, lambda x: [math.perm(5, k) * x ** (5 - k) for k in range(6)] + [0.0] * 5),
    (hp.sqrt, lambda x: [math.prod(0.5 - j for j in range(k)) * x ** (0.5 - k) for k in range(11)]),
])
def test_known_derivatives_to_tenth_order(function, derivatives):
    x = 0.7
    found = values(hp.jet(function, (hp.asarray(x, dtype="float64"),), (hp.asarray(1.0, dtype="float64"),), order=10))
    # Rounding grows with the order: each coefficient is a sum over those below.
    np.testing.assert_allclose(found, derivatives(x), rtol=1e-12)


def test_a_network_and_its_derivatives_along_x():
    w = [hp.asarray(normal(8, 2)), hp.asarray(normal(8, 8)), hp.asarray(normal(1, 8))]

    def u(x):
        return w[2] @ hp.tanh(w[1] @ hp.tanh(w[0] @ x))

    x, d = hp.asarray(normal(2)), hp.asarray(np.array([1.0, 0.0]))
    terms = hp.jet(u, (x,), (d,), order=4)
    nested = u
    for k in range(5):
        np.testing.assert_allclose(terms[k].data, nested(x).data, rtol=1e-11, atol=1e-12)
        nested = (lambda f: lambda y: hp.jvp(f, (y,), (d,))[1])(nested)


def test_it_can_be_differentiated_by_parameters_and_by_point():
    def residual(a, x):
        return hp.jet(lambda y: hp.sin(a * y), (x,), (hp.ones_like(x),), order=3)[3]        # -a^3 cos(a y)

    a, x = hp.asarray(1.3, dtype="float64"), hp.asarray(0.4, dtype="float64")
    by_a, by_x = hp.grad(residual, (0, 1))(a, x)
    np.testing.assert_allclose(by_a.data, -3 * 1.3 ** 2 * math.cos(0.52) + 1.3 ** 3 * 0.4 * math.sin(0.52), rtol=1e-13)
    np.testing.assert_allclose(by_x.data, 1.3 ** 4 * math.sin(0.52), rtol=1e-13)
    assert not by_a.requires_grad
    second = hp.grad(hp.grad(residual, 1), 1)(a, x)
    np.testing.assert_allclose(second.data, 1.3 ** 5 * math.cos(0.52), rtol=1e-13)


def test_directions_can_be_differentiated():
    def along(d):
        return hp.jet(hp.exp, (hp.asarray(0.5, dtype="float64"),), (d,), order=3)[3]        # exp(x) d^3

    np.testing.assert_allclose(hp.grad(along)(hp.asarray(2.0, dtype="float64")).data, math.exp(0.5) * 3 * 4.0, rtol=1e-13)


def test_trees_in_and_out():
    args = ({"a": hp.asarray(2.0), "b": [hp.asarray(3.0)]},)
    directions = ({"a": hp.asarray(1.0), "b": [hp.asarray(-1.0)]},)
    terms = hp.jet(lambda t: {"product": t["a"] * t["b"][0], "same": hp.asarray(1.0)}, args, directions, order=2)
    assert [float(term["product"]) for term in terms] == [6.0, 1.0, -2.0]
    assert [float(term["same"]) for term in terms] == [1.0, 0.0, 0.0]


def test_the_cost_grows_as_a_power_of_the_order_not_exponentially(monkeypatch):
    calls = []
    whole = hp.autograd.table.Primitive.__call__

    def counted(self, *inputs, **params):
        calls.append(self.name)
        return whole(self, *inputs, **params)

    def count(order):
        calls.clear()
        hp.jet(lambda x: hp.tanh(hp.sin(x)) / hp.exp(x), (hp.asarray(0.3),), (hp.asarray(1.0),), order)
        return len(calls)

    monkeypatch.setattr(hp.autograd.table.Primitive, "__call__", counted)
    small, large = count(6), count(12)
    assert large < 10 * small           # cubic at most: 2 ** 3 and something; nested jvp would be 2 ** 6


def test_order_zero_is_the_value():
    (value,) = hp.jet(hp.sin, (hp.asarray(0.5),), (hp.asarray(1.0),), order=0)
    assert float(value) == float(hp.sin(hp.asarray(0.5)))


def test_what_does_not_fit_is_refused():
    x = hp.asarray(1.0)
    with pytest.raises(InputError, match="order=-1"):
        hp.jet(hp.sin, (x,), (x,), order=-1)
    with pytest.raises(InputError, match="must be a tuple"):
        hp.jet(hp.sin, x, (x,), order=1)
    with pytest.raises(ShapeError, match="directions"):
        hp.jet(hp.sin, (x,), (hp.asarray([1.0, 2.0]),), order=1)


def test_it_makes_no_cycles():
    gc.collect()
    gc.disable()
    try:
        x = hp.asarray(np.full(3, 0.3))
        before = len(gc.get_objects())
        for _ in range(5):
            hp.jet(lambda y: hp.tanh(hp.sin(y)) / hp.exp(y), (x,), (x,), 4)
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert grown < 50
