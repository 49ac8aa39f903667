"""Conditions that contradict: two that give a field different values at one place are refused before training."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.errors import InputError
from hyperion.operators.pinn.conditions import Condition, Dirichlet, Initial, Neumann, Periodic, Robin, few_points
from hyperion.operators.pinn.domains import NEAR, Domain
from hyperion.operators.pinn.values import Given

__all__ = ["refuse_contradictions", "refuse_unperiodic", "refuse_unreachable"]

NOISE = 0.1         # of the largest value: how far what was measured may be from what holds exactly
RESTRICT = "correct one, or restrict one by a function: where=lambda x, t: t > 0.01"


def refuse_contradictions(domain: Domain, conditions: list[Condition]) -> None:
    """Raise InputError if two conditions give a field, or its slope, different values at one place."""
    for i, first in enumerate(conditions):
        for second in conditions[i + 1:]:
            for a, b in ((first, second), (second, first)):
                _compare(domain, a, b)
    for period in conditions:
        if isinstance(period, Periodic):
            for a, b in itertools.product(conditions, repeat=2):
                _compare_ends(domain, period, a, b, None)


def refuse_unperiodic(pinn: Any) -> None:
    """Raise InputError if conditions give a field different values at both ends of a variable in which the network has that period.

    A network has a period if its fields, which differ inside, agree at opposite points of the ends to rounding: no weights can part them.
    """
    if not any(isinstance(c, Initial | Dirichlet) for c in pinn.soft.values()):
        return
    inside = _fields(pinn, pinn.domain.interior(256))
    spread = inside.max(axis=0) - inside.min(axis=0)
    for variable in pinn.domain.space:
        period = Periodic(variable, name=f"the network's period in {variable}")
        try:
            period.check(pinn.domain, pinn.equation)
        except InputError:                                                      # ends that are not alike
            continue
        points, _, opposite = period.pairs(pinn.domain, few_points(pinn.domain), None, None)
        gap = np.abs(_fields(pinn, points) - _fields(pinn, opposite)).max(axis=0)
        tied = {name for k, name in enumerate(pinn.names) if gap[k] <= 1e-5 * spread[k] and spread[k] > 0.0}
        for a, b in itertools.product(pinn.soft.values(), repeat=2) if tied else ():
            if not (isinstance(a, Neumann) or isinstance(b, Neumann)):          # slopes may differ: those of x ** 2 do
                _compare_ends(pinn.domain, period, a, b, tied)


def refuse_unreachable(pinn: Any) -> None:
    """Raise InputError if soft conditions give values where hard ones or an ansatz fix the fields at others, whatever the network.

    What was measured may differ by its noise: up to a tenth of the largest value.
    """
    if not (pinn.exact or pinn.ansatz) or any(_learnt(c) for c in pinn.conditions):
        return
    free = np.max(_reach(pinn, pinn.domain.interior(256))[1], axis=0)
    for name, condition in pinn.soft.items():
        points, known = condition.known(pinn.domain)
        if not known or not len(points):
            continue
        fields, moved = _reach(pinn, points)
        for field, values in known.items():
            k = pinn.names.index(field)
            fixed = moved[:, k] <= 1e-6 * free[k]
            slack = (NOISE if condition.measured else 1e-4) * float(np.abs(np.concatenate([values, fields[fixed, k]])).max())
            gap = np.where(fixed, np.abs(values - fields[:, k]), 0.0)
            i = int(gap.argmax())
            if gap[i] > max(slack, 1e-6):
                raise InputError(f"condition {name!r} contradicts what holds exactly: at {_place(pinn.domain, points[i])}, {field} is "
                                 f"{values[i]:g} by the one and {fields[i, k]:g} whatever the network gives; correct one, leave out "
                                 "what is known there anyway, or let the other hold by the loss (hard=False)")


def _reach(pinn: Any, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fields at points if the network gives 1, and how far they are from those if it gives -1: (n, fields) each."""
    x = pinn.points(points)
    with hp.no_grad():
        a, b = (pinn.fields(x, hp.full((len(points), len(pinn.names)), value, dtype=x.dtype, device=x.device)) for value in (1.0, -1.0))
    a, b = (np.broadcast_to(v.to("cpu").numpy(), (len(points), len(pinn.names))).astype(np.float64) for v in (a, b))
    return a, np.abs(a - b)


def _fields(pinn: Any, points: np.ndarray) -> np.ndarray:
    """Return the fields at points as the network gives them now: (n, fields)."""
    with hp.no_grad():
        return pinn(points).to("cpu").numpy().astype(np.float64)


def _learnt(condition: Condition) -> bool:
    """Return whether values are what the window before has learnt: that agrees only as far as it was trained."""
    return any(isinstance(value, Given) for value in getattr(condition, "fields", {}).values())


def _declared(condition: Condition, domain: Domain, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values that a user gave."""
    return {} if _learnt(condition) else condition.values(domain, points)


def _slopes(a: Condition, b: Condition) -> bool:
    """Return whether both give the same sum of field and slope."""
    return isinstance(a, Neumann | Robin) and isinstance(b, Neumann | Robin) and a.weights == b.weights


def _compare(domain: Domain, a: Condition, b: Condition) -> None:
    slopes = _slopes(a, b)
    if not slopes and not (isinstance(a, Initial | Dirichlet) and isinstance(b, Initial | Dirichlet)):
        return
    if (isinstance(a, Initial) and not b.fixed) or any(a.fixed.get(name, value) != value for name, value in b.fixed.items()):
        return
    rows = a.rows(domain, few_points(domain), None, None)
    points = rows["points"].copy()
    if isinstance(b, Neumann | Robin):                          # at a corner they may differ: there are two normals
        shared = b.covers(domain, points) & b.faces(domain, rows["normals"])
    else:
        for name, value in b.fixed.items():
            points[:, domain.names.index(name)] = value
        shared = domain.contains(points) & a.covers(domain, points) & b.covers(domain, points)
        normals = 0.0 * points if a.fixed else rows["normals"]
        shared &= _at_sides(domain, points, normals, {*a.fixed, *b.fixed})
    points = points[shared]
    ours, theirs = _declared(a, domain, points), _declared(b, domain, points)
    _refuse_gap(domain, points, ours, theirs, f"{a.name!r} and {b.name!r}", RESTRICT, "the slope of " if slopes else "")


def _compare_ends(domain: Domain, period: Periodic, a: Condition, b: Condition, tied: set[str] | None) -> None:
    """Compare one condition at the lower end of a period with one at the upper end.

    tied: the fields that have this period; None is all.
    """
    slopes = isinstance(a, Neumann) and isinstance(b, Neumann) and period.below > 1
    if not slopes and not (isinstance(a, Initial | Dirichlet) and isinstance(b, Initial | Dirichlet)):
        return
    points, normals, opposite = period.pairs(domain, few_points(domain), None, None)
    for ends, condition in itertools.product((points, opposite), (a, b)):
        if isinstance(condition, Initial):                                      # at the first moment
            for name, value in condition.fixed.items():
                ends[:, domain.names.index(name)] = value
    shared = domain.contains(points) & domain.contains(opposite) & a.covers(domain, points) & b.covers(domain, opposite)
    if isinstance(a, Neumann) and isinstance(b, Neumann):
        shared &= a.faces(domain, normals) & b.faces(domain, -normals)
    ours, theirs = _declared(a, domain, points[shared]), _declared(b, domain, opposite[shared])
    if tied is not None:
        ours = {field: values for field, values in ours.items() if field.removesuffix("_t") in tied}
    if slopes:                                                                  # outward is the other way there
        theirs = {field: -values for field, values in theirs.items()}
    what = f"{a.name!r} and, at the opposite end of {period.name!r}, {b.name!r}"
    rule = "make them equal at both ends, or leave the period out"
    _refuse_gap(domain, points[shared], ours, theirs, what, rule, f"the derivative along -{period.variable} of " if slopes else "")


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


def _place(domain: Domain, point: np.ndarray) -> str:
    return ", ".join(f"{name}={v:g}" for name, v in zip(domain.names, point, strict=True))


def _refuse_gap(
    domain: Domain, points: np.ndarray, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], what: str, rule: str, kind: str,
) -> None:
    for field in set(ours) & set(theirs) if len(points) else ():
        size = max(1.0, float(np.abs(ours[field]).max()), float(np.abs(theirs[field]).max()))
        gap = np.abs(ours[field] - theirs[field])
        i = int(gap.argmax())
        if gap[i] > 1e-6 * size:
            values = f"{kind}{field} is {ours[field][i]:g} by the one and {theirs[field][i]:g} by the other"
            raise InputError(f"conditions {what} contradict: at {_place(domain, points[i])}, {values}; {rule}")
