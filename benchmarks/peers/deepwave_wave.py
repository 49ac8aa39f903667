"""deepwave's worker: `deepwave.scalar`, PML of the same width, its default storage of the wavefield (every step)."""

from collections.abc import Callable

import deepwave
import numpy as np
import torch
from wave_cases import ORDER, WIDTH, Case


def version() -> str:
    return deepwave.__version__


def note(case: Case) -> str:
    return f"CPML {WIDTH}{', history of every step' if case.gradient else ''}"


def prepare(case: Case, threads: int, every: int = 1) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    speed = case.speed()
    # Its source term has the opposite sign and no cell volume.
    amplitudes = torch.from_numpy(-case.wavelet() / case.spacing**case.ndim).broadcast_to(case.shots, 1, case.steps).contiguous()
    sources, receivers = torch.from_numpy(case.sources()), torch.from_numpy(case.receivers())

    def solve(model):
        return deepwave.scalar(
            model, case.spacing, case.step, source_amplitudes=amplitudes, source_locations=sources, receiver_locations=receivers,
            accuracy=ORDER, pml_width=WIDTH, pml_freq=case.frequency, model_gradient_sampling_interval=every,
        )[-1]

    def forward():
        return solve(torch.from_numpy(speed)).numpy()

    def gradient():
        model = torch.from_numpy(speed).clone().requires_grad_()
        (0.5 * solve(model).square().sum()).backward()
        return model.grad.numpy()

    return gradient if case.gradient else forward
