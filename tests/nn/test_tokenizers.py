"""Tokenizers: characters and byte pairs, round trips, files, and what they refuse."""

import importlib.util
from typing import Any

import pytest

from hyperion import nn
from hyperion.errors import FileError, InputError
from hyperion.nn import tokenizers

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("tokenizers") is None, reason="the tokenizers library is not installed (extra tokenizers)"
)
TEXT = "The waves that the wave equation waves at: naïve, 波, \U0001f30a, and a\ttab.\n" * 20


def test_characters(tmp_path: Any) -> None:
    tokenizer = nn.CharacterTokenizer(TEXT)
    assert tokenizer.vocabulary == len(set(TEXT)) and tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    tokenizer.save(tmp_path / "characters.json")
    again = nn.CharacterTokenizer.load(tmp_path / "characters.json")
    assert again.characters == tokenizer.characters
    with pytest.raises(InputError, match="the character 'Q' is not one of the tokenizer's"):
        tokenizer.encode("Q")
    with pytest.raises(InputError, match="token 99 is outside"):
        tokenizer.decode([0, 99])
    with pytest.raises(InputError, match="text is empty"):
        nn.CharacterTokenizer("")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(FileError, match="no file of a CharacterTokenizer"):
        nn.CharacterTokenizer.load(tmp_path / "other.json")
    with pytest.raises(FileError, match="could not be read"):
        nn.CharacterTokenizer.load(tmp_path / "nowhere.json")


@needs_library
def test_byte_pairs_encode_any_text(tmp_path: Any) -> None:
    tokenizer = nn.BytePairTokenizer.train([TEXT], 300, special=["<|endoftext|>"])
    assert 257 < tokenizer.vocabulary <= 300
    strange = "Ωmega \x00\x7f never seen <|endoftext|>\r\n"
    for text in (TEXT, strange, ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(TEXT)) < len(TEXT.encode())
    assert len(tokenizer.encode("<|endoftext|>")) == 1
    tokenizer.save(tmp_path)
    again = nn.BytePairTokenizer.load(tmp_path)
    assert again.encode(strange) == tokenizer.encode(strange) == nn.BytePairTokenizer.load(tmp_path / "tokenizer.json").encode(strange)
    with pytest.raises(InputError, match="vocabulary=100 must be 256 or more"):
        nn.BytePairTokenizer.train([TEXT], 100)


@needs_library
def test_vocab_json_and_merges_txt_as_gpt2_has_them(tmp_path: Any) -> None:
    tokenizer = nn.BytePairTokenizer.train([TEXT], 300)
    tokenizer.inner.model.save(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"vocab.json", "merges.txt"}
    again = nn.BytePairTokenizer.load(tmp_path)
    assert again.encode(TEXT) == tokenizer.encode(TEXT) and again.decode(again.encode(TEXT)) == TEXT
    transformers = pytest.importorskip("transformers", reason="the transformers library is not installed (extra test)")
    theirs = transformers.GPT2Tokenizer(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
    assert theirs(TEXT)["input_ids"] == again.encode(TEXT)


@needs_library
def test_a_model_and_its_tokenizer() -> None:
    tokenizer = nn.BytePairTokenizer.train([TEXT], 280)
    model = nn.GPT(vocabulary=tokenizer.vocabulary, context=32, layers=1, heads=2, width=8)
    assert model.complete("The wave", tokenizer, 5, temperature=0.0).startswith("The wave")
    small = nn.GPT(vocabulary=100, context=32, layers=1, heads=2, width=8)
    with pytest.raises(InputError, match="does not fit GPT, which knows 100 tokens"):
        small.complete("The wave", tokenizer, 5)


@needs_library
def test_damaged_files_are_refused(tmp_path: Any) -> None:
    with pytest.raises(FileError, match=r"no tokenizer.json, and no vocab.json with merges.txt"):
        nn.BytePairTokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("b c\n")
    with pytest.raises(FileError, match="do not fit each other"):
        nn.BytePairTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(FileError, match="it may be truncated"):
        nn.BytePairTokenizer.load(tmp_path)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(tokenizers.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"install the extra tokenizers"):
        nn.BytePairTokenizer.train([TEXT], 300)
