"""Steps of optimisers as part of a program: one native call for forward, backward and update, with the same results and memory as eager."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim
from hyperion.autograd.jit import jit
from hyperion.autograd.jit.ir import Step
from hyperion.cpu import program
from hyperion.errors import NonFiniteError

pytestmark = pytest.mark.skipif(not program.available(), reason="no C compiler")
Make = Callable[[Any], Any]

RULES: dict[str, Make] = {
    "plain SGD": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True), "Adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "scheduled": lambda p: optim.AdamW(p, lr=optim.Cosine(0.01, 0.001, 5)), "RMSProp": lambda p: optim.RMSProp(p, lr=0.01),
    "unchecked": lambda p: optim.Adam(p, lr=0.01, check=False),
    "groups": lambda p: optim.Adam([{"params": [p[0]], "lr": 0.1}, {"params": p[1:], "betas": (0.8, 0.9)}], lr=0.01),
}


def parameters(dtype: str = "float32") -> list[Any]:
    numbers = np.random.default_rng(0)
    return [hp.asarray(numbers.normal(size=shape).astype(dtype), requires_grad=True) for shape in ((3, 4), (4,), (), (1, 5))]


def loss_of(p: Any, x: Any) -> Any:
    return hp.mean(hp.tanh(x @ p[0] + p[1]) ** 2) * p[2] + hp.sum(hp.permute_dims(p[3], (1, 0)) ** 2)


def training(p: Any, optimizer: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(p, x)
        loss.backward()
        optimizer.step()
        return loss

    return step


def batch(i: int, dtype: str = "float32", rows: int = 6) -> Any:
    return hp.asarray(np.random.default_rng(i).normal(size=(rows, 3)).astype(dtype))


def agree(one: Any, other: Any, dtype: str = "float32") -> None:
    """Some ten operations and updates, good to a few units in the last place each; Adam divides by small roots."""
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), **{"float32": dict(rtol=2e-4, atol=2e-5),
                                                                              "float64": dict(rtol=1e-10, atol=1e-12)}[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_a_compiled_step_is_the_eager_one(rule: str, dtype: str) -> None:
    p, q = parameters(dtype), parameters(dtype)
    one, other = RULES[rule](p), RULES[rule](q)
    eager, compiled = training(p, one), jit(training(q, other))
    for i in range(8):      # a new size in between
        x = batch(i, dtype, 6 if i < 5 else 9)
        np.testing.assert_allclose(float(compiled(x)), float(eager(x)), rtol=2e-4 if dtype == "float32" else 1e-10)
    agree(p, q, dtype)
    assert one.count == other.count == 8
    saved, wanted = other.state_dict(), one.state_dict()
    for mine, theirs in zip(saved["parameters"], wanted["parameters"], strict=True):
        assert mine["count"] == theirs["count"]


def test_no_step_is_left_to_python() -> None:
    p = parameters()
    made = jit(training(p, RULES["Adam"](p)))
    text = made.lower(batch(0)).plan
    assert "NumPy" not in text and text.count(": Adam") == 4
    made(batch(0))
    (known,) = made._programs.values()
    assert not any(isinstance(item, Step) for item in known[0].plan.items)
    text = jit(training(p, RULES["unchecked"](p))).lower(batch(0)).plan
    assert "finite" not in text and "finite" in jit(training(p, RULES["Adam"](p))).lower(batch(0)).plan


def test_parameters_that_nobody_else_holds_are_written_over() -> None:
    p = parameters()
    step = jit(training(p, RULES["Adam"](p)))
    step(batch(0)), step(batch(1))
    places = [x.data.ctypes.data for x in p]
    step(batch(2))
    assert [x.data.ctypes.data for x in p] == places
    held = p[0].detach()
    before = held.data.copy()
    step(batch(3))
    np.testing.assert_array_equal(held.data, before)
    assert p[0].data is not held.data


def test_eager_and_compiled_steps_alternate() -> None:
    p, q = parameters(), parameters()
    one, other = RULES["momentum"](p), RULES["momentum"](q)
    eager, same, compiled = training(p, one), training(q, other), jit(training(q, other))
    for i in range(6):
        eager(batch(i))
        (same if i % 3 == 1 else compiled)(batch(i))
    agree(p, q)


def test_a_state_that_is_loaded_is_used() -> None:
    p = parameters()
    optimizer = RULES["Adam"](p)
    step = jit(training(p, optimizer))
    step(batch(0))
    saved, values = optimizer.state_dict(), [x.data.copy() for x in p]
    step(batch(1)), step(batch(2))
    wanted = [x.data.copy() for x in p]
    optimizer.load_state_dict(saved)
    for x, value in zip(p, values, strict=True):
        x.assign(value)
    step(batch(1)), step(batch(2))
    for x, value in zip(p, wanted, strict=True):
        np.testing.assert_array_equal(x.data, value)
    optimizer.restart(forget=True)
    step(batch(3))
    assert [one["count"] for one in optimizer.state_dict()["parameters"]] == [1] * 4


def test_an_option_that_changes_the_formula_records_again() -> None:
    p, q = parameters(), parameters()
    one, other = optim.SGD(p, lr=0.05, momentum=0.9), optim.SGD(q, lr=0.05, momentum=0.9)
    eager, compiled = training(p, one), jit(training(q, other))
    for i in range(6):
        if i == 3:
            for optimizer in (one, other):
                optimizer.groups[0].rule = optimizer.groups[0].rule.replaced({"nesterov": True}, "rule")
        eager(batch(i)), compiled(batch(i))
    agree(p, q)


def test_several_steps_and_several_optimisers_in_one_function() -> None:
    def run(wrap: Any) -> Any:
        p, q = parameters(), parameters()
        first, second = RULES["scheduled"](p), RULES["momentum"](q)

        def step(x: Any) -> Any:
            for _ in range(2):
                first.zero_grad()
                loss_of(p, x).backward()
                first.step()
            second.zero_grad()
            loss = loss_of(q, x) + loss_of([y.detach() for y in p], x)
            loss.backward()
            second.step()
            return loss, p[1].detach() * 2.0

        call = wrap(step)
        out = [call(batch(i)) for i in range(4)]
        return [*(x for pair in out for x in pair), *p, *q], (first.count, second.count)

    (wanted, counts), (got, same) = run(lambda f: f), run(jit)
    agree(wanted, got)
    assert counts == same == (8, 4)


def test_gradients_that_are_not_finite_stop_the_program_before_anything_is_changed() -> None:
    p = parameters()
    optimizer = RULES["Adam"](p)
    step = jit(training(p, optimizer))
    step(batch(0))
    before, state = [x.data.copy() for x in p], optimizer.state_dict()
    bad = batch(1).numpy().copy()
    bad[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"the gradients of parameters\[0\], parameters\[1\], parameters\[2\] hold NaN"):
        step(hp.asarray(bad))
    for x, value in zip(p, before, strict=True):
        np.testing.assert_array_equal(x.data, value)
    for mine, theirs in zip(optimizer.state_dict()["parameters"], state["parameters"], strict=True):
        np.testing.assert_array_equal(mine["mean"], theirs["mean"])
    assert optimizer.count == 1
    step(batch(2))
    assert optimizer.count == 2


@pytest.mark.parametrize("limit", [0.05, 100.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_clipped_in_the_program(dtype: str, limit: float) -> None:
    def run(wrap: Any) -> Any:
        p = parameters(dtype)
        optimizer = RULES["momentum"](p)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss_of(p, x).backward()
            optim.clip_gradient_values(p, 2.0 * limit)
            norm = optim.clip_gradient_norm(p, limit)
            optimizer.step()
            return norm

        call = wrap(step)
        return [hp.asarray(np.float64(float(call(batch(i, dtype))))) for i in range(4)], p

    (norms, p), (others, q) = run(lambda f: f), run(jit)
    agree([*norms, *p], [*others, *q], dtype)


def test_parameters_given_another_value_before_the_step() -> None:
    def run(wrap: Any) -> Any:
        p = hp.asarray([3.0, -4.0], requires_grad=True)
        optimizer = optim.Adam([p], lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            hp.sum(p * p * x).backward()
            p.assign(hp.minimum(p.detach(), 1.0))
            optimizer.step()
            return p.detach()

        call, x = wrap(step), hp.asarray([1.0, 0.5])
        return [call(x) for _ in range(3)]

    agree(run(lambda f: f), run(jit))


def test_a_graph_of_the_old_parameters_is_refused() -> None:
    p = parameters()
    step = jit(training(p, RULES["Adam"](p)))
    step(batch(0))
    loss = loss_of(p, batch(1))
    step(batch(1))
    with pytest.raises(hp.errors.GraphError, match="assigned a new value since"):
        loss.backward()
