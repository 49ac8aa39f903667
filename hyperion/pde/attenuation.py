"""Attenuation: generalised standard linear solids, as Maxwell bodies beside a spring, fitted to a quality factor."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.errors import InputError

from .checks import is_positive, is_whole


@dataclass(frozen=True)
class Attenuation:
    """A generalised standard linear solid: modulus M(w) = M_r (1 + sum of y_l i w t_l / (1 + i w t_l)), 1 / Q = Im M / Re M.

    times: relaxation times t_l [s]. linear, quadratic: strengths y_l = linear_l / Q + quadratic_l / Q^2 of the Maxwell bodies.
    reference: frequency at which speeds are given [Hz]; None: at infinite frequency (unrelaxed). `fitted` makes it for a band.
    Raises: InputError for values that cannot be.
    Source: Emmerich and Korn 1987, Geophysics 52, 1252, eq. 9 to 12; the same solid as Robertsson, Blanch and Symes 1994, Geophysics
    59, 1444 (Moczo and Kristek 2005, Geophys. Res. Lett. 32, L01306).

    >>> Attenuation.fitted(2.0, 50.0).times[1] > Attenuation.fitted(2.0, 50.0).times[2]
    True
    """

    times: tuple[float, ...]
    linear: tuple[float, ...]
    quadratic: tuple[float, ...]
    reference: float | None = None

    def __post_init__(self) -> None:
        same = len({len(self.times), len(self.linear), len(self.quadratic)}) == 1
        if not same or not self.times or not all(is_positive(t) for t in self.times):
            raise InputError(f"Attenuation(times={self.times!r}, linear={self.linear!r}, quadratic={self.quadratic!r}): give one positive "
                             "time [s] and two strengths for each mechanism")
        if self.reference is not None and not is_positive(self.reference):
            raise InputError(f"Attenuation(reference={self.reference!r}): give a positive frequency [Hz], or None for an infinite one")

    @staticmethod
    def fitted(lowest: float, highest: float, mechanisms: int = 3, reference: float | None = None) -> "Attenuation":
        """Return the solid whose Q is nearest to constant from `lowest` to `highest` [Hz], for any Q of 10 and more.

        reference: as above; default: the middle of the band (geometric mean). Relaxation frequencies are spread over the band evenly in
        their logarithm; strengths solve sum of y_l (w t_l Q - (w t_l)^2) / (1 + (w t_l)^2) = 1 by least squares, eq. 12 of the source.

        >>> solid = Attenuation.fitted(2.0, 50.0)
        >>> bool(abs(solid.quality(np.array([10.0]), 40.0)[0] - 40.0) < 1.5)
        True
        """
        if not (is_positive(lowest) and is_positive(highest) and lowest < highest):
            raise InputError(f"Attenuation.fitted(lowest={lowest!r}, highest={highest!r}): give two frequencies [Hz], the lower first")
        if not is_whole(mechanisms, 1):
            raise InputError(f"Attenuation.fitted(mechanisms={mechanisms!r}): give a whole number of at least 1")
        edges = [lowest * highest] if mechanisms == 1 else []
        at = np.sqrt(edges) if edges else np.geomspace(lowest, highest, mechanisms)
        times, qualities = 1.0 / (2.0 * np.pi * at), np.geomspace(10.0, 1000.0, 13)
        turns = 2.0 * np.pi * np.geomspace(lowest, highest, 100)[:, None] * times
        strengths = [np.linalg.lstsq((turns * q - turns ** 2) / (1.0 + turns ** 2), np.ones(len(turns)), rcond=None)[0] for q in qualities]
        # y Q as a straight line in 1 / Q: each strength to its relative error.
        line = np.stack([np.ones_like(qualities), 1.0 / qualities], axis=1)
        linear, quadratic = np.linalg.lstsq(line, np.array(strengths) * qualities[:, None], rcond=None)[0]
        middle = float(np.sqrt(lowest * highest)) if reference is None else reference
        return Attenuation(tuple(map(float, times)), tuple(map(float, linear)), tuple(map(float, quadratic)), middle)

    def strengths(self, quality: Any) -> list[Any]:
        """Return the strengths y_l for a quality factor, in Tensor operations."""
        loss = 1.0 / quality
        return [loss * (a + b * loss) for a, b in zip(self.linear, self.quadratic, strict=True)]

    def moduli(self, modulus: Any, quality: Any) -> list[Any]:
        """Return the modulus of the spring and those of the Maxwell bodies, in Tensor operations.

        modulus: density * speed^2, speed that of plane waves at the reference frequency. With M(w) = M_r (A + i B) there, that speed is
        1 / Re sqrt(density / M): so M_r = modulus (R + A) / (2 R^2), R = |A + i B|.
        """
        y, real, imaginary = self.strengths(quality), 1.0, 0.0
        for strength, time in zip(y, self.times, strict=True):
            turn = None if self.reference is None else 2.0 * np.pi * self.reference * time
            real = real + strength * (1.0 if turn is None else turn ** 2 / (1.0 + turn ** 2))
            imaginary = imaginary + strength * (0.0 if turn is None else turn / (1.0 + turn ** 2))
        size = (real * real + imaginary * imaginary) ** 0.5
        relaxed = modulus * (size + real) / (2.0 * size * size)
        return [relaxed, *(relaxed * strength for strength in y)]

    def quality(self, frequencies: np.ndarray, quality: float) -> np.ndarray:
        """Return the quality factor that the solid has at frequencies [Hz], where `quality` is asked for."""
        modulus = self.modulus(frequencies, quality)
        return np.real(modulus) / np.imag(modulus)

    def modulus(self, frequencies: np.ndarray, quality: float) -> np.ndarray:
        """Return M(w) over density * speed^2 at frequencies [Hz]; phase speeds are speed / Re(1 / sqrt(M))."""
        spring, *bodies = self.moduli(1.0, quality)
        turns = 2j * np.pi * np.asarray(frequencies)
        return spring + sum(m * turns * t / (1.0 + turns * t) for m, t in zip(bodies, self.times, strict=True))


def rates(attenuation: Attenuation, like: Any) -> dict[str, Any]:
    """Return {"relaxation1": 1 / t_1 [1/s], ...} as arrays like another."""
    return {f"relaxation{i}": 0.0 * like + 1.0 / t for i, t in enumerate(attenuation.times, 1)}


def names(bodies: Sequence[Any], what: str) -> dict[str, Any]:
    """Return {what + "0": the spring's, what + "1": the first body's, ...}."""
    return {f"{what}{i}": value for i, value in enumerate(bodies)}
