"""Tensor as a value: properties, operators, conversions, copies."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import Tensor, as_tensor, asarray, grad, jvp
from hyperion.errors import DeviceError, DtypeError, GraphError, InputError, ShapeError
from hyperion.gpu import device

A = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]])
B = np.array([2.0, 0.5, -3.0])


def test_properties() -> None:
    x = asarray(A)
    assert (x.shape, x.ndim, x.size, len(x), x.device, x.dtype) == ((2, 3), 2, 6, 2, "cpu", np.float64)
    assert x.T.shape == (3, 2) and not x.tracked and x.node is None and x.grad is None
    assert asarray(A, requires_grad=True).requires_grad and (asarray(A, requires_grad=True) * 2.0).requires_grad


def test_one_honest_line() -> None:
    assert repr(asarray(A)) == "Tensor (2, 3) float64, cpu"
    assert repr(asarray([1.0, 2.5], requires_grad=True)) == "Tensor (2,) float32, cpu, tracked: [1.  2.5]"
    assert f"{asarray(1.25):.1f}" == "1.2" and f"{asarray(1.25)}" == "Tensor () float32, cpu: 1.25"


def test_printing_shows_one_line_and_the_values() -> None:
    assert str(asarray([1.0, 2.0])) == "Tensor (2,) float32, cpu: [1. 2.]"
    assert str(asarray(A)).splitlines() == ["Tensor (2, 3) float64, cpu:", "[[ 1.  -2.   3. ]", " [ 0.5  4.  -1.5]]"]
    assert len(str(asarray(np.arange(1e5), requires_grad=True)).splitlines()) < 5
    assert repr(asarray(A)) == "Tensor (2, 3) float64, cpu"


def test_numpy_arrays_are_shared_not_copied() -> None:
    assert asarray(A).data is A
    shared = asarray(A).numpy()
    assert np.shares_memory(shared, A) and not shared.flags.writeable and A.flags.writeable
    assert np.shares_memory(np.asarray(asarray(A)), A)
    assert asarray(A, dtype="float32").dtype == np.float32
    assert asarray(A[:, ::2]).data.base is A


@pytest.mark.parametrize("operation", [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: abs(a) ** b, lambda a, b: a @ b,
    lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b, lambda a, b: a >= b, lambda a, b: a == b, lambda a, b: a != b,
    lambda a, b: -a + b, lambda a, b: +a * b, lambda a, b: (a > 0) & (b > 0), lambda a, b: (a > 0) | (b > 0), lambda a, b: ~(a > b),
])
@pytest.mark.parametrize("side", ["both", "left", "right"])
def test_operators_with_tensors_and_arrays_on_either_side(operation: Any, side: str) -> None:
    left, right = (asarray(A) if side != "right" else A), (asarray(B) if side != "left" else B)
    result = operation(left, right)
    assert isinstance(result, Tensor)
    np.testing.assert_array_equal(result, operation(A, B))


@pytest.mark.parametrize("operation", [
    lambda a: a + 2.0, lambda a: 2 + a, lambda a: a - 2, lambda a: 2.0 - a, lambda a: a * 3, lambda a: 3.0 * a, lambda a: a / 2,
    lambda a: 2 / a, lambda a: a ** 2, lambda a: a ** 3, lambda a: a ** -1, lambda a: a ** -2.0, lambda a: abs(a) ** 0.5,
    lambda a: abs(a) ** 1.5, lambda a: a ** 0, lambda a: a ** 1, lambda a: 2.0 ** a, lambda a: a > 0.5, lambda a: a == 3,
])
def test_operators_with_numbers(operation: Any) -> None:
    np.testing.assert_allclose(operation(asarray(A)), operation(A), rtol=1e-15)


def test_augmented_assignment_makes_a_new_value() -> None:
    x = y = asarray(A)
    x += 1.0
    np.testing.assert_array_equal(y, A)
    assert x is not y


def test_unknown_operands_get_their_turn() -> None:
    class Field:
        def __rmul__(self, other: Any) -> str:
            return "field"

    assert asarray(A) * Field() == "field"
    assert (asarray(A) == "text") is False and (asarray(A) != None) is True      # noqa: E711
    with pytest.raises(TypeError, match="unsupported operand"):
        asarray(A) + "text"


def test_numbers_out() -> None:
    x = asarray([[2.5]], requires_grad=True)
    assert (float(x), int(x), x.item(), bool(x)) == (2.5, 2, 2.5, True)
    assert [10, 20, 30][asarray(1)] == 20
    assert range(asarray(3)) == range(3)
    for convert in (float, int, bool, Tensor.item):
        with pytest.raises(ShapeError, match="only a Tensor of one element"):
            convert(asarray(B))
    with pytest.raises(DtypeError, match="an index must be an integer"):
        [1, 2][asarray(1.0)]


def test_a_tracked_tensor_does_not_turn_into_an_array_unnoticed() -> None:
    x = asarray(B, requires_grad=True)
    for convert in (np.asarray, Tensor.numpy, np.sum, np.mean):
        with pytest.raises((GraphError, TypeError)):
            convert(x)
    with pytest.raises(TypeError, match="__array_ufunc__"):
        np.sin(x)
    np.testing.assert_array_equal(x.detach().numpy(), B)
    assert isinstance(B * x, Tensor) and isinstance(np.float64(2.0) * x, Tensor) and (np.float64(2.0) * x).tracked


def test_iteration_and_membership_by_identity() -> None:
    assert [float(part.sum()) for part in asarray(A)] == [2.0, 3.0]
    x, y = asarray(B), asarray(B)
    assert len({x, y, x}) == 2
    with pytest.raises(TypeError, match="no length"):
        len(asarray(1.0))
    with pytest.raises(TypeError):
        list(asarray(1.0))


def test_copies_and_pickles() -> None:
    for again in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        leaf = again(asarray(B, requires_grad=True))
        np.testing.assert_array_equal(leaf.data, B)
        assert leaf.tracked and not again(asarray(B)).tracked
        with pytest.raises(GraphError, match=r"use x.detach\(\)"):
            again(asarray(B, requires_grad=True) * 2.0)


def test_assign_replaces_the_value_and_old_graphs_refuse() -> None:
    x = asarray(B, requires_grad=True)
    old = x * x
    _, pullback = hp.vjp(lambda y: y * x, B)
    x.assign(x.data + 1.0)
    np.testing.assert_array_equal(x.data, B + 1.0)
    for use in (lambda: old.sum().backward(), lambda: pullback(B)):
        with pytest.raises(GraphError, match=r"'multiply' used a Tensor of shape \(3,\) that was assigned"):
            use()
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2.0 * (B + 1.0))


def test_assign_refuses_what_does_not_fit() -> None:
    x = asarray(B, requires_grad=True)
    with pytest.raises(ShapeError, match=r"value has shape \(2,\), x has \(3,\)"):
        x.assign(B[:2])
    with pytest.raises(DtypeError, match="value is float32, x is float64"):
        x.assign(B.astype(np.float32))
    for constant in (asarray(B), x * 2.0):
        with pytest.raises(GraphError, match="was not made with requires_grad=True"):
            constant.assign(B)


def test_grad_is_set_only_where_it_belongs() -> None:
    x = asarray(B, requires_grad=True)
    x.grad = B
    np.testing.assert_array_equal(x.grad, B)
    with pytest.raises(ShapeError, match=r"got shape \(2,\) for x of shape \(3,\)"):
        x.grad = B[:2]
    with pytest.raises(GraphError, match="requires_grad=True"):
        asarray(B).grad = asarray(B)


def test_conversion_of_values() -> None:
    x = asarray(B)
    assert as_tensor(x) is x and asarray([1.0, 2.0]).dtype == np.float32 and asarray([1, 2]).dtype == np.int64
    assert (asarray(1.0).dtype, asarray(1).dtype, asarray(True).dtype, asarray(1j).dtype) == (np.float32, np.int64, np.bool_, np.complex64)
    assert asarray(np.float64(1.0)).dtype == np.float64 and asarray([[1, 2.5]]).dtype == np.float32
    assert asarray(0.1, dtype="float64").item() == 0.1
    swapped = asarray(B.astype(">f8"))
    assert swapped.dtype.isnative and swapped.dtype == np.float64
    np.testing.assert_array_equal(swapped, B)
    assert type(asarray(A.view(type("Mapped", (np.ndarray,), {}))).data) is np.ndarray


@pytest.mark.parametrize(("value", "error", "text"), [
    ("text", DtypeError, "value is a str"), ({"a": 1}, DtypeError, "value is a dict"), ([1.0, [2.0]], InputError, "is no array"),
    (np.array(["a"]), DtypeError, "not supported"), (np.array([1.0], dtype=np.longdouble), DtypeError, "not supported"),
    (np.ma.masked_array([1.0], [True]), InputError, "mask would be lost"), (None, DtypeError, "NoneType"),
])
def test_values_that_are_no_arrays_are_refused(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        asarray(value)


def test_a_list_of_tracked_tensors_is_refused_rather_than_detached() -> None:
    x = asarray(1.0, requires_grad=True)
    with pytest.raises(GraphError, match="NumPy would lose its derivative"):
        asarray([x, x])


def test_creation() -> None:
    np.testing.assert_array_equal(hp.zeros((2, 3), dtype="float64"), np.zeros((2, 3)))
    np.testing.assert_array_equal(hp.ones(2), np.ones(2))
    np.testing.assert_array_equal(hp.full((2,), 7), np.array([7, 7]))
    np.testing.assert_array_equal(hp.zeros_like(asarray(A)), 0.0 * A)
    np.testing.assert_array_equal(hp.ones_like(A), np.ones_like(A))
    np.testing.assert_array_equal(hp.arange(2, 8, 3), [2, 5])
    np.testing.assert_array_equal(hp.linspace(0.0, 1.0, 4, endpoint=False), np.array([0.0, 0.25, 0.5, 0.75]))
    assert (hp.arange(3).dtype, hp.arange(0.0, 1.0, 0.5).dtype, hp.linspace(0, 1, 3).dtype) == (np.int64, np.float32, np.float32)
    with pytest.raises(InputError, match="step is 0"):
        hp.arange(0, 1, 0)
    with pytest.raises(InputError, match="must be a Python number"):
        hp.full((2,), A)
    with pytest.raises(InputError, match="must be one or several integers"):
        hp.zeros(2.5)


def test_devices() -> None:
    assert asarray(B).to("cpu").data is B and hp.asarray(B, device="cpu").device == "cpu"
    for name in ("gpu", "cuda", "cuda:x", "", "mps"):
        with pytest.raises(DeviceError, match='must be "cpu" or "cuda:N"'):
            device.check(name)
    with pytest.raises(InputError, match="must be a NumPy or CuPy array"):
        device.namespace([1.0])
    assert device.namespace(B) is np and device.namespace_of("cpu") is np


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"cuda:99'.*use device=\"cpu\""):
        hp.zeros((2,), device="cuda:99")


@pytest.mark.gpu
def test_moving_between_devices_keeps_the_derivative() -> None:
    x = asarray(B, requires_grad=True)
    there = x.to("cuda:0")
    assert there.device == "cuda:0" and there.data is not B
    (there * there).sum().to("cpu").backward()
    np.testing.assert_array_equal(x.grad, 2.0 * B)
    with pytest.raises(DeviceError, match=r"multiply: inputs are on cuda:0, cpu; .*x.to\('cuda:0'\)"):
        there * x
    np.testing.assert_array_equal((there * 2.0 + 1).detach().numpy(), B * 2.0 + 1)


def test_a_device_mix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a GPU: an array of another type whose device is reported as one.
    class Far(np.ndarray):
        pass

    far = Tensor(B.view(Far))
    monkeypatch.setattr(device, "device_of", lambda array: "cuda:0" if type(array) is Far else "cpu")
    with pytest.raises(DeviceError, match=r"add: inputs are on cpu, cuda:0; all must be on one device: use x.to\('cpu'\)"):
        asarray(B) + far


def test_writing_to_an_array_later_changes_no_derivative() -> None:
    array = np.array([1.0, 2.0])
    x = hp.asarray(array, requires_grad=True)
    loss = hp.sum(x * x)
    _, pullback = hp.vjp(lambda y: hp.sum(y * y), array)
    array *= 10.0
    loss.backward()
    np.testing.assert_array_equal(np.asarray(x.grad), [2.0, 4.0])
    np.testing.assert_array_equal(np.asarray(pullback(1.0)[0]), [2.0, 4.0])


def test_a_hook_sees_all_uses_wherever_they_stand() -> None:
    x = asarray(3.0, dtype="float64", requires_grad=True)
    h = x * 2.0
    y = h * h
    seen: list[float] = []
    remove = h.register_hook(lambda g: seen.append(float(g)))
    (y + h).backward(retain_graph=True)
    assert float(x.grad) == 26.0 and seen == [13.0]
    remove()
    h.register_hook(lambda g: g * 0.5)
    x.grad = None
    (y + h).backward()
    assert float(x.grad) == 13.0 and seen == [13.0]


def test_a_hook_inside_a_transform() -> None:
    def function(x: Any) -> Any:
        y = x * x
        x.register_hook(lambda g: g)
        return y + x

    assert float(grad(function)(3.0)) == 7.0
    assert float(grad(grad(function))(3.0)) == 2.0


def test_a_seed_is_copied_so_its_buffer_may_be_used_again() -> None:
    seed = np.ones(3)
    x = asarray(np.ones(3), requires_grad=True)
    (x + 0.0).backward(seed)
    _, tangent = jvp(lambda a: a + 1.0, (np.ones(3),), (seed,))
    seed[:] = 9.0
    np.testing.assert_array_equal(x.grad.data, np.ones(3))
    np.testing.assert_array_equal(tangent.data, np.ones(3))
