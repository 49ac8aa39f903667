"""Coefficients where the fields of a staggered grid sit: means over the nodes around."""
from collections.abc import Mapping

import numpy as np

from hyperion.autograd import Tensor, as_tensor, pad_edge, shift, where

from .equation import Equation


class Placed:
    """The coefficients of an equation at the nodes of a grid and, as means of neighbours, half a cell beyond them.

    A mean is arithmetic, or harmonic for the equation's `harmonic` coefficients: so that what is wanted across a jump of the medium is the
    stiffness of two layers in series; where one of them is zero, so is the harmonic mean. Beyond the last node the medium continues
    unchanged, or with the first node (along axes that wrap around). In Tensor operations: gradients with respect to the nodes follow.
    Source: Moczo et al., Bull. Seism. Soc. Am. 92 (2002), 3042, eq. 18-20.
    """

    def __init__(self, equation: Equation, nodes: Mapping[str, Tensor], wraps: tuple[bool, ...]):
        self.equation, self.nodes, self.wraps = equation, nodes, wraps
        self.kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.relaxed: dict[tuple[int, ...], Placed] = {}
        self.with_surfaces: dict[tuple[tuple[int, int], ...], Placed] = {}

    def on(self, surfaces: tuple[tuple[int, int], ...]) -> "Placed":
        """Return the coefficients as they are with free surfaces on some (axis, side): the equation's `on_free_surface` there."""
        if not surfaces:
            return self
        if surfaces not in self.with_surfaces:
            nodes = dict(self.nodes)
            for axis, side in surfaces:
                shape = next(iter(nodes.values())).shape
                there = np.zeros([n if k == axis else 1 for k, n in enumerate(shape)], bool)
                there[tuple(-side if k == axis else 0 for k in range(len(shape)))] = True
                for name, value in self.equation.on_free_surface(axis - len(shape), **nodes).items():
                    nodes[name] = where(as_tensor(there).to(value.device), value, nodes[name])
            self.with_surfaces[surfaces] = Placed(self.equation, nodes, self.wraps)
        return self.with_surfaces[surfaces]

    def without_strain(self, axes: tuple[int, ...]) -> "Placed":
        """Return the coefficients where tractions across some axes vanish: the equation's `on_free_surface`, everywhere."""
        if not axes:
            return self
        if axes not in self.relaxed:
            nodes = dict(self.nodes)
            for axis in axes:
                nodes |= self.equation.on_free_surface(axis - next(iter(nodes.values())).ndim, **nodes)
            self.relaxed[axes] = Placed(self.equation, nodes, self.wraps)
        return self.relaxed[axes]

    def at(self, name: str, place: tuple[int, ...]) -> Tensor:
        """Return a coefficient half a cell beyond the nodes along the axes of `place`; at the nodes if there are none."""
        if (name, place) not in self.kept:
            x = self.nodes[name]
            self.kept[name, place] = self._harmonic(x, place) if name in self.equation.harmonic and place else self._mean(x, place)
        return self.kept[name, place]

    def _mean(self, x: Tensor, place: tuple[int, ...]) -> Tensor:
        for axis in place:
            x = 0.5 * (x + self._next(x, axis))
        return x

    def _next(self, x: Tensor, axis: int) -> Tensor:
        """Return x at the next node along an axis."""
        if self.wraps[axis]:
            return shift(x, -1, axis, periodic=True)
        padded = pad_edge(x, tuple((0, int(k == axis)) for k in range(x.ndim)))
        return padded[tuple(slice(int(k == axis), None) for k in range(x.ndim))]

    def _harmonic(self, x: Tensor, place: tuple[int, ...]) -> Tensor:
        empty = x == 0.0
        series = 1.0 / self._mean(1.0 / where(empty, 1.0, x), place)
        return where(self._mean(empty.astype(x.dtype), place) > 0.0, 0.0, series)
