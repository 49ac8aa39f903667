"""Cases of the Fourier neural operators, and what all systems share: the network's sizes, its weights, data."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """A training step of an FNO: forward, relative L2 loss, backward, Adam.

    modes: both signs together, as neuraloperator counts them.  mlp: whether layers have a network and a gate, as neuraloperator's; or
    none, as those of Li et al.
    """

    name: str
    modes: tuple[int, ...]
    width: int
    layers: int
    space: tuple[int, ...]
    batch: int
    mlp: bool = True

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, (batch, 1, *space) float32."""
        random = np.random.default_rng(1)
        return tuple(random.standard_normal((self.batch, 1, *self.space), np.float32) for _ in range(2))

    def weights(self) -> dict[str, np.ndarray]:
        """Return first weights by name: pointwise matrices (outputs, inputs), biases, complex (*kept, inputs, outputs) of the layers."""
        random, shapes = np.random.default_rng(2), {}
        kept = (*self.modes[:-1], self.modes[-1] // 2 + 1)

        def pair(name: str, inputs: int, hidden: int, outputs: int) -> None:
            shapes.update({f"{name}.first.weight": (hidden, inputs), f"{name}.first.bias": (hidden, 1),
                           f"{name}.second.weight": (outputs, hidden), f"{name}.second.bias": (outputs, 1)})

        pair("lifting", 1 + len(self.space), 2 * self.width, self.width)
        for i in range(self.layers):
            shapes[f"blocks.{i}.spectral.weight"] = (*kept, self.width, self.width)
            shapes[f"blocks.{i}.spectral.bias"] = (self.width, *(1,) * len(self.space))
            shapes[f"blocks.{i}.skip.weight"] = (self.width, self.width)
            if self.mlp:
                pair(f"blocks.{i}.mlp", self.width, self.width // 2, self.width)
                shapes[f"blocks.{i}.gate"] = (self.width, *(1,) * len(self.space))
        pair("projection", self.width, 2 * self.width, 1)
        found = {}
        for name, shape in shapes.items():
            scale = 1.0 / np.sqrt(self.width)
            found[name] = (scale * random.standard_normal(shape)).astype(np.float32)
            if name.endswith("spectral.weight"):
                found[name] = found[name] + 1j * (scale * random.standard_normal(shape)).astype(np.float32)
        return found


FULL = [
    Case("fno1d_1024", (32,), 64, 4, (1024,), 20),
    Case("fno2d_64", (24, 24), 32, 4, (64, 64), 20),
    Case("fno2d_85", (24, 24), 32, 4, (85, 85), 20),
]
SMOKE = [
    Case("fno1d_1024", (8,), 4, 2, (32,), 2),
    Case("fno2d_64", (4, 4), 4, 2, (8, 8), 2),
    Case("fno2d_85", (4, 4), 4, 2, (9, 9), 2),
]

GPU = [     # frequencies to 16; of the 3-D case as in Li et al.: width 20, 8 frequencies, 12 in time
    Case("fno2d_128", (32, 32), 64, 4, (128, 128), 20, mlp=False),
    Case("fno2d_64", (32, 32), 64, 4, (64, 64), 20, mlp=False),
    Case("fno1d_1024", (32,), 64, 4, (1024,), 20, mlp=False),
    Case("fno3d", (16, 16, 16), 20, 4, (64, 64, 40), 10, mlp=False),
    Case("fno2d_128_mlp", (32, 32), 64, 4, (128, 128), 20),
    Case("fno2d_64_mlp", (32, 32), 64, 4, (64, 64), 20),
]
