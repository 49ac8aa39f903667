"""Networks of single points: the native primitive against the same said by operations, its derivatives, and refused layers."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.ops import modes as mode_ops
from hyperion.cpu import find_compiler, pointwise
from hyperion.errors import DtypeError, InputError, ShapeError

NATIVE = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
NEVER = 1 << 60
# kept, space: tiles within rows, several tiles a row, rows too narrow for tiles, too many frequencies for products
SPACES = [((5,), (64,)), ((9,), (250,)), ((4, 3), (3 * 5, 50)), ((2, 3, 4), (3, 5, 97)), ((6, 4), (7, 16)), ((60,), (128,))]


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def given(kept, space, dtype=np.float64, batch=2, channels=3):
    """Return the arrays of a layer of a Fourier neural operator, by name."""
    ones = (1,) * len(space)
    return {
        "x": normal(batch, channels, *space, dtype=dtype), "skip": normal(4, channels, seed=1, dtype=dtype),
        "bias": normal(4, *ones, seed=2, dtype=dtype), "added": normal(batch, 4, *space, seed=3, dtype=dtype),
        "modes": (normal(*kept, batch, 4, seed=4) + 1j * normal(*kept, batch, 4, seed=5)).astype(np.result_type(dtype, np.complex64)),
        "weight": normal(channels, 4, seed=6, dtype=dtype), "gate": normal(channels, *ones, seed=7, dtype=dtype),
    }


def block(arrays, activation=hp.gelu):
    """Return the layer's values."""
    return hp.pointwise_network(arrays["x"], [
        hp.PointLayer(arrays["skip"], arrays["bias"], added=arrays["added"], modes=arrays["modes"], activation=activation),
        hp.PointLayer(arrays["weight"], gate=arrays["gate"], activation=activation),
    ])


def loss(arrays):
    out = block(arrays)
    return hp.sum(out * normal(*out.shape, seed=9))


@pytest.fixture
def threshold(monkeypatch):
    return lambda size: monkeypatch.setattr(pointwise, "THRESHOLD", size)


@NATIVE
@pytest.mark.parametrize("kept, space", SPACES)
def test_the_kernel_and_operations_agree_in_values_and_gradients(kept, space, threshold):
    arrays = {name: hp.asarray(value) for name, value in given(kept, space).items()}
    threshold(1)
    value, gradients = hp.value_and_grad(loss)(arrays)
    again = hp.vjp(loss, arrays)[1](1.0)[0]             # recorded or not, the derivatives are the same
    threshold(NEVER)
    expected, exact = hp.value_and_grad(loss)(arrays)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    for name in arrays:
        np.testing.assert_allclose(gradients[name].numpy(), exact[name].numpy(), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(again[name].numpy(), exact[name].numpy(), rtol=1e-11, atol=1e-11)


@NATIVE
def test_second_derivatives_agree(threshold):
    arrays = {name: hp.asarray(value) for name, value in given((3,), (64,)).items()}
    along = {name: hp.asarray(normal(*value.shape, seed=11)).astype(value.dtype) for name, value in arrays.items()}
    threshold(1)
    found = hp.hvp(loss, (arrays,), (along,))
    threshold(NEVER)
    exact = hp.hvp(loss, (arrays,), (along,))
    for name in arrays:
        np.testing.assert_allclose(found[0][name].numpy(), exact[0][name].numpy(), rtol=1e-10, atol=1e-10)


@NATIVE
@pytest.mark.parametrize("activation", [None, hp.silu, hp.tanh, hp.relu, hp.softplus])
def test_activations_of_the_kernel_and_others_agree(activation, threshold):
    arrays = given((3,), (64,), np.float32)
    threshold(1)
    found = block(arrays, activation)
    threshold(NEVER)
    # Three sums of up to 10 terms of size 1 to 10.
    np.testing.assert_allclose(found.numpy(), block(arrays, activation).numpy(), rtol=1e-5, atol=2e-5)


@NATIVE
def test_inputs_that_need_no_gradient_get_none_and_batches_take_operations(threshold):
    threshold(1)
    arrays = {name: hp.asarray(value) for name, value in given((3,), (64,)).items()}
    for name in arrays:
        gradient = hp.grad(lambda part, name=name: loss({**arrays, name: part}))(arrays[name])
        whole = hp.grad(loss)(arrays)[name]
        np.testing.assert_allclose(gradient.numpy(), whole.numpy(), rtol=1e-11, atol=1e-12)
    weights = hp.asarray(normal(3, *arrays["weight"].shape))
    several = hp.vmap(lambda w: block({**arrays, "weight": w}))(weights)
    for i in range(3):
        np.testing.assert_allclose(several[i].numpy(), block({**arrays, "weight": weights[i]}).numpy(), rtol=1e-11, atol=1e-12)


@NATIVE
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("kept, space, lead", [((5,), (64,), (2, 3)), ((9,), (250,), ()), ((4, 3), (15, 50), (7,)),
                                               ((2, 3, 4), (3, 5, 97), (2, 1, 3)), ((4, 3), (4, 4), (3, 2))])
def test_native_transforms_agree_with_products_of_arrays(kept, space, lead, inverse, threshold):
    threshold(1)
    x, y = normal(*lead, *space), normal(*kept, *lead) + 1j * normal(*kept, *lead, seed=1)
    np.testing.assert_allclose(mode_ops._modes(np, x, kept, inverse), mode_ops._modes_by_products(np, x, kept, inverse), rtol=0, atol=1e-11)
    found, expected = (f(np, y, kept, space, inverse) for f in (mode_ops._from_modes, mode_ops._from_modes_by_products))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_half_precision_stays(threshold):
    threshold(1)
    arrays = {name: hp.asarray(value) for name, value in given((3,), (64,), np.float32).items()}
    out = block({name: value if name == "modes" else value.astype(hp.bfloat16) for name, value in arrays.items()})
    assert out.dtype == hp.bfloat16
    np.testing.assert_allclose(out.astype("float32").numpy(), block(arrays).numpy(), rtol=0.05, atol=0.3)        # 8 bits, values to 20


REFUSED = [
    ({"x": normal(3, 4)}, ShapeError, "x has shape"),
    ({"skip": normal(4, 2)}, ShapeError, "weight of layer 0"),
    ({"bias": normal(3)}, ShapeError, "bias of layer 0"),
    ({"added": normal(2, 4, 7)}, ShapeError, "added of layer 0"),
    ({"modes": normal(3, 2, 4)}, DtypeError, "modes of layer 0 are float64"),
    ({"modes": normal(3, 2, 5) + 0j}, ShapeError, "modes of layer 0"),
    ({"weight": normal(4, 3)}, ShapeError, "weight of layer 1"),
    ({"gate": normal(2)}, ShapeError, "gate of layer 1"),
]


@pytest.mark.parametrize("changed, error, message", REFUSED)
def test_layers_that_do_not_fit_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        block({**given((3,), (8,)), **changed})


def test_no_layers_gates_of_other_sizes_and_activations_that_are_no_functions_are_refused():
    with pytest.raises(ShapeError, match="0 layers"):
        hp.pointwise_network(normal(1, 1, 2), [])
    with pytest.raises(ShapeError, match="gate of layer 0 has shape"):
        hp.pointwise_network(normal(1, 1, 2), [hp.PointLayer(normal(2, 1), gate=normal(2))])
    with pytest.raises(InputError, match="activation='gelu'"):
        hp.pointwise_network(normal(1, 1, 2), [hp.PointLayer(normal(2, 1), activation="gelu")])
