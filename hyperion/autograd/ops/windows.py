"""Window functions: weights that fade a signal out at its ends, for spectra and filters.

`sym=True` gives a symmetric window, for filters; `sym=False` a periodic one, the symmetric window of one sample more without its last, for
spectra (`stft`). All are float32 unless another dtype is asked for, and computed in float64.
Source: Harris 1978, Proc. IEEE 66, 51-83; Nuttall 1981, IEEE Trans. ASSP 29, 84-91.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import FLOAT, as_dtype, is_inexact
from hyperion.autograd.tensor import Tensor
from hyperion.errors import DtypeError, InputError
from hyperion.gpu import device as devices

__all__ = [
    "bartlett_window", "blackman_harris_window", "blackman_window", "cosine_window", "exponential_window", "flat_top_window",
    "gaussian_window", "general_cosine_window", "general_gaussian_window", "general_hamming_window", "hamming_window", "hann_window",
    "kaiser_window", "nuttall_window", "parzen_window", "tukey_window",
]


def _make(name: str, size: Any, sym: bool, dtype: Any, place: str, weights: Callable[[Any], Any]) -> Tensor:
    """Return a window; `weights` gives those of places from -1 to 1, evenly spaced over the whole symmetric window."""
    try:
        n = operator.index(size)
    except TypeError as error:
        raise InputError(f"{name}: size={size!r} must be an integer") from error
    if n < 0:
        raise InputError(f"{name}: size={n} must be 0 or more")
    kind = FLOAT if dtype is None else as_dtype(dtype)
    if not is_inexact(kind):
        raise DtypeError(f"{name}: dtype={kind} holds no fractions; it must be floating")
    whole = n if sym else n + 1
    at = (2.0 * np.arange(n) - (whole - 1)) / max(whole - 1, 1)
    values = np.ones(n) if n == 1 else weights(at)          # one sample is not faded out
    return Tensor(devices.to_device(values.astype(kind), place))


def _cosines(coefficients: Sequence[float]) -> Callable[[Any], Any]:
    """Return sum_k a_k cos(k pi t): with t from -1 to 1, as a_0 - a_1 cos(2 pi i / (n - 1)) + ... in samples from the start."""
    return lambda t: sum(a * np.cos(k * np.pi * t) for k, a in enumerate(coefficients))


def _positive(name: str, argument: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0.0 < value < math.inf:
        raise InputError(f"{name}: {argument}={value!r} must be a number above 0")
    return float(value)


def _finite(name: str, argument: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{name}: {argument}={value!r} must be a finite number")
    return float(value)


def general_cosine_window(size: int, coefficients: Sequence[float], *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a sum of cosines: a_0 - a_1 cos(2 pi i / (size - 1)) + a_2 cos(4 pi i / (size - 1)) - ...

    size: samples.  coefficients: a_0, a_1, ...  sym: symmetric; False: periodic, with size instead of size - 1.
    dtype: floating, default float32.
    Raises: InputError for a negative size or coefficients that are no list of numbers; DtypeError for an integer dtype.

    >>> general_cosine_window(3, [0.5, 0.5])
    Tensor (3,) float32, cpu: [0. 1. 0.]
    """
    given: Any = coefficients
    if type(given) not in (list, tuple) or not given:
        raise InputError(f"general_cosine_window: coefficients={coefficients!r} must be a list or tuple of at least one number")
    terms = [_finite("general_cosine_window", "coefficients", a) for a in given]
    return _make("general_cosine_window", size, sym, dtype, device, _cosines(terms))


def general_hamming_window(size: int, alpha: float = 0.54, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return alpha - (1 - alpha) cos(2 pi i / (size - 1)); other arguments as in `general_cosine_window`.

    >>> general_hamming_window(3, 0.5)
    Tensor (3,) float32, cpu: [0. 1. 0.]
    """
    a = _finite("general_hamming_window", "alpha", alpha)
    return _make("general_hamming_window", size, sym, dtype, device, _cosines([a, 1.0 - a]))


def hann_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Hann's window, a raised cosine that reaches zero; arguments as in `general_cosine_window`.

    >>> hann_window(4, sym=False)
    Tensor (4,) float32, cpu: [0.  0.5 1.  0.5]
    """
    return _make("hann_window", size, sym, dtype, device, _cosines([0.5, 0.5]))


def hamming_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Hamming's window, a raised cosine from 0.08; arguments as in `general_cosine_window`.

    >>> hamming_window(3)
    Tensor (3,) float32, cpu: [0.08 1.   0.08]
    """
    return _make("hamming_window", size, sym, dtype, device, _cosines([0.54, 0.46]))


def blackman_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Blackman's window of three cosines; arguments as in `general_cosine_window`.

    >>> blackman_window(5, dtype="float64").shape
    (5,)
    """
    return _make("blackman_window", size, sym, dtype, device, _cosines([0.42, 0.5, 0.08]))


def blackman_harris_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return the Blackman-Harris window, four cosines with side lobes 92 dB down; arguments as in `general_cosine_window`.

    >>> blackman_harris_window(5).shape
    (5,)
    """
    return _make("blackman_harris_window", size, sym, dtype, device, _cosines([0.35875, 0.48829, 0.14128, 0.01168]))


def nuttall_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Nuttall's window, the lowest side lobes of four cosines; arguments as in `general_cosine_window`.

    >>> nuttall_window(5).shape
    (5,)
    """
    return _make("nuttall_window", size, sym, dtype, device, _cosines([0.3635819, 0.4891775, 0.1365995, 0.0106411]))


def flat_top_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return the flat-top window, which keeps the height of spectral lines; arguments as in `general_cosine_window`.

    >>> flat_top_window(5).shape
    (5,)
    """
    terms = [0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368]
    return _make("flat_top_window", size, sym, dtype, device, _cosines(terms))


def bartlett_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return the triangle that reaches zero at both ends; arguments as in `general_cosine_window`.

    >>> bartlett_window(5)
    Tensor (5,) float32, cpu: [0.  0.5 1.  0.5 0. ]
    """
    return _make("bartlett_window", size, sym, dtype, device, lambda t: 1.0 - np.abs(t))


def cosine_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return half a period of a sine, sin(pi (i + 1/2) / size); arguments as in `general_cosine_window`.

    >>> cosine_window(1)
    Tensor (1,) float32, cpu: [1.]
    """
    whole = _whole(size, sym)
    return _make("cosine_window", size, sym, dtype, device, lambda t: np.cos(0.5 * np.pi * t * (whole - 1) / whole))


def _whole(size: Any, sym: bool) -> int:
    """Return the samples of the symmetric window that a window is cut from, at least 1; `_make` refuses what is no integer."""
    return max(size + (not sym), 1) if isinstance(size, int) else 1


def _samples(size: Any, sym: bool) -> float:
    """Return the distance of the ends of a window from its middle, in samples."""
    return 0.5 * (_whole(size, sym) - 1)


def gaussian_window(size: int, std: float = 1.0, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a Gaussian, exp(-(i - middle)^2 / (2 std^2)).

    std: standard deviation [samples].  Other arguments as in `general_cosine_window`.
    Raises: InputError for std <= 0.

    >>> gaussian_window(3, 1.0)
    Tensor (3,) float32, cpu: [0.606531 1.       0.606531]
    """
    scale = _samples(size, sym) / _positive("gaussian_window", "std", std)
    return _make("gaussian_window", size, sym, dtype, device, lambda t: np.exp(-0.5 * (scale * t) ** 2))


def general_gaussian_window(
    size: int, power: float, std: float, *, sym: bool = True, dtype: Any = None, device: str = "cpu"
) -> Tensor:
    """Return exp(-|(i - middle) / std|^(2 power) / 2): a Gaussian for power 1, Laplace's shape for 1/2.

    power, std: above 0; std in samples.  Other arguments as in `general_cosine_window`.

    >>> general_gaussian_window(3, 1.0, 1.0)
    Tensor (3,) float32, cpu: [0.606531 1.       0.606531]
    """
    name = "general_gaussian_window"
    scale, exponent = _samples(size, sym) / _positive(name, "std", std), 2.0 * _positive(name, "power", power)
    return _make(name, size, sym, dtype, device, lambda t: np.exp(-0.5 * np.abs(scale * t) ** exponent))


def exponential_window(
    size: int, tau: float = 1.0, center: float | None = None, *, sym: bool = True, dtype: Any = None, device: str = "cpu"
) -> Tensor:
    """Return exp(-|i - center| / tau).

    tau: decay [samples], above 0.  center: where it is 1 [samples]; None: the middle.  Other arguments as in `general_cosine_window`.
    Raises: InputError for tau <= 0.

    >>> exponential_window(3, 1.0)
    Tensor (3,) float32, cpu: [0.367879 1.       0.367879]
    """
    name, half = "exponential_window", _samples(size, sym)
    decay = _positive(name, "tau", tau)
    offset = 0.0 if center is None else _finite(name, "center", center) - half
    return _make(name, size, sym, dtype, device, lambda t: np.exp(-np.abs(half * t - offset) / decay))


def kaiser_window(size: int, beta: float = 12.0, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Kaiser's window, I0(beta sqrt(1 - t^2)) / I0(beta) with t from -1 to 1.

    beta: 0 is a rectangle; the larger, the lower the side lobes and the wider the main one.  Others as in `general_cosine_window`.
    Raises: InputError for a negative beta.

    >>> kaiser_window(3, 0.0)
    Tensor (3,) float32, cpu: [1. 1. 1.]
    """
    if _finite("kaiser_window", "beta", beta) < 0.0:
        raise InputError(f"kaiser_window: beta={beta} must be 0 or more")
    return _make("kaiser_window", size, sym, dtype, device, lambda t: _bessel(beta, beta * np.sqrt(np.maximum(1.0 - t * t, 0.0))))


def _bessel(top: float, x: Any) -> Any:
    """Return I0(x) / I0(top) for x <= top, without overflow."""
    scaled: Callable[[Any], Any] = devices.scipy_module(np, "special").i0e      # exp(-|x|) I0(x)
    weight: Any = np.exp(x - top)
    return scaled(x) / scaled(top) * weight


def tukey_window(size: int, alpha: float = 0.5, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return a rectangle whose ends are tapered by halves of Hann's window.

    alpha: tapered part of it, from 0 (a rectangle) to 1 (Hann's window).  Other arguments as in `general_cosine_window`.
    Raises: InputError for alpha outside 0 to 1.

    >>> tukey_window(5, 1.0)
    Tensor (5,) float32, cpu: [0.  0.5 1.  0.5 0. ]
    """
    if not 0.0 <= _finite("tukey_window", "alpha", alpha) <= 1.0:
        raise InputError(f"tukey_window: alpha={alpha} must be from 0 to 1")

    def weights(t: Any) -> Any:
        if alpha == 0.0:
            return np.ones_like(t)
        into = np.clip((1.0 - np.abs(t)) / alpha, 0.0, 1.0)      # 0 at the ends, 1 where the taper is over
        return 0.5 * (1.0 - np.cos(np.pi * into))

    return _make("tukey_window", size, sym, dtype, device, weights)


def parzen_window(size: int, *, sym: bool = True, dtype: Any = None, device: str = "cpu") -> Tensor:
    """Return Parzen's window, a cubic B-spline; arguments as in `general_cosine_window`.

    >>> parzen_window(1)
    Tensor (1,) float32, cpu: [1.]
    """
    whole = _whole(size, sym)

    def weights(t: Any) -> Any:
        u = np.abs(t) * (whole - 1) / whole
        return 2.0 * (1.0 - u) ** 3 - 8.0 * np.maximum(0.5 - u, 0.0) ** 3

    return _make("parzen_window", size, sym, dtype, device, weights)
