"""Buffers in a file: more than main memory holds, written back and read ahead by the system while the processor works."""
import contextlib
import errno
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from hyperion.errors import FileError


class DiskBuffer:
    """Bytes of a temporary file, mapped into memory.

    size: bytes, all of them reserved at once, so that a full disk is an error here and not a fault later. folder: where; default: the
    system's folder for temporary files. The file has no name: it is gone with the buffer, even if the process is killed.
    Raises: FileError if the folder cannot be written or the disk does not hold so much.

    >>> buffer = DiskBuffer(10_000)
    >>> buffer.bytes.size, int(buffer.bytes.sum())
    (10000, 0)
    """

    def __init__(self, size: int, folder: str | Path | None = None):
        where = Path(tempfile.gettempdir() if folder is None else folder)
        try:
            if size > shutil.disk_usage(where).free:   # asked first: reserving until nothing is left would disturb others
                raise _full(where, size)
            with tempfile.TemporaryFile(dir=where, prefix="hyperion-") as file:
                _reserve(file.fileno(), max(1, size))
                self._file = os.dup(file.fileno())
                self._map = mmap.mmap(self._file, max(1, size))
        except FileError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _full(where, size) from error
            raise FileError(f"folder={str(where)!r}: no temporary file can be made there ({error.strerror or error}); give a folder that "
                            "can be written") from error
        self.bytes = np.frombuffer(self._map, np.uint8, count=size)

    def leave(self, start: int, stop: int) -> None:
        """Say that bytes [start, stop) will not be used for a while: they are written back and need not stay in memory."""
        first, last = start // mmap.PAGESIZE * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            with contextlib.suppress(AttributeError, OSError):           # advice only; not every system takes it
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
                os.posix_fadvise(self._file, first, last - first, os.POSIX_FADV_DONTNEED)

    def fetch(self, start: int, stop: int) -> None:
        """Say that bytes [start, stop) will be read soon."""
        first = max(0, start) // mmap.PAGESIZE * mmap.PAGESIZE
        if stop > first:
            with contextlib.suppress(AttributeError, OSError):
                self._map.madvise(mmap.MADV_WILLNEED, first, stop - first)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def _full(where: Path, size: int) -> FileError:
    free = shutil.disk_usage(where).free
    return FileError(f"folder={str(where)!r}: {size / 1e9:.3g} GB are wanted and {free / 1e9:.3g} GB are free; give another "
                     "folder, or keep less")


def _reserve(file: int, size: int) -> None:
    """Make a file's blocks real: writing to them through a mapping cannot fail for want of space then."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.write(file, zeros[:size - start])
