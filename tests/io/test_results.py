"""Result files describe themselves to plain h5py, grow by names, and refuse what they cannot hold."""

import errno
import os

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.errors import FileError, InputError, ShapeError

AXES = (io.Axis("depth", "m", 20.0), io.Axis("distance", "m", 10.0, 5.0))


def test_an_array_has_unit_axes_and_attributes(tmp_path, random):
    values = random.random((20, 30))
    results = io.Results(tmp_path / "r.h5")
    results.write("models/stage-1", values, "m/s", AXES, frequency=4.0, note="first")
    results.facts["model error"] = 0.07
    results.save()
    with h5py.File(tmp_path / "r.h5") as file:
        data = file["models/stage-1"]
        assert np.array_equal(data, values) and data.compression == "gzip"
        assert data.attrs["unit"] == "m/s" and data.attrs["frequency"] == 4.0 and data.attrs["note"] == "first"
        assert list(data.attrs["axes"]) == ["depth", "distance"] and list(data.attrs["axes_unit"]) == ["m", "m"]
        assert list(data.attrs["axes_step"]) == [20.0, 10.0] and list(data.attrs["axes_start"]) == [0.0, 5.0]
        assert [dimension.label for dimension in data.dims] == ["depth", "distance"]
        assert file.attrs["model error"] == 0.07
    assert results.attributes() == {"model error": 0.07}


def test_it_grows_and_replaces(tmp_path, random):
    path = tmp_path / "r.h5"
    first, second = random.random((40, 40)), random.random((40, 40))
    results = io.Results(path)
    results.write("a/one", first)
    results.write("a/two", first)
    results.save()
    again = io.Results(path)                                       # a resumed run
    again.write("a/two", second)
    again.write("b", [1, 2, 3], "", (io.Axis("step"),))
    assert np.array_equal(again.read("a/two"), second) and np.array_equal(again.read("a/one"), first)
    again.save()
    size = path.stat().st_size
    for _ in range(5):
        again.write("a/two", second)
        again.save()
    assert path.stat().st_size <= size                             # what was replaced takes no space
    with h5py.File(path) as file:
        assert np.array_equal(file["a/one"], first) and np.array_equal(file["a/two"], second) and list(file["b"]) == [1, 2, 3]
        assert file["a/one"].compression == "gzip"


def test_what_is_staged_does_not_change_with_the_array(tmp_path):
    values = np.zeros(3)
    results = io.Results(tmp_path / "r.h5")
    results.write("x", values)
    values += 1
    assert results.read("x").tolist() == [0, 0, 0]


def test_much_staged_memory_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperion.io.results.SAVE_ABOVE", 1000)
    results = io.Results(tmp_path / "r.h5")
    results.write("x", np.zeros(200))
    assert (tmp_path / "r.h5").exists() and not results.staged


def test_text_and_scalars(tmp_path):
    results = io.Results(tmp_path / "r.h5")
    results.write("names", ["a", "ü"])
    results.write("misfit", 0.25, "1")
    results.save()
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["names"].asstr()[:].tolist() == ["a", "ü"] and file["misfit"][()] == 0.25


def test_refusals(tmp_path):
    results = io.Results(tmp_path / "r.h5")
    with pytest.raises(ShapeError, match=r"2 axes for an array of shape \(3,\)"):
        results.write("x", np.zeros(3), "", AXES)
    with pytest.raises(InputError, match=r"write\('x'\).*object"):
        results.write("x", [None])
    with pytest.raises(FileError, match="no such file"):
        results.read("x")
    results.write("y", [1])
    results.save()
    with pytest.raises(FileError, match="has no 'x'; it holds y"):
        results.read("x")
    (tmp_path / "r.h5").write_bytes(b"broken")
    results.write("x", [1])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        results.save()


@pytest.fixture
def gathers(random):
    return io.Gathers(random.random((2, 3, 50)).astype(np.float32), 2e-3, random.random((2, 1, 2)), random.random((2, 3, 2)))


def test_gathers_come_back(tmp_path, gathers):
    io.write_gathers(tmp_path / "g.h5", gathers)
    results = io.Results(tmp_path / "r.h5")
    gathers.write(results, "observed")
    results.save()
    for path in (tmp_path / "g.h5", f"{tmp_path / 'r.h5'}:/observed"):
        got = io.read_gathers(path)
        assert got.step == gathers.step and got.unit == "Pa" and got.values.dtype == np.float32
        for name in ("values", "sources", "receivers"):
            assert np.array_equal(getattr(got, name), getattr(gathers, name))


@pytest.mark.parametrize("change, words", [
    (lambda f: f.__delitem__("sources"), ["no dataset sources", "receivers"]),
    (lambda f: f["gathers"].attrs.__delitem__("axes_step"), ["axes_step"]),
    (lambda f: f["gathers"].attrs.__setitem__("axes_step", [1.0, 1.0, -1.0]), ["step=-1.0", "positive"]),
    (lambda f: f["gathers"].__setitem__((1, 2, 3), np.nan), ["values hold NaN", "(1, 2, 3)"]),
    (lambda f: (f.__delitem__("receivers"), f.create_dataset("receivers", data=np.zeros((2, 4, 2)))), ["(2, 4, 2)", "disagree"]),
    (lambda f: (f.__delitem__("gathers"), f.create_dataset("gathers", data=["a"]).attrs.__setitem__("axes_step", [1, 1, 1])),
     ["real numbers"]),
])
def test_malformed_gathers_are_refused(tmp_path, gathers, change, words):
    path = tmp_path / "g.h5"
    io.write_gathers(path, gathers)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FileError) as caught:
        io.read_gathers(path)
    for word in ["observed=", "g.h5", *words]:
        assert word in str(caught.value)


def test_absent_gathers(tmp_path, gathers):
    with pytest.raises(FileError, match="no such file"):
        io.read_gathers(tmp_path / "none.h5")
    io.write_gathers(tmp_path / "g.h5", gathers)
    with pytest.raises(FileError, match="has no group '/observed'; it holds gathers"):
        io.read_gathers(f"{tmp_path / 'g.h5'}:/observed")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "g.h5").read_bytes()[:-100])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        io.read_gathers(tmp_path / "cut.h5")


def test_gathers_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="3 axes"):
        io.Gathers(np.zeros((3, 50)), 1e-3, np.zeros((1, 1, 2)), np.zeros((1, 3, 2)))


def test_gathers_that_cannot_be_written_leave_the_old_file(tmp_path, gathers, monkeypatch):
    path = tmp_path / "g.h5"
    io.write_gathers(path, gathers)
    before = path.read_bytes()

    def full(*words):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        io.write_gathers(path, gathers)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["g.h5"]


def test_gathers_in_the_place_of_a_folder(tmp_path, gathers):
    with pytest.raises(FileError, match="is a folder"):
        io.write_gathers(tmp_path, gathers)
    with pytest.raises(FileError, match="there is no folder"):
        io.write_gathers(tmp_path / "none" / "g.h5", gathers)
