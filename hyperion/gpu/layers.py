"""Python side of `kernels/layers.cu`: what is left of a layer of points when its matrix product is done, and the way back."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import maps
from .launching import MOST, THREADS, cupy, launch, packs

__all__ = ["ACTIVATIONS", "finish", "pull"]

ACTIVATIONS = {"none": 0, "gelu": 1, "silu": 2, "tanh": 3, "relu": 4}


EACH = 4                # packs for each thread where pieces are summed up, as in layers.cu


def _grid(rows: int, columns: int, itemsize: int, each: int) -> tuple[int, int]:
    return -(-columns // (THREADS * each * (16 // itemsize))), min(rows, MOST)


def _arguments(h: Any, arrays: tuple[Any, ...]) -> tuple[tuple[int, ...], tuple[int, int, int, int]]:
    """Return addresses, 0 for None, and rows, columns, channels and packs."""
    channels, columns = h.shape[-2:]
    there = [x for x in arrays if x is not None and x.size == h.size]
    wide = packs(columns, *there) if columns * h.itemsize % 16 == 0 else 0
    return tuple(0 if x is None else x.data.ptr for x in arrays), (h.size // columns, columns, channels, wide)


def finish(h: Any, bias: Any, gate: Any, x: Any, added: Any, activation: str) -> Any:
    """Return act(z), z = h + bias + gate x + added: CuPy arrays, (batch, channels, points), without gaps; None for what is not there.

    bias, gate: channels numbers, of any shape.
    z is left in h where there is a gate or something added; so it is without an activation, and h is returned.
    """
    out = None if activation == "none" else cupy().empty(h.shape, h.dtype)
    addresses, sizes = _arguments(h, (h, bias, gate, x, added, out))
    macros = {"ACT": ACTIVATIONS[activation], "GATE": int(gate is not None), "ADDED": int(added is not None)}
    launch("layers", "finish", h, _grid(sizes[0], sizes[1], h.itemsize, 1), (*addresses, *sizes), **macros)
    return h if out is None else out


def pull(g: Any, h: Any, bias: Any, gate: Any, x: Any, activation: str) -> tuple[Any, Any, Any, Any]:
    """Return g act'(z), gate times that (or None), and for each channel the sums of g act'(z) and of that times x (or None).

    z = h + bias (None: h): h is what `finish` left there.
    """
    empty = cupy().empty
    d = g if activation == "none" else empty(g.shape, g.dtype)
    to_x = None if gate is None else empty(g.shape, g.dtype)
    grid, kinds = _grid(g.size // g.shape[-1], g.shape[-1], g.itemsize, EACH), 1 if gate is None else 2
    sums, out = empty((kinds, *g.shape[:2], grid[0]), g.dtype), empty((kinds, g.shape[1]), g.dtype)
    addresses, sizes = _arguments(g, (g, h, bias, gate, x, d, to_x))
    macros = {"ACT": ACTIVATIONS[activation], "GATE": int(gate is not None), "ADDED": 0}
    launch("layers", "pull", g, grid, (*addresses, sums, *sizes), **macros)
    launch("layers", "channel_sums", g, (g.shape[1], kinds), (sums, out, g.shape[0], g.shape[1], grid[0]), **macros)
    return d, to_x, out[0], None if gate is None else out[1]


# What the kernels are tested against: `variants[name](*arguments)` must agree with `reference[name](*arguments)` for all `cases`.

_VALUES: dict[str, Callable[..., Any]] = {
    "none": lambda z: z, "gelu": maps.gelu, "silu": maps.silu, "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0)}
_SLOPES: dict[str, Callable[..., Any]] = {
    "none": lambda g, z: g, "gelu": maps.reference["gelu_back"], "silu": maps.reference["silu_back"],
    "tanh": lambda g, z: g * (1 - np.tanh(z) ** 2), "relu": lambda g, z: np.where(z > 0, g, 0)}


def _finish(h: Any, bias: Any, gate: Any, x: Any, added: Any, activation: str) -> Any:
    z = h + (0 if bias is None else bias[:, None]) + (0 if gate is None else gate[:, None] * x) + (0 if added is None else added)
    return np.concatenate([_VALUES[activation](z), z if gate is not None or added is not None or activation == "none" else h], axis=-1)


def _finished(h: Any, *rest: Any) -> Any:
    h = h.copy()
    return cupy().concatenate([finish(h, *rest), h], axis=-1)


def _pull(g: Any, h: Any, bias: Any, gate: Any, x: Any, activation: str) -> Any:
    d = _SLOPES[activation](g, h + (0 if bias is None else bias[:, None]))
    over = (0, 2)
    parts = [d, d.sum(axis=over)] if gate is None else [d, gate[:, None] * d, d.sum(axis=over), (d * x).sum(axis=over)]
    return np.concatenate([part.reshape(-1) for part in parts])


def _pulled(*arguments: Any) -> Any:
    return cupy().concatenate([part.reshape(-1) for part in pull(*arguments) if part is not None])


reference: dict[str, Callable[..., Any]] = {"finish": _finish, "pull": _pull}
variants: dict[str, Callable[..., Any]] = {"finish": _finished, "pull": _pulled}


def cases(name: str, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a kernel, NumPy arrays: every activation, all parts or few, and columns that packs divide or do not."""
    random = np.random.default_rng(20260101)
    for activation, some, more in itertools.product(ACTIVATIONS, (False, True), (False, True)):
        if some is not more and activation != "gelu":
            continue
        for shape in ((2, 3, 4), (1, 2, 4100 if more else 1030), (3, 2, 7)):
            x, y, z = (random.normal(size=shape).astype(dtype) for _ in range(3))
            bias, gate = (random.normal(size=shape[1]).astype(dtype) for _ in range(2))
            gated = (gate, x) if some else (None, None)
            rest = (bias, *gated, z if more else None) if name == "finish" else (z, bias if more else None, *gated)
            yield y, *rest, activation
