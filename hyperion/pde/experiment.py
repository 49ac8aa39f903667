"""What a native run is given: compiled engines, and an experiment as raw arrays."""
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperion.codegen import Adjoint, CudaSweep, Program, Term, adjoint, c_text, cofactors, cuda_text, outside_slabs, sweeps, undone
from hyperion.cpu.timeloop import TimeLoop
from hyperion.gpu import device as devices
from hyperion.gpu.stencils import Stencils

from .layout import Arena, Layout, Taps
from .ring import step_bytes
from .storage import Keeping, Needs


@dataclass(frozen=True)
class Engine:
    """A program and its adjoint, compiled.

    histories: (sweep, target, terms) to keep; images: (parameter, target, history). recorded: {coefficient of the adjoint: history}.
    Compiled on first use.
    """

    program: Program
    dtype: np.dtype
    transposed: Adjoint = field(init=False)
    histories: list = field(init=False)
    images: list[tuple[str, str, int]] = field(init=False)
    recorded: dict[str, int] = field(init=False)
    loops: dict[str, TimeLoop] = field(init=False)
    kernels: dict[str, tuple[tuple[CudaSweep, ...], Stencils]] = field(init=False)

    def __post_init__(self) -> None:
        histories: dict[tuple[int, tuple[Term, ...]], str] = {}          # {what is kept: the first target that needs it}
        images: list[tuple[str, str, int]] = []
        stage = stages(self.program)

        def number(target: str, terms: tuple[Term, ...]) -> int:
            key = (stage[target], tuple(sorted(terms, key=repr)))
            histories.setdefault(key, target)
            return list(histories).index(key)
        for parameter, target, terms in cofactors(self.program):
            images.append((parameter, target, number(target, terms)))
        transposed = adjoint(self.program)
        recorded = {name: number(*kept) for name, kept in transposed.recorded.items()}
        kept = [(s, target, terms) for (s, terms), target in histories.items()]
        for name, value in (("transposed", transposed), ("histories", kept), ("images", images), ("recorded", recorded), ("loops", {}),
                            ("kernels", {})):
            object.__setattr__(self, name, value)

    def loop(self, kind: str) -> TimeLoop:
        """Return the compiled time loop of the "forward", the "adjoint" or the "undone" program."""
        if kind not in self.loops:
            program = self.of(kind)
            if kind == "adjoint":
                text = c_text(program, (), self.recorded)
            else:
                stage = stages(program)
                text = c_text(program, [(stage[target], target, outside_slabs(self.program, terms))
                                        for _, target, terms in self.histories] if kind == "undone" else self.histories)
            self.loops[kind] = TimeLoop(text, program.ndim, self.dtype)
        return self.loops[kind]

    def stencils(self, kind: str, device: str) -> tuple[tuple[CudaSweep, ...], Stencils]:
        """Return the sweeps of the "forward" or "adjoint" program for a GPU, and their kernels."""
        key = f"{kind} {device}"
        if key not in self.kernels:
            program, reads = self.of(kind), self.recorded if kind == "adjoint" else None
            made = cuda_text(program, () if reads is not None else self.histories, 16 // self.dtype.itemsize, reads)
            self.kernels[key] = (made.sweeps, Stencils(made.texts, program.ndim, self.dtype, int(device.partition(":")[2])))
        return self.kernels[key]

    def of(self, kind: str) -> Program:
        """Return the "forward", "adjoint" or "undone" program. Raises: ValueError for a step that cannot be taken back."""
        return self.undone if kind == "undone" else self.transposed.program if kind == "adjoint" else self.program

    @functools.cached_property
    def undone(self) -> Program:
        """The step that takes a step back. Raises: ValueError if there is none."""
        return undone(self.program)

    @functools.cached_property
    def ringed(self) -> list[str]:
        """The arrays that a step taken back reads around a point. Raises: as `undone`."""
        reads = {t.array for a in self.undone.assigns for t in a.terms if not t.stencil.is_here}
        return [a.target for a in self.undone.assigns if a.target in reads or self.program.swapped(a.target) in reads]


def stages(program: Program) -> dict[str, int]:
    """Return which sweep writes each array that is not a memory variable updated before it; the first, where several do."""
    return {a.target: s for s, (_, group) in reversed(list(enumerate(sweeps(program)))) for a in group}


def field_of(program: Program, array: str) -> str:
    """Return the equation's field that an array is a time level or a tangent of."""
    return program.owner(array).rpartition(".")[2]


@dataclass
class Experiment:
    """Everything a native run needs, as raw arrays.

    parameters: {kernel parameter: (size)}. samples: {source: (shots, sources, steps)}. factor: {field: factor of samples that enter it}.
    sources, receivers: {field: Taps per shot}. observed: {array: weight} of what receivers hear. profiles: {name: (cells along its axis)}.
    starts: {array: (size)} at time zero, of all shots. ends: arrays wanted after the last step.
    """

    engine: Engine
    layout: Layout
    parameters: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]
    factor: dict[str, float]
    sources: dict[str, list[Taps]]
    receivers: dict[str, list[Taps]]
    observed: dict[str, float]
    profiles: dict[str, np.ndarray]
    steps: int
    step: float
    wraps: tuple[bool, ...]
    threads: int
    starts: dict[str, np.ndarray]
    ends: tuple[str, ...] = ()
    progress: Callable[[int, int], None] | None = None
    keeping: Keeping | None = None                     # what a gradient keeps; None where none is asked for
    device: str = "cpu"                                # where parameters, samples and starts are, and where it runs

    together: int = 1                                  # shots that run side by side on a GPU

    @property
    def xp(self) -> Any:
        """The module whose arrays live there: numpy or cupy."""
        return devices.namespace_of(self.device)

    @property
    def shots(self) -> int:
        """Number of shots; one where there is no survey."""
        return len(next(iter(self.sources.values()), [0]))

    def points(self, kind: str) -> int:
        """Number of "sources" or "receivers" of a shot."""
        return next((taps[0].points for taps in getattr(self, kind).values()), 0)

    def groups(self) -> list[tuple[list[int], int]]:
        """Return [(shots that run side by side, threads of each)]: small grids a thread each, large ones all threads on one."""
        if self.device != "cpu":
            return [(list(range(start, min(start + self.together, self.shots))), 1) for start in range(0, self.shots, self.together)]
        state = self.layout.cells_count * self.layout.dtype.itemsize * 3
        together = self.threads if state < 12e6 else 1
        # The slabs of axis 0 must lie wholly with the first and the last thread, and the seams between threads must not meet.
        count = max(len(sweeps(p)) for p in (self.engine.program, self.engine.transposed.program))
        most = max(1, self.layout.size[0] // (self.layout.rim + 2 * self.layout.reach * (count + 1)))
        out: list[tuple[list[int], int]] = []
        for start in range(0, self.shots, together):
            chosen = list(range(start, min(start + together, self.shots)))
            out.append((chosen, max(1, min(most, self.threads // len(chosen)))))
        return out

    def needs(self, highest_frequency: float, free: int, ring: bool = False) -> Needs:
        """Return what a gradient asks of its storage: frequency of the fields [Hz], free main memory [bytes].

        ring: whether it is asked how much a ring takes, or why the step cannot be taken back.
        """
        kept, reason = 0, ""
        if ring and self.device != "cpu":
            reason = "it runs on a GPU, where rings are not kept"
        elif ring:
            try:
                kept = step_bytes(self.layout, len(self.engine.histories), len(self.engine.ringed))
            except ValueError as error:
                reason = str(error)
        program = self.engine.program
        state = Arena.size(self.layout, program.arrays(), program.memory)
        together = max(len(shots) for shots, _ in self.groups())
        return Needs(self.shots, together, self.steps, self.step, highest_frequency, len(self.engine.histories), self.layout.history_shape,
                     state, self.layout.dtype.itemsize, free, bool(self.engine.recorded), kept, reason, self.device == "cpu")
