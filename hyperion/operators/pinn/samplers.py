"""How points are spread over a unit cube; domains carry them into their inside and onto their boundary.

A sampler is a value. Random numbers come from the Generator it is given, so that the same seed gives the same points.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from hyperion.autograd.random import Generator
from hyperion.errors import InputError

__all__ = ["Grid", "LatinHypercube", "Random", "ResidualDensity", "ResidualRefinement", "Sampler", "Sobol"]


class Sampler(ABC):
    """Base of the samplers."""

    exact = True        # whether it gives as many points as are asked for

    @abstractmethod
    def unit(self, count: int, sides: tuple[float, ...], generator: Generator) -> np.ndarray:
        """Return about `count` points of the unit cube, (count, axes) float64.

        sides: lengths of the box that the cube is stretched to; their number is that of the axes.
        """


@dataclass(frozen=True)
class Grid(Sampler):
    """The middles of cells of one shape, as nearly cubes as their number allows; about as many as are asked for, and never more.

    >>> from hyperion.operators import Box
    >>> Box(x=(0, 1)).interior(4, Grid()).tolist()
    [[0.125], [0.375], [0.625], [0.875]]
    """

    exact = False

    def unit(self, count: int, sides: tuple[float, ...], generator: Generator) -> np.ndarray:
        """Return the middles of the cells."""
        cells: list[int] = []
        for k in range(len(sides)):                                 # each axis takes its share of what is left
            left, rest = count / math.prod(cells), sides[k:]
            side = (math.prod(rest) / left) ** (1.0 / len(rest))
            cells.append(max(1, math.floor(sides[k] / side + 1e-9)))
        if not sides:
            return np.zeros((count, 0))
        axes = [(np.arange(n) + 0.5) / n for n in cells]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sides))


@dataclass(frozen=True)
class Random(Sampler):
    """Points drawn independently, all places equally probable."""

    def unit(self, count: int, sides: tuple[float, ...], generator: Generator) -> np.ndarray:
        """Return uniform numbers."""
        return generator.uniform((count, len(sides)), dtype="float64").numpy()


@dataclass(frozen=True)
class LatinHypercube(Sampler):
    """Random points of which, along each axis, exactly one lies in each of `count` equal intervals.

    Source: McKay, Beckman and Conover 1979, Technometrics 21, 239.
    """

    def unit(self, count: int, sides: tuple[float, ...], generator: Generator) -> np.ndarray:
        """Return one point for each interval of each axis, paired at random."""
        places = np.stack([generator.permutation(count).numpy() for _ in sides], axis=1) if sides else np.zeros((count, 0))
        return (places + generator.uniform((count, len(sides)), dtype="float64").numpy()) / count


@dataclass(frozen=True)
class Sobol(Sampler):
    """Points of a scrambled Sobol sequence: the first of a power of two of them, which fill the cube most evenly.

    Source: Sobol 1967, USSR Comput. Math. Math. Phys. 7, 86; scrambling: Owen 1998, J. Complexity 14, 466.
    """

    def unit(self, count: int, sides: tuple[float, ...], generator: Generator) -> np.ndarray:
        """Return the first points of a sequence that the generator scrambles."""
        if not sides:
            return np.zeros((count, 0))
        engine = qmc.Sobol(len(sides), rng=np.random.default_rng(generator.integers((), 0, 1 << 62).item()))
        return engine.random_base2(max(0, math.ceil(math.log2(count))))[:count]


def _checked_pool(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}(pool={value!r}): give a whole number of at least 1, the points of which some are chosen")


@dataclass(frozen=True)
class ResidualDensity:
    """How points of the equation follow its residual r: all are drawn anew, with a probability proportional to |r|^power / mean + floor.

    power, floor: k and c of the source; 1 and 1 are its choice.  pool: how many random points the residual is looked at.
    Source: Wu, Zhu, Tan, Kartha and Lu 2023, Comput. Methods Appl. Mech. Eng. 403, 115671, eq. 2 (RAD).

    >>> import hyperion as hp
    >>> chosen = ResidualDensity(power=2.0, floor=0.0).choose(np.array([0.0, 3.0, 0.0, 4.0]), 2, hp.random.Generator(0))
    >>> sorted(chosen.tolist())
    [1, 3]
    """

    power: float = 1.0
    floor: float = 1.0
    pool: int = 20_000

    def __post_init__(self) -> None:
        _checked_pool(self.pool, "ResidualDensity")
        if not (self.power >= 0.0 and self.floor >= 0.0):
            raise InputError(f"ResidualDensity(power={self.power!r}, floor={self.floor!r}): both must be 0 or more")

    def choose(self, residual: np.ndarray, count: int, generator: Generator) -> np.ndarray:
        """Return which `count` points of a pool to take, by the size of their residuals, each at most once.

        Each point has the key log(u) / probability, u uniform; the largest keys are a sample without repetition (Efraimidis and
        Spirakis 2006, Inf. Process. Lett. 97, 181).
        """
        size = np.abs(residual) ** self.power
        share = size / max(float(size.mean()), 1e-300) + self.floor
        keys = np.log(np.maximum(generator.uniform((len(residual),), dtype="float64").numpy(), 1e-300)) / np.maximum(share, 1e-12)
        return np.argsort(-keys, kind="stable")[:count]


@dataclass(frozen=True)
class ResidualRefinement:
    """How points of the equation follow its residual: the `add` points of a pool with the largest residual join those there are.

    most: points of the equation at most; then the oldest added ones leave.  pool: how many random points the residual is looked at.
    Source: Lu, Meng, Mao and Karniadakis 2021, SIAM Review 63, 208, section 2.8 (RAR); Wu et al. 2023 (RAR-G).
    """

    add: int = 100
    most: int = 20_000
    pool: int = 20_000

    def __post_init__(self) -> None:
        _checked_pool(self.pool, "ResidualRefinement")
        if not 1 <= self.add <= self.pool or self.most < 1:
            raise InputError(f"ResidualRefinement(add={self.add!r}, most={self.most!r}): add must be 1 to pool={self.pool}, most 1 or more")

    def choose(self, residual: np.ndarray, count: int, generator: Generator) -> np.ndarray:
        """Return the points with the largest residuals; `count` is not used."""
        return np.argsort(-np.abs(residual), kind="stable")[:self.add]
