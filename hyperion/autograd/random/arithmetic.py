"""Functions that turn random bits into numbers, made of + - * / sqrt and exact scaling by powers of two only.

IEEE 754 fixes the result of these to the last bit, and each of them is one call of the array module, so nothing is fused or reordered: the
same bits come out on every processor and device. log and exp of a C library or of NumPy differ between processors in the last place, and
where a number is accepted or refused by a comparison such a bit would change everything that follows. All arrays are float64.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["exp", "horner", "log", "log_factorial", "normal_quantile", "normal_tail", "unit_open"]

LN2_HIGH = 0.693147180369123816490      # ln 2 to 32 bits, so that multiples up to 2^21 are exact
LN2_LOW = 1.90821492927058770002e-10    # and the rest
HALF_LOG_2PI = 0.918938533204672741780


def horner(x: Any, coefficients: tuple[float, ...]) -> Any:
    """Return the polynomial with coefficients from the highest power down to the constant."""
    out = x * coefficients[0]
    for c in coefficients[1:-1]:
        out += c
        out *= x
    out += coefficients[-1]
    return out


ATANH = tuple(2.0 / (2 * k + 1) for k in range(11, 0, -1))      # of z^k, k = 11..1, in 2 atanh(s) / s = 2 + ...; z = s^2 <= 0.0295


def log(xp: Any, x: Any) -> Any:
    """Return the natural logarithm of normal numbers above 0; error below 0.8 units in the last place."""
    fraction, power = xp.frexp(x)
    small = fraction < math.sqrt(0.5)
    fraction = xp.where(small, fraction + fraction, fraction)
    k = xp.where(small, power - 1, power).astype(xp.float64)
    f = fraction - 1.0
    s = f / (f + 2.0)
    z = s * s
    # log(1 + f) = 2 atanh(s) = f - s (f - z (2/3 + 2/5 z + ...)): the leading f is exact
    rest = s * (f - z * horner(z, ATANH))
    return k * LN2_HIGH + (f - (rest - k * LN2_LOW))


EXP = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))


def exp(xp: Any, x: Any) -> Any:
    """Return e to the power of finite numbers; error below 1.1 units in the last place. Below -745.2 it is 0; x must stay below 709."""
    x = xp.maximum(x, -800.0)
    k = xp.rint(x * (1.0 / (LN2_HIGH + LN2_LOW)))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return xp.ldexp(horner(r, EXP), k.astype(xp.int32))


# Of the quantile function: numerators and denominators near the middle, in the tail, and in the far tail.
MIDDLE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457, 13731.693765509461125,
     1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867, 5394.1960214247511077,
     687.1870074920579083, 42.313330701600911252, 1.0),
)
TAIL = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258, 3.64784832476320460504,
     5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459, 0.68976733498510000455,
     1.6763848301838038494, 2.05319162663775882187, 1.0),
)
FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093, 0.29656057182850489123,
     1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4, 0.0148753612908506148525,
     0.13692988092273580531, 0.59983220655588793769, 1.0),
)


def normal_quantile(xp: Any, p: Any) -> Any:
    """Return where the standard normal distribution has probability p below; 0 < p <= 0.5; relative error 1e-15.

    Source: Wichura, Algorithm AS 241, Applied Statistics 37 (1988) 477, routine PPND16.
    """
    q = p - 0.5
    r = 0.180625 - q * q
    out = q * horner(r, MIDDLE[0]) / horner(r, MIDDLE[1])
    outer = xp.nonzero(p < 0.075)[0]
    if outer.size:
        r = xp.sqrt(-log(xp, p[outer]))
        near = r - 1.6
        value = horner(near, TAIL[0]) / horner(near, TAIL[1])
        beyond = xp.nonzero(r > 5.0)[0]
        if beyond.size:
            far = r[beyond] - 5.0
            value[beyond] = horner(far, FAR[0]) / horner(far, FAR[1])
        out[outer] = -value
    return out


def normal_tail(x: float) -> float:
    """Return the probability that a standard normal number is below x; relative error 1e-13.

    Source: Abramowitz and Stegun 26.2.11 (series) and 26.2.14 (continued fraction).
    """
    if x > 0.0:
        return 1.0 - normal_tail(-x)
    t = -x
    if t > 40.0:
        return 0.0
    density = float(exp(np, np.array([-0.5 * t * t]))[0]) / math.sqrt(2.0 * math.pi)
    if t >= 1.0:
        fraction = t
        for k in range(400, 0, -1):
            fraction = t + k / fraction
        return density / fraction
    term = total = t
    for k in range(3, 60, 2):
        term *= t * t / k
        total += term
    return 0.5 - density * total


def unit_open(xp: Any, word: Any) -> Any:
    """Return words as numbers (k + 1/2) / 2^52, k their upper 52 bits: evenly spaced, never 0 or 1, symmetric about 1/2."""
    return ((word >> xp.uint64(12)).astype(xp.float64) + 0.5) * 2.0**-52


FACTORIALS = np.concatenate([[0.0, 0.0], log(np, np.array([float(math.factorial(k)) for k in range(2, 10)]))])
STIRLING = tuple(float(c) for c in (Fraction(-691, 360360), Fraction(1, 1188), Fraction(-1, 1680), Fraction(1, 1260), Fraction(-1, 360),
                                    Fraction(1, 12)))


def log_factorial(xp: Any, k: Any) -> Any:
    """Return log k! of whole numbers, 0 or more, given as float64; relative error 1e-14. Source: Stirling's series, DLMF 5.11.1."""
    n = xp.maximum(k, 10.0)
    inverse = 1.0 / n
    series = (n + 0.5) * log(xp, n) - n + HALF_LOG_2PI + inverse * horner(inverse * inverse, STIRLING)
    small = xp.asarray(FACTORIALS)[xp.minimum(k, 9.0).astype(xp.int64)]
    return xp.where(k < 10.0, small, series)
