"""Devito's worker: operators of our own with a sponge. Acoustic: m p_tt + damping p_t - laplace(p) = s, the adjoint written by hand.

Elastic: velocity and stress on a staggered grid as in Devito's examples, damped by a factor in the sponge at every step.
The gradient follows from the discrete equations: with v the field that runs backwards from the residuals, d misfit / d m = -sum of p_tt v,
the wavefield kept at every step.
"""

from collections.abc import Callable

import devito
import numpy as np
from devito import Eq, Function, Grid, Inc, Operator, SparseTimeFunction, TimeFunction, solve
from wave_cases import WIDTH, Case

devito.configuration["log-level"] = "ERROR"


def version() -> str:
    return devito.__version__


def note(case: Case) -> str:
    adjoint = ", adjoint written by hand, history of every step" if case.gradient else ""
    return f"sponge {WIDTH} (less work than CPML){', shots one by one' if case.shots > 1 else ''}{adjoint}"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    devito.configuration["language"] = "openmp"
    return elastic(case) if case.equation == "elastic" else acoustic(case)


def acoustic(case: Case) -> Callable[[], np.ndarray]:
    h, dt, steps = case.spacing, case.step, case.steps
    shape = tuple(n + 2 * WIDTH for n in case.shape)
    grid = Grid(shape=shape, extent=tuple(h * (n - 1) for n in shape), dtype=np.float32)
    m, damping = Function(name="m", grid=grid, space_order=case.order), Function(name="damping", grid=grid, space_order=0)
    damping.data[:] = case.sponge()
    kept = {"save": steps + 1} if case.gradient else {}  # the last step of the loop writes one state more
    u = TimeFunction(name="u", grid=grid, time_order=2, space_order=case.order, **kept)
    source = SparseTimeFunction(name="source", grid=grid, npoint=1, nt=steps + 1)
    receivers, sources = case.receivers(), case.sources()
    record = SparseTimeFunction(name="record", grid=grid, npoint=receivers.shape[1], nt=steps + 1)
    source.data[:steps, 0] = case.wavelet() / h**case.ndim
    speed = case.speed()

    forward_step = Eq(u.forward, solve(m * u.dt2 - u.laplace + damping * u.dt, u.forward))
    shake, listen = source.inject(field=u.forward, expr=source * dt**2 / m), record.interpolate(expr=u)
    forward = Operator([forward_step, shake, listen], subs=grid.spacing_map)
    if case.gradient:
        v = TimeFunction(name="v", grid=grid, time_order=2, space_order=case.order)
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


def elastic(case: Case) -> Callable[[], np.ndarray]:
    h, dt, steps = case.spacing, case.step, case.steps
    shape = tuple(n + 2 * WIDTH for n in case.shape)
    grid = Grid(shape=shape, extent=tuple(h * (n - 1) for n in shape), dtype=np.float32)
    v = devito.VectorTimeFunction(name="v", grid=grid, space_order=case.order, time_order=1)
    stress = devito.TensorTimeFunction(name="s", grid=grid, space_order=case.order, time_order=1)
    lame, shear, buoyancy, damping = (Function(name=n, grid=grid, space_order=case.order) for n in ("lame", "shear", "buoyancy", "damping"))
    damping.data[:] = np.exp(-0.5 * dt * case.sponge() * case.grown(case.speed()) ** 2)
    source = SparseTimeFunction(name="source", grid=grid, npoint=1, nt=steps + 1)
    receivers, sources = case.receivers(), case.sources()
    record = SparseTimeFunction(name="record", grid=grid, npoint=receivers.shape[1], nt=steps + 1)
    source.data[:steps, 0] = case.wavelet() / h**case.ndim
    source.coordinates.data[:] = (sources[0] + WIDTH) * h
    record.coordinates.data[:] = (receivers[0] + WIDTH) * h
    s = grid.stepping_dim.spacing
    faster = Eq(v.forward, damping * (v + s * buoyancy * devito.div(stress)))
    strain = devito.grad(v.forward) + devito.grad(v.forward).transpose(inner=False)
    strained = Eq(stress.forward, damping * (stress + s * (lame * devito.diag(devito.div(v.forward)) + shear * strain)))
    shake = [source.inject(field=stress.forward[i, i], expr=-source * s) for i in (0, 1)]
    listen = record.interpolate(expr=-0.5 * (stress[0, 0] + stress[1, 1]))
    step = Operator([faster, strained, *shake, listen], subs=grid.spacing_map)
    p_speed, s_speed, density = case.speed(), case.s_speed(), case.density()

    def forward():
        lame.data[:] = case.grown(density * (p_speed**2 - 2.0 * s_speed**2))
        shear.data[:] = case.grown(density * s_speed**2)
        buoyancy.data[:] = case.grown(1.0 / density)
        for field in (*v, stress[0, 0], stress[0, 1], stress[1, 1]):
            field.data_with_halo.fill(0.0)
        step.apply(time_m=0, time_M=steps - 1, dt=np.float32(dt))
        return record.data[:steps].T[None].copy()

    return forward
