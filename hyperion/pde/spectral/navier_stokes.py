"""The incompressible Navier-Stokes equations on the torus, in vorticity form."""
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, stack
from hyperion.autograd.ops.fft import irfft2, rfft2
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices

from .burgers import check_courant
from .integrators import Stepping, constant, steps_between
from .marching import check_times, coefficient, initial_state, march, raw
from .torus import Torus


class VorticitySolver:
    """w_t + u . grad w = viscosity Laplace w + forcing, div u = 0, w = curl u, on a doubly periodic box; axes (y, x).

    Pseudo-spectral with the two-thirds rule; four transforms a stage: u . grad w = (d_xx - d_yy)(u v) + d_xy (v^2 - u^2).
    torus: of two axes. stepping: ETDRK4, or CrankNicolson as in the paper on the Fourier neural operator.
    Source: Basdevant, J. Comput. Phys. 50 (1983), 209, eq. 6; Li et al., arXiv:2010.08895, section 5.3.

    >>> from hyperion.pde import ETDRK4
    >>> solver = VorticitySolver(Torus((32, 32), 2 * np.pi), ETDRK4(step=0.05))
    >>> y, x = np.meshgrid(solver.torus.axis(0), solver.torus.axis(1), indexing="ij")
    >>> solver.solve(2 * np.cos(x) * np.cos(y), duration=1.0, viscosity=0.1, saves=2).shape
    (2, 32, 32)
    """

    def __init__(self, torus: Torus, stepping: Stepping):
        if torus.ndim != 2:
            raise ShapeError(f"VorticitySolver({torus!r}): give a Torus of two axes")
        if not isinstance(stepping, Stepping):
            raise InputError(f"VorticitySolver(stepping={stepping!r}): give ETDRK4(step) or CrankNicolson(step)")
        self.torus, self.stepping = torus, stepping

    def __repr__(self) -> str:
        return f"VorticitySolver {self.stepping!r}, {self.torus!r}"

    def velocity(self, w: Any) -> tuple[Tensor, Tensor]:
        """Return the velocity (u along x, v along y) of a vorticity (..., ny, nx); its mean is zero.

        Raises: ShapeError, DtypeError, InputError if the vorticity does not fit.
        """
        w = initial_state("VorticitySolver", "w0", w, self.torus.shape)
        along_x, along_y = self._velocity_factors(np.ones(1))
        v = rfft2(w)
        return tuple(irfft2(constant(f, w.dtype, w.device) * v, s=self.torus.shape) for f in (along_x, along_y))  # type: ignore[return-value]

    def _velocity_factors(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the vorticity's spectrum is multiplied by for u and v: psi = w / |k|^2, u = psi_y, v = -psi_x."""
        ky, kx = self.torus.wavenumber(0), self.torus.wavenumber(1)
        squared = self.torus.squared()
        squared[0, 0] = 1.0
        inverse = mask / squared
        inverse[0, 0] = 0.0
        # The highest mode of an even number of points has no derivative of its own phase.
        ky, kx = (np.where(2 * abs(self.torus.modes(k)) == n, 0.0, q) for k, n, q in zip((0, 1), self.torus.shape, (ky, kx), strict=True))
        return 1j * ky * inverse, -1j * kx * inverse

    def solve(self, w0: Any, duration: float, *, viscosity: Any, forcing: Any = None, saves: int = 1) -> Tensor:
        """Return the vorticity at `saves` equally spaced times, the last one `duration`: shape (..., saves, ny, nx).

        w0: (..., ny, nx), float32 or float64. viscosity: a positive number, or one for each sample. forcing: (..., ny, nx), constant in
        time, of the same dtype; None is zero. Differentiable in all three in every mode. The mean of w changes by that of the forcing only.
        Raises: StabilityError if the step is too long for w0; NonFiniteError that names the step if the solution blows up;
        ShapeError, DtypeError, InputError for arguments that do not fit.
        """
        name, shape = "VorticitySolver", self.torus.shape
        w = initial_state(name, "w0", w0, shape)
        duration, saves = check_times(name, duration, saves)
        nu = coefficient(name, "viscosity", viscosity, 2, w.device)
        count, step = steps_between(duration, saves, self.stepping.step)
        self._check_courant(w, step, nu)
        advance = self._advance(step, nu, forcing, w.dtype, w.device)
        states = march(name, advance, rfft2(w), saves, count, duration)
        return stack([irfft2(v, s=shape) for v in states], axis=-3)

    def stepper(
        self, step: float, *, viscosity: Any, forcing: Any = None, dtype: Any = "float32", device: str = "cpu",
    ) -> Callable[[Any], Tensor]:
        """Return a function of w (..., ny, nx) that takes one step and checks nothing: for loops of your own, with a network between.

        >>> from hyperion.pde import ETDRK4
        >>> step = VorticitySolver(Torus((8, 8)), ETDRK4(step=0.01)).stepper(0.01, viscosity=0.1)
        >>> step(np.zeros((3, 8, 8), np.float32)).shape
        (3, 8, 8)
        """
        duration, _ = check_times("VorticitySolver.stepper", step, 1)
        nu = coefficient("VorticitySolver", "viscosity", viscosity, 2, device)
        advance = self._advance(duration, nu, forcing, np.dtype(dtype), device)
        return lambda w: irfft2(advance(rfft2(w)), s=self.torus.shape)

    def _advance(self, step: float, viscosity: Tensor, forcing: Any, dtype: Any, device: str) -> Callable[[Tensor], Tensor]:
        """Return one step of the spectrum."""
        shape, kept, ky, kx = self.torus.shape, self.torus.kept(), self.torus.wavenumber(0), self.torus.wavenumber(1)
        to_u, to_v = (constant(f, dtype, device) for f in self._velocity_factors(kept))
        product, difference = (constant(kept * f, dtype, device) for f in (kx ** 2 - ky ** 2, kx * ky))
        force = None
        if forcing is not None:
            given = as_tensor(forcing)
            if given.dtype != dtype:
                given = given.astype(dtype)
            if given.device != device:
                given = given.to(device)
            force = rfft2(initial_state("VorticitySolver", "forcing", given, shape))

        def nonlinear(spectrum: Tensor) -> Tensor:
            u, v = irfft2(to_u * spectrum, s=shape), irfft2(to_v * spectrum, s=shape)
            # d_xx - d_yy is multiplied by -(kx^2 - ky^2), d_xy by -kx ky, and the whole by -1.
            out = product * rfft2(u * v) + difference * rfft2((v - u) * (v + u))
            return out if force is None else out + force

        return self.stepping.advance(-viscosity * constant(self.torus.squared(), np.float64, device), nonlinear, step, dtype)

    def _check_courant(self, w: Tensor, step: float, viscosity: Tensor) -> None:
        values = devices.to_numpy(raw(w))
        spectrum = np.fft.rfft2(values)
        u, v = (np.fft.irfft2(f * spectrum, s=self.torus.shape) for f in self._velocity_factors(self.torus.kept()))
        kept = self.torus.kept()
        fastest = max(float(np.abs(u).max()), float(np.abs(v).max()))
        wavenumber = (np.abs(self.torus.wavenumber(0)) + self.torus.wavenumber(1)) * kept
        check_courant("VorticitySolver", self.stepping, step, fastest, wavenumber, raw(viscosity), self.torus.squared())
