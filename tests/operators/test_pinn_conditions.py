"""Conditions of PINNs: they hold where they are meant, exactly where they are hard; those that contradict or cannot be are refused."""

from typing import ClassVar

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, pde
from hyperion.errors import InputError, ShapeError
from hyperion.operators import PINN, Box, Dirichlet, Disc, Initial, Interval, Neumann, Observed, Periodic, Positive, Robin, Side
from tests.operators.pinn_parts import PLANE, Solution, points_in


def test_conditions_hold_where_they_are_meant():
    """Rows of each condition, and its residual of a function that satisfies it and of one that does not."""
    domain = Box(x=(0, 1), y=(0, 2), t=(0, 1))

    def made(condition, function):
        pinn = PINN(pde.Acoustic(), domain, Solution(function), [condition], scaled=False, speed=1.0)
        batch = pinn.batch(equation=4)
        name, = (n for n in batch if n != "equation")
        return batch[name]["points"].numpy(), pinn.residuals(batch)[name].detach().numpy()

    def function(x, y, t):
        return x ** 2 * y + 3.0 * t * y

    points, r = made(Neumann(Side(x=1), p=lambda y: 2.0 * y), function)
    assert np.all(points[:, 0] == 1.0) and np.abs(r).max() < 1e-12
    points, r = made(Robin(2.0, -1.0, Side(y=0), p=lambda x, t: x ** 2 + 3.0 * t), function)
    assert np.all(points[:, 1] == 0.0) and np.abs(r).max() < 1e-12            # the normal points towards -y
    points, r = made(Initial(p=lambda x, y: x ** 2 * y, p_t=lambda y: 3.0 * y), function)
    assert r.shape[1] == 2 and np.abs(r).max() < 1e-12 and not points[:, 2].any()
    points, r = made(Initial(p_t=lambda y: 3.0 * y), function)
    assert r.shape[1] == 1 and np.abs(r).max() < 1e-12
    points, r = made(Dirichlet(lambda x, y: (y == 2.0) & (x > 0.5), p=lambda x, t: 2.0 * x ** 2 + 6.0 * t), function)
    assert np.all((points[:, 1] == 2.0) & (points[:, 0] > 0.5)) and np.abs(r).max() < 1e-12
    points, r = made(Observed([[0.5, 1.0, 0.25]], p=[1.0]), function)
    np.testing.assert_allclose(r, [[0.0]], atol=1e-12)
    points, r = made(Initial(points=[[0.5, 1.0], [1.0, 2.0]], p=[0.25, 1.0]), function)
    np.testing.assert_allclose(r, [[0.0], [1.0]], atol=1e-12)
    points, r = made(Periodic("x"), lambda x, y, t: hp.sin(2 * np.pi * x) * y + t)
    assert r.shape[1] == 2 and np.abs(r).max() < 1e-12
    points, r = made(Periodic("x"), lambda x, y, t: x * (1.0 - x) * y)          # equal, but for the slope
    assert np.abs(r[:, 0]).max() < 1e-14 < np.abs(r[:, 1]).max()


@pytest.mark.parametrize("order", [1, 2])
def test_hard_conditions_hold_exactly(order):
    """Whatever the network: on a box with all sides and the start, values differing from side to side but agreeing at corners."""
    def truth(x, y, t):
        return hp.sin(x + 2.0 * y) * (1.0 + t) + x * y * t * t

    domain = Box(x=(-1, 2), y=(0, 1), t=(1, 3))
    start = {"u" if order == 1 else "p": lambda x, y: truth(x, y, 1.0)}
    if order == 2:
        start["p_t"] = lambda x, y: hp.sin(x + 2.0 * y) + 2.0 * x * y
    field = next(iter(start))
    sides = (Side(x=-1), Side(x=2), Side(y=1))
    conditions = [Initial(hard=True, **start), *(Dirichlet(side, hard=True, **{field: truth}) for side in sides)]
    equation, parameters = (pde.Heat(), {"diffusivity": 1.0}) if order == 1 else (pde.Acoustic(), {"speed": 1.0})
    pinn = PINN(equation, domain, nn.MLP([3, 5, 1], dtype="float64"), conditions, **parameters)
    assert list(pinn.soft) == []
    for where in ({"x": -1.0}, {"x": 2.0}, {"y": 1.0}, {"t": 1.0}):
        points = points_in(domain, 40)
        for name, value in where.items():
            points[:, domain.names.index(name)] = value
        expected = truth(*points.T).numpy() if hasattr(truth(*points.T), "numpy") else truth(*points.T)
        np.testing.assert_allclose(pinn(points).detach().numpy()[:, 0], expected, rtol=0, atol=1e-13)
        if order == 2 and "t" in where:
            rate = pinn.derivatives(points, [(0, 0, 1)])[0, 0, 1].detach().numpy()[:, 0]
            np.testing.assert_allclose(rate, np.sin(points[:, 0] + 2 * points[:, 1]) + 2 * points[:, 0] * points[:, 1], rtol=0, atol=1e-12)
    free = points_in(domain, 40)
    assert np.abs(pinn(free).detach().numpy()[:, 0] - np.asarray(truth(*free.T))).max() > 1e-3


def test_hard_conditions_around_a_disc_and_their_refusals():
    disc = Disc((0.5, 0.0), 2.0)
    net = nn.MLP([2, 5, 1], dtype="float64")
    pinn = PINN(pde.Poisson(), disc, net, [Dirichlet(u=lambda x, y: x * y, hard=True)], source=1.0)
    edge, _ = disc.boundary(50)
    np.testing.assert_allclose(pinn(edge).detach().numpy()[:, 0], edge[:, 0] * edge[:, 1], rtol=0, atol=1e-13)
    ring = disc - Disc((0.5, 0.0), 1.0)
    with pytest.raises(InputError, match="exact conditions are made on boxes"):
        PINN(pde.Poisson(), ring, net, [Dirichlet(u=0.0, hard=True)], source=1.0)
    with pytest.raises(InputError, match="cannot be made exact"):
        PINN(pde.Poisson(), Box(x=(0, 1), y=(0, 1)), net, [Dirichlet(lambda x: x > 0.5, u=0.0, hard=True)], source=1.0)
    with pytest.raises(InputError, match="is no side"):                     # near enough to be meant, but not the number itself
        PINN(pde.Poisson(), Box(x=(0, 1), y=(0, 1)), net, [Dirichlet(Side(x=1.0 - 1e-12), u=0.0, hard=True)], source=1.0)
    with pytest.raises(InputError, match="its rate alone"):
        PINN(pde.Acoustic(), PLANE, nn.MLP([3, 5, 1]), [Initial(p_t=0.0, hard=True)], speed=1.0)
    with pytest.raises(InputError, match=r"hp\.sin instead of np\.sin"):
        PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), net, [Initial(u=lambda x: np.sin(x), hard=True)], diffusivity=1.0)
    with pytest.raises(InputError, match="needs functions"):
        Initial(points=[[0.0]], u=[0.0], hard=True)


def test_periods_by_an_embedding_are_exact():
    net = nn.Sequential(nn.Periodic(2, {0: 2.0}, 3), nn.MLP([7, 8, 1], dtype="float64"))
    pinn = PINN(pde.AllenCahn(), Box(x=(-1, 1), t=(0, 1)), net, [Periodic("x")], scaled=False, diffusivity=0.1, reaction=1.0)
    assert float(pinn.terms(pinn.batch(equation=5))["periodic x"]) < 1e-24


def test_periods_need_two_ends_that_are_alike():
    def made(domain, variable="x"):
        return PINN(pde.Poisson(), domain, nn.MLP([domain.ndim, 4, 1], dtype="float64"), [Periodic(variable)], source=1.0)

    with pytest.raises(InputError, match=r"periodic x at Side\(x=-1\).* has no such boundary"):
        made(Disc((0, 0), 1))
    l_shape = operators.Polygon([(0, 0), (1, 0), (1, -1), (-1, -1), (-1, 1), (0, 1)])
    with pytest.raises(InputError, match=r"Periodic\('x'\): the ends of Polygon of 6 corners are not alike, x=1, y=.* is not on its"):
        made(l_shape)
    narrowing = operators.Polygon([(0, 0), (1, -1), (1, 2), (0, 1)])            # the upper end is the longer one
    with pytest.raises(InputError, match="are not alike, x=0, y="):
        made(narrowing)
    made(Disc((0, 0), 1) * Interval(z=(0, 2)), "z")
    sheared = operators.Polygon([(0, 0), (2, 0), (2, 1), (1, 3), (0, 1)])
    holed = Box(x=(0, 2), y=(0, 1)) - Disc((1, 0.5), 0.25) - Box(x=(0.2, 0.3), y=(0.2, 0.8))
    for domain in (sheared, holed):                     # holes have sides that face down, too: no ends
        rows = made(domain).batch(equation=5)["periodic x"]
        points, opposite = rows["points"].numpy(), rows["opposite"].numpy()
        assert not points[:, 0].any() and np.all(opposite[:, 0] == 2.0) and np.array_equal(points[:, 1], opposite[:, 1])
        assert domain.contains(opposite).all()


def test_boundaries_of_any_domain_can_be_observed_and_contradict():
    square = operators.Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    network = nn.MLP([2, 4, 1], dtype="float64")
    for domain in (square, Disc((0.1, 0.2), 0.3), Box(x=(0, 1), y=(0, 1)) - Disc((0.3, 0.4), 0.2)):
        points = domain.boundary(40)[0]
        pinn = PINN(pde.Poisson(), domain, network, [Observed(points, u=np.ones(40))], source=1.0)
        assert len(pinn.soft["observed"].points) == 40
        with pytest.raises(InputError, match="is outside"):
            PINN(pde.Poisson(), domain, network, [Observed([[2.0, 0.0]], u=[1.0])], source=1.0)
    with pytest.raises(InputError, match="contradict: at x=1, y="):
        PINN(pde.Poisson(), square, network, [Dirichlet(Side(x=1), u=0.0), Dirichlet(lambda x: x > 0.999, u=1.0)], source=1.0)
    with pytest.raises(InputError, match="contradict: at x=1, y=1"):
        PINN(pde.Poisson(), square, network, [Dirichlet(Side(x=1), u=0.0), Dirichlet(Side(y=1), u=1.0)], source=1.0)


def test_a_side_that_runs_on_through_the_inside_contradicts_nothing_there():
    """An L-shape without its upper left quarter: x = 0 is boundary above y = 0 only, y = 0 left of x = 0 only."""
    corner = operators.Polygon([(-1, -1), (1, -1), (1, 1), (0, 1), (0, 0), (-1, 0)])
    boxes = Box(x=(-1, 1), y=(-1, 1)) - Box(x=(-2, 0), y=(0, 2))
    network = nn.MLP([2, 4, 1], dtype="float64")
    across = [Dirichlet(Side(x=0), u=0.0), Dirichlet(Side(y=-1), u=1.0), Dirichlet(Side(x=1), u=2.0, name="right")]
    for domain in (corner, boxes):
        PINN(pde.Poisson(), domain, network, across[:2], source=1.0)                 # they meet nowhere: (0, -1) is no end of x = 0
        with pytest.raises(InputError, match="contradict: at x=1, y=-1"):
            PINN(pde.Poisson(), domain, network, across[1:], source=1.0)
        with pytest.raises(InputError, match="contradict: at x=0, y="):              # the corner that points inwards
            PINN(pde.Poisson(), domain, network, [across[0], Dirichlet(Side(y=0), u=1.0)], source=1.0)
        with pytest.raises(InputError, match="contradict: at x=0, y="):
            PINN(pde.Poisson(), domain, network, [across[0], Dirichlet(Side(y=1), u=1.0)], source=1.0)
    warm = (Initial(u=1.0), Dirichlet(Side(x=0), u=lambda y, t: hp.exp(-t)), Dirichlet(Side(y=-1), u=1.0))
    heated = corner * Interval(t=(0, 1))
    PINN(pde.Heat(), heated, nn.MLP([3, 4, 1]), warm, diffusivity=1.0)
    with pytest.raises(InputError, match=r"contradict: at x=0, .*t=0"):
        PINN(pde.Heat(), heated, nn.MLP([3, 4, 1]), [warm[0], Dirichlet(Side(x=0), u=0.0)], diffusivity=1.0)


def test_contradictions_are_found_and_agreement_is_not():
    line = Box(x=(-1, 1), t=(0, 1))

    def made(*conditions, domain=line):
        equation, given = (pde.Heat(), {"diffusivity": 1.0})
        return PINN(equation, domain, nn.MLP([domain.ndim, 4, 1]), conditions, **given)

    with pytest.raises(InputError, match=r"'initial' and 'dirichlet' contradict|'dirichlet' and 'initial' contradict") as error:
        made(Initial(u=1.0), Dirichlet(Side(x=-1), u=0.0))
    assert "x=-1, t=0" in str(error.value)
    with pytest.raises(InputError, match="contradict"):
        made(Initial(u=1.0), Dirichlet(u=0.0))
    with pytest.raises(InputError, match="contradict"):
        made(Dirichlet(Side(x=1), u=0.0), Dirichlet(u=1.0))
    with pytest.raises(InputError, match="contradict"):
        made(Dirichlet(Side(x=0), u=0.0), Dirichlet(Side(y=0), u=1.0), domain=Box(x=(0, 1), y=(0, 1), t=(0, 1)))
    with pytest.raises(InputError, match="contradict"):
        made(Initial(u=lambda x, y: x), Dirichlet(u=0.0), domain=Disc((0, 0), 1) * Interval(t=(0, 1)))
    with pytest.raises(InputError, match="'neumann' and 'neumann 2' contradict: at x=1"):
        made(Neumann(Side(x=1), u=0.0), Neumann(Side(x=1), u=1.0))
    with pytest.raises(InputError, match="contradict: at x=1"):
        made(Neumann(Side(x=1), u=0.0), Neumann(u=1.0))
    with pytest.raises(InputError, match="'dirichlet' and, at the opposite end of 'periodic x', 'dirichlet 2' contradict: at x=-1"):
        made(Dirichlet(Side(x=-1), u=0.0), Dirichlet(Side(x=1), u=1.0), Periodic("x"))
    with pytest.raises(InputError, match="at the opposite end of 'periodic x', 'dirichlet' contradict"):
        made(Dirichlet(u=lambda x: x), Periodic("x"))
    with pytest.raises(InputError, match="'initial' and, at the opposite end of 'periodic x', 'initial' contradict: at x=-1, t=0, u is -1"):
        made(Initial(u=lambda x: x), Periodic("x"))
    with pytest.raises(InputError, match=r"'periodic x', 'initial' contradict: .*make them equal at both ends, or leave the period out"):
        made(Initial(u=lambda x, y: x * y), Periodic("x"), domain=Disc((0, 0), 1, ["y", "z"]) * Box(x=(-1, 1), t=(0, 1)))
    with pytest.raises(InputError, match=r"'neumann 2' contradict: at x=-1, .*derivative along -x of u is 1 by .* and -1"):
        made(Neumann(Side(x=-1), u=1.0), Neumann(Side(x=1), u=1.0), Periodic("x"))
    with pytest.raises(InputError, match="'robin' and 'robin 2' contradict: at x=1"):
        made(Robin(1.0, 2.0, Side(x=1), u=0.0), Robin(1.0, 2.0, u=1.0))
    with pytest.raises(InputError, match=r"contradict: at x=1.* the slope of u is 1 by the one and 0"):
        made(Neumann(Side(x=1), u=1.0), Robin(0.0, 1.0, Side(x=1), u=0.0))
    made(Robin(1.0, 2.0, Side(x=1), u=0.0), Robin(2.0, 2.0, Side(x=1), u=1.0))
    made(Neumann(Side(x=-1), u=1.0), Neumann(Side(x=1), u=-1.0), Periodic("x"))
    made(Initial(u=lambda x: x ** 2), Periodic("x"))
    made(Dirichlet(u=lambda x, t: x ** 2 + t), Periodic("x"))
    made(Neumann(Side(x=1), u=0.0), Neumann(Side(y=1), u=1.0), domain=Box(x=(0, 1), y=(0, 1), t=(0, 1)))
    made(Initial(u=lambda x: 1 - x ** 2), Dirichlet(u=0.0), Dirichlet(Side(x=1), u=lambda t: 0.0 * t))
    made(Dirichlet(Side(x=-1), u=0.0), Dirichlet(Side(x=1), u=1.0), Neumann(u=0.0))
    made(Initial(u=1.0), Dirichlet(lambda t: t > 0.01, u=0.0))


def test_ends_that_the_network_ties_contradict_if_they_differ():
    def made(*conditions, periods=None, **options):
        embedding = nn.Periodic(2, {0: 2.0} if periods is None else periods)
        network = nn.Sequential(embedding, nn.MLP([embedding.outputs, 8, 1]))
        return PINN(pde.Heat(), Box(x=(-1, 1), t=(0, 1)), network, conditions, diffusivity=1.0, **options)

    start, rise = Initial(u=lambda x: x), (Dirichlet(Side(x=-1), u=0.0), Dirichlet(Side(x=1), u=1.0))
    with pytest.raises(InputError, match=r"opposite end of .the network's period in x., 'initial' contradict: at x=-1, t=0"):
        made(start)
    with pytest.raises(InputError, match=r"'dirichlet' and, at the opposite end of .* 'dirichlet 2' contradict: at x=-1"):
        made(*rise)
    with pytest.raises(InputError, match="contradict: at x=-1"):
        made(*rise, periods={0: 0.5})
    made(Initial(u=lambda x: x ** 2), Dirichlet(u=1.0))
    made(*rise, periods={0: 3.0})
    made(*rise, periods={1: 1.0})
    made(start, ansatz=lambda u, x, t: x + t * u)
    made(Neumann(Side(x=-1), u=0.0), Neumann(Side(x=1), u=1.0))                # an even function has such slopes


def test_what_holds_exactly_contradicts_what_is_known_elsewise():
    line = Box(x=(-1, 1), t=(0, 1))

    def made(*conditions, domain=line, **options):
        equation, given = (pde.Heat(), {"diffusivity": 1.0}) if "t" in domain.names else (pde.Poisson(), {"source": 1.0})
        return PINN(equation, domain, nn.MLP([domain.ndim, 4, 1]), conditions, **given, **options)

    walls, start = Dirichlet(u=0.0, hard=True), Initial(u=lambda x: 1.0 - x ** 2, hard=True)
    with pytest.raises(InputError, match=r"'observed' contradicts what holds exactly: at x=1, t=0.5, u is 3 by the one and 0 .*hard=False"):
        made(walls, Observed([[0.0, 0.5], [1.0, 0.5]], u=[1.0, 3.0]))
    with pytest.raises(InputError, match=r"at x=0.5, t=0, u is 2 by the one and 0\.75"):
        made(start, Observed([[0.5, 0.0]], u=[2.0]))
    with pytest.raises(InputError, match="'initial' contradicts what holds exactly: at x=-1, t=0"):
        made(walls, Initial(points=[[-1.0], [0.5]], u=[1.0, 1.0]))
    with pytest.raises(InputError, match=r"'dirichlet' contradicts what holds exactly: at x=-?1,"):
        made(Dirichlet(u=1.0), ansatz=lambda u, x: (1.0 - x ** 2) * u)
    with pytest.raises(InputError, match="'observed' contradicts what holds exactly: at x=0, y=1"):
        made(walls, Observed([[0.0, 0.5], [0.0, 1.0]], u=[0.5, 0.5]), domain=Disc((0, 0), 1))
    with pytest.raises(InputError, match=r"'initial' and 'dirichlet' contradict|'dirichlet' and 'initial' contradict"):
        made(Initial(u=1.0, hard=True), walls)
    with pytest.raises(InputError, match="'dirichlet' and 'dirichlet 2' contradict"):
        made(Dirichlet(Side(x=1), u=1.0, hard=True), Dirichlet(Side(x=1), u=2.0, hard=True))
    noisy = [1.0, 0.05, -0.02]                                                # what was measured may have noise
    made(walls, start, Observed([[0.0, 0.5], [1.0, 0.5], [-1.0, 0.0]], u=noisy))
    made(Dirichlet(u=0.0), Observed([[1.0, 0.5]], u=[1.0]))                   # by the loss: the fit is between
    made(Dirichlet(u=0.0), ansatz=lambda u, x: (1.0 - x ** 2) * u)
    made(start, Observed([[1.0, 0.5], [0.0, 1e-3]], u=[5.0, 4.0]))             # free: the walls, and a moment after the start


def test_conditions_that_cannot_be():
    def with_conditions(*conditions, equation=None, domain=None, **parameters):
        domain = domain or Box(x=(-1, 1), t=(0, 1))
        equation = equation or pde.Burgers()
        return PINN(equation, domain, nn.MLP([domain.ndim, 4, len(equation.fields)]), conditions, **(parameters or {"viscosity": 0.1}))

    with pytest.raises(InputError, match="no field 'v'"):
        with_conditions(Dirichlet(v=0.0))
    with pytest.raises(InputError, match="gives no field"):
        with_conditions(Dirichlet())
    with pytest.raises(InputError, match="no field 'w'"):
        with_conditions(Initial(w=0.0))
    with pytest.raises(InputError, match="no field 'u_t'"):
        with_conditions(Initial(u_t=0.0))
    with pytest.raises(InputError, match="has the variables x, t"):
        with_conditions(Dirichlet(Side(y=0), u=0.0))
    with pytest.raises(InputError, match="has no such boundary"):
        with_conditions(Neumann(Side(x=0.5), u=0.0)).batch(equation=10)
    with pytest.raises(InputError, match=r"given by Initial"):
        with_conditions(Dirichlet(Side(t=0), u=0.0))
    with pytest.raises(InputError, match="has no time"):
        with_conditions(Initial(u=0.0), equation=pde.Poisson(), domain=Interval(x=(0, 1)), source=1.0)
    with pytest.raises(InputError, match="time is not periodic"):
        with_conditions(Periodic("t"))
    with pytest.raises(InputError, match="is outside"):
        with_conditions(Observed([[2.0, 0.5]], u=[1.0]))
    with pytest.raises(InputError, match=r"value 1 is nan"):
        with_conditions(Observed([[0.0, 0.5], [0.5, 0.5]], u=[1.0, np.nan]))
    with pytest.raises(ShapeError, match="1 values at 2 points"):
        with_conditions(Observed([[0.0, 0.5], [0.5, 0.5]], u=[1.0]))
    with pytest.raises(InputError, match=r"is nan at x="), np.errstate(invalid="ignore"):
        with_conditions(Initial(u=lambda x: np.sqrt(x))).batch(equation=10)
    with pytest.raises(InputError, match="give a Side, a function"):
        with_conditions(Dirichlet("left", u=0.0))
    with pytest.raises(InputError, match="entry 0 is a float"):
        with_conditions(0.0)
    with pytest.raises(InputError, match="Side"):
        Side(x=1, y=2)


def test_values_that_are_trained_are_refused_in_conditions():
    for value in (Positive(1.0), nn.parameter(1.0, "float64")):
        with pytest.raises(InputError, match=r"Dirichlet\(u\): a (Positive|Tensor) that is trained"):
            PINN(pde.Poisson(), Box(x=(0, 1)), nn.MLP([1, 4, 1]), [Dirichlet(u=value)], source=1.0).batch(equation=5)


def test_what_conditions_and_weights_cannot_be_is_said_when_the_pinn_is_made():
    class Growth(pde.Equation):
        """u_t = rate u."""

        fields: ClassVar = {"u": pde.Field("m", time_order=1)}
        parameters: ClassVar = {"factor": "1/s"}

        def rate(self, u, factor):
            return factor * u

    def made(*conditions, **options):
        return PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]), conditions, **{"diffusivity": 1.0, **options})

    with pytest.raises(InputError, match="got a Initial; give a list"):
        PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]), Initial(u=0.0), diffusivity=1.0)
    for where in (Side(x=0.5), lambda x: x > 2.0):
        with pytest.raises(InputError, match="has no such boundary"):
            made(Dirichlet(where, u=0.0))
    for hard in (False, True):
        for kind in (Initial, Dirichlet):
            with pytest.raises(InputError, match=rf"{kind.__name__}\(u\): is nan"):
                made(kind(u=np.nan, hard=hard))
            with pytest.raises(InputError, match=rf"{kind.__name__}\(u\): 'abc' is no number"):
                made(kind(u="abc", hard=hard))
    with pytest.raises(ShapeError, match=r"Neumann\(u\): gives 3 values"):
        made(Neumann(u=[1.0, 2.0, 3.0]))
    for wrong in (np.nan, "a"):
        with pytest.raises(InputError, match=r"Robin.*give two finite numbers"):
            Robin(wrong, 1.0, u=0.0)
    with pytest.raises(InputError, match="has no points; leave"):
        made(Observed(np.zeros((0, 2)), u=[]))
    for wrong in (-1.0, np.nan, "a"):
        with pytest.raises(InputError, match=r"PINN\(weights\): 'equation' has .* finite number, 0 or more"):
            made(weights={"equation": wrong})
    for wrong in ("a", "1", ["1"]):
        with pytest.raises(InputError, match=r"PINN\(diffusivity=.*: give a number"):
            made(diffusivity=wrong)
    for kind in (Initial, Dirichlet):
        with pytest.raises(InputError, match=r"\(u\): '1' is no number"):
            made(kind(u="1"))
    with pytest.raises(InputError, match=r"Observed\(u\): \['1'\] is no array of numbers"):
        Observed([[0.5, 0.5]], u=["1"])
    with pytest.raises(InputError, match=r"Observed\(points\): .* is no array of numbers"):
        Observed([["0.5", "0.5"]], u=[1.0])
    for points, said in ((np.full((3, 2), np.nan), "outside"), ([[2.0, 0.5]], "outside"), (np.zeros((0, 2)), "there are none")):
        with pytest.raises(InputError, match=said):
            made().batch(points=points)
    rounded = np.float32(made().domain.boundary(50)[0] - 1e-8)
    assert made().batch(points=rounded)["equation"]["points"].shape == (50, 2)
    assert Side(x=np.float32(1)).value == Side(x=np.int64(1)).value == 1.0 and float(Positive(np.float32(0.5)).value()) == 0.5
    steady = PINN(Growth(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 4, 1]), [Periodic("x")], factor=1.0)     # no derivative in space
    assert steady.residuals(steady.batch(equation=4))["periodic x"].shape == (100, 1)
