"""Full-waveform inversion with networks: as the model itself, and as what finds the first model; beside the conventional one.

Noisy shots without low frequencies are inverted from a model that only grows with depth. Conventional: L-BFGS on the nodes, in stages
from low to high frequencies, or with the total variation of the change (`inversion.FWI`). A network as the model
(`inversion.NeuralModel`): the solver's adjoint goes on into the weights of a SIREN or a decoder. A trained network as the start: a U-Net
that has seen what shots of other models become under the solver's adjoint (a gradient per shot, an image) gives a first model, and the
true solver finishes. All get as many gradients of all shots, and stop earlier where only noise is left to fit. Source: Sun et al. 2023,
J. Geophys. Res. Solid Earth 128 (SIREN); He and Wang 2021, Geophysics 86, V1 (decoder).
"""

import math

import numpy as np
import scipy.signal

import hyperion as hp
from hyperion import inversion, io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

BOUNDS, WATER, CHANGE = (1450.0, 4450.0), 0.12, 500.0      # [m/s]; portion of the depth; [m/s] that is 1 for the U-Net
COLOURS = {
    "stages": "#9a9a9a", "variation": "#1b1b1b", "siren": "#d1495b", "siren-lbfgs": "#edae49", "decoder": "#5d4e8c",
    "started-variation": "#00798c", "started-siren": "#e58f9a", "started-siren-lbfgs": "#3d7c47", "started-decoder": "#a99bd0",
}


class Earth:
    """The survey, the solver, the first model, which only grows with depth, and gathers with noise."""

    def __init__(self, config):
        self.config, self.grid = config, pde.Grid(tuple(config.shape), config.spacing)
        step, peak, h = config.wavelet.step, config.wavelet.peak_frequency, config.spacing
        samples = pde.ricker(peak, config.wavelet.duration, step).values()
        if config.low_cut:
            samples = scipy.signal.sosfilt(scipy.signal.butter(6, config.low_cut, "high", fs=1.0 / step, output="sos"), samples)
        self.band = max(config.low_cut, 1.0), 2.5 * peak
        self.survey = inversion.surface_survey(
            self.grid, pde.Wavelet(np.asarray(samples, np.float32), step), config.shots, self.grid.shape[1], h, h)
        self.wave = self.solver(self.grid)
        depth = np.broadcast_to(self.grid.axis(0)[:, None] / self.grid.extent[0], self.grid.shape)
        self.water, (top, bottom) = depth < WATER, config.first
        self.first = np.where(self.water, 1500.0, top + (bottom - top) * (depth - WATER) / (1.0 - WATER)).astype(np.float32)
        self.lit = inversion.Smooth(2.0 * h, self.grid.spacing)(inversion.wave_energy(self.wave, self.survey, self.first))

    def solver(self, grid):
        return pde.Solver(pde.Acoustic(), grid, order=8, boundary=pde.CPML(width=10), stepping=pde.Leapfrog(max_speed=BOUNDS[1]))

    def shoot(self, speed, generator):
        """Return the gathers of a model, with noise in the band of the wavelet: (shots, receivers, steps)."""
        clean = self.wave.solve(self.survey, speed=speed).numpy()
        return inversion.with_noise(clean, self.config.noise, self.band, self.survey.wavelet.step, generator)

    def image(self, observed):
        return inversion.shot_images(self.wave, self.survey, observed, self.first, self.water, self.lit)


def on_nodes(kind, earth, observed, start, config):
    """Return a conventional inversion and its stages: low to high frequencies, less and less smooth; or all at once, with few edges."""
    fwi = inversion.FWI(earth.solver, earth.grid, earth.survey, observed, start, BOUNDS, earth.water, group=config.shots)
    if kind == "variation":
        penalty = inversion.TotalVariation(config.variation, earth.grid.spacing, reference=start)
        return fwi, [inversion.Stage(iterations=config.gradients, penalty=penalty)]
    filters = inversion.Gaussian(config.lowest), inversion.Gaussian(1.6 * config.lowest), None
    counts, lengths = (config.iterations, config.iterations, config.gradients), [config.spacing * nodes for nodes in config.smoothing]
    return fwi, [inversion.Stage(lowpass, iterations=count, smoothing=length)
                 for lowpass, count, length in zip(filters, counts, lengths, strict=True)]


def inverted(kind, earth, observed, start, config, device):
    """Yield (gradients of all shots so far, model, misfit of all frequencies) of an inversion of one kind from a start."""
    if kind in ("stages", "variation"):                                                # on the nodes, preconditioned by illumination
        (fwi, stages), spent = on_nodes(kind, earth, observed, start, config), {}
        for step in fwi.run(stages):
            spent[step.stage] = step.evaluations // config.shots
            yield sum(spent.values()), fwi.model, step.misfit - step.penalty if step.stage == len(stages) else math.inf
        return
    nn.seed(config.seed)
    if kind == "decoder":
        network, given = inversion.decoder(earth.grid, hp.random.Generator(config.seed))
    else:
        network, given = nn.SIREN([2, *[config.width] * 4, 1], config.frequency), inversion.coordinates(earth.grid)
    model = inversion.NeuralModel(network, given, start, BOUNDS, earth.water, scale=2.0 * CHANGE).to(device)
    rates = optim.Cosine(config.rate, 0.1 * config.rate, config.gradients)
    optimiser = optim.LBFGS(model, memory=20, first_step=0.01) if kind == "siren-lbfgs" else optim.Adam(model, lr=rates)
    for step in inversion.invert_network(optimiser, earth.wave, earth.survey, observed, config.gradients):
        yield step.evaluations // config.shots, optimiser.parameters().detach().to("cpu").numpy(), step.misfit


def starter(earth, config, run):
    """Return a U-Net from images of shots to the model, trained on random models: (1, shots, *grid) to (1, 1, *grid)."""
    root = hp.random.Generator(config.seed)
    speeds, images = inversion.random_layers(earth.grid, root.at(1), config.examples, salt=config.salt), []
    with run.progress(config.examples, "examples") as progress:
        for i, speed in enumerate(speeds):
            images.append(earth.image(earth.shoot(speed, root.at(2).at(i))))
            progress.step()
    images, changes = np.stack(images), ((speeds - earth.first) / CHANGE)[:, None]
    images = np.concatenate([images, images[:, ::-1, :, ::-1]])                        # the survey is its own mirror image
    changes = np.concatenate([changes, changes[..., ::-1]])
    nn.seed(config.seed)
    model = operators.ConvNeXtUNet(config.shots, 1, width=16, levels=3, blocks=1).to(run.device)
    optimiser = optim.AdamW(model.parameters(), lr=optim.Cosine(2e-3, 1e-5, config.steps), weight_decay=0.02)
    batches = nn.Batches(nn.Arrays(images, changes.astype(np.float32)), min(8, config.examples), seed=config.seed, device=run.device)
    run.train(nn.Trainer(model, optimiser, lambda model, x, y: nn.mse(model(x), y), batches), config.steps, "starter")
    return model


def main(run, config):
    """Make the surveys, train the starter, invert each survey in every way, compare."""
    config.among(COLOURS, "ways")
    config.multiples(8, "shape")
    speeds = [speed for speed in config.first if BOUNDS[0] <= speed <= BOUNDS[1]]
    if (len(config.shape), len(config.smoothing), len(config.first), len(speeds)) != (2, 3, 2, 2):
        raise InputError(f"--shape {config.shape}, --smoothing {config.smoothing}, --first {config.first}: give two numbers, three "
                         f"lengths, and two speeds, {BOUNDS[0]:g} to {BOUNDS[1]:g} m/s")
    config.at_least(1, "tested", "examples", "gradients", "steps", "iterations", "shots", "width")
    config.at_least(0, "variation", "noise", "low_cut")
    config.above(0, "lowest", "frequency", "rate")
    earth, root, names = Earth(config), hp.random.Generator(config.seed), list(config.ways)
    run.log(f"{earth.survey}; {earth.wave.plan(earth.survey, speed=earth.first)}")
    trues = inversion.random_layers(earth.grid, root.at(3), config.tested, salt=config.salt)
    gathers = [earth.shoot(true, root.at(4).at(i)) for i, true in enumerate(trues)]
    for kind in {"stages", "variation"} & set(names):                                  # refused before anything is trained
        fwi, stages = on_nodes(kind, earth, gathers[0], earth.first, config)
        fwi.check(stages)
    models = {"true": trues, "first": np.broadcast_to(earth.first, trues.shape)}
    if any(name.startswith("started") for name in names):
        changes = operators.predict(starter(earth, config, run), np.stack([earth.image(observed) for observed in gathers]))[:, 0]
        models["learned start"] = np.where(earth.water, earth.first, np.clip(earth.first + CHANGE * changes, *BOUNDS)).astype(np.float32)
        spent = config.examples * 4 / 3                                                # a gradient costs about three simulations
        run.log(f"the starter's examples cost {spent:.0f} gradients, {spent / config.gradients:.1f} inversions of {config.gradients}")
    made = run.kept.setdefault("inverted", {})
    jobs = [(i, name) for name in names for i in range(config.tested)]
    with run.progress(len(jobs) * config.gradients, "inversions", len(made) * config.gradients) as progress:
        for i, name in jobs:
            if f"{name}/{i}" in made:
                continue
            used = int(name.startswith("started"))                                     # the image was a gradient, too
            model = models["learned start" if used else "first"][i]
            curve = [[used, inversion.model_error(model, trues[i])]]
            for count, following, misfit in inverted(name.removeprefix("started-"), earth, gathers[i], model, config, run.device):
                if (count := count + int(name.startswith("started"))) > config.gradients:
                    break
                progress.step(count - used, way=name, error=curve[-1][1])
                model, used = following, count
                curve.append([used, inversion.model_error(model, trues[i])])
                run.checkpoint()
                if misfit < config.noise**2 / (1.0 + config.noise**2):                 # the discrepancy principle: what is left is noise
                    break
            progress.step(config.gradients - used, way=name, error=curve[-1][1])
            made[f"{name}/{i}"] = {"model": model, "curve": curve}
    run.checkpoint(every=0.0)
    report(run, config, models | {name: np.stack([made[f"{name}/{i}"]["model"] for i in range(config.tested)]) for name in names}, {
        name: [np.array(made[f"{name}/{i}"]["curve"]).T for i in range(config.tested)] for name in names})


def report(run, config, models, courses):
    """Write models, errors and figures."""
    axes = (io.Axis("model"), io.Axis("depth", "m", config.spacing), io.Axis("distance", "m", config.spacing))
    for name, each in models.items():
        run.results.write(f"models/{name}", each, "m/s", axes)
    found = {name: [inversion.model_error(*pair) for pair in zip(each, models["true"], strict=True)] for name, each in models.items()}
    run.table("Relative errors of models", {name: {"mean": float(np.mean(each))} | {f"model {i}": error for i, error in enumerate(each, 1)}
                                            for name, each in found.items() if name != "true"})
    budget, errors = np.arange(config.gradients + 1), {}
    for name, curves in courses.items():
        errors[name] = np.array([np.interp(budget, counts, each, left=np.nan) for counts, each in curves])           # (models, gradients)
        run.results.write(f"errors/{name}", errors[name], relative_to="norm of the true model")
    means = {name: each.mean(axis=0) for name, each in errors.items()}
    run.figure(plot.curves(
        plot.Panel(means, ("gradients of all shots", f"relative model error, mean of {config.tested}"), budget),
        plot.Panel({name: each[:, -1] for name, each in errors.items()}, ("model", "relative model error at the end"), points=errors),
        colours=COLOURS, widths=(1.5, 1.0)), "errors")
    for i in range(min(config.tested, 4)):
        run.figure(plot.models({name: each[i] for name, each in models.items()}, (config.spacing, config.spacing)), f"models-{i + 1}")
