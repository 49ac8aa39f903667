"""Hyperion's worker: the public API, as a user writes it."""

import functools
from collections.abc import Callable

import numpy as np
from wave_cases import ORDER, WIDTH, Case

import hyperion as hp
from hyperion import pde


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    history = ", thinned wavefield history" if case.gradient else ""
    return f"CPML {WIDTH}{history}"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    """Return a call that makes the survey, solves, and hands over a NumPy array: gathers, or the gradient of half their square sum."""
    grid = pde.Grid(case.shape, (case.spacing,) * case.ndim)
    wave = pde.Solver(pde.Acoustic(), grid, order=ORDER, boundary=pde.CPML(width=WIDTH), threads=threads)
    speed, wavelet = case.speed(), pde.Wavelet(case.wavelet(), case.step)
    sources, receivers = case.sources() * case.spacing, case.receivers() * case.spacing

    def forward():
        return wave.solve(pde.Survey(sources, receivers, wavelet), speed=speed).numpy()

    def misfit(survey, c):
        gathers = wave.solve(survey, speed=c)
        return 0.5 * hp.sum(gathers * gathers)

    def gradient():
        survey = pde.Survey(sources, receivers, wavelet)
        return np.asarray(hp.value_and_grad(functools.partial(misfit, survey))(speed)[1])

    return gradient if case.gradient else forward
