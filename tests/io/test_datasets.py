"""Readers of data sets: ours, those in neuraloperator's and the papers' layouts, and PDEBench's."""
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from hyperion import io
from hyperion.errors import FileError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "operator"


def test_neuraloperators_darcy_file():
    file = DATA / "darcy_test_16.npz"
    if not file.exists():
        pytest.skip(f"the reference file {file.name} is not there")
    data = io.read_dataset(file)
    assert data.inputs["x"].shape == (50, 16, 16) and data.inputs["x"].dtype == bool
    assert data.outputs["y"].shape == (50, 16, 16) and data.outputs["y"].dtype == np.float32
    assert io.read_dataset(file, slice(10, 12)).outputs["y"].shape == (2, 16, 16)


def test_pairs_in_every_container(tmp_path, random):
    x, y = random.standard_normal((4, 5, 5)), random.standard_normal((4, 5, 5))
    np.savez(tmp_path / "a.npz", x=x, y=y)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = x, y
    scipy.io.savemat(tmp_path / "old.mat", {"coeff": x, "sol": y, "Kcoeff": x})
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:       # MATLAB 7.3 writes axes in reverse
        file["a"], file["u"] = x.T, y.T
    for name in ("a.npz", "a.h5", "old.mat", "new.mat"):
        data = io.read_dataset(tmp_path / name)
        (first,), (second,) = data.inputs.values(), data.outputs.values()
        assert np.array_equal(first, x) and np.array_equal(second, y), name


@pytest.mark.parametrize("name", ["darcy_train_16.pt", "weights.pth"])
def test_pickles_are_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(FileError, match=r"data='.*a pickle.*numpy.savez"):
        io.read_dataset(tmp_path / name)


def test_refused_files(tmp_path):
    for name in ("no.npz", "no.h5", "no.mat"):
        with pytest.raises(FileError, match="no such file"):
            io.read_dataset(tmp_path / name)
        (tmp_path / name).write_bytes(b"PK\x03\x04 half a file")
        with pytest.raises(FileError, match=r"data='.*(cannot be read|not a whole)"):
            io.read_dataset(tmp_path / name)
    with pytest.raises(FileError, match=r"unknown ending '\.txt'"):
        io.read_dataset(tmp_path / "a.txt")
    np.savez(tmp_path / "a.npz", x=np.zeros(3), z=np.zeros(3))
    with pytest.raises(FileError, match="holds x, z; expected 'x' and 'y'"):
        io.read_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((3, 2)), y=np.zeros((2, 2)))
    with pytest.raises(FileError, match="x has 3 samples, y has 2"):
        io.read_dataset(tmp_path / "b.npz")
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 2)), y=np.zeros((0, 2)))
    with pytest.raises(FileError, match="no samples are there"):
        io.read_dataset(tmp_path / "empty.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object), y=np.zeros(1))
    with pytest.raises(FileError, match=r"cannot be read as \.npz"):
        io.read_dataset(tmp_path / "objects.npz")
    bad = np.zeros((5, 2))
    bad[3, 1] = np.inf
    np.savez(tmp_path / "c.npz", x=np.zeros((5, 2)), y=bad)
    with pytest.raises(FileError, match=r"y of sample 3 has values that are NaN or infinite \(1 samples"):
        io.read_dataset(tmp_path / "c.npz")


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/").replace("_coordinate", "-coordinate")] = array


def test_pdebenchs_series(tmp_path, random):
    values = random.standard_normal((3, 5, 8)).astype(np.float32)
    write(tmp_path / "1D_Burgers.hdf5", tensor=values, x_coordinate=np.arange(8) / 8 + 0.0625, t_coordinate=np.arange(6) * 0.1)
    data = io.read_pdebench(tmp_path / "1D_Burgers.hdf5", slice(1, 3))
    assert np.array_equal(data.outputs["solution"], values[1:]) and np.array_equal(data.inputs["initial"], values[1:, 0])
    sample, time, space = data.axes["solution"]
    assert (sample.name, time.name, space.name) == ("sample", "time", "x")
    assert np.isclose(time.step, 0.1) and (space.step, space.start) == (0.125, 0.0625)


def test_pdebenchs_darcy_flow(tmp_path, random):
    nu, u = random.uniform(size=(3, 8, 8)), random.uniform(size=(3, 1, 8, 8))
    write(tmp_path / "darcy.hdf5", nu=nu, tensor=u, x_coordinate=np.arange(8) / 8, y_coordinate=np.arange(8) / 8)
    with h5py.File(tmp_path / "darcy.hdf5", "a") as file:
        file.attrs["beta"] = 1.0
    data = io.read_pdebench(tmp_path / "darcy.hdf5")
    assert np.array_equal(data.inputs["permeability"], nu) and np.array_equal(data.outputs["pressure"], u[:, 0])
    assert data.attributes["beta"] == 1.0 and [axis.name for axis in data.axes["pressure"]] == ["sample", "x", "y"]


def test_pdebenchs_compressible_flow(tmp_path, random):
    fields = {name: random.standard_normal((2, 4, 6, 7)) for name in ("density", "pressure", "Vx", "Vy")}
    write(tmp_path / "cfd.hdf5", **fields)
    data = io.read_pdebench(tmp_path / "cfd.hdf5")
    assert data.outputs["solution"].shape == (2, 4, 4, 6, 7) and data.inputs["initial"].shape == (2, 4, 6, 7)
    assert np.array_equal(data.outputs["solution"][:, :, 2], fields["Vx"])


def test_pdebenchs_groups(tmp_path, random):
    groups = {f"{i:04d}": random.standard_normal((5, 6, 6, 1)) for i in range(3)}
    write(tmp_path / "swe.h5", **{f"{name}__data": array for name, array in groups.items()},
          **{f"{name}__grid__t": np.arange(5) * 0.01 for name in groups}, **{f"{name}__grid__x": np.arange(6) - 2.5 for name in groups})
    data = io.read_pdebench(tmp_path / "swe.h5", slice(2))
    assert data.outputs["solution"].shape == (2, 5, 1, 6, 6)
    assert np.array_equal(data.outputs["solution"][1, 3, 0], groups["0001"][3, :, :, 0])
    assert np.isclose(data.axes["solution"][1].step, 0.01) and data.axes["initial"][2].start == -2.5
    with pytest.raises(FileError, match="no sample was asked for"):
        io.read_pdebench(tmp_path / "swe.h5", slice(5, 5))


def test_pdebenchs_incompressible_flow(tmp_path, random):
    velocity, particles = random.standard_normal((2, 4, 6, 6, 2)), random.standard_normal((2, 4, 6, 6, 1))
    write(tmp_path / "ns.h5", velocity=velocity, particles=particles, force=random.standard_normal((2, 6, 6, 2)),
          t=np.tile(np.arange(4) * 0.5, (2, 1)))
    data = io.read_pdebench(tmp_path / "ns.h5")
    assert data.outputs["solution"].shape == (2, 4, 3, 6, 6) and data.inputs["force"].shape == (2, 2, 6, 6)
    assert np.array_equal(data.outputs["solution"][0, 1, 2], particles[0, 1, :, :, 0]) and data.axes["solution"][1].step == 0.5


def test_what_is_not_pdebenchs(tmp_path):
    write(tmp_path / "other.h5", model=np.zeros(3))
    with pytest.raises(FileError, match="holds model; expected a layout of PDEBench"):
        io.read_pdebench(tmp_path / "other.h5")
    bad = np.zeros((3, 2, 4))
    bad[1, 1, 1] = np.nan
    write(tmp_path / "bad.h5", tensor=bad)
    with pytest.raises(FileError, match="solution of sample 1"):
        io.read_pdebench(tmp_path / "bad.h5")
    (tmp_path / "half.h5").write_bytes((tmp_path / "bad.h5").read_bytes()[:300])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        io.read_pdebench(tmp_path / "half.h5")
