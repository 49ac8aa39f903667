"""Files that are either whole or not there: written beside, synced, then renamed."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

from hyperion.errors import FileError

__all__ = ["hdf5_image", "open_hdf5", "split_dataset", "write_bytes"]


def write_bytes(path: Path, data: bytes | memoryview | Iterable[bytes | memoryview], previous: Path | None = None) -> None:
    """Write a file atomically: at every moment there is the old file or the new one, never half of one.

    data: bytes, or parts of them, one after the other.
    previous: where the old file is kept, if there is one.
    Raises: FileError if the disk is full or the folder cannot be written; the old file is then as it was.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            for piece in (data,) if isinstance(data, bytes | memoryview) else data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        kept = "; the file written before is kept" if path.exists() or (previous is not None and previous.exists()) else ""
        raise FileError(f"{path}: could not be written ({error.strerror or error}){kept}; "
                        "free some space or write to another folder") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hdf5_image(path: Path, previous: Path | None = None) -> Iterator[h5py.File]:
    """Give an HDF5 file in memory to fill; on leaving, it is written to `path` atomically.

    The file is built in memory because the HDF5 library (1.14) crashes the process when a write fails on a full disk while it closes.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        yield file
    write_bytes(path, buffer.getbuffer(), previous)


@contextlib.contextmanager
def open_hdf5(path: Path, argument: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading. Raises: FileError, with the argument's name, if it is missing, truncated or no HDF5."""
    if not path.is_file():
        raise FileError(f"{argument}={str(path)!r}: {'is a folder' if path.is_dir() else 'no such file'}; give the path of an HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{argument}={str(path)!r}: not a whole HDF5 file ({path.stat().st_size} bytes; {reason(error)}); "
                        "it may be truncated or of another format: make or copy it again") from error
    with file:
        yield file


def reason(error: OSError) -> str:
    """Return the part of an HDF5 message that a reader can use."""
    text = str(error)
    inner = text[text.find("(") + 1:text.rfind(")")] if "(" in text else text
    return inner.split(",")[0].strip()


def split_dataset(text: str) -> tuple[Path, str]:
    """Split "file.h5:/group/dataset" into its file and its dataset ("" when none is named).

    >>> split_dataset("a/model.h5:/models/true")
    (PosixPath('a/model.h5'), '/models/true')
    >>> split_dataset("model.npy")
    (PosixPath('model.npy'), '')
    """
    for suffix in (".h5:", ".hdf5:"):
        head, found, dataset = text.partition(suffix)
        if found:
            return Path(head + suffix[:-1]), dataset
    return Path(text), ""
