"""Random programs: shapes, broadcasts, reductions, views and derivatives, as they come; eager equals jit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hyperion as hp
from hyperion.autograd.jit import jit
from hyperion.cpu import program

UNARY = (hp.tanh, hp.exp, hp.sin, hp.square, hp.negative, hp.abs, hp.sigmoid, hp.gelu, lambda x: hp.log1p(hp.abs(x)), hp.relu,
         lambda x: hp.cumsum(x, axis=0), lambda x: hp.softmax(x, axis=-1))
BINARY = (hp.add, hp.subtract, hp.multiply, hp.maximum, lambda x, y: x / (1.5 + y * y), lambda x, y: hp.where(x > y, x, 2.0 * y))
VIEWS = (
    lambda x: hp.permute_dims(x, (1, 0)), lambda x: x[::2], lambda x: x[:, :1], lambda x: hp.reshape(x, (1, -1)), lambda x: hp.flip(x),
    lambda x: hp.reshape(hp.permute_dims(x, (1, 0)), (-1, 1)), lambda x: x[-1:], lambda x: hp.concat([x, x], axis=1),
)
SUMS = (
    lambda x: hp.sum(x, axis=0, keepdims=True), lambda x: hp.mean(x, axis=1, keepdims=True), lambda x: hp.reshape(hp.sum(x), (1, 1)),
    lambda x: hp.max(x, axis=1, keepdims=True), lambda x: hp.matmul(x, hp.permute_dims(x, (1, 0))),
)
DTYPES = {"float32": 1e-4, "float64": 1e-11}        # some ten operations, each good to a few units in the last place; sums cancel

step = st.tuples(st.sampled_from(("unary", "unary", "binary", "view", "sum")), st.integers(0, 30), st.integers(0, 9), st.integers(0, 9))
programs = st.tuples(
    st.lists(step, min_size=1, max_size=10), st.integers(1, 5), st.integers(1, 6), st.sampled_from(sorted(DTYPES)), st.booleans(),
)


def build(steps: Any) -> Any:
    """Return the function of a list of steps: each works on values made so far, two axes each."""

    def f(x: Any, y: Any) -> Any:
        values = [x, y, hp.tanh(x)]
        for kind, which, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind == "binary":
                fits = all(n == m or 1 in (n, m) for n, m in zip(a.shape, b.shape, strict=True))
                values.append(BINARY[which % len(BINARY)](a, b) if fits else a * 0.5)
            else:
                table = {"unary": UNARY, "view": VIEWS, "sum": SUMS}[kind]
                new = table[which % len(table)](a)
                values.append(new if new.size < 400 and kind != "sum" else hp.tanh(new * 0.1))
        return values[-1], values[-2]

    return f


def check(case: Any, device: str = "cpu") -> None:
    steps, rows, columns, dtype, derivative = case
    f = build(steps)
    rng = np.random.default_rng(len(steps))
    x, y = (hp.asarray(rng.uniform(-1.0, 1.0, shape).astype(dtype), device=device) for shape in ((rows, columns), (1, columns)))
    if derivative:
        inner = f
        f = hp.grad(lambda x, y: sum(hp.sum(out * out) for out in inner(x, y)), argnums=(0, 1))
    compiled = jit(f)
    for arguments in ((x, y), (x * 0.5, y - 0.1), (x * 0.25, y)):
        for got, wanted in zip(compiled(*arguments), f(*arguments), strict=True):
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
            got, wanted = (out.to("cpu").numpy() for out in (got, wanted))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=DTYPES[dtype] * max(1.0, float(np.abs(wanted).max(initial=0.0))))


QUICK = dict(deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("index", [(1, 2), (-1, -1), (1, ..., 2), (0, 2, None)])
def test_one_element_of_an_array(index: Any) -> None:
    compiled, x = jit(lambda x: hp.exp(x[index]) * x), hp.asarray(np.arange(12.0).reshape(3, 4) / 8)
    np.testing.assert_allclose(compiled(x).data, np.exp(x.data[index]) * x.data, rtol=1e-14)


@settings(max_examples=200, **QUICK)
@given(case=programs)
def test_programs_run_by_numpy(case: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "available", lambda: False)
        check(case)


@settings(max_examples=12, **QUICK)
@given(case=programs)
def test_programs_run_natively(case: Any) -> None:
    check(case)


@pytest.mark.full
@settings(max_examples=2000, **QUICK)
@given(case=programs)
def test_many_programs_run_natively(case: Any) -> None:
    check(case)


def test_other_dtypes_sizes_and_trees_are_programs_of_their_own() -> None:
    def double(tree: Any) -> Any:
        return hp.tree_map(lambda x: x * 2.0, tree)

    f = hp.jit(double)
    x = np.arange(6.0).reshape(2, 3)
    trees = [{"a": hp.asarray(x)}, {"a": hp.asarray(x.astype(np.float32))}, {"b": hp.asarray(x)}, (hp.asarray(x), hp.asarray(x[:1])),
             [hp.asarray(x[:, :2])], hp.asarray(x[0])]
    for tree in (*trees, *trees[::-1]):
        found, wanted = (hp.autograd.trees.flatten(g(tree)) for g in (f, double))
        assert found[1] == wanted[1]
        for one, other in zip(found[0], wanted[0], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one.data, other.data)
