"""By what a step multiplies plane waves: von Neumann's matrices of a program, in the interior and inside absorbing layers.

A step maps the amplitudes of a plane wave in all arrays linearly: by the amplification matrix, made of the program's assignments with each
stencil replaced by its symbol. Products of fields are linearised about constant fields; an absorbing layer is taken at one depth as if its
profiles were constant there, its memory variables among the arrays.
Source: Charney, Fjortoft and von Neumann, Tellus 2 (1950), 237; Richtmyer and Morton, Difference Methods (1967), sections 4 and 5.3; of
layers: Becache, Fauqueux and Joly, J. Comput. Phys. 188 (2003), 399, section 3.
"""
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyperion.codegen import Program, Read, Stencil

from .boundary import Boundary

Linear = list[tuple[str, list[tuple[float, Read]]]]    # [(target, [(factor, what it multiplies)])], in order of execution
Cells = tuple[int | None, ...]                         # of each axis: a cell of its layer, or None for the interior


def amplification(program: Program, constants: Mapping[str, float], waves: np.ndarray, state: Mapping[str, float]) -> np.ndarray:
    """Return the matrices by which one step multiplies the amplitudes of plane waves: (waves, arrays, arrays).

    constants: {kernel parameter or profile: its value}; profiles that are not given are zero. waves: (waves, ndim), radians per cell.
    state: {field: its value}, constant, about which products are linearised; rest where none is given. Sources are left out; the arrays
    are those whose value lasts from step to step.
    """
    step = _linearised(program, constants, state)
    kept, written = dict[str, None](), set[str]()
    for target, reads in step:
        kept |= {x: None for _, (x, _) in reads if x not in written}
        written.add(target)
    lasting = list(kept)
    value = {x: np.zeros((len(waves), len(lasting)), complex) for x in program.arrays()}
    for i, x in enumerate(lasting):
        value[x][:, i] = 1.0
    symbols: dict[Stencil, np.ndarray] = {}
    for target, reads in step:
        total = np.zeros((len(waves), len(lasting)), complex)
        for factor, (x, stencil) in reads:
            if stencil not in symbols:
                symbols[stencil] = sum((w * np.exp(1j * (waves @ np.array(s, float))) for s, w in stencil.taps), start=np.zeros(len(waves)))
            total += (factor * symbols[stencil])[:, None] * value[x]
        value[target] = total
    return np.stack([value[program.swapped(x)] for x in lasting], axis=1)


def _linearised(program: Program, constants: Mapping[str, float], state: Mapping[str, float]) -> Linear:
    """Return the step about constant fields, which it may change: what is not multiplied by zero of each assignment."""
    fields = {x: state.get(program.owner(x), 0.0) for x in program.arrays()}
    out: Linear = []
    for a in program.assigns:
        reads: list[tuple[float, Read]] = []
        value = 0.0
        for t in a.terms:
            factor = t.weight * math.prod(0.0 if c in program.profiles and c not in constants else constants[c] for c in t.coefficients)
            if factor == 0.0 or t.array in program.sources:
                continue
            still = {read: fields[read[0]] * sum(w for _, w in read[1].taps) for read in t.reads} if state or t.factors else {}
            for read, others in t.each():
                of = factor * math.prod(still[other] for other in others)
                if of != 0.0:
                    reads.append((of, read))
            value += factor * math.prod(still.values()) if still else 0.0
        fields[a.target] = value
        out.append((a.target, reads))
    return out


@dataclass(frozen=True)
class Layers:
    """The absorbing layers of a grid, as the analysis of a step sees them.

    size: cells of the padded grid. spacing: [m]. profiles: {profile of a layer: its axis}.
    """

    boundary: Boundary
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    profiles: Mapping[str, int]

    def places(self) -> list[Cells]:
        """Return where a step is looked at: at some depths of each axis' layer, and of the corner of all of them."""
        pads = self.boundary.pads(len(self.size))
        layered = [axis for axis in sorted(set(self.profiles.values())) if any(pads[axis])]
        corners = [{axis} for axis in layered] + [set(layered)] * (len(layered) > 1)
        out: list[Cells] = []
        for corner in corners:
            for part in (0.0, 0.3, 0.6, 0.9):
                depth = [int(part * max(pair)) for pair in pads]
                out.append(tuple((depth[k] if pads[k][0] else self.size[k] - 1 - depth[k]) if k in corner else None
                                 for k in range(len(self.size))))
        return out

    def at(self, cells: Cells, step: float, speed: float) -> dict[str, float]:
        """Return {profile: its value} in these cells [step in s, fastest speed in m/s]."""
        def value(name: str, axis: int) -> float:
            return float(self.boundary.profile(name, axis, self.size, self.spacing[axis], step, speed)[cells[axis]])
        return {name: value(name, axis) for name, axis in self.profiles.items() if cells[axis] is not None}
