"""Models from files: every format gives the same numbers, and what is no model is refused with the way out."""

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.errors import FileError, InputError, ShapeError


@pytest.fixture
def model(random):
    """A model (5, 7) of plausible velocities, no two alike."""
    return (1500 + 3000 * random.random((5, 7))).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_format_gives_the_same_model(model, folder):
    np.save("x.npy", model)
    np.save("z.npy", np.ascontiguousarray(model.T))
    model.tofile("x.f32")
    np.ascontiguousarray(model.T).tofile("z.f32")
    model.astype(">f4").tofile("big.bin")
    model.astype("<f8").tofile("double.bin")
    (model.astype("<f8") / 1000).tofile("km.bin")
    with h5py.File("m.h5", "w") as file:
        file["models/true"] = model
        file["models/start"] = model.T
    for got in (
        io.read_model("x.npy"),
        io.read_model("x.npy", shape=(5, 7)),
        io.read_model("z.npy", fastest="z"),
        io.read_model("x.f32", shape=(5, 7)),
        io.read_model("z.f32", shape=(5, 7), fastest="z"),
        io.read_model("big.bin", shape=(5, 7), byte_order="big"),
        io.read_model("double.bin", shape=(5, 7), dtype="float64"),
        io.read_model("m.h5:/models/true"),
        io.read_model("m.h5:models/start", fastest="z"),
    ):
        assert np.array_equal(got, model) and got.flags.c_contiguous and got.dtype.isnative
    # km/s in float64 go back to m/s through one division and one product: two roundings of 2^-53
    assert np.allclose(io.read_model("km.bin", shape=(5, 7), dtype="float64", unit="km/s"), model, rtol=1e-15, atol=0)


def test_squared_slowness(model, folder):
    with h5py.File("m.h5", "w") as file:
        file["m"] = (1000.0 / model.astype(float)) ** 2
        file["spacing"] = [25.0, 25.0]
    assert np.allclose(io.read_model("m.h5", unit="s2/km2"), model, rtol=1e-14, atol=0)     # the only section: it need not be named


def test_three_axes(random, folder):
    model = (1500 + 100 * random.random((3, 4, 5))).astype(np.float32)
    np.ascontiguousarray(model.transpose(2, 1, 0)).tofile("xyz.bin")                         # x slowest, z fastest
    assert np.array_equal(io.read_model("xyz.bin", shape=(3, 4, 5), fastest="z"), model)


def test_integers_become_float32(folder):
    np.save("i.npy", np.full((2, 3), 1500, np.int16))
    assert io.read_model("i.npy").dtype == np.float32


@pytest.mark.parametrize("path, options, error, words", [
    ("none.npy", {}, FileError, ["model='none.npy'", "no such file"]),
    (".", {}, FileError, ["is a folder"]),
    ("cut.npy", {}, FileError, ["cut.npy", "truncated"]),
    ("objects.npy", {}, FileError, ["objects.npy", "Python objects"]),
    ("text.npy", {}, FileError, ["text.npy", "real numbers"]),
    ("line.npy", {}, FileError, ["line.npy", "2 or 3 axes"]),
    ("good.f32", {}, InputError, ["good.f32", "shape must be given", "140 bytes"]),
    ("good.f32", {"shape": (5, 8)}, FileError, ["140 bytes", "needs 160", "truncated"]),
    ("good.f32", {"shape": (5, 6)}, FileError, ["140 bytes", "needs 120", "header"]),
    ("good.f32", {"shape": (5, 7), "dtype": "float64"}, FileError, ["needs 280", "dtype='float32'"]),
    ("double.bin", {"shape": (5, 7)}, FileError, ["280 bytes", "dtype='float64'"]),
    ("good.f32", {"shape": (5, 7), "dtype": "float16"}, InputError, ["dtype='float16'", "did you mean 'float"]),
    ("good.f32", {"shape": (5, 7), "unit": "kms"}, InputError, ["unit='kms'", "km/s"]),
    ("good.f32", {"shape": (5, 7), "fastest": "y"}, InputError, ["fastest='y'"]),
    ("good.f32", {"shape": (5, 7), "byte_order": "middle"}, InputError, ["byte_order='middle'"]),
    ("good.f32", {"shape": (0, 7)}, ShapeError, ["shape=[0, 7]", "at least 1"]),
    ("good.f32", {"shape": (35,)}, ShapeError, ["shape=[35]", "(nz, nx)"]),
    ("good.npy", {"shape": (7, 5)}, ShapeError, ["(5, 7)", "fastest"]),
    ("good.npy", {"shape": (6, 5)}, ShapeError, ["(5, 7)", "correct shape="]),
    ("good.npy", {"unit": "km/s"}, FileError, ["not velocities in km/s", "unit='m/s'"]),
    ("km.npy", {}, FileError, ["not velocities in m/s", "unit='km/s'"]),
    ("good.f32", {"shape": (5, 7), "byte_order": "big"}, FileError, ["bytes swapped", "byte_order"]),
    ("nan.npy", {}, FileError, ["nan.npy", "1 of 35", "(1, 2)", "NaN"]),
    ("infinite.npy", {}, FileError, ["(1, 2)", "infinite"]),
    ("zero.npy", {}, FileError, ["(1, 2)", "zero"]),
    ("negative.npy", {}, FileError, ["(1, 2)", "-5", "negative"]),
    ("fast.npy", {}, FileError, ["(1, 2)", "implausible", "50..20000"]),
    ("no.h5", {}, FileError, ["no.h5", "no such file"]),
    ("cut.h5", {}, FileError, ["cut.h5", "not a whole HDF5 file"]),
    ("two.h5", {}, FileError, ["names no dataset", "/models/start", "model=two.h5:/models/"]),
    ("two.h5:/models/tru", {}, FileError, ["/models/tru", "did you mean '/models/true'"]),
    ("two.h5:/models", {}, FileError, ["has no dataset '/models'"]),
])
def test_what_is_no_model_is_refused(model, folder, path, options, error, words):
    np.save("good.npy", model)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-3])
    np.save("objects.npy", np.array([[{}, 1]], object), allow_pickle=True)
    np.save("text.npy", np.array([["a", "b"]]))
    np.save("line.npy", model.ravel())
    model.astype("<f4").tofile("good.f32")
    model.astype("<f8").tofile("double.bin")
    np.save("km.npy", model / 1000)
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("zero", 0.0), ("negative", -5.0), ("fast", 3e4)):
        wrong = model.copy()
        wrong[1, 2] = value
        np.save(f"{name}.npy", wrong)
    with h5py.File("two.h5", "w") as file:
        file["models/true"] = model
        file["models/start"] = model
    (folder / "cut.h5").write_bytes((folder / "two.h5").read_bytes()[:900])
    with pytest.raises(error) as caught:
        io.read_model(path, **options)
    for word in words:
        assert word in str(caught.value)


def test_the_message_names_the_option(folder):
    with pytest.raises(FileError, match=r"start='none.npy'"):
        io.read_model("none.npy", argument="start")
