"""Data sets and batches: token files of every kind, order by seed, resumable position, a thread that changes nothing, refusals."""

import threading
import time

import h5py
import numpy as np
import pytest

from hyperion import nn
from hyperion.errors import DeviceError, DtypeError, FileError, HyperionError, InputError, ShapeError


@pytest.mark.parametrize("largest, dtype", [(65535, "uint16"), (65536, "uint32"), (2**32 - 1, "uint32")])
def test_token_files_come_back(tmp_path, random, largest, dtype):
    tokens = random.integers(0, largest, 1000, endpoint=True)
    tokens[7] = largest
    nn.write_tokens(tmp_path / "a.bin", tokens)
    found = nn.read_tokens(tmp_path / "a.bin")
    assert isinstance(found, np.memmap) and found.dtype == dtype
    np.testing.assert_array_equal(found, tokens)


def test_the_header_is_that_of_llm_c(tmp_path):
    nn.write_tokens(tmp_path / "a.bin", [3, 4, 5])
    raw = (tmp_path / "a.bin").read_bytes()
    np.testing.assert_array_equal(np.frombuffer(raw[:12], "<i4"), [20240520, 1, 3])
    assert raw[1024:] == np.array([3, 4, 5], "<u2").tobytes() and len(raw) == 1030


def test_plain_files(tmp_path):
    """nanoGPT's files: nothing but uint16; uint32 when asked for; .npy as NumPy saves it."""
    tokens = np.arange(600)
    tokens.astype(np.uint16).tofile(tmp_path / "two.bin")
    tokens.astype(np.uint32).tofile(tmp_path / "four.bin")
    np.save(tmp_path / "saved.npy", tokens)
    np.testing.assert_array_equal(nn.read_tokens(tmp_path / "two.bin"), tokens)
    np.testing.assert_array_equal(nn.read_tokens(tmp_path / "four.bin", dtype="uint32"), tokens)
    np.testing.assert_array_equal(nn.read_tokens(tmp_path / "saved.npy"), tokens)


def test_a_plain_file_that_begins_like_a_header_is_plain(tmp_path):
    """The magic alone does not make a header: version and length must fit as well."""
    plain = np.frombuffer(np.array([20240520, 9, 3], "<i4").tobytes(), np.uint16)
    plain.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(nn.read_tokens(tmp_path / "a.bin"), plain)


@pytest.fixture
def token_files(tmp_path):
    nn.write_tokens(tmp_path / "whole.bin", np.arange(100))
    raw = (tmp_path / "whole.bin").read_bytes()
    (tmp_path / "truncated.bin").write_bytes(raw[:-10])
    (tmp_path / "longer.bin").write_bytes(raw + b"\0\0")
    (tmp_path / "odd.bin").write_bytes(b"\1\0\2")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "no_tokens.bin").write_bytes(np.array([20240520, 1, 0, *[0] * 253], "<i4").tobytes())
    np.save(tmp_path / "floats.npy", np.ones(4))
    np.save(tmp_path / "matrix.npy", np.ones((4, 4), int))
    np.save(tmp_path / "cut.npy", np.arange(1000))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:200])
    return tmp_path


@pytest.mark.parametrize("name, dtype, error, message", [
    ("none.bin", None, FileError, "no such file"),
    ("", None, FileError, "is a folder"),
    ("truncated.bin", None, FileError, "promises 100 tokens"),
    ("longer.bin", None, FileError, "promises 100 tokens"),
    ("odd.bin", None, FileError, "no whole number of uint16 tokens"),
    ("empty.bin", None, FileError, "holds no token"),
    ("no_tokens.bin", None, FileError, "holds no token"),
    ("odd.bin", "float32", DtypeError, "no integer dtype"),
    ("floats.npy", None, DtypeError, "must be integers"),
    ("matrix.npy", None, ShapeError, "one row"),
    ("cut.npy", None, FileError, "truncated"),
])
def test_token_files_that_are_refused(token_files, name, dtype, error, message):
    with pytest.raises(error, match=message):
        nn.read_tokens(token_files / name, dtype)


@pytest.mark.parametrize("tokens, error, message", [
    ([], ShapeError, "at least one"),
    ([[1, 2]], ShapeError, "one row"),
    ([1.5], DtypeError, "integers"),
    ([-1, 2], InputError, "between 0 and"),
    ([2**32], InputError, "between 0 and"),
])
def test_tokens_that_are_not_written(tmp_path, tokens, error, message):
    with pytest.raises(error, match=message):
        nn.write_tokens(tmp_path / "a.bin", tokens)
    assert not (tmp_path / "a.bin").exists()


def test_windows(tmp_path):
    data = nn.Windows(np.arange(50), context=8)
    inputs, targets = data[np.array([0, 41])]
    assert len(data) == 42 and inputs.dtype == np.int64 and inputs.flags.c_contiguous
    np.testing.assert_array_equal(inputs, [np.arange(8), np.arange(41, 49)])
    np.testing.assert_array_equal(targets, inputs + 1)
    blocks = nn.Windows(np.arange(50), context=8, stride=8)
    _, targets = blocks[np.arange(len(blocks))]
    np.testing.assert_array_equal(targets.ravel(), np.arange(1, 49))         # every token is a target once
    with pytest.raises(InputError, match="an example needs 9"):
        nn.Windows(np.arange(8), context=8)
    with pytest.raises(InputError, match="context"):
        nn.Windows(np.arange(8), context=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 1000])
def test_a_shuffled_epoch_has_every_example_once(count):
    orders = [nn.shuffled(count, seed, epoch, np.arange(count)) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
    if count >= 64:
        assert len({tuple(order) for order in orders}) == 4                  # another seed or epoch, another order


def test_shuffling_is_even():
    """Where the first of 300 examples stands, over 4000 epochs: as even as chance is (chi-squared, 19 degrees of freedom)."""
    first = np.concatenate([nn.shuffled(300, 7, epoch, np.zeros(1, int)) for epoch in range(4000)])
    counts = np.bincount(first // 15, minlength=20)
    assert np.sum((counts - 200.0) ** 2 / 200.0) < 43.8                      # exceeded once in 1000 fair shuffles


def test_shuffling_billions_needs_no_list():
    order = nn.shuffled(10**12, 1, 0, np.arange(1000))
    assert len(set(order.tolist())) == 1000 and 0 <= order.min() and 9e11 < order.max() < 10**12


def test_arrays_and_hdf5_give_the_same_batches(tmp_path, random):
    x, y = random.standard_normal((20, 3)), np.arange(20)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"], file["y"] = x, y
    ours, theirs = nn.Arrays(x, y), nn.HDF5Arrays(tmp_path / "a.h5", "group/x", "y")
    assert len(ours) == len(theirs) == 20
    for a, b in zip(ours[np.array([5, 0, 5, 19])], theirs[np.array([5, 0, 5, 19])], strict=True):
        np.testing.assert_array_equal(a, b)
    first, second = nn.Batches(ours, 7, seed=3), nn.Batches(theirs, 7, seed=3)
    for _ in range(6):
        for a, b in zip(next(first), next(second), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("make, error, message", [
    (lambda folder: nn.Arrays(), InputError, "no array"),
    (lambda folder: nn.Arrays(np.zeros((0, 3))), InputError, "empty"),
    (lambda folder: nn.Arrays(np.zeros(3), np.zeros(4)), ShapeError, "must agree"),
    (lambda folder: nn.Arrays(np.array(1.0)), InputError, "without axes"),
    (lambda folder: nn.HDF5Arrays(folder / "none.h5", "x"), FileError, "no such file"),
    (lambda folder: nn.HDF5Arrays(folder / "text.h5", "x"), FileError, "not a whole HDF5 file"),
    (lambda folder: nn.HDF5Arrays(folder / "good.h5", "x", "z"), FileError, "no dataset 'z'; it has empty, x, y"),
    (lambda folder: nn.HDF5Arrays(folder / "good.h5", "x", "y"), ShapeError, "must agree"),
    (lambda folder: nn.HDF5Arrays(folder / "good.h5", "empty"), InputError, "empty"),
    (lambda folder: nn.Batches([], 1), InputError, "empty"),
    (lambda folder: nn.Batches(nn.Arrays(np.zeros(3)), 4), InputError, "3 examples"),
    (lambda folder: nn.Batches(nn.Arrays(np.zeros(3)), 0), InputError, "size"),
    (lambda folder: nn.Batches(nn.Arrays(np.zeros(3)), 1, seed=-1), InputError, "seed"),
    (lambda folder: nn.Batches(nn.Arrays(np.zeros(3)), 1, device="cuda:99"), DeviceError, "cuda:99"),
])
def test_data_that_is_refused(tmp_path, make, error, message):
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file["x"], file["y"], file["empty"] = np.zeros(3), np.zeros(4), np.zeros((0, 2))
    with pytest.raises(error, match=message) as caught:
        make(tmp_path)
    assert isinstance(caught.value, HyperionError)


def numbers(batches, count):
    return [next(batches)[0].numpy().tolist() for _ in range(count)]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_batches_cross_epochs_in_order_whatever_is_prepared_ahead(ahead):
    batches = nn.Batches(nn.Arrays(np.arange(5)), 2, shuffle=False, ahead=ahead)
    assert numbers(batches, 5) == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]
    shuffled = nn.Batches(nn.Arrays(np.arange(5)), 2, seed=1, ahead=ahead)
    found = np.ravel(numbers(shuffled, 5))
    assert sorted(found[:5]) == sorted(found[5:]) == [0, 1, 2, 3, 4]
    assert numbers(nn.Batches(nn.Arrays(np.arange(5)), 2, seed=1, ahead=0), 5) == found.reshape(5, 2).tolist()
    batches.close()
    shuffled.close()


def test_batches_are_prepared_ahead_in_order():
    """While the first batch is in use, those after it are read; slow reads change no order."""
    read, third = [], threading.Event()

    class Slow:
        def __len__(self):
            return 100

        def __getitem__(self, indices):
            if indices[0] % 2 == 0:
                time.sleep(0.01)
            read.append(int(indices[0]))
            if len(read) == 3:
                third.set()
            return (np.asarray(indices),)

    batches = nn.Batches(Slow(), 1, shuffle=False, ahead=2)
    assert numbers(batches, 1) == [[0]]
    assert third.wait(10.0)
    assert numbers(batches, 9) == [[i] for i in range(1, 10)]
    batches.close()
    assert read == list(range(len(read)))


def test_an_error_while_reading_ahead_reaches_the_caller():
    class Broken:
        def __len__(self):
            return 10

        def __getitem__(self, indices):
            if indices[0] == 2:
                raise FileError("the disk is gone")
            return (np.asarray(indices),)

    batches = nn.Batches(Broken(), 1, shuffle=False, ahead=3)
    assert numbers(batches, 2) == [[0], [1]]
    with pytest.raises(FileError, match="disk is gone"):
        next(batches)
    batches.close()


def test_the_position_is_resumed_exactly():
    def add_noise(arrays, generator):
        return (arrays[0] + generator.normal(arrays[0].shape).numpy(),)

    def make():
        return nn.Batches(nn.Arrays(np.arange(7.0)), 3, seed=5, transform=add_noise)

    whole, first, second = make(), make(), make()
    expected = numbers(whole, 9)
    numbers(first, 4)
    state = first.state_dict()
    assert state["position"] == 4                                            # batches given, not those prepared ahead
    numbers(second, 2)                                                       # has others prepared ahead, which must be dropped
    second.load_state_dict(state)
    assert numbers(second, 5) == expected[4:]
    for batches in (whole, first, second):
        batches.close()


def test_a_state_of_other_batches_says_what_differs():
    state = nn.Batches(nn.Arrays(np.arange(8)), 2, seed=1).state_dict()
    other = nn.Batches(nn.Arrays(np.arange(9)), 2, seed=2)
    with pytest.raises(InputError, match=r"seed was 1, is 2; examples was 8, is 9"):
        other.load_state_dict(state)


def test_once_gives_every_example_once():
    batches = nn.Batches(nn.Arrays(np.arange(5)), 2, seed=1)
    assert [batch[0].numpy().tolist() for batch in batches.once()] == [[0, 1], [2, 3], [4]]
    assert batches.position == 0


@pytest.mark.gpu
def test_batches_arrive_on_the_gpu():
    batches = nn.Batches(nn.Arrays(np.arange(6.0)), 2, seed=1, device="cuda:0")
    host = nn.Batches(nn.Arrays(np.arange(6.0)), 2, seed=1)
    for _ in range(5):
        (x,), (y,) = next(batches), next(host)
        assert x.device == "cuda:0"
        np.testing.assert_array_equal(x.to("cpu").numpy(), y.numpy())
    batches.close()
    host.close()
