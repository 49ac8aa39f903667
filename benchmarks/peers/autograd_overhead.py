"""HIPS autograd's worker for the overhead cases."""

import importlib.metadata
from collections.abc import Callable

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp
from overhead_cases import FACTOR, Case


def version() -> str:
    return importlib.metadata.version("autograd")


def note(case: Case) -> str:
    return "recorded inside make_vjp" if case.kind.startswith("add") else "autograd.grad"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    x, w, b = case.vectors()
    factor, shift = w * 0.0 + np.float32(FACTOR), b * np.float32(0.001)

    def adds(other):
        def repeated(x):
            for _ in range(case.loops):
                z = x + other
            return z

        return lambda: make_vjp(repeated, x)[1]

    def line(x, w, b):
        return anp.sum(x * w + b)

    def walk(x):
        y = x
        for _ in range(case.length // 2):
            y = y * factor + shift
        return anp.sum(y)

    line_gradient, walk_gradient = autograd.grad(line, argnum=(0, 1, 2)), autograd.grad(walk)

    def backward() -> np.ndarray:
        for _ in range(case.loops):
            gradients = line_gradient(x, w, b)
        return gradients[1]

    def chain() -> np.ndarray:
        for _ in range(case.loops):
            result = walk_gradient(x)
        return result

    return {"add": adds(w), "add_number": adds(1.5), "backward": backward, "chain": chain}[case.kind]
