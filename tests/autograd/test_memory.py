"""A graph is freed with its outputs: no reference cycles, checked with the garbage collector off."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hyperion.autograd import PRIMITIVES, asarray, concat, general, grad, hvp, jvp, multiply, sin, stack, sum, value_and_grad, vjp, where


@pytest.fixture(autouse=True)
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Watch:
    """Weak references to the arrays that a function makes on its way."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, x: Any) -> Any:
        self.seen.append(weakref.ref(x.data))
        return x

    @property
    def alive(self) -> int:
        return len([ref for ref in self.seen if ref() is not None])


def network(watch: Watch, x: Any) -> Any:
    y = watch(sin(x))
    z = watch(concat([watch(y * 2.0), watch(stack([y, y])[0])]))
    return watch(sum(where(z > 0.0, watch(z * z), watch(z[::-1]))))


def test_the_graph_goes_with_its_output() -> None:
    watch = Watch()
    loss = network(watch, asarray(np.linspace(-1.0, 1.0, 5), requires_grad=True))
    assert watch.alive == len(watch.seen)
    del loss
    assert watch.alive == 0


def test_backward_frees_the_graph_while_the_loss_lives() -> None:
    watch = Watch()
    x = asarray(np.linspace(-1.0, 1.0, 5), requires_grad=True)
    loss = network(watch, x)
    loss.backward()
    assert watch.alive == 1        # the loss itself
    assert x.grad is not None


@pytest.mark.parametrize("transform", [
    lambda f, x: value_and_grad(f)(x),
    lambda f, x: grad(f)(x),
    lambda f, x: vjp(f, x)[1](1.0),
    lambda f, x: jvp(f, (x,), (x,)),
    lambda f, x: hvp(f, (x,), (x,)),
    lambda f, x: grad(lambda y: sum(grad(f)(y)))(x),
])
def test_transforms_leave_nothing_behind(transform: Any) -> None:
    watch = Watch()
    results = transform(lambda x: network(watch, x), np.linspace(-1.0, 1.0, 5))
    outputs = 1 if isinstance(results, tuple) and len(results) == 2 else 0      # a value that is handed out
    assert watch.alive <= outputs
    del results
    assert watch.alive == 0


def test_a_pullback_holds_the_graph_as_long_as_it_lives() -> None:
    watch = Watch()
    pullback = vjp(lambda x: network(watch, x), np.linspace(-1.0, 1.0, 5))[1]
    pullback(1.0)
    assert watch.alive == len(watch.seen)
    del pullback
    assert watch.alive == 0


def test_a_gradient_sweep_frees_as_it_goes() -> None:
    alive: list[int] = []
    watch = Watch()

    def count(g: Any, out: Any, x: Any) -> Any:
        alive.append(watch.alive)
        return (g * 2.0,)

    double = general("test_double", lambda xp, x: x * 2.0, count)
    try:
        def f(x: Any) -> Any:
            for _ in range(10):
                x = watch(double(x))
            return sum(x)

        grad(f)(np.ones(3))
    finally:
        del PRIMITIVES["test_double"]
    assert alive == list(range(10, 0, -1))       # each step of the sweep drops what it has passed


def test_a_long_graph_is_freed_without_recursion() -> None:
    x = asarray(1.0, requires_grad=True)
    y = x
    for _ in range(300_000):
        y = multiply(y, 1.0)
    first = weakref.ref(y.node.inputs[0].data) if y.node is not None and y.node.inputs else None
    del y
    assert first is not None and first() is None
