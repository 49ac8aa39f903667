"""Networks inside time loops: derivatives through solver and network, checkpoints, losses over trajectories, batches of pieces."""

import importlib.util
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim, pde, testing
from hyperion.cli import main
from hyperion.errors import DtypeError, InputError, ShapeError, TreeError
from hyperion.operators import hybrid

TORUS = pde.Torus((16, 16), 2 * np.pi)
SOLVER = pde.VorticitySolver(TORUS, pde.ETDRK4(step=0.05))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def smooth(batch, seed=0):
    """Vorticities of a few modes, (batch, 1, 16, 16)."""
    field = pde.GaussianField((16, 16), 2 * np.pi, tau=3.0, alpha=4.0, scale=60.0)
    return field.sample(hp.random.Generator(seed), batch, "float64")[:, None]


def convolution(seed=1):
    generator = hp.random.Generator(seed)
    options = {"padding": 1, "padding_mode": "circular", "dtype": "float64", "generator": generator}
    return nn.Sequential(nn.Conv2d(1, 4, 3, **options), nn.Activation(hp.tanh), nn.Conv2d(4, 1, 3, **options))


def arrays(tree):
    return [x.detach().numpy() for x in hp.autograd.flatten(tree)[0]]


def vorticity_step(viscosity=0.02):
    return SOLVER.stepper(0.05, viscosity=viscosity, dtype="float64")


def loss_of(network, state, viscosity, stretch=2):
    """A loss of 5 steps of Navier-Stokes with a network in between, with all that it depends on."""
    model = hybrid.Corrected(vorticity_step(viscosity), network, scale=0.3)
    return hp.mean(hybrid.rollout(model, state, 5, stretch=stretch) ** 2)


NETWORK, STATE, VISCOSITY = convolution(), smooth(2), np.float64(0.02)
VARIED = {
    "weights": (lambda x: loss_of(x, STATE, VISCOSITY), NETWORK, convolution(seed=2)),
    "initial state": (lambda x: loss_of(NETWORK, x, VISCOSITY), STATE, smooth(2, seed=3)),
    "viscosity": (lambda x: loss_of(NETWORK, STATE, x), VISCOSITY, np.float64(0.02)),
}


@pytest.mark.parametrize("reverse", [False, True], ids=["jvp", "grad"])
@pytest.mark.parametrize("name", VARIED)
def test_taylor_slope_2_through_solver_and_network(name, reverse):
    function, x, direction = VARIED[name]
    orders = testing.taylor_test(function, x, direction, step=4e-2, reverse=reverse)
    assert all(1.9 < order < 2.1 for order in orders), orders


def test_taylor_slope_3_of_the_second_derivative_in_the_viscosity():
    orders = testing.taylor_test(*VARIED["viscosity"], order=2, step=0.2)
    assert all(2.8 < order < 3.2 for order in orders), orders


def test_burgers_steps_are_differentiated_too():
    solver = pde.BurgersSolver(pde.Torus(32, 2 * np.pi), pde.ETDRK4(step=0.02))
    network = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", dtype="float64", generator=hp.random.Generator(0))
    state = np.sin(solver.torus.axis(0)) * np.ones((2, 1, 1))

    def loss(viscosity):
        step = hybrid.Corrected(solver.stepper(0.02, viscosity=viscosity, dtype="float64"), network, scale=0.1, substeps=2)
        return hp.mean(hybrid.rollout(step, state, 4) ** 2)

    assert all(1.9 < order < 2.1 for order in testing.taylor_test(loss, np.float64(0.1), np.float64(0.1), step=0.1, reverse=True))


@pytest.mark.parametrize("every", [1, 3, 6])
def test_checkpoints_change_no_bit_of_the_states(every):
    model = hybrid.Corrected(vorticity_step(), NETWORK, scale=0.3)
    kept = hybrid.rollout(model, STATE, 6, every, stretch=None).detach().numpy()
    for stretch in (1, 2, 4, 100):
        assert np.array_equal(hybrid.rollout(model, STATE, 6, every, stretch=stretch).detach().numpy(), kept)
    with hp.no_grad():
        assert np.array_equal(hybrid.rollout(model, STATE, 6, every).numpy(), kept)


def test_checkpoints_change_no_gradient():
    """Of the state to the bit; those of weights are sums over the steps, which are added in another order: some eps."""
    for argument in range(2):
        kept = hp.grad(loss_of, argument)(NETWORK, STATE, VISCOSITY, stretch=None)
        for stretch in (1, 2, 5):
            found = hp.grad(loss_of, argument)(NETWORK, STATE, VISCOSITY, stretch=stretch)
            for a, b in zip(arrays(found), arrays(kept), strict=True):
                assert np.array_equal(a, b) if argument else np.allclose(a, b, rtol=1e-13, atol=1e-13 * np.abs(b).max())


def test_checkpoints_bound_the_memory():
    model = hybrid.Corrected(vorticity_step(), convolution(), scale=0.3)
    peaks = {}
    for stretch in (None, 1):
        tracemalloc.start()
        hp.mean(hybrid.rollout(model, smooth(4), 24, stretch=stretch) ** 2).backward()
        peaks[stretch] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1] < 0.25 * peaks[None], peaks


def test_rollout_is_the_loop_written_out():
    step, state, seen = vorticity_step(), STATE, []
    for _ in range(6):
        state = step(state)
        seen.append(state.numpy())
    found = hybrid.rollout(step, STATE, 6, every=2).numpy()
    assert found.shape == (2, 3, 1, 16, 16) and np.array_equal(found, np.stack(seen[1::2], 1))


def test_states_may_be_trees():
    """A leapfrog of an oscillator, as (position, speed): its energy stays, and its gradient is right."""

    def step(state):
        x, v = state
        v = v - 0.1 * x
        return x + 0.1 * v, v

    start = (np.ones((3, 2)), np.zeros((3, 2)))
    x, v = hybrid.rollout(step, start, 63)
    assert x.shape == v.shape == (3, 63, 2)
    assert np.abs(x.numpy() ** 2 + v.numpy() ** 2 + 0.1 * x.numpy() * v.numpy() - 1.0).max() < 0.15
    orders = testing.taylor_test(lambda s: hp.mean(hybrid.rollout(step, s, 20, stretch=4)[0] ** 3), start, start, step=0.1, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders)


def test_networks_losses_and_pieces_take_trees_field_by_field():
    """A state as a dict of fields of different shapes does what the same fields do side by side in one array."""
    network = nn.Linear(5, 5, dtype="float64", generator=hp.random.Generator(0))
    decay = np.array([0.9, 0.8, 0.7, 0.6, 0.5])

    def parts(u):
        return {"speed": u[..., :2], "height": u[..., 2:]}

    def whole(s):
        return hp.concat([s["speed"], s["height"]], axis=-1)

    def rate(u):
        return -decay * u

    one = hybrid.Corrected(hybrid.runge_kutta4(rate, 0.3, 2), network, scale=0.1, substeps=2)
    two = hybrid.Corrected(hybrid.runge_kutta4(lambda s: parts(rate(whole(s))), 0.3, 2), lambda s: parts(network(whole(s))), 0.1, 2)
    data = normal(4, 9, 5)
    states = hybrid.rollout(one, data[:, 0], 8).detach().numpy()
    split = hybrid.rollout(two, parts(data[:, 0]), 8)
    assert split["speed"].shape == (4, 8, 2) and np.allclose(whole(split).detach().numpy(), states, rtol=1e-13, atol=0)

    for measure, free in ((nn.mse, 0), (nn.relative_l2, 2)):
        loss = hybrid.TrajectoryLoss(measure, free=free)
        expected = [loss(lambda u: u, parts(data[:, 0])[name], parts(data[:, 1:])[name]) for name in ("speed", "height")]
        found = loss(lambda s: s, parts(data[:, 0]), parts(data[:, 1:]))
        assert float(found) == pytest.approx(0.5 * float(expected[0] + expected[1]), rel=1e-13)
    orders = testing.taylor_test(lambda s: hybrid.TrajectoryLoss(nn.mse)(two, s, parts(data[:, 1:])), parts(hp.asarray(data[:, 0])),
                                 parts(hp.asarray(normal(4, 5))), step=0.1, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders)

    plain, pieces = (hybrid.Unrolls(x, size=3, steps={0: 2, 1: 4}, seed=5) for x in (data, parts(data)))
    for _ in range(3):
        for a, b in zip(next(plain), next(pieces), strict=True):
            assert np.array_equal(a.numpy(), whole(b).numpy())
    assert plain.state_dict().keys() == pieces.state_dict().keys()
    model = TreeModel(network, parts, whole)
    trainer = nn.Trainer(model, optim.Adam(model.parameters(), lr=1e-2), hybrid.TrajectoryLoss(nn.mse), pieces)
    assert len(list(trainer.run(2))) == 2

    found = hybrid.compare({"split": lambda s: s}, parts(data[:, 0]), parts(data[:, 1:]), turns=1)["split"]
    each = [hybrid.compare({"a": lambda u: u}, parts(data[:, 0])[name], parts(data[:, 1:])[name])["a"].errors for name in parts(data)]
    np.testing.assert_allclose(found.errors, 0.5 * (each[0] + each[1]), rtol=1e-13)
    assert found.states["height"].shape == (4, 8, 3) and found.seconds > 0.0
    resting = hybrid.compare({"rest": lambda s: s}, {"rest": {"u": np.zeros((2, 4))}}, {"u": np.zeros((2, 3, 4))})["rest"]
    assert not resting.errors.any()


class TreeModel(nn.Module):
    """A network between a split and its inverse."""

    def __init__(self, network, parts, whole):
        self.network, self.parts, self.whole = network, parts, whole

    def forward(self, s):
        return self.parts(self.network(self.whole(s)))


def test_a_blow_up_gives_infinities_and_no_warning():
    assert np.isinf(hybrid.rollout(lambda u: u * 1e200, np.ones((1, 2)), 4).numpy()[0, -1]).all()


def test_corrected_is_solver_plus_scaled_network():
    step = vorticity_step()
    after = step(step(STATE))
    expected = after.numpy() + 0.3 * NETWORK(after).detach().numpy()
    model = hybrid.Corrected(step, NETWORK, scale=0.3, substeps=2)
    np.testing.assert_allclose(model(STATE).detach().numpy(), expected, rtol=0, atol=1e-14)
    assert [p.shape for p in model.parameters()] == [p.shape for p in NETWORK.parameters()]


def test_runge_kutta_is_of_order_4_and_differentiable():
    def away(count):
        u = hp.asarray([1.0, 0.3], dtype="float64")
        found = hybrid.runge_kutta4(lambda u: hp.stack([u[1], -hp.sin(u[0])]), 2.0, count)(u)
        return np.abs(found.numpy() - fine).max()

    fine = hybrid.runge_kutta4(lambda u: hp.stack([u[1], -hp.sin(u[0])]), 2.0, 512)(hp.asarray([1.0, 0.3], dtype="float64")).numpy()
    assert 14.0 < away(8) / away(16) < 18.0
    slope = hp.grad(lambda a: hybrid.runge_kutta4(lambda u: -a * u, 1.0, 16)(hp.asarray(1.0, dtype="float64")))(np.float64(0.7))
    assert float(slope) == pytest.approx(-np.exp(-0.7), rel=1e-6)


def test_trajectory_loss_is_the_mean_over_the_rollout():
    model, targets = hybrid.Corrected(vorticity_step(), NETWORK, scale=0.3), normal(2, 4, 1, 16, 16)
    states = hybrid.rollout(model, STATE, 4).detach().numpy()
    assert float(hybrid.TrajectoryLoss(nn.mse)(model, STATE, targets)) == pytest.approx(((states - targets) ** 2).mean(), rel=1e-13)
    errors = np.linalg.norm((states - targets)[:, :, 0], axis=(2, 3)) / np.linalg.norm(targets[:, :, 0], axis=(2, 3))
    assert float(hybrid.TrajectoryLoss(nn.relative_l2)(model, STATE, targets)) == pytest.approx(errors.mean(), rel=1e-13)


def test_pushforward_differentiates_the_last_step_only():
    """The gradient is that of one step from a state the model itself ran into, taken as a constant."""
    step, targets = vorticity_step(), smooth(6, seed=5).reshape((2, 3, 1, 16, 16))

    def pushed(network):
        return hybrid.TrajectoryLoss(nn.mse, free=2)(hybrid.Corrected(step, network), STATE, targets)

    def by_hand(network):
        there = hybrid.rollout(hybrid.Corrected(step, NETWORK), STATE, 2)[:, -1].detach()
        return nn.mse(hybrid.Corrected(step, network)(there), targets[:, 2])

    def whole(network):
        return hybrid.TrajectoryLoss(nn.mse)(hybrid.Corrected(step, network), STATE, targets)

    found, expected, other = (arrays(hp.grad(f)(NETWORK)) for f in (pushed, by_hand, whole))
    for a, b, c in zip(found, expected, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        assert not np.allclose(a, c, rtol=0.1)


# Batches

NUMBERED = (100.0 * np.arange(5)[:, None] + np.arange(9))[:, :, None] * np.ones(3)          # 100 sample + time


def test_pieces_are_consecutive_times_of_one_sample():
    pieces = hybrid.Unrolls(NUMBERED, size=4, steps={0: 1, 3: 2, 5: 6})
    lengths, starts = [], set()
    for _ in range(200):
        start, targets = (x.numpy() for x in next(pieces))
        assert start.shape == (4, 3) and targets.shape[0] == 4 and targets.shape[2:] == (3,)
        assert np.array_equal(targets, start[:, None] + 1.0 + np.arange(targets.shape[1])[None, :, None])
        lengths.append(targets.shape[1])
        starts |= set(start[:, 0].astype(int).tolist()) if targets.shape[1] == 6 else set()
    assert lengths[:6] == [1, 1, 1, 2, 2, 6] and set(lengths[6:]) == {6}
    assert starts == {100 * sample + time for sample in range(5) for time in range(3)}        # every piece of 6 that there is


def test_a_training_that_is_resumed_ends_the_same():
    data = normal(4, 9, 1, 8).astype(np.float32)

    def trainer():
        model = hybrid.Corrected(lambda u: 0.9 * u, nn.Conv1d(1, 1, 3, padding=1, generator=hp.random.Generator(0)))
        pieces = hybrid.Unrolls(data, size=2, steps=hybrid.doubling(4, every=2), seed=3)
        return nn.Trainer(model, optim.Adam(model.parameters(), lr=1e-2), hybrid.TrajectoryLoss(nn.mse), pieces)

    whole, first, second = trainer(), trainer(), trainer()
    losses = [row["loss"] for row in whole.run(7)]
    for _ in first.run(3):
        pass
    second.load_state_dict(first.state_dict())
    assert [row["loss"] for row in second.run(7)] == losses[3:]
    other = hybrid.Unrolls(data, size=2, steps=4, seed=3)
    with pytest.raises(InputError, match="steps was"):
        other.load_state_dict(first.batches.state_dict())


class Viscous(nn.Module):
    """A solver whose viscosity is to be found."""

    def __init__(self, solver, start):
        self.solver, self.logarithm = solver, nn.parameter(np.float64(np.log(start)))

    def forward(self, u):
        return self.solver.stepper(0.02, viscosity=hp.exp(self.logarithm), dtype="float64")(u)


def test_a_solver_coefficient_is_found_through_the_loop():
    solver = pde.BurgersSolver(pde.Torus(32, 2 * np.pi), pde.ETDRK4(step=0.02))
    start = pde.GaussianField(32, 2 * np.pi, tau=1.0, alpha=2.0, scale=2.0).sample(hp.random.Generator(0), 4, "float64")[:, None]
    truth = hybrid.rollout(solver.stepper(0.02, viscosity=0.1, dtype="float64"), start, 10)
    model = Viscous(solver, 0.03)
    found = optim.minimize(hp.value_and_grad(lambda m: hybrid.TrajectoryLoss(nn.mse)(m, start, truth)), model, gradient_tolerance=1e-12)
    assert float(hp.exp(found.parameters.logarithm)) == pytest.approx(0.1, rel=1e-6)


def test_a_network_learns_what_the_solver_lacks_through_the_loop():
    """The solver lacks a drag; a network that sees the state learns it, so that long rollouts from unseen states agree."""
    solver = pde.BurgersSolver(pde.Torus(16, 2 * np.pi), pde.ETDRK4(step=0.05))
    step = solver.stepper(0.05, viscosity=0.2)
    field = pde.GaussianField(16, 2 * np.pi, tau=1.0, alpha=2.0, scale=1.0)
    start = field.sample(hp.random.Generator(1), 12)[:, None]
    truth = hybrid.rollout(lambda u: 0.95 * step(u), start, 40)
    trajectories = hp.concat([start[:, None], truth], axis=1).numpy()
    model = hybrid.Corrected(step, nn.Conv1d(1, 1, 1, generator=hp.random.Generator(0)), scale=0.1)
    pieces = hybrid.Unrolls(trajectories[:8], size=8, steps=hybrid.doubling(8, every=40))
    trainer = nn.Trainer(model, optim.Adam(model.parameters(), lr=0.03), hybrid.TrajectoryLoss(nn.mse, stretch=None), pieces)
    for _ in trainer.run(160):
        pass
    unseen = {name: hybrid.rollout(f, start[8:], 40).detach().numpy() for name, f in (("without", step), ("with", model))}
    errors = {name: np.linalg.norm(u - truth.numpy()[8:]) / np.linalg.norm(truth.numpy()[8:]) for name, u in unseen.items()}
    assert errors["with"] < 0.01 < 0.3 < errors["without"]


# Comparing loops

def test_compared_loops_have_the_errors_of_their_rollouts():
    truth = normal(4, 6, 1, 8)
    start, half, third = normal(4, 1, 8), (lambda u: 0.5 * u), (lambda u: u / 3.0)
    found = hybrid.compare({"one": half, "two": [third, half]}, start, truth)
    states = hybrid.rollout(half, start, 6).numpy()
    away = np.linalg.norm((states - truth).reshape(4, 6, -1), axis=2) / np.linalg.norm(truth.reshape(4, 6, -1), axis=2)
    np.testing.assert_allclose(found["one"].errors, away.mean(0)[None], rtol=1e-12)
    np.testing.assert_allclose(found["two"].errors[1], found["one"].errors[0], rtol=1e-12)
    assert np.array_equal(found["one"].states, states) and found["two"].states.shape == truth.shape
    assert np.array_equal(found["two"].states, hybrid.rollout(third, start, 6).numpy())                      # of the first
    means = found["two"].errors.mean(axis=1)
    assert found["two"].mean == pytest.approx(np.sqrt(means[0] * means[1])) and np.isnan(found["one"].seconds)
    assert str(found["one"]) == f"{found['one'].mean:.4f}" and str(found["two"]).count(",") == 1
    errors, mean = found["one"].errors[0], found["one"].mean
    assert found["one"].figures(2, 6) == {"error after 2 steps": errors[1], "error after 6 steps": errors[5], "mean over 6 steps": mean}
    assert found["two"].figures() == {"mean over 6 steps": found["two"].mean, "least mean": means.min(), "largest mean": means.max()}


def test_loops_on_other_grids_are_projected_and_costs_are_measured_in_turns():
    truth, coarse, fine = np.ones((3, 2, 1, 4)), np.ones((3, 1, 4)), np.ones((3, 1, 8))
    calls = []

    def step(name):
        def counted(u):
            calls.append(name)
            return 1.0 * u
        return counted

    found = hybrid.compare({"coarse": step("coarse"), "fine": step("fine")}, {"coarse": coarse, "fine": fine}, truth,
                           project=lambda u: u[..., :: u.shape[-1] // 4], turns=3)
    assert calls[:6] == ["coarse", "fine"] * 3
    assert all(not outcome.errors.any() and 0.0 < outcome.seconds < 1.0 for outcome in found.values())
    blown = hybrid.compare({"wild": lambda u: 1e100 * u}, coarse, truth)["wild"]
    assert np.isfinite(blown.errors[0, 0]) and np.isinf(blown.errors[0, 1]) and np.isinf(blown.mean)


# The solvers and closures that the scenarios write themselves

def scenario(name):
    path = Path(__file__).resolve().parents[2] / f"scenarios/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_finite_differences_in_the_loop_are_of_order_2_and_keep_the_circulation():
    loop = scenario("solver_in_the_loop")
    config = SimpleNamespace(interval=0.2, fastest=4.5, viscosity=0.05)
    field = pde.GaussianField((64, 64), 2 * np.pi, tau=3.0, alpha=4.0, scale=60.0)
    start = field.sample(hp.random.Generator(0), 1, "float64")[:, None].numpy()
    solver = pde.VorticitySolver(pde.Torus((64, 64), 2 * np.pi), pde.ETDRK4(step=0.01))
    truth = solver.solve(start, 0.2, viscosity=0.05, forcing=loop.driving(64)).numpy()[:, 0]
    errors = {}
    for points in (32, 64, 128):
        w = hp.asarray(loop.resampled(start, points) + np.float32(0.5))         # a mean moves nothing
        after = loop.FiniteDifferences(points, config, "cpu").step(w).numpy() - 0.5
        assert abs(after.mean()) < 1e-6
        errors[points] = np.linalg.norm(loop.resampled(after, 32) - loop.resampled(truth, 32)) / np.linalg.norm(loop.resampled(truth, 32))
    assert 3.5 < errors[32] / errors[64] < 4.5 and 3.5 < errors[64] / errors[128] < 4.5, errors


@pytest.mark.parametrize("name", ["none", "shock capturing", "Smagorinsky", "learned flux"])
def test_closures_keep_the_mean_and_are_quadratic(name):
    closures = scenario("learned_closure")
    nn.seed(0)
    closure = {"none": None, "shock capturing": closures.shock_capturing, "Smagorinsky": closures.Smagorinsky(0.2),
               "learned flux": closures.LearnedFlux(2, 8)}[name]
    config = SimpleNamespace(interval=0.01, viscosity=0.0)
    u = hp.asarray(normal(3, 1, 32))
    solver = closures.FiniteVolumes(config, 32, closure)
    with hp.no_grad():
        after = hybrid.rollout(solver, u, 20).numpy()
        rates = [solver.rate(scale * u).numpy() / scale**2 for scale in (1.0, 8.0)]
    assert np.abs(after.mean(-1) - u.numpy().mean(-1)[:, None]).max() < 1e-12
    np.testing.assert_allclose(rates[0], rates[1], rtol=0, atol=1e-5 * np.abs(rates[0]).max())       # the size has a floor of 1e-4


@pytest.mark.parametrize("words, option", [
    (["solver_in_the_loop", "--lengths", "1,2"], "--lengths"), (["solver_in_the_loop", "--layers", "1"], "--layers"),
    (["learned_closure", "--unroll", "500"], "--unroll"), (["learned_closure", "--reference", "100"], "--reference"),
])
def test_scenarios_refuse_options_that_make_no_sense(words, option, tmp_path, capsys):
    assert main(["run", *words, "--smoke", "--out", str(tmp_path / "run")]) == 2
    assert option in capsys.readouterr().err and not (tmp_path / "run").exists()


# Wrong input

ARRAY = np.zeros((3, 5, 1, 8), np.float32)
BAD = np.where(np.arange(3)[:, None, None, None] == 1, np.nan, ARRAY)


class Astray:
    """A step that halves the state after some calls."""

    def __init__(self, after):
        self.left = after

    def __call__(self, u):
        self.left -= 1
        return u if self.left >= 0 else u[:, ::2]


REFUSED = {
    "no step": (lambda: hybrid.Corrected(None, NETWORK), InputError, r"Corrected\(step\): got a NoneType"),
    "no network": (lambda: hybrid.Corrected(np.sin, 3.0), InputError, r"Corrected\(network\): got a float"),
    "scale": (lambda: hybrid.Corrected(np.sin, np.sin, scale=np.inf), InputError, r"scale=inf"),
    "substeps": (lambda: hybrid.Corrected(np.sin, np.sin, substeps=0), InputError, r"substeps"),
    "shape of a correction": (
        lambda: hybrid.Corrected(lambda u: u, lambda u: u[:, :1])(hp.ones((2, 3))), ShapeError, r"\(2, 1\).*\(2, 3\)"),
    "steps": (lambda: hybrid.rollout(np.sin, hp.ones(3), 0), InputError, r"rollout\(steps\)=0"),
    "every": (lambda: hybrid.rollout(lambda u: u, hp.ones(3), 5, every=2), InputError, r"every must divide steps"),
    "stretch": (lambda: hybrid.rollout(lambda u: u, hp.ones(3), 4, stretch=0), InputError, r"stretch"),
    "a step that changes the state": (lambda: hybrid.rollout(lambda u: u[1:], hp.ones((3, 2)), 4), ShapeError, r"\(3, 2\).*\(2, 2\)"),
    "measure": (lambda: hybrid.TrajectoryLoss("mse"), InputError, r"got a str"),
    "free": (lambda: hybrid.TrajectoryLoss(nn.mse, free=-1), InputError, r"free"),
    "targets": (lambda: hybrid.TrajectoryLoss(nn.mse)(np.sin, hp.ones((2, 8)), hp.ones((2, 3, 9))), ShapeError, r"\(2, 8\).*\(2, 3, 9\)"),
    "too few targets": (
        lambda: hybrid.TrajectoryLoss(nn.mse, free=3)(np.sin, hp.ones((2, 8)), hp.ones((2, 3, 8))), ShapeError, r"at least 4"),
    "first above last": (lambda: hybrid.doubling(4, every=10, first=8), InputError, r"first=8, last=4"),
    "no times": (lambda: hybrid.Unrolls(np.zeros((3, 5)), 1), ShapeError, r"\(3, 5\)"),
    "integers": (lambda: hybrid.Unrolls(np.zeros((3, 5, 1), int), 1), DtypeError, r"int64"),
    "pieces too long": (lambda: hybrid.Unrolls(ARRAY, 2, steps={0: 1, 10: 5}), ShapeError, r"5 steps.*5 times"),
    "NaN": (lambda: hybrid.Unrolls(BAD, 2), InputError, r"sample 1"),
    "a curriculum without beginning": (lambda: hybrid.Unrolls(ARRAY, 2, steps={5: 1}), InputError, r"begin with batch 0"),
    "a length of 0": (lambda: hybrid.Unrolls(ARRAY, 2, steps={0: 0}), InputError, r"a length=0"),
    "an interval of 0": (lambda: hybrid.runge_kutta4(np.sin, 0.0), InputError, r"interval=0.0"),
    "no rate": (lambda: hybrid.runge_kutta4(1.0, 1.0), InputError, r"rate=1.0"),
    "a step that is none": (lambda: hybrid.rollout(None, hp.ones(3), 1), InputError, r"rollout\(step\): got a NoneType; give a function"),
    "a step that goes astray": (lambda: hybrid.rollout(Astray(3), hp.ones((2, 8)), 6, every=2, stretch=2), ShapeError,
                                r"step 4 of 6 turned a state of shape \(2, 8\), float32 into one of shape \(2, 4\), float32"),
    "a step to nothing": (lambda: hybrid.rollout(lambda u: 1.0, hp.ones((2, 8)), 2), ShapeError, r"step 1 of 2 .* into one of a float"),
    "a correction that is a number": (
        lambda: hybrid.Corrected(lambda u: u, lambda u: 0.0)(hp.ones((2, 3))), ShapeError, r"returned a float for a state of shape \(2,"),
    "a correction of one field": (lambda: hybrid.Corrected(lambda s: s, lambda s: s["u"])({"u": hp.ones(2), "v": hp.ones(2)}), ShapeError,
                                  r"returned shape \(2,\) for a state of {'u': 'shape \(2,\)', 'v'"),
    "targets of another tree": (
        lambda: hybrid.TrajectoryLoss(nn.mse)(lambda s: s, {"u": hp.ones((2, 8))}, {"v": hp.ones((2, 3, 8))}), TreeError, r"targets"),
    "fields of other times": (lambda: hybrid.Unrolls({"u": ARRAY, "v": ARRAY[:, :4]}, 1), ShapeError, r"\(3, 4\), \(3, 5\) samples"),
    "NaN in a field": (lambda: hybrid.Unrolls({"u": ARRAY, "v": BAD}, 1), InputError, r"sample 1"),
    "NaN in the truth": (lambda: hybrid.compare({"a": lambda u: u}, ARRAY[:, 0], BAD), InputError, r"compare\(truth\): sample 1 has"),
    "NaN in a start": (
        lambda: hybrid.compare({"a": lambda u: u}, {"a": BAD[:, 0]}, ARRAY), InputError, r"compare\(start\) of 'a': sample 1 has"),
    "a truth without times": (lambda: hybrid.compare({"a": np.sin}, ARRAY[:, 0, 0], ARRAY[:, 0, 0]), ShapeError, r"\(3, 8\)"),
    "nothing to compare": (lambda: hybrid.compare({}, ARRAY[:, 0], ARRAY), InputError, r"at least one name"),
    "no seed": (lambda: hybrid.compare({"a": []}, ARRAY[:, 0], ARRAY), InputError, r"at least one step"),
    "a start that is missing": (
        lambda: hybrid.compare({"a": np.sin, "b": np.sin}, {"a": ARRAY[:, 0]}, ARRAY), InputError, r"none for \['b'\]"),
    "states of another grid": (
        lambda: hybrid.compare({"a": lambda u: u}, ARRAY[:, 0, :, :4], ARRAY), ShapeError, r"\(3, 5, 1, 4\).*\(3, 5, 1, 8\)"),
    "batch size": (lambda: hybrid.Unrolls(ARRAY, 0), InputError, r"size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


def test_hybrid_is_in_the_public_namespace():
    assert operators.hybrid is hybrid
