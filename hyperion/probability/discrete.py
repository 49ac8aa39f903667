"""Distributions of one whole number. Samples are constants: no derivative flows through them."""

import math
from typing import Any

from hyperion.autograd import Tensor, stop_gradient
from hyperion.autograd import functions as hp
from hyperion.autograd.random import Generator, gamma_probability
from hyperion.errors import InputError, ShapeError
from hyperion.probability.distribution import Distribution, drawing, log_of, parameters, require

__all__ = ["Bernoulli", "Categorical", "Poisson"]


class Bernoulli(Distribution):
    """The distribution of 1 with a probability, else 0.

    probability: from 0 to 1; or logits: log(p / (1 - p)), any real number. Draws have the dtype of the parameters.
    Raises: InputError unless one of the two is given, or for probabilities outside 0..1.

    >>> Bernoulli(0.25).log_prob([0.0, 1.0])
    Tensor (2,) float32, cpu: [-0.287682 -1.386294]
    """

    reparameterised = False

    def __init__(self, probability: Any = None, *, logits: Any = None) -> None:
        if (probability is None) == (logits is None):
            raise InputError("Bernoulli(probability, logits=): give one of the two")
        if logits is None:
            (p,) = parameters("Bernoulli", probability=probability)
            require("Bernoulli", "it must be from 0 to 1", lambda v: (v >= 0) & (v <= 1), probability=p)
            self.probability, self.log_yes, self.log_no = p, log_of(p), log_of(1.0 - p)
        else:
            (x,) = parameters("Bernoulli", logits=logits)
            require("Bernoulli", "it must be a number", lambda v: v == v, logits=x)
            self.probability, self.log_yes, self.log_no = hp.sigmoid(x), -hp.softplus(-x), -hp.softplus(x)
        super().__init__(self.probability)

    mean = property(lambda self: self.probability, doc="The mean.")
    variance = property(lambda self: self.probability * (1.0 - self.probability), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).bernoulli(self._draw_shape(shape), self.probability.detach()).astype(self.dtype)

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        return hp.where(x == 1.0, self.log_yes, hp.where(x == 0.0, self.log_no, -math.inf))

    def entropy(self) -> Tensor:
        return -(weighted(self.probability, self.log_yes) + weighted(1.0 - self.probability, self.log_no))

    def cdf(self, value: Any) -> Tensor:
        x = self._value(value)
        return hp.where(x >= 1.0, 1.0, hp.where(x >= 0.0, 1.0 - self.probability, 0.0))


class Categorical(Distribution):
    """The distribution of the number of a category.

    probabilities: shape (..., categories), 0 or more; each row is divided by its sum.
    logits: their logarithms up to a constant for each row; -inf for a category that never occurs. Draws are int64.
    Raises: InputError unless one of the two is given, for negative or NaN values and rows without a possible category.

    >>> Categorical([1.0, 1.0, 2.0]).log_prob([0, 2])
    Tensor (2,) float32, cpu: [-1.386294 -0.693147]
    """

    reparameterised = False

    def __init__(self, probabilities: Any = None, *, logits: Any = None) -> None:
        if (probabilities is None) == (logits is None):
            raise InputError("Categorical(probabilities, logits=): give one of the two")
        name = "probabilities" if logits is None else "logits"
        (x,) = parameters("Categorical", **{name: probabilities if logits is None else logits})
        if not x.ndim or not x.shape[-1]:
            raise ShapeError(f"Categorical({name}): shape {x.shape} has no last axis of categories; it must have at least one")
        if logits is None:
            require("Categorical", "it must be 0 or more, and finite", lambda v: (v >= 0) & (v < math.inf), probabilities=x)
            x = log_of(x)
        else:
            require("Categorical", "it must be a number below +inf", lambda v: v < math.inf, logits=x)
        top = stop_gradient(hp.max(x, axis=-1, keepdims=True))
        require("Categorical", "some category of each row must be possible", lambda v: v > -math.inf, **{name: top})
        self.logits = x - hp.logsumexp(x, axis=-1, keepdims=True)
        self.probabilities = hp.exp(self.logits)
        super().__init__(self.logits[..., 0])

    mean = property(lambda self: hp.sum(self.probabilities * self._numbers(), axis=-1), doc="The mean number.")

    @property
    def variance(self) -> Tensor:
        away = self._numbers() - hp.expand_dims(self.mean, -1)
        return hp.sum(self.probabilities * away * away, axis=-1)

    def _numbers(self) -> Tensor:
        return hp.arange(self.logits.shape[-1], dtype=self.dtype, device=self.device)

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).categorical(self._draw_shape(shape), self.logits.detach())

    def log_prob(self, value: Any) -> Tensor:
        chosen = hp.expand_dims(self._value(value), -1) == self._numbers()
        found = hp.sum(hp.where(chosen, self.logits, 0.0), axis=-1)
        return hp.where(hp.any(chosen, axis=-1), found, -math.inf)

    def entropy(self) -> Tensor:
        return -hp.sum(weighted(self.probabilities, self.logits), axis=-1)


class Poisson(Distribution):
    """The distribution of the number of events that happen `rate` times on average.

    rate: above 0; draws are int64, of rates up to 2^30.

    >>> Poisson(2.0).log_prob([0, 1, 2])
    Tensor (3,) float32, cpu: [-2.       -1.306853 -1.306853]
    """

    reparameterised = False

    def __init__(self, rate: Any) -> None:
        (self.rate,) = parameters("Poisson", rate=rate)
        require("Poisson", "it must be above 0 and finite", lambda v: (v > 0) & (v < math.inf), rate=self.rate)
        super().__init__(self.rate)

    mean = property(lambda self: self.rate, doc="The mean.")
    variance = property(lambda self: self.rate, doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).poisson(self._draw_shape(shape), self.rate.detach())

    def log_prob(self, value: Any) -> Tensor:
        k = self._value(value)
        inside = (k >= 0.0) & (hp.floor(k) == k)
        n = hp.where(inside, k, 0.0)
        return hp.where(inside, n * hp.log(self.rate) - self.rate - hp.gammaln(n + 1.0), -math.inf)

    def cdf(self, value: Any) -> Tensor:
        k = hp.floor(self._value(value))
        inside = k >= 0.0
        return hp.where(inside, 1.0 - gamma_probability(self.rate, hp.where(inside, k, 0.0) + 1.0), 0.0)


def weighted(p: Tensor, log_p: Tensor) -> Tensor:
    """Return p * log_p, 0 where p is 0."""
    return p * hp.where(p > 0.0, log_p, 0.0)
