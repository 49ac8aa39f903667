"""A surrogate of the wave equation whose loss holds the solver's residual and adjoint, beside one that learns from solutions alone.

A network maps a speed model to the wavefield of a shot at all time steps of the solver, and is trained with few solved examples. What its
loss may hold beside them: the residual of the solver's own time step in models nobody solved (`operators.step_residual`), and how its
gradients of a data misfit with respect to the speed differ from the adjoint-state gradients (`operators.adjoint_mismatch`): what a
surrogate must have right to stand in an inversion. Compared on unseen models: wavefields, gathers, gradients. Data alone is also given as
many more solved examples as the adjoint runs cost the solver; a step of training with the adjoint takes four times as long, besides.
`scenarios/wave_surrogate_paper.toml` is a larger setting, for a GPU or many cores.
"""

import numpy as np

import hyperion as hp
from hyperion import inversion, io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

LABELS = {"wavefields": "wavefields, relative L2 error", "gathers": "gathers, relative L2 error",
          "gradients, cosine": "gradients, cosine with the adjoint's"}
COLOURS = {"data": "#9a9a9a", "data-more": "#1b1b1b", "residual": "#edae49", "adjoint": "#d1495b"}
RECEIVERS, QUIET = 2, 0.16      # row of the receivers and the source; the speed is the same everywhere above this portion of the depth


class Waves:
    """The solver, a shot in the middle of the surface, random models, their wavefields and adjoints."""

    def __init__(self, config):
        n, h = config.resolution, config.spacing
        self.grid, self.times = pde.Grid((n, n), h), round(config.duration / config.time_step)
        self.wave = pde.Solver(pde.Acoustic(), self.grid, order=8, boundary=pde.CPML(width=10), stepping=pde.Leapfrog(max_speed=3100.0))
        places = np.stack([np.full(n, RECEIVERS * h), self.grid.axis(1)], axis=1)
        self.survey = pde.Survey([places[n // 2:n // 2 + 1]], [places], pde.ricker(config.frequency, config.duration, config.time_step))
        typical = np.broadcast_to(np.linspace(1700.0, 3000.0, n)[:, None], (n, n))
        lit = inversion.Smooth(2.0 * h, self.grid.spacing)(inversion.wave_energy(self.wave, self.survey, typical))
        free = np.linspace(0.0, 1.0, n)[:, None] > QUIET
        # A change of 1 in `scale` units moves what is dimly lit as much as what is flooded: gradients of depth count, too.
        self.scale = (free * np.sqrt(lit[free[:, 0]].mean() / (lit + 0.01 * lit[free[:, 0]].mean()))).astype(np.float32)

    def solve(self, speed):
        """Return the pressure at all steps, (times, n, n)."""
        return np.stack([fields["p"] for _, _, fields in self.wave.snapshots(self.survey, 1, speed=speed)][:self.times])

    def adjoint(self, speed, residuals):
        """Return the gradients that residuals of gathers, (k, times, n), give, in units of `scale`: (k, n, n)."""
        pull = hp.vjp(lambda c: self.wave.solve(self.survey, speed=c), hp.asarray(speed))[1]
        return np.stack([pull(hp.asarray(np.ascontiguousarray(r.T)[None]))[0].numpy() * self.scale for r in residuals])

    def gathers(self, model, speed):
        """Return a surrogate's gathers as a function of a change of the speed in units of `scale`."""
        scale = hp.asarray(self.scale, device=speed.device)
        return lambda change: model(speed + scale * change)[:, :, RECEIVERS]


def make(waves, config):
    """Return (speeds, wavefields, differences of gathers, their gradients) of the examples, of more examples, and for the test."""
    more, count, k = config.examples * (1 + 2 * config.adjoints), config.examples, config.adjoints
    speeds = inversion.bent_layers(waves.grid, hp.random.Generator(config.seed), more + config.tested, quiet=QUIET)
    fields, draw = np.stack([waves.solve(speed) for speed in speeds]), np.random.default_rng(config.seed)

    def with_adjoints(part, others):
        pairs = fields[part, None, :, RECEIVERS] - fields[others][:, :, :, RECEIVERS]
        return speeds[part, None], fields[part], pairs, np.stack([waves.adjoint(c, r) for c, r in zip(speeds[part], pairs, strict=True)])

    others = np.array([draw.choice(np.delete(np.arange(count), i), k, replace=False) for i in range(count)])
    test = np.arange(more, more + config.tested)
    return with_adjoints(np.arange(count), others), (speeds[:more, None], fields[:more]), with_adjoints(test, np.roll(test, -1)[:, None])


def loss_of(variant, step, waves, speeds, config, model, c, u, pairs=(), gradients=()):
    """Return the loss of a batch: speeds (batch, 1, n, n), wavefields; and for the adjoint differences of gathers and their gradients."""
    loss, draw = nn.relative_l2(model(c), u), np.random.default_rng((config.seed, step))
    ramp = 2.0 * step / config.steps - 1.0           # of the residual, in the second half: before, a field of zeros has the least of it
    if variant == "residual" and ramp > 0.0:
        any_model = hp.asarray(speeds[draw.choice(len(speeds), config.batch, replace=False)], device=u.device)      # no solution is needed
        part = slice(first := int(draw.integers(0, waves.times - config.window - 1)), first + config.window + 2)
        away = operators.step_residual(waves.wave, model(any_model)[:, part], config.time_step, speed=any_model[:, 0])
        change = hp.diff(u[:, part], 2, axis=1)                                              # of the states: what it is relative to
        loss = loss + ramp * config.residual * hp.mean(hp.square(away)) / (hp.mean(hp.square(change)) + 1e-12)
    if variant == "adjoint":
        r, g = pairs[:, step % config.adjoints], gradients[:, step % config.adjoints]
        loss = loss + config.adjoint * operators.adjoint_mismatch(waves.gathers(model, c), 0.0 * c, r, g[:, None])
    return loss


def answers_of(model, waves, test, config):
    """Return what a surrogate makes of unseen models: wavefields, and gradients of data misfits; and their errors."""
    speeds, fields, pairs, gradients = test
    answers, device = operators.predict(model, speeds, config.batch), model.parameters()[0].device
    c, r = hp.asarray(speeds, device=device), hp.asarray(pairs[:, 0], device=device)
    slopes = hp.grad(lambda change: hp.sum(waves.gathers(model, c)(change) * r))(0.0 * c).detach().to("cpu").numpy()[:, 0]
    cosines = [np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(slopes, gradients[:, 0], strict=True)]
    gathers = nn.relative_l2(np.ascontiguousarray(answers[:, :, RECEIVERS]), np.ascontiguousarray(fields[:, :, RECEIVERS]))
    errors = float(nn.relative_l2(answers, fields)), float(gathers), float(np.mean(cosines))
    return answers, slopes, dict(zip(LABELS, errors, strict=True))


def trained(variant, waves, seen, more, test, config, run):
    """Return the surrogate of one loss, trained, and the errors on the way, by name."""
    nn.seed(config.seed)
    if config.network == "fno":
        network = operators.FNO((config.modes, config.modes), config.width, 4, 1, waves.times, padding=0.125)
    else:
        network = operators.ConvNeXtUNet(1, waves.times, width=config.width, levels=3, blocks=1, kernel=5)
    model = operators.Normalized(network, seen[0], seen[1]).to(run.device)
    arrays = more if variant == "data-more" else seen if variant == "adjoint" else seen[:2]
    batches = nn.Batches(nn.Arrays(*arrays), config.batch, seed=config.seed, device=run.device)
    trainer = nn.Trainer(
        model, optim.Adam(model.parameters(), lr=optim.Cosine(config.rate, 0.01 * config.rate, config.steps)),
        lambda model, *batch: loss_of(variant, trainer.steps, waves, more[0], config, model, *batch), batches,
        evaluate=lambda model: answers_of(model, waves, test, config)[2], evaluate_every=max(1, config.steps // 5),
        folder=run.path(f"training/{variant}"), checkpoint_every=None)
    run.train(trainer, config.steps, variant)
    rows = [row for row in trainer.history() if row.get("wavefields") is not None]
    return model, {what: ([row["step"] for row in rows], [row[what] for row in rows]) for what in LABELS}


def main(run, config):
    """Make data, train with each loss, compare."""
    config.multiples(8, "resolution")
    config.at_least(24, "resolution")
    config.at_least(1, "tested", "adjoints", "batch", "window", "steps", "width", "modes")
    config.at_least(0, "residual", "adjoint")
    config.above(0, "spacing", "time_step", "duration", "frequency", "rate")
    config.among(COLOURS, "losses")
    config.among(("unet", "fno"), "network")
    if config.examples < max(config.batch, config.adjoints + 1):
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch} and above --adjoints {config.adjoints}")
    if config.network == "fno" and config.modes > config.resolution:
        raise InputError(f"--modes {config.modes} must be at most --resolution {config.resolution}, the samples along an axis")
    waves = Waves(config)
    if waves.times < config.window + 2:
        raise InputError(f"--duration {config.duration:g}: {waves.times} steps of --time_step are fewer than --window {config.window} + 2")
    seen, more, test = make(waves, config)
    run.log(f"{len(more[0]) + config.tested} shots of {waves.wave.plan(waves.survey, speed=seen[0][0, 0])}")
    fields, gradients, found, courses = {"solver": test[1][0]}, {"solver's adjoint": test[3][0, 0]}, {}, {}
    for variant in config.losses:
        model, courses[variant] = trained(variant, waves, seen, more, test, config, run)
        answers, slopes, found[variant] = answers_of(model, waves, test, config)
        fields[variant], gradients[variant] = answers[0], slopes[0]
    run.table("Errors of unseen models", found)
    run.facts["parameters"] = sum(p.size for p in model.parameters())
    nodes = (io.Axis("depth", "m", config.spacing), io.Axis("distance", "m", config.spacing))
    for name, field in fields.items():
        run.results.write(f"wavefields/{name}", field, "Pa", (io.Axis("time", "s", config.time_step), *nodes))
    for name, gradient in gradients.items():
        run.results.write(f"gradients/{name}", gradient, "Pa^2 s/m", nodes)
    run.figure(wavefields(fields, waves, config), "wavefields")
    speed, survey = {"the unseen model": test[0][0, 0]}, waves.survey
    run.figure(plot.models(speed, waves.grid.spacing, sources=survey.sources, receivers=survey.receivers), "speed")
    run.figure(slopes_of(gradients, waves), "gradients")
    panels = [plot.Panel({name: course[what] for name, course in courses.items()}, ("step", label), log_y="error" in label, dotted=courses)
              for what, label in LABELS.items()]
    run.figure(plot.curves(*panels, colours=COLOURS), "training")


def wavefields(fields, waves, config):
    """Return a figure of one unseen model: snapshots by the solver and by each surrogate, and their difference at the last time."""
    times, truth = [round(waves.times * part) for part in (0.4, 0.65, 0.95)], fields["solver"]
    rows = {name: [*field[times], None if name == "solver" else field[times[-1]] - truth[times[-1]]] for name, field in fields.items()}
    notes = {name: [*plot.error_notes(row[:-1], truth[times], 2), ""] for name, row in rows.items() if name != "solver"}
    columns, sizes = [f"{time * config.time_step:.2f} s" for time in times], [0.6 * float(np.abs(truth[time]).max()) for time in times]
    return plot.fields(rows, [*columns, f"surrogate - solver,\n{columns[-1]}"], limits=[*sizes, sizes[-1]], notes=notes,
                       spacing=waves.grid.spacing, label="pressure (Pa)")


def slopes_of(gradients, waves):
    """Return a figure of the gradient of one misfit with respect to the speed, by the adjoint and through each surrogate, on one scale."""
    images, true = list(gradients.values()), gradients["solver's adjoint"]
    norm = np.linalg.norm(true)
    notes = [f"cosine {np.sum(g * true) / np.linalg.norm(g) / norm:.2f}, size x{np.linalg.norm(g) / norm:.2g}" for g in images[1:]]
    return plot.fields({"": images}, list(gradients), limits=float(np.quantile(np.abs(true), 0.995)), notes={"": ["", *notes]},
                       spacing=waves.grid.spacing, label="gradient (Pa² s/m, evened out)")
