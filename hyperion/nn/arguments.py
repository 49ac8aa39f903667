"""Checks of the arguments that layers share."""

import operator
from collections.abc import Callable
from typing import Any

from hyperion.errors import InputError

__all__ = ["as_activation", "as_count", "as_fraction"]


def as_activation(value: Any, owner: str) -> Callable[..., Any]:
    """Return an activation, or refuse what cannot be called; `owner` is the layer that it was given to.

    >>> as_activation(abs, "MLP")
    <built-in function abs>
    """
    if not callable(value):
        raise InputError(f"{owner}(activation)={value!r} must be a function of a Tensor, such as hyperion.gelu")
    return value


def as_count(value: Any, what: str, lowest: int = 1) -> int:
    """Return an argument as an integer, or refuse it; `what` is the argument as typed.

    >>> as_count(3, "Linear(inputs)")
    3
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{what}={value!r} must be an integer, {lowest} or more") from error
    if number < lowest or isinstance(value, bool):
        raise InputError(f"{what}={value!r} must be an integer, {lowest} or more")
    return number


def as_fraction(value: Any, what: str) -> float:
    """Return an argument as a number from 0 to 1, or refuse it.

    >>> as_fraction(0.5, "Dropout(probability)")
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise InputError(f"{what}={value!r} must be a number from 0 to 1")
    return float(value)
