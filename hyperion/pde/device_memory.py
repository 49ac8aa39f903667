"""Memory of a run on a GPU: all arrays of some shots, and their histories."""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.cpu.disk import DiskBuffer
from hyperion.gpu import device as devices

from .experiment import Experiment
from .layout import Arena
from .storage import slots

HELD_BYTES = 1e9                                       # of histories that go to a file, on the device at one time


class DeviceArena:
    """All arrays of one kind of some shots, one shot after the other."""

    def __init__(self, e: Experiment, names: Sequence[str], memory: dict[str, int], shots: int):
        places, size = Arena.places(e.layout, names, memory)
        self.layout, self.stride = e.layout, -(-size // 512) * 512
        self.memory = e.xp.zeros((shots, self.stride), np.uint8)
        self.address: int = self.memory.data.ptr
        self.cell: dict[tuple[str, int], int] = {}     # byte of cell (0, ..., 0), which may lie outside an array of a slab
        self._place: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}
        for name, side, start, shape, origin in places:
            strides = [math.prod(shape[k + 1:]) for k in range(len(shape))]
            self.cell[name, side] = start + sum(o * s for o, s in zip(origin, strides, strict=True)) * e.layout.dtype.itemsize
            if name not in memory:
                self._place[name] = (start, shape, origin)

    def whole(self, name: str, shot: int) -> Any:
        """Return a view of a full array with its halos."""
        start, shape, _ = self._place[name]
        end = start + math.prod(shape) * self.layout.dtype.itemsize
        return self.memory[shot, start:end].view(self.layout.dtype).reshape(shape)

    def full(self, name: str, shot: int) -> Any:
        """Return a view of its cells, (size)."""
        _, _, origin = self._place[name]
        return self.whole(name, shot)[tuple(slice(o, o + n) for o, n in zip(origin, self.layout.size, strict=True))]

    def start(self, name: str) -> int:
        """Return the address of the first number of the first shot's array."""
        return self.address + self._place[name][0]


def parameter_arena(e: Experiment) -> DeviceArena:
    """Return the kernel parameters in the layout of the arrays, zeros around them."""
    arena = DeviceArena(e, list(e.parameters), {}, 1)
    for name, values in e.parameters.items():
        arena.full(name, 0)[...] = values
    return arena


@dataclass(frozen=True)
class DeviceHistory:
    """Histories of a group of shots: (shots, slots held, bytes of a slot) on the device, and all slots in a file if they are not held."""

    memory: Any
    every: int
    bits: int
    file: DiskBuffer | None = None

    @property
    def chunk(self) -> int:
        """How many steps can be run before slots are moved."""
        return (self.memory.shape[1] - 1) * self.every if self.file else 1 << 40

    def move(self, first: int, last: int, out: bool) -> None:
        """Move the slots of steps [first, last) to the file, or from it."""
        if self.file is None:
            return
        shots, _, size = self.memory.shape
        kept = self.file.bytes.reshape(shots, -1, size)
        a, b, base = slots(0, first, self.every), slots(0, last, self.every), first // self.every
        for shot in range(shots):
            if out:
                kept[shot, a:b] = devices.to_numpy(self.memory[shot, a - base:b - base])
            else:
                self.memory[shot, a - base:b - base] = devices.namespace(self.memory).asarray(kept[shot, a:b])
