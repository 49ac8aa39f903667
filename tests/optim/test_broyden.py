"""Self-scaled Broyden: the update's laws, known minima, against SciPy's BFGS, memory, resuming, refusals."""

import math

import numpy as np
import pytest
import scipy.optimize

import hyperion as hp
from hyperion.errors import InputError, NonFiniteError
from hyperion.optim import SelfScaledBroyden, Wolfe, bfgs, broyden, ssbfgs, ssbroyden

FAMILIES = [ssbroyden, ssbfgs, bfgs]


def rosenbrock(x):
    return hp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def powell(x):
    """Powell's singular function: the Hessian at the minimum has rank 2 of 4."""
    return (x[0] + 10.0 * x[1]) ** 2 + 5.0 * (x[2] - x[3]) ** 2 + (x[1] - 2.0 * x[2]) ** 4 + 10.0 * (x[0] - x[3]) ** 4


def network(x):
    """A small tanh network fitted to a sine."""
    t = np.linspace(-1.0, 1.0, 30)[:, None]
    hidden = hp.tanh(t * x[:10] + x[10:20])
    return hp.mean(hp.square(hp.matmul(hidden, x[20:30]) - np.sin(3.0 * t[:, 0])))


STARTS = {rosenbrock: np.full(20, -1.0), powell: np.array([3.0, -1.0, 0.0, 1.0]), network: np.random.default_rng(0).normal(size=30)}


def run(function, start, iterations, **options):
    optimizer = SelfScaledBroyden(hp.asarray(start), **options)
    value_and_grad = hp.value_and_grad(function)
    for _ in range(iterations):
        optimizer.advance(value_and_grad)
        if optimizer.gradient_norm() < 1e-9 or optimizer.stalled:
            break
    return optimizer


def of_numpy(function):
    def value_and_grad(x):
        value, gradient = hp.value_and_grad(function)(hp.asarray(x))
        return value.item(), gradient.numpy()

    return value_and_grad


def dense(optimizer):
    lower = optimizer._matrix.scale * np.tril(optimizer._matrix.lower)
    return lower + np.tril(lower, -1).T


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("function", STARTS)
def test_it_reaches_what_scipys_bfgs_reaches(function, family):
    ours = run(function, STARTS[function], 400, family=family)
    peer = scipy.optimize.minimize(of_numpy(function), STARTS[function], jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 400})
    # A network has many minima: only how deep it gets compares. Twice SciPy's evaluations are allowed for, as the searches differ.
    assert ours.value <= max(10.0 * peer.fun, 1e-12)
    assert ours.evaluations <= 2.5 * peer.nfev
    if function is rosenbrock:
        np.testing.assert_allclose(ours.parameters.numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quadratic_ends_after_as_many_steps_as_it_has_dimensions(family):
    """With exact line searches the whole family makes conjugate directions, whatever the scaling (Nocedal and Wright, theorem 6.4)."""
    size, rng = 10, np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix, right = basis @ np.diag(np.geomspace(1.0, 30.0, size)) @ basis.T, rng.normal(size=size)
    optimizer = SelfScaledBroyden(np.zeros(size), family=family, wolfe=Wolfe(1e-10, 1e-9, 60))
    for _ in range(size):
        optimizer.advance(lambda x: (float(0.5 * x @ matrix @ x - right @ x), matrix @ x - right))
    exact = np.linalg.solve(matrix, right)
    # The search ends at 1e-9 of the slope, or earlier where the value no longer resolves it; without conjugacy 10 steps reach 1e-2.
    assert np.linalg.norm(optimizer.parameters - exact) < 1e-5 * np.linalg.norm(exact)


def direct_update(hessian, s, y, tau, theta):
    """The family on the Hessian itself: Al-Baali's form, tau (B - B s s' B / s.B s + theta w w') + y y' / y.s."""
    bs = hessian @ s
    w = math.sqrt(s @ bs) * (y / (y @ s) - bs / (s @ bs))
    return tau * (hessian - np.outer(bs, bs) / (s @ bs) + theta * np.outer(w, w)) + np.outer(y, y) / (y @ s)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_update_is_the_inverse_of_the_familys_and_keeps_the_secant(family):
    optimizer = run(rosenbrock, np.linspace(-1.0, 0.4, 7), 4, family=family)
    value_and_grad = of_numpy(rosenbrock)
    for _ in range(6):
        before, x, gradient = dense(optimizer), optimizer.parameters.numpy(), optimizer._gradient
        optimizer.advance(hp.value_and_grad(rosenbrock))
        s = optimizer.parameters.numpy() - x
        y = value_and_grad(x + s)[1] - gradient
        b, h = s @ np.linalg.solve(before, s) / (y @ s), y @ before @ y / (y @ s)
        tau, phi = family(b, h, 7)
        theta = (1.0 - phi) / (1.0 + phi * (b * h - 1.0))
        inverse = np.linalg.inv(direct_update(np.linalg.inv(before), s, y, tau, theta))
        after = dense(optimizer)
        np.testing.assert_allclose(after, inverse, rtol=1e-6, atol=1e-8 * abs(inverse).max())
        np.testing.assert_allclose(after @ y, s, rtol=1e-8, atol=1e-10 * abs(s).max())
        assert np.linalg.eigvalsh(after).min() > 0.0


@pytest.mark.parametrize("b", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("a", [0.0, 1e-8, 0.3, 40.0])
def test_scalings_are_safe(a, b):
    """tau is at most 1, and the update keeps positive definiteness: 1 + a theta = 1 / phi-bound above 0."""
    h = (1.0 + a) / b
    for family in FAMILIES:
        tau, phi = family(b, h, 50)
        assert 0.0 < tau <= 1.0
        theta = (1.0 - phi) / (1.0 + phi * (b * h - 1.0))
        assert 1.0 + a * theta > 0.0


def test_both_matrices_do_the_same():
    rng = np.random.default_rng(4)
    host, array = broyden._HostMatrix(40, 0.7), broyden._DeviceMatrix(np, 40, 0.7)
    for tau, uu in ((1.0, 0.0), (1e-60, 0.3), (1e-60, -0.1), (0.5, 0.0)):       # the scale is folded in on the way
        s, u = rng.normal(size=40), rng.normal(size=40)
        for matrix in (host, array):
            matrix.update(s, u, 2.0, -0.4, uu, tau)
    vector = rng.normal(size=40)
    np.testing.assert_allclose(host.times(vector), array.times(vector), rtol=1e-11)
    other = broyden._DeviceMatrix(np, 40, host.scale)
    other.unpack(host.packed())
    np.testing.assert_allclose(other.times(vector), host.times(vector), rtol=1e-12)


@pytest.mark.parametrize("bounds", [(-2.0, 0.8), (None, 0.5), (-0.5, None)])
def test_bounded_rosenbrock_agrees_with_scipy(bounds):
    start = np.clip(np.array([-1.2, 1.0, -0.5, 0.3]), *bounds)
    optimizer = run(rosenbrock, start, 500, bounds=bounds)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000}
    peer = scipy.optimize.minimize(of_numpy(rosenbrock), start, jac=True, method="L-BFGS-B", bounds=[bounds] * 4, options=options)
    np.testing.assert_allclose(optimizer.parameters.numpy(), peer.x, atol=1e-4)


def test_closure_and_function_agree():
    x = hp.asarray(np.full(4, -1.0), requires_grad=True)
    optimizer = SelfScaledBroyden([x])

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    for _ in range(12):
        optimizer.step(closure)
    other = run(rosenbrock, np.full(4, -1.0), 12)
    np.testing.assert_array_equal(x.detach().numpy(), other.parameters.numpy())


def test_a_module_is_a_tree_of_parameters():
    model = hp.nn.MLP([1, 8, 1], dtype="float64", generator=hp.random.Generator(0))
    t = np.linspace(-1.0, 1.0, 20)[:, None]
    optimizer = SelfScaledBroyden(model)
    for _ in range(150):
        optimizer.advance(hp.value_and_grad(lambda m: hp.mean(hp.square(m(t) - np.sin(2.0 * t)))))
    assert optimizer.value < 1e-6 and np.isclose(hp.mean(hp.square(model(t) - np.sin(2.0 * t))).item(), optimizer.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resumed_equals_undisturbed(dtype):
    start = hp.full((9,), -1.0, dtype=dtype)
    value_and_grad = hp.value_and_grad(rosenbrock)
    whole, part = SelfScaledBroyden(start), SelfScaledBroyden(start)
    for _ in range(25):
        whole.advance(value_and_grad)
    for _ in range(11):
        part.advance(value_and_grad)
    resumed = SelfScaledBroyden(part.parameters)
    resumed.load_state_dict(part.state_dict())
    for _ in range(14):
        resumed.advance(value_and_grad)
    np.testing.assert_array_equal(resumed.parameters.numpy(), whole.parameters.numpy())
    assert resumed.value == whole.value and resumed.evaluations == whole.evaluations


def test_restart_keeps_the_matrix_unless_told_and_a_failed_search_forgets_it():
    optimizer = run(rosenbrock, np.full(5, -1.0), 10)
    before = dense(optimizer)
    optimizer.restart()
    np.testing.assert_array_equal(dense(optimizer), before)
    optimizer.advance(hp.value_and_grad(lambda x: hp.sum((x - 2.0) ** 2)))         # another function from here on
    assert math.isfinite(optimizer.value)
    optimizer.restart(forget=True)
    assert "matrix" not in optimizer.state_dict()
    stuck = SelfScaledBroyden(np.zeros(3))
    stuck.advance(lambda x: (float(x @ x), 2.0 * x))
    assert stuck.stalled


def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"10,000,000 numbers need a matrix of 745,058.1 GiB, .* use LBFGS"):
        SelfScaledBroyden(np.zeros(10_000_000, np.float32))


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (InputError, "first_step", lambda: SelfScaledBroyden(np.zeros(2), first_step=0.0)),
        (InputError, "wolfe", lambda: SelfScaledBroyden(np.zeros(2), wolfe=Wolfe(0.5, 0.1))),
        (InputError, "family='bfgs'", lambda: SelfScaledBroyden(np.zeros(2), family="bfgs")),
        (InputError, "SelfScaledBroyden evaluates the loss", lambda: SelfScaledBroyden(hp.asarray([1.0], requires_grad=True)).step()),
        (NonFiniteError, "nan", lambda: SelfScaledBroyden(np.zeros(2)).advance(lambda x: (math.nan, x))),
        (InputError, "value is missing", lambda: SelfScaledBroyden(np.zeros(2)).load_state_dict({})),
        (InputError, "gradient has shape", lambda: SelfScaledBroyden(np.zeros(2)).load_state_dict(
            run(rosenbrock, np.zeros(3), 2).state_dict())),
    ],
)
def test_wrong_input_is_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.gpu
def test_on_a_gpu():
    start = hp.asarray(np.full(10, -1.0), device="cuda:0")
    optimizer = SelfScaledBroyden(start)
    for _ in range(150):
        optimizer.advance(hp.value_and_grad(rosenbrock))
    np.testing.assert_allclose(optimizer.parameters.to("cpu").numpy(), 1.0, atol=1e-5)


@pytest.mark.parametrize(("options", "message"), [
    ({"first_step": "a"}, "first_step='a'"), ({"first_step": np.inf}, "first_step=inf"), ({"wolfe": 3}, "wolfe=3"),
])
def test_options_of_other_kinds(options, message):
    with pytest.raises(InputError, match=message):
        SelfScaledBroyden(np.ones(2), **options)


def test_nothing_to_optimise():
    with pytest.raises(InputError, match="all arrays are empty"):
        SelfScaledBroyden(np.ones(0))


@pytest.mark.parametrize("returned", [None, (math.nan, 1.0), (1.0, math.inf), (0.0, 1.0), (-1.0, 1.0), (1.0,), 1.0, ("a", 1.0)])
def test_a_family_must_return_two_finite_numbers(returned):
    with pytest.raises(InputError, match=r"family\(b=.*returned .*two finite numbers"):
        run(rosenbrock, np.full(4, -1.0), 6, family=lambda b, h, size: returned)
