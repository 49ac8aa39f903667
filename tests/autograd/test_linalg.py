"""Linear algebra: laws of the factorisations, values and derivatives against NumPy, SciPy and PyTorch, equal values, wrong input."""

import math

import numpy as np
import pytest
import scipy.linalg

import hyperion as hp
from hyperion.errors import DtypeError, InputError, ShapeError, SingularError
from hyperion.testing import dot_test

la = hp.linalg
rng = np.random.default_rng(5)


def normal(*shape):
    return rng.standard_normal(shape)


def complexes(*shape):
    return normal(*shape) + 1j * normal(*shape)


def well(x):
    return x + 3.0 * np.eye(x.shape[-1])


def positive(x):
    return x @ x.conj().swapaxes(-1, -2) + np.eye(x.shape[-1])


def turned(values, make=normal):
    """A Hermitian matrix with given eigenvalues."""
    q = np.linalg.qr(make(len(values), len(values)))[0]
    x = (q * np.asarray(values)) @ q.conj().T
    return (x + x.conj().T) / 2


def adjoint(x):
    return np.conj(np.swapaxes(np.asarray(x), -1, -2))


def close(x, y, tolerance=1e-11):
    np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)


MAKERS = pytest.mark.parametrize("make", [normal, complexes])
SHAPES = pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 3), (2, 1, 4, 2), (2, 0, 3, 3), (0, 3), (3, 0), (0, 0)])
SQUARES = pytest.mark.parametrize("shape", [(3, 3), (1, 1), (2, 3, 3), (2, 1, 4, 4), (2, 0, 3, 3), (0, 0)])


# Laws

@MAKERS
@SHAPES
def test_qr(make, shape):
    x = make(*shape)
    for mode in ("reduced", "complete"):
        q, r = la.qr(x, mode=mode)
        expected = np.linalg.qr(x, mode=mode)
        assert (q.shape, r.shape) == (expected.Q.shape, expected.R.shape)
        close(q.data @ r.data, x)
        close(adjoint(q.data) @ q.data, np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], q.shape[-1], q.shape[-1])))
        close(r.data, np.triu(r.data))


@MAKERS
@SHAPES
def test_svd(make, shape):
    x = make(*shape)
    k = min(shape[-2:])
    for full in (True, False):
        u, s, vh = la.svd(x, full_matrices=full)
        expected = np.linalg.svd(x, full_matrices=full)
        assert (u.shape, vh.shape) == (expected.U.shape, expected.Vh.shape)
        close(s.data, expected.S)
        close((u.data[..., :k] * s.data[..., None, :]) @ vh.data[..., :k, :], x)
        for unitary in (u.data, adjoint(vh.data)):
            eye = np.eye(unitary.shape[-1])
            close(adjoint(unitary) @ unitary, np.broadcast_to(eye, (*shape[:-2], *eye.shape)))
    close(la.svdvals(x).data, np.linalg.svd(x, compute_uv=False))


@MAKERS
@SQUARES
def test_eigenvalues(make, shape):
    x = make(*shape)
    h = x + adjoint(x)
    values, vectors = la.eigh(h)
    close(h @ vectors.data, vectors.data * values.data[..., None, :])
    close(values.data, np.linalg.eigvalsh(h))
    close(la.eigvalsh(h).data, values.data)
    assert values.dtype == np.float64
    values, vectors = la.eig(x)
    assert values.dtype == vectors.dtype == np.complex128
    close(x @ vectors.data, vectors.data * values.data[..., None, :])
    close(np.sum(np.abs(vectors.data) ** 2, axis=-2), np.ones(values.shape))
    close(np.sort_complex(la.eigvals(x).data.round(10)), np.sort_complex(values.data.round(10)))


@MAKERS
def test_leading_components_are_real_and_positive(make):
    x = make(2, 3, 3)
    for vectors in (la.eigh(x).eigenvectors, la.eig(x).eigenvectors, la.svd(x).U):
        sizes = np.abs(vectors.data)
        leading = np.take_along_axis(vectors.data, np.argmax(sizes, axis=-2)[:, None, :], axis=-2)
        close(leading, np.abs(leading))
    close(la.eigh(np.array([[0.0, 1.0], [1.0, 0.0]])).eigenvectors.data[0], [math.sqrt(0.5)] * 2)      # a tie: the first one counts


@MAKERS
@SQUARES
def test_cholesky(make, shape):
    x = positive(make(*shape))
    lower, upper = la.cholesky(x), la.cholesky(x, upper=True)
    close(lower.data @ adjoint(lower.data), x)
    close(upper.data, adjoint(lower.data))
    b = make(*shape[:-1], 2)
    for factor, up in ((lower, False), (upper, True)):
        close(x @ la.cholesky_solve(b, factor, upper=up).data, b)
        close(x @ la.cholesky_inverse(factor, upper=up).data, np.broadcast_to(np.eye(shape[-1]), shape))


@MAKERS
@SHAPES
def test_lu(make, shape):
    x = make(*shape)
    p, lower, upper = la.lu(x)
    close(p.data @ lower.data @ upper.data, x)
    packed, rows = la.lu_factor(x)
    close(np.take_along_axis(x, rows.data[..., None], axis=-2), lower.data @ upper.data)
    assert np.abs(np.tril(packed.data, -1)).max(initial=0.0) <= math.sqrt(2.0)       # pivots are the largest by |re| + |im| in LAPACK
    if shape[-1] == shape[-2]:
        b = make(*shape[:-1], 2)
        close(x @ la.lu_solve((packed, rows), b).data, b, 1e-9)


@MAKERS
@SQUARES
def test_solve_and_inv(make, shape):
    x, b = well(make(*shape)), make(shape[-1], 2)
    eye = np.broadcast_to(np.eye(shape[-1]), shape)
    close(x @ la.inv(x).data, eye)
    close(x @ la.solve(x, b).data, np.broadcast_to(b, (*shape[:-1], 2)))
    close(x @ la.solve(x, b[:, 0]).data[..., None], np.broadcast_to(b[:, :1], (*shape[:-1], 1)))
    for upper in (False, True):
        for unit in (False, True):
            a = np.triu(x) if upper else np.tril(x)
            a = a - a * np.eye(shape[-1]) + np.eye(shape[-1]) if unit else a
            close(a @ la.solve_triangular(x, b, upper=upper, unit_diagonal=unit).data, np.broadcast_to(b, (*shape[:-1], 2)))
            left = la.solve_triangular(x, b.T, upper=upper, unit_diagonal=unit, left=False).data
            close(left @ a, np.broadcast_to(b.T, (*shape[:-2], 2, shape[-1])))


@MAKERS
@SHAPES
def test_pinv_fulfils_the_four_equations_of_penrose(make, shape):
    for x in (make(*shape), make(*shape[:-1], 1) @ make(*shape[:-2], 1, shape[-1])):
        y = la.pinv(x).data
        assert y.shape == (*shape[:-2], shape[-1], shape[-2])
        close(x @ y @ x, x)
        close(y @ x @ y, y)
        close(adjoint(x @ y), x @ y)
        close(adjoint(y @ x), y @ x)


@MAKERS
def test_matrix_exp(make):
    for scale in (0.0, 1e-3, 1.0, 30.0):
        x = scale * make(2, 3, 3)
        expected = scipy.linalg.expm(x)
        np.testing.assert_allclose(la.matrix_exp(x).data, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())
    x = make(3, 3)
    close(la.matrix_exp(x).data @ la.matrix_exp(-x).data, np.eye(3), 1e-10)
    both = la.matrix_exp(np.stack([1e-3 * x, 40.0 * x]))       # each matrix of a stack has its own scale
    close(both.data[0], la.matrix_exp(1e-3 * x).data, 1e-15)


@MAKERS
def test_functions_as_numpy(make):
    for n in (0, 1, 2, 3, 5):
        x = make(2, n, n)
        close(la.det(x).data, np.linalg.det(x), 1e-12)
        sign, size = la.slogdet(x)
        close(sign.data, np.linalg.slogdet(x).sign)
        close(size.data, np.linalg.slogdet(x).logabsdet)
        for power in (0, 1, 2, 5, -3):
            np.testing.assert_allclose(la.matrix_power(x, power).data, np.linalg.matrix_power(x, power), rtol=1e-9, atol=1e-9)
    x = positive(make(3, 3))
    close(la.logdet(x).data, np.log(np.linalg.det(x)))
    x = make(3, 3)
    x = x * np.sign(np.linalg.det(x).real)
    close(la.logdet(-x).data, np.log(np.linalg.det(-x) + 0j) if make is complexes else math.nan)


@MAKERS
@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
def test_matrix_norms_as_numpy(make, ord):
    x = make(2, 3, 4)
    expected = np.stack([np.linalg.norm(one, ord="fro" if ord is None else ord) for one in x])
    close(la.matrix_norm(x, ord=ord).data, expected)
    close(la.matrix_norm(x, ord=ord, keepdims=True).data, expected[:, None, None])
    close(la.norm(x[0], ord=ord).data, expected[0])
    close(la.norm(np.moveaxis(x, 0, 1), ord=ord if ord else "fro", axis=(0, -1), keepdims=True).data, expected[None, :, None])
    if ord not in ("fro", "nuc"):
        square = well(x[:, :, :3])
        close(la.cond(square, ord=ord).data, np.linalg.cond(square, p=ord), 1e-9)


@MAKERS
@pytest.mark.parametrize("ord", [0, 0.5, 1, 1.5, 2, 3, -1, -2.5, math.inf, -math.inf])
def test_vector_norms_as_numpy(make, ord):
    x = make(2, 5)
    close(la.vector_norm(x, axis=1, ord=ord).data, np.linalg.norm(x, axis=1, ord=ord))
    close(la.vector_norm(x, ord=ord, keepdims=True).data, np.linalg.norm(x.reshape(-1), ord=ord)[None, None])
    close(la.norm(x, ord=ord, axis=1).data, np.linalg.norm(x, axis=1, ord=ord))
    if ord != 0:
        dot_test(lambda y: la.vector_norm(y, axis=1, ord=ord), (x,))
    assert la.vector_norm(x).dtype == np.float64


@pytest.mark.parametrize("ord", [0.5, 1, 1.5, 2, 3, -1, math.inf])
def test_norms_at_zero_have_a_finite_gradient(ord):
    assert np.isfinite(hp.grad(lambda x: la.vector_norm(x, ord=ord))(np.zeros(3)).data).all()
    gradient = hp.grad(lambda x: la.vector_norm(x, ord=ord))(np.array([0.0, 2.0, 3.0])).data
    assert np.isfinite(gradient).all()
    for matrix in ("fro", "nuc", 2):
        close(hp.grad(lambda x, matrix=matrix: la.matrix_norm(x, ord=matrix))(np.zeros((3, 2))).data, np.zeros((3, 2)))


@MAKERS
@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3), (2, 4, 2)])
def test_least_squares_as_numpy(make, shape):
    a, b = make(*shape), make(*shape[:-1], 2)
    solution, residuals, rank, values = la.lstsq(a, b)
    for i in np.ndindex(shape[:-2]):
        expected = np.linalg.lstsq(a[i], b[i])
        close(solution.data[i], expected[0])
        close(rank.data[i], expected[2])
        close(values.data[i], expected[3])
        if shape[-2] > shape[-1]:
            close(residuals.data[i], expected[1])
    first = b.reshape(-1, *b.shape[-2:])[0]
    close(la.lstsq(a, first[:, 0]).solution.data, la.lstsq(a, first).solution.data[..., 0])


def test_rank_and_tolerances():
    x = np.diag([1.0, 1e-3, 1e-9])
    assert int(la.matrix_rank(x)) == 3
    assert int(la.matrix_rank(x, rtol=1e-6)) == 2
    close(la.matrix_rank(np.stack([x, x]), rtol=np.array([1e-6, 1e-2])).data, [2, 1])
    close(la.pinv(np.stack([x, x]), rtol=np.array([1e-6, 1e-2])).data[:, 1, 1], [1e3, 0.0])
    close(la.matrix_rank(np.zeros((2, 3, 0))).data, [0, 0])


@MAKERS
def test_hermitian_matrices_have_their_own_pinv_and_rank(make):
    x = np.stack([turned([-2.0, 0.0, 3.0, 1e-9], make), turned([0.0, 0.0, -1.0, 5.0], make)])
    for rtol, ranks in ((None, [3, 2]), (1e-6, [2, 2])):
        y = la.pinv(x, rtol=rtol, hermitian=True).data
        # Errors of the smallest eigenvalue that counts, 1e-9 of 3, grow by its inverse squared: compared relative to the largest of y.
        np.testing.assert_allclose(y, np.linalg.pinv(x, rtol=rtol, hermitian=True), rtol=0, atol=1e-6 * np.abs(y).max())
        close(adjoint(y), y, 1e-6)
        assert la.matrix_rank(x, rtol=rtol, hermitian=True).data.tolist() == la.matrix_rank(x, rtol=rtol).data.tolist() == ranks
    close(la.pinv(x, rtol=1e-6, hermitian=True).data, la.pinv(x, rtol=1e-6).data, 1e-10)
    g = make(2, 4, 4)
    separate = hp.vjp(lambda x: la.pinv(x, rtol=1e-6), x)[1](g)[0].data
    close(hp.vjp(lambda x: la.pinv(x, rtol=1e-6, hermitian=True), x)[1](g)[0].data, (separate + adjoint(separate)) / 2, 1e-9)
    close(la.matrix_rank(np.zeros((2, 0, 0)), hermitian=True).data, [0, 0])
    assert la.pinv(np.zeros((2, 0, 0)), hermitian=True).shape == (2, 0, 0)


@MAKERS
@SQUARES
def test_one_triangle_of_a_hermitian_matrix_is_enough(make, shape):
    h = make(*shape)
    h = h + adjoint(h)
    for UPLO, keep in (("L", np.tril), ("U", np.triu)):
        x = keep(h) + np.where(keep(np.ones(shape)) == 0.0, np.nan, 0.0)
        values, vectors = la.eigh(x, UPLO=UPLO)
        close(values.data, np.linalg.eigvalsh(h))
        close(la.eigvalsh(x, UPLO=UPLO).data, values.data)
        close(vectors.data, la.eigh(h).eigenvectors.data)
        gradient = hp.grad(lambda x, UPLO=UPLO: hp.sum(la.eigvalsh(x, UPLO=UPLO) ** 3))(x).data
        close(gradient, keep(gradient))
        if h.size:      # the trace of h^3: 3 h^2, and an element off the diagonal moves two
            close(gradient, keep(np.conj(3.0 * h @ h * (2.0 - np.eye(shape[-1])))), 1e-9)
            dot_test(lambda x, UPLO=UPLO: hp.abs(la.eigh(x, UPLO=UPLO).eigenvectors), (keep(h),))


@MAKERS
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (1, 1), (3, 0)])
def test_householder_product_is_the_q_of_qr(make, shape):
    x = make(*shape)
    (packed, tau), _ = scipy.linalg.qr(x, mode="raw") if x.size else ((x, np.zeros(0)), None)
    expected = np.linalg.qr(x).Q
    close(la.householder_product(packed, tau).data, expected)
    stack = np.stack([packed, packed])
    close(la.householder_product(stack, np.stack([tau, 0.0 * tau])).data, np.stack([expected, np.eye(*shape)]))
    close(la.householder_product(np.triu(np.full(shape, np.nan)) + np.tril(packed, -1), tau).data, expected)
    whole = np.eye(shape[0], dtype=x.dtype)
    for i in range(max(shape[1] - 1, 0)):       # fewer reflectors than columns
        v = np.concatenate([np.zeros(i), [1.0], packed[i + 1:, i]])[:, None]
        whole = whole @ (np.eye(shape[0]) - tau[i] * v @ adjoint(v))
    close(la.householder_product(packed, tau[:-1]).data, whole[:, :shape[1]])


@MAKERS
def test_sums_of_an_array_and_a_product(make):
    x, a, b = make(4, 5), make(2, 4, 3), make(2, 3, 5)
    u, v = make(4), make(5)
    for alpha, beta in ((1, 1), (2.5, -0.5), (0, 1), (3, 0)):
        close(la.addmm(x, a[0], b[0], alpha=alpha, beta=beta).data, beta * x + alpha * (a[0] @ b[0]))
        close(la.addmv(u, x, v, alpha=alpha, beta=beta).data, beta * u + alpha * (x @ v))
        close(la.addr(x, u, v, alpha=alpha, beta=beta).data, beta * x + alpha * np.outer(u, v))
        close(la.baddbmm(x, a, b, alpha=alpha, beta=beta).data, beta * x + alpha * (a @ b))
        close(la.addbmm(x, a, b, alpha=alpha, beta=beta).data, beta * x + alpha * (a @ b).sum(0))
    close(la.addmm(np.full((4, 5), np.nan), a[0], b[0], beta=0).data, a[0] @ b[0])
    dot_test(lambda x, a, b: la.addbmm(x, a, b, alpha=2.0, beta=3.0), (v, a, b))
    assert la.addmm([1], [[1, 2]], [[3], [4]], alpha=2).dtype == np.int64


@MAKERS
def test_tensor_equations_as_numpy(make):
    a, b = make(2, 3, 6), make(2, 3)
    close(la.tensorsolve(a, b).data, np.linalg.tensorsolve(a, b))
    close(la.tensorsolve(make(0, 0), make(0)).data, np.zeros(0))
    moved = np.moveaxis(a, 2, 0)
    close(la.tensorsolve(moved, b, axes=(0,)).data, np.linalg.tensorsolve(moved, b, axes=(0,)))
    close(la.tensorinv(a, ind=2).data, np.linalg.tensorinv(a, ind=2))
    close(la.dist(b, a[..., 0]).data, np.linalg.norm(b - a[..., 0]))
    points, others = make(4, 3), make(2, 3)
    close(la.cdist(points, others).data, np.linalg.norm(points[:, None] - others, axis=-1))


# Derivatives

def _weights(shape, kind):
    return complexes(*shape) if kind == "c" else normal(*shape)


ORACLES = {
    "inv": (la.inv, lambda torch: torch.linalg.inv, [(3, 3)], well),
    "solve": (la.solve, lambda torch: torch.linalg.solve, [(2, 3, 3), (3, 2)], None),
    "cholesky": (la.cholesky, lambda torch: torch.linalg.cholesky, [(3, 3)], positive),
    "det": (la.det, lambda torch: torch.linalg.det, [(4, 4)], None),
    "det 3": (la.det, lambda torch: torch.linalg.det, [(2, 3, 3)], None),
    "slogdet": (la.slogdet, lambda torch: torch.linalg.slogdet, [(3, 3)], None),
    "qr": (la.qr, lambda torch: torch.linalg.qr, [(4, 3)], None),
    "qr wide": (la.qr, lambda torch: torch.linalg.qr, [(2, 4)], None),
    "eigvalsh": (la.eigvalsh, lambda torch: torch.linalg.eigvalsh, [(3, 3)], positive),
    "svdvals": (la.svdvals, lambda torch: torch.linalg.svdvals, [(4, 3)], None),
    "eigvals": (la.eigvals, lambda torch: torch.linalg.eigvals, [(3, 3)], None),
    "pinv": (la.pinv, lambda torch: torch.linalg.pinv, [(4, 2)], None),
    "matrix_exp": (la.matrix_exp, lambda torch: torch.linalg.matrix_exp, [(3, 3)], None),
    "matrix_power": (lambda x: la.matrix_power(x, -3), lambda torch: lambda x: torch.linalg.matrix_power(x, -3), [(3, 3)], well),
    "solve_triangular": (
        lambda a, b: la.solve_triangular(a, b, upper=True), lambda torch: lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
        [(3, 3), (3, 2)], None,
    ),
    "lstsq": (lambda a, b: la.lstsq(a, b).solution, lambda torch: lambda a, b: torch.linalg.lstsq(a, b).solution, [(4, 2), (4, 3)], None),
    "pinv hermitian": (
        lambda x: la.pinv(x + hp.conj(hp.matrix_transpose(x)), hermitian=True),
        lambda torch: lambda x: torch.linalg.pinv(x + x.mH, hermitian=True), [(3, 3)], None,
    ),
    "householder_product": (la.householder_product, lambda torch: torch.linalg.householder_product, [(2, 4, 3), (2, 3)], None),
    "lu": (la.lu, lambda torch: torch.linalg.lu, [(3, 3)], None),
    "lu tall": (la.lu, lambda torch: torch.linalg.lu, [(4, 2)], None),
    "lu wide": (la.lu, lambda torch: torch.linalg.lu, [(2, 4)], None),
    "cholesky_solve": (
        lambda b, x: la.cholesky_solve(b, la.cholesky(x)), lambda torch: lambda b, x: torch.cholesky_solve(b, torch.linalg.cholesky(x)),
        [(3, 2), (3, 3)], None,
    ),
    "matrix_norm nuc": (
        lambda x: la.matrix_norm(x, ord="nuc"), lambda torch: lambda x: torch.linalg.matrix_norm(x, ord="nuc"), [(3, 2)], None,
    ),
    "matrix_norm 2": (lambda x: la.matrix_norm(x, ord=2), lambda torch: lambda x: torch.linalg.matrix_norm(x, ord=2), [(3, 2)], None),
    "matrix_norm -1": (lambda x: la.matrix_norm(x, ord=-1), lambda torch: lambda x: torch.linalg.matrix_norm(x, ord=-1), [(3, 2)], None),
    "vector_norm 3": (lambda x: la.vector_norm(x, ord=3), lambda torch: lambda x: torch.linalg.vector_norm(x, ord=3), [(5,)], None),
    "cond": (la.cond, lambda torch: torch.linalg.cond, [(3, 3)], None),
    # What does not depend on phases: |V| alone, U Vh, and projections.
    "eigh": (lambda x: hp.abs(la.eigh(x)[1]), lambda torch: lambda x: torch.linalg.eigh(x)[1].abs(), [(3, 3)], positive),
    "eig": (lambda x: hp.abs(la.eig(x).eigenvectors), lambda torch: lambda x: torch.linalg.eig(x).eigenvectors.abs(), [(3, 3)], None),
    "svd": (
        lambda x: (lambda u, s, vh: u @ vh)(*la.svd(x)), lambda torch: lambda x: (lambda u, s, vh: u @ vh)(*torch.linalg.svd(x)),
        [(3, 3)], None,
    ),
    "svd tall": (lambda x: hp.abs(la.svd(x, False).U), lambda torch: lambda x: torch.linalg.svd(x, False).U.abs(), [(4, 2)], None),
    "svd wide": (lambda x: hp.abs(la.svd(x, False).Vh), lambda torch: lambda x: torch.linalg.svd(x, False).Vh.abs(), [(2, 4)], None),
}


@MAKERS
@pytest.mark.parametrize("name", ORACLES)
def test_gradients_and_second_derivatives_as_pytorch(name, make):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of gradients, is not installed (extra bench)")
    mine, oracle, shapes, prepare = ORACLES[name]
    arrays = [make(*shape) for shape in shapes]
    if prepare is not None:
        arrays = [prepare(x) for x in arrays]
    if name == "cholesky_solve":
        arrays[1] = positive(arrays[1])
    theirs = oracle(torch)
    out = mine(*arrays)
    outs = [x for x in (out if isinstance(out, tuple) else (out,)) if x.dtype.kind in "fc"]
    weights = [_weights(x.shape, x.dtype.kind) for x in outs]

    def loss(function, real, number):
        def total(*xs):
            found = function(*xs)
            parts = found if isinstance(found, tuple) else (found,)
            return sum(real((part * number(w)).sum()) for part, w in zip(parts, weights, strict=True))
        return total

    given = [torch.tensor(x, requires_grad=True) for x in arrays]
    value = loss(theirs, torch.real, torch.tensor)(*given)
    gradients = torch.autograd.grad(value, given, create_graph=True)
    scalar = loss(mine, hp.real, lambda w: w)
    close(scalar(*arrays).data, value.detach().numpy())
    found = hp.grad(scalar, tuple(range(len(arrays))))(*arrays)

    def conjugate(other):
        """PyTorch's gradient in Hyperion's convention; of a Hermitian matrix the Hermitian part, as only that counts."""
        array = np.conj(other.detach().resolve_conj().numpy(force=True))
        return (array + adjoint(array)) / 2 if name == "cholesky" else array

    for one, other in zip(found, gradients, strict=True):
        close(one.data, conjugate(other), 1e-9)
    directions = [positive(make(*x.shape)) if name == "cholesky" else make(*x.shape) for x in arrays]
    along = sum((g.conj() * torch.tensor(d)).sum().real for g, d in zip(gradients, directions, strict=True))
    seconds = torch.autograd.grad(along, given, allow_unused=True)
    products = hp.hvp(scalar, tuple(arrays), tuple(directions))
    for one, other, x in zip(products, seconds, arrays, strict=True):
        close(one.data, np.zeros_like(x) if other is None else conjugate(other), 1e-7)


def test_the_gradient_of_a_complex_matrix_is_the_conjugate_of_pytorchs_direction():
    z = complexes(2, 2)
    gradient = hp.grad(lambda x: hp.real(la.det(x)))(z).data
    close(gradient, la.det(z).data * np.linalg.inv(z).T)           # holomorphic: d det = det tr(z^-1 dz), without conjugation


@MAKERS
@pytest.mark.parametrize("rank", [4, 3, 2, 1, 0])
def test_det_of_singular_matrices_has_the_derivatives_of_its_polynomial(rank, make):
    x = make(5, rank) @ make(rank, 5)
    directions = [make(5, 5) for _ in range(3)]
    first = hp.grad(lambda y: hp.real(la.det(y)))(x).data
    cofactors = np.array([[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(5)] for i in range(5)])
    close(first, cofactors, 1e-10)
    points = np.exp(2j * np.pi * np.arange(6) / 6)

    def coefficient(powers):
        """Coefficient of t1^powers[0] t2^powers[1] t3^powers[2] of a polynomial of degree 5 in each, by roots of unity."""
        total = 0.0
        for i in np.ndindex(6, 6, 6):
            t = points[list(i)]
            total += np.linalg.det(x + sum(s * d for s, d in zip(t, directions, strict=True))) * np.prod(t ** -np.array(powers))
        return total / 216

    def along(function, direction):
        return lambda y: hp.jvp(function, (y,), (direction,))[1]

    third = along(along(along(la.det, directions[0]), directions[1]), directions[2])(x)
    expected = coefficient((1, 1, 1))       # all terms t1 t2 t3: the third derivative along the three
    np.testing.assert_allclose(third.data, expected if make is complexes else expected.real, rtol=1e-8, atol=1e-8)


def test_factors_that_are_completed_are_differentiable():
    weights = normal(4, 4)
    for complete in (lambda x: la.qr(x, mode="complete").Q, lambda x: la.svd(x).U, lambda x: la.svd(x.mT).Vh.mT):
        x, direction = normal(4, 2), normal(4, 2)
        dot_test(complete, (x,), tolerance=1e-11)
        moved = hp.jvp(complete, (hp.asarray(x),), (direction,))[1].data
        step = 1e-6
        difference = (complete(hp.asarray(x + step * direction)).data - complete(hp.asarray(x - step * direction)).data) / (2 * step)
        close(moved, difference, 1e-7)
        gradient = hp.grad(lambda y, f=complete: hp.sum(f(y) @ hp.matrix_transpose(f(y)) * weights))(hp.asarray(x)).data
        close(gradient, np.zeros((4, 2)))       # a unitary matrix times its adjoint is the identity, whatever x


def test_a_batch_in_vmap_and_taylor_series_of_the_inverse():
    x = well(normal(4, 3, 3))
    close(hp.vmap(la.inv)(x).data, np.linalg.inv(x))
    close(hp.vmap(hp.grad(la.det))(x).data, np.linalg.det(x)[:, None, None] * np.linalg.inv(x).swapaxes(-1, -2))
    terms = hp.jet(lambda t: la.inv(np.eye(2) - t * np.array([[0.0, 1.0], [0.0, 0.0]])), (hp.asarray(0.0, dtype="float64"),),
                   (hp.asarray(1.0, dtype="float64"),), order=3)
    close(terms[1].data, [[0.0, 1.0], [0.0, 0.0]])
    close(terms[2].data, np.zeros((2, 2)))


STACK, TALL, VECTORS = normal(3, 4, 4), normal(3, 4, 2), normal(3, 4)
BATCHED = {
    "solve": (la.solve, (STACK, VECTORS)), "solve_triangular": (la.solve_triangular, (STACK, VECTORS)),
    "lstsq": (lambda a, b: la.lstsq(a, b).solution, (TALL, VECTORS)), "qr": (lambda x: la.qr(x, mode="complete").Q, (TALL,)),
    "svd": (lambda x: la.svd(x).U, (TALL,)), "det": (la.det, (STACK,)), "slogdet": (lambda x: la.slogdet(x).logabsdet, (STACK,)),
    "eigh": (lambda x: la.eigh(x).eigenvectors, (STACK + 1j * normal(3, 4, 4),)), "eigvals": (la.eigvals, (STACK,)),
    "matrix_norm": (lambda x: la.matrix_norm(x, ord=2), (TALL,)), "cond": (la.cond, (STACK,)), "lu": (lambda x: la.lu(x).L, (STACK,)),
    "matrix_power": (lambda x: la.matrix_power(x, -2), (STACK,)), "constant power": (lambda x: la.matrix_power(x, 0), (STACK,)),
    "vander": (hp.vander, (VECTORS,)), "cov": (hp.cov, (TALL,)), "block_diag": (hp.block_diag, (TALL, VECTORS)),
    "einsum": (lambda x, y: hp.einsum("ij,i,...->j...", x, y, y), (TALL, VECTORS)),
    "multi_dot": (lambda x: hp.multi_dot([x] * 3), (STACK,)),
    "householder_product": (la.householder_product, (TALL, VECTORS[:, :2])),
    "one triangle": (lambda x: la.eigvalsh(x, UPLO="L"), (STACK,)), "pinv hermitian": (lambda x: la.pinv(x, hermitian=True), (STACK,)),
    "addmm": (lambda x, y: la.addmm(y, x, hp.matrix_transpose(x), beta=3.0), (TALL, VECTORS)),
}


@pytest.mark.parametrize("name", BATCHED)
def test_functions_and_their_gradients_in_vmap_equal_a_loop(name):
    function, args = BATCHED[name]
    weights = normal(*function(*(x[0] for x in args)).shape)

    def loss(*xs):
        return hp.real(hp.sum(function(*xs) * weights))

    for one in (function, hp.grad(loss)):
        close(hp.vmap(one)(*args).data, np.stack([one(*(x[i] for x in args)).data for i in range(3)]))


# Equal eigenvalues and singular values

C = normal(4, 4) + normal(4, 4).T


@MAKERS
def test_eigenvalues_that_are_equal_and_used_alike(make):
    x = turned([1.0, 2.0, 2.0, 3.0], make)
    close(hp.grad(lambda y: hp.sum(la.eigvalsh(y) ** 3))(x).data, 3 * (x @ x).conj())
    close(hp.grad(lambda y: hp.sum(la.svdvals(y) ** 2))(x).data, 2 * x.conj())
    close(hp.grad(lambda y: hp.real(hp.sum(la.eigvals(y) ** 3)))(x).data, 3 * (x @ x).T, 1e-9)
    x = np.eye(3) + 0 * make(3, 3)
    close(hp.grad(lambda y: hp.sum(hp.log(la.eigvalsh(y))))(x).data, np.eye(3))
    close(hp.grad(lambda y: la.matrix_norm(y, ord="nuc"))(x).data, np.eye(3))
    close(hp.grad(lambda y: la.matrix_norm(y, ord=2))(x).data, np.eye(3) / 3)


@MAKERS
def test_vectors_of_other_eigenvalues_keep_their_derivative(make):
    x = turned([1.0, 2.0, 2.0, 3.0], make)

    def lowest(y):
        return hp.sum(hp.abs(la.eigh(y).eigenvectors[:, 0]) ** 4)

    gradient = hp.grad(lowest)(x).data
    direction = make(4, 4)
    direction = direction + adjoint(direction)
    step = 1e-6
    close(np.sum(gradient * direction).real, (lowest(x + step * direction).data - lowest(x - step * direction).data) / (2 * step), 1e-7)


ASKED = {
    "a vector": lambda y: hp.sum(la.eigh(y).eigenvectors[:, 1] ** 3),
    "the matrix rebuilt": lambda y: hp.sum(C * ((la.eigh(y)[1] * la.eigh(y)[0]) @ hp.matrix_transpose(la.eigh(y)[1]))),
    "a projection": lambda y: hp.sum(C * (la.eigh(y)[1][:, 1:3] @ hp.matrix_transpose(la.eigh(y)[1][:, 1:3]))),
    "one value of two": lambda y: la.eigvalsh(y)[1],
    "one value of two, general": lambda y: hp.real(la.eigvals(y))[0] + 2.0 * hp.real(la.eigvals(y))[1] + 3.0 * hp.real(la.eigvals(y))[2],
    "a singular vector": lambda y: hp.sum(la.svd(y).U[:, 1] ** 3),
    "one singular value of two": lambda y: la.svdvals(y)[1],
}


@pytest.mark.parametrize("name", ASKED)
def test_a_derivative_that_does_not_exist_is_refused_in_both_modes(name):
    x, direction = turned([1.0, 2.0, 2.0, 3.0]), C + C.T
    with pytest.raises(SingularError, match="does not exist"):
        hp.grad(ASKED[name])(x)
    with pytest.raises(SingularError, match="does not exist"):
        hp.jvp(ASKED[name], (x,), (direction,))


def test_second_derivatives_at_equal_eigenvalues_are_refused_not_wrong():
    x, direction = turned([1.0, 2.0, 2.0, 3.0]), C + C.T
    for function in (lambda y: hp.sum(la.eigvalsh(y) ** 2), lambda y: hp.sum(la.svdvals(y) ** 2)):
        with pytest.raises(SingularError, match="does not exist"):
            hp.hvp(function, (x,), (direction,))
        with pytest.raises(SingularError, match="does not exist"):
            hp.grad(lambda y, function=function: hp.sum(hp.grad(function)(y) * direction))(x)
    for zero in (np.zeros((3, 3)), np.zeros((3, 2))):      # sum of squares of values that are all zero: the gradient is, the Hessian not
        with pytest.raises(SingularError, match="does not exist"):
            hp.grad(lambda y, zero=zero: hp.sum(hp.grad(lambda w: hp.sum(la.svdvals(w) ** 2))(y) * (zero + normal(*zero.shape))))(zero)


def test_zero_singular_values():
    x = normal(4, 2) @ normal(2, 3)
    close(hp.grad(lambda y: hp.sum(la.svdvals(y) ** 2))(x).data, 2 * x)
    u, _, vh = np.linalg.svd(x)
    close(hp.grad(lambda y: la.matrix_norm(y, ord="nuc"))(x).data, u[:, :2] @ vh[:2])
    gradient = hp.grad(lambda y: hp.sum(la.svd(y, full_matrices=False).U[:, 0] ** 3))(x).data
    direction = normal(4, 3)
    top = [la.svd(x + s * 1e-6 * direction, full_matrices=False).U.data[:, 0] for s in (1, -1)]
    close(np.sum(gradient * direction), (np.sum(top[0] ** 3) - np.sum(top[1] ** 3)) / 2e-6, 1e-7)
    for function in (lambda y: la.svdvals(y)[2], lambda y: hp.sum(la.svd(y).U[:, 2] ** 3)):
        with pytest.raises(SingularError, match="does not exist"):
            hp.grad(function)(x)
    rebuilt = hp.grad(lambda y: hp.sum(C[:3, :3] * ((la.svd(y).U * la.svd(y).S) @ la.svd(y).Vh)))
    square = normal(3, 2) @ normal(2, 3)
    close(rebuilt(square).data, C[:3, :3], 1e-9)            # one zero in a real square matrix: smooth, so the gradient is that of x itself


@MAKERS
def test_pinv_and_lstsq_of_rank_deficient_matrices(make):
    x = make(4, 2) @ make(2, 3)
    left, right = make(4, 4), make(3, 3)

    def among_its_rank(t):
        """A path of matrices of rank 2."""
        return la.pinv(scipy.linalg.expm(t * left) @ x @ scipy.linalg.expm(t * right)).data

    moved = hp.jvp(la.pinv, (x,), (left @ x + x @ right,))[1].data
    close(moved, (among_its_rank(1e-6) - among_its_rank(-1e-6)) / 2e-6, 1e-5)
    assert int(la.lstsq(x, make(4)).rank) == 2


# Empty matrices and stacks, precision, wrong input

OF_SQUARES = ["inv", "det", "slogdet", "cholesky", "eigh", "eigvalsh", "eig", "eigvals", "matrix_exp"]
OF_ANY = ["svd", "svdvals", "qr", "lu", "pinv", "matrix_norm"]
NOTHING = [(name, shape) for name in OF_SQUARES + OF_ANY for shape in ((0, 0), (2, 0, 0), (0, 3, 3), (0, 4, 4))]
NOTHING += [(name, (0, 5)) for name in OF_ANY]


@pytest.mark.parametrize(("name", "shape"), NOTHING)
def test_derivatives_of_nothing_are_nothing(name, shape):
    def loss(x):
        found = getattr(la, name)(x)
        parts = [part for part in (found if isinstance(found, tuple) else (found,)) if part.dtype.kind in "fc"]
        return sum(hp.sum(hp.real(part)) for part in parts)

    x = np.zeros(shape, complex)
    assert hp.grad(loss)(x).shape == shape
    assert hp.jvp(loss, (x,), (x,))[1].shape == ()
    assert hp.hvp(loss, (x,), (x,))[0].shape == shape



@pytest.mark.parametrize("name", ["inv", "cholesky", "qr", "eigh", "eig", "svd", "svdvals", "det", "slogdet", "pinv", "matrix_exp", "lu"])
def test_float32_in_float32_out_and_gradients_near_those_of_float64(name):
    x = positive(normal(4, 4))
    weights = normal(4, 4)

    def loss(y):
        found = getattr(la, name)(y)
        parts = [part for part in (found if isinstance(found, tuple) else (found,)) if part.dtype.kind in "fc"]
        return sum(hp.sum(hp.real(part) * weights.reshape(-1)[:part.size].reshape(part.shape).astype(y.dtype)) for part in parts)

    narrow = hp.grad(loss)(x.astype(np.float32))
    assert narrow.dtype == np.float32
    wide = hp.grad(loss)(x).data
    # Products of condition numbers of positive(...) and of gaps, both below 100, with the rounding error 6e-8 of float32.
    np.testing.assert_allclose(narrow.data, wide, rtol=2e-3, atol=2e-3 * np.abs(wide).max())


SQUARE = ["inv", "det", "slogdet", "logdet", "cholesky", "eigh", "eigvalsh", "eig", "eigvals", "matrix_exp", "cholesky_inverse"]
MATRIX = [*SQUARE, "qr", "svd", "svdvals", "pinv", "matrix_norm", "matrix_rank", "lu", "lu_factor", "cond"]


@pytest.mark.parametrize("name", MATRIX)
def test_a_vector_is_no_matrix(name):
    with pytest.raises(ShapeError, match=r"shape \(3,\)"):
        getattr(la, name)(np.ones(3))


@pytest.mark.parametrize("name", SQUARE)
def test_a_matrix_that_is_not_square(name):
    with pytest.raises(ShapeError, match=r"shape \(2, 3\).*equal"):
        getattr(la, name)(np.ones((2, 3)))


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("dtype", ["int64", "bool", "float16"])
def test_dtypes_that_are_refused(name, dtype):
    with pytest.raises(DtypeError, match=f"{dtype}.*astype"):
        getattr(la, name)(np.ones((2, 2), dtype))


ONES = np.ones((2, 2))
SYSTEM = {
    "inv": (lambda: la.inv(ONES), SingularError, r"inv\(x\): x, shape \(2, 2\), is singular.*pinv"),
    "solve": (lambda: la.solve(ONES, np.ones(2)), SingularError, "is singular.*lstsq"),
    "solve_triangular": (lambda: la.solve_triangular(np.zeros((2, 2)), np.ones(2)), SingularError, "zero on its diagonal"),
    "cholesky": (lambda: la.cholesky(-np.eye(2)), SingularError, "not positive definite"),
    "matrix_power": (lambda: la.matrix_power(ONES, -1), SingularError, "singular"),
    "matrix_power float": (lambda: la.matrix_power(ONES, 0.5), InputError, "integer"),
    "eig nan": (lambda: la.eig(np.full((2, 2), np.nan)), SingularError, "must be finite"),
    "eigvals nan": (lambda: la.eigvals(np.full((2, 2), np.nan)), SingularError, "must be finite"),
    "svd nan": (lambda: la.svd(np.full((2, 2), np.nan)), SingularError, "must be finite"),
    "svdvals nan": (lambda: la.svdvals(np.full((2, 2), np.nan)), SingularError, "must be finite"),
    "pinv nan": (lambda: la.pinv(np.full((2, 2), np.nan)), SingularError, "must be finite"),
    "solve rows": (lambda: la.solve(np.eye(2), np.ones(3)), ShapeError, "n = 2"),
    "solve number": (lambda: la.solve(np.eye(2), np.float64(1.0)), ShapeError, "n = 2"),
    "solve stacks": (lambda: la.solve(np.ones((2, 2, 2)), np.ones((3, 2, 1))), ShapeError, "must broadcast"),
    "solve ints": (lambda: la.solve(np.eye(2), np.ones(2, int)), DtypeError, "b is int64"),
    "solve_triangular rows": (lambda: la.solve_triangular(np.eye(2), np.ones(3)), ShapeError, "n = 2"),
    "cholesky_solve rows": (lambda: la.cholesky_solve(np.ones(3), np.eye(2)), ShapeError, "n = 2"),
    "lu_solve rows": (lambda: la.lu_solve(la.lu_factor(np.eye(2)), np.ones(3)), ShapeError, "n = 2"),
    "lstsq rows": (lambda: la.lstsq(np.ones((3, 2)), np.ones(2)), ShapeError, "n = 3"),
    "qr mode": (lambda: la.qr(np.eye(2), mode="raw"), InputError, "reduced"),
    "pinv rtol": (lambda: la.pinv(np.eye(2), rtol=-1.0), InputError, "0 or more"),
    "pinv rtol shape": (lambda: la.pinv(np.ones((2, 2, 2)), rtol=np.ones(3)), ShapeError, "must broadcast"),
    "matrix_norm ord": (lambda: la.matrix_norm(np.eye(2), ord=3), InputError, "must be"),
    "matrix_norm empty": (lambda: la.matrix_norm(np.ones((2, 0)), ord=2), ShapeError, "empty"),
    "vector_norm ord": (lambda: la.vector_norm(np.ones(2), ord="fro"), InputError, "must be a number"),
    "vector_norm ints": (lambda: la.vector_norm(np.ones(2, int)), DtypeError, "astype"),
    "vector_norm axis": (lambda: la.vector_norm(np.ones(2), axis=1), ShapeError, "axis=1"),
    "vector_norm empty": (lambda: la.vector_norm(np.ones(0), ord=math.inf), ShapeError, "at least one"),
    "norm axes": (lambda: la.norm(np.ones((2, 2, 2)), ord=1), ShapeError, "one axis for vectors or two"),
    "norm same axes": (lambda: la.norm(np.ones((2, 2)), ord=1, axis=(0, 0)), ShapeError, "two different"),
    "norm text": (lambda: la.norm(np.ones(2), ord="fro"), InputError, "two axes"),
    "cond empty": (lambda: la.cond(np.ones((0, 2))), ShapeError, "empty"),
    "tensorinv": (lambda: la.tensorinv(np.ones((2, 3, 4))), ShapeError, "as many elements"),
    "tensorinv ind": (lambda: la.tensorinv(np.eye(2), ind=0), InputError, "1 or more"),
    "tensorsolve": (lambda: la.tensorsolve(np.ones((2, 3)), np.ones(2)), ShapeError, "as many elements"),
    "cdist": (lambda: la.cdist(np.ones((2, 3)), np.ones((2, 2))), ShapeError, "must be"),
    "eigh UPLO": (lambda: la.eigh(np.eye(2), UPLO="lower"), InputError, r"eigh\(x, UPLO='lower'\).*or None"),
    "eigvalsh UPLO": (lambda: la.eigvalsh(np.eye(2), UPLO="F"), InputError, "eigvalsh.*the triangle that is read"),
    "pinv hermitian": (lambda: la.pinv(np.ones((2, 3)), hermitian=True), ShapeError, "must be equal"),
    "matrix_rank hermitian": (lambda: la.matrix_rank(np.ones((2, 3)), hermitian=True), ShapeError, "must be equal"),
    "householder wide": (lambda: la.householder_product(np.ones((2, 3)), np.ones(2)), ShapeError, "k <= m <= n"),
    "householder many": (lambda: la.householder_product(np.ones((3, 2)), np.ones(3)), ShapeError, "k <= m <= n"),
    "householder stacks": (lambda: la.householder_product(np.ones((2, 3, 2)), np.ones((3, 2))), ShapeError, "must broadcast"),
    "householder ints": (lambda: la.householder_product(np.ones((3, 2)), np.ones(2, int)), DtypeError, "tau is int64"),
    "addmm axes": (lambda: la.addmm(np.ones(2), np.ones((3, 2, 2)), np.ones((2, 2))), ShapeError, "addmm.*2 and 2 axes, or use matmul"),
    "addmm shape": (lambda: la.addmm(np.ones((3, 2)), np.ones((2, 2)), np.ones((2, 2))), ShapeError, r"must broadcast.*\(2, 2\)"),
    "addr axes": (lambda: la.addr(0.0, np.ones((2, 2)), np.ones(2)), ShapeError, "1 and 1 axes"),
}


@pytest.mark.parametrize("name", SYSTEM)
def test_wrong_input(name):
    call, error, match = SYSTEM[name]
    with pytest.raises(error, match=match):
        call()


SINGULAR_LATER = {
    "slogdet": lambda x: la.slogdet(x).logabsdet, "qr": lambda x: hp.sum(la.qr(x).Q), "lu": lambda x: hp.sum(la.lu(x).L),
    "eigvals": lambda x: hp.sum(hp.real(la.eigvals(x))), "eig": lambda x: hp.sum(hp.abs(la.eig(x).eigenvectors) ** 4),
}


@pytest.mark.parametrize("name", SINGULAR_LATER)
def test_derivatives_that_need_more_than_the_matrix_has_are_refused(name):
    dependent, defective = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 1.0]])
    x = defective if name in ("eig", "eigvals") else ONES if name == "slogdet" else dependent
    with np.errstate(divide="ignore"), pytest.raises(SingularError):
        hp.grad(SINGULAR_LATER[name])(x)
