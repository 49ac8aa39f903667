"""What several files of tests of PINNs use."""

import hyperion as hp
from hyperion import nn, operators
from hyperion.operators import Box

PLANE = Box(z=(-1, 1), x=(-1, 1), t=(0, 1))


class Solution(nn.Module):
    """A function of the variables in the place of a network."""

    def __init__(self, function):
        self.function, self.shift = function, nn.parameter(0.0, "float64")

    def forward(self, x):
        fields = self.function(*(x[..., k:k + 1] for k in range(x.shape[-1])))
        fields = fields if isinstance(fields, tuple) else (fields,)
        return hp.concat([f + self.shift for f in fields], axis=-1)


def points_in(domain, count=60):
    return domain.interior(count, operators.Sobol(), hp.random.Generator(3))
