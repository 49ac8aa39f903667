"""PyTorch's worker for the physics-informed networks, derivatives carried forward layer by layer as an expert writes it by hand."""

from collections.abc import Callable

import numpy as np
import torch
from peers.torch_pinn import network
from pinn_cases import VISCOSITY, Case, result


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "eager; u, u_x, u_t, u_xx carried forward by hand" + (", torch.optim.Adam" if case.step else "")


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    model = network(case)
    points = torch.tensor(case.points())
    axes = torch.eye(2).expand(case.count, 2, 2).unbind(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> np.ndarray:
        optimiser.zero_grad()
        u, (u_x, u_t), u_xx = points, axes, torch.zeros_like(points)
        for part in model:
            if isinstance(part, torch.nn.Linear):
                u, u_x, u_t, u_xx = part(u), u_x @ part.weight.T, u_t @ part.weight.T, u_xx @ part.weight.T
            else:
                u = torch.tanh(u)
                slope = 1.0 - u * u
                u_xx = slope * (u_xx - 2.0 * u * u_x * u_x)
                u_x, u_t = slope * u_x, slope * u_t
        residual = u_t + u * u_x - VISCOSITY * u_xx
        loss = (residual * residual).mean()
        loss.backward()
        if case.step:
            optimiser.step()
        return result(loss.item(), [p.grad.numpy() for p in model.parameters()])

    return step
