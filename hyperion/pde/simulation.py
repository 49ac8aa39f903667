"""A simulation as one primitive of the autograd table, differentiable to any order.

`simulate` maps kernel parameters and source samples to gathers. Its tangent is `simulate` of the linearised program; its pullback is a
primitive too, whose own derivatives are again `simulate` and `pullback` of linearised programs. So derivatives nest to any order:
d/de <g, F(x + e h)> = <g, F'(x; h)>, hence d/dx <h, pullback(x, g)> = the x part of the pullback of F' at (x, h).
"""
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, fir, general, pad_edge, reshape, zeros_like
from hyperion.cpu import find_compiler
from hyperion.cpu.memory import free_memory
from hyperion.errors import InputError, SpeedWarning, nearest
from hyperion.gpu import device as devices

from . import interpreter, native, resampling, state
from .experiment import Experiment
from .layout import Arena, Layout, Taps
from .placing import Placed
from .plan import Plan
from .positions import Moving, moving
from .rates import KernelParameter, Polynomial
from .receivers import StrainRate, TimeIntegral
from .storage import BoundaryRing, Keeping, Needs
from .survey import Survey

if TYPE_CHECKING:
    from .solver import Solver

Progress = Callable[[int, int], None]


class Call:
    """One call of solve or evolve: static geometry and numerics, and the chain from user arrays to kernel arrays and back.

    survey: None where nothing is sent and the fields are wanted after the last step. initial: {field: Tensor of the grid's shape} at time
    zero; of a field of second order in time, `field.rate` is its time derivative.
    """

    def __init__(self, solver: "Solver", survey: Survey | None, tensors: dict[str, Tensor], plan: Plan, progress: Progress | None,
                 initial: dict[str, Tensor] | None = None):
        self.solver, self.tensors, self.plan, self.progress, self.initial = solver, tensors, plan, progress, initial
        self._keeping: dict[int, Keeping] = {}
        self._together: dict[int, int] = {}
        self.dtype = np.dtype(next(iter(tensors.values())).dtype)
        # Kernels have two axes at least: a grid of one is one row of them.
        self.extra = (1,) * (solver.grid.ndim == 1)
        self.size = self.extra + solver.size
        self.survey, self.source, self.heard = survey, None, {}
        self.sources: dict[str, list[Taps]] = {}
        self.receivers: dict[str, list[Taps]] = {}
        self.moving_sources = self.moving_receivers = None
        self.integrated: bool | None = None            # whether half a step early, where a time integral is wanted
        if survey is not None:
            self._listen(survey)
        self.program = program = solver.engine(0, self.dtype, self.source).program
        none = ((0, 0),) * len(self.extra)
        self.layout = Layout(self.size, none + solver.pads, none + solver.discrete.rims(solver.pads), program.reach(), self.dtype)
        self.starts = () if initial is None else program.state()
        self.ends = () if survey is not None else program.state()

    def quiet(self) -> "Call":
        """Return the call in which nothing is sent, from rest."""
        return Call(self.solver, None, self.tensors, self.plan, None)

    def _listen(self, survey: Survey) -> None:
        """Note what is sent and heard where."""
        solver = self.solver
        sent, heard = solver.equation.injections(solver.grid.ndim), solver.equation.receivers()
        self.source = survey.source_field or next(iter(sent))
        wanted = survey.receiver_field.of if isinstance(survey.receiver_field, TimeIntegral) else survey.receiver_field
        self.receiver = wanted or next(iter(heard))
        for argument, name, known in (("source_field", self.source, sent), ("receiver_field", self.receiver, heard)):
            if not isinstance(name, StrainRate) and name not in known:
                raise InputError(f"Survey({argument}={name!r}): {nearest(name, known)}")
        self.moving_sources = self._moving("source", survey.moving_sources, list(sent[self.source]))
        sources = survey.sources if self.moving_sources is None else self.moving_sources.places
        self.sources = {f: [solver.taps(p, f, sent=True) for p in sources] for f in sent[self.source]}
        if isinstance(self.receiver, StrainRate):
            if survey.moving_receivers is not None:
                raise InputError(f"Survey(receivers, receiver_field={self.receiver!r}): positions of receivers of strain cannot be "
                                 "differentiated; give them as arrays")
            self.receivers = self.receiver.taps(solver, survey.receivers)
            self.heard = dict.fromkeys(self.receivers, 1.0)
        else:
            self._hear(survey, heard[self.receiver])
        self.integrated = _integrated(survey.receiver_field, {f: solver.discrete.early(f) for f in self.heard})

    def _hear(self, survey: Survey, heard: dict[str, float]) -> None:
        """Note where one of the equation's receivers is heard."""
        self.heard = heard
        self.moving_receivers = self._moving("receiver", survey.moving_receivers, list(heard))
        receivers = survey.receivers if self.moving_receivers is None else self.moving_receivers.places
        self.receivers = {f: [self.solver.taps(p, f) for p in receivers] for f in heard}

    def _moving(self, kind: str, positions: Tensor | None, fields: list[str]) -> Moving | None:
        """Return tracked positions as weighted cells of fields, which must sit at one place."""
        if positions is None:
            return None
        half = {self.solver.half(f) for f in fields}
        if len(half) > 1:
            name = getattr(self, kind)
            raise InputError(f"Survey({kind}_field={name!r}): {' and '.join(fields)} sit at different places between the nodes; positions "
                             f"of such a {kind} cannot be differentiated: give them as arrays, or one field at a time")
        moved = moving(positions, self.solver.grid.spacing, half.pop())
        if any(self.solver.reaches_beyond(moved.places, f) for f in fields):
            name = type(self.solver.equation).__name__
            raise InputError(f"Survey({kind}s): positions nearer than four cells to a free surface of {name} cannot be differentiated: "
                             "nothing is known beyond it; give them as arrays, or move them away from it")
        return moved

    def inputs(self) -> list[Tensor]:
        """Return kernel parameters on the padded grid, then source samples at the internal step, then arrays at time zero."""
        solver, discrete = self.solver, self.solver.discrete
        out: list[Tensor] = []
        faded = bool(solver.equation.faded) and any(map(any, solver.pads))
        tensors, pads = (self._faded(), ((0, 0),) * len(self.size)) if faded else (self.tensors, solver.pads)
        coefficients = Placed(solver.equation, solver.equation.derived(**tensors), solver.wraps)
        for name in discrete.program.parameters:
            k = discrete.kernel_parameters[name]
            factor = discrete.factor(name, self.plan.step, solver.cell)
            total = self.held(self._kernel_parameter(k, coefficients, factor, pads), k.held)
            out.append(reshape(total, self.size) if self.extra else total)
        starts = [] if self.initial is None else state.started(self, out, self.initial)
        return [*out, *([] if self.survey is None else self._samples(self.survey)), *starts]

    def _kernel_parameter(self, k: KernelParameter, coefficients: Placed, factor: float, pads: Sequence[tuple[int, int]]) -> Tensor:
        """Return a kernel parameter on the padded grid."""
        def padded(placed: Placed) -> Tensor:
            value = self._polynomial(placed, k.polynomial, k.place, factor)
            if k.own:
                value = value / (1.0 - self._polynomial(placed, k.own, k.place, self.plan.step / 2))
            return pad_edge(value, tuple(pads)) if any(map(any, pads)) else value

        placed = coefficients.on(k.surfaces)
        if k.part is None:
            return padded(placed)
        assert self.solver.relief is not None
        total: Tensor | None = None
        for portion, across in k.part.weights(self.solver.relief, k.place):
            if portion.any() or total is None:
                here = padded(placed.without_strain(across)) * as_tensor(portion.astype(self.dtype)).to(self.solver.grid.device)
                total = here if total is None else total + here
        assert total is not None
        return total

    def _polynomial(self, coefficients: Placed, polynomial: Polynomial, place: tuple[int, ...], factor: float) -> Tensor:
        """Return factor times a polynomial of coefficients where `place` says."""
        total: Tensor | None = None
        for names, weight in polynomial:
            constant = weight * factor
            term = coefficients.at(names[0], place) * constant if names else self._filled(constant, coefficients)
            for n in names[1:]:
                term = term * coefficients.at(n, place)
            total = term if total is None else total + term
        assert total is not None
        return total

    def held(self, x: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
        """Return an array with zeros on the outermost cells of sides. What a kernel parameter drives stays there as it was at first."""
        for axis, side in sides:
            free = np.ones(x.shape[axis], self.dtype)
            free[-side] = 0.0
            x = x * as_tensor(free.reshape([-1 if k == axis else 1 for k in range(x.ndim)])).to(x.device)
        return x

    def _faded(self) -> dict[str, Tensor]:
        """Return the parameters on the padded grid; those that fade fall to zero within the first quarter of the absorbing layers."""
        size, pads = self.solver.size, self.solver.pads
        weight = np.ones(size)
        for axis, (n, (low, high)) in enumerate(zip(size, pads, strict=True)):
            at = np.arange(n)
            deep = np.maximum((low - at) / max(low, 1), (at - (n - 1 - high)) / max(high, 1))
            weight = weight * np.clip(1.0 - 4.0 * deep, 0.0, 1.0).reshape([-1 if k == axis else 1 for k in range(len(size))])
        fade = as_tensor(weight.astype(self.dtype)).to(self.solver.grid.device)
        padded = {name: pad_edge(t, pads) for name, t in self.tensors.items()}
        return {name: t * fade if name in self.solver.equation.faded else t for name, t in padded.items()}

    def _filled(self, value: float, coefficients: Placed) -> Tensor:
        """Return a constant parameter, where the others are."""
        shape = next(iter(coefficients.nodes.values())).shape
        return as_tensor(np.full(shape, value, self.dtype)).to(self.solver.grid.device)

    def _samples(self, survey: Survey) -> list[Tensor]:
        """Return (shots, sources, internal steps) per source of the program: the wavelet as the stepping samples it."""
        samplings, samples = self.solver.stepping.samplings, resampling.at_steps(self, survey)
        wanted = [name.removeprefix(f"source.{self.source}") for name in self.solver.engine(0, self.dtype, self.source).program.sources]
        return [samples if len(samplings[s]) == 1 else fir(samples, samplings[s], axis=-1) for s in wanted]

    def gathers(self) -> Tensor:
        """Run and return the gathers at the wavelet's step."""
        survey, inputs = self.survey, self.inputs()
        assert survey is not None
        if not self.compiled():
            out = interpreter.simulate(inputs, self.experiment(0, [devices.to_numpy(x.data) for x in inputs]))
        else:
            out = simulate(*inputs, call=self, level=0, tape=self._tape(inputs))[0]
        if self.moving_receivers is not None:
            out = self.moving_receivers.gather(out)
        if self.integrated is not None:
            out = TimeIntegral.sum(out, self.plan.step, self.integrated)
        return resampling.at_wavelet_step(self, survey, out)

    def evolved(self) -> dict[str, Tensor]:
        """Run and return the fields after the last step, in the form of `initial`."""
        inputs = self.inputs()
        if not self.compiled():
            out = interpreter.evolve(inputs, self.experiment(0, [devices.to_numpy(x.data) for x in inputs]))
        else:
            out = simulate(*inputs, call=self, level=0, tape=self._tape(inputs))[1:]
        return state.ended(self, inputs, out)

    def _tape(self, inputs: list[Tensor]) -> native.Tape | None:
        """Return where the forward run leaves what an adjoint run is going to need."""
        needed = inputs if self.solver.discrete.program.nonlinear else inputs[:_sizes(self, 0)[0]]
        return native.Tape() if any(x.tracked for x in needed) and self.keeping(0).tape else None

    def compiled(self) -> bool:
        """Tell whether native kernels can run; warns if only a compiler is missing."""
        if self.solver.grid.device != "cpu":
            return True
        if find_compiler() is None:
            warnings.warn("no C compiler found (gcc, clang, cc, or the ziglang wheel): the interpreter runs, hundreds of times slower; "
                          "pip install ziglang, or set HYPERION_CC", SpeedWarning, stacklevel=5)
            return False
        return True

    def experiment(self, level: int, arrays: list[np.ndarray]) -> Experiment:
        """Return what the native run of the program linearised `level` times needs."""
        solver, plan = self.solver, self.plan
        engine = solver.engine(level, self.dtype, self.source)
        program, discrete = engine.program, solver.discrete
        n, sent = len(program.parameters), len(program.parameters) + len(program.sources)
        profiles: dict[str, np.ndarray] = {}
        speed = plan.max_speed or math.nan
        for name, axis in program.profiles.items():
            values = np.zeros(self.layout.cells[axis] + self.layout.vector, self.dtype)
            values[:self.size[axis]] = (
                discrete.rows[name].along(self.size[axis]) if name in discrete.rows else
                solver.boundary.profile(name, axis - len(self.extra), solver.size, solver.grid.spacing[axis - len(self.extra)], plan.step,
                                        speed))
            profiles[name] = values
        for name, (of, by) in engine.transposed.program.shifted.items():
            profiles[name] = shifted(profiles[of], by)
        factors = discrete.source_factors(solver.equation, self.source, plan.step, solver.cell)
        prefix, starts = "".join(f"d{k}." for k in range(level, 0, -1)), list(self.starts)
        for k in range(level):
            starts += [f"d{k + 1}.{x}" for x in starts]
        return Experiment(
            engine, self.layout,
            dict(zip(program.parameters, arrays[:n], strict=True)), dict(zip(program.sources, arrays[n:sent], strict=True)),
            {f: factor / math.prod(solver.grid.spacing) for f, factor in factors.items()}, self.sources, self.receivers,
            {prefix + f: weight for f, weight in self.heard.items()}, profiles, plan.steps, plan.step,
            (False,) * len(self.extra) + solver.wraps, solver.threads, dict(zip(starts, arrays[sent:], strict=True)),
            tuple(prefix + x for x in self.ends), self.progress, device=solver.grid.device, together=self.together(level))

    def together(self, level: int) -> int:
        """Return how many shots run side by side on a GPU: decided once, by the memory that is free then."""
        if level not in self._together:
            shots = len(next(iter(self.sources.values()), [0]))
            engine, lay = self.solver.engine(level, self.dtype, self.source), self.layout
            histories = len(engine.histories) * math.prod(lay.history_shape) * self.dtype.itemsize
            each = histories + sum(Arena.size(lay, p.arrays(), p.memory) for p in (engine.program, engine.transposed.program))
            self._together[level] = max(1, min(shots, int(0.4 * _free_memory(self.solver.grid.device) / each)))
        return self._together[level]

    def keeping(self, level: int) -> Keeping:
        """Return what a gradient of the program linearised `level` times keeps; decided once."""
        if level not in self._keeping:
            self._keeping[level] = self.solver.storage.keeping(self.needs(level))
        return self._keeping[level]

    def needs(self, level: int) -> Needs:
        """Return what such a gradient asks of its storage now."""
        # What a run starts from may hold any frequency. A wavelet that the end of the run cuts off is faded slowly, as fields know no cut,
        # where histories end smoothly: on a GPU they do not.
        fade = 0.5 if self.solver.grid.device == "cpu" else 0.05
        highest = 0.5 / self.plan.step if self.survey is None or self.starts else self.survey.wavelet.highest_frequency(1e-3, end=fade)
        return self.example(level).needs(highest, _free_memory(self.solver.grid.device), isinstance(self.solver.storage, BoundaryRing))

    def example(self, level: int = 0) -> Experiment:
        """Return an experiment without values, for questions of size."""
        return self.experiment(level, [np.zeros(0, self.dtype)] * sum(_sizes(self, level)))

    def states(self, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield (step, fields on the padded grid) of the first shot."""
        inputs = self.inputs()
        if self.compiled():
            yield from native.states(self.experiment(0, [x.data for x in inputs]), every)
        else:
            e = self.experiment(0, [devices.to_numpy(x.data) for x in inputs])
            yield from interpreter.states([x.detach() for x in inputs], e, every)


def _integrated(wanted: Any, early: dict[str, bool]) -> bool | None:
    """Return whether the fields of a time integral are half a step earlier than their sample's time; None where none is wanted."""
    if not isinstance(wanted, TimeIntegral):
        return None
    if len(set(early.values())) > 1:
        raise InputError(f"Survey(receiver_field={wanted!r}): of {', '.join(early)} some are half a step earlier than others; integrate "
                         "them one by one")
    return next(iter(early.values()))


def _free_memory(device: str) -> int:
    return free_memory() if device == "cpu" else devices.free_memory(device)


def shifted(values: np.ndarray, by: int) -> np.ndarray:
    """Return values moved up by so many places; zeros come in."""
    out = np.zeros_like(values)
    out[max(by, 0):len(out) + min(by, 0)] = values[max(-by, 0):len(out) - max(by, 0)]
    return out


def _sizes(call: Call, level: int) -> tuple[int, ...]:
    """Return how many kernel parameters, source samples and arrays at time zero the program linearised `level` times takes."""
    program = call.solver.engine(level, call.dtype, call.source).program
    return len(program.parameters), len(program.sources), len(call.starts) * 2 ** level


def _joined(sizes: tuple[int, ...], inputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """Return the inputs of the linearised program: parameters, their tangents, samples, their tangents, and so on."""
    filled = [zeros_like(x) if t is None else t for x, t in zip(inputs, tangents, strict=True)]
    out: list[Any] = []
    at = 0
    for n in sizes:
        out += [*inputs[at:at + n], *filled[at:at + n]]
        at += n
    return out


def _split(sizes: tuple[int, ...], values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the parts of `_joined` that belong to the inputs, not to their tangents."""
    out: list[Any] = []
    at = 0
    for n in sizes:
        out += values[at:at + n]
        at += 2 * n
    return tuple(out)


def _filled(cotangents: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    return [zeros_like(x) if g is None else g for g, x in zip(cotangents, like, strict=True)]


def _forward(xp: Any, *arrays: np.ndarray, call: Call, level: int, tape: native.Tape | None) -> tuple[np.ndarray, ...]:
    e = call.experiment(level, list(arrays))
    if tape is not None:
        e.keeping = call.keeping(level)
    gathers, ends = native.forward(e, tape)
    return (gathers, *ends)


def _vjp(g: Sequence[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, call: Call, level: int,
         tape: native.Tape | None) -> tuple[Tensor | None, ...]:
    images = any(x.tracked for x in inputs[:_sizes(call, level)[0]])
    others = any(x.tracked for x in inputs[_sizes(call, level)[0]:])
    found = pullback(*inputs, *_filled(g, out), call=call, level=level, tape=tape, images=images, others=others)
    return tuple(c if x.tracked else None for c, x in zip(found, inputs, strict=True))


def _jvp(tangents: tuple[Tensor | None, ...], out: Sequence[Tensor], *inputs: Tensor, call: Call, level: int,
         tape: native.Tape | None) -> tuple[Tensor, ...]:
    sizes = _sizes(call, level)
    n, linear = sizes[0], not call.solver.discrete.program.nonlinear
    if linear and level == 0 and all(t is None for t in tangents[:n]):   # linear in samples and in what it starts from
        return simulate(*inputs[:n], *_filled(tangents[n:], inputs[n:]), call=call, level=0, tape=None)
    return simulate(*_joined(sizes, inputs, tangents), call=call, level=level + 1, tape=None)


simulate = general("simulate", _forward, _vjp, _jvp, outputs=None,
                   doc="Gathers (shots, receivers, steps), and arrays after the last step, from kernel parameters, source samples and "
                       "arrays at time zero; see `Solver.solve` and `Solver.evolve`.")


def _pull_forward(xp: Any, *arrays: np.ndarray, call: Call, level: int, tape: native.Tape | None, images: bool,
                  others: bool) -> tuple[np.ndarray, ...]:
    n = sum(_sizes(call, level))
    e = call.experiment(level, list(arrays[:n]))
    if images or e.engine.recorded:
        e.keeping = call.keeping(level)
    found = native.backward(e, arrays[n], arrays[n + 1:], tape, images, others)
    none: np.ndarray = e.xp.broadcast_to(e.xp.zeros((), call.dtype), call.size)
    return (*(found.parameters.get(k, none) for k in e.parameters), *found.samples.values(), *found.starts.values())


def _pull_vjp(g: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: Call, level: int, tape: Any,
              images: bool, others: bool) -> tuple[Tensor, ...]:
    sizes = _sizes(call, level)
    x, cotangents = inputs[:sum(sizes)], inputs[sum(sizes):]
    joined = _joined(sizes, x, g)
    onto = pullback(*joined, *cotangents, call=call, level=level + 1, tape=None, images=True, others=True)
    return (*_split(sizes, onto), *simulate(*joined, call=call, level=level + 1, tape=None))


def _pull_jvp(tangents: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: Call, level: int, tape: Any,
              images: bool, others: bool) -> tuple[Tensor, ...]:
    sizes, parts = _sizes(call, level), list[tuple[Tensor, ...]]()
    n = sum(sizes)
    x, cotangents = inputs[:n], inputs[n:]
    if any(t is not None for t in tangents[n:]):
        parts.append(pullback(*x, *_filled(tangents[n:], cotangents), call=call, level=level, tape=tape, images=True, others=others))
    if any(t is not None for t in tangents[:n]):
        joined = _joined(sizes, x, tangents[:n])
        parts.append(_split(sizes, pullback(*joined, *cotangents, call=call, level=level + 1, tape=None, images=True, others=True)))
    return parts[0] if len(parts) == 1 else tuple(a + b for a, b in zip(*parts, strict=True))


pullback = general("simulate_pullback", _pull_forward, _pull_vjp, _pull_jvp, outputs=None,
                   doc="Cotangents of the inputs of `simulate` from those of its results: the exact discrete adjoint.")
