"""Samples of the primitives behind gamma variates: (inputs, params)."""

from typing import Any

import numpy as np

import hyperion.autograd.random  # noqa: F401  its primitives are part of the table

drawn = np.array([[-1.0, 0.3, 1.2], [0.9, -2.0, 1.4]])
below = (np.array([[0.1], [0.6]]), np.array([1.3, 2.0, 4.5]))
above = (np.array([[2.6], [6.0]]), np.array([0.3, 1.0, 2.0]))

SAMPLES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "gamma_below": [(below, {"n": 0, "m": 0}), (below, {"n": 1, "m": 0}), (below, {"n": 2, "m": 1})],
    "gamma_above": [(above, {"n": 0, "m": 0}), (above, {"n": 1, "m": 0}), (above, {"n": 2, "m": 1})],
    # At the concentration of the draw, and moved to another one.
    "log_gamma_sample": [((np.array([0.7, 2.0, 3.5]), drawn, np.array([0.7, 2.0, 3.5])), {}),
                         ((np.array([0.8, 1.5, 3.0]), drawn, np.array([[0.7], [2.0]])), {})],
}
