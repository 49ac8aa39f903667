"""What a gradient keeps of the forward wavefield, as values."""
import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperion.errors import InputError

from .checks import is_positive, is_whole

BLOCK = 32                                             # values of a row that share a scale in 16 and 8 bits (`history.h`)
TAIL = 4                                               # steps at the end, in units of thinning, over which all steps come to be kept
STRETCH = 8                                            # steps taken back at a time, with their histories


@dataclass(frozen=True)
class Needs:
    """What the gradient of a survey asks of its storage.

    shots: in all; together: shots at one time. steps: internal steps of a shot; step: [s]. highest_frequency: of the fields [Hz].
    histories: arrays to keep at a step; shape: of each, rows padded. state: bytes of a whole state. itemsize: bytes of a number.
    free: bytes of main memory. every_step: whether the adjoint run reads what was recorded at every step, as computed. ring: bytes that
    a ring takes of a step, or irreversible: why the step cannot be taken back; where that was asked. weighed: whether kept steps may
    count differently.
    """

    shots: int
    together: int
    steps: int
    step: float
    highest_frequency: float
    histories: int
    shape: tuple[int, ...]
    state: int
    itemsize: int
    free: int
    every_step: bool = False
    ring: int = 0
    irreversible: str = ""
    weighed: bool = True

    def kept_bytes(self, bits: int) -> int:
        """Return the bytes of one history at one step, in numbers of some bits (0: those of the run)."""
        values = math.prod(self.shape)
        if not bits:
            return values * self.itemsize
        scales = values // self.shape[-1] * -(-self.shape[-1] // BLOCK)
        return -(-(values * bits // 8 + scales * 4) // 64) * 64

    def slot_bytes(self, bits: int) -> int:
        """Return the bytes of all histories at one step."""
        return self.histories * self.kept_bytes(bits)

    def unbounded(self) -> "Needs":
        """Return the same where memory has no end."""
        return dataclasses.replace(self, free=1 << 62)

    def thinning(self) -> int:
        """Return how many steps may lie between kept ones: below the Nyquist rate of the product of two fields, with room to spare."""
        highest = self.highest_frequency
        return max(1, math.floor(1.0 / (5.0 * highest * self.step))) if highest > 0 else 1


@dataclass(frozen=True)
class Keeping:
    """What a storage has decided for one gradient.

    storage: EverySteps, Thinned or Checkpoints. every: steps between kept ones, tail: but for so many at the end (see `counts`); bits: of
    kept numbers (0: those of the run).
    tape: whether the forward run keeps its histories for the adjoint run; else shots run forward again, a few at a time.
    memory, disk: bytes of histories and states kept at one time. folder: where on disk.
    """

    storage: "Storage"
    every: int
    bits: int
    tape: bool
    memory: int
    disk: int = 0
    folder: Path | None = None
    tail: int = 0


class Storage(ABC):
    """What is kept of the forward run so that the adjoint run can use it.

    exact: whether gradients equal the discrete ones to rounding. every_step: whether the adjoint run can read what was recorded at every
    step, as it must where the equation is nonlinear.
    """

    exact: bool = False
    every_step: bool = False

    @abstractmethod
    def keeping(self, needs: Needs) -> Keeping:
        """Return what is kept for a gradient. Raises: InputError, with what would fit, if that is more than there is."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def slots(first: int, last: int, every: int) -> int:
    """Return the number of kept steps n in [first, last): those with n % every == every // 2.

    >>> slots(0, 10, 4)
    2
    """
    return (last - every // 2 + every - 1) // every - (first - every // 2 + every - 1) // every


def counts(steps: int, every: int, tail: int) -> np.ndarray:
    """Return what each step counts in a sum over kept steps, (steps,); 0 where it is not kept.

    Steps n with n % every == every // 2 count `every`. Over the last `tail` steps a smooth weight goes over from these to every step: so
    a sum of what is smooth but does not end at zero has no alias of its end.

    >>> counts(8, 4, 0)
    array([0., 0., 4., 0., 0., 0., 4., 0.])
    """
    n = np.arange(steps)
    x = np.clip((n + 0.5 - (steps - tail)) / tail, 0.0, 1.0) if tail else np.zeros(steps)
    late = x - np.sin(2.0 * np.pi * x) / (2.0 * np.pi)
    return late + (1.0 - late) * np.where(n % every == every // 2, float(every), 0.0)


def size_text(bytes: float) -> str:
    """Return a number of bytes as text.

    >>> size_text(234_000_000)
    '234 MB'
    """
    return f"{bytes / 1e9:.3g} GB" if bytes >= 1e9 else f"{bytes / 1e6:.3g} MB"


def _histories(storage: Storage, needs: Needs, every: int, bits: int, tail: int = 0) -> Keeping:
    """Return the keeping of histories of all shots in memory, if they fit."""
    kept = int(np.count_nonzero(counts(needs.steps, every, tail)))
    each = kept * needs.slot_bytes(bits)
    total = needs.shots * each
    if total > needs.free:
        least = Checkpoints.least(needs)
        other = (f"pde.Checkpoints(bytes={max(least, needs.free // 4 // needs.together)})" if least * needs.together < needs.free
                 else "a smaller grid")
        raise InputError(f"storage={storage!r}: a gradient would keep {size_text(total)} ({needs.shots} shots of {size_text(each)}: "
                         f"{kept} steps of {size_text(needs.slot_bytes(bits))}) and {size_text(needs.free)} of "
                         f"memory are free; {other} would fit, pde.OnDisk(...) where a disk holds that, or fewer shots at a time")
    return Keeping(storage, every, bits, True, total, tail=tail)


class EverySteps(Storage):
    """Keep every step in the precision of the run: exact, steps * cells * 4 bytes a shot in float32 for each kept array.

    >>> EverySteps()
    EverySteps()
    """

    exact = every_step = True

    def keeping(self, needs: Needs) -> Keeping:
        """Return every step, as computed."""
        return _histories(self, needs, 1, 0)

    def __repr__(self) -> str:
        return "EverySteps()"


class Thinned(Storage):
    """Keep every k-th step, below the Nyquist rate of the product of the two fields that a gradient multiplies.

    every: k, or None: chosen from the wavelet's spectrum. bits: 32 (as computed), or 16 or 8: whole numbers, with a scale for each 32 cells
    of a row, so that errors are at most 1/65534 or 1/254 of the largest of them.
    Over the last steps of a run all come to be kept, with weights that change smoothly (`counts`; not on a GPU): it may end in full swing.
    Errors (relative L2 of the gradient against every step, tested): with k chosen 1e-4 (1e-5 is usual), up to 1e-3 where gathers are cut
    off while waves still arrive; 16 bits add 2e-5, 8 bits up to 2.3e-2. The sum over time of the product of forward and adjoint
    field sees only its zero frequency, so it may be sampled until an alias reaches zero; 2.5 times the product's Nyquist rate leaves room
    for the ends of gathers.

    >>> Thinned(every=8)
    Thinned(every=8, bits=16)
    """

    def __init__(self, every: int | None = None, bits: int = 16):
        if every is not None and not is_whole(every, 1):
            raise InputError(f"Thinned(every={every!r}): give a whole number of steps of at least 1, or None")
        if bits not in (8, 16, 32):
            raise InputError(f"Thinned(bits={bits!r}): 32, 16 and 8 are available")
        self.every, self.bits = every, 0 if bits == 32 else int(bits)

    def keeping(self, needs: Needs) -> Keeping:
        """Return every k-th step, rounded."""
        every = min(self.every or needs.thinning(), max(1, needs.steps // 2))
        tail = min(TAIL * every, needs.steps) if every > 1 and needs.weighed else 0
        return _histories(self, needs, every, self.bits, tail)

    def __repr__(self) -> str:
        return f"Thinned(every={self.every}, bits={self.bits or 32})"


class OnDisk(Storage):
    """Keep histories in a temporary file instead of in memory.

    history: EverySteps() (the default), or Thinned(...) for a smaller file. folder: of the file; default: the system's for temporary files,
    which should lie on a disk. The space is reserved before the run; the system writes and reads while the run goes on; the file has no
    name and is gone with the gradient, after errors too.
    Raises: InputError for other storages. In use, FileError if the disk does not hold the file.

    >>> OnDisk(Thinned(bits=8))
    OnDisk(Thinned(every=None, bits=8))
    """

    def __init__(self, history: EverySteps | Thinned | None = None, folder: str | Path | None = None):
        if not isinstance(history, EverySteps | Thinned | None):
            raise InputError(f"OnDisk(history={history!r}): give pde.EverySteps() or pde.Thinned(...)")
        if not isinstance(folder, str | Path | None) or (folder is not None and not Path(folder).is_dir()):
            raise InputError(f"OnDisk(folder={folder!r}): no such folder; give one that exists, or None")
        self.history = EverySteps() if history is None else history
        self.folder = None if folder is None else Path(folder)
        self.exact, self.every_step = self.history.exact, self.history.every_step

    def keeping(self, needs: Needs) -> Keeping:
        """Return what the history keeps, in a file."""
        kept = self.history.keeping(needs.unbounded())
        return dataclasses.replace(kept, memory=0, disk=kept.memory, folder=self.folder)

    def __repr__(self) -> str:
        return f"OnDisk({self.history!r}{'' if self.folder is None else f', folder={str(self.folder)!r}'})"


class Checkpoints(Storage):
    """Keep whole states at a few steps and run forward again from them, within a budget of memory: exact.

    bytes: what one shot may use for states and for the history of one stretch. Runs recompute at most what the budget forces, by the
    binomial schedule of Griewank and Walther (ACM TOMS 26 (2000), 19).
    Raises: InputError for no positive number; in use, for fewer bytes than one state and the history of one step take.

    >>> Checkpoints(bytes=200_000_000)
    Checkpoints(bytes=200000000)
    """

    exact = every_step = True

    def __init__(self, bytes: int):
        if not is_positive(bytes):
            raise InputError(f"Checkpoints(bytes={bytes!r}): give a positive number of bytes")
        self.bytes = int(bytes)

    @staticmethod
    def least(needs: Needs) -> int:
        """Return the fewest bytes a shot needs: one state, and the history of one step."""
        return needs.state + needs.slot_bytes(0)

    def keeping(self, needs: Needs) -> Keeping:
        """Return states and the history of a stretch."""
        least = self.least(needs)
        if self.bytes < least:
            raise InputError(f"Checkpoints(bytes={self.bytes}): one shot needs at least {least} bytes, {size_text(needs.state)} for a "
                             f"state and {size_text(needs.slot_bytes(0))} for the history of one step; give bytes={least} or more")
        stretch, states = self.schedule(needs)
        used = min(self.bytes, stretch * needs.slot_bytes(0) + (1 + min(states, -(-needs.steps // stretch))) * needs.state)
        return Keeping(self, 1, 0, False, needs.together * used)

    def schedule(self, needs: Needs) -> tuple[int, int]:
        """Return (steps of a stretch, states kept beside the one at the start): half of the budget each, but at least one of each."""
        step = needs.slot_bytes(0)
        stretch = max(1, min(needs.steps, (self.bytes // 2) // step, (self.bytes - needs.state) // step))
        return stretch, max(0, (self.bytes - stretch * step) // needs.state - 1)

    def __repr__(self) -> str:
        return f"Checkpoints(bytes={self.bytes})"


class BoundaryRing(Storage):
    """Run backwards from the last state: exact to rounding, for equations that are reversible in the interior.

    Kept at every step: histories outside the interior (in absorbing layers, which cannot be undone), and the fields in a ring around it,
    as wide as stencils reach. The forward run is then taken back beside the adjoint run, its sources taken out again. Rounding grows with
    the steps: gradients agree with EverySteps() to 1e-12 in float64 and 1e-5 in float32 (tested for 1000 steps).
    In use, InputError for steps that cannot be taken back: damping, nonlinear rates, several stages.
    Source: Clapp, Stanford Exploration Project Report 138 (2009), 29; Nguyen and McMechan, Geophysics 80 (2015), S1.

    >>> BoundaryRing()
    BoundaryRing()
    """

    exact = True
    every_step = True

    def keeping(self, needs: Needs) -> Keeping:
        """Return frames and rings of all steps, and the last states."""
        if needs.irreversible:
            raise InputError(f"storage=BoundaryRing(): this solver's step cannot be taken back: {needs.irreversible}; use pde.Auto(), "
                             "pde.Checkpoints(bytes) or pde.EverySteps()")
        each = needs.steps * needs.ring + needs.state
        total = needs.shots * each + needs.together * (needs.state + STRETCH * needs.slot_bytes(0))
        if total > needs.free:
            raise InputError(f"storage=BoundaryRing(): a gradient would keep {size_text(total)} ({needs.shots} shots of {size_text(each)}) "
                             f"and {size_text(needs.free)} of memory are free; use pde.Checkpoints(bytes={Checkpoints.least(needs)}) or "
                             "more, or fewer shots at a time")
        return Keeping(self, 1, 0, True, total)

    def __repr__(self) -> str:
        return "BoundaryRing()"


class Auto(Storage):
    """Choose the storage by a budget of memory: the fastest that fits.

    bytes: what histories and states of all shots at one time may take; default: half of the main memory that is free when it is asked.
    In this order: Thinned() kept by the forward run (EverySteps() where there is nothing to thin, or the equation is nonlinear); the same
    made again for a few shots at a time, at the cost of a second forward run; Checkpoints(...). The same numbers give the same choice.
    Raises: InputError for no positive number; in use, if the budget holds not even one checkpoint.

    >>> Auto(bytes=10**9)
    Auto(bytes=1000000000)
    """

    every_step = True

    def __init__(self, bytes: int | None = None):
        if bytes is not None and not is_positive(bytes):
            raise InputError(f"Auto(bytes={bytes!r}): give a positive number of bytes, or None")
        self.bytes = None if bytes is None else int(bytes)

    def keeping(self, needs: Needs) -> Keeping:
        """Return the first that fits."""
        budget = needs.free // 2 if self.bytes is None else self.bytes
        histories = Thinned() if needs.thinning() > 1 and not needs.every_step else EverySteps()
        kept = histories.keeping(needs.unbounded())
        if kept.memory <= budget:
            return kept
        again = kept.memory // needs.shots * needs.together
        if again <= budget:
            return dataclasses.replace(kept, tape=False, memory=again)
        least = Checkpoints.least(needs)
        if budget < needs.together * least:
            raise InputError(f"storage={self!r}: {size_text(budget)} do not hold a gradient; {needs.together} shots at a time need "
                             f"at least {size_text(needs.together * least)}; give bytes={needs.together * least} or more, or fewer threads")
        return Checkpoints(budget // needs.together).keeping(needs)

    def __repr__(self) -> str:
        return f"Auto({'' if self.bytes is None else f'bytes={self.bytes}'})"


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


@functools.cache
def _advances(segments: int, slots: int) -> int:
    """Return how many segments checkpoints advance to reverse so many."""
    if segments == 1 or not slots:
        return segments * (segments + 1) // 2
    first = split(segments, slots)
    return first + _advances(segments - first, slots - 1) + _advances(first, slots)


def recomputed(keeping: Keeping, needs: Needs) -> float:
    """Return how many forward steps an adjoint run repeats."""
    if isinstance(keeping.storage, Checkpoints):
        stretch, states = keeping.storage.schedule(needs)
        return float(stretch * _advances(-(-needs.steps // stretch), states))
    return 0.0 if keeping.tape and not isinstance(keeping.storage, BoundaryRing) else float(needs.steps)
