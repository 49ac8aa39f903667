"""Steps of optimisers inside compiled functions: what `hp.jit` needs to know to do them natively."""

import sys
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.graph import changes, tick
from hyperion.autograd.jit.updates import Formula, Outdated, Recipe
from hyperion.optim.rule import ElementwiseRule
from hyperion.optim.writing import ALONE

__all__ = ["RecordedStep", "recorded_step"]


class RecordedStep(Recipe):
    """The recipe of one step of a RuleOptimizer for the parameters that have a gradient.

    optimizer: whose step it is.  places: of these parameters.  ahead: how many steps of it the function makes before this one.
    """

    def __init__(self, optimizer: Any, places: Sequence[int], ahead: int) -> None:
        self.name = type(optimizer).__name__
        self.optimizer = optimizer
        self.places = list(places)
        self._pairs = [(i, optimizer._leaves[i]) for i in places]
        self.ahead = ahead
        self.checked = optimizer.check
        states = optimizer._states
        # Parameters of one group and count share their numbers: a row for all of them.
        keys = [(optimizer._group_of[i], states[i]["count"]) for i in places]
        self._rows = list(dict.fromkeys(keys))
        self._row_of = [self._rows.index(key) for key in keys]
        self._rules = [_kind(self._rule(group)) for group, _ in self._rows]
        starts, total = [], 0
        for group, count in self._rows:
            starts.append(total)
            total += len(self._rule(group).numbers(count + ahead + 1))
        self.numbers = array("d", bytes(8 * total))
        self._starts = [*starts, total]
        self._last: list[Any] = [None] * len(self._rows)
        self.formulas = [self._formula(row) for row in self._row_of]
        self._states: Any = None
        self._count: int | None = None                          # of the optimiser's steps after the last one made here
        self._arrays: list[Any] = []
        self._dicts: list[dict[str, Any]] = []
        self._members: list[list[dict[str, Any]]] = []          # those of each row
        self._fixed: list[Any] = [None] * len(self._rows)       # rules without schedules, which were looked at

    def _rule(self, group: int) -> Any:
        return self.optimizer.groups[group].rule.at(self.optimizer.count + self.ahead)

    def _formula(self, row: int) -> Formula:
        rule = self._rule(self._rows[row][0])
        return Formula(rule.formula, len(rule.remembered), self._starts[row + 1] - self._starts[row], self._starts[row])

    def begin(self) -> Sequence[Any]:
        optimizer = self.optimizer
        states = optimizer._states
        if states is not self._states:
            self._states = states
            self._count = None
            self._dicts = [states[i] for i in self.places]
            names = [self._rule(self._rows[row][0]).remembered for row in self._row_of]
            self._members = [[] for _ in self._rows]
            for row, state in zip(self._row_of, self._dicts, strict=True):
                self._members[row].append(state)
            self._arrays = [state[name] for state, own in zip(self._dicts, names, strict=True) for name in own]
        alone = optimizer.count == self._count      # nobody else has made a step
        for row, ((group, _), members) in enumerate(zip(self._rows, self._members, strict=True)):
            count = members[0]["count"]
            if not alone and [one["count"] for one in members].count(count) != len(members):
                raise Outdated
            rule = optimizer.groups[group].rule
            if rule is not self._fixed[row]:
                rule = self._ruled(row, rule)
            now = rule.numbers(count + self.ahead + 1)
            if now != self._last[row]:
                self._last[row] = now
                start = self._starts[row]
                for k, number in enumerate(now):
                    self.numbers[start + k] = number
        return self._arrays

    def _ruled(self, row: int, given: Any) -> Any:
        """Return the rule of this step, which may follow schedules."""
        rule = given.at(self.optimizer.count + self.ahead)
        if _kind(rule) != self._rules[row]:
            raise Outdated
        self._fixed[row] = given if rule is given else None
        return rule

    def writable(self) -> Sequence[bool]:
        made = self.optimizer._made     # as in RuleOptimizer._writable
        return [made[i] is leaf.data and sys.getrefcount(made[i]) == ALONE for i, leaf in self._pairs]

    def refuse(self, gradients: Sequence[Any]) -> None:
        names = self.optimizer._names
        self.optimizer._refuse_nonfinite([names[i] for i in self.places], gradients)

    def finish(self, arrays: Sequence[Any]) -> None:
        made = self.optimizer._made
        changes.last = now = tick()
        for (i, leaf), state, new in zip(self._pairs, self._dicts, arrays, strict=True):
            leaf.data = made[i] = new
            leaf.node.changed = now
            state["count"] += 1
        self.optimizer.count += 1
        self._count = self.optimizer.count


def _kind(rule: Any) -> tuple[Any, ...]:
    """Return what the formula of a rule depends on, beside the numbers it is given."""
    return type(rule), rule.flags, rule.remembered


def recorded_step(optimizer: Any, places: Sequence[int], gradients: Sequence[Any], ahead: int) -> RecordedStep | None:
    """Return the recipe of a step; None if native code does not make it: other rules, bounds, half precision, complex numbers, GPUs."""
    if optimizer._bounds:
        return None
    for i, gradient in zip(places, gradients, strict=True):
        leaf = optimizer._leaves[i]
        rule = optimizer.groups[optimizer._group_of[i]].rule
        plain = isinstance(rule, ElementwiseRule) and leaf.dtype in (np.float32, np.float64) and leaf.size > 0
        if not plain or gradient.dtype != leaf.dtype or gradient.shape != leaf.shape or leaf.device != "cpu":
            return None
    return RecordedStep(optimizer, places, ahead)
