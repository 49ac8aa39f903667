"""Acoustic waves through random layers, by the solver with generated kernels: speed to gathers and to wavefields."""
import math
from collections.abc import Sequence

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.errors import InputError
from hyperion.io import Axis

from ..boundary import CPML
from ..equations import Acoustic
from ..grid import Grid
from ..solver import Solver
from ..spectral import GaussianField
from ..survey import Survey, ricker
from .recipe import Array, Options, Recipe, noise


def _survey(o: Options) -> Survey:
    """Return sources evenly along the surface, receivers at every node of it, both one node deep."""
    n, h = o["resolution"], o["spacing"]
    along = np.linspace(0.0, (n - 1) * h, o["shots"] + 2)[1:-1]
    sources = np.stack([np.full_like(along, h), along], axis=-1)[:, None]
    receivers = np.stack([np.full(n, h), np.arange(n) * h], axis=-1)
    receivers = np.broadcast_to(receivers, (o["shots"], *receivers.shape)).copy()
    return Survey(sources, receivers, ricker(o["frequency"], o["duration"], o["step"]))


def _speeds(o: Options, generators: Sequence[Generator]) -> np.ndarray:
    """Return speeds (samples, n, n) [m/s]: layers that grow faster with depth, bent and varied by Gaussian fields, within the bounds."""
    n = o["resolution"]
    field = GaussianField((n, n), 1.0, tau=o["tau"], alpha=o["alpha"], periodic=False)
    values = field.colour(noise(generators, field.noise_shape)).numpy()
    values = values / np.sqrt((values ** 2).mean(axis=(1, 2), keepdims=True))
    depth = np.linspace(0.0, 1.0, n)[None, :, None] + 0.15 * values
    steps = np.floor(np.clip(depth, 0.0, 0.999) * o["layers"]) / max(1, o["layers"] - 1)
    return o["slowest"] + (o["fastest"] - o["slowest"]) * np.clip(steps, 0.0, 1.0)


def _make(o: Options, generators: Sequence[Generator]) -> dict[str, np.ndarray]:
    n, survey = o["resolution"], _survey(o)
    speeds = _speeds(o, generators).astype(np.float32)
    wave = Solver(Acoustic(), Grid((n, n), o["spacing"]), order=o["order"], boundary=CPML(width=o["boundary_width"]))
    out: dict[str, list[np.ndarray]] = {"gathers": [], "wavefield": []}
    for speed in speeds:
        out["gathers"].append(wave.solve(survey, speed=speed).numpy())
        if o["snapshots"]:
            out["wavefield"].append(_snapshots(o, wave, survey, speed))
    return {"speed": speeds} | {name: np.stack(arrays) for name, arrays in out.items() if arrays}


def _snapshots(o: Options, wave: Solver, survey: Survey, speed: np.ndarray) -> np.ndarray:
    """Return the wavefield of the first shot at equally spaced times, the last within a step of the end: (snapshots, n, n).

    The solver's steps divide the wavelet's, and the snapshots' times are multiples of the wavelet's step for every speed.
    """
    first = survey.subset([0])
    plan = wave.plan(first, speed=speed)
    every = _samples_between(o) * plan.substeps
    fields = []
    for step, _, state in wave.snapshots(first, every, speed=speed):
        if step and len(fields) < o["snapshots"]:
            fields.append(state["p"])
    return np.stack(fields)


def _samples_between(o: Options) -> int:
    return (math.floor(o["duration"] / o["step"] + 1e-9) - 1) // o["snapshots"]


def _arrays(o: Options) -> dict[str, Array]:
    n, h = o["resolution"], o["spacing"]
    if o["shots"] < 1 or o["layers"] < 1 or o["snapshots"] < 0 or not 0 < o["slowest"] <= o["fastest"]:
        raise InputError(f"make_dataset('acoustic', shots={o['shots']}, layers={o['layers']}, snapshots={o['snapshots']}, slowest="
                         f"{o['slowest']:g}, fastest={o['fastest']:g}): give at least one shot and layer, and 0 < slowest <= fastest")
    nodes = (Axis("depth", "m", h), Axis("distance", "m", h))
    source = (n - 1) * h / (o["shots"] + 1)
    arrays = {
        "speed": Array("inputs", "m/s", nodes),
        "gathers": Array("outputs", "Pa", (Axis("shot", "m", source, source), Axis("receiver", "m", h), Axis("time", "s", o["step"]))),
    }
    if o["snapshots"]:
        if _samples_between(o) < 1:
            raise InputError(f"make_dataset('acoustic', snapshots={o['snapshots']}): more than the samples of {o['duration']:g} s")
        apart = _samples_between(o) * o["step"]
        arrays["wavefield"] = Array("outputs", "Pa", (Axis("time", "s", apart, apart), *nodes))
    return arrays


ACOUSTIC = Recipe(
    "acoustic", "Acoustic waves through random layers: speed to shot gathers and wavefields", {
        "resolution": (70, "nodes along depth and distance"), "spacing": (10.0, "[m]"), "shots": (5, "evenly along the surface"),
        "frequency": (15.0, "peak of the Ricker wavelet [Hz]"), "duration": (1.0, "[s]"), "step": (1e-3, "of the gathers [s]"),
        "slowest": (1500.0, "[m/s]"), "fastest": (4500.0, "[m/s]"), "layers": (5, "of constant speed"),
        "tau": (6.0, "the layers are bent by Gaussian fields (-Laplace + tau^2)^-alpha in units of a side"), "alpha": (3.0, ""),
        "order": (8, "of the stencils"), "boundary_width": (20, "nodes of the absorbing layer"),
        "snapshots": (0, "wavefields of the first shot kept, equally spaced in time"),
    },
    _arrays, _make)
