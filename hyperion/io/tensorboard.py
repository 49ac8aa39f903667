"""Event files that TensorBoard shows: records of a step and named numbers. Written here; nothing but TensorBoard itself is needed to look.

A record is a length, its checksum, the bytes of an `Event` message, and their checksum (TFRecord with masked CRC-32C, RFC 3720); the
message is in the wire format of Protocol Buffers (tensorflow/core/util/event.proto).
"""

import functools
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from hyperion.errors import FileError

__all__ = ["EventFile", "crc32c"]

POLYNOMIAL = 0x82F63B78     # of Castagnoli, bits reversed


@functools.cache
def _table() -> tuple[int, ...]:
    rows: list[int] = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _field(number: int, data: bytes) -> bytes:
    """Return a field of bytes: text, or a message in a message."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


class EventFile:
    """A file of events in a folder, to which rows of numbers are added.

    A training that is resumed starts another file; TensorBoard joins those of a folder.
    Raises: FileError if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     events = EventFile(folder)
    ...     events.write(1, {"loss": 2.5})
    ...     events.path.stat().st_size > 60
    True
    """

    def __init__(self, folder: str | Path):
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        self.path = Path(folder) / f"events.out.tfevents.{seconds}.{socket.gethostname()}.{os.getpid()}.{rest}"
        self._append(_field(3, b"brain.Event:2"))

    def __repr__(self) -> str:
        return f"EventFile {self.path}"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step, by name."""
        parts = [_field(1, _field(1, name.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value)) for name, value in values.items()]
        self._append(_varint(2 << 3) + _varint(step) + _field(5, b"".join(parts)))

    def _append(self, fields: bytes) -> None:
        event = _varint(1 << 3 | 1) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(length + _masked(length) + event + _masked(event))
        except OSError as error:
            raise FileError(f"{str(self.path)!r}: cannot be written ({error.strerror})") from error
