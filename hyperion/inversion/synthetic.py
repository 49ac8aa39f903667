"""Things to try an inversion with: a model made by formula, a smooth start, sources and receivers along the surface."""

import math

import numpy as np
import scipy.signal
from scipy import ndimage

from hyperion.autograd import asarray
from hyperion.autograd.random import Generator
from hyperion.errors import InputError
from hyperion.inversion.checks import is_number
from hyperion.pde import Grid, Solver, Survey, Wavelet

__all__ = ["folded_salt_model", "gathers_in", "model_error", "smoothed", "surface_survey", "with_noise"]

# Tops of the layers below the seabed, as fractions of the thickness of the sediments, and their speeds [m/s].
TOPS = (0.0, 0.07, 0.15, 0.22, 0.31, 0.38, 0.47, 0.54, 0.63, 0.73, 0.82, 0.92)
SPEEDS = (1650.0, 1850.0, 1720.0, 2050.0, 2350.0, 2100.0, 2450.0, 2800.0, 2500.0, 2900.0, 3250.0, 3500.0)
# Normal faults: where they meet the seabed as a fraction of the width, dip as horizontal over vertical distance, throw as a fraction
# of the sediments.
FAULTS = ((0.08, 0.45, 0.08), (0.20, 0.40, 0.09), (0.42, -0.50, 0.08), (0.84, 0.35, 0.10))
WATER, SALT = 1500.0, 4400.0


def folded_salt_model(grid: Grid, water: float = 300.0) -> np.ndarray:
    """Return a velocity model of folded, faulted layers under water, pierced by salt.

    grid: 2-D, at least 800 m deep. water: depth of the seabed [m].
    Returns: speed [m/s], float32, of the grid's shape.
    Raises: InputError for a grid that is not 2-D or too shallow.

    >>> speed = folded_salt_model(Grid((101, 201), 20.0))
    >>> float(speed.min()), float(speed.max()), bool((speed[:15] == 1500.0).all())
    (1500.0, 4400.0, True)
    """
    if grid.ndim != 2 or grid.extent[0] < water + 500.0 or not water > 0.0:
        raise InputError(f"folded_salt_model({grid}, water={water:g}): needs a 2-D grid at least 500 m deeper than the water")
    depth, width = grid.extent
    z, x = np.meshgrid(grid.axis(0), grid.axis(1), indexing="ij")
    across = x / width  # 0..1
    down = (z - water) / (depth - water)  # 0 at the seabed, 1 at the bottom
    undeformed = down.copy()
    for place, dip, throw in FAULTS:
        hanging = (x - place * width) * np.sign(dip) > np.abs(dip) * (z - water)
        undeformed -= np.where(hanging, throw * np.clip(down / 0.15, 0.0, 1.0), 0.0)
    folds = 0.055 * np.cos(2.0 * np.pi * (across - 0.64) / 0.42) + 0.02 * np.cos(2.0 * np.pi * across / 0.17 + 1.0)
    undeformed += folds * np.clip(down / 0.3, 0.0, 1.0)
    layer = np.clip(np.searchsorted(TOPS, undeformed, side="right") - 1, 0, len(TOPS) - 1)
    speed = np.asarray(SPEEDS)[layer] + 250.0 * np.clip(down, 0.0, 1.0)
    # Roof and floor of the salt, as fractions of the sediments.
    roof = 0.33 + 6.0 * np.abs(across - 0.64) ** 1.7 + 0.015 * np.cos(2.0 * np.pi * across / 0.055)
    floor = 0.80 + 0.05 * np.cos(2.0 * np.pi * across / 0.3)
    speed = np.where((down > roof) & (down < floor), SALT, speed)
    return np.where(z < water, WATER, speed).astype(np.float32)


def smoothed(speed: np.ndarray, length: float, spacing: float, keep_above: float = 0.0) -> np.ndarray:
    """Return a model whose slowness is smoothed by a Gaussian, for a first model.

    speed: (nz, ...) [m/s]. length: standard deviation [m]. spacing: of the nodes [m]. keep_above: depth above which it stays as it is [m].
    Returns: array of the same shape and dtype.
    Raises: InputError for a length that is not positive, or if nothing is left to smooth.

    >>> smoothed(np.array([[1500.0], [1500.0], [2000.0], [3000.0]]), 20.0, 10.0, keep_above=15.0)[:2, 0]
    array([1500., 1500.])
    """
    rows = math.ceil(keep_above / spacing - 1e-9)
    if not length > 0.0:
        raise InputError(f"smoothing={length:g} m: must be above 0")
    if rows >= len(speed):
        raise InputError(f"keep_above={keep_above:g} m: is below the whole model of {len(speed)} nodes at {spacing:g} m; make it shallower")
    slowness = ndimage.gaussian_filter(1.0 / speed[rows:].astype(np.float64), length / spacing, mode="nearest")
    return np.concatenate([speed[:rows], 1.0 / slowness]).astype(speed.dtype)


def surface_survey(grid: Grid, wavelet: Wavelet, shots: int, receivers: int, shot_depth: float, receiver_depth: float) -> Survey:
    """Return a survey along the whole width of a 2-D grid: shots and receivers at even distances, every shot heard by all receivers.

    shots, receivers: how many, at least 1. shot_depth, receiver_depth: [m].
    Raises: InputError for numbers below 1; BoundaryError if they lie outside the grid.

    >>> import hyperion.pde as pde
    >>> surface_survey(Grid((50, 101), 10.0), pde.ricker(8.0, 1.0, 2e-3), 3, 101, 20.0, 20.0)
    Survey 3 shots, 1 source and 101 receivers each, 500 samples of 0.002 s
    """
    if grid.ndim != 2 or min(shots, receivers) < 1:
        raise InputError(f"surface_survey({grid}, shots={shots}, receivers={receivers}): needs a 2-D grid and at least 1 of each")
    sources, listeners = (
        np.stack([np.full(count, depth), np.linspace(0.0, grid.extent[1], count)], axis=1)
        for count, depth in ((shots, shot_depth), (receivers, receiver_depth))
    )
    survey = Survey(sources[:, None], np.broadcast_to(listeners, (shots, receivers, 2)), wavelet)
    survey.check_inside(grid)
    return survey


def gathers_in(wave: Solver, survey: Survey, speed: np.ndarray) -> np.ndarray:
    """Return the gathers of a survey in a model, (shots, receivers, steps): simulated shot by shot, to save memory.

    speed: of the solver's grid [m/s].

    >>> import hyperion.pde as pde
    >>> grid = Grid((20, 30), 10.0)
    >>> survey = surface_survey(grid, pde.ricker(8.0, 0.2, 2e-3), 2, 30, 20.0, 20.0)
    >>> gathers_in(pde.Solver(pde.Acoustic(), grid), survey, np.full((20, 30), 2000.0, np.float32)).shape
    (2, 30, 100)
    """
    given = asarray(speed, device=wave.grid.device)
    return np.concatenate([wave.solve(survey.subset([shot]), speed=given).numpy() for shot in range(survey.shots)])


def model_error(model: np.ndarray, true: np.ndarray) -> float:
    """Return the relative error of a model: the norm of the difference over that of the true one.

    >>> model_error(np.array([3.0, 4.0]), np.array([0.0, 5.0])) == 10.0 ** 0.5 / 5.0
    True
    """
    return float(np.linalg.norm(model - true) / np.linalg.norm(true))


def with_noise(gathers: np.ndarray, level: float, band: tuple[float, float], step: float, generator: Generator) -> np.ndarray:
    """Return gathers with Gaussian noise in a band of frequencies.

    gathers: (..., steps). level: norm of the noise over that of the gathers, at least 0. band: (lowest, highest) frequency [Hz], of a
        causal Butterworth band-pass of second order. step: sampling interval [s]. generator: draws the noise.
    Returns: array of the same shape and dtype.
    Raises: InputError for a level below 0, a band that is none or reaches Nyquist's frequency.

    >>> gathers = np.sin(0.1 * np.arange(400.0)) * np.ones((3, 1))
    >>> noisy = with_noise(gathers, 0.5, (2.0, 20.0), 4e-3, Generator(0))
    >>> round(float(np.linalg.norm(noisy - gathers) / np.linalg.norm(gathers)), 6)
    0.5
    """
    if not (is_number(level) and level >= 0.0) or not isinstance(generator, Generator):
        raise InputError(f"with_noise(level={level!r}, generator={generator!r}): give a level of at least 0, and a hp.random.Generator")
    low, high = band
    if not 0.0 < low < high < 0.5 / step:
        raise InputError(f"with_noise(band={band!r} Hz): must be (lowest, highest) above 0 and below Nyquist's {0.5 / step:g} Hz")
    sections = scipy.signal.butter(2, (low, high), "band", fs=1.0 / step, output="sos")
    noise = np.asarray(scipy.signal.sosfilt(sections, generator.normal(gathers.shape, dtype="float64").numpy(), axis=-1))
    return (gathers + level * np.linalg.norm(gathers) / np.linalg.norm(noise) * noise).astype(gathers.dtype)
