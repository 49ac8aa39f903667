"""Parts that networks repeat: feed-forward blocks, multilayer perceptrons, UNets."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_activation, as_count
from hyperion.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from hyperion.nn.dropout import Dropout
from hyperion.nn.linear import Linear
from hyperion.nn.module import Module
from hyperion.nn.normalization import GroupNorm

__all__ = ["MLP", "FeedForward", "SwiGLU", "UNet1d", "UNet2d"]


class FeedForward(Module):
    """Return the map up to `hidden` numbers, an activation, and the map back: the second half of a transformer block.

    hidden: None: 4 width.  activation: any function of a Tensor.  dropout: its probability, at the end.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.3.

    >>> FeedForward(8)(hp.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self, width: int, hidden: int | None = None, activation: Callable[..., Any] = hp.gelu, bias: bool = True, dropout: float = 0.0,
        dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        inner = 4 * as_count(width, "FeedForward(width)") if hidden is None else as_count(hidden, "FeedForward(hidden)")
        self.up = Linear(width, inner, bias, dtype, generator)
        self.down = Linear(inner, width, bias, dtype, generator)
        self.activation = as_activation(activation, "FeedForward")
        self.dropout = Dropout(dropout, generator)

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., width), mapped."""
        return self.dropout(self.down(self.activation(self.up(x))))


class SwiGLU(Module):
    """Return down(silu(gate(x)) * up(x)): a feed-forward block with a gate, as Llama has it.

    hidden: None: 8/3 width, rounded up to a multiple of 8: as many parameters as FeedForward has.
    Source: Shazeer 2020, "GLU variants improve transformer", arXiv:2002.05202.

    >>> SwiGLU(8, 16)(hp.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self, width: int, hidden: int | None = None, bias: bool = False, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        as_count(width, "SwiGLU(width)")
        inner = -(-8 * width // 24) * 8 if hidden is None else as_count(hidden, "SwiGLU(hidden)")
        self.gate = Linear(width, inner, bias, dtype, generator)
        self.up = Linear(width, inner, bias, dtype, generator)
        self.down = Linear(inner, width, bias, dtype, generator)

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., width), mapped."""
        return self.down(hp.silu(self.gate(x)) * self.up(x))


class MLP(Module):
    """Return x passed through linear layers of the given sizes, with an activation between them (none after the last).

    sizes: [inputs, hidden..., outputs], two or more.  activation: any function of a Tensor.

    >>> MLP([2, 20, 20, 1])(hp.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self, sizes: Sequence[int], activation: Callable[..., Any] = hp.tanh, bias: bool = True, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(sizes, list | tuple) or len(sizes) < 2:
            raise InputError(f"MLP(sizes): sizes={sizes!r} must be a list of two or more numbers, [inputs, hidden..., outputs]")
        counts = [as_count(n, "MLP(sizes)") for n in sizes]
        self.layers = [Linear(a, b, bias, dtype, generator) for a, b in itertools.pairwise(counts)]
        self.activation = as_activation(activation, "MLP")

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class _Pair(Module):
    """Two convolutions of width 3, each with group normalisation and an activation; they keep the size."""

    def __init__(self, rank: int, inputs: int, outputs: int, groups: int, activation: Callable[..., Any], options: dict[str, Any]) -> None:
        convolution = Conv1d if rank == 1 else Conv2d
        plain = {key: options[key] for key in ("layout", "dtype")}
        self.first = convolution(inputs, outputs, 3, padding=1, bias=False, **options)
        self.first_norm = GroupNorm(groups, outputs, **plain)
        self.second = convolution(outputs, outputs, 3, padding=1, bias=False, **options)
        self.second_norm = GroupNorm(groups, outputs, **plain)
        self.activation = activation

    def forward(self, x: Any) -> Tensor:
        """Return x with other channels."""
        x = self.activation(self.first_norm(self.first(x)))
        return self.activation(self.second_norm(self.second(x)))


class _UNet(Module):
    """A UNet of `rank` axes of space; see UNet1d."""

    rank = 0

    def __init__(
        self, inputs: int, outputs: int, width: int = 32, levels: int = 3, groups: int = 8, activation: Callable[..., Any] = hp.silu,
        padding_mode: str = "zeros", layout: str | None = None, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        as_count(levels, f"{name}(levels)")
        as_activation(activation, name)
        if as_count(width, f"{name}(width)") % as_count(groups, f"{name}(groups)"):
            raise ShapeError(f"{name}: groups={groups} must divide width={width}")
        self.levels, self.last = levels, layout is not None and layout.endswith("C")
        options = {"padding_mode": padding_mode, "layout": layout, "dtype": dtype, "generator": generator}
        plain = {key: options[key] for key in ("layout", "dtype", "generator")}
        widths = [width * 2**i for i in range(levels + 1)]
        up, point = (ConvTranspose1d, Conv1d) if self.rank == 1 else (ConvTranspose2d, Conv2d)
        self.first = _Pair(self.rank, inputs, width, groups, activation, options)
        self.down = [_Pair(self.rank, a, b, groups, activation, options) for a, b in itertools.pairwise(widths)]
        self.grow = [up(b, a, 2, stride=2, **plain) for a, b in itertools.pairwise(widths)]
        self.up = [_Pair(self.rank, 2 * a, a, groups, activation, options) for a in widths[:-1]]
        self.head = point(width, outputs, 1, **plain)

    def forward(self, x: Any) -> Tensor:
        """Return x, (batch, inputs, *space) or with channels last, mapped to as many samples of `outputs` channels."""
        x = as_tensor(x)
        space = x.shape[1:-1] if self.last else x.shape[2:]
        if x.ndim != self.rank + 2 or any(n < 1 or n % 2**self.levels for n in space):
            raise ShapeError(
                f"{type(self).__name__}(levels={self.levels}): x has shape {x.shape}; it must have {self.rank} axes of space, each a "
                f"multiple of {2**self.levels}: pad it, or use fewer levels"
            )
        channels = -1 if self.last else 1
        kept = [self.first(x)]
        for part in self.down:
            kept.append(part(self._halved(kept[-1])))
        x = kept.pop()
        for grow, part in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = part(hp.concat([kept.pop(), grow(x)], axis=channels))
        return self.head(x)

    def _halved(self, x: Tensor) -> Tensor:
        return (hp.avg_pool1d if self.rank == 1 else hp.avg_pool2d)(x, 2, layout=self.first.first.layout)


class UNet1d(_UNet):
    """A UNet along (batch, inputs, length): a pyramid of convolutions down and up again, with what each level saw added on the way up.

    width: channels of the finest level, a multiple of groups; each coarser one has twice as many.  levels: how often the length is halved;
    it must be a multiple of 2^levels.  Down by means of pairs, up by transposed convolutions; two convolutions with group normalisation in
    groups of channels at each level.  padding_mode: as in `Conv1d`, "circular" for periodic fields.  layout: as in `Conv1d`.
    Source: Ronneberger, Fischer and Brox 2015, arXiv:1505.04597.

    >>> UNet1d(1, 2, width=8, levels=2)(hp.ones((1, 1, 16))).shape
    (1, 2, 16)
    """

    rank = 1


class UNet2d(_UNet):
    """A UNet over (batch, inputs, height, width); see `UNet1d`.

    >>> UNet2d(1, 1, width=8, levels=2)(hp.ones((1, 1, 8, 8))).shape
    (1, 1, 8, 8)
    """

    rank = 2
