"""Loops and branches on values: as Python runs them, as compiled operations, and their derivatives in every direction and order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, optim
from hyperion.autograd.jit.bodies import Body
from hyperion.cpu import program
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError, TreeError

numbers = np.random.default_rng(0)
W, START, ROWS = (hp.asarray(numbers.normal(size=shape) * 0.4) for shape in ((3, 3), (3,), (5, 3)))
Function = Callable[..., Any]


def network(W: Any, start: Any, rows: Any, reverse: bool = False) -> Any:
    """A recurrent network whose outputs all count."""
    def step(h: Any, x: Any) -> Any:
        h = hp.tanh(h @ W + x)
        return h, {"twice": 2.0 * h, "first": h[0]}

    h, ys = hp.scan(step, start, rows, reverse=reverse)
    return hp.sum(h ** 2) + hp.mean(hp.sin(ys["twice"])) + hp.sum(ys["first"])


def branching(W: Any, start: Any, rows: Any) -> Any:
    """Branches inside of a scan, that use different things from outside."""
    def step(h: Any, x: Any) -> Any:
        h = hp.cond(hp.sum(h) > 0.0, lambda h: hp.sin(h @ W), lambda h: h * x + hp.sum(start), h)
        return h, None

    h, nothing = hp.scan(step, start, rows)
    return hp.sum(h * h) if nothing is None else nothing


def counting(W: Any, start: Any, rows: Any) -> Any:
    """Rounds until a sum is large enough; a whole number is carried along."""
    def go_on(carry: Any) -> Any:
        return hp.sum(carry[0] ** 2) < 4.0

    h, n = hp.while_loop(go_on, lambda carry: (carry[0] * 1.3 + W[0] * rows[1], carry[1] + 1), (start, hp.asarray(0)))
    return hp.sum(h) * (1.0 + hp.astype(n, "float64"))


def bounded(W: Any, start: Any, rows: Any) -> Any:
    h, n = hp.while_loop(lambda c: hp.sum(c[0] ** 2) < 4.0, lambda c: (c[0] * 1.3 + W[0] * rows[1], c[1] + 1), (start, hp.asarray(0)),
                         maximum=30)
    return hp.sum(h) * (1.0 + hp.astype(n, "float64"))


def backwards(W: Any, start: Any, rows: Any) -> Any:
    return network(W, start, rows, reverse=True)


def nested(W: Any, start: Any, rows: Any) -> Any:
    """A scan in a scan, with constants that no derivative may pass."""
    def outer(h: Any, x: Any) -> Any:
        def inner(k: Any, y: Any) -> Any:
            with hp.no_grad():
                still = hp.exp(k) * 0.1
            return hp.sin(k + y * x[0]) + still + (k * 2.0).detach() * 0.1, k

        k, all_k = hp.scan(inner, h, x)
        return hp.sin(k) * hp.sum(W[0]) * h, hp.sum(all_k)

    h, sums = hp.scan(outer, hp.sum(start), rows)
    return h + hp.sum(sums)


def sloped(W: Any, start: Any, rows: Any) -> Any:
    """A body that takes a derivative itself: gradient descent, which is differentiated."""
    def step(h: Any, x: Any) -> Any:
        return h - 0.3 * hp.grad(lambda z: hp.sum(hp.tanh(z @ W + x) ** 2))(h), None

    return hp.sum(hp.scan(step, start, rows)[0] ** 3)


FUNCTIONS = {f.__name__: f for f in (network, backwards, branching, counting, bounded, nested, sloped)}
TANGENTS = (W * 0.3, START + 0.1, ROWS * 0.5)
MODES: dict[str, Callable[[Function], Function]] = {
    "value": lambda f: f,
    "grad": lambda f: hp.grad(f, argnums=(0, 1, 2)),
    "jvp": lambda f: lambda *a: hp.jvp(f, a, TANGENTS),
    "forward over reverse": lambda f: lambda *a: hp.hvp(f, a, TANGENTS),
    "reverse over forward": lambda f: hp.grad(lambda *a: hp.jvp(f, a, TANGENTS)[1], argnums=(0, 1)),
    "reverse over reverse": lambda f: hp.grad(lambda *a: sum(hp.sum(g * g) for g in hp.grad(f, argnums=(0, 1, 2))(*a)), argnums=(0, 1)),
}


def leaves(tree: Any) -> list[Any]:
    return [x.data for x in hp.autograd.flatten(tree)[0]]


def agree(got: Any, wanted: Any) -> None:
    """Some tens of operations in float64."""
    for x, y in zip(leaves(got), leaves(wanted), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_loops_are_pythons_loops(name: str, mode: str) -> None:
    f = MODES[mode](FUNCTIONS[name])
    compiled = hp.jit(f)
    if name == "counting" and mode in ("reverse over reverse", "forward over reverse"):
        with pytest.raises(GraphError, match=r"while_loop: .* needs a length: give maximum="):
            compiled(W, START, ROWS)
        return
    for scale in (1.0, 0.7):
        agree(compiled(W * scale, START, ROWS), f(W * scale, START, ROWS))


def test_compiled_loops_run_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "available", lambda: False)
    for name in ("network", "branching", "counting"):
        f = hp.grad(FUNCTIONS[name])
        agree(hp.jit(f)(W, START, ROWS), f(W, START, ROWS))


@pytest.mark.skipif(not program.available(), reason="no C compiler")
def test_a_body_of_native_code_is_one_call_for_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def forced(rate: Any, xs: Any) -> Any:
        return hp.scan(lambda y, x: (y + 0.01 * (hp.sin(x) - rate * y), y), hp.ones(4, dtype="float64"), xs)[1]

    f = hp.jit(hp.grad(lambda rate, xs: hp.mean(forced(rate, xs) ** 2)))
    xs = hp.asarray(numbers.normal(size=(200, 4)))
    monkeypatch.setattr(Body, "run", lambda *_: pytest.fail("a call for a round"))
    agree(f(hp.asarray(np.float64(0.5)), xs), hp.grad(lambda rate: hp.mean(forced(rate, xs) ** 2))(hp.asarray(np.float64(0.5))))
    root = hp.jit(lambda a: hp.while_loop(lambda x: hp.abs(x * x - a) > 1e-12, lambda x: 0.5 * (x + a / x), a))
    assert abs(float(root(hp.asarray(np.float64(2.0)))) - 2.0 ** 0.5) < 1e-12


@pytest.mark.skipif(not program.available(), reason="no C compiler")
def test_another_length_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    f = hp.jit(hp.grad(lambda y, xs: hp.sum(hp.scan(lambda y, x: (y * hp.cos(x), y + x), y, xs)[1])))
    for rows in (3, 7, 50):
        y, xs = hp.ones(2), hp.asarray(numbers.normal(size=(rows, 2)).astype(np.float32))
        wanted = hp.grad(lambda y, xs=xs: hp.sum(hp.scan(lambda y, x: (y * hp.cos(x), y + x), y, xs)[1]))(y)
        np.testing.assert_allclose(f(y, xs).data, wanted.data, rtol=1e-5)
        monkeypatch.setattr(program, "_compile", lambda unit: pytest.fail("compiled again"))


@pytest.mark.parametrize("wrap", [lambda f: f, hp.jit], ids=["eager", "jit"])
def test_an_oscillator_keeps_its_analytic_solution(wrap: Any) -> None:
    """Two leapfrog half steps are exact to second order: cos(t) and the derivative by the frequency, -t sin(t)."""
    steps, dt = 400, np.pi / 400

    def position(w: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            q, p = carry
            p = p - 0.5 * dt * w * w * q
            q = q + dt * p
            return (q, p - 0.5 * dt * w * w * q), q

        return hp.scan(step, (hp.asarray(np.float64(1.0)), hp.asarray(np.float64(0.0))), length=steps)[1]

    w = hp.asarray(np.float64(1.0))
    t = dt * np.arange(1, steps + 1)
    value, slope = wrap(lambda w: hp.jvp(position, (w,), (hp.asarray(np.float64(1.0)),)))(w)
    np.testing.assert_allclose(value.data, np.cos(t), atol=dt ** 2)
    np.testing.assert_allclose(slope.data, -t * np.sin(t), atol=4 * dt ** 2)
    back = wrap(hp.grad(lambda w: position(w)[200]))(w)
    np.testing.assert_allclose(float(back), slope.data[200], rtol=1e-10)


def test_batches() -> None:
    starts = hp.asarray(numbers.normal(size=(4, 3)))
    for f in (network, branching, counting, bounded):
        wanted = np.stack([f(W, x, ROWS).data for x in starts])
        np.testing.assert_allclose(hp.vmap(f, (None, 0, None))(W, starts, ROWS).data, wanted, rtol=1e-10)
        if f in (network, branching):
            np.testing.assert_allclose(hp.jit(hp.vmap(f, (None, 0, None)))(W, starts, ROWS).data, wanted, rtol=1e-10)
    with pytest.raises(InputError, match="while_loop: inside vmap and jit together it needs a length; give maximum="):
        hp.jit(hp.vmap(counting, (None, 0, None)))(W, starts, ROWS)


def test_taylor_mode() -> None:
    def f(x: Any) -> Any:
        return hp.scan(lambda h, x: (h * x + x, h), hp.asarray(np.float64(0.5)), x)[0]

    x, direction = ROWS[0], START
    wanted = hp.jet(f, (x,), (direction,), 2)
    agree(hp.jit(lambda x: hp.jet(f, (x,), (direction,), 2))(x), wanted)
    twice = hp.jvp(lambda x: hp.jvp(f, (x,), (direction,))[1], (x,), (direction,))[1]
    np.testing.assert_allclose(float(wanted[2]), float(twice), rtol=1e-9)


def test_no_rows() -> None:
    for wrap in (lambda f: f, hp.jit):
        carry, ys = wrap(lambda c, xs: hp.scan(lambda c, x: (c + x[0], (x * 2.0, c)), c, xs))(START[0], ROWS[:0])
        assert float(carry) == float(START[0]) and [y.shape for y in ys] == [(0, 3), (0,)]


def test_training_with_a_scan_inside_one_compiled_step() -> None:
    def run(wrap: Any) -> list[float]:
        nn.seed(0)
        cell, out = nn.Linear(5, 4), nn.Linear(4, 1)
        optimizer = optim.Adam([*cell.parameters(), *out.parameters()], lr=1e-2)

        def step(xs: Any, target: Any) -> Any:
            optimizer.zero_grad()
            h, _ = hp.scan(lambda h, x: (hp.tanh(cell(hp.concat([h, x], axis=-1))), None), hp.zeros((6, 4)), xs)
            loss = hp.mean((out(h) - target) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        call = wrap(step)
        xs = hp.asarray(np.random.default_rng(3).normal(size=(7, 6, 1)).astype(np.float32))
        return [float(call(xs, hp.sum(xs, axis=0))) for _ in range(5)]

    np.testing.assert_allclose(run(hp.jit), run(lambda f: f), rtol=2e-4)


@pytest.mark.parametrize("wrap", [lambda f: f, hp.jit], ids=["eager", "jit"])
def test_refusals(wrap: Any) -> None:
    x = hp.asarray([1.0, 2.0])
    cases: list[tuple[Function, type[Exception], str]] = [
        (lambda x: hp.scan(lambda c, _: c, x, length=2), InputError, "returned a Tensor; it must return a pair"),
        (lambda x: hp.scan(lambda c, _: (c[:1], c), x, length=2), ShapeError, r"has shape \(2,\) before a round and \(1,\) after"),
        (lambda x: hp.scan(lambda c, _: (c.astype("float64"), c), x, length=2), DtypeError, "float32 before a round and float64 after"),
        (lambda x: hp.scan(lambda c, _: ((c, c), c), x, length=2), TreeError, "the carry"),
        (lambda x: hp.scan(lambda c, _: (c, c), x), InputError, "say how often with length="),
        (lambda x: hp.scan(lambda c, y: (c, y), x, x, length=3), InputError, "xs has 2 rows, length has 3 rows"),
        (lambda x: hp.scan(lambda c, y: (c, y), x, x[0]), ShapeError, r"xs has shape \(\)"),
        (lambda x: hp.scan(lambda c, y: (c, y), x, length=-1), InputError, "length=-1 must be a whole number"),
        (lambda x: hp.scan(lambda c, y: (c, y), "x", length=1), InputError, "scan: init is a str"),
        (lambda x: hp.cond(x > 0.0, lambda: x, lambda: x), ShapeError, r"predicate has shape \(2,\); .* use all\(...\) or any"),
        (lambda x: hp.cond(x[0], lambda: x, lambda: x), DtypeError, "predicate is float32; it must be bool"),
        (lambda x: hp.while_loop(lambda c: c[0], lambda c: c, x), DtypeError, "the condition is float32"),
        (lambda x: hp.while_loop(lambda c: c[0] < 9.0, lambda c: c[:1], x), ShapeError, "while_loop: the carry has shape"),
        (lambda x: hp.while_loop(lambda c: c[0] < 9.0, lambda c: c, x, maximum=-2), InputError, "maximum=-2 must be a whole number"),
    ]
    for f, kind, text in cases:
        with pytest.raises(kind, match=text):
            wrap(f)(x)


def test_refusals_of_recordings() -> None:
    x, generator = hp.asarray([1.0, 2.0]), hp.random.Generator(0)
    p = hp.asarray([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)

    def train(c: Any, _: Any) -> Any:
        optimizer.zero_grad()
        hp.sum(p * c).backward()
        optimizer.step()
        return c, None

    cases: list[tuple[Function, str]] = [
        (lambda x: hp.scan(lambda c, _: (c + generator.normal((2,)), c), x, length=2), "normal is called inside the body of a scan"),
        (lambda x: hp.scan(train, x, length=2), "SGD.step is called inside the body of a scan"),
        (lambda x: hp.scan(lambda c, _: (c if c[0] > 0 else -c, c), x, length=2), "the value of a Tensor .* is needed"),
    ]
    for f, text in cases:
        with pytest.raises(GraphError, match=text):
            hp.jit(f)(x)
    with pytest.raises(ShapeError, match=r"the result of if_true has shape \(2,\), that of if_false \(1,\)"):
        hp.jit(lambda x: hp.cond(x[0] > 0.0, lambda x: x, lambda x: x[:1], x))(x)
    with pytest.raises(DtypeError, match="if_true is float32, that of if_false float64"):
        hp.jit(lambda x: hp.cond(x[0] > 0.0, lambda x: x, lambda x: x.astype("float64"), x))(x)
