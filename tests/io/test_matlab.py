"""Files of MATLAB: what is there, and what is refused."""

import numpy as np
import pytest
from scipy.io import savemat

from hyperion import io
from hyperion.errors import FileError


def test_arrays_come_as_they_were_saved(tmp_path):
    values = np.random.default_rng(0).standard_normal((3, 4))
    savemat(tmp_path / "a.mat", {"usol": values + 1j, "x": values[0]})
    u, x = io.read_matlab(tmp_path / "a.mat", "usol", "x")
    np.testing.assert_array_equal(u, values + 1j)
    np.testing.assert_array_equal(x, values[:1])


def test_what_is_refused(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.ones(2)})
    np.save(tmp_path / "b.npy", np.ones(100))
    (tmp_path / "empty.mat").write_bytes(b"")
    for name, names, message in (("none.mat", ["x"], r"none\.mat: no such file"), ("", ["x"], "no such file"), ("b.npy", ["x"], "MATLAB"),
                                 ("empty.mat", ["x"], "MATLAB"), ("a.mat", ["x", "usol"], "no array usol; it has x")):
        with pytest.raises(FileError, match=message):
            io.read_matlab(tmp_path / name, *names)
