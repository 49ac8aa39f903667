"""The cases of `jit.py`, which all systems share. NumPy only: workers live in several environments."""

from dataclasses import dataclass, replace

import gpt_cases
import numpy as np
import pinn_cases

FACTOR = 0.999          # of the chain
RATE = 0.05             # of the moons' gradient descent


@dataclass(frozen=True)
class Case:
    """One function to compile and replay.

    kind: "chain" (100 products and the sum, with the gradient), "formula" (tanh(a b + c) a - b / (1 + c c)), "formula_gradient" (of its
    sum, in a, b and c), "gelu_gradient" (value and gradient of its sum), "moons" (a step of gradient descent of a 2-16-16-1 network with
    a hinge loss), "pinn", "gpt" (the steps of those benchmarks).  size: elements of an array, or points.  loops: how often in one turn.
    systems: those that do it.
    """

    name: str
    kind: str
    size: int
    loops: int = 1
    systems: tuple[str, ...] = ("hyperion", "torch", "jax")

    def arrays(self) -> list[np.ndarray]:
        """Return a, b, c: float32, from 0.5 to 1.5."""
        numbers = np.random.default_rng(0)
        return [numbers.uniform(0.5, 1.5, self.size).astype(np.float32) for _ in range(3)]

    def moons(self) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Return points (size, 2), labels (size, 1) of -1 and 1, and weights (outputs, inputs) and biases of the layers."""
        numbers = np.random.default_rng(1)
        points = numbers.normal(size=(self.size, 2)).astype(np.float32)
        labels = np.where(points[:, :1] * points[:, 1:] > 0, 1, -1).astype(np.float32)
        sizes = ((2, 16), (16, 16), (16, 1))
        weights = [(numbers.normal(size=(b, a)) / np.sqrt(a)).astype(np.float32) for a, b in sizes]
        return points, labels, [(weight, np.zeros(len(weight), np.float32)) for weight in weights]

    @property
    def gpt(self) -> gpt_cases.Case:
        """The case of the GPT benchmark."""
        return (gpt_cases.SMOKE if self.size < 0 else gpt_cases.FULL)[abs(self.size) - 1]

    @property
    def pinn(self) -> pinn_cases.Case:
        """The case of the benchmark of physics-informed networks."""
        return replace(pinn_cases.FULL[0], count=self.size)


FULL = (
    Case("chain_100", "chain", 10, 1000),
    Case("formula_10M", "formula", 10_000_000),
    Case("formula_gradient_10M", "formula_gradient", 10_000_000),
    Case("gelu_gradient_10M", "gelu_gradient", 10_000_000),
    Case("moons", "moons", 100, 300),
    Case("pinn_10k", "pinn", 10_000),
    Case("gpt_4x128", "gpt", 1, 1, ("hyperion", "torch")),
    Case("gpt_6x384", "gpt", 2, 1, ("hyperion", "torch")),
)
SMOKE = tuple(replace(case, size=-1 if case.kind == "gpt" else min(case.size, 50), loops=1) for case in FULL)
