"""Convolutions of any number of axes, their transposes, and windows as rows (unfold, fold).

A convolution is one trilinear form, T(x, w, g), the sum over n, o, c, i, k of g[n, o, i] w[o, c, k] x[n, c, i * stride + k * dilation
- before], and three operations: each gives what two of the three multiply, so each is the transpose of the others, and derivatives of any
order stay among them.

conv         (x, w) -> g      the convolution (the kernel is not flipped, as in networks)
conv_input   (g, w) -> x      its transpose in x: the "transposed convolution"
conv_weight  (x, g) -> w      its transpose in w

All are matrix products with windows of x copied side by side, a block at a time so that memory stays bounded. Axes inside: (batch,
channels, *space); other layouts are views.
"""

import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex, result_dtype
from hyperion.autograd.ops.arithmetic import add
from hyperion.autograd.ops.complexes import conj
from hyperion.autograd.ops.shaping import broadcast_to, flip, permute_dims, reshape
from hyperion.autograd.ops.stencils import pad
from hyperion.autograd.table import Primitive, bilinear, linear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = [
    "conv", "conv1d", "conv2d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolve",
    "correlate", "fold", "unfold",
]

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# Bytes of windows copied at a time. On the CPU they should stay in a core's cache until the matrix product reads them.
BLOCK_CPU, BLOCK_GPU = 1 << 21, 1 << 28


class Windows:
    """The places of a kernel over an array: sizes along each axis of space, and the blocks in which they are visited.

    size: of the input.  kernel, stride, padding, dilation: of the windows.  count: windows along each axis.
    """

    def __init__(self, size: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints) -> None:
        self.size, self.kernel, self.stride, self.padding, self.dilation = size, kernel, stride, padding, dilation
        self.padded = tuple(n + sum(pair) for n, pair in zip(size, padding, strict=True))
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        self.count = tuple((n - r) // s + 1 for n, r, s in zip(self.padded, reach, stride, strict=True))

    @property
    def plain(self) -> bool:
        """Whether the windows are the elements themselves."""
        return all(k == 1 for k in self.kernel) and all(s == 1 for s in self.stride) and not any(map(sum, self.padding))

    @property
    def dense(self) -> bool:
        """Whether windows follow each other without a stride."""
        return all(s == 1 for s in self.stride)

    @property
    def single(self) -> bool:
        """Whether they are those of a plain convolution of two signals."""
        return len(self.size) == 1 and self.dense and self.dilation == (1,)

    def offsets(self) -> tuple[list[int], int]:
        """Return where each place of the kernel starts to read in the flattened padded array, and over how many elements (stride 1)."""
        steps = [math.prod(self.padded[i + 1:]) for i in range(len(self.padded))]
        starts = [sum(i * d * n for i, d, n in zip(k, self.dilation, steps, strict=True)) for k in self.places()]
        return starts, 1 + sum((count - 1) * n for count, n in zip(self.count, steps, strict=True))

    def pad(self, xp: Any, x: Any) -> Any:
        """Return x with zeros around its axes of space."""
        if not any(map(sum, self.padding)):
            return x
        out = xp.zeros((*x.shape[:2], *self.padded), dtype=x.dtype)
        out[self.inside(out)] = x
        return out

    def inside(self, padded: Any) -> tuple[slice, ...]:
        """Return where the input lies in the padded array."""
        lead = (slice(None),) * (padded.ndim - len(self.size))
        return (*lead, *(slice(before, before + n) for n, (before, _) in zip(self.size, self.padding, strict=True)))

    def of(self, xp: Any, padded: Any) -> Any:
        """Return a view of the windows: (batch, channels, *kernel, *count)."""
        space = padded.strides[2:]
        strides = (
            *padded.strides[:2], *(n * d for n, d in zip(space, self.dilation, strict=True)),
            *(n * s for n, s in zip(space, self.stride, strict=True)),
        )
        shape = (*padded.shape[:2], *self.kernel, *self.count)
        return xp.lib.stride_tricks.as_strided(padded, shape, strides)

    def read(self, k: Ints, rows: slice = slice(None)) -> tuple[slice, ...]:
        """Return what place k of the kernel reads in the padded array, for some rows of windows (the first axis of space)."""
        picked: list[slice] = []
        for i, (place, s, d, count) in enumerate(zip(k, self.stride, self.dilation, self.count, strict=True)):
            first, last, _ = rows.indices(count) if i == 0 else (0, count, 1)
            picked.append(slice(place * d + first * s, place * d + (last - 1) * s + 1, s))
        return tuple(picked)

    def places(self) -> Iterator[Ints]:
        """Return the places of the kernel, one after the other."""
        return itertools.product(*(range(k) for k in self.kernel))

    def blocks(self, xp: Any, batch: int, channels: int, itemsize: int) -> Iterator[tuple[slice, slice]]:
        """Return blocks of windows as slices of the batch and of the first axis of space; each holds no more than a block of bytes."""
        limit = BLOCK_CPU if xp is np else BLOCK_GPU
        row = channels * math.prod(self.kernel) * math.prod(self.count[1:]) * itemsize
        rows = min(max(limit // max(row, 1), 1), self.count[0])
        examples = max(limit // max(row * rows, 1), 1) if rows == self.count[0] else 1
        for n in range(0, batch, examples):
            for r in range(0, self.count[0], rows):
                yield slice(n, min(n + examples, batch)), slice(r, min(r + rows, self.count[0]))

    def gather(self, xp: Any, windows: Any, examples: slice, rows: slice, groups: int) -> Any:
        """Return a block of windows as matrices: (examples, groups, channels per group * kernel, windows)."""
        block = windows[(examples, *(slice(None),) * (1 + len(self.size)), rows)]
        return xp.ascontiguousarray(block).reshape(block.shape[0], groups, -1, math.prod(block.shape[2 + len(self.size):]))


def _wide(x: Any) -> Any:
    """Return x in the dtype it is computed in: two-byte floats have no fast matrix product on the CPU, and sums in them lose digits."""
    return x.astype(np.float32) if x.dtype.kind in "fV" and x.dtype.itemsize == 2 else x


def _into(xp: Any, x: Any, y: Any, out: Any) -> None:
    """Write the matrix product of x and y."""
    if xp is np:
        np.matmul(x, y, out=out)
    else:
        out[...] = xp.matmul(x, y)      # CuPy writes only to contiguous arrays


def _conv(xp: Any, x: Any, w: Any, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Any:
    dtype, x, w = x.dtype, _wide(x), _wide(w)
    at = Windows(x.shape[2:], w.shape[2:], stride, padding, dilation)
    batch, outputs = x.shape[0], w.shape[0]
    out = xp.empty((batch, outputs, *at.count), dtype=x.dtype)
    if not out.size or not w.size:
        return xp.zeros(out.shape, dtype=dtype)
    if w.shape[1] == 1 and groups == x.shape[1] and groups > 1:
        (_depthwise_rows if at.dense and outputs == groups else _depthwise)(xp, at.pad(xp, x), w, at, out)
        return out.astype(dtype, copy=False)
    matrix = w.reshape(groups, outputs // groups, -1)
    if at.plain:
        _into(xp, matrix, x.reshape(batch, groups, x.shape[1] // groups, -1), out.reshape(batch, groups, outputs // groups, -1))
        return out.astype(dtype, copy=False)
    if at.single and x.shape[:2] == w.shape[:2] == (1, 1):
        out[0, 0] = xp.correlate(at.pad(xp, x)[0, 0], xp.conj(w[0, 0]), "valid")
        return out.astype(dtype, copy=False)
    windows = at.of(xp, at.pad(xp, x))
    target, rest = out.reshape(batch, groups, outputs // groups, -1), math.prod(at.count[1:])
    for examples, rows in at.blocks(xp, batch, x.shape[1], x.dtype.itemsize):
        columns = at.gather(xp, windows, examples, rows, groups)
        _into(xp, matrix, columns, target[examples, :, :, rows.start * rest:rows.stop * rest])
    return out.astype(dtype, copy=False)


def _depthwise(xp: Any, padded: Any, w: Any, at: Windows, out: Any) -> None:
    """Write the convolution of each channel with its own kernels: sums of products, place by place of the kernel, an example at a time."""
    multiple = w.shape[0] // padded.shape[1]
    weights = w.reshape(padded.shape[1], multiple, *w.shape[2:])
    ones = (1,) * len(at.size)
    for example, result in zip(padded, out.reshape(len(out), padded.shape[1], multiple, *at.count), strict=True):
        term = xp.empty_like(result)
        for i, k in enumerate(at.places()):
            factor = weights[(slice(None), slice(None), *k)].reshape(padded.shape[1], multiple, *ones)
            xp.multiply(factor, example[(slice(None), *at.read(k))][:, None], out=result if i == 0 else term)
            if i:
                result += term


def _depthwise_rows(xp: Any, padded: Any, w: Any, at: Windows, out: Any) -> None:
    """Write what `_depthwise` does, for stride 1 and one kernel a channel, over whole padded rows: each place then reads one long row."""
    offsets, length = at.offsets()
    rows = padded.reshape(*padded.shape[:2], -1)
    weights = w.reshape(len(w), -1, 1)
    total = xp.empty((len(w), math.prod(at.padded)), dtype=w.dtype)
    sums, term = total[:, :length], xp.empty((len(w), length), dtype=w.dtype)
    kept = (slice(None), *(slice(0, n) for n in at.count))
    for source, result in zip(rows, out, strict=True):
        for k, offset in enumerate(offsets):
            xp.multiply(weights[:, k], source[:, offset:offset + length], out=term if k else sums)
            if k:
                sums += term
        result[...] = total.reshape(len(w), *at.padded)[kept]


def _conv_input(xp: Any, g: Any, w: Any, size: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Any:
    dtype, g, w = g.dtype, _wide(g), _wide(w)
    at = Windows(size, w.shape[2:], stride, padding, dilation)
    batch, outputs, channels = g.shape[0], w.shape[0], w.shape[1] * groups
    matrix = xp.swapaxes(w.reshape(groups, outputs // groups, -1), 1, 2)       # (groups, channels per group * kernel, outputs per group)
    if at.plain and g.size and w.size:
        return xp.matmul(matrix, g.reshape(batch, groups, outputs // groups, -1)).reshape(batch, channels, *size).astype(dtype, copy=False)
    turned = tuple((d * (k - 1) - before, d * (k - 1) - after) for d, k, (before, after) in zip(dilation, at.kernel, padding, strict=True))
    if at.dense and outputs <= 2 * channels and g.size and w.size and min(map(min, turned)) >= 0:
        # The transpose is the convolution with the mirrored kernel. Here its windows are cheaper to copy than the others are to add up.
        mirrored = w.reshape(groups, outputs // groups, *w.shape[1:]).swapaxes(1, 2)[(..., *(slice(None, None, -1),) * len(size))]
        return _conv(xp, g, mirrored.reshape(channels, outputs // groups, *at.kernel), stride, turned, dilation, groups).astype(
            dtype, copy=False)
    out = xp.zeros((batch, channels, *at.padded), dtype=g.dtype)
    if g.size and w.size:
        source = g.reshape(batch, groups, outputs // groups, at.count[0], -1)
        for examples, rows in at.blocks(xp, batch, channels, g.dtype.itemsize):
            block = source[examples, :, :, rows]
            columns = xp.matmul(matrix, block.reshape(*block.shape[:3], -1))
            _add_windows(out[examples], columns.reshape(block.shape[0], channels, *at.kernel, -1, *at.count[1:]), at, rows)
    return xp.ascontiguousarray(out[at.inside(out)]).astype(dtype, copy=False)


def _add_windows(out: Any, columns: Any, at: Windows, rows: slice) -> None:
    """Add windows (examples, channels, *kernel, rows, *rest of space) to the padded array where they were read."""
    for k in at.places():
        out[(slice(None), slice(None), *at.read(k, rows))] += columns[(slice(None), slice(None), *k)]


def _conv_weight(xp: Any, x: Any, g: Any, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Any:
    dtype, x, g = x.dtype, _wide(x), _wide(g)
    at = Windows(x.shape[2:], kernel, stride, padding, dilation)
    batch, channels, outputs = x.shape[0], x.shape[1], g.shape[1]
    out = xp.zeros((groups, outputs // groups, channels // groups * math.prod(kernel)), dtype=x.dtype)
    if x.size and g.size and at.single and x.shape[:2] == g.shape[:2] == (1, 1):
        return xp.correlate(at.pad(xp, x)[0, 0], xp.conj(g[0, 0]), "valid").reshape(1, 1, -1).astype(dtype, copy=False)
    if x.size and g.size and at.dense and groups == channels == outputs and groups > 1:
        return _depthwise_weight(xp, at.pad(xp, x), g, at).astype(dtype, copy=False)
    if x.size and g.size:
        windows = at.of(xp, at.pad(xp, x))
        source = g.reshape(batch, groups, outputs // groups, at.count[0], -1)
        for examples, rows in at.blocks(xp, batch, channels, x.dtype.itemsize):
            columns = at.gather(xp, windows, examples, rows, groups)
            block = source[examples, :, :, rows]
            out += xp.matmul(block.reshape(*block.shape[:3], -1), xp.swapaxes(columns, 2, 3)).sum(axis=0)
    return out.reshape(outputs, channels // groups, *kernel).astype(dtype, copy=False)


def _depthwise_weight(xp: Any, padded: Any, g: Any, at: Windows) -> Any:
    """Return the transpose of `_depthwise_rows` in the kernels: one product of long rows for each place."""
    offsets, length = at.offsets()
    rows = padded.reshape(*padded.shape[:2], -1)
    spread = xp.zeros((g.shape[1], *at.padded), dtype=g.dtype)
    out = xp.zeros((g.shape[1], len(offsets)), dtype=g.dtype)
    for source, cotangent in zip(rows, g, strict=True):
        spread[(slice(None), *(slice(0, n) for n in at.count))] = cotangent
        row = spread.reshape(len(spread), 1, -1)[:, :, :length]
        for k, offset in enumerate(offsets):
            out[:, k] += xp.matmul(row, source[:, offset:offset + length, None])[:, 0, 0]
    return out.reshape(g.shape[1], 1, *at.kernel)


def _unfold(xp: Any, x: Any, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints) -> Any:
    at = Windows(x.shape[2:], kernel, stride, padding, dilation)
    shape = (x.shape[0], x.shape[1] * math.prod(kernel), math.prod(at.count))
    return xp.ascontiguousarray(at.of(xp, at.pad(xp, x))).reshape(shape) if x.size else xp.zeros(shape, dtype=x.dtype)


def _fold(xp: Any, x: Any, size: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints) -> Any:
    at = Windows(size, kernel, stride, padding, dilation)
    channels = x.shape[1] // math.prod(kernel)
    out = xp.zeros((x.shape[0], channels, *at.padded), dtype=x.dtype)
    _add_windows(out, x.reshape(x.shape[0], channels, *kernel, *at.count), at, slice(None))
    return xp.ascontiguousarray(out[at.inside(out)])


def merge(x: Tensor, axis: int) -> Tensor:
    """Return x with its axis 0 merged into an axis behind it, as the slower part."""
    moved = permute_dims(x, (*range(1, axis), 0, *range(axis, x.ndim)))
    return reshape(moved, (*moved.shape[:axis - 1], moved.shape[axis - 1] * moved.shape[axis], *moved.shape[axis + 1:]))


def split(x: Tensor, axis: int, count: int) -> Tensor:
    """Return x with an axis split, its slower part of length `count` becoming axis 0: the reverse of `merge`."""
    parted = reshape(x, (*x.shape[:axis], count, x.shape[axis] // count, *x.shape[axis + 1:]))
    return permute_dims(parted, (axis, *(i for i in range(parted.ndim) if i != axis)))


def _spread(x: Tensor, has: bool, count: int) -> Tensor:
    return x if has else broadcast_to(reshape(x, (1, *x.shape)), (count, *x.shape))


def _batch_products(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """The batch joins the examples of the convolution, or, with its own kernels, the groups."""
    x, w = inputs
    count = (x if batched[0] else w).shape[0]
    if op.name != "conv_weight" and not batched[1]:
        return split(op(merge(x, 1), w, **params), 0, count)
    x, w = _spread(x, batched[0], count), _spread(w, batched[1], count)
    grouped = dict(params, groups=params["groups"] * count)
    if op.name == "conv_weight":
        return split(op(merge(x, 2), merge(w, 2), **grouped), 0, count)
    return split(op(merge(x, 2), merge(w, 1), **grouped), 1, count)


def batch_examples(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """The batch joins axis 0 of every input, which are the examples of the operation."""
    count = next(x.shape[0] for x, has in zip(inputs, batched, strict=True) if has)
    return split(op(*(merge(_spread(x, has, count), 1) for x, has in zip(inputs, batched, strict=True)), **params), 0, count)


def _x_of_conv(g: Tensor, x: Tensor, w: Tensor, **places: Any) -> Tensor:
    return _transposed(g, w, size=x.shape[2:], **places)


def _w_of_conv(g: Tensor, x: Tensor, w: Tensor, **places: Any) -> Tensor:
    return _weights(x, g, kernel=w.shape[2:], **places)


def _g_of_input(v: Tensor, g: Tensor, w: Tensor, size: Ints, **places: Any) -> Tensor:
    return _correlation(v, w, **places)


def _w_of_input(v: Tensor, g: Tensor, w: Tensor, size: Ints, **places: Any) -> Tensor:
    return _weights(v, g, kernel=w.shape[2:], **places)


def _x_of_weight(v: Tensor, x: Tensor, g: Tensor, kernel: Ints, **places: Any) -> Tensor:
    return _transposed(g, v, size=x.shape[2:], **places)


def _g_of_weight(v: Tensor, x: Tensor, g: Tensor, kernel: Ints, **places: Any) -> Tensor:
    return _correlation(x, v, **places)


def _of_unfold(g: Tensor, x: Tensor, **window: Any) -> Tensor:
    return _folded(g, size=x.shape[2:], **window)


def _of_fold(g: Tensor, x: Tensor, size: Ints, **window: Any) -> Tensor:
    return _unfolded(g, **window)


_correlation = bilinear("conv", _conv, _x_of_conv, _w_of_conv, batch=_batch_products)
_transposed = bilinear("conv_input", _conv_input, _g_of_input, _w_of_input, batch=_batch_products)
_weights = bilinear("conv_weight", _conv_weight, _x_of_weight, _g_of_weight, batch=_batch_products)
_unfolded = linear("unfold", _unfold, _of_unfold, batch=batch_examples)
_folded = linear("fold", _fold, _of_fold, batch=batch_examples)


# What users call


def as_ints(value: Any, rank: int, name: str, argument: str, lowest: int) -> Ints:
    """Return an argument given as one integer, or one per axis, as a tuple; refuse it below `lowest`."""
    given: Any = tuple(value) if type(value) in (list, tuple) else (value,) * rank
    try:
        numbers = tuple(operator.index(n) for n in given)
    except TypeError as error:
        raise InputError(f"{name}: {argument}={value!r} must be an integer, or {rank} of them") from error
    if len(numbers) != rank:
        raise InputError(f"{name}: {argument}={value!r} has {len(numbers)} numbers; give one, or one for each of the {rank} axes of space")
    if any(n < lowest for n in numbers):
        raise InputError(f"{name}: {argument}={value!r} must be {lowest} or more")
    return numbers


def as_pairs(padding: Any, rank: int, name: str) -> Pairs:
    """Return padding given as an integer, one per axis, or pairs (before, after), as pairs."""
    given: Any = tuple(padding) if type(padding) in (list, tuple) else (padding,) * rank
    if len(given) == rank and all(type(pair) in (list, tuple) for pair in given):
        return tuple((pair[0], pair[1]) for pair in (as_ints(pair, 2, name, "padding", 0) for pair in given))
    return tuple((n, n) for n in as_ints(padding, rank, name, "padding", 0))


def windows_of(size: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, name: str) -> Ints:
    """Return the number of windows along each axis, or refuse a kernel that is larger than the padded input."""
    at = Windows(size, kernel, stride, padding, dilation)
    if min(at.count) < 1:
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        raise ShapeError(f"{name}: the kernel reaches over {reach}, more than the input with its padding, {at.padded}; add padding")
    return at.count


def _padding_of(padding: Any, kernel: Ints, stride: Ints, dilation: Ints, name: str) -> Pairs:
    if isinstance(padding, str) and padding == "valid":
        return ((0, 0),) * len(kernel)
    if isinstance(padding, str) and padding == "same":
        if any(s != 1 for s in stride):
            raise InputError(f'{name}: padding="same" needs stride 1, and got stride={stride}; give the padding as numbers')
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    if isinstance(padding, str):
        raise InputError(f'{name}: padding={padding!r} is unknown; use "same", "valid", an integer, or pairs (before, after) for each axis')
    return as_pairs(padding, len(kernel), name)


SPACES = {1: ("L", "W"), 2: ("HW",), 3: ("DHW",)}


def channels_last(layout: str | None, rank: int, name: str) -> bool:
    """Return whether a layout such as "NHWC" has its channels last; None and "NCHW" have them after the batch."""
    spaces = SPACES.get(rank, ())
    if layout is None or (type(layout) is str and layout in [f"NC{space}" for space in spaces]):
        return False
    if type(layout) is not str or layout not in [f"N{space}C" for space in spaces]:
        valid = " or ".join(f'"NC{space}", "N{space}C"' for space in spaces)
        raise InputError(f"{name}: layout={layout!r} is unknown for {rank} axes of space; use {valid}")
    return True


def to_inside(x: Tensor, rank: int, last: bool, name: str) -> tuple[Tensor, bool]:
    """Return x as (batch, channels, *space), and whether it came without a batch."""
    order = "*space, channels" if last else "channels, *space"
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: x has shape {x.shape}; it must have {rank + 2} axes, (batch, {order}), or {rank + 1} without the batch")
    single = x.ndim == rank + 1
    x = reshape(x, (1, *x.shape)) if single else x
    return (permute_dims(x, (0, rank + 1, *range(1, rank + 1))) if last else x), single


def from_inside(x: Tensor, last: bool, single: bool) -> Tensor:
    """Return x in the layout of the user: the reverse of `to_inside`."""
    x = permute_dims(x, (0, *range(2, x.ndim), 1)) if last else x
    return reshape(x, x.shape[1:]) if single else x


def _with_bias(out: Tensor, bias: Any, outputs: int, name: str) -> Tensor:
    if bias is None:
        return out
    bias = as_tensor(bias)
    if bias.shape != (outputs,):
        raise ShapeError(f"{name}: bias has shape {bias.shape}; it must have one number for each of the {outputs} output channels")
    return add(out, reshape(bias, (outputs, *(1,) * (out.ndim - 2))))


def _operands(x: Any, weight: Any, rank: int | None, groups: Any, name: str) -> tuple[Tensor, Tensor, int, int]:
    x, weight = as_tensor(x), as_tensor(weight)
    known = weight.ndim - 2 if rank is None else rank
    if weight.ndim != known + 2 or known < 1:
        wanted = known + 2 if rank else "at least 3"
        raise ShapeError(f"{name}: weight has shape {weight.shape}; it must have {wanted} axes: two of channels, and those of the kernel")
    if 0 in weight.shape[2:]:
        raise ShapeError(f"{name}: weight has shape {weight.shape}; the kernel must have at least one place")
    for tensor, what in ((x, "x"), (weight, "weight")):
        if tensor.dtype.kind == "b":
            raise DtypeError(f"{name}: {what} is bool; use .astype('float32')")
    return x, weight, known, as_ints(groups, 1, name, "groups", 1)[0]


def conv(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, layout: str | None = None,
) -> Tensor:
    """Return the convolution of x with kernels, over as many axes of space as the kernel has.

    The kernel is not flipped: out[n, o, i] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, i * stride + k * dilation - before].

    x: (batch, channels, *space), or without the batch.  weight: (outputs, channels / groups, *kernel), in every layout.  bias: (outputs,).
    stride, dilation: an integer, or one per axis: steps of the window, and between the places of the kernel.
    padding: zeros around x: an integer, one per axis, pairs (before, after), "same" (as long as x; stride 1) or "valid" (none).
    groups: both kinds of channels are split into so many groups that do not see each other.
    layout: None: channels after the batch; "NHWC" (1-D "NLC" or "NWC", 3-D "NDHWC"): channels last, in x and in the result.
    Raises: ShapeError if channels, groups, bias or sizes do not fit; InputError for numbers out of range; DtypeError for bool.

    >>> conv([[[1.0, 2.0, 3.0, 4.0]]], [[[1.0, 0.0, -1.0]]]).shape
    (1, 1, 2)
    """
    return _call_conv("conv", None, x, weight, bias, stride, padding, dilation, groups, layout)


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, layout: str | None = None,
) -> Tensor:
    """Return the convolution of x, (batch, channels, length), with kernels; see `conv`.

    >>> conv1d([[[1.0, 2.0, 3.0]]], [[[1.0, 1.0]]], padding="same").shape
    (1, 1, 3)
    """
    return _call_conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups, layout)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, layout: str | None = None,
) -> Tensor:
    """Return the convolution of x, (batch, channels, height, width), with kernels; see `conv`.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 3, 8, 8)), np.ones((5, 3, 3, 3)), stride=2, padding=1).shape
    (1, 5, 4, 4)
    """
    return _call_conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups, layout)


def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, layout: str | None = None,
) -> Tensor:
    """Return the convolution of x, (batch, channels, depth, height, width), with kernels; see `conv`.

    >>> import numpy as np
    >>> conv3d(np.ones((1, 2, 4, 4, 4)), np.ones((3, 2, 2, 2, 2))).shape
    (1, 3, 3, 3, 3)
    """
    return _call_conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups, layout)


def _call_conv(
    name: str, rank: int | None, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any, layout: str | None,
) -> Tensor:
    x, weight, rank, parts = _operands(x, weight, rank, groups, name)
    steps, spread = as_ints(stride, rank, name, "stride", 1), as_ints(dilation, rank, name, "dilation", 1)
    around = _padding_of(padding, weight.shape[2:], steps, spread, name)
    last = channels_last(layout, rank, name)
    x, single = to_inside(x, rank, last, name)
    outputs, each = weight.shape[:2]
    if x.shape[1] != each * parts:
        raise ShapeError(f"{name}: x has {x.shape[1]} channels; weight, shape {weight.shape}, with groups={parts} takes {each * parts}")
    if outputs % parts:
        raise ShapeError(f"{name}: weight, shape {weight.shape}, has {outputs} outputs, which groups={parts} does not divide")
    windows_of(x.shape[2:], weight.shape[2:], steps, around, spread, name)
    out = _correlation(x, weight, stride=steps, padding=around, dilation=spread, groups=parts)
    return from_inside(_with_bias(out, bias, outputs, name), last, single)


def conv_transpose(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    layout: str | None = None,
) -> Tensor:
    """Return the transposed convolution of x with kernels: what `conv` with the same weight, stride and padding transposes to.

    Each value of x adds its multiple of the kernel to the result, `stride` apart; `padding` cells are cut from the ends.
    Length along an axis: (n - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1.

    x: (batch, channels, *space), or without the batch.  weight: (channels, outputs / groups, *kernel).  bias: (outputs,).
    output_padding: cells more at the end, fewer than stride or dilation: several lengths convolve to the same.
    Other arguments and errors as in `conv`; padding in numbers or pairs only.

    >>> conv_transpose([[[1.0, 2.0]]], [[[1.0, 1.0]]], stride=2).shape
    (1, 1, 4)
    """
    return _call_transposed("conv_transpose", None, x, weight, bias, stride, padding, output_padding, groups, dilation, layout)


def conv_transpose1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    layout: str | None = None,
) -> Tensor:
    """Return the transposed convolution of x, (batch, channels, length); see `conv_transpose`.

    >>> conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 1.0]]], stride=2).shape
    (1, 1, 4)
    """
    return _call_transposed("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation, layout)


def conv_transpose2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    layout: str | None = None,
) -> Tensor:
    """Return the transposed convolution of x, (batch, channels, height, width); see `conv_transpose`.

    >>> import numpy as np
    >>> conv_transpose2d(np.ones((1, 3, 4, 4)), np.ones((3, 5, 2, 2)), stride=2).shape
    (1, 5, 8, 8)
    """
    return _call_transposed("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation, layout)


def conv_transpose3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    layout: str | None = None,
) -> Tensor:
    """Return the transposed convolution of x, (batch, channels, depth, height, width); see `conv_transpose`.

    >>> import numpy as np
    >>> conv_transpose3d(np.ones((1, 2, 2, 2, 2)), np.ones((2, 3, 2, 2, 2))).shape
    (1, 3, 3, 3, 3)
    """
    return _call_transposed("conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation, layout)


def _call_transposed(
    name: str, rank: int | None, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any,
    layout: str | None,
) -> Tensor:
    x, weight, rank, parts = _operands(x, weight, rank, groups, name)
    steps, spread = as_ints(stride, rank, name, "stride", 1), as_ints(dilation, rank, name, "dilation", 1)
    if isinstance(padding, str):
        raise InputError(f"{name}: padding={padding!r} must be given as numbers: an integer, one per axis, or pairs (before, after)")
    around, more = as_pairs(padding, rank, name), as_ints(output_padding, rank, name, "output_padding", 0)
    if any(n >= max(s, d) for n, s, d in zip(more, steps, spread, strict=True)):
        raise InputError(f"{name}: output_padding={output_padding} must be less than stride={stride} or dilation={dilation}")
    last = channels_last(layout, rank, name)
    x, single = to_inside(x, rank, last, name)
    if x.shape[1] != weight.shape[0] or x.shape[1] % parts:
        raise ShapeError(f"{name}: x has {x.shape[1]} channels; weight, shape {weight.shape}, takes {weight.shape[0]}, and groups={parts} "
                         "must divide them")
    kernel = weight.shape[2:]
    size = tuple(
        (n - 1) * s - sum(pair) + d * (k - 1) + extra + 1
        for n, s, pair, d, k, extra in zip(x.shape[2:], steps, around, spread, kernel, more, strict=True)
    )
    # With an output padding of a stride or more, a convolution would have more windows: these cells are cut less, or are zeros at the end.
    beyond = [max(extra - s + 1, 0) for extra, s in zip(more, steps, strict=True)]
    zeros = [max(n - after, 0) for n, (_, after) in zip(beyond, around, strict=True)]
    cut = tuple((before, after - n + rest) for (before, after), n, rest in zip(around, beyond, zeros, strict=True))
    short = tuple(n - rest for n, rest in zip(size, zeros, strict=True))
    if min(short) < 1 or 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x of shape {x.shape} with this kernel and padding gives a result of size {size}; use less padding")
    out = _transposed(x, weight, size=short, stride=steps, padding=cut, dilation=spread, groups=parts)
    out = pad(out, [(0, 0), (0, 0), *((0, rest) for rest in zeros)]) if any(zeros) else out
    return from_inside(_with_bias(out, bias, weight.shape[1] * parts, name), last, single)


def unfold(x: Any, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the windows of x as columns: what a convolution multiplies its weights with ("im2col").

    x: (batch, channels, *space), or without the batch if `kernel` has one number per axis of space.
    kernel: size of the windows: an integer for all axes after the second, or one per axis.  Others as in `conv`, padding in numbers.
    Returns: (batch, channels * places of the kernel, windows).
    Raises: ShapeError if a window is larger than x with its padding, or x has too few axes; InputError for numbers out of range.

    >>> import numpy as np
    >>> unfold(np.ones((1, 3, 5, 5)), 2).shape
    (1, 12, 16)
    """
    x = as_tensor(x)
    rank = len(kernel) if isinstance(kernel, tuple | list) else max(x.ndim - 2, 1)      # pyright: ignore[reportUnknownArgumentType]
    x, single = to_inside(x, rank, False, "unfold")
    size, steps, around, spread = _window(kernel, stride, padding, dilation, rank, "unfold")
    windows_of(x.shape[2:], size, steps, around, spread, "unfold")
    out = _unfolded(x, kernel=size, stride=steps, padding=around, dilation=spread)
    return reshape(out, out.shape[1:]) if single else out


def fold(x: Any, size: Any, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the sum of windows given as columns, each added where `unfold` reads it: its transpose ("col2im").

    x: (batch, channels * places of the kernel, windows), or without the batch.  size: axes of space of the result, a tuple.
    kernel, stride, padding, dilation: as in `unfold`.
    Raises: ShapeError if x does not have as many rows and windows; InputError for numbers out of range.

    >>> import numpy as np
    >>> fold(np.ones((1, 12, 16)), (5, 5), 2).shape
    (1, 3, 5, 5)
    """
    x = as_tensor(x)
    if type(size) not in (list, tuple) or not size:
        raise InputError(f"fold: size={size!r} must be a tuple with one integer per axis of space")
    shape = as_ints(size, len(size), "fold", "size", 1)
    kernels, steps, around, spread = _window(kernel, stride, padding, dilation, len(shape), "fold")
    count = math.prod(windows_of(shape, kernels, steps, around, spread, "fold"))
    places = math.prod(kernels)
    if x.ndim not in (2, 3) or x.shape[-1] != count or x.shape[-2] % places:
        raise ShapeError(f"fold: x has shape {x.shape}; for size={shape}, kernel={kernels} it must be (batch, channels*{places}, {count})")
    whole = reshape(x, (1, *x.shape)) if x.ndim == 2 else x
    out = _folded(whole, size=shape, kernel=kernels, stride=steps, padding=around, dilation=spread)
    return reshape(out, out.shape[1:]) if x.ndim == 2 else out


def _window(kernel: Any, stride: Any, padding: Any, dilation: Any, rank: int, name: str) -> tuple[Ints, Ints, Pairs, Ints]:
    if isinstance(padding, str):
        raise InputError(f"{name}: padding={padding!r} must be given as numbers: an integer, one per axis, or pairs (before, after)")
    return (
        as_ints(kernel, rank, name, "kernel", 1), as_ints(stride, rank, name, "stride", 1), as_pairs(padding, rank, name),
        as_ints(dilation, rank, name, "dilation", 1),
    )


def _sliding(a: Tensor, v: Tensor, mode: str, name: str, reverse: bool) -> Tensor:
    """Return sum_k a[i + k - before] v[k], v reversed or not, over the positions that a mode keeps; a is not shorter than v."""
    n = v.shape[0]
    before = {"full": (n - 1, n - 1), "same": ((n - 1) - (n - 1) // 2, (n - 1) // 2), "valid": (0, 0)}[mode]
    if name == "correlate" and mode == "same":
        before = (n // 2, n - 1 - n // 2)
    kernel = flip(v, 0) if reverse else v
    columns, rows = reshape(a, (1, 1, a.shape[0])), reshape(kernel, (1, 1, n))
    return reshape(_correlation(columns, rows, stride=(1,), padding=(before,), dilation=(1,), groups=1), (-1,))


def _check_signals(a: Any, v: Any, mode: Any, name: str) -> tuple[Tensor, Tensor]:
    a, v = as_tensor(a), as_tensor(v)
    if type(mode) is not str or mode not in ("full", "same", "valid"):
        raise InputError(f'{name}: mode={mode!r} is unknown; use "full", "same" or "valid"')
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ShapeError(f"{name}(a, v): a has shape {a.shape}, v has {v.shape}; both must have one axis, and elements")
    result_dtype([a.dtype, v.dtype])
    return a, v


def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """Return the convolution of two signals, sum_k a[i - k] v[k].

    a, v: one axis each.
    mode: "full" (every overlap, n + m - 1 values), "same" (its middle, as long as the longer one), "valid" (where they overlap fully).
    Raises: ShapeError if one is empty or has another number of axes; InputError for an unknown mode.

    >>> convolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5])
    Tensor (5,) float32, cpu: [0.  1.  2.5 4.  1.5]
    """
    a, v = _check_signals(a, v, mode, "convolve")
    return _sliding(a, v, mode, "convolve", True) if a.shape[0] >= v.shape[0] else _sliding(v, a, mode, "convolve", True)


def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """Return the correlation of two signals, sum_k a[i + k] conj(v[k]).

    Arguments and errors as in `convolve`; a shorter a gives the correlation of v with a, reversed.

    >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="same")
    Tensor (3,) float32, cpu: [2.  3.5 3. ]
    """
    a, v = _check_signals(a, v, mode, "correlate")
    v = conj(v) if is_complex(v.dtype) else v
    return _sliding(a, v, mode, "correlate", False) if a.shape[0] >= v.shape[0] else flip(_sliding(v, a, mode, "correlate", False), 0)
