"""Elastic VTI media: phase speeds of plane waves against the Christoffel equation, the isotropic limit, and what cannot be."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError
from hyperion.pde.equations.elastic_vti import stiffness
from tests.pde import half_space, media, oracles

# Plane waves are set off by one sample at every node.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

SHALE = {"p_speed": 3000.0, "s_speed": 1500.0, "density": 2300.0, "epsilon": 0.25, "delta": 0.1}


def christoffel(direction, p_speed, s_speed, density, epsilon, delta):
    """Return squared phase speeds, ascending, and polarisations (columns) of a direction (z, x): Thomsen's parameters in closed form."""
    z, x = direction
    c33, c44 = p_speed**2, s_speed**2  # over the density
    c11, c13 = c33 * (1.0 + 2.0 * epsilon), np.sqrt((c33 - c44) * (c33 - c44 + 2.0 * delta * c33)) - c44
    return np.linalg.eigh([[c33 * z * z + c44 * x * x, (c13 + c44) * x * z], [(c13 + c44) * x * z, c11 * x * x + c44 * z * z]])


@pytest.mark.parametrize("mode", [0, 1], ids=["S", "P"])
@pytest.mark.parametrize("waves", [(1, 0), (0, 1), (1, 1)], ids=["down", "along", "at 45 degrees"])
def test_plane_waves_have_the_phase_speeds_of_the_christoffel_equation(waves, mode):
    shape, spacing, step = (20, 20), 10.0, 5e-4
    k = 2.0 * np.pi * np.array(waves) / (np.array(shape) * spacing)
    squares, polarisations = christoffel(k / np.linalg.norm(k), **SHALE)
    frequency, along = np.sqrt(squares[mode]) * np.linalg.norm(k), polarisations[:, mode]
    steps = round(2.5 * 2.0 * np.pi / frequency / step)
    wave = pde.Solver(pde.ElasticVTI(), pde.Grid(shape, spacing), order=8, boundary=pde.Periodic())
    nodes = np.stack(np.meshgrid(*(np.arange(n) * spacing for n in shape), indexing="ij"), axis=-1).reshape(-1, 2)
    heard, which = np.zeros(steps), int(np.argmax(np.abs(along)))
    samples, receiver = np.zeros((1, len(nodes), steps)), np.array([3.0, 4.0]) * spacing
    for axis, name in enumerate(("vz", "vx")):
        samples[0, :, 0] = along[axis] * np.cos(nodes @ k)
        survey = pde.Survey([nodes], [[receiver]], pde.Wavelet(samples, step), source_field=name, receiver_field=("vz", "vx")[which])
        heard += wave.solve(survey, **{key: np.full(shape, v) for key, v in SHALE.items()}).numpy()[0, 0]
    # A force for one step; velocities are half a step earlier than their samples' times.
    start = np.cos(receiver @ k) * along[which] * step / SHALE["density"] / spacing**2
    expected = start * np.cos(frequency * (np.arange(steps) - 0.5) * step)
    assert oracles.relative_l2(heard[1:], expected[1:]) < 0.01


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_anisotropy_it_is_elastic(ndim):
    shape = {2: (30, 34), 3: (22, 20, 24)}[ndim]
    medium, survey = media.water_over_solid(shape), media.blast_heard_as_shear(ndim, 12.0)
    isotropic, same = (
        pde.Solver(equation, pde.Grid(shape, 10.0), order=4, boundary=pde.CPML(3), stepping=pde.Leapfrog(max_speed=3100.0)).solve(
            survey, **medium, **{key: np.zeros(shape) for key in list(equation.parameters)[3:]}).numpy()
        for equation in (pde.Elastic(ndim), pde.ElasticVTI(ndim))
    )
    assert oracles.relative_l2(same, isotropic) < 1e-10


def test_a_free_surface_without_anisotropy_is_that_of_elastic():
    c = stiffness(2500.0, 1200.0, 2000.0, 0.0, 0.0)
    isotropic = pde.Elastic(ndim=3).on_free_surface(-3, lame=c["c13"], shear=c["c44"])["lame"]
    for axis in (-3, -2, -1):
        closed = c | pde.ElasticVTI(ndim=3).on_free_surface(axis, **c)
        along = ("c11",) if axis == -3 else ("c33", "c11")
        assert [closed[name] for name in along] == pytest.approx([isotropic + 2.0 * c["c44"]] * len(along))
        if axis != -3:
            assert closed["c13"] == pytest.approx(isotropic)


@pytest.mark.parametrize(("order", "delta"), [(2, 0.1), (4, -0.1), (8, 0.1), (8, -0.1)])
def test_the_speed_of_rayleigh_waves(order, delta):
    medium = SHALE | {"delta": delta}
    speed = half_space.rayleigh_speed_vti(*(medium[name] for name in ("p_speed", "s_speed", "epsilon", "delta")))
    assert abs(speed / half_space.rayleigh_speed(3000.0, 1500.0) - 1.0) > 0.02  # anisotropy counts
    trace = half_space.ring(pde.ElasticVTI(), order, speed, 4000, **medium)
    found = half_space.oscillation(trace[2500:], 1e-3).real * 150.0 / (2.0 * np.pi)
    assert abs(found / speed - 1.0) < 0.005  # 15 points per wavelength; 0.003 measured at order 2, 0.001 at 4 and 8


def test_rayleigh_waves_in_closed_form_without_anisotropy():
    for p_speed, s_speed in ((3000.0, 1700.0), (4000.0, 1000.0)):
        assert half_space.rayleigh_speed_vti(p_speed, s_speed, 0.0, 0.0) == pytest.approx(half_space.rayleigh_speed(p_speed, s_speed))


def test_horizontal_speeds_are_those_of_epsilon_and_gamma():
    c = stiffness(**SHALE, gamma=0.3)
    assert np.sqrt(c["c11"] / SHALE["density"]) == pytest.approx(3000.0 * np.sqrt(1.5))
    assert np.sqrt(c["c66"] / SHALE["density"]) == pytest.approx(1500.0 * np.sqrt(1.6))
    # Thomsen's delta is the slope of the P speed near the vertical: v(angle) = vp (1 + delta angle^2 + ...).
    angle = 1e-3
    square = christoffel((np.cos(angle), np.sin(angle)), **SHALE)[0][1]
    assert (np.sqrt(square) / 3000.0 - 1.0) / angle**2 == pytest.approx(SHALE["delta"], rel=1e-3)


def test_the_fastest_wave_bounds_every_direction():
    medium = SHALE | {"epsilon": 0.1, "delta": 0.4}  # fastest in between
    speeds = [np.sqrt(christoffel((np.cos(a), np.sin(a)), **medium)[0][1]) for a in np.linspace(0.0, np.pi / 2.0, 2001)]
    bound = pde.ElasticVTI().fastest(**{key: np.array([v]) for key, v in medium.items()})[0]
    assert max(speeds) <= bound < 1.003 * max(speeds)


@pytest.mark.parametrize(
    "change",
    [
        {"s_speed": 3000.0},
        {"s_speed": -1.0},
        {"epsilon": -0.5},
        {"delta": -0.4},
        {"delta": 0.9, "epsilon": 0.0},
        {"s_speed": 0.0, "delta": 0.3},
    ],
    ids=str,
)
def test_a_medium_that_cannot_be(change):
    wave, shape = pde.Solver(pde.ElasticVTI(), pde.Grid((40, 40), 10.0)), (40, 40)
    survey = pde.Survey([[(100.0, 100.0)]], [[(200.0, 200.0)]], pde.ricker(10.0, 0.1, 1e-3))
    with pytest.raises(InputError, match="not positive definite"):
        wave.plan(survey, **{key: np.full(shape, v) for key, v in (SHALE | change).items()})


def test_a_medium_that_cannot_be_in_three_dimensions():
    equation = pde.ElasticVTI(ndim=3)
    with pytest.raises(InputError, match="gamma"):
        equation.fastest(**{key: np.array([v]) for key, v in (SHALE | {"gamma": 2.0}).items()})
