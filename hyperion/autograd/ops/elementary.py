"""Elementary functions: angles [rad] and hyperbolas, exponentials and logarithms, rounding and remainders, signs and special points.

Rounding has the derivative 0 everywhere. Complex derivatives are holomorphic, with NumPy's branch cuts.
"""

import builtins
import math
from collections.abc import Callable
from typing import Any

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import FLOAT, is_complex, is_inexact, is_integer
from hyperion.autograd.inspection import finfo
from hyperion.autograd.ops.activations import sigmoid
from hyperion.autograd.ops.arithmetic import add, as_number, cos, divide, exp, log, multiply, power, reciprocal, sign, sin, subtract
from hyperion.autograd.ops.comparison import isfinite, isinf, isnan, where
from hyperion.autograd.ops.complexes import complex, imag, join, real, real_only
from hyperion.autograd.ops.shaping import astype
from hyperion.autograd.table import elementwise, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, InputError

__all__ = [
    "acos", "acosh", "addcdiv", "addcmul", "angle", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cosh",
    "deg2rad", "exp2", "expm1", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "frexp", "heaviside", "hypot",
    "ldexp", "lerp", "log1p", "log2", "log10", "logaddexp", "logaddexp2", "nan_to_num", "nextafter", "polar", "rad2deg", "remainder",
    "round", "rsqrt", "signbit", "sinc", "sinh", "spherical_bessel_j0", "tan", "trunc", "xlog1py", "xlogy",
]

# Angles and hyperbolas. Products of (1 - x) and (1 + x) keep the digits that 1 - x * x would lose near 1.

tan = elementwise("tan", lambda xp, x: xp.tan(x), lambda out, x: 1.0 + out * out, floating=True, doc="Return the tangent of each element.")
asin = elementwise(
    "asin", lambda xp, x: xp.arcsin(x), lambda out, x: rsqrt((1.0 - x) * (1.0 + x)), floating=True,
    doc="Return the arcsine of each element.",
)
acos = elementwise(
    "acos", lambda xp, x: xp.arccos(x), lambda out, x: -rsqrt((1.0 - x) * (1.0 + x)), floating=True,
    doc="Return the arccosine of each element.",
)
atan = elementwise(
    "atan", lambda xp, x: xp.arctan(x), lambda out, x: reciprocal(1.0 + x * x), floating=True, doc="Return the arctangent of each element."
)
sinh = elementwise(
    "sinh", lambda xp, x: xp.sinh(x), lambda out, x: cosh(x), floating=True, doc="Return the hyperbolic sine of each element."
)
cosh = elementwise(
    "cosh", lambda xp, x: xp.cosh(x), lambda out, x: sinh(x), floating=True, doc="Return the hyperbolic cosine of each element."
)
asinh = elementwise(
    "asinh", lambda xp, x: xp.arcsinh(x), lambda out, x: rsqrt(1.0 + x * x), floating=True,
    doc="Return the inverse hyperbolic sine of each element.",
)
# Two roots: the product of (x - 1) and (x + 1) has another branch cut where Re x < 0.
acosh = elementwise(
    "acosh", lambda xp, x: xp.arccosh(x), lambda out, x: rsqrt(x - 1.0) * rsqrt(x + 1.0), floating=True,
    doc="Return the inverse hyperbolic cosine of each element.",
)
atanh = elementwise(
    "atanh", lambda xp, x: xp.arctanh(x), lambda out, x: reciprocal((1.0 - x) * (1.0 + x)), floating=True,
    doc="Return the inverse hyperbolic tangent of each element.",
)


def _slopes_of_angle(out: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x / (x^2 + y^2) and -y / (x^2 + y^2) without overflow of the squares; 0 at the origin."""
    radius = hypot(x, y)
    origin = radius == 0
    inverse = reciprocal(radius + origin)
    return where(origin, 0.0, x) * inverse * inverse, -where(origin, 0.0, y) * inverse * inverse


def _slope_of_length(length: Tensor, side: Tensor) -> Tensor:
    """Return side / length, and 0 with derivative 0 at the origin."""
    origin = length == 0
    return where(origin, 0.0, side) * reciprocal(length + origin)


atan2 = elementwise(
    "atan2", lambda xp, y, x: xp.arctan2(y, x),
    lambda out, y, x: _slopes_of_angle(out, y, x)[0], lambda out, y, x: _slopes_of_angle(out, y, x)[1], floating=True,
    doc="Return the angle of the point (x2, x1) from the first axis, -pi to pi; the derivative at the origin is 0.",
)
hypot = elementwise(
    "hypot", lambda xp, x, y: xp.hypot(x, y),
    lambda out, x, y: _slope_of_length(out, x), lambda out, x, y: _slope_of_length(out, y), floating=True,
    doc="Return sqrt(x1^2 + x2^2) without overflow for each element; the derivative at the origin is 0.",
)
deg2rad = elementwise(
    "deg2rad", lambda xp, x: x * (math.pi / 180.0), math.pi / 180.0, floating=True, doc="Return angles in degrees as radians."
)
rad2deg = elementwise(
    "rad2deg", lambda xp, x: x * (180.0 / math.pi), 180.0 / math.pi, floating=True, doc="Return angles in radians as degrees."
)

# Exponentials, logarithms and roots.


def _is_complex(x: Any) -> bool:
    return hasattr(x, "dtype") and is_complex(x.dtype)


def _expm1(xp: Any, x: Any) -> Any:
    """exp(a + i b) - 1 = expm1(a) cos(b) - 2 sin(b / 2)^2 + i exp(a) sin(b): no part is a difference of numbers near 1."""
    if not _is_complex(x):
        return xp.expm1(x)
    a, b = xp.real(x), xp.imag(x)
    finite = xp.isfinite(b)
    turn = xp.where(finite, b, 0.0)
    half, sine = xp.sin(turn * 0.5), xp.sin(turn)
    first = xp.expm1(a) * xp.cos(turn) - half * half * 2.0 + 0.0
    second = xp.where(sine == 0, sine, xp.exp(xp.where(sine == 0, 0.0, a)) * sine)       # 0 also where exp(a) is infinite
    first = xp.where(finite, first, xp.where(xp.isinf(a), xp.where(a < 0, -1.0, a), math.nan))
    return join(xp, first.astype(a.dtype), xp.where(finite, second, xp.where(a == -math.inf, 0.0, math.nan)).astype(a.dtype))


def _log1p(xp: Any, x: Any) -> Any:
    """log(1 + a + i b) = log1p(a (2 + a) + b^2) / 2 + i atan2(b, 1 + a), where a and b are not large."""
    if not _is_complex(x):
        return xp.log1p(x)
    a, b = xp.real(x), xp.imag(x)
    near = (xp.abs(a) < 2.0) & (xp.abs(b) < 2.0)
    p, q = xp.where(near, a, 0.0).astype(a.dtype), xp.where(near, b, 0.0).astype(a.dtype)
    excess = xp.maximum(p * (2.0 + p) + q * q, -1.0)
    far = xp.where(near, 1.0, xp.hypot(1.0 + a, b)).astype(a.dtype)
    return join(xp, xp.where(near, 0.5 * xp.log1p(excess), xp.log(far)), xp.arctan2(b, 1.0 + a))


expm1 = elementwise(
    "expm1", _expm1, lambda out, x: exp(x), floating=True, doc="Return exp(x) - 1 for each element, exact to rounding near 0."
)
log1p = elementwise(
    "log1p", _log1p, lambda out, x: reciprocal(1.0 + x), floating=True, doc="Return log(1 + x) for each element, exact to rounding near 0."
)
exp2 = elementwise(
    "exp2", lambda xp, x: xp.exp2(x), lambda out, x: out * math.log(2.0), floating=True, doc="Return 2 ** x for each element."
)
log2 = elementwise(
    "log2", lambda xp, x: xp.log2(x), lambda out, x: reciprocal(x) * (1.0 / math.log(2.0)), floating=True,
    doc="Return the logarithm to the base 2 of each element.",
)
log10 = elementwise(
    "log10", lambda xp, x: xp.log10(x), lambda out, x: reciprocal(x) * (1.0 / math.log(10.0)), floating=True,
    doc="Return the logarithm to the base 10 of each element.",
)
cbrt = elementwise(
    "cbrt", lambda xp, x: xp.cbrt(x), lambda out, x: reciprocal(3.0 * out * out), floating=True,
    doc="Return the real cube root of each element.",
)
rsqrt = elementwise(
    "rsqrt", lambda xp, x: xp.reciprocal(xp.sqrt(x)), lambda out, x: -0.5 * out * out * out, floating=True,
    doc="Return 1 / sqrt(x) for each element.",
)


def _difference(x: Tensor, y: Tensor) -> Tensor:
    """Return x - y, and 0 where both are the same infinity."""
    same = (x == y) & isinf(x)
    return where(same, 0.0, x) - where(same, 0.0, y)


logaddexp = elementwise(
    "logaddexp", lambda xp, x, y: xp.logaddexp(x, y),
    lambda out, x, y: sigmoid(_difference(x, y)), lambda out, x, y: sigmoid(_difference(y, x)), floating=True,
    doc="Return log(exp(x1) + exp(x2)) for each element without overflow; at equal infinities each has derivative 1/2.",
)
logaddexp2 = elementwise(
    "logaddexp2", lambda xp, x, y: xp.logaddexp2(x, y), lambda out, x, y: sigmoid(_difference(x, y) * math.log(2.0)),
    lambda out, x, y: sigmoid(_difference(y, x) * math.log(2.0)), floating=True,
    doc="Return log2(2 ** x1 + 2 ** x2) for each element without overflow.",
)


def _xlogy(xp: Any, x: Any, y: Any) -> Any:
    zero = xp.logical_and(x == 0, y == y)
    return xp.where(zero, x, x * xp.log(xp.where(zero, 1.0, y)))


def _xlog1py(xp: Any, x: Any, y: Any) -> Any:
    zero = xp.logical_and(x == 0, y == y)
    return xp.where(zero, x, x * xp.log1p(xp.where(zero, 0.0, y)))


def _logarithm_argument(x: Tensor, y: Tensor, pole: float) -> Tensor:
    """Return y, and pole + 1 where x is 0 and y is at or beyond the pole of the logarithm, so that derivatives there are 0."""
    return where((x == 0) & (y == pole if is_complex(y.dtype) else y <= pole), pole + 1.0, y)


xlogy = elementwise(
    "xlogy", _xlogy, lambda out, x, y: log(_logarithm_argument(x, y, 0.0)),
    lambda out, x, y: x * reciprocal(_logarithm_argument(x, y, 0.0)), floating=True,
    doc="Return x1 log(x2) for each element, and 0 where x1 is 0; the derivatives at (0, 0) are 0.",
)
xlog1py = elementwise(
    "xlog1py", _xlog1py, lambda out, x, y: log1p(_logarithm_argument(x, y, -1.0)),
    lambda out, x, y: x * reciprocal(1.0 + _logarithm_argument(x, y, -1.0)), floating=True,
    doc="Return x1 log(1 + x2) for each element, and 0 where x1 is 0.",
)

# Rounding and remainders. Integers are rounded already; older NumPy would turn them into floats.


def _rounding(name: str) -> Callable[[Any, Any], Any]:
    return lambda xp, x: x if hasattr(x, "dtype") and x.dtype.kind in "biu" else getattr(xp, name)(x)


def _round(xp: Any, x: Any) -> Any:
    return join(xp, xp.round(xp.real(x)), xp.round(xp.imag(x))) if _is_complex(x) else xp.round(x)


def _floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """As the standard says at infinities: infinite x gives an infinite quotient, infinite y zero; NumPy gives NaN and -1."""
    quotient = xp.floor_divide(x, y)
    if not hasattr(x, "dtype") or not is_inexact(x.dtype):
        return quotient
    special = xp.isinf(x) | xp.isinf(y)
    return xp.where(special, x / y, quotient) if special.any() else quotient


floor = elementwise("floor", _rounding("floor"), 0, doc="Return the largest integer that is not greater, for each element.")
ceil = elementwise("ceil", _rounding("ceil"), 0, doc="Return the smallest integer that is not less, for each element.")
trunc = elementwise("trunc", _rounding("trunc"), 0, doc="Return each element without what follows the decimal point.")
frac = elementwise(
    "frac", real_only(lambda xp, x: x - xp.trunc(x)), 1, floating=True, doc="Return x - trunc(x) for each element: what follows the point."
)
_nearest = elementwise("round", _round, 0)
floor_divide = elementwise("floor_divide", _floor_divide, 0, 0, doc="Return the largest integer not greater than x1 / x2.")
remainder = elementwise(
    "remainder", lambda xp, x, y: xp.remainder(x, y), 1, lambda out, x, y: -floor_divide(x, y),
    doc="Return x1 - floor(x1 / x2) x2 for each element: the remainder has the sign of x2.",
)
fmod = elementwise(
    "fmod", lambda xp, x, y: xp.fmod(x, y), 1, lambda out, x, y: _nearest((out - x) * reciprocal(y)),
    doc="Return x1 - trunc(x1 / x2) x2 for each element: the remainder has the sign of x1.",
)

# Signs, neighbours and special points.

copysign = elementwise(
    "copysign", lambda xp, x, y: xp.copysign(x, y), lambda out, x, y: sign(x) * copysign(sign(x), y), None, floating=True,
    doc="Return each element of x1 with the sign of x2; the derivative where x1 is 0 is 0.",
)
signbit = elementwise("signbit", lambda xp, x: xp.signbit(x), None, doc="Return whether the sign bit of each element is set: of -0.0 too.")
nextafter = elementwise(
    "nextafter", lambda xp, x, y: xp.nextafter(x, y), 1, 0, floating=True,
    doc="Return the next floating number after each element of x1 towards x2.",
)
heaviside = elementwise(
    "heaviside", lambda xp, x, y: xp.heaviside(x, y), None, lambda out, x, y: x == 0, floating=True,
    doc="Return 0 where x1 is negative, x2 where it is 0 and 1 where it is positive.",
)
fmax = elementwise(
    "fmax", real_only(lambda xp, x, y: xp.fmax(x, y)),
    lambda out, x, y: _chosen(x > y, x, y, out), lambda out, x, y: _chosen(y > x, y, x, out),
    doc="Return the larger of x1 and x2 for each element, and the other one where one is NaN.",
)
fmin = elementwise(
    "fmin", real_only(lambda xp, x, y: xp.fmin(x, y)),
    lambda out, x, y: _chosen(x < y, x, y, out), lambda out, x, y: _chosen(y < x, y, x, out),
    doc="Return the smaller of x1 and x2 for each element, and the other one where one is NaN.",
)


def _chosen(preferred: Tensor, x: Tensor, other: Tensor, out: Tensor) -> Tensor:
    """Return the derivative of a choice that avoids NaN: half each where both are equal."""
    return where(x == other, 0.5, astype(preferred | (isnan(other) & (x == x)), out.dtype))


_nan_to_num = elementwise(
    "nan_to_num",
    lambda xp, x, nan, high, low: xp.where(x != x, nan, xp.where(x == math.inf, high, xp.where(x == -math.inf, low, x))),
    lambda out, x, nan, high, low: isfinite(x),
)
_exponent = general(
    "exponent", lambda xp, x: xp.frexp(x)[1], differentiable=False, batch=by_axes(), doc="Return n with 0.5 <= |x / 2 ** n| < 1."
)


def _sinc(xp: Any, x: Any, order: int) -> Any:
    """Return a derivative of sin(x) / x: by its power series near 0, else by f_n = (sin(x + n pi / 2) - n f_{n-1}) / x.

    The recursion multiplies rounding errors by n! / |x|^n at most, the series by exp(|x|): both are small on their side of n + 1.
    """
    near = xp.abs(x) < order + 1.0
    small, large = xp.where(near, x, 0.0), xp.where(near, 1.0, x)
    square = small * small
    first = (order + 1) // 2
    series = small * 0.0
    for k in range(first + 16 + order, first - 1, -1):
        factor = (-1.0) ** k / ((2 * k + 1) * math.factorial(2 * k - order))
        series = series * square + factor
    if order % 2:
        series = series * small
    value = xp.sin(large) / large
    turns = (xp.sin(large), xp.cos(large))
    for n in range(1, order + 1):
        value = (turns[n % 2] * (1.0, 1.0, -1.0, -1.0)[n % 4] - value * float(n)) / large
    return xp.where(near, series, value)


_sinc_derivative = elementwise("sinc", _sinc, lambda out, x, order: _sinc_derivative(x, order=order + 1), floating=True)


def spherical_bessel_j0(x: Any) -> Tensor:
    """Return sin(x) / x for each element, 1 at 0: the spherical Bessel function of order 0. Derivatives of any order are exact at 0.

    >>> spherical_bessel_j0([0.0, 1.0])
    Tensor (2,) float32, cpu: [1.       0.841471]
    """
    return _sinc_derivative(x, order=0)


def sinc(x: Any) -> Tensor:
    """Return sin(pi x) / (pi x) for each element, 1 at 0. Derivatives of any order are exact at 0.

    >>> sinc([0.0, 0.5])
    Tensor (2,) float32, cpu: [1.      0.63662]
    """
    return _sinc_derivative(divide(x, 1.0 / math.pi), order=0)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Return x with NaN and infinities replaced by numbers; the derivative is 0 there.

    posinf, neginf: None: the largest and the smallest number of the dtype.

    >>> nan_to_num([float("nan"), float("-inf"), 1.0], neginf=-5.0)
    Tensor (3,) float32, cpu: [ 0. -5.  1.]
    """
    x = as_tensor(x)
    if not is_inexact(x.dtype):
        return x
    if is_complex(x.dtype):
        return complex(nan_to_num(real(x), nan, posinf, neginf), nan_to_num(imag(x), nan, posinf, neginf))
    limits = finfo(x.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    low, high = as_number(low, "nan_to_num: neginf"), as_number(high, "nan_to_num: posinf")
    return astype(_nan_to_num(x, nan=as_number(nan, "nan_to_num: nan"), high=high, low=low), x.dtype)


def round(x: Any, decimals: Any = 0) -> Tensor:
    """Return the nearest integer to each element, or the nearest multiple of 10 ** -decimals; halves go to the even one.

    Raises: DtypeError if decimals are asked of integers.

    >>> round([1.5, 2.5, -0.4]), round([1.234], 1)
    (Tensor (3,) float32, cpu: [ 2.  2. -0.], Tensor (1,) float32, cpu: [1.2])
    """
    if decimals == 0:
        return _nearest(x)
    x = as_tensor(x)
    if not is_inexact(x.dtype):
        raise DtypeError(f"round(x, decimals): x is {x.dtype}, which has no decimals; convert it with .astype('float32')")
    if not isinstance(decimals, int):
        raise InputError(f"round(x, decimals): decimals={decimals!r} must be an integer")
    scale = 10.0 ** builtins.abs(decimals)
    return _nearest(x * scale) / scale if decimals > 0 else _nearest(x / scale) * scale


def lerp(x1: Any, x2: Any, weight: Any) -> Tensor:
    """Return x1 + weight (x2 - x1) for each element: x1 at weight 0, x2 at 1.

    >>> lerp([0.0, 10.0], [1.0, 20.0], 0.5)
    Tensor (2,) float32, cpu: [ 0.5 15. ]
    """
    return add(x1, multiply(weight, subtract(x2, x1)))


def addcmul(x: Any, x1: Any, x2: Any, value: float = 1.0) -> Tensor:
    """Return x + value x1 x2 for each element.

    >>> addcmul([1.0], [2.0], [3.0], 0.5)
    Tensor (1,) float32, cpu: [4.]
    """
    return add(x, multiply(multiply(x1, x2), value))


def addcdiv(x: Any, x1: Any, x2: Any, value: float = 1.0) -> Tensor:
    """Return x + value x1 / x2 for each element.

    >>> addcdiv([1.0], [2.0], [4.0], 0.5)
    Tensor (1,) float32, cpu: [1.25]
    """
    return add(x, multiply(divide(x1, x2), value))


def angle(x: Any) -> Tensor:
    """Return the angle of each element in the complex plane [rad]: of a real one 0 or pi, without derivative.

    >>> angle([1.0j, -1.0])
    Tensor (2,) float32, cpu: [1.570796 3.141593]
    """
    x = as_tensor(x)
    if is_complex(x.dtype):
        return atan2(imag(x), real(x))
    turned = astype(x < 0, x.dtype if is_inexact(x.dtype) else FLOAT)
    return where(isnan(x), x, turned * math.pi)


def polar(radius: Any, angle: Any) -> Tensor:
    """Return radius (cos(angle) + i sin(angle)) for each element, complex. radius, angle [rad]: real.

    >>> polar([2.0], 0.0)
    Tensor (1,) complex64, cpu: [2.+0.j]
    """
    return complex(multiply(radius, cos(angle)), multiply(radius, sin(angle)))


def float_power(x1: Any, x2: Any) -> Tensor:
    """Return x1 ** x2 in a floating dtype also if both are integers: float32, or that of the floating one.

    >>> float_power([2, 3], -1)
    Tensor (2,) float32, cpu: [0.5      0.333333]
    """
    return power(divide(x1, 1.0), x2)


def ldexp(x1: Any, x2: Any) -> Tensor:
    """Return x1 2 ** x2 for each element, without overflow of the power on its own.

    x1: floating (integers become float32).  x2: integers.
    Raises: DtypeError if x2 is not of integers.

    >>> ldexp([0.75], 3)
    Tensor (1,) float32, cpu: [6.]
    """
    x1, x2 = divide(x1, 1.0), as_tensor(x2)
    if not is_integer(x2.dtype):
        raise DtypeError(f"ldexp(x1, x2): x2 is {x2.dtype}; it must be of integers: for other powers use x1 * exp2(x2)")
    half = x2 // 2
    return x1 * exp2(astype(half, x1.dtype)) * exp2(astype(x2 - half, x1.dtype))


def frexp(x: Any) -> tuple[Tensor, Tensor]:
    """Return the mantissa m, 0.5 <= |m| < 1, and the exponent n, int32, of each element: x = m 2 ** n.

    The exponent is constant almost everywhere, so the derivative of the mantissa is 2 ** -n.
    Raises: DtypeError if x is complex.

    >>> frexp([6.0])
    (Tensor (1,) float32, cpu: [0.75], Tensor (1,) int32, cpu: [3])
    """
    x = divide(x, 1.0)
    if is_complex(x.dtype):
        raise DtypeError(f"frexp(x): x is {x.dtype}; it must be real")
    exponent = _exponent(x)
    return ldexp(x, -exponent), exponent
