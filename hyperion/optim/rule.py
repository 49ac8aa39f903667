"""Rules: how one parameter moves, given its gradient and what the rule remembers of it. Raw arrays only.

A rule is a frozen value of its options. An `ElementwiseRule` is one pure formula of (parameter, gradient, state arrays, numbers), written
with the array namespace it is given: NumPy runs it on blocks that stay in the cache, CuPy on whole arrays, and `native` turns the same
formula into one C kernel over all parameters. The classes users step with and the functional habit share this core:

    state = rule.init(parameters)
    parameters, state = rule.update(gradients, state, parameters)
"""

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.autograd.dtypes import is_complex
from hyperion.errors import DtypeError, InputError, ShapeError, nearest
from hyperion.gpu import device
from hyperion.gpu.launching import on_gpu
from hyperion.optim import native
from hyperion.optim.optimizer import raw, read_parameters
from hyperion.optim.schedules import Lambda, Schedule

__all__ = ["ElementwiseRule", "Job", "Rule", "apply_all", "begin"]

State = dict[str, Any]          # of one parameter: "count" of its updates, "master" of a half-precision one, and the rule's arrays
BLOCK = 1 << 15                 # elements that NumPy's formula works on at a time: temporaries stay in the cache


@dataclass(frozen=True)
class Rule(ABC):
    """Base of the rules. lr and the options named in `scheduled` may be schedules or functions of the step."""

    lr: float | Schedule = 1e-3

    scheduled = ("lr", "weight_decay")

    def __post_init__(self) -> None:
        for name in self.scheduled:
            value: Any = getattr(self, name, None)
            if callable(value) and not isinstance(value, Schedule):
                object.__setattr__(self, name, Lambda(value))       # pyright: ignore[reportArgumentType]
        check(self, "lr", "must be above 0, or a schedule", lambda value: value > 0.0)

    def at(self, step: int) -> "Rule":
        """Return the rule with the values that its schedules have at a step."""
        values = {name: getattr(self, name)(step) for name in self.scheduled if isinstance(getattr(self, name, None), Schedule)}
        if not values:
            return self
        negative = {name: value for name, value in values.items() if value < 0.0}
        if negative:
            raise InputError(f"{type(self).__name__}: the schedule of {', '.join(negative)} gives {min(negative.values()):g} at step "
                             f"{step}; it must not be negative")
        made = copy.copy(self)      # not `replace`: a schedule may pass through 0, which is refused as a constant
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    def of(self, shape: tuple[int, ...]) -> "Rule":
        """Return the rule for a parameter of a shape: itself, or the one it hands such parameters to."""
        return self

    @abstractmethod
    def arrays(self, xp: Any, parameter: Any) -> State:
        """Return the arrays that are remembered of a parameter, before its first update."""

    @abstractmethod
    def apply(self, xp: Any, parameter: Any, gradient: Any, state: State) -> Any:
        """Return the new parameter, and change the arrays of the state in place or in the dict; its count includes this update."""

    def init(self, parameters: Any) -> dict[str, Any]:
        """Return the state before the first update of a tree of Tensors or arrays."""
        leaves, _, _ = read_parameters(parameters)
        return {"count": 0, "parameters": [begin(self.of(raw(leaf).shape), raw(leaf)) for leaf in leaves]}

    def update(self, gradients: Any, state: dict[str, Any], parameters: Any) -> tuple[Any, dict[str, Any]]:
        """Return the tree of new parameters and the new state; the arguments are left as they are.

        gradients: tree like the parameters. state: of `init`, or of the update before.
        Raises: TreeError or ShapeError if gradients do not match, InputError if the state does not.
        """
        leaves, structure, names = read_parameters(parameters)
        slopes = [raw(leaf) for leaf in trees.flatten_like(structure, gradients, "gradients")]
        states = [{key: value.copy() if hasattr(value, "dtype") else value for key, value in one.items()} for one in state["parameters"]]
        if len(states) != len(leaves):
            raise InputError(f"state: holds {len(states)} parameters, the tree has {len(leaves)}; make it with init(parameters)")
        rule = self.at(state["count"])
        jobs = []
        for leaf, gradient, one, name in zip(leaves, slopes, states, names, strict=True):
            present = raw(leaf)
            jobs.append(Job(rule.of(present.shape), present, matching(gradient, present, name), one))
        new = apply_all(jobs)
        kept = [Tensor(array) if isinstance(leaf, Tensor) else array for leaf, array in zip(leaves, new, strict=True)]
        return trees.unflatten(structure, kept), {"count": state["count"] + 1, "parameters": states}

    def replaced(self, options: dict[str, Any], where: str) -> "Rule":
        """Return the rule with other options; where: what to call their place in the error for an unknown name."""
        for name in options:
            if name not in self.options():
                raise InputError(f"{where}: {type(self).__name__} has no option {name!r}; {nearest(str(name), self.options())}")
        return dataclasses.replace(self, **options)

    def options(self) -> dict[str, Any]:
        """Return the options by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class ElementwiseRule(Rule):
    """Base of the rules that treat every element by itself."""

    @property
    def flags(self) -> tuple[Any, ...]:
        """What the formula branches on; all other options reach it as numbers."""
        return ()

    @property
    @abstractmethod
    def remembered(self) -> tuple[str, ...]:
        """Names of the state arrays."""

    @abstractmethod
    def numbers(self, count: int) -> tuple[float, ...]:
        """Return the numbers that the formula gets in update number `count`, from 1."""

    @abstractmethod
    def formula(self, xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the new parameter and the new state arrays. Pure; written with operators and functions of xp only."""

    def arrays(self, xp: Any, parameter: Any) -> State:
        return {name: xp.zeros(parameter.shape, parameter.dtype) for name in self.remembered}

    def apply(self, xp: Any, parameter: Any, gradient: Any, state: State) -> Any:
        numbers = self.numbers(state["count"])
        memory = tuple(state[name] for name in self.remembered)
        with np.errstate(all="ignore"):     # as in the native kernel: an infinite mean of squares makes a step of 0
            return self._evaluated(xp, parameter, gradient, memory, numbers)

    def _evaluated(self, xp: Any, parameter: Any, gradient: Any, memory: tuple[Any, ...], numbers: tuple[float, ...]) -> Any:
        if xp is not np or parameter.size <= BLOCK:
            new, *later = self.formula(xp, parameter, gradient, memory, numbers)
            for array, values in zip(memory, later, strict=True):
                array[...] = values
            return xp.asarray(new)
        new = np.empty(parameter.shape, parameter.dtype)
        flat = [array.reshape(-1) for array in (new, parameter, gradient, *memory)]
        for low in range(0, parameter.size, BLOCK):
            out, p, g, *rest = (array[low:low + BLOCK] for array in flat)
            out[...], *later = self.formula(np, p, g, tuple(rest), numbers)
            for array, values in zip(rest, later, strict=True):
                array[...] = values
        return new


@dataclass
class Job:
    """One update to make: the rule of the step, the parameter and its gradient as they are, and the state, which is changed."""

    rule: Rule
    parameter: Any
    gradient: Any
    state: State
    out: Any = None         # see native.Row
    known: bool = False     # whether the parameter is what the last update made, so that a master needs no comparison


def begin(rule: Rule, parameter: Any) -> State:
    """Return the state of a parameter before its first update."""
    xp = device.namespace(parameter)
    state: State = {"count": 0}
    work = working(parameter)
    if is_half(parameter):
        state["master"] = work
    return state | rule.arrays(xp, work)


def apply_all(jobs: Sequence[Job]) -> list[Any]:
    """Return the new parameters, as new arrays of the dtypes of the old ones, and change the states.

    Elementwise rules on the CPU go to one native kernel for all of them, where that pays.
    """
    rows = []
    for job in jobs:
        job.state["count"] += 1
        present = _present(job)
        out = present if present is job.state.get("master") else _pairs(job.out)
        later = on_gpu(job.gradient) and is_complex(job.gradient.dtype) and isinstance(job.rule, ElementwiseRule)      # the kernel does it
        rows.append(native.Row(job.rule, present, working(job.gradient, conjugate=not later), job.state, out, later))
    done = native.apply(rows)
    out = []
    for i, (job, row) in enumerate(zip(jobs, rows, strict=True)):
        new = done[i] if i in done else job.rule.apply(device.namespace(row.parameter), row.parameter, row.gradient, job.state)
        if "master" in job.state:
            job.state["master"] = new
        in_place = i in done and "master" not in job.state and job.out is not None
        out.append(job.out if in_place else unworking(new, job.parameter))      # the same object: references to it are counted
    return out


def _pairs(array: Any) -> Any:
    """Return the memory of a complex array as pairs of real numbers; others as they are."""
    return array.view(array.real.dtype).reshape(*array.shape, 2) if array is not None and is_complex(array.dtype) else array


def _present(job: Job) -> Any:
    """Return the parameter in the precision it is updated in. A master counts only where the parameter still is its rounding."""
    if "master" not in job.state:
        return working(job.parameter)
    xp, master = device.namespace(job.parameter), job.state["master"]
    if job.known:
        return master
    same = unworking(master, job.parameter) == job.parameter
    return master if bool(same.all()) else xp.where(same, master, working(job.parameter))


def is_half(array: Any) -> bool:
    return array.dtype.itemsize == 2


def working(array: Any, conjugate: bool = False) -> Any:
    """Return an array as the rules see it: half precision as float32, complex as pairs of real numbers, and all contiguous.

    conjugate: for gradients, which are dL/dx - i dL/dy: their conjugate points uphill.
    """
    if array.dtype.char in "fd":
        return array if array.flags.c_contiguous else array.copy(order="C")
    if is_complex(array.dtype):
        parts = device.namespace(array).conj(array) if conjugate else array
        parts = parts if parts.flags.c_contiguous else parts.copy(order="C")
        return parts.reshape(-1).view(parts.real.dtype).reshape(*parts.shape, 2)
    return array.astype(np.float32, order="C")


def unworking(new: Any, parameter: Any) -> Any:
    """Return what the rules made in the dtype and shape of the parameter."""
    if is_complex(parameter.dtype):
        return new.view(parameter.dtype).reshape(parameter.shape)
    return new.astype(parameter.dtype) if new.dtype != parameter.dtype else new


def matching(gradient: Any, parameter: Any, name: str) -> Any:
    """Return a gradient in the dtype of its parameter, or refuse its shape."""
    if gradient.shape == parameter.shape and gradient.dtype is parameter.dtype:
        return gradient
    if gradient.shape != parameter.shape:
        raise ShapeError(f"{name}: its gradient has shape {gradient.shape}, the parameter {parameter.shape}; they must agree")
    if is_complex(gradient.dtype) and not is_complex(parameter.dtype):
        raise DtypeError(f"{name}: its gradient is {gradient.dtype}, the parameter {parameter.dtype}; take the gradient's real part")
    wanted = np.dtype(np.float32) if is_half(parameter) and not is_half(gradient) else parameter.dtype
    return gradient.astype(wanted, copy=False)


def check(rule: Any, name: str, must: str, fits: Any) -> None:
    """Refuse an option that is no finite number or does not fit; a schedule is looked at when it is used."""
    value = getattr(rule, name)
    if isinstance(value, Schedule):
        return
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not fits(value):
        raise InputError(f"{name}={value!r}: {must}")


def check_betas(rule: Any) -> None:
    betas = rule.betas
    if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(
            isinstance(beta, int | float) and not isinstance(beta, bool) and 0.0 <= beta < 1.0 for beta in betas):
        raise InputError(f"betas={betas!r}: must be two numbers in [0, 1)")
    object.__setattr__(rule, "betas", tuple(betas))
