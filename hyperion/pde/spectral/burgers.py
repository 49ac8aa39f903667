"""Burgers' equation on the circle."""
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, stack
from hyperion.autograd.ops.fft import irfft, rfft
from hyperion.errors import InputError, ShapeError, StabilityError
from hyperion.gpu import device as devices

from .integrators import Stepping, constant, steps_between
from .marching import check_times, coefficient, initial_state, march, raw
from .torus import Torus


class BurgersSolver:
    """u_t + (u^2 / 2)_x = viscosity u_xx on a periodic interval, pseudo-spectral with the two-thirds rule.

    torus: of one axis. stepping: ETDRK4 (order 4 in time) or CrankNicolson (order 1), with the longest step.
    Source: Canuto et al., Spectral Methods: Fundamentals (2006), section 3.3.

    >>> from hyperion.pde import ETDRK4
    >>> solver = BurgersSolver(Torus(64, 2 * np.pi), ETDRK4(step=0.01))
    >>> solver.solve(np.sin(solver.torus.axis(0)), duration=0.5, viscosity=0.1, saves=5).shape
    (5, 64)
    """

    def __init__(self, torus: Torus, stepping: Stepping):
        if torus.ndim != 1:
            raise ShapeError(f"BurgersSolver({torus!r}): give a Torus of one axis")
        if not isinstance(stepping, Stepping):
            raise InputError(f"BurgersSolver(stepping={stepping!r}): give ETDRK4(step) or CrankNicolson(step)")
        self.torus, self.stepping = torus, stepping

    def __repr__(self) -> str:
        return f"BurgersSolver {self.stepping!r}, {self.torus!r}"

    def solve(self, u0: Any, duration: float, *, viscosity: Any, saves: int = 1) -> Tensor:
        """Return u at `saves` equally spaced times, the last one `duration`: shape (..., saves, n).

        u0: (..., n), float32 or float64, at time 0. viscosity: a positive number, or one for each sample.
        Differentiable in u0 and viscosity in every mode.
        Raises: StabilityError if the step is too long for u0; NonFiniteError that names the step if the solution blows up;
        ShapeError, DtypeError, InputError for arguments that do not fit.
        """
        name = "BurgersSolver"
        u = initial_state(name, "u0", u0, self.torus.shape)
        duration, saves = check_times(name, duration, saves)
        nu = coefficient(name, "viscosity", viscosity, 1, u.device)
        count, step = steps_between(duration, saves, self.stepping.step)
        n, advected = self.torus.shape[0], self.torus.wavenumber(0) * self.torus.kept()
        check_courant(name, self.stepping, step, abs(raw(u)).max(), advected, raw(nu), self.torus.squared())
        advance = self._advance(step, nu, u.dtype, u.device)
        return stack([irfft(v, n=n) for v in march(name, advance, rfft(u), saves, count, duration)], axis=-2)

    def stepper(self, step: float, *, viscosity: Any, dtype: Any = "float32", device: str = "cpu") -> Callable[[Any], Tensor]:
        """Return a function of u (..., n) that takes one step and checks nothing: for loops of your own, with a network between the steps.

        >>> from hyperion.pde import ETDRK4
        >>> step = BurgersSolver(Torus(16), ETDRK4(step=0.01)).stepper(0.01, viscosity=0.1)
        >>> step(np.zeros((3, 16), np.float32)).shape
        (3, 16)
        """
        duration, _ = check_times("BurgersSolver.stepper", step, 1)
        advance = self._advance(duration, coefficient("BurgersSolver", "viscosity", viscosity, 1, device), np.dtype(dtype), device)
        return lambda u: irfft(advance(rfft(u)), n=self.torus.shape[0])

    def _advance(self, step: float, viscosity: Tensor, dtype: Any, device: str) -> Callable[[Tensor], Tensor]:
        """Return one step of the spectrum."""
        n, kept = self.torus.shape[0], self.torus.kept()
        flux = constant(-0.5j * self.torus.wavenumber(0) * kept, dtype, device)
        mask = constant(kept, dtype, device)

        def nonlinear(v: Tensor) -> Tensor:
            field = irfft(mask * v, n=n)
            return flux * rfft(field * field)

        return self.stepping.advance(-viscosity * constant(self.torus.squared(), np.float64, device), nonlinear, step, dtype)


def check_courant(name: str, stepping: Stepping, step: float, fastest: Any, wavenumber: Any, viscosity: Any, squared: Any) -> None:
    """Refuse a step that the advection by a speed makes unstable.

    wavenumber: of what is advected, sum over axes; squared: |k|^2. What diffusion damps within a step counts less.
    """
    speed, least = float(fastest), float(devices.to_numpy(viscosity).min())
    each = wavenumber * stepping.damped(least * squared, step)
    worst = speed * step * float(each.max())
    if worst > stepping.limit:
        stable = 0.99 * stepping.limit / (speed * float(wavenumber.max()))        # without the help of diffusion
        raise StabilityError(
            f"{name}: step={step:g} exceeds about {stable:.3g}, the stable one for the initial state's speed "
            f"{speed:.3g} (Courant number {worst:.3g}, limit {stepping.limit:g}); use a shorter step in {type(stepping).__name__}")
