"""Taylor mode along several directions: the fast ways (stacks, kernels, chains) against the plain one, and mixed derivatives."""

import gc
import itertools
import math
import warnings

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, Tensor, elementwise, fans
from hyperion.autograd.ops import taylor
from hyperion.cpu import find_compiler
from hyperion.errors import CompilerError, InputError, ShapeError, SpeedWarning, TreeError
from tests.autograd.samples import normal

NATIVE = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
NEVER = 1 << 60
POINTS = 150                        # more than two blocks, the last one not full
ALONG = [(np.array([1.0, 0.0]),), (np.array([0.3, 1.0]),), (np.array([0.0, -2.0]),)]

# Every elementwise function of one variable that a network may use. Shifted where it is not defined on both sides of 0.
ACTIVATIONS = {
    "tanh": hp.tanh, "sin": hp.sin, "cos": lambda x: hp.cos(3.0 * x), "exp": hp.exp, "sigmoid": hp.sigmoid, "silu": hp.silu,
    "gelu": hp.gelu, "gelu by tanh": lambda x: hp.gelu(x, approximate=True), "softplus": hp.softplus, "mish": hp.mish,
    "logsigmoid": hp.logsigmoid, "softsign": hp.softsign, "tanhshrink": hp.tanhshrink, "elu": hp.elu, "relu": hp.relu,
    "leaky_relu": hp.leaky_relu, "square": hp.square, "cube": lambda x: x ** 3, "inverse square": lambda x: (x + 20.0) ** -2,
    "log": lambda x: hp.log(x + 20.0), "log1p": lambda x: hp.log1p(x + 19.0), "expm1": hp.expm1, "sqrt": lambda x: hp.sqrt(x + 20.0),
    "reciprocal": lambda x: 1.0 / (x + 20.0), "ndtr": lambda x: PRIMITIVES["ndtr"](x), "abs": hp.abs, "product": lambda x: x * hp.sin(x),
    "quotient": lambda x: hp.tanh(x) / (x + 20.0), "arctangent": hp.atan,
}


def ways(monkeypatch):
    """Choose in turn the plain way, stacks, and chains; yields their names."""
    for name, stacked, points in (("plain", NEVER, NEVER), ("stacks", 1, NEVER), ("chains", 1, 1)):
        monkeypatch.setattr(fans, "STACKED", stacked)
        monkeypatch.setattr(fans, "POINTS", points)
        yield name


def layers(dtype, *sizes):
    return [hp.asarray((normal(b, a) * 0.7).astype(dtype), requires_grad=True) for a, b in itertools.pairwise(sizes)]


def bias(dtype, *sizes):
    return [hp.asarray(normal(b).astype(dtype), requires_grad=True) for b in sizes]


def agree(found, expected, tolerance):
    for one, two in zip(found, expected, strict=True):
        size = max(1.0, float(np.max(np.abs(two))))
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * size)


FEW = ("tanh", "sin", "gelu", "log")
CASES = [(name, "float64") for name in ACTIVATIONS] + [(name, "float32") for name in FEW]


@NATIVE
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_stacks_and_chains_are_as_the_plain_way_with_all_gradients(name, dtype, monkeypatch):
    activation = ACTIVATIONS[name]
    (w, v, last), (a, b) = layers(dtype, 2, 5, 6, 1), bias(dtype, 5, 6)
    x = hp.asarray(np.random.default_rng(5).uniform(-1, 1, (POINTS, 2)).astype(dtype), requires_grad=True)
    along = [(hp.asarray(d.astype(dtype), requires_grad=True),) for (d,) in ALONG]
    orders = (4, 1, 2) if dtype == "float64" else (2, 1, 1)
    leaves = [x, w, v, last, a, b, *(d for d, in along)]

    def network(points):
        return hp.affine(activation(hp.affine(activation(hp.affine(points, w, a)), v, b)), last)

    results = {}
    for way in ways(monkeypatch):
        if way == "stacks" and name not in FEW:         # the formula is that of the chain, and each takes a compilation
            continue
        terms = [term for several in hp.jets(network, (x,), along, orders) for term in several]
        loss = sum((hp.mean(term * term * 0.1 ** k) + hp.mean(term)) for k, term in enumerate(terms))
        loss.backward()
        results[way] = [*(term.detach().numpy() for term in terms), *(leaf.grad.numpy() for leaf in leaves)]
        for leaf in leaves:
            leaf.grad = None
    # Sums of 150 products whose terms reach some 100 times the result.
    tolerance = 1e4 * np.finfo(dtype).eps
    for way in results:
        agree(results[way], results["plain"], tolerance)


@NATIVE
def test_a_chain_is_found_and_is_one_operation(monkeypatch):
    names = []
    whole = hp.autograd.table.Primitive.__call__

    def seen(self, *inputs, **params):
        names.append(self.name)
        return whole(self, *inputs, **params)

    net = hp.nn.MLP([2, 8, 8, 8, 1], dtype="float64")
    x = normal(fans.POINTS, 2)
    assert taylor.has_text((PRIMITIVES["tanh"], ()), (2, 1))        # made before calls are counted
    monkeypatch.setattr(hp.autograd.table.Primitive, "__call__", seen)
    hp.jets(lambda p: net(p) * (1.0 - p[:, :1] ** 2), (x,), ALONG[:2], (2, 1))
    assert names.count("taylor_chain") == 1
    names.clear()
    monkeypatch.setattr(fans, "STACKED", 512)
    hp.jets(lambda p: hp.tanh(hp.affine(p, normal(8, 2))), (x,), ALONG[:2], (2, 1))
    assert names.count("taylor_map") == 1 and names.count("affine") == 3        # recorded; of all coefficients as a batch, and as rows


# Networks that are no plain chain.
W, V, L = (normal(*shape) * 0.5 for shape in ((6, 2), (6, 6), (1, 6)))
NETWORKS = {
    "constraint": lambda x: hp.affine(hp.tanh(hp.affine(x, W)), L) * (1.0 - x[:, :1] ** 2) + hp.sin(x[:, 1:]),
    "input scaled": lambda x: hp.affine(hp.tanh(hp.affine(2.0 * x - 1.0, W)), L),
    "skip": lambda x: hp.affine((h := hp.tanh(hp.affine(x, W))) + hp.tanh(hp.affine(h, V)), L),
    "gates": lambda x: hp.affine((u := hp.tanh(hp.affine(x, W))) * (1.0 - u) + u * hp.sin(hp.affine(u, V)), L),
    "adaptive slope": lambda x: hp.affine(hp.tanh(1.3 * hp.affine(x, W)), L),
    "Fourier features": lambda x: hp.affine(hp.concat([hp.sin(p := hp.affine(x, W)), hp.cos(p)], axis=1), np.tile(L, 2)),
    "two networks": lambda x: hp.affine(hp.tanh(hp.affine(x, W)), L) * hp.affine(hp.sin(hp.affine(x, W)), L),
    "inner result used too": lambda x: (h := hp.affine(hp.tanh(hp.affine(x, W)), V)).sum(axis=1) + hp.tanh(h)[:, 0],
    "no activation": lambda x: hp.affine(hp.tanh(hp.affine(hp.affine(x, W), V)), L),
    "activation last": lambda x: hp.tanh(hp.affine(hp.tanh(hp.affine(x, W)), V)),
    "constant": lambda x: hp.affine(hp.tanh(hp.affine(x * 0.0, W)), L),
    "several outputs": lambda x: hp.stack(hp.split(hp.tanh(hp.affine(hp.tanh(hp.affine(x, W)), V)), 2, axis=1)).sum(axis=0),
    "layers with axes before": lambda x: hp.affine(hp.tanh(hp.affine(x.reshape((5, POINTS // 5, 2)), W)), L).reshape((POINTS, 1)),
    "normalised": lambda x: hp.affine(hp.softmax(hp.affine(hp.tanh(hp.affine(x, W)), V)), L),
    "chosen": lambda x: hp.where(x[:, :1] > 0.0, hp.affine(hp.tanh(hp.affine(x, W)), L), hp.sin(x[:, 1:])),
}


@NATIVE
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_other_forms_are_as_in_the_plain_way(name, monkeypatch):
    x = np.random.default_rng(6).uniform(-1, 1, (POINTS, 2))

    def loss(points):
        terms = hp.jets(NETWORKS[name], (points,), ALONG, (3, 2, 1))
        return sum(hp.mean(hp.sin(term)) for several in terms for term in several), terms

    results = []
    for _ in ways(monkeypatch):
        (_, terms), gradient = hp.value_and_grad(loss, has_aux=True)(hp.asarray(x))
        results.append([*(term.numpy() for several in terms for term in several), gradient.numpy()])
    agree(results[1], results[0], 1e-11)
    agree(results[2], results[0], 1e-11)


@NATIVE
def test_higher_derivatives_of_chains_and_kernels(monkeypatch):
    (w, v), (x, d) = layers("float64", 2, 4, 1), (normal(20, 2), normal(20, 2))

    def loss(weight):
        u, _, u_xx = hp.jet(lambda p: hp.affine(hp.tanh(hp.affine(p, weight)), v.detach()), (x,), (d,), 2)
        return hp.sum(u * u_xx)

    found = [hp.hvp(loss, (w.detach(),), (np.ones(w.shape),))[0].numpy() for _ in ways(monkeypatch)]
    found += [hp.grad(lambda a: hp.sum(hp.grad(loss)(a) ** 2))(w.detach()).numpy() for _ in ways(monkeypatch)]
    agree(found[1:3], found[:1] * 2, 1e-12)
    agree(found[4:], found[3:4] * 2, 1e-12)


@NATIVE
def test_inside_and_around_vmap(monkeypatch):
    many, x = normal(3, 4, 2), normal(20, 2)
    last = normal(1, 4)

    def second(weight, points):
        return hp.jets(lambda p: hp.affine(hp.tanh(hp.affine(p, weight)), last), (points,), ALONG[:2], (2, 1))[0][2]

    for _ in ways(monkeypatch):
        found = hp.vmap(second, (0, None))(many, x)
        np.testing.assert_allclose(found.numpy(), np.stack([second(w, x).numpy() for w in many]), rtol=1e-12, atol=1e-13)
        each = hp.vmap(lambda p: second(many[0], p))(x)         # one point at a time
        np.testing.assert_allclose(each.numpy(), second(many[0], x).numpy(), rtol=1e-12, atol=1e-13)


@NATIVE
def test_threads_change_nothing(monkeypatch):
    net = hp.nn.MLP([2, 20, 20, 1], activation=hp.sin)
    x = np.random.default_rng(7).uniform(-1, 1, (5000, 2)).astype(np.float32)
    found = []
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("HYPERION_THREADS", threads)
        (_, _, u_xx), (_, u_t) = hp.jets(net, (x,), [(d.astype("f4"),) for d, in ALONG[:2]], (2, 1))
        hp.mean(u_xx * u_t).backward()
        found.append([u_xx.detach().numpy().copy(), *(p.grad.numpy().copy() for p in net.parameters())])
        for p in net.parameters():
            p.grad = None
    for one, two, seven in zip(*found, strict=True):
        assert np.array_equal(one, two) and np.array_equal(one, seven)


@NATIVE
def test_points_that_do_not_fill_a_block_meet_no_value_that_is_not_theirs(monkeypatch):
    """At 0, where nobody's points are, this network is infinite."""
    w = hp.asarray(np.eye(2), requires_grad=True)
    for _ in ways(monkeypatch):
        _, slope = hp.jet(lambda p: hp.affine(hp.log(hp.affine(p, w)), np.ones((1, 2))), (np.ones((5, 2)),), (np.ones((5, 2)),), 1)
        w.grad = None
        slope.sum().backward()
        assert np.isfinite(w.grad.numpy()).all()


@NATIVE
def test_nan_stays_at_its_point(monkeypatch):
    x = np.random.default_rng(8).uniform(-1, 1, (POINTS, 2))
    x[3, 0] = math.nan
    for _ in ways(monkeypatch):
        (u, u_x, u_xx), = hp.jets(NETWORKS["constraint"], (x,), ALONG[:1], 2)
        for term in (u, u_x, u_xx):
            assert np.array_equal(np.flatnonzero(np.isnan(term.numpy()).any(axis=1)), [3])


def test_no_points(monkeypatch):
    for _ in ways(monkeypatch):
        (u, u_x, _), = hp.jets(hp.nn.MLP([2, 4, 1], dtype="float64"), (np.ones((0, 2)),), ALONG[:1], 2)
        assert u.shape == u_x.shape == (0, 1)


@NATIVE
@pytest.mark.parametrize("call", [
    lambda: hp.jets(hp.sin, (1.0,), None, 2), lambda: hp.jets(hp.sin, (1.0,), [(1.0,)], None),
    lambda: hp.derivatives(hp.sin, np.ones((3, 2)), None),
])
def test_what_is_no_sequence(call):
    with pytest.raises(InputError, match=r"directions is a NoneType|orders=None|wanted=None"):
        call()


@pytest.mark.parametrize("points", [100, 300])               # below and above what chains and maps are made for
def test_batches_of_pushes_and_pulls(points):
    second, direction = normal(8, 8), np.array([1.0, 0.5])
    x = np.linspace(-1.0, 1.0, 2 * points).reshape(-1, 2)

    def bent(w):
        return hp.jet(lambda p: hp.affine(hp.tanh(hp.affine(p, w)), second), (x,), (direction,), 2)[2]

    def loss(w):
        return hp.sum(bent(w) ** 2)

    w, v = normal(8, 2), normal(8, 2)
    hessian = hp.hessian(loss)(w).numpy()
    np.testing.assert_allclose(np.tensordot(hessian, v, 2), hp.jvp(hp.grad(loss), (w,), (v,))[1].numpy(), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(np.tensordot(hp.jacobian(bent)(w).numpy(), v, 2), hp.jvp(bent, (w,), (v,))[1].numpy(), rtol=1e-10, atol=1e-9)
    pull = hp.vjp(bent, w)[1]
    cotangents = normal(3, points, 8)
    together = hp.vmap(lambda g: pull(g)[0])(cotangents).numpy()
    np.testing.assert_allclose(together, [pull(g)[0].numpy() for g in cotangents], rtol=1e-10, atol=1e-9)


def test_hooks_behind_a_chain_act():
    weights = [normal(8, 2), normal(8, 8)]
    direction = np.array([1.0, 0.0])

    def gradient(points, factor):
        def layers(p):
            out = hp.affine(hp.tanh(hp.affine(p, weights[0])), weights[1]) * 1.0
            out.register_hook(lambda g: g * factor)
            return out

        x = np.linspace(-1.0, 1.0, 2 * points).reshape(-1, 2)
        return hp.grad(lambda x: hp.sum(hp.sin(hp.jet(layers, (x,), (direction,), 1)[0])))(x)

    for points in (100, 300):               # below and above what a chain is made for
        np.testing.assert_allclose(gradient(points, 2.0).numpy(), 2.0 * gradient(points, 1.0).numpy(), rtol=1e-12)


def test_hooks_on_inner_values_are_kept(monkeypatch):
    seen = []
    w = hp.asarray(W, requires_grad=True)

    def network(x):
        inner = hp.affine(x, w)
        inner.register_hook(lambda g: seen.append(g.shape))
        return hp.affine(hp.tanh(inner), L)

    for _ in ways(monkeypatch):
        seen.clear()
        hp.jets(network, (normal(POINTS, 2),), ALONG[:1], 2)[0][0].sum().backward()
        assert seen == [(POINTS, 6)]


@NATIVE
def test_a_formula_is_whole_also_where_nothing_else_is_recorded(monkeypatch):
    """Comparisons have no derivative and are not recorded in general; inside no_grad nothing is."""
    own = elementwise("own_relu", lambda xp, x: xp.maximum(x, 0.0) + xp.sin(x), lambda out, x: hp.where(x > 0.0, 1.0, 0.0) + hp.cos(x))
    try:
        x = np.linspace(-1.0, 1.0, 20)
        expected = [term.numpy() for term in hp.jet(own, (x,), (np.ones(20),), 2)]
        for _ in ways(monkeypatch):
            with hp.no_grad():
                agree([term.numpy() for term in hp.jet(own, (x,), (np.ones(20),), 2)], expected, 1e-14)
    finally:
        del PRIMITIVES["own_relu"]


def test_an_operation_of_ones_own_without_c_text_is_left_to_the_plain_way(monkeypatch):
    own = elementwise("own_sine", lambda xp, x: np.sin(x), lambda out, x: hp.sqrt(1.0 - out * out), floating=True)
    try:
        assert not taylor.has_text((own, ()), (2,))
        for _ in ways(monkeypatch):
            terms = hp.jet(own, (np.full(5, 0.3),), (np.ones(5),), 2)
            np.testing.assert_allclose(terms[2].numpy(), -np.sin(0.3), rtol=1e-14)
    finally:
        del PRIMITIVES["own_sine"]


def test_without_a_compiler_numpy_serves_with_one_warning(monkeypatch):
    def refuse(*_):
        raise CompilerError("no C compiler found; install one")

    expected = [term.numpy() for term in hp.jet(NETWORKS["skip"], (np.full((4, 2), 0.3),), (np.ones((4, 2)),), 2)]
    monkeypatch.setattr(taylor, "_silent", set())
    monkeypatch.setattr(taylor.native, "map_kernel", refuse)
    monkeypatch.setattr(taylor.native, "chain_kernel", refuse)
    monkeypatch.setattr(fans, "STACKED", 1)
    monkeypatch.setattr(fans, "POINTS", 1)
    with pytest.warns(SpeedWarning, match="several times slower: no C compiler found; install one") as caught:
        found = hp.jet(NETWORKS["skip"], (np.full((4, 2), 0.3),), (np.ones((4, 2)),), 2)
    assert len(caught) == 1
    agree([term.numpy() for term in found], expected, 1e-14)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hp.jet(NETWORKS["no activation"], (np.full((4, 2), 0.3),), (np.ones((4, 2)),), 2)


# The public functions


def test_jets_are_jet_along_each_direction():
    x = normal(4, 2)
    for terms, direction, order in zip(hp.jets(NETWORKS["gates"], (x,), ALONG, (3, 0, 2)), ALONG, (3, 0, 2), strict=True):
        alone = hp.jet(NETWORKS["gates"], (x,), direction, order)
        assert len(terms) == order + 1
        agree([t.numpy() for t in terms], [t.numpy() for t in alone], 1e-14)


def test_one_order_for_all_directions_and_trees():
    point = {"x": hp.asarray(2.0), "t": hp.asarray(3.0)}
    axes = [({"x": 1.0, "t": 0.0},), ({"x": 0.0, "t": 1.0},)]
    along_x, along_t = hp.jets(lambda p: [p["x"] ** 2 * p["t"]], (point,), axes, 2)
    assert [float(term[0]) for term in along_x] == [12.0, 12.0, 6.0]
    assert [float(term[0]) for term in along_t] == [12.0, 4.0, 0.0]


def test_partial_derivatives_pure_and_mixed():
    wanted = [orders for orders in itertools.product(range(4), repeat=3) if sum(orders) <= 4]
    x = np.random.default_rng(9).uniform(0.5, 1.0, (6, 3))
    found = hp.derivatives(lambda p: hp.exp(p[:, 0]) * hp.sin(2.0 * p[:, 1]) * p[:, 2] ** 3, x, wanted)
    assert list(found) == wanted
    for i, j, k in wanted:
        exact = (np.exp(x[:, 0]) * 2.0 ** j * np.sin(2.0 * x[:, 1] + j * np.pi / 2.0) * math.perm(3, k) * x[:, 2] ** (3 - k))
        # Mixed ones are differences of terms that are up to 100 times larger.
        np.testing.assert_allclose(found[i, j, k].numpy(), exact, rtol=1e-12, atol=1e-11)


def test_partial_derivatives_take_few_directions(monkeypatch):
    seen = []
    monkeypatch.setattr(hp.autograd.derivatives.__globals__["Fan"], "__init__", _recording(fans.Fan.__init__, seen))
    hp.derivatives(lambda p: p[:, :1] ** 2 * p[:, 1:], normal(3, 2), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)])
    assert seen == [(2, 1, 2, 2)]           # x, t, and between them x + t and x - t


def _recording(method, seen):
    def recorded(self, inputs, seeds, orders):
        seen.append(tuple(orders))
        method(self, inputs, seeds, orders)

    return recorded


def test_partial_derivatives_are_differentiable():
    a = hp.asarray(1.5, dtype="float64", requires_grad=True)
    d = hp.derivatives(lambda p: hp.sin(a * p[:, 0]) * p[:, 1], np.array([[0.4, 2.0]]), [(1, 1)])
    d[1, 1].sum().backward()                # d/da of a cos(a x)
    np.testing.assert_allclose(float(a.grad), math.cos(0.6) - 0.6 * math.sin(0.6), rtol=1e-13)


def test_what_does_not_fit_is_refused():
    x, d = normal(3, 2), (np.ones(2),)
    with pytest.raises(InputError, match="directions is empty"):
        hp.jets(hp.sin, (x,), [], 1)
    with pytest.raises(InputError, match="1 numbers for 2 directions"):
        hp.jets(hp.sin, (x,), [d, d], (1,))
    with pytest.raises(InputError, match=r"orders\[1\]=-1"):
        hp.jets(hp.sin, (x,), [d, d], (1, -1))
    with pytest.raises(InputError, match=r"orders\[0\]=2\.5"):
        hp.jets(hp.sin, (x,), [d], [2.5])
    with pytest.raises(InputError, match=r"directions\[0\] is a ndarray; it must be a tuple"):
        hp.jets(hp.sin, (x,), [d[0]], 1)
    with pytest.raises(ShapeError, match=r"directions.* has shape \(3,\)"):
        hp.jets(hp.sin, (x,), [(np.ones(3),)], 1)
    with pytest.raises(TreeError, match="directions"):
        hp.jets(hp.sin, (x,), [([1.0, 0.0],)], 1)
    with pytest.raises(ShapeError, match="must hold the coordinates"):
        hp.derivatives(hp.sin, 1.0, [(0,)])
    with pytest.raises(InputError, match="wanted is empty"):
        hp.derivatives(hp.sin, x, [])
    for orders in ((1,), (1, -1), (1, 1.5), 2):
        with pytest.raises(InputError, match="tuple of 2 whole numbers"):
            hp.derivatives(hp.sin, x, [orders])


@NATIVE
def test_it_makes_no_cycles(monkeypatch):
    net = hp.nn.MLP([2, 8, 8, 1])
    x = np.ones((fans.POINTS, 2), np.float32)
    hp.jets(net, (x,), [(np.array([1.0, 0.0], np.float32),)], 2)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(5):
            hp.jets(lambda p: net(p) * hp.tanh(p), (x,), [(np.array([1.0, 0.0], np.float32),)], 2)
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert grown < 50


def test_a_result_that_depends_on_nothing_outside_has_no_graph(monkeypatch):
    for _ in ways(monkeypatch):
        for term in hp.jet(NETWORKS["constraint"], (normal(POINTS, 2),), (np.ones((POINTS, 2)),), 2):
            assert isinstance(term, Tensor) and not term.requires_grad
