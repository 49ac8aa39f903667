"""PyTorch's worker for the GPT cases: eager, with its fused attention, as nanoGPT writes the model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpt_cases import BEFORE, BETAS, DECAY, RATE, Case
from torch.nn import functional


def version() -> str:
    return torch.__version__


def note(case: Case) -> str:
    return "scaled_dot_product_attention, AdamW's default (foreach or a loop), eager"


class Block(torch.nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feedforward_norm = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attention = torch.nn.ModuleDict({"qkv": torch.nn.Linear(width, 3 * width), "output": torch.nn.Linear(width, width)})
        self.feedforward = torch.nn.ModuleDict({"up": torch.nn.Linear(width, 4 * width), "down": torch.nn.Linear(4 * width, width)})

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        parts = self.attention["qkv"](self.attention_norm(x)).split(c, dim=2)
        q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in parts)           # (B, H, T, C / H)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.attention["output"](mixed)
        inner = functional.gelu(self.feedforward["up"](self.feedforward_norm(x)), approximate="tanh")
        return x + self.feedforward["down"](inner)


class Model(torch.nn.Module):
    def __init__(self, case: Case, vocabulary: int):
        super().__init__()
        self.embedding, self.places = torch.nn.Embedding(vocabulary, case.width), torch.nn.Embedding(case.context, case.width)
        self.blocks = torch.nn.ModuleList([Block(case.width, case.heads) for _ in range(case.layers)])
        self.norm = torch.nn.LayerNorm(case.width)

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)


def prepare(case: Case, threads: int, **options: Any) -> Callable[[], np.ndarray]:
    torch.set_num_threads(threads)
    weights = case.weights()
    model = Model(case, len(weights["embedding.weight"]))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, **options)
    inputs, targets = map(torch.from_numpy, case.tokens())

    def step() -> np.ndarray:
        scores = model(inputs)
        loss = functional.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return np.array([loss.item()])

    for _ in range(BEFORE):
        step()
    return step
