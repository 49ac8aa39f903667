"""Removing the error of second-order time stepping from wavelets and gathers.

Leapfrog replaces the second time derivative by a difference: what it computes at frequency w is the exact response at
(2 / step) sin(w step / 2). Warping the wavelet's frequencies one way before the run and the gathers' back after it undoes that for every
medium at once, at the cost of two matrix products in time. Both are linear, so derivatives stay exact.
Source: Koene, Robertsson, Broggini and Andersson, Geophysical Journal International 213 (2018), 169.
"""
import functools

import numpy as np

from hyperion.autograd import Tensor, as_tensor

BAND = 0.25                                            # cycles per internal step up to which frequencies pass; the last fifth is tapered


def margin(steps: int) -> int:
    """Return how many steps more to run: the warped field lags behind, by under a hundredth at usual frequencies."""
    return 32 + steps // 50


def warp_wavelet(samples: Tensor, step: float, substeps: int, steps: int) -> Tensor:
    """Return samples (..., n) at `step` [s] as what leapfrog must be fed with: (..., steps) at step / substeps."""
    return _through(samples, _factors(samples.shape[-1], step, substeps, steps, True, str(samples.dtype)))


def unwarp_gathers(gathers: Tensor, step: float, substeps: int, samples: int) -> Tensor:
    """Return gathers (..., steps) recorded at step / substeps as the field at (..., samples) at `step` [s]."""
    return _through(gathers, _factors(samples, step, substeps, gathers.shape[-1], False, str(gathers.dtype)))


def _through(x: Tensor, factors: tuple[np.ndarray, np.ndarray]) -> Tensor:
    analyse, synthesise = (as_tensor(f).to(x.device) for f in factors)
    return (x @ analyse) @ synthesise


@functools.lru_cache(maxsize=8)
def _factors(samples: int, step: float, substeps: int, steps: int, forward: bool, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (analyse, synthesise): to cosines and sines at warped frequencies, and from them at plain ones (or the other way round)."""
    fine = step / substeps
    period = 2 * steps * fine                          # twice the run: what warps beyond its end does not wrap around to its start
    top = min(BAND / fine, 0.49 / step)
    frequency = np.arange(1, int(top * period) + 1) / period
    omega = 2 * np.pi * np.concatenate([[0.0], frequency])
    taper = np.clip((1.0 - omega / (2 * np.pi * top)) / 0.2, 0.0, 1.0)
    weight = np.where(omega > 0, 2.0, 1.0) * 0.5 * (1.0 - np.cos(np.pi * taper)) / period
    if forward:                                        # the run's frequency w is the wavelet's (2 / step) sin(w step / 2)
        source, t_in, t_out, cell = 2 / fine * np.sin(omega * fine / 2), np.arange(samples) * step, np.arange(steps) * fine, step
    else:
        source, t_in, t_out, cell = 2 / fine * np.arcsin(omega * fine / 2), np.arange(steps) * fine, np.arange(samples) * step, fine
    turns_in, turns_out = np.outer(t_in, source), np.outer(omega, t_out)
    analyse = np.concatenate([np.cos(turns_in), np.sin(turns_in)], axis=1) * cell
    synthesise = np.concatenate([np.cos(turns_out), np.sin(turns_out)], axis=0) * np.concatenate([weight, weight])[:, None]
    return analyse.astype(dtype), synthesise.astype(dtype)
