"""The L2 misfit and its gradient."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import ShapeError
from hyperion.inversion import l2


def test_value_and_gradient():
    rng = np.random.default_rng(0)
    predicted, observed = rng.normal(size=(2, 3, 4, 5))
    value, gradient = hp.value_and_grad(lambda d: l2(d, observed))(hp.asarray(predicted))
    assert np.isclose(value.item(), 0.5 * np.sum((predicted - observed) ** 2), rtol=1e-14)
    np.testing.assert_allclose(gradient.numpy(), predicted - observed, rtol=1e-14)


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="must agree"):
        l2(np.zeros((2, 3)), np.zeros((3,)))
