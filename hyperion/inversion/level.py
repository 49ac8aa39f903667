"""One stage of an inversion bound to its grid: data, wavelet, bounds, preconditioner, misfit and gradient."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import hyperion.autograd as hp
from hyperion.errors import InputError, NonFiniteError, SamplingWarning, ShapeError
from hyperion.gpu import device
from hyperion.inversion.gradient import Chain, Illumination, Mask, Smooth
from hyperion.inversion.levels import coarse_grid, coarsen, refine, sample
from hyperion.inversion.misfit import l2
from hyperion.inversion.stage import Stage
from hyperion.pde import Grid, Survey, Wavelet

__all__ = ["Level", "Problem", "Setup", "reciprocal", "wave_energy"]


@dataclass(frozen=True)
class Problem:
    """What all stages share. See `FWI` for the fields; they were checked there."""

    solver: Callable[[Grid], Any]
    grid: Grid
    survey: Survey
    observed: np.ndarray
    bounds: tuple[float, float]
    fixed: np.ndarray
    parameter: str
    group: int

    def on_fine_grid(self, base: np.ndarray, model: np.ndarray, factor: int) -> np.ndarray:
        """Return the fine model `base` plus the change that `model`, on the coarser grid, makes to it; fixed nodes stay."""
        changed = np.clip(base + refine(model - coarsen(base, factor), factor, base.shape), *self.bounds)
        return np.where(self.fixed, base, changed).astype(base.dtype)


class Setup:
    """One stage bound to its grid before anything is simulated: what can be refused about it is refused here, in milliseconds.

    grid, wave: of the stage. start: `base` on that grid. mask: of the free nodes. bounds: (lower, upper) arrays. lead: steps of silence in
    front. fine_survey: the stage's, at the step of the data; survey: at the step of the stage, every `stride`-th of them.
    smooth: of the preconditioner.
    Raises: whatever HyperionError the grid, the solver, the filter or the smoothing has to say.
    """

    def __init__(self, problem: Problem, stage: Stage, base: np.ndarray):
        self.grid = coarse_grid(problem.grid, stage.coarsen)
        self.penalty = stage.penalty
        self.wave, self.fine_wave = problem.solver(self.grid), problem.solver(problem.grid)
        self.start = coarsen(base, stage.coarsen)
        fixed = sample(problem.fixed, stage.coarsen)
        self.mask = Mask(self._on_device(~fixed))
        lower, upper = (self._on_device(np.where(fixed, self.start, self.start.dtype.type(bound))) for bound in problem.bounds)
        self.bounds = (lower, upper)
        self.smooth = Smooth(stage.smoothing, self.grid.spacing)
        self.lead = lead_in(problem.survey.wavelet, stage)
        self.fine_survey = filtered(problem.survey, stage, self.lead)
        wavelet = self.fine_survey.wavelet
        self.stride = time_stride(wavelet, stage.coarsen)
        self.survey = self.fine_survey.with_wavelet(Wavelet(wavelet.values()[..., :: self.stride], wavelet.step * self.stride))

    def try_out(self, parameter: str, base: np.ndarray) -> None:
        """Make the first step of the first shot, on both grids, and take the penalty and its gradient.

        Only then a solver finds its absorbing layer too wide for the grid, and a penalty a model of this shape not to its liking.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # it is for the stage to give
            for wave, survey, model in ((self.fine_wave, self.fine_survey, base), (self.wave, self.survey, self.start)):
                next(wave.snapshots(survey.subset([0]), 1, **{parameter: self._on_device(model)}))
        if self.penalty is not None:
            value, slope = hp.value_and_grad(penalised(self.penalty))(hp.asarray(self._on_device(self.start)))
            if not (math.isfinite(value.item()) and bool(hp.all(hp.isfinite(slope)))):
                raise NonFiniteError("Stage(penalty=): its value or its gradient is not finite for the first model; give a penalty that is")

    def _on_device(self, array: np.ndarray) -> Any:
        return device.to_device(array, self.grid.device)


class Level:
    """The problem of one stage, from its first fine model `base`.

    start: that model on the stage's grid. bounds: (lower, upper) arrays there. preconditioner: of its gradients. evaluations: gradients
    of one shot so far. penalties: of the values given so far, what part of each was the penalty.
    """

    def __init__(self, problem: Problem, stage: Stage, base: np.ndarray):
        setup = Setup(problem, stage, base)
        self.problem, self.grid, self.wave, self.survey, self.evaluations = problem, setup.grid, setup.wave, setup.survey, 0
        self._penalty, self.penalties = stage.penalty, dict[float, float]()
        self.start, self.bounds, self._mask = setup.start, setup.bounds, setup.mask
        self.observed = filtered_data(problem, stage, setup.lead)[..., :: setup.stride].astype(base.dtype)
        if stage.coarsen > 1:
            for shots in groups(np.arange(problem.survey.shots), problem.group):
                fine = self._predict(setup.fine_wave, setup.fine_survey.subset(shots), base)[..., :: setup.stride]
                self.observed[shots] += self._predict(self.wave, self.survey.subset(shots), self.start) - fine
        self._energy = float((self.observed.astype(np.float64) ** 2).sum())
        self.preconditioner = self._precondition(setup.smooth)

    def value_and_grad(self, model: Any, shots: np.ndarray) -> tuple[float, Any]:
        """Return the misfit of some shots, scaled as if all were there, relative to the data's energy, with the penalty; its gradient."""
        value, gradient = 0.0, device.namespace(model).zeros_like(model)
        for part in groups(shots, self.problem.group):
            survey, observed = self.survey.subset(part), self._on_device(self.observed[part])
            misfit = hp.value_and_grad(lambda speed, survey=survey, observed=observed: l2(self._solve(self.wave, survey, speed), observed))
            some_value, some_gradient = misfit(hp.asarray(model))
            value += some_value.item()
            gradient += some_gradient.data
        self.evaluations += len(shots)
        scale = 2.0 * len(self.observed) / len(shots) / self._energy
        value, gradient = scale * value, gradient.dtype.type(scale) * gradient
        if self._penalty is not None:
            more, slope = hp.value_and_grad(penalised(self._penalty))(hp.asarray(model))
            value, gradient = value + more.item(), gradient + slope.data
            self.penalties[value] = more.item()
        return value, self._mask(gradient)

    def penalty(self, value: float, model: Any) -> float:
        """Return what part of a value the penalty is; of a value that was not given here (an optimiser's own), the penalty of the model."""
        if self._penalty is None or value in self.penalties:
            return self.penalties.get(value, 0.0)
        return penalised(self._penalty)(hp.asarray(model)).item()

    def _solve(self, wave: Any, survey: Survey, model: Any) -> Any:
        return wave.solve(survey, **{self.problem.parameter: model})

    def _predict(self, wave: Any, survey: Survey, model: np.ndarray) -> np.ndarray:
        return device.to_numpy(self._solve(wave, survey, self._on_device(model)).data)

    def _on_device(self, array: np.ndarray) -> Any:
        return device.to_device(array, self.grid.device)

    def _precondition(self, smooth: Smooth) -> Chain:
        """Return a symmetric guess of the inverse Hessian: free nodes only, divided by illumination from both sides, smoothed."""
        start, name = self._on_device(self.start), self.problem.parameter
        energy = wave_energy(self.wave, self.survey, start, name) * wave_energy(self.wave, reciprocal(self.survey), start, name)
        energy = Smooth(tuple(2.0 * step for step in self.grid.spacing), self.grid.spacing)(energy)
        spread = Illumination((energy / energy[self._mask.free].mean()).astype(start.dtype), floor=0.002, power=0.5)
        return Chain(self._mask, spread, smooth, spread, self._mask)


def penalised(penalty: Callable[[Any], Any]) -> Callable[[hp.Tensor], hp.Tensor]:
    """Return a penalty that is refused unless it returns a Tensor of one number: from anything else no gradient would come."""

    def checked(model: hp.Tensor) -> hp.Tensor:
        value = penalty(model)
        if not isinstance(value, hp.Tensor):
            raise InputError(f"Stage(penalty=): returned a {type(value).__name__}; it must return a Tensor of one number, made with the "
                             "functions of hyperion, so that it has a gradient")
        if value.shape != ():
            raise ShapeError(f"Stage(penalty=): returned shape {value.shape}; it must return one number")
        return value.astype(model.dtype)

    return checked


def wave_energy(wave: Any, survey: Survey, model: Any, parameter: str = "speed") -> Any:
    """Return how strongly each node is lit: the squared wavefield over the model, summed over time and shots, its mean scaled to 1.

    wave: a Solver. survey: whose sources shine; its receivers do not matter. model: array of the grid's shape, for `parameter`.
    Returns: float64 array of the model's shape. For a speed it is the sources' side of the pseudo-Hessian's diagonal; by reciprocity, the
    energy of `reciprocal(survey)` is the receivers' side.
    Source: Shin, Jang and Min, Geophysical Prospecting 49 (2001) 592.

    >>> from hyperion import pde
    >>> wave = pde.Solver(pde.Acoustic(), pde.Grid((40, 40), 10.0), boundary=pde.CPML(width=10))
    >>> survey = Survey([[[50.0, 200.0]]], [[[50.0, 300.0]]], pde.ricker(10.0, 0.4, 2e-3))
    >>> energy = wave_energy(wave, survey, np.full((40, 40), 2000.0))
    >>> bool(energy[6, 20] > 10 * energy[35, 2])
    True
    """
    plan = wave.plan(survey, **{parameter: model})  # the square has twice the frequency: sampled at its Nyquist rate, its sum is exact
    every = max(1, int(1.0 / (2.0 * survey.wavelet.highest_frequency() * plan.step)))
    energy = np.zeros(model.shape)
    for shot in range(survey.shots):
        for _, _, fields in wave.snapshots(survey.subset([shot]), every, **{parameter: model}):
            energy += next(iter(fields.values())) ** 2
    lit = device.to_device(energy, device.device_of(model)) / model**2
    return lit / lit.mean()


def reciprocal(survey: Survey) -> Survey:
    """Return a survey that shoots from the receivers: from as many as there are shots, evenly chosen among all positions.

    >>> from hyperion.pde import ricker
    >>> reciprocal(Survey([[[0.0, 0.0]]], [[[0.0, 10.0], [0.0, 30.0]]], ricker(5.0, 1.0, 1e-3))).sources.tolist()
    [[[0.0, 10.0]]]
    """
    places = np.unique(survey.receivers.reshape(-1, survey.receivers.shape[-1]), axis=0)
    chosen = places[np.linspace(0, len(places) - 1, min(survey.shots, len(places))).round().astype(int), None]
    samples = survey.wavelet.values().reshape(-1, survey.wavelet.steps)[0]
    return Survey(chosen, chosen, Wavelet(samples, survey.wavelet.step))


def lead_in(wavelet: Wavelet, stage: Stage) -> int:
    """Return how many steps of silence must come first, so that the filter does not reach before the first sample."""
    if stage.lowpass is None:
        return 0
    samples = np.abs(wavelet.values()).reshape(-1, wavelet.steps).max(axis=0)
    onset = np.flatnonzero(samples > 1e-3 * samples.max())[0] * wavelet.step
    if stage.lowpass.precursor >= 0.5 * wavelet.steps * wavelet.step:
        raise InputError(
            f"{stage.lowpass}: reaches {stage.lowpass.precursor:g} s, too far for records of {wavelet.steps * wavelet.step:g} s; "
            "use a higher frequency or longer records"
        )
    return max(0, math.ceil((stage.lowpass.precursor - onset) / wavelet.step))


def low_passed(samples: np.ndarray, step: float, stage: Stage, lead: int) -> np.ndarray:
    """Return samples with `lead` zeros in front, low-passed as the stage asks, without the end that depends on what was not recorded."""
    padded = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(lead, 0)])
    if stage.lowpass is None:
        return padded
    return stage.lowpass(padded, step)[..., : padded.shape[-1] - math.ceil(stage.lowpass.precursor / step)]


def filtered(survey: Survey, stage: Stage, lead: int) -> Survey:
    """Return a survey with the stage's wavelet and receivers."""
    samples = low_passed(survey.wavelet.values(), survey.wavelet.step, stage, lead)
    return Survey(survey.sources, survey.receivers[:, :: stage.receivers], Wavelet(samples, survey.wavelet.step))


def filtered_data(problem: Problem, stage: Stage, lead: int) -> np.ndarray:
    """Return the observed data filtered as the stage's wavelet, at its receivers, shot by shot to save memory."""
    data = problem.observed[:, :: stage.receivers]
    return np.stack([low_passed(gather, problem.survey.wavelet.step, stage, lead) for gather in data])


def time_stride(wavelet: Wavelet, factor: int) -> int:
    """Return how many steps may become one: at most `factor`, with six samples per period of the highest frequency left.

    The highest frequency is that of 1 % of the largest amplitude.
    """
    return max(1, min(factor, int(1.0 / (6.0 * wavelet.highest_frequency() * wavelet.step))))


def groups(shots: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the shots in groups of at most `size`."""
    return [shots[i : i + size] for i in range(0, len(shots), size)]
