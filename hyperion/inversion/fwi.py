"""Full-waveform inversion in stages: from low frequencies on coarse grids to all frequencies on the fine one.

    fwi = FWI(lambda grid: pde.Solver(pde.Acoustic(), grid, boundary=pde.CPML(20), stepping=pde.Leapfrog(max_speed=5000.0)),
              grid, survey, observed, start, bounds=(1400.0, 5000.0), fixed=water)
    for progress in fwi.run([Stage(Gaussian(2.5), coarsen=2, iterations=8), Stage(iterations=20)]):
        print(progress)
    fwi.model
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from hyperion.errors import BoundaryError, HyperionError, InputError, ShapeError
from hyperion.gpu import device
from hyperion.inversion.batches import Batches
from hyperion.inversion.checks import is_whole, refuse_gathers, two_bounds
from hyperion.inversion.level import Level, Problem, Setup
from hyperion.inversion.stage import Stage
from hyperion.io.results import Axis, Results
from hyperion.pde import Grid, Survey

__all__ = ["FWI", "Progress"]

AXES = {1: ("depth",), 2: ("depth", "distance"), 3: ("depth", "crossline", "distance")}


@dataclass(frozen=True)
class Progress:
    """Where an inversion stands after an iteration.

    stage, iteration: counted from 1. misfit: relative to the energy of the stage's data, with the stage's penalty; by L-BFGS of the model
    after the iteration, by Adam of the model before it, where the gradient was taken. evaluations: gradients of one shot made in this
    stage. seconds: of updates since the inversion began. penalty: the part of the misfit that is the penalty, of the same model.
    """

    stage: int
    iteration: int
    misfit: float
    evaluations: int
    seconds: float
    penalty: float = 0.0


class FWI:
    """Full-waveform inversion of gathers for one parameter of a wave equation.

    solver: a function from a Grid to a Solver; it is called for the fine and for each coarser grid. State the largest speed in its
        stepping, or the time step, and with it the misfit, jumps when the model's maximum crosses a limit.
    grid: of the model. survey: geometry and wavelet. observed: (shots, receivers, steps), as `solve` returns them.
    start: the first model, shape of the grid, float32 or float64 (that is the precision of the run).
    bounds: (lower, upper) of the model, numbers. fixed: boolean array, True where the model stays as it is (water), or None.
    parameter: its name in the equation. group: shots simulated in one call; memory grows with it. seed: of the random batches.
    Attributes: model (fine grid, now), models (after each stage), log (a list of Progress), seconds (of updates).
    Raises: ShapeError, InputError, BoundaryError for data, models and geometry that disagree or cannot be.

    On a coarser grid, (coarse - fine prediction) of the stage's first model is added to the data: otherwise the coarse stage would fit
    its grid's error.
    """

    def __init__(
        self,
        solver: Callable[[Grid], Any],
        grid: Grid,
        survey: Survey,
        observed: np.ndarray,
        start: np.ndarray,
        bounds: tuple[float, float],
        fixed: np.ndarray | None = None,
        parameter: str = "speed",
        group: int = 1,
        seed: int = 0,
    ):
        observed, start = np.asarray(observed), np.asarray(start)
        fixed = np.zeros(grid.shape, bool) if fixed is None else np.asarray(fixed)
        self.problem = Problem(solver, grid, survey, observed, two_bounds(bounds, "FWI"), fixed, parameter, group)
        refuse_unfit(self.problem, start)
        self.seed = seed
        self.models: list[np.ndarray] = []
        self.log: list[Progress] = []
        self.seconds = 0.0
        self._base = start  # the fine model at the start of the stage
        self._iteration = 0  # made in this stage
        self._factor = 1  # coarsening of this stage
        self._current: np.ndarray | None = None  # the model of this stage on its own grid, None before its first iteration
        self._optimizer: dict[str, Any] = {}

    def __repr__(self) -> str:
        problem = self.problem
        return f"FWI of {problem.parameter}, {problem.grid}, {problem.survey.shots} shots, stage {len(self.models) + 1}"

    @property
    def model(self) -> np.ndarray:
        """The model as it is now, on the fine grid."""
        return self._base if self._current is None else self.problem.on_fine_grid(self._base, self._current, self._factor)

    def run(self, stages: Sequence[Stage]) -> Iterator[Progress]:
        """Return an iterator that makes the iterations of all stages; after load_state_dict, from where that state was taken.

        Raises: at once what `check` raises.
        """
        self.check(stages)
        return self._steps(stages)

    def check(self, stages: Sequence[Stage]) -> None:
        """Refuse stages that cannot be run, before more than two steps are simulated.

        Batches, grids, solvers, time steps, filters, smoothing and penalties are tried, these with the model as it is now.

        Raises: a HyperionError that names the stage, such as InputError for a batch larger than the survey.
        """
        if not stages:
            raise InputError("stages=[]: there is nothing to run; give at least one Stage")
        for number, stage in enumerate(stages, 1):
            if not isinstance(stage, Stage):
                raise InputError(f"stages: number {number} is a {type(stage).__name__}; give inversion.Stage values")
            try:
                Batches(self.problem.survey.shots, stage.batch, self.seed)
                Setup(self.problem, stage, self._base).try_out(self.problem.parameter, self._base)
            except HyperionError as error:
                way_out = "; or coarsen less" if isinstance(error, BoundaryError) and stage.coarsen > 1 else ""
                raise type(error)(f"stage {number} of {len(stages)} (coarsen={stage.coarsen}): {error}{way_out}") from error

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next iteration depends on, as a tree of arrays and numbers."""
        return {
            "base": self._base,
            "models": list(self.models),
            "iteration": self._iteration,
            "factor": self._factor,
            "current": self._current,
            "optimizer": self._optimizer,
            "seconds": self.seconds,
            "log": [list(astuple(progress)) for progress in self.log],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state of `state_dict`; `run` with the same stages then goes on from it.

        Raises: ShapeError if the state belongs to another grid.
        """
        if np.shape(state["base"]) != self.problem.grid.shape:
            raise ShapeError(
                f"state: holds a model of shape {np.shape(state['base'])}, the grid has {self.problem.grid.shape}; "
                "load the state of the same inversion"
            )
        self._base, self.models = state["base"], list(state["models"])
        self._iteration, self._factor = int(state["iteration"]), int(state["factor"])
        self._current, self._optimizer, self.seconds = state["current"], state["optimizer"], float(state["seconds"])
        self.log = [                                             # states from before there were penalties lack the last column
            Progress(int(stage), int(i), float(misfit), int(n), float(t), *(float(p) for p in penalty))
            for stage, i, misfit, n, t, *penalty in state["log"]
        ]

    def write(self, results: Results, models: Mapping[str, np.ndarray], unit: str = "m/s") -> None:
        """Write models by name and that after each stage, `models/stage-1`, ..., and the course, `iterations/...`, to a file of results."""
        grid = self.problem.grid
        axes = tuple(Axis(name, "m", step) for name, step in zip(AXES[grid.ndim], grid.spacing, strict=True))
        staged = {f"stage-{number}": model for number, model in enumerate(self.models, 1)}
        for name, model in {**models, **staged}.items():
            results.write(f"models/{name}", model, unit, axes)
        results.write("iterations/stage", [entry.stage for entry in self.log])
        results.write("iterations/misfit", [entry.misfit for entry in self.log], relative_to="energy of the data of the stage")
        results.write("iterations/seconds", [entry.seconds for entry in self.log], "s")

    def _steps(self, stages: Sequence[Stage]) -> Iterator[Progress]:
        while len(self.models) < len(stages):
            yield from self._run_stage(stages[len(self.models)])

    def _run_stage(self, stage: Stage) -> Iterator[Progress]:
        number = len(self.models) + 1
        clock = time.perf_counter()
        began = max((entry.seconds for entry in self.log if entry.stage < number), default=0.0)
        evaluated = max((entry.evaluations for entry in self.log if entry.stage == number), default=0)
        level = Level(self.problem, stage, self._base)
        level.penalties.update({entry.misfit: entry.penalty for entry in self.log if entry.stage == number})
        batches = Batches(self.problem.survey.shots, stage.batch, self.seed)
        start = level.start if self._current is None else self._current
        optimizer = stage.method(device.to_device(start, self.problem.grid.device), level.bounds, level.preconditioner)
        if self._optimizer:
            optimizer.load_state_dict(self._optimizer)
        while self._iteration < stage.iterations:
            out_of_time = stage.seconds is not None and self.seconds - began >= stage.seconds
            if out_of_time or (optimizer.stalled and stage.batch is None):
                break
            if stage.batch is not None and self._iteration % stage.repeats == 0:
                optimizer.restart()
            shots = batches[self._iteration // stage.repeats]
            misfit = optimizer.advance(lambda model, shots=shots: level.value_and_grad(model, shots))
            self._iteration, self._factor = self._iteration + 1, stage.coarsen
            self._current, self._optimizer = device.to_numpy(optimizer.parameters), optimizer.state_dict()
            self.seconds += time.perf_counter() - clock
            penalty = level.penalty(misfit, optimizer.parameters)
            self.log.append(Progress(number, self._iteration, misfit, evaluated + level.evaluations, self.seconds, penalty))
            yield self.log[-1]
            clock = time.perf_counter()
        self._base = self.model
        self.models.append(self._base)
        self._iteration, self._current, self._optimizer = 0, None, {}
        self.seconds += time.perf_counter() - clock


def refuse_unfit(problem: Problem, start: np.ndarray) -> None:
    """Raise for data, models and geometry that disagree or cannot be."""
    grid, survey, observed, fixed = problem.grid, problem.survey, problem.observed, problem.fixed
    survey.check_inside(grid)
    refuse_gathers(observed, survey)
    if start.shape != grid.shape:
        raise ShapeError(f"start has shape {start.shape}, the grid has {grid.shape}; they must agree")
    if fixed.shape != grid.shape or fixed.dtype.kind != "b":
        raise ShapeError(f"fixed has shape {fixed.shape} and dtype {fixed.dtype}; it must be boolean of the grid's shape {grid.shape}")
    if fixed.all():
        raise InputError("fixed: is True everywhere, so nothing could change; leave part of the model free")
    lower, upper = problem.bounds
    if not 0.0 < lower < upper or not math.isfinite(upper):
        raise InputError(f"bounds={problem.bounds}: need 0 < lower < upper, both finite, in the unit of the model")
    if not np.isfinite(start).all() or not (start > 0.0).all():
        raise InputError("start: holds NaN, infinite, zero or negative values; a velocity model must be positive everywhere")
    free = start[~fixed]
    if free.min() < lower or free.max() > upper:
        raise InputError(f"start: values {free.min():g} to {free.max():g} leave bounds={problem.bounds}; widen them or clip the start")
    if not is_whole(problem.group):
        raise InputError(f"group={problem.group!r}: must be a whole number of at least 1 shot per call")
    samples = survey.wavelet.values()
    if not np.isfinite(samples).all() or not samples.any():
        raise InputError("wavelet: is zero everywhere, or holds NaN or infinite samples; give finite samples that are not all zero")
