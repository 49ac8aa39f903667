"""Transformer blocks: attention and a feed-forward part, each with a normalisation and a way around it."""

from collections.abc import Callable
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.masks import ALiBi
from hyperion.autograd.modifiers import ScoreModifier
from hyperion.autograd.random import Generator
from hyperion.nn.attention import KVCache, MultiHeadAttention
from hyperion.nn.blocks import FeedForward
from hyperion.nn.dropout import Dropout
from hyperion.nn.module import Module
from hyperion.nn.normalization import LayerNorm
from hyperion.nn.paged import Pages
from hyperion.nn.rotary import RoPE

__all__ = ["TransformerBlock"]


class TransformerBlock(Module):
    """One block of a transformer: x + attention(norm(x)), then x + feedforward(norm(x)); or with the norms after the sums.

    width, heads, kv_heads, head_size, mask, rope, bias, scale, modifier: as in `MultiHeadAttention`.
    feedforward: a Module of (..., width); None: nn.FeedForward(width, hidden, activation, dropout=dropout).
    norm: function of the width that makes a normalisation, such as nn.LayerNorm or nn.RMSNorm.
    norm_first: before attention and feed-forward part (as GPT-2 and Llama), or after the sums (as the first transformer).
    memory: width of the tokens of a memory, to which a second attention goes; None: none.
    dropout: of what attention and feed-forward part add, and of probabilities (attention_dropout None: the same).
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.1; Xiong et al. 2020, arXiv:2002.04745 (norms first).

    >>> TransformerBlock(8, 2)(hp.ones((1, 5, 8))).shape
    (1, 5, 8)
    """

    def __init__(
        self, width: int, heads: int, hidden: int | None = None, activation: Callable[..., Any] = hp.gelu, *, kv_heads: int | None = None,
        head_size: int | None = None, mask: Any = None, rope: RoPE | None = None, bias: ALiBi | None = None, scale: float | None = None,
        feedforward: Module | None = None, norm: Callable[[int], Module] | None = None, norm_first: bool = True, memory: int | None = None,
        dropout: float = 0.0, attention_dropout: float | None = None, linear_bias: bool = True, dtype: Any = None,
        generator: Generator | None = None, modifier: ScoreModifier | None = None,
    ) -> None:
        inner = dropout if attention_dropout is None else attention_dropout
        make: Callable[[int], Module] = (lambda n: LayerNorm(n, dtype=dtype)) if norm is None else norm
        self.attention = MultiHeadAttention(
            width, heads, kv_heads, head_size, None, mask, rope, bias, scale, inner, linear_bias, dtype, generator, modifier
        )
        self.attention_norm = make(width)
        self.cross = None if memory is None else MultiHeadAttention(
            width, heads, kv_heads, head_size, memory, scale=scale, dropout=inner, linear_bias=linear_bias, dtype=dtype, generator=generator
        )
        self.cross_norm = None if memory is None else make(width)
        self.feedforward = FeedForward(
            width, hidden, activation, linear_bias, dropout, dtype, generator
        ) if feedforward is None else feedforward
        self.feedforward_norm = make(width)
        self.dropout = Dropout(dropout, generator)
        self.norm_first = norm_first

    def forward(
        self, x: Any, memory: Any = None, mask: Any = None, positions: Any = None, cache: KVCache | Pages | None = None,
        memory_mask: Any = None,
    ) -> Any:
        """Return x, (batch, tokens, width), with what the block adds; with a cache, a pair of it and the cache after these tokens.

        memory, mask, positions, cache: as in `MultiHeadAttention`.  memory_mask: which tokens of the memory are seen.
        """
        x = as_tensor(x)
        gathered = self.attention(self._before(x, self.attention_norm), mask=mask, positions=positions, cache=cache)
        if cache is not None:
            gathered, cache = gathered
        x = self._after(x, self.dropout(gathered), self.attention_norm)
        if self.cross is not None and self.cross_norm is not None:
            gathered = self.cross(self._before(x, self.cross_norm), memory, mask=memory_mask)
            x = self._after(x, self.dropout(gathered), self.cross_norm)
        x = self._after(x, self.feedforward(self._before(x, self.feedforward_norm)), self.feedforward_norm)
        return x if cache is None else (x, cache)

    def _before(self, x: Tensor, norm: Module) -> Tensor:
        return norm(x) if self.norm_first else x

    def _after(self, x: Tensor, added: Tensor, norm: Module) -> Tensor:
        return x + added if self.norm_first else norm(x + added)
