"""deepwave's worker for the inversion: one gradient of all shots, and, run as a script, a well-tuned inversion with torch's L-BFGS.

python peers/deepwave_fwi.py SECONDS THREADS: JSON lines {"seconds", "error"}; the clock runs while models are updated. The method is that
of fwi_marmousi's Hyperion run with torch's means: half-grid stages at 2.5 and 4 Hz and at all frequencies, with the data corrected by
(coarse - fine prediction) of the stage's first model; then the full grid with rotating batches of 8 shots; steps weighted by depth.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import deepwave
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fwi_cases import FULL, Case

EVERY = 10  # steps of the wavefield between those that the gradient keeps; the default, 1, is slower and takes 7 GB


def version() -> str:
    return deepwave.__version__


def note(case: Case) -> str:
    return f"PML {case.width}, history of every {EVERY}th step, 8 shots at once"


def solve(case: Case, model, wavelet, shots, factor=1, every=EVERY):
    """Return gathers (shots, receivers, steps) on the grid and the step `factor` times coarser."""
    spacing, step = factor * case.spacing, factor * case.step
    # Its source term has the opposite sign and no cell area.
    amplitudes = torch.from_numpy(-wavelet / spacing**2).broadcast_to(len(shots), 1, len(wavelet)).contiguous()
    sources, receivers = (torch.from_numpy(nodes[shots]) // factor for nodes in (case.sources(), case.receivers()[:, ::factor]))
    return deepwave.scalar(
        model, spacing, step, source_amplitudes=amplitudes, source_locations=sources, receiver_locations=receivers, accuracy=case.order,
        pml_width=case.width // factor, pml_freq=case.frequency, max_vel=case.bounds[1], model_gradient_sampling_interval=every,
    )[-1]


def batches(shots, size=8):
    return [shots[i : i + size] for i in range(0, len(shots), size)]


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    shots, wavelet = np.arange(case.shots), case.wavelet()
    observed = {part[0]: solve(case, torch.from_numpy(case.true), wavelet, part) for part in batches(shots)}

    def gradient():
        model = torch.from_numpy(case.start).clone().requires_grad_()
        for part in batches(shots):
            (0.5 * (solve(case, model, wavelet, part) - observed[part[0]]).square().sum()).backward()
        return model.grad.numpy()

    return gradient


def low_pass(samples, step, frequency):
    """Return samples under a Gaussian low-pass (half amplitude at `frequency`), 0.2 s of silence before them."""
    if frequency is None:
        return samples
    samples = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(round(0.2 / step), 0)])
    count = 2 * samples.shape[-1]
    response = 0.5 ** (np.fft.rfftfreq(count, step) / frequency) ** 2
    filtered = np.fft.irfft(np.fft.rfft(samples, count) * response, count)[..., : samples.shape[-1] - round(0.3 / step)]
    return filtered.astype(np.float32)


class Inversion:
    """The model, the clock, and the stages."""

    def __init__(self, case: Case):
        self.case, self.model, self.began = case, case.start.copy(), None
        self.shots = np.arange(case.shots)
        self.data = self.predict(case.true, case.wavelet())
        depth = np.maximum(np.arange(case.shape[0]) - case.water + 1.0, 0.0)[:, None]
        self.weight = (depth / depth.max() * np.ones(case.shape)).astype(np.float32)  # zero in the water

    def predict(self, model, wavelet, factor=1):
        with torch.no_grad():
            return np.concatenate([solve(self.case, torch.from_numpy(model), wavelet, p, factor).numpy() for p in batches(self.shots)])

    def stage(self, frequency, factor, iterations, batch=None):
        case, wavelet = self.case, low_pass(self.case.wavelet(), self.case.step, frequency)
        observed = low_pass(self.data[:, ::factor], case.step, frequency)[..., ::factor]
        base = np.ascontiguousarray(self.model[::factor, ::factor])
        if factor > 1:
            observed = observed + self.predict(base, wavelet[::factor], factor) - self.predict(self.model, wavelet)[:, ::factor, ::factor]
        observed, first = torch.from_numpy(np.ascontiguousarray(observed)), self.model
        weight, start = torch.from_numpy(np.ascontiguousarray(self.weight[::factor, ::factor])), torch.from_numpy(base)
        change = torch.zeros_like(start, requires_grad=True)
        order, self.unit = [], 0.0  # unit: of `change` [m/s], once known

        def speed():
            return (start + (self.unit or 1.0) * weight * change).clamp(*case.bounds)

        def fine():
            nodes = tuple((n - 1) * factor + 1 for n in start.shape)  # of the fine grid that the coarse nodes span
            change = (speed().detach() - start)[None, None]
            step = torch.nn.functional.interpolate(change, size=nodes, mode="bicubic", align_corners=True)[0, 0].numpy()
            step = np.pad(step, [(0, n - m) for n, m in zip(case.shape, nodes, strict=True)], mode="edge")
            return np.where(self.weight > 0, np.clip(first + step, *case.bounds), first).astype(np.float32)

        def evaluate(chosen):
            change.grad, total = None, 0.0
            for part in batches(chosen):
                gathers = solve(case, speed(), np.ascontiguousarray(wavelet[::factor]), part, factor, max(1, EVERY // factor))
                misfit = 1e6 * (gathers - observed[part]).square().sum()  # large, so that torch's first step is gradient / |gradient|_1
                misfit.backward()
                total += misfit.item()
            if self.unit:
                print(json.dumps({"seconds": time.perf_counter() - self.began, "error": case.error(fine())}), flush=True)
            return torch.tensor(total)

        for _ in range(iterations if batch else 1):
            order = order or list(np.random.default_rng(0).permutation(self.shots))
            chosen, order = (np.sort(order[:batch]), order[batch:]) if batch else (self.shots, order)
            if not self.unit:  # the largest change of torch's first step is to be 50 m/s
                evaluate(chosen)
                self.unit = 50.0 * (change.grad.abs().sum() / (weight * change.grad).abs().max()).item()
            steps = 5 if batch else iterations
            optimizer = torch.optim.LBFGS([change], lr=1.0, max_iter=steps, history_size=10, line_search_fn="strong_wolfe")
            optimizer.step(functools.partial(evaluate, chosen))
        self.model = fine()


def main(seconds: float, threads: int) -> None:
    torch.set_num_threads(threads)
    inversion = Inversion(FULL[0])
    inversion.began = time.perf_counter()
    for frequency, factor, iterations, batch in ((2.5, 2, 10, None), (4.0, 2, 10, None), (None, 2, 20, None), (None, 1, 1000, 8)):
        inversion.stage(frequency, factor, iterations, batch)
        if time.perf_counter() - inversion.began > seconds:
            break


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
