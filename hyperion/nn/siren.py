"""Networks of sines, and activations whose slope is trained."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.linear import Linear
from hyperion.nn.module import Module, parameter

__all__ = ["SIREN", "AdaptiveActivation"]


class SIREN(Module):
    """Return x passed through layers h -> sin(frequency (W h + b)) and a last linear one: a network for signals and their derivatives.

    sizes: [inputs, hidden..., outputs], three or more; inputs best between -1 and 1.
    frequency: omega_0 of all layers [radians per unit of x in the first]; 30 for images and sounds, near 1 to 10 for smooth solutions.
    The first weights begin equally probable between +- 1 / inputs, the others between +- sqrt(6 / fan in) / frequency: the arguments of
    the sines then have deviation near 0.9 in all hidden layers beyond the first, however many there are.
    Raises: InputError for fewer than three sizes or a frequency that is not positive.
    Source: Sitzmann et al. 2020, "Implicit neural representations with periodic activation functions", arXiv:2006.09661, section 3.2.

    >>> SIREN([2, 32, 32, 1], frequency=10.0)(hp.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self, sizes: Sequence[int], frequency: float = 30.0, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        if not isinstance(sizes, list | tuple) or len(sizes) < 3:
            raise InputError(f"SIREN(sizes): sizes={sizes!r} must be a list of three or more numbers, [inputs, hidden..., outputs]")
        if isinstance(frequency, bool) or not isinstance(frequency, int | float) or not 0.0 < frequency < math.inf:
            raise InputError(f"SIREN(frequency)={frequency!r} must be a number above 0")
        counts = [as_count(n, "SIREN(sizes)") for n in sizes]
        self.frequency = float(frequency)
        self.layers = [Linear(a, b, True, dtype, generator) for a, b in itertools.pairwise(counts)]
        for i, layer in enumerate(self.layers):
            bound = math.sqrt(6.0 / layer.inputs) / self.frequency if i else 1.0 / layer.inputs
            layer.weight.assign(initializers.uniform(layer.weight.shape, generator, bound, dtype))

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        for layer in self.layers[:-1]:
            x = hp.sin(self.frequency * layer(x))
        return self.layers[-1](x)


class AdaptiveActivation(Module):
    """Return function(sharpness * a * x) with a trained slope a, 1 / sharpness to begin with: at first it is the function itself.

    function: of a Tensor, elementwise.  width: None: one slope for all; or one slope for each of so many neurons, the last axis of x.
    sharpness: how much faster the slope moves than the weights, 1 or more.
    As `activation=` of a network it is shared by its layers.
    Raises: InputError for a sharpness below 1 or a function that cannot be called; ShapeError if x does not end in `width` numbers.
    Source: Jagtap, Kawaguchi and Karniadakis 2020, J. Comput. Phys. 404, 109136, eq. 5; slopes by neuron: the same, Proc. R. Soc. A 476,
    20200334, section 2.

    >>> layer = AdaptiveActivation(hp.tanh)
    >>> bool(hp.allclose(layer(hp.asarray([0.5, 1.0])), hp.tanh(hp.asarray([0.5, 1.0]))))
    True
    """

    def __init__(
        self, function: Callable[..., Any] = hp.tanh, width: int | None = None, sharpness: float = 10.0, dtype: Any = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"AdaptiveActivation(function)={function!r} must be callable, such as hyperion.tanh")
        if isinstance(sharpness, bool) or not isinstance(sharpness, int | float) or not 1.0 <= sharpness < math.inf:
            raise InputError(f"AdaptiveActivation(sharpness)={sharpness!r} must be a number, 1 or more")
        self.function, self.sharpness = function, float(sharpness)
        self.width = None if width is None else as_count(width, "AdaptiveActivation(width)")
        self.slope = parameter(hp.full(() if width is None else (width,), 1.0 / self.sharpness, dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        """Return the function of x, of the same shape."""
        x = as_tensor(x)
        if self.width is not None and x.shape[-1:] != (self.width,):
            raise ShapeError(f"AdaptiveActivation(width={self.width}): x has shape {x.shape}; its last axis must have length {self.width}")
        return self.function(self.sharpness * self.slope * x)
