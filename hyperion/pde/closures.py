"""Derivatives near sides that reflect: what is added to the plain stencil, whose reads beyond the side find zeros.

Near a side a derivative is plain + sum over shifts of C(row) * read(shift): the profiles C are zero but in a few rows, so that the interior
pays nothing, and the program stays a list of linear terms whose adjoint and tangent follow like everything else. Fields that are odd or
even about a side read images; derivatives of others are closed at a surface (see `surface.py`).
"""
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hyperion.codegen import Stencil
from hyperion.errors import BoundaryError

from .boundary import Request
from .surface import surface


class Symmetry(Enum):
    """What a field is about a side that reflects."""

    ODD = "odd"                                        # beyond the side lies minus the image,
    EVEN = "even"                                      # the image,
    ZERO = "zero"                                      # what is not known: but zero on the side (tractions on a free surface),
    OPEN = "open"                                      # or neither (velocities, stresses along the surface)

    @property
    def parity(self) -> int:
        """-1 for odd, 1 for even, 0 for fields without an image."""
        return {Symmetry.ODD: -1, Symmetry.EVEN: 1}.get(self, 0)


@dataclass(frozen=True)
class Rows:
    """A profile that is zero but near the ends of its axis. low, high: {row: value}, counted from the first and from the last node."""

    low: tuple[tuple[int, float], ...]
    high: tuple[tuple[int, float], ...]

    def along(self, count: int) -> np.ndarray:
        """Return the profile on `count` cells, float64."""
        out = np.zeros(count)
        for rows, end in ((self.low, 0), (self.high, count - 1)):
            for row, value in rows:
                out[end + row] += value
        return out

    def depth(self, side: int, shift: int) -> int:
        """Return within how many cells from a side (0 low, 1 high) lie the rows and what they read at a shift."""
        return max((max(abs(row), abs(row + shift)) + 1 for row, _ in (self.high if side else self.low)), default=0)


Correction = tuple[str, Rows, Stencil]                 # name of the profile, the profile, the read


def images(stencil: Stencil, axis: int, half: bool, result_half: bool, side: int, parity: int, bare: bool) -> dict[int, dict[int, float]]:
    """Return {shift: {row: weight}}: reads before a side that stand for those of `stencil` beyond it.

    half, result_half: whether the field, and the result, sit half a cell beyond the nodes. side: 0 low, 1 high; rows are counted from its
    node (below zero at the high side). parity: of the field. bare: whether the row half a cell beyond the last node is to be zero; a kernel
    parameter makes it so otherwise.
    """
    out: dict[int, dict[int, float]] = {}
    reach = stencil.reach
    for row in range(-reach - 1, 1) if side else range(reach + 1):
        for shift, weight in stencil.taps:
            at = row + shift[axis]
            if side and result_half and row == 0:      # lies beyond the side
                if bare and at <= -half:
                    out.setdefault(shift[axis], {})[row] = -weight
            elif at > -half if side else at < 0:
                rows = out.setdefault(-at - half - row, {})
                rows[row] = rows.get(row, 0.0) + parity * weight
    return {shift: {row: w for row, w in rows.items() if w} for shift, rows in out.items()}


def closed(order: int, kind: int, side: int, vanishes: bool, scale: float) -> dict[int, dict[int, float]]:
    """Return {shift: {row: weight}}, as `images` does, of what closes a first derivative at a free surface.

    order: inside. kind: +1 at half points from nodes, -1 the other way. vanishes: whether the field does, on the surface. scale: factor.
    """
    out: dict[int, dict[int, float]] = {}
    added = scale * surface(order).added(vanishes, kind)
    for row, at in np.argwhere(added):
        # From the high side a derivative has the other sign, and half points lie at the other end of their cells.
        r, c = (-row - (kind > 0), -at - (kind < 0)) if side else (row, at)
        out.setdefault(int(c - r), {})[int(r)] = float(-added[row, at] if side else added[row, at])
    return out


def corrections(request: Request, symmetries: tuple[Symmetry | None, Symmetry | None], bare: bool) -> list[Correction]:
    """Return what is added to a derivative near the sides of its axis.

    symmetries: of the field about the low and the high side; None where nothing reflects. bare: whether no kernel parameter multiplies it.
    Raises: BoundaryError for derivatives that a free surface does not close.
    """
    r, half = request, request.half != (request.kind != 0)
    sides = list[dict[int, dict[int, float]]]()
    for side, symmetry in enumerate(symmetries):
        found: dict[int, dict[int, float]] = {}
        if symmetry and symmetry.parity:
            found = images(r.stencil(), r.axis, half, r.half, side, symmetry.parity, bare)
            if symmetry is Symmetry.ODD and r.order == 2 and not half:   # an odd result is held at zero on the side itself
                found = {shift: {row: w for row, w in rows.items() if row} for shift, rows in found.items()}
        elif symmetry:
            if not r.kind:
                raise BoundaryError(f"a free surface closes first derivatives between nodes and half points; that of {r.array} of order "
                                    f"{r.order} is not one")
            found = closed(r.accuracy, r.kind, side, symmetry is Symmetry.ZERO, r.scale)
        sides.append(found)
    out: list[Correction] = []
    text = "".join(s.value[0] if s else "-" for s in symmetries) + "b" * bare
    for shift in sorted({s for found in sides for s, rows in found.items() if rows}):
        low, high = (tuple(sorted(found.get(shift, {}).items())) for found in sides)
        read = Stencil(((tuple(shift if k == r.axis else 0 for k in range(r.ndim)), 1.0),))
        out.append((f"rows{r.axis}.{r.order}{r.kind}{int(r.half)}{text}{shift:+d}", Rows(low, high), read))
    return out
