"""A random walk with a checkpoint after every step: a scenario that needs only numpy, for the tests of the run directory."""

import time

import numpy as np
from matplotlib.figure import Figure

from hyperion import io
from hyperion.errors import InputError


def main(run, config):
    """Walk, and keep everything the next step depends on."""
    if config.steps < 1:
        raise InputError(f"--steps {config.steps}: must be at least 1; give a positive number")
    random = np.random.default_rng(config.seed)
    state = run.restore() or {"place": np.zeros(config.size), "misfits": [], "random": random.bit_generator.state}
    place, misfits = state["place"], state["misfits"]
    random.bit_generator.state = state["random"]
    with run.progress(config.steps, "walk", start=len(misfits)) as progress:
        while len(misfits) < config.steps:
            place = place + random.standard_normal(config.size)
            misfits.append(float(place @ place))
            time.sleep(config.pause.seconds)
            progress.step(misfit=misfits[-1])
            run.results.write("misfits", misfits, "", (io.Axis("step"),))
            run.checkpoint({"place": place, "misfits": misfits, "random": random.bit_generator.state}, every=0.0)
    run.results.write("place", place, "m", (io.Axis("node", "m", 5.0),), note=config.label)
    run.facts["last misfit"] = misfits[-1]
    figure = Figure()
    figure.subplots().plot(misfits)
    run.figure(figure, "misfit")
