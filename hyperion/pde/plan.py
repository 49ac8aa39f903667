"""What a solve will do, before it is run: steps, sampling, memory and time."""
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hyperion.errors import InputError

from . import run
from .storage import BoundaryRing, Checkpoints, EverySteps, Keeping, Storage, Thinned, recomputed, size_text

if TYPE_CHECKING:
    from .simulation import Call

ADJOINT = 1.6                                          # time of an adjoint step with its images, in forward steps (1.3 to 1.9 measured)


@dataclass(frozen=True)
class Plan:
    """What a solve will do: printed, it says steps, sampling, memory and time.

    step: internal step [s]; substeps: of them per sample; limit: the largest stable step [s]; steps: internal steps in all.
    max_speed: the fastest wave it is stable for [m/s]; None for equations that do not know it.
    points: grid points per shortest wavelength. Its `keeping`, `memory` and `seconds` are found when they are asked for.
    """

    step: float
    substeps: int
    limit: float
    steps: int
    max_speed: float | None
    points: float
    call: "Call | None" = field(default=None, compare=False, repr=False)

    @property
    def keeping(self) -> Keeping:
        """What the solver's storage keeps for a gradient. Raises: InputError if it cannot."""
        return self._call.keeping(0)

    @property
    def every(self) -> int:
        """Steps between those that a gradient keeps."""
        return self.keeping.every

    @property
    def history_bytes(self) -> int:
        """What a gradient keeps at one time, in memory and on disk [bytes]."""
        return self.keeping.memory + self.keeping.disk

    @property
    def memory(self) -> int:
        """Main memory that a gradient takes at most beside what the process has already, within about 20 % [bytes]."""
        both = isinstance(self.keeping.storage, Checkpoints | BoundaryRing)
        return self.keeping.memory + run.working_bytes(self._call.example(), both)

    @functools.cached_property
    def seconds(self) -> tuple[float, float] | None:
        """Estimated time of the forward run and of a gradient [s], from a timed run of a few steps; None without a C compiler, on a GPU."""
        if not self._call.compiled() or self._call.solver.grid.device != "cpu":
            return None
        e = self._call.example()
        forward = run.seconds_per_step(e) * self.steps * len(e.groups())
        again = recomputed(self.keeping, self._call.needs(0)) / self.steps
        return forward, forward * (1.0 + again + ADJOINT)

    @property
    def _call(self) -> "Call":
        assert self.call is not None
        return self.call

    def alternatives(self) -> dict[Storage, int]:
        """Return {storage: bytes that it would keep in main memory} of the usual ones; of checkpoints the fewest."""
        needs = self._call.needs(0)
        out: dict[Storage, int] = {}
        for storage in (EverySteps(), Thinned(bits=32), Thinned(), Thinned(bits=8), Checkpoints(bytes=Checkpoints.least(needs))):
            if storage.every_step or not needs.every_step:
                out[storage] = storage.keeping(needs.unbounded()).memory
        return out

    def __str__(self) -> str:
        speed = f" for {self.max_speed:g} m/s" if self.max_speed else ""
        lines = [f"{self.steps} steps of {self.step * 1e3:.4g} ms ({self.substeps} per sample; stable up to {self.limit * 1e3:.4g} ms"
                 f"{speed}), {self.points:.1f} points per shortest wavelength"]
        if self.call is None:
            return lines[0]
        try:
            lines += self._gradient()
        except InputError as error:
            lines.append(f"no gradient: {error}")
        others = ", ".join(f"{storage!r} {size_text(n)}" for storage, n in self.alternatives().items())
        lines.append(f"of {size_text(self._call.needs(0).free)} that are free: {others}")
        return "\n".join(lines)

    def _gradient(self) -> list[str]:
        """Return what a gradient keeps and takes, in words."""
        kept = self.keeping
        place = f"{size_text(kept.disk)} on disk" if kept.disk else size_text(kept.memory)
        again = "" if kept.tape else ", forward runs repeated"
        lines = [f"a gradient keeps every {kept.every}. step in {kept.bits or 8 * self._call.dtype.itemsize} bits: {place} by "
                 f"{kept.storage!r}{again}; {size_text(self.memory)} with what it works on"]
        if self.seconds is not None:
            lines.append(f"about {self.seconds[0]:.2g} s forward, {self.seconds[1]:.2g} s with a gradient (threads="
                         f"{self._call.solver.threads}, from a timed run of a few steps)")
        return lines
