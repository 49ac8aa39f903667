"""Clipping of gradients, and running averages of parameters."""

import math

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim
from hyperion.errors import InputError
from tests.optim.cases import gradients, start, tracked


def with_gradients(seed=5, dtype=np.float64, shapes=None):
    parameters = tracked(start(dtype=dtype, shapes=shapes))
    for name, array in gradients(1, seed, dtype, shapes)[0].items():
        parameters[name].grad = hp.asarray(array)
    return parameters


def norm_of(parameters):
    return math.sqrt(sum(float((x.grad.numpy().astype(np.float64) ** 2).sum()) for x in parameters.values() if x.grad is not None))


@pytest.mark.parametrize("shapes", [None, {"large": (300, 100), "odd": (12345,), "empty": (0,)}], ids=["small", "large"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_norm(dtype, shapes):
    parameters = with_gradients(dtype=dtype, shapes=shapes)
    before = norm_of(parameters)
    tolerance = 1e-3 if dtype == "float16" else 2.0 * float(np.finfo(dtype).eps)     # float16 rounds each value, and underflows
    assert math.isclose(optim.clip_gradient_norm(parameters, 0.25), before, rel_tol=1e-12)
    assert math.isclose(norm_of(parameters), 0.25, rel_tol=tolerance)
    after = [x.grad for x in parameters.values()]
    assert math.isclose(optim.clip_gradient_norm(parameters, 1.0), 0.25, rel_tol=tolerance)
    assert all(x.grad is kept for x, kept in zip(parameters.values(), after, strict=True))       # below the limit: untouched


def test_norm_of_the_tree_is_that_of_the_parameters():
    parameters = with_gradients()
    tree = {name: x.grad.numpy() for name, x in parameters.items()}
    clipped, norm = optim.clipped_by_norm(tree, 0.25)
    assert norm == optim.clip_gradient_norm(parameters, 0.25)
    for name, x in parameters.items():
        np.testing.assert_array_equal(x.grad.numpy(), clipped[name])


def test_norm_without_overflow():
    x = hp.asarray(np.ones(2), requires_grad=True)
    x.grad = hp.asarray(np.array([3e200, 4e200]))
    assert math.isclose(optim.clip_gradient_norm([x], 1.0), 5e200, rel_tol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), [0.6, 0.8], rtol=1e-12)


def test_complex_norm():
    clipped, norm = optim.clipped_by_norm([np.array([3.0 + 4.0j])], 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(clipped[0], [0.6 + 0.8j])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_changes_nothing(bad):
    x = hp.asarray(np.ones(2), requires_grad=True)
    x.grad = kept = hp.asarray(np.array([1.0, bad]))
    norm = optim.clip_gradient_norm([x], 1.0)
    assert not math.isfinite(norm) and x.grad is kept


def test_parameters_without_gradients_are_left_out():
    x, y = hp.asarray([3.0], requires_grad=True), hp.asarray([4.0], requires_grad=True)
    assert optim.clip_gradient_norm([x, y], 1.0) == 0.0
    x.grad = hp.asarray([3.0])
    assert optim.clip_gradient_norm([x, y], 1.0) == 3.0 and y.grad is None


def test_values():
    parameters = with_gradients()
    before = {name: x.grad.numpy() for name, x in parameters.items()}
    optim.clip_gradient_values(parameters, 0.5)
    for name, x in parameters.items():
        np.testing.assert_array_equal(x.grad.numpy(), np.clip(before[name], -0.5, 0.5))
    with pytest.raises(InputError, match="complex"):
        optim.clipped_by_value([np.ones(2, complex)], 1.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_limits_must_be_positive(limit):
    for clip in (optim.clip_gradient_norm, optim.clip_gradient_values):
        with pytest.raises(InputError, match="limit"):
            clip(with_gradients(), limit)


def test_average_is_the_weighted_sum():
    x = hp.asarray(np.array([1.0]), requires_grad=True)
    ema = optim.EMA([x], decay=0.9)
    values = [1.0, 5.0, -2.0, 3.0]
    for value in values[1:]:
        x.assign(hp.asarray(np.array([value])))
        ema.update()
    expected = 0.9**3 * values[0] + sum(0.1 * 0.9 ** (2 - i) * value for i, value in enumerate(values[1:]))
    assert math.isclose(ema.average[0].item(), expected)


def test_warmup_forgets_the_start():
    x = hp.asarray(np.array([0.0]), requires_grad=True)
    ema = optim.EMA([x], decay=0.999, warmup=True)
    x.assign(hp.asarray(np.array([1.0])))
    ema.update()
    assert math.isclose(ema.average[0].item(), 0.9)
    ema.update()
    assert math.isclose(ema.average[0].item(), 1.0 - 0.1 * 2.0 / 11.0)


def test_applied_swaps_and_swaps_back_after_an_error():
    parameters = tracked(start())
    ema = optim.EMA(parameters, decay=0.5)
    first = {name: x.detach().numpy().copy() for name, x in parameters.items()}
    for x in parameters.values():
        x.assign(x.data + 2.0)
    ema.update()
    with pytest.raises(RuntimeError), ema.applied():
        for name, x in parameters.items():
            np.testing.assert_allclose(x.detach().numpy(), first[name] + 1.0)
        raise RuntimeError
    for name, x in parameters.items():
        np.testing.assert_allclose(x.detach().numpy(), first[name] + 2.0)


def test_half_precision_averages_in_float32():
    x = hp.asarray(np.ones(1, np.float16), requires_grad=True)
    ema = optim.EMA([x], decay=0.999)
    x.assign(hp.asarray(np.zeros(1, np.float16)))
    for _ in range(100):
        ema.update()
    assert math.isclose(ema.average[0].item(), 0.999**100, rel_tol=1e-3)
    assert str(ema.average[0].dtype) == "float16"


def test_resumed_averages_are_bit_identical():
    def run(ema, parameters, seeds):
        for seed in seeds:
            for name, array in start(seed, np.float32).items():
                parameters[name].assign(hp.asarray(array))
            ema.update()

    one = tracked(start(dtype=np.float32))
    whole = optim.EMA(one, decay=0.9, warmup=True)
    run(whole, one, range(8))
    two = tracked(start(dtype=np.float32))
    part = optim.EMA(two, decay=0.9, warmup=True)
    run(part, two, range(3))
    resumed = optim.EMA(two, decay=0.9, warmup=True)
    resumed.load_state_dict(part.state_dict())
    run(part, two, range(5))
    run(resumed, two, range(3, 8))
    for name, average in resumed.average.items():
        np.testing.assert_array_equal(average.numpy(), whole.average[name].numpy())


@pytest.mark.parametrize("match, call", [
    ("decay=1.0", lambda: optim.EMA(tracked(start()), decay=1.0)),
    ("decay=True", lambda: optim.EMA(tracked(start()), decay=True)),
    (r"parameters\['b'\] are not Tensors", lambda: optim.EMA({"a": hp.asarray([1.0], requires_grad=True), "b": np.ones(2)}, decay=0.9)),
    ("1 averages for 5 parameters", lambda: optim.EMA(tracked(start()), 0.9).load_state_dict({"count": 1, "averages": [np.ones(2)]})),
    (r"\['matrix'\].*\['vector'\]", lambda: optim.EMA(tracked(start()), 0.9).load_state_dict(
        optim.EMA(tracked(start() | {"matrix": np.ones(2), "vector": np.ones(7)}), 0.9).state_dict())),
])
def test_wrong_input_is_refused(match, call):
    with pytest.raises(InputError, match=match):
        call()
