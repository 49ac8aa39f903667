"""The shallow-water equations over a flat bottom, by a central scheme of second order."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, stack
from hyperion.autograd.functions import abs as absolute
from hyperion.autograd.functions import concat, flip, maximum, minimum, sign, sqrt
from hyperion.errors import InputError, ShapeError, StabilityError
from hyperion.gpu import device as devices

from .checks import is_positive, is_whole
from .spectral.integrators import constant, steps_between
from .spectral.marching import check_times, initial_state, march, raw

LIMIT = 0.5             # Courant number, summed over the axes, for which the scheme keeps its maximum principle in one dimension


class ShallowWaterSolver:
    """h_t + div(h v) = 0, (h v)_t + div(h v v) + grad(g h^2 / 2) = 0 in a rectangle; axes (y, x); bores allowed, dry ground not.

    Cell averages, linear in each cell with minmod slopes; the flux between cells is the mean of both sides' minus the fastest local wave
    times half their jump; Runge-Kutta of order 3 that keeps total variation. Mass is conserved to rounding.
    shape: cells (ny, nx). lengths: of the rectangle [m], or one for both. step: the longest step [s]. gravity: [m/s^2].
    periodic: whether the sides are joined; otherwise they are walls that reflect.
    Source: Kurganov and Tadmor, J. Comput. Phys. 160 (2000), 241, eq. 4.2-4.4 and 4.16; Shu and Osher, J. Comput. Phys. 77 (1988), 439.

    >>> solver = ShallowWaterSolver((16, 16), lengths=1.0, step=0.01, gravity=1.0)
    >>> start = np.zeros((3, 16, 16))
    >>> start[0] = 1.0
    >>> bool((solver.solve(start, duration=0.1)[0] == start).all())
    True
    """

    def __init__(
        self, shape: Sequence[int], lengths: Sequence[float] | float, step: float, *, gravity: float = 9.81, periodic: bool = False,
    ):
        if not np.iterable(shape) or len(tuple(shape)) != 2 or not all(is_whole(n, 4) for n in shape):
            raise ShapeError(f"ShallowWaterSolver(shape={shape!r}): give two axes of at least 4 cells")
        sides = tuple(lengths) if np.iterable(lengths) else (lengths,) * 2
        if len(sides) != 2 or not all(is_positive(side) for side in sides):
            raise InputError(f"ShallowWaterSolver(lengths={lengths!r}): give one positive length per axis [m], or one for both")
        for argument, value in (("step", step), ("gravity", gravity)):
            if not is_positive(value):
                raise InputError(f"ShallowWaterSolver({argument}={value!r}): give a positive number")
        self.shape = tuple(int(n) for n in shape)
        self.lengths = tuple(float(side) for side in sides)
        self.step, self.gravity, self.periodic = float(step), float(gravity), bool(periodic)

    def __repr__(self) -> str:
        return f"ShallowWaterSolver {'x'.join(map(str, self.shape))}, {' x '.join(f'{side:g}' for side in self.lengths)} m"

    @property
    def spacing(self) -> tuple[float, float]:
        """Sizes of a cell (dy, dx) [m]."""
        return self.lengths[0] / self.shape[0], self.lengths[1] / self.shape[1]

    def solve(self, start: Any, duration: float, *, saves: int = 1) -> Tensor:
        """Return (h, h u, h v) at `saves` equally spaced times, the last one `duration`: shape (..., saves, 3, ny, nx).

        start: (..., 3, ny, nx), float32 or float64: depth [m], and depth times velocity along x and along y [m^2/s].
        Differentiable in every mode where slopes do not change sign.
        Raises: StabilityError if the step is too long, for the start or at a later step, which is named; InputError for a depth that is not
        positive; NonFiniteError that names the step; ShapeError, DtypeError for arrays that do not fit.
        """
        name = "ShallowWaterSolver"
        q = initial_state(name, "start", start, (3, *self.shape))
        duration, saves = check_times(name, duration, saves)
        count, step = steps_between(duration, saves, self.step)
        depth = raw(q)[..., 0, :, :]
        if bool((depth <= 0).any()):
            at = tuple(int(i) for i in np.argwhere(devices.to_numpy(depth) <= 0)[0])
            raise InputError(f"{name}.solve(start): depth {float(depth[at]):g} m at {at}; it must be positive: there is no dry ground")
        self._check(q, step, 0)

        def advance(q: Tensor) -> Tensor:
            first = q + step * self.rate(q)
            second = 0.75 * q + 0.25 * (first + step * self.rate(first))
            return (1.0 / 3.0) * q + (2.0 / 3.0) * (second + step * self.rate(second))

        states = march(name, advance, q, saves, count, duration, lambda q, done: self._check(q, step, done))
        return stack(states, axis=-4)

    def rate(self, q: Any) -> Tensor:
        """Return the time derivative of the cell averages (..., 3, ny, nx).

        >>> solver = ShallowWaterSolver((4, 4), 1.0, step=0.01)
        >>> solver.rate(np.ones((3, 4, 4))).shape
        (3, 4, 4)
        """
        q = as_tensor(q)
        dy, dx = self.spacing
        return self._along(q, -1, 1) * (1.0 / dx) + self._along(q, -2, 2) * (1.0 / dy)

    def _along(self, q: Tensor, axis: int, normal: int) -> Tensor:
        """Return the inflow of each cell through its two faces across an axis."""
        wide = self._extended(q, axis, normal)
        jumps = _part(wide, axis, 1, None) - _part(wide, axis, 0, -1)
        left, right = _part(jumps, axis, 0, -1), _part(jumps, axis, 1, None)
        slopes = (0.5 * (sign(left) + sign(right))) * minimum(absolute(left), absolute(right))
        inner = _part(wide, axis, 1, -1)
        below, above = _part(inner + 0.5 * slopes, axis, 0, -1), _part(inner - 0.5 * slopes, axis, 1, None)
        (flux_below, fast_below), (flux_above, fast_above) = self._flux(below, normal), self._flux(above, normal)
        fastest = maximum(fast_below, fast_above)
        flux = 0.5 * (flux_below + flux_above - fastest * (above - below))
        return _part(flux, axis, 0, -1) - _part(flux, axis, 1, None)

    def _flux(self, q: Tensor, normal: int) -> tuple[Tensor, Tensor]:
        """Return the flux across an axis, and the speed of the fastest wave, (..., 1, ny, nx)."""
        h, momentum = q[..., 0:1, :, :], q[..., normal:normal + 1, :, :]
        velocity = momentum / h
        pressure = 0.5 * self.gravity * h * h
        carried = velocity * q
        parts = [carried[..., k:k + 1, :, :] + pressure if k == normal else carried[..., k:k + 1, :, :] for k in range(3)]
        return concat(parts, axis=-3), absolute(velocity) + sqrt(self.gravity * h)

    def _extended(self, q: Tensor, axis: int, normal: int) -> Tensor:
        """Return q with two more cells at both ends of an axis: those of the other end, or mirrored ones with the normal flow reversed."""
        first, last = _part(q, axis, 0, 2), _part(q, axis, -2, None)
        if self.periodic:
            return concat([last, q, first], axis=axis)
        signs = np.ones((3, 1, 1))
        signs[normal] = -1.0
        mirror = constant(signs, q.dtype, q.device)
        return concat([flip(first, axis=axis) * mirror, q, flip(last, axis=axis) * mirror], axis=axis)

    def _check(self, q: Tensor, step: float, done: int) -> None:
        values = raw(q)
        xp = devices.namespace(values)
        h = xp.maximum(values[..., 0, :, :], 0.0)
        safe = xp.where(h > 0, h, 1.0)
        wave = xp.sqrt(self.gravity * h)
        dy, dx = self.spacing
        courant = step * float(((abs(values[..., 1, :, :] / safe) + wave) / dx + (abs(values[..., 2, :, :] / safe) + wave) / dy).max())
        if courant > LIMIT:
            where = "for the start" if done == 0 else f"at step {done} (time {done * step:.4g})"
            raise StabilityError(f"ShallowWaterSolver: step={step:g} exceeds the stable {step * LIMIT / courant:.3g} {where} (Courant "
                                 f"number {courant:.3g}, limit {LIMIT:g}); give a shorter step")


def _part(x: Tensor, axis: int, start: int, stop: int | None) -> Tensor:
    """Return a stretch of an axis, counted from the last (-1 or -2)."""
    return x[(..., slice(start, stop), *(slice(None),) * (-1 - axis))]
