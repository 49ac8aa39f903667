"""neuraloperator's worker for its small Darcy example: the settings of its example plot_FNO_darcy.py, its FNO, AdamW and H1Loss."""

import warnings
from collections.abc import Callable
from importlib.metadata import version as version_of

import numpy as np
import torch
from darcy_small_cases import Case

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from neuralop import H1Loss
    from neuralop.models import FNO
    from neuralop.training import AdamW

BATCH = 32


def version() -> str:
    return version_of("neuraloperator")


def note(case: Case) -> str:
    return "models.FNO, H1Loss, training.AdamW 8e-3, CosineAnnealingLR(T_max=30), batch 32, as its example; batches without its DataLoader"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    x, y, tested, truth = case.data()
    mean, deviation = float(y.mean()), float(y.std())
    inputs, targets = torch.from_numpy(x), torch.from_numpy((y - mean) / deviation)
    loss = H1Loss(d=2)
    now: dict[str, object] = {}

    def begin(seed: int) -> None:
        torch.manual_seed(seed)
        model = FNO(n_modes=case.modes, in_channels=1, out_channels=1, hidden_channels=case.width, n_layers=case.layers,
                    projection_channel_ratio=2)
        optimiser = AdamW(model.parameters(), lr=8e-3, weight_decay=1e-4)
        now.update(model=model, optimiser=optimiser, schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=2 * case.epochs))

    def epoch(seed: int, number: int) -> None:
        model, optimiser = now["model"], now["optimiser"]
        for places in case.order(seed, number, BATCH):
            optimiser.zero_grad()
            loss(model(inputs[places]), targets[places]).backward()
            optimiser.step()
        now["schedule"].step()

    def answer() -> np.ndarray:
        with torch.no_grad():
            return now["model"](torch.from_numpy(tested)).numpy() * deviation + mean

    return case.turns("neuraloperator", begin, epoch, answer, truth)
