"""A model that a network makes: what full-waveform inversion trains then is the network."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hyperion.autograd as hp
from hyperion import nn
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.inversion.checks import is_number, is_whole, refuse_gathers, two_bounds
from hyperion.inversion.fwi import Progress
from hyperion.inversion.misfit import l2
from hyperion.optim import Optimizer
from hyperion.pde import Grid, Survey

__all__ = ["NeuralModel", "coordinates", "decoder", "invert_network"]


def coordinates(grid: Grid) -> hp.Tensor:
    """Return the places of the nodes as inputs of a coordinate network: (nodes, axes), each axis from -1 to 1, float32.

    >>> coordinates(Grid((2, 3), 10.0)).numpy().tolist()
    [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    lines = [np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in grid.shape]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    return hp.asarray(places, device=grid.device)


def decoder(grid: Grid, generator: Generator, width: int = 32, channels: int = 8) -> tuple[nn.Module, hp.Tensor]:
    """Return a convolutional decoder that makes a field of a 2-D grid from a small random one, and that: (1, channels, *grid / 16).

    Four times a 3 x 3 convolution to `width` channels, group normalisation, SiLU and doubling by interpolation: what it fits last is what
    changes from node to node. generator: of the random field; the weights come from `nn.seed`. width: a multiple of 8. Both are on the
    grid's device.
    Raises: InputError for a grid that is not 2-D, or numbers that cannot be.
    Source: Ulyanov, Vedaldi and Lempitsky 2018, "Deep image prior", CVPR; He and Wang 2021, Geophysics 86, V1.

    >>> network, code = decoder(Grid((40, 70), 10.0), Generator(0))
    >>> code.shape, network(code).shape
    ((1, 8, 3, 5), (1, 1, 48, 80))
    """
    if not isinstance(generator, Generator):
        raise InputError(f"decoder(generator={generator!r}): give a hp.random.Generator, which draws the fixed field: Generator(0)")
    if grid.ndim != 2 or not is_whole(width) or width % 8 or not is_whole(channels):
        raise InputError(f"decoder({grid}, width={width!r}, channels={channels!r}): needs a 2-D grid, a width that is a multiple of 8, and "
                         "channels of at least 1")
    parts: list[nn.Module] = []
    for k in range(4):
        parts += [nn.Conv2d(width if k else channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.Activation(hp.silu)]
        parts.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    parts += [nn.Conv2d(width, width, 3, padding=1), nn.Activation(hp.silu), nn.Conv2d(width, 1, 3, padding=1)]
    code = generator.normal((1, channels, *(-(-n // 16) for n in grid.shape)))
    return nn.Sequential(*parts).to(grid.device), code.to(grid.device)


class NeuralModel(nn.Module):
    """Return start + scale * (network(inputs) - what it gave at first), inside bounds: a model of the earth with a network's weights.

    network: a Module: of coordinates (`coordinates`, `nn.SIREN`), or one that makes a field of a fixed input (a decoder).
    inputs: what the network is called with, a Tensor or an array; it is not trained.
    start: the first model, shape of the grid; it is the model until the first step.  bounds: (lower, upper), numbers; nodes outside are
        put on them, and pull no more.  fixed: boolean, True where the model stays as it is (water), or None.
    scale: what an output of 1 changes [unit of the model].
    The network gives (nodes,), (nodes, 1) or a field (..., *space) that is the grid's or larger: its corner is taken.
    Raises: InputError, ShapeError for arguments that cannot be.
    Source: He and Wang 2021, "Reparameterized full-waveform inversion using deep neural networks", Geophysics 86, V1; Zhu et al. 2022,
    "Integrating deep neural networks with full-waveform inversion", Geophysics 87, R93 (start + network, eq. 6); Sun et al. 2023,
    "Implicit seismic full waveform inversion with deep neural representation", J. Geophys. Res. Solid Earth 128 (coordinates, SIREN).

    >>> from hyperion import nn
    >>> grid = Grid((20, 30), 10.0)
    >>> model = NeuralModel(nn.SIREN([2, 16, 16, 1], 10.0), coordinates(grid), np.full(grid.shape, 2000.0, np.float32), (1400.0, 4500.0))
    >>> model().shape, float(model()[3, 4])
    ((20, 30), 2000.0)
    """

    def __init__(
        self, network: Callable[..., Any], inputs: Any, start: Any, bounds: tuple[float, float], fixed: Any = None, scale: float = 1000.0,
    ):
        if not callable(network) or isinstance(network, type):
            raise InputError(f"NeuralModel(network={network!r}): give a Module, such as nn.SIREN([2, 64, 64, 1], 10.0), or a function")
        start, bounds = hp.as_tensor(start).detach(), two_bounds(bounds, "NeuralModel")
        values = devices.to_numpy(start.data)
        fixed = np.zeros(start.shape, bool) if fixed is None else np.asarray(fixed)
        if fixed.shape != start.shape or fixed.dtype.kind != "b":
            raise ShapeError(f"NeuralModel(fixed of shape {fixed.shape}, {fixed.dtype}): give booleans, of the shape {start.shape}")
        free = values[~fixed]
        if not free.size:
            raise InputError("NeuralModel(fixed): is True everywhere, so nothing could change; leave part of the model free")
        if wrong := np.argwhere(~np.isfinite(values)).tolist():
            raise InputError(f"NeuralModel(start): holds NaN or infinite values, {len(wrong)} of {values.size}, first at node {wrong[0]}; "
                             "mend the model")
        if free.min() < bounds[0] or free.max() > bounds[1]:
            raise InputError(f"NeuralModel(start): values {free.min():g} to {free.max():g} leave bounds={bounds}; widen them or clip the "
                             "start")
        if not (is_number(scale) and scale > 0.0):
            raise InputError(f"NeuralModel(scale={scale!r}): must be above 0 [unit of the model]")
        self.network, self.inputs, self.start = network, hp.as_tensor(inputs).detach(), start
        self.bounds, self.scale = bounds, float(scale)
        self.free = hp.asarray(devices.to_device(~fixed, start.device))
        self.first = hp.zeros(start.shape, dtype=start.dtype, device=start.device)
        self.first = self._made().detach()
        if not np.isfinite(devices.to_numpy(self.first.data)).all():
            raise InputError("NeuralModel(network): gives values that are not finite for these inputs; check both")

    def _made(self) -> hp.Tensor:
        """Return what the network makes, in the shape of the grid."""
        shape, out = self.start.shape, hp.as_tensor(self.network(self.inputs))
        nodes = self.start.size
        if out.shape in ((nodes,), (nodes, 1)) or (out.size == nodes and out.shape[-len(shape):] == shape):
            return out.reshape(shape)
        space = out.shape[out.ndim - len(shape):]
        fits = len(space) == len(shape) and out.size == math.prod(space) and all(a >= b for a, b in zip(space, shape, strict=True))
        if not fits:
            raise ShapeError(f"NeuralModel: the network gives shape {out.shape} for a grid of {shape}; give one value for each node")
        return out.reshape(space)[tuple(slice(0, n) for n in shape)]

    def forward(self) -> hp.Tensor:
        """Return the model, (*grid)."""
        changed = hp.clip(self.start.detach() + self.scale * (self._made() - self.first.detach()), *self.bounds)
        return hp.where(self.free, changed, self.start.detach())


def invert_network(
    optimizer: Optimizer, wave: Any, survey: Survey, observed: Any, iterations: int, parameter: str = "speed",
) -> Iterator[Progress]:
    """Return an iterator that makes the iterations of full-waveform inversion with a network as the model.

    optimizer: of a NeuralModel: `optim.LBFGS(model, first_step=0.01)`, `optim.Adam(model, lr=3e-4)`; after an iteration,
        `optimizer.parameters()` is the model of the earth. wave: a Solver. observed: gathers, (shots, receivers, steps).
    Yields a Progress after each iteration, as `FWI.run` does, with the misfit relative to the energy of the data; it ends when the
    optimiser finds no better model.
    Raises: InputError unless the optimiser is of a NeuralModel and `iterations` is at least 1, and for gathers with NaN or of zeros;
        ShapeError for gathers that do not fit.

    >>> from hyperion import optim, pde
    >>> nn.seed(0)
    >>> grid = Grid((20, 20), 25.0)
    >>> wave = pde.Solver(pde.Acoustic(), grid, boundary=pde.CPML(width=8), stepping=pde.Leapfrog(max_speed=3000.0))
    >>> survey = Survey([[[25.0, 250.0]]], [[[25.0, 100.0], [25.0, 400.0]]], pde.ricker(6.0, 0.5, 5e-3))
    >>> model = NeuralModel(nn.SIREN([2, 8, 1], 8.0), coordinates(grid), np.full(grid.shape, 2000.0, np.float32), (1400.0, 3000.0))
    >>> observed = wave.solve(survey, speed=np.full(grid.shape, 2100.0, np.float32))
    >>> steps = list(invert_network(optim.LBFGS(model, first_step=0.01), wave, survey, observed, 3))
    >>> steps[-1].iteration, steps[-1].misfit < steps[0].misfit
    (3, True)
    """
    if not isinstance(optimizer, Optimizer) or not isinstance(optimizer.parameters, NeuralModel) or not is_whole(iterations):
        raise InputError(f"invert_network(optimizer={type(optimizer).__name__}, iterations={iterations!r}): give an optimiser of a "
                         "NeuralModel, such as optim.LBFGS(model), and at least 1 iteration")
    observed = hp.as_tensor(observed).detach().to(wave.grid.device)
    refuse_gathers(observed.to("cpu").numpy(), survey)
    return _iterations(optimizer, wave, survey, observed, iterations, parameter)


def _iterations(
    optimizer: Any, wave: Any, survey: Survey, observed: hp.Tensor, iterations: int, parameter: str
) -> Iterator[Progress]:
    scale = 2.0 / float(hp.sum(hp.square(observed.astype("float64"))))
    evaluations, seconds = 0, 0.0

    def misfit(model: NeuralModel) -> hp.Tensor:
        return scale * l2(wave.solve(survey, **{parameter: model().to(wave.grid.device)}), observed)

    def value_and_grad(model: NeuralModel) -> tuple[Any, Any]:
        nonlocal evaluations
        evaluations += survey.shots
        return hp.value_and_grad(misfit)(model)

    for number in range(1, iterations + 1):
        clock = time.perf_counter()
        value = optimizer.advance(value_and_grad)
        seconds += time.perf_counter() - clock
        yield Progress(1, number, value, evaluations, seconds)
        if optimizer.stalled:
            return
