"""Text on a GPU by steps that are noted as a CUDA graph: the same as by a CPU; without a GPU in the emulator, the steps made one by one."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import IndexingError, NonFiniteError
from hyperion.gpu import attention as gpu_attention
from hyperion.gpu import attention_arrays, attention_general, attention_paged, hopper
from hyperion.nn import decoding, generation
from tests.gpu import attention_kernels, standin


class Again:
    """Takes the place of Graph: does the work again."""

    def __init__(self, work: Any) -> None:
        self.work = work
        work()

    def __call__(self) -> None:
        self.work()


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request, monkeypatch):
    cupy = standin.at(request.param, monkeypatch)
    if cupy.ndarray is standin.ndarray:
        for name in ("Kernel", "compiled"):
            monkeypatch.setattr(hopper, name, getattr(attention_kernels, name))
        for one in (attention_paged, attention_general):
            monkeypatch.setattr(one, "_kernel", one._kernel.__wrapped__)
        for one in (attention_paged, attention_arrays, attention_general, gpu_attention):
            monkeypatch.setattr(one, "device_traits", lambda number: (80, 108, 166912))
        monkeypatch.setattr(decoding, "Graph", Again)
    return cupy


def models() -> dict[str, Any]:
    nn.seed(3)
    return {
        "gpt": nn.GPT(vocabulary=40, context=80, layers=2, heads=2, width=32),
        "llama": nn.Llama(vocabulary=40, context=80, layers=2, heads=4, width=32, hidden=24, kv_heads=2),
        "banded": nn.GPT(vocabulary=40, context=80, layers=2, heads=2, width=32, banded=5),
    }


def written(model: Any, prompts: Any, **options: Any) -> list[list[int]]:
    return [row.tolist() for row in model.generate(prompts, 6, **options)]


@pytest.mark.parametrize("name", ["gpt", "llama", "banded"])
def test_text_is_that_of_the_cpu(cupy, name, monkeypatch):
    model = models()[name]
    prompts = [[1, 2, 3, 4, 5], [7, 8]], [[5] * 9, [6] * 9]
    expected = [written(model, one, temperature=0.0) for one in prompts]
    drawn = written(model, prompts[0], temperature=0.7, top_k=5, generator=hp.random.Generator(1))
    model = model.to("cuda:0")
    calls: list[Any] = []
    plain = generation._steps
    monkeypatch.setattr(generation, "_steps", lambda *rest: calls.append(rest) or plain(*rest))
    assert [written(model, one, temperature=0.0) for one in prompts] == expected
    assert written(model, prompts[0], temperature=0.7, top_k=5, generator=hp.random.Generator(1)) == drawn
    assert not calls


def test_a_decoder_serves_again_until_the_model_changes(cupy):
    model = models()["gpt"].to("cuda:0")
    first = written(model, [[1, 2]], temperature=0.0)
    kept = decoding._kept[model]
    assert written(model, [[1, 2]], temperature=0.0) == first and decoding._kept[model] is kept
    model.blocks[0].attention.scale = 1.0
    other = written(model, [[1, 2]], temperature=0.0)
    assert decoding._kept[model] is not kept
    model.blocks[0].attention.scale = None
    assert written(model, [[1, 2]], temperature=0.0) == first
    assert other == [row.tolist() for row in model.to("cpu").generate([[1, 2]], 6, temperature=0.0)] or other != first


def test_two_texts_at_a_time_do_not_meet(cupy):
    model = models()["gpt"].to("cuda:0")
    alone = [[int(t[0]) for t in model.stream([prompt], 5, temperature=0.0)] for prompt in ([1, 2], [9, 8, 7])]
    both = list(zip(*(model.stream([prompt], 5, temperature=0.0) for prompt in ([1, 2], [9, 8, 7])), strict=True))
    assert [[int(t[i][0]) for t in both] for i in (0, 1)] == alone


def test_training_is_interrupted_for_the_text_only(cupy):
    nn.seed(0)
    model = nn.GPT(vocabulary=20, context=20, layers=1, heads=1, width=16, dropout=0.5).to("cuda:0")
    first = written(model, [[1, 2]], temperature=0.0)
    assert model.training and written(model, [[1, 2]], temperature=0.0) == first


def test_wrong_tokens_and_numbers_are_refused(cupy):
    model = models()["gpt"].to("cuda:0")
    with pytest.raises(IndexingError, match="token 40 is outside the vocabulary"):
        model.generate([[1, 40]], 4)
    model.norm.weight.assign(hp.full((32,), np.nan).to("cuda:0"))
    with pytest.raises(NonFiniteError, match="NaN or Inf"):
        model.generate([[1, 2]], 4, temperature=0.0)
