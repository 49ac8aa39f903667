"""What the laws of the stencil engine are walked over: every equation with random materials, and every value a solver can be given.

An equation in `hyperion.pde` without an entry here fails a test. A combination is one of everything. `everything` has every equation
with every boundary and storage, and of the other values every pair; `sampled` is what the usual run of the tests takes.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hyperion import pde
from tests.pde.cases import Brew, Case, Coupled, Cubic, Damped, Dose, Mixed, PressureVelocity, PressureVelocity3D, Reacting, Transport

FREE, RIGID = pde.FreeSurface(), pde.Rigid()
LINE, PLANE, VOLUME = (40,), (31, 37), (20, 19, 22)
HILL = pde.FreeSurface(30.0 + 10.0 * np.sin(np.arange(PLANE[1]) / 4.0))
NARROW_LAYER = {1: pde.CPML(width=5), 2: pde.CPML(width=5), 3: pde.CPML(width=3)}


@dataclass(frozen=True)
class Entry:
    """An equation in a number of dimensions and what its experiments need.

    ranges: {parameter: (lowest, highest)} of random materials. zero: parameters that are zero in the upper third (fluids).
    speed: no wave is faster [m/s]. boundaries: names in BOUNDARIES that the equation can have. amplitude: of white source samples.
    stepping: how it is stepped. orders: those it can have.
    nonlinear: whether only storages that have every step serve.
    """

    name: str
    equation: pde.Equation
    shape: tuple[int, ...]
    ranges: dict[str, tuple[float, float]]
    zero: tuple[str, ...] = ()
    speed: float = 3000.0
    boundaries: tuple[str, ...] = ("layer", "none", "periodic", "free", "rigid", "strip", "corners")
    amplitude: float = 1.0
    stepping: type[pde.Stepping] = pde.Leapfrog
    nonlinear: bool = False
    options: dict = field(default_factory=dict)
    orders: tuple[int, ...] = (2, 4, 8)

    def material(self, random: np.random.Generator, dtype: type) -> list[np.ndarray]:
        """Return the random parameters, in the order of the equation's."""
        out = []
        for name in self.equation.parameters:
            low, high = self.ranges[name]
            values = (low + (high - low) * random.random(self.shape)).astype(dtype)
            if name in self.zero:
                values[: self.shape[0] // 3] = 0.0
            out.append(values)
        return out


SPEED, DENSITY = (1500.0, 2400.0), (1000.0, 1600.0)
ACOUSTIC = {"speed": SPEED, "density": DENSITY}
ELASTIC = {"p_speed": (1700.0, 2700.0), "s_speed": (700.0, 1100.0), "density": DENSITY}
THOMSEN = {"epsilon": (0.1, 0.25), "delta": (-0.05, 0.09), "gamma": (0.05, 0.2)}
TILT = {"tilt": (0.2, 0.9), "azimuth": (-0.5, 0.5)}
SOLID = pde.Attenuation.fitted(5.0, 50.0, mechanisms=2)
QUALITY = dict.fromkeys(("quality", "p_quality", "s_quality"), (20.0, 40.0))
FLOW = {"buoyancy": (0.6e-3, 1e-3), "bulk": (3e9, 5e9), "decay": (20.0, 32.0)}
LIGHT = {"permittivity": (1.5, 3.0), "permeability": (1.0, 1.5), "conductivity": (5e-4, 2e-3)}
LIGHT |= {"susceptibility": (1.0, 3.0), "relaxation_time": (2e-8, 5e-8), "plasma_frequency": (1e7, 3e7), "collision_rate": (1e6, 1e7)}
BREW = {"spread": (1e3, 2e3), "reaction": (60.0, 100.0), "feed": (5.0, 10.0)}
SPREADING = ("layer", "none", "periodic")
MIXTURE = {"push": (1200.0, 2000.0), "pull": (1200.0, 2000.0), "mix": (60.0, 100.0), "spread": (60.0, 100.0)}
SPREADS = dict.fromkeys(("diffusivity", "viscosity", "diffusivity_u", "diffusivity_v"), (500.0, 1500.0))
SPREADS |= {"velocity_y": (-900.0, 900.0), "velocity_x": (300.0, 900.0), "reaction": (100.0, 200.0), "feed": (10.0, 20.0)}
SPREADS |= {"kill": (10.0, 20.0)}

ENTRIES = [
    Entry("acoustic", pde.Acoustic(), PLANE, ACOUSTIC),
    Entry("acoustic-3d", pde.Acoustic(), VOLUME, ACOUSTIC),
    Entry("variable-density", pde.AcousticVariableDensity(), PLANE, ACOUSTIC),
    Entry("variable-density-3d", pde.AcousticVariableDensity(ndim=3), VOLUME, ACOUSTIC),
    Entry("pressure", pde.AcousticPressure(), PLANE, ACOUSTIC),
    Entry("pressure-3d", pde.AcousticPressure(ndim=3), VOLUME, ACOUSTIC),
    Entry("mixed", Mixed(), PLANE, {"speed": SPEED, "mix": (0.2, 0.4)}, boundaries=("layer", "none", "periodic")),
    Entry("elastic", pde.Elastic(), PLANE, ELASTIC, zero=("s_speed",)),
    Entry("elastic-3d", pde.Elastic(ndim=3), VOLUME, ELASTIC, zero=("s_speed",)),
    Entry("elastic-sh", pde.ElasticSH(), PLANE, ELASTIC),
    Entry("acoustic-relief", pde.Acoustic(), PLANE, ACOUSTIC, boundaries=("relief", "relief-strip")),
    Entry("elastic-relief", pde.Elastic(), PLANE, ELASTIC, zero=("s_speed",), boundaries=("relief", "relief-strip"), orders=(2,)),
    Entry("acoustic-vti", pde.AcousticVTI(), PLANE, ACOUSTIC | THOMSEN),
    Entry("acoustic-vti-3d", pde.AcousticVTI(), VOLUME, ACOUSTIC | THOMSEN),
    Entry("acoustic-tti", pde.AcousticTTI(), PLANE, ACOUSTIC | THOMSEN | TILT, boundaries=("layer", "none", "periodic")),
    Entry("acoustic-tti-3d", pde.AcousticTTI(ndim=3), VOLUME, ACOUSTIC | THOMSEN | TILT, boundaries=("periodic",)),
    Entry("viscoacoustic", pde.Viscoacoustic(SOLID), PLANE, ACOUSTIC | QUALITY),
    Entry("viscoelastic", pde.Viscoelastic(SOLID), PLANE, ELASTIC | QUALITY, zero=("s_speed",)),
    Entry("elastic-vti", pde.ElasticVTI(), PLANE, ELASTIC | THOMSEN, zero=("s_speed",), speed=3600.0),
    Entry("elastic-vti-3d", pde.ElasticVTI(ndim=3), VOLUME, ELASTIC | THOMSEN, boundaries=("periodic", "free"), speed=3600.0),
    *(Entry(type(e).__name__, e, PLANE, LIGHT, zero=("conductivity",), speed=3e8) for e in (pde.MaxwellTM(), pde.MaxwellTE())),
    Entry("Maxwell3D", pde.Maxwell3D(), VOLUME, LIGHT, zero=("conductivity",), speed=3e8),
    Entry("damped-wave", pde.DampedWave(), PLANE, {"speed": SPEED, "absorption": (20.0, 40.0)}, zero=("absorption",)),
    Entry("MaxwellTM-Debye", pde.MaxwellTM(pde.Debye()), PLANE, LIGHT, zero=("susceptibility",), speed=3e8),
    Entry("MaxwellTE-Drude", pde.MaxwellTE(pde.Drude()), PLANE, LIGHT, zero=("plasma_frequency", "collision_rate"), speed=3e8),
    # Declared here, as a user would: a bare pair and its three-dimensional form, unread fields, a loss, two coupled second-order fields.
    Entry("pair", PressureVelocity(), PLANE, FLOW),
    Entry("pair-3d", PressureVelocity3D(), VOLUME, FLOW),
    Entry("dose", Dose(), PLANE, FLOW),
    Entry("damped", Damped(), PLANE, FLOW),
    Entry("coupled", Coupled(), PLANE, {"speed": SPEED, "mix": (0.2, 0.4)}),
    # Other steppings than leapfrog: on second-order fields, and on a rate that reads the field it advances.
    Entry("acoustic-LaxWendroff", pde.Acoustic(), PLANE, ACOUSTIC, stepping=pde.LaxWendroff),
    Entry("acoustic-RungeKutta4", pde.Acoustic(), PLANE, ACOUSTIC, stepping=pde.RungeKutta4),
    Entry("transport-SSPRK3", Transport(), PLANE, {"speed": SPEED, "spread": (1e3, 2e3)}, stepping=pde.SSPRK3,
          boundaries=("layer", "none", "periodic")),
    # Amplitudes at which what is nonlinear in a step is some percent of the fields.
    Entry("cubic", Cubic(), PLANE, {"speed": SPEED, "stiffness": (0.5e7, 1e7)}, amplitude=3e6, nonlinear=True),
    Entry("reacting", Reacting(), PLANE, MIXTURE, amplitude=2e4, nonlinear=True),
    Entry("brew-RungeKutta4", Brew(), PLANE, BREW, stepping=pde.RungeKutta4, boundaries=SPREADING, amplitude=1e4, nonlinear=True),
    # In one dimension, where kernels have one row.
    Entry("elastic-1d", pde.Elastic(ndim=1), LINE, ELASTIC, boundaries=("layer", "periodic", "free")),
    Entry("acoustic-1d", pde.Acoustic(), LINE, ACOUSTIC, boundaries=SPREADING),
    Entry("burgers", pde.Burgers(), LINE, {"viscosity": (200.0, 300.0)}, stepping=pde.SSPRK3, boundaries=SPREADING, amplitude=1e6,
          nonlinear=True),
    Entry("heat", pde.Heat(), LINE, {"diffusivity": (200.0, 300.0)}, stepping=pde.RungeKutta4, boundaries=SPREADING),
    # Diffusion, transport, reactions: first order in time, rates that read what they advance.
    Entry("heat-2d", pde.Heat(), PLANE, SPREADS, stepping=pde.RungeKutta4),
    Entry("advection-diffusion", pde.AdvectionDiffusion(ndim=2), PLANE, SPREADS, stepping=pde.SSPRK3, boundaries=SPREADING),
    Entry("burgers-2d", pde.Burgers(ndim=2), PLANE, SPREADS, stepping=pde.RungeKutta4, boundaries=SPREADING, amplitude=4e6, nonlinear=True),
    Entry("shallow-water", pde.ShallowWater(), PLANE, {"depth": (100.0, 200.0), "viscosity": (10.0, 30.0)}, speed=60.0,
          stepping=pde.SSPRK3, boundaries=("none", "periodic"), amplitude=4e3, nonlinear=True),
    Entry("gray-scott", pde.GrayScott(), PLANE, SPREADS, stepping=pde.SSPRK3, boundaries=SPREADING, amplitude=1e4, nonlinear=True),
    Entry("allen-cahn", pde.AllenCahn(), PLANE, SPREADS, stepping=pde.RungeKutta4, amplitude=1e4, nonlinear=True),
]
BOUNDARIES = {
    "layer": lambda ndim: NARROW_LAYER[ndim],
    "none": lambda ndim: pde.CPML(width=0),
    "periodic": lambda ndim: pde.Periodic(),
    "free": lambda ndim: pde.Sides(NARROW_LAYER[ndim], top=FREE),
    "relief": lambda ndim: pde.Sides(NARROW_LAYER[ndim], top=HILL),
    "relief-strip": lambda ndim: pde.Sides(NARROW_LAYER[ndim], top=HILL, left=pde.Periodic(), right=pde.Periodic()),
    "rigid": lambda ndim: pde.Sides(NARROW_LAYER[ndim], bottom=RIGID, right=RIGID),
    "strip": lambda ndim: pde.Sides(NARROW_LAYER[ndim], top=FREE, left=pde.Periodic(), right=pde.Periodic()),
    "corners": lambda ndim: pde.Sides(NARROW_LAYER[ndim], top=FREE, left=FREE, right=RIGID),
}
# Of the bytes of an entry's fields. All are exact here: white noise leaves nothing to thin.
STORAGES = {
    "every": lambda size: pde.EverySteps(),
    "checkpoints": lambda size: pde.Checkpoints(bytes=25 * size),
    "thinned": lambda size: pde.Thinned(every=1, bits=32),
    "disk": lambda size: pde.OnDisk(),
    "auto": lambda size: pde.Auto(bytes=64 * size),
}
THREADS = (1, 2)
DTYPES = (np.float64, np.float32)
# {(equation, boundary, order): {media: step}}, shared by solvers: the search for a stable step takes longer than the runs.
STABLE: dict[tuple[str, str, int], dict] = {}


@dataclass(frozen=True)
class Combination:
    """One of everything; `case()` is its random experiment. dtype: of kernels that are compared; derivatives are judged in float64."""

    entry: Entry
    boundary: str
    order: int
    storage: str
    threads: int
    sent: str
    heard: str
    dtype: type = np.float64

    def __str__(self) -> str:
        values = (self.entry.name, self.boundary, self.order, self.storage, self.threads, self.sent, self.heard, self.dtype.__name__)
        return "-".join(map(str, values))

    def case(self, dtype: type = np.float64) -> Case:
        """Return two shots of three sources and four receivers off the nodes, white noise."""
        entry = self.entry
        rows = 30 if len(entry.shape) == 1 else 1          # halos of the one row
        cells = rows * np.prod([n + 12 for n in (*entry.shape[:-1], entry.shape[-1] + 16)]) * (1 if entry.stepping is pde.Leapfrog else 4)
        made = Case(
            entry.shape,
            self.order,
            BOUNDARIES[self.boundary](len(entry.shape)),
            equation=entry.equation,
            fields=(self.sent, self.heard),
            storage=STORAGES[self.storage](int(cells) * np.dtype(dtype).itemsize * len(entry.equation.fields)),
            threads=self.threads,
            dtype=dtype,
            values=lambda random: entry.material(random, dtype),
            speed=entry.speed,
            stepping=entry.stepping,
            steps=30 if len(entry.shape) < 3 else 14,       # the graph of the interpreter holds every array of every step
            **entry.options,
        )
        made.args = (made.args[0] * dtype(entry.amplitude), *made.args[1:])
        made.solver._numbers = STABLE.setdefault((entry.name, self.boundary, self.order), made.solver._numbers)
        return made


def everything() -> list[list[Combination]]:
    """Return for every equation each of its boundaries with each storage, and each pair of all values; sources and receivers take turns.

    In groups of one equation, boundary and order: the text of the kernels depends on nothing else but the dtype.
    """
    groups: dict[tuple[str, str, int], list[Combination]] = {}
    for entry in ENTRIES:
        pairs = itertools.cycle(_pairs(entry))
        for boundary, storage, order, threads, dtype in covering((entry.boundaries, _storages(entry), entry.orders, THREADS, DTYPES)):
            made = Combination(entry, boundary, order, storage, threads, *next(pairs), dtype)
            groups.setdefault((entry.name, boundary, order), []).append(made)
    return list(groups.values())


def covering(factors: Sequence[Sequence]) -> list[tuple]:
    """Return rows of one value of each factor: every pair of values of the first two factors once or more, of any two at least once.

    Values are told apart by place. Greedy: each row is one of those with the most pairs that no row had before.
    """
    places = [range(len(values)) for values in factors]
    missing = {pair for row in itertools.product(*places) for pair in itertools.combinations(enumerate(row), 2)}
    rows = []

    def take(candidates: Iterable[tuple[int, ...]]) -> None:
        best = max(candidates, key=lambda row: len(missing.intersection(itertools.combinations(enumerate(row), 2))))
        missing.difference_update(itertools.combinations(enumerate(best), 2))
        rows.append(tuple(values[i] for values, i in zip(factors, best, strict=True)))

    for head in itertools.product(*places[:2]):
        take((*head, *rest) for rest in itertools.product(*places[2:]))
    while missing:
        take(itertools.product(*places))
    return rows


def sampled(each: int = 2, seed: int = 5) -> list[Combination]:
    """Return `each` combinations of every equation in which values take turns: all of them occur, and meet at random."""
    random = np.random.default_rng(seed)
    out, turn = [], 0
    for entry in ENTRIES:
        pairs = [_pairs(entry)[i] for i in random.permutation(len(_pairs(entry)))]
        for i in range(each):
            others = entry.boundaries[1:] or entry.boundaries
            boundary = entry.boundaries[0] if i == 0 else others[(turn + i) % len(others)]
            order, storage = entry.orders[(turn + i) % len(entry.orders)], _storages(entry)[(turn // 2 + i) % len(_storages(entry))]
            threads = THREADS[int(random.integers(2))]
            out.append(Combination(entry, boundary, order, storage, threads, *pairs[i % len(pairs)]))
        turn += each - 1
    return out


def _storages(entry: Entry) -> list[str]:
    return [name for name, made in STORAGES.items() if made(1).every_step or not entry.nonlinear]


def _pairs(entry: Entry) -> list[tuple[str, str]]:
    return list(itertools.product(entry.equation.injections(len(entry.shape)), entry.equation.receivers()))
