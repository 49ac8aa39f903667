"""MultiHeadAttention and TransformerBlock against PyTorch's, rotary positions, caches, captured weights, and what they refuse."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.autograd.graph import recording
from hyperion.errors import InputError, ShapeError

rng = np.random.default_rng(2)


def double(module: Any) -> Any:
    return module.to(dtype="float64")


def torch_attention(ours: nn.MultiHeadAttention, torch: Any, memory: int | None = None) -> Any:
    """Return PyTorch's module with the weights of ours."""
    theirs = torch.nn.MultiheadAttention(ours.width, ours.heads, kdim=memory, vdim=memory, batch_first=True, dtype=torch.float64)
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    given = {"out_proj.weight": state["output.weight"], "out_proj.bias": state["output.bias"]}
    if memory is None:
        given |= {"in_proj_weight": state["qkv.weight"], "in_proj_bias": state["qkv.bias"]}
    else:
        key, value = state["kv.weight"].chunk(2)
        given |= {"q_proj_weight": state["query.weight"], "k_proj_weight": key, "v_proj_weight": value}
        given["in_proj_bias"] = torch.cat([state["query.bias"], state["kv.bias"]])
    theirs.load_state_dict(given)
    return theirs


@pytest.mark.parametrize("memory", [None, 5])
@pytest.mark.parametrize("causal", [False, True])
def test_values_and_gradients_against_torch(memory: int | None, causal: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    ours = double(nn.MultiHeadAttention(8, 2, memory=memory, mask=nn.Causal(offset=0) if causal else None))
    theirs = torch_attention(ours, torch, memory)
    x, other, g = rng.standard_normal((2, 6, 8)), rng.standard_normal((2, 4, memory or 1)), rng.standard_normal((2, 6, 8))
    a = hp.asarray(x, requires_grad=True)
    out = ours(a) if memory is None else ours(a, other)
    out.backward(g)
    b = torch.tensor(x, requires_grad=True)
    keys = b if memory is None else torch.tensor(other)
    hidden = torch.triu(torch.ones(6, keys.shape[1], dtype=torch.bool), 1) if causal else None
    expected, weights = theirs(b, keys, keys, attn_mask=hidden, average_attn_weights=False)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(ours.output.weight.grad.data, theirs.out_proj.weight.grad.numpy(), rtol=1e-11, atol=1e-12)
    if memory is None:
        np.testing.assert_allclose(ours.qkv.weight.grad.data, theirs.in_proj_weight.grad.numpy(), rtol=1e-11, atol=1e-12)
    with nn.capture(nn.Sequential(ours), "0.weights") as found:
        ours(a) if memory is None else ours(a, other)
    np.testing.assert_allclose(found["0.weights"][0].data, weights.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_a_modifier_changes_the_scores_of_a_layer() -> None:
    layer = double(nn.MultiHeadAttention(8, 2, modifier=nn.SoftCap(0.3)))
    x = 3.0 * rng.standard_normal((1, 5, 8))
    q, k, v = hp.split_heads(layer.qkv(x), (2, 2, 2), 4)
    weights = hp.softmax(0.3 * hp.tanh(q @ k.mT / 2.0 / 0.3), axis=-1)
    np.testing.assert_allclose(layer(x).data, layer.output(hp.join_heads(weights @ v)).data, rtol=1e-12, atol=1e-14)
    with nn.capture(nn.Sequential(layer), "0.weights") as found:
        layer(x)
    np.testing.assert_allclose(found["0.weights"][0].data, weights.data, rtol=1e-12, atol=1e-14)
    block = double(nn.TransformerBlock(8, 2, modifier=nn.SoftCap(0.3)))
    assert block.attention.modifier == nn.SoftCap(0.3) and block(x).shape == x.shape
    with pytest.raises(InputError, match=r"must be a nn\.ScoreModifier"):
        nn.MultiHeadAttention(8, 2, modifier=np.tanh)
    with pytest.raises(InputError, match="no modifier"):
        layer(x, cache=nn.PagedKVCache())


def test_weights_are_captured_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.GPT(vocabulary=11, context=8, layers=2, heads=2, width=8)
    monkeypatch.setattr(nn.MultiHeadAttention, "_weights", lambda *args: pytest.fail("weights were computed"))
    model([[1, 2, 3]])
    monkeypatch.undo()
    with nn.capture(model, "blocks.*.attention.weights") as found:
        model([[1, 2, 3]])
    assert {name: [x.shape for x in values] for name, values in found.items()} == {
        f"blocks.{i}.attention.weights": [(1, 2, 3, 3)] for i in range(2)
    }
    weights = found["blocks.0.attention.weights"][0].data
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-6)
    assert not np.triu(weights[0, 0], 1).any()


@pytest.mark.parametrize("norm_first", [True, False])
def test_blocks_against_torch(norm_first: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    ours = double(nn.TransformerBlock(8, 2, 12, hp.relu, norm_first=norm_first))
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64)
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    names = {"attention.qkv.weight": "self_attn.in_proj_weight", "attention.qkv.bias": "self_attn.in_proj_bias"}
    for one, other in (("attention.output", "self_attn.out_proj"), ("attention_norm", "norm1"), ("feedforward_norm", "norm2"),
                       ("feedforward.up", "linear1"), ("feedforward.down", "linear2")):
        names |= {f"{one}.{part}": f"{other}.{part}" for part in ("weight", "bias")}
    theirs.load_state_dict({names[name]: value for name, value in state.items()})
    x, g = rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 5, 8))
    out, expected = ours(x), theirs(torch.tensor(x))
    out.backward(g)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    gradients = {name: value.grad.numpy() for name, value in theirs.named_parameters()}
    for name, value in ours.named_parameters().items():
        np.testing.assert_allclose(value.grad.data, gradients[names[name]], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("norm_first", [True, False])
def test_blocks_with_a_memory_against_torch(norm_first: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
    ours = double(nn.TransformerBlock(8, 2, 12, hp.relu, norm_first=norm_first, memory=8, mask=nn.Causal()))
    theirs = torch.nn.TransformerDecoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64)
    s = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    given = {
        "self_attn.in_proj_weight": s["attention.qkv.weight"], "self_attn.in_proj_bias": s["attention.qkv.bias"],
        "multihead_attn.in_proj_weight": torch.cat([s["cross.query.weight"], s["cross.kv.weight"]]),
        "multihead_attn.in_proj_bias": torch.cat([s["cross.query.bias"], s["cross.kv.bias"]]),
    }
    for one, other in (("attention.output", "self_attn.out_proj"), ("cross.output", "multihead_attn.out_proj"),
                       ("attention_norm", "norm1"), ("cross_norm", "norm2"), ("feedforward_norm", "norm3"), ("feedforward.up", "linear1"),
                       ("feedforward.down", "linear2")):
        given |= {f"{other}.{part}": s[f"{one}.{part}"] for part in ("weight", "bias")}
    theirs.load_state_dict(given)
    x, memory = rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 7, 8))
    hidden = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    expected = theirs(torch.tensor(x), torch.tensor(memory), tgt_mask=hidden)
    np.testing.assert_allclose(ours(x, memory).data, expected.detach().numpy(), rtol=1e-11, atol=1e-12)


OPTIONS: dict[str, Any] = {
    "plain": {}, "grouped": {"kv_heads": 2}, "one head of keys": {"kv_heads": 1}, "window": {"mask": nn.SlidingWindow(2, 0)},
    "rope": {"rope": nn.RoPE(4)}, "rope, grouped": {"rope": nn.RoPE(4, 100.0, nn.LinearScaling(2.0)), "kv_heads": 2},
    "dynamic rope": {"rope": nn.RoPE(4, 100.0, nn.DynamicScaling(4.0, 3))}, "alibi": {"bias": nn.ALiBi(4)}, "head size": {"head_size": 6},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("steps", [(9,), (1,) * 9, (4, 1, 3, 1)])
def test_a_cache_gives_the_same_step_by_step(name: str, steps: tuple[int, ...]) -> None:
    layer = double(nn.MultiHeadAttention(16, 4, **{"mask": nn.Causal(), **OPTIONS[name]}))
    x = rng.standard_normal((2, 9, 16))
    if "dynamic" in name:       # angles change with the length: each token's result is that of the text up to it
        whole = np.stack([layer(x[:, :n]).data[:, -1] for n in range(1, 10)], axis=1)
        ends = np.cumsum(steps) - 1
    else:
        whole, ends = layer(x).data, np.arange(9)
    for context in (hp.no_grad(), recording(True)):        # in shared memory, and recorded
        cache, outs, low = nn.KVCache(), [], 0
        with context:
            for n in steps:
                out, cache = layer(x[:, low:low + n], cache=cache)
                outs.append(out.data)
                low += n
        assert cache.length == 9
        np.testing.assert_allclose(np.concatenate(outs, axis=1)[:, ends], whole[:, ends], rtol=1e-11, atol=1e-13)


def test_a_cache_is_a_value() -> None:
    parts = [rng.standard_normal((1, 2, n, 3)) for n in (2, 1, 70, 1)]
    first = nn.KVCache().extended(parts[0], parts[0])
    second = first.extended(parts[1], parts[1])
    other = first.extended(parts[3], parts[3])          # a second continuation does not write over the first
    third = second.extended(parts[2], -parts[2])
    np.testing.assert_array_equal(first.keys.data, parts[0])
    np.testing.assert_array_equal(second.keys.data, np.concatenate(parts[:2], axis=2))
    np.testing.assert_array_equal(other.keys.data, np.concatenate([parts[0], parts[3]], axis=2))
    np.testing.assert_array_equal(third.keys.data, np.concatenate(parts[:3], axis=2))
    np.testing.assert_array_equal(third.values.data[:, :, 3:], -parts[2])
    assert third.length == 73 and second.keys.data.base is not None
    with pytest.raises(ShapeError, match="only the third axis"):
        first.extended(np.ones((2, 2, 1, 3)), np.ones((2, 2, 1, 3)))
    with pytest.raises(InputError, match="it is empty"):
        nn.KVCache().keys  # noqa: B018


def test_gradients_pass_through_a_cache() -> None:
    layer = double(nn.MultiHeadAttention(8, 2, mask=nn.Causal(), rope=nn.RoPE(4)))
    x, g = rng.standard_normal((1, 5, 8)), rng.standard_normal((1, 5, 8))

    def stepwise(x: Any) -> Any:
        cache, outs = nn.KVCache(), []
        for i in range(5):
            out, cache = layer(x[:, i:i + 1], cache=cache)
            outs.append(out)
        return (hp.concat(outs, axis=1) * g).sum()

    np.testing.assert_allclose(hp.grad(stepwise)(x).data, hp.grad(lambda x: (layer(x) * g).sum())(x).data, rtol=1e-11, atol=1e-13)


def test_rotary_scores_depend_on_distances_alone() -> None:
    rope = nn.RoPE(8, 100.0)
    q, k = rng.standard_normal((2, 8))

    def score(i: int, j: int) -> float:
        turned = [hp.rotate_pairs(x, rope.turns(np.array(n), np.dtype(np.float64))).data for x, n in ((q, i), (k, j))]
        return float(turned[0] @ turned[1])

    assert score(7, 3) == pytest.approx(score(104, 100), rel=1e-12)
    assert score(0, 0) == pytest.approx(q @ k, rel=1e-12)


def test_dropout_only_while_training() -> None:
    nn.seed(0)
    layer = nn.MultiHeadAttention(8, 2, dropout=0.5)
    x = rng.standard_normal((1, 6, 8)).astype(np.float32)
    assert not np.array_equal(layer(x).data, layer(x).data)
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, layer(x).data)


@pytest.mark.parametrize("make, error, text", [
    (lambda: nn.MultiHeadAttention(10, 3), ShapeError, "heads=3 must divide width=10; or give head_size"),
    (lambda: nn.MultiHeadAttention(12, 4, kv_heads=3), ShapeError, "kv_heads=3 must divide heads=4"),
    (lambda: nn.MultiHeadAttention(12, 4, rope=nn.RoPE(4)), ShapeError, r"it must be nn.RoPE\(3\)"),
    (lambda: nn.MultiHeadAttention(12, 4, bias=nn.ALiBi(3)), ShapeError, r"it must be nn.ALiBi\(4\)"),
    (lambda: nn.MultiHeadAttention(8, 2)(np.ones((5, 8))), ShapeError, r"it must be \(batch, tokens, 8\)"),
    (lambda: nn.MultiHeadAttention(8, 2)(np.ones((1, 5, 8)), np.ones((1, 5, 8))), InputError, "forward takes none"),
    (lambda: nn.MultiHeadAttention(8, 2, memory=8)(np.ones((1, 5, 8))), InputError, "needs one"),
    (lambda: nn.RoPE(5), ShapeError, "must be even"),
    (lambda: nn.RoPE(4, scaling=2.0), InputError, "must be a scaling"),
    (lambda: nn.LinearScaling(0.0), InputError, "must be a number above 0"),
    (lambda: nn.Llama3Scaling(2.0, 4.0, 1.0), InputError, "low=4.0 must be below high=1.0"),
])
def test_wrong_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
