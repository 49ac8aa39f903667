"""Time stepping: what is asked for, and what it needs of step and grid."""
import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hyperion.codegen import Assign, Program, Term
from hyperion.errors import InputError

from . import stencils
from .checks import is_positive, is_whole
from .rates import Rates
from .stencils import LeastSquares, Taylor

MOST_SUBSTEPS = 10_000                                 # more than this per sample is a mistake in the units


@dataclass(frozen=True)
class Stepping(ABC):
    """How a solver steps in time.

    max_speed: the fastest speed the step is made stable for [m/s]; default: the model's, rounded up to two digits (so that small changes
    of a model do not change the step). substeps: steps per sample of the wavelet; default: the fewest that are stable.
    Raises: InputError for values that cannot be.
    """

    max_speed: float | None = None
    substeps: int | None = None
    # {sampling: taps}: sources named with `@sampling` get the wavelet's samples at internal steps, filtered by these centred taps.
    samplings: ClassVar[dict[str, tuple[float, ...]]] = {"": (1.0,)}
    continuous: ClassVar[bool] = False                 # whether a boundary's memory variables are stepped with the fields
    corrected: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.max_speed is not None and not is_positive(self.max_speed):
            raise InputError(f"{name}(max_speed={self.max_speed!r}): give a positive speed [m/s], or None")
        if self.substeps is not None and not is_whole(self.substeps, 1):
            raise InputError(f"{name}(substeps={self.substeps!r}): give a whole number of at least 1, or None")
        # Plain numbers: a NumPy float32 would pull what is computed from it down to its own precision.
        for key, value, kind in (("max_speed", self.max_speed, float), ("substeps", self.substeps, int)):
            object.__setattr__(self, key, None if value is None else kind(value))

    @abstractmethod
    def program(self, rates: Rates) -> Program:
        """Return one step. Raises: InputError for rates that this stepping cannot step."""


@dataclass(frozen=True)
class Leapfrog(Stepping):
    """Second-order time stepping, with fields of first order in time that do not read themselves half a step apart.

    max_speed, substeps: see `Stepping`.
    corrected: whether the error of the time stepping is removed from wavelet and gathers (two matrix products in time; see
    `pde/dispersion.py`); frequencies above a quarter of the internal sampling rate are lost then.
    A field's own undifferentiated term in its first-order rate, damping, is stepped by Crank-Nicolson.
    Raises: InputError for values that cannot be.

    >>> Leapfrog(max_speed=5000.0)
    Leapfrog(max_speed=5000.0, substeps=None, corrected=False)
    """

    corrected: bool = False  # pyright: ignore[reportIncompatibleVariableOverride]

    def program(self, rates: Rates) -> Program:
        """Return one step: groups of fields one after the other, each from what is newest of the others."""
        fields, arrays = rates.stepped, {f: f for f in rates.equation.fields}
        assigns: list[Assign] = []
        rotate: dict[str, str] = {}
        seen: dict[str, frozenset[str]] = {}           # {what is read: its fields that were advanced when it was assigned}
        advanced: set[str] = set()                     # first-order fields, in place, by the groups so far
        for group in self._groups(rates):
            before: dict[str, Assign] = {}
            updates: list[Assign] = []
            for f in group:
                own, target = rates.own(f), f
                if fields[f].time_order == 2:
                    target = rotate[f] = f + ".next"
                keep = Term(1.0, (), target, rates.point)
                terms, memory = rates.terms(f, arrays, own)
                first = [keep] if target == f else [Term(2.0, (), f, rates.point), replace(keep, weight=-1.0)]
                updates.append(Assign.of(target, [*first, *terms, *rates.sources(f, own)]))
                for m in memory:
                    if m.update.target not in seen:    # once a step, before whoever reads it first
                        before[m.update.target] = m.update
                    if seen.setdefault(m.update.target, m.fields & advanced) != m.fields & advanced:
                        names = " or ".join(sorted(m.fields))
                        raise InputError(f"{rates.name}.rate: {m.update.target} is read before and after {names} is advanced, which "
                                         "it is given by or remembers; declare the fields in another order")
            assigns += [*in_order(before), *updates]
            advanced |= {f for f in group if fields[f].time_order == 1}
        return rates.program(assigns, rotate)

    def _groups(self, rates: Rates) -> list[list[str]]:
        """Return the fields in groups that step one after the other: a new one begins where a field reads, or is read by, the group."""
        groups: list[list[str]] = [[]]
        reads = {f: rates.reads(f) for f in rates.stepped}
        for f, field in rates.stepped.items():
            if field.time_order not in (1, 2):
                raise InputError(f"{rates.name}.fields[{f!r}]: time order {field.time_order}; leapfrog steps orders 1 and 2")
            if field.time_order == 1 and f in reads[f]:
                raise InputError(f"{rates.name}.rate: {f} is advanced in place but its rate reads it at shifted points; use "
                                 "stepping=pde.RungeKutta4() or pde.SSPRK3(), or for waves a field of second order or a pair of fields")
            if any(g in reads[f] or f in reads[g] for g in groups[-1]):
                groups.append([])
            groups[-1].append(f)
        return groups


@dataclass(frozen=True)
class LaxWendroff(Stepping):
    """Fourth-order time stepping of fields of second order in time, from the equation itself: f_tttt is the rate of the rate.

    f' = 2 f - f_before + q + (rate of q) step^2 / 12, q = step^2 rate(f). Two evaluations of the rate a step; the step may be sqrt(3)
    times that of leapfrog; absorbing layers, which stretch both evaluations, leave it 1.23 times.
    max_speed, substeps: see `Stepping`. Raises: InputError for values that cannot be.
    Source: Lax and Wendroff, Comm. Pure Appl. Math. 17 (1964), 381; Dablain, Geophysics 51 (1986), 54, eq. 12.

    >>> LaxWendroff()
    LaxWendroff(max_speed=None, substeps=None)
    """

    # Of a source s the modified equation wants s_tt as well: its second difference over step^2.
    samplings: ClassVar[dict[str, tuple[float, ...]]] = {"": (1.0,), "@curvature": (1.0, -2.0, 1.0)}

    def program(self, rates: Rates) -> Program:
        """Return one step: q of all fields, then the fields."""
        fields, rotate = rates.stepped, {f: f + ".next" for f in rates.stepped}
        for f, field in fields.items():
            if field.time_order != 2:
                raise InputError(f"{rates.name}.fields[{f!r}]: time order {field.time_order}; LaxWendroff steps fields of second order in "
                                 "time, use RungeKutta4() or Leapfrog()")
        assigns: list[Assign] = []
        arrays = {f: f for f in rates.equation.fields}
        for last in (False, True):
            memory: dict[str, Assign] = {}
            updates: list[Assign] = []
            for f in fields:
                terms, remembered = rates.terms(f, arrays)
                terms += rates.sources(f, sampling="@curvature" if last else "")
                memory |= {m.update.target: m.update for m in remembered}
                if last:
                    before = [(2.0, f), (-1.0, rotate[f]), (1.0, arrays[f])]
                    terms = [*(Term(w, (), x, rates.point) for w, x in before), *_times(1.0 / 12.0, terms)]
                updates.append(Assign.of(rotate[f] if last else f"rate.{f}", terms))
            assigns += [*in_order(memory), *updates]
            arrays = {f: f"rate.{f}" for f in arrays}
        return rates.program(assigns, rotate, tuple(self.samplings))


@dataclass(frozen=True)
class Stage:
    """A stage of a Runge-Kutta method: sum of `states` {number of a state: weight} plus `weight` times step times the rate of the last.

    State 0 is the field at the start, state i + 1 what stage i makes. sampling: of sources at the time that the last state stands for.
    """

    states: dict[int, float]
    weight: float
    sampling: str


HALF_AFTER = (-5.0, 49.0, -245.0, 1225.0, 1225.0, -245.0, 49.0, -5.0, 0.0)  # / 2048: Lagrange's interpolation half a sample later
SAMPLINGS = {"": (1.0,), "@0.5": tuple(w / 2048.0 for w in HALF_AFTER), "@1": (1.0, 0.0, 0.0)}


@dataclass(frozen=True)
class RungeKutta(Stepping):
    """Explicit Runge-Kutta methods in which each stage evaluates the rate of the one before it. See `SSPRK3` and `RungeKutta4`.

    They step any fields of first order in time, also those whose rates read themselves at shifted points; a field p of second order is
    stepped as the pair (p, step p_t). Memory variables of the absorbing layer are stepped with the fields.
    """

    samplings: ClassVar[dict[str, tuple[float, ...]]] = SAMPLINGS
    continuous: ClassVar[bool] = True

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages; the last makes the field at the end of the step."""

    def program(self, rates: Rates) -> Program:
        """Return one step: the stages one after the other, the last of them in place."""
        for f, field in rates.stepped.items():
            if field.time_order not in (1, 2):
                raise InputError(f"{rates.name}.fields[{f!r}]: time order {field.time_order}; Runge-Kutta methods step orders 1 and 2")
        # Per state {array at the start: (its name in this state, step times its rate)}, and corrections that nothing steps.
        states = [self._state(rates, f"stage{i}." if i else "", stage.sampling) for i, stage in enumerate(self.stages)]
        assigns: list[Assign] = []
        for i, stage in enumerate(self.stages):
            (now, at_once), after = states[i], states[(i + 1) % len(states)][0]
            assigns += at_once
            for x, (_, axis, rate) in now.items():
                kept = [Term(w, (), states[j][0][x][0], rates.point) for j, w in stage.states.items()]
                assigns.append(Assign.of(after[x][0], [*kept, *_times(stage.weight, rate)], axis))
        return rates.program(assigns, {}, tuple(dict.fromkeys(stage.sampling for stage in self.stages)))

    def _state(self, rates: Rates, prefix: str, sampling: str) -> tuple[dict[str, tuple[str, int | None, list[Term]]], list[Assign]]:
        """Return {array at the start: (its name in this state, its axis, step times its rate)}, memory first, and corrections."""
        arrays = {f: prefix + f for f in rates.equation.fields}
        out: dict[str, tuple[str, int | None, list[Term]]] = {}
        at_once: dict[str, Assign] = {}
        steps: dict[str, tuple[str, int | None, list[Term]]] = {}
        for f, field in rates.stepped.items():
            terms, memory = rates.terms(f, arrays)
            for update in (m.update for m in memory):
                if any(t.array == update.target for t in update.terms):
                    out[update.target.removeprefix(prefix)] = (update.target, update.axis, list(update.terms))
                else:
                    at_once[update.target] = update
            rate = [*terms, *rates.sources(f, sampling=sampling)]
            if field.time_order == 2:                  # the pair of p and step p_t
                steps[f] = (arrays[f], None, [Term(1.0, (), f"{prefix}rate.{f}", rates.point)])
                steps[f"rate.{f}"] = (f"{prefix}rate.{f}", None, rate)
            else:
                steps[f] = (arrays[f], None, rate)
        return out | steps, in_order(at_once)


@dataclass(frozen=True)
class SSPRK3(RungeKutta):
    """The three-stage Runge-Kutta method of third order that preserves what forward Euler preserves (bounds, positivity) at its step.

    max_speed, substeps: see `Stepping`. Raises: InputError for values that cannot be.
    Source: Shu and Osher, J. Comput. Phys. 77 (1988), 439, eq. 2.18.

    >>> SSPRK3(substeps=2)
    SSPRK3(max_speed=None, substeps=2)
    """

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages."""
        return Stage({0: 1.0}, 1.0, ""), Stage({0: 3 / 4, 1: 1 / 4}, 1 / 4, "@1"), Stage({0: 1 / 3, 2: 2 / 3}, 2 / 3, "@0.5")


@dataclass(frozen=True)
class RungeKutta4(RungeKutta):
    """The classical Runge-Kutta method of fourth order.

    Written so that each stage needs the rate of the one before it only: f' = (-f + f1 + 2 f2 + f3) / 3 + step / 6 rate(f3).
    max_speed, substeps: see `Stepping`. Raises: InputError for values that cannot be.
    Source: Kutta, Z. Math. Phys. 46 (1901), 435.

    >>> RungeKutta4()
    RungeKutta4(max_speed=None, substeps=None)
    """

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages."""
        return (Stage({0: 1.0}, 1 / 2, ""), Stage({0: 1.0}, 1 / 2, "@0.5"), Stage({0: 1.0}, 1.0, "@0.5"),
                Stage({0: -1 / 3, 1: 1 / 3, 2: 2 / 3, 3: 1 / 3}, 1 / 6, "@1"))


def _times(weight: float, terms: list[Term]) -> list[Term]:
    return [replace(t, weight=weight * t.weight) for t in terms]


def in_order(updates: dict[str, Assign]) -> list[Assign]:
    """Return assignments {target: it} so that those that read others come after them."""
    def depth(target: str) -> int:
        return 1 + max((depth(t.array) for t in updates[target].terms if t.array in updates and t.array != target), default=0)
    return sorted(updates.values(), key=lambda a: depth(a.target))


@functools.cache
def points_needed(order: int, design: Taylor | LeastSquares) -> float:
    """Return the points per wavelength at which the second derivative of an order has a phase speed error of 0.5 %.

    >>> round(points_needed(2, Taylor())), round(points_needed(8, Taylor()))
    (18, 4)
    """
    k = np.linspace(0.01, np.pi, 2000)
    symbol = -sum(w * np.cos(s[0] * k) for s, w in stencils.second(1, 0, order, design).taps)
    bad = np.flatnonzero(np.abs(np.sqrt(np.maximum(symbol, 0.0)) / k - 1.0) > 0.005)
    return float(2 * np.pi / k[bad[0]])
