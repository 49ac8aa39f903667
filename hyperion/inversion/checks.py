"""What arguments of inversions are checked for."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from hyperion.errors import InputError, ShapeError

__all__ = ["is_number", "is_whole", "refuse_gathers", "two_bounds"]


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any, least: int = 1) -> bool:
    """Tell whether a value is a whole number, of Python or NumPy, of at least `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def two_bounds(bounds: Any, name: str) -> tuple[float, float]:
    """Return (lower, upper) as floats. Raises: InputError, which begins with `name`, unless they are two finite numbers in that order.

    >>> two_bounds([1400, 5000.0], "FWI")
    (1400.0, 5000.0)
    """
    pair = bounds if isinstance(bounds, Sequence | np.ndarray) and not isinstance(bounds, str) and len(bounds) == 2 else ()
    if not pair or not all(is_number(bound) for bound in pair) or not pair[0] < pair[1]:
        raise InputError(f"{name}(bounds={bounds!r}): give two numbers (lower, upper), lower < upper, in the unit of the model")
    return float(pair[0]), float(pair[1])


def refuse_gathers(observed: Any, survey: Any) -> None:
    """Raise for observed gathers, an array, that a survey does not give, or that cannot be inverted: ShapeError, InputError."""
    expected = (survey.shots, survey.receivers.shape[1], survey.wavelet.steps)
    if observed.shape != expected:
        raise ShapeError(f"observed has shape {observed.shape}, the survey gives {expected} (shots, receivers, steps); they must agree")
    unfit = ~np.isfinite(observed)
    if unfit.any():
        shot, receiver, _ = (int(i) for i in np.argwhere(unfit)[0])
        raise InputError(f"observed: holds NaN or infinite values, first in shot {shot} at receiver {receiver}; mute or interpolate those "
                         "traces first")
    if not observed.any():
        raise InputError("observed: is zero everywhere, so there is nothing to invert; check the file and the dataset")
