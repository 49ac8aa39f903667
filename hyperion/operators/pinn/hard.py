"""Conditions that hold exactly: the network is multiplied by a distance that vanishes where they hold, and values are added.

On a box: fields = values + distance * network. `values` satisfies all hard conditions: it starts from the initial one and is corrected, one
variable after the other, by the differences on the sides, blended linearly between them (transfinite interpolation). In a ball the values
are the function itself, at all points inside.
Source: Lagaris, Likas and Fotiadis 1998, IEEE Trans. Neural Networks 9, 987, section III; Coons 1967, MIT MAC-TR-41 (blending).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.errors import InputError
from hyperion.operators.pinn.conditions import Condition, Dirichlet, Initial, Side
from hyperion.operators.pinn.domains import Box, Domain
from hyperion.operators.pinn.shapes import Ball
from hyperion.operators.pinn.values import Given, called_on_tensors

__all__ = ["Exact"]

Columns = dict[str, Tensor]
Function = Callable[[Columns], Any]


class Exact:
    """What makes hard conditions on one field hold: `distance` and `values`, functions of the variables by name.

    Raises: InputError for conditions that cannot be made exact: on domains other than boxes and balls, or on parts of sides.
    """

    def __init__(self, domain: Domain, field: str, conditions: list[Condition]):
        self.domain, self.field = domain, field
        self.distances: list[Function] = []
        self.values: Function = lambda at: 0.0
        initial = [c for c in conditions if isinstance(c, Initial)]
        others = [c for c in conditions if isinstance(c, Dirichlet)]
        if len(initial) > 1:
            raise InputError(f"hard conditions: {len(initial)} Initial conditions give {field!r}; one must be enough")
        if isinstance(domain, Ball) and len(others) == 1 and others[0].where is None:
            self._in_ball(domain, others[0])
        elif isinstance(domain, Box):
            if initial:
                self._at_start(domain, initial[0])
            for name in domain.space:
                self._on_sides(domain, name, others)
        else:
            raise InputError(f"hard=True on {domain!r}: exact conditions are made on boxes, and around a Disc or Ball; use hard=False, or "
                             "PINN(ansatz=...) with a distance function of your own")
        for condition in others:
            if condition.where is not None and not isinstance(condition.where, Side):
                raise InputError(f"hard condition {condition.name!r}: a part of a boundary that a function tells cannot be made exact; "
                                 "give a Side, or hard=False")

    def __call__(self, at: Columns, network: Tensor) -> Tensor:
        """Return the field, (n, 1), from the network's output, (n, 1), and the variables, (n, 1) each."""
        distance: Any = network
        for one in self.distances:
            distance = one(at) * distance
        return self.values(at) + distance

    def _at_start(self, domain: Box, condition: Initial) -> None:
        (start, end), given = domain.ranges["t"], condition.fields
        own, rate = given.get(self.field), given.get(f"{self.field}_t")
        if own is None:
            raise InputError(f"hard Initial({self.field}_t=...): give {self.field} too; its rate alone cannot be made exact")
        first = _function(own, condition)
        if rate is None:
            self.values = first
            self.distances.append(lambda at: (at["t"] - start) * (1.0 / (end - start)))
            return
        second = _function(rate, condition)
        self.values = lambda at: first(at) + (at["t"] - start) * second(at)
        self.distances.append(lambda at: ((at["t"] - start) * (1.0 / (end - start))) ** 2)

    def _on_sides(self, domain: Box, name: str, conditions: list[Dirichlet]) -> None:
        low, high = domain.ranges[name]
        ends: dict[float, Function] = {}
        for c in conditions:
            if c.where is None or (isinstance(c.where, Side) and c.where.name == name):
                for end in (low, high) if c.where is None else (c.where.value,):
                    if end not in (low, high):
                        raise InputError(f"hard condition {c.name!r}: {c.where!r} is no side of {domain!r}")
                    ends[end] = _function(c.fields[self.field], c)
        before, width = self.values, high - low
        for end in ends:
            self.distances.append(lambda at, end=end: (at[name] - low if end == low else high - at[name]) * (1.0 / width))

        def corrected(at: Columns) -> Any:
            total = before(at)
            for end, given in ends.items():
                there = {**at, name: hp.full_like(at[name], end)}
                blend: Any = 1.0
                if len(ends) == 2:
                    blend = (high - at[name] if end == low else at[name] - low) * (1.0 / width)
                total = total + blend * (given(there) - before(there))
            return total

        self.values = corrected

    def _in_ball(self, domain: Ball, condition: Dirichlet) -> None:
        self.values = _function(condition.fields[self.field], condition)
        r = domain.radius

        def distance(at: Columns) -> Tensor:
            square: Any = 0.0
            for name, c in zip(domain.names, domain.center, strict=True):
                square = square + (at[name] - float(c)) ** 2
            return (r * r - square) * (0.5 / r)

        self.distances.append(distance)


def _function(value: Any, condition: Condition) -> Function:
    """Return a condition's number or function as one of columns of Tensors."""
    if isinstance(value, Given):
        return value.along
    if not callable(value):
        return lambda at: float(np.asarray(value))
    return lambda at: called_on_tensors(value, at, f"hard condition {condition.name!r}")
