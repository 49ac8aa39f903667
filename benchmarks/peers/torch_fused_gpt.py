"""PyTorch's worker for the GPT cases, with AdamW(fused=True)."""

from collections.abc import Callable

import numpy as np
from gpt_cases import Case
from peers import torch_gpt
from peers.torch_gpt import version

__all__ = ["note", "prepare", "version"]


def note(case: Case) -> str:
    return "scaled_dot_product_attention, AdamW(fused=True), eager"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    return torch_gpt.prepare(case, threads, fused=True)
