"""JAX's worker: a jitted scan over time steps, the Laplacian as a sum of slices; a sponge absorbs, as in the Devito worker."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from wave_cases import ORDER, WIDTH, Case


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return f"sponge {WIDTH} (less work than CPML)" + (", history of every step" if case.gradient else "")


def weights(order):
    """Return the central weights of the second derivative, by Taylor expansion."""
    half = order // 2
    offsets = np.arange(-half, half + 1)
    powers = np.array([offsets.astype(float) ** k for k in range(order + 1)])
    return np.linalg.solve(powers, 2.0 * (np.arange(order + 1) == 2))[half:]


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    half, taps = ORDER // 2, weights(ORDER) / case.spacing**2
    inner = tuple(n + 2 * WIDTH for n in case.shape)
    damping = jnp.asarray(case.sponge())
    wavelet = jnp.asarray(case.wavelet() / case.spacing**case.ndim)
    sources, receivers = jnp.asarray(case.sources() + WIDTH), jnp.asarray(case.receivers() + WIDTH)

    def laplace(p):
        padded = jnp.pad(p, half)

        def shifted(axis, n):
            low = [half + n * (a == axis) for a in range(case.ndim)]
            return lax.slice(padded, low, [a + count for a, count in zip(low, inner, strict=True)])

        total = case.ndim * taps[0] * p
        for axis in range(case.ndim):
            for j in range(1, half + 1):
                total = total + taps[j] * (shifted(axis, j) + shifted(axis, -j))
        return total

    def shot(scaled, lower, upper, source, receiver):
        where, there = tuple(source[0]), tuple(receiver.T)

        def advance(state, sample):
            p, before = state
            rate = laplace(p).at[where].add(sample)
            return (upper * (2.0 * p - lower * before + scaled * rate), p), p[there]

        start = jnp.zeros(inner, jnp.float32)
        return lax.scan(advance, (start, start), wavelet)[1].T

    def solve(model):
        scaled = (case.step * jnp.pad(model, WIDTH, mode="edge")) ** 2
        d = 0.5 * damping * scaled / case.step
        return jax.vmap(lambda s, r: shot(scaled, 1.0 - d, 1.0 / (1.0 + d), s, r))(sources, receivers)

    def misfit(model):
        return 0.5 * jnp.sum(solve(model) ** 2)

    compiled = jax.jit(jax.grad(misfit) if case.gradient else solve)
    speed = case.speed()
    return lambda: np.asarray(compiled(speed))
