"""PyTorch's worker for the Fourier neural operators: the formula written as its users write it, real FFTs and einsum, eager."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from operators_cases import Case
from torch.nn.functional import gelu


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "eager; rfftn, einsum over kept modes, irfftn, conv1d, torch.optim.Adam"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    step = trainer(case, "cpu")
    return lambda: step().numpy()


def trainer(case: Case, device: str) -> Callable[[], torch.Tensor]:
    """Return a function that makes a step on a device and returns the prediction."""
    weights = {name: torch.tensor(value, device=device, requires_grad=True) for name, value in case.weights().items()}
    for name, value in weights.items():
        if name.endswith("spectral.weight"):        # (inputs, outputs, *kept): the layout in which einsum is fastest here
            weights[name] = value.detach().movedim((-2, -1), (0, 1)).contiguous().requires_grad_()
    x, y = (torch.from_numpy(a).to(device) for a in case.data())
    optimiser = torch.optim.Adam(weights.values(), lr=1e-3)
    axes = tuple(range(2, 2 + len(case.space)))
    last = case.modes[-1] // 2 + 1
    # The kept frequencies lie at both ends of every axis but the last: places in the spectrum, and in the weights, where they rise.
    ends = [((slice(0, m // 2), slice(m // 2, None)), (slice(-(m // 2), None), slice(0, m // 2))) for m in case.modes[:-1]]
    corners = [tuple(zip(*chosen, strict=True)) or ((), ()) for chosen in itertools.product(*ends)]
    letters = "xyz"[:len(axes)]
    product = f"bi{letters},io{letters}->bo{letters}"
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) / n for n in case.space), indexing="ij")).to(device)
    grid = grid.expand(case.batch, -1, *case.space)

    def pointwise(name, x):
        bias = weights.get(f"{name}.bias")
        out = torch.nn.functional.conv1d(x.flatten(2), weights[f"{name}.weight"][..., None], None if bias is None else bias[:, 0])
        return out.unflatten(2, x.shape[2:])

    def mlp(name, x):
        return pointwise(f"{name}.second", gelu(pointwise(f"{name}.first", x)))

    def spectral(name, x):
        weight = weights[f"{name}.weight"]
        spectrum = torch.fft.rfftn(x, dim=axes)
        mixed = torch.zeros_like(spectrum)
        for there, here in corners:
            place = (slice(None), slice(None), *there, slice(0, last))
            mixed[place] = torch.einsum(product, spectrum[place], weight[(slice(None), slice(None), *here)])
        return torch.fft.irfftn(mixed, s=case.space, dim=axes) + weights[f"{name}.bias"]

    def model(x):
        x = mlp("lifting", torch.cat([x, grid], 1))
        for i in range(case.layers):
            last_one = i == case.layers - 1
            out = spectral(f"blocks.{i}.spectral", x) + pointwise(f"blocks.{i}.skip", x)
            if case.mlp:
                out = mlp(f"blocks.{i}.mlp", out if last_one else gelu(out)) + weights[f"blocks.{i}.gate"] * x
            x = out if last_one else gelu(out)
        return mlp("projection", x)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        out = model(x)
        loss = (torch.linalg.vector_norm((out - y).flatten(1), dim=1) / torch.linalg.vector_norm(y.flatten(1), dim=1)).mean()
        loss.backward()
        optimiser.step()
        return out.detach()

    return step
