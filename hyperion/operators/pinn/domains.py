"""Domains of space and time as values: intervals, boxes, balls, polygons, products, and what sets make of them.

Every domain names its variables; `t` is time. It tells which points it holds, and spreads points over its inside and its boundary in
proportion to length, area or volume. A boundary is a list of faces, each a map from a unit cube; a point of a face is on the boundary of a
union, a difference or an intersection if one side of it is inside and the other is not.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.operators.pinn.drawing import Face, allotted, as_points, drawn, numbers
from hyperion.operators.pinn.samplers import Sampler, Sobol

__all__ = ["Box", "Domain", "Interval"]

NEAR = 1e-7         # of the domain's size: how far on both sides of a face one looks
ROUNDING = 1e-9     # of its size along each variable: how far outside a point is still on the boundary
TRIED = 1024        # points at which a face's share of the boundary is estimated

Keep = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Domain(ABC):
    """Base of the domains. `a | b`, `a - b`, `a & b` combine domains of the same variables, `a * b` those of different ones.

    names: of the variables, in the order of the columns of points.  lower, upper: corners of the bounding box.

    >>> from hyperion.operators import Disc
    >>> plate = Box(x=(0, 2), y=(0, 1)) - Disc((1.0, 0.5), 0.25)
    >>> plate.contains([[0.1, 0.1], [1.0, 0.5]]).tolist(), abs(plate.measure - (2.0 - np.pi / 16)) < 0.01
    ([True, False], True)
    >>> heated = plate * Interval(t=(0, 10))
    >>> heated.names, heated.boundary(100)[0].shape
    (('x', 'y', 't'), (100, 3))
    """

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray

    @abstractmethod
    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return which points, (n, d) float64, are inside; on the boundary itself rounding decides.

        slack: length, (d,) or one for all variables, by which the domain is first grown; below 0: shrunk.
        """

    @property
    @abstractmethod
    def faces(self) -> Sequence[Face]:
        """What the boundary is a part of."""

    # Questions

    @property
    def ndim(self) -> int:
        """Number of variables."""
        return len(self.names)

    @property
    def sides(self) -> tuple[float, ...]:
        """Lengths of the bounding box."""
        return tuple(float(x) for x in self.upper - self.lower)

    @property
    def space(self) -> tuple[str, ...]:
        """The variables other than time."""
        return tuple(name for name in self.names if name != "t")

    def column(self, name: str, what: str = "variable") -> int:
        """Return the column of a variable. Raises: InputError for another name."""
        if name not in self.names:
            raise InputError(f"{what} {name!r}: {self!r} has the variables {', '.join(self.names)}")
        return self.names.index(name)

    def contains(self, points: Any) -> np.ndarray:
        """Return which points, (n, d) in the order of the variables, are inside or on the boundary, to rounding: bool (n,)."""
        return self.inside(self.checked(points), ROUNDING * (self.upper - self.lower))

    def checked(self, points: Any) -> np.ndarray:
        """Return points as (n, d) float64. Raises: ShapeError for another shape."""
        array = np.asarray(points, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != self.ndim:
            raise ShapeError(f"points have shape {array.shape}; {self!r} takes (points, {self.ndim}), columns {', '.join(self.names)}")
        return array

    @cached_property
    def share(self) -> float:
        """The portion of the bounding box that it fills; exact for boxes, else by 2^14 points of a Sobol sequence.

        Raises: InputError if it holds none of them.
        """
        unit = Sobol().unit(1 << 14, self.sides, Generator(0))
        found = float(self.inside(self.stretched(unit)).mean())
        if not found:
            raise InputError(f"{self!r} has no interior: none of {len(unit)} points of its bounding box is inside; give one that has")
        return found

    @property
    def measure(self) -> float:
        """Length, area or volume, of space and time; of combinations an estimate, to about 0.1 %."""
        return math.prod(self.sides) * self.share

    def stretched(self, unit: np.ndarray) -> np.ndarray:
        """Return points of the unit cube carried to the bounding box."""
        return self.lower + unit * (self.upper - self.lower)

    # Points

    def mesh(self, **axes: Any) -> np.ndarray:
        """Return all combinations of values of the variables, (n, d); the last variable changes fastest.

        >>> Box(x=(0, 1), t=(0, 1)).mesh(x=[0.0, 1.0], t=[0.5]).tolist()
        [[0.0, 0.5], [1.0, 0.5]]
        """
        if set(axes) != set(self.names):
            raise InputError(f"mesh({', '.join(axes)}): give values of each variable of {self!r}: {', '.join(self.names)}")
        values = [np.atleast_1d(np.asarray(axes[name], dtype=np.float64)) for name in self.names]
        return np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(-1, self.ndim)

    def interior(self, count: int, sampler: Sampler | None = None, generator: Generator | None = None) -> np.ndarray:
        """Return `count` points inside, (count, d) float64. sampler: LatinHypercube() by default.

        Raises: InputError for a count below 1, or a domain without interior.
        """
        keep = None if self.share == 1.0 else self.inside
        return drawn(as_points(count, "interior"), self.sides, self.stretched, keep, self.share, sampler, generator, repr(self))

    def boundary(
        self, count: int, sampler: Sampler | None = None, generator: Generator | None = None, where: Keep | None = None,
        what: str = "boundary",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return points on the boundary and outward normals, (count, d) each; without the ends of time.

        where: points, normals -> which belong to the part of the boundary that is meant; None: all of it.
        Raises: InputError if there is no such part, or there are fewer points than it has faces.
        """
        chosen = (lambda p, n: self._at_edge(p, n)) if where is None else (lambda p, n: where(p, n) & self._at_edge(p, n))
        return self.surface(count, sampler, generator, chosen, what)

    def surface(
        self, count: int, sampler: Sampler | None, generator: Generator | None, where: Keep, what: str,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return points and normals as `boundary` does, the ends of time included."""
        count = as_points(count, what)
        parts: list[tuple[Face, float]] = []
        for face in self.faces:
            points, normals = face.place(Sobol().unit(TRIED, face.sides, Generator(1)))
            accepted = float((self._belongs(points, normals, face) & where(points, normals)).mean())
            if accepted:
                parts.append((face, accepted))
        if not parts:
            raise InputError(f"{what}: {self!r} has no such boundary; give a side or a condition that some of its boundary satisfies")
        if count < len(parts):
            raise InputError(f"{what}: {count} points are too few for {len(parts)} faces of {self!r}; give at least one for each")
        shares = allotted(count, [face.measure * accepted for face, accepted in parts])
        found = [self._of_face(n, face, accepted, where, sampler, generator, what)
                 for n, (face, accepted) in zip(shares, parts, strict=True)]
        return np.concatenate([f[:, 0] for f in found]), np.concatenate([f[:, 1] for f in found])

    def _of_face(
        self, count: int, face: Face, accepted: float, where: Keep, sampler: Sampler | None, generator: Generator | None, what: str,
    ) -> np.ndarray:
        """Return points and normals of one face, (n, 2, d)."""

        def keep(pairs: np.ndarray) -> np.ndarray:
            points, normals = pairs[:, 0], pairs[:, 1]
            return self._belongs(points, normals, face) & where(points, normals)

        def place(unit: np.ndarray) -> np.ndarray:
            return np.stack(face.place(unit), axis=1)

        return drawn(count if face.sides else 1, face.sides, place, keep, accepted, sampler, generator, what)

    def on_boundary(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Return which points are on this domain's boundary, with these as outward normals."""
        step = NEAR * max(self.sides)
        return self.inside(points - step * normals) & ~self.inside(points + step * normals)

    def repeated(self, points: np.ndarray, normals: np.ndarray, face: Face) -> np.ndarray:
        """Return which points of a face are on an earlier face too, and are drawn there."""
        return np.zeros(len(points), bool)

    def _belongs(self, points: np.ndarray, normals: np.ndarray, face: Face) -> np.ndarray:
        return self.on_boundary(points, normals) & ~self.repeated(points, normals, face)

    def _at_edge(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Return which points are not on the first or the last moment."""
        return np.abs(normals[:, self.names.index("t")]) < 0.5 if "t" in self.names else np.ones(len(points), bool)

    # Combinations

    def __or__(self, other: "Domain") -> "Domain":
        return Combination("|", self, other, lambda a, b: a | b)

    def __sub__(self, other: "Domain") -> "Domain":
        return Combination("-", self, other, lambda a, b: a & ~b)

    def __and__(self, other: "Domain") -> "Domain":
        return Combination("&", self, other, lambda a, b: a & b)

    def __mul__(self, other: "Domain") -> "Domain":
        return Product(self, other)

    def during(self, start: float, end: float) -> "Domain":
        """Return the part between two times, for time marching."""
        self.column("t", "during(start, end): variable")
        ranges = {name: (float(a), float(b)) for name, a, b in zip(self.names, self.lower, self.upper, strict=True)}
        return self & Box(**{**ranges, "t": (start, end)})


def _named(ranges: dict[str, Any], what: str) -> dict[str, tuple[float, float]]:
    """Return {variable: (from, to)}, checked."""
    if not ranges:
        raise InputError(f"{what}(): give at least one variable and its range, such as {what}(x=(-1, 1))")
    out = {}
    for name, ends in ranges.items():
        try:
            low, high = (float(end) for end in numbers(ends, f"{what}({name})"))
        except (TypeError, ValueError, InputError):
            raise InputError(f"{what}({name}={ends!r}): give two numbers, from and to") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"{what}({name}=({low:g}, {high:g})): has no interior; the first number must be below the second, both finite")
        out[name] = (low, high)
    return out


class Box(Domain):
    """All combinations of values in ranges: an interval, a rectangle, a box, with or without time. Order matters: that of the columns.

    Raises: InputError unless each variable has two finite numbers, the first below the second.

    >>> Box(x=(-1, 1), t=(0, 1)).interior(100).shape
    (100, 2)
    """

    def __init__(self, **ranges: Any):
        self.ranges = _named(ranges, type(self).__name__)
        self.names = tuple(self.ranges)
        self.lower, self.upper = (np.array([ends[k] for ends in self.ranges.values()]) for k in (0, 1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}=({a:g}, {b:g})' for name, (a, b) in self.ranges.items())})"

    def __mul__(self, other: Domain) -> Domain:
        if isinstance(other, Box) and not set(self.names) & set(other.names):
            return Box(**self.ranges, **other.ranges)
        return super().__mul__(other)

    @cached_property
    def share(self) -> float:
        """1: it is its bounding box."""
        return 1.0

    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return which points are in all ranges."""
        return np.all((points >= self.lower - slack) & (points <= self.upper + slack), axis=1)

    def during(self, start: float, end: float) -> Domain:
        """Return the part between two times."""
        self.column("t", "during(start, end): variable")
        return Box(**{**self.ranges, "t": (start, end)})

    @cached_property
    def faces(self) -> Sequence[Face]:
        """Two for each variable, the lower one first."""
        return [self._face(k, sign) for k in range(self.ndim) for sign in (-1.0, 1.0)]

    def _face(self, k: int, sign: float) -> Face:
        others = [i for i in range(self.ndim) if i != k]
        sides = tuple(self.sides[i] for i in others)

        def place(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            points, normals = np.empty((len(unit), self.ndim)), np.zeros((len(unit), self.ndim))
            points[:, others] = self.lower[others] + unit * (self.upper - self.lower)[others]
            points[:, k] = (self.lower if sign < 0 else self.upper)[k]
            normals[:, k] = sign
            return points, normals

        return Face(math.prod(sides), sides, place)


def Interval(**ranges: Any) -> Box:
    """Return the values of one variable between two numbers: a Box of one axis.

    >>> Interval(x=(-1, 1)) * Interval(t=(0, 1))
    Box(x=(-1, 1), t=(0, 1))
    """
    if len(ranges) != 1:
        raise InputError(f"Interval({', '.join(ranges)}): takes one variable; use Box for several")
    return Box(**ranges)


class Combination(Domain):
    """Two domains of the same variables, combined as sets. Made by `|`, `-` and `&`."""

    def __init__(self, sign: str, first: Domain, second: Domain, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        if not isinstance(second, Domain):
            raise InputError(f"domain {sign} other: other is a {type(second).__name__}; combine domains")
        if first.names != second.names:
            raise InputError(f"{first!r} {sign} {second!r}: the variables must be the same, in one order; they are "
                             f"{', '.join(first.names)} and {', '.join(second.names)}")
        self.sign, self.first, self.second, self.rule = sign, first, second, rule
        self.names = first.names
        low, high = (first.lower, second.lower), (first.upper, second.upper)
        self.lower, self.upper = first.lower, first.upper
        if sign == "|":
            self.lower, self.upper = np.minimum(*low), np.maximum(*high)
        elif sign == "&":
            self.lower, self.upper = np.maximum(*low), np.minimum(*high)
        if not (self.lower < self.upper).all():
            raise InputError(f"{self!r} has no interior: the two do not meet")
        _ = self.share                                              # refuses what has no interior

    def __repr__(self) -> str:
        return f"({self.first!r} {self.sign} {self.second!r})"

    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return what the rule makes of the two; what is taken away shrinks where the rest grows."""
        found = self.rule(self.first.inside(points, slack), self.second.inside(points, -slack if self.sign == "-" else slack))
        if self.sign == "|" and np.any(np.less(slack, 0.0)):        # where the two touch, neither keeps a point that lies inside of both
            around = itertools.product((-1.0, 0.0, 1.0), repeat=self.ndim)
            found |= np.all([self.inside(points + np.array(signs) * slack) for signs in around], axis=0)
        return found

    @cached_property
    def faces(self) -> Sequence[Face]:
        """Those of both; of what is taken away with normals turned round."""
        own = [_turned(face) for face in self.second.faces] if self.sign == "-" else list(self.second.faces)
        return [*self.first.faces, *own]

    def repeated(self, points: np.ndarray, normals: np.ndarray, face: Face) -> np.ndarray:
        """Return which points of a face of the second are on the boundary of the first too."""
        place = next(i for i, own in enumerate(self.faces) if own is face) - len(self.first.faces)
        if place < 0:
            return self.first.repeated(points, normals, face)
        before = -normals if self.sign == "-" else normals
        return self.first.on_boundary(points, normals) | self.second.repeated(points, before, self.second.faces[place])


def _turned(face: Face) -> Face:
    def place(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points, normals = face.place(unit)
        return points, -normals

    return Face(face.measure, face.sides, place)


class Product(Domain):
    """All combinations of points of two domains of different variables. Made by `*`."""

    def __init__(self, first: Domain, second: Domain):
        if not isinstance(second, Domain):
            raise InputError(f"domain * other: other is a {type(second).__name__}; multiply domains: Disc(...) * Interval(t=(0, 1))")
        both = sorted(set(first.names) & set(second.names))
        if both:
            raise InputError(f"{first!r} * {second!r}: both have the variable {', '.join(both)}; use & for domains of the same variables")
        self.first, self.second = first, second
        self.names = (*first.names, *second.names)
        self.lower, self.upper = np.concatenate([first.lower, second.lower]), np.concatenate([first.upper, second.upper])

    def __repr__(self) -> str:
        return f"{self.first!r} * {self.second!r}"

    @cached_property
    def share(self) -> float:
        """The product of those of the two."""
        return self.first.share * self.second.share

    def inside(self, points: np.ndarray, slack: Any = 0.0) -> np.ndarray:
        """Return which points are in both."""
        n, slack = self.first.ndim, np.broadcast_to(slack, (self.ndim,))
        return self.first.inside(points[:, :n], slack[:n]) & self.second.inside(points[:, n:], slack[n:])

    def during(self, start: float, end: float) -> Domain:
        """Return the part between two times."""
        self.column("t", "during(start, end): variable")
        first, second = (part.during(start, end) if "t" in part.names else part for part in (self.first, self.second))
        return first * second

    @cached_property
    def faces(self) -> Sequence[Face]:
        """Each face of one with the whole of the other."""
        return [self._face(face, True) for face in self.first.faces] + [self._face(face, False) for face in self.second.faces]

    def _face(self, face: Face, is_first: bool) -> Face:
        other = self.second if is_first else self.first

        def place(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            points, normals = face.place(unit[:, :len(face.sides)])
            rest = other.stretched(unit[:, len(face.sides):])
            parts = ((points, rest), (normals, np.zeros_like(rest)))
            a, b = (np.concatenate(pair if is_first else pair[::-1], axis=1) for pair in parts)
            return a, b

        return Face(face.measure * math.prod(other.sides), (*face.sides, *other.sides), place)

    def repeated(self, points: np.ndarray, normals: np.ndarray, face: Face) -> np.ndarray:
        """Return which points are on an earlier face of the part the face is of."""
        i, n = next(i for i, own in enumerate(self.faces) if own is face), self.first.ndim
        if i < len(self.first.faces):
            return self.first.repeated(points[:, :n], normals[:, :n], self.first.faces[i])
        return self.second.repeated(points[:, n:], normals[:, n:], self.second.faces[i - len(self.first.faces)])
