"""First values of weights: their moments and bounds, and that a generator decides them."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import hyperion as hp
from hyperion.errors import HyperionError, InputError, ShapeError
from hyperion.nn import initializers as init

SHAPE = (120, 40, 5)            # fan in 200, fan out 600
COUNT = math.prod(SHAPE)
# name: (initialiser, standard deviation, bound or None)
MOMENTS: dict[str, tuple[Any, float, float | None]] = {
    "uniform": (lambda g: init.uniform(SHAPE, g, 0.5), 0.5 / math.sqrt(3.0), 0.5),
    "normal": (lambda g: init.normal(SHAPE, g, 0.3), 0.3, None),
    "truncated_normal": (lambda g: init.truncated_normal(SHAPE, g, 0.3, 1.5), 0.3 * stats.truncnorm(-1.5, 1.5).std(), 0.45),
    "xavier_uniform": (lambda g: init.xavier_uniform(SHAPE, g, 2.0), 2.0 * math.sqrt(2.0 / 800.0), 2.0 * math.sqrt(6.0 / 800.0)),
    "xavier_normal": (lambda g: init.xavier_normal(SHAPE, g), math.sqrt(2.0 / 800.0), None),
    "kaiming_uniform": (lambda g: init.kaiming_uniform(SHAPE, g), math.sqrt(2.0 / 200.0), math.sqrt(6.0 / 200.0)),
    "kaiming_normal": (lambda g: init.kaiming_normal(SHAPE, g, 0.5, True), math.sqrt(2.0 / 1.25 / 600.0), None),
    "gpt2_residual": (lambda g: init.gpt2_residual(SHAPE, g, 12), 0.02 / math.sqrt(24.0), None),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_mean_deviation_and_bound(name: str) -> None:
    make, deviation, bound = MOMENTS[name]
    x = make(hp.random.Generator(1))
    assert x.shape == SHAPE and x.dtype == np.float32
    values = x.data.astype(np.float64)
    assert abs(values.mean()) < 5.0 * deviation / math.sqrt(COUNT)
    assert abs(values.std() / deviation - 1.0) < 5.0 / math.sqrt(COUNT)         # the deviation of a deviation is at most 1 / sqrt(2 n)
    if bound is not None:
        # float32 may round up to the bound; 24,000 draws come within 1 % of it
        assert 0.99 * bound < np.abs(values).max() <= bound * (1.0 + 1e-6)


@pytest.mark.parametrize("name", MOMENTS)
def test_a_generator_decides_the_values(name: str) -> None:
    make = MOMENTS[name][0]
    first, again, other = (make(hp.random.Generator(seed)).data for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    q = init.orthogonal(shape, hp.random.Generator(1), 2.0, dtype="float64").data.reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4.0 * np.eye(len(small)), atol=1e-13)


def test_constants_fans_and_seed() -> None:
    assert init.fans((8, 3, 5, 5)) == (75, 200)
    assert not init.zeros((2, 3)).data.any() and (init.ones((2, 3)).data == 1.0).all()
    half = init.constant((2,), value=0.5, dtype="float64")
    assert half.dtype == np.float64 and (half.data == 0.5).all()
    hp.nn.seed(3)
    first = init.normal((4,)).data
    hp.nn.seed(3)
    np.testing.assert_array_equal(init.normal((4,)).data, first)
    assert not np.array_equal(init.normal((4,)).data, first)
    hp.nn.seed(0)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: init.xavier_uniform((3,)), ShapeError, "must have two axes or more"),
    (lambda: init.orthogonal((3,)), ShapeError, "must have two axes or more"),
    (lambda: init.normal((3,), 7), InputError, "generator=7 must be a hyperion.random.Generator"),
    (lambda: init.gpt2_residual((3, 3), None, 0), InputError, r"gpt2_residual\(layers\)=0 must be an integer, 1 or more"),
    (lambda: hp.nn.seed(-1), InputError, "seed=-1 must be a whole number"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
