"""The laws, walked over the registry: kernels equal the interpreter, the adjoint is exact, tangents are slopes, Hessians symmetric."""

import inspect
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import hvp, jvp, vjp
from tests.pde.cases import Case, difference, hold_to_the_interpreter
from tests.pde.registry import ENTRIES, STORAGES, Combination, covering, everything, sampled

# The wavelets are white noise, so that nothing is hidden by smoothness.
pytestmark = [pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning"), pytest.mark.usefixtures("quick_to_compile")]

SAMPLED = sampled()


EPS = {np.float64: np.finfo(np.float64).eps, np.float32: float(np.finfo(np.float32).eps)}


def equal_the_interpreter(combination: Combination) -> None:
    """Gathers and gradients of the kernels are the interpreter's; 1e3 eps bounds rounding, as in test_kernels."""
    hold_to_the_interpreter(combination.case(combination.dtype), 1e3 * EPS[combination.dtype])


def adjoint_and_tangent(combination: Combination) -> None:
    """<J u, w> = <u, J' w> to 1e-12 of the norms, and J u is the slope of the gathers along u."""
    case = combination.case()
    _, gradients, weights = case.with_gradients()
    directions = case.directions()
    born = jvp(case.gathers, case.args, directions)[1].numpy()
    forward, reverse = np.vdot(born, weights), sum(np.vdot(g, u) for g, u in zip(gradients, directions, strict=True))
    assert abs(forward - reverse) <= 1e-12 * np.linalg.norm(born) * np.linalg.norm(weights)
    inside = within(case, directions)
    born = jvp(case.gathers, case.args, inside)[1].numpy()
    h = 1e-5  # truncation h^2 = 1e-10, rounding eps / h = 2e-11
    ahead, behind = (case.gathers(*(x + s * h * d for x, d in zip(case.args, inside, strict=True))).numpy() for s in (1.0, -1.0))
    if born.any():
        assert difference(born, (ahead - behind) / (2.0 * h)) < 1e-7


def within(case: Case, directions: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return directions that leave zeros of materials zero: no step goes below them."""
    return (directions[0], *(np.where(x == 0.0, 0.0, d) for x, d in zip(case.args[1:], directions[1:], strict=True)))


def second_derivatives(combination: Combination) -> None:
    """The Hessian of a misfit is symmetric, is the slope of the gradient, and its Gauss-Newton part is the adjoint of the tangent."""
    case = combination.case()
    u, v = (within(case, case.directions()) for _ in range(2))

    def misfit(args):
        return hp.sum(case.gathers(*args) ** 2)

    def inner(a, b):
        return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))

    def product(d):
        return [x.numpy() for x in hvp(misfit, (case.args,), (d,))[0]]

    def slope(h):
        return [x.numpy() for x in hp.grad(misfit)(tuple(x + h * d for x, d in zip(case.args, u, strict=True)))]

    hu, hv = product(u), product(v)
    assert abs(inner(hu, v) - inner(hv, u)) <= 1e-12 * np.sqrt(inner(hu, hu) * inner(v, v))
    h = 1e-5
    for got, ahead, behind in zip(hu, slope(h), slope(-h), strict=True):
        assert difference(got, (ahead - behind) / (2.0 * h)) < 1e-6 if got.any() else True
    born = [jvp(case.gathers, case.args, d)[1].numpy() for d in (u, v)]
    back = [g.numpy() for g in vjp(case.gathers, *case.args)[1](born[0])]
    assert abs(inner(back, v) - np.vdot(born[0], born[1])) <= 1e-12 * np.linalg.norm(born[0]) * np.linalg.norm(born[1])


@pytest.mark.parametrize("combination", SAMPLED, ids=str)
def test_kernels_equal_the_interpreter(combination):
    equal_the_interpreter(combination)


@pytest.mark.parametrize("combination", SAMPLED, ids=str)
def test_adjoint_and_tangent(combination):
    adjoint_and_tangent(combination)


@pytest.mark.parametrize("combination", SAMPLED[::2], ids=str)
def test_second_derivatives(combination):
    second_derivatives(combination)


@pytest.mark.full
@pytest.mark.parametrize("group", everything(), ids=lambda group: f"{group[0].entry.name}-{group[0].boundary}-{group[0].order}")
def test_all_laws_everywhere(group, record_property):
    broken = []
    for law in (equal_the_interpreter, adjoint_and_tangent, second_derivatives):
        for combination in group:
            try:
                law(combination)
            except Exception as error:  # the others are judged all the same
                broken.append(f"{law.__name__} {combination}: {type(error).__name__}: {error}")
            record_property(law.__name__, str(combination))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("lengths", [(7, 5, 3, 2, 2), (1, 5, 3, 2, 2), (2, 2), (3, 1, 4, 4)])
def test_coverings_have_every_pair(lengths):
    factors = [[f"{i}.{k}" for k in range(n)] for i, n in enumerate(lengths)]
    rows = covering(factors)
    for one, other in itertools.combinations(factors, 2):
        assert all(any(a in row and b in row for row in rows) for a, b in itertools.product(one, other))
    largest = max(len(one) * len(other) for one, other in itertools.combinations(factors, 2))
    assert len(rows) <= 2 * largest  # and few rows


def test_the_walk_has_every_boundary_with_every_storage():
    walked = {(c.entry.name, c.boundary, c.storage) for group in everything() for c in group}
    for entry in ENTRIES:
        storages = [name for name, made in STORAGES.items() if made(1).every_step or not entry.nonlinear]
        assert {(entry.name, b, s) for b in entry.boundaries for s in storages} <= walked


def test_every_equation_has_an_entry():
    stepped = {type(entry.equation) for entry in ENTRIES}
    for name in pde.__all__:
        made = getattr(pde, name)
        if inspect.isclass(made) and issubclass(made, pde.Equation) and not inspect.isabstract(made):
            assert made in stepped or made in UNSTEPPED, f"pde.{name} has no entry in tests/pde/registry.py"


# Fourth derivatives and steady fields, which the engine does not step, and one that serves networks only so far.
UNSTEPPED = {pde.KuramotoSivashinsky, pde.Poisson, pde.Schroedinger}
