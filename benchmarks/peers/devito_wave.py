"""Devito's worker: operators of our own for m p_tt + damping p_t - laplace(p) = s, with a sponge, and the adjoint written by hand.

The gradient follows from the discrete equations: with v the field that runs backwards from the residuals, d misfit / d m = -sum of p_tt v,
the wavefield kept at every step.
"""

from collections.abc import Callable

import devito
import numpy as np
from devito import Eq, Function, Grid, Inc, Operator, SparseTimeFunction, TimeFunction, solve
from wave_cases import ORDER, WIDTH, Case

devito.configuration["log-level"] = "ERROR"


def version() -> str:
    return devito.__version__


def note(case: Case) -> str:
    adjoint = ", adjoint written by hand, history of every step" if case.gradient else ""
    return f"sponge {WIDTH} (less work than CPML){', shots one by one' if case.shots > 1 else ''}{adjoint}"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    devito.configuration["language"] = "openmp"
    h, dt, steps = case.spacing, case.step, case.steps
    shape = tuple(n + 2 * WIDTH for n in case.shape)
    grid = Grid(shape=shape, extent=tuple(h * (n - 1) for n in shape), dtype=np.float32)
    m, damping = Function(name="m", grid=grid, space_order=ORDER), Function(name="damping", grid=grid, space_order=0)
    damping.data[:] = case.sponge()
    kept = {"save": steps + 1} if case.gradient else {}  # the last step of the loop writes one state more
    u = TimeFunction(name="u", grid=grid, time_order=2, space_order=ORDER, **kept)
    source = SparseTimeFunction(name="source", grid=grid, npoint=1, nt=steps + 1)
    receivers, sources = case.receivers(), case.sources()
    record = SparseTimeFunction(name="record", grid=grid, npoint=receivers.shape[1], nt=steps + 1)
    source.data[:steps, 0] = case.wavelet() / h**case.ndim
    speed = case.speed()

    forward_step = Eq(u.forward, solve(m * u.dt2 - u.laplace + damping * u.dt, u.forward))
    shake, listen = source.inject(field=u.forward, expr=source * dt**2 / m), record.interpolate(expr=u)
    forward = Operator([forward_step, shake, listen], subs=grid.spacing_map)
    if case.gradient:
        v = TimeFunction(name="v", grid=grid, time_order=2, space_order=ORDER)
        image = Function(name="image", grid=grid, space_order=0)
        back_step = Eq(v.backward, solve(m * v.dt2 - v.laplace + damping * v.dt.T, v.backward))
        back_shake = record.inject(field=v.backward, expr=record * dt**2 / m)
        adjoint = Operator([back_step, back_shake, Inc(image, -u.dt2 * v)], subs=grid.spacing_map)

    def place(shot):
        source.coordinates.data[:] = (sources[shot] + WIDTH) * h
        record.coordinates.data[:] = (receivers[shot] + WIDTH) * h

    def modelled():
        m.data[:] = case.grown(speed) ** -2.0
        gathers = np.empty((case.shots, receivers.shape[1], steps), np.float32)
        for shot in range(case.shots):
            place(shot)
            if not case.gradient:  # the kept wavefield is overwritten at every step but the first two, which stay zero
                u.data_with_halo.fill(0.0)
            forward.apply(time_m=1, time_M=steps - 1, dt=np.float32(dt))
            gathers[shot] = record.data[:steps].T
        return gathers

    def gradient():
        modelled()
        image.data_with_halo.fill(0.0)
        v.data_with_halo.fill(0.0)
        adjoint.apply(time_m=1, time_M=steps - 1, dt=np.float32(dt))
        return case.cropped(np.asarray(image.data) * -2.0 * case.grown(speed) ** -3.0)

    return gradient if case.gradient else modelled
