"""The optimisers on each device: what NumPy gives, resumed across devices, and named gradients that are not finite."""

import math

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim
from hyperion.errors import NonFiniteError
from hyperion.gpu import device as devices
from tests.optim.cases import MAKERS, gradients, start

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
# Square matrices: the eigenvectors that SOAP begins with are then unique up to their sign, in which its update is even.
SQUARE = {"matrix": (6, 6), "vector": (4,), "scalar": ()}


def on(device, tree):
    return {name: hp.asarray(array.copy(), requires_grad=True, device=device) for name, array in tree.items()}


def stepped(optimizer, parameters, trees):
    for tree in trees:
        for name, array in tree.items():
            parameters[name].grad = hp.asarray(array, device=parameters[name].device)
        optimizer.step()
    return {name: devices.to_numpy(x.data) for name, x in parameters.items()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MAKERS)
def test_every_device_makes_the_same_steps(name, device):
    trees = gradients(10, shapes=SQUARE)
    parameters, reference = on(device, start(shapes=SQUARE)), on("cpu", start(shapes=SQUARE))
    ours = stepped(MAKERS[name](parameters), parameters, trees)
    assert all(x.device == device for x in parameters.values())
    theirs = stepped(MAKERS[name](reference), reference, trees)
    for key in theirs:      # 10 steps in float64; eigenvectors of SOAP and the quintic of Muon amplify rounding
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_run_goes_on_from_a_state_taken_on_the_cpu(device, dtype):
    trees = gradients(8, dtype=dtype, shapes=SQUARE)
    whole = on(device, start(dtype=dtype, shapes=SQUARE))
    expected = stepped(MAKERS["adamw"](whole), whole, trees)
    part = on(device, start(dtype=dtype, shapes=SQUARE))
    optimizer = MAKERS["adamw"](part)
    values = stepped(optimizer, part, trees[:3])
    resumed = on(device, values)
    again = MAKERS["adamw"](resumed)
    again.load_state_dict(optimizer.state_dict())
    after = stepped(again, resumed, trees[3:])
    for key in expected:
        np.testing.assert_array_equal(after[key], expected[key])


@pytest.mark.parametrize("device", DEVICES)
def test_clipping_averaging_and_checks(device):
    parameters = on(device, start(shapes=SQUARE))
    ema = optim.EMA(parameters, decay=0.5)
    for name, array in gradients(1, shapes=SQUARE)[0].items():
        parameters[name].grad = hp.asarray(array, device=device)
    expected = math.sqrt(sum(float((array**2).sum()) for array in gradients(1, shapes=SQUARE)[0].values()))
    assert math.isclose(optim.clip_gradient_norm(parameters, 0.5), expected, rel_tol=1e-12)
    assert math.isclose(optim.clip_gradient_norm(parameters, 0.5), 0.5, rel_tol=1e-12)
    optim.clip_gradient_values(parameters, 0.01)
    assert all(abs(devices.to_numpy(x.grad.data)).max() <= 0.01 for x in parameters.values())
    ema.update()
    assert all(x.device == device for x in ema.average.values())
    parameters["vector"].grad = hp.asarray(np.full(4, math.nan), device=device)
    with pytest.raises(NonFiniteError, match="vector"):
        optim.SGD(parameters).step()


@pytest.mark.parametrize("device", DEVICES)
def test_vector_optimisers(device):
    def residual(x):
        return [10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]]

    result = optim.least_squares(residual, hp.full((5,), -1.0, dtype="float64", device=device), iterations=100)
    assert result.parameters.device == device
    np.testing.assert_allclose(devices.to_numpy(result.parameters.data), 1.0, atol=1e-6)
    loss = hp.value_and_grad(lambda x: sum(hp.sum(part * part) for part in residual(x)))
    result = optim.minimize(loss, hp.full((5,), -1.0, dtype="float64", device=device), bounds=(-2.0, 0.9))
    assert abs(devices.to_numpy(result.parameters.data)).max() <= 0.9 and result.converged
