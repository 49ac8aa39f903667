"""Every wrong input of the core: an error that names the operation, the argument, what was got and the way out, never a wrong gradient."""

import inspect
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, Tensor, functions, general
from hyperion.errors import DeviceError, DtypeError, GraphError, HyperionError, InputError, ShapeError

X = np.array([1.0, 2.0, 3.0])


# Shapes and dtypes that do not combine

TWO = [
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "equal", "less", "greater_equal", "atan2", "hypot", "logaddexp",
]


@pytest.mark.parametrize("name", TWO)
def test_shapes_that_do_not_combine(name: str) -> None:
    with pytest.raises(ShapeError, match=rf"{name}.*shapes? .*\(2, 3\).*\(4,\)"):
        getattr(hp, name)(np.ones((2, 3)), np.ones(4))


@pytest.mark.parametrize("operator", [lambda x, y: x + y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x ** y, lambda x, y: x < y])
def test_operators_too(operator: Any) -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(4,\)"):
        operator(hp.ones((2, 3)), hp.ones(4))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hp.matmul(np.ones((2, 3)), np.ones((2, 3))), r"matmul.*\(2, 3\)"),
    (lambda: hp.where(np.ones(3, bool), np.ones(2), 1.0), r"where.*\(3,\).*\(2,\)"),
    (lambda: hp.concat([np.ones((2, 3)), np.ones((2, 2))]), r"concat.*\(2, 3\).*\(2, 2\)"),
    (lambda: hp.stack([np.ones(3), np.ones(2)]), r"stack.*\(3,\).*\(2,\)"),
    (lambda: hp.reshape(np.ones((2, 3)), (4, 2)), r"reshape.*\(2, 3\).*\(4, 2\)"),
    (lambda: hp.broadcast_to(np.ones(3), (2, 4)), r"broadcast_to.*\(3,\).*\(2, 4\)"),
    (lambda: hp.sum(np.ones((2, 3)), axis=2), r"sum.*axis=2.*2 axes"),
    (lambda: hp.einsum("ij,jk->ik", np.ones((2, 3)), np.ones((2, 3))), r"einsum.*j"),
    (lambda: hp.linalg.solve(np.ones((2, 3)), np.ones(2)), r"solve.*\(2, 3\)"),
    (lambda: hp.linalg.cholesky(np.ones((2, 3))), r"cholesky.*\(2, 3\)"),
])
def test_shapes_of_other_operations(call: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hp.where(np.ones(3), 1.0, 2.0), r"where.*condition is float64; it must be bool"),
    (lambda: hp.add(np.ones(2, np.uint64), np.ones(2, np.int64)), r"dtypes int64 and uint64 do not combine.*astype"),
    (lambda: hp.astype(np.ones(2, complex), "float32"), r"astype.*complex128.*imaginary part"),
    (lambda: hp.asarray(["a", "b"]), r"value is a list of dtype <U1"),
    (lambda: hp.asarray([1.0], dtype="float8"), r"dtype='float8' is not a dtype"),
    (lambda: hp.asarray(np.ones(2, np.longdouble)), r"is not supported; use one of"),
    (lambda: hp.floor(np.ones(2, complex)), r"floor.*complex128"),
    (lambda: hp.bitwise_and(np.ones(2), np.ones(2)), r"bitwise_and.*float64"),
])
def test_dtypes_that_do_not_combine(call: Any, words: str) -> None:
    with pytest.raises(DtypeError, match=words):
        call()


NUMBERS = {"arange", "tril_indices", "triu_indices", "save", "load"}      # take no arrays
NAMES = sorted({name for name in functions.__all__ if inspect.isroutine(value := getattr(hp, name)) or callable(value)} - NUMBERS)


@pytest.mark.parametrize("name", [name for name in NAMES if not inspect.isclass(getattr(hp, name))])
@pytest.mark.parametrize("wrong", [np.array(["a", "b"]), np.array([object()]), {"a": 1}], ids=["text", "objects", "dict"])
def test_what_is_no_array_of_numbers_never_reaches_numpy(name: str, wrong: Any) -> None:
    """Either an error of ours, or Python's own about the arguments that are missing, or a function that is made for it (trees, types)."""
    try:
        getattr(hp, name)(wrong)
    except HyperionError as error:
        assert len(str(error)) > 25
    except TypeError as error:
        assert "missing" in str(error) or "positional argument" in str(error), f"{name}: {error}"


# What has no derivative

@pytest.mark.parametrize("value", [3, np.arange(3), np.array([True, False])])
def test_integer_inputs_to_grad(value: Any) -> None:
    with pytest.raises(DtypeError, match=r"grad: argument \[0\] is (int64|bool); only floating and complex dtypes have derivatives.*as"):
        hp.grad(lambda x: hp.sum(x * 1.0))(value)
    with pytest.raises(DtypeError, match=r"asarray\(x, requires_grad=True\): x is (int64|bool)"):
        hp.asarray(value, requires_grad=True)


def test_a_loss_that_is_no_scalar() -> None:
    with pytest.raises(ShapeError, match=r"grad: the function returned a Tensor of shape \(3,\); .*use .sum\(\) or .mean\(\), or vjp"):
        hp.grad(lambda x: x * x)(X)
    with pytest.raises(ShapeError, match=r"the loss has shape \(3,\); it must be a scalar: use .sum\(\), or give gradient="):
        (hp.asarray(X, requires_grad=True) * 2.0).backward()


def test_backward_twice_on_a_freed_graph() -> None:
    loss = hp.sum(hp.sin(hp.asarray(X, requires_grad=True)))
    loss.backward()
    with pytest.raises(GraphError, match=r"the graph was freed by an earlier backward \(at operation '\w+'\).*retain_graph=True"):
        loss.backward()


def test_an_operation_without_a_rule() -> None:
    op = general("test_wrong_input_rule", lambda xp, x: x * 2.0)
    try:
        for transform in (lambda: hp.grad(op)(3.0), lambda: op(hp.asarray(3.0, requires_grad=True)).backward()):
            with pytest.raises(GraphError, match=r"'test_wrong_input_rule' has no vjp rule.*give vjp= in its stanza.*or.*stop_gradient"):
                transform()
        with pytest.raises(GraphError, match=r"'test_wrong_input_rule' has no jvp rule.*give jvp= in its stanza"):
            hp.jvp(op, (3.0,), (1.0,))
    finally:
        del PRIMITIVES["test_wrong_input_rule"]


# Devices

class Elsewhere(Tensor):
    """A Tensor that says it is on a GPU, so that the refusal is tested without one."""

    @property
    def device(self) -> str:
        return "cuda:0"


def test_a_device_mix_without_a_gpu() -> None:
    from hyperion.autograd.table import _common_namespace

    with pytest.raises(DeviceError, match=r"add: inputs are on cpu, cuda:0; all must be on one device: use x.to\('cpu'\)"):
        _common_namespace(PRIMITIVES["add"], (hp.ones(2), Elsewhere(X)))


@pytest.mark.gpu
@pytest.mark.parametrize("call", [
    lambda x, y: x + y, lambda x, y: hp.matmul(x, y), lambda x, y: hp.where(x > 0.0, x, y), lambda x, y: hp.concat([x, y]),
    lambda x, y: x * y.numpy(),
])
def test_a_device_mix(call: Any) -> None:
    x, y = hp.ones(3, device="cuda:0"), hp.ones(3)
    with pytest.raises(DeviceError, match=r"inputs are on cuda:0.*cpu.*use x.to\('cuda:0'\)"):
        call(x, y)


def test_a_device_that_is_absent() -> None:
    for call in (lambda: hp.ones(2).to("cuda:99"), lambda: hp.zeros(2, device="cuda:99"), lambda: hp.asarray(X, device="tpu")):
        with pytest.raises(DeviceError, match=r'device=.*(cuda:99|tpu).*use device="cpu"|it must be "cpu" or "cuda:N"'):
            call()


# Writing to a NumPy array that a gradient still needs

def test_a_leaf_has_its_own_memory() -> None:
    array = X.copy()
    x = hp.asarray(array, requires_grad=True)
    loss = hp.sum(x * x)
    array[:] = 100.0
    loss.backward()
    assert x.grad is not None and x.grad.numpy().tolist() == [2.0, 4.0, 6.0]


def product(w: Any, array: Any) -> Any:
    return hp.sum(w * array)


@pytest.mark.parametrize("record", [
    lambda w, array: hp.sum(w * array),                                 # the array itself
    lambda w, array: hp.sum(w * hp.asarray(array)),                     # a Tensor that shares its memory
    lambda w, array: hp.sum(w * hp.asarray(array)[::-1]),               # a view
    lambda w, array: hp.sum(hp.matmul(w[None], hp.asarray(array)[:, None])),
    lambda w, array: hp.sum(hp.where(w > 0.0, w, w) * hp.asarray(array).reshape(3, 1)),
], ids=["array", "tensor", "view", "matmul", "reshaped"])
def test_a_constant_written_to_before_backward_is_refused(record: Any) -> None:
    array = X.copy()
    w = hp.asarray([1.0, 1.0, 1.0], dtype="float64", requires_grad=True)
    loss = record(w, array)
    array[1] = 50.0
    with pytest.raises(GraphError, match=r"(written|changed|in place)"):
        loss.backward()
    assert w.grad is None


def test_a_constant_written_to_between_vjp_and_its_pullback_is_refused() -> None:
    array = X.copy()
    _, pullback = hp.vjp(lambda w: product(w, array), np.ones(3))
    assert pullback(1.0)[0].numpy().tolist() == X.tolist()
    array[0] = -1.0
    with pytest.raises(GraphError, match=r"(written|changed|in place)"):
        pullback(1.0)


def test_writing_to_what_the_derivative_does_not_look_at_never_gives_a_wrong_one() -> None:
    array = X.copy()
    w = hp.asarray([1.0, 1.0, 1.0], dtype="float64", requires_grad=True)
    loss = hp.sum(w + array)
    array[1] = 50.0
    try:
        loss.backward()
    except GraphError as error:
        assert "written to since" in str(error)
    else:
        assert w.grad is not None and w.grad.numpy().tolist() == [1.0, 1.0, 1.0]


def test_writing_after_backward_is_fine() -> None:
    array = X.copy()
    for n in range(3):
        w = hp.asarray([1.0, 1.0, 1.0], dtype="float64", requires_grad=True)
        array[1] = float(n)
        product(w, array).backward()
        assert w.grad is not None and w.grad.numpy().tolist() == [1.0, float(n), 3.0]


def test_reading_inside_one_transform_is_fine() -> None:
    array = X.copy()
    for n in range(3):
        array[1] = float(n)
        assert hp.grad(lambda w: product(w, array))(np.ones(3)).numpy().tolist() == [1.0, float(n), 3.0]


def test_assigning_a_leaf_before_backward_is_refused() -> None:
    x = hp.asarray(X, requires_grad=True)
    loss = hp.sum(x * x)
    x.assign(X * 2.0)
    with pytest.raises(GraphError, match=r"was assigned a new value since.*compute the loss again"):
        loss.backward()


def test_items_of_a_tensor_cannot_be_set() -> None:
    x: Any = hp.asarray(X)
    with pytest.raises((TypeError, HyperionError), match=r"item assignment|at\["):
        x[0] = 5.0


def test_a_tracked_tensor_does_not_turn_into_numpy_without_a_word() -> None:
    x = hp.asarray(X, requires_grad=True)
    for call in (x.numpy, lambda: np.asarray(x), lambda: (x * 2.0).numpy()):
        with pytest.raises(GraphError, match=r"use x.detach\(\)"):
            call()
    with pytest.raises((TypeError, InputError)):
        np.sin(x)
