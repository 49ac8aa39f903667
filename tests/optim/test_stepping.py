"""What every optimiser by rule shares: both habits, groups, native and NumPy path, precision, values that do not change, wrong input."""

import math

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion import optim
from hyperion.cpu import find_compiler
from hyperion.errors import DtypeError, GraphError, InputError, NonFiniteError, ShapeError, TreeError
from hyperion.optim import native
from tests.optim.cases import MAKERS, assert_same, gradients, start, stepped, tracked

compiled = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
LARGE = {"matrix": (130, 70), "vector": (4099,), "scalar": (), "empty": (0, 3)}
ELEMENTWISE = [name for name in MAKERS if name not in ("muon", "soap")]


def leaf(*shape, dtype="float64"):
    return hp.asarray(np.ones(shape or (2,), dtype), requires_grad=True)


# Habits


@pytest.mark.parametrize("name", MAKERS)
def test_classes_arrays_and_rules_agree_bit_by_bit(name):
    trees = gradients(12)
    parameters = tracked(start())
    stepwise = stepped(MAKERS[name](parameters), parameters, trees)
    feed = iter(trees)
    by_advance = MAKERS[name](start())
    for _ in trees:
        by_advance.advance(lambda tree: (0.0, next(feed)))
    assert_same(stepwise, by_advance.parameters)
    rule = MAKERS[name](start()).groups[0].rule
    values = start()
    state = rule.init(values)
    for tree in trees:
        values, state = rule.update(tree, state, values)
    assert_same(stepwise, values)


def test_the_functional_habit_leaves_its_arguments_as_they_are():
    rule = optim.AdamW.rule(lr=0.1)
    values, slopes = start(), gradients(1)[0]
    state = rule.init(values)
    first, one = rule.update(slopes, state, values)
    again, other = rule.update(slopes, state, values)
    assert_same(first, again)
    assert_same(values, start())
    assert state["count"] == 0 and one["count"] == other["count"] == 1
    assert not state["parameters"][0]["mean"].any() and one["parameters"][0]["mean"].any()


def test_tensors_come_back_as_tensors():
    rule = optim.SGD.rule(lr=0.5)
    values = {"w": hp.asarray([1.0, 2.0]), "b": np.ones(2)}
    gradients = {"w": hp.asarray([1.0, 1.0]), "b": np.ones(2)}
    new, _ = rule.update(gradients, rule.init(values), values)
    assert isinstance(new["w"], hp.Tensor) and not new["w"].requires_grad and isinstance(new["b"], np.ndarray)


def test_names_and_iterators():
    x, y = leaf(), leaf()
    assert optim.SGD(iter([("layer.weight", x), ("layer.bias", y)])).groups[0].names == ["layer.weight", "layer.bias"]
    assert optim.SGD(p for p in (x, y)).groups[0].names == ["parameters[0]", "parameters[1]"]
    assert optim.SGD({"w": x, "b": [y]}).groups[0].names == ["parameters['w']", "parameters['b'][0]"]
    assert optim.SGD({"w": x}.values()).groups[0].names == ["parameters[0]"]


def test_the_tensor_keeps_its_identity():
    x = leaf()
    optimizer = optim.SGD([x], lr=0.5)
    x.grad = hp.asarray(np.ones(2))
    optimizer.step()
    assert optimizer.parameters[0] is x
    np.testing.assert_array_equal(x.detach().numpy(), 0.5)


def test_parameters_without_gradient_stay():
    x, y = leaf(), leaf()
    optimizer = optim.AdamW([x, y], lr=0.1)
    x.grad = hp.asarray(np.ones(2))
    optimizer.step()
    assert (y.detach().numpy() == 1.0).all() and (x.detach().numpy() != 1.0).all()
    assert [state["count"] for state in optimizer.state_dict()["parameters"]] == [1, 0]


# Groups


def test_groups_are_as_optimisers_of_their_own():
    trees = gradients(6)
    parameters = tracked(start())
    names = list(parameters)
    together = optim.AdamW([{"params": [parameters[n] for n in names[:2]], "lr": 0.1},
                            {"params": [parameters[n] for n in names[2:]], "weight_decay": 0.5, "betas": (0.5, 0.9)}], lr=0.01)
    ours = stepped(together, parameters, trees)
    apart = tracked(start())
    one = optim.AdamW([apart[n] for n in names[:2]], lr=0.1)
    two = optim.AdamW([apart[n] for n in names[2:]], lr=0.01, weight_decay=0.5, betas=(0.5, 0.9))
    for tree in trees:
        for name, array in tree.items():
            apart[name].grad = hp.asarray(array)
        one.step()
        two.step()
    assert_same(ours, {name: x.detach().numpy() for name, x in apart.items()})
    assert together.rates == [0.1, 0.01]


def test_groups_may_hold_trees_names_and_iterators():
    x, y, z = leaf(), leaf(), leaf()
    optimizer = optim.SGD([{"params": iter([x, y])}, {"params": {"z": z}, "lr": 0.5}], lr=0.1)
    assert [len(group.names) for group in optimizer.groups] == [2, 1]
    assert optimizer.groups[1].lr == 0.5


def test_lr_may_be_set_between_steps():
    optimizer = optim.SGD([{"params": leaf()}, {"params": leaf(), "lr": 0.5}], lr=0.1)
    optimizer.groups[1].lr = 0.25
    assert optimizer.rates == [0.1, 0.25]
    optimizer.lr = 0.75
    assert optimizer.rates == [0.75, 0.75] and optimizer.lr == 0.75


def test_muon_hands_vectors_and_excluded_matrices_to_adamw():
    trees = gradients(5)
    parameters = tracked(start())
    groups = [{"params": [parameters["matrix"], parameters["vector"]]},
              {"params": [parameters["wide"], parameters["filters"], parameters["scalar"]], "matrices": False}]
    ours = stepped(optim.Muon(groups, rest=optim.AdamW.rule(lr=0.01, weight_decay=0.2)), parameters, trees)
    other = tracked(start())
    theirs = stepped(optim.AdamW(other, lr=0.01, weight_decay=0.2), other, trees)
    assert (ours["matrix"] != theirs["matrix"]).any()
    for name in ("vector", "wide", "filters", "scalar"):
        np.testing.assert_array_equal(ours[name], theirs[name])


# Paths


@compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_native_and_numpy_agree(name, dtype, monkeypatch):
    trees = gradients(6, dtype=dtype, shapes=LARGE)

    def run():
        parameters = tracked(start(dtype=dtype, shapes=LARGE))
        return stepped(MAKERS[name](parameters), parameters, trees)

    calls = []
    fast = native._kernel
    monkeypatch.setattr(native, "_kernel", lambda *a: (calls.append(a), fast(*a))[1])
    ours = run()
    assert len(calls) == len(trees)
    monkeypatch.setattr(native, "LEAST", math.inf)
    reference = run()
    assert len(calls) == len(trees)
    # The compiler contracts a*b + c, which NumPy rounds twice: a few units in the last place of numbers near 1, at each of 6 steps; where
    # the spread of RMSProp's centred form cancels, more of them.
    tolerance = {"float32": 2e-5, "float64": 1e-13}[dtype] * (20.0 if name == "centred" else 1.0)
    for key in reference:
        np.testing.assert_allclose(ours[key], reference[key], rtol=tolerance, atol=tolerance)


@compiled
def test_the_number_of_threads_changes_no_bit(monkeypatch):
    shapes = {"large": (1200, 700), "vector": (70001,)}
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("HYPERION_THREADS", threads)
        parameters = tracked(start(dtype=np.float32, shapes=shapes))
        optimizer = optim.AdamW(parameters, lr=0.1)
        results.append(stepped(optimizer, parameters, gradients(3, dtype=np.float32, shapes=shapes)))
        results[-1]["norm"] = np.array(optim.clip_gradient_norm(parameters, 1.0))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@compiled
def test_numpys_blocks_change_no_bit(monkeypatch):
    monkeypatch.setattr(native, "LEAST", math.inf)
    results = []
    for block in (1 << 15, 1000):
        monkeypatch.setattr("hyperion.optim.rule.BLOCK", block)
        parameters = tracked(start(shapes=LARGE))
        results.append(stepped(MAKERS["centred"](parameters), parameters, gradients(3, shapes=LARGE)))
    assert_same(*results)


@compiled
def test_values_that_someone_holds_do_not_change():
    """New values are written over old ones only where nobody can see it: graphs, views and detached Tensors keep theirs."""
    x = hp.asarray(np.ones((200, 100)), requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)

    def step():
        x.grad = hp.asarray(np.ones((200, 100)))
        optimizer.step()

    def address():
        return x.data.ctypes.data

    step()
    before = address()
    step()
    assert address() == before                              # nobody looked: written over
    for hold in (lambda: x.detach(), lambda: x.data, lambda: x.data[3:5], lambda: memoryview(x.data), lambda: x.reshape(-1)):
        held = hold()
        kept = np.array(held.data if isinstance(held, hp.Tensor) else held)
        step()
        np.testing.assert_array_equal(held.data if isinstance(held, hp.Tensor) else np.asarray(held), kept)
        assert x.data.flat[0] == kept.flat[0] - 1.0
        del held


def test_the_start_given_by_the_user_does_not_change():
    mine = np.ones((100, 100))
    x = hp.asarray(mine, requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)
    for _ in range(3):
        x.grad = hp.asarray(np.ones((100, 100)))
        optimizer.step()
    assert (mine == 1.0).all() and (x.detach().numpy() == -2.0).all()


def test_a_graph_recorded_before_the_step_refuses():
    x = hp.asarray(np.ones((100, 100)), requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)
    for _ in range(2):
        loss = hp.sum(x * x)
        loss.backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(GraphError, match="assign"):
            loss.backward()
        optimizer.zero_grad()


def test_non_contiguous_parameters_and_gradients():
    base = np.arange(12.0).reshape(3, 4)
    x = hp.asarray(base.T, requires_grad=True)
    optimizer = optim.AdamW([x], lr=0.1, weight_decay=0.0)
    other = optim.AdamW(np.ascontiguousarray(base.T), lr=0.1, weight_decay=0.0)
    for _ in range(3):
        x.grad = hp.asarray(base.T)
        optimizer.step()
        other.advance(lambda value: (0.0, np.ascontiguousarray(base.T)))
    np.testing.assert_array_equal(x.detach().numpy(), other.parameters)


# Precision


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])
@pytest.mark.parametrize("name", ["nesterov", "adamw", "muon", "soap"])
def test_half_precision_has_a_master(name, dtype):
    """The master follows float32 exactly, fed with the same gradients; the parameter is its rounding."""
    shapes = {"matrix": (6, 4), "vector": (4,)}
    begin = {key: array.astype(dtype) for key, array in start(shapes=shapes).items()}
    trees = [{key: array.astype(dtype) for key, array in tree.items()} for tree in gradients(10, shapes=shapes)]
    wide = {key: array.astype(np.float32) for key, array in begin.items()}
    half, full = tracked(begin), tracked(wide)
    ours = stepped(MAKERS[name](half), half, trees)
    master = stepped(MAKERS[name](full), full, [{key: array.astype(np.float32) for key, array in tree.items()} for tree in trees])
    assert_same(ours, {key: array.astype(dtype) for key, array in master.items()})


def test_steps_too_small_for_half_precision_add_up():
    x = hp.asarray(np.ones(4, np.float16), requires_grad=True)
    optimizer = optim.SGD([x], lr=1e-4)                     # the spacing of float16 below 1 is 4.9e-4
    for _ in range(50):
        x.grad = hp.asarray(np.ones(4, np.float16))
        optimizer.step()
    np.testing.assert_array_equal(x.detach().numpy(), np.full(4, 1.0 - 50e-4, np.float32).astype(np.float16))


def test_an_assigned_half_parameter_is_gone_on_from():
    x = hp.asarray(np.ones(2, np.float16), requires_grad=True)
    optimizer = optim.SGD([x], lr=1e-4)
    for expected in (1.0, 1.0):
        x.grad = hp.asarray(np.ones(2, np.float16))
        optimizer.step()
        assert x.detach().numpy()[0] == expected
    x.assign(hp.asarray(np.array([1.0, 3.0], np.float16)))
    x.grad = hp.asarray(np.ones(2, np.float16))
    optimizer.step()
    master = optimizer.state_dict()["parameters"][0]["master"]
    np.testing.assert_allclose(master, [1.0 - 3e-4, 3.0 - 1e-4], rtol=1e-6)


def test_dtypes_may_differ():
    parameters = {"a": leaf(dtype="float32"), "b": leaf(dtype="float64"), "c": hp.asarray(np.ones(2, complex), requires_grad=True)}
    optimizer = optim.Adam(parameters, lr=0.5)
    for x in parameters.values():
        x.grad = hp.asarray(np.ones(2, x.dtype))
    optimizer.step()
    assert [str(x.dtype) for x in parameters.values()] == ["float32", "float64", "complex128"]
    np.testing.assert_allclose(parameters["c"].detach().numpy(), 0.5, rtol=1e-6)


# Wrong input


def raising(error, match, call):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("size", [3, 20000])                # NumPy's way and the native one
def test_gradients_that_are_not_finite_are_named_and_nothing_changes(bad, size):
    x, y = leaf(size), leaf(size)
    optimizer = optim.AdamW([("first.weight", x), ("second.weight", y)], lr=0.1)
    values = np.ones(size)
    values[size // 2] = bad
    x.grad, y.grad = hp.asarray(np.ones(size)), hp.asarray(values)
    before = optimizer.state_dict()
    raising(NonFiniteError, r"second\.weight hold NaN", optimizer.step)
    assert (x.detach().numpy() == 1.0).all() and optimizer.count == 0
    for one, other in zip(before["parameters"], optimizer.state_dict()["parameters"], strict=True):
        assert one["count"] == other["count"] == 0 and not other["mean"].any()
    loose = optim.AdamW([x, y], lr=0.1, check=False)
    loose.step()
    assert (y.detach().numpy() != 1.0).any()


def test_gradients_whose_squares_overflow_are_finite():
    x = leaf(3)
    x.grad = hp.asarray(np.full(3, 1e200))
    optimizer = optim.SGD([x], lr=1e-200)
    optimizer.step()
    np.testing.assert_allclose(x.detach().numpy(), 0.0, atol=1e-15)


OPTIONS = [
    ("lr=0", lambda: optim.SGD(leaf(), lr=0)), ("lr=-1", lambda: optim.AdamW(leaf(), lr=-1.0)),
    ("lr=nan", lambda: optim.SOAP(leaf(), lr=math.nan)),
    ("lr='fast'", lambda: optim.SGD(leaf(), lr="fast")), ("lr=True", lambda: optim.SGD(leaf(), lr=True)),
    ("momentum=1", lambda: optim.SGD(leaf(), momentum=1.0)), ("momentum", lambda: optim.RMSProp(leaf(), momentum=-0.1)),
    ("dampening", lambda: optim.SGD(leaf(), momentum=0.9, dampening=1.5)), ("Nesterov", lambda: optim.SGD(leaf(), nesterov=True)),
    ("Nesterov", lambda: optim.SGD(leaf(), momentum=0.9, dampening=0.1, nesterov=True)),
    ("weight_decay=-0.1", lambda: optim.AdamW(leaf(), weight_decay=-0.1)), ("alpha", lambda: optim.RMSProp(leaf(), alpha=1.0)),
    ("eps", lambda: optim.RMSProp(leaf(), eps=0.0)), ("betas", lambda: optim.AdamW(leaf(), betas=(0.9, 1.0))),
    ("betas", lambda: optim.SOAP(leaf(), betas=0.9)), ("every", lambda: optim.SOAP(leaf(), every=0)),
    ("largest", lambda: optim.SOAP(leaf(), largest=2.5)), ("iterations", lambda: optim.Muon(leaf(), iterations=0)),
    ("rest", lambda: optim.Muon(leaf(), rest=0.1)), ("no option 'rl'", lambda: optim.SGD([{"params": leaf(), "rl": 0.1}])),
    ("did you mean 'lr'", lambda: optim.SGD([{"params": leaf(), "rl": 0.1}])), ("group 1.*lr=-1", lambda: optim.SGD(
        [{"params": leaf()}, {"params": leaf(), "lr": -1.0}])),
    ("entry 1 is no group", lambda: optim.SGD([{"params": leaf()}, leaf()])),
]


@pytest.mark.parametrize("match, call", OPTIONS, ids=[match for match, _ in OPTIONS])
def test_wrong_options_are_refused(match, call):
    raising(InputError, match, call)


def test_wrong_parameters_are_refused():
    x = leaf()
    raising(InputError, "empty", lambda: optim.AdamW([]))
    raising(InputError, "empty", lambda: optim.AdamW(iter(())))
    raising(InputError, r"parameters\[1\] is parameters\[0\]", lambda: optim.AdamW([x, x]))
    raising(InputError, "comes twice", lambda: optim.AdamW([{"params": [x]}, {"params": [x]}]))
    raising(InputError, r"parameters\['b'\], parameters\['c'\] were computed", lambda: optim.AdamW({"a": x, "b": x * 2.0, "c": x + 1.0}))
    raising(DtypeError, r"parameters\[0\] is int64, parameters\[2\] is bool", lambda: optim.AdamW(
        [np.arange(3), np.zeros(2), np.zeros(2, bool)]))
    raising(InputError, "names w come more than once", lambda: optim.AdamW([("w", leaf()), ("w", leaf())]))
    raising(InputError, r"parameters\[1\] hold NaN", lambda: optim.AdamW([x, np.array([math.nan])]))
    raising(InputError, "complex", lambda: optim.Adam(np.ones(2, complex), bounds=(0.0, 1.0)))


def test_wrong_gradients_are_refused():
    x = leaf()
    raising(InputError, "no gradient", lambda: optim.AdamW([x]).step())
    raising(InputError, "requires_grad", lambda: optim.AdamW([x, np.ones(2)]).step())
    raising(ShapeError, r"parameters.*\(3,\)", lambda: optim.AdamW(np.ones(2)).advance(lambda v: (0.0, np.ones(3))))
    raising(DtypeError, "real part", lambda: optim.AdamW(np.ones(2)).advance(lambda v: (0.0, np.ones(2, complex))))
    raising(NonFiniteError, "value is nan", lambda: optim.AdamW(np.ones(2)).advance(lambda v: (math.nan, v)))
    rule = optim.AdamW.rule()
    raising(TreeError, "gradients", lambda: rule.update([np.ones(2)], rule.init({"w": np.ones(2)}), {"w": np.ones(2)}))
    raising(InputError, "1 parameters, the tree has 2", lambda: rule.update([np.ones(2)] * 2, rule.init([np.ones(2)]), [np.ones(2)] * 2))
