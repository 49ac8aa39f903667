"""Elementary functions of waves.h: their stated errors and special values, as generated kernels call them."""

import math

import mpmath
import numpy as np
import pytest

from hyperion.cpu import find_compiler, taylor

NATIVE = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
# Units in the last place, of float and double, as waves.h states them.
STATED = {"sin": (1.7, 1.7), "cos": (1.7, 1.7), "log": (1.0, 1.0), "log1p": (1.6, 1.6), "expm1": (1.8, 1.8)}
DOUBLE = {"sin": np.sin, "cos": np.cos, "log": np.log, "log1p": np.log1p, "expm1": np.expm1}
INF, NAN = math.inf, math.nan


def apply(name, x):
    """Return a function of each element, by a kernel of its own."""
    out = np.empty_like(x)
    kernel = taylor.map_kernel(f"q0 = {name}_of(p0);", 1, 1, x.dtype)
    kernel(x.size, [x.ctypes.data], [out.ctypes.data])
    return out


def points(random, name, count):
    """Return numbers of all sizes that the function takes, and many near where it is 0 or 1."""
    sizes = 10.0 ** random.uniform(-8, 8, count) * random.choice([-1.0, 1.0], count)
    near = random.normal(size=count)
    if name == "expm1":
        sizes = random.uniform(-20, 80, count)
    x = np.concatenate([sizes, near, 1.0 + near * 1e-3, np.arange(-200, 200) * (math.pi / 2.0)])
    low = {"log": 0.0, "log1p": -1.0}.get(name, -INF)
    return x[(x > low) & (x < (80.0 if name == "expm1" else INF))]


@NATIVE
@pytest.mark.parametrize("name", STATED)
def test_the_stated_errors_of_float32(name, random):
    x = points(random, name, 50_000).astype(np.float32)
    exact = DOUBLE[name](x.astype(np.float64))
    counts = np.abs(exact) > 2.0 ** -126
    errors = np.abs(apply(name, x) - exact)[counts] / np.spacing(np.abs(exact[counts]).astype(np.float32))
    assert errors.max() <= STATED[name][0]


@NATIVE
@pytest.mark.parametrize("name", STATED)
def test_the_stated_errors_of_float64(name, random):
    x = points(random, name, 300)
    with mpmath.workdps(60):
        for value, found in zip(x.tolist(), apply(name, x).tolist(), strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(value))
            assert abs(mpmath.mpf(found) - exact) <= STATED[name][1] * mpmath.mpf(math.ulp(found)), value


@NATIVE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STATED)
def test_special_values_are_as_in_numpy(name, dtype):
    x = np.array([0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 1e-30, 1e30 if name.startswith("log") else 1e6, -1e-30, 200.0, -200.0] * 2, dtype)
    with np.errstate(all="ignore"):
        expected = DOUBLE[name](x)
    np.testing.assert_allclose(apply(name, x), expected, rtol=20 * np.finfo(dtype).eps, atol=1e-37)


@NATIVE
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_without_a_fraction_left_are_nan(name):
    assert np.isnan(apply(name, np.array([2.0 ** 51, -1e30, 1e300]))).all()
    assert np.isfinite(apply(name, np.array([2.0 ** 49, -2.0 ** 49]))).all()
