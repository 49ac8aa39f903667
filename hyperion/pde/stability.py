"""The largest stable step of a program: von Neumann's analysis of plane waves in media of constant coefficients.

A step maps the amplitudes of a plane wave in all arrays linearly: by the amplification matrix, made of the program's assignments with each
stencil replaced by its symbol. Where all its eigenvalues, for all wavenumbers and media, stay within the unit circle the step is stable.
Source: Charney, Fjortoft and von Neumann, Tellus 2 (1950), 237; Richtmyer and Morton, Difference Methods (1967), section 4.
"""
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from hyperion.autograd import as_tensor
from hyperion.codegen import Program, Stencil
from hyperion.errors import InputError, StabilityError

from .discretise import Discretisation
from .equation import Derivative, Equation
from .rates import KernelParameter, Polynomial
from .relief import Ghosts

ROUNDING = 1e-6                                        # of eigenvalues that meet on the unit circle; growth beyond it is real
WAVES = {1: 64, 2: 12, 3: 8}                          # wavenumbers per axis and circle, before refinement


def amplification(program: Program, parameters: Mapping[str, float], waves: np.ndarray) -> np.ndarray:
    """Return the matrices by which one step multiplies the amplitudes of plane waves: (waves, arrays, arrays).

    parameters: {kernel parameter: its value}. waves: (waves, ndim), radians per cell. Sources, memory variables of a boundary, and products
    of fields (the waves are weak, about a state of rest) are left out; the arrays are those whose value lasts from step to step.
    """
    kept = _lasting(program)
    value = {x: np.zeros((len(waves), len(kept)), complex) for x in program.arrays()}
    for i, x in enumerate(kept):
        value[x][:, i] = 1.0
    symbols: dict[Stencil, np.ndarray] = {}
    for a in program.assigns:
        if a.axis is not None:
            continue
        total = np.zeros((len(waves), len(kept)), complex)
        for t in a.terms:
            if t.factors or t.array in program.sources or t.array in program.memory or any(c in program.profiles for c in t.coefficients):
                continue
            if t.stencil not in symbols:
                symbols[t.stencil] = sum((w * np.exp(1j * (waves @ np.array(s, float))) for s, w in t.stencil.taps),
                                         start=np.zeros(len(waves)))
            factor = t.weight * symbols[t.stencil]
            for c in t.coefficients:
                factor = factor * parameters[c]
            total += factor[:, None] * value[t.array]
        value[a.target] = total
    swap = program.rotate | {then: now for now, then in program.rotate.items()}
    return np.stack([value[swap.get(x, x)] for x in kept], axis=1)


def _lasting(program: Program) -> list[str]:
    """Return the arrays of a step that it reads before it writes them, boundary memory apart."""
    written: set[str] = set()
    kept: dict[str, None] = {}
    for a in program.assigns:
        if a.axis is None:
            kept |= {t.array: None for t in a.terms if t.array not in written | program.memory.keys() | set(program.sources)}
            written.add(a.target)
    return [x for x in program.arrays() if x in kept]


def courant_number(equation: Equation, discrete: Discretisation, extremes: Mapping[str, np.ndarray], cell: float,
                   layered: bool = False) -> float:
    """Return the largest stable step times the speed of the fastest wave [m], in all of some media; the step [s] of other equations.

    extremes: {parameter: (media,)}. Media that the equation refuses, or in which its waves grow at any step, are left out, as corners of
    the parameters' ranges that no node of a model need lie in. layered: there are absorbing layers, in which nothing may be gained from
    damping: the smaller step of those with and without it.
    Raises: StabilityError if no step is stable in any of them, InputError if the equation refuses all.
    """
    numbers: list[float] = []
    failures: list[Exception] = []
    damping = _damping(equation, discrete.program.ndim)
    # Far from a surface that follows topography; near it no wave is faster.
    kernel_parameters = {n: replace(k, polynomial=()) if isinstance(k.part, Ghosts) else k for n, k in discrete.kernel_parameters.items()}
    for values in zip(*extremes.values(), strict=True):
        medium = {name: np.full(1, v) for name, v in zip(extremes, values, strict=True)}
        try:
            with np.errstate(all="ignore"):
                speed = 1.0 if type(equation).fastest is Equation.fastest else float(np.max(equation.fastest(**medium)))
                made = equation.derive(**{name: as_tensor(v) for name, v in medium.items()})
                coefficients = {name: float(np.ravel(as_tensor(v).numpy())[0]) for name, v in made.items()}
            if speed > 0 and np.isfinite([speed, *coefficients.values()]).all():
                numbers.append(speed * largest_step(discrete.program, kernel_parameters, coefficients, cell))
                if layered and damping:
                    kept = {n: replace(k, polynomial=()) if k.polynomial in damping else k for n, k in kernel_parameters.items()}
                    numbers.append(speed * largest_step(discrete.program, kept, coefficients, cell))
        except (InputError, StabilityError) as error:
            failures.append(error)
    if not numbers and failures:
        raise failures[0]
    return min(numbers, default=math.inf)


def _damping(equation: Equation, ndim: int) -> set[Polynomial]:
    """Return what multiplies each field itself, undifferentiated, in its first-order rate."""
    found: set[Polynomial] = set()
    for f, rate in equation.rates(ndim).items():
        itself = (Derivative(f, (0,) * ndim),)
        if equation.fields[f].time_order == 1:
            found.add(tuple(sorted((names, w) for (names, ds), w in rate.terms.items() if ds == itself)))
    return found - {()}


def largest_step(program: Program, kernel_parameters: Mapping[str, KernelParameter], coefficients: Mapping[str, float],
                 cell: float) -> float:
    """Return the largest stable step [s] of a program in a medium of constant coefficients; infinite if every step is stable.

    cell: reference cell [m]. Waves that grow by themselves, at any small step, may grow as fast at larger ones.
    Raises: StabilityError if no step is stable.
    """
    polynomial = {name: (_value(k.polynomial, coefficients) / cell ** k.space, _value(k.own, coefficients))
                  for name, k in kernel_parameters.items()}

    def growth(step: float, waves: np.ndarray) -> np.ndarray:
        parameters = {name: p * step ** kernel_parameters[name].time / (1.0 - step / 2 * own) for name, (p, own) in polynomial.items()}
        with np.errstate(all="ignore"):
            matrix = amplification(program, parameters, waves)
        good, size = np.isfinite(matrix).all(axis=(1, 2)), np.full(len(waves), np.inf)
        size[good] = np.abs(np.linalg.eigvals(matrix[good])).max(axis=1, initial=1e-300)
        return size

    steps = [abs(p) ** (-1.0 / kernel_parameters[name].time) for name, (p, _) in polynomial.items() if p and kernel_parameters[name].time]
    return _Search(growth, program.ndim).largest(min(steps, default=1.0))


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
    """The search for the largest stable step: over waves of all directions, then among the worst of them, refined."""

    def __init__(self, growth: Callable[[float, np.ndarray], np.ndarray], ndim: int):
        self.growth, self.ndim, count = growth, ndim, WAVES[ndim]
        circle = 2.0 * np.pi * np.arange(count) / count
        # Of a wave and its conjugate, which runs the other way, one is enough.
        self.waves, self.spacing = np.array(list(itertools.product(circle[:count // 2 + 1], *[circle] * (ndim - 1)))), circle[1]

    def largest(self, start: float) -> float:
        """Return the largest stable step; the search begins at `start`."""
        high = self._fast(start)
        if not np.isfinite(high):
            return high
        small = 1e-5 * high
        own = np.log(np.maximum(self.growth(small, self.waves), 1.0)).max()

        def unstable(step: float, waves: np.ndarray) -> bool:
            return bool((np.log(self.growth(step, waves)) > ROUNDING + 1.1 * own * step / small).any())

        while True:
            waves, low = self._worst(high), 0.5 * high
            while unstable(low, waves):
                high, low = low, 0.5 * low
                if low < small:
                    raise _none()
            for _ in range(20):
                middle = 0.5 * (low + high)
                low, high = (low, middle) if unstable(middle, waves) else (middle, high)
            if not unstable(0.999 * low, self.waves):
                return low
            high = 0.999 * low

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
            raise _none()
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


def _none() -> StabilityError:
    return StabilityError("no step is stable with this time stepping in this medium; use RungeKutta4() or SSPRK3(), and check the medium")
