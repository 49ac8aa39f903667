"""What a gradient costs under each storage, in time and memory: one process each, interleaved. Peak: of the process, Python included.

    python benchmarks/storages.py                                                (2-D: 1000x1000, 500 steps)
    python benchmarks/storages.py --case 3d --repeats 5                          (3-D: 128x128x128, 100 steps)
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time

import numpy as np
import wave_cases
import worker

CASES = {
    "2d": wave_cases.Case("acoustic_2d_gradient", (1000, 1000), steps=500, gradient=True),
    "3d": wave_cases.Case("acoustic_3d_gradient", (128, 128, 128), steps=100, gradient=True, step=8e-4, frequency=15.0),
    "small": wave_cases.Case("small_gradient", (200, 200), steps=200, gradient=True),
}


def storages(case):
    from hyperion import pde

    megabytes = {"2d": (60, 120, 200), "3d": (150, 300), "small": (2, 5)}[case]
    return {
        "EverySteps()": pde.EverySteps(),
        "Thinned()": pde.Thinned(),
        "Thinned(bits=16)": pde.Thinned(bits=16),
        "Thinned(bits=8)": pde.Thinned(bits=8),
        **{f"Checkpoints({n} MB)": pde.Checkpoints(n * 10**6) for n in megabytes},
        "BoundaryRing()": pde.BoundaryRing(),
        "OnDisk()": pde.OnDisk(),
        "OnDisk(Thinned())": pde.OnDisk(pde.Thinned()),
    }


class Run:
    """A gradient in a process of its own."""

    def __init__(self, name, case, threads):
        self.name, self.times, self.peak, self.result = name, [], 0.0, None
        self._pipe, other = multiprocessing.Pipe()
        multiprocessing.Process(target=serve, args=(case, name, threads, other), daemon=True).start()

    def again(self):
        self._pipe.send("run")
        seconds, self.peak, self.result = self._pipe.recv()
        self.times.append(seconds)


def serve(case, storage, threads, pipe):
    """Answer each message with the seconds of a gradient, the process' high-water mark [MB], and the gradient."""
    import hyperion as hp
    from hyperion import pde

    c, kept = CASES[case], storages(case)[storage]
    grid = pde.Grid(c.shape, (c.spacing,) * c.ndim)
    wave = pde.Solver(pde.Acoustic(), grid, order=c.order, boundary=pde.CPML(wave_cases.WIDTH), threads=threads, storage=kept)
    speed, wavelet = c.speed(), pde.Wavelet(c.wavelet(), c.step)
    survey = pde.Survey(c.sources() * c.spacing, c.receivers() * c.spacing, wavelet)
    while pipe.recv():
        start = time.perf_counter()
        gradient = hp.value_and_grad(lambda c: 0.5 * hp.sum(wave.solve(survey, speed=c) ** 2))(speed)[1].numpy()
        pipe.send((time.perf_counter() - start, worker.memory()[1], gradient))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--case", choices=CASES, default="2d")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--only", nargs="*", help="names of storages")
    chosen = options.parse_args()
    runs = [Run(n, chosen.case, chosen.threads) for n in storages(chosen.case) if not chosen.only or n in chosen.only]
    for run in runs:
        run.again()
    for run in runs:
        run.times.clear()
    for _ in range(chosen.repeats):
        for run in runs:
            run.again()
    exact = next((r.result for r in runs if r.name == "EverySteps()"), runs[0].result).astype(np.float64)
    print(f"{'storage':24} {'median s':>9} {'best s':>8} {'peak MB':>8}   error")
    for run in runs:
        error = np.linalg.norm(run.result - exact) / np.linalg.norm(exact)
        print(f"{run.name:24} {statistics.median(run.times):9.3f} {min(run.times):8.3f} {run.peak:8.0f}   {error:.1e}")
    return 0


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main())
