"""safetensors files: round trips, the format's own library, and files that are refused."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hyperion.errors import DtypeError, FileError, InputError
from hyperion.io import read_safetensors, write_safetensors
from hyperion.io.safetensors import DTYPES

needs_library = pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed (extra weights)")
rng = np.random.default_rng(51)
ARRAYS: dict[str, Any] = {
    "weight": rng.standard_normal((3, 4)).astype(np.float32), "wide": rng.standard_normal((2, 1, 2)),
    "half": rng.standard_normal(5).astype(np.float16),
    "brain": rng.standard_normal(3).astype(ml_dtypes.bfloat16), "ids": rng.integers(-9, 9, (2, 2)), "mask": np.array([True, False, True]),
    "scalar": np.float32(2.5), "empty": np.zeros((0, 3), np.float32),
    "turned": np.arange(6.0).reshape(2, 3).T, "ä.0": np.array([7], np.uint8),
}


def same(one: Any, other: Any) -> None:
    assert list(sorted(one)) == list(sorted(other))
    for name, array in other.items():
        assert one[name].dtype == np.asarray(array).dtype and one[name].shape == np.shape(array), name
        np.testing.assert_array_equal(np.asarray(one[name]), array)


def test_round_trip_of_every_dtype(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    arrays = {name: rng.integers(0, 2, (2, 3)).astype(dtype) for name, dtype in DTYPES.items()} | ARRAYS
    write_safetensors(path, arrays, {"format": "pt", "note": "naïve"})
    found = read_safetensors(path)
    same(found, arrays)
    assert found.metadata == {"format": "pt", "note": "naïve"}
    assert found.shape("weight") == (3, 4) and found.dtype("brain") == ml_dtypes.bfloat16
    assert "all.safetensors" in repr(found) and not found["weight"].flags.writeable
    assert all(found[name].flags.aligned for name in found)
    assert not list(tmp_path.glob("*.part"))


def test_big_endian_and_no_arrays(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", {"x": np.arange(3.0).astype(">f8")})
    same(read_safetensors(tmp_path / "a"), {"x": np.arange(3.0)})
    write_safetensors(tmp_path / "b", {})
    assert len(read_safetensors(tmp_path / "b")) == 0


def test_arrays_outlive_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.arange(1000.0)})
    found = read_safetensors(path)
    before = found["x"]
    write_safetensors(path, {"x": np.zeros(2)})
    np.testing.assert_array_equal(before, np.arange(1000.0))
    np.testing.assert_array_equal(found["x"], np.arange(1000.0))
    assert read_safetensors(path)["x"].shape == (2,)


@needs_library
def test_the_formats_own_library_reads_and_writes_the_same(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {name: np.ascontiguousarray(x) for name, x in ARRAYS.items() if np.asarray(x).dtype != ml_dtypes.bfloat16}
    write_safetensors(tmp_path / "ours", arrays, {"a": "b"})
    same(load_file(tmp_path / "ours"), arrays)
    save_file(arrays, tmp_path / "theirs", {"a": "b"})
    found = read_safetensors(tmp_path / "theirs")
    same(found, arrays)
    assert found.metadata == {"a": "b"}


def blob(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated or no safetensors file: 0 bytes"),
    "short": (b"\x00" * 7, "truncated"),
    "header beyond the end": (blob({}, length=1000), "truncated or no safetensors file"),
    "no header": (blob(b"", length=0), "its header would have 0 bytes"),
    "other format": (b"PK\x03\x04" + b"\x00" * 40, "truncated|no safetensors"),
    "no JSON": (blob(b"{'x': 1}"), "the header is no JSON"),
    "deep JSON": (blob(b"[" * 100_000), "the header is no JSON"),
    "no text": (blob(b"\xff\xfe{}"), "the header is no JSON"),
    "a list": (blob(b"[]"), "the header is a JSON list"),
    "a name twice": (blob(b'{"a": 1, "a": 2}'), "'a' is there twice"),
    "no entry": (blob({"x": 3}), "it must have dtype, shape and data_offsets"),
    "more in an entry": (blob({"x": entry(pickle="no")}, b"1234"), "it must have dtype, shape and data_offsets"),
    "unknown dtype": (blob({"x": entry("F31")}, b"1234"), "dtype 'F31', which is not known"),
    "negative shape": (blob({"x": entry(shape=[-1])}, b"1234"), "must be lists of numbers, 0 or more"),
    "fraction": (blob({"x": entry(shape=[1.0])}, b"1234"), "must be lists of numbers"),
    "true": (blob({"x": entry(shape=[True])}, b"1234"), "must be lists of numbers"),
    "three offsets": (blob({"x": entry(offsets=[0, 4, 8])}, b"1234"), "must be lists of numbers"),
    "huge": (blob({"x": entry(shape=[0, 1 << 62, 1 << 62], offsets=[0, 0])}), "larger than any array"),
    "wrong size": (blob({"x": entry(shape=[2])}, b"1234"), "has 4 bytes by its offsets; it must have 8"),
    "turned offsets": (blob({"x": entry(offsets=[4, 0])}, b"1234"), "has -4 bytes"),
    "hole": (blob({"x": entry(), "y": entry(offsets=[8, 12])}, b"1" * 12), "begin at 8, those before end at 4"),
    "overlap": (blob({"x": entry(), "y": entry(offsets=[2, 6])}, b"1" * 6), "begin at 2, those before end at 4"),
    "truncated": (blob({"x": entry(shape=[2], offsets=[0, 8])}, b"1234"), "truncated: its arrays take 8 bytes, and it has 4"),
    "bytes behind": (blob({"x": entry()}, b"123456"), "malformed: its arrays take 4 bytes, and it has 6"),
    "metadata": (blob({"__metadata__": {"a": 1}}), "must map names to text"),
    "metadata list": (blob({"__metadata__": []}), "must map names to text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    data, text = BAD[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match=text):
        read_safetensors(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.arange(3, dtype=np.float32), "y": np.arange(2, dtype=np.int8)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            read_safetensors(path)


def test_missing_files_and_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_safetensors(tmp_path / "none")
    with pytest.raises(FileError, match="is a folder"):
        read_safetensors(tmp_path)
    with pytest.raises(DtypeError, match="<U1, which the format does not have"):
        write_safetensors(tmp_path / "a", {"x": np.array(["a"])})
    with pytest.raises(DtypeError, match="complex128"):
        write_safetensors(tmp_path / "a", {"x": np.zeros(2, complex)})
    with pytest.raises(InputError, match="__metadata__ is taken"):
        write_safetensors(tmp_path / "a", {"__metadata__": np.zeros(2)})
    with pytest.raises(InputError, match="'x' is a list"):
        write_safetensors(tmp_path / "a", {"x": [1.0]})
    with pytest.raises(InputError, match="must map text to text"):
        write_safetensors(tmp_path / "a", {}, {"a": 1})         # pyright: ignore[reportArgumentType]
    with pytest.raises(FileError, match="could not be written"):
        write_safetensors(tmp_path / "no" / "a", {"x": np.zeros(2)})
    assert not list(tmp_path.iterdir())
