"""Elementary functions: values as NumPy's, derivatives at points where formulas break down, and digits where they cancel."""

import cmath
import math
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES
from hyperion.autograd.dtypes import BFLOAT16, is_complex, is_inexact
from hyperion.errors import DtypeError, InputError, ShapeError
from tests.autograd.samples_elementwise import SAMPLES

rng = np.random.default_rng(5)
X, Y = rng.standard_normal((2, 3)), rng.standard_normal(3)
P, Q = rng.uniform(0.2, 0.8, (2, 3)), rng.uniform(0.5, 2.0, 3)
Z = X + 1j * rng.standard_normal((2, 3))
NAMES = {
    "tan": "tan", "sinh": "sinh", "cosh": "cosh", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
    "atanh": "arctanh", "expm1": "expm1", "log1p": "log1p", "exp2": "exp2", "log2": "log2", "log10": "log10", "sqrt": "sqrt",
    "reciprocal": "reciprocal", "square": "square", "sign": "sign", "positive": "positive", "conj": "conj", "real": "real", "imag": "imag",
    "angle": "angle", "abs": "abs",
}
REAL = {"cbrt": "cbrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "round", "signbit": "signbit", "deg2rad": "deg2rad",
        "rad2deg": "rad2deg", "sinc": "sinc", "isinf": "isinf", "isnan": "isnan"}
TWO = {"atan2": "arctan2", "hypot": "hypot", "logaddexp": "logaddexp", "logaddexp2": "logaddexp2", "copysign": "copysign",
       "nextafter": "nextafter", "heaviside": "heaviside", "floor_divide": "floor_divide", "remainder": "remainder", "fmod": "fmod",
       "fmax": "fmax", "fmin": "fmin", "float_power": "float_power"}
inf, nan = math.inf, math.nan


def same(x: Any, y: Any) -> None:
    assert x.dtype == y.dtype and x.shape == y.shape
    np.testing.assert_allclose(x.data, y, rtol=1e-14, atol=1e-15)      # the same library functions, and a few roundings


def slopes(f: Any, *xs: float) -> list[float]:
    """Return the partial derivatives of a function of numbers."""
    return [float(g) for g in hp.grad(f, argnums=tuple(range(len(xs))))(*(np.array(x) for x in xs))]


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_real_and_complex_numbers(name: str) -> None:
    same(getattr(hp, name)(P), getattr(np, NAMES[name])(P))
    same(getattr(hp, name)(Z), getattr(np, NAMES[name])(Z))


def test_acosh_of_real_and_complex_numbers() -> None:
    same(hp.acosh(1.0 + Q), np.arccosh(1.0 + Q))
    same(hp.acosh(Z), np.arccosh(Z))


@pytest.mark.parametrize("name", REAL)
def test_functions_of_real_numbers(name: str) -> None:
    same(getattr(hp, name)(3.0 * X), getattr(np, REAL[name])(3.0 * X))
    if name not in ("deg2rad", "rad2deg"):
        with pytest.raises(DtypeError) if name in ("cbrt", "floor", "ceil", "trunc", "signbit") else np.errstate():
            getattr(hp, name)(Z)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_numbers(name: str) -> None:
    x = P if name == "float_power" else X
    same(getattr(hp, name)(x, Y), getattr(np, TWO[name])(x, Y))
    with pytest.raises(DtypeError) if name != "float_power" else np.errstate():
        getattr(hp, name)(Z, Y)


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint64"])
def test_rounding_leaves_integers_alone(dtype: str) -> None:
    x = hp.asarray(np.array([3, 100], dtype))
    for f in (hp.floor, hp.ceil, hp.trunc, hp.round):
        assert f(x).dtype == dtype and f(x).data.tolist() == [3, 100]


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "i"), [(name, i) for name in SAMPLES for i in range(len(SAMPLES[name]))])
def test_two_byte_floats_stay_two_byte_floats_forward_and_back(name: str, i: int, half: str) -> None:
    inputs, params = SAMPLES[name][i]
    op = PRIMITIVES[name]
    narrow = [hp.asarray(x, dtype=half) if np.asarray(x).dtype == np.float64 else hp.asarray(x) for x in inputs]
    if name == "complex":
        narrow = [x.astype("float32") for x in narrow]         # as hp.complex does: no complex dtype has parts of two bytes
    elif any(is_complex(x.dtype) for x in narrow):
        return
    wide, out = op(*inputs, **params), op(*narrow, **params)
    if name == "complex" or wide.dtype != np.float64:
        assert out.dtype == ("complex64" if name == "complex" else wide.dtype)
        return
    assert out.dtype == half
    # Arguments are rounded to 2^-11 or 2^-8, and functions here have slopes up to about 10.
    np.testing.assert_allclose(out.data.astype(float), wide.data, rtol=0.01 if half == "float16" else 0.06, atol=0.06)
    active = [k for k, x in enumerate(narrow) if is_inexact(x.dtype)]
    if not op.differentiable:
        return

    def f(*xs: Any) -> Any:
        given = dict(zip(active, xs, strict=True))
        return op(*(given.get(k, x) for k, x in enumerate(narrow)), **params)

    xs = tuple(narrow[k] for k in active)
    _, moved = hp.jvp(f, xs, tuple(hp.ones_like(x) for x in xs))
    _, pull = hp.vjp(f, *xs)
    assert moved.dtype == half and all(g.dtype == half for g in pull(hp.ones_like(out)))


def test_bfloat16_with_other_dtypes() -> None:
    x = hp.asarray([1.5, 2.0], dtype="bfloat16")
    assert x.dtype == BFLOAT16 and (x * 2.0).dtype == (2 - x).dtype == (x + hp.asarray([1, 2])).dtype == BFLOAT16
    assert (x * hp.asarray([1.0, 1.0], dtype="float16")).dtype == (x * hp.ones(2)).dtype == np.float32
    assert (x * 1j).dtype == np.complex64 and hp.where([True, False], x, 0.0).dtype == BFLOAT16


def test_logarithms_of_sums_where_both_are_infinite() -> None:
    with np.errstate(all="ignore"):
        assert slopes(hp.logaddexp, -inf, -inf) == slopes(hp.logaddexp, inf, inf) == [0.5, 0.5]
        assert slopes(hp.logaddexp, inf, -inf) == slopes(hp.logaddexp, 0.0, -inf) == [1.0, 0.0]
        assert slopes(hp.logaddexp2, -inf, -inf) == [0.5, 0.5]
    assert slopes(hp.logaddexp, 1000.0, 1000.0) == [0.5, 0.5]
    second = hp.grad(hp.grad(hp.logaddexp))(np.array(2.0), np.array(2.0))      # a tie of finite numbers is no special point
    assert float(second) == pytest.approx(0.25, abs=1e-15)


def test_x_log_y_at_zero() -> None:
    assert [float(hp.xlogy(0.0, y)) for y in (0.0, 1.0, inf)] == [0.0, 0.0, 0.0] and math.isnan(float(hp.xlogy(0.0, nan)))
    assert float(hp.xlog1py(0.0, -1.0)) == 0.0
    assert slopes(hp.xlogy, 0.0, 0.0) == slopes(hp.xlog1py, 0.0, -1.0) == [0.0, 0.0]
    assert slopes(hp.xlogy, 0.0, 2.0) == [math.log(2.0), 0.0]


def test_the_origin_of_angle_and_length() -> None:
    assert slopes(hp.hypot, 0.0, 0.0) == slopes(hp.atan2, 0.0, 0.0) == [0.0, 0.0]
    assert slopes(hp.atan2, 1e-200, 1e-200) == pytest.approx([5e199, -5e199])        # the squares underflow
    assert slopes(hp.atan2, 1e200, 0.0) == pytest.approx([0.0, -1e-200])
    for f in (hp.abs, lambda z: hp.hypot(hp.real(z), hp.imag(z)), hp.angle):       # no derivative of a higher order either
        assert complex(hp.grad(f)(np.array(0j))) == complex(hp.grad(lambda z, f=f: hp.real(hp.grad(f)(z)))(np.array(0j))) == 0j
    same(hp.sign(np.array([0j, 3.0 + 4.0j])), np.array([0j, 0.6 + 0.8j]))


def test_the_gradient_of_the_size_of_a_complex_number_is_as_written_down() -> None:
    z = np.array(3.0 + 4.0j)
    assert complex(hp.grad(hp.abs)(z)) == pytest.approx(0.6 - 0.8j)                          # dL/dx - i dL/dy
    turned = hp.jvp(hp.sign, (z,), (np.array(1j),))[1]                                        # (i - z Re(i conj(z)) / 25) / 5
    assert complex(turned.item()) == pytest.approx((1j - z * 4.0 / 25.0) / 5.0)
    for part, expected in ((hp.real, 1.0), (hp.imag, -1j), (lambda z: hp.real(hp.conj(z)), 1.0), (lambda z: hp.imag(hp.conj(z)), 1j)):
        assert complex(hp.grad(part)(z)) == expected


def test_sinc_is_smooth_at_zero() -> None:
    f: Any = hp.sinc
    for expected in (1.0, 0.0, -math.pi ** 2 / 3.0, 0.0, math.pi ** 4 / 5.0):
        assert float(f(np.array(0.0))) == pytest.approx(expected, rel=1e-14, abs=1e-14)
        f = hp.grad(f)
    x = np.array([1e-9, 1e-3, 0.2, 0.3, 0.319, 0.65])
    z = math.pi * x
    slope = np.where(z < 0.05, -z / 3.0 + z ** 3 / 30.0 - z ** 5 / 840.0, (z * np.cos(z) - np.sin(z)) / z ** 2) * math.pi
    np.testing.assert_allclose(hp.grad(lambda x: hp.sum(hp.sinc(x)))(x).data, slope, rtol=1e-12)   # the formula loses 3 digits at 0.2


def test_powers_at_zero() -> None:
    assert slopes(hp.pow, 0.0, 2.0) == [0.0, 0.0] and slopes(hp.pow, 0.0, 1.0) == [1.0, 0.0] and slopes(hp.pow, 0.0, 0.0)[0] == 0.0
    mixed = hp.grad(hp.grad(hp.pow), argnums=1)(np.array(2.0), np.array(0.0))        # d2/dxdy x^y = 1 / x at y = 0
    assert float(mixed) == pytest.approx(0.5)
    assert float(hp.grad(lambda x: x ** 0)(3.0)) == 0.0
    with pytest.raises(DtypeError, match="the result is no integer"):
        hp.pow(hp.asarray([2, 3]), -1)
    assert hp.float_power([2, 4], -1).data.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("z", [1e-12 + 1e-12j, -1e-9 + 3e-5j, 1e-20 - 1e-10j, -0.5e-10 + 1e-5j])
def test_complex_expm1_and_log1p_keep_both_parts_near_zero(z: complex) -> None:
    series = z + z * z / 2.0 + z ** 3 / 6.0 + z ** 4 / 24.0
    got = complex(hp.expm1(np.array(z)).item())
    assert got.imag == pytest.approx(series.imag, rel=1e-14)
    # The real part may cancel: its error is measured by its terms, x and y^2 / 2.
    assert got.real == pytest.approx(series.real, abs=1e-15 * (abs(z.real) + z.imag ** 2))
    back = complex(hp.log1p(np.array(z)).item())
    series = z - z * z / 2.0 + z ** 3 / 3.0 - z ** 4 / 4.0
    assert back.imag == pytest.approx(series.imag, rel=1e-14)
    assert back.real == pytest.approx(series.real, abs=1e-15 * (abs(z.real) + z.imag ** 2))


def test_complex_log1p_far_from_zero() -> None:
    for z in (3.0 + 4.0j, -1.0 + 1.0j, -1.7 - 0.3j, 1e200 + 1e200j, -1e-3 + 50j):
        assert complex(hp.log1p(np.array(z)).item()) == pytest.approx(cmath.log(1.0 + z), rel=1e-14)


def test_quotients_and_remainders_have_the_signs_of_the_standard() -> None:
    x, y = np.array([7.0, -7.0, 7.0, -7.0]), np.array([3.0, 3.0, -3.0, -3.0])
    assert hp.floor_divide(x, y).data.tolist() == [2.0, -3.0, -3.0, 2.0] and hp.remainder(x, y).data.tolist() == [1.0, 2.0, -2.0, -1.0]
    assert hp.fmod(x, y).data.tolist() == [1.0, -1.0, 1.0, -1.0]
    assert slopes(hp.remainder, -7.0, 3.0) == [1.0, 3.0] and slopes(hp.fmod, -7.0, 3.0) == [1.0, 2.0]
    with np.errstate(all="ignore"):
        assert [float(hp.floor_divide(a, b)) for a, b in ((inf, 2.0), (inf, -2.0), (3.0, -inf))] == [inf, -inf, 0.0]
    assert hp.floor_divide(hp.asarray([-7, 7]), 2).data.tolist() == [-4, 3]


def test_numbers_in_place_of_nan() -> None:
    x = np.array([nan, inf, -inf, 2.0])
    same(hp.nan_to_num(x, 1.0, 5.0, -5.0), np.array([1.0, 5.0, -5.0, 2.0]))
    same(hp.nan_to_num(x), np.nan_to_num(x))
    same(hp.nan_to_num(x.astype(np.float32)), np.nan_to_num(x.astype(np.float32)))
    assert hp.grad(lambda x: hp.sum(hp.nan_to_num(x)))(x).data.tolist() == [0.0, 0.0, 0.0, 1.0]
    same(hp.nan_to_num(np.array([nan + 1j, 1.0 + nan * 1j])), np.nan_to_num(np.array([nan + 1j, 1.0 + nan * 1j])))
    assert hp.fmax([nan, 1.0], [2.0, nan]).data.tolist() == [2.0, 1.0]
    assert hp.grad(lambda x: hp.sum(hp.fmin(x, [nan, 2.0, 1.0])))(np.array([1.0, 2.0, 3.0])).data.tolist() == [1.0, 0.5, 0.0]


def test_parts_of_numbers() -> None:
    m, n = hp.frexp(X * 1e200)
    assert n.dtype == np.int32 and np.all((np.abs(m.data) >= 0.5) & (np.abs(m.data) < 1.0))
    same(hp.ldexp(m, n), X * 1e200)
    same(hp.ldexp(np.array([1.0]), -1074), np.array([5e-324]))
    assert float(hp.grad(lambda x: hp.frexp(x)[0])(np.array(6.0))) == 0.125
    same(hp.frac(X), np.modf(X)[0])
    same(hp.round(np.array([0.125, 1250.0]), 2), np.array([0.12, 1250.0]))
    same(hp.round(np.array([0.125, 1250.0]), -2), np.array([0.0, 1200.0]))
    same(hp.view_as_complex(hp.view_as_real(Z)), Z)
    same(hp.polar(np.abs(Z), np.angle(Z)), Z)
    same(hp.complex(X, Y), X + 1j * Y)
    edge = hp.complex(np.array(-0.0), inf).item()
    assert edge.imag == inf and math.copysign(1.0, edge.real) == -1.0
    assert hp.isreal([1.0, 2.0]).data.all() and hp.angle([-2, 2]).data.tolist() == [np.float32(math.pi), 0.0]
    same(hp.lerp(X, Y, 0.25), X + 0.25 * (Y - X))
    same(hp.addcmul(X, X, Y, 2.0), X + 2.0 * X * Y)
    same(hp.addcdiv(X, X, Q, 2.0), X + 2.0 * X / Q)


def test_bits() -> None:
    a, b = np.array([12, -7, 5], np.int16), np.array([10, 3, 1], np.int16)
    for name, expected in (("and", a & b), ("or", a | b), ("xor", a ^ b), ("left_shift", a << b), ("right_shift", a >> b)):
        same(getattr(hp, f"bitwise_{name}")(a, b), expected)
    same(hp.bitwise_invert(a), ~a)
    same(hp.gcd(a, b), np.gcd(a, b))
    same(hp.lcm(a, b), np.lcm(a, b))
    with pytest.raises(DtypeError, match="bitwise_and: does not take dtype float64"):
        hp.bitwise_and(X, X)


def test_clip_takes_numbers_arrays_and_no_bounds_in_the_dtype_of_x() -> None:
    x = np.array([-3.0, 0.0, 3.0])
    assert hp.clip(x.astype(np.float32), np.array(-1.0), 2).dtype == np.float32
    assert hp.clip(hp.asarray(np.array([-128, 5, 127], np.int8)), -1000, 7).data.tolist() == [-128, 5, 7]
    assert hp.clip(hp.asarray(np.array([-128, 5, 127], np.int8)), None, 7).dtype == np.int8
    assert hp.clip(x, np.array(1.0), np.array(-1.0)).data.tolist() == [-1.0, -1.0, -1.0]
    gx, low, high = hp.grad(lambda x, a, b: hp.sum(hp.clip(x, a, b)), argnums=(0, 1, 2))(x, np.array(-1.0), np.array(0.0))
    assert (gx.data.tolist(), float(low), float(high)) == ([0.0, 1.0, 0.0], 1.0, 1.0)
    assert hp.clip(np.array([nan]), 0.0, 1.0).data != hp.clip(np.array([nan]), 0.0, 1.0).data
    for bad in (Z, np.array([True])):
        with pytest.raises(DtypeError, match="no order to clip by"):
            hp.clip(bad, 0, 1)


def test_closeness() -> None:
    same(hp.isclose(X, X + 1e-9), np.isclose(X, X + 1e-9))
    assert hp.isclose([nan, inf], [nan, inf]).data.tolist() == [False, True] and hp.isclose([nan], [nan], equal_nan=True).data.all()
    assert hp.array_equal(X, X.tolist()) is False and hp.array_equal(X, X.copy()) and not hp.array_equal(X, X[0])
    assert hp.allclose(X, X * (1.0 + 1e-6)) and not hp.allclose(X, X * 1.1)
    assert hp.isposinf([inf, -inf, 1.0]).data.tolist() == [True, False, False] and hp.isneginf([inf, -inf]).data.tolist() == [False, True]


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.ldexp([1.0], 0.5), DtypeError, "it must be of integers"),
    (lambda: hp.frexp(Z), DtypeError, "it must be real"),
    (lambda: hp.round(hp.asarray([1]), 1), DtypeError, "has no decimals"),
    (lambda: hp.complex(Z, 1.0), DtypeError, "real is complex"),
    (lambda: hp.view_as_real(X), DtypeError, "it must be complex"),
    (lambda: hp.view_as_complex(X), ShapeError, "the last axis must have length 2"),
    (lambda: hp.maximum(Z, Y), DtypeError, "real numbers only"),
    (lambda: hp.floor(Z), DtypeError, "does not take dtype complex128"),
    (lambda: hp.full(2, X), InputError, "must be a Python number"),
    (lambda: hp.linspace(0.0, 1.0, -1), InputError, "must be 0 or more"),
    (lambda: hp.isdtype("float32", "real"), InputError, "is unknown; use one of bool"),
    (lambda: hp.result_type(), InputError, "give at least one"),
    (lambda: hp.finfo("int8"), DtypeError, "use iinfo"),
    (lambda: hp.iinfo("float32"), DtypeError, "use finfo"),
    (lambda: hp.round(X, 0.5), InputError, "decimals=0.5 must be an integer"),
    (lambda: hp.nan_to_num(X, None), InputError, "nan_to_num: nan=None must be a Python number"),
    (lambda: hp.arange("text"), InputError, "they must be real numbers"),
    (lambda: hp.asarray([1.0], copy=False), InputError, "it has to be copied"),
])
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_creation() -> None:
    same(hp.arange(0.0, 1.0, 0.1), np.arange(0.0, 1.0, 0.1).astype(np.float32))
    same(hp.arange(5, 0, -2), np.arange(5, 0, -2))
    same(hp.arange(3, 3), np.arange(0))
    same(hp.eye(2, 3, k=1, dtype="float64"), np.eye(2, 3, 1))
    same(hp.linspace(0, 1, 4, endpoint=False), np.linspace(0, 1, 4, endpoint=False, dtype=np.float32))
    assert hp.linspace(0, 1j, 3).dtype == np.complex64 and hp.full(2, 1j).dtype == np.complex64
    same(hp.logspace(0, 2, 3, dtype="float64"), np.logspace(0, 2, 3))
    same(hp.full_like(X, 2), np.full_like(X, 2.0))
    assert hp.ones_like(X, dtype="int8").dtype == np.int8 and hp.empty_like(X).shape == hp.empty((2, 3)).shape == (2, 3)
    x = np.ones(3)
    assert hp.asarray(x).data is x and not np.shares_memory(hp.asarray(x, copy=True).data, x) and hp.asarray(x, copy=False).data is x
    w = hp.asarray(x, requires_grad=True)
    assert hp.asarray(w, copy=True).tracked


def test_what_the_namespace_says_of_itself() -> None:
    info = hp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == hp.ones(1).dtype == hp.float32 and info.default_device() == hp.ones(1).device
    assert set(info.dtypes(kind=("bool", "complex floating"))) == {"bool", "complex64", "complex128"} and "cpu" in info.devices()
    assert hp.finfo(hp.bfloat16).eps == 2.0 ** -7 and hp.finfo(Z).dtype == hp.float64 and hp.iinfo("uint64").max == 2 ** 64 - 1
    assert (hp.result_type(hp.int8, 2.0), hp.result_type(hp.ones(1), 1j), hp.result_type(X, 1)) == (hp.float32, hp.complex64, hp.float64)
    assert hp.isdtype(hp.bfloat16, "real floating") and hp.isdtype(hp.bool, hp.bool) and not hp.isdtype(hp.bool, "integral")
    assert hp.can_cast(hp.int8, hp.int16) and not hp.can_cast(hp.uint64, hp.int64)
    assert hp.newaxis is None and (hp.e, hp.pi) == (math.e, math.pi)
