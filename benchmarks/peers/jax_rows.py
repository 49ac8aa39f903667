"""JAX's worker for the row kernels: one compiled call, compiled before it is timed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rows_cases import Case


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return "jit"


def layer_norm(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    moved = x - x.mean(-1, keepdims=True)
    return moved * jax.lax.rsqrt((moved * moved).mean(-1, keepdims=True) + 1e-5) * w + b


def rms_norm(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    given = {name: jnp.asarray(array) for name, array in case.arrays().items()}
    leaves = [given[name] for name in ("x", "weight", "bias")]
    classes, cotangent = given["classes"][:, None], given["cotangent"]
    operation = {
        "softmax": lambda x, w, b: jax.nn.softmax(x), "log_softmax": lambda x, w, b: jax.nn.log_softmax(x), "layer_norm": layer_norm,
        "rms_norm": rms_norm, "gelu": lambda x, w, b: jax.nn.gelu(x, approximate=False), "gelu_tanh": lambda x, w, b: jax.nn.gelu(x),
        "silu": lambda x, w, b: jax.nn.silu(x),
        "cross_entropy": lambda x, w, b: (jax.nn.logsumexp(x, -1) - jnp.take_along_axis(x, classes, -1)[:, 0]).mean(),
    }[case.operation]
    scaled = {"layer_norm": 3, "rms_norm": 2}.get(case.operation, 1)        # gradients of weight and bias, too

    def gradients(cotangent: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(lambda *moving: operation(*moving, *leaves[scaled:]), *leaves[:scaled])
        return *back(cotangent if y.ndim else jnp.ones_like(y)), y

    compiled = jax.jit(gradients) if case.backward else jax.jit(operation)

    def call() -> np.ndarray:
        for _ in range(case.loops):
            y = jax.block_until_ready(compiled(cotangent, *leaves) if case.backward else compiled(*leaves))
        return np.asarray(y[0] if case.backward else y)

    return call
