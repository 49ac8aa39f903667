"""vmap: against loops, nested with itself and with every other transform; what it refuses. Each primitive's batch rule: test_table.py."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, InputError, ShapeError
from tests.autograd.samples import normal


def close(x, y, tolerance=1e-12):
    expected = np.asarray(y.detach() if isinstance(y, hp.Tensor) else y)
    np.testing.assert_allclose(np.asarray(x.detach()), expected, rtol=tolerance, atol=tolerance)


def network(w, x):
    """A small network with data of one example: shape (3,) -> ()."""
    return hp.sum(w["out"] * hp.tanh(w["in"] @ x + w["bias"]))


@pytest.fixture
def weights():
    return {"in": hp.asarray(normal(4, 3)), "bias": hp.asarray(normal(4)), "out": hp.asarray(normal(4))}


def test_gradients_of_each_example(weights):
    xs = hp.asarray(normal(5, 3))
    each = hp.vmap(hp.grad(network), (None, 0))(weights, xs)
    for i in range(5):
        alone = hp.grad(network)(weights, xs[i])
        for name in weights:
            close(each[name][i], alone[name])


def test_gradient_of_a_batched_loss_is_the_sum(weights):
    xs = hp.asarray(normal(5, 3))
    whole = hp.grad(lambda w: hp.sum(hp.vmap(network, (None, 0))(w, xs)))(weights)
    each = hp.vmap(hp.grad(network), (None, 0))(weights, xs)
    for name in weights:
        close(whole[name], hp.sum(each[name], axis=0))


@pytest.mark.parametrize("transform", [
    lambda f: hp.grad(f), lambda f: hp.grad(hp.grad(f)), lambda f: lambda x: hp.jvp(f, (x,), (1.5,))[1],
    lambda f: lambda x: hp.hvp(f, (x,), (0.5,))[0], lambda f: lambda x: hp.jet(f, (x,), (2.0,), 3)[3],
    lambda f: lambda x: hp.linearize(f, x)[1](1.0), lambda f: hp.jacobian(hp.grad(f)), lambda f: hp.checkpoint(hp.grad(f)),
    lambda f: hp.grad(hp.checkpoint(f)), lambda f: lambda x: hp.vjp(f, x)[1](2.0)[0],
])
def test_vmap_of_a_transform_is_the_transform_of_each_example(transform):
    def function(x):
        return hp.sin(x) * hp.exp(x * 0.5) / (1.0 + x * x)

    xs = hp.asarray(normal(4))
    close(hp.vmap(transform(function))(xs), hp.stack([transform(function)(xs[i]) for i in range(4)]))


@pytest.mark.parametrize("transform", [
    lambda f, x, u: hp.vjp(f, x)[1](u)[0], lambda f, x, u: hp.jvp(f, (x,), (u,))[1], lambda f, x, u: hp.jet(f, (x,), (u,), 2)[2],
    lambda f, x, u: hp.grad(lambda y: hp.sum(f(y) * u))(x),
])
def test_a_transform_of_vmap_is_that_of_the_loop(transform):
    def function(x):
        return hp.sum(hp.sin(x)) * x

    def looped(xs):
        return hp.stack([function(xs[i]) for i in range(4)])

    xs, us = hp.asarray(normal(4, 3)), hp.asarray(normal(4, 3))
    close(transform(hp.vmap(function), xs, us), transform(looped, xs, us))


def test_vmaps_nest():
    x, y = hp.asarray(normal(3)), hp.asarray(normal(4))
    close(hp.vmap(hp.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x, y), np.outer(x.data, y.data))
    close(hp.vmap(hp.vmap(lambda a, b: a * b, (0, None)), (None, 0))(x, y), np.outer(y.data, x.data))


def test_nested_vmap_with_a_gradient_between():
    m, x = hp.asarray(normal(2, 3, 3)), hp.asarray(normal(4, 3))

    def energy(matrix, v):
        return v @ matrix @ v

    found = hp.vmap(lambda matrix: hp.vmap(hp.grad(energy, 1), (None, 0))(matrix, x))(m)
    expected = np.einsum("mij,bj->mbi", m.data + m.data.transpose(0, 2, 1), x.data)
    close(found, expected)


def test_a_jacobian_inside_vmap_pulls_back_a_batch_through_a_batch():
    xs = hp.asarray(normal(4, 3))
    for forward in (True, False):
        found = hp.vmap(hp.jacobian(lambda x: hp.sin(x) * hp.sum(x), forward=forward))(xs)
        for i in range(4):
            x = xs.data[i]
            close(found[i], np.diag(np.cos(x) * x.sum()) + np.sin(x)[:, None])


def test_a_tensor_with_requires_grad_used_inside():
    w = hp.asarray(normal(3), requires_grad=True)
    xs = hp.asarray(normal(5, 3))
    hp.sum(hp.vmap(lambda x: hp.sin(hp.sum(w * x)))(xs)).backward()
    expected = (np.cos(xs.data @ w.data)[:, None] * xs.data).sum(axis=0)
    close(w.grad, expected)


def test_axes_in_and_out():
    x = hp.asarray(normal(3, 4, 5))
    close(hp.vmap(lambda a: a.T, in_axes=1, out_axes=-1)(x), x.data.transpose(2, 0, 1))
    close(hp.vmap(lambda a: a.T, in_axes=-1, out_axes=2)(x), x.data.transpose(1, 0, 2))
    tree = {"a": hp.asarray(normal(2, 3)), "b": [hp.asarray(normal(3)), hp.asarray(1.0)]}
    found = hp.vmap(lambda t: {"sum": hp.sum(t["a"]) + t["b"][0] + t["b"][1], "same": t["b"][1]}, ({"a": 1, "b": [0, None]},))(tree)
    close(found["sum"], tree["a"].data.sum(axis=0) + tree["b"][0].data + 1.0, 1e-6)
    assert found["same"].shape == (3,)


def test_indices_that_differ_between_examples():
    x, i = hp.asarray(normal(4, 5)), hp.asarray(np.array([2, 0, 4, 1]))
    rows = np.arange(4)
    close(hp.vmap(lambda a, k: a[k])(x, i), x.data[rows, i.data])
    close(hp.vmap(lambda a, k: a[k, None], (None, 0))(x, i[:3] % 4), x.data[i.data[:3] % 4][:, None])
    close(hp.vmap(hp.grad(lambda a, k: a[k] ** 2))(x, i), 2.0 * np.where(np.arange(5) == i.data[:, None], x.data, 0.0))


def test_each_example_is_computed_on_its_own_shape():
    seen = []

    def look(x):
        seen.append((x.shape, x.ndim, x.dtype, x.size, x.device, x.requires_grad))
        return x

    hp.vmap(look)(hp.asarray(normal(4, 2, 3)))
    assert seen == [((2, 3), 2, np.float64, 6, "cpu", False)]


@pytest.mark.parametrize(("use", "message"), [
    (lambda x: x if x > 0 else -x, "the value of a Tensor of shape"), (lambda x: hp.asarray(float(x)), "the value of a Tensor"),
    (lambda x: hp.asarray(x.numpy()), "one of many examples"), (lambda x: hp.stack([x, x])[hp.stack([x, x]) > 0], "mask"),
])
def test_values_of_an_example_are_refused(use, message):
    with pytest.raises(InputError, match=message):
        hp.vmap(use)(hp.asarray(normal(4)))


def test_what_does_not_fit_is_refused():
    x = hp.asarray(normal(4, 2))
    with pytest.raises(ShapeError, match="the numbers must agree"):
        hp.vmap(lambda a, b: a)(x, hp.asarray(normal(3)))
    with pytest.raises(ShapeError, match="names axis 2"):
        hp.vmap(lambda a: a, 2)(x)
    with pytest.raises(InputError, match="at least one must have examples"):
        hp.vmap(lambda a: a, (None,))(x)
    with pytest.raises(InputError, match=r"one entry .* for each of the 2"):
        hp.vmap(lambda a, b: a, (0,))(x, x)
    with pytest.raises(ShapeError, match="out_axes names axis 5"):
        hp.vmap(lambda a: a, out_axes=5)(x)
    with pytest.raises(InputError, match="give a Tensor, array or number"):
        hp.vmap(lambda a, b: a)(x, "text")


def test_the_result_of_no_example_is_repeated():
    close(hp.vmap(lambda x: hp.asarray(2.0))(hp.asarray(normal(3))), np.full(3, 2.0))


def test_a_jacobian_between_real_and_complex_takes_the_sweep_that_is_right():
    a = normal(2, 5) + 1j * normal(2, 5)
    found = hp.jacobian(lambda x: hp.asarray(a) @ hp.astype(x, "complex128"))(hp.asarray(normal(5)))
    close(found, a)
    with pytest.raises(DtypeError, match="use forward=True"):
        hp.jacobian(lambda x: hp.astype(x, "complex128"), forward=False)(hp.asarray(normal(2)))
    with pytest.raises(DtypeError, match="use forward=False"):
        hp.jacobian(lambda x: hp.real(x), forward=True)(hp.asarray(normal(2) + 0j))
