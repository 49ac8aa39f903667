"""Burgers, Navier-Stokes and Gray-Scott against exact solutions, in their orders, their conservation laws and their derivatives."""
from pathlib import Path

import numpy as np
import pytest
import scipy.io

import hyperion as hp
from hyperion import pde
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError, StabilityError
from hyperion.pde.spectral.integrators import contour_coefficients
from hyperion.testing import dot_test, taylor_test

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"       # reference files, beside the checkout where they are to be had
CIRCLE = 2.0 * np.pi


def cole_hopf(x, time, viscosity):
    """Burgers' equation by u = -2 nu phi_x / phi of a solution phi of the heat equation (Cole 1951; Hopf 1950)."""
    first, second = 0.5 * np.exp(-viscosity * time), 0.3 * np.exp(-4.0 * viscosity * time)
    phi = 1.0 + first * np.cos(x) + second * np.sin(2.0 * x)
    return -2.0 * viscosity * (-first * np.sin(x) + 2.0 * second * np.cos(2.0 * x)) / phi


def orders(errors):
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def burgers_error(points, step, viscosity=0.5, stepping=pde.ETDRK4):
    torus = pde.Torus(points, CIRCLE)
    x = torus.axis(0)
    u = pde.BurgersSolver(torus, stepping(step)).solve(cole_hopf(x, 0.0, viscosity), 1.0, viscosity=viscosity)
    return np.abs(u.numpy()[0] - cole_hopf(x, 1.0, viscosity)).max()


def test_burgers_against_cole_hopf():
    assert burgers_error(512, 0.005) < 1e-10          # 1.1e-11; 1e-8 is asked for
    assert burgers_error(512, 0.005, viscosity=0.05) < 1e-12


def test_burgers_is_of_order_four_in_time():
    found = orders([burgers_error(128, step) for step in (0.04, 0.02, 0.01, 0.005)])
    assert np.all((found > 3.8) & (found < 4.2)), found


def test_crank_nicolson_is_of_order_one():
    found = orders([burgers_error(64, step, stepping=pde.CrankNicolson) for step in (0.02, 0.01, 0.005)])
    assert np.all((found > 0.9) & (found < 1.1)), found


def test_burgers_is_spectrally_accurate_in_space():
    # phi's zeros lie a fixed distance off the real axis, so the error falls by a factor that is squared when the points double.
    errors = [burgers_error(n, 1e-3) for n in (16, 32, 64)]
    assert errors[1] < errors[0] ** 1.5 and errors[2] < 1e-9, errors


def test_burgers_keeps_its_mean_and_returns_all_times(random):
    torus = pde.Torus(64, 1.0)
    start = 0.3 + pde.GaussianField(64, tau=5.0, alpha=3.0, scale=50.0).sample(hp.random.Generator(1), 3, dtype="float64").numpy()
    u = pde.BurgersSolver(torus, pde.ETDRK4(2e-3)).solve(start, 0.5, viscosity=0.01, saves=5).numpy()
    assert u.shape == (3, 5, 64)
    # Rounding of 250 steps on numbers of order one.
    np.testing.assert_allclose(u.mean(axis=-1), np.repeat(start.mean(axis=-1)[:, None], 5, axis=1), rtol=0, atol=1e-13)
    once = pde.BurgersSolver(torus, pde.ETDRK4(2e-3)).solve(start[1], 0.1, viscosity=0.01).numpy()
    np.testing.assert_allclose(once[0], u[1, 0], rtol=0, atol=1e-13)


def test_burgers_against_the_reference_file():
    file = DATA / "pinn" / "burgers_shock.mat"
    if not file.exists():
        pytest.skip(f"the reference file {file.name} is not there")
    reference = scipy.io.loadmat(file)
    wanted, x = reference["usol"].T[1::14], reference["x"].ravel()             # t = 0.01, 0.15, ..., 0.99
    n = 4096
    torus = pde.Torus(n, 2.0)
    u = pde.BurgersSolver(torus, pde.ETDRK4(5e-4)).solve(-np.sin(np.pi * (torus.axis(0) - 1.0)), 0.99, viscosity=0.01 / np.pi, saves=99)
    spectrum = np.fft.rfft(u.numpy()[::14], axis=-1) / n
    waves = 2.0 * np.exp(1j * np.pi * np.outer(np.arange(n // 2 + 1), x + 1.0))
    waves[0] *= 0.5
    found = (spectrum @ waves).real
    assert np.linalg.norm(found - wanted) < 1e-8 * np.linalg.norm(wanted)


def test_burgers_against_neuraloperators_sample():
    file = DATA / "operator" / "burgers_test_16.npz"
    if not file.exists():
        pytest.skip(f"the reference file {file.name} is not there")
    data = np.load(file)
    start = np.fft.irfft(np.fft.rfft(data["x"][:32]), n=256) * 16.0
    solver = pde.BurgersSolver(pde.Torus(256, 1.0), pde.ETDRK4(2e-3))
    u = solver.solve(start, 1.0, viscosity=float(data["visc"].item()), saves=16).numpy()[..., ::16]
    error = np.linalg.norm(u - data["y"][:32, 1:], axis=(0, 2)) / np.linalg.norm(data["y"][:32, 1:], axis=(0, 2))
    # The file holds 16 of its own solver's finer points, so that the interpolated start is not quite theirs.
    assert error[0] < 0.01 and error[-1] < 0.05, error


def test_contour_means_agree_with_series_and_closed_forms():
    z = np.array([-1e5, -40.0, -3.0, -1e-3, 0.0, 0.5])
    _, _, q, f1, f2, f3 = (x.numpy() for x in contour_coefficients(hp.asarray(z), 1.0))

    def phi(k, w):
        """phi_k by its series near 0, by the recursion away from it: phi_k = (phi_{k-1} - 1 / (k - 1)!) / w."""
        factorial = [1.0, 1.0, 2.0, 6.0]
        if abs(w) < 1.0:
            total, term = 0.0, 1.0 / factorial[k]
            for j in range(30):
                total, term = total + term, term * w / (k + j + 1)
            return total
        return np.exp(w) if k == 0 else (phi(k - 1, w) - 1.0 / factorial[k - 1]) / w

    p1, p2, p3 = ([phi(k, w) for w in z] for k in (1, 2, 3))
    p1, p2, p3 = np.array(p1), np.array(p2), np.array(p3)
    # 1e-13: a mean of 32 numbers of order one, and three cancellations of the recursion at |w| >= 1.
    np.testing.assert_allclose(q, [0.5 * phi(1, 0.5 * w) for w in z], atol=1e-13)
    np.testing.assert_allclose(f1, p1 - 3.0 * p2 + 4.0 * p3, atol=1e-13)
    np.testing.assert_allclose(f2, p2 - 2.0 * p3, atol=1e-13)
    np.testing.assert_allclose(f3, 4.0 * p3 - p2, atol=1e-13)


def test_contour_means_of_complex_eigenvalues():
    z = np.array([-2.0 + 3.0j, 5.0j])
    q = contour_coefficients(hp.asarray(z), 0.5)[2].numpy()
    np.testing.assert_allclose(q, 0.5 * (np.exp(0.25 * z) - 1.0) / (0.5 * z), atol=1e-14)


def plane(n, length=CIRCLE):
    torus = pde.Torus((n, n), length)
    return torus, *np.meshgrid(torus.axis(0), torus.axis(1), indexing="ij")


@pytest.mark.parametrize("stepping, tolerance", [(pde.ETDRK4(0.05), 1e-13), (pde.CrankNicolson(2e-3), 1e-8)])
def test_taylor_green_decays_as_it_must(stepping, tolerance):
    # Advection cancels, so ETDRK4 is exact; Crank-Nicolson's error is that of its order 2 in the linear term.
    torus, y, x = plane(32)
    w = 2.0 * np.cos(x) * np.cos(y)
    found = pde.VorticitySolver(torus, stepping).solve(w, 1.0, viscosity=0.1, saves=2).numpy()
    np.testing.assert_allclose(found[1], w * np.exp(-0.2), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[0], w * np.exp(-0.1), rtol=0, atol=tolerance)


def test_a_forcing_that_balances_advection_and_decay_holds_the_flow():
    # A steady solution of the Euler equations with forcing that balances its decay: w stays.
    torus, y, x = plane(32)
    w = 2.0 * np.sin(x) * np.sin(y) + np.sin(x)                    # an eigenfunction pair of different decay: only with the right advection
    solver = pde.VorticitySolver(torus, pde.ETDRK4(0.01))
    u, v = (part.numpy() for part in solver.velocity(w))
    np.testing.assert_allclose(u, np.sin(x) * np.cos(y), atol=1e-14)
    np.testing.assert_allclose(v, -np.cos(x) * np.sin(y) - np.cos(x), atol=1e-14)
    advection = u * (2.0 * np.cos(x) * np.sin(y) + np.cos(x)) + v * 2.0 * np.sin(x) * np.cos(y)
    forcing = advection + 0.1 * (4.0 * np.sin(x) * np.sin(y) + np.sin(x))
    found = solver.solve(w, 0.5, viscosity=0.1, forcing=forcing).numpy()[0]
    np.testing.assert_allclose(found, w, rtol=0, atol=1e-12)


def test_navier_stokes_is_of_order_four_and_conserves():
    field = pde.GaussianField((64, 64), tau=7.0, alpha=2.5, scale=7.0 ** 1.5)
    w = field.sample(hp.random.Generator(0), dtype="float64").numpy() + 0.25
    torus = pde.Torus((64, 64))
    states = {step: pde.VorticitySolver(torus, pde.ETDRK4(step)).solve(w, 1.0, viscosity=1e-3).numpy()[0]
              for step in (0.1, 0.05, 0.025, 0.00625)}
    found = orders([np.linalg.norm(states[step] - states[0.00625]) for step in (0.1, 0.05, 0.025)])
    assert np.all((found > 3.7) & (found < 4.3)), found
    assert abs(states[0.025].mean() - w.mean()) < 1e-15
    # Without viscosity to speak of, energy and enstrophy are conserved by the truncated equations (the state is smooth, the time short).
    field = pde.GaussianField((64, 64), tau=7.0, alpha=6.0, scale=7.0 ** 5, modes=16)
    smooth = field.sample(hp.random.Generator(3), dtype="float64").numpy()
    solver = pde.VorticitySolver(torus, pde.ETDRK4(0.01))
    later = solver.solve(smooth, 0.5, viscosity=1e-14).numpy()[0]
    energy = [sum(float((part.numpy() ** 2).mean()) for part in solver.velocity(state)) for state in (smooth, later)]
    assert abs(energy[1] / energy[0] - 1.0) < 1e-9 and abs((later ** 2).mean() / (smooth ** 2).mean() - 1.0) < 1e-9


def test_float32_stays_float32_and_agrees():
    torus, y, x = plane(32)
    w = (2.0 * np.cos(x) * np.cos(y) + np.sin(2 * x + y))
    solver = pde.VorticitySolver(torus, pde.ETDRK4(0.05))
    single = solver.solve(w.astype(np.float32), 1.0, viscosity=0.05)
    assert single.dtype == np.float32
    # 20 steps of single rounding (6e-8) on numbers of order three.
    np.testing.assert_allclose(single.numpy(), solver.solve(w, 1.0, viscosity=0.05).numpy(), rtol=0, atol=2e-5)


def test_gray_scott_is_of_order_four_and_its_mean_obeys_the_rates():
    torus, y, x = plane(32, 2.5)
    spot = np.exp(-8.0 * (np.sin(np.pi * x / 2.5) ** 2 + np.sin(np.pi * y / 2.5) ** 2))
    start = np.stack([1.0 - 0.5 * spot, 0.25 * spot])
    options = {"diffusion": (2e-4, 1e-4), "feed": 0.04, "kill": 0.06}
    states = {step: pde.GrayScottSolver(torus, pde.ETDRK4(step)).solve(start, 40.0, **options).numpy()[0] for step in (4.0, 2.0, 1.0, 0.25)}
    found = orders([np.abs(states[step] - states[0.25]).max() for step in (4.0, 2.0, 1.0)])
    assert np.all((found > 3.5) & (found < 4.5)), found
    # Adding the equations: mean(u + v)' = F (1 - mean(u + v)) - k mean(v); without k it decays to 1 as e^(-F t), exactly.
    free = pde.GrayScottSolver(torus, pde.ETDRK4(1.0)).solve(start, 40.0, diffusion=(2e-4, 1e-4), feed=0.04, kill=0.0).numpy()[0]
    mean = 1.0 + (start.sum(axis=0).mean() - 1.0) * np.exp(-0.04 * 40.0)
    assert abs(free.sum(axis=0).mean() - mean) < 1e-12


def small(random):
    torus = pde.Torus((16, 16))
    w = random.standard_normal((16, 16))
    return pde.VorticitySolver(torus, pde.ETDRK4(0.05)), w - w.mean(), random.standard_normal((16, 16))


def test_derivatives_of_navier_stokes(random):
    solver, w, forcing = small(random)

    def run(w, viscosity, forcing):
        return solver.solve(w, 0.4, viscosity=viscosity, forcing=forcing, saves=2)

    at, along = (w, np.array(1e-2), forcing), (forcing, np.array(5e-3), w)
    dot_test(run, at)
    assert min(taylor_test(lambda t: (run(*t) ** 2).sum(), at, along, reverse=True)) > 1.9
    assert min(taylor_test(lambda t: run(*t), at, along, order=2)) > 2.9


def test_derivatives_of_burgers_and_gray_scott(random):
    burgers = pde.BurgersSolver(pde.Torus(32), pde.ETDRK4(0.01))
    dot_test(lambda u, nu: burgers.solve(u, 0.1, viscosity=nu), (random.standard_normal((2, 32)), np.array([0.05, 0.1])))
    scott = pde.GrayScottSolver(pde.Torus((8, 8)), pde.ETDRK4(0.5))
    start = random.uniform(0.1, 0.9, (2, 8, 8))
    rates = (np.array(2e-3), np.array(0.04), np.array(0.06))
    dot_test(lambda s, d, f, k: scott.solve(s, 3.0, diffusion=(d, 1e-3), feed=f, kill=k), (start, *rates))


def test_vmap_over_initial_states(random):
    solver, _, _ = small(random)
    states = random.standard_normal((3, 16, 16))
    states -= states.mean(axis=(1, 2), keepdims=True)

    def energy(w):
        return (solver.solve(w, 0.3, viscosity=0.01) ** 2).sum()

    np.testing.assert_allclose(hp.vmap(lambda w: solver.solve(w, 0.3, viscosity=0.01))(states).numpy(),
                               solver.solve(states, 0.3, viscosity=0.01).numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(hp.vmap(hp.grad(energy))(states).numpy()[2], hp.grad(energy)(states[2]).numpy(), rtol=0, atol=1e-13)


def test_single_steps_are_those_of_solve(random):
    solver, w, forcing = small(random)
    step = solver.stepper(0.05, viscosity=0.01, forcing=forcing, dtype="float64")
    burgers, u = pde.BurgersSolver(pde.Torus(32), pde.ETDRK4(0.01)), random.standard_normal(32)
    other = burgers.stepper(0.01, viscosity=0.1, dtype="float64")
    # Rounding of one more transform there and back between the steps.
    np.testing.assert_allclose(step(step(w)).numpy(), solver.solve(w, 0.1, viscosity=0.01, forcing=forcing).numpy()[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(other(other(u)).numpy(), burgers.solve(u, 0.02, viscosity=0.1).numpy()[0], rtol=0, atol=1e-13)
    with pytest.raises(InputError, match="stepper"):
        solver.stepper(0.0, viscosity=0.01)
    with pytest.raises(InputError, match="viscosity"):
        burgers.stepper(0.01, viscosity=-1.0)


def test_a_gradient_keeps_stretches_not_steps(random):
    import tracemalloc

    solver, w, _ = small(random)

    def peak(duration):
        tracemalloc.start()
        hp.grad(lambda x: (solver.solve(x, duration, viscosity=0.01) ** 2).sum())(w)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(0.4)
    # 16 times as many steps need about 4 times the memory, not 16.
    assert peak(12.8) < 7.0 * peak(0.8)


def test_wrong_input():
    with pytest.raises(ShapeError, match=r"Torus\(shape=\(63, 64\)\).*even"):
        pde.Torus((63, 64))
    with pytest.raises(InputError, match="lengths"):
        pde.Torus(64, -1.0)
    with pytest.raises(InputError, match=r"ETDRK4\(step=0\)"):
        pde.ETDRK4(step=0)
    with pytest.raises(ShapeError, match="one axis"):
        pde.BurgersSolver(pde.Torus((8, 8)), pde.ETDRK4(0.1))
    with pytest.raises(InputError, match="stepping='rk4'"):
        pde.VorticitySolver(pde.Torus((8, 8)), "rk4")
    burgers = pde.BurgersSolver(pde.Torus(16), pde.ETDRK4(0.01))
    with pytest.raises(ShapeError, match=r"u0 of shape \(17,\)"):
        burgers.solve(np.zeros(17), 1.0, viscosity=0.1)
    with pytest.raises(DtypeError, match="int64"):
        burgers.solve(np.zeros(16, int), 1.0, viscosity=0.1)
    bad = np.zeros((3, 16))
    bad[1, 4] = np.nan
    with pytest.raises(InputError, match=r"u0.*nan at \(1, 4\)"):
        burgers.solve(bad, 1.0, viscosity=0.1)
    for name, options in (("viscosity", {"viscosity": -0.1}), ("duration", {"duration": 0.0}), ("saves", {"saves": 0})):
        with pytest.raises(InputError, match=name):
            burgers.solve(np.zeros(16), **({"duration": 1.0, "viscosity": 0.1} | options))
    with pytest.raises(InputError, match="diffusion"):
        pde.GrayScottSolver(pde.Torus(8), pde.ETDRK4(1.0)).solve(np.ones((2, 8)), 1.0, diffusion=1e-5, feed=0.04, kill=0.06)


def test_too_long_a_step_is_refused_with_the_stable_one():
    torus = pde.Torus(256)
    start = 10.0 * np.sin(2 * np.pi * torus.axis(0))
    with pytest.raises(StabilityError, match=r"step=0.05 exceeds about 0.000") as caught:
        pde.BurgersSolver(torus, pde.ETDRK4(0.05)).solve(start, 1.0, viscosity=1e-4)
    stable = float(str(caught.value).split("about ")[1].split(",")[0])
    pde.BurgersSolver(torus, pde.ETDRK4(stable)).solve(start, 3 * stable, viscosity=1e-4)
    # Strong diffusion damps what the step cannot follow: the same step is right.
    smooth = pde.BurgersSolver(torus, pde.ETDRK4(1e-3)).solve(start, 0.1, viscosity=1.0).numpy()
    finer = pde.BurgersSolver(torus, pde.ETDRK4(2.5e-4)).solve(start, 0.1, viscosity=1.0).numpy()
    np.testing.assert_allclose(smooth, finer, atol=1e-5)


@pytest.mark.parametrize("differentiate", [False, True])
def test_a_blow_up_names_its_step(differentiate):
    # Gray-Scott has no bound: with v large and negative u, u v^2 explodes in finite time.
    solver = pde.GrayScottSolver(pde.Torus(8), pde.ETDRK4(0.1))
    start = np.stack([np.full(8, -50.0), np.full(8, 50.0)])

    def run(x):
        return solver.solve(x, 100.0, diffusion=(1e-5, 1e-5), feed=0.0, kill=0.0).sum()

    with pytest.raises(NonFiniteError, match=r"GrayScottSolver: the solution became NaN or infinite in step \d+ \(time") as caught:
        hp.grad(run)(start) if differentiate else run(start)
    step = int(str(caught.value).split("in step ")[1].split()[0])
    fine = pde.GrayScottSolver(pde.Torus(8), pde.ETDRK4(0.1))
    if step > 1:
        before = fine.solve(start, 0.1 * (step - 1), diffusion=(1e-5, 1e-5), feed=0.0, kill=0.0)
        assert np.isfinite(before.numpy()).all()
    with pytest.raises(NonFiniteError, match=f"in step {step} "):
        fine.solve(start, 0.1 * step, diffusion=(1e-5, 1e-5), feed=0.0, kill=0.0)
