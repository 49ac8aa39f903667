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

# x, then the parts of each layer; the second layer's gate needs as many outputs as x has channels
NETWORK = (normal(2, 3, 2, 4), normal(4, 3), normal(4), normal(2, 4, 2, 4), waves(2, 2, 4, 2), normal(3, 4), normal(3))
LINES = ((("bias", "added", "waves"), "gelu"), (("gate",), "tanh"))
ALONE = ((("gate",), "silu"),)

SAMPLES: dict[str, list[tuple[Any, Any]]] = {
    "fourier_modes": [((normal(2, *space),), {"kept": kept, "inverse": inverse})
                      for kept, space in (*SPACES, FAST) for inverse in (False, True)],
    "from_fourier_modes": [((waves(*kept, 2),), {"kept": kept, "space": space, "inverse": inverse})
                           for kept, space in (*SPACES, FAST) for inverse in (False, True)],
    "pointwise": [((normal(2, 3, 4), normal(5, 3)), {}), ((normal(2, 3, 4), normal(5, 3), normal(5, 1)), {}),
                  ((normal(2, 3, 4), normal(5, 3), normal(5, 1), normal(2, 5, 4)), {}), ((waves(2, 3, 4), waves(5, 3), waves(5, 1)), {})],
    "point_layer": [
        ((normal(2, 3, 8), normal(4, 3), normal(4, 1)), {"has": ("bias",), "activation": "gelu", "space": (2, 4)}),
        ((normal(2, 3, 8), normal(4, 3), normal(4), waves(2, 2, 2, 4)), {"has": ("bias", "modes"), "activation": "silu", "space": (2, 4)}),
        ((normal(2, 3, 5), normal(4, 3), normal(4), normal(4, 1), normal(2, 4, 5), normal(2, 4, 5)),
         {"has": ("bias", "gate", "x", "added"), "activation": "tanh", "space": (5,)}),
        ((normal(2, 3, 5), normal(4, 3), normal(4)), {"has": ("bias",), "activation": "none", "space": (5,)}),
    ],
    "pointwise_network": [(NETWORK, {"plan": LINES}), ((normal(1, 2, 1, 5), normal(2, 2), normal(2)), {"plan": ALONE}),
                          ((normal(1, 2, 1, 5), normal(3, 2), normal(3), normal(1, 3)), {"plan": ((("bias",), "none"), ((), "none"))})],
}
