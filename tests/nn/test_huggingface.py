"""nn.GPT and nn.Llama against the transformers library: logits, loss, every gradient, generated tokens, files from either side."""

import json
from typing import Any

import numpy as np
import pytest

from hyperion import nn
from tests.nn.huggingface import SCALINGS, build, gpt2_config, llama_config, torch, transformers, widen

# 40 random configurations and more: every scaling of rotary positions comes four times.
CONFIGS = [pytest.param("gpt2", seed, id=f"gpt2-{seed}") for seed in range(16)] + [
    pytest.param("llama", seed, id=f"llama-{seed}") for seed in range(4 * len(SCALINGS))
]


def config_of(kind: str, seed: int) -> Any:
    return gpt2_config(seed) if kind == "gpt2" else llama_config(seed)


def ours_of(kind: str) -> Any:
    return nn.GPT if kind == "gpt2" else nn.Llama


def pair(kind: str, seed: int, folder: Any, dtype: Any = None) -> tuple[Any, Any]:
    """Return a model of the library, and ours with its weights."""
    theirs = build(config_of(kind, seed), seed, dtype)
    theirs.save_pretrained(folder)
    return theirs, ours_of(kind).from_pretrained(folder)


def tokens_of(model: Any, seed: int, batch: int = 2) -> Any:
    rng = np.random.default_rng(seed)
    return rng.integers(0, model.vocabulary, (batch, min(model.context, int(rng.integers(3, 17)))))


def their_gradients(theirs: Any, ours: Any) -> dict[str, Any]:
    """Return the library's gradients under our names."""
    own = dict(theirs.named_parameters())
    found = {}
    for name, names, row in ours.layout.entries(ours):
        parts = [own[full].grad.numpy() for full in names]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        found[name] = array.T if row.turned else array
    return found


def compare(theirs: Any, ours: Any, tokens: Any, tolerance: float) -> None:
    """Compare logits, loss and every gradient, relative to the largest element of each."""
    ids = torch.from_numpy(tokens)
    expected = theirs(input_ids=ids, labels=ids, use_cache=False)
    their_loss = expected.loss
    if expected.logits.dtype == torch.float64:      # the library's own loss rounds the scores to float32
        their_loss = torch.nn.functional.cross_entropy(expected.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    their_loss.backward()
    scores = ours(tokens)
    loss = nn.cross_entropy(scores[:, :-1], tokens[:, 1:])
    loss.backward()
    for found, true, name in ((scores, expected.logits, "logits"), (loss, their_loss, "loss")):
        true = true.detach().numpy()
        assert np.abs(found.data - true).max() <= tolerance * np.abs(true).max(), name
    gradients = their_gradients(theirs, ours)
    assert set(gradients) == set(ours.named_parameters())
    for name, value in ours.named_parameters().items():
        size = np.abs(gradients[name]).max()
        assert np.abs(value.grad.data - gradients[name]).max() <= tolerance * max(size, 1e-3), name


@pytest.mark.parametrize(("kind", "seed"), CONFIGS)
def test_logits_loss_and_gradients_in_float64(kind: str, seed: int, tmp_path: Any) -> None:
    theirs, ours = pair(kind, seed, tmp_path, torch.float64)
    assert {x.dtype for x in ours.parameters()} == {np.dtype(np.float64)}
    if kind == "llama":
        widen(theirs, ours.blocks[0].attention.rope)
    compare(theirs, ours, tokens_of(ours, seed), 1e-9)


@pytest.mark.parametrize(("kind", "seed"), CONFIGS)
def test_logits_loss_and_gradients_in_float32(kind: str, seed: int, tmp_path: Any) -> None:
    theirs, ours = pair(kind, seed, tmp_path)
    compare(theirs, ours, tokens_of(ours, seed), 1e-4)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling["rope_type"])
@pytest.mark.parametrize("length", [5, 48, 100])
def test_frequencies_are_the_library_s(scaling: dict[str, Any], length: int, tmp_path: Any) -> None:
    config = llama_config(SCALINGS.index(scaling))
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    cosine, sine = theirs(torch.zeros(1), torch.arange(length)[None])
    config.save_pretrained(tmp_path)
    arguments = nn.Llama.layout.arguments(json.loads((tmp_path / "config.json").read_text()))
    rope = nn.RoPE(config.head_dim, arguments["theta"], arguments["scaling"])
    # the library rounds frequencies to float32: 6e-8 of each
    np.testing.assert_allclose(rope.frequencies(length), theirs.inv_freq.numpy(), rtol=2e-6)
    turns = rope.turns(np.arange(length), np.dtype(np.float64)).data
    half = config.head_dim // 2
    np.testing.assert_allclose(turns, np.concatenate([cosine[0, :, :half], sine[0, :, :half]], axis=-1), atol=3e-6 * length)


@pytest.mark.parametrize(("kind", "seed"), CONFIGS[::2])
def test_greedy_tokens_with_and_without_cache(kind: str, seed: int, tmp_path: Any) -> None:
    theirs, ours = pair(kind, seed, tmp_path, torch.float64)
    prompts = tokens_of(ours, seed + 100, batch=3)[:, :8]
    count = min(8, ours.context - prompts.shape[1])
    ids = torch.from_numpy(prompts)
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0,
    ).numpy()
    for cache in (True, False):
        np.testing.assert_array_equal(ours.generate(prompts, count, temperature=0.0, cache=cache), expected)


@pytest.mark.parametrize(("kind", "seed"), CONFIGS[::3])
def test_prompts_of_different_lengths_as_alone(kind: str, seed: int, tmp_path: Any) -> None:
    theirs, ours = pair(kind, seed, tmp_path, torch.float64)
    rows = [list(row[:n]) for row, n in zip(tokens_of(ours, seed, batch=3), (1, 2, 3), strict=True)]
    together = ours.generate(rows, 6, temperature=0.0)
    ids, kept = torch.zeros((3, 3), dtype=torch.int64), torch.zeros((3, 3), dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, 3 - len(row):], kept[i, 3 - len(row):] = torch.tensor(row), 1
    padded = theirs.generate(ids, attention_mask=kept, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0).numpy()
    for i, (row, found) in enumerate(zip(rows, together, strict=True)):
        np.testing.assert_array_equal(found, ours.generate([row], 6, temperature=0.0)[0])
        np.testing.assert_array_equal(found[len(row):], padded[i, 3:])


@pytest.mark.parametrize(("kind", "seed"), CONFIGS[::3])
@pytest.mark.parametrize("shard", [5_000_000_000, 4000])
def test_what_we_save_the_library_loads(kind: str, seed: int, shard: int, tmp_path: Any) -> None:
    theirs, ours = pair(kind, seed, tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours", shard)
    assert (tmp_path / "ours" / "model.safetensors.index.json").exists() == (shard == 4000)
    again, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = dict(theirs.named_parameters()), dict(again.named_parameters())
    assert set(before) == set(after)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    ids = torch.from_numpy(tokens_of(ours, seed))
    torch.testing.assert_close(again.eval()(ids).logits, theirs(ids).logits, rtol=0, atol=0)
    tokens = tokens_of(ours, seed)
    np.testing.assert_array_equal(ours_of(kind).from_pretrained(tmp_path / "ours")(tokens).data, ours(tokens).data)


def test_sharded_files_of_the_library(tmp_path: Any) -> None:
    theirs = build(llama_config(1), 1)
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ours = nn.Llama.from_pretrained(tmp_path)
    ids = tokens_of(ours, 1)
    np.testing.assert_allclose(ours(ids).data, theirs(torch.from_numpy(ids)).logits.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_files_without_head_and_prefix(tmp_path: Any) -> None:
    config = gpt2_config(3)
    config.tie_word_embeddings = True
    theirs = build(config, 3)
    theirs.transformer.save_pretrained(tmp_path)
    ours = nn.GPT.from_pretrained(tmp_path)
    ids = tokens_of(ours, 1)
    np.testing.assert_allclose(ours(ids).data, theirs(torch.from_numpy(ids)).logits.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_dynamic_scaling_beyond_the_context_with_and_without_cache(tmp_path: Any) -> None:
    theirs, ours = pair("llama", 2, tmp_path, torch.float64)
    assert ours.blocks[0].attention.rope.dynamic and ours.longest == 3 * ours.context
    widen(theirs, ours.blocks[0].attention.rope)
    prompts = np.random.default_rng(0).integers(0, ours.vocabulary, (2, ours.context - 4))
    ids = torch.from_numpy(prompts)
    # without a cache: the library keeps keys as they were turned by the frequencies of shorter texts
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0, use_cache=False
    ).numpy()
    for cache in (True, False):
        np.testing.assert_array_equal(ours.generate(prompts, 12, temperature=0.0, cache=cache), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_half_precision_keep_their_dtype(dtype: str, tmp_path: Any) -> None:
    theirs, ours = pair("llama", 0, tmp_path, getattr(torch, dtype))
    assert {str(x.dtype) for x in ours.parameters()} == {dtype}
    wide = nn.Llama.from_pretrained(tmp_path, dtype="float32")
    tokens = tokens_of(ours, 0)
    expected = theirs.float()(torch.from_numpy(tokens)).logits.detach().numpy()
    np.testing.assert_allclose(wide(tokens).data, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    ours.save_pretrained(tmp_path / "again")
    assert {str(x.dtype) for x in nn.Llama.from_pretrained(tmp_path / "again").parameters()} == {dtype}


def test_every_kind_of_scaling_and_tying_is_among_the_configurations() -> None:
    llamas = [llama_config(seed) for seed in range(4 * len(SCALINGS))]
    assert {config.rope_parameters["rope_type"] for config in llamas} == {"default", "linear", "dynamic", "llama3", "yarn"}
    assert {config.tie_word_embeddings for config in llamas} == {True, False}
    assert any(config.num_key_value_heads < config.num_attention_heads for config in llamas)
    assert len(CONFIGS) >= 40
