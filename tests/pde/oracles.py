"""Solutions known in closed form, for the tests of the solvers: NumPy and SciPy only, nothing of Hyperion.

Conventions are those of `pde.Acoustic`: p_tt = c^2 (laplace(p) + s), s a point source w(t) delta(x), at rest before t = 0.
"""

from collections.abc import Callable, Sequence
from math import factorial

import numpy as np


def ricker(times: np.ndarray, frequency: float, delay: float) -> np.ndarray:
    """Return the Ricker wavelet of a peak `frequency` [Hz], its peak at `delay` [s], at `times` [s] (any shape)."""
    argument = (np.pi * frequency * (times - delay)) ** 2
    return (1.0 - 2.0 * argument) * np.exp(-argument)


def acoustic_2d(
    wavelet: Callable[[np.ndarray], np.ndarray], times: np.ndarray, distance: float, speed: float, nodes: int = 500
) -> np.ndarray:
    """Return the pressure of a line source in an unbounded medium, at `times` [s], `distance` [m] away.

    wavelet: function of time [s], negligible before t = 0; times: shape (steps,); nodes: Gauss-Legendre nodes of the integral.
    The Green's function is H(t - r/c) / (2 pi sqrt(t^2 - r^2/c^2)). With t' = (r/c) cosh(x) its square-root singularity goes:
    p(t) = 1/(2 pi) * integral of wavelet(t - (r/c) cosh(x)) over 0 < x < arccosh(c t / r).
    """
    arrival = distance / speed
    upper = np.arccosh(np.maximum(np.asarray(times, float) / arrival, 1.0))  # (steps,)
    x, weight = np.polynomial.legendre.leggauss(nodes)
    angle = 0.5 * upper[:, None] * (x + 1.0)  # (steps, nodes)
    return (wavelet(times[:, None] - arrival * np.cosh(angle)) @ weight) * 0.5 * upper / (2.0 * np.pi)


def acoustic_3d(wavelet: Callable[[np.ndarray], np.ndarray], times: np.ndarray, distance: float, speed: float) -> np.ndarray:
    """Return the pressure of a point source in an unbounded medium: wavelet(t - r/c) / (4 pi r)."""
    return wavelet(np.asarray(times, float) - distance / speed) / (4.0 * np.pi * distance)


def second_derivative_weights(order: int) -> np.ndarray:
    """Return the central weights w_0 .. w_m of the second derivative of an even `order` = 2 m on unit spacing.

    w_j = 2 (-1)^(j+1) (m!)^2 / (j^2 (m-j)! (m+j)!), w_0 = -2 sum of 1/j^2 (Fornberg 1988, the limit of his recursion).
    """
    half = order // 2
    taps = range(1, half + 1)
    weights = [2.0 * (-1) ** (j + 1) * factorial(half) ** 2 / (j * j * factorial(half - j) * factorial(half + j)) for j in taps]
    return np.array([-2.0 * sum(weights), *weights])


def laplace_symbol(shape: Sequence[int], spacing: Sequence[float], order: int) -> np.ndarray:
    """Return what the discrete Laplacian of an even `order` multiplies each Fourier mode of a periodic box by [1/m^2].

    shape: nodes per axis; spacing [m] per axis. Result: `shape`, in the order of `numpy.fft.fftn`, never positive.
    """
    weights = second_derivative_weights(order)
    symbol = np.zeros(shape)
    for axis, (count, step) in enumerate(zip(shape, spacing, strict=True)):
        phase = 2.0 * np.pi * np.fft.fftfreq(count)  # k h
        line = sum(2.0 * w * (np.cos(j * phase) - 1.0) for j, w in enumerate(weights) if j) / step**2
        symbol += line.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return symbol


def leapfrog_angle(symbol: np.ndarray, speed: float, step: float) -> np.ndarray:
    """Return omega dt of the leapfrog scheme for modes of the given Laplace symbol: sin^2(omega dt / 2) = -(c dt)^2 symbol / 4.

    The scheme is p(n+1) - 2 p(n) + p(n-1) = (c dt)^2 (L p(n) + s(n)).
    """
    return 2.0 * np.arcsin(0.5 * speed * step * np.sqrt(-symbol))


def leapfrog_impulse(angle: np.ndarray, speed: float, step: float, steps: int) -> np.ndarray:
    """Return the exact response of each mode to s(0) = 1, s(n > 0) = 0, from rest: (c dt)^2 sin(n angle) / sin(angle).

    angle: omega dt, any shape, below pi. Result: shape (steps, *angle.shape); the mode of angle 0 grows linearly, n (c dt)^2.
    """
    n = np.arange(steps).reshape((-1,) + (1,) * np.ndim(angle))
    sine = np.sin(angle)
    still = np.abs(sine) < 1e-12
    return (speed * step) ** 2 * np.where(still, n, np.sin(n * angle) / np.where(still, 1.0, sine))


def relative_l2(result: np.ndarray, reference: np.ndarray) -> float:
    """Return the L2 norm of the difference over that of the reference."""
    return float(np.linalg.norm(np.asarray(result) - reference) / np.linalg.norm(reference))
