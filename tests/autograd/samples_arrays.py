"""Samples of reductions, scans, sorting, gathering and manipulation; see samples.py."""

from typing import Any

import numpy as np

rng = np.random.default_rng(4)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def complexes(*shape: int) -> Any:
    return normal(*shape) + 1j * normal(*shape)


def apart(*shape: int) -> Any:
    """Values at least 0.3 apart in random order, so that no difference crosses a tie."""
    size = int(np.prod(shape, dtype=int))
    return (0.3 * rng.permutation(size) - 0.15 * size).reshape(shape)


def holed(*shape: int) -> Any:
    """Values with zeros, one in some rows and several in others."""
    values = normal(*shape)
    values.reshape(-1)[[0, 1, -1]] = 0.0
    return values


AXES: list[dict[str, Any]] = [
    {"axis": (0, 2), "keepdims": False}, {"axis": (1,), "keepdims": True}, {"axis": (0, 1, 2), "keepdims": False},
    {"axis": (), "keepdims": False},
]
rows = np.array([2, 0, 2, 1, 2])
table = np.array([[2, 0], [1, 2], [2, 2]])
along = np.array([[2, 0, 1, 0], [1, 1, 1, 2]])
mask = np.array([[True, False, True], [False, False, True]])
flags: dict[str, Any] = {"axis": (1,), "keepdims": False}

SAMPLES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    # reductions
    "mean": [((normal(2, 3, 2),), params) for params in AXES] + [((complexes(2, 3),), {"axis": (1,), "keepdims": True})],
    "prod": [((holed(2, 3, 2),), params) for params in AXES] + [((complexes(5),), {"axis": (0,), "keepdims": False}),
             ((normal(1),), {"axis": (0,), "keepdims": False}), ((holed(7),), {"axis": (0,), "keepdims": False})],
    "max": [((apart(2, 3, 2),), params) for params in AXES],
    "min": [((apart(2, 3, 2),), params) for params in AXES],
    "variance": [((normal(2, 3, 2),), {**params, "correction": c}) for params, c in zip(AXES, (0, 1, 0.5, 0), strict=True)],
    "deviation": [((normal(2, 3, 2),), {**params, "correction": c}) for params, c in zip(AXES[:3], (0, 1, 0.5), strict=True)],
    "logsumexp": [((normal(2, 3, 2),), params) for params in AXES] + [((complexes(2, 3),), {"axis": (1,), "keepdims": False})],
    "softmax": [((normal(2, 3, 2),), {"axis": axis}) for axis in ((1,), (0, 2))],
    "log_softmax": [((normal(2, 3, 2),), {"axis": axis}) for axis in ((1,), (0, 2))],
    "any": [((mask,), flags), ((normal(2, 3),), flags)],
    "all": [((mask,), flags), ((normal(2, 3),), flags)],
    "argmax": [((apart(2, 3),), {"axis": 1, "keepdims": False})],
    "argmin": [((apart(2, 3),), {"axis": 0, "keepdims": True})],
    # scans
    "cumprod": [((holed(2, 5),), {"axis": 1}), ((holed(3, 2),), {"axis": 0}), ((complexes(4),), {"axis": 0})],
    "logcumsumexp": [((normal(2, 5),), {"axis": 1}), ((normal(3, 2),), {"axis": 0})],
    "linear_recurrence": [((normal(2, 5), normal(2, 5)), {"axis": 1, "reverse": False}),
                          ((normal(3, 2), normal(3, 2)), {"axis": 0, "reverse": True}),
                          ((complexes(3), complexes(3)), {"axis": 0, "reverse": False})],
    "running_places": [((apart(2, 4),), {"axis": 1, "largest": largest}) for largest in (True, False)],
    # sorting
    "sort": [((apart(2, 5),), {"axis": 1, "descending": False}), ((apart(3, 2),), {"axis": 0, "descending": True})],
    "argsort": [((apart(2, 5),), {"axis": 1, "descending": True})],
    "top_indices": [((apart(2, 9),), {"axis": 1, "k": 2, "largest": True}), ((apart(4, 2),), {"axis": 0, "k": 3, "largest": False})],
    "searchsorted": [((np.sort(apart(5)), normal(2, 3)), {"side": "left"})],
    "isin": [((apart(4), apart(3)), {"invert": False})],
    "mode_index": [((np.array([[1.0, 3.0, 1.0], [2.0, 2.0, 0.0]]),), {"axis": 1})],
    # gathering
    "checked_indices": [((np.array([1, -1, 0]),), {"length": 3, "negative": True, "name": "x"})],
    "take_rows": [((normal(3, 2), rows), {}), ((normal(3), table), {}), ((complexes(3, 2), table), {})],
    "add_rows": [((normal(5, 2), rows), {"length": 4}), ((normal(3, 2), table), {"length": 3}),
                 ((complexes(5, 2, 2), rows), {"length": 3})],
    "take_along_axis": [((normal(2, 3), along), {"axis": 1}), ((normal(3, 4), along), {"axis": 0})],
    "add_along_axis": [((normal(2, 4), along), {"axis": 1, "length": 3}), ((complexes(2, 4), along), {"axis": 0, "length": 4})],
    "last_of_equal_indices": [((rows,), {"length": 3})],
    "put": [((normal(4), rows, normal(5)), {}), ((complexes(3), rows, complexes(5)), {})],
    "segment_extreme": [((apart(5, 2), rows), {"length": 3, "largest": largest}) for largest in (True, False)],
    "write": [((normal(3, 4), normal(3, 2)), {"index": (slice(None), slice(3, None, -2))}), ((normal(3, 2), normal(2)), {"index": (1,)})],
    # manipulation
    "roll": [((normal(3, 4),), {"shift": (1, -2), "axis": (0, 1)}), ((normal(4),), {"shift": (5,), "axis": (0,)}),
             ((normal(4),), {"shift": (1, 2), "axis": (0, 0)})],
    "sliding_windows": [((normal(5, 4),), {"axis": (0, 1), "size": (2, 3), "step": (2, 1)}),
                        ((normal(7),), {"axis": (0,), "size": (3,), "step": (3,)})],
    "fold_windows": [((normal(2, 2, 2, 3),), {"axis": (0, 1), "size": (2, 3), "step": (2, 1), "shape": (5, 4)}),
                     ((normal(2, 3),), {"axis": (0,), "size": (3,), "step": (3,), "shape": (7,)})],
}
