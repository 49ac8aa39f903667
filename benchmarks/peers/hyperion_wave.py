"""Hyperion's worker: the public API, as a user writes it."""

from collections.abc import Callable

import numpy as np
from wave_cases import WIDTH, Case

import hyperion as hp
from hyperion import pde

EQUATIONS = {"acoustic": pde.Acoustic, "elastic": pde.Elastic, "maxwell": pde.Maxwell3D}
FIELD = {"acoustic": "p", "elastic": "pressure", "maxwell": "ez"}
EXACT = pde.BoundaryRing()


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    history = f", {EXACT!r}" if case.exact else ", thinned wavefield history"
    return f"CPML {WIDTH}{history if case.gradient else ''}"


def device_mb() -> float:
    """Return what the device's pool has taken [MB]."""
    import cupy

    return cupy.get_default_memory_pool().total_bytes() / 1e6


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    """Return a call that makes the survey, solves, and hands over a NumPy array: gathers, or the gradient of half their square sum.

    A gradient is of all parameters; the first one's is handed over.
    """
    grid, field = pde.Grid(case.shape, (case.spacing,) * case.ndim, device=case.device), FIELD[case.equation]
    wave = pde.Solver(EQUATIONS[case.equation](), grid, order=case.order, boundary=pde.CPML(width=WIDTH), threads=threads,
                      storage=EXACT if case.exact else pde.Thinned())
    if case.equation == "elastic":
        parameters = {"p_speed": case.speed(), "s_speed": case.s_speed(), "density": case.density()}
    elif case.equation == "maxwell":
        ones = np.ones(case.shape, np.float32)
        parameters = {"permittivity": case.permittivity(), "permeability": ones, "conductivity": 0.0 * ones}
    else:
        parameters = {"speed": case.speed()}
    if case.device != "cpu":
        parameters = {name: hp.asarray(values, device=case.device) for name, values in parameters.items()}
    half = np.array([0.5 * (case.equation == "maxwell"), *[0.0] * (case.ndim - 1)])  # e_z sits half a cell further along z
    wavelet = pde.Wavelet(case.wavelet(), case.step)
    sources, receivers = ((nodes + half) * case.spacing for nodes in (case.sources(), case.receivers()))

    def survey():
        return pde.Survey(sources, receivers, wavelet, source_field=field, receiver_field=field)

    def forward():
        return wave.solve(survey(), **parameters).numpy()

    def gradient():
        asked = survey()

        def misfit(given):
            gathers = wave.solve(asked, **given)
            return 0.5 * hp.sum(gathers * gathers)

        gradients = hp.value_and_grad(misfit)(parameters)[1]
        return next(iter(gradients.values())).numpy()

    return gradient if case.gradient else forward
