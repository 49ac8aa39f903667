"""What is kept of a step where the interior runs backwards: histories outside the interior, and a ring of fields around it."""
import numpy as np

from hyperion.cpu.pool import POOL
from hyperion.cpu.timeloop import Ring

from .history import new_boxes
from .layout import Layout


class RingTables:
    """Which cells are kept at every step, as rows of {start in the packed numbers, a, b, c, d}: cells [a, b) and [c, d).

    frame: what lies outside the interior. ring: as far outside it as stencils reach.
    """

    def __init__(self, layout: Layout):
        inner = list(zip(layout.low, layout.high, layout.cells, strict=True))
        outer = [(max(0, low - layout.reach), min(n, high + layout.reach)) for low, high, n in inner]
        lines = np.meshgrid(*(np.arange(n) for n in layout.cells[:-1]), indexing="ij")
        inside = np.all([(at >= low) & (at < high) for at, (low, high, _) in zip(lines, inner[:-1], strict=True)], axis=0).ravel()
        around = np.all([(at >= a) & (at < b) for at, (a, b) in zip(lines, outer[:-1], strict=True)], axis=0).ravel()
        (low, high, n), (first, last) = inner[-1], outer[-1]
        self.frame, self.frame_size = _rows(inside, (0, low, high, n), np.ones_like(inside), (0, n))
        self.ring, self.ring_size = _rows(inside, (first, low, high, last), around, (first, last))


def _rows(inside: np.ndarray, two: tuple[int, int, int, int], other: np.ndarray, one: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return rows with two pieces where `inside`, else with one where `other`; and how many numbers they hold."""
    rows = np.zeros((len(inside), 5), np.int64)
    rows[inside, 1:] = two
    rows[other & ~inside, 1:3] = one
    counts = rows[:, 2] - rows[:, 1] + rows[:, 4] - rows[:, 3]
    rows[1:, 0] = np.cumsum(counts)[:-1]
    return rows, int(counts.sum())


class RingHistory:
    """The frames and rings of all steps of one shot, and its last state once the run is over.

    arrays: numbers of the arrays whose rings are kept, of the run that uses it next.
    """

    def __init__(self, tables: RingTables, histories: int, arrays: int, steps: int, itemsize: int):
        self.tables = tables
        step = histories * tables.frame_size + arrays * tables.ring_size
        self.kept = POOL.take(steps * step * itemsize)
        self.last = POOL.take(0)
        self.boxes = new_boxes(steps)

    def table(self, arrays: np.ndarray) -> Ring:
        """Return the native table, for a run that has the arrays at these places."""
        t = self.tables
        return Ring(t.frame.ctypes.data, t.ring.ctypes.data, arrays.ctypes.data, t.frame_size, t.ring_size, len(arrays),
                    self.kept.bytes.ctypes.data)

    def keep_state(self, values: np.ndarray) -> None:
        """Keep the bytes of the last state."""
        self.last = POOL.take(values.size)
        self.last.bytes[:] = values


def step_bytes(layout: Layout, histories: int, arrays: int) -> int:
    """Return what is kept of one step of a shot."""
    tables = RingTables(layout)
    return (histories * tables.frame_size + arrays * tables.ring_size) * layout.dtype.itemsize
