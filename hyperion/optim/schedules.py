"""Schedules: learning rates (or other options) as functions of the step. They are values: `optim.AdamW(parameters, lr=optim.Cosine(...))`.

A schedule has no state. `schedule(step)` is the value that step uses, counted from 0, and the optimiser's own count of steps is all that a
resumed run needs. So there is no `scheduler.step()` to forget.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperion.errors import InputError, NonFiniteError

__all__ = [
    "WSD", "Constant", "Cosine", "Exponential", "Lambda", "Linear", "OneCycle", "Product", "Schedule", "Sequential", "StepDecay",
]


class Schedule(ABC):
    """Base of the schedules: a function of the step.

    length: how many steps it describes before it stays at its last value; None if it goes on.

    >>> warmed = Linear(0.0, 1.0, steps=4) * Exponential(0.1, factor=0.5)
    >>> [round(warmed(step), 4) for step in range(6)]
    [0.0, 0.0125, 0.0125, 0.0094, 0.0063, 0.0031]
    """

    @property
    def length(self) -> int | None:
        return getattr(self, "steps", None)

    @abstractmethod
    def at(self, step: int) -> float:
        """Return the value of a step."""

    def __call__(self, step: int) -> float:
        """Return the value of a step, counted from 0.

        Raises: NonFiniteError if it is not finite.
        """
        value = float(self.at(step))
        if not math.isfinite(value):
            raise NonFiniteError(f"{self!r}: the value at step {step} is {value}; schedules must be finite")
        return value

    def __mul__(self, other: "Schedule | float") -> "Product":
        return Product((self, other if isinstance(other, Schedule) else Constant(other)))

    __rmul__ = __mul__

    def state_dict(self) -> dict[str, Any]:
        """Return what tells it from others, as a tree of text and numbers. Functions inside are not part of it."""
        fields = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}   # pyright: ignore[reportArgumentType]
        return {"schedule": type(self).__name__, **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.state_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if callable(value) else value


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step. steps: its length inside a Sequential; None: for ever."""

    value: float
    steps: int | None = None

    def __post_init__(self) -> None:
        _finite(self, "value")
        if self.steps is not None:
            _whole(self, "steps")

    def at(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(Schedule):
    """A line from start, at step 0, to end, at step `steps` and after: a warmup, or a decay.

    >>> [Linear(0.0, 1.0, steps=2)(step) for step in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _finite(self, "start", "end")
        _whole(self, "steps")

    def at(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplied by `factor` after every so many steps.

    >>> [StepDecay(1.0, factor=0.5, every=2)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    start: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        _finite(self, "start", "factor")
        _whole(self, "every")

    def at(self, step: int) -> float:
        return self.start * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiplied by `factor` after every step."""

    start: float
    factor: float

    def __post_init__(self) -> None:
        _finite(self, "start", "factor")

    def at(self, step: int) -> float:
        return self.start * self.factor**step


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from start, at step 0, to end, at step `steps` and after. With a warmup before it: see Sequential.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), equation 5, without restarts.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _finite(self, "start", "end")
        _whole(self, "steps")

    def at(self, step: int) -> float:
        return _half_cosine(self.start, self.end, min(step / self.steps, 1.0))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to the peak and down again, by half cosines, in `steps` steps.

    peak: the largest value. warmup: fraction of the steps that rise. start: first value, a fraction of the peak. end: last value, a
    fraction of the first.
    Source: Smith and Topin, Super-convergence (2018); half cosines and fractions as in PyTorch's OneCycleLR.
    """

    peak: float
    steps: int
    warmup: float = 0.3
    start: float = 1.0 / 25.0
    end: float = 1e-4

    def __post_init__(self) -> None:
        _finite(self, "peak", "warmup", "start", "end")
        _whole(self, "steps")
        if not 0.0 < self.warmup < 1.0 or not 1.0 < self.warmup * self.steps < self.steps:
            raise InputError(f"OneCycle(steps={self.steps!r}, warmup={self.warmup!r}): the rise is warmup * steps steps long; it must be "
                             "above 1, and warmup below 1")

    def at(self, step: int) -> float:
        first, top, last = self.peak * self.start, self.warmup * self.steps - 1.0, self.steps - 1.0
        if step <= top:
            return _half_cosine(first, self.peak, step / top)
        return _half_cosine(self.peak, first * self.end, min((step - top) / (last - top), 1.0))


@dataclass(frozen=True)
class WSD(Schedule):
    """Warmup, stable, decay: a line up, the peak, and a short decay to end, in `steps` steps altogether.

    warmup, decay: steps of the rise and of the decay. power: 1 decays along a line, 0.5 as 1 - sqrt.
    Source: Hu et al., MiniCPM (2024), section 4.2; the 1 - sqrt decay: Haegele et al., Scaling laws beyond fixed durations (2024).

    >>> [WSD(1.0, steps=8, warmup=2, decay=4)(step) for step in range(9)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    peak: float
    steps: int
    warmup: int
    decay: int
    end: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        _finite(self, "peak", "end", "power")
        _whole(self, "steps", "warmup", "decay")
        if self.warmup + self.decay > self.steps:
            raise InputError(f"WSD(steps={self.steps}, warmup={self.warmup}, decay={self.decay}): warmup and decay together must be at "
                             "most steps")
        if not self.power > 0.0:
            raise InputError(f"WSD(power={self.power!r}): must be above 0")

    def at(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * step / self.warmup
        done = min(max(step - (self.steps - self.decay), 0) / self.decay, 1.0)
        return self.end + (self.peak - self.end) * (1.0 - done**self.power)


@dataclass(frozen=True)
class Sequential(Schedule):
    """Schedules one after another; each begins at its own step 0 when the one before has used up its length.

    >>> warm = Sequential([Linear(0.0, 1.0, steps=2), Cosine(1.0, 0.0, steps=2)])
    >>> [round(warm(step), 3) for step in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    schedules: Sequence[Schedule]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        if not self.schedules or not all(isinstance(schedule, Schedule) for schedule in self.schedules):
            raise InputError(f"Sequential({self.schedules!r}): give at least one schedule, such as Linear(0.0, 1e-3, steps=100)")
        endless = [schedule for schedule in self.schedules[:-1] if schedule.length is None]
        if endless:
            raise InputError(f"Sequential: {endless[0]!r} has no length, so nothing can follow it; put it last, or give it steps=")

    @property
    def length(self) -> int | None:
        lengths = [schedule.length for schedule in self.schedules]
        return None if lengths[-1] is None else sum(length or 0 for length in lengths)

    def at(self, step: int) -> float:
        for schedule in self.schedules[:-1]:
            if step < (schedule.length or 0):
                return schedule(step)
            step -= schedule.length or 0
        return self.schedules[-1](step)


@dataclass(frozen=True)
class Product(Schedule):
    """The product of schedules that run side by side; `a * b` makes one."""

    schedules: Sequence[Schedule]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        if not self.schedules or not all(isinstance(schedule, Schedule) for schedule in self.schedules):
            raise InputError(f"Product({self.schedules!r}): give at least one schedule, such as Linear(0.0, 1.0, steps=100)")

    @property
    def length(self) -> int | None:
        lengths = [schedule.length for schedule in self.schedules if schedule.length is not None]
        return max(lengths) if len(lengths) == len(self.schedules) else None

    def at(self, step: int) -> float:
        return math.prod(schedule(step) for schedule in self.schedules)


@dataclass(frozen=True)
class Lambda(Schedule):
    """Your own function of the step; `lr=lambda step: ...` makes one. A saved state cannot hold the function: give it again to resume."""

    function: Callable[[int], float]
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            _whole(self, "steps")
        if not callable(self.function):
            raise InputError(f"Lambda({self.function!r}): give a function of the step")

    def at(self, step: int) -> float:
        return self.function(step)


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * done))


def _finite(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{type(schedule).__name__}({name}={value!r}): must be a finite number")


def _whole(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{type(schedule).__name__}({name}={value!r}): must be a whole number of at least 1")
