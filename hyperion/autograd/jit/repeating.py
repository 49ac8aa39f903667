"""Running bodies again and again: natively in one call where a body is nothing but native code, else a call for each round."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.jit.bodies import Body
from hyperion.autograd.jit.ir import Value
from hyperion.autograd.jit.native import Runner
from hyperion.cpu import program

__all__ = ["scanned", "while_true"]


def scanned(
    xp: Any, body: Body, fixed: Sequence[Any], carry: Sequence[Any], xs: Sequence[Any], length: int, reverse: bool,
) -> list[Any]:
    """Return the last carries, and the ys of all rounds stacked."""
    results = body.results
    ys = [xp.empty((length, *x.shape), x.dtype) for x in results[len(carry):]]
    runner = body.runner([*fixed, *carry, *xs])
    if runner is not None and runner.alone is not None and length:
        with runner.lock:
            return [*_natively(runner, fixed, carry, xs, ys, length, reverse), *ys]
    rounds = range(length)
    for t in reversed(rounds) if reverse else rounds:
        found = body.run([*fixed, *carry, *(xp.asarray(x[t]) for x in xs)])
        carry = found[:len(carry)]
        for y, row in zip(ys, found[len(carry):], strict=True):
            y[t] = row
    return [*(x.copy() for x in carry), *ys]


def _natively(
    runner: Runner, fixed: Sequence[Any], carry: Sequence[Any], xs: Sequence[Any], ys: Sequence[Any], length: int, reverse: bool,
) -> list[Any]:
    calls: Any = runner.alone
    own = [np.array(x, order="C") for x in carry]
    moves: list[tuple[int, int]] = []
    inputs = _own_inputs(runner)
    held = [*_enter(runner, inputs, [*fixed, *own]), own]
    first = length - 1 if reverse else 0
    for value, x in zip(inputs[len(fixed) + len(carry):], xs, strict=True):
        held.append(rows := np.ascontiguousarray(x))
        _moving(runner, value, rows, first, -1 if reverse else 1, moves)
    copies = _results(runner, own, inputs[len(fixed):], ys, first, reverse, moves)
    onward = program.Onward(moves, copies)
    calls.repeat(runner.prepare(), onward, length)
    return own


def _own_inputs(runner: Runner) -> list[Value]:
    code = runner.plan.code
    return [x for x in code.inputs if x not in code.captured]


def _enter(runner: Runner, values: Sequence[Value], arrays: Sequence[Any]) -> list[Any]:
    """Let inputs lie where arrays do; return what must be kept."""
    held = [np.ascontiguousarray(array) for array in arrays]
    for value, array in zip(values, held, strict=False):
        runner.aim(value, array.ctypes.data)
    return [held]


def _moving(runner: Runner, value: Value, rows: Any, first: int, sign: int, moves: list[tuple[int, int]]) -> None:
    """Let an input or a result walk through the rows of an array."""
    size = math.prod(value.shape) * value.dtype.itemsize
    moves.append((runner.aim(value, rows.ctypes.data + first * size), sign * size))


def _results(
    runner: Runner, own: Sequence[Any], inputs: Sequence[Value], ys: Sequence[Any], first: int, reverse: bool, moves: list[tuple[int, int]],
) -> list[tuple[int, int, int]]:
    """Give each result its memory; return what is copied after each round: a result that goes on into a carry, or comes twice."""
    results = runner.plan.code.results
    copies: list[tuple[int, int, int]] = []
    placed: set[Value] = set()
    for value, y in zip(results[len(own):], ys, strict=True):
        if value not in placed:
            placed.add(value)
            _moving(runner, value, y, first, -1 if reverse else 1, moves)
            continue
        size = math.prod(value.shape) * value.dtype.itemsize
        place = runner.extra(y.ctypes.data + first * size)
        moves.append((place, -size if reverse else size))
        copies.append((runner.place(value), place, size))
    for value, array, to in zip(results, own, inputs, strict=False):
        if value not in placed:
            placed.add(value)
            runner.hold(value)
        copies.append((runner.place(value), runner.place(to), array.nbytes))
    return copies


def while_true(test: Body, body: Body, for_test: Sequence[Any], fixed: Sequence[Any], carry: Sequence[Any]) -> list[Any]:
    """Return the carries once the test is false."""
    asking, runner = (one.runner([*for_test, *fixed, *carry]) for one in (test, body))
    if runner is None or asking is None or runner.alone is None or asking.alone is None or runner is asking:
        while bool(test.run([*for_test, *carry])[0]):
            carry = body.run([*fixed, *carry])
        return [x.copy() for x in carry]
    with asking.lock, runner.lock:
        own = [np.array(x, order="C") for x in carry]
        inputs = _own_inputs(runner)
        held = [_enter(asking, _own_inputs(asking), [*for_test, *own]), _enter(runner, inputs, [*fixed, *own])]
        (answer,) = asking.plan.code.results
        held.append(asking.hold(answer))
        onward = program.Onward([], _results(runner, own, inputs[len(fixed):], (), 0, False, []))
        calls: Any = runner.alone
        calls.repeat_while(runner.prepare(), onward, asking.alone, asking.prepare(), asking.place(answer))
        return own
