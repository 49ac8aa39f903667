"""Schedules: known values, PyTorch's where they are the same, composition, wrong input."""

import math

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim
from hyperion.errors import InputError, NonFiniteError
from hyperion.optim import WSD, Constant, Cosine, Exponential, Lambda, Linear, OneCycle, Product, Sequential, StepDecay

TOTAL = 40


def values(schedule, steps=TOTAL):
    return [schedule(step) for step in range(steps)]


def torch_values(lr, make, steps=TOTAL):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


SAME = {
    "constant": (Constant(0.3), 0.3, lambda s, o: s.LambdaLR(o, lambda step: 1.0)),
    "linear": (Linear(0.1, 0.8, steps=15), 0.8, lambda s, o: s.LinearLR(o, start_factor=0.125, end_factor=1.0, total_iters=15)),
    "step": (StepDecay(0.5, 0.3, every=7), 0.5, lambda s, o: s.StepLR(o, 7, gamma=0.3)),
    "exponential": (Exponential(0.5, 0.9), 0.5, lambda s, o: s.ExponentialLR(o, 0.9)),
    "cosine": (Cosine(0.5, 0.01, steps=TOTAL), 0.5, lambda s, o: s.CosineAnnealingLR(o, TOTAL, eta_min=0.01)),
    "one cycle": (OneCycle(0.5, steps=TOTAL), 0.02, lambda s, o: s.OneCycleLR(o, 0.5, total_steps=TOTAL, cycle_momentum=False)),
    "one cycle, other fractions": (OneCycle(0.5, steps=TOTAL, warmup=0.2, start=0.1, end=1e-2), 0.05, lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=TOTAL, pct_start=0.2, div_factor=10.0, final_div_factor=100.0, cycle_momentum=False)),
    "lambda": (Lambda(lambda step: 0.5 / (1 + step)), 0.5, lambda s, o: s.LambdaLR(o, lambda step: 1 / (1 + step))),
    "sequential": (Sequential([Linear(0.05, 0.5, steps=10), Cosine(0.5, 0.0, steps=30)]), 0.5, lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, total_iters=10), s.CosineAnnealingLR(o, 30)], milestones=[10])),
    "chained": (Linear(0.1, 1.0, steps=5) * Exponential(0.5, 0.9), 0.5,
                lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.1, 1.0, total_iters=5), s.ExponentialLR(o, 0.9)])),
}


@pytest.mark.parametrize("name", SAME)
def test_as_in_torch(name):
    schedule, lr, make = SAME[name]
    steps = TOTAL - 1 if name.startswith("one cycle") else TOTAL        # PyTorch's refuses to step beyond its end
    np.testing.assert_allclose(values(schedule, steps), torch_values(lr, make, steps), rtol=1e-12, atol=1e-16)


def test_warmup_stable_decay():
    schedule = WSD(2.0, steps=100, warmup=10, decay=20, end=0.2)
    assert schedule(0) == 0.0 and schedule(5) == 1.0
    assert {schedule(step) for step in range(10, 81)} == {2.0}
    assert math.isclose(schedule(90), 1.1) and schedule(100) == 0.2 and schedule(500) == 0.2
    root = WSD(2.0, steps=100, warmup=10, decay=20, power=0.5)
    assert math.isclose(root(85), 2.0 * (1.0 - math.sqrt(0.25)))


def test_wsd_is_three_pieces_in_sequence():
    pieces = Sequential([Linear(0.0, 2.0, steps=10), Constant(2.0, steps=70), Linear(2.0, 0.2, steps=20)])
    np.testing.assert_allclose(values(WSD(2.0, steps=100, warmup=10, decay=20, end=0.2), 120), values(pieces, 120), rtol=1e-14)


@pytest.mark.parametrize("schedule, length", [
    (Constant(1.0), None), (Constant(1.0, steps=3), 3), (Linear(0.0, 1.0, steps=4), 4), (Exponential(1.0, 0.5), None),
    (Sequential([Linear(0.0, 1.0, steps=4), Cosine(1.0, 0.0, steps=6)]), 10),
    (Sequential([Linear(0.0, 1.0, steps=4), Constant(1.0)]), None),
    (Linear(0.0, 1.0, steps=4) * Cosine(1.0, 0.0, steps=6), 6), (2.0 * Linear(0.0, 1.0, steps=4), None),
])
def test_length(schedule, length):
    assert schedule.length == length


def test_finite_schedules_stay_at_their_last_value():
    for schedule in (Linear(0.0, 1.0, steps=4), Cosine(1.0, 0.1, steps=4), OneCycle(1.0, steps=8), WSD(1.0, steps=8, warmup=2, decay=2)):
        assert schedule(schedule.length + 1) == schedule(10**6)


def test_a_schedule_drives_the_optimiser():
    x = hp.asarray(np.zeros(1), requires_grad=True)
    optimizer = optim.SGD([x], lr=StepDecay(1.0, 0.5, every=2))
    seen = []
    for _ in range(5):
        x.grad = hp.asarray(np.ones(1))
        seen.append(optimizer.lr)
        optimizer.step()
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert x.detach().numpy()[0] == -sum(seen)


def test_a_function_is_a_schedule_and_decay_may_be_one_too():
    optimizer = optim.SGD(np.array([1.0]), lr=lambda step: 0.5, weight_decay=Linear(0.0, 1.0, steps=2))
    for expected in (1.0, 0.75, 0.375):
        optimizer.advance(lambda x: (0.0, np.zeros(1)))
        assert optimizer.parameters[0] == expected


def test_a_schedule_may_pass_through_zero_but_not_below():
    optimizer = optim.AdamW(np.ones(2), lr=Linear(0.0, -1.0, steps=4))
    optimizer.advance(lambda x: (0.0, np.ones(2)))
    np.testing.assert_array_equal(optimizer.parameters, 1.0)
    with pytest.raises(InputError, match="negative"):
        optimizer.advance(lambda x: (0.0, np.ones(2)))


@pytest.mark.parametrize("match, call", [
    ("steps=0", lambda: Linear(0.0, 1.0, steps=0)),
    ("steps=2.5", lambda: Cosine(1.0, 0.0, steps=2.5)),
    ("start=nan", lambda: Linear(math.nan, 1.0, steps=3)),
    ("every=0", lambda: StepDecay(1.0, 0.5, every=0)),
    ("value='a'", lambda: Constant("a")),
    ("warmup", lambda: OneCycle(1.0, steps=10, warmup=1.0)),
    ("above 1", lambda: OneCycle(1.0, steps=3)),
    ("at most steps", lambda: WSD(1.0, steps=10, warmup=6, decay=6)),
    ("power", lambda: WSD(1.0, steps=10, warmup=2, decay=6, power=0.0)),
    ("at least one", lambda: Sequential([])),
    ("at least one", lambda: Product(())),
    ("no length", lambda: Sequential([Exponential(1.0, 0.5), Constant(1.0)])),
    ("function", lambda: Lambda(3.0)),
])
def test_wrong_input_is_refused(match, call):
    with pytest.raises(InputError, match=match):
        call()


def test_a_value_that_is_not_finite_names_the_step():
    with pytest.raises(NonFiniteError, match="step 3"):
        values(Lambda(lambda step: math.inf if step == 3 else 1.0))
