"""nn.GPT and nn.Llama on their own: first weights, generation, sampling, files that do not fit, tokenizers, and what they refuse."""

import json
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import DtypeError, FileError, IndexingError, InputError, NonFiniteError, ShapeError
from hyperion.io.safetensors import read_safetensors, write_safetensors
from hyperion.nn.generation import choose
from hyperion.random import Generator

SMALL = {"vocabulary": 13, "context": 12, "layers": 2, "heads": 4, "width": 16}


def gpt(**more: Any) -> nn.GPT:
    return nn.GPT(**{**SMALL, "generator": Generator(5), **more})


def llama(**more: Any) -> nn.Llama:
    return nn.Llama(**{**SMALL, "kv_heads": 2, "generator": Generator(5), **more})


MODELS = {"gpt": gpt, "llama": llama}


def test_first_weights_of_gpt2() -> None:
    model = nn.GPT(vocabulary=300, context=50, layers=8, heads=4, width=128, generator=Generator(0))
    named = model.named_parameters()
    for name, value in named.items():
        if name.endswith("bias"):
            assert not value.data.any(), name
        elif "norm" in name:
            assert (value.data == 1.0).all(), name
        else:
            scale = 0.02 / np.sqrt(2 * 8) if name.endswith(("output.weight", "down.weight")) else 0.02
            # the deviation of n normal numbers is within 5 / sqrt(2 n) of the true one
            assert value.data.std() == pytest.approx(scale, rel=5.0 / np.sqrt(2 * value.size)), name
    # Radford's small model has 124,439,808 parameters
    sizes = nn.GPT.SIZES["small"]
    w, n = sizes["width"], sizes["layers"]
    assert 50257 * w + 1024 * w + n * (12 * w * w + 13 * w) + 2 * w == 124_439_808
    assert sum(x.size for x in model.parameters()) == 300 * 128 + 50 * 128 + 8 * (12 * 128 * 128 + 13 * 128) + 2 * 128


def test_gpt3_alternates_dense_and_banded_attention() -> None:
    model = gpt(banded=3, layers=4).to(dtype="float64")
    with nn.capture(model, "blocks.*.attention.weights") as found:
        model(np.arange(10)[None])
    for i in range(4):
        seen = found[f"blocks.{i}.attention.weights"][0].data[0, 0] > 0.0
        rows, keys = np.arange(10)[:, None], np.arange(10)
        np.testing.assert_array_equal(seen, (keys <= rows) & ((keys > rows - 3) | (i % 2 == 0)))
    patterned = gpt(banded=nn.BlockSparse.strided(6, 2, 2))
    assert patterned(np.arange(12)[None]).shape == (1, 12, 13)


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_learns_to_repeat(kind: str) -> None:
    model = MODELS[kind]()
    optimizer = hp.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = np.tile(np.arange(4), 3)[None] + np.array([[0], [4], [8]])
    first = None
    for _ in range(60):
        loss = nn.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        first = float(loss) if first is None else first
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss) < 0.1 * first
    np.testing.assert_array_equal(model.generate([[4, 5]], 6, temperature=0.0)[0], [4, 5, 6, 7, 4, 5, 6, 7])


@pytest.mark.parametrize("kind", MODELS)
def test_checkpointed_blocks_give_the_same_gradients(kind: str) -> None:
    model = MODELS[kind](**({"dropout": 0.2} if kind == "gpt" else {"attention_dropout": 0.2})).to(dtype="float64")
    tokens = np.arange(12)[None]

    def gradients() -> list[Any]:
        for generator in {id(m.generator): m.generator for _, m in model.named_modules() if getattr(m, "generator", None)}.values():
            generator.restore(Generator(9).state())
        nn.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        found = [x.grad.data for x in model.parameters()]
        for x in model.parameters():
            x.grad = None
        return found

    plain = gradients()
    model.checkpointed = True
    for a, b in zip(plain, gradients(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", MODELS)
def test_texts_packed_into_one_row_are_read_as_alone(kind: str) -> None:
    model = MODELS[kind]().to(dtype="float64")
    texts = [np.array([1, 2, 3]), np.array([4, 5]), np.array([6, 7, 8, 9, 10])]
    packed, ids = np.concatenate(texts)[None], np.repeat(np.arange(3), [3, 2, 5])
    positions = np.concatenate([np.arange(len(text)) for text in texts])
    alone = np.concatenate([model(text[None]).data for text in texts], axis=1)
    np.testing.assert_allclose(model(packed, positions, nn.Document(ids)).data, alone, rtol=1e-12, atol=1e-14)


# Generation

@pytest.mark.parametrize("kind", MODELS)
def test_sampling_with_and_without_cache_and_by_stream(kind: str) -> None:
    model = MODELS[kind]().to(dtype="float64")
    rows = [[1, 2, 3], [4], [5, 6]]
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.9}
    first = model.generate(rows, 8, generator=Generator(1), **options)
    again = model.generate(rows, 8, generator=Generator(1), cache=False, **options)
    streamed = np.stack(list(model.stream(rows, 8, generator=Generator(1), **options)), axis=1)
    seen: list[Any] = []
    model.generate(rows, 8, generator=Generator(1), callback=seen.append, **options)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(first[i][:len(row)], row)
        np.testing.assert_array_equal(first[i], again[i])
        np.testing.assert_array_equal(first[i][len(row):], streamed[i])
    np.testing.assert_array_equal(np.stack(seen, axis=1), streamed)
    assert any(not np.array_equal(a, b) for a, b in zip(first, model.generate(rows, 8, generator=Generator(2), **options), strict=True))


def test_texts_end_at_a_stop_token() -> None:
    model = gpt().to(dtype="float64")
    free = model.generate([[1], [2], [3, 1]], 9, generator=Generator(3))
    stop = [int(free[0][3]), int(free[1][2])]
    ended = model.generate([[1], [2], [3, 1]], 9, generator=Generator(3), stop=stop)
    for long, short in zip(free, ended, strict=True):
        np.testing.assert_array_equal(short, long[:len(short)])
        new = short[2:] if short[0] == 3 else short[1:]
        assert not set(new[:-1]) & set(stop) and (len(short) == len(long) or new[-1] in stop)
    assert any(len(a) < len(b) for a, b in zip(ended, free, strict=True))
    one = model.generate([[1]], 9, temperature=0.0)
    assert list(model.generate([[1]], 9, temperature=0.0, stop=int(one[0][1]))[0]) == list(one[0][:2])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("kind", MODELS)
def test_a_text_slides_beyond_the_context(kind: str, cache: bool) -> None:
    model = MODELS[kind]().to(dtype="float64")
    found = model.generate([[1, 2], [3]], 20, temperature=0.0, cache=cache, slide=True)
    for row, text in zip(([1, 2], [3]), found, strict=True):
        tokens = list(row)
        for _ in range(20):
            tokens.append(int(model(np.array([tokens[-12:]])).data[0, -1].argmax()))
        # a shorter prompt slides when the longest does: compare until the longest is full
        count = len(tokens) if len(row) == 2 else 12 - 1
        np.testing.assert_array_equal(text[:count], tokens[:count])
    assert [len(text) for text in found] == [22, 21]


def test_generation_does_not_change_the_mode_of_training() -> None:
    model = gpt(dropout=0.5)
    model.blocks[0].eval()
    model.generate([[1]], 3)
    assert model.training and not model.blocks[0].attention.training and model.blocks[1].attention.training
    a, b = (model.generate([[1]], 8, temperature=0.0)[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)         # no dropout


def test_choices_have_their_probabilities() -> None:
    scores = np.array([1.0, 3.0, 0.0, 2.0, -1.0])
    many = np.tile(scores, (40_000, 1))

    def frequencies(**options: Any) -> Any:
        return np.bincount(choose(many, generator=Generator(0), **options), minlength=5) / len(many)

    def softmax(x: Any) -> Any:
        return np.exp(x) / np.exp(x).sum()

    error = 5.0 * 0.5 / np.sqrt(len(many))          # five deviations of a frequency
    np.testing.assert_allclose(frequencies(), softmax(scores), atol=error)
    np.testing.assert_allclose(frequencies(temperature=2.0), softmax(scores / 2.0), atol=error)
    best_two = np.where(scores >= 2.0, scores, -np.inf)
    np.testing.assert_allclose(frequencies(top_k=2), softmax(best_two), atol=error)
    # probabilities are 0.64, 0.24, 0.09, ...: 0.8 needs the first two, 0.6 the first alone
    np.testing.assert_allclose(frequencies(top_p=0.8), softmax(best_two), atol=error)
    np.testing.assert_array_equal(frequencies(top_p=0.6), [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(frequencies(top_k=1), frequencies(temperature=0.0))
    assert (choose(np.array([[0.0, -np.inf, 0.0]] * 1000), generator=Generator(1)) != 1).all()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", MODELS)
def test_the_gpu_gives_what_the_cpu_gives(kind: str) -> None:
    tokens, texts, losses, slopes = np.arange(12)[None], [], [], []
    for place in ("cpu", "cuda:0"):
        model = MODELS[kind]().to(device=place, dtype="float64")
        ids = hp.asarray(tokens, device=place)
        loss = nn.cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        losses.append(float(loss))
        slopes.append({name: x.grad.to("cpu").data for name, x in model.named_parameters().items()})
        texts.append(model.generate([[1, 2, 3], [4]], 8, temperature=0.0))
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    for name, slope in slopes[0].items():
        np.testing.assert_allclose(slopes[1][name], slope, rtol=1e-9, atol=1e-12, err_msg=name)
    for a, b in zip(*texts, strict=True):
        np.testing.assert_array_equal(a, b)


# What is refused

@pytest.mark.parametrize("call, error, text", [
    (lambda m: m([[1, 13]]), IndexingError, "token 13 is outside the vocabulary; use 0 to 12"),
    (lambda m: m([[1, -1]]), IndexingError, "token -1 is outside the vocabulary"),
    (lambda m: m(np.zeros((1, 13), int)), ShapeError, "13 tokens exceed the context of 12"),
    (lambda m: m([[1.0, 2.0]]), DtypeError, "they must be integers"),
    (lambda m: m([1, 2]), ShapeError, r"must be \(batch, tokens\)"),
    (lambda m: m([[1, 2]], positions=[0, 12]), ShapeError, "13 tokens exceed the context"),
    (lambda m: m([[1, 2]], positions=[0, 1, 2]), ShapeError, "they must be integers"),
    (lambda m: m.generate([[1, 2]], 11), ShapeError, "use count=10, a shorter prompt, or slide=True"),
    (lambda m: m.generate([[]], 1), InputError, "each with one token or more"),
    (lambda m: m.generate([], 1), InputError, "each with one token or more"),
    (lambda m: m.generate([[0.5]], 1), DtypeError, "encode text with a tokenizer"),
    (lambda m: m.generate([[1]], 1, temperature=-1.0), InputError, "temperature=-1.0"),
    (lambda m: m.generate([[1]], 1, top_k=14), InputError, "top_k=14 exceeds the vocabulary of 13"),
    (lambda m: m.generate([[1]], 1, top_p=0.0), InputError, "leaves no token"),
    (lambda m: m.generate([[1]], -1), InputError, "count"),
    (lambda m: m.complete("abc", nn.CharacterTokenizer("abcdefghijklmnop"), 2), InputError, "16 tokens does not fit .*, which knows 13"),
])
@pytest.mark.parametrize("kind", MODELS)
def test_wrong_input(kind: str, call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(MODELS[kind]())


def test_heads_must_divide() -> None:
    with pytest.raises(ShapeError, match="heads=3 must divide width=16"):
        gpt(heads=3)
    with pytest.raises(ShapeError, match="heads=3 must divide width=16"):
        llama(heads=3, kv_heads=1)
    with pytest.raises(ShapeError, match="kv_heads=3 must divide heads=4"):
        llama(kv_heads=3)


# Files

@pytest.mark.parametrize("options", [
    {}, {"tied": False}, {"scaling": nn.LinearScaling(2.0)}, {"scaling": nn.DynamicScaling(3.0, 12)},
    {"attention_bias": True, "head_size": 6},
    {"scaling": nn.Llama3Scaling(8.0, 1.0, 4.0, 8)}, {"scaling": nn.YaRNScaling(3.0, 4)}, {"feedforward_bias": True, "theta": 77.0},
    {"scaling": nn.YaRNScaling(3.0, 4, 20.0, 2.0, 1.2, False), "tied": True},
])
def test_files_keep_every_setting_of_llama(options: dict[str, Any], tmp_path: Any) -> None:
    model = llama(**options)
    model.save_pretrained(tmp_path)
    again = nn.Llama.from_pretrained(tmp_path)
    assert again.settings == model.settings and not again.training
    np.testing.assert_array_equal(again([[1, 2, 3]]).data, model([[1, 2, 3]]).data)


@pytest.mark.parametrize("options", [
    {}, {"tied": False}, {"activation": hp.relu}, {"dropout": 0.2, "attention_dropout": 0.1}, {"scale": 1.0, "scale_by_layer": True},
    {"hidden": 24, "eps": 1e-3},
])
def test_files_keep_every_setting_of_gpt(options: dict[str, Any], tmp_path: Any) -> None:
    model = gpt(**options)
    model.save_pretrained(tmp_path)
    again = nn.GPT.from_pretrained(tmp_path)
    assert again.settings == model.settings
    np.testing.assert_array_equal(again([[1, 2, 3]]).data, model.eval()([[1, 2, 3]]).data)


def test_what_config_json_cannot_say_is_refused(tmp_path: Any) -> None:
    with pytest.raises(InputError) as caught:
        gpt(banded=3, bias=False, activation=hp.sin, scale=0.3).save_pretrained(tmp_path)
    for part in ("banded=3", "bias=False", "activation=", "scale=0.3", "use nn.save"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="both lengths are one"):
        llama(scaling=nn.DynamicScaling(2.0, 6)).save_pretrained(tmp_path)


def test_all_weights_that_do_not_fit_are_listed(tmp_path: Any) -> None:
    gpt().save_pretrained(tmp_path)
    weights = dict(read_safetensors(tmp_path / "model.safetensors"))
    del weights["transformer.ln_f.bias"]
    weights["transformer.h.0.attn.c_attn.weight"] = np.zeros((16, 47), np.float32)
    weights["transformer.h.7.ln_1.weight"] = np.zeros(16, np.float32)
    weights["transformer.h.0.attn.bias"] = np.zeros(3, np.float32)        # a mask that older files hold
    write_safetensors(tmp_path / "model.safetensors", weights)
    with pytest.raises(FileError) as caught:
        nn.GPT.from_pretrained(tmp_path)
    message = str(caught.value)
    for part in ("missing: transformer.ln_f.bias (16,)", "wrong shape: transformer.h.0.attn.c_attn.weight is (16, 47), must be (16, 48)",
                 "unknown: transformer.h.7.ln_1.weight"):
        assert part in message
    assert "attn.bias" not in message


def test_damaged_directories_are_refused(tmp_path: Any) -> None:
    with pytest.raises(FileError, match=r"config.json: no such file"):
        nn.GPT.from_pretrained(tmp_path)
    llama().save_pretrained(tmp_path, shard=3000)
    part = next(iter(sorted(tmp_path.glob("model-*.safetensors"))))
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    with pytest.raises(FileError, match="truncated"):
        nn.Llama.from_pretrained(tmp_path)
    part.unlink()
    with pytest.raises(FileError, match="no such file"):
        nn.Llama.from_pretrained(tmp_path)
    part.write_bytes(whole)
    with pytest.raises(InputError, match="model_type='llama'; GPT reads 'gpt2'"):
        nn.GPT.from_pretrained(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    places["weight_map"]["model.norm.weight"] = "../model.safetensors"
    index.write_text(json.dumps(places))
    with pytest.raises(FileError, match="names of files in this directory"):
        nn.Llama.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu", "vocab_size": 0}))
    with pytest.raises(InputError) as caught:
        nn.Llama.from_pretrained(tmp_path)
    assert "hidden_act='gelu'" in str(caught.value) and "vocab_size=0" in str(caught.value)
    (tmp_path / "config.json").write_text(json.dumps({**config, "rope_parameters": {"rope_type": "longrope", "factor": 2.0}}))
    with pytest.raises(InputError, match="rope_type='longrope' is not known"):
        nn.Llama.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileError, match="no JSON"):
        nn.Llama.from_pretrained(tmp_path)


def test_pickles_are_not_read(tmp_path: Any) -> None:
    gpt().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileError, match="pickle"):
        nn.GPT.from_pretrained(tmp_path)


def test_saving_again_leaves_no_old_parts(tmp_path: Any) -> None:
    model = gpt()
    model.save_pretrained(tmp_path, shard=3000)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_what_generate_refuses() -> None:
    model = gpt()
    for prompts in (None, 5, "text"):
        with pytest.raises(InputError, match="prompts"):
            model.generate(prompts, 2)
    for stop in ("a", 1.5):
        with pytest.raises(InputError, match="stop"):
            model.generate([[1]], 2, stop=stop)
    with pytest.raises(InputError, match="temperature"):
        model.generate([[1]], 2, temperature=1e-310)
    weight = model.embedding.weight
    weight.assign(np.full(weight.shape, np.nan, weight.dtype))
    with pytest.raises(NonFiniteError, match="NaN"):
        model.generate([[1]], 2)


@pytest.mark.parametrize("change", [{"layer_norm_epsilon": "x"}, {"attn_pdrop": None}, {"activation_function": ["x"]}])
def test_settings_of_a_wrong_kind_in_config_json(change: Any, tmp_path: Any) -> None:
    gpt().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=r"config.json|activation"):
        nn.GPT.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="give a directory"):
        nn.GPT.from_pretrained(None)  # pyright: ignore
