"""Where the kept steps of a shot lie: slots in memory or in a file."""
import math

import numpy as np

from hyperion.cpu.disk import DiskBuffer
from hyperion.cpu.pool import POOL, Buffer

from .storage import Keeping, Needs, counts

CHUNK_BYTES = 64e6                                     # of a file, written or read while the next as many are worked on


class History:
    """Slots for the kept steps among the first `steps` of a shot.

    boxes: (steps of the run, 6), outside which a step was at rest. counts: of each step, what it counts; 0 if it is not kept. slot: of
    each step, -1 if it is not kept; before: how many kept steps precede it. place: where its slot begins, set by the run; or None.
    Raises: FileError if they are to lie on a disk that does not hold them.
    """

    def __init__(self, keeping: Keeping, needs: Needs, steps: int, boxes: np.ndarray | None = None):
        self.bits, self.kept_bytes, self.slot_bytes = keeping.bits, needs.kept_bytes(keeping.bits), needs.slot_bytes(keeping.bits)
        self.counts = counts(needs.steps, keeping.every, keeping.tail)
        self.before = np.concatenate([[0], np.cumsum(self.counts != 0.0)])
        self.slot = np.where(self.counts != 0.0, self.before[:-1], -1)
        # Where all steps are kept by one run, and in memory, slots follow each other as they come.
        self.place = np.zeros(needs.steps + 1, np.int64) if keeping.bits and steps == needs.steps and not keeping.disk else None
        size = int(self.before[steps]) * self.slot_bytes
        self._buffer: Buffer | DiskBuffer = DiskBuffer(size, keeping.folder) if keeping.disk else POOL.take(size)
        self.boxes = new_boxes(needs.steps) if boxes is None else boxes
        # Where a step's histories lie in each row: {largest number less the first vector, end} of all rows; zeros are no vector.
        rows = math.prod(needs.shape[:-1])
        self.swept = np.zeros((needs.steps, needs.histories, 2, rows), np.uint16) if boxes is None else None
        self.address: int = self._buffer.bytes.ctypes.data

    def chunk(self) -> int:
        """Return how many steps to run between two calls of `passed`."""
        return max(1, int(CHUNK_BYTES / max(1, self.slot_bytes))) if isinstance(self._buffer, DiskBuffer) else 1 << 40

    def passed(self, first: int, last: int, chunk: int, direction: int) -> None:
        """Steps [first, last) are done with; the next `chunk` ones in a direction follow."""
        if isinstance(self._buffer, DiskBuffer):
            start, stop = (int(self.before[n]) * self.slot_bytes for n in (first, last))
            # What the system has not written by now it drops once the next chunk is done.
            behind = (stop - start) * direction
            self._buffer.leave(max(0, min(start, start - behind)), max(stop, stop - behind))
            if direction < 0:
                self._buffer.fetch(int(self.before[max(0, first - chunk)]) * self.slot_bytes, start)


def new_boxes(steps: int) -> np.ndarray:
    """Return room for the box of each step (`Part` of stencil.h): {first cells of three axes, last ones}."""
    return np.zeros((steps, 6), np.int64)
