"""deepwave's worker: `deepwave.scalar` and `deepwave.elastic`, PML of the same width, its default storage (every step)."""

from collections.abc import Callable

import deepwave
import numpy as np
import torch
from wave_cases import WIDTH, Case


def version() -> str:
    return deepwave.__version__


def note(case: Case) -> str:
    return f"CPML {WIDTH}{', history of every step' if case.gradient else ''}"


def device_mb() -> float:
    """Return the most that was taken of the device's memory [MB]."""
    return torch.cuda.max_memory_allocated() / 1e6


def prepare(case: Case, threads: int, every: int = 1) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    sources, receivers = torch.from_numpy(case.sources()), torch.from_numpy(case.receivers())
    # Neither divides its source by the cell's volume; the scalar source term has the opposite sign.
    sign = 1.0 if case.equation == "elastic" else -1.0
    amplitudes = torch.from_numpy(sign * case.wavelet() / case.spacing**case.ndim).broadcast_to(case.shots, 1, case.steps).contiguous()
    there = torch.device(case.device)
    sources, receivers, amplitudes = (x.to(there) for x in (sources, receivers, amplitudes))
    options = {"accuracy": case.order, "pml_width": WIDTH, "pml_freq": case.frequency, "model_gradient_sampling_interval": every}
    if case.equation == "elastic":
        models = [torch.from_numpy(m) for m in (case.speed(), case.s_speed(), case.density())]
    else:
        models = [torch.from_numpy(case.speed())]

    models = [m.to(there) for m in models]

    def solve(*models):
        if case.equation == "elastic":
            out = deepwave.elastic(
                *deepwave.common.vpvsrho_to_lambmubuoyancy(*models), case.spacing, case.step, source_amplitudes_pressure_rate=amplitudes,
                source_locations_pressure_rate=sources, receiver_locations_p=receivers, **options)
            return out.receiver_amplitudes_p
        return deepwave.scalar(
            *models, case.spacing, case.step, source_amplitudes=amplitudes, source_locations=sources, receiver_locations=receivers,
            **options)[-1]

    def forward():
        return solve(*models).cpu().numpy()

    def gradient():
        given = [m.clone().requires_grad_() for m in models]
        (0.5 * solve(*given).square().sum()).backward()
        return given[0].grad.cpu().numpy()

    return gradient if case.gradient else forward
