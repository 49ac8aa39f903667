"""Fourier neural operators."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import is_floating
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device
from hyperion.nn.arguments import as_activation
from hyperion.nn.module import Module, parameter
from hyperion.operators.spectral import Pointwise, SpectralConv, as_sizes, as_width, fields

__all__ = ["FNO", "FourierBlock", "PointwiseMLP", "with_coordinates"]


def with_coordinates(x: Tensor) -> Tensor:
    """Return fields with the coordinates of their points as more channels: j / n along each axis of space, from 0 to below 1.

    x: (batch, channels, *space).  Returns: (batch, channels + axes of space, *space).

    >>> with_coordinates(hp.zeros((1, 1, 4)))[0, 1]
    Tensor (4,) float32, cpu: [0.   0.25 0.5  0.75]
    """
    space = x.shape[2:]
    points = Tensor(_coordinates(space, x.dtype if is_floating(x.dtype) else np.dtype(np.float32), x.device))
    return hp.concat([x, hp.broadcast_to(points, (x.shape[0], *points.shape))], axis=1)


@functools.lru_cache(maxsize=16)
def _coordinates(space: tuple[int, ...], dtype: Any, place: str) -> Any:
    """Return j / n along each axis, (axes of space, *space); made once: every step asks for them."""
    axes = [np.arange(n) / n for n in space]
    return device.to_device(np.stack(np.broadcast_arrays(*np.ix_(*axes))).astype(dtype), place)


def has_hooks(*modules: Module) -> bool:
    """Tell whether something is called after one of the modules, which must then be called themselves.

    >>> has_hooks(PointwiseMLP(1, 2, 1))
    False
    """
    return any(module.__dict__.get("_hooks") for module in modules)


class PointwiseMLP(Module):
    """Return the channels of each point mapped by a network with one hidden layer.

    >>> PointwiseMLP(3, 8, 2)(hp.ones((5, 3, 4, 4))).shape
    (5, 2, 4, 4)
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, activation: Callable[..., Any] = hp.gelu, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.first = Pointwise(inputs, hidden, dtype=dtype, generator=generator)
        self.second = Pointwise(hidden, outputs, dtype=dtype, generator=generator)
        self.activation = activation

    def forward(self, x: Any, added: Any = None) -> Tensor:
        """Return x, (batch, inputs, *space), as (batch, outputs, *space); plus `added`, of that shape."""
        x = as_tensor(x)
        if has_hooks(self.first, self.second) or x.ndim < 3 or x.shape[1] != self.first.inputs:
            return self.second(self.activation(self.first(x)), added)
        return hp.pointwise_network(x, self.layers(added=added))

    def layers(self, **last: Any) -> list[hp.PointLayer]:
        """Return its layers for `hyperion.pointwise_network`.  last: what else the second one has."""
        first, second = self.first, self.second
        return [hp.PointLayer(first.weight, first.bias, activation=self.activation), hp.PointLayer(second.weight, second.bias, **last)]


class FourierBlock(Module):
    """Return activation(mlp(h) + gate x) where h = activation(spectral(x) + skip(x)): a layer of a Fourier neural operator.

    mlp: width of its hidden layer, as a portion of `width`; None leaves it and the gate (one number for each channel) out: the layer of
    Li et al., activation(spectral(x) + skip(x)).  last: leaves out the activations of h and at the end.
    Source: Li et al. 2021, arXiv:2010.08895, eq. 2; the network and gate: Kossaifi et al. 2024, arXiv:2310.00120.

    >>> FourierBlock(4, modes=(4, 4))(hp.ones((1, 4, 8, 8))).shape
    (1, 4, 8, 8)
    """

    def __init__(
        self, width: int, modes: Any, mlp: float | None = 0.5, rank: Any = None, activation: Callable[..., Any] = hp.gelu,
        last: bool = False, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.activation, self.last = as_activation(activation, "FNO"), last
        self.spectral = SpectralConv(width, width, modes, rank=rank, dtype=dtype, generator=generator)
        self.skip = Pointwise(width, width, bias=False, dtype=dtype, generator=generator)
        self.mlp = self.gate = None
        if mlp is not None:
            self.mlp = PointwiseMLP(width, _portion(mlp, width, "FNO(mlp)"), width, activation, dtype, generator)
            self.gate = parameter(hp.ones((width, *(1,) * len(self.spectral.modes)), dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (batch, width, *space), mapped."""
        spectral, mlp, activation = self.spectral, self.mlp, None if self.last else self.activation
        if has_hooks(spectral, self.skip, *(() if mlp is None else (mlp, mlp.first, mlp.second))):
            out = self.skip(x, spectral(x))
            out = out if activation is None else activation(out)
            out = out if mlp is None else mlp(out, self.gate * x)
            return out if activation is None or mlp is None else activation(out)
        layers = [hp.PointLayer(self.skip.weight, spectral.bias, modes=spectral.mixed(x), activation=activation)]
        layers += [] if mlp is None else mlp.layers(gate=self.gate, activation=activation)
        return hp.pointwise_network(x, layers)


def _portion(ratio: Any, width: int, what: str) -> int:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0.0 < ratio < math.inf or round(ratio * width) < 1:
        raise InputError(f"{what}={ratio!r} must be a number above 0, of which {width} times is 1 or more")
    return round(ratio * width)


class FNO(Module):
    """A Fourier neural operator: a map of functions on a grid, trained on one grid and evaluated on any that has its frequencies.

    x, (batch, inputs, *space), is given coordinates, lifted to `width` channels, passed through `layers` FourierBlocks, and projected to
    (batch, outputs, *space).

    modes: frequencies to keep along each axis of space, both signs together (`SpectralConv`); their number is that of the axes, 1 to 3.
    lifting, projection: width of the hidden layers of both pointwise networks, times `width`.
    mlp: that of the network in each block; None: blocks as in Li et al.
    grid: whether coordinates, from 0 to 1, are given as channels: without them the map commutes with translations on the torus.
    padding: portion of each axis (one number, or one for each) of zeros to put on both sides, for functions that are not periodic.
    rank: None, or weights are factorised: a fraction of the parameters, or ranks (`Tucker`).
    activation: any function of a Tensor.
    With these defaults it is neuraloperator 2.0's FNO with n_modes=modes, hidden_channels=width, and has as many parameters, a complex
    one counted once; without the mlp, neuraloperator applies its activation twice.
    Raises: ShapeError for other channels or axes, or a grid coarser than the modes; InputError for sizes below 1.
    Source: Li et al. 2021, arXiv:2010.08895; Kossaifi et al. 2024, arXiv:2310.00120.

    >>> model = FNO(modes=(8, 8), width=16, layers=2, inputs=1, outputs=1)
    >>> model(hp.ones((1, 1, 16, 16))).shape, model(hp.ones((1, 1, 33, 64))).shape
    ((1, 1, 16, 16), (1, 1, 33, 64))
    >>> model
    FNO, 22,849 parameters
    """

    def __init__(
        self, modes: Any = (12, 12), width: int = 32, layers: int = 4, inputs: int = 1, outputs: int = 1, lifting: float = 2.0,
        projection: float = 2.0, mlp: float | None = 0.5, grid: bool = True, padding: Any = 0.0, rank: Any = None,
        activation: Callable[..., Any] = hp.gelu, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.modes = as_sizes(modes, "FNO(modes)")
        for name, count in (("width", width), ("layers", layers), ("inputs", inputs), ("outputs", outputs)):
            as_width(count, f"FNO({name})")
        axes = len(self.modes)
        self.inputs, self.outputs, self.grid, self.padding = inputs, outputs, bool(grid), _paddings(padding, axes)
        shared = {"activation": activation, "dtype": dtype, "generator": generator}
        given = inputs + axes * self.grid
        self.lifting = PointwiseMLP(given, _portion(lifting, width, "FNO(lifting)"), width, **shared)
        self.blocks = [FourierBlock(width, self.modes, mlp, rank, last=i == layers - 1, **shared) for i in range(layers)]
        self.projection = PointwiseMLP(width, _portion(projection, width, "FNO(projection)"), outputs, **shared)

    def forward(self, x: Any) -> Tensor:
        """Return the image of functions x, (batch, inputs, *space), on the same grid: (batch, outputs, *space)."""
        x = fields(x, self.inputs, len(self.modes), "FNO")
        added = [round(p * n) for p, n in zip(self.padding, x.shape[2:], strict=True)]
        if any(m > n + 2 * p for m, n, p in zip(self.modes, x.shape[2:], added, strict=True)):
            raise ShapeError(
                f"FNO(modes={self.modes}): x has shape {x.shape}; each axis of space must have as many samples as there are modes: "
                "evaluate on a finer grid, or make the FNO with fewer modes"
            )
        x = self.lifting(with_coordinates(x) if self.grid else x)
        if any(added):
            x = hp.pad(x, ((0, 0), (0, 0), *((p, p) for p in added)))
        for block in self.blocks:
            x = block(x)
        if any(added):
            x = x[(slice(None), slice(None), *(slice(p, n - p) for p, n in zip(added, x.shape[2:], strict=True)))]
        return self.projection(x)


def _paddings(value: Any, axes: int) -> tuple[float, ...]:
    given = tuple(value) if isinstance(value, tuple | list) else (value,) * axes
    if len(given) != axes or any(isinstance(p, bool) or not isinstance(p, int | float) or not 0.0 <= p <= 1.0 for p in given):
        raise InputError(f"FNO(padding): padding={value!r} must be a number from 0 to 1, or one for each of the {axes} axes of space")
    return given
