"""How a grid is cut for a GPU: tiles, each the work of a block, and boxes that are noted to move or to rest."""
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hyperion.codegen import CudaKernel
from hyperion.gpu.launching import THREADS
from hyperion.gpu.stencils import REST, TILE, structure

from .experiment import Experiment
from .layout import Layout

# Planes that a thread marches along, by number of axes, in slabs and in the interior: measured on an H200. Slabs are small: many threads
# at work count there for more than what marching saves.
PLANES = {2: (1, 4), 3: (8, 16)}
BOXES = {2: (0, 5, 6), 3: (4, 3, 6)}                     # cells a side of boxes that move or rest, as powers of two


@dataclass(frozen=True)
class Tiling:
    """The tiles of one box: begins along each axis, lengths, the box, and what TILE says beside."""

    begins: list[np.ndarray]
    lengths: tuple[int, ...]
    box: list[tuple[int, int]]
    mask: int
    sides: int
    lanes: int
    planes: int

    @property
    def count(self) -> int:
        """How many there are."""
        return math.prod(map(len, self.begins))


def tilings(lay: Layout, kernel: CudaKernel) -> list[Tiling]:
    """Return the tiles of each box that a kernel runs in."""
    edges = [(0, lay.low[a], lay.high[a], lay.cells[a]) for a in range(lay.ndim)]
    vector, out = 16 // lay.dtype.itemsize, list[Tiling]()
    for body, place in itertools.product(kernel.masks, itertools.product(range(3), repeat=lay.ndim)):
        if body != frozenset(a for a, where in enumerate(place) if where != 1):
            continue
        box = [(edges[a][where], edges[a][where + 1]) for a, where in enumerate(place)]
        size, whole = [end - begin for begin, end in box], body & kernel.whole
        lanes, planes = _lanes(size[-1], vector), PLANES[lay.ndim][not body]
        if lay.ndim - 1 in whole:
            lanes = min(8, max(3, (-(-size[-1] // vector) - 1).bit_length()))
        groups, width = THREADS >> lanes, vector << lanes
        if lay.ndim == 2 and 0 in whole:
            planes = -(-size[0] // groups)
        lengths = [planes * groups, width] if lay.ndim == 2 else [planes, groups, width]
        lengths = tuple(max(1, size[a]) if a in whole else n for a, n in enumerate(lengths))
        begins = [np.arange(begin, end, n) for (begin, end), n in zip(box, lengths, strict=True)]
        out.append(Tiling(begins, lengths, box, sum(1 << a for a in body), sum(1 << a for a, where in enumerate(place) if where == 2),
                          lanes, planes))
    return out


def tiles(lay: Layout, kernel: CudaKernel) -> np.ndarray:
    """Return the tiles of all boxes that a kernel runs in, as TILE."""
    out = [np.zeros(0, TILE)]
    for some in tilings(lay, kernel):
        made = np.zeros(some.count, TILE)
        corners = np.meshgrid(*some.begins, indexing="ij")
        for axis, (begin, n, (_, end)) in enumerate(zip(corners, some.lengths, some.box, strict=True)):
            made["begin"][:, axis] = begin.ravel()
            made["end"][:, axis] = np.minimum(begin.ravel() + n, end)
        for name in ("mask", "sides", "lanes", "planes"):
            made[name] = getattr(some, name)
        out.append(made)
    return np.concatenate(out)


def tile_of(lay: Layout, kernel: CudaKernel, cells: np.ndarray) -> np.ndarray:
    """Return the number of the tile that each cell (count, axes) lies in; negative where it is in none."""
    out, before = np.full(len(cells), -1 << 40), 0
    for some in tilings(lay, kernel):
        low, high = (np.array(ends) for ends in zip(*some.box, strict=True))
        inside = ((cells >= low) & (cells < high)).all(axis=1)
        place = tuple((cells[inside] - low).T // np.array(some.lengths)[:, None])
        out[inside] = before + np.ravel_multi_index(place, [len(b) for b in some.begins]) if inside.any() else 0
        before += some.count
    return out


def _lanes(cells: int, vector: int) -> int:
    """Return the threads along a row of a tile, as a power of two: 32, or fewer where that leaves fewer idle."""
    def idle(lanes: int) -> int:
        return -(-cells // (vector << lanes)) * (vector << lanes) - cells
    return min((5, 4, 3), key=lambda lanes: (idle(lanes) > 0.05 * cells, idle(lanes) if idle(lanes) > 0.05 * cells else -lanes))


class Moving:
    """Which boxes move: none but those that something is sent to, until what the kernels store there is not zero.

    boxes: (shots, boxes along three axes), on the device. given: what kernels are given; nothing where all may move from the start on.
    reach: how far a sweep reads [cells].
    """

    def __init__(self, e: Experiment, shots: int, reach: int):
        lay, self.shift = e.layout, BOXES[e.layout.ndim]
        count = [-(-n // (1 << bits)) for n, bits in zip((*(1,) * (3 - lay.ndim), *lay.cells), self.shift, strict=True)]
        self.e, self.boxes = e, e.xp.zeros((shots, *count), np.int32)
        everywhere = bool(e.starts or e.ends or any(e.wraps))
        self.given = structure(REST) if everywhere else structure(
            REST, moving=self.boxes.data.ptr, shift=self.shift, count=count, reach=reach)

    def wake(self, sent: Iterable[tuple[int, np.ndarray]]) -> None:
        """Start anew: the boxes move that something is sent to, (shot, cells) each."""
        none, places = 3 - self.e.layout.ndim, [np.zeros((0, 4), int)]
        for i, cells in sent:
            places.append(np.zeros((len(cells), 4), int))
            places[-1][:, 0], places[-1][:, 1 + none:] = i, cells
        index = np.unique(np.concatenate(places) >> np.array([0, *self.shift]), axis=0)
        host = np.zeros(self.boxes.shape, np.int32)
        host[tuple(index.T)] = 1
        self.boxes[...] = self.e.xp.asarray(host)
