"""Python side of `kernels/pointwise.c`: networks of single points, channels before space, and transforms of rows to and from a few waves.

Each function takes NumPy arrays and returns new ones, or None where NumPy should serve: for an array of fewer than THRESHOLD elements, of
another dtype than float32 and float64, with gaps, or without a compiler.
"""

import ctypes
import importlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperion import config
from hyperion.errors import CompilerError, SpeedWarning

from .compiler import load
from .pool import ARRAYS

THRESHOLD = 1 << 14     # elements of x from which the kernels are used
PARALLEL = 1 << 16      # and from which threads share them
ACTIVATIONS = ("none", "gelu", "silu", "tanh", "relu")
MOST_LAYERS, _MOST_CHUNKS = 8, 32       # as in the kernel
_FOLDER = Path(__file__).parent / "kernels"
_FORWARD, _BACKWARD, _TO_WAVES, _FROM_WAVES = range(4)
_loaded: dict[Any, Any] = {}


class Layer(NamedTuple):
    """One layer: act(weight y + bias + gate x + added + waves basis), with y the layer before it and x the network's input.

    weight: (outputs, inputs).  bias, gate: (outputs,).  added: (batch, outputs, rows, columns).
    waves: (batch, rows, outputs, frequencies).  activation: of ACTIVATIONS.
    """

    weight: Any
    bias: Any = None
    gate: Any = None
    added: Any = None
    waves: Any = None
    activation: str = "none"


class _Job(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int64) for name in (
        "task", "batch", "channels", "rows", "columns", "frequencies", "count", "width", "tiles", "units", "step", "sums_size", "failed")),
        *((name, ctypes.c_void_p) for name in ("x", "g", "basis", "turned", "out", "sums", "layers")))


def _load(dtype: np.dtype[Any]) -> Any:
    """Return the compiled library for a dtype; None, and one warning, if it cannot be had."""
    if dtype not in (np.float32, np.float64):
        _loaded[dtype] = None
        return None
    text = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("workers.h", "maths.h", "pointwise.c"))
    try:
        library = load(text, ("-fopenmp-simd", *(("-DREAL=double", "-DWIDE=1") if dtype == np.float64 else ("-DREAL=float",))))
    except CompilerError as error:
        _loaded.update(dict.fromkeys((np.dtype(np.float32), np.dtype(np.float64))))
        warnings.warn(f"networks of single points run in NumPy, several times slower: {error}", SpeedWarning, stacklevel=4)
        return None
    library.native_run.argtypes, library.native_run.restype = (ctypes.POINTER(_Job), ctypes.c_long), ctypes.c_long
    library.native_padded.argtypes, library.native_padded.restype = (ctypes.c_long,), ctypes.c_long
    _loaded[dtype] = library
    return library


def library(dtype: np.dtype[Any]) -> Any:
    """Return the compiled functions for a dtype, or None."""
    return _loaded[dtype] if dtype in _loaded else _load(dtype)


def available(x: Any) -> Any:
    """Return the library that serves an array, or None."""
    return library(x.dtype) if type(x) is np.ndarray and x.size and x.size >= THRESHOLD else None


def _at(x: Any) -> Any:
    return None if x is None else x.__array_interface__["data"][0]


def _run(native: Any, job: _Job, size: int) -> None:
    """Do a job of so many elements. Raises: MemoryError."""
    if native.native_run(ctypes.byref(job), config.threads() if size >= PARALLEL else 1):
        raise MemoryError("networks of single points: no memory for the scratch of a thread")


def _filled(native: Any, turned: Any, like: Any) -> Any:
    """Return (columns, frequencies) with the frequencies filled up to whole vectors."""
    columns, frequencies = turned.shape
    whole = np.zeros((columns, native.native_padded(frequencies)), like.dtype)
    whole[:, :frequencies] = turned
    return whole


def _contiguous(layers: Sequence[Layer], x: Any) -> list[Layer]:
    parts = [[None if a is None else np.ascontiguousarray(a, x.dtype) for a in layer[:-1]] for layer in layers]
    return [Layer(*part, activation=layer.activation) for part, layer in zip(parts, layers, strict=True)]


def _fits(layers: Sequence[Layer], basis: Any) -> bool:
    return len(layers) <= MOST_LAYERS and (basis is None or any(layer.waves is not None for layer in layers))


def _table(layers: Sequence[Layer], cotangents: Sequence[tuple[Any, Any, int]]) -> Any:
    """Return the kernel's table of layers: ten entries of 8 bytes each."""
    rows = []
    for (weight, bias, gate, added, waves, activation), (of_added, of_waves, sums) in zip(layers, cotangents, strict=True):
        outputs, inputs = weight.shape
        places = [_at(a) or 0 for a in (weight, bias, gate, added, waves, of_added, of_waves)]
        rows.append([inputs, outputs, ACTIVATIONS.index(activation), *places, sums])
    return np.array(rows, np.int64)


def network(x: Any, layers: Sequence[Layer], basis: Any = None) -> Any:
    """Return the last layer's values, (batch, outputs, rows, columns), of x, (batch, channels, rows, columns); or None.

    basis: (frequencies, columns), if layers have waves: what those are multiplied by.
    """
    native = available(x)
    if native is None or not _fits(layers, basis):
        return None
    x, layers = np.ascontiguousarray(x), _contiguous(layers, x)
    batch, channels, rows, columns = x.shape
    out, at = ARRAYS.empty((batch, layers[-1].weight.shape[0], rows, columns), x.dtype)
    basis = None if basis is None else np.ascontiguousarray(basis, x.dtype)
    table = _table(layers, [(None, None, -1)] * len(layers))
    _run(native, _Job(_FORWARD, batch, channels, rows, columns, 0 if basis is None else len(basis), len(layers), x=_at(x), out=at,
                      basis=_at(basis), layers=_at(table)), x.size)
    return out


def network_back(
    g: Any, x: Any, layers: Sequence[Layer], bases: Any, of_x: bool, of_layers: Sequence[Sequence[bool]]
) -> tuple[Any, list[list[Any]]] | None:
    """Return the cotangents of x and, for each layer, of weight, bias, gate, added and waves, given that of the result; or None.

    bases: None, or the basis and what is multiplied by the cotangents of values for those of waves, (columns, frequencies).
    of_x, of_layers: which are asked for; others are None.
    """
    native = available(x)
    if native is None or not _fits(layers, bases):
        return None
    x, g, layers = np.ascontiguousarray(x), np.ascontiguousarray(g, x.dtype), _contiguous(layers, x)
    batch, channels, rows, columns = x.shape
    basis, turned = (None, None) if bases is None else (np.ascontiguousarray(bases[0], x.dtype), _filled(native, bases[1], x))
    frequencies = 0 if basis is None else len(basis)
    out = ARRAYS.empty(x.shape, x.dtype)[0] if of_x else None
    places, size = [], 0
    for layer, asked in zip(layers, of_layers, strict=True):
        outputs, inputs = layer.weight.shape
        of_added = ARRAYS.empty(layer.added.shape, x.dtype)[0] if layer.added is not None and asked[3] else None
        of_waves = None
        if layer.waves is not None and asked[4]:
            of_waves = ARRAYS.empty((batch, rows, outputs, native.native_padded(frequencies)), x.dtype)[0]
        begin = size if any(asked[:3]) else -1
        size += outputs * (native.native_padded(inputs) + (layer.bias is not None) + (layer.gate is not None)) if begin >= 0 else 0
        places.append((of_added, of_waves, begin))
    sums, table = ARRAYS.empty((_MOST_CHUNKS, size), x.dtype)[0], _table(layers, places)
    _run(native, _Job(_BACKWARD, batch, channels, rows, columns, frequencies, len(layers), sums_size=size, x=_at(x), g=_at(g),
                      out=_at(out), basis=_at(basis), turned=_at(turned), sums=_at(sums), layers=_at(table)), x.size)
    found = []
    for layer, (of_added, of_waves, begin), asked in zip(layers, places, of_layers, strict=True):
        parts: list[Any] = [None, None, None, of_added, None if of_waves is None else of_waves[..., :frequencies]]
        if begin >= 0:
            outputs, inputs = layer.weight.shape
            wide = native.native_padded(inputs)
            end = begin + outputs * wide
            parts[0] = sums[0, begin:end].reshape(outputs, wide)[:, :inputs].copy()
            for i in (1, 2):
                if layer[i] is not None:
                    parts[i] = sums[0, end:end + outputs].copy()
                    end += outputs
        found.append([part if wanted else None for part, wanted in zip(parts, asked, strict=True)])
    return out, found


def to_waves(x: Any, turned: Any) -> Any:
    """Return the products of the rows of x with waves, (batch, rows, channels, frequencies); or None.

    x: (batch, channels, rows, columns).  turned: (columns, frequencies).
    """
    native = available(x)
    if native is None:
        return None
    x = np.ascontiguousarray(x)
    batch, channels, rows, columns = x.shape
    frequencies, turned = turned.shape[1], _filled(native, turned, x)
    out, at = ARRAYS.empty((batch, rows, channels, frequencies), x.dtype)
    _run(native, _Job(_TO_WAVES, batch, channels, rows, columns, frequencies, x=_at(x), turned=_at(turned), out=at), x.size)
    return out


def from_waves(waves: Any, basis: Any) -> Any:
    """Return sums of waves, (batch, channels, rows, columns); or None.

    waves: (batch, rows, channels, frequencies).  basis: (frequencies, columns).
    """
    native = library(waves.dtype)
    if native is None:
        return None
    waves, basis = np.ascontiguousarray(waves), np.ascontiguousarray(basis, waves.dtype)
    batch, rows, channels, frequencies = waves.shape
    out, at = ARRAYS.empty((batch, channels, rows, basis.shape[1]), waves.dtype)
    _run(native, _Job(_FROM_WAVES, batch, channels, rows, basis.shape[1], frequencies, x=_at(waves), basis=_at(basis), out=at), out.size)
    return out


# What the kernels are tested against: `variants[name](*arguments)` must agree with `reference[name](*arguments)` for all `cases`.

def _sigmoid(x: Any) -> Any:
    return importlib.import_module("scipy.special").expit(x)


def _normal(x: Any) -> Any:
    return importlib.import_module("scipy.special").ndtr(x)


_VALUES: dict[str, Callable[..., Any]] = {
    "none": lambda x: x, "gelu": lambda x: x * _normal(x), "silu": lambda x: x * _sigmoid(x), "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
_SLOPES: dict[str, Callable[..., Any]] = {
    "none": np.ones_like, "gelu": lambda x: _normal(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "silu": lambda x: _sigmoid(x) + x * _sigmoid(x) * (1 - _sigmoid(x)), "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "relu": lambda x: (x > 0).astype(x.dtype),
}


def _reference_values(x: Any, layers: Sequence[Layer], basis: Any) -> list[tuple[Any, Any]]:
    """Return (z, act(z)) of each layer."""
    found, y = [], x
    for weight, bias, gate, added, waves, activation in layers:
        z = np.einsum("oi,bi...->bo...", weight, y)
        for factor, term in ((bias, 1.0), (gate, x)):
            z = z if factor is None else z + factor[:, None, None] * term
        z = z if added is None else z + added
        z = z if waves is None else z + np.einsum("brof,fc->borc", waves, basis)
        y = _VALUES[activation](z)
        found.append((z, y))
    return found


def _reference_network(x: Any, layers: Sequence[Layer], basis: Any) -> Any:
    return _reference_values(x, layers, basis)[-1][1]


def _reference_network_back(
    g: Any, x: Any, layers: Sequence[Layer], bases: Any, of_x: bool, of_layers: Sequence[Sequence[bool]]
) -> tuple[Any, list[list[Any]]]:
    basis, turned = (None, np.empty(0)) if bases is None else bases
    values = _reference_values(x, layers, basis)
    of_gates, found = 0.0, []
    for i in reversed(range(len(layers))):
        weight, bias, gate, added, waves, activation = layers[i]
        g = g * _SLOPES[activation](values[i][0])
        parts = [np.einsum("borc,birc->oi", g, x if i == 0 else values[i - 1][1]), None if bias is None else g.sum(axis=(0, 2, 3)),
                 None if gate is None else (g * x).sum(axis=(0, 2, 3)), None if added is None else g,
                 None if waves is None else np.einsum("borc,cf->brof", g, turned)]
        found.append([part if asked else None for part, asked in zip(parts, of_layers[i], strict=True)])
        of_gates = of_gates if gate is None else of_gates + gate[:, None, None] * g
        g = np.einsum("oi,bo...->bi...", weight, g)
    return g + of_gates if of_x else None, found[::-1]


reference: dict[str, Callable[..., Any]] = {
    "network": _reference_network, "network_back": _reference_network_back,
    "to_waves": lambda x, turned: np.einsum("bork,kf->brof", x, turned),
    "from_waves": lambda waves, basis: np.einsum("brof,fk->bork", waves, basis),
}
variants: dict[str, Callable[..., Any]] = {
    "network": network, "network_back": network_back, "to_waves": to_waves, "from_waves": from_waves,
}
# batch, channels, rows, columns, frequencies, outputs of the layers
SHAPES = ((1, 1, 1, 1, 1, (1,)), (2, 3, 1, 33, 5, (4, 3)), (3, 5, 2, 17, 4, (7, 2, 5)), (2, 4, 3, 64, 26, (4, 9, 4)),
          (1, 33, 1, 97, 34, (70, 33)), (20, 6, 1, 200, 2, (6, 3, 6)), (2, 64, 2, 85, 26, (64, 32, 64)))


def cases(name: str, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a kernel: odd sizes, one of everything, tiles that end in the middle of a vector, chunks that threads share."""
    random = np.random.default_rng(20260101)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(dtype)

    for batch, channels, rows, columns, frequencies, outputs in SHAPES:
        x, waves = normal(batch, channels, rows, columns), normal(batch, rows, channels, frequencies)
        basis, turned = normal(frequencies, columns), normal(columns, frequencies)
        if name == "to_waves":
            yield x, turned / math.sqrt(columns)
        elif name == "from_waves":
            yield waves, basis
        else:
            for kind in range(4):
                layers: list[Layer] = []
                for i, (before, n) in enumerate(itertools.pairwise((channels, *outputs))):
                    layers.append(Layer(
                        normal(n, before) / math.sqrt(before),
                        bias=normal(n) if kind else None,
                        gate=normal(n) if kind != 1 and n == channels else None,
                        added=normal(batch, n, rows, columns) if kind == 2 or i == 1 else None,
                        waves=normal(batch, rows, n, frequencies) / math.sqrt(frequencies) if kind == 3 and i != 1 else None,
                        activation=ACTIVATIONS[(kind + i) % len(ACTIVATIONS)],
                    ))
                waved = any(layer.waves is not None for layer in layers)
                if name == "network":
                    yield x, layers, basis if waved else None
                else:
                    g = normal(batch, outputs[-1], rows, columns)
                    bases = (basis, turned) if waved else None
                    some = [(kind == i, False, False, kind != i, kind == i) for i in range(len(outputs))]
                    yield g, x, layers, bases, True, [(True,) * 5] * len(layers)
                    yield g, x, layers, bases, kind == 2, some
