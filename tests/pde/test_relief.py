"""Free surfaces that follow topography: laws, tilted planes against closed forms, a hill against a finer grid, and that nothing grows."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import BoundaryError, InputError, ShapeError
from hyperion.pde.relief import relief_of
from hyperion.testing import taylor_test
from tests.pde import half_space, oracles
from tests.pde.cases import Case, difference, hold_to_the_interpreter
from tests.pde.test_derivatives import mismatch

pytestmark = [pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning"), pytest.mark.usefixtures("quick_to_compile")]

ROCK = {"p_speed": 3200.0, "s_speed": 1847.5, "density": 2200.0}
SOLID = pde.Attenuation.fitted(5.0, 50.0, mechanisms=1)
HILL = 40.0 + 15.0 * np.sin(np.arange(37) / 4.0)
ROUGH = 30.0 + 10.0 * np.random.default_rng(0).random((19, 22))
STRIP = {"left": pde.Periodic(), "right": pde.Periodic()}


def over(depth, layer=5, **sides):
    """Return a boundary with a surface at a depth."""
    return pde.Sides(pde.CPML(layer), top=pde.FreeSurface(depth), **sides)


def random_medium(*ranges):
    """Return a function of a random generator: parameters between these bounds."""
    return lambda random: [low + (high - low) * random.random((31, 37)) for low, high in ranges]


LOSSY = random_medium((1900.0, 2600.0), (800.0, 1200.0), (1e3, 2e3), (20.0, 30.0), (20.0, 30.0))


LAWS = [
    (pde.Acoustic(), 8, over(HILL), {}),
    (pde.Acoustic(), 4, over(HILL, **STRIP), {"storage": pde.BoundaryRing()}),
    (pde.Acoustic(), 4, over(HILL, left=pde.Rigid(), bottom=pde.Rigid()), {"stepping": pde.LaxWendroff}),
    (pde.AcousticVTI(), 2, over(HILL), {"values": random_medium((1500.0, 2000.0), (0.1, 0.2), (0.0, 0.05))}),
    (pde.Acoustic(), 4, over(ROUGH, 3), {"shape": (24, 19, 22)}),
    (pde.Elastic(), 2, over(HILL), {"fields": ("vz", "vx"), "storage": pde.Checkpoints(10**6)}),
    (pde.Elastic(), 2, over(HILL, **STRIP), {"fields": ("pressure", "szx")}),
    (pde.Elastic(), 2, over(HILL), {"fields": ("mzx", pde.StrainRate((0.3, 1.0)))}),
    (pde.ElasticSH(), 2, over(HILL), {"values": random_medium((1500.0, 2000.0), (1000.0, 1500.0))}),
    (pde.Viscoelastic(SOLID), 2, over(HILL, 0), {"values": LOSSY}),
    (pde.Elastic(ndim=3), 2, over(ROUGH, 0), {"shape": (24, 19, 22), "fields": ("vz", "vy")}),
]


@pytest.mark.parametrize(("equation", "order", "boundary", "options"), LAWS, ids=[f"{type(row[0]).__name__}-{row[2]!r}" for row in LAWS])
def test_the_laws(equation, order, boundary, options):
    options = {"steps": 30} | options
    case = Case(options.pop("shape", (31, 37)), order, boundary, equation=equation, **options)
    assert mismatch(case) < 1e-12
    hold_to_the_interpreter(case, 1e-12)


@pytest.mark.parametrize("equation", [pde.Acoustic(), pde.Elastic()], ids=["acoustic", "elastic"])
def test_taylor_and_nothing_depends_on_the_air(equation):
    fields = (None, None) if isinstance(equation, pde.Acoustic) else ("vz", "vx")
    case = Case((31, 37), 2, over(HILL), equation=equation, fields=fields, steps=30)
    direction = tuple(np.where(x == 0.0, 0.0, d) for x, d in zip(case.args, case.directions(0.01), strict=True))
    orders = taylor_test(lambda args: hp.sum(case.gathers(*args) ** 2), case.args, direction, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders)
    air = np.arange(31)[:, None] * 5.0 < HILL - 5.0
    out, gradients, _ = case.with_gradients()
    assert not any(g[air].any() for g in gradients[1:])
    emptied = [np.where(air, 0.0, x) for x in case.args[1:]]
    np.testing.assert_array_equal(case.gathers(case.args[0], *emptied).numpy(), out)


def test_depth_zero_and_flat_is_a_flat_free_surface():
    # With the surface on a row of nodes V is zero at order 2: the same program as images make, to rounding.
    shape, deep = (40, 44), 3
    wavelet = pde.Wavelet(oracles.ricker(np.arange(300) * 1e-3, 20.0, 0.06), 1e-3)
    heard = []
    for top, rows in ((pde.FreeSurface(), 0), (pde.FreeSurface(np.full(44, 10.0 * deep)), deep)):
        wave = pde.Solver(pde.Acoustic(), pde.Grid((shape[0] + rows, shape[1]), 10.0), order=2, boundary=pde.Sides(pde.CPML(10), top=top))
        survey = pde.Survey([[(60.0 + 10.0 * rows, 200.0)]], [[(100.0 + 10.0 * rows, 300.0)]], wavelet)
        heard.append(wave.solve(survey, speed=np.full((shape[0] + rows, shape[1]), 2000.0)).numpy())
    assert difference(heard[1], heard[0]) < 1e-12


def tilted(slope, spacing, stepping):
    """Return relative errors of pressure below a tilted surface: the source in a full space less its image."""
    speed, frequency, step, extent = 2000.0, 15.0, 1e-3, (760.0 + 1800.0 * slope, 1800.0)
    shape = tuple(int(x / spacing) + 1 for x in extent)
    times = np.arange(620) * step
    source = np.array([260.3 + 900.3 * slope, 900.3])
    receivers = np.array([[60.3 + slope * x + z, x] for x, z in ((900.0, 50.0), (1100.0, 100.0), (700.0, 30.0))])
    surface = 60.3 + slope * np.arange(shape[1]) * spacing
    wave = pde.Solver(pde.Acoustic(), pde.Grid(shape, spacing), order=8, boundary=over(surface, 20), stepping=stepping)
    survey = pde.Survey([[source]], [receivers], pde.Wavelet(oracles.ricker(times, frequency, 0.09), step))
    out = wave.solve(survey, speed=np.full(shape, speed)).numpy()[0]
    normal = np.array([1.0, -slope]) / np.hypot(1.0, slope)
    image = source - 2.0 * ((source - [60.3 + slope * 900.3, 900.3]) @ normal) * normal

    def exact(place, receiver):
        distance = float(np.linalg.norm(receiver - place))
        return oracles.acoustic_2d(lambda t: oracles.ricker(t, frequency, 0.09), times, distance, speed)

    return [oracles.relative_l2(trace, exact(source, r) - exact(image, r)) for trace, r in zip(out, receivers, strict=True)]


@pytest.mark.parametrize("slope", [0.1, 0.577, 1.0])
def test_a_tilted_surface_of_acoustics(slope):
    # 13 points per wavelength at the peak, 5 at 40 Hz: 0.018 measured at a slope of 0.1, 0.006 at the others.
    assert max(tilted(slope, 10.0, pde.LaxWendroff())) < 0.02


@pytest.mark.full
@pytest.mark.parametrize("slope", [0.1, 0.3, 0.577, 1.0])
def test_a_tilted_surface_of_acoustics_on_a_finer_grid(slope):
    assert max(tilted(slope, 5.0, pde.LaxWendroff())) < 0.0015  # 0.0011 measured at a slope of 0.1
    assert max(tilted(slope, 5.0, pde.Leapfrog())) < 0.02  # the time step's error, as without a surface


@pytest.mark.parametrize("below", [0.0, 0.25, 0.5, 0.9])
def test_rayleigh_waves_wherever_a_flat_surface_lies(below):
    # Between rows of nodes, in a ring of one wavelength, 15 points.
    speed, n, step = half_space.rayleigh_speed(1800.0, 1000.0), 15, 1e-3
    ends = np.stack([np.full(n, 55.0), np.arange(n) * 10.0], axis=1)
    phase = np.pi * speed / 150.0 * (np.arange(4000) * step - 0.2)
    samples = np.cos(2.0 * np.pi * np.arange(n) / n)[None, :, None] * (1.0 - 2.0 * phase**2) * np.exp(-(phase**2))
    boundary = over(np.full(n, 30.0 + 10.0 * below), 20, **STRIP)
    wave = pde.Solver(pde.Elastic(), pde.Grid((60, n), 10.0), order=2, boundary=boundary)
    survey = pde.Survey(ends[None], ends[None, :1], pde.Wavelet(samples, step), source_field="vz", receiver_field="vz")
    medium = {"p_speed": 1800.0, "s_speed": 1000.0, "density": 2000.0}
    trace = wave.solve(survey, **{k: np.full((60, n), v) for k, v in medium.items()}).numpy()[0, 0]
    found = half_space.oscillation(trace[2500:], step).real * 150.0 / (2.0 * np.pi)
    assert abs(found / speed - 1.0) < (0.008 if below == 0.5 else 0.005)  # 0.35, 0.17, 0.7 and 0.3 % measured


def lamb(slope, spacing):
    """Return relative errors of the velocity across and along a tilted surface, 500 m from a force across it, both on the surface."""
    angle, step, frequency, delay = np.arctan(slope), 1e-3, 6.0, 0.25
    times = np.arange(int((delay + 500.0 / 1600.0 + 1.2 / frequency) / step)) * step
    width = 1500.0 * np.cos(angle) + 400.0
    surface = 21.3 + slope * np.arange(int(width / spacing) + 1) * spacing
    shape = (int((surface.max() + 500.0) / spacing) + 1, len(surface))
    across, along = np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])
    source = np.array([21.3 + slope * 600.3, 600.3])
    wave = pde.Solver(pde.Elastic(), pde.Grid(shape, spacing), order=2, boundary=over(surface, 20))
    medium, early = {k: np.full(shape, v) for k, v in ROCK.items()}, 0.0
    heard = np.zeros((2, len(times)))
    for sent, part in zip(("vz", "vx"), across, strict=True):
        for field, pieces in zip(("vz", "vx"), zip(across, along, strict=True), strict=True):
            wavelet = pde.Wavelet(part * oracles.ricker(times, frequency, delay), step)
            survey = pde.Survey([[source]], [[source + 500.0 * along]], wavelet, source_field=sent, receiver_field=field)
            heard += np.array(pieces)[:, None] * wave.solve(survey, **medium).numpy()[0, 0]
            early = 0.5 * wave.plan(survey, **medium).step
    exact = half_space.lamb(times - delay - early, 500.0, frequency, **ROCK)
    return [oracles.relative_l2(a, b) for a, b in zip(heard, exact, strict=True)]


def test_lambs_problem_on_a_tilted_surface():
    assert max(lamb(0.3, 10.0)) < 0.17  # 17 points per shortest wavelength of S waves, order 2


@pytest.mark.full
@pytest.mark.parametrize(("slope", "most"), [(0.1, 0.03), (0.3, 0.06), (0.577, 0.08), (1.0, 0.08)])
def test_lambs_problem_on_a_tilted_surface_of_a_finer_grid(slope, most):
    assert max(lamb(slope, 5.0)) < most


@pytest.mark.parametrize(("equation", "order", "bound"), [(pde.Acoustic(), 4, 0.005), (pde.Elastic(), 2, 0.06)], ids=["waves", "solid"])
def test_a_hill_against_a_finer_grid(equation, order, bound):
    # 40 and 22 points per wavelength of the peak on the coarser grid.
    traces = []
    for spacing in (10.0, 5.0):
        shape = tuple(int(x / spacing) + 1 for x in (400.0, 600.0))
        x = np.arange(shape[1]) * spacing
        surface = 100.0 - 60.0 * np.exp(-(((x - 300.0) / 80.0) ** 2))
        wave = pde.Solver(equation, pde.Grid(shape, spacing), order=order, boundary=over(surface, int(200 / spacing)),
                          stepping=pde.LaxWendroff() if order > 2 else pde.Leapfrog())
        survey = pde.Survey([[(120.0, 200.0)]], [[(60.0, 300.0), (140.0, 420.0)]],
                            pde.Wavelet(oracles.ricker(np.arange(600) * 1e-3, 5.0, 0.3), 1e-3), source_field=None if order > 2 else "vz")
        medium = {"speed": 2000.0, "p_speed": 2000.0, "s_speed": 1100.0, "density": 2000.0}
        traces.append(wave.solve(survey, **{k: np.full(shape, medium[k]) for k in equation.parameters}).numpy()[0])
    assert oracles.relative_l2(*traces) < bound


@pytest.mark.parametrize("equation", [pde.Acoustic(), pde.Elastic()], ids=["acoustic", "elastic"])
@pytest.mark.parametrize("roughness", [4.0, 25.0])
def test_nothing_grows(equation, roughness):
    # Random media under a random surface in a closed box, at the longest stable step.
    shape, random = (40, 44), np.random.default_rng(3)
    surface = np.clip(80.0 + np.cumsum(random.uniform(-roughness, roughness, 44)), 0.0, 200.0)
    boundary = over(surface, 0, bottom=pde.Rigid(), left=pde.Rigid(), right=pde.Rigid())
    wave = pde.Solver(equation, pde.Grid(shape, 10.0), order=2 if equation.tractions else 8, boundary=boundary)
    speed = random.uniform(1500.0, 4000.0, shape)
    medium = {"speed": speed, "p_speed": speed, "s_speed": speed / 1.5, "density": random.uniform(1000.0, 2500.0, shape)}
    medium["s_speed"][12:16, :20] = 0.0
    medium = {k: medium[k] for k in equation.parameters}
    samples = np.concatenate([random.standard_normal(50), np.zeros(8000)])
    survey = pde.Survey([[[250.0, 203.0]]], [[[250.0, 103.0], [300.0, 301.0]]], pde.Wavelet(samples, wave.stable_step(**medium)))
    out = np.abs(wave.solve(survey, **medium).numpy()[0])
    assert 0.0 < out[:, -1000:].max() < 1.5 * out[:, 100:2000].max()


def test_portions_of_cells():
    # A surface of slope one half: of masses and shear stresses nothing is lost but in cells that no mass holds.
    boundary = over(np.arange(40) * 5.0 + 13.0, 0)
    relief = relief_of(boundary, pde.Grid((50, 40), 10.0), 2, pde.Taylor())
    assert relief is not None
    for place in ((), (0,), (1,), (0, 1)):
        mass = relief.mass(place)
        below = 49.5 + 0.5 * (0 in place) - (1.3 + 0.5 * (np.arange(2, 38) + 0.5 * (1 in place)))
        np.testing.assert_allclose(mass[:, 2:38].sum(axis=0), below, atol=1e-3)
    shear = relief.resisting((0, 1), (0, 1), (0, 1))
    np.testing.assert_allclose(shear[:, 2:38].sum(axis=0), relief.mass((0, 1))[:, 2:38].sum(axis=0), atol=1e-12)
    normal = sum(relief.resisting((), (0, 1), kept) for kept in ((0, 1), (0,), (1,)))
    assert (normal <= relief.mass(()) + 1e-12).all() and (normal[25:] == 1.0).all()


SOLVERS = [
    (lambda: pde.FreeSurface("deep"), ShapeError, "depth='deep'"),
    (lambda: pde.FreeSurface(np.zeros((2, 2, 2))), ShapeError, r"shape \(2, 2, 2\)"),
    (lambda: pde.FreeSurface([1.0, -1.0]), InputError, "at least 0"),
    (lambda: pde.Sides(pde.CPML(5), left=pde.FreeSurface([0.0, 0.0])), InputError, "on top only"),
    (lambda: over(HILL, left=pde.FreeSurface()), InputError, r"Rigid\(\), Periodic\(\) or the layer"),
    (lambda: solver(over(HILL[:5])), ShapeError, "a depth for each column"),
    (lambda: solver(over(HILL + 240.0)), BoundaryError, "leave 8 nodes below it"),
    (lambda: solver(over(HILL), pde.AcousticVariableDensity()), BoundaryError, "pure second derivatives"),
    (lambda: solver(over(HILL), pde.Elastic(), 4), BoundaryError, r"use Solver\(order=2\)"),
    (lambda: solve((20.0, 100.0)), BoundaryError, r"sources\[0, 0\] = \(20, 100\) m lies [0-9.]+ m above the surface"),
]


def solver(boundary, equation=None, order=2):
    return pde.Solver(equation or pde.Acoustic(), pde.Grid((31, 37), 10.0), order=order, boundary=boundary)


def solve(source):
    survey = pde.Survey([[source]], [[(200.0, 200.0)]], pde.ricker(10.0, 0.1, 1e-3))
    return solver(over(HILL)).solve(survey, speed=np.full((31, 37), 2000.0))


@pytest.mark.parametrize(("call", "error", "words"), SOLVERS, ids=[words for _, _, words in SOLVERS])
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
