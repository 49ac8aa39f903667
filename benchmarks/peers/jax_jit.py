"""JAX's worker for compiled programs: jit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jit_cases import FACTOR, RATE, Case
from peers import jax_pinn


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return "jit"


def chain(x: jax.Array) -> jax.Array:
    for _ in range(100):
        x = x * FACTOR
    return x.sum()


def formula(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    return jnp.tanh(a * b + c) * a - b / (1.0 + c * c)


def moons(case: Case) -> Callable[[], np.ndarray]:
    points, labels, weights = case.moons()
    x, y = jnp.asarray(points), jnp.asarray(labels)

    def loss(parameters: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
        h = x
        for i, (w, b) in enumerate(parameters):
            h = h @ w.T + b
            h = jax.nn.relu(h) if i < 2 else h
        return jax.nn.relu(1.0 - y * h).mean()

    @jax.jit
    def step(parameters: list[tuple[jax.Array, jax.Array]]) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
        value, slopes = jax.value_and_grad(loss)(parameters)
        return value, jax.tree.map(lambda p, g: p - RATE * g, parameters, slopes)

    state = [jax.tree.map(jnp.asarray, weights)]

    def call() -> np.ndarray:
        for _ in range(case.loops):
            value, state[0] = step(state[0])
        return np.array([float(jax.block_until_ready(value))])

    return call


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    if case.kind == "pinn":
        whole = jax_pinn.prepare(case.pinn, threads)
        return lambda: whole()[:1]
    if case.kind == "moons":
        return moons(case)
    a, b, c = map(jnp.asarray, case.arrays())
    function, given = {
        "chain": (jax.value_and_grad(chain), (a,)), "formula": (formula, (a, b, c)),
        "formula_gradient": (jax.grad(lambda a, b, c: formula(a, b, c).sum(), argnums=(0, 1, 2)), (a, b, c)),
        "gelu_gradient": (jax.value_and_grad(lambda x: jax.nn.gelu(x, approximate=False).sum()), (a,)),
    }[case.kind]
    compiled = jax.jit(function)

    def call() -> np.ndarray:
        for _ in range(case.loops):
            out = jax.block_until_ready(compiled(*given))
        return np.asarray(out if case.kind == "formula" else out[0] if case.kind == "formula_gradient" else out[1])

    return call
