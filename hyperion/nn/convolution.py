"""Convolutions, their transposes, and pooling as Modules, for 1 to 3 axes of space, channels first ("NCHW") or last ("NHWC")."""

import math
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.ops.convolution import as_ints, channels_last
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module, parameter

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "Upsample",
]

PADDINGS = ("zeros", "reflect", "replicate", "circular")


class Convolution(Module):
    """What convolutions share: sizes, weight and bias. Abstract: `rank` is the number of axes of space.

    inputs, outputs: channels, both divisible by groups.  kernel, stride, dilation: an integer, or one per axis of space.
    layout: None: channels after the batch; "NHWC" ("NLC", "NDHWC"): channels last. The weight has the same shape in both.
    Weight and bias begin equally probable between +- 1 / sqrt(numbers in a sum), as PyTorch's do.
    """

    rank = 0
    transposed = False
    bias: Tensor | None

    def _set(
        self, inputs: int, outputs: int, kernel: Any, stride: Any, dilation: Any, groups: int, bias: bool, layout: str | None, dtype: Any,
        generator: Generator | None,
    ) -> None:
        name = type(self).__name__
        self.inputs, self.outputs = as_count(inputs, f"{name}(inputs)"), as_count(outputs, f"{name}(outputs)")
        self.groups = as_count(groups, f"{name}(groups)")
        if inputs % groups or outputs % groups:
            raise ShapeError(f"{name}: groups={groups} must divide inputs={inputs} and outputs={outputs}")
        self.kernel = as_ints(kernel, self.rank, name, "kernel", 1)
        self.stride, self.dilation = as_ints(stride, self.rank, name, "stride", 1), as_ints(dilation, self.rank, name, "dilation", 1)
        self.layout, self.last = layout, channels_last(layout, self.rank, name)
        lead = (inputs, outputs // groups) if self.transposed else (outputs, inputs // groups)
        self.weight = parameter(initializers.kaiming_uniform((*lead, *self.kernel), generator, math.sqrt(5.0), dtype=dtype))
        bound = 1.0 / math.sqrt(initializers.fans(self.weight.shape)[0])
        self.bias = parameter(initializers.uniform((outputs,), generator, bound, dtype)) if bias else None

    def _checked(self, x: Any) -> Tensor:
        x, name = as_tensor(x), type(self).__name__
        if x.ndim not in (self.rank + 1, self.rank + 2):
            space = "*space, channels" if self.last else "channels, *space"
            raise ShapeError(f"{name}: x has shape {x.shape}; it must have {self.rank + 2} axes, (batch, {space}), or no batch")
        found = x.shape[-1 if self.last else -1 - self.rank]
        if found != self.inputs:
            raise ShapeError(f"{name}({self.inputs}, {self.outputs}): x, shape {x.shape}, has {found} channels; it must have {self.inputs}")
        return x


class _Conv(Convolution):
    def __init__(
        self, inputs: int, outputs: int, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", layout: str | None = None, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self._set(inputs, outputs, kernel, stride, dilation, groups, bias, layout, dtype, generator)
        if padding_mode not in PADDINGS:
            raise InputError(f"{type(self).__name__}: padding_mode={padding_mode!r} is unknown; use one of {', '.join(PADDINGS)}")
        self.padding, self.padding_mode = padding, padding_mode
        self.widths = None if padding_mode == "zeros" else self._widths()

    def _widths(self) -> list[tuple[int, int]]:
        """Return the cells around each axis of space, for padding that copies values."""
        name = type(self).__name__
        if isinstance(self.padding, str):
            if self.padding != "same" or max(self.stride) > 1:
                raise InputError(f'{name}: padding={self.padding!r} with padding_mode={self.padding_mode!r}; use "same", stride 1')
            total = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
            return [(n // 2, n - n // 2) for n in total]
        return [(n, n) for n in as_ints(self.padding, self.rank, name, "padding", 0)]

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of x, (batch, inputs, *space) or without the batch."""
        x, around = self._checked(x), self.padding
        if self.widths is not None:
            cells = [(0, 0), *self.widths] if not self.last else [*self.widths, (0, 0)]
            x, around = hp.pad(x, [(0, 0)] * (x.ndim - len(cells)) + cells, self.padding_mode), 0
        return hp.conv(x, self.weight, self.bias, self.stride, around, self.dilation, self.groups, self.layout)


class _ConvTranspose(Convolution):
    transposed = True

    def __init__(
        self, inputs: int, outputs: int, kernel: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
        bias: bool = True, dilation: Any = 1, layout: str | None = None, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self._set(inputs, outputs, kernel, stride, dilation, groups, bias, layout, dtype, generator)
        self.padding, self.output_padding = padding, output_padding

    def forward(self, x: Any) -> Tensor:
        """Return the transposed convolution of x, (batch, inputs, *space) or without the batch."""
        return hp.conv_transpose(
            self._checked(x), self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation,
            self.layout,
        )


class Conv1d(_Conv):
    """Convolution of (batch, inputs, length) with kernels; see `hyperion.conv` for what the numbers mean.

    weight: (outputs, inputs / groups, kernel).  bias: (outputs,), or None.
    padding: cells around x: an integer, one per axis, pairs, "same" or "valid".
    padding_mode: "zeros", "reflect" (mirrored at the outermost value), "replicate" (the outermost value), "circular" (periodic).
    Raises: ShapeError if x has other channels, or groups do not divide them.

    >>> Conv1d(2, 4, 3, padding="same", padding_mode="circular")(hp.ones((1, 2, 10))).shape
    (1, 4, 10)
    """

    rank = 1


class Conv2d(_Conv):
    """Convolution of (batch, inputs, height, width), or with layout="NHWC" (batch, height, width, inputs); see `Conv1d`.

    >>> Conv2d(3, 8, 3, stride=2, padding=1)(hp.ones((2, 3, 16, 16))).shape
    (2, 8, 8, 8)
    """

    rank = 2


class Conv3d(_Conv):
    """Convolution of (batch, inputs, depth, height, width), or with layout="NDHWC" channels last; see `Conv1d`.

    >>> Conv3d(1, 2, 2)(hp.ones((1, 1, 4, 4, 4))).shape
    (1, 2, 3, 3, 3)
    """

    rank = 3


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (batch, inputs, length): what a `Conv1d` of the same numbers transposes to; see `hyperion.conv_transpose`.

    weight: (inputs, outputs / groups, kernel).  bias: (outputs,), or None.
    padding: cells that are cut from the ends.  output_padding: cells more at the end, fewer than the stride or the dilation.

    >>> ConvTranspose1d(2, 3, 4, stride=2, padding=1)(hp.ones((1, 2, 8))).shape
    (1, 3, 16)
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (batch, inputs, height, width); see `ConvTranspose1d`.

    >>> ConvTranspose2d(2, 3, 2, stride=2, layout="NHWC")(hp.ones((1, 4, 4, 2))).shape
    (1, 8, 8, 3)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (batch, inputs, depth, height, width); see `ConvTranspose1d`.

    >>> ConvTranspose3d(2, 1, 2, stride=2)(hp.ones((1, 2, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """

    rank = 3


class _MaxPool(Module):
    rank = 0

    def __init__(
        self, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, layout: str | None = None,
    ) -> None:
        self.kernel = as_ints(kernel, self.rank, type(self).__name__, "kernel", 1)
        self.stride, self.padding, self.dilation, self.ceil_mode, self.layout = stride, padding, dilation, ceil_mode, layout

    def forward(self, x: Any) -> Tensor:
        """Return the largest value of each window."""
        pool = (hp.max_pool1d, hp.max_pool2d, hp.max_pool3d)[self.rank - 1]
        return pool(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode, layout=self.layout)


class MaxPool1d(_MaxPool):
    """Largest value of each window along (batch, channels, length); see `hyperion.max_pool1d`.

    >>> MaxPool1d(2)([[[1.0, 3.0, 2.0, 0.0]]])[0, 0]
    Tensor (2,) float32, cpu: [3. 2.]
    """

    rank = 1


class MaxPool2d(_MaxPool):
    """Largest value of each window of (batch, channels, height, width); see `hyperion.max_pool2d`.

    >>> MaxPool2d(2)(hp.ones((1, 3, 8, 8))).shape
    (1, 3, 4, 4)
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """Largest value of each window of (batch, channels, depth, height, width); see `hyperion.max_pool3d`.

    >>> MaxPool3d(2)(hp.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    rank = 3


class _AvgPool(Module):
    rank = 0

    def __init__(
        self, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
        divisor: int | None = None, layout: str | None = None,
    ) -> None:
        self.kernel = as_ints(kernel, self.rank, type(self).__name__, "kernel", 1)
        self.stride, self.padding, self.ceil_mode, self.layout = stride, padding, ceil_mode, layout
        self.count_include_pad, self.divisor = count_include_pad, divisor

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each window."""
        pool = (hp.avg_pool1d, hp.avg_pool2d, hp.avg_pool3d)[self.rank - 1]
        return pool(x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor, self.layout)


class AvgPool1d(_AvgPool):
    """Mean of each window along (batch, channels, length); see `hyperion.avg_pool1d`.

    >>> AvgPool1d(2)([[[1.0, 3.0, 2.0, 0.0]]])[0, 0]
    Tensor (2,) float32, cpu: [2. 1.]
    """

    rank = 1


class AvgPool2d(_AvgPool):
    """Mean of each window of (batch, channels, height, width); see `hyperion.avg_pool2d`.

    >>> AvgPool2d(2)(hp.ones((1, 3, 8, 8))).shape
    (1, 3, 4, 4)
    """

    rank = 2


class AvgPool3d(_AvgPool):
    """Mean of each window of (batch, channels, depth, height, width); see `hyperion.avg_pool3d`.

    >>> AvgPool3d(2)(hp.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    rank = 3


class _AdaptivePool(Module):
    pool: Any = None

    def __init__(self, size: Any, layout: str | None = None) -> None:
        self.size, self.layout = size, layout

    def forward(self, x: Any) -> Tensor:
        """Return x with its axes of space of the given size."""
        return type(self).pool(x, self.size, layout=self.layout)


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of as many equal parts of (batch, channels, length) as `size` says.

    >>> AdaptiveAvgPool1d(1)([[[1.0, 3.0]]])[0, 0]
    Tensor (1,) float32, cpu: [2.]
    """

    pool = staticmethod(hp.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of as many parts of (batch, channels, height, width) as `size` says: an integer, or one per axis.

    >>> AdaptiveAvgPool2d(1)(hp.ones((1, 3, 8, 8))).shape
    (1, 3, 1, 1)
    """

    pool = staticmethod(hp.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    """Means of as many parts of (batch, channels, depth, height, width) as `size` says.

    >>> AdaptiveAvgPool3d(2)(hp.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    pool = staticmethod(hp.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_AdaptivePool):
    """Largest values of as many equal parts of (batch, channels, length) as `size` says.

    >>> AdaptiveMaxPool1d(1)([[[1.0, 3.0]]])[0, 0]
    Tensor (1,) float32, cpu: [3.]
    """

    pool = staticmethod(hp.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptivePool):
    """Largest values of as many parts of (batch, channels, height, width) as `size` says.

    >>> AdaptiveMaxPool2d((2, 1))(hp.ones((1, 3, 8, 8))).shape
    (1, 3, 2, 1)
    """

    pool = staticmethod(hp.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptivePool):
    """Largest values of as many parts of (batch, channels, depth, height, width) as `size` says.

    >>> AdaptiveMaxPool3d(2)(hp.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    pool = staticmethod(hp.adaptive_max_pool3d)


class Upsample(Module):
    """Return x, (batch, channels, *space), resized along its axes of space; see `hyperion.interpolate`.

    size: of the result, or scale_factor: by how much; one of them.  mode: "nearest", "linear", "bilinear", "trilinear", "bicubic".

    >>> Upsample(scale_factor=2)(hp.ones((1, 3, 4, 4))).shape
    (1, 3, 8, 8)
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False, layout: str | None = None,
    ) -> None:
        self.size, self.scale_factor, self.mode, self.align_corners, self.layout = size, scale_factor, mode, align_corners, layout

    def forward(self, x: Any) -> Tensor:
        """Return x resized."""
        return hp.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners, self.layout)
