"""Operations made of functions: checkpoint, custom, linear_solve, root_solve, fixed_point."""

import math

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import ConvergenceError, GraphError, HyperionError, ShapeError
from tests.autograd.samples import normal


def f64(x):
    return hp.asarray(x, dtype="float64")


# checkpoint

def layer(w, x):
    return hp.tanh(w @ x) * hp.sin(x)


def test_a_checkpoint_changes_no_derivative():
    w, x = f64(normal(3, 3)), f64(normal(3))
    kept = hp.checkpoint(layer)

    def loss(f):
        return lambda a, b: hp.sum(f(a, f(a, b)) ** 2)

    for order in (hp.grad, lambda f, n=0: hp.grad(lambda *xs: hp.sum(hp.grad(f, n)(*xs) ** 2), 1), hp.hessian):
        one, other = order(loss(kept), 0)(w, x), order(loss(layer), 0)(w, x)
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        hp.jet(lambda b: kept(w, b), (x,), (x,), 3)[3].data, hp.jet(lambda b: layer(w, b), (x,), (x,), 3)[3].data, rtol=1e-11, atol=1e-12
    )


def test_a_checkpoint_differentiates_what_it_uses_from_outside():
    w = hp.asarray(normal(3, 3), requires_grad=True)
    x = f64(normal(3))
    hp.sum(hp.checkpoint(lambda y: layer(w, layer(w * 2.0, y)))(x)).backward()
    expected = hp.grad(lambda a: hp.sum(layer(a, layer(a * 2.0, x))))(w.detach())
    np.testing.assert_allclose(w.grad.data, expected.data, rtol=1e-12)
    np.testing.assert_allclose(
        hp.grad(lambda a: hp.sum(hp.checkpoint(lambda y: layer(a, y))(x)))(w.detach()).data,
        hp.grad(lambda a: hp.sum(layer(a, x)))(w.detach()).data, rtol=1e-12)


def test_a_checkpoint_keeps_only_its_inputs():
    alive = []

    def body(x):
        for _ in range(10):
            x = hp.sin(x)
            alive.append(x.data)
        return x

    import weakref

    x = hp.asarray(normal(100), requires_grad=True)
    y = hp.checkpoint(body)(x)
    kept = [weakref.ref(array) for array in alive[:-1]]
    alive.clear()
    assert all(ref() is None for ref in kept)
    y = hp.sum(y)
    y.backward()
    expected = hp.grad(lambda a: hp.sum(body(a)))(x.detach())
    np.testing.assert_allclose(x.grad.data, expected.data, rtol=1e-12)


def test_a_checkpoint_draws_the_same_random_numbers_again():
    generator = hp.random.Generator(3)
    masks = []

    def dropped(x):
        masks.append(generator.uniform(x.shape, dtype="float64"))
        return hp.sum(x * x * masks[-1])

    x = f64(normal(4))
    g = hp.grad(hp.checkpoint(dropped))(x)
    assert len(masks) == 2 and (masks[0].data == masks[1].data).all()
    np.testing.assert_allclose(g.data, 2.0 * x.data * masks[0].data, rtol=1e-13)


# custom

def test_custom_rules_replace_those_of_the_function():
    straight = hp.custom(lambda x: hp.sign(x), vjp=lambda g, out, x: (g,), jvp=lambda t, out, x: t[0])     # a straight-through estimator
    x = f64(normal(3))
    np.testing.assert_array_equal(hp.grad(lambda a: hp.sum(straight(a) * 3.0))(x).data, np.full(3, 3.0))
    np.testing.assert_array_equal(hp.jvp(straight, (x,), (x,))[1].data, x.data)
    np.testing.assert_array_equal(hp.vmap(hp.grad(straight))(x).data, np.ones(3))


def test_custom_of_several_outputs_and_parameters():
    both = hp.custom(
        lambda x, power: (x ** power, 2.0 * x), outputs=2,
        vjp=lambda g, out, x, power: ((0.0 if g[0] is None else g[0] * power * x ** (power - 1)) + (0.0 if g[1] is None else 2.0 * g[1]),),
    )
    x = f64(normal(3))
    np.testing.assert_allclose(hp.grad(lambda a: hp.sum(both(a, power=3)[0]))(x).data, 3 * x.data ** 2, rtol=1e-13)
    np.testing.assert_allclose(hp.grad(lambda a: hp.sum(both(a, power=3)[1]))(x).data, np.full(3, 2.0))
    with pytest.raises(GraphError, match="has no jvp rule"):
        hp.jvp(lambda a: both(a, power=3)[0], (x,), (x,))


# implicit

def spd(n):
    a = normal(n, n)
    return a @ a.T + n * np.eye(n)


@pytest.mark.parametrize("method", [None, hp.GMRES(restart=3), hp.CG()])
def test_a_linear_solve_and_its_derivatives_are_those_of_the_dense_solve(method):
    a, b = f64(spd(5)), f64(normal(5))

    def free(m, v):
        return hp.linear_solve(lambda x: m @ x, v, method)

    def dense(m, v):
        return hp.linalg.solve(m, v)

    np.testing.assert_allclose(free(a, b).data, dense(a, b).data, rtol=1e-10)
    symmetric = f64(normal(5, 5))
    symmetric = symmetric + symmetric.T
    for argnum in (0, 1):
        one = hp.grad(lambda m, v: hp.sum(free(m, v) ** 3), argnum)(a, b)
        other = hp.grad(lambda m, v: hp.sum(dense(m, v) ** 3), argnum)(a, b)
        np.testing.assert_allclose(one.data, other.data, rtol=1e-8, atol=1e-12)
    one = hp.hvp(lambda m: hp.sum(free(m, b) ** 3), (a,), (symmetric,))[0]
    other = hp.hvp(lambda m: hp.sum(dense(m, b) ** 3), (a,), (symmetric,))[0]
    np.testing.assert_allclose(one.data, other.data, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(hp.jvp(lambda m: free(m, b), (a,), (symmetric,))[1].data,
                               hp.jvp(lambda m: dense(m, b), (a,), (symmetric,))[1].data, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(hp.jet(lambda m: free(m, b), (a,), (symmetric,), 3)[3].data,
                               hp.jet(lambda m: dense(m, b), (a,), (symmetric,), 3)[3].data, rtol=1e-6, atol=1e-11)


def test_an_unsymmetric_system_with_a_tree_of_unknowns():
    a, c = f64(normal(3, 3) + 4 * np.eye(3)), f64(normal(3, 2))
    b = {"u": f64(normal(3)), "v": [f64(normal(2))]}

    def multiply(x):
        return {"u": a @ x["u"] + c @ x["v"][0], "v": [2.0 * x["v"][0]]}

    x = hp.linear_solve(multiply, b)
    again = multiply(x)
    np.testing.assert_allclose(again["u"].data, b["u"].data, rtol=1e-11)
    np.testing.assert_allclose(again["v"][0].data, b["v"][0].data, rtol=1e-11)


def test_solves_in_vmap():
    matrices, b = f64(np.stack([spd(4) for _ in range(3)])), f64(normal(3, 4))
    found = hp.vmap(lambda m, v: hp.linear_solve(lambda x: m @ x, v))(matrices, b)
    np.testing.assert_allclose(found.data, np.linalg.solve(matrices.data, b.data[..., None])[..., 0], rtol=1e-9)
    gradient = hp.vmap(hp.grad(lambda m, v: hp.sum(hp.linear_solve(lambda x: m @ x, v))))(matrices, b)
    for i in range(3):
        alone = hp.grad(lambda m, i=i: hp.sum(hp.linalg.solve(m, b[i])))(matrices[i])
        np.testing.assert_allclose(gradient[i].data, alone.data, rtol=1e-8, atol=1e-12)


def test_a_complex_system():
    a = hp.asarray(normal(4, 4) + 1j * normal(4, 4) + 4 * np.eye(4))
    b = hp.asarray(normal(4) + 1j * normal(4))
    x = hp.linear_solve(lambda v: a @ v, b)
    np.testing.assert_allclose(x.data, np.linalg.solve(a.data, b.data), rtol=1e-10)
    one = hp.grad(lambda m: hp.sum(hp.abs(hp.linear_solve(lambda v: m @ v, b)) ** 2))(a)
    other = hp.grad(lambda m: hp.sum(hp.abs(hp.linalg.solve(m, b)) ** 2))(a)
    np.testing.assert_allclose(one.data, other.data, rtol=1e-8, atol=1e-12)


def test_a_root_and_its_derivatives():
    def root(a):
        return hp.root_solve(lambda x: x ** 3 + a * x - 2.0, f64(1.0))

    a = 1.5
    x = float(root(f64(a)))
    assert abs(x ** 3 + a * x - 2.0) < 1e-12
    first = -x / (3 * x * x + a)                                    # from x' (3 x^2 + a) + x = 0
    second = -(6 * x * first ** 2 + 2 * first) / (3 * x * x + a)    # from its derivative
    np.testing.assert_allclose(float(hp.grad(root)(f64(a))), first, rtol=1e-11)
    np.testing.assert_allclose(float(hp.grad(hp.grad(root))(f64(a))), second, rtol=1e-10)
    np.testing.assert_allclose(float(hp.jet(root, (f64(a),), (f64(1.0),), 2)[2]), second, rtol=1e-10)
    np.testing.assert_allclose(hp.vmap(hp.grad(root))(f64([a, a])).data, [first, first], rtol=1e-10)


def test_a_system_of_equations():
    def equations(p):
        return lambda t: {"x": t["x"] ** 2 + t["y"] ** 2 - p[0], "y": t["x"] - p[1] * t["y"]}

    found = hp.root_solve(equations(f64([4.0, 1.0])), {"x": f64(1.0), "y": f64(0.5)})
    np.testing.assert_allclose([float(found["x"]), float(found["y"])], [math.sqrt(2.0)] * 2, rtol=1e-12)
    g = hp.grad(lambda p: hp.root_solve(equations(p), {"x": f64(1.0), "y": f64(0.5)})["x"])(f64([4.0, 1.0]))
    np.testing.assert_allclose(g.data, [1.0 / (4.0 * math.sqrt(2.0)), math.sqrt(2.0) / 2.0], rtol=1e-10)


@pytest.mark.parametrize("method", [None, hp.Newton()])
def test_a_fixed_point(method):
    def point(a):
        return hp.fixed_point(lambda x: hp.cos(a * x), f64(0.5), method)

    x = float(point(f64(0.9)))
    assert abs(math.cos(0.9 * x) - x) < 1e-11
    s = math.sin(0.9 * x)
    np.testing.assert_allclose(float(hp.grad(point)(f64(0.9))), -s * x / (1.0 + 0.9 * s), rtol=1e-9)


def test_what_does_not_converge_says_so():
    with pytest.raises(ConvergenceError, match="positive definite"):
        hp.linear_solve(lambda x: -x, f64([1.0, 2.0]), hp.CG())
    with pytest.raises(ConvergenceError, match="GMRES"):
        hp.linear_solve(lambda x: x * f64([1.0, 0.0]), f64([1.0, 1.0]))
    with pytest.raises(ConvergenceError, match="Newton"):
        hp.root_solve(lambda x: x * x + 1.0, f64(1.0))
    with pytest.raises(ConvergenceError, match="contraction"):
        hp.fixed_point(lambda x: 3.0 * x + 1.0, f64(1.0))
    with pytest.raises(ShapeError, match="the unknown has"):
        hp.linear_solve(lambda x: hp.stack([x, x]), f64([1.0, 2.0]))


# what a function means later

def test_functions_made_in_a_loop_keep_the_variables_they_were_made_with():
    weights = [f64(2.0), f64(5.0)]

    def looped(wrap):
        def function(x):
            for w in weights:
                x = wrap(lambda y: hp.sin(y * w))(x)        # noqa: B023, the point of the test
            return x
        return function

    np.testing.assert_allclose(hp.grad(looped(hp.checkpoint))(f64(0.3)).data, hp.grad(looped(lambda f: f))(f64(0.3)).data, rtol=1e-14)

    def steps(u):
        for dt in (0.1, 0.5):
            u = hp.linear_solve(lambda v: v * (1.0 + dt), u)        # noqa: B023
        return hp.sum(u)

    np.testing.assert_allclose(hp.grad(steps)(f64([1.0, 2.0])).data, np.full(2, 1.0 / 1.65), rtol=1e-12)


def test_implicit_euler_written_as_everyone_writes_it():
    def euler(u):
        for _ in range(3):
            u = hp.root_solve(lambda v: v - u + 0.1 * v ** 3, u)        # noqa: B023
        return hp.sum(u)

    u = np.array([1.0, 2.0])
    h = 1e-6
    difference = [float(euler(f64(u + h * e)) - euler(f64(u - h * e))) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(hp.grad(euler)(f64(u)).data, difference, rtol=1e-8)
    np.testing.assert_allclose(float(hp.jvp(euler, (f64(u),), (f64([1.0, 1.0]),))[1]), sum(difference), rtol=1e-8)


def test_a_module_variable_is_kept_too():
    names = {"hp": hp, "x": hp.asarray(2.0, requires_grad=True)}
    exec("out = x\nfor w in (2.0, 3.0):\n    out = hp.checkpoint(lambda y: y * w)(out)\nout.backward()", names)
    assert float(names["x"].grad) == 6.0


def test_variables_that_the_function_rebinds_stay_shared():
    count = 0

    def counted(x):
        nonlocal count
        count += 1
        return hp.sin(x)

    hp.grad(hp.checkpoint(counted))(f64(0.5))
    assert count == 2


@pytest.mark.parametrize("use", [
    lambda a: hp.checkpoint(lambda x: hp.sum(x * a)), lambda a: lambda x: hp.sum(hp.linear_solve(lambda v: v * a, x)),
    lambda a: lambda x: hp.sum(hp.root_solve(lambda v: v * a - x, x)),
])
def test_what_was_changed_in_place_since_is_noticed(use):
    a, x = np.array([2.0]), hp.asarray(np.array([1.0]), requires_grad=True)
    y = use(a)(x)
    a[:] = 100.0
    with pytest.raises(GraphError, match="changed in place since"):
        y.backward()


def test_the_output_of_one_checkpoint_in_the_closure_of_another():
    def function(x):
        a = hp.checkpoint(hp.sin)(x)
        return hp.sum(hp.checkpoint(lambda y: y * a)(x) + hp.linear_solve(lambda v: v * (2.0 + a), x))

    def plain(x):
        return hp.sum(x * hp.sin(x) + x / (2.0 + hp.sin(x)))

    x = f64([0.3, 0.7])
    np.testing.assert_allclose(hp.grad(function)(x).data, hp.grad(plain)(x).data, rtol=1e-11)


@pytest.mark.parametrize("use", [
    lambda: hp.linear_solve(lambda x: 2 * x, np.arange(3)), lambda: hp.linear_solve(lambda x: x, f64([1.0]), "cg"),
    lambda: hp.CG(tolerance=-1.0),
    lambda: hp.GMRES(restart=0), lambda: hp.Newton(iterations="a"), lambda: hp.root_solve(lambda x: x, 1),
])
def test_wrong_arguments_of_the_solvers(use):
    with pytest.raises(HyperionError):
        use()


def test_nan_in_a_system_says_so():
    with pytest.raises(ConvergenceError, match="NaN"):
        hp.linear_solve(lambda x: x * float("nan"), f64([1.0, 2.0]))
    with pytest.raises(ConvergenceError, match="NaN"):
        hp.linear_solve(lambda x: x, f64([1.0, float("nan")]))
