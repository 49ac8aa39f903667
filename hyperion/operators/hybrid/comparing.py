"""Time loops side by side: how far each is from the truth, and what a step of it costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_count
from hyperion.operators.hybrid.unrolling import Step, rollout

__all__ = ["Outcome", "compare"]


@dataclass(frozen=True)
class Outcome:
    """What became of the loops of one name.

    states: of the first of them, (examples, times, ...), an array.  errors: relative L2, the mean over the examples, of each of them at
        each time, (loops, times); infinite after a blow-up.  seconds: of one step for all examples, the fastest seen; NaN if not measured.
    """

    states: np.ndarray
    errors: np.ndarray
    seconds: float

    @property
    def mean(self) -> float:
        """The mean error over the times; of several loops the geometric mean."""
        return float(np.exp(np.log(self.errors.mean(axis=1)).mean()))

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
    truth: an array (examples, times, ...), the states to find after 1, 2, ... steps.  project: what makes states of other grids comparable
        with it: a function of an array (examples, times, ...).
    turns: how often the first step of each name is timed, one after the other, so that all see the same machine; 0: not at all.
    Raises: InputError without steps, or a start for each; ShapeError if a projected state has another shape than the truth.

    >>> start, truth = np.ones((2, 1, 8), np.float32), np.full((2, 3, 1, 8), 0.5, np.float32)
    >>> found = compare({"half": lambda u: 0.5 * u, "all": [lambda u: u, lambda u: 1.1 * u]}, start, truth)
    >>> found["half"].errors.round(3).tolist(), str(found["all"])
    ([[0.0, 0.5, 0.75]], '1.1947 (1.0000, 1.4273)')
    """
    loops = {name: list(each) if isinstance(each, Sequence) else [each] for name, each in steps.items()}
    if not loops or not all(loops.values()):
        raise InputError(f"compare(steps for {list(steps)!r}): give at least one step for at least one name")
    if missing := [name for name in loops if isinstance(start, Mapping) and name not in start]:
        raise InputError(f"compare(start): none for {missing!r}; give one for each name, or one for all")
    truth, turns = np.asarray(truth), as_count(turns, "compare(turns)", 0)
    starts = {name: as_tensor(start[name] if isinstance(start, Mapping) else start) for name in loops}
    seconds = _costs({name: each[0] for name, each in loops.items()}, starts, turns)
    found = {}
    for name, each in loops.items():
        shown, errors = [], []
        for step in each:
            with hp.no_grad():
                states = rollout(step, starts[name], truth.shape[1]).to("cpu").numpy()
            states = states if project is None else project(states)
            if states.shape != truth.shape:
                raise ShapeError(f"compare: {name!r} gives states of shape {states.shape}, the truth has {truth.shape}; they must agree, "
                                 "if need be after project=")
            shown = [*shown, states][:1]
            errors.append(_apart(states, truth).mean(axis=0))
        found[name] = Outcome(shown[0], np.array(errors), seconds[name])
    return found


def _apart(states: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return relative L2 distances (examples, times), infinite where states are not finite."""
    axes = tuple(range(2, truth.ndim))
    with np.errstate(over="ignore", invalid="ignore"):
        away = np.sqrt(np.square(states - truth).sum(axis=axes) / np.square(truth).sum(axis=axes))
    return np.nan_to_num(away, nan=np.inf, posinf=np.inf)


def _costs(steps: Mapping[str, Step], starts: Mapping[str, Tensor], turns: int) -> dict[str, float]:
    """Return the shortest time of a step of each name, [s], over turns in which they take part one after the other."""
    best = dict.fromkeys(steps, np.nan)
    with hp.no_grad():
        for _ in range(turns):
            for name, step in steps.items():
                began = time.perf_counter()
                step(starts[name]).to("cpu").numpy()
                best[name] = float(np.fmin(best[name], time.perf_counter() - began))
    return best
