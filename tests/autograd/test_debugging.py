"""The first operation that makes a NaN or Inf is named, with the line of user code; nothing is left behind when the context ends."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.debugging import debug
from hyperion.autograd.table import Primitive
from hyperion.errors import InputError, NonFiniteError

ZERO = np.array([1.0, 0.0, 4.0])


def line_of(function: Callable[..., Any], text: str) -> str:
    """Return file:line of the first line of a function that contains a text."""
    lines, start = inspect.getsourcelines(function)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if text in line)}"


def message(function: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(NonFiniteError) as caught, debug(nan=True):
        function(*args)
    return str(caught.value)


def forward_model(x: Any) -> Any:
    y = hp.negative(x) + 1.0
    z = hp.divide(y, x)
    return hp.sum(z)


def root(x: Any) -> Any:
    y = hp.sqrt(x)
    return hp.sum(y)


def test_forward_names_operation_shapes_counts_and_the_line() -> None:
    text = message(forward_model, ZERO)
    assert text.startswith("divide: 1 Inf among the 3 values of its result (3,) float64, from finite inputs (3,) float64, (3,) float64\n")
    assert f"called at {line_of(forward_model, 'hp.divide')}, in forward_model: z = hp.divide(y, x)" in text
    assert "before the operation" in text


def test_nan_and_inf_are_counted_apart() -> None:
    text = message(lambda: hp.divide([0.0, 1.0, 0.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 1.0]))
    assert "divide: 2 NaN and 2 Inf among the 5 values" in text


def test_a_method_and_an_operator_point_to_the_same_line() -> None:
    def ratio(x: Any) -> Any:
        return (x * 2.0) / (x - x)

    assert f"called at {line_of(ratio, 'return')}, in ratio: return (x * 2.0) / (x - x)" in message(ratio, hp.asarray(ZERO))


@pytest.mark.parametrize("sweep", [lambda x: hp.grad(root)(x), lambda x: hp.value_and_grad(root)(x), lambda x: hp.vjp(root, x)[1](1.0)])
def test_backward_names_the_operation_being_differentiated_and_its_line(sweep: Any) -> None:
    text = message(sweep, ZERO)
    assert "1 Inf among the 3 values" in text
    assert f"in the backward sweep of 'sqrt', which was called at {line_of(root, 'hp.sqrt')}, in root: y = hp.sqrt(x)" in text
    assert f"the sweep was started at {__file__}:" in text and "the derivative of 'sqrt' is not finite" in text


def test_backward_method() -> None:
    def train() -> None:
        x = hp.asarray(ZERO, requires_grad=True)
        loss = root(x)
        loss.backward()

    text = message(train)
    assert f"called at {line_of(root, 'hp.sqrt')}" in text
    assert f"the sweep was started at {line_of(train, 'backward')}, in train: loss.backward()" in text


def test_forward_and_taylor_sweeps() -> None:
    text = message(lambda: hp.jvp(root, (ZERO,), (np.ones(3),)))
    assert f"in the forward sweep of 'sqrt', which was called at {line_of(root, 'hp.sqrt')}" in text
    text = message(lambda: hp.jet(root, (ZERO,), (np.ones(3),), order=2))
    assert f"in the Taylor sweep of 'sqrt', which was called at {line_of(root, 'hp.sqrt')}" in text


def test_second_derivatives_lead_back_through_every_sweep() -> None:
    """x ** 1.5 at 0: value and first derivative are finite, the second is not."""
    def energy(x: Any) -> Any:
        return hp.sum(hp.power(x, 1.5))

    def curvature(x: Any) -> Any:
        return hp.grad(lambda y: hp.sum(hp.grad(energy)(y)))(x)

    with debug(nan=True):
        assert np.isfinite(hp.grad(energy)(ZERO).numpy()).all()
    text = message(curvature, ZERO)
    assert text.count("in the backward sweep of") == 2
    assert f"called at {line_of(energy, 'return')}" in text


def test_a_graph_recorded_before_the_context_has_no_line_but_the_rest() -> None:
    x = hp.asarray(ZERO, requires_grad=True)
    loss = root(x)
    text = message(loss.backward)
    assert "in the backward sweep of 'sqrt'\n" in text and "the sweep was started at" in text


def test_inside_vmap() -> None:
    text = message(lambda: hp.vmap(forward_model)(np.stack([ZERO, ZERO + 1.0])))
    assert text.startswith("divide: 1 Inf among the 6 values")
    assert f"called at {line_of(forward_model, 'hp.divide')}" in text


def test_what_came_in_not_finite_does_not_raise() -> None:
    with debug(nan=True):
        assert hp.exp(hp.where([True, False], 1.0, -np.inf)).numpy()[1] == 0.0
        assert np.isnan((hp.asarray([np.nan, 1.0]) * 2.0).numpy()[0])
        assert hp.sum(hp.asarray([1, 2])).item() == 3


def test_complex_and_low_precision() -> None:
    text = message(lambda: hp.divide(1.0, hp.asarray(np.array([0j, 1.0]))))
    assert text.startswith("divide: 1 NaN among the 2 values of its result (2,) complex128")
    text = message(lambda: hp.exp(hp.asarray([12.0], dtype="float16")))
    assert text.startswith("exp: 1 Inf among the 1 values of its result (1,) float16")


def test_several_outputs() -> None:
    op = hp.autograd.general("test_debug_two", lambda xp, x: (x, x / (x - x)), outputs=2)
    try:
        assert message(op, ZERO[:1]).startswith("test_debug_two: 1 Inf among the 2 values of its result (1,) float64, (1,) float64")
    finally:
        del hp.autograd.PRIMITIVES["test_debug_two"]


def test_nothing_is_left_when_the_context_ends() -> None:
    before = Primitive.__call__
    with debug(nan=True):
        assert Primitive.__call__ is not before
        with debug(nan=True), debug(nan=False):
            pass
        assert Primitive.__call__ is not before
        with pytest.raises(NonFiniteError):
            hp.log(hp.asarray([0.0]))
    assert Primitive.__call__ is before
    with pytest.raises(KeyError), debug(nan=True):
        raise KeyError("inside")
    assert Primitive.__call__ is before
    with np.errstate(divide="ignore"):
        assert np.isinf(hp.log(hp.asarray([0.0])).numpy()).all()


def test_contexts_may_end_in_any_order() -> None:
    before, first, second = Primitive.__call__, debug(nan=True), debug(nan=False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with np.errstate(divide="ignore"):
        hp.log(hp.asarray([0.0]))          # only the second is open, and it does not look
    second.__exit__(None, None, None)
    assert Primitive.__call__ is before


def test_as_a_decorator() -> None:
    @debug(nan=True)
    def bad() -> Any:
        return hp.log(hp.asarray([0.0]))

    with pytest.raises(NonFiniteError, match=r"called at .*test_debugging.py:\d+, in bad"):
        bad()


def test_trace_tells_every_operation() -> None:
    lines: list[str] = []
    with debug(nan=False, trace=lines.append):
        hp.grad(root)(hp.asarray([4.0]))
    assert any(line.startswith(f"sqrt: (1,) float32 -> (1,) float32, {line_of(root, 'hp.sqrt')}") for line in lines)
    assert any("backward sweep of sqrt" in line for line in lines)
    with pytest.raises(InputError, match=r"debug\(trace=True\): trace must be a function of a text, such as print"):
        debug(trace=True)  # type: ignore[arg-type]


def test_other_threads_are_watched() -> None:
    found: list[Exception] = []

    def work() -> None:
        try:
            hp.log(hp.asarray([0.0]))
        except NonFiniteError as error:
            found.append(error)

    with debug(nan=True):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 1 and "in work: hp.log" in str(found[0])


def test_derivatives_inside_are_those_outside() -> None:
    def f(x: Any) -> Any:
        return hp.sum(hp.tanh(x) * hp.exp(-x))

    plain = hp.hvp(f, (ZERO,), (ZERO,))[0].numpy()
    with debug(nan=True):
        np.testing.assert_array_equal(hp.hvp(f, (ZERO,), (ZERO,))[0].numpy(), plain)
