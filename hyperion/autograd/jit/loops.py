"""Loops and branches as operations of the graph: forward they run bodies natively, their rules run the bodies' derivatives in loops again.

scan     inputs (from outside, carry, xs), outputs (carry, ys); with `kept` the last ys are the carries before each round, for the vjp
branch   inputs (predicate, all inputs of both bodies)
repeat   inputs (from outside, carry): a body as long as a test holds
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import state
from hyperion.autograd.jit.bodies import Body, Function, body_of, pulled, pushed
from hyperion.autograd.jit.repeating import scanned, while_true
from hyperion.autograd.jit.standin import Traced
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.errors import GraphError

__all__ = ["branch", "example", "repeat", "row", "run_branch", "run_repeat", "run_scan"]


def example(x: Tensor) -> Any:
    """Return the array of a Tensor that is being recorded, as it is in the recorded call."""
    return x.data.actual if type(x.data) is Traced else x.data


def row(x: Tensor) -> Any:
    """Return the first row of an array as an example; of none zeros."""
    array = example(x)
    return array[0, ...] if len(array) else np.zeros(array.shape[1:], array.dtype)


def _inexact(x: Any) -> bool:
    return is_inexact(x.dtype)


def _wanted(x: Tensor) -> bool:
    return _inexact(x) and x.node is not None


def _zeros(x: Tensor) -> Tensor:
    return Tensor(np.broadcast_to(np.zeros((), x.dtype), x.shape))


def _split(values: Sequence[Any], *counts: int) -> list[list[Any]]:
    """Return the first so many values, the next ones, and the rest."""
    out: list[list[Any]] = []
    start = 0
    for count in counts:
        out.append(list(values[start:start + count]))
        start += count
    return [*out, list(values[start:])]


# scan

def run_scan(
    body: Body, fixed: Sequence[Tensor], carry: Sequence[Tensor], xs: Sequence[Tensor], length: int, reverse: bool,
) -> list[Tensor]:
    """Run a body over the rows of xs: its inputs are (from outside, fixed, carry, row), its results (carry, ys)."""
    consts = [*body.outside, *fixed]
    inputs = [*consts, *carry, *xs]
    kept = state.recording and any(x.node is not None for x in inputs)
    if kept:
        own = [x for x in body.code.inputs if x not in body.code.captured][len(consts):len(consts) + len(carry)]
        body = body.returning([*body.results, *own])
    out = _scan(*inputs, body=body, consts=len(consts), carries=len(carry), length=length, reverse=reverse, kept=kept)
    return list(out[:len(out) - len(carry)] if kept else out)


def _forward(xp: Any, *arrays: Any, body: Body, consts: int, carries: int, length: int, reverse: bool, kept: bool) -> tuple[Any, ...]:
    fixed, carry, xs = _split(arrays, consts, carries)
    return tuple(scanned(xp, body, fixed, carry, xs, length, reverse))


def _scan_vjp(
    g: Sequence[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, body: Body, consts: int, carries: int, length: int, reverse: bool,
    kept: bool,
) -> list[Tensor | None]:
    fixed, carry, xs = _split(inputs, consts, carries)
    before = out[len(out) - carries:]
    wanted = [*map(_wanted, fixed), *map(_inexact, carry), *map(_wanted, xs)]
    later = g[carries:]
    seeded = [*map(_inexact, carry), *(c is not None for c in later)]
    pull = pulled(body, wanted, seeded)
    moving = sum(wanted[:consts])                                       # how many of the fixed have a cotangent that is added up
    follow = sum(seeded[:carries])
    seeds = [c for c in later if c is not None]

    def back(given: Sequence[Tensor]) -> list[Tensor]:
        k, carried, sums, old, line, later = _split(given, consts, follow, moving, carries, len(xs))
        found = pull([*k, *old, *line, *carried, *later])
        to_fixed, to_carry, to_xs = _split(found, moving, follow)
        return [*to_carry, *(total + c for total, c in zip(sums, to_fixed, strict=True)), *to_xs]

    start = [c if c is not None else _zeros(x) for c, x in zip(g, carry, strict=False) if _inexact(x)]
    start += [_zeros(x) for x, want in zip(fixed, wanted, strict=False) if want]
    rows = [*before, *xs, *seeds]
    inner = body_of(back, [*map(example, (*fixed, *start)), *map(row, rows)])
    found = run_scan(inner, fixed, start, rows, length, not reverse)
    to_carry, to_fixed, to_xs = map(iter, _split(found, follow, moving))
    order = [*((to_fixed, want) for want in wanted[:consts]), *((to_carry, want) for want in wanted[consts:consts + carries]),
             *((to_xs, want) for want in wanted[consts + carries:])]
    return [next(source) if want else None for source, want in order]


def _scan_jvp(
    tangents: list[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, body: Body, consts: int, carries: int, length: int,
    reverse: bool, kept: bool,
) -> tuple[Tensor | None, ...]:
    fixed, carry, xs = _split(inputs, consts, carries)
    t_fixed, t_carry, t_xs = _split(tangents, consts, carries)
    t_carry = [None if not _inexact(x) else t if t is not None else _zeros(x) for t, x in zip(t_carry, carry, strict=True)]
    moved = [t is not None for t in (*t_fixed, *t_carry, *t_xs)]
    named = [_inexact(x) for x in out]
    push = pushed(body, moved, named)
    fixed_moves, carry_moves, _ = ([t for t in some if t is not None] for some in (t_fixed, t_carry, t_xs))
    xs_moves = [t for t in t_xs if t is not None]

    def forth(given: Sequence[Tensor]) -> list[Tensor]:
        k, tk, c, tc, x, tx = _split(given, consts, len(fixed_moves), carries, len(carry_moves), len(xs))
        found, moves = _split(push([*k, *c, *x, *tk, *tc, *tx]), len(out))
        return [*found[:carries], *moves]

    start, rows, still = [*carry, *carry_moves], [*xs, *xs_moves], [*fixed, *fixed_moves]
    inner = body_of(forth, [*map(example, (*still, *start)), *map(row, rows)])
    found = iter(run_scan(inner, still, start, rows, length, reverse)[carries:])
    return tuple([next(found) if there else None for there in named])


_scan = Primitive("scan", "general", _forward, _scan_vjp, _scan_jvp, outputs=None, register=False)


# branch

def run_branch(predicate: Tensor, bodies: Sequence[Body], operands: Sequence[Tensor]) -> list[Tensor]:
    """Run one of two bodies, whose inputs are (from outside, operands)."""
    first, second = bodies
    a, b = len(first.outside), len(second.outside)
    picks = ([*range(a), *range(a + b, a + b + len(operands))], [*range(a, a + b), *range(a + b, a + b + len(operands))])
    return list(branch(predicate, *first.outside, *second.outside, *operands, bodies=tuple(bodies), picks=picks))


def _branch(xp: Any, predicate: Any, *arrays: Any, bodies: tuple[Body, Body], picks: Sequence[Sequence[int]]) -> tuple[Any, ...]:
    which = 0 if bool(predicate) else 1
    return tuple(bodies[which].run([arrays[i] for i in picks[which]]))


def _part(body: Body, pick: Sequence[int]) -> Function:
    def run(given: Sequence[Tensor]) -> list[Tensor]:
        return body([given[i] for i in pick])

    return run


def _again(predicate: Tensor, functions: Sequence[Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    return run_branch(predicate, [body_of(function, list(map(example, inputs))) for function in functions], inputs)


def _branch_vjp(
    g: Sequence[Tensor | None], out: Any, predicate: Tensor, *inputs: Tensor, bodies: tuple[Body, Body], picks: Sequence[Sequence[int]],
) -> list[Tensor | None]:
    wanted = list(map(_wanted, inputs))
    seeded = [c is not None for c in g]
    functions = [pulled(_part(body, pick), wanted, seeded) for body, pick in zip(bodies, picks, strict=True)]
    found = iter(_again(predicate, functions, [*inputs, *(c for c in g if c is not None)]))
    return [None, *(next(found) if want else None for want in wanted)]


def _branch_jvp(
    tangents: list[Tensor | None], out: Sequence[Tensor], predicate: Tensor, *inputs: Tensor, bodies: tuple[Body, Body],
    picks: Sequence[Sequence[int]],
) -> tuple[Tensor | None, ...]:
    moved = [t is not None for t in tangents[1:]]
    named = [_inexact(x) for x in out]
    functions = [_last(pushed(_part(body, pick), moved, named), sum(named)) for body, pick in zip(bodies, picks, strict=True)]
    found = iter(_again(predicate, functions, [*inputs, *(t for t in tangents[1:] if t is not None)]))
    return tuple([next(found) if there else None for there in named])


def _last(function: Function, count: int) -> Function:
    def run(given: Sequence[Tensor]) -> list[Tensor]:
        found = list(function(given))
        return found[len(found) - count:]

    return run


branch = Primitive("cond", "general", _branch, _branch_vjp, _branch_jvp, outputs=None, register=False)


# repeat

def run_repeat(test: Body, body: Body, fixed: Sequence[Tensor], carry: Sequence[Tensor]) -> list[Tensor]:
    """Run a body as long as a test holds. Inputs of the test: (from outside, carry); of the body: (from outside, fixed, carry)."""
    inputs = [*test.outside, *body.outside, *fixed, *carry]
    return list(repeat(*inputs, test=test, body=body, tests=len(test.outside), consts=len(body.outside) + len(fixed)))


def _repeat(xp: Any, *arrays: Any, test: Body, body: Body, tests: int, consts: int) -> tuple[Any, ...]:
    for_test, fixed, carry = _split(arrays, tests, consts)
    return tuple(while_true(test, body, for_test, fixed, carry))


def _repeat_vjp(
    g: Sequence[Tensor | None], out: Any, *inputs: Tensor, test: Body, body: Body, tests: int, consts: int,
) -> list[Tensor | None]:
    for_test, fixed, carry = _split(inputs, tests, consts)
    wanted = [*map(_wanted, fixed), *map(_inexact, carry)]
    seeded = list(map(_inexact, carry))
    seeds = [c if c is not None else _zeros(x) for c, x in zip(g, carry, strict=True) if _inexact(x)]
    back = body_of(pulled(body, wanted, seeded), list(map(example, (*fixed, *carry, *seeds))))
    found = iter(_repeat_back(*back.outside, *inputs, *seeds, test=test, body=body, back=back, wanted=wanted, tests=tests, consts=consts))
    return [*(None for _ in for_test), *(next(found) if want else None for want in wanted)]


def _back(
    xp: Any, *arrays: Any, test: Body, body: Body, back: Body, wanted: Sequence[bool], tests: int, consts: int,
) -> tuple[Any, ...]:
    """Run the loop again, keep the carries before each round, and go back through them."""
    carries = len(body.results)
    around, for_test, fixed, carry, seeds = _split(arrays, len(back.outside), tests, consts, carries)
    history: list[list[Any]] = []
    while bool(test.run([*for_test, *carry])[0]):
        history.append(carry)
        carry = body.run([*fixed, *carry])
    count = sum(wanted[:consts])
    sums = [xp.zeros(x.shape, x.dtype) for x, want in zip(fixed, wanted, strict=False) if want]
    for old in reversed(history):
        found = back.run([*around, *fixed, *old, *seeds])
        sums, seeds = [total + c for total, c in zip(sums, found[:count], strict=True)], found[count:]
    return (*sums, *seeds)


def _repeat_jvp(
    tangents: list[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, test: Body, body: Body, tests: int, consts: int,
) -> tuple[Tensor | None, ...]:
    for_test, fixed, carry = _split(inputs, tests, consts)
    _, t_fixed, t_carry = _split(tangents, tests, consts)
    t_carry = [None if not _inexact(x) else t if t is not None else _zeros(x) for t, x in zip(t_carry, carry, strict=True)]
    moved = [t is not None for t in (*t_fixed, *t_carry)]
    push = pushed(body, moved, list(map(_inexact, out)))
    moves_fixed, moves_carry = ([t for t in some if t is not None] for some in (t_fixed, t_carry))

    def forth(given: Sequence[Tensor]) -> list[Tensor]:
        k, tk, c, tc = _split(given, consts, len(moves_fixed), len(carry))
        return list(push([*k, *c, *tk, *tc]))

    still, start = [*fixed, *moves_fixed], [*carry, *moves_carry]
    inner = body_of(forth, list(map(example, (*still, *start))))
    longer = body_of(lambda given: test([*given[:tests + len(carry)]]), list(map(example, (*for_test, *start))))
    found = repeat(*longer.outside, *for_test, *inner.outside, *still, *start, test=longer, body=inner,
                   tests=len(longer.outside) + tests, consts=len(inner.outside) + len(still))
    later = iter(found[len(carry):])
    return tuple([next(later) if _inexact(x) else None for x in out])


def _endless(*args: Any, **params: Any) -> Any:
    raise GraphError("while_loop: in a compiled function a derivative of its derivative in reverse needs a length: give maximum=")


repeat = Primitive("while_loop", "general", _repeat, _repeat_vjp, _repeat_jvp, outputs=None, register=False)
_repeat_back = Primitive("while_loop_backward", "general", _back, _endless, _endless, outputs=None, register=False)
