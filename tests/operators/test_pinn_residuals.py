"""The residual of a PINN is that of the declared equation, whatever it is: of exact solutions, of solvers' answers, of nested gradients."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.io

import hyperion as hp
from hyperion import nn, pde
from hyperion.errors import InputError
from hyperion.operators import PINN, Box, Coefficient, Disc
from tests.operators.pinn_parts import PLANE, Solution, points_in

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "pinn"     # reference files, beside the checkout where they are to be had


def sech(x):
    return 1.0 / hp.cosh(x)


def heat_kernel(dimensions, diffusivity):
    def kernel(*at):
        *space, t = at
        square = sum(x ** 2 for x in space)
        return (4.0 * np.pi * diffusivity * t) ** (-0.5 * dimensions) * hp.exp(-square / (4.0 * diffusivity * t))
    return kernel


def cole_hopf(x, t, nu=0.1, k=2.0):
    """u = -2 nu phi_x / phi of the solution phi = 2 + exp(-nu k^2 t) cos(k x) of the heat equation."""
    decay = hp.exp(-nu * k * k * t)
    return 2.0 * nu * k * decay * hp.sin(k * x) / (2.0 + decay * hp.cos(k * x))


def soliton(x, t, a=1.3, v=0.7):
    """Of i h_t + h_xx / 2 + |h|^2 h = 0: amplitude a, speed v."""
    size, phase = a * sech(a * (x - v * t)), v * x + 0.5 * (a * a - v * v) * t
    return size * hp.cos(phase), size * hp.sin(phase)


def front(x, t, diffusivity=0.3, reaction=2.0):
    """Of Allen and Cahn: the phase 1 invades the phase 0."""
    k = np.sqrt(reaction / (8.0 * diffusivity))
    return 0.5 * (1.0 - hp.tanh(k * (x - 3.0 * np.sqrt(0.5 * diffusivity * reaction) * t)))


def shock(x, t, c=0.3):
    """Of Kuramoto and Sivashinsky with coefficients 1: Kuramoto and Tsuzuki 1976, eq. 5."""
    s = hp.tanh(0.5 * np.sqrt(11.0 / 19.0) * (x - c * t))
    return c + 15.0 / 19.0 * np.sqrt(11.0 / 19.0) * (11.0 * s ** 3 - 9.0 * s)


def p_wave(z, x, t):
    """A plane P wave in a medium of speeds 2 and 1 and density 1.5 along (0.6, 0.8) in (z, x): vz, vx, szz, sxx, szx."""
    nz, nx, speed, shear, lame = 0.6, 0.8, 2.0, 1.5, 3.0
    f = hp.sin(1.7 * (nz * z + nx * x - speed * t))
    s = -f / speed
    return nz * f, nx * f, (lame + 2.0 * shear * nz * nz) * s, (lame + 2.0 * shear * nx * nx) * s, 2.0 * shear * nz * nx * s


def sound(z, x, t):
    """A plane wave of pressure in a medium of speed 2 and density 1.5: p, vz, vx."""
    f = hp.sin(1.7 * (0.6 * z + 0.8 * x - 2.0 * t))
    return f, 0.6 * f / 3.0, 0.8 * f / 3.0


LINE = Box(x=(-2, 2), t=(0.5, 1.5))
EXACT = [
    ("Burgers", LINE, cole_hopf, {"viscosity": 0.1}),
    ("Heat", LINE, heat_kernel(1, 0.4), {"diffusivity": 0.4}),
    ("Heat", Box(x=(-1, 1), y=(-1, 1), t=(0.5, 1)), heat_kernel(2, 0.4), {"diffusivity": 0.4}),
    ("Heat", Box(x=(-1, 1), y=(-1, 1), z=(-1, 1), t=(0.5, 1)), heat_kernel(3, 0.4), {"diffusivity": 0.4}),
    ("AdvectionDiffusion", LINE, lambda x, t: heat_kernel(1, 0.4)(x - 1.5 * t, t), {"velocity": 1.5, "diffusivity": 0.4}),
    ("Schroedinger", LINE, soliton, {"dispersion": 0.5, "focusing": 1.0}),
    ("AllenCahn", LINE, front, {"diffusivity": 0.3, "reaction": 2.0}),
    ("KuramotoSivashinsky", LINE, shock, {"steepening": 1.0, "growth": 1.0, "damping": 1.0}),
    ("Poisson", Disc((0, 0), 1.0), lambda x, y: hp.sin(x) * hp.cos(2.0 * y), {"source": lambda x, y: 5.0 * np.sin(x) * np.cos(2.0 * y)}),
    ("Acoustic", PLANE, lambda z, x, t: hp.sin(2.0 * (0.6 * z + 0.8 * x) - 3.0 * t), {"speed": 1.5}),
    ("Elastic", PLANE, p_wave, {"p_speed": 2.0, "s_speed": 1.0, "density": 1.5}),
    ("AcousticVariableDensity", PLANE, sound, {"speed": 2.0, "density": 1.5}),
]


@pytest.mark.parametrize("name, domain, solution, parameters", EXACT, ids=[f"{name}-{len(domain.names)}" for name, domain, *_ in EXACT])
def test_the_residual_of_an_exact_solution_vanishes(name, domain, solution, parameters):
    pinn = PINN(getattr(pde, name)(), domain, Solution(solution), scaled=False, **parameters)
    points = points_in(domain)
    residual = pinn.residual(points).detach().numpy()
    sizes = [np.abs(d.detach().numpy()).max() for d in pinn.derivatives(points, pinn._wanted).values()]
    assert residual.shape == (len(points), len(pinn.names))
    assert np.abs(residual).max() < 1e-12 * max(1.0, *sizes) * 100       # rounding, a hundred operations deep
    with hp.no_grad():
        pinn.network.shift.assign(hp.asarray(0.01, dtype="float64"))
    if name in ("Burgers", "Schroedinger", "AllenCahn", "KuramotoSivashinsky"):                 # nonlinear: a shift is no solution
        assert np.abs(pinn.residual(points).detach().numpy()).max() > 1e-4


def without_an_exact_solution():
    """The equations of the registry that are not above."""
    declared = [name for name in pde.equations.__all__ if issubclass(getattr(pde.equations, name), pde.equation.Equation)]
    return [name for name in declared if name not in {known for known, *_ in EXACT}]


@pytest.mark.parametrize("name", without_an_exact_solution())
def test_the_residual_of_any_equation_has_all_fields_and_is_linear_where_the_equation_is(name):
    needs = [pde.Attenuation.fitted(2.0, 50.0, mechanisms=1)] if name.startswith("Visco") else []
    equation, names = getattr(pde, name)(*needs), "zyx"
    for names in ("zx", "zyx", "x"):                                                # the first number of dimensions that it takes
        try:
            rates = equation.rates(len(names))
        except InputError:
            continue
        break
    domain = Box(**dict.fromkeys(names, (-1, 1)), t=(0, 1))
    fields, given = len(equation.fields), dict.fromkeys(equation.parameters, 1.5)
    waves = Solution(lambda *at: tuple(hp.sin(k + 1.0 + sum((k % 3 + i) * x for i, x in enumerate(at))) for k in range(fields)))
    half = Solution(lambda *at: tuple(0.5 * u for u in waves.function(*at)))
    points = points_in(domain)
    whole, part = (PINN(equation, domain, network, scaled=False, **given).residual(points).detach().numpy() for network in (waves, half))
    assert whole.shape == (len(points), fields) and np.isfinite(whole).all() and np.abs(whole).max(axis=0).all()
    if all(len(derivatives) == 1 for rate in rates.values() for _, derivatives in rate.terms):
        np.testing.assert_allclose(part, 0.5 * whole, rtol=1e-12, atol=1e-12)


def nested(function, x, orders):
    """Return a derivative of one column by nested gradients."""
    for axis, order in enumerate(orders):
        for _ in range(order):
            function = (lambda f, k: lambda x: hp.grad(lambda y: hp.sum(f(y)))(x)[:, k])(function, axis)
    return function(x)


@pytest.mark.parametrize("name, domain, solution, parameters", [e for e in EXACT if len(e[1].names) < 4],
                         ids=[f"{name}-{len(domain.names)}" for name, domain, *_ in EXACT if len(domain.names) < 4])
def test_the_residual_is_that_of_nested_gradients(name, domain, solution, parameters):
    """Of a network: jets against reverse mode on reverse mode, with the terms of the declaration added up here."""
    equation = getattr(pde, name)()
    fields = list(equation.fields)
    net = nn.MLP([len(domain.names), 7, 6, len(fields)], dtype="float64", generator=hp.random.Generator(1))
    pinn = PINN(equation, domain, net, scaled=False, **parameters)
    points = points_in(domain, 9)
    x = hp.asarray(points)
    space = sorted(domain.space, reverse=True)
    at = dict(zip(domain.names, points.T, strict=True))
    given = equation.derive(**{key: value(**at) if callable(value) else value for key, value in parameters.items()})

    def column(k):
        return lambda x: net(x)[:, k]

    for k, field in enumerate(fields):
        total = np.zeros(len(points))
        for (names, derivatives), weight in equation.rates(len(space))[field].terms.items():
            term = weight * np.ones(len(points))
            for parameter in names:
                term = term * given[parameter]
            for d in derivatives:
                orders = [dict(zip(space, d.orders, strict=True)).get(variable, 0) for variable in domain.names]
                term = term * nested(column(fields.index(d.field)), x, orders).detach().numpy()
            total = total + term
        order = equation.fields[field].time_order
        change = nested(column(k), x, [order * (v == "t") for v in domain.names]).detach().numpy() if order else 0.0
        expected = change - total if order else total
        np.testing.assert_allclose(pinn.residual(points).detach().numpy()[:, k], expected, rtol=1e-9, atol=1e-11)


class Mixed(pde.Equation):
    """u_t = u_xy + anisotropy u_xxyy: mixed derivatives."""

    fields: ClassVar = {"u": pde.Field("1")}
    parameters: ClassVar = {"anisotropy": "1"}
    dimensions: ClassVar = (2,)

    def rate(self, u, anisotropy):
        return pde.derivative(pde.derivative(u, -1), -2) + anisotropy * pde.derivative(pde.derivative(u, -1, 2), -2, 2)


def test_mixed_derivatives():
    solution = Solution(lambda x, y, t: hp.sin(2.0 * x + 3.0 * y) * hp.exp(-t))
    pinn = PINN(Mixed(), Box(x=(-1, 1), y=(-1, 1), t=(0, 1)), solution, scaled=False, anisotropy=0.5)
    points = points_in(pinn.domain)
    wave = np.sin(2.0 * points[:, 0] + 3.0 * points[:, 1]) * np.exp(-points[:, 2])
    np.testing.assert_allclose(pinn.residual(points).detach().numpy()[:, 0], (-1.0 + 6.0 - 18.0) * wave, rtol=0, atol=1e-10)


def test_scaling_is_a_change_of_the_first_layer():
    net = nn.MLP([2, 6, 1], dtype="float64", generator=hp.random.Generator(1))
    domain = Box(x=(0, 10), t=(2, 4))
    scaled = PINN(pde.Heat(), domain, net, diffusivity=1.0)
    points = points_in(domain, 20)
    own = 2.0 * (points - [0, 2]) / [10, 2] - 1.0
    np.testing.assert_allclose(scaled(points).detach().numpy(), net(own).detach().numpy(), rtol=1e-14)
    plain = PINN(pde.Heat(), domain, net, diffusivity=1.0, scaled=False)
    np.testing.assert_allclose(plain(points).detach().numpy(), net(points).detach().numpy(), rtol=1e-14)


def test_parameters_as_functions_networks_and_numbers_agree():
    net = nn.MLP([3, 6, 1], dtype="float64", generator=hp.random.Generator(1))

    class Fixed(nn.Module):
        def __init__(self):
            self.unused = nn.parameter(0.0, "float64")

        def forward(self, x):
            return 1.5 + 0.1 * hp.sin(x[..., :1]) + self.unused

    domain, points = PLANE, points_in(PLANE, 20)
    made = [PINN(pde.Acoustic(), domain, net, speed=speed).residual(points).detach().numpy()
            for speed in (lambda x: 1.5 + 0.1 * np.sin(x), lambda x, t: 1.5 + 0.1 * hp.sin(x) + 0.0 * t, Coefficient(Fixed(), ["x"]))]
    np.testing.assert_allclose(made[1], made[0], rtol=1e-13)
    np.testing.assert_allclose(made[2], made[0], rtol=1e-13)
    pinn = PINN(pde.Acoustic(), domain, net, speed=Coefficient(Fixed(), ["x"]))
    assert "coefficients.speed.network.unused" in pinn.named_parameters()


def periodic_and_polynomial(u, length, start, duration, degree):
    """Return u (times, n) as a function of x and t: Fourier's series in x, a polynomial in t."""
    n = u.shape[1]
    modes = np.fft.rfft(u, axis=1) / n
    powers = np.linspace(0.0, 1.0, len(u))[:, None] ** np.arange(degree + 1)
    fit = np.linalg.lstsq(powers, modes, rcond=None)[0]                         # (degree + 1, modes)
    k, twice = 2.0 * np.pi / length * np.arange(fit.shape[1]), np.where(np.arange(fit.shape[1]), 2.0, 1.0)

    def interpolated(x, t):
        s = (t - start) * (1.0 / duration)
        basis = hp.concat([s ** m if m else hp.ones_like(s) for m in range(degree + 1)], axis=-1)
        real, imag = hp.matmul(basis, fit.real), hp.matmul(basis, fit.imag)
        return hp.sum(twice * (real * hp.cos(x * k) - imag * hp.sin(x * k)), axis=-1, keepdims=True)

    return Solution(interpolated)


def residual_and_rate(pinn):
    """Return the mean squares' roots of the residual and of the time derivative at points inside."""
    points = points_in(pinn.domain, 200)
    along = pinn.axis_of("t", max(field.time_order for field in pinn.equation.fields.values()))
    return (float(np.sqrt(np.mean(r.detach().numpy() ** 2))) for r in (pinn.residual(points), pinn.derivatives(points, [along])[along]))


def test_the_spectral_solvers_answer_satisfies_the_declaration():
    torus = pde.Torus(32, 2.0 * np.pi)
    start = np.sin(torus.axis(0))
    u = pde.BurgersSolver(torus, pde.ETDRK4(step=1e-3)).solve(start, 0.4, viscosity=0.5, saves=40).numpy()
    solution = periodic_and_polynomial(np.concatenate([start[None], u]), 2.0 * np.pi, 0.0, 0.4, 8)
    domain = Box(x=(0, 2 * np.pi), t=(0, 0.4))
    for viscosity, at_most in ((0.5, 1e-5), (0.51, None)):
        residual, rate = residual_and_rate(PINN(pde.Burgers(), domain, solution, scaled=False, viscosity=viscosity))
        assert residual < at_most * rate if at_most else residual > 1e-3 * rate


def test_the_stencil_solvers_answer_satisfies_the_same_declaration():
    """A wave in two dimensions, recorded at 7 x 7 nodes; polynomials of degree 6 through them."""
    grid = pde.Grid(shape=(60, 60), spacing=(10.0, 10.0))
    wavelet = pde.ricker(5.0, duration=0.6, step=1e-3)
    k = np.arange(-3, 4)
    places = np.stack(np.meshgrid(300.0 + 10.0 * k, 400.0 + 10.0 * k, indexing="ij"), axis=-1)
    survey = pde.Survey([[[250.0, 200.0]]], places.reshape(1, -1, 2), wavelet)
    wave = pde.Solver(pde.Acoustic(), grid, order=8, boundary=pde.CPML(width=15))
    gathers = wave.solve(survey, speed=np.full(grid.shape, 2000.0)).numpy()[0].reshape(7, 7, -1)
    peak = int(np.abs(gathers[3, 3]).argmax())
    moments = peak + np.arange(-30, 31, 5)
    data = gathers[:, :, moments].astype(np.float64)
    in_space, in_time = (np.linspace(-1, 1, n)[:, None] ** np.arange(7) for n in (7, len(moments)))
    fit = np.einsum("ai,bj,ck,ijk->abc", np.linalg.inv(in_space), np.linalg.inv(in_space), np.linalg.pinv(in_time), data)
    fit = fit / np.abs(data).max()

    def interpolated(z, x, t):
        scaled = ((z - 300.0) * (1 / 30.0), (x - 400.0) * (1 / 30.0), (t - 1e-3 * peak) * (1 / 0.03))
        a, b, c = (hp.concat([v ** n if n else hp.ones_like(v) for n in range(7)], axis=-1) for v in scaled)
        across = (hp.expand_dims(a, 2) * hp.expand_dims(b, 1)).reshape(-1, 49)
        return hp.sum(across * hp.matmul(c, fit.reshape(49, 7).T), axis=-1, keepdims=True)

    half = 15.0                                                    # polynomials are worst near the ends
    domain = Box(z=(300 - half, 300 + half), x=(400 - half, 400 + half), t=(1e-3 * peak - 0.01, 1e-3 * peak + 0.01))
    residual, rate = residual_and_rate(PINN(pde.Acoustic(), domain, Solution(interpolated), scaled=False, speed=2000.0))
    assert residual < 1e-2 * rate
    residual, rate = residual_and_rate(PINN(pde.Acoustic(), domain, Solution(interpolated), scaled=False, speed=2100.0))
    assert residual > 5e-2 * rate


def test_the_residual_of_a_published_chaotic_solution():
    """KS.mat of Raissi et al., with the coefficients that fit it best."""
    file = DATA / "KS.mat"
    if not file.exists():
        pytest.skip(f"the reference file {file.name} is not there")
    u = scipy.io.loadmat(file)["uu"].T[:, :-1]                     # (times, x): periodic on (-1, 1), 201 times to 1
    u = np.roll(u, -u.shape[1] // 2, axis=1)                       # x from 0
    solution = periodic_and_polynomial(u[80:101], 2.0, 0.4, 0.1, 10)
    pinn = PINN(pde.KuramotoSivashinsky(), Box(x=(0, 2), t=(0.42, 0.48)), solution, scaled=False, steepening=1.5912, growth=0.16884,
                damping=0.0019008)
    residual, rate = residual_and_rate(pinn)
    assert residual < 0.02 * rate
