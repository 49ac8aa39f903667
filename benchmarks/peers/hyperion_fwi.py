"""Hyperion's worker for the inversion: one gradient of all shots, and, run as a script, the whole inversion.

python peers/hyperion_fwi.py SECONDS: one JSON line for each iteration, {"seconds", "error"}; the clock runs while models are updated.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fwi_cases import FULL, Case

import hyperion as hp
from hyperion import inversion, pde


def version() -> str:
    return hp.__version__


def note(case: Case) -> str:
    return f"CPML {case.width}, thinned wavefield history"


def problem(case: Case):
    """Return (solver of a grid, grid, survey)."""
    grid = pde.Grid(case.shape, case.spacing)

    def solver(grid):
        ratio = grid.spacing[0] / case.spacing
        layer, stepping = pde.CPML(width=round(case.width / ratio)), pde.Leapfrog(max_speed=case.bounds[1])
        return pde.Solver(pde.Acoustic(), grid, order=case.order if ratio == 1 else 12, boundary=layer, stepping=stepping)

    wavelet = pde.Wavelet(case.wavelet(), case.step)
    return solver, grid, pde.Survey(case.sources() * case.spacing, case.receivers() * case.spacing, wavelet)


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    solver, grid, survey = problem(case)
    wave = solver(grid)
    parts = [survey.subset([shot]) for shot in range(survey.shots)]
    observed = [wave.solve(part, speed=case.true).numpy() for part in parts]

    def misfit(part, data, speed):
        return inversion.l2(wave.solve(part, speed=speed), data)

    def gradient():
        total = np.zeros(case.shape, np.float32)
        for part, data in zip(parts, observed, strict=True):
            total += np.asarray(hp.value_and_grad(functools.partial(misfit, part, data))(case.start)[1])
        return total

    return gradient


def main(seconds: float) -> None:
    case = FULL[0]
    solver, grid, survey = problem(case)
    wave = solver(grid)
    observed = np.concatenate([wave.solve(survey.subset([shot]), speed=case.true).numpy() for shot in range(survey.shots)])
    water = np.zeros(case.shape, bool)
    water[: case.water] = True
    fwi = inversion.FWI(solver, grid, survey, observed, case.start, case.bounds, water)
    stage = functools.partial(inversion.Stage, coarsen=2, receivers=2)
    low, high = inversion.Gaussian(2.5), inversion.Gaussian(4.0)
    stages = [stage(low, iterations=8), stage(high, iterations=8), stage(iterations=20), inversion.Stage(iterations=1000)]
    for step in fwi.run(stages):
        print(json.dumps({"seconds": step.seconds, "error": case.error(fwi.model)}), flush=True)
        if step.seconds > seconds:
            break


if __name__ == "__main__":
    main(float(sys.argv[1]))
