"""The native way of elementwise rules: their formula as C or CUDA, one call for all parameters of a kind and a device."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.codegen import elementwise_lines
from hyperion.cpu import MultiTensor, find_compiler, squares_kernel
from hyperion.gpu import device, multitensor

__all__ = ["Row", "apply", "squares"]

_KERNELS: dict[Any, Any] = {}
LEAST = 1 << 13         # elements in all below which NumPy is as fast, and nothing is compiled for it


@dataclass
class Row:
    """One update in working precision; state: the dict whose arrays the kernel changes."""

    rule: Any
    parameter: Any
    gradient: Any
    state: dict[str, Any]
    out: Any = None         # where the new parameter may be written: the parameter itself, if nobody else looks at it; None: a new array
    conjugate: bool = False         # whether the gradient is of complex numbers, as pairs, and still to be conjugated: on a GPU


def apply(rows: list[Row]) -> dict[int, Any]:
    """Make those updates that a native kernel makes, and return the new parameters by their place in the list."""
    kinds: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        if hasattr(row.rule, "formula") and row.parameter.dtype.char in "fd":
            place = "cpu" if type(row.parameter) is np.ndarray else row.parameter.device.id
            kinds.setdefault((type(row.rule), row.rule.flags, row.parameter.dtype, place), []).append(i)
    done: dict[int, Any] = {}
    for (_, _, dtype, place), places in kinds.items():
        chosen = [rows[i] for i in places]
        on_cpu = place == "cpu"
        if on_cpu and (sum(row.parameter.size for row in chosen) < LEAST or not _compiles()):
            continue
        names = chosen[0].rule.remembered
        known: dict[tuple[int, int], tuple[float, ...]] = {}     # most parameters share their rule and count
        numbers = []
        for row in chosen:
            key = (id(row.rule), row.state["count"])
            if key not in known:
                known[key] = row.rule.numbers(row.state["count"])
            numbers.append(known[key])
        xp = device.namespace(chosen[0].parameter)
        outs = [xp.empty(row.parameter.shape, dtype) if row.out is None else row.out for row in chosen]
        states = [[row.state[name] for name in names] for row in chosen]
        arrays = outs, [row.parameter for row in chosen], [row.gradient for row in chosen], states, numbers
        if on_cpu:
            _kernel(chosen[0].rule, dtype, MultiTensor)(*arrays)
        else:
            _kernel(chosen[0].rule, dtype, multitensor.MultiTensor)(*arrays, [row.conjugate for row in chosen])
        done |= dict(zip(places, outs, strict=True))
    return done


def _kernel(rule: Any, dtype: np.dtype[Any], kind: type[Any]) -> Any:
    """Return the compiled formula of a rule: one for all rules of its class with the same flags. kind: the MultiTensor of CPU or GPU."""
    key = (type(rule), rule.flags, dtype, kind)
    if key not in _KERNELS:
        states, numbers = len(rule.remembered), len(rule.numbers(1))

        def flat(xp: Any, parameter: Any, gradient: Any, *rest: Any) -> Any:
            return rule.formula(xp, parameter, gradient, rest[:states], rest[states:])

        inputs = ["p", "g", *(f"s{k}" for k in range(states)), *(f"n{k}" for k in range(numbers))]
        lines = elementwise_lines(flat, inputs, ["out[i]", *(f"state{k}[i]" for k in range(states))])
        _KERNELS[key] = kind(lines, states, numbers, dtype)
    return _KERNELS[key]


def squares(arrays: list[Any]) -> list[float]:
    """Return the sum of squares of the absolute values of each array, summed in float64."""
    found: dict[int, float] = {}
    for kind in "fd":
        places = [i for i, a in enumerate(arrays) if a.dtype.char == kind and type(a) is np.ndarray and a.flags.c_contiguous]
        if sum(arrays[i].size for i in places) >= LEAST and _compiles():
            found |= dict(zip(places, squares_kernel(np.dtype(kind)).squares([arrays[i] for i in places]), strict=True))
    found |= multitensor.squares(arrays)
    others = [i for i in range(len(arrays)) if i not in found]
    if others:
        xp = device.namespace(arrays[others[0]])
        sums = xp.stack([_square(arrays[i]) for i in others])         # one transfer from a GPU, not one for each
        found |= dict(zip(others, device.to_numpy(sums).tolist(), strict=True))
    return [found[i] for i in range(len(arrays))]


def _square(array: Any) -> Any:
    """Return the sum of squares of an array as an array of shape ()."""
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    wide = [part.astype(np.float64) for part in parts]
    with np.errstate(over="ignore"):
        return sum((part * part).sum() for part in wide)


@functools.cache
def _compiles() -> bool:
    """Tell whether there is a C compiler; looked for once, since optimisers ask at every step."""
    return find_compiler() is not None
