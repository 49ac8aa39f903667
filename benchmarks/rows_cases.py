"""The cases of `rows.py`, which all systems share. NumPy only: workers live in several environments."""

from dataclasses import dataclass, replace

import numpy as np

OPERATIONS = ("softmax", "log_softmax", "layer_norm", "rms_norm", "cross_entropy", "gelu", "gelu_tanh", "silu")


@dataclass(frozen=True)
class Case:
    """One operation on float32 rows.

    operation: of OPERATIONS.  backward: also its derivative with a given cotangent.  shape: (rows, columns).  loops: how often in one turn.
    """

    name: str
    operation: str
    backward: bool
    shape: tuple[int, int]
    loops: int = 1

    def arrays(self) -> dict[str, np.ndarray]:
        """Return x and cotangent (rows, columns), weight and bias (columns), classes (rows)."""
        numbers, (rows, columns) = np.random.default_rng(0), self.shape
        x, cotangent = (numbers.standard_normal((rows, columns), dtype=np.float32) for _ in range(2))
        weight, bias = (numbers.standard_normal(columns, dtype=np.float32) for _ in range(2))
        return {"x": x, "cotangent": cotangent, "weight": weight, "bias": bias, "classes": numbers.integers(0, columns, rows)}


# 10 million elements, 40 MB an array: memory and fresh pages decide. 98304: the activations of a small transformer.
SIZES = {"10M": ((9766, 1024), 1), "98k": ((768, 128), 50)}
FULL = tuple(
    Case(f"{operation}_{size}{'_backward' if backward else ''}", operation, backward, *SIZES[size])
    for size in SIZES for operation in OPERATIONS for backward in (False, True)
)
SMOKE = tuple(replace(case, shape=(80, 64), loops=1) for case in FULL if case.name.endswith(("10M", "10M_backward")))
