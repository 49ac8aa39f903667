"""Arrays by name in one file, in the safetensors format: a reader and a writer of our own.

The file is 8 bytes with the length n of the header (unsigned, little-endian), n bytes of JSON, and the arrays' bytes one after the other.
The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the end of the header; "__metadata__"
holds text by name. Arrays are little-endian, in C order, without gaps. Nothing in such a file can be executed.
Source: the format's description, https://huggingface.co/docs/safetensors/index#format.
"""

import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from hyperion.errors import DtypeError, FileError, InputError
from hyperion.io.files import write_bytes

__all__ = ["SafeTensors", "read_safetensors", "write_safetensors"]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "U8": np.dtype(np.uint8), "I8": np.dtype(np.int8), "U16": np.dtype(np.uint16), "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32), "I32": np.dtype(np.int32), "U64": np.dtype(np.uint64), "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype(np.float32), "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64), "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000        # [bytes] as the format's own library: more is taken for a damaged file


class SafeTensors(Mapping[str, np.ndarray]):
    """The arrays of a file by name: each is a read-only view of the mapped file, whose bytes are read when they are first used.

    metadata: text by name, as it was written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_safetensors(Path(folder) / "a.safetensors", {"x": np.arange(3.0)}, {"from": "a test"})
    ...     arrays = read_safetensors(Path(folder) / "a.safetensors")
    ...     print(arrays, arrays["x"], arrays.metadata)
    SafeTensors a.safetensors, 1 arrays, 24 bytes [0. 1. 2.] {'from': 'a test'}
    """

    def __init__(self, path: Path, places: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]], metadata: dict[str, str], data: Any):
        self.path, self.metadata = path, metadata
        self._places = places
        self._data = data

    def __getitem__(self, name: str) -> np.ndarray:
        dtype, shape, begin = self._places[name]
        count = math.prod(shape)
        flat = np.frombuffer(self._data, dtype, count, begin) if count else np.zeros(0, dtype)
        flat.flags.writeable = False
        return flat.reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array; nothing is read."""
        return self._places[name][1]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype of an array; nothing is read."""
        return self._places[name][0]

    def __repr__(self) -> str:
        size = sum(math.prod(shape) * dtype.itemsize for dtype, shape, _ in self._places.values())
        return f"SafeTensors {self.path.name}, {len(self)} arrays, {size:,} bytes"


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _header(path: Path, file: Any, size: int) -> tuple[dict[str, Any], int]:
    """Return the header of a file and where its arrays begin."""
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > size - 8:
        raise FileError(f"{path}: truncated or no safetensors file: {size} bytes, of which the header alone should take {8 + length}; "
                        "copy or make it again")
    if not 2 <= length <= LONGEST_HEADER:
        raise FileError(f"{path}: no safetensors file: its header would have {length} bytes; it must have 2 to {LONGEST_HEADER}")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_no_twice)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: the header is no JSON ({error}); the file is damaged or of another format") from error
    if not isinstance(header, dict):
        raise FileError(f"{path}: the header is a JSON {type(header).__name__}; it must be an object of names")
    return header, 8 + length


def _place(path: Path, name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return dtype, shape, begin and end that a header gives for a name."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FileError(f"{path}: {name!r} has {entry!r}; it must have dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    numbers = [shape, offsets] if isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2 else [[None]]
    if not all(type(n) is int and n >= 0 for part in numbers for n in part):
        raise FileError(f"{path}: {name!r} has shape {shape!r} and data_offsets {offsets!r}; they must be lists of numbers, 0 or more")
    if len(shape) > 64 or math.prod(n for n in shape if n) >= 1 << 59:
        raise FileError(f"{path}: {name!r} has shape {shape!r}, which is larger than any array")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise FileError(f"{path}: {name!r} has dtype {entry['dtype']!r}, which is not known; known are {', '.join(DTYPES)}")
    dtype, (begin, end) = DTYPES[entry["dtype"]], offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise FileError(f"{path}: {name!r}, {entry['dtype']} of shape {tuple(shape)}, has {end - begin} bytes by its offsets; "
                        f"it must have {math.prod(shape) * dtype.itemsize}")
    return dtype, tuple(shape), begin, end


def read_safetensors(path: str | os.PathLike[str]) -> SafeTensors:
    """Return the arrays of a safetensors file by name. Only the header is read; the arrays are read when they are used.

    The file may be replaced by another one while it is in use, but not written to.
    Raises: FileError if the file is missing, truncated or malformed; the message says where.

    >>> read_safetensors("nowhere.safetensors")
    Traceback (most recent call last):
        ...
    hyperion.errors.FileError: nowhere.safetensors: no such file; give the path of a .safetensors file
    """
    place = Path(path)
    if not place.is_file():
        raise FileError(f"{place}: {'is a folder' if place.is_dir() else 'no such file'}; give the path of a .safetensors file")
    try:
        with open(place, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _header(place, file, size)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{place}: could not be read ({error.strerror or error})") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FileError(f"{place}: __metadata__ is {metadata!r}; it must map names to text")
    places: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, begin, end = _place(place, name, entry)
        places[name] = (dtype, shape, start + begin)
        spans.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            raise FileError(f"{place}: the bytes of {name!r} begin at {begin}, those before end at {reached}; they must follow each other")
        reached = end
    if reached != size - start:
        kind = "truncated" if reached > size - start else "malformed"
        raise FileError(f"{place}: {kind}: its arrays take {reached} bytes, and it has {size - start} for them; copy or make it again")
    return SafeTensors(place, places, metadata, data)


def write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name to a safetensors file, atomically: at every moment there is the old file or the whole new one.

    arrays: NumPy arrays of the dtypes of the format.  metadata: text by name.
    The arrays with the widest numbers come first, so that all are aligned; equal widths are in the order of names.
    Raises: DtypeError for another dtype; InputError for names or metadata that are no text; FileError if the file cannot be written.

    >>> write_safetensors("a.safetensors", {"x": np.array(["text"])})
    Traceback (most recent call last):
        ...
    hyperion.errors.DtypeError: write_safetensors: 'x' is an array of <U4, which the format does not have; convert it with .astype(...)
    """
    place, plain = Path(path), {name: _plain(name, array) for name, array in arrays.items()}
    texts = dict(metadata or {})
    if not all(isinstance(key, str) and isinstance(text, str) for key, text in texts.items()):
        raise InputError(f"write_safetensors: metadata={texts!r} must map text to text")
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    order = sorted(plain, key=lambda name: (-plain[name].dtype.itemsize, name))
    reached = 0
    for name in order:
        array = plain[name]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [reached, reached + array.nbytes]}
        reached += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    write_bytes(place, _pieces(text, [plain[name] for name in order]))


def _pieces(header: bytes, arrays: list[np.ndarray]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little")
    yield header
    for array in arrays:
        if array.size:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _plain(name: Any, array: Any) -> np.ndarray:
    """Return an array as NumPy has it, little-endian, or refuse it."""
    if not isinstance(name, str) or name == "__metadata__":
        raise InputError(f"write_safetensors: an array has the name {name!r}; names must be text, and __metadata__ is taken")
    if not isinstance(array, np.ndarray | np.generic):
        raise InputError(f"write_safetensors: {name!r} is a {type(array).__name__}; it must be a NumPy array: use numpy.asarray")
    values = np.asarray(array)
    native = values.dtype.newbyteorder("=") if values.dtype.kind in "iufc" else values.dtype
    if native not in NAMES:
        raise DtypeError(f"write_safetensors: {name!r} is an array of {values.dtype}, which the format does not have; "
                         "convert it with .astype(...)")
    return values if values.dtype == native else values.astype(native)
