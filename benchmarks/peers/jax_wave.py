"""JAX's worker: a jitted scan over time steps. Acoustic: the Laplacian as a sum of slices; a sponge absorbs, as in the Devito worker.

Maxwell: Yee's scheme with Hyperion's absorbing layer, its memory variables in the slabs only.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from wave_cases import LIGHT, WIDTH, Case, weights


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    if case.equation == "maxwell":
        return f"CPML {WIDTH}"
    return f"sponge {WIDTH} (less work than CPML)" + (", history of every step" if case.gradient else "")


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    return maxwell(case) if case.equation == "maxwell" else acoustic(case)


def acoustic(case: Case) -> Callable[[], np.ndarray]:
    half, taps = case.order // 2, weights(case.order) / case.spacing**2
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


PERMEABILITY = 1.25663706212e-6  # [H/m], of vacuum
PERMITTIVITY = 1.0 / PERMEABILITY / LIGHT**2  # [F/m]
REFLECTION = 1e-6  # of the absorbing layer


def layer(case, fastest, half):
    """Return the recursion's b and a on the cells of both slabs of an axis, low and high: the profiles of `pde.CPML`."""
    n, thickness = case.shape[0] + 2 * WIDTH, WIDTH * case.spacing
    at = np.arange(n) + 0.5 * half
    depth = np.clip(np.maximum(WIDTH - at, at - (n - 1 - WIDTH)) / WIDTH, 0.0, 1.0)
    sigma = 3.0 * fastest * np.log(1.0 / REFLECTION) / (2.0 * thickness) * depth**2
    alpha = np.pi * fastest / (2.0 * thickness) * (1.0 - depth)
    b = np.where(depth > 0.0, np.exp(-(sigma + alpha) * case.step), 0.0)
    a = np.where(depth > 0.0, sigma / np.where(depth > 0.0, sigma + alpha, 1.0) * (b - 1.0), 0.0)
    slabs = [*range(WIDTH + 1), *range(n - WIDTH - 1, n)]
    return jnp.asarray(b[slabs], jnp.float32), jnp.asarray(a[slabs], jnp.float32)


def maxwell(case: Case) -> Callable[[], np.ndarray]:
    size, ndim, deep = tuple(n + 2 * WIDTH for n in case.shape), case.ndim, WIDTH + 1
    fastest = LIGHT / float(np.sqrt(case.permittivity().min()))
    profiles = {half: layer(case, fastest, half) for half in (False, True)}
    source, receivers = case.sources()[0, 0] + WIDTH, case.receivers()[0] + WIDTH
    samples = jnp.asarray(case.wavelet() * (case.step / case.spacing**ndim))

    def part(x, axis, low, high):
        return lax.slice_in_dim(x, low, high, axis=axis)

    def derivative(x, axis, half, memory):
        """Return (derivative onto half points or onto nodes, memory): one cell's difference, stretched in the slabs."""
        zeros = jnp.zeros_like(part(x, axis, 0, 1))
        n = size[axis]
        parts = (part(x, axis, 1, n), zeros, x) if half else (x, zeros, part(x, axis, 0, n - 1))
        d = (jnp.concatenate(parts[:2], axis) - parts[2] if half else parts[0] - jnp.concatenate(parts[1:], axis)) / case.spacing
        b, a = (p.reshape([-1 if k == axis else 1 for k in range(ndim)]) for p in profiles[half])
        slabs = jnp.concatenate((part(d, axis, 0, deep), part(d, axis, n - deep, n)), axis)
        memory = b * memory + a * slabs
        middle = jnp.zeros([n - 2 * deep if k == axis else size[k] for k in range(ndim)], jnp.float32)
        return d + jnp.concatenate((part(memory, axis, 0, deep), middle, part(memory, axis, deep, 2 * deep)), axis), memory

    curls = [(i, (i + 1) % 3, (i + 2) % 3) for i in range(3)]  # along axes z, y, x: left-handed, so the curl's sign turns

    def curl(fields, half, memories):
        out, kept = [], []
        for i, j, k in curls:
            first, one = derivative(fields[k], j, half, memories[2 * i])
            second, two = derivative(fields[j], k, half, memories[2 * i + 1])
            out.append(second - first)
            kept += [one, two]
        return out, kept

    def memories():
        return [jnp.zeros([2 * deep if a == axis else size[a] for a in range(ndim)], jnp.float32) for i, j, k in curls for axis in (j, k)]

    def solve(permittivity):
        inverse = 1.0 / (PERMITTIVITY * jnp.pad(permittivity, WIDTH, mode="edge"))
        between = [0.5 * (inverse + jnp.concatenate((part(inverse, i, 1, size[i]), part(inverse, i, size[i] - 1, size[i])), i))
                   for i in range(ndim)]

        def advance(state, sample):
            e, h, of_e, of_h = state
            heard = e[0][tuple(receivers.T)]
            turned, of_h = curl(h, False, of_h)
            e = [f + case.step * k * c for f, k, c in zip(e, between, turned, strict=True)]
            e[0] = e[0].at[tuple(source)].add(-sample * between[0][tuple(source)])
            turned, of_e = curl(e, True, of_e)
            h = [f - case.step / PERMEABILITY * c for f, c in zip(h, turned, strict=True)]
            return (e, h, of_e, of_h), heard

        fields = [jnp.zeros(size, jnp.float32)] * 3
        return lax.scan(advance, (fields, fields, memories(), memories()), samples)[1].T[None]

    compiled = jax.jit(solve)
    permittivity = case.permittivity()
    return lambda: np.asarray(compiled(permittivity))
