"""Distributions of vectors."""

import math
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, stop_gradient
from hyperion.autograd import functions as hp
from hyperion.autograd.dtypes import is_floating
from hyperion.autograd.ops.linalg import cholesky, solve_triangular
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.probability.distribution import Distribution, drawing, is_finite, is_positive, parameters, require, times_log

__all__ = ["Dirichlet", "MultivariateNormal"]

LOG_2PI = math.log(2.0 * math.pi)


class MultivariateNormal(Distribution):
    """The normal distribution of a vector of n numbers.

    mean: (..., n).  covariance: (..., n, n), symmetric and positive definite; or scale_tril: a lower triangular matrix L with positive
    diagonal, for the covariance L L^T. The axes before broadcast.
    Raises: InputError unless one of the two is given, or if the covariance is not symmetric or not positive definite, or the diagonal of
    scale_tril not positive; ShapeError if the shapes do not fit.

    >>> noise = MultivariateNormal([0.0, 0.0], covariance=[[2.0, 1.0], [1.0, 2.0]])
    >>> noise.log_prob([1.0, 1.0])
    Tensor () float32, cpu: -2.720516
    """

    event_ndim = 1

    def __init__(self, mean: Any, covariance: Any = None, *, scale_tril: Any = None) -> None:
        if (covariance is None) == (scale_tril is None):
            raise InputError("MultivariateNormal(mean, covariance, scale_tril=): give one of covariance and scale_tril")
        name = "covariance" if scale_tril is None else "scale_tril"
        given = as_tensor(covariance if scale_tril is None else scale_tril)
        centre = as_tensor(mean)
        matrix, centre = (x if is_floating(x.dtype) else x.astype(np.float32) for x in (given, centre))
        kind = np.result_type(matrix.dtype, centre.dtype)
        matrix, centre = matrix.astype(kind), centre.astype(kind)
        if centre.ndim < 1 or matrix.ndim < 2 or matrix.shape[-2:] != (centre.shape[-1],) * 2:
            raise ShapeError(
                f"MultivariateNormal(mean, {name}): mean has shape {centre.shape}, {name} has {matrix.shape}; "
                "they must be (..., n) and (..., n, n)"
            )
        require("MultivariateNormal", "it must be finite", is_finite, **{"mean": centre, name: matrix})
        try:
            batch = np.broadcast_shapes(centre.shape[:-1], matrix.shape[:-2])
        except ValueError as error:
            raise ShapeError(
                f"MultivariateNormal(mean, {name}): mean has shape {centre.shape}, {name} has {matrix.shape}; the axes before the last, "
                "and before the last two, must broadcast"
            ) from error
        n = centre.shape[-1]
        self._mean = hp.broadcast_to(centre, (*batch, n))
        if scale_tril is None:
            # What rounding leaves of the symmetry of A A^T, n terms in each element.
            slack = 4.0 * n * float(np.finfo(kind).eps)
            across = stop_gradient(matrix - hp.matrix_transpose(matrix))
            size = stop_gradient(hp.max(hp.abs(matrix), axis=(-2, -1), keepdims=True))
            require("MultivariateNormal", "it must be symmetric; given here is by how much, relative to the largest, it is not",
                    lambda v: abs(v) <= slack, covariance=across / hp.where(size > 0.0, size, 1.0))
            matrix = cholesky(matrix)
        else:
            above, diagonal = np.triu(np.ones((n, n), bool), 1), np.eye(n, dtype=bool)
            require("MultivariateNormal", "it must be 0 above the diagonal", lambda v: v == 0, scale_tril=hp.where(above, matrix, 0.0))
            require("MultivariateNormal", "its diagonal must be above 0", is_positive, scale_tril=hp.where(diagonal, matrix, 1.0))
        self.scale_tril = hp.broadcast_to(matrix, (*batch, n, n))
        super().__init__(self._mean)

    mean = property(lambda self: self._mean, doc="The mean, (..., n).")
    variance = property(lambda self: hp.sum(hp.square(self.scale_tril), axis=-1), doc="The diagonal of the covariance, (..., n).")
    covariance = property(lambda self: self.scale_tril @ hp.matrix_transpose(self.scale_tril), doc="The covariance, (..., n, n).")

    def half_log_det(self) -> Tensor:
        """Return half the logarithm of the determinant of the covariance, shape batch_shape."""
        places = np.arange(self.event_shape[0])
        return hp.sum(hp.log(self.scale_tril[..., places, places]), axis=-1)

    def whiten(self, x: Tensor) -> Tensor:
        """Return L^-1 x for vectors x, (..., n)."""
        return solve_triangular(self.scale_tril, hp.expand_dims(x, -1))[..., 0]

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        whole = (*self._draw_shape(shape), *self.event_shape)
        z = drawing(generator).normal((*whole, 1), dtype=self.dtype, device=self.device)
        return self._mean + (self.scale_tril @ z)[..., 0]

    def log_prob(self, value: Any) -> Tensor:
        z = self.whiten(self._value(value) - self._mean)
        return -0.5 * hp.sum(z * z, axis=-1) - self.half_log_det() - 0.5 * LOG_2PI * self.event_shape[0]

    def entropy(self) -> Tensor:
        return self.half_log_det() + 0.5 * (1.0 + LOG_2PI) * self.event_shape[0]


class Dirichlet(Distribution):
    """The distribution of n parts that sum to 1, of density prod x_i^(concentration_i - 1), up to a factor.

    concentration: (..., n), above 0, n at least 2. Values count as inside the support if their sum is 1 to half the digits of the dtype.

    >>> Dirichlet([1.0, 2.0, 3.0]).mean
    Tensor (3,) float32, cpu: [0.166667 0.333333 0.5     ]
    """

    event_ndim = 1

    def __init__(self, concentration: Any) -> None:
        (self.concentration,) = parameters("Dirichlet", concentration=concentration)
        if not self.concentration.ndim or self.concentration.shape[-1] < 2:
            raise ShapeError(f"Dirichlet(concentration): shape {self.concentration.shape} must have a last axis of 2 parts or more")
        require("Dirichlet", "it must be above 0 and finite", is_positive, concentration=self.concentration)
        super().__init__(self.concentration)

    @property
    def total(self) -> Tensor:
        """The sum of the concentration, (..., 1)."""
        return hp.sum(self.concentration, axis=-1, keepdims=True)

    mean = property(lambda self: self.concentration / self.total, doc="The mean, (..., n).")
    variance = property(lambda self: self.mean * (1.0 - self.mean) / (self.total + 1.0), doc="The variance of each part, (..., n).")

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        return drawing(generator).dirichlet(self._draw_shape(shape), self.concentration)

    def log_norm(self) -> Tensor:
        """Return the logarithm of the integral of the density without its factor, shape batch_shape."""
        return hp.sum(hp.gammaln(self.concentration), axis=-1) - hp.gammaln(hp.sum(self.concentration, axis=-1))

    def log_prob(self, value: Any) -> Tensor:
        x = self._value(value)
        whole = stop_gradient(hp.abs(hp.sum(x, axis=-1) - 1.0)) <= math.sqrt(float(np.finfo(self.dtype).eps))
        inside = hp.all(x >= 0.0, axis=-1) & whole
        y = hp.where(hp.expand_dims(inside, -1), x, 1.0)
        return hp.where(inside, hp.sum(times_log(self.concentration - 1.0, y), axis=-1) - self.log_norm(), -math.inf)

    def entropy(self) -> Tensor:
        c, total = self.concentration, hp.sum(self.concentration, axis=-1)
        n = self.event_shape[0]
        return self.log_norm() + (total - float(n)) * hp.digamma(total) - hp.sum((c - 1.0) * hp.digamma(c), axis=-1)
