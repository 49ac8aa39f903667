"""Normalisation layers: numbers brought to mean 0 and variance 1, or to mean square 1, over some axes; then scaled and moved."""

import math
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import is_floating
from hyperion.autograd.ops.convolution import channels_last
from hyperion.autograd.ops.normalization import standardize
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.nn.arguments import as_count, as_fraction
from hyperion.nn.module import Module, parameter

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


def _small(eps: Any, name: str) -> float:
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0.0 <= eps < math.inf:
        raise InputError(f"{name}(eps): eps={eps!r} must be a number, 0 or more")
    return float(eps)


def _sizes(shape: Any, name: str) -> tuple[int, ...]:
    given = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not given:
        raise InputError(f"{name}(shape): shape={shape!r} must name one axis or more")
    return tuple(as_count(n, f"{name}(shape)") for n in given)


def _last_axes(x: Any, shape: tuple[int, ...], name: str) -> tuple[Tensor, tuple[int, ...]]:
    x = as_tensor(x)
    if x.shape[-len(shape):] != shape:
        raise ShapeError(f"{name}({shape}): x has shape {x.shape}; its last axes must be {shape}")
    return x, tuple(range(x.ndim - len(shape), x.ndim))


class LayerNorm(Module):
    """Return x with mean 0 and variance 1 over its last axes, times weight, plus bias.

    shape: of the last axes, a number or several.  eps: added to the variance.
    weight: ones, bias: zeros to begin with, both of that shape; affine=False leaves out both, bias=False the second.
    Raises: ShapeError if x ends in another shape.
    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.

    >>> LayerNorm(2, eps=0.0)([[1.0, 3.0]])[0]
    Tensor (2,) float32, cpu, tracked: [-1.  1.]
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, shape: Any, eps: float = 1e-5, affine: bool = True, bias: bool = True, dtype: Any = None) -> None:
        self.shape, self.eps = _sizes(shape, "LayerNorm"), _small(eps, "LayerNorm")
        self.weight = parameter(hp.ones(self.shape, dtype=dtype)) if affine else None
        self.bias = parameter(hp.zeros(self.shape, dtype=dtype)) if affine and bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x normalised over its last axes."""
        x, axes = _last_axes(x, self.shape, "LayerNorm")
        return hp.layer_norm(x, self.weight, self.bias, axes, self.eps)


class RMSNorm(Module):
    """Return x divided by the root of its mean square over the last axes, times weight.

    shape, eps: as in `LayerNorm`; weight: ones to begin with.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> RMSNorm(2, eps=0.0)([[3.0, 3.0]])[0]
    Tensor (2,) float32, cpu, tracked: [1. 1.]
    """

    weight: Tensor | None

    def __init__(self, shape: Any, eps: float = 1e-6, affine: bool = True, dtype: Any = None) -> None:
        self.shape, self.eps = _sizes(shape, "RMSNorm"), _small(eps, "RMSNorm")
        self.weight = parameter(hp.ones(self.shape, dtype=dtype)) if affine else None

    def forward(self, x: Any) -> Tensor:
        """Return x divided by its size over its last axes."""
        x, axes = _last_axes(x, self.shape, "RMSNorm")
        return hp.rms_norm(x, self.weight, axes, self.eps)


def _places(x: Any, channels: int, layout: str | None, name: str, lowest: int = 2) -> tuple[Tensor, int]:
    """Return x and the axis of its channels."""
    x = as_tensor(x)
    if not is_floating(x.dtype):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be floating: use .astype('float32')")
    last = layout is not None and channels_last(layout, x.ndim - 2, name)
    if x.ndim < lowest:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (batch, channels, *space)")
    axis = x.ndim - 1 if last else 1
    if x.shape[axis] != channels:
        raise ShapeError(f"{name}({channels}): x, shape {x.shape}, has {x.shape[axis]} channels; it must have {channels}")
    return x, axis


class GroupNorm(Module):
    """Return x with mean 0 and variance 1 over each group of channels of each example, times weight, plus bias.

    groups: must divide the channels.  weight: ones, bias: zeros to begin with, (channels,).  layout: as in `Conv2d`.
    Raises: ShapeError if groups do not divide the channels, or x has others.
    Source: Wu and He 2018, arXiv:1803.08494.

    >>> GroupNorm(2, 4)(hp.ones((1, 4, 3))).shape
    (1, 4, 3)
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, groups: int, channels: int, eps: float = 1e-5, affine: bool = True, layout: str | None = None, dtype: Any = None,
    ) -> None:
        self.groups, self.channels = as_count(groups, "GroupNorm(groups)"), as_count(channels, "GroupNorm(channels)")
        if channels % groups:
            raise ShapeError(f"GroupNorm: groups={groups} must divide channels={channels}")
        self.eps, self.layout = _small(eps, "GroupNorm"), layout
        self.weight = parameter(hp.ones((channels,), dtype=dtype)) if affine else None
        self.bias = parameter(hp.zeros((channels,), dtype=dtype)) if affine else None

    def forward(self, x: Any) -> Tensor:
        """Return x, (batch, channels, *space) or with channels last, normalised over groups."""
        x, axis = _places(x, self.channels, self.layout, "GroupNorm")
        each = self.channels // self.groups
        parted = x.reshape((*x.shape[:axis], self.groups, each, *x.shape[axis + 1:]))
        place = (self.groups, each, *(1,) * (x.ndim - 1 - axis))
        axes = tuple(i for i in range(1, parted.ndim) if i != axis)
        return standardize(parted, axes, self.eps, self.weight, self.bias, (self.channels,), place, "GroupNorm")[0].reshape(x.shape)


def by_own_statistics(
    x: Tensor, axes: tuple[int, ...], axis: int, eps: float, weight: Any, bias: Any, name: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x normalised over axes, times weight, plus bias; and the mean and 1 / sqrt(variance + eps).  axis: of the channels.

    Raises: ShapeError if there is only one value for each variance.

    >>> by_own_statistics(as_tensor([[1.0], [3.0]]), (0,), 1, 0.0, None, None, "BatchNorm")[1].shape
    (1, 1)
    """
    if math.prod(x.shape[i] for i in axes) < 2:
        raise ShapeError(
            f"{name}: x has shape {x.shape}; while training it must have more than one value for each channel: give a larger batch, or use "
            "eval()"
        )
    place = (x.shape[axis], *(1,) * (x.ndim - 1 - axis))
    return standardize(x, axes, _small(eps, name), weight, bias, x.shape[axis:axis + 1], place, name)


def follow(running: tuple[Any, Any], mean: Tensor, rstd: Tensor, eps: float, count: int, portion: float, name: str) -> None:
    """Move running statistics, two Tensors of shape (channels,), by a portion towards those of a batch; variances with count - 1.

    >>> running = hp.zeros(1), hp.ones(1)
    >>> follow(running, as_tensor([2.0]), as_tensor([0.5]), 0.0, 2, 0.5, "BatchNorm")
    >>> running
    (Tensor (1,) float32, cpu: [1.], Tensor (1,) float32, cpu: [4.5])
    """
    if not device.is_array(mean.data):
        raise InputError(f"{name}: inside vmap examples have no statistics in common; use eval(), or keep no running statistics")
    mean, rstd = mean.detach(), rstd.detach()
    for kept, found in zip(running, (mean, (1.0 / (rstd * rstd) - eps) * (count / (count - 1))), strict=True):
        if not isinstance(kept, Tensor):
            raise InputError(f"{name}: running statistics are a {type(kept).__name__}; they must be Tensors, whose values can follow")
        new = hp.mean(found.reshape((found.size // max(kept.size, 1), *kept.shape)), 0)
        # The Tensor object stays: copies of a Module, such as those that `grad` differentiates, share it. Graphs use copies of it.
        kept.data = (kept.detach() * (1.0 - portion) + new.astype(kept.dtype) * portion).data


class Statistics(Module):
    """What normalisation with running statistics shares. Abstract: `axes` says over which axes the statistics are taken.

    running_mean, running_var: buffers, averages over the examples seen in training: new = (1 - momentum) old + momentum * that of x
    (the variance with n - 1); momentum None: the plain mean over all batches.  num_batches_tracked: how many there were.
    """

    each_example = False
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track: bool = True,
        layout: str | None = None, dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.channels, self.eps, self.layout, self.track = as_count(channels, f"{name}(channels)"), _small(eps, name), layout, track
        self.momentum = None if momentum is None else as_fraction(momentum, f"{name}(momentum)")
        self.weight = parameter(hp.ones((channels,), dtype=dtype)) if affine else None
        self.bias = parameter(hp.zeros((channels,), dtype=dtype)) if affine else None
        self.running_mean = hp.zeros((channels,), dtype=dtype) if track else None
        self.running_var = hp.ones((channels,), dtype=dtype) if track else None
        self.num_batches_tracked = hp.zeros((), dtype="int64") if track else None

    def forward(self, x: Any) -> Tensor:
        """Return x, (batch, channels, *space) or with channels last, normalised: by its own statistics in training, then by those kept."""
        name = type(self).__name__
        x, axis = _places(x, self.channels, self.layout, name, 3 if self.each_example else 2)
        if self.running_mean is not None and self.running_var is not None and not self.training:
            # Constants of their own: training that goes on must not change what a recorded graph uses.
            mean, variance = self.running_mean.detach(), self.running_var.detach()
            place = (self.channels, *(1,) * (x.ndim - 1 - axis))
            out = (x - mean.reshape(place)) * hp.rsqrt(variance.reshape(place) + self.eps)
            out = out if self.weight is None else out * self.weight.reshape(place)
            return out if self.bias is None else out + self.bias.reshape(place)
        axes = tuple(i for i in range(x.ndim) if i != axis and not (self.each_example and i == 0))
        out, mean, rstd = by_own_statistics(x, axes, axis, self.eps, self.weight, self.bias, name)
        number = self.num_batches_tracked
        if self.training and number is not None:
            number.data = (number.detach() + 1).data
            portion = 1.0 / int(number.data) if self.momentum is None else self.momentum
            follow((self.running_mean, self.running_var), mean, rstd, self.eps, x.size // mean.size, portion, name)
        return out


class BatchNorm(Statistics):
    """Return x with mean 0 and variance 1 for each channel, times weight, plus bias; for any number of axes of space.

    While training, statistics are those of the batch over all axes but the channels, and running averages of them are kept; in evaluation
    these are used. track=False: always those of the batch.
    momentum: what share of the running averages each batch replaces; None: the plain mean of all batches.
    layout: None: channels after the batch; "NHWC" ("NLC", "NDHWC"): channels last.
    Raises: ShapeError if x has other channels, or in training only one value for each.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> BatchNorm(1, eps=0.0)([[1.0], [3.0]])[:, 0]
    Tensor (2,) float32, cpu, tracked: [-1.  1.]
    """


class InstanceNorm(Statistics):
    """Return x with mean 0 and variance 1 over the space of each channel of each example; arguments as in `BatchNorm`.

    By default it has neither weight and bias nor running statistics, as PyTorch's.
    Source: Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022.

    >>> InstanceNorm(1, eps=0.0)([[[1.0, 3.0]]])[0, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """

    each_example = True

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False, track: bool = False,
        layout: str | None = None, dtype: Any = None,
    ) -> None:
        super().__init__(channels, eps, momentum, affine, track, layout, dtype)
