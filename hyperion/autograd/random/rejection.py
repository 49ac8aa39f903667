"""Draws that try until a number is accepted: gamma, Poisson, integers.

Attempt t of element i has words of its own (see bits.py), so whether one element is refused changes nothing for the others. Only elements
that were refused go on. All arrays have one axis; `first` is the number of element 0 of the arrays within the draw.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.random.arithmetic import exp, log, log_factorial, normal_quantile, unit_open
from hyperion.autograd.random.bits import Key, words, words_at

__all__ = ["by_blocks", "integers", "log_gamma", "normal", "poisson"]


def normal(xp: Any, word: Any) -> Any:
    """Return words as standard normal numbers: bit 0 is the sign, the upper 52 bits are the probability beyond."""
    size = normal_quantile(xp, 0.5 * unit_open(xp, word))
    return xp.where((word & xp.uint64(1)) == 0, size, -size)


def _until_accepted(
    xp: Any, key: Key, draw: int, first: int, out: Any, each: int, skip: int, propose: Callable[[Any, list[Any]], tuple[Any, Any]]
) -> Any:
    """Fill `out` with accepted proposals.

    each: words that one attempt takes.  skip: attempts that the caller has used otherwise.
    propose(places, words) -> (values, accepted) for the elements at some places of `out`.
    """
    places = xp.arange(out.shape[0])
    attempt = skip
    while places.size:
        if attempt == skip:
            taken = [words(xp, key, draw, attempt + j, first, out.shape[0]) for j in range(each)]
        else:
            index = places.astype(xp.uint64) + xp.uint64(first)
            taken = [words_at(xp, key, draw, attempt + j, index) for j in range(each)]
        values, accepted = propose(places, taken)
        out[places[accepted]] = values[accepted]
        places = places[~accepted]
        attempt += each
    return out


def log_gamma(xp: Any, key: Key, draw: int, first: int, concentration: Any) -> Any:
    """Return logarithms of gamma variates of scale 1; concentration: float64, above 0.

    Below 1, x(a) = x(a + 1) U^(1/a). Source: Marsaglia and Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000) 363.
    """
    boosted = concentration < 1.0
    d = xp.where(boosted, concentration + 1.0, concentration) - 1.0 / 3.0
    c = 1.0 / xp.sqrt(9.0 * d)
    log_d = log(xp, d)

    def propose(places: Any, taken: list[Any]) -> tuple[Any, Any]:
        z, middle = normal(xp, taken[0]), d[places]
        root = 1.0 + c[places] * z
        positive = root > 0.0
        root = xp.where(positive, root, 1.0)
        cube = root * root * root
        log_cube = log(xp, cube)
        accepted = positive & (log(xp, unit_open(xp, taken[1])) < 0.5 * z * z + middle * ((1.0 - cube) + log_cube))
        return log_d[places] + log_cube, accepted

    out = _until_accepted(xp, key, draw, first, xp.empty_like(d), 2, 1, propose)
    if bool(boosted.any()):
        shrink = log(xp, unit_open(xp, words(xp, key, draw, 0, first, out.shape[0])))
        out = out + xp.where(boosted, shrink / concentration, 0.0)
    return out


SMALL = 10.0      # rates below are inverted term by term; the rejection of larger ones is exact from here on


def poisson(xp: Any, key: Key, draw: int, first: int, rate: Any) -> Any:
    """Return Poisson variates as float64; rate: float64, from 0 to 2^30.

    Source: Hoermann, The transformed rejection method for generating Poisson random variables, Insurance: Mathematics and Economics 12
    (1993) 39, algorithm PTRS; below 10 by inversion.
    """
    out = xp.zeros_like(rate)
    small = rate < SMALL
    if bool(small.any()):
        out[small] = _poisson_small(xp, rate[small], unit_open(xp, words(xp, key, draw, 0, first, rate.shape[0]))[small])
    large = xp.nonzero(~small)[0]
    if not large.size:
        return out
    safe = xp.maximum(rate, SMALL)
    b = 0.931 + 2.53 * xp.sqrt(safe)
    a = -0.059 + 0.02483 * b
    log_rate = log(xp, safe)

    def propose(places: Any, taken: list[Any]) -> tuple[Any, Any]:
        wide, slant, mean = b[places], a[places], safe[places]
        u, v = unit_open(xp, taken[0]) - 0.5, unit_open(xp, taken[1])
        side = 0.5 - xp.abs(u)
        k = xp.floor((2.0 * slant / side + wide) * u + mean + 0.43)
        counted = xp.maximum(k, 0.0)
        inside = (side >= 0.07) & (v <= 0.9277 - 3.6224 / (wide - 2.0))
        outside = (k < 0.0) | ((side < 0.013) & (v > side))
        weight = log(xp, v * (1.1239 + 1.1328 / (wide - 3.4)) / (slant / (side * side) + wide))
        below = weight <= counted * log_rate[places] - mean - log_factorial(xp, counted)
        return k, inside | (below & ~outside) | small[places]

    drawn = _until_accepted(xp, key, draw, first, xp.zeros_like(rate), 2, 1, propose)
    return xp.where(small, out, drawn)


def _poisson_small(xp: Any, rate: Any, u: Any) -> Any:
    """Return how many terms of the distribution function are below u."""
    term = exp(xp, -rate)
    total, out, k = term.copy(), xp.zeros_like(rate), 0
    while True:
        above = u > total
        if k > 100 or not bool(above.any()):       # at rate 10 the terms beyond 100 sum to 1e-63: rounding alone keeps u above
            return out
        k += 1
        out += above
        term = term * (rate / k)
        total += term


def integers(xp: Any, key: Key, draw: int, first: int, count: int, span: int) -> Any:
    """Return unbiased integers from 0 up to, without, span, as uint64; span: up to 2^64.

    Words in the last, incomplete stretch of length span below 2^64 are refused.
    """
    if span & (span - 1) == 0:
        return words(xp, key, draw, 0, first, count) & xp.uint64(span - 1)
    limit, divisor = xp.uint64((1 << 64) // span * span - 1), xp.uint64(span)

    def propose(places: Any, taken: list[Any]) -> tuple[Any, Any]:
        return taken[0] % divisor, taken[0] <= limit

    return _until_accepted(xp, key, draw, first, xp.empty(count, xp.uint64), 1, 0, propose)


def by_blocks(xp: Any, count: int, make: Callable[[int, int], Any], size: int = 1 << 14) -> Any:
    """Return make(first, count) for elements in stretches that stay in the processor's cache, joined; on a GPU in one piece."""
    if count <= size or xp is not np:
        return make(0, count)
    return np.concatenate([make(first, min(size, count - first)) for first in range(0, count, size)])
