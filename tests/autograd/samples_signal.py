"""Samples of the Fourier transforms, convolutions, windows and resampling."""

from typing import Any

import numpy as np

rng = np.random.default_rng(4)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def waves(*shape: int) -> Any:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def distinct(*shape: int) -> Any:
    """Values at least 0.1 apart, so that no difference changes which is the largest."""
    return 0.1 * rng.permutation(int(np.prod(shape))).reshape(shape)


def places(stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


NORMS = ("backward", "ortho", "forward")
ROUTES = {      # each way a convolution is computed: strides, groups, plain products, channels by themselves
    "strided": ((2, 4, 6), (6, 2, 3), places((2,), ((1, 2),), (1,), 2), (4,)),
    "dilated": ((1, 2, 6), (3, 2, 2), places((1,), ((1, 0),), (2,), 1), (5,)),
    "wide": ((1, 1, 4), (4, 1, 2), places((1,), ((0, 0),), (1,), 1), (3,)),
    "signal": ((1, 1, 5), (1, 1, 3), places((1,), ((1, 2),), (1,), 1), (6,)),
    "plane": ((1, 2, 4, 3), (2, 2, 2, 3), places((1, 2), ((1, 0), (1, 1)), (1, 1), 1), (4, 2)),
    "point": ((2, 2, 3), (4, 1, 1), places((1,), ((0, 0),), (1,), 2), (3,)),
    "channels": ((2, 3, 5), (3, 1, 2), places((1,), ((1, 0),), (2,), 3), (4,)),
    "multiple": ((2, 2, 5), (4, 1, 2), places((2,), ((1, 0),), (1,), 2), (3,)),
}

CONVOLUTIONS: dict[str, list[Any]] = {"conv": [], "conv_input": [], "conv_weight": []}
for name, (x, w, where, count) in ROUTES.items():
    g = (x[0], w[0], *count)
    make = waves if name in ("dilated", "signal") else normal
    CONVOLUTIONS["conv"].append(((make(*x), make(*w)), where))
    CONVOLUTIONS["conv_input"].append(((make(*g), make(*w)), {"size": x[2:], **where}))
    CONVOLUTIONS["conv_weight"].append(((make(*x), make(*g)), {"kernel": w[2:], **where}))

WINDOW: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 2)}
RULES = [
    ("reflect", 2, 3), ("symmetric", 5, 1), ("wrap", 2, 6), ("adaptive", 3), ("adaptive", 7), ("window", 3, 2, 1, 1, 3, 1),
    ("window", 2, 1, 0, 2, 3, 0), ("nearest", 3, 5 / 3, False), ("linear", 8, 5 / 8, False), ("linear", 2, 5 / 2, True),
    ("cubic", 7, 5 / 7, False),
]
POOLS = [(("window", 3, 2, 1, 1, 3, 0),), (("window", 2, 2, 0, 1, 3, 0), ("adaptive", 2))]

SAMPLES: dict[str, list[Any]] = {
    **CONVOLUTIONS,
    "fft": [((waves(2, 5),), {"axes": (1,), "norm": norm, "inverse": inverse}) for norm in NORMS for inverse in (False, True)]
    + [((waves(3, 2, 4),), {"axes": (2, 0), "norm": "backward", "inverse": False})],
    "rfft": [((normal(2, n),), {"axes": (1,), "norm": norm, "transposed": turned})
             for n in (4, 5) for norm in NORMS for turned in (False, True)]
    + [((normal(3, 2, 4),), {"axes": (2, 0), "norm": "ortho", "transposed": False})],
    "irfft": [((waves(2, 3),), {"axes": (1,), "norm": norm, "n": n, "transposed": turned})
              for n in (4, 5) for norm in NORMS for turned in (False, True)]
    + [((waves(3, 2, 4),), {"axes": (2, 0), "norm": "ortho", "n": 4, "transposed": False})],
    "dct": [((normal(2, 4),), {"axis": 1, "kind": kind, "variant": variant, "inverse": inverse})
            for kind in ("dct", "dst") for variant in (1, 2, 3, 4) for inverse in (False, True)],
    "unfold": [((normal(2, 2, 4, 5),), WINDOW),
               ((waves(1, 1, 4),), {"kernel": (3,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)})],
    "fold": [((normal(2, 8, 8),), {"size": (4, 5), **WINDOW})],
    "resample": [((normal(2, 5, 2),), {"axis": 1, "rule": rule, "n": 5, "transposed": False}) for rule in RULES]
    + [((normal(8, 2),), {"axis": 0, "rule": ("linear", 8, 5 / 8, False), "n": 5, "transposed": True}),
       ((waves(2, 10),), {"axis": 1, "rule": ("reflect", 2, 3), "n": 5, "transposed": True})],
    "max_pool_places": [((distinct(2, 5),), {"rules": POOLS[0]}), ((distinct(1, 2, 6, 3),), {"rules": POOLS[1]})],
}
