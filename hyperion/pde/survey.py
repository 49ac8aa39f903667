"""Sources, receivers and wavelets: what an experiment sends and where it listens."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor
from hyperion.errors import BoundaryError, DtypeError, InputError, ShapeError

from .checks import is_number, is_positive
from .grid import Grid
from .receivers import StrainRate, TimeIntegral

Array = Any


@dataclass(frozen=True)
class Wavelet:
    """Source samples at a constant step.

    samples: (steps,) for all sources alike, or (shots, sources per shot, steps); an array, or a Tensor to differentiate. step: [s].
    Raises: ShapeError, DtypeError, InputError for samples or a step that cannot be.

    >>> Wavelet(np.zeros(100), 1e-3)
    Wavelet 100 samples, step 0.001 s
    """

    samples: Array
    step: float

    def __post_init__(self) -> None:
        samples = as_tensor(self.samples)
        if samples.dtype.kind not in "fiu":
            raise DtypeError(f"Wavelet(samples of dtype {samples.dtype}): give real numbers, such as float32")
        if not isinstance(self.samples, Tensor):
            object.__setattr__(self, "samples", samples.numpy())
        shape = samples.shape
        if len(shape) not in (1, 3) or shape[-1] < 2:
            raise ShapeError(f"Wavelet(samples of shape {shape}): give (steps,) or (shots, sources per shot, steps), at least 2 steps")
        if not is_positive(self.step):
            raise InputError(f"Wavelet(step={self.step!r}): the step must be positive [s]")
        object.__setattr__(self, "step", float(self.step))

    @property
    def steps(self) -> int:
        """Number of samples in time."""
        return self.samples.shape[-1]

    def values(self) -> np.ndarray:
        """Return the samples as a NumPy array."""
        from_tensor = self.samples.detach().numpy() if isinstance(self.samples, Tensor) else self.samples
        return np.asarray(from_tensor)

    def highest_frequency(self, level: float = 1e-2, end: float = 0.05) -> float:
        """Return the highest frequency [Hz] at which the amplitude spectrum is above `level` times its maximum.

        end: the part of the samples over which they are faded out first.
        """
        samples = self.values().reshape(-1, self.steps)
        # A taper at the end keeps the cut of a wavelet that has not died out from looking like high frequencies.
        spectrum = np.abs(np.fft.rfft(samples * _tail(self.steps, end), n=2 * self.steps)).max(axis=0)
        above = np.flatnonzero(spectrum > level * spectrum.max())
        return float(above[-1] / (2 * self.steps * self.step)) if above.size else 0.0

    def __repr__(self) -> str:
        return f"Wavelet {self.steps} samples, step {self.step:g} s"


def _tail(steps: int, part: float) -> np.ndarray:
    taper = np.ones(steps)
    n = max(1, int(steps * part))
    x = (np.arange(n) + 1.0) / n
    taper[-n:] = 1.0 - x + np.sin(2.0 * np.pi * x) / (2.0 * np.pi)       # twice smooth at both ends: nothing of its own at high frequencies
    return taper


def ricker(peak_frequency: float, duration: float, step: float, delay: float | None = None) -> Wavelet:
    """Return Ricker's wavelet, the second derivative of a Gaussian: (1 - 2 a) exp(-a), a = (pi f (t - delay))^2.

    peak_frequency: f, of the largest amplitude [Hz]. duration, step: [s]. delay: time of the peak [s]; default 1.5 / f.
    Returns: Wavelet of round(duration / step) samples, float32, largest value 1.
    Source: Ricker, Geophysics 18 (1953), 10.

    >>> wavelet = ricker(5.0, duration=4.0, step=2e-3)
    >>> wavelet.steps, float(wavelet.samples.max())
    (2000, 1.0)
    """
    for name, value in (("peak_frequency", peak_frequency), ("duration", duration), ("step", step)):
        if not is_positive(value):
            raise InputError(f"ricker({name}={value!r}): it must be a positive number")
    if delay is not None and not is_number(delay):
        raise InputError(f"ricker(delay={delay!r}): give the time of the peak [s], or None for 1.5 / peak_frequency")
    if round(duration / step) < 2:
        raise InputError(f"ricker(duration={duration:g} s, step={step:g} s): that is {round(duration / step)} samples; give at least two")
    if peak_frequency > 0.5 / step:
        raise InputError(f"ricker(peak_frequency={peak_frequency:g} Hz, step={step:g} s): the step samples up to {0.5 / step:g} Hz; "
                         f"use a step of at most {0.1 / peak_frequency:g} s")
    t = np.arange(round(duration / step)) * step - (1.5 / peak_frequency if delay is None else delay)
    a = (np.pi * peak_frequency * t) ** 2
    return Wavelet(((1.0 - 2.0 * a) * np.exp(-a)).astype(np.float32), step)


class Survey:
    """Many shots: where each one's sources and receivers are, and what the sources send.

    sources: (shots, sources per shot, ndim) [m]. receivers: (shots, receivers, ndim) [m], in the grid's axis order, anywhere in the grid.
    wavelet: Wavelet; samples (steps,) or (shots, sources per shot, steps). source_field, receiver_field: one of the equation's sources
    and receivers, its fields among them; default: the first of them. Receivers may also be a pde.StrainRate or a pde.TimeIntegral.
    Positions may be Tensors; where they are tracked, gathers are differentiable in them to any order, at the cost of a trace per cell
    around a point (8 along each axis).
    Raises: ShapeError if the shapes disagree, InputError for positions that are not finite.

    >>> Survey(np.zeros((2, 1, 2)), np.zeros((2, 30, 2)), ricker(5.0, 1.0, 1e-3))
    Survey 2 shots, 1 source and 30 receivers each, 1000 samples of 0.001 s
    """

    def __init__(self, sources: Array, receivers: Array, wavelet: Wavelet, *, source_field: str | None = None,
                 receiver_field: str | StrainRate | TimeIntegral | None = None):
        if not isinstance(wavelet, Wavelet):
            raise InputError(f"Survey(wavelet={type(wavelet).__name__}): give a pde.Wavelet, such as pde.ricker(...) or "
                             "pde.Wavelet(samples, step)")
        self.moving_sources, self.moving_receivers = (x if isinstance(x, Tensor) and x.tracked else None for x in (sources, receivers))
        self.sources, self.receivers = _positions("sources", sources), _positions("receivers", receivers)
        self.wavelet, self.source_field, self.receiver_field = wavelet, source_field, receiver_field
        for name, positions in (("sources", self.sources), ("receivers", self.receivers)):
            if positions.ndim != 3 or not positions.shape[0] or not positions.shape[1]:
                raise ShapeError(f"Survey({name} of shape {positions.shape}): give (shots, points per shot, ndim) [m]")
            if not np.isfinite(positions).all():
                raise InputError(f"Survey({name}): positions must be finite [m], got {positions[~np.isfinite(positions)][0]}")
        if self.sources.shape[0] != self.receivers.shape[0] or self.sources.shape[2] != self.receivers.shape[2]:
            raise ShapeError(f"Survey(sources {self.sources.shape}, receivers {self.receivers.shape}): shots and axes must agree; "
                             "repeat the receivers for every shot with np.broadcast_to")
        given = np.shape(wavelet.values())
        if len(given) == 3 and given[:2] != self.sources.shape[:2]:
            raise ShapeError(f"Survey(wavelet samples {given}, sources {self.sources.shape}): give one wavelet per shot and source, or "
                             "(steps,)")

    @property
    def shots(self) -> int:
        """Number of shots."""
        return self.sources.shape[0]

    def subset(self, shots: Sequence[int] | np.ndarray) -> "Survey":
        """Return the survey of some of the shots, in the order given: their numbers, or one bool per shot.

        Raises: InputError for a shot that does not exist.
        """
        chosen = np.asarray(shots)
        if chosen.dtype == bool and chosen.shape == (self.shots,):
            chosen = np.flatnonzero(chosen)
        numbers = chosen.ndim == 1 and chosen.size and chosen.dtype.kind in "iu"
        if not numbers or not ((chosen >= -self.shots) & (chosen < self.shots)).all():
            raise InputError(f"Survey.subset(shots={shots!r}): give at least one whole number below {self.shots}, the number of shots, or "
                             "one bool each")
        samples = self.wavelet.samples
        wavelet = self.wavelet if len(samples.shape) == 1 else Wavelet(samples[chosen], self.wavelet.step)
        sources, receivers = self._positions()
        return Survey(sources[chosen], receivers[chosen], wavelet, source_field=self.source_field, receiver_field=self.receiver_field)

    def with_wavelet(self, wavelet: Wavelet) -> "Survey":
        """Return the same geometry with another wavelet."""
        return Survey(*self._positions(), wavelet, source_field=self.source_field, receiver_field=self.receiver_field)

    def _positions(self) -> tuple[Array, Array]:
        """Return the positions as they were given: Tensors where they are tracked."""
        return (self.sources if self.moving_sources is None else self.moving_sources,
                self.receivers if self.moving_receivers is None else self.moving_receivers)

    def check_inside(self, grid: Grid) -> None:
        """Raise BoundaryError if a source or a receiver lies outside the grid, naming the first."""
        for name, positions in (("sources", self.sources), ("receivers", self.receivers)):
            if positions.shape[2] != grid.ndim:
                raise ShapeError(f"{name} have {positions.shape[2]} coordinates, the grid has {grid.ndim} axes; give one per axis, in its "
                                 "order")
            extent = np.array(grid.extent)
            outside = ((positions < -1e-6 * extent) | (positions > extent * (1 + 1e-6))).any(axis=2)
            if outside.any():
                shot, i = (int(v[0]) for v in np.nonzero(outside))
                where = ", ".join(f"{v:g}" for v in positions[shot, i])
                raise BoundaryError(f"{name}[{shot}, {i}] = ({where}) m lies outside the grid, which spans "
                                    f"{' x '.join(f'0..{e:g}' for e in grid.extent)} m; move it or enlarge the grid")

    def __repr__(self) -> str:
        n = self.sources.shape[1]
        return (f"Survey {self.shots} shot{'s' * (self.shots > 1)}, {n} source{'s' * (n > 1)} and {self.receivers.shape[1]} receivers "
                f"each, {self.wavelet.steps} samples of {self.wavelet.step:g} s")


def _positions(name: str, given: Array) -> np.ndarray:
    try:
        return np.asarray(given.detach().numpy() if isinstance(given, Tensor) else given, float)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"Survey({name}): not an array of numbers ({error}); give (shots, points per shot, ndim) [m]") from error


HALF_WIDTH, BETA = 4, 6.31                             # of the windowed sinc that stands for points between nodes


def taps(positions: np.ndarray, limits: Sequence[Sequence[float]] | None = None,
         slope: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the grid points and weights that stand for points between nodes.

    positions: (points, ndim) in cells. A coordinate on a node takes that node; others a Kaiser-windowed sinc of 2 * HALF_WIDTH nodes.
    limits: (first, last) cell along each axis that may be used; a sinc that would reach further gives way to a polynomial through six.
    slope: (points, ndim) where the sum of these times the derivatives per cell is wanted: that of the polynomial through as many nodes.
    Returns: cells (taps, ndim) int, weights (taps,), owner (taps,) int: which position each tap belongs to.
    Source: Hicks, Geophysics 67 (2002), 156, table 1 (half width 4, beta 6.31: up to half the Nyquist wavenumber).
    """
    ndim, count = positions.shape[1], positions.shape[0]
    lines = [_line(positions[:, axis, None], limits[axis] if limits is not None else None, slope is not None) for axis in range(ndim)]

    def across(values: np.ndarray, axis: int) -> np.ndarray:
        return values.reshape([count] + [values.shape[1] if k == axis else 1 for k in range(ndim)])

    def product(different: int | None) -> np.ndarray:
        out = np.ones([count] + [1] * ndim)
        for axis, (_, values, slopes) in enumerate(lines):
            out = out * across(slopes if axis == different else values, axis)
        return out

    weights = product(None) if slope is None else sum(
        (slope[:, axis].reshape([count] + [1] * ndim) * product(axis) for axis in range(ndim)), start=np.zeros(1))
    cells = [np.broadcast_to(across(at, axis), weights.shape) for axis, (at, _, _) in enumerate(lines)]
    keep = weights != 0.0
    owner = np.broadcast_to(np.arange(count).reshape([count] + [1] * ndim), weights.shape)
    return np.stack([at[keep] for at in cells], axis=1), weights[keep], owner[keep]


def _line(v: np.ndarray, limits: Sequence[float] | None, sloped: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (cells, weights of the value, weights of the slope), each (points, cells), for coordinates v (points, 1) along one axis."""
    width, node = 2 * HALF_WIDTH, np.rint(v)
    on_node = np.abs(v - node) < 1e-6
    if on_node.all() and not sloped:
        return node.astype(int), np.ones(v.shape), np.zeros(v.shape)
    at = np.floor(v + 1e-6).astype(int) + np.arange(1 - HALF_WIDTH, HALF_WIDTH + 1)
    r = at - v
    w = np.sinc(r) * np.i0(BETA * np.sqrt(np.maximum(0.0, 1.0 - (r / HALF_WIDTH) ** 2))) / np.i0(BETA)
    slopes = _polynomial(v - at[:, :1], width, width, 1) if sloped else np.zeros(w.shape)
    if limits is not None:
        low, high = limits
        reaches = ((at[:, :1] < low) | (at[:, -1:] > high)) & (sloped | ~on_node)
        first = np.clip(np.floor(v) - 2, low, high - 5)
        at = np.where(reaches, first + np.arange(width), at).astype(int)
        w = np.where(reaches, _polynomial(v - first, 6, width), w)
        if sloped:
            slopes = np.where(reaches, _polynomial(v - first, 6, width, 1), slopes)
    return at, np.where(on_node, at == node, w), slopes


def _polynomial(v: np.ndarray, count: int, width: int, order: int = 0) -> np.ndarray:
    """Return (points, width): weights at 0, 1, .. of the value or slope (order 1) at v (points, 1) of the polynomial through `count`."""
    out = np.zeros((len(v), width))
    for j in range(count):
        others = [m for m in range(count) if m != j]
        left_out = [[m for m in others if m != skipped] for skipped in others] if order else [others]
        out[:, j] = sum(np.prod(v - np.array(kept), axis=1) for kept in left_out) / np.prod(np.array([j - m for m in others], float))
    return out
