"""TOML: read with the standard library, written by the few lines here; tables flattened to dotted names."""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from hyperion.errors import FileError, InputError

__all__ = ["flatten_table", "nest_table", "read_toml", "toml_text"]


def read_toml(path: str | Path, argument: str = "file") -> dict[str, object]:
    """Return the tables of a TOML file.

    Raises: FileError, with the argument's name, if the file is missing, not UTF-8, or not TOML (with line and column).

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    ...     _ = file.write("[geometry]\\nshots = 16")
    ...     file.flush()
    ...     read_toml(file.name)
    {'geometry': {'shots': 16}}
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{argument}={str(path)!r}: not UTF-8 text (byte {error.start}); TOML files are UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{argument}={str(path)!r}: not TOML: {error}; text needs quotes, and true and false are lower case") from error
    except OSError as error:
        raise FileError(f"{argument}={str(path)!r}: cannot be read ({error.strerror}); give the path of a TOML file") from error


def flatten_table(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a table of tables as one table with dotted names.

    >>> flatten_table({"out": "x", "geometry": {"shots": 16}})
    {'out': 'x', 'geometry.shots': 16}
    """
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten_table(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def nest_table(flat: Mapping[str, object]) -> dict[str, object]:
    """Return the table of tables that `flatten_table` flattened.

    >>> nest_table({"out": "x", "geometry.shots": 16})
    {'out': 'x', 'geometry': {'shots': 16}}
    """
    table: dict[str, object] = {}
    for name, value in flat.items():
        *path, key = name.split(".")
        inner = table
        for step in path:
            following = inner.setdefault(step, {})
            if not isinstance(following, dict):
                raise InputError(f"key {name!r}: {step!r} is a value and a table at once; rename one of them")
            inner = following
        inner[key] = value
    return table


def toml_text(table: Mapping[str, object]) -> str:
    """Return a table as TOML text that reads back to the same values.

    table: text, numbers, booleans, lists of them, and tables of these.
    Raises: InputError for a value TOML has no word for.

    >>> print(toml_text({"model": "", "bounds": [1400.0, 5000.0], "geometry": {"shots": 16}}), end="")
    model = ""
    bounds = [1400.0, 5000.0]
    <BLANKLINE>
    [geometry]
    shots = 16
    """
    return "\n".join(table_blocks(table, ""))


def table_blocks(table: Mapping[str, object], name: str) -> list[str]:
    """Return the text of a table and of the tables within it, one block each."""
    lines = [f"{key_text(key)} = {value_text(value, key)}\n" for key, value in table.items() if not isinstance(value, Mapping)]
    blocks = [(f"[{name}]\n" if name else "") + "".join(lines)] if lines else []
    for key, value in table.items():
        if isinstance(value, Mapping):
            blocks += table_blocks(value, f"{name}.{key_text(key)}" if name else key_text(key))
    return blocks


def key_text(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quote(key)


def value_text(value: object, key: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item, key) for item in value) + "]"
    raise InputError(f"key {key!r}: a {type(value).__name__} cannot be written as TOML; use text, numbers, booleans, or lists of them")


def quote(text: str) -> str:
    """Return text as a TOML basic string."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'
