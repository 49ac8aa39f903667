"""Linear layers whose weight is a product: each row has a trained scale of its own."""

import math
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module, parameter

__all__ = ["FactorisedLinear"]


class FactorisedLinear(Module):
    """Return x @ weight.T + bias with weight = diag(exp(s)) v: random weight factorisation.

    v: (outputs, inputs).  s: (outputs,), the logarithm of each row's scale.  bias: (outputs,), zero to begin with, or None.
    The product begins as Glorot's normal initialisation; s as normal numbers of the given mean and deviation. The function is that of a
    Linear layer, but gradient descent moves each neuron at a rate of its own; solutions with steep parts are found sooner.
    Raises: InputError for a deviation below 0; ShapeError if x does not end in an axis of length `inputs`.
    Source: Wang, Wang, Seidman and Perdikaris 2022, "Random weight factorization", arXiv:2210.01274, eqs. 3.4-3.6; mean and deviation
    as recommended in its section 3.

    >>> layer = FactorisedLinear(3, 2)
    >>> layer(hp.ones((5, 3))).shape, list(layer.named_parameters())
    ((5, 2), ['s', 'v', 'bias'])
    """

    bias: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, dtype: Any = None, generator: Generator | None = None,
        mean: float = 1.0, deviation: float = 0.1,
    ) -> None:
        self.inputs, self.outputs = as_count(inputs, "FactorisedLinear(inputs)"), as_count(outputs, "FactorisedLinear(outputs)")
        if not math.isfinite(mean) or not 0.0 <= deviation < math.inf:
            raise InputError(f"FactorisedLinear(mean={mean!r}, deviation={deviation!r}): the mean must be finite, the deviation 0 or more")
        weight = initializers.xavier_normal((outputs, inputs), generator, dtype=dtype)
        s = mean + initializers.normal((outputs,), generator, deviation, dtype)
        self.s = parameter(s)
        self.v = parameter(weight * hp.exp(-s)[:, None])
        self.bias = parameter(hp.zeros((outputs,), dtype=weight.dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        x = as_tensor(x)
        if not x.ndim or x.shape[-1] != self.inputs:
            raise ShapeError(
                f"FactorisedLinear({self.inputs}, {self.outputs}): x has shape {x.shape}; its last axis must have length {self.inputs}"
            )
        return hp.affine(x, hp.exp(self.s)[:, None] * self.v, self.bias)
