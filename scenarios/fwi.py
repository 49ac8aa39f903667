"""Full-waveform inversion: shot gathers in, velocity model out; on a built-in salt model, or on your files.

Data are modelled in a known model, or read from a file. From a smooth first model, the inversion goes from low frequencies on a coarse
grid to all frequencies on the fine one. Models, geometry, wavelet and stages are options; see fwi.toml.
"""

import numpy as np

import hyperion as hp
from hyperion import inversion, io, pde, plot
from hyperion.errors import InputError

LARGEST = 2**31      # nodes of a grid, samples of a wavelet


def main(run, config):
    """Read or make models and data, invert in stages, report."""
    stages = stages_of(config)
    if len(config.bounds) != 2:
        raise InputError(f"bounds={config.bounds}: give two speeds, lowest and highest")
    config.above(0, "spacing")
    config.solver.at_least(8, "absorbing")                        # thinner layers reflect
    config.solver.among(range(2, 17, 2), "order", "coarse_order")
    config.data.at_least(1, "refine")
    if config.observed and config.data.refine != 1:
        raise InputError(f"data.refine={config.data.refine}: observed={config.observed!r} is not modelled; leave data.refine at 1")
    data = io.read_gathers(config.observed) if config.observed else None
    true = read(config, config.model, "model") if config.model else None if config.observed else built_in_model(config)
    start = first_model(config, true)
    grid = pde.Grid(start.shape, config.spacing, device=run.device)
    if true is not None and true.shape != grid.shape:
        raise InputError(f"start has shape {grid.shape}, model has {true.shape}; they must agree")
    survey, observed = modelled(config, true, grid) if data is None else recorded(config, data)
    if data is not None:
        run.log(f"positions are those of {config.observed}; geometry.* is not used")

    def solver(grid):
        ratio = grid.spacing[0] / config.spacing                  # of a coarser grid: a layer of the same width in metres, a higher order
        order = config.solver.order if ratio == 1.0 else config.solver.coarse_order
        layer, stepping = pde.CPML(width=max(8, round(config.solver.absorbing / ratio))), pde.Leapfrog(max_speed=config.bounds[1])
        return pde.Solver(pde.Acoustic(), grid, order=order, boundary=layer, stepping=stepping)

    water = np.broadcast_to(grid.axis(0)[:, None] < config.water, grid.shape)
    fwi = inversion.FWI(solver, grid, survey, observed, start, tuple(config.bounds), water, group=config.solver.shots_at_once,
                        seed=config.seed)
    run.log(f"{fwi}; on the fine grid {solver(grid).plan(survey, speed=hp.asarray(start, device=grid.device))}")
    fwi.check(stages)                                             # refuse all that can be refused before the first output
    errors = []                                                   # of the model after each iteration, if the true one is known
    if state := run.restore():
        fwi.load_state_dict(state["fwi"])
        errors = state["errors"]
    with run.progress(sum(stage.iterations for stage in stages), "inversion", len(fwi.log)) as progress:
        for step in fwi.run(stages):
            if true is not None:
                errors.append(inversion.model_error(fwi.model, true))
            progress.step(stage=step.stage, misfit=step.misfit, **({"model_error": errors[-1]} if errors else {}))
            run.checkpoint({"fwi": fwi.state_dict(), "errors": errors})
    run.checkpoint({"fwi": fwi.state_dict(), "errors": errors}, every=0.0)        # a finished run is not computed again by --resume
    run.facts["seconds of updates"] = fwi.seconds
    if true is not None:
        run.facts |= {"model error at the start": inversion.model_error(start, true), "model error": inversion.model_error(fwi.model, true)}
    predicted = inversion.gathers_in(solver(grid), survey, fwi.model)
    models = ({} if true is None else {"true": true}) | {"start": start, "inverted": fwi.model}
    write_results(run, config, fwi, models, survey, observed, predicted, errors)
    draw(run, config, fwi, models, survey, observed, predicted, errors)


def read(config, path, argument):
    files = config.files
    shape = files.shape if any(files.shape) else ()
    return io.read_model(path, shape=shape, fastest=files.fastest, dtype=files.type, unit=files.unit, byte_order=files.byte_order,
                         argument=argument).astype(np.float32)


def built_in_model(config):
    nodes = tuple(round(min(length / config.spacing, 1e18)) + 1 for length in (2000.0, 5000.0))
    if nodes[0] * nodes[1] > LARGEST:
        raise InputError(f"spacing={config.spacing:g} m: makes {nodes[0]:.3g} x {nodes[1]:.3g} nodes; give a larger one, such as 12.5")
    return inversion.folded_salt_model(pde.Grid(nodes, config.spacing), config.water)


def first_model(config, true):
    if config.start:
        return read(config, config.start, "start")
    if true is None:
        raise InputError("start='': observed data without a model leave nothing to smooth; give --start FILE")
    return inversion.smoothed(true, config.smoothing, config.spacing, keep_above=config.water)


def stages_of(config):
    """Return the stages; a list of one value holds for all."""
    config.at_least(0, "preconditioner_length")
    rows = config.in_rows("frequencies", "coarsen", "iterations", "batch", "receivers_every", "preconditioner_length")
    return [inversion.Stage(inversion.Gaussian(lowest) if lowest else None, coarsen, iterations, None, batch or None, 1, every, length)
            for lowest, coarsen, iterations, batch, every, length in rows]


def wavelet_of(config, refine=1):
    if not config.wavelet.file:
        wanted = config.wavelet
        if wanted.step > 0.0 and wanted.duration / wanted.step * refine > LARGEST:
            raise InputError(f"wavelet.duration={wanted.duration:g} s: has {wanted.duration / wanted.step * refine:.3g} samples of "
                             f"wavelet.step={wanted.step / refine:g} s; give a shorter duration or a longer step")
        return pde.ricker(config.wavelet.peak_frequency, config.wavelet.duration, config.wavelet.step / refine)
    if refine > 1:
        raise InputError(f"data.refine={refine}: a wavelet from a file has its own step; use data.refine=1")
    return pde.Wavelet(io.read_samples(config.wavelet.file, "wavelet.file"), config.wavelet.step)


def modelled(config, true, grid):
    """Return a survey along the surface, and its gathers in the true model: on a grid and a step `data.refine` times finer."""
    refine, place = config.data.refine, config.geometry
    survey = inversion.surface_survey(grid, wavelet_of(config), place.shots, place.receivers or grid.shape[1], place.shot_depth,
                                      place.receiver_depth)
    fine = pde.Grid(tuple((nodes - 1) * refine + 1 for nodes in grid.shape), config.spacing / refine, device=grid.device)
    stepping = pde.Leapfrog(max_speed=max(config.bounds[1], float(true.max())))
    layer = pde.CPML(width=config.solver.absorbing * refine)
    wave = pde.Solver(pde.Acoustic(), fine, order=config.solver.order, boundary=layer, stepping=stepping)
    refined = inversion.refine(true, refine, fine.shape, order=1)
    return survey, inversion.gathers_in(wave, survey.with_wavelet(wavelet_of(config, refine)), refined)[..., ::refine]


def recorded(config, data):
    """Return the survey and the values of gathers from a file."""
    wavelet = wavelet_of(config)
    if abs(wavelet.step / data.step - 1.0) > 1e-6 or wavelet.steps != data.values.shape[2]:
        raise InputError(f"wavelet: has {wavelet.steps} steps of {wavelet.step:g} s, the observed data {data.values.shape[2]} of "
                         f"{data.step:g} s; give the data's wavelet.step and wavelet.duration")
    return pde.Survey(data.sources, data.receivers, wavelet), data.values.astype(np.float32)


def write_results(run, config, fwi, models, survey, observed, predicted, errors):
    fwi.write(run.results, models)
    for name, gathers in (("observed", observed), ("predicted", predicted)):
        io.Gathers(gathers, survey.wavelet.step, survey.sources, survey.receivers).write(run.results, name)
    run.results.write("wavelet", survey.wavelet.values(), "", (io.Axis("time", "s", survey.wavelet.step),))
    if errors:
        run.results.write("iterations/model_error", errors, relative_to="norm of the true model")


def draw(run, config, fwi, models, survey, observed, predicted, errors):
    spacing, width = (config.spacing, config.spacing), (models["start"].shape[1] - 1) * config.spacing
    run.figure(plot.models(models, spacing, sources=survey.sources, receivers=survey.receivers), "models")
    run.figure(plot.models({f"stage {n}": model for n, model in enumerate(fwi.models, 1)}, spacing), "stages")
    if "true" in models:
        run.figure(plot.difference(models["inverted"], models["true"], spacing, title="Inverted - true"), "difference")
    run.figure(plot.profiles(models, spacing, [0.2 * width, 0.4 * width, 0.6 * width, 0.8 * width]), "profiles")
    shot, step = survey.shots // 2, survey.wavelet.step
    pair = {"observed": observed[shot], "predicted": predicted[shot]}
    run.figure(plot.gathers(pair, step, positions=survey.receivers[shot, :, 1]), "gathers")
    names = [f"{frequency:g} Hz" if frequency else f"all ({n})" for n, frequency in enumerate(config.frequencies, 1)]
    begins = {name: next(i for i, entry in enumerate(fwi.log) if entry.stage == n) for n, name in enumerate(names, 1)}
    run.figure(plot.misfit([step.misfit for step in fwi.log], stages=begins, model_errors=errors or None), "misfit")
