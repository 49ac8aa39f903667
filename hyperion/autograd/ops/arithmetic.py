"""Elementwise arithmetic and the most used functions. Angles are in radians; complex derivatives are holomorphic unless said."""

from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex, is_floating, is_inexact, is_integer
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import conj, real_only
from hyperion.autograd.ops.shaping import astype
from hyperion.autograd.table import elementwise
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError

__all__ = [
    "abs", "add", "clip", "cos", "divide", "exp", "log", "maximum", "minimum", "multiply", "negative", "positive", "pow", "power",
    "reciprocal", "sign", "sin", "sqrt", "square", "subtract", "tanh",
]

add = elementwise("add", lambda xp, x, y: x + y, 1, 1, doc="Return x + y for each element.")
subtract = elementwise("subtract", lambda xp, x, y: x - y, 1, -1, doc="Return x - y for each element.")
multiply = elementwise(
    "multiply", lambda xp, x, y: x * y, lambda out, x, y: y, lambda out, x, y: x, degree=2, doc="Return x * y for each element."
)
reciprocal = elementwise(
    "reciprocal", lambda xp, x: xp.reciprocal(x), lambda out, x: -out * out, floating=True, doc="Return 1 / x for each element."
)
divide = elementwise(
    "divide", lambda xp, x, y: x / y, lambda out, x, y: reciprocal(y), lambda out, x, y: -out * reciprocal(y),
    floating=True, doc="Return x / y for each element.",
)
negative = elementwise("negative", lambda xp, x: -x, -1, doc="Return -x for each element.")
positive = elementwise("positive", lambda xp, x: xp.positive(x), 1, doc="Return +x for each element: x as it is.")
_sign = elementwise("sign", lambda xp, x: xp.sign(x), 0)
# A complex value of size 0 has the derivative 0, as a real one.
abs = elementwise(
    "abs", lambda xp, x: xp.abs(x), lambda out, x: _slope_of_size(out, x) if is_complex(x.dtype) else _sign(x),
    doc="Return the absolute value of each element; the derivative at 0 is 0.",
)
square = elementwise("square", lambda xp, x: x * x, lambda out, x: 2 * x, doc="Return x * x for each element.")
sqrt = elementwise(
    "sqrt", lambda xp, x: xp.sqrt(x), lambda out, x: 0.5 * reciprocal(out), floating=True, doc="Return the square root of each element."
)
exp = elementwise("exp", lambda xp, x: xp.exp(x), lambda out, x: out, floating=True, doc="Return e to the power of each element.")
log = elementwise(
    "log", lambda xp, x: xp.log(x), lambda out, x: reciprocal(x), floating=True, doc="Return the natural logarithm of each element."
)
sin = elementwise("sin", lambda xp, x: xp.sin(x), lambda out, x: cos(x), floating=True, doc="Return the sine of each element [rad].")
cos = elementwise("cos", lambda xp, x: xp.cos(x), lambda out, x: -sin(x), floating=True, doc="Return the cosine of each element [rad].")
tanh = elementwise(
    "tanh", lambda xp, x: xp.tanh(x), lambda out, x: 1.0 - out * out, floating=True, doc="Return the hyperbolic tangent of each element."
)


def _slope_of_size(size: Tensor, z: Tensor) -> Tensor:
    zero = size == 0
    return where(zero, 0.0, conj(z)) * reciprocal(size + zero)


def _share(chosen: Tensor, equal: Tensor, out: Tensor) -> Tensor:
    """Return the derivative of a choice: 1 where this input was chosen, and half where both are equal, as in PyTorch and JAX."""
    return where(equal, 0.5, astype(chosen, out.dtype))


maximum = elementwise(
    "maximum", real_only(lambda xp, x, y: xp.maximum(x, y)),
    lambda out, x, y: _share(x > y, x == y, out), lambda out, x, y: _share(y > x, x == y, out),
    doc="Return the larger of x and y for each element; where they are equal, each has derivative 1/2.",
)
minimum = elementwise(
    "minimum", real_only(lambda xp, x, y: xp.minimum(x, y)),
    lambda out, x, y: _share(x < y, x == y, out), lambda out, x, y: _share(y < x, x == y, out),
    doc="Return the smaller of x and y for each element; where they are equal, each has derivative 1/2.",
)
# At x = 0: log(1), since the derivative of 0 ** y is 0, not 0 * inf; and 1 ** -1 where y = 0 too, since that of x ** 0 is 0.
_power = elementwise(
    "power", lambda xp, x, y: x ** y,
    lambda out, x, y: y * _power(x + ((x == 0) & (y == 0)), y - 1.0), lambda out, x, y: out * log(x + (x == 0)),
)
_power_number = elementwise(
    "power_number", lambda xp, x, exponent: x ** exponent,
    lambda out, x, exponent: exponent * power(x, exponent - 1) if exponent else 0 * _sign(x),
)
_clip = elementwise(
    "clip", lambda xp, x, lower, upper: xp.minimum(xp.maximum(x, lower), upper), lambda out, x, lower, upper: (x >= lower) & (x <= upper)
)
_clip_between = elementwise(
    "clip_between", lambda xp, x, lower, upper: xp.minimum(xp.maximum(x, lower), upper),
    lambda out, x, lower, upper: (x >= lower) & (x <= upper), lambda out, x, lower, upper: (x < lower) & (lower <= upper),
    lambda out, x, lower, upper: (x > upper) | (lower > upper),
)


def as_number(value: Any, name: str) -> float:
    """Return an option as a Python float, or refuse it."""
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)         # pyright: ignore[reportUnknownArgumentType]
    raise InputError(f"{name}={value!r} must be a Python number")


def sign(x: Any) -> Tensor:
    """Return -1, 0 or 1 for each element; of a complex one z / |z|, or 0 at 0. The derivative of a real element is 0.

    >>> sign([-2.0, 0.0, 5.0])
    Tensor (3,) float32, cpu: [-1.  0.  1.]
    """
    x = as_tensor(x)
    if not is_complex(x.dtype):
        return _sign(x)
    size = abs(x)
    return where(size == 0, 0.0, x / where(size == 0, 1.0, size))


def power(x1: Any, x2: Any) -> Tensor:
    """Return x1 ** x2 for each element.

    x1, x2: Tensors, arrays or numbers. With x2 a Python number the derivative is exact at x1 = 0 and for negative x1, to any order.
    Raises: DtypeError for an integer x1 to a negative integer number, whose result is no integer.

    >>> from hyperion.autograd import grad
    >>> grad(lambda x: power(x, 3))(-2.0)
    Tensor () float32, cpu: 12.
    """
    if type(x2) not in (int, float):
        return _power(x1, x2)
    x1 = as_tensor(x1)
    if isinstance(x2, float) and not is_inexact(x1.dtype):
        x1 = divide(x1, 1.0)
    if x2 < 0 and is_integer(x1.dtype):
        raise DtypeError(f"power(x1, x2): x1 is {x1.dtype} and x2={x2} is negative, so the result is no integer: use x1.astype('float32')")
    if x2 == 2:
        return square(x1)
    if x2 == 1:
        return positive(x1)
    if x2 == 0.5:
        return sqrt(x1)
    if x2 == -1:
        return reciprocal(x1)
    return _power_number(x1, exponent=x2)


pow = power


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """Return x with values below `min` or above `max` replaced by them, in the dtype of x.

    min, max: numbers, or Tensors or arrays that broadcast with x; None: no bound. On a bound the derivative belongs to x. Where an array's
        min exceeds its max the result is max.
    Raises: ShapeError if the shapes do not combine; DtypeError if x is complex or bool; InputError if numbers min > max.

    >>> clip([-1.0, 0.5, 3.0], 0.0, 1.0)
    Tensor (3,) float32, cpu: [0.  0.5 1. ]
    """
    x = as_tensor(x)
    if not (is_floating(x.dtype) or is_integer(x.dtype)):
        raise DtypeError(f"clip(x, min, max): x is {x.dtype}, which has no order to clip by; it must be real: take real(x) or abs(x)")
    if min is None and max is None:
        return x
    numbers = (int, float, type(None))
    if type(min) in numbers and type(max) in numbers and min is not None and max is not None and min > max:
        raise InputError(f"clip: min={min} exceeds max={max}; give min <= max")
    if is_floating(x.dtype):
        low, high = -float("inf") if min is None else min, float("inf") if max is None else max
        if type(low) in numbers and type(high) in numbers:
            return _clip(x, lower=float(low), upper=float(high))
    else:
        low, high = (_inside(bound, x.dtype, side) for bound, side in ((min, "min"), (max, "max")))
    return astype(_clip_between(x, low, high), x.dtype)


def _inside(bound: Any, dtype: np.dtype[Any], side: str) -> Any:
    """Return a bound of integers as a number that their dtype holds; None as the end of its range."""
    if bound is None:
        return int(getattr(np.iinfo(dtype), side))
    if type(bound) is int:
        lower, upper = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return lower if bound < lower else upper if bound > upper else bound
    return bound
