"""A surrogate of the wave equation whose loss holds the solver's residual and adjoint, beside one that learns from solutions alone.

A network maps a speed model to the wavefield of a shot at all time steps of the solver, and is trained with few solved examples. What its
loss may hold beside them: the residual of the solver's own time step in models nobody solved (`operators.step_residual`), and how its
gradients of a data misfit with respect to the speed differ from the adjoint-state gradients (`operators.adjoint_mismatch`): what a
surrogate must have right to stand in an inversion. Compared on unseen models: wavefields, gathers, gradients. Data alone is also given as
many more solved examples as the adjoint runs cost. `scenarios/wave_surrogate_paper.toml` is a larger setting, for a GPU or many cores.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import inversion, io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

COLOURS = {"data": "#9a9a9a", "data-more": "#1b1b1b", "residual": "#edae49", "adjoint": "#00798c", "both": "#d1495b"}
RECEIVERS, QUIET = 2, 0.16      # row of the receivers and the source; the speed is the same everywhere above this portion of the depth


class Waves:
    """The solver, a shot in the middle of the surface, random models, their wavefields and adjoints."""

    def __init__(self, config):
        n, h = config.resolution, config.spacing
        self.grid, self.times = pde.Grid((n, n), h), round(config.duration / config.time_step)
        self.wave = pde.Solver(pde.Acoustic(), self.grid, order=8, boundary=pde.CPML(width=10), stepping=pde.Leapfrog(max_speed=3100.0))
        places = np.stack([np.full(n, RECEIVERS * h), self.grid.axis(1)], axis=1)
        self.survey = pde.Survey([places[n // 2:n // 2 + 1]], [places], pde.ricker(config.frequency, config.duration, config.time_step))
        self.field = pde.GaussianField((n, n), tau=6.0, alpha=3.0, periodic=False)
        typical = np.broadcast_to(np.linspace(1700.0, 3000.0, n)[:, None], (n, n))
        lit = inversion.Smooth(2.0 * h, self.grid.spacing)(inversion.wave_energy(self.wave, self.survey, typical))
        free = np.linspace(0.0, 1.0, n)[:, None] > QUIET
        # A change of 1 in `scale` units moves what is dimly lit as much as what is flooded: gradients of depth count, too.
        self.scale = (free * np.sqrt(lit[free[:, 0]].mean() / (lit + 0.01 * lit[free[:, 0]].mean()))).astype(np.float32)

    def speeds(self, generator, count):
        """Return models of four bent layers, 1700 to 3000 m/s: (count, n, n)."""
        bends = self.field.sample(generator, count, "float64").numpy()
        bends = bends / np.sqrt((bends**2).mean(axis=(1, 2), keepdims=True))
        depth = np.linspace(0.0, 1.0, len(self.scale))[:, None]
        layer = np.floor(np.clip(depth + 0.12 * bends, 0.0, 0.999) * 4.0) / 3.0
        return (1700.0 + 1300.0 * layer * np.clip((depth - QUIET) / 0.1, 0.0, 1.0)).astype(np.float32)

    def solve(self, speed):
        """Return the pressure at all steps, (times, n, n)."""
        return np.stack([fields["p"] for _, _, fields in self.wave.snapshots(self.survey, 1, speed=speed)][:self.times])

    def adjoint(self, speed, residuals):
        """Return the gradients that residuals of gathers, (k, times, n), give, in units of `scale`: (k, n, n)."""
        pull = hp.vjp(lambda c: self.wave.solve(self.survey, speed=c), hp.asarray(speed))[1]
        return np.stack([pull(hp.asarray(np.ascontiguousarray(r.T)[None]))[0].numpy() * self.scale for r in residuals])


def make(waves, config):
    """Return speeds and wavefields, and for the examples differences of gathers and their gradients; the last ones are for the test."""
    solved, count = config.examples * (1 + 2 * config.adjoints), config.examples
    speeds = waves.speeds(hp.random.Generator(config.seed), solved + config.tested)
    fields = np.stack([waves.solve(speed) for speed in speeds])
    gathers, draw = fields[:, :, RECEIVERS], np.random.default_rng(config.seed)
    others = np.array([draw.choice(np.delete(np.arange(count), i), config.adjoints, replace=False) for i in range(count)])
    others = [*others, *([] for _ in range(solved - count)), *((solved + (i + 1) % config.tested,) for i in range(config.tested))]
    pairs = [gathers[i] - gathers[list(found)] for i, found in enumerate(others)]
    return speeds[:, None], fields, pairs, [waves.adjoint(c, r) if len(r) else None for c, r in zip(speeds, pairs, strict=True)]


def network_of(config, times):
    if config.network == "fno":
        return operators.FNO((config.modes, config.modes), config.width, 4, 1, times, padding=0.125)
    return operators.ConvNeXtUNet(1, times, width=config.width, levels=3, blocks=1, kernel=5)


def to_gathers(model, waves, speed):
    """Return gathers as a function of a change of the speed in units of `scale`."""
    return lambda change: model(speed + waves.scale * change)[:, :, RECEIVERS]


def loss_of(variant, model, waves, data, config, step):
    """Return the loss of a batch drawn at random, a Tensor."""
    speeds, fields, pairs, gradients = data
    draw = np.random.default_rng((config.seed, step))
    solved = config.examples * (1 + 2 * config.adjoints)
    chosen = draw.choice(solved if variant == "data-more" else config.examples, config.batch, replace=False)
    loss = nn.relative_l2(model(speeds[chosen]), fields[chosen])
    ramp = 2.0 * step / config.steps - 1.0           # of the residual, in the second half: before, a field of zeros has the least of it
    if variant in ("residual", "both") and ramp > 0.0:
        c = speeds[draw.choice(solved, config.batch, replace=False)]               # any model will do: no solution is needed
        first = int(draw.integers(0, waves.times - config.window - 1))
        u = model(c)[:, first:first + config.window + 2]
        away = operators.step_residual(waves.wave, u, config.time_step, speed=c[:, 0])
        size = fields[:config.examples, first:first + config.window + 2]
        change = size[:, 2:] - 2.0 * size[:, 1:-1] + size[:, :-2]                   # of the states, what the residual is relative to
        loss = loss + ramp * config.residual * hp.mean(hp.square(away)) / float(np.mean(change**2) + 1e-12)
    if variant in ("adjoint", "both"):
        which = draw.integers(0, config.adjoints, config.batch)
        r, g = (np.stack([kind[i][k] for i, k in zip(chosen, which, strict=True)]) for kind in (pairs, gradients))
        loss = loss + config.adjoint * operators.adjoint_mismatch(to_gathers(model, waves, speeds[chosen]), 0.0 * g[:, None], r, g[:, None])
    return loss


def test(model, waves, data, config):
    """Return the mean errors of wavefields and gathers, the mean cosine of gradients to the true ones, a wavefield and a gradient."""
    speeds, fields, pairs, gradients = (part[-config.tested:] for part in data)
    answers = operators.predict(model, speeds, config.batch)
    def error(a, b):
        return float(np.mean([np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]))
    r = np.concatenate(pairs)
    own = hp.grad(lambda change: hp.sum(to_gathers(model, waves, speeds)(change) * r))(0.0 * speeds).detach().numpy()[:, 0]
    cosines = [np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(own, np.concatenate(gradients), strict=True)]
    return error(answers, fields), error(answers[:, :, RECEIVERS], fields[:, :, RECEIVERS]), float(np.mean(cosines)), answers[0], own[0]


def train(variant, model, optimiser, waves, data, config, run, state, progress):
    """Train with one loss from where `state` stands, keeping errors on the way in it."""
    now = state.get("now", {})
    if now:
        model.load_state_dict(now["model"])
        optimiser.load_state_dict(now["optimiser"])
    curve = now.get("curve", [])
    for step in range(now.get("step", 0), config.steps):
        loss = loss_of(variant, model, waves, data, config, step)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) % max(1, config.steps // 8) == 0:
            curve = [*curve, [step + 1, *test(model, waves, data, config)[:3]]]
        progress.step(loss=float(loss), variant=len(state["done"]))
        state["now"] = {"step": step + 1, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "curve": curve}
        run.checkpoint(state)
    state["done"][variant] = {"model": model.state_dict(), "curve": curve}
    state["now"] = {}


def main(run, config):
    """Make data, train with each loss, compare."""
    if config.network not in ("fno", "unet") or config.resolution % 8 or config.resolution < 24:
        raise InputError(f"--network {config.network} must be unet or fno, --resolution {config.resolution} a multiple of 8, 24 or more")
    if min(config.tested, config.adjoints, config.batch, config.window) < 1 or config.examples < max(config.batch, config.adjoints + 1):
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch} and above --adjoints {config.adjoints}; "
                         f"--tested {config.tested}, --window {config.window} and those at least 1")
    if not config.losses or not set(config.losses) <= set(COLOURS):
        raise InputError(f"--losses {config.losses}: choose among {', '.join(COLOURS)}")
    waves = Waves(config)
    if waves.times < config.window + 2:
        raise InputError(f"--duration {config.duration:g}: {waves.times} steps of --time_step are fewer than --window {config.window} + 2")
    data = make(waves, config)
    run.log(f"{len(data[0])} shots of {waves.wave.plan(waves.survey, speed=data[0][0, 0])}")
    state = run.restore() or {"done": {}, "now": {}}
    found, shown = {}, {"solver": (data[1][-config.tested], data[3][-config.tested][0])}
    made = len(state["done"]) * config.steps + state["now"].get("step", 0)
    with run.progress(len(config.losses) * config.steps, "training", made) as bar:
        for variant in config.losses:
            nn.seed(config.seed)
            model = operators.Normalized(network_of(config, waves.times), data[0][:config.examples], data[1][:config.examples])
            optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(config.rate, 0.01 * config.rate, config.steps))
            if variant not in state["done"]:
                train(variant, model, optimiser, waves, data, config, run, state, bar)
            model.load_state_dict(state["done"][variant]["model"])
            *found[variant], field, gradient = test(model, waves, data, config)
            shown[variant] = field, gradient
            for what, value in zip(("wavefields", "gathers", "gradients, cosine"), found[variant], strict=True):
                run.facts[f"{variant}: {what}"] = value
            run.log(f"{variant:10}: wavefields {found[variant][0]:.3f}, gathers {found[variant][1]:.3f}, cosine {found[variant][2]:.3f}")
    run.checkpoint(state, every=0.0)
    run.facts["parameters"] = sum(p.size for p in model.parameters())
    nodes = (io.Axis("depth", "m", config.spacing), io.Axis("distance", "m", config.spacing))
    for name, (field, gradient) in shown.items():
        run.results.write(f"{name}/wavefield", field, "Pa", (io.Axis("time", "s", config.time_step), *nodes))
        run.results.write(f"{name}/gradient", gradient, "Pa^2 s/m", nodes)
    run.figure(wavefields(shown, found, config), "wavefields")
    run.figure(plot.models({"speed": data[0][-config.tested, 0]}, waves.grid.spacing), "speed")
    run.figure(gradients(shown, found, waves), "gradients")
    run.figure(course({name: np.array(done["curve"]) for name, done in state["done"].items()}, config), "training")


def wavefields(shown, found, config):
    """Return a figure of one unseen model: snapshots by the solver and by each surrogate, and their difference at the last time."""
    times = [round(config.duration / config.time_step * part) for part in (0.4, 0.65, 0.95)]
    truth = shown["solver"][0]
    rows = {"solver": [*truth[times], None]}
    rows |= {f"{name}\nerror {found[name][0]:.3f}": [*field[times], field[times[-1]] - truth[times[-1]]]
             for name, (field, _) in shown.items() if name != "solver"}
    sizes = [0.6 * float(np.abs(truth[time]).max()) for time in [*times, times[-1]]]
    return plot.fields(rows, [*(f"{time * config.time_step:.2f} s" for time in times), "surrogate - solver"], limits=sizes)


def gradients(shown, found, waves):
    """Return a figure of the gradient of one misfit with respect to the speed: by the adjoint, and through each surrogate."""
    sizes = [float(np.quantile(np.abs(image[waves.scale > 0.0]), 0.995)) for _, image in shown.values()]
    notes = ["adjoint state", *(f"cosine, all: {found[name][2]:.2f}" for name in shown if name != "solver")]
    return plot.fields({"gradient": [image for _, image in shown.values()]}, list(shown), limits=sizes, notes={"gradient": notes})


def course(curves, config):
    """Return a figure of errors on unseen models during training."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    labels = ("wavefields, relative L2 error", "gathers, relative L2 error", "gradients, cosine to the adjoint's")
    for column, (panel, label) in enumerate(zip(figure.subplots(1, 3), labels, strict=True), 1):
        for name, curve in curves.items():
            shown = f"{name}: {config.examples * (1 + 2 * config.adjoints)} examples" if name == "data-more" else name
            draw = panel.plot if column == 3 else panel.semilogy
            draw(curve[:, 0], curve[:, column], "o-", markersize=3, color=COLOURS[name], label=shown)
        panel.set(xlabel="step", ylabel=label)
    panel.legend(frameon=False, fontsize=8)
    return figure
