"""An equation bound to numerics: the forward run, its exact adjoint and its linearisations, as one primitive of the autograd table.

`simulate` maps kernel parameters and source samples to gathers. Its tangent is `simulate` of the linearised program; its pullback is a
primitive too, whose own derivatives are again `simulate` and `pullback` of linearised programs. So derivatives nest to any order:
d/de <g, F(x + e h)> = <g, F'(x; h)>, hence d/dx <h, pullback(x, g)> = the x part of the pullback of F' at (x, h).
"""
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion import config
from hyperion.autograd import Tensor, as_tensor, broadcast_to, fir, general, pad_edge, zeros_like
from hyperion.codegen import Assign, Program, linearise
from hyperion.cpu import find_compiler
from hyperion.errors import BoundaryError, DtypeError, InputError, SamplingWarning, ShapeError, SpeedWarning, StabilityError, nearest
from hyperion.gpu import device as devices

from . import dispersion, interpreter, native, stencils
from .boundary import CPML, Boundary
from .checks import is_positive, is_whole
from .discretise import Discretisation, discretise
from .equation import Equation
from .grid import Grid
from .stencils import LeastSquares, Taylor
from .storage import Checkpoints, Storage, Thinned
from .survey import Survey

Progress = Callable[[int, int], None]
MOST_SUBSTEPS = 10_000                                 # more than this per sample is a mistake in the units


@dataclass(frozen=True)
class Leapfrog:
    """Second-order time stepping.

    max_speed: the fastest speed the step is made stable for [m/s]; default: the model's, rounded up to two digits (so that small changes
    of a model do not change the step). substeps: steps per sample of the wavelet; default: the fewest that are stable.
    corrected: whether the error of the time stepping is removed from wavelet and gathers (two matrix products in time; see
    `pde/dispersion.py`); frequencies above a quarter of the internal sampling rate are lost then.
    Raises: InputError for values that cannot be.

    >>> Leapfrog(max_speed=5000.0)
    Leapfrog(max_speed=5000.0, substeps=None, corrected=False)
    """

    max_speed: float | None = None
    substeps: int | None = None
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.max_speed is not None and not is_positive(self.max_speed):
            raise InputError(f"Leapfrog(max_speed={self.max_speed!r}): give a positive speed [m/s], or None")
        if self.substeps is not None and not is_whole(self.substeps, 1):
            raise InputError(f"Leapfrog(substeps={self.substeps!r}): give a whole number of at least 1, or None")
        # Plain numbers: a NumPy float32 would pull what is computed from it down to its own precision.
        for name, value, kind in (("max_speed", self.max_speed, float), ("substeps", self.substeps, int)):
            object.__setattr__(self, name, None if value is None else kind(value))


@dataclass(frozen=True)
class Plan:
    """What a solve will do: printed, it says steps, sampling and memory.

    step: internal step [s]; substeps: of them per sample; limit: the largest stable step [s]; steps: internal steps in all.
    points: grid points per shortest wavelength; every: steps between kept states; history_bytes: kept per shot for a gradient.
    """

    step: float
    substeps: int
    limit: float
    steps: int
    max_speed: float
    points: float
    every: int
    history_bytes: int

    def __str__(self) -> str:
        return (f"{self.steps} steps of {self.step * 1e3:.4g} ms ({self.substeps} per sample; stable up to {self.limit * 1e3:.4g} ms for "
                f"{self.max_speed:g} m/s), {self.points:.1f} points per shortest wavelength, a gradient keeps every "
                f"{self.every}. step, {self.history_bytes / 1e6:.0f} MB a shot")


class Solver:
    """An equation on a grid, with an order of accuracy, a boundary, a time stepping and a storage for gradients.

    order: even order of the space derivatives, 2 to 16. stencil: Taylor(), or LeastSquares(points) of the same width.
    boundary: CPML(width) or Periodic(). stepping: Leapfrog(...).
    storage: what a gradient keeps: Thinned(...), EverySteps(), Checkpoints(bytes). threads: of the native kernels; default
    HYPERION_THREADS, else the processors there are.
    Raises: InputError for values that cannot be.

    >>> from hyperion.pde import Acoustic
    >>> Solver(Acoustic(), Grid((50, 60), 10.0), order=8, boundary=CPML(width=10))
    Solver Acoustic, order 8, CPML(width=10), on Grid 50x60, 10 m, cpu
    """

    def __init__(self, equation: Equation, grid: Grid, *, order: int = 8, boundary: Boundary | None = None,
                 stepping: Leapfrog | None = None, storage: Storage | None = None,
                 stencil: Taylor | LeastSquares | None = None, threads: int | None = None):
        if not is_whole(order, 2) or order not in range(2, 17, 2):
            raise InputError(f"Solver(order={order!r}): give an even order of accuracy, 2 to 16")
        for name, value, *kinds in (("equation", equation, Equation), ("grid", grid, Grid), ("boundary", boundary, Boundary),
                                    ("stepping", stepping, Leapfrog), ("storage", storage, Storage),
                                    ("stencil", stencil, Taylor, LeastSquares)):
            if not isinstance(value, tuple(kinds)) and not (value is None and name not in ("equation", "grid")):
                wanted = " or ".join(f"pde.{k.__name__}" for k in kinds)
                raise InputError(f"Solver({name}={value!r}): give a {wanted} value, not a {type(value).__name__}")
        if threads is not None and not is_whole(threads, 1):
            raise InputError(f"Solver(threads={threads!r}): give a whole number of at least 1")
        self.equation, self.grid, self.order = equation, grid, int(order)
        self.boundary, self.stepping, self.storage = boundary or CPML(), stepping or Leapfrog(), storage or Thinned()
        self.stencil, self.threads = stencil or Taylor(), int(threads) if threads else _threads()
        if self.boundary.periodic and min(grid.shape) < order // 2:
            raise BoundaryError(f"Solver(order={order}) on {grid}: the stencil is wider than the periodic grid; use a lower order")
        self._cell = grid.spacing[-1]
        ratios = tuple(self._cell / h for h in grid.spacing)
        self._discrete = discretise(equation, grid.ndim, self.order, ratios, self.boundary, self.stencil)
        self._engines: dict[tuple[Program | int, str, bool], native.Engine] = {}
        self._points: dict[bytes, native.Taps] = {}

    def __repr__(self) -> str:
        return f"Solver {type(self.equation).__name__}, order {self.order}, {self.boundary!r}, on {self.grid!r}"

    def solve(self, survey: Survey, *, progress: Progress | None = None, **parameters: Any) -> Tensor:
        """Return the gathers of a survey: what every receiver hears, at the wavelet's step.

        parameters: the equation's, by name, arrays or Tensors of the grid's shape; their dtype (float32 or float64) is that of the run.
        progress: called with (steps done, steps in all), counted over all shots.
        Returns: Tensor (shots, receivers, steps); sample n is the field at time n * step, zero at first.
        Differentiable to any order with respect to the parameters and the wavelet's samples, in forward and in reverse.
        Raises: ShapeError, DtypeError, InputError for parameters that do not fit; BoundaryError for positions outside the grid;
        StabilityError for fixed sub-steps that are unstable; NonFiniteError if the wavefield becomes NaN or infinite.

        >>> from hyperion.pde import Acoustic, ricker
        >>> wave = Solver(Acoustic(), Grid((40, 40), 10.0), boundary=CPML(width=10))
        >>> survey = Survey([[[100.0, 200.0]]], [[[100.0, 300.0], [100.0, 350.0]]], ricker(15.0, 0.2, 2e-3))
        >>> wave.solve(survey, speed=np.full((40, 40), 2000.0)).shape
        (1, 2, 100)
        """
        if progress is not None and not callable(progress):
            raise InputError(f"solve(progress={progress!r}): give a function of (steps done, steps in all), or None")
        tensors = self._parameters(parameters)
        plan = self._plan(survey, tensors, warn=True)
        return _Call(self, survey, tensors, plan, progress).gathers()

    def plan(self, survey: Survey, **parameters: Any) -> Plan:
        """Return what `solve` would do, without running it."""
        return self._plan(survey, self._parameters(parameters), warn=False)

    def snapshots(self, survey: Survey, every: int, **parameters: Any) -> Iterator[tuple[int, float, dict[str, np.ndarray]]]:
        """Yield (step, time [s], {field: array of the grid's shape}) of a survey of one shot, every `every` internal steps from the first.

        Raises: InputError if the survey has several shots or `every` is below 1.
        """
        if not isinstance(survey, Survey) or survey.shots != 1 or not is_whole(every, 1):
            raise InputError(f"snapshots(survey={survey!r}, every={every!r}): give one shot (survey.subset([i])) and every >= 1")
        tensors = self._parameters(parameters)
        plan = self._plan(survey, tensors, warn=True)
        call = _Call(self, survey, tensors, plan, None)
        pad = self.boundary.cells
        inside = tuple(slice(pad, pad + n) for n in self.grid.shape)
        for step, fields in call.states(int(every)):
            yield step, step * plan.step, {f: np.array(fields[f][inside]) for f in self.equation.fields}

    def _parameters(self, given: dict[str, Any]) -> dict[str, Tensor]:
        """Check the parameters at the door."""
        name = type(self.equation).__name__
        declared = self.equation.parameters
        for key in given:
            if key not in declared:
                raise InputError(f"solve({key}=...): {name} has no such parameter; {nearest(key, declared)}")
        missing = [key for key in declared if key not in given]
        if missing:
            raise InputError(f"solve: {name} needs {missing[0]}= [{declared[missing[0]]}], an array of shape {self.grid.shape}")
        tensors: dict[str, Tensor] = {}
        for key, value in given.items():
            t = as_tensor(value)
            if t.shape != self.grid.shape:
                raise ShapeError(f"solve({key} of shape {t.shape}): the grid has shape {self.grid.shape}; they must agree")
            if t.dtype not in (np.float32, np.float64):
                raise DtypeError(f"solve({key} of dtype {t.dtype}): use float32 or float64, such as {key}.astype(np.float32)")
            if t.device != self.grid.device:
                raise InputError(f"solve({key} on {t.device}): the grid is on {self.grid.device}; move one to the other's device")
            values = devices.to_numpy(t.data)
            if not np.isfinite(values).all():
                at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise InputError(f"solve({key}): {values[at]} at node {at}; every value must be finite [{declared[key]}]")
            if key in self.equation.positive and not (values > 0).all():
                at = tuple(int(i) for i in np.argwhere(values <= 0)[0])
                raise InputError(f"solve({key}): {values[at]:g} {declared[key]} at node {at}; every value must be positive")
            tensors[key] = t
        if len({t.dtype for t in tensors.values()}) > 1:
            raise DtypeError(f"solve: parameters of dtypes {', '.join(f'{k} {t.dtype}' for k, t in tensors.items())}; use one for all")
        if self.storage.bits == 16 and next(iter(tensors.values())).dtype != np.float32:
            raise DtypeError("Thinned(bits=16) keeps the upper half of float32 values; use it with float32 parameters, or bits=32")
        return tensors

    def _plan(self, survey: Survey, tensors: dict[str, Tensor], warn: bool) -> Plan:
        if not isinstance(survey, Survey):
            raise InputError(f"solve(survey={type(survey).__name__}): give a pde.Survey(sources, receivers, wavelet)")
        survey.check_inside(self.grid)
        speed = self.equation.fastest(**{k: devices.to_numpy(t.data) for k, t in tensors.items()})
        fastest, slowest = float(np.max(speed)), float(np.min(speed[speed > 0])) if np.any(speed > 0) else float(np.max(speed))
        limit_speed = self.stepping.max_speed or _rounded_up(fastest)
        if fastest > limit_speed * (1 + 1e-6):
            raise StabilityError(f"the model reaches {fastest:g} m/s, above Leapfrog(max_speed={limit_speed:g}); raise max_speed or bound "
                                 "the model")
        limit, step = self.stable_step(limit_speed), survey.wavelet.step
        if step / limit > MOST_SUBSTEPS:
            raise StabilityError(f"the wavelet's step={step:g} s would need {step / limit:.3g} sub-steps for max speed={limit_speed:g} m/s "
                                 f"and spacing={self.grid.spacing} m; give the model in m/s, the spacing in m and the step in s")
        substeps = int(self.stepping.substeps or max(1, math.ceil(step / limit * (1 - 1e-9))))
        if step / substeps > limit * (1 + 1e-9):
            raise StabilityError(f"step={step / substeps:g} s ({substeps} a sample) exceeds the stable {limit:g} s for max speed="
                                 f"{limit_speed:g} m/s and spacing={self.grid.spacing} m; use substeps>={math.ceil(step / limit)}, or None "
                                 "to have it chosen")
        highest = survey.wavelet.highest_frequency(0.1)
        points = slowest / (highest * max(self.grid.spacing)) if highest > 0 else math.inf
        needed = points_needed(self.order, self.stencil)
        if warn and points < needed:
            warnings.warn(f"{points:.1f} points per shortest wavelength ({slowest:g} m/s at {highest:.3g} Hz, spacing "
                          f"{max(self.grid.spacing):g} m); order {self.order} needs {needed:.1f} for 0.5 % of phase speed: expect "
                          "dispersion; use a finer grid, a higher order or a lower frequency", SamplingWarning, stacklevel=3)
        steps = (survey.wavelet.steps - 1) * substeps + 1
        steps += dispersion.margin(steps) if self.stepping.corrected else 0
        every = 1
        if isinstance(self.storage, Thinned):
            every = min(self.storage.steps(step / substeps, survey.wavelet.highest_frequency(1e-3)), max(1, steps // 2))
        item = 2 if self.storage.bits == 16 else next(iter(tensors.values())).dtype.itemsize
        history = math.prod(n + 2 * self.boundary.cells for n in self.grid.shape) * item * (steps // every)
        if isinstance(self.storage, Checkpoints):
            history = self.storage.bytes
        return Plan(step / substeps, substeps, limit, steps, limit_speed, points, every, history)

    def stable_step(self, max_speed: float) -> float:
        """Return the largest stable step [s] of leapfrog for the fastest speed [m/s]: 2 / (c sqrt(sum of operator norms)).

        The norm of an axis' second derivative is the sum of its absolute weights (reached at the Nyquist wavenumber); two per cent are kept
        for the absorbing layer. Source: Lines, Slawinski and Bording, Geophysics 64 (1999), 967, eq. 12.
        """
        second_order = any(f.time_order == 2 for f in self.equation.fields.values())
        stencil = stencils.second(1, 0, self.order, self.stencil) if second_order else stencils.first(1, 0, self.order, 1)
        norm = sum(abs(w) for _, w in stencil.taps) ** (1 if second_order else 2)
        return 0.98 * 2.0 / (max_speed * math.sqrt(sum(norm / h ** 2 for h in self.grid.spacing)))

    def engine(self, level: int, dtype: np.dtype, source: str) -> native.Engine:
        """Return the compiled program, linearised `level` times, with the source of one field."""
        key = (level, f"{np.dtype(dtype).name} {source}", self.storage.bits == 16)
        if key not in self._engines:
            program = _with_source(self._discrete, source)
            for n in range(level):
                program = linearise(program, f"d{n + 1}.")
            self._engines[key] = native.Engine(program, np.dtype(dtype), self.storage.bits == 16)
        return self._engines[key]

    def taps(self, positions: np.ndarray, field: str) -> native.Taps:
        """Return the cells and weights of a shot's points (points, ndim) [m] for a field, which may sit on half points; cached."""
        half = [0.5 if axis - self.grid.ndim in self.equation.fields[field].at else 0.0 for axis in range(self.grid.ndim)]
        key = positions.tobytes() + bytes(str(half), "ascii")
        if key not in self._points:
            if len(self._points) > 4096:
                self._points.clear()
            size = tuple(n + 2 * self.boundary.cells for n in self.grid.shape)
            cells = positions / np.array(self.grid.spacing) - half
            self._points[key] = native.Taps(cells, self.boundary.cells, size, self.boundary.periodic)
        return self._points[key]


def _with_source(discrete: Discretisation, field: str) -> Program:
    """Return the program with the source of one field only."""
    p, source = discrete.program, discrete.sources[field]
    assigns = tuple(Assign(a.target, tuple(t for t in a.terms if t.array == source or t.array not in p.sources), a.axis) for a in p.assigns)
    return Program(p.ndim, assigns, p.parameters, p.profiles, p.memory, p.rotate, (source,))


def _threads() -> int:
    try:
        return config.threads()
    except ValueError as error:
        raise InputError(str(error)) from error


def _rounded_up(value: float) -> float:
    """Return a value rounded up to two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit * (1 - 1e-9)) * unit


def points_needed(order: int, design: Taylor | LeastSquares) -> float:
    """Return the points per wavelength at which the second derivative of an order has a phase speed error of 0.5 %.

    >>> round(points_needed(2, Taylor())), round(points_needed(8, Taylor()))
    (18, 4)
    """
    k = np.linspace(0.01, np.pi, 2000)
    symbol = -sum(w * np.cos(s[0] * k) for s, w in stencils.second(1, 0, order, design).taps)
    bad = np.flatnonzero(np.abs(np.sqrt(np.maximum(symbol, 0.0)) / k - 1.0) > 0.005)
    return float(2 * np.pi / k[bad[0]])


class _Call:
    """One call of solve: static geometry and numerics, and the chain from user arrays to kernel arrays and back."""

    def __init__(self, solver: Solver, survey: Survey, tensors: dict[str, Tensor], plan: Plan, progress: Progress | None):
        self.solver, self.survey, self.tensors, self.plan, self.progress = solver, survey, tensors, plan, progress
        first = next(iter(solver.equation.fields))
        self.source, self.receiver = survey.source_field or first, survey.receiver_field or first
        for name in (self.source, self.receiver):
            if name not in solver.equation.fields:
                raise InputError(f"Survey(source_field or receiver_field={name!r}): {nearest(name, solver.equation.fields)}")
        self.dtype = np.dtype(next(iter(tensors.values())).dtype)
        self.size = tuple(n + 2 * solver.boundary.cells for n in solver.grid.shape)
        self.layout = native.Layout(self.size, solver.boundary.cells, solver.engine(0, self.dtype, self.source).program.reach(), self.dtype)
        self.sources = [solver.taps(p, self.source) for p in survey.sources]
        self.receivers = [solver.taps(p, self.receiver) for p in survey.receivers]

    def inputs(self) -> list[Tensor]:
        """Return kernel parameters on the padded grid, then source samples at the internal step."""
        solver, discrete = self.solver, self.solver._discrete
        pad = solver.boundary.cells
        padded = {k: pad_edge(t, pad) if pad else t for k, t in self.tensors.items()}
        out: list[Tensor] = []
        for name in discrete.program.parameters:
            polynomial, _, _ = discrete.kernel_parameters[name]
            factor = discrete.factor(name, self.plan.step, solver._cell)
            total: Tensor | None = None
            for names, weight in polynomial:
                term = as_tensor(np.full(self.size, weight * factor, self.dtype)) if not names else padded[names[0]] * (weight * factor)
                for n in names[1:]:
                    term = term * padded[n]
                total = term if total is None else total + term
            assert total is not None
            out.append(total)
        return [*out, self._samples()]

    def _samples(self) -> Tensor:
        """Return (shots, sources, internal steps): the wavelet, interpolated where the step is divided."""
        samples = as_tensor(self.survey.wavelet.samples).to(self.solver.grid.device)
        samples = samples if samples.dtype == self.dtype else samples.astype(self.dtype)
        shape = (*self.survey.sources.shape[:2], self.survey.wavelet.steps)
        samples = broadcast_to(samples, shape)
        if self.solver.stepping.corrected:
            return dispersion.warp_wavelet(samples, self.survey.wavelet.step, self.plan.substeps, self.plan.steps)
        if self.plan.substeps == 1:
            return samples
        return fir(samples, _band_limit(self.plan.substeps), axis=-1, up=self.plan.substeps, length=self.plan.steps)

    def gathers(self) -> Tensor:
        """Run and return the gathers at the wavelet's step."""
        solver, inputs = self.solver, self.inputs()
        if not self.compiled():
            out = interpreter.simulate(inputs, self.experiment(0, [devices.to_numpy(x.data) for x in inputs]))
        else:
            keeps = any(x.tracked for x in inputs[:-1]) and not isinstance(solver.storage, Checkpoints)
            out = simulate(*inputs, call=self, level=0, tape=native.Tape() if keeps else None)
        if solver.stepping.corrected:
            return dispersion.unwarp_gathers(out, self.survey.wavelet.step, self.plan.substeps, self.survey.wavelet.steps)
        if self.plan.substeps > 1:
            taps = _band_limit(self.plan.substeps)
            out = fir(out, taps / taps.sum(), axis=-1, down=self.plan.substeps, length=self.survey.wavelet.steps)
        return out

    def compiled(self) -> bool:
        """Tell whether native kernels can run; warns if only a compiler is missing."""
        if self.solver.grid.device != "cpu":
            return False
        if find_compiler() is None:
            warnings.warn("no C compiler found (gcc, clang, cc, or the ziglang wheel): the interpreter runs, hundreds of times slower; "
                          "pip install ziglang, or set HYPERION_CC", SpeedWarning, stacklevel=5)
            return False
        return True

    def experiment(self, level: int, arrays: list[np.ndarray]) -> native.Experiment:
        """Return what the native run of the program linearised `level` times needs."""
        solver, plan = self.solver, self.plan
        engine = solver.engine(level, self.dtype, self.source)
        program, discrete = engine.program, solver._discrete
        n = len(program.parameters)
        profiles: dict[str, np.ndarray] = {}
        for name, axis in program.profiles.items():
            values = np.zeros(self.layout.cells[axis] + self.layout.vector, self.dtype)
            values[:self.size[axis]] = solver.boundary.profile(name, self.size[axis], solver.grid.spacing[axis], plan.step, plan.max_speed)
            profiles[name] = values
        factor = discrete.source_factor(solver.equation, program.sources[0], plan.step, solver._cell) / math.prod(solver.grid.spacing)
        return native.Experiment(
            engine, self.layout,
            dict(zip(program.parameters, arrays[:n], strict=True)), dict(zip(program.sources, arrays[n:], strict=True)),
            dict.fromkeys(program.sources, factor), self.sources, self.receivers,
            "".join(f"d{k}." for k in range(level, 0, -1)) + self.receiver, profiles, plan.steps, plan.step, solver.boundary.periodic,
            solver.threads, plan.every, self.progress)

    def states(self, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield (step, fields on the padded grid) of the first shot."""
        inputs = self.inputs()
        e = self.experiment(0, [devices.to_numpy(x.data) for x in inputs])
        if self.compiled():
            yield from native.states(e, every)
        else:
            yield from interpreter.states([x.detach() for x in inputs], e, every)


def _band_limit(factor: int, half_width: int = 16, beta: float = 8.0) -> np.ndarray:
    """Return the taps that interpolate `factor` times: a Kaiser-windowed sinc, exact at the given samples."""
    t = np.arange(-half_width * factor, half_width * factor + 1) / factor
    return np.sinc(t) * np.i0(beta * np.sqrt(np.maximum(0.0, 1.0 - (t / half_width) ** 2))) / np.i0(beta)


def _joined(parameters: int, inputs: tuple[Any, ...], tangents: tuple[Any, ...]) -> list[Any]:
    """Return the inputs of the linearised program: parameters, their tangents, samples, their tangents."""
    filled = [zeros_like(x) if t is None else t for x, t in zip(inputs, tangents, strict=True)]
    return [*inputs[:parameters], *filled[:parameters], *inputs[parameters:], *filled[parameters:]]


def _split(parameters: int, count: int, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the parts of `_joined` that belong to the inputs, not to their tangents."""
    return (*values[:parameters], *values[2 * parameters:parameters + count])


def _count(call: _Call, level: int) -> int:
    return len(call.solver.engine(level, call.dtype, call.source).program.parameters)


def _forward(xp: Any, *arrays: np.ndarray, call: _Call, level: int, tape: native.Tape | None) -> np.ndarray:
    return native.forward(call.experiment(level, list(arrays)), tape)


def _vjp(g: Tensor, out: Tensor, *inputs: Tensor, call: _Call, level: int, tape: native.Tape | None) -> tuple[Tensor | None, ...]:
    n = _count(call, level)
    images = any(x.tracked for x in inputs[:n])
    found = pullback(*inputs, g, call=call, level=level, tape=tape, images=images)
    return tuple(c if x.tracked else None for c, x in zip(found, inputs, strict=True))


def _jvp(tangents: tuple[Tensor | None, ...], out: Tensor, *inputs: Tensor, call: _Call, level: int, tape: native.Tape | None) -> Tensor:
    n = _count(call, level)
    if all(t is None for t in tangents[:n]) and level == 0:              # linear in the samples
        return simulate(*inputs[:n], *_joined(0, inputs[n:], tangents[n:])[len(inputs) - n:], call=call, level=0, tape=None)
    return simulate(*_joined(n, inputs, tangents), call=call, level=level + 1, tape=None)


simulate = general("simulate", _forward, _vjp, _jvp,
                   doc="Gathers (shots, receivers, steps) from kernel parameters and source samples; see `Solver.solve`.")


def _pull_forward(xp: Any, *arrays: np.ndarray, call: _Call, level: int, tape: native.Tape | None, images: bool) -> tuple[np.ndarray, ...]:
    e = call.experiment(level, list(arrays[:-1]))
    found = native.backward(e, arrays[-1], call.solver.storage, tape, images)
    none = np.broadcast_to(np.zeros((), call.dtype), call.size)
    return (*(found.parameters.get(k, none) for k in e.parameters), *(found.samples[s] for s in e.samples))


def _pull_vjp(g: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: _Call, level: int, tape: Any,
              images: bool) -> tuple[Tensor, ...]:
    *x, cotangent = inputs
    n = _count(call, level)
    joined = _joined(n, tuple(x), g)
    onto = pullback(*joined, cotangent, call=call, level=level + 1, tape=None, images=True)
    return (*_split(n, len(x), onto), simulate(*joined, call=call, level=level + 1, tape=None))


def _pull_jvp(tangents: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: _Call, level: int, tape: Any,
              images: bool) -> tuple[Tensor, ...]:
    *x, cotangent = inputs
    n, parts = _count(call, level), list[tuple[Tensor, ...]]()
    if tangents[-1] is not None:
        parts.append(pullback(*x, tangents[-1], call=call, level=level, tape=tape, images=True))
    if any(t is not None for t in tangents[:-1]):
        joined = _joined(n, tuple(x), tangents[:-1])
        parts.append(_split(n, len(x), pullback(*joined, cotangent, call=call, level=level + 1, tape=None, images=True)))
    return parts[0] if len(parts) == 1 else tuple(a + b for a, b in zip(*parts, strict=True))


pullback = general("simulate_pullback", _pull_forward, _pull_vjp, _pull_jvp, outputs=None,
                   doc="Cotangents of the inputs of `simulate` from those of the gathers: the exact discrete adjoint.")
