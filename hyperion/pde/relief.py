"""A free surface that follows topography: what it makes of kernel parameters and of points near it. No stencil changes.

Fields that vanish on the surface (second derivatives): phi is the depth below the surface. A node reads zeros in the air where, of a field
in proportion to phi, it would read its own value times phi(there) / phi(here). So L p + V p stands for the Laplacian, V = L(phi in the
air) / phi: diagonal, so that energy is conserved as without it. Nodes so near the surface that V would make the step shorter are air.
On a plane surface at any angle that is exact for fields linear in depth: the error is of second order (Gibou et al., J. Comput. Phys. 176
(2002), 205, is V at order 2).

Stresses that vanish (staggered grids, order 2): every mass counts with the portion of its cell that is ground, and so does every modulus.
Where a cell of normal stress lacks a velocity along an axis, what is left of it resists the strains along the others alone, with the
moduli of vanishing traction (`Equation.on_free_surface`); a cell of shear stress hands its portion to the one below. All are positive
portions of the sums of kinetic and elastic energy, so nothing grows. A flat surface half-way between nodes is what the vacuum formulation
makes of it (Mittet, Geophysics 67 (2002), 1616; Zeng et al., Geophysics 77 (2012), T1).
"""
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hyperion.autograd import Tensor, as_tensor
from hyperion.codegen import Stencil
from hyperion.errors import BoundaryError, ShapeError

from .boundary import Boundary
from .equation import Equation
from .grid import Grid
from .stencils import LeastSquares, Taylor, scaled, second

Weights = list[tuple[np.ndarray, tuple[int, ...]]]     # (portion (size), axes across which there is no traction there), to be summed

LEAST = 1e-3                                           # of a cell: less is no mass
SAMPLES = 4                                            # per half cell and axis, in the portions of cells


@dataclass(frozen=True)
class Part(ABC):
    """What a relief makes of a kernel parameter."""

    @abstractmethod
    def weights(self, relief: "Relief", place: tuple[int, ...]) -> Weights:
        """Return what the parameter is multiplied by, for a field half a cell beyond the nodes along `place`."""


@dataclass(frozen=True)
class Ground(Part):
    """Of the rate of a field that vanishes on the surface: zero in the air."""

    def weights(self, relief: "Relief", place: tuple[int, ...]) -> Weights:
        """Return 1 in the ground."""
        return [(relief.ground.astype(float), ())]


@dataclass(frozen=True)
class Ghosts(Part):
    """Of such a field itself, in place of what second derivatives along some axes would read in the air."""

    axes: tuple[int, ...]

    def weights(self, relief: "Relief", place: tuple[int, ...]) -> Weights:
        """Return V."""
        return [(relief.ghosts(self.axes), ())]


@dataclass(frozen=True)
class Mass(Part):
    """Of the rate of a velocity: one over the portion of its cell that is ground."""

    def weights(self, relief: "Relief", place: tuple[int, ...]) -> Weights:
        """Return it; zero where there is none."""
        mass = relief.mass(place)
        return [(np.where(mass > 0.0, 1.0 / np.where(mass > 0.0, mass, 1.0), 0.0), ())]


@dataclass(frozen=True)
class Stiffness(Part):
    """Of the rate of a stress: the portion of its cell that is ground and resists.

    strains: axes of all derivatives in that rate. along: of the one that the parameter multiplies. normal: along its own axis, of a stress
    on nodes; None for others, which need all strains.
    """

    strains: tuple[int, ...]
    along: int
    normal: int | None

    def weights(self, relief: "Relief", place: tuple[int, ...]) -> Weights:
        """Return the portions that resist strains along some axes only."""
        if self.normal is None:
            return [(relief.resisting(place, self.strains, self.strains), ())]
        needed = {self.along, self.normal}
        subsets = itertools.chain.from_iterable(itertools.combinations(self.strains, n) for n in range(1, len(self.strains) + 1))
        return [(relief.resisting(place, self.strains, kept), tuple(a for a in self.strains if a not in kept))
                for kept in subsets if needed <= set(kept)]


class Relief:
    """The surface of a grid below `depth` of each column.

    depth: (columns) [m] below the first node. spacing: [m]. pads: cells of layers around the grid; size: of the grid with them. wraps,
    rigid: the axes that are periodic, that end at rigid sides. stencils: {axis: second derivative along it}.
    """

    def __init__(self, depth: np.ndarray, spacing: Sequence[float], pads: Sequence[tuple[int, int]], size: tuple[int, ...],
                 wraps: Sequence[bool], rigid: Sequence[tuple[bool, bool]], stencils: dict[int, Stencil]):
        self.spacing, self.pads, self.size, self.wraps, self.stencils = tuple(spacing), tuple(pads), size, tuple(wraps), stencils
        self.given, self.ndim = depth, len(size)
        self.reach = max(s.reach for s in stencils.values())
        cells = depth / spacing[0]
        for axis in range(1, self.ndim):               # layers go on as the grid ends; beyond are images, or the other side
            for side, width in enumerate(pads[axis]):
                cells = _continued(cells, axis - 1, side, width, "edge")
            mode = "wrap" if wraps[axis] else ""
            for side in (0, 1):
                cells = _continued(cells, axis - 1, side, self.reach, mode or ("reflect" if rigid[axis][side] else "edge"))
        self._cells = cells                            # (columns + 2 reach), in cells
        rows = np.arange(-self.reach, size[0] + self.reach).reshape(-1, *[1] * (self.ndim - 1))
        self._phi = rows - cells                       # (size + 2 reach)
        steps = [abs(np.diff(cells, axis=k, append=np.take(cells, [-1], k))) for k in range(self.ndim - 1)]
        before = [abs(np.diff(cells, axis=k, prepend=np.take(cells, [0], k))) for k in range(self.ndim - 1)]
        self._near = self._phi < 0.5 * np.maximum(1.0, np.max([*steps, *before], axis=0))
        inner = (slice(self.reach, -self.reach),) * self.ndim
        self.phi, self.ground = self._phi[inner], ~self._near[inner]
        self._kept: dict[tuple[int, ...], np.ndarray] = {}

    def ghosts(self, axes: tuple[int, ...]) -> np.ndarray:
        """Return V of the second derivatives along some axes, in units of the reference cell."""
        air, total = np.where(self._near, self._phi, 0.0), np.zeros(self.size)
        for axis in axes:
            for shift, weight in self.stencils[axis].taps:
                total += weight * air[tuple(slice(self.reach + s, self.reach + s + n) for s, n in zip(shift, self.size, strict=True))]
        return np.where(self.ground, total / np.where(self.ground, self.phi, 1.0), 0.0)

    def mass(self, place: tuple[int, ...]) -> np.ndarray:
        """Return the portion of the cells around `place` that is ground, (size)."""
        if place not in self._kept:
            beyond = np.arange(self.size[0]) + 0.5 * (0 in place) + 0.5                    # lower ends of cells
            lower = beyond.reshape(-1, *[1] * (self.ndim - 1))
            total, count = np.zeros(self.size), 0
            for surface in self._sampled(place):
                total, count = total + np.clip(lower - surface, 0.0, 1.0), count + 1
            portion = total / count
            self._kept[place] = np.where(portion < LEAST, 0.0, portion)
        return self._kept[place]

    def _sampled(self, place: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Yield the surface at points across the cells of columns, between which it is linear."""
        offsets = (np.arange(2 * SAMPLES) + 0.5) / (2 * SAMPLES) - 0.5
        for chosen in itertools.product(offsets, repeat=self.ndim - 1):
            surface = self._cells
            for axis, offset in enumerate(chosen, 1):
                offset += 0.5 * (axis in place)
                n, first = self.size[axis], self.reach + math.floor(offset)
                near, far = (np.take(surface, np.arange(first + k, first + k + n), axis - 1) for k in (0, 1))
                surface = near + (offset - math.floor(offset)) * (far - near)
            yield surface

    def resisting(self, place: tuple[int, ...], strains: tuple[int, ...], kept: tuple[int, ...]) -> np.ndarray:
        """Return the portion of the cells of a stress that resists strains along the `kept` of its `strains` and no others, (size)."""
        own = self.mass(place)
        level = {axis: np.minimum(own, self._between(place, axis)) for axis in strains}
        least = np.min([level[axis] for axis in kept], axis=0)
        others = [level[axis] for axis in strains if axis not in kept]
        if others:
            return np.maximum(0.0, least - np.max(others, axis=0))
        return _handed_down(least, own - least) if place and len(strains) > 1 else least

    def _between(self, place: tuple[int, ...], axis: int) -> np.ndarray:
        """Return twice the smaller of the two masses whose difference along an axis is a strain at `place`."""
        half = axis in place
        mass = self.mass(tuple(sorted({*place} ^ {axis})))
        before, after = (_moved(mass, axis, k, self.wraps[axis]) for k in ((0, 1) if half else (-1, 0)))
        return 2.0 * np.minimum(before, after)

    def present(self, equation: Equation, half: Sequence[float]) -> np.ndarray:
        """Return where a field that sits `half` cells beyond the nodes is more than a zero in the air, (size)."""
        return self.mass(_place(half)) > 0.0 if equation.tractions else self.ground

    def whole(self, place: tuple[int, ...], strains: tuple[int, ...]) -> np.ndarray:
        """Return the cells whose values are those of the medium: of velocities most of a cell; of stresses (of strains) all of it."""
        if not strains:
            return self.mass(place) > 0.25
        return self.resisting(place, strains, strains) > 1.0 - 1e-9

    def filled(self, x: Tensor) -> Tensor:
        """Return a parameter on the grid with the first value in the ground of each column in the air above it."""
        first = np.clip(np.ceil(self.given / self.spacing[0] - 1e-9).astype(int), 0, x.shape[0] - 1)
        rows = np.maximum(np.arange(x.shape[0]).reshape(-1, *[1] * (self.ndim - 1)), first)
        if not first.any():
            return x
        return x[tuple(as_tensor(np.ascontiguousarray(i)).to(x.device) for i in (rows, *np.indices(x.shape)[1:]))]

    def check(self, name: str, positions: np.ndarray) -> None:
        """Raise BoundaryError if a point (shots, points, ndim) [m] lies in the air."""
        depth = self.depth_below(positions.reshape(-1, self.ndim))
        if (depth < -1e-6 * self.spacing[0]).any():
            i = int(np.argmax(depth < -1e-6 * self.spacing[0]))
            where = ", ".join(f"{x:g}" for x in positions.reshape(-1, self.ndim)[i])
            raise BoundaryError(f"{name}[{i // positions.shape[1]}, {i % positions.shape[1]}] = ({where}) m lies {-depth[i]:g} m above the "
                                "surface; move it onto or below FreeSurface(depth)")

    def depth_below(self, points: np.ndarray) -> np.ndarray:
        """Return how far below the surface points (points, ndim) [m] lie, along the first axis [m]."""
        surface = np.zeros(len(points))
        at = [points[:, k] / self.spacing[k] + self.pads[k][0] + self.reach for k in range(1, self.ndim)]
        first = [np.clip(np.floor(x).astype(int), 0, n - 2) for x, n in zip(at, self._cells.shape, strict=True)]
        for corner in itertools.product((0, 1), repeat=self.ndim - 1):
            weight = np.prod([1.0 - abs(x - f - c) for x, f, c in zip(at, first, corner, strict=True)], axis=0)
            surface = surface + weight * self._cells[tuple(f + c for f, c in zip(first, corner, strict=True))]
        return points[:, 0] - surface * self.spacing[0]


def relief_of(boundary: Boundary, grid: Grid, order: int, design: Taylor | LeastSquares) -> Relief | None:
    """Return the free surface of a boundary that follows topography, if any. Raises: ShapeError, BoundaryError if it does not fit."""
    depth, ndim = boundary.relief(grid.ndim), grid.ndim
    if depth is None:
        return None
    if ndim < 2 or depth.shape != grid.shape[1:]:
        raise ShapeError(f"Solver(boundary=FreeSurface(depth of shape {depth.shape})): the grid has shape {grid.shape}; give a depth for "
                         "each column, of the grid's shape without its first axis")
    least = max(8, order)
    most = grid.extent[0] - least * grid.spacing[0]
    if depth.max() > most:
        raise BoundaryError(f"Solver(boundary=FreeSurface(depth)): the surface is up to {depth.max():g} m deep; leave {least} nodes below "
                            f"it: at most {most:g} m, or a deeper grid")
    stencils = {axis: scaled(second(ndim, axis, order, design), (grid.spacing[-1] / grid.spacing[axis]) ** 2) for axis in range(ndim)}
    pads, rigid = boundary.pads(ndim), tuple((low == 1, high == 1) for low, high in boundary.mirrors(ndim))
    size = tuple(n + low + high for n, (low, high) in zip(grid.shape, pads, strict=True))
    return Relief(depth, grid.spacing, pads, size, boundary.wraps(ndim), rigid, stencils)


def _place(half: Sequence[float]) -> tuple[int, ...]:
    return tuple(axis for axis, h in enumerate(half) if h)


def _continued(cells: np.ndarray, axis: int, side: int, width: int, mode: str) -> np.ndarray:
    """Return the surface with `width` more columns at a side: as it ends, as it begins at the other, or mirrored."""
    if not width:
        return cells
    n = cells.shape[axis]
    index = {"edge": np.full(width, 0), "wrap": np.arange(n - width, n) % n, "reflect": np.arange(width, 0, -1) % n}[mode]
    if side:
        index = {"edge": np.full(width, n - 1), "wrap": np.arange(width) % n, "reflect": (n - 1 - np.arange(1, width + 1)) % n}[mode]
    more = np.take(cells, index, axis)
    return np.concatenate([cells, more] if side else [more, cells], axis=axis)


def _moved(x: np.ndarray, axis: int, by: int, wraps: bool) -> np.ndarray:
    """Return x at the next (1), previous (-1) or same (0) cell along an axis; the outermost goes on, above the grid is air."""
    if wraps:
        return np.roll(x, -by, axis)
    n = x.shape[axis]
    out = np.take(x, np.clip(np.arange(n) + by, 0, n - 1), axis)
    if axis == 0 and by < 0:
        out[0] = 0.0
    return out


def _handed_down(portion: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return portions (rows, ...) with what is lost of cells added to the first below that has most of its own.

    Where the surface slopes, strain along it is shear along the axes too: its energy is not to be lost.
    """
    out, takes, lost = portion.copy(), portion > 0.5, lost.copy()
    for row in range(len(out) - 1):
        out[row] += np.where(takes[row], lost[row], 0.0)
        lost[row + 1] += np.where(takes[row], 0.0, lost[row])
    return out
