"""Stages: which frequencies, on which grid, with which shots, by which optimiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeAlias

from hyperion.errors import InputError
from hyperion.inversion.checks import is_number, is_whole
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

    if not is_whole(memory):
        raise InputError(f"by_lbfgs(memory={memory!r}): must be a whole number of at least 1, the pairs kept")
    if first_step is not None and not (is_number(first_step) and first_step > 0.0):
        raise InputError(f"by_lbfgs(first_step={first_step!r}): must be above 0 [unit of the model], or None")

    def make(start: Any, bounds: tuple[Any, Any], preconditioner: Callable[[Any], Any]) -> Optimizer:
        return LBFGS(start, bounds, memory, first_step or 0.015 * float(start.mean()), preconditioner)

    return make


def by_adam(rate: float) -> Method:
    """Return Adam as the method of a stage. It scales each node by itself, so the preconditioner is not used.

    rate: typical change of one iteration [unit of the model].

    >>> Stage(batch=4, method=by_adam(rate=20.0)).batch
    4
    """
    if not (is_number(rate) and rate > 0.0):
        raise InputError(f"by_adam(rate={rate!r}): must be above 0 [unit of the model]")
    return lambda start, bounds, preconditioner: Adam(start, lr=rate, bounds=bounds)


@dataclass(frozen=True)
class Stage:
    """One stage of the inversion.

    lowpass: filter of data and wavelet, None for all frequencies. coarsen: how many times coarser the grid is.
    iterations: at most this many. seconds: stop after this time; None for no limit (then a resumed run repeats an undisturbed one bit
    by bit). batch: shots per batch, None for all. repeats: iterations made with one batch. receivers: use every n-th receiver.
    smoothing: Gaussian length of the preconditioner [m].
    method: `by_lbfgs(...)`, `by_adam(...)`, or your own function of (start, bounds, preconditioner) that returns an optimiser.
    penalty: added to the misfit, which is relative to the energy of the data: a function of the model, a Tensor on the stage's grid,
        that returns a Tensor of one number, such as `TotalVariation(...)`; or None.
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
    penalty: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.lowpass is not None and not isinstance(self.lowpass, Lowpass):
            raise InputError(f"Stage(lowpass={self.lowpass!r}): give a filter such as Gaussian(5.0), or None for all frequencies")
        for name in ("coarsen", "iterations", "repeats", "receivers"):
            if not is_whole(getattr(self, name)):
                raise InputError(f"Stage({name}={getattr(self, name)!r}): must be a whole number of at least 1")
        if self.seconds is not None and not (isinstance(self.seconds, Real) and self.seconds > 0.0):
            raise InputError(f"Stage(seconds={self.seconds!r}): must be above 0, or None")
        if self.batch is not None and not is_whole(self.batch):
            raise InputError(f"Stage(batch={self.batch!r}): must be a whole number of at least 1, or None for all shots")
        lengths: Sequence[Any] = self.smoothing if isinstance(self.smoothing, list | tuple) else [self.smoothing]
        if not lengths or not all(is_number(length) and length >= 0.0 for length in lengths):
            raise InputError(f"Stage(smoothing={self.smoothing!r}): must be a length [m] of at least 0, or one for each axis")
        for name, example in (("method", "by_lbfgs()"), ("penalty", "TotalVariation(1e-3, grid.spacing)")):
            value = getattr(self, name)
            if isinstance(value, type) or value is by_lbfgs or value is by_adam:
                raise InputError(f"Stage({name}={value.__name__}): that makes one; call it: {name}={example}")
        if not callable(self.method):
            raise InputError(f"Stage(method={self.method!r}): give by_lbfgs(...), by_adam(rate), or a function that makes an optimiser")
        if self.penalty is not None and not callable(self.penalty):
            raise InputError(f"Stage(penalty={self.penalty!r}): give a function of the model such as TotalVariation(...), or None")
