"""What the tests of layers for physics-informed training share: Taylor mode against nested derivatives, and gradients through it."""

from typing import Any

import numpy as np

import hyperion as hp
from hyperion.testing import taylor_test

F64: dict[str, Any] = {"dtype": "float64"}
POINTS = np.random.default_rng(8).uniform(-1.0, 1.0, (5, 2))
DIRECTION = np.broadcast_to([0.6, -0.8], (5, 2)).copy()


def nested(function: Any, order: int) -> Any:
    """The derivative along DIRECTION by forward mode within forward mode."""
    if not order:
        return function
    return nested(lambda x: hp.jvp(function, (x,), (DIRECTION,))[1], order - 1)


def check_jets(model: Any, order: int = 4) -> None:
    """Value and derivatives to an order in one pass equal nested jvp, and so do their gradients with respect to the parameters."""
    terms = hp.jet(model, (POINTS,), (DIRECTION,), order)
    for n, term in enumerate(terms):
        expected = nested(model, n)(POINTS).data
        # Sums of a few hundred products; a derivative of order n is as large as frequencies to the power n.
        np.testing.assert_allclose(term.data, expected, rtol=1e-9, atol=1e-11 * max(1.0, abs(expected).max()))
    if not model.parameters():
        return

    def by_jet(m: Any) -> Any:
        return sum(hp.sum(hp.square(term)) for term in hp.jet(m, (POINTS,), (DIRECTION,), order))

    def by_nesting(m: Any) -> Any:
        return sum(hp.sum(hp.square(nested(m, n)(POINTS))) for n in range(order + 1))

    one, other = hp.grad(by_jet)(model), hp.grad(by_nesting)(model)
    for name, gradient in one.named_parameters().items():
        expected = other.named_parameters()[name].data
        np.testing.assert_allclose(gradient.data, expected, rtol=1e-8, atol=1e-10 * max(1.0, abs(expected).max()), err_msg=name)


def check_gradient(model: Any) -> None:
    """A Taylor test of a loss with second derivatives, with respect to all parameters."""
    rng = np.random.default_rng(3)
    tree = {name: x.detach() for name, x in model.named_parameters().items()}
    direction = {name: rng.standard_normal(x.shape) for name, x in tree.items()}

    def loss(parts: Any) -> Any:
        return hp.sum(hp.square(hp.jet(model.__with_tree__(parts), (POINTS,), (DIRECTION,), 2)[2]))

    orders = taylor_test(loss, tree, direction, step=1e-3, reverse=True)
    assert all(order > 1.9 for order in orders), orders


def check_state(make: Any) -> None:
    """The state of one, with all parameters moved, makes another give the same."""
    one, other = make(0), make(1)
    for x in one.parameters():
        x.assign(x.data + 0.1)
    assert not np.allclose(one(POINTS).data, other(POINTS).data) or not one.state_dict()
    other.load_state_dict({name: np.array(value) for name, value in one.state_dict().items()})
    np.testing.assert_array_equal(other(POINTS).data, one(POINTS).data)
