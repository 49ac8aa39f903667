"""Elastic half-spaces in closed form, for tests of free surfaces: Lamb's and Garvin's problems. NumPy and SciPy only.

x is the distance along the surface, z the depth; line sources; a, b = sqrt(1 / speed^2 + q^2) of P and S waves, horizontal slowness i q;
Rayleigh's function R = (q^2 + b^2)^2 - 4 q^2 a b. Derived by Cagniard's method from potentials, as by Lamb 1904 (Phil. Trans. A 203, 1) and
Garvin 1956 (Proc. Roy. Soc. A 234, 528); the wavelet is entire, so its convolution goes round poles instead of through them.
"""

import numpy as np
from scipy.optimize import brentq


def ricker_rate(t: np.ndarray, frequency: float) -> np.ndarray:
    """Return the time derivative of a Ricker wavelet centred at 0, for complex times as well [1/s]."""
    w = (np.pi * frequency) ** 2
    return (4.0 * w * w * t**3 - 6.0 * w * t) * np.exp(-w * t * t)


def _slownesses(q: np.ndarray, p_speed: float, s_speed: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = (np.sqrt(1.0 / c**2 + q * q) for c in (p_speed, s_speed))
    return a, b, (q * q + b * b) ** 2 - 4.0 * q * q * a * b


def lamb(times: np.ndarray, x: float, frequency: float, p_speed: float, s_speed: float, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (v_z, v_x) [m/s] on the surface at a distance x from a downward force of 1 N/m there, a Ricker wavelet centred at t = 0.

    times: (steps,). With q = i p, p the slowness, u = -1 / (pi mu) Im of the integral of G(p) w(t - p x) over p > 0, passing below the
    Rayleigh pole: G = a / (beta^2 R) for u_z, p (q^2 + b^2 - 2 a b) / R for u_x.
    """
    below = 0.4 / (np.pi * frequency * x)  # further down the wavelet's values grow
    top = (times.max() + 2.0 / frequency) / x
    down, along = np.linspace(0.0, 1.0, 401), np.linspace(0.0, 1.0, 20_001)
    p = np.concatenate([-1j * below * down, -1j * below + top * along[1:]])
    middle, step = 0.5 * (p[1:] + p[:-1]), np.diff(p)
    q = 1j * middle
    a, b, r = _slownesses(q, p_speed, s_speed)
    waves = step[:, None] * ricker_rate(times - middle[:, None] * x, frequency)
    kernels = np.stack([a / (s_speed**2 * r), middle * (q * q + b * b - 2.0 * a * b) / r])
    v = -(kernels @ waves).imag / (np.pi * density * s_speed**2)
    return v[0], v[1]


def garvin(
    times: np.ndarray, x: float, depth: float, frequency: float, p_speed: float, s_speed: float, density: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (v_z, v_x) [m/s] on the surface at x from a source at a depth below 0: p_t = s(t) delta, s a Ricker wavelet centred at 0.

    With q(t) of Cagniard's path a depth - i q x = t: v_z = -1 / (pi rho alpha^2 beta^2) of the convolution of ds/dt with Re((q^2 + b^2) / R
    dq/dt), v_x the same of 2 i q b / R. The path is run through by t = (distance / alpha) cosh(angle).
    """
    distance = np.hypot(x, depth)
    arrival = distance / p_speed
    angle = np.linspace(0.0, np.arccosh((times.max() + 2.0 / frequency) / arrival), 6001)
    angle, step = 0.5 * (angle[1:] + angle[:-1]), angle[1]
    q = (1j * x * np.cosh(angle) + depth * np.sinh(angle)) / (distance * p_speed)
    slope = (1j * x * np.sinh(angle) + depth * np.cosh(angle)) / (distance * p_speed)
    _, b, r = _slownesses(q, p_speed, s_speed)
    waves = step * ricker_rate(times - arrival * np.cosh(angle)[:, None], frequency)
    kernels = np.stack([((q * q + b * b) / r * slope).real, (2j * q * b / r * slope).real])
    v = -(kernels @ waves) / (np.pi * density * (p_speed * s_speed) ** 2)
    return v[0], v[1]


def rayleigh_speed(p_speed: float, s_speed: float) -> float:
    """Return the speed of Rayleigh waves: the root of (2 - c^2/beta^2)^2 = 4 sqrt(1 - c^2/alpha^2) sqrt(1 - c^2/beta^2)."""

    def function(c: float) -> float:
        return (2.0 - (c / s_speed) ** 2) ** 2 - 4.0 * np.sqrt((1.0 - (c / p_speed) ** 2) * (1.0 - (c / s_speed) ** 2))

    return float(brentq(function, 0.5 * s_speed, s_speed * (1.0 - 1e-12)))
