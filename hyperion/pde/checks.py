"""What a number must be: questions that the constructors of this folder ask at the door, of values of any type."""
import math
from numbers import Real
from typing import Any


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite real number (of Python or NumPy; True and False are not).

    >>> is_number(2.5), is_number("2.5"), is_number(float("nan"))
    (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value: Any) -> bool:
    """Tell whether a value is a finite number above zero.

    >>> is_positive(1e-3), is_positive(0.0), is_positive(None)
    (True, False, False)
    """
    return is_number(value) and value > 0


def is_whole(value: Any, least: int) -> bool:
    """Tell whether a value is a whole number of at least `least`; 8.0 is one.

    >>> is_whole(8.0, 1), is_whole(2.5, 1), is_whole(0, 1), is_whole("8", 1)
    (True, False, False, False)
    """
    return is_number(value) and int(value) == value and value >= least
