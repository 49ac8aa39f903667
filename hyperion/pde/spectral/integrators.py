"""Steps in time for stiff systems v' = L v + N(v) with a diagonal L: exponential Runge-Kutta of order 4, and Crank-Nicolson."""
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, astype, exp
from hyperion.autograd.dtypes import is_complex, real_dtype
from hyperion.autograd.functions import real
from hyperion.errors import InputError
from hyperion.gpu import device as devices

from ..checks import is_positive

Nonlinear = Callable[[Tensor], Tensor]
CONTOUR = 32        # points on the circle of radius 1 around each eigenvalue


class Stepping(ABC):
    """How a stiff system is stepped in time. step: the longest step; the one taken divides the time between two saved states evenly."""

    step: float
    limit: float            # largest stable Courant number of the fastest mode that is advected

    @abstractmethod
    def advance(self, linear: Tensor, nonlinear: Nonlinear, step: float, dtype: Any) -> Callable[[Tensor], Tensor]:
        """Return the function of a spectrum that takes one step. linear: L, float64 or complex128. dtype: of the real fields."""

    @abstractmethod
    def damped(self, decay: Any, step: float) -> Any:
        """Return by what the Courant number of a mode that decays at a rate [1 / time] counts, 1 without decay."""

    def _check(self) -> None:
        if not is_positive(self.step):
            raise InputError(f"{type(self).__name__}(step={self.step!r}): give a positive number, the longest step in time")


@dataclass(frozen=True)
class ETDRK4(Stepping):
    """Exponential time differencing, Runge-Kutta of order 4: L is stepped exactly, however stiff.

    step: the longest step. The coefficients (e^z - 1) / z ... are means over a circle around each z, so that no digits cancel.
    Source: Cox and Matthews, J. Comput. Phys. 176 (2002), 430, eq. 26-29; Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005), 1214.

    >>> ETDRK4(step=1e-3)
    ETDRK4(step=0.001)
    """

    step: float
    limit = 2.8             # of Runge-Kutta 4 on the imaginary axis: sqrt(8), rounded down

    def __post_init__(self) -> None:
        self._check()

    def damped(self, decay: Any, step: float) -> Any:
        """Return (1 - e^-z) / z for z = decay * step: how much of the nonlinear term a step of a decaying mode takes in."""
        z = np.maximum(decay * step, 1e-12)
        return -np.expm1(-z) / z

    def advance(self, linear: Tensor, nonlinear: Nonlinear, step: float, dtype: Any) -> Callable[[Tensor], Tensor]:
        """Return one step; differentiable in `linear` too."""
        whole, half, q, f1, f2, f3 = (_rounded(c, dtype) for c in contour_coefficients(linear, step))
        f2 = 2.0 * f2

        def one(v: Tensor) -> Tensor:
            n0 = nonlinear(v)
            kept = half * v
            a = kept + q * n0
            na = nonlinear(a)
            nb = nonlinear(kept + q * na)
            nc = nonlinear(half * a + q * (2.0 * nb - n0))
            return whole * v + f1 * n0 + f2 * (na + nb) + f3 * nc

        return one


@dataclass(frozen=True)
class CrankNicolson(Stepping):
    """Crank-Nicolson for L, forward Euler for N: order 1, the scheme of the Fourier neural operator's Navier-Stokes data.

    step: the longest step.
    Source: Li et al., arXiv:2010.08895, appendix A.3.3.

    >>> CrankNicolson(step=1e-4)
    CrankNicolson(step=0.0001)
    """

    step: float
    limit = 1.0

    def __post_init__(self) -> None:
        self._check()

    def damped(self, decay: Any, step: float) -> Any:
        """Return 1 / (1 + z / 2) for z = decay * step."""
        return 1.0 / (1.0 + 0.5 * decay * step)

    def advance(self, linear: Tensor, nonlinear: Nonlinear, step: float, dtype: Any) -> Callable[[Tensor], Tensor]:
        """Return one step; differentiable in `linear` too."""
        ahead = 1.0 / (1.0 - (0.5 * step) * linear)
        keep, take = _rounded((1.0 + (0.5 * step) * linear) * ahead, dtype), _rounded(step * ahead, dtype)
        return lambda v: keep * v + take * nonlinear(v)


def contour_coefficients(linear: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return e^z, e^(z/2), and the weights Q, f1, f2, f3 of ETDRK4 for z = linear * step; float64 or complex128.

    The circle is sampled in full; for a real z the lower half gives the conjugates of the upper, so the real part of that half will do.
    """
    z = linear * step
    whole_circle = is_complex(z.dtype)
    points = np.exp(2j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
    if not whole_circle:
        points = points[:CONTOUR // 2]
    sums: list[Any] = [0.0, 0.0, 0.0, 0.0]
    for r in points:
        w = z + complex(r)
        e, half = exp(w), exp(0.5 * w)
        back = 1.0 / w
        cube = back * back * back
        square = w * w
        terms = ((half - 1.0) * back, (e * (4.0 - 3.0 * w + square) - 4.0 - w) * cube, (e * (w - 2.0) + 2.0 + w) * cube,
                 (e * (4.0 - w) - 4.0 - 3.0 * w - square) * cube)
        sums = [total + (term if whole_circle else real(term)) for total, term in zip(sums, terms, strict=True)]
    q, f1, f2, f3 = (total * (step / len(points)) for total in sums)
    return exp(z), exp(0.5 * z), q, f1, f2, f3


def steps_between(duration: float, saves: int, longest: float) -> tuple[int, float]:
    """Return how many equal steps lie between two of `saves` equally spaced states, and how long each is."""
    interval = duration / saves
    count = max(1, math.ceil(interval / longest * (1.0 - 1e-12)))
    return count, interval / count


def _rounded(x: Tensor, dtype: Any) -> Tensor:
    """Return a coefficient in the precision of the run."""
    if is_complex(x.dtype):
        return astype(x, "complex64" if np.dtype(real_dtype(dtype)).itemsize < 8 else "complex128")
    return astype(x, dtype)


def constant(values: Any, dtype: Any, device: str) -> Tensor:
    """Return an array as a Tensor of a real dtype, or of the complex one of that precision, on a device."""
    array = np.asarray(values)
    kind = np.result_type(dtype, np.complex64) if array.dtype.kind == "c" else np.dtype(dtype)
    return as_tensor(devices.to_device(array.astype(kind), device))
