"""Heat, transport, Burgers, shallow water and reactions through the engine: closed forms, and what is conserved."""

import numpy as np
import pytest
from scipy import optimize

from hyperion import pde
from hyperion.errors import BoundaryError, InputError
from tests.pde import oracles


def evolved(equation, spacing, fields, duration, steps, *, order=8, stepping=None, boundary=None, **medium):
    """Return the fields after a duration [s] in `steps` steps; medium: numbers, or arrays of the grid's shape."""
    shape = next(iter(fields.values())).shape
    solver = pde.Solver(equation, pde.Grid(shape, spacing), order=order, boundary=boundary or pde.Periodic(),
                        stepping=stepping or pde.RungeKutta4())
    arrays = {k: np.broadcast_to(np.float64(v), shape).copy() for k, v in medium.items()}
    return {k: x.numpy() for k, x in solver.evolve(fields, duration, step=duration / steps, **arrays).items()}


def nodes(*axes):
    """Return the coordinates of periodic axes given as (nodes, spacing [m]), each of the grid's shape."""
    return np.meshgrid(*[np.arange(n) * h for n, h in axes], indexing="ij")


def gaussian(y, x, variance, at, box):
    """Return the heat kernel of a variance [m^2] per axis, of unit integral, around a point of a periodic box: the nearest images."""
    distance = [(c - p + b / 2) % b - b / 2 for c, p, b in zip((y, x), at, box, strict=True)]
    return np.exp(-(distance[0] ** 2 + distance[1] ** 2) / (2 * variance)) / (2 * np.pi * variance)


@pytest.mark.parametrize("stepping", [pde.RungeKutta4(), pde.SSPRK3()], ids=repr)
def test_heat_spreads_as_its_kernel(stepping):
    axes, diffusivity, duration = ((60, 0.5), (72, 0.4)), 0.8, 1.5
    y, x = nodes(*axes)
    box, at = [n * h for n, h in axes], (14.0, 15.0)
    start = gaussian(y, x, 4.0, at, box)
    end = evolved(pde.Heat(), (0.5, 0.4), {"u": start}, duration, 60, stepping=stepping, diffusivity=diffusivity)["u"]
    assert oracles.relative_l2(end, gaussian(y, x, 4.0 + 2 * diffusivity * duration, at, box)) < 1e-5
    assert abs(end.sum() / start.sum() - 1.0) < 1e-13


def test_a_cloud_is_carried_and_spreads():
    axes, diffusivity, duration, flow = ((60, 0.5), (72, 0.4)), 0.3, 3.0, (-1.5, 2.0)
    y, x = nodes(*axes)
    box = [n * h for n, h in axes]
    start = gaussian(y, x, 4.0, (20.0, 8.0), box)
    end = evolved(pde.AdvectionDiffusion(ndim=2), (0.5, 0.4), {"u": start}, duration, 80, velocity_y=flow[0], velocity_x=flow[1],
                  diffusivity=diffusivity)["u"]
    exact = gaussian(y, x, 4.0 + 2 * diffusivity * duration, (20.0 + flow[0] * duration, 8.0 + flow[1] * duration), box)
    assert oracles.relative_l2(end, exact) < 1e-5
    assert abs(end.sum() / start.sum() - 1.0) < 1e-13


def test_burgers_equation_by_the_transform_of_cole_and_hopf():
    # u = -2 viscosity grad(log phi), phi_t = viscosity laplace(phi): phi of three waves decays in closed form.
    axes, viscosity, duration = ((64, 0.25), (80, 0.2)), 0.5, 4.0
    y, x = nodes(*axes)
    ky, kx = (2.0 * np.pi / (n * h) for n, h in axes)
    modes = [(1, 0, 0.4), (0, 1, 0.3), (1, 2, 0.15)]

    def flow(t):
        parts = [(a * np.exp(-viscosity * t * ((p * ky) ** 2 + (q * kx) ** 2)), p * ky, q * kx) for p, q, a in modes]
        phi = 1.0 + sum(a * np.cos(p * y + q * x) for a, p, q in parts)
        slopes = [sum(-a * k[i] * np.sin(k[0] * y + k[1] * x) for a, *k in parts) for i in (0, 1)]
        return {name: -2.0 * viscosity * slope / phi for name, slope in zip(("uy", "ux"), slopes, strict=True)}

    errors = []
    for order in (4, 8):
        end = evolved(pde.Burgers(ndim=2), (0.25, 0.2), flow(0.0), duration, 200, order=order, viscosity=viscosity)
        errors.append(max(oracles.relative_l2(end[k], exact) for k, exact in flow(duration).items()))
    assert errors[0] < 3e-5 and errors[1] < 3e-8


def test_small_waves_of_shallow_water():
    axes, depth, height = ((50, 20.0), (60, 25.0)), 10.0, 1e-6
    y, x = nodes(*axes)
    ky, kx = (2.0 * np.pi / (n * h) for n, h in axes)
    turn = np.sqrt(9.80665 * depth * (ky**2 + kx**2))
    duration = 0.7 * 2.0 * np.pi / turn
    rest = {"eta": height * np.cos(ky * y) * np.cos(kx * x), "uy": 0.0 * x, "ux": 0.0 * x}
    end = evolved(pde.ShallowWater(), (20.0, 25.0), rest, duration, 100, depth=depth, viscosity=0.0)
    assert oracles.relative_l2(end["eta"], rest["eta"] * np.cos(turn * duration)) < 1e-5
    u = height * 9.80665 * kx / turn * np.cos(ky * y) * np.sin(kx * x) * np.sin(turn * duration)
    assert oracles.relative_l2(end["ux"], u) < 1e-5


def test_a_steepening_wave_of_shallow_water():
    # A simple wave to the right: depth h moves at 3 sqrt(g h) - 2 sqrt(g depth), u = 2 (sqrt(g h) - sqrt(g depth)), until it breaks.
    n, spacing, depth, g = 200, 5.0, 4.0, 9.80665
    x = np.arange(n) * spacing
    box = n * spacing

    def start(at):
        return depth + 0.5 * np.sin(2.0 * np.pi * at / box)

    def after(t):
        def height(at):
            speed = lambda h: 3.0 * np.sqrt(g * h) - 2.0 * np.sqrt(g * depth)  # noqa: E731
            return optimize.brentq(lambda h: h - start(at - speed(h) * t), 3.4, 4.6, xtol=1e-13)
        h = np.array([height(at) for at in x])
        return h - depth, 2.0 * (np.sqrt(g * h) - np.sqrt(g * depth))

    def rows(line):
        return np.repeat(line[None], 20, axis=0)

    duration = 30.0
    eta, u = (rows(v) for v in after(0.0))
    end = evolved(pde.ShallowWater(), spacing, {"eta": eta, "uy": 0.0 * u, "ux": u}, duration, 300, depth=depth, viscosity=0.0)
    for name, exact in zip(("eta", "ux"), after(duration), strict=True):
        assert oracles.relative_l2(end[name], rows(exact)) < 1e-9
    assert not end["uy"].any()
    assert abs(end["eta"].mean() - eta.mean()) < 1e-14 * depth


def stoker(x, t, high, low, g=9.80665):
    """Return depth and velocity after a dam between two depths broke at x = 0: a rarefaction, a plateau, a bore.

    Source: Stoker, Water Waves (1957), section 10.8.
    """
    c1 = np.sqrt(g * high)

    def mismatch(h):
        bore = (h - low) * np.sqrt(g * (h + low) / (2.0 * h * low))
        return 2.0 * (c1 - np.sqrt(g * h)) - bore
    h = optimize.brentq(mismatch, low * (1 + 1e-12), high)
    u = 2.0 * (c1 - np.sqrt(g * h))
    speed = h * u / (h - low)
    fan = (2.0 * c1 - x / t) / 3.0
    depth = np.where(x < -c1 * t, high, np.where(x < (u - np.sqrt(g * h)) * t, fan**2 / g, np.where(x < speed * t, h, low)))
    flow = np.where(x < -c1 * t, 0.0, np.where(x < (u - np.sqrt(g * h)) * t, 2.0 / 3.0 * (c1 + x / t), np.where(x < speed * t, u, 0.0)))
    return depth, flow


def test_a_dam_break():
    # Two dams in a period, alike by symmetry. The bore is as wide as the viscosity, which shrinks with the spacing, makes it.
    errors = []
    for n in (200, 400):
        spacing, duration = 400.0 / n, 12.0
        x = np.arange(n) * spacing - 200.0
        inside = np.abs(x) < 100.0 + 1e-9
        eta = np.repeat(np.where(inside, 1.0, 0.0)[None], 16, axis=0)
        end = evolved(pde.ShallowWater(), spacing, {"eta": eta, "uy": 0.0 * eta, "ux": 0.0 * eta}, duration, n, order=4,
                      stepping=pde.SSPRK3(max_speed=7.0), depth=1.0, viscosity=1.0 * spacing)
        depth, _ = stoker(np.abs(x) - 100.0 - spacing / 2, duration, 2.0, 1.0)
        errors.append(float(np.abs(1.0 + end["eta"][3] - depth).mean()))
        assert abs(end["eta"].sum() / eta.sum() - 1.0) < 1e-13 and end["eta"].max() < 1.002 and end["eta"].min() > -0.002
    # Of a dam of 1 m, 0.015 and 0.009: an unlimited scheme whose bore is some cells wide; it overshoots by under 0.002.
    assert errors[0] < 0.016 and errors[1] < 0.65 * errors[0]


def test_water_at_rest_over_any_bottom_stays_at_rest():
    random = np.random.default_rng(1)
    rest = {k: np.zeros((30, 34)) for k in ("eta", "uy", "ux")}
    end = evolved(pde.ShallowWater(), 10.0, rest, 5.0, 20, depth=1.0 + random.random((30, 34)), viscosity=0.1)
    assert not any(x.any() for x in end.values())


def test_spots_of_gray_and_scott_by_another_method():
    # Against the pseudo-spectral solver: the same reaction, another discretisation in space and time.
    n, box = 96, 1.2
    y, x = nodes((n, box / n), (n, box / n))
    v = 0.25 * np.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.02) + 0.2 * np.exp(-((x - 0.8) ** 2 + (y - 0.7) ** 2) / 0.01)
    u = 1.0 - 2.0 * v
    rates = {"feed": 0.04, "kill": 0.06, "diffusivity_u": 8e-5, "diffusivity_v": 4e-5}
    end = evolved(pde.GrayScott(), box / n, {"w": 1.0 - u, "v": v}, 200.0, 1000, reaction=1.0, **rates)
    spectral = pde.GrayScottSolver(pde.Torus((n, n), box), pde.ETDRK4(step=0.5))
    diffusion = rates.pop("diffusivity_u"), rates.pop("diffusivity_v")
    exact = spectral.solve(np.stack([u, v]), 200.0, diffusion=diffusion, **rates).numpy()[0]
    # The spectral solver keeps modes below a quarter of the points: 0.001 of v; twice the points bring the two 30 times closer.
    assert oracles.relative_l2(1.0 - end["w"], exact[0]) < 2e-4
    assert oracles.relative_l2(end["v"], exact[1]) < 2e-3
    assert oracles.relative_l2(v, exact[1]) > 0.5 and exact[1].max() > 0.3  # the reaction goes on


@pytest.mark.parametrize("equation", [pde.Burgers, pde.AdvectionDiffusion, pde.ShallowWater])
def test_dimensions_that_are_refused(equation):
    with pytest.raises(InputError, match=rf"{equation.__name__}\(ndim=4\): give 1 or 2"):
        equation(ndim=4)


def mirrored(x, odd):
    """Return the field of a periodic box of which `x` is the part between two walls on nodes, continued about them axis by axis."""
    for axis in range(x.ndim):
        beyond = np.flip(x.take(range(1, x.shape[axis] - 1), axis), axis)
        x = np.concatenate([x, -beyond if axis in odd else beyond], axis)
    return x


@pytest.mark.parametrize(
    ("equation", "medium"),
    [
        (pde.ShallowWater(), {"depth": 10.0, "viscosity": 0.5}),
        (pde.ShallowWater(ndim=1), {"depth": 10.0, "viscosity": 0.0}),
        (pde.Burgers(ndim=2), {"viscosity": 2.0}),
        (pde.Burgers(), {"viscosity": 2.0}),
        (pde.Heat(), {"diffusivity": 3.0}),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, pde.Equation) else "",
)
def test_walls_are_mirrors(equation, medium):
    random, order = np.random.default_rng(4), 6
    shape = {1: (19,), 2: (17, 21)}[1 if equation.dimensions == (1,) else 2]
    fields = {f: random.standard_normal(shape) for f, field in equation.fields.items() if field.time_order}
    odd = {f: {axis % len(shape) for axis in equation.fields[f].mirrored} for f in fields}
    for f, axis in ((f, axis) for f, axes in odd.items() for axis in axes):
        np.moveaxis(fields[f], axis, 0)[[0, -1]] = 0.0                    # what moves across a wall is zero on it
    walls = pde.Sides(pde.CPML(0), **dict.fromkeys(("top", "bottom", "left", "right")[: 2 * len(shape)], pde.Rigid()))
    between = evolved(equation, 2.0, fields, 0.4, 20, order=order, boundary=walls, **medium)
    whole = evolved(equation, 2.0, {f: mirrored(x, odd[f]) for f, x in fields.items()}, 0.4, 20, order=order, **medium)
    for f, x in between.items():
        assert np.abs(x).max() > 0.1 and np.abs(x - fields[f]).max() > 0.01
        assert np.abs(mirrored(x, odd[f]) - whole[f]).max() < 1e-13 * np.abs(x).max() * 20
    if "eta" in fields:                                                   # nodes on a wall stand for half a cell
        weights = np.ones(shape)
        for axis in range(len(shape)):
            np.moveaxis(weights, axis, 0)[[0, -1]] *= 0.5
        assert abs(np.sum(weights * (between["eta"] - fields["eta"]))) < 1e-12 * np.sum(np.abs(fields["eta"]))


def test_free_surfaces_of_a_velocity_alone_are_refused():
    with pytest.raises(BoundaryError, match=r"fields of Burgers are not odd or even about a free surface.*use pde.Rigid\(\)"):
        pde.Solver(pde.Burgers(), pde.Grid((20,), 1.0), boundary=pde.Sides(pde.CPML(0), left=pde.FreeSurface()), stepping=pde.SSPRK3())
