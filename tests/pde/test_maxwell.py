"""Maxwell's equations: cavities to rounding, plane waves in vacuum and conductors, a cylinder, energy, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy import special

import hyperion as hp
from hyperion import pde
from hyperion.autograd import as_tensor
from hyperion.errors import InputError
from hyperion.pde.placing import Placed
from hyperion.testing import taylor_test
from tests.pde import oracles

EPSILON, MU = 8.8541878128e-12, 1.25663706212e-6
LIGHT = 1.0 / np.sqrt(EPSILON * MU)  # [m/s]
CONDUCTOR, MAGNETIC_WALL = pde.PerfectConductor(), pde.Rigid()
CROSSES = Path(__file__).resolve().parents[3] / "shared" / "data" / "em"
IMPULSES = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")  # every frequency takes part
WALLS = {2: ("top", "bottom", "left", "right"), 3: ("top", "bottom", "front", "back", "left", "right")}


def name(value):
    """Return the name of an equation's class; other values as they are."""
    return type(value).__name__ if isinstance(value, pde.Equation) else str(value)


def medium(shape, permittivity=1.0, permeability=1.0, conductivity=0.0, **others):
    """Return the parameters as arrays of a grid."""
    given = {"permittivity": permittivity, "permeability": permeability, "conductivity": conductivity, **others}
    return {k: np.broadcast_to(np.float64(v), shape).copy() for k, v in given.items()}


def staggered_wavenumber(cells, spacing, order):
    """Return what the staggered first derivative of an order makes of wavenumbers pi p / (cells spacing), p = 0 .. cells - 1 [1/m]."""
    half = np.arange(1, order // 2 + 1)
    odd = 2 * half - 1
    a = np.linalg.solve(np.power.outer(odd.astype(float), odd).T, np.eye(len(half))[0])
    kh = np.pi * np.arange(cells) / cells
    return 2.0 / spacing * np.sin(np.outer(kh, odd) / 2.0) @ a


def cavity_response(source, receiver, half, cells, spacing, step, steps, axis, order):
    """Return what a component of e hears, in a box with perfectly conducting walls, of a unit current of the same component at step 0.

    source, receiver: in cells. half: axes along which the component sits half a cell beyond the nodes; axis: its own, or None.
    Exact for the scheme: each mode k has sin(angle / 2) = c step K / 2; its part along K is charge, which stays where it is.
    """
    shape, total, along, weight = tuple(cells), 0.0, 0.0, np.ones(1)
    for a, (n, h) in enumerate(zip(cells, spacing, strict=True)):
        p = np.arange(n)
        wave = np.cos if a in half else np.sin
        mode = wave(np.pi * p * source[a] / n) * wave(np.pi * p * receiver[a] / n) * np.where(p > 0, 2.0, 1.0) / n
        k2 = staggered_wavenumber(n, h, order).reshape([-1 if b == a else 1 for b in range(len(cells))]) ** 2
        total, along = total + k2, along + k2 if a == axis else along
        weight = np.multiply.outer(weight, mode)
    angle = 2.0 * np.arcsin(0.5 * LIGHT * step * np.sqrt(np.broadcast_to(total, shape)))
    fraction = np.broadcast_to(along, shape) / np.where(np.broadcast_to(total, shape) > 0, total, 1.0)
    weight, n = weight.reshape(shape) / np.prod(spacing), np.arange(steps)
    swing = np.cos(np.multiply.outer(n - 0.5, angle)) / np.cos(angle / 2)
    response = -step / EPSILON * np.tensordot((1.0 - fraction) * swing + fraction, weight, len(cells))
    return np.where(n > 0, response, 0.0)


@IMPULSES
@pytest.mark.parametrize(
    ("equation", "field", "order"),
    [
        (pde.MaxwellTM(), "ez", 4),
        (pde.MaxwellTM(), "ez", 8),
        (pde.MaxwellTE(), "ex", 4),
        (pde.MaxwellTE(), "ey", 2),
        (pde.Maxwell3D(), "ez", 4),
        (pde.Maxwell3D(), "ex", 2),
    ],
    ids=name,
)
def test_cavity_modes_follow_the_discrete_dispersion_relation(equation, field, order):
    (ndim,) = equation.dimensions
    cells, spacing, step, steps = (11, 14, 12)[:ndim], (0.1, 0.12, 0.09)[:ndim], 1e-10, 150
    boundary = pde.Sides(pde.CPML(5), **dict.fromkeys(WALLS[ndim], CONDUCTOR))
    grid = pde.Grid(tuple(n + 1 for n in cells), spacing)
    wave = pde.Solver(equation, grid, order=order, boundary=boundary, stepping=pde.Leapfrog(substeps=1))
    half = [a + ndim for a in equation.fields[field].at]
    offset = np.array([0.5 * (a in half) for a in range(ndim)])
    source, receiver = np.array((4, 3, 7)[:ndim]) + offset, np.array((6, 8, 2)[:ndim]) + offset
    places = [[[tuple(x * spacing)]] for x in (source, receiver)]
    survey = pde.Survey(*places, pde.Wavelet(np.eye(steps)[0], step), source_field=field, receiver_field=field)
    heard = wave.solve(survey, **medium(grid.shape)).numpy()[0, 0]
    own = {"x": ndim - 1, "y": ndim - 2, "z": 0 if ndim == 3 else None}[field[1]]
    exact = cavity_response(source, receiver, half, cells, spacing, step, steps, own, order)
    assert np.abs(heard - exact).max() < 1e-12 * np.abs(exact).max()  # 150 steps of rounding


@IMPULSES
@pytest.mark.parametrize("equation", [pde.MaxwellTM(), pde.MaxwellTE()], ids=name)
def test_energy_stays_in_a_cavity_without_loss(equation):
    random, shape, step = np.random.default_rng(4), (17, 21), 1e-10
    boundary = pde.Sides(pde.CPML(5), **dict.fromkeys(WALLS[2], CONDUCTOR))
    wave = pde.Solver(equation, pde.Grid(shape, 0.1), order=4, boundary=boundary, stepping=pde.Leapfrog(substeps=1))
    material = medium(shape, permittivity=1.0 + random.random(shape), permeability=1.0 + random.random(shape))
    first = next(iter(equation.fields))
    survey = pde.Survey([[(0.8, 0.9)]], [[(0.8, 0.9)]], pde.Wavelet(np.eye(600)[0], step), source_field=first)
    placed = Placed(equation, equation.derive(**{k: as_tensor(v) for k, v in material.items()}), (False, False))
    inside, before, energies = {}, None, []
    for f, field in equation.fields.items():
        place = tuple(sorted(a + 2 for a in field.at))
        inside[f] = 1.0 / placed.at("impermittivity" if f[0] == "e" else "impermeability", place).numpy()
        for axis in place:  # beyond the last node there are images only
            inside[f] = inside[f] * (np.arange(shape[axis]) < shape[axis] - 1).reshape([-1 if k == axis else 1 for k in range(2)])
    for n, _, fields in wave.snapshots(survey, 1, **material):
        if n > 2 and before is not None:  # h at the two half steps around e
            energies.append(sum(float((inside[f] * x * (x if f[0] == "e" else before[f])).sum()) for f, x in fields.items()))
        before = fields
    assert len(energies) > 500 and np.ptp(energies) < 1e-12 * energies[0]


def sheet(conductivity, frequency, spacing, step, steps, depths, cells=120, **options):
    """Return e [V/m] at `depths` [cells] from a sheet of current through a medium of permittivity 3, and the exact."""
    shape = (cells, 12)
    across = pde.Sides(pde.CPML(20), left=MAGNETIC_WALL, right=MAGNETIC_WALL)
    wave = pde.Solver(pde.MaxwellTM(), pde.Grid(shape, spacing), order=8, boundary=across, stepping=pde.Leapfrog(substeps=1), **options)
    heard = [((10.0 + d) * spacing, 6.0 * spacing) for d in depths]
    # The current of sample n flows between e's samples n and n + 1.
    samples = oracles.ricker((np.arange(steps) + 0.5) * step, frequency, 1.5 / frequency)
    survey = pde.plane_waves(wave.grid, pde.Wavelet(samples, step), heard, [[1.0, 0.0]], position=10.0 * spacing, speed=LIGHT)
    found = wave.solve(survey, **medium(shape, 3.0, 1.0, conductivity)).numpy()[0]
    padded, n = 8 * steps, np.arange(8 * steps)
    omega = 2.0 * np.pi * np.fft.rfftfreq(padded, step)
    spectrum = np.fft.rfft(oracles.ricker(n * step, frequency, 1.5 / frequency))
    omega[0] = 1e-3 * omega[1]
    k = omega * np.sqrt(MU * 3.0 * EPSILON) * np.sqrt(1.0 - 1j * conductivity / (omega * 3.0 * EPSILON))
    waves = [-omega * MU / (2.0 * k) * np.exp(-1j * k * d * spacing) * spectrum for d in depths]
    return found, np.fft.irfft(waves, padded)[:, :steps]


def test_a_plane_wave_travels_at_the_speed_of_light_in_the_medium():
    found, exact = sheet(0.0, 100e6, 0.05, 1e-10, 400, (20, 80))
    assert oracles.relative_l2(found, exact) < 0.01
    moved = [np.argmin(np.interp(np.arange(0, 399, 0.01), np.arange(400), trace)) * 1e-12 for trace in found]
    assert abs(60 * 0.05 / (moved[1] - moved[0]) / (LIGHT / np.sqrt(3.0)) - 1.0) < 0.003


@pytest.mark.parametrize("conductivity", [0.01, 1.0])
def test_waves_decay_in_a_conductor(conductivity):
    # 0.01 S/m: mostly displacement currents; 1 S/m: sigma / (omega epsilon) = 60, a skin depth of 0.05 m at 100 MHz.
    fine = 10.0 if conductivity == 1.0 else 1.0
    found, exact = sheet(conductivity, 100e6, 0.05 / fine, 1e-10 / fine, 1500, (10, 30))
    assert oracles.relative_l2(found[0], exact[0]) < 0.01
    assert oracles.relative_l2(found[1], exact[1]) < 0.01


def test_radiation_of_a_dipole():
    # A current along z at a point, heard beside it: ez = -(p / r^3 + p_t / (c r^2) + p_tt / (c^2 r)) / (4 pi epsilon), p_t the current.
    shape, h, step, steps, frequency = (34, 34, 46), 0.1, 1.5e-10, 190, 100e6
    wave = pde.Solver(pde.Maxwell3D(), pde.Grid(shape, h), order=4, boundary=pde.CPML(8), stepping=pde.Leapfrog(substeps=1))
    t, a = np.arange(steps) * step - 1.5 / frequency, (np.pi * frequency) ** 2
    samples = oracles.ricker(t + 0.5 * step, frequency, 0.0)
    at, distances = np.array([1.65, 1.7, 1.0]), (1.0, 2.5)
    beside = [at + np.array([0.0, 0.0, r]) for r in distances]
    survey = pde.Survey([[at]], [beside], pde.Wavelet(samples, step), source_field="ez", receiver_field="ez")
    found = wave.solve(survey, **medium(shape)).numpy()[0]
    for r, trace in zip(distances, found, strict=True):
        late = t - r / LIGHT
        bell = np.exp(-a * late**2)
        moment, current, rate = late * bell, (1.0 - 2.0 * a * late**2) * bell, (4.0 * a**2 * late**3 - 6.0 * a * late) * bell
        exact = -(moment / r**3 + current / (LIGHT * r**2) + rate / (LIGHT**2 * r)) / (4.0 * np.pi * EPSILON)
        assert oracles.relative_l2(trace, exact) < 0.01


def cylinder(omega, inside, outside, radius, source, receiver):
    """Return ez [V/m] at frequencies `omega` of a line current of 1 A along a cylinder: (incident, scattered); e^(i omega t).

    inside, outside: complex absolute permittivities per frequency; source, receiver: (distance from the axis, angle), beyond the radius.
    By separation of variables: Harrington, Time-Harmonic Electromagnetic Fields (1961), section 5-9, with Graf's addition theorem.
    """
    k, q = omega * np.sqrt(MU * outside), omega * np.sqrt(MU * inside)
    (at, phi), (r, theta) = source, receiver
    gap = np.sqrt(at**2 + r**2 - 2.0 * at * r * np.cos(theta - phi))
    total, scale = np.zeros(len(omega), complex), -omega * MU / 4.0
    for n in range(60):
        jn, djn, hn, dhn = (f(n, k * radius) for f in (special.jv, special.jvp, special.hankel2, special.h2vp))
        inner = q * (special.jve(n - 1, q * radius) / special.jve(n, q * radius) - n / (q * radius))  # J' / J
        a = (inner * jn - k * djn) / (k * dhn - inner * hn)
        term = a * special.hankel2(n, k * at) * special.hankel2(n, k * r) * np.cos(n * (theta - phi)) * (2.0 if n else 1.0)
        total += np.where(np.isfinite(term), term, 0.0)  # at low frequencies: the product of something tiny and something infinite
    return scale * special.hankel2(0, k * gap), scale * total


# Lossless; lossy; a conductor of a skin depth of 35 mm at 200 MHz; one of 16 mm, on half the spacing. Metal, whose surface is a stair of
# nodes, converges to first order only: 7 % at 30 mm, 3 % at 15 mm.
@pytest.mark.parametrize(("permittivity", "conductivity", "h"), [(4.0, 0.0, 0.03), (4.0, 0.02, 0.03), (1.0, 1.0, 0.03), (1.0, 5.0, 0.015)])
def test_scattering_by_a_cylinder(permittivity, conductivity, h):
    frequency, nodes, step, steps, radius = 200e6, round(4.2 / h) + 1, h / 6e8, round(18.0 / h), 0.5
    source, receivers = (1.0, 0.0), [(1.0, 0.5), (0.8, 1.8), (1.3, 3.0)]  # distance from the axis [m], angle; the last in the shadow
    centre, fine = (nodes - 1) * h / 2, np.linspace(-0.45, 0.45, 10)
    y, x = np.meshgrid(*[(np.arange(nodes)[:, None] + fine).ravel() * h - centre] * 2, indexing="ij")
    share = (np.hypot(y, x) < radius).reshape(nodes, 10, nodes, 10).mean(axis=(1, 3))  # of each node's cell
    share = share if conductivity < 3.0 else np.round(share)
    wave = pde.Solver(pde.MaxwellTM(), pde.Grid((nodes, nodes), h), order=4, boundary=pde.CPML(20), stepping=pde.Leapfrog(substeps=1))
    at = [[[(centre + r * np.sin(a), centre + r * np.cos(a)) for r, a in points]] for points in ([source], receivers)]
    samples = oracles.ricker((np.arange(steps) + 0.5) * step, frequency, 1.5 / frequency)
    survey = pde.Survey(*at, pde.Wavelet(samples, step))
    found = wave.solve(survey, **medium((nodes, nodes), 1.0 + (permittivity - 1.0) * share, 1.0, conductivity * share)).numpy()[0]
    padded = 8 * steps
    omega = 2.0 * np.pi * np.fft.rfftfreq(padded, step)
    band = (omega > 0.0) & (omega < 2.0 * np.pi * 5.0 * frequency)
    spectrum = np.fft.rfft(oracles.ricker(np.arange(padded) * step, frequency, 1.5 / frequency))
    for trace, receiver in zip(found, receivers, strict=True):
        exact = np.zeros(len(spectrum), complex)
        inside = EPSILON * permittivity - 1j * conductivity / omega[band]
        exact[band] = sum(cylinder(omega[band], inside, EPSILON, radius, source, receiver))
        assert oracles.relative_l2(trace, np.fft.irfft(exact * spectrum, padded)[:steps]) < 0.02


@pytest.mark.skipif(not CROSSES.exists(), reason="the models are not part of the package")
def test_gradients_of_a_radar_model():
    # Two crosses of other permittivity and conductivity (Meles et al. 2011), cropped around the middle; 100 MHz across.
    shape, h = (60, 60), 0.07
    read = {k: np.fromfile(CROSSES / f"two_cross_true_{k}_180x180_0.07m.f32", "<f4").astype(float) for k in ("eps", "sig")}
    crop = {k: v.reshape(180, 180).T[60:120, 60:120] for k, v in read.items()}
    permittivity, conductivity = crop["eps"] / EPSILON, crop["sig"]
    assert np.ptp(permittivity) > 1.0 and np.ptp(conductivity) > 1e-3
    wave = pde.Solver(pde.MaxwellTE(), pde.Grid(shape, h), order=4, boundary=pde.CPML(10), storage=pde.EverySteps())
    places = [np.stack([h * np.arange(5, 60, n), np.full(len(range(5, 60, n)), h * x)], -1)[None] for n, x in ((20, 4.0), (8, 55.0))]
    survey = pde.Survey(*places, pde.ricker(100e6, 8e-8, 2e-10), source_field="ey", receiver_field="ey")
    random = np.random.default_rng(3)
    moves = (0.2 * random.random(shape), 1e-3 * random.random(shape))

    def energy(args):
        heard = wave.solve(survey, permittivity=args[0], conductivity=args[1], permeability=np.ones(shape))
        return hp.sum((heard * 1e-2) ** 2)

    for active in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        directions = tuple(a * m for a, m in zip(active, moves, strict=True))
        orders = taylor_test(energy, (permittivity, conductivity), directions, step=0.01, halvings=2, reverse=True)
        assert all(1.9 < order < 2.1 for order in orders)


def test_what_is_refused():
    shape, wavelet = (40, 40), pde.ricker(100e6, 5e-8, 1e-10)
    wave, survey = pde.Solver(pde.MaxwellTM(), pde.Grid(shape, 0.05)), pde.Survey([[(0.4, 0.4)]], [[(0.9, 0.9)]], wavelet)
    with pytest.raises(InputError, match=r"solve\(conductivity\): -0.1 S/m at node \(0, 0\); it must be at least 0"):
        wave.solve(survey, **medium(shape, conductivity=-0.1))
    with pytest.raises(InputError, match=r"solve\(permittivity\): 0 1 at node \(0, 0\); every value must be positive"):
        wave.solve(survey, **medium(shape, permittivity=0.0))
    with pytest.raises(InputError, match=r"MaxwellTE\(medium='water'\): give pde.Debye"):
        pde.MaxwellTE(medium="water")
    with pytest.raises(InputError, match="MaxwellTM in 3 dimensions"):
        pde.Solver(pde.MaxwellTM(), pde.Grid((20, 20, 20), 0.05))


DEBYE, DRUDE = {"susceptibility": 5.0, "relaxation_time": 2e-9}, {"plasma_frequency": 2.0 * np.pi * 150e6, "collision_rate": 4e8}


def admittance(dispersive, s, c=1.0):
    """Return -j / e [S/m] of a uniform field in a medium of permittivity 2 and 0.02 S/m: s multiplies what is derived, c what is not."""
    plain = 2.0 * EPSILON * s + 0.02 * c
    if isinstance(dispersive, pde.Debye):
        rate = 1.0 / DEBYE["relaxation_time"]
        drive = EPSILON * DEBYE["susceptibility"] * rate
        return plain + drive * (c - rate / (s + rate * c))
    return plain + EPSILON * DRUDE["plasma_frequency"] ** 2 / (s + DRUDE["collision_rate"] * c)


@IMPULSES
@pytest.mark.parametrize("equation", [pde.MaxwellTM, pde.MaxwellTE, pde.Maxwell3D])
@pytest.mark.parametrize(("dispersive", "others"), [(pde.Debye(), DEBYE), (pde.Drude(), DRUDE)], ids=name)
def test_the_permittivity_of_the_discrete_medium(equation, dispersive, others):
    # A current that varies along itself alone makes no h: at each point -j is the permittivity times e_t.
    (ndim,), step, steps, frequency = equation.dimensions, 1e-10, 2500, 100e6
    grid, field = pde.Grid((5,) * ndim, 1.0), "ez" if equation is pde.MaxwellTM else "ex"
    nodes = np.argwhere(np.ones(grid.shape)).astype(float)[None]
    if field == "ex":
        nodes = nodes[:, nodes[0, :, -1] == 2.0] + np.array([0.0] * (ndim - 1) + [0.5])
    samples = oracles.ricker((np.arange(steps) + 0.5) * step, frequency, 2.0 / frequency)
    wave = pde.Solver(equation(dispersive), grid, order=2, boundary=pde.Periodic(), stepping=pde.Leapfrog(substeps=1))
    survey = pde.Survey(nodes, nodes[:, :1], pde.Wavelet(samples, step), source_field=field, receiver_field=field)
    heard = wave.solve(survey, **medium(grid.shape, 2.0, 1.0, 0.02, **others)).numpy()[0, 0]
    n, omega = np.arange(steps), 2.0 * np.pi * frequency * np.linspace(0.3, 2.5, 12)
    j, e = (np.exp(-1j * step * np.outer(omega, n + shift)) @ x for shift, x in ((0.5, samples), (0.0, heard)))
    scheme = admittance(dispersive, 2j / step * np.sin(omega * step / 2), np.cos(omega * step / 2))
    assert np.abs(-j / e / scheme - 1.0).max() < 1e-9  # the record ends when all has decayed
    assert np.abs(-j / e / admittance(dispersive, 1j * omega) - 1.0).max() < 0.005  # (omega step)^2 / 12 and its like: 0.002


@pytest.mark.parametrize(("dispersive", "others"), [(None, {}), (pde.Debye(), DEBYE), (pde.Drude(), DRUDE)], ids=name)
def test_reflection_from_a_half_space(dispersive, others):
    # Normal incidence from vacuum, reflected over incident spectrum at 30 nodes before the medium; Fresnel's coefficient.
    frequency, h, step, steps, shape, first = 150e6, 0.02, 3e-11, 1400, (160, 12), 90
    across = pde.Sides(pde.CPML(20), left=MAGNETIC_WALL, right=MAGNETIC_WALL)
    wave = pde.Solver(pde.MaxwellTM(dispersive), pde.Grid(shape, h), order=4, boundary=across, stepping=pde.Leapfrog(substeps=1))
    samples = oracles.ricker((np.arange(steps) + 0.5) * step, frequency, 1.5 / frequency)
    wavelet, heard = pde.Wavelet(samples, step), list[np.ndarray]()
    survey = pde.plane_waves(wave.grid, wavelet, [(60.0 * h, 6.0 * h)], [[1.0, 0.0]], position=10.0 * h, speed=LIGHT)
    for below in (np.zeros(shape), np.broadcast_to(np.arange(shape[0])[:, None] >= first, shape)):
        filled = {k: v if k == "relaxation_time" else v * below for k, v in others.items()}
        heard.append(wave.solve(survey, **medium(shape, 1.0 + below, 1.0, 0.02 * below, **filled)).numpy()[0, 0])
    omega = 2.0 * np.pi * frequency * np.linspace(0.3, 2.0, 20)
    kernel = np.exp(-1j * step * np.outer(omega, np.arange(steps)))
    found = kernel @ (heard[1] - heard[0]) / (kernel @ heard[0])
    conducting = 2.0 + 0.02 / (1j * omega * EPSILON)
    index = np.sqrt(conducting if dispersive is None else admittance(dispersive, 1j * omega) / (1j * omega * EPSILON))
    fresnel = (1.0 - index) / (1.0 + index) * np.exp(-2j * omega / LIGHT * (first - 0.5 - 60.0) * h)
    assert np.abs(found - fresnel).max() < 0.005 and np.abs(fresnel).max() > 0.2


def test_terms_that_differ_by_a_constant_read_one_kernel_parameter():
    # Of each component of e impermittivity and its conductivity, of h impermeability: also for the other sign in a curl, and for sources.
    wave = pde.Solver(pde.Maxwell3D(), pde.Grid((24, 24, 24), 0.01), order=2, boundary=pde.CPML(6))
    kernel = wave.discrete.kernel_parameters
    assert sorted(k.polynomial for k in kernel.values()) == sorted(
        3 * [((("impermittivity",), 1.0),), ((("conductivity", "impermittivity"), 1.0),), ((("impermeability",), 1.0),)])
