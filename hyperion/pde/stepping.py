"""Time stepping: what is asked for, what a solve will do, and what it needs of step and grid."""
import functools
import math
from dataclasses import dataclass

import numpy as np

from hyperion.errors import InputError

from . import stencils
from .checks import is_positive, is_whole
from .stencils import LeastSquares, Taylor

MOST_SUBSTEPS = 10_000                                 # more than this per sample is a mistake in the units


@dataclass(frozen=True)
class Leapfrog:
    """Second-order time stepping.

    max_speed: the fastest speed the step is made stable for [m/s]; default: the model's, rounded up to two digits (so that small changes
    of a model do not change the step). substeps: steps per sample of the wavelet; default: the fewest that are stable.
    corrected: whether the error of the time stepping is removed from wavelet and gathers (two matrix products in time; see
    `pde/dispersion.py`); frequencies above a quarter of the internal sampling rate are lost then.
    Raises: InputError for values that cannot be.

    >>> Leapfrog(max_speed=5000.0)
    Leapfrog(max_speed=5000.0, substeps=None, corrected=False)
    """

    max_speed: float | None = None
    substeps: int | None = None
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.max_speed is not None and not is_positive(self.max_speed):
            raise InputError(f"Leapfrog(max_speed={self.max_speed!r}): give a positive speed [m/s], or None")
        if self.substeps is not None and not is_whole(self.substeps, 1):
            raise InputError(f"Leapfrog(substeps={self.substeps!r}): give a whole number of at least 1, or None")
        # Plain numbers: a NumPy float32 would pull what is computed from it down to its own precision.
        for name, value, kind in (("max_speed", self.max_speed, float), ("substeps", self.substeps, int)):
            object.__setattr__(self, name, None if value is None else kind(value))


@dataclass(frozen=True)
class Plan:
    """What a solve will do: printed, it says steps, sampling and memory.

    step: internal step [s]; substeps: of them per sample; limit: the largest stable step [s]; steps: internal steps in all.
    points: grid points per shortest wavelength; every: steps between kept states; history_bytes: kept per shot for a gradient.
    """

    step: float
    substeps: int
    limit: float
    steps: int
    max_speed: float
    points: float
    every: int
    history_bytes: int

    def __str__(self) -> str:
        return (f"{self.steps} steps of {self.step * 1e3:.4g} ms ({self.substeps} per sample; stable up to {self.limit * 1e3:.4g} ms for "
                f"{self.max_speed:g} m/s), {self.points:.1f} points per shortest wavelength, a gradient keeps every "
                f"{self.every}. step, {self.history_bytes / 1e6:.0f} MB a shot")


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
