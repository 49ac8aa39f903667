"""Probability distributions: samples that carry derivatives, log-probabilities, entropies, divergences.

    noise = Normal(mean, scale)                     # parameters are Tensors, arrays or numbers; they broadcast
    x = noise.sample(hp.random.Generator(0), (100,))
    loss = -noise.log_prob(x).mean()
    kl_divergence(noise, Normal(0.0, 1.0))
"""

from hyperion.probability.continuous import Beta, Exponential, Gamma, HalfNormal, Laplace, LogNormal, Normal, StudentT, Uniform
from hyperion.probability.discrete import Bernoulli, Categorical, Poisson
from hyperion.probability.distribution import Distribution
from hyperion.probability.divergence import closed_form, kl_divergence
from hyperion.probability.mixture import Mixture
from hyperion.probability.multivariate import Dirichlet, MultivariateNormal

__all__ = [
    "Bernoulli", "Beta", "Categorical", "Dirichlet", "Distribution", "Exponential", "Gamma", "HalfNormal", "Laplace", "LogNormal",
    "Mixture", "MultivariateNormal", "Normal", "Poisson", "StudentT", "Uniform", "closed_form", "kl_divergence",
]
