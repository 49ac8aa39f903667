"""The overhead cases: what every system computes, and how often in a turn. NumPy only: workers live in several environments."""

from dataclasses import dataclass, replace

import numpy as np

SIZE = 10           # elements of the Tensors of all cases but the FFTs
FACTOR = 0.999      # of the chains


@dataclass(frozen=True)
class Case:
    """One thing to time.

    kind: what a worker does: "add", "backward", "chain" or an FFT.  loops: how often in one turn; the time is that of one.
    length: operations of a chain.  shape: of an FFT's input.  systems: those that can do it.
    threaded: whether it runs with the threads of --threads; all others run with one.
    """

    name: str
    kind: str
    loops: int
    systems: tuple[str, ...] = ("hyperion", "torch", "jax", "jax-jit", "autograd")
    length: int = 0
    shape: tuple[int, ...] = ()
    threaded: bool = False

    def vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, w and b (float32, 10 elements each)."""
        numbers = np.random.default_rng(0)
        x, w, b = (numbers.uniform(0.5, 1.5, SIZE).astype(np.float32) for _ in range(3))
        return x, w, b

    def signal(self) -> np.ndarray:
        """Return an FFT's input: complex64, or float32 for a real one."""
        numbers = np.random.default_rng(0)
        real = numbers.standard_normal(self.shape, dtype=np.float32)
        return real if self.kind == "rfft2" else real + 1j * numbers.standard_normal(self.shape, dtype=np.float32)


EAGER = ("hyperion", "torch", "autograd")
TRANSFORMS = ("hyperion", "torch", "numpy", "scipy")
FULL = (
    Case("add", "add", 4000, ("hyperion", "torch", "jax", "autograd")),
    Case("add_number", "add_number", 4000, ("hyperion", "torch", "jax", "autograd")),
    Case("multiply_add_backward", "backward", 200),
    Case("chain_100", "chain", 10, length=100),
    Case("chain_10000", "chain", 1, EAGER, length=10_000),
    Case("chain_100000", "chain", 1, EAGER, length=100_000),
    Case("fft_many", "fft", 1, TRANSFORMS, shape=(2048, 1024), threaded=True),
    Case("fft_2d", "fft2", 1, TRANSFORMS, shape=(4, 1024, 1024), threaded=True),
    Case("rfft_2d", "rfft2", 1, TRANSFORMS, shape=(4, 1024, 1024), threaded=True),
    Case("fft_small", "fft", 1000, TRANSFORMS, shape=(64,)),
)
SMOKE = tuple(replace(case, loops=min(case.loops, 2), length=min(case.length, 1000), shape=case.shape and (4, 64)) for case in FULL)
