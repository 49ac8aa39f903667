"""What happens at the edges of the grid, as values: absorbing layers and periodic wrapping.

A boundary rewrites derivatives. The absorbing layer replaces d f by d f + memory variables that live in its slabs only, so the interior
pays nothing; the rewritten program is linear, so its adjoint and tangent follow like everything else.
"""
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.codegen import Assign, Stencil, Term, here
from hyperion.errors import InputError, ShapeError, nearest

from . import stencils
from .checks import is_positive, is_whole

Read = tuple[tuple[str, ...], str, Stencil]            # coefficients, array, stencil


@dataclass(frozen=True)
class Request:
    """A discrete derivative to rewrite: of `array` along `axis`, with the equation's order of accuracy.

    order: 1 or 2. kind: for order 1, where the result sits (0 same points, +1 half points, -1 nodes). half: whether it sits on half points.
    scale: cell of the reference axis over cell of this axis (derivatives are taken in units of the reference cell). continuous: whether
    memory variables are wanted with step times their rates in place of their values after a step.
    """

    ndim: int
    array: str
    axis: int
    order: int
    kind: int
    half: bool
    accuracy: int
    design: stencils.Taylor | stencils.LeastSquares
    scale: float
    continuous: bool = False

    def stencil(self) -> Stencil:
        """Return the plain stencil of this derivative."""
        if self.order == 2:
            return stencils.scaled(stencils.second(self.ndim, self.axis, self.accuracy, self.design), self.scale ** 2)
        return stencils.scaled(stencils.first(self.ndim, self.axis, self.accuracy, self.kind), self.scale)


@dataclass(frozen=True)
class Rewritten:
    """A derivative as the sum of `reads`; `memory` updates the memory variables first."""

    reads: tuple[Read, ...]
    memory: tuple[Assign, ...] = ()


Pair = tuple[int, int]                                 # of the low and the high side of an axis


class Boundary(ABC):
    """What happens at the edges: how many cells are added, how derivatives change, whether axes wrap around or fields are mirrored."""

    def wraps(self, ndim: int) -> tuple[bool, ...]:
        """Return whether the far side of each axis continues the near side."""
        return (False,) * ndim

    @abstractmethod
    def pads(self, ndim: int) -> tuple[Pair, ...]:
        """Return the cells added on both sides of each axis."""

    def mirrors(self, ndim: int) -> tuple[Pair, ...]:
        """Return, for both sides of each axis, 0, or the parity of fields on nodes about the outermost node: -1 odd, 1 even.

        Fields half a cell beyond the nodes have the other parity.
        """
        return ((0, 0),) * ndim

    def relief(self, ndim: int) -> np.ndarray | None:
        """Return the depth [m] of a surface that follows topography below the first node of each column; None where none does."""
        return None

    @abstractmethod
    def rewrite(self, request: Request) -> Rewritten:
        """Return the derivative as this boundary has it."""

    @abstractmethod
    def profile(self, name: str, axis: int, size: tuple[int, ...], spacing: float, step: float, speed: float) -> np.ndarray:
        """Return the 1-D coefficient `name` along an axis of `size` cells [spacing in m, step in s, fastest speed in m/s]."""


class Periodic(Boundary):
    """The far side continues the near side, along every axis.

    >>> Periodic()
    Periodic()
    """

    def wraps(self, ndim: int) -> tuple[bool, ...]:
        """It does, along all."""
        return (True,) * ndim

    def pads(self, ndim: int) -> tuple[Pair, ...]:
        """There are none."""
        return ((0, 0),) * ndim

    def rewrite(self, request: Request) -> Rewritten:
        """Return the plain stencil: the wrapping is in the halos."""
        return Rewritten((((), request.array, request.stencil()),))

    def profile(self, name: str, axis: int, size: tuple[int, ...], spacing: float, step: float, speed: float) -> np.ndarray:
        """There is none."""
        raise InputError(f"Periodic has no profile {name}")

    def __repr__(self) -> str:
        return "Periodic()"


class CPML(Boundary):
    """Convolutional perfectly matched layer outside the grid, on all sides.

    width: cells of the layer. reflection: theoretical reflection at normal incidence, which sets its strength (1e-4 below 8 cells).
    frequency: of the complex shift at the layer's start [Hz]; default: that of a wavelength of twice the layer.
    A derivative d becomes d + psi with psi = b psi + a d, b = exp(-(sigma + alpha) step), a = sigma (b - 1) / (sigma + alpha); second
    derivatives stretch twice: d2 becomes d2 + d(psi) + zeta, with zeta = b zeta + a (d2 + d(psi)), psi on half points. Continuous in time,
    for steppings of several stages: psi_t = -(sigma + alpha) psi - sigma d, whose solution over a step that is.
    Raises: InputError for a width or reflection that cannot be.
    Source: Komatitsch and Martin, Geophysics 72 (2007), SM155, eq. 20-25; second derivatives: Pasalic and McGarry, SEG (2010).

    >>> CPML(width=20)
    CPML(width=20)
    """

    def __init__(self, width: int = 20, reflection: float | None = None, frequency: float | None = None):
        if not is_whole(width, 0):
            raise InputError(f"CPML(width={width!r}): give a whole number of cells, 0 or more")
        if reflection is not None and not (is_positive(reflection) and reflection < 1):
            raise InputError(f"CPML(reflection={reflection!r}): give a number between 0 and 1, such as 1e-6")
        if frequency is not None and not is_positive(frequency):
            raise InputError(f"CPML(frequency={frequency!r}): give a positive frequency [Hz], or None")
        self.width = int(width)
        # With 1e-4 a wave into a corner, where it meets each layer at 45 degrees, comes back as R^cos: too much for wide layers.
        self.reflection = float(reflection or (1e-4 if width < 8 else 1e-6))
        self.frequency = None if frequency is None else float(frequency)

    def pads(self, ndim: int) -> tuple[Pair, ...]:
        """Return the width, everywhere."""
        return ((self.width, self.width),) * ndim

    def rewrite(self, request: Request) -> Rewritten:
        """Return the stretched derivative and its memory variables."""
        r, plain = request, ((), request.array, request.stencil())
        if not self.width:
            return Rewritten((plain,))
        point, b, a = here(r.ndim), *(("relax", "stretch") if r.continuous else ("b", "a"))
        if r.order == 1:
            place = "half" if r.half else "node"
            psi, a, b = f"{r.array}.psi{r.axis}{place}", f"{a}{r.axis}{place}", f"{b}{r.axis}{place}"
            update = Assign(psi, (Term(1.0, (b,), psi, point), Term(1.0, (a,), r.array, r.stencil())), r.axis)
            return Rewritten((plain, ((), psi, point)), (update,))
        up, down = (stencils.scaled(stencils.first_below(r.ndim, r.axis, r.accuracy, kind, r.design), r.scale) for kind in (1, -1))
        psi, zeta = f"{r.array}.psi{r.axis}", f"{r.array}.zeta{r.axis}"
        half = Assign(psi, (Term(1.0, (f"{b}{r.axis}half",), psi, point), Term(1.0, (f"{a}{r.axis}half",), r.array, up)), r.axis)
        a, b = f"{a}{r.axis}node", f"{b}{r.axis}node"
        node = Assign(zeta, (Term(1.0, (b,), zeta, point), Term(1.0, (a,), r.array, r.stencil()), Term(1.0, (a,), psi, down)), r.axis)
        return Rewritten((plain, ((), psi, down), ((), zeta, point)), (half, node))

    def profile(self, name: str, axis: int, size: tuple[int, ...], spacing: float, step: float, speed: float) -> np.ndarray:
        """Return a, b or step times their rates along an axis, float64; zero in the interior."""
        return self.along(name, size[axis], (True, True), spacing, step, speed)

    def along(self, name: str, count: int, sides: tuple[bool, bool], spacing: float, step: float, speed: float) -> np.ndarray:
        """Return a or b on `count` cells with layers on some sides."""
        if not self.width:
            return np.zeros(count)
        at = np.arange(count) + (0.5 if name.endswith("half") else 0.0)
        deep = [self.width - at, at - (count - 1 - self.width)]
        depth = np.clip(np.max([d for d, there in zip(deep, sides, strict=True) if there], axis=0) / self.width, 0.0, 1.0)
        thickness = self.width * spacing
        sigma = 3.0 * speed * math.log(1.0 / self.reflection) / (2.0 * thickness) * depth ** 2
        alpha = math.pi * (self.frequency or speed / (2.0 * thickness)) * (1.0 - depth)
        if name.startswith(("relax", "stretch")):
            return np.where(depth > 0.0, -step * (sigma + alpha if name.startswith("relax") else sigma), 0.0)
        b = np.where(depth > 0.0, np.exp(-(sigma + alpha) * step), 0.0)
        if name.startswith("b"):
            return b
        return np.where(depth > 0.0, sigma / np.where(depth > 0.0, sigma + alpha, 1.0) * (b - 1.0), 0.0)

    def __repr__(self) -> str:
        return f"CPML(width={self.width})"


@dataclass(frozen=True, eq=False)
class FreeSurface:
    """A side at which pressure is zero: the outermost node lies on it, and fields beyond it are images of those before it.

    depth: of the top side only: the surface follows topography, at this depth [m] below the first node of each column, array of the grid's
    shape without its first axis; linear between columns. Parameters above it do not matter. See `pde/relief.py` for what it does.
    Raises: InputError, ShapeError for depths that cannot be.
    Source: Levander 1988, Geophysics 53, 1425 (images); exact for acoustic equations, whose fields are odd or even about it.

    >>> FreeSurface(), FreeSurface(depth=np.linspace(0.0, 50.0, 60))
    (FreeSurface(), FreeSurface(depth of 60 columns, 0 to 50 m))
    """

    depth: Any = None

    def __post_init__(self) -> None:
        if self.depth is None:
            return
        try:
            depth = np.array(self.depth, float)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"FreeSurface(depth={self.depth!r}): not an array of numbers; give a depth [m] for each column") from error
        if depth.ndim not in (1, 2):
            raise ShapeError(f"FreeSurface(depth of shape {depth.shape}): give the grid's shape without its first axis")
        if not np.isfinite(depth).all() or (depth < 0.0).any():
            raise InputError("FreeSurface(depth): depths must be finite and at least 0 [m], below the first node")
        object.__setattr__(self, "depth", depth)

    def __repr__(self) -> str:
        if self.depth is None:
            return "FreeSurface()"
        columns = "x".join(map(str, self.depth.shape))
        return f"FreeSurface(depth of {columns} columns, {self.depth.min():g} to {self.depth.max():g} m)"


@dataclass(frozen=True)
class Rigid:
    """A side through which nothing moves: the outermost node lies on it, and fields beyond it are images of those before it."""


@dataclass(frozen=True)
class PerfectConductor:
    """A side on which the electric field along it is zero (Maxwell's equations): images as of `FreeSurface`.

    Source: Taflove and Hagness, Computational Electrodynamics (2005), ch. 3.
    """


Side = FreeSurface | Rigid | PerfectConductor | Periodic


class Sides(Boundary):
    """An absorbing layer on all sides but those that reflect, or continue each other.

    layer: CPML(width). top, bottom: of the first axis (z); left, right: of the last (x); front, back: of the one between; FreeSurface(),
    Rigid(), PerfectConductor(), Periodic() (on both sides of an axis), or None for the layer.
    Raises: InputError for other values.

    >>> Sides(CPML(20), top=FreeSurface())
    Sides(CPML(width=20), top=FreeSurface())
    >>> Sides(CPML(20), left=Periodic(), right=Periodic()).wraps(2)
    (False, True)
    """

    def __init__(self, layer: CPML, **sides: Side | None):
        if not isinstance(layer, CPML):
            raise InputError(f"Sides(layer={layer!r}): give a pde.CPML(width)")
        for name, value in sides.items():
            if name not in SIDES:
                raise InputError(f"Sides({name}=...): {nearest(name, SIDES)}")
            if value is not None and not isinstance(value, Side):
                raise InputError(f"Sides({name}={value!r}): give pde.FreeSurface(), pde.Rigid(), pde.PerfectConductor(), pde.Periodic(), "
                                 "or None for the layer")
        self.layer, self.sides = layer, {name: value for name, value in sides.items() if value is not None}
        for name, value in self.sides.items():
            axis, side = SIDES[name]
            other = next(n for n, at in SIDES.items() if at == (axis, 1 - side))
            if isinstance(value, Periodic) and not isinstance(self.sides.get(other), Periodic):
                raise InputError(f"Sides({name}=Periodic(), {other}={self.sides.get(other)!r}): what leaves through one side comes back "
                                 f"through the other; give {other}=Periodic() too")
        self._check_relief()

    def _check_relief(self) -> None:
        """Raise InputError for a surface that follows topography elsewhere than on top, or beside sides without layer, wall or period."""
        deep = [name for name, value in self.sides.items() if isinstance(value, FreeSurface) and value.depth is not None]
        if not deep:
            return
        if deep != ["top"]:
            raise InputError(f"Sides({deep[0]}={self.sides[deep[0]]!r}): a surface follows topography on top only; use FreeSurface() there")
        for name, value in self.sides.items():
            if name != "top" and not isinstance(value, Rigid | Periodic):
                raise InputError(f"Sides(top={self.sides['top']!r}, {name}={value!r}): beside a surface that follows topography other "
                                 "sides are Rigid(), Periodic() or the layer")

    def wraps(self, ndim: int) -> tuple[bool, ...]:
        """Return whether the sides of each axis are periodic."""
        wrapped = {SIDES[name][0] % ndim for name, value in self.sides.items() if isinstance(value, Periodic)}
        return tuple(axis in wrapped for axis in range(ndim))

    def mirrors(self, ndim: int) -> tuple[Pair, ...]:
        """Return the parity of fields on nodes at each side."""
        out = [[0, 0] for _ in range(ndim)]
        for name, value in self.sides.items():
            axis, side = SIDES[name]
            if axis == 1 and ndim < 3:
                raise InputError(f"Sides({name}={value!r}): a grid of {ndim} axes has no {name}; its sides are top, bottom, left and right")
            if ndim == 1 and any(SIDES[other][1] == side for other in self.sides if other != name):
                raise InputError(f"{self!r}: on a grid of one axis top and left are the same side, and bottom and right; name it once")
            parity = {FreeSurface: -1, PerfectConductor: -1, Rigid: 1, Periodic: 0}[type(value)]
            out[axis][side] = 0 if isinstance(value, FreeSurface) and value.depth is not None else parity
        return tuple((low, high) for low, high in out)

    def relief(self, ndim: int) -> np.ndarray | None:
        """Return the depth of the top's free surface, if it has one."""
        top = self.sides.get("top")
        return top.depth if isinstance(top, FreeSurface) else None

    def pads(self, ndim: int) -> tuple[Pair, ...]:
        """Return the layer's width where nothing reflects or wraps around, and no surface follows topography."""
        out = [(0, 0) if wraps else (0 if low else self.layer.width, 0 if high else self.layer.width)
               for wraps, (low, high) in zip(self.wraps(ndim), self.mirrors(ndim), strict=True)]
        return ((0, out[0][1]), *out[1:]) if self.relief(ndim) is not None else tuple(out)

    def rewrite(self, request: Request) -> Rewritten:
        """Return the stretched derivative along axes that have a layer."""
        if any(self.pads(request.ndim)[request.axis]):
            return self.layer.rewrite(request)
        return Rewritten((((), request.array, request.stencil()),))

    def profile(self, name: str, axis: int, size: tuple[int, ...], spacing: float, step: float, speed: float) -> np.ndarray:
        """Return a or b of the layer on the sides that have one."""
        low, high = self.pads(len(size))[axis]
        return self.layer.along(name, size[axis], (low > 0, high > 0), spacing, step, speed)

    def __repr__(self) -> str:
        return f"Sides({', '.join([repr(self.layer), *(f'{name}={value!r}' for name, value in self.sides.items())])})"


SIDES = {"top": (0, 0), "bottom": (0, 1), "front": (1, 0), "back": (1, 1), "left": (-1, 0), "right": (-1, 1)}      # (axis, side)


