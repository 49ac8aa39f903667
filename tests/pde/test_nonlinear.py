"""Products of fields in rates: what is refused, and that the kernels of three dimensions have them too."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.autograd import jvp, vjp
from hyperion.errors import InputError
from tests.pde.cases import Case, Cubic, difference, interpreter
from tests.pde.registry import ENTRIES, Combination

CUBIC = next(entry for entry in ENTRIES if entry.name == "cubic")

# White noise as wavelets: every frequency takes part.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")


def test_three_dimensions():
    def values(random):
        return [(1500.0 + 900.0 * random.random(shape)), 1e7 * (0.5 + random.random(shape))]

    shape = (14, 13, 18)
    case = Case(shape, 2, pde.CPML(width=2), equation=Cubic(), steps=15, values=values, storage=pde.Checkpoints(bytes=2_500_000))
    case.args = (3e7 * case.args[0], *case.args[1:])
    out, gradients, weights = case.with_gradients()
    linear = case.gathers(case.args[0], case.args[1], 1e-9 * case.args[2]).numpy()
    assert difference(linear, out) > 0.02
    with interpreter():
        expected, expected_gradients, _ = case.with_gradients(weights)
    for got, want in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        assert difference(got, want) < 1e3 * np.finfo(np.float64).eps             # as in test_laws


@pytest.mark.parametrize("storage", [pde.EverySteps(), pde.Checkpoints(bytes=1_000_000)], ids=repr)
def test_derivatives_by_the_wavelet_alone(storage):
    # The adjoint step reads what was recorded where no parameter is asked for too, and gathers are not linear in the wavelet.
    case = Combination(CUBIC, "layer", 4, "every", 1, "p", "p").case()
    case.solver.storage = storage
    samples, *others = case.args
    direction, _, _ = case.directions()

    def gathers(s):
        return case.gathers(s, *others)

    tangent = jvp(gathers, (samples,), (direction,))[1].numpy()
    weights = case.random.standard_normal(tangent.shape)
    (back,) = vjp(gathers, samples)[1](weights)
    assert abs(np.vdot(tangent, weights) - np.vdot(back.numpy(), direction)) < 1e-12 * np.linalg.norm(tangent) * np.linalg.norm(weights)
    h = 1e-5                                                                      # truncation h^2 = 1e-10, rounding eps / h = 2e-11
    slope = (gathers(samples + h * direction).numpy() - gathers(samples - h * direction).numpy()) / (2.0 * h)
    assert difference(tangent, slope) < 1e-7
    assert difference(gathers(direction).numpy(), tangent) > 0.1


def test_storages_without_every_step_are_refused():
    grid = pde.Grid((30, 30), 10.0)
    assert pde.Solver(Cubic(), grid).storage == pde.Auto()
    with pytest.raises(InputError, match=r"Solver\(storage=Thinned\(every=2, bits=32\)\): Cubic is nonlinear.*use pde.Auto"):
        pde.Solver(Cubic(), grid, storage=pde.Thinned(every=2, bits=32))
    with pytest.raises(InputError, match=r"Solver\(storage=OnDisk\(Thinned"):
        pde.Solver(Cubic(), grid, storage=pde.OnDisk(pde.Thinned()))
