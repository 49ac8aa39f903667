"""neuraloperator's worker for the Fourier neural operators: its own model, loss and Adam of PyTorch."""

from collections.abc import Callable
from importlib.metadata import version as version_of

import numpy as np
import torch
from neuralop.models import FNO
from operators_cases import Case


def version() -> str:
    return version_of("neuraloperator")


def note(case: Case) -> str:
    odd = any(n % 2 for n in case.space[:-1])
    return "models.FNO" + ("; puts frequencies back one place off where the size is odd, so its result differs" if odd else "")


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    model = FNO(n_modes=case.modes, in_channels=1, out_channels=1, hidden_channels=case.width, n_layers=case.layers)
    given = case.weights()
    names = {"spectral": "convs.{}.{}", "skip": "fno_skips.{}.conv.{}", "mlp": "channel_mlp.{}.{}", "gate": "channel_mlp_skips.{}.weight"}
    own = {}
    for name, value in given.items():
        name = name.replace("first", "fcs.0").replace("second", "fcs.1")
        if name.startswith("blocks"):
            _, i, what, *rest = name.split(".")
            name = "fno_blocks." + names[what].format(i, ".".join(rest))
            if what == "spectral" and rest == ["weight"]:
                name, value = f"{name}.tensor", np.moveaxis(value, (-2, -1), (0, 1))
        own[name] = torch.tensor(np.ascontiguousarray(value))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(own.pop(name).reshape(parameter.shape))
    x, y = (torch.from_numpy(a) for a in case.data())
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> np.ndarray:
        optimiser.zero_grad()
        out = model(x)
        loss = (torch.linalg.vector_norm((out - y).flatten(1), dim=1) / torch.linalg.vector_norm(y.flatten(1), dim=1)).mean()
        loss.backward()
        optimiser.step()
        return out.detach().numpy()

    return step
