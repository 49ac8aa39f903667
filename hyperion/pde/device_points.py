"""What is sent to cells and heard from them on a GPU, as tables of addresses."""
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperion.gpu.stencils import SENT, structure

from .layout import Taps


@dataclass(frozen=True)
class Points:
    """Weighted cells of one shot, and where their samples lie."""

    taps: Taps
    weights: np.ndarray
    array: str
    offset: int
    data: Any                                          # on the device; `first` is the address of what step 0 meets
    first: int
    history: int
    history_weights: np.ndarray

    def samples(self, item: int) -> np.ndarray:
        """Return the address of each tap's sample at step 0. item: bytes of a number."""
        return self.first + self.taps.owner.astype(np.int64) * item


@dataclass(frozen=True)
class Image:
    """sums += cotangent in an array * history, at kept steps."""

    array: str
    offset: int
    history: int
    sums: Any


@dataclass
class Shot:
    """What is sent, heard and imaged in a shot; `Run` has native contexts in its place."""

    injection: list[Points] = field(default_factory=list)
    receiver: list[Points] = field(default_factory=list)
    image: list[Image] = field(default_factory=list)


def hearing(xp: Any, dtype: np.dtype, items: list[tuple[Points, np.ndarray]]) -> tuple[Any, ...]:
    """Return the table of one launch of `receive` for (points, address of each tap's cell); taps of a trace in a fixed order."""
    cell = np.concatenate([at for _, at in items])
    sample = np.concatenate([p.samples(dtype.itemsize) for p, _ in items])
    weight = np.concatenate([p.weights for p, _ in items])
    order = np.argsort(sample, kind="stable")
    traces, first = np.unique(sample[order], return_index=True)
    start = np.append(first, len(order)).astype(np.int32)
    tables = (cell[order].astype(np.int64), start, weight[order].astype(dtype), traces.astype(np.int64))
    return (*map(xp.asarray, tables), len(traces))


def sending(xp: Any, dtype: np.dtype, items: list[tuple[Points, np.ndarray, np.ndarray, np.ndarray]], blocks: int) -> tuple[Any, Any]:
    """Return SENT, and the arrays that it tells the addresses of; what is sent to one cell is added up in a fixed order.

    items: (points, weight of each tap, address of its cell, block that the cell belongs to; below zero: left out). blocks: how many there
    are; with none, the cells are not grouped.
    """
    columns = [(block, at, w, p.samples(dtype.itemsize), np.full(len(w), p.taps.points), np.full(len(w), p.offset))
               for p, w, at, block in items]
    block, cell, weight, sample, traces, offset = (np.concatenate(x) for x in zip(*columns, strict=True))
    order = np.lexsort((cell, block))                  # stable
    order = order[block[order] >= 0]
    block, cell = block[order], cell[order]
    first = np.flatnonzero(np.append(True, (np.diff(block) != 0) | (np.diff(cell) != 0))[:len(order)])
    tables = {"at": (cell[first], np.int64), "start": (np.append(first, len(order)), np.int32), "weight": (weight[order], dtype),
              "data": (sample[order], np.int64), "traces": (traces[order], np.int32), "offset": (offset[order], np.int32)}
    if blocks:
        tables["tile"] = np.searchsorted(block[first], np.arange(blocks + 1)), np.int32
    moved = {name: xp.asarray(values.astype(kind)) for name, (values, kind) in tables.items()}
    return structure(SENT, count=len(first), **{name: x.data.ptr for name, x in moved.items()}), moved
