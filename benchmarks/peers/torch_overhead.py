"""PyTorch's worker for the overhead cases: eager."""

from collections.abc import Callable

import numpy as np
import torch
from overhead_cases import FACTOR, Case


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "torch.fft" if case.shape else "eager"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    if case.shape:
        transform = {"fft": torch.fft.fft, "fft2": torch.fft.fft2, "rfft2": torch.fft.rfft2}[case.kind]
        signal = torch.from_numpy(case.signal())

        def transforms() -> np.ndarray:
            for _ in range(case.loops):
                result = transform(signal)
            return result.numpy()

        return transforms
    x, w, b = (torch.tensor(value, requires_grad=True) for value in case.vectors())

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
