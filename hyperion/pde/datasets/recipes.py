"""The kinds of data sets that `hyperion make-data` makes."""
import numpy as np

from hyperion.errors import InputError
from hyperion.io import Axis

from ..darcy import DarcySolver
from ..shallow_water import ShallowWaterSolver
from ..spectral import ETDRK4, BurgersSolver, CrankNicolson, GaussianField, GrayScottSolver, Torus, VorticitySolver
from .acoustic import ACOUSTIC
from .recipe import Array, Options, Recipe, noise

__all__ = ["RECIPES", "Recipe"]

REFINE = (1, "the solver's grid is this many times finer than the one kept")
SAVES = "states kept, equally spaced in time, the last at the end"


def _time(o: Options) -> Axis:
    return Axis("time", "", o["duration"] / o["saves"], o["duration"] / o["saves"])


def _space(o: Options, *names: str) -> tuple[Axis, ...]:
    return tuple(Axis(name, "", o["length"] / o["resolution"]) for name in names)


def _burgers(o: Options, generators):
    torus = Torus(o["resolution"] * o["refine"], o["length"])
    field = GaussianField(torus.shape, torus.lengths, tau=o["tau"], alpha=o["alpha"], scale=o["scale"])
    start = field.colour(noise(generators, field.noise_shape))
    u = BurgersSolver(torus, ETDRK4(o["step"])).solve(start, o["duration"], viscosity=o["viscosity"], saves=o["saves"])
    every = o["refine"]
    return {"initial": start.numpy()[:, ::every], "solution": u.numpy()[:, :, ::every]}


BURGERS = Recipe(
    "burgers", "Burgers' equation on the circle: initial state to later states", {
        "resolution": (1024, "points kept"), "refine": REFINE, "length": (1.0, "of the circle"),
        "viscosity": (0.1, "nu"), "duration": (1.0, "time of the last state"), "saves": (1, SAVES), "step": (1e-3, "longest time step"),
        "tau": (5.0, "initial states are Gaussian fields scale^2 (-Laplace + tau^2)^-alpha"), "alpha": (2.0, ""), "scale": (25.0, ""),
    },
    lambda o: {"initial": Array("inputs", "", _space(o, "x")), "solution": Array("outputs", "", (_time(o), *_space(o, "x")))}, _burgers)


def _darcy(o: Options, generators):
    nodes = (o["resolution"] - 1) * o["refine"] + 1
    field = GaussianField((nodes, nodes), o["length"], tau=o["tau"], alpha=o["alpha"], scale=o["scale"], periodic=False)
    values = field.colour(noise(generators, field.noise_shape)).numpy()
    a = np.exp(values) if o["lognormal"] else np.where(values >= 0.0, o["high"], o["low"])
    u = DarcySolver((nodes, nodes), o["length"], tolerance=o["tolerance"]).solve(a, o["source"]).numpy()
    every = o["refine"]
    return {"permeability": a[:, ::every, ::every], "pressure": u[:, ::every, ::every]}


def _nodes(o: Options) -> tuple[Axis, ...]:
    if o["resolution"] < 3:
        raise InputError(f"make_dataset('darcy', resolution={o['resolution']}): has nodes on the edges only, where the pressure is 0; "
                         "give at least 3")
    return tuple(Axis(name, "", o["length"] / (o["resolution"] - 1)) for name in ("y", "x"))


DARCY = Recipe(
    "darcy", "Darcy flow in a square: permeability to pressure", {
        "resolution": (85, "nodes per side kept, those on the edges included"), "refine": (5, REFINE[1]), "length": (1.0, "of a side"),
        "low": (3.0, "permeability where the Gaussian field is negative"), "high": (12.0, "and where it is not"),
        "lognormal": (False, "permeability is e to the power of the field instead"), "source": (1.0, "f"),
        "tolerance": (1e-10, "of the residual"),
        "tau": (3.0, "Gaussian field scale^2 (-Laplace + tau^2)^-alpha with insulated walls"), "alpha": (2.0, ""), "scale": (1.0, ""),
    },
    lambda o: {"permeability": Array("inputs", "", _nodes(o)), "pressure": Array("outputs", "", _nodes(o))}, _darcy)


def _navier_stokes(o: Options, generators):
    n = o["resolution"] * o["refine"]
    torus = Torus((n, n), o["length"])
    field = GaussianField(torus.shape, torus.lengths, tau=o["tau"], alpha=o["alpha"], scale=o["scale"])
    start = field.colour(noise(generators, field.noise_shape))
    turn = 2.0 * np.pi / o["length"] * (torus.axis(0)[:, None] + torus.axis(1)[None, :])
    forcing = o["forcing"] * (np.sin(turn) + np.cos(turn))
    stepping = CrankNicolson(o["step"]) if o["crank_nicolson"] else ETDRK4(o["step"])
    w = VorticitySolver(torus, stepping).solve(start, o["duration"], viscosity=o["viscosity"], forcing=forcing, saves=o["saves"])
    every = o["refine"]
    return {"initial": start.numpy()[:, ::every, ::every], "vorticity": w.numpy()[:, :, ::every, ::every]}


NAVIER_STOKES = Recipe(
    "navier-stokes", "Navier-Stokes on the torus: vorticity at the start to later vorticity", {
        "resolution": (64, "points per side kept"), "refine": REFINE, "length": (1.0, "of a side"), "viscosity": (1e-3, "nu"),
        "duration": (50.0, "time of the last state"), "saves": (50, SAVES), "step": (0.02, "longest time step"),
        "crank_nicolson": (False, "step as in the paper on the Fourier neural operator (then step = 1e-4), not by ETDRK4"),
        "forcing": (0.1, "factor of sin + cos of 2 pi (x + y) / length"),
        "tau": (7.0, "initial states are Gaussian fields scale^2 (-Laplace + tau^2)^-alpha"), "alpha": (2.5, ""),
        "scale": (7.0 ** 1.5, "as the code of the paper on the Fourier neural operator has it; its first version drew sqrt(2) times that"),
    },
    lambda o: {"initial": Array("inputs", "", _space(o, "y", "x")), "vorticity": Array("outputs", "", (_time(o), *_space(o, "y", "x")))},
    _navier_stokes)


def _gray_scott(o: Options, generators):
    torus = Torus((o["resolution"],) * 2, o["length"])
    y, x = torus.axis(0)[:, None], torus.axis(1)[None, :]
    starts = []
    for generator in generators:
        spots = np.zeros(torus.shape)
        for place in generator.uniform((o["spots"], 2), dtype="float64").numpy() * o["length"]:
            # The distance on the torus, through chords: smooth across the seam.
            chords = sum(np.sin(np.pi * (c - at) / o["length"]) ** 2 for c, at in zip((y, x), place, strict=True))
            spots = np.maximum(spots, np.exp(-chords * (o["length"] / (np.pi * o["radius"])) ** 2))
        starts.append(np.stack([1.0 - 0.5 * spots, 0.25 * spots]))
    start = np.stack(starts)
    states = GrayScottSolver(torus, ETDRK4(o["step"])).solve(
        start, o["duration"], diffusion=(o["diffusion_u"], o["diffusion_v"]), feed=o["feed"], kill=o["kill"], saves=o["saves"])
    return {"initial": start, "concentrations": states.numpy()}


GRAY_SCOTT = Recipe(
    "gray-scott", "Gray-Scott reaction and diffusion: spots at the start to patterns", {
        "resolution": (128, "points per side"), "length": (2.5, "of a side"), "diffusion_u": (2e-5, ""), "diffusion_v": (1e-5, ""),
        "feed": (0.04, "F"), "kill": (0.06, "k"), "duration": (1000.0, "time of the last state"), "saves": (10, SAVES),
        "step": (2.0, "longest time step"), "spots": (8, "at random places"), "radius": (0.1, "of a spot"),
    },
    lambda o: {"initial": Array("inputs", "", (Axis("species"), *_space(o, "y", "x"))),
               "concentrations": Array("outputs", "", (_time(o), Axis("species"), *_space(o, "y", "x")))}, _gray_scott)


def _shallow_water(o: Options, generators):
    n, length = o["resolution"], o["length"]
    at = (np.arange(n) + 0.5) * (length / n) - 0.5 * length
    distance = np.sqrt(at[:, None] ** 2 + at[None, :] ** 2)
    radii = np.array([generator.uniform((), dtype="float64").item() for generator in generators])
    radii = o["radius_from"] + (o["radius_to"] - o["radius_from"]) * radii
    start = np.zeros((len(radii), 3, n, n))
    start[:, 0] = np.where(distance <= radii[:, None, None], o["inside"], o["outside"])
    states = ShallowWaterSolver((n, n), length, o["step"], gravity=o["gravity"]).solve(start, o["duration"], saves=o["saves"])
    return {"radius": radii, "initial": start, "water": states.numpy()}


def _cells(o: Options) -> tuple[Axis, ...]:
    h = o["length"] / o["resolution"]
    return tuple(Axis(name, "m", h, 0.5 * h - 0.5 * o["length"]) for name in ("y", "x"))


SHALLOW_WATER = Recipe(
    "shallow-water", "Shallow water: a round dam breaks between walls", {
        "resolution": (128, "cells per side"), "length": (5.0, "of a side [m]"), "gravity": (1.0, "[m/s^2]"),
        "inside": (2.0, "depth behind the dam [m]"), "outside": (1.0, "[m]"), "radius_from": (0.3, "smallest radius of the dam [m]"),
        "radius_to": (0.7, "largest [m]"), "duration": (1.0, "time of the last state [s]"), "saves": (20, SAVES),
        "step": (5e-3, "longest time step [s]"),
    },
    lambda o: {"radius": Array("inputs", "m", ()), "initial": Array("inputs", "m, m^2/s, m^2/s", (Axis("h, hu, hv"), *_cells(o))),
               "water": Array("outputs", "m, m^2/s, m^2/s", (_time(o)._replace(unit="s"), Axis("h, hu, hv"), *_cells(o)))}, _shallow_water)


def _random_field(o: Options, generators):
    shape = (o["resolution"],) * o["axes"]
    field = GaussianField(shape, o["length"], tau=o["tau"], alpha=o["alpha"], scale=o["scale"], periodic=o["periodic"],
                          mean_free=o["mean_free"])
    return {"field": field.colour(noise(generators, field.noise_shape)).numpy()}


def _field_axes(o: Options) -> tuple[Axis, ...]:
    if o["axes"] not in (1, 2):
        raise InputError(f"make_dataset('random-field', axes={o['axes']}): give 1 or 2")
    if o["resolution"] < 2 and not o["periodic"]:
        raise InputError("make_dataset('random-field', resolution=1): walls on both sides need a point each; give at least 2")
    return tuple(Axis(name, "", o["length"] / (o["resolution"] - (not o["periodic"]))) for name in ("y", "x")[2 - o["axes"]:])


RANDOM_FIELD = Recipe(
    "random-field", "Gaussian random fields", {
        "resolution": (128, "points per axis"), "axes": (2, "1 or 2"), "length": (1.0, "of a side"),
        "tau": (3.0, "inverse correlation length"), "alpha": (2.0, "smoothness"), "scale": (1.0, "factor"),
        "periodic": (True, "false: walls that insulate"),
        "mean_free": (True, "without the constant mode"),
    },
    lambda o: {"field": Array("inputs", "", _field_axes(o))}, _random_field)

RECIPES: dict[str, Recipe] = {r.name: r for r in (ACOUSTIC, BURGERS, DARCY, GRAY_SCOTT, NAVIER_STOKES, RANDOM_FIELD, SHALLOW_WATER)}
