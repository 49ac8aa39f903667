"""Samples of the operations that networks bring: affine maps, normalisation over rows, cross-entropy."""

from typing import Any

import numpy as np

rng = np.random.default_rng(21)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


CLASSES = np.array([[2, 0, -1], [1, 3, 3]])

SAMPLES: dict[str, list[Any]] = {
    "affine": [((normal(2, 3), normal(4, 3), normal(4)), {}), ((normal(2, 2, 3), normal(1, 3)), {}), ((normal(3), normal(2, 3)), {}),
               ((normal(2, 3) + 1j * normal(2, 3), normal(2, 3) + 1j * normal(2, 3), normal(2) + 1j * normal(2)), {})],
    "layer_norm": [((normal(2, 3, 4), normal(4), normal(4)), {"axis": (2,), "eps": 0.1}), ((normal(2, 3),), {"axis": (1,), "eps": 0.1}),
                   ((normal(2, 3, 2), normal(3, 1), normal(3, 1)), {"axis": (0, 2), "eps": 0.2}),
                   ((normal(2, 3), normal(3)), {"axis": (1,), "eps": 0.1})],
    "rms_norm": [((normal(2, 4), normal(4)), {"axis": (1,), "eps": 0.1}), ((normal(2, 3, 2),), {"axis": (0, 2), "eps": 0.1})],
    "softmax_cross_entropy": [((normal(2, 3, 4), CLASSES), {"ignore": -1}), ((normal(5), np.array(4)), {"ignore": -100})],
    "softmax_less_class": [((normal(2, 3, 4), normal(2, 3), CLASSES), {"ignore": -1})],
}
