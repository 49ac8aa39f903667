"""The wave cases: one description that every worker turns into its system's own call. NumPy only: workers live in several environments."""

from dataclasses import dataclass

import numpy as np

WIDTH = 20  # cells of the absorbing boundary on every side, for every system; they are not counted in the throughput
REFERENCE_SPEED = 1000.0  # [m/s], of the sponge profile
LIGHT = 299792458.0  # [m/s]
EVERYONE = ("hyperion", "hyperion-moving", "deepwave", "devito", "jax")


@dataclass(frozen=True)
class Case:
    """One problem. Positions are in nodes of the inner grid; all of them lie on nodes, so that no system interpolates.

    equation: "acoustic", "elastic" (pressure is sent and heard) or "maxwell" (e_z is sent and heard). exact: whether a gradient must be
    exact to rounding. device: where it runs. systems: that take part.
    """

    name: str
    shape: tuple[int, ...]
    steps: int
    shots: int = 1
    gradient: bool = False
    spacing: float = 10.0  # [m], on every axis
    step: float = 1e-3  # [s]
    frequency: float = 12.0  # [Hz], peak of the Ricker wavelet
    equation: str = "acoustic"
    order: int = 8
    exact: bool = False
    device: str = "cpu"
    systems: tuple[str, ...] = EVERYONE

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def cell_steps(self) -> float:
        """Cells x shots x steps, absorbing cells not counted; a gradient counts its forward and adjoint runs once."""
        return float(np.prod(self.shape)) * self.steps * self.shots

    def speed(self) -> np.ndarray:
        """Return the model (float32, [m/s]): 2000 at the top to 3500 at the bottom, with smooth lenses of 5 percent. P speed if elastic."""
        axes = np.meshgrid(*(np.linspace(0.0, 1.0, n) for n in self.shape), indexing="ij", sparse=True)
        lenses = np.prod(np.broadcast_arrays(*(np.cos(6.0 * np.pi * a) for a in axes)), axis=0)
        return np.ascontiguousarray((2000.0 + 1500.0 * axes[0]) * (1.0 + 0.05 * lenses), dtype=np.float32)

    def s_speed(self) -> np.ndarray:
        """Return the S speed of an elastic model (float32, [m/s])."""
        return (self.speed() / 1.75).astype(np.float32)

    def density(self) -> np.ndarray:
        """Return the density of an elastic model (float32, [kg/m^3])."""
        return np.full(self.shape, 2000.0, np.float32)

    def permittivity(self) -> np.ndarray:
        """Return the relative permittivity (float32): 1.5 at the top to 3 at the bottom, with smooth lenses of 5 percent."""
        return (1.5 * self.speed() / 2000.0).astype(np.float32)

    def wavelet(self) -> np.ndarray:
        """Return the source samples (steps,), float32: a point source density, before division by the cell's volume."""
        argument = (np.pi * self.frequency * (np.arange(self.steps) * self.step - 1.5 / self.frequency)) ** 2
        return ((1.0 - 2.0 * argument) * np.exp(-argument)).astype(np.float32)

    def sources(self) -> np.ndarray:
        """Return the nodes (shots, 1, ndim) of the sources: spread over the middle half, where no boundary is felt within the run."""
        depth, middle = min(100, self.shape[0] // 2), [n // 2 for n in self.shape[1:]]
        nodes = np.array([[[depth, *middle]]] * self.shots)
        if self.shots > 1:
            nodes[:, 0, -1] = np.linspace(0.3 * self.shape[-1], 0.7 * self.shape[-1], self.shots).astype(int)
        return nodes

    def receivers(self) -> np.ndarray:
        """Return the nodes (shots, receivers, ndim): a line (in 3-D a plane) at the source's depth less 4 cells."""
        depth = self.sources()[0, 0, 0] - 4
        if self.ndim == 2:
            low, high = (0, self.shape[1]) if self.shots == 1 else (self.shape[1] // 5, 4 * self.shape[1] // 5)
            line = np.array([(depth, x) for x in range(low, high)])
        else:
            line = np.array([(depth, y, x) for y in range(0, self.shape[1], 5) for x in range(0, self.shape[2], 5)])
        return np.broadcast_to(line, (self.shots, *line.shape)).copy()

    def sponge(self) -> np.ndarray:
        """Return the damping [s/m^2] of m p_tt + damping p_t - laplace(p) = s on the grown grid: the profile of Devito's examples."""
        profile = np.zeros([n + 2 * WIDTH for n in self.shape])
        for axis, n in enumerate(profile.shape):
            depth = np.clip((WIDTH - np.minimum(np.arange(n), np.arange(n)[::-1])) / WIDTH, 0.0, 1.0)
            line = depth - np.sin(2.0 * np.pi * depth) / (2.0 * np.pi)
            profile += line.reshape([-1 if a == axis else 1 for a in range(self.ndim)])
        return (1.5 * np.log(1000.0) / WIDTH * profile / (self.spacing * REFERENCE_SPEED)).astype(np.float32)

    def grown(self, values: np.ndarray) -> np.ndarray:
        """Return an array of the inner grid continued by its edge values over the absorbing cells."""
        return np.pad(values, WIDTH, mode="edge")

    def cropped(self, values: np.ndarray) -> np.ndarray:
        """Return the transpose of `grown`: what lies on the absorbing cells is added to the edge they were copied from."""
        for axis in range(self.ndim):
            values = np.moveaxis(values, axis, 0)
            inner = values[WIDTH:-WIDTH].copy()
            inner[0] += values[:WIDTH].sum(axis=0)
            inner[-1] += values[-WIDTH:].sum(axis=0)
            values = np.moveaxis(inner, 0, axis)
        return values


def weights(order):
    """Return the central weights of the second derivative, by Taylor expansion."""
    half = order // 2
    offsets = np.arange(-half, half + 1)
    powers = np.array([offsets.astype(float) ** k for k in range(order + 1)])
    return np.linalg.solve(powers, 2.0 * (np.arange(order + 1) == 2))[half:]


def suite(full: bool) -> list[Case]:
    """Return all cases, or small ones that only show that everything runs."""

    def size(*shape: int) -> tuple[int, ...]:
        return shape if full else tuple(100 if len(shape) == 2 else 40 for _ in shape)

    def steps(count: int) -> int:
        return count if full else min(count, 150)

    deep = {"step": 8e-4, "frequency": 15.0}
    sampled = (*EVERYONE, "deepwave-sampled")
    elastic = {"step": 1e-3, "frequency": 8.0, "equation": "elastic", "order": 4}
    # 3-D Maxwell: Yee's scheme, 1 cm cells, 0.8 of the step that is stable in vacuum.
    light = {"spacing": 0.01, "step": 0.8 * 0.01 / LIGHT / 3**0.5, "frequency": 1.5e9, "equation": "maxwell", "order": 2}
    return [
        Case("acoustic_2d", size(1000, 1000), steps(500)),
        Case("acoustic_2d_large", size(4000, 4000), steps(60), systems=("hyperion", "hyperion-moving", "one-sweep")),
        Case("acoustic_2d_8_shots", size(500, 500), steps(500), shots=8),
        Case("acoustic_2d_gradient", size(1000, 1000), steps(500), gradient=True, systems=sampled),
        Case("acoustic_2d_gradient_exact", size(1000, 1000), steps(500), gradient=True, exact=True),
        Case("acoustic_3d", size(200, 200, 200), steps(150), **deep),
        Case("acoustic_3d_gradient", size(128, 128, 128), steps(100), gradient=True, **deep),
        Case("elastic_2d", size(600, 600), steps(500), systems=("hyperion", "hyperion-moving", "deepwave", "devito"), **elastic),
        Case("elastic_2d_gradient", size(600, 600), steps(500), gradient=True, systems=("hyperion", "hyperion-moving", "deepwave"),
             **elastic),
        Case("maxwell_3d", size(128, 128, 128), steps(100), systems=("hyperion", "hyperion-moving", "jax"), **light),
    ]


def gpu_suite(full: bool) -> list[Case]:
    """Return the cases for a GPU: sizes that fill it."""

    def size(*shape: int) -> tuple[int, ...]:
        return shape if full else tuple(100 if len(shape) == 2 else 40 for _ in shape)

    def steps(count: int) -> int:
        return count if full else min(count, 50)

    there = {"device": "cuda:0", "systems": ("hyperion", "deepwave")}
    deep = {"step": 8e-4, "frequency": 15.0} | there
    elastic = {"step": 1e-3, "frequency": 8.0, "equation": "elastic", "order": 4} | there
    light = {"spacing": 0.01, "step": 0.8 * 0.01 / LIGHT / 3**0.5, "frequency": 1.5e9, "equation": "maxwell", "order": 2} | there
    return [
        Case("gpu_acoustic_2d_8_shots", size(2000, 2000), steps(1000), shots=8, **there),
        Case("gpu_acoustic_2d", size(2000, 2000), steps(1000), **there),
        Case("gpu_acoustic_2d_gradient", size(2000, 2000), steps(300), shots=8, gradient=True, **there),
        Case("gpu_acoustic_3d", size(400, 400, 400), steps(200), **deep),
        Case("gpu_acoustic_3d_gradient", size(400, 400, 400), steps(150), gradient=True, **deep),
        Case("gpu_elastic_2d", size(2000, 2000), steps(500), shots=8, **elastic),
        Case("gpu_elastic_2d_gradient", size(2000, 2000), steps(200), shots=8, gradient=True, **elastic),
        Case("gpu_maxwell_3d", size(400, 400, 400), steps(100), **light | {"systems": ("hyperion",)}),
    ]


def gpu() -> dict[str, str]:
    """Return what runs the GPU's cases."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    runtime = cupy.cuda.runtime
    return {"name": properties["name"].decode(), "cupy": cupy.__version__, "driver": str(runtime.driverGetVersion()),
            "cuda": str(runtime.runtimeGetVersion())}


FULL, SMOKE = suite(full=True), suite(full=False)
GPU, GPU_SMOKE = gpu_suite(full=True), gpu_suite(full=False)
