"""Samples of the primitives of `pde`, for the walk over the table: one tiny simulation with an absorbing layer, and its pullback."""

from typing import Any

import numpy as np

from hyperion import pde
from hyperion.autograd import Tensor
from hyperion.pde.simulation import Call

rng = np.random.default_rng(3)


def call() -> tuple[Call, list[np.ndarray]]:
    """Return a simulation as the primitives take it, and its inputs: kernel parameters, then source samples."""
    shape, spacing = (10, 12), (5.0, 6.0)
    storage, boundary = pde.EverySteps(), pde.CPML(width=3)
    solver = pde.Solver(pde.Acoustic(), pde.Grid(shape, spacing), order=2, boundary=boundary, storage=storage, threads=1)
    places = [rng.uniform(0.0, 1.0, (2, n, 2)) * solver.grid.extent for n in (1, 2)]
    survey = pde.Survey(*places, pde.Wavelet(rng.standard_normal((2, 1, 7)), 1e-3))
    speed = {"speed": Tensor(rng.uniform(1500.0, 2500.0, shape))}
    made = Call(solver, survey, speed, solver.plan(survey, **speed), None)
    return made, [x.numpy() for x in made.inputs()]


CALL, INPUTS = call()
GATHERS = rng.standard_normal((2, 2, 7))
SAMPLES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "simulate": [(tuple(INPUTS), {"call": CALL, "level": 0, "tape": None})],
    "simulate_pullback": [((*INPUTS, GATHERS), {"call": CALL, "level": 0, "tape": None, "images": True, "others": True})],
}
