"""Text on a GPU, one token after the other: the step is noted once as a CUDA graph and replayed.

A step of a small model is some 150 launches of a few microseconds each, and Python takes several times as long to call them. So keys and
values lie in pages that stay where they are, how long texts are is known on the GPU only, and the best token of each is chosen there: one
step is one launch, and what comes back is a number for each text.
"""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, no_grad
from hyperion.autograd.dtypes import is_half
from hyperion.autograd.masks import Causal, SlidingWindow
from hyperion.gpu import attention_paged, rows
from hyperion.gpu import device as devices
from hyperion.gpu.graphs import Graph
from hyperion.nn.attention import MultiHeadAttention
from hyperion.nn.paged import FixedPages

__all__ = ["Decoder", "evaluating", "returned", "serves", "taken"]

PAGE = 64               # tokens of a page
_kept: "weakref.WeakKeyDictionary[Any, Decoder]" = weakref.WeakKeyDictionary()


class Decoder:
    """The step of one token of a batch of texts, for a model on a GPU. Use `taken`.

    model: a LanguageModel whose weights stay where they are.  batch: texts.  room: tokens of the longest, prompt and text.
    tokens: (batch, 1), the best after the last step, -1 where there was an infinity or NaN; the next step reads what is there then.
    """

    def __init__(self, model: Any, batch: int, room: int) -> None:
        self.batch, self.room, self.state = batch, -(-room // PAGE) * PAGE, _state(model)
        weight = model.embedding.weight.data
        xp, pages = devices.namespace(weight), self.room // PAGE
        self.tokens = xp.zeros((batch, 1), dtype=np.int64)
        self._lengths = xp.zeros(batch, dtype=np.int32)
        table = xp.arange(batch * pages, dtype=np.int32).reshape(batch, pages)
        self._layers: list[FixedPages] = []
        for attention in _attentions(model):
            shape = batch * pages, attention.kv_heads, PAGE, attention.size
            keys, values = (xp.zeros(shape, dtype=weight.dtype) for _ in range(2))
            self._layers.append(FixedPages(keys, values, table, self._lengths))
        self._scores: Any = None
        of_model = weakref.ref(model)
        self._graph = Graph(lambda: self._step(of_model()))

    def _step(self, model: Any) -> None:
        for layer in self._layers:
            layer.begun = True
        self._lengths += 1
        with no_grad(), evaluating(model):
            self._scores = model.continued(Tensor(self.tokens), self._layers).data[:, -1]
        self.tokens[:, 0] = rows.best(self._scores)

    def begin(self, model: Any, ids: Any, missing: Any) -> Any:
        """Read prompts, (batch, tokens) integers with so many tokens of padding, (batch,), at their left; return scores as `step` does.

        Raises: IndexingError for a token outside the vocabulary.
        """
        xp = devices.namespace(self.tokens)
        if ids.min() < 0 or ids.max() >= model.vocabulary:
            model(ids[:1] * 0 + (ids.min() if ids.min() < 0 else ids.max()))            # which refuses it, in its words
        for layer in self._layers:
            layer.begun, layer.padded = False, bool(missing.any())
        self._lengths[...] = xp.asarray((ids.shape[1] - missing).astype(np.int32))
        places = np.maximum(np.arange(ids.shape[1]) - missing[:, None], 0)
        with no_grad(), evaluating(model):
            last = model.continued(Tensor(xp.asarray(ids)), self._layers, places).data[:, -1].copy()
        self.tokens[:, 0] = rows.best(last)
        return last

    def step(self) -> Any:
        """Take in `tokens` and find the next; return the scores, (batch, vocabulary), which the next step writes over."""
        self._graph()
        return self._scores


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Let a model and its parts be as `eval()` sets them, for a while.

    >>> from hyperion import nn
    >>> with evaluating(layer := nn.Dropout(0.5)):
    ...     layer.training
    False
    """
    modes = [(module, module.training) for _, module in model.named_modules()] if model.training else []
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _state(model: Any) -> tuple[Any, ...]:
    """Return what a noted step depends on: where the weights lie, and what modules were set to."""
    arrays = [x.data for x in (*model.named_parameters().values(), *model.named_buffers().values())]
    settings: list[Any] = [x.data.ptr if type(x) is not np.ndarray else 0 for x in arrays]
    for name, module in model.named_modules():
        for key, value in module.__dict__.items():
            if key != "training" and not isinstance(value, Tensor):
                settings.append((name, key, value if isinstance(value, int | float | str) else id(value)))
    return tuple(settings)


def _attentions(model: Any) -> list[MultiHeadAttention]:
    return [block.attention for block in model.blocks]


def serves(model: Any) -> bool:
    """Tell whether a model's steps can be noted: on a GPU, causal, with plain scores, and nobody looking in on the way.

    >>> from hyperion import nn
    >>> serves(nn.GPT(vocabulary=5, context=8, layers=1, heads=1, width=8))         # on a CPU
    False
    """
    weight = model.embedding.weight
    if weight.device == "cpu" or not (is_half(weight.dtype) or weight.dtype == np.float32):
        return False
    if any(module.__dict__.get("_hooks") or module.__dict__.get("_captures") for _, module in model.named_modules()):
        return False
    xp = devices.namespace(weight.data)
    for one in _attentions(model):
        plain = one.bias is None and one.modifier is None and not one.crosses and not (one.rope is not None and one.rope.dynamic)
        window = isinstance(one.mask, SlidingWindow) and one.mask.right == 0 and one.mask.offset is None
        pool, q = (xp.empty(shape, dtype=weight.dtype) for shape in ((1, one.kv_heads, PAGE, one.size), (1, one.heads, 1, one.size)))
        if not plain or not (one.mask == Causal() or window) or not attention_paged.serves(q, pool, pool):
            return False
    return weight.dtype != np.float16 and model.vocabulary < 1 << 24


def taken(model: Any, batch: int, room: int) -> Decoder:
    """Return a decoder of a model, for so many texts of at most `room` tokens: the one that it had, if that still fits.

    It belongs to the caller until `returned`.
    """
    found = _kept.pop(model, None)
    if found is None or found.batch != batch or found.room < room or found.state != _state(model):
        found = None        # whose memory the new one may take
        found = Decoder(model, batch, room)
    return found


def returned(model: Any, decoder: Decoder) -> None:
    """Keep a decoder for the next texts of the model."""
    _kept[model] = decoder
