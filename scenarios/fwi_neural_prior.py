"""Full-waveform inversion with networks: as the model itself, and as what finds the first model; beside the conventional one.

Noisy shots without low frequencies are inverted from a model that only grows with depth. Conventional: L-BFGS on the nodes, in stages
from low to high frequencies, or with the total variation of the change (`inversion.FWI`). A network as the model
(`inversion.NeuralModel`): the solver's adjoint goes on into the weights of a SIREN or a decoder. A trained network as the start: a U-Net
that has seen what shots of other models become under the solver's adjoint (a gradient per shot, an image) gives a first model, and the
true solver finishes. All get as many gradients of all shots, and stop earlier where only noise is left to fit. Source: Sun et al. 2023,
J. Geophys. Res. Solid Earth 128 (SIREN); He and Wang 2021, Geophysics 86, V1 (decoder).
"""

import numpy as np
import scipy.signal
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import inversion, io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

BOUNDS, WATER, CHANGE = (1450.0, 4450.0), 0.12, 500.0      # [m/s]; portion of the depth; [m/s] that is 1 for the U-Net
COLOURS = {"stages": "#9a9a9a", "variation": "#1b1b1b", "siren": "#d1495b", "siren-lbfgs": "#edae49", "decoder": "#5d4e8c"}


class Earth:
    """The survey, the solver, the first model, which only grows with depth, and gathers with noise."""

    def __init__(self, config):
        self.config, self.grid = config, pde.Grid(tuple(config.shape), config.spacing)
        step, peak = config.wavelet.step, config.wavelet.peak_frequency
        samples = pde.ricker(peak, config.wavelet.duration, step).values()
        if config.low_cut:
            samples = scipy.signal.sosfilt(scipy.signal.butter(6, config.low_cut, "high", fs=1.0 / step, output="sos"), samples)
        self.band = scipy.signal.butter(2, (max(config.low_cut, 1.0), 2.5 * peak), "band", fs=1.0 / step, output="sos")
        wavelet, h = pde.Wavelet(np.asarray(samples, np.float32), step), config.spacing
        self.survey = inversion.surface_survey(self.grid, wavelet, config.shots, self.grid.shape[1], h, h)
        self.wave = self.solver(self.grid)
        depth = np.broadcast_to(self.grid.axis(0)[:, None] / self.grid.extent[0], self.grid.shape)
        self.water = depth < WATER
        top, bottom = config.first
        self.first = np.where(self.water, 1500.0, top + (bottom - top) * (depth - WATER) / (1.0 - WATER)).astype(np.float32)
        self.lit = inversion.Smooth(2.0 * h, self.grid.spacing)(inversion.wave_energy(self.wave, self.survey, self.first))

    def solver(self, grid):
        return pde.Solver(pde.Acoustic(), grid, order=8, boundary=pde.CPML(width=10), stepping=pde.Leapfrog(max_speed=BOUNDS[1]))

    def shoot(self, speed, generator):
        """Return the gathers of a model, with noise in the band of the wavelet: (shots, receivers, steps)."""
        clean = self.wave.solve(self.survey, speed=speed).numpy()
        noise = scipy.signal.sosfilt(self.band, generator.normal(clean.shape, dtype="float64").numpy(), axis=-1)
        return (clean + self.config.noise * np.linalg.norm(clean) / np.linalg.norm(noise) * noise).astype(np.float32)

    def image(self, observed):
        """Return what the adjoint makes of the gathers of each shot in the first model, over illumination: (shots, *grid)."""
        images = []
        for shot in range(self.survey.shots):
            one, seen = self.survey.subset([shot]), observed[shot:shot + 1]
            slope = hp.grad(lambda c, one=one, seen=seen: inversion.l2(self.wave.solve(one, speed=c), seen))(self.first)
            images.append(slope.numpy() * ~self.water / np.sqrt(self.lit + 0.02))
        return (np.stack(images) / np.sqrt(np.mean(np.square(images)))).astype(np.float32)


def relative_error(model, true):
    return float(np.linalg.norm(model - true) / np.linalg.norm(true))


# Each way is a generator of (gradients of all shots so far, model, misfit of all frequencies) from a start.
def on_nodes(earth, observed, start, stages):
    """L-BFGS on the nodes, preconditioned by illumination."""
    fwi = inversion.FWI(earth.solver, earth.grid, earth.survey, observed, start, BOUNDS, earth.water, group=earth.config.shots)
    spent = {}
    for step in fwi.run(stages):
        spent[step.stage] = step.evaluations // earth.config.shots
        yield sum(spent.values()), fwi.model, step.misfit - step.penalty if step.stage == len(stages) else np.inf


def in_stages(earth, observed, start, config, device):
    """From low to high frequencies, less and less smooth."""
    filters = inversion.Gaussian(config.lowest), inversion.Gaussian(1.6 * config.lowest), None
    counts, lengths = (config.iterations, config.iterations, config.gradients), (config.spacing * n for n in config.smoothing)
    stages = [inversion.Stage(lowpass, iterations=count, smoothing=length)
              for lowpass, count, length in zip(filters, counts, lengths, strict=True)]
    return on_nodes(earth, observed, start, stages)


def with_variation(earth, observed, start, config, device):
    """All frequencies at once, with the total variation of the change: edges, but few."""
    penalty = inversion.TotalVariation(config.variation, earth.grid.spacing, reference=start)
    return on_nodes(earth, observed, start, [inversion.Stage(iterations=config.gradients, penalty=penalty)])


def as_network(kind, quasi_newton=False):
    """Return the way that trains a network whose output is the change of the model, by Adam or by L-BFGS."""
    def way(earth, observed, start, config, device):
        nn.seed(config.seed)
        if kind == "siren":
            network, given = nn.SIREN([2, *[config.width] * 4, 1], config.frequency), inversion.coordinates(earth.grid)
        else:
            network, given = inversion.decoder(earth.grid, hp.random.Generator(config.seed))
        model = inversion.NeuralModel(network, given, start, BOUNDS, earth.water, scale=2.0 * CHANGE).to(device)
        scale = 2.0 / float((observed.astype(float) ** 2).sum())
        misfit = hp.value_and_grad(lambda m: scale * inversion.l2(earth.wave.solve(earth.survey, speed=m().to("cpu")), observed))
        rates = optim.Cosine(config.rate, 0.1 * config.rate, config.gradients)
        optimiser = optim.LBFGS(model, memory=20, first_step=0.01) if quasi_newton else optim.Adam(model, lr=rates)
        for made in range(1, config.gradients + 1):
            value = optimiser.advance(misfit)
            spent = optimiser.evaluations if isinstance(optimiser, optim.LBFGS) else made
            yield spent, optimiser.parameters().detach().to("cpu").numpy(), value
            if isinstance(optimiser, optim.LBFGS) and optimiser.stalled:
                return
    return way


WAYS = {"stages": in_stages, "variation": with_variation, "decoder": as_network("decoder"), "siren": as_network("siren"),
        "siren-lbfgs": as_network("siren", quasi_newton=True)}
WAYS |= {f"started-{name}": way for name, way in WAYS.items() if name != "stages"}


def trained_starter(earth, config, run, state):
    """Return a U-Net from images of shots to the model, trained on random models: (1, shots, *grid) to (1, 1, *grid)."""
    root, shots = hp.random.Generator(config.seed), config.shots
    speeds = inversion.random_layers(earth.grid, root.at(1), config.examples, salt=config.salt)
    with run.progress(config.examples, "examples") as progress:
        images = []
        for i, speed in enumerate(speeds):
            images.append(earth.image(earth.shoot(speed, root.at(2).at(i))))
            progress.step()
    images, changes = np.stack(images), ((speeds - earth.first) / CHANGE)[:, None]
    images = np.concatenate([images, images[:, ::-1, :, ::-1]])                    # the survey is its own mirror image
    changes = np.concatenate([changes, changes[..., ::-1]])
    nn.seed(config.seed)
    model = operators.ConvNeXtUNet(shots, 1, width=16, levels=3, blocks=1).to(run.device)
    optimiser = optim.AdamW(model.parameters(), lr=optim.Cosine(2e-3, 1e-5, config.steps), weight_decay=0.02)
    batches = nn.Batches(nn.Arrays(images, changes.astype(np.float32)), min(8, config.examples), seed=config.seed, device=run.device)
    trainer = nn.Trainer(
        model, optimiser, lambda model, x, y: nn.mse(model(x), y), batches, folder=run.path("training"), checkpoint_every=None)
    if "starter" in state:
        trainer.load_state_dict(state["starter"])
    with run.progress(config.steps, "starter", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            progress.step(loss=row["loss"])
            run.checkpoint(state | {"starter": trainer.state_dict()})
    state["starter"] = trainer.state_dict()
    return model


def main(run, config):
    """Make the surveys, train the starter, invert each survey in every way, compare."""
    names = list(config.ways)
    if not names or not set(names) <= set(WAYS):
        raise InputError(f"--ways {names}: choose among {', '.join(WAYS)}")
    if len(config.shape) != 2 or any(n % 8 for n in config.shape):
        raise InputError(f"--shape {config.shape}: give two multiples of 8")
    if min(config.tested, config.examples, config.gradients, config.steps) < 1:
        raise InputError(f"--tested {config.tested}, --examples {config.examples}, --gradients {config.gradients}, --steps {config.steps}: "
                         "give at least 1 of each")
    if len(config.smoothing) != 3 or config.iterations < 1:
        raise InputError(f"--smoothing {config.smoothing}, --iterations {config.iterations}: give three lengths, and at least 1")
    if not all(BOUNDS[0] <= speed <= BOUNDS[1] for speed in config.first) or len(config.first) != 2:
        raise InputError(f"--first {config.first}: give two speeds, {BOUNDS[0]:g} to {BOUNDS[1]:g} m/s")
    earth, root = Earth(config), hp.random.Generator(config.seed)
    run.log(f"{earth.survey}; {earth.wave.plan(earth.survey, speed=earth.first)}")
    trues = inversion.random_layers(earth.grid, root.at(3), config.tested, salt=config.salt)
    gathers = [earth.shoot(true, root.at(4).at(i)) for i, true in enumerate(trues)]
    state = run.restore() or {"made": {}}
    starts = np.broadcast_to(earth.first, trues.shape)
    if any(name.startswith("started") for name in names):
        images = np.stack([earth.image(observed) for observed in gathers])
        changes = operators.predict(trained_starter(earth, config, run, state), images)[:, 0]
        guessed = np.where(earth.water, earth.first, np.clip(earth.first + CHANGE * changes, *BOUNDS)).astype(np.float32)
        spent = config.examples * 4 / 3                                             # a gradient costs about three simulations
        run.log(f"the starter's examples cost {spent:.0f} gradients, {spent / config.gradients:.1f} inversions of {config.gradients}")
    jobs = [(i, name) for name in names for i in range(config.tested)]
    with run.progress(len(jobs) * config.gradients, "inversions", len(state["made"]) * config.gradients) as progress:
        for i, name in jobs:
            started, key = name.startswith("started"), f"{name}/{i}"
            if key in state["made"]:
                continue
            model, used = (guessed if started else starts)[i], int(started)         # the image was a gradient, too
            curve = [[used, relative_error(model, trues[i])]]
            for count, following, misfit in WAYS[name](earth, gathers[i], model, config, run.device):
                if int(started) + count > config.gradients:
                    break
                progress.step(int(started) + count - used, way=names.index(name), error=curve[-1][1])
                model, used = following, int(started) + count
                curve.append([used, relative_error(model, trues[i])])
                run.checkpoint(state)
                if misfit < config.noise**2 / (1.0 + config.noise**2):             # the discrepancy principle: what is left is noise
                    break
            progress.step(config.gradients - used)
            state["made"][key] = {"model": model, "curve": curve}
    run.checkpoint(state, every=0.0)
    made = {name: [state["made"][f"{name}/{i}"] for i in range(config.tested)] for name in names}
    report(run, config, earth, trues, made, guessed if any(name.startswith("started") for name in names) else None)


def report(run, config, earth, trues, made, guessed):
    """Write models, errors and figures."""
    models = {"true": trues, "first": np.broadcast_to(earth.first, trues.shape)}
    models |= {} if guessed is None else {"learned start": guessed}
    models |= {name: np.stack([result["model"] for result in results]) for name, results in made.items()}
    axes = (io.Axis("model"), io.Axis("depth", "m", config.spacing), io.Axis("distance", "m", config.spacing))
    for name, each in models.items():
        run.results.write(f"models/{name}", each, "m/s", axes)
        if name != "true":
            errors = [relative_error(model, true) for model, true in zip(each, trues, strict=True)]
            run.facts[f"model error, {name}"] = f"{np.mean(errors):.4f} ({', '.join(f'{error:.4f}' for error in errors)})"
            run.log(f"{name:20} model error {np.mean(errors):.4f} ({', '.join(f'{error:.4f}' for error in errors)})")
    budget, curves = np.arange(config.gradients + 1), {}
    for name, results in made.items():
        each = [np.array(result["curve"]).T for result in results]
        curves[name] = np.array([np.interp(budget, counts, errors, left=np.nan) for counts, errors in each])        # (models, gradients)
        run.results.write(f"errors/{name}", curves[name], relative_to="norm of the true model")
        run.facts[f"lowest mean on the way, {name}"] = float(np.nanmin(curves[name].mean(axis=0)))
    run.figure(courses(curves), "errors")
    for i in range(min(config.tested, 4)):
        run.figure(plot.models({name: each[i] for name, each in models.items()}, earth.grid.spacing), f"models-{i + 1}")


def courses(curves):
    """Return a figure of mean errors over gradients, and of the last error of each model in each way."""
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1], sharey=True)
    for row, (name, each) in enumerate(curves.items()):
        started, kind = name.startswith("started-"), name.removeprefix("started-")
        left.plot(each.mean(axis=0), color=COLOURS[kind], linestyle="--" if started else "-", label=name)
        right.plot([row] * len(each), each[:, -1], "o", color=COLOURS[kind], markersize=4, fillstyle="none" if started else "full")
        right.plot([row - 0.3, row + 0.3], [each[:, -1].mean()] * 2, color=COLOURS[kind])
        right.annotate(f"{each[:, -1].mean():.3f}", (row, each[:, -1].max()), xytext=(0, 5), textcoords="offset points",
                       ha="center", fontsize=8)
    top = 1.1 * max(max(np.nanmax(each.mean(axis=0)), each[:, -1].max()) for each in curves.values())
    left.set(xlabel="gradients of all shots", ylabel=f"relative model error, mean of {len(each)}", ylim=(0.0, top))
    left.legend(frameon=False, fontsize=8)
    right.set(xlim=(-0.6, len(curves) - 0.4))
    right.set_title("at the end: each model, and the mean", fontsize=10)
    right.set_xticks(range(len(curves)), curves, rotation=35, ha="right", fontsize=8)
    return figure
