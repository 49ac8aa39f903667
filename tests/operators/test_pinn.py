"""PINNs as Modules: losses, gradients in weights, coefficients and points, an ansatz of one's own, arguments that cannot be."""

from typing import ClassVar

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, pde, testing
from hyperion.errors import InputError, ShapeError
from hyperion.operators import PINN, Box, Dirichlet, Initial, Interval, Neumann, Positive, Robin
from tests.operators.pinn_parts import Solution, points_in


def burgers(hard=False, network=None, **options):
    net = network or nn.MLP([2, 8, 8, 1], dtype="float64", generator=hp.random.Generator(1))
    conditions = [Initial(u=lambda x: -hp.sin(np.pi * x), hard=hard), Dirichlet(u=0.0, hard=hard)]
    return PINN(pde.Burgers(), Box(x=(-1, 1), t=(0, 1)), net, conditions, **{"viscosity": 0.05, **options})


@pytest.mark.parametrize("hard", [False, True])
def test_gradients_of_the_loss_and_of_unknown_coefficients(hard):
    pinn = burgers(hard, viscosity=Positive(0.05))
    assert "coefficients.viscosity.logarithm" in pinn.named_parameters()
    batch = pinn.batch(equation=40)
    tree = hp.tree_map(lambda p: p.detach(), pinn)
    random = np.random.default_rng(0)
    direction = hp.tree_map(lambda p: hp.asarray(random.standard_normal(p.shape)), tree)
    for reverse in (False, True):
        orders = testing.taylor_test(lambda m: m.loss(batch), tree, direction, step=1e-3, reverse=reverse)
        assert all(1.9 < order < 2.1 for order in orders)
    only = hp.tree_map(lambda p: hp.zeros_like(p), tree)
    only.coefficients["viscosity"].logarithm = hp.asarray(1.0, dtype="float64")
    assert all(1.9 < order < 2.1 for order in testing.taylor_test(lambda m: m.loss(batch), tree, only, step=1e-2))


def test_losses_are_what_they_say():
    pinn = burgers(weights={"initial": 10.0})
    batch = pinn.batch(equation=50, initial=20, dirichlet=10)
    assert {name: rows["points"].shape for name, rows in batch.items()} == {"equation": (50, 2), "initial": (20, 2), "dirichlet": (10, 2)}
    terms = {name: float(term) for name, term in pinn.terms(batch).items()}
    assert terms["equation"] == pytest.approx(float(hp.mean(pinn.residual(batch["equation"]["points"]) ** 2)), rel=1e-14)
    start = batch["initial"]["points"].numpy()
    assert not start[:, 1].any()
    off = pinn(start).detach().numpy()[:, 0] + np.sin(np.pi * start[:, 0])
    assert terms["initial"] == pytest.approx(np.mean(off ** 2), rel=1e-13)
    total = terms["equation"] + 10.0 * terms["initial"] + terms["dirichlet"]
    assert float(pinn.loss(batch)) == pytest.approx(total, rel=1e-14)
    assert sum(float(hp.sum(r * r)) for r in pinn.least_squares(batch)) == pytest.approx(total, rel=1e-13)
    assert float(pinn.loss(batch, {"initial": 0.0, "dirichlet": 0.0})) == pytest.approx(terms["equation"], rel=1e-14)
    parts = pinn.pointwise(batch)
    each = sum(part.weight * float(hp.sum(part.function(pinn, part.points) ** 2)) for part in parts.values())
    assert each == pytest.approx(total, rel=1e-13)


def test_gradients_with_respect_to_points_see_functions_of_them():
    """Of the equation's parameters and of what conditions give: against differences, forward and backward, first and second."""
    def function(x, t):
        return hp.sin(2.0 * x) * hp.exp(t)

    def diffusivity(x, t):
        return 1.0 + x ** 2 * t

    def rim(x, t):
        return hp.cos(x) + x * t ** 2

    def start(x):
        return hp.cos(x)

    conditions = [Initial(u=start), Dirichlet(u=rim), Neumann(u=rim), Robin(2.0, 1.0, u=rim)]
    pinn = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), Solution(function), conditions, scaled=False, diffusivity=diffusivity)
    batch = pinn.batch(equation=6, initial=6, dirichlet=6, neumann=6, robin=6)
    for name, rows in batch.items():
        def total(points, name=name, rows=rows):
            return hp.sum(pinn._term(name)(pinn, {**rows, "points": points}) ** 2)

        def drawn(points, name=name, rows=rows):                # rows as a batch has them: numbers at these points
            x, t = hp.asarray(points[:, :1]), hp.asarray(points[:, 1:])
            given = {"diffusivity": diffusivity(x, t)} if name == "equation" else {"values": start(x) if name == "initial" else rim(x, t)}
            return float(hp.sum(pinn._term(name)(pinn, {**rows, **given, "points": hp.asarray(points)}) ** 2))

        x = rows["points"].numpy()
        direction = np.random.default_rng(0).normal(size=x.shape)
        expected = (drawn(x + 1e-5 * direction) - drawn(x - 1e-5 * direction)) / 2e-5
        backward = float(hp.sum(hp.grad(total)(rows["points"]) * direction))
        forward = float(hp.jvp(total, (rows["points"],), (hp.asarray(direction),))[1])
        assert backward == pytest.approx(expected, rel=1e-7), name
        assert forward == pytest.approx(backward, rel=1e-12), name
        if name == "equation":
            alone = hp.grad(lambda points: hp.sum(pinn.residual(points) ** 2))(rows["points"])
            assert float(hp.sum(alone * direction)) == pytest.approx(backward, rel=1e-12)
            each = hp.vmap(hp.grad(lambda row: hp.sum(pinn.residual(row[None]) ** 2)))(rows["points"])
            np.testing.assert_allclose(each.numpy(), alone.numpy(), rtol=1e-12)
    poisson = PINN(pde.Poisson(), Box(x=(0, 1)), Solution(lambda x: 0.0 * x), source=lambda x: x ** 3)
    size = abs(float(hp.grad(hp.grad(lambda x: hp.sum(poisson.residual(x[None, None]))))(hp.asarray(0.5, dtype="float64"))))
    assert size == pytest.approx(3.0, rel=1e-12)                # 6 x


def test_functions_in_numpy_are_refused_where_points_are_differentiated():
    for source in (lambda x: np.sin(x), lambda x: np.interp(x, [0.0, 1.0], [0.0, 1.0])):
        pinn = PINN(pde.Poisson(), Box(x=(0, 1)), nn.MLP([1, 4, 1], dtype="float64"), [Dirichlet(u=lambda x: np.cos(x))], source=source)
        x = hp.asarray([[0.5]], dtype="float64")
        assert pinn.residual(x).shape == (1, 1)
        with pytest.raises(InputError, match=r"PINN\(source\): its function does not take Tensors .* hp.sin instead of np.sin"):
            hp.grad(lambda q, pinn=pinn: hp.sum(pinn.residual(q)))(x)
        rows = pinn.batch(equation=3, dirichlet=2)["dirichlet"]
        with pytest.raises(InputError, match=r"Dirichlet\(u\): its function does not take Tensors"):
            hp.grad(lambda q, pinn=pinn, rows=rows: hp.sum(pinn.soft["dirichlet"].residual(pinn, {**rows, "points": q})))(rows["points"])


def test_an_ansatz_of_ones_own():
    def ansatz(u, x, t):
        return hp.cos(np.pi * x / 2.0) + t * (1.0 - x ** 2) * u

    pinn = PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 5, 1], dtype="float64"), ansatz=ansatz, diffusivity=1.0)
    np.testing.assert_allclose(pinn([[0.3, 0.0], [-1.0, 0.7]]).detach().numpy()[:, 0], [np.cos(0.15 * np.pi), 0.0], atol=1e-14)
    with pytest.raises(InputError, match="must be among u, x, t"):
        PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 5, 1]), ansatz=lambda v: v, diffusivity=1.0)
    with pytest.raises(InputError, match=r"hp\.sin instead of np\.sin"):
        PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 5, 1]), ansatz=lambda u, x: np.sin(x) * u, diffusivity=1.0)
    with pytest.raises(InputError, match=r"PINN\(ansatz\): returns v; the fields are u"):
        PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 5, 1]), ansatz=lambda u, x: {"v": u}, diffusivity=1.0)
    with pytest.raises(InputError, match=r"fields have shape \(2, 3\)"):
        PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 5, 1]), ansatz=lambda u: hp.concat([u, u, u], axis=-1), diffusivity=1.0)


def test_a_pinn_is_a_module_like_any_other(tmp_path):
    pinn = burgers(viscosity=Positive(0.05))
    nn.save(pinn, tmp_path / "pinn.safetensors")
    other = burgers(viscosity=Positive(0.01), network=nn.MLP([2, 8, 8, 1], dtype="float64", generator=hp.random.Generator(2)))
    other.load_state_dict(nn.load(tmp_path / "pinn.safetensors"))
    points = points_in(pinn.domain, 10)
    assert np.array_equal(pinn.residual(points).detach().numpy(), other.residual(points).detach().numpy())
    mixed = burgers(viscosity=Positive(0.05), network=nn.MLP([2, 8, 1]))              # a float64 coefficient of a float32 network
    assert mixed.residual(points).dtype == np.float32
    single = burgers().to(dtype="float32")
    assert single(points).dtype == np.float32 and single.batch(equation=10)["equation"]["points"].dtype == np.float32


class Two(pde.Equation):
    """Two fields of one space dimension."""

    fields: ClassVar = {"u": pde.Field("1"), "v": pde.Field("1")}
    parameters: ClassVar = {}

    def rate(self, u, v):
        return {"u": pde.derivative(v, -1), "v": pde.derivative(u, -1)}


def test_what_cannot_be():
    line, net = Box(x=(-1, 1), t=(0, 1)), nn.MLP([2, 4, 1])
    with pytest.raises(InputError, match=r"gives shape \(2, 1\) for 2 points; Two has 2 field"):
        PINN(Two(), line, net)
    with pytest.raises(InputError, match="does not take points of 2 variables"):
        PINN(pde.Heat(), line, nn.MLP([3, 4, 1]), diffusivity=1.0)
    with pytest.raises(InputError, match="changes in time"):
        PINN(pde.Heat(), Interval(x=(0, 1)), net, diffusivity=1.0)
    with pytest.raises(InputError, match="is steady"):
        PINN(pde.Poisson(), line, net, source=1.0)
    with pytest.raises(InputError, match=r"needs viscosity \[m\^2/s\]"):
        PINN(pde.Burgers(), line, net)
    with pytest.raises(InputError, match="did you mean 'viscosity'"):
        PINN(pde.Burgers(), line, net, viscositi=1.0)
    with pytest.raises(InputError, match="above 0"):
        PINN(pde.Burgers(), line, net, viscosity=-1.0)
    with pytest.raises(InputError, match="above 0 in the whole domain"):
        PINN(pde.Burgers(), line, net, viscosity=lambda x: x)
    with pytest.raises(InputError, match="must be among x, t"):
        PINN(pde.Burgers(), line, net, viscosity=lambda y: y)
    with pytest.raises(InputError, match="of which variables"):
        PINN(pde.Burgers(), line, net, viscosity=nn.MLP([1, 2, 1]))
    with pytest.raises(ShapeError, match="give a number, or a function"):
        PINN(pde.Burgers(), line, net, viscosity=np.ones(3))
    with pytest.raises(InputError, match="give an Equation"):
        PINN("burgers", line, net)
    with pytest.raises(InputError, match="give a domain"):
        PINN(pde.Burgers(), (0, 1), net, viscosity=1.0)
    with pytest.raises(InputError, match="give a Module"):
        PINN(pde.Burgers(), line, hp.tanh, viscosity=1.0)
    with pytest.raises(InputError, match="in 2 dimensions"):
        PINN(pde.Burgers(), Box(x=(0, 1), y=(0, 1), t=(0, 1)), nn.MLP([3, 4, 1]), viscosity=1.0)
    with pytest.raises(InputError, match="no term 'intial'; did you mean 'initial'"):
        burgers(weights={"intial": 1.0})
    with pytest.raises(InputError, match="Positive"):
        Positive(-1.0)
    pinn = burgers()
    with pytest.raises(InputError, match="no such term"):
        pinn.batch(equation=10, boundary=10)
    with pytest.raises(InputError, match="equation=2000"):
        pinn.batch(initial=10)
    for count in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="whole number of at least 1"):
            pinn.batch(equation=count)
    with pytest.raises(InputError, match="1 points are too few for 2 faces"):
        pinn.batch(equation=10, dirichlet=1)
    with pytest.raises(ShapeError, match=r"must be \(points, 2\), columns x, t"):
        pinn(np.ones((3, 3)))
