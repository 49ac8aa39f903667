"""Time stepping: what is asked for, and what it needs of step and grid."""
import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

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

    corrected: bool = False

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
                raise InputError(f"{rates.name}.rate: {f} is advanced in place but its rate reads it at shifted points; "
                                 "leapfrog needs a second-order field or a pair of fields")
            if any(g in reads[f] or f in reads[g] for g in groups[-1]):
                groups.append([])
            groups[-1].append(f)
        return groups


def in_order(updates: dict[str, Assign]) -> list[Assign]:
    """Return assignments {target: it} so that those that read others come after them."""
    def depth(target: str) -> int:
        return 1 + max((depth(t.array) for t in updates[target].terms if t.array in updates and t.array != target), default=0)
    return sorted(updates.values(), key=lambda a: depth(a.target))


def rounded_up(value: float) -> float:
    """Return a value rounded up to two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit * (1 - 1e-9)) * unit


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
