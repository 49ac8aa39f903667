"""DeepXDE's worker for the physics-informed networks: its own PDE data, network and model on PyTorch, without boundary conditions."""

import os
from collections.abc import Callable

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde
import numpy as np
import torch
from pinn_cases import VISCOSITY, Case, result


def version() -> str:
    return dde.__version__


def note(case: Case) -> str:
    how = "Model.train_step with Adam" if case.step else "Model.outputs_losses_train, backward"
    return f"PyTorch backend; dde.grad (reverse, its default), {how}"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)

    def burgers(x, u):
        u_x, u_t = (dde.grad.jacobian(u, x, i=0, j=j) for j in range(2))
        return u_t + u * u_x - VISCOSITY * dde.grad.hessian(u, x, i=0, j=0)

    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    data = dde.data.TimePDE(domain, burgers, [], num_domain=0, anchors=case.points())
    network = dde.nn.FNN([2, *[case.width] * case.layers, 1], "tanh", "Glorot normal")
    model = dde.Model(data, network)
    model.compile("adam", lr=1e-3, verbose=0)
    for layer, (weight, bias) in zip(network.linears, case.weights(), strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    losses, optimise = [], model.opt.step
    model.opt.step = lambda closure: losses.append(optimise(closure))       # train_step itself keeps its loss to itself
    points = data.train_x.astype(np.float32)
    if len(points) != case.count:
        raise ValueError(f"DeepXDE trains on {len(points)} points, the case has {case.count}")

    def step() -> np.ndarray:
        if case.step:
            model.train_step(points, None, None)
            loss = losses.pop().item()
        else:
            network.zero_grad()
            total = torch.sum(model.outputs_losses_train(points, None, None)[1])
            total.backward()
            loss = total.item()
        return result(loss, [p.grad.numpy() for p in network.parameters()])

    return step
