"""Buffers that are used again: the first touch of fresh pages costs more than many a sweep over them."""
import collections
import threading
import weakref

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


POOL = BufferPool()
