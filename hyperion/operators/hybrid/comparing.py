"""Time loops side by side: how far each is from the truth, and what a step of it costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import as_tensor
from hyperion.autograd.trees import flatten, flatten_like
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_count
from hyperion.operators.hybrid.unrolling import Step, as_array, refuse_samples, rollout

__all__ = ["Outcome", "compare"]


@dataclass(frozen=True)
class Outcome:
    """What became of the loops of one name.

    states: of the first of them, (examples, times, ...), an array, or a tree of such.
    errors: relative L2, the mean over the examples and over the fields of a tree, of each of them at each time, (loops, times); infinite
        after a blow-up.  seconds: of one step for all examples, the fastest seen; NaN if not measured.
    """

    states: Any
    errors: np.ndarray
    seconds: float

    @property
    def mean(self) -> float:
        """The mean error over the times; of several loops the geometric mean."""
        return float(np.exp(np.log(self.errors.mean(axis=1)).mean()))

    def figures(self, *after: int) -> dict[str, float]:
        """Return figures of merit by name: errors after some steps, the mean over all, and of several loops the least and largest mean."""
        each, count = self.errors.mean(axis=1), self.errors.shape[1]
        found = {f"error after {n} steps": float(self.errors[:, n - 1].mean()) for n in after}
        found[f"mean over {count} steps"] = self.mean
        return found | ({"least mean": float(each.min()), "largest mean": float(each.max())} if len(each) > 1 else {})

    def __str__(self) -> str:
        each = f" ({', '.join(f'{error:.4f}' for error in self.errors.mean(axis=1))})" if len(self.errors) > 1 else ""
        return f"{self.mean:.4f}{each}"


def compare(
    steps: Mapping[str, Step | Sequence[Step]], start: Any, truth: Any, *, project: Callable[[np.ndarray], np.ndarray] | None = None,
    turns: int = 0,
) -> dict[str, Outcome]:
    """Return how steps of time loops do from the same states, by name: states, errors over time, cost.

    steps: by name, a function of a state that returns the next, or a list of alike ones (a network trained with several seeds).
    start: the states they start from, (examples, ...), or a mapping that has them for each name (other grids).
    truth: an array (examples, times, ...), the states to find after 1, 2, ... steps, or a tree of such, with a start like it.
    project: what makes states of other grids comparable with the truth: a function of an array (examples, times, ...), or of the tree.
    turns: how often the first step of each name is timed, one after the other, so that all see the same machine; 0: not at all.
    Raises: InputError without steps, or a start for each, and that names the sample where start or truth are not finite; ShapeError,
        TreeError if a projected state is not like the truth.

    >>> start, truth = np.ones((2, 1, 8), np.float32), np.full((2, 3, 1, 8), 0.5, np.float32)
    >>> found = compare({"half": lambda u: 0.5 * u, "all": [lambda u: u, lambda u: 1.1 * u]}, start, truth)
    >>> found["half"].errors.round(3).tolist(), str(found["all"])
    ([[0.0, 0.5, 0.75]], '1.1947 (1.0000, 1.4273)')
    """
    loops = {name: list(each) if isinstance(each, Sequence) else [each] for name, each in steps.items()}
    if not loops or not all(loops.values()):
        raise InputError(f"compare(steps for {list(steps)!r}): give at least one step for at least one name")
    truth, turns = hp.tree_map(as_array, truth), as_count(turns, "compare(turns)", 0)
    each_own = isinstance(start, Mapping) and not (isinstance(truth, Mapping) and set(start) == set(truth))     # else it is a state
    if missing := [name for name in loops if each_own and name not in start]:
        raise InputError(f"compare(start): none for {missing!r}; give one for each name, or one for all")
    starts = {name: hp.tree_map(as_tensor, start[name] if each_own else start) for name in loops}
    times = _checked(starts, truth)
    seconds = _costs({name: each[0] for name, each in loops.items()}, starts, turns)
    found = {}
    for name, each in loops.items():
        shown, errors = [], []
        for step in each:
            with hp.no_grad():
                states = hp.tree_map(lambda x: x.to("cpu").numpy(), rollout(step, starts[name], times))
            states = states if project is None else project(states)
            shown = [*shown, states][:1]
            errors.append(_apart(states, truth, name).mean(axis=0))
        found[name] = Outcome(shown[0], np.array(errors), seconds[name])
    return found


def _checked(starts: Mapping[str, Any], truth: Any) -> int:
    """Return the number of times of the truth, all of it checked."""
    fields = flatten(truth)[0]
    if not fields or any(x.ndim < 3 or not x.size for x in fields) or len({x.shape[:2] for x in fields}) != 1:
        shapes = ", ".join(str(x.shape) for x in fields)
        raise ShapeError(f"compare(truth of shape {shapes}): must be (examples, times, ...), with something in it")
    for x in fields:
        refuse_samples(x, "compare(truth)")
    for name, state in starts.items():
        for x in flatten(state)[0]:
            refuse_samples(x.to("cpu").numpy(), f"compare(start) of {name!r}")
    return fields[0].shape[1]


def _apart(states: Any, truth: Any, name: str) -> np.ndarray:
    """Return relative L2 distances (examples, times), means over fields, infinite where states are not finite."""
    needed, structure = flatten(truth)
    apart = []
    for x, y in zip(flatten_like(structure, states, f"compare: the states of {name!r}"), needed, strict=True):
        if x.shape != y.shape:
            raise ShapeError(f"compare: {name!r} gives states of shape {x.shape}, the truth has {y.shape}; they must agree, "
                             "if need be after project=")
        axes = tuple(range(2, y.ndim))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            gap = np.square(x - y).sum(axis=axes)
            away = np.where(gap == 0.0, 0.0, np.sqrt(gap / np.square(y).sum(axis=axes)))                # a field of zeros, met exactly
        apart.append(np.nan_to_num(away, nan=np.inf, posinf=np.inf))
    return np.mean(apart, axis=0)


def _costs(steps: Mapping[str, Step], starts: Mapping[str, Any], turns: int) -> dict[str, float]:
    """Return the shortest time of a step of each name, [s], over turns in which they take part one after the other."""
    best = dict.fromkeys(steps, np.nan)
    with hp.no_grad():
        for _ in range(turns):
            for name, step in steps.items():
                began = time.perf_counter()
                hp.tree_map(lambda x: x.to("cpu").numpy(), step(starts[name]))
                best[name] = float(np.fmin(best[name], time.perf_counter() - began))
    return best
