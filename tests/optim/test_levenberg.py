"""Levenberg-Marquardt with the whole matrix: exact steps, against SciPy, rows of the Jacobian, bounds, resuming, refusals."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import hyperion as hp
from hyperion import nn
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError
from hyperion.optim import LevenbergMarquardt, Pointwise

rng = np.random.default_rng(6)
T = np.linspace(0.0, 2.0, 37)
DATA = 2.0 * np.exp(-0.7 * T) * np.cos(3.0 * T) + 0.01 * rng.normal(size=T.size)
START = {"a": np.array([1.0, -0.5]), "shape": np.array([2.5])}


def wave(p: Any, rows: Any) -> Any:
    return p["a"][0] * hp.exp(p["a"][1] * rows["t"]) * hp.cos(p["shape"] * rows["t"]) - rows["data"]


def part(weight: float = 1.0) -> Pointwise:
    return Pointwise(wave, {"t": T, "data": DATA}, weight)


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(tree["a"]), np.asarray(tree["shape"])])


def scipys(bounds: Any = (-np.inf, np.inf)) -> Any:
    def residual(x: np.ndarray) -> np.ndarray:
        return wave({"a": x[:2], "shape": x[2:]}, {"t": hp.asarray(T), "data": DATA}).numpy()

    start = np.clip(flat(START), *bounds)
    return scipy.optimize.least_squares(residual, start, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)


def test_it_agrees_with_scipy() -> None:
    optimizer = LevenbergMarquardt(START)
    for _ in range(30):
        optimizer.advance(part())
    peer = scipys()
    np.testing.assert_allclose(flat(optimizer.parameters), peer.x, rtol=1e-7)
    assert np.isclose(optimizer.value, peer.cost, rtol=1e-10) and optimizer.gradient_norm() < 1e-8


@pytest.mark.parametrize("block", [1, 5, 100])
def test_one_step_solves_the_damped_normal_equations(block: int) -> None:
    """Two parts with weights, one of them with two numbers a point: the step from the Jacobians of all, formed apart."""
    model = nn.MLP([2, 4, 2], dtype="float64", generator=hp.random.Generator(1))
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(6, 2))

    def second(m: Any, points: Any) -> Any:
        direction = np.broadcast_to([1.0, 0.0], points.shape)
        u, _, u_xx = hp.jet(m, (points,), (direction,), 2)
        return u_xx + u * u

    parts = {"equation": Pointwise(second, x, 0.5), "data": Pointwise(lambda m, p: m(p) - 1.0, y, 3.0)}
    optimizer = LevenbergMarquardt(model, damping=0.1, block=block, acceleration=False)
    rows, values = [], []
    for one in parts.values():
        def residual(m: Any, one: Any = one) -> Any:
            return one.function(m, one.points).reshape(-1)

        jacobian = hp.jacobian(residual)(model)
        matrix = np.concatenate([leaf.data.reshape(-1, leaf.size // residual(model).size) for leaf in jacobian.parameters()], 1)
        rows.append(math.sqrt(one.weight) * matrix)
        values.append(math.sqrt(one.weight) * residual(model).data)
    jacobian, r = np.concatenate(rows), np.concatenate(values)
    before = np.concatenate([p.data.ravel() for p in model.parameters()])
    start = 0.5 * r @ r
    a = jacobian.T @ jacobian
    damping = 0.1 * a.diagonal().max()
    value = optimizer.advance(parts)
    after = np.concatenate([p.data.ravel() for p in model.parameters()])
    taken = optimizer.evaluations - 2               # more trials double the damping: 2, then 4, then 8
    damping *= 2.0 ** (taken * (taken + 1) / 2)
    np.testing.assert_allclose(after - before, -np.linalg.solve(a + damping * np.eye(len(a)), jacobian.T @ r), rtol=1e-8, atol=1e-10)
    assert value < start


def test_acceleration_is_half_the_second_derivative_along_the_step() -> None:
    """theta(s) = theta + v s + a s^2 / 2 keeps the residual's expansion along the path, at s = 1; a by Taylor mode and normal equations."""
    straight, bent = (LevenbergMarquardt(START, damping=10.0, acceleration=on) for on in (False, True))
    for optimizer in (straight, bent):
        optimizer.advance(part())
    assert straight.evaluations == 2 and bent.evaluations == 4          # both took the first step they tried
    v = flat(straight.parameters) - flat(START)

    def residual(x: Any) -> Any:
        return wave({"a": x[:2], "shape": x[2:]}, {"t": T, "data": DATA})

    start = hp.asarray(flat(START))
    jacobian = hp.jacobian(residual)(start).data
    second = hp.jet(residual, (start,), (v,), 2)[2].data
    damped = jacobian.T @ jacobian
    damped += 10.0 * damped.diagonal().max() * np.eye(3)
    a = -np.linalg.solve(damped, jacobian.T @ second)
    # The second derivative is taken by differences of 0.1 v, whose error is of the fourth derivative along v.
    np.testing.assert_allclose(flat(bent.parameters) - flat(START) - v, 0.5 * a, rtol=1e-3, atol=1e-3 * abs(a).max())


def test_acceleration_follows_a_curved_valley_sooner() -> None:
    def valley(p: Any) -> list[Any]:
        return [100.0 * (p[1] - p[0] ** 2), 1.0 - p[0]]

    values = []
    for on in (False, True):
        optimizer = LevenbergMarquardt(np.array([-1.5, 2.0]), acceleration=on)
        for _ in range(25):
            optimizer.advance(valley)
        values.append(optimizer.value)
    assert values[1] < 1e-6 * values[0]


def test_a_whole_residual_and_points_agree() -> None:
    pointwise, whole = LevenbergMarquardt(START), LevenbergMarquardt(START)
    for _ in range(6):
        a = pointwise.advance([part()])
        b = whole.advance(lambda p: [wave(p, {"t": T, "data": DATA})])
        assert np.isclose(a, b, rtol=1e-10)
    np.testing.assert_allclose(flat(pointwise.parameters), flat(whole.parameters), rtol=1e-9)


def test_a_linear_problem_needs_few_steps() -> None:
    matrix, right = rng.normal(size=(30, 6)), rng.normal(size=30)
    optimizer = LevenbergMarquardt(np.zeros(6), damping=1e-8)
    for _ in range(2):
        optimizer.advance(Pointwise(lambda p, rows: hp.matmul(rows[0], p) - rows[1], (matrix, right)))
    np.testing.assert_allclose(optimizer.parameters, np.linalg.lstsq(matrix, right)[0], atol=1e-8)


@pytest.mark.parametrize("bounds", [(-0.6, 2.8), (-1.0, 1.5)])
def test_bounds_hold_and_agree_with_scipy(bounds: Any) -> None:
    optimizer = LevenbergMarquardt({name: np.clip(x, *bounds) for name, x in START.items()}, bounds=bounds)
    for _ in range(60):
        optimizer.advance(part())
    found, peer = flat(optimizer.parameters), scipys(bounds)
    assert (found >= bounds[0]).all() and (found <= bounds[1]).all() and (np.isin(found, bounds)).any()
    assert optimizer.value <= peer.cost * (1.0 + 1e-6)


def test_weights_scale_the_value_and_not_the_steps() -> None:
    one, ten = LevenbergMarquardt(START), LevenbergMarquardt(START)
    for _ in range(4):
        assert np.isclose(10.0 * one.advance(part()), ten.advance(part(10.0)), rtol=1e-9)
    np.testing.assert_allclose(flat(one.parameters), flat(ten.parameters), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resumed_equals_undisturbed(dtype: str) -> None:
    start = {name: x.astype(dtype) for name, x in START.items()}
    given = Pointwise(wave, {"t": T.astype(dtype), "data": DATA.astype(dtype)})
    whole, first = LevenbergMarquardt(start), LevenbergMarquardt(start)
    for _ in range(9):
        whole.advance(given)
    for _ in range(4):
        first.advance(given)
    resumed = LevenbergMarquardt(first.parameters)
    resumed.load_state_dict(first.state_dict())
    for _ in range(5):
        resumed.advance(given)
    np.testing.assert_array_equal(flat(resumed.parameters), flat(whole.parameters))
    assert resumed.value == whole.value and resumed.damping == whole.damping


def test_stalled_at_the_minimum_and_restart() -> None:
    optimizer = LevenbergMarquardt(np.zeros(2))
    optimizer.advance(Pointwise(lambda p, x: x * p[0], np.ones(3)))
    assert optimizer.stalled and optimizer.value == 0.0
    optimizer.restart(forget=True)
    assert not optimizer.stalled and math.isnan(optimizer.damping)


def test_tensors_that_are_tracked_are_written() -> None:
    p = hp.asarray([3.0], dtype="float64", requires_grad=True)
    optimizer = LevenbergMarquardt([p])
    for _ in range(5):
        optimizer.advance(Pointwise(lambda tree, x: tree[0] * x - 2.0 * x, T[1:]))
    assert math.isclose(p.item(), 2.0, rel_tol=1e-9)


@pytest.mark.parametrize(("error", "match", "call"), [
    (InputError, "damping=0.0", lambda: LevenbergMarquardt(np.zeros(2), damping=0.0)),
    (InputError, "trials=0", lambda: LevenbergMarquardt(np.zeros(2), trials=0)),
    (InputError, "block=2.5", lambda: LevenbergMarquardt(np.zeros(2), block=2.5)),
    (InputError, "use advance", lambda: LevenbergMarquardt(np.zeros(2)).step()),
    (InputError, "got a int", lambda: LevenbergMarquardt(np.zeros(2)).advance(3)),
    (InputError, "got a list", lambda: LevenbergMarquardt(np.zeros(2)).advance([])),
    (InputError, "give a function", lambda: Pointwise(3, np.ones(2))),
    (ShapeError, "one axis of as many points", lambda: Pointwise(wave, [np.ones(2), np.ones(3)])),
    (ShapeError, "one axis of as many points", lambda: Pointwise(wave, np.ones((0, 2)))),
    (InputError, "weight=0", lambda: Pointwise(wave, np.ones(2), 0)),
    (DtypeError, "complex", lambda: LevenbergMarquardt(np.zeros(2)).advance(Pointwise(lambda p, x: p[0] * x * 1j, np.ones(3)))),
    (NonFiniteError, "nan", lambda: LevenbergMarquardt(np.zeros(2)).advance(Pointwise(lambda p, x: p[0] * x * math.nan, np.ones(3)))),
    (InputError, "growth missing", lambda: LevenbergMarquardt(np.zeros(2)).load_state_dict(
        {"damping": 1.0, "value": 0.0, "stalled": False, "evaluations": 0, "iterations": 0})),
])
def test_wrong_input_is_refused(error: Any, match: str, call: Any) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    start = {name: hp.asarray(x, device="cuda:0") for name, x in START.items()}
    points = {"t": hp.asarray(T, device="cuda:0"), "data": hp.asarray(DATA, device="cuda:0")}
    there, here = LevenbergMarquardt(start), LevenbergMarquardt(START)
    for _ in range(10):
        there.advance(Pointwise(wave, points))
        here.advance(part())
    assert np.isclose(there.value, here.value, rtol=1e-9)


@pytest.mark.parametrize("function", [lambda p, r: hp.sum(p["a"] * r), lambda p, r: (p["a"] * r)[:1]])
def test_rows_are_those_of_the_points(function):
    with pytest.raises(ShapeError, match="a row for each point"):
        LevenbergMarquardt({"a": np.array(1.0)}).advance(Pointwise(function, np.linspace(0.0, 1.0, 50)))


@pytest.mark.parametrize("residual", [
    lambda p: p["a"][:0], lambda p: (p["a"], p["a"][:0]), Pointwise(lambda p, rows: hp.zeros((37, 0)) * p["a"][0], {"t": T}),
])
def test_an_empty_residual_is_refused(residual):
    with pytest.raises(ShapeError, match="so there is nothing to fit"):
        LevenbergMarquardt(START).advance(residual)
    with pytest.raises(InputError, match="returns no residual"):
        LevenbergMarquardt(START).advance(lambda p: [])
