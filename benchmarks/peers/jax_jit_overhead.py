"""JAX's worker for the overhead cases: `jax.jit(jax.grad(f))`, compiled before it is timed."""

from collections.abc import Callable

import jax
import numpy as np
from overhead_cases import Case
from peers import jax_overhead


def version() -> str:
    return jax.__version__


def note(case: Case) -> str:
    return "jit(grad): all operations are one compiled call, nothing is recorded; compiled in the first call"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    return jax_overhead.prepare(case, threads, compiled=True)
