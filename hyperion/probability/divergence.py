"""The Kullback-Leibler divergence, where a closed form is known: a table of pairs of distributions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor
from hyperion.autograd import functions as hp
from hyperion.autograd.ops.linalg import solve_triangular
from hyperion.errors import InputError, ShapeError
from hyperion.probability.continuous import LOG_2PI, Beta, Exponential, Gamma, HalfNormal, Laplace, LogNormal, Normal, Uniform
from hyperion.probability.discrete import Bernoulli, Categorical, Poisson
from hyperion.probability.distribution import Distribution
from hyperion.probability.multivariate import Dirichlet, MultivariateNormal

__all__ = ["closed_form", "kl_divergence"]

Form = Callable[[Any, Any], Tensor]
FORMS: dict[tuple[type[Distribution], type[Distribution]], Form] = {}


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """Return the divergence of q from p, the mean over p of log p - log q [nat]; shape of both batches, broadcast.

    It is +inf where p has values that q has not.
    Raises: InputError if no closed form is known for the pair; ShapeError if the shapes do not broadcast.

    >>> from hyperion.probability import Normal
    >>> kl_divergence(Normal(0.0, 1.0), Normal([0.0, 1.0], 1.0))
    Tensor (2,) float32, cpu: [0.  0.5]
    """
    form = FORMS.get((type(p), type(q)))
    if form is None:
        known = ", ".join(sorted(other.__name__ for kind, other in FORMS if kind is type(p))) or "none"
        raise InputError(
            f"kl_divergence(p, q): no closed form is known for {type(p).__name__} and {type(q).__name__} (for this p: {known}); average "
            "p.log_prob(x) - q.log_prob(x) over samples x of p, or add one with closed_form"
        )
    try:
        np.broadcast_shapes(p.batch_shape, q.batch_shape)
    except ValueError as error:
        raise ShapeError(f"kl_divergence(p, q): batches {p.batch_shape} and {q.batch_shape} do not broadcast") from error
    if p.event_shape != q.event_shape:
        raise ShapeError(f"kl_divergence(p, q): events have shapes {p.event_shape} and {q.event_shape}; they must agree")
    return form(p, q)


def closed_form(p: type[Distribution], q: type[Distribution]) -> Callable[[Form], Form]:
    """Return a decorator that adds a function (p, q) -> Tensor to the table of `kl_divergence`.

    >>> from hyperion.probability import HalfNormal, Normal
    >>> @closed_form(HalfNormal, Normal)
    ... def half_normal_from_normal(p, q):
    ...     return -p.entropy() + 0.5 * hp.log(2.0 * np.pi * q.variance) + 0.5 * (p.variance + (p.mean - q.mean) ** 2) / q.variance
    >>> kl_divergence(HalfNormal(1.0), Normal(0.0, 1.0))
    Tensor () float32, cpu: 0.693147
    >>> del FORMS[HalfNormal, Normal]
    """

    def add(form: Form) -> Form:
        FORMS[p, q] = form
        return form

    return add


@closed_form(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio, away = p.scale / q.scale, (p.mean - q.mean) / q.scale
    return 0.5 * (ratio * ratio + away * away - 1.0) - hp.log(ratio)


@closed_form(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal(p.logarithm, q.logarithm)


@closed_form(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    ratio = p.scale / q.scale
    return 0.5 * (ratio * ratio - 1.0) - hp.log(ratio)


@closed_form(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    ratio, away = solve_triangular(q.scale_tril, p.scale_tril), q.whiten(p.mean - q.mean)
    square = hp.sum(ratio * ratio, axis=(-2, -1)) + hp.sum(away * away, axis=-1)
    return 0.5 * (square - float(p.event_shape[0])) + q.half_log_det() - p.half_log_det()


@closed_form(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    return hp.where((q.low <= p.low) & (p.high <= q.high), hp.log(q.width / p.width), math.inf)


@closed_form(Uniform, Normal)
def _uniform_from_normal(p: Uniform, q: Normal) -> Tensor:
    away = (p.mean - q.mean) / q.scale
    return 0.5 * (LOG_2PI + away * away + p.variance / q.variance) + hp.log(q.scale / p.width)


@closed_form(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    away, ratio = hp.abs(p.mean - q.mean), p.scale / q.scale
    return away / q.scale + ratio * hp.exp(-away / p.scale) - hp.log(ratio) - 1.0


@closed_form(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - hp.log(ratio) - 1.0


@closed_form(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b, ratio = p.concentration, q.concentration, q.rate / p.rate
    return (a - b) * hp.digamma(a) - hp.gammaln(a) + hp.gammaln(b) - b * hp.log(ratio) + a * (ratio - 1.0)


@closed_form(Exponential, Gamma)
def _exponential_from_gamma(p: Exponential, q: Gamma) -> Tensor:
    return _gamma(Gamma(1.0, p.rate), q)


@closed_form(Gamma, Exponential)
def _gamma_from_exponential(p: Gamma, q: Exponential) -> Tensor:
    return _gamma(p, Gamma(1.0, q.rate))


@closed_form(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    a, b = p.a - q.a, p.b - q.b
    return (
        hp.betaln(q.a, q.b) - hp.betaln(p.a, p.b) + a * hp.digamma(p.a) + b * hp.digamma(p.b) - (a + b) * hp.digamma(p.a + p.b)
    )


@closed_form(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    difference = p.concentration - q.concentration
    mean_log = hp.digamma(p.concentration) - hp.digamma(p.total)
    return q.log_norm() - p.log_norm() + hp.sum(difference * mean_log, axis=-1)


@closed_form(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * hp.log(p.rate / q.rate) - p.rate + q.rate


@closed_form(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    return _excess(p.probability, p.log_yes, q.log_yes) + _excess(1.0 - p.probability, p.log_no, q.log_no)


@closed_form(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    if p.logits.shape[-1] != q.logits.shape[-1]:
        raise ShapeError(f"kl_divergence(p, q): {p.logits.shape[-1]} and {q.logits.shape[-1]} categories; they must agree")
    return hp.sum(_excess(p.probabilities, p.logits, q.logits), axis=-1)


def _excess(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return p (log_p - log_q), 0 where p is 0."""
    some = p > 0.0
    return hp.where(some, p * (hp.where(some, log_p, 0.0) - hp.where(some, log_q, 0.0)), 0.0)
