"""Samples of every primitive, a row each: (inputs, params). The walk over the table fails for an entry without one.

Inputs are float64 and stay clear of points where a derivative does not exist; shapes differ so that broadcasting is part of the check.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from hyperion.autograd.ops.indexing import ARRAY

Sample = tuple[tuple[Any, ...], dict[str, Any]]

rng = np.random.default_rng(1)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def positive(*shape: int) -> Any:
    return rng.uniform(0.5, 2.0, shape)


def apart(*shape: int) -> Any:
    """Values at least 0.1 from zero and from each other, so that no difference crosses a kink or a tie."""
    size = int(np.prod(shape, dtype=int))
    return ((0.3 + np.arange(size)) * rng.choice([-1.0, 1.0], size)).reshape(shape)


mask = np.array([[True, False, True], [False, False, True]])
index = np.array([[2, 0, 2], [1, 2, 2]])
taps = np.array([0.5, -1.0, 2.0, 0.25, 0.75])

SAMPLES: dict[str, list[Sample]] = {
    # shaping
    "identity": [((normal(3),), {})],
    "constant_of": [((normal(3),), {})],
    "astype": [((normal(3),), {"dtype": np.dtype(np.float64)}), ((normal(3),), {"dtype": np.dtype(np.complex128)})],
    "cast": [((normal(3),), {"dtype": np.dtype(np.int64)})],
    "to_device": [((normal(3),), {"device": "cpu"})],
    "reshape": [((normal(2, 3),), {"shape": (3, 2)}), ((normal(1),), {"shape": ()})],
    "permute_dims": [((normal(2, 3, 4),), {"axes": (2, 0, 1)})],
    "broadcast_to": [((normal(3),), {"shape": (2, 3)}), ((normal(2, 1),), {"shape": (4, 2, 3)}), ((normal(),), {"shape": (2,)})],
    "sum_to": [((normal(2, 3),), {"shape": (1, 3)}), ((normal(4, 2, 3),), {"shape": (2, 1)}), ((normal(2, 3),), {"shape": ()})],
    "flip": [((normal(2, 3),), {"axis": (0, 1)}), ((normal(2, 3),), {"axis": (1,)})],
    "concat": [((normal(2, 3), normal(2, 1), normal(2, 2)), {"axis": 1}), ((normal(2),), {"axis": 0})],
    # reductions and products
    "row_norms": [((normal(3, 4),), {}), ((normal(2, 1, 2, 3),), {})],
    "sum": [((normal(2, 3, 2),), {"axis": (0, 2), "keepdims": False}), ((normal(2, 3),), {"axis": (1,), "keepdims": True}),
            ((normal(),), {"axis": (), "keepdims": False})],
    "cumsum": [((normal(2, 3),), {"axis": 1})],
    "matmul": [((normal(2, 3), normal(3, 4)), {}), ((normal(5, 1, 2, 3), normal(4, 3, 2)), {})],
    # indexing
    "getitem": [((normal(4, 5),), {"index": (slice(None, None, -2), 1)}), ((normal(4, 2), index), {"index": (ARRAY,)}),
                ((normal(2, 3), mask), {"index": (ARRAY,)}), ((normal(2, 3),), {"index": (Ellipsis, None, 2)}),
                ((normal(3, 4), index, index), {"index": (ARRAY, ARRAY)}), ((normal(4, 2, 3), index), {"index": (ARRAY, slice(None), 1)})],
    "scatter": [((normal(2, 3, 2), index), {"index": (ARRAY,), "shape": (4, 2)}),
                ((normal(2),), {"index": (slice(1, 3),), "shape": (4,)}),
                ((normal(3), mask), {"index": (ARRAY,), "shape": (2, 3)}),
                ((normal(2, 3, 2), index), {"index": (ARRAY, slice(None), 1), "shape": (4, 2, 3)})],
    # stencils
    "pad": [((normal(2, 3),), {"widths": ((1, 2), (0, 3))})],
    "pad_edge": [((normal(2, 3),), {"widths": ((1, 2), (0, 3))}), ((normal(1, 2),), {"widths": ((2, 3), (0, 0))})],
    "fold_edge": [((normal(5, 6),), {"widths": ((1, 2), (0, 3))}), ((normal(6, 2),), {"widths": ((2, 3), (0, 0))})],
    "shift": [((normal(4, 3),), {"n": n, "axis": 0, "periodic": periodic}) for n in (0, 1, -2, 4, -5) for periodic in (False, True)],
    "fir": [((normal(2, 7),), {"taps": taps, "axis": 1, "up": up, "down": down, "length": length})
            for up, down, length in ((1, 1, 7), (3, 1, 20), (1, 2, 4), (3, 2, 13), (2, 3, 9), (1, 4, 2))],
}

for path in sorted(Path(__file__).parent.glob("samples_*.py")):
    SAMPLES |= importlib.import_module(f"{__package__}.{path.stem}").SAMPLES
