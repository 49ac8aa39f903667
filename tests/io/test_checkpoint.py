"""Checkpoints come back as they were, and a failed write leaves the earlier one."""

import errno
import os
import resource
import signal

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.errors import FileError, TreeError


def same(a, b) -> bool:
    """Tell whether two trees are equal to the bit, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


@pytest.mark.parametrize("tree", [
    {},
    {"a": 1, "b": -2.5, "c": "text with ünïcode / and .", "d": None, "e": True, "f": [], "g": (), "h": {}},
    {"model": np.arange(6, dtype=np.float32).reshape(2, 3), "same": {"model": np.ones(2)}, "empty": np.zeros((0, 3))},
    {"history": [(np.ones(2), np.zeros(2, bool)), (np.arange(3), np.array(1j))], "scalar": np.float32(0.1)},
    {"x.y": np.ones(1), "x": {"y": np.zeros(1)}, "array": {"array": "name"}, "dict": {"list": [1]}},
    {"numbers": [0.1, 1e-310, float("inf"), float("nan"), 2**127 + 1]},
    {"random": np.random.default_rng(3).bit_generator.state},
    [np.ones(3), "a list on top"],
])
def test_a_tree_comes_back(tmp_path, tree):
    io.save_tree(tmp_path / "c.h5", tree)
    assert same(io.load_tree(tmp_path / "c.h5"), tree)


def test_a_generator_goes_on(tmp_path):
    random = np.random.default_rng(3)
    random.random(5)
    io.save_tree(tmp_path / "c.h5", random.bit_generator.state)
    expected = random.random(4)
    again = np.random.default_rng(0)
    again.bit_generator.state = io.load_tree(tmp_path / "c.h5")
    assert np.array_equal(again.random(4), expected)


def test_arrays_can_be_found_with_plain_h5py(tmp_path):
    io.save_tree(tmp_path / "c.h5", {"model": {"speed": np.ones(3)}})
    with h5py.File(tmp_path / "c.h5") as file:
        assert [name for name in file["arrays"] if name.endswith("model.speed")]


@pytest.mark.parametrize("tree, words", [
    ({"a": {1: 2}}, ["/a", "keys must be text"]),
    ({"a": [object()]}, ["/a/0", "object"]),
    ({"a": np.array(["x"], object)}, ["/a", "ndarray"]),
    ({"a": {1, 2}}, ["/a", "set"]),
])
def test_what_cannot_be_kept_is_refused(tmp_path, tree, words):
    with pytest.raises(TreeError) as caught:
        io.save_tree(tmp_path / "c.h5", tree)
    for word in words:
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_earlier_file_is_kept_on_request(tmp_path):
    for number in (1, 2, 3):
        io.save_tree(tmp_path / "c.h5", number, tmp_path / "before.h5")
    assert io.load_tree(tmp_path / "c.h5") == 3 and io.load_tree(tmp_path / "before.h5") == 2


@pytest.mark.parametrize("damage", ["absent", "empty", "half", "other", "no tree"])
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "c.h5"
    io.save_tree(path, {"a": np.arange(1000.0)})
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "no tree":
        with h5py.File(path, "w") as file:
            file["a"] = 1
    else:
        path.write_bytes({"empty": b"", "half": whole[:len(whole) // 2], "other": b"PK" + bytes(100)}[damage])
    with pytest.raises(FileError, match=r"c\.h5"):
        io.load_tree(path)


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.h5"
    io.save_tree(path, {"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"No space left.*is kept.*free some space"):
        io.save_tree(path, {"step": 2}, tmp_path / "before.h5")
    assert io.load_tree(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]


@pytest.fixture
def small_files():
    """Let no file grow beyond 100 kB, as a full disk would: a real failure of write(2)."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_fails_half_way(tmp_path, small_files):
    io.save_tree(tmp_path / "c.h5", {"a": np.zeros(10)})
    results = io.Results(tmp_path / "result.h5")
    results.write("small", np.ones(10))
    results.save()
    big = np.random.default_rng(0).random(50_000)
    with pytest.raises(FileError, match="File too large"):
        io.save_tree(tmp_path / "c.h5", {"a": big})
    results.write("big", big)
    with pytest.raises(FileError, match="File too large"):
        results.save()
    series = io.FieldSeries(tmp_path / "fields", (100, 500), (1.0, 1.0))
    series.append(0, 0.0, {"p": np.zeros((100, 500))})
    with pytest.raises(FileError, match="File too large"):
        series.append(1, 1.0, {"p": big.reshape(100, 500)})
    assert same(io.load_tree(tmp_path / "c.h5"), {"a": np.zeros(10)})
    with h5py.File(tmp_path / "result.h5") as file:
        assert list(file) == ["small"]
    with h5py.File(tmp_path / "fields.h5") as file:
        assert file["p"].shape == (1, 100, 500)
