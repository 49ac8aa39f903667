"""JAX's worker for the overhead cases: op by op, `jax.grad` traced anew at every call."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from overhead_cases import FACTOR, Case


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return "without jit; nothing is recorded" if case.kind.startswith("add") else "jax.grad without jit"


def prepare(case: Case, threads: int, compiled: bool = False) -> Callable[[], np.ndarray]:
    x, w, b = (jnp.asarray(value) for value in case.vectors())
    factor, shift = w * 0.0 + FACTOR, b * 0.001

    def line(x, w, b):
        return jnp.sum(x * w + b)

    def walk(x):
        y = x
        for _ in range(case.length // 2):
            y = y * factor + shift
        return jnp.sum(y)

    def add() -> np.ndarray:
        for _ in range(case.loops):
            z = x + w
        return np.asarray(z)

    def add_number() -> np.ndarray:
        for _ in range(case.loops):
            z = x + 1.5
        return np.asarray(z)

    gradient = jax.grad(line, argnums=(0, 1, 2)) if case.kind == "backward" else jax.grad(walk)
    gradient = jax.jit(gradient) if compiled else gradient

    def backward() -> np.ndarray:
        for _ in range(case.loops):
            gradients = jax.block_until_ready(gradient(x, w, b))
        return np.asarray(gradients[1])

    def chain() -> np.ndarray:
        for _ in range(case.loops):
            result = jax.block_until_ready(gradient(x))
        return np.asarray(result)

    return {"add": add, "add_number": add_number, "backward": backward, "chain": chain}[case.kind]
