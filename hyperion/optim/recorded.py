"""Steps of optimisers inside compiled functions: what `hp.jit` needs to know to do them natively."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.graph import changes, tick
from hyperion.autograd.jit.updates import Formula, Outdated, Recipe
from hyperion.optim.rule import ElementwiseRule

__all__ = ["RecordedStep", "recorded_step"]


class RecordedStep(Recipe):
    """The recipe of one step of a RuleOptimizer for the parameters that have a gradient.

    optimizer: whose step it is.  places: of these parameters.  ahead: how many steps of it the function makes before this one.
    """

    def __init__(self, optimizer: Any, places: Sequence[int], ahead: int) -> None:
        self.name = type(optimizer).__name__
        self.optimizer = optimizer
        self.places = list(places)
        self.leaves = [optimizer._leaves[i] for i in places]
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
        self._arrays: list[Any] = []
        self._dicts: list[dict[str, Any]] = []

    def _rule(self, group: int) -> Any:
        return self.optimizer.groups[group].rule.at(self.optimizer.count + self.ahead)

    def _formula(self, row: int) -> Formula:
        rule = self._rule(self._rows[row][0])
        return Formula(rule.formula, len(rule.remembered), self._starts[row + 1] - self._starts[row], self._starts[row])

    def begin(self) -> Sequence[Any]:
        states = self.optimizer._states
        if states is not self._states:
            self._states = states
            self._dicts = [states[i] for i in self.places]
            names = [self._rule(self._rows[row][0]).remembered for row in self._row_of]
            self._arrays = [state[name] for state, own in zip(self._dicts, names, strict=True) for name in own]
        counts: list[Any] = [None] * len(self._rows)
        for row, state in zip(self._row_of, self._dicts, strict=True):
            count = state["count"]
            if counts[row] is None:
                counts[row] = count
            elif counts[row] != count:
                raise Outdated
        for row, ((group, _), count) in enumerate(zip(self._rows, counts, strict=True)):
            rule = self._rule(group)
            if _kind(rule) != self._rules[row]:
                raise Outdated
            now = rule.numbers(count + self.ahead + 1)
            if now != self._last[row]:
                self._last[row] = now
                start = self._starts[row]
                for k, number in enumerate(now):
                    self.numbers[start + k] = number
        return self._arrays

    def writable(self) -> Sequence[bool]:
        writable = self.optimizer._writable
        return [writable(i) for i in self.places]

    def refuse(self, gradients: Sequence[Any]) -> None:
        names = self.optimizer._names
        self.optimizer._refuse_nonfinite([names[i] for i in self.places], gradients)

    def finish(self, arrays: Sequence[Any]) -> None:
        made = self.optimizer._made
        for i, leaf, state, new in zip(self.places, self.leaves, self._dicts, arrays, strict=True):
            leaf.data = made[i] = new
            leaf.node.changed = changes.last = tick()
            state["count"] += 1
        self.optimizer.count += 1


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
