"""Adam: its paper's update, bounds, both habits, resuming, refusals."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import InputError, TreeError
from hyperion.optim import Adam


def paper(x, gradients, lr, beta1, beta2, eps):
    """Algorithm 1 of Kingma and Ba (2015), line by line."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        x = x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return x


def test_follows_the_paper():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), list(rng.normal(size=(12, 5)))
    optimizer = Adam(start, lr=0.03, betas=(0.8, 0.99), eps=1e-6)
    feed = iter(gradients)
    for _ in gradients:
        optimizer.advance(lambda x: (0.0, next(feed)))
    np.testing.assert_allclose(optimizer.parameters, paper(start, gradients, 0.03, 0.8, 0.99, 1e-6), rtol=1e-13)


def test_first_update_is_the_learning_rate():
    optimizer = Adam(np.zeros(3), lr=0.5)
    optimizer.advance(lambda x: (0.0, np.array([1e-3, -7.0, 100.0])))
    np.testing.assert_allclose(optimizer.parameters, [-0.5, 0.5, -0.5], rtol=1e-4)


def test_bounds_are_kept():
    optimizer = Adam([np.zeros(3), np.ones((2, 2))], lr=0.3, bounds=([np.array([-1.0, 0.0, -np.inf]), np.array(0.5)], None))
    for _ in range(40):
        optimizer.advance(lambda tree: (0.0, [np.ones(3), np.ones((2, 2))]))
    first, second = optimizer.parameters
    np.testing.assert_array_equal(first[:2], [-1.0, 0.0])
    assert first[2] < -5.0
    np.testing.assert_array_equal(second, 0.5)


def test_both_habits_agree():
    x = hp.asarray([2.0, -1.0], requires_grad=True)
    optimizer = Adam([x], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        hp.sum((x - 0.5) ** 2).backward()
        assert optimizer.step() is None
    other = Adam([hp.asarray([2.0, -1.0])], lr=0.1)
    for _ in range(5):
        other.advance(hp.value_and_grad(lambda tree: hp.sum((tree[0] - 0.5) ** 2)))
    np.testing.assert_array_equal(x.detach().numpy(), other.parameters[0].numpy())


def test_closure_gives_the_loss_before_the_update():
    x = hp.asarray([2.0], requires_grad=True)
    optimizer = Adam([x], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = hp.sum(x**2)
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4.0
    assert x.detach().numpy()[0] < 2.0


def test_resumed_equals_undisturbed():
    value_and_grad = hp.value_and_grad(lambda x: hp.sum((x - 1.0) ** 4))

    def run(optimizer, count):
        for _ in range(count):
            optimizer.advance(value_and_grad)

    start = hp.asarray(np.linspace(-1, 3, 7, dtype=np.float32))
    whole, part = Adam(start, lr=0.05), Adam(start, lr=0.05)
    run(whole, 30)
    part.lr = 0.05
    run(part, 13)
    resumed = Adam(part.parameters, lr=1.0)
    resumed.load_state_dict(part.state_dict())
    run(resumed, 17)
    np.testing.assert_array_equal(resumed.parameters.numpy(), whole.parameters.numpy())


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("lr=0", lambda: Adam(np.zeros(2), lr=0)),
        ("betas", lambda: Adam(np.zeros(2), lr=0.1, betas=(0.9, 1.0))),
        ("eps", lambda: Adam(np.zeros(2), lr=0.1, eps=0.0)),
        ("no gradient", lambda: Adam(hp.asarray([1.0], requires_grad=True), lr=0.1).step()),
        ("tree", lambda: Adam(np.zeros(2), lr=0.1).advance(lambda x: (0.0, [x]))),
        ("state", lambda: Adam(np.zeros(2), lr=0.1).load_state_dict(Adam(np.zeros(3), lr=0.1).state_dict())),
    ],
)
def test_wrong_input_is_refused(match, call):
    with pytest.raises((InputError, TreeError), match=match):
        call()
