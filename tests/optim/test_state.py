"""States of optimisers: resumed runs are bit-identical, through a file too; what does not fit is listed all at once."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import io, optim
from hyperion.errors import InputError
from tests.optim.cases import MAKERS, assert_same, gradients, start, stepped, tracked

LARGE = {"matrix": (120, 80), "vector": (300,), "scalar": ()}       # enough for the native kernel


@pytest.mark.parametrize("shapes", [None, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_resumed_equals_undisturbed(name, dtype, shapes, tmp_path):
    trees = gradients(9, dtype=dtype, shapes=shapes)
    whole = tracked(start(dtype=dtype, shapes=shapes))
    expected = stepped(MAKERS[name](whole), whole, trees)
    part = tracked(start(dtype=dtype, shapes=shapes))
    optimizer = MAKERS[name](part)
    values = stepped(optimizer, part, trees[:4])
    io.save_tree(tmp_path / "checkpoint.h5", {"optimizer": optimizer.state_dict(), "parameters": values})
    stepped(optimizer, part, trees[4:6])            # goes on, which must not show in what was saved
    saved = io.load_tree(tmp_path / "checkpoint.h5")
    resumed = tracked(saved["parameters"])
    again = MAKERS[name](resumed)
    again.load_state_dict(saved["optimizer"])
    assert again.count == 4
    assert_same(stepped(again, resumed, trees[4:]), expected)


def test_a_state_in_memory_is_a_copy():
    parameters = tracked(start())
    optimizer = MAKERS["adam"](parameters)
    stepped(optimizer, parameters, gradients(2))
    state = optimizer.state_dict()
    kept = [{key: np.array(value) for key, value in one.items()} for one in state["parameters"]]
    stepped(optimizer, parameters, gradients(2))
    other = MAKERS["adam"](tracked(start()))
    other.load_state_dict(state)
    more = tracked(start())
    other = MAKERS["adam"](more)
    other.load_state_dict(state)
    stepped(other, more, gradients(2))
    for one, before in zip(state["parameters"], kept, strict=True):
        for key in before:
            np.testing.assert_array_equal(one[key], before[key])


def test_numbers_are_taken_from_the_state_and_schedules_compared():
    x = hp.asarray(np.ones(2), requires_grad=True)
    state = optim.AdamW([x], lr=0.3, betas=(0.5, 0.6), weight_decay=0.2).state_dict()
    other = optim.AdamW([x], lr=0.1)
    other.load_state_dict(state)
    assert (other.lr, other.groups[0].rule.betas, other.groups[0].rule.weight_decay) == (0.3, (0.5, 0.6), 0.2)
    kept = optim.AdamW([x], lr=0.1)
    kept.load_state_dict(state, keep_options=True)
    assert kept.lr == 0.1
    short = optim.AdamW([x], lr=optim.Cosine(1.0, 0.0, steps=10))
    long = optim.AdamW([x], lr=optim.Cosine(1.0, 0.0, steps=20))
    with pytest.raises(InputError, match=r"lr was .*'steps': 10.*it is .*'steps': 20.*keep_options"):
        long.load_state_dict(short.state_dict())
    long.load_state_dict(short.state_dict(), keep_options=True)
    with pytest.raises(InputError, match=r"lr was 0\.3, it is .*Cosine"):
        long.load_state_dict(state)


def test_everything_that_does_not_fit_is_listed_at_once():
    saved = optim.AdamW([("a", np.ones(2)), ("b", np.ones((3, 4))), ("c", np.ones(5))], lr=optim.Constant(0.1)).state_dict()
    saved["parameters"][2].pop("square")
    saved["parameters"][1]["mean"] = saved["parameters"][1]["mean"].astype(np.float32)
    optimizer = optim.AdamW([("a", np.ones(2)), ("b", np.ones((3, 5))), ("c", np.ones(5))], lr=optim.Constant(0.2))
    before = optimizer.state_dict()
    with pytest.raises(InputError) as caught:
        optimizer.load_state_dict(saved)
    text = str(caught.value)
    shapes = ("b: mean has shape (3, 4) and dtype float32", "b: square has shape (3, 4)")
    for part in ("lr was", "0.1", "0.2", *shapes, "c: it has count, mean"):
        assert part in text
    assert optimizer.count == 0 and str(optimizer.state_dict()) == str(before)


@pytest.mark.parametrize("match, change", [
    ("it is of SGD, this is AdamW", lambda state: optim.SGD(np.ones(2)).state_dict()),
    ("has 2 parameters, this optimiser 1", lambda state: optim.AdamW([np.ones(2), np.ones(2)]).state_dict()),
    ("has 2 groups, this optimiser 1", lambda state: optim.AdamW([{"params": np.ones(2)}, {"params": np.ones(2)}]).state_dict()),
    ("count is missing; options is missing", lambda state: {"optimizer": "AdamW", "parameters": []}),
    ("options eps, lr", lambda state: {**state, "options": [{"lr": 0.1, "eps": 1e-8}]}),
    ("lr=-1", lambda state: {**state, "options": [{**state["options"][0], "lr": -1.0}]}),
])
def test_states_of_others_are_refused(match, change):
    optimizer = optim.AdamW(np.ones(2))
    with pytest.raises(InputError, match=match):
        optimizer.load_state_dict(change(optimizer.state_dict()))


def test_lbfgs_lists_all_too():
    optimizer = optim.LBFGS(np.full(3, 0.5))
    optimizer.advance(lambda x: (float(x @ x), 2.0 * x))
    state = optimizer.state_dict()
    state.pop("value")
    with pytest.raises(InputError, match=r"value is missing; steps has shape .*; changes has shape .*; gradient has shape"):
        optim.LBFGS(np.full(2, 0.5)).load_state_dict(state)


def test_a_forgetful_restart_begins_anew():
    optimizer = optim.AdamW(np.ones(3), lr=0.1)
    optimizer.advance(lambda x: (0.0, np.ones(3)))
    optimizer.restart()
    assert optimizer.state_dict()["parameters"][0]["count"] == 1
    optimizer.restart(forget=True)
    assert optimizer.state_dict()["parameters"][0]["count"] == 0


def test_a_state_taken_back_without_its_parameters():
    """The master of a half-precision parameter counts only where the parameter is its rounding: the parameters that are there win."""
    x = hp.asarray(np.ones(2, np.float16), requires_grad=True)
    optimizer = optim.SGD([x], lr=0.5)
    begin = optimizer.state_dict()
    stepped(optimizer, {"x": x}, [{"x": np.array([1.0, 0.0], np.float16)}])
    optimizer.load_state_dict(begin)
    values = stepped(optimizer, {"x": x}, [{"x": np.zeros(2, np.float16)}])
    np.testing.assert_array_equal(values["x"], [0.5, 1.0])
