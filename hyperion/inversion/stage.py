"""Stages: which frequencies, on which grid, with which shots, by which optimiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hyperion.errors import InputError
from hyperion.inversion.filters import Lowpass
from hyperion.optim import LBFGS, Adam, Optimizer

__all__ = ["Stage", "by_adam", "by_lbfgs"]

Method: TypeAlias = Callable[[Any, tuple[Any, Any], Callable[[Any], Any]], Optimizer]  # (start, bounds, preconditioner) -> optimizer


def by_lbfgs(memory: int = 10, first_step: float | None = None) -> Method:
    """Return L-BFGS as the method of a stage.

    memory: pairs kept. first_step: largest change of the first iteration [unit of the model]; None: 1.5 % of the model's mean.

    >>> Stage(iterations=20, method=by_lbfgs(memory=5)).iterations
    20
    """

    def make(start: Any, bounds: tuple[Any, Any], preconditioner: Callable[[Any], Any]) -> Optimizer:
        return LBFGS(start, bounds, memory, first_step or 0.015 * float(start.mean()), preconditioner)

    return make


def by_adam(rate: float) -> Method:
    """Return Adam as the method of a stage. It scales each node by itself, so the preconditioner is not used.

    rate: typical change of one iteration [unit of the model].

    >>> Stage(batch=4, method=by_adam(rate=20.0)).batch
    4
    """
    return lambda start, bounds, preconditioner: Adam(start, lr=rate, bounds=bounds)


@dataclass(frozen=True)
class Stage:
    """One stage of the inversion.

    lowpass: filter of data and wavelet, None for all frequencies. coarsen: how many times coarser the grid is.
    iterations: at most this many. seconds: stop after this time; None for no limit (then a resumed run repeats an undisturbed one bit
    by bit). batch: shots per batch, None for all. repeats: iterations made with one batch. receivers: use every n-th receiver.
    smoothing: Gaussian length of the preconditioner [m].
    method: `by_lbfgs(...)`, `by_adam(...)`, or your own function of (start, bounds, preconditioner) that returns an optimiser.
    Raises: InputError for numbers that cannot be.

    >>> Stage(coarsen=2, iterations=8, batch=4).repeats
    1
    """

    lowpass: Lowpass | None = None
    coarsen: int = 1
    iterations: int = 10
    seconds: float | None = None
    batch: int | None = None
    repeats: int = 1
    receivers: int = 1
    smoothing: float | Sequence[float] = 0.0
    method: Method = field(default_factory=by_lbfgs)

    def __post_init__(self) -> None:
        for name in ("coarsen", "iterations", "repeats", "receivers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"Stage({name}={value!r}): must be a whole number of at least 1")
        if self.seconds is not None and not self.seconds > 0.0:
            raise InputError(f"Stage(seconds={self.seconds!r}): must be above 0, or None")
