"""Surrogates of the wave equation: the residual of the solver's own step, its adjoint in the loss, gradients through both."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, pde
from hyperion.errors import InputError, ShapeError
from hyperion.testing import taylor_test

GRID = pde.Grid((24, 30), (10.0, 12.0))
STEP = 1e-3


def solver(order=4, stencil=None):
    layer, stepping = pde.CPML(width=8), pde.Leapfrog(max_speed=3000.0)
    return pde.Solver(pde.Acoustic(), GRID, order=order, stencil=stencil, boundary=layer, stepping=stepping)


def speeds(count):
    draw = np.random.default_rng(4)
    z, x = np.meshgrid(np.linspace(0.0, 1.0, 24), np.linspace(0.0, 1.0, 30), indexing="ij")
    return np.stack([1800.0 + 600.0 * z + 200.0 * np.sin(6.0 * x * z + draw.uniform(0.0, 6.0)) for _ in range(count)])


SURVEY = pde.Survey([[[120.0, 180.0]]], [[[20.0, 12.0 * i] for i in range(30)]], pde.ricker(3.0, 0.6, STEP))


@pytest.mark.parametrize("order, stencil", [(2, None), (4, None), (8, None), (8, pde.LeastSquares(4.0))])
def test_the_solvers_own_states_leave_no_residual_except_at_the_source(order, stencil):
    wave, c = solver(order, stencil), speeds(1)
    assert wave.plan(SURVEY, speed=c[0]).step == STEP
    states = np.stack([fields["p"] for _, _, fields in wave.snapshots(SURVEY, 1, speed=c[0])])[None]
    residual = np.abs(operators.step_residual(wave, states, STEP, speed=c).numpy())
    assert residual.shape == (1, states.shape[1] - 2, 24 - order, 30 - order)
    largest = residual.max(axis=(0, 1))
    at = (12 - order // 2, 15 - order // 2)                                             # the source lies on a node
    assert np.unravel_index(largest.argmax(), largest.shape) == at and largest[at] > 1e-3 * np.abs(states).max()
    largest[at] = 0.0
    assert largest.max() < 1e-12 * np.abs(states).max()                                 # a few dozen roundings of float64
    wrong = np.abs(operators.step_residual(wave, states, STEP, speed=1.02 * c).numpy()).max(axis=(0, 1))
    wrong[at] = 0.0
    assert wrong.max() > 1e-6 * np.abs(states).max()                                    # a wrong speed: a million times as much


class Field(nn.Module):
    """A surrogate: speeds (batch, 24, 30) to five successive states."""

    def __init__(self):
        self.network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, dtype="float64"), nn.Activation(hp.tanh),
                                     nn.Conv2d(6, 5, 3, padding=1, dtype="float64"))

    def forward(self, speed):
        return self.network((speed[:, None] - 2000.0) * 1e-3)


def of_weights(loss):
    """Return the orders of a Taylor test of a loss of a surrogate, along random weights."""
    nn.seed(0)
    model, draw = Field(), np.random.default_rng(1)
    direction = hp.tree_map(lambda p: hp.asarray(draw.standard_normal(p.shape)), model)
    return taylor_test(loss, model, direction, step=1e-2, reverse=True)


def test_gradient_of_the_residual_through_step_and_network():
    wave, c = solver(), speeds(2)
    orders = of_weights(lambda m: hp.sum(hp.square(operators.step_residual(wave, m(hp.asarray(c)), STEP, speed=c))))
    assert all(1.9 < order < 2.1 for order in orders), orders
    nn.seed(0)
    model, along = Field(), np.random.default_rng(2).standard_normal(c.shape)
    loss = lambda s: hp.sum(hp.square(operators.step_residual(wave, model(s), STEP, speed=s)))       # noqa: E731
    orders = taylor_test(loss, c, along, step=5.0, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders), orders


def test_gradient_of_the_adjoints_mismatch_is_a_second_derivative_of_the_network():
    draw, c = np.random.default_rng(3), speeds(2)
    r, g = draw.standard_normal((2, 5, 24, 30)), draw.standard_normal(c.shape)
    orders = of_weights(lambda m: operators.adjoint_mismatch(m, c, r, g))
    assert all(1.9 < order < 2.1 for order in orders), orders


def test_a_solver_agrees_with_its_adjoint_and_another_speed_does_not():
    wave, c = solver(), speeds(2)
    r = np.random.default_rng(5).standard_normal((2, 30, 600))
    g = hp.stack([hp.grad(lambda s, i=i: hp.sum(wave.solve(SURVEY, speed=s) * r[i:i + 1]))(c[i]) for i in range(2)])
    both = lambda s: hp.concat([wave.solve(SURVEY, speed=s[i]) for i in range(2)])       # noqa: E731
    assert float(operators.adjoint_mismatch(both, c, r, g)) < 1e-20
    assert float(operators.adjoint_mismatch(both, 1.05 * c, r, g)) > 0.01


def test_where_no_gradient_is_given_nothing_is_compared():
    x, r = hp.asarray([[1.0, 2.0], [3.0, 4.0]]), hp.ones((2, 2))
    assert float(operators.adjoint_mismatch(lambda x: x * x, x, r, [[2.0, 0.0], [6.0, 0.0]])) == 0.0


C = np.full((1, 24, 30), 2000.0)


@pytest.mark.parametrize("error, match, call", [
    (ShapeError, "3 times or more", lambda: operators.step_residual(solver(), np.ones((1, 2, 24, 30)), STEP, speed=C)),
    (ShapeError, "states have shape", lambda: operators.step_residual(solver(), np.ones((1, 3, 30, 24)), STEP, speed=C)),
    (ShapeError, "speed has shape", lambda: operators.step_residual(solver(), np.ones((2, 3, 24, 30)), STEP, speed=C)),
    (InputError, "needs \\['speed'\\]", lambda: operators.step_residual(solver(), np.ones((1, 3, 24, 30)), STEP, velocity=C)),
    (InputError, "second order in time", lambda: operators.step_residual(
        pde.Solver(pde.AcousticVariableDensity(), GRID), np.ones((1, 3, 24, 30)), STEP, speed=C, density=C)),
    (ShapeError, "gradients have shape", lambda: operators.adjoint_mismatch(abs, np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 2)))),
    (ShapeError, "cotangents have shape", lambda: operators.adjoint_mismatch(abs, np.ones((1, 3)), np.ones((1, 2)), np.ones((1, 3)))),
])
def test_what_does_not_fit_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
