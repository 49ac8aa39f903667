"""Samples of the Taylor coefficients of elementwise operations and of chains of layers."""

from hyperion.autograd import PRIMITIVES
from tests.autograd.samples import normal

TANH, PRODUCT = PRIMITIVES["tanh"], PRIMITIVES["multiply"]

SAMPLES = {
    "taylor_map": [
        ((normal(2, 3), normal(3, 2, 3)), {"op": TANH, "options": (), "orders": (2, 1), "depends": (True,)}),
        ((normal(2), normal(2), normal(1, 2)), {"op": PRODUCT, "options": (), "orders": (1,), "depends": (True, False)}),
    ],
    "taylor_chain": [
        ((normal(3, 2), normal(2, 3, 2), normal(3, 2), normal(3), normal(2, 3)),
         {"orders": (2,), "layers": ((True, (TANH, ())), (False, None))}),
    ],
}
