"""What language models share: tokens in, scores of the next token out, with or without a cache; files, and text that they write."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.autograd.values import check_values
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn import generation, pretrained
from hyperion.nn.attention import KVCache
from hyperion.nn.linear import Embedding, Linear
from hyperion.nn.module import Module
from hyperion.nn.paged import PagedKVCache, Pages
from hyperion.nn.tokenizers import Tokenizer
from hyperion.nn.transformer import TransformerBlock

__all__ = ["Cache", "LanguageModel"]

Model = TypeVar("Model", bound="LanguageModel")


class Cache:
    """The keys and values of the tokens so far, of all layers of a model. A value, as `KVCache` and `PagedKVCache` are.

    >>> Cache.empty(2)
    Cache of 0 tokens, 2 layers
    """

    def __init__(self, layers: Sequence[KVCache | Pages]) -> None:
        self.layers = tuple(layers)

    @classmethod
    def empty(cls, layers: int, page: int | None = None) -> "Cache":
        """Return a cache to begin with; page: tokens of its pages, None: not in pages."""
        return cls(tuple(KVCache() if page is None else PagedKVCache(page) for _ in range(layers)))

    def taking(self, counts: Any) -> "Cache":
        """Return the same cache, which takes only the last `counts` of the next tokens of each text; see `PagedKVCache.taking`."""
        return Cache(tuple(self._paged(layer).taking(counts) for layer in self.layers))

    def rows(self, indices: Any) -> "Cache":
        """Return the cache of some of the texts; see `PagedKVCache.rows`."""
        return Cache(tuple(self._paged(layer).rows(indices) for layer in self.layers))

    def places(self, batch: int, tokens: int) -> Any:
        """Return where the next tokens stand: (tokens,), or with pages (batch, tokens)."""
        layer = self.layers[0] if self.layers else None
        return layer.places(batch, tokens) if isinstance(layer, Pages) else np.arange(self.length, self.length + tokens)

    def _paged(self, layer: Any) -> PagedKVCache:
        if not isinstance(layer, PagedKVCache):
            raise InputError("Cache: only one in pages takes some of the tokens or texts: model.cache(page=64)")
        return layer

    @property
    def length(self) -> int:
        """The number of tokens so far."""
        return self.layers[0].length if self.layers else 0

    def __repr__(self) -> str:
        return f"Cache of {self.length} tokens, {len(self.layers)} layers"


class LanguageModel(Module):
    """Base of models that score the next token. Abstract: subclasses set the attributes below in `__init__`.

    settings: the arguments it was made with.  vocabulary, context: numbers of known tokens, and of tokens that it can read.
    longest: tokens that it can read in all, at least the context.  embedding, places: of tokens and of positions (None: none).
    blocks: a list.  norm: after the last block.  head: Linear to the vocabulary; None: the embedding, transposed.
    layout: how its weights are named in files (see `pretrained`).
    checkpointed: while training, keep only what goes into each block, and compute the rest again in the backward sweep.
    """

    layout: pretrained.Layout
    checkpointed = False
    settings: dict[str, Any]
    vocabulary: int
    context: int
    longest: int
    embedding: Embedding
    places: Embedding | None
    dropout: Module | None
    blocks: list[TransformerBlock]
    norm: Module
    head: Linear | None

    def forward(self, tokens: Any, positions: Any = None, mask: Any = None, cache: Cache | None = None) -> Any:
        """Return the scores (logits) of what follows each token: (batch, tokens, vocabulary).

        tokens: integers (batch, tokens).  positions: integers (tokens,) or (batch, tokens); None: they follow those in the cache.
        mask: hides more than what is later: a mask, or bools that broadcast to (batch, heads, queries, keys).
        cache: of the tokens before, `model.cache()` to begin with: then the result is a pair of the scores and the cache after them.
        Raises: IndexingError for a token outside the vocabulary; ShapeError for more tokens than the context; DtypeError for no integers.
        """
        tokens, places = self._checked(tokens, positions, cache)
        return self._scored(tokens, places, places, mask, cache)

    def _scored(self, tokens: Tensor, places: Any, positions: Any, mask: Any, cache: Cache | None) -> Any:
        """Return what `forward` returns. places: where tokens stand; positions: the same, or None where the cache knows them."""
        x = self.embedding(tokens)                              # (batch, tokens, width)
        if self.places is not None:
            x = x + self.places(as_tensor(places).to(x.device))
        x = x if self.dropout is None else self.dropout(x)
        after: list[KVCache | Pages] = []
        for i, block in enumerate(self.blocks):
            if cache is not None:
                x, layer = block(x, mask=mask, positions=positions, cache=cache.layers[i])
                after.append(layer)
            elif self.checkpointed and self.training:
                x = hp.checkpoint(lambda x, block=block: block(x, mask=mask, positions=positions))(x)
            else:
                x = block(x, mask=mask, positions=positions)
        x = self.norm(x)
        scores = hp.affine(x, self.embedding.weight) if self.head is None else self.head(x)
        return scores if cache is None else (scores, Cache(after))

    def continued(self, tokens: Tensor, layers: Sequence[Pages], places: Any = None) -> Tensor:
        """Return the scores after more tokens of each text, (batch, tokens, vocabulary), which the layers' caches take in place.

        places: where the tokens stand; None: where the caches say. Nothing is checked and nothing read back from a GPU: for steps that are
        noted as a CUDA graph (see `FixedPages`).
        """
        where = layers[0].places(*tokens.shape) if places is None else places
        return self._scored(tokens, where, places, None, Cache(layers))[0]

    def _refuse_unknown(self, ids: Any) -> None:
        """Refuse an array of tokens some of which are outside the vocabulary."""
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocabulary:
            worst = low if low < 0 else high
            raise IndexingError(f"{type(self).__name__}(tokens): token {worst} is outside the vocabulary; use 0 to {self.vocabulary - 1}")

    def _checked(self, tokens: Any, positions: Any, cache: Cache | None) -> tuple[Tensor, Any]:
        """Return tokens and the array of their positions, or refuse them."""
        name = type(self).__name__
        ids = as_tensor(tokens)
        if ids.dtype.kind not in "iu":
            raise DtypeError(f"{name}(tokens): tokens are {ids.dtype}; they must be integers: use .astype('int64')")
        if ids.ndim != 2:
            raise ShapeError(f"{name}(tokens): tokens have shape {ids.shape}; they must be (batch, tokens): use tokens[None] for one text")
        if ids.size:
            check_values(ids, "vocabulary", self._refuse_unknown)
        if positions is None:
            places = np.arange(ids.shape[1]) if cache is None else cache.places(*ids.shape)
        else:
            places = devices.to_numpy(as_tensor(positions).data)
            if places.dtype.kind not in "iu" or places.shape not in (ids.shape, ids.shape[1:]):
                raise ShapeError(f"{name}(positions): {places.dtype} {places.shape}; they must be integers {ids.shape[1:]} or {ids.shape}")
        last = int(places.max(initial=0))
        if last >= self.longest:
            raise ShapeError(
                f"{name}(tokens): {last + 1} tokens exceed the context of {self.longest}; give fewer, or make a model of a longer one"
            )
        return ids, places

    def cache(self, page: int | None = None) -> Cache:
        """Return an empty cache for this model. page: tokens of its pages (see `PagedKVCache`); None: not in pages."""
        return Cache.empty(len(self.blocks), page)

    # Text

    def generate(
        self, prompts: Any, count: int, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
        generator: Generator | None = None, stop: Any = (), cache: bool = True, slide: bool = False,
        callback: Callable[[np.ndarray[Any, Any]], Any] | None = None,
    ) -> list[np.ndarray[Any, Any]]:
        """Return each prompt with the tokens that follow it: a list of arrays of integers.

        prompts: integers (batch, tokens), or a list of lists of different lengths; none empty.  count: tokens to write, at most.
        temperature: what scores are divided by; 0: always the best token (greedy).
        top_k: only the best so many tokens.  top_p: only the best that together have this probability.
        generator: of random numbers, hyperion.random.Generator(seed); None: that of the layers (nn.seed).
        stop: a token or several, after which a text ends.  cache: keep keys and values, or compute all anew for each token.
        slide: where the context is full, go on with its last tokens, instead of refusing.
        callback: called with the new tokens, (batch,), -1 for texts that have ended, as they come.
        Raises: InputError for a bad setting or an empty prompt; ShapeError if prompt and count exceed the context; as forward for tokens.
        Source: Holtzman et al. 2019, arXiv:1904.09751 (top_p); Fan, Lewis and Dauphin 2018, arXiv:1805.04833 (top_k).
        """
        rows = generation.as_rows(prompts)
        found = [list(row) for row in rows]
        for new in generation.stream(self, rows, count, temperature, top_k, top_p, generator, stop, cache, slide):
            for row, token in zip(found, new, strict=True):
                if token >= 0:
                    row.append(int(token))
            if callback is not None:
                callback(new)
        return [np.asarray(row, np.int64) for row in found]

    def stream(self, prompts: Any, count: int, **options: Any) -> Iterator[np.ndarray[Any, Any]]:
        """Return an iterator over new tokens, (batch,) at a time; -1 for texts that have ended. Options as in `generate`."""
        return generation.stream(self, generation.as_rows(prompts), count, **options)

    def complete(self, text: str, tokenizer: Tokenizer, count: int, **options: Any) -> str:
        """Return a text with what follows it.

        Raises: InputError if the tokenizer knows other tokens than the model; otherwise as `generate`.
        """
        self.check_tokenizer(tokenizer)
        return tokenizer.decode(self.generate([tokenizer.encode(text)], count, **options)[0].tolist())

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer with tokens that the model does not know.

        Raises: InputError.
        """
        if tokenizer.vocabulary > self.vocabulary:
            raise InputError(
                f"tokenizer: {tokenizer!r} does not fit {type(self).__name__}, which knows {self.vocabulary} tokens; use the tokenizer "
                f"that it was trained with, or a model of vocabulary={tokenizer.vocabulary}"
            )

    # Files

    @classmethod
    def from_pretrained(cls: type[Model], path: str | Path, dtype: Any = None) -> Model:
        """Return a model from a directory in Hugging Face's layout: config.json, and model.safetensors or its parts with their index.

        dtype: of the weights; None: as in the files.  The model is set to eval().
        Raises: FileError if a file is missing or truncated, or weights are missing, unknown or of a wrong shape (all are listed);
            InputError if config.json asks for what the model does not have.
        """
        if not isinstance(path, str | Path):       # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{cls.__name__}.from_pretrained(path): path is a {type(path).__name__}; give a directory")
        return pretrained.load(cls, cls.layout, Path(path), dtype)

    def save_pretrained(self, path: str | Path, shard: int = 5_000_000_000) -> None:
        """Write config.json and model.safetensors into a directory, in Hugging Face's layout and names.

        shard: bytes of a file at most; more goes into several, with an index.
        Raises: FileError if the directory cannot be written; InputError if config.json cannot say what the model has.
        """
        pretrained.save(self, self.layout, Path(path), shard)
