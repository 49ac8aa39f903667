"""The cache in pages: the same scores as without pages, texts of different lengths, copies that share pages."""

import gc
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import GraphError, IndexingError, InputError, ShapeError


def models() -> list[Any]:
    nn.seed(3)
    gpt = nn.GPT(vocabulary=20, context=40, layers=2, heads=2, width=16)
    llama = nn.Llama(vocabulary=20, context=40, layers=2, heads=4, width=16, hidden=24, kv_heads=2)
    return [model.to(dtype="float64").eval() for model in (gpt, llama, nn.GPT(20, 40, layers=2, heads=2, width=16, banded=5))]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("page", [3, 64])
def test_scores_are_those_without_pages(which: int, page: int) -> None:
    model, tokens = models()[which], np.random.default_rng(0).integers(0, 20, (2, 12))
    cache, found = model.cache(page=page), []
    with hp.no_grad():
        for part in (tokens[:, :5], tokens[:, 5:6], tokens[:, 6:7], tokens[:, 7:]):
            scores, cache = model(part, cache=cache)
            found.append(scores.numpy())
        np.testing.assert_allclose(np.concatenate(found, axis=1), model(tokens).numpy(), rtol=1e-10, atol=1e-12)
    assert cache.length == 12 and cache.layers[0].pages == 2 * -(-12 // page)


@pytest.mark.parametrize("which", [0, 1])
def test_texts_of_different_lengths_are_computed_as_if_alone(which: int) -> None:
    model, random = models()[which], np.random.default_rng(1)
    texts = [random.integers(0, 20, n) for n in (7, 2, 5)]
    padded = np.stack([np.concatenate([np.zeros(7 - len(text), int), text]) for text in texts])
    following = random.integers(0, 20, (3, 4))
    with hp.no_grad():
        scores, cache = model(padded, cache=model.cache(page=4).taking([7, 2, 5]))
        assert cache.layers[1].lengths.tolist() == [7, 2, 5]
        more, cache = model(following, cache=cache)
        for i, text in enumerate(texts):
            whole = model(np.concatenate([text, following[i]])[None]).numpy()[0]
            np.testing.assert_allclose(scores.numpy()[i, -len(text):], whole[:len(text)], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(more.numpy()[i], whole[len(text):], rtol=1e-10, atol=1e-12)


def test_a_text_goes_on_in_several_ways_and_pages_are_freed() -> None:
    model, tokens = models()[0], np.random.default_rng(2).integers(0, 20, (2, 10))
    ways = np.random.default_rng(3).integers(0, 20, (3, 4))
    with hp.no_grad():
        _, begun = model(tokens, cache=model.cache(page=4))
        split = begun.rows([1, 1, 0])
        assert begun.layers[0].pages == 6 and split.layers[0].pages == 6
        scores, after = model(ways, cache=split)
        again, other = model(ways, cache=split)                 # the cache before is what it was
        np.testing.assert_array_equal(scores.numpy(), again.numpy())
        for i, row in enumerate((1, 1, 0)):
            whole = model(np.concatenate([tokens[row], ways[i]])[None]).numpy()[0, 10:]
            np.testing.assert_allclose(scores.numpy()[i], whole, rtol=1e-10, atol=1e-12)
    pool = after.layers[0]._pool
    del other
    gc.collect()
    assert len(pool.arrays[0]) - len(pool.free) == 6 + 3 + 1       # what was begun, a page for each way, a copy for the second of text 1
    del begun, split, after
    gc.collect()
    assert len(pool.free) == len(pool.arrays[0])


def test_a_pool_grows() -> None:
    cache, random = nn.PagedKVCache(page=1), np.random.default_rng(0)
    parts = [random.standard_normal((1, 2, n, 3)) for n in (10, 30)]
    for part in parts:
        cache = cache.extended(part, part)
    q, whole = random.standard_normal((1, 2, 1, 3)), np.concatenate(parts, axis=2)
    np.testing.assert_allclose(cache.attend(q).numpy(), hp.attention(q, whole, whole).numpy(), rtol=1e-12)
    assert repr(cache) == "PagedKVCache of 1 texts, 40 tokens in 40 pages of 1"


@pytest.mark.parametrize("call, error, text", [
    (lambda c, x: c.attend(x, mask=nn.PrefixLM(2)), InputError, "pages serve nn.Causal"),
    (lambda c, x: c.extended(x[:, :1], x[:, :1]), ShapeError, "after PagedKVCache of 2 texts"),
    (lambda c, x: c.extended(x, x[0]), ShapeError, "must be \\(batch, heads"),
    (lambda c, x: c.extended(x, x, counts=[1]), InputError, "give 2 whole numbers from 0 to 3"),
    (lambda c, x: c.extended(hp.asarray(x, requires_grad=True), x), GraphError, "pages keep no graph"),
    (lambda c, x: c.rows([2]), IndexingError, "there are texts 0 to 1"),
    (lambda c, x: nn.PagedKVCache().attend(x), InputError, "it is empty"),
    (lambda c, x: nn.PagedKVCache(0), InputError, "page"),
    (lambda c, x: models()[0].cache().rows([0]), InputError, "model.cache\\(page=64\\)"),
    (lambda c, x: nn.MultiHeadAttention(6, 2, bias=nn.ALiBi(2))(np.ones((2, 1, 6)), cache=c), InputError, "use KVCache"),
])
def test_wrong_input(call: Any, error: type[Exception], text: str) -> None:
    x = np.ones((2, 2, 3, 3))
    with pytest.raises(error, match=text):
        call(nn.PagedKVCache().extended(x, x), x)
