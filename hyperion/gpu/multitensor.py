"""Python side of `kernels/multitensor.cu`: one elementwise formula over many CuPy arrays in one launch, and their sums of squares."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .launching import THREADS, cupy, kernel, on_gpu, source

__all__ = ["MultiTensor", "scaled", "squares"]

BLOCK = 2048                   # as in multitensor.cu


class MultiTensor:
    """A compiled formula of a parameter p, a gradient g, state arrays s0, s1.. and numbers n0, n1..: the counterpart of cpu.MultiTensor.

    lines: text made by `codegen.elementwise_lines`, which assigns to out[i], state0[i].. states, numbers: how many there are.
    dtype: float32 or float64, of all arrays.
    """

    def __init__(self, lines: str, states: int, numbers: int, dtype: np.dtype[Any]):
        self.states, self.numbers, self.dtype = states, numbers, np.dtype(dtype)
        self.text = text(lines, states, numbers)
        self._row = row(states, numbers)

    def __call__(self, outs: Sequence[Any], parameters: Sequence[Any], gradients: Sequence[Any], states: Sequence[Sequence[Any]],
                 numbers: Sequence[Sequence[float]], conjugates: Sequence[bool] = ()) -> None:
        """Write the new parameters to `outs`, which may be the old ones, and the new states in place.

        conjugates: whether gradients are pairs of real numbers whose second ones change their sign; empty: none.
        All arrays are C-contiguous, of the kernel's dtype and on one device.
        """
        table = np.zeros(len(outs), self._row)
        for name, arrays in (("out", outs), ("parameter", parameters), ("gradient", gradients)):
            table[name] = [array.data.ptr for array in arrays]
        if self.states:
            table["state"] = [[array.data.ptr for array in arrays] for arrays in states]
        if self.numbers:
            table["number"] = numbers
        if conjugates:
            table["conjugate"] = conjugates
        there, blocks = _sent(table, outs)
        if blocks:
            function = kernel(self.text, "run", self.dtype, outs[0].device.id, STATES=self.states, NUMBERS=self.numbers)
            function((blocks,), (THREADS,), (there, np.int32(len(table))))


def text(lines: str, states: int, numbers: int) -> str:
    """Return the CUDA text of a formula.

    >>> "out[i] = p;" in text("out[i] = p;", 0, 0)
    True
    """
    head = [
        "const long long odd = row->conjugate;", "real *out = row->out;",
        "const real *parameter = row->parameter, *gradient = row->gradient;",
        *(f"real *state{k} = row->state[{k}];" for k in range(states)),
        *(f"const real n{k} = (real)row->number[{k}];" for k in range(numbers)),
    ]
    body = ["const real p = parameter[i], g = i & odd ? -gradient[i] : gradient[i];"]
    body += [f"const real s{k} = state{k}[i];" for k in range(states)]
    inner = "\n        ".join([*body, *lines.splitlines()])
    loop = f"__device__ void update(const Row *row, long long low, long long high) {{\n    {(chr(10) + '    ').join(head)}\n" \
           f"    for (long long i = low + threadIdx.x; i < high; i += THREADS) {{\n        {inner}\n    }}\n}}"
    return source("multitensor").replace("\nLOOP\n", f"\n{loop}\n")


def row(states: int, numbers: int) -> np.dtype[Any]:
    """Return the layout of a row of the kernels' table."""
    return np.dtype([
        ("size", np.int64), ("first", np.int64), ("conjugate", np.int64),
        ("out", np.uint64), ("parameter", np.uint64), ("gradient", np.uint64),
        ("state", np.uint64, (max(states, 1),)), ("number", np.float64, (max(numbers, 1),)),
    ])


def _sent(table: Any, arrays: Sequence[Any]) -> tuple[Any, int]:
    """Fill in sizes and first blocks, and return the table on the GPU and the number of blocks."""
    table["size"] = [array.size for array in arrays]
    blocks = -(-table["size"] // BLOCK)
    ends = np.cumsum(blocks)
    table["first"] = ends - blocks
    return cupy().asarray(table.view(np.uint8)), int(ends[-1])


def _kinds(arrays: Sequence[Any]) -> dict[Any, dict[int, Any]]:
    """Return the CuPy arrays that kernels take, as real numbers, by dtype and device, and then by their place in the list."""
    kinds: dict[Any, dict[int, Any]] = {}
    for i, array in enumerate(arrays):
        if on_gpu(array) and array.dtype.char in "fdFD" and array.flags.c_contiguous and array.size:
            parts = array.reshape(-1).view(array.real.dtype)       # of complex numbers, both parts
            kinds.setdefault((parts.dtype, array.device.id), {})[i] = parts
    return kinds


def squares(arrays: Sequence[Any]) -> dict[int, float]:
    """Return sums of squares of absolute values, summed in float64, by place: of those arrays in a list that are CuPy's and floating.

    >>> squares([np.ones(3)])
    {}
    """
    found: dict[int, float] = {}
    for chosen in _kinds(arrays).values():
        found |= dict(zip(chosen, _squares(list(chosen.values())).tolist(), strict=True))
    return found


def scaled(arrays: Sequence[Any], factor: float) -> dict[int, Any]:
    """Return arrays times a factor, as new arrays, by place: of those arrays in a list that are CuPy's and floating.

    >>> scaled([np.ones(3)], 2.0)
    {}
    """
    found: dict[int, Any] = {}
    for (dtype, _), chosen in _kinds(arrays).items():
        whole = {i: _empty_like(arrays[i]) for i in chosen}
        parts = [out.reshape(-1).view(dtype) for out in whole.values()]
        _scaling(dtype)(parts, list(chosen.values()), list(chosen.values()), [()] * len(parts), [(factor,)] * len(parts))
        found |= whole
    return found


def _empty_like(array: Any) -> Any:
    return cupy().empty(array.shape, array.dtype)


@functools.cache
def _scaling(dtype: np.dtype[Any]) -> MultiTensor:
    return MultiTensor("out[i] = n0 * p;", 0, 1, dtype)


@functools.cache
def _plain() -> str:
    return text("out[i] = p;", 0, 0)


def _squares(arrays: Sequence[Any]) -> Any:
    table = np.zeros(len(arrays), row(0, 0))
    table["gradient"] = [array.data.ptr for array in arrays]
    there, blocks = _sent(table, arrays)
    out = np.zeros(len(arrays))
    if not blocks:
        return out
    sums = cupy().empty(blocks, np.float64)
    function = kernel(_plain(), "squares", arrays[0].dtype, arrays[0].device.id, STATES=0, NUMBERS=0)
    function((blocks,), (THREADS,), (there, np.int32(len(table)), sums))
    filled = np.flatnonzero(table["size"])
    out[filled] = np.add.reduceat(cupy().asnumpy(sums), table["first"][filled])
    return out
