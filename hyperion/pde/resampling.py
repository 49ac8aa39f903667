"""Wavelets at the steps of a run, and gathers at the steps of their wavelet, where the one is divided into several of the other."""

from typing import TYPE_CHECKING

import numpy as np

from hyperion.autograd import Tensor, as_tensor, broadcast_to, fir

from . import dispersion
from .survey import Survey

if TYPE_CHECKING:
    from .simulation import Call


def at_steps(call: "Call", survey: Survey) -> Tensor:
    """Return (shots, sources, internal steps): the wavelet, interpolated where the step is divided."""
    plan = call.plan
    samples = as_tensor(survey.wavelet.samples).to(call.solver.grid.device)
    samples = samples if samples.dtype == call.dtype else samples.astype(call.dtype)
    samples = broadcast_to(samples, (*survey.sources.shape[:2], survey.wavelet.steps))
    if call.solver.stepping.corrected:
        samples = dispersion.warp_wavelet(samples, survey.wavelet.step, plan.substeps, plan.steps)
    elif plan.substeps > 1:
        samples = fir(samples, band_limit(plan.substeps), axis=-1, up=plan.substeps, length=plan.steps)
    return samples if call.moving_sources is None else call.moving_sources.spread(samples)


def at_wavelet_step(call: "Call", survey: Survey, gathers: Tensor) -> Tensor:
    """Return (shots, receivers, steps of the wavelet) of (shots, receivers, internal steps): without what the longer step cannot show."""
    substeps, steps = call.plan.substeps, survey.wavelet.steps
    if call.solver.stepping.corrected:
        return dispersion.unwarp_gathers(gathers, survey.wavelet.step, substeps, steps)
    if call.integrated is not None:
        return gathers[..., ::substeps]                # smoother than what it is the integral of, and not zero at the end
    if substeps > 1:
        taps = band_limit(substeps)
        return fir(gathers, taps / taps.sum(), axis=-1, down=substeps, length=steps)
    return gathers


def band_limit(factor: int, half_width: int = 16, beta: float = 8.0) -> np.ndarray:
    """Return the taps that interpolate `factor` times: a Kaiser-windowed sinc, exact at the given samples."""
    t = np.arange(-half_width * factor, half_width * factor + 1) / factor
    return np.sinc(t) * np.i0(beta * np.sqrt(np.maximum(0.0, 1.0 - (t / half_width) ** 2))) / np.i0(beta)
