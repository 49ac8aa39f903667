"""Optimisers that step by a rule: parameter groups, both habits of use, and states to resume from."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.autograd.graph import state
from hyperion.errors import InputError, NonFiniteError
from hyperion.gpu import device
from hyperion.optim import native
from hyperion.optim.bounds import Bounds
from hyperion.optim.optimizer import Optimizer, finite_or_refuse, is_finite, listed, number, raw
from hyperion.optim.recorded import recorded_step
from hyperion.optim.rule import Job, Rule, apply_all, begin, matching
from hyperion.optim.schedules import Schedule
from hyperion.optim.writing import ALONE, references

__all__ = ["Group", "RuleOptimizer"]


class Group:
    """Parameters that share their options.

    rule: the options; names: of its parameters.
    """

    def __init__(self, rule: Rule, names: list[str]):
        self.rule = rule
        self.names = names

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.rule.options().items())
        return f"Group of {len(self.names)} parameters: {options}"

    @property
    def lr(self) -> Any:
        """The learning rate, a number or a schedule; may be set between steps."""
        return self.rule.lr

    @lr.setter
    def lr(self, value: Any) -> None:
        self.rule = self.rule.replaced({"lr": value}, "lr")


class RuleOptimizer(Optimizer):
    """Base of the optimisers that move each parameter by a rule.

    parameters: see Optimizer; or a list of dicts {"params": parameters, option: value, ...}, one per group, with the options that differ.
    rule: options of all groups. bounds: None, or (lower, upper), each None, a number, or a tree like the parameters; every update is
    clipped to them. check: refuse gradients that are not finite, before anything is changed.
    Parameters may be of any floating or complex dtype and differ in it. For those of half precision a master in float32 is kept.
    Attributes: groups; count (of steps made, which schedules go by). Every class has its rule for the functional habit:
    `rule = AdamW.rule(lr=1e-3); state = rule.init(parameters); parameters, state = rule.update(gradients, state, parameters)`.
    """

    rule: ClassVar[type[Rule]]

    def __init__(self, parameters: Any, rule: Rule, bounds: tuple[Any, Any] | None, check: bool):
        parameters = listed(parameters)
        given = _groups_of(parameters)
        super().__init__(parameters if given is None else [group["params"] for group in given])
        self.groups = [Group(rule, self._names)] if given is None else self._grouped(given, rule)
        self._group_of = [number for number, group in enumerate(self.groups) for _ in group.names]
        arrays = [raw(leaf) for leaf in self._leaves]
        bad = [name for name, array in zip(self._names, arrays, strict=True) if not is_finite(array)]
        if bad:
            raise InputError(f"parameters: {', '.join(bad)} hold NaN or infinite values; optimisation needs a finite start")
        self._bounds = Bounds(self._structure, arrays, bounds)
        self._values = [None if isinstance(leaf, Tensor) and leaf.requires_grad else array.copy()
                        for leaf, array in zip(self._leaves, arrays, strict=True)]
        self.check, self.count = check, 0
        self._made: list[Any] = [None] * len(arrays)
        self._states = self._begin()

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group. Setting it sets it for all groups."""
        return self.rates[0]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.groups:
            group.lr = value

    @property
    def rates(self) -> list[float]:
        """The learning rate of the next step, one for each group."""
        return [float(group.rule.at(self.count).lr) for group in self.groups]     # pyright: ignore[reportArgumentType]

    @property
    def parameters(self) -> Any:
        """The tree of the current parameters: the Tensors that were passed, or arrays where arrays were passed; of groups a list."""
        leaves = [leaf if value is None else (Tensor(value) if isinstance(leaf, Tensor) else value.copy())
                  for leaf, value in zip(self._leaves, self._values, strict=True)]
        return trees.unflatten(self._structure, leaves)

    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        """Make one update with the gradients of tracked Tensors (PyTorch's habit) and return the loss, or None without a closure.

        closure: () -> loss; it clears the gradients, computes the loss and calls `.backward()`. Without one the gradients that are there
        are used. A parameter without a gradient is left as it is.
        Raises: InputError if no parameter has a gradient; NonFiniteError, with nothing changed, that names the parameters whose gradients
        are not finite.
        """
        self._refuse_unless_assignable()
        value = None
        if closure is not None:
            value = number(closure())
            if self.check:
                finite_or_refuse(value, type(self).__name__)
        if all(leaf.grad is None for leaf in self._leaves):
            raise InputError("step(): no gradient at any parameter; call backward() first, on a loss that depends on them")
        self._update([None if leaf.grad is None else raw(leaf.grad) for leaf in self._leaves])
        return value

    def advance(self, value_and_grad: Callable[[Any], tuple[Any, Any]]) -> float:
        """Make one update with a function of the tree of parameters that returns (value, tree of gradients); return the value.

        `hp.value_and_grad(f)` is such a function. The value is that before the update.
        """
        present = [Tensor(leaf.data) if value is None else (Tensor(value) if isinstance(leaf, Tensor) else value.copy())
                   for leaf, value in zip(self._leaves, self._values, strict=True)]
        value, gradients = value_and_grad(trees.unflatten(self._structure, present))
        value = number(value)
        slopes = trees.flatten_like(self._structure, gradients, "value_and_grad(): the tree of gradients")
        if self.check:
            finite_or_refuse(value, type(self).__name__)
        self._update([raw(gradient) for gradient in slopes])
        return value

    def restart(self, forget: bool = False) -> None:
        if forget:
            self._states = self._begin()

    def state_dict(self) -> dict[str, Any]:
        """Return count, options and arrays as a tree of NumPy arrays, numbers and text; the parameters are not part of it."""
        return {
            "optimizer": type(self).__name__,
            "count": self.count,
            "options": [_plain(group.rule) for group in self.groups],
            "parameters": [{key: np.array(device.to_numpy(value)) if hasattr(value, "dtype") else value for key, value in state.items()}
                           for state in self._states],
        }

    def load_state_dict(self, state: dict[str, Any], keep_options: bool = False) -> None:
        """Take a state of `state_dict`; with the same parameters, the next step is bit-identical to the one not taken then.

        Numbers among the options (lr, betas, ...) become those of the state; schedules must be the same. keep_options: use the options this
        optimiser was made with instead, as after a change on purpose.
        Raises: InputError that lists everything that does not fit; nothing is changed then.
        """
        problems = [f"{name} is missing" for name in ("optimizer", "count", "options", "parameters") if name not in state]
        rules, states = [group.rule for group in self.groups], []
        if not problems:
            if state["optimizer"] != type(self).__name__:
                problems.append(f"it is of {state['optimizer']}, this is {type(self).__name__}")
            if len(state["options"]) != len(rules):
                problems.append(f"it has {len(state['options'])} groups, this optimiser {len(rules)}")
            elif not keep_options and not problems:
                rules = [_loaded(rule, saved, f"group {i}: ", problems)
                         for i, (rule, saved) in enumerate(zip(rules, state["options"], strict=True))]
            states = self._fitting(state["parameters"], problems)
        if problems:
            raise InputError(f"state: does not fit this {type(self).__name__}: {'; '.join(problems)}. Load the state of an optimiser of "
                             "the same parameters, groups and schedules" + (" (or keep_options=True)" if not keep_options else ""))
        for group, rule in zip(self.groups, rules, strict=True):
            group.rule = rule
        self.count, self._states = int(state["count"]), states
        self._made = [None] * len(states)

    def _grouped(self, given: list[dict[str, Any]], rule: Rule) -> list[Group]:
        groups, first = [], 0
        for place, options in enumerate(given):
            count = sum(1 for _ in trees.paths(trees.flatten(options["params"])[1]))
            different = {name: value for name, value in options.items() if name != "params"}
            try:
                own = rule.replaced(different, f"parameters[{place}]")
            except InputError as error:
                raise InputError(f"group {place}: {error}") from error
            groups.append(Group(own, self._names[first:first + count]))
            first += count
        return groups

    def _begin(self) -> list[dict[str, Any]]:
        present = [leaf.data if value is None else value for leaf, value in zip(self._leaves, self._values, strict=True)]
        return [begin(self.groups[group].rule.of(array.shape), array) for group, array in zip(self._group_of, present, strict=True)]

    def _update(self, gradients: list[Any]) -> None:
        """Make one update; None for a parameter that stays."""
        if state.recorder is not None:
            self._note_update(gradients)
            return
        rules = [group.rule.at(self.count) for group in self.groups]
        places, jobs = [], []
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            writable = self._writable(i)        # first: the names below refer to the array too
            value = self._values[i]
            present = self._leaves[i].data if value is None else value
            matched = matching(gradient, present, self._names[i])
            places.append(i)
            rule = rules[self._group_of[i]].of(present.shape)
            known = present is self._made[i]
            jobs.append(Job(rule, present, matched, self._states[i], present if writable else None, known))
        if self.check:
            self._refuse_nonfinite([self._names[i] for i in places], [job.gradient for job in jobs])
        for i, new in zip(places, apply_all(jobs), strict=True):
            self._made[i] = new
            if self._bounds:
                new = self._bounds.clip(i, new)
            if self._values[i] is None:
                self._leaves[i].assign(Tensor(new))
            else:
                self._values[i] = new
        self.count += 1

    def _note_update(self, gradients: list[Any]) -> None:
        """Note an update in the recording of a function that is being compiled (see autograd/jit): every run makes it."""
        places = [i for i, gradient in enumerate(gradients) if gradient is not None]
        leaves = [self._leaves[i] for i in places]

        def update(arrays: Sequence[Any], renewed: dict[int, Any]) -> None:
            for i, array in renewed.items():
                leaves[i].assign(Tensor(array.copy()))      # out of the program's memory
            present: list[Any] = [None] * len(gradients)
            for place, gradient in zip(places, arrays, strict=True):
                present[place] = gradient
            self._update(present)

        recorder, given = state.recorder, [gradients[i] for i in places]
        recipe = recorded_step(self, places, given, recorder.steps_of(self))
        recorder.update(f"{type(self).__name__}.step", leaves, given, update, recipe)

    def _writable(self, i: int) -> bool:
        """Tell whether this optimiser made the array of a parameter and nobody else refers to it, or to a view of it.

        New values may then be written over the old ones, and no one can tell: no graph, no detached Tensor, no array of the user's.
        """
        ours = self._made[i] is (self._leaves[i].data if self._values[i] is None else self._values[i])
        return ours and type(self._made[i]) is np.ndarray and references(self._made, i) == ALONE

    def _refuse_nonfinite(self, names: list[str], gradients: list[Any]) -> None:
        sums = native.squares(gradients)
        bad = [name for name, gradient, total in zip(names, gradients, sums, strict=True)
               if not np.isfinite(total) and not is_finite(gradient)]
        if bad:
            raise NonFiniteError(f"step(): the gradients of {', '.join(bad)} hold NaN or infinite values at step {self.count}; nothing was "
                                 "changed. Look for the cause with hyperion.debug(nan=True), lower lr, or clip")

    def _fitting(self, saved: list[dict[str, Any]], problems: list[str]) -> list[dict[str, Any]]:
        """Return the states to take, on the parameters' devices; adds to the list of problems."""
        if len(saved) != len(self._states):
            problems.append(f"it has {len(saved)} parameters, this optimiser {len(self._states)}")
            return []
        taken = []
        for name, own, other in zip(self._names, self._states, saved, strict=True):
            if set(own) != set(other):
                problems.append(f"{name}: it has {', '.join(sorted(other))}, this optimiser {', '.join(sorted(own))}")
                continue
            arrays = {}
            for key, value in own.items():
                if not hasattr(value, "dtype"):
                    arrays[key] = int(other[key])
                    continue
                array = np.array(other[key], order="C")
                if array.shape != value.shape or array.dtype != value.dtype:
                    problems.append(f"{name}: {key} has shape {array.shape} and dtype {array.dtype}, it must be {value.shape} and "
                                    f"{value.dtype}")
                arrays[key] = device.to_device(array, device.device_of(value))
            taken.append(arrays)
        return taken


def _groups_of(parameters: Any) -> list[dict[str, Any]] | None:
    """Return the groups, or None if parameters are a plain tree."""
    if not isinstance(parameters, list | tuple) or not parameters:
        return None
    marked = [isinstance(entry, dict) and "params" in entry for entry in parameters]
    if not any(marked):
        return None
    if not all(marked):
        raise InputError(f"parameters: entry {marked.index(False)} is no group, others are; give every entry as a dict with the key "
                         "'params'")
    out = []
    for entry in parameters:
        out.append({**entry, "params": listed(entry["params"])})
    return out


def _plain(rule: Rule) -> dict[str, Any]:
    """Return the options of a rule as a tree of numbers and text."""
    def plain(value: Any) -> Any:
        if isinstance(value, Rule):
            return _plain(value)
        if isinstance(value, Schedule):
            return value.state_dict()
        return list(value) if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in rule.options().items()}


def _loaded(rule: Rule, saved: dict[str, Any], where: str, problems: list[str]) -> Rule:
    """Return the rule with the options of a state; adds to the list of problems."""
    own = _plain(rule)
    if set(own) != set(saved):
        problems.append(f"{where}it has the options {', '.join(sorted(saved))}, this rule {', '.join(sorted(own))}")
        return rule
    options: dict[str, Any] = {}
    for name, value in rule.options().items():
        other = saved[name]
        if isinstance(value, Rule) and isinstance(other, dict):
            options[name] = _loaded(value, other, f"{where}{name}: ", problems)
        elif isinstance(value, Schedule) or isinstance(other, dict):
            if other != own[name]:
                problems.append(f"{where}{name} was {other}, it is {own[name]}")
        else:
            options[name] = tuple(other) if isinstance(value, tuple) else other
    try:
        return rule.replaced(options, "options")
    except InputError as error:
        problems.append(f"{where}{error}")
        return rule
