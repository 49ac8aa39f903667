"""An equation bound to numerics: the forward run, its exact adjoint and its linearisations. See `simulation.py` for the primitive."""
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from hyperion import config
from hyperion.autograd import Tensor, as_tensor
from hyperion.codegen import Program, lifted, linearise
from hyperion.errors import BoundaryError, DtypeError, InputError, SamplingWarning, ShapeError, StabilityError, nearest
from hyperion.gpu import device as devices

from . import dispersion
from .amplification import Layers
from .boundary import CPML, Boundary, PerfectConductor, Sides
from .checks import is_positive, is_whole
from .discretise import Discretisation, discretise
from .equation import Equation
from .experiment import Engine
from .grid import Grid
from .layout import End, Taps
from .plan import Plan
from .relief import relief_of
from .relief_points import below
from .simulation import Call, Progress
from .stability import courant_number, media, rounded_up
from .stencils import LeastSquares, Taylor
from .stepping import MOST_SUBSTEPS, Leapfrog, Stepping, points_needed
from .storage import Auto, Storage
from .survey import Survey

MOST_STEPS = 10_000_000                                # more than this in one call is a mistake in the units


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _there(method: _Method) -> _Method:
    """Let the device of a solver's grid be the current one in a method."""
    @functools.wraps(method)
    def called(self: "Solver", *arguments: Any, **options: Any) -> Any:
        with devices.on(self.grid.device):
            return method(self, *arguments, **options)
    return called              # pyright: ignore[reportReturnType]


class Solver:
    """An equation on a grid, with an order of accuracy, a boundary, a time stepping and a storage for gradients.

    order: even order of the space derivatives, 2 to 16. stencil: Taylor(), or LeastSquares(points) of the same width.
    boundary: CPML(width) or Periodic(). stepping: Leapfrog(), LaxWendroff(), SSPRK3() or RungeKutta4().
    storage: what a gradient keeps: Auto(bytes), Thinned(...), EverySteps(), Checkpoints(bytes), OnDisk(...).
    threads: of the native kernels; default HYPERION_THREADS, else the processors there are.
    Raises: InputError for values that cannot be.

    >>> from hyperion.pde import Acoustic
    >>> Solver(Acoustic(), Grid((50, 60), 10.0), order=8, boundary=CPML(width=10))
    Solver Acoustic, order 8, CPML(width=10), on Grid 50x60, 10 m, cpu
    """

    def __init__(self, equation: Equation, grid: Grid, *, order: int = 8, boundary: Boundary | None = None,
                 stepping: Stepping | None = None, storage: Storage | None = None,
                 stencil: Taylor | LeastSquares | None = None, threads: int | None = None):
        if not is_whole(order, 2) or order not in range(2, 17, 2):
            raise InputError(f"Solver(order={order!r}): give an even order of accuracy, 2 to 16")
        for name, value, *kinds in (("equation", equation, Equation), ("grid", grid, Grid), ("boundary", boundary, Boundary),
                                    ("stepping", stepping, Stepping), ("storage", storage, Storage),
                                    ("stencil", stencil, Taylor, LeastSquares)):
            if not isinstance(value, tuple(kinds)) and not (value is None and name not in ("equation", "grid")):
                wanted = " or ".join(f"pde.{k.__name__}" for k in kinds)
                raise InputError(f"Solver({name}={value!r}): give a {wanted} value, not a {type(value).__name__}")
        if threads is not None and not is_whole(threads, 1):
            raise InputError(f"Solver(threads={threads!r}): give a whole number of at least 1")
        self.equation, self.grid, self.order = equation, grid, int(order)
        self.boundary, self.stepping, self.storage = boundary or CPML(), stepping or Leapfrog(), storage or Auto()
        self.stencil, self.threads = stencil or Taylor(), int(threads) if threads else _threads()
        self.wraps = self.boundary.wraps(grid.ndim)
        if any(wraps and n < order // 2 for wraps, n in zip(self.wraps, grid.shape, strict=True)):
            raise BoundaryError(f"Solver(order={order}) on {grid}: the stencil is wider than the periodic grid; use a lower order")
        self.pads, self.mirrors = self.boundary.pads(grid.ndim), self.boundary.mirrors(grid.ndim)
        self.size = tuple(n + low + high for n, (low, high) in zip(grid.shape, self.pads, strict=True))
        self._check_sides()
        self.cell = grid.spacing[-1]
        ratios = tuple(self.cell / h for h in grid.spacing)
        self.relief = relief_of(self.boundary, grid, self.order, self.stencil)
        self.discrete = discretise(equation, grid.ndim, self.order, ratios, self.boundary, self.stencil, self.stepping)
        nonlinear = self.discrete.program.nonlinear
        if nonlinear and not self.storage.every_step:
            raise InputError(f"Solver(storage={self.storage!r}): {type(equation).__name__} is nonlinear, and its adjoint needs what its "
                             "fields were at every step; use pde.Auto(), pde.EverySteps(), pde.OnDisk() or pde.Checkpoints(bytes)")
        self._engines: dict[tuple[int, str], Engine] = {}
        self._points: dict[bytes, Taps] = {}
        self._numbers: dict[tuple[tuple[float, ...], ...], float] = {}

    def _check_sides(self) -> None:
        """Raise BoundaryError for sides that reflect where the equation's fields have no images, or the grid no room for them."""
        equation, name = self.equation, type(self.equation).__name__
        if isinstance(self.boundary, Sides) and not equation.conducting:
            for side, value in self.boundary.sides.items():
                if isinstance(value, PerfectConductor):
                    raise BoundaryError(f"Sides({side}=PerfectConductor()): {name} has no electric field; use pde.FreeSurface(), at which "
                                        "a pressure is zero, or pde.Rigid(), through which nothing moves")
        if any(-1 in pair for pair in self.mirrors) and not (equation.odd_at_free_surfaces or equation.tractions):
            raise BoundaryError(f"Solver(boundary={self.boundary!r}): the fields of {name} are not odd or even about a free surface, so "
                                "images do not make one; use pde.Rigid() or the layer")
        needed = max(8, self.order) if equation.tractions else self.order // 2 + 2
        narrow = [n for n, pair in zip(self.grid.shape, self.mirrors, strict=True) if any(pair) and n < needed]
        if narrow:
            raise BoundaryError(f"Solver(order={self.order}) on {self.grid}: {narrow[0]} nodes between reflecting sides do not hold what a "
                                f"stencil that reaches {self.order // 2} reads there; use at least {needed}, or a lower order")

    def __repr__(self) -> str:
        return f"Solver {type(self.equation).__name__}, order {self.order}, {self.boundary!r}, on {self.grid!r}"

    @_there
    def solve(self, survey: Survey, *, initial: Mapping[str, Any] | None = None, progress: Progress | None = None,
              **parameters: Any) -> Tensor:
        """Return the gathers of a survey: what every receiver hears, at the wavelet's step.

        initial: {field: array or Tensor of the grid's shape} at time zero, for all shots; see `evolve`. Default: rest. Of a nonlinear
        equation the step is stable for fields up to these, and what the sources add is taken for weak; see `stable_step`.
        parameters: the equation's, by name, arrays or Tensors of the grid's shape; their dtype (float32 or float64) is that of the run.
        progress: called with (steps done, steps in all), counted over all shots.
        Returns: Tensor (shots, receivers, steps); sample n is the field at time n * step.
        Differentiable to any order with respect to the parameters, the wavelet's samples and the initial fields, in forward and in reverse.
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
        started = self._initial("solve", initial, tensors)
        plan = self._plan(survey, tensors, warn=True, initial=started)
        return Call(self, survey, tensors, plan, progress, started).gathers()

    @_there
    def evolve(self, initial: Mapping[str, Any], duration: float, *, step: float | None = None, **parameters: Any) -> dict[str, Tensor]:
        """Return the fields after a duration, without a survey.

        initial: {field: array or Tensor of the grid's shape}, of the parameters' dtype; fields that are not given are zero. A field of
        second order in time has its time derivative under `field.rate`, such as "p.rate". An absorbing layer is at rest at first.
        duration: [s]. step: at most this long [s]; default: the longest stable one that divides the duration, see `stable_step`. Of a
        nonlinear equation a given step is refused only where even weak waves would grow; fields that outgrow those at time zero may need a
        shorter one.
        parameters: the equation's, as for `solve`.
        Returns: {name: Tensor of the grid's shape}, of all fields and rates: what `initial` takes, so that calls can be chained. Two calls
        with one step are the call with both durations, to rounding where no absorbing layer holds a part of the field.
        Leapfrog holds a field of first order in time that others read within a step half a step earlier, here as in gathers.
        Differentiable to any order with respect to initial fields and parameters, in forward and in reverse.
        Raises: as `solve`; InputError for unknown fields and for a duration or step that is not positive, StabilityError for a step that is
        not stable.

        >>> from hyperion.pde import Acoustic, Periodic
        >>> wave = Solver(Acoustic(), Grid((40, 40), 10.0), boundary=Periodic())
        >>> depth = np.arange(40)[:, None] * 10.0
        >>> hill = np.exp(-((depth - 200.0) / 40.0) ** 2) * np.ones((40, 40))
        >>> after = wave.evolve({"p": hill}, 0.05, speed=np.full((40, 40), 2000.0))          # two hills, 100 m from where they were
        >>> sorted(after), int(after["p"].numpy()[:, 0].argmax()), round(float(after["p"].numpy().max()), 2)
        (['p', 'p.rate'], 10, 0.5)
        """
        tensors = self._parameters(parameters)
        started = self._initial("evolve", initial, tensors) or {}
        for name, value in (("duration", duration), ("step", step)):
            if not is_positive(value) and not (value is None and name == "step"):
                raise InputError(f"evolve({name}={value!r}): give a positive number of seconds")
        values = {k: t.data for k, t in tensors.items()}
        speed = self._speeds(values)[0]
        limit = self._limit(values, speed, started if step is None else None)
        if math.isinf(limit) and step is None:
            raise InputError(f"evolve(step=None): nothing in {type(self.equation).__name__} limits the step; give one [s]")
        if step is not None and step > limit * (1 + 1e-9):
            raise StabilityError(f"evolve(step={step:g} s) exceeds the stable {limit:g} s; use a shorter one, or None to have it chosen")
        longest = limit if step is None else float(step)
        if duration / longest > MOST_STEPS:
            raise InputError(f"evolve(duration={duration:g} s): that is {duration / longest:.3g} steps of {longest:g} s; give the model, "
                             "the spacing and the duration in SI units, or evolve in parts")
        steps = max(1, math.ceil(duration / longest * (1 - 1e-9)))
        plan = Plan(duration / steps, 1, limit, steps, speed, math.inf)
        return Call(self, None, tensors, plan, None, started).evolved()

    def _initial(self, function: str, initial: Mapping[str, Any] | None, tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Check fields at time zero at the door; the layers around them are not part of them."""
        if initial is None and function == "solve":
            return None
        if not isinstance(initial, Mapping):
            first = next(iter(self.equation.fields))
            raise InputError(f"{function}(initial={type(initial).__name__}): give a dict, such as {{{first!r}: array}}")
        known = [name for f, field in self.equation.fields.items() if field.time_order
                 for name in (f, *([f"{f}.rate"] if field.time_order == 2 else []))]
        dtype, out = next(iter(tensors.values())).dtype, dict[str, Tensor]()
        for key, value in initial.items():
            if key not in known:
                raise InputError(f"{function}(initial={{{key!r}: ...}}): {type(self.equation).__name__} has no field of that name to start "
                                 f"from; {nearest(key, known)}")
            out[key] = t = self._array(f"{function}(initial[{key!r}])", value, self.equation.fields[key.partition(".")[0]].unit)
            if t.dtype != dtype:
                raise DtypeError(f"{function}(initial[{key!r}] of dtype {t.dtype}): the parameters have {dtype}; use one for all")
        return out

    @_there
    def plan(self, survey: Survey, **parameters: Any) -> Plan:
        """Return what `solve` and a gradient would do, without running them: steps, sampling, memory, time. Print it.

        >>> from hyperion.pde import Acoustic, ricker
        >>> wave = Solver(Acoustic(), Grid((40, 40), 10.0), boundary=CPML(width=10))
        >>> survey = Survey([[[100.0, 200.0]]], [[[100.0, 300.0], [100.0, 350.0]]], ricker(15.0, 0.2, 2e-3))
        >>> plan = wave.plan(survey, speed=np.full((40, 40), 2000.0))
        >>> plan.steps, plan.substeps, plan.every, plan.keeping.storage
        (100, 1, 2, Thinned(every=None, bits=16))
        """
        tensors = self._parameters(parameters)
        plan = self._plan(survey, tensors, warn=False)
        return dataclasses.replace(plan, call=Call(self, survey, tensors, plan, None))

    def snapshots(self, survey: Survey, every: int, **parameters: Any) -> Iterator[tuple[int, float, dict[str, np.ndarray]]]:
        """Yield (step, time [s], {field: array of the grid's shape}) of a survey of one shot, every `every` internal steps from the first.

        Raises: InputError if the survey has several shots or `every` is below 1.
        """
        if not isinstance(survey, Survey) or survey.shots != 1 or not is_whole(every, 1):
            raise InputError(f"snapshots(survey={survey!r}, every={every!r}): give one shot (survey.subset([i])) and every >= 1")
        tensors = self._parameters(parameters)
        plan = self._plan(survey, tensors, warn=True)
        call = Call(self, survey, tensors, plan, None)
        inside = tuple(slice(low, low + n) for n, (low, _) in zip(self.grid.shape, self.pads, strict=True))
        for step, fields in call.states(int(every)):
            yield step, step * plan.step, {f: fields[f].reshape(self.size)[inside].copy() for f in self.equation.fields}

    @_there
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
            t = self._array(f"solve({key})", value, declared[key])
            t = t if self.relief is None else self.relief.filled(t)
            if key in self.equation.positive and not (t.data > 0).all():
                values = devices.to_numpy(t.data)
                at = tuple(int(i) for i in np.argwhere(values <= 0)[0])
                raise InputError(f"solve({key}): {values[at]:g} {declared[key]} at node {at}; every value must be positive")
            tensors[key] = t
        if len({t.dtype for t in tensors.values()}) > 1:
            raise DtypeError(f"solve: parameters of dtypes {', '.join(f'{k} {t.dtype}' for k, t in tensors.items())}; use one for all")
        return tensors

    def _array(self, argument: str, value: Any, unit: str) -> Tensor:
        """Check an array on the grid; `argument` says where it was given."""
        t, inside = as_tensor(value), argument[:-1]
        if t.shape != self.grid.shape:
            raise ShapeError(f"{inside} of shape {t.shape}): the grid has shape {self.grid.shape}; they must agree")
        if t.dtype not in (np.float32, np.float64):
            raise DtypeError(f"{inside} of dtype {t.dtype}): use float32 or float64, such as {inside.partition('(')[2]}.astype(np.float32)")
        if t.device != self.grid.device:
            raise InputError(f"{inside} on {t.device}): the grid is on {self.grid.device}; move one to the other's device")
        if not devices.namespace(t.data).isfinite(t.data).all():
            values = devices.to_numpy(t.data)
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise InputError(f"{argument}: {values[at]} at node {at}; every value must be finite [{unit}]")
        return t

    def _plan(self, survey: Survey, tensors: dict[str, Tensor], warn: bool, initial: Mapping[str, Tensor] | None = None) -> Plan:
        if not isinstance(survey, Survey):
            raise InputError(f"solve(survey={type(survey).__name__}): give a pde.Survey(sources, receivers, wavelet)")
        survey.check_inside(self.grid)
        if self.relief is not None:
            self.relief.check("sources", survey.sources)
            self.relief.check("receivers", survey.receivers)
        values = {k: t.data for k, t in tensors.items()}
        fastest, slowest = self._speeds(values)
        limit, step = self._limit(values, fastest, None if self.stepping.substeps else initial), survey.wavelet.step
        medium = f"max speed={fastest:g} m/s and spacing={self.grid.spacing} m" if fastest else f"spacing={self.grid.spacing} m"
        if step / limit > MOST_SUBSTEPS:
            raise StabilityError(f"the wavelet's step={step:g} s would need {step / limit:.3g} sub-steps for {medium}; give the "
                                 f"{'model in m/s' if fastest else 'parameters in their units'}, the spacing in m and the step in s")
        substeps = int(self.stepping.substeps or max(1, math.ceil(step / limit * (1 - 1e-9))))
        if step / substeps > limit * (1 + 1e-9):
            raise StabilityError(f"step={step / substeps:g} s ({substeps} a sample) exceeds the stable {limit:g} s for {medium}; use "
                                 f"substeps>={math.ceil(step / limit)}, or None to have it chosen")
        highest = survey.wavelet.highest_frequency(0.1)
        points = slowest / (highest * max(self.grid.spacing)) if highest > 0 else math.inf
        needed = points_needed(self.order, self.stencil)
        if warn and points < needed:
            warnings.warn(f"{points:.1f} points per shortest wavelength ({slowest:g} m/s at {highest:.3g} Hz, spacing "
                          f"{max(self.grid.spacing):g} m); order {self.order} needs {needed:.1f} for 0.5 % of phase speed: expect "
                          "dispersion; use a finer grid, a higher order or a lower frequency", SamplingWarning, stacklevel=3)
        steps = (survey.wavelet.steps - 1) * substeps + 1
        steps += dispersion.margin(steps) if self.stepping.corrected else 0
        return Plan(step / substeps, substeps, limit, steps, fastest, points)

    @_there
    def stable_step(self, *, initial: Mapping[str, Any] | None = None, **parameters: Any) -> float:
        """Return the largest stable step [s] in a model: von Neumann's limit for plane waves, less two per cent for the boundary.

        parameters: as for `solve`. initial: as for `evolve`; of a nonlinear equation waves are taken about constant fields between rest and
        the largest of these, and without them about rest: weak waves. Where there are absorbing layers it is a step stable in them too.
        Where the equation knows its fastest wave the step is that for the stepping's max_speed, or for the model's fastest wave rounded
        up to two digits; small changes of the model do not change it.
        Raises: StabilityError if no step is stable, or the model is faster than max_speed.

        >>> from hyperion.pde import Acoustic
        >>> f"{Solver(Acoustic(), Grid((40, 40), 10.0), order=2).stable_step(speed=np.full((40, 40), 2000.0)):.6f}"  # 0.98 h / (c sqrt 2)
        '0.003465'
        """
        tensors = self._parameters(parameters)
        values = {k: t.data for k, t in tensors.items()}
        started = None if initial is None else self._initial("stable_step", initial, tensors)
        return self._limit(values, self._speeds(values)[0], started)

    def _speeds(self, values: dict[str, Any]) -> tuple[float | None, float]:
        """Return the speed the step is to be stable for, None where it is not known, and the slowest of a model's fastest waves [m/s]."""
        if not self.equation.knows_speed:
            if self.discrete.layered and not self.stepping.max_speed:
                self.equation.fastest(**values)        # says what is missing
            return self.stepping.max_speed, math.inf
        speed = self.equation.fastest(**values)
        xp = devices.namespace(speed)
        fastest = float(xp.max(speed))
        limit = self.stepping.max_speed or rounded_up(fastest)
        if fastest > limit * (1 + 1e-6):
            raise StabilityError(f"the model reaches {fastest:g} m/s, above {type(self.stepping).__name__}(max_speed={limit:g}); raise "
                                 "max_speed or bound the model")
        return limit, float(xp.min(xp.where(speed > 0, speed, fastest)))

    def _limit(self, values: dict[str, Any], fastest: float | None, initial: Mapping[str, Tensor] | None = None) -> float:
        """Return the largest stable step [s] in the extreme media of a model, scaled to the fastest speed.

        initial: fields at time zero; where the equation is nonlinear, fields between them and rest count as media.
        """
        ranges = {k: (float(x.min()), float(x.max())) for k, x in values.items()}
        if self.discrete.program.nonlinear:
            found = {f: t.data for f, t in (initial or {}).items() if f in self.equation.fields}
            ranges |= {f: (min(0.0, float(x.min())), max(0.0, float(x.max()))) for f, x in found.items()}
        extremes = media(ranges)
        key = tuple(tuple(x) for x in extremes.values())
        if key not in self._numbers:
            layers = Layers(self.boundary, self.size, self.grid.spacing, layered) if (layered := self.discrete.layered) else None
            number = courant_number(self.equation, self.discrete, extremes, self.cell, layers, self.stepping.max_speed)
            self._numbers[key] = float(f"{number:.5g}")      # the last digits of a search would differ from model to model
        return 0.98 * self._numbers[key] / (fastest if self.equation.knows_speed and fastest else 1.0)

    def engine(self, level: int, dtype: np.dtype, source: str | None) -> Engine:
        """Return the compiled program, linearised `level` times, with one of the equation's sources or none."""
        key = (level, f"{np.dtype(dtype).name} {source}")
        if key not in self._engines:
            program = _with_source(self.discrete, source)
            program = lifted(program) if program.ndim == 1 else program
            for n in range(level):
                program = linearise(program, f"d{n + 1}.")
            self._engines[key] = Engine(program, np.dtype(dtype))
        return self._engines[key]

    def half(self, field: str) -> tuple[float, ...]:
        """Return how far beyond the nodes a field sits along each axis [cells]: 0 or 0.5."""
        return tuple(0.5 if axis - self.grid.ndim in self.equation.fields[field].at else 0.0 for axis in range(self.grid.ndim))

    def ends(self, field: str) -> list[End]:
        """Return the sides that reflect, as a field sees them."""
        half, about = self.half(field), self.discrete.symmetries[field]
        return [End(k, side, symmetry, half[k] > 0.0) for k, pair in enumerate(about) for side, symmetry in enumerate(pair) if symmetry]

    def reaches_beyond(self, positions: np.ndarray, field: str) -> bool:
        """Tell whether any of the cells at `positions` [m] lies beyond a side where the field has no image."""
        cells, n = np.rint(positions / np.array(self.grid.spacing) - self.half(field)), self.grid.shape
        return any(bool((cells[..., e.axis] > e.last(n[e.axis]) if e.side else cells[..., e.axis] < 0).any())
                   for e in self.ends(field) if not e.symmetry.parity)

    def taps(self, positions: np.ndarray, field: str, sent: bool = False, slope: np.ndarray | None = None) -> Taps:
        """Return the cells and weights of a shot's points (points, ndim) [m] for a field, which may sit on half points; cached.

        sent: whether they are sources. slope: (points, ndim) where the sum of these times the derivatives per cell is wanted.
        """
        half, ends = self.half(field), self.ends(field)
        key = positions.tobytes() + bytes(f"{half} {ends} {sent}", "ascii") + (b"" if slope is None else slope.tobytes())
        if key not in self._points:
            if len(self._points) > 4096:
                self._points.clear()
            cells = positions / np.array(self.grid.spacing) - half
            taps = Taps(cells, self.pads, self.size, self.wraps, ends, self.order, sent, slope)
            if self.relief is not None:
                taps = below(self.relief, self.equation, taps, positions, field, half, slope)
            if self.grid.ndim == 1:                    # in the one row of the kernels
                taps.cells = np.pad(taps.cells, ((0, 0), (1, 0)))
            self._points[key] = taps
        return self._points[key]


def _with_source(discrete: Discretisation, name: str | None) -> Program:
    """Return the program with one of its sources only, or none."""
    p = discrete.program
    sources = tuple(s for s in p.sources if s.partition("@")[0] == f"source.{name}")
    kept = {a: tuple(t for t in a.terms if t.array in sources or t.array not in p.sources) for a in p.assigns}
    return replace(p, assigns=tuple(replace(a, terms=terms) for a, terms in kept.items()), sources=sources)


def _threads() -> int:
    try:
        return config.threads()
    except ValueError as error:
        raise InputError(str(error)) from error
