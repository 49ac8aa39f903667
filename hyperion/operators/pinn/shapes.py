"""Round and many-cornered domains: balls and polygons."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hyperion.errors import InputError
from hyperion.operators.pinn.domains import Domain
from hyperion.operators.pinn.drawing import Face, numbers

__all__ = ["Ball", "Disc", "Polygon"]


class Ball(Domain):
    """The points within a radius of a center, in two or three dimensions; variables x, y, z unless named otherwise.

    >>> Ball((0.0, 0.0, 0.0), 1.0).measure == 4.0 / 3.0 * np.pi
    True
    """

    def __init__(self, center: Sequence[float], radius: float, names: Sequence[str] | None = None):
        middle = numbers(center, "Ball(center)")
        if middle.ndim != 1 or middle.size not in (2, 3) or not np.isfinite(middle).all():
            raise InputError(f"Ball(center={center!r}): give two or three finite numbers; for one variable use Interval")
        if not (isinstance(radius, int | float | np.integer | np.floating) and math.isfinite(radius) and radius > 0.0):
            raise InputError(f"Ball(radius={radius!r}): has no interior; give a positive number")
        self.names = tuple(names) if names is not None else ("x", "y", "z")[:middle.size]
        if len(set(self.names)) != middle.size:
            raise InputError(f"Ball(names={names!r}): give {middle.size} different names, one for each number of the center")
        self.center, self.radius = middle, float(radius)
        self.lower, self.upper = middle - radius, middle + radius

    def __repr__(self) -> str:
        return f"{'Disc' if self.ndim == 2 else 'Ball'}(({', '.join(f'{c:g}' for c in self.center)}), {self.radius:g})"

    @cached_property
    def share(self) -> float:
        """The portion of the cube around it."""
        return math.pi / 4.0 if self.ndim == 2 else math.pi / 6.0

    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return which points are within the radius."""
        return ((points - self.center) ** 2).sum(axis=1) <= (self.radius + np.mean(slack)) ** 2

    @cached_property
    def faces(self) -> Sequence[Face]:
        """The circle or the sphere."""
        r = self.radius
        if self.ndim == 2:
            return [Face(2.0 * math.pi * r, (2.0 * math.pi * r,), self._on_circle)]
        return [Face(4.0 * math.pi * r**2, (2.0 * r, 2.0 * math.pi * r), self._on_sphere)]

    def _on_circle(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angle = 2.0 * math.pi * unit[:, 0]
        normals = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return self.center + self.radius * normals, normals

    def _on_sphere(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Equal heights have equal areas (Archimedes)."""
        height, angle = 2.0 * unit[:, 0] - 1.0, 2.0 * math.pi * unit[:, 1]
        across = np.sqrt(np.maximum(1.0 - height**2, 0.0))
        normals = np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
        return self.center + self.radius * normals, normals


def Disc(center: Sequence[float], radius: float, names: Sequence[str] = ("x", "y")) -> Ball:
    """Return the points of the plane within a radius of a center: a Ball in two dimensions.

    >>> Disc((0.0, 0.5), 2.0)
    Disc((0, 0.5), 2)
    """
    if np.shape(center) != (2,):
        raise InputError(f"Disc(center={center!r}): give two numbers; Ball takes three")
    return Ball(center, radius, names)


def _cross(corners: np.ndarray, i: int, j: int) -> bool:
    """Return whether the edges that begin at two corners cross."""
    a, b, c, d = (corners[k % len(corners)] for k in (i, i + 1, j, j + 1))

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0.0 and side(c, d, a) * side(c, d, b) < 0.0


class Polygon(Domain):
    """The inside of a closed line through corners in the plane, given in either sense; it must not cross itself.

    >>> l_shape = Polygon([(0, 0), (1, 0), (1, -1), (-1, -1), (-1, 1), (0, 1)])
    >>> l_shape.measure, l_shape.contains([[0.5, 0.5], [-0.5, 0.5]]).tolist()
    (3.0, [False, True])
    """

    def __init__(self, corners: Any, names: Sequence[str] = ("x", "y")):
        points = numbers(corners, "Polygon(corners)")
        if points.ndim == 2:
            points = points[np.any(points != np.roll(points, -1, axis=0), axis=1)]          # a closed list repeats its first corner
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise InputError(f"Polygon(corners of shape {points.shape}): give three or more corners (x, y), all finite")
        if np.shape(names) != (2,) or names[0] == names[1]:
            raise InputError(f"Polygon(names={names!r}): give two different names")
        x, y = points.T
        n = len(points)
        crossed = next(((i, j) for i in range(n) for j in range(i + 2, n) if (i, j) != (0, n - 1) and _cross(points, i, j)), None)
        if crossed:
            edges = " and ".join(f"{points[i].tolist()} to {points[(i + 1) % n].tolist()}" for i in crossed)
            raise InputError(f"Polygon(corners): the line crosses itself, the edges {edges} meet; give the corners in order along the "
                             "boundary")
        area = 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
        if abs(area) <= 1e-12 * float(np.ptp(x) * np.ptp(y)):
            raise InputError(f"Polygon(corners={points.tolist()}): has no interior, the corners lie on one line; give three that do not")
        self.names, self.area = tuple(names), abs(area)
        self.corners = points if area > 0.0 else points[::-1].copy()            # counterclockwise: the outside is on the right
        self.lower, self.upper = points.min(axis=0), points.max(axis=0)

    def __repr__(self) -> str:
        return f"Polygon of {len(self.corners)} corners"

    @cached_property
    def share(self) -> float:
        """The portion of the rectangle around it."""
        return self.area / math.prod(self.sides)

    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return which points a ray to the right leaves through an odd number of edges; within |slack| of an edge its sign decides."""
        x, y = points[:, 0], points[:, 1]
        odd = np.zeros(len(points), bool)
        for (ax, ay), (bx, by) in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            if ay != by:
                odd ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        width = float(np.mean(slack))
        return np.where(self._distance(points) <= abs(width), width > 0.0, odd) if width else odd

    def _distance(self, points: np.ndarray) -> np.ndarray:
        """Return how far points are from the nearest edge."""
        nearest = np.full(len(points), np.inf)
        for start, end in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            along = end - start
            part = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
            nearest = np.minimum(nearest, np.linalg.norm(points - start - part[:, None] * along, axis=1))
        return nearest

    @cached_property
    def faces(self) -> Sequence[Face]:
        """Its edges."""
        return [self._edge(a, b) for a, b in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True)]

    def _edge(self, start: np.ndarray, end: np.ndarray) -> Face:
        along = end - start
        length = float(np.hypot(*along))
        normal = np.array([along[1], -along[0]]) / length
        return Face(length, (length,), lambda unit: (start + unit[:, :1] * along, np.repeat(normal[None], len(unit), axis=0)))
