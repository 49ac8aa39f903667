"""Text token by token: the choice of a token from scores, and the loop with a cache over prompts of different lengths.

Shorter prompts are padded at their left, so that all texts end together; the padding is hidden by a mask, and positions count from the
first real token.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from hyperion.autograd import as_tensor, no_grad
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn import decoding
from hyperion.nn.arguments import as_count, as_fraction
from hyperion.nn.initializers import default_generator

__all__ = ["as_rows", "choose", "stream"]

Ints = np.ndarray[Any, Any]
NOT_FINITE = "generate: the model's scores hold NaN or Inf; its weights may: look with hyperion.debug(nan=True)"


class _Model(Protocol):
    vocabulary: int
    longest: int
    training: bool
    embedding: Any

    def __call__(self, tokens: Any, positions: Any = None, mask: Any = None, cache: Any = None) -> Any: ...
    def cache(self) -> Any: ...
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Any]]: ...


def as_rows(prompts: Any) -> list[list[int]]:
    """Return prompts as lists of numbers, one for each text.

    Raises: InputError if there is none, or one is empty; DtypeError if they are no integers.

    >>> as_rows([[1, 2], [3]])
    [[1, 2], [3]]
    """
    if not hasattr(prompts, "__iter__") or isinstance(prompts, str):
        raise InputError(f"generate(prompts): prompts is a {type(prompts).__name__}; give lists of tokens, or an array (batch, tokens)")
    if hasattr(prompts, "numpy"):
        prompts = prompts.detach().numpy() if hasattr(prompts, "detach") else prompts.numpy()
    given = [devices.to_numpy(row) if devices.is_array(row) else np.asarray(row) for row in prompts]
    if not given or any(row.ndim != 1 or not row.size for row in given):
        raise InputError("generate(prompts): prompts must be (batch, tokens), or a list of lists, each with one token or more: a text "
                         "needs a first token, such as that of a line's end")
    if any(row.dtype.kind not in "iu" for row in given):
        raise DtypeError(f"generate(prompts): prompts are {given[0].dtype}; they must be integers: encode text with a tokenizer")
    return [[int(token) for token in row] for row in given]


def choose(
    scores: Any, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, generator: Generator | None = None,
) -> Ints:
    """Return a token for each row of scores, drawn with the probabilities softmax(scores / temperature), or the best one.

    scores: array (batch, vocabulary).  temperature, top_k, top_p, generator: as in `LanguageModel.generate`.

    >>> choose(np.array([[0.0, 3.0, 1.0]]), temperature=0.0)
    array([1])
    """
    wide = devices.to_numpy(scores).astype(np.float64)
    if temperature == 0.0:
        return wide.argmax(axis=-1)
    wide = wide / temperature
    order = np.argsort(-wide, axis=-1, kind="stable")                       # best first
    ranked = np.take_along_axis(wide, order, axis=-1)
    weights = np.exp(ranked - ranked[:, :1])
    if top_k is not None:
        weights[:, top_k:] = 0.0
    weights /= weights.sum(axis=-1, keepdims=True)
    if top_p is not None:
        weights[np.cumsum(weights, axis=-1) - weights >= top_p] = 0.0       # what those before already reach
        weights[:, 0] = np.maximum(weights[:, 0], np.finfo(np.float64).tiny)
    reach = np.cumsum(weights, axis=-1)
    drawn = default_generator(generator).uniform((len(wide), 1), dtype="float64").data * reach[:, -1:]
    place = (reach <= drawn).sum(axis=-1, keepdims=True)
    return np.take_along_axis(order, np.minimum(place, (weights > 0.0).sum(axis=-1, keepdims=True) - 1), axis=-1)[:, 0]


def _refuse_settings(temperature: float, top_k: int | None, top_p: float | None, vocabulary: int) -> None:
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not (
            temperature == 0.0 or 1e-6 <= temperature < np.inf):
        raise InputError(f"generate(temperature): temperature={temperature!r} must be 0 (greedy) or a number from 1e-6")
    if top_k is not None and as_count(top_k, "generate(top_k): top_k") > vocabulary:
        raise InputError(f"generate(top_k): top_k={top_k} exceeds the vocabulary of {vocabulary}; use at most that, or None")
    if top_p is not None and as_fraction(top_p, "generate(top_p): top_p") == 0.0:
        raise InputError("generate(top_p): top_p=0.0 leaves no token; use a number above 0, or temperature=0 for the best token")


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Return tokens (batch, longest), padded with 0 at the left, and how many each has of padding."""
    longest = max(len(row) for row in rows)
    missing = np.array([longest - len(row) for row in rows])
    return np.array([[0] * int(n) + list(row) for row, n in zip(rows, missing, strict=True)], np.int64), missing


def _seen(missing: Ints, first: int, count: int) -> tuple[Ints, Any]:
    """Return the positions of tokens first to first + count, and the mask that hides the padding before them (None: there is none)."""
    if not missing.any():
        return np.arange(first, first + count), None
    positions = np.maximum(np.arange(first, first + count) - missing[:, None], 0)
    return positions, (np.arange(first + count) >= missing[:, None])[:, None, None, :]


def stream(
    model: _Model, rows: Sequence[Sequence[int]], count: int, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, generator: Generator | None = None, stop: Any = (), cache: bool = True, slide: bool = False,
) -> Iterator[Ints]:
    """Return an iterator over the tokens that follow prompts, (batch,) at a time; -1 for texts that have ended.

    Arguments as in `LanguageModel.generate`, which are checked before the first token is asked for.
    """
    total = as_count(count, "generate(count): count", 0)
    _refuse_settings(temperature, top_k, top_p, model.vocabulary)
    longest = max(len(row) for row in rows)
    if longest + total > model.longest and not slide:
        raise ShapeError(
            f"generate(prompts, count={count}): a prompt of {longest} tokens and {count} more exceed the context of {model.longest}; use "
            f"count={max(model.longest - longest, 0)}, a shorter prompt, or slide=True, which forgets the first tokens"
        )
    given = np.atleast_1d(np.asarray(stop))
    if given.size and given.dtype.kind not in "iu":
        raise InputError(f"generate(stop): stop={stop!r} must be a token, or several: whole numbers")
    ends = given.astype(np.int64)
    choice = temperature, top_k, top_p, generator
    fast = cache and total > 1 and longest + total <= model.longest and decoding.serves(model)
    return (_replayed if fast else _steps)(model, rows, total, choice, ends, cache)


def _replayed(
    model: _Model, rows: Sequence[Sequence[int]], total: int, choice: tuple[Any, ...], ends: Ints, cached: bool,
) -> Iterator[Ints]:
    """Yield what `_steps` does, by steps that are noted as a CUDA graph."""
    ids, missing = _padded(rows)
    decoder = decoding.taken(model, len(rows), ids.shape[1] + total)
    try:
        scores = decoder.begin(model, ids, missing)
        yield from _followed(decoder, scores, total, choice, ends)
    finally:
        decoding.returned(model, decoder)


def _followed(decoder: decoding.Decoder, scores: Any, total: int, choice: tuple[Any, ...], ends: Ints) -> Iterator[Ints]:
    """Yield the tokens that follow; the step for the next ones is on its way meanwhile."""
    ended, greedy = np.zeros(decoder.batch, bool), choice[0] == 0.0
    for i in range(total):
        picked = devices.to_numpy(decoder.tokens)[:, 0]
        if (picked < 0).any():
            raise NonFiniteError(NOT_FINITE)
        if not greedy:
            picked = choose(scores, *choice)
            decoder.tokens[:, 0] = devices.namespace(decoder.tokens).asarray(picked)
        if i + 1 < total:
            scores = decoder.step()
        yield np.where(ended, -1, picked)
        ended |= np.isin(picked, ends)
        if ended.all():
            return


def _steps(
    model: _Model, rows: Sequence[Sequence[int]], total: int, choice: tuple[Any, ...], ends: Ints, cached: bool,
) -> Iterator[Ints]:
    tokens, missing = _padded(rows)
    ended = np.zeros(len(tokens), bool)
    held: Any = None
    known = 0               # tokens in the cache
    for _ in range(total):
        with no_grad(), decoding.evaluating(model):
            if tokens.shape[1] > model.longest:
                surplus = tokens.shape[1] - model.longest
                tokens, missing = tokens[:, surplus:], np.maximum(missing - surplus, 0)
                cached = False      # positions have moved: what the cache holds belongs to others
            if cached and held is None:
                held = model.cache()
            new = tokens[:, known:] if cached else tokens
            positions, mask = _seen(missing, tokens.shape[1] - new.shape[1], new.shape[1])
            ids = as_tensor(new).to(model.embedding.weight.device)
            if cached:
                scores, held = model(ids, positions, mask, held)
                known = tokens.shape[1]
            else:
                scores = model(ids, positions, mask)
        last = scores.data[:, -1]
        if not bool(devices.namespace(last).isfinite(last).all()):
            raise NonFiniteError(NOT_FINITE)
        picked = choose(last, *choice)
        yield np.where(ended, -1, picked)
        ended |= np.isin(picked, ends)
        if ended.all():
            return
        tokens = np.concatenate([tokens, picked[:, None]], axis=1)
