"""The largest stable step of a program: where all eigenvalues of its amplification matrices, for all wavenumbers, extreme media and depths
of absorbing layers, stay within the unit circle (see `amplification.py`).
"""
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hyperion.autograd import as_tensor
from hyperion.codegen import Program
from hyperion.errors import InputError, StabilityError

from .amplification import Cells, Layers, amplification
from .discretise import Discretisation
from .equation import Equation
from .rates import KernelParameter, Polynomial
from .relief import Ghosts

ROUNDING = 1e-6                                        # of eigenvalues that meet on the unit circle; growth beyond it is real
SMALL = 1e-3                                           # of a step, in which only what grows by itself does
NONE = "no step is stable with this time stepping in this medium; use RungeKutta4() or SSPRK3(), and check the medium"
WAVES = {1: 64, 2: 12, 3: 8}                          # wavenumbers per axis and circle, before refinement

Growth = Callable[[float, np.ndarray], np.ndarray]     # step [s], waves (waves, ndim): by what factor each grows at most in a step


def courant_number(equation: Equation, discrete: Discretisation, extremes: Mapping[str, np.ndarray], cell: float,
                   layers: Layers | None = None, max_speed: float | None = None) -> float:
    """Return the largest stable step times the speed of the fastest wave [m], in all of some media; the step [s] of other equations.

    extremes: {parameter or field: (media,)}; products are linearised about the fields' values, about rest where none are given. Media that
    the equation refuses, or in which its waves grow at any step, are left out, as corners of the parameters' ranges that no node of a
    model need lie in. layers: there too it is stable, in the medium that allows least without them; max_speed: the speed [m/s] that their
    strength is for where the equation knows none.
    Raises: StabilityError if no step is stable in any of them, InputError if the equation refuses all.
    """
    found: list[tuple[float, float, _Medium, np.ndarray]] = []
    failures: list[Exception] = []
    for values in zip(*extremes.values(), strict=True):
        given = dict(zip(extremes, values, strict=True))
        try:
            speed, medium = _medium(equation, discrete, given, cell)
            if speed > 0 and np.isfinite([speed, *medium.coefficients.values()]).all():
                step, waves = medium.largest_step()
                found.append((speed * step, speed, medium, waves))
        except (InputError, StabilityError) as error:
            failures.append(error)
    if not found and failures:
        raise failures[0]
    number, speed, medium, waves = min(found, key=lambda x: (x[0], -x[1]), default=(math.inf, 1.0, None, None))
    if layers is None or medium is None or waves is None or math.isinf(number):
        return number
    strength = max_speed if max_speed and not equation.knows_speed else speed
    for cells in layers.places():
        number = min(number, speed * medium.step_within(layers, cells, strength, number / speed, waves))
    return number


def _medium(equation: Equation, discrete: Discretisation, given: Mapping[str, float], cell: float) -> tuple[float, "_Medium"]:
    """Return the speed of the fastest wave, 1 where it is not known, and the medium, of these parameters and fields."""
    parameters = {name: np.full(1, v) for name, v in given.items() if name in equation.parameters}
    with np.errstate(all="ignore"):
        speed = float(np.max(equation.fastest(**parameters))) if equation.knows_speed else 1.0
        made = equation.derived(**{name: as_tensor(v) for name, v in parameters.items()})
        coefficients = {name: float(np.ravel(as_tensor(v).numpy())[0]) for name, v in made.items()}
    state = {name: float(v) for name, v in given.items() if name not in parameters}
    # Far from a surface that follows topography; near it no wave is faster.
    known = {n: replace(k, polynomial=()) if isinstance(k.part, Ghosts) else k for n, k in discrete.kernel_parameters.items()}
    return speed, _Medium(discrete.program, known, coefficients, state, cell)


@dataclass(frozen=True)
class _Medium:
    """A program in a medium of constant coefficients {name: value}, about constant fields {name: value}. cell: reference cell [m]."""

    program: Program
    kernel_parameters: Mapping[str, KernelParameter]
    coefficients: Mapping[str, float]
    state: Mapping[str, float]
    cell: float

    def largest_step(self) -> tuple[float, np.ndarray]:
        """Return the largest stable step [s] in the interior, infinite if every step is stable, and the waves that grow first above it.

        Raises: StabilityError if no step is stable.
        """
        start = min((abs(p) ** (-1.0 / time) for p, _, time in self._known() if p and time), default=1.0)
        search = _Search(self._growth(lambda _: {}), self.program.ndim)
        step = search.largest(start)
        return step, search.limiting(step) if math.isfinite(step) else search.waves

    def step_within(self, layers: Layers, cells: Cells, speed: float, most: float, waves: np.ndarray) -> float:
        """Return the largest step [s] up to `most` at which these waves are stable in cells of layers for a fastest speed [m/s].

        The waves that limit the step without layers: those that turn fastest, and are so short that a layer is constant to them.
        """
        unstable = _criterion(self._growth(lambda step: layers.at(cells, step, speed)), waves, most)
        return _bisected(unstable, waves, most) if unstable(most, waves) else most

    def _known(self) -> list[tuple[float, float, int]]:
        """Return (value in units of the reference cell, own, power of the step) of each kernel parameter."""
        return [(_value(k.polynomial, self.coefficients) / self.cell ** k.space, _value(k.own, self.coefficients), k.time)
                for k in self.kernel_parameters.values()]

    def _growth(self, profiles: Callable[[float], Mapping[str, float]]) -> Growth:
        """Return the function of a step and of waves (waves, ndim) that gives the largest factor of each in a step."""
        known = dict(zip(self.kernel_parameters, self._known(), strict=True))

        def growth(step: float, waves: np.ndarray) -> np.ndarray:
            constants = {name: p * step ** time / (1.0 - step / 2 * own) for name, (p, own, time) in known.items()}
            with np.errstate(all="ignore"):
                matrix = amplification(self.program, constants | dict(profiles(step)), waves, self.state)
            good, size = np.isfinite(matrix).all(axis=(1, 2)), np.full(len(waves), np.inf)
            size[good] = np.abs(np.linalg.eigvals(matrix[good])).max(axis=1, initial=1e-300)
            return size
        return growth


def media(ranges: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """Return {parameter: (media,)}: the extreme media of a model whose parameters lie in these ranges, rounded outwards to two digits.

    So a model that changes little has the same. All corners of the ranges, or, of more than six parameters that vary, those along edges.
    """
    ends = {name: sorted({-rounded_up(-low), rounded_up(high)}) for name, (low, high) in ranges.items()}
    varying = [name for name, both in ends.items() if len(both) > 1]
    if len(varying) <= 6:
        corners = list(itertools.product(*ends.values()))
    else:
        chosen = [set(), set(varying), *({name} for name in varying), *(set(varying) - {name} for name in varying)]
        corners = [tuple(both[-1 if name in high else 0] for name, both in ends.items()) for high in chosen]
    return {name: np.array(values) for name, values in zip(ends, zip(*corners, strict=True), strict=True)}


def rounded_up(value: float) -> float:
    """Return a value rounded up to two significant digits; of negative values, towards zero.

    >>> rounded_up(1234.0), rounded_up(-1290.0), rounded_up(0.0)
    (1300.0, -1200.0, 0.0)
    """
    if value == 0.0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return math.ceil(value / unit * (1 - math.copysign(1e-9, value))) * unit


def _value(polynomial: Polynomial, coefficients: Mapping[str, float]) -> float:
    return sum(w * math.prod(coefficients[n] for n in names) for names, w in polynomial)


class _Search:
    """The search for the largest stable step: over waves of all directions and lengths, then among the worst of them, refined."""

    def __init__(self, growth: Growth, ndim: int):
        self.growth, self.ndim, count = growth, ndim, WAVES[ndim]
        circle = 2.0 * np.pi * np.arange(count) / count
        # Of a wave and its conjugate, which runs the other way, one is enough.
        self.waves, self.spacing = np.array(list(itertools.product(circle[:count // 2 + 1], *[circle] * (ndim - 1)))), circle[1]

    def largest(self, start: float) -> float:
        """Return the largest stable step, infinite if all are; the search begins at `start`."""
        high = self._fast(start)
        if not np.isfinite(high):
            return high
        unstable = _criterion(self.growth, self.waves, high)
        while True:
            low = _bisected(unstable, self._worst(high), high)
            if not unstable(0.999 * low, self.waves):
                return low
            high = 0.999 * low

    def limiting(self, step: float) -> np.ndarray:
        """Return waves that grow above the largest stable step, some of those that grow most."""
        worst = self._worst(1.02 * step)
        size = self.growth(1.02 * step, worst)
        return worst[size - 1.0 > 0.1 * (size.max() - 1.0)]

    def _fast(self, start: float) -> float:
        """Return a step in which some wave grows by a half; infinite if none ever does."""
        few = self.waves[::max(1, len(self.waves) // 60)]

        def fast(step: float) -> bool:
            return bool((self.growth(step, few) > 1.5).any())

        step, factor = start, 0.5 if fast(start) else 4.0
        for _ in range(100):
            if fast(step * factor) == (factor > 1.0):
                return step * max(factor, 1.0)
            step *= factor
        if factor < 1.0:
            raise StabilityError(NONE)
        return np.inf

    def _worst(self, step: float) -> np.ndarray:
        """Return the waves that grow most, and those around them that grow even more."""
        chosen = self.waves[np.argsort(self.growth(step, self.waves))[-12:]]
        around = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=self.ndim)))
        best, width = chosen, 0.5 * self.spacing
        for _ in range(5):
            trials = best[:, None, :] + width * around
            size = self.growth(step, trials.reshape(-1, self.ndim)).reshape(len(best), -1)
            best, width = trials[np.arange(len(best)), size.argmax(axis=1)], 0.5 * width
        return np.concatenate([chosen, best])


def _criterion(growth: Growth, waves: np.ndarray, most: float) -> Callable[[float, np.ndarray], bool]:
    """Return the function that tells whether some of the waves given to it grow in a step, faster than `waves` do in one small to `most`.

    Waves that grow by themselves, at any small step, may grow as fast at larger ones.
    """
    small = SMALL * most
    own = np.log(np.maximum(growth(small, waves), 1.0)).max()

    def unstable(step: float, waves: np.ndarray) -> bool:
        return bool((np.log(growth(step, waves)) > ROUNDING + 1.1 * own * step / small).any())
    return unstable


def _bisected(unstable: Callable[[float, np.ndarray], bool], waves: np.ndarray, high: float) -> float:
    """Return the largest step below `high`, which is unstable, at which waves are stable."""
    least, low = SMALL * high, 0.5 * high
    while unstable(low, waves):
        high, low = low, 0.5 * low
        if low < least:
            raise StabilityError(NONE)
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if unstable(middle, waves) else (middle, high)
    return low
