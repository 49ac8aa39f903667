"""Hyperion's worker for the overhead cases: the public API, as a user writes it."""

from collections.abc import Callable

import numpy as np
from overhead_cases import FACTOR, Case

import hyperion as hp


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return f"hp.fft, {hp.config.threads()} thread(s)" if case.shape else "eager; graph freed by backward"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    if case.shape:
        transform = {"fft": hp.fft.fft, "fft2": hp.fft.fftn, "rfft2": hp.fft.rfftn}[case.kind]
        options = {} if case.kind == "fft" else {"axes": (-2, -1)}
        signal = hp.asarray(case.signal())

        def transforms() -> np.ndarray:
            for _ in range(case.loops):
                result = transform(signal, **options)
            return result.numpy()

        return transforms
    x, w, b = (hp.asarray(value, requires_grad=True) for value in case.vectors())

    def add() -> np.ndarray:
        for _ in range(case.loops):
            z = x + w
        return z.detach().numpy()

    def add_number() -> np.ndarray:
        for _ in range(case.loops):
            z = x + 1.5
        return z.detach().numpy()

    def backward() -> np.ndarray:
        for _ in range(case.loops):
            x.grad = w.grad = b.grad = None
            y = x * w + b
            y.sum().backward()
        return w.grad.numpy()

    def chain() -> np.ndarray:
        for _ in range(case.loops):
            x.grad = None
            y = x
            for _ in range(case.length // 2):
                y = y * factor + shift
            y.sum().backward()
        return x.grad.numpy()

    factor, shift = w.detach() * 0.0 + FACTOR, b.detach() * 0.001
    return {"add": add, "add_number": add_number, "backward": backward, "chain": chain}[case.kind]
