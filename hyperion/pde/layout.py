"""Where cells lie in memory, and which cells stand for a point."""
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperion.cpu.pool import POOL, Buffer
from hyperion.errors import BoundaryError

from .closures import Symmetry
from .surface import surface
from .survey import taps

PAGE, STAGGER = 4096, 832                              # arrays start at different offsets of a page, so that loads do not alias stores


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


class Layout:
    """Where cells lie in memory.

    size: cells with the absorbing layer. rims: cells at both sides of each axis in which memory variables or profiles live, or reads of
    them. Per axis: [0, low) and [high, cells) are the slabs, [low, high) the interior. The last axis is cut into whole vectors of 64 bytes;
    what that adds beyond `size` holds zeros, as the halos do.
    """

    def __init__(self, size: tuple[int, ...], pads: tuple[tuple[int, int], ...], rims: tuple[tuple[int, int], ...], reach: int,
                 dtype: np.dtype):
        self.size, self.dtype, self.reach, self.ndim = size, np.dtype(dtype), reach, len(size)
        rims = tuple(_apart(*values) for values in zip(rims, pads, size, strict=True))
        self.vector = vector = 64 // self.dtype.itemsize
        last, rim = size[-1], rims[-1][1]
        self.low, self.high, self.cells = [low for low, _ in rims], [n - high for n, (_, high) in zip(size, rims, strict=True)], list(size)
        self.low[-1] = low = _up(rims[-1][0], vector)
        self.high[-1] = low + (max(0, (last - low - rim) // vector * vector) if rim else _up(max(0, last - low), vector))
        self.cells[-1] = self.high[-1] + _up(max(0, last - self.high[-1]), vector)
        if any(low > high or (pad and n - high < rim)
               for low, high, n, (_, rim), (_, pad) in zip(self.low, self.high, self.cells, rims, pads, strict=True)):
            nodes = "x".join(str(n - sum(pair)) for n, pair in zip(size, pads, strict=True))
            raise BoundaryError(f"grid of {nodes} nodes: too narrow for an absorbing layer of {max(max(pair) for pair in pads)} "
                                f"cells with stencils that reach {reach}; use at least {2 * reach + 2 * vector} nodes along "
                                f"the last axis and {2 * reach} along others")
        self.rim = max(self.low[0], size[0] - self.high[0])              # planes of the deeper slab of axis 0
        self.left, self.row = vector, vector + self.cells[-1] + vector
        if self.row * self.dtype.itemsize % 2048 == 0:
            self.row += vector
        self.history_shape = (*size[:-1], self.cells[-1])
        self.cells_count = math.prod(size)

    def extent(self, axis: int | None, side: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (shape in memory, index of cell (0, ..., 0)) of a full array, or of an array of one slab of an axis."""
        h, shape, origin = self.reach, [n + 2 * self.reach for n in self.size], [self.reach] * self.ndim
        shape[-1], origin[-1] = self.row, self.left
        if axis is not None:
            start, stop = (self.high[axis], self.cells[axis]) if side else (0, self.low[axis])
            # Along the last axis a vector of zeros between rows serves as halo of both.
            before, after = (0, self.vector) if axis == self.ndim - 1 else (h, h)
            shape[axis], origin[axis] = before + stop - start + after, before - start
        return tuple(shape), tuple(origin)


def _apart(rims: tuple[int, int], pads: tuple[int, int], n: int) -> tuple[int, int]:
    """Return how many of n cells the slabs of an axis take. Where they meet, one without memory variables leaves cells to the other."""
    low, high = rims
    if low + high <= n or all(pads):
        return rims
    return (low, max(0, n - low)) if pads[0] else (max(0, n - high), min(high, n))


class Arena:
    """All arrays of one kind in one buffer."""

    def __init__(self, layout: Layout, names: Sequence[str], memory: dict[str, int]):
        places, size = self.places(layout, names, memory)
        self.buffer: Buffer = POOL.take(size)
        self.bytes = self.buffer.bytes
        self.full: dict[str, np.ndarray] = {}          # views of the cells, without halos
        self.whole: dict[str, np.ndarray] = {}         # and with them
        self.entry: dict[tuple[str, int], tuple[int, tuple[int, int]]] = {}
        item = layout.dtype.itemsize
        for name, side, start, shape, origin in places:
            array = self.bytes[start:start + math.prod(shape) * item].view(layout.dtype).reshape(shape)
            stride = [s // item for s in array.strides]
            offset = sum(o * s for o, s in zip(origin, stride, strict=True)) * item
            self.entry[name, side] = (array.ctypes.data + offset, (stride[0], stride[1] if layout.ndim == 3 else 1))
            if name not in memory:
                self.whole[name] = array
                inner = [slice(o, o + n) for o, n in zip(origin, layout.size, strict=True)]
                self.full[name] = array[tuple(inner)]

    @staticmethod
    def size(layout: Layout, names: Sequence[str], memory: dict[str, int]) -> int:
        """Return the bytes that such an arena takes."""
        return Arena.places(layout, names, memory)[1]

    @staticmethod
    def places(layout: Layout, names: Sequence[str],
                memory: dict[str, int]) -> tuple[list[tuple[str, int, int, tuple[int, ...], tuple[int, ...]]], int]:
        """Return (name, side, first byte, shape, index of cell 0) of each array, and the bytes in all."""
        places: list[tuple[str, int, int, tuple[int, ...], tuple[int, ...]]] = []
        at = 0
        for name in names:
            for side in (0, 1) if name in memory else (0,):
                shape, origin = layout.extent(memory.get(name), side)
                at = _up(at, PAGE) + STAGGER * len(places) % PAGE // layout.dtype.itemsize * layout.dtype.itemsize
                places.append((name, side, at, shape, origin))
                at += math.prod(shape) * layout.dtype.itemsize
        return places, at

    def clear(self) -> None:
        """Set everything to zero, halos too."""
        self.bytes[:] = 0


@dataclass(frozen=True)
class End:
    """A side (axis; 0 low, 1 high) that reflects: what a field is about it, and whether it sits half a cell beyond the nodes there."""

    axis: int
    side: int
    symmetry: Symmetry
    half: bool

    def last(self, size: int) -> int:
        """Return the field's outermost cell before the side, of `size` cells."""
        return size - 1 - self.half if self.side else 0

    def factor(self, cells: np.ndarray, size: int, order: int, sent: bool) -> np.ndarray:
        """Return what the weights of cells (along the axis) are multiplied by: 0 on the side where the field is zero there.

        sent: weights of sources, which stand for a density: divided by what the cell counts, a half on a side with images.
        """
        depth = abs(cells - self.last(size))
        on_side = (depth == 0) & (not self.half)
        zero = on_side & (self.symmetry in (Symmetry.ODD, Symmetry.ZERO))
        count = np.where(on_side, 0.5, 1.0)
        if not self.symmetry.parity:
            closed = surface(order)
            counts = closed.halves if self.half else closed.nodes
            count = counts[np.minimum(depth, len(counts) - 1)]
        return np.where(zero, 0.0, 1.0 / count if sent else 1.0)


class Taps:
    """Weighted cells that stand for a shot's points, sorted by plane of axis 0.

    positions: (points, ndim) in cells of the grid. pads: cells of absorbing layer around it. What falls beyond the layer is dropped (the
    field is zero there), wraps around, is an image of what lies before a side that reflects, or is not used where nothing is known beyond.
    ends: the sides that reflect. order: of the derivatives. sent: whether the points are sources, whose images are there as well.
    slope: (points, ndim) where the sum of these times the derivatives per cell is wanted.
    cells: (taps, ndim); weights: (taps,); owner: (taps,), which point a tap belongs to.
    """

    def __init__(self, positions: np.ndarray, pads: tuple[tuple[int, int], ...], size: tuple[int, ...], wraps: tuple[bool, ...],
                 ends: Sequence[End], order: int, sent: bool = False, slope: np.ndarray | None = None):
        low = np.array([low for low, _ in pads])
        limits = [[-math.inf, math.inf] for _ in size]
        for end in ends:
            if not end.symmetry.parity:
                limits[end.axis][end.side] = end.last(size[end.axis]) - low[end.axis]
        cells, weights, owner = taps(positions, limits, slope)
        cells = np.where(wraps, cells % np.array(size), cells + low)
        for end in ends:
            at, last = cells[:, end.axis], end.last(size[end.axis])
            beyond = at > last if end.side else at < last
            edge = last + (end.half if end.side else 0)
            cells[:, end.axis] = np.where(beyond, 2 * edge - at - end.half, at)
            weights = weights * np.where(beyond, end.symmetry.parity, 1) * end.factor(cells[:, end.axis], size[end.axis], order, sent)
        inside = np.flatnonzero(((cells >= 0) & (cells < np.array(size))).all(axis=1) & (weights != 0.0))
        chosen = inside[np.argsort(cells[inside, 0], kind="stable")]
        self.points = len(positions)
        self.cells, self.weights, self.owner = cells[chosen], weights[chosen], owner[chosen].astype(np.int32)

    def times(self, factors: np.ndarray) -> "Taps":
        """Return the same cells with the weights of each point times a factor (points,)."""
        return self.reweighted(self.weights * factors[self.owner])

    def reweighted(self, weights: np.ndarray) -> "Taps":
        """Return the same cells with other weights (taps,)."""
        out = copy.copy(self)
        kept = weights != 0.0
        out.cells, out.weights, out.owner = self.cells[kept], weights[kept], self.owner[kept]
        return out

    def replaced(self, point: int, cells: np.ndarray, weights: np.ndarray) -> "Taps":
        """Return the taps with other cells (taps, ndim) and weights for a point."""
        other, rest = copy.copy(self), self.reweighted(np.where(self.owner == point, 0.0, self.weights))
        other.cells, other.weights, other.owner = cells, weights, np.full(len(cells), point, self.owner.dtype)
        return rest.joined(other)

    def joined(self, other: "Taps") -> "Taps":
        """Return the cells of both, of as many points: what is heard is the sum."""
        out = copy.copy(self)
        cells = np.concatenate([self.cells, other.cells])
        chosen = np.argsort(cells[:, 0], kind="stable")
        out.cells, out.weights, out.owner = (np.concatenate([getattr(x, name) for x in (self, other)])[chosen]
                                             for name in ("cells", "weights", "owner"))
        return out
