"""The attention kernel of the CPU against the formula written out in float64: masks, shapes, dtypes and directions; extremes; threads."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import hyperion as hp
from hyperion import nn
from hyperion.autograd.ops import attending
from hyperion.autograd.ops.attending import table_of
from hyperion.cpu import attention, find_compiler
from tests.autograd.samples_attention import Everything

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
NEVER = 1 << 60


class Shape(NamedTuple):
    batch: int
    heads: int
    kept: int
    queries: int
    keys: int
    width: int
    depth: int


# One of everything, one query, one key, sizes that fill no vector, several panels and blocks, more heads than share, wide heads.
SHAPES = [Shape(1, 1, 1, 1, 1, 1, 1), Shape(2, 4, 2, 70, 93, 64, 64), Shape(1, 2, 1, 1, 200, 3, 5), Shape(2, 3, 3, 129, 1, 8, 1),
          Shape(1, 1, 1, 200, 65, 17, 40), Shape(1, 6, 2, 5, 300, 96, 128), Shape(1, 2, 2, 33, 64, 256, 16)]


def masks(s: Shape, random: np.random.Generator) -> dict[str, Any]:
    blocks = -(-max(s.queries, s.keys) // 16)
    ids = np.sort(random.integers(0, 3, (s.batch, s.queries)), axis=1)
    table = random.random((s.batch, 1, s.queries, s.keys)) < 0.5
    table[:, :, ::3] = False                            # rows that see nothing
    table[..., 32:] |= random.random((s.batch, 1, s.queries, 1)) < 0.3
    own = {
        "none": None, "causal": nn.Causal(), "early": nn.Causal(offset=-3), "window": nn.SlidingWindow(5, 2),
        "prefix": nn.PrefixLM(s.keys // 2), "table": table, "nothing": np.zeros((s.queries, s.keys), bool),
        "either": nn.SlidingWindow(1, 1) | nn.PrefixLM(2), "table and causal": table & nn.Causal(),
    }
    if s.queries <= s.keys:
        own |= {"blocks": nn.BlockSparse(random.random((blocks, blocks)) < 0.5, 16)}
    if s.queries == s.keys:
        scattered = random.permuted(ids, axis=1)
        own |= {"document": nn.Document(ids), "scattered": nn.Document(scattered), "both": nn.Document(ids) & nn.Causal()}
    return own


def written(s: Shape, xs: list[np.ndarray], seen: Any, scale: float, bias: Any, factors: Any) -> list[np.ndarray]:
    """Return the output, lse, and the cotangents of q, k and v, in float64."""
    q, k, v, g, g_lse = (x.astype(np.float64) for x in xs)
    whole_k, whole_v = (np.repeat(x, s.heads // s.kept, axis=1) for x in (k, v))
    scores = np.where(seen, q @ whole_k.swapaxes(-1, -2) * scale + bias, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    top = np.where(np.isneginf(top), 0.0, top)
    weights = np.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    alive = total > 0.0
    p = weights / np.where(alive, total, 1.0)
    lse = np.where(alive, top + np.log(np.where(alive, total, 1.0)), -np.inf)[..., 0]
    out = (p * factors) @ whole_v
    slope = p * ((g @ whole_v.swapaxes(-1, -2)) * factors - (g * out).sum(axis=-1, keepdims=True) + g_lse[..., None])
    of_keys = slope.swapaxes(-1, -2) @ q * scale, (p * factors).swapaxes(-1, -2) @ g
    grouped = [x.reshape(s.batch, s.kept, -1, *x.shape[2:]).sum(axis=2) for x in of_keys]
    return [out, lse, slope @ whole_k * scale, *grouped]


def draws(s: Shape, dtype: type, random: np.random.Generator) -> list[np.ndarray]:
    rows = s.batch, s.heads, s.queries
    shapes = (*rows, s.width), (s.batch, s.kept, s.keys, s.width), (s.batch, s.kept, s.keys, s.depth), (*rows, s.depth), rows
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def run(xs: list[np.ndarray], **options: Any) -> list[np.ndarray]:
    q, k, v, g, g_lse = xs
    (out, lse), pull = hp.vjp(lambda *a: hp.attention(*a, return_lse=True, **options), q, k, v)
    return [x.numpy() for x in (out, lse, *pull((g, g_lse)))]


def check(s: Shape, dtype: type, mask: Any, random: np.random.Generator, scale: float = 0.3, size: float = 1.0, **options: Any) -> None:
    xs = draws(s, dtype, random)
    xs[0] *= dtype(size)
    seen = True if mask is None else table_of(mask, s.queries, s.keys, s.batch, s.heads)
    bias = options.get("bias", 0.0)
    if isinstance(bias, nn.ALiBi):
        distance = abs(np.arange(s.queries)[:, None] + s.keys - s.queries - np.arange(s.keys))
        bias = -np.array(bias.slopes)[:, None, None] * distance
    found, expected = run(xs, mask=mask, scale=scale, **options), written(s, xs, seen, scale, bias, 1.0)
    # Each number is a sum of rounded terms: eps times the root of their number, and of an exponent as large as the scores eps times those.
    largest = scale * size * np.sqrt(s.width) * 5 + np.abs(bias).max()
    tolerance = (40 + 4 * largest) * np.finfo(dtype).eps
    for name, one, exact in zip(("out", "lse", "q", "k", "v"), found, expected, strict=True):
        assert one.dtype == dtype and one.shape == exact.shape
        finite = np.isfinite(exact)
        assert np.array_equal(one[~finite], exact[~finite]), name
        away, size_of = (np.abs(x[finite]).max(initial=0.0) for x in (one - np.where(finite, exact, 0.0), exact))
        assert away <= tolerance * max(size_of, 0.1), name
    if mask is not None:
        hidden = ~np.broadcast_to(seen, (s.batch, s.heads, s.queries, s.keys)).any(axis=-1)
        assert not found[0][hidden].any() and not found[2][hidden].any() and np.isneginf(found[1][hidden]).all()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The kernel serves tables of any size, with threads."""
    monkeypatch.setattr(attention, "THRESHOLD", 1)
    monkeypatch.setattr(attention, "PARALLEL", 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [*SHAPES, Shape(2, 2, 1, 100, 100, 24, 24)], ids=lambda s: "x".join(map(str, s)))
def test_every_mask_shape_dtype_and_direction(shape, dtype, random):
    for mask in masks(shape, random).values():
        check(shape, dtype, mask, random)
    check(shape, dtype, nn.Causal(), random, bias=nn.ALiBi(shape.heads))
    table = shape.batch, shape.heads, shape.queries, shape.keys
    for axes in itertools.islice(itertools.product((0, 1), repeat=4), 3, 16, 3):
        bias = random.standard_normal([n if full else 1 for n, full in zip(table, axes, strict=True)])
        check(shape, dtype, nn.SlidingWindow(40, 40), random, bias=bias.astype(dtype))
    check(shape, dtype, nn.Causal(), random, size=3e3)  # large logits


@settings(max_examples=25, deadline=None)
@given(some.integers(1, 2), some.integers(1, 3), some.integers(1, 2), some.integers(1, 150), some.integers(1, 150), some.integers(1, 70),
       some.integers(1, 70), some.sampled_from([np.float32, np.float64]), some.integers(0, 1 << 30))
def test_random_shapes(batch, kept, group, queries, keys, width, depth, dtype, seed):
    random, shape = np.random.default_rng(seed), Shape(batch, kept * group, kept, queries, keys, width, depth)
    made = masks(shape, random)
    check(shape, dtype, made[sorted(made)[seed % len(made)]], random)


def test_dropout_is_the_draw_that_numpy_makes(random, monkeypatch):
    for s in (Shape(3, 4, 2, 37, 75, 8, 8), Shape(1, 1, 1, 5, 3, 2, 2)):
        xs, generator = draws(s, np.float64, random), hp.random.Generator(7)
        marked = generator.state()
        found = run(xs, dropout=(0.3, generator.restore(marked)), mask=nn.Causal())
        with monkeypatch.context() as patch:
            patch.setattr(attention, "THRESHOLD", NEVER)
            expected = run(xs, dropout=(0.3, generator.restore(marked)), mask=nn.Causal())
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("modifier", [nn.SoftCap(1.5), Everything()], ids=["soft cap", "everything"])
def test_modifiers_are_those_of_numpy(modifier, dtype, random, monkeypatch):
    s = Shape(2, 4, 2, 37, 75, 8, 8)
    xs = draws(s, dtype, random)
    for options in ({"mask": nn.Causal() & nn.SlidingWindow(20)}, {"bias": random.standard_normal((4, 1, 75)).astype(dtype)}):
        found = run(xs, modifier=modifier, **options)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "THRESHOLD", NEVER)
            expected = run([x.astype(np.float64) for x in xs], modifier=modifier, **options)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=200 * np.finfo(dtype).eps * max(1.0, np.abs(two[np.isfinite(two)]).max()))


@pytest.mark.parametrize("tokens, size, factor", [(1000, 64, 1.0), (500, 128, 8.0)])
def test_errors_are_at_most_a_tenth_larger_than_pytorch_s(tokens, size, factor):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    torch.manual_seed(0)
    given = [torch.randn(1, 2, tokens, size) * (factor if i < 2 else 1.0) for i in range(4)]

    def theirs(dtype):
        q, k, v = (x.to(dtype).requires_grad_() for x in given[:3])
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return [x.detach().double().numpy() for x in (out, *torch.autograd.grad(out, (q, k, v), given[3].to(dtype)))]

    out, pull = hp.vjp(hp.attention, *(x.numpy() for x in given[:3]))
    for one, other, exact in zip((out, *pull(given[3].numpy())), theirs(torch.float32), theirs(torch.float64), strict=True):
        assert np.linalg.norm(one.numpy() - exact) <= 1.1 * np.linalg.norm(other - exact)


def test_threads_change_nothing_and_arrays_need_not_be_contiguous(random, monkeypatch):
    s = Shape(2, 4, 2, 300, 257, 33, 20)
    xs, found = draws(s, np.float32, random), []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("HYPERION_THREADS", threads)
        found.append(run(xs, mask=nn.Causal()))
        turned = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in xs[:4]]      # (batch, tokens, heads, size) in memory
        found.append(run([*turned, xs[4]], mask=nn.Causal()))
        found.append(run([*(np.asfortranarray(x) for x in xs[:4]), xs[4]], mask=nn.Causal()))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_dot_and_taylor_tests_of_the_backward(random):
    s = Shape(1, 4, 2, 70, 90, 16, 16)
    for dtype in (np.float64, np.float32):
        *xs, g, _ = draws(s, dtype, random)
        us = [random.standard_normal(x.shape).astype(dtype) for x in xs]
        _, pull = hp.vjp(lambda *a: hp.attention(*a, mask=nn.Causal()), *xs)
        moved = hp.jvp(lambda *a: hp.attention(*a, mask=nn.Causal()), tuple(xs), tuple(us))[1].numpy().astype(np.float64)
        back = sum(float(np.vdot(a.numpy().astype(np.float64), u)) for a, u in zip(pull(g), us, strict=True))
        assert abs(np.vdot(moved, g) - back) <= 40 * np.finfo(dtype).eps * np.linalg.norm(moved) * np.linalg.norm(g)
    assert all(1.9 < order < 2.1 for order in hp.testing.taylor_test(
        lambda args: (hp.attention(*args, mask=nn.Causal()) ** 2).sum(), tuple(x.astype(np.float64) for x in xs),
        tuple(u.astype(np.float64) for u in us), step=0.1, halvings=3))


def test_numbers_that_are_not_finite_come_through(random):
    xs = draws(Shape(1, 1, 1, 4, 70, 8, 8), np.float64, random)
    xs[1][0, 0, 65, 2] = np.nan
    out = hp.attention(*xs[:3], mask=nn.Causal(offset=63)).numpy()      # seen from query 2 on
    assert np.isfinite(out[0, 0, :2]).all() and np.isnan(out[0, 0, 2:]).all()


def test_memory_grows_with_the_tokens_only(random, monkeypatch):
    """Beside inputs and results a backward has its sums: two numbers for each one of keys and values, for at most CHUNKS parts."""
    taken = []
    monkeypatch.setattr(attention.ARRAYS, "empty", lambda shape, dtype: taken.append(shape) or new(shape, dtype))
    sizes = {}
    for tokens in (512, 1024, 2048):
        taken.clear()
        run(draws(Shape(1, 2, 2, tokens, tokens, 8, 8), np.float32, random), mask=nn.SlidingWindow(16))
        sizes[tokens] = sum(int(np.prod(shape)) for shape in taken)
    assert sizes[2048] <= 2.1 * sizes[1024] <= 4.3 * sizes[512]


def new(shape, dtype):
    made = np.empty(shape, dtype)
    return made, made.ctypes.data


def test_the_library_uses_the_kernel(random, monkeypatch):
    calls = []
    monkeypatch.setattr(attending.native, "forward", lambda *a, whole=attention.forward: calls.append("forward") or whole(*a))
    monkeypatch.setattr(attending.native, "backward", lambda *a, whole=attention.backward: calls.append("backward") or whole(*a))
    monkeypatch.setattr(attention, "THRESHOLD", 1 << 12)
    run(draws(Shape(1, 2, 1, 64, 64, 8, 8), np.float32, random))
    assert calls == ["forward", "backward"]
    run(draws(Shape(1, 1, 1, 8, 8, 8, 8), np.float32, random))
    assert calls == ["forward", "backward"]             # too few scores
