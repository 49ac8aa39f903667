"""Elementwise arithmetic and functions. Angles are in radians."""

from typing import Any

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.table import elementwise
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError

__all__ = [
    "abs", "add", "clip", "cos", "divide", "exp", "log", "maximum", "minimum", "multiply", "negative", "power", "sign", "sin", "sqrt",
    "square", "subtract", "tanh",
]

add = elementwise("add", lambda xp, x, y: x + y, 1, 1, doc="Return x + y for each element.")
subtract = elementwise("subtract", lambda xp, x, y: x - y, 1, -1, doc="Return x - y for each element.")
multiply = elementwise(
    "multiply", lambda xp, x, y: x * y, lambda out, x, y: y, lambda out, x, y: x, doc="Return x * y for each element."
)
divide = elementwise(
    "divide", lambda xp, x, y: x / y, lambda out, x, y: 1.0 / y, lambda out, x, y: -out / y,
    floating=True, doc="Return x / y for each element.",
)
negative = elementwise("negative", lambda xp, x: -x, -1, doc="Return -x for each element.")
sign = elementwise("sign", lambda xp, x: xp.sign(x), 0, doc="Return -1, 0 or 1 for each element.")
abs = elementwise(
    "abs", lambda xp, x: xp.abs(x), lambda out, x: sign(x), doc="Return the absolute value of each element; the derivative at 0 is 0."
)
square = elementwise("square", lambda xp, x: x * x, lambda out, x: 2.0 * x, doc="Return x * x for each element.")
sqrt = elementwise(
    "sqrt", lambda xp, x: xp.sqrt(x), lambda out, x: 0.5 / out, floating=True, doc="Return the square root of each element."
)
exp = elementwise("exp", lambda xp, x: xp.exp(x), lambda out, x: out, floating=True, doc="Return e to the power of each element.")
log = elementwise(
    "log", lambda xp, x: xp.log(x), lambda out, x: 1.0 / x, floating=True, doc="Return the natural logarithm of each element."
)
sin = elementwise("sin", lambda xp, x: xp.sin(x), lambda out, x: cos(x), floating=True, doc="Return the sine of each element [rad].")
cos = elementwise("cos", lambda xp, x: xp.cos(x), lambda out, x: -sin(x), floating=True, doc="Return the cosine of each element [rad].")
tanh = elementwise(
    "tanh", lambda xp, x: xp.tanh(x), lambda out, x: 1.0 - out * out, floating=True, doc="Return the hyperbolic tangent of each element."
)
# Where both are equal each gets half, as in PyTorch and JAX.
maximum = elementwise(
    "maximum", lambda xp, x, y: xp.maximum(x, y), lambda out, x, y: (x > y) + 0.5 * (x == y), lambda out, x, y: (y > x) + 0.5 * (x == y),
    doc="Return the larger of x and y for each element; where they are equal, each has derivative 1/2.",
)
minimum = elementwise(
    "minimum", lambda xp, x, y: xp.minimum(x, y), lambda out, x, y: (x < y) + 0.5 * (x == y), lambda out, x, y: (y < x) + 0.5 * (x == y),
    doc="Return the smaller of x and y for each element; where they are equal, each has derivative 1/2.",
)
# log(1) at x = 0: the derivative of 0 ** y is 0, not 0 * inf.
_power = elementwise(
    "power", lambda xp, x, y: x ** y, lambda out, x, y: y * _power(x, y - 1.0), lambda out, x, y: out * log(x + (x == 0))
)
_power_number = elementwise(
    "power_number", lambda xp, x, exponent: x ** exponent, lambda out, x, exponent: exponent * power(x, exponent - 1)
)
_clip = elementwise(
    "clip", lambda xp, x, lower, upper: xp.minimum(xp.maximum(x, lower), upper), lambda out, x, lower, upper: (x >= lower) & (x <= upper)
)


def power(x: Any, y: Any) -> Tensor:
    """Return x ** y for each element.

    x, y: Tensors, arrays or numbers. With y a Python number the derivative is exact at x = 0 and for negative x, to any order.

    >>> from hyperion.autograd import grad
    >>> grad(lambda x: power(x, 3))(-2.0)
    Tensor () float32, cpu: 12.
    """
    if type(y) not in (int, float):
        return _power(x, y)
    x = as_tensor(x)
    if isinstance(y, float) and not is_inexact(x.dtype):
        x = divide(x, 1.0)
    if y == 2:
        return square(x)
    if y == 1:
        return x
    if y == 0:
        return Tensor(x.data ** 0)
    if y == 0.5:
        return sqrt(x)
    if y == -1 and is_inexact(x.dtype):
        return divide(1.0, x)
    return _power_number(x, exponent=y)


def clip(x: Any, lower: Any = None, upper: Any = None) -> Tensor:
    """Return x with values below `lower` or above `upper` replaced by them.

    lower, upper: numbers, or Tensors or arrays that broadcast with x; None: no bound. With numbers the derivative on the bounds is 1.
    Raises: ShapeError if the shapes do not combine.

    >>> clip([-1.0, 0.5, 3.0], 0.0, 1.0)
    Tensor (3,) float32, cpu: [0.  0.5 1. ]
    """
    numbers = (int, float, type(None))
    if type(lower) in numbers and type(upper) in numbers and is_inexact(as_tensor(x).dtype):
        low, high = -float("inf") if lower is None else lower, float("inf") if upper is None else upper
        if low > high:
            raise InputError(f"clip: lower={lower} exceeds upper={upper}; give lower <= upper")
        return _clip(x, lower=low, upper=high)
    x = as_tensor(x) if lower is None else maximum(x, lower)
    return x if upper is None else minimum(x, upper)
