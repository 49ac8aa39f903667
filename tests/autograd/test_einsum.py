"""einsum and the other products: values against NumPy, gradients against PyTorch, laws, and every wrong input."""

import string

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.testing import dot_test

rng = np.random.default_rng(3)


def normal(*shape):
    return rng.standard_normal(shape)


def complexes(*shape):
    return normal(*shape) + 1j * normal(*shape)


CASES = [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("ba,cb", [(2, 3), (4, 2)]), ("ii", [(3, 3)]), ("ii->i", [(3, 3)]),
    ("iij->j", [(2, 2, 3)]), ("iji,jkj->ik", [(2, 3, 2), (3, 4, 3)]), ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]), ("i,i", [(3,), (3,)]),
    ("i,j->ij", [(2,), (3,)]), ("i,j->ji", [(2,), (3,)]), ("ij,ij->ij", [(2, 3), (2, 3)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 2)]),
    ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]), ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
    ("...i,...i->...", [(2, 3), (3,)]),
    ("...ij", [(2, 3, 4)]), ("i...,...j->j...i", [(2, 3), (3, 4)]), ("ij,j,k->ik", [(2, 3), (3,), (4,)]), (",i->i", [(), (3,)]),
    ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 2), (2, 5)]), ("abc,bcd,cde,ea->bd", [(2, 3, 2), (3, 2, 4), (2, 4, 3), (3, 2)]),
    ("ij,ik,il->jkl", [(3, 2), (3, 4), (3, 2)]), ("i,i,i,i->", [(3,)] * 4), ("ij,ij->ij", [(2, 1), (1, 3)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,jk->ik", [(0, 3), (3, 2)]), ("ij,jk->ik", [(2, 0), (0, 2)]), (" i j , j -> i ", [(2, 3), (3,)]), ("Aa,a->A", [(2, 3), (3,)]),
    ("iij,jkk->ik", [(2, 2, 3), (3, 2, 2)]), ("ijk->", [(2, 3, 2)]), ("...->...", [(2, 3)]), ("a,b,c->cab", [(2,), (3,), (2,)]),
]


@pytest.mark.parametrize("make", [normal, complexes])
@pytest.mark.parametrize(("subscripts", "shapes"), CASES)
def test_values_as_numpy_and_derivatives_that_transpose(subscripts, shapes, make):
    arrays = [make(*shape) for shape in shapes]
    out = hp.einsum(subscripts, *arrays)
    np.testing.assert_allclose(out.data, np.einsum(subscripts, *arrays), rtol=1e-13, atol=1e-13)
    if out.size:
        dot_test(lambda *xs: hp.einsum(subscripts, *xs), tuple(arrays))


def test_random_contractions_of_up_to_five_arrays():
    choose = np.random.default_rng(11)
    for _ in range(150):
        letters = string.ascii_lowercase[:choose.integers(1, 6)]
        sizes = dict(zip(letters, choose.integers(1, 4, len(letters)), strict=True))
        terms = ["".join(choose.choice(list(letters), choose.integers(0, 4))) for _ in range(choose.integers(1, 6))]
        used = sorted(set("".join(terms)))
        out = "".join(choose.permutation(used)[:choose.integers(0, len(used) + 1)]) if used else ""
        arrays = [choose.standard_normal([sizes[letter] for letter in term]) for term in terms]
        subscripts = f"{','.join(terms)}->{out}"
        found = hp.einsum(subscripts, *arrays).data
        np.testing.assert_allclose(found, np.einsum(subscripts, *arrays), rtol=1e-12, atol=1e-12, err_msg=subscripts)


@pytest.mark.parametrize("make", [normal, complexes])
@pytest.mark.parametrize(("subscripts", "shapes"), CASES[:24])
def test_gradients_as_pytorch(subscripts, shapes, make):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of gradients, is not installed (extra bench)")
    arrays = [make(*shape) for shape in shapes]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    out = torch.einsum(subscripts, *theirs)
    weights = make(*out.shape)
    (out * torch.tensor(weights)).sum().real.backward()
    found = hp.vjp(lambda *xs: hp.einsum(subscripts, *xs), *arrays)[1](weights)
    for mine, other in zip(found, theirs, strict=True):
        np.testing.assert_allclose(mine.data, other.grad.numpy().conj(), rtol=1e-12, atol=1e-13)


def test_third_derivative_of_a_product_of_three_is_their_sum_over_orders():
    x, a, b, c = (normal(3, 3) for _ in range(4))

    def along(function, direction):
        return lambda y: hp.jvp(function, (y,), (direction,))[1]

    third = along(along(along(lambda y: hp.einsum("ij,jk,ki->", y, y, y), a), b), c)(x)
    expected = 3 * (np.trace(a @ b @ c) + np.trace(a @ c @ b))
    np.testing.assert_allclose(third.data, expected, rtol=1e-13)


def test_vmap_adds_a_label():
    x, y = normal(4, 2, 3), normal(3, 5)
    out = hp.vmap(lambda a, b: hp.einsum("ij,jk->ki", a, b), (0, None))(x, y)
    np.testing.assert_allclose(out.data, np.einsum("bij,jk->bki", x, y), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "float32", "complex64"])
def test_dtypes_stay(dtype):
    x = (normal(2, 3) > 0).astype(dtype)
    for subscripts, arrays in (("ij,kj->ik", (x, x)), ("ij->i", (x,)), ("ij,kl->il", (x, x))):
        out = hp.einsum(subscripts, *arrays)
        assert out.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(out.data, np.einsum(subscripts, *arrays))


@pytest.mark.parametrize("subscripts", ["ab,bc,cd,de->ae", "ea,fb,abcd,gc,hd->efgh", "ab,bc,cd,da->", "i,j,k,ijk->"])
def test_the_path_costs_no_more_than_numpys_greedy_one(subscripts):
    sizes = dict(zip("abcdefghijk", (7, 3, 5, 2, 6, 4, 3, 5, 4, 6, 3), strict=True))
    terms = subscripts.split("->")[0].split(",")
    arrays = [np.ones([sizes[letter] for letter in term]) for term in terms]
    path = hp.contraction_path(subscripts, *arrays)
    theirs = np.einsum_path(subscripts, *arrays, optimize="greedy")[0][1:]
    assert _work(terms, subscripts, path, sizes) <= _work(terms, subscripts, theirs, sizes)


def _work(terms, subscripts, path, sizes):
    """Return the number of products a path forms."""
    rest, out, total = [set(term) for term in terms], set(subscripts.split("->")[1]), 0
    for step in path:
        taken = [rest[i] for i in step]
        rest = [labels for i, labels in enumerate(rest) if i not in step]
        union = set().union(*taken)
        total += int(np.prod([sizes[letter] for letter in union]))
        rest.append(union & out.union(*rest))
    return total


def test_a_matrix_chain_is_not_formed_as_one_outer_product():
    x = np.ones((60, 60))
    assert hp.einsum("ab,bc,cd,de,ef,fg->ag", *[x] * 6).shape == (60, 60)      # 60^7 products, 2 TiB, otherwise


@pytest.mark.parametrize(("subscripts", "shapes", "error", "match"), [
    ("ij,jk->ik", [(2, 3)], InputError, "name 2 operand"),
    ("ij->ij", [(2, 3), (3,)], InputError, "name 1 operand"),
    ("ij,jk->ik", [(2, 3), (4, 2)], ShapeError, "axis 'j' has length 4"),
    ("ii->i", [(2, 3)], ShapeError, "'i' has length 3"),
    ("ii->i", [(1, 3)], ShapeError, "must have one length"),
    ("ij->ik", [(2, 3)], InputError, "'k'"),
    ("ij->ii", [(2, 3)], InputError, "twice"),
    ("ij", [(2,)], ShapeError, "has 1 axes"),
    ("i", [(2, 3)], ShapeError, "has 2 axes"),
    ("i.j", [(2, 3)], InputError, "only letters"),
    ("i1", [(2, 3)], InputError, "only letters"),
    ("...i...", [(2, 3)], InputError, "only letters"),
    ("...i->i", [(2, 3)], ShapeError, "result"),
    ("", [], InputError, "name 1 operand"),
    (3, [(2,)], InputError, "is a int"),
])
def test_wrong_subscripts(subscripts, shapes, error, match):
    with pytest.raises(error, match=match):
        hp.einsum(subscripts, *[np.ones(shape) for shape in shapes])


# Other products

X, Y, Z = complexes(2, 3, 4), complexes(4, 3), complexes(3)

PRODUCTS = {
    "tensordot 1": (lambda x, y: hp.tensordot(x, y, 1), lambda x, y: np.tensordot(x, y, 1), (X, Y)),
    "tensordot 0": (lambda x, y: hp.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0), (Y, Z)),
    "tensordot pairs": (lambda x, y: hp.tensordot(x, y, ((2, 1), (0, -1))), lambda x, y: np.tensordot(x, y, ((2, 1), (0, -1))), (X, Y)),
    "tensordot pair": (lambda x, y: hp.tensordot(x, y, (1, 1)), lambda x, y: np.tensordot(x, y, (1, 1)), (X, Y)),
    "vecdot": (hp.vecdot, np.vecdot, (Y, Z)),
    "vecdot axis": (lambda x, y: hp.vecdot(x, y, axis=-2), lambda x, y: np.vecdot(x, y, axis=-2), (X, complexes(3, 1))),
    "dot": (hp.dot, np.dot, (X, complexes(2, 4, 3))),
    "dot vector": (hp.dot, np.dot, (Y, Z)),
    "dot number": (hp.dot, np.dot, (np.asarray(2.0), Z)),
    "vdot": (hp.vdot, np.vdot, (X, complexes(24))),
    "inner": (hp.inner, np.inner, (X, complexes(5, 4))),
    "inner vectors": (hp.inner, np.inner, (Z, Z + 1)),
    "outer": (hp.outer, np.outer, (Z, complexes(4))),
    "kron": (hp.kron, np.kron, (Y, complexes(2, 2))),
    "kron ranks": (hp.kron, np.kron, (Z, X)),
    "cross": (hp.cross, np.cross, (complexes(2, 3), Z)),
    "cross axis": (lambda x, y: hp.cross(x, y, axis=-2), lambda x, y: np.cross(x, y, axis=-2), (complexes(3, 2), complexes(3, 2))),
    "multi_dot": (lambda *xs: hp.multi_dot(xs), lambda *xs: np.linalg.multi_dot(xs), (Z, Y.T, complexes(4, 5), complexes(5))),
    "multi_dot matrices": (
        lambda *xs: hp.multi_dot(xs), lambda *xs: np.linalg.multi_dot(xs), [normal(n, m) for n, m in ((9, 2), (2, 8), (8, 3), (3, 5))],
    ),
    "diagonal": (lambda x: hp.diagonal(x, -1), lambda x: np.diagonal(x, -1, 1, 2), (X,)),
    "diag": (lambda x: hp.diag(x, 1), lambda x: np.diag(x, 1), (Y,)),
    "diag of a vector": (lambda x: hp.diag(x, -2), lambda x: np.diag(x, -2), (Z,)),
    "diag_embed": (lambda x: hp.diagonal(hp.diag_embed(x, 2, 0, 1), 2, 0, 1), lambda x: x, (Y,)),
    "trace": (lambda x: hp.trace(x, 1), lambda x: np.trace(x, 1, 1, 2), (X,)),
    "block_diag": (lambda x, y: hp.block_diag(x, y, 2.0), lambda x, y: _blocks(x, y, 2.0), (Y, Z)),
    "vander": (lambda x: hp.vander(x, 4), lambda x: np.vander(x, 4), (Z,)),
    "vander increasing": (lambda x: hp.vander(x, increasing=True), lambda x: np.vander(x, increasing=True), (Z,)),
    "vander empty": (lambda x: hp.vander(x, 0), lambda x: np.vander(x, 0), (Z,)),
    "cov": (hp.cov, np.cov, (Y,)),
    "cov vector": (hp.cov, np.cov, (Z,)),
    "cov weights": (
        lambda x: hp.cov(x, correction=0, fweights=[1, 2, 3], aweights=[0.5, 1.0, 0.25]),
        lambda x: np.cov(x, ddof=0, fweights=[1, 2, 3], aweights=[0.5, 1.0, 0.25]), (normal(4, 3),),
    ),
    "cov fweights": (lambda x: hp.cov(x, fweights=[1, 2, 3]), lambda x: np.cov(x, fweights=[1, 2, 3]), (normal(4, 3),)),
    "corrcoef": (hp.corrcoef, np.corrcoef, (normal(3, 6),)),
    "corrcoef complex": (hp.corrcoef, np.corrcoef, (complexes(3, 6),)),
    "cov of one": (hp.cov, np.cov, (complexes(1, 4),)),
    "corrcoef vector": (hp.corrcoef, np.corrcoef, (Z,)),
    "matrix_transpose": (hp.matrix_transpose, np.matrix_transpose, (X,)),
}


def _blocks(*arrays):
    import scipy.linalg
    return scipy.linalg.block_diag(*arrays)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_as_numpy(name):
    mine, theirs, arrays = PRODUCTS[name]
    out = mine(*arrays)
    expected = np.asarray(theirs(*arrays))
    assert out.shape == expected.shape
    # NumPy's cov forms float64 weights whatever their dtype here; ours are float32 lists: 1e-6 there, rounding elsewhere.
    np.testing.assert_allclose(out.data, expected, rtol=1e-6 if "weights" in name else 1e-12, atol=1e-13)
    if out.size:
        dot_test(mine, tuple(arrays), tolerance=1e-11)


WRONG = {
    "matmul number": (lambda: hp.matmul(2.0, np.ones((2, 2))), ShapeError, "at least one axis"),
    "matmul": (lambda: hp.matmul(np.ones((2, 3)), np.ones((2, 3))), ShapeError, "must agree"),
    "matmul leading": (lambda: hp.matmul(np.ones((2, 3, 3)), np.ones((4, 3, 3))), ShapeError, "must broadcast"),
    "matrix_transpose": (lambda: hp.matrix_transpose(np.ones(3)), ShapeError, "two axes"),
    "vecdot": (lambda: hp.vecdot(np.ones(3), np.ones(2)), ShapeError, "must agree"),
    "vecdot axis": (lambda: hp.vecdot(np.ones((3, 2)), np.ones(2), axis=-2), ShapeError, "axis=-2"),
    "vecdot leading": (lambda: hp.vecdot(np.ones((3, 2)), np.ones((4, 2))), ShapeError, "must broadcast"),
    "dot": (lambda: hp.dot(np.ones(3), np.ones((2, 2))), ShapeError, "must agree"),
    "vdot": (lambda: hp.vdot(np.ones(3), np.ones(2)), ShapeError, "as many elements"),
    "inner": (lambda: hp.inner(np.ones(3), np.ones(2)), ShapeError, "last axes"),
    "outer": (lambda: hp.outer(np.ones((2, 2)), np.ones(2)), ShapeError, "vectors"),
    "cross": (lambda: hp.cross(np.ones(2), np.ones(2)), ShapeError, "length 3"),
    "cross repeated": (lambda: hp.cross(np.ones(1), np.ones(3)), ShapeError, "length 3"),
    "cross axis": (lambda: hp.cross(np.ones((3, 2)), np.ones((1, 3)), axis=0), ShapeError, "length 3"),
    "cross ranks": (lambda: hp.cross(np.ones((3, 3)), np.ones((1, 3, 3)), axis=1), ShapeError, "count the axis from the last"),
    "multi_dot one": (lambda: hp.multi_dot([np.ones((2, 2))]), InputError, "two or more"),
    "multi_dot": (lambda: hp.multi_dot([np.ones((2, 2)), np.ones((3, 2))]), ShapeError, "as many rows"),
    "multi_dot middle": (lambda: hp.multi_dot([np.ones((2, 2)), np.ones(2), np.ones((2, 2))]), ShapeError, "must be matrices"),
    "diagonal": (lambda: hp.diagonal(np.ones(2)), ShapeError, "two axes"),
    "diagonal axes": (lambda: hp.diagonal(np.ones((2, 2)), axis1=1, axis2=-1), ShapeError, "two different"),
    "diag": (lambda: hp.diag(np.ones((2, 2, 2))), ShapeError, "vector or a matrix"),
    "diag_embed": (lambda: hp.diag_embed(2.0), ShapeError, "must have an axis"),
    "diag_embed axes": (lambda: hp.diag_embed(np.ones(2), axis1=0, axis2=0), ShapeError, "two different"),
    "block_diag": (lambda: hp.block_diag(), InputError, "at least one"),
    "block_diag ranks": (lambda: hp.block_diag(np.ones((2, 2, 2))), ShapeError, "two axes"),
    "vander": (lambda: hp.vander(2.0), ShapeError, "must have an axis"),
    "vander n": (lambda: hp.vander(np.ones(2), -1), InputError, "0 or more"),
    "cov": (lambda: hp.cov(np.ones((2, 2, 2))), ShapeError, "observations"),
    "cov ints": (lambda: hp.cov(np.ones((2, 2), int)), DtypeError, "float32"),
    "cov weights": (lambda: hp.cov(np.ones((2, 3)), fweights=np.ones(2)), ShapeError, "one per observation"),
    "tensordot": (lambda: hp.tensordot(np.ones((2, 3)), np.ones((2, 3)), 1), ShapeError, "paired axes must agree"),
    "tensordot number": (lambda: hp.tensordot(np.ones(2), np.ones(2), 2), ShapeError, "between 0 and 1"),
    "tensordot negative": (lambda: hp.tensordot(np.ones(2), np.ones(2), -1), ShapeError, "between 0 and 1"),
    "tensordot three": (lambda: hp.tensordot(np.ones(2), np.ones(2), (0, 0, 0)), InputError, "pair of sequences"),
    "tensordot unequal": (lambda: hp.tensordot(np.ones((2, 2)), np.ones(2), ((0, 1), (0,))), InputError, "as many axes"),
    "tensordot twice": (lambda: hp.tensordot(np.ones((2, 2)), np.ones((2, 2)), ((0, 0), (0, 1))), InputError, "each once"),
    "tensordot text": (lambda: hp.tensordot(np.ones(2), np.ones(2), "i"), InputError, "pair of sequences"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_of_products(name):
    call, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        call()
