"""What receivers hear beyond the fields that an equation declares: the strain along a fibre, and time integrals.

Both are linear in the fields, so that adjoints and tangents follow: a strain is differences, or derivatives, of interpolated velocities; a
time integral is a running sum of what is heard at every step.
"""
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperion.autograd import Tensor, cumsum
from hyperion.errors import BoundaryError, InputError, ShapeError

from .checks import is_number

if TYPE_CHECKING:
    from .layout import Taps
    from .solver import Solver


class StrainRate:
    """The axial strain rate d.(grad v).d along a direction d [1/s]: what distributed acoustic sensing (DAS) records.

    direction: of the fibre, (ndim,) or (receivers, ndim), of any length. gauge: length [m] of the average, centred at the receiver:
    (v(end) - v(start)).d / gauge; 0: the strain rate at the receiver itself. The equation must declare its `particle_velocity`.
    Positions of such receivers cannot be differentiated. Strain is pde.TimeIntegral(pde.StrainRate(...)).
    Raises: ShapeError, InputError for directions and gauges that cannot be.
    Source: Hartog, An Introduction to Distributed Optical Fibre Sensors (2017), section 6.2; Mateeva et al. 2014, Geophys. Prosp. 62, 679.

    >>> StrainRate((1.0, 0.0), gauge=10.0)
    StrainRate(direction=[1.0, 0.0], gauge=10.0)
    """

    def __init__(self, direction: Any, gauge: float = 0.0):
        try:
            along = np.asarray(direction, float)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"StrainRate(direction={direction!r}): not an array of numbers; give (ndim,) or (receivers, ndim)") from error
        if along.ndim not in (1, 2):
            raise ShapeError(f"StrainRate(direction of shape {along.shape}): give (ndim,) or (receivers, ndim)")
        lengths = np.linalg.norm(along, axis=-1, keepdims=True)
        if not np.isfinite(along).all() or not (lengths > 0.0).all():
            raise InputError(f"StrainRate(direction={direction!r}): give directions that are finite and not zero")
        if not is_number(gauge) or gauge < 0.0:
            raise InputError(f"StrainRate(gauge={gauge!r}): give a length of at least 0 [m]")
        self.direction, self.gauge = along / lengths, float(gauge)

    def taps(self, solver: "Solver", receivers: np.ndarray) -> dict[str, list["Taps"]]:
        """Return {velocity: the weighted cells of each shot's receivers}; receivers: (shots, receivers, ndim) [m].

        Raises: InputError if the equation has no velocities along the direction; ShapeError; BoundaryError for gauges that leave the grid.
        """
        grid, velocities = solver.grid, solver.equation.particle_velocity
        shape = (receivers.shape[1], grid.ndim)
        if self.direction.shape not in (shape, shape[1:]):
            raise ShapeError(f"StrainRate(direction of shape {self.direction.shape}): the survey has {shape[0]} receivers a shot on a grid "
                             f"of {shape[1]} axes; give ({shape[1]},) or {shape}")
        along = np.broadcast_to(self.direction, shape)
        wanted = [axis for axis in range(grid.ndim) if along[:, axis].any()]
        if any(axis - grid.ndim not in velocities for axis in wanted):
            raise InputError(f"Survey(receiver_field={self!r}): {type(solver.equation).__name__} declares no particle_velocity along axis "
                             f"{next(a for a in wanted if a - grid.ndim not in velocities) - grid.ndim}; use an elastic equation, or "
                             "declare the velocities")
        fields = {velocities[axis - grid.ndim]: along[:, axis] for axis in wanted}
        return {f: [self._shot(solver, f, points, along, factor) for points in receivers] for f, factor in fields.items()}

    def _shot(self, solver: "Solver", field: str, points: np.ndarray, along: np.ndarray, factor: np.ndarray) -> "Taps":
        """Return the weighted cells of one velocity; factor: (receivers,), its component along the fibre."""
        if not self.gauge:
            return solver.taps(points, field, slope=along / np.array(solver.grid.spacing)).times(factor)
        ends = [points + side * self.gauge * along for side in (0.5, -0.5)]
        extent = np.array(solver.grid.extent)
        for end in ends:
            outside = ((end < -1e-6 * extent) | (end > extent * (1.0 + 1e-6))).any(axis=1)
            if outside.any():
                i = int(np.flatnonzero(outside)[0])
                raise BoundaryError(f"Survey(receiver_field={self!r}): the gauge of receiver {i} ends at "
                                    f"({', '.join(f'{x:g}' for x in end[i])}) m, outside the grid; move it or shorten the gauge")
        first, last = (solver.taps(end, field).times(sign * factor / self.gauge) for end, sign in zip(ends, (1.0, -1.0), strict=True))
        return first.joined(last)

    def __repr__(self) -> str:
        return f"StrainRate(direction={self.direction.tolist()}, gauge={self.gauge})"


class TimeIntegral:
    """The time integral, from time zero, of what one of the equation's receivers or a `StrainRate` hears.

    Of a velocity: the displacement; of a strain rate: the strain. Summed at every internal step, to second order in it. of: a name or
    a StrainRate.
    Raises: InputError for anything else.

    >>> TimeIntegral("vz"), TimeIntegral(StrainRate((0.0, 1.0)))
    (TimeIntegral('vz'), TimeIntegral(StrainRate(direction=[0.0, 1.0], gauge=0.0)))
    """

    def __init__(self, of: str | StrainRate):
        if not isinstance(of, str | StrainRate):
            raise InputError(f"TimeIntegral(of={of!r}): give the name of a receiver, such as 'vz', or a pde.StrainRate")
        self.of = of

    @staticmethod
    def sum(gathers: Tensor, step: float, early: bool) -> Tensor:
        """Return the integrals of gathers (shots, receivers, steps) at steps [s]. early: whether samples are half a step early."""
        total, first = cumsum(gathers, axis=-1), gathers[..., :1]
        return (total - (first if early else 0.5 * (first + gathers))) * step

    def __repr__(self) -> str:
        return f"TimeIntegral({self.of!r})"
