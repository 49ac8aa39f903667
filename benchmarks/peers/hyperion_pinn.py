"""Hyperion's worker for the physics-informed networks."""

from collections.abc import Callable

import numpy as np
from pinn_cases import VISCOSITY, Case, result

import hyperion as hp
from hyperion import nn, optim


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return "nn.MLP, hyperion.derivatives, backward" + (", optim.Adam" if case.step else "")


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    network = nn.MLP([2, *[case.width] * case.layers, 1], activation=hp.tanh)
    network.load_state_dict({f"layers.{i}.{name}": value for i, pair in enumerate(case.weights())
                             for name, value in zip(("weight", "bias"), pair, strict=True)})
    points, parameters = hp.asarray(case.points()), list(network.parameters())
    optimiser = optim.Adam(parameters, lr=1e-3)

    def step() -> np.ndarray:
        optimiser.zero_grad()
        d = hp.derivatives(network, points, [(0, 0), (1, 0), (2, 0), (0, 1)])
        residual = d[0, 1] + d[0, 0] * d[1, 0] - VISCOSITY * d[2, 0]
        loss = hp.mean(residual * residual)
        loss.backward()
        if case.step:
            optimiser.step()
        return result(loss.item(), [p.grad.numpy() for p in parameters])

    return step
