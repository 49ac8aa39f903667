"""Eager equals jit for every sample of every primitive: the value, the pull-back, and the tangent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, Tensor
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.jit import jit
from hyperion.cpu import program
from tests.autograd.test_table import CASES, SAMPLES

# Loops evaluate exp, tanh and the like by polynomials of their own, and sum in another order: a few units in the last place each.
TOLERANCE = 1e-12


def close(got: Any, wanted: Any) -> None:
    got, wanted = (x if isinstance(x, tuple | list) else (x,) for x in (got, wanted))
    assert len(got) == len(wanted)
    for x, y in zip(got, wanted, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        size = 1.0 + float(np.abs(y.data).max(initial=0.0, where=np.isfinite(y.data)))
        np.testing.assert_allclose(x.data, y.data, rtol=TOLERANCE * 10, atol=TOLERANCE * size)


def functions(name: str, i: int, device: str = "cpu") -> tuple[list[Callable[..., Any]], list[Tensor]]:
    """Return a call of a sample, its pull-back and its tangent, as functions of the floating inputs, and these."""
    inputs, params = SAMPLES[name][i]
    op, tensors = PRIMITIVES[name], [hp.asarray(np.asarray(x), device=device) for x in inputs]
    places = [k for k, x in enumerate(tensors) if is_inexact(x.dtype)] or list(range(len(tensors)))

    def call(*given: Tensor) -> Any:
        full = list(tensors)
        for k, x in zip(places, given, strict=True):
            full[k] = x
        return op(*full, **params)

    def inexact(*xs: Tensor) -> Any:
        out = call(*xs)
        return tuple(x for x in out if is_inexact(x.dtype)) if isinstance(out, tuple) else out

    def pulled(*xs: Tensor) -> Any:
        out, back = hp.vjp(inexact, *xs)
        return back(hp.tree_map(lambda x: x.detach() * 0.5 + 0.25, out))

    def pushed(*xs: Tensor) -> Any:
        return hp.jvp(inexact, xs, tuple(x * 0.5 + 0.25 for x in xs))[1]

    given = [tensors[k] for k in places]
    if not op.differentiable or not all(is_inexact(x.dtype) for x in given):
        return [call], given
    return [call, *([pulled] if op.vjp is not None else []), *([pushed] if op.jvp is not None else [])], given


def check(name: str, i: int) -> None:
    whole, given = functions(name, i)
    moved = [x * 1.0001 if is_inexact(x.dtype) else x for x in given]
    for f in whole:
        compiled = jit(f)
        for arguments in (given, moved):        # recorded, and replayed with other values
            close(compiled(*arguments), f(*arguments))


@pytest.mark.parametrize(("name", "i"), CASES)
def test_programs_run_by_numpy(name: str, i: int, interpreted: None) -> None:
    check(name, i)


@pytest.mark.full
def test_programs_run_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    """All loops of the table are compiled together first: one by one the compiler's start would take longer than its work."""
    loops: dict[tuple[str, str], None] = {}
    original = program.compiled

    def collect(found: Any) -> Any:
        loops.update(dict.fromkeys(found))
        return [(0, 0)] * len(found)

    monkeypatch.setattr(program, "compiled", collect)
    for case in CASES:
        whole, given = functions(*case.values)
        for f in whole:
            jit(f).lower(*given)
    monkeypatch.setattr(program, "compiled", original)
    program.compiled(sorted(loops))
    wrong = []
    for case in CASES:
        try:
            check(*case.values)
        except AssertionError as error:
            wrong.append(f"{case.values}: {error}")
    assert not wrong, "\n".join(wrong[:10])
