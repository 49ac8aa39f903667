"""Hyperion's worker for the row kernels: the public API, as a user writes it."""

from collections.abc import Callable

import numpy as np
from rows_cases import Case

import hyperion as hp


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return "eager; memory of outputs is used again"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    given = {name: hp.asarray(array, copy=True) for name, array in case.arrays().items()}
    leaves = [hp.asarray(given[name], copy=True, requires_grad=case.backward) for name in ("x", "weight", "bias")]
    classes, cotangent = given["classes"], given["cotangent"]
    operation = {
        "softmax": lambda x, w, b: hp.softmax(x), "log_softmax": lambda x, w, b: hp.log_softmax(x), "layer_norm": hp.layer_norm,
        "rms_norm": lambda x, w, b: hp.rms_norm(x, w), "gelu": lambda x, w, b: hp.gelu(x), "silu": lambda x, w, b: hp.silu(x),
        "gelu_tanh": lambda x, w, b: hp.gelu(x, approximate=True),
        "cross_entropy": lambda x, w, b: hp.softmax_cross_entropy(x, classes)[0].mean(),
    }[case.operation]

    def call() -> np.ndarray:
        for _ in range(case.loops):
            for leaf in leaves if case.backward else ():
                leaf.grad = None
            y = operation(*leaves)
            if case.backward:
                y.backward() if y.ndim == 0 else y.backward(gradient=cotangent)
        return (leaves[0].grad if case.backward else y).numpy()

    return call
