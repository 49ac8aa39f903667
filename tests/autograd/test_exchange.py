"""Memory is shared with other libraries, checked by address; what cannot be shared is copied or refused, never wrong."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import exchange
from hyperion.autograd.exchange import from_dlpack
from hyperion.errors import DeviceError, DtypeError, GraphError, InputError

DTYPES = ["bool", "int8", "int32", "int64", "uint8", "float16", "float32", "float64", "complex64", "complex128"]
VERSION = (1, 0)


class Speaks:
    """A Tensor as other libraries see it: through the two methods of the protocol and nothing else. Without `modern`: before DLPack 1.0."""

    def __init__(self, x: hp.Tensor, modern: bool = True) -> None:
        self.x = x
        self.modern = modern

    def __dlpack__(self, **options: Any) -> Any:
        if not self.modern:
            options.pop("max_version", None)
        return exchange.export(self.x, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return exchange.export_device(self.x)


def address(array: Any) -> int:
    """Return where the elements of an array of any library begin."""
    if hasattr(array, "data_ptr"):
        return array.data_ptr()
    if hasattr(array, "unsafe_buffer_pointer"):
        return array.unsafe_buffer_pointer()
    return array.__array_interface__["data"][0]


def example(dtype: str) -> np.ndarray:
    return (np.arange(6) % 5).reshape(2, 3).astype(dtype)


# NumPy

@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_both_ways_without_a_copy(dtype: str) -> None:
    array = example(dtype)
    x = from_dlpack(array)
    assert x.dtype == array.dtype and address(x.data) == address(array)
    back = np.from_dlpack(Speaks(x))
    assert back.dtype == array.dtype and address(back) == address(array)
    np.testing.assert_array_equal(back, array)


def test_numpy_asarray_of_a_tensor_shares_memory() -> None:
    x = hp.asarray([1.0, 2.0])
    assert address(np.asarray(x)) == address(x.data)
    with pytest.raises(GraphError, match="detach"):
        np.asarray(hp.asarray([1.0], requires_grad=True))


def test_strides_are_shared_too() -> None:
    array = np.arange(24.0).reshape(4, 6)[1::2, ::3].T
    x = from_dlpack(array)
    assert x.data.strides == array.strides and address(np.from_dlpack(Speaks(x))) == address(array)


def test_a_read_only_array_is_shared_with_those_who_are_told_and_copied_for_others() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    x = from_dlpack(array)
    assert address(x.data) == address(array)
    shared = np.from_dlpack(Speaks(x))
    assert address(shared) == address(array) and not shared.flags.writeable
    copied = np.from_dlpack(Speaks(x, modern=False))
    assert address(copied) != address(array)
    np.testing.assert_array_equal(copied, array)
    with pytest.raises(BufferError, match=r"read-only and the consumer's DLPack \(before 1.0\).*copy=None or True"):
        exchange.export(x, copy=False)


def test_negative_strides_are_copied() -> None:
    x = hp.asarray(np.arange(3.0)[::-1])
    back = np.from_dlpack(Speaks(x))
    np.testing.assert_array_equal(back, [2.0, 1.0, 0.0])
    assert back.strides == (8,)
    with pytest.raises(BufferError, match="negative strides"):
        exchange.export(x, max_version=VERSION, copy=False)


def test_copy_and_device_are_as_asked() -> None:
    array = np.arange(3.0)
    assert address(from_dlpack(array, copy=True).data) != address(array)
    assert address(from_dlpack(array, copy=False, device="cpu").data) == address(array)
    copied = np.from_dlpack(Speaks(from_dlpack(array)), copy=True)
    assert address(copied) != address(array)


def test_a_tensor_is_taken_as_it_is() -> None:
    x = hp.asarray([1.0, 2.0])
    assert from_dlpack(x).data is x.data
    with pytest.raises(GraphError, match=r"tracked Tensor.*detach"):
        from_dlpack(hp.asarray([1.0], requires_grad=True))


def test_tracked_tensors_refuse_to_export() -> None:
    x = hp.asarray([1.0], requires_grad=True)
    for tracked in (x, x * 2.0):
        with pytest.raises(GraphError, match=r"x.__dlpack__\(\): x is tracked.*use x.detach\(\), or hyperion.interop"):
            exchange.export(tracked)


def test_bfloat16_says_what_numpy_cannot_do() -> None:
    with pytest.raises(DtypeError, match=r"bfloat16, which NumPy cannot export by DLPack; share its bits as int16"):
        exchange.export(hp.asarray(np.ones(3, ml_dtypes.bfloat16)), max_version=VERSION)


def test_what_speaks_no_dlpack_is_refused() -> None:
    with pytest.raises(InputError, match=r"x is a builtins.list, which has no __dlpack__.*use asarray"):
        from_dlpack([1.0, 2.0])
    with pytest.raises(DtypeError, match=r"dtype (float128|longdouble) is not supported"):
        from_dlpack(np.ones(2, np.longdouble))
    with pytest.raises(DtypeError, match="is not supported"):
        from_dlpack(np.array([("a", 1)], dtype=[("name", "U1"), ("n", "i4")]))


def test_devices_that_are_not_taken() -> None:
    class Elsewhere(Speaks):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 8, 0      # Metal

    with pytest.raises(DeviceError, match=r"DLPack device type 8; only the CPU \(1, 3\) and CUDA \(2\)"):
        from_dlpack(Elsewhere(hp.asarray([1.0])))
    with pytest.raises(DeviceError, match="device='cuda:99'"):
        from_dlpack(np.ones(2), device="cuda:99")


def test_memory_written_to_by_the_other_library_is_found() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    for theirs, copy in ((torch.ones(3, dtype=torch.float64), False), (np.ones(3), False), (np.ones(3), True)):
        w = hp.asarray(np.ones(3), requires_grad=True)
        loss = hp.sum(w * from_dlpack(theirs, copy=copy))
        theirs[1] = 5.0
        if copy:
            loss.backward()
            assert w.grad is not None and w.grad.numpy().tolist() == [1.0] * 3
            continue
        with pytest.raises(GraphError, match="written to since"):
            loss.backward()


# PyTorch

@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_both_ways_without_a_copy(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    tensor = torch.from_numpy(example(dtype))
    x = from_dlpack(tensor)
    assert str(x.dtype) == dtype and address(x.data) == address(tensor)
    back = torch.from_dlpack(Speaks(x))
    assert address(back) == address(tensor) and torch.equal(back, tensor)


def test_torch_takes_flipped_and_broadcast_tensors() -> None:
    """A negative stride ends PyTorch's process, so this test is also that it does not."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    row = hp.asarray(np.arange(3.0))
    assert torch.from_dlpack(Speaks(hp.flip(row))).tolist() == [2.0, 1.0, 0.0]
    assert torch.from_dlpack(Speaks(hp.broadcast_to(row, (2, 3)))).tolist() == [[0.0, 1.0, 2.0]] * 2


def test_torch_bfloat16_comes_in_without_a_copy() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    tensor = torch.tensor([1.0, -2.5, 0.0], dtype=torch.bfloat16)
    x = from_dlpack(tensor)
    assert x.dtype == ml_dtypes.bfloat16 and address(x.data) == address(tensor)
    assert x.data.tolist() == [1.0, -2.5, 0.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_tensors_that_require_gradients_are_refused(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    with pytest.raises(InputError, match=r"x is a torch.Tensor and cannot be shared: .*detach"):
        from_dlpack(torch.ones(2, dtype=getattr(torch, dtype), requires_grad=True))
    with pytest.raises(InputError, match="cannot be shared"):
        from_dlpack(torch.ones(2).to_sparse())


# JAX

@pytest.fixture
def jax() -> Iterator[Any]:
    """JAX with its arrays on the CPU, also where it sees a GPU."""
    found = pytest.importorskip("jax", reason="JAX is not installed (extra bench)")
    with found.default_device(found.devices("cpu")[0]):
        yield found


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name not in ("int64", "float64", "complex128")])
def test_jax_both_ways_without_a_copy(jax: Any, dtype: str) -> None:
    array = jax.numpy.asarray(example(dtype))
    x = from_dlpack(array)
    assert str(x.dtype) == dtype and address(x.data) == address(array)
    mine = hp.asarray(example(dtype))
    if address(mine.data) % 64 == 0:      # JAX shares only what is aligned for its vector instructions, and copies the rest
        assert address(jax.numpy.from_dlpack(Speaks(mine))) == address(mine.data)
    np.testing.assert_array_equal(np.asarray(jax.numpy.from_dlpack(Speaks(mine))), mine.data)


def test_jax_takes_aligned_memory_without_a_copy(jax: Any) -> None:
    raw = np.zeros(64 + 24, np.uint8)
    start = -address(raw) % 64
    x = hp.asarray(raw[start:start + 24].view(np.float32))
    assert address(jax.numpy.from_dlpack(Speaks(x))) == address(x.data)


def test_jax_bfloat16_comes_in_without_a_copy(jax: Any) -> None:
    array = jax.numpy.asarray([1.0, -2.5], dtype=jax.numpy.bfloat16)
    x = from_dlpack(array)
    assert x.dtype == ml_dtypes.bfloat16 and address(x.data) == address(array)


# CuPy

@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_both_ways_without_a_copy(dtype: str) -> None:
    import cupy

    array = cupy.asarray(example(dtype))
    x = from_dlpack(array)
    assert x.device == "cuda:0" and x.data.data.ptr == array.data.ptr and exchange.export_device(x) == (2, 0)
    back = cupy.from_dlpack(Speaks(x))
    assert back.data.ptr == array.data.ptr and back.dtype == array.dtype
    there = from_dlpack(array, device="cpu")
    assert there.device == "cpu"
    np.testing.assert_array_equal(there.data, example(dtype))
    with pytest.raises(InputError, match=r"x is on cuda:0, so it must be copied; use copy=None"):
        from_dlpack(array, device="cpu", copy=False)


@pytest.mark.gpu
def test_torch_on_the_gpu_both_ways_without_a_copy() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    tensor = torch.arange(6.0, device="cuda")
    x = from_dlpack(tensor)
    assert x.data.data.ptr == tensor.data_ptr()
    assert torch.from_dlpack(Speaks(x * 1.0)).device.type == "cuda" and torch.from_dlpack(Speaks(x)).data_ptr() == tensor.data_ptr()


def test_the_methods_of_a_tensor_are_these_functions() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    x = hp.asarray(np.arange(3.0))
    assert x.__dlpack_device__() == (1, 0) and address(np.from_dlpack(x)) == address(torch.from_dlpack(x)) == address(x.data)
    assert address(hp.from_dlpack(x).data) == address(x.data)
