"""Special functions: values as SciPy's, derivatives against formulas and quadrature, and the digits of tails and small arguments."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.special

import hyperion as hp
from hyperion.errors import DtypeError, InputError

LINE = np.array([-4.0, -1.5, -0.3, 1e-8, 0.2, 0.9, 2.5, 6.0])
RIGHT = np.array([1e-6, 0.1, 0.7, 1.0, 2.5, 7.0, 30.0])
UNIT = np.array([1e-9, 0.05, 0.5, 0.8, 1.0 - 1e-9])
DOMAINS = {
    **dict.fromkeys(("erf", "erfc", "erfcx", "ndtr", "log_ndtr", "j0", "j1", "i0", "i0e", "i1", "i1e", "expit"), LINE),
    **dict.fromkeys(("gammaln", "gamma", "digamma", "y0", "y1", "k0", "k0e", "k1", "k1e", "entr", "zeta"), RIGHT),
    **dict.fromkeys(("ndtri", "logit"), UNIT), "erfinv": 2.0 * UNIT - 1.0, "erfcinv": 2.0 * UNIT,
}


def close(x: Any, y: Any, rtol: float = 1e-13) -> None:
    assert x.dtype == y.dtype and x.shape == y.shape
    np.testing.assert_allclose(x.data, y, rtol=rtol, atol=1e-300)


def derivative(f: Any, order: int = 1) -> Any:
    for _ in range(order):
        f = hp.grad(lambda x, f=f: hp.sum(f(x)))
    return f


@pytest.mark.parametrize("name", DOMAINS)
def test_values_are_scipys(name: str) -> None:
    x = DOMAINS[name] + (1.0 if name == "zeta" else 0.0)
    reference = getattr(scipy.special, "psi" if name == "digamma" else name)
    close(getattr(hp, name)(x), reference(x))
    narrow = getattr(hp, name)(x.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow.data, reference(x.astype(np.float32).astype(float)), rtol=2e-5)      # 170 roundings of float32


@pytest.mark.parametrize("name", ["beta", "betaln", "gammainc", "gammaincc"])
def test_values_of_two_arguments_are_scipys(name: str) -> None:
    close(getattr(hp, name)(RIGHT[:, None], RIGHT), getattr(scipy.special, name)(RIGHT[:, None], RIGHT))


def test_values_of_other_names() -> None:
    close(hp.polygamma(2, RIGHT), scipy.special.polygamma(2, RIGHT))
    close(hp.polygamma(0, RIGHT), scipy.special.psi(RIGHT))
    close(hp.multigammaln(5.0 + RIGHT, 3), np.array([scipy.special.multigammaln(a, 3) for a in 5.0 + RIGHT]), 1e-12)
    close(hp.zeta(RIGHT[3:] + 0.5, RIGHT[3:]), scipy.special.zeta(RIGHT[3:] + 0.5, RIGHT[3:]))
    close(hp.spherical_bessel_j0(LINE), scipy.special.spherical_jn(0, LINE))
    close(hp.logit(np.array([0.0, 1.0]), eps=0.25), np.log([1.0 / 3.0, 3.0]))
    assert hp.igamma is hp.gammainc and hp.igammac is hp.gammaincc and hp.expit is hp.sigmoid


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "reference", "x"), [
    ("j0", "jvp", np.concatenate([LINE, [0.0, 1.99, 2.01, 2.99, 3.01, 50.0]])),
    ("i0", "ivp", np.concatenate([LINE, [0.0, 5.99, 6.01, 9.99, 20.0]])),
    ("y0", "yvp", RIGHT[1:]), ("k0", "kvp", RIGHT[1:]),
])
def test_derivatives_of_bessel_functions_to_fourth_order(name: str, reference: str, x: Any, order: int) -> None:
    exact = getattr(scipy.special, reference)(0, x, order)
    # J crosses zero: its error is measured by its largest value, 1.
    np.testing.assert_allclose(derivative(getattr(hp, name), order)(x).data, exact, rtol=1e-11, atol=1e-14 if name == "j0" else 0.0)
    first = getattr(scipy.special, reference)(1, x, order)
    np.testing.assert_allclose(
        derivative(getattr(hp, f"{name[0]}1"), order)(x).data, first, rtol=1e-11, atol=1e-14 if name == "j0" else 0.0
    )


def test_scaled_bessel_functions_do_not_overflow_nor_do_their_derivatives() -> None:
    x = np.array([800.0, 5000.0])
    for order in (1, 2):
        # exp(-x) I0(x) is near (2 pi x)^(-1/2) (1 + 1 / 8x), exp(x) K0(x) near (pi / 2x)^(1/2) (1 - 1 / 8x).
        power = -0.5 - order
        factor = (-0.5, 0.75)[order - 1]
        np.testing.assert_allclose(derivative(hp.i0e, order)(x).data, factor * x ** power / math.sqrt(2.0 * math.pi), rtol=2e-3)
        np.testing.assert_allclose(derivative(hp.k0e, order)(x).data, factor * x ** power * math.sqrt(math.pi / 2.0), rtol=2e-3)
    at_one = math.exp(-1.0) * (scipy.special.ivp(1, 1.0) - scipy.special.i1(1.0))
    np.testing.assert_allclose(derivative(hp.i1e)(np.array([0.0, 1.0])).data, [0.5, at_one], rtol=1e-14)


@pytest.mark.parametrize("a", [0.05, 0.6, 1.0, 3.0, 12.0, 40.0])
@pytest.mark.parametrize("ratio", [0.02, 0.5, 0.95, 1.05, 2.0, 4.0])
def test_the_derivative_of_the_incomplete_gamma_function_in_its_first_argument(a: float, ratio: float) -> None:
    x = a * ratio
    # d/da of the integral of t^(a-1) exp(-t) / gamma(a): by parts of t = u^(1/a), which takes the singularity at 0 away.
    psi = float(scipy.special.psi(a))
    scale = a * math.gamma(a)

    def by_u(u: float) -> float:
        return (math.log(u) / a - psi) * math.exp(-u ** (1.0 / a)) / scale if u > 0 else 0.0

    def by_t(t: float) -> float:
        return (math.log(t) - psi) * math.exp((a - 1.0) * math.log(t) - t - math.lgamma(a)) if t > 0 else 0.0

    f, end = (by_u, x ** a) if a <= 1.0 else (by_t, x)
    below, _ = scipy.integrate.quad(f, 0.0, end, epsabs=1e-15, epsrel=1e-11, limit=500)
    got = float(hp.grad(hp.gammainc)(np.array(a), np.array(x)))
    assert got == pytest.approx(below, rel=1e-7, abs=1e-13)           # what the quadrature promises
    assert float(hp.grad(hp.gammaincc)(np.array(a), np.array(x))) == -got


def test_the_ends_of_the_incomplete_gamma_function() -> None:
    slope = hp.grad(hp.gammainc, argnums=(0, 1))
    with np.errstate(divide="ignore"):
        assert [float(g) for g in slope(np.array(1.0), np.array(0.0))] == [0.0, 1.0]
        assert [float(g) for g in slope(np.array(2.5), np.array(0.0))] == [0.0, 0.0]
    far = float(hp.grad(hp.gammainc)(np.array(2.0), np.array(200.0)))
    first = -200.0 * math.exp(-200.0) * (math.log(200.0) - float(scipy.special.psi(2.0)))      # the first term of a series in 1 / x
    assert far == pytest.approx(first, rel=0.01)
    assert math.isnan(float(hp.grad(hp.gammainc)(np.array(-1.0), np.array(1.0))))


def test_derivatives_of_zeta() -> None:
    # zeta'(2) and zeta'(3): OEIS A073002, A244115. zeta(s, q + 1) = zeta(s, q) - q^-s ties the derivatives in s together.
    assert float(hp.grad(hp.zeta)(np.array(2.0))) == pytest.approx(-0.93754825431584375370, rel=1e-14)
    assert float(hp.grad(hp.zeta)(np.array(3.0))) == pytest.approx(-0.19812624288563685333, rel=1e-14)
    s, q = np.array([1.1, 2.5, 9.0]), np.array([0.3, 1.7, 20.0])
    for order in (1, 2, 3):
        f = derivative(lambda s: hp.zeta(s, q), order)(s).data - derivative(lambda s: hp.zeta(s, q + 1.0), order)(s).data
        # The difference cancels where 1 / (s - 1)^(order + 1) dominates: near s = 1.1 by a factor of 1e4 at order 3.
        np.testing.assert_allclose(f, (-np.log(q)) ** order * q ** -s, rtol=1e-10)
    mixed = hp.grad(hp.grad(hp.zeta), argnums=1)(np.array(2.5), np.array(1.7))
    h = 1e-5
    around = [float(hp.grad(hp.zeta)(np.array(2.5), np.array(1.7 + e))) for e in (h, -h)]
    assert float(mixed) == pytest.approx((around[0] - around[1]) / (2.0 * h), rel=1e-8)
    assert math.isnan(float(hp.grad(hp.zeta)(np.array(0.5)))) and math.isnan(float(hp.zeta(np.array(0.5))))


def test_tails_keep_their_digits() -> None:
    x = np.array([-30.0, -10.0])
    slope = derivative(hp.log_ndtr)(x).data
    np.testing.assert_allclose(slope, math.sqrt(2.0 / math.pi) / scipy.special.erfcx(-x / math.sqrt(2.0)), rtol=1e-12)      # Mills' ratio
    assert np.all(derivative(hp.erfc)(np.array([10.0])).data < 0) and float(hp.erfc(np.array(10.0))) > 0
    inverse = derivative(hp.erfinv)(hp.erf(np.array([0.5, 2.0]))).data
    np.testing.assert_allclose(inverse, 0.5 * math.sqrt(math.pi) * np.exp([0.25, 4.0]), rtol=1e-13)
    p = np.array([1e-12])
    np.testing.assert_allclose(derivative(hp.ndtri)(p).data, 1.0 / hp.normal_density(hp.ndtri(p)).data, rtol=1e-13)


def test_poles_and_reflections() -> None:
    assert float(hp.gammaln(np.array(0.0))) == math.inf and float(hp.gamma(np.array(5.0))) == 24.0
    x = np.array([-0.5, -2.3])
    np.testing.assert_allclose(derivative(hp.gammaln)(x).data, scipy.special.psi(x), rtol=1e-14)
    reflected = (np.pi / np.sin(np.pi * x)) ** 2 - scipy.special.zeta(2.0, 1.0 - x)
    np.testing.assert_allclose(derivative(hp.digamma)(x).data, reflected, rtol=1e-12)
    with np.errstate(divide="ignore"):
        assert float(hp.grad(hp.entr)(np.array(0.0))) == math.inf


@pytest.mark.parametrize("name", ["ndtri", "gammaln", "digamma", "j0", "k1e", "entr"])
def test_complex_numbers_are_refused(name: str) -> None:
    with pytest.raises(DtypeError, match="does not take dtype complex128"):
        getattr(hp, name)(np.array([1j]))


def test_complex_error_function_is_holomorphic() -> None:
    z = np.array([0.3 + 0.4j, -1.0 - 0.2j])
    close(hp.erf(z), scipy.special.erf(z))
    _, moved = hp.jvp(hp.erf, (z,), (np.full(2, 1j),))
    np.testing.assert_allclose(moved.data, 2j / math.sqrt(math.pi) * np.exp(-z * z), rtol=1e-14)


def test_refusals() -> None:
    for order in (-1, 1.5):
        with pytest.raises(InputError, match="must be an integer, 0 or more"):
            hp.polygamma(order, 1.0)                      # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="dimension=0 must be an integer, 1 or more"):
        hp.multigammaln(3.0, 0)
