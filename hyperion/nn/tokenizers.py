"""Tokenizers: text to numbers and back, by characters, or by byte pairs through the `tokenizers` library (extra `tokenizers`)."""

import importlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hyperion.errors import FileError, InputError
from hyperion.io.files import write_bytes
from hyperion.nn.arguments import as_count

__all__ = ["BytePairTokenizer", "CharacterTokenizer", "Tokenizer"]


class Tokenizer:
    """Base of tokenizers.  vocabulary: the number of tokens."""

    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        raise NotImplementedError(f"{type(self).__name__} must say how text is encoded")

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        raise NotImplementedError(f"{type(self).__name__} must say how tokens are decoded")

    def checked(self, tokens: Sequence[int]) -> list[int]:
        """Return tokens as numbers, or refuse those that it does not know.

        Raises: InputError.
        """
        found = [int(token) for token in tokens]
        outside = [token for token in found if not 0 <= token < self.vocabulary]
        if outside:
            raise InputError(f"decode(tokens): token {outside[0]} is outside {self!r}; the tokenizer does not fit the model")
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.vocabulary} tokens"


class CharacterTokenizer(Tokenizer):
    """One token for each character that occurs in a text, numbered in the order of the alphabet.

    text: any text, or the characters themselves.

    >>> tokenizer = CharacterTokenizer("hello")
    >>> tokenizer, tokenizer.encode("hole"), tokenizer.decode([1, 3, 2, 0])
    (CharacterTokenizer of 4 tokens, [1, 3, 2, 0], 'hole')
    """

    def __init__(self, text: Iterable[str]) -> None:
        self.characters = "".join(sorted(set("".join(text))))
        if not self.characters:
            raise InputError("CharacterTokenizer(text): text is empty; give one with all characters that will be used")
        self.vocabulary = len(self.characters)
        self._numbers = {character: i for i, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises: InputError for a character that it does not know.
        """
        try:
            return [self._numbers[character] for character in text]
        except KeyError as error:
            raise InputError(f"encode(text): the character {error.args[0]!r} is not one of the tokenizer's: {self.characters!r}") from error

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens.  Raises: InputError for a token outside the vocabulary."""
        return "".join([self.characters[token] for token in self.checked(tokens)])

    def save(self, path: str | Path) -> None:
        """Write the characters to a JSON file, atomically."""
        write_bytes(Path(path), json.dumps({"characters": self.characters}).encode())

    @classmethod
    def load(cls, path: str | Path) -> "CharacterTokenizer":
        """Return the tokenizer that `save` wrote.  Raises: FileError if the file is missing or another one."""
        found = _json(Path(path))
        if not isinstance(found, dict) or not isinstance(found.get("characters"), str):
            raise FileError(f"{path}: no file of a CharacterTokenizer; give one that save(path) wrote")
        return cls(found["characters"])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: could not be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: no JSON ({error}); the file is damaged") from error


def _library() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise InputError(
            f"BytePairTokenizer needs the library tokenizers, which is not installed ({error}); install the extra tokenizers "
            "(pip install 'hyperion[tokenizers]'), or use CharacterTokenizer"
        ) from error


class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding, as GPT-2 has it: pairs of bytes that often come together are one token; any text can be encoded.

    Make one with `train` or `load`; the constructor takes a tokenizers.Tokenizer.
    Source: Sennrich, Haddow and Birch 2016, arXiv:1508.07909; Radford et al. 2019.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.vocabulary = max(inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int, special: Sequence[str] = ()) -> "BytePairTokenizer":
        """Return a tokenizer made from texts.

        vocabulary: tokens at most, 256 or more and the special ones.  special: texts that are one token each, such as "<|endoftext|>".
        Raises: InputError if the library is missing or the vocabulary too small.
        """
        library = _library()
        least = 256 + len(special)
        if as_count(vocabulary, "BytePairTokenizer.train(vocabulary)") < least:
            raise InputError(f"BytePairTokenizer.train(vocabulary): vocabulary={vocabulary} must be {least} or more: each byte is a token")
        inner = library.Tokenizer(library.models.BPE())
        inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(special), initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
        return cls(inner)

    @classmethod
    def load(cls, path: str | Path) -> "BytePairTokenizer":
        """Return the tokenizer of a directory in Hugging Face's layout, or of a tokenizer.json.

        path: a directory with tokenizer.json, or with vocab.json and merges.txt; or the file tokenizer.json itself.
        Raises: FileError if the files are missing or damaged; InputError if the library is missing.
        """
        library, place = _library(), Path(path)
        whole = place / "tokenizer.json" if place.is_dir() else place
        if whole.is_file():
            try:
                return cls(library.Tokenizer.from_file(str(whole)))
            except Exception as error:      # the library raises Exception itself
                raise FileError(f"{whole}: no tokenizer.json ({error}); it may be truncated") from error
        names, merges = place / "vocab.json", place / "merges.txt"
        if not (names.is_file() and merges.is_file()):
            raise FileError(f"{path}: no tokenizer.json, and no vocab.json with merges.txt; give a directory that has them")
        try:
            inner = library.Tokenizer(library.models.BPE.from_file(str(names), str(merges)))
        except Exception as error:
            raise FileError(f"{place}: vocab.json and merges.txt do not fit each other or are damaged ({error})") from error
        inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = library.decoders.ByteLevel()
        return cls(inner)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; special tokens in it are recognised."""
        return list(self.inner.encode(text).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, special ones included.  Raises: InputError for a token outside the vocabulary."""
        return self.inner.decode(self.checked(tokens), skip_special_tokens=False)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json, or a file of another name that ends in .json, atomically.  path: a directory, or the file."""
        place = Path(path)
        if place.suffix != ".json":
            place.mkdir(parents=True, exist_ok=True)
            place = place / "tokenizer.json"
        write_bytes(place, self.inner.to_str(pretty=True).encode())
