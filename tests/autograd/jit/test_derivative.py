"""Derivatives from outside: a compiled function as one operation of the graph, with a program of its own for the way back."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, optim
from hyperion.autograd.jit import jit
from hyperion.autograd.jit.derivative import Differentiable, parted
from hyperion.autograd.jit.ir import verify
from hyperion.autograd.jit.passes import optimised
from hyperion.cpu import program
from hyperion.errors import GraphError, SpeedWarning

from .test_passes import names, recorded

numbers = np.random.default_rng(0)
A, B, X = (hp.asarray(numbers.normal(size=shape)) for shape in ((4, 3), (4,), (5, 3)))


def loss(a: Any, b: Any, x: Any) -> Any:
    return hp.mean(hp.tanh(hp.matmul(x, hp.permute_dims(a, (1, 0))) + b) ** 2)


def several(a: Any, b: Any, x: Any) -> Any:
    y = hp.exp(-a * a)
    return {"y": y, "same": a, "index": hp.argmax(b), "name": "text", "row": hp.softmax(x @ a[0], axis=0)}


def agree(got: Any, wanted: Any) -> None:
    for x, y in zip(hp.autograd.flatten(got)[0], hp.autograd.flatten(wanted)[0], strict=True):
        if isinstance(y, hp.Tensor):
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            np.testing.assert_allclose(x.data, y.data, rtol=1e-11, atol=1e-13)
        else:
            assert x == y


@pytest.mark.parametrize("native", [True, False])
def test_gradients_of_a_compiled_function(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(program, "available", lambda: False)
    compiled = jit(loss)
    runs: list[int] = []
    pull = Differentiable.pull
    monkeypatch.setattr(Differentiable, "pull", lambda self, *args: runs.append(1) or pull(self, *args))
    for scale in (1.0, 0.5, 2.0):
        got = hp.value_and_grad(compiled, argnums=(0, 1))(A * scale, B, X)
        agree(got, hp.value_and_grad(loss, argnums=(0, 1))(A * scale, B, X))
    agree(hp.vjp(compiled, A, B, X)[1](hp.asarray(np.float64(0.5))), hp.vjp(loss, A, B, X)[1](hp.asarray(np.float64(0.5))))
    assert len(runs) == 4


TRANSFORMS: dict[str, Any] = {
    "jvp": lambda f: lambda *a: hp.jvp(f, a, tuple(x * 0.5 for x in a)),
    "hvp": lambda f: lambda *a: hp.hvp(f, a, tuple(x * 0.5 for x in a)),
    "hessian": lambda f: lambda a, b, x: hp.hessian(lambda b: f(a, b, x))(b),
    "grad grad": lambda f: hp.grad(lambda a, b, x: hp.sum(hp.grad(f, argnums=1)(a, b, x) ** 2)),
    "vmap": lambda f: hp.vmap(hp.grad(f, argnums=1), (None, None, 0)),
    "jet": lambda f: lambda a, b, x: hp.jet(lambda b: f(a, b, x), (b,), (b,), 2),
    "checkpoint": lambda f: hp.grad(hp.checkpoint(f)),
    "jit around": lambda f: jit(hp.grad(f)),
    "inside a graph": lambda f: hp.grad(lambda a, b, x: f(a * 2.0, hp.sin(b), x) * f(a, b, x)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_goes_through(name: str) -> None:
    agree(TRANSFORMS[name](jit(loss))(A, B, X), TRANSFORMS[name](loss)(A, B, X))


def test_results_of_any_tree() -> None:
    compiled = jit(several)
    leaf, other = hp.asarray(A.data, requires_grad=True), hp.asarray(A.data, requires_grad=True)
    got, wanted = compiled(leaf, B, X), several(other, B, X)
    agree({k: v.detach() if isinstance(v, hp.Tensor) else v for k, v in got.items()},
          {k: v.detach() if isinstance(v, hp.Tensor) else v for k, v in wanted.items()})
    assert not got["index"].tracked and got["y"].tracked
    for out in (got, wanted):
        (hp.sum(out["y"] ** 2) + hp.sum(out["row"] * B[0])).backward()          # nothing comes in for "same"
    agree(leaf.grad, other.grad)


def test_models_and_optimisers_around_a_compiled_model() -> None:
    def run(wrap: Any) -> Any:
        nn.seed(0)
        model = nn.MLP([3, 8, 1], activation=hp.tanh)
        optimizer = optim.Adam(model.parameters(), lr=1e-2)
        forward = wrap(lambda x: model(x))
        x = hp.asarray(X.data.astype(np.float32))
        out = []
        for _ in range(4):
            optimizer.zero_grad()
            value = hp.mean((forward(x) - 1.0) ** 2)
            value.backward()
            optimizer.step()
            out.append(float(value))
        return out

    np.testing.assert_allclose(run(jit), run(lambda f: f), rtol=1e-5)


def test_each_graph_keeps_what_its_own_run_made() -> None:
    generator, mask = hp.random.Generator(1), hp.random.Generator(1)
    f = jit(lambda x: hp.sum(hp.sin(x) * generator.normal((3,))))
    xs = [hp.asarray([0.1, 0.2, 0.3], requires_grad=True) for _ in range(3)]
    values = [f(x) for x in xs]
    for x, value in zip(xs, values, strict=True):
        value.backward()
        np.testing.assert_allclose(x.grad.data, np.cos(x.data) * mask.normal((3,)).data, rtol=1e-6)
    with pytest.raises(GraphError, match="freed by an earlier backward"):
        values[0].backward()


def test_a_parameter_changed_since_is_refused() -> None:
    p = hp.asarray([1.0, 2.0], requires_grad=True)
    value = jit(lambda: hp.sum(p * p))()
    p.assign(p.detach() * 2.0)
    with pytest.raises(GraphError, match="assigned a new value since"):
        value.backward()


@pytest.mark.parametrize("place", ["argument", "closure"])
def test_an_array_written_to_since_is_refused(place: str) -> None:
    p, table = hp.asarray([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0], np.float32)
    given = hp.asarray(table)
    functions = {"argument": lambda p, x: hp.sum(hp.sin(p * x)), "closure": lambda p, _: hp.sum(hp.sin(p * hp.asarray(table)))}
    value = jit(functions[place])(p, given if place == "argument" else hp.zeros(()))
    table[0] = 5.0
    with pytest.raises(GraphError, match="written to since"):
        value.backward()


def test_a_function_that_changes_something_runs_as_it_is() -> None:
    nn.seed(0)
    layer = nn.BatchNorm(3)
    f = jit(lambda x: hp.sum(layer(x) ** 2))
    x = hp.asarray(X.data.astype(np.float32), requires_grad=True)
    with pytest.warns(SpeedWarning, match="changes something around it: it runs as it is"):
        f(x).backward()
    assert int(layer.num_batches_tracked) == 1 and x.grad is not None


def test_a_program_is_parted_at_its_seeds() -> None:
    code = optimised(recorded(lambda x, g: (hp.tanh(x), g * (1.0 - hp.tanh(x) ** 2), hp.permute_dims(x, (1, 0)) @ g), X, X * 1.0))
    ahead, kept, back = parted(code, 1, [code.inputs[1]])
    verify(ahead, "parted"), verify(back, "parted")
    assert names(ahead)[0] == "tanh" and "matmul" not in names(ahead)
    assert "permute_dims" in names(back) and "tanh" not in names(back)         # a view is cheaper to make than to keep
    assert len(ahead.results) == 1 + len(kept) and code.inputs[1] in back.inputs and code.inputs[1] not in ahead.inputs
