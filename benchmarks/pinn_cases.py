"""Cases of the physics-informed networks, and what all systems share: sizes, first weights, points, viscosity."""

import dataclasses
import itertools

import numpy as np

VISCOSITY = 0.01 / np.pi


@dataclasses.dataclass(frozen=True)
class Case:
    """The mean squared residual of Burgers' equation, u_t + u u_x - viscosity u_xx, of a tanh network, and its gradient; float32.

    step: whether Adam (1e-3) takes a step with it.
    """

    name: str
    width: int
    layers: int
    count: int
    step: bool = False

    def points(self) -> np.ndarray:
        """Return points (x, t), (count, 2): x from -1 to 1, t from 0 to 1."""
        return np.random.default_rng(1).uniform((-1.0, 0.0), 1.0, (self.count, 2)).astype(np.float32)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return first weights (outputs, inputs) and biases (outputs,) of all layers: Glorot's, and small ones."""
        random = np.random.default_rng(2)
        sizes = [2, *[self.width] * self.layers, 1]
        return [((random.standard_normal((b, a)) * np.sqrt(2.0 / (a + b))).astype(np.float32),
                 (0.1 * random.standard_normal(b)).astype(np.float32)) for a, b in itertools.pairwise(sizes)]


def result(loss: float, gradients: list[np.ndarray]) -> np.ndarray:
    """Return what the systems are compared by: the loss and the gradient as one vector."""
    gradient = np.concatenate([np.asarray(g, np.float64).ravel() for g in gradients])
    return np.concatenate([[float(loss)], gradient])


FULL = [
    Case("burgers_8x20", 20, 8, 10_000),
    Case("burgers_8x20_adam", 20, 8, 10_000, step=True),
    Case("burgers_4x128", 128, 4, 10_000),
]
SMOKE = [
    Case("burgers_8x20", 5, 2, 200),
    Case("burgers_8x20_adam", 5, 2, 200, step=True),
    Case("burgers_4x128", 8, 2, 200),
]
