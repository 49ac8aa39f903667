"""Plane waves: a sheet of point sources across the grid, each delayed by where it lies."""
import math
from typing import Any

import numpy as np

from hyperion.errors import BoundaryError, InputError, ShapeError

from .checks import is_number, is_positive
from .grid import Grid
from .survey import Survey, Wavelet


def plane_waves(grid: Grid, wavelet: Wavelet, receivers: Any, directions: Any, *, position: float, speed: float,
                source_field: str | None = None, receiver_field: str | None = None) -> Survey:
    """Return a survey of plane waves, one shot for each direction, from a sheet of sources at one depth.

    wavelet: samples (steps,). receivers: (receivers, ndim) [m], the same for all shots. directions: (shots, ndim), of any length, into
    which the waves travel; not along the sheet. position: of the sheet along the first axis [m]. speed: of the waves in the medium there
    [m/s]. The sheet sends the wavelet per unit of its area (per m of it in two dimensions), to both of its sides, first where it is passed
    first. In pde.Acoustic that makes p = speed / (2 cos(angle)) times the wavelet's time integral, delayed by the way from there. The
    outermost nodes have half the weight: between pde.Rigid() sides a wave across the sheet is plane to rounding; elsewhere the sheet's
    ends diffract, so let it be longer than what its waves are looked at over.
    Raises: ShapeError, InputError, BoundaryError for values that cannot be.
    Source: Aki and Richards, Quantitative Seismology (2002), box 5.2 (plane waves as sums of delayed sources on a plane).

    >>> from hyperion.pde import ricker
    >>> plane_waves(Grid((40, 60), 10.0), ricker(15.0, 0.3, 1e-3), [[200.0, 300.0]], [[1.0, 0.0], [1.0, 0.2]], position=50.0, speed=2000.0)
    Survey 2 shots, 60 sources and 1 receivers each, 300 samples of 0.001 s
    """
    samples, along = wavelet.values(), np.asarray(directions, float)
    if samples.ndim != 1:
        raise ShapeError(f"plane_waves(wavelet with samples of shape {samples.shape}): give one wavelet, of shape (steps,)")
    if along.ndim != 2 or along.shape[1] != grid.ndim or not len(along):
        raise ShapeError(f"plane_waves(directions of shape {along.shape}): give (shots, {grid.ndim}), a component for each axis")
    lengths = np.linalg.norm(along, axis=1)
    if not np.isfinite(along).all() or (np.abs(along[:, 0]) < 0.01 * lengths).any() or not lengths.all():
        raise InputError(f"plane_waves(directions={directions!r}): waves along the sheet, or of no direction; let the first component be "
                         "at least a hundredth of the length")
    if not is_positive(speed):
        raise InputError(f"plane_waves(speed={speed!r}): give the positive speed of the waves at the sheet [m/s]")
    if not is_number(position) or not 0.0 <= position <= grid.extent[0]:
        raise BoundaryError(f"plane_waves(position={position!r}): the sheet lies outside the grid, which spans 0..{grid.extent[0]:g} m "
                            "along its first axis")
    across = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape[1:]], indexing="ij"), axis=-1).reshape(-1, grid.ndim - 1)
    ends = (across == 0) | (across == np.array(grid.shape[1:]) - 1)
    weights = math.prod(grid.spacing[1:]) * 0.5 ** ends.sum(axis=1)                 # (sources,)
    places = np.concatenate([np.full((len(across), 1), float(position)), across * np.array(grid.spacing[1:])], axis=1)
    delays = places[:, 1:] @ (along[:, 1:] / lengths[:, None]).T / speed            # (sources, shots)
    sent = weights[None, :, None] * _delayed(samples, (delays - delays.min(axis=0)).T / wavelet.step)
    heard = np.asarray(receivers, float)
    if heard.ndim != 2:
        raise ShapeError(f"plane_waves(receivers of shape {heard.shape}): give (receivers, {grid.ndim}) [m]; all shots have the same")
    shots = len(along)
    return Survey(np.broadcast_to(places, (shots, *places.shape)), np.broadcast_to(heard, (shots, *heard.shape)),
                  Wavelet(sent.astype(samples.dtype), wavelet.step), source_field=source_field, receiver_field=receiver_field)


def _delayed(samples: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Return samples (steps,) as (*delays.shape, steps), moved by delays in samples, of any fraction: turned phases, zeros come in."""
    steps = len(samples)
    length = 2 * (steps + math.ceil(delays.max()) + 1)                              # what is moved beyond the end does not wrap around
    turned = np.fft.rfft(samples, length) * np.exp(-2j * np.pi * np.fft.rfftfreq(length) * delays[..., None])
    return np.fft.irfft(turned, length)[..., :steps]
