"""Elastic half-spaces in closed form, for tests of free surfaces: Lamb's and Garvin's problems. NumPy and SciPy only;
`ring` runs the solver.

x is the distance along the surface, z the depth; line sources; a, b = sqrt(1 / speed^2 + q^2) of P and S waves, horizontal slowness i q;
Rayleigh's function R = (q^2 + b^2)^2 - 4 q^2 a b. Derived by Cagniard's method from potentials, as by Lamb 1904 (Phil. Trans. A 203, 1) and
Garvin 1956 (Proc. Roy. Soc. A 234, 528); the wavelet is entire, so its convolution goes round poles instead of through them.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq, newton

from hyperion import pde


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


def rayleigh_speed_vti(p_speed: float, s_speed: float, epsilon: float, delta: float) -> float:
    """Return the speed of Rayleigh waves on a half-space whose axis of symmetry is normal to its surface; Thomsen's parameters.

    Displacements exp(i k (x - c t) - k q z) solve the Christoffel equation for two q with positive real parts; the speed is where a sum of
    both has no traction: the determinant of szx and szz vanishes.
    """
    c33, c44 = p_speed**2, s_speed**2  # over the density
    c11, c13 = c33 * (1.0 + 2.0 * epsilon), np.sqrt((c33 - c44) * (c33 - c44 + 2.0 * delta * c33)) - c44

    def function(c: float) -> float:
        # (c44 q^2 - c11 + c^2) u - i q (c13 + c44) w = 0 and (c33 q^2 - c44 + c^2) w - i q (c13 + c44) u = 0.
        a, b, d = c33 * c44, c33 * (c**2 - c11) + c44 * (c**2 - c44) + (c13 + c44) ** 2, (c**2 - c11) * (c**2 - c44)
        columns = []
        for q in np.sqrt(np.roots([a, b, d]).astype(complex)):
            q = q if q.real > 0.0 else -q
            u, w = 1j * q * (c13 + c44), c44 * q**2 - c11 + c**2
            columns.append((-q * u + 1j * w, 1j * c13 * u - c33 * q * w))
        (one, two), (three, four) = columns
        value = one * four - two * three
        return float(value.real if abs(value.real) > abs(value.imag) else value.imag)

    speeds = np.linspace(0.5 * s_speed, s_speed * (1.0 - 1e-6), 400)
    values = [function(c) for c in speeds]
    k = max(i for i in range(399) if values[i] * values[i + 1] < 0.0)
    return float(brentq(function, speeds[k], speeds[k + 1]))


def rayleigh_frequency(p_modulus: Callable[[complex], complex], s_modulus: Callable[[complex], complex], wavenumber: float) -> complex:
    """Return the angular frequency (imaginary part: decay) [1/s] of the Rayleigh wave of a wavenumber [1/m] on an absorbing half-space.

    p_modulus, s_modulus: squared speeds as functions of the frequency; Rayleigh's equation holds for complex ones.
    """

    def function(w: complex) -> complex:
        square, p, s = (w / wavenumber) ** 2, p_modulus(w), s_modulus(w)
        return (2.0 - square / s) ** 2 - 4.0 * np.sqrt(1.0 - square / p) * np.sqrt(1.0 - square / s)

    start = wavenumber * 0.93 * np.sqrt(s_modulus(wavenumber * np.sqrt(abs(s_modulus(1.0)))))
    return complex(newton(function, start))


def ring(equation: pde.Equation, order: int, speed: float, steps: int, **medium: float) -> np.ndarray:
    """Return vz (steps,), 1 ms apart, on the free surface of a strip closed to a ring of one wavelength: 15 points of 10 m.

    What is sent has the wavelength of the ring, at about the frequency of waves of a speed; what does not radiate downwards stays.
    """
    n, step = 15, 1e-3
    x = np.arange(n) * 10.0
    ends, phase = np.stack([np.zeros(n), x], axis=1), np.pi * speed / 150.0 * (np.arange(steps) * step - 0.2)
    samples = np.cos(2.0 * np.pi * x / 150.0)[None, :, None] * (1.0 - 2.0 * phase**2) * np.exp(-(phase**2))
    boundary = pde.Sides(pde.CPML(20), top=pde.FreeSurface(), left=pde.Periodic(), right=pde.Periodic())
    wave = pde.Solver(equation, pde.Grid((60, n), 10.0), order=order, boundary=boundary)
    survey = pde.Survey(ends[None], ends[None, :1], pde.Wavelet(samples, step), source_field="vz", receiver_field="vz")
    return wave.solve(survey, **{k: np.full((60, n), v) for k, v in medium.items()}).numpy()[0, 0]


def oscillation(trace: np.ndarray, step: float, every: int = 20) -> complex:
    """Return the angular frequency of a damped oscillation; its imaginary part is the decay [1/s]. By Prony's method."""
    x = trace[::every]
    a, b = np.linalg.lstsq(np.stack([x[1:-1], x[:-2]], axis=1), x[2:], rcond=None)[0]
    rate = np.log(np.roots([1.0, -a, -b]).astype(complex)[0]) / (step * every)
    return complex(abs(rate.imag), -rate.real)
