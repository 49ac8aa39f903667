"""Positions that are differentiated: a point becomes the cells around it, each with a trace of its own and a weight that follows the point.

A simulation is linear in what enters and leaves at fixed cells, so that gathers are differentiable in positions to any order by the
weights alone: sum over taps of weight(position) * trace. The cells are those of the plain run; they change as a position passes a node,
where the window's end (1e-2 of the peak) makes the first derivatives jump, by up to a fifth: on a node they are those of one side.
"""
import math
from dataclasses import dataclass

import numpy as np

from hyperion.autograd import Tensor, as_tensor, reshape, sinc

from .survey import BETA, HALF_WIDTH


@dataclass(frozen=True)
class Moving:
    """Points as weighted cells.

    places: (shots, points * taps, ndim) of the cells, in the units of the positions [m]. weights: Tensor (shots, points, taps).
    """

    places: np.ndarray
    weights: Tensor

    def spread(self, traces: Tensor) -> Tensor:
        """Return the traces of the taps, (shots, points * taps, steps), from those of the points, (shots, points, steps)."""
        shots, points, taps = self.weights.shape
        weights = reshape(self._like(traces), (shots, points, taps, 1))
        return reshape(weights * reshape(traces, (shots, points, 1, -1)), (shots, points * taps, -1))

    def gather(self, traces: Tensor) -> Tensor:
        """Return the traces of the points, (shots, points, steps), from those of the taps: the transpose of `spread`."""
        shots, points, taps = self.weights.shape
        weights = reshape(self._like(traces), (shots, points, 1, taps))
        return reshape(weights @ reshape(traces, (shots, points, taps, -1)), (shots, points, -1))

    def _like(self, traces: Tensor) -> Tensor:
        return self.weights.astype(traces.dtype).to(traces.device)


def moving(positions: Tensor, spacing: tuple[float, ...], half: tuple[float, ...]) -> Moving:
    """Return positions (shots, points, ndim) [m] as cells and weights: those of `survey.taps`, as functions of the positions.

    half: per axis, 0.5 for a field half a cell beyond the nodes, else 0.
    """
    cells = positions.astype(np.float64) / np.array(spacing) - np.array(half)
    shots, points, ndim = cells.shape
    taps, along = 2 * HALF_WIDTH, np.arange(1 - HALF_WIDTH, HALF_WIDTH + 1)
    # A coordinate on a node up to rounding counts as that node, whichever side it lies on.
    at = np.floor(cells.detach().numpy() + 1e-6)[..., None] + along       # (shots, points, ndim, taps)
    one = [_weight(as_tensor(at[:, :, axis]) - reshape(cells[:, :, axis], (shots, points, 1))) for axis in range(ndim)]
    weights, places = one[0], at[:, :, 0, :, None]
    for axis in range(1, ndim):
        weights = reshape(reshape(weights, (shots, points, -1, 1)) * reshape(one[axis], (shots, points, 1, taps)), (shots, points, -1))
        before = np.repeat(places.reshape(shots, points, -1, axis), taps, axis=2)
        places = np.concatenate([before, np.tile(at[:, :, axis], (1, 1, before.shape[2] // taps))[..., None]], axis=-1)
    return Moving((places.reshape(shots, -1, ndim) + np.array(half)) * np.array(spacing), weights)


def _weight(r: Tensor) -> Tensor:
    """Return the Kaiser-windowed sinc at distances r [cells].

    The window is a power series in 1 - (r / half width)^2, I0(b sqrt(y)) = sum of (b^2 y / 4)^k / k!^2: it has all derivatives at its end.
    """
    y = 1.0 - (r / HALF_WIDTH) ** 2
    factors = [(BETA ** 2 / 4) ** k / math.factorial(k) ** 2 for k in range(24)]           # the last one is below 1e-21 of the first
    window = factors[-1] * y + factors[-2]
    for factor in reversed(factors[:-2]):
        window = window * y + factor
    return sinc(r) * (window / float(np.i0(BETA)))
