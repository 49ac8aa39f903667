"""Weights in files, and back into networks."""

from pathlib import Path

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import FileError, InputError


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), hp.tanh, nn.Linear(4, 2, bias=False))


def test_a_network_goes_into_a_file_and_comes_back(tmp_path: Path) -> None:
    one, other = network(), network()
    x = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    one(x)
    nn.save(one, tmp_path / "model.safetensors", {"step": "7"})
    state = nn.load(tmp_path / "model.safetensors")
    assert set(state) == set(one.state_dict()) and state.metadata == {"step": "7"}
    other.load_state_dict(state)
    np.testing.assert_array_equal(one.eval()(x).data, other.eval()(x).data)
    other.train()(x)                    # what was read from a file can be trained on
    hp.sum(other(x)).backward()


def test_dicts_of_tensors_and_arrays(tmp_path: Path) -> None:
    nn.save({"a": hp.asarray([1.0, 2.0]), "b": np.arange(3)}, tmp_path / "x")
    found = nn.load(tmp_path / "x")
    np.testing.assert_array_equal(found["a"], np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(found["b"], np.arange(3))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="state is a list"):
        nn.save([1.0], tmp_path / "x")
    with pytest.raises(InputError, match=r"step \(int\): every entry must be a Tensor or an array"):
        nn.save({"step": 7}, tmp_path / "x")
    nn.save(network(), tmp_path / "x")
    (tmp_path / "short").write_bytes((tmp_path / "x").read_bytes()[:-1])
    with pytest.raises(FileError, match="truncated"):
        nn.load(tmp_path / "short")
    with pytest.raises(FileError, match=r"unknown: 3.weight(.|\n)*wrong shape: 0.weight is \(4, 3\), must be \(4, 2\)"):
        nn.Sequential(nn.Linear(2, 4), nn.BatchNorm(4)).load_state_dict(nn.load(tmp_path / "x"))
