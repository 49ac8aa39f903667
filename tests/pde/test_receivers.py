"""Strain along fibres and time integrals: laws, plane waves in closed form, and what is refused."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import BoundaryError, InputError, ShapeError
from hyperion.pde.survey import taps
from hyperion.testing import taylor_test
from tests.pde import oracles
from tests.pde.cases import Case, difference, hold_to_the_interpreter
from tests.pde.test_derivatives import mismatch

ROCK = {"p_speed": 2500.0, "s_speed": 1400.0, "density": 2000.0}
pytestmark = pytest.mark.usefixtures("quick_to_compile")
noise = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # white wavelets


def around(case, receivers=None, field=None):
    """Let a case hear something else, at other places if given."""
    old = case.survey
    case.survey = pde.Survey(old.sources, old.receivers if receivers is None else receivers, old.wavelet,
                             source_field=old.source_field, receiver_field=field)
    return case


FIELDS = [
    pde.StrainRate((1.0, -0.4)),
    pde.StrainRate([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-1.0, 1.0)], gauge=11.0),
    pde.TimeIntegral("vx"),
    pde.TimeIntegral(pde.StrainRate((0.3, 1.0), gauge=8.0)),
]


@noise
@pytest.mark.parametrize("field", FIELDS, ids=str)
@pytest.mark.parametrize("options", [{"equation": pde.Elastic()}, {"equation": pde.AcousticVariableDensity(), "substeps": 2}], ids=str)
def test_the_laws(field, options):
    case = Case((31, 37), 4, pde.Sides(pde.CPML(5), top=pde.FreeSurface()), **options)
    receivers = case.survey.receivers.copy()
    receivers[..., 0] = np.clip(receivers[..., 0], 10.0, 130.0)  # room for gauges
    receivers[..., 1] = np.clip(receivers[..., 1], 10.0, 200.0)
    case = around(case, receivers, field)
    assert mismatch(case) < 1e-12
    hold_to_the_interpreter(case, 1e-12)
    direction = tuple(np.where(x == 0.0, 0.0, d) for x, d in zip(case.args, case.directions(0.01), strict=True))
    orders = taylor_test(lambda args: hp.sum(case.gathers(*args) ** 2), case.args, direction, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders)


def test_slopes_of_polynomials():
    # Weights of slopes are exact for polynomials of the seventh degree, and of the fifth where cells are few.
    points = np.array([[7.3], [9.0], [2.2], [12.5]])
    for limits, degree in ((None, 7), ([(1, 14)], 5)):
        cells, weights, owner = taps(points, limits, slope=np.ones((4, 1)))
        for power in range(degree + 1):
            found = np.bincount(owner, weights * (cells[:, 0] / 10.0) ** power)
            np.testing.assert_allclose(found, power * (points[:, 0] / 10.0) ** max(power - 1, 0) / 10.0, atol=1e-11)


def plane_wave(receivers, field, spacing=10.0, frequency=12.0, step=5e-4, steps=500):
    """Return what is heard of a P wave [velocity], travelling down from a sheet across a periodic strip, and its times.

    A force f(t) per area at the sheet sends v = f(t - z / speed) / (2 density speed) to both sides.
    """
    shape = (120, 12)
    times = np.arange(steps) * step
    sources = np.stack([np.full(12, 405.0), np.arange(12) * spacing], axis=1)  # on the half points, where vz sits
    wavelet = pde.Wavelet(oracles.ricker(times, frequency, 0.1) * spacing, step)
    boundary = pde.Sides(pde.CPML(20), left=pde.Periodic(), right=pde.Periodic())
    wave = pde.Solver(pde.Elastic(), pde.Grid(shape, spacing), order=8, boundary=boundary)
    survey = pde.Survey(sources[None], np.array(receivers)[None], wavelet, source_field="vz", receiver_field=field)
    return wave.solve(survey, **{k: np.full(shape, v) for k, v in ROCK.items()}).numpy()[0], times


@pytest.mark.parametrize("integral", [False, True], ids=["rate", "strain"])
@pytest.mark.parametrize("gauge", [0.0, 10.0, 60.0])
def test_strain_of_a_plane_wave(gauge, integral):
    # Strain rate d_z v d_z^2 with v = f(t - z / c) / (2 density c); over a gauge, the difference of its ends.
    z, angle, c = 303.7, 0.5, ROCK["p_speed"]
    direction = (np.cos(angle), np.sin(angle))
    field = pde.StrainRate(direction, gauge)
    heard, times = plane_wave([(405.0 + z, 53.1)], pde.TimeIntegral(field) if integral else field)
    half = max(0.5 * gauge * direction[0], 0.05)

    def v(down):  # or its time integral; velocities are half a step earlier than their samples' times
        t = times - (0.0 if integral else 2.5e-4) - (z + down) / c - 0.1
        return t * np.exp(-((np.pi * 12.0 * t) ** 2)) if integral else oracles.ricker(t, 12.0, 0.0)

    exact = direction[0] ** 2 / (2.0 * ROCK["density"] * c) * (v(half) - v(-half)) / (2.0 * half)
    assert oracles.relative_l2(heard[0], exact) < 0.005  # 0.0038 measured at a gauge of a cell, where the sincs at both ends count most


def test_a_time_integral_of_velocity_is_the_displacement():
    heard, times = plane_wave([(705.0, 50.0)], pde.TimeIntegral("vz"))
    t = times - 300.0 / ROCK["p_speed"] - 0.1
    exact = t * np.exp(-((np.pi * 12.0 * t) ** 2)) / (2.0 * ROCK["density"] * ROCK["p_speed"])
    assert oracles.relative_l2(heard[0], exact) < 0.003


@noise
@pytest.mark.parametrize(("options", "early"), [({}, True), ({"stepping": pde.RungeKutta4}, False)], ids=str)
def test_integrals_of_a_field_held_at_its_time_or_half_a_step_early(options, early):
    case = Case((31, 37), 4, pde.CPML(5), equation=pde.Elastic(), fields=("pressure", "vz"), **options)
    plain = case.gathers(*case.args).numpy()
    total = around(case, field=pde.TimeIntegral("vz")).gathers(*case.args).numpy()
    expected = np.cumsum(plain, axis=-1) if early else 0.5 * np.cumsum(plain[..., 1:] + plain[..., :-1], axis=-1)
    assert difference(total[..., 0 if early else 1 :], expected * case.survey.wavelet.step) < 1e-13
    stress = around(case, field="szz").gathers(*case.args).numpy()
    total = around(case, field=pde.TimeIntegral("szz")).gathers(*case.args).numpy()[..., 1:]
    assert difference(total, 0.5 * np.cumsum(stress[..., 1:] + stress[..., :-1], axis=-1) * case.survey.wavelet.step) < 1e-13


class Both(pde.Elastic):
    """Something to hear that mixes what is held at different times."""

    def receivers(self):
        return {**super().receivers(), "both": {"vz": 1.0, "vx": 1.0, "szx": 1e-6}}


class NoVelocity(pde.AcousticVariableDensity):
    """An equation that does not say which fields are velocities."""

    def __init__(self):
        super().__init__()
        self.particle_velocity = {}


REFUSED = [
    (lambda: pde.StrainRate((0.0, 0.0)), InputError, "finite and not zero"),
    (lambda: pde.StrainRate("along"), ShapeError, r"StrainRate\(direction='along'"),
    (lambda: pde.StrainRate(np.ones((1, 2, 2))), ShapeError, r"shape \(1, 2, 2\)"),
    (lambda: pde.StrainRate((1.0, 0.0), gauge=-1.0), InputError, "at least 0"),
    (lambda: pde.TimeIntegral(3), InputError, r"TimeIntegral\(of=3\)"),
    (lambda: heard_of(pde.StrainRate((1.0, 0.0, 0.0))), ShapeError, "1 receivers a shot on a grid of 2 axes"),
    (lambda: heard_of(pde.StrainRate((1.0, 0.0), gauge=500.0)), BoundaryError, "outside the grid"),
    (lambda: heard_of(pde.StrainRate((1.0, 0.0)), NoVelocity()), InputError, "declares no particle_velocity along axis -2"),
    (lambda: heard_of(pde.TimeIntegral("both"), Both()), InputError, "integrate them one by one"),
    (lambda: heard_of(pde.TimeIntegral("vq")), InputError, "receiver_field='vq'"),
    (lambda: heard_of(pde.StrainRate((1.0, 0.0)), tracked=True), InputError, "cannot be differentiated"),
]


def heard_of(field, equation=None, tracked=False):
    """Ask an equation for something."""
    equation = equation or pde.Elastic()
    receivers = np.array([[(150.0, 150.0)]])
    survey = pde.Survey([[(100.0, 100.0)]], hp.asarray(receivers, requires_grad=True) if tracked else receivers,
                        pde.ricker(10.0, 0.1, 1e-3), receiver_field=field)
    medium = {**ROCK, "speed": 2500.0}
    return pde.Solver(equation, pde.Grid((30, 40), 10.0), order=4, boundary=pde.CPML(5)).solve(
        survey, **{k: np.full((30, 40), medium[k]) for k in equation.parameters})


@noise
@pytest.mark.parametrize(("call", "error", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
