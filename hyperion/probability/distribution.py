"""What all distributions share, and the checks of their parameters."""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd import functions as hp
from hyperion.autograd.dtypes import FLOAT, is_floating, result_dtype
from hyperion.autograd.random import Generator
from hyperion.autograd.values import check_values
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["Distribution"]


def drawing(generator: Any) -> Generator:
    """Return a generator, or refuse what is none: a seed, for example."""
    if not isinstance(generator, Generator):
        raise InputError(f"sample(generator, ...): generator is a {type(generator).__name__}; it must be a hyperion.random.Generator(seed)")
    return generator


class Distribution(ABC):
    """A probability distribution, or an array of independent ones.

    batch_shape: shape of the array, to which the parameters broadcast.  event_shape: shape of one draw: () for a number.
    dtype: of the parameters and of real draws.  device: where the parameters are.
    reparameterised: whether `sample` is differentiable in the parameters; otherwise its result is a constant: use log_prob.

    Every result has the batch shape, after the axes that were asked for (sample) or that the value has more (log_prob, cdf).
    """

    reparameterised = True
    event_ndim = 0

    def __init__(self, *parameters: Tensor) -> None:
        """Take parameters that have one dtype and the batch shape as their first axes."""
        whole = parameters[0].shape
        self.batch_shape: tuple[int, ...] = whole[: len(whole) - self.event_ndim]
        self.event_shape: tuple[int, ...] = whole[len(whole) - self.event_ndim:]
        self.dtype = parameters[0].dtype
        self.device = parameters[0].device

    def __repr__(self) -> str:
        event = f", events {self.event_shape}" if self.event_shape else ""
        return f"{type(self).__name__} {self.batch_shape}{event}, {self.dtype}"

    @abstractmethod
    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        """Return draws: shape (*shape, *batch_shape, *event_shape)."""

    @abstractmethod
    def log_prob(self, value: Any) -> Tensor:
        """Return the logarithm of the density (or probability) at a value; -inf outside the support. Value: (..., *event_shape)."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean, shape (*batch_shape, *event_shape)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """The variance of each component, shape (*batch_shape, *event_shape)."""

    def entropy(self) -> Tensor:
        """Return the mean of -log_prob [nat], shape batch_shape. Raises: InputError if no closed form is known."""
        raise InputError(f"{type(self).__name__}.entropy: no closed form is known; average -log_prob over samples")

    def cdf(self, value: Any) -> Tensor:
        """Return the probability of a draw that is not above a value. Raises: InputError if no closed form is known."""
        raise InputError(f"{type(self).__name__}.cdf: no closed form is known here; count samples")

    def _draw_shape(self, shape: Any) -> tuple[int, ...]:
        lead = shape if isinstance(shape, tuple | list) else (shape,)
        if not all(isinstance(n, int | np.integer) and n >= 0 for n in lead):
            raise InputError(f"{type(self).__name__}.sample(generator, shape): shape={shape!r} must be lengths of 0 or more")
        return (*map(int, lead), *self.batch_shape)

    def _value(self, value: Any) -> Tensor:
        """Return a value as a Tensor of real numbers that broadcasts with the distribution, or refuse it."""
        name = f"{type(self).__name__}.log_prob(value)"
        x = as_tensor(value)
        if x.dtype.kind == "c":
            raise DtypeError(f"{name}: value is {x.dtype}; it must be real")
        if not is_floating(x.dtype):
            x = x.astype(self.dtype)
        expected = (*self.batch_shape, *self.event_shape)
        try:
            np.broadcast_shapes(x.shape, expected)
        except ValueError as error:
            raise ShapeError(f"{name}: value has shape {x.shape}, which does not broadcast with {self!r}") from error
        if self.event_ndim and x.shape[x.ndim - self.event_ndim:] != self.event_shape:
            raise ShapeError(f"{name}: value has shape {x.shape}; its last axes must be one draw, {self.event_shape}")
        return x


def parameters(name: str, **given: Any) -> list[Tensor]:
    """Return parameters as floating Tensors of one dtype, broadcast to one shape; numbers take the dtype of the others (alone: float32).

    Raises: DtypeError if one is complex; ShapeError if they do not broadcast.
    """
    arrays = {key: as_tensor(x) for key, x in given.items()}
    strong = [x.dtype for key, x in arrays.items() if is_floating(x.dtype) and not isinstance(given[key], int | float)]
    for key, x in arrays.items():
        if x.dtype.kind == "c":
            raise DtypeError(f"{name}({key}): {x.dtype} is complex; parameters must be real")
    kind = result_dtype(strong) if strong else FLOAT
    cast = [_number(given[key], kind) if isinstance(given[key], int | float) else x.astype(kind) for key, x in arrays.items()]
    try:
        whole = np.broadcast_shapes(*(x.shape for x in cast))
    except ValueError as error:
        shapes = ", ".join(f"{key} {x.shape}" for key, x in arrays.items())
        raise ShapeError(f"{name}: parameters have shapes {shapes}, which do not broadcast with each other") from error
    places = [x.device for key, x in arrays.items() if not isinstance(given[key], int | float)]
    return [hp.broadcast_to(x if not places or x.device == places[0] or x.tracked else x.to(places[0]), whole) for x in cast]


def _number(value: float, kind: Any) -> Tensor:
    return hp.asarray(float(value), dtype=kind)


def require(name: str, rule: str, ok: Callable[[Any], Any], **given: Tensor) -> None:
    """Refuse parameters of which some value breaks a rule. Inside vmap values cannot be seen, and are not checked."""

    def look(array: Any, key: str) -> None:
        fits = ok(array)
        if not bool(fits.all()):
            wrong = array[~fits]
            raise InputError(f"{name}({key}): {len(wrong)} of {array.size} values break the rule, the first is {float(wrong[0]):g}; {rule}")

    for key, x in given.items():
        check_values(x, key, functools.partial(look, key=key))


def is_positive(values: Any) -> Any:
    """Tell for each value whether it is above 0 and finite."""
    return (values > 0) & (values < math.inf)


def is_finite(values: Any) -> Any:
    """Tell for each value whether it is finite."""
    return (values > -math.inf) & (values < math.inf)


def log_of(x: Tensor) -> Tensor:
    """Return log(x), and -inf with derivative 0 where x is 0."""
    some = x > 0.0
    return hp.where(some, hp.log(hp.where(some, x, 1.0)), -math.inf)


def times_log(k: Tensor, x: Tensor, complement: bool = False) -> Tensor:
    """Return k log(x), or k log(1 - x), for numbers from 0 to 1 or more; where the logarithm is -inf, the limit, with derivative 0."""
    some = x < 1.0 if complement else x > 0.0
    logarithm = hp.log1p(-hp.where(some, x, 0.0)) if complement else hp.log(hp.where(some, x, 1.0))
    return hp.where(some, k * logarithm, hp.where(k == 0.0, 0.0, hp.where(k > 0.0, -math.inf, math.inf)))
