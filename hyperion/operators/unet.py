"""A UNet of ConvNeXt blocks: an operator for fields whose fronts and waves a few Fourier modes do not hold."""

import itertools
from collections.abc import Callable
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_activation, as_count
from hyperion.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from hyperion.nn.module import Module, parameter
from hyperion.operators.fno import PointwiseMLP
from hyperion.operators.spectral import Pointwise, fields

__all__ = ["ConvNeXtBlock", "ConvNeXtUNet"]


class _ChannelNorm(Module):
    """Return x with mean 0 and variance 1 over the channels of each point, times weight, plus bias."""

    def __init__(self, width: int, dtype: Any) -> None:
        self.weight, self.bias = parameter(hp.ones((width,), dtype=dtype)), parameter(hp.zeros((width,), dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return hp.layer_norm(x, self.weight, self.bias, axis=1)


class ConvNeXtBlock(Module):
    """Return x + scale * mlp(norm(conv(x))): a convolution of each channel alone, then a network of the channels of each point.

    kernel: odd, samples of the convolution along each axis.  expansion: width of the hidden layer, times `width`.
    scale: one number for each channel, to begin with.  periodic: whether fields repeat beyond their ends; otherwise there are zeros.
    Source: Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545, section 2.

    >>> ConvNeXtBlock(8, axes=2)(hp.ones((1, 8, 8, 8))).shape
    (1, 8, 8, 8)
    """

    def __init__(
        self, width: int, axes: int = 2, kernel: int = 7, expansion: int = 4, scale: float = 0.1, periodic: bool = False,
        activation: Callable[..., Any] = hp.gelu, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        as_count(width, "ConvNeXtBlock(width)")
        if as_count(kernel, "ConvNeXtBlock(kernel)") % 2 == 0:
            raise InputError(f"ConvNeXtBlock(kernel): kernel={kernel} must be odd, so that the field keeps its size")
        if axes not in (1, 2):
            raise InputError(f"ConvNeXtBlock(axes): axes={axes!r}; give 1 or 2")
        as_activation(activation, "ConvNeXtBlock")
        convolution = Conv1d if axes == 1 else Conv2d
        self.mix = convolution(
            width, width, kernel, padding=kernel // 2, groups=width, padding_mode="circular" if periodic else "zeros", dtype=dtype,
            generator=generator)
        self.norm = _ChannelNorm(width, dtype)
        self.mlp = PointwiseMLP(width, as_count(expansion, "ConvNeXtBlock(expansion)") * width, width, activation, dtype, generator)
        self.scale = parameter(hp.full((width, *(1,) * axes), scale, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (batch, width, *space), changed."""
        return x + self.scale * self.mlp(self.norm(self.mix(x)))


class ConvNeXtUNet(Module):
    """A UNet of ConvNeXt blocks: (batch, inputs, *space) to (batch, outputs, *space) over a pyramid of grids.

    width: channels of the finest grid; each coarser one has twice as many.  levels: how often each axis is halved: its length must be a
    multiple of 2^levels.  blocks: at each level on the way down and on the way up.  axes: of space, 1 or 2.  kernel, periodic: as in
    `ConvNeXtBlock`. Weights serve other grids too, but the kernel covers a number of samples, not a length: it is an operator of one grid.
    Raises: ShapeError for grids that cannot be halved so often, other channels or axes; InputError for sizes below 1.
    Source: Ronneberger et al. 2015, arXiv:1505.04597; Liu et al. 2022, arXiv:2201.03545.

    >>> ConvNeXtUNet(1, 2, width=8, levels=2, blocks=1)(hp.ones((1, 1, 16, 24))).shape
    (1, 2, 16, 24)
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 32, levels: int = 3, blocks: int = 2, axes: int = 2, kernel: int = 7,
        periodic: bool = False, activation: Callable[..., Any] = hp.gelu, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        for name, value in (("inputs", inputs), ("outputs", outputs), ("width", width), ("levels", levels), ("blocks", blocks)):
            as_count(value, f"ConvNeXtUNet({name})")
        if axes not in (1, 2):
            raise InputError(f"ConvNeXtUNet(axes): axes={axes!r} must be 1 or 2, the axes of space")
        shared = {"dtype": dtype, "generator": generator}
        options = {"axes": axes, "kernel": kernel, "periodic": periodic, "activation": activation, **shared}
        self.inputs, self.levels, self.axes = inputs, levels, axes
        widths = [width * 2**i for i in range(levels + 1)]
        halve, double = (Conv1d, ConvTranspose1d) if axes == 1 else (Conv2d, ConvTranspose2d)
        self.first = Pointwise(inputs, width, **shared)
        self.down = [[ConvNeXtBlock(n, **options) for _ in range(blocks)] for n in widths]
        self.coarser = [halve(a, b, 2, stride=2, **shared) for a, b in itertools.pairwise(widths)]
        self.norms = [_ChannelNorm(n, dtype) for n in widths[:-1]]
        self.finer = [double(b, a, 2, stride=2, **shared) for a, b in itertools.pairwise(widths)]
        self.join = [Pointwise(2 * n, n, **shared) for n in widths[:-1]]
        self.up = [[ConvNeXtBlock(n, **options) for _ in range(blocks)] for n in widths[:-1]]
        self.head = Pointwise(width, outputs, **shared)

    def forward(self, x: Any) -> Tensor:
        """Return x, (batch, inputs, *space), as (batch, outputs, *space)."""
        x = fields(x, self.inputs, self.axes, "ConvNeXtUNet")
        if any(n % 2**self.levels for n in x.shape[2:]):
            raise ShapeError(
                f"ConvNeXtUNet(levels={self.levels}): x has shape {x.shape}; each axis of space must be a multiple of {2**self.levels}: "
                "pad it, or use fewer levels"
            )
        kept, x = [], self.first(x)
        for level, blocks in enumerate(self.down):
            for block in blocks:
                x = block(x)
            if level < self.levels:
                kept.append(x)
                x = self.coarser[level](self.norms[level](x))
        for level in reversed(range(self.levels)):
            x = self.join[level](hp.concat([kept.pop(), self.finer[level](x)], axis=1))
            for block in self.up[level]:
                x = block(x)
        return self.head(x)
