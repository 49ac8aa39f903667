"""Derivatives of a simulation: the adjoint against the tangent, both against differences, what each storage may lose, and second orders."""

import functools

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import grad, hvp, jvp, vjp
from hyperion.pde.storage import split
from hyperion.testing import taylor_test
from tests.pde.cases import Case, Coupled, Damped, Dose, PressureVelocity, difference

# White noise as wavelets: every frequency takes part.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

PLANE, VOLUME = (31, 37), (19, 18, 21)


def mismatch(case):
    """Return |<J u, w> - <u, J' w>| over the norms of J u and w, with the reverse run made by the case's storage."""
    _, gradients, weights = case.with_gradients()
    directions = case.directions()
    moved = jvp(case.gathers, case.args, directions)[1].numpy()
    forward, reverse = np.vdot(moved, weights), sum(np.vdot(g, u) for g, u in zip(gradients, directions, strict=True))
    assert all(np.vdot(g, u) != 0.0 for g, u in zip(gradients, directions, strict=True))
    return abs(forward - reverse) / (np.linalg.norm(moved) * np.linalg.norm(weights))


STATE = 41 * 48 * 8  # bytes of one array of PLANE with a layer of 5; a state with its memory variables takes nine
EXACT = [pde.EverySteps(), *(pde.Checkpoints(bytes=n * STATE) for n in (10, 22, 30, 60, 10**5))]


# 1e-12 of the norms is the project's limit in float64; rounding alone gives 1e-16.
@pytest.mark.parametrize("storage", EXACT, ids=repr)
def test_the_adjoint_is_exact_for_every_exact_storage(storage):
    assert storage.exact
    assert mismatch(Case(PLANE, 4, pde.CPML(width=5), storage=storage)) < 1e-12


@pytest.mark.parametrize(
    ("shape", "order", "boundary", "options"),
    [
        (PLANE, 8, pde.CPML(width=10), {"threads": 1}),
        (PLANE, 2, pde.CPML(width=0), {}),
        (PLANE, 4, pde.Periodic(), {}),
        (PLANE, 4, pde.CPML(width=5), {"substeps": 3}),
        (PLANE, 4, pde.CPML(width=5), {"stencil": pde.LeastSquares(4.0)}),
        (VOLUME, 2, pde.CPML(width=3), {}),
        (VOLUME, 4, pde.Periodic(), {}),
        (PLANE, 4, pde.CPML(width=5), {"equation": PressureVelocity(), "fields": ("p", "vx")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": Dose(), "fields": ("p", "twice")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": Damped(), "fields": ("p", "p")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": Coupled(), "fields": ("p", "q")}),
        (PLANE, 4, pde.Sides(pde.CPML(width=5), top=pde.FreeSurface()), {"equation": Coupled(), "fields": ("p", "q")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": pde.AcousticVariableDensity(), "fields": ("p", "p")}),
        (PLANE, 4, pde.Periodic(), {"equation": pde.AcousticVariableDensity(), "fields": ("vx", "vz")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": pde.Elastic(), "fields": ("vz", "vx")}),
        (PLANE, 2, pde.Periodic(), {"equation": pde.Elastic(), "fields": ("szz", "vz")}),
        (PLANE, 4, pde.CPML(width=5), {"equation": pde.Elastic(), "fields": ("pressure", "pressure")}),
        (
            PLANE,
            4,
            pde.CPML(width=5),
            {"equation": PressureVelocity(), "fields": ("vz", "p"), "storage": pde.Checkpoints(bytes=40 * STATE)},
        ),
    ],
    ids=str,
)
def test_the_adjoint_is_exact(shape, order, boundary, options):
    assert mismatch(Case(shape, order, boundary, **options)) < 1e-12


def test_the_adjoint_is_exact_with_corrected_time_stepping():
    case = Case(PLANE, 4, pde.CPML(width=5))
    case.solver = pde.Solver(
        pde.Acoustic(),
        case.solver.grid,
        order=4,
        boundary=pde.CPML(width=5),
        storage=pde.EverySteps(),
        stepping=pde.Leapfrog(corrected=True),
        threads=2,
    )
    assert mismatch(case) < 1e-12


@pytest.mark.parametrize("budget", [n * STATE for n in (8, 12, 16, 30)])
@pytest.mark.parametrize("threads", [1, 2])
def test_checkpoints_give_the_bits_of_every_step(budget, threads):
    args = dict(dtype=np.float32, steps=60, threads=threads)
    _, gradients, weights = Case(PLANE, 4, pde.CPML(width=5), storage=pde.Checkpoints(bytes=budget), **args).with_gradients()
    _, expected, _ = Case(PLANE, 4, pde.CPML(width=5), **args).with_gradients(weights)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_the_schedule_of_checkpoints_recomputes_no_more_than_it_must():
    """Against the least number of segments to advance, by dynamic programming over where to keep the next state."""

    @functools.cache
    def least(n, slots):
        if n == 1 or not slots:
            return n * (n - 1) // 2
        return min(m + least(n - m, slots - 1) + least(m, slots) for m in range(1, n))

    @functools.cache
    def spent(n, slots):
        if n == 1 or not slots:
            return n * (n - 1) // 2
        m = split(n, slots)
        return m + spent(n - m, slots - 1) + spent(m, slots)

    for slots in range(7):
        for n in range(1, 60):
            assert spent(n, slots) == least(n, slots), (n, slots)


def test_thinning_to_every_step_is_exact():
    _, gradients, weights = Case(PLANE, 4, pde.CPML(width=5), storage=pde.Thinned(every=1, bits=32)).with_gradients()
    _, expected, _ = Case(PLANE, 4, pde.CPML(width=5)).with_gradients(weights)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.fixture(scope="module")
def reflections():
    """A Ricker wavelet over an interface in float32: (function storage -> gradient of the misfit and of the wavelet, wavelet)."""
    shape, spacing, wavelet = (60, 80), 10.0, pde.ricker(12.0, duration=0.6, step=1e-3)
    true = np.full(shape, 2000.0, np.float32)
    true[35:] = 2500.0
    start = np.full(shape, 2000.0, np.float32)
    sources = np.array([[[23.0, 111.0]], [[23.0, 616.0]]])
    receivers = np.broadcast_to(np.stack([np.full(36, 20.0), 20.0 * np.arange(36) + 33.0], axis=-1), (2, 36, 2))

    def gradients(storage):
        solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, spacing), order=8, boundary=pde.CPML(width=10), storage=storage, threads=2)
        survey = pde.Survey(sources, receivers, wavelet)
        observed = solver.solve(survey, speed=true)

        def misfit(speed, samples):
            return hp.sum((solver.solve(survey.with_wavelet(pde.Wavelet(samples, wavelet.step)), speed=speed) - observed) ** 2)

        found = grad(misfit, argnums=(0, 1))(start, np.broadcast_to(wavelet.samples, (2, 1, wavelet.steps)).copy())
        return [g.numpy() for g in found], solver.plan(survey, speed=start)

    return gradients


@pytest.fixture(scope="module")
def exact_gradients(reflections):
    return reflections(pde.EverySteps())[0]


# The bounds are those that the docstring of Thinned states.
@pytest.mark.parametrize(
    ("storage", "bound"),
    [
        (pde.Auto(), 1e-4),
        (pde.Thinned(), 1e-4),
        (pde.Thinned(bits=32), 1e-4),
        (pde.Thinned(every=2, bits=16), 2e-5),
        (pde.Thinned(bits=8), 2e-2),
        (pde.OnDisk(pde.Thinned(bits=8)), 2e-2),
    ],
    ids=repr,
)
def test_lossy_storages_keep_what_they_promise(storage, bound, reflections, exact_gradients):
    found, plan = reflections(storage)
    assert not storage.exact
    assert plan.every > 4 or plan.every == 2  # otherwise nothing was thinned
    error = np.linalg.norm(found[0] - exact_gradients[0]) / np.linalg.norm(exact_gradients[0])
    assert 0.0 < error < bound
    assert np.array_equal(found[1], exact_gradients[1])  # no history stands between the wavelet and its gradient


def test_sixteen_bits_take_half_the_memory(reflections):
    sizes = [reflections(pde.Thinned(every=2, bits=bits))[1].history_bytes for bits in (32, 16)]
    assert 2 * sizes[1] < 1.08 * sizes[0]  # a scale of 4 bytes beside 64 of numbers, and at the end of rows


@pytest.mark.parametrize("equation", [pde.Acoustic(), PressureVelocity()], ids=lambda e: type(e).__name__)
def test_taylor_remainders_of_model_and_wavelet(equation):
    case = Case(PLANE, 4, pde.CPML(width=5), equation=equation, fields=("p", "p"))
    directions = case.directions(0.02)
    for active in (*range(len(case.args)), None):
        moves = tuple(u if active in (i, None) else 0.0 * u for i, u in enumerate(directions))
        orders = taylor_test(lambda args: case.gathers(*args), case.args, moves, step=0.1, halvings=2)
        if active == 0:
            assert all(order == np.inf for order in orders)  # linear in the wavelet
        else:
            assert all(1.9 < order < 2.1 for order in orders)
    scalar = taylor_test(lambda args: hp.sum(case.gathers(*args) ** 2), case.args, directions, step=0.2, halvings=2, reverse=True)
    assert all(1.9 < order < 2.1 for order in scalar)


def test_second_order_taylor_remainder():
    case = Case(PLANE, 4, pde.CPML(width=5))
    orders = taylor_test(lambda c: case.gathers(case.args[0], c), case.args[1], case.directions(0.02)[1], order=2, step=1.0, halvings=2)
    assert all(2.85 < order < 3.15 for order in orders)


@pytest.mark.parametrize(("shape", "boundary"), [(PLANE, pde.CPML(width=5)), (VOLUME, pde.CPML(width=3))], ids=str)
def test_born_equals_central_differences(shape, boundary):
    case = Case(shape, 2, boundary)
    u = case.directions()
    born = jvp(case.gathers, case.args, u)[1].numpy()
    h = 1e-5  # truncation h^2 = 1e-10, rounding eps / h = 2e-11
    ahead, behind = (case.gathers(*(x + sign * h * d for x, d in zip(case.args, u, strict=True))).numpy() for sign in (1.0, -1.0))
    assert difference(born, (ahead - behind) / (2.0 * h)) < 1e-8


@pytest.mark.parametrize("storage", [pde.EverySteps(), pde.Checkpoints(bytes=40 * STATE)], ids=repr)
def test_hessian_products(storage):
    case = Case(PLANE, 4, pde.CPML(width=5), storage=storage)
    samples, speed = case.args
    u, v = case.directions()[1], case.directions()[1]

    def misfit(c):
        return hp.sum(case.gathers(samples, c) ** 2)

    hu, hv = (hvp(misfit, (speed,), (d,))[0].numpy() for d in (u, v))
    assert abs(np.vdot(hu, v) - np.vdot(hv, u)) < 1e-12 * np.linalg.norm(hu) * np.linalg.norm(v)
    h = 1e-5  # as above
    slope = grad(misfit)
    assert difference(hu, (slope(speed + h * u).numpy() - slope(speed - h * u).numpy()) / (2.0 * h)) < 1e-8
    twice = grad(lambda c: hp.sum(slope(c) * u))(speed).numpy()  # reverse over reverse
    assert difference(twice, hu) < 1e-12


def test_gauss_newton_product_is_the_adjoint_of_born():
    case = Case(PLANE, 4, pde.CPML(width=5))
    samples, speed = case.args
    u, v = case.directions()[1], case.directions()[1]
    born = [jvp(lambda c: case.gathers(samples, c), (speed,), (d,))[1].numpy() for d in (u, v)]
    (back,) = vjp(lambda c: case.gathers(samples, c), speed)[1](born[0])
    assert abs(np.vdot(back.numpy(), v) - np.vdot(born[0], born[1])) < 1e-12 * np.linalg.norm(born[0]) * np.linalg.norm(born[1])


def test_only_what_is_asked_for_is_differentiated():
    case = Case(PLANE, 4, pde.CPML(width=5), storage=pde.Checkpoints(bytes=10 * STATE))
    _, whole, weights = case.with_gradients()
    (only,) = vjp(lambda s: case.gathers(s, case.args[1]), case.args[0])[1](weights)
    assert np.array_equal(only.numpy(), whole[0])
    speed = hp.asarray(case.args[1], requires_grad=True)
    hp.sum(case.gathers(case.args[0], speed) * weights).backward()
    assert speed.grad is not None and difference(speed.grad.numpy(), whole[1]) < 1e-13


def test_one_wavelet_for_all_sources_gathers_their_gradients():
    case = Case(PLANE, 4, pde.CPML(width=5))
    one = case.args[0][0, 0]
    weights = case.random.standard_normal((2, 4, 40))
    shared, each = (
        vjp(lambda s: case.gathers(s, case.args[1]), samples)[1](weights)[0].numpy()
        for samples in (one, np.broadcast_to(one, case.args[0].shape).copy())
    )
    assert difference(shared, each.sum(axis=(0, 1))) < 1e-13
