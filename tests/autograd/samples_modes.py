"""Samples of the operations that neural operators need: a few Fourier coefficients, channels mapped at each point."""

from typing import Any

import numpy as np

rng = np.random.default_rng(41)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def waves(*shape: int) -> Any:
    return normal(*shape) + 1j * normal(*shape)


SPACES = [((3,), (7,)), ((3,), (4,)), ((2, 2), (3, 4)), ((1, 3), (2, 5)), ((4, 3), (4, 4)), ((3, 2, 2), (4, 2, 3))]      # kept, space
FAST = ((40,), (80,))               # many frequencies: the fast transform serves

SAMPLES: dict[str, list[tuple[Any, Any]]] = {
    "fourier_modes": [((normal(2, *space),), {"kept": kept, "inverse": inverse})
                      for kept, space in (*SPACES, FAST) for inverse in (False, True)],
    "from_fourier_modes": [((waves(*kept, 2),), {"kept": kept, "space": space, "inverse": inverse})
                           for kept, space in (*SPACES, FAST) for inverse in (False, True)],
    "pointwise": [((normal(2, 3, 4), normal(5, 3)), {}), ((normal(2, 3, 4), normal(5, 3), normal(5, 1)), {}),
                  ((normal(2, 3, 4), normal(5, 3), normal(5, 1), normal(2, 5, 4)), {}), ((waves(2, 3, 4), waves(5, 3), waves(5, 1)), {})],
}
