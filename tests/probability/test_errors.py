"""First mistakes: a seed where a generator belongs."""

import pytest

from hyperion import probability
from hyperion.errors import InputError


@pytest.mark.parametrize("make", [
    lambda: probability.Normal(0.0, 1.0), lambda: probability.Gamma(2.0, 1.0), lambda: probability.Bernoulli(0.5),
    lambda: probability.Dirichlet([1.0, 2.0]), lambda: probability.StudentT(3.0, 0.0, 1.0),
])
def test_a_seed_is_no_generator(make):
    with pytest.raises(InputError, match=r"must be a hyperion.random.Generator\(seed\)"):
        make().sample(0, (2,))
