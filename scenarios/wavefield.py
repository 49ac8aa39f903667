"""One shot through a layered model or one of your own: snapshots for ParaView, a shot gather, pictures.

`hyperion run wavefield` and `hyperion export fields` are this script.
"""

import itertools
import math

import numpy as np

from hyperion import io, pde, plot
from hyperion.errors import InputError

LARGEST = 2**31      # nodes of the grid, steps of the wavelet


def layered_model(shape, spacing):
    """Return three layers, the second one with a step in it: (nz, nx) float32 [m/s]."""
    depth, distance = np.meshgrid(*(np.arange(n) * h for n, h in zip(shape, spacing, strict=True)), indexing="ij")
    bottom, width = shape[0] * spacing[0], shape[1] * spacing[1]
    step = np.where(distance > 0.6 * width, 0.08 * bottom, 0.0)
    model = np.full(shape, 1500.0, np.float32)
    model[depth > 0.35 * bottom] = 2000.0
    model[depth > 0.65 * bottom - step] = 2800.0
    return model


def main(run, config):
    """Model one shot, keep its snapshots and its gather, draw both."""
    spacing = tuple(config.spacing)
    if len(spacing) != 2 or min(spacing) <= 0.0:
        raise InputError(f"--spacing {list(spacing)}: give two distances of nodes above 0, along depth and distance: --spacing 10,10")
    if len(config.source) != 2:
        raise InputError(f"--source {config.source}: give depth and distance [m]: --source 20,1000; or -1,-1 for the middle")
    if config.model:
        files = config.files
        shape = files.shape if any(files.shape) else ()
        model = io.read_model(
            config.model, shape=shape, fastest=files.fastest, dtype=files.type, unit=files.unit, byte_order=files.byte_order)
    else:
        if len(config.nodes) != 2 or min(config.nodes) < 2 or math.prod(config.nodes) > LARGEST:
            raise InputError(f"--nodes {config.nodes}: give two whole numbers of at least 2, along depth and distance, at most {LARGEST} "
                             "nodes in all: --nodes 121,201")
        model = layered_model(config.nodes, spacing)
    if model.ndim != 2:
        raise InputError(f"--model {config.model}: has {model.ndim} axes; this scenario is two-dimensional")
    if config.snapshot_every <= 0:
        raise InputError(f"--snapshot_every {config.snapshot_every:g} s: must be positive")

    nz, nx = map(int, model.shape)
    grid = pde.Grid(shape=(nz, nx), spacing=spacing, device=run.device)
    wave = pde.Solver(pde.Acoustic(), grid, order=config.order, boundary=pde.CPML(width=config.boundary_width))
    if config.step > 0.0 and config.duration / config.step > LARGEST:
        raise InputError(f"--duration {config.duration:g} s: has {config.duration / config.step:.3g} steps of --step {config.step:g} s; "
                         "give a shorter duration or a longer step")
    wavelet = pde.ricker(config.frequency, duration=config.duration, step=config.step)
    width = (nx - 1) * spacing[1]
    source = np.array(config.source) if config.source != [-1.0, -1.0] else np.array([2 * spacing[0], width / 2])
    distance = np.arange(nx) * spacing[1]
    receivers = np.stack([np.full_like(distance, config.receiver_depth), distance], axis=-1)
    survey = pde.Survey(source[None, None], receivers[None], wavelet)

    plan = wave.plan(survey, speed=model)
    run.log(str(plan))
    every = max(1, round(config.snapshot_every / plan.step))
    states = wave.snapshots(survey, every, speed=model)
    states = itertools.chain([next(states)], states)              # the first one refuses what cannot be run, before anything is written
    shown = {}
    with run.progress(math.ceil(plan.steps / every), "snapshots") as progress:
        series = io.FieldSeries(run.path("fields"), (nz, nx), spacing, units={"p": "Pa"}, replace=True)
        for step, time, fields in states:
            series.append(step, time, fields)
            shown[f"{time:.2f} s"] = fields["p"]
            progress.step(largest=float(np.abs(fields["p"]).max()))

    gathers = wave.solve(survey, speed=model).numpy()
    axes = (io.Axis("depth", "m", spacing[0]), io.Axis("distance", "m", spacing[1]))
    run.results.write("model", model, "m/s", axes)
    io.Gathers(gathers, config.step, survey.sources, survey.receivers).write(run.results, "shot")
    run.facts["snapshots"] = len(series.times)
    run.facts["largest pressure at a receiver"] = float(np.abs(gathers).max())

    titles = list(shown)[len(shown) // 5::max(1, len(shown) // 5)][:4]
    run.figure(plot.models({"Model": model}, spacing, sources=survey.sources, receivers=survey.receivers), "model")
    run.figure(plot.snapshots({title: shown[title] for title in titles}, spacing, background=model, sources=survey.sources), "snapshots")
    run.figure(plot.gathers({"Shot gather": gathers[0]}, config.step, positions=distance), "gather")
    run.log(f"open {run.directory / 'fields.xdmf'} in ParaView")
