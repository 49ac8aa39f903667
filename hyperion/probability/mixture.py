"""Mixtures: a draw of one of several distributions."""

from typing import Any

from hyperion.autograd import Tensor
from hyperion.autograd import functions as hp
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.probability.discrete import Categorical
from hyperion.probability.distribution import Distribution

__all__ = ["Mixture"]


class Mixture(Distribution):
    """A mixture of distributions of one family: first a component is drawn, then a value from it.

    weights: Categorical over the components.  components: a distribution with an axis of components at the end of its batch shape.
    Samples are constants: which component was drawn does not depend smoothly on the weights.
    Raises: InputError or ShapeError unless they are such.

    >>> from hyperion.probability import Normal
    >>> Mixture(Categorical([0.25, 0.75]), Normal([-2.0, 2.0], 1.0)).mean
    Tensor () float32, cpu: 1.
    """

    reparameterised = False

    def __init__(self, weights: Categorical, components: Distribution) -> None:
        if not isinstance(weights, Categorical) or not isinstance(components, Distribution):
            raise InputError(
                f"Mixture(weights, components): got {type(weights).__name__} and {type(components).__name__}; give a Categorical and a "
                "distribution"
            )
        count = weights.logits.shape[-1]
        if components.batch_shape != (*weights.batch_shape, count):
            raise ShapeError(
                f"Mixture(weights, components): components have batch shape {components.batch_shape}; it must be that of the logits, "
                f"{weights.logits.shape}"
            )
        self.weights, self.components = weights, components
        self.event_ndim = components.event_ndim
        super().__init__(components.mean[(..., 0, *(slice(None),) * components.event_ndim)])

    def _shares(self) -> Tensor:
        """Return the probability of each component, with axes for the event."""
        p = self.weights.probabilities
        return hp.reshape(p, (*p.shape, *(1,) * self.event_ndim))

    @property
    def mean(self) -> Tensor:
        return hp.sum(self._shares() * self.components.mean, axis=-1 - self.event_ndim)

    @property
    def variance(self) -> Tensor:
        away = self.components.mean - hp.expand_dims(self.mean, -1 - self.event_ndim)
        return hp.sum(self._shares() * (self.components.variance + away * away), axis=-1 - self.event_ndim)

    def sample(self, generator: Generator, shape: Any = ()) -> Tensor:
        lead = self._draw_shape(shape)[: len(self._draw_shape(shape)) - len(self.batch_shape)]
        chosen = hp.expand_dims(self.weights.sample(generator, lead), -1) == hp.arange(self.components.batch_shape[-1])
        chosen = hp.reshape(chosen, (*chosen.shape, *(1,) * self.event_ndim))
        drawn = self.components.sample(generator, lead).detach()
        return hp.sum(hp.where(chosen, drawn, drawn * 0), axis=-1 - self.event_ndim)

    def log_prob(self, value: Any) -> Tensor:
        x = hp.expand_dims(self._value(value), -1 - self.event_ndim)
        return hp.logsumexp(self.weights.logits + self.components.log_prob(x), axis=-1)

    def responsibilities(self, value: Any) -> Tensor:
        """Return the probability that each component made a value: (..., components)."""
        x = hp.expand_dims(self._value(value), -1 - self.event_ndim)
        return hp.softmax(self.weights.logits + self.components.log_prob(x), axis=-1)

    def cdf(self, value: Any) -> Tensor:
        x = hp.expand_dims(self._value(value), -1)
        return hp.sum(self.weights.probabilities * self.components.cdf(x), axis=-1)
