"""What a gradient keeps of the forward wavefield, as values."""
import math

from hyperion.errors import InputError

from .checks import is_positive, is_whole


class Storage:
    """What is kept of the forward run so that the adjoint run can use it. `exact`: gradients equal the discrete ones to rounding."""

    exact = False
    bits = 0                                           # 0: as the run's dtype; 16: bfloat16


class EverySteps(Storage):
    """Keep every step in the precision of the run: exact, steps * cells * 4 bytes a shot in float32.

    >>> EverySteps()
    EverySteps()
    """

    exact = True

    def __repr__(self) -> str:
        return "EverySteps()"


class Thinned(Storage):
    """Keep every k-th step, below the Nyquist rate of the product of the two fields that a gradient multiplies.

    every: k, or None: chosen from the wavelet's spectrum. bits: 32, or 16 (bfloat16; float32 runs only).
    Errors (relative L2 of the gradient against every step, tested): with k chosen 1e-4, up to 1e-3 where gathers are cut off while waves
    still arrive; with 16 bits 1e-2. The sum over time of the product of forward and adjoint field sees only its zero frequency, so it may
    be sampled until an alias reaches zero; twice the product's Nyquist rate leaves room for what the ends of gathers add.

    >>> Thinned(every=8)
    Thinned(every=8, bits=32)
    """

    def __init__(self, every: int | None = None, bits: int = 32):
        if every is not None and not is_whole(every, 1):
            raise InputError(f"Thinned(every={every!r}): give a whole number of steps of at least 1, or None")
        if bits not in (16, 32):
            raise InputError(f"Thinned(bits={bits!r}): 32 and 16 are available")
        self.every, self.bits = every, 16 if bits == 16 else 0

    def steps(self, step: float, highest_frequency: float) -> int:
        """Return k for a time step [s] and the highest frequency of the fields [Hz]."""
        if self.every is not None:
            return int(self.every)
        return max(1, math.floor(1.0 / (4.2 * highest_frequency * step))) if highest_frequency > 0 else 1

    def __repr__(self) -> str:
        return f"Thinned(every={self.every}, bits={self.bits or 32})"


class Checkpoints(Storage):
    """Keep whole states at a few steps and run forward again from them, within a budget of memory: exact.

    bytes: what one shot may use for states and for the history of one stretch. Runs recompute at most what the budget forces, by the
    binomial schedule of Griewank and Walther (ACM TOMS 26 (2000), 19).

    >>> Checkpoints(bytes=200_000_000)
    Checkpoints(bytes=200000000)
    """

    exact = True

    def __init__(self, bytes: int):
        if not is_positive(bytes):
            raise InputError(f"Checkpoints(bytes={bytes!r}): give a positive number of bytes")
        self.bytes = int(bytes)

    def __repr__(self) -> str:
        return f"Checkpoints(bytes={self.bytes})"


def split(segments: int, slots: int) -> int:
    """Return how many segments to advance before keeping the next state, with `slots` states left beside the one at the start.

    >>> split(10, 20), split(10, 1)
    (1, 6)
    """
    states = slots + 1
    repeats = next(r for r in range(1, segments + 1) if math.comb(states + r, states) >= segments)
    # What follows the kept state has a state less and may be repeated as often: comb(slots + repeats, slots) segments at most. What
    # precedes it is repeated once less, and holds at least what one repetition less still would allow.
    return max(1, segments - math.comb(slots + repeats, slots), math.comb(slots + repeats - 1, states))
