"""Spectral convolution: a linear map of a few Fourier coefficients, and networks of single points beside it."""

import math
import operator
from collections.abc import Sequence
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import complex_dtype, is_complex
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.module import Module, parameter

__all__ = ["Pointwise", "SpectralConv", "Tucker"]


def as_sizes(value: Any, what: str, lowest: int = 1) -> tuple[int, ...]:
    """Return an argument as integers, one for each axis of space (1 to 3); `what` is the argument as typed.

    >>> as_sizes(12, "SpectralConv(modes)")
    (12,)
    """
    given: Sequence[Any] = value if isinstance(value, tuple | list) else (value,)
    try:
        sizes = tuple(operator.index(n) for n in given)
    except TypeError as error:
        raise InputError(f"{what}={value!r} must be an integer, or one for each axis of space") from error
    if not 1 <= len(sizes) <= 3 or min(sizes) < lowest or any(isinstance(n, bool) for n in given):
        raise InputError(f"{what}={value!r} must be integers, {lowest} or more, for 1 to 3 axes of space")
    return sizes


def as_width(value: Any, what: str) -> int:
    """Return an argument as one number of channels.

    >>> as_width(32, "FNO(width)")
    32
    """
    try:
        width = operator.index(value)
    except TypeError:
        width = 0
    if width < 1 or isinstance(value, bool):
        raise InputError(f"{what}={value!r} must be an integer, 1 or more")
    return width


def fields(x: Any, channels: int, rank: int, name: str) -> Tensor:
    """Return x as a Tensor, or refuse it unless it is real, (batch, channels, *space) with `rank` axes of space.

    >>> fields([[[1.0, 2.0]]], 1, 1, "FNO").shape
    (1, 1, 2)
    """
    x = as_tensor(x)
    if is_complex(x.dtype):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be real: give its real and imaginary parts as channels")
    if x.ndim != rank + 2:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (batch, channels, *space) with {rank} axes of space")
    if x.shape[1] != channels:
        raise ShapeError(f"{name}: x, shape {x.shape}, has {x.shape[1]} channels; it must have {channels}")
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x has shape {x.shape}; each axis of space must have a sample or more")
    return x


class SpectralConv(Module):
    """Return a convolution with a smooth kernel on the torus: each kept Fourier coefficient, a vector of channels, times a matrix.

    modes: frequencies to keep along each axis of space, both signs together (see `hyperion.fourier_modes`): a Fourier neural operator
        "with 12 modes" in the sense of Li et al. has modes=(24, 24) here, 24 in one dimension. An integer for one axis.
    weight: complex, (*kept, inputs, outputs): one matrix for each frequency, in rising order; along the last axis 0 to m // 2. Its gradient
        is dL/dx - i dL/dy, and optimisers descend along the conjugate. neuraloperator keeps (inputs, outputs, *kept).
    rank: None; or the weight is factorised: see `Tucker`.  bias: one real number for each output channel.
    Coefficients are means over the grid, so the same weight serves every resolution that has the frequencies.
    Raises: ShapeError for other channels or axes, or more modes than the grid has; InputError for sizes below 1.
    Source: Li et al. 2021, arXiv:2010.08895, eq. 4 and 5.

    >>> layer = SpectralConv(3, 2, modes=(4, 4))
    >>> layer(hp.ones((5, 3, 16, 9))).shape, layer.weight.shape
    ((5, 2, 16, 9), (4, 3, 3, 2))
    """

    bias: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, modes: Any, bias: bool = True, rank: Any = None, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.inputs, self.outputs = as_width(inputs, "SpectralConv(inputs)"), as_width(outputs, "SpectralConv(outputs)")
        self.modes = as_sizes(modes, "SpectralConv(modes)")
        self.kept = (*self.modes[:-1], self.modes[-1] // 2 + 1)
        scale = math.sqrt(2.0 / (inputs + outputs))
        shape = (*self.kept, inputs, outputs)
        self.weight: Any = parameter(complex_normal(shape, scale, generator, dtype)) if rank is None else \
            Tucker(shape, rank, scale, dtype, generator)
        self.bias = parameter(initializers.normal((outputs, *(1,) * len(self.modes)), generator, scale, dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x, (batch, inputs, *space), as (batch, outputs, *space)."""
        out = self.convolved(x)
        return out if self.bias is None else (out + self.bias).astype(out.dtype)

    def convolved(self, x: Any) -> Tensor:
        """Return the convolution without the bias, for those who have something else to add as well."""
        x = fields(x, self.inputs, len(self.modes), "SpectralConv")
        out = hp.from_fourier_modes(self.mixed(x), x.shape[2:])
        return out.astype(x.dtype) if x.dtype.kind == "f" and x.dtype.itemsize == 2 else out

    def mixed(self, x: Any) -> Tensor:
        """Return the Fourier coefficients of the convolution without the bias, (*kept, batch, outputs)."""
        x = fields(x, self.inputs, len(self.modes), "SpectralConv")
        space = x.shape[2:]
        if any(m > n for m, n in zip(self.modes, space, strict=True)):
            raise ShapeError(
                f"SpectralConv(modes={self.modes}): x has shape {x.shape}; each axis of space must have as many samples as there are modes:"
                " use a finer grid, or fewer modes"
            )
        weight = self.weight() if isinstance(self.weight, Module) else self.weight
        return hp.fourier_modes(x, self.modes) @ weight


def complex_normal(shape: tuple[int, ...], scale: float, generator: Generator | None, dtype: Any) -> Tensor:
    """Return complex numbers, normally distributed in the plane, of mean square scale^2.  dtype: of their parts.

    >>> complex_normal((3,), 1.0, None, None).dtype
    dtype('complex64')
    """
    parts = (initializers.normal(shape, generator, scale / math.sqrt(2.0), dtype) for _ in range(2))
    return hp.complex(*parts).astype(complex_dtype(hp.zeros((), dtype=dtype).dtype))


class Tucker(Module):
    """A complex weight of any shape as a small core times a matrix along each axis; called, it returns the weight.

    rank: the size of the core: one number for each axis; or a fraction: the factors then have about that portion of the parameters.
    core: (*ranks), factors: (length, rank) of each axis, complex. Products of them have mean square scale^2 to begin with.
    Raises: InputError unless the rank is above 0, and no longer than the axes.
    Source: Tucker 1966, Psychometrika 31, 279; Kossaifi et al. 2024, arXiv:2310.00120, for neural operators.

    >>> weight = Tucker((12, 7, 32, 32), 0.1)
    >>> weight.core.shape, weight().shape
    ((6, 4, 17, 17), (12, 7, 32, 32))
    """

    def __init__(
        self, shape: tuple[int, ...], rank: Any, scale: float = 1.0, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        ranks = self._ranks(shape, rank)
        each = (scale / math.sqrt(math.prod(ranks))) ** (1.0 / (len(shape) + 1))
        self.core = parameter(complex_normal(ranks, each, generator, dtype))
        self.factors = [parameter(complex_normal((n, r), each, generator, dtype)) for n, r in zip(shape, ranks, strict=True)]

    @staticmethod
    def _ranks(shape: tuple[int, ...], rank: Any) -> tuple[int, ...]:
        if isinstance(rank, tuple | list):
            if len(rank) != len(shape) or not all(isinstance(r, int) and 0 < r <= n for r, n in zip(rank, shape, strict=True)):
                raise InputError(f"Tucker(rank): rank={rank!r} must be {len(shape)} numbers from 1 to {shape}, the lengths of the axes")
            return tuple(rank)
        if isinstance(rank, bool) or not isinstance(rank, int | float) or not 0.0 < rank <= 1.0:
            raise InputError(f"Tucker(rank): rank={rank!r} must be a fraction of the parameters, above 0 to 1, or a tuple of ranks")
        # All axes shrink by one factor t: t^d prod(n) + t sum(n^2) is the number of parameters.
        low, high, whole, squares = 0.0, 1.0, math.prod(shape), sum(n * n for n in shape)
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if middle ** len(shape) * whole + middle * squares > rank * whole else (middle, high)
        return tuple(min(n, max(1, round(low * n))) for n in shape)

    def forward(self) -> Tensor:
        """Return the weight."""
        names = [chr(ord("a") + i) for i in range(len(self.factors))]
        terms = ["".join(names), *(name.upper() + name for name in names)]
        return hp.einsum(f"{','.join(terms)}->{''.join(names).upper()}", self.core, *self.factors)


class Pointwise(Module):
    """Return the channels of each point mapped by one matrix: a convolution with a kernel of one sample, channels after the batch.

    weight: (outputs, inputs).  bias: (outputs, 1), or None.  Both begin as those of `nn.Linear`.

    >>> Pointwise(3, 2)(hp.ones((5, 3, 4, 4))).shape
    (5, 2, 4, 4)
    """

    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool = True, dtype: Any = None, generator: Generator | None = None) -> None:
        self.inputs, self.outputs = as_width(inputs, "Pointwise(inputs)"), as_width(outputs, "Pointwise(outputs)")
        self.weight = parameter(initializers.kaiming_uniform((outputs, inputs), generator, math.sqrt(5.0), dtype=dtype))
        self.bias = parameter(initializers.uniform((outputs, 1), generator, 1.0 / math.sqrt(inputs), dtype)) if bias else None

    def forward(self, x: Any, added: Any = None) -> Tensor:
        """Return x, (batch, inputs, *space), as (batch, outputs, *space); plus `added`, of that shape."""
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"Pointwise({self.inputs}, {self.outputs}): x has shape {x.shape}; it must be (batch, {self.inputs}, *space)")
        return hp.pointwise(x, self.weight, bias=self.bias, added=added)
