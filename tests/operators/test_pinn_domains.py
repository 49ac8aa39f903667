"""Domains, their boundaries and the points that samplers spread over them."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import InputError, ShapeError
from hyperion.operators import Ball, Box, Disc, Grid, Interval, LatinHypercube, Polygon, Random, ResidualDensity, ResidualRefinement, Sobol

L_SHAPE = Polygon([(0, 0), (1, 0), (1, -1), (-1, -1), (-1, 1), (0, 1)])
RING = Disc((0, 0), 2.0) - Disc((0, 0), 1.0)
CASES = {                       # domain, measure, length or area of the boundary without the ends of time
    "interval": (Interval(x=(-1, 2)), 3.0, 2.0),
    "box": (Box(x=(0, 2), y=(0, 1), z=(0, 3)), 6.0, 22.0),
    "space and time": (Box(x=(0, 2), t=(0, 3)), 6.0, 6.0),
    "disc": (Disc((1, 2), 0.5), np.pi / 4, np.pi),
    "ball": (Ball((0, 0, 1), 2.0), 32 * np.pi / 3, 16 * np.pi),
    "L-shape": (L_SHAPE, 3.0, 8.0),
    "ring": (RING, 3 * np.pi, 6 * np.pi),
    "lens": (Disc((-0.5, 0), 1.0) & Disc((0.5, 0), 1.0), 2 * np.pi / 3 - np.sqrt(3) / 2, 4 * np.pi / 3),
    "L of boxes": (Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 1)) | Box(x=(0, 1), y=(1, 2)), 3.0, 8.0),
    "corner cut": (Box(x=(0, 2), y=(0, 2)) - Box(x=(1, 2), y=(1, 2)), 3.0, 8.0),
    "cylinder": (Disc((0, 0), 1.0) * Interval(z=(0, 2)), 2 * np.pi, 6 * np.pi),
    "ring in time": (RING * Interval(t=(0, 2)), 6 * np.pi, 12 * np.pi),
}
SAMPLERS = [Grid(), Random(), LatinHypercube(), Sobol()]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_points_are_inside_and_in_proportion(name, sampler):
    domain, measure, _ = CASES[name]
    assert domain.measure == pytest.approx(measure, rel=1e-2)
    points = domain.interior(4000, sampler, hp.random.Generator(1))
    assert domain.contains(points).all()
    assert len(points) == 4000 if sampler.exact else 3000 < len(points) <= 4200
    middle = 0.5 * (domain.lower + domain.upper)[0] + 0.07
    ends = {v: [a, b] for v, a, b in zip(domain.names, domain.lower, domain.upper, strict=True)}
    ends[domain.names[0]][1] = middle
    share = Box(**ends)
    probe = domain.stretched(np.random.default_rng(0).uniform(size=(200_000, domain.ndim)))
    probe = probe[domain.contains(probe)]
    # sampling error of 4000 independent points: 4 sigma
    assert share.contains(points).mean() == pytest.approx(share.contains(probe).mean(), abs=4 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_boundaries_have_outward_normals_and_the_right_size(name, sampler):
    domain, _, size = CASES[name]
    points, normals = domain.boundary(500, sampler, hp.random.Generator(1))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0)
    step = 1e-5
    assert domain.contains(points - step * normals).all() and not domain.contains(points + step * normals).any()
    if "t" in domain.names:
        assert not normals[:, domain.names.index("t")].any()
    found = sum(face.measure * np.mean(domain._belongs(*p, face) & domain._at_edge(*p))
                for face in domain.faces for p in [face.place(Sobol().unit(4096, face.sides, hp.random.Generator(2)))])
    assert found == pytest.approx(size, rel=1e-2)


@pytest.mark.parametrize("name", CASES)
def test_a_boundary_belongs_to_its_domain(name):
    domain = CASES[name][0]
    points, normals = domain.boundary(400, Random(), hp.random.Generator(5))
    assert domain.contains(points).all()
    assert not domain.contains(points + 1e-6 * normals).any()


def test_corners_belong_and_what_was_taken_away_does_not():
    square = Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    edges = np.array([[1, 0.5], [0.5, 1], [0, 0.5], [0.5, 0], *square.corners])
    assert square.contains(edges).all() and (square * Interval(t=(0, 1))).contains(np.insert(edges, 2, 1.0, axis=1)).all()
    assert L_SHAPE.contains(L_SHAPE.corners).all() and not L_SHAPE.contains([[1e-6, 1e-6]]).any()
    frame = Box(x=(-1, 3), y=(-1, 2)) - (Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 1)))     # two holes that touch are one
    assert frame.contains([[0, 0.5], [1, 0], [2, 1], [-1, 2]]).all() and not frame.contains([[1, 0.5], [0.5, 0.5]]).any()
    corner = Box(x=(-1, 3), y=(-1, 3)) - (Box(x=(0, 1), y=(0, 2)) | Box(x=(1, 2), y=(0, 1)))    # its re-entrant corner is an edge
    assert corner.contains([[1, 1]]).all() and not corner.contains([[1, 0.5]]).any()
    small = Box(x=(0, 1e6), t=(0, 1e-3))                                    # each variable has its own rounding
    assert not small.contains([[0.5, 1.001e-3]]).any()


def test_a_boundary_is_sampled_by_length():
    points, _ = RING.boundary(600)
    inner = np.hypot(*points.T) < 1.5
    assert inner.sum() == pytest.approx(200, abs=2)
    both = Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 1))                    # sides that lie on each other are drawn once
    points, _ = both.boundary(600)
    assert (points[:, 1] == 0.0).sum() == pytest.approx(200, abs=2)
    halves = Box(x=(0, 2), y=(0, 1)) & Box(x=(0, 3), y=(0, 1))
    points, _ = halves.boundary(600)
    assert (points[:, 1] == 0.0).sum() == pytest.approx(200, abs=2)


def test_latin_hypercubes_and_sobol_points_fill_intervals():
    unit = LatinHypercube().unit(50, (1.0, 1.0), hp.random.Generator(0))
    assert np.array_equal(np.sort((unit * 50).astype(int), axis=0), np.repeat(np.arange(50)[:, None], 2, axis=1))
    unit = Sobol().unit(64, (1.0, 1.0), hp.random.Generator(0))
    counts = np.histogram2d(*unit.T, bins=8, range=[[0, 1], [0, 1]])[0]
    assert np.all(counts == 1)
    assert Grid().unit(12, (4.0, 3.0), hp.random.Generator(0)).shape == (12, 2)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_the_same_seed_gives_the_same_points(sampler):
    first, again, other = (RING.interior(100, sampler, hp.random.Generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert sampler == Grid() or not np.array_equal(first, other)


def test_adaptive_choices():
    residual = np.zeros(1000)
    residual[:100] = 3.0
    generator = hp.random.Generator(0)
    drawn = ResidualDensity(power=1.0, floor=0.0).choose(residual, 50, generator)
    assert (drawn < 100).all() and len(set(drawn.tolist())) == 50
    even = ResidualDensity(power=1.0, floor=1e9).choose(residual, 500, generator)
    assert 20 < (even < 100).sum() < 80
    residual[7] = 9.0
    worst = ResidualRefinement(add=1).choose(residual, 50, generator)
    assert worst.tolist() == [7]
    for wrong in ({"power": -1.0}, {"pool": 0}):
        with pytest.raises(InputError, match="ResidualDensity"):
            ResidualDensity(**wrong)
    with pytest.raises(InputError, match="add must be"):
        ResidualRefinement(add=100, pool=10)


def test_meshes():
    domain = Box(x=(0, 1), t=(0, 1))
    assert domain.mesh(t=[5.0, 6.0], x=[1.0, 2.0]).tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]
    with pytest.raises(InputError, match="values of each variable"):
        domain.mesh(x=[1.0])


def test_domains_that_cannot_be():
    for wrong in ((1, 0), (0, 0), (0, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match="has no interior"):
            Box(x=wrong)
    with pytest.raises(InputError, match="two numbers"):
        Box(x=3.0)
    with pytest.raises(InputError, match="at least one variable"):
        Box()
    with pytest.raises(InputError, match="takes one variable"):
        Interval(x=(0, 1), y=(0, 1))
    disc = Disc((0, 0), 1)
    with pytest.raises(InputError, match="has no interior"):
        disc & Disc((3, 0), 1)
    with pytest.raises(InputError, match="has no interior"):
        disc - Disc((0, 0), 2)
    with pytest.raises(InputError, match="has no interior"):
        Disc((0, 0), 0.0)
    with pytest.raises(InputError, match="lie on one line"):
        Polygon([(0, 0), (1, 1), (2, 2)])
    with pytest.raises(InputError, match=r"crosses itself, the edges \[0.0, 0.0\] to \[1.0, 1.0\] and"):
        Polygon([(0, 0), (1, 1), (1, 0), (0, 1), (-1, 0.5)])
    with pytest.raises(InputError, match="crosses itself"):                     # though its area is 0 as well
        Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    for wrong in (("0", "1"), (None, 1)):
        with pytest.raises(InputError, match="give two numbers, from and to"):
            Box(x=wrong)
    with pytest.raises(InputError, match="is no array of numbers"):
        Disc(("0", "0"), 1.0)
    with pytest.raises(InputError, match="three or more"):
        Polygon([(0, 0), (1, 1)])
    with pytest.raises(InputError, match="two or three"):
        Ball((0.0,), 1.0)
    with pytest.raises(InputError, match="takes three"):
        Disc((0.0, 0.0, 0.0), 1.0)
    with pytest.raises(InputError, match="variables must be the same"):
        disc | Box(x=(0, 1), t=(0, 1))
    with pytest.raises(InputError, match="both have the variable x, y"):
        disc * Disc((0, 0), 1)
    with pytest.raises(InputError, match="combine domains"):
        disc - 1.0
    with pytest.raises(InputError, match="multiply domains"):
        disc * 2.0
    with pytest.raises(InputError, match="has the variables x, y"):
        disc.during(0, 1)
    with pytest.raises(ShapeError, match=r"takes \(points, 2\)"):
        disc.contains([[1.0, 2.0, 3.0]])
    for count in (0, 2.5):
        with pytest.raises(InputError, match="whole number of at least 1"):
            disc.interior(count)
    with pytest.raises(InputError, match="too few for 6 faces"):
        L_SHAPE.boundary(3)
    with pytest.raises(InputError, match="has no such boundary"):
        disc.boundary(10, where=lambda p, n: p[:, 0] > 2.0)


def test_windows_of_time():
    for domain in (Box(x=(0, 1), t=(0, 4)), RING * Interval(t=(0, 4)), (Box(x=(0, 2), t=(0, 4)) - Box(x=(1, 2), t=(3, 4)))):
        part = domain.during(1.0, 2.0)
        points = part.interior(50)
        t = domain.names.index("t")
        assert (points[:, t] >= 1.0).all() and (points[:, t] <= 2.0).all() and domain.contains(points).all()


def test_numbers_of_numpy_and_values_of_the_wrong_kind():
    assert Disc((0, 0), np.float32(2.0)).measure == Disc((0, 0), 2.0).measure
    closed = Polygon([(0, 0), (1, 0), (1, 0), (1, 1), (0, 1), (0, 0)])              # repeated corners, and a closed list
    assert closed.measure == 1.0 and len(closed.corners) == len(closed.faces) == 4
    assert closed.boundary(40)[0].shape == (40, 2) and closed.contains(closed.corners).all()
    for wrong in ("sobol", Sobol):
        with pytest.raises(InputError, match="give a sampler such as"):
            closed.interior(10, wrong)
    with pytest.raises(InputError, match="generator 3; give"):
        closed.boundary(10, generator=3)
    with pytest.raises(InputError, match="give two numbers; Ball takes three"):
        Disc(3, 1)
    with pytest.raises(InputError, match="is no array of numbers"):
        Polygon([(0, 0), (1, 0), (1,)])
    with pytest.raises(InputError, match="is no array of numbers"):
        Ball("abc", 1.0)
    with pytest.raises(InputError, match="two different names"):
        Polygon([(0, 0), (1, 0), (1, 1)], names=None)
