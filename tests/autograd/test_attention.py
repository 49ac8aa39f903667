"""Attention against PyTorch's and the formula written out: masks, fewer heads, other lengths, empty rows, dropout, half precision."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.autograd.masks import Tile
from hyperion.autograd.modifiers import TENSORS, text_of
from hyperion.autograd.ops import attending as module
from hyperion.autograd.ops.attending import table_of
from hyperion.autograd.random.bits import words_at
from hyperion.errors import DtypeError, InputError, ShapeError
from tests.autograd.samples_attention import Everything

rng = np.random.default_rng(0)
IDS = np.array([[0, 0, 1, 1, 1, -1, 2], [0, 1, 1, 1, 2, 2, 2]])
TABLE = rng.random((2, 4, 7, 7)) < 0.6
LAYOUT = np.tril(rng.random((4, 4)) < 0.6) | np.eye(4, dtype=bool)
MASKS: dict[str, Any] = {
    "none": None,
    "causal": nn.Causal(),
    "window": nn.SlidingWindow(2, 1),
    "left": nn.SlidingWindow(2),
    "right": nn.SlidingWindow(None, 2),
    "document": nn.Document(IDS),
    "document and causal": nn.Document(IDS) & nn.Causal(),
    "prefix": nn.PrefixLM(3),
    "prefixes": nn.PrefixLM(np.array([1, 5])),
    "blocks": nn.BlockSparse(LAYOUT, 2),
    "strided": nn.BlockSparse.strided(4, 2, 2) & nn.Causal(),
    "fixed": nn.BlockSparse.fixed(7, 3, 1, 1),
    "heads of blocks": nn.BlockSparse(np.stack([LAYOUT, LAYOUT.T, LAYOUT, ~LAYOUT]), 2),
    "table": TABLE,
    "either": (nn.Causal() & nn.SlidingWindow(1)) | nn.Document(IDS) | nn.PrefixLM(1),
    "table and causal": TABLE & nn.Causal(),
    "nothing": np.zeros((7, 7), bool),
}


class Strange(nn.ScoreModifier):
    """One that asks for a function that there is not, or does not say what it does."""

    def __init__(self, function: str) -> None:
        self.function = function

    def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        return getattr(xp, self.function)(score) if self.function else super().value(xp, score, head, query, key)


def expected_table(name: str) -> Any:
    """Return what each mask lets be seen, element by element."""
    i, j = np.arange(7)[:, None], np.arange(7)
    same = (IDS[:, None, :, None] == IDS[:, None, None, :]) & (IDS >= 0)[:, None, None, :]
    blocks = LAYOUT[i // 2, j // 2]
    simple: dict[str, Any] = {
        "none": i >= 0, "causal": j <= i, "window": (j >= i - 2) & (j <= i + 1), "left": (j >= i - 2) & (j <= i), "right": j <= i + 2,
        "document": same, "document and causal": same & (j <= i), "prefix": (j < 3) | (j <= i),
        "prefixes": (j < np.array([1, 5])[:, None, None, None]) | (j <= i), "blocks": blocks,
        "strided": (j <= i) & ((i // 2 - j // 2 < 2) | ((i // 2 - j // 2) % 2 == 0)),
        "fixed": (j <= i) & ((i // 3 == j // 3) | (j % 3 == 2)),
        "heads of blocks": np.stack([blocks, LAYOUT.T[i // 2, j // 2], blocks, ~blocks])[None], "table": TABLE,
        "either": ((j <= i) & (j >= i - 1)) | same | (j < 1) | (j <= i), "table and causal": TABLE & (j <= i),
        "nothing": np.zeros((7, 7), bool),
    }
    return np.broadcast_to(simple[name], (2, 4, 7, 7))


def inputs(heads: int = 4, kept: int = 2, queries: int = 7, keys: int = 7) -> list[Any]:
    shapes = ((2, heads, queries, 6), (2, kept, keys, 6), (2, kept, keys, 5), (2, heads, queries, 5))
    return [rng.standard_normal(shape) for shape in shapes]


def written(q: Any, k: Any, v: Any, seen: Any, scale: float, bias: Any = 0.0) -> Any:
    """The formula, in operations of the table, for the test alone."""
    group = q.shape[1] // k.shape[1]
    k, v = (hp.reshape(hp.stack([x] * group, axis=2), (x.shape[0], q.shape[1], *x.shape[2:])) for x in (k, v))
    scores = hp.where(seen, q @ k.mT * scale + bias, -1e30)
    weights = hp.where(seen, hp.exp(scores - hp.max(scores, axis=-1, keepdims=True)), 0.0)
    total = hp.sum(weights, axis=-1, keepdims=True)
    return weights / hp.where(total == 0.0, 1.0, total) @ v


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_what_they_say(name: str) -> None:
    mask = MASKS[name]
    if mask is not None:
        np.testing.assert_array_equal(np.broadcast_to(table_of(mask, 7, 7, 2, 4), (2, 4, 7, 7)), expected_table(name))


@pytest.mark.parametrize("tile", [1 << 18, 64, 1])
@pytest.mark.parametrize("name", MASKS)
def test_values_and_gradients_against_torch(name: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    monkeypatch.setattr(module, "TILE", tile)           # several tiles, and single rows
    monkeypatch.setattr(module, "ROWS", 3 if tile < 100 else 128)
    q, k, v, g = inputs()
    seen = expected_table(name)
    theirs = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    wide = [theirs[0], *(x.repeat_interleave(2, dim=1) for x in theirs[1:])]
    alive = torch.from_numpy(seen.any(axis=-1, keepdims=True).copy())
    # PyTorch gives NaN for rows that see nothing: there it is let see all, and the rows are taken out
    out = torch.nn.functional.scaled_dot_product_attention(*wide, attn_mask=torch.from_numpy(seen.copy()) | ~alive) * alive
    out.backward(torch.from_numpy(g))
    ours = [hp.asarray(x, requires_grad=True) for x in (q, k, v)]
    found, lse = hp.attention(*ours, mask=MASKS[name], return_lse=True)
    found.backward(g)
    np.testing.assert_allclose(found.data, out.detach().numpy(), rtol=1e-12, atol=1e-13)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.data, y.grad.numpy(), rtol=1e-11, atol=1e-12)
    scores = np.where(seen, q @ np.repeat(k, 2, axis=1).swapaxes(-1, -2) / np.sqrt(6), -np.inf)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(lse.data, np.log(np.exp(scores).sum(axis=-1)), rtol=1e-12)


@pytest.mark.parametrize("name", MASKS)
def test_first_and_second_derivatives_equal_those_of_the_formula(name: str) -> None:
    *xs, g = inputs()
    us = [rng.standard_normal(x.shape) for x in xs]
    seen = expected_table(name)

    def ours(q: Any, k: Any, v: Any) -> Any:
        return (hp.attention(q, k, v, mask=MASKS[name], scale=0.3) * g).sum()

    def plain(q: Any, k: Any, v: Any) -> Any:
        return (written(q, k, v, seen, 0.3) * g).sum()

    for found, true in zip(hp.hvp(ours, tuple(xs), tuple(us)), hp.hvp(plain, tuple(xs), tuple(us)), strict=True):
        np.testing.assert_allclose(found.data, true.data, rtol=1e-10, atol=1e-11)

    def slope(f: Any) -> Any:
        return lambda *args: sum((part * u).sum() for part, u in zip(hp.grad(f, (0, 1, 2))(*args), us, strict=True))

    for found, true in zip(hp.grad(slope(ours), (0, 1, 2))(*xs), hp.grad(slope(plain), (0, 1, 2))(*xs), strict=True):
        np.testing.assert_allclose(found.data, true.data, rtol=1e-10, atol=1e-11)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MASKS)
def test_the_gpu_gives_what_the_cpu_gives(name: str) -> None:
    *xs, g = inputs()
    generator = hp.random.Generator(0)
    found = []
    for place in ("cpu", "cuda:0"):
        for options in ({}, {"bias": nn.ALiBi(4)}, {"dropout": (0.2, generator.at(1))}):
            there = [hp.asarray(x, device=place) for x in xs]
            (out, lse), pull = hp.vjp(lambda *a, o=options: hp.attention(*a, mask=MASKS[name], return_lse=True, **o), *there)
            assert out.device == place
            slopes = pull((hp.asarray(g, device=place), hp.asarray(np.ones(lse.shape) * np.isfinite(lse.to("cpu").data), device=place)))
            second = hp.hvp(lambda *a: (hp.attention(*a, mask=MASKS[name]) ** 2).sum(), tuple(there), tuple(there))
            found.append([x.to("cpu").data for x in (out, lse, *slopes, *second)])
    for one, other in zip(found[:3], found[3:], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_the_twin_of_torch_s_function(kind: str, is_causal: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    if is_causal and kind != "none":
        with pytest.raises(InputError, match="attn_mask with is_causal"):
            nn.functional.scaled_dot_product_attention(*inputs()[:3], attn_mask=np.ones((7, 7), bool), is_causal=True, enable_gqa=True)
        return
    q, k, v, _ = inputs(4, 2, 5, 7)
    mask = {"none": None, "bool": rng.random((5, 7)) < 0.8, "float": rng.standard_normal((2, 1, 5, 7))}[kind]
    options = {"is_causal": is_causal, "scale": 0.4, "enable_gqa": True}
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)), attn_mask=None if mask is None else torch.tensor(mask), **options
    )
    found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, **options)
    np.testing.assert_allclose(found.data, theirs.numpy(), rtol=1e-12, atol=1e-13)
    with pytest.raises(ShapeError, match="enable_gqa=True"):
        nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("queries, keys", [(3, 7), (7, 3), (1, 9), (1, 1)])
@pytest.mark.parametrize("kept", [1, 2, 4])
def test_other_lengths_and_fewer_heads(queries: int, keys: int, kept: int) -> None:
    q, k, v, g = inputs(4, kept, queries, keys)
    for mask, seen in (
        (None, np.ones((queries, keys), bool)),
        (nn.Causal(), np.arange(keys) <= np.arange(queries)[:, None] + keys - queries),       # the last query stands at the last key
        (nn.Causal(offset=0), np.arange(keys) <= np.arange(queries)[:, None]),
        (nn.SlidingWindow(1, 1, offset=0), abs(np.arange(keys) - np.arange(queries)[:, None]) <= 1),
    ):
        ours, pull = hp.vjp(lambda *xs, mask=mask: hp.attention(*xs, mask=mask), q, k, v)
        true, pull_true = hp.vjp(lambda *xs, seen=seen: written(*xs, seen, 1 / np.sqrt(6)), q, k, v)
        np.testing.assert_allclose(ours.data, true.data, rtol=1e-12, atol=1e-13)
        for a, b in zip(pull(g), pull_true(g), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4, 7, 7), (4, 1, 7), (7, 7), (2, 1, 1, 7), ()])
def test_a_bias_and_its_gradient(shape: tuple[int, ...]) -> None:
    q, k, v, g = inputs()
    bias, seen = rng.standard_normal(shape), expected_table("causal")
    ours, pull = hp.vjp(lambda *xs: hp.attention(*xs[:3], mask=nn.Causal(), bias=xs[3]), q, k, v, bias)
    true, pull_true = hp.vjp(lambda *xs: written(*xs[:3], seen, 1 / np.sqrt(6), xs[3]), q, k, v, bias)
    np.testing.assert_allclose(ours.data, true.data, rtol=1e-12, atol=1e-13)
    for a, b in zip(pull(g), pull_true(g), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("heads", [4, 6, 1, 12])
def test_alibi(heads: int) -> None:
    # slopes of the paper's code: a power of two, or those of the power below and every second one of the power above
    def slopes(n: int) -> list[float]:
        if n & (n - 1) == 0:
            return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]
        below = 1 << (n.bit_length() - 1)
        return slopes(below) + slopes(2 * below)[0::2][:n - below]

    assert nn.ALiBi(heads).slopes == pytest.approx(slopes(heads), rel=1e-15)
    q, k, v, _ = inputs(heads, 1, 3, 7)
    distance = abs(np.arange(3)[:, None] + 4 - np.arange(7))
    bias = -np.array(slopes(heads))[:, None, None] * distance
    np.testing.assert_allclose(
        hp.attention(q, k, v, bias=nn.ALiBi(heads)).data, hp.attention(q, k, v, bias=bias).data, rtol=1e-12, atol=1e-14
    )


def test_rows_that_see_nothing_give_zeros_and_zero_gradients() -> None:
    q, k, v, g = inputs()
    seen = np.ones((7, 7), bool)
    seen[[1, 4]] = False
    for options in ({"mask": seen}, {"bias": np.where(seen, 0.0, -np.inf)}):
        (out, lse), pull = hp.vjp(lambda *xs, options=options: hp.attention(*xs, return_lse=True, **options), q, k, v)
        assert not out.data[:, :, [1, 4]].any() and np.isneginf(lse.data[:, :, [1, 4]]).all()
        to_q, to_k, to_v = pull((g, np.zeros(lse.shape)))
        assert not to_q.data[:, :, [1, 4]].any()
        assert all(np.isfinite(x.data).all() for x in (to_q, to_k, to_v))
        rest = [0, 2, 3, 5, 6]
        same, pull = hp.vjp(lambda *xs: hp.attention(*xs), q[:, :, rest], k, v)
        np.testing.assert_allclose(out.data[:, :, rest], same.data, rtol=1e-12, atol=1e-13)
        for a, b in zip((to_k, to_v), pull(g[:, :, rest])[1:], strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-11, atol=1e-12)
    hessian = hp.hvp(lambda *xs: (hp.attention(*xs, mask=seen) ** 2).sum(), (q, k, v), (q, k, v))
    assert all(np.isfinite(x.data).all() for x in hessian) and not hessian[0].data[:, :, [1, 4]].any()


def test_large_scores_do_not_overflow() -> None:
    q, k, v, g = inputs()
    out, pull = hp.vjp(lambda *xs: hp.attention(*xs, mask=nn.Causal()), 1e4 * q, 1e4 * k, v)
    assert np.isfinite(out.data).all() and all(np.isfinite(x.data).all() for x in pull(g))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_half_precision_is_computed_in_float32(dtype: str, tolerance: float) -> None:
    # outputs are rounded once: 2^-11 for float16 and 2^-8 for bfloat16, relative to values near 2
    xs = [hp.asarray(x).astype(dtype) for x in inputs()]
    wide = [x.astype("float64") for x in xs]
    (out, lse), pull = hp.vjp(lambda *a: hp.attention(*a, mask=nn.Causal(), return_lse=True), *xs[:3])
    (true, _), pull_true = hp.vjp(lambda *a: hp.attention(*a, mask=nn.Causal(), return_lse=True), *wide[:3])
    assert str(out.dtype) == dtype and lse.dtype == np.float32
    zeros = np.zeros(lse.shape)
    found, expected = [out, *pull((xs[3], zeros.astype(np.float32)))], [true, *pull_true((wide[3], zeros))]
    for a, b in zip(found, expected, strict=True):
        assert str(a.dtype) == dtype
        assert np.abs(a.data.astype(np.float64) - b.data).max() <= tolerance * np.abs(b.data).max()


def test_dropout_is_drawn_anew_has_the_right_mean_and_a_gradient_of_its_own_draw() -> None:
    q, k, v, g = (x.astype(np.float64) for x in inputs(4, 2, 16, 16))
    generator = hp.random.Generator(3)
    outs = np.stack([hp.attention(q, k, v, dropout=(0.3, generator)).data for _ in range(400)])
    assert not np.array_equal(outs[0], outs[1])
    error = outs.std(axis=0) / 20.0                     # of a mean of 400
    assert (abs(outs.mean(axis=0) - hp.attention(q, k, v).data) < 6.0 * error).all()
    marked = generator.state()
    _, moved = hp.jvp(lambda *xs: hp.attention(*xs, dropout=(0.3, generator.restore(marked))), (q, k, v), (q, k, v))
    _, pull = hp.vjp(lambda *xs: hp.attention(*xs, dropout=(0.3, generator.restore(marked))), q, k, v)
    assert (moved.data * g).sum() == pytest.approx(sum((a.data * b).sum() for a, b in zip(pull(g), (q, k, v), strict=True)), rel=1e-10)


def test_dropout_s_bits_are_halves_of_philox_words() -> None:
    key, rate, rows, heads, queries, keys = (5, 9), 0.4, 2, 2, 3, 11
    tile = Tile((1, 4), (0, 2), (1, 3), (3, 10), queries, keys)         # rows of the batch beyond 2 begin again
    kept = module._kept(np, (rate, key, rows), heads, tile, np.dtype(np.float64))
    for b, h, i, j in np.ndindex(*tile.shape):
        n = (((b + 1) % rows * heads + h) * queries + i + 1) * 16 + j + 3
        word = int(words_at(np, key, 0, 0, np.array([n // 2], np.uint64))[0])
        half = word >> 32 if n % 2 else word & 0xFFFFFFFF
        assert kept[b, h, i, j] == (0.0 if half < int(rate * 2**32) else 1.0 / (1.0 - rate))


@pytest.mark.parametrize("modifier", [nn.SoftCap(0.8), Everything()], ids=["soft cap", "everything"])
def test_a_modifier_changes_scores_before_bias_and_mask(modifier: Any) -> None:
    q, k, v, _ = inputs(4, 4, 3, 7)
    bias = rng.standard_normal((4, 1, 7))
    raw = 0.3 * q @ k.swapaxes(-1, -2)
    scores = modifier.value(np, raw, np.arange(4.0)[:, None, None], np.arange(4.0, 7.0)[:, None], np.arange(7.0)) + bias
    scores = np.where(np.arange(7) <= np.arange(3)[:, None] + 4, scores, -np.inf)
    weights = np.exp(scores)
    found = hp.attention(q, k, v, scale=0.3, bias=bias, mask=nn.Causal(), modifier=modifier)
    np.testing.assert_allclose(found.data, weights / weights.sum(axis=-1, keepdims=True) @ v, rtol=1e-12)
    step = 1e-6
    places = 1.0, 5.0, 3.0
    slope = (modifier.value(np, raw + step, *places) - modifier.value(np, raw - step, *places)) / (2 * step)
    np.testing.assert_allclose(modifier.slope(np, raw, *places), slope, rtol=1e-7, atol=1e-8)


def test_a_modifier_is_a_value_and_one_without_c_text_runs_too() -> None:
    class Odd(nn.ScoreModifier):
        def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
            return xp.square(score) ** 1.25

    assert nn.SoftCap(2) == nn.SoftCap(2.0) != nn.SoftCap(3.0) and repr(nn.SoftCap(2)) == "SoftCap(limit=2.0)"
    assert len({nn.SoftCap(2), nn.SoftCap(2.0), Odd(), Odd()}) == 2
    assert text_of(Odd()) is None and "tanh_of" in str(text_of(nn.SoftCap(2)))
    q, k, v, g = (abs(x) for x in inputs(2, 2, 64, 64))
    found, pull = hp.vjp(lambda *xs: hp.attention(*xs, modifier=Odd()), q, k, v)
    true, pull_true = hp.vjp(lambda *xs: written_with(Odd(), *xs), q, k, v)
    np.testing.assert_allclose(found.data, true.data, rtol=1e-12)
    for a, b in zip(pull(g), pull_true(g), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)


def written_with(modifier: Any, q: Any, k: Any, v: Any) -> Any:
    return hp.softmax(modifier.value(TENSORS, q @ k.mT / np.sqrt(6), 0.0, 0.0, 0.0), axis=-1) @ v


def test_each_example_of_a_vmap_is_computed_alone() -> None:
    q, k, v, _ = inputs()
    qs = np.stack([q, 2.0 * q, -q])
    lengths = np.array([[1, 5], [2, 2], [7, 0]])

    def loss(q: Any, length: Any) -> Any:
        return (hp.attention(q, k, v, mask=nn.PrefixLM(length) & nn.Document(IDS), bias=nn.ALiBi(4)) ** 2).sum()

    each = hp.vmap(hp.grad(loss))(qs, lengths)
    for i in range(3):
        np.testing.assert_allclose(each.data[i], hp.grad(loss)(qs[i], hp.asarray(lengths[i])).data, rtol=1e-12, atol=1e-13)


def test_axes_before_the_last_two_may_be_left_out_or_more() -> None:
    q, k, v, _ = inputs(4, 4)
    out = hp.attention(q, k, v).data
    np.testing.assert_array_equal(hp.attention(q[0], k[0], v[0]).data, out[0])
    np.testing.assert_allclose(hp.attention(q[0, 0], k[0, 0], v[0, 0]).data, out[0, 0], rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(hp.attention(q[:, None], k[:, None], v[:, None]).data, out[:, None])


def test_the_graph_keeps_no_table_of_scores() -> None:
    q = hp.asarray(np.zeros((1, 1, 64, 2)), requires_grad=True)
    out, lse = hp.attention(q, q, q, return_lse=True)
    sizes = [x.size for x in (*out.node.inputs, out, lse)]
    assert max(sizes) == q.size and sum(x.size for x in (out, lse)) == 64 * 3


@pytest.mark.parametrize("call, error, text", [
    (lambda q, k, v: hp.attention(q, k[..., :3], v), ShapeError, "q has head size 6, k has 3; they must agree"),
    (lambda q, k, v: hp.attention(q, k, v[:, :, :3]), ShapeError, "all but the last axis must agree"),
    (lambda q, k, v: hp.attention(q[:, :3], k, v), ShapeError, "q has 3 heads, k has 2; the heads of k must divide those of q"),
    (lambda q, k, v: hp.attention(q[:1], k, v), ShapeError, "the batch, must agree"),
    (lambda q, k, v: hp.attention(q, k, v, mask=np.ones((6, 7), bool)), ShapeError, r"must broadcast to \(2, 4, 7, 7\)"),
    (lambda q, k, v: hp.attention(q, k, v, mask=np.ones((7, 7))), DtypeError, "numbers to add go to bias="),
    (lambda q, k, v: hp.attention(q, k, v, mask="causal"), InputError, r"use Causal\(\), SlidingWindow"),
    (lambda q, k, v: hp.attention(q, k, v, mask=nn.Document([0, 1])), ShapeError, "give one for each"),
    (lambda q, k, v: hp.attention(q, k, v, mask=nn.BlockSparse(np.ones((2, 2), bool), 2)), ShapeError, "at least 4 blocks"),
    (lambda q, k, v: hp.attention(q, k, v, mask=nn.PrefixLM(np.array([1, 2, 3]))), ShapeError, "3 lengths for 2 rows"),
    (lambda q, k, v: hp.attention(q, k, v, bias=np.ones((7, 7), bool)), DtypeError, "bools go to mask="),
    (lambda q, k, v: hp.attention(q, k, v, bias=np.ones((3, 7))), ShapeError, "must broadcast to"),
    (lambda q, k, v: hp.attention(q, k, v, bias=nn.ALiBi(3)), ShapeError, "q of 4 heads"),
    (lambda q, k, v: hp.attention(q, k, v, scale=np.inf), InputError, "must be a finite number"),
    (lambda q, k, v: hp.attention(q, k, v, dropout=0.1), InputError, r"give \(rate, generator\)"),
    (lambda q, k, v: hp.attention(q, k, v, dropout=(1.0, hp.random.Generator(0))), InputError, "at least 0 and below 1"),
    (lambda q, k, v: hp.attention(q * 1j, k, v), DtypeError, "all must be real"),
    (lambda q, k, v: hp.attention(q[0, 0, 0], k, v), ShapeError, "must be \\(batch, heads, tokens, head size\\)"),
    (lambda q, k, v: hp.attention(q, k, v, modifier=np.tanh), InputError, "must be a nn.ScoreModifier, such as"),
    (lambda q, k, v: nn.SoftCap(0.0), InputError, "limit=0.0 must be a number above 0"),
    (lambda q, k, v: hp.attention(q, k, v, modifier=Strange("erf")), InputError, "xp.erf is not among its functions"),
    (lambda q, k, v: hp.attention(q, k, v, modifier=Strange("")), NotImplementedError, "must say what becomes of a score"),
    (lambda q, k, v: nn.SlidingWindow(-1), InputError, "left=-1 must be 0 or more"),
    (lambda q, k, v: nn.BlockSparse(np.ones((2, 3), bool), 2), ShapeError, "must be \\(blocks, blocks\\)"),
    (lambda q, k, v: nn.Document([0.5, 1.0]), DtypeError, "it must be integer"),
])
def test_wrong_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(*inputs()[:3])


def test_masks_are_values() -> None:
    assert nn.Causal() == nn.Causal() and nn.Causal() != nn.Causal(0) and hash(nn.SlidingWindow(2)) == hash(nn.SlidingWindow(2))
    assert (nn.Causal() & nn.SlidingWindow(2)) == (nn.Causal() & nn.SlidingWindow(2))
    assert repr(nn.Causal() & (nn.SlidingWindow(2) | nn.Document([0]))) == "Causal() & (SlidingWindow(left=2, right=0) | Document())"
    assert nn.Document([0, 1]) != nn.Document([0, 1])           # arrays are not compared
