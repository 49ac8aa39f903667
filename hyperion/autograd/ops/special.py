"""Special functions of real numbers: error functions, the normal distribution, gamma and beta functions, Bessel functions.

Values come from scipy.special, or cupyx.scipy.special on a GPU, chosen by the array; derivatives are formulas between these functions
(Abramowitz and Stegun 1964: 6.3-6.5 gamma, 7.1 error, 9.1 and 9.6 Bessel), so they go to any order. Two-byte floats are computed in
float32.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.ops.arithmetic import as_number, clip, exp, log, reciprocal, sign
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import real_only
from hyperion.autograd.table import Primitive, Rule, elementwise
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError
from hyperion.gpu import device

__all__ = [
    "beta", "betaln", "digamma", "entr", "erf", "erfc", "erfcinv", "erfcx", "erfinv", "gamma", "gammainc", "gammaincc", "gammaln", "i0",
    "i0e", "i1", "i1e", "igamma", "igammac", "j0", "j1", "k0", "k0e", "k1", "k1e", "log_ndtr", "logit", "multigammaln", "ndtr", "ndtri",
    "normal_density", "polygamma", "y0", "y1", "zeta",
]

ROOT_PI = math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


def _call(xp: Any, name: str, *xs: Any) -> Any:
    """Call a special function on raw arrays; a namespace of another kind has it itself."""
    x = xs[-1]
    if not hasattr(x, "dtype"):
        return getattr(xp, name)(*xs)
    function = getattr(device.scipy_module(xp, "special"), name)
    if x.dtype.itemsize == 2:
        xs = tuple(each.astype(np.float32) if hasattr(each, "dtype") else each for each in xs)
    return function(*xs).astype(x.dtype, copy=False)


def _one(name: str, partial: Rule, doc: str) -> Primitive:
    """Add a special function of one number, of the same name in scipy.special."""
    return elementwise(name, lambda xp, x: _call(xp, name, x), partial, floating=True, doc=doc)


# Error functions and the normal distribution.

erf = _one("erf", lambda out, x: (2.0 / ROOT_PI) * exp(-x * x), "Return the error function of each element.")
erfc = _one("erfc", lambda out, x: (-2.0 / ROOT_PI) * exp(-x * x), "Return 1 - erf(x) for each element, exact where that cancels.")
erfcx = _one("erfcx", lambda out, x: 2.0 * x * out - 2.0 / ROOT_PI, "Return exp(x^2) erfc(x) for each element.")
erfinv = _one("erfinv", lambda out, x: (0.5 * ROOT_PI) * exp(out * out), "Return the inverse of the error function for each element.")
erfcinv = _one("erfcinv", lambda out, x: (-0.5 * ROOT_PI) * exp(out * out), "Return the inverse of erfc for each element.")
normal_density = elementwise(
    "normal_density", lambda xp, x: xp.exp(x * x * -0.5) * (1.0 / ROOT_TWO_PI), lambda out, x: -x * out, floating=True,
    doc="Return the density of the standard normal distribution for each element.",
)
ndtr = _one("ndtr", lambda out, x: normal_density(x), "Return the probability that a standard normal number is below each element.")
log_ndtr = _one(
    "log_ndtr", lambda out, x: exp(x * x * -0.5 - out) * (1.0 / ROOT_TWO_PI),
    "Return log(ndtr(x)) for each element, exact in the lower tail.",
)
ndtri = _one("ndtri", lambda out, x: ROOT_TWO_PI * exp(0.5 * out * out), "Return the inverse of ndtr for each element.")
entr = _one("entr", lambda out, x: -1.0 - log(x), "Return -x log(x) for each element: 0 at 0, -infinity below.")
_logit = _one("logit", lambda out, x: reciprocal(x * (1.0 - x)), "")

# Gamma and beta functions.

gammaln = _one("gammaln", lambda out, x: digamma(x), "Return log(|gamma(x)|) for each element.")
gamma = _one("gamma", lambda out, x: out * digamma(x), "Return the gamma function of each element: (n - 1)! of an integer n.")
def _polygamma_sum(xp: Any, x: Any, order: int) -> Any:
    return _call(xp, "zeta", order + 1.0, x) * ((-1.0) ** (order + 1) * math.factorial(order))


digamma = elementwise(
    "digamma", real_only(lambda xp, x: _call(xp, "digamma", x)), lambda out, x: _polygamma(x, order=1), floating=True,
    doc="Return the derivative of gammaln for each element.",
)
_polygamma = elementwise(
    "polygamma", real_only(_polygamma_sum), lambda out, x, order: _polygamma(x, order=order + 1), floating=True
)
betaln = elementwise(
    "betaln", lambda xp, x, y: _call(xp, "betaln", x, y),
    lambda out, x, y: digamma(x) - digamma(x + y), lambda out, x, y: digamma(y) - digamma(x + y),
    floating=True, doc="Return log(|beta(x1, x2)|) for each element.",
)
beta = elementwise(
    "beta", lambda xp, x, y: _call(xp, "beta", x, y),
    lambda out, x, y: out * (digamma(x) - digamma(x + y)), lambda out, x, y: out * (digamma(y) - digamma(x + y)),
    floating=True, doc="Return gamma(x1) gamma(x2) / gamma(x1 + x2) for each element.",
)

# The Taylor coefficients of a function of a, as arrays [f, f', f'' / 2, ...]; derivatives of gammainc with respect to a are made of them.

Series = list[Any]


def _times(f: Series, g: Series) -> Series:
    return [sum((f[i] * g[n - i] for i in range(1, n + 1)), f[0] * g[n]) for n in range(len(f))]


def _inverse(f: Series) -> Series:
    out: Series = [1.0 / f[0]]
    for n in range(1, len(f)):
        out.append(-out[0] * sum((f[i] * out[n - i] for i in range(2, n + 1)), f[1] * out[n - 1]))
    return out


def _exponential(f: Series, xp: Any) -> Series:
    out: Series = [xp.exp(f[0])]
    for n in range(1, len(f)):
        out.append(sum((i * f[i] * out[n - i] for i in range(2, n + 1)), f[1] * out[n - 1]) / n)
    return out


def _settled(step: Series, total: Series, xp: Any) -> bool:
    return all(bool(xp.all(xp.abs(d) <= 1e-16 * xp.abs(t) + 1e-290)) for d, t in zip(step, total, strict=True))


def _lower_series(xp: Any, a: Any, x: Any, order: int) -> Series:
    """Sum x^k / ((a + 1) ... (a + k)): Abramowitz and Stegun 6.5.29."""
    term: Series = [xp.ones_like(x)] + [xp.zeros_like(x)] * order
    total = term
    for k in range(1, 10_000):
        inverse = [(-1.0) ** i / (a + k) ** (i + 1) for i in range(order + 1)]
        term = _times(term, [x * c for c in inverse])
        total = [t + c for t, c in zip(total, term, strict=True)]
        if _settled(term, total, xp):
            break
    return total


def _upper_fraction(xp: Any, a: Any, x: Any, order: int) -> Series:
    """Return the continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), by Lentz's method: Abramowitz and Stegun 6.5.31."""
    zero = xp.zeros_like(x)
    b: Series = [x + 1.0 - a, zero - 1.0, *[zero] * order][:order + 1]
    c: Series = [zero + 1e300] + [zero] * order
    d = _inverse(b)
    total = d
    for i in range(1, 10_000):
        an: Series = [i * (a - i), zero + i, *[zero] * order][:order + 1]
        b = [b[0] + 2.0, *b[1:]]
        d = _inverse([u + v for u, v in zip(_times(an, d), b, strict=True)])
        c = [u + v for u, v in zip(_times(an, _inverse(c)), b, strict=True)]
        after = _times(total, _times(c, d))
        step = [u - v for u, v in zip(after, total, strict=True)]
        total = after
        if _settled(step, total, xp):
            break
    return total


def _lower_gamma(xp: Any, a: Any, x: Any, order: int) -> Any:
    """Return a derivative of gammainc(a, x) with respect to a, computed in float64."""
    if not hasattr(x, "dtype"):
        return xp.gammainc(a, x, order)
    if order == 0:
        return _call(xp, "gammainc", a, x)
    dtype = x.dtype
    a, x = (array.astype(np.float64) for array in xp.broadcast_arrays(a, x))
    inside = (x > 0) & (x < math.inf) & (a > 0)
    below = x < a + 1.0
    values: Series = []
    for part, expand, shift in ((inside & below, _lower_series, 1.0), (inside & ~below, _upper_fraction, 0.0)):
        p, q = xp.where(part, a, 1.0), xp.where(part, x, 2.0 - shift)
        front = [p * xp.log(q) - q - _call(xp, "gammaln", p + shift), xp.log(q) - _call(xp, "digamma", p + shift)]
        front += [-_polygamma_sum(xp, p + shift, n - 1) / math.factorial(n) for n in range(2, order + 1)]
        values.append(_times(_exponential(front, xp), expand(xp, p, q, order))[order] * math.factorial(order))
    found = xp.where(below, values[0], -values[1])
    return xp.where(inside, found, xp.where((x != x) | (a != a) | (a <= 0) | (x < 0), math.nan, 0.0)).astype(dtype)


def _density(a: Tensor, x: Tensor, order: int) -> Tensor:
    """Return a derivative with respect to a of x^(a - 1) exp(-x) / gamma(a), which is that of gammainc with respect to x."""
    logarithm = log(where((x == 0) & (a == 1), 1.0, x))
    rates = [logarithm - digamma(a)] + [-_polygamma(a, order=n) for n in range(1, order)]
    out: list[Tensor] = [exp((a - 1.0) * logarithm - x - gammaln(a))]
    for n in range(1, order + 1):
        total = rates[0] * out[n - 1]
        for i in range(1, n):
            total = total + math.comb(n - 1, i) * rates[i] * out[n - 1 - i]
        out.append(total)
    return out[order]


_gammainc = elementwise(
    "gammainc", _lower_gamma, lambda out, a, x, order: _gammainc(a, x, order=order + 1), lambda out, a, x, order: _density(a, x, order),
    floating=True,
)
gammaincc = elementwise(
    "gammaincc", lambda xp, a, x: _call(xp, "gammaincc", a, x),
    lambda out, a, x: -_gammainc(a, x, order=1), lambda out, a, x: -_density(a, x, 0), floating=True,
    doc="Return 1 - gammainc(a, x) for each element, exact where that cancels.",
)

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def _zeta_sum(xp: Any, s: Any, q: Any, order: int) -> Any:
    """Return the sum of (-log t)^order t^-s over t = q, q + 1, ...: a derivative of zeta(s, q) in s, by Euler and Maclaurin."""
    if not hasattr(q, "dtype"):
        return xp.zeta(s, q, order)
    if order == 0:
        return _call(xp, "zeta", s, q)
    dtype = q.dtype
    s, q = (array.astype(np.float64) for array in xp.broadcast_arrays(s, q))
    inside = (s > 1.0) & (q > 0.0)
    s, q = xp.where(inside, s, 2.0), xp.where(inside, q, 1.0)
    total = xp.zeros_like(q)
    for k in range(15):
        total += (-xp.log(q + k)) ** order * (q + k) ** -s
    a = q + 15.0
    slope = -xp.log(a)
    for k in range(order + 1):
        total += math.comb(order, k) * slope ** (order - k) * a ** (1.0 - s) * (-1.0) ** k * math.factorial(k) / (s - 1.0) ** (k + 1)
    total += 0.5 * slope ** order * a ** -s
    # The m-th derivative is a^(-s-m) times a polynomial in slope, of which these are the coefficients; d slope / d t = -1 / t.
    powers: Series = [xp.zeros_like(q)] * order + [xp.ones_like(q)]
    for m in range(2 * len(BERNOULLI) - 1):
        powers = [-(s + m) * powers[i] - ((i + 1) * powers[i + 1] if i < order else 0.0) for i in range(order + 1)]
        if m % 2 == 0:
            weight = BERNOULLI[m // 2] / math.factorial(m + 2)
            total -= weight * a ** (-s - m - 1.0) * sum((powers[i] * slope ** i for i in range(1, order + 1)), powers[0])
    return xp.where(inside, total, math.nan).astype(dtype)


_zeta = elementwise(
    "zeta", _zeta_sum, lambda out, s, q, order: _zeta(s, q, order=order + 1), lambda out, s, q, order: _zeta_slope(s, q, order),
    floating=True,
)


def _zeta_slope(s: Tensor, q: Tensor, order: int) -> Tensor:
    slope = -s * _zeta(s + 1.0, q, order=order)
    return slope - float(order) * _zeta(s + 1.0, q, order=order - 1) if order else slope


def zeta(x1: Any, x2: Any = 1.0) -> Tensor:
    """Return the sum of (x2 + k) ** -x1 over k = 0, 1, 2...: Hurwitz's zeta function, Riemann's for x2 = 1. x1 > 1, x2 > 0.

    >>> zeta(2.0)
    Tensor () float32, cpu: 1.644934
    """
    return _zeta(x1, x2, order=0)


def logit(x: Any, eps: float | None = None) -> Tensor:
    """Return log(x / (1 - x)) for each element: the inverse of sigmoid.

    eps: x is held between eps and 1 - eps first; None: it is not.

    >>> logit([0.5, 0.75])
    Tensor (2,) float32, cpu: [0.       1.098612]
    """
    return _logit(x if eps is None else clip(x, as_number(eps, "logit: eps"), 1.0 - eps))


def polygamma(order: int, x: Any) -> Tensor:
    """Return a derivative of digamma for each element.

    order: of the derivative, an integer from 0.
    Raises: InputError if it is not.

    >>> polygamma(1, 1.0)
    Tensor () float32, cpu: 1.644934
    """
    if type(order) is not int or order < 0:
        raise InputError(f"polygamma(order, x): order={order!r} must be an integer, 0 or more")
    return _polygamma(x, order=order) if order else digamma(x)


def gammainc(a: Any, x: Any) -> Tensor:
    """Return the integral of t^(a - 1) exp(-t) / gamma(a) from 0 to x for each element, 0 to 1; differentiable in both. a > 0, x >= 0.

    >>> gammainc(1.0, 2.0)
    Tensor () float32, cpu: 0.864665
    """
    return _gammainc(a, x, order=0)


igamma, igammac = gammainc, gammaincc


def multigammaln(x: Any, dimension: int) -> Tensor:
    """Return the logarithm of the multivariate gamma function of a dimension for each element, x > (dimension - 1) / 2.

    Raises: InputError if the dimension is not a positive integer.

    >>> multigammaln(3.0, 1)
    Tensor () float32, cpu: 0.693147
    """
    if type(dimension) is not int or dimension < 1:
        raise InputError(f"multigammaln(x, dimension): dimension={dimension!r} must be an integer, 1 or more")
    x = as_tensor(x)
    total = gammaln(x)
    for i in range(1, dimension):
        total = total + gammaln(x - 0.5 * i)
    return total + 0.25 * dimension * (dimension - 1) * math.log(math.pi)


# Bessel functions of orders 0 and 1. Their derivatives are sums of functions of the same kind and higher order, without division by x.


def _series(xp: Any, x: Any, order: int, sign: float) -> Any:
    """Return the power series of J (sign -1) or I (sign 1) of an order, for |x| up to about 2 order + 2: Abramowitz and Stegun 9.1.10."""
    square = x * x * (0.25 * sign)
    total = x * 0.0
    for k in range(40, -1, -1):
        total = total * square / ((k + 1.0) * (k + 1.0 + order)) + 1.0
    return total * (x * 0.5) ** order / math.factorial(order)


def _of_order(xp: Any, kind: str, order: int, x: Any) -> Any:
    """Return a Bessel function of an order, from those of orders 0 and 1 by the recurrence in the order.

    kind: "j", "y", "i", "k"; "ie" and "ke" for i and k times exp(-|x|) and exp(x).
    J and I fall with the order where |x| is small and would drown in rounding there: they have their series instead.
    """
    scaled = kind[1:]
    before, value = (_call(xp, f"{kind[0]}{n}{scaled}", x) for n in (0, 1))
    if order < 2:
        return before if order == 0 else value
    falls = kind[0] in "ji"
    near = xp.abs(x) < 2.0 * order + 2.0 if kind[0] == "i" else xp.abs(x) < 1.0 * order
    far = xp.where(near, 1.0, x) if falls else x
    for n in range(1, order):
        step = value * (2.0 * n / far)
        before, value = value, step - before if kind[0] in "jy" else before - step if kind[0] == "i" else before + step
    if not falls:
        return value
    close = xp.where(near, x, 0.0)
    series = _series(xp, close, order, -1.0 if kind[0] == "j" else 1.0)
    return xp.where(near, series * xp.exp(-xp.abs(close)) if scaled else series, value)


def _derivative(kind: str) -> Callable[..., Any]:
    """Return the forward of the derivatives of a Bessel function of order 0: 2^-n times a binomial sum over orders -n, -n + 2, ..., n."""

    def forward(xp: Any, x: Any, order: int) -> Any:
        if not hasattr(x, "dtype"):
            return getattr(xp, f"{kind[0]}0{kind[1:]}")(x, order)
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
        total = wide * 0.0
        for k in range(order + 1):
            n = 2 * k - order
            factor = 0.5 ** order * math.comb(order, k)
            if kind[0] in "jy":
                factor *= (-1.0) ** (k if n >= 0 else k + n)
            elif kind[0] == "k":
                factor *= (-1.0) ** order
            total = total + factor * _of_order(xp, kind, n if n >= 0 else -n, wide)
        return total.astype(x.dtype)

    return forward


def _bessel(kind: str, partial: Rule) -> Primitive:
    return elementwise(f"{kind[0]}0{kind[1:]}", _derivative(kind), partial, floating=True)


_j0 = _bessel("j", lambda out, x, order: _j0(x, order=order + 1))
_y0 = _bessel("y", lambda out, x, order: _y0(x, order=order + 1))
_i0 = _bessel("i", lambda out, x, order: _i0(x, order=order + 1))
_k0 = _bessel("k", lambda out, x, order: _k0(x, order=order + 1))
_i0e = _bessel("ie", lambda out, x, order: _i0e(x, order=order + 1) - sign(x) * out)
_k0e = _bessel("ke", lambda out, x, order: _k0e(x, order=order + 1) + out)
j1 = _one("j1", lambda out, x: -_j0(x, order=2), "Return the Bessel function of the first kind and order 1 of each element.")
y1 = _one("y1", lambda out, x: -_y0(x, order=2), "Return the Bessel function of the second kind and order 1, x > 0.")
i1 = _one("i1", lambda out, x: _i0(x, order=2), "Return the modified Bessel function of the first kind and order 1 of each element.")
k1 = _one("k1", lambda out, x: -_k0(x, order=2), "Return the modified Bessel function of the second kind and order 1, x > 0.")
i1e = _one("i1e", lambda out, x: _i0e(x, order=2) - sign(x) * out, "Return exp(-|x|) i1(x) for each element.")
k1e = _one("k1e", lambda out, x: out - _k0e(x, order=2), "Return exp(x) k1(x) for each element, x > 0.")


def j0(x: Any) -> Tensor:
    """Return the Bessel function of the first kind and order 0 of each element.

    >>> j0([0.0, 2.0])
    Tensor (2,) float32, cpu: [1.       0.223891]
    """
    return _j0(x, order=0)


def y0(x: Any) -> Tensor:
    """Return the Bessel function of the second kind and order 0 of each element, x > 0.

    >>> y0(2.0)
    Tensor () float32, cpu: 0.510376
    """
    return _y0(x, order=0)


def i0(x: Any) -> Tensor:
    """Return the modified Bessel function of the first kind and order 0 of each element.

    >>> i0(2.0)
    Tensor () float32, cpu: 2.279585
    """
    return _i0(x, order=0)


def k0(x: Any) -> Tensor:
    """Return the modified Bessel function of the second kind and order 0 of each element, x > 0.

    >>> k0(2.0)
    Tensor () float32, cpu: 0.113894
    """
    return _k0(x, order=0)


def i0e(x: Any) -> Tensor:
    """Return exp(-|x|) i0(x) for each element, which does not overflow.

    >>> i0e(2.0)
    Tensor () float32, cpu: 0.308508
    """
    return _i0e(x, order=0)


def k0e(x: Any) -> Tensor:
    """Return exp(x) k0(x) for each element, x > 0, which does not underflow.

    >>> k0e(2.0)
    Tensor () float32, cpu: 0.841568
    """
    return _k0e(x, order=0)
