"""PyTorch's worker for the physics-informed networks: nested autograd.grad, as most of its users write it."""

from collections.abc import Callable

import numpy as np
import torch
from pinn_cases import VISCOSITY, Case, result
from torch.autograd import grad


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "eager; nested autograd.grad" + (", torch.optim.Adam" if case.step else "")


def network(case: Case) -> torch.nn.Sequential:
    """Return the network with the case's weights."""
    parts = []
    for weight, bias in case.weights():
        layer = torch.nn.Linear(*weight.shape[::-1])
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
        parts += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*parts[:-1])


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    model = network(case)
    points = torch.tensor(case.points(), requires_grad=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> np.ndarray:
        optimiser.zero_grad()
        u = model(points)
        slopes = grad(u, points, torch.ones_like(u), create_graph=True)[0]
        u_x, u_t = slopes[:, :1], slopes[:, 1:]
        u_xx = grad(u_x, points, torch.ones_like(u), create_graph=True)[0][:, :1]
        residual = u_t + u * u_x - VISCOSITY * u_xx
        loss = (residual * residual).mean()
        loss.backward(inputs=list(model.parameters()))
        if case.step:
            optimiser.step()
        return result(loss.item(), [p.grad.numpy() for p in model.parameters()])

    return step
