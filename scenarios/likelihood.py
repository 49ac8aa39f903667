"""Maximum likelihood: how amplitudes decay with distance, with standard errors from the Hessian and from the bootstrap.

Amplitudes at stations are gamma-distributed, with the same relative scatter everywhere, about
strength (r / r0)^-spreading exp(-attenuation (r - r0)): geometrical spreading and anelastic loss. The four parameters are those that make
the observed amplitudes most probable; the inverse of the Hessian of -log probability there is their covariance. A parametric bootstrap (new
data from the fitted model, fitted again) checks these standard errors.
"""

import numpy as np
from matplotlib.figure import Figure

import hyperion as hp
from hyperion import io, optim, probability
from hyperion.errors import InputError

NAMES = ("log strength", "spreading", "attenuation [1/km]", "log shape")
REFERENCE = 10.0                                                      # r0 [km]
COLOURS = {"data": "#9a9a9a", "fit": "#d1495b", "truth": "#1b1b1b", "bootstrap": "#00798c"}


def amplitudes(theta, distance):
    """Return the distribution of the amplitude at distances [km], given the four parameters."""
    mean = hp.exp(theta[0] - theta[1] * hp.log(distance / REFERENCE) - theta[2] * (distance - REFERENCE))
    shape = hp.exp(theta[3])                                          # the relative scatter is shape^(-1/2)
    return probability.Gamma(shape, shape / mean)


def fit(distance, amplitude, start):
    """Return the most probable parameters, and -log probability as a function of them."""
    def loss(theta):
        return -amplitudes(theta, distance).log_prob(amplitude).mean()

    result = optim.minimize(hp.value_and_grad(loss), start, iterations=200, gradient_tolerance=1e-8)
    if result.reason == "iterations":
        raise InputError("--data: the fit did not converge in 200 iterations; the amplitudes do not fit this model")
    return result.parameters, lambda theta: loss(theta) * float(distance.size)


def first_guess(distance, amplitude):
    """Return least squares of the logarithms: (4,)."""
    r = distance.numpy()
    columns = np.stack([np.ones_like(r), -np.log(r / REFERENCE), -(r - REFERENCE)], axis=1)
    log_amplitude = np.log(amplitude.numpy())
    found = np.linalg.lstsq(columns, log_amplitude)[0]
    scatter = np.std(log_amplitude - columns @ found)
    return hp.asarray(np.append(found, -2.0 * np.log(max(scatter, 1e-3))))


def read_data(path):
    """Return distances [km] and amplitudes of a text file of two columns separated by commas, or refuse it."""
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"--data {path}: {error}; give a text file with a line distance,amplitude for each station") from error
    if table.shape[1] != 2 or len(table) < 8 or not (np.isfinite(table).all() and (table > 0.0).all()):
        raise InputError(f"--data {path}: has shape {table.shape}; give two columns above 0, distance [km] and amplitude, 8 lines or more")
    return hp.asarray(table[:, 0]), hp.asarray(table[:, 1])


def main(run, config):
    """Make or read data, fit, find standard errors in two ways, draw."""
    generator = hp.random.Generator(config.seed)
    truth = None
    if config.data:
        distance, observed = read_data(config.data)
    else:
        if config.stations < 8 or not 0.0 < config.nearest < config.farthest or min(config.strength, config.scatter) <= 0.0:
            raise InputError(f"--stations {config.stations} must be 8 or more, --nearest {config.nearest:g} above 0 and below --farthest "
                             f"{config.farthest:g}, --strength and --scatter above 0")
        truth = np.array([np.log(config.strength), config.spreading, config.attenuation, -2.0 * np.log(config.scatter)])
        spread = generator.uniform((config.stations,), dtype="float64")
        distance = config.nearest * (config.farthest / config.nearest) ** spread
        observed = amplitudes(hp.asarray(truth), distance).sample(generator)
    if config.replicates < 2:
        raise InputError(f"--replicates {config.replicates}: must be at least 2, to have a spread")

    estimate, total = fit(distance, observed, first_guess(distance, observed))
    covariance = hp.linalg.inv(hp.hessian(total)(estimate)).numpy()
    error = np.sqrt(np.diag(covariance))
    for i, name in enumerate(NAMES):
        true = "" if truth is None else f"; true: {truth[i]:.4g}"
        run.facts[name] = f"{estimate[i].item():.4g} ± {error[i]:.2g}{true}"
        run.log(f"{name:20} {run.facts[name]}")

    fitted = amplitudes(estimate, distance)
    state = run.restore() or {"found": np.zeros((0, len(NAMES)))}
    found = list(state["found"])
    with run.progress(config.replicates, "bootstrap", start=len(found)) as progress:
        while len(found) < config.replicates:
            new = fitted.sample(generator.at(len(found)))             # a generator of its own: the same if the run is resumed here
            found.append(fit(distance, new, estimate)[0].numpy())
            progress.step(spreading=float(found[-1][1]))
            run.checkpoint({"found": np.array(found)})
    found = np.array(found)
    run.checkpoint({"found": found}, every=0.0)
    run.facts["bootstrap error / Hessian error"] = ", ".join(f"{ratio:.2f}" for ratio in found.std(axis=0, ddof=1) / error)

    station = (io.Axis("station"),)
    run.results.write("distance", distance.numpy(), "km", station)
    run.results.write("amplitude", observed.numpy(), "", station)
    run.results.write("estimate", estimate.numpy(), "", (io.Axis("parameter"),), names=list(NAMES))
    run.results.write("covariance", covariance, "", (io.Axis("parameter"), io.Axis("parameter")), names=list(NAMES))
    run.results.write("bootstrap", found, "", (io.Axis("replicate"), io.Axis("parameter")), names=list(NAMES))
    run.figure(draw_data(distance.numpy(), observed.numpy(), estimate, truth, generator), "amplitudes")
    run.figure(draw_errors(found, estimate.numpy(), error, truth), "parameters")


def draw_data(distance, observed, estimate, truth, generator):
    """Return a figure of the amplitudes, the fitted mean, and the band that holds 90 % of the fitted distribution."""
    r = np.geomspace(distance.min(), distance.max(), 100)
    fitted = amplitudes(estimate, hp.asarray(r))
    low, high = np.quantile(fitted.sample(generator, (4000,)).numpy(), (0.05, 0.95), axis=0)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    panel = figure.subplots()
    panel.loglog(distance, observed, ".", color=COLOURS["data"], label="observed")
    panel.fill_between(r, low, high, color=COLOURS["fit"], alpha=0.15, linewidth=0, label="90 % of the fitted distribution")
    panel.loglog(r, fitted.mean.numpy(), color=COLOURS["fit"], label="fitted mean")
    if truth is not None:
        panel.loglog(r, amplitudes(hp.asarray(truth), hp.asarray(r)).mean.numpy(), "--", color=COLOURS["truth"], label="true mean")
    panel.set(xlabel="Distance (km)", ylabel="Amplitude")
    panel.legend(frameon=False)
    return figure


def draw_errors(found, estimate, error, truth):
    """Return a figure of the spread of the bootstrap beside the normal curve of the Hessian's standard error, for each parameter."""
    figure = Figure(figsize=(10.0, 3.0), layout="constrained")
    for i, panel in enumerate(figure.subplots(1, len(NAMES))):
        x = np.linspace(estimate[i] - 4.0 * error[i], estimate[i] + 4.0 * error[i], 200)
        panel.hist(found[:, i], bins="sqrt", density=True, color=COLOURS["bootstrap"], alpha=0.35, label="bootstrap")
        panel.plot(x, np.exp(probability.Normal(estimate[i], error[i]).log_prob(x).numpy()), color=COLOURS["fit"], label="Hessian")
        if truth is not None:
            panel.axvline(truth[i], color=COLOURS["truth"], linestyle="--", label="true")
        panel.set(xlabel=NAMES[i], yticks=[])
        panel.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure
