"""TOML written here reads back to the same values, and malformed files are refused."""

import tomllib

import pytest

from hyperion import io
from hyperion.errors import FileError, InputError


@pytest.mark.parametrize("table", [
    {},
    {"a": 1, "b": -0.1, "c": True, "d": "text", "e": [1, 2], "f": [1.0, 2e-30], "g": [], "h": ["x", "y"]},
    {"text": 'quotes " and \\ and\nlines\t, ünïcode, \x00 and \x7f'},
    {"a": {"b": {"c": 1}, "d": 2}, "e": {}},
    {"key with space": {"a.b": 1, "ü": 2}, "": 3},
    {"big": 10**15, "small": 1e-300, "infinite": float("inf"), "negative": float("-inf"), "exponent": 1e22},
])
def test_round_trip(table):
    text = io.toml_text(table)
    expected = {key: value for key, value in table.items() if value != {}}      # an empty table leaves no line
    assert tomllib.loads(text) == expected


def test_what_toml_has_no_word_for():
    with pytest.raises(InputError, match="'a': a NoneType"):
        io.toml_text({"a": None})


@pytest.mark.parametrize("content, words", [
    (b"a = yes", ["not TOML", "line 1"]),
    (b"a = 1\na = 2", ["not TOML", "overwrite"]),
    (b"a = \xff", ["UTF-8"]),
    (None, ["cannot be read", "No such file"]),
])
def test_malformed_files(tmp_path, content, words):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        io.read_toml(path, "--config")
    for word in ["--config=", "c.toml", *words]:
        assert word in str(caught.value)
