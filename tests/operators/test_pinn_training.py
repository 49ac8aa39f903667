"""Training of PINNs: every optimiser, points that follow the residual, resuming, windows of time, unknown coefficients."""

import warnings

import numpy as np
import pytest

import hyperion as hp
from hyperion import io, nn, operators, optim, pde
from hyperion.errors import InputError, NonFiniteError, SamplingWarning
from hyperion.operators import (
    PINN,
    Box,
    Dirichlet,
    Initial,
    Neumann,
    Observed,
    Periodic,
    PINNTrainer,
    Points,
    Positive,
    ResidualDensity,
    Side,
    TimeMarching,
)
from tests.gpu import emulator, standin

pytestmark = pytest.mark.filterwarnings("ignore:.* trained numbers:hyperion.errors.SamplingWarning")      # mechanics need few points


def heat(hard=True, width=8, seed=0, time=0.2, dtype="float64", **options):
    """u_t = u_xx / pi^2 from sin(pi x): sin(pi x) exp(-t)."""
    net = nn.MLP([2, width, width, 1], dtype=dtype, generator=hp.random.Generator(seed))
    conditions = [Initial(u=lambda x: hp.sin(np.pi * x), hard=hard), Dirichlet(u=0.0, hard=hard)]
    return PINN(pde.Heat(), Box(x=(0, 1), t=(0, time)), net, conditions, **{"diffusivity": 1.0 / np.pi**2, **options})


def error(pinn, time=0.2):
    points = pinn.domain.mesh(x=np.linspace(0, 1, 21), t=np.linspace(0, time, 11)) if hasattr(pinn, "domain") else pinn
    truth = np.sin(np.pi * points[:, 0]) * np.exp(-points[:, 1])
    return np.abs(pinn(points).detach().numpy()[:, 0] - truth).max()


@pytest.mark.parametrize("make, steps, reached", [
    (lambda p: optim.Adam(p.parameters(), lr=2e-2), 200, 3e-2),
    (lambda p: optim.SOAP(p.parameters(), lr=1e-2), 150, 2e-2),
    (lambda p: optim.Muon(p.parameters(), lr=2e-2), 200, 5e-2),
    (lambda p: optim.LBFGS(p), 60, 5e-3),
    (lambda p: optim.SelfScaledBroyden(p), 100, 1e-3),
    (lambda p: optim.GaussNewton(p), 15, 3e-3),
    (lambda p: optim.LevenbergMarquardt(p), 15, 3e-4),
], ids=["Adam", "SOAP", "Muon", "LBFGS", "SelfScaledBroyden", "GaussNewton", "LevenbergMarquardt"])
def test_every_optimiser_solves_the_heat_equation(make, steps, reached):
    pinn = heat(time=1.0)
    trainer = PINNTrainer(pinn, make(pinn), Points(pinn, equation=150))
    before = error(pinn, 1.0)
    rows = list(trainer.run(steps))
    assert rows[-1]["step"] == steps or trainer.stalled
    assert error(pinn, 1.0) < min(reached, 0.2 * before)
    batch = trainer.points.batch
    if not isinstance(trainer.optimizer, optim.Adam | optim.SOAP | optim.Muon):     # theirs is the value before the step
        assert rows[-1]["loss"] == pytest.approx(float(pinn.loss(batch)), rel=1e-9)


def test_the_trainer_of_networks_takes_a_pinn():
    pinn = heat(hard=False, dtype="float32")
    points = Points(pinn, every=50, equation=100, initial=30, dirichlet=30)
    trainer = nn.Trainer(pinn, optim.Adam(pinn.parameters(), lr=1e-2), lambda pinn, batch: pinn.loss(batch), points)
    losses = [row["loss"] for row in trainer.run(200)]
    assert losses[-1] < 0.05 * losses[0] and points.drawn == 3


def trainer_of(pinn, kind, **options):
    optimiser = optim.Adam(pinn.parameters(), lr=1e-3) if kind == "Adam" else getattr(optim, kind)(pinn)
    adaptive = operators.ResidualRefinement(add=10, pool=200, most=90) if kind == "Adam" else operators.ResidualDensity(pool=200)
    return PINNTrainer(pinn, optimiser, Points(pinn, every=4, adaptive=adaptive, equation=60, **options))


@pytest.mark.parametrize("kind", ["Adam", "LBFGS", "SelfScaledBroyden", "GaussNewton", "LevenbergMarquardt"])
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(kind, tmp_path):
    whole = trainer_of(heat(False), kind, initial=20, dirichlet=20)
    list(whole.run(13))
    first = trainer_of(heat(False), kind, initial=20, dirichlet=20)
    list(first.run(6))
    io.save_tree(tmp_path / "state.h5", first.state_dict())
    again = trainer_of(heat(False, seed=5), kind, initial=20, dirichlet=20)
    again.load_state_dict(io.load_tree(tmp_path / "state.h5"))
    list(again.run(13))
    assert whole.points.drawn == again.points.drawn == 3
    for name, value in whole.pinn.state_dict().items():
        assert np.array_equal(value, again.pinn.state_dict()[name]), name


def test_balance_and_causality_are_kept_and_resumed():
    def made(seed=0):
        pinn = heat(False, seed=seed, weights={"initial": 2.0})
        causal = operators.CausalWeights(0.0, 0.2, slices=4, tolerances=(1.0, 10.0))
        points = Points(pinn, equation=60, initial=20, dirichlet=20)
        return PINNTrainer(pinn, optim.Adam(pinn.parameters(), lr=1e-3), points, operators.GradientNorm(every=3), causal)

    whole, first, again = made(), made(), made(1)
    list(whole.run(10))
    list(first.run(5))
    again.load_state_dict(first.state_dict())
    list(again.run(10))
    assert whole.weights == again.weights and whole.weights != dict(whole.pinn.weights)
    for name, value in whole.pinn.state_dict().items():
        assert np.array_equal(value, again.pinn.state_dict()[name]), name


def test_weights_of_causality_make_the_loss():
    pinn = heat(False)
    causal = operators.CausalWeights(0.0, 0.2, slices=2, tolerances=(1.0,))
    points = Points(pinn, equation=40, initial=10, dirichlet=10)
    trainer = PINNTrainer(pinn, optim.Adam(pinn.parameters()), points, causal=causal)
    rows = points.batch["equation"]
    r, late = pinn.equation_residual(rows).detach().numpy()[:, 0], rows["points"].numpy()[:, 1] > 0.1
    early, after = np.mean(r[~late] ** 2), np.mean(r[late] ** 2)
    terms = {name: float(x) for name, x in pinn.terms(points.batch).items()}
    expected = 0.5 * (early + np.exp(-early) * after) + terms["initial"] + terms["dirichlet"]
    assert float(trainer.loss(pinn, points.batch)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [lambda p: optim.Adam(p.parameters(), lr=1e-2), lambda p: optim.SelfScaledBroyden(p)])
def test_attention_to_residuals_trains_and_resumes(make):
    def made(seed=0):
        pinn = heat(time=1.0, seed=seed)
        return PINNTrainer(pinn, make(pinn), Points(pinn, equation=80), attention=operators.ResidualAttention())

    whole, first, again = made(), made(), made(1)
    losses = [row["loss"] for row in whole.run(40)]
    assert losses[-1] < 0.2 * losses[0]
    list(first.run(25))
    again.load_state_dict(first.state_dict())
    list(again.run(40))
    for name, value in whole.pinn.state_dict().items():
        assert np.array_equal(value, again.pinn.state_dict()[name]), name


def test_adaptive_points_go_where_the_residual_is():
    pinn = PINN(pde.Poisson(), Box(x=(-1, 1), y=(-1, 1)), nn.MLP([2, 4, 1], dtype="float64"), [Dirichlet(u=0.0, hard=True)],
                source=lambda x, y: 100.0 * np.exp(-50.0 * (x**2 + y**2)))
    points = Points(pinn, every=1, adaptive=operators.ResidualDensity(power=1.0, floor=0.1, pool=2000), equation=200)
    next(points), next(points)
    near = np.hypot(*points.batch["equation"]["points"].numpy().T) < 0.3
    assert near.mean() > 0.4                                    # a share of 0.07 of the area
    assert points.batch["equation"]["source"].shape == (200, 1)
    refined = Points(pinn, every=1, adaptive=operators.ResidualRefinement(add=30, most=250, pool=2000), equation=200)
    for count in (200, 230, 250, 250):
        batch, = next(refined)
        assert len(batch["equation"]["points"]) == count
    own = batch["equation"]["points"].numpy()[:200]
    assert np.array_equal(own, Points(pinn, equation=200).batch["equation"]["points"].numpy())


def test_refined_points_keep_the_first_ones_and_their_number():
    pinn = PINN(pde.Poisson(), Box(x=(0, 1), y=(0, 1)), nn.MLP([2, 4, 1], dtype="float64"), source=1.0)
    for equation, most in ((100, 100), (100, 60)):
        with pytest.raises(InputError, match=f"most={most} leaves no room .* the first 100"):
            Points(pinn, every=1, adaptive=operators.ResidualRefinement(add=10, most=most, pool=100), equation=equation)
    points = Points(pinn, operators.Grid(), every=1, adaptive=operators.ResidualRefinement(add=15, most=111, pool=400), equation=89)
    first = points.batch["equation"]["points"].numpy()
    assert len(first) == 81                                     # a grid has fewer points than were asked for
    for count in (81, 96, 111, 111, 111):
        batch, = next(points)
        assert len(batch["equation"]["points"]) == count
    assert np.array_equal(batch["equation"]["points"].numpy()[:81], first)
    last = batch["equation"]["points"].numpy()[-15:]
    batch, = next(points)
    assert np.array_equal(batch["equation"]["points"].numpy()[-30:-15], last)       # the oldest added ones have left


@pytest.mark.parametrize("hard", [True, False])
def test_time_marching(hard):
    pinn = heat(hard, time=1.0, weights={} if hard else {"initial": 10.0})
    marching = TimeMarching(pinn, [0.0, 0.5, 1.0])
    for window in marching:
        counts = {} if hard else {"initial": 40, "dirichlet": 40}
        list(PINNTrainer(window, optim.LevenbergMarquardt(window), Points(window, equation=100, **counts)).run(25))
    points = pinn.domain.mesh(x=np.linspace(0, 1, 21), t=np.linspace(0, 1, 21))
    assert np.abs(marching(points).numpy()[:, 0] - np.sin(np.pi * points[:, 0]) * np.exp(-points[:, 1])).max() < 2e-3
    at = np.array([[0.3, 0.5]])
    if hard:
        assert float(marching.parts[0](at)) == pytest.approx(float(marching.parts[1](at)), abs=1e-13)
    again = TimeMarching(heat(hard, time=1.0, seed=3), [0.0, 0.5, 1.0])
    for _ in again:
        pass
    again.load_state_dict(marching.state_dict())
    kept = again.parts[1](points[points[:, 1] > 0.5]).detach().numpy()
    if not hard:
        assert np.array_equal(kept, marching.parts[1](points[points[:, 1] > 0.5]).detach().numpy())
    assert {name.split(".")[1] for name in marching.state_dict()} == {"0", "1"}


def test_time_marching_of_waves_hands_the_rates_on():
    net = nn.MLP([3, 8, 8, 1], dtype="float64", generator=hp.random.Generator(0))
    start = {"p": lambda x: hp.sin(np.pi * x), "p_t": 0.0}
    domain = Box(x=(0, 1), y=(0, 1), t=(0, 0.4))
    pinn = PINN(pde.Acoustic(), domain, net, [Initial(hard=True, **start)], speed=1.0 / np.pi)
    marching = TimeMarching(pinn, [0.0, 0.2, 0.4])
    first, second = list(marching)
    at, rate = np.array([[0.3, 0.6, 0.2]]), (0, 0, 1)
    assert float(first(at)) == pytest.approx(float(second(at)), abs=1e-13)
    assert float(first.derivatives(at, [rate])[rate]) == pytest.approx(float(second.derivatives(at, [rate])[rate]), abs=1e-12)


def test_time_marching_keeps_what_was_observed_in_each_window():
    pinn = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]),
                [Initial(u=0.0), Observed([[0.5, 0.1], [0.5, 0.2], [0.5, 0.9]], u=[1.0, 2.0, 3.0])], diffusivity=1.0)
    first, second = list(TimeMarching(pinn, [0.0, 0.5, 1.0]))
    assert [len(window.soft["observed"].points) for window in (first, second)] == [2, 1]
    pinn = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 2)), nn.MLP([2, 4, 1]), [Initial(u=0.0), Observed([[0.5, 1.5]], u=[1.0])],
                weights={"initial": 3.0, "observed": 7.0}, diffusivity=1.0)
    first, second = list(TimeMarching(pinn, [0.0, 1.0, 2.0]))               # nothing was observed in the first
    assert first.weights == {"equation": 1.0, "initial": 3.0}
    assert second.weights == {"equation": 1.0, "initial": 3.0, "observed": 7.0} == pinn.weights


def test_unknown_coefficients_are_found():
    """Diffusivity from values of the solution at random points."""
    places = Box(x=(0, 1), t=(0, 1)).interior(100, operators.Random(), hp.random.Generator(1))
    values = np.sin(np.pi * places[:, 0]) * np.exp(-places[:, 1])
    for unknown in (nn.parameter(0.3, "float64"), Positive(0.3)):
        net = nn.MLP([2, 10, 10, 1], dtype="float64", generator=hp.random.Generator(0))
        pinn = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), net, [Observed(places, u=values)], diffusivity=unknown)
        list(PINNTrainer(pinn, optim.LevenbergMarquardt(pinn), Points(pinn, equation=100, observed=100)).run(30))
        found = pinn.coefficients["diffusivity"]
        found = float(found.value() if isinstance(found, Positive) else found)
        assert found == pytest.approx(1.0 / np.pi**2, rel=1e-3)


def test_what_cannot_be():
    pinn, other = heat(), heat(seed=1)
    points = Points(pinn, equation=10)
    with pytest.raises(InputError, match="give an optimiser"):
        PINNTrainer(pinn, hp.tanh, points)
    with pytest.raises(InputError, match="make it with the PINN's own"):
        PINNTrainer(pinn, optim.Adam(other.parameters()), points)
    with pytest.raises(InputError, match=r"LevenbergMarquardt\(pinn\)"):
        PINNTrainer(pinn, optim.LevenbergMarquardt(pinn.parameters()), points)
    with pytest.raises(InputError, match="change with every evaluation"):
        PINNTrainer(pinn, optim.LBFGS(pinn), points, causal=operators.CausalWeights(0, 0.2))
    with pytest.raises(InputError, match="of one weight a term"):
        PINNTrainer(pinn, optim.GaussNewton(pinn), points, attention=operators.ResidualAttention())
    with pytest.raises(InputError, match="drawn anew after 5 steps"):
        PINNTrainer(pinn, optim.LBFGS(pinn), Points(pinn, every=5, equation=10), attention=operators.ResidualAttention())
    with pytest.raises(InputError, match="give one of them"):
        PINNTrainer(pinn, optim.LBFGS(pinn), points, causal=operators.CausalWeights(0, 1), attention=operators.ResidualAttention())
    with pytest.raises(InputError, match="every=500"):
        Points(pinn, adaptive=operators.ResidualDensity(), equation=10)
    with pytest.raises(InputError, match="equation=2000"):
        Points(pinn)
    with pytest.raises(InputError, match="made with other equation"):
        Points(pinn, equation=20).load_state_dict(points.state_dict())
    with pytest.raises(InputError, match="no state of a PINNTrainer"):
        PINNTrainer(pinn, optim.LBFGS(pinn), points).load_state_dict({})
    steady = PINN(pde.Poisson(), Box(x=(0, 1)), nn.MLP([1, 2, 1]), source=1.0)
    with pytest.raises(InputError, match="has no time"):
        PINNTrainer(steady, optim.Adam(steady.parameters()), Points(steady, equation=5), causal=operators.CausalWeights(0, 1))
    with pytest.raises(InputError, match="has the variables x"):
        TimeMarching(steady, [0, 1])
    for times in ([0, 0.1], [0.0, 0.3, 0.2], [0.2]):
        with pytest.raises(InputError, match=r"must rise from 0 to 0\.2"):
            TimeMarching(pinn, times)
    bare = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 2, 1]), diffusivity=1.0)
    with pytest.raises(InputError, match="no Initial"):
        TimeMarching(bare, [0, 1])
    with pytest.raises(InputError, match="give numbers, the ends"):
        TimeMarching(pinn, ["a", 1])
    marching = TimeMarching(pinn, [0, 0.2])
    with pytest.raises(InputError, match="0 of 1 windows"):
        marching([[0.5, 0.1]])
    marching.begin()
    with pytest.raises(InputError, match="all 1 windows"):
        marching.begin()


def test_too_few_points_are_refused_and_few_that_stay_are_warned_of():
    pinn = heat()
    assert pinn.fewest == 6                                                          # 3 along x, for its second derivative, by 2 along t
    with pytest.raises(InputError, match=r"Points\(equation=1\): too few points for Heat in x, t: .* take 6 .* of the 105 trained"):
        Points(pinn, equation=1)
    with pytest.raises(InputError, match=r"equation=5\): too few"):
        Points(pinn, every=1, equation=5)
    with pytest.warns(SamplingWarning, match="Points: 104 residuals at points that stay are too few for 105 trained numbers"):
        Points(pinn, equation=104)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Points(pinn, equation=105)
        Points(pinn, every=10, equation=6)
        Points(heat(False), equation=65, initial=20, dirichlet=20)                   # conditions count, too


def test_values_of_the_wrong_kind_are_named():
    pinn, states = heat(), {}
    points, adam = Points(pinn, equation=10), optim.Adam(pinn, lr=1e-3)
    with pytest.raises(InputError, match=r"points\): got a PINN; give Points"):
        PINNTrainer(pinn, adam, pinn)
    with pytest.raises(InputError, match=r"balance='ntk'\): give None or a Balance, such as NTK"):
        PINNTrainer(pinn, adam, points, balance="ntk")
    with pytest.raises(InputError, match=r"causal=1\.0\): give None or a CausalWeights"):
        PINNTrainer(pinn, adam, points, causal=1.0)
    with pytest.raises(InputError, match=r"slices lie from 5 to 10, the time of the equation from 0 to 0\.2"):
        PINNTrainer(pinn, adam, points, causal=operators.CausalWeights(5, 10))
    with pytest.raises(InputError, match=r"pool=50\)\): 100 points are to be chosen"):
        Points(pinn, every=1, adaptive=operators.ResidualDensity(pool=50), equation=100)
    for balance in (None, operators.GradientNorm()):
        trainer = PINNTrainer(pinn, optim.Adam(pinn, lr=1e-3), points, balance=balance)
        states[balance is None] = trainer.state_dict()
    with pytest.raises(InputError, match=r"made with balance"):
        PINNTrainer(pinn, adam, points).load_state_dict(states[False])
    with pytest.raises(InputError, match=r"made without balance"):
        PINNTrainer(pinn, adam, points, balance=operators.GradientNorm()).load_state_dict(states[True])


def test_a_residual_that_is_not_finite_chooses_no_points():
    pinn = heat()
    points = Points(pinn, every=1, adaptive=operators.ResidualDensity(pool=50), equation=20)
    next(points)
    for x in pinn.parameters():
        x.assign(np.nan * x.detach())
    with pytest.raises(NonFiniteError, match="the residual is nan at"):
        next(points)


LINE = Box(x=(-1, 1), t=(0, 1))
SINE = {"u": lambda x: -hp.sin(np.pi * x)}
ON_A_GPU = {
    "hard": (pde.Burgers(), 1, [Initial(**SINE, hard=True), Dirichlet(u=0.0, hard=True)], {"viscosity": 0.01}),
    "function": (pde.Heat(), 1, [Initial(**SINE), Neumann(Side(x=1), u=0.0), Dirichlet(Side(x=-1), u=lambda t: t)],
                 {"diffusivity": lambda x: 1.0 + x**2}),
    "periodic": (pde.Schroedinger(), 2, [Initial(re=SINE["u"], im=0.0), Periodic("x")], {"dispersion": 0.5, "focusing": 1.0}),
    "unknown": (pde.Burgers(), 1, [Observed(LINE.interior(30), u=np.zeros(30))], {}),
}


@pytest.mark.parametrize("name", ON_A_GPU)
@pytest.mark.parametrize("place", ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_training_on_a_gpu_is_that_on_the_cpu(name, place, monkeypatch):
    equation, fields, conditions, parameters = ON_A_GPU[name]

    def losses(device):
        nn.seed(0)
        given = parameters if name != "unknown" else {"viscosity": Positive(0.05)}                # trained: each run has its own
        pinn = PINN(equation, LINE, nn.MLP([2, 8, 8, fields], dtype="float64"), conditions, **given).to(device)
        points = Points(pinn, every=1, adaptive=ResidualDensity(pool=100), equation=40)
        balance = operators.GradientNorm(every=1) if len(pinn.soft) else None
        trainers = [PINNTrainer(pinn, optim.Adam(pinn.parameters(), lr=1e-3), points, balance=balance),
                    PINNTrainer(pinn, optim.LBFGS(pinn), points)]
        return [row["loss"] for trainer in trainers for row in trainer.run(2)]

    expected = losses("cpu")
    if place == "emulated":
        if emulator.COMPILER is None:
            pytest.skip("no C++ compiler on PATH: the emulator needs one")
        standin.put_in_place(monkeypatch)
    np.testing.assert_allclose(losses("cuda:0"), expected, rtol=1e-9)
