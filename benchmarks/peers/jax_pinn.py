"""JAX's worker for the physics-informed networks: nested jvp over all points at once, one compiled call."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from pinn_cases import VISCOSITY, Case, result


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return "jit; nested jvp, value_and_grad" + (", Adam written out" if case.step else "")


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    points = jnp.asarray(case.points())
    along_x, along_t = (jnp.broadcast_to(axis, points.shape) for axis in jnp.eye(2))

    def network(weights, x):
        for weight, bias in weights[:-1]:
            x = jnp.tanh(x @ weight.T + bias)
        return x @ weights[-1][0].T + weights[-1][1]

    def loss(weights):
        def u(x):
            return network(weights, x)

        (value, u_x), (_, u_xx) = jax.jvp(lambda x: jax.jvp(u, (x,), (along_x,)), (points,), (along_x,))
        u_t = jax.jvp(u, (points,), (along_t,))[1]
        residual = u_t + value * u_x - VISCOSITY * u_xx
        return jnp.mean(residual * residual)

    @jax.jit
    def gradient(weights):
        return jax.value_and_grad(loss)(weights)

    @jax.jit
    def adam(weights, means, squares, number):
        value, slopes = jax.value_and_grad(loss)(weights)
        means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, slopes)
        squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, slopes)
        first, second = 1.0 - 0.9 ** number, 1.0 - 0.999 ** number
        weights = jax.tree.map(lambda w, m, s: w - 1e-3 * (m / first) / (jnp.sqrt(s / second) + 1e-8), weights, means, squares)
        return value, slopes, weights, means, squares

    weights = jax.tree.map(jnp.asarray, case.weights())
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [weights, zeros, zeros, 0]

    def step() -> np.ndarray:
        if case.step:
            state[3] += 1
            value, slopes, *state[:3] = adam(*state[:3], float(state[3]))
        else:
            value, slopes = gradient(weights)
        return result(float(value), [np.asarray(g) for g in jax.tree.leaves(jax.block_until_ready(slopes))])

    return step
