"""Images: what the adjoint makes of recorded data in a model."""

from typing import Any

import numpy as np

import hyperion.autograd as hp
from hyperion.errors import ShapeError
from hyperion.gpu import device as devices
from hyperion.inversion.gradient import Smooth
from hyperion.inversion.level import wave_energy
from hyperion.inversion.misfit import l2
from hyperion.pde import Survey

__all__ = ["shot_images"]


def shot_images(
    wave: Any, survey: Survey, observed: Any, model: Any, fixed: Any = None, lit: Any = None, parameter: str = "speed",
) -> np.ndarray:
    """Return an image for each shot: the gradient of its misfit in a model, over the square root of the illumination.

    wave: a Solver. observed: gathers, (shots, receivers, steps). model: array of the grid's shape, for `parameter`.
    fixed: boolean, True where the images are zero (water), or None. lit: illumination, (*grid), its mean near 1, to compute it once
        for many gathers in one model; None: `wave_energy` of the sources, smoothed over two nodes.
    Returns: (shots, *grid), float32; the mean square of all is 1, so that a network sees images of one size.
    Raises: ShapeError for gathers or fixed nodes that do not fit; what the solver raises.
    Source: Tarantola 1984, Geophysics 49, 1259 (the gradient as an image); Shin, Jang and Min 2001, Geophysical Prospecting 49, 592.

    >>> from hyperion import pde
    >>> wave = pde.Solver(pde.Acoustic(), pde.Grid((40, 40), 10.0), boundary=pde.CPML(width=10))
    >>> survey = Survey([[[50.0, 200.0]]] * 2, [[[50.0, 300.0]]] * 2, pde.ricker(10.0, 0.4, 2e-3))
    >>> observed = wave.solve(survey, speed=np.full((40, 40), 2100.0)).numpy()
    >>> images = shot_images(wave, survey, observed, np.full((40, 40), 2000.0))
    >>> images.shape, round(float(np.mean(images**2)), 3)
    ((2, 40, 40), 1.0)
    """
    observed, model = np.asarray(observed), devices.to_numpy(hp.as_tensor(model).data)
    expected = (survey.shots, survey.receivers.shape[1], survey.wavelet.steps)
    if observed.shape != expected:
        raise ShapeError(f"shot_images: observed has shape {observed.shape}, the survey gives {expected}; they must agree")
    free = np.ones(model.shape, bool) if fixed is None else ~np.asarray(fixed, bool)
    if free.shape != model.shape:
        raise ShapeError(f"shot_images: fixed has shape {free.shape}, the model {model.shape}; they must agree")
    if lit is None:
        lit = Smooth([2.0 * step for step in wave.grid.spacing], wave.grid.spacing)(wave_energy(wave, survey, model, parameter))
    weight, images = free / np.sqrt(np.asarray(lit) + 0.02), []
    for shot in range(survey.shots):
        one, seen = survey.subset([shot]), hp.asarray(observed[shot:shot + 1], device=wave.grid.device)
        misfit = hp.grad(lambda c, one=one, seen=seen: l2(wave.solve(one, **{parameter: c}), seen))
        slope = misfit(hp.asarray(model, device=wave.grid.device))
        images.append(slope.to("cpu").numpy() * weight)
    return (np.stack(images) / (np.sqrt(np.mean(np.square(images))) or 1.0)).astype(np.float32)
