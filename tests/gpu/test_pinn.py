"""Physics-informed networks on the GPU, on the stand-in: no array of the CPU meets one of the GPU anywhere in a training."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim, pde
from tests.gpu import emulator, standin

pytestmark = [
    pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels"),
    pytest.mark.filterwarnings("ignore:.* trained numbers:hyperion.errors.SamplingWarning"),      # mechanics need few points
]


@pytest.fixture
def cupy(monkeypatch):
    return standin.put_in_place(monkeypatch)


SOFT = (operators.Initial(u=lambda x: -hp.sin(np.pi * x)), operators.Dirichlet(u=0.0))
HARD = (operators.Initial(u=lambda x: -hp.sin(np.pi * x), hard=True), operators.Dirichlet(u=0.0, hard=True))
BOX = operators.Box(x=(-1, 1), t=(0, 1))


def made(conditions, network=None, dtype="float32", **options):
    nn.seed(0)
    network = network or nn.MLP([2, 8, 8, 1], activation=hp.tanh, dtype=dtype)
    pinn = operators.PINN(pde.Burgers(), BOX, network, conditions, **({"viscosity": 0.01} | options))
    return pinn.to("cuda:0")


OPTIMISERS = {
    "adam": lambda p: optim.Adam(p, lr=1e-3),
    "soap": lambda p: optim.SOAP(p, lr=1e-3),
    "lbfgs": lambda p: optim.LBFGS(p),
    "broyden": lambda p: optim.SelfScaledBroyden(p),
    "levenberg": lambda p: optim.LevenbergMarquardt(p),
    "gaussnewton": lambda p: optim.GaussNewton(p),
}


def trained(pinn, optimiser="adam", points=None, steps=3, **options):
    points = points or operators.Points(pinn, equation=40, **{c.name.replace(" ", "_"): 8 for c in pinn.soft.values()})
    trainer = operators.PINNTrainer(pinn, OPTIMISERS[optimiser](pinn), points, **options)
    rows = list(trainer.run(steps))
    assert np.isfinite(rows[-1]["loss"])
    assert all(p.device == "cuda:0" for p in pinn.parameters())
    return trainer


@pytest.mark.parametrize("conditions", [SOFT, HARD], ids=["soft", "hard"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers(cupy, conditions, optimiser):
    trained(made(conditions), optimiser)


def test_networks_with_embeddings_causal_weights_and_balances(cupy):
    def network():
        layers = [nn.Periodic(2, {0: 2.0}, 2), nn.FourierFeatures(5, 8, 1.0), nn.ModifiedMLP([8, 8, 8, 1])]
        return nn.Sequential(*layers)

    causal = operators.CausalWeights(0.0, 1.0, slices=4)
    for balance in (None, operators.GradientNorm(every=1), operators.NTK(every=1)):
        trained(made(SOFT[:1], network(), scaled=False), balance=balance, causal=causal)
    nn.seed(0)
    trained(made(HARD, nn.PirateNet(2, 1, width=8, blocks=1)))


def test_points_that_follow_the_residual_and_attention(cupy):
    pinn = made(SOFT)
    for adaptive in (operators.ResidualDensity(pool=160), operators.ResidualRefinement(most=60)):
        points = operators.Points(pinn, every=1, adaptive=adaptive, equation=40, initial=8, dirichlet=8)
        trained(pinn, points=points)
    trained(pinn, attention=operators.ResidualAttention())


def test_unknown_coefficients_and_observations(cupy):
    at = np.random.default_rng(0).uniform(0.0, 1.0, (20, 2))
    seen = operators.Observed(at, u=np.sin(at[:, 0]))
    for viscosity in (operators.Positive(0.02, "float32"), hp.asarray(0.02, dtype="float32", requires_grad=True),
                      operators.Coefficient(nn.MLP([1, 4, 1]), ["x"]), lambda x: 0.01 + 0.0 * x):
        pinn = made([seen], viscosity=viscosity)
        trained(pinn, "lbfgs")


def test_a_training_that_is_resumed(cupy):
    first = trained(made(SOFT))
    again = made(SOFT)
    points = operators.Points(again, equation=40, initial=8, dirichlet=8)
    second = operators.PINNTrainer(again, optim.Adam(again, lr=1e-3), points)
    second.load_state_dict(first.state_dict())
    assert next(second.run(4))["loss"] == next(first.run(4))["loss"]


def test_marching_in_time(cupy):
    marching = operators.TimeMarching(made(HARD), [0, 0.5, 1])
    for window in marching:
        trained(window.to("cuda:0"))
    assert marching([[0.5, 0.25], [0.5, 0.75]]).shape == (2, 1)
