"""A simulation as one primitive of the autograd table, differentiable to any order.

`simulate` maps kernel parameters and source samples to gathers. Its tangent is `simulate` of the linearised program; its pullback is a
primitive too, whose own derivatives are again `simulate` and `pullback` of linearised programs. So derivatives nest to any order:
d/de <g, F(x + e h)> = <g, F'(x; h)>, hence d/dx <h, pullback(x, g)> = the x part of the pullback of F' at (x, h).
"""
import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, broadcast_to, fir, general, pad_edge, zeros_like
from hyperion.cpu import find_compiler
from hyperion.cpu.memory import free_memory
from hyperion.errors import InputError, SpeedWarning, nearest
from hyperion.gpu import device as devices

from . import dispersion, interpreter, native
from .layout import Layout
from .placing import Placed
from .plan import Plan
from .positions import Moving, moving
from .rates import Polynomial
from .storage import Keeping, Needs
from .survey import Survey

if TYPE_CHECKING:
    from .solver import Solver

Progress = Callable[[int, int], None]


class Call:
    """One call of solve: static geometry and numerics, and the chain from user arrays to kernel arrays and back."""

    def __init__(self, solver: "Solver", survey: Survey, tensors: dict[str, Tensor], plan: Plan, progress: Progress | None):
        self.solver, self.survey, self.tensors, self.plan, self.progress = solver, survey, tensors, plan, progress
        self._keeping: dict[int, Keeping] = {}
        sent, heard = solver.equation.injections(solver.grid.ndim), solver.equation.receivers()
        self.source, self.receiver = survey.source_field or next(iter(sent)), survey.receiver_field or next(iter(heard))
        for argument, name, known in (("source_field", self.source, sent), ("receiver_field", self.receiver, heard)):
            if name not in known:
                raise InputError(f"Survey({argument}={name!r}): {nearest(name, known)}")
        self.heard = heard[self.receiver]
        self.dtype = np.dtype(next(iter(tensors.values())).dtype)
        self.size = solver.size
        self.layout = Layout(self.size, solver.pads, solver.discrete.rims(solver.pads), solver.discrete.program.reach(), self.dtype)
        self.moving_sources = self._moving("source", survey.moving_sources, list(sent[self.source]))
        self.moving_receivers = self._moving("receiver", survey.moving_receivers, list(self.heard))
        sources = survey.sources if self.moving_sources is None else self.moving_sources.places
        receivers = survey.receivers if self.moving_receivers is None else self.moving_receivers.places
        self.sources = {f: [solver.taps(p, f, sent=True) for p in sources] for f in sent[self.source]}
        self.receivers = {f: [solver.taps(p, f) for p in receivers] for f in self.heard}

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
        """Return kernel parameters on the padded grid, then source samples at the internal step."""
        solver, discrete = self.solver, self.solver.discrete
        out: list[Tensor] = []
        coefficients = Placed(solver.equation, solver.equation.derive(**self.tensors), solver.boundary.periodic)
        for name in discrete.program.parameters:
            k = discrete.kernel_parameters[name]
            factor = discrete.factor(name, self.plan.step, solver.cell)
            there = coefficients.on(k.surfaces)
            total = self._polynomial(there, k.polynomial, k.place, factor)
            if k.own:
                total = total / (1.0 - self._polynomial(there, k.own, k.place, self.plan.step / 2))
            out.append(self._held(pad_edge(total, solver.pads) if any(map(any, solver.pads)) else total, k.held))
        return [*out, *self._samples()]

    def _polynomial(self, coefficients: Placed, polynomial: Polynomial, place: tuple[int, ...], factor: float) -> Tensor:
        """Return factor times a polynomial of coefficients where `place` says."""
        total: Tensor | None = None
        for names, weight in polynomial:
            constant = weight * factor
            term = coefficients.at(names[0], place) * constant if names else self._filled(constant)
            for n in names[1:]:
                term = term * coefficients.at(n, place)
            total = term if total is None else total + term
        assert total is not None
        return total

    def _held(self, x: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
        """Return a kernel parameter with zeros on the outermost cells of sides: what it drives stays at zero there."""
        for axis, side in sides:
            free = np.ones(self.size[axis], self.dtype)
            free[-side] = 0.0
            x = x * as_tensor(free.reshape([-1 if k == axis else 1 for k in range(len(self.size))])).to(x.device)
        return x

    def _filled(self, value: float) -> Tensor:
        """Return a constant parameter, where the others are."""
        return as_tensor(np.full(self.solver.grid.shape, value, self.dtype)).to(self.solver.grid.device)

    def _samples(self) -> list[Tensor]:
        """Return (shots, sources, internal steps) per source of the program: the wavelet as the stepping samples it."""
        samplings, samples = self.solver.stepping.samplings, self._at_steps()
        wanted = [name.removeprefix(f"source.{self.source}") for name in self.solver.engine(0, self.dtype, self.source).program.sources]
        return [samples if len(samplings[s]) == 1 else fir(samples, samplings[s], axis=-1) for s in wanted]

    def _at_steps(self) -> Tensor:
        """Return (shots, sources, internal steps): the wavelet, interpolated where the step is divided."""
        samples = as_tensor(self.survey.wavelet.samples).to(self.solver.grid.device)
        samples = samples if samples.dtype == self.dtype else samples.astype(self.dtype)
        shape = (*self.survey.sources.shape[:2], self.survey.wavelet.steps)
        samples = broadcast_to(samples, shape)
        if self.solver.stepping.corrected:
            samples = dispersion.warp_wavelet(samples, self.survey.wavelet.step, self.plan.substeps, self.plan.steps)
        elif self.plan.substeps > 1:
            samples = fir(samples, _band_limit(self.plan.substeps), axis=-1, up=self.plan.substeps, length=self.plan.steps)
        return samples if self.moving_sources is None else self.moving_sources.spread(samples)

    def gathers(self) -> Tensor:
        """Run and return the gathers at the wavelet's step."""
        solver, inputs = self.solver, self.inputs()
        if not self.compiled():
            out = interpreter.simulate(inputs, self.experiment(0, [devices.to_numpy(x.data) for x in inputs]))
        else:
            kept = inputs if solver.discrete.program.nonlinear else inputs[:_count(self, 0)]
            keeps = any(x.tracked for x in kept) and self.keeping(0).tape
            out = simulate(*inputs, call=self, level=0, tape=native.Tape() if keeps else None)
        if self.moving_receivers is not None:
            out = self.moving_receivers.gather(out)
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
        program, discrete = engine.program, solver.discrete
        n = len(program.parameters)
        profiles: dict[str, np.ndarray] = {}
        speed = plan.max_speed or math.nan
        for name, axis in program.profiles.items():
            values = np.zeros(self.layout.cells[axis] + self.layout.vector, self.dtype)
            values[:self.size[axis]] = (
                discrete.rows[name].along(self.size[axis]) if name in discrete.rows else
                solver.boundary.profile(name, axis, self.size, solver.grid.spacing[axis], plan.step, speed))
            profiles[name] = values
        for name, (of, by) in engine.transposed.program.shifted.items():
            profiles[name] = shifted(profiles[of], by)
        factors = discrete.source_factors(solver.equation, self.source, plan.step, solver.cell)
        prefix = "".join(f"d{k}." for k in range(level, 0, -1))
        return native.Experiment(
            engine, self.layout,
            dict(zip(program.parameters, arrays[:n], strict=True)), dict(zip(program.sources, arrays[n:], strict=True)),
            {f: factor / math.prod(solver.grid.spacing) for f, factor in factors.items()}, self.sources, self.receivers,
            {prefix + f: weight for f, weight in self.heard.items()}, profiles, plan.steps, plan.step, solver.boundary.periodic,
            solver.threads, self.progress)

    def keeping(self, level: int) -> Keeping:
        """Return what a gradient of the program linearised `level` times keeps; decided once."""
        if level not in self._keeping:
            self._keeping[level] = self.solver.storage.keeping(self.needs(level))
        return self._keeping[level]

    def needs(self, level: int) -> Needs:
        """Return what such a gradient asks of its storage now."""
        return self.example(level).needs(self.survey.wavelet.highest_frequency(1e-3), free_memory())

    def example(self, level: int = 0) -> native.Experiment:
        """Return an experiment without values, for questions of size."""
        program = self.solver.engine(level, self.dtype, self.source).program
        return self.experiment(level, [np.zeros(0, self.dtype)] * len(program.parameters + program.sources))

    def states(self, every: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield (step, fields on the padded grid) of the first shot."""
        inputs = self.inputs()
        e = self.experiment(0, [devices.to_numpy(x.data) for x in inputs])
        if self.compiled():
            yield from native.states(e, every)
        else:
            yield from interpreter.states([x.detach() for x in inputs], e, every)


def shifted(values: np.ndarray, by: int) -> np.ndarray:
    """Return values moved up by so many places; zeros come in."""
    out = np.zeros_like(values)
    out[max(by, 0):len(out) + min(by, 0)] = values[max(-by, 0):len(out) - max(by, 0)]
    return out


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


def _count(call: Call, level: int) -> int:
    return len(call.solver.engine(level, call.dtype, call.source).program.parameters)


def _forward(xp: Any, *arrays: np.ndarray, call: Call, level: int, tape: native.Tape | None) -> np.ndarray:
    e = call.experiment(level, list(arrays))
    if tape is not None:
        e.keeping = call.keeping(level)
    return native.forward(e, tape)


def _vjp(g: Tensor, out: Tensor, *inputs: Tensor, call: Call, level: int, tape: native.Tape | None) -> tuple[Tensor | None, ...]:
    n = _count(call, level)
    images = any(x.tracked for x in inputs[:n])
    found = pullback(*inputs, g, call=call, level=level, tape=tape, images=images)
    return tuple(c if x.tracked else None for c, x in zip(found, inputs, strict=True))


def _jvp(tangents: tuple[Tensor | None, ...], out: Tensor, *inputs: Tensor, call: Call, level: int, tape: native.Tape | None) -> Tensor:
    n = _count(call, level)
    linear = not call.solver.discrete.program.nonlinear
    if linear and level == 0 and all(t is None for t in tangents[:n]):   # linear in the samples
        return simulate(*inputs[:n], *_joined(0, inputs[n:], tangents[n:])[len(inputs) - n:], call=call, level=0, tape=None)
    return simulate(*_joined(n, inputs, tangents), call=call, level=level + 1, tape=None)


simulate = general("simulate", _forward, _vjp, _jvp,
                   doc="Gathers (shots, receivers, steps) from kernel parameters and source samples; see `Solver.solve`.")


def _pull_forward(xp: Any, *arrays: np.ndarray, call: Call, level: int, tape: native.Tape | None, images: bool) -> tuple[np.ndarray, ...]:
    e = call.experiment(level, list(arrays[:-1]))
    if images or e.engine.recorded:
        e.keeping = call.keeping(level)
    found = native.backward(e, arrays[-1], tape, images)
    none = np.broadcast_to(np.zeros((), call.dtype), call.size)
    return (*(found.parameters.get(k, none) for k in e.parameters), *(found.samples[s] for s in e.samples))


def _pull_vjp(g: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: Call, level: int, tape: Any,
              images: bool) -> tuple[Tensor, ...]:
    *x, cotangent = inputs
    n = _count(call, level)
    joined = _joined(n, tuple(x), g)
    onto = pullback(*joined, cotangent, call=call, level=level + 1, tape=None, images=True)
    return (*_split(n, len(x), onto), simulate(*joined, call=call, level=level + 1, tape=None))


def _pull_jvp(tangents: tuple[Tensor | None, ...], out: Any, *inputs: Tensor, call: Call, level: int, tape: Any,
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
