"""Dropout: noise that training removes by learning not to depend on any one number."""

from typing import Any

from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError
from hyperion.nn.arguments import as_fraction
from hyperion.nn.initializers import default_generator
from hyperion.nn.module import Module

__all__ = ["Dropout"]


def drop(x: Any, probability: float, generator: Generator | None, name: str) -> Tensor:
    """Return x with numbers set to zero with a probability, and the others divided by 1 - probability.

    >>> drop([1.0, 2.0, 3.0], 1.0, None, "Dropout")
    Tensor (3,) float32, cpu: [0. 0. 0.]
    """
    x = as_tensor(x)
    if not is_inexact(x.dtype):
        raise DtypeError(f"{name}: x is {x.dtype}; it must be floating or complex: use .astype('float32')")
    if probability == 0.0:
        return x
    keep = default_generator(generator).bernoulli(x.shape, 1.0 - probability, device=x.device)
    return x * (keep.astype(x.dtype) * (1.0 / (1.0 - probability) if probability < 1.0 else 0.0))


class Dropout(Module):
    """While training, set numbers to zero with a probability, and divide the others by 1 - probability; in evaluation, return the input.

    generator: where the random numbers come from; None: the one that layers share (see `nn.seed`). The mean of each number stays the same.
    Inside vmap every example has the same zeros.
    Source: Srivastava et al. 2014, JMLR 15, 1929.

    >>> from hyperion import nn
    >>> nn.Dropout(0.5).eval()([1.0, 2.0])
    Tensor (2,) float32, cpu: [1. 2.]
    """

    def __init__(self, probability: float = 0.5, generator: Generator | None = None) -> None:
        self.probability = as_fraction(probability, "Dropout(probability)")
        if generator is not None:
            default_generator(generator)        # refuses what is no generator
        self.generator = generator

    def forward(self, x: Any) -> Tensor:
        """Return x, with zeros while training."""
        return drop(x, self.probability, self.generator, "Dropout") if self.training else as_tensor(x)
