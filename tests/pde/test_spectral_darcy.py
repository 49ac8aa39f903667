"""Darcy flow: a manufactured solution, a dense solve, multigrid that does not slow down, and derivatives by the adjoint."""
import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.errors import ConvergenceError, DtypeError, InputError, ShapeError
from hyperion.pde.darcy import multigrid
from hyperion.testing import dot_test, taylor_test


def manufactured(n, m):
    """Return permeability, source and solution u = sin(pi x) sin(2 pi y) on n x m nodes of the unit square."""
    y, x = np.meshgrid(np.linspace(0.0, 1.0, n), np.linspace(0.0, 1.0, m), indexing="ij")
    pi = np.pi
    a = 1.0 + 0.5 * np.sin(2 * pi * x) * np.cos(pi * y)
    u = np.sin(pi * x) * np.sin(2 * pi * y)
    a_x, a_y = pi * np.cos(2 * pi * x) * np.cos(pi * y), -0.5 * pi * np.sin(2 * pi * x) * np.sin(pi * y)
    u_x, u_y = pi * np.cos(pi * x) * np.sin(2 * pi * y), 2 * pi * np.sin(pi * x) * np.cos(2 * pi * y)
    return a, -(a_x * u_x + a_y * u_y - 5 * pi ** 2 * a * u), u


def test_order_two_against_a_manufactured_solution():
    errors = []
    for n in (17, 33, 65, 129):
        a, f, u = manufactured(n, n + 8)
        errors.append(np.abs(pde.DarcySolver((n, n + 8)).solve(a, f).numpy() - u).max())
    # The axes do not double exactly (n + 8): the finer one helps at first.
    found = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((found > 1.8) & (found < 2.1)), found


def test_flow_through_layers_is_exact():
    # Across layers the harmonic mean gives the exact pressure where the interfaces lie halfway between nodes, at any contrast: in one
    # dimension the flow is constant. Here two layers with a source along one column, in a box so tall that its ends do not matter.
    n = 65
    a = np.where(np.arange(n) < 32, 1.0, 1000.0) * np.ones((n, n))
    b = np.where(np.arange(n) < 32, 1.0, 1000.0)
    f = np.zeros((n, n))
    f[:, 16] = 1.0
    tall = pde.DarcySolver((n, n), lengths=(1000.0, 1.0)).solve(a, f).numpy()[n // 2]
    x = np.linspace(0.0, 1.0, n)
    resistance = np.concatenate([[0.0], np.cumsum(0.5 * (1.0 / b[1:] + 1.0 / b[:-1]) * (x[1] - x[0]))])
    share = 1.0 - resistance[16] / resistance[-1]
    left = (x[1] - x[0]) * share * np.minimum(resistance, resistance[16])
    exact = np.where(np.arange(n) <= 16, left, left[16] * (resistance[-1] - resistance) / (resistance[-1] - resistance[16]))
    np.testing.assert_allclose(tall, exact, rtol=0, atol=1e-6 * exact.max())


@pytest.mark.parametrize("shape, lengths", [((9, 12), (1.0, 2.0)), ((6, 6), (1.0, 1.0)), ((3, 5), (1.0, 1.0)), ((4, 30), (0.5, 3.0))])
def test_against_a_dense_solve(shape, lengths, random):
    solver = pde.DarcySolver(shape, lengths)
    a, f = np.exp(2.0 * random.standard_normal(shape)), random.standard_normal(shape)
    inner = np.zeros(shape, bool)
    inner[1:-1, 1:-1] = True
    units = np.eye(a.size)[inner.ravel()].reshape(-1, *shape)
    matrix = solver.flow(a, units).numpy()[:, inner].T
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * np.abs(matrix).max())
    wanted = np.linalg.solve(matrix, f[inner])
    found = solver.solve(a, f).numpy()
    # The residual is 1e-12 of the source; the condition number is below 1e5.
    np.testing.assert_allclose(found[inner], wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())
    assert not found[~inner].any()


def iterations(n, contrast):
    field = pde.GaussianField((n, n), tau=3.0, alpha=2.0, periodic=False, modes=24).sample(hp.random.Generator(5), dtype="float64").numpy()
    a = np.where(field > 0.0, contrast, 1.0)[None]
    cx = 2.0 * a[:, :, 1:] * a[:, :, :-1] / (a[:, :, 1:] + a[:, :, :-1])
    cy = 2.0 * a[:, 1:] * a[:, :-1] / (a[:, 1:] + a[:, :-1])
    b = np.zeros_like(a)
    b[:, 1:-1, 1:-1] = 1.0
    return multigrid.solve(cx, cy, b, 1e-10)[1]


@pytest.mark.parametrize("contrast", [4.0, 1e4])
def test_multigrid_does_not_slow_down_on_finer_grids(contrast):
    # Powers of two and others alike; without multigrid the count doubles with the points per side (some 500 at 257).
    counts = [iterations(n, contrast) for n in (33, 65, 86, 129, 181, 257)]
    assert max(counts) <= (12 if contrast < 10 else 25) and counts[-1] <= counts[0] + 8, counts


def test_the_preconditioner_is_symmetric_and_positive(random):
    a = np.exp(random.standard_normal((2, 14, 19)))
    cx, cy = a[:, :, 1:] + a[:, :, :-1], a[:, 1:] + a[:, :-1]
    level = multigrid.Level(cx, cy)
    assert level.coarser is not None
    u, v = np.zeros((2, *a.shape))
    u[:, 1:-1, 1:-1], v[:, 1:-1, 1:-1] = random.standard_normal((2, 2, 12, 17))
    left, right = (level.cycle(u) * v).sum(axis=(1, 2)), (u * level.cycle(v)).sum(axis=(1, 2))
    np.testing.assert_allclose(left, right, rtol=1e-12)
    assert np.all((level.cycle(u) * u).sum(axis=(1, 2)) > 0.0)


def problem(random):
    solver = pde.DarcySolver((9, 12), (1.0, 2.0))
    a, f = np.exp(random.standard_normal((2, 9, 12))), random.standard_normal((2, 9, 12))
    return solver, a, f, (0.3 * a * random.standard_normal(a.shape), random.standard_normal(f.shape))


def test_the_adjoint(random):
    solver, a, f, along = problem(random)
    # The pairing is as exact as the solves: the default tolerance, 1e-12, would be the limit of the test.
    dot_test(pde.DarcySolver((9, 12), (1.0, 2.0), tolerance=1e-14).solve, (a, f))
    assert min(taylor_test(lambda t: (solver.solve(*t) ** 2).sum(), (a, f), along, reverse=True)) > 1.9
    assert min(taylor_test(lambda t: solver.solve(*t), (a, f), along, order=1)) > 1.9
    assert min(taylor_test(lambda t: solver.solve(*t), (a, f), along, order=3)) > 3.8


def test_the_solution_operator_is_symmetric(random):
    solver, a, f, (_, g) = problem(random)
    # Sources on the edges do nothing.
    assert np.isclose((solver.solve(a, f).numpy() * g).sum(), (solver.solve(a, g).numpy() * f).sum(), rtol=1e-11)


def test_vmap_and_broadcasting(random):
    solver, a, f, _ = problem(random)

    def loss(a, f):
        return (solver.solve(a, f) ** 2).sum()

    each = hp.vmap(hp.grad(loss), in_axes=(0, None))(a, f[0])
    np.testing.assert_allclose(each.numpy()[1], hp.grad(loss)(a[1], f[0]).numpy(), rtol=1e-12)
    both = solver.solve(a, f[0])
    np.testing.assert_allclose(both.numpy()[1], solver.solve(a[1], f[0]).numpy(), rtol=1e-12)


def test_a_sample_does_not_depend_on_its_batch(random):
    solver, a, f, _ = problem(random)
    stiff = np.exp(4.0 * random.standard_normal((9, 12)))
    alone, beside = solver.solve(a[0], f[0]).numpy(), solver.solve(np.stack([a[0], stiff]), f).numpy()
    assert np.array_equal(alone, beside[0])


def test_float32(random):
    solver, a, f, _ = problem(random)
    single = solver.solve(a.astype(np.float32), f)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.numpy(), solver.solve(a.astype(np.float32).astype(np.float64), f.astype(np.float32)).numpy(),
                               rtol=0, atol=1e-6 * np.abs(single.numpy()).max())      # one rounding, 6e-8, and the tolerance 1e-8


def test_wrong_input(random, monkeypatch):
    for shape in ((2, 9), (9,), 9):
        with pytest.raises(ShapeError, match="two axes of at least 3 nodes"):
            pde.DarcySolver(shape)
    with pytest.raises(InputError, match="tolerance=2"):
        pde.DarcySolver((9, 9), tolerance=2)
    with pytest.raises(InputError, match="lengths"):
        pde.DarcySolver((9, 9), (1.0, 0.0))
    solver, a, f, _ = problem(random)
    a[1, 3, 4] = -2.0
    with pytest.raises(InputError, match=r"permeability\): -2 at \(1, 3, 4\); it must be positive"):
        solver.solve(a, f)
    a[1, 3, 4] = np.nan
    with pytest.raises(InputError, match=r"nan at \(1, 3, 4\)"):
        solver.solve(a, f)
    with pytest.raises(InputError, match="source"):
        solver.solve(np.ones((9, 12)), np.inf)
    with pytest.raises(ShapeError, match=r"permeability of shape \(9, 11\)"):
        solver.solve(np.ones((9, 11)), 1.0)
    with pytest.raises(ShapeError, match=r"source of shape \(12,\)"):
        solver.solve(np.ones((9, 12)), np.ones(12))
    with pytest.raises(DtypeError, match="int64"):
        solver.solve(np.ones((9, 12), int), 1.0)
    monkeypatch.setattr(multigrid, "MOST", 2)
    with pytest.raises(ConvergenceError, match="of sample 1 after 2 iterations"):
        solver.solve(np.exp(random.standard_normal((2, 9, 12))), np.stack([np.zeros((9, 12)), f[0]]))
