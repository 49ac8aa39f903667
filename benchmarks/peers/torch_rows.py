"""PyTorch's worker for the row kernels: eager."""

from collections.abc import Callable

import numpy as np
import torch
from rows_cases import Case
from torch.nn import functional as F


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "eager"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    given = {name: torch.from_numpy(array) for name, array in case.arrays().items()}
    leaves = [given[name].requires_grad_(case.backward) for name in ("x", "weight", "bias")]
    classes, cotangent, columns = given["classes"], given["cotangent"], case.shape[-1:]
    operation = {
        "softmax": lambda x, w, b: torch.softmax(x, -1), "log_softmax": lambda x, w, b: torch.log_softmax(x, -1),
        "layer_norm": lambda x, w, b: F.layer_norm(x, columns, w, b), "rms_norm": lambda x, w, b: F.rms_norm(x, columns, w, eps=1e-6),
        "gelu": lambda x, w, b: F.gelu(x), "gelu_tanh": lambda x, w, b: F.gelu(x, approximate="tanh"), "silu": lambda x, w, b: F.silu(x),
        "cross_entropy": lambda x, w, b: F.cross_entropy(x, classes),
    }[case.operation]

    def call() -> np.ndarray:
        for _ in range(case.loops):
            for leaf in leaves if case.backward else ():
                leaf.grad = None
            y = operation(*leaves)
            if case.backward:
                y.backward(None if y.ndim == 0 else cotangent)
        return (leaves[0].grad if case.backward else y).numpy()

    return call
