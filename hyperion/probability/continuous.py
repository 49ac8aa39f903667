"""Distributions of one real number."""

import math
from typing import Any

from hyperion.autograd import Tensor
from hyperion.autograd import functions as hp
from hyperion.autograd.random import Generator, gamma_probability
from hyperion.probability.distribution import Distribution, drawing, is_finite, is_positive, parameters, require, times_log

__all__ = ["Beta", "Exponential", "Gamma", "HalfNormal", "Laplace", "LogNormal", "Normal", "StudentT", "Uniform"]

LOG_2PI = math.log(2.0 * math.pi)
POSITIVE = "it must be above 0 and finite"
FINITE = "it must be finite"


class Normal(Distribution):
    """The normal distribution.

    mean: real.  scale: standard deviation, above 0.
    Raises: InputError for values that break these rules; ShapeError if they do not broadcast.

    >>> Normal(1.0, 2.0).log_prob([1.0, 3.0])
    Tensor (2,) float32, cpu: [-1.612086 -2.112086]
    """

    def __init__(self, mean: Any, scale: Any) -> None:
        self._mean, self.scale = parameters("Normal", mean=mean, scale=scale)
        require("Normal", FINITE, is_finite, mean=self._mean)
        require("Normal", POSITIVE, is_positive, scale=self.scale)
        super().__init__(self._mean)

    mean = property(lambda self: self._mean, doc="The mean.")
    variance = property(lambda self: hp.square(self.scale), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).normal(self._draw_shape(shape), self._mean, self.scale)

    def log_prob(self, value: Any) -> Tensor:
        z = (self._value(value) - self._mean) / self.scale
        return -0.5 * z * z - hp.log(self.scale) - 0.5 * LOG_2PI

    def entropy(self) -> Tensor:
        return hp.log(self.scale) + 0.5 * (1.0 + LOG_2PI)

    def cdf(self, value: Any) -> Tensor:
        return hp.ndtr((self._value(value) - self._mean) / self.scale)


class LogNormal(Distribution):
    """The distribution of a number whose logarithm is normal.

    location, scale: mean and standard deviation of the logarithm; scale above 0.

    >>> LogNormal(0.0, 1.0).mean
    Tensor () float32, cpu: 1.648721
    """

    def __init__(self, location: Any, scale: Any) -> None:
        self.location, self.scale = parameters("LogNormal", location=location, scale=scale)
        require("LogNormal", FINITE, is_finite, location=self.location)
        require("LogNormal", POSITIVE, is_positive, scale=self.scale)
        super().__init__(self.location)

    @property
    def logarithm(self) -> Normal:
        """The distribution of the logarithm."""
        return Normal(self.location, self.scale)

    mean = property(lambda self: hp.exp(self.location + 0.5 * self.scale * self.scale), doc="The mean.")
    variance = property(lambda self: hp.expm1(self.scale * self.scale) * hp.square(self.mean), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return hp.exp(self.logarithm.sample(generator, shape))

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        inside = x > 0.0
        log_x = hp.log(hp.where(inside, x, 1.0))
        return hp.where(inside, self.logarithm.log_prob(log_x) - log_x, -math.inf)

    def entropy(self) -> Tensor:
        return self.logarithm.entropy() + self.location

    def cdf(self, value: Any) -> Tensor:
        x = self._value(value)
        inside = x > 0.0
        return hp.where(inside, self.logarithm.cdf(hp.log(hp.where(inside, x, 1.0))), 0.0)


class HalfNormal(Distribution):
    """The distribution of the absolute value of a normal number of mean 0.

    scale: standard deviation of that number, above 0.

    >>> HalfNormal(2.0).mean
    Tensor () float32, cpu: 1.595769
    """

    def __init__(self, scale: Any) -> None:
        (self.scale,) = parameters("HalfNormal", scale=scale)
        require("HalfNormal", POSITIVE, is_positive, scale=self.scale)
        super().__init__(self.scale)

    mean = property(lambda self: self.scale * math.sqrt(2.0 / math.pi), doc="The mean.")
    variance = property(lambda self: hp.square(self.scale) * (1.0 - 2.0 / math.pi), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return hp.abs(drawing(generator).normal(self._draw_shape(shape), dtype=self.dtype, device=self.device)) * self.scale

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        z = x / self.scale
        return hp.where(x >= 0.0, -0.5 * z * z - hp.log(self.scale) + 0.5 * math.log(2.0 / math.pi), -math.inf)

    def entropy(self) -> Tensor:
        return hp.log(self.scale) + 0.5 * (1.0 + math.log(math.pi / 2.0))

    def cdf(self, value: Any) -> Tensor:
        x = self._value(value)
        return hp.where(x >= 0.0, hp.erf(x / (self.scale * math.sqrt(2.0))), 0.0)


class Uniform(Distribution):
    """The uniform distribution from low to high.

    low, high: finite, low below high. The density is 1 / (high - low) from low up to and with high.

    >>> Uniform(0.0, [2.0, 4.0]).entropy()
    Tensor (2,) float32, cpu: [0.693147 1.386294]
    """

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = parameters("Uniform", low=low, high=high)
        require("Uniform", FINITE, is_finite, low=self.low, high=self.high)
        self.width = self.high - self.low
        require("Uniform", "high must exceed low, by what is given here", is_positive, high=self.width)
        super().__init__(self.low)

    mean = property(lambda self: 0.5 * (self.low + self.high), doc="The mean.")
    variance = property(lambda self: hp.square(self.width) / 12.0, doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).uniform(self._draw_shape(shape), self.low, self.high)

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        return hp.where((x >= self.low) & (x <= self.high), -hp.log(self.width), -math.inf)

    def entropy(self) -> Tensor:
        return hp.log(self.width)

    def cdf(self, value: Any) -> Tensor:
        return hp.clip((self._value(value) - self.low) / self.width, 0.0, 1.0)


class Laplace(Distribution):
    """The Laplace distribution, of density exp(-|x - mean| / scale) / (2 scale).

    mean: real.  scale: above 0; the standard deviation is sqrt(2) times it.

    >>> Laplace(0.0, 1.0).cdf([-1.0, 0.0, 1.0])
    Tensor (3,) float32, cpu: [0.18394 0.5     0.81606]
    """

    def __init__(self, mean: Any, scale: Any) -> None:
        self._mean, self.scale = parameters("Laplace", mean=mean, scale=scale)
        require("Laplace", FINITE, is_finite, mean=self._mean)
        require("Laplace", POSITIVE, is_positive, scale=self.scale)
        super().__init__(self._mean)

    mean = property(lambda self: self._mean, doc="The mean.")
    variance = property(lambda self: 2.0 * hp.square(self.scale), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).laplace(self._draw_shape(shape), self._mean, self.scale)

    def log_prob(self, value: Any) -> Tensor:
        return -hp.abs(self._value(value) - self._mean) / self.scale - hp.log(2.0 * self.scale)

    def entropy(self) -> Tensor:
        return 1.0 + hp.log(2.0 * self.scale)

    def cdf(self, value: Any) -> Tensor:
        z = (self._value(value) - self._mean) / self.scale
        tail = 0.5 * hp.exp(-hp.abs(z))
        return hp.where(z < 0.0, tail, 1.0 - tail)


class StudentT(Distribution):
    """Student's t distribution, moved and stretched.

    freedom: degrees of freedom, above 0; the mean exists above 1 (NaN otherwise), the variance is finite above 2 (NaN up to 1).
    location: real.  scale: above 0.

    >>> StudentT(3.0).variance
    Tensor () float32, cpu: 3.
    """

    def __init__(self, freedom: Any, location: Any = 0.0, scale: Any = 1.0) -> None:
        self.freedom, self.location, self.scale = parameters("StudentT", freedom=freedom, location=location, scale=scale)
        require("StudentT", FINITE, is_finite, location=self.location)
        require("StudentT", POSITIVE, is_positive, freedom=self.freedom, scale=self.scale)
        super().__init__(self.freedom)

    @property
    def mean(self) -> Tensor:
        return hp.where(self.freedom > 1.0, self.location, math.nan)

    @property
    def variance(self) -> Tensor:
        finite = self.freedom > 2.0
        safe = hp.where(finite, self.freedom, 3.0)
        infinite = hp.where(self.freedom > 1.0, math.inf, math.nan)
        return hp.where(finite, hp.square(self.scale) * safe / (safe - 2.0), infinite)

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        whole, half = self._draw_shape(shape), 0.5 * self.freedom
        z = drawing(generator).normal(whole, dtype=self.dtype, device=self.device)
        # z / sqrt(chi^2 / freedom), through logarithms: chi^2 underflows for few degrees of freedom
        log_ratio = 0.5 * (hp.log(half) - generator.log_gamma(whole, half))
        return self.location + self.scale * z * hp.exp(log_ratio)

    def log_prob(self, value: Any) -> Tensor:
        z = (self._value(value) - self.location) / self.scale
        half = 0.5 * self.freedom
        return -(half + 0.5) * hp.log1p(z * z / self.freedom) - self._log_norm()

    def _log_norm(self) -> Tensor:
        half = 0.5 * self.freedom
        return 0.5 * hp.log(self.freedom * math.pi) + hp.log(self.scale) + hp.gammaln(half) - hp.gammaln(half + 0.5)

    def entropy(self) -> Tensor:
        half = 0.5 * self.freedom
        return (half + 0.5) * (hp.digamma(half + 0.5) - hp.digamma(half)) + self._log_norm()


class Exponential(Distribution):
    """The exponential distribution, of density rate * exp(-rate x) for x >= 0.

    rate: above 0; the mean is 1 / rate.

    >>> Exponential(2.0).mean
    Tensor () float32, cpu: 0.5
    """

    def __init__(self, rate: Any) -> None:
        (self.rate,) = parameters("Exponential", rate=rate)
        require("Exponential", POSITIVE, is_positive, rate=self.rate)
        super().__init__(self.rate)

    mean = property(lambda self: 1.0 / self.rate, doc="The mean.")
    variance = property(lambda self: hp.square(1.0 / self.rate), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).exponential(self._draw_shape(shape), 1.0 / self.rate)

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        return hp.where(x >= 0.0, hp.log(self.rate) - self.rate * x, -math.inf)

    def entropy(self) -> Tensor:
        return 1.0 - hp.log(self.rate)

    def cdf(self, value: Any) -> Tensor:
        return -hp.expm1(-self.rate * hp.maximum(self._value(value), 0.0))


class Gamma(Distribution):
    """The gamma distribution, of density x^(concentration - 1) exp(-rate x), up to a factor, for x >= 0.

    concentration, rate: above 0.

    >>> Gamma(3.0, 2.0).mean, Gamma(3.0, 2.0).cdf(1.5)
    (Tensor () float32, cpu: 1.5, Tensor () float32, cpu: 0.57681)
    """

    def __init__(self, concentration: Any, rate: Any) -> None:
        self.concentration, self.rate = parameters("Gamma", concentration=concentration, rate=rate)
        require("Gamma", POSITIVE, is_positive, concentration=self.concentration, rate=self.rate)
        super().__init__(self.concentration)

    mean = property(lambda self: self.concentration / self.rate, doc="The mean.")
    variance = property(lambda self: self.concentration / hp.square(self.rate), doc="The variance.")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).gamma(self._draw_shape(shape), self.concentration, 1.0 / self.rate)

    def log_prob(self, value: Any) -> Tensor:
        x, a = self._value(value), self.concentration
        inside = x >= 0.0
        y = hp.where(inside, x, 1.0)
        density = times_log(a - 1.0, y) - self.rate * y + a * hp.log(self.rate) - hp.gammaln(a)
        return hp.where(inside, density, -math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - hp.log(self.rate) + hp.gammaln(a) + (1.0 - a) * hp.digamma(a)

    def cdf(self, value: Any) -> Tensor:
        return gamma_probability(self._value(value) * self.rate, self.concentration)


class Beta(Distribution):
    """The beta distribution, of density x^(a - 1) (1 - x)^(b - 1), up to a factor, for 0 <= x <= 1.

    a, b: above 0. A draw nearer to 1 than the dtype resolves is 1, where the density is infinite for b below 1.

    >>> Beta(2.0, 3.0).mean
    Tensor () float32, cpu: 0.4
    """

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = parameters("Beta", a=a, b=b)
        require("Beta", POSITIVE, is_positive, a=self.a, b=self.b)
        super().__init__(self.a)

    mean = property(lambda self: self.a / (self.a + self.b), doc="The mean.")

    @property
    def variance(self) -> Tensor:
        total = self.a + self.b
        return self.a * self.b / (total * total * (total + 1.0))

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).beta(self._draw_shape(shape), self.a, self.b)

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        inside = (x >= 0.0) & (x <= 1.0)
        y = hp.where(inside, x, 0.5)
        density = times_log(self.a - 1.0, y) + times_log(self.b - 1.0, y, complement=True) - hp.betaln(self.a, self.b)
        return hp.where(inside, density, -math.inf)

    def entropy(self) -> Tensor:
        a, b = self.a, self.b
        return (
            hp.betaln(a, b) - (a - 1.0) * hp.digamma(a) - (b - 1.0) * hp.digamma(b) + (a + b - 2.0) * hp.digamma(a + b)
        )
