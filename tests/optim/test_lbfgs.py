"""L-BFGS: known minima, agreement with SciPy inside bounds, Wolfe conditions at accepted points, resuming, refusals."""

import math

import numpy as np
import pytest
import scipy.optimize

import hyperion as hp
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError
from hyperion.optim import LBFGS, Wolfe, minimize


def rosenbrock(x):
    return hp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def quadratic(size, condition, seed=0):
    """A convex quadratic as (value_and_grad, matrix, right side), eigenvalues from 1 to `condition`."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = basis @ np.diag(np.geomspace(1.0, condition, size)) @ basis.T
    right = rng.normal(size=size)
    return lambda x: (float(0.5 * x @ matrix @ x - right @ x), matrix @ x - right), matrix, right


@pytest.mark.parametrize("size", [2, 10, 50])
def test_rosenbrock(size):
    result = minimize(hp.value_and_grad(rosenbrock), hp.full((size,), -1.0, dtype="float64"), iterations=400)
    assert result.converged
    np.testing.assert_allclose(result.parameters.numpy(), 1.0, atol=1e-5)


def test_quadratic_terminates_like_conjugate_gradients():
    """With an exact line search, L-BFGS is conjugate gradients on a quadratic: n steps suffice (Nocedal and Wright, chapter 7.2)."""
    size = 8
    value_and_grad, matrix, right = quadratic(size, 50.0)
    result = minimize(value_and_grad, np.zeros(size), iterations=size + 1, memory=size, wolfe=Wolfe(1e-4, 1e-3, 60))
    # The line search is exact to 1e-3 of the slope only, so a few digits are lost against exact termination.
    exact = np.linalg.solve(matrix, right)
    assert np.linalg.norm(result.parameters - exact) < 1e-2 * np.linalg.norm(exact)


def test_exact_hessian_as_preconditioner_needs_two_steps():
    value_and_grad, matrix, right = quadratic(20, 1e4)
    newton = lambda gradient: np.linalg.solve(matrix, gradient)  # noqa: E731
    result = minimize(value_and_grad, np.zeros(20), preconditioner=newton, first_step=1.0, iterations=4)
    assert result.converged
    np.testing.assert_allclose(result.parameters, np.linalg.solve(matrix, right), atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_bounded_quadratic_agrees_with_scipy(seed):
    size = 30
    value_and_grad, _, _ = quadratic(size, 100.0, seed)
    rng = np.random.default_rng(seed + 100)
    lower = np.where(rng.random(size) < 0.2, -np.inf, -0.05 * rng.random(size))
    upper = np.where(rng.random(size) < 0.2, np.inf, 0.05 * rng.random(size))
    result = minimize(value_and_grad, np.zeros(size), bounds=(lower, upper), iterations=500, gradient_tolerance=1e-9)
    sides = list(zip(lower, upper, strict=True))
    peer = scipy.optimize.minimize(value_and_grad, np.zeros(size), jac=True, method="L-BFGS-B", bounds=sides, tol=1e-14)
    assert np.all(result.parameters >= lower) and np.all(result.parameters <= upper)
    assert np.any(result.parameters == lower) and np.any(result.parameters == upper)  # the case is about bounds
    assert result.value <= peer.fun + 1e-9 * abs(peer.fun)
    np.testing.assert_allclose(result.parameters, peer.x, atol=2e-5)


@pytest.mark.parametrize("bounds", [(-2.0, 0.8), (None, 0.5), (1.5, 3.0), (-0.5, None)])
def test_bounded_rosenbrock_agrees_with_scipy(bounds):
    start = np.clip(np.array([-1.2, 1.0, -0.5, 0.3]), *bounds)
    numpy_form = lambda x: (lambda v, g: (v.item(), g.numpy()))(*hp.value_and_grad(rosenbrock)(hp.asarray(x)))  # noqa: E731
    result = minimize(hp.value_and_grad(rosenbrock), hp.asarray(start), bounds=bounds, iterations=500, gradient_tolerance=1e-8)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000}
    peer = scipy.optimize.minimize(numpy_form, start, jac=True, method="L-BFGS-B", bounds=[bounds] * 4, options=options)
    np.testing.assert_allclose(result.parameters.numpy(), peer.x, atol=1e-4)
    assert result.value <= peer.fun + 1e-9


def test_every_evaluated_point_is_inside_the_bounds():
    seen = []

    def value_and_grad(x):
        seen.append(x.copy())
        return float(((x - 5.0) ** 4).sum()), 4.0 * (x - 5.0) ** 3

    minimize(value_and_grad, np.linspace(-1.0, 1.0, 7).astype(np.float32), bounds=(-1.0, 1.0))
    assert len(seen) > 1
    assert all(np.all(np.abs(x) <= 1.0) for x in seen)


def test_wolfe_conditions_hold_at_accepted_points():
    rule = Wolfe(1e-4, 0.9)
    history = []

    def value_and_grad(x):
        value, gradient = hp.value_and_grad(rosenbrock)(hp.asarray(x))
        return value.item(), gradient.numpy()

    optimizer = LBFGS(np.full(6, -1.0), wolfe=rule)
    for _ in range(30):
        before = optimizer.parameters
        optimizer.advance(value_and_grad)
        history.append((before, optimizer.parameters))
    for before, after in history:
        (v0, g0), (v1, g1) = value_and_grad(before), value_and_grad(after)
        step = after - before
        assert v1 <= v0 + rule.decrease * (g0 @ step) + 1e-15
        assert abs(g1 @ step) <= rule.curvature * abs(g0 @ step) * (1.0 + 1e-9)


def test_trees_and_vectors_agree():
    value_and_grad, _, _ = quadratic(12, 30.0)

    def of_tree(tree):
        value, gradient = value_and_grad(np.concatenate([tree["a"].ravel(), tree["b"][0]]))
        return value, {"a": gradient[:6].reshape(2, 3), "b": [gradient[6:]]}

    flat = minimize(value_and_grad, np.zeros(12), bounds=(-0.3, 0.3))
    tree = minimize(of_tree, {"a": np.zeros((2, 3)), "b": [np.zeros(6)]}, bounds=(-0.3, 0.3))
    np.testing.assert_array_equal(flat.parameters, np.concatenate([tree.parameters["a"].ravel(), tree.parameters["b"][0]]))


def test_closure_and_function_agree():
    by_closure = hp.asarray(np.full(4, -1.0), requires_grad=True)
    optimizer = LBFGS([by_closure])

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(by_closure)
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    other = LBFGS([hp.asarray(np.full(4, -1.0))])
    for _ in range(10):
        other.advance(lambda tree: hp.value_and_grad(lambda t: rosenbrock(t[0]))(tree))
    np.testing.assert_array_equal(by_closure.detach().numpy(), other.parameters[0].numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resumed_equals_undisturbed(dtype):
    value_and_grad = hp.value_and_grad(rosenbrock)

    def run(optimizer, count):
        for _ in range(count):
            optimizer.advance(value_and_grad)

    start = hp.full((9,), -1.0, dtype=dtype)
    whole = LBFGS(start, bounds=(-1.5, 0.9), memory=5)
    run(whole, 20)
    part = LBFGS(start, bounds=(-1.5, 0.9), memory=5)
    run(part, 9)
    resumed = LBFGS(part.parameters, bounds=(-1.5, 0.9), memory=5)
    resumed.load_state_dict(part.state_dict())
    run(resumed, 11)
    np.testing.assert_array_equal(resumed.parameters.numpy(), whole.parameters.numpy())
    assert resumed.value == whole.value and resumed.evaluations == whole.evaluations


def test_state_is_plain_arrays_and_numbers():
    optimizer = LBFGS(np.full(3, 0.5))
    assert optimizer.state_dict()["steps"].shape == (0, 3)
    optimizer.advance(lambda x: (float(x @ x), 2.0 * x))
    assert all(isinstance(value, np.ndarray | int | float | bool) for value in optimizer.state_dict().values())


def test_restart_evaluates_the_new_function():
    optimizer = LBFGS(np.full(3, 0.5))
    optimizer.advance(lambda x: (float(x @ x), 2.0 * x))
    optimizer.restart()
    for _ in range(20):
        optimizer.advance(lambda x: (float((x - 1.0) @ (x - 1.0)), 2.0 * (x - 1.0)))
    np.testing.assert_allclose(optimizer.parameters, 1.0, atol=1e-6)


def test_first_step_is_the_largest_change():
    optimizer = LBFGS(np.zeros(3), first_step=0.25)
    slopes = np.array([1.0, -4.0, 2.0])
    optimizer.advance(lambda x: (float(slopes @ x + 8.0 * x @ x), slopes + 16.0 * x))  # minimum at -slopes/16: the first step is accepted
    assert math.isclose(np.abs(optimizer.parameters).max(), 0.25)


def test_stalled_at_a_minimum():
    optimizer = LBFGS(np.zeros(3))
    optimizer.advance(lambda x: (float(x @ x), 2.0 * x))
    assert optimizer.stalled
    np.testing.assert_array_equal(optimizer.parameters, 0.0)


def test_minimize_tells_why_it_stopped():
    value_and_grad, _, _ = quadratic(6, 10.0)
    assert minimize(value_and_grad, np.zeros(6), iterations=1).reason == "iterations"
    assert minimize(value_and_grad, np.zeros(6), callback=lambda o: True).reason == "callback"
    assert minimize(value_and_grad, np.zeros(6), value_tolerance=0.5, gradient_tolerance=0.0).reason == "value"
    assert minimize(value_and_grad, np.zeros(6)).reason == "gradient"


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (InputError, "empty", lambda: LBFGS([])),
        (InputError, "NaN", lambda: LBFGS(np.array([1.0, np.nan]))),
        (DtypeError, "int64", lambda: LBFGS(np.arange(3))),
        (DtypeError, "must agree", lambda: LBFGS([np.zeros(2), np.zeros(2, np.float32)])),
        (InputError, "memory=0", lambda: LBFGS(np.zeros(2), memory=0)),
        (InputError, "first_step", lambda: LBFGS(np.zeros(2), first_step=-1.0)),
        (InputError, "wolfe", lambda: LBFGS(np.zeros(2), wolfe=Wolfe(0.5, 0.1))),
        (InputError, "pair", lambda: LBFGS(np.zeros(2), bounds=3.0)),
        (InputError, "lower exceeds", lambda: LBFGS(np.zeros(2), bounds=(1.0, -1.0))),
        (InputError, "outside the bounds", lambda: LBFGS(np.zeros(2), bounds=(1.0, 2.0))),
        (InputError, "NaN", lambda: LBFGS(np.zeros(2), bounds=(np.array([np.nan, 0.0]), None))),
        (ShapeError, "broadcast", lambda: LBFGS(np.zeros(2), bounds=(np.zeros(3), None))),
        (InputError, "requires_grad", lambda: LBFGS(np.zeros(2)).step(lambda: 0.0)),
        (InputError, "closure", lambda: LBFGS(hp.asarray([1.0], requires_grad=True)).step()),
        (ShapeError, "shape", lambda: LBFGS(np.zeros(2)).advance(lambda x: (0.0, np.zeros(3)))),
        (NonFiniteError, "nan", lambda: LBFGS(np.zeros(2)).advance(lambda x: (math.nan, x))),
        (InputError, "state", lambda: LBFGS(np.zeros(2)).load_state_dict(LBFGS(np.zeros(3)).state_dict())),
        (InputError, "iterations=-1", lambda: minimize(lambda x: (0.0, x), np.zeros(2), iterations=-1)),
    ],
)
def test_wrong_input_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
