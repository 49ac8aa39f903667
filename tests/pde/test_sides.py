"""Free surfaces and rigid walls: half of a space with sources and their images, adjoints, and what is refused."""

from typing import ClassVar

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import BoundaryError, InputError
from tests.pde import oracles
from tests.pde.cases import Case, PressureVelocity
from tests.pde.test_derivatives import mismatch

# White noise as wavelets: every frequency takes part.
pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")

LAYER = pde.CPML(20)


class Neither(PressureVelocity):
    """Pressure and velocity that say nothing of what they are at a free surface."""

    odd_at_free_surfaces: ClassVar[bool] = False


class SecondOrder(pde.Acoustic):
    """A second derivative of a field that is said to be neither odd nor even."""

    tractions: ClassVar[dict[str, tuple[int, ...]]] = {"q": (-1,)}


def gathers(equation, shape, boundary, sources, receivers, weights, source, receiver, order=4, **medium):
    """Return what receivers hear of one shot whose sources send the same wavelet times their weights; positions in nodes."""
    wave = pde.Solver(equation, pde.Grid(shape, 10.0), order=order, boundary=boundary)
    samples = np.asarray(weights)[None, :, None] * pde.ricker(12.0, 0.5, 1e-3).samples.astype(np.float64)
    places = [10.0 * np.asarray(p, float)[None] for p in (sources, receivers)]
    survey = pde.Survey(*places, pde.Wavelet(samples, 1e-3), source_field=source, receiver_field=receiver)
    return wave.solve(survey, **{k: np.broadcast_to(v, shape).astype(np.float64) for k, v in medium.items()}).numpy()[0]


# Half of a symmetric space with sources and their images is the same scheme. parity: of the image of the source.
@pytest.mark.parametrize(
    ("side", "equation", "source", "receiver", "parity"),
    [
        (pde.FreeSurface(), pde.Acoustic(), "p", "p", -1),
        (pde.Rigid(), pde.Acoustic(), "p", "p", 1),
        (pde.FreeSurface(), pde.AcousticVariableDensity(), "vz", "p", 1),
        (pde.Rigid(), pde.AcousticVariableDensity(), "vx", "vz", 1),
        (pde.Rigid(), pde.Elastic(), "vz", "vx", -1),
        (pde.Rigid(), pde.Elastic(), "pressure", "szx", 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["top", "bottom", "left", "right"])
def test_half_of_a_space_with_images(side, equation, source, receiver, parity, name):
    n, wide, random = 60, 70, np.random.default_rng(2)
    axis, high = (0, 1) if name in ("top", "bottom") else (1, 0), name in ("bottom", "right")
    if axis == (1, 0):  # the fields of the other axis
        source, receiver = (x.replace("vz", "?").replace("vx", "vz").replace("?", "vx") for x in (source, receiver))
    scale = {"speed": 2000.0, "density": 1000.0, "p_speed": 2000.0, "s_speed": 900.0}
    medium = {k: scale[k] * (1.0 + 0.2 * random.random((n, wide))) for k in equation.parameters}
    sources, receivers = np.array([[6.0, 20.0], [2.3, 31.7]]), np.array([[9.0, 30.0], [1.0, 12.0], [3.4, 22.2]])

    def turn(x):  # positions along z, x as the side has them, in a grid of n nodes across it
        return (np.stack([n - 1 - x[:, 0], x[:, 1]], axis=1) if high else x)[:, list(axis)]

    def laid(x):
        return (x[::-1] if high else x).transpose(axis)

    size = tuple(np.array((n, wide))[list(axis)])
    one = gathers(equation, size, pde.Sides(LAYER, **{name: side}), turn(sources), turn(receivers), [1.0, -0.7], source, receiver,
                  **{k: laid(v) for k, v in medium.items()})
    # The whole space: image nodes n - 1 .. 1, then 0 .. n - 1.
    whole = {k: np.concatenate([v[:0:-1], v]).transpose(axis) for k, v in medium.items()}
    shift = np.array([n - 1.0, 0.0])
    there = np.concatenate([shift + sources, shift + [-1.0, 1.0] * sources])[:, list(axis)]
    across = tuple(np.array((2 * n - 1, wide))[list(axis)])
    weights = np.array([1.0, -0.7, parity, -0.7 * parity])
    heard = (shift + receivers)[:, list(axis)]
    if high:  # mirrored, so that the same half is looked at
        there, heard = (np.where(np.array(axis) == 0, 2.0 * shift[0] - x, x) for x in (there, heard))
    both = gathers(equation, across, LAYER, there, heard, weights, source, receiver, **whole)
    assert np.abs(both).max() > 0.0
    # To rounding, as long as nothing comes back from the layers, whose two ends differ by half a cell.
    assert oracles.relative_l2(one, both) < 1e-12


@pytest.mark.parametrize("equation", [pde.Acoustic(), pde.AcousticVariableDensity()], ids=lambda e: type(e).__name__)
def test_the_adjoint_is_exact_on_the_narrowest_grid(equation):
    boundary = pde.Sides(pde.CPML(2), top=pde.FreeSurface(), bottom=pde.Rigid())
    assert mismatch(Case((6, 40), 8, boundary, equation=equation, fields=("p", "p"))) < 1e-12


@pytest.mark.parametrize(
    ("boundary", "options"),
    [
        (pde.Sides(pde.CPML(5), top=pde.FreeSurface()), {}),
        (pde.Sides(pde.CPML(5), bottom=pde.FreeSurface(), left=pde.Rigid()), {"storage": pde.Checkpoints(bytes=300_000)}),
        (pde.Sides(pde.CPML(5), top=pde.FreeSurface()), {"equation": pde.AcousticVariableDensity(), "fields": ("p", "vz")}),
        (
            pde.Sides(pde.CPML(5), bottom=pde.FreeSurface(), right=pde.Rigid()),
            {"equation": pde.AcousticVariableDensity(), "fields": ("vx", "p")},
        ),
        (pde.Sides(pde.CPML(5), bottom=pde.Rigid(), right=pde.Rigid()), {"equation": pde.Elastic(), "fields": ("vz", "szx")}),
    ],
    ids=str,
)
def test_the_adjoint_is_exact(boundary, options):
    assert mismatch(Case((37, 50), 4, boundary, **options)) < 1e-12


@pytest.mark.parametrize(("equation", "side"), [(pde.AcousticVariableDensity(), pde.FreeSurface()), (pde.Elastic(), pde.Rigid())], ids=str)
def test_second_derivatives_are_symmetric(equation, side):
    case = Case((24, 37), 4, pde.Sides(pde.CPML(5), top=side), equation=equation, steps=15)
    weights = case.random.standard_normal((2, 4, 15))

    def loss(*args):
        return hp.sum(hp.asarray(weights) * case.gathers(*args) ** 2)

    u, v = case.directions(), case.directions()
    one, other = (sum(np.vdot(h.numpy(), y) for h, y in zip(hp.hvp(loss, case.args, x), by, strict=True)) for x, by in ((u, v), (v, u)))
    assert abs(one - other) < 1e-10 * abs(one)


def test_pressure_is_zero_on_a_free_surface():
    heard = gathers(pde.Acoustic(), (40, 50), pde.Sides(LAYER, top=pde.FreeSurface()), [[5.0, 25.0]], [[0.0, 20.0], [1.0, 20.0]], [1.0],
                    "p", "p", speed=2000.0)
    assert not heard[0].any() and heard[1].any()


@pytest.mark.parametrize("axis", [0, 1])
def test_periodic_along_one_axis(axis):
    # Turning everything round the axis that is closed changes nothing; across the other one layers absorb.
    shape, turn = (37, 45), 17
    speed = 2000.0 * (1.0 + 0.2 * np.random.default_rng(3).random(shape))
    names = ("top", "bottom") if axis == 0 else ("left", "right")
    boundary = pde.Sides(pde.CPML(10), **dict.fromkeys(names, pde.Periodic()))
    places = np.array([[5.0, 20.0], [2.3, 31.7]]), np.array([[9.0, 30.0], [33.4, 22.2]])

    def turned(x):
        return np.where(np.arange(2) == axis, (x + turn) % shape[axis], x)

    one = gathers(pde.Acoustic(), shape, boundary, *places, [1.0, -0.7], "p", "p", speed=speed)
    other = gathers(pde.Acoustic(), shape, boundary, *map(turned, places), [1.0, -0.7], "p", "p", speed=np.roll(speed, turn, axis))
    assert oracles.relative_l2(other, one) < 1e-12
    assert mismatch(Case((31, 40), 4, boundary, fields=("p", "p"))) < 1e-12


def test_a_conductor_is_an_image():
    # Of Maxwell's equations perfect conductors are the images that free surfaces are of acoustics; there is none of these.
    def light(random):
        return [1.0 + random.random((20, 37)), np.ones((20, 37)), 1e-3 * random.random((20, 37))]

    cases = [Case((20, 37), 4, pde.Sides(pde.CPML(5), top=side), equation=pde.MaxwellTM(), values=light, speed=3e8)
             for side in (pde.PerfectConductor(), pde.FreeSurface())]
    np.testing.assert_array_equal(*(case.gathers(*case.args).numpy() for case in cases))
    with pytest.raises(BoundaryError, match=r"Sides\(top=PerfectConductor\(\)\): Acoustic has no electric field; use pde.FreeSurface\(\)"):
        pde.Solver(pde.Acoustic(), pde.Grid((20, 37), 1.0), boundary=pde.Sides(pde.CPML(5), top=pde.PerfectConductor()))


def test_what_is_refused():
    with pytest.raises(InputError, match=r"Sides\(left=Periodic\(\), right=None\).*give right=Periodic\(\) too"):
        pde.Sides(LAYER, left=pde.Periodic())
    with pytest.raises(InputError, match=r"Sides\(bottom=Periodic\(\), top=FreeSurface\(\)\)"):
        pde.Sides(LAYER, top=pde.FreeSurface(), bottom=pde.Periodic())
    with pytest.raises(InputError, match=r"Sides\(above=...\)"):
        pde.Sides(LAYER, above=pde.FreeSurface())
    with pytest.raises(InputError, match="top='free'"):
        pde.Sides(LAYER, top="free")
    with pytest.raises(InputError, match="layer="):
        pde.Sides(pde.FreeSurface())
    with pytest.raises(InputError, match="has no front"):
        pde.Solver(pde.Acoustic(), pde.Grid((40, 40), 10.0), boundary=pde.Sides(LAYER, front=pde.Rigid()))
    with pytest.raises(BoundaryError, match="5 nodes between reflecting sides"):
        pde.Solver(pde.Acoustic(), pde.Grid((5, 40), 10.0), order=8, boundary=pde.Sides(LAYER, top=pde.Rigid(), bottom=pde.Rigid()))
    with pytest.raises(BoundaryError, match="not odd or even about a free surface"):
        pde.Solver(Neither(), pde.Grid((40, 40), 10.0), boundary=pde.Sides(LAYER, top=pde.FreeSurface()))
    with pytest.raises(BoundaryError, match="7 nodes between reflecting sides"):
        pde.Solver(pde.Elastic(), pde.Grid((7, 40), 10.0), order=4, boundary=pde.Sides(LAYER, top=pde.FreeSurface()))
    with pytest.raises(BoundaryError, match="closes first derivatives between nodes and half points; that of p of order 2"):
        pde.Solver(SecondOrder(), pde.Grid((40, 40), 10.0), boundary=pde.Sides(LAYER, top=pde.FreeSurface()))


@pytest.mark.parametrize(
    ("sides", "message"),
    [({"top": pde.FreeSurface(), "left": pde.Rigid()}, "top and left are the same side"), ({"front": pde.Rigid()}, "has no front")],
)
def test_sides_that_a_grid_of_one_axis_does_not_have(sides, message):
    with pytest.raises(InputError, match=message):
        pde.Solver(pde.Acoustic(), pde.Grid((60,), 5.0), boundary=pde.Sides(pde.CPML(5), **sides))
