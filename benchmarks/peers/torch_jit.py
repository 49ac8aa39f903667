"""PyTorch's worker for compiled programs: eager, the way most of its users run; for GPT and PINN the workers of those benchmarks."""

from collections.abc import Callable

import numpy as np
import torch
from jit_cases import FACTOR, RATE, Case
from peers import torch_gpt, torch_taylor_pinn
from torch.nn import functional as F


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "eager, hand-written Taylor mode" if case.kind == "pinn" else "eager"


def formula(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return torch.tanh(a * b + c) * a - b / (1.0 + c * c)


def moons(case: Case) -> Callable[[], np.ndarray]:
    points, labels, weights = case.moons()
    x, y = torch.from_numpy(points), torch.from_numpy(labels)
    layers = [torch.nn.Linear(w.shape[1], w.shape[0]) for w, _ in weights]
    for layer, (w, b) in zip(layers, weights, strict=True):
        layer.weight.data, layer.bias.data = torch.from_numpy(w), torch.from_numpy(b)
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def step() -> np.ndarray:
        for _ in range(case.loops):
            loss = F.relu(1.0 - y * model(x)).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return np.array([loss.item()])

    return step


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    if case.kind == "gpt":
        return torch_gpt.prepare(case.gpt, threads)
    if case.kind == "pinn":
        whole = torch_taylor_pinn.prepare(case.pinn, threads)
        return lambda: whole()[:1]
    if case.kind == "moons":
        return moons(case)
    leaves = [torch.from_numpy(array).requires_grad_(case.kind != "formula") for array in case.arrays()]

    def call() -> np.ndarray:
        for _ in range(case.loops):
            for leaf in leaves:
                leaf.grad = None
            if case.kind == "chain":
                out = leaves[0]
                for _ in range(100):
                    out = out * FACTOR
            else:
                out = F.gelu(leaves[0]) if case.kind == "gelu_gradient" else formula(*leaves)
            if case.kind != "formula":
                out.sum().backward()
        return (out if case.kind == "formula" else leaves[0].grad).numpy()

    return call
