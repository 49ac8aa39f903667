"""Samples of the elementwise primitives: arithmetic, comparison, elementary and special functions, complex numbers, bits, activations.

Inputs are float64 or complex128 and stay clear of kinks, poles and branch cuts, on both sides of them.
"""

from typing import Any

import numpy as np

Sample = tuple[tuple[Any, ...], dict[str, Any]]

rng = np.random.default_rng(2)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def positive(*shape: int) -> Any:
    return rng.uniform(0.5, 2.0, shape)


def inside(*shape: int) -> Any:
    """Values in (-1, 1), away from both."""
    return rng.uniform(-0.8, 0.8, shape)


def portion(*shape: int) -> Any:
    """Values in (0, 1), away from both."""
    return rng.uniform(0.2, 0.8, shape)


def wave(*shape: int) -> Any:
    """Complex values away from 0 and from the axes, in all four quadrants."""
    signs = rng.choice([-1.0, 1.0], (2, *shape))
    return signs[0] * rng.uniform(0.3, 1.5, shape) + 1j * signs[1] * rng.uniform(0.3, 1.5, shape)


def apart(*shape: int) -> Any:
    """Values at least 0.1 from zero and from each other, so that no difference crosses a kink or a tie."""
    size = int(np.prod(shape, dtype=int))
    return ((0.3 + np.arange(size)) * rng.choice([-1.0, 1.0], size)).reshape(shape)


def one(*inputs: Any, **params: Any) -> Sample:
    return inputs, params


mask = np.array([[True, False, True], [False, False, True]])
numbers = np.array([[6, -4, 9], [12, 5, 0]])

SAMPLES: dict[str, list[Sample]] = {
    # arithmetic
    "add": [one(normal(2, 3), normal(3)), one(normal(2, 1), normal(1, 3)), one(normal(3), normal()), one(normal(3), wave(2, 3))],
    "subtract": [one(normal(2, 3), normal(3)), one(normal(), normal(2, 2)), one(wave(3), normal(2, 1))],
    "multiply": [one(normal(2, 3), normal(3)), one(normal(2, 1), normal(1, 3)), one(normal(2, 3), mask), one(normal(3), wave(2, 3))],
    "reciprocal": [one(-positive(3)), one(wave(3))],
    "divide": [one(normal(2, 3), positive(3)), one(normal(3), -positive(2, 1)), one(normal(2, 3), wave(3)), one(wave(2), positive())],
    "negative": [one(normal(3)), one(wave(2))],
    "positive": [one(normal(3)), one(wave(2))],
    "sign": [one(apart(4))],
    "abs": [one(apart(5)), one(wave(4))],
    "square": [one(normal(3)), one(wave(3))],
    "sqrt": [one(positive(3)), one(wave(4))],
    "exp": [one(normal(3)), one(wave(3))],
    "log": [one(positive(3)), one(wave(4))],
    "sin": [one(normal(3)), one(wave(3))],
    "cos": [one(normal(3)), one(wave(3))],
    "tanh": [one(normal(3)), one(wave(3))],
    "maximum": [one(apart(2, 3), apart(3) + 0.15)],
    "minimum": [one(apart(2, 3), apart(3) + 0.15)],
    "power": [one(positive(2, 3), normal(3)), one(positive(2), normal(2, 2)), one(wave(3), normal(2, 3)), one(positive(3), wave(3))],
    "power_number": [one(normal(3), exponent=3), one(-positive(3), exponent=-2), one(positive(3), exponent=1.5), one(normal(2), exponent=0),
                     one(wave(3), exponent=3), one(wave(3), exponent=-0.5)],
    "clip": [one(apart(6) / 3.0, lower=-1.02, upper=0.97)],
    "clip_between": [one(apart(2, 6) / 6.0, np.array([-1.02, -0.5, -2.0, 0.4, 0.0, 0.0]), np.array([0.97, 1.1, -0.5, 0.2, 0.02, 9.0]))],
    # comparison
    **{name: [one(normal(2, 3), normal(3))] for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")},
    **{name: [one(mask, ~mask)] for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": [one(mask)],
    **{name: [one(normal(3))] for name in ("isfinite", "isinf", "isnan", "isposinf", "isneginf")},
    "isclose": [one(normal(2, 3), normal(3), rtol=1.0, atol=0.1, equal_nan=True)],
    "where": [one(mask, normal(2, 3), normal(3)), one(mask, normal(), normal(2, 1)), one(mask, wave(3), normal(2, 3))],
    # complex numbers
    "real": [one(wave(2, 3))],
    "imag": [one(wave(2, 3))],
    "conj": [one(wave(2, 3))],
    "complex": [one(normal(2, 3), normal(3)), one(normal(), normal(2, 1))],
    # bits
    **{name: [one(numbers, numbers[0])] for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm")},
    "bitwise_invert": [one(numbers), one(mask)],
    "bitwise_left_shift": [one(numbers, np.array([1, 0, 5]))],
    "bitwise_right_shift": [one(numbers, np.array([1, 0, 2]))],
    # elementary
    **{name: [one(normal(4)), one(wave(4))] for name in ("atan", "sinh", "cosh", "asinh", "exp2", "expm1")},
    "tan": [one(inside(4)), one(wave(4))],
    **{name: [one(inside(4)), one(wave(4))] for name in ("asin", "acos", "atanh", "log1p")},
    "acosh": [one(1.0 + positive(4)), one(wave(4))],
    **{name: [one(positive(4)), one(wave(4))] for name in ("log2", "log10", "rsqrt")},
    "cbrt": [one(positive(3)), one(-positive(3))],
    **{name: [one(apart(2, 3), apart(3)), one(apart(3), normal())] for name in ("atan2", "hypot", "logaddexp", "logaddexp2")},
    "deg2rad": [one(normal(3))],
    "rad2deg": [one(normal(3))],
    "xlogy": [one(normal(2, 3), positive(3)), one(np.zeros(2), positive(3, 2)), one(wave(3), wave(2, 3))],
    "xlog1py": [one(normal(2, 3), inside(3)), one(np.zeros(2), inside(3, 2))],
    **{name: [one(apart(5))] for name in ("floor", "ceil", "trunc", "frac", "signbit")},
    "round": [one(apart(5)), one(wave(3) * 0.25)],
    **{name: [one(apart(2, 3), np.array([0.77, -1.1, 2.17]))] for name in ("floor_divide", "remainder", "fmod")},
    "copysign": [one(apart(2, 3), apart(3))],
    "nextafter": [one(apart(2, 3), apart(3) + 0.15)],
    "heaviside": [one(apart(2, 3), normal(3)), one(np.array([-1.0, 1.0]), normal(2))],
    "fmax": [one(apart(2, 3), apart(3) + 0.15)],
    "fmin": [one(apart(2, 3), apart(3) + 0.15)],
    "nan_to_num": [one(normal(3), nan=1.0, high=2e3, low=-2e3)],
    "exponent": [one(apart(4))],
    "sinc": [one(np.array([0.0, 1e-4, -0.4, 0.99, 1.01, 2.0, -2.5, 3.0, 7.0]), order=0), one(np.array([0.0, 1.9, 2.1, -9.0]), order=1),
             one(wave(3), order=0)],
    # special
    **{name: [one(normal(4))] for name in ("erf", "erfc", "erfcx", "normal_density", "ndtr", "log_ndtr")},
    "erfinv": [one(inside(4))],
    "erfcinv": [one(1.0 + inside(4))],
    **{name: [one(portion(4))] for name in ("ndtri", "entr", "logit")},
    **{name: [one(positive(4)), one(np.array([-0.4, -1.6]))] for name in ("gammaln", "gamma", "digamma")},
    "polygamma": [one(positive(3), order=1), one(positive(3), order=3)],
    "betaln": [one(positive(2, 3), positive(3))],
    "beta": [one(positive(2, 3), positive(3))],
    "gammainc": [one(positive(2, 3), positive(3), order=0), one(positive(2), np.array([6.0, 0.2]), order=0),
                 one(np.array([12.0]), np.array([9.0, 12.9, 13.1, 20.0]), order=1)],
    "gammaincc": [one(positive(2, 3), positive(3)), one(positive(2), np.array([6.0, 0.2]))],
    "zeta": [one(1.0 + positive(2, 3), positive(3), order=0), one(2.0 + positive(2), 3.0 * positive(2), order=1)],
    **{name: [one(np.array([0.0, 0.3, -0.9, 1.9, 2.1, -3.4, 4.4, 9.0]), order=0)] for name in ("j0", "i0")},
    "i0e": [one(np.array([0.3, -0.9, 1.9, 2.1, -3.4, 4.4, 9.0]), order=0), one(np.array([-0.5, 7.0]), order=2)],
    **{name: [one(np.array([0.6, 1.9, 3.4, 9.0]), order=0), one(np.array([0.8, 7.0]), order=2)] for name in ("y0", "k0", "k0e")},
    **{name: [one(np.array([0.0, 0.3, -0.9, 2.1, -3.4, 9.0]))] for name in ("j1", "i1")},
    **{name: [one(np.array([0.8, 2.1, 9.0]))] for name in ("y1", "k1", "k1e")},
    "i1e": [one(np.array([0.3, -0.9, 2.1, -3.4, 9.0]))],
    # activations
    **{name: [one(normal(3)), one(np.array([-30.0, 30.0]))] for name in ("sigmoid", "softplus", "logsigmoid")},
    **{name: [one(2.0 * normal(4))] for name in ("silu", "tanhshrink", "mish", "gelu", "gelu_tanh")},
    **{name: [one(apart(5))] for name in ("relu", "softsign", "hardsigmoid", "hardswish")},
    "prelu": [one(apart(2, 3), normal(3)), one(apart(4), normal())],
    "hardtanh": [one(apart(4), lower=-1.0, upper=2.0)],
    "leaky_relu": [one(apart(4), slope=0.01)],
    "elu": [one(apart(4), alpha=1.5)],
    **{name: [one(apart(4), width=0.5)] for name in ("hardshrink", "softshrink")},
    "threshold": [one(apart(4), limit=1.0, value=-0.5)],
}
