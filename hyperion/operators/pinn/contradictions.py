"""Conditions that contradict: two that give a field different values at one place are refused before training."""

import itertools

import numpy as np

from hyperion.errors import InputError
from hyperion.operators.pinn.conditions import Condition, Dirichlet, Initial, Neumann, Periodic, few_points
from hyperion.operators.pinn.domains import NEAR, Domain
from hyperion.operators.pinn.values import Given

__all__ = ["refuse_contradictions"]


def refuse_contradictions(domain: Domain, conditions: list[Condition]) -> None:
    """Raise InputError if two conditions give a field different values at one place."""
    for i, first in enumerate(conditions):
        for second in conditions[i + 1:]:
            for a, b in ((first, second), (second, first)):
                _compare(domain, a, b)
    given = [c for c in conditions if isinstance(c, Dirichlet)]
    for period in (c for c in conditions if isinstance(c, Periodic)):
        points, opposite = period.rows(domain, few_points(domain), None, None).values()
        for a, b in itertools.product(given, repeat=2):
            shared = a.covers(domain, points) & b.covers(domain, opposite)
            what = f"{a.name!r} and, at the opposite end of {period.name!r}, {b.name!r}"
            _refuse_gap(domain, points[shared], _declared(a, domain, points[shared]), _declared(b, domain, opposite[shared]), what)


def _declared(condition: Condition, domain: Domain, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values that a user gave; what the window before has learnt agrees only as far as it was trained."""
    return {} if any(isinstance(value, Given) for value in getattr(condition, "fields", {}).values()) else condition.values(domain, points)


def _compare(domain: Domain, a: Condition, b: Condition) -> None:
    slopes = isinstance(a, Neumann) and isinstance(b, Neumann)
    if not slopes and not (isinstance(a, Initial | Dirichlet) and isinstance(b, Initial | Dirichlet)):
        return
    if (isinstance(a, Initial) and not b.fixed) or any(a.fixed.get(name, value) != value for name, value in b.fixed.items()):
        return
    rows = a.rows(domain, few_points(domain), None, None)
    points = rows["points"].copy()
    if isinstance(b, Neumann):                                  # at a corner they may differ: there are two normals
        shared = b.covers(domain, points) & b.faces(domain, rows["normals"])
    else:
        for name, value in b.fixed.items():
            points[:, domain.names.index(name)] = value
        shared = domain.contains(points) & a.covers(domain, points) & b.covers(domain, points)
        normals = 0.0 * points if a.fixed else rows["normals"]
        shared &= _at_sides(domain, points, normals, {*a.fixed, *b.fixed})
    points = points[shared]
    _refuse_gap(domain, points, _declared(a, domain, points), _declared(b, domain, points), f"{a.name!r} and {b.name!r}")


def _at_sides(domain: Domain, points: np.ndarray, normals: np.ndarray, names: set[str]) -> np.ndarray:
    """Return which points are on boundaries across all of these variables: a side may run on through the inside, as in an L-shape.

    normals: of the boundary where the points were drawn; zero where that is one of the sides.
    One looks to both sides along a variable, a little off the other sides: on them rounding decides.
    """
    step, there = NEAR * max(domain.sides), np.ones(len(points), bool)
    units = {name: np.array([step * (other == name) for other in domain.names]) for name in names}
    for name, across in units.items():
        off = [2.0 * unit for other, unit in units.items() if other != name] + [2.0 * step * np.where(across > 0.0, 0.0, normals)]
        nearby = [points + sum(sign * shift for sign, shift in zip(signs, off, strict=True))
                  for signs in itertools.product((-1.0, 1.0), repeat=len(off))]
        there &= np.any([domain.inside(near + across) != domain.inside(near - across) for near in nearby], axis=0)
    return there


def _refuse_gap(
    domain: Domain, points: np.ndarray, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], what: str,
) -> None:
    for field in set(ours) & set(theirs) if len(points) else ():
        size = max(1.0, float(np.abs(ours[field]).max()), float(np.abs(theirs[field]).max()))
        gap = np.abs(ours[field] - theirs[field])
        i = int(gap.argmax())
        if gap[i] > 1e-6 * size:
            place = ", ".join(f"{name}={v:g}" for name, v in zip(domain.names, points[i], strict=True))
            raise InputError(f"conditions {what} contradict: at {place}, {field} is {ours[field][i]:g} by the one and "
                             f"{theirs[field][i]:g} by the other; correct one, or restrict one by a function: where=lambda x, t: t > 0.01")
