"""Fit the polynomials of `hyperion/cpu/kernels/maths.h`: `python tests/cpu/fit_maths.py` prints them. Needs mpmath.

Each is the interpolant at the zeros of a Chebyshev polynomial, of the function over its leading factor, computed with 60 digits: within a
factor of two of the best polynomial, whose error these functions do not need.
"""

import sys
from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60
# Where the density's exponential vanishes: exp(-a a / 2) is below the smallest normal number of the dtype.
REACH = {"float": 13.5, "double": 38.0}


def fit(function: Callable[[mp.mpf], mp.mpf], low: mp.mpf, high: mp.mpf, degree: int) -> tuple[list[mp.mpf], mp.mpf]:
    """Return the coefficients, lowest first, of the interpolant on [low, high], and its largest error relative to the function."""
    low, high = mp.mpf(low), mp.mpf(high)
    middle, half = (low + high) / 2, (high - low) / 2
    nodes = [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    matrix = mp.matrix(degree + 1, degree + 1)
    for i, x in enumerate(nodes):
        for j in range(degree + 1):
            matrix[i, j] = x ** j
    found = list(mp.lu_solve(matrix, mp.matrix([function(x) for x in nodes])))
    checks = [low + (high - low) * k / 400 for k in range(401)]
    return found, max(abs(mp.polyval(found[::-1], x) / function(x) - 1) for x in checks)


def exp_rest(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1 - r) / r^2"""
    return mp.nsum(lambda k: r ** k / mp.factorial(k + 2), [0, 40])


def erf_head(z: mp.mpf) -> mp.mpf:
    """erf(x) / x, of z = x^2"""
    return 2 / mp.sqrt(mp.pi) if z == 0 else mp.erf(mp.sqrt(z)) / mp.sqrt(z)


def tail(u: mp.mpf) -> mp.mpf:
    """Phi(-a) exp(a^2 / 2) / t, of u = t - 1/2, where t = 1 / (1 + a / 4): smooth, from 0.1 to 0.5 for all a"""
    t = u + mp.mpf(1) / 2
    a = (1 / t - 1) * 4
    return mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2) / t


DEGREES = {"exp_rest": {"float": 4, "double": 10}, "erf_head": {"float": 4, "double": 9}, "tail": {"float": 9, "double": 22}}


def fits(real: str) -> dict[str, tuple[list[mp.mpf], mp.mpf]]:
    """Return every polynomial for "float" or "double"."""
    half = mp.log(2) / 2 * mp.mpf("1.001")          # the reduced argument may exceed log(2) / 2 by rounding
    ranges = {
        "exp_rest": (exp_rest, -half, half), "erf_head": (erf_head, 0, mp.mpf("0.25")),
        "tail": (tail, 1 / (1 + REACH[real] / mp.mpf(4)) - mp.mpf(1) / 2, mp.mpf(1) / 2),
    }
    return {name: fit(function, low, high, DEGREES[name][real]) for name, (function, low, high) in ranges.items()}


if __name__ == "__main__":
    for real in sys.argv[1:] or ("float", "double"):
        digits = 9 if real == "float" else 17
        for name, (coefficients, error) in fits(real).items():
            print(f"{real} {name}: relative error {mp.nstr(error, 2)}")
            print("  " + ", ".join(mp.nstr(c, digits) for c in coefficients))
