"""Shots in batches: each pass over the data visits every shot once, in a random order that a seed fixes."""

from dataclasses import dataclass

import numpy as np

from hyperion.errors import InputError
from hyperion.inversion.checks import is_whole

__all__ = ["Batches"]


@dataclass(frozen=True)
class Batches:
    """Random batches of shots; the n-th batch depends on the seed and on n only, so a resumed run sees the same ones.

    shots: number of shots; size: shots per batch, None for all; seed: any whole number that is not negative.
    A pass has ceil(shots / size) batches of (nearly) equal size.

    >>> batches = Batches(shots=5, size=2, seed=3)
    >>> len(batches)
    3
    >>> sorted(int(shot) for n in range(3) for shot in batches[n])
    [0, 1, 2, 3, 4]
    """

    shots: int
    size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.shots):
            raise InputError(f"shots={self.shots!r}: must be a whole number of at least 1")
        if self.size is not None and not (is_whole(self.size) and self.size <= self.shots):
            raise InputError(f"batch={self.size!r}: must be a whole number from 1 to the number of shots, {self.shots}, or None")
        if not is_whole(self.seed, least=0):
            raise InputError(f"seed={self.seed!r}: must be a whole number that is not negative")

    def __len__(self) -> int:
        """Return the number of batches in one pass."""
        return 1 if self.size is None else -(-self.shots // self.size)

    def __getitem__(self, number: int) -> np.ndarray:
        """Return the sorted shots of the n-th batch, n = 0, 1, 2, ... without end."""
        if number < 0:
            raise InputError(f"batch number {number}: must not be negative")
        if len(self) == 1:
            return np.arange(self.shots)
        lap, within = divmod(number, len(self))
        order = np.random.default_rng([self.seed, lap]).permutation(self.shots)
        return np.sort(np.array_split(order, len(self))[within])
