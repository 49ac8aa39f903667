"""Gathers as functions of where sources and receivers are."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import grad, hvp, jvp, vjp
from hyperion.errors import InputError
from hyperion.testing import taylor_test
from tests.pde.cases import Case, difference, interpreter

pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
PLANE, VOLUME = (31, 37), (19, 18, 21)


class Places(Case):
    """An experiment as a function of its positions, samples and parameters."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.places = (self.survey.sources, self.survey.receivers)

    def at(self, sources, receivers, samples=None, *values):
        samples, values = self.args[0] if samples is None else samples, values or self.args[1:]
        wavelet = pde.Wavelet(samples, self.survey.wavelet.step)
        survey = pde.Survey(sources, receivers, wavelet, source_field=self.survey.source_field, receiver_field=self.survey.receiver_field)
        return self.solver.solve(survey, **dict(zip(self.solver.equation.parameters, values, strict=True)))

    def moves(self, size=0.1):
        """Return random moves of positions [m] that stay between the nodes they are between."""
        out = []
        for places in self.places:
            cells = places / np.array(self.solver.grid.spacing)
            room = np.minimum(cells % 1.0, 1.0 - cells % 1.0) * np.array(self.solver.grid.spacing)
            out.append(size * room * np.sign(self.random.standard_normal(places.shape)))
        return tuple(out)


CASES = [
    ((PLANE, 4, pde.CPML(width=5)), {}),
    ((PLANE, 4, pde.CPML(width=5)), {"substeps": 2}),
    ((PLANE, 4, pde.Periodic()), {}),
    ((PLANE, 4, pde.Sides(pde.CPML(width=5), top=pde.FreeSurface(), left=pde.Rigid())), {}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": pde.Elastic(), "fields": ("vz", "vx")}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": pde.Elastic(), "fields": ("pressure", "pressure")}),
    ((VOLUME, 2, pde.CPML(width=3)), {}),
]


@pytest.mark.parametrize(("args", "options"), CASES, ids=str)
def test_tracked_positions_hear_what_others_do(args, options):
    case = Places(*args, **options)
    plain = case.at(*case.places).numpy()
    tracked = case.at(*(hp.asarray(x, requires_grad=True) for x in case.places)).detach().numpy()
    # Both sum the same products, in another order.
    assert difference(tracked, plain) < 1e-12


@pytest.mark.parametrize(("args", "options"), CASES, ids=str)
def test_dot_and_differences(args, options):
    case = Places(*args, **options)
    out, pull = vjp(case.at, *case.places)
    weights, moves = case.random.standard_normal(out.shape), case.moves()
    moved = jvp(case.at, case.places, moves)[1].numpy()
    back = sum(np.vdot(g.numpy(), u) for g, u in zip(pull(weights), moves, strict=True))
    assert abs(np.vdot(moved, weights) - back) < 1e-12 * np.linalg.norm(moved) * np.linalg.norm(weights)
    h = 1e-4  # of at most half a cell: truncation h^2, rounding eps / h
    ahead, behind = (case.at(*(x + s * h * u for x, u in zip(case.places, moves, strict=True))).numpy() for s in (1.0, -1.0))
    assert difference(moved, (ahead - behind) / (2.0 * h)) < 1e-8


def test_taylor_remainders_of_positions_and_everything():
    case = Places((31, 37), 4, pde.CPML(width=5))
    u = (*case.moves(0.5), *case.directions(0.02))
    assert all(1.9 < order < 2.1 for order in taylor_test(lambda args: case.at(*args), case.places, u[:2], step=0.2, halvings=2))
    everything = (*case.places, *case.args)
    assert all(1.9 < order < 2.1 for order in taylor_test(lambda args: case.at(*args), everything, u, step=0.1, halvings=2))


def test_second_derivatives_with_the_model():
    case = Places((31, 37), 4, pde.CPML(width=5))
    x = (*case.places, *case.args)

    def misfit(*args):
        return hp.sum(case.at(*args) ** 2)

    u, v = ((*case.moves(), *case.directions()) for _ in range(2))
    hu, hv = ([d.numpy() for d in hvp(misfit, x, w)] for w in (u, v))
    inner = [sum(np.vdot(a, b) for a, b in zip(*pair, strict=True)) for pair in ((hu, v), (hv, u))]
    assert abs(inner[0] - inner[1]) < 1e-11 * abs(inner[0])
    h = 1e-5
    slope = grad(misfit, argnums=tuple(range(len(x))))
    ahead, behind = (slope(*(a + s * h * b for a, b in zip(x, u, strict=True))) for s in (1.0, -1.0))
    for got, one, other in zip(hu, ahead, behind, strict=True):
        assert difference(got, (one.numpy() - other.numpy()) / (2.0 * h)) < 1e-6


def test_the_interpreter_agrees():
    case = Places(PLANE, 4, pde.CPML(width=5))
    weights = case.random.standard_normal((2, 4, 40))
    kernels = vjp(case.at, *case.places)[1](weights)
    with interpreter():
        reference = vjp(case.at, *case.places)[1](weights)
    for got, want in zip(kernels, reference, strict=True):
        assert difference(got.numpy(), want.numpy()) < 1e-11


def test_on_a_node_the_slope_is_that_of_the_window():
    case = Places(PLANE, 4, pde.CPML(width=5))
    inner = tuple(np.clip(np.round(x / case.solver.grid.spacing), 2, 25) * case.solver.grid.spacing for x in case.places)
    moves = tuple(case.random.random(x.shape) for x in case.places)  # to the side on which the cells stay
    moved = jvp(case.at, inner, moves)[1].numpy()
    h = 1e-4  # of 5 m: the curvature of the window adds some pi h / 5
    assert difference(moved, (case.at(*(x + h * u for x, u in zip(inner, moves, strict=True))) - case.at(*inner)).numpy() / h) < 1e-3


def test_a_survey_keeps_what_is_tracked():
    places = hp.asarray(np.full((3, 1, 2), 11.0), requires_grad=True)
    survey = pde.Survey(places, np.zeros((3, 2, 2)), pde.ricker(10.0, 0.2, 1e-3))
    for other in (survey.subset([1, 2]), survey.with_wavelet(pde.ricker(5.0, 0.2, 1e-3))):
        assert other.moving_sources is not None and other.moving_sources.tracked and other.moving_receivers is None
    assert pde.Survey(places.detach(), np.zeros((3, 2, 2)), survey.wavelet).moving_sources is None


def test_a_source_that_sits_at_several_places_is_refused():
    class Twice(pde.AcousticVariableDensity):
        def sources(self, **symbols):
            return {"p": {"p": 1.0, "vx": 1.0}}

    case = Places(PLANE, 4, pde.CPML(width=5), equation=Twice(), fields=("p", "p"))
    with pytest.raises(InputError, match="p and vx sit at different places"):
        grad(lambda s: hp.sum(case.at(s, case.places[1])))(case.places[0])


def test_a_source_is_found():
    shape, wavelet = (40, 50), pde.ricker(20.0, 0.25, 1e-3)
    speed = np.full(shape, 2000.0)
    speed[25:] = 2400.0
    solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, 10.0), order=8, boundary=pde.CPML(width=10), threads=1)
    receivers = np.stack([np.full(10, 15.0), np.linspace(20.0, 470.0, 10)], axis=-1)[None]
    true = np.array([[[203.0, 287.0]]])
    observed = solver.solve(pde.Survey(true, receivers, wavelet), speed=speed)
    norm = float(hp.sum(observed**2).numpy())

    def misfit(place):
        return hp.sum((solver.solve(pde.Survey(place, receivers, wavelet), speed=speed) - observed) ** 2) / norm

    place, step = np.array([[[215.0, 270.0]]]), 30.0  # steepest descent with steps that grow after a gain and shrink after a loss
    value, slope = (x.numpy() for x in hp.value_and_grad(misfit)(place))
    for _ in range(40):
        trial = place - step * slope / np.linalg.norm(slope) * min(1.0, np.sqrt(value))
        found, direction = (x.numpy() for x in hp.value_and_grad(misfit)(trial))
        if found < value:
            place, value, slope, step = trial, found, direction, step * 1.3
        else:
            step *= 0.4
    assert np.abs(place - true).max() < 0.1  # a hundredth of a cell
