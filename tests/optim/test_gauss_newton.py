"""Gauss-Newton: linear problems in one step, against SciPy, inside bounds, resuming, refusals."""

import math

import numpy as np
import pytest
import scipy.optimize

import hyperion as hp
from hyperion.errors import DtypeError, InputError, NonFiniteError
from hyperion.optim import GaussNewton, least_squares

RNG = np.random.default_rng(8)
TIMES = hp.asarray(np.linspace(0.0, 3.0, 25))
MATRIX, RIGHT = RNG.normal(size=(30, 12)), RNG.normal(size=30)


def rosenbrock(x):
    return [10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]]


def decay(p):
    """Two exponentials against data made of others: the residual is not zero at the minimum."""
    model = p[0] * hp.exp(-p[1] * TIMES) + p[2] * hp.exp(-p[3] * TIMES)
    return model - (2.0 * hp.exp(-0.7 * TIMES) + hp.exp(-3.0 * TIMES) + 0.05 * hp.sin(9.0 * TIMES))


def linear(x):
    return hp.matmul(hp.asarray(MATRIX), x) - hp.asarray(RIGHT)


def test_a_linear_problem_takes_one_step():
    optimizer = GaussNewton(np.zeros(12), damping=0.0, tolerance=1e-12)
    value = optimizer.advance(linear)
    exact, squares, *_ = np.linalg.lstsq(MATRIX, RIGHT)
    np.testing.assert_allclose(optimizer.parameters, exact, rtol=1e-9)
    assert math.isclose(value, 0.5 * squares[0], rel_tol=1e-12)


def test_the_damped_step_solves_levenbergs_equation():
    optimizer = GaussNewton(np.zeros(12), damping=0.3, tolerance=1e-13)
    optimizer.advance(linear)
    slope = -MATRIX.T @ RIGHT
    damping = 0.3 * np.sum((MATRIX @ slope) ** 2) / (slope @ slope)
    np.testing.assert_allclose(optimizer.parameters, np.linalg.solve(MATRIX.T @ MATRIX + damping * np.eye(12), -slope), rtol=1e-9)


@pytest.mark.parametrize("size", [2, 10, 40])
def test_rosenbrock(size):
    result = least_squares(rosenbrock, hp.full((size,), -1.0, dtype="float64"), iterations=200, gradient_tolerance=1e-9)
    assert result.reason == "gradient"
    np.testing.assert_allclose(result.parameters.numpy(), 1.0, atol=1e-8)


@pytest.mark.parametrize("bounds", [None, (0.0, 2.5), (0.5, None)])
def test_as_scipy(bounds):
    start = np.array([1.0, 0.8, 0.9, 2.0])
    result = least_squares(decay, start, bounds=bounds, iterations=200, gradient_tolerance=1e-9)
    low, high = (None, None) if bounds is None else bounds
    limits = (-np.inf if low is None else low, np.inf if high is None else high)
    peer = scipy.optimize.least_squares(lambda p: decay(hp.asarray(p)).numpy(), start, bounds=limits, xtol=1e-14, ftol=1e-15, gtol=1e-12)
    assert result.value <= peer.cost * (1.0 + 1e-9)
    if bounds is not None:
        assert (result.parameters >= limits[0]).all() and (result.parameters <= limits[1]).all()


def test_fewer_products_than_a_matrix_has_columns():
    """200 unknowns, of which conjugate gradients need far fewer products: the spectrum has 5 clusters."""
    basis, _ = np.linalg.qr(RNG.normal(size=(200, 200)))
    matrix = hp.asarray(basis @ np.diag(np.repeat([1.0, 2.0, 4.0, 5.0, 7.0], 40)))
    optimizer = GaussNewton(np.zeros(200), damping=0.0, tolerance=1e-10)
    optimizer.advance(lambda x: hp.matmul(matrix, x) - 1.0)
    assert optimizer.value < 1e-15 and optimizer.products < 20


def test_trees_tracked_tensors_and_float32():
    start = {"x": np.full(3, -1.0, np.float32), "y": np.zeros(1, np.float32)}
    parameters = {name: hp.asarray(array, requires_grad=True) for name, array in start.items()}
    optimizer = GaussNewton(parameters)

    def residual(p):
        return {"a": rosenbrock(hp.concat([p["x"], p["y"]])), "b": p["y"] - 1.0}

    for _ in range(60):
        optimizer.advance(residual)
    np.testing.assert_allclose(parameters["x"].detach().numpy(), 1.0, atol=1e-4)
    assert parameters["x"].dtype == np.float32


def test_resumed_equals_undisturbed():
    def run(optimizer, count):
        for _ in range(count):
            optimizer.advance(rosenbrock)

    start = hp.full((6,), -1.0, dtype="float64")
    whole, part = GaussNewton(start), GaussNewton(start)
    run(whole, 12)
    run(part, 5)
    resumed = GaussNewton(part.parameters)
    resumed.load_state_dict(part.state_dict())
    run(resumed, 7)
    np.testing.assert_array_equal(resumed.parameters.numpy(), whole.parameters.numpy())
    assert resumed.damping == whole.damping and resumed.evaluations == whole.evaluations
    assert all(isinstance(value, int | float | bool) for value in part.state_dict().values())


def test_steps_to_values_that_are_not_finite_are_stepped_back_from():
    """log of a negative number is NaN: the first, undamped step would go there."""
    result = least_squares(lambda x: hp.log(x) - 1.0, np.array([40.0]), damping=1e-6, iterations=60)
    np.testing.assert_allclose(result.parameters, math.e, rtol=1e-6)


def test_at_a_minimum_it_stalls():
    optimizer = GaussNewton(np.ones(2))
    optimizer.advance(rosenbrock)
    assert optimizer.stalled and optimizer.value == 0.0
    np.testing.assert_array_equal(optimizer.parameters, 1.0)


@pytest.mark.parametrize("error, match, call", [
    (InputError, "damping=-1", lambda: GaussNewton(np.ones(2), damping=-1)),
    (InputError, "tolerance=1.0", lambda: GaussNewton(np.ones(2), tolerance=1.0)),
    (InputError, "iterations=0", lambda: GaussNewton(np.ones(2), iterations=0)),
    (InputError, "trials=0", lambda: GaussNewton(np.ones(2), trials=0)),
    (InputError, "advance", lambda: GaussNewton(hp.asarray([1.0], requires_grad=True)).step()),
    (InputError, "damping, value", lambda: GaussNewton(np.ones(2)).load_state_dict({})),
    (InputError, "iterations=-1", lambda: least_squares(rosenbrock, np.ones(2), iterations=-1)),
    (NonFiniteError, "nan", lambda: GaussNewton(np.ones(2)).advance(lambda x: x * math.nan)),
    (DtypeError, "complex", lambda: GaussNewton(np.ones(2)).advance(lambda x: x * 1j)),
    (DtypeError, "float16", lambda: GaussNewton(np.ones(2, np.float16))),
])
def test_wrong_input_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
