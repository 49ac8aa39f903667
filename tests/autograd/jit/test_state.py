"""What goes on from run to run, and what a program must never get wrong without a word: stale values, shared memory, repeated numbers."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, optim
from hyperion.autograd.jit import jit
from hyperion.errors import GraphError, NonFiniteError, SpeedWarning

RULES: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9), "Adam": lambda p: optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: optim.AdamW(p, lr=optim.Cosine(1e-2, 1e-3, 20)), "RMSProp": lambda p: optim.RMSProp(p, lr=1e-2),
    "Muon": lambda p: optim.Muon(p, lr=1e-2),
}


def data(rows: int = 16, seed: int = 0) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return hp.asarray(x), hp.asarray(np.sin(x.sum(axis=1, keepdims=True)))


def network() -> nn.Module:
    nn.seed(0)
    return nn.MLP([3, 8, 8, 1], activation=hp.tanh)


def losses(rule: str, wrap: Callable[[Any], Any], order: str) -> tuple[list[float], nn.Module]:
    model = network()
    optimizer = RULES[rule](model.parameters())

    def step(x: Any, y: Any) -> Any:
        if order == "before":
            optimizer.zero_grad()
        loss = hp.mean((model(x) - y) ** 2)
        loss.backward()
        optimizer.step()
        if order == "after":
            optimizer.zero_grad()
        return loss

    compiled = wrap(step)
    return [float(compiled(*data(seed=i))) for i in range(6)], model


@pytest.mark.parametrize("order", ["before", "after", "never"])
@pytest.mark.parametrize("rule", RULES)
def test_training_steps_go_on_as_without_jit(rule: str, order: str) -> None:
    wanted, model = losses(rule, lambda f: f, order)
    got, compiled = losses(rule, jit, order)
    np.testing.assert_allclose(got, wanted, rtol=2e-5)
    for x, y in zip(model.parameters(), compiled.parameters(), strict=True):
        np.testing.assert_allclose(y.data, x.data, rtol=1e-3, atol=2e-5)
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None and y.grad is not None:       # "never" adds up the gradients of all steps
            np.testing.assert_allclose(y.grad.data, x.grad.data, rtol=1e-3, atol=2e-5)


def test_models_and_optimisers_as_arguments() -> None:
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = hp.mean((model(x) - y) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    def run(call: Any) -> list[float]:
        out = []
        for seed in range(2):           # another model of the same kind: the program serves both
            model = network()
            optimizer = optim.Adam(model.parameters(), lr=0.01 * (seed + 1))
            out += [float(call(model, optimizer, *data())) for _ in range(3)]
        return out

    np.testing.assert_allclose(run(jit(step)), run(step), rtol=2e-5)


def test_an_optimiser_whose_learning_rate_is_set_follows() -> None:
    def run(wrap: Any) -> Any:
        x = hp.asarray([1.0, 2.0], requires_grad=True)
        optimizer = optim.SGD([x], lr=0.1)

        def step() -> Any:
            optimizer.zero_grad()
            loss = hp.sum(x * x)
            loss.backward()
            optimizer.step()
            return loss

        call = wrap(step)
        call(), call()
        optimizer.lr = 0.01
        call(), call()
        return x.data

    np.testing.assert_allclose(run(jit), run(lambda f: f), rtol=1e-6)


def test_refused_gradients_change_nothing() -> None:
    x = hp.asarray([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.1)

    @jit
    def step(scale: Any) -> Any:
        optimizer.zero_grad()
        loss = hp.sum(x * scale)
        loss.backward()
        optimizer.step()
        return loss

    step(hp.asarray(1.0))
    before = x.data.copy()
    with pytest.raises(NonFiniteError):
        step(hp.asarray(np.float32(np.inf)))
    np.testing.assert_array_equal(x.data, before)
    assert optimizer.count == 1


def test_closures_and_globals_are_looked_at_before_every_run() -> None:
    scale, settings = 2.0, {"offset": hp.asarray([1.0, 1.0])}
    module = types.SimpleNamespace(power=2)

    @jit
    def f(x: Any) -> Any:
        return scale * x ** module.power + settings["offset"]

    x = hp.asarray([1.0, 3.0])
    np.testing.assert_allclose(f(x).data, [3.0, 19.0])
    scale = 3.0
    np.testing.assert_allclose(f(x).data, [4.0, 28.0])
    settings["offset"] = hp.asarray([0.0, 1.0])
    np.testing.assert_allclose(f(x).data, [3.0, 28.0])
    module.power = 1
    np.testing.assert_allclose(f(x).data, [3.0, 10.0])
    settings["offset"] = hp.asarray([0.0])
    np.testing.assert_allclose(f(x).data, [3.0, 9.0])


def test_a_captured_numpy_array_is_read_anew() -> None:
    table = np.array([1.0, 2.0, 3.0], np.float32)
    f = jit(lambda x: x * hp.asarray(table) + hp.asarray(table))
    x = hp.asarray([1.0, 1.0, 1.0])
    np.testing.assert_allclose(f(x).data, [2.0, 4.0, 6.0])
    table[0] = 10.0
    np.testing.assert_allclose(f(x).data, (x * hp.asarray(table) + hp.asarray(table)).data)
    number = np.array(2.0, np.float32)
    g = jit(lambda x: x * number)
    np.testing.assert_allclose(g(x).data, [2.0, 2.0, 2.0])
    number[...] = 5.0
    np.testing.assert_allclose(g(x).data, [5.0, 5.0, 5.0])


def test_a_captured_model_that_is_changed_outside_follows() -> None:
    model = network()
    f = jit(lambda x: model(x).detach())
    x, _ = data()
    np.testing.assert_allclose(f(x).data, model(x).data, rtol=1e-5, atol=1e-6)
    for p in model.parameters():
        p.assign(p.detach() * 2.0)
    np.testing.assert_allclose(f(x).data, model(x).data, rtol=1e-5, atol=1e-6)
    model.to(dtype="float64")
    np.testing.assert_allclose(f(x.astype("float64")).data, model(x.astype("float64")).data, rtol=1e-12)


def test_results_share_no_memory_with_inputs_or_with_later_runs() -> None:
    raw = np.arange(6, dtype=np.float32).reshape(2, 3)

    @jit
    def f(x: Any) -> Any:
        y = x * 2.0
        return x.reshape(3, 2), hp.permute_dims(y, (1, 0)), y, y[0], hp.sort(x.reshape(6)), x

    first = [t.data for t in f(raw)]
    kept = [a.copy() for a in first]
    f(raw + 1.0)
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)
    for a in first[:-1]:
        assert not np.shares_memory(a, raw)
    assert [a.tolist() for a in kept[:2]] == [raw.reshape(3, 2).tolist(), (2 * raw).T.tolist()]
    np.testing.assert_array_equal(raw, np.arange(6, dtype=np.float32).reshape(2, 3))


def test_inputs_of_any_layout() -> None:
    f = jit(lambda x: hp.sum(x * 2.0, axis=0))
    base = np.arange(24, dtype=np.float64).reshape(4, 6)
    for x in (base, base[:, ::2], base[::-1], base.T, base[:, :1], base[:0]):
        np.testing.assert_allclose(f(x).data, (x * 2.0).sum(axis=0))


@pytest.mark.parametrize("place", ["closure", "argument", "layer"])
def test_random_numbers_go_on(place: str) -> None:
    def run(wrap: Any) -> list[Any]:
        generator = hp.random.Generator(3)
        layer = nn.Dropout(0.5, generator)
        calls = {
            "closure": wrap(lambda x, g: x + generator.normal((3,))), "argument": wrap(lambda x, g: x + g.uniform((3,)) + g.normal((3,))),
            "layer": wrap(lambda x, g: layer(x)),
        }
        out = [calls[place](hp.ones(3), generator).data.tolist() for _ in range(4)]
        return [*out, generator.state()["count"]]

    assert run(jit) == run(lambda f: f)
    assert len({tuple(row) for row in run(jit)[:-1]}) > 1


def test_random_numbers_of_a_checkpoint_are_those_of_its_first_run() -> None:
    def run(wrap: Any) -> Any:
        generator = hp.random.Generator(5)
        noisy = hp.checkpoint(lambda x: hp.sin(x) * generator.normal((4,)))
        f = wrap(hp.grad(lambda x: hp.sum(noisy(noisy(x)))))
        return [f(hp.asarray([0.1, 0.2, 0.3, 0.4])).data for _ in range(3)]

    np.testing.assert_allclose(run(jit), run(lambda f: f), rtol=1e-5)


def test_batch_statistics_follow() -> None:
    def run(wrap: Any) -> Any:
        nn.seed(0)
        layer = nn.BatchNorm(3)
        call = wrap(lambda x: layer(x).detach())
        out = [call(data(seed=i)[0]).data for i in range(3)]
        layer.eval()
        out.append(call(data(seed=9)[0]).data)
        return out, layer.running_mean.data, layer.running_var.data, int(layer.num_batches_tracked)

    for got, wanted in zip(run(jit), run(lambda f: f), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_attributes_that_hold_tensors_follow() -> None:
    class Filter:
        def __init__(self) -> None:
            self.memory = hp.zeros(2)
            self.last: Any = None

        def step(self, x: Any) -> Any:
            self.memory = self.memory * 0.5 + x
            self.last = x * 2.0
            return self.memory

    filters = [Filter(), Filter()]
    compiled = jit(filters[1].step)
    for i in range(4):
        x = hp.asarray([1.0, float(i)])
        np.testing.assert_allclose(compiled(x).data, filters[0].step(x).data, rtol=1e-6)
        np.testing.assert_allclose(filters[1].memory.data, filters[0].memory.data, rtol=1e-6)
        np.testing.assert_allclose(filters[1].last.data, filters[0].last.data)
        if i == 2:
            for one in filters:
                one.memory = hp.asarray([5.0, 5.0])


def test_the_same_tensor_in_two_places() -> None:
    f = jit(lambda x, y: x * y + y)
    a, b = hp.asarray([1.0, 2.0]), hp.asarray([3.0, 4.0])
    for x, y in ((a, b), (a, a), (b, a), (b, b)):
        np.testing.assert_allclose(f(x, y).data, (x * y + y).data)
    kept = hp.asarray([5.0, 6.0])
    g = jit(lambda x: x * kept)
    for x in (a, kept, b, kept):
        np.testing.assert_allclose(g(x).data, (x * kept).data)


def test_python_numbers_are_recorded_by_value() -> None:
    f = jit(lambda x, n, flag=True: x * n if flag else x - n)
    x = hp.asarray([1.0, 2.0])
    assert f(x, 2).data.tolist() == [2.0, 4.0]
    assert f(x, 3).data.tolist() == [3.0, 6.0]
    assert f(x, 2.0).data.tolist() == [2.0, 4.0]
    assert f(x, 2, flag=False).data.tolist() == [-1.0, 0.0]
    with pytest.warns(SpeedWarning, match=r"recorded 8 times.*pass numbers as hp.asarray"):
        for n in range(10, 20):
            assert f(x, n).data.tolist() == [n, 2.0 * n]


def test_what_needs_values_is_refused_with_the_line() -> None:
    x = hp.asarray([1.0, 2.0])
    for bad in (
        lambda x: x if x[0] > 0 else -x, lambda x: x * float(x[0]), lambda x: x * x.numpy(), lambda x: x * int(x[0]),
        lambda x: hp.asarray(np.sin(x.data)), lambda x: x * x.item() if x.size == 1 else x * x.tolist()[0], lambda x: x + x.data.max(),
        lambda x: hp.asarray(np.asarray(x.data)),
    ):
        with pytest.raises(GraphError, match=r"the value of a Tensor of shape .* is needed .*test_state.py:\d+.*hp.where"):
            jit(bad)(x)
    assert x.data.tolist() == [1.0, 2.0]


def test_recursion() -> None:
    @jit
    def power(x: Any, n: int) -> Any:
        return x * power(x, n - 1) if n else x * 0.0 + 1.0

    @jit
    def endless(x: Any) -> Any:
        return endless(x * 0.5)

    assert float(power(hp.asarray(3.0), 4)) == 81.0
    with pytest.raises(GraphError, match=r"calls itself without end .* use hp.while_loop"):
        endless(hp.asarray(1.0))


def test_changes_that_a_program_cannot_make_are_refused() -> None:
    history: list[Any] = []
    counter = {"n": 0}
    count = 0

    def appending(x: Any) -> Any:
        history.append(x)
        return x * 2.0

    def counting(x: Any) -> Any:
        counter["n"] += 1
        return x * 2.0

    def rebinding(x: Any) -> Any:
        nonlocal count
        count += 1
        return x * 2.0

    for bad, words in ((appending, "length of a list"), (counting, "changed 'n' from 0 to 1"), (rebinding, "variable of its surroundings")):
        with pytest.raises(GraphError, match=words):
            jit(bad)(hp.ones(2))
    with pytest.raises(GraphError, match=r"numpy\.random"):
        jit(lambda x: x + np.random.rand())(hp.ones(2))      # noqa: NPY002  what is refused
    generator = hp.random.Generator(0)
    with pytest.raises(GraphError, match=r"split outside"):
        jit(lambda x: x + generator.split(2)[0].normal((2,)))(hp.ones(2))


def test_a_value_that_escapes_is_refused_where_it_is_used() -> None:
    class Box:
        """Hides what it holds."""

        __slots__ = ("value",)

    box = Box()

    def hiding(x: Any) -> Any:
        box.value = x * 2.0
        return x

    jit(hiding)(hp.ones(2))
    with pytest.raises(GraphError, match=r"recording of hp\.jit that has ended"):
        box.value + 1.0


def test_derivatives_through_a_program() -> None:
    f = jit(lambda x: hp.sum(hp.tanh(x) ** 2))
    x = hp.asarray([0.3, -0.2])
    np.testing.assert_allclose(hp.grad(f)(x).data, hp.grad(f.function)(x).data)
    np.testing.assert_allclose(hp.vmap(f)(hp.stack([x, x])).data, hp.vmap(f.function)(hp.stack([x, x])).data)
    leaf = hp.asarray([0.3, -0.2], requires_grad=True)
    jit(f.function)(leaf).backward()
    np.testing.assert_allclose(leaf.grad.data, hp.grad(f.function)(x).data, rtol=1e-6)
    with hp.no_grad():
        assert not f(leaf).tracked
        assert "tanh" in f.lower(leaf).ir


def test_jit_inside_jit_is_one_program() -> None:
    inner = jit(lambda x: hp.tanh(x))
    outer = jit(lambda x: inner(x) + inner(2.0 * x))
    x = hp.asarray([0.1, 0.2])
    np.testing.assert_allclose(outer(x).data, (hp.tanh(x) + hp.tanh(2.0 * x)).data, rtol=1e-6)


def test_shapes_that_depend_on_values_are_refused_when_they_change() -> None:
    f = jit(lambda x: hp.sum(x[x > 0.0]))
    assert f(hp.asarray([1.0, -1.0, 2.0])).item() == 3.0
    with pytest.raises(ValueError, match="its shape depends on values"):
        f(hp.asarray([1.0, 1.0, 2.0]))


def test_threads_use_one_program_side_by_side() -> None:
    from concurrent.futures import ThreadPoolExecutor

    f = jit(lambda x: hp.tanh(x) * 2.0 + hp.cumsum(x))
    inputs = [hp.asarray(np.random.default_rng(i).normal(size=500)) for i in range(40)]
    f(inputs[0])
    with ThreadPoolExecutor(4) as pool:
        for x, got in zip(inputs, pool.map(f, inputs), strict=True):
            np.testing.assert_allclose(got.data, (hp.tanh(x) * 2.0 + hp.cumsum(x)).data, rtol=1e-12, atol=1e-12)


def test_modules_methods_and_debug() -> None:
    model = network()
    x, _ = data()
    with hp.no_grad():
        compiled = hp.jit(model)
        np.testing.assert_allclose(compiled(x).data, model(x).data, rtol=1e-5, atol=1e-6)
        model.parameters()[0].assign(model.parameters()[0].detach() * 0.5)
        np.testing.assert_allclose(compiled(x).data, model(x).data, rtol=1e-5, atol=1e-6)

    class Scaled:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @hp.jit
        def apply(self, x: Any) -> Any:
            return hp.log(x) * self.factor

    one, other = Scaled(2.0), Scaled(3.0)
    for scaled in (one, other, one):
        np.testing.assert_allclose(scaled.apply(hp.asarray([2.0])).data, np.log(2.0) * scaled.factor, rtol=1e-6)
    one.factor = 5.0
    np.testing.assert_allclose(one.apply(hp.asarray([2.0])).data, np.log(2.0) * 5.0, rtol=1e-6)
    with hp.debug(nan=True), pytest.raises(NonFiniteError, match="log: 1 Inf"):
        one.apply(hp.asarray([0.0]))


def test_an_error_in_the_function_leaves_everything_as_it_was() -> None:
    model = network()
    before = [p.data.copy() for p in model.parameters()]

    @jit
    def step(x: Any) -> Any:
        hp.sum(model(x)).backward()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        step(data()[0])
    assert all(p.grad is None for p in model.parameters())
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)


def test_parameters_that_are_written_over_are_not_those_that_were_returned() -> None:
    """Large parameters are updated in place where nobody else holds them; what a run returned, and what it still reads, is held."""
    def run(wrap: Any) -> list[Any]:
        p = hp.asarray(np.ones(20_000, np.float32), requires_grad=True)
        optimizer = optim.Adam([p], lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            before = p.detach()
            loss = hp.sum((p * x) ** 2)
            loss.backward()
            optimizer.step()
            return p.detach(), p.detach() - before, before * 2.0, loss

        call, x = wrap(step), hp.asarray(np.full(20_000, 0.5, np.float32))
        return [call(x) for _ in range(4)]

    for got, wanted in zip(run(jit), run(lambda f: f), strict=True):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=2e-5, atol=1e-6)
