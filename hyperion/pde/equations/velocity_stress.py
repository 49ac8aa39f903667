"""Velocity and stress on a staggered grid: what the elastic equations have in common.

Normal stresses sit at the nodes, velocities half a cell beyond them along their own axis, shear stresses along both of theirs.
Source: Virieux 1986, Geophysics 51, 889, fig. 1; three dimensions: Graves 1996, BSSA 86, 1091.
"""
from collections.abc import Mapping

from hyperion.pde.equation import Expression, Field, derivative

Pair = tuple[str, str]


def pairs(axes: Mapping[str, int]) -> list[Pair]:
    """Return the pairs of different coordinates.

    >>> pairs({"z": -3, "y": -2, "x": -1})
    [('z', 'y'), ('z', 'x'), ('y', 'x')]
    """
    letters = list(axes)
    return [(i, j) for k, i in enumerate(letters) for j in letters[k + 1:]]


def stresses(axes: Mapping[str, int], name: str = "s") -> dict[str, Field]:
    """Return the stress components, normal ones first."""
    normal = {f"{name}{i}{i}": Field("Pa") for i in axes}
    return normal | {f"{name}{i}{j}": Field("Pa", at=(axes[i], axes[j])) for i, j in pairs(axes)}


def fields(axes: Mapping[str, int]) -> dict[str, Field]:
    """Return velocities and stresses.

    >>> list(fields({"z": -2, "x": -1}))
    ['vz', 'vx', 'szz', 'sxx', 'szx']
    """
    return {f"v{i}": Field("m/s", at=(axis,)) for i, axis in axes.items()} | stresses(axes)


def velocities(axes: Mapping[str, int]) -> dict[int, str]:
    """Return {axis: velocity along it}.

    >>> velocities({"z": -2, "x": -1})
    {-2: 'vz', -1: 'vx'}
    """
    return {axis: f"v{i}" for i, axis in axes.items()}


def tractions(axes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the stresses that vanish on a free surface across an axis: those with its letter.

    >>> tractions({"z": -2, "x": -1})
    {'szz': (-2,), 'sxx': (-1,), 'szx': (-2, -1)}
    """
    return {f"s{i}{i}": (axis,) for i, axis in axes.items()} | {f"s{i}{j}": (axes[i], axes[j]) for i, j in pairs(axes)}


def accelerations(axes: Mapping[str, int], s: Mapping[str, Expression], buoyancy: Expression) -> dict[str, Expression]:
    """Return the rates of velocities: buoyancy times the divergence of the stresses s."""
    total = {f"v{i}": derivative(s[f"s{i}{i}"], axis) for i, axis in axes.items()}
    for i, j in pairs(axes):
        total[f"v{i}"] += derivative(s[f"s{i}{j}"], axes[j])
        total[f"v{j}"] += derivative(s[f"s{i}{j}"], axes[i])
    return {v: buoyancy * force for v, force in total.items()}


def stress_rates(axes: Mapping[str, int], v: Mapping[str, Expression], stiffness: Mapping[Pair, Expression],
                 shear: Mapping[Pair, Expression]) -> dict[str, Expression]:
    """Return the rates of stresses: stiffness (i, j), i <= j, of normal strain rates, and shear moduli of shear strain rates."""
    e = {i: derivative(v[f"v{i}"], axis) for i, axis in axes.items()}
    rates: dict[str, Expression] = {}
    for i in axes:
        rates[f"s{i}{i}"] = stiffness[i, i] * e[i]
        for j in axes:
            if i != j:
                rates[f"s{i}{i}"] += stiffness[(i, j) if (i, j) in stiffness else (j, i)] * e[j]
    for i, j in pairs(axes):
        rates[f"s{i}{j}"] = shear[i, j] * (derivative(v[f"v{i}"], axes[j]) + derivative(v[f"v{j}"], axes[i]))
    return rates


def sources(axes: Mapping[str, int], buoyancy: Expression, name: str = "s") -> dict[str, dict[str, Expression | float]]:
    """Return the sources of an elastic equation.

    A velocity: a force density. A stress: its rate. "pressure": minus the rate of all normal stresses. "mzz", "mzx"...: a component of the
    moment tensor's rate per m^ndim, of which stress is relieved. name: of the stresses that they enter.
    """
    out: dict[str, dict[str, Expression | float]] = {f"v{i}": {f"v{i}": buoyancy} for i in axes}
    for i, j in [*((i, i) for i in axes), *pairs(axes)]:
        out[f"s{i}{j}"] = {f"{name}{i}{j}": 1.0}
        out[f"m{i}{j}"] = {f"{name}{i}{j}": -1.0}
    out["pressure"] = {f"{name}{i}{i}": -1.0 for i in axes}
    return out


def receivers(axes: Mapping[str, int], names: tuple[str, ...] = ("s",)) -> dict[str, dict[str, float]]:
    """Return the velocities, the stresses (sums of the fields of all `names`), and pressure: minus the mean of the normal stresses."""
    components = [f"{i}{j}" for i, j in [*((i, i) for i in axes), *pairs(axes)]]
    out = {f"v{i}": {f"v{i}": 1.0} for i in axes} | {f"s{ij}": {f"{n}{ij}": 1.0 for n in names} for ij in components}
    return out | {"pressure": {f"{n}{i}{i}": -1.0 / len(axes) for n in names for i in axes}}
