"""Hyperion's worker for the Fourier neural operators."""

from collections.abc import Callable

import numpy as np
from operators_cases import Case

import hyperion
from hyperion import nn, operators, optim


def version() -> str:
    return hyperion.__version__


def note(case: Case) -> str:
    return "operators.FNO, nn.relative_l2, optim.Adam"


def trainer(case: Case, device: str) -> Callable[[], hyperion.Tensor]:
    """Return a function that makes a step on a device and returns the prediction."""
    model = operators.FNO(case.modes, case.width, case.layers, mlp=0.5 if case.mlp else None).to(device)
    model.load_state_dict(case.weights())
    x, y = (hyperion.asarray(a, device=device) for a in case.data())
    optimiser = optim.Adam(model.parameters(), lr=1e-3)

    def step() -> hyperion.Tensor:
        optimiser.zero_grad()
        out = model(x)
        nn.relative_l2(out, y).backward()
        optimiser.step()
        return out.detach()

    return step


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    step = trainer(case, "cpu")
    return lambda: step().numpy()
