"""Buffers that are used again: the first touch of fresh pages costs more than many a sweep over them."""
import collections
import math
import threading
import weakref
from typing import Any

import numpy as np

IDLE_BYTES = 1 << 30                                   # idle buffers beyond this are given back to the system, oldest first
_ALIGNMENT = 128


class BufferPool:
    """Hands out aligned byte buffers; a buffer comes back when its last `Buffer` is dropped.

    >>> pool = BufferPool()
    >>> pool.take(1000).bytes.size >= 1000
    True
    """

    def __init__(self) -> None:
        self._idle: list[np.ndarray] = []
        self._returned: collections.deque[np.ndarray] = collections.deque()
        self._lock = threading.Lock()

    def take(self, size: int) -> "Buffer":
        """Return a buffer of at least `size` bytes; its contents are undefined."""
        with self._lock:
            self._collect()
            fits = [i for i, raw in enumerate(self._idle) if size <= raw.size - _ALIGNMENT <= 2 * size + (1 << 16)]
            raw = self._idle.pop(min(fits, key=lambda i: self._idle[i].size)) if fits else None
        return Buffer(self, np.empty(size + _ALIGNMENT, np.uint8) if raw is None else raw, size)

    def give(self, raw: np.ndarray) -> None:
        """Take a buffer back. Called by finalizers, at any moment and on any thread, even inside `take`: so it takes no lock."""
        self._returned.append(raw)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    @property
    def idle_bytes(self) -> int:
        """Bytes of idle buffers, which the next `take` may use again."""
        with self._lock:
            self._collect()
            return sum(r.size for r in self._idle)

    def clear(self) -> None:
        """Give all idle buffers back to the system."""
        with self._lock:
            self._returned.clear()
            self._idle.clear()

    def _collect(self) -> None:
        """Move what came back to the idle buffers, and let go of the oldest beyond the limit."""
        while self._returned:
            self._idle.append(self._returned.popleft())
        while sum(r.size for r in self._idle) > IDLE_BYTES:
            self._idle.pop(0)


class Buffer:
    """Aligned bytes of a pool. Keep it for as long as any view of `bytes` is in use."""

    def __init__(self, pool: BufferPool, raw: np.ndarray, size: int):
        start = -raw.ctypes.data % _ALIGNMENT
        self.bytes = raw[start:start + size]
        weakref.finalize(self, pool.give, raw).atexit = False


class ArrayPool:
    """Hands out arrays over memory that is used again, once the last array on it has died.

    Memory comes in classes of size, eight from each power of two to the next, so that a look takes the same time however many are idle.

    >>> pool = ArrayPool()
    >>> array, address = pool.empty((200, 300), np.dtype(np.float32))
    >>> array.shape, address % 128, address == array.ctypes.data
    ((200, 300), 0, True)
    """

    def __init__(self) -> None:
        self._idle: dict[int, list[np.ndarray]] = {}    # by size; the class used last comes last
        self._bytes = 0
        self._returned: collections.deque[np.ndarray] = collections.deque()
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray, int]:
        """Return an array of a shape and dtype, whose elements are undefined, and the address of its first."""
        wanted = math.prod(shape) * dtype.itemsize + _ALIGNMENT
        grain = 1 << max(wanted.bit_length() - 4, 12)
        size = -(-wanted // grain) * grain
        raw = None
        with self._lock:
            self._collect()
            found = self._idle.pop(size, None)
            if found:
                raw = found.pop()
                self._bytes -= size
                if found:
                    self._idle[size] = found
        if raw is None:
            raw = np.empty(size, np.uint8)
        start = raw.ctypes.data
        start += -start % _ALIGNMENT
        return np.asarray(_Memory(self, raw, shape, dtype.str, start)), start

    def give(self, raw: np.ndarray) -> None:
        """Take memory back; at any moment and on any thread, as in `BufferPool.give`."""
        self._returned.append(raw)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def clear(self) -> None:
        """Give all idle memory back to the system."""
        with self._lock:
            self._returned.clear()
            self._idle.clear()
            self._bytes = 0

    def _collect(self) -> None:
        while self._returned:
            raw = self._returned.popleft()
            found = self._idle.pop(raw.size, [])
            found.append(raw)
            self._idle[raw.size] = found
            self._bytes += raw.size
        while self._bytes > IDLE_BYTES:
            size = next(iter(self._idle))
            self._idle[size].pop(0)
            self._bytes -= size
            if not self._idle[size]:
                del self._idle[size]


class _Memory:
    """What owns the memory of an array of an `ArrayPool`: NumPy keeps it alive as the array's base, and that of its views."""

    __slots__ = ("__array_interface__", "_pool", "_raw")

    def __init__(self, pool: ArrayPool, raw: np.ndarray, shape: tuple[int, ...], kind: str, address: int):
        self._pool, self._raw = pool, raw
        self.__array_interface__ = {"shape": shape, "typestr": kind, "data": (address, False), "version": 3}

    def __del__(self) -> None:
        self._pool.give(self._raw)


POOL = BufferPool()
ARRAYS = ArrayPool()
