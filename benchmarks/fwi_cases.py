"""The inversion of Marmousi-II that every system does: models, geometry, filters, measure of success. NumPy only, as wave_cases.

The models are not shipped. The environment variables MARMOUSI_TRUE and MARMOUSI_START name their files: float32, 500 x 174 nodes at 20 m,
depth fastest (fwi_marmousi.py sets them).
"""

import functools
import os
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One inversion. Depth is the first axis; positions are in nodes."""

    name: str
    shape: tuple[int, int] = (174, 500)
    steps: int = 2000
    step: float = 2e-3  # [s]
    spacing: float = 20.0  # [m]
    shots: int = 16
    frequency: float = 5.0  # [Hz], peak of the Ricker wavelet
    width: int = 20  # absorbing cells
    order: int = 8
    depth: int = 2  # node of sources and receivers
    water: int = 23  # rows that stay as they are
    bounds: tuple[float, float] = (1400.0, 5000.0)  # [m/s]

    @property
    def cell_steps(self) -> float:
        return float(np.prod(self.shape)) * self.steps * self.shots

    @functools.cached_property
    def true(self) -> np.ndarray:
        return self.read("MARMOUSI_TRUE")

    @functools.cached_property
    def start(self) -> np.ndarray:
        return self.read("MARMOUSI_START")

    def read(self, variable: str) -> np.ndarray:
        values = np.fromfile(os.environ[variable], "<f4")
        if values.size != np.prod(self.shape):
            raise SystemExit(f"{variable}={os.environ[variable]}: {values.size} values, not {self.shape[1]} x {self.shape[0]} float32")
        return np.ascontiguousarray(values.reshape(self.shape[::-1]).T)

    def error(self, model: np.ndarray) -> float:
        """Return the relative model error: the L2 norm of the difference over that of the true model."""
        return float(np.linalg.norm(model - self.true) / np.linalg.norm(self.true))

    def wavelet(self) -> np.ndarray:
        """Return the source samples (steps,), a point source density before division by the cell's area."""
        argument = (np.pi * self.frequency * (np.arange(self.steps) * self.step - 1.5 / self.frequency)) ** 2
        return ((1.0 - 2.0 * argument) * np.exp(-argument)).astype(np.float32)

    def sources(self) -> np.ndarray:
        """Return the nodes (shots, 1, 2) of the sources: evenly along the surface."""
        columns = np.linspace(0, self.shape[1] - 1, self.shots).round().astype(int)
        return np.stack([np.full(self.shots, self.depth), columns], axis=1)[:, None]

    def receivers(self) -> np.ndarray:
        """Return the nodes (shots, receivers, 2): one in each column."""
        line = np.stack([np.full(self.shape[1], self.depth), np.arange(self.shape[1])], axis=1)
        return np.broadcast_to(line, (self.shots, *line.shape)).copy()


FULL = [Case("marmousi_gradient")]
SMOKE = [Case("marmousi_gradient", steps=700, shots=2)]
